"""Zvols: the commands that make and change them, and the reader of what is there. Pure.

``zfs get -Hp -o name,property,value`` is the one exact reader that works from SXCE b85 to today (zfs list has no -p
before 2013), so everything is read through it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from remote.errors import UnexpectedOutput
from remote.script import Capture, Captured, Expect, Query, Step, Word, joined

PREFIX = "org.xvmstore:"
NO_DATASET = "dataset does not exist"
# These three are what makes a zvol one of ours; they are set before it gets its name.
GUID, LUN, TARGET = PREFIX + "guid", PREFIX + "lun", PREFIX + "target"
SERIAL, VDEV, STATE, MAKER = PREFIX + "serial", PREFIX + "vdev", PREFIX + "state", PREFIX + "made-by"
# How it was exported when it was made; on a guest's own dataset, whose it is.
LAYOUT, GUEST = PREFIX + "layout", PREFIX + "guest"
# Bytes at the start of the zvol that the target program keeps for itself (COMSTAR before b116).
HEAD = PREFIX + "head"
# The name a volume had before a rename, so that one cut off half-way can be told from a slip of the pen.
RENAMED = PREFIX + "renamed-from"
# On a volume that is thick, while no space is set aside for it because its successor needs it.
THICK = PREFIX + "thick"
OURS = (GUID, LUN, TARGET, SERIAL, VDEV, STATE, MAKER, LAYOUT, HEAD, RENAMED, THICK)
# A dataset on its way: ZFS makes it in one transaction and sets its properties in later ones, so a power cut can leave
# it bare. It gets its own name when all is set. No guest or disk may have a ":" in its name.
MAKING_NAME = ":making"
# Values of STATE. "making" until everything is verified: the commit mark is set last.
MAKING, READY, DESTROYING, ROLLING_BACK = "making", "ready", "destroying", "rolling-back"
NATIVE = ("type", "volsize", "volblocksize", "refreservation", "used", "referenced", "creation", "origin")


@dataclass(frozen=True, slots=True)
class Zvol:
    """A zvol as ZFS sees it. Sizes in bytes, ``creation`` in seconds since the epoch.

    ``refreservation`` 0 means thin. ``ours`` holds our own properties without their prefix, only those set on
    the zvol itself: a clone or a child of a marked dataset does not pass for a volume of ours. ``asked`` holds
    all that was read but those.
    """

    dataset: str
    volsize: int
    volblocksize: int
    refreservation: int
    used: int
    referenced: int
    creation: int
    origin: str | None
    ours: Mapping[str, str]
    asked: Mapping[str, str]

    @property
    def head(self) -> int:
        """Bytes of it that are not the guest's."""
        recorded = self.ours.get("head", "0")
        return int(recorded) if recorded.isdecimal() else 0

    @property
    def thin(self) -> bool:
        """No space is set aside for what is not written yet."""
        return self.refreservation < self.volsize


def raw_device(dataset: str) -> str:
    """The raw device of a zvol on Solaris and illumos, as COMSTAR wants it (not /dev/zvol/dsk)."""
    return f"/dev/zvol/rdsk/{dataset}"


def linux_device(dataset: str) -> str:
    """The link udev makes to a zvol's device on Linux, where a blank becomes "+" (zvol_id(8))."""
    return f"/dev/zvol/{dataset.replace(' ', '+')}"


UNMOUNTED = ("-o", "canmount=off", "-o", "mountpoint=none")


def _there(dataset: str) -> tuple[Word, ...]:
    return ("zfs", "list", "-H", "-o", "name", dataset)


def make_base(base: str) -> Step:
    """The base dataset, never mounted. Left alone where it exists."""
    return Step(("zfs", "create", "-p", *UNMOUNTED, base), unless=_there(base))


# Made under another name and then renamed, for the same reason as a zvol.
_MAKE_PARENTS = """\
z="$xvm_become zfs" unmounted="-o canmount=off -o mountpoint=none"
$z list -H -o name "$1" >/dev/null 2>&1 || $z create -p $unmounted "$1" || exit
$z list -H -o name "$2:making" >/dev/null 2>&1 && { $z destroy "$2:making" || exit; }
$z create $unmounted -o "$3" "$2:making" || exit
$z rename "$2:making" "$2" || { $z destroy "$2:making"; exit 1; }
"""


def make_parents(base: str, guest: str) -> Step:
    """The base dataset and the guest's own, neither ever mounted. Left alone where they exist."""
    parent = f"{base}/{guest}"
    undo = ("sh", "-c", _DESTROY_OWN, "destroy-own", parent, GUEST, guest)
    argv = ("sh", "-c", _MAKE_PARENTS, "make-parents", base, parent, f"{GUEST}={guest}")
    return Step(argv, undo=undo, lies=True, unless=_there(parent))


_DESTROY_HALF_MADE = """\
$xvm_become zfs list -H -o name "$1" >/dev/null 2>&1 || exit 0
exec $xvm_become zfs destroy "$1"
"""


def destroy_half_made(dataset: str) -> Step:
    """What a cut-off creation left; nobody ever used it. Under the guest's lock, so nobody is making it now."""
    half = dataset + MAKING_NAME
    return Step(("sh", "-c", _DESTROY_HALF_MADE, "destroy-half-made", half), retry=("dataset is busy",))


# What cannot be looked at is not destroyed; what is not there, or says another word, needs no destroying.
_DESTROY_OWN = """\
said=`$xvm_become zfs get -H -o value,source "$2" "$1" 2>&1`
case $said in
"$3	local") exec $xvm_become zfs destroy "$1" ;;
*"	local"|*"	inherited from "*|"-	-"|*"dataset does not exist"*) exit 0 ;;
esac
echo "$said" >&2
exit 1
"""


_NOT_THERE = """\
$xvm_become zfs list -H -o name "$1" >/dev/null 2>&1 || exit 0
echo "$1: dataset already exists" >&2
exit 1
"""


def create(
    dataset: str, volsize: int, *, thin: bool, maker: str, properties: Sequence[tuple[str, Word]]
) -> tuple[Step, ...]:
    """A new zvol, which gets its name when it has all its properties: it is never there without its identity.

    ``maker`` is unique to this attempt: the undo destroys the zvol only if it says so, never what was there before.
    """
    making = dataset + MAKING_NAME
    options = tuple(word for name, value in properties for word in ("-o", joined(f"{name}=", value)))
    sparse = ("-s",) if thin else ()
    made_by = ("-o", f"{MAKER}={maker}")
    argv = ("zfs", "create", *sparse, *options, *made_by, "-V", str(volsize), making)
    undos = [("sh", "-c", _DESTROY_OWN, "destroy-own", name, MAKER, maker) for name in (making, dataset)]
    return (
        Step(("sh", "-c", _NOT_THERE, "not-there-yet", dataset)),
        Step(argv, undo=undos[0], lies=True),
        Step(("zfs", "rename", making, dataset), undo=undos[1], lies=True, retry=("dataset is busy",)),
    )


def set_property(dataset: str, name: str, value: Word, *, back: Word | None = None) -> Step:
    """Set one property; ``back`` is the value an undo restores."""
    undo: tuple[Word, ...] | None = ("zfs", "set", joined(f"{name}=", back), dataset) if back is not None else None
    return Step(("zfs", "set", joined(f"{name}=", value), dataset), undo=undo)


_WRITE_THROUGH = """\
case `$xvm_become zfs get -H -o source sync "$1"` in local|received) exit 0 ;; esac
exec $xvm_become zfs set sync=always "$1"
"""


def write_through(dataset: str) -> Step:
    """Have every write on stable storage before it is acknowledged, unless the volume's own ``sync`` was set.

    For target programs that cannot turn an LU's write cache off.
    """
    return Step(("sh", "-c", _WRITE_THROUGH, "write-through", dataset))


def identity(dataset: str, *, layout: str) -> Step:
    """Checks that a zvol is one of ours, made in this layout, and captures what later steps need of it.

    ``target``, ``lun`` and ``volsize`` are always there; ``guid``, ``serial`` and ``vdev`` may be empty.
    """
    names = ",".join((GUID, TARGET, LUN, SERIAL, VDEV, LAYOUT, "volsize"))
    made = Expect(_field(LAYOUT, "layout", shape="[a-z-]*").sed, layout)
    argv = ("zfs", "get", "-Hp", "-o", "property,value,source", names, dataset)
    return Step(argv, captures=_CAPTURES, expect=(made,))


def _field(name: str, as_: str, *, shape: str, required: bool = True) -> Capture:
    """Its value, if it is its own and has the shape it must have: what was edited by hand is never sent on."""
    return Capture(as_, f"s/^{name.replace('.', '[.]')}\t\\({shape}\\)\t[^i].*/\\1/p", required)


# sed's basic regular expressions. A volume of b111 that stopped half-way may have no GUID; the target program tells it.
_CAPTURES = (
    _field(GUID, "guid", shape=r"[0-9A-Fa-f]\{32\}", required=False),
    _field(TARGET, "target", shape=r"[a-z]*[.][0-9A-Za-z.:-]*"),
    _field(LUN, "lun", shape=r"[0-9]\{1,5\}"),
    _field("volsize", "volsize", shape=r"[0-9]*"),
    _field(SERIAL, "serial", shape=r"[0-9a-z]*", required=False),
    _field(VDEV, "vdev", shape=r"[hsx][vd][a-z]*", required=False),
)

_FREE_VDEV = """\
used=" `$xvm_become zfs get -H -r -o value "$2" "$1" 2>/dev/null | tr '\\012' ' '`"
for v in $3 xvda xvdb xvdc xvdd xvde xvdf xvdg xvdh xvdi xvdj xvdk xvdl xvdm \\
xvdn xvdo xvdp xvdq xvdr xvds xvdt xvdu xvdv xvdw xvdx xvdy xvdz; do
case $used in *" $v "*) ;; *) echo $v; exit 0;; esac
done
echo "all device letters xvda to xvdz are taken" >&2; exit 1
"""


def free_vdev(parent: str, *, rather: Word = "") -> Step:
    """Captures ``free``, a Xen device letter no other disk of the guest has: ``rather`` or the first one.

    Chosen on the node, under the guest's lock, and kept with the disk: letters must not move when another disk goes.
    """
    return Step(("sh", "-c", _FREE_VDEV, "free-device-letter", parent, VDEV, rather), captures=(Capture("free", "p"),))


def vdev_is_free(parent: str, dataset: str, vdev: str) -> Step:
    """Checks that no other disk of the guest has this device name."""
    others = f"\\|^{dataset.replace('.', '[.]')}\t|d; /\t{vdev}$/p"
    return Step(("zfs", "get", "-H", "-r", "-o", "name,value", VDEV, parent), expect=(Expect(others, ""),))


_COMPARE = "echo \"$1 $2\" | awk '{ if ($2 + 0 < $1 + 0) exit 1; exit 0 }'"


def not_smaller(new: int) -> Step:
    """Checks that ``new`` bytes is no less than the captured ``volsize``. awk, since test(1) was 32 bits wide."""
    return Step(("sh", "-c", _COMPARE, "not-smaller", Captured("volsize"), str(new)))


@dataclass(frozen=True, slots=True)
class Resize:
    """A zvol that gets another size, in bytes; ``smaller``: it may be a smaller one."""

    dataset: str
    volsize: int
    smaller: bool

    @property
    def step(self) -> Step:
        """The change."""
        return set_property(self.dataset, "volsize", str(self.volsize))

    def around(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Grow before these steps, shrink after them. After ``identity``."""
        unless = ("sh", "-c", _COMPARE, "not-smaller", str(self.volsize), Captured("volsize"))
        return (replace(self.step, unless=unless), *steps, *((self.step,) if self.smaller else ()))


def not_destroying(dataset: str) -> Step:
    """Checks that no ``destroy`` or rollback of the volume was cut off half-way."""
    return Step(("zfs", "get", "-H", "-o", "value", STATE, dataset), refuse=(DESTROYING, ROLLING_BACK))


def no_snapshots(dataset: str) -> Step:
    """Checks that a volume has no snapshots."""
    return Step(("zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", dataset), refuse=(f"{dataset}@",))


def no_clones(dataset: str) -> Step:
    """Checks that nothing in the pool was cloned from a volume's snapshots."""
    pool = dataset.split("/", maxsplit=1)[0]
    return Step(("zfs", "get", "-H", "-r", "-o", "name,value", "origin", pool), refuse=(f"\t{dataset}@",))


def destroy(dataset: str, *, snapshots: bool = False) -> Step:
    """Destroy a zvol, with its snapshots when asked; the device may take a moment to be let go."""
    recursive = ("-r",) if snapshots else ()
    return Step(("zfs", "destroy", *recursive, dataset), retry=("dataset is busy",))


def destroy_if_empty(parent: str) -> Step:
    """Destroy a guest's dataset once its last disk has gone; only one that xvmstore made, and only an empty one."""
    guest = parent.rpartition("/")[2]
    return Step(("sh", "-c", _DESTROY_OWN, "destroy-own", parent, GUEST, guest), accept=("has children",))


def lun_is_nobodys(base: str, lun: int) -> Step:
    """Checks that no volume, exported or not, has this LUN on the shared target."""
    argv = ("zfs", "get", "-H", "-r", "-o", "value", LUN, base)
    return Step(argv, expect=(Expect(f"/^{lun}$/p", "", or_nothing=True),), accept=(NO_DATASET,))


def forget(dataset: str, name: str) -> Step:
    """Unset one of our properties."""
    return Step(("zfs", "inherit", name, dataset))


def rename(dataset: str, new: str) -> Step:
    """Give a zvol another name in the same pool. It must not be exported at that moment."""
    retry = ("dataset is busy",)
    undo = ("zfs", "rename", new, dataset)
    # Harmless where nothing was renamed: the old name is still taken then.
    return Step(("zfs", "rename", dataset, new), undo=undo, lies=True, retry=retry)


def zvol(dataset: str, *, extra: Sequence[str] = ()) -> Query[Zvol | None]:
    """One zvol, or None. Captures ``guid``, ``target`` and ``lun`` for the queries after it."""
    argv = ("zfs", "get", "-Hp", "-o", _COLUMNS, ",".join((*NATIVE, *OURS, *extra)), dataset)
    captures = tuple(Capture(c.name, "s/^[^\t]*\t" + c.sed[3:], required=False) for c in _CAPTURES[:3])
    return Query(argv, _first, absent=(NO_DATASET,), captures=captures)


def zvols(base: str, *, extra: Sequence[str] = ()) -> Query[tuple[Zvol, ...]]:
    """All zvols below a dataset, by name; none when the dataset is missing."""
    argv = ("zfs", "get", "-Hp", "-r", "-o", _COLUMNS, ",".join((*NATIVE, *OURS, *extra)), base)
    return Query(argv, parse, absent=(NO_DATASET,))


def _first(text: str) -> Zvol | None:
    found = parse(text)
    return found[0] if found else None


_COLUMNS = "name,property,value,source"


# Value and source by property.
Row = Mapping[str, tuple[str, str]]


def parse(text: str) -> tuple[Zvol, ...]:
    """Read ``zfs get -Hp -o name,property,value,source``; filesystems and snapshots are passed over.

    tank/xvm/web1/root	volsize	21474836480	local
    tank/xvm/web1/root	org.xvmstore:guid	600144F0...	local
    """
    zvols = (_zvol(name, row) for name, row in rows(text).items() if value(name, row, "type") == "volume")
    return tuple(sorted(zvols, key=lambda found: found.dataset))


def _zvol(name: str, row: Row) -> Zvol:
    def number(key: str) -> int:
        return _number(name, key, value(name, row, key))

    origin = value(name, row, "origin")
    return Zvol(
        dataset=name,
        volsize=number("volsize"),
        volblocksize=number("volblocksize"),
        refreservation=number("refreservation"),
        used=number("used"),
        referenced=number("referenced"),
        creation=number("creation"),
        origin=None if origin == "-" else origin,
        ours=own(row),
        asked={key: text for key, (text, _) in row.items() if key not in NATIVE and not key.startswith(PREFIX)},
    )


def rows(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Read ``zfs get -Hp -o name,property,value,source`` of whatever it lists, by name, in its order."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 4:
            raise UnexpectedOutput("zfs get", line, "four fields with a TAB between them")
        found.setdefault(fields[0], {})[fields[1]] = (fields[2], fields[3])
    return found


def own(row: Row) -> dict[str, str]:
    """Ours, without their prefix, as far as they are set on the thing itself: a snapshot also shows its dataset's."""
    set_here = ((key, text) for key, (text, source) in row.items() if source in {"local", "received"})
    return {key.removeprefix(PREFIX): text for key, text in set_here if key.startswith(PREFIX)}


def value(name: str, row: Row, key: str) -> str:
    """What it says of a property. Raises UnexpectedOutput where that was not told."""
    if key not in row:
        raise UnexpectedOutput("zfs get", name, f"a line for its property {key}")
    return row[key][0]


def _number(name: str, key: str, value: str) -> int:
    # "none" is how builds before 2010 print an absent refreservation even with -p.
    if key == "refreservation" and value in {"none", "-"}:
        return 0
    if not value.isdecimal():
        raise UnexpectedOutput("zfs get", f"{name}\t{key}\t{value}", "a number of bytes or seconds")
    return int(value)
