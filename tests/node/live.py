"""An embedded node in a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedded.initiator import Lun, Session
from tests.contract.node import Node
from xvmstore.results import Volume


class LiveNode(Node):
    """A running embedded node."""

    initiator = "iqn.2026-11.org.xvmstore:xen1"

    def __init__(self, directory: Path, flavour: str, process: subprocess.Popen[str]) -> None:
        self.directory, self.flavour, self.process = directory, flavour, process
        self.platform = f"embedded {flavour}"
        self.config = directory / "config.toml"
        self.secret = (directory / "chap" / "xen1.secret").read_text().strip()

    def on_node(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of the node's own commands, not over SSH."""
        path = f"{self.directory / 'bin'}:/usr/bin:/bin"
        return subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False)

    def execs(self) -> list[dict[str, Any]]:
        """Every SSH exec the node has served."""
        return [json.loads(line) for line in (self.directory / "exec.log").read_text().splitlines()]

    def faults(self, text: str) -> None:
        """What is to go wrong from now on; "" for nothing."""
        # A new file each time: the node looks at the inode, and counts calls anew.
        fresh = self.directory / "faults.new"
        fresh.write_text(text)
        fresh.replace(self.directory / "faults.toml")

    def units(self) -> dict[str, str]:
        """Data file by GUID, of every LU that is registered or remembered."""
        if self.flavour == "b111":
            rows = [line.split() for line in self.on_node("sbdadm", "list-lu").stdout.splitlines()]
            return {row[0].upper(): row[2] for row in rows if len(row) == 3 and row[2].startswith("/")}
        found: dict[str, str] = {}
        guid = ""
        for line in self.on_node("stmfadm", "list-lu", "-v").stdout.splitlines():
            if line.startswith("LU Name: "):
                guid = line.split()[-1]
                found[guid] = "unregistered"
            elif line.strip().startswith("Data File"):
                found[guid] = line.split(": ", 1)[1]
        return found

    def views(self, guid: str) -> str:
        """``list-view`` of one LU."""
        return self.on_node("stmfadm", "list-view", "-l", guid).stdout

    def targets(self) -> list[str]:
        """All targets."""
        lines = self.on_node("stmfadm", "list-target").stdout.splitlines()
        return [line.removeprefix("Target: ") for line in lines]

    def state(self) -> tuple[str, ...]:
        """Datasets, and COMSTAR's listings of everything."""
        everything = ("zfs get -Hp -r -o name,property,value all tank", "stmfadm list-lu -v", "stmfadm list-hg -v",
                      "stmfadm list-tg -v", "itadm list-target -v", "itadm list-initiator")  # fmt: skip
        views = tuple(self.views(guid) for guid in self.units())
        return (*(self.on_node(*command.split()).stdout for command in everything), *views)

    def ask_no_chap(self, target: str) -> None:
        """As an admin might."""
        self.on_node("itadm", "modify-target", "-a", "none", target)

    def portal(self, made: dict[str, Any]) -> str:
        """On loopback."""
        return str(made["portals"][0])

    def orphans(self, volumes: Sequence[Volume]) -> list[str]:
        """Target groups too; the shared target of b111 belongs to no volume."""
        left = super().orphans(volumes)
        if self.flavour == "b111":
            return [one for one in left if not one.startswith("target ")]
        groups = self.on_node("stmfadm", "list-tg").stdout.splitlines()
        known = {one.target for one in volumes}
        return left + [line for line in groups if line.removeprefix("Target Group: ") not in known]

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


class LiveNodeOfDaemon(LiveNode):
    """A running embedded node with iscsitgtd. What nobody has logged in to has no GUID, so it goes by its target."""

    grows_in_use = False

    def after_first_login(self, made: dict[str, Any]) -> dict[str, Any]:
        """iscsitgtd makes up the GUID when somebody looks at the LU."""
        login = {"initiator": self.initiator, "chap_user": "xen1", "chap_secret": self.secret}
        with Session(Lun(self.portal(made), made["target"], made["lun"], **login)) as session:
            session.capacity()
        shown: dict[str, Any] = self.xvm("volume", "show", made["name"], "--json").json
        return made | shown

    def _rows(self) -> list[tuple[str, str]]:
        """The indented lines of all targets, as label and value."""
        lines = self.on_node("iscsitadm", "list", "target", "-v").stdout.splitlines()
        return [(label.strip(), value) for label, _, value in (line.partition(": ") for line in lines)]

    def units(self) -> dict[str, str]:
        """Device by GUID."""
        found: dict[str, str] = {}
        name = guid = ""
        for label, value in self._rows():
            name = value if label == "Target" else name
            guid = value.upper() if label == "GUID" else guid
            if label == "Backing store":
                found[guid if guid != "0" else f"0 ({name})"] = value
        return found

    def targets(self) -> list[str]:
        """Their iSCSI names."""
        lines = self.on_node("iscsitadm", "list", "target").stdout.splitlines()
        return [line.partition("iSCSI Name: ")[2] for line in lines if "iSCSI Name: " in line]

    def state(self) -> tuple[str, ...]:
        """Datasets, and what the daemon lists."""
        everything = ("zfs get -Hp -r -o name,property,value all tank", "iscsitadm list target -v",
                      "iscsitadm list initiator -v", "iscsitadm list tpgt -v", "iscsitadm show admin")  # fmt: skip
        return tuple(self.on_node(*command.split()).stdout for command in everything)

    def ask_no_chap(self, target: str) -> None:
        """The daemon asks those for CHAP who have a secret: forget it, for all targets."""
        self.on_node("iscsitadm", "delete", "initiator", "-A", "xen1")
        self.on_node("iscsitadm", "create", "initiator", "-n", self.initiator, "xen1")

    def orphans(self, volumes: Sequence[Volume]) -> list[str]:
        """There are no groups that could be left."""
        return Node.orphans(self, volumes)


def _its_own_shell(directory: Path, flavour: str) -> None:
    """What an illumos node has as sh is ksh93, whose last part of a pipeline is no process of its own."""
    ksh, there = shutil.which("ksh93"), directory / "bin" / "sh"
    if flavour == "illumos" and ksh and not there.exists():
        there.symlink_to(ksh)


def start(directory: Path, flavour: str) -> LiveNode:
    """Start a node and wait until it is ready."""
    argv = [sys.executable, "-m", "xvmstore", "embedded", "start", "--dir", str(directory), "--flavour", flavour]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the embedded node did not start"
    assert set(json.loads(line)) == {"config", "ssh_port", "iscsi_port"}
    _its_own_shell(directory, flavour)
    return (LiveNodeOfDaemon if flavour == "b85" else LiveNode)(directory, flavour, process)


def upgraded(node: LiveNode, flavour: str) -> LiveNode:
    """The node after its system was replaced by another release: the pool stays.

    COMSTAR is installed and not enabled, as on any new system. iscsitgtd, where it is there still, keeps what it knows,
    and runs if it ran.
    """
    node.stop()
    for name, key in (("state.json", "flavour_name"), ("server.json", "flavour")):
        file = node.directory / name
        facts = json.loads(file.read_text())
        facts[key] = flavour
        if "services" in facts:
            off = dict.fromkeys(("svc:/system/stmf:default", "svc:/network/iscsi/target:default"), "disabled")
            both = flavour == "b134"
            old = {service: state["state"] for service, state in facts["services"].items() if both}
            facts["services"] = {service: {"state": state, "since": 0.0} for service, state in (off | old).items()}
            facts["daemon"] = facts["daemon"] if both else {}
        file.write_text(json.dumps(facts))
    config = node.config.read_text()
    node.config.write_text(config.replace('"iscsitadm"', '"comstar"').replace('"b85"', f'"{flavour}"'))
    return start(node.directory, flavour)
