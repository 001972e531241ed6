"""Every operation, with its commands failing one by one: nothing is left, or the same command ends it.

The commands are counted first on a run without faults, so that no step added later escapes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from remote.errors import XvmError
from tests.node.faults import FAULTS, THOROUGH, sampled
from tests.node.live import LiveNode
from xvmstore import Site
from xvmstore.results import Volume

pytestmark = pytest.mark.node


@dataclass(frozen=True)
class Operation:
    """A call of the library, what must be there before it, and how to see that it is done."""

    before: tuple[str, ...]
    does: str
    done: Callable[[Site, str], bool]
    gone: bool = False


# The library rather than the command line, for its connection is kept: thousands of runs.
CALLS: dict[str, Callable[[Site, str], object]] = {
    "create": lambda site, guest: site.create_volume(f"{guest}/root", "1G"),
    "export": lambda site, guest: site.export_lun(f"{guest}/root"),
    "unexport": lambda site, guest: site.unexport_lun(f"{guest}/root"),
    "resize": lambda site, guest: site.resize_volume(f"{guest}/root", "2G"),
    "rename": lambda site, guest: site.rename_volume(f"{guest}/root", f"{guest}new/root"),
    "destroy": lambda site, guest: site.destroy_volume(f"{guest}/root"),
}


def _found(site: Site, name: str) -> Volume | None:
    return next((one for one in site.volumes(guest=name.split("/", maxsplit=1)[0]) if one.name == name), None)


def _is(site: Site, name: str, **wanted: object) -> bool:
    found = _found(site, name)
    return found is not None and all(getattr(found, key) == value for key, value in wanted.items())


def _exported(site: Site, guest: str) -> bool:
    return _is(site, f"{guest}/root", exported=True, size=1 << 30, dom0s=("xen1",))


OPERATIONS = {
    "create": Operation((), "create", _exported),
    "export": Operation(("create", "unexport"), "export", _exported),
    "unexport": Operation(("create",), "unexport", lambda s, g: _is(s, f"{g}/root", exported=False, dom0s=())),
    "resize": Operation(("create",), "resize", lambda s, g: _is(s, f"{g}/root", exported=True, size=2 << 30)),
    "rename": Operation(("create",), "rename", lambda s, g: _is(s, f"{g}new/root", exported=True)),
    "destroy": Operation(("create",), "destroy", lambda s, g: _found(s, f"{g}/root") is None, gone=True),
}
# What makes and what destroys is broken in most ways, on the flavour most of us run; the rest in the ways that differ.
# A shell killed before a command is one killed after the command before it.
MANY = ("fail", "fail-after", "drop-after", "kill")
FEW = ("fail-after", "kill")
WAYS = {("illumos", name): MANY for name in ("create", "export", "resize", "destroy")}
# What b111 does differently from illumos is in few of the commands: half of them are broken at all.
FEWER = {"b111": 2}


def _ways(flavour: str, operation: str) -> tuple[str, ...]:
    return tuple(FAULTS) if THOROUGH else WAYS.get((flavour, operation), FEW)


CASES = [
    (flavour, operation, fault)
    for flavour in ("illumos", "b111", "b85")
    for operation in OPERATIONS
    for fault in _ways(flavour, operation)
    # Only what is not exported may be renamed there: see test_volume.
    if (flavour, operation) not in {("b111", "rename"), ("b85", "rename")}
]


def _attempt(site: Site, call: str, guest: str) -> XvmError | None:
    try:
        CALLS[call](site, guest)
    except XvmError as error:
        return error
    return None


@pytest.mark.parametrize(("flavour", "name", "fault"), CASES, ids=["-".join(case) for case in CASES])
def test_any_command_may_fail(
    fresh: Callable[[str], LiveNode], guest: str, flavour: str, name: str, fault: str
) -> None:
    """After a failure at any command the same command, run again, ends in the same state, with no orphan."""
    # A node of its own: on a shared target each destroyed volume's LUN is out of use for a month.
    node, operation = fresh(flavour), OPERATIONS[name]
    with Site.load(node.config) as site:
        for call in (*operation.before, operation.does):
            CALLS[call](site, guest)
        count = len(node.execs()[-1]["commands"])
        assert count > 5
        ways = _ways(flavour, name)
        # In each of the ways the next ones: together they break every command once.
        for number in sampled(count, ways.index(fault), every=len(ways) * FEWER.get(flavour, 1)):
            _break(node, site, operation, guest=f"{guest}n{number}", fault=f"call = {number}\n{FAULTS[fault]}")


def _break(node: LiveNode, site: Site, operation: Operation, *, guest: str, fault: str) -> None:
    """Run it with a fault, then again without; see what is left, and clean up."""
    for call in operation.before:
        CALLS[call](site, guest)
    node.faults(f'[[fault]]\ncommand = "*"\n{fault}\n')
    broken = _attempt(site, operation.does, guest)
    node.faults("")
    told = f"{operation.does} {guest} with {fault!r}: {type(broken).__name__}: {broken}"
    assert broken is None or (broken.exit_code in {1, 3} and "\n" not in str(broken)), told
    if broken is not None and broken.exit_code == 1 and not operation.before:
        assert f"tank/xvm/{guest}/root" not in node.zvols(), f"left behind: {told}"

    again = _attempt(site, operation.does, guest)

    ended = f"{told}; then {type(again).__name__}: {again}"
    assert again is None or ((broken is None or broken.exit_code == 3) and operation.does in {"destroy", "rename"}), (
        ended
    )
    assert operation.done(site, guest), ended
    left = [volume for name in (guest, f"{guest}new") for volume in site.volumes(guest=name)]
    assert [] == [orphan for orphan in node.orphans(left) if guest in orphan], ended
    assert [] == [empty for empty in node.empty_guests() if guest in empty], ended
    for volume in left:
        site.destroy_volume(volume.name)
