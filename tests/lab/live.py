"""The lab's storage node and dom0 as the tests use them."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from iscsi import lio_look
from iscsi.lio_rows import Rows, parse_look
from tests.contract.node import Node
from vagrant.lab.machine import Machine
from vagrant.lab.run import Lab

# Also what takes hours, or shows little that the rest does not.
THOROUGH = bool(os.environ.get("XVMSTORE_LAB_THOROUGH"))
CONFIG = """\
[nodes.lab]
host = "storage"
transport = "openssh"
ssh_options = [{options}]
ssh_config = "{ssh_config}"
known_hosts = "{known_hosts}"
backend = "lio"
base = "tank/xvm"
portals = ["10.77.0.1:3260"]
default_dom0s = ["xen1"]

[dom0s.xen1]
host = "dom0"
transport = "openssh"
ssh_options = [{dom0_options}]
ssh_config = "{ssh_config}"
known_hosts = "{known_hosts}"
initiator = "{initiator}"
chap_user = "xen1"
chap_secret_file = "{secret}"
"""


class LabNode(Node):
    """The storage machine, with a configuration in a folder.

    The system's ssh shares one connection among all the tests' commands, which saves minutes under emulation; what
    matters of the usual transport is tested with it: see ``usual_transport``.
    """

    platform = "lab"
    # The name the dom0's image has.
    initiator = "iqn.2026-11.org.xvmstore:dom0"
    secret = "xen1-secret-of-the-lab"

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.config = folder / "config.toml"
        self.config.write_text(
            CONFIG.format(
                ssh_config=lab.ssh_config,
                known_hosts=lab.folder / "known_hosts",
                options=", ".join(f'"{option}"' for option in lab.ssh_options(lab.storage)),
                dom0_options=", ".join(f'"{option}"' for option in lab.ssh_options(lab.dom0)),
                initiator=self.initiator,
                secret=folder / "xen1.secret",
            )
        )
        (folder / "xen1.secret").write_text(self.secret + "\n")
        (folder / "xen1.secret").chmod(0o600)

    def usual_transport(self, folder: Path) -> Path:
        """The configuration with what a user has who sets nothing."""
        return self.variant(folder, node='transport = "fabric"\nssh_options = []')

    def on_node(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Over SSH, as root."""
        return self.on(self.lab.storage, *argv)

    def shell(self, script: str) -> str:
        """What a script prints on the storage machine."""
        return self.lab.ssh(self.lab.storage, script)

    def on(self, machine: Machine, *argv: str) -> subprocess.CompletedProcess[str]:
        """The same on either machine."""
        command = [*self.lab.ssh_command(machine), shlex.join(argv)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def _rows(self) -> Rows:
        return parse_look(self.on_node(*map(str, lio_look.look())).stdout)

    def units(self) -> dict[str, str]:
        """Every backstore of LIO."""
        return {unit.guid: unit.path or "" for unit in self._rows().units}

    def targets(self) -> list[str]:
        """What configfs has."""
        return [target.name for target in self._rows().targets()]

    def state(self) -> tuple[str, ...]:
        """Datasets, all of LIO's configfs that says what is exported to whom, and what the next boot would restore."""
        datasets = self.on_node("zfs", "get", "-Hp", "-r", "-o", "name,property,value", "all", "tank/xvm").stdout
        # What ZFS counts by itself while nothing is changed.
        counted = ("used", "available", "snapshots_changed", "compressratio", "written", "logicalused")
        kept = "\n".join(line for line in datasets.splitlines() if not line.split("\t")[1].startswith(counted))
        saved = self.on_node("cat", "/etc/rtslib-fb-target/saveconfig.json").stdout
        return kept, self.on_node(*map(str, lio_look.look())).stdout, saved

    def ask_no_chap(self, target: str) -> None:
        """As an admin might, with targetcli."""
        self.shell(f"targetcli /iscsi/{target}/tpg1 set attribute authentication=0")

    def portal(self, made: dict[str, Any]) -> str:
        """Through the loopback port that QEMU forwards."""
        return f"127.0.0.1:{self.lab.port(self.lab.storage, 3260)}"


class Dom0:
    """The Xen machine as an initiator: the kernel's own, driven with iscsiadm."""

    def __init__(self, node: LabNode) -> None:
        self._node = node

    def run(self, script: str, *, seconds: float = 180) -> str:
        """What a script prints on dom0."""
        return self._node.lab.ssh(self._node.lab.dom0, script, seconds=seconds)

    def login(self, made: dict[str, Any], **own: str) -> str:
        """Log in to a volume; the device's path as the disk line names it. ``own``: what the target must prove."""
        node = f"iscsiadm -m node -T {made['target']} -p {made['portals'][0]}"
        accounts = {"authmethod": "CHAP", "username": "xen1", "password": self._node.secret, **own}
        account = "".join(f"{node} -o update -n node.session.auth.{k} -v {v}\n" for k, v in accounts.items())
        device = str(made["disk_by_path"]["xl"]).split("target=")[1]
        self.run(f"set -e\n{node} -o new\n{account}{node} --login\nudevadm settle\ntest -b {device}")
        return device

    def logout(self, made: dict[str, Any]) -> None:
        """Log out, and forget the record."""
        node = f"iscsiadm -m node -T {made['target']} -p {made['portals'][0]}"
        self.run(f"{node} -u && {node} -o delete")

    def traces(self, made: dict[str, Any]) -> dict[str, str]:
        """What dom0 has of a volume: vbds, sessions, uses of the script, SCSI disks, node records. Empty is clean."""
        guid, target = made["guid"].lower(), made["target"]
        looks = {
            "vbds": f"xenstore-ls -f /local/domain/0/backend/vbd 2>/dev/null | grep {guid} || :",
            "sessions": f"grep -lx '{target}' /sys/class/iscsi_session/*/targetname 2>/dev/null || :",
            "uses": f"grep -l '^id={guid}' /var/run/xvmstore/use_* 2>/dev/null || :",
            "disks": f"grep -lx 'naa.{guid}' /sys/class/scsi_device/*/device/wwid 2>/dev/null || :",
            "records": f"ls -d /etc/iscsi/nodes/{target} 2>/dev/null || :",
        }
        said = self.run("\n".join(f"echo '{name} '$({look})" for name, look in looks.items()))
        rows = (line.partition(" ") for line in said.splitlines())
        return {name: value.strip() for name, _, value in rows if value.strip()}

    def size(self, device: str) -> int:
        """What the kernel thinks a device has, in bytes."""
        return int(self.run(f"blockdev --getsize64 {device}"))

    def fill(self, device: str, *, seed: int, mib: int = 4, at: int = 0) -> str:
        """Write some MiB that follow from a seed, past the cache, and return their sum."""
        data = f"import random, sys; sys.stdout.buffer.write(random.Random({seed}).randbytes({mib} << 20))"
        options = f"bs=1M count={mib} seek={at} iflag=fullblock oflag=direct conv=fsync"
        self.run(f"python3 -c '{data}' | dd of={device} {options} 2>/dev/null")
        return self.sum(device, mib=mib, at=at)

    def sum(self, device: str, *, mib: int = 4, at: int = 0) -> str:
        """The sum of some MiB, read past the cache."""
        script = f"dd if={device} bs=1M count={mib} skip={at} iflag=direct 2>/dev/null | sha256sum"
        return self.run(script).split()[0]
