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

HEAD = """\
core=/sys/kernel/config/target/core iscsi=/sys/kernel/config/target/iscsi
die() { echo "$*" >&2; exit 1; }
put() { printf '%s' "$2" >"$1" || die "the kernel does not take '$2' for $1"; }
get() { v=; { read -r v <"$1" || :; } 2>/dev/null; }
unit_of() { unit=; for u in $core/iblock_*/"$1"; do [ -d "$u" ] && unit=$u; done; }
serial_of() { get "$1/wwn/vpd_unit_serial"; case $v in *": "*) v=${v#*: } ;; *) v= ;; esac; }
gone() { for d in "$@"; do [ -d "$d" ] && { rmdir "$d" || exit 1; }; done; :; }
# The LU behind a LUN's place; nothing where the place is empty.
behind() { lu=; for l in "$1"/*; do [ -h "$l" ] && { lu=`readlink -f "$l"`; lu=${lu##*/}; }; done; }
# What the LU is on: a zvol by the name it has now, which need not be the one it had then.
device_of() {
    device=
    block=
    while read -r line; do
        case $line in *"iBlock device: "*) block=${line#*iBlock device: }; block=${block%% *} ;; esac
    done <"$1/info"
    case $block in zd*) device=`/lib/udev/zvol_id "/dev/$block" 2>/dev/null` && device=/dev/zvol/$device ;; esac
    [ -n "$device" ] || { get "$1/udev_path"; device=$v; }
}
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
        [ "$v" = "$serial" ] || die "the LU $name has the serial number $v, not $serial"
        wanted=$device
        device_of "$unit"
        [ "$path$device" = "$wanted$wanted" ] || die "the LU $name is on $device, and was made on $path: not $wanted"
        exit 0
    fi
    gone "$unit" "${unit%/*}"
fi
for u in $core/iblock_*/*; do
    get "$u/udev_path"
    [ "$v" != "$device" ] || die "the LU ${u##*/} is to be on $device at the next boot: was its zvol renamed under it?"
done
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

_THEN = """\
shift
exec "$@"
"""

# Its device, and a failure where the LU also hangs on a target that is not the volume's own.
_UNIT_SAME = """\
name=$1 target=$2
unit_of "$name"
[ -n "$unit" ] || exit 0
device_of "$unit"
echo "device $device"
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
for np in "$tpg"/np/*; do [ -d "$np" ] && exit 0; done
for portal in "$@"; do mkdir "$tpg/np/$portal" || exit 1; done
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

# Secrets are files, read here and written by the shell itself: no argument list ever holds one. What is there of an
# initiator's own is kept; "" as a user's name means none, and NULL is what LIO shows where an account was cleared.
_ADMIT = """\
target=$1 initiator=$2 user=$3 secret=$4 own_user=$5 own_secret=$6
acl=$iscsi/$target/tpgt_1/acls/$initiator
[ -d "$acl" ] || mkdir "$acl" || exit 1
account() {
    read -r word <"$4"
    put "$acl/auth/userid$1" "$3"
    printf '%s' "$word" >"$acl/auth/password$1" || die "the kernel does not take the CHAP secret of $2"
}
get "$acl/auth/password"
case $v in NULL*) v= ;; esac
if [ -n "$user" ] && [ -z "$v" ]; then account "" "$initiator" "$user" "$secret"; fi
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
    put "$tpg/attrib/authentication" 1
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
linked=
for l in "$seen"/*; do
    [ -h "$l" ] || continue
    [ "$l" -ef "$tpg/lun/lun_$lun" ] || die "$initiator sees another LUN as number $lun of $target: take it away first"
    linked=1
done
[ -n "$linked" ] || ln -s "$tpg/lun/lun_$lun" "$seen/lun_$lun" || exit 1
put "$seen/write_protect" 0
"""

_ENABLE = """\
get "$iscsi/$1/tpgt_1/enable"
[ "$v" = 1 ] || put "$iscsi/$1/tpgt_1/enable" 1
"""

# The target as a whole: first nobody can log in any more, then all that hangs on it goes.
_TARGET_GONE = """\
target=$iscsi/$1
[ -d "$target" ] || exit 0
for tpg in "$target"/tpgt_*; do
    [ -d "$tpg" ] || continue
    get "$tpg/enable"
    [ "$v" = 0 ] || put "$tpg/enable" 0
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

# One LU off a target that stays; a LUN of this number that is another LU's is left alone, and so are all ACLs. "keep":
# who saw it is remembered, by empty places that _LUN fills again.
_LUN_GONE = """\
target=$1 lun=$2 name=$3 keep=${4-}
tpg=$iscsi/$target/tpgt_1
place=$tpg/lun/lun_$lun
[ -d "$place" ] || exit 0
behind "$place"
case $lu in "" | "$name") ;; *) exit 0 ;; esac
for seen in "$tpg"/acls/*/lun_"$lun"; do
    [ -d "$seen" ] || continue
    for l in "$seen"/*; do [ -h "$l" ] && [ ! "$l" -ef "$place" ] && continue 2; done
    unlink_in "$seen"
    [ "$keep" = keep ] || gone "$seen"
done
unlink_in "$place"
[ "$keep" = keep ] || gone "$place"
"""

# "own": the target serves this LU alone, so its ACL goes as well.
_UNMAP = """\
target=$1 initiator=$2 lun=$3 name=$4 own=$5
tpg=$iscsi/$target/tpgt_1
acl=$tpg/acls/$initiator
[ -d "$acl" ] || exit 0
behind "$tpg/lun/lun_$lun"
case $lu in "" | "$name") ;; *) exit 0 ;; esac
[ -d "$acl/lun_$lun" ] && { unlink_in "$acl/lun_$lun"; gone "$acl/lun_$lun"; }
[ -z "$own" ] || gone "$acl"
"""

# Was it served when it was last seen? Its LU or its place is there.
_SERVED = """\
name=$1 target=$2 lun=$3
unit_of "$name"
behind "$iscsi/$target/tpgt_1/lun/lun_$lun"
[ -n "$unit" ] || { [ -d "$iscsi/$target/tpgt_1/lun/lun_$lun" ] && [ -z "$lu" ]; } || exit 0
echo served
"""

# After a boot that could not restore the LU of a target of its own, its ACLs have lost their places as well.
_MAP_ALL = """\
target=$1 lun=$2
tpg=$iscsi/$target/tpgt_1
for acl in "$tpg"/acls/*; do
    [ -d "$acl" ] || continue
    for seen in "$acl"/lun_*; do [ -d "$seen" ] && continue 2; done
    mkdir "$acl/lun_$lun" && ln -s "$tpg/lun/lun_$lun" "$acl/lun_$lun/lun_$lun" || exit 1
done
"""


def program(text: str, name: str, *arguments: Word) -> Argv:
    """A program of ours for the node's shell, run with rights as a whole; ``name`` says what it does."""
    return (ROOT_SHELL, "-c", HEAD + text, name, *arguments)


def make_unit(name: Word, device: str, *, serial: Word, guid: Word) -> Argv:
    """A block device as an LU with this serial number and thus this GUID; nothing where it is there already."""
    return program(_UNIT, "lio-make-unit", name, device, serial, guid)


def remove_unit(name: Word) -> Argv:
    """Take an LU away; fails while a LUN is bound to it."""
    return program(_UNIT_GONE, "lio-remove-unit", name)


def remove_unit_then(name: Word, after: Argv) -> Argv:
    """The same, and then another command."""
    return program(_UNIT_GONE + _THEN, "lio-remove-unit", name, *after)


def unit_device(name: Word, target: Word) -> Argv:
    """Print ``device PATH`` of an LU; fails where another target serves it too."""
    return program(_UNIT_SAME, "lio-unit-device", name, target)


def make_target(target: Word, portals: tuple[str, ...], *, chap: bool) -> Argv:
    """A target, not enabled yet, that lets in nobody without an ACL. CHAP is never turned off on one that was there."""
    return program(_TARGET, "lio-make-target", target, "1" if chap else "", *portals)


def bind_lun(target: Word, lun: Word, name: Word) -> Argv:
    """An LU as a LUN of a target; seen by no initiator but those that are remembered to have seen it."""
    return program(_LUN, "lio-bind-lun", target, lun, name)


def admit(target: Word, initiator: str, *, chap: tuple[str, Word] | None, own: tuple[str, Word] | None) -> Argv:
    """An initiator's ACL, with what it must know, and what the target proves itself with."""
    accounts = (*(chap or ("", "")), *(own or ("", "")))
    return program(_ADMIT, "lio-admit", target, initiator, *accounts)


def renew(initiator: str, user: str, secret: Word) -> Argv:
    """Set what an initiator must know, everywhere; prints ``target NAME`` for each target it was set on."""
    return program(_RENEW, "lio-renew-secret", initiator, user, secret)


def map_lun(target: Word, initiator: str, lun: Word) -> Argv:
    """Let an initiator see a LUN, under the same number."""
    return program(_MAP, "lio-map-lun", target, initiator, lun)


def enable(target: Word) -> Argv:
    """Let initiators log in."""
    return program(_ENABLE, "lio-enable", target)


def remove_target(target: Word) -> Argv:
    """Drop a target's sessions, and take away all of it."""
    return program(_TARGET_GONE, "lio-remove-target", target)


def unbind_lun(target: Word, lun: Word, name: Word, *, keep_places: bool = False) -> Argv:
    """Take an LU's LUN off a target that stays. ``keep_places``: remember which initiators saw it."""
    keep = ("keep",) if keep_places else ()
    return program(_LUN_GONE, "lio-unbind-lun", target, lun, name, *keep)


def unmap_lun(target: Word, initiator: str, lun: Word, name: Word, *, shared: bool) -> Argv:
    """Take an LU's LUN away from one initiator, and its ACL on a target of the LU's own."""
    return program(_UNMAP, "lio-unmap-lun", target, initiator, lun, name, "" if shared else "own")


def was_served(name: Word, target: Word, lun: Word) -> Argv:
    """Print ``served`` if the LU is there, or a place that remembers it."""
    return program(_SERVED, "lio-was-served", name, target, lun)


def map_all(target: Word, lun: Word) -> Argv:
    """Let every initiator that a target knows, and that sees nothing there, see its LUN."""
    return program(_MAP_ALL, "lio-map-all", target, lun)
