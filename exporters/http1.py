"""HTTP/1.1 as the exporter needs it: one request's head read from a socket within limits, one reply written."""

import http.client
import io
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from exporters.pages import Reply

if TYPE_CHECKING:
    from typing_extensions import Buffer

HEAD = 32 * 1024
_LINE = 8 * 1024
_REQUEST = re.compile(rb"([A-Za-z]{1,20}) ([!-~]+) HTTP/1\.[01]\r?\n")


class Unreadable(Exception):
    """No request that could be answered; ``status`` says so to the client."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; a body is never read."""

    method: str
    target: str
    headers: Message


class Arriving(io.RawIOBase):
    """What a client sends, until ``deadline`` and no more than ``HEAD`` bytes: it may send a byte now and then."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock, self._deadline, self._read = sock, deadline, 0

    def readable(self) -> bool:
        """For io.BufferedReader."""
        return True

    def readinto(self, buffer: "Buffer", /) -> int:
        """For io.BufferedReader. Raises Unreadable, TimeoutError, OSError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        got = self._sock.recv_into(memoryview(buffer))
        self._read += got
        if self._read > HEAD:
            raise Unreadable(431, "the request is too long")
        return got


def read_request(stream: io.BufferedReader) -> Request | None:
    """None if the client went away without one. Raises Unreadable, TimeoutError, OSError.

    GET /probe?target=san1 HTTP/1.1
    X-Prometheus-Scrape-Timeout-Seconds: 10
    """
    line = stream.readline(_LINE)
    if not line:
        return None
    if len(line) == _LINE:
        raise Unreadable(414, "the request's first line is too long")
    match = _REQUEST.fullmatch(line)
    if not match:
        raise Unreadable(400, "no request of HTTP/1.0 or HTTP/1.1")
    try:
        headers = http.client.parse_headers(stream)
    except http.client.HTTPException:
        raise Unreadable(431, "a header is too long, or there are too many") from None
    if headers.defects:
        raise Unreadable(400, "the headers cannot be read")
    return Request(match[1].decode(), match[2].decode(), headers)


def written(reply: Reply, headers: Mapping[str, str], *, method: str) -> bytes:
    """A reply as it goes out. ``headers`` are the web configuration's, which win."""
    fields = {
        "Date": formatdate(usegmt=True),
        "Server": "xvmstore",
        "Connection": "close",
        "Content-Type": reply.content_type,
        "Content-Length": str(reply.size),
        "X-Content-Type-Options": "nosniff",
        **dict(reply.headers),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    first = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    return f"{first}{head}\r\n".encode("latin-1") + (b"" if method == "HEAD" else reply.body)
