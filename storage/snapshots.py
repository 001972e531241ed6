"""Snapshots of a dataset and all below it, as ZFS tells of them in two questions. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remote.errors import UnexpectedOutput
from remote.script import Query
from storage import zvol
from storage.zvol import Row

_NATIVE = ("type", "creation", "used", "volsize")
# Releases from 2009 to 2011 know the second of them only. A property that zfs does not know is exit 2, before it has
# looked at any dataset.
_NEWER = """\
exec 3>&1
for names in written,userrefs userrefs
do
    said=`$xvm_become zfs get -Hp -r -o name,property,value,source $names "$1" 2>&1 >&3`
    r=$?
    [ $r -eq 2 ] || break
done
[ -z "$said" ] || echo "$said" >&2
exit $r
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One disk's (or the guest's own dataset's) snapshot. Bytes; ``creation`` in seconds since the epoch.

    used     bytes that only this snapshot still holds
    written  bytes written between the snapshot before and this one; None where ZFS does not tell (before 2011)
    holds    how many tags it is held by; None where ZFS knows none (before 2009)
    ours     our properties, without their prefix; only those set on the snapshot itself
    """

    dataset: str
    name: str
    creation: int
    used: int
    volsize: int | None
    written: int | None
    holds: int | None
    ours: Mapping[str, str]

    @property
    def full(self) -> str:
        """dataset@name."""
        return f"{self.dataset}@{self.name}"


@dataclass(frozen=True, slots=True)
class Family:
    """A dataset, all below it, and their snapshots, oldest first.

    kinds     filesystem or volume, by dataset
    volsizes  of zvols, by dataset
    written   bytes written since the last snapshot, by dataset; empty where ZFS does not tell
    ours      our properties, by dataset
    """

    kinds: Mapping[str, str]
    volsizes: Mapping[str, int]
    written: Mapping[str, int]
    ours: Mapping[str, Mapping[str, str]]
    snapshots: Mapping[str, tuple[Snapshot, ...]]

    def volumes(self, parent: str) -> tuple[str, ...]:
        """The zvols directly below a dataset, by name."""
        below = (one for one, kind in self.kinds.items() if kind == "volume")
        return tuple(sorted(one for one in below if one.rpartition("/")[0] == parent))

    def find(self, dataset: str, snapshot: str) -> Snapshot | None:
        """A dataset's snapshot by name."""
        return next((one for one in self.snapshots.get(dataset, ()) if one.name == snapshot), None)

    def names(self, dataset: str) -> tuple[str, ...]:
        """Of all its snapshots, oldest first."""
        return tuple(one.name for one in self.snapshots.get(dataset, ()))

    def newer(self, dataset: str, snapshot: str) -> tuple[Snapshot, ...]:
        """The snapshots of a dataset that are newer than this one."""
        own = self.snapshots.get(dataset, ())
        names = [one.name for one in own]
        return own[names.index(snapshot) + 1 :] if snapshot in names else ()


_COLUMNS = "name,property,value,source"


def family(below: str, properties: Sequence[str]) -> tuple[Query[str], Query[str]]:
    """Everything about a dataset, all below it and their snapshots; none of it need be there. For ``read_family``.

    Two questions, since the second is of properties that old releases do not know.
    """
    known = ("zfs", "get", "-Hp", "-r", "-o", _COLUMNS, ",".join((*_NATIVE, *properties)), below)
    newer = ("sh", "-c", _NEWER, "newer-properties", below)
    return (
        Query(known, str, absent=(zvol.NO_DATASET,)),
        Query(newer, str, absent=(zvol.NO_DATASET, "invalid property")),
    )


def read_family(text: str, newer: str = "") -> Family:
    """Read ``zfs get -Hp -r -o name,property,value,source`` of filesystems, volumes and snapshots. libzfs lists the
    snapshots of one dataset in the order in which they were made (zfs_iter.c).

    tank/xvm/web1/root@xvm-20261124T130501Z-7f3a	type	snapshot	-
    tank/xvm/web1/root@xvm-20261124T130501Z-7f3a	org.xvmstore:reason	apt	local
    """
    rows = zvol.rows(text)
    # What came between the two questions is as if it had come after both.
    for key, values in zvol.rows(newer).items():
        if key in rows:
            rows[key].update(values)
    kinds, volsizes, written, ours = {}, {}, {}, {}
    snapshots: dict[str, list[Snapshot]] = {}
    for full, row in rows.items():
        if zvol.value(full, row, "type") == "snapshot":
            dataset, _, tag = full.partition("@")
            snapshots.setdefault(dataset, []).append(_snapshot(dataset, tag, full, row))
            continue
        kinds[full], ours[full] = zvol.value(full, row, "type"), zvol.own(row)
        if row.get("volsize", ("-", ""))[0] != "-":
            volsizes[full] = _number(full, row, "volsize")
        if row.get("written", ("-", ""))[0] != "-":
            written[full] = _number(full, row, "written")
    return Family(kinds, volsizes, written, ours, {key: tuple(values) for key, values in snapshots.items()})


def _snapshot(dataset: str, tag: str, full: str, row: Row) -> Snapshot:
    def maybe(key: str) -> int | None:
        return _number(full, row, key) if row.get(key, ("-", ""))[0] != "-" else None

    return Snapshot(
        dataset=dataset,
        name=tag,
        creation=_number(full, row, "creation"),
        used=_number(full, row, "used"),
        volsize=maybe("volsize"),
        written=maybe("written"),
        holds=maybe("userrefs"),
        ours=zvol.own(row),
    )


def _number(full: str, row: Row, key: str) -> int:
    value = zvol.value(full, row, key)
    if not value.isdecimal():
        raise UnexpectedOutput("zfs get", f"{full}\t{key}\t{value}", "a number")
    return int(value)


def origins(pool: str) -> Query[Mapping[str, str]]:
    """Every clone of the pool, and the snapshot it was made from."""
    argv = ("zfs", "get", "-Hp", "-r", "-o", "name,value", "origin", pool)
    return Query(argv, _read_origins)


def _read_origins(text: str) -> Mapping[str, str]:
    pairs = (line.split("\t") for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and "@" in pair[1]}
