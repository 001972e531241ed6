"""The power goes in the middle of an operation: after the boot the same command ends it, and nothing is left over."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.live import THOROUGH, LabNode
from xvmstore import Site


def _start(config: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "xvmstore", "-c", str(config), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _cut_when(node: LabNode, sign: str) -> None:
    """Kill the node's QEMU once a sign of progress shows on it."""
    node.shell(f"i=0; until {sign} || [ $i -gt 3000 ]; do i=$((i+1)); sleep 0.01; done; [ $i -le 3000 ]")
    node.lab.storage.kill()


# What can be seen of a create on its way: the zvol, the LU, what is saved.
SIGNS = {
    "zvol": "zfs list tank/xvm/{guest}/root >/dev/null 2>&1",
    "lu": "grep -q . /sys/kernel/config/target/core/iblock_*/xvm-*/udev_path 2>/dev/null",
    "saved": "grep -q {guest}.root /etc/rtslib-fb-target/saveconfig.json* 2>/dev/null",
}


@pytest.mark.parametrize("sign", SIGNS if THOROUGH else ("saved",))
def test_create(node: LabNode, guest: str, sign: str, tmp_path: Path) -> None:
    """Cut off at any stage: one line and exit 3 or 4 here, a clean pool there, and the same command completes."""
    create = ("volume", "create", f"{guest}/root", "--size", "1G", "--json")
    running = _start(node.usual_transport(tmp_path), *create)
    began = time.monotonic()
    _cut_when(node, SIGNS[sign].format(guest=guest))
    out, err = running.communicate(timeout=60)
    told = f"cut after {time.monotonic() - began:.1f} s at {sign}: exit {running.returncode}: {err}{out}"
    assert running.returncode in {3, 4} or (running.returncode == 0 and sign == "saved"), told
    assert running.returncode == 0 or err.count("\n") == 1, told

    node.lab.boot(node.lab.storage)
    again = node.xvm(*create)

    assert 0 == again.exit, f"{told}; then {again.err}"
    assert (True, ["xen1"]) == (again.json["exported"], again.json["dom0s"]), told
    nothing_is_left_over(node)
    assert 0 == node.xvm("volume", "destroy", f"{guest}/root").exit


def test_destroy(node: LabNode, guest: str, tmp_path: Path) -> None:
    """Cut off once the mark is set: what is left says so, and the same command finishes it."""
    assert 0 == node.xvm("volume", "create", f"{guest}/root", "--size", "1G").exit
    running = _start(node.usual_transport(tmp_path), "volume", "destroy", f"{guest}/root")
    mark = f'test "$(zfs get -H -o value org.xvmstore:state tank/xvm/{guest}/root)" = destroying'
    _cut_when(node, mark)
    running.communicate(timeout=60)

    node.lab.boot(node.lab.storage)
    again = node.xvm("volume", "destroy", f"{guest}/root")

    assert again.exit == 0 or (again.exit == 1 and "there is no volume" in again.err), again.err
    assert [] == node.zvols()
    nothing_is_left_over(node)


def nothing_is_left_over(node: LabNode) -> None:
    """What belongs to no volume, on the node or in what the next boot would restore; and the pool is well."""
    with Site.load(node.config) as site:
        volumes = site.volumes()
        assert [] == node.orphans(volumes)
        assert [()] * len(volumes) == [one.trouble for one in volumes]
    assert [] == node.empty_guests()
    assert "all pools are healthy" in node.shell("zpool status -x")
    assert "errors: No known data errors" in node.shell("zpool status tank")
    saved = json.loads(node.shell("cat /etc/rtslib-fb-target/saveconfig.json"))
    assert sorted(node.targets()) == sorted(one["wwn"] for one in saved["targets"])
    assert [] == [one for one in node.xvm("node", "check", "--json").json if not one["ok"]]
