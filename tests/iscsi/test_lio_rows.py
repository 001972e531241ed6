"""Listings of LIO's configfs, as a real node printed them, become facts; anything else is complained about."""

from pathlib import Path

import pytest

from iscsi.lio_rows import parse_look
from iscsi.model import Group, Session, View
from remote.errors import UnexpectedOutput

CAPTURED = Path(__file__).parent.parent / "captured" / "lio"
GUID = "60014053DB7477D378DD1B57B083FE60"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.1b57b083fe60"
XEN1 = "iqn.2026-11.org.xvmstore:dom0"
UNIT = "unit\txvm-3db\tiblock\t3db7477d378dd1b57b083fe60\t1\t1073741824\t0\t/dev/zvol/tank/xvm/web1/root\n"
SERVED = f"target\t{TARGET}\t1\t1\t1\t0\nportal\t{TARGET}\t0.0.0.0:3260\nlun\t{TARGET}\t0\txvm-3db\n"
SEEN = f"view\t{TARGET}\t{XEN1}\t0\txvm-3db\t0\tdom0\n"
LOGIN = f"session\t{TARGET}\t{XEN1}\tacl\n"


def test_one_volume() -> None:
    """LU, target, who may see it and who is logged in; the GUID is what LIO tells initiators."""
    found = parse_look(UNIT + SERVED + SEEN + LOGIN).exported(parse_look(UNIT).units[0])

    assert found.unit is not None
    assert found.target is not None
    assert found.setup is not None
    assert (GUID, "Online", 1 << 30, False) == (
        found.unit.guid, found.unit.state, found.unit.size, found.unit.read_only
    )  # fmt: skip
    assert (View(0, XEN1, TARGET, 0),) == found.views
    assert (TARGET, True, (Session(TARGET, XEN1, None, None),)) == (
        found.target.name, found.target.online, found.target.sessions
    )  # fmt: skip
    assert ("chap", ("0.0.0.0:3260",)) == (found.setup.auth, found.setup.portal_groups)
    assert (Group(XEN1, (XEN1,)),) == found.host_groups


def test_a_serial_number_of_somebody_elses() -> None:
    """targetcli makes UUIDs: the hexadecimal digits count, filled up with zeros."""
    uuid = UNIT.replace("3db7477d378dd1b57b083fe60", "8ba5c5c8-e1f1-4fd6-a4c5")
    assert "60014058BA5C5C8E1F14FD6A4C500000" == parse_look(uuid).units[0].guid


def test_a_target_that_lets_everybody_in() -> None:
    """generate_node_acls is a view for all."""
    rows = parse_look(UNIT + SERVED.replace("\t1\t1\t0\n", "\t1\t0\t1\n"))
    assert (View(0, None, TARGET, 0),) == rows.views(rows.units[0])


def test_write_protected_for_one() -> None:
    """A mapping that is read-only makes the LU so, for whoever looks at the volume."""
    rows = parse_look(UNIT + SERVED + SEEN.replace("\t0\tdom0", "\t1\tdom0"))
    unit = rows.exported(rows.units[0]).unit
    assert unit is not None
    assert unit.read_only


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        # A rename was cut off: the place is there, what was in it is not.
        (f"lun\t{TARGET}\t0\t-\nview\t{TARGET}\t{XEN1}\t0\t-\t0\tdom0\n", (View(0, XEN1, TARGET, 0),)),
        # A boot without the pool: the target and its ACLs came back, the LUN did not.
        (f"view\t{TARGET}\t{XEN1}\t-\t-\t-\tdom0\n", (View(0, XEN1, TARGET, None),)),
        # An initiator that sees other LUNs of a shared target waits for none.
        (f"lun\t{TARGET}\t7\txvm-other\nview\t{TARGET}\t{XEN1}\t-\t-\t-\tdom0\n", ()),
    ],
    ids=["rename", "boot", "shared"],
)
def test_who_waits_for_an_lu_that_has_gone(rows: str, seen: tuple[View, ...]) -> None:
    """What COMSTAR keeps as views is read off the places that are left."""
    text = f"target\t{TARGET}\t1\t1\t1\t0\n{rows}"
    assert seen == parse_look(text).exported(None).waiting


@pytest.mark.parametrize(
    "text",
    ["disk\tx\n", "unit\txvm-3db\n", UNIT.replace("1073741824", "1G"), UNIT.replace("\t1\t", "\tyes\t"),
     UNIT.replace("xvm-3db", "-", 1), "bash: warning\n"],
)  # fmt: skip
def test_what_is_not_understood(text: str) -> None:
    """Parse or complain."""
    with pytest.raises(UnexpectedOutput):
        parse_look(text)


def test_a_real_listing() -> None:
    """Two volumes of ours on targets of their own, a file of somebody's on theirs, a login."""
    rows = parse_look((CAPTURED / "look-debian12-6.1-all.txt").read_text())
    everything = rows.everything()

    ours = [unit for unit in everything.units if (unit.path or "").startswith("/dev/zvol/")]
    assert 2 == len(ours)
    assert all(unit.online and unit.size and unit.guid.startswith("6001405") for unit in ours)
    assert [True] * len(ours) == [bool(everything.views[unit.guid]) for unit in ours]
    assert 1 == len([session for target in everything.targets for session in target.sessions])
    assert any(unit.path == "/var/lib/disk.img" and unit.size == 16 << 20 for unit in everything.units)
