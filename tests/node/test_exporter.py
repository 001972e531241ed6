"""The exporter against a node that hangs, is slow, goes away, answers by halves: what is true is served, in time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.exposition import Sheet, render
from exporters.scraper import Limits, Scraper
from tests.node.live import LiveNode
from xvmstore import config
from xvmstore.exporter_targets import target

pytestmark = pytest.mark.node
HANG = '[[fault]]\ncommand = "{}"\naction = "hang"\nevery = true\n'


class Samples:
    """A scrape as Prometheus' own parser reads it."""

    def __init__(self, sheet: Sheet) -> None:
        self._all = [
            sample for family in text_string_to_metric_families(render(sheet).decode()) for sample in family.samples
        ]

    def get(self, name: str, **labels: str) -> float | None:
        """The one sample with these labels among its own; None if there is none."""
        found = [one for one in self._all if one.name == f"xvmstore_{name}" and labels.items() <= one.labels.items()]
        assert len(found) < 2, found
        return found[0].value if found else None

    def __contains__(self, name: str) -> bool:
        return any(one.name == f"xvmstore_{name}" for one in self._all)

    def well(self) -> set[str]:
        """The collectors that succeeded."""
        return {one.labels["collector"] for one in self._all if one.name == "xvmstore_collector_success" and one.value}

    def ill(self) -> set[str]:
        """Those that did not."""
        return {
            one.labels["collector"] for one in self._all if one.name == "xvmstore_collector_success" and not one.value
        }


Make = Callable[..., Scraper]


@pytest.fixture
def scraper() -> Iterator[Make]:
    """Makes scrapers of a node, with other limits or configuration if need be; closes them."""
    made: list[Scraper] = []

    def make(node: LiveNode, *, extra: str = "", **limits: Any) -> Scraper:
        path = node.config
        if extra:
            path = Path(node.config).with_name("exporter.toml")
            path.write_text(f"{node.config.read_text()}\n{extra}")
        one = target(config.load(path), "embedded")
        made.append(Scraper(replace(one, limits=replace(one.limits, **limits) if limits else Limits())))
        return made[-1]

    yield make
    for one in made:
        one.close()


def scrape(one: Scraper, *, budget: float = 9.5) -> Samples:
    """One scrape, which must keep its time."""
    began = time.monotonic()
    sheet = one.scrape(budget=budget)
    assert time.monotonic() - began <= budget + 0.05
    return Samples(sheet)


def eventually(one: Scraper, what: Callable[[Samples], bool], *, seconds: float = 40.0) -> Samples:
    """Scrapes until something holds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = scrape(one)
        if what(found):
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s: {one.trouble}")


def test_without_comstar(shared_nodes: Callable[[str], LiveNode], scraper: Make, guest: str) -> None:
    """iscsitgtd is asked nothing, for that would start it; all else is well, of the ZFS of that time too."""
    node = shared_nodes("b85")
    node.xvm("volume", "create", f"{guest}/root", "--size", "3G")
    one = scraper(node)
    found = scrape(one)
    assert (1.0, set()) == (found.get("up"), found.ill()), one.trouble
    assert {"node", "pools", "vdevs", "volumes"} <= found.well()
    assert not {"luns", "targets"} & found.well()
    assert 3 << 30 == found.get("volume_size_bytes", volume=f"{guest}/root", pool="tank")
    assert found.get("volume_used_by_snapshots_bytes", volume=f"{guest}/root", pool="tank") is None


@pytest.mark.parametrize("flavour", ["illumos", "b134", "b111"])
def test_all_of_it(shared_nodes: Callable[[str], LiveNode], scraper: Make, guest: str, flavour: str) -> None:
    """Every collector is well or not supported; a scrape is no new exec; names, sizes, joins are there."""
    node = shared_nodes(flavour)
    made = node.xvm("volume", "create", f"{guest}/root", "--size", "3G", "--json").json
    one = scraper(node)
    first = scrape(one)
    assert 1.0 == first.get("up")
    assert set() == first.ill(), one.trouble
    assert {"node", "luns", "targets", "pools", "vdevs", "volumes"} <= first.well()
    before = len(node.execs())
    for _ in range(5):
        found = scrape(one)
    assert before == len(node.execs())
    assert 3 << 30 == found.get("lun_size_bytes", lun=made["guid"])
    head = 65536 if flavour == "b111" else 0
    assert (3 << 30) + head == found.get("volume_size_bytes", volume=f"{guest}/root", pool="tank")
    assert 1.0 == found.get("lun_info", lun=made["guid"], volume=f"{guest}/root")
    assert 1.0 == found.get("lun_online", lun=made["guid"])
    assert 0.0 == found.get("lun_size_mismatch", lun=made["guid"])
    assert 1.0 == found.get("pool_health", pool="tank", state="online")
    assert 0.0 == found.get("pool_health", pool="tank", state="suspended")
    assert abs(time.time() - (found.get("node_time_seconds") or 0)) < 3
    assert 0 < (found.get("ssh_round_trip_seconds") or 0) < 1
    for phase in ("tcp_connect", "iscsi_login", "iscsi_discovery"):
        assert 1.0 == found.get("probe_success", phase=phase)


def test_snapshots_have_a_time_of_their_own(node: LiveNode, scraper: Make, guest: str) -> None:
    """They come after the first scrape was answered, with their age; a volume that has none says 0."""
    for disk in ("root", "data"):
        node.xvm("volume", "create", f"{guest}/{disk}", "--size", "1G")
    node.on_node("zfs", "snapshot", f"tank/xvm/{guest}/root@monday")
    began = time.time()
    one = scraper(node)
    assert "volume_snapshots" not in scrape(one)
    found = eventually(one, lambda seen: "volume_snapshots" in seen)
    assert 1.0 == found.get("volume_snapshots", volume=f"{guest}/root")
    assert 0.0 == found.get("volume_snapshots", volume=f"{guest}/data")
    assert found.get("volume_newest_snapshot_timestamp_seconds", volume=f"{guest}/data") is None
    assert (found.get("volume_newest_snapshot_timestamp_seconds", volume=f"{guest}/root") or 0) > began - 60
    taken = found.get("collector_last_success_timestamp_seconds", collector="snapshots")
    time.sleep(1.1)
    assert taken == scrape(one).get("collector_last_success_timestamp_seconds", collector="snapshots")
    assert (scrape(one).get("collector_last_success_timestamp_seconds", collector="pools") or 0) > (taken or 0)


def test_snapshots_that_are_too_old_are_not_served(illumos: LiveNode, scraper: Make, guest: str) -> None:
    """When they cannot be listed any more their samples go, though not at once."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    one = scraper(illumos, slow_every=1.0)
    eventually(one, lambda seen: "volume_snapshots" in seen)
    illumos.faults(
        '[[fault]]\ncommand = "zfs list*volume,snapshot*"\naction = "fail"\nevery = true\nstderr = "no luck\\n"\n'
    )
    failing = eventually(one, lambda seen: "snapshots" in seen.ill(), seconds=5)
    assert "volume_snapshots" in failing
    gone = eventually(one, lambda seen: "volume_snapshots" not in seen, seconds=8)
    assert "pools" in gone.well()
    assert "no luck" in one.trouble


def test_hung_zpool(fresh: Callable[..., LiveNode], scraper: Make) -> None:
    """A scrape ends in time and has the rest; the next ones start no other zpool or zfs; afterwards all is well."""
    node = fresh()
    node.xvm("volume", "create", "web1/root", "--size", "1G")
    one = scraper(node)
    eventually(one, lambda seen: "volume_snapshots" in seen)
    node.faults(HANG.format("zpool list*"))
    found = scrape(one, budget=2.5)
    assert 1.0 == found.get("up")
    assert {"pools", "volumes", "vdevs", "latency"} <= found.ill()
    assert {"node", "luns", "targets"} <= found.well()
    assert "pool_size_bytes" not in found
    assert 1.0 == found.get("lun_online")
    hanging = _running(node)
    assert 1 == len(hanging)
    for _ in range(3):
        later = scrape(one, budget=4)
        assert {"node", "luns", "targets"} <= later.well()
        assert {"pools", "volumes", "vdevs", "latency"} <= later.ill()
        assert hanging == _running(node)
    other = scraper(node)  # another exporter, or this one started anew
    assert {"pools", "volumes"} <= scrape(other, budget=4).ill()
    assert hanging == _running(node)
    node.faults("")
    again = eventually(one, lambda seen: not seen.ill())
    assert "pool_size_bytes" in again


def _running(node: LiveNode) -> list[str]:
    """The zfs and zpool processes of this node, by number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if any(word in {f"{node.directory}/bin/zfs", f"{node.directory}/bin/zpool"} for word in words):
            found.append(entry.parent.name)
    return sorted(found)


def test_hung_listing_of_snapshots(illumos: LiveNode, scraper: Make, guest: str) -> None:
    """While it is merely slow the rest goes on; once it must be taken as hanging no other zfs is started."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    illumos.faults(HANG.format("zfs list*volume,snapshot*"))
    one = scraper(illumos, slow_every=1.0, slow_timeout=3.0)
    assert set() == scrape(one).ill()
    time.sleep(0.5)
    assert set() == scrape(one).ill()
    time.sleep(3)
    assert {"pools", "volumes", "snapshots"} <= scrape(one).ill()
    assert "snapshots" in one.trouble
    illumos.faults("")
    eventually(one, lambda seen: not seen.ill() and "volume_snapshots" in seen)


def test_slow_node(illumos: LiveNode, scraper: Make) -> None:
    """What has ended by the deadline is served."""
    illumos.faults('[[fault]]\ncommand = "zpool status*"\naction = "hang"\nseconds = 2.5\nevery = true\n')
    one = scraper(illumos)
    found = scrape(one, budget=2)
    assert {"node", "luns", "pools"} <= found.well()
    assert {"vdevs", "volumes"} <= found.ill()
    illumos.faults("")
    eventually(one, lambda seen: not seen.ill())


def test_half_a_line(illumos: LiveNode, scraper: Make) -> None:
    """The connection breaks in the middle of an answer: what came before it counts, the next scrape is whole."""
    illumos.faults('[[fault]]\ncommand = "zpool list -Hp*"\naction = "cut"\ncall = 1\n')
    one = scraper(illumos)
    found = scrape(one)
    assert 1.0 == found.get("up")
    assert {"pools", "volumes"} <= found.ill()
    assert {"node", "luns"} <= found.well()
    assert "pool_size_bytes" not in found
    illumos.faults("")
    assert set() == eventually(one, lambda seen: seen.get("up") == 1.0).ill()


def test_node_down(fresh: Callable[..., LiveNode], scraper: Make) -> None:
    """`up` says so at once, and again when it is back; what is not known is not there."""
    node = fresh()
    one = scraper(node)
    assert 1.0 == scrape(one).get("up")
    node.stop()
    began = time.monotonic()
    for _ in range(4):
        down = scrape(one)
        assert 0.0 == down.get("up")
        assert "pool_size_bytes" not in down
    assert time.monotonic() - began < 8
    assert 0.0 == down.get("probe_success", phase="tcp_connect")
    assert "Unable to connect" in one.trouble
    from tests.node.live import start

    back = start(node.directory, "illumos")
    try:
        eventually(one, lambda seen: not seen.ill() - {"snapshots"} and "pools" in seen.well())
    finally:
        back.stop()
        assert back.process.stdout is not None


def test_missing_pool(illumos: LiveNode, scraper: Make) -> None:
    """It is said that it should be there, and nothing that it is."""
    one = scraper(illumos, extra='[exporter]\npools = ["vault"]\n')
    found = scrape(one)
    assert 1.0 == found.get("pool_expected", pool="vault")
    assert found.get("pool_size_bytes", pool="vault") is None
    assert (found.get("pool_size_bytes", pool="tank") or 0) > 0


def test_chosen_volumes(illumos: LiveNode, scraper: Make, guest: str) -> None:
    """include and exclude; what is left out is counted."""
    for disk in ("root", "swap", "data"):
        illumos.xvm("volume", "create", f"{guest}/{disk}", "--size", "1G")
    one = scraper(illumos, extra=f'[exporter]\ninclude = ["^{guest}/"]\nexclude = ["/swap$"]\n')
    found = scrape(one)
    assert 1 << 30 == found.get("volume_size_bytes", volume=f"{guest}/root")
    assert found.get("volume_size_bytes", volume=f"{guest}/swap") is None
    assert (found.get("volumes_filtered") or 0) >= 1


def test_too_many_series(illumos: LiveNode, scraper: Make, guest: str) -> None:
    """The cap leaves out whole metrics and says which; the scrape's own are there all the same."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    one = scraper(illumos, max_series=60)
    sheet = one.scrape(budget=9.5)
    found = Samples(sheet)
    assert "series_dropped" in found
    assert 1.0 == found.get("up")
    assert len(sheet) < 200


def test_two_at_a_time(illumos: LiveNode, scraper: Make) -> None:
    """Scrapes that overlap share one run."""
    import threading

    one = scraper(illumos)
    scrape(one)
    illumos.faults('[[fault]]\ncommand = "zpool status*"\naction = "hang"\nseconds = 1\nevery = true\n')
    found: list[Sheet] = []
    threads = [threading.Thread(target=lambda: found.append(one.scrape(budget=9))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len({id(sheet) for sheet in found})
    assert 5 == len(found)


def test_a_pool_that_hangs_during_the_listing(illumos: LiveNode, scraper: Make, guest: str) -> None:
    """One zfs of each kind may hang then; the machine is still up, and what runs neither is told."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")
    one = scraper(illumos, slow_every=0.1, slow_timeout=1.5)
    illumos.faults(HANG.format("zfs list*volume,snapshot*"))
    assert set() == scrape(one).ill()
    time.sleep(0.3)
    illumos.faults(HANG.format("zfs list*volume,snapshot*") + HANG.format("zpool list -Hp*"))
    for _ in range(4):
        found = scrape(one, budget=1.5)
        assert 1.0 == found.get("up")
        assert {"node", "luns", "targets"} <= found.well()
        assert {"pools", "volumes"} <= found.ill()
    illumos.faults("")
    eventually(one, lambda seen: not seen.ill())


def test_no_thread_to_be_had(illumos: LiveNode, scraper: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has run out of them: this scrape fails, and the next one does not."""
    one = scraper(illumos)

    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", start)
        assert 0.0 == Samples(one.scrape(budget=2)).get("up")
    assert 1.0 == scrape(one).get("up")


def test_a_short_scrape_after_a_long_one(illumos: LiveNode, scraper: Make) -> None:
    """What a long one kept for making text is not taken from a short one."""
    one = scraper(illumos)
    scrape(one)
    one._margin = 5.0
    assert 1.0 == scrape(one, budget=1).get("up")
    assert 0 == one.failures
