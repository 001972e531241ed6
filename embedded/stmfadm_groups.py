"""stmfadm's host group, target group and view subcommands."""

import re
from collections.abc import Callable

from embedded import views
from embedded.answer import Answer
from embedded.cmdparse import Call
from embedded.devices import canonical
from embedded.model import Node, View
from embedded.printing import Printer, complaint
from embedded.stmf import GENERAL, TEXTS, Code, StmfError, guid_of, open_store

GUID_TEXT = "must be 32 hexadecimal digits"
_GROUP_TEXTS = {
    Code.EXISTS: "already exists",
    Code.NOT_FOUND: "not found",
    Code.GROUP_IN_USE: "group is in use by existing view entry",
    Code.MEMBER_NOT_FOUND: "not found",
}
_PLAIN = GENERAL | {Code.SERVICE_ONLINE, Code.TARGET_ONLINE}

Groups = Callable[[Node], dict[str, list[str]]]


def hosts(node: Node) -> dict[str, list[str]]:
    """The host groups."""
    return node.host_groups


def target_sets(node: Node) -> dict[str, list[str]]:
    """The target groups."""
    return node.target_groups


def _word(code: Code, subject: str) -> str:
    if code in _PLAIN:
        return f"stmfadm: {TEXTS[code]}\n"
    return f"stmfadm: {subject}: {_GROUP_TEXTS.get(code, 'unknown error')}\n"


def create(groups: Groups) -> Callable[[Call], Answer]:
    """create-hg or create-tg."""

    def run(call: Call) -> Answer:
        try:
            views.create_group(call.node, groups(call.node), name=call.operand)
        except StmfError as error:
            return complaint(_word(error.code, call.operand))
        return Answer()

    return run


def delete(groups: Groups) -> Callable[[Call], Answer]:
    """delete-hg or delete-tg."""

    def run(call: Call) -> Answer:
        try:
            views.delete_group(call.node, groups(call.node), name=call.operand)
        except StmfError as error:
            return complaint(_word(error.code, call.operand))
        return Answer()

    return run


def show(groups: Groups, title: str) -> Callable[[Call], Answer]:
    """list-hg or list-tg."""

    def run(call: Call) -> Answer:
        printer = Printer()
        try:
            open_store(call.node)
        except StmfError as error:
            return complaint(_word(error.code, title))
        missing = 0
        known = groups(call.node)
        for name in call.operands or tuple(known):
            if name not in known:
                printer.complain(f"stmfadm: {name}: not found\n")
                missing = 1
                continue
            printer.say(f"{title}: {name}\n")
            for member in known[name] if call.parsed.has("v") else ():
                printer.say(f"\tMember: {member}\n")
        return printer.answer(missing)

    return run


Change = Callable[[Node, dict[str, list[str]], str, str], None]


def add_member(groups: Groups) -> Callable[[Call], Answer]:
    """add-hg-member or add-tg-member."""
    return _members(groups, lambda node, known, name, member: views.add_member(node, known, name=name, member=member))


def remove_member(groups: Groups) -> Callable[[Call], Answer]:
    """remove-hg-member or remove-tg-member."""
    return _members(
        groups, lambda node, known, name, member: views.remove_member(node, known, name=name, member=member)
    )


def _members(groups: Groups, change: Change) -> Callable[[Call], Answer]:
    def run(call: Call) -> Answer:
        printer = Printer()
        name = call.parsed.last("g") or ""
        failures = 0
        for operand in call.operands:
            member = canonical(operand)
            if member is None:
                printer.complain(f"stmfadm: {operand}: unrecognized device id\n")
                failures += 1
                continue
            try:
                change(call.node, groups(call.node), name, member)
            except StmfError as error:
                failures += 1
                if error.code is Code.GROUP_NOT_FOUND:
                    printer.complain(f"stmfadm: {name}: not found\n")
                    break
                printer.complain(_word(error.code, operand))
        return printer.answer(failures)

    return run


def _view_guid(text: str) -> str:
    """The name as add-view stores it: it looks at the length alone, and a pair that is no hex counts as 0."""
    pairs = (text[at : at + 2] for at in range(0, 32, 2))
    return "".join(pair.upper() if re.fullmatch("[0-9A-Fa-f]{2}", pair) else "00" for pair in pairs)


def lun_of(text: str) -> int:
    """-n goes through atoi and a uint16: 70000 is 4464, abc is 0."""
    matched = re.match(r"\s*([+-]?\d+)", text)
    return int(matched.group(1)) & 0xFFFF if matched else 0


def add_view(call: Call) -> Answer:
    """Show a unit to initiators. Prints neither index nor LUN."""
    if len(call.operand) != 32:
        return complaint(f"stmfadm: {call.operand}: {GUID_TEXT}\n")
    number = call.parsed.last("n")
    lun = None if number is None else lun_of(number)
    if lun is not None and lun > views.LARGEST_LUN:
        return complaint(f"stmfadm: {number}: Logical unit number must be less than 16384\n")
    try:
        views.add(
            call.node,
            _view_guid(call.operand),
            host_group=call.parsed.last("h"),
            target_group=call.parsed.last("t"),
            lun=lun,
        )
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, 'unknown error')}\n")
    return Answer()


def _show_view(printer: Printer, index: int, *, view: View) -> None:
    printer.say(f"View Entry: {index}\n")
    printer.say(f"    Host group   : {view.host_group or 'All'}\n")
    printer.say(f"    Target group : {view.target_group or 'All'}\n")
    printer.say(f"    LUN          : {view.lun}\n")


def list_view(call: Call) -> Answer:
    """List a unit's views; a unit without and an unknown unit look the same."""
    name = call.parsed.last("l") or ""
    guid = guid_of(name)
    if guid is None:
        return complaint(f"stmfadm: {name}: {GUID_TEXT} long\n")
    try:
        entries = views.listed(call.node, guid)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, 'list failed')}\n")
    if not entries:
        return complaint(f"stmfadm: {guid.lower()}: no views found\n")
    printer = Printer()
    missing = 0
    for index in [lun_of(text) for text in call.operands] or list(entries):
        if index in entries:
            _show_view(printer, index, view=entries[index])
        else:
            printer.complain(f"stmfadm: {guid.lower()}, {index}: not found\n")
            missing += 1
    return printer.answer(missing)


def remove_view(call: Call) -> Answer:
    """Remove views by index, or all with -a."""
    name = call.parsed.last("l") or ""
    guid = guid_of(name)
    if guid is None:
        return complaint(f"stmfadm: {name}: {GUID_TEXT} long\n")
    everything = call.parsed.has("a")
    if not everything and not call.operands:
        return complaint("stmfadm: no view entries specified\n")
    return _remove_all(call.node, guid) if everything else _remove_some(call, guid)


def _remove_all(node: Node, guid: str) -> Answer:
    try:
        views.remove_all(node, guid)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, f'{guid.lower()}: no views found')}\n")
    return Answer()


def _remove_some(call: Call, guid: str) -> Answer:
    printer = Printer()
    failures = 0
    for text in call.operands:
        if not text.isdecimal():
            printer.complain(f"stmfadm: {text}: invalid input\n")  # and no failure
            continue
        try:
            views.remove(call.node, guid, index=int(text))
        except StmfError as error:
            printer.complain(f"stmfadm: {TEXTS.get(error.code, f'{guid.lower()}: {text}: not found')}\n")
            failures += 1
    return printer.answer(failures)
