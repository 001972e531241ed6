"""What the data side is told to serve."""

from pathlib import Path

import pytest

from embedded import content
from embedded.comstar_exports import served
from embedded.model import Node
from embedded.served import ChapAccount, ServedTarget
from tests.embedded.nodes import ok

IQN = "iqn.2026-11.com.example:vm1"
A = "iqn.2005-03.org.open-iscsi:a"
B = "iqn.2005-03.org.open-iscsi:b"
G1 = "600144F0AAAA000000006A27E7400091"
G2 = "600144F0AAAA000000006A27E7400092"
DEVICE = "/dev/zvol/rdsk/tank"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Two units, a target in group t, initiators a and b in host groups of their own, no views."""
    node = Node.create(tmp_path, "illumos")
    ok(node, "zfs create -s -V 1G tank/v1", "zfs create -s -V 2G tank/v2")
    ok(node, f"stmfadm create-lu -p guid={G1} -p serial=S1 {DEVICE}/v1")
    ok(node, f"stmfadm create-lu -p guid={G2} -p wcd=true -p wp=true {DEVICE}/v2")
    ok(node, "stmfadm create-tg t", f"stmfadm add-tg-member -g t {IQN}", f"itadm create-target -n {IQN}")
    ok(node, "stmfadm create-hg a", f"stmfadm add-hg-member -g a {A}")
    ok(node, "stmfadm create-hg b", f"stmfadm add-hg-member -g b {B}")
    secret = node.root / "fs" / "secret"
    secret.write_text("abcdefghijklmnop\n")
    return node


def only(node: Node) -> ServedTarget:
    """The one target."""
    (target,) = served(node)
    return target


def guids(node: Node) -> dict[int, str]:
    """LUN -> GUID of the one target."""
    return {lun.number: lun.guid for lun in only(node).luns}


def test_a_target_without_views_lets_nobody_in(node: Node) -> None:
    """The target is there, empty and closed."""
    target = only(node)
    assert (target.luns, target.initiators, target.open_to_all) == ((), (), False)


def test_a_lun_as_it_is_served(node: Node) -> None:
    """Path, size, identity and modes come from unit and volume."""
    ok(node, f"stmfadm add-view -h a -t t -n 5 {G2}")
    (lun,) = only(node).luns
    assert (5, content.path_of(node.root, "tank/v2"), 0, 2 << 30, 512) == (
        lun.number, lun.path, lun.offset, lun.size, lun.block_size,
    )  # fmt: skip
    assert (
        lun.guid, lun.serial, lun.vendor, lun.product, lun.read_only, lun.write_cache,
    ) == (G2, "", "SUN", "COMSTAR", True, False)  # fmt: skip
    assert only(node).initiators == (A,)


def test_views_for_other_targets_do_not_show(node: Node) -> None:
    """A view for another target group is none of this target's."""
    ok(node, "stmfadm create-tg other", f"stmfadm add-view -t other {G1}")
    assert guids(node) == {}


def test_a_view_for_all(node: Node) -> None:
    """Host group All opens the target; members of groups see the same."""
    ok(node, f"stmfadm add-view {G1}")
    target = only(node)
    assert (guids(node), target.open_to_all, target.initiators) == ({0: G1}, True, (A, B))


def test_nobody_sees_a_lun_without_a_view(node: Node) -> None:
    """a and b see different units: the first by name is served, the other not let in."""
    ok(node, f"stmfadm add-view -h a -n 0 {G1}", f"stmfadm add-view -h b -n 0 {G2}")
    assert (guids(node), only(node).initiators, only(node).open_to_all) == ({0: G1}, (A,), False)


def test_all_and_a_group_differ(node: Node) -> None:
    """One unit for everybody and one for a alone: only a is let in, and sees both."""
    ok(node, f"stmfadm add-view -n 0 {G1}", f"stmfadm add-view -h a -n 1 {G2}")
    assert (guids(node), only(node).initiators, only(node).open_to_all) == ({0: G1, 1: G2}, (A,), False)


def test_same_luns_for_both(node: Node) -> None:
    """Two groups with the same view are served together."""
    ok(node, f"stmfadm add-view -h a -n 0 {G1}", f"stmfadm add-view -h b -n 0 {G1}")
    assert (guids(node), only(node).initiators) == ({0: G1}, (A, B))


@pytest.mark.parametrize("line", [f"stmfadm offline-lu {G1}", f"stmfadm delete-lu -k {G1}"])
def test_units_that_are_not_online_do_not_show(node: Node, line: str) -> None:
    """An offline or unregistered unit has no LUN, whatever its views."""
    ok(node, f"stmfadm add-view {G1}", line)
    assert guids(node) == {}


@pytest.mark.parametrize(
    "line", [f"stmfadm offline-target {IQN}", "svcadm disable stmf", "svcadm disable network/iscsi/target"]
)
def test_nothing_is_served_offline(node: Node, line: str) -> None:
    """Target and services must be online."""
    ok(node, f"stmfadm add-view {G1}", line)
    assert served(node) == ()


def test_chap_accounts(node: Node) -> None:
    """Allowed initiators with a secret get in, under their name or CHAP user; the target proves itself."""
    ok(node, f"stmfadm add-view -h a -n 0 {G1}", f"stmfadm add-view -h b -n 0 {G1}")
    ok(node, f"itadm create-initiator -u alice -S /secret {A}", f"itadm create-initiator {B}")
    ok(node, f"itadm modify-target -a chap -u tgt -S /secret {IQN}")
    target = only(node)
    secret = "abcdefghijklmnop"
    assert ((A,), (ChapAccount("alice", secret),)) == (target.initiators, target.incoming)
    assert ChapAccount("tgt", secret) == target.outgoing
    ok(node, f"itadm modify-initiator -S /secret {B}")
    assert (ChapAccount("alice", secret), ChapAccount(B, secret)) == only(node).incoming


def test_chap_by_defaults(node: Node) -> None:
    """A target without a setting of its own follows the defaults."""
    ok(node, f"stmfadm add-view -h a -n 0 {G1}", "itadm modify-defaults -a chap")
    assert only(node).initiators == ()
    ok(node, f"itadm modify-target -a none {IQN}")
    assert only(node).initiators == (A,)


@pytest.mark.parametrize("auth", ["chap", "radius"])
def test_authentication_never_leaves_a_target_open(node: Node, auth: str) -> None:
    """A view for All with authentication lets in known initiators only, without any nobody."""
    ok(node, "itadm modify-defaults -r 192.0.2.1 -D /secret", f"stmfadm add-view {G1}")
    ok(node, f"itadm modify-target -a {auth} {IQN}")
    assert (only(node).open_to_all, only(node).initiators, only(node).incoming) == (False, (), ())


def test_chap_opens_all_to_known_initiators(node: Node) -> None:
    """With a view for All an initiator outside every host group gets in by its account."""
    ok(node, f"stmfadm add-view {G1}", f"itadm modify-target -a chap {IQN}")
    ok(node, f"itadm create-initiator -S /secret {A}c")
    assert ((f"{A}c",), False) == (only(node).initiators, only(node).open_to_all)


def test_old_units_are_smaller_than_their_volume(tmp_path: Path) -> None:
    """2009.06: 64 KiB of the volume are not the unit's; its bytes are a file that can be served as it is."""
    node = Node.create(tmp_path, "b111")
    ok(node, "zfs create -s -V 1G tank/v1", f"sbdadm create-lu {DEVICE}/v1", f"itadm create-target -n {IQN}")
    ok(node, f"stmfadm add-view {next(iter(node.units))}")
    (lun,) = only(node).luns
    size = (1 << 30) - 65536
    assert (lun.offset, lun.size, lun.path.stat().st_size) == (0, size, size)
