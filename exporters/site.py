"""All targets of one exporter, and what it knows of itself: what the HTTP server shows."""

import threading
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from exporters.exposition import Metric, Sheet, counter, gauge
from exporters.pages import Row, UnknownTarget
from exporters.scraper import Scraper, Target

_OURS = "the exporter itself"
BUILD = gauge("build_info", "1: which version this exporter is.", "version", source=_OURS)
IN_FLIGHT = gauge("probes_in_flight", "Probes of targets that are being answered now.", source=_OURS)
OPENED = counter(
    "ssh_connects_total",
    "Shells opened on a target; three are enough as long as no connection is lost.",
    "target",
    source=_OURS,
)
FAILURES = counter(
    "ssh_failures_total", "Times a target could not be reached, or said nothing at all.", "target", source=_OURS
)
METRICS: tuple[Metric, ...] = (BUILD, IN_FLIGHT, OPENED, FAILURES)


class ExporterSite:
    """Keeps a scraper for every target. ``version`` is ours."""

    def __init__(self, targets: Iterable[Target], *, version: str) -> None:
        self._lock = threading.Lock()
        self._scrapers: dict[str, Scraper] = {}
        self._in_flight = 0
        # When a counter began is nothing that anybody asks here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Own(self, version))
        self.take(targets)

    def take(self, targets: Iterable[Target]) -> None:
        """Another set of targets; connections of those that are as they were stay."""
        with self._lock:
            before = self._scrapers
            self._scrapers = {one.name: self._kept(before.get(one.name), one) for one in targets}
            gone = [one for one in before.values() if one not in self._scrapers.values()]
        for one in gone:
            one.close()

    @staticmethod
    def _kept(scraper: Scraper | None, target: Target) -> Scraper:
        if scraper is not None and scraper.target.settings == target.settings:
            return scraper
        return Scraper(target)

    def close(self) -> None:
        """Hang up everywhere."""
        self.take(())

    def probe(self, target: str, *, budget: float) -> Sheet:
        """One scrape. Raises UnknownTarget."""
        with self._lock:
            scraper = self._scrapers.get(target)
            if scraper is None:
                raise UnknownTarget(target)
            self._in_flight += 1
        try:
            return scraper.scrape(budget=budget)
        finally:
            with self._lock:
                self._in_flight -= 1

    def own(self) -> CollectorRegistry:
        """What /metrics shows."""
        return self._registry

    def targets(self) -> Sequence[Row]:
        """For the landing page."""
        return [Row(one.target.name, one.target.kind, one.answered, one.trouble) for one in self.scrapers()]

    def scrapers(self) -> list[Scraper]:
        """All of them, by name."""
        with self._lock:
            return [one for _, one in sorted(self._scrapers.items())]

    @property
    def in_flight(self) -> int:
        """Probes being answered now."""
        return self._in_flight


class _Own(Collector):
    """The exporter's own counters, in prometheus-client's form."""

    def __init__(self, site: ExporterSite, version: str) -> None:
        self._site, self._version = site, version

    def collect(self) -> Iterator[Family]:
        """Made anew each time."""
        scrapers = self._site.scrapers()
        yield _family(BUILD, [((self._version,), 1)])
        yield _family(IN_FLIGHT, [((), self._site.in_flight)])
        yield _family(OPENED, [((one.target.name,), one.opened) for one in scrapers])
        yield _family(FAILURES, [((one.target.name,), one.failures) for one in scrapers])


def _family(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
    for labels, value in samples:
        family.add_sample(metric.name, dict(zip(metric.labels, labels, strict=True)), value)
    return family
