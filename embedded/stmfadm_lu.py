"""stmfadm's logical unit subcommands (illumos usr/src/cmd/stmfadm/stmfadm.c)."""

from embedded import units, views
from embedded.answer import Answer
from embedded.cmdparse import Call
from embedded.model import STMF, LogicalUnit, Node
from embedded.printing import Printer, complaint
from embedded.sizes import parse_lu
from embedded.stmf import TEXTS, Code, StmfError, guid_of, open_device, open_store

GUID_TEXT = "must be 32 hexadecimal digits"


class PropertyError(Exception):
    """A -p or -s that stmfadm refuses before it asks the kernel; the whole text after ``stmfadm: ``."""


def _describe(code: Code, file: str) -> str:
    if code is Code.FILE_IN_USE:
        return f"filename {file}: in use"
    return TEXTS.get(code, "unknown error")


def _split(text: str, *, gap: str) -> tuple[str, str]:
    """Name and value of a -p; what follows a second "=" is lost."""
    parts = text.split("=")
    if len(parts) < 2:
        raise PropertyError(f"{text}: invalid property specifier{gap}- prop=val\n")
    name = parts[0].lower()
    if name not in units.PROPERTIES:
        raise PropertyError(f"invalid property specified: {parts[0]}")
    return name, parts[1]


def _wanted(call: Call) -> dict[str, str]:
    wanted = {}
    for text in call.parsed.all("p"):
        name, value = _split(text, gap=" ")
        try:
            wanted[name] = units.PROPERTIES[name](value)
        except StmfError as error:
            reason = "bad format" if error.code is Code.BAD_FORMAT else "invalid length"
            raise PropertyError(f"unable to set {name}: {reason}") from error
    return wanted


def _size(call: Call) -> int | None:
    text = call.parsed.last("s")
    if text is None:
        return None
    size = parse_lu(text)
    if size is None:
        raise PropertyError("s: size param invalid")
    return size


def create_lu(call: Call) -> Answer:
    """Create a unit on a data file."""
    try:
        wanted, size = _wanted(call), _size(call)
        unit = units.create(call.node, call.operand, now=call.now, size=size, wanted=wanted)
    except PropertyError as error:
        return complaint(f"stmfadm: {error}\n")
    except StmfError as error:
        return complaint(f"stmfadm: {_describe(error.code, call.operand)}\n")
    return Answer(f"Logical unit created: {unit.guid}\n")


def import_lu(call: Call) -> Answer:
    """Bring back a unit from the metadata on its data file."""
    try:
        unit = units.load(call.node, call.operand, now=call.now)
    except StmfError as error:
        return complaint(f"stmfadm: {_describe(error.code, call.operand)}\n")
    return Answer(f"Logical unit imported: {unit.guid}\n")


def _changes(call: Call) -> list[tuple[str, str]]:
    changes = []
    for text in call.parsed.all("p"):
        name, value = _split(text, gap="")
        if name not in units.MODIFIABLE:
            raise PropertyError("invalid property for modify")
        changes.append((name, value))
    return changes


def modify_lu(call: Call) -> Answer:
    """Change properties, then the size; the first failure ends it, what went before stays."""
    guid = guid_of(call.operand)
    by_file = call.parsed.has("f")
    if guid is None and not by_file:
        return complaint(f"stmfadm: {call.operand}: {GUID_TEXT}\n")
    try:
        changes = _changes(call)
    except PropertyError as error:
        return complaint(f"stmfadm: {error}\n")
    size = call.parsed.last("s")
    for name, value in [*changes, *([("size", size)] if size is not None else [])]:
        try:
            _modify(call.node, name, value=value, guid=guid or "", file=call.operand if by_file else "")
        except StmfError as error:
            return complaint(f"stmfadm: {modify_text(error.code, name)}\n")
    return Answer()


def modify_text(code: Code, name: str) -> str:
    """How modify-lu words a failure: codes that it does not know come as a decimal number."""
    if code in {Code.BUSY, Code.PERM, Code.SERVICE_NOT_FOUND, Code.TOO_SMALL, Code.META_FILE}:
        return TEXTS[code]
    return f"could not set property: {name}: {code.value}"


def _modify(node: Node, name: str, *, value: str, guid: str, file: str) -> None:
    unit = units.by_file(node, file) if file else units.by_guid(node, guid)
    if name == "size":
        units.set_size(node, unit, text=value)
    else:
        units.set_property(node, unit, name=name, value=value)


def delete_lu(call: Call) -> Answer:
    """Deregister units. The exit status counts the failures."""
    printer = Printer()
    failures = 0
    for operand in call.operands:
        guid = guid_of(operand)
        if guid is None:
            printer.complain(f"stmfadm: {operand}: {GUID_TEXT} long\n")
            failures += 1
        else:
            failures += delete_one(call.node, printer, guid=guid, keep=call.parsed.has("k"), tool="stmfadm")
    return printer.answer(failures)


def delete_one(node: Node, printer: Printer, *, guid: str, keep: bool, tool: str) -> int:
    """Deregister one unit and drop its views. A busy unit loses its views all the same, as in the real tool."""
    failures = 0
    found = True
    try:
        units.delete(node, guid)
    except StmfError as error:
        found = error.code is not Code.NOT_FOUND
        if found:
            printer.complain(f"{tool}: {TEXTS.get(error.code, 'unknown error')}\n")
            failures += 1
    if keep and not found and node.flavour.keep_needs_unit:
        printer.complain(f"{tool}: {guid.lower()}: not found\n")
        return failures + 1
    if keep:
        return failures
    try:
        views.remove_all(node, guid)
    except StmfError as error:
        if error.code is not Code.NOT_FOUND:
            printer.complain(f"{tool}: unable to remove view entries\n\n")
            failures += 1
        elif not found:
            printer.complain(f"{tool}: {guid.lower()}: not found\n")
            failures += 1
    return failures


def list_lu(call: Call) -> Answer:
    """List registered units and those that are known by their views alone, by GUID."""
    printer = Printer()
    node = call.node
    try:
        open_device(node)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, 'list failed')}\n")
    status = 0
    for operand in call.operands or sorted({*node.units, *node.views}):
        guid = guid_of(operand)
        if guid is None:
            printer.complain(f"stmfadm: {operand}: {GUID_TEXT} long\n")  # and no failure
        elif guid not in node.units and guid not in node.views:
            printer.complain(f"stmfadm: {operand}: not found\n")
            status = 1
        else:
            _show(node, printer, guid=guid, verbose=call.parsed.has("v"))
    return printer.answer(status)


def _show(node: Node, printer: Printer, *, guid: str, verbose: bool) -> None:
    printer.say(f"LU Name: {guid}\n")
    if not verbose:
        return
    unit = node.units.get(guid)
    registered = "unregistered" if unit is None else unit.state
    provider = "unregistered" if unit is None else "sbd"
    lines = [
        ("Operational Status", registered),
        ("Provider Name", provider),
        ("Alias", "-" if unit is None else shown_alias(unit)),
        ("View Entry Count", str(len(node.views.get(guid, {})))),
        *(details(unit) if unit is not None and node.flavour.lu_details else []),
    ]
    for label, value in lines:
        printer.say(f"    {label:<18}: {value}\n")


def shown_alias(unit: LogicalUnit) -> str:
    """The alias; sbd falls back on the name of the file that holds the metadata."""
    return unit.alias if unit.alias is not None else unit.meta_file or unit.file


def details(unit: LogicalUnit) -> list[tuple[str, str]]:
    """The lines that list-lu -v has since b115."""
    return [
        ("Data File", unit.file),
        ("Meta File", unit.meta_file or "not set"),
        ("Size", str(unit.size)),
        ("Block Size", str(unit.block_size)),
        ("Management URL", unit.mgmt_url or "not set"),
        ("Vendor ID", unit.vendor or f"{'SUN':<8}"),
        ("Product ID", unit.product or f"{'COMSTAR':<16}"),
        ("Serial Num", unit.serial or "not set"),
        ("Write Protect", "Enabled" if unit.write_protect else "Disabled"),
        ("Writeback Cache", "Disabled" if unit.cache_disabled else "Enabled"),
        ("Access State", "Active"),
    ]


def online_lu(call: Call) -> Answer:
    """Bring a unit online; it must be registered and the service up."""
    return _switch(call, state="Online")


def offline_lu(call: Call) -> Answer:
    """Take a unit offline. The volume stays open."""
    return _switch(call, state="Offline")


def _switch(call: Call, *, state: str) -> Answer:
    guid = guid_of(call.operand)
    if guid is None:
        return complaint(f"stmfadm: {call.operand}: {GUID_TEXT} long\n")
    try:
        check_switch(call.node, state=state)
    except StmfError as error:
        return complaint(f"stmfadm: {TEXTS.get(error.code, 'unknown error')}\n")
    unit = call.node.units.get(guid)
    if unit is None:
        return complaint(f"stmfadm: {call.operand}: not found\n")
    unit.state = state
    return Answer()


def check_switch(node: Node, *, state: str) -> None:
    """What must hold before a unit or target changes state."""
    open_store(node)
    if "inventory-locked" in node.conditions:
        raise StmfError(Code.BUSY)
    if state == "Online" and not node.online(STMF):
        raise StmfError(Code.SERVICE_OFFLINE)
