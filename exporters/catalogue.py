"""Every metric there is, and the page of the documentation made of them: ``python -m exporters.catalogue``. Pure."""

from collections.abc import Mapping

from exporters import (
    arc,
    comstar_io,
    guests,
    health,
    kernel_io,
    latency,
    lio_io,
    luns,
    machine,
    pools,
    portals,
    scan,
    server,
    site,
    snapshots,
    vdevs,
    volumes,
)
from exporters.exposition import Metric

# By what they are of, in the order of the page.
CATALOGUE: Mapping[str, tuple[Metric, ...]] = {
    "The scrape itself": health.METRICS,
    "Machines": machine.METRICS,
    "Pools": (*pools.METRICS, *scan.METRICS, *vdevs.METRICS),
    "Latency of disks": latency.METRICS,
    "Volumes": volumes.METRICS,
    "Snapshots and checkpoints": snapshots.METRICS,
    "What ZFS and the block layer count": kernel_io.METRICS,
    "ARC, L2ARC, ZIL": arc.METRICS,
    "LUNs and targets": (*luns.METRICS, *comstar_io.METRICS, *lio_io.METRICS),
    "Guests": guests.METRICS,
    "Portals": portals.METRICS,
    "The exporter itself (/metrics)": (*site.METRICS, *server.METRICS),
}
METRICS: tuple[Metric, ...] = tuple(metric for group in CATALOGUE.values() for metric in group)

_HEAD = """\
# Metrics

Made from the exporter's own table by `python -m exporters.catalogue`; a test keeps it true. What a machine does not
tell is absent, never 0. Which node or dom0 a series is of is not among its labels: Prometheus' target labels say it
([exporter.md](exporter.md)).
"""


def page() -> str:
    """docs/metrics.md, whole."""
    parts = [_HEAD]
    for title, metrics in CATALOGUE.items():
        rows = "".join(
            f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {one.help} | {one.source} |\n" for one in metrics
        )
        parts.append(f"\n## {title}\n\n| metric | type | labels | what it is | from |\n|---|---|---|---|---|\n{rows}")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
