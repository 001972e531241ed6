"""LUNs set free lately: the properties that remember them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi import quarantine
from remote.errors import UnexpectedOutput
from remote.script import Captured, Expect, Step
from tests.node_tools import holds

BASE = "tank/xvm"


def test_set_free() -> None:
    """One property a LUN, with the time, whether the LUN is known here or on the node only."""
    known = quarantine.set_free(BASE, "5", now=1795305600)
    captured = quarantine.set_free(BASE, Captured("lun"), now=1795305600)
    assert Step(("zfs", "set", "org.xvmstore:freed-5=1795305600", BASE)) == known
    assert Step(("zfs", "set", Captured("lun", "org.xvmstore:freed-", "=1795305600"), BASE)) == captured


def _expectation(unless_at: int | None) -> Expect:
    (expect,) = quarantine.not_freed(BASE, 5, unless_at=unless_at).expect
    return expect


@pytest.mark.parametrize(
    ("unless_at", "printed", "free"),
    [
        (None, "-\n", True),
        (None, "1795305600\n", False),
        (1795305600, "1795305600\n", True),
        (1795305600, "1795305601\n", False),
        (1795305600, "-\n", True),
    ],
)
def test_not_freed(unless_at: int | None, printed: str, free: bool) -> None:
    """Free is a LUN never set free, or one whose quarantine is the one known to be over."""
    assert free == holds(_expectation(unless_at), printed)


def test_asks_for_one_property() -> None:
    """On the base dataset, for all volumes."""
    assert ("zfs", "get", "-H", "-o", "value", "org.xvmstore:freed-5", BASE) == quarantine.not_freed(BASE, 5).argv
    query = quarantine.freed(BASE)
    assert ("zfs", "get", "-Hp", "-o", "property,value", "all", BASE) == query.argv
    assert ("dataset does not exist",) == query.absent


@given(st.dictionaries(st.integers(0, 16383), st.integers(0, 2**33)))
def test_freed_round_trip(freed: dict[int, int]) -> None:
    """Ours are picked out of all the properties of a dataset."""
    rows = "".join(f"org.xvmstore:freed-{lun}\t{when}\n" for lun, when in freed.items())
    assert freed == quarantine.parse_freed(f"type\tfilesystem\nused\t57344\n{rows}com.example:x\ta\tb\n")


@pytest.mark.parametrize(
    "line", ["org.xvmstore:freed-5\tsoon", "org.xvmstore:freed-x\t1", "org.xvmstore:freed-5", "org.xvmstore:freed-\t1"]
)
def test_complains_of_a_damaged_mark(line: str) -> None:
    """A LUN whose quarantine cannot be read is not taken for free."""
    with pytest.raises(UnexpectedOutput, match="zfs get all") as error:
        quarantine.parse_freed(f"type\tfilesystem\n{line}\n")
    assert line == error.value.line
