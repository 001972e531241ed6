"""The library's part for checkpoints: ``Site.checkpoints``."""

import time
from collections.abc import Callable, Mapping, Sequence

from remote.errors import InvalidValue
from remote.host import who
from storage import names
from storage.checkpoints import Checkpoint, Note, new_name
from storage.retention import Decision, Policy
from xvmstore import checkpoints, guest_state, held_checkpoints, rehearsals, rollback_plans, rollbacks
from xvmstore.checkpoints import Taken
from xvmstore.config import Config
from xvmstore.dom0s import XenDom0
from xvmstore.guest_machines import GuestMachine
from xvmstore.guest_state import GuestState
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.rehearsals import Rehearsal
from xvmstore.rollback_plans import Loss
from xvmstore.rollbacks import Rollback
from xvmstore.surprises import begins_anew


@begins_anew
class Checkpoints:
    """Checkpoints of the guests of one node. Names of checkpoints may be shortened, or be ``latest``."""

    def __init__(self, config: Config, node: Callable[[], StorageNode], dom0: Callable[[str], XenDom0]) -> None:
        self._config, self._node, self._dom0 = config, node, dom0

    def create(
        self, *guests: str, reason: str = "", command: str = "", packages: str = "", hold: str | None = None
    ) -> Taken:
        """Take one atomic, held snapshot of all disks of these guests. Raises NotFound, Refused, StepFailed.

        ``hold`` has the guests held still meanwhile: "freeze" their file systems from inside, or "pause" them on their
        dom0. Raises PartlyDone where one could not be let go; where one was let go too early that is on the checkpoint.
        """
        machines = [GuestMachine(one, self._config, self._dom0) for one in _guests(guests)]
        note = _note(reason, command, packages)
        return held_checkpoints.create(self._node(), machines, note, hold=hold)

    def plan_create(self, *guests: str, reason: str = "", command: str = "", packages: str = "") -> Plan:
        """What ``create`` would do; nothing is connected to."""
        note = _note(reason, command, packages)
        return checkpoints.plan_create(self._node(), _guests(guests), new_name(), note)

    def list(self) -> tuple[Checkpoint, ...]:
        """Of all guests, by guest, oldest first."""
        return checkpoints.listed(self._node())

    def state(self, guest: str) -> GuestState:
        """A guest's disks, checkpoints, what rollbacks put aside, and what is under way. Raises NotFound."""
        return guest_state.look(self._node(), names.word(guest, "guest name"))

    def show(self, guest: str, name: str) -> tuple[Checkpoint, Loss, str | None]:
        """A checkpoint, what going back to it without keeping anything would lose, and why it may not be destroyed."""
        state = self.state(guest)
        found = state.checkpoint(name)
        return found, rollback_plans.loss(state, found.name), checkpoints.why_not(state, found)

    def note(self, guest: str, name: str, *, outcome: str) -> Checkpoint:
        """Record how what came after a checkpoint ended. Raises NotFound."""
        return checkpoints.note(self._node(), names.word(guest, "guest name"), name, outcome=outcome)

    def plan_note(self, guest: str, name: str, *, outcome: str) -> Plan:
        """What ``note`` would do."""
        return checkpoints.plan_note(self._node(), names.word(guest, "guest name"), name, outcome=outcome)

    def roll_back(
        self, guest: str, name: str, *, discard: bool = False, agreed: Sequence[str] | None = None
    ) -> Rollback:
        """Put all disks of a guest that does not run back to a checkpoint, or to what a rollback put aside.

        What it has now is put aside, or, with ``discard``, destroyed with all that is newer; ``agreed`` are the newer
        snapshots that may go, all if it is None. GUID, target, LUN and views stay. Raises NotFound, InUse, Refused,
        StepFailed, PartlyDone.
        """
        return rollbacks.to(self._node(), names.word(guest, "guest name"), name, discard=discard, agreed=agreed)

    def plan_roll_back(self, guest: str, name: str, *, discard: bool = False) -> Plan:
        """What ``roll_back`` would do. The node is asked."""
        state = self.state(guest)
        return rollback_plans.plan(self._node(), state, rollback_plans.wish(self._node(), state, name, discard=discard))

    def rehearse(self, guest: str, name: str, *, copy: str, dom0s: Sequence[str] = ()) -> Rehearsal:
        """Make another guest, ``copy``, of a checkpoint: clones, exported under GUIDs and targets of their own."""
        node = self._node()
        return rehearsals.make(node, names.word(guest, "guest name"), name, copy, dom0s=node.dom0s(dom0s))

    def discard(self, copy: str) -> tuple[str, ...]:
        """Destroy a rehearsal. Raises Refused for a guest that is none, InUse."""
        return rehearsals.discard(self._node(), names.word(copy, "guest name"))

    def promote(self, guest: str, copy: str) -> Rollback:
        """Have a rehearsal's disks become a guest's, under its GUIDs and LUNs; its own are put aside. Raises InUse."""
        return rehearsals.promote(self._node(), names.word(guest, "guest name"), names.word(copy, "guest name"))

    def destroy(self, guest: str, *chosen: str, snapshots: bool = False) -> tuple[str, ...]:
        """Destroy checkpoints, or what a rollback put aside, with its ``snapshots`` only so. Raises NotFound, InUse."""
        return checkpoints.destroy(self._node(), names.word(guest, "guest name"), chosen, snapshots=snapshots)

    def plan_destroy(self, guest: str, *chosen: str) -> Plan:
        """What ``destroy`` would do. The node is asked."""
        state = self.state(guest)
        known = (*state.kept, *(one.name for one in state.checkpoints))
        return checkpoints.plan_destroy(self._node(), state, [state.pick(text, known) for text in chosen])

    def prune(self, *guests: str, policy: Policy, dry_run: bool = False) -> Mapping[str, tuple[Decision, ...]]:
        """Destroy what a policy does not keep; of all guests where none is named. What stays, and why, is told."""
        meant = _guests(guests) if guests else checkpoints.guests_of(self._node())
        return checkpoints.prune(self._node(), meant, policy, now=time.time(), dry_run=dry_run)


def _guests(guests: tuple[str, ...]) -> tuple[str, ...]:
    if not guests:
        raise InvalidValue("name a guest")
    return tuple(dict.fromkeys(names.word(guest, "guest name") for guest in guests))


def _note(reason: str, command: str, packages: str) -> Note:
    return Note(reason=reason, by=who(), command=command, packages=packages)
