"""The programs of the node: from an argument list to an answer. The caller saves the node afterwards."""

from collections.abc import Mapping, Sequence
from posixpath import basename
from typing import Protocol

from embedded import dd, iscsitadm, itadm, kstat, sbdadm, smf, stmfadm, zfs, zpool
from embedded.answer import Answer
from embedded.flavour import Flavour
from embedded.model import CONDITIONS, Node


class Program(Protocol):
    """One emulated program; ``args`` come without its name."""

    def __call__(self, node: Node, args: Sequence[str], *, now: float) -> Answer:
        """Change the node and say what the program printed."""
        ...


class AskingProgram(Protocol):
    """A program that takes more than its arguments: ``typed`` is what its stub has read for it."""

    def __call__(self, node: Node, args: Sequence[str], *, now: float, typed: str) -> Answer:
        """Change the node and say what the program printed."""
        ...


_COMMON: Mapping[str, Program] = {
    "zfs": zfs.run,
    "zpool": zpool.run,
    "svcs": smf.svcs,
    "svcadm": smf.svcadm,
    "kstat": kstat.run,
}
# By target program: what is not on a system is no program there.
_PROGRAMS: Mapping[str, Mapping[str, Program]] = {
    "comstar": {"stmfadm": stmfadm.run, "sbdadm": sbdadm.run, "itadm": itadm.run},
    "iscsitgt": {},
}
_COMMON_ASKING: Mapping[str, AskingProgram] = {"dd": dd.run}
_ASKING: Mapping[str, Mapping[str, AskingProgram]] = {"comstar": {}, "iscsitgt": {"iscsitadm": iscsitadm.run}}
# Those of all systems.
NAMES: frozenset[str] = frozenset().union(_COMMON, _COMMON_ASKING, *_PROGRAMS.values(), *_ASKING.values())

_READING = {"zfs": frozenset({"list", "get", "holds"}), "zpool": frozenset({"list", "status", "get", "iostat"})}


def names(flavour: Flavour) -> frozenset[str]:
    """The programs that a system has."""
    return frozenset(_programs(flavour)) | frozenset(_asking(flavour))


def _programs(flavour: Flavour) -> Mapping[str, Program]:
    return {**_COMMON, **{name: run for kind in flavour.target_programs for name, run in _PROGRAMS[kind].items()}}


def _asking(flavour: Flavour) -> Mapping[str, AskingProgram]:
    return {**_COMMON_ASKING, **{name: run for kind in flavour.target_programs for name, run in _ASKING[kind].items()}}


def run(node: Node, argv: Sequence[str], *, now: float, typed: str = "") -> Answer:
    """Run one command line. ``now`` is seconds since the epoch: creation times and new GUIDs come from it."""
    unknown = node.conditions - CONDITIONS.keys()
    if unknown:
        raise ValueError(f"no such conditions: {', '.join(sorted(unknown))}")
    name = basename(argv[0]) if argv else ""
    asking = _asking(node.flavour).get(name)
    if asking is not None:
        return asking(node, argv[1:], now=now, typed=typed)
    program = _programs(node.flavour).get(name)
    if program is None:
        return Answer(stderr=f"sh: {name}: not found\n", exit=127)
    return program(node, argv[1:], now=now)


def changes(argv: Sequence[str]) -> bool:
    """Whether the command line could change the node's state. May say yes for one that does not.

    Any call of iscsitadm may: it starts the service.
    """
    name = basename(argv[0]) if argv else ""
    if name not in NAMES or name in {"svcs", "kstat", "dd"}:
        return False
    subcommand = argv[1].lower() if len(argv) > 1 else ""
    if name in {"stmfadm", "sbdadm", "itadm"}:
        return bool(subcommand) and not subcommand.startswith(("list-", "-"))
    return subcommand not in _READING.get(name, frozenset())
