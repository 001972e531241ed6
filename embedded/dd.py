"""dd, as far as it copies to or from the node's zvols: block by block, in Solaris' words (cmd/dd, unrecorded).

Any other dd is the machine's own; the stub sees to that.
"""

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedded import content
from embedded.answer import Answer
from embedded.iscsitgt import volume_of
from embedded.model import Node

_UNITS = {"": 1, "w": 2, "b": 512, "k": 1024}
_NUMBER = re.compile(r"(\d+)([wbk]?)")
_KNOWN = frozenset({"if", "of", "bs", "count", "iseek", "oseek", "skip", "seek", "conv"})


class DdError(Exception):
    """A copy that ends early: the text for stderr. Exit 2."""


@dataclass(slots=True)
class _Copy:
    """What was copied so far: full and partial blocks, and what goes to stdout."""

    read: list[int] = field(default_factory=lambda: [0, 0])
    written: list[int] = field(default_factory=lambda: [0, 0])
    printed: list[bytes] = field(default_factory=list)

    def records(self) -> str:
        return "".join(
            f"{full}+{partial} records {way}\n" for (full, partial), way in ((self.read, "in"), (self.written, "out"))
        )


def run(node: Node, args: Sequence[str], *, now: float, typed: str) -> Answer:  # noqa: ARG001
    """Copy. ``typed`` is what came on stdin, in base64."""
    copy = _Copy()
    try:
        _copy(node, _words(args), copy, stdin=base64.b64decode(typed))
    except (DdError, binascii.Error) as error:
        return Answer("", f"{copy.records() if copy.read != [0, 0] else ''}dd: {error}\n", 2)
    return Answer(b"".join(copy.printed).decode("utf-8", "surrogateescape"), copy.records())


def _words(args: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in args]
    wrong = next((name + equals for name, equals, _ in pairs if not equals or name not in _KNOWN), None)
    if wrong is not None:
        raise DdError(f"bad argument: {wrong}")
    return {name: value for name, _, value in pairs}


def _number(words: Mapping[str, str], *names: str, default: int) -> int:
    """Blocks or bytes; the two names of an offset add up in no dd, so the last one counts."""
    text = next((words[name] for name in names if name in words), None)
    if text is None:
        return default
    matched = _NUMBER.fullmatch(text)
    if matched is None:
        raise DdError(f"bad numeric argument: {text}")
    return int(matched[1]) * _UNITS[matched[2]]


def _copy(node: Node, words: Mapping[str, str], copy: _Copy, *, stdin: bytes) -> None:
    size = _number(words, "bs", default=512)
    count = _number(words, "count", default=-1)
    start = _number(words, "iseek", "skip", default=0) * size
    at = _number(words, "oseek", "seek", default=0) * size
    target = words.get("of")
    if target is not None:
        _prepare(node, target, at=at, keep="notrunc" in words.get("conv", "").split(","))
    for block in _blocks(node, words.get("if"), size=size, start=start, stdin=stdin):
        if count == 0:
            return
        count -= 1
        copy.read[len(block) < size] += 1
        if target is None:
            copy.printed.append(block)
        elif _write(node, target, block, at=at) < len(block):
            raise DdError(f"unexpected short write, wrote 0 bytes, expected {len(block)}")
        copy.written[len(block) < size] += 1
        at += len(block)


def _path(node: Node, name: str) -> Path:
    """The content of a device, or the file itself."""
    volume = volume_of(name)
    if not volume:
        return Path(name)
    if node.datasets[volume].kind != "volume" if volume in node.datasets else True:
        raise DdError(f"{name}: open: No such file or directory")
    return content.path_of(node.root, volume)


def _prepare(node: Node, name: str, *, at: int, keep: bool) -> None:
    """Open the target as dd does: a file is made, and cut unless it is to be kept."""
    path = _path(node, name)
    if volume_of(name):
        return
    try:
        with path.open("ab") as file:
            if not keep:
                os.truncate(file.fileno(), at)
    except OSError as error:
        raise DdError(f"{name}: create: {error.strerror}") from error


def _write(node: Node, name: str, block: bytes, *, at: int) -> int:
    path = _path(node, name)
    if volume_of(name):
        return content.write(path, block, at=at)
    with path.open("r+b") as file:
        file.seek(at)
        return file.write(block)


def _blocks(node: Node, name: str | None, *, size: int, start: int, stdin: bytes) -> Iterator[bytes]:
    if name is None:
        yield from (stdin[at : at + size] for at in range(start, len(stdin), size))
        return
    path, device = _path(node, name), bool(volume_of(name))
    while True:
        try:
            block = content.read(path, size, at=start) if device else _read_file(path, size, at=start)
        except OSError as error:
            raise DdError(f"{name}: open: {error.strerror}") from error
        if not block:
            return
        yield block
        start += len(block)


def _read_file(path: Path, count: int, *, at: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)
