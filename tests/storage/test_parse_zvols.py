"""The reader of ``zfs get``, against recorded, damaged and generated outputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.errors import UnexpectedOutput
from storage.zvol import NATIVE, OURS, PREFIX, Zvol, parse
from tests.captured_cases import stdout

NAME = "tank/xvm/web1/root"
GUID = "600144F00C2A6D0000006A27E7400001"
# The rows of a zvol of ours, as a node of today prints them.
ROWS = (
    ("type", "volume", "-"),
    ("volsize", "21474836480", "local"),
    ("volblocksize", "8192", "-"),
    ("refreservation", "22155296768", "local"),
    ("used", "22155296768", "-"),
    ("referenced", "57344", "-"),
    ("creation", "1793528431", "-"),
    ("origin", "-", "-"),
    ("org.xvmstore:guid", GUID, "local"),
    ("org.xvmstore:lun", "0", "local"),
    ("org.xvmstore:target", "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001", "local"),
    ("org.xvmstore:vdev", "-", "-"),
    ("org.xvmstore:state", "ready", "received"),
    ("org.xvmstore:made-by", "somebody else", "inherited from tank/xvm"),
    ("compression", "lz4", "inherited from tank"),
)
ROOT = Zvol(
    dataset=NAME,
    volsize=21474836480,
    volblocksize=8192,
    refreservation=22155296768,
    used=22155296768,
    referenced=57344,
    creation=1793528431,
    origin=None,
    ours={
        "guid": GUID,
        "lun": "0",
        "target": "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001",
        "state": "ready",
    },
    asked={"compression": "lz4"},
)


def _text(rows: tuple[tuple[str, str, str], ...] = ROWS, name: str = NAME) -> str:
    return "".join(f"{name}\t{key}\t{value}\t{source}\n" for key, value, source in rows)


def _with(key: str, value: str, source: str = "local") -> str:
    return _text((*(row for row in ROWS if row[0] != key), (key, value, source)))


def test_reads_a_zvol() -> None:
    """Every field; our own properties only where they are set on the zvol itself."""
    assert (ROOT,) == parse(_text())


def test_reads_the_recorded_rows() -> None:
    """The rows of the recorded ``zfs get -Hp`` replace ours: name, property, value and source, TAB between."""
    rest = tuple(row for row in ROWS if row[0] not in {"volsize", "refreservation"})
    text = _text(rest, "tank/vm1") + stdout("zfs-list-get", "get -Hp (exists in every release since b85)")
    (found,) = parse(text)
    assert (8589934592, 8864235520, "guest7") == (found.volsize, found.refreservation, found.ours["owner"])


def test_no_output_is_no_zvol() -> None:
    """Nothing there is nothing found."""
    assert () == parse("")


def test_passes_over_what_is_no_volume() -> None:
    """Filesystems and snapshots, which have no volsize, between volumes in any order."""
    other = (("type", "filesystem", "-"), ("volsize", "-", "-"))
    snapshot = (("type", "snapshot", "-"), ("volsize", "21474836480", "-"))
    text = _text(name="tank/xvm/z/b") + _text(other, "tank/xvm") + _text(snapshot, NAME + "@a") + _text()
    assert [NAME, "tank/xvm/z/b"] == [found.dataset for found in parse(text)]


@pytest.mark.parametrize(
    ("value", "thin"), [("0", True), ("none", True), ("-", True), ("21474836479", True), ("21474836480", False)]
)
def test_thin(value: str, thin: bool) -> None:
    """Thin is a refreservation below the size; old builds print none although asked for bytes."""
    (found,) = parse(_with("refreservation", value))
    assert thin == found.thin
    assert found.refreservation == (int(value) if value.isdecimal() else 0)


def test_a_clone_names_its_origin() -> None:
    """A clone is told from a volume of its own."""
    (found,) = parse(_with("origin", "tank/gold@v1", "-"))
    assert "tank/gold@v1" == found.origin


@pytest.mark.parametrize("source", ["inherited from tank/xvm", "default", "temporary", "-", "none"])
def test_marks_that_are_not_its_own_do_not_count(source: str) -> None:
    """A clone or a child of a marked dataset does not pass for a volume of ours."""
    (found,) = parse(_with("org.xvmstore:target", "iqn.2026-11.com.example:x", source))
    assert "target" not in found.ours


@pytest.mark.parametrize("key", NATIVE)
def test_complains_of_a_missing_property(key: str) -> None:
    """Every native property must be told; the error names the zvol and the property."""
    with pytest.raises(UnexpectedOutput, match=f"property {key}") as error:
        parse(_text(tuple(row for row in ROWS if row[0] != key)))
    assert NAME == error.value.line


@pytest.mark.parametrize("key", ["volsize", "volblocksize", "used", "referenced", "creation"])
@pytest.mark.parametrize("value", ["-", "", "20G", "none", "-1", "1.5", "²"])
def test_complains_of_what_is_no_number(key: str, value: str) -> None:
    """A size that is not told never becomes zero."""
    with pytest.raises(UnexpectedOutput, match="zfs get") as error:
        parse(_with(key, value))
    assert f"{NAME}\t{key}\t{value}" == error.value.line


@pytest.mark.parametrize("line", ["tank/xvm", "tank/xvm\tvolsize\t8", "tank/xvm volsize 8 local", "a\tb\tc\td\te", ""])
def test_complains_of_a_damaged_line(line: str) -> None:
    """A field missing or added is an error that names the line."""
    with pytest.raises(UnexpectedOutput, match="four fields") as error:
        parse(f"{_text()}{line}\n")
    assert line == error.value.line


_NUMBERS = st.integers(0, 2**63 - 1)
_ZVOLS = st.builds(
    Zvol,
    dataset=st.from_regex(r"tank(/[A-Za-z0-9][A-Za-z0-9_.:-]{0,8}){1,3}", fullmatch=True),
    volsize=_NUMBERS,
    volblocksize=_NUMBERS,
    refreservation=_NUMBERS,
    used=_NUMBERS,
    referenced=_NUMBERS,
    creation=_NUMBERS,
    origin=st.none() | st.just("tank/gold@v1"),
    ours=st.dictionaries(
        st.sampled_from([name.removeprefix(PREFIX) for name in OURS]),
        st.from_regex(r"[a-z0-9 ,=]{1,9}", fullmatch=True),
    ),
    asked=st.dictionaries(st.just("compression"), st.sampled_from(["on", "lz4"])),
)


def _as_zfs(found: Zvol) -> str:
    native = {key: str(getattr(found, key, "")) for key in NATIVE} | {"type": "volume", "origin": found.origin or "-"}
    ours = {f"{PREFIX}{key}": value for key, value in found.ours.items()}
    rows = (native | ours | dict(found.asked)).items()
    return "".join(f"{found.dataset}\t{key}\t{value}\tlocal\n" for key, value in rows)


@given(st.lists(_ZVOLS, max_size=3, unique_by=lambda found: found.dataset))
def test_round_trip(found: list[Zvol]) -> None:
    """Zvols printed as zfs prints them are read back as they were, by name."""
    assert tuple(sorted(found, key=lambda one: one.dataset)) == parse("".join(map(_as_zfs, found)))
