"""Views under arbitrary use: what STMF guarantees, and what the data side may therefore show to whom."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.comstar_exports import served
from embedded.model import Node
from tests.embedded.nodes import ok, run

GUIDS = [f"600144F0AAAA000000006A27E740009{number}" for number in range(3)]
IQNS = [f"iqn.2026-11.com.example:t{number}" for number in range(3)]
INITIATORS = {f"h{number}": f"iqn.2026-11.com.example:i{number}" for number in range(3)}

_view = st.tuples(
    st.sampled_from(GUIDS),
    st.sampled_from(["", *INITIATORS]),
    st.sampled_from(["", "g0", "g1"]),
    st.sampled_from(["", "0", "1", "2"]),
)
_removal = st.tuples(st.sampled_from(GUIDS), st.integers(0, 3))


def build(root: Path) -> Node:
    """Three units, three initiators in a host group each, targets 0 and 1 in a target group each, target 2 in none."""
    node = Node.create(root, "illumos")
    for number, guid in enumerate(GUIDS):
        ok(node, f"zfs create -s -V 1M tank/v{number}")
        ok(node, f"stmfadm create-lu -p guid={guid} /dev/zvol/rdsk/tank/v{number}")
    for group, initiator in INITIATORS.items():
        ok(node, f"stmfadm create-hg {group}", f"stmfadm add-hg-member -g {group} {initiator}")
    for number in (0, 1):
        ok(node, f"stmfadm create-tg g{number}", f"stmfadm add-tg-member -g g{number} {IQNS[number]}")
    ok(node, *(f"itadm create-target -n {iqn}" for iqn in IQNS))
    return node


def visible(node: Node, initiator: str, iqn: str) -> list[tuple[int, str]]:
    """LUN and unit of every view that lets the initiator see something on the target, by the book."""
    return [
        (view.lun, guid)
        for guid, entries in node.views.items()
        for view in entries.values()
        if view.host_group is None or initiator in node.host_groups[view.host_group]
        if view.target_group is None or iqn in node.target_groups[view.target_group]
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(_view, _removal), max_size=12))
def test_nobody_sees_two_units_under_one_lun_or_one_without_a_view(
    steps: list[tuple[str, str, str, str] | tuple[str, int]],
) -> None:
    """However views come and go: LUNs are unambiguous, and what is served is exactly what the views say."""
    with tempfile.TemporaryDirectory() as root:
        node = build(Path(root))
        for step in steps:
            if len(step) == 2:
                run(node, f"stmfadm remove-view -l {step[0]} {step[1]}")
                continue
            guid, host, target, lun = step
            options = [("-h", host), ("-t", target), ("-n", lun)]
            given_options = " ".join(f"{option} {value}" for option, value in options if value)
            run(node, f"stmfadm add-view {given_options} {guid}")
        check(node)


def check(node: Node) -> None:
    """Every initiator's LUNs on every target, and every served target against them."""
    for one in served(node):
        for initiator in [*INITIATORS.values(), "iqn.2026-11.com.example:stranger"]:
            seen = visible(node, initiator, one.iqn)
            assert len({lun for lun, _ in seen}) == len(seen)
            if initiator in one.initiators or one.open_to_all:
                assert sorted(seen) == [(lun.number, lun.guid) for lun in one.luns]
