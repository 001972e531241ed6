"""A storage node as the contract tests see it: the command line run against it, and a look at it behind its back."""

import contextlib
import io
import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.proofs import RECORDER
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


class Node(ABC):
    """A node with the pool tank, the base dataset tank/xvm, and one dom0, xen1, that uses CHAP."""

    # Which column of docs/platforms.md it is.
    platform: str
    config: Path
    initiator: str
    secret: str
    # An LU may change its size while somebody is logged in.
    grows_in_use = True

    @abstractmethod
    def on_node(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of the node's own commands."""

    @abstractmethod
    def units(self) -> dict[str, str]:
        """Device by GUID, of every LU there is, or is remembered."""

    @abstractmethod
    def targets(self) -> list[str]:
        """All targets."""

    @abstractmethod
    def state(self) -> tuple[str, ...]:
        """All that can be read of datasets and exports: the same before and after what changes nothing."""

    @abstractmethod
    def ask_no_chap(self, target: str) -> None:
        """Set a target up so that it lets in whoever uses a known initiator's name."""

    @abstractmethod
    def portal(self, made: dict[str, Any]) -> str:
        """Where this machine reaches a volume's target."""

    def after_first_login(self, made: dict[str, Any]) -> dict[str, Any]:
        """The volume once somebody has logged in: some nodes give an LU its GUID only then."""
        return made

    def xvm(self, *arguments: str, config: Path | None = None) -> Said:
        """Run the command line in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(["-c", str(config or self.config), *arguments])
        if code == 0:
            RECORDER.succeeded(self.platform, arguments)
        return Said(code, out.getvalue(), err.getvalue())

    def variant(self, folder: Path, *, node: str = "", tables: str = "") -> Path:
        """The configuration with lines of its node set otherwise, and with more tables."""
        head, table, rest = self.config.read_text().partition("[nodes.")
        name, *lines = rest.splitlines()
        end = next((index for index, line in enumerate(lines) if line.startswith("[")), len(lines))
        keys = tuple(line.split("=")[0] for line in node.splitlines())
        kept = [line for line in lines[:end] if not (keys and line.startswith(keys))]
        path = folder / "config.toml"
        path.write_text("\n".join([head + table + name, node, *kept, *lines[end:], tables, ""]))
        return path

    def zvols(self) -> list[str]:
        """All zvols."""
        return self.on_node("zfs", "list", "-H", "-t", "volume", "-o", "name", "-r", "tank").stdout.split()

    def orphans(self, volumes: Sequence[Volume]) -> list[str]:
        """What belongs to none of the finished volumes: LUs, targets, zvols."""
        datasets, known = {one.dataset for one in volumes}, {one.target for one in volumes}
        left = [f"LU {guid} on {path}" for guid, path in self.units().items() if not path.endswith(tuple(datasets))]
        left += [f"target {name}" for name in self.targets() if name not in known]
        left += [f"zvol {name}" for name in self.zvols() if name not in datasets]
        left += [f"{one.name} is {one.state}" for one in volumes if one.state != "ready"]
        return left

    def empty_guests(self) -> list[str]:
        """Guests' datasets without a disk."""
        names = self.on_node(
            "zfs", "list", "-H", "-t", "filesystem,volume", "-o", "name", "-r", "tank/xvm"
        ).stdout.split()
        guests = [name for name in names if name.count("/") == 2 and ":" not in name]
        return [guest for guest in guests if not any(name.startswith(guest + "/") for name in names)]
