"""Volumes from one end to the other: command line, SSH, the node's commands."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.live import LiveNode
from xvmstore import Site

pytestmark = pytest.mark.node
GIB = 1 << 30


@pytest.mark.parametrize("flavour", ["illumos", "b111"])
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


def test_create_prints_what_is_needed(node: LiveNode, guest: str) -> None:
    """GUID, target, LUN, size, dom0s and the xl line, in JSON and for people."""
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "20G", "--json")

    made = said.json
    assert 0 == said.exit
    wanted = {"name", "dataset", "size", "guid", "serial", "target", "lun", "portals", "dom0s", "disk"}
    assert set() == wanted - set(made)
    assert (f"{guest}/root", f"tank/xvm/{guest}/root", 20 * GIB) == (made["name"], made["dataset"], made["size"])
    assert ["xen1"] == made["dom0s"]
    assert made["disk"]["xl"].endswith(f"-iscsi-{made['target']}-lun-{made['lun']}")
    assert made["guid"] in node.units()
    text = node.xvm("volume", "show", f"{guest}/root").out
    for fact in (made["guid"], made["target"], f"lun       {made['lun']}", made["disk"]["xl"]):
        assert fact in text


def test_create_again(node: LiveNode, guest: str) -> None:
    """The same command changes nothing and exits 0; another one says what differs, changes nothing and exits 1."""
    name = f"{guest}/root"
    first = node.xvm("volume", "create", name, "--size", "2G", "--json").json
    state = _state(node)

    again = node.xvm("volume", "create", name, "--size", "2G", "--json")
    larger = node.xvm("volume", "create", name, "--size", "3G")
    thin = node.xvm("volume", "create", name, "--size", "2G", "--thin", "-o", "copies=2")

    assert (0, first | {"action": "unchanged"}) == (again.exit, again.json)
    assert (1, "") == (larger.exit, larger.out)
    assert f"{name} exists, but its size is {2 * GIB}, not {3 * GIB}" in larger.err
    assert "its thin is False, not True; its copies is 1, not 2" in thin.err
    assert state == _state(node)


def _state(node: LiveNode) -> tuple[str, ...]:
    everything = ("zfs get -Hp -r -o name,property,value all tank", "stmfadm list-lu -v", "stmfadm list-hg -v",
                  "stmfadm list-tg -v", "itadm list-target -v", "itadm list-initiator")  # fmt: skip
    views = tuple(node.views(guid) for guid in node.units())
    return (*(node.on_node(*command.split()).stdout for command in everything), *views)


def test_create_with_properties(node: LiveNode, guest: str) -> None:
    """Thin, block size and any ZFS property, hostile values included, arrive as given."""
    value = 'it\'s "$HOME" `id`; rm -rf / & \\ *'
    options = ("--thin", "--block-size", "4K", "-o", "compression=lzjb", "-o", f"org.example:note={value}")

    said = node.xvm("volume", "create", f"{guest}/d", "--size", "1G", *options)

    names = "volblocksize,refreservation,compression,org.example:note"
    read = node.on_node("zfs", "get", "-Hp", "-o", "value", names, f"tank/xvm/{guest}/d").stdout.splitlines()
    assert 0 == said.exit, said.err
    assert ["4096", "0", "lzjb", value] == read


def test_device_letters_stay(node: LiveNode, guest: str) -> None:
    """Each disk of a guest has a letter of its own, and keeps it when another goes; a freed one is used again."""
    for disk in ("a", "b", "c"):
        assert 0 == node.xvm("volume", "create", f"{guest}/{disk}", "--size", "1G").exit
    assert 0 == node.xvm("volume", "destroy", f"{guest}/b").exit
    assert {"a": "xvda", "c": "xvdc"} == _letters(node, guest)
    assert 0 == node.xvm("volume", "create", f"{guest}/z", "--size", "1G").exit

    assert {"a": "xvda", "c": "xvdc", "z": "xvdb"} == _letters(node, guest)
    lines = node.xvm("guest", "disks", guest).out.splitlines()
    assert ["xvda", "xvdb", "xvdc"] == [line.split("vdev=")[1][:4] for line in lines[1:-1]]
    assert ("disk = [", "]") == (lines[0], lines[-1])


def _letters(node: LiveNode, guest: str) -> dict[str, str]:
    found = node.xvm("volume", "list", "--guest", guest, "--json").json
    return {one["name"].split("/")[1]: one["vdev"] for one in found}


def test_resize(node: LiveNode, guest: str) -> None:
    """Up at once, down only when forced; LU and zvol always agree."""
    name = f"{guest}/root"
    node.xvm("volume", "create", name, "--size", "2G")

    grown = node.xvm("volume", "resize", name, "--size", "3G", "--json")
    refused = node.xvm("volume", "resize", name, "--size", "1G")
    shrunk = node.xvm("volume", "resize", name, "--size", "1G", "--force", "--json")

    assert (0, 3 * GIB) == (grown.exit, grown.json["size"])
    assert (1, "") == (refused.exit, refused.out)
    assert "shrinking cuts off the guest's data" in refused.err
    assert (0, 1 * GIB) == (shrunk.exit, shrunk.json["size"])
    (unit,) = [one for one in node.xvm("lun", "list", "--json").json if one["volume"] == name]
    assert GIB == unit["size"]


def test_rename(illumos: LiveNode, guest: str) -> None:
    """GUID, target and LUN stay; another guest's letters are respected; the old guest's dataset goes."""
    node, other = illumos, f"{guest}x"
    before = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    node.xvm("volume", "create", f"{other}/root", "--size", "1G")

    after = node.xvm("volume", "rename", f"{guest}/root", f"{other}/moved", "--json")

    same = ("guid", "target", "lun", "serial", "size", "dom0s")
    assert 0 == after.exit, after.err
    assert [before[key] for key in same] == [after.json[key] for key in same]
    assert ("xvda", "xvdb") == (before["vdev"], after.json["vdev"])
    assert after.json["exported"]
    assert [] == [name for name in node.empty_guests() if name.endswith(guest)]
    assert f"Alias             : {other}/moved" in node.on_node("stmfadm", "list-lu", "-v", before["guid"]).stdout


def test_rename_on_an_old_release(shared_nodes: Callable[[str], LiveNode], guest: str) -> None:
    """Where views cannot be kept, only a volume that is not exported may be renamed, and the message says so."""
    node, name = shared_nodes("b111"), f"{guest}/root"
    node.xvm("volume", "create", name, "--size", "1G")

    refused = node.xvm("volume", "rename", name, f"{guest}/new")

    assert 1 == refused.exit
    assert f"lun unexport {name}" in refused.err
    assert node.xvm("volume", "show", name, "--json").json["exported"]


def test_unexport_and_export(node: LiveNode, guest: str) -> None:
    """What comes back is the same disk: GUID, target, LUN, serial."""
    name = f"{guest}/root"
    before = node.xvm("volume", "create", name, "--size", "1G", "--json").json

    gone = node.xvm("lun", "unexport", name, "--json")
    twice = node.xvm("lun", "unexport", name)
    back = node.xvm("lun", "export", name, "--json")

    assert (0, False, []) == (gone.exit, gone.json["exported"], gone.json["dom0s"])
    assert 0 == twice.exit
    assert before["guid"] in node.units()
    drop = {"action", "used"}
    assert {k: v for k, v in before.items() if k not in drop} == {k: v for k, v in back.json.items() if k not in drop}


def test_one_dom0_more_and_less(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """A second dom0 gets a view of its own under the same LUN, and losing it leaves the first alone."""
    config = tmp_path / "config.toml"
    second = '\n[dom0s.xen2]\ninitiator = "iqn.2026-11.org.xvmstore:xen2"\n'
    config.write_text(illumos.config.read_text() + second)
    name = f"{guest}/root"
    illumos.xvm("volume", "create", name, "--size", "1G")

    both = illumos.xvm("lun", "export", name, "--dom0", "xen1", "--dom0", "xen2", "--json", config=config)
    one = illumos.xvm("lun", "unexport", name, "--dom0", "xen1", "--json", config=config)

    assert ["xen1", "xen2"] == both.json["dom0s"]
    assert (["xen2"], True) == (one.json["dom0s"], one.json["exported"])
    assert 1 == illumos.views(one.json["guid"]).count("View Entry")


def test_destroy(node: LiveNode, guest: str) -> None:
    """Nothing is left of a destroyed volume, and destroying it again says that it is not there."""
    name = f"{guest}/root"
    made = node.xvm("volume", "create", name, "--size", "1G", "--json").json

    said = node.xvm("volume", "destroy", name)
    again = node.xvm("volume", "destroy", name)

    assert 0 == said.exit, said.err
    assert made["guid"] not in node.units()
    assert "" == node.views(made["guid"])
    assert made["dataset"] not in node.zvols()
    assert [] == node.empty_guests()
    assert (1, f"xvmstore: embedded: there is no volume {name} ({made['dataset']} does not exist)\n") == (
        again.exit,
        again.err,
    )


def test_destroy_spares_snapshots_and_clones(node: LiveNode, guest: str) -> None:
    """Snapshots are named and spared, unless asked for; what was cloned from them is always spared."""
    name, dataset = f"{guest}/root", f"tank/xvm/{guest}/root"
    node.xvm("volume", "create", name, "--size", "1G")
    node.on_node("zfs", "snapshot", f"{dataset}@monday")

    refused = node.xvm("volume", "destroy", name)
    node.on_node("zfs", "clone", f"{dataset}@monday", f"tank/xvm/{guest}/copy")
    cloned = node.xvm("volume", "destroy", name, "--snapshots")
    intact = node.xvm("volume", "show", name, "--json").json
    node.on_node("zfs", "destroy", f"tank/xvm/{guest}/copy")
    gone = node.xvm("volume", "destroy", name, "--snapshots")

    assert (1, 1, 0) == (refused.exit, cloned.exit, gone.exit)
    assert f"{dataset}@monday" in refused.err
    assert f"has clones: tank/xvm/{guest}/copy; promote" in cloned.err
    assert intact["exported"]
    assert dataset not in node.zvols()


def test_somebody_elses_zvol_is_left_alone(node: LiveNode, guest: str) -> None:
    """A zvol made by hand is neither adopted nor destroyed nor resized."""
    dataset = f"tank/xvm/{guest}/hand"
    node.on_node("zfs", "create", "-p", "-V", "1G", dataset)
    try:
        said = [
            node.xvm("volume", *words.split())
            for words in (
                f"create {guest}/hand --size 1G",
                f"destroy {guest}/hand --force",
                f"resize {guest}/hand --size 2G",
                f"rename {guest}/hand {guest}/mine",
            )
        ]
        assert [1, 1, 1, 1] == [one.exit for one in said]
        assert all("xvmstore" in one.err and one.err.count("\n") == 1 for one in said)
        assert "1073741824" == node.on_node("zfs", "get", "-Hp", "-o", "value", "volsize", dataset).stdout.strip()
    finally:
        node.on_node("zfs", "destroy", dataset)


def test_a_full_pool_changes_nothing(node: LiveNode, guest: str) -> None:
    """A thick volume the pool cannot hold is refused, with nothing left behind."""
    said = node.xvm("volume", "create", f"{guest}/big", "--size", "9T")

    assert 1 == said.exit
    assert "out of space" in said.err
    assert f"tank/xvm/{guest}" not in node.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank").stdout.split()


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


def test_pools(node: LiveNode) -> None:
    """Sizes and health, whatever words the release's zpool uses."""
    listed = node.xvm("pool", "list", "--json").json
    status = node.xvm("pool", "status", "tank", "--json").json
    missing = node.xvm("pool", "status", "nope")

    assert [("tank", "ONLINE")] == [(one["name"], one["health"]) for one in listed]
    assert listed[0]["size"] > 1 << 40
    assert [("tank", 0), ("mirror", 1)] == [(vdev["name"][:6], vdev["depth"]) for vdev in status[0]["vdevs"]][:2]
    assert (1, True) == (missing.exit, "no such pool" in missing.err)


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


def test_the_shared_target_layout_on_illumos(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """One target, many LUNs; a LUN set free is not used again at once."""
    config = tmp_path / "config.toml"
    shared = '[nodes.embedded]\ntarget = "iqn.2026-11.org.xvmstore:shared"'
    text = illumos.config.read_text().replace('"target-per-volume"', '"shared-target"')
    config.write_text(text.replace("[nodes.embedded]", shared))
    one = illumos.xvm("volume", "create", f"{guest}/a", "--size", "1G", "--json", config=config).json
    two = illumos.xvm("volume", "create", f"{guest}/b", "--size", "1G", "--json", config=config).json
    gone = illumos.xvm("volume", "destroy", f"{guest}/a", config=config)

    assert one["target"] == two["target"] == "iqn.2026-11.org.xvmstore:shared"
    assert one["lun"] != two["lun"]
    assert 0 == gone.exit, gone.err
    freed = illumos.on_node("zfs", "get", "-H", "-o", "value", f"org.xvmstore:freed-{one['lun']}", "tank/xvm")
    assert freed.stdout.strip().isdigit()
    assert 0 == illumos.xvm("volume", "destroy", f"{guest}/b", config=config).exit


def test_what_was_there_before_is_never_destroyed(node: LiveNode, guest: str) -> None:
    """A filesystem or a zvol of somebody's in the place of a guest's dataset outlives every command for that guest."""
    node.xvm("node", "setup", "--apply")
    node.on_node("zfs", "create", f"tank/xvm/{guest}")
    node.on_node("zfs", "create", "-V", "64m", f"tank/xvm/{guest}z")
    try:
        said = [
            node.xvm(*words.split()).exit
            for words in (
                f"volume destroy {guest}/root",
                f"volume destroy {guest}z/root --force --snapshots",
                f"volume create {guest}/root --size 1G",
                f"volume destroy {guest}/root",
            )
        ]
        assert [1, 1, 0, 0] == said
        there = node.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank/xvm").stdout.split()
        assert {f"tank/xvm/{guest}", f"tank/xvm/{guest}z"} <= set(there)
    finally:
        node.on_node("zfs", "destroy", f"tank/xvm/{guest}")
        node.on_node("zfs", "destroy", f"tank/xvm/{guest}z")


def test_a_copy_that_claims_the_lu_of_its_original(illumos: LiveNode, guest: str) -> None:
    """As after zfs send -R: destroying the copy would take the original's LU from under its guest."""
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    copy = f"tank/xvm/{guest}/copy"
    illumos.on_node("zfs", "create", "-V", "1G", copy)
    for name in ("guid", "target", "lun", "serial", "layout", "state"):
        value = illumos.on_node(
            "zfs", "get", "-H", "-o", "value", f"org.xvmstore:{name}", made["dataset"]
        ).stdout.strip()
        illumos.on_node("zfs", "set", f"org.xvmstore:{name}={value}", copy)

    said = [
        illumos.xvm(*words.split())
        for words in (
            f"volume destroy {guest}/copy --force",
            f"lun unexport {guest}/copy --force",
            f"volume rename {guest}/copy {guest}/other",
            f"volume resize {guest}/copy --size 2G",
        )
    ]

    assert [1] * 4 == [one.exit for one in said]
    assert all("is on another volume" in one.err for one in said)
    assert illumos.xvm("volume", "show", f"{guest}/root", "--json").json["exported"]
    illumos.on_node("zfs", "destroy", copy)


def test_a_volume_keeps_its_layout(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """With another layout configured it is left alone, and the message says which one it was made in."""
    config = tmp_path / "config.toml"
    shared = 'layout = "shared-target"\ntarget = "iqn.2026-11.org.xvmstore:shared"'
    config.write_text(illumos.config.read_text().replace('layout = "target-per-volume"', shared))
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")

    said = illumos.xvm("volume", "destroy", f"{guest}/root", "--force", config=config)

    assert (1, True) == (said.exit, 'was made with layout = "target-per-volume"' in said.err)
    assert illumos.xvm("volume", "show", f"{guest}/root", "--json").json["exported"]


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


def test_a_target_that_asks_for_no_chap(illumos: LiveNode, guest: str) -> None:
    """It is reported, and an export puts it right."""
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    illumos.on_node("itadm", "modify-target", "-a", "none", made["target"])

    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    fixed = illumos.xvm("lun", "export", f"{guest}/root", "--json")

    assert ["its target asks for no CHAP (auth none), though xen1 is to use it"] == shown["trouble"]
    assert (0, []) == (fixed.exit, fixed.json["trouble"])
