"""Checkpoints and the way back, with some commands failing: the same command ends it, and nothing is lost.

The commands are counted first on a run without faults, so that no step added later escapes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from embedded.initiator import Session
from remote.errors import XvmError
from tests.contract.luns import lun
from tests.node.faults import FAULTS, sampled
from tests.node.live import LiveNode
from xvmstore import Site
from xvmstore.upgrades import Wanted

pytestmark = pytest.mark.node
KIB = 1024
DISKS = ("root", "data")


@dataclass(frozen=True)
class Operation:
    """What is done to a guest with the letter A in its checkpoint and B on its disks; and the letter afterwards."""

    does: Callable[[Site, str, str], object]
    letter: bytes
    kept: bool = True
    again: Callable[[Site, str, str], object] | None = None


def _resume(site: Site, guest: str, name: str) -> object:
    """As somebody would who finds the upgrade cut off, or who is told that it did not begin."""
    if site.checkpoints.state(guest).journal.upgrade:
        return site.upgrades.resume(guest)
    return site.upgrades.upgrade(guest, ("false",))


def _promote(site: Site, guest: str, name: str) -> object:
    return site.checkpoints.promote(guest, f"{guest}copy")


OPERATIONS = {
    "keep": Operation(lambda site, guest, name: site.checkpoints.roll_back(guest, name), b"A"),
    "discard": Operation(
        lambda site, guest, name: site.checkpoints.roll_back(guest, name, discard=True), b"A", kept=False
    ),
    "upgrade": Operation(lambda site, guest, name: site.upgrades.upgrade(guest, ("false",)), b"B", again=_resume),
    "promote": Operation(_promote, b"A"),
}
CASES = [*((name, fault) for name in OPERATIONS for fault in ("fail-after", "kill")), ("upgrade", "drop")]


def _write(node: LiveNode, site: Site, guest: str, letter: bytes) -> None:
    for disk in DISKS:
        with Session(lun(node, site.volume(f"{guest}/{disk}").to_json())) as session:
            session.write(0, letter * KIB)


def _read(node: LiveNode, site: Site, guest: str) -> list[bytes]:
    found = []
    for disk in DISKS:
        with Session(lun(node, site.volume(f"{guest}/{disk}").to_json())) as session:
            found.append(bytes(session.read(0, KIB))[:1])
    return found


def _identity(site: Site, guest: str) -> list[tuple[object, ...]]:
    return [(one.name, one.guid, one.target, one.lun, one.size, one.thin, one.dom0s, one.exported, one.trouble)
            for one in site.volumes(guest=guest)]  # fmt: skip


def _ready(node: LiveNode, site: Site, guest: str) -> str:
    """A guest with A in its checkpoint; the checkpoint's name."""
    for disk in DISKS:
        site.create_volume(f"{guest}/{disk}", "64M")
    _write(node, site, guest, b"A")
    name = site.checkpoints.create(guest).name
    # One that the checkpoint has not: it stays, wherever the way back is cut off.
    site.create_volume(f"{guest}/late", "64M")
    return name


def _change(node: LiveNode, site: Site, guest: str, checkpoint: str, name: str) -> None:
    """B on the disks, and what else is needed."""
    _write(node, site, guest, b"B")
    if name == "promote":
        site.checkpoints.rehearse(guest, checkpoint, copy=f"{guest}copy")


@pytest.mark.parametrize(("name", "fault"), CASES, ids=["-".join(case) for case in CASES])
def test_any_command_may_fail(fresh: Callable[[str], LiveNode], guest: str, name: str, fault: str) -> None:
    """After a failure at any command the same command ends it: the right bytes, the same LUs, the rest is kept."""
    node, operation = fresh("illumos"), OPERATIONS[name]
    with Site.load(node.config) as site:
        checkpoint = _ready(node, site, guest)
        identity = _identity(site, guest)
        _change(node, site, guest, checkpoint, name)
        before = len(node.execs())
        operation.does(site, guest, checkpoint)
        count = sum(len(one["commands"]) for one in node.execs()[before:])
        assert count > 20
        for number in sampled(count, CASES.index((name, fault)), every=24):
            # One guest for all, or the node has more to list each time.
            _tidy(site, guest, checkpoint)
            _change(node, site, guest, checkpoint, name)
            told = _break(node, site, guest, checkpoint, name, fault=f"call = {number}\n{FAULTS[fault]}")
            assert (identity, [operation.letter] * 2) == (_identity(site, guest), _read(node, site, guest)), told
            state = site.checkpoints.state(guest)
            assert ("", "") == (state.journal.rollback, state.journal.upgrade), told
            assert checkpoint in [one.name for one in state.checkpoints], told
            assert bool(state.kept) == operation.kept, told
            assert [] == [one for one in node.zvols() if ":copy" in one], told


def _tidy(site: Site, guest: str, checkpoint: str) -> None:
    """All that was kept, and all other checkpoints, go."""
    state = site.checkpoints.state(guest)
    gone = [*state.kept, *(one.name for one in state.checkpoints if one.name != checkpoint)]
    if gone:
        site.checkpoints.destroy(guest, *gone, snapshots=True)


def _break(node: LiveNode, site: Site, guest: str, checkpoint: str, name: str, *, fault: str) -> str:
    """Do it with a fault, and, if it failed, once more without."""
    operation = OPERATIONS[name]
    node.faults(f'[[fault]]\ncommand = "*"\n{fault}\n')
    broken: XvmError | None = None
    try:
        operation.does(site, guest, checkpoint)
    except XvmError as error:
        broken = error
    node.faults("")
    told = f"{name} {guest} with {fault!r}: {type(broken).__name__}: {broken}"
    assert broken is None or (broken.exit_code in {1, 3} and "\n" not in str(broken)), told
    if broken is not None:
        (operation.again or operation.does)(site, guest, checkpoint)
    return told


def test_wanted_is_read_back() -> None:
    """What is recorded on the node is what was asked for."""
    wanted = Wanted(("sh", "-c", "it's"), ("ping:web1",), tries=3, wait=0.5, timeout=2, post=True)
    steps = [str(step.argv[2]) for step in wanted.recorded("tank/xvm/web1")]
    command, options = (text.partition("=")[2] for text in steps)
    assert wanted == Wanted.read(command, options)
