"""A guest's disks with all that was ever snapshotted or put aside of them, as one round trip tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iscsi.backend import Everything, Export
from remote.errors import InUse, NotFound, Refused
from remote.host import Answer
from remote.script import Query
from storage import checkpoints, notes, rollback, snapshots, zvol
from storage.checkpoints import Checkpoint, Journal
from storage.names import VolumeName
from storage.snapshots import Family
from storage.zvol import Zvol
from xvmstore import inspection
from xvmstore.nodes import StorageNode
from xvmstore.results import Volume


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the guest: the volume as the admin knows it, and how it is exported. ``size`` is the LU's."""

    volume: Volume
    export: Export
    thick: bool

    @property
    def name(self) -> str:
        """DISK of GUEST/DISK."""
        return self.volume.name.partition("/")[2]

    @property
    def served(self) -> bool:
        """Its LU is there, or is waited for: it must be taken away before the zvol is changed, and brought back."""
        return self.volume.exported or bool(self.volume.dom0s)


@dataclass(frozen=True, slots=True)
class GuestState:
    """What is there of a guest.

    disks      its disks; in the middle of a rollback, those that are to be its disks again
    family     its dataset, disks and snapshots; ``aside`` the same of what rollbacks put aside
    shelved    by zvol, of the disks that were put aside: see ``identity``
    origins    every clone of the pool, and the snapshot it was made from
    programs   ZFS there knows channel programs
    """

    guest: str
    parent: str
    disks: tuple[Disk, ...]
    family: Family
    aside: Family
    shelved: Mapping[str, str]
    origins: Mapping[str, str]
    programs: bool

    @property
    def missing(self) -> bool:
        """There is no such guest just now."""
        return self.parent not in self.family.kinds

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Oldest first."""
        return checkpoints.of_guest(self.family, self.guest, self.parent)

    @property
    def kept(self) -> Mapping[str, str]:
        """Sets of volumes that were put aside, by name, oldest first, and the checkpoint each had to make room for."""
        container = rollback.kept(self.parent)
        sets = (one for one in sorted(self.aside.kinds) if one.rpartition("/")[0] == container)
        found = {one.rpartition("/")[2]: self.aside.ours[one].get("kept-for", "") for one in sets}
        return {name: why for name, why in found.items() if not name.endswith(rollback.COPY_NAME)}

    @property
    def journal(self) -> Journal:
        """What is under way; on the set that waits to become the guest's disks while there is no guest."""
        if not self.missing:
            return checkpoints.journal(self.family, self.parent)
        return next((checkpoints.journal(self.aside, one) for one in self.waiting), Journal())

    @property
    def waiting(self) -> tuple[str, ...]:
        """While there is no guest: the set that is to be it, and the one that was."""
        for one in self.aside.kinds if self.missing else ():
            source, _, aside = self.aside.ours[one].get("rollback", "").partition(" ")
            mine = one in {self.set(source), self.set(source) + rollback.COPY_NAME} if source and aside else False
            if mine and self.set(aside) in self.aside.kinds:
                return one, self.set(aside)
        return ()

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Disks that a rollback which was cut off has put aside, though they were to stay with the guest."""
        _, _, name = self.journal.rollback.partition(" ")
        aside = self.aside.volumes(self.set(name)) if name else ()
        has = self.aside.volumes(self.waiting[0]) if self.waiting else self.family.volumes(self.parent)
        names = {one.rpartition("/")[2] for one in has}
        return tuple(sorted({one.rpartition("/")[2] for one in aside} - names))

    def set(self, name: str) -> str:
        """The dataset of a set that was put aside."""
        return rollback.kept(self.parent, name)

    def size_at(self, disk: Disk, name: str) -> int:
        """Bytes a disk's LU had in a checkpoint, or in a set that was put aside; else what it has now."""
        snapshot = self.family.find(disk.volume.dataset, name)
        then = snapshot.volsize if snapshot else self.aside.volsizes.get(f"{self.set(name)}/{disk.name}")
        live = self.family.volsizes.get(disk.volume.dataset)
        return disk.volume.size if then is None or live is None else disk.volume.size + then - live

    def checkpoint(self, text: str) -> Checkpoint:
        """By name, by an unambiguous part of it, or ``latest``. Raises NotFound, Refused."""
        known = {one.name: one for one in self.checkpoints}
        return known[self.pick(text, tuple(known))]

    def pick(self, text: str, known: Sequence[str]) -> str:
        """A name by itself, by a part of it that only it has, or ``latest``. Raises NotFound, Refused."""
        if text == "latest" and known:
            return known[-1]
        found = [text] if text in known else [one for one in known if checkpoints.name(text) in one]
        if not found:
            raise NotFound(f"{self.guest} has no checkpoint {text}: `xvmstore checkpoint list {self.guest}`")
        if len(found) > 1:
            raise Refused(f"{text} may be {', '.join(found)}: name one of them")
        return found[0]

    def clones_of(self, snapshots: Sequence[str]) -> tuple[str, ...]:
        """What was cloned from these snapshots."""
        return tuple(clone for clone, origin in self.origins.items() if origin in set(snapshots))


def questions(node: StorageNode, guest: str) -> tuple[Query[Any], ...]:
    """All of it."""
    parent = node.parent(guest)
    kept, pool = rollback.kept(parent), parent.partition("/")[0]
    return (
        *inspection.list_questions(node, parent),
        zvol.zvols(kept),
        *checkpoints.family(parent),
        *checkpoints.family(kept),
        node.noted,
        snapshots.origins(pool),
        rollback.programs(pool),
    )


def look(node: StorageNode, guest: str) -> GuestState:
    """Ask the node. Raises NotFound where there is nothing of such a guest."""
    found = answer(node, guest, node.ask(questions(node, guest)))
    if found.missing and not found.journal.rollback:
        raise NotFound(f"{node.name}: there is no guest {guest} ({found.parent} does not exist)")
    return found


def answer(node: StorageNode, guest: str, answers: Sequence[Answer[Any]]) -> GuestState:
    """In the order of ``questions``. Raises what a question ran into."""
    parent = node.parent(guest)
    *exports, aside, own, own_newer, kept, kept_newer, noted, origins, programs = answers
    everything = node.backend.read_all([part.get() for part in exports[1:]])
    state = GuestState(
        guest=guest,
        parent=parent,
        disks=(),
        family=notes.read(own.get(), own_newer.get(), noted.get()),
        aside=notes.read(kept.get(), kept_newer.get(), noted.get()),
        shelved={one.dataset: identity(node, one.ours.get("guid"), one.ours.get("target")) for one in aside.get()},
        origins=origins.get(),
        programs=programs.get(),
    )
    zvols = [*exports[0].get(), *_waiting(state, aside.get())]
    return replace(state, disks=tuple(_disks(node, state, zvols, everything)))


def identity(node: StorageNode, guid: str | None, target: str | None) -> str:
    """What a disk keeps, whatever it is called: its GUID, or, if it has none for good, the end of its target's name."""
    if node.backend.traits.guid == "later":
        return (target or "").rpartition(".")[2]
    return (guid or "").upper()


def _waiting(state: GuestState, aside: Sequence[Zvol]) -> list[Zvol]:
    """Disks that are to be the guest's and are elsewhere, under the names they will have."""
    _, _, name = state.journal.rollback.partition(" ")
    sets = {state.set(name): state.left_behind} if name else {}
    if state.waiting:
        sets[state.waiting[0]] = tuple(one.rpartition("/")[2] for one in state.aside.volumes(state.waiting[0]))
    places = [one.dataset.rpartition("/") for one in aside]
    mine = [one for one, (where, _, disk) in zip(aside, places, strict=True) if disk in sets.get(where, ())]
    return [replace(one, dataset=f"{state.parent}/{one.dataset.rpartition('/')[2]}") for one in mine]


def _disks(node: StorageNode, state: GuestState, zvols: Sequence[Zvol], everything: Everything) -> list[Disk]:
    ours = [one for one in zvols if "target" in one.ours and ":" not in one.dataset.rpartition("/")[2]]
    return [_disk(node, state, one, everything) for one in ours]


def _disk(node: StorageNode, state: GuestState, found: Zvol, everything: Everything) -> Disk:
    volume = inspection.volume(node, found, inspection.exported(node, found, everything))
    export = node.export(
        VolumeName.parse(volume.name),
        size=str(volume.size),
        guid=volume.guid or "",
        serial=volume.serial or "",
        lun=str(volume.lun or 0),
        target=volume.target or "",
    )
    marked = state.family.ours.get(found.dataset, {}).get("thick") == "on"
    return Disk(volume, export, thick=marked or not volume.thin)


def whole(node: StorageNode, state: GuestState) -> None:
    """Checks that all disks have their identity, and none is half made or half gone. Raises Refused."""
    late = node.backend.traits.guid == "later"
    for one in state.disks:
        known = (one.volume.guid or late or None, one.volume.target, one.volume.lun)
        if None in known or one.volume.state not in {zvol.READY, zvol.ROLLING_BACK}:
            raise Refused(
                f"{node.name}: {one.volume.name} is not complete (it is {one.volume.state}): "
                f"`xvmstore volume show {one.volume.name}` tells what to do"
            )


def nobody_uses(node: StorageNode, state: GuestState) -> None:
    """Checks that no initiator is logged in to any of the disks. Raises InUse."""
    names = node.initiators()
    used = {one.volume.name: [names.get(who, who) for who in one.volume.sessions] for one in state.disks}
    busy = [f"{name} by {', '.join(who)}" for name, who in used.items() if who]
    if busy:
        raise InUse(
            f"{node.name}: {state.guest} is in use: logged in to {'; '.join(busy)}. Stop the guest there "
            f"(and `xvmstore guest forget {state.guest} --dom0 NAME`, if its disks are wired by path), then try again"
        )
