"""Checking new property values, in the words of libzfs's zfs_valid_proplist (illumos libzfs_dataset.c)."""

from embedded import sizes
from embedded.model import Node
from embedded.zfs_props import LONGEST_NAME, Property, find, is_user

SMALLEST_BLOCK, LARGEST_BLOCK = 512, 131072


class BadValueError(Exception):
    """What libzfs says after "cannot create 'x': " or "cannot set property for 'x': "."""


def checked(node: Node, name: str, value: str, *, kind: str, creating: bool) -> tuple[str, str]:
    """The property's full name and the raw text to keep, or a refusal. ``kind`` is the dataset's type."""
    one = find(node, name)
    if one is None and kind == "snapshot" and not node.flavour.snapshot_properties and is_user(name):
        raise BadValueError("snapshot properties cannot be modified")  # unrecorded
    if one is None:
        return name, _user(node, name, value=value)
    if kind == "snapshot":
        raise BadValueError("snapshot properties cannot be modified")  # unrecorded
    if kind not in one.types:
        raise BadValueError(f"'{one.name}' does not apply to datasets of this type")
    if not one.editable or (one.once and not creating):
        raise BadValueError(f"'{one.name}' is readonly")
    return one.name, _native(node, one, value=value, creating=creating)


def _user(node: Node, name: str, *, value: str) -> str:
    if not is_user(name):
        raise BadValueError(f"invalid property '{name}'")
    if len(name) >= LONGEST_NAME:
        raise BadValueError(f"property name '{name}' is too long")
    if len(value.encode()) >= node.flavour.longest_value:
        raise BadValueError("property value too long")
    return value


def _native(node: Node, one: Property, *, value: str, creating: bool) -> str:
    if one.kind == "index":
        allowed = node.flavour.compressions if one.name == "compression" else one.values
        if value not in allowed:
            raise BadValueError(f"'{one.name}' must be one of '{' | '.join(allowed)}'")
        return value
    if one.kind == "limit" and value == "none":
        return "0"
    if one.name == "refreservation" and value == "auto" and node.flavour.thick_overhead:
        return value
    if one.kind in {"size", "limit"}:
        return str(_size(one.name, value, creating=creating))
    if one.name == "mountpoint" and not (value.startswith("/") or value in {"none", "legacy"}):
        raise BadValueError("'mountpoint' must be an absolute path, 'none', or 'legacy'")
    return value


def _size(name: str, value: str, *, creating: bool) -> int:
    try:
        size = sizes.parse(value)
    except sizes.SizeError as error:
        raise BadValueError(str(error)) from error
    if name in {"volblocksize", "recordsize"}:
        check_block(name, size)
    if name == "volsize" and not size and not creating:
        raise BadValueError("'volsize' cannot be zero")
    return size


def check_block(name: str, size: int) -> None:
    """volblocksize and recordsize: a power of two in range."""
    if not SMALLEST_BLOCK <= size <= LARGEST_BLOCK or size & (size - 1):
        raise BadValueError(f"'{name}' must be power of 2 from 512B to {LARGEST_BLOCK >> 10}KB")
