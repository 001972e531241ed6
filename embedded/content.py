"""The bytes of volumes and snapshots: one sparse file each.

Copies keep holes, so a copy of an empty 20 GiB volume costs nothing. Where COMSTAR keeps its metadata in the first
64 KiB of a volume (before b116), those are a file of their own beside it, so that the rest can be served as a LUN:
tgtd knows no offset.
"""

import errno
import hashlib
import os
from pathlib import Path
from urllib.parse import quote

_LONGEST_FILE_NAME = 240
_COPY_AT_ONCE = 64 * 1024 * 1024
HEAD = 65536


def path_of(root: Path, dataset: str) -> Path:
    """Where the content of a volume or snapshot lies. Two datasets never share a file."""
    name = quote(dataset, safe=" @:")
    if len(name) > _LONGEST_FILE_NAME:
        name = "%" + hashlib.sha256(dataset.encode()).hexdigest()
    return root / "zvol" / name


def head_of(path: Path) -> Path:
    """The file with the first 64 KiB, where there is one. No dataset's name has a tilde."""
    return path.with_name(path.name + "~head")


def create(path: Path, size: int, *, headed: bool = False) -> None:
    """An empty (all holes) content of ``size`` bytes, the head's among them."""
    for file, length in ((head_of(path), HEAD), (path, size - HEAD)) if headed else ((path, size),):
        with file.open("wb") as opened:
            opened.truncate(max(length, 0))


def resize(path: Path, size: int) -> None:
    """Grow with zeros or cut, as ZFS does: a smaller volsize throws the tail away."""
    os.truncate(path, max(size - HEAD, 0) if head_of(path).exists() else size)


def remove(path: Path) -> None:
    """Remove a content."""
    for file in (path, head_of(path)):
        file.unlink(missing_ok=True)


def move(path: Path, new: Path) -> None:
    """Give a content another name."""
    for old, renamed in ((path, new), (head_of(path), head_of(new))):
        if old.exists():
            old.rename(renamed)


def allocated(path: Path) -> int:
    """Bytes that take room on disk."""
    return sum(file.stat().st_blocks * 512 for file in (path, head_of(path)) if file.exists())


def copy(source: Path, target: Path) -> None:
    """Make ``target`` a sparse copy of ``source``; an old target is replaced whole."""
    if head_of(source).exists():
        _copy_file(head_of(source), head_of(target))
    _copy_file(source, target)


def _copy_file(source: Path, target: Path) -> None:
    temporary = target.with_name(target.name + "~")
    with source.open("rb") as reader, temporary.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        _copy_data(reader.fileno(), writer.fileno(), size=size)
    temporary.replace(target)


def _copy_data(reader: int, writer: int, *, size: int) -> None:
    start = _next_data(reader, 0)
    while start is not None and start < size:
        end = os.lseek(reader, start, os.SEEK_HOLE)
        while start < end:
            start += os.copy_file_range(reader, writer, min(end - start, _COPY_AT_ONCE), start, start)
        start = _next_data(reader, end)


def _next_data(file: int, start: int) -> int | None:
    try:
        return os.lseek(file, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
