#!/bin/sh
# guest.sh TREE OUT: a PV guest that is one kernel and one initramfs. It says on its console what disks it has, whenever
# that changes (GUEST-DISK NAME SECTORS), and has a shell there.
set -eu
tree=$1 out=$2
kernel=$(basename "$(echo "$tree"/lib/modules/*)")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/m" "$work/proc" "$work/sys" "$work/dev"
cp "$tree/bin/busybox" "$work/bin/busybox"
chroot "$tree" modprobe -S "$kernel" --show-depends xen-blkfront | awk '/^insmod/ { print $2 }' | while read -r file; do
    cp "$tree$file" "$work/m/" && basename "$file" >>"$work/m/order"
done
cat >"$work/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/m/$module"; done </m/order
echo GUEST-UP
show() {
    for d in /sys/block/xvd*; do [ -e "$d" ] && echo "GUEST-DISK ${d##*/} $(cat "$d/size") sectors ro=$(cat "$d/ro")"; done
}
setsid sh -c "exec sh </dev/hvc0 >/dev/hvc0 2>&1" &
last=none
while :; do
    now=$(show)
    [ "$now" = "$last" ] || { echo "$now"; echo GUEST-CHANGED; last=$now; }
    sleep 1
done
END
chmod 755 "$work/init"
(cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/guest.cpio.gz"
# Xen starts a PV kernel from its ELF image, which is the xz stream inside Debian's bzImage.
python3 - "$tree/boot/vmlinuz-$kernel" "$out/guest.vmlinux" <<'END'
import lzma
import sys

with open(sys.argv[1], "rb") as file:
    image = file.read()
kernel = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(image[image.index(b"\xfd7zXZ\x00"):])
if kernel[:4] != b"\x7fELF":
    sys.exit(f"{sys.argv[1]}: no ELF image inside")
with open(sys.argv[2], "wb") as file:
    file.write(kernel)
END
