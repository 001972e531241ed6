"""Dataset properties: the table, checking new values, and reading values with their source."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedded import sizes, tree
from embedded.model import Dataset, Node
from embedded.zfs_space import Space

FS, VOL, SNAP = "filesystem", "volume", "snapshot"
_ON_OFF = ("on", "off")
_CACHE = ("all", "none", "metadata")
_CHECKSUMS = ("on", "off", "fletcher2", "fletcher4", "sha256")
_USER_NAME = re.compile(r"[a-z0-9:._-]*:[a-z0-9:._-]*")
LONGEST_NAME = 256
WRITTEN_SINCE = "written@"


@dataclass(frozen=True, slots=True)
class Property:
    """One native property. ``header`` is its column title in ``zfs list``; ``kind`` says how values read and print.

    Kinds: size (bytes), limit (bytes, 0 is none), count, time, ratio, index (one of ``values``), text.
    """

    name: str
    header: str
    kind: str
    types: tuple[str, ...]
    editable: bool = False
    once: bool = False
    inheritable: bool = False
    default: str = "-"
    values: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether zfs list sets the column right."""
        return self.kind in {"size", "limit", "count", "ratio"}


def _index(
    name: str, header: str, *, values: tuple[str, ...], default: str, types: tuple[str, ...] = (FS, VOL)
) -> Property:
    return Property(name, header, "index", types, editable=True, inheritable=True, default=default, values=values)


def _limit(name: str, header: str, *, types: tuple[str, ...] = (FS, VOL)) -> Property:
    return Property(name, header, "limit", types, editable=True, default="0")


_ALL = (FS, VOL, SNAP)

# In the order of `zfs get all`.
_TABLE = (
    Property("name", "NAME", "text", _ALL),
    Property("type", "TYPE", "text", _ALL),
    Property("creation", "CREATION", "time", _ALL),
    Property("used", "USED", "size", _ALL),
    Property("available", "AVAIL", "size", (FS, VOL)),
    Property("referenced", "REFER", "size", _ALL),
    Property("compressratio", "RATIO", "ratio", _ALL),
    Property("mounted", "MOUNTED", "text", (FS,)),
    Property("origin", "ORIGIN", "text", (FS, VOL)),
    Property("clones", "CLONES", "text", (SNAP,)),
    _limit("quota", "QUOTA", types=(FS,)),
    _limit("reservation", "RESERV"),
    Property("volsize", "VOLSIZE", "size", (VOL, SNAP), editable=True),
    Property("volblocksize", "VOLBLOCK", "size", (VOL,), editable=True, once=True),
    Property("recordsize", "RECSIZE", "size", (FS,), editable=True, inheritable=True, default="131072"),
    Property("mountpoint", "MOUNTPOINT", "text", (FS,), editable=True, inheritable=True),
    Property("sharenfs", "SHARENFS", "text", (FS,), editable=True, inheritable=True, default="off"),
    _index("checksum", "CHECKSUM", values=_CHECKSUMS, default="on"),
    _index("compression", "COMPRESS", values=(), default="on"),
    _index("atime", "ATIME", values=_ON_OFF, default="on", types=(FS,)),
    _index("devices", "DEVICES", values=_ON_OFF, default="on", types=(FS, SNAP)),
    _index("exec", "EXEC", values=_ON_OFF, default="on", types=(FS, SNAP)),
    _index("setuid", "SETUID", values=_ON_OFF, default="on", types=(FS, SNAP)),
    _index("readonly", "RDONLY", values=_ON_OFF, default="off"),
    _index("snapdir", "SNAPDIR", values=("hidden", "visible"), default="hidden", types=(FS,)),
    Property("canmount", "CANMOUNT", "index", (FS,), editable=True, default="on", values=("off", "on", "noauto")),
    # That it takes no other types, and in which words, is unrecorded.
    _index("shareiscsi", "SHAREISCSI", values=("on", "off", "type=disk"), default="off"),
    _index("copies", "COPIES", values=("1", "2", "3"), default="1"),
    _limit("refquota", "REFQUOTA", types=(FS,)),
    _limit("refreservation", "REFRESERV"),
    Property("guid", "GUID", "count", _ALL),
    Property("createtxg", "CREATETXG", "count", _ALL),
    _index("primarycache", "PRIMARYCACHE", values=_CACHE, default="all", types=_ALL),
    _index("secondarycache", "SECONDARYCACHE", values=_CACHE, default="all", types=_ALL),
    Property("usedbysnapshots", "USEDSNAP", "size", (FS, VOL)),
    Property("usedbydataset", "USEDDS", "size", (FS, VOL)),
    Property("usedbychildren", "USEDCHILD", "size", (FS, VOL)),
    Property("usedbyrefreservation", "USEDREFRESERV", "size", (FS, VOL)),
    _index("logbias", "LOGBIAS", values=("latency", "throughput"), default="latency"),
    _index("sync", "SYNC", values=("standard", "always", "disabled"), default="standard"),
    _index("dedup", "DEDUP", values=("on", "off", "verify", "sha256"), default="off"),
    Property("refcompressratio", "REFRATIO", "ratio", _ALL),
    Property("written", "WRITTEN", "size", _ALL),
    Property("logicalused", "LUSED", "size", (FS, VOL)),
    Property("logicalreferenced", "LREFER", "size", _ALL),
    Property("userrefs", "USERREFS", "count", (SNAP,)),
    Property("defer_destroy", "DEFER_DESTROY", "text", (SNAP,)),
)
TABLE = {one.name: one for one in _TABLE}
_BY_HEADER = {one.header.lower(): one for one in _TABLE}
HIDDEN = frozenset({"name", "guid", "createtxg"})  # not part of "all"


@dataclass(frozen=True, slots=True)
class Value:
    """A property as it stands: ``raw`` is exact (numbers in digits), None when there is none."""

    raw: str | None
    source: str


def is_user(name: str) -> bool:
    """Whether the name is one of a user property."""
    return _USER_NAME.fullmatch(name) is not None


def is_written_since(name: str) -> bool:
    """Whether the name is written@SNAPSHOT."""
    return name.startswith(WRITTEN_SINCE) and name != WRITTEN_SINCE


def readable(node: Node, name: str) -> str | None:
    """The full name of whatever zfs list and get can show under that name: native, of a user, written@SNAPSHOT."""
    one = find(node, name)
    if one is not None:
        return one.name
    computed = is_written_since(name) and "written" not in node.flavour.missing_properties
    return name if computed or is_user(name) else None


def find(node: Node, name: str) -> Property | None:
    """The native property of that name or column title."""
    found = TABLE.get(name) or _BY_HEADER.get(name.lower())
    return None if found is None or found.name in node.flavour.missing_properties else found


def read(space: Space, dataset: str, name: str) -> Value:
    """The value of a native or user property, with ``-`` as the source of what cannot be set."""
    one = TABLE.get(name)
    record = space.node.datasets[dataset]
    if one is None and is_written_since(name):
        return _written_since(space, dataset, snapshot=name.removeprefix(WRITTEN_SINCE))
    if one is None:
        return _inherited(space.node, dataset, name=name, default=None)
    if record.kind not in one.types:
        return Value(None, "-")
    if name == "mountpoint":
        return _mountpoint(space.node, dataset)
    if name == "volsize" or not one.editable or one.once:
        settable = name == "volsize" and record.kind == VOL
        source = space.node.flavour.volsize_source if settable else "-"
        return Value(_computed(space, dataset, name=name), source)
    return _settable(space.node, dataset, one=one)


def _written_since(space: Space, dataset: str, *, snapshot: str) -> Value:
    """The snapshot is named whole or by what comes after the @; one that is not there leaves no value."""
    full = snapshot if "@" in snapshot else f"{tree.head_of(dataset)}@{snapshot}"
    found = space.written_since(dataset, full)
    return Value(None, "-") if found is None else Value(str(found), "local")


def _settable(node: Node, dataset: str, *, one: Property) -> Value:
    default = node.flavour.default_compression if one.name == "compression" else one.default
    if one.inheritable:
        return _inherited(node, dataset, name=one.name, default=default)
    local = node.datasets[dataset].properties.get(one.name)
    return Value(default, "default") if local is None else Value(local, "local")


def _inherited(node: Node, dataset: str, *, name: str, default: str | None) -> Value:
    above: str | None = dataset
    while above is not None:
        found = node.datasets[above].properties.get(name)
        if found is not None:
            return Value(found, "local" if above == dataset else f"inherited from {above}")
        above = tree.parent_of(above)
    return Value(default, "-" if default is None else "default")


def _mountpoint(node: Node, dataset: str) -> Value:
    found = _inherited(node, dataset, name="mountpoint", default=None)
    if found.raw is None:
        return Value(f"/{dataset}", "default")
    if found.source == "local" or found.raw in {"none", "legacy"}:
        return found
    origin = found.source.removeprefix("inherited from ")
    return Value(found.raw.rstrip("/") + dataset.removeprefix(origin), found.source)


def _mounted(space: Space, dataset: str, record: Dataset) -> str:
    mountable = record.properties.get("canmount", "on") == "on"
    point = _mountpoint(space.node, dataset).raw
    return "yes" if mountable and point not in {"none", "legacy"} else "no"


def _logical(space: Space, dataset: str) -> int:
    usage = space.usage(dataset)
    return usage.used - usage.by_reservation


_Fact = str | int | None
_FACTS: dict[str, Callable[[Space, str, Dataset], _Fact]] = {
    "name": lambda _space, name, _record: name,
    "type": lambda _space, _name, record: record.kind,
    "creation": lambda _space, _name, record: int(record.created),
    "used": lambda space, name, _record: space.usage(name).used,
    "available": lambda space, name, _record: space.available(name),
    "referenced": lambda space, name, _record: space.referenced(name),
    "logicalused": lambda space, name, _record: _logical(space, name),
    "logicalreferenced": lambda space, name, _record: space.referenced(name),
    "compressratio": lambda _space, _name, _record: "1.00x",
    "refcompressratio": lambda _space, _name, _record: "1.00x",
    "mounted": _mounted,
    "origin": lambda _space, _name, record: record.origin,
    "clones": lambda space, name, _record: ",".join(space.clones(name)),
    "volsize": lambda _space, _name, record: record.volsize or None,
    "volblocksize": lambda _space, _name, record: record.volblocksize,
    "guid": lambda _space, _name, record: record.guid,
    "createtxg": lambda _space, _name, record: record.txg,
    "usedbysnapshots": lambda space, name, _record: space.usage(name).by_snapshots,
    "usedbydataset": lambda space, name, _record: space.usage(name).by_dataset,
    "usedbychildren": lambda space, name, _record: space.usage(name).by_children,
    "usedbyrefreservation": lambda space, name, _record: space.usage(name).by_reservation,
    "written": lambda space, name, _record: space.usage(name).written,
    "userrefs": lambda _space, _name, record: len(record.holds),
    "defer_destroy": lambda _space, _name, record: "on" if record.deferred else "off",
}


def _computed(space: Space, dataset: str, *, name: str) -> str | None:
    found = _FACTS[name](space, dataset, space.node.datasets[dataset])
    return None if found is None else str(found)


def display(node: Node, name: str, raw: str | None, *, parsable: bool) -> str:
    """The value as printed: exact with -p, else three significant figures."""
    if raw is None:
        return "-"
    if parsable:
        return raw
    one = TABLE["written"] if is_written_since(name) else TABLE.get(name)
    if one is None:
        return raw
    if one.kind == "limit" and raw == "0":
        return "none"
    if one.kind in {"size", "limit"} and raw.isdecimal():
        return sizes.human(int(raw), suffix=node.flavour.byte_suffix)
    return stamp(float(raw)) if one.kind == "time" else raw


def stamp(moment: float) -> str:
    """strftime "%a %b %e %k:%M %Y" in UTC."""
    moved = time.gmtime(moment)
    return time.strftime("%a %b ", moved) + f"{moved.tm_mday:2d} {moved.tm_hour:2d}" + time.strftime(":%M %Y", moved)
