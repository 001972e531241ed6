"""What takes too long for a scrape: asked now and then, after one was answered, and served with its age."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from exporters.collector import Collector
from exporters.exposition import Sheet
from exporters.reading import Part, Said, parts, queries
from remote.errors import XvmError
from remote.host import who
from remote.script import Lock, Script
from remote.standing import StandingShell

log = logging.getLogger("xvmstore.exporter")
# What is older than so many of its intervals is not served any more.
_STALE = 3
# Seconds after which a refresh that failed is tried again, if that is sooner than it would be due.
_AGAIN = 30.0


class Slow:
    """The slow collectors of one target, on a shell of their own. One refresh at a time; ``claim`` comes before it."""

    def __init__(
        self,
        name: str,
        collectors: Sequence[Collector],
        shell: StandingShell,
        *,
        become: tuple[str, ...],
        every: float,
        timeout: float,
    ) -> None:
        self._name, self._collectors, self._shell, self._become = name, collectors, shell, become
        self._every, self._timeout = every, timeout
        self._next = 0.0
        self._running = False
        self._parts: dict[str, tuple[Part, float, float]] = {}
        self._troubles: dict[str, Part] = {}

    @property
    def hung(self) -> str:
        """Why no other zfs may be started: one of ours has not ended, long after it should have. Else ""."""
        if self._running or not self._shell.busy:
            return ""
        return f"{self._name}: zfs still lists snapshots after {self._timeout:g} s: it may hang, so no other is started"

    def claim(self) -> bool:
        """Whether a refresh is due; it is then for whoever asked."""
        if not self._collectors or self._running or self._shell.busy or time.monotonic() < self._next:
            return False
        self._running = True
        return True

    def refresh(self) -> None:
        """Ask. Whatever happens is found in ``parts`` afterwards."""
        try:
            found = self._asked()
        except Exception as error:
            log.exception("%s: a mistake in the exporter", self._name)
            found = [Part(one.name, Sheet(), f"a mistake in the exporter: {error!r}") for one in self._collectors]
        self._take(found)
        well = not any(part.trouble for part in found)
        self._next = time.monotonic() + (self._every if well else min(self._every, _AGAIN))
        self._running = False

    def skip(self, why: str) -> None:
        """There will be no refresh, and it is told why."""
        self._take([Part(one.name, Sheet(), why) for one in self._collectors])

    def close(self) -> None:
        """Let go of the shell."""
        self._shell.close()

    def _asked(self) -> list[Part]:
        lock = Lock(".exporter-slow", who(), wait=1)
        script = Script((), queries(self._collectors), lock, self._become)
        try:
            (heard,) = self._shell.ask((script,), deadline=time.monotonic() + self._timeout)
        except XvmError as error:
            return [Part(one.name, Sheet(), str(error)) for one in self._collectors]
        missing = "another exporter asks the same there" if heard.transcript.holder is not None else heard.trouble
        return parts(((self._collectors, Said(heard.transcript.queries, heard.took, missing)),))

    def _take(self, found: Sequence[Part]) -> None:
        for part in found:
            self._troubles[part.collector] = part
            if not part.trouble:
                self._parts[part.collector] = part, time.time(), time.monotonic()

    def parts(self) -> list[tuple[Part, float | None]]:
        """The last attempt's state of each, with the samples there are and when they were taken."""
        found: list[tuple[Part, float | None]] = []
        for name, last in self._troubles.items():
            good, at, then = self._parts.get(name, (last, 0.0, float("-inf")))
            if time.monotonic() - then > _STALE * self._every:
                found.append((replace(last, sheet=Sheet()), None))
            else:
                found.append((replace(last, sheet=good.sheet), at))
        return found
