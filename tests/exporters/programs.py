"""Runs a collector's program for the shell here, with stand-ins for the node's commands."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from exporters.collector import Collector


def run(
    collector: Collector, folder: Path, commands: Mapping[str, str], *, query: int = 0, words: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """What a query prints. ``commands`` are bodies of shell scripts; ``words`` are further arguments of the program."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    for name, body in commands.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    argv = [*map(str, collector.queries[query].argv), *words]
    env = {"PATH": f"{bin_}:/usr/bin:/bin:/usr/sbin:/sbin", "xvm_become": "", "LC_ALL": "C"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, env=env)
