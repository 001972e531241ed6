"""Health checks against real sockets, a real web server and real commands."""

import http.server
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote.errors import InvalidValue
from xvmstore.health import Check, Health, Result, look, parse

BANNER = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"


def now(text: str, timeout: float = 5) -> Result:
    """One check, once."""
    return look(parse(text), timeout=timeout)


def well(text: str, timeout: float = 5) -> tuple[bool, str]:
    """Whether it is well, and what was found."""
    result = now(text, timeout)
    return result.well, result.found


@contextmanager
def listening(serve: Callable[[socket.socket], object], family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """A server that does this with each connection; its port."""
    with socket.socket(family) as server:
        server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        server.listen()
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                    serve(held[-1])
                except OSError:
                    return

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()
            # A connection it is just accepting is closed too, or it is said to be forgotten in some later test.
            accepting.join(10)
            for connection in held:
                connection.close()


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def silent(_connection: socket.socket) -> None:
    """Accepts, and says nothing."""


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with the status its path asks for; /elsewhere leads to a page that is not well."""

    def do_GET(self) -> None:
        """A redirect, or a number."""
        elsewhere = self.path == "/elsewhere"
        self.send_response(302 if elsewhere else int(self.path.strip("/?") or 200))
        if elsewhere:
            self.send_header("Location", "/500")
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A web server's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# --- what a check may look like --------------------------------------------------------------------------------------


def test_checks() -> None:
    """Every kind, with its defaults; IPv6 in brackets; what is none of them is a command."""
    six = "2001:db8::1"
    for text, host, port, path in (
        ("http://web1", "web1", 80, "/"),
        ("HTTPS://Web1/a?b=1#c", "web1", 443, "/a?b=1"),
        (f"https://[{six}]:8443/x", six, 8443, "/x"),
        ("ping:web1.example.org", "web1.example.org", 0, ""),
        (f"ping:{six}", six, 0, ""),
        (f"ping:[{six}]", six, 0, ""),
        ("ssh:web1", "web1", 22, ""),
        ("ssh:web1:2222", "web1", 2222, ""),
        (f"ssh:[{six}]", six, 22, ""),
        (f"tcp:[{six}]:5432", six, 5432, ""),
    ):
        assert Check(text, text.partition(":")[0].lower(), host, port, path) == parse(text)
    for text in ("ssh web1 systemctl is-system-running", "curl -f http://web1/", "/usr/bin/true", "httpd -t", "x:y"):
        assert Check(text, "command") == parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no health check: give a URL, ping:HOST"),
        (" \n", "is no health check"),
        ("true\0", "is no health check"),
        ("tcp:web1", "give a port from 1 to 65535"),
        ("tcp:web1:", "give a port"),
        ("ssh:web1:", "give a port"),
        ("tcp:web1:0", "give a port"),
        ("tcp:web1:65536", "give a port"),
        ("tcp:web1:http", "give a port"),
        ("tcp:2001:db8::1:22", "into brackets"),
        ("ssh:2001:db8::1", "into brackets"),
        ("ssh:[web1", "no host's name"),
        ("ssh:", "no host's name"),
        ("ping:", "no host's name"),
        ("ping:-f", "no host's name"),
        ("ping:a..b", "no host's name"),
        ("ping:a b", "no host's name"),
        ("tcp:[::1", "into brackets"),
        ("http://", "no host's name"),
        ("http:web1", "no host's name"),
        ("http://web1:99999/", "is no URL"),
        ("http://[::1/", "is no URL"),
        ("http://web1/a b", "is no URL: write blanks"),
        ("http://web1/\u00e9", "is no URL: write blanks"),
        ("https://me:secret@web1/", "has a user in it"),
    ],
)
def test_what_is_no_check(text: str, words: str) -> None:
    """Said at once, in one line, not after a guest was upgraded."""
    with pytest.raises(InvalidValue) as caught:
        parse(text)
    assert words in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


# --- the network -----------------------------------------------------------------------------------------------------


def test_a_web_server(web: str) -> None:
    """2xx and 3xx are well, also if what they lead to would not be; a body of any length is not waited for."""
    assert (True, "200 OK") == well(f"{web}/")
    assert (True, "204 No Content") == well(f"{web}/204?")
    assert (True, "302 Found") == well(f"{web}/elsewhere")
    assert (False, "404 Not Found") == well(f"{web}/404")
    assert (False, "503 Service Unavailable") == well(f"{web}/503")


def test_a_web_server_that_is_none() -> None:
    """What was found instead is said: nobody, another protocol, no TLS, a hang-up."""
    assert (False, "Connection refused") == well(f"http://127.0.0.1:{closed_port()}/")
    with listening(lambda connection: connection.sendall(BANNER)) as port:
        assert (False, BANNER.decode().strip()) == well(f"http://127.0.0.1:{port}/")
        assert re.search("SSL|record", well(f"https://127.0.0.1:{port}/")[1])
    with listening(lambda connection: connection.close()) as port:
        assert not now(f"http://127.0.0.1:{port}/").well


def test_a_certificate_nobody_signed(tmp_path: Path) -> None:
    """It is not well, and the words say why."""
    key, cert = tmp_path / "key", tmp_path / "cert"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    try:
        subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve(connection: socket.socket) -> None:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except ssl.SSLError:
            connection.close()

    with listening(serve) as port:
        found = well(f"https://localhost:{port}/")
    assert not found[0]
    assert re.match("its certificate is not trusted: self.signed certificate", found[1])


def test_who_says_nothing() -> None:
    """A server that accepts and is silent is not well when the time is up, whatever was asked; but it is there."""
    with listening(silent) as port:
        for text in (f"http://127.0.0.1:{port}/", f"https://127.0.0.1:{port}/", f"ssh:127.0.0.1:{port}"):
            began = time.monotonic()
            assert (False, "no answer within 0.4 s") == well(text, 0.4)
            assert 0.3 < time.monotonic() - began < 3
        assert (True, "connected") == well(f"tcp:127.0.0.1:{port}", 0.4)


def test_who_says_it_a_byte_at_a_time() -> None:
    """The time is that of the whole check, not of each byte."""

    def drip(connection: socket.socket) -> None:
        for _ in range(50):
            connection.sendall(b"x")
            time.sleep(0.1)

    for text in ("http://127.0.0.1:{}/", "ssh:127.0.0.1:{}"):
        with listening(drip) as port:
            began = time.monotonic()
            assert (False, "no answer within 0.6 s") == well(text.format(port), 0.6)
            assert time.monotonic() - began < 3


def test_an_ssh_server() -> None:
    """Its version, also after other lines (RFC 4253, 4.2); what it says cannot touch the terminal."""
    with listening(lambda connection: connection.sendall(BANNER)) as port:
        assert (True, "SSH-2.0-OpenSSH_9.2p1 Debian-2") == well(f"ssh:127.0.0.1:{port}")
    with listening(lambda connection: connection.sendall(b"Welcome\r\n\r\nSSH-1.99-x\x1b[2J\xff\n")) as port:
        assert (True, "SSH-1.99-x?[2J\ufffd") == well(f"ssh:127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "the connection was closed before the server said its version"),
        (b"SSH-2.0-cut", "the connection was closed before the server said its version"),
        (b"SSH-1.5-old\n" * 60, "what answers is no SSH server"),
        (b"220 mail ESMTP\r\n" * 1000, "what answers is no SSH server"),
        (b"x" * 100_000, "what answers is no SSH server"),
    ],
)
def test_what_is_no_ssh_server(said: bytes, words: str) -> None:
    """It is told apart, and not read for ever."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    with listening(serve) as port:
        found = well(f"ssh:127.0.0.1:{port}")
    # Hanging up with data unread is a reset.
    assert found in {(False, words), (False, "Connection reset by peer")}


def test_ipv6() -> None:
    """An address in brackets is reached."""
    try:
        with listening(lambda connection: connection.sendall(BANNER), socket.AF_INET6) as port:
            assert (True, "connected") == well(f"tcp:[::1]:{port}")
            assert (True, BANNER.decode().strip()) == well(f"ssh:[::1]:{port}")
            assert (False, BANNER.decode().strip()) == well(f"http://[::1]:{port}/")
    except OSError:
        pytest.skip("needs IPv6 on loopback")


def test_nobody_there() -> None:
    """No such port, no such name: the system's words."""
    port = closed_port()
    assert (False, "Connection refused") == well(f"tcp:127.0.0.1:{port}")
    assert (False, "Connection refused") == well(f"ssh:127.0.0.1:{port}")
    assert not now("tcp:no-such-host.invalid:22", 10).well


# --- commands --------------------------------------------------------------------------------------------------------


def test_commands() -> None:
    """The exit status decides; the last line, of either stream, is shown. Nothing is read from our stdin."""
    assert (True, "exit 0") == well("true")
    assert (True, "exit 0: running") == well("echo starting; echo running; echo")
    assert (False, "exit 3: degraded") == well("echo degraded >&2; exit 3")
    assert (False, "exit 127") == (now("no-such-program").well, now("no-such-program").found.partition(":")[0])
    assert (False, "killed by signal 9") == well("kill -9 $$")
    assert (True, "exit 0: ?[2J") == well(r"printf '\033[2J\n'")
    assert (True, "exit 0") == well("! grep -q .")
    assert (True, "exit 0: 100000") == well("yes | head -n 500000 >&2; echo 100000")


def test_a_command_that_hangs(tmp_path: Path) -> None:
    """It is killed when the time is up, and so are the children that it waits for and those it does not."""
    script = f'(sleep 60; echo) & echo $! >{tmp_path}/a; sh -c "echo \\$\\$ >{tmp_path}/b; sleep 60; echo"; echo'
    began = time.monotonic()
    assert (False, "it had not ended after 1 s, and was killed") == well(script, 1)
    assert time.monotonic() - began < 4
    pids = [int((tmp_path / name).read_text()) for name in "ab"]
    until = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert [] == [pid for pid in pids if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has asked after does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_command_that_leaves_something_behind(tmp_path: Path) -> None:
    """What runs on in the background, holding the output, is not waited for."""
    began = time.monotonic()
    assert (True, "exit 0: started") == well(f"sleep 30 & echo $! >{tmp_path}/pid; echo started", 20)
    assert time.monotonic() - began < 10
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_ping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own is asked for one echo; where there is none, that is said."""
    program = tmp_path / "ping"
    program.write_text('#!/bin/sh\n[ "$*" = "-c 1 web1" ] || { echo unknown host; exit 2; }\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (True, "answers") == well("ping:web1")
    assert (False, "exit 2: unknown host") == well("ping:web2")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert (False, "cannot run ping: No such file or directory") == well("ping:web1")


# --- rounds ----------------------------------------------------------------------------------------------------------


def counted(path: Path, from_try: int) -> str:
    """A command that is well from so many tries on."""
    return f"echo >>{path}; n=$(wc -l <{path}); echo try $n; [ $n -ge {from_try} ]"


def test_well_on_the_third_try(tmp_path: Path) -> None:
    """Tried again after a wait, and no longer than needed; what was not well is said each time."""
    waits: list[float] = []
    said: list[str] = []
    text = counted(tmp_path / "n", 3)
    (result,) = Health(waits.append).run([parse(text)], tries=9, wait=0.5, timeout=5, say=said.append)
    assert Result(parse(text), True, "exit 0: try 3") == result
    assert [0.5, 0.5] == waits
    assert [f"try {number} of 9: {text}: exit 1: try {number}" for number in (1, 2)] == said


def test_all_in_the_same_round(tmp_path: Path) -> None:
    """One that was well before and is so no more counts as it is now; every check is asked in each round."""
    first, third = f"[ ! -e {tmp_path}/n3 ]", counted(tmp_path / "n", 3)
    (tmp_path / "n3").touch()
    results = Health().run([parse(first), parse(third)], tries=3, wait=0, timeout=5, say=lambda _: None)
    assert [(False, "exit 1"), (True, "exit 0: try 3")] == [(one.well, one.found) for one in results]
    (tmp_path / "n3").unlink()
    assert all(one.well for one in Health().run([parse(first), parse(third)], tries=1, wait=0, timeout=5, say=print))


def test_never_well() -> None:
    """After the last round there is no wait; its results are what is told."""
    waits: list[float] = []
    (result,) = Health(waits.append).run([parse("exit 4")], tries=2, wait=7, timeout=5, say=lambda _: None)
    assert (False, "exit 4", [7]) == (result.well, result.found, waits)


def test_a_run_that_cannot_be() -> None:
    """No check at all would always be well: refused, as are no tries and no time."""
    some = [parse("true")]
    for checks, tries, wait, timeout in (([], 1, 0, 1), (some, 0, 0, 1), (some, 1, -1, 1), (some, 1, 0, 0)):
        with pytest.raises(InvalidValue, match="at least one health check and one try"):
            Health().run(checks, tries=tries, wait=wait, timeout=timeout, say=print)
