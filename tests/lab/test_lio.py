"""LIO's own ways: what else is configured there, what the next boot restores, and one admin beside another."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iscsi import lio_programs
from tests.lab.live import LabNode

SAVED = "/etc/rtslib-fb-target/saveconfig.json"
THEIRS = "iqn.2003-01.org.linux-iscsi.storage:theirs"


def _create(node: LabNode, name: str) -> dict[str, Any]:
    said = node.xvm("volume", "create", name, "--size", "1G", "--json")
    assert 0 == said.exit, said.err
    made: dict[str, Any] = said.json
    return made


def _saved(node: LabNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.shell(f"cat {SAVED}"))
    return found


def test_somebody_elses_targets_stay(node: LabNode, guest: str) -> None:
    """Listed, with their size; untouched by whatever is done to ours, also while they do not run but are only saved."""
    node.shell(
        "truncate -s 16M /var/lib/disk.img && targetcli /backstores/fileio create theirs /var/lib/disk.img "
        f"&& targetcli /iscsi create {THEIRS} && targetcli /iscsi/{THEIRS}/tpg1/luns create /backstores/fileio/theirs "
        "&& targetcli saveconfig"
    )
    made = _create(node, f"{guest}/root")
    listed = {one["path"]: one for one in node.xvm("lun", "list", "--json").json}
    assert (16 << 20, None) == (listed["/var/lib/disk.img"]["size"], listed["/var/lib/disk.img"]["volume"])
    # As after a boot that could not restore it.
    node.shell(f"targetcli /iscsi delete {THEIRS} && targetcli /backstores/fileio delete theirs")
    before = _saved(node)
    _create(node, f"{guest}/data")
    assert 0 == node.xvm("volume", "destroy", f"{guest}/data").exit

    assert before == _saved(node)
    assert {made["target"]} == {one["wwn"] for one in before["targets"]} - {THEIRS}


def test_a_boot_without_the_pool(node: LabNode, guest: str) -> None:
    """LUNs that could not be restored are not forgotten by the next save of another; they come back with an export."""
    made = _create(node, f"{guest}/root")
    node.shell("systemctl stop rtslib-fb-targetctl && zpool export tank && systemctl start rtslib-fb-targetctl")
    node.shell("zpool import tank")
    shown = node.xvm("volume", "show", f"{guest}/root", "--json").json
    checked = node.xvm("node", "check", "--json")
    _create(node, f"{guest}/data")
    back = node.xvm("lun", "export", f"{guest}/root", "--json")
    for volume in node.xvm("volume", "list", "--json").json:
        assert 0 == node.xvm("lun", "export", volume["name"]).exit

    assert (False, ["xen1"]) == (shown["exported"], shown["dom0s"])
    assert 1 == checked.exit
    (bad,) = [one for one in checked.json if not one["ok"]]
    assert ("saved configuration", True) == (
        bad["what"],
        f"xvm-{made['serial']} is saved, but not served" in bad["found"],
    )
    assert (0, True, made["guid"], made["lun"]) == (
        back.exit, back.json["exported"], back.json["guid"], back.json["lun"]
    )  # fmt: skip
    assert f"xvm-{made['serial']}" in {one["name"] for one in _saved(node)["storage_objects"]}


def test_four_at_once(node: LabNode) -> None:
    """Four processes, two guests: four LUNs, and all four will come back at boot."""
    names = [f"many{number % 2}/disk{number}" for number in range(4)]
    argv = [sys.executable, "-m", "xvmstore", "-c", str(node.config), "--json", "volume", "create", "--size", "1G"]
    running = [subprocess.Popen([*argv, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in names]
    said = [process.communicate(timeout=300) for process in running]

    assert [(0, b"")] * 4 == [(process.returncode, err) for process, (_, err) in zip(running, said, strict=True)]
    made = [json.loads(out) for out, _ in said]
    assert 4 == len({one["guid"] for one in made}) == len({one["target"] for one in made})
    assert {one["target"] for one in made} <= {one["wwn"] for one in _saved(node)["targets"]}
    assert {0} == {node.xvm("volume", "destroy", name).exit for name in names}


def test_what_is_saved_is_for_root_alone(node: LabNode, guest: str) -> None:
    """It has CHAP secrets; and the secret is in no process's arguments, which this file is the proof of."""
    _create(node, f"{guest}/root")
    assert "600 root" == node.shell(f"stat -c '%a %U' {SAVED}").strip()
    assert node.secret in node.shell(f"cat {SAVED}")


def test_a_damaged_file_is_not_written_over(node: LabNode, guest: str) -> None:
    """The rest of it may be all that is known of somebody's LUNs: refused with one line, and nothing is left."""
    _create(node, f"{guest}/root")
    node.shell(f"cp {SAVED} /root/kept && head -c 100 /root/kept >{SAVED}")
    try:
        said = node.xvm("volume", "create", f"{guest}/data", "--size", "1G")
        checked = node.xvm("node", "check")
    finally:
        node.shell(f"mv /root/kept {SAVED}")

    assert (1, 1, True) == (said.exit, said.err.count("\n"), "is damaged" in said.err)
    assert (1, True) == (checked.exit, "is damaged" in checked.out)
    assert f"tank/xvm/{guest}/data" not in node.zvols()


def test_targetcli_is_open(node: LabNode, guest: str) -> None:
    """It writes the same file when it is left: a change waits for it some time, then says so and leaves nothing."""
    holder = "flock /var/run/targetcli.lock sleep 120 >/dev/null 2>&1 & echo $!"
    pid = node.shell(holder).strip()
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    node.shell(f"pkill -P {pid}; kill {pid}; true")

    assert (1, 1, True) == (said.exit, said.err.count("\n"), "targetcli is open" in said.err)
    assert f"tank/xvm/{guest}/root" not in node.zvols()


def test_a_target_open_to_everybody(node: LabNode, guest: str) -> None:
    """generate_node_acls, set by hand, is trouble; an export puts it right."""
    made = _create(node, f"{guest}/root")
    node.shell(f"targetcli /iscsi/{made['target']}/tpg1 set attribute generate_node_acls=1")
    shown = node.xvm("volume", "show", f"{guest}/root", "--json").json
    fixed = node.xvm("lun", "export", f"{guest}/root", "--json")

    assert any("every host may see it" in text for text in shown["trouble"])
    assert (0, [], ["xen1"]) == (fixed.exit, fixed.json["trouble"], fixed.json["dom0s"])


def test_a_new_secret(node: LabNode, guest: str) -> None:
    """node setup --apply sets it on every target of ours, now and for the next boot."""
    made = _create(node, f"{guest}/root")
    file = node.config.parent / "xen1.secret"
    file.write_text("another-secret-1\n")
    try:
        said = node.xvm("node", "setup", "--apply")
        _create(node, f"{guest}/data")
    finally:
        file.write_text(node.secret + "\n")

    assert 0 == said.exit, said.err
    acl = f"/sys/kernel/config/target/iscsi/{made['target']}/tpgt_1/acls/{node.initiator}"
    assert "another-secret-1" == node.shell(f"cat {acl}/auth/password").strip()
    (saved,) = [one for one in _saved(node)["targets"] if one["wwn"] == made["target"]]
    assert "another-secret-1" == saved["tpgs"][0]["node_acls"][0]["chap_password"]


def test_node_check_and_setup(node: LabNode) -> None:
    """All well as it is; a boot that would not restore is found, and setup --apply mends it."""
    well = node.xvm("node", "check", "--json")
    node.shell(
        "systemctl disable rtslib-fb-targetctl.service; rm -r /etc/systemd/system/rtslib-fb-targetctl.service.d; "
        "systemctl daemon-reload"
    )
    bad = node.xvm("node", "check", "--json")
    assert 0 == node.xvm("node", "setup", "--apply").exit
    mended = node.xvm("node", "check", "--json")

    assert [] == [one for one in well.json if not one["ok"]]
    assert ["LUNs come back at boot", "after the zvols"] == [one["what"] for one in bad.json if not one["ok"]]
    assert (0, 1, 0) == (well.exit, bad.exit, mended.exit)


def test_write_through(node: LabNode, guest: str, tmp_path: Path) -> None:
    """A guest that never flushes loses nothing: ZFS writes through, unless a cache is configured or sync was chosen."""
    _create(node, f"{guest}/safe")
    cached = node.variant(tmp_path, node="write_cache = true")
    assert 0 == node.xvm("volume", "create", f"{guest}/fast", "--size", "1G", config=cached).exit
    assert 0 == node.xvm("volume", "create", f"{guest}/mine", "--size", "1G", "-o", "sync=disabled").exit

    disks = [f"tank/xvm/{guest}/{disk}" for disk in ("safe", "fast", "mine")]
    found = [node.shell(f"zfs get -H -o value sync {disk}").strip() for disk in disks]
    assert ["always", "standard", "disabled"] == found


def test_the_usual_transport(node: LabNode, guest: str, tmp_path: Path) -> None:
    """fabric does the same as the system's ssh, which most tests here use."""
    config = node.usual_transport(tmp_path)
    said = [
        node.xvm(*words.split(), config=config)
        for words in (
            "node check",
            f"volume create {guest}/root --size 1G",
            "volume list",
            f"volume destroy {guest}/root",
        )
    ]
    assert [(0, "")] * 4 == [(one.exit, one.err) for one in said]


SHARED = "iqn.2026-11.org.xvmstore:shared"


@pytest.fixture
def shared(node: LabNode, tmp_path: Path) -> Path:
    """The configuration with one target for all."""
    return node.variant(tmp_path, node=f'layout = "shared-target"\ntarget = "{SHARED}"')


def test_another_ones_lun_of_a_shared_target(node: LabNode, shared: Path, guest: str) -> None:
    """A LUN that somebody gave to another LU by hand, of the number recorded for ours, outlives all we do to ours."""
    made = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json", config=shared).json
    assert 0 == node.xvm("lun", "unexport", f"{guest}/root", config=shared).exit
    tpg = f"/iscsi/{SHARED}/tpg1"
    node.shell(
        f"set -e; truncate -s 16M /var/lib/other-{guest}.img\n"
        f"targetcli /backstores/fileio create other-{guest} /var/lib/other-{guest}.img\n"
        f"targetcli {tpg}/luns create /backstores/fileio/other-{guest} lun={made['lun']} add_mapped_luns=false\n"
        f"targetcli {tpg}/acls/{node.initiator} create {made['lun']} {made['lun']} write_protect=1\n"
    )
    mapped = f"/sys/kernel/config/target/iscsi/{SHARED}/tpgt_1/acls/{node.initiator}/lun_{made['lun']}"
    said = [
        node.xvm(*words.split(), config=shared)
        for words in (
            f"lun export {guest}/root",
            f"lun unexport {guest}/root --dom0 xen1 --force",
            f"lun unexport {guest}/root --force",
            f"volume destroy {guest}/root",
        )
    ]

    assert [1, 0, 0, 0] == [min(one.exit, 1) for one in said], [one.err for one in said]
    assert "LUN already in use" in said[0].err
    lun = f"/sys/kernel/config/target/iscsi/{SHARED}/tpgt_1/lun/lun_{made['lun']}"
    assert f"other-{guest}" in node.shell(f"readlink -f {lun}/*")
    assert "1" == node.shell(f"cat {mapped}/write_protect").strip()


def test_a_neighbour_that_a_boot_did_not_restore(node: LabNode, shared: Path, guest: str) -> None:
    """On a shared target too it stays saved, and who may see it, while other volumes there come and go."""
    one = node.xvm("volume", "create", f"{guest}/one", "--size", "1G", "--json", config=shared).json
    node.xvm("volume", "create", f"{guest}/two", "--size", "1G", config=shared)
    name = f"xvm-{one['serial']}"
    tpg = f"/sys/kernel/config/target/iscsi/{SHARED}/tpgt_1"
    # As a boot leaves it that did not find the zvol.
    node.shell(
        f"set -e; rm {tpg}/acls/*/lun_{one['lun']}/lun*; rmdir {tpg}/acls/*/lun_{one['lun']}\n"
        f"rm {tpg}/lun/lun_{one['lun']}/xvm-*; rmdir {tpg}/lun/lun_{one['lun']}\n"
        f"unit=$(echo /sys/kernel/config/target/core/iblock_*/{name}); rmdir $unit ${{unit%/*}}"
    )
    before = _views(node, one["lun"])
    assert 0 == node.xvm("volume", "create", f"{guest}/three", "--size", "1G", config=shared).exit
    assert 0 == node.xvm("volume", "destroy", f"{guest}/two", config=shared).exit

    assert before == _views(node, one["lun"]) != []
    assert name in {unit["name"] for unit in _saved(node)["storage_objects"]}
    checked = node.xvm("node", "check", "--json", config=shared).json
    assert [f"{name} is saved, but not served"] == [found["found"] for found in checked if not found["ok"]]
    assert 0 == node.xvm("lun", "export", f"{guest}/one", config=shared).exit
    assert [] == [found for found in node.xvm("node", "check", "--json", config=shared).json if not found["ok"]]


def _views(node: LabNode, lun: int) -> list[str]:
    (target,) = [one for one in _saved(node)["targets"] if one["wwn"] == SHARED]
    acls = target["tpgs"][0]["node_acls"]
    return [acl["node_wwn"] for acl in acls for view in acl["mapped_luns"] if view["tpg_lun"] == lun]


def test_a_rename_cut_off_on_a_shared_target(node: LabNode, shared: Path, guest: str) -> None:
    """The place it left is no hindrance to others' volumes, and the same command finishes it, for those who saw it."""
    one = node.xvm("volume", "create", f"{guest}/one", "--size", "1G", "--json", config=shared).json
    name = f"xvm-{one['serial']}"
    for argv in (
        lio_programs.unbind_lun(SHARED, str(one["lun"]), name, keep_places=True),
        lio_programs.remove_unit(name),
    ):
        assert 0 == node.on_node(*map(str, argv)).returncode
    other = node.xvm("volume", "create", f"{guest}/two", "--size", "1G", config=shared)
    moved = node.xvm("volume", "rename", f"{guest}/one", f"{guest}/new", "--json", config=shared)

    assert 0 == other.exit, other.err
    assert 0 == moved.exit, moved.err
    assert (True, ["xen1"], []) == (moved.json["exported"], moved.json["dom0s"], moved.json["trouble"])
    (saved,) = [unit["dev"] for unit in _saved(node)["storage_objects"] if unit["name"] == name]
    assert f"/dev/zvol/tank/xvm/{guest}/new" == saved


def test_a_zvol_renamed_under_its_lu(node: LabNode, guest: str) -> None:
    """ZFS allows it: the LU counts by what it is on, and a new volume of the old name is not mixed up with it."""
    _create(node, f"{guest}/root")
    node.shell(f"zfs rename tank/xvm/{guest}/root tank/xvm/{guest}/hand")
    listed = {one["path"] for one in node.xvm("lun", "list", "--json").json}
    checked = node.xvm("node", "check", "--json").json
    refused = node.xvm("volume", "create", f"{guest}/root", "--size", "1G")

    assert f"/dev/zvol/tank/xvm/{guest}/hand" in listed
    assert ["saved configuration"] == [one["what"] for one in checked if not one["ok"]]
    assert (1, True) == (refused.exit, "was its zvol renamed under it?" in refused.err)
    assert f"tank/xvm/{guest}/root" not in node.zvols()
    assert 0 == node.xvm("lun", "unexport", f"{guest}/hand").exit
    assert 0 == node.xvm("lun", "export", f"{guest}/hand").exit
    assert 0 == node.xvm("node", "check").exit


def test_a_base_with_a_blank(node: LabNode, guest: str, tmp_path: Path) -> None:
    """udev writes it otherwise."""
    config = node.variant(tmp_path, node='base = "tank/my guests"')
    said = [
        node.xvm(*words.split(), config=config)
        for words in (f"volume create {guest}/root --size 1G", f"volume destroy {guest}/root")
    ]
    assert [(0, "")] * 2 == [(one.exit, one.err) for one in said]
