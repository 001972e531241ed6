"""What only the embedded nodes can show of volumes: round trips counted, COMSTAR's own ways, many at once."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.initiator import Session
from tests.contract.luns import lun
from tests.node.conftest import FLAVOURS
from tests.node.live import LiveNode
from xvmstore import Site

pytestmark = pytest.mark.node
GIB = 1 << 30


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_operation_is_one_exec(fresh: Callable[[str], LiveNode], flavour: str) -> None:
    """Counted at the server: no operation costs more than one SSH exec beyond connecting."""
    node = fresh(flavour)
    for command in (
        "volume create web1/root --size 20G",
        "volume create web1/root --size 20G",
        "volume show web1/root",
        "volume list",
        "volume resize web1/root --size 30G",
        "lun unexport web1/root",
        "volume rename web1/root web1/boot",
        "lun export web1/boot",
        "lun list",
        "lun sessions",
        "guest disks web1",
        "pool list",
        "pool status",
        "node check",
        "volume destroy web1/boot",
    ):
        before = len(node.execs())
        said = node.xvm(*command.split())

        assert (command, 0, "") == (command, said.exit, said.err)
        assert (command, 1) == (command, len(node.execs()) - before)


def test_rename_changes_the_alias(illumos: LiveNode, guest: str) -> None:
    """COMSTAR's listings name the volume by what it is called now; nothing of the old guest is left."""
    before = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json

    assert 0 == illumos.xvm("volume", "rename", f"{guest}/root", f"{guest}/moved").exit

    listed = illumos.on_node("stmfadm", "list-lu", "-v", before["guid"]).stdout
    assert f"Alias             : {guest}/moved" in listed


def test_a_rename_in_use(illumos: LiveNode, guest: str) -> None:
    """Refused while an initiator is logged in."""
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    with Session(lun(illumos, made)):
        said = illumos.xvm("volume", "rename", f"{guest}/root", f"{guest}/moved")

    assert (1, True) == (said.exit, "(xen1) is logged in" in said.err)


@pytest.mark.parametrize("flavour", ["illumos", "b111"])
def test_destroy_takes_the_views(shared_nodes: Callable[[str], LiveNode], guest: str, flavour: str) -> None:
    """They would wait for another LU of that GUID."""
    node = shared_nodes(flavour)
    made = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    node.xvm("volume", "destroy", f"{guest}/root")

    assert "" == node.views(made["guid"])


@pytest.mark.parametrize("flavour", ["b111", "b85"])
def test_rename_on_an_old_release(shared_nodes: Callable[[str], LiveNode], guest: str, flavour: str) -> None:
    """Where views cannot be kept, only a volume that is not exported may be renamed, and the message says so."""
    node, name = shared_nodes(flavour), f"{guest}/root"
    node.xvm("volume", "create", name, "--size", "1G")

    refused = node.xvm("volume", "rename", name, f"{guest}/new")

    assert 1 == refused.exit
    assert f"lun unexport {name}" in refused.err
    assert node.xvm("volume", "show", name, "--json").json["exported"]


def test_dry_run_touches_nothing(fresh: Callable[[str], LiveNode]) -> None:
    """It prints the commands, masks secrets and connects to nothing."""
    node = fresh("illumos")
    said = [
        node.xvm("--dry-run", *words.split())
        for words in (
            "volume create web1/root --size 1G",
            "volume resize web1/root --size 2G",
            "volume rename web1/root web1/b",
            "volume destroy web1/root",
            "lun export web1/root",
            "lun unexport web1/root",
            "node setup",
        )
    ]
    assert [0] * 7 == [one.exit for one in said]
    assert "zfs create" in said[0].out
    assert "itadm create-initiator -u xen1 -S '<secret>'" in said[0].out.replace("<secret>", "'<secret>'")
    assert not any(node.secret in one.out + one.err for one in said)
    assert [] == node.execs()


def test_secrets_stay_secret(fresh: Callable[[str], LiveNode], caplog: pytest.LogCaptureFixture) -> None:
    """The CHAP secret is in no argv on the node, no log line and no output."""
    node = fresh("illumos")
    said = node.xvm("-v", "volume", "create", "web1/root", "--size", "1G")

    assert 0 == said.exit
    assert any("create-initiator" in command for entry in node.execs() for command in entry["commands"])
    assert node.secret not in (node.directory / "exec.log").read_text()
    assert node.secret not in said.out + said.err + caplog.text


def test_eight_at_once(fresh: Callable[[str], LiveNode]) -> None:
    """Eight processes make eight volumes, of four guests: eight GUIDs, eight LUNs, eight letters, no orphan."""
    for flavour in ("illumos", "b111"):
        node = fresh(flavour)
        names = [f"web{number % 4}/disk{number}" for number in range(8)]
        argv = [sys.executable, "-m", "xvmstore", "-c", str(node.config), "--json", "volume", "create", "--size", "1G"]
        running = [subprocess.Popen([*argv, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in names]
        said = [process.communicate(timeout=120) for process in running]

        assert [(0, b"")] * 8 == [(process.returncode, err) for process, (_, err) in zip(running, said, strict=True)]
        made = [json.loads(out) for out, _ in said]
        assert 8 == len({one["guid"] for one in made})
        assert 8 == len({(one["target"], one["lun"]) for one in made})
        assert 8 == len({(one["name"].split("/")[0], one["vdev"]) for one in made})
        assert sorted(names) == [one["name"] for one in node.xvm("volume", "list", "--json").json]
        with Site.load(node.config) as site:
            assert [] == node.orphans(site.volumes())


def test_node_check_finds_what_is_wrong(fresh: Callable[[str], LiveNode]) -> None:
    """A service that is off, an initiator in another group: exit 1, and what to do about it."""
    node = fresh("illumos")
    well = node.xvm("node", "check", "embedded", "--json")
    node.on_node("stmfadm", "create-hg", "old")
    node.on_node("stmfadm", "add-hg-member", "-g", "old", "iqn.2026-11.org.xvmstore:xen1")
    grouped = node.xvm("node", "check", "--json")
    node.on_node("svcadm", "disable", "svc:/network/iscsi/target:default")
    disabled = node.xvm("node", "check")

    assert (0, True) == (well.exit, all(one["ok"] for one in well.json))
    assert 1 == grouped.exit
    (bad,) = [one for one in grouped.json if not one["ok"]]
    assert "is in old, not xen1" in bad["found"]
    assert 1 == disabled.exit
    assert "svcadm enable -r svc:/network/iscsi/target:default" in disabled.out


def test_the_wrong_release_is_noticed(fresh: Callable[[str], LiveNode], tmp_path: Path) -> None:
    """A node older than configured: the check says so; a volume is refused with what to set."""
    node = fresh("b111")
    config = tmp_path / "config.toml"
    config.write_text(node.config.read_text().replace('release = "b111"', 'release = "illumos"'))

    checked = node.xvm("node", "check", "--json", config=config)
    refused = node.xvm("volume", "create", "web1/root", "--size", "1G", config=config)

    (bad,) = [one for one in checked.json if not one["ok"]]
    assert ("release illumos", "LUs are made by sbdadm") == (bad["what"], bad["found"])
    assert (1, 1) == (refused.exit, refused.err.count("\n"))
    assert 'set release = "b111"' in refused.err
    assert [] == node.zvols()


def test_node_setup_applies(fresh: Callable[[str], LiveNode]) -> None:
    """Base dataset, host group and CHAP account are there afterwards; a changed secret is set anew."""
    node = fresh("illumos")
    assert 0 == node.xvm("node", "setup", "--apply").exit
    assert 0 == node.xvm("node", "setup", "--apply").exit

    assert "tank/xvm" in node.on_node("zfs", "list", "-H", "-o", "name").stdout.split()
    assert "Member: iqn.2026-11.org.xvmstore:xen1" in node.on_node("stmfadm", "list-hg", "-v", "xen1").stdout
    assert "xen1" in node.on_node("itadm", "list-initiator").stdout


def test_an_initiator_in_another_host_group(fresh: Callable[[str], LiveNode]) -> None:
    """add-hg-member says "already exists" then too: it is noticed, nothing is shown to anybody, nothing is left."""
    node = fresh("illumos")
    node.on_node("stmfadm", "create-hg", "old")
    node.on_node("stmfadm", "add-hg-member", "-g", "old", "iqn.2026-11.org.xvmstore:xen1")

    said = node.xvm("volume", "create", "web1/root", "--size", "1G")

    assert 1 == said.exit
    assert "set host_group in [dom0s.NAME]" in said.err
    assert ([], {}) == (node.zvols(), node.units())


def test_library(illumos: LiveNode, guest: str) -> None:
    """The same operations from Python."""
    with Site.load(illumos.config) as site:
        created = site.create_volume(f"{guest}/root", "1G")
        grown = site.resize_volume(f"{guest}/root", 2 * GIB)
        site.destroy_volume(f"{guest}/root")

        assert ("created", 2 * GIB) == (created.action, grown.size)
        assert [] == [one for one in site.volumes() if one.name.startswith(f"{guest}/")]


def test_readme_example_runs(
    fresh: Callable[[str], LiveNode], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """README's Python is run as it stands."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    node = fresh("illumos")
    monkeypatch.setenv("XVMSTORE_CONFIG", str(node.config))

    exec(compile(readme.split("```python\n")[1].split("```")[0], "README.md", "exec"), {})

    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("created 600144F0")
    assert f"web1/root {20 * GIB} ('xen1',) ()" == second


@pytest.mark.parametrize("extra", ['transport = "openssh"', 'transport = "fabric"\nbecome = "pfexec"',
                                   'become = "sudo"'])  # fmt: skip
def test_other_ways_to_the_node(illumos: LiveNode, guest: str, tmp_path: Path, extra: str) -> None:
    """The system's ssh, pfexec and sudo do the same."""
    config = tmp_path / "config.toml"
    config.write_text(illumos.config.read_text().replace("[nodes.embedded]", f"[nodes.embedded]\n{extra}"))
    said = [
        illumos.xvm(*words.split(), config=config)
        for words in (f"volume create {guest}/r --size 1G", "volume list", f"volume destroy {guest}/r")
    ]
    assert [(0, "")] * 3 == [(one.exit, one.err) for one in said]


def test_a_group_with_another_member(illumos: LiveNode, guest: str) -> None:
    """Whoever is in the host group would see the disk: it is not shown, and trouble where it was shown before."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    stranger = "iqn.2026-11.org.example:stranger"
    illumos.on_node("stmfadm", "add-hg-member", "-g", "xen1", stranger)
    try:
        refused = illumos.xvm("volume", "create", f"{guest}/data", "--size", "1G")
        shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    finally:
        illumos.on_node("stmfadm", "remove-hg-member", "-g", "xen1", stranger)

    assert (1, True) == (refused.exit, "nobody else" in refused.err)
    assert f"tank/xvm/{guest}/data" not in illumos.zvols()
    assert [f"host group xen1 has other members too: {stranger}"] == shown["trouble"]


def test_zfs_exports_nothing_by_itself(fresh: Callable[[str], LiveNode]) -> None:
    """Where the pool is shared with everybody, no new volume, nor a rehearsal's or a rollback's, is at any moment."""
    node = fresh("b134")
    node.on_node("zfs", "set", "shareiscsi=on", "tank")
    assert 0 == node.xvm("volume", "create", "web1/root", "--size", "64M").exit
    assert 0 == node.xvm("checkpoint", "create", "web1").exit
    assert 0 == node.xvm("checkpoint", "rehearse", "web1", "latest", "--as", "copy").exit
    told = node.on_node(
        "zfs", "get", "-H", "-o", "value,source", "shareiscsi", "tank/xvm/web1/root", "tank/xvm/copy/root"
    )
    assert ["off\tlocal"] * 2 == told.stdout.splitlines()
    node.faults('[[fault]]\ncommand = "zfs get -H -o property,value*"\naction = "kill"\n')
    assert 0 != node.xvm("checkpoint", "rollback", "web1", "latest").exit
    node.faults("")
    (half,) = [one for one in node.zvols() if "web1:" in one]
    assert "off\n" == node.on_node("zfs", "get", "-H", "-o", "value", "shareiscsi", half).stdout
    assert 0 == node.xvm("checkpoint", "rollback", "web1", "latest").exit
    assert "tank/" not in node.on_node("iscsitadm", "list", "target").stdout
