"""Rehearsals: another guest made of a guest's checkpoint, to try an upgrade on; its disks can become the guest's own.

A rehearsal is a guest like any other: its volumes are clones, with GUIDs and targets of their own, so that both can run
at the same time, and every command works with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from iscsi.backend import Export
from remote.errors import InUse, NotFound, Refused
from remote.script import Step
from storage import checkpoints, names, rollback, zvol
from storage.checkpoints import REHEARSAL, Checkpoint
from storage.names import VolumeName
from storage.zvol import GUEST
from xvmstore import guest_state, rollbacks, volumes
from xvmstore.guest_state import Disk, GuestState
from xvmstore.nodes import StorageNode
from xvmstore.plan import Part, Plan
from xvmstore.results import Volume
from xvmstore.rollbacks import Rollback
from xvmstore.version import __version__
from xvmstore.volumes import Identity, marks


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A guest made of another's checkpoint."""

    guest: str
    of: str
    checkpoint: str
    volumes: tuple[Volume, ...]

    def config(self, format_: str, wiring: str) -> str:
        """What its configuration must have instead of the guest's own: its name, its disks, and no network."""
        lines = [one.disk if wiring == "script" else one.disk_by_path for one in self.volumes]
        disks = "".join(f"  '{line['xl']}',\n" for line in lines)
        if format_ != "xl":
            disks = "".join(f"{line[format_]}\n" for line in lines)
            return (
                f"# {self.guest}: {self.of} as of {self.checkpoint}. Without a network of its own; its disks:\n{disks}"
            )
        return (
            f"# {self.guest}: {self.of} as of {self.checkpoint}. All else as in {self.of}'s own configuration;\n"
            f"# without a network, so that nobody takes it for {self.of}.\n"
            f'name = "{self.guest}"\nvif = []\ndisk = [\n{disks}]\n'
        )


# -- make --------------------------------------------------------------------------------------------------------------


def plan_make(node: StorageNode, state: GuestState, found: Checkpoint, name: str, *, dom0s: Sequence[str]) -> Plan:
    """Clone guest and disks, export the clones under identities of their own."""
    chosen = [one for one in state.disks if one.name in found.disks]
    parent = node.parent(name)
    there = state.family.find(state.parent, found.name) is not None
    marks = [(REHEARSAL, f"{state.guest}@{found.name}"), (GUEST, name)]
    parts: list[Part] = [
        ("absent", (_absent(parent),)),
        ("copy", (rollback.clone_parent(state.parent, found.name, parent, marks=marks, there=there),)),
    ]
    for one in chosen:
        parts += _disk(node, state, found, one, VolumeName(name, one.name), dom0s)
    return Plan.of(node.lock(state.guest, name), *parts)


def _absent(parent: str) -> Step:
    """Checks that there is nothing of this name yet."""
    argv = (
        "sh",
        "-c",
        f'$xvm_become zfs list -H -o name "$1" 2>&1 | grep "{zvol.NO_DATASET}"',
        "not-there-yet",
        parent,
    )
    return Step(argv)


def _disk(
    node: StorageNode,
    state: GuestState,
    found: Checkpoint,
    one: Disk,
    name: VolumeName,
    dom0s: Sequence[str],
) -> tuple[Part, ...]:
    """Its zvol with its identity, a masked LU, verified; then the target, the views, and the commit mark last."""
    backend, dataset = node.backend, node.dataset(name)
    identity = Identity.new(node, name)
    export = node.with_own_secret(_export(node, name, identity, size=state.size_at(one, found.name)))
    made_by = (zvol.MAKER, f"xvmstore-{__version__},rehearsal")
    properties = [made_by, *marks(node, identity, vdev=one.volume.vdev or "xvda")]
    return (
        ("copy", (rollback.clone(f"{one.volume.dataset}@{found.name}", dataset, properties),)),
        ("unit", backend.make(export)),
        ("publish", backend.publish(export, [node.access(dom0) for dom0 in dom0s])),
        ("mark", (zvol.set_property(dataset, zvol.STATE, zvol.READY),)),
    )


def _export(node: StorageNode, name: VolumeName, identity: Identity, *, size: int) -> Export:
    return node.export(
        name,
        size=str(size),
        guid=identity.guid,
        serial=node.backend.serial(identity.guid),
        lun=str(identity.lun),
        target=identity.target,
    )


def make(node: StorageNode, guest: str, text: str, name: str, *, dom0s: Sequence[str]) -> Rehearsal:
    """Make a rehearsal of a guest's checkpoint. Raises NotFound, Refused where the name is taken, StepFailed."""
    names.word(name, "guest name")
    chosen = node.backend.traits.guid != "ours"
    if chosen or node.shared:
        what = "release cannot give a clone a GUID of its own" if chosen else "layout has one target"
        raise Refused(f"{node.name}: no rehearsals here: this {what}")
    state = guest_state.look(node, guest)
    guest_state.whole(node, state)
    found = state.checkpoint(text)
    plan = plan_make(node, state, found, name, dom0s=dom0s)
    outcome = node.run(plan)
    if plan.failed_role(outcome) == "absent":
        raise Refused(
            f"{node.name}: there is a guest {name} already: choose another name with --as, or, if it is a rehearsal "
            f"that was cut off, `xvmstore checkpoint discard {name}` first"
        )
    plan.must(outcome)
    return Rehearsal(name, guest, found.name, volumes.volumes(node, guest=name))


# -- let go, or let it become the guest --------------------------------------------------------------------------------


def original(state: GuestState) -> tuple[str, str]:
    """Guest and checkpoint that a rehearsal was made of. Raises Refused for a guest that is none."""
    made_of = state.family.ours.get(state.parent, {}).get("rehearsal-of", "")
    guest, at, checkpoint = made_of.partition("@")
    if not at:
        raise Refused(f"{state.guest} is no rehearsal: it is a guest of its own, and left alone")
    return guest, checkpoint


def discard(node: StorageNode, name: str) -> tuple[str, ...]:
    """Destroy a rehearsal: its volumes, and its dataset. Raises NotFound, Refused, InUse."""
    state = guest_state.look(node, name)
    original(state)
    guest_state.nobody_uses(node, state)
    for one in state.disks:
        volumes.destroy(node, VolumeName.parse(one.volume.name), snapshots=True)
    # Where it was cut off before it had a disk, or with one that has no identity yet.
    bare = Plan.of(node.lock(name), ("tidy", checkpoints.destroy_if_bare(state.parent)))
    bare.must(node.run(bare))
    return tuple(one.volume.name for one in state.disks)


def plan_hand_over(node: StorageNode, state: GuestState, guest: str, checkpoint: str) -> Plan:
    """Take a rehearsal's exports away, and put it where a rollback of the guest finds it."""
    parent = node.parent(guest)
    exports = [one.export for one in state.disks]
    return Plan.of(
        node.lock(guest, state.guest),
        ("in use", [step for one in exports for step in node.backend.not_in_use(one)]),
        ("withdraw", [step for one in exports for step in node.backend.withdraw(one, forever=True)]),
        ("aside", (rollback.make_container(parent),)),
        ("aside", (checkpoints.record(state.parent, checkpoints.KEPT_FOR, rollback.REHEARSED + checkpoint),)),
        ("aside", (rollback.put_aside(state.parent, rollback.kept(parent, state.guest)),)),
        settled="withdraw",
    )


def _is_done(there: GuestState, name: str) -> bool:
    """An earlier run came further: all the way, or the rehearsal is put aside, or about to be the guest.

    Raises NotFound where there was none.
    """
    if there.kept.get(name, "").startswith(rollback.REHEARSED) or name in there.journal.rollback.split():
        return False
    if tuple(there.kept.values())[-1:] == (name,):
        return True
    raise NotFound(f"there is no rehearsal {name} of {there.guest}: `xvmstore volume list`")


def _refuse_half(node: StorageNode, there: GuestState, state: GuestState) -> None:
    """Checks that a rehearsal is one of this guest, and has all the disks of its checkpoint. Raises Refused."""
    of, checkpoint = original(state)
    if of != there.guest:
        raise Refused(f"{node.name}: {state.guest} is a rehearsal of {of}, not of {there.guest}")
    guest_state.whole(node, state)
    if there.journal.upgrade:
        raise Refused(f"{node.name}: an upgrade of {there.guest} is under way: end it first (--resume, --abort)")
    if {one.name for one in state.disks} != set(there.checkpoint(checkpoint).disks):
        raise Refused(
            f"{node.name}: {state.guest} has not all disks of {checkpoint}: `checkpoint discard` it, and begin anew"
        )


def promote(node: StorageNode, guest: str, name: str) -> Rollback:
    """Have a rehearsal's disks become the guest's, under the guest's GUIDs, targets and LUNs; the old ones are kept.

    Neither may run. Raises NotFound, Refused, InUse, PartlyDone; run again, it finishes what was cut off.
    """
    there = guest_state.look(node, guest)
    try:
        state = guest_state.look(node, name)
    except NotFound:
        if _is_done(there, name):
            found = tuple(one.volume for one in there.disks)
            return Rollback(guest, name, tuple(there.kept)[-1], (), found)
    else:
        _refuse_half(node, there, state)
        _, checkpoint = original(state)
        guest_state.nobody_uses(node, state)
        guest_state.nobody_uses(node, there)
        plan = plan_hand_over(node, state, guest, checkpoint)
        outcome = node.run(plan)
        if plan.failed_role(outcome) == "in use" and outcome.steps[outcome.failed_step or 0].how == "unmet":
            raise InUse(f"{node.name}: somebody has just logged in to {name}: stop it, then try again")
        plan.must(outcome)
    return rollbacks.to(node, guest, name)
