"""A real Prometheus sees the real machines: what dd wrote, who is logged in, which guest has which LUN."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.exposition import render
from exporters.scraper import Scraper
from tests.exporters.prometheus import Prometheus, running
from tests.lab.guests import start
from tests.lab.live import Dom0, LabNode
from xvmstore import config
from xvmstore.exporter_targets import target

MIB = 1 << 20
SCRAPING = """\
global: {{scrape_interval: 6s, scrape_timeout: 6s}}
scrape_configs:
  - job_name: xvmstore
    metrics_path: /probe
    static_configs: [{{targets: [lab, xen1]}}]
    relabel_configs:
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [__param_target], target_label: instance}}
      - {{target_label: __address__, replacement: "{exporter}"}}
"""
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def configured(node: LabNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's configuration, with the portal as it is reached from here."""
    return node.variant(tmp_path_factory.mktemp("exporter"), node=f'portals = ["{node.portal({})}"]')


@pytest.fixture
def scrape(configured: Path) -> Iterator[Callable[[str], Values]]:
    """Scrapes a machine without Prometheus; every collector must be well."""
    made: dict[str, Scraper] = {}

    def one(name: str) -> Values:
        if name not in made:
            made[name] = Scraper(target(config.load(configured), name))
        sheet = made[name].scrape(budget=20)
        assert "" == made[name].trouble
        families = text_string_to_metric_families(render(sheet).decode())
        return {(each.name, frozenset(each.labels.items())): each.value for one in families for each in one.samples}

    yield one
    for scraper in made.values():
        scraper.close()


def value(values: Values, name: str, **labels: str) -> float:
    """Of the one series with these labels among its own."""
    (found,) = (
        one for (of, its), one in values.items() if of == f"xvmstore_{name}" and labels.items() <= dict(its).items()
    )
    return found


def test_what_dd_wrote(node: LabNode, dom0: Dom0, guest: str, scrape: Callable[[str], Values]) -> None:
    """Through dom0's initiator: bytes and operations of the volume, bytes of the LUN, and the disks had them too."""
    made = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    device = dom0.login(made)
    volume, lun = {"volume": f"{guest}/root"}, {"lun": made["guid"]}
    before = scrape("lab")
    assert 1.0 == value(before, "target_sessions", target=made["target"])
    dom0.run(f"dd if=/dev/urandom of={device} bs=64k count=512 oflag=direct conv=fsync 2>/dev/null")
    # Until a transaction group was written ZFS does not count what is in the intent log.
    node.shell("zpool sync tank")
    after = scrape("lab")

    def grew(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert 32 * MIB == grew("volume_written_bytes_total", **volume)
    assert 512 == grew("volume_write_ops_total", **volume)
    assert abs(32 * MIB - grew("lun_written_bytes_total", **lun)) <= MIB
    assert 512 <= grew("lun_commands_total", **lun) <= 700
    assert 0 < grew("volume_write_time_seconds_total", **volume) < 120
    assert 32 * MIB <= value(after, "volume_referenced_bytes", **volume) < 40 * MIB
    for disk in ("mirror-0/vdb", "mirror-0/vdc"):
        assert grew("vdev_disk_wait_seconds_bucket", vdev=disk, op="write", le="+Inf") > 10
    dom0.logout(made)
    assert 0.0 == value(scrape("lab"), "target_sessions", target=made["target"])


@pytest.fixture
def prometheus(configured: Path, tmp_path: Path) -> Iterator[Prometheus]:
    """Prometheus, and an exporter that it scrapes."""
    command = [sys.executable, "-m", "xvmstore", "-c", str(configured), "exporter", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as exporter:
        try:
            assert exporter.stderr is not None
            address = exporter.stderr.readline().removeprefix("listening on ").strip()
            with running(tmp_path, SCRAPING.format(exporter=address)) as found:
                yield found
        finally:
            exporter.terminate()


def test_a_guest_comes_and_goes(
    node: LabNode, dom0: Dom0, prometheus: Prometheus, scrape: Callable[[str], Values]
) -> None:
    """Its disk is joined to the LUN, the volume and their traffic; when it is gone so are session and series."""
    for instance in ("lab", "xen1"):
        prometheus.eventually(f'xvmstore_up{{instance="{instance}"}} == 1', seconds=60)
    assert [] == prometheus.query('xvmstore_guest_info{guest="seen"}')
    assert 0 == node.xvm("guest", "install-script", "--dom0", "xen1").exit
    guest = start(node, dom0, "seen", "root")
    guest.saw("GUEST-DISK xvda")
    made = node.xvm("volume", "show", "seen/root", "--json").json
    shown = prometheus.eventually('xvmstore_guest_block_device_info{guest="seen"}', seconds=60)[0]["metric"]
    assert ("xvda", "seen/root", made["guid"]) == (shown["vbd"], shown["volume"], shown["lun"])
    prometheus.eventually(f'xvmstore_target_sessions{{target="{made["target"]}"}} == 1', seconds=30)
    joined = (
        'xvmstore_volume_size_bytes * on (volume) group_left (guest) xvmstore_guest_block_device_info{guest="seen"}'
    )
    # The two machines are not scraped at the same moment.
    assert float(1 << 30) == float(prometheus.eventually(joined, seconds=30)[0]["value"][1])
    # A guest that has something to do, and no CPU to do it on, is neither for that moment.
    prometheus.eventually('xvmstore_guest_state{guest="seen", state=~"running|blocked"} == 1', seconds=30)
    before = scrape("xen1")
    guest.does("dd if=/dev/zero of=/dev/xvda bs=64k count=64 conv=fsync")
    written = {"guest": "seen", "vbd": "xvda"}
    grown = value(scrape("xen1"), "guest_vbd_written_bytes_total", **written) - value(
        before, "guest_vbd_written_bytes_total", **written
    )
    assert 4 * MIB == grown
    guest.destroy()
    _until(lambda: not prometheus.query('xvmstore_guest_info{guest="seen"}'))
    prometheus.eventually(f'xvmstore_target_sessions{{target="{made["target"]}"}} == 0', seconds=60)
    prometheus.eventually('xvmstore_probe_success{phase="iscsi_discovery"} == 1', seconds=30)
    assert [] == prometheus.query("xvmstore_collector_success == 0")


def _until(what: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.parametrize("name", ["lab", "xen1"])
def test_promtool_likes_it(configured: Path, name: str) -> None:
    """`exporter once` of either machine, through promtool check metrics; snapshots are in it at once."""
    command = [sys.executable, "-m", "xvmstore", "-c", str(configured), "exporter", "once", name]
    said = subprocess.run(command, capture_output=True, check=True, timeout=120)
    checked = subprocess.run(["promtool", "check", "metrics"], input=said.stdout, capture_output=True, check=False)
    assert (0, b"") == (checked.returncode, checked.stderr + checked.stdout)
    assert (b"\nxvmstore_volume_snapshots{" in said.stdout) is (name == "lab")
