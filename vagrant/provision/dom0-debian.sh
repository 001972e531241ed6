#!/bin/sh
# Makes a Debian machine a Xen dom0 that reaches its guests' disks over iSCSI.
#   dom0-debian.sh install             packages; also in a chroot, while an image is made
#   dom0-debian.sh initiator NAME      the name storage nodes know this dom0 by
#   dom0-debian.sh grub MEMORY         boot into Xen from now on, with this much memory for dom0 (1536M)
set -eu

install_packages() {
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    apt-get update -q
    apt-get install -qy --no-install-recommends xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common \
        xenstore-utils open-iscsi openssh-server udev
}

name_initiator() {
    printf 'InitiatorName=%s\n' "$1" >/etc/iscsi/initiatorname.iscsi
    chmod 600 /etc/iscsi/initiatorname.iscsi
    systemctl try-restart iscsid.service 2>/dev/null || true
}

boot_xen() {
    mkdir -p /etc/default/grub.d
    printf 'GRUB_DEFAULT="Debian GNU/Linux, with Xen hypervisor"\nGRUB_CMDLINE_XEN_DEFAULT="dom0_mem=%s,max:%s"\n' \
        "$1" "$1" >/etc/default/grub.d/xvmstore.cfg
    update-grub
}

case ${1-} in
install) install_packages ;;
initiator) name_initiator "$2" ;;
grub) boot_xen "$2" ;;
*) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
