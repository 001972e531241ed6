"""What lies under a logical unit: a zvol or a file, and where its metadata is kept.

Metadata has three homes: the hidden property stmf_sbd_lu of a zvol (b116 and later), the first 64 KiB of the data
(files, and zvols before b116), or a separate file named at creation.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from embedded import content, iscsitgt
from embedded.model import Dataset, LogicalUnit, Node

ZVOL_PREFIX = "/dev/zvol/rdsk/"
HEAD = content.HEAD
_MAGIC = b"embedded sbd metadata\n"


@dataclass(frozen=True, slots=True)
class Backing:
    """An existing data file. ``offset`` is where the LU's bytes start, ``kept`` how much of ``size`` metadata takes.

    They differ for a volume whose head is a file of its own.
    """

    path: Path
    size: int
    offset: int
    volume: Dataset | None
    kept: int = 0


def find(node: Node, file: str, *, meta_file: str | None = None) -> Backing | None:
    """The backing that ``file`` names, None if the kernel would not open it (relative, missing, block device)."""
    if file.startswith(ZVOL_PREFIX):
        name = file.removeprefix(ZVOL_PREFIX)
        volume = node.datasets.get(name)
        if volume is None or volume.kind != "volume":
            return None
        kept = HEAD if node.flavour.metadata_head and meta_file is None else 0
        return Backing(content.path_of(node.root, name), volume.volsize, 0, volume, kept)
    path = node.own_file(file)
    if not file.startswith("/") or not path.is_file():
        return None
    offset = 0 if meta_file else HEAD
    return Backing(path, path.stat().st_size, offset, None, offset)


def volume_of(unit: LogicalUnit) -> str:
    """The dataset under a unit, "" for a plain file."""
    return unit.file.removeprefix(ZVOL_PREFIX) if unit.file.startswith(ZVOL_PREFIX) else ""


def busy(node: Node, dataset: str) -> bool:
    """Whether an LU, online or offline, or a target of iscsitgtd holds the volume open."""
    return any(volume_of(unit) == dataset for unit in node.units.values()) or iscsitgt.holds(node, dataset)


def in_use(node: Node, file: str) -> bool:
    """Whether no unit can be registered on ``file``: one was, spelled the same, or iscsitgtd has it open."""
    volume = file.removeprefix(ZVOL_PREFIX)
    taken = file.startswith(ZVOL_PREFIX) and iscsitgt.opened(node, volume)
    return taken or any(unit.file == file for unit in node.units.values())


def write_metadata(node: Node, backing: Backing, unit: LogicalUnit) -> None:
    """Keep the unit's metadata where it belongs."""
    if unit.meta_file is not None:
        path = node.own_file(unit.meta_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encode(unit))
    elif backing.kept:
        with _head(backing).open("r+b") as file:
            file.write(_encode(unit))
    elif backing.volume is not None:
        backing.volume.metadata = replace(unit)


def read_metadata(backing: Backing) -> LogicalUnit | None:
    """The metadata found on the data file itself, None when it was never initialised."""
    if backing.kept:
        with _head(backing).open("rb") as file:
            return _decode(file.read(HEAD))
    if backing.volume is not None and backing.volume.metadata is not None:
        return replace(backing.volume.metadata)
    return None


def _head(backing: Backing) -> Path:
    return content.head_of(backing.path) if backing.volume is not None else backing.path


def _encode(unit: LogicalUnit) -> bytes:
    return _MAGIC + msgspec.json.encode(unit) + b"\n"


def _decode(head: bytes) -> LogicalUnit | None:
    if not head.startswith(_MAGIC):
        return None
    return msgspec.json.decode(head[len(_MAGIC) :].split(b"\n", 1)[0], type=LogicalUnit)
