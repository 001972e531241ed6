"""Logical units as the kernel's sbd provider and libstmf handle them: create, import, modify, delete.

Errors are codes; the tools word them. Which check comes first follows the recorded cases.
"""

from collections.abc import Callable
from dataclasses import replace

from embedded import backing, sizes
from embedded.model import STMF, LogicalUnit, Node
from embedded.stmf import Code, StmfError, open_device

SMALLEST = 1 << 20
LARGEST_BLOCK = 32768


def text(longest: int) -> Callable[[str], str]:
    """A property that is any text up to ``longest`` characters."""

    def check(value: str) -> str:
        if len(value) > longest:
            raise StmfError(Code.INVALID_LENGTH)
        return value

    return check


def digits(count: int) -> Callable[[str], str]:
    """A property of exactly ``count`` hexadecimal digits."""

    def check(value: str) -> str:
        if len(value) != count:
            raise StmfError(Code.INVALID_LENGTH)
        if any(digit not in "0123456789abcdefABCDEF" for digit in value):
            raise StmfError(Code.BAD_FORMAT)
        return value.upper()

    return check


def flag(value: str) -> str:
    """``true`` or ``false``, nothing else."""
    if value not in {"true", "false"}:
        raise StmfError(Code.BAD_FORMAT)
    return value


def block_size(value: str) -> str:
    """A decimal number; whether it is a power of two is the kernel's to say."""
    if not value.isdecimal():
        raise StmfError(Code.BAD_FORMAT)
    if int(value) > LARGEST_BLOCK:
        raise StmfError(Code.INVALID_LENGTH)
    return value


# Property of create-lu -> its check. Lengths: libstmf.h, stmf_sbd_ioctl.h.
PROPERTIES: dict[str, Callable[[str], str]] = {
    "alias": text(255),
    "blk": block_size,
    "guid": digits(32),
    "host-id": digits(8),
    "meta": text(1023),
    "mgmt-url": text(1023),
    "oui": digits(6),
    "pid": text(16),
    "serial": text(252),
    "vid": text(8),
    "wcd": flag,
    "wp": flag,
}
MODIFIABLE = frozenset({"alias", "mgmt-url", "wcd", "wp"})


def _guid(node: Node, wanted: dict[str, str], *, now: float) -> str:
    if "guid" in wanted:
        if wanted["guid"][0] != "6":
            raise StmfError(Code.ERROR)
        return wanted["guid"]
    node.unit_counter += 1
    # Where oui and host-id go is unrecorded.
    company = "6" + wanted.get("oui", "00144F") + "0"
    host = wanted.get("host-id", node.host_id[:8]) + node.host_id[8:]
    return f"{company}{host}{int(now) & 0xFFFFFFFF:08X}{node.unit_counter & 0xFFFF:04X}"


def _check_size(size: int, block: int) -> None:
    if size < SMALLEST:
        raise StmfError(Code.TOO_SMALL)
    if size % block:
        raise StmfError(Code.ERROR)


def _check_block(block: int) -> None:
    if block < 512 or block & (block - 1):
        raise StmfError(Code.BLOCK_SIZE)


def create(
    node: Node, file: str, *, now: float, size: int | None = None, wanted: dict[str, str] | None = None
) -> LogicalUnit:
    """Register a new unit on ``file`` and write its metadata. ``wanted`` are checked property texts.

    ``size`` is not compared with the size of a zvol, as in sbd.
    """
    wanted = wanted or {}
    open_device(node)
    if backing.in_use(node, file):
        raise StmfError(Code.FILE_IN_USE)
    under = backing.find(node, file, meta_file=wanted.get("meta"))
    if under is None:
        raise StmfError(Code.DATA_FILE)
    block = int(wanted.get("blk", "512"))
    _check_block(block)
    length = under.size - under.kept if size is None else size
    _check_size(length, block)
    unit = _assemble(_guid(node, wanted, now=now), file, size=length, block=block, wanted=wanted)
    if unit.guid in node.units:
        raise StmfError(Code.GUID_IN_USE)
    backing.write_metadata(node, under, unit)
    _register(node, unit, now=now)
    return unit


def _register(node: Node, unit: LogicalUnit, *, now: float) -> None:
    unit.state = "Online" if node.online(STMF) else "Offline"
    node.registrations += 1
    unit.registration, unit.registered = node.registrations, now
    node.units[unit.guid] = unit


def _assemble(guid: str, file: str, *, size: int, block: int, wanted: dict[str, str]) -> LogicalUnit:
    return LogicalUnit(
        guid=guid,
        file=file,
        size=size,
        block_size=block,
        meta_file=wanted.get("meta"),
        alias=wanted.get("alias"),
        mgmt_url=wanted.get("mgmt-url"),
        vendor=wanted.get("vid"),
        product=wanted.get("pid"),
        serial=wanted.get("serial"),
        write_protect=wanted.get("wp") == "true",
        cache_disabled=wanted.get("wcd") == "true",
    )


def load(node: Node, file: str, *, now: float) -> LogicalUnit:
    """Register the unit whose metadata ``file`` carries (import-lu)."""
    open_device(node)
    if backing.in_use(node, file):
        raise StmfError(Code.FILE_IN_USE)
    unit = _stored(node, file)
    if unit.guid in node.units:
        raise StmfError(Code.GUID_IN_USE)
    _register(node, unit, now=now)
    return unit


def _stored(node: Node, file: str) -> LogicalUnit:
    under = backing.find(node, file)
    unit = backing.read_metadata(under) if under is not None else None
    if unit is None:
        raise StmfError(Code.META_FILE)
    # A separate metadata file is imported by its own name and knows its data file.
    return unit if unit.meta_file == file else replace(unit, file=file)


def by_guid(node: Node, guid: str) -> LogicalUnit:
    """The registered unit to be modified."""
    open_device(node)
    if guid not in node.units:
        raise StmfError(Code.NOT_FOUND)
    return node.units[guid]


def by_file(node: Node, file: str) -> LogicalUnit:
    """The unit made from ``file``; if it is not registered, a copy of its stored metadata."""
    open_device(node)
    for unit in node.units.values():
        if unit.file == file:
            return unit
    return _stored(node, file)


def set_property(node: Node, unit: LogicalUnit, *, name: str, value: str) -> None:
    """Change one modifiable property and its stored copy."""
    if "lu-busy" in node.conditions:
        raise StmfError(Code.BUSY)
    try:
        checked = PROPERTIES[name](value)
    except StmfError as error:
        raise StmfError(Code.INVALID_ARG) from error  # modify-lu does not tell length from format
    if name == "alias":
        unit.alias = checked
    elif name == "mgmt-url":
        unit.mgmt_url = checked or None
    elif name == "wcd":
        unit.cache_disabled = checked == "true"
    else:
        unit.write_protect = checked == "true"
    _rewrite(node, unit)


def set_size(node: Node, unit: LogicalUnit, *, text: str) -> int:
    """Change the size as modify-lu -s does: sbd does not look at the size of the zvol."""
    size = sizes.parse_lu(text)
    if size is None:
        raise StmfError(Code.INVALID_ARG)
    _check_size(size, unit.block_size)
    if "lu-busy" in node.conditions:
        raise StmfError(Code.BUSY)
    unit.size = size
    _rewrite(node, unit)
    return size


def _rewrite(node: Node, unit: LogicalUnit) -> None:
    under = backing.find(node, unit.file, meta_file=unit.meta_file)
    if under is not None:
        backing.write_metadata(node, under, unit)


def delete(node: Node, guid: str) -> None:
    """Deregister; data and metadata stay, and so do views (they are the caller's)."""
    open_device(node)
    if guid not in node.units:
        raise StmfError(Code.NOT_FOUND)
    if "lu-busy" in node.conditions:
        raise StmfError(Code.BUSY)
    del node.units[guid]
