"""Is an iSCSI portal there: a discovery login from this machine, timed. The PDUs are pure, ``probe`` connects.

A discovery session (RFC 7143, 4.3) sees no LU and takes nothing from anybody: it asks for the list of targets and logs
out.
"""

import contextlib
import ipaddress
import re
import secrets
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace

from exporters.exposition import Metric, Sheet, gauge

_SOURCE = "an iSCSI discovery session from the exporter's machine"
SUCCESS = gauge(
    "probe_success",
    "1 if this phase of a discovery session with the portal came to its end: tcp_connect, iscsi_login, "
    "iscsi_discovery.",
    "portal",
    "phase",
    source=_SOURCE,
)
DURATION = gauge(
    "probe_duration_seconds",
    "How long the phase took; absent if it did not come to its end.",
    "portal",
    "phase",
    source=_SOURCE,
)
LOGIN_STATUS = gauge(
    "probe_login_status",
    "What the target program said to the login, class times 256 and detail of RFC 7143: 0 is success, from 512 on it "
    "refused us (513: it wants CHAP), from 768 on it has trouble itself. Absent if it said nothing.",
    "portal",
    source=_SOURCE,
)
METRICS: tuple[Metric, ...] = (SUCCESS, DURATION, LOGIN_STATUS)

PHASES = ("tcp_connect", "iscsi_login", "iscsi_discovery")
# What we say that we take, and so the most that a well-behaved portal sends in one PDU.
_LARGEST = 262144
# A list of 100,000 targets has less; so has a login's ping-pong.
_MOST_BYTES, _MOST_PDUS = 64 << 20, 4096
_HEADER = 48

# -- PDUs --------------------------------------------------------------------------------------------------------------

LOGIN, TEXT, LOGOUT = 0x03, 0x04, 0x06
NOP_IN, LOGIN_ANSWER, TEXT_ANSWER, LOGOUT_ANSWER, ASYNC = 0x20, 0x23, 0x24, 0x26, 0x32
_IMMEDIATE, _FINAL, _CONTINUES = 0x40, 0x80, 0x40
_SECURITY, _OPERATIONAL, _FULL = 0, 1, 3
_NO_TAG = 0xFFFFFFFF


class Nonsense(Exception):
    """What came is no iSCSI, or not what a target may say now."""


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU: its opcode, the flags of its second byte, all 48 bytes of its header, its data."""

    opcode: int
    flags: int
    header: bytes
    data: bytes = b""

    def word(self, at: int) -> int:
        """Four bytes of the header."""
        return int.from_bytes(self.header[at : at + 4], "big")

    @property
    def login_status(self) -> int:
        """Class and detail."""
        return int.from_bytes(self.header[36:38], "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _keys(**values: str) -> bytes:
    return b"".join(f"{key}={value}\0".encode() for key, value in values.items())


def login(isid: bytes, initiator: str, *, stage: int, stat_sn: int, first: bool) -> bytes:
    """A login request for a discovery session, that would go to the next stage."""
    after = _OPERATIONAL if stage == _SECURITY else _FULL
    keys = {"InitiatorName": initiator, "SessionType": "Discovery"} if first else {}
    if stage == _SECURITY:
        keys["AuthMethod"] = "None"
    elif stage == _OPERATIONAL:
        keys |= {"HeaderDigest": "None", "DataDigest": "None", "MaxRecvDataSegmentLength": str(_LARGEST)}
    data = _keys(**keys)
    flags = _FINAL | stage << 2 | after
    head = struct.pack(">BBHI6sHIHHII16x", LOGIN | _IMMEDIATE, flags, 0, len(data), isid, 0, 1, 0, 0, 1, stat_sn)
    return head + _padded(data)


def text(data: bytes, *, number: int, tag: int, stat_sn: int) -> bytes:
    """A text request; ``tag`` is the target's own, when it is to go on with its answer."""
    head = struct.pack(">BBHI8xIIII16x", TEXT, _FINAL, 0, len(data), 2, tag, number, stat_sn)
    return head + _padded(data)


def logout(*, number: int, stat_sn: int) -> bytes:
    """A logout request that closes the session."""
    return struct.pack(">BBHI8xIHHII16x", LOGOUT | _IMMEDIATE, _FINAL, 0, 0, 3, 0, 0, number, stat_sn)


def decode(header: bytes) -> tuple[Pdu, int, int]:
    """A header, and how many bytes come after it: of additional headers, and of data. Raises Nonsense."""
    opcode, flags, _, extra, *length = header[:8]
    size = int.from_bytes(length, "big")
    if opcode & 0x3F < NOP_IN:
        raise Nonsense(f"it begins with {header[:8].hex()}, which is no answer of iSCSI")
    if size > _LARGEST:
        raise Nonsense(f"a PDU of {size} bytes")
    return Pdu(opcode & 0x3F, flags, header), extra * 4, size


# -- the connection ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """How far it came: seconds a phase, None for one that did not end.

    status   four hexadecimal digits of the login's status; "" if nothing was said
    trouble  what went wrong; "" if nothing did
    """

    tcp_seconds: float | None = None
    login_seconds: float | None = None
    discovery_seconds: float | None = None
    status: str = ""
    trouble: str = ""


def probe(portal: str, *, initiator: str, timeout: float) -> Probe:
    """Connect, log in for discovery, ask for the targets, log out. Never raises, nor takes longer than ``timeout``."""
    deadline = time.monotonic() + timeout
    found = Probe()
    try:
        address = _address(portal, deadline)
        began = time.monotonic()
        with socket.create_connection(address, timeout=max(0.001, deadline - began)) as connection:
            found = replace(found, tcp_seconds=time.monotonic() - began)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _talk(_Wire(connection, deadline), initiator, found)
    except TimeoutError:
        return replace(found, trouble=f"no answer within {timeout:g} s")
    except (OSError, Nonsense) as error:
        return replace(found, trouble=str(error))


def _talk(wire: "_Wire", initiator: str, found: Probe) -> Probe:
    """Both phases after the connection; what went wrong in one does not take back what was before it."""
    session = _Session(wire, initiator)
    try:
        began = time.monotonic()
        status = session.log_in()
        found = replace(found, status=f"{status:04x}")
        if status:
            return replace(found, trouble=f"the login was answered with status {status:04x}: {_meaning(status)}")
        found = replace(found, login_seconds=time.monotonic() - began)
        began = time.monotonic()
        session.send_targets()
        found = replace(found, discovery_seconds=time.monotonic() - began)
    except TimeoutError:
        return replace(found, trouble="no answer in time")
    except (OSError, Nonsense) as error:
        return replace(found, trouble=str(error))
    session.log_out()
    return found


def _meaning(status: int) -> str:
    known = {
        0x0201: "it wants CHAP",
        0x0202: "we are not let in",
        0x0301: "service unavailable",
        0x0302: "out of resources",
    }
    kinds = {1: "moved", 2: "refused", 3: "the target program has trouble"}
    return known.get(status) or kinds.get(status >> 8, "unknown")


_PORTAL = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})\Z")


def _address(portal: str, deadline: float) -> tuple[str, int]:
    """The address and the port. Raises Nonsense, TimeoutError, OSError."""
    match = _PORTAL.match(portal)
    if match is None or int(match["port"]) > 65535:
        raise Nonsense(f"{portal} is no portal: ADDRESS:PORT, IPv6 in brackets")
    host, port = match["six"] or match["name"], int(match["port"])
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return _looked_up(host, deadline), port


def _looked_up(host: str, deadline: float) -> str:
    """A name's address. The resolver knows no deadline, so it is left to itself when time is up."""
    found: list[str] = []
    trouble: list[OSError] = []

    def look() -> None:
        try:
            found.append(str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]))
        except (OSError, UnicodeError) as error:
            trouble.append(OSError(f"{host}: {error}"))

    thread = threading.Thread(target=look, name=f"look-up-{host}", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if trouble:
        raise trouble[0]
    if not found:
        raise TimeoutError
    return found[0]


class _Wire:
    """A connection with one deadline for all that goes over it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self.deadline = deadline
        self._bytes = self._pdus = 0

    def send(self, data: bytes) -> None:
        """All of it. Raises TimeoutError and OSError."""
        self._patience()
        self._connection.sendall(data)

    def receive(self) -> Pdu:
        """One PDU. Raises Nonsense, TimeoutError, OSError."""
        pdu, extra, size = decode(self._exactly(_HEADER))
        self._exactly(extra)
        data = self._exactly(size + -size % 4)[:size]
        self._pdus += 1
        if self._pdus > _MOST_PDUS or self._bytes > _MOST_BYTES:
            raise Nonsense(f"it does not come to an end: {self._bytes} bytes in {self._pdus} PDUs")
        return replace(pdu, data=data)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            self._patience()
            part = self._connection.recv(min(size, 65536))
            if not part:
                raise Nonsense("it hung up")
            parts.append(part)
            size -= len(part)
            self._bytes += len(part)
        return b"".join(parts)

    def _patience(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


class _Session:
    """A discovery session."""

    def __init__(self, wire: _Wire, initiator: str) -> None:
        self._wire = wire
        self._initiator = initiator
        # "Random" by its first two bits: it is nobody else's session that this one would take the place of.
        self._isid = b"\x80" + secrets.token_bytes(5)
        self._stat_sn = 0
        self._number = 1

    def log_in(self) -> int:
        """The status that the target gave; 0 when we are in."""
        stage, first = _SECURITY, True
        while True:
            self._wire.send(login(self._isid, self._initiator, stage=stage, stat_sn=self._stat_sn, first=first))
            answer = self._answer(LOGIN_ANSWER)
            if answer.login_status:
                return answer.login_status
            if answer.flags & _CONTINUES:
                raise Nonsense("a login's answer in pieces")
            first = False
            self._number = max(answer.word(28), 1)
            if answer.flags & _FINAL:
                stage = answer.flags & 3
                if stage == _FULL:
                    return 0
                if stage not in {_SECURITY, _OPERATIONAL}:
                    raise Nonsense(f"a login's answer that leads to stage {stage}")

    def send_targets(self) -> None:
        """Ask for all targets, and take the answer to its end."""
        data, tag = b"SendTargets=All\0", _NO_TAG
        while True:
            self._wire.send(text(data, number=self._number, tag=tag, stat_sn=self._stat_sn))
            answer = self._answer(TEXT_ANSWER)
            if answer.flags & _FINAL and not answer.flags & _CONTINUES:
                return
            data, tag = b"", answer.word(20)
            self._number = (self._number + 1) & _NO_TAG

    def log_out(self) -> None:
        """As far as there is time; what is not heard then does no harm."""
        self._wire.deadline = min(self._wire.deadline, time.monotonic() + 1)
        with contextlib.suppress(OSError, Nonsense):
            self._wire.send(logout(number=self._number, stat_sn=self._stat_sn))
            self._answer(LOGOUT_ANSWER)

    def _answer(self, opcode: int) -> Pdu:
        while True:
            pdu = self._wire.receive()
            if pdu.opcode == opcode:
                self._stat_sn = (pdu.word(24) + 1) & _NO_TAG
                return pdu
            # A target may ping, or tell of events, at any time.
            if pdu.opcode not in {NOP_IN, ASYNC}:
                raise Nonsense(f"a PDU with opcode {pdu.opcode:#04x} instead of {opcode:#04x}")


# -- what a scrape has of it -------------------------------------------------------------------------------------------


def emit(sheet: Sheet, portal: str, found: Probe) -> None:
    """What a probe found."""
    for phase, took in zip(PHASES, (found.tcp_seconds, found.login_seconds, found.discovery_seconds), strict=True):
        sheet.put(SUCCESS, float(took is not None), portal, phase)
        if took is not None:
            sheet.put(DURATION, took, portal, phase)
    if found.status:
        sheet.put(LOGIN_STATUS, int(found.status, 16), portal)
