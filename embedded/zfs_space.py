"""Space accounting: plausible numbers from what the sparse files take, exact ones for reservations.

used = max(refreservation, own data) as long as there is no snapshot; with snapshots the reservation counts in full
again for what was not written since, as in ZFS. Metadata counts as a constant.
"""

from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Space:
    """The accounting of a whole node at one moment: every file is looked at once at most."""

    node: Node
    _children: dict[str, list[str]] = field(default_factory=dict)
    _snapshots: dict[str, list[str]] = field(default_factory=dict)
    _usages: dict[str, Usage] = field(default_factory=dict)
    _referenced: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_age = sorted(self.node.datasets, key=lambda name: self.node.datasets[name].txg)
        for name in by_age:
            parent = tree.parent_of(name)
            if parent is not None:
                kind = self._snapshots if "@" in name else self._children
                kind.setdefault(parent, []).append(name)

    def referenced(self, name: str) -> int:
        """Bytes reachable from the dataset."""
        if name not in self._referenced:
            self._referenced[name] = self._measure(name)
        return self._referenced[name]

    def _measure(self, name: str) -> int:
        dataset = self.node.datasets[name]
        if not dataset.volsize:
            return FILESYSTEM_BYTES
        block = dataset.volblocksize
        data = content.allocated(content.path_of(self.node.root, name))
        return VOLUME_BYTES + -(-data // block) * block

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
        snapshots = self._snapshots.get(name, [])
        own = max(VOLUME_BYTES, referenced - dataset.shared)
        written = max(0, referenced - self.referenced(snapshots[-1])) if snapshots else own
        biggest = max((self.referenced(snapshot) for snapshot in snapshots), default=0)
        return Usage(
            referenced=referenced,
            by_dataset=own,
            by_snapshots=max(0, biggest - referenced),
            by_reservation=max(0, number(dataset, "refreservation") - written),
            by_children=sum(self.charge(child) for child in self._children.get(name, [])),
            written=written,
        )

    def charge(self, name: str) -> int:
        """What the dataset costs its parent."""
        return max(self.usage(name).used, number(self.node.datasets[name], "reservation"))

    def free(self, pool: str) -> int:
        """What is left of a pool for new data."""
        size = self.node.pools[pool].size
        return max(0, size - size // _SLOP - self.charge(pool))

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
        return sum(
            self.usage(name).by_dataset + self.usage(name).by_snapshots
            for name, dataset in self.node.datasets.items()
            if tree.pool_of(name) == pool and dataset.kind != "snapshot"
        )
