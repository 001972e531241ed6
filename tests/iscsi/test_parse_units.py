"""The readers of LU listings, against every recorded listing, damaged ones and generated ones."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi.model import LogicalUnit
from iscsi.units import parse_list_lu, parse_sbdadm
from remote.errors import UnexpectedOutput
from tests.captured_cases import Key, recorded, stdout

G1, G2, G3, G4 = (f"600144F00C2A6D0000006A27E740000{n}" for n in range(1, 5))


def _zvol(guid: str, path: str, size: int, *, alias: str | None = None, write_cache: bool = True) -> LogicalUnit:
    return LogicalUnit(
        guid=guid,
        state="Online",
        alias=alias or path,
        path=path,
        size=size,
        block_size=512,
        serial=None,
        read_only=False,
        write_cache=write_cache,
    )


def _vm2(state: str = "Online") -> LogicalUnit:
    return LogicalUnit(
        guid=G2,
        state=state,
        alias="/dev/zvol/rdsk/tank/vm2",
        path="/dev/zvol/rdsk/tank/vm2",
        size=4294967296,
        block_size=512,
        serial="XVM0002",
        read_only=False,
        write_cache=False,
    )


VM1 = _zvol(G1, "/dev/zvol/rdsk/tank/vm1", 8589934592, alias="guest-vm1")
OFFLINE = LogicalUnit(G1, "Offline", "guest-vm1", "/dev/zvol/rdsk/tank/vm1", 8589934592, 512, None, False, True)
CHANGED = LogicalUnit(G1, "Online", "guest-vm1", "/dev/zvol/rdsk/tank/vm1", 17179869184, 512, None, True, False)
FILE = _zvol(G3, "/export/file.img", 1073676288)
META = _zvol(G4, "/dev/zvol/rdsk/tank/vm4", 2147483648, alias="/export/meta.md")

STMFADM: dict[Key, tuple[LogicalUnit, ...]] = {
    ("stmfadm-list-lu", "no LUs"): (),
    ("stmfadm-list-lu", "verbose"): (VM1, _vm2(), FILE, META),
    ("stmfadm-list-lu", "one"): (_vm2(),),
    ("stmfadm-list-lu", "offline"): (OFFLINE,),
    ("stmfadm-list-lu", "offlining"): (_vm2("Offlining"),),
    ("stmfadm-list-lu", "onlining"): (_vm2("Onlining"),),
    ("stmfadm-list-lu", "unregistered"): (LogicalUnit("600144F0000000000000000000000077", "unregistered"),),
    ("stmfadm-delete-lu", "list after -k"): (LogicalUnit(G2, "unregistered"),),
    ("stmfadm-modify-lu", "list shows changes"): (CHANGED,),
    ("b111-stmfadm", "list-lu -v"): (LogicalUnit(G1, "Online", alias="/dev/zvol/rdsk/tank/vm1"),),
}

B111_1, B111_2 = "600144F00C2A6D0000004A285C800001", "600144F00C2A6D0000004A285C800002"
SBDADM: dict[Key, tuple[LogicalUnit, ...]] = {
    ("sbdadm", "list-lu none"): (),
    ("sbdadm", "list-lu"): (
        LogicalUnit(G1, "Online", path="/dev/zvol/rdsk/tank/vm1", size=8589934592),
        LogicalUnit(G2, "Online", path="/dev/zvol/rdsk/tank/vm2", size=2147483648),
    ),
    ("sbdadm-unregistered", "list-lu"): (LogicalUnit(G1, "Online", path="/dev/zvol/rdsk/tank/vm1", size=8589934592),),
    ("b111-sbdadm", "list-lu none"): (),
    ("b111-sbdadm", "list-lu"): (
        LogicalUnit(B111_2, "Online", path="/dev/zvol/rdsk/tank/vm2", size=2147483648),
        LogicalUnit(B111_1, "Online", path="/dev/zvol/rdsk/tank/vm1", size=8589869056),
    ),
}
VERBOSE = stdout("stmfadm-list-lu", "verbose")
TABLE = stdout("sbdadm", "list-lu")


@pytest.mark.parametrize("key", STMFADM, ids=": ".join)
def test_reads_recorded_stmfadm_listings(key: Key) -> None:
    """Every field of every LU in every recorded ``stmfadm list-lu -v``."""
    assert STMFADM[key] == parse_list_lu(stdout(*key))


def test_no_stmfadm_listing_is_left_out() -> None:
    """A listing that is recorded later must get its expected facts too."""
    assert recorded("stmfadm list-lu -v.*") == STMFADM.keys()


@pytest.mark.parametrize("key", SBDADM, ids=": ".join)
def test_reads_recorded_sbdadm_listings(key: Key) -> None:
    """Every LU of every recorded ``sbdadm list-lu``, in both layouts."""
    assert SBDADM[key] == parse_sbdadm(stdout(*key))


def test_no_sbdadm_listing_is_left_out() -> None:
    """A listing that is recorded later must get its expected facts too."""
    assert recorded("sbdadm list-lu") == SBDADM.keys()


def test_states() -> None:
    """Only a registered LU is served, and only an online one answers."""
    found = parse_list_lu("".join(stdout(*key) for key in STMFADM))
    assert {"Online"} == {unit.state for unit in found if unit.online}
    assert {"unregistered"} == {unit.state for unit in found if not unit.registered}


def _line_of(error: pytest.ExceptionInfo[UnexpectedOutput]) -> str:
    assert "\n" not in str(error.value)
    return error.value.line


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("    Block Size        : 512\n", "    Block Si\n", "    Block Si"),
        ("    Size              : 8589934592\n", "    Size              : 8G\n", "8G"),
        ("    Size              : 8589934592\n", "    Size              : -1\n", "-1"),
        ("    Size              : 8589934592\n", "    Size              : 8²\n", "8²"),
        ("    Write Protect     : Disabled\n", "    Write Protect     : Disa\n", "Disa"),
        ("    Writeback Cache   : Enabled\n", "    Writeback Cache   : yes\n", "yes"),
        (f"LU Name: {G1}\n", "", "    Operational Status: Online"),
        (f"LU Name: {G1}\n", "LU Name:\n", "LU Name:"),
        (f"LU Name: {G2}\n", "LU Name:\n", "LU Name:"),
        (f"LU Name: {G2}\n", "LU Na\n", "LU Na"),
        (f"LU Name: {G2}\n", "LU Name: 600144F00C2A\n", "LU Name: 600144F00C2A"),
        (f"LU Name: {G2}\n    Operational Status: Online\n", f"LU Name: {G2}\n", G2),
        ("    Alias             : guest-vm1\n", "stmfadm core dumped\n", "stmfadm core dumped"),
        ("    Alias             : guest-vm1\n", "\n", ""),
    ],
)
def test_complains_of_a_damaged_stmfadm_listing(before: str, after: str, named: str) -> None:
    """A line cut short, unknown or missing is an error that names it: nothing is skipped."""
    assert before in VERBOSE
    with pytest.raises(UnexpectedOutput, match="stmfadm list-lu") as error:
        parse_list_lu(VERBOSE.replace(before, after, 1))
    assert named == _line_of(error)


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_listing_cut_within_its_first_lines_never_becomes_another_lu(cut: int) -> None:
    """Half an output is an error, or an LU that has this very GUID."""
    try:
        found = parse_list_lu(VERBOSE[:cut])
    except UnexpectedOutput:
        return
    assert [G1] == [unit.guid for unit in found]


@pytest.mark.parametrize("label", ["Data File", "Size", "Block Size", "Serial Num", "Write Protect", "Writeback Cache"])
def test_what_is_not_printed_is_unknown(label: str) -> None:
    """A label that is missing, or says "not set", is None: never zero and never False."""
    whole = stdout("stmfadm-list-lu", "one")
    missing = re.sub(f"    {label} *: .*\n", "", whole)
    unset = re.sub(f"(    {label} *: ).*\n", r"\g<1>not set\n", whole)
    field = {
        "Data File": "path",
        "Serial Num": "serial",
        "Write Protect": "read_only",
        "Writeback Cache": "write_cache",
    }
    name = field.get(label, label.lower().replace(" ", "_"))
    assert getattr(_vm2(), name) is not None
    assert [None, None] == [getattr(parse_list_lu(text)[0], name) for text in (missing, unset)]
    assert whole != missing


def test_lets_labels_of_other_releases_through() -> None:
    """The output is "not an interface": a label more, or in other case, does no harm."""
    text = stdout("stmfadm-list-lu", "one")
    other = text.replace("Data File         :", "DATA FILE:") + "    Encrypted         : No\n"
    assert parse_list_lu(text) == parse_list_lu(other)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("600144f00c2a6d0000006a27e7400002  2147483648 ", "600144f00c2a6d0000006a27e7400002", None),
        ("600144f00c2a6d0000006a27e7400002  2147483648           /dev/zvol/rdsk/tank/vm2", "600144f00c2a6d", None),
        ("2147483648", "2G", None),
        ("/dev/zvol/rdsk/tank/vm2", "", None),
        ("\nFound 2", "Segmentation fault\nFound 2", "Segmentation fault"),
        (
            "600144f00c2a6d0000006a27e7400002  2147483648           /dev/zvol/rdsk/tank/vm2\n",
            "",
            "Found 2 LU(s)",
        ),
    ],
)
def test_complains_of_a_damaged_sbdadm_listing(before: str, after: str, named: str | None) -> None:
    """A row cut short, unknown or missing is an error that names it."""
    assert before in TABLE
    damaged = TABLE.replace(before, after, 1)
    with pytest.raises(UnexpectedOutput, match="sbdadm list-lu") as error:
        parse_sbdadm(damaged)
    assert (named or damaged.splitlines()[-1]) == _line_of(error)


_PATHS = st.from_regex(
    r"/dev/zvol/rdsk/[A-Za-z0-9._:-]{1,20}(/[A-Za-z0-9][A-Za-z0-9._: -]{0,20}[A-Za-z0-9])?", fullmatch=True
)
_GUIDS = st.from_regex(r"6[0-9A-F]{31}", fullmatch=True)
_UNITS = st.builds(
    LogicalUnit,
    guid=_GUIDS,
    state=st.sampled_from(["Online", "Offline", "Onlining", "Offlining"]),
    alias=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:/ =.-]{0,30}[a-z]", fullmatch=True),
    path=_PATHS,
    size=st.integers(0, 2**63 - 1),
    block_size=st.sampled_from([512, 4096]),
    serial=st.none() | st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True),
    read_only=st.booleans(),
    write_cache=st.booleans(),
)


def _as_stmfadm(unit: LogicalUnit) -> str:
    return f"""\
LU Name: {unit.guid}
    Operational Status: {unit.state}
    Provider Name     : sbd
    Alias             : {unit.alias or "-"}
    View Entry Count  : 0
    Data File         : {unit.path}
    Meta File         : not set
    Size              : {unit.size}
    Block Size        : {unit.block_size}
    Management URL    : not set
    Vendor ID         : SUN     \n\
    Product ID        : COMSTAR         \n\
    Serial Num        : {unit.serial or "not set"}
    Write Protect     : {"Enabled" if unit.read_only else "Disabled"}
    Writeback Cache   : {"Enabled" if unit.write_cache else "Disabled"}
    Access State      : Active
"""


@given(st.lists(_UNITS, max_size=4))
def test_stmfadm_round_trip(units: list[LogicalUnit]) -> None:
    """Facts printed as stmfadm prints them are read back as they were."""
    assert tuple(units) == parse_list_lu("".join(map(_as_stmfadm, units)))


def test_the_printed_form_is_the_recorded_one() -> None:
    """What the round trips print is the layout of the real tool, byte for byte."""
    assert stdout("stmfadm-list-lu", "verbose").partition("LU Name: " + G2)[0] == _as_stmfadm(VM1).replace(
        "View Entry Count  : 0", "View Entry Count  : 1"
    )


_ROWS = st.builds(LogicalUnit, guid=_GUIDS, state=st.just("Online"), path=_PATHS, size=st.integers(0, 2**63 - 1))


@given(st.lists(_ROWS, max_size=4), st.booleans())
def test_sbdadm_round_trip(units: list[LogicalUnit], b111: bool) -> None:
    """Facts printed in the table of either release are read back as they were."""
    head = TABLE.partition("600144")[0].replace("Found 2", f"Found {len(units)}")
    rows = ""
    for unit in units:
        guid = unit.guid.lower()
        wide = f"  {unit.size:<19}  " if not b111 or (unit.size or 0) > 9999999999999 else f"      {unit.size:<13}    "
        rows += f"{guid}{wide}{unit.path}\n"
    assert tuple(units) == parse_sbdadm(head + rows)
