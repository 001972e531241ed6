#!/bin/sh
# zfs-modules.sh OUT: ZFS's modules (two of them; nine before 2.2) for Debian's kernel, built here and now by zfs-dkms in
# a tree of its own.
# The compiler runs natively: under emulation this would take hours.
# shellcheck source=tree.sh disable=SC2016
. "$(dirname "$0")/tree.sh"
out=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
make_tree "$tree" linux-headers-amd64,dkms \
    --customize-hook='chroot "$1" apt-get install -qy --no-install-recommends zfs-dkms'
find "$tree"/lib/modules/*/updates -name '*.ko*' | while read -r module; do
    case $module in
    *.xz) xz -dc "$module" >"$out/$(basename "$module" .xz)" ;;
    *) cp "$module" "$out/" ;;
    esac
done
basename "$(echo "$tree"/lib/modules/*)" >"$out/kernel"
test -s "$out/spl.ko" -a -s "$out/zfs.ko"
