"""A real Prometheus on loopback, started for a test, and what a test asks of expressions."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporters import catalogue
from exporters.server import Server
from tests.exporters.world import World

FILES = Path(__file__).parent.parent.parent / "exporters" / "files"
Result = Sequence[dict[str, Any]]
NAMES = frozenset(f"{one.name}_bucket" if one.kind == "histogram" else one.name for one in catalogue.METRICS)
# The name of a recording rule has ours between colons.
_NAME = re.compile(r"(?<![:\w])xvmstore_\w+")


class Prometheus:
    """A running one."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    def query(self, expression: str) -> Result:
        """The samples of an instant query. Raises AssertionError for what is no PromQL."""
        found: Result = self._api("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float:
        """Of the only sample there is."""
        (sample,) = self.query(expression)
        return float(sample["value"][1])

    def formatted(self, expression: str) -> str:
        """An expression as Prometheus would write it."""
        return str(self._api("format_query", query=expression))

    def eventually(self, expression: str, *, seconds: float = 20.0) -> Result:
        """Asks until there is something."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression}: nothing within {seconds} s\n{self.log()}"
            time.sleep(0.1)
        return found

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    def ready(self) -> bool:
        """It answers, and says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _api(self, call: str, **arguments: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{call}"
        try:
            with urllib.request.urlopen(url, urllib.parse.urlencode(arguments).encode(), timeout=20) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None


@contextlib.contextmanager
def running(directory: Path, config: str) -> Iterator[Prometheus]:
    """Prometheus with this configuration, its data and its log in ``directory``, until the end of the block."""
    (directory / "prometheus.yml").write_text(config)
    process, found = _started(directory)
    try:
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def _started(directory: Path) -> tuple[subprocess.Popen[bytes], Prometheus]:
    for _ in range(3):
        port = _free_port()
        log = directory / "prometheus.log"
        argv = (
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=debug",
        )
        with log.open("wb") as out:
            process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
        found = Prometheus(port, log)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if found.ready():
                return process, found
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
        process.wait(timeout=20)
        # Somebody else may have taken the port meanwhile.
        if "address already in use" not in found.log():
            break
    raise AssertionError(f"prometheus did not start:\n{found.log()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def config(exporter: str, *, nodes: str, dom0s: str = "", every: int = 1) -> str:
    """The shipped example with the shipped rules, for another exporter, every so many seconds."""
    text = (FILES / "prometheus.yml").read_text()
    for before, after in (
        ("127.0.0.1:9813", exporter),
        ("targets: [san1]", f"targets: [{nodes}]"),
        ("targets: [xen1]", f"targets: [{dom0s}]"),
        ("scrape_interval: 30s", f"scrape_interval: {every}s"),
        ("scrape_timeout: 10s", f"scrape_timeout: {every}s"),
        ("evaluation_interval: 1m", "evaluation_interval: 1s"),
        ("- alerts.yml", f"- {FILES / 'alerts.yml'}"),
    ):
        assert before in text, before
        text = text.replace(before, after)
    return text


def names_in(expression: str) -> set[str]:
    """Our metrics in it."""
    return set(_NAME.findall(expression))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the shipped rules, and scrapes of a world in which much has gone wrong.

    san1 and xen1 are well, san2 and xen2 are not, san3 does not answer, nobody is no target, one exporter is down.
    """
    server = Server(World(), listen=("127.0.0.1:0",))
    server.start()
    (address,) = server.addresses
    text = config(address, nodes="san1, san2, san3, nobody", dom0s="xen1, xen2")
    text = text.replace(f'["{address}"]', f'["{address}", "127.0.0.1:9"]')
    try:
        with running(tmp_path_factory.mktemp("prometheus"), text) as found:
            found.eventually('count_over_time(xvmstore_up{instance="xen2"}[1m]) > 4')
            yield found
    finally:
        server.stop()
