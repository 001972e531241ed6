"""Puts the stand-ins where a node's sessions look first."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.node.old_tools import arguments

_ROOT = Path(__file__).parents[3]
_LAUNCHER = """\
#!{python} -SE
import sys

sys.path.insert(0, {root!r})
from tests.node.old_tools.program import main

main({log!r})
"""
# /usr/xpg4/bin of Solaris 10 and later, as far as its tools are among ours.
_XPG4 = "awk cp date egrep expr fgrep grep id ls mv od rm sed sh sort tail tr"


@dataclass(frozen=True)
class OldTools:
    """Those of one directory."""

    directory: Path
    log: Path

    def refused(self) -> list[str]:
        """What they would not do, in the order it was asked for."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines]
        return [f"{one['tool']} {one['words']}: {one['reason']}" for one in found]

    def xpg4_first(self) -> None:
        """As if /usr/xpg4/bin came before them."""
        for name in _XPG4.split():
            link = self.directory / name
            link.unlink()
            link.symlink_to(f"/usr/bin/{name}")


def install(directory: Path, log: Path) -> OldTools:
    """Beside what is there already, which stays; what Solaris has not is not found there either."""
    launcher = directory / "old-tool"
    launcher.write_text(_LAUNCHER.format(python=os.path.realpath(sys.executable), root=str(_ROOT), log=str(log)))
    launcher.chmod(0o755)
    others = {entry.name for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin") for entry in os.scandir(folder)}
    for name in arguments.NAMES | others:
        link = directory / name
        if not os.path.lexists(link):
            link.symlink_to(launcher.name)
    return OldTools(directory, log)
