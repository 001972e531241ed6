"""What a scrape costs at 100, 1,000 and 10,000 volumes with 10 snapshots each, on the embedded node, in one run.

    .venv/bin/python -m benchmarks.scrape [VOLUMES ...]

Each size is measured twice: zvols alone, and every one exported as a LUN of a target of its own, which is eight times
the text. Each time with an embedded node and an exporter process of its own. For the median of some warm scrapes it
tells

    node     seconds the node took to answer, from the first to the last word of each collector (emulated commands)
    cpu      seconds of our own CPU, packing included; "added" is what is more than for the first line
    wall     seconds until the answer was there
    snapshots  the same of the slow collector, which is asked every five minutes
    peak     resident memory of the exporter process at its highest, in MiB
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from embedded.seed import seed
from exporters import health, memory
from exporters.exposition import Sheet, gauge, pieces
from exporters.pages import Reply, packed
from exporters.scraper import Scraper, Target
from xvmstore import config
from xvmstore.exporter_targets import target

SIZES = (100, 1_000, 10_000)
SNAPSHOTS = 10
ROUNDS = 7
BUDGET = 120.0
_ACCEPTING = Message()
_ACCEPTING["Accept-Encoding"] = "gzip"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one scrape; seconds and bytes."""

    node: float
    cpu: float
    wall: float
    received: int
    series: int
    text: int
    packed: int


def measured(path: Path) -> dict[str, float]:
    """Scrapes the node of a configuration. Runs in a process of its own, so that its memory is its own."""
    memory.give_back()
    one = target(config.load(path), "embedded")
    unlimited = replace(one.limits, slow_every=1e9, slow_timeout=BUDGET, max_series=10**9)
    scraper = Scraper(replace(one, limits=unlimited))
    slow, slow_cpu = _slow(one)
    _slow(one, scraper)
    costs = [_cost(scraper) for _ in range(ROUNDS)]
    # Not getrusage(2), which counts the process that this one was forked from.
    peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024
    scraper.close()
    middle = {name: statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__slots__}
    return {**middle, "slow": slow, "slow_cpu": slow_cpu, "peak": peak}


def _told(sheet: Sheet) -> tuple[dict[str, float], int]:
    """Seconds by collector, and bytes received."""
    lines = dict(sheet)
    took = re.findall(rb'collector="([a-z_]+)"} (\S+)', lines[health.DURATION])
    return {name.decode(): float(text) for name, text in took}, int(lines[health.RECEIVED].split()[1])


def _slow(one: Target, scraper: Scraper | None = None) -> tuple[float, float]:
    """Waits until the snapshots are there: how long the node took, and our CPU when we do nothing else."""
    alone = scraper or Scraper(replace(one, fast=one.fast[:1], limits=replace(one.limits, slow_timeout=BUDGET)))
    began, until = time.process_time(), time.monotonic() + BUDGET
    while time.monotonic() < until:
        took, _ = _told(alone.scrape(budget=BUDGET))
        if "snapshots" in took:
            if scraper is None:
                alone.close()
            return took["snapshots"], time.process_time() - began
        time.sleep(1)
    raise SystemExit(f"no snapshots: {alone.trouble}")


def _cost(scraper: Scraper) -> Cost:
    """As the server answers Prometheus: packed, in OpenMetrics."""
    cpu, wall = time.process_time(), time.perf_counter()
    sheet = scraper.scrape(budget=BUDGET)
    reply = packed(Reply(200, tuple(pieces(sheet, "openmetrics"))), _ACCEPTING)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if scraper.trouble:
        raise SystemExit(scraper.trouble)
    took, received = _told(sheet)
    text = sum(map(len, pieces(sheet)))
    return Cost(sum(took.values()) - took["snapshots"], cpu, wall, received, len(sheet), text, reply.size)


def renderers(samples: int = 50_000) -> float:
    """How much longer prometheus-client takes than we do, from values to text."""
    ours = gauge("size_bytes", "A size.", "pool", "volume", source="benchmark")
    family = Metric(ours.name, ours.help, "gauge")
    sheet = Sheet()
    names = [("tank", f"guest{number}/root") for number in range(samples)]
    for pool, volume in names:
        family.add_sample(ours.name, {"pool": pool, "volume": volume}, 1 << 30)

    class Ready(Collector):
        def collect(self) -> Iterator[Metric]:
            yield family

    began = time.process_time()
    for pair in names:
        sheet.put(ours, 1 << 30, *pair)
    b"".join(pieces(sheet))
    between = time.process_time()
    generate_latest(Ready())
    return (time.process_time() - between) / (between - began)


@contextmanager
def seeded(directory: Path, volumes: int, *, exported: int) -> Iterator[Path]:
    """A running embedded node with so many volumes; gives its configuration."""
    argv = [sys.executable, "-m", "xvmstore", "embedded", "start", "--dir", str(directory)]
    for again in (False, True):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                if again:
                    yield Path(json.loads(line)["config"])
            finally:
                process.terminate()
        if not again:
            seed(directory, "illumos", volumes=volumes, snapshots=SNAPSHOTS, exported=exported)


def main() -> None:
    """Prints one line a size."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measured(Path(sys.argv[2]))))
        return
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    print(
        "volumes   LUNs  series  received      text    packed    node     cpu   added    wall  snapshots(cpu)      peak"
    )
    base = None
    for volumes, exported in [(size, luns) for luns in (0, 1) for size in sizes]:
        luns = volumes * exported
        with tempfile.TemporaryDirectory() as folder, seeded(Path(folder) / "node", volumes, exported=luns) as path:
            argv = [sys.executable, "-m", "benchmarks.scrape", "--measure", str(path)]
            found = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)
        base = found["cpu"] if base is None else base
        print(
            f"{volumes:7d} {luns:6d} {found['series']:7.0f} {found['received'] / 1e6:6.2f} MB "
            f"{found['text'] / 1e6:6.2f} MB {found['packed'] / 1e6:6.2f} MB "
            f"{found['node']:6.2f}s {found['cpu']:6.3f}s {found['cpu'] - base:6.3f}s "
            f"{found['wall']:6.2f}s {found['slow']:7.2f}s({found['slow_cpu']:.2f}s) {found['peak']:6.1f}MiB"
        )
    print(f"prometheus-client takes {renderers():.1f} times as long to make text of the same samples")


if __name__ == "__main__":
    main()
