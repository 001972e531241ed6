"""Checkpoints of guests that are held still meanwhile; what was let go too early is not called consistent."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from remote.errors import PartlyDone
from storage import checkpoints
from storage.checkpoints import Note
from xvmstore.checkpoints import Taken
from xvmstore.checkpoints import create as create_at_once
from xvmstore.guest_machines import GuestMachine, held
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan


def create(node: StorageNode, machines: Sequence[GuestMachine], note: Note, *, hold: str | None) -> Taken:
    """Hold the guests still, if so asked, while their checkpoint is taken. Raises PartlyDone, and as both would."""
    guests = [one.name for one in machines]
    if hold is None:
        return create_at_once(node, guests, note)
    with ExitStack() as stack:
        holding = [stack.enter_context(held(one, hold)) for one in machines]
        taken = create_at_once(node, guests, replace(note, consistency=hold))
    late = [one.name for one, state in zip(machines, holding, strict=True) if not state.in_time]
    if late:
        _correct(node, guests, taken.name)
        raise PartlyDone(
            f"{node.name}: checkpoint {taken.name} was taken, but {', '.join(late)} had been let go before: it "
            "is as after a power cut; set freeze_timeout in [checkpoints] higher, and take another one"
        )
    return taken


def _correct(node: StorageNode, guests: Sequence[str], snapshot: str) -> None:
    told = (checkpoints.CONSISTENCY, "crash")
    steps = [checkpoints.set_on_all(node.parent(guest), snapshot, *told, notes=node.notes) for guest in guests]
    plan = Plan.of(node.lock(*guests), ("note", steps))
    plan.must(node.run(plan))
