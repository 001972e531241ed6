"""Is a guest well? Asked from here, over the network or by a command; standard library only.

A check is one word of the command line:

    http://web1/, https://web1/   GET; 2xx and 3xx are well. A redirect is an answer and is not followed, so that no
                                  other machine's health is taken for the guest's. Certificates are checked
    ping:HOST                     one ICMP echo, by the system's ping
    ssh:HOST[:PORT]               the server says its version (RFC 4253, 4.2); nobody logs in
    tcp:HOST:PORT                 it accepts a connection
    anything else                 a command for /bin/sh here; exit 0 is well
"""

import contextlib
import http.client
import ipaddress
import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from remote.errors import InvalidValue, one_line
from storage.names import shown

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,99}\.?\Z")
_LITERAL = re.compile(r"\[([^\]]*)\](?::(.*))?\Z")
_URL_PORTS = {"http": 80, "https": 443}
_SSH_PORT = 22
# RFC 4253, 4.2: a line has at most 255 characters, and others may come before the version. How many, it does not say.
_LONGEST_LINE, _MOST_LINES = 255, 50
# Of a command's output: as much of its end as can hold a last line.
_TAIL = 4096


class _UnwellError(Exception):
    """What was found instead of health, in one line."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its text as given, its kind (http, https, ping, ssh, tcp or command), and where it goes."""

    text: str
    kind: str
    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Whether a check held, and what was found, in one line."""

    check: Check
    well: bool
    found: str


def parse(text: str) -> Check:
    """Read a check, as the module says. Raises InvalidValue."""
    kind, colon, rest = text.partition(":")
    kind = kind.lower()
    if "\0" in text or not text.strip():
        raise InvalidValue(
            f"{shown(text)} is no health check: give a URL, ping:HOST, ssh:HOST, tcp:HOST:PORT or a command"
        )
    if colon and kind in {"http", "https"}:
        return _url(text)
    if colon and kind == "ping":
        return Check(text, kind, _host(text, rest.removeprefix("[").removesuffix("]")))
    if colon and kind in {"ssh", "tcp"}:
        host, port = _address(text, rest, _SSH_PORT if kind == "ssh" else None)
        return Check(text, kind, host, port)
    return Check(text, "command")


def _url(text: str) -> Check:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise InvalidValue(f"{shown(text)} is no URL: {error}") from error
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidValue(f"{shown(text)} is no URL: write blanks and other characters as %XX")
    if "@" in url.netloc:
        raise InvalidValue(f"{shown(text)} has a user in it: use a command, for example curl with its --netrc")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Check(text, url.scheme, _host(text, url.hostname or ""), port or _URL_PORTS[url.scheme], path)


def _address(text: str, rest: str, default: int | None) -> tuple[str, int]:
    match = _LITERAL.match(rest)
    host, _, port = (match[1], "", match[2]) if match else rest.partition(":")
    if not match and rest.count(":") > 1:
        raise InvalidValue(f"{shown(text)}: put an IPv6 address into brackets, for example [2001:db8::1]:22")
    if not port and default is not None and not rest.endswith(":"):
        return _host(text, host), default
    if not port or not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65535:
        raise InvalidValue(f"{shown(text)}: give a port from 1 to 65535, for example tcp:web1:5432")
    return _host(text, host), int(port)


def _host(text: str, host: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    if not _HOST.match(host):
        raise InvalidValue(f"{shown(text)}: {shown(host)} is no host's name or address")
    return host


@dataclass(frozen=True, slots=True)
class Health:
    """Runs checks. ``sleep`` waits so many seconds between rounds."""

    sleep: Callable[[float], None] = time.sleep

    def run(
        self, checks: Sequence[Check], *, tries: int, wait: float, timeout: float, say: Callable[[str], None]
    ) -> tuple[Result, ...]:
        """The results of the last round: all well, or those of round ``tries``. Raises InvalidValue.

        All must hold in the same round. ``wait`` and ``timeout`` are seconds: between rounds, and for each check.
        ``say`` is told what is not well, each time.
        """
        if not checks or tries < 1 or wait < 0 or timeout <= 0:
            raise InvalidValue(
                "give at least one health check and one try, a wait of 0 s or more, and a timeout above 0 s"
            )
        for number in range(1, tries + 1):
            if number > 1:
                self.sleep(wait)
            results = tuple(look(check, timeout=timeout) for check in checks)
            unwell = [result for result in results if not result.well]
            for result in unwell:
                say(f"try {number} of {tries}: {result.check.text}: {result.found}")
            if not unwell:
                break
        return results


def look(check: Check, *, timeout: float) -> Result:
    """One check, once; it ends within ``timeout`` seconds, well or not."""
    try:
        found = _LOOKS[check.kind](check, time.monotonic() + timeout)
    except TimeoutError:
        return Result(check, False, f"no answer within {timeout:g} s")
    except (_UnwellError, OSError, http.client.HTTPException) as error:
        return Result(check, False, _words(error))
    return Result(check, True, one_line(found))


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(said) or type(error).__name__


def _within(deadline: float, work: Callable[[], str]) -> str:
    """What ``work`` returns or raises; TimeoutError at the deadline.

    In a thread, since neither a name server nor a server that sends a byte now and then can be given a deadline.
    """
    box: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            box.put(work())
        except Exception as error:  # noqa: BLE001  it is raised again in the caller's thread
            box.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = box.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _http(check: Check, deadline: float) -> str:
    return _within(deadline, lambda: _get(check, deadline))


def _get(check: Check, deadline: float) -> str:
    kind = http.client.HTTPSConnection if check.kind == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(check.host, check.port, timeout=_left(deadline))) as connection:
        connection.request("GET", check.path, headers={"User-Agent": "xvmstore", "Connection": "close"})
        answer = connection.getresponse()
        found = f"{answer.status} {answer.reason}".strip()
        # Closing it is enough: the body may be long, or never end.
        answer.close()
    if not 200 <= answer.status < 400:
        raise _UnwellError(found)
    return found


def _tcp(check: Check, deadline: float) -> str:
    def connect() -> str:
        with socket.create_connection((check.host, check.port), timeout=_left(deadline)):
            return "connected"

    return _within(deadline, connect)


def _ssh(check: Check, deadline: float) -> str:
    return _within(deadline, lambda: _banner(check, deadline))


def _banner(check: Check, deadline: float) -> str:
    connection = socket.create_connection((check.host, check.port), timeout=_left(deadline))
    with connection, connection.makefile("rb") as stream:
        for _ in range(_MOST_LINES):
            connection.settimeout(_left(deadline))
            line = stream.readline(_LONGEST_LINE)
            if not line:
                raise _UnwellError("the connection was closed before the server said its version")
            # 1.99 is a server that also knows SSH 1 (RFC 4253, 5.1).
            if line.startswith((b"SSH-2.0-", b"SSH-1.99-")) and line.endswith(b"\n"):
                return _printable(line)
    raise _UnwellError("what answers is no SSH server")


def _printable(data: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in data.decode("utf-8", "replace").strip())


def _ping(check: Check, deadline: float) -> str:
    # How long to wait is spelled differently on every system; the deadline does it as well.
    _run(("ping", "-c", "1", check.host), deadline)
    return "answers"


def _command(check: Check, deadline: float) -> str:
    return _run(("/bin/sh", "-c", check.text), deadline)


def _run(argv: tuple[str, ...], deadline: float) -> str:
    """Runs a command in a process group of its own, which is killed at the deadline, or when we are interrupted."""
    pipe, started = subprocess.PIPE, time.monotonic()
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise _UnwellError(f"cannot run {argv[0]}: {error.strerror}") from error
    output = _Output(process.stdout)
    try:
        status = process.wait(_left(deadline))
    except BaseException as error:
        _kill(process)
        if not isinstance(error, subprocess.TimeoutExpired | TimeoutError):
            raise
        raise _UnwellError(f"it had not ended after {deadline - started:.3g} s, and was killed") from None
    ended = f"exit {status}" if status >= 0 else f"killed by signal {-status}"
    found = ": ".join(filter(None, (ended, output.last_line())))
    if status != 0:
        raise _UnwellError(found)
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Output:
    """Reads what a command says so that it need not wait, and keeps the end of it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream, self._tail = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        if self._stream:
            with self._stream as stream:
                while data := os.read(stream.fileno(), _TAIL):
                    self._tail = (self._tail + data)[-_TAIL:]

    def last_line(self) -> str:
        """The last line that is not empty. What runs on in the background may hold the pipe: it is not waited for."""
        self._thread.join(0.5)
        lines = [line for line in self._tail.splitlines() if line.strip()]
        return one_line(_printable(lines[-1]), 200) if lines else ""


_LOOKS: dict[str, Callable[[Check, float], str]] = {
    "http": _http,
    "https": _http,
    "ping": _ping,
    "ssh": _ssh,
    "tcp": _tcp,
    "command": _command,
}
