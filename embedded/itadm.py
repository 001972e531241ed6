"""itadm: its subcommand table, its command line and what it checks before any subcommand runs.

Illumos usr/src/cmd/itadm/itadm.c. Exit statuses are errno or the low byte of a library code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded import itadm_accounts, itadm_portals, itadm_targets, usage
from embedded.answer import Answer
from embedded.itadm_call import Call, Failure, UsageError
from embedded.model import ISCSI_TARGET, Node
from embedded.options import OptionError, Parsed, getopt
from embedded.stmf import TEXTS, StmfError, open_store

_OFFLINE = (
    "The iSCSI target service must be online before running this command.\n"
    f"Use 'svcadm enable -r {ISCSI_TARGET}'\n"
    "to enable the service and its prerequisite services and/or\n"
    f"'svcs -x {ISCSI_TARGET}' to determine why it is not online.\n"
)


@dataclass(frozen=True, slots=True)
class Subcommand:
    """What a subcommand accepts and whether it changes anything."""

    run: Callable[[Call], Answer]
    options: str = ""
    operands: str = "any"
    changes: bool = True


_TARGET = "a:sS:u:n:l:t:"
_INITIATOR = "sS:u:"
COMMANDS = {
    "create-target": Subcommand(itadm_targets.create, _TARGET, "none"),
    "modify-target": Subcommand(itadm_targets.modify, _TARGET, "one"),
    "delete-target": Subcommand(itadm_targets.delete, "f", "one"),
    "list-target": Subcommand(itadm_targets.show, "pv", changes=False),
    "create-tpg": Subcommand(itadm_portals.create, "", "one"),
    "delete-tpg": Subcommand(itadm_portals.delete, "f", "one"),
    "list-tpg": Subcommand(itadm_portals.show, "pv", changes=False),
    "create-initiator": Subcommand(itadm_accounts.create, _INITIATOR, "one"),
    "modify-initiator": Subcommand(itadm_accounts.modify, _INITIATOR, "one"),
    "list-initiator": Subcommand(itadm_accounts.show, "pv", changes=False),
    "delete-initiator": Subcommand(itadm_accounts.delete, "", "one"),
    "modify-defaults": Subcommand(itadm_accounts.modify_defaults, "a:r:dD:i:I:"),
    "list-defaults": Subcommand(itadm_accounts.show_defaults, "p", changes=False),
}


def _sections(flavour: str) -> list[str]:
    """The usage of each subcommand, in the order of COMMANDS (which is that of itadm's own table)."""
    sections: list[str] = []
    for line in usage.text(f"itadm-{flavour}").splitlines(keepends=True):
        if line.startswith("\t\t"):
            sections[-1] += line
        else:
            sections.append(line)
    return sections


def _help(node: Node, name: str | None = None) -> str:
    sections = _sections(node.flavour.itadm_help)
    old = node.flavour.itadm_help == "b111"
    if name is None:
        return ("itadm usage:\n\n" if old else "usage: itadm <subcommand> <args> ...\n") + "".join(sections)
    section = sections[list(COMMANDS).index(name)]
    return section.removeprefix("\t") if old else f"usage:\n{section}"


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one itadm command line (without the program's name)."""
    if not args:
        return Answer(_help(node), exit=1)
    if args[0] not in COMMANDS:
        return Answer(_help(node), "Error, no subcommand specified\n", 1)
    name = args[0]
    try:
        return _run(Call(node, name, _parse(node, args), now))
    except UsageError as error:
        return Answer(_help(node, name), str(error), error.status)
    except Failure as error:
        return Answer("", f"{error}itadm {name} failed with error {error.status}\n", error.status & 0xFF)


def _parse(node: Node, args: Sequence[str]) -> Parsed:
    """getopt over what follows the subcommand. An unknown option is reported by the argument at optind."""
    spec = "?h" + COMMANDS[args[0]].options
    try:
        return getopt(args[1:], spec if node.flavour.itadm_parsable else spec.replace("p", ""))
    except OptionError as error:
        if error.missing:
            raise UsageError(f"Option -{error.name} requires an operand\n", 1) from error
        # args still holds the subcommand, so optind points one argument further back than getopt meant.
        raise UsageError(f"Unrecognized option {args[error.index]}\n", 1) from error


def _run(call: Call) -> Answer:
    if call.parsed.has("h") or call.parsed.has("?"):
        raise UsageError("", 0)
    _check_operands(call)
    secret = call.read_secret("S", prompt="s") if "S:" in COMMANDS[call.name].options else None
    if not call.node.online(ISCSI_TARGET):
        return Answer(stderr=_OFFLINE, exit=1)
    _check_rights(call)
    return COMMANDS[call.name].run(call.with_secret(secret))


def _check_operands(call: Call) -> None:
    wanted = COMMANDS[call.name].operands
    if wanted == "none" and call.parsed.operands:
        raise UsageError(f"Error, {call.name} does not support any operands\n", 1)
    if wanted == "one" and not call.parsed.operands:
        raise UsageError(f"Error, {call.name} requires an operand\n", 1)


def _check_rights(call: Call) -> None:
    right = "modify" if COMMANDS[call.name].changes else "read"
    if f"no-{right}-auth" in call.node.conditions:
        raise Failure(f"Error, operation requires authorization solaris.smf.{right}.stmf\n", 1)
    try:
        open_store(call.node)
    except StmfError as error:
        text = TEXTS.get(error.code, "unknown error")
        raise Failure(f"Error retrieving iSCSI target configuration: {text}\n", error.code) from error
