"""A seeded node: what is on it, that commands work on it, and that listing it is not quadratic."""

import time
from pathlib import Path

import pytest

from embedded.comstar_exports import served
from embedded.config import StartError
from embedded.model import Node
from embedded.seed import seed
from embedded.start_node import NodeCommands
from tests.embedded.nodes import ok, peek, put, value

DISK = "tank/xvm/guest00000/disk0"


def test_what_is_on_it(tmp_path: Path) -> None:
    """Guests share the volumes; every one has each snapshot, the last is a checkpoint; sizes differ and grow."""
    node = seed(tmp_path, "illumos", volumes=5, snapshots=3, guests=2, exported=4)
    names = ok(node, "zfs list -H -r -t volume -o name tank/xvm").split()
    assert names == [f"tank/xvm/{one}" for one in (
        "guest00000/disk0", "guest00000/disk1", "guest00000/disk2", "guest00001/disk0", "guest00001/disk1",
    )]  # fmt: skip
    assert len(ok(node, "zfs list -H -t snapshot -r -o name tank/xvm").split()) == (5 + 2) * 3
    assert ok(node, f"zfs list -H -t snapshot -r -o name {DISK}").split() == [
        f"{DISK}@xvm-000{age}" for age in range(3)
    ]
    assert int(value(node, DISK, "referenced")) > int(value(node, f"{DISK}@xvm-0000", "referenced")) > 100 << 20
    assert int(value(node, DISK, "written@xvm-0001")) > int(value(node, DISK, "written")) > 0
    kinds = [value(node, f"{DISK}@xvm-000{age}", "org.xvmstore:checkpoint") for age in range(3)]
    assert kinds == ["-", "-", "manual"]
    assert (len(node.units), len(node.targets), len(node.datasets)) == (4, 4, 2 + 2 + 5 + 7 * 3)


@pytest.mark.parametrize("flavour", ["illumos", "b111"])
def test_exported_volumes_are_served(tmp_path: Path, flavour: str) -> None:
    """To the dom0 of the configuration, with the identity recorded on the volume."""
    node = seed(tmp_path, flavour, volumes=3, snapshots=1, guests=3, exported=2)
    found = [(target.iqn, lun.number, lun.guid) for target in served(node) for lun in target.luns]
    recorded = [
        (
            value(node, name, "org.xvmstore:target"),
            int(value(node, name, "org.xvmstore:lun")),
            value(node, name, "org.xvmstore:guid"),
        )
        for name in (DISK, DISK.replace("0000/", "0001/"))
    ]
    assert recorded == found
    assert {target.initiators for target in served(node)} == {("iqn.2026-11.org.xvmstore:xen1",)}
    assert (tmp_path / "chap" / "xen1.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("flavour", ["illumos", "b111"])
def test_commands_work_on_it(tmp_path: Path, flavour: str) -> None:
    """A seeded snapshot has no file: it is zeros to clone and roll back to, with the sizes that were said."""
    node = seed(tmp_path, flavour, volumes=1, snapshots=2)
    size = value(node, f"{DISK}@xvm-0000", "referenced")
    put(node, DISK, b"data")
    ok(node, f"zfs clone {DISK}@xvm-0000 tank/c", "stmfadm list-lu -v")
    assert (size, bytes(4)) == (value(node, "tank/c", "referenced"), peek(node, "tank/c", 4))
    ok(node, "zfs destroy tank/c", *(["zfs release xvmstore " + f"{DISK}@xvm-0001"] if flavour == "illumos" else []))
    tool, device = ("stmfadm" if flavour == "illumos" else "sbdadm"), f"/dev/zvol/rdsk/{DISK}"
    ok(node, f"{tool} create-lu {device}")
    (guid,) = node.units
    ok(node, f"{tool} delete-lu {guid}", f"zfs rollback -r {DISK}@xvm-0000")
    head = 0 if flavour == "illumos" else 8192  # the unit's metadata
    assert (int(size) + head, bytes(4)) == (int(value(node, DISK, "referenced")), peek(node, DISK, 4))
    ok(node, f"{tool} import-lu {device}")
    assert [guid] == list(node.units)


def test_a_server_starts_on_it(tmp_path: Path) -> None:
    """The first start takes the node that is there; another flavour is refused, not made in its place."""
    node = seed(tmp_path, "b111", volumes=2, snapshots=1, exported=2)
    with pytest.raises(StartError, match="flavour b111, not illumos"):
        NodeCommands.open(tmp_path, "illumos", fresh=True)
    commands = NodeCommands.open(tmp_path, "b111", fresh=True)
    assert commands.run(["sbdadm", "list-lu"], condition="").stdout.count("/dev/zvol/rdsk/tank/xvm/") == 2
    assert Node.load(tmp_path) == node


@pytest.mark.parametrize(
    "line",
    [
        "zfs list -Hp -r -t volume -o name,used,available,written,usedbysnapshots,org.xvmstore:guid tank/xvm",
        "zfs list -Hp -r -t snapshot -o name,creation,used,clones,org.xvmstore:checkpoint tank/xvm",
        "stmfadm list-lu -v",
        "stmfadm list-target -v",
        "itadm list-target -v",
        "kstat -p",
    ],
)
def test_listing_is_not_quadratic(many: Node, line: str) -> None:
    """A thousand volumes with ten snapshots each: hundredths of a second, where looking at all for each takes many."""
    started = time.process_time()
    assert len(ok(many, line)) > 90_000
    assert time.process_time() - started < 2


def test_serving_is_not_quadratic(many: Node) -> None:
    """Likewise what must be served, which is worked out after every change."""
    started = time.process_time()
    assert len(served(many)) == 1000
    assert time.process_time() - started < 2


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A big node, read only."""
    return seed(tmp_path_factory.mktemp("many"), "illumos", volumes=1000, snapshots=10, exported=1000)
