"""What is particular to the embedded node's target: discovery, neighbours on a shared target, a restart."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedded.initiator import Session
from tests.contract.luns import lun, volume
from tests.node.live import LiveNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd") or not shutil.which("iscsi-inq"), reason="needs tgt and libiscsi-bin"),
]
__all__ = ["volume"]


def test_iscsi_ls_lists_the_disk(node: LiveNode, volume: dict[str, Any]) -> None:
    """Discovery shows the target, and the LUN as a disk; the target's own LUN 0 is none."""
    portal = volume["portals"][0]
    url = f"iscsi://xen1%{node.secret}@{portal}"
    argv = ["iscsi-ls", "-s", "-i", node.initiator, url]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert f"Target:{volume['target']}" in said.stdout
    disks = [line.split()[0] for line in said.stdout.splitlines() if "DIRECT_ACCESS" in line]
    assert f"Lun:{volume['lun']}" in disks


def test_mutual_chap(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """The target proves itself too: an initiator that expects another secret of it does not go on."""
    (tmp_path / "target.secret").write_text("secret-of-the-target\n")
    (tmp_path / "target.secret").chmod(0o600)
    config = illumos.variant(tmp_path, node='chap_user = "san"\nchap_secret_file = "target.secret"')
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json", config=config).json
    url = f"iscsi://xen1%{illumos.secret}@{illumos.portal(made)}/{made['target']}/{made['lun']}"

    def login(secret: str) -> int:
        environment = {"LIBISCSI_CHAP_TARGET_USERNAME": "san", "LIBISCSI_CHAP_TARGET_PASSWORD": secret}
        argv = ["iscsi-inq", "-i", illumos.initiator, url]
        return subprocess.run(argv, env=environment | {"PATH": "/usr/bin"}, capture_output=True, check=False).returncode

    assert 0 == login("secret-of-the-target")
    assert 0 != login("secret-of-another")
    assert "targetchapsecret:   \tset" in illumos.on_node("itadm", "list-target", "-v", made["target"]).stdout


def test_a_neighbour_on_a_shared_target_is_no_hindrance(shared_nodes: Callable[[str], LiveNode], guest: str) -> None:
    """There a login of a host that cannot see the volume does not keep it from being destroyed."""
    node = shared_nodes("b111")
    one = node.xvm("volume", "create", f"{guest}/a", "--size", "1G", "--json").json
    two = node.xvm("volume", "create", f"{guest}/b", "--size", "1G", "--json").json
    assert 0 == node.xvm("lun", "unexport", two["name"]).exit
    with Session(lun(node, one)):
        gone = node.xvm("volume", "destroy", two["name"])

    assert 0 == gone.exit, gone.err
    assert 0 == node.xvm("volume", "destroy", one["name"]).exit


def test_a_restart_keeps_everything(fresh: Callable[[str], LiveNode]) -> None:
    """After SIGTERM and a new start: same ports, same LUN, same bytes."""
    from tests.node.live import start

    node = fresh("illumos")
    made = node.xvm("volume", "create", "web1/root", "--size", "1G", "--json").json
    with Session(lun(node, made)) as session:
        session.write(0, b"x" * 512)
    node.stop()
    again = start(node.directory, "illumos")
    try:
        shown = again.xvm("volume", "show", "web1/root", "--json").json
        with Session(lun(again, made)) as session:
            assert b"x" * 512 == session.read(0, 512)
    finally:
        again.stop()
    assert {key: made[key] for key in shown if key != "used"} == {key: shown[key] for key in shown if key != "used"}
    assert 0 == node.process.returncode
