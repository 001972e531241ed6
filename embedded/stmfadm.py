"""stmfadm: its subcommand table, state and targets. Units, groups and views have modules of their own."""

from collections.abc import Sequence
from dataclasses import replace

from embedded import cmdparse, stmfadm_groups, stmfadm_lu
from embedded.answer import Answer
from embedded.cmdparse import Call, Subcommand, Tool
from embedded.devices import canonical
from embedded.model import STMF, Node, Target
from embedded.printing import Printer, complaint
from embedded.served import Session
from embedded.stmf import TEXTS, Code, StmfError, open_device
from embedded.targets import ctime, drop_sessions, sessions, visible


def list_state(call: Call) -> Answer:
    """The state of the framework. The exit status is the low byte of the library's code: 0 without the driver."""
    node = call.node
    try:
        open_device(node)
    except StmfError as error:
        text = TEXTS.get(error.code, f"unknown error: {error.code.value}")
        return complaint(f"stmfadm: {text}\n", error.code)
    lines = [
        ("Operational Status", "online" if node.online(STMF) else "offline"),
        ("Config Status", "initialized" if node.initialized else "uninitialized"),
    ]
    if node.flavour.alua_lines:
        lines += [("ALUA Status", "disabled"), ("ALUA Node", "0")]
    return Answer("".join(f"{label:<18}: {value}\n" for label, value in lines))


def list_target(call: Call) -> Answer:
    """List targets, newest first, with -v their sessions."""
    printer = Printer()
    try:
        open_device(call.node)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, 'list failed')}\n")
    known = visible(call.node)
    logged_in = sessions(call.node)
    missing = 0
    for operand in call.operands or tuple(known):
        name = canonical(operand)
        if name is None or name not in known:
            printer.complain(f"stmfadm: {operand}: not found\n")
            missing = 1
            continue
        printer.say(f"Target: {name}\n")
        if call.parsed.has("v"):
            _show_target(call.node, printer, target=known[name], logged_in=logged_in.get(name, []))
    return printer.answer(missing)


def _show_target(node: Node, printer: Printer, *, target: Target, logged_in: list[Session]) -> None:
    lines = [
        ("Operational Status", target.state),
        ("Provider Name", target.provider),
        ("Alias", target.alias or "-"),
        *([("Protocol", target.protocol)] if node.flavour.protocol_line else []),
        ("Sessions", str(len(logged_in))),
    ]
    for label, value in lines:
        printer.say(f"    {label:<18}: {value}\n")
    for session in logged_in:
        printer.say(f"        Initiator: {session.initiator}\n")
        printer.say(f"            Alias: {node.initiator_aliases.get(session.initiator, '-')}\n")
        printer.say(f"            Logged in since: {ctime(session.since)}\n")


def online_target(call: Call) -> Answer:
    """Bring a target online."""
    return _switch(call, state="Online")


def offline_target(call: Call) -> Answer:
    """Take a target offline; its sessions end."""
    return _switch(call, state="Offline")


def _switch(call: Call, *, state: str) -> Answer:
    name = canonical(call.operand)
    if name is None:
        return complaint(f"stmfadm: {call.operand}: unrecognized device id\n")
    try:
        stmfadm_lu.check_switch(call.node, state=state)
        if name not in visible(call.node):
            raise StmfError(Code.NOT_FOUND)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, f'{call.operand}: not found')}\n")
    call.node.targets[name].state = state
    if state == "Offline":
        drop_sessions(call.node, name)
    return Answer()


_hosts, _target_sets = stmfadm_groups.hosts, stmfadm_groups.target_sets

_LU_COMMANDS = {
    "create-lu": Subcommand(stmfadm_lu.create_lu, "one", "ps"),
    "modify-lu": Subcommand(stmfadm_lu.modify_lu, "one", "psf"),
    "delete-lu": Subcommand(stmfadm_lu.delete_lu, "some", "k"),
    "import-lu": Subcommand(stmfadm_lu.import_lu, "one"),
}

_COMMANDS = {
    "add-hg-member": Subcommand(stmfadm_groups.add_member(_hosts), "some", "g", option_required=True),
    "add-tg-member": Subcommand(stmfadm_groups.add_member(_target_sets), "some", "g", option_required=True),
    "add-view": Subcommand(stmfadm_groups.add_view, "one", "nth"),
    "create-hg": Subcommand(stmfadm_groups.create(_hosts), "one"),
    "create-tg": Subcommand(stmfadm_groups.create(_target_sets), "one"),
    "delete-hg": Subcommand(stmfadm_groups.delete(_hosts), "one"),
    "delete-tg": Subcommand(stmfadm_groups.delete(_target_sets), "one"),
    "list-hg": Subcommand(stmfadm_groups.show(_hosts, "Host Group"), "any", "v"),
    "list-lu": Subcommand(stmfadm_lu.list_lu, "any", "v"),
    "list-state": Subcommand(list_state),
    "list-target": Subcommand(list_target, "any", "v"),
    "list-tg": Subcommand(stmfadm_groups.show(_target_sets, "Target Group"), "any", "v"),
    "list-view": Subcommand(stmfadm_groups.list_view, "any", "l", option_required=True),
    "online-lu": Subcommand(stmfadm_lu.online_lu, "one"),
    "offline-lu": Subcommand(stmfadm_lu.offline_lu, "one"),
    "online-target": Subcommand(online_target, "one"),
    "offline-target": Subcommand(offline_target, "one"),
    "remove-hg-member": Subcommand(stmfadm_groups.remove_member(_hosts), "some", "g", option_required=True),
    "remove-tg-member": Subcommand(stmfadm_groups.remove_member(_target_sets), "some", "g", option_required=True),
    "remove-view": Subcommand(stmfadm_groups.remove_view, "any", "la", option_required=True),
}

_OLD = Tool(
    name="stmfadm",
    version="1.0",
    spec="g:n:t:h:vl:a",
    long={
        "group-name": "g",
        "lun": "n",
        "target-group": "t",
        "host-group": "h",
        "verbose": "v",
        "lu-name": "l",
        "all": "a",
    },
    subcommands=_COMMANDS,
)
_NEW = replace(
    _OLD,
    spec=_OLD.spec + "p:s:fk",
    long={**_OLD.long, "lu-prop": "p", "size": "s", "file": "f", "keep-views": "k"},
    subcommands={**_COMMANDS, **_LU_COMMANDS},
)


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one stmfadm command line (without the program's name)."""
    tool = _NEW if node.flavour.lu_commands else _OLD
    return cmdparse.run(replace(tool, bad_option_exit=node.flavour.bad_option_exit), node, args, now=now)
