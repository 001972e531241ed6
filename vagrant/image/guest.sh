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
setsid sh -c "exec sh </dev/hvc0 >/dev/hvc0 2>&1" &
# No process in this loop: under emulation a few a second are all that Xen and its other domains had time for.
mkfifo /tick
exec 3<>/tick
nl='
'
last=none
while :; do
    now=
    for d in /sys/block/xvd*; do
        { read -r size <"$d/size" && read -r ro <"$d/ro"; } 2>/dev/null &&
            now="${now}GUEST-DISK ${d##*/} $size sectors ro=$ro$nl"
    done
    [ "$now" = "$last" ] || printf '%s' "$now"
    last=$now
    read -r -t 1 _ <&3
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
