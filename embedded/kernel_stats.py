"""The kernel statistics of the node, as kstat shows them: the ARC, the pools, COMSTAR's units and targets.

Counters are zero or invented until ``Node.kstats`` says otherwise: it maps ``module:instance:name`` to statistics,
times of I/O in nanoseconds, crtime and snaptime in seconds since boot. What it has under any other name is a kstat
more, but for COMSTAR's: those are named by a kernel address, which is another one each time a unit is registered, so
counters start again at zero then. ``unit_io`` and ``target_io`` give the names.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embedded.model import LogicalUnit, Node
from embedded.stmfadm_lu import shown_alias
from embedded.targets import visible

Number = int | float
Statistics = Mapping[str, Number | str]

TIMES = frozenset({"wtime", "wlentime", "wlastupdate", "rtime", "rlentime", "rlastupdate"})
_IO: dict[str, Number | str] = dict.fromkeys(
    ("nread", "nwritten", "reads", "writes", "wcnt", "rcnt", *sorted(TIMES)), 0
)

_ARC: dict[str, Number | str] = {
    "hits": 9876543, "misses": 123456, "demand_data_hits": 7654321, "demand_data_misses": 65432,
    "demand_metadata_hits": 2000222, "demand_metadata_misses": 34567, "prefetch_data_hits": 120000,
    "prefetch_data_misses": 20457, "prefetch_metadata_hits": 102000, "prefetch_metadata_misses": 3000,
    "mru_hits": 2345678, "mru_ghost_hits": 4321, "mfu_hits": 7308865, "mfu_ghost_hits": 8765,
    "deleted": 54321, "mutex_miss": 12, "evict_skip": 345, "hash_elements": 262144, "hash_elements_max": 300000,
    "p": 4300000000, "c": 8600000000, "c_min": 1006632960, "c_max": 16106127360, "size": 8589934592,
    "hdr_size": 67108864, "data_size": 8053063680, "other_size": 469762048, "memory_throttle_count": 0,
    "l2_hits": 0, "l2_misses": 0, "l2_size": 0, "l2_hdr_size": 0, "l2_read_bytes": 0, "l2_write_bytes": 0,
    "l2_cksum_bad": 0, "l2_io_error": 0,
}  # fmt: skip
_ARC_ONLY = {
    "C": {
        "metadata_size": 1073741824, "compressed_size": 6442450944, "uncompressed_size": 12884901888,
        "overhead_size": 536870912, "l2_asize": 0, "arc_meta_used": 1610612736, "arc_meta_limit": 4026531840,
        "arc_meta_max": 1700000000, "arc_meta_min": 16777216,
    },
    "Perl": {"recycle_miss": 1234},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kstat:
    """One kstat. ``created`` is its crtime in seconds since boot."""

    module: str
    name: str
    kind: str
    created: float
    values: Statistics
    instance: int = 0

    @property
    def key(self) -> str:
        """Module, instance and name, as kstat prints them."""
        return f"{self.module}:{self.instance}:{self.name}"


def unit_io(node: Node, guid: str) -> str:
    """The key of the I/O kstat of a registered unit."""
    return f"stmf:0:stmf_lu_io_{_address(guid, node.units[guid].registration)}"


def target_io(name: str) -> str:
    """The key of the I/O kstat of a target."""
    return f"stmf:0:stmf_tgt_io_{_address(name, 0)}"


def kernel_stats(node: Node, *, now: float) -> list[Kstat]:
    """Every kstat in kstat's order, each with what ``Node.kstats`` has for it."""
    known = {one.key: one for one in _invented(node, now=now)}
    for key, values in node.kstats.items():
        module, instance, name = key.split(":", 2)
        if key not in known and module != "stmf":
            known[key] = Kstat(module, name, str(values.get("class", "misc")), 0.0, {}, int(instance))
    found = [_with(one, node.kstats.get(key, {}), timed=node.flavour.stmf_times) for key, one in known.items()]
    return sorted(found, key=lambda one: (one.module.lower(), one.instance, one.name.lower()))


def _with(one: Kstat, values: Statistics, *, timed: bool) -> Kstat:
    if not values:
        return one
    frozen = dict.fromkeys(TIMES, 0) if one.kind == "io" and not timed else {}
    return Kstat(one.module, one.name, one.kind, one.created, {**one.values, **values, **frozen}, one.instance)


def _invented(node: Node, *, now: float) -> Iterator[Kstat]:
    running = max(0.0, now - node.boot_time)
    ticks = int(running * 100)
    system = {"boot_time": int(node.boot_time), "clk_intr": ticks, "lbolt": ticks, "ncpus": 8, "nproc": 64}
    yield Kstat("unix", "system_misc", "misc", 0.0, system)
    yield Kstat("zfs", "arcstats", "misc", 21.0, {**_ARC, **_ARC_ONLY[node.flavour.kstat_language]})
    if node.flavour.pool_kstats:
        yield from (Kstat("zfs", pool, "disk", 31.0, _IO) for pool in node.pools)
    if not node.conditions & {"no-stmf-kstats", "driver-missing"}:
        for unit in node.units.values():
            yield from _unit(unit, created=max(0.0, unit.registered - node.boot_time))
        for name, target in visible(node).items():
            named = {"target-name": name, "target-alias": target.alias or "", "protocol": target.protocol}
            yield from _pair("tgt", _address(name, 0), named, created=204.99)


def _unit(unit: LogicalUnit, *, created: float) -> Iterator[Kstat]:
    named = {"lun-guid": unit.guid.lower(), "lun-alias": shown_alias(unit)}
    return _pair("lu", _address(unit.guid, unit.registration), named, created=created)


def _pair(kind: str, address: str, named: Statistics, *, created: float) -> Iterator[Kstat]:
    """What a unit or target is called, and what it does: two kstats with one address."""
    yield Kstat("stmf", f"stmf_{kind}_{address}", "misc", created, named)
    yield Kstat("stmf", f"stmf_{kind}_io_{address}", "io", created, _IO)


def _address(name: str, registration: int) -> str:
    """A kernel address of 16 digits, a different one for each registration."""
    return "ffffff" + hashlib.sha256(f"{name}/{registration}".encode()).hexdigest()[:9] + "8"
