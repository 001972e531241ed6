"""Going back to a checkpoint: what the guest has now is kept (the usual way) or thrown away. Two round trips.

The first asks what is there; from it the plan is made (``rollback_plans``), which checks in the second, under a lock,
that it is still so. What was cut off is finished by the same command: the node says how far it came.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from remote.errors import InUse, PartlyDone, Refused, StepFailed
from remote.host import Outcome
from storage import rollback
from storage.names import VolumeName
from xvmstore import guest_state
from xvmstore.guest_state import GuestState
from xvmstore.nodes import StorageNode
from xvmstore.outcomes import raise_failure
from xvmstore.plan import Plan
from xvmstore.results import Volume
from xvmstore.rollback_plans import Wish, loss, plan, refuse_loss, wish


@dataclass(frozen=True, slots=True)
class Rollback:
    """A guest that was put back.

    name     the checkpoint, or the set of volumes, that it has now
    kept     the set that holds what it had before; None where that was thrown away
    lost     newer snapshots that were destroyed
    """

    guest: str
    name: str
    kept: str | None
    lost: tuple[str, ...]
    volumes: tuple[Volume, ...]


def roll_back(node: StorageNode, state: GuestState, wanted: Wish, *, agreed: Sequence[str] | None = None) -> Rollback:
    """Put a guest back; of newer snapshots, only those that were ``agreed`` to are destroyed.

    Raises InUse, Refused, StepFailed, PartlyDone; run again, it finishes what was cut off.
    """
    guest_state.whole(node, state)
    guest_state.nobody_uses(node, state)
    if wanted.aside is None and not wanted.begun:
        refuse_loss(node, state, wanted.source)
    lost = loss(state, wanted.source).snapshots if wanted.aside is None and not wanted.begun else ()
    if agreed is not None and set(lost) - set(agreed):
        raise Refused(f"{node.name}: {state.guest} has got newer snapshots meanwhile: nothing was done; look again")
    doing = plan(node, state, wanted)
    outcome = node.run(doing, then=guest_state.questions(node, state.guest))
    _raise_failure(node, state, doing, outcome)
    now = guest_state.answer(node, state.guest, outcome.answers)
    wrong = [f"{one.volume.name}: {trouble}" for one in now.disks for trouble in one.volume.trouble]
    served = {one.name for one in state.disks if one.served}
    wrong += [
        f"{one.volume.name} is not exported" for one in now.disks if one.name in served and not one.volume.exported
    ]
    if wrong:
        raise PartlyDone(f"{node.name}: {state.guest} was put back, but {'; '.join(wrong)}; run the same command again")
    return Rollback(state.guest, wanted.source, wanted.aside, lost, tuple(one.volume for one in now.disks))


def to(
    node: StorageNode, guest: str, text: str, *, discard: bool = False, agreed: Sequence[str] | None = None
) -> Rollback:
    """Put a guest back to a checkpoint, or to a set of volumes an earlier rollback put aside."""
    state = guest_state.look(node, guest)
    return roll_back(node, state, wish(node, state, text, discard=discard), agreed=agreed)


def _raise_failure(node: StorageNode, state: GuestState, doing: Plan, outcome: Outcome) -> None:
    failure, index = doing.failure(outcome), outcome.failed_step
    if failure is None or index is None:
        return
    role, end = doing.failed_role(outcome), outcome.steps[index]
    out_of_space = isinstance(failure, StepFailed) and "out of space" in failure.stderr + end.stderr
    if role == "reserve":
        raise PartlyDone(
            f"{node.name}: {state.guest} is back and served, but the pool has no room to set aside for its "
            "thick disks: destroy old checkpoints, then run the same command again"
        ) from failure
    if out_of_space or (role == "space" and isinstance(failure, StepFailed)):
        raise Refused(
            f"{node.name}: the pool has no room to put {state.guest} back: {_first(end.stderr)}; nothing was changed. "
            "Destroy old checkpoints or sets (`xvmstore checkpoint list`), then try again"
        ) from failure
    if role in {"changed", "newer"} and end.how == "unmet":
        raise Refused(
            f"{node.name}: {state.guest} was changed by somebody else at this moment: nothing was done; try again"
        ) from failure
    if role == "roll" and state.programs:
        said = f"{node.name}: {state.guest} is not rolled back: {rollback.why_not(end.stderr)}"
        raise (InUse if isinstance(failure, StepFailed) else PartlyDone)(said) from failure
    if role == "suspend" and end.how == "unmet":
        raise InUse(
            f"{node.name}: {state.guest} is exported, and release {node.release} cannot keep its views: "
            "`xvmstore lun unexport` each of its disks first, and `lun export` them afterwards"
        ) from failure
    if role in {"same unit", "in use"}:
        volume = _whose(state, doing, index)
        raise_failure(node, volume, doing, outcome)
    raise failure


def _first(text: str) -> str:
    return " ".join(text.split())


def _whose(state: GuestState, doing: Plan, index: int) -> VolumeName:
    """The disk that the step at this place is about."""
    before = doing.roles[:index].count(doing.roles[index])
    each = max(1, doing.roles.count(doing.roles[index]) // max(1, len(state.disks)))
    return VolumeName.parse(state.disks[min(before // each, len(state.disks) - 1)].volume.name)
