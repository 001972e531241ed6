"""A discovery login from here: with a real tgtd, and with portals that are dead, slow or hostile."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from embedded.tgt_process import Tgtd
from exporters import portals
from exporters.exposition import Sheet
from exporters.portals import Nonsense, Probe, decode, probe
from tests.exporters.sheets import shown

ME = "iqn.2026-11.org.xvmstore:exporter"
Talk = Callable[[socket.socket], None]


@contextmanager
def portal(talk: Talk) -> Iterator[str]:
    """A portal on this machine; ``talk`` is what it does with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def received(connection: socket.socket) -> tuple[int, int, dict[int, int], bytes]:
    """A request: opcode, flags, the words of its header, its data."""
    header = connection.recv(48, socket.MSG_WAITALL)
    if len(header) < 48:
        raise OSError("it hung up")
    size = int.from_bytes(header[5:8], "big")
    data = connection.recv(size + -size % 4, socket.MSG_WAITALL)[:size]
    return header[0], header[1], {at: int.from_bytes(header[at : at + 4], "big") for at in range(0, 48, 4)}, data


def pdu(opcode: int, flags: int, data: bytes = b"", **words: int) -> bytes:
    """An answer; ``words`` as w20=5."""
    header = bytearray(struct.pack(">BBHI40x", opcode, flags, 0, len(data)))
    for at, value in words.items():
        header[int(at[1:]) : int(at[1:]) + 4] = value.to_bytes(4, "big")
    return bytes(header) + data + bytes(-len(data) % 4)


LET_IN = pdu(0x23, 0x87, w24=7, w28=1)
LIST = pdu(0x24, 0x80, b"TargetName=iqn.x:1\0TargetAddress=127.0.0.1:3260,1\0", w24=8, w20=0xFFFFFFFF)


def answers(*given: bytes) -> Talk:
    """One answer a request, whatever it asks."""

    def talk(connection: socket.socket) -> None:
        for one in given:
            received(connection)
            connection.sendall(one)
        received(connection)

    return talk


def tried(talk: Talk, *, timeout: float = 5.0) -> Probe:
    """What a probe finds. It keeps to its time, in any case."""
    with portal(talk) as where:
        began = time.monotonic()
        found = probe(where, initiator=ME, timeout=timeout)
        assert time.monotonic() - began < timeout + 0.5
    return found


def phases(found: Probe) -> list[bool]:
    """How far it came."""
    return [one is not None for one in (found.tcp_seconds, found.login_seconds, found.discovery_seconds)]


@pytest.mark.node
@pytest.mark.skipif(not Tgtd.installed(), reason="no tgtd here")
def test_a_real_target_program(tmp_path: Path) -> None:
    """tgtd lets us in, lists its targets to us, and has no session of ours afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tgtd = Tgtd(tmp_path)
    tgtd.start(port)
    try:
        for number in range(1, 200):
            name = f"iqn.2026-11.org.xvmstore:{number:03}.{'x' * 100}"
            tgtd.call("--mode", "target", "--op", "new", "--tid", str(number), "--targetname", name)
        tgtd.call("--mode", "target", "--op", "bind", "--tid", "1", "--initiator-address", "ALL")
        found = probe(f"127.0.0.1:{port}", initiator=ME, timeout=10)
        assert ([True, True, True], "0000", "") == (phases(found), found.status, found.trouble)
        assert () == tgtd.sessions()
    finally:
        tgtd.stop()


def test_what_is_said() -> None:
    """A discovery session, and no other; its numbers are in order, and it logs out."""
    heard: list[tuple[int, int, dict[int, int], bytes]] = []

    def talk(connection: socket.socket) -> None:
        given = [
            pdu(0x23, 0x81, b"AuthMethod=None\0", w24=100, w28=5),
            pdu(0x23, 0x87, b"HeaderDigest=None\0DataDigest=None\0", w24=101, w28=5),
            pdu(0x24, 0x00, b"TargetName=iqn.x:1\0", w20=77, w24=102),
            pdu(0x24, 0x80, b"TargetName=iqn.x:2\0", w20=0xFFFFFFFF, w24=103),
            pdu(0x26, 0x80, w24=104),
        ]
        for one in given:
            heard.append(received(connection))
            connection.sendall(one)

    found = tried(talk)
    assert ([True, True, True], "") == (phases(found), found.trouble)
    assert [0x43, 0x43, 0x04, 0x04, 0x46] == [opcode for opcode, *_ in heard]
    assert [0x81, 0x87, 0x80, 0x80, 0x80] == [flags for _, flags, *_ in heard]
    first, second, *texts, last = heard
    assert [f"InitiatorName={ME}", "SessionType=Discovery", "AuthMethod=None", ""] == first[3].decode().split("\0")
    assert b"HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=262144\0" == second[3]
    # The first two bits of the ISID say that it is random; the session's handle is not given yet.
    assert 0x80 == first[2][8] >> 24
    assert [first[2][at] for at in (8, 16)] == [second[2][at] for at in (8, 16)]
    assert [b"SendTargets=All\0", b""] == [data for *_, data in texts]
    assert [(0xFFFFFFFF, 5, 102), (77, 6, 103)] == [(words[20], words[24], words[28]) for _, _, words, _ in texts]
    assert texts[0][2][16] == texts[1][2][16]
    assert 104 == last[2][28]


@pytest.mark.parametrize(
    ("given", "phases_", "status"),
    [
        ((LET_IN, LIST), [True, True, True], "0000"),
        # Pings and events may come at any time.
        ((LET_IN, pdu(0x20, 0x80) + pdu(0x32, 0x80) + LIST), [True, True, True], "0000"),
        # Stages: it stays in the first, then goes to the second by itself.
        ((pdu(0x23, 0x00), pdu(0x23, 0x81), pdu(0x23, 0x04), LET_IN, LIST), [True, True, True], "0000"),
        ((pdu(0x23, 0x00, w36=0x02010000),), [True, False, False], "0201"),
        ((pdu(0x23, 0x00, w36=0x01010000),), [True, False, False], "0101"),
        ((pdu(0x23, 0x00, w36=0x03010000),), [True, False, False], "0301"),
        ((LET_IN, pdu(0x3F, 0x80)), [True, True, False], "0000"),
    ],
)
def test_how_it_may_go(given: tuple[bytes, ...], phases_: list[bool], status: str) -> None:
    """Let in, or refused by a target program that is there."""
    found = tried(answers(*given))

    assert (phases_, status) == (phases(found), found.status)
    assert (found.trouble == "") == all(phases_)


def flood(connection: socket.socket) -> None:
    """Never comes to its end."""
    received(connection)
    connection.sendall(LET_IN)
    received(connection)
    while True:
        connection.sendall(pdu(0x20, 0x80) * 64)


def again_and_again(connection: socket.socket) -> None:
    """A login that never ends, a list that never ends."""
    while True:
        opcode, *_ = received(connection)
        connection.sendall(pdu(0x24, 0x40, b"TargetName=x\0") if opcode == 0x04 else pdu(0x23, 0x04))


def drop(_connection: socket.socket) -> None:
    """Hangs up."""


@pytest.mark.parametrize(
    "talk",
    [
        drop,
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n" * 4),
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(64)),
        lambda connection: connection.sendall(bytes(4096)),
        lambda connection: connection.sendall(b"\xff" * 4096),
        answers(pdu(0x23, 0x87)[:40]),
        answers(b"\x23\x87\x00\x00\xff\xff\xff\xff" + bytes(40)),
        answers(b"\x23\x87\x00\x00\x00\xff\xff\xff" + bytes(40)),
        answers(pdu(0x23, 0x82)),
        answers(pdu(0x23, 0xC7), LIST),
        answers(LIST),
        answers(LET_IN, LET_IN),
        answers(LET_IN, LIST[:60]),
    ],
)
def test_nonsense_is_trouble(talk: Talk) -> None:
    """And nothing worse: no exception, no waiting, no end of memory."""
    found = tried(talk, timeout=1.0)

    assert found.trouble
    assert found.tcp_seconds is not None
    assert found.discovery_seconds is None


@pytest.mark.parametrize("talk", [flood, again_and_again])
def test_what_never_ends_is_given_up(talk: Talk) -> None:
    """Long before time is up: nobody's list of targets is that long."""
    assert "does not come to an end" in tried(talk, timeout=20).trouble


@pytest.mark.parametrize("header", [b"\x23\x87\x00\x00\x00\xff\xff\xff", b"SSH-2.0-", b"HTTP/1.1", bytes(8)])
def test_what_no_header_of_an_answer_says(header: bytes) -> None:
    """It is seen at once, and nothing is waited for: sixteen megabytes, or the rest of a banner."""
    with pytest.raises(Nonsense):
        decode(header + bytes(40))


def trickle(data: bytes, *, each: float) -> Talk:
    """A byte at a time."""

    def talk(connection: socket.socket) -> None:
        received(connection)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(each)

    return talk


@pytest.mark.parametrize("talk", [trickle(LET_IN, each=0.1), lambda connection: time.sleep(2), answers(LET_IN, b"")])
def test_time_is_kept(talk: Talk) -> None:
    """A portal that says a byte now and then, or nothing, or nothing more, is given up when time is up."""
    began = time.monotonic()
    found = tried(talk, timeout=0.4)

    assert 0.35 < time.monotonic() - began < 0.9
    assert "no answer" in found.trouble
    assert found.discovery_seconds is None


def test_a_logout_that_is_not_answered_takes_nothing_back() -> None:
    """What was found was found; one second is given to it at most."""
    began = time.monotonic()
    found = tried(answers(LET_IN, LIST, b""), timeout=10)

    assert ([True, True, True], "") == (phases(found), found.trouble)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "127.0.0.1:70000", "nowhere", "[::1:3260", "a b:3260", "", "nowhere.invalid:3260"]
)
def test_what_is_no_portal_is_trouble(where: str) -> None:
    """No exception."""
    assert Probe(trouble=(found := probe(where, initiator=ME, timeout=3)).trouble) == found
    assert found.trouble


def test_nobody_there() -> None:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"

    found = probe(where, initiator=ME, timeout=3)
    assert [False, False, False] == phases(found)
    assert "refused" in found.trouble


def test_a_name_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver knows no deadline: we do."""
    hanging = threading.Event()

    def look_up(*args: object, **options: object) -> None:
        hanging.wait(5)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    found = probe("san1:3260", initiator=ME, timeout=0.3)
    hanging.set()

    assert time.monotonic() - began < 0.8
    assert "no answer" in found.trouble


def test_what_a_scrape_has_of_it() -> None:
    """The whole of it; a phase that did not end has no duration."""
    sheet = Sheet()
    portals.emit(sheet, "a:1", Probe(0.25, 0.5, 0.75, "0000"))
    portals.emit(sheet, "b:1", Probe(0.25, status="0201", trouble="it wants CHAP"))
    portals.emit(sheet, "c:1", Probe(trouble="no answer"))

    assert """\
# TYPE xvmstore_probe_success gauge
xvmstore_probe_success{portal="a:1",phase="tcp_connect"} 1
xvmstore_probe_success{portal="a:1",phase="iscsi_login"} 1
xvmstore_probe_success{portal="a:1",phase="iscsi_discovery"} 1
xvmstore_probe_success{portal="b:1",phase="tcp_connect"} 1
xvmstore_probe_success{portal="b:1",phase="iscsi_login"} 0
xvmstore_probe_success{portal="b:1",phase="iscsi_discovery"} 0
xvmstore_probe_success{portal="c:1",phase="tcp_connect"} 0
xvmstore_probe_success{portal="c:1",phase="iscsi_login"} 0
xvmstore_probe_success{portal="c:1",phase="iscsi_discovery"} 0
# TYPE xvmstore_probe_duration_seconds gauge
xvmstore_probe_duration_seconds{portal="a:1",phase="tcp_connect"} 0.25
xvmstore_probe_duration_seconds{portal="a:1",phase="iscsi_login"} 0.5
xvmstore_probe_duration_seconds{portal="a:1",phase="iscsi_discovery"} 0.75
xvmstore_probe_duration_seconds{portal="b:1",phase="tcp_connect"} 0.25
# TYPE xvmstore_probe_login_status gauge
xvmstore_probe_login_status{portal="a:1"} 0
xvmstore_probe_login_status{portal="b:1"} 513
""" == shown(sheet)
