"""Two storage nodes and their dom0s that never were, with a sample of every metric in the catalogue.

On one all is well, on the other everything that there is an alert on has gone wrong. What names what is as on real
ones, so what joins here joins there.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence

from exporters import catalogue, guests
from exporters.exposition import Metric, Sheet, labelled
from exporters.pages import Row, UnknownTarget

Labels = dict[str, str]
DAY = 86400
MACHINES = ("san1", "san2", "san3", "xen1", "xen2")
_G = 1 << 30
# A metric's name without the prefix.
_STATES: Mapping[str, Sequence[str]] = {
    "pool_health": ("online", "degraded", "faulted", "suspended"),
    "pool_kernel_state": ("online", "degraded", "suspended"),
    "pool_scan_state": ("none", "scanning", "finished"),
    "vdev_state": ("online", "removed", "avail"),
    "guest_state": guests.STATES,
    "checkpoint_state": ("created", "done"),
}
_CONSTANT = {
    "alias": "",
    "altroot": "",
    "auth": "chap",
    "block_size": "512",
    "code": "200",
    "compression": "lz4",
    "disk": "c1t0d0",
    "guid": "1",
    "metric": "xvmstore_volume_info",
    "mode": "w",
    "origin": "",
    "page": "/probe",
    "portal": "192.0.2.1:3260",
    "provider": "sbd",
    "reason": "tls",
    "release": "5.11",
    "serial": "",
    "sync": "standard",
    "system": "SunOS",
    "thin": "yes",
    "toolstack": "xl",
    "version": "1",
    "volblocksize": "8192",
    "write_cache": "off",
}


class World:
    """What san1, san2, xen1 and xen2 say; san3 does not answer. It is a Site of the exporter's server."""

    def __init__(self) -> None:
        self._began = time.time()

    def probe(self, target: str, *, budget: float) -> Sheet:
        """One scrape."""
        sheet = Sheet()
        if target == "san3":
            sheet.put(_metric("up"), 0)
        elif target in MACHINES:
            machine = Machine(target, self._began)
            for metric in machine.metrics():
                machine.put(sheet, metric)
        else:
            raise UnknownTarget(target)
        return sheet

    def own(self) -> Sheet:
        """Of the exporter itself, once of each metric."""
        sheet = Sheet()
        machine = Machine("san1", self._began)
        for metric in _OWN:
            machine.put(sheet, metric)
        return sheet

    def targets(self) -> Sequence[Row]:
        """None shown."""
        return ()


def _metric(name: str) -> Metric:
    return next(one for one in catalogue.METRICS if one.name == f"xvmstore_{name}")


# The server itself adds the rest of this group.
_OWN = tuple(
    one for one in catalogue.CATALOGUE["The exporter itself (/metrics)"] if "ssh" in one.name or "build" in one.name
)
_BOTH = (*catalogue.CATALOGUE["The scrape itself"], *catalogue.CATALOGUE["Machines"])
_DOM0 = catalogue.CATALOGUE["Guests"]
_NODE = tuple(
    metric
    for title, group in catalogue.CATALOGUE.items()
    if title not in ("The scrape itself", "Machines", "Guests", "The exporter itself (/metrics)")
    for metric in group
)


class Machine:
    """One of them; those whose name ends in 2 are ill."""

    def __init__(self, name: str, began: float) -> None:
        self.name, self.now = name, time.time()
        self.number = name[-1]
        self.well = self.number == "1"
        self.since = self.now - began + 100

    def metrics(self) -> tuple[Metric, ...]:
        """What it has."""
        return (*_BOTH, *(_NODE if self.name.startswith("san") else _DOM0))

    def put(self, sheet: Sheet, metric: Metric) -> None:
        """All samples of a metric."""
        name = metric.name.removeprefix("xvmstore_")
        for labels in self._label_sets(name, metric.labels):
            if metric.kind == "histogram":
                self._put_buckets(sheet, metric, labels)
                continue
            value = self._value(name, labels)
            if value is not None:
                sheet.put(metric, value, *(labels[one] for one in metric.labels))

    def _put_buckets(self, sheet: Sheet, metric: Metric, labels: Labels) -> None:
        slow = not self.well and labels["vdev"] == "mirror-0/sdb"
        took = 0.8 if slow else 0.003
        for bound in [((2 << row) - 1) / 1e9 for row in range(12, 35)] + [float("inf")]:
            of = {**labels, "le": "+Inf" if bound == float("inf") else repr(bound)}
            text = labelled(metric.labels, [of[one] for one in metric.labels])
            sheet.column(metric)[text] = str(int(1000 * self.since) if bound >= took else 0)

    def _label_sets(self, name: str, wanted: Sequence[str]) -> Iterator[Labels]:
        axes = [axis for axis in self._axes(name) if axis and axis[0].keys() & set(wanted)]
        for chosen in itertools.product(*axes):
            labels = dict(_CONSTANT)
            for part in chosen:
                labels |= part
            yield {one: labels[one] for one in wanted if one != "le"}

    def _axes(self, name: str) -> list[list[Labels]]:
        """Each a choice of labels that belong together."""
        states = _STATES.get(name, ())
        pools = [{"pool": "tank"}]
        if name.startswith("pool_"):
            pools.append({"pool": "fast"})
        if name == "pool_expected":
            pools.append({"pool": "vault"} if not self.well else {"pool": "tank"})
        collectors = ["node", "luns", "arc"] + (["pools", "volumes", "snapshots"] if "san" in self.name else ["guests"])
        return [
            [{"collector": one} for one in collectors],
            pools,
            [self._volume("root", "a"), self._volume("data", "b")],
            [
                {"vdev": "mirror-0/sda", "role": "data", "parent": "mirror-0"},
                {"vdev": "mirror-0/sdb", "role": "data", "parent": "mirror-0"},
                {"vdev": "nvme0", "role": "log", "parent": ""},
            ],
            [{"op": "read"}, {"op": "write"}],
            [{"phase": "tcp_connect"}, {"phase": "iscsi_login"}, {"phase": "iscsi_discovery"}],
            [{"function": "scrub"}, {"function": "resilver"}],
            [{"state": one} for one in states],
        ]

    def _volume(self, disk: str, letter: str) -> Labels:
        guest = f"web{self.number}"
        return {
            "volume": f"{guest}/{disk}",
            "guest": guest,
            "vbd": f"xvd{letter}",
            "checkpoint": "xvm-1",
            "node": f"san{self.number}",
            "lun": f"600144F0{ord(letter):X}{self.number}".ljust(32, "0"),
            "target": f"iqn.2026-11.org.xvmstore:{guest}.{disk}",
        }

    def _value(self, name: str, labels: Labels) -> float | None:
        """None where there is no sample."""
        if "state" in labels:
            return float(labels["state"] == self._state(name, labels))
        value = _special(self, name, labels)
        if value != "usual":
            assert value is None or isinstance(value, float)
            return value
        if name.endswith("_info"):
            return 1
        if "timestamp" in name:
            return self.now - 3600
        if name.endswith("_total"):
            return self.since * (0.1 if "seconds" in name else 1000)
        return 1

    def _state(self, name: str, labels: Labels) -> str:
        if name == "pool_scan_state":
            scans = (
                {"scrub": "finished", "resilver": "none"} if self.well else {"scrub": "none", "resilver": "scanning"}
            )
            return scans[labels["function"]]
        if name == "guest_state":
            return "blocked"
        if name == "checkpoint_state":
            return "created"
        if self.well:
            return "online"
        if name == "vdev_state":
            return "removed" if labels["vdev"] == "mirror-0/sdb" else "online"
        return "degraded" if labels["pool"] == "tank" else "suspended"


def _special(machine: Machine, name: str, labels: Labels) -> object:
    """What is not as usual: the good value and the bad one, None for no sample."""
    now, since = machine.now, machine.since
    size, fuller = 1000.0 * _G, 0.85 if labels.get("pool") == "tank" else 0.95
    pairs: dict[str, tuple[float | None, float | None]] = {
        "collector_success": (1.0, float(labels.get("collector") != "arc")),
        "parse_errors": (0.0, 3.0),
        "series_dropped": (None, 5.0),
        "node_time_seconds": (now, now - 60),
        "pool_size_bytes": (size, size),
        "pool_allocated_bytes": (0.3 * size, fuller * size),
        "pool_free_bytes": (0.7 * size, (1 - fuller) * size - since * _G),
        "pool_data_errors": (0.0, 2.0),
        "pool_scan_errors": (0.0, 2.0),
        "pool_last_scrub_timestamp_seconds": (now - DAY, now - 40 * DAY),
        "pool_scan_done_ratio": (None, 0.25),
        "vdev_read_errors_total": (0.0, 0.0),
        "vdev_write_errors_total": (0.0, 0.0),
        "vdev_checksum_errors_total": (0.0, float(int(since)) if labels.get("vdev") == "mirror-0/sdb" else 0.0),
        "volume_size_bytes": (20.0 * _G, 200.0 * _G),
        "volume_referenced_bytes": (5.0 * _G, 5.0 * _G),
        "volume_available_bytes": (700.0 * _G, 100.0 * _G),
        "volume_snapshots": (2.0, 0.0 if labels.get("volume", "").endswith("data") else 1.0),
        "volume_newest_snapshot_timestamp_seconds": (now - 3600, now - 2 * DAY),
        "volume_unfinished": (0.0, 1.0),
        "checkpoint_timestamp_seconds": (now - DAY, now - 8 * DAY),
        "checkpoint_used_bytes": (1.0 * _G, 100.0 * _G),
        "lun_online": (1.0, 0.0),
        "lun_views": (1.0, 0.0),
        "lun_size_mismatch": (0.0, 1.0),
        "target_online": (1.0, 0.0),
        "target_sessions": (1.0, 0.0),
        "probe_success": (1.0, 0.0),
        "probe_duration_seconds": (0.01, None),
        "probe_login_status": (0.0, None),
        "lun_run_queue_seconds_total": (0.1 * since, 1000.0 * since),
        "volume_write_time_seconds_total": (0.1 * since, 1000.0 * since),
        "web_config_ok": (1.0, 1.0),
    }
    if name == "collector_last_success_timestamp_seconds":
        return now if machine.well or labels["collector"] not in ("snapshots", "arc") else None
    if name not in pairs:
        return "usual"
    return pairs[name][0 if machine.well else 1]
