"""sbdadm, which made units before stmfadm could: today's, and that of OpenSolaris 2009.06 with words of its own."""

from collections.abc import Sequence

from embedded import cmdparse, units
from embedded.answer import Answer
from embedded.cmdparse import Call, Subcommand, Tool
from embedded.model import LogicalUnit, Node
from embedded.printing import Printer, complaint
from embedded.sizes import parse_lu, parse_lu_strictly
from embedded.stmf import TEXTS, Code, StmfError, guid_of, open_device
from embedded.stmfadm_lu import delete_one, modify_text

_HEADER = (
    "\n\t      GUID                    DATA SIZE           SOURCE\n"
    "--------------------------------  -------------------  ----------------\n"
)
_BIG_SIZE = 9999999999999


def _row(unit: LogicalUnit) -> str:
    return f"{unit.guid.lower()}  {unit.size:<19}  {unit.file}\n"


def _old_row(unit: LogicalUnit) -> str:
    if unit.size > _BIG_SIZE:
        return _row(unit)
    return f"{unit.guid.lower()}      {unit.size:<13}    {unit.file}\n"


def _failed(code: Code, file: str) -> Answer:
    """create-lu and import-lu: the exit status is the code's low byte plus one."""
    if code is Code.FILE_IN_USE:
        text = f"filename {file}: in use"
    else:
        text = "unknown error" if code is Code.TOO_SMALL else TEXTS.get(code, "unknown error")
    return complaint(f"sbdadm: {text}\n", code + 1)


def _create(call: Call) -> Answer:
    text = call.parsed.last("s")
    size = None if text is None else parse_lu(text)
    if text is not None and size is None:
        return complaint("sbdadm: s: size param invalid\n")
    try:
        unit = units.create(call.node, call.operand, now=call.now, size=size)
    except StmfError as error:
        return _failed(error.code, call.operand)
    return Answer(f"Created the following LU:\n{_HEADER}{_row(unit)}")


def _import(call: Call) -> Answer:
    try:
        unit = units.load(call.node, call.operand, now=call.now)
    except StmfError as error:
        return _failed(error.code, call.operand)
    return Answer(f"Imported the following LU:\n{_HEADER}{_row(unit)}")


def _modify(call: Call) -> Answer:
    """The operand is a path if it starts with a slash, else a GUID."""
    node, operand = call.node, call.operand
    guid = guid_of(operand)
    if guid is None and not operand.startswith("/"):
        return complaint(f"sbdadm: {operand}: must be 32 hexadecimal digits\n")
    try:
        unit = units.by_guid(node, guid) if guid else units.by_file(node, operand)
        units.set_size(node, unit, text=call.parsed.last("s") or "")
    except StmfError as error:
        return complaint(f"sbdadm: {modify_text(error.code, 'size')}\n")
    return Answer()


def _delete(call: Call) -> Answer:
    guid = guid_of(call.operand)
    if guid is None:
        return complaint(f"sbdadm: {call.operand}: must be 32 hexadecimal digits long\n")
    printer = Printer()
    failures = delete_one(call.node, printer, guid=guid, keep=call.parsed.has("k"), tool="sbdadm")
    return printer.answer(failures)


def _list(call: Call) -> Answer:
    try:
        open_device(call.node)
    except StmfError as error:
        return complaint(f"sbdadm: {TEXTS.get(error.code, 'list failed')}\n")
    found = sorted(call.node.units.values(), key=lambda unit: unit.guid)
    if not found:
        return Answer()
    return Answer(f"\nFound {len(found)} LU(s)\n{_HEADER}" + "".join(map(_row, found)))


_OLD_TEXTS = {
    Code.FILE_IN_USE: "File is already loaded.",
    Code.DATA_FILE: "Unable to lookup file.",
    Code.META_FILE: "LU is not initialized.",
    Code.TOO_SMALL: "File size has to be at least 1M.",
    Code.GUID_IN_USE: "GUID is already in use.",  # unrecorded
}


def _old_door(call: Call) -> Answer | None:
    """The old sbdadm opens the device itself and words what happens."""
    if "stmf-eperm" in call.node.conditions:
        return complaint("Not enough permissions to open device\n")
    try:
        open_device(call.node)
    except StmfError:
        return complaint("Unable to open device. Is the driver attached ?\n")
    return None


def _old_failure(action: str, code: Code) -> Answer:
    text = _OLD_TEXTS.get(code, "Unknown error.")  # the default is unrecorded
    hint = "Use 'sbdadm lu-create' to initialize the LU.\n"
    return complaint(f"LU {action} failed : {text}\n{hint if action == 'modify' else ''}")


def _old_create(call: Call) -> Answer:
    text = call.parsed.last("s")
    size = None if text is None else parse_lu_strictly(text)
    if text is not None and size is None:
        return complaint("Invalid size specified\n")
    if not call.operand.startswith("/"):
        return complaint("File name should be an absolute path i.e. it should start with a /\n")
    try:
        unit = units.create(call.node, call.operand, now=call.now, size=size)
    except StmfError as error:
        return _old_door(call) or _old_failure("Create", error.code)
    return Answer(f"\nCreated the following LU:\n{_HEADER}{_old_row(unit)}")


def _old_import(call: Call) -> Answer:
    try:
        unit = units.load(call.node, call.operand, now=call.now)
    except StmfError as error:
        return _old_door(call) or _old_failure("import", error.code)
    return Answer(f"\nImported the following LU:\n{_HEADER}{_old_row(unit)}")


def _old_modify(call: Call) -> Answer:
    node, operand = call.node, call.operand
    size = parse_lu_strictly(call.parsed.last("s") or "")
    if size is None:
        return complaint("Invalid size specified\n")
    guid = guid_of(operand)
    try:
        unit = units.by_guid(node, guid) if guid else units.by_file(node, operand)
        units.set_size(node, unit, text=str(size))
    except StmfError as error:
        code = Code.META_FILE if error.code is Code.NOT_FOUND else error.code
        return _old_door(call) or _old_failure("modify", code)
    return Answer("LU modified Successfully.\n")


def _old_delete(call: Call) -> Answer:
    """Views stay: the old sbdadm talks to sbd alone, and views are STMF's (unrecorded)."""
    if len(call.operand) != 32:
        return complaint("GUID must be 32 characters\n")
    try:
        units.delete(call.node, call.operand.upper())
    except StmfError as error:
        text = "LU is busy.\n" if error.code is Code.BUSY else "GUID not found.\n"  # busy: unrecorded
        return _old_door(call) or complaint(text)
    return Answer()


def _old_list(call: Call) -> Answer:
    refused = _old_door(call)
    if refused is not None:
        return refused
    found = list(reversed(call.node.units.values()))
    table = _HEADER + "".join(map(_old_row, found)) if found else ""
    return Answer(f"\nFound {len(found)} LU(s)\n{table}")


_SIZE = {"disk-size": "s"}
_NEW = Tool(
    name="sbdadm",
    version="1.0",
    spec="s:k",
    long={**_SIZE, "keep-views": "k"},
    subcommands={
        "create-lu": Subcommand(_create, "one", "s"),
        "delete-lu": Subcommand(_delete, "one", "k"),
        "import-lu": Subcommand(_import, "one"),
        "list-lu": Subcommand(_list),
        "modify-lu": Subcommand(_modify, "one", "s", option_required=True),
    },
)
_OLD = Tool(
    name="sbdadm",
    version="sbdadm version 1.0",
    spec="s:",
    long=_SIZE,
    subcommands={
        "create-lu": Subcommand(_old_create, "one", "s"),
        "delete-lu": Subcommand(_old_delete, "one"),
        "import-lu": Subcommand(_old_import, "one"),
        "list-lu": Subcommand(_old_list),
        "modify-lu": Subcommand(_old_modify, "one", "s", option_required=True),
    },
    bad_option_exit=0,
)


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one sbdadm command line (without the program's name)."""
    return cmdparse.run(_OLD if node.flavour.old_sbdadm else _NEW, node, args, now=now)
