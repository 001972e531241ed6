"""The programs of the node: from an argument list to an answer. The caller saves the node afterwards."""

from collections.abc import Mapping, Sequence
from posixpath import basename
from typing import Protocol

from embedded import itadm, kstat, sbdadm, smf, stmfadm, zfs, zpool
from embedded.answer import Answer
from embedded.model import CONDITIONS, Node


class Program(Protocol):
    """One emulated program; ``args`` come without its name."""

    def __call__(self, node: Node, args: Sequence[str], *, now: float) -> Answer:
        """Change the node and say what the program printed."""
        ...


_PROGRAMS: Mapping[str, Program] = {
    "zfs": zfs.run,
    "zpool": zpool.run,
    "stmfadm": stmfadm.run,
    "sbdadm": sbdadm.run,
    "itadm": itadm.run,
    "svcs": smf.svcs,
    "svcadm": smf.svcadm,
    "kstat": kstat.run,
}
NAMES: frozenset[str] = frozenset(_PROGRAMS)

_READING = {"zfs": frozenset({"list", "get", "holds"}), "zpool": frozenset({"list", "status", "get", "iostat"})}


def run(node: Node, argv: Sequence[str], *, now: float) -> Answer:
    """Run one command line. ``now`` is seconds since the epoch: creation times and new GUIDs come from it."""
    unknown = node.conditions - CONDITIONS.keys()
    if unknown:
        raise ValueError(f"no such conditions: {', '.join(sorted(unknown))}")
    name = basename(argv[0]) if argv else ""
    program = _PROGRAMS.get(name)
    if program is None:
        return Answer(stderr=f"sh: {name}: not found\n", exit=127)
    return program(node, argv[1:], now=now)


def changes(argv: Sequence[str]) -> bool:
    """Whether the command line could change the node's state. May say yes for one that does not."""
    name = basename(argv[0]) if argv else ""
    if name not in _PROGRAMS or name in {"svcs", "kstat"}:
        return False
    subcommand = argv[1].lower() if len(argv) > 1 else ""
    if name in {"stmfadm", "sbdadm", "itadm"}:
        return bool(subcommand) and not subcommand.startswith(("list-", "-"))
    return subcommand not in _READING.get(name, frozenset())
