"""shareiscsi: which volumes ZFS exports by itself, under which name, and what it takes away first."""

from pathlib import Path

import pytest

from embedded import iscsitgt_exports
from embedded.model import Node
from embedded.served import Session
from tests.embedded.nodes import ok, peek, put, run, value


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Two volumes below one filesystem."""
    node = Node.create(tmp_path, "b85")
    ok(node, "zfs create tank/g", "zfs create -s -V 1G tank/g/a", "zfs create -s -V 1G tank/g/b")
    return node


def shared(node: Node) -> list[str]:
    """The targets, by name."""
    return sorted(node.daemon.targets)


def test_one_volume(node: Node) -> None:
    """It is served at once, to everybody, and nothing is written to it."""
    put(node, "tank/g/a", b"\xff" * 512, at=(1 << 30) - 512)
    ok(node, "zfs set shareiscsi=on tank/g/a")
    (target,) = iscsitgt_exports.served(node)
    assert (["tank/g/a"], True, [0]) == (shared(node), target.open_to_all, [lun.number for lun in target.luns])
    assert "            Backing store: /dev/zvol/rdsk/tank/g/a\n" in ok(node, "iscsitadm list target -v tank/g/a")
    assert b"\xff" * 512 == peek(node, "tank/g/a", 512, at=(1 << 30) - 512)


def test_name_comes_back(node: Node) -> None:
    """The iSCSI name outlives off and on, and shows in no property."""
    ok(node, "zfs set shareiscsi=on tank/g/a")
    before = node.daemon.targets["tank/g/a"].iqn
    ok(node, "zfs set shareiscsi=off tank/g/a")
    assert shared(node) == []
    ok(node, "zfs set shareiscsi=type=disk tank/g/a")
    assert before == node.daemon.targets["tank/g/a"].iqn
    assert before not in ok(node, "zfs get -H -o value all tank/g/a")
    assert value(node, "tank/g/a", "shareiscsi") == "type=disk"


def test_it_is_inherited(node: Node) -> None:
    """A filesystem shares every volume below, new ones and clones too, but for those that say no."""
    ok(node, "zfs set shareiscsi=on tank/g", "zfs set shareiscsi=off tank/g/b")
    ok(node, "zfs create -s -V 1G tank/g/c", "zfs create -s -o shareiscsi=off -V 1G tank/g/d")
    ok(node, "zfs snapshot tank/g/b@s", "zfs clone tank/g/b@s tank/g/e")
    assert ["tank/g/a", "tank/g/c", "tank/g/e"] == shared(node)
    ok(node, "zfs inherit shareiscsi tank/g/b")
    assert "tank/g/b" in shared(node)
    ok(node, "zfs inherit shareiscsi tank/g")
    assert shared(node) == []


def test_zfs_unshares_its_own(node: Node) -> None:
    """Destroy, rename and rollback are not in each other's way; the session ends, the name moves along."""
    ok(node, "zfs set shareiscsi=on tank/g/a", "zfs snapshot tank/g/a@s", "zfs rename tank/g tank/h")
    iqn = node.daemon.targets["tank/h/a"].iqn
    node.sessions = (Session(iqn, "iqn.x", 0.0),)
    ok(node, "zfs rollback tank/h/a@s")
    assert (0, ["tank/h/a"], iqn) == (len(node.sessions), shared(node), node.daemon.targets["tank/h/a"].iqn)
    ok(node, "zfs destroy -r tank/h")
    assert shared(node) == []


def test_the_daemon_is_started(node: Node) -> None:
    """Sharing enables the service."""
    assert ok(node, "svcs -H -o state iscsitgt").strip() == "disabled"
    ok(node, "zfs set shareiscsi=on tank/g/a")
    assert ok(node, "svcs -H -o state iscsitgt").strip() == "online"


def test_other_values(node: Node) -> None:
    """Only what is known is taken."""
    assert run(node, "zfs set shareiscsi=maybe tank/g/a").exit == 1


@pytest.mark.parametrize("flavour", ["b111", "illumos"])
def test_elsewhere(tmp_path: Path, flavour: str) -> None:
    """The property is there until b136; without the daemon it does nothing."""
    node = Node.create(tmp_path, flavour)
    ok(node, "zfs create -s -V 1G tank/a")
    answer = run(node, "zfs set shareiscsi=on tank/a")
    assert (flavour == "illumos", {}) == (answer.exit == 1, node.daemon.targets)
