"""The readers of targets, portal groups and initiators, against recorded, damaged and generated listings."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi.model import Initiator, PortalGroup, Session, Target, TargetSetup
from iscsi.targets import parse_initiators, parse_portal_groups, parse_target_setups, parse_targets
from remote.errors import UnexpectedOutput
from tests.captured_cases import Key, recorded, stdout

VM1, VM2, VM3 = (f"iqn.2026-11.com.example:tank.vm{n}" for n in (1, 2, 3))
OLD_VM1, OLD_VM2 = (f"iqn.2009-06.com.example:tank.vm{n}" for n in (1, 2))
LONG = "iqn.2026-11.com.example:" + "v" * 199
MADE_UP = "iqn.2010-08.org.illumos:02:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
DEBIAN = "iqn.1993-08.org.debian:01:abcdef012345"
DOM0_A = "iqn.2005-03.org.open-iscsi:dom0-a"

OFFLINING = Target(VM2, "Offlining", ())
TARGETS: dict[Key, tuple[Target, ...]] = {
    ("stmfadm-list-target", "none"): (),
    ("stmfadm-list-target", "verbose"): (
        OFFLINING,
        Target(
            VM1,
            "Online",
            (
                Session(VM1, DOM0_A, None, "Tue Jun  9 09:56:40 2026"),
                Session(VM1, DEBIAN, "dom0-b", "Tue Jun  9 10:09:37 2026"),
            ),
        ),
        Target("wwn.2100001B32ABCDEF", "Online", ()),
    ),
    ("stmfadm-list-target", "one"): (OFFLINING,),
    ("b111-stmfadm", "list-target -v"): (
        Target(
            OLD_VM1,
            "Online",
            (Session(OLD_VM1, "iqn.1986-03.com.sun:01:0003ba0e0795.4455571f", "dom0", "Wed Jun  3 03:33:20 2009"),),
        ),
    ),
}


def _plain(name: str, *, alias: str | None = None, portal_groups: tuple[str, ...] = ()) -> TargetSetup:
    return TargetSetup(
        name=name,
        alias=alias,
        auth="none",
        auth_is_default=True,
        chap_user=None,
        has_chap_secret=False,
        portal_groups=portal_groups,
    )


CHAP = TargetSetup(
    name=VM2,
    alias=None,
    auth="chap",
    auth_is_default=False,
    chap_user="vm2user",
    has_chap_secret=True,
    portal_groups=("7", "tpg0"),
)
GUEST = _plain(VM1, alias="guest vm1")
SETUPS: dict[Key, tuple[TargetSetup, ...]] = {
    ("itadm-target", "list-target, none"): (),
    ("itadm-target", "list-target -v"): (
        CHAP,
        _plain("eui.02004567A425678D"),
        _plain(LONG),
        _plain(VM3),
        GUEST,
        _plain(MADE_UP),
    ),
    ("itadm-target", "list-target one"): (GUEST,),
    ("itadm-tpg", "list-target after"): (_plain(VM1),),
    ("b111-itadm", "list-target -v"): (_plain(OLD_VM2, portal_groups=("tpg0",)), _plain(OLD_VM1)),
}
INITIATORS: dict[Key, tuple[Initiator, ...]] = {
    ("itadm-initiator", "list none"): (),
    ("itadm-initiator", "list"): (Initiator(DEBIAN, None, True), Initiator(DOM0_A, None, True)),
    ("itadm-initiator", "list one"): (Initiator(DOM0_A, None, True),),
    ("b111-itadm", "list-initiator"): (Initiator("iqn.1986-03.com.sun:01:0003ba0e0795", None, False),),
}
TPG1 = PortalGroup("tpg1", ("[2001:db8::11]:3262", "[2001:db8::10]:3260", "192.0.2.12:3260", "192.0.2.11:3261"))
PORTAL_GROUPS: dict[Key, tuple[PortalGroup, ...]] = {
    ("itadm-tpg", "list-tpg none"): (),
    ("itadm-tpg", "list-tpg -v"): (TPG1, PortalGroup("tpg0", ("192.0.2.10:3260",))),
    ("b111-itadm", "list-tpg -v"): (PortalGroup("tpg0", ("192.0.2.11:3261", "192.0.2.10:3260")),),
}
VERBOSE = stdout("stmfadm-list-target", "verbose")
TABLE = stdout("itadm-target", "list-target -v")
TPGS = stdout("itadm-tpg", "list-tpg -v")
KNOWN = stdout("itadm-initiator", "list")


@pytest.mark.parametrize("key", TARGETS, ids=": ".join)
def test_reads_recorded_targets(key: Key) -> None:
    """Every target and session of every recorded ``stmfadm list-target -v``; b111 prints no protocol."""
    assert TARGETS[key] == parse_targets(stdout(*key))


@pytest.mark.parametrize("key", SETUPS, ids=": ".join)
def test_reads_recorded_target_setups(key: Key) -> None:
    """Every target of every recorded ``itadm list-target -v``; a long name is followed by a TAB."""
    assert SETUPS[key] == parse_target_setups(stdout(*key))


@pytest.mark.parametrize("key", INITIATORS, ids=": ".join)
def test_reads_recorded_initiators(key: Key) -> None:
    """Every initiator of every recorded ``itadm list-initiator``."""
    assert INITIATORS[key] == parse_initiators(stdout(*key))


@pytest.mark.parametrize("key", PORTAL_GROUPS, ids=": ".join)
def test_reads_recorded_portal_groups(key: Key) -> None:
    """Every portal group of every recorded ``itadm list-tpg -v``."""
    assert PORTAL_GROUPS[key] == parse_portal_groups(stdout(*key))


def test_no_recorded_listing_is_left_out() -> None:
    """A listing that is recorded later must get its expected facts too."""
    assert recorded("stmfadm list-target -v.*") == TARGETS.keys()
    assert recorded("itadm list-target -v.*") == SETUPS.keys()
    assert recorded("itadm list-initiator(?! -p).*") == INITIATORS.keys()
    assert recorded("itadm list-tpg -v.*") == PORTAL_GROUPS.keys()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("    Sessions          : 2\n", "", VM1),
        ("    Sessions          : 2\n", "    Sessions          : 1\n", "Sessions: 1"),
        ("    Sessions          : 2\n", "    Sessions          :\n", "Sessions: "),
        ("    Sessions          : 0\n", "    Sess\n", "    Sess"),
        ("    Operational Status: Offlining\n", "", VM2),
        (f"Target: {VM2}\n", "", "    Operational Status: Offlining"),
        (f"Target: {VM1}\n", "Target:\n", "Target:"),
        (f"        Initiator: {DEBIAN}\n", "        Initiator:\n", "Initiator:"),
        (f"        Initiator: {DEBIAN}\n", "", "Sessions: 2"),
        ("            Logged in since: Tue Jun  9 09:56:40 2026\n", "", DOM0_A),
        ("            Alias: dom0-b\n", "            Ali\n", "Ali"),
    ],
)
def test_complains_of_damaged_targets(before: str, after: str, named: str) -> None:
    """A line cut short or missing is an error that names it: no session is overlooked."""
    assert before in VERBOSE
    with pytest.raises(UnexpectedOutput, match="stmfadm list-target -v") as error:
        parse_targets(VERBOSE.replace(before, after, 1))
    assert named == error.value.line


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("TARGET NAME", "NAME", "NAME  "),
        ("\talias:              \t-\n", "", VM2),
        ("\tauth:               \tchap \n", "", VM2),
        ("\ttargetchapuser:     \tvm2user\n", "", VM2),
        ("\ttargetchapsecret:   \tset\n", "", VM2),
        ("\ttargetchapsecret:   \tset\n", "\ttargetchapsecret:   \ts\n", "targetchapsecret: s"),
        ("\ttpg-tags:           \t7 = 7,tpg0 = 2\n", "", VM2),
        ("\ttpg-tags:           \t7 = 7,tpg0 = 2\n", "\ttpg\n", "\ttpg"),
        ("\talias:              \t-\n", "\talias:              \t-\n\tsegmentation fault\n", "\tsegmentation fault"),
        (VM2, "\t" + VM2, "\t" + VM2),
    ],
)
def test_complains_of_damaged_target_setups(before: str, after: str, named: str) -> None:
    """A line cut short, unknown or missing is an error that names it."""
    assert before in TABLE
    with pytest.raises(UnexpectedOutput, match="itadm") as error:
        parse_target_setups(TABLE.replace(before, after, 1))
    assert error.value.line.startswith(named)


@pytest.mark.parametrize("after", ["", "unse", "none"])
def test_complains_of_damaged_initiators(after: str) -> None:
    """Whether a secret is set is said in so many words, or the line is an error."""
    damaged = KNOWN.replace(" set ", f" {after}", 1)
    with pytest.raises(UnexpectedOutput, match="itadm list-initiator") as error:
        parse_initiators(damaged)
    assert damaged.splitlines()[1] == error.value.line


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("TARGET PORTAL GROUP", "PORTAL GROUP", "PORTAL GROUP           PORTAL COUNT"),
        (",192.0.2.11:3261\n", "\n", "tpg1                          4        "),
        ("    portals:\t192.0.2.10:3260\n", "", "tpg0                          1        "),
        ("    portals:\t192.0.2.10:3260\n", "    por\n", "    por"),
        ("tpg0                          1        \n", "tpg0\n", "tpg0"),
    ],
)
def test_complains_of_damaged_portal_groups(before: str, after: str, named: str) -> None:
    """A line cut short or missing is an error that names it: no portal is overlooked."""
    assert before in TPGS
    with pytest.raises(UnexpectedOutput, match="itadm") as error:
        parse_portal_groups(TPGS.replace(before, after, 1))
    assert named == error.value.line


_IQNS = st.from_regex(r"iqn\.20[0-9]{2}-1[0-2]\.com\.example:[a-z0-9.:-]{1,150}", fullmatch=True)
_SINCE = st.just("Tue Jun  9 09:56:40 2026")
_ALIASES = st.none() | st.from_regex(r"[a-z0-9][a-z0-9: ]{0,20}[a-z0-9]", fullmatch=True)


@st.composite
def _a_target(draw: st.DrawFn) -> Target:
    name = draw(_IQNS)
    sessions = st.builds(Session, target=st.just(name), initiator=_IQNS, alias=_ALIASES, since=_SINCE)
    state = draw(st.sampled_from(["Online", "Offline", "Onlining", "Offlining"]))
    return Target(name, state, tuple(draw(st.lists(sessions, max_size=3))))


def _as_stmfadm(target: Target) -> str:
    text = (
        f"Target: {target.name}\n    Operational Status: {target.state}\n    Provider Name     : iscsit\n"
        f"    Alias             : -\n    Protocol          : iSCSI\n    Sessions          : {len(target.sessions)}\n"
    )
    return text + "".join(
        f"        Initiator: {one.initiator}\n            Alias: {one.alias or '-'}\n"
        f"            Logged in since: {one.since}\n"
        for one in target.sessions
    )


@given(st.lists(_a_target(), max_size=3))
def test_targets_round_trip(targets: list[Target]) -> None:
    """Targets and sessions printed as stmfadm prints them are read back as they were."""
    assert tuple(targets) == parse_targets("".join(map(_as_stmfadm, targets)))


_SETUPS = st.builds(
    TargetSetup,
    name=_IQNS,
    alias=_ALIASES,
    auth=st.sampled_from(["none", "chap", "radius"]),
    auth_is_default=st.booleans(),
    chap_user=st.none() | st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True),
    has_chap_secret=st.booleans(),
    portal_groups=st.lists(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), max_size=3).map(tuple),
)


def _as_itadm(setup: TargetSetup) -> str:
    name = setup.name + "\t" if len(setup.name) > 60 else f"{setup.name:<61}"
    tags = ",".join(f"{group} = {tag}" for tag, group in enumerate(setup.portal_groups, 2))
    return (
        f"{name}{'online':<9}{0:<9}\n\talias:              \t{setup.alias or '-'}\n"
        f"\tauth:               \t{setup.auth} {'(defaults)' if setup.auth_is_default else ''}\n"
        f"\ttargetchapuser:     \t{setup.chap_user or '-'}\n"
        f"\ttargetchapsecret:   \t{'set' if setup.has_chap_secret else 'unset'}\n"
        f"\ttpg-tags:           \t{tags or 'default'}\n"
    )


_HEADER = re.match(r".*\n", TABLE)


@given(st.lists(_SETUPS, max_size=3))
def test_target_setups_round_trip(setups: list[TargetSetup]) -> None:
    """Set-ups printed as itadm prints them are read back as they were."""
    assert _HEADER
    assert tuple(setups) == parse_target_setups(_HEADER[0] + "".join(map(_as_itadm, setups)))


def test_the_printed_forms_are_the_recorded_ones() -> None:
    """What the round trips print is the layout of the real tools, byte for byte."""
    recorded_setups = SETUPS["itadm-target", "list-target -v"]
    assert TABLE.partition("\n")[2].replace("7 = 7,tpg0 = 2", "7 = 2,tpg0 = 3") == "".join(
        map(_as_itadm, recorded_setups)
    )
    assert stdout("stmfadm-list-target", "one") == _as_stmfadm(OFFLINING)
