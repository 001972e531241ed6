"""LIO's configfs tree, as the small programs for ``sh`` that change and read it. Pure text and the steps made of it.

targetcli would be a Python start a command, and says 0 in batch mode when a line has failed. The kernel's own interface
is instant and answers each write: ``mkdir`` makes an object, ``ln -s`` binds two, a write to an attribute sets it
(drivers/target/target_core_configfs.c and drivers/target/iscsi/iscsi_target_configfs.c).

    core/iblock_N/UNIT                                  a block device as an LU: control, enable, wwn/vpd_unit_serial
    iscsi/IQN/tpgt_1/lun/lun_N/... -> UNIT              a LUN of a target
    iscsi/IQN/tpgt_1/acls/INITIATOR/lun_N/... -> lun    what one initiator sees of it

Every program may be run again after any interruption: it makes what is missing, and takes away what is there.
"""

from remote.script import ROOT_SHELL, Argv, Word

_HEAD = """\
core=/sys/kernel/config/target/core iscsi=/sys/kernel/config/target/iscsi
die() { echo "$*" >&2; exit 1; }
put() { printf '%s' "$2" >"$1" || die "the kernel does not take '$2' for $1"; }
get() { v=; [ -r "$1" ] && { read -r v <"$1" || :; }; }
unit_of() { unit=; for u in $core/iblock_*/"$1"; do [ -d "$u" ] && unit=$u; done; }
serial_of() { get "$1/wwn/vpd_unit_serial"; case $v in *": "*) v=${v#*: } ;; *) v= ;; esac; }
gone() { for d in "$@"; do [ -d "$d" ] && { rmdir "$d" || exit 1; }; done; :; }
unlink_in() { for l in "$1"/*; do [ -h "$l" ] && { rm "$l" || exit 1; }; done; :; }
"""

# udev makes the link to a zvol some time after ZFS made the zvol, and a link may still be of one that had the name
# before: ZFS's own zvol_id (in /lib/udev) tells whose a device is. The number is of the LU's own bus: the first that
# is free, counted from one that follows from the serial number.
_UNIT = """\
name=$1 device=$2 serial=$3 guid=`echo "$4" | tr A-F a-f`
[ "6001405$serial" = "$guid" ] || die "LIO shows no GUID but 6001405 and the serial number ('$serial'): not $4"
tries=0
owned() { owner=`/lib/udev/zvol_id "$(readlink -f "$device")" 2>&1` && [ "/dev/zvol/$owner" = "$device" ]; }
until [ -b "$device" ] && owned; do
    [ $((tries += 1)) -le 300 ] || die "udev made no $device within a minute: does systemd-udevd run? ${owner-}"
    sleep 0.2
done
[ -d $core ] || modprobe target_core_mod || die "this kernel has no LIO target (module target_core_mod)"
modprobe -q target_core_iblock
unit_of "$name"
if [ -n "$unit" ]; then
    get "$unit/enable"; on=$v
    get "$unit/udev_path"; path=$v
    serial_of "$unit"
    if [ "$on" = 1 ] && [ -n "$v" ]; then
        [ "$path" = "$device" ] || die "the LU $name is on $path, not on $device"
        [ "$v" = "$serial" ] && exit 0
        die "the LU $name has the serial number $v, not $serial"
    fi
    gone "$unit" "${unit%/*}"
fi
n=$((0x${serial%"${serial#?????}"})) tries=0
until mkdir "$core/iblock_$n" 2>/dev/null; do
    [ $((tries += 1)) -lt 1000 ] || die "no number is free under $core"
    n=$((n + 1))
done
unit=$core/iblock_$n/$name
trap 'rmdir "$unit" "$core/iblock_$n"' 0
mkdir "$unit" || exit 1
put "$unit/control" "udev_path=$device"
put "$unit/udev_path" "$device"
put "$unit/enable" 1
put "$unit/wwn/vpd_unit_serial" "$serial"
put "$unit/attrib/emulate_model_alias" 1
put "$unit/attrib/emulate_tpu" 1
trap - 0
"""

_UNIT_GONE = """\
unit_of "$1"
[ -z "$unit" ] || gone "$unit" "${unit%/*}"
"""

# Its device, and a failure where the LU also hangs on a target that is not the volume's own.
_UNIT_SAME = """\
name=$1 target=$2
unit_of "$name"
[ -n "$unit" ] || exit 0
get "$unit/udev_path"
echo "device $v"
for l in $iscsi/*.*/tpgt_*/lun/lun_*/*; do
    [ -h "$l" ] && [ "$l" -ef "$unit" ] || continue
    case $l in "$iscsi/$target/"*) continue ;; esac
    die "the LU $name is also behind ${l#"$iscsi/"}: take it away there first"
done
"""

# Nobody gets in by this alone: without an ACL no login is let through, and a new target is not enabled here.
_TARGET = """\
target=$1 chap=$2
shift 2
[ -d $iscsi ] || { modprobe iscsi_target_mod && mkdir -p $iscsi; } || die "this kernel has no iSCSI target"
tpg=$iscsi/$target/tpgt_1
fresh=
[ -d "$tpg" ] || { fresh=1; mkdir -p "$tpg" || exit 1; }
put "$tpg/attrib/generate_node_acls" 0
put "$tpg/attrib/demo_mode_write_protect" 1
[ -z "$fresh$chap" ] || put "$tpg/attrib/authentication" "${chap:-0}"
for portal in "$@"; do
    [ -d "$tpg/np/$portal" ] || mkdir "$tpg/np/$portal" || exit 1
done
"""

# Places that wait for this LUN, left by _LUN_GONE, are filled again.
_LUN = """\
target=$1 lun=$2 name=$3
unit_of "$name"
[ -n "$unit" ] || die "there is no LU $name"
tpg=$iscsi/$target/tpgt_1 bound=
place=$tpg/lun/lun_$lun
[ -d "$place" ] || mkdir "$place" || exit 1
for l in "$place"/*; do
    [ -h "$l" ] || continue
    [ "$l" -ef "$unit" ] || die "LUN already in use: $lun of $target"
    bound=1
done
[ -n "$bound" ] || ln -s "$unit" "$place/$name" || exit 1
for seen in "$tpg"/acls/*/lun_"$lun"; do
    [ -d "$seen" ] || continue
    bound=
    for l in "$seen"/*; do [ -h "$l" ] && bound=1; done
    [ -n "$bound" ] || ln -s "$place" "$seen/lun_$lun" || exit 1
done
"""

# Secrets are files, read here and written by the shell itself: no argument list ever holds one. LIO keeps what is there
# of an initiator's own unless told to renew it; "" as a user's name means none.
_ADMIT = """\
target=$1 initiator=$2 renew=$3 user=$4 secret=$5 own_user=$6 own_secret=$7
acl=$iscsi/$target/tpgt_1/acls/$initiator
[ -d "$acl" ] || mkdir "$acl" || exit 1
account() {
    read -r word <"$4"
    put "$acl/auth/userid$1" "$3"
    printf '%s' "$word" >"$acl/auth/password$1" || die "the kernel does not take the CHAP secret of $2"
}
get "$acl/auth/password"
if [ -n "$user" ] && { [ -z "$v" ] || [ "$renew" = 1 ]; }; then account "" "$initiator" "$user" "$secret"; fi
[ -z "$own_user" ] || account _mutual "$target" "$own_user" "$own_secret"
"""

# On every target of ours that lets the initiator in.
_RENEW = """\
initiator=$1 user=$2 secret=$3
read -r word <"$secret"
for acl in $iscsi/*.*/tpgt_*/acls/"$initiator"; do
    [ -d "$acl" ] || continue
    tpg=${acl%/acls/*} ours=
    for l in "$tpg"/lun/lun_*/xvm-*; do [ -h "$l" ] && ours=1; done
    [ -n "$ours" ] || continue
    put "$acl/auth/userid" "$user"
    printf '%s' "$word" >"$acl/auth/password" || die "the kernel does not take the CHAP secret of $initiator"
    target=${tpg%/tpgt_*}
    echo "target ${target##*/}"
done
"""

_MAP = """\
target=$1 initiator=$2 lun=$3
tpg=$iscsi/$target/tpgt_1
seen=$tpg/acls/$initiator/lun_$lun
[ -d "$seen" ] || mkdir "$seen" || exit 1
for l in "$seen"/*; do [ -h "$l" ] && linked=1; done
[ -n "${linked-}" ] || ln -s "$tpg/lun/lun_$lun" "$seen/lun_$lun" || exit 1
put "$seen/write_protect" 0
"""

_ENABLE = """\
put "$iscsi/$1/tpgt_1/enable" 1
"""

# The target as a whole: first nobody can log in any more, then all that hangs on it goes.
_TARGET_GONE = """\
target=$iscsi/$1
[ -d "$target" ] || exit 0
for tpg in "$target"/tpgt_*; do
    [ -d "$tpg" ] || continue
    put "$tpg/enable" 0
    for acl in "$tpg"/acls/*; do
        [ -d "$acl" ] || continue
        for seen in "$acl"/lun_*; do [ -d "$seen" ] && { unlink_in "$seen"; gone "$seen"; }; done
        gone "$acl"
    done
    for place in "$tpg"/lun/lun_*; do [ -d "$place" ] && { unlink_in "$place"; gone "$place"; }; done
    gone "$tpg"/np/*
    gone "$tpg"
done
gone "$target"
"""

# One LU off a target that stays. "keep": who saw it is remembered, by empty places that _LUN fills again.
_LUN_GONE = """\
target=$1 lun=$2 keep=${3-}
tpg=$iscsi/$target/tpgt_1
for acl in "$tpg"/acls/*; do
    seen=$acl/lun_$lun
    [ -d "$seen" ] || continue
    unlink_in "$seen"
    [ "$keep" = keep ] && continue
    gone "$seen"
    for other in "$acl"/lun_*; do [ -d "$other" ] && continue 2; done
    read -r session <"$acl/info"
    case $session in "No active"*) gone "$acl" ;; esac
done
place=$tpg/lun/lun_$lun
[ -d "$place" ] || exit 0
unlink_in "$place"
[ "$keep" = keep ] || gone "$place"
"""

_UNMAP = """\
target=$1 initiator=$2 lun=$3
acl=$iscsi/$target/tpgt_1/acls/$initiator
[ -d "$acl" ] || exit 0
[ -d "$acl/lun_$lun" ] && { unlink_in "$acl/lun_$lun"; gone "$acl/lun_$lun"; }
for other in "$acl"/lun_*; do [ -d "$other" ] && exit 0; done
gone "$acl"
"""

# Rows of fields with a TAB between them; an empty field is "-". Without arguments, of everything.
_LOOK = """\
row() { k=$1; shift; printf '%s' "$k"; for f in "$@"; do printf '\\t%s' "${f:--}"; done; echo; }
unit_row() {
    kind=${1%/*} kind=${kind##*/}
    get "$1/enable"; on=$v
    get "$1/udev_path"; path=$v
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
    row unit "${1##*/}" "${kind%_*}" "$serial" "$on" "$size" "$read_only" "$path"
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
unit_behind() {
    behind=
    for l in "$1"/*; do [ -h "$l" ] && { behind=$(readlink -f "$l"); behind=${behind##*/}; }; done
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
            behind=
            [ -z "$place" ] || unit_behind "$place"
            get "$seen/write_protect"
            row view "$2" "${acl##*/}" "${seen##*/lun_}" "$behind" "$v" "$user"
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
            unit_behind "$place"
            row lun "$name" "${place##*/lun_}" "$behind"
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


def _program(text: str, name: str, *arguments: Word) -> Argv:
    return (ROOT_SHELL, "-c", _HEAD + text, name, *arguments)


def make_unit(name: Word, device: str, *, serial: Word, guid: Word) -> Argv:
    """A block device as an LU with this serial number and thus this GUID; nothing where it is there already."""
    return _program(_UNIT, "lio-make-unit", name, device, serial, guid)


def remove_unit(name: Word) -> Argv:
    """Take an LU away; fails while a LUN is bound to it."""
    return _program(_UNIT_GONE, "lio-remove-unit", name)


def unit_device(name: Word, target: Word) -> Argv:
    """Print ``device PATH`` of an LU; fails where another target serves it too."""
    return _program(_UNIT_SAME, "lio-unit-device", name, target)


def make_target(target: Word, portals: tuple[str, ...], *, chap: bool) -> Argv:
    """A target, not enabled yet, that lets in nobody without an ACL. CHAP is never turned off on one that was there."""
    return _program(_TARGET, "lio-make-target", target, "1" if chap else "", *portals)


def bind_lun(target: Word, lun: Word, name: Word) -> Argv:
    """An LU as a LUN of a target; seen by no initiator but those that are remembered to have seen it."""
    return _program(_LUN, "lio-bind-lun", target, lun, name)


def admit(
    target: Word, initiator: str, *, renew: bool = False, chap: tuple[str, Word] | None, own: tuple[str, Word] | None
) -> Argv:
    """An initiator's ACL, with what it must know, and what the target proves itself with."""
    accounts = (*(chap or ("", "")), *(own or ("", "")))
    return _program(_ADMIT, "lio-admit", target, initiator, str(int(renew)), *accounts)


def renew(initiator: str, user: str, secret: Word) -> Argv:
    """Set what an initiator must know, everywhere; prints ``target NAME`` for each target it was set on."""
    return _program(_RENEW, "lio-renew-secret", initiator, user, secret)


def map_lun(target: Word, initiator: str, lun: Word) -> Argv:
    """Let an initiator see a LUN, under the same number."""
    return _program(_MAP, "lio-map-lun", target, initiator, lun)


def enable(target: Word) -> Argv:
    """Let initiators log in."""
    return _program(_ENABLE, "lio-enable", target)


def remove_target(target: Word) -> Argv:
    """Drop a target's sessions, and take away all of it."""
    return _program(_TARGET_GONE, "lio-remove-target", target)


def unbind_lun(target: Word, lun: Word, *, keep_places: bool = False) -> Argv:
    """Take a LUN off a target that stays. ``keep_places``: remember which initiators saw it."""
    keep = ("keep",) if keep_places else ()
    return _program(_LUN_GONE, "lio-unbind-lun", target, lun, *keep)


def unmap_lun(target: Word, initiator: str, lun: Word) -> Argv:
    """Take a LUN away from one initiator, and its ACL with the last."""
    return _program(_UNMAP, "lio-unmap-lun", target, initiator, lun)


def look(*name_and_target: Word) -> Argv:
    """Print rows about an LU and a target, or about all there are."""
    return _program(_LOOK, "lio-look", *name_and_target)


_BY_GUID = """\
name=
case $1 in 6001405*) name=xvm-`echo "${1#6001405}" | tr A-F a-f` ;; esac
set -- "$name" "$2"
"""


def look_by_guid(guid: Word, target: Word) -> Argv:
    """The same, of the LU with a GUID."""
    return _program(_BY_GUID + _LOOK, "lio-look-by-guid", guid, target)
