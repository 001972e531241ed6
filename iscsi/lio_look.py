"""The program that lists what LIO serves, for ``iscsi.lio_rows`` to read. Pure text."""

from iscsi.lio_programs import program
from remote.script import Argv, Word

# Rows of fields with a TAB between them; an empty field is "-". Without arguments, of everything.
_LOOK = """\
row() { k=$1; shift; printf '%s' "$k"; for f in "$@"; do printf '\\t%s' "${f:--}"; done; echo; }
unit_row() {
    kind=${1%/*} kind=${kind##*/}
    get "$1/enable"; on=$v
    device_of "$1"
    serial_of "$1"; serial=$v
    read_only=
    size=
    while read -r line; do
        case $line in *readonly:*) read_only=${line##*readonly: } ;; esac
        case $line in
        *"iBlock device: "*)
            size=${line#*iBlock device: }
            get "/sys/class/block/${size%% *}/size"
            size=$((v * 512))
            ;;
        *" Size: "*) size=${line#* Size: }; size=${size%% *} ;;
        esac
    done <"$1/info"
    row unit "${1##*/}" "${kind%_*}" "$serial" "$on" "$size" "$read_only" "$device"
}
session_rows() {
    for acl in "$1"/acls/*; do
        [ -r "$acl/info" ] && read -r line <"$acl/info" || continue
        case $line in "InitiatorName: "*) row session "$2" "${line#InitiatorName: }" acl ;; esac
    done
    [ -r "$1/dynamic_sessions" ] || return 0
    tr '\\000' '\\n' <"$1/dynamic_sessions" | while read -r line; do
        [ -z "$line" ] || row session "$2" "$line" open
    done
}
view_rows() {
    for acl in "$1"/acls/*; do
        [ -d "$acl" ] || continue
        get "$acl/auth/userid"; user=$v
        any=
        for seen in "$acl"/lun_*; do
            [ -d "$seen" ] || continue
            any=1
            place=
            for l in "$seen"/*; do [ -h "$l" ] && place=$l; done
            lu=
            [ -z "$place" ] || behind "$place"
            get "$seen/write_protect"
            row view "$2" "${acl##*/}" "${seen##*/lun_}" "$lu" "$v" "$user"
        done
        [ -n "$any" ] || row view "$2" "${acl##*/}" "" "" "" "$user"
    done
}
target_rows() {
    name=${1##*/}
    for tpg in "$1"/tpgt_*; do
        [ -d "$tpg" ] || continue
        get "$tpg/enable"; on=$v
        get "$tpg/attrib/authentication"; chap=$v
        get "$tpg/attrib/generate_node_acls"
        row target "$name" "${tpg##*/tpgt_}" "$on" "$chap" "$v"
        for np in "$tpg"/np/*; do [ -d "$np" ] && row portal "$name" "${np##*/}"; done
        for place in "$tpg"/lun/lun_*; do
            [ -d "$place" ] || continue
            behind "$place"
            row lun "$name" "${place##*/lun_}" "$lu"
        done
        view_rows "$tpg" "$name"
        session_rows "$tpg" "$name"
    done
}
[ -d $core ] || die "the kernel's LIO target is not there: load target_core_mod and iscsi_target_mod"
if [ $# -gt 0 ]; then
    unit=
    [ -z "$1" ] || unit_of "$1"
    [ -z "$unit" ] || unit_row "$unit"
    [ -z "$2" ] || [ ! -d "$iscsi/$2" ] || target_rows "$iscsi/$2"
else
    for u in $core/*_*/*; do [ -d "$u/wwn" ] && unit_row "$u"; done
    for t in $iscsi/*.*; do [ -d "$t" ] && target_rows "$t"; done
fi
:
"""


def look(*name_and_target: Word) -> Argv:
    """Print rows about an LU and a target, or about all there are."""
    return program(_LOOK, "lio-look", *name_and_target)


_BY_GUID = """\
name=
case $1 in 6001405*) name=xvm-`echo "${1#6001405}" | tr A-F a-f` ;; esac
set -- "$name" "$2"
"""


def look_by_guid(guid: Word, target: Word) -> Argv:
    """The same, of the LU with a GUID."""
    return program(_BY_GUID + _LOOK, "lio-look-by-guid", guid, target)
