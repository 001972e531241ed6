"""What has bitten users of the real tools, each a test that fails when its guard is taken away."""

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import pytest

from iscsi import access, targets, units
from iscsi.backend import Access, Export
from iscsi.comstar import SBDADM_COMSTAR, STMFADM_COMSTAR
from iscsi.units import SBDADM, STMFADM, Move, Unit, parse_list_lu, parse_sbdadm
from remote.script import Query, Secret, Step
from storage.zvol import Resize
from tests.captured_cases import stderr, stdout
from tests.node_tools import printed

GUID = "600144F00C2A6D0000006A27E7400001"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
PATH = "/dev/zvol/rdsk/tank/vm1"
SECRET = Secret("twelve-characters")
UNIT = Unit(PATH, GUID, "8589934592", "00006a27e7400001", "web1/root", write_cache=False)
EXPORT = Export(
    dataset="tank/vm1",
    alias="web1/root",
    size="8589934592",
    guid=GUID,
    serial="00006a27e7400001",
    lun="0",
    target=TARGET,
    write_cache=False,
    shared=False,
    own_chap=("node", SECRET),
)
DOM0 = Access("dom0", "iqn.2026-11.com.example:dom0", "dom0", SECRET)
RENAME = Step(("zfs", "rename", "tank/vm1", "tank/vm9"))
RESIZE = Resize("tank/vm1", 1 << 30, smaller=True)
TOOLS = {"stmfadm", "itadm", "sbdadm"}


def _steps() -> Iterator[Step]:
    """Every step any builder makes."""
    for backend in (STMFADM_COMSTAR, SBDADM_COMSTAR):
        for export in (EXPORT, replace(EXPORT, shared=True)):
            yield from (*backend.make(export), *backend.restore(export), *backend.publish(export, [DOM0], again=True))
            yield from (*backend.same_unit(export), *backend.admit(DOM0, renew=True))
            yield from (
                *backend.not_in_use(export),
                *backend.withdraw(export, forever=True),
                *backend.withdraw_from(export, DOM0),
            )
            yield from (*backend.resize(export, RESIZE), *backend.move(export, RENAME, dataset="tank/vm9", alias="x/y"))
    yield from (access.remove_host_group("dom0"), targets.remove_initiator("x"), targets.remove_portal_group("x"))
    yield targets.modify_initiator("x", user="y", secret=SECRET)
    yield targets.create_portal_group("tpg0", ("192.0.2.10:3260",))


def _queries() -> Iterator[Query[object]]:
    """Every question any builder asks."""
    for backend in (STMFADM_COMSTAR, SBDADM_COMSTAR):
        yield from (*backend.inspect(GUID, TARGET), *backend.inspect_all(), *backend.examine())
    yield from (targets.target_setups(), access.target_groups())


STEPS = [step for step in _steps() if step.argv[0] in TOOLS]
QUERIES = [query for query in _queries() if query.argv[0] != "svcs" and query.argv[-1] != "probe-release"]


_COMMAND = re.compile(r'\(\s*"(stmfadm|itadm|sbdadm)", "([a-z-]+)"')


def _name(part: Step | Query[object]) -> str:
    return " ".join(map(str, part.argv[:2]))


def _accepted(step: Step, said: str) -> bool:
    """As the shell does it: ``*`` stands for anything, all else for itself, anywhere in the text."""
    return any(fnmatchcase(said, f"*{pattern.replace('[', '[[]')}*") for pattern in step.accept)


def test_every_verb_is_looked_at() -> None:
    """The lists above hold every command of these tools that the sources know."""
    sources = Path(units.__file__).parent.glob("*.py")
    known = {f"{tool} {verb}" for path in sources for tool, verb in _COMMAND.findall(path.read_text())}
    argvs = [step.argv for step in STEPS] + [step.undo or () for step in STEPS] + [query.argv for query in QUERIES]
    assert set() == known - {" ".join(map(str, argv[:2])) for argv in argvs}
    assert len(known) > 25


@pytest.mark.parametrize("step", STEPS, ids=_name)
def test_a_word_on_stderr_is_a_failure(step: Step) -> None:
    """Trap: exit 0 with an error message (a malformed GUID, a bad view number, b111's illegal options)."""
    assert step.silent


@pytest.mark.parametrize("query", QUERIES, ids=_name)
def test_a_word_on_stderr_is_no_answer(query: Query[object]) -> None:
    """Trap: ``list-lu`` of a malformed GUID says so, and exits 0."""
    assert query.silent


def test_the_recorded_failure_that_exits_0() -> None:
    """Without the guard this would read as "no such LU"."""
    assert "" == stdout("stmfadm-list-lu", "malformed is NOT an error exit")
    assert stderr("stmfadm-list-lu", "malformed is NOT an error exit")


@pytest.mark.parametrize("step", [step for step in STEPS if step.argv[0] != "sbdadm"], ids=_name)
def test_busy_is_tried_again(step: Step) -> None:
    """Trap: /dev/stmf is opened by one process at a time; "resource busy" passes."""
    said = stderr("stmfadm-list-lu", "busy"), stderr("itadm-target", "stmf busy")
    assert all(any(pattern in text for pattern in step.retry) for text in said)


@pytest.mark.parametrize("step", [step for step in STEPS if step.argv[0] == "itadm"], ids=_name)
def test_a_race_with_another_admin_is_tried_again(step: Step) -> None:
    """Trap: itadm's own "busy" has other words."""
    said = stderr("itadm-target", "changed by someone else meanwhile")
    assert any(pattern in said for pattern in step.retry)


@pytest.mark.parametrize("step", STEPS, ids=_name)
def test_no_step_accepts_being_busy_or_forbidden(step: Step) -> None:
    """What passes, and what never will, is neither of it "was so already"."""
    said = [stderr("stmfadm-list-lu", "busy"), stderr("stmfadm-list-lu", "no privilege"), "stmfadm: unknown error"]
    assert not any(_accepted(step, text) for text in said)


def _properties(step: Step) -> list[str]:
    words = [str(word) for word in step.argv]
    return [after for before, after in pairwise(words) if before == "-p"]


def test_one_p_for_each_property() -> None:
    """Trap: with several properties behind one -p all but the first are lost; a value ends at a second "="."""
    (step,) = STMFADM.make(UNIT)
    assert ["guid", "alias", "serial", "wcd"] == [word.partition("=")[0] for word in _properties(step)]
    assert [1, 1, 1, 1] == [word.count("=") for word in _properties(step)]


@pytest.mark.parametrize(("write_cache", "wcd"), [(True, "wcd=false"), (False, "wcd=true")])
def test_wcd_is_write_cache_disabled(write_cache: bool, wcd: str) -> None:
    """Trap: wcd=true turns the write cache OFF; what it came to is read back."""
    unit = replace(UNIT, write_cache=write_cache)
    assert wcd in _properties(STMFADM.make(unit)[0])
    said = "\n".join(("Online", PATH, "Disabled", "Enabled" if write_cache else "Disabled"))
    assert said in [expect.equals for expect in STMFADM.verify(unit).expect]


def test_guids_are_upper_case_whoever_prints_them() -> None:
    """Trap: stmfadm prints them in upper case, its errors and sbdadm in lower case."""
    listed = stdout("stmfadm-list-lu", "one lower case").lower().replace("lu name", "LU Name")
    state = "    Operational Status: Online\n"
    assert ["600144F00C2A6D0000006A27E7400002"] == [unit.guid for unit in parse_list_lu(listed + state)]
    assert [GUID, "600144F00C2A6D0000006A27E7400002"] == [
        unit.guid for unit in parse_sbdadm(stdout("sbdadm", "list-lu"))
    ]
    assert [GUID.upper()] == list(access.parse_all_views(f"LU Name: {GUID.lower()}\n"))


def test_no_views_is_an_answer() -> None:
    """Trap: list-view exits 1 for an LU without views, and says the same of an unknown one."""
    absent = access.views(GUID).absent
    for file, case in (
        ("stmfadm-views", "list-view, LU without views"),
        ("stmfadm-views", "list-view, unknown LU"),
        ("b111-stmfadm", "list-view none"),
    ):
        assert any(text in stderr(file, case) for text in absent)
    look, _ = access.remove_view(GUID, host_group="dom0")
    assert _accepted(look, stderr("stmfadm-views", "list-view, LU without views"))


@pytest.mark.parametrize("case", ["remove-view, no service data", "add-view no privilege", "list-view entry missing"])
def test_other_failures_are_no_answer(case: str) -> None:
    """Only "no views found" means that there are none."""
    assert not any(text in stderr("stmfadm-views", case) for text in access.views(GUID).absent)


def test_a_member_of_another_group_is_found_out() -> None:
    """Trap: add-hg-member says "already exists" of an initiator in another group: so look."""
    _, add, look = access.ensure_host_group("dom0", "iqn.2005-03.org.open-iscsi:dom0-a")
    for case in ("add-hg-member again", "member already in another group"):
        assert _accepted(add, stderr("stmfadm-groups", case))
    assert not _accepted(add, stderr("stmfadm-groups", "add to missing group"))
    assert "list-hg" == look.argv[1]
    assert look.expect


def test_the_target_enters_its_group_before_it_is_made() -> None:
    """Trap: an online target cannot enter a group, and a new target is online at once."""
    verbs = [step.argv[1] for step in STMFADM_COMSTAR.publish(EXPORT, [DOM0])]
    assert verbs.index("add-tg-member") < verbs.index("create-target") < verbs.index("add-view")
    add = access.ensure_target_group(TARGET, TARGET)[1]
    assert not _accepted(add, stderr("stmfadm-groups", "add-tg-member while target online"))
    assert _accepted(add, stderr("stmfadm-groups", "add-tg-member again, target online"))


def test_a_target_is_deleted_with_force() -> None:
    """Trap: without -f an online target is never deleted, logged in or not."""
    assert "-f" in targets.remove_target(TARGET).argv
    assert _accepted(targets.remove_target(TARGET), stderr("itadm-target", "delete-target missing"))
    assert not _accepted(targets.remove_target(TARGET), stderr("itadm-target", "delete-target online without -f"))


def test_sizes_are_plain_bytes() -> None:
    """Trap: stmfadm looks at the first letter of a unit only, and sbdadm of b111 refuses 10GB."""
    for step in (STMFADM.resize(PATH, GUID, "8589934592")[0], SBDADM.resize(PATH, GUID, "8589934592")[0]):
        words = [str(word) for word in step.argv]
        assert re.fullmatch("[0-9]+", words[words.index("-s") + 1])


def test_the_size_is_read_back() -> None:
    """Trap: sbd does not compare the size with the zvol's, so a slip makes an LU larger than its disk."""
    for tool in (STMFADM, SBDADM):
        check = tool.resize(PATH, GUID, "8589934592")[-1]
        assert ["8589934592"] == [expect.equals for expect in check.expect]


def test_import_takes_its_own_lu_and_nobody_elses() -> None:
    """Trap: "filename X: in use" is this LU, there already; "guid in use" is a copy of another zvol's metadata."""
    restore = STMFADM.restore(UNIT)[0]
    assert _accepted(restore, stderr("stmfadm-import-lu", "already registered"))
    assert _accepted(restore, stderr("stmfadm-import-lu", "zvol without metadata"))
    copy = stderr("stmfadm-import-lu", "second zvol carrying the same metadata (zfs send -p / -R copy)")
    assert "stmfadm: guid in use\n" == copy
    assert not _accepted(restore, copy)
    assert not _accepted(STMFADM.restore(UNIT)[1], stderr("stmfadm-create-lu", "guid in use"))


def test_move_looks_before_it_unregisters() -> None:
    """Trap: delete-lu -k of an unknown GUID exits 0, so import-lu would register what was not registered."""
    assert "" == stderr("stmfadm-delete-lu", "not found with -k")
    look, unregister, rename, register, alias = STMFADM.move(Move(GUID, PATH, PATH + "9", "x/y", RENAME))
    assert _accepted(look, stderr("stmfadm-list-lu", "unknown"))
    (capture,) = look.captures
    assert "" == printed(capture.sed, stdout("stmfadm-list-lu", "unknown"))
    tests = {step.unless for step in (unregister, register, alias)}
    assert [("test", "-z", f"${capture.name}")] == [tuple(map(str, test or ())) for test in tests]
    assert RENAME == rename
    assert rename.unless is None


def test_move_keeps_the_views() -> None:
    """Trap: delete-lu takes the views with it, unless -k."""
    unregister = STMFADM.move(Move(GUID, PATH, PATH + "9", "x/y", RENAME))[1]
    assert "-k" in unregister.argv
    assert [False] == ["-k" in step.argv for step in STMFADM.delete(GUID)]


def test_gone_already_is_accepted() -> None:
    """The errors for what is not there are told in lower case, and differ by tool."""
    (delete,) = STMFADM.delete(GUID)
    assert _accepted(delete, stderr("stmfadm-delete-lu", "again"))
    assert not _accepted(delete, stderr("stmfadm-delete-lu", "busy"))
    _, old = SBDADM.delete(GUID)
    assert _accepted(old, stderr("b111-sbdadm", "delete-lu again"))
    assert not _accepted(old, stderr("b111-sbdadm", "no privilege EPERM"))


def test_what_b111_says_of_its_lus() -> None:
    """import-lu, create-lu and modify-lu of 2009.06 have words of their own."""
    restore, make, _ = SBDADM.restore(UNIT)
    assert [True, True] == [
        _accepted(restore, stderr("b111-sbdadm", case)) for case in ("import-lu again", "import-lu no metadata")
    ]
    assert _accepted(make, stderr("b111-sbdadm", "create-lu same file"))
    assert not _accepted(make, stderr("b111-sbdadm", "create-lu missing"))
    assert _accepted(SBDADM.resize(PATH, GUID, "1")[0], stderr("b111-sbdadm", "modify-lu unknown"))


def test_the_same_view_again_is_accepted_and_another_lu_there_is_not() -> None:
    """ "view entry exists" is ours from an earlier run; "LUN already in use" is somebody else's."""
    add = access.add_view(GUID, host_group="dom0", target_group=TARGET, lun="5")
    assert _accepted(add, stderr("stmfadm-views", "same view again"))
    for case in ("LUN in use by other LU", "unknown host group", "unknown target group"):
        assert not _accepted(add, stderr("stmfadm-views", case))


def test_an_old_secret_is_never_set_back() -> None:
    """create-initiator leaves one that exists alone; a missing portal group or a taken portal are told apart."""
    create = targets.create_initiator("x", user="y", secret=SECRET)
    assert _accepted(create, stderr("itadm-initiator", "create again"))
    assert not _accepted(create, stderr("itadm-initiator", "create bad name"))
    group = targets.create_portal_group("tpg0", ("192.0.2.10:3260",))
    assert _accepted(group, stderr("itadm-tpg", "create-tpg again"))
    assert not _accepted(group, stderr("itadm-tpg", "create-tpg portal taken"))
