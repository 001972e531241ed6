"""The library's part for checkpoints: ``Site.checkpoints``."""

import time
from collections.abc import Callable, Mapping

from remote.errors import InvalidValue
from storage import names
from storage.checkpoints import Checkpoint, Note, new_name
from storage.retention import Decision, Policy
from xvmstore import checkpoints, guest_state, rollbacks
from xvmstore.checkpoints import Taken
from xvmstore.guest_state import GuestState
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.rollbacks import Loss, Rollback


class Checkpoints:
    """Checkpoints of the guests of one node. Names of checkpoints may be shortened, or be ``latest``."""

    def __init__(self, node: Callable[[], StorageNode]) -> None:
        self._node = node

    def create(self, *guests: str, reason: str = "", command: str = "", packages: str = "") -> Taken:
        """Take one atomic, held snapshot of all disks of these guests. Raises NotFound, Refused, StepFailed."""
        return checkpoints.create(self._node(), _guests(guests), _note(reason, command, packages))

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
        return found, rollbacks.loss(state, found.name), checkpoints.why_not(state, found)

    def note(self, guest: str, name: str, *, outcome: str) -> Checkpoint:
        """Record how what came after a checkpoint ended. Raises NotFound."""
        return checkpoints.note(self._node(), names.word(guest, "guest name"), name, outcome=outcome)

    def plan_note(self, guest: str, name: str, *, outcome: str) -> Plan:
        """What ``note`` would do."""
        return checkpoints.plan_note(self._node(), names.word(guest, "guest name"), name, outcome=outcome)

    def roll_back(self, guest: str, name: str, *, discard: bool = False) -> Rollback:
        """Put all disks of a guest that does not run back to a checkpoint, or to what a rollback put aside.

        What it has now is put aside, or, with ``discard``, destroyed with all that is newer. GUID, target, LUN and
        views stay. Raises NotFound, InUse, Refused, StepFailed, PartlyDone.
        """
        return rollbacks.to(self._node(), names.word(guest, "guest name"), name, discard=discard)

    def plan_roll_back(self, guest: str, name: str, *, discard: bool = False) -> Plan:
        """What ``roll_back`` would do. The node is asked."""
        state = self.state(guest)
        return rollbacks.plan(self._node(), state, rollbacks.wish(self._node(), state, name, discard=discard))

    def destroy(self, guest: str, *chosen: str) -> tuple[str, ...]:
        """Destroy checkpoints, or what a rollback put aside. Raises NotFound, InUse."""
        return checkpoints.destroy(self._node(), names.word(guest, "guest name"), chosen)

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
    return Note(reason=reason, by=checkpoints.who(), command=command, packages=packages)
