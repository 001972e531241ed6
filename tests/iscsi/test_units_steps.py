"""The LU commands we send, word for word, and the checks of what comes back, run over recorded outputs."""

from collections.abc import Iterable

import pytest

from iscsi.units import SBDADM, STMFADM, Move, Unit
from remote.script import Capture, Captured, Expect, Step, Word
from tests.captured_cases import stdout
from tests.node_tools import holds, printed, succeeds

GUID = "600144F00C2A6D0000006A27E7400001"
PATH = "/dev/zvol/rdsk/tank/vm1"
NEW_PATH = "/dev/zvol/rdsk/tank/vm9"
SIZE = 8589934592
UNIT = Unit(PATH, GUID, str(SIZE), "00006a27e7400001", "web1/root", write_cache=True)
SAFE = Unit(PATH, GUID, str(SIZE), "00006a27e7400001", "web1/root", write_cache=False)
ON_NODE = Unit(PATH, Captured("guid"), Captured("volsize"), Captured("serial"), "web1/root", write_cache=False)
BUSY = ("resource busy",)
GONE = (": not found",)
RENAME = Step(("zfs", "rename", "tank/vm1", "tank/vm9"))
MOVE = Move(GUID, PATH, NEW_PATH, "web9/root", RENAME)


def _stmfadm(
    *argv: Word,
    undo: tuple[Word, ...] | None = None,
    lies: bool = False,
    unless: tuple[Word, ...] | None = None,
    accept: tuple[str, ...] = (),
    expect: tuple[Expect, ...] = (),
    captures: tuple[Capture, ...] = (),
) -> Step:
    return Step(
        ("stmfadm", *argv),
        undo=undo,
        lies=lies,
        unless=unless,
        accept=accept,
        retry=BUSY,
        expect=expect,
        silent=True,
        captures=captures,
    )


def _create(wcd: str, guid: Word = GUID, serial: Word = "serial=00006a27e7400001") -> tuple[Word, ...]:
    of_guid = f"guid={guid}" if isinstance(guid, str) else Captured("guid", prefix="guid=")
    properties = ("-p", of_guid, "-p", "alias=web1/root", "-p", serial, "-p", f"wcd={wcd}")
    return ("create-lu", *properties, PATH)


def _look(sed: str) -> Step:
    return _stmfadm("list-lu", "-v", GUID, accept=GONE, captures=(Capture("registered", sed, required=False),))


ABSENT = ("test", "-z", Captured("registered"))


DELETE = ("stmfadm", "delete-lu", GUID)
MODIFY = _stmfadm("modify-lu", "-s", str(SIZE), "-f", PATH, accept=("meta file error",))
STMFADM_STEPS: dict[str, tuple[tuple[Step, ...], tuple[Step, ...]]] = {
    "make": (STMFADM.make(UNIT), (_stmfadm(*_create("false"), undo=DELETE, lies=True),)),
    "make, no write cache": (STMFADM.make(SAFE), (_stmfadm(*_create("true"), undo=DELETE, lies=True),)),
    "make, known on the node": (
        STMFADM.make(ON_NODE),
        (
            _stmfadm(
                *_create("true", Captured("guid"), Captured("serial", prefix="serial=")),
                undo=("stmfadm", "delete-lu", Captured("guid")),
                lies=True,
            ),
        ),
    ),
    "restore": (
        STMFADM.restore(UNIT),
        (
            _stmfadm("import-lu", PATH, accept=("filename *: in use", "meta file error")),
            _look("s/^ *Data File *: //p"),
            _stmfadm(*_create("false"), undo=DELETE, lies=True, unless=("test", "-n", Captured("registered"))),
            _stmfadm("modify-lu", "-p", "alias=web1/root", "-p", "wcd=false", "-s", str(SIZE), "-f", PATH),
            _stmfadm("online-lu", GUID),
        ),
    ),
    "delete": (STMFADM.delete(GUID), (_stmfadm("delete-lu", GUID, accept=GONE),)),
    "move": (
        STMFADM.move(MOVE),
        (
            _look("s/^LU Name: //p"),
            _stmfadm(
                *("delete-lu", "-k", GUID), undo=("stmfadm", "import-lu", PATH), lies=True, accept=GONE, unless=ABSENT
            ),
            RENAME,
            _stmfadm("import-lu", NEW_PATH, undo=("stmfadm", "delete-lu", "-k", GUID), lies=True, unless=ABSENT),
            _stmfadm("modify-lu", "-p", "alias=web9/root", GUID, unless=ABSENT),
        ),
    ),
    "resize": (
        STMFADM.resize(PATH, GUID, str(SIZE)),
        (
            MODIFY,
            _stmfadm("list-lu", "-v", GUID, accept=GONE, expect=(Expect("s/^ *Size *: //p", str(SIZE)),)),
        ),
    ),
}

CREATED, BY_PATH = Captured("guid"), Captured("unit")
ROW = rf"s,^\([0-9a-f]\{{32\}}\)  *\([0-9]*\)  *{PATH}$,\%d,p"
FIND = Step(("sbdadm", "list-lu"), captures=(Capture("guid", ROW % 1),), silent=True)
LOADED = "File is already loaded"
SBDADM_STEPS: dict[str, tuple[tuple[Step, ...], tuple[Step, ...]]] = {
    "make": (
        SBDADM.make(UNIT),
        (Step(("sbdadm", "create-lu", PATH), undo=("sbdadm", "delete-lu", CREATED), silent=True), FIND),
    ),
    "restore": (
        SBDADM.restore(UNIT),
        (
            Step(("sbdadm", "import-lu", PATH), accept=(LOADED, "LU is not initialized"), silent=True),
            Step(("sbdadm", "create-lu", PATH), accept=(LOADED,), silent=True),
            FIND,
        ),
    ),
    "delete": (
        SBDADM.delete(GUID),
        (
            _stmfadm("remove-view", "-l", BY_PATH, "-a", accept=("no views found",), unless=("test", "-z", BY_PATH)),
            Step(
                ("sbdadm", "delete-lu", BY_PATH),
                accept=("GUID not found",),
                unless=("test", "-z", BY_PATH),
                silent=True,
            ),
        ),
    ),
    "move": (
        SBDADM.move(MOVE),
        (Step(("sbdadm", "list-lu"), expect=(Expect(ROW % 1, "", or_nothing=True),), silent=True), RENAME),
    ),
    "resize": (
        SBDADM.resize(PATH, GUID, str(SIZE)),
        (
            Step(("sbdadm", "modify-lu", "-s", str(SIZE), PATH), accept=("LU is not initialized",), silent=True),
            Step(("sbdadm", "list-lu"), expect=(Expect(ROW % 2, str(SIZE), or_nothing=True),), silent=True),
        ),
    ),
    "verify": (
        (SBDADM.verify(UNIT),),
        (Step(("sbdadm", "list-lu"), expect=(Expect(ROW % 2, str(SIZE)),), silent=True),),
    ),
    "verify, size known on the node": ((SBDADM.verify(ON_NODE),), (Step(("sbdadm", "list-lu"), silent=True),)),
}


@pytest.mark.parametrize("name", STMFADM_STEPS)
def test_stmfadm_steps(name: str) -> None:
    """Command, undo and what is accepted, word for word."""
    built, expected = STMFADM_STEPS[name]
    assert expected == built


@pytest.mark.parametrize("name", SBDADM_STEPS)
def test_sbdadm_steps(name: str) -> None:
    """Command, undo and what is accepted, word for word."""
    built, expected = SBDADM_STEPS[name]
    assert expected == built


def test_questions() -> None:
    """One LU or all; a GUID that the node does not have is no question."""
    one, on_node = STMFADM.query(GUID), STMFADM.query(Captured("guid"))
    assert [("stmfadm", "list-lu", "-v", GUID), GONE, None] == [one.argv, one.absent, one.needs]
    assert [("stmfadm", "list-lu", "-v", Captured("guid")), "guid"] == [on_node.argv, on_node.needs]
    assert ("stmfadm", "list-lu", "-v") == STMFADM.query_all().argv
    assert [("sbdadm", "list-lu")] * 2 == [SBDADM.query(GUID).argv, SBDADM.query_all().argv]


def _all_hold(expect: Iterable[Expect], text: str) -> bool:
    return all(holds(one, text) for one in expect)


LISTED = stdout("stmfadm-list-lu", "verbose").partition("LU Name: 600144F00C2A6D0000006A27E7400002")[0]


def test_verify_takes_the_recorded_lu() -> None:
    """An LU as it was asked for, in the recorded text."""
    assert _all_hold(STMFADM.verify(UNIT).expect, LISTED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("8589934592", "8589934593"),
        ("8589934592", "85899345920"),
        (PATH, PATH + "2"),
        (PATH, "/dev/zvol/dsk/tank/vm1"),
        ("Status: Online", "Status: Offline"),
        ("Status: Online", "Status: Onlining"),
        ("Write Protect     : Disabled", "Write Protect     : Enabled"),
        ("Writeback Cache   : Enabled", "Writeback Cache   : Disabled"),
        ("    Data File         : /dev/zvol/rdsk/tank/vm1\n", ""),
        ("    Size              : 8589934592\n", ""),
        ("    Writeback Cache   : Enabled\n", ""),
    ],
)
def test_verify_refuses_anything_else(before: str, after: str) -> None:
    """Size, path, state, write protection and write cache are each looked at; an alias with the path is not."""
    assert before in LISTED
    assert not _all_hold(STMFADM.verify(UNIT).expect, LISTED.replace(before, after))


def test_verify_refuses_another_lu() -> None:
    """Every other recorded LU, and nothing at all."""
    for case in ("offline", "one", "unregistered"):
        assert not _all_hold(STMFADM.verify(UNIT).expect, stdout("stmfadm-list-lu", case))
    assert not _all_hold(STMFADM.verify(UNIT).expect, "")


def test_verify_wants_the_write_cache_off() -> None:
    """The default of xvmstore, against the recorded LU with wcd=true."""
    vm2 = Unit("/dev/zvol/rdsk/tank/vm2", "", "4294967296", "", "", write_cache=False)
    assert _all_hold(STMFADM.verify(vm2).expect, stdout("stmfadm-list-lu", "one"))
    assert not _all_hold(STMFADM.verify(SAFE).expect, LISTED)


def test_resize_reads_the_size_and_not_the_block_size() -> None:
    """One number comes out of the recorded text."""
    _, check = STMFADM.resize(PATH, GUID, str(SIZE))
    assert "8589934592\n" == printed(check.expect[0].sed, LISTED)
    assert _all_hold(check.expect, LISTED)
    assert not _all_hold(check.expect, LISTED.replace("8589934592", "17179869184"))


@pytest.mark.parametrize(("steps", "seen"), [
    (STMFADM.move(MOVE), ["600144F00C2A6D0000006A27E7400002", "600144F0000000000000000000000077", ""]),
    (STMFADM.restore(UNIT)[1:], ["/dev/zvol/rdsk/tank/vm2", "", ""]),
], ids=["move", "restore"])  # fmt: skip
def test_what_is_there_is_seen(steps: tuple[Step, ...], seen: list[str]) -> None:
    """The recorded answers: there, only remembered for its views, unknown (stdout is empty)."""
    look, guarded, *_ = steps
    (capture,) = look.captures
    found = [
        printed(capture.sed, stdout("stmfadm-list-lu", case)).strip() for case in ("one", "unregistered", "unknown")
    ]
    assert seen == found
    assert guarded.unless is not None
    skipped = [succeeds(guarded.unless, {"registered": word}) for word in found]
    assert [bool(word) is (guarded.unless[1] == "-n") for word in found] == skipped


TABLES = [stdout("b111-sbdadm", "list-lu"), stdout("sbdadm", "list-lu")]
FOUND = [("600144f00c2a6d0000004a285c800001", "8589869056"), ("600144f00c2a6d0000006a27e7400001", "8589934592")]


@pytest.mark.parametrize(("table", "found"), list(zip(TABLES, FOUND, strict=True)))
def test_sbdadm_finds_its_row(table: str, found: tuple[str, str]) -> None:
    """GUID and size of the one LU on a path, in both layouts of the table."""
    (capture,) = SBDADM.make(UNIT)[-1].captures
    (size,) = SBDADM.verify(UNIT).expect
    assert found == (printed(capture.sed, table).strip(), printed(size.sed, table).strip())


@pytest.mark.parametrize(
    "other", ["/dev/zvol/rdsk/tank/vm", "/dev/zvol/rdsk/tank/vm11", "/zvol/rdsk/tank/vm1", "tank/vm1"]
)
def test_sbdadm_takes_no_other_row(other: str) -> None:
    """The whole path, not a part of one."""
    find = SBDADM.make(Unit(other, "", "", "", "", write_cache=True))[-1]
    assert not printed(find.captures[0].sed, TABLES[0])


def test_a_path_is_no_pattern() -> None:
    """Dots and all else in a path stand for themselves."""
    path = "/dev/zvol/rdsk/tank/my guests/web.1,a"
    row = f"600144f00c2a6d0000004a285c800001      8589869056       {path}\n"
    (capture,) = SBDADM.make(Unit(path, "", "", "", "", write_cache=True))[-1].captures
    assert "600144f00c2a6d0000004a285c800001\n" == printed(capture.sed, row)
    assert not printed(capture.sed, row.replace("web.1", "webx1"))


def test_sbdadm_verify_and_resize_look_at_the_size() -> None:
    """The size listed must be the size asked for; no LU at all is well only after a resize."""
    right = Unit(PATH, "", "8589869056", "", "", write_cache=True)
    assert _all_hold(SBDADM.verify(right).expect, TABLES[0])
    assert not _all_hold(SBDADM.verify(UNIT).expect, TABLES[0])
    assert not _all_hold(SBDADM.verify(right).expect, "")
    _, check = SBDADM.resize(PATH, GUID, "8589869056")
    assert [True, True] == [_all_hold(check.expect, TABLES[0]), _all_hold(check.expect, "\nFound 0 LU(s)\n")]
    assert not _all_hold(check.expect, TABLES[0].replace("8589869056", "8589934592"))


def test_sbdadm_moves_only_what_is_not_exported() -> None:
    """Any LU on the path stops the rename."""
    check, _ = SBDADM.move(MOVE)
    assert [False, True] == [_all_hold(check.expect, text) for text in (TABLES[0], "\nFound 0 LU(s)\n")]
