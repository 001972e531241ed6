"""Upgrade a guest, and be able to undo it: checkpoint, command, health check; then keep it, or put the guest back.

How far it has come is on the node, on the guest's own dataset, so that whoever finds it there can go on:

    running       the checkpoint is there, the command may have run
    checking      the command ended well, the guest has not been found well yet
    rolling-back  something went wrong: the guest is stopped and its disks are put back
    starting      they are back; the guest is started again
"""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from secrets import token_hex

from remote.errors import InUse, NotFound, PartlyDone, Refused, UnexpectedOutput, XvmError
from remote.host import who
from remote.script import Expect, Step
from storage import checkpoints, zvol
from storage.checkpoints import JOURNAL, UPGRADE, UPGRADE_CHECKS, UPGRADE_COMMAND, Note
from xvmstore import guest_state, health, rehearsals, rollback_plans, rollbacks, volumes
from xvmstore.checkpoints import carry_out, create, plan_create
from xvmstore.dom0s import XenDom0
from xvmstore.guest_machines import GuestMachine
from xvmstore.guest_state import GuestState
from xvmstore.health import Health, Result
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.rehearsals import Rehearsal
from xvmstore.results import Volume
from xvmstore.rollbacks import Rollback

# How long dom0 may take to log out of the disks of a guest that has stopped.
_LOGOUT = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """An upgrade as it is asked for. ``wait`` and ``timeout`` are seconds.

    command  what is run here, without a shell; XVMSTORE_GUEST and XVMSTORE_CHECKPOINT are in its environment
    checks   what must hold afterwards: see ``health``; without any, the command's own exit status is all
    tries    how many rounds the guest has to become well, ``wait`` between them, ``timeout`` for each check
    post     take another checkpoint when all is well, paired with the first
    """

    command: tuple[str, ...]
    checks: tuple[str, ...] = ()
    tries: int = 10
    wait: float = 6.0
    timeout: float = 20.0
    post: bool = False
    reason: str = ""

    def run_checks(self, say: Callable[[str], None]) -> tuple[Result, ...]:
        """Raises InvalidValue for a check that is none."""
        if not self.checks:
            return ()
        parsed = [health.parse(one) for one in self.checks]
        return Health().run(parsed, tries=self.tries, wait=self.wait, timeout=self.timeout, say=say)

    def recorded(self, parent: str) -> tuple[Step, ...]:
        """Kept on the node. Raises InvalidValue where ZFS cannot keep so much."""
        options = {"checks": self.checks, "tries": self.tries, "wait": self.wait, "timeout": self.timeout}
        return (
            checkpoints.record(parent, UPGRADE_COMMAND, json.dumps(self.command)),
            checkpoints.record(parent, UPGRADE_CHECKS, json.dumps({**options, "post": self.post})),
        )

    @classmethod
    def read(cls, command: str, options: str) -> "Wanted":
        """As it was recorded. Raises UnexpectedOutput."""
        try:
            told = json.loads(options)
            return cls(tuple(json.loads(command)), **{**told, "checks": tuple(told["checks"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UnexpectedOutput("zfs get", f"{command} {options}", "an upgrade as xvmstore records it") from error


@dataclass(frozen=True, slots=True)
class Report:
    """How an upgrade ended.

    outcome     done, or rolled back
    exit        of the command; None when it was not run in this run, or could not be
    checks      of the last round
    kept        where the failed upgrade's disks are; None where there is nothing to look at
    """

    guest: str
    checkpoint: str
    outcome: str
    exit: int | None
    checks: tuple[Result, ...]
    kept: str | None = None

    @property
    def why(self) -> str:
        """What went wrong, in words."""
        if self.exit:
            return f"the command exited {self.exit}"
        unwell = [f"{one.check.text}: {one.found}" for one in self.checks if not one.well]
        return f"not well: {'; '.join(unwell)}" if unwell else "it was given up"


@dataclass(frozen=True, slots=True)
class _Course:
    """An upgrade under way. ``dom0`` ran the guest when it began; None where none did, or none could be asked."""

    node: StorageNode
    machine: GuestMachine
    wanted: Wanted
    checkpoint: str
    dom0: str | None
    say: Callable[[str], None]
    token: str = field(default_factory=lambda: token_hex(4))

    @property
    def parent(self) -> str:
        """The guest's dataset."""
        return self.node.parent(self.machine.name)

    def words(self, phase: str) -> str:
        """How far it is, and whose run of it this is: two must not go on with one upgrade."""
        return f"{phase} {self.checkpoint} {self.dom0 or '-'} {self.token}"

    def phase(self, name: str) -> Step:
        """Write down how far it is."""
        return checkpoints.record(self.parent, UPGRADE, self.words(name))

    def enter(self, name: str, *, was: str) -> None:
        """The same, at once, if it still is where this run left it. Raises Refused."""
        self._carry_out(was, self.phase(name))

    def finish(self, outcome: str, *, was: str) -> None:
        """Record how it ended; nothing is under way any more. Raises Refused."""
        mine = [name for name in JOURNAL if name != checkpoints.ROLLBACK]
        ended = checkpoints.set_outcome(self.parent, self.checkpoint, outcome, notes=self.node.notes)
        self._carry_out(was, ended, *(zvol.forget(self.parent, name) for name in mine))

    def _carry_out(self, was: str, *steps: Step) -> None:
        argv = ("zfs", "get", "-H", "-o", "value", UPGRADE, self.parent)
        still = Step(argv, expect=(Expect("p", was),))
        plan = Plan.of(self.node.lock(self.machine.name), ("still", (still,)), ("journal", steps))
        outcome = self.node.run(plan)
        if plan.failed_role(outcome) == "still" and outcome.steps[0].how == "unmet":
            raise Refused(
                f"{self.node.name}: somebody else ended the upgrade of {self.machine.name}, or goes on with it: "
                f"`xvmstore checkpoint list {self.machine.name}` tells"
            )
        plan.must(outcome)


# -- from the beginning ------------------------------------------------------------------------------------------------


def _nothing_under_way(parent: str) -> Step:
    return Step(("zfs", "get", "-H", "-o", "value", UPGRADE, parent), expect=(Expect("p", "-"),))


def plan_begin(node: StorageNode, guest: str, snapshot: str, wanted: Wanted, *, words: str) -> Plan:
    """The checkpoint, and what is to come written down beside it."""
    command = shlex.join(wanted.command)
    note = Note("pre", wanted.reason or "before an upgrade", who(), command[:1000])
    parent = node.parent(guest)
    journal = (*wanted.recorded(parent), checkpoints.record(parent, UPGRADE, words))
    return plan_create(node, [guest], snapshot, note, alone=(_nothing_under_way(parent),), also=journal)


def upgrade(node: StorageNode, machine: GuestMachine, wanted: Wanted, *, say: Callable[[str], None]) -> Report:
    """All of it. Raises Refused before anything is done; PartlyDone where a re-run must go on."""
    guest = machine.name
    for text in wanted.checks:
        health.parse(text)
    runs_on = machine.runs_on()
    dom0 = runs_on.name if runs_on else None
    snapshot = checkpoints.new_name()
    course = _Course(node, machine, wanted, snapshot, dom0, say)
    _can_go_back(node, guest)
    plan = plan_begin(node, guest, snapshot, wanted, words=course.words("running"))
    carry_out(node, [guest], snapshot, plan)
    say(f"checkpoint {snapshot} of {guest} taken")
    return _run(course)


def _can_go_back(node: StorageNode, guest: str) -> None:
    """Checks that the disks could be put back by us alone. Raises Refused. Only old releases have to be asked."""
    if not node.backend.traits.keeps_views and any(one.served for one in guest_state.look(node, guest).disks):
        raise Refused(
            f"{node.name}: release {node.release} cannot keep the views of what it rolls back, so nobody could "
            f"put {guest} back by itself: `xvmstore lun unexport` its disks first, or take a checkpoint and go by hand"
        )


def _run(course: _Course) -> Report:
    exit_ = command_exit(course.wanted.command, guest=course.machine.name, checkpoint=course.checkpoint)
    if exit_ != 0:
        course.say(f"the command exited {exit_}")
        return _back(course, Report(course.machine.name, course.checkpoint, "rolled back", exit_, ()), was="running")
    course.enter("checking", was=course.words("running"))
    return _check(course, exit_)


def command_exit(command: tuple[str, ...], *, guest: str, checkpoint: str) -> int:
    """Run it here, its output to stderr, for stdout is ours. 127 where it cannot be run, as a shell says."""
    told = {**os.environ, "XVMSTORE_GUEST": guest, "XVMSTORE_CHECKPOINT": checkpoint}
    try:
        return subprocess.run(command, env=told, stdout=2, check=False).returncode
    except OSError:
        return 127


def _check(course: _Course, exit_: int | None) -> Report:
    results = course.wanted.run_checks(course.say)
    report = Report(course.machine.name, course.checkpoint, "done", exit_, results)
    if not all(one.well for one in results):
        return _back(course, replace(report, outcome="rolled back"), was="checking")
    course.finish("done", was=course.words("checking"))
    if course.wanted.post:
        create(course.node, [course.machine.name], Note("post", "after an upgrade", who(), pair=course.checkpoint))
    return report


# -- back --------------------------------------------------------------------------------------------------------------


def _back(course: _Course, report: Report, *, was: str) -> Report:
    """Stop the guest, put its disks back, start it again. Every step of it may be repeated."""
    guest = course.machine.name
    if was != "rolling-back":
        course.enter("rolling-back", was=course.words(was))
    course.say(f"{report.why}: {guest} goes back to {course.checkpoint}")
    try:
        done = _put_back(course)
        return _start(course, replace(report, kept=done.kept))
    except XvmError as error:
        raise PartlyDone(
            f"{guest} is not back at {course.checkpoint} yet ({report.why}): {error}; "
            f"`xvmstore upgrade --resume {guest}` goes on"
        ) from error


def _put_back(course: _Course) -> Rollback:
    node, guest = course.node, course.machine.name
    running = _dom0(course)
    if running:
        how = course.machine.stop(running, volumes.volumes(node, guest=guest))
        course.say(f"{guest} on {running.name}: {how}")
    state = _free(node, guest)
    wish = rollback_plans.wish(node, state, course.checkpoint, discard=False, for_upgrade=True)
    return rollbacks.roll_back(node, state, replace(wish, then=(course.phase("starting"),)))


def _dom0(course: _Course) -> XenDom0 | None:
    """Where the guest is now; it may have been moved since."""
    return course.machine.runs_on() or (course.machine.dom0(course.dom0) if course.dom0 else None)


def _free(node: StorageNode, guest: str) -> GuestState:
    """The guest's state once nobody is logged in any more; dom0 needs a moment after the guest has ended."""
    end = time.monotonic() + _LOGOUT
    while True:
        state = guest_state.look(node, guest)
        try:
            guest_state.nobody_uses(node, state)
        except InUse:
            if time.monotonic() > end:
                raise
            time.sleep(1)
            continue
        return state


def _start(course: _Course, report: Report) -> Report:
    """Where it ran; but not if somebody has started it meanwhile, anywhere: two writers would spoil the disks."""
    guest = course.machine.name
    running = course.machine.runs_on() if course.dom0 else None
    if course.dom0 and running is None:
        guest_state.nobody_uses(course.node, guest_state.look(course.node, guest))
        found = volumes.volumes(course.node, guest=guest)
        course.machine.start(course.machine.dom0(course.dom0), course.node, found)
        course.say(f"{guest} was started on {course.dom0}")
    course.finish("rolled back", was=course.words("starting"))
    return report


# -- going on ----------------------------------------------------------------------------------------------------------


def _found(node: StorageNode, machine: GuestMachine, say: Callable[[str], None]) -> tuple[str, _Course]:
    """An upgrade that is under way. Raises NotFound."""
    state = guest_state.look(node, machine.name)
    journal = state.journal
    words = journal.upgrade.split()
    if len(words) != 4:
        raise NotFound(f"{node.name}: no upgrade of {machine.name} is under way")
    wanted = Wanted.read(journal.command, journal.checks)
    dom0 = None if words[2] == "-" else words[2]
    course = _Course(node, machine, wanted, words[1], dom0, say)
    if state.missing or state.journal.rollback:
        # The rollback goes first; what it finds written down is still the other run's.
        return words[0], replace(course, token=words[3])
    try:
        course.enter(words[0], was=journal.upgrade)
    except Refused:
        # A script whose connection dropped goes on by itself: what it wrote meanwhile is still the run that was seen.
        now = guest_state.look(node, machine.name).journal.upgrade.split()
        if now == words or now[3:] != words[3:]:
            raise
        return _found(node, machine, say)
    return words[0], course


def resume(node: StorageNode, machine: GuestMachine, *, say: Callable[[str], None]) -> Report:
    """Go on where it was cut off; a command of which nobody knows how it ended is run again. Raises NotFound."""
    phase, course = _found(node, machine, say)
    say(f"the upgrade of {machine.name} was {phase}")
    begun = Report(machine.name, course.checkpoint, "rolled back", None, ())
    ways: Mapping[str, Callable[[], Report]] = {
        "running": lambda: _run(course),
        "checking": lambda: _check(course, None),
        "rolling-back": lambda: _back(course, begun, was="rolling-back"),
        "starting": lambda: _start(course, begun),
    }
    if phase not in ways:
        raise UnexpectedOutput("zfs get", f"{UPGRADE}\t{phase}", f"one of {', '.join(ways)}")
    return ways[phase]()


def abort(node: StorageNode, machine: GuestMachine, *, say: Callable[[str], None]) -> Report:
    """Put the guest back, whatever came of it. Raises NotFound."""
    phase, course = _found(node, machine, say)
    begun = Report(machine.name, course.checkpoint, "rolled back", None, ())
    if phase == "starting":
        return _start(course, begun)
    return _back(course, begun, was=phase)


# -- rehearsal ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How an upgrade went on a copy of the guest; ``started`` is the dom0 it was started on."""

    rehearsal: Rehearsal
    report: Report
    started: str | None


def rehearse(
    node: StorageNode, machine: GuestMachine, copy: GuestMachine, wanted: Wanted, *, say: Callable[[str], None]
) -> Rehearsed:
    """Run an upgrade on a copy of the guest; the guest itself goes on. The copy is left to be promoted or discarded.

    It is started where the guest runs, without a network, if the toolstack there can.
    """
    note = Note("pre", wanted.reason or "to rehearse an upgrade", who(), shlex.join(wanted.command)[:1000])
    taken = create(node, [machine.name], note)
    runs_on = machine.runs_on()
    dom0s = node.dom0s([runs_on.name] if runs_on else [])
    made = rehearsals.make(node, machine.name, taken.name, copy.name, dom0s=dom0s)
    say(f"{copy.name} was made of {taken.name}")
    started = _start_copy(node, copy, made, runs_on) if runs_on and runs_on.stack.format == "xl" else None
    exit_ = command_exit(wanted.command, guest=copy.name, checkpoint=taken.name)
    results = wanted.run_checks(say) if exit_ == 0 else ()
    well = exit_ == 0 and all(one.well for one in results)
    return Rehearsed(made, Report(copy.name, taken.name, "done" if well else "failed", exit_, results), started)


def _start_copy(node: StorageNode, copy: GuestMachine, made: Rehearsal, dom0: XenDom0) -> str:
    found: tuple[Volume, ...] = made.volumes
    copy.start_copy(dom0, node, made.of, found)
    return dom0.name
