"""The bytes of volumes and snapshots: one sparse file each.

Copies keep holes, so a copy of an empty 20 GiB volume costs nothing. Where COMSTAR keeps its metadata in the first
64 KiB of a volume (before b116), those are a file of their own beside it, so that the rest can be served as a LUN:
tgtd knows no offset.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

_LONGEST_FILE_NAME = 240
_COPY_AT_ONCE = 64 * 1024 * 1024
HEAD = 65536


def path_of(root: Path, dataset: str) -> Path:
    """Where the content of a volume or snapshot lies. Two datasets never share a file."""
    return root / "zvol" / _file_name(dataset)


def _file_name(dataset: str) -> str:
    name = quote(dataset, safe=" @:")
    if len(name) > _LONGEST_FILE_NAME:
        return "%" + hashlib.sha256(dataset.encode()).hexdigest()
    return name


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


def read(path: Path, count: int, *, at: int) -> bytes:
    """Bytes of the device, less where it ends."""
    data = b""
    for file, offset, length in _pieces(path, count, at=at):
        with file.open("rb") as opened:
            opened.seek(offset)
            data += opened.read(length)
    return data


def write(path: Path, data: bytes, *, at: int) -> int:
    """Overwrite bytes of the device; how many there was room for."""
    done = 0
    for file, offset, length in _pieces(path, len(data), at=at):
        with file.open("r+b") as opened:
            room = max(os.fstat(opened.fileno()).st_size - offset, 0)
            opened.seek(offset)
            done += opened.write(data[done : done + min(length, room)])
    return done


def _pieces(path: Path, count: int, *, at: int) -> Iterator[tuple[Path, int, int]]:
    """Which bytes of which files a range of the device is."""
    head = HEAD if head_of(path).exists() else 0
    first = min(max(head - at, 0), count)
    if first:
        yield head_of(path), at, first
    if count > first:
        yield path, max(at - head, 0), count - first


class Allocated:
    """How much room every content takes, from one look at the directory."""

    def __init__(self, root: Path) -> None:
        self._bytes: dict[str, int] = {}
        for entry in os.scandir(root / "zvol"):
            # The name of a dataset, but for long ones, whose file names start with a percent sign.
            file = entry.name.removesuffix("~head")
            key = file if file.startswith("%") else unquote(file)
            self._bytes[key] = self._bytes.get(key, 0) + entry.stat().st_blocks * 512

    def of(self, dataset: str) -> int:
        """Bytes that a volume's or snapshot's content takes, 0 without one."""
        found = self._bytes.get(dataset)
        if found is None and len(dataset) * len("%2F") > _LONGEST_FILE_NAME:
            found = self._bytes.get(_file_name(dataset))
        return found or 0


def copy(source: Path, target: Path, *, size: int, headed: bool = False) -> None:
    """Make ``target`` a sparse copy of ``source``; an old target is replaced whole.

    A source without a file counts as ``size`` bytes of zeros, with the head that the target has.
    """
    if not source.exists():
        kept = HEAD if head_of(target).exists() else 0
        create(target, size - kept, headed=headed and not kept)
        return
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
