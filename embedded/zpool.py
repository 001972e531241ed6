"""zpool: list and get, the table of subcommands and its usage errors. Status and iostat are in modules beside."""

from collections.abc import Sequence

from embedded import usage, zpool_iostat, zpool_status
from embedded.answer import Answer
from embedded.model import Node
from embedded.options import OptionError, getopt
from embedded.sizes import human
from embedded.zfs_call import Call, Handler, ZfsUsageError
from embedded.zfs_space import Space

_HEADERS = {
    "name": "NAME", "size": "SIZE", "allocated": "ALLOC", "alloc": "ALLOC", "free": "FREE", "used": "USED",
    "available": "AVAIL", "avail": "AVAIL", "checkpoint": "CKPOINT", "expandsize": "EXPANDSZ",
    "fragmentation": "FRAG", "capacity": "CAP", "dedupratio": "DEDUP", "health": "HEALTH", "altroot": "ALTROOT",
    "guid": "GUID", "version": "VERSION", "listsnapshots": "LISTSNAPS", "autoexpand": "EXPAND",
    "delegation": "DELEGATION", "autoreplace": "REPLACE", "cachefile": "CACHEFILE", "failmode": "FAILMODE",
    "bootfs": "BOOTFS", "readonly": "RDONLY", "comment": "COMMENT", "freeing": "FREEING", "leaked": "LEAKED",
}  # fmt: skip
_SHORT = {"cap": "capacity", "frag": "fragmentation", "dedup": "dedupratio", "listsnaps": "listsnapshots"}
_SIZES = frozenset({"size", "allocated", "free", "freeing", "leaked", "expandsize"})
_NUMBERS = _SIZES | {"fragmentation", "capacity", "dedupratio"}
_LEFT = frozenset({"name", "altroot"})
_DEFAULTS = {
    "version": "-", "listsnapshots": "off", "autoexpand": "off", "delegation": "on", "autoreplace": "off",
    "cachefile": "-", "failmode": "wait", "bootfs": "-", "altroot": "-", "comment": "-", "readonly": "off",
}  # fmt: skip
_FIELDS = ("name", "property", "value", "source")


def _quantity(node: Node, column: str) -> str | None:
    """What a column shows, under its one name; None if this system has no such column."""
    if column in node.flavour.zpool_names:
        return node.flavour.zpool_names[column]
    column = _SHORT.get(column, column)
    if column in {"allocated", "free", "used", "available", "alloc", "avail"} or column not in _HEADERS:
        return None
    return None if column in node.flavour.zpool_missing else column


def _value(space: Space, name: str, column: str, *, parsable: bool) -> str:
    node = space.node
    pool = node.pools[name]
    kind = _quantity(node, column) or ""
    if kind not in _NUMBERS:
        texts = {"name": name, "health": pool.health, "guid": str(pool.guid), **_DEFAULTS, **pool.properties}
        return texts.get(kind, "-")
    number = _numbers(space, name)[kind]
    if pool.health in {"FAULTED", "UNAVAIL"} or (kind == "expandsize" and not number):
        return "-"
    if parsable:
        return "1.00" if kind == "dedupratio" else str(number)
    if kind in _SIZES:
        return human(number, suffix=node.flavour.byte_suffix)
    return f"{number}%" if kind != "dedupratio" else "1.00x"


def _numbers(space: Space, name: str) -> dict[str, int]:
    pool = space.node.pools[name]
    size = pool.size
    allocated = min(size, space.allocated(name))
    return {
        "size": size,
        "allocated": allocated,
        "free": size - allocated,
        "capacity": allocated * 100 // size,
        "freeing": pool.freeing,
        "leaked": pool.leaked,
        "expandsize": pool.expandsize,
        "fragmentation": pool.fragmentation,
        "dedupratio": 1,
    }


def list_pools(call: Call) -> Answer:
    """zpool list."""
    text = call.parsed.last("o")
    columns = list(call.node.flavour.zpool_columns) if text is None else text.split(",")
    for column in columns:
        if _quantity(call.node, column) is None:
            raise ZfsUsageError(f"bad property list: invalid property '{column}'\n")
    names, status = call.pools(call.operands)
    parsable = call.parsed.has("p")
    space = Space(call.node)
    rows = [[_value(space, name, column, parsable=parsable) for column in columns] for name in names]
    if call.parsed.has("H"):
        call.printer.say("".join("\t".join(row) + "\n" for row in rows))
    elif rows:
        _table(call, columns, rows=rows)
    elif not status:
        call.printer.say("no pools available\n")
    return call.done(status)


def _table(call: Call, columns: list[str], *, rows: list[list[str]]) -> None:
    headers = [_HEADERS[_SHORT.get(column, column)] for column in columns]
    widths = [max(len(cell) for cell in cells) for cells in zip(headers, *rows, strict=True)]
    for row in [headers, *rows]:
        cells = []
        for at, cell in enumerate(row):
            if columns[at] in _LEFT:
                cells.append(cell if at == len(row) - 1 else f"{cell:<{widths[at]}}")
            else:
                cells.append(f"{cell:>{max(widths[at], 5)}}")
        call.printer.say("  ".join(cells) + "\n")


def get(call: Call) -> Answer:
    """zpool get."""
    if len(call.operands) < 1:
        raise ZfsUsageError("missing property argument\n")
    fields = (call.parsed.last("o") or ",".join(_FIELDS)).split(",")
    everything = [key for key in _DEFAULTS if _quantity(call.node, key) is not None]
    wanted = everything if call.operands[0] == "all" else call.operands[0].split(",")
    for key in wanted:
        if _quantity(call.node, key) is None:
            raise ZfsUsageError(f"bad property list: invalid property '{key}'\n")
    names, status = call.pools(call.operands[1:])
    rows = []
    space = Space(call.node)
    for name in names:
        for key in wanted:
            value = _value(space, name, key, parsable=call.parsed.has("p"))
            local = key in call.node.pools[name].properties
            source = "local" if local else "default" if key in _DEFAULTS else "-"
            facts = {"name": name, "property": key, "value": value, "source": source}
            rows.append([facts[field] for field in fields])
    titled = rows if call.parsed.has("H") else [[field.upper() for field in fields], *rows]
    if call.parsed.has("H"):
        call.printer.say("".join("\t".join(row) + "\n" for row in titled))
    else:
        widths = [max(len(cell) for cell in cells) for cells in zip(*titled, strict=True)]
        for row in titled:
            padded = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
            call.printer.say("  ".join([*padded, row[-1]]) + "\n")
    return call.done(status)


# Handler, options, and those of them that came later.
_COMMANDS: dict[str, tuple[Handler, str, str]] = {
    "list": (list_pools, "Hpo:T:", "p"),
    "status": (zpool_status.status, "vxpT:", "p"),
    "get": (get, "Hpo:", "Hpo:"),
    "iostat": (zpool_iostat.iostat, "vwHpgPLlqrhyT:", "wHpgPLlqrhyT:"),
}


def _usage_error(node: Node, name: str, *, text: str) -> Answer:
    own = ""
    inside = False
    for line in usage.text(f"zpool-{node.flavour.name}").splitlines(keepends=True):
        if not line.startswith("\t "):
            inside = line.split()[0] == name
        own += line if inside else ""
    return Answer(stderr=f"{text}usage:\n{own}", exit=2)


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one zpool command line (without the program's name)."""
    name = args[0] if args else ""
    if name not in _COMMANDS:
        text = f"unrecognized command '{name}'\n" if args else "missing command\n"
        body = usage.text(f"zpool-{node.flavour.name}")
        where = "where 'command' is one of the following:\n\n"
        return Answer(stderr=f"{text}usage: zpool command args ...\n{where}{body}", exit=2)
    if "zfs-missing" in node.conditions:
        return Answer(stderr="internal error: failed to initialize ZFS library\n", exit=1)
    handler, options, newer = _COMMANDS[name]
    options = options if node.flavour.zpool_parsable else options.replace(newer, "")
    try:
        return handler(Call(node, getopt(args[1:], options), now))
    except OptionError as error:
        kind = "missing argument for" if error.missing else "invalid option"
        text = f"{kind} '{error.name}'{' option' if error.missing else ''}\n"
        return _usage_error(node, name, text=text)
    except ZfsUsageError as error:
        return _usage_error(node, name, text=str(error))
