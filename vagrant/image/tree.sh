# shellcheck shell=sh disable=SC2016,SC2034
# Sourced by the scripts beside it: a Debian tree by mmdebstrap. Root is needed.
# LAB_SUITE, LAB_SOURCES (an apt sources list), LAB_PREFERENCES (which suite ZFS is of), LAB_KEY (a public SSH key) and
# LAB_BUSYBOX come from the environment; HERE is the folder of these scripts.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
HERE=$(cd "$(dirname "$0")" && pwd)

# make_tree TREE PACKAGES [HOOK-OPTION...]: what apt needs is still there while customize hooks run.
make_tree() {
    tree=$1 packages=$2
    shift 2
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
        --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --setup-hook='mkdir -p "$1"/etc/apt/preferences.d "$1"/etc/initramfs-tools/conf.d; cp "$LAB_PREFERENCES" "$1"/etc/apt/preferences.d/lab; echo MODULES=list >"$1"/etc/initramfs-tools/conf.d/lab' \
        "$@" "$LAB_SUITE" "$tree" "$LAB_SOURCES"
}
