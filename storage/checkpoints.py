"""Checkpoints: atomic snapshots of all of a guest's disks, and what is recorded on them.

Pure. A guest's disks are below one dataset, and ``zfs snapshot -r`` of it has been atomic on every ZFS there ever was
(zfs(8)). What is known of a checkpoint is in user properties of the snapshots themselves, which stay as they are when
the disks' own properties change, or where ``notes`` says.
"""

import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from remote.errors import InvalidValue
from remote.script import Query, Step
from storage import snapshots, zvol
from storage.names import property_value, shown
from storage.notes import Notes
from storage.snapshots import Family, Snapshot
from storage.zvol import PREFIX

# The tag that keeps a checkpoint's snapshots from being destroyed by accident (zfs-hold(8)).
TAG = "xvmstore"
ROLE, REASON, BY, COMMAND = PREFIX + "checkpoint", PREFIX + "reason", PREFIX + "by", PREFIX + "command"
PACKAGES, PAIR, OUTCOME = PREFIX + "packages", PREFIX + "pair", PREFIX + "outcome"
CONSISTENCY = PREFIX + "consistency"
OURS = (ROLE, REASON, BY, COMMAND, PACKAGES, PAIR, OUTCOME, CONSISTENCY)
# What is there is put on a guest's own dataset: how far a rollback or an upgrade has come.
ROLLBACK, UPGRADE = PREFIX + "rollback", PREFIX + "upgrade"
UPGRADE_COMMAND, UPGRADE_CHECKS = PREFIX + "upgrade-command", PREFIX + "upgrade-checks"
JOURNAL = (ROLLBACK, UPGRADE, UPGRADE_COMMAND, UPGRADE_CHECKS)
# Volumes that a rollback put aside are in GUEST:kept/SET/DISK. No guest may have a ":" in its name.
KEPT_NAME = ":kept"
KEPT_FOR = PREFIX + "kept-for"
# On the dataset of a guest that is made of another's checkpoint: GUEST@CHECKPOINT.
REHEARSAL = PREFIX + "rehearsal-of"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,50}\Z")


def new_name(now: float | None = None) -> str:
    """``xvm-20261124T130501Z-7f3a``: sorts by time, and is nobody else's, sanoid's or zfs-auto-snapshot's included."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    return f"xvm-{stamp}-{secrets.token_hex(2)}"


def name(text: str) -> str:
    """A checkpoint's name, or the part of it a user typed. Raises InvalidValue."""
    if not _NAME.match(text):
        raise InvalidValue(f"{shown(text)} is no checkpoint's name: see `xvmstore checkpoint list`")
    return text


@dataclass(frozen=True, slots=True)
class Note:
    """What is recorded of a checkpoint when it is taken.

    role         manual; pre or post an upgrade; ``pair`` is then the name of the other one
    by           USER@HOST
    command      what is about to be run, as an admin would type it
    packages     what is about to be changed, with versions where they are known
    consistency  crash: as after a power cut; freeze: the guest's file systems were frozen; pause: the guest was paused
    """

    role: str = "manual"
    reason: str = ""
    by: str = ""
    command: str = ""
    packages: str = ""
    pair: str = ""
    consistency: str = "crash"

    def properties(self) -> tuple[tuple[str, str], ...]:
        """Those that say something. Raises InvalidValue for what ZFS cannot keep."""
        values = (
            (ROLE, self.role),
            (REASON, self.reason),
            (BY, self.by),
            (COMMAND, self.command),
            (PACKAGES, self.packages),
            (PAIR, self.pair),
            (CONSISTENCY, self.consistency),
        )
        return tuple((key, property_value(key.removeprefix(PREFIX), value)) for key, value in values if value)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A guest's checkpoint.

    disks     the disks it has
    missing   disks the guest has now and it has not: made later, or its snapshot was destroyed
    created   seconds since the epoch
    used      bytes that nothing else holds any more, over all disks: what destroying it frees at least
    held      it is kept from being destroyed by accident; None where ZFS knows no holds
    foreign   tags besides ours that hold it
    """

    guest: str
    name: str
    created: int
    disks: tuple[str, ...]
    missing: tuple[str, ...]
    used: int
    held: bool | None
    foreign: int
    note: Note
    outcome: str = ""


def of_guest(family: Family, guest: str, parent: str) -> tuple[Checkpoint, ...]:
    """A guest's checkpoints, oldest first: snapshots of its disks that xvmstore took."""
    volumes = family.volumes(parent)
    found: dict[str, list[Snapshot]] = {}
    for volume in volumes:
        for one in family.snapshots.get(volume, ()):
            if "checkpoint" in one.ours:
                found.setdefault(one.name, []).append(one)
    made = [_checkpoint(guest, volumes, tag, snapshots) for tag, snapshots in found.items()]
    # Two of the same second: ZFS lists them in the order in which they were made.
    place = {tag: max(family.names(one.dataset).index(tag) for one in found[tag]) for tag in found}
    return tuple(sorted(made, key=lambda one: (one.created, place[one.name])))


def _checkpoint(guest: str, volumes: Sequence[str], tag: str, snapshots: Sequence[Snapshot]) -> Checkpoint:
    ours = snapshots[0].ours
    having = [one.dataset for one in snapshots]
    counts = [one.holds for one in snapshots if one.holds is not None]
    told = {key: ours[key] for key in ("reason", "by", "command", "packages", "pair", "consistency") if key in ours}
    return Checkpoint(
        guest=guest,
        name=tag,
        created=snapshots[0].creation,
        disks=tuple(_disk(one) for one in having),
        missing=tuple(_disk(one) for one in volumes if one not in having),
        used=sum(one.used for one in snapshots),
        held=min(counts) > 0 if counts else None,
        foreign=max([0, *(count - 1 for count in counts)]),
        note=Note(ours["checkpoint"], **told),
        outcome=ours.get("outcome", ""),
    )


def _disk(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def family(below: str) -> tuple[Query[str], Query[str]]:
    """All that is asked of a guest's dataset, or of a place for several; for ``notes.read``."""
    ours = (zvol.STATE, zvol.GUEST, zvol.GUID, KEPT_FOR, REHEARSAL, zvol.THICK, *JOURNAL, *OURS)
    return snapshots.family(below, ours)


# -- steps -------------------------------------------------------------------------------------------------------------

# What a snapshot of a thick volume takes from the pool at once: what was written since the last one, up to its
# refreservation (dsl_dataset_snapshot_reserve_space). Releases before 2011 do not tell what was written: all of it
# then. Solaris' own awk knows neither -v nor functions.
_COST = """\
z="$xvm_become zfs" keep=$1 pool=$2
shift 2
{
    echo "keep\tkeep\t$keep"
    $z get -Hp -o name,property,value used,available "$pool"
    for parent do
        $z get -Hp -r -o name,property,value type,written,refreservation "$parent" 2>/dev/null ||
        $z get -Hp -r -o name,property,value type,referenced,refreservation "$parent"
    done
} | awk '
BEGIN { FS = "\t"; split("", volume) }
$2 == "keep" { keep = $3 }
$2 == "used" { total += $3 }
$2 == "available" { total += $3; room = $3 }
$2 == "type" && $3 == "volume" { volume[$1] = 1 }
$2 == "written" || $2 == "referenced" { fresh[$1] = $3 + 0 }
$2 == "refreservation" { reserved[$1] = $3 + 0 }
END {
    for (v in volume) if (fresh[v] < reserved[v]) cost += fresh[v]; else cost += reserved[v]
    floor = total * keep / 100
    printf "cost %.0f available %.0f floor %.0f\\n", cost, room, floor
    if (total == 0 || room - cost < floor) exit 1
}'
"""


def affordable(pool: str, parents: Iterable[str], *, keep_free: float) -> Step:
    """Checks that a checkpoint leaves so many per cent of the pool free. Prints ``cost N available N floor N``."""
    return Step(("sh", "-c", _COST, "checkpoint-cost", f"{keep_free:g}", pool, *parents))


_COST_LINE = re.compile(r"cost (\d+) available (\d+) floor (\d+)")


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes a checkpoint takes from the pool at once, what the pool has, and what of that is to stay free."""

    cost: int
    available: int
    floor: int


def read_cost(text: str) -> Cost | None:
    """Read what ``affordable`` printed; None where it could not tell."""
    match = _COST_LINE.search(text)
    return Cost(*(int(number) for number in match.groups())) if match else None


def all_quiet(parent: str) -> Step:
    """Checks that no disk is half destroyed or half rolled back: a checkpoint of that would be of nothing whole."""
    return Step(
        ("zfs", "get", "-H", "-r", "-o", "value", zvol.STATE, parent), refuse=(zvol.DESTROYING, zvol.ROLLING_BACK)
    )


def take(parents: Sequence[str], snapshot: str, note: Note, *, notes: Notes) -> tuple[Step, ...]:
    """One atomic snapshot of all below the parents, and the hold on it."""
    noted = note.properties()
    names = tuple(f"{parent}@{snapshot}" for parent in parents)
    undo = ("sh", "-c", _DESTROY_ALL, "destroy-snapshots", *names)
    # The name is this attempt's alone, so that undoing is harmless even where nothing was taken.
    taken = Step(("zfs", "snapshot", "-r", *notes.options(noted), *names), undo=undo, lies=True)
    return (*notes.before(parents, snapshot, noted), taken, *(hold(one) for one in names))


_DESTROY_ALL = """\
z="$xvm_become zfs"
for one do
    $z list -H -o name "$one" >/dev/null 2>&1 || continue
    $z release -r xvmstore "$one" >/dev/null 2>&1
    $z destroy -r "$one" || exit
done
"""
# Before v18 pools (2009) ZFS knew no holds.
_NO_HOLDS = "unrecognized command"


def hold(full: str) -> Step:
    """Keep a snapshot, and those of its name below, from being destroyed by accident."""
    argv = ("zfs", "hold", "-r", TAG, full)
    return Step(argv, undo=("zfs", "release", "-r", TAG, full), lies=True, accept=(_NO_HOLDS, "tag already exists"))


def release(full: str) -> Step:
    """Let a snapshot, and those of its name below, be destroyed."""
    argv = ("zfs", "release", "-r", TAG, full)
    undo = ("zfs", "hold", "-r", TAG, full)
    return Step(argv, undo=undo, lies=True, accept=(_NO_HOLDS, "no such tag"))


def destroy(parent: str, snapshot: str) -> tuple[Step, ...]:
    """Destroy a checkpoint: held by nobody but us, cloned by nobody, or it stays whole."""
    full = f"{parent}@{snapshot}"
    gone = ("could not find any snapshots", zvol.NO_DATASET)
    return release(full), Step(("zfs", "destroy", "-r", full), accept=gone, retry=("dataset is busy",))


def record(full: str, key: str, value: str) -> Step:
    """Set one of our properties on a dataset or snapshot."""
    return Step(("zfs", "set", f"{key}={property_value(key.removeprefix(PREFIX), value)}", full))


def set_on_all(parent: str, snapshot: str, key: str, value: str, *, notes: Notes) -> Step:
    """Record something of a whole checkpoint. Raises InvalidValue."""
    return notes.change(parent, snapshot, key, property_value(key, value))


def set_outcome(parent: str, snapshot: str, outcome: str, *, notes: Notes) -> Step:
    """Record how it went. Raises InvalidValue."""
    return set_on_all(parent, snapshot, OUTCOME, outcome, notes=notes)


# Two rounds: look at all, then let go of all. A listing that fails half-way must not pass for a whole one. Until
# the end of 2010 `zfs holds` knew no -H: it printed columns, the last a time of five words, and complained on stdout.
# ksh93 runs the last part of a pipeline itself: without a subshell its `exit` would end the program.
_HOLDS = """\
z="$xvm_become zfs" was=$IFS
each() {
    { $z get -H -r -o name,value userrefs "$2" && echo "end	0"; } | (
        whole=1
        while IFS='	' read name count; do
            IFS=$was
            case $name in end) whole=0 ;; *) case $count in -|0) ;; *) $1 || exit ;; esac ;; esac
        done
        exit $whole
    )
}
look() {
    tags=`$z holds -H "$name" 2>/dev/null` || tags=`$z holds "$name"` || { echo "$tags" >&2; return 1; }
    others=`{ echo "$name"; echo "$tags"; } | awk '
        BEGIN { FS = "	" }
        NR == 1 { after = length($0) + 1; next }
        NF > 1 { if ($2 != "xvmstore") print $0; next }
        NR == 2 && $0 ~ /^NAME  *TAG  *TIMESTAMP *$/ { next }
        NF == 1 {
            n = split(substr($0, after), words, " ")
            tag = words[1]
            for (i = 2; i <= n - 5; i++) tag = tag " " words[i]
            if (tag != "xvmstore") print substr($0, 1, after - 1) "	" tag
        }'`
    [ -z "$others" ] || { echo "$others" >&2; return 1; }
}
let_go() { $z release xvmstore "$name"; }
held_by_us_alone() {
    said=`$z get -H -o value userrefs "$1" 2>&1`
    # Releases that know no holds, and what is gone already, have none.
    case $said in *"invalid property"*|*"does not exist"*) none=yes ;; *) none= && each look "$1" ;; esac
}
release_all() { held_by_us_alone "$1" && { [ -n "$none" ] || each let_go "$1"; }; }
"""


def held_by_us_alone(dataset: str) -> Step:
    """Checks that no snapshot below is held by anybody else; stderr has a row of ``zfs holds -H`` for each that is."""
    return Step(("sh", "-c", _HOLDS + 'held_by_us_alone "$1"\n', "held-by-us-alone", dataset))


def release_below(dataset: str) -> Step:
    """Take our holds off all snapshots of a dataset and below, for it is to be destroyed; nobody else may hold one."""
    return Step(("sh", "-c", _HOLDS + 'release_all "$1"\n', "release-holds", dataset))


# What cannot be looked at is not destroyed, and its holds are not touched.
_DESTROY_BARE = """\
all=`$z list -H -o name -t filesystem,volume -r "$1" 2>&1`
status=$?
case $all in *"dataset does not exist"*) exit 0 ;; esac
[ $status -eq 0 ] || { echo "$all" >&2; exit 1; }
[ "$all" = "$1" ] || exit 0
whose=`$z get -H -o value "$2" "$1"` || exit
[ "$whose" = "$3" ] || exit 0
release_all "$1" || exit
exec $z destroy -r "$1"
"""


def destroy_if_bare(parent: str) -> tuple[Step, ...]:
    """A guest's dataset that has only snapshots left, once its last disk has gone with all of its own."""
    guest = parent.rpartition("/")[2]
    return (Step(("sh", "-c", _HOLDS + _DESTROY_BARE, "destroy-if-bare", parent, zvol.GUEST, guest)),)


@dataclass(frozen=True, slots=True)
class Journal:
    """How far an upgrade or a rollback has come, as recorded on the guest's own dataset."""

    rollback: str = ""
    upgrade: str = ""
    command: str = ""
    checks: str = ""


def journal(family_: Family, parent: str) -> Journal:
    """Read it; empty where nothing is under way."""
    ours = family_.ours.get(parent, {})
    words = (ours.get(key.removeprefix(PREFIX), "") for key in JOURNAL)
    return Journal(*words)
