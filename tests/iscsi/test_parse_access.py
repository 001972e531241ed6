"""The readers of views and groups, against every recorded listing, damaged ones and generated ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi.access import parse_all_views, parse_host_groups, parse_target_groups, parse_views
from iscsi.model import Group, View
from remote.errors import UnexpectedOutput
from tests.captured_cases import Key, recorded, stdout

DOM0 = View(0, "dom0", "tg1", 5)
DOM1 = View(1, "dom1", None, 0)
VIEWS: dict[Key, tuple[View, ...]] = {
    ("stmfadm-views", "list-view"): (DOM0,),
    ("stmfadm-views", "list-view two"): (DOM0, DOM1),
    ("stmfadm-views", "list-view one entry"): (DOM1,),
    ("stmfadm-views", "list-view all all"): (View(0, None, None, 1),),
    ("b111-stmfadm", "list-view"): (View(0, None, None, 3),),
}
HG_DOM0 = Group("dom0", ("iqn.2005-03.org.open-iscsi:dom0-a", "iqn.1993-08.org.debian:01:abcdef012345"))
HG_OTHER = Group("other", ("iqn.2026-11.com.example:host", "wwn.2100001B32ABCDEF", "eui.02004567A425678D"))
HOST_GROUPS: dict[Key, tuple[Group, ...]] = {
    ("stmfadm-groups", "list-hg empty"): (),
    ("stmfadm-groups", "list-hg -v"): (HG_DOM0, HG_OTHER),
    ("stmfadm-groups", "list-hg one"): (HG_DOM0,),
}
TG1 = Group("tg1", ("iqn.2026-11.com.example:tank.vm1", "iqn.2026-11.com.example:future"))
TARGET_GROUPS: dict[Key, tuple[Group, ...]] = {("stmfadm-groups", "list-tg -v"): (TG1,)}
TWO = stdout("stmfadm-views", "list-view two")
GROUPS = stdout("stmfadm-groups", "list-hg -v")

# As Oracle documents it: "Target Group" since 11.2, "Auto" since 11.3.
SOLARIS_11 = """\
View Entry: 0
    Host group   : All
    Target Group : All
    LUN          : {}
"""


@pytest.mark.parametrize("key", VIEWS, ids=": ".join)
def test_reads_recorded_views(key: Key) -> None:
    """Every view of every recorded ``stmfadm list-view``."""
    assert VIEWS[key] == parse_views(stdout(*key))


@pytest.mark.parametrize("key", HOST_GROUPS, ids=": ".join)
def test_reads_recorded_host_groups(key: Key) -> None:
    """Every group of every recorded ``stmfadm list-hg -v``."""
    assert HOST_GROUPS[key] == parse_host_groups(stdout(*key))


@pytest.mark.parametrize("key", TARGET_GROUPS, ids=": ".join)
def test_reads_recorded_target_groups(key: Key) -> None:
    """Every group of every recorded ``stmfadm list-tg -v``."""
    assert TARGET_GROUPS[key] == parse_target_groups(stdout(*key))


def test_no_recorded_listing_is_left_out() -> None:
    """A listing that is recorded later must get its expected facts too."""
    assert recorded("stmfadm list-view .*") == VIEWS.keys()
    assert recorded("stmfadm list-hg -v.*") == HOST_GROUPS.keys()
    assert recorded("stmfadm list-tg -v.*") == TARGET_GROUPS.keys()


def test_reads_views_of_solaris_11() -> None:
    """Labels in other case, and a LUN that the node picks by itself, which is not LUN 0."""
    assert (View(0, None, None, 0),) == parse_views(SOLARIS_11.format(0))
    assert (View(0, None, None, None),) == parse_views(SOLARIS_11.format("Auto"))


def test_reads_views_of_all_lus() -> None:
    """The views of each LU, LUs without views included, under GUIDs in upper case."""
    guids = ["600144f00c2a6d0000006a27e7400001", "600144F00C2A6D0000006A27E7400002"]
    text = f"LU Name: {guids[0]}\n{TWO}LU Name: {guids[1]}\n"
    assert {guids[0].upper(): (DOM0, DOM1), guids[1]: ()} == parse_all_views(text)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("    LUN          : 5\n", "", "View Entry: 0"),
        ("    Host group   : dom0\n", "", "View Entry: 0"),
        ("    Target group : tg1\n", "", "View Entry: 0"),
        ("    LUN          : 5\n", "    LUN          :\n", "View Entry: 0, LUN "),
        ("    LUN          : 5\n", "    LUN          : -\n", "View Entry: 0, LUN -"),
        ("    LUN          : 5\n", "    LUN          : ²\n", "View Entry: 0, LUN ²"),
        ("    LUN          : 5\n", "    LU\n", "    LU"),
        ("View Entry: 0\n", "View Entry: x\n", "View Entry: x, LUN 5"),
        ("View Entry: 0\n", "View Entry:\n", "View Entry:"),
        ("View Entry: 1\n", "View Entry:\n", "View Entry:"),
        ("View Entry: 0\n", "stmfadm: resource busy\nView Entry: 0\n", "stmfadm: resource busy"),
    ],
)
def test_complains_of_damaged_views(before: str, after: str, named: str) -> None:
    """A line cut short, unknown or missing is an error that names it: LUN 0 is never made up."""
    assert before in TWO
    with pytest.raises(UnexpectedOutput, match="stmfadm list-view") as error:
        parse_views(TWO.replace(before, after, 1))
    assert named == error.value.line


def test_complains_of_an_error_among_all_views() -> None:
    """What one list-view of many says instead of views is not skipped."""
    with pytest.raises(UnexpectedOutput, match="resource busy"):
        parse_all_views("LU Name: 600144F00C2A6D0000006A27E7400001\nstmfadm: resource busy\n")


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("Host Group: dom0\n", "", "\tMember: iqn.2005-03.org.open-iscsi:dom0-a"),
        ("Host Group: other\n", "Host Group:\n", "Host Group:"),
        ("Host Group: other\n", "Target Group: other\n", "Target Group: other"),
        ("\tMember: wwn.2100001B32ABCDEF\n", "\tMember:\n", "\tMember:"),
        ("\tMember: wwn.2100001B32ABCDEF\n", "\tMem\n", "\tMem"),
        ("\tMember: wwn.2100001B32ABCDEF\n", "\n", ""),
    ],
)
def test_complains_of_damaged_groups(before: str, after: str, named: str) -> None:
    """A line cut short, unknown or missing is an error that names it."""
    assert before in GROUPS
    with pytest.raises(UnexpectedOutput, match="stmfadm list-hg") as error:
        parse_host_groups(GROUPS.replace(before, after, 1))
    assert named == error.value.line


_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .:-]{0,20}[a-z0-9]", fullmatch=True).filter(lambda name: name != "All")
_VIEWS = st.builds(
    View,
    index=st.integers(0, 99),
    host_group=st.none() | _NAMES,
    target_group=st.none() | _NAMES,
    lun=st.none() | st.integers(0, 16383),
)


def _as_stmfadm(view: View) -> str:
    lun = "Auto" if view.lun is None else view.lun
    host, target = view.host_group or "All", view.target_group or "All"
    return (
        f"View Entry: {view.index}\n    Host group   : {host}\n    Target group : {target}\n    LUN          : {lun}\n"
    )


@given(st.lists(_VIEWS, max_size=4))
def test_views_round_trip(views: list[View]) -> None:
    """Views printed as stmfadm prints them are read back as they were."""
    assert tuple(views) == parse_views("".join(map(_as_stmfadm, views)))


def test_the_printed_form_is_the_recorded_one() -> None:
    """What the round trip prints is the layout of the real tool, byte for byte."""
    assert TWO == _as_stmfadm(DOM0) + _as_stmfadm(DOM1)


@given(st.lists(st.builds(Group, name=_NAMES, members=st.lists(_NAMES, max_size=3).map(tuple)), max_size=4))
def test_groups_round_trip(groups: list[Group]) -> None:
    """Groups of either kind printed as stmfadm prints them are read back as they were."""
    body = [f": {group.name}\n" + "".join(f"\tMember: {name}\n" for name in group.members) for group in groups]
    assert tuple(groups) == parse_host_groups("".join("Host Group" + text for text in body))
    assert tuple(groups) == parse_target_groups("".join("Target Group" + text for text in body))
