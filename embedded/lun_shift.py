"""A door in front of tgtd through which its LUN 1 is LUN 0, its LUN 2 LUN 1, and so on.

tgtd has a controller of its own as LUN 0 of every target, which it neither gives up nor lets become a disk. iscsitgtd's
targets always have a disk there. So each PDU of an initiator (RFC 7143, chapter 11) passes here, and the LUN in it is
one more on its way to tgtd and one less on its way back; REPORT LUNS loses the controller. Numbers stay tgtd's.

Limit: a connection that agrees on digests is closed, as they are not computed anew; initiators ask for none by default.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace

from embedded.served import ServedTarget

_log = logging.getLogger("embedded.lun_shift")
BEHIND = "127.0.0.2"  # as long as 127.0.0.1, which takes its place where tgtd says what its address is
_FRONT = "127.0.0.1"
_HEADER = 48
_COMMAND, _TASK, _LOGIN, _DATA_OUT, _SNACK = 0x01, 0x02, 0x03, 0x05, 0x10
_LOGIN_ANSWER, _TEXT_ANSWER, _DATA_IN, _READY, _ASYNC = 0x23, 0x24, 0x25, 0x31, 0x32
_TO_TARGET = frozenset({_COMMAND, _TASK, _DATA_OUT, _SNACK})
_FROM_TARGET = frozenset({_DATA_IN, _READY, _ASYNC})
_REPORT_LUNS = 0xA0
_FULL_FEATURE = 0x83  # transit, and the next stage is 3
_ENTRY = 8
_GONE = (OSError, asyncio.IncompleteReadError)


def shifted(targets: Iterable[ServedTarget]) -> tuple[ServedTarget, ...]:
    """What tgtd must serve for this to come out at the door."""
    return tuple(replace(one, luns=tuple(replace(lun, number=lun.number + 1) for lun in one.luns)) for one in targets)


def _moved(lun: bytes, by: int) -> bytes:
    """Eight bytes with one level of a LUN (SAM-5, 4.7), by so many up or down; LUN 0 goes no lower."""
    number = max((lun[0] & 0x3F) << 8 | lun[1], -by) + by
    flat = 0x40 if number > 0xFF else 0
    return bytes((flat | number >> 8, number & 0xFF)) + lun[2:]


@dataclass(slots=True)
class _Pdu:
    """Header, additional header segments and data; the padding is made anew."""

    header: bytearray
    additional: bytes
    data: bytes

    @property
    def opcode(self) -> int:
        return self.header[0] & 0x3F

    @property
    def tag(self) -> bytes:
        return bytes(self.header[16:20])

    def move(self, by: int) -> None:
        self.header[8:16] = _moved(bytes(self.header[8:16]), by)

    def whole(self) -> bytes:
        self.header[5:8] = len(self.data).to_bytes(3, "big")
        return bytes(self.header) + self.additional + self.data + bytes(-len(self.data) % 4)


async def _pdus(reader: asyncio.StreamReader) -> AsyncIterator[_Pdu]:
    while True:
        header = bytearray(await reader.readexactly(_HEADER))
        additional = await reader.readexactly(header[4] * 4)
        length = int.from_bytes(header[5:8], "big")
        data = await reader.readexactly(length + -length % 4)
        yield _Pdu(header, additional, data[:length])


@dataclass(slots=True)
class _Connection:
    """What must be remembered of one connection: to whom it is, and which commands ask for the LUNs."""

    target: str = ""
    asking: set[bytes] = field(default_factory=set)

    def to_target(self, pdu: _Pdu) -> None:
        if pdu.opcode in _TO_TARGET:
            pdu.move(+1)
        if pdu.opcode == _COMMAND and pdu.header[32] == _REPORT_LUNS:
            self.asking.add(pdu.tag)
            _with_room_for_controller(pdu)
        if pdu.opcode == _LOGIN:
            for pair in pdu.data.split(b"\0"):
                if pair.startswith(b"TargetName="):
                    self.target = pair.partition(b"=")[2].decode("utf-8", "replace")

    def from_target(self, pdu: _Pdu) -> None:
        if pdu.opcode in _FROM_TARGET and any(pdu.header[8:16]):
            pdu.move(-1)
        if pdu.opcode == _DATA_IN and pdu.tag in self.asking:
            self.asking.discard(pdu.tag)
            _without_controller(pdu)
        if pdu.opcode in {_LOGIN_ANSWER, _TEXT_ANSWER}:
            pdu.data = pdu.data.replace(BEHIND.encode(), _FRONT.encode())
        if pdu.opcode == _LOGIN_ANSWER and b"Digest=CRC32C" in pdu.data:
            raise ConnectionError("digests were agreed on")

    def logged_in(self, pdu: _Pdu) -> bool:
        """Whether this is the end of a login that has succeeded, to a target."""
        over = pdu.header[1] & _FULL_FEATURE == _FULL_FEATURE and pdu.header[36] == 0
        return pdu.opcode == _LOGIN_ANSWER and over and self.target != ""


def _with_room_for_controller(pdu: _Pdu) -> None:
    """More is expected and allocated by one entry, so that as many bytes as were asked for are left without it."""
    for at in (20, 32 + 6):
        length = int.from_bytes(pdu.header[at : at + 4], "big") + _ENTRY
        pdu.header[at : at + 4] = length.to_bytes(4, "big")


def _without_controller(pdu: _Pdu) -> None:
    """REPORT LUNS without its first entry, the controller's, and the others one less. It comes in one PDU."""
    length = int.from_bytes(pdu.data[:4], "big")
    entries = [pdu.data[at : at + _ENTRY] for at in range(2 * _ENTRY, len(pdu.data), _ENTRY)]
    pdu.data = struct.pack(">I4x", length - _ENTRY) + b"".join(_moved(entry, -1) for entry in entries)


class LunShift:
    """The door: it listens where tgtd would, tgtd behind it at the same port of another address."""

    def __init__(self) -> None:
        self._visited: set[str] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    async def start(self, port: int) -> None:
        """Listen."""
        self._port = port
        self._server = await asyncio.start_server(self._called, _FRONT, port)

    async def stop(self) -> None:
        """Stop listening, and cut what is connected."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def visited(self) -> frozenset[str]:
        """Give the targets that somebody has logged in to."""
        return frozenset(self._visited)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self._between(reader, writer)
        except ConnectionError as error:
            _log.info("an initiator's connection was closed: %s", error)
        except asyncio.CancelledError:
            pass  # the node stops: asyncio's stream server would print a traceback
        finally:
            writer.close()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(BEHIND, self._port)
        connection = _Connection()
        ways = (
            asyncio.create_task(self._up(connection, reader, target_writer)),
            asyncio.create_task(self._down(connection, target_reader, writer)),
        )
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            target_writer.close()

    @staticmethod
    async def _up(connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_GONE):
            async for pdu in _pdus(reader):
                connection.to_target(pdu)
                writer.write(pdu.whole())
                await writer.drain()

    async def _down(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            async for pdu in _pdus(reader):
                connection.from_target(pdu)
                if connection.logged_in(pdu):
                    self._visited.add(connection.target)
                writer.write(pdu.whole())
                await writer.drain()
