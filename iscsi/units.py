"""COMSTAR logical units, in the words of stmfadm (b115 and later) and of sbdadm before it. Pure.

Each of the two is one ``UnitTool``: what a release can do is which one it has, never an ``if`` further up.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from iscsi.labels import labels, need, optional, records
from iscsi.model import LogicalUnit
from remote.errors import UnexpectedOutput
from remote.script import Capture, Captured, Expect, Query, Step, Word, joined, needed

# /dev/stmf is opened by one process at a time, so another tool at work makes ours fail for a moment.
BUSY = ("resource busy",)


@dataclass(frozen=True, slots=True)
class Unit:
    """One LU as it is to be: words, since a GUID or size may be known to the node only."""

    path: str
    guid: Word
    size: Word
    serial: Word
    alias: str
    write_cache: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A zvol that gets another name while an LU may be on it."""

    guid: Word
    old_path: str
    new_path: str
    new_alias: str
    rename: Step


@dataclass(frozen=True, slots=True)
class UnitTool:
    """How LUs are made, changed and read on one family of releases.

    make      a new LU on a zvol that has none
    restore   the LU a zvol had before; made anew where there is no memory of it
    renew     the LU made anew, whatever another LU left on the zvol
    verify    checks that the LU is what was asked for, before anybody is let see it
    same      checks that the GUID's LU, if there is one, is on this path: a received copy of a zvol has its GUID
    delete    unregister the LU and take all its views away; after ``same``
    suspend   unregister the LU of this path and GUID, and keep its views
    move      rename the zvol under the LU: given the old and new path, the GUID, the new alias, and the rename
    resize    tell the LU the zvol's new size, and check that it listened; nothing where there is no LU
    """

    name: str
    make: Callable[[Unit], tuple[Step, ...]]
    restore: Callable[[Unit], tuple[Step, ...]]
    renew: Callable[[Unit], tuple[Step, ...]]
    verify: Callable[[Unit], Step]
    same: Callable[[str, Word], Step]
    delete: Callable[[Word], tuple[Step, ...]]
    suspend: Callable[[str, Word], tuple[Step, ...]]
    move: Callable[["Move"], tuple[Step, ...]]
    resize: Callable[[str, Word, Word], tuple[Step, ...]]
    query: Callable[[Word], Query[tuple[LogicalUnit, ...]]]
    query_all: Callable[[], Query[tuple[LogicalUnit, ...]]]


# -- stmfadm: b115 (2009) and later, illumos, Solaris 11 ------------------------------------------------------------

_NEVER_AN_LU = "meta file error"


def _stmfadm_make(unit: Unit) -> tuple[Step, ...]:
    """One -p a property, or all but the first are lost. wcd means write cache DISABLED."""
    properties: list[Word] = []
    for name, value in (
        ("guid", unit.guid),
        ("alias", unit.alias),
        ("serial", unit.serial),
        ("wcd", _wcd(unit)),
    ):
        properties += ["-p", joined(f"{name}=", value)]
    argv = ("stmfadm", "create-lu", *properties, unit.path)
    return (Step(argv, undo=("stmfadm", "delete-lu", unit.guid), lies=True, retry=BUSY, silent=True),)


def _wcd(unit: Unit) -> str:
    return "false" if unit.write_cache else "true"


_WAS_THERE = Captured("registered")


def _stmfadm_look(guid: Word, sed: str) -> Step:
    """Captures ``registered``: what is picked out of the LU's listing, nothing where there is none."""
    there = Capture("registered", sed, required=False)
    argv = ("stmfadm", "list-lu", "-v", guid)
    return Step(argv, accept=(": not found",), captures=(there,), retry=BUSY, silent=True)


def _stmfadm_restore(unit: Unit) -> tuple[Step, ...]:
    """import-lu brings the LU back with the GUID and size it had; the size is then put right."""
    again = ("filename *: in use", _NEVER_AN_LU)
    return Step(("stmfadm", "import-lu", unit.path), accept=again, retry=BUSY, silent=True), *_stmfadm_renew(unit)


def _stmfadm_renew(unit: Unit) -> tuple[Step, ...]:
    """Nothing where it is registered."""
    facts = ("-p", f"alias={unit.alias}", "-p", f"wcd={_wcd(unit)}", "-s", unit.size)
    put_right = ("stmfadm", "modify-lu", *facts, "-f", unit.path)
    (make,) = _stmfadm_make(unit)
    return (
        # A GUID that only has views left is listed too, but has no data file.
        _stmfadm_look(unit.guid, "s/^ *Data File *: //p"),
        replace(make, unless=("test", "-n", _WAS_THERE)),
        Step(put_right, retry=BUSY, silent=True),
        Step(("stmfadm", "online-lu", unit.guid), retry=BUSY, silent=True),
    )


def _stmfadm_verify(unit: Unit) -> Step:
    """A LU without a view is seen by nobody: what is wrong with it is found before it can hurt."""
    cache = "Enabled" if unit.write_cache else "Disabled"
    said = _sed("Operational Status", "Data File", "Write Protect", "Writeback Cache")
    facts = Expect(said, "\n".join(("Online", unit.path, "Disabled", cache)))
    size = Expect(_sed("Size"), unit.size)
    return Step(("stmfadm", "list-lu", "-v", unit.guid), expect=(facts, size), retry=BUSY, silent=True)


def _sed(*wanted: str) -> str:
    return ";".join(f"s/^ *{label} *: //p" for label in wanted)


def _stmfadm_same(path: str, guid: Word) -> Step:
    here = Expect(_sed("Data File"), path, or_nothing=True)
    return Step(("stmfadm", "list-lu", "-v", guid), accept=(": not found",), expect=(here,), retry=BUSY, silent=True)


def _stmfadm_delete(guid: Word) -> tuple[Step, ...]:
    return (Step(("stmfadm", "delete-lu", guid), accept=(": not found",), retry=BUSY, silent=True),)


def _stmfadm_suspend(path: str, guid: Word) -> tuple[Step, ...]:
    """-k keeps the views. For a GUID that is not registered it exits 0, and before b135 says that it is not found."""
    leave, back = ("stmfadm", "delete-lu", "-k", guid), ("stmfadm", "import-lu", path)
    return (Step(leave, undo=back, lies=True, accept=(": not found",), retry=BUSY, silent=True),)


def _stmfadm_move(move: Move) -> tuple[Step, ...]:
    """delete-lu -k keeps the views, import-lu finds the GUID on the zvol. What was not registered stays so.

    -k of an unknown GUID exits 0, so whether it is registered has to be asked first.
    """
    absent = ("test", "-z", _WAS_THERE)
    (leave,) = _stmfadm_suspend(move.old_path, move.guid)
    alias = ("stmfadm", "modify-lu", "-p", f"alias={move.new_alias}", move.guid)
    return (
        # Views alone mean that an earlier move was cut off: its LU is to be registered as well.
        _stmfadm_look(move.guid, "s/^LU Name: //p"),
        replace(leave, unless=absent),
        move.rename,
        replace(leave, argv=("stmfadm", "import-lu", move.new_path), undo=leave.argv, accept=(), unless=absent),
        Step(alias, unless=absent, retry=BUSY, silent=True),
    )


def _stmfadm_modify(path: str, size: Word) -> Step:
    """By file name, which needs no GUID. Plain bytes: only the first letter of a unit would be looked at."""
    argv = ("stmfadm", "modify-lu", "-s", size, "-f", path)
    return Step(argv, accept=(_NEVER_AN_LU,), retry=BUSY, silent=True)


def _stmfadm_resize(path: str, guid: Word, size: Word) -> tuple[Step, ...]:
    """sbd does not compare the size with the zvol's, so it is read back."""
    expect = (Expect(_sed("Size"), size),)
    check = ("stmfadm", "list-lu", "-v", guid)
    return _stmfadm_modify(path, size), Step(check, accept=(": not found",), expect=expect, retry=BUSY, silent=True)


def _stmfadm_query(guid: Word) -> Query[tuple[LogicalUnit, ...]]:
    argv = ("stmfadm", "list-lu", "-v", guid)
    return Query(argv, parse_list_lu, absent=(": not found",), silent=True, needs=needed(guid))


def _stmfadm_query_all() -> Query[tuple[LogicalUnit, ...]]:
    return Query(("stmfadm", "list-lu", "-v"), parse_list_lu, silent=True)


def parse_list_lu(text: str) -> tuple[LogicalUnit, ...]:
    """Read ``stmfadm list-lu -v``. An unregistered LU, and every LU before b115, has only the first lines.

    LU Name: 600144F00C2A6D0000006A27E7400001
        Operational Status: Online
        Size              : 8589934592
    """
    return tuple(_unit(name, lines) for name, lines in records(text, "LU Name", command="stmfadm list-lu -v"))


_GUID = re.compile(r"[0-9A-Fa-f]{32}\Z")


def _unit(guid: str, lines: list[str]) -> LogicalUnit:
    command = "stmfadm list-lu -v"
    if not _GUID.match(guid):
        raise UnexpectedOutput(command, f"LU Name: {guid}", "32 hexadecimal digits")
    facts = labels(lines, command=command)
    block = optional(facts, "block size")
    return LogicalUnit(
        guid=guid.upper(),
        state=need(facts, "operational status", command=command, name=guid),
        alias=optional(facts, "alias"),
        path=optional(facts, "data file"),
        size=_bytes(optional(facts, "size"), command),
        block_size=_bytes(block, command),
        serial=optional(facts, "serial num"),
        read_only=_enabled(optional(facts, "write protect"), command),
        write_cache=_enabled(optional(facts, "writeback cache"), command),
    )


def _bytes(text: str | None, command: str) -> int | None:
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise UnexpectedOutput(command, text, "a number of bytes")


def _enabled(text: str | None, command: str) -> bool | None:
    if text is None:
        return None
    if text.lower() not in {"enabled", "disabled"}:
        raise UnexpectedOutput(command, text, "Enabled or Disabled")
    return text.lower() == "enabled"


STMFADM = UnitTool(
    name="stmfadm",
    make=_stmfadm_make,
    restore=_stmfadm_restore,
    renew=_stmfadm_renew,
    verify=_stmfadm_verify,
    same=_stmfadm_same,
    delete=_stmfadm_delete,
    suspend=_stmfadm_suspend,
    move=_stmfadm_move,
    resize=_stmfadm_resize,
    query=_stmfadm_query,
    query_all=_stmfadm_query_all,
)

# -- sbdadm: OpenSolaris 2009.06 (b111) -------------------------------------------------------------------------------


def _sbdadm_make(unit: Unit) -> tuple[Step, ...]:
    """sbdadm picks the GUID: it is read back in the same script, under the name ``guid``."""
    undo = ("sbdadm", "delete-lu", Captured("guid"))
    create = Step(("sbdadm", "create-lu", unit.path), undo=undo, silent=True)
    return (create, _sbdadm_find(unit.path))


def _sbdadm_find(path: str) -> Step:
    return Step(("sbdadm", "list-lu"), captures=(Capture("guid", _row(path, 1)),), silent=True)


def _row(path: str, field: int) -> str:
    """600144f00c2a6d0000004a285c800001      8589869056       /dev/zvol/rdsk/tank/vm1"""
    literal = re.sub(r"([.*\[\]^$,\\])", r"\\\1", path)
    return rf"s,^\([0-9a-f]\{{32\}}\)  *\([0-9]*\)  *{literal}$,\{field},p"


def _sbdadm_restore(unit: Unit) -> tuple[Step, ...]:
    loaded = "File is already loaded"
    restore = Step(("sbdadm", "import-lu", unit.path), accept=(loaded, "LU is not initialized"), silent=True)
    make = Step(("sbdadm", "create-lu", unit.path), accept=(loaded,), silent=True)
    return (restore, make, _sbdadm_find(unit.path))


def _sbdadm_verify(unit: Unit) -> Step:
    """Nothing but the file and its size can be seen on these releases."""
    expect = () if isinstance(unit.size, Captured) else (Expect(_row(unit.path, 2), unit.size),)
    return Step(("sbdadm", "list-lu"), expect=expect, silent=True)


_UNIT = Captured("unit")


def _sbdadm_same(path: str, _guid: Word) -> Step:
    """The LU is found by its path, since a volume that was cut off half-way has no GUID recorded."""
    here = Capture(_UNIT.name, _row(path, 1), required=False)
    return Step(("sbdadm", "list-lu"), captures=(here,), silent=True)


def _sbdadm_delete(_guid: Word) -> tuple[Step, ...]:
    """The views are STMF's own on these releases, and would wait for another LU with this GUID."""
    absent = ("test", "-z", _UNIT)
    views = ("stmfadm", "remove-view", "-l", _UNIT, "-a")
    gone = ("GUID not found",)
    return (
        Step(views, unless=absent, accept=("no views found",), retry=BUSY, silent=True),
        Step(("sbdadm", "delete-lu", _UNIT), unless=absent, accept=gone, silent=True),
    )


def _sbdadm_suspend(path: str, _guid: Word) -> tuple[Step, ...]:
    """These releases cannot keep the views of an LU that goes: it must not be exported."""
    absent = Expect(_row(path, 1), "", or_nothing=True)
    return (Step(("sbdadm", "list-lu"), expect=(absent,), silent=True),)


def _sbdadm_move(move: Move) -> tuple[Step, ...]:
    return (*_sbdadm_suspend(move.old_path, move.guid), move.rename)


def _sbdadm_resize(path: str, _guid: Word, size: Word) -> tuple[Step, ...]:
    modify = Step(("sbdadm", "modify-lu", "-s", size, path), accept=("LU is not initialized",), silent=True)
    expect = (Expect(_row(path, 2), size, or_nothing=True),)
    return modify, Step(("sbdadm", "list-lu"), expect=expect, silent=True)


def _sbdadm_query(_guid: Word) -> Query[tuple[LogicalUnit, ...]]:
    return Query(("sbdadm", "list-lu"), parse_sbdadm, silent=True)


_TABLE_HEAD = re.compile(r"(Found [0-9]+ LU\(s\)|\t? *GUID +DATA SIZE +SOURCE|[- ]+)\Z")
_TABLE_ROW = re.compile(r"([0-9a-f]{32}) +([0-9]+) +(/.*)\Z")


def parse_sbdadm(text: str) -> tuple[LogicalUnit, ...]:
    """Read ``sbdadm list-lu``. It lists what is registered, and says nothing of the state.

    Found 1 LU(s)
    600144f00c2a6d0000004a285c800001      8589869056       /dev/zvol/rdsk/tank/vm1
    """
    rows = []
    found = text.strip().partition("\n")[0]
    for line in text.splitlines():
        match = _TABLE_ROW.match(line)
        if match:
            rows.append(LogicalUnit(match[1].upper(), "Online", path=match[3], size=int(match[2])))
        elif line.strip() and not _TABLE_HEAD.match(line):
            raise UnexpectedOutput("sbdadm list-lu", line, "GUID, size and source")
    if found not in {f"Found {len(rows)} LU(s)", ""}:
        raise UnexpectedOutput("sbdadm list-lu", found, f"Found {len(rows)} LU(s), as many as it lists")
    return tuple(rows)


SBDADM = UnitTool(
    name="sbdadm",
    make=_sbdadm_make,
    restore=_sbdadm_restore,
    renew=_sbdadm_restore,
    verify=_sbdadm_verify,
    same=_sbdadm_same,
    delete=_sbdadm_delete,
    suspend=_sbdadm_suspend,
    move=_sbdadm_move,
    resize=_sbdadm_resize,
    query=_sbdadm_query,
    query_all=lambda: _sbdadm_query(""),
)
