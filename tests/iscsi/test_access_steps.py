"""The commands for groups and views, word for word, and the checks among them, run over recorded outputs."""

import pytest

from iscsi import access
from remote.script import Captured, Expect, Step, Word
from tests.captured_cases import stdout
from tests.node_tools import holds, printed, succeeds

GUID = "600144F00C2A6D0000006A27E7400001"
DOM0 = "iqn.2005-03.org.open-iscsi:dom0-a"
TARGET = "iqn.2026-11.com.example:tank.vm1"
EXISTS = (": already exists",)
GONE = (": not found",)
VIEW = Captured("view")


def _stmfadm(*argv: Word, undo: tuple[Word, ...] | None = None, accept: tuple[str, ...] = ()) -> Step:
    return Step(
        ("stmfadm", *argv), undo=undo, lies=undo is not None, accept=accept, retry=("resource busy",), silent=True
    )


GROUP = Captured("target")
NO_VIEW = ("remove-view", "-l", GUID, "-a")
STEPS: dict[str, tuple[Step, Step]] = {
    "create-hg": (access.ensure_host_group("dom0", DOM0)[0], _stmfadm("create-hg", "dom0", accept=EXISTS)),
    "add-hg-member": (
        access.ensure_host_group("dom0", DOM0)[1],
        _stmfadm("add-hg-member", "-g", "dom0", DOM0, accept=EXISTS),
    ),
    "delete-hg": (access.remove_host_group("dom0"), _stmfadm("delete-hg", "dom0", accept=GONE)),
    "create-tg": (
        access.ensure_target_group(GROUP, GROUP)[0],
        _stmfadm("create-tg", GROUP, undo=("stmfadm", "delete-tg", GROUP), accept=EXISTS),
    ),
    "add-tg-member": (
        access.ensure_target_group("tg1", TARGET)[1],
        _stmfadm(
            *("add-tg-member", "-g", "tg1", TARGET),
            undo=("stmfadm", "remove-tg-member", "-g", "tg1", TARGET),
            accept=EXISTS,
        ),
    ),
    "delete-tg": (access.remove_target_group(GROUP), _stmfadm("delete-tg", GROUP, accept=GONE)),
    "add-view": (
        access.add_view(GUID, host_group="dom0", target_group=TARGET, lun="5"),
        _stmfadm(
            *("add-view", "-h", "dom0", "-t", TARGET, "-n", "5", GUID),
            undo=("stmfadm", *NO_VIEW),
            accept=("view entry exists",),
        ),
    ),
    "add-view, all targets": (
        access.add_view(Captured("guid"), host_group="dom0", target_group=None, lun=Captured("lun")),
        _stmfadm(
            *("add-view", "-h", "dom0", "-n", Captured("lun"), Captured("guid")),
            undo=("stmfadm", "remove-view", "-l", Captured("guid"), "-a"),
            accept=("view entry exists",),
        ),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    """Command, undo and what is accepted, word for word."""
    built, expected = STEPS[name]
    assert expected == built


def _member(group: str, initiator: str) -> tuple[Step, Expect]:
    check = access.ensure_host_group(group, initiator)[-1]
    (expect,) = check.expect
    return check, expect


def test_the_member_is_looked_for_in_its_group() -> None:
    """Trap: "already exists" is also said of a member of another host group; the list of this one decides.

    Whoever else is in the group would see the LUN too, so it must have no other member.
    """
    check, expect = _member("dom0", DOM0)
    assert ("stmfadm", "list-hg", "-v", "dom0") == check.argv
    assert () == check.accept
    two = stdout("stmfadm-groups", "list-hg one")
    alone = "".join(line for line in two.splitlines(keepends=True) if "debian" not in line)
    assert two != alone
    assert holds(expect, alone)
    assert not holds(expect, two)
    assert not holds(expect, alone.replace(f"\tMember: {DOM0}\n", ""))
    assert not holds(expect, "Host Group: dom0\n")


@pytest.mark.parametrize("other", [DOM0[:-1], DOM0 + "b", DOM0.replace(".", "x"), "x" + DOM0])
def test_another_initiator_is_not_taken_for_the_member(other: str) -> None:
    """The whole name, dots as dots."""
    _, expect = _member("dom0", DOM0)
    assert not holds(expect, f"Host Group: dom0\n\tMember: {other}\n")


def _view_found(host_group: str, listed: str) -> str:
    look, _ = access.remove_view(GUID, host_group=host_group)
    (capture,) = look.captures
    return printed(capture.sed, listed).strip()


TWO = stdout("stmfadm-views", "list-view two")


@pytest.mark.parametrize(
    ("host_group", "index"), [("dom0", "0"), ("dom1", "1"), ("dom", ""), ("dom2", ""), ("All", "")]
)
def test_finds_the_view_of_one_host_group(host_group: str, index: str) -> None:
    """The index of its own view and of no other."""
    assert index == _view_found(host_group, TWO)


def test_finds_views_by_any_index() -> None:
    """Indexes are not renumbered when a view goes."""
    assert "17" == _view_found("dom.1", TWO.replace("Entry: 1", "Entry: 17").replace("dom1", "dom.1"))
    assert "" == _view_found("dom.1", TWO)


def test_remove_view() -> None:
    """Look, then remove what was found; nothing found is nothing to do."""
    look, remove = access.remove_view(GUID, host_group="dom0")
    assert [("stmfadm", "list-view", "-l", GUID), ("no views found",)] == [look.argv, look.accept]
    assert [False] == [capture.required for capture in look.captures]
    assert ("stmfadm", "remove-view", "-l", GUID, VIEW) == remove.argv
    assert [GONE, None] == [remove.accept, remove.undo]
    assert remove.unless is not None
    assert [True, False] == [succeeds(remove.unless, {"view": found}) for found in ("", "0")]


def test_questions() -> None:
    """Views of one LU, groups with their members."""
    of_one = access.views(Captured("guid"))
    assert [("stmfadm", "list-view", "-l", Captured("guid")), "guid"] == [of_one.argv, of_one.needs]
    assert access.views(GUID).needs is None
    assert ("stmfadm", "list-hg", "-v") == access.host_groups().argv
    assert ("stmfadm", "list-tg", "-v") == access.target_groups().argv
