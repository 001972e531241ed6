"""What the exporter answers: /probe, /metrics, /-/healthy and /, from a Site. No sockets here.

A mistake in a request is one line of plain text and status 400. What a Site raises is status 500 and a line in the log.
"""

import html
import logging
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from exporters.exposition import CONTENT_TYPES, Format, Metric, Sheet, counter, pieces, render
from remote.errors import one_line

log = logging.getLogger("xvmstore.exporter")

RESPONSES = counter(
    "http_responses_total",
    "Answers given, by page (other: what has none, and what was refused before it was known) and HTTP status.",
    "page",
    "code",
    source="the exporter itself",
)
METRICS: tuple[Metric, ...] = (RESPONSES,)

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,12})?\Z")
_PLAIN = "text/plain; charset=utf-8"
# Below this gzip saves nothing that anybody would notice.
_WORTH_PACKING = 1024


class UnknownTarget(KeyError):
    """There is no target of that name in the configuration."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the landing page: a target, when it last answered (a time(); None: never), what is wrong now."""

    name: str
    kind: str
    answered: float | None = None
    trouble: str = ""


class Site(Protocol):
    """What is served. All methods are called from many threads at once."""

    def probe(self, target: str, *, budget: float) -> Sheet:
        """A scrape of a target, back within ``budget`` seconds. Raises UnknownTarget."""

    def own(self) -> Sheet | CollectorRegistry:
        """What the exporter tells of itself."""

    def targets(self) -> Sequence[Row]:
        """All that may be asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What nobody gets past. Times in seconds.

    probes       as many are answered at once; what is more gets status 503
    connections  as many are open at once; what is more is closed
    patience     for a request to arrive (with TLS: its handshake, too), and for an answer to be fetched
    grace        for the answers under way when the server is stopped
    """

    probes: int = 64
    connections: int = 128
    patience: float = 10.0
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Times:
    """Of a scrape, in seconds.

    timeout  the longest it may take, and what it has where Prometheus does not say how long it waits
    offset   how much sooner than Prometheus gives up an answer is to be there
    """

    timeout: float = 10.0
    offset: float = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; its length and the web configuration's headers are added where it is sent."""

    status: int
    pieces: tuple[bytes, ...]
    content_type: str = _PLAIN
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Of the body, in bytes."""
        return sum(map(len, self.pieces))

    @property
    def body(self) -> bytes:
        """All of it at once, which for ten thousand volumes is as much as all else together."""
        return b"".join(self.pieces)


def refusal(status: int, said: str, *headers: tuple[str, str]) -> Reply:
    """One line that says what is wrong."""
    return Reply(status, (f"{one_line(said)}\n".encode("utf-8", "replace"),), headers=headers)


class BadRequest(Exception):
    """The request asks for what cannot be; the message is the answer."""


class Pages:
    """All pages of a Site, and what is told of the answering itself. Used by many threads at once."""

    def __init__(self, site: Site, times: Times, *, probes: int, about: Callable[[Sheet], None]) -> None:
        """At most ``probes`` at once; ``about`` puts what else /metrics is to tell."""
        self._site, self._times, self._probes, self._about = site, times, probes, about
        self._room = threading.BoundedSemaphore(probes)
        self._lock = threading.Lock()
        self._given: Counter[tuple[str, str]] = Counter()
        self._pages = {
            "/probe": self._probe,
            "/metrics": self._metrics,
            "/-/healthy": self._healthy,
            "/": self._landing,
        }

    def answer(self, method: str, target: str, headers: Message) -> Reply:
        """The answer to a request; never raises. One to HEAD has the body whose length is told."""
        try:
            return self._answer(method, target, headers)
        except BadRequest as error:
            return refusal(400, str(error))
        except Exception as error:
            log.error("%s %s: %s: %s", method, ascii(target), type(error).__name__, one_line(str(error)))
            log.debug("traceback", exc_info=True)
            return refusal(500, "internal error: the exporter's log says more")

    def count(self, target: str, status: int) -> None:
        """An answer was given."""
        path = target.partition("?")[0]
        with self._lock:
            self._given[path if path in self._pages else "other", str(status)] += 1

    def _answer(self, method: str, target: str, headers: Message) -> Reply:
        try:
            parts = urlsplit(target)
        except ValueError:
            raise BadRequest("the address of the request cannot be read") from None
        page = self._pages.get(parts.path)
        if page is None:
            return refusal(404, "no such page: there are /probe?target=NAME, /metrics, /-/healthy and /")
        if method not in ("GET", "HEAD"):
            return refusal(405, f"{parts.path} takes GET and HEAD only", ("Allow", "GET, HEAD"))
        return packed(page(parts.query, headers), headers)

    def _probe(self, query: str, headers: Message) -> Reply:
        target = target_of(query)
        given = headers.get_all(TIMEOUT_HEADER, [])
        if len(given) > 1:
            raise BadRequest(f"{TIMEOUT_HEADER} is there more than once")
        seconds = budget(given[0] if given else None, times=self._times)
        if not self._room.acquire(blocking=False):
            return refusal(503, f"{self._probes} probes are under way, and no more are taken at once")
        try:
            sheet = self._site.probe(target, budget=seconds)
        except UnknownTarget:
            raise BadRequest("unknown target: only names in the exporter's configuration can be asked for") from None
        finally:
            self._room.release()
        form = form_of(headers)
        return Reply(200, tuple(pieces(sheet, form)), CONTENT_TYPES[form])

    def _metrics(self, query: str, headers: Message) -> Reply:
        _without_parameters(query)
        form = form_of(headers)
        mine = Sheet()
        with self._lock:
            for labels, number in self._given.items():
                mine.put(RESPONSES, number, *labels)
        self._about(mine)
        return Reply(200, (_rendered(self._site.own(), form), *pieces(mine, form)), CONTENT_TYPES[form])

    def _healthy(self, query: str, _: Message) -> Reply:
        _without_parameters(query)
        return Reply(200, (b"OK\n",))

    def _landing(self, query: str, _: Message) -> Reply:
        _without_parameters(query)
        policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return Reply(200, (landing(self._site.targets()).encode(),), "text/html; charset=utf-8", (policy,))


def _rendered(own: Sheet | CollectorRegistry, form: Format) -> bytes:
    if isinstance(own, Sheet):
        text = render(own, form)
    else:
        encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0" if form == "openmetrics" else "")
        text = encode(own)
    return text.removesuffix(b"# EOF\n")


def target_of(query: str) -> str:
    """The one parameter there is. Raises BadRequest."""
    try:
        given = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=10)
    except ValueError:
        raise BadRequest("the parameters cannot be read") from None
    names = [name for name, _ in given]
    for name in names:
        if name != "target":
            raise BadRequest(f"unknown parameter {name!a}: there is only target")
    if len(names) > 1:
        raise BadRequest("target is there more than once")
    if not given or not given[0][1]:
        raise BadRequest("no target: /probe?target=NAME")
    return given[0][1]


def _without_parameters(query: str) -> None:
    if query:
        raise BadRequest("this page takes no parameters")


def budget(header: str | None, *, times: Times) -> float:
    """The seconds that a probe may take, of what Prometheus says it waits. Raises BadRequest."""
    if header is None:
        whole = times.timeout
    elif _SECONDS.match(header.strip()):
        whole = float(header)
    else:
        raise BadRequest(f"{TIMEOUT_HEADER}: {header[:40]!a} is no number of seconds")
    if whole <= 0:
        raise BadRequest(f"{TIMEOUT_HEADER}: 0 seconds are too few")
    return min(whole - times.offset if times.offset < whole else whole / 2, times.timeout)


def form_of(headers: Message) -> Format:
    """OpenMetrics 1.0 if it is liked as much as text, or better; text in all other cases."""
    openmetrics = text = 0.0
    for media, parameters in _weighed(",".join(headers.get_all("Accept", []))):
        quality = _quality(parameters)
        if media == "application/openmetrics-text" and parameters.get("version", "1.0.0").strip('"') == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif media in ("text/plain", "text/*", "*/*"):
            text = max(text, quality)
    return "openmetrics" if openmetrics > 0 and openmetrics >= text else "text"


def packed(reply: Reply, headers: Message) -> Reply:
    """The same, by gzip, for who takes that."""
    vary = ("Vary", "Accept, Accept-Encoding")
    coded = dict(_weighed(",".join(headers.get_all("Accept-Encoding", []))))
    accepted = coded.get("gzip", coded.get("*"))
    if accepted is None or _quality(accepted) <= 0 or reply.size < _WORTH_PACKING:
        return replace(reply, headers=(*reply.headers, vary))
    # 31: with gzip's head and end.
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = (*map(packer.compress, reply.pieces), packer.flush())
    return replace(reply, pieces=parts, headers=(*reply.headers, vary, ("Content-Encoding", "gzip")))


def _weighed(header: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for item in header.split(","):
        first, *others = item.split(";")
        pairs = (other.partition("=") for other in others)
        found.append((first.strip().lower(), {name.strip().lower(): value.strip() for name, _, value in pairs}))
    return found


def _quality(parameters: dict[str, str]) -> float:
    text = parameters.get("q", "1")
    return float(text) if re.fullmatch(r"[01](?:\.[0-9]{0,3})?", text) else 0.0


def landing(rows: Sequence[Row]) -> str:
    """The page for people."""
    lines = "".join(map(_table_row, rows)) or '<tr><td colspan="4">no targets are configured</td></tr>\n'
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>xvmstore exporter</title>
<style>body {{ font-family: sans-serif }} td, th {{ padding: .2em 1em .2em 0; text-align: left }}</style></head>
<body>
<h1>xvmstore exporter</h1>
<p><a href="/metrics">/metrics</a>: the exporter itself. <a href="/-/healthy">/-/healthy</a></p>
<table>
<tr><th>target</th><th>kind</th><th>last answer</th><th>trouble</th></tr>
{lines}</table>
</body>
</html>
"""


def _table_row(row: Row) -> str:
    link = f'<a href="/probe?target={quote(row.name, safe="")}">{html.escape(row.name)}</a>'
    at = "never" if row.answered is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(row.answered))
    cells = (link, html.escape(row.kind), at, html.escape(row.trouble))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
