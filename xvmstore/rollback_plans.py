"""What a rollback does, worked out from what is there: which disks, what goes where, in which order. Pure.

``plan_keep`` puts what the guest has aside, ``plan_discard`` destroys what is newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from remote.errors import InUse, Refused
from remote.host import who
from remote.script import Step
from storage import checkpoints, rollback, zvol
from storage.names import human
from xvmstore import guest_state, luns
from xvmstore.guest_state import Disk, GuestState
from xvmstore.nodes import StorageNode
from xvmstore.plan import Part, Plan

_DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Loss:
    """What a rollback that keeps nothing destroys: newer snapshots, oldest first, and bytes written since."""

    snapshots: tuple[str, ...]
    written: int | None

    def __str__(self) -> str:
        much = "all that was written" if self.written is None else f"{human(self.written)} written"
        newer = f", and the newer snapshots {', '.join(self.snapshots)}" if self.snapshots else ""
        return f"{much} since{newer}"


# -- what is asked for -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """A rollback as it is to be done, or as it was begun.

    source   a checkpoint, or a set of volumes that was put aside
    aside    the name under which the guest's present volumes are kept; None: they are rolled back
    begun    an earlier run of it was cut off; past its point of no return, unless it puts the disks ``aside``
    then     what is recorded on the guest's dataset when all is done, in the same trip
    """

    source: str
    aside: str | None
    begun: bool = False
    then: tuple[Step, ...] = ()


def wish(node: StorageNode, state: GuestState, text: str, *, discard: bool, for_upgrade: bool = False) -> Wish:
    """What is meant; a rollback that was cut off goes first. Raises NotFound, Refused."""
    words = state.journal.rollback.split()
    if len(words) == 2:
        source, aside = words
        if text not in source and text != "latest":
            raise Refused(
                f"{node.name}: a rollback of {state.guest} to {source} was cut off: finish it first "
                f"(`xvmstore checkpoint rollback {state.guest} {source}`)"
            )
        # Until guest and copy began to change places nothing had happened that is not done anew.
        begun = aside == _DISCARD or state.missing or aside in state.kept
        return Wish(source, None if aside == _DISCARD else aside, begun=begun)
    if state.journal.upgrade and not for_upgrade:
        raise Refused(
            f"{node.name}: an upgrade of {state.guest} is under way: `xvmstore upgrade --abort {state.guest}` puts it "
            "back, --resume goes on with it"
        )
    names = tuple(one.name for one in state.checkpoints)
    source = state.pick(text, names if discard or text == "latest" else (*state.kept, *names))
    return Wish(source, None if discard else checkpoints.new_name().replace("xvm-", "kept-"))


def loss(state: GuestState, name: str) -> Loss:
    """What ``discard`` would destroy."""
    found = state.checkpoint(name)
    newer = [one for disk in found.disks for one in state.family.newer(f"{state.parent}/{disk}", found.name)]
    live = [state.family.written.get(f"{state.parent}/{disk}") for disk in found.disks]
    written = [*live, *(one.written for one in newer)]
    known = [one for one in written if one is not None]
    total = sum(known) if len(known) == len(written) else None
    return Loss(tuple(dict.fromkeys(one.name for one in newer)), total)


# -- keep --------------------------------------------------------------------------------------------------------------


def plan_keep(node: StorageNode, state: GuestState, wanted: Wish) -> Plan:
    """Copy the checkpoint, let go of the disks, have guest and copy change places, serve the disks again."""
    aside = state.set(wanted.aside or "")
    is_set = wanted.source in state.kept
    source = state.set(wanted.source) + ("" if is_set else rollback.COPY_NAME)
    if wanted.begun:
        return _finish(node, state, wanted, source=source)
    disks = _going_back(node, state, wanted)
    stay = [one.name for one in state.disks if one not in disks]
    copy = _bring_back(state, source, disks) if is_set else _copy(node, state, wanted.source, to=source, disks=disks)
    thick = [one for one in disks if one.thick]
    journal = f"{wanted.source} {wanted.aside}"
    return Plan.of(
        node.lock(state.guest),
        *_checks(node, state),
        ("copy", (rollback.make_container(state.parent), *_half_made(state), *copy)),
        # On both: whichever is the guest's when this is cut off tells how far it came.
        ("journal", (rollback.begin(source, journal), rollback.begin(state.parent, journal))),
        ("suspend", _suspended(node, state.disks)),
        ("space", [rollback.thin_out(one.volume.dataset) for one in thick]),
        ("space", [rollback.reserve(f"{source}/{one.name}") for one in thick]),
        ("swap", rollback.change_places(state.parent, source, aside, stay=stay)),
        *_after_swap(node, state, wanted),
        settled="resume",
    )


def _going_back(node: StorageNode, state: GuestState, wanted: Wish) -> list[Disk]:
    """The disks that the checkpoint or set has; the others stay as they are. Raises Refused, see ``_same_disks``."""
    if wanted.begun:
        return list(state.disks)
    if wanted.source in state.kept:
        return _same_disks(node, state, wanted.source)
    names = state.checkpoint(wanted.source).disks
    return [one for one in state.disks if one.name in names]


def _same_disks(node: StorageNode, state: GuestState, name: str) -> list[Disk]:
    """The guest's disks that a set has. Raises Refused where one of the set is none of them any more.

    Back under its old name, a disk that was renamed would be there twice, with one GUID.
    """
    by_name = {one.name: one for one in state.disks}
    rehearsed = state.kept[name].startswith(rollback.REHEARSED)
    found = []
    for dataset in state.aside.volumes(state.set(name)):
        disk = by_name.get(dataset.rpartition("/")[2])
        if disk is None or not (rehearsed or _is(node, disk, state.shelved.get(dataset))):
            raise Refused(
                f"{node.name}: {state.guest} cannot go back to {name}: its disk {dataset.rpartition('/')[2]} was "
                "renamed or destroyed since; give the guest's disk its old name first (`xvmstore volume rename`)"
            )
        found.append(disk)
    return found


def _is(node: StorageNode, disk: Disk, identity: str | None) -> bool:
    return guest_state.identity(node, disk.volume.guid, disk.volume.target) == identity


def _half_made(state: GuestState) -> list[Step]:
    """Copies that earlier rollbacks of this guest, to whatever checkpoint, began and never used."""
    container = rollback.kept(state.parent)
    copies = [one for one in state.aside.kinds if one.rpartition("/")[0] == container]
    made = [one for one in copies if one.endswith(rollback.COPY_NAME)]
    return [rollback.clear(one, state.aside.ours[one].get("kept-for", "-")) for one in made]


def _copy(node: StorageNode, state: GuestState, name: str, *, to: str, disks: Sequence[Disk]) -> list[Step]:
    mark = f"copy-of-{name}"
    names = [one.name for one in disks]
    there = state.family.find(state.parent, name) is not None
    # Nobody knows whether zfs clone knew -o before zfs snapshot did.
    at_once = node.vintage.snapshot_properties
    copied = rollback.copy(
        state.parent, name, to, mark=mark, disks=names, there=there, at_once=at_once, unshared=node.unshared
    )
    return [*copied, rollback.same_properties(state.parent, to)]


def _bring_back(state: GuestState, source: str, disks: Sequence[Disk]) -> list[Step]:
    """A set that was put aside gets what has changed since: letters, who made it, an upgrade that is under way."""
    marks = [zvol.forget(f"{source}/{one.name}", zvol.THICK) for one in disks]
    pairs = [(state.parent, source), *((one.volume.dataset, f"{source}/{one.name}") for one in disks)]
    return [*rollback.forget_journal(source), *marks, *(rollback.same_properties(old, new) for old, new in pairs)]


def _checks(node: StorageNode, state: GuestState) -> tuple[Part, ...]:
    """All that was seen in the round trip before is still so, and nobody is logged in."""
    return (
        ("changed", [_pinned(one) for one in state.disks]),
        ("same unit", [step for one in state.disks for step in node.backend.same_unit(one.export)]),
        ("in use", [step for one in state.disks for step in _not_in_use(node, one)]),
    )


def _pinned(one: Disk) -> Step:
    facts = {zvol.TARGET: one.volume.target or "", zvol.LUN: str(one.volume.lun), zvol.STATE: one.volume.state}
    return rollback.pinned(one.volume.dataset, facts)


def _not_in_use(node: StorageNode, one: Disk) -> tuple[Step, ...]:
    """On a shared target only the initiators that can see the LU matter."""
    seeing = [initiator for initiator, name in node.initiators().items() if name in one.volume.dom0s]
    return luns.not_in_use(node, one.export, seeing if node.shared else None)


def _finish(node: StorageNode, state: GuestState, wanted: Wish, *, source: str) -> Plan:
    """What a run that was cut off while guest and copy changed places, or later, has not done."""
    aside = state.set(wanted.aside or "")
    moves = rollback.change_places(state.parent, source, aside, stay=state.left_behind)
    plan = Plan.of(
        node.lock(state.guest),
        ("same unit", [step for one in state.disks for step in node.backend.same_unit(one.export)]),
        ("swap", moves if state.missing else moves[2:]),
        *_after_swap(node, state, wanted),
        settled="resume",
    )
    return plan.without_undo()


def _after_swap(node: StorageNode, state: GuestState, wanted: Wish) -> tuple[Part, ...]:
    aside = state.set(wanted.aside or "")
    datasets = [state.parent, *(one.volume.dataset for one in state.disks)]
    resumed = _resumed(node, state, wanted, anew=_was_rehearsal(state, wanted))
    promotions = [rollback.promote(state.parent, one) for one in datasets]
    # There is no way back from here: the LUs that were have no data any more.
    return (
        ("resume", [replace(step, keep=index == 0) for index, step in enumerate(resumed)]),
        ("promote", [replace(step, keep=index == 0) for index, step in enumerate(promotions)]),
        (
            "after",
            (
                checkpoints.record(aside, checkpoints.KEPT_FOR, wanted.source),
                checkpoints.record(aside, checkpoints.BY, who()),
                zvol.forget(aside, checkpoints.ROLLBACK),
                rollback.move_limits(aside, state.parent),
                zvol.forget(state.parent, checkpoints.KEPT_FOR),
                zvol.forget(state.parent, checkpoints.ROLLBACK),
                *wanted.then,
            ),
        ),
    )


def _was_rehearsal(state: GuestState, wanted: Wish) -> bool:
    """The disks that the guest is to have were LUs of their own."""
    waiting = state.aside.ours.get(state.set(wanted.source), {})
    here = state.family.ours.get(state.parent, {}) if wanted.begun and not state.missing else waiting
    return here.get("kept-for", "").startswith(rollback.REHEARSED)


def _suspended(node: StorageNode, disks: Sequence[Disk]) -> list[Step]:
    """The zvols let go of: of the LUs that are served, and of those that only wait to be."""
    holding = [one for one in disks if one.served or node.backend.traits.masks]
    return [step for one in holding for step in node.backend.suspend(one.export)]


def _resumed(node: StorageNode, state: GuestState, wanted: Wish, *, anew: bool = False) -> list[Step]:
    """The LUs again, under the identity they had; of the size they had then, for a volume may have grown since."""
    served = [one for one in state.disks if one.served]
    exports = [replace(one.export, size=str(state.size_at(one, wanted.source))) for one in served]
    steps = [step for one in exports for step in node.backend.resume(one, waits=True, anew=anew)]
    return [replace(step, undo=None) for step in steps]


# -- discard -----------------------------------------------------------------------------------------------------------


def plan_discard(node: StorageNode, state: GuestState, wanted: Wish) -> Plan:
    """Let go of the disks, roll them back (all or none where ZFS can), serve them again."""
    disks = _going_back(node, state, wanted)
    thick = [one.volume.dataset for one in disks if one.thick]
    datasets = [state.parent, *(one.volume.dataset for one in disks)]
    datasets = [one for one in datasets if state.family.find(one, wanted.source)]
    newer = {one: state.family.newer(one, wanted.source) for one in datasets}
    tags = sorted({one.name for each in newer.values() for one in each if one.holds})
    marks = [zvol.set_property(one.volume.dataset, zvol.STATE, zvol.ROLLING_BACK, back=zvol.READY)
             for one in disks]  # fmt: skip
    names = {dataset: [one.name for one in each] for dataset, each in newer.items()}
    at_once = rollback.all_at_once(state.parent.partition("/")[0], wanted.source, names)
    each = rollback.one_by_one(wanted.source, datasets)
    resumed = _resumed(node, replace(state, disks=tuple(disks)), wanted)
    # Where each is rolled back by itself, the first one settles it.
    roll = at_once if state.programs else [replace(step, keep=index == 0) for index, step in enumerate(each)]
    return Plan.of(
        node.lock(state.guest),
        *(() if wanted.begun else _checks(node, state)),
        ("newer", [rollback.only_these(one, state.family.names(one)) for one in datasets]),
        ("journal", (rollback.begin(state.parent, f"{wanted.source} {_DISCARD}"), *marks)),
        ("suspend", _suspended(node, disks)),
        # A rollback needs room for what the disks have set aside: without, it always fits.
        ("space", [rollback.thin_out(one) for one in thick]),
        ("release", [checkpoints.release(f"{state.parent}@{tag}") for tag in tags]),
        ("roll", roll),
        ("resume", resumed),
        ("reserve", [rollback.reserve(one) for one in thick]),
        ("after", [zvol.set_property(one.volume.dataset, zvol.STATE, zvol.READY) for one in disks]),
        ("after", (zvol.forget(state.parent, checkpoints.ROLLBACK), *wanted.then, *node.notes.sweep(state.parent))),
        settled="roll",
    )


def refuse_loss(node: StorageNode, state: GuestState, name: str) -> None:
    """Checks that all that is newer may be destroyed. Raises InUse."""
    found = state.checkpoint(name)
    newer = [one for disk in found.disks for one in state.family.newer(f"{state.parent}/{disk}", found.name)]
    where = f"{node.name}: {state.guest} cannot go back to {found.name} by throwing away what is newer"
    keep = "leave out --discard-newer to keep all of it"
    clones = state.clones_of([one.full for one in newer])
    if clones:
        raise InUse(f"{where}: there are clones of it: {', '.join(clones)}; destroy them, or {keep}")
    held = [one.full for one in newer if (one.holds or 0) > (1 if "checkpoint" in one.ours else 0)]
    if held:
        raise InUse(f"{where}: it is held by somebody else: {', '.join(held)} (`zfs holds`); release it, or {keep}")


# -- either ------------------------------------------------------------------------------------------------------------


def plan(node: StorageNode, state: GuestState, wanted: Wish) -> Plan:
    """The one or the other way."""
    return plan_keep(node, state, wanted) if wanted.aside else plan_discard(node, state, wanted)
