"""The bytes between a stub and the gate: a count and that many netstrings there, a header and two texts back.

Netstrings carry arguments of any bytes. A reply that bash would read slowly or wrongly (long, or with NUL bytes)
is marked ``copy``: the stub has it copied by a program. After a reply marked ``hold`` the stub says so when it has
printed it, and goes on when the gate closes.
"""

import asyncio
from dataclasses import dataclass

from embedded.answer import Answer

_LONGEST = 16 * 1024 * 1024
_BASH_READS = 24 * 1024


class WireError(Exception):
    """What came in is no request."""


@dataclass(frozen=True, slots=True)
class Request:
    """A command as a stub sent it.

    ``execution`` is empty outside the node's own SSH server; ``input`` is what the caller has in a descriptor that
    the arguments name (/dev/stdin), or what the stub has read for the program: a secret that was typed, data.
    """

    token: str
    execution: str
    pid: int
    input: str
    argv: tuple[str, ...]


async def _number(reader: asyncio.StreamReader) -> int:
    digits = (await reader.readuntil(b":"))[:-1]
    if not digits.isdigit() or int(digits) > _LONGEST:
        raise WireError(f"not a length: {digits[:20]!r}")
    return int(digits)


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request; arguments that are not UTF-8 survive as surrogates."""
    words = []
    for _ in range(await _number(reader)):
        word = await reader.readexactly(await _number(reader))
        words.append(word.decode("utf-8", "surrogateescape"))
    if len(words) < 5 or not words[2].isdigit():
        raise WireError("a request is a token, an execution, a pid, an input and a command")
    return Request(words[0], words[1], int(words[2]), words[3], tuple(words[4:]))


def reply_bytes(answer: Answer, *, hold: bool = False) -> bytes:
    """Give the bytes that make a stub print the answer and exit with its status."""
    out, err = (text.encode("utf-8", "surrogateescape") for text in (answer.stdout, answer.stderr))
    copy = max(len(out), len(err)) > _BASH_READS or b"\0" in out + err
    header = f"{answer.exit & 0xFF} {'copy' if copy else 'read'} {len(out)} {len(err)}{' hold' if hold else ''}\n"
    return header.encode() + out + err
