# shellcheck shell=sh disable=SC2034
# Sourced by the scripts of the two machines: what they share, and how a tree becomes an image.
# shellcheck source=tree.sh
. "$(dirname "$0")/tree.sh"
BASE=systemd-sysv,udev,kmod,iproute2,openssh-server,linux-image-amd64,netbase,procps,e2fsprogs,python3-minimal,busybox-static

# lab_settings TREE NAME ADDRESS: what both machines share.
lab_settings() {
    echo "$2" >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n10.77.0.1 storage\n10.77.0.2 dom0\n' >"$1/etc/hosts"
    echo '/dev/vda / ext4 noatime 0 1' >"$1/etc/fstab"
    install -d -m 700 "$1/root/.ssh"
    install -m 600 "$LAB_KEY" "$1/root/.ssh/authorized_keys"
    rm -f "$1"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1/etc/ssh/ssh_host_ed25519_key"
    printf 'UseDNS no\nGSSAPIAuthentication no\nUsePAM no\nMaxStartups 50\nMaxSessions 50\nHostKey /etc/ssh/ssh_host_ed25519_key\n' \
        >"$1/etc/ssh/sshd_config.d/lab.conf"
    cat >"$1/usr/local/sbin/lab-network" <<END
#!/bin/sh
modprobe virtio_net
i=0
while [ ! -e /sys/class/net/eth1 ] && [ \$i -lt 300 ]; do sleep 0.1; i=\$((i + 1)); done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip addr add $3/24 dev eth1
ip link set eth1 up
END
    chmod 755 "$1/usr/local/sbin/lab-network"
}

# pack TREE NAME OUT: an ext4 image without partitions, its kernel, its initramfs, and what is in it.
pack() {
    chroot "$1" dpkg-query -W >"$3/$2.packages"
    for unused in sound gpu media wireless ethernet infiniband iio staging usb isdn hwmon bluetooth; do
        find "$1"/lib/modules/*/kernel -type d -name "$unused" -prune -exec rm -rf {} +
    done
    chroot "$1" depmod -a "$(kernel_of "$1")"
    rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*
    cp "$1/boot/vmlinuz-$(kernel_of "$1")" "$3/$2.vmlinuz"
    "$HERE/initramfs.sh" "$1" "$3/$2.initrd"
    cp "$1/etc/ssh/ssh_host_ed25519_key.pub" "$3/$2.hostkey"
    truncate -s 2500M "$3/$2.raw"
    mkfs.ext4 -q -F -L "lab-$2" -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 -d "$1" "$3/$2.raw"
}

kernel_of() { basename "$(echo "$1"/lib/modules/*)"; }
