"""OpenSolaris b134: both target programs on one node, which share a port, and a zfs between b111's and today's."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedded.answer import Answer
from embedded.initiator import Lun, Session
from embedded.model import Node
from embedded.start_node import NodeCommands
from tests.embedded.nodes import GUID, VM1, ok, run, value

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

TARGET = "iqn.1986-03.com.sun:02:vm1"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A volume with a snapshot."""
    node = Node.create(tmp_path, "b134")
    ok(node, "zfs create -V 16M tank/vm1", "zfs snapshot tank/vm1@s")
    return node


def exported(node: Node) -> None:
    """The volume as LUN 0 of a target of COMSTAR's."""
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"itadm create-target -n {TARGET}")
    ok(node, f"stmfadm add-view -n 0 {GUID}")


def served(node: Node) -> list[tuple[str, list[int]]]:
    """Targets with their LUNs, as the data side is told."""
    node.save()
    return [(one.iqn, [lun.number for lun in one.luns]) for one in NodeCommands(node).served()]


def test_services(node: Node) -> None:
    """On a fresh node COMSTAR runs; iscsitgt is there and does not."""
    states = {line.split()[1]: line.split()[0] for line in ok(node, "svcs -H -o state,fmri").splitlines()}
    assert {
        "svc:/system/stmf:default": "online",
        "svc:/network/iscsi/target:default": "online",
        "svc:/system/iscsitgt:default": "disabled",
    } == states


def test_one_port(node: Node) -> None:
    """While iscsitgt runs, whether it has targets or not, COMSTAR's are not served; then they are again."""
    exported(node)
    assert [(TARGET, [0])] == served(node)
    ok(node, "zfs create -V 16M tank/vm2", "iscsitadm list target")
    assert [] == served(node)
    ok(node, "iscsitadm create target -b /dev/zvol/rdsk/tank/vm2 two")
    assert [(node.daemon.targets["two"].iqn, [0])] == served(node)
    ok(node, "svcadm disable iscsitgt")
    assert [(TARGET, [0])] == served(node)


@pytest.mark.parametrize("export", [f"iscsitadm create target -b {VM1} one", "zfs set shareiscsi=on tank/vm1"])
def test_who_has_the_volume_open(node: Node, export: str) -> None:
    """What iscsitgt serves cannot become an LU; when it has stopped it can, and the volume can be renamed."""
    ok(node, export)
    refused = run(node, f"stmfadm create-lu {VM1}")
    assert Answer("", f"stmfadm: filename {VM1}: in use\n", 1) == refused
    ok(node, "svcadm disable iscsitgt", f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm delete-lu {GUID}")
    ok(node, "zfs set shareiscsi=off tank/vm1", "zfs rename tank/vm1 tank/vm3")


def test_hidden_metadata(node: Node) -> None:
    """The LU is as large as its volume, and its metadata are no part of it."""
    exported(node)
    assert f"Size              : {16 << 20}\n" in ok(node, f"stmfadm list-lu -v {GUID}")
    ok(node, f"stmfadm delete-lu {GUID}")
    assert f"Logical unit imported: {GUID}\n" == ok(node, f"stmfadm import-lu {VM1}")


def test_an_unknown_lu_is_an_error(node: Node) -> None:
    """-k or not; since b135 it is none with -k."""
    for options in ("", "-k "):
        refused = run(node, f"stmfadm delete-lu {options}{GUID}")
        assert Answer("", f"stmfadm: {GUID.lower()}: not found\n", 1) == refused


@pytest.mark.parametrize(
    "line",
    [
        "zfs list -p",
        "zfs get written tank/vm1",
        "zfs get sync tank/vm1",
        "zfs snapshot tank/vm1@a tank@a",
        "zfs destroy -nv tank/vm1@s",
        "zfs set a:b=c a:d=e tank/vm1",
        "zfs holds -H tank/vm1@s",
        "zpool list -p",
        "zpool list -o used",
        "itadm list-target -p",
        "kstat -p zfs:0:tank",
    ],
)
def test_what_came_later(node: Node, line: str) -> None:
    """It is refused, and nothing has happened."""
    before = set(node.datasets)
    assert 0 != run(node, line).exit
    assert before == set(node.datasets)


def test_what_b111_had_not(node: Node) -> None:
    """Depth, holds, deferred destroy, dedup, columns of pools."""
    assert "tank\ntank/vm1\n" == ok(node, "zfs list -H -o name -d 1 tank")
    assert "off" == value(node, "tank/vm1", "dedup")
    ok(node, "zfs hold keep tank/vm1@s")
    assert "1" == value(node, "tank/vm1@s", "userrefs")
    assert (
        "cannot hold 'tank/vm1@s': tag already exists on this dataset\n" == run(node, "zfs hold keep tank/vm1@s").stderr
    )
    assert "cannot destroy 'tank/vm1@s': dataset is busy\n" == run(node, "zfs destroy tank/vm1@s").stderr
    ok(node, "zfs destroy -d tank/vm1@s", "zfs release keep tank/vm1@s")
    assert "tank/vm1@s" not in node.datasets
    head = ok(node, "zpool list").split("\n", 1)[0].split()
    assert ["NAME", "SIZE", "ALLOC", "FREE", "CAP", "DEDUP", "HEALTH", "ALTROOT"] == head
    assert "  mirror-0" in ok(node, "zpool status tank")


@pytest.mark.node
@pytest.mark.skipif(not shutil.which("tgtd", path="/usr/sbin:/usr/bin"), reason="no tgtd here")
def test_either_program_has_lun_zero(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """What is written through iscsitgt is read through COMSTAR, which takes over target name and LUN."""
    running = nodes(tmp_path / "node", flavour="b134", real=True)
    make = "zfs create -V 16m tank/vm1 && iscsitadm create target -b /dev/zvol/rdsk/tank/vm1 one"
    assert 0 == running.ssh(f"{make} && uname -v").returncode
    listed = running.ssh("iscsitadm list target one").stdout.decode()
    name = listed.partition("iSCSI Name: ")[2].splitlines()[0]
    lun = Lun(f"127.0.0.1:{running.facts['iscsi_port']}", name, 0, "iqn.2026-11.org.xvmstore:xen1")
    with Session(lun) as session:
        session.write(4096, b"\x5a" * 512)
    move = f"svcadm disable -s iscsitgt && stmfadm create-lu -p guid={GUID} {VM1} && itadm create-target -n {name}"
    moved = running.ssh(f"{move} && stmfadm add-view -n 0 {GUID}")
    assert 0 == moved.returncode, moved.stderr
    with Session(lun) as session:
        assert b"\x5a" * 512 == bytes(session.read(4096, 512))
