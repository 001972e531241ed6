"""The library's part for upgrades: ``Site.upgrades``."""

from collections.abc import Callable
from typing import Any

from storage import names
from storage.checkpoints import new_name
from xvmstore import upgrades
from xvmstore.config import Config
from xvmstore.dom0s import XenDom0
from xvmstore.guest_machines import GuestMachine
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.surprises import begins_anew
from xvmstore.upgrades import Rehearsed, Report, Wanted

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """Tells nobody."""


@begins_anew
class Upgrades:
    """Upgrades of the guests of one node. ``say`` is told what is going on; ``options`` are those of ``Wanted``."""

    def __init__(self, config: Config, node: Callable[[], StorageNode], dom0: Callable[[str], XenDom0]) -> None:
        self._config, self._node, self._dom0 = config, node, dom0

    def upgrade(self, guest: str, command: tuple[str, ...], *, say: Say = _silent, **options: Any) -> Report:
        """Checkpoint, command, checks; then keep it, or put the guest back. Raises Refused, PartlyDone, NotFound."""
        return upgrades.upgrade(self._node(), self._machine(guest), Wanted(command, **options), say=say)

    def plan(self, guest: str, command: tuple[str, ...], **options: Any) -> Plan:
        """What ``upgrade`` would do on the node before it runs the command; nothing is connected to."""
        name = names.word(guest, "guest name")
        return upgrades.plan_begin(self._node(), name, new_name(), Wanted(command, **options), words="running")

    def resume(self, guest: str, *, say: Say = _silent) -> Report:
        """Go on with an upgrade that was cut off. Raises NotFound where none was."""
        return upgrades.resume(self._node(), self._machine(guest), say=say)

    def abort(self, guest: str, *, say: Say = _silent) -> Report:
        """Put the guest back. Raises NotFound where no upgrade is under way."""
        return upgrades.abort(self._node(), self._machine(guest), say=say)

    def rehearse(
        self, guest: str, command: tuple[str, ...], *, name: str, say: Say = _silent, **options: Any
    ) -> Rehearsed:
        """Run an upgrade on a copy of the guest, of this name; the copy is left there. Raises Refused, NotFound."""
        machine, copy = self._machine(guest), self._machine(name)
        return upgrades.rehearse(self._node(), machine, copy, Wanted(command, **options), say=say)

    def _machine(self, guest: str) -> GuestMachine:
        return GuestMachine(names.word(guest, "guest name"), self._config, self._dom0)
