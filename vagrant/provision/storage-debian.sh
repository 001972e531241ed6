#!/bin/sh
# Makes a Debian machine a storage node: OpenZFS, LIO, and a boot that brings the LUNs back.
#   storage-debian.sh backports        where apt finds OpenZFS
#   storage-debian.sh install          packages and boot order; also in a chroot, while an image is made
#   storage-debian.sh pool DISK DISK   the pool "tank", a mirror; where it is there already it is left alone
set -eu

# OpenZFS is in contrib, its current release in backports: of the mirror that the machine has all else from.
add_backports() {
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $suite" | head -n 1)
    [ -n "$mirror" ] || { echo "$0: apt has no source for $suite" >&2; exit 1; }
    echo "deb $mirror $suite-backports main contrib" >/etc/apt/sources.list.d/xvmstore.list
    printf 'Package: src:zfs-linux\nPin: release n=%s-backports\nPin-Priority: 990\n' "$suite" \
        >/etc/apt/preferences.d/xvmstore
}

modules_are_here() { find /lib/modules/*/updates -name 'zfs.ko*' 2>/dev/null | grep -q .; }

install_packages() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    apt-get update -q
    # Kernel and headers together: the modules are built for the newest headers, and nobody boots those alone.
    modules_are_here || apt-get install -qy --no-install-recommends linux-image-amd64 linux-headers-amd64 zfs-dkms
    # zfs-zed is only recommended, but without it a failed disk goes unnoticed; it wants a mailer, so it is left to the admin.
    apt-get install -qy --no-install-recommends zfsutils-linux targetcli-fb python3-rtslib-fb openssh-server udev
}

# rtslib-fb-targetctl restores the LUNs without waiting for the zvols, and then leaves out those that come later.
order_the_boot() {
    mkdir -p /etc/systemd/system/rtslib-fb-targetctl.service.d
    cat >/etc/systemd/system/rtslib-fb-targetctl.service.d/after-zvols.conf <<'END'
[Unit]
After=zfs-volumes.target
Wants=zfs-volumes.target
END
    printf 'zfs\ntarget_core_mod\ntarget_core_iblock\niscsi_target_mod\n' >/etc/modules-load.d/xvmstore.conf
    # The places the kernel keeps reservations in, without which it complains at each start.
    mkdir -p /etc/target/pr /etc/target/alua /etc/rtslib-fb-target
    systemctl enable -q rtslib-fb-targetctl.service zfs-import-cache.service zfs-import.target \
        zfs-volume-wait.service zfs-volumes.target zfs.target
}

make_pool() {
    zpool list -H -o name tank >/dev/null 2>&1 && return
    zpool create -O mountpoint=none tank mirror "$@"
}

case ${1-} in
backports) add_backports ;;
install) install_packages; order_the_boot ;;
pool) shift; make_pool "$@" ;;
*) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
