#!/bin/sh
# initramfs.sh TREE OUT: its static busybox, the modules the root disk needs, and a switch to it. Root is /dev/vda.
# With "lab.probe" on the kernel's command line it only says LAB-PROBE-OK and powers off: does this accelerator work?
set -eu
tree=$1 out=$2
kernel=$(basename "$(echo "$tree"/lib/modules/*)")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/m" "$work/proc" "$work/sys" "$work/dev" "$work/newroot"
cp "$tree/bin/busybox" "$work/bin/busybox"
for module in virtio_pci virtio_blk crc32c_generic ext4; do
    chroot "$tree" modprobe -S "$kernel" --show-depends "$module" | awk '/^insmod/ { print $2 }' | while read -r file; do
        name=$(basename "$file")
        [ -e "$work/m/$name" ] || { cp "$tree$file" "$work/m/" && echo "$name" >>"$work/m/order"; }
    done
done
cat >"$work/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
case " $(cat /proc/cmdline) " in *" lab.probe "*) echo LAB-PROBE-OK; poweroff -f ;; esac
while read -r module; do insmod "/m/$module" || echo "insmod $module failed"; done </m/order
i=0
while [ ! -b /dev/vda ] && [ $i -lt 600 ]; do usleep 100000; i=$((i + 1)); done
mount -t ext4 -o noatime /dev/vda /newroot || exec sh
for fs in dev proc sys; do mount -o move /$fs /newroot/$fs; done
init=/sbin/init
for word in $(cat /newroot/proc/cmdline); do case $word in init=*) init=${word#init=} ;; esac; done
exec switch_root /newroot "$init"
END
chmod 755 "$work/init"
(cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) >"$out"
