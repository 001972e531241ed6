"""zfs list and zfs get."""

from collections.abc import Iterable
from dataclasses import dataclass

from embedded import tree
from embedded.answer import Answer
from embedded.model import Node
from embedded.zfs_call import Call, ZfsError, ZfsUsageError
from embedded.zfs_props import HIDDEN, SNAP, TABLE, Property, display, find, is_user, read, readable
from embedded.zfs_space import Space

_TYPES = {
    "filesystem": ("filesystem",),
    "volume": ("volume",),
    "snapshot": ("snapshot",),
    "snap": ("snapshot",),
    "bookmark": (),
    "all": ("filesystem", "volume", "snapshot"),
}
_LIST_COLUMNS = "name,used,available,referenced,mountpoint"
_SPACE_COLUMNS = "name,available,used,usedbysnapshots,usedbydataset,usedbyrefreservation,usedbychildren"
_FIELDS = ("name", "property", "value", "source")
_SOURCES = ("local", "default", "inherited", "received", "temporary", "none")


def _order(node: Node, name: str) -> tuple[str, int, str]:
    """The order of zfs list: by name, a dataset's snapshots after it by age."""
    head, at, _ = name.partition("@")
    return head, node.datasets[name].txg if at else 0, name


def _types(call: Call, *, default: tuple[str, ...]) -> tuple[str, ...]:
    text = call.parsed.last("t")
    if text is None:
        return default
    found: list[str] = []
    for word in text.split(","):
        if word not in _TYPES:
            raise ZfsUsageError(f"invalid type '{word}'\n")
        found += _TYPES[word]
    return tuple(found)


def _depth(call: Call, *, limit: int) -> int:
    """How far below the operands to go; ``limit`` without -r and -d."""
    text = call.parsed.last("d")
    if text is None:
        return 1 << 30 if call.parsed.has("r") else limit
    if not text.isdecimal():
        raise ZfsUsageError(f"{text} is not a number\n")
    return int(text)


def _distance(top: str, name: str) -> int | None:
    """How many levels ``name`` lies below ``top``; a snapshot counts as one level. None if it does not."""
    if not name.startswith(top):
        return None
    below = name[len(top) :]
    if below and below[0] not in "/@":
        return None
    return below.count("/") + below.count("@")


@dataclass(frozen=True, slots=True)
class _Chosen:
    names: list[str]
    status: int


def _choose(call: Call, operands: Iterable[str], *, types: tuple[str, ...], lone: tuple[str, ...]) -> _Chosen:
    """The datasets that the line means. ``lone`` are the types a non-recursive operand may have."""
    node = call.node
    operands = list(operands)
    found: set[str] = set()
    status = 0
    depth = _depth(call, limit=0 if operands else 1 << 30)
    for top in operands or node.pools:
        try:
            call.dataset(top, kinds=lone if depth == 0 else (*_TYPES["all"],))
        except ZfsError as error:
            call.printer.complain(str(error))
            status = 1
            continue
        near = node.datasets if depth else (top,)
        found |= {
            name
            for name in near
            if node.datasets[name].kind in types
            and (distance := _distance(top, name)) is not None
            and distance <= depth
        }
    return _Chosen(sorted(found, key=lambda name: _order(node, name)), status)


def _columns(call: Call, text: str) -> list[str]:
    columns = []
    for word in text.split(","):
        name = readable(call.node, word)
        if name is None:
            raise ZfsUsageError(f"bad property list: invalid property '{word}'\n")
        columns.append(name)
    return columns


def _sort(call: Call, names: list[str], *, space: Space) -> list[str]:
    """-s and -S in the order given: the first counts most. A dataset without a value goes last."""
    for letter, text in reversed(call.parsed.options):
        if letter not in {"s", "S"}:
            continue
        column = find(call.node, text)
        if column is None and not is_user(text):
            raise ZfsUsageError(f"invalid property '{text}'\n")
        key = text if column is None else column.name
        raws = {name: read(space, name, key).raw for name in names}
        present = [name for name in names if raws[name] is not None]
        present.sort(key=lambda name: _sort_key(raws[name] or ""), reverse=letter == "S")
        names = present + [name for name in names if raws[name] is None]
    return names


def _sort_key(raw: str) -> tuple[int, str]:
    return (int(raw), "") if raw.isdecimal() else (0, raw)


def list_datasets(call: Call) -> Answer:
    """List datasets. Since b99 snapshots only show when asked for."""
    text = call.parsed.last("o") or _LIST_COLUMNS
    columns = _columns(call, _SPACE_COLUMNS if text == "space" and find(call.node, "usedbysnapshots") else text)
    types = _types(call, default=("filesystem", "volume"))
    lone = types if call.parsed.has("t") else _TYPES["all"]
    chosen = _choose(call, call.operands, types=types if call.parsed.has("t") else _wide(call), lone=lone)
    space = Space(call.node)
    names = _sort(call, chosen.names, space=space)
    parsable = call.parsed.has("p")
    rows = [
        [display(call.node, column, read(space, name, column).raw, parsable=parsable) for column in columns]
        for name in names
    ]
    if call.parsed.has("H"):
        call.printer.say("".join("\t".join(row) + "\n" for row in rows))
    elif rows:
        _print_table(call, [TABLE.get(column) for column in columns], titles=columns, rows=rows)
    elif not chosen.status:
        call.printer.say("no datasets available\n")
    return call.done(chosen.status)


def _wide(call: Call) -> tuple[str, ...]:
    """The types of a list without -t: a snapshot that is named is listed all the same."""
    asked = call.node.flavour.lists_snapshots or any("@" in operand for operand in call.operands)
    return ("filesystem", "volume", "snapshot") if asked else ("filesystem", "volume")


def _print_table(call: Call, columns: list[Property | None], *, titles: list[str], rows: list[list[str]]) -> None:
    """Two blanks between columns, numbers right, a last left column unpadded."""
    headers = [one.header if one is not None else title.upper() for one, title in zip(columns, titles, strict=True)]
    widths = [max(len(cell) for cell in cells) for cells in zip(headers, *rows, strict=True)]
    for row in [headers, *rows]:
        cells = []
        for at, cell in enumerate(row):
            one = columns[at]
            if one is not None and one.numeric:
                cells.append(f"{cell:>{max(widths[at], 5)}}")
            else:
                cells.append(cell if at == len(row) - 1 else f"{cell:<{widths[at]}}")
        call.printer.say("  ".join(cells) + "\n")


def get(call: Call) -> Answer:
    """Print properties of datasets, one a line."""
    if not call.operands:
        raise ZfsUsageError("missing property argument\n")
    fields = _fields(call)
    sources = _sources(call)
    types = _types(call, default=_TYPES["all"])
    everything = call.operands[0] == "all"
    wanted = [] if everything else _columns(call, call.operands[0])
    chosen = _choose(call, call.operands[1:], types=types, lone=_TYPES["all"])
    space = Space(call.node)
    rows = []
    for name in chosen.names:
        for key in _applicable(space, name) if everything else wanted:
            value = read(space, name, key)
            if _kind_of_source(value.source) in sources:
                shown = display(call.node, key, value.raw, parsable=call.parsed.has("p"))
                rows.append((name, key, shown, value.source))
    _print_rows(call, rows, fields=fields)
    return call.done(chosen.status)


def _fields(call: Call) -> list[str]:
    text = call.parsed.last("o")
    if text in {None, "all"}:
        return list(_FIELDS)
    for word in (text or "").split(","):
        if word not in _FIELDS:
            raise ZfsUsageError(f"invalid column name '{word}'\n")
    return (text or "").split(",")


def _sources(call: Call) -> tuple[str, ...]:
    text = call.parsed.last("s")
    if text is None:
        return _SOURCES
    for word in text.split(","):
        if word not in _SOURCES:
            raise ZfsUsageError(f"invalid source '{word}'\n")
    return tuple(text.split(","))


def _kind_of_source(source: str) -> str:
    return "none" if source == "-" else source.partition(" ")[0]


def _applicable(space: Space, name: str) -> list[str]:
    """What "all" means for a dataset: its native properties, then the user properties it has or inherits."""
    node = space.node
    dataset = node.datasets[name]
    native = [
        key
        for key, one in TABLE.items()
        if key not in HIDDEN
        and key not in node.flavour.missing_properties
        and dataset.kind in one.types
        and not (key == "origin" and dataset.origin is None)
        and not (key == "clones" and not space.clones(name))
        and not (dataset.kind == SNAP and key == "volsize" and not dataset.volsize)
    ]
    user: set[str] = set()
    above: str | None = name
    while above is not None:
        user |= {key for key in node.datasets[above].properties if is_user(key)}
        above = tree.parent_of(above)
    return [*native, *sorted(user)]


def _print_rows(call: Call, rows: list[tuple[str, str, str, str]], *, fields: list[str]) -> None:
    indexes = [_FIELDS.index(name) for name in fields]
    cut = [[row[at] for at in indexes] for row in rows]
    if call.parsed.has("H"):
        call.printer.say("".join("\t".join(row) + "\n" for row in cut))
        return
    if not rows:
        return
    widths = [max(len(cell) for cell in cells) for cells in zip([f.upper() for f in fields], *cut, strict=True)]
    if "value" in fields:
        # libzfs sizes the column for the widest value that the properties may take by default: their titles.
        titles = [TABLE[row[1]].header for row in rows if row[1] in TABLE]
        widths[fields.index("value")] = max([widths[fields.index("value")], *map(len, titles)])
    for row in [[f.upper() for f in fields], *cut]:
        padded = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        call.printer.say("  ".join([*padded, row[-1]]) + "\n")
