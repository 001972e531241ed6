"""Where what is known of a checkpoint is kept: on its snapshots, or, where these have no properties of their own
(before b96), apart from them, by the checkpoint's name. Both are read wherever they are, for a node's release may have
been another when a checkpoint was taken. Pure.

Apart is one dataset beside the guests', org.xvmstore:note.CHECKPOINT.KEY = VALUE: no read-modify-write, and nothing to
move when disks change places or names. Not the base dataset itself: all below it would inherit every note, and ZFS
reads what is inherited, too, of each dataset and each snapshot that it lists.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remote.errors import InvalidValue
from remote.script import Query, Step
from storage import snapshots, zvol
from storage.names import shown
from storage.snapshots import Family
from storage.zvol import PREFIX

Pairs = Sequence[tuple[str, str]]

# Beside the guests' datasets. No guest may have a ":" in its name.
_PLACE = "xvmstore:notes"
_NOTE = f"{PREFIX}note."
# Names of properties are in lower case, and of these characters (zfsprops(7)).
_NAME = re.compile(r"[a-z0-9][a-z0-9_.:-]*\Z")
# Whose checkpoint it was when it was taken.
_GUEST = "guest"


class Notes(Protocol):
    """A place where notes are kept."""

    def options(self, noted: Pairs) -> tuple[str, ...]:
        """What ``zfs snapshot`` is told of them."""

    def before(self, parents: Sequence[str], snapshot: str, noted: Pairs) -> tuple[Step, ...]:
        """What is done before the snapshot is taken: one that is cut off leaves at most a note of nothing."""

    def change(self, parent: str, snapshot: str, key: str, value: str) -> Step:
        """Note one thing more of a checkpoint, which must be there."""

    def sweep(self, parent: str) -> tuple[Step, ...]:
        """Forget what is noted of a guest's checkpoints that are no more. Under its lock; does not fail."""


# Every snapshot of the checkpoint has it, since a guest's own dataset is not a disk and disks may go.
_EACH = """\
z="$xvm_become zfs" parent=$1 tag=$2 setting=$3
{ $z list -H -o name -t filesystem,volume -r "$parent" && echo end; } | {
    whole=1 found=
    while read one; do
        [ "$one" != end ] || { whole=0; continue; }
        $z list -H -o name "$one@$tag" >/dev/null 2>&1 || continue
        found=1
        $z set "$setting" "$one@$tag" || exit
    done
    [ -n "$found" ] || { echo "$parent@$tag: dataset does not exist" >&2; exit 1; }
    exit $whole
}
"""


@dataclass(frozen=True, slots=True)
class OnSnapshots:
    """They come and go with them."""

    def options(self, noted: Pairs) -> tuple[str, ...]:
        """Set in the transaction that takes it."""
        return tuple(word for key, value in noted for word in ("-o", f"{key}={value}"))

    def before(self, parents: Sequence[str], snapshot: str, noted: Pairs) -> tuple[Step, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def change(self, parent: str, snapshot: str, key: str, value: str) -> Step:
        """On all of its snapshots."""
        return Step(("sh", "-c", _EACH, "set-on-each", parent, snapshot, f"{key}={value}"))

    def sweep(self, parent: str) -> tuple[Step, ...]:  # noqa: ARG002
        """Nothing is left."""
        return ()


_SET = """\
notes=$1
shift
for one do $xvm_become zfs set "$one" "$notes" || exit; done
"""
_UNSET = """\
notes=$1
shift
for one do $xvm_become zfs inherit "$one" "$notes" || exit; done
"""

_CHANGE = """\
z="$xvm_become zfs"
all=`$z list -H -o name -t snapshot -r "$1"` || exit
case "$all
" in
*"@$2
"*) exec $z set "$3" "$4" ;;
esac
echo "$1@$2: dataset does not exist" >&2
exit 1
"""

# A listing that fails half-way must not pass for a whole one. Snapshots are looked for below the base, for a disk may
# have gone to another guest with its own. What stays is only in nobody's way, so that is no failure. Solaris' own awk
# knows neither tolower nor "in".
_SWEEP = """\
z="$xvm_become zfs" notes=$1
{
    echo "whose	whose	$3"
    $z get -H -s local -o property,value all "$notes" && $z get -H -r -o name,value type "$2" && echo "end	end"
} | sed '
    s/^org[.]xvmstore:note[.]\\(.*\\)[.]\\([^.	]*\\)	/note	\\1	\\2	/
    /^[^	]*@/{
        s/^[^@]*@/@/
        y/ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/
    }' | awk '
BEGIN { FS = "\t" }
$1 == "whose" && $2 == "whose" { guest = $3 }
$1 == "end" && $2 == "end" { whole = 1 }
/^@/ { tag = substr($1, 2); there[tag] = 1 }
$1 == "note" && NF > 3 {
    many++
    name[many] = $2
    key[many] = $3
    if ($3 == "guest" && $4 == guest) mine[$2] = 1
}
END {
    for (i = 1; i <= many && whole; i++) {
        one = name[i]
        if (mine[one] == 1 && there[one] != 1) print "org.xvmstore:note." one "." key[i]
    }
}' | while read one; do $z inherit "$one" "$notes"; done
exit 0
"""


@dataclass(frozen=True, slots=True)
class Apart:
    """On a dataset of their own below ``base``, by the checkpoint's name."""

    base: str

    @property
    def place(self) -> str:
        """The dataset."""
        return f"{self.base}/{_PLACE}"

    def options(self, noted: Pairs) -> tuple[str, ...]:  # noqa: ARG002
        """There are no options."""
        return ()

    def before(self, parents: Sequence[str], snapshot: str, noted: Pairs) -> tuple[Step, ...]:
        """All of them, and whose checkpoint it is. The name is new, so that undoing hits no other's."""
        whose = [(PREFIX + _GUEST, parent.rpartition("/")[2]) for parent in parents[:1]]
        pairs = [(_property(snapshot, key), value) for key, value in (*whose, *noted)]
        settings = tuple(f"{name}={value}" for name, value in pairs)
        undo = ("sh", "-c", _UNSET, "forget-notes", self.place, *(name for name, _ in pairs))
        note = Step(("sh", "-c", _SET, "note", self.place, *settings), undo=undo, lies=True)
        return zvol.make_base(self.place), note

    def change(self, parent: str, snapshot: str, key: str, value: str) -> Step:
        """Whatever is noted besides stays."""
        setting = f"{_property(snapshot, key)}={value}"
        return Step(("sh", "-c", _CHANGE, "note-more", parent, snapshot, setting, self.place))

    def sweep(self, parent: str) -> tuple[Step, ...]:
        """Only what this guest's lock protects: of another's checkpoint the snapshot may be about to be taken."""
        guest = parent.rpartition("/")[2]
        return (Step(("sh", "-c", _SWEEP, "sweep-notes", self.place, self.base, guest)),)


def _property(snapshot: str, key: str) -> str:
    name = snapshot.lower()
    if not _NAME.match(name):
        raise InvalidValue(f"{shown(snapshot)} is no checkpoint's name: see `xvmstore checkpoint list`")
    return f"{_NOTE}{name}.{key.removeprefix(PREFIX)}"


def parse(text: str) -> Mapping[str, Mapping[str, str]]:
    """Pick the notes out of all of a dataset's properties: by checkpoint, in lower case, and by key.

    org.xvmstore:note.xvm-20080512t130501z-7f3a.checkpoint	manual
    org.xvmstore:note.xvm-20080512t130501z-7f3a.reason	before pkgadd
    """
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith(_NOTE):
            full, _, value = line.partition("\t")
            name, _, key = full.removeprefix(_NOTE).rpartition(".")
            found.setdefault(name, {})[key] = value
    return found


def kept(base: str, *, on_snapshots: bool) -> Notes:
    """Where they are kept from now on of the guests below ``base``."""
    return OnSnapshots() if on_snapshots else Apart(base)


def kept_apart(base: str) -> Query[str]:
    """All that is noted apart, for ``parse``; nothing where no checkpoint was ever taken so."""
    argv = ("zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", Apart(base).place)
    return Query(argv, str, absent=(zvol.NO_DATASET,))


def read(text: str, newer: str, apart: str) -> Family:
    """The answers of ``snapshots.family`` and ``kept_apart``. What a snapshot has itself is the younger one."""
    family, notes = snapshots.read_family(text, newer), parse(apart)
    noted = {
        dataset: tuple(replace(one, ours={**notes.get(one.name.lower(), {}), **one.ours}) for one in own)
        for dataset, own in family.snapshots.items()
    }
    return replace(family, snapshots=noted)
