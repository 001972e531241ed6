"""zpool list, status, get."""

from collections.abc import Sequence

from embedded import usage
from embedded.answer import Answer
from embedded.model import Node, Pool
from embedded.options import OptionError, getopt
from embedded.sizes import human
from embedded.zfs_call import Call, ZfsUsageError
from embedded.zfs_space import Space

_HEADERS = {
    "name": "NAME", "size": "SIZE", "allocated": "ALLOC", "alloc": "ALLOC", "free": "FREE", "used": "USED",
    "available": "AVAIL", "avail": "AVAIL", "checkpoint": "CKPOINT", "expandsize": "EXPANDSZ",
    "fragmentation": "FRAG", "capacity": "CAP", "dedupratio": "DEDUP", "health": "HEALTH", "altroot": "ALTROOT",
    "guid": "GUID", "version": "VERSION", "listsnapshots": "LISTSNAPS", "autoexpand": "EXPAND",
    "delegation": "DELEGATION", "autoreplace": "REPLACE", "cachefile": "CACHEFILE", "failmode": "FAILMODE",
    "bootfs": "BOOTFS", "readonly": "RDONLY", "comment": "COMMENT",
}  # fmt: skip
_SHORT = {"cap": "capacity", "frag": "fragmentation", "dedup": "dedupratio", "listsnaps": "listsnapshots"}
_NUMBERS = frozenset({"size", "allocated", "free", "fragmentation", "capacity", "dedupratio", "expandsize"})
_LEFT = frozenset({"name", "altroot"})
_DEFAULTS = {
    "version": "-", "listsnapshots": "off", "autoexpand": "off", "delegation": "on", "autoreplace": "off",
    "cachefile": "-", "failmode": "wait", "bootfs": "-", "altroot": "-", "comment": "-", "readonly": "off",
}  # fmt: skip
_FIELDS = ("name", "property", "value", "source")

_DEGRADED = """\
status: One or more devices has been taken offline by the administrator.
	Sufficient replicas exist for the pool to continue functioning in a
	degraded state.
action: Online the device using 'zpool online' or replace the device with
	'zpool replace'.
"""
_FAULTED = """\
status: One or more devices could not be opened.  There are insufficient
	replicas for the pool to continue functioning.
action: Attach the missing device and online it using 'zpool online'.
"""  # the text of ZPOOL_STATUS_MISSING_DEV_NR: unrecorded


def _quantity(node: Node, column: str) -> str | None:
    """What a column shows, under its one name; None if this system has no such column."""
    if column in node.flavour.zpool_names:
        return node.flavour.zpool_names[column]
    column = _SHORT.get(column, column)
    if column in {"allocated", "free", "used", "available", "alloc", "avail"} or column not in _HEADERS:
        return None
    return column


def _value(node: Node, name: str, column: str, *, parsable: bool) -> str:
    pool = node.pools[name]
    kind = _quantity(node, column) or ""
    if kind not in _NUMBERS:
        texts = {"name": name, "health": pool.health, "guid": str(pool.guid), **_DEFAULTS, **pool.properties}
        return texts.get(kind, "-")
    number = _numbers(node, name).get(kind)
    if number is None or pool.health in {"FAULTED", "UNAVAIL"}:
        return "-"
    if parsable:
        return "1.00" if kind == "dedupratio" else str(number)
    if kind in {"size", "allocated", "free"}:
        return human(number, suffix=node.flavour.byte_suffix)
    return f"{number}%" if kind != "dedupratio" else "1.00x"


def _numbers(node: Node, name: str) -> dict[str, int]:
    size = node.pools[name].size
    allocated = min(size, Space(node).allocated(name))
    return {
        "size": size,
        "allocated": allocated,
        "free": size - allocated,
        "capacity": allocated * 100 // size,
        "fragmentation": node.pools[name].fragmentation,
        "dedupratio": 1,
    }


def _pools(call: Call, names: Sequence[str]) -> tuple[list[str], int]:
    """The pools named, all when none is; each missing one is an error of its own."""
    missing = [name for name in names if name not in call.node.pools]
    for name in missing:
        call.printer.complain(f"cannot open '{name}': no such pool\n")
    return [name for name in names or sorted(call.node.pools) if name in call.node.pools], int(bool(missing))


def list_pools(call: Call) -> Answer:
    """zpool list."""
    text = call.parsed.last("o")
    columns = list(call.node.flavour.zpool_columns) if text is None else text.split(",")
    for column in columns:
        if _quantity(call.node, column) is None:
            raise ZfsUsageError(f"bad property list: invalid property '{column}'\n")
    names, status = _pools(call, call.operands)
    parsable = call.parsed.has("p")
    rows = [[_value(call.node, name, column, parsable=parsable) for column in columns] for name in names]
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
    wanted = list(_DEFAULTS) if call.operands[0] == "all" else call.operands[0].split(",")
    for key in wanted:
        if _quantity(call.node, key) is None:
            raise ZfsUsageError(f"bad property list: invalid property '{key}'\n")
    names, status = _pools(call, call.operands[1:])
    rows = []
    for name in names:
        for key in wanted:
            value = _value(call.node, name, key, parsable=call.parsed.has("p"))
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


def status(call: Call) -> Answer:
    """zpool status."""
    names, failures = _pools(call, call.operands)
    sick = [name for name in names if not _well(call.node.pools[name])]
    if call.parsed.has("x"):
        if not sick and not failures:
            named = f"pool '{names[0]}' is healthy\n" if call.operands else "all pools are healthy\n"
            call.printer.say(named if names else "no pools available\n")
        names = sick
    elif not names and not failures:
        call.printer.say("no pools available\n")
    call.printer.say("\n".join(_describe(call.node, name) for name in names))
    return call.done(failures)


def _well(pool: Pool) -> bool:
    return pool.health == "ONLINE" and not pool.data_errors


def _describe(node: Node, name: str) -> str:
    pool = node.pools[name]
    advice = {"ONLINE": "", "DEGRADED": _DEGRADED}.get(pool.health, _FAULTED)
    errors = "No known data errors"
    if pool.data_errors:
        errors = f"{pool.data_errors} data errors, use '-v' for a list"
    return (
        f"  pool: {name}\n state: {pool.health}\n{advice}"
        f"{node.flavour.scan_label} {pool.scan or 'none requested'}\nconfig:\n\n"
        f"{_config(node, name)}\nerrors: {errors}\n"
    )


def _config(node: Node, name: str) -> str:
    pool = node.pools[name]
    rows = [(name, pool.health)]
    if len(pool.disks) > 1:
        rows.append((f"  {node.flavour.vdev_layout}", pool.health))
    indent = "    " if len(pool.disks) > 1 else "  "
    rows += [(f"{indent}{disk.name}", disk.state) for disk in pool.disks]
    width = max(len(text) for text, _ in [*rows, ("NAME", "")])
    lines = [f"\t{'NAME':<{width}}  STATE     READ WRITE CKSUM\n"]
    lines += [f"\t{text:<{width}}  {state:<8}     0     0     0\n" for text, state in rows]
    return "".join(lines)


_COMMANDS = {
    "list": (list_pools, "Hpo:T:", "p"),
    "status": (status, "vxT:", ""),
    "get": (get, "Hpo:", "Hpo:"),
}


def _usage_error(node: Node, name: str, *, text: str) -> Answer:
    lines = usage.text(f"zpool-{node.flavour.name}").splitlines(keepends=True)
    own = "".join(line for line in lines if line.split()[0] == name)
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
