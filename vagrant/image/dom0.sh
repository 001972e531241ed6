#!/bin/sh
# dom0.sh OUT: the Xen dom0's image, with a small PV guest in /root/guest. Its init is lab-init: systemd under Xen under
# emulation takes minutes.
# shellcheck source=image.sh disable=SC2016
. "$(dirname "$0")/image.sh"
out=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
make_tree "$tree" "$BASE,zstd,multipath-tools" \
    --customize-hook="install -D -m 755 -t \"\$1\"/usr/local/sbin $HERE/../provision/dom0-debian.sh" \
    --customize-hook='chroot "$1" /usr/local/sbin/dom0-debian.sh install'
lab_settings "$tree" dom0 10.77.0.2
chroot "$tree" /usr/local/sbin/dom0-debian.sh initiator iqn.2026-11.org.xvmstore:dom0
install -m 755 "$HERE/lab-init" "$tree/sbin/lab-init"
mkdir -p "$out" "$tree/root/guest"
"$HERE/guest.sh" "$tree" "$tree/root/guest"
zcat "$tree"/boot/xen-4.17-amd64.gz >"$out/dom0.xen"
pack "$tree" dom0 "$out"
