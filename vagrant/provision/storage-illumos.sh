#!/bin/sh
# Makes an illumos machine (OmniOS, OpenIndiana) a storage node: COMSTAR and its iSCSI target.
#   storage-illumos.sh install          packages and services
#   storage-illumos.sh pool DISK DISK   the pool "tank", a mirror; where it is there already it is left alone
set -eu
PATH=/usr/sbin:/usr/bin:/sbin
export PATH

install_packages() {
    # Exit 4: nothing to do. OmniOS and OpenIndiana name the package alike.
    pkg install -q network/iscsi/target || [ $? -eq 4 ]
    svcadm enable -s svc:/system/stmf:default
    svcadm enable -rs svc:/network/iscsi/target:default
}

make_pool() {
    zpool list -H -o name tank >/dev/null 2>&1 && return
    zpool create -O mountpoint=none tank mirror "$@"
}

case ${1-} in
install) install_packages ;;
pool) shift; make_pool "$@" ;;
*) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac
