"""Scrubs, resilvers and rebuilds, as the scan lines of ``zpool status`` tell of them. Pure.

The wording is that of print_scrub_status() (2009) and print_scan_status() (since 2010) in cmd/zpool/zpool_main.c of
OpenSolaris, illumos and OpenZFS.
"""

import calendar
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from exporters.exposition import Metric, Sheet, gauge
from remote.errors import UnexpectedOutput
from storage.pool import printed_size

_SOURCE = "zpool status"
_LABELS = ("pool", "function")
FUNCTIONS = ("scrub", "resilver", "rebuild", "error_scrub")
STATES = ("none", "scanning", "paused", "finished", "canceled")


def _of_scan(name: str, help_: str) -> Metric:
    return gauge(f"pool_scan_{name}", help_, *_LABELS, source=_SOURCE)


STATE = gauge(
    "pool_scan_state",
    "1 for the state that each kind of scan is in. ZFS only remembers the later one of scrub and resilver: none may "
    "mean that there was one before.",
    *_LABELS,
    "state",
    source=_SOURCE,
)
START = _of_scan(
    "start_timestamp_seconds", "When the scan began; absent where zpool rounds it to minutes, and of canceled ones."
)
END = _of_scan("end_timestamp_seconds", "When the scan ended or was canceled; absent while it runs.")
SCANNED = _of_scan("scanned_bytes", "What the running scan has looked at, rounded to three figures as zpool prints it.")
ISSUED = _of_scan(
    "issued_bytes",
    "What the running scan has read to verify it, rounded to three figures; absent before 2017, when scanned is that.",
)
TOTAL = _of_scan("total_bytes", "What the running scan has to read in all, rounded to three figures.")
DONE = _of_scan("done_ratio", "How far the running scan is, as zpool reckons it: 0 to 1.")
REMAINING = _of_scan(
    "remaining_seconds",
    "How long the running scan will take from now, as zpool guesses; absent while it does not dare.",
)
REPAIRED = _of_scan(
    "repaired_bytes", "What a scrub has repaired, or a resilver or rebuild has written, rounded to three figures."
)
ERRORS = _of_scan("errors", "What the scan that ended could not repair.")
LAST_SCRUB = gauge(
    "pool_last_scrub_timestamp_seconds",
    "When the last scrub ended that was not canceled. Absent if there was none, and from when a later scrub or "
    "resilver begins until a scrub has ended: ZFS remembers only one. last_over_time() bridges that.",
    "pool",
    source=_SOURCE,
)
METRICS: tuple[Metric, ...] = (
    STATE,
    START,
    END,
    SCANNED,
    ISSUED,
    TOTAL,
    DONE,
    REMAINING,
    REPAIRED,
    ERRORS,
    LAST_SCRUB,
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one line says; None for what it does not say. Times are seconds since the epoch."""

    function: str
    state: str
    start: int | None = None
    end: int | None = None
    scanned: int | None = None
    issued: int | None = None
    total: int | None = None
    done: float | None = None
    remaining: int | None = None
    repaired: int | None = None
    errors: int | None = None


_NUMBERS: tuple[tuple[Metric, Callable[[Scan], float | None]], ...] = (
    (START, lambda one: one.start),
    (END, lambda one: one.end),
    (SCANNED, lambda one: one.scanned),
    (ISSUED, lambda one: one.issued),
    (TOTAL, lambda one: one.total),
    (DONE, lambda one: one.done),
    (REMAINING, lambda one: one.remaining),
    (REPAIRED, lambda one: one.repaired),
    (ERRORS, lambda one: one.errors),
)


def emit(sheet: Sheet, pool: str, text: str) -> None:
    """The samples of a pool, from ``PoolStatus.scan``."""
    found: dict[str, list[Scan]] = {}
    for line in text.split("; "):
        try:
            one = parse(line)
        except (UnexpectedOutput, ValueError) as error:
            sheet.complain(f"{pool}: {error}")
            return
        if one:
            found.setdefault(one.function, []).append(one)
    for function in FUNCTIONS:
        together = _together(found.get(function, ()))
        sheet.one_of(STATE, STATES, together.state if together else "none", pool, function)
        if together:
            _put(sheet, pool, together)


def _put(sheet: Sheet, pool: str, scan: Scan) -> None:
    for metric, value_of in _NUMBERS:
        value = value_of(scan)
        if value is not None:
            sheet.put(metric, value, pool, scan.function)
    if scan.function == "scrub" and scan.state == "finished" and scan.end is not None:
        sheet.put(LAST_SCRUB, scan.end, pool)


def _together(scans: Sequence[Scan]) -> Scan | None:
    """Of several rebuilds, which are of one top-level vdev each, those that go on, or else what became of them."""
    for state in ("scanning", "paused", "canceled", "finished"):
        same = [one for one in scans if one.state == state]
        if same:
            return same[0] if len(same) == 1 else _sum(same)
    return None


def _sum(scans: Sequence[Scan]) -> Scan:
    def of(value_of: Callable[[Scan], int | None], join: Callable[[list[int]], int]) -> int | None:
        known = [value for value in map(value_of, scans) if value is not None]
        return join(known) if len(known) == len(scans) else None

    ratios = [one.done for one in scans if one.done is not None]
    return replace(
        scans[0],
        start=of(lambda one: one.start, min),
        end=of(lambda one: one.end, max),
        scanned=of(lambda one: one.scanned, sum),
        issued=of(lambda one: one.issued, sum),
        total=of(lambda one: one.total, sum),
        done=min(ratios, default=None),
        remaining=of(lambda one: one.remaining, max),
        repaired=of(lambda one: one.repaired, sum),
        errors=of(lambda one: one.errors, sum),
    )


_WHEN = r"([A-Z][a-z]{2} [A-Z][a-z]{2} +[0-9]+ [0-9]+:[0-9]+:[0-9]+ [0-9]{4})"
_TIME = r"((?:[0-9]+ days )?[0-9]+:[0-9]{2}:[0-9]{2}|[0-9]+h[0-9]+m)"
_KIND = r"(error scrub|scrub|resilver)( \(.+\))?"
_FINISHED = re.compile(
    rf"(scrub repaired|resilvered)( \(.+\))? (\S+) in {_TIME} with ([0-9]+) errors on {_WHEN}(?:\s|\Z)"
)
_CANCELED = re.compile(rf"{_KIND} canceled on {_WHEN}(?:\s|\Z)")
_RUNNING = re.compile(rf"{_KIND} in progress since {_WHEN}(?:\s|\Z)")
_PAUSED = re.compile(rf"(error scrub|scrub) paused since {_WHEN} (?:error )?scrub started on +{_WHEN}(?:\s|\Z)")
_ERRORS_SCRUBBED = re.compile(rf"scrubbed [0-9]+ error blocks in {_TIME} on {_WHEN}(?:\s|\Z)")
_OF_2009 = re.compile(rf"(scrub|resilver) (completed|stopped) after {_TIME} with ([0-9]+) errors on {_WHEN}\Z")
_RUNNING_2009 = re.compile(rf"(scrub|resilver) in progress for {_TIME}, ([0-9.]+)% done, {_TIME} to go\Z")

_SCANNED = re.compile(r"(\S+) / (\S+) scanned(?: at \S+/s)?, (\S+) / (\S+) issued")
_SCANNED_2017 = re.compile(r"(\S+) scanned(?: at \S+/s)?, (\S+) issued(?:(?: at)? \S+/s)?, (\S+) total")
_SCANNED_2010 = re.compile(r"(\S+) scanned out of (\S+)")
_REPAIRED = re.compile(r"(\S+) (?:repaired|resilvered), ")
_DONE = re.compile(r"([0-9]+\.[0-9]+)% done")
_TO_GO = re.compile(rf", {_TIME} to go")


def parse(line: str) -> Scan | None:
    """Read one scan line, with those below it; None for "none requested", or nothing. Raises UnexpectedOutput.

    scrub repaired 0B in 0 days 03:12:45 with 0 errors on Sun Nov  1 06:12:45 2026
    scrub in progress for 0h1m, 23.45% done, 0h2m to go
    """
    if line in {"", "none requested"}:
        return None
    return _ended(line) or _under_way(line) or _unknown(line)


def _unknown(line: str) -> Scan:
    raise UnexpectedOutput("zpool status", line, "a scrub, a resilver or a rebuild")


def _ended(line: str) -> Scan | None:
    if match := _FINISHED.match(line):
        function = "scrub" if match[1] == "scrub repaired" else _function("resilver", match[2])
        end, took = epoch(match[6]), _exact(match[4])
        # A rebuild's is the time it was at work, not from its beginning to its end.
        start = end - took if took is not None and function != "rebuild" else None
        repaired = _size(match[3], line)
        return Scan(function, "finished", start=start, end=end, repaired=repaired, errors=int(match[5]))
    if match := _CANCELED.match(line):
        return Scan(_function(match[1], match[2]), "canceled", end=epoch(match[3]))
    if match := _ERRORS_SCRUBBED.match(line):
        end, took = epoch(match[2]), _exact(match[1])
        return Scan("error_scrub", "finished", start=None if took is None else end - took, end=end)
    if match := _OF_2009.match(line):
        state = "finished" if match[2] == "completed" else "canceled"
        return Scan(match[1], state, end=epoch(match[5]), errors=int(match[4]))
    return None


def _under_way(line: str) -> Scan | None:
    if match := _RUNNING.match(line):
        scan = Scan(_function(match[1], match[2]), "scanning", start=epoch(match[3]))
    elif match := _PAUSED.match(line):
        scan = Scan(_function(match[1], None), "paused", start=epoch(match[3]))
    elif match := _RUNNING_2009.match(line):
        left = _seconds(match[4])
        # Later releases do not print more than 30 days: it is what comes of dividing by almost nothing.
        return Scan(match[1], "scanning", done=_ratio(match[3]), remaining=left if left < 30 * 86400 else None)
    else:
        return None
    rest = line[match.end() :]
    done, to_go = _DONE.search(rest), _TO_GO.search(rest)
    if not done:
        raise UnexpectedOutput("zpool status", line, "how far the scan is")
    repaired = _REPAIRED.search(rest)
    return replace(
        _with_bytes(scan, rest),
        done=_ratio(done[1]),
        remaining=_seconds(to_go[1]) if to_go else None,
        repaired=_size(repaired[1], line) if repaired else None,
    )


def _with_bytes(scan: Scan, rest: str) -> Scan:
    if match := _SCANNED.search(rest):
        sizes = match[1], match[3], match[4]
    elif match := _SCANNED_2017.search(rest):
        sizes = match[1], match[2], match[3]
    elif match := _SCANNED_2010.search(rest):
        return replace(scan, scanned=_size(match[1], rest), total=_size(match[2], rest))
    elif scan.function == "error_scrub":
        return scan
    else:
        raise UnexpectedOutput("zpool status", rest, "what was scanned")
    scanned, issued, total = (_size(size, rest) for size in sizes)
    return replace(scan, scanned=scanned, issued=issued, total=total)


def _function(word: str, vdev: str | None) -> str:
    """A resilver that is of one vdev is a sequential rebuild."""
    return "rebuild" if vdev else word.replace(" ", "_")


def _size(text: str, line: str) -> int | None:
    return printed_size(text, line, command="zpool status")


def _ratio(percent: str) -> float:
    return round(float(percent) / 100, 6)


def _exact(text: str) -> int | None:
    """Seconds; None where they are rounded to minutes."""
    return None if text.endswith("m") else _seconds(text)


def _seconds(text: str) -> int:
    """Of ``3 days 01:10:29``, ``01:10:29`` or ``73h10m``."""
    days, has_days, rest = text.rpartition(" days ")
    parts = rest.rstrip("m").replace("h", ":").split(":")
    hours, minutes, seconds = (int(part) for part in (*parts, "0")[:3])
    return (int(days) * 24 + hours if has_days else hours) * 3600 + minutes * 60 + seconds


def epoch(text: str) -> int:
    """Seconds since the epoch of what ctime() prints on a node, which is asked with TZ=UTC0. Raises ValueError."""
    return calendar.timegm(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
