"""A real Prometheus scrapes the exporter, which asks an embedded node: what arrives, and in which form."""

import http.client
import http.server
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import prometheus_client.openmetrics.parser as openmetrics
import prometheus_client.parser as text_format
import pytest

from embedded import kernel_stats
from embedded.initiator import Session
from embedded.model import Node
from tests.contract.luns import lun
from tests.exporters.prometheus import Prometheus, config, running
from tests.exporters.test_alerts import promtool
from tests.exporters.test_dashboard import expressions, filled_in
from tests.node.live import LiveNode, start

pytestmark = pytest.mark.node
# Panels, by title, whose queries an illumos node alone has no samples for; tests/exporters has them for all.
ELSEWHERE = {
    "linux": {
        "Busiest volumes (Linux)",
        "Mean time of reads and writes, slowest volumes (Linux)",
        "Intent log (Linux)",
    },
    "dom0": {
        "Guests",
        "From the disk of a guest to its volume and LUN",
        "Written by guests",
        "Read by guests",
        "Requests of guests",
    },
    "trouble": {
        "Alerts",
        "Disks that are not well, or made errors",
        "LUNs that are offline or have not their volume's size",
        "Collectors that fail, and left-outs",
        "Scrub, resilver",
    },
}
# An I/O of 3 ms is in the bucket of 2^21 to 2^22-1 ns.
THREE_MS = 21


class Between:
    """Stands between Prometheus and the exporter, and notes what they say to each other."""

    def __init__(self, port: int) -> None:
        self.asked: list[Message] = []
        self.answered: list[Message] = []
        notes = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                client.request("GET", self.path, headers=dict(self.headers))
                reply = client.getresponse()
                body = reply.read()
                notes.asked.append(self.headers)
                notes.answered.append(reply.msg)
                self.send_response_only(reply.status)
                for name, value in reply.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                client.close()

            def log_message(self, *_words: object, **_named: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Nobody gets through any more."""
        self._server.shutdown()
        self._server.server_close()


class Load:
    """The node's disks and its first LU do something, all the time."""

    def __init__(self, directory: Path, guid: str) -> None:
        self._directory, self._guid = directory, guid
        self._stop = threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more."""
        self._stop.set()
        self._thread.join(20)

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            self.rounds += 1
            node = Node.load(self._directory)
            for disk in node.pools["tank"].disks:
                for column in ("total_read", "total_write", "disk_read", "disk_write"):
                    disk.latency[column] = [0] * THREE_MS + [100 * self.rounds]
            count = 50 * self.rounds
            now = int((time.time() - node.boot_time) * 1e9)
            node.kstats[kernel_stats.unit_io(node, self._guid)] = {
                "reads": count,
                "writes": count,
                "nread": 4096 * count,
                "nwritten": 8192 * count,
                "rlentime": 1_000_000 * count,
                "wlentime": 1_000_000 * count,
                "rlastupdate": now,
                "wlastupdate": now,
            }
            node.kstats["zfs:0:arcstats"] = {"hits": 90 * self.rounds, "misses": 10 * self.rounds}
            node.save()


@dataclass
class Site:
    """All that runs for these tests."""

    node: LiveNode
    exporter: int
    between: Between
    prometheus: Prometheus
    made: list[dict[str, Any]] = field(default_factory=list)

    def fetch(self, path: str, accept: str) -> tuple[str, str]:
        """A page of the exporter and its type."""
        client = http.client.HTTPConnection("127.0.0.1", self.exporter, timeout=20)
        client.request("GET", path, headers={"Accept": accept})
        reply = client.getresponse()
        found = reply.read().decode(), reply.headers["Content-Type"]
        client.close()
        assert reply.status == 200
        return found


@contextmanager
def serving(path: Path) -> Iterator[int]:
    """`xvmstore exporter serve` on a port of its own choice."""
    argv = [sys.executable, "-m", "xvmstore", "-c", str(path), "exporter", "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if match := re.match(r"listening on 127\.0\.0\.1:(\d+)$", line):
                break
        else:
            raise AssertionError(said)
        # It must never wait for somebody to read its log.
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        reader.start()
        yield int(match[1])
    finally:
        process.terminate()
        code = process.wait(timeout=20)
    reader.join(20)
    process.stderr.close()
    assert 0 == code, said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An embedded node with volumes, a session, checkpoints, I/O; the exporter; Prometheus with the shipped files."""
    directory = tmp_path_factory.mktemp("site")
    node = start(directory / "node", "illumos")
    with ExitStack() as stack:
        stack.callback(node.stop)
        made = [
            node.xvm("volume", "create", name, "--size", size, *more, "--json").json
            for name, size, *more in (
                ("web1/root", "2G"),
                ("web1/data", "3G", "--thin"),
                ("db/root", "1G"),
            )
        ]
        assert 0 == node.xvm("checkpoint", "create", "web1", "--reason", "a test").exit
        node.on_node("zfs", "snapshot", "tank/xvm/db/root@monday")
        state = Node.load(node.directory)
        ended = time.asctime(time.gmtime(time.time() - 86400))
        state.pools["tank"].scan = f"scrub repaired 0 in 0h5m with 0 errors on {ended}"
        state.save()
        stack.enter_context(Session(lun(node, made[0])))
        load = Load(node.directory, made[0]["guid"])
        stack.callback(load.close)
        exporter = stack.enter_context(serving(node.config))
        between = Between(exporter)
        stack.callback(between.close)
        text = config(f"127.0.0.1:{between.port}", nodes="embedded", every=2)
        prometheus = stack.enter_context(running(directory, text))
        prometheus.eventually("count_over_time(xvmstore_volume_snapshots[5m]) > 3", seconds=60)
        yield Site(node, exporter, between, prometheus, made)


def test_up(site: Site) -> None:
    """Both jobs are, the node answers, every collector is well, and nothing was left out."""
    ups = {one["metric"]["job"]: one["value"][1] for one in site.prometheus.query("up")}
    assert {"xvmstore": "1", "xvmstore-exporter": "1"} == ups
    assert 1.0 == site.prometheus.value("xvmstore_up")
    assert [] == site.prometheus.query("xvmstore_collector_success == 0 or xvmstore_parse_errors > 0")
    assert {"embedded"} == {one["metric"]["instance"] for one in site.prometheus.query("xvmstore_volume_size_bytes")}
    assert abs(site.prometheus.value("xvmstore_node_time_seconds - timestamp(xvmstore_node_time_seconds)")) < 3


def test_what_is_there_arrives(site: Site) -> None:
    """Volumes, a session, snapshots of any kind, a checkpoint's own metrics."""
    value = site.prometheus.value
    assert 2 << 30 == value('xvmstore_volume_size_bytes{volume="web1/root"}')
    assert 1.0 == value(f'xvmstore_target_sessions{{target="{site.made[0]["target"]}"}}')
    assert 0.0 == value(f'xvmstore_target_sessions{{target="{site.made[1]["target"]}"}}')
    assert 1.0 == value('xvmstore_volume_snapshots{volume="db/root"}')
    assert 2.0 == value('count(xvmstore_checkpoint_state{guest="web1", state="created"} == 1)')
    assert 1.0 == value('count(xvmstore_volume_info{thin="yes"})')


def test_latency(site: Site) -> None:
    """Where every I/O takes 3 ms, Prometheus' p99 is between the bounds that ZFS has around that, and so is p50."""
    for metric in ("total", "disk"):
        for quantile in (0.5, 0.99):
            of = f"rate(xvmstore_vdev_{metric}_wait_seconds_bucket[30s])"
            found = site.prometheus.query(
                f"histogram_quantile({quantile}, sum by (instance, pool, vdev, op, le) ({of}))"
            )
            assert 4 == len(found)
            for one in found:
                assert 0.002097151 < float(one["value"][1]) <= 0.004194303


def test_lun_under_its_volume(site: Site) -> None:
    """What COMSTAR counts of an LU is joined with the volume it is; a transfer took 1 ms."""
    expression = next(text for title, text in expressions() if title == "Time of a transfer, mean (COMSTAR)")
    (busy,) = site.prometheus.query(filled_in(expression))
    assert "web1/root" == busy["metric"]["volume"]
    assert math.isclose(0.001, float(busy["value"][1]), rel_tol=1e-6)


def test_dashboard(site: Site) -> None:
    """Every panel has something to show, but those for what such a node has not."""
    empty = {
        title
        for title, text in expressions()
        if not any(math.isfinite(float(one["value"][1])) for one in site.prometheus.query(filled_in(text)))
    }
    # Of the table of pools it is the column of scans that run.
    assert set().union(*ELSEWHERE.values()) | {"Pools"} == empty


def test_no_alert(site: Site) -> None:
    """All is well, and the rules say so."""
    assert [] == site.prometheus.query("ALERTS")


def test_prometheus_gets_openmetrics(site: Site) -> None:
    """It asks for it, and the exporter gives it, packed, for both pages; each answer in time."""
    assert len(site.between.answered) > 5
    for asked, answered in zip(list(site.between.asked), list(site.between.answered), strict=False):
        assert "application/openmetrics-text" in asked["Accept"]
        assert answered["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "gzip" == answered["Content-Encoding"]
    assert site.prometheus.value('max_over_time(scrape_duration_seconds{job="xvmstore"}[5m])') < 2


@pytest.mark.parametrize("path", ["/probe?target=embedded", "/metrics"])
def test_both_forms_say_the_same(site: Site, path: str) -> None:
    """The official parsers read the same series, of the same types, in the text form and in OpenMetrics."""
    text, kind = site.fetch(path, "text/plain")
    assert kind.startswith("text/plain; version=0.0.4")
    other, kind = site.fetch(path, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    parsers: tuple[Any, ...] = (text_format.text_string_to_metric_families, openmetrics.text_string_to_metric_families)
    found = [
        {
            (one.type, sample.name, *sorted(sample.labels.items()))
            for one in parse(said)
            for sample in one.samples
            if not sample.name.startswith("xvmstore_http_")
        }
        for parse, said in zip(parsers, (text, other), strict=True)
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 10


@pytest.mark.parametrize("path", ["/probe?target=embedded", "/metrics"])
def test_promtool_finds_nothing_wrong(site: Site, path: str) -> None:
    """Names, types and help texts are as Prometheus' own linter wants them."""
    text, _ = site.fetch(path, "text/plain")
    assert "" == promtool("check", "metrics", given=text.encode())


def test_prometheus_has_nothing_to_complain_of(site: Site) -> None:
    """No duplicates, nothing out of order, no failed rule in its log."""
    complaints = [line for line in site.prometheus.log().splitlines() if re.search(r"level=(warn|error)", line)]
    assert [] == complaints
