"""Space accounting: plausible numbers from what the sparse files take, exact ones for reservations.

used = max(refreservation, own data) as long as there is no snapshot; with snapshots the reservation counts in full
again for what was not written since, as in ZFS. Metadata counts as a constant.
"""

from dataclasses import dataclass, field
from functools import cached_property

from embedded import content, tree
from embedded.model import Dataset, Node

FILESYSTEM_BYTES = 24576
VOLUME_BYTES = 16384
_SLOP = 32
_DVAS_PER_POINTER = 3
_INDIRECT_SHIFT = 17
_POINTERS_PER_INDIRECT = 1 << (_INDIRECT_SHIFT - 7)


def reservation_for(volsize: int, volblocksize: int, *, copies: int = 1) -> int:
    """What a thick volume reserves: libzfs zvol_volsize_to_reservation, data plus indirect blocks."""
    blocks = volsize // volblocksize
    indirects = 7  # the metadnode, L0 to L6
    while blocks > 1:
        blocks = (blocks + _POINTERS_PER_INDIRECT - 1) // _POINTERS_PER_INDIRECT
        indirects += blocks
    return volsize * copies + indirects * min(_DVAS_PER_POINTER, copies + 1) * (1 << _INDIRECT_SHIFT)


def thick_reservation(node: Node, volsize: int, *, volblocksize: int, copies: int = 1) -> int:
    """The refreservation that ``zfs create -V`` sets."""
    if not node.flavour.thick_overhead:
        return volsize
    return reservation_for(volsize, volblocksize, copies=copies)


@dataclass(frozen=True, slots=True)
class Usage:
    """The parts of a dataset's ``used``, and what it refers to."""

    referenced: int
    by_dataset: int
    by_snapshots: int
    by_reservation: int
    by_children: int
    written: int

    @property
    def used(self) -> int:
        """All that counts against the dataset."""
        return self.by_dataset + self.by_snapshots + self.by_reservation + self.by_children


def number(dataset: Dataset, name: str) -> int:
    """A local size property, 0 for none."""
    text = dataset.properties.get(name, "0")
    return int(text) if text.isdecimal() else 0


class _Tree:
    """Who is below whom, oldest first, and who is cloned from whom, by name."""

    def __init__(self, node: Node) -> None:
        self.children: dict[str, list[str]] = {}
        self.snapshots: dict[str, list[str]] = {}
        self.clones: dict[str, list[str]] = {}
        by_age = sorted(node.datasets.items(), key=lambda item: item[1].txg)
        for name, dataset in by_age:
            head, at, _ = name.partition("@")
            if at:
                self.snapshots.setdefault(head, []).append(name)
            elif (parent := tree.parent_of(name)) is not None:
                self.children.setdefault(parent, []).append(name)
            if dataset.origin is not None:
                self.clones.setdefault(dataset.origin, []).append(name)


@dataclass
class Space:
    """The accounting of a whole node at one moment, none of it worked out before it is asked for, nor twice."""

    node: Node
    _usages: dict[str, Usage] = field(default_factory=dict)
    _free: dict[str, int] = field(default_factory=dict)
    _allocated: dict[str, int] = field(default_factory=dict)

    @cached_property
    def _tree(self) -> _Tree:
        return _Tree(self.node)

    @cached_property
    def _contents(self) -> content.Allocated:
        return content.Allocated(self.node.root)

    def clones(self, name: str) -> list[str]:
        """The datasets cloned from a snapshot, sorted."""
        return sorted(self._tree.clones.get(name, []))

    def referenced(self, name: str) -> int:
        """Bytes reachable from the dataset."""
        dataset = self.node.datasets[name]
        if not dataset.volsize:
            return FILESYSTEM_BYTES
        block = dataset.volblocksize
        data = self._contents.of(name) + dataset.assumed
        return VOLUME_BYTES + -(-data // block) * block

    def written_since(self, name: str, snapshot: str) -> int | None:
        """Bytes written to a dataset, or until a snapshot of it, after ``snapshot``; None if that is no older one."""
        datasets = self.node.datasets
        if snapshot not in datasets or tree.head_of(snapshot) != tree.head_of(name):
            return None
        if "@" not in snapshot or ("@" in name and datasets[snapshot].txg > datasets[name].txg):
            return None
        return max(0, self.referenced(name) - self.referenced(snapshot))

    def usage(self, name: str) -> Usage:
        """How the dataset's space is made up. A snapshot's own share is not known and counts as 0."""
        if name not in self._usages:
            self._usages[name] = self._add_up(name)
        return self._usages[name]

    def _add_up(self, name: str) -> Usage:
        dataset = self.node.datasets[name]
        referenced = self.referenced(name)
        if dataset.kind == "snapshot":
            return Usage(referenced, 0, 0, 0, 0, 0)
        snapshots = self._tree.snapshots.get(name, [])
        own = max(VOLUME_BYTES, referenced - dataset.shared)
        written = max(0, referenced - self.referenced(snapshots[-1])) if snapshots else own
        biggest = max((self.referenced(snapshot) for snapshot in snapshots), default=0)
        return Usage(
            referenced=referenced,
            by_dataset=own,
            by_snapshots=max(0, biggest - referenced),
            by_reservation=max(0, number(dataset, "refreservation") - written),
            by_children=sum(self.charge(child) for child in self._tree.children.get(name, [])),
            written=written,
        )

    def charge(self, name: str) -> int:
        """What the dataset costs its parent."""
        return max(self.usage(name).used, number(self.node.datasets[name], "reservation"))

    def free(self, pool: str) -> int:
        """What is left of a pool for new data."""
        if pool not in self._free:
            size = self.node.pools[pool].size
            self._free[pool] = max(0, size - size // _SLOP - self.charge(pool))
        return self._free[pool]

    def available(self, name: str) -> int:
        """What the dataset can still take: the pool's free space within quotas, and its own reservation."""
        room = self.free(tree.pool_of(name)) + self.usage(name).by_reservation
        above: str | None = name
        while above is not None:
            quota = number(self.node.datasets[above], "quota")
            if quota:
                room = min(room, max(0, quota - self.usage(above).used))
            above = tree.parent_of(above)
        return room

    def allocated(self, pool: str) -> int:
        """Bytes written in a pool: no reservation counts."""
        if pool not in self._allocated:
            self._allocated[pool] = self._written(pool)
        return self._allocated[pool]

    def _written(self, pool: str) -> int:
        return sum(
            self.usage(name).by_dataset + self.usage(name).by_snapshots
            for name, dataset in self.node.datasets.items()
            if dataset.kind != "snapshot" and tree.pool_of(name) == pool
        )
