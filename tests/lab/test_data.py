"""What a guest wrote through the dom0's own kernel stays, whatever is done to the volume or the node."""

from pathlib import Path

import pytest

from tests.lab.live import Dom0, LabNode
from vagrant.lab.settings import LabError

GIB = 1 << 30


def _create(node: LabNode, name: str, size: str = "1G") -> dict[str, object]:
    said = node.xvm("volume", "create", name, "--size", size, "--json")
    assert 0 == said.exit, said.err
    made: dict[str, object] = said.json
    return made


def test_the_lun_is_what_was_promised(node: LabNode, dom0: Dom0, guest: str) -> None:
    """dom0's kernel finds it under the path of the disk line, with our WWID and size; ZFS and LIO show it too."""
    made = _create(node, f"{guest}/root")
    device = dom0.login(made)

    wwid = dom0.run(f"cat /sys/block/$(basename $(readlink -f {device}))/device/wwid").strip()
    assert (f"naa.{made['guid']}".lower(), GIB) == (wwid, dom0.size(device))
    sessions = [one for one in node.xvm("lun", "sessions", "--json").json if one["volumes"] == [f"{guest}/root"]]
    assert [(node.initiator, "xen1")] == [(one["initiator"], one["dom0"]) for one in sessions]
    shown = node.shell("targetcli ls")
    assert f"[/dev/zvol/tank/xvm/{guest}/root (1.0GiB)" in shown
    assert f"o- {node.initiator}" in shown
    assert f"tank/xvm/{guest}/root" in node.shell("zfs list -H -o name -t volume").split()
    dom0.logout(made)


def test_mutual_chap(node: LabNode, dom0: Dom0, guest: str, tmp_path: Path) -> None:
    """The target proves itself too: open-iscsi goes no further when it expects another secret of it."""
    (tmp_path / "target.secret").write_text("secret-of-the-target\n")
    (tmp_path / "target.secret").chmod(0o600)
    config = node.variant(tmp_path, node='chap_user = "san"\nchap_secret_file = "target.secret"')
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json", config=config)
    assert 0 == said.exit, said.err
    made = said.json

    assert GIB == dom0.size(dom0.login(made, username_in="san", password_in="secret-of-the-target"))
    dom0.logout(made)
    with pytest.raises(LabError, match="login failure"):
        dom0.login(made, username_in="san", password_in="secret-of-another")


def test_snapshot_and_rollback(node: LabNode, dom0: Dom0, guest: str) -> None:
    """What was written before the snapshot is there after the rollback, under the same LUN; what came later is not."""
    made = _create(node, f"{guest}/root")
    device = dom0.login(made)
    before = dom0.fill(device, seed=1)
    node.shell(f"zfs snapshot {made['dataset']}@before")
    assert before != dom0.fill(device, seed=2)
    dom0.logout(made)
    assert 0 == node.xvm("lun", "unexport", f"{guest}/root").exit
    node.shell(f"zfs rollback {made['dataset']}@before")
    assert 0 == node.xvm("lun", "export", f"{guest}/root").exit

    device = dom0.login(made)

    assert before == dom0.sum(device)
    dom0.logout(made)


def test_resize_under_a_session(node: LabNode, dom0: Dom0, guest: str) -> None:
    """A rescan on dom0 is all it takes; old data are there, and the new end can be written and read."""
    made = _create(node, f"{guest}/root")
    device = dom0.login(made)
    before = dom0.fill(device, seed=3)

    grown = node.xvm("volume", "resize", f"{guest}/root", "--size", "2G", "--json")
    dom0.run(f"iscsiadm -m node -T {made['target']} -R")

    assert (0, 2 * GIB) == (grown.exit, grown.json["size"])
    assert 2 * GIB == dom0.size(device)
    end = dom0.fill(device, seed=4, at=2044)
    assert (before, end) == (dom0.sum(device), dom0.sum(device, at=2044))
    dom0.logout(made)


def test_export_and_import_of_the_pool(node: LabNode, dom0: Dom0, guest: str) -> None:
    """A volume taken off, its pool exported and imported again: the same LUN, the same bytes."""
    made = _create(node, f"{guest}/root")
    device = dom0.login(made)
    before = dom0.fill(device, seed=5)
    dom0.logout(made)
    names = [one["name"] for one in node.xvm("volume", "list", "--json").json]
    assert {0} == {node.xvm("lun", "unexport", name).exit for name in names}
    node.shell("zpool export tank && zpool import tank")
    back = node.xvm("lun", "export", f"{guest}/root", "--json")

    assert 0 == back.exit, back.err
    same = ("guid", "serial", "target", "lun", "dom0s", "vdev")
    assert [made[key] for key in same] == [back.json[key] for key in same]
    assert before == dom0.sum(dom0.login(made))
    dom0.logout(made)


def test_a_reboot_under_a_session(node: LabNode, dom0: Dom0, guest: str) -> None:
    """The node boots: its own services bring LUNs, ACLs and secrets back, and dom0's session goes on as it was."""
    made = _create(node, f"{guest}/root")
    other = _create(node, f"{guest}/data")
    device = dom0.login(made)
    before = dom0.fill(device, seed=6)
    listed = node.xvm("volume", "list", "--json").json

    node.lab.ssh(node.lab.storage, "systemctl poweroff", seconds=30)
    node.lab.storage.wait_for_the_end(120)
    node.lab.boot(node.lab.storage)

    again = node.xvm("volume", "list", "--json").json
    changes = {"sessions", "used"}
    assert [_without(one, changes) for one in listed] == [_without(one, changes) for one in again]
    assert [True, True] == [one["exported"] for one in again if one["name"].startswith(f"{guest}/")]
    assert [True] * 8 == [one["ok"] for one in node.xvm("node", "check", "--json").json]
    assert before == dom0.sum(device), "through the session that was logged in all the while"
    assert dom0.fill(device, seed=7) == dom0.sum(device)
    dom0.logout(made)
    assert dom0.size(dom0.login(other)) == GIB
    dom0.logout(other)


def _without(facts: dict[str, object], left_out: set[str]) -> dict[str, object]:
    return {key: value for key, value in facts.items() if key not in left_out}
