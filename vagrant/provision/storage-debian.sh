#!/bin/sh
# Makes a Debian machine a storage node: OpenZFS, LIO, and a boot that brings the LUNs back.
#   storage-debian.sh install          packages and boot order; also in a chroot, while an image is made
#   storage-debian.sh pool DISK DISK   the pool "tank", a mirror; where it is there already it is left alone
set -eu

# Seconds until a pool counts as lost; what udev needs to make /dev/zvol is waited for by xvmstore itself.
modules_are_here() { ls /lib/modules/*/updates/zfs.ko /lib/modules/*/updates/dkms/zfs.ko* >/dev/null 2>&1; }

install_packages() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    apt-get update -q
    modules_are_here || apt-get install -qy --no-install-recommends linux-headers-amd64 zfs-dkms
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
install) install_packages; order_the_boot ;;
pool) shift; make_pool "$@" ;;
*) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac
