"""``node migrate-backend``: a node that exported through iscsitadm gets a release with COMSTAR; all names stay."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedded.initiator import Lun, Session
from tests.contract.luns import lun, tool
from tests.node.live import LiveNode, upgraded

pytestmark = pytest.mark.node
KIB = 1024


def facts(node: LiveNode) -> dict[str, dict[str, Any]]:
    """Of each volume, what dom0s know of it."""
    found = node.xvm("volume", "list", "--json").json
    keys = ("size", "guid", "target", "lun", "vdev", "dom0s", "exported", "state", "trouble")
    return {one["name"]: {key: one[key] for key in keys} for one in found}


def furnished(node: LiveNode) -> dict[str, dict[str, Any]]:
    """Three volumes: one that is used, with A on it, one nobody ever looked at, one that is exported to nobody."""
    for name in ("web1/root", "web1/data", "web2/root"):
        assert 0 == node.xvm("volume", "create", name, "--size", "64M").exit
    with Session(lun(node, node.xvm("volume", "show", "web1/root", "--json").json)) as session:
        session.write(0, b"A" * KIB)
    assert 0 == node.xvm("lun", "unexport", "web2/root").exit
    return facts(node)


def moved(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    """Every volume as it was; those without a GUID got one."""
    assert before["web1/root"] == after["web1/root"]
    for name in ("web1/data", "web2/root"):
        assert after[name]["guid"].startswith("600144F0")
        assert before[name] | {"guid": None} == after[name] | {"guid": None}
    assert ["xen1"] == after["web1/data"]["dom0s"]
    assert (False, []) == (after["web2/root"]["exported"], after["web2/root"]["dom0s"])


def test_before_and_after_an_upgrade(fresh: Callable[[str], LiveNode], tmp_path: Path) -> None:
    """What only the old release's daemon knows is written down there; illumos, which has no such daemon, reads it.

    Target, LUN and GUID stay; doing it again changes nothing.
    """
    old = fresh("b85")
    before = furnished(old)
    dry = old.xvm("node", "migrate-backend")
    untouched = old.state()
    assert (0, "") == (dry.exit, dry.err)
    written = old.xvm("node", "migrate-backend", "--apply", "--script", str(tmp_path / "old.sh"))
    assert (0, "") == (written.exit, written.out)
    assert untouched != old.state()
    assert before == facts(old)

    new = upgraded(old, "illumos")
    try:
        planned = new.xvm("node", "migrate-backend")
        assert (0, True) == (planned.exit, all(line.startswith("#") for line in planned.out.splitlines()))
        assert {False} == {one["exported"] for one in facts(new).values()}
        done = new.xvm("node", "migrate-backend", "--apply")
        assert (0, "") == (done.exit, done.out)
        after = facts(new)
        moved(before, after)
        state = new.state()
        assert (0, "") == (new.xvm("node", "migrate-backend", "--apply").exit, new.xvm("node", "migrate-backend").err)
        assert state == new.state()
        assert "web2/root" in new.xvm("lun", "export", "web2/root").out
    finally:
        new.stop()


def test_the_script_brings_the_old_exports_back(fresh: Callable[[str], LiveNode], tmp_path: Path) -> None:
    """Run on the old release where all targets have gone, it makes the same ones again."""
    node = fresh("b85")
    furnished(node)
    node.on_node("zfs", "create", "-V", "64M", "tank/shared")
    node.on_node("zfs", "set", "shareiscsi=on", "tank/shared")
    script = tmp_path / "old.sh"
    assert 0 == node.xvm("node", "migrate-backend", "--script", str(script)).exit
    exists = node.xvm("node", "migrate-backend", "--script", str(script))
    assert (2, 1) == (exists.exit, exists.err.count("\n"))
    listed = _shape(node)
    subprocess.run(["sh", "-n", str(script)], check=True)
    for line in node.on_node("iscsitadm", "list", "target").stdout.splitlines():
        if line.startswith("Target: ") and "/" not in line:
            node.on_node("iscsitadm", "delete", "target", "-u", "0", line.removeprefix("Target: "))
    node.on_node("zfs", "set", "shareiscsi=off", "tank/shared")
    for name in ("xen1", "xvmstore-nobody"):
        node.on_node("iscsitadm", "delete", "initiator", "-A", name)
    assert listed != _shape(node)

    text = "\n".join(line for line in script.read_text().splitlines() if " -C " not in line)
    script.write_text(text.replace("/var/tmp", str(tmp_path)))
    said = node.on_node("sh", str(script))

    assert (0, listed) == (said.returncode, _shape(node)), said.stderr


def _shape(node: LiveNode) -> list[str]:
    """What is listed of targets and initiators, but for what the daemon makes up."""
    kept = ("Target: ", "Initiator: ", "Backing store: ", "LUN: ", "CHAP Name")
    lists = (node.on_node("iscsitadm", "list", what, "-v").stdout for what in ("target", "initiator"))
    return sorted(line.strip() for text in lists for line in text.splitlines() if line.strip().startswith(kept))


def test_what_stands_in_the_way(fresh: Callable[[str], LiveNode]) -> None:
    """A release whose COMSTAR keeps its metadata where the guest's data are; an initiator that is no dom0's.

    A sector that a change of iscsitadm's, which was cut off, has not put back.
    """
    node = fresh("b85")
    furnished(node)
    (target,) = [one for one in node.targets() if ".web1.root." in one]
    unit = target.partition(".web1.root.")[2]
    node.on_node("iscsitadm", "create", "initiator", "-n", "iqn.2026-11.org.example:stranger", "stranger")
    node.on_node("iscsitadm", "modify", "target", "-l", "stranger", f"web1.root.{unit}")
    said = node.xvm("node", "migrate-backend")
    assert (1, "", 1) == (said.exit, said.out, said.err.count("\n"))
    assert "web1/root is exported to stranger (iqn.2026-11.org.example:stranger), which is no dom0" in said.err
    node.on_node("iscsitadm", "delete", "target", "-l", "stranger", f"web1.root.{unit}")
    node.on_node("zfs", "set", "org.xvmstore:last-a=131071-ff", "tank/xvm/web1/root")
    said = node.xvm("node", "migrate-backend", "--apply")
    assert (1, "", 1) == (said.exit, said.out, said.err.count("\n"))
    assert "web1/root: its last sector is kept in org.xvmstore:last-a" in said.err
    node.on_node("zfs", "inherit", "org.xvmstore:last-a", "tank/xvm/web1/root")

    older = upgraded(node, "b111")
    try:
        config = older.config.read_text().replace(
            '"target-per-volume"', '"shared-target"\ntarget = "iqn.2026-11.org.x:y"'
        )
        older.config.write_text(config)
        state = older.state()
        refused = older.xvm("node", "migrate-backend", "--apply")
        assert (1, 1) == (refused.exit, refused.err.count("\n"))
        assert "go to COMSTAR of b116 or later" in refused.err
        assert state == older.state()
    finally:
        older.stop()


@pytest.mark.parametrize(
    ("state", "said"), [("destroying", "is half destroyed"), ("rolling-back", "a rollback of web1 was cut off")]
)
def test_nothing_half_done_is_moved(shared_nodes: Callable[[str], LiveNode], state: str, said: str) -> None:
    """It would be exported, and its mark be gone."""
    node = shared_nodes("b85")
    assert 0 == node.xvm("volume", "create", "web1/half", "--size", "64M").exit
    node.on_node("zfs", "set", f"org.xvmstore:state={state}", "tank/xvm/web1/half")
    try:
        refused = node.xvm("node", "migrate-backend", "--apply")
        assert (1, "", 1) == (refused.exit, refused.out, refused.err.count("\n"))
        assert said in refused.err
    finally:
        node.on_node("zfs", "set", "org.xvmstore:state=ready", "tank/xvm/web1/half")
        assert 0 == node.xvm("volume", "destroy", "web1/half").exit


def test_what_nobody_may_see_stays_so(fresh: Callable[[str], LiveNode]) -> None:
    """Its target may have gone with a rename, or it was taken away after the rest was written down."""
    old = fresh("b85")
    furnished(old)
    assert 0 == old.xvm("volume", "rename", "web2/root", "web3/root").exit
    assert 0 == old.xvm("node", "migrate-backend", "--apply").exit
    assert 0 == old.xvm("lun", "unexport", "web1/data").exit
    written = old.on_node("zfs", "get", "-H", "-o", "value", "org.xvmstore:exported-as", "tank/xvm/web1/data").stdout
    assert "-\n" == written
    assert 0 == old.xvm("node", "migrate-backend", "--apply").exit
    new = upgraded(old, "illumos")
    try:
        assert (0, "") == ((done := new.xvm("node", "migrate-backend", "--apply")).exit, done.out)
        assert {"web1/root": ["xen1"], "web1/data": [], "web3/root": []} == {
            name: one["dom0s"] for name, one in facts(new).items()
        }
    finally:
        new.stop()


# -- where both programs are there -------------------------------------------------------------------------------------

FOREIGN = "tank/shared"
STRANGER = "iqn.2026-11.org.example:stranger"


def both(old: LiveNode) -> LiveNode:
    """The node with furnished volumes and a zvol that ZFS exports, upgraded to b134 with iscsitgtd running on."""
    old.on_node("zfs", "create", "-V", "64M", FOREIGN)
    assert 0 == old.on_node("zfs", "set", "shareiscsi=on", FOREIGN).returncode
    return upgraded(old, "b134")


def show(node: LiveNode, name: str) -> dict[str, Any]:
    """One volume, whole."""
    found: dict[str, Any] = node.xvm("volume", "show", name, "--json").json
    return found


def foreign(node: LiveNode, root: dict[str, Any]) -> Lun:
    """What ZFS exports at the portal of a volume, as somebody logs in to it."""
    lines = node.on_node("iscsitadm", "list", "target", FOREIGN).stdout.splitlines()
    (target,) = [line.partition("iSCSI Name: ")[2] for line in lines if "iSCSI Name: " in line]
    return Lun(node.portal(root), target, 0, STRANGER)


def service(node: LiveNode, name: str) -> str:
    """The state of an SMF service."""
    return node.on_node("svcs", "-H", "-o", "state", name).stdout.strip()


def everything(node: LiveNode) -> tuple[str, ...]:
    """Of COMSTAR, ZFS and the services, and of iscsitgtd where it runs: to ask it would start it."""
    lists = ("list target -v", "list initiator -v", "show admin") if service(node, "iscsitgt") == "online" else ()
    daemon = tuple(node.on_node("iscsitadm", *words.split()).stdout for words in lists)
    return (*node.state(), *daemon, node.on_node("svcs", "-H", "-o", "state,fmri").stdout)


def served_by_comstar(node: LiveNode, before: dict[str, dict[str, Any]]) -> None:
    """Every volume as it was, with its data, and nothing besides."""
    after = facts(node)
    moved(before, after)
    root, data = show(node, "web1/root"), show(node, "web1/data")
    assert {root["guid"], data["guid"]} == set(node.units())
    assert {root["target"], data["target"]} == set(node.targets())
    assert (0, 0) == (root["lun"], data["lun"])
    for volume in (data, root):
        assert volume["guid"] in tool("iscsi-inq", node, volume, "-e", "1", "-c", "131").stdout.upper()
    with Session(lun(node, root)) as session:
        assert b"A" * KIB == bytes(session.read(0, KIB))
    assert ("disabled", "online") == (service(node, "iscsitgt"), service(node, "iscsi/target"))


def test_both_programs_are_there(fresh: Callable[[str], LiveNode], tmp_path: Path) -> None:
    """All is taken from the daemon that still runs, in one go; only when it is agreed that its other exports end.

    Names, LUN 0, GUIDs and data are the same through COMSTAR; doing it again changes nothing.
    """
    old = fresh("b85")
    before, root = furnished(old), show(old, "web1/root")
    node = both(old)
    try:
        Session(foreign(node, root)).close()
        state = everything(node)
        dry = node.xvm("node", "migrate-backend", "--end-others")
        assert (0, "") == (dry.exit, dry.err)
        assert f"zfs set shareiscsi=on {FOREIGN}\n" in dry.out
        assert 3 == dry.out.count("\niscsitadm create target -u 0 -b ")
        assert "\n# svcadm enable -rs svc:/network/iscsi/target:default\n" in dry.out
        refused = node.xvm("node", "migrate-backend", "--apply")
        assert (1, "#!/bin/sh", 1) == (refused.exit, refused.out.partition("\n")[0], refused.err.count("\n"))
        assert f"must stop: {FOREIGN}; --end-others" in refused.err
        _in_use(node, root)
        assert state == everything(node)

        done = node.xvm("node", "migrate-backend", "--apply", "--end-others", "--script", str(tmp_path / "old.sh"))
        assert (0, "") == (done.exit, done.out)
        assert (tmp_path / "old.sh").read_text().splitlines()[2:] == dry.out.partition("# what")[0].splitlines()[2:]
        state = everything(node)
        again = node.xvm("node", "migrate-backend", "--apply")
        assert (0, "", "") == (again.exit, again.out, again.err)
        assert state == everything(node)
        served_by_comstar(node, before)
        assert "web2/root" in node.xvm("lun", "export", "web2/root").out
        # Whatever it is that ZFS has to share would have the daemon started.
        assert 0 == node.on_node("zfs", "rename", FOREIGN, f"{FOREIGN}-renamed").returncode
        assert "disabled" == service(node, "iscsitgt")
    finally:
        node.stop()


def _in_use(node: LiveNode, root: dict[str, Any]) -> None:
    """Whoever is logged in is named: to a volume, or to what is none."""
    with Session(lun(node, root)):
        said = node.xvm("node", "migrate-backend", "--apply", "--end-others")
    assert (1, 1) == (said.exit, said.err.count("\n"))
    assert f"web1/root is in use: {node.initiator} is logged in" in said.err
    with Session(foreign(node, root)):
        said = node.xvm("node", "migrate-backend", "--apply", "--end-others")
    assert (1, "#!/bin/sh", 1) == (said.exit, said.out.partition("\n")[0], said.err.count("\n"))
    assert f"has others logged in: {FOREIGN}: {STRANGER}" in said.err


CUTS = ("zfs set org.xvmstore:guid=*", "iscsitadm delete target -l*", "iscsitadm delete target -u*",
        "zfs set shareiscsi=off*", "svcadm disable*", "svcadm enable*", "stmfadm create-lu*", "itadm create-target*",
        "stmfadm add-view*", "zfs inherit org.xvmstore:exported-as*")  # fmt: skip


@pytest.mark.parametrize("command", CUTS)
def test_cut_off(fresh: Callable[[str], LiveNode], command: str) -> None:
    """Wherever the move is cut off, the same command ends it, and nothing is lost."""
    old = fresh("b85")
    before = furnished(old)
    node = both(old)
    try:
        node.faults(f'[[fault]]\ncommand = "{command}"\naction = "kill"\nwhen = "after"\n')
        cut = node.xvm("node", "migrate-backend", "--apply", "--end-others")
        node.faults("")
        assert (3, 1) == (cut.exit, cut.err.count("\n")), cut.err
        said = node.xvm("node", "migrate-backend", "--apply", "--end-others")
        assert 0 == said.exit, said.err
        served_by_comstar(node, before)
    finally:
        node.stop()
