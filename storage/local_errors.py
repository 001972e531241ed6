"""Why ZFS on this machine said no: one tree of errors, and what of ``zfs``'s words and libzfs_core's classes is which.

A message is made of the type and the names alone, so it is the same whichever of the two spoke.
"""

import errno
import re
from collections.abc import Iterable, Mapping, Sequence

from remote.errors import RemoteError, XvmError, one_line

Pairs = Sequence[tuple["type[ZfsError]", tuple[str, ...]]]


class Unavailable(XvmError):
    """The backend that was asked for cannot be used here; the message says how to get it."""


class ZfsError(RemoteError):
    """ZFS on this machine said no. ``names`` are the datasets and snapshots it is about, sorted."""

    says = "was refused"

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(set(names)))
        super().__init__(f"{', '.join(self.names)}: {self.says}" if self.names else f"zfs: {self.says}")


class NoRights(ZfsError):
    """The user may not do this."""

    says = "permission denied: run it as root, or delegate it with `zfs allow`"


class Missing(ZfsError):
    """No such dataset or snapshot."""

    says = "does not exist"


class Exists(ZfsError):
    """The name is taken."""

    says = "exists already"


class Held(ZfsError):
    """A hold, or a send that runs, keeps the snapshot."""

    says = "is held: `zfs holds SNAPSHOT` tells by what"


class Cloned(ZfsError):
    """A clone depends on the snapshot."""

    says = "has clones: destroy or promote them first"


class NotLatest(ZfsError):
    """Something newer than the snapshot would be lost."""

    says = "is not the newest: newer snapshots or bookmarks would be lost"


class NoSpace(ZfsError):
    """The pool is full, or a reservation needs what is left of it."""

    says = "out of space: free some in the pool, or lower a refreservation"


class Busy(ZfsError):
    """Somebody has it open."""

    says = "is busy: somebody has it open"


class HoldExists(ZfsError):
    """The snapshot is held by the same tag."""

    says = "is held by this tag already"


class NotHeld(ZfsError):
    """The snapshot is not held by the tag."""

    says = "is not held by this tag"


class Unexplained(ZfsError):
    """ZFS said something that is in none of our tables; ``said`` is its text, or libzfs_core's."""

    def __init__(self, names: Iterable[str], said: str = "") -> None:
        self.said = said
        self.says = one_line(said) or "failed and said nothing"
        super().__init__(names)


# How the lines of `zfs` end (libzfs_dataset.c, libzfs_util.c; tests/captured/ has them). The first that fits counts.
SAID: tuple[tuple[str, type[ZfsError]], ...] = (
    ("dataset already exists", Exists),
    ("dataset does not exist", Missing),
    ("out of space", NoSpace),
    ("permission denied", NoRights),
    ("tag already exists on this dataset", HoldExists),
    ("no such tag on this dataset", NotHeld),
    ("more recent snapshots or bookmarks exist", NotLatest),
    ("more recent snapshots exist", NotLatest),
    ("snapshot has dependent clones", Cloned),
    ("snapshot is cloned", Cloned),
    ("clones of previous snapshots exist", Cloned),
    ("it's being held. Run 'zfs holds -r {name}' to see holders.", Held),
    ("dataset is busy", Busy),
)
# Said of nobody in particular when the kernel refuses the whole call: it is about all that was asked for.
_OF_ALL = re.compile(r"cannot (create snapshots |hold|release|destroy snapshots): permission denied\Z")
# Lines that come with those and say nothing more.
_ASIDE = ("no snapshots were created", "could not find any snapshots to destroy; check snapshot names.")
# The classes of libzfs_core.exceptions, by name: the module is not there everywhere.
RAISED: Mapping[str, type[ZfsError]] = {
    "SnapshotExists": Exists,
    "FilesystemNotFound": Missing,
    "SnapshotNotFound": Missing,
    "DatasetNotFound": Missing,
    "PoolNotFound": Missing,
    "NoSpace": NoSpace,
    "HoldExists": HoldExists,
    "HoldNotFound": NotHeld,
    "SnapshotNotLatest": NotLatest,
    "SnapshotIsCloned": Cloned,
    "SnapshotIsHeld": Held,
    "DatasetBusy": Busy,
}
RIGHTS = (errno.EPERM, errno.EACCES)
# Worst first. A snapshot that is held and has clones is Held: that is what the kernel looks at first.
_WORST = (NoRights, Missing, Exists, HoldExists, NotHeld, Held, Cloned, NotLatest, NoSpace, Busy)


def dataset_of(name: str) -> str:
    """A snapshot's dataset."""
    return name.partition("@")[0]


def worst(failures: Pairs) -> ZfsError:
    """Of several errors of one command the worst, with the names of all that had it."""
    kind = min((kind for kind, _ in failures), key=_WORST.index)
    return kind(name for other, names in failures if other is kind for name in names)


def failures(stderr: str, names: Sequence[str]) -> Pairs:
    """Read what ``zfs`` says of snapshots, as types and the names they are about. Raises Unexplained.

    cannot create snapshot 'tank/vm1@pre': dataset already exists
    cannot open 'tank/nope': dataset does not exist
    cannot create snapshots : permission denied
    """
    said = stderr.partition("usage:\n")[0].splitlines()
    # What stands under a line that ends in a colon are names of what is in the way.
    list_begins = next((i for i, line in enumerate(said) if line.startswith("use '-")), len(said))
    lines = [line for line in said[:list_begins] if line.strip() and line.strip() not in _ASIDE]
    if not lines:
        raise Unexplained(names, stderr)
    return [_failure(line, names, stderr) for line in lines]


def _failure(line: str, names: Sequence[str], stderr: str) -> tuple[type[ZfsError], tuple[str, ...]]:
    if _OF_ALL.match(line):
        return NoRights, tuple(names)
    # Names are looked for and not picked out: they may hold blanks and colons, and quotes round them come and go.
    candidates = dict.fromkeys((*names, *(dataset_of(name) for name in names)))
    for ending, kind in SAID:
        for name in candidates:
            if re.search(rf"[ ']{re.escape(name)}'?: {re.escape(ending.replace('{name}', name))}\Z", line):
                return kind, (name,)
    raise Unexplained(names, stderr)
