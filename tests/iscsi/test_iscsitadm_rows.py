"""The readers of iscsitadm's listings, against every recorded one, and damaged ones; and what they make of them."""

from dataclasses import replace

import pytest

from iscsi.backend import Exported
from iscsi.iscsitadm_rows import (
    NOBODY,
    LocalInitiator,
    Lun,
    Served,
    everything,
    exported,
    parse_admin,
    parse_initiators,
    parse_portal_groups,
    parse_targets,
)
from iscsi.model import Group, Initiator, PortalGroup, Session, View
from remote.errors import UnexpectedOutput
from tests.captured_cases import recorded, stdout

FILE = "iscsitadm-b85"
IQN1 = "iqn.1986-03.com.sun:02:7c5a3d1e-0c4b-4b3b-9d6e-8d6b4f3a2c11.vm1"
IQN2 = "iqn.1986-03.com.sun:02:0d3c2b1a-5e6f-4a7b-8c9d-aabbccddeeff"
DOM0 = "iqn.1986-03.com.sun:01:0003ba0e0795.4455571f"
PATH1, PATH2 = "/dev/zvol/rdsk/tank/vm1", "/dev/zvol/rdsk/tank/vm2"
GUID = "600144F04A285C8000000C2A6D000001"
VM1 = Served("vm1", IQN1, (Session(IQN1, DOM0, "dom0", None),), ("dom0",), ("1",), (Lun(0, GUID, PATH1, "online"),))
VM2 = Served("tank/vm2", IQN2, (), (), (), (Lun(0, "", PATH2, "online"),))
LINUX1 = LocalInitiator("linux1", Initiator("iqn.2005-03.org.open-iscsi:abc", None, False))
KNOWN = LocalInitiator("dom0", Initiator(DOM0, "dom0user", True))
OURS = replace(VM1, acl=(NOBODY, "dom0"))


def test_every_recorded_listing_of_targets() -> None:
    """All of them, one, and none."""
    wanted = {"list target -v": (VM2, VM1), "list target one": (VM1,)}
    assert wanted == {name: parse_targets(stdout(FILE, name)) for _, name in recorded("iscsitadm list target -v.*")}
    assert () == parse_targets(stdout(FILE, "list target unknown"))


def test_recorded_listings_of_all_else() -> None:
    """Initiators with and without CHAP, portal groups with and without an address, the daemon's settings."""
    assert (LINUX1, KNOWN) == parse_initiators(stdout(FILE, "list initiator -v"))
    groups = (PortalGroup("2", ()), PortalGroup("1", ("192.0.2.11", "192.0.2.10")))
    assert groups == parse_portal_groups(stdout(FILE, "list tpgt -v"))
    admin = parse_admin(stdout(FILE, "show admin"))
    assert ("Not set", "Disabled") == (admin["isns access"], admin["fast write ack"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Target: vm1", "Target:"),
        ("    Connections: 1", "    Connections: 2"),
        ("    Connections: 1\n", ""),
        ("        Initiator: dom0", "        Nobody: dom0"),
        ("            GUID: 6", "            GUID: x6"),
        ("        LUN: 0", "        LUN: x"),
        ("            Status: online", "     Status: online"),
        ("Target: tank/vm2", "iscsitadm: warning\nTarget: tank/vm2"),
    ],
)
def test_what_is_damaged_is_no_listing(old: str, new: str) -> None:
    """Nothing that is not understood is passed over."""
    text = stdout(FILE, "list target -v")
    assert old in text
    with pytest.raises(UnexpectedOutput):
        parse_targets(text.replace(old, new))


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_initiators, "Initiator: a\n    iSCSI Name: iqn.x\n    CHAP Name: Not set\n    CHAP Secret: yes\n"),
        (parse_initiators, "Initiator: a\n    iSCSI Name: iqn.x\n"),
        (parse_portal_groups, "TPGT: 1\n    Address: 192.0.2.1\n"),
        (parse_admin, "Base Directory: /x\n"),
    ],
)
def test_nor_any_other(parse: object, text: str) -> None:
    """The same for initiators, portal groups and settings."""
    assert callable(parse)
    with pytest.raises(UnexpectedOutput):
        parse(text)


def test_an_lu_before_its_first_login_has_no_guid() -> None:
    """It is known by its path; its views are listed by that."""
    found = everything((replace(VM2, acl=(NOBODY, "dom0")),), (KNOWN,))
    assert ("", "online", PATH2, None) == (
        found.units[0].guid, found.units[0].state, found.units[0].path, found.units[0].size
    )  # fmt: skip
    assert {PATH2: (View(0, "dom0", None, 0),)} == found.views


def test_a_view_is_a_name_in_the_acl() -> None:
    """But for the one whom nobody is; a local initiator is a group of one."""
    found = exported((VM2, OURS), (LINUX1, KNOWN), PATH1)
    assert found.unit is not None
    assert (GUID, "online", "vm1") == (found.unit.guid, found.unit.state, found.unit.alias)
    assert (View(0, "dom0", None, 0),) == found.views
    assert (Group("linux1", (LINUX1.initiator.name,)), Group("dom0", (DOM0,))) == found.host_groups
    assert found.target is not None
    assert (IQN1, OURS.sessions) == (found.target.name, found.target.sessions)


def test_a_target_for_nobody_is_masked() -> None:
    """It is there, and not exported."""
    found = exported((replace(OURS, acl=(NOBODY,)),), (KNOWN,), PATH1)
    assert found.unit is not None
    assert ("masked", False, True, ()) == (found.unit.state, found.unit.online, found.unit.registered, found.views)


def test_everybody_is_told() -> None:
    """An empty ACL is everybody's, and so is a second target on the same zvol; ours comes first."""
    assert (View(0, None, None, 0),) == exported((replace(OURS, acl=()),), (), PATH1).views
    second = replace(VM2, luns=(Lun(0, "", PATH1, "online"),))
    found = exported((second, OURS), (KNOWN,), PATH1)
    assert ((View(0, "dom0", None, 0), View(1, None, None, 0)), IQN1) == (
        found.views,
        found.target and found.target.name,
    )
    every = everything((second, OURS), (KNOWN,))
    assert [GUID, ""] == [unit.guid for unit in every.units]
    assert {GUID: found.views, PATH1: found.views} == every.views


def test_nothing_is_nothing() -> None:
    """No target on this path."""
    assert Exported(None, (), None, None, ()) == exported((VM1,), (), PATH2)


@pytest.mark.parametrize(
    ("acl", "auth"), [((NOBODY, "dom0"), "chap"), ((NOBODY, "dom0", "linux1"), "none"), ((NOBODY,), "none")]
)
def test_chap_is_asked_for_if_all_have_a_secret(acl: tuple[str, ...], auth: str) -> None:
    """It is the initiator that has one; one without is let in without."""
    setup = exported((replace(OURS, acl=acl),), (LINUX1, KNOWN), PATH1).setup
    assert setup is not None
    assert (auth, ("1",)) == (setup.auth, setup.portal_groups)
