"""A guest as something that runs: which dom0 has it, stopping and starting it there, holding it still for a moment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from dom0 import freeze, running
from remote.errors import InvalidValue, NotFound, PartlyDone, Refused, RemoteError, Unreachable
from remote.host import Host
from remote.script import Step
from xvmstore.config import Config
from xvmstore.connections import connect
from xvmstore.dom0_outcomes import raise_failure
from xvmstore.dom0s import XenDom0, finished
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Volume


@dataclass(frozen=True, slots=True)
class GuestMachine:
    """A guest of the configuration, and how to get at its dom0s."""

    name: str
    config: Config
    dom0: Callable[[str], XenDom0]

    def runs_on(self) -> XenDom0 | None:
        """The dom0 that runs it; None where none that can be asked does. Raises Unreachable where one was not asked."""
        settings = self.config.guest(self.name)
        names = [settings.dom0] if settings.dom0 else [name for name, one in self.config.dom0s.items() if one.host]
        for name in names:
            machine = self.dom0(name)
            if self.name in {one.name for one in machine.host.ask_one(machine.stack.domains())}:
                return machine
        return None

    def stop(self, dom0: XenDom0, volumes: Sequence[Volume]) -> str:
        """Stop it, by force if need be, and log its disks out: nobody uses them then. Says how: see ``running``."""
        disks = [] if dom0.by_script else [finished(one) for one in volumes]
        # An id is what block-xvmstore logs out by; others go by the target.
        by_id = disks if dom0.initiator.by_block_script else []
        finds = [step for one in by_id for step in dom0.initiator.find(one)]
        # All in one: they may share a session.
        logouts = dom0.initiator.logout(*disks) if disks else ()
        stop = running.stop(dom0.stack, self.name, seconds=self.config.guest(self.name).shutdown_timeout)
        plan = Plan.of(dom0.lock(self.name), ("stop", (stop,)), ("find", finds), ("logout", logouts)).without_undo()
        outcome = dom0.run(plan)
        raise_failure(dom0, self.name, plan, outcome)
        return running.parse_stopped(outcome.steps[0].stdout)

    def start(self, dom0: XenDom0, node: StorageNode, volumes: Sequence[Volume]) -> None:
        """Start it again, as it is configured on its dom0."""
        self._start(dom0, node, volumes, running.start(dom0.stack, self.name, self.config.guest(self.name).config))

    def start_copy(self, dom0: XenDom0, node: StorageNode, original: str, volumes: Sequence[Volume]) -> None:
        """Start it from another guest's configuration, with its own disks and without a network. Raises Refused."""
        if dom0.stack.format != "xl":
            raise Refused(f"{dom0.name}: only xl starts a copy by itself: start {self.name} there, then go on")
        own = [one.disk if dom0.by_script else one.disk_by_path for one in volumes]
        options = running.isolated(self.name, tuple(lines["xl"] for lines in own))
        config = self.config.guest(original).config or f"/etc/xen/{original}.cfg"
        self._start(dom0, node, volumes, running.start(dom0.stack, self.name, config, options=options))

    def _start(self, dom0: XenDom0, node: StorageNode, volumes: Sequence[Volume], start: Step) -> None:
        disks = [(one, dom0.disk(one)) for one in volumes]
        maps = [s for one, disk in disks for s in dom0.initiator.know(disk, dom0.map_of(node, one, disk))]
        logins = [] if dom0.by_script else [s for _, disk in disks for s in dom0.initiator.login(disk)]
        plan = Plan.of(
            dom0.lock(self.name),
            ("script", dom0.initiator.ready()),
            ("map", maps),
            ("login", logins),
            ("start", (start,)),
        ).without_undo()
        raise_failure(dom0, self.name, plan, dom0.run(plan))


# -- holding still -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """A guest that is held; ``in_time`` is known when it has been let go: was it held until then?"""

    in_time: bool = True


@contextmanager
def held(machine: GuestMachine, how: str) -> Iterator[Held]:
    """Hold a guest still: ``freeze`` its file systems from inside, or ``pause`` it on its dom0. Always lets it go.

    It lets go by itself if we die. Raises Refused, StepFailed, Unreachable before anything is held.
    """
    token, seconds = token_hex(8), machine.config.checkpoints.freeze_timeout
    host, hold, let_go = _ways(machine, how, token, seconds)
    host.run((hold,)).must()
    state = Held()
    try:
        yield state
    finally:
        state.in_time = _let_go(machine, host, let_go)


def _ways(machine: GuestMachine, how: str, token: str, seconds: int) -> tuple[Host, Step, Step]:
    if how == "freeze":
        settings = machine.config.guest(machine.name)
        host = connect(f"guests.{machine.name}", settings.host or machine.name, settings, machine.config)
        # What a script needs for itself must not lie on what is frozen.
        return host.with_scratch("/dev/shm"), freeze.freeze(token, seconds=seconds), freeze.thaw(token)  # noqa: S108
    if how != "pause":
        raise InvalidValue(f"{how} is no way to hold a guest: freeze or pause")
    dom0 = machine.runs_on()
    if dom0 is None:
        raise NotFound(f"guest {machine.name} runs on no dom0 that can be asked: it need not be paused")
    by = freeze.PAUSINGS[dom0.stack.format]
    return dom0.host, freeze.pause(token, machine.name, seconds=seconds, by=by), freeze.unpause(token, by=by)


def _let_go(machine: GuestMachine, host: Host, step: Step) -> bool:
    try:
        outcome = host.run((step,)).must()
    except (RemoteError, Unreachable) as error:
        raise PartlyDone(
            f"{machine.name} was held still, and could not be let go: {error}; it lets go by itself within "
            f"{machine.config.checkpoints.freeze_timeout} s: see that it did"
        ) from error
    return freeze.parse_let_go(outcome.steps[0].stdout)
