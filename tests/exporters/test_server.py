"""The server on real sockets: TLS, passwords, slow and many clients, signals."""

import base64
import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import bcrypt
import pytest

from exporters.exposition import Sheet
from exporters.pages import Row, UnknownTarget
from exporters.server import Limits, Server, address
from exporters.web_config import WebConfig
from remote.errors import ConfigError
from tests.exporters.test_pages import sheet

QUICK = Limits(patience=0.5)
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
CLIENTS = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"


class San:
    """A site: ``san1`` answers, ``slow`` when it is let, ``big`` with much."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), threading.Semaphore(0)

    def probe(self, target: str, *, budget: float) -> Sheet:
        """As the name says."""
        if target == "slow":
            self.asked.release()
            assert self.let.wait(30)
        elif target not in ("san1", "big"):
            raise UnknownTarget(target)
        return sheet(100_000 if target == "big" else 1)

    def own(self) -> Sheet:
        """Nothing."""
        return Sheet()

    def targets(self) -> Sequence[Row]:
        """One."""
        return [Row("san1", "node")]


@contextlib.contextmanager
def served(
    site: San | None = None, *, limits: Limits | None = None, web: WebConfig | None = None, listen: str = "127.0.0.1:0"
) -> Iterator[Server]:
    """A server that answers, and is stopped in the end."""
    server = Server(site or San(), listen=(listen,), limits=limits, web_config=web)
    server.start()
    try:
        yield server
    finally:
        assert server.stop()


def port(server: Server) -> int:
    """Of its only address."""
    return int(server.addresses[0].rpartition(":")[2])


def ask(
    server: Server, target: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    client = http.client.HTTPConnection("127.0.0.1", port(server), timeout=20)
    try:
        client.request(method, target, headers=headers or {})
        reply = client.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        client.close()


def connected(server: Server) -> socket.socket:
    """A client that says nothing yet."""
    return socket.create_connection(("127.0.0.1", port(server)), timeout=20)


def said(client: socket.socket) -> bytes:
    """All that it gets; nothing more if the server cuts it."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            got += chunk
    return got


def until(true: Callable[[], bool], *, within: float = 20) -> None:
    """Wait for it."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_all_pages_are_answered_over_a_real_connection() -> None:
    """With what an HTTP client needs: length, type, and that the connection ends."""
    with served() as server:
        status, headers, body = ask(server, "/probe?target=san1")
        assert (200, b'xvmstore_things_total{thing="0"} 0') == (status, body.splitlines()[-1])
        assert (str(len(body)), "close") == (headers["Content-Length"], headers["Connection"])
        assert (200, b"OK\n") == ask(server, "/-/healthy")[::2]
        assert 200 == ask(server, "/")[0]
        status, headers, body = ask(server, "/probe?target=san1", method="HEAD")
        assert (200, b"") == (status, body)
        assert int(headers["Content-Length"]) > 0
        with connected(server) as client:
            client.sendall(b"HEAD /-/healthy HTTP/1.1\r\n\r\n")
            assert said(client).endswith(b"\r\n\r\n")
        assert 405 == ask(server, "/metrics", method="POST")[0]
        assert 404 == ask(server, "/nothing")[0]
        until(lambda: not server._open)
        metrics = ask(server, "/metrics")[2].decode()
        assert 'xvmstore_http_responses_total{page="/probe",code="200"} 2\n' in metrics
        assert "xvmstore_http_connections 1\n" in metrics
        assert "web_config" not in metrics


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_and_several_addresses_are_listened_on() -> None:
    """In the form in which they are given."""
    server = Server(San(), listen=("127.0.0.1:0", "[::1]:0"))
    server.start()
    try:
        four, six = server.addresses
        assert four.startswith("127.0.0.1:")
        assert six.startswith("[::1]:")
        with socket.create_connection(("::1", int(six.rpartition(":")[2])), timeout=20) as client:
            client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            assert said(client).endswith(b"\r\n\r\nOK\n")
    finally:
        server.stop()
    with served(listen="[::]:0") as server:
        Server(San(), listen=(f"0.0.0.0:{port(server)}",)).stop()


def test_a_port_in_use_is_one_clear_error_and_nothing_stays_open() -> None:
    """Also of the addresses before it."""
    with served() as server:
        ask(server, "/")
        until(lambda: not server._open)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ConfigError, match=rf"listen address 127.0.0.1:{port(server)}: Address already in use"):
            Server(San(), listen=("127.0.0.1:0", server.addresses[0]))
        assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "text", ["9813", ":9813", "localhost:9813", "127.0.0.1", "::1:9813", "[127.0.0.1]:9813", "127.0.0.1:x", "[::1]"]
)
def test_a_listen_address_is_an_address_and_a_port(text: str) -> None:
    """All addresses only when it is said in so many words."""
    with pytest.raises(ConfigError, match=r"it must be as 127\.0\.0\.1:9813 or \[::1\]:9813"):
        address(text)
    with pytest.raises(ConfigError, match="there is no such port"):
        address("127.0.0.1:65536")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\n", 400),
        (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (b"A: " + b"x" * 1000 + b"\r\n") * 90 + b"\r\n", 431),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000, 405),
        (b"GET /-/healthy HTTP/1.1\nHost: x\n\n", 200),
    ],
)
def test_what_cannot_be_read_gets_an_answer_and_harms_nobody(sent: bytes, status: int) -> None:
    """The answer arrives though not all was read, and the server goes on."""
    with served() as server:
        with connected(server) as client:
            client.sendall(sent)
            answer = said(client)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert 200 == ask(server, "/-/healthy")[0]


def test_who_is_slow_or_silent_is_let_go() -> None:
    """Though it sends a byte now and then: the time is for all of the request."""
    with served(limits=QUICK) as server, connected(server) as silent, connected(server) as slow:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 80:
                slow.sendall(bytes([byte]))
                if select.select([slow], [], [], 0.02)[0]:
                    break
        assert said(slow).startswith(b"HTTP/1.1 408 ")
        assert said(silent).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 8
        silent.close()
        slow.close()
        until(lambda: not server._open)


def test_an_answer_that_nobody_fetches_is_dropped() -> None:
    """No thread hangs on a client that reads nothing."""
    with served(limits=QUICK) as server, connected(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /probe?target=big HTTP/1.1\r\n\r\n")
        until(lambda: bool(server._open))
        until(lambda: not server._open)


def test_more_probes_than_there_are_places_for_get_503_and_the_rest_goes_on() -> None:
    """/metrics and /-/healthy answer while all places are taken, and places come free again."""
    site = San()
    with served(site, limits=Limits(probes=2)) as server:
        threads = [threading.Thread(target=ask, args=(server, "/probe?target=slow")) for _ in range(2)]
        for thread in threads:
            thread.start()
            assert site.asked.acquire(timeout=20)
        status, _, body = ask(server, "/probe?target=san1")
        assert (503, b"2 probes are under way, and no more are taken at once\n") == (status, body)
        assert 200 == ask(server, "/-/healthy")[0]
        until(lambda: 2 == len(server._open))
        assert b"xvmstore_http_connections 3\n" in ask(server, "/metrics")[2]
        site.let.set()
        for thread in threads:
            thread.join()
        assert 200 == ask(server, "/probe?target=san1")[0]


def test_more_connections_than_there_are_threads_for_are_closed() -> None:
    """And counted; those that are open are served."""
    with served(limits=Limits(connections=2)) as server:
        with connected(server) as first, connected(server):
            until(lambda: 2 == len(server._open))
            with connected(server) as third:
                assert b"" == said(third)
            first.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert b'xvmstore_http_connections_refused_total{reason="crowded"} 1\n' in said(first)
        until(lambda: not server._open)
        assert 200 == ask(server, "/-/healthy")[0]


@pytest.mark.slow
def test_two_hundred_requests_leave_neither_threads_nor_descriptors() -> None:
    """A third of them aborted at some point."""
    site = San()
    with served(site) as server:
        ask(server, "/")
        until(lambda: not server._open)
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for number in range(200):
            if number % 3:
                assert 200 == ask(server, "/probe?target=san1")[0]
                continue
            client = connected(server)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall((b"", b"GET /pro", b"GET /probe?target=big HTTP/1.1\r\n\r\n")[number // 3 % 3])
            client.close()
        until(lambda: not server._open)
        until(lambda: threads == threading.active_count())
        assert descriptors == len(os.listdir("/proc/self/fd"))


def test_a_stop_waits_for_answers_and_not_for_the_silent() -> None:
    """Nothing new is taken meanwhile."""
    site, statuses, stops = San(), list[int](), list[bool]()
    server = Server(site, listen=("127.0.0.1:0",))
    server.start()
    where = port(server)
    asking = threading.Thread(target=lambda: statuses.append(ask(server, "/probe?target=slow")[0]))
    stopping = threading.Thread(target=lambda: stops.append(server.stop()))
    with connected(server) as silent:
        asking.start()
        assert site.asked.acquire(timeout=20)
        stopping.start()
        assert b"" == said(silent)
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", where), timeout=20)
        site.let.set()
        asking.join()
        stopping.join()
    assert [200] == statuses
    assert [True] == stops


def test_a_stop_cuts_off_what_takes_too_long() -> None:
    """After its time of grace."""
    site = San()
    server = Server(site, listen=("127.0.0.1:0",), limits=Limits(grace=0.1))
    server.start()
    with connected(server) as client:
        client.sendall(b"GET /probe?target=slow HTTP/1.1\r\n\r\n")
        assert site.asked.acquire(timeout=20)
        assert not server.stop()
        assert b"" == said(client)
    site.let.set()
    until(lambda: not server._open)


# TLS and passwords


@pytest.fixture
def web(tmp_path: Path, certificates: Path) -> Callable[[str], Path]:
    """Writes web.yml beside the certificates."""
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)

    def write(text: str) -> Path:
        (tmp_path / "web.yml").write_text(text, encoding="utf-8")
        return tmp_path / "web.yml"

    return write


def trusting(directory: Path, client: str = "", *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that trusts our CA only, with a certificate of its own perhaps."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    if client:
        context.load_cert_chain(directory / f"{client}.crt", directory / f"{client}.key")
    if version:
        context.maximum_version = version
    return context


def ask_tls(server: Server, context: ssl.SSLContext, *, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a probe."""
    client = http.client.HTTPSConnection("127.0.0.1", port(server), timeout=20, context=context)
    try:
        client.request("GET", "/probe?target=san1", headers=headers or {})
        reply = client.getresponse()
        return reply.status, reply.read()
    finally:
        client.close()


def test_tls_is_spoken_and_verified(web: Callable[[str], Path]) -> None:
    """By a client that knows the CA; one that speaks plain HTTP gets nothing, and is counted."""
    path = web(TLS)
    with served(web=WebConfig(path)) as server:
        assert 200 == ask_tls(server, trusting(path.parent))[0]
        assert 200 == ask_tls(server, trusting(path.parent, version=ssl.TLSVersion.TLSv1_2))[0]
        with pytest.raises(ssl.SSLCertVerificationError):
            ask_tls(server, ssl.create_default_context(cafile=path.parent / "other.crt"))
        with connected(server) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP" not in said(plain)
        until(lambda: 2 == server._closed["tls"])


def test_a_minimum_version_holds(web: Callable[[str], Path]) -> None:
    """TLS 1.2 is not enough for TLS13."""
    path = web(f"{TLS}  min_version: TLS13\n")
    with served(web=WebConfig(path)) as server:
        assert 200 == ask_tls(server, trusting(path.parent))[0]
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
            ask_tls(server, trusting(path.parent, version=ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("more", "let_in"),
    [
        ("", {"prometheus"}),
        ("  client_allowed_sans: [prometheus.example]\n", {"prometheus"}),
        ('  client_allowed_sans: [x, "2001:db8:0::1"]\n', {"prometheus"}),
        ("  client_allowed_sans: [example]\n", set()),
    ],
)
def test_only_clients_with_the_right_certificate_are_let_in(
    web: Callable[[str], Path], more: str, let_in: set[str], version: ssl.TLSVersion
) -> None:
    """Of our CA, for clients, and with an allowed name if there is a list. None is answered without one."""
    path = web(TLS + CLIENTS + more)
    with served(web=WebConfig(path)) as server:
        for client in ("prometheus", "stranger", "server", ""):
            context = trusting(path.parent, client, version=version)
            if client in let_in:
                assert 200 == ask_tls(server, context)[0]
            else:
                with pytest.raises((OSError, http.client.HTTPException)):
                    ask_tls(server, context)


def test_a_certificate_that_is_optional_is_verified_if_given(web: Callable[[str], Path]) -> None:
    """VerifyClientCertIfGiven: none is fine, a wrong one is not."""
    path = web(TLS + CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    with served(web=WebConfig(path)) as server:
        assert 200 == ask_tls(server, trusting(path.parent))[0]
        assert 200 == ask_tls(server, trusting(path.parent, "prometheus"))[0]
        with pytest.raises((OSError, http.client.HTTPException)):
            ask_tls(server, trusting(path.parent, "stranger"))


def test_a_handshake_that_never_comes_keeps_nobody_waiting(web: Callable[[str], Path]) -> None:
    """It is made in the connection's own thread, and has an end."""
    path = web(TLS)
    with served(web=WebConfig(path), limits=QUICK) as server, connected(server), connected(server) as half:
        half.sendall(b"\x16\x03\x01")
        until(lambda: 2 == len(server._open))
        assert 200 == ask_tls(server, trusting(path.parent))[0]
        until(lambda: not server._open)


def test_a_stop_does_not_wait_for_a_handshake(web: Callable[[str], Path]) -> None:
    """Nobody has asked for anything there."""
    server = Server(San(), listen=("127.0.0.1:0",), web_config=WebConfig(web(TLS)))
    server.start()
    with connected(server):
        until(lambda: bool(server._open) and isinstance(next(iter(server._open))._sock, ssl.SSLSocket))
        began = time.monotonic()
        assert server.stop()
        assert time.monotonic() - began < 3


def test_a_renewed_certificate_is_served_without_a_restart(web: Callable[[str], Path]) -> None:
    """And the last good one while the new one is wrong, which /metrics tells."""
    path = web(TLS)
    with served(web=WebConfig(path)) as server:
        assert "renewed.example" not in names(server, path.parent)
        web("nonsense: 1\n")
        assert "renewed.example" not in names(server, path.parent)
        assert b"xvmstore_web_config_ok 0\n" in _metrics(server, path.parent)
        web(TLS.replace("server.", "renewed."))
        assert "renewed.example" in names(server, path.parent)
        assert b"xvmstore_web_config_ok 1\n" in _metrics(server, path.parent)


def names(server: Server, directory: Path) -> list[str]:
    """Those of the certificate it shows."""
    with trusting(directory).wrap_socket(connected(server), server_hostname="127.0.0.1") as client:
        shown = client.getpeercert()
        assert shown
        return [str(pair[1]) for pair in shown["subjectAltName"]]


def _metrics(server: Server, directory: Path) -> bytes:
    # A connection that ends without TLS's goodbye raises, so that nobody can cut an answer short unnoticed.
    with trusting(directory).wrap_socket(
        connected(server), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    ) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        return said(client)


def basic(text: str) -> dict[str, str]:
    """An Authorization header."""
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_passwords_are_asked_for_on_every_page(web: Callable[[str], Path]) -> None:
    """As the toolkit does: /-/healthy is no exception, nor is what does not exist."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = web(f"basic_auth_users: {{alice: {hashed}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n")
    with served(web=WebConfig(path)) as server:
        for target in ("/", "/metrics", "/probe?target=san1", "/-/healthy", "/nothing"):
            status, headers, body = ask(server, target)
            assert (401, b"name and password are needed\n") == (status, body)
            assert 'Basic realm="xvmstore"' == headers["WWW-Authenticate"]
            assert "deny" == headers["X-Frame-Options"]
            assert 401 == ask(server, target, headers=basic("alice:wrong"))[0]
            assert (404 if target == "/nothing" else 200) == ask(server, target, headers=basic("alice:secret"))[0]
        web("basic_auth_users: {bob: " + hashed + "}\n")
        assert 401 == ask(server, "/", headers=basic("alice:secret"))[0]
        assert 200 == ask(server, "/", headers=basic("bob:secret"))[0]


def test_a_rate_limit_is_kept(web: Callable[[str], Path]) -> None:
    """Before passwords are looked at: they cost more."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = web(f"basic_auth_users: {{alice: {hashed}}}\nrate_limit: {{interval: 1h, burst: 2}}\n")
    with served(web=WebConfig(path)) as server:
        assert [401, 401, 429] == [ask(server, "/")[0] for _ in range(3)]


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl_gets_along_with_it(web: Callable[[str], Path]) -> None:
    """Another implementation of TLS, gzip and passwords."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = web(f"{TLS}{CLIENTS}basic_auth_users: {{alice: {hashed}}}\n")
    with served(web=WebConfig(path)) as server:
        identity = ("--cert", "prometheus.crt", "--key", "prometheus.key", "--cacert", "ca.crt")
        url = f"https://127.0.0.1:{port(server)}/probe?target=big"
        words = ("curl", "-sS", "--fail", "--compressed", "-u", "alice:secret", *identity, url)
        got = subprocess.run(words, cwd=path.parent, capture_output=True, timeout=60, check=True)
        assert 100_002 == len(got.stdout.splitlines())
        assert b"" == got.stderr


# Signals

PROGRAM = """\
import sys, time
from exporters.exposition import Sheet
from exporters.server import Server, run

class Site:
    def probe(self, target, *, budget):
        print("asked", flush=True)
        time.sleep(1 if target == "short" else 60)
        return Sheet()
    def own(self): return Sheet()
    def targets(self): return []

def reload():
    print("reload", flush=True)
    raise ValueError("not now")

server = Server(Site(), listen=("127.0.0.1:0",))
print(server.addresses[0], flush=True)
run(server, reload=reload)
print("end", flush=True)
"""


@contextlib.contextmanager
def program() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that serves, and its port."""
    root = Path(__file__).parents[2]
    words = (sys.executable, "-c", PROGRAM)
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            at = int(process.stdout.readline().rpartition(":")[2])
            # Signals are taken as soon as it answers.
            deadline = time.monotonic() + 20
            while _status(at, "/-/healthy") != 200:
                assert time.monotonic() < deadline
            yield process, at
        finally:
            process.kill()


def _status(at: int, target: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", at, timeout=20)
    try:
        client.request("GET", target)
        return client.getresponse().status
    finally:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_after_the_answers_under_way(number: signal.Signals) -> None:
    """What Prometheus waits for still comes."""
    with program() as (process, at):
        assert process.stdout
        statuses: list[int] = []
        asking = threading.Thread(target=lambda: statuses.append(_status(at, "/probe?target=short")))
        asking.start()
        assert "asked\n" == process.stdout.readline()
        process.send_signal(number)
        assert "end\n" == process.stdout.readline()
        assert 0 == process.wait(20)
        asking.join()
        assert [200] == statuses


def test_a_second_signal_does_not_wait() -> None:
    """For who is in a hurry: the process is ended by it."""
    with program() as (process, at), socket.create_connection(("127.0.0.1", at), timeout=20) as client:
        assert process.stdout
        client.sendall(b"GET /probe?target=long HTTP/1.1\r\n\r\n")
        assert "asked\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        until(lambda: _refused(at))
        process.send_signal(signal.SIGTERM)
        assert -signal.SIGTERM == process.wait(3)


def _refused(at: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", at), timeout=20).close()
    except ConnectionError:
        return True
    return False


def test_sighup_reloads_and_a_failure_of_that_changes_nothing() -> None:
    """It is one line in the log."""
    with program() as (process, at):
        assert process.stdout
        assert process.stderr
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert "reload\n" == process.stdout.readline()
        assert 200 == _status(at, "/-/healthy")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(20)
        assert ["not reloaded: not now"] * 2 == process.stderr.read().splitlines()


# The files of the service managers


def test_the_systemd_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """No unknown key, no bad value; the program is replaced by one that is there."""
    text = resources.files("exporters").joinpath("files/xvmstore-exporter.service").read_text(encoding="ascii")
    assert "\nExecStart=/usr/local/bin/xvmstore --config /etc/xvmstore/config.toml exporter serve\n" in text
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "xvmstore-exporter.service"
    unit.write_text(text.replace("/usr/local/bin/xvmstore", "/bin/true"), encoding="ascii")
    got = subprocess.run(("systemd-analyze", "verify", unit), capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (got.returncode, got.stderr)


def test_the_smf_manifest_is_well_formed_and_runs_the_same() -> None:
    """One program, which does not go into the background."""
    text = resources.files("exporters").joinpath("files/xvmstore-exporter.xml").read_text(encoding="ascii")
    root = ET.fromstring(text)
    methods = {one.get("name"): one.get("exec") for one in root.iter("exec_method")}
    start = "/opt/xvmstore/bin/xvmstore --config /etc/xvmstore/config.toml exporter serve"
    assert {"start": start, "refresh": ":kill -HUP", "stop": ":kill"} == methods
    assert "child" in [one.get("value") for one in root.iter("propval")]
