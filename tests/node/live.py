"""An embedded node in a process of its own, and the command line run against it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xvmstore import cli
from xvmstore.results import Volume


@dataclass(frozen=True)
class Said:
    """What one run of the command line printed, and its exit code."""

    exit: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


@dataclass
class LiveNode:
    """A running embedded node."""

    directory: Path
    flavour: str
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.directory / "config.toml"

    @property
    def secret(self) -> str:
        """The CHAP secret of dom0 xen1."""
        return (self.directory / "chap" / "xen1.secret").read_text().strip()

    def xvm(self, *arguments: str, config: Path | None = None) -> Said:
        """Run the command line in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(["-c", str(config or self.config), *arguments])
        return Said(code, out.getvalue(), err.getvalue())

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

    def zvols(self) -> list[str]:
        """All zvols."""
        return self.on_node("zfs", "list", "-H", "-t", "volume", "-o", "name", "-r", "tank").stdout.split()

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

    def orphans(self, volumes: Sequence[Volume]) -> list[str]:
        """What belongs to none of the finished volumes: LUs, views, targets, target groups, zvols."""
        datasets = {one.dataset for one in volumes}
        known = {one.target for one in volumes}
        left = [f"LU {guid} on {path}" for guid, path in self.units().items() if path[15:] not in datasets]
        if self.flavour == "illumos":
            left += [f"target {name}" for name in self.targets() if name not in known]
            groups = self.on_node("stmfadm", "list-tg").stdout.splitlines()
            left += [line for line in groups if line.removeprefix("Target Group: ") not in known]
        left += [f"zvol {name}" for name in self.zvols() if name not in datasets]
        left += [f"{one.name} is {one.state}" for one in volumes if one.state != "ready"]
        return left

    def empty_guests(self) -> list[str]:
        """Guests' datasets without a disk."""
        names = self.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank/xvm").stdout.split()
        guests = [name for name in names if name.count("/") == 2]
        return [guest for guest in guests if not any(name.startswith(guest + "/") for name in names)]

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


def start(directory: Path, flavour: str) -> LiveNode:
    """Start a node and wait until it is ready."""
    argv = [sys.executable, "-m", "xvmstore", "embedded", "start", "--dir", str(directory), "--flavour", flavour]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the embedded node did not start"
    assert set(json.loads(line)) == {"config", "ssh_port", "iscsi_port"}
    return LiveNode(directory, flavour, process)
