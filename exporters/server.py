"""The exporter's HTTP server: sockets, TLS, threads and signals. What is answered is in ``pages``.

A thread a connection, and a request a connection: scraping needs no more, and nobody who is slow or silent can hold on
to one for longer than ``Limits.patience``. TLS is spoken in that thread, so accepting never waits for anybody.
"""

import contextlib
import io
import ipaddress
import logging
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from email.message import Message
from types import FrameType

from exporters import pages
from exporters.exposition import Metric, Sheet, counter, gauge
from exporters.http1 import HEAD, Arriving, Request, Unreadable, read_request, written
from exporters.pages import Limits, Pages, Reply, Row, Site, Times, UnknownTarget, refusal
from exporters.passwords import Passwords
from exporters.web_config import Version, WebConfig
from remote.errors import ConfigError, one_line

__all__ = ["METRICS", "Limits", "Row", "Server", "Site", "UnknownTarget", "address", "run"]

log = logging.getLogger("xvmstore.exporter")

WEB_CONFIG = gauge(
    "web_config_ok",
    "1 if the web configuration file as it is now counts, 0 if it is wrong and the last good version still does.",
    source="the exporter itself",
)
CONNECTIONS = gauge("http_connections", "Connections to the exporter that are open now.", source="the exporter itself")
CLOSED = counter(
    "http_connections_refused_total",
    "Connections closed unanswered: crowded (too many at once), tls (no handshake, or no right client certificate).",
    "reason",
    source="the exporter itself",
)
METRICS: tuple[Metric, ...] = (*pages.METRICS, WEB_CONFIG, CONNECTIONS, CLOSED)

DEFAULT_ADDRESS = "127.0.0.1:9813"
_BACKLOG = 128
# Seconds in which a client is to close, once it has its answer.
_PARTING = 1.0


def address(text: str) -> tuple[str, int]:
    """Of "127.0.0.1:9813" or "[::1]:9813". No names: what we listen on must not depend on a name server."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version: int = ipaddress.ip_address(bare).version
    except ValueError:
        version = 0
    if not colon or version != (6 if host.startswith("[") else 4) or not (port.isascii() and port.isdigit()):
        raise ConfigError(f"listen address {text!r}: it must be as 127.0.0.1:9813 or [::1]:9813 (all: 0.0.0.0:9813)")
    if int(port) > 65535:
        raise ConfigError(f"listen address {text!r}: there is no such port")
    return bare, int(port)


def _bound(text: str) -> socket.socket:
    host, port = address(text)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"listen address {text}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # So that [::] and 0.0.0.0 can both be given, everywhere.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(found)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(f"listen address {text}: {error.strerror}") from error
    return listener


class Server:
    """Listens from the start, answers from ``start`` to ``stop``. Raises ConfigError for what cannot be listened on."""

    def __init__(
        self,
        site: Site,
        *,
        listen: Sequence[str] = (DEFAULT_ADDRESS,),
        web_config: WebConfig | None = None,
        timeout: float = 10.0,
        offset: float = 0.5,
        limits: Limits | None = None,
    ) -> None:
        """``timeout`` and ``offset`` are those of ``Times``."""
        self.limits = limits or Limits()
        self.web = web_config or WebConfig(None)
        self.pages = Pages(site, Times(timeout, offset), probes=self.limits.probes, about=self._tell)
        self.passwords = Passwords()
        self._open: set[_Connection] = set()
        self._closed = {"crowded": 0, "tls": 0}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)
        self._listeners: list[socket.socket] = []
        try:
            for text in listen:
                self._listeners.append(_bound(text))
        except ConfigError:
            self._close_listeners()
            raise

    @property
    def addresses(self) -> list[str]:
        """What is listened on, in the form of ``listen``; a port 0 has become one that was free."""
        names = [listener.getsockname() for listener in self._listeners]
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port, *_ in names]

    def start(self) -> None:
        """Begin to answer, in threads."""
        self._thread.start()

    def stop(self) -> bool:
        """Accept no more, and give the answers under way ``grace`` seconds. False if some were cut off."""
        if self._stopping.is_set():
            return True
        self._stopping.set()
        self._wake.send(b"x")
        if self._thread.ident is not None:
            self._thread.join()
        self._close_listeners()
        with self._changed:
            for connection in self._open:
                if not connection.asked:
                    connection.cut()
            finished = self._changed.wait_for(lambda: not self._open, timeout=self.limits.grace)
            for connection in self._open:
                connection.cut()
        return finished

    def _close_listeners(self) -> None:
        for listener in (*self._listeners, self._wake, self._woken):
            listener.close()

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._woken):
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select():
                    if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._woken:
                        self._accept(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            # No file descriptors left, for one: the client stays in the queue, and this would come back at once.
            log.error("a connection could not be accepted: %s", error.strerror)
            self._stopping.wait(0.2)
            return
        connection = _Connection(self, sock, peer[0])
        with self._changed:
            crowded = len(self._open) >= self.limits.connections
            if crowded:
                self._closed["crowded"] += 1
            else:
                self._open.add(connection)
        try:
            if crowded:
                sock.close()
            else:
                threading.Thread(target=connection.run, name=f"client {peer[0]}", daemon=True).start()
        except RuntimeError as error:
            log.error("no thread for a connection: %s", error)
            connection.close()

    def gone(self, connection: "_Connection") -> None:
        """A connection is over."""
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def no_tls(self, peer: str, error: OSError) -> None:
        """A handshake failed."""
        log.info("%s: no TLS connection: %s", peer, one_line(str(error)))
        with self._changed:
            self._closed["tls"] += 1

    def _tell(self, sheet: Sheet) -> None:
        with self._changed:
            sheet.put(CONNECTIONS, len(self._open))
            for reason, number in self._closed.items():
                sheet.put(CLOSED, number, reason)
        if self.web.path is not None:
            sheet.put(WEB_CONFIG, not self.web.problem)


class _Connection:
    """One client, for one request. ``asked`` once its request is there."""

    def __init__(self, server: Server, sock: socket.socket, peer: str) -> None:
        self.server, self.peer, self.asked = server, peer, False
        self._sock, self._web = sock, Version()

    def run(self) -> None:
        """All of it, in a thread of its own; never raises."""
        patience = self.server.limits.patience
        deadline = time.monotonic() + patience
        try:
            if self._secured(patience) and (answer := self._answer(deadline)):
                self._sock.settimeout(patience)
                self._sock.sendall(answer)
                self._part()
        except OSError as error:
            log.debug("%s: %s", self.peer, error)
        except Exception as error:
            log.error("%s: %s: %s", self.peer, type(error).__name__, one_line(str(error)))
            log.debug("traceback", exc_info=True)
        finally:
            self.close()

    def _secured(self, patience: float) -> bool:
        try:
            # One version from the handshake to the answer: between two of them a client might be asked for nothing.
            self._web = self.server.web.current()
            self._sock.settimeout(patience)
            self._sock = self._web.wrapped(self._sock)
            self._web.shake_hands(self._sock)
        except OSError as error:
            self.server.no_tls(self.peer, error)
            return False
        return True

    def _answer(self, deadline: float) -> bytes:
        request = Request("", "", Message())
        try:
            read = read_request(io.BufferedReader(Arriving(self._sock, deadline)))
            if read is None:
                return b""
            request, self.asked = read, True
            reply = self._admitted(request)
        except TimeoutError:
            reply = refusal(408, "the request did not arrive in time")
        except Unreadable as error:
            reply = refusal(error.status, str(error))
        self.server.pages.count(request.target, reply.status)
        return written(reply, self._web.headers, method=request.method)

    def _admitted(self, request: Request) -> Reply:
        web = self._web
        if web.bucket and not web.bucket.take():
            return refusal(429, "too many requests: rate_limit of the web configuration")
        if web.users:
            said = request.headers.get_all("Authorization", [])
            if len(said) != 1 or not self.server.passwords.admit(web.users, said[0]):
                return refusal(401, "name and password are needed", ("WWW-Authenticate", 'Basic realm="xvmstore"'))
        return self.server.pages.answer(request.method, request.target, request.headers)

    def _part(self) -> None:
        """Let the client have the answer: closing with something of its request unread would take it away from it."""
        if isinstance(self._sock, ssl.SSLSocket):
            # It says goodbye; with a timeout it would wait for the client to do so, too.
            self._sock.settimeout(0)
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        # Below TLS from here on, which has nothing more to say.
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        deadline, read = time.monotonic() + _PARTING, 0
        while read < HEAD and (left := deadline - time.monotonic()) > 0:
            self._sock.settimeout(left)
            got = len(socket.socket.recv(self._sock, 8192))
            if not got:
                break
            read += got

    def cut(self) -> None:
        """End it from another thread."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        self._sock.close()
        self.server.gone(self)


def run(server: Server, reload: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT; a second one does not wait for answers under way. SIGHUP calls ``reload``.

    For the main thread alone. What ``reload`` raises is logged, and changes nothing.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)
    # The byte is written whichever thread the kernel interrupts; the handlers need only be there.
    before_fd = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        server.start()
        while (number := told.recv(1)[0]) not in (signal.SIGTERM, signal.SIGINT):
            if number == signal.SIGHUP:
                _reload(reload)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, before[number] or signal.SIG_DFL)
        finished = server.stop()
        signal.signal(signal.SIGHUP, before[signal.SIGHUP] or signal.SIG_DFL)
        signal.set_wakeup_fd(before_fd)
        told.close()
        tell.close()
    log.info("stopped" if finished else "stopped; answers that took too long were cut off")


def _nothing(number: int, frame: FrameType | None) -> None:
    """A signal handler: that there is one is what counts."""


def _reload(reload: Callable[[], None]) -> None:
    try:
        reload()
    except Exception as error:
        log.error("not reloaded: %s", one_line(str(error)) or type(error).__name__)
        log.debug("traceback", exc_info=True)
