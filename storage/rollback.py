"""Going back to a checkpoint: the copies that take the place of a guest's disks, and rolling them back. Pure.

Two ways. *Keep*: the checkpoint is cloned below ``GUEST:kept/``, the guest's own dataset and the clone change places by
two renames, and what the guest had stays where the clone was made. *Discard*: ``zfs rollback``, which destroys all that
is newer; where channel programs can list bookmarks, in one of these over all disks, all or none.

Linux lets ``zfs rollback`` change a volume that somebody has open (zvol_suspend, since 0.7), so nothing here is done
before the LUs are gone, and the channel program refuses what is still open.
"""

import json
from collections.abc import Mapping, Sequence

from remote.script import Expect, Query, Step, Word, joined
from storage import zvol
from storage.checkpoints import JOURNAL, KEPT_FOR, KEPT_NAME, REHEARSAL, ROLLBACK, release_below
from storage.zvol import THICK

# A copy on its way to become a guest's disks; nothing else that is put aside has a ":" in its name.
COPY_NAME = ":copy"
# What a set that is put aside was kept for, when it comes from a rehearsal.
REHEARSED = "rehearsal-of-"
_BUSY = ("dataset is busy",)


def kept(parent: str, name: str = "") -> str:
    """Where a guest's volumes are that a rollback put aside: all of them, or the set of this name."""
    return f"{parent}{KEPT_NAME}/{name}" if name else parent + KEPT_NAME


def pinned(dataset: str, facts: Mapping[str, str]) -> Step:
    """Checks that a zvol's properties still are what was read of them in an earlier round trip."""
    argv = ("zfs", "get", "-Hp", "-o", "value", ",".join(facts), dataset)
    return Step(argv, expect=(Expect("p", "\n".join(facts.values())),))


def only_these(dataset: str, snapshots: Sequence[str]) -> Step:
    """Checks that a dataset's own snapshots are these and no others, oldest first."""
    argv = ("zfs", "get", "-H", "-r", "-o", "name", "type", dataset)
    return Step(argv, expect=(Expect(f"s,^{_literal(dataset)}@,,p", "\n".join(snapshots)),))


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if char in ".*[]^$\\" else char for char in text)


# -- copies ------------------------------------------------------------------------------------------------------------

# What is in the way is destroyed if it says that it was made for this, and nobody ever used it.
_CLEAR = """\
z="$xvm_become zfs"
$z list -H -o name "$1" >/dev/null 2>&1 || exit 0
was=`$z get -H -o value "$2" "$1"` || exit
[ "$was" = "$3" ] || { echo "$1 exists, and was not made for this" >&2; exit 1; }
exec $z destroy -r "$1"
"""


def make_container(parent: str) -> Step:
    """The dataset that sets of volumes are put aside in. Left alone where it exists."""
    return zvol.make_base(kept(parent))


def destroy_set(aside: str) -> tuple[Step, ...]:
    """What was put aside, with the snapshots in it; nobody else may hold one."""
    gone = Step(("zfs", "destroy", "-r", aside), accept=(zvol.NO_DATASET,), retry=_BUSY)
    return release_below(aside), gone


def destroy_container(parent: str) -> Step:
    """Where nothing is put aside any more."""
    return Step(("zfs", "destroy", kept(parent)), accept=(zvol.NO_DATASET, "has children"))


def clear(copy: str, mark: str) -> Step:
    """What a rollback that was cut off had begun to copy; nobody ever used it."""
    return Step(("sh", "-c", _CLEAR, "clear-half-made", copy, KEPT_FOR, mark), retry=_BUSY)


def clone(snapshot: str, to: str, properties: Sequence[tuple[str, Word]]) -> Step:
    """A clone with properties of its own; it takes no more space than will be written to it."""
    options = tuple(word for key, value in properties for word in ("-o", joined(f"{key}=", value)))
    return Step(("zfs", "clone", *options, snapshot, to))


# Below a dataset that has no mount point, so that it is never mounted. One that was cut off has no mark, and is cleared
# as such.
_CLONE_THEN_SET = """\
z="$xvm_become zfs" copy=$2
$z clone "$1" "$2" || exit
shift 2
for one do $z set "$one" "$copy" || exit; done
"""


def clone_parent(
    parent: str, snapshot: str, to: str, *, marks: Sequence[tuple[str, str]], there: bool, at_once: bool = True
) -> Step:
    """A clone of a guest's own dataset, if ``there`` is such a snapshot of it; never mounted.

    The undo destroys it with all that was made below it. ``at_once``: ``zfs clone`` knows -o.
    """
    key, value = marks[0]
    undo = ("sh", "-c", _CLEAR, "clear-half-made", to, key, value)
    settings = [f"{name}={text}" for name, text in marks]
    options = (*zvol.UNMOUNTED, *(word for one in settings for word in ("-o", one)))
    full = f"{parent}@{snapshot}"
    words: tuple[str, ...] = ("zfs", "clone", *options, full, to)
    if not there:
        # A disk that came from another guest brought its snapshots along, but not that guest's dataset's.
        words = ("zfs", "create", *options, to)
    elif not at_once:
        words = ("sh", "-c", _CLONE_THEN_SET, "clone-then-set", full, to, *settings, *zvol.UNMOUNTED[1::2])
    return Step(words, undo=undo, lies=True)


def copy(
    parent: str,
    snapshot: str,
    to: str,
    *,
    mark: str,
    disks: Sequence[str],
    there: bool,
    at_once: bool = True,
    unshared: Sequence[tuple[str, str]] = (),
) -> tuple[Step, ...]:
    """Clone a guest's dataset and these disks as of a snapshot; the clones get the properties that the disks have now.

    Without space set aside for them, which comes when they take the disks' place. ``unshared``: by what the clones are
    exported to nobody until then.
    """
    marks = [(KEPT_FOR, mark), *unshared]
    return (
        clone_parent(parent, snapshot, to, marks=marks, there=there, at_once=at_once),
        *(clone(f"{parent}/{disk}@{snapshot}", f"{to}/{disk}", ()) for disk in disks),
        *(same_properties(f"{parent}/{disk}", f"{to}/{disk}") for disk in disks),
    )


# ZFS copies no local property to a clone. What belongs to a dataset's size or place is set by other steps. The Bourne
# shell's read knows no -r, so backslashes are doubled for it; it keeps IFS as it was set for read; and a listing that
# fails half-way must not pass for a whole one.
_SAME = """\
z="$xvm_become zfs" was=$IFS
$z get -H -o property,value -s local,received all "$1" >/dev/null 2>&1 && from=local,received || from=local
{ $z get -H -o property,value -s $from all "$1" && echo "end	"; } | sed 's/\\\\/&&/g' | {
    whole=1
    while IFS='	' read name value; do
        IFS=$was
        case $name in
        end) whole=0 ;;
        volsize|refreservation|reservation|quota|refquota|canmount|mountpoint) ;;
        org.xvmstore:kept-for|org.xvmstore:rollback|org.xvmstore:thick) ;;
        org.xvmstore:last-?|org.xvmstore:acl) ;;
        *) $z set "$name=$value" "$2" || exit ;;
        esac
    done
    exit $whole
}
"""


def same_properties(source: str, copy_: str) -> Step:
    """Set all properties that are set on one dataset on another, our own included."""
    return Step(("sh", "-c", _SAME, "copy-properties", source, copy_))


def forget_journal(dataset: str) -> tuple[Step, ...]:
    """What was under way when a set was put aside is not under way when it comes back."""
    return tuple(zvol.forget(dataset, name) for name in (REHEARSAL, *JOURNAL))


def change_places(parent: str, source: str, aside: str, *, stay: Sequence[str]) -> tuple[Step, ...]:
    """Put a guest's dataset aside, and another in its place; disks in ``stay`` keep theirs.

    Between the two renames there is no such guest; either rename is undone when what follows it fails.
    """
    moves = [(parent, aside), (source, parent), *((f"{aside}/{disk}", f"{parent}/{disk}") for disk in stay)]
    return tuple(_move(old, new) for old, new in moves)


_MOVE = """\
z="$xvm_become zfs"
$z list -H -o name "$1" >/dev/null 2>&1 || { $z list -H -o name "$2" >/dev/null 2>&1 && exit 0; }
exec $z rename "$1" "$2"
"""


def _move(old: str, new: str) -> Step:
    """Done already where only the new name is there: an earlier run was cut off after it."""
    words = ("sh", "-c", _MOVE, "move")
    return Step((*words, old, new), undo=(*words, new, old), lies=True, retry=_BUSY)


_THIN_OUT = """\
z="$xvm_become zfs"
$z set "$2=on" "$1" && exec $z set refreservation=none "$1"
"""


def thin_out(dataset: str) -> Step:
    """No space is set aside any more for a volume that nobody writes to; that there was some is written down."""
    return Step(("sh", "-c", _THIN_OUT, "thin-out", dataset, THICK), undo=_reserve(dataset), lies=True)


_IF_MARKED = """\
marked=`$xvm_become zfs get -H -o value "$2" "$1"` || exit
[ "$marked" = on ] || exit 0
"""


def reserve_if_marked(dataset: str) -> Step:
    """The same, for a volume that was made thin by a rollback that was cut off."""
    return Step(("sh", "-c", _IF_MARKED + _RESERVE, "reserve-again", dataset, THICK))


def reserve(dataset: str) -> Step:
    """Set aside what a thick volume of its size needs."""
    return Step(_reserve(dataset))


# "auto" is what zfs create reserves, since 2018; before, the volume's size without what its metadata take.
_RESERVE = """\
z="$xvm_become zfs"
$z set refreservation=auto "$1" 2>/dev/null || {
    size=`$z get -Hp -o value volsize "$1"`
    $z set "refreservation=$size" "$1" || exit
}
exec $z inherit "$2" "$1"
"""


def _reserve(dataset: str) -> tuple[str, ...]:
    return ("sh", "-c", _RESERVE, "reserve", dataset, THICK)


# As long as it is a clone of something that was put aside, which may itself be a clone of another such. What else it
# may be a clone of, a golden image or another guest, keeps its snapshots.
_PROMOTE = """\
z="$xvm_become zfs" tries=0
while [ $tries -lt 100 ]; do
    origin=`$z get -H -o value origin "$1"` || exit
    case $origin in "$2"/*) ;; *) exit 0 ;; esac
    $z promote "$1" || exit
    tries=`expr $tries + 1`
done
exit 1
"""


def promote(parent: str, dataset: str) -> Step:
    """Give a clone the snapshots it was made from, so that it depends on nothing that was put aside."""
    return Step(("sh", "-c", _PROMOTE, "promote", dataset, kept(parent)))


_LIMITS = """\
z="$xvm_become zfs"
for limit in quota reservation; do
    value=`$z get -Hp -o value -s local $limit "$1"` || exit
    case $value in ''|-|0|none) continue ;; esac
    $z set $limit=none "$1" && $z set $limit=$value "$2" || exit
done
"""


def move_limits(aside: str, parent: str) -> Step:
    """A guest's quota and reservation are its own, whichever disks it has."""
    return Step(("sh", "-c", _LIMITS, "move-limits", aside, parent))


# -- rolling back ------------------------------------------------------------------------------------------------------

# argv: "check" or "go", the snapshot, bookmarks that are no newer, then each dataset and its newer snapshots, which may
# go. All is checked before anything is done, for a program that fails in the middle keeps what it did. A rollback in a
# channel program goes to the newest snapshot, so what is newer is destroyed first. zfs.check.rollback knows whether a
# volume is open, and whether there is room; it says nothing of bookmarks that are newer than the one that is meant.
_PROGRAM = """\
args = ...
local argv = args["argv"]
local tag, i, bad, gone, roll = argv[2], 4, {}, {}, {}
while argv[i] ~= nil do
    local dataset = argv[i]
    local allowed = "," .. argv[i + 1] .. ","
    local want = zfs.get_prop(dataset .. "@" .. tag, "createtxg")
    for one in zfs.list.snapshots(dataset) do
        if zfs.get_prop(one, "createtxg") > want then
            local short = string.sub(one, string.len(dataset) + 2)
            if string.find(allowed, "," .. short .. ",", 1, true) == nil then bad[one] = "is newer, not named" end
            for clone in zfs.list.clones(one) do bad[clone] = "is a clone of " .. one end
            local code = zfs.check.destroy(one)
            if code ~= 0 and bad[one] == nil then bad[one] = "cannot be destroyed: error " .. code end
            gone[#gone + 1] = one
        end
    end
    for one in zfs.list.bookmarks(dataset) do
        if string.find(argv[3], "," .. one .. ",", 1, true) == nil then bad[one] = "is a newer bookmark" end
    end
    local code = zfs.check.rollback(dataset)
    if code == 16 then bad[dataset] = "is busy"
    elseif code == 28 then bad[dataset] = "out of space"
    elseif code ~= 0 then bad[dataset] = "cannot be rolled back: error " .. code end
    roll[#roll + 1] = dataset
    i = i + 2
end
if next(bad) ~= nil then return bad end
if argv[1] == "check" then return "rolled back" end
for _, one in ipairs(gone) do
    local code = zfs.sync.destroy(one)
    if code ~= 0 then return { [one] = "was not destroyed: error " .. code .. "; nothing was rolled back" } end
end
for _, dataset in ipairs(roll) do
    local code = zfs.sync.rollback(dataset)
    if code ~= 0 then bad[dataset] = "was NOT rolled back: error " .. code end
end
if next(bad) ~= nil then return bad end
return "rolled back"
"""
_RUN_PROGRAM = """\
z="$xvm_become zfs" program=$1 pool=$2 verb=$3 tag=$4 old=,
shift 4
for one do
    case $one in */*) ;; *) continue ;; esac
    found=`{
        $z get -Hp -o value createtxg "$one@$tag"
        $z list -Hp -t bookmark -o createtxg,name "$one"
    } | awk 'BEGIN { FS = "\t" } NR == 1 { t = $1 + 0 } NR > 1 && $1 + 0 <= t { printf "%s,", $2 }'`
    old=$old$found
done
said=`echo "$program" | $z program -j "$pool" - "$verb" "$tag" "$old" "$@" 2>&1`
case $said in *'"return":"rolled back"'*) exit 0 ;; esac
echo "$said" >&2
exit 1
"""


def all_at_once(pool: str, snapshot: str, newer: Mapping[str, Sequence[str]]) -> tuple[Step, Step]:
    """One channel program, first for its checks alone: every dataset goes back, or none does, and stderr says why.

    ``newer`` names, for each dataset, the snapshots that are destroyed for it. After the second step there is no
    way back.
    """
    words = [word for dataset, names in newer.items() for word in (dataset, ",".join(names))]
    argv = ("sh", "-c", _RUN_PROGRAM, "roll-back-all", _PROGRAM, pool)
    check, go = ((*argv, verb, snapshot, *words) for verb in ("check", "go"))
    return Step(check, retry=("is busy",)), Step(go, keep=True, retry=("is busy",))


def why_not(text: str) -> str:
    """What the program objects to, in words.

    {"return":{"tank/xvm/web1/root":"is busy"}}
    """
    try:
        said = json.loads(text)["return"]
        return "; ".join(f"{name} {why}" for name, why in said.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return " ".join(text.split())


def one_by_one(snapshot: str, datasets: Sequence[str]) -> tuple[Step, ...]:
    """``zfs rollback -r`` of each: destroys what is newer first, and not all or none."""
    return tuple(Step(("zfs", "rollback", "-r", f"{dataset}@{snapshot}"), retry=_BUSY) for dataset in datasets)


_PROBE = """\
echo 'return zfs.list.bookmarks ~= nil' | $xvm_become zfs program -jn "$1" - 2>/dev/null || :
"""


def programs(pool: str) -> Query[bool]:
    """Does this ZFS know channel programs, and do these know bookmarks?"""
    return Query(("sh", "-c", _PROBE, "channel-programs", pool), lambda text: '"return":true' in text)


def begin(parent: str, what: str) -> Step:
    """Write down that a rollback is under way; taken back when it is undone."""
    return Step(("zfs", "set", f"{ROLLBACK}={what}", parent), undo=("zfs", "inherit", ROLLBACK, parent))


def put_aside(parent: str, place: str) -> Step:
    """Have a guest's dataset become one of the sets that are put aside for another; it must not be exported."""
    return _move(parent, place)
