"""One target: its connection, one run at a time, what a scrape makes of it.

A run asks everything in one round trip, over a shell that stays. What has ended when time is up is served, the rest is
not: nothing fast is ever served stale. Runs of one target never overlap; who asks while one is under way gets its
result.

What runs zfs or zpool comes last, under a lock on the machine: those commands may hang, cannot be killed then, and a
second one would only hang beside them. While a shell is stuck that way, the rest is asked through a second one.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from exporters import health
from exporters.collector import Collector
from exporters.exposition import Sheet
from exporters.probing import Probes
from exporters.reading import Part, Said, parts, queries
from exporters.slow import Slow
from remote.errors import Unreachable, XvmError
from remote.host import who
from remote.pipe import Pipe
from remote.script import Lock, Script
from remote.standing import Heard, Openable, StandingShell

log = logging.getLogger("xvmstore.exporter")
# Seconds that a machine which could not be reached is left alone before it is tried again.
_BACK_OFF = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_LOCK_WAIT = 1
# Seconds that portals are tried for: an answer is not kept back longer for one that says nothing.
_PORTALS = 2.0
# Seconds kept for making text of the answer, at least; more where it took more the last time.
_LEAST_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one target. Seconds, but for ``max_series``.

    slow_every    how old what the slow collectors said may get before they are asked again; served three times as long
    slow_timeout  they take longer than this: they hang
    """

    slow_every: float = 300.0
    slow_timeout: float = 120.0
    max_series: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to be asked, and what. ``link`` makes a connection to it, not opened yet.

    portals    tried from here, as ADDRESS:PORT; ``initiator`` is the name we say there
    settings   what all of it was made from: two targets with equal settings are the same
    """

    name: str
    kind: Literal["node", "dom0"]
    link: Callable[[], Openable]
    fast: tuple[Collector, ...]
    slow: tuple[Collector, ...] = ()
    become: tuple[str, ...] = ()
    portals: tuple[str, ...] = ()
    initiator: str = ""
    limits: Limits = Limits()
    settings: object = None


class Stuck(XvmError):
    """What was asked before has not ended on the machine; nothing more is started there."""


class _Counted:
    """A link that counts how often a shell was opened on it."""

    def __init__(self, link: Openable) -> None:
        self._link = link
        self.opened = 0

    def open(self, *, connect_timeout: float | None = None) -> Pipe:
        """As the link does."""
        pipe = self._link.open(connect_timeout=connect_timeout)
        self.opened += 1
        return pipe

    def close(self) -> None:
        """As the link does."""
        self._link.close()


class _Run:
    """One run, and what those who wait for it get."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.sheet = Sheet()


class Scraper:
    """Asks one target. For use by several threads at a time.

    ``trouble`` is what is wrong now, ``answered`` when it last answered (seconds since the epoch).
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.trouble = ""
        self.answered: float | None = None
        self.failures = 0
        self._link = _Counted(target.link())
        # One may be stuck in a zpool; the slow collectors, which may hang as well, have one of their own.
        self._shells = (StandingShell(self._link), StandingShell(self._link))
        limits = target.limits
        self._slow = Slow(
            target.name,
            target.slow,
            StandingShell(self._link),
            become=target.become,
            every=limits.slow_every,
            timeout=limits.slow_timeout,
        )
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._failed_in_a_row = 0
        self._not_before = 0.0
        self._margin = _LEAST_MARGIN
        self._well = False
        self._closed = False
        self._troubles: dict[str, str] = {}

    @property
    def opened(self) -> int:
        """How many shells were opened there so far; three are enough as long as nothing is lost."""
        return self._link.opened

    def scrape(self, *, budget: float) -> Sheet:
        """All that can be told within ``budget`` seconds."""
        deadline = time.monotonic() + budget
        with self._lock:
            run = self._run
            if run is None:
                run = _Run()
                name = f"scrape-{self.target.name}"
                try:
                    threading.Thread(target=self._fly, args=(run, deadline), name=name, daemon=True).start()
                except RuntimeError as error:
                    log.error("%s: %s", self.target.name, error)
                    return _down()
                self._run = run
        if run.done.wait(max(0.0, deadline - time.monotonic())):
            return run.sheet
        return _down()

    def once(self, *, budget: float) -> Sheet:
        """The slow collectors too, for who comes only once."""
        sheet = self._collected(time.monotonic() + budget, slow_too=True)
        self.close()
        return sheet

    def close(self) -> None:
        """Hang up, for good. A run that is under way fails."""
        self._closed = True
        for shell in self._shells:
            shell.close()
        self._slow.close()
        self._link.close()

    def _fly(self, run: _Run, deadline: float) -> None:
        refresh = False
        try:
            run.sheet = self._collected(deadline)
            refresh = self._well and self._slow.claim()
        except Exception:
            log.exception("%s: a mistake in the exporter", self.target.name)
            run.sheet = _down()
        finally:
            with self._lock:
                self._run = None
            run.done.set()
        if refresh:
            self._slow.refresh()
        if self._closed:
            # What was opened meanwhile.
            self.close()

    def _collected(self, deadline: float, *, slow_too: bool = False) -> Sheet:
        began = time.monotonic()
        # What the last one took may have been under a longer deadline.
        ask_until = deadline - min(self._margin, 0.3 * (deadline - began))
        probes = Probes(self.target.portals, self.target.initiator, deadline=min(ask_until, began + _PORTALS))
        try:
            groups, heard = self._asked(ask_until)
        except XvmError as error:
            sheet = self._failed(error)
        else:
            came = time.monotonic()
            if slow_too and self._well and self._slow.claim():
                self._slow.refresh()
            elif slow_too:
                self._slow.skip("not asked, since not all that came before was answered")
            sheet = self._sheet(parts(groups), heard)
            if not slow_too:
                self._margin = max(_LEAST_MARGIN, 3 * (time.monotonic() - came))
        probes.emit(sheet)
        # Several may read it at a time.
        return sheet.settle()

    def _asked(self, deadline: float) -> tuple[list[tuple[Sequence[Collector], Said]], tuple[Heard, ...]]:
        """One round trip. Raises Unreachable and its kinds, or Stuck."""
        if self._closed:
            raise Stuck(f"{self.target.name} is not in the configuration any more")
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise Stuck(f"{self.trouble.partition('; tried again')[0]}; tried again in {wait:.0f} s")
        shell = next((one for one in self._shells if not one.busy), None)
        if shell is None:
            raise Stuck(f"{self.target.name}: what was asked before has not ended there")
        quick = [one for one in self.target.fast if not one.pool_bound]
        bound = [one for one in self.target.fast if one.pool_bound]
        scripts = [Script((), queries(quick), None, self.target.become)]
        hung = self._slow.hung
        if bound and not hung:
            lock = Lock(".exporter", who(), wait=_LOCK_WAIT)
            scripts.append(Script((), queries(bound), lock, self.target.become))
        heard = shell.ask(scripts, deadline=deadline)
        if not heard[0].transcript.started:
            shell.close()
            raise Unreachable(f"{self.target.name}: {heard[0].trouble or 'no answer'}")
        said = [_said(one) for one in heard] + ([Said({}, missing=hung)] if hung else [])
        self._well = all(one.transcript.complete and one.transcript.holder is None for one in heard) and not hung
        return list(zip((quick, bound), said, strict=False)), heard

    def _failed(self, error: XvmError) -> Sheet:
        self._well = False
        if isinstance(error, Unreachable):
            self._link.close()
            self.failures += 1
            wait = _BACK_OFF[min(self._failed_in_a_row, len(_BACK_OFF) - 1)]
            self._failed_in_a_row += 1
            self._not_before = time.monotonic() + wait
        if self.trouble != str(error) and isinstance(error, Unreachable):
            log.warning("%s", error)
        self.trouble = str(error)
        return _down()

    def _sheet(self, found: Sequence[Part], heard: Sequence[Heard]) -> Sheet:
        now = time.time()
        self._failed_in_a_row, self.answered = 0, now
        sheet = Sheet()
        sheet.put(health.UP, 1)
        if heard[0].first is not None:
            sheet.put(health.SSH_ROUND_TRIP, round(heard[0].first, 6))
        sheet.put(health.RECEIVED, sum(one.bytes_received for one in heard))
        dated: list[tuple[Part, float | None]] = [(part, None if part.trouble else now) for part in found]
        dated += self._slow.parts()
        dropped: dict[str, int] = {}
        for part, at in dated:
            health.put(sheet, part, at)
            self._note(part)
            dropped |= sheet.add(part.sheet, room=self.target.limits.max_series - len(sheet))
        for name, count in dropped.items():
            sheet.put(health.DROPPED, count, name)
        self.trouble = "; ".join(text for text in self._troubles.values() if text)
        return sheet

    def _note(self, part: Part) -> None:
        """Say once what is wrong, and once that it is not any more."""
        told = part.trouble or next(iter(part.sheet.complaints), "")
        if told and told != self._troubles.get(part.collector):
            log.warning("%s: %s: %s", self.target.name, part.collector, told)
        elif not told and self._troubles.get(part.collector):
            log.warning("%s: %s: well again", self.target.name, part.collector)
        self._troubles[part.collector] = told


def _said(heard: Heard) -> Said:
    missing = heard.trouble
    if heard.transcript.holder is not None:
        missing = f"zfs or zpool still runs there, so no other was started (lock: {heard.transcript.holder})"
    return Said(heard.transcript.queries, heard.took, missing)


def _down() -> Sheet:
    sheet = Sheet()
    sheet.put(health.UP, 0)
    return sheet
