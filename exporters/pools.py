"""Pools: size, space, health. Pure."""

from collections.abc import Callable, Sequence

from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, gauge
from exporters.printed import NOTHING
from exporters.vdevs import state_of
from remote.errors import UnexpectedOutput
from remote.script import Query
from storage.pool import in_known_words, printed_size

_SOURCE = "zpool list"
STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "suspended", "unknown")
_EXACT = "Rounded to three figures where pool_values_exact is 0."
SIZE = gauge(
    "pool_size_bytes",
    f"All of the pool's disks, parity of raidz included; of mirrors one side. {_EXACT}",
    "pool",
    source=_SOURCE,
)
ALLOCATED = gauge(
    "pool_allocated_bytes", f"What is in use of size, parity of raidz included. {_EXACT}", "pool", source=_SOURCE
)
FREE = gauge(
    "pool_free_bytes",
    "What is not in use of size. Not all of it can be written: ZFS keeps some, and volumes have space set aside. "
    f"{_EXACT}",
    "pool",
    source=_SOURCE,
)
FREEING = gauge(
    "pool_freeing_bytes", "What was destroyed and is still to be freed, in the background.", "pool", source=_SOURCE
)
LEAKED = gauge("pool_leaked_bytes", "What could not be freed, and is lost to the pool.", "pool", source=_SOURCE)
FRAGMENTATION = gauge(
    "pool_fragmentation_ratio",
    "Of the free space, not of the data: 0 to 1. Absent before 2014 and of pools that do not keep it.",
    "pool",
    source=_SOURCE,
)
DEDUP = gauge("pool_dedup_ratio", "As ZFS prints it: 2 is half the space, 1 none saved.", "pool", source=_SOURCE)
CHECKPOINT = gauge(
    "pool_checkpoint_bytes", "What the pool's checkpoint (zpool's own) keeps from being freed.", "pool", source=_SOURCE
)
HEALTH = gauge(
    "pool_health",
    "1 for the state that the pool is in. A pool whose I/O is suspended may not answer at all: see pool_kernel_state.",
    "pool",
    "state",
    source=_SOURCE,
)
READONLY = gauge("pool_readonly", "1 if the pool was imported read-only.", "pool", source=_SOURCE)
INFO = gauge(
    "pool_info", "1 for each pool: its GUID, and where it is mounted.", "pool", "guid", "altroot", source=_SOURCE
)
EXPECTED = gauge(
    "pool_expected",
    "1 for each pool that the configuration names, on the machine or not.",
    "pool",
    source="configuration",
)
VALUES_EXACT = gauge(
    "pool_values_exact",
    "0 where this release only prints sizes rounded to three figures (before 2014): rates of them are nonsense.",
    "pool",
    source=_SOURCE,
)
METRICS: tuple[Metric, ...] = (
    SIZE,
    ALLOCATED,
    FREE,
    FREEING,
    LEAKED,
    FRAGMENTATION,
    DEDUP,
    CHECKPOINT,
    HEALTH,
    READONLY,
    INFO,
    EXPECTED,
    VALUES_EXACT,
)

_FEW = ("name", "size", "allocated", "free", "capacity", "health")
_SINCE_2014 = (
    *("name", "size", "allocated", "free", "freeing", "leaked", "fragmentation", "dedupratio", "health", "readonly"),
    *("guid", "altroot"),
)
_SINCE_2018 = (*_SINCE_2014, "checkpoint")
_OLD = ("name", "size", "used", "available", "capacity", "health")
# How many columns there are tells which were asked for.
_COLUMNS = {len(columns): columns for columns in (_FEW, _SINCE_2014, _SINCE_2018)}


def pools(expected: Sequence[str], *, exact: bool) -> Collector:
    """Every pool of the node; ``expected`` are those that should be there. ``exact``: ``zpool list`` knows -p."""
    forms = (_SINCE_2018, _SINCE_2014, _FEW) if exact else (_OLD, _FEW)
    options = "-Hp" if exact else "-H"
    argv = in_known_words("zpool-list", *(f"list {options} -o {','.join(columns)}" for columns in forms))

    def emit(sheet: Sheet, text: str) -> None:
        for name in dict.fromkeys(expected):
            sheet.put(EXPECTED, 1, name)
        for line in text.splitlines():
            try:
                _emit(sheet, line, exact=exact)
            except (UnexpectedOutput, ValueError) as error:
                sheet.complain(f"zpool list: {line!a}: {error}")

    return Collector("pools", (Query(argv, str),), emit, pool_bound=True)


def _emit(sheet: Sheet, line: str, *, exact: bool) -> None:
    """Read one pool.

    tank	68182605824	364032	68182241792	0	0	0	1.00	ONLINE	off	14248731666072144465	-	-
    bad	-	-	-	-	FAULTED
    """
    fields = line.split("\t")
    if len(fields) not in _COLUMNS:
        raise UnexpectedOutput("zpool list", line, "the columns that were asked for")
    row = dict(zip(_COLUMNS[len(fields)], fields, strict=True))
    pool = row["name"]
    values = [(metric, read(row[column], line)) for metric, column, read in _READ if column in row]
    for metric, value in values:
        if value is not None:
            sheet.put(metric, value, pool)
    sheet.one_of(HEALTH, STATES, state_of(sheet, STATES, row["health"], pool), pool)
    sheet.put(VALUES_EXACT, float(exact), pool)
    if "guid" in row:
        told = ("" if row[column] in NOTHING else row[column] for column in ("guid", "altroot"))
        sheet.put(INFO, 1, pool, *told)


_Read = Callable[[str, str], float | None]


def _size(text: str, line: str) -> float | None:
    return None if text in NOTHING else printed_size(text, line)


def _ratio(text: str, line: str) -> float | None:
    """``1.00``, and ``1.00x`` without -p."""
    number = text.removesuffix("x")
    if text in NOTHING:
        return None
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise UnexpectedOutput("zpool list", line, "a ratio")
    return float(number)


def _percent(text: str, line: str) -> float | None:
    """``5``, and ``5%`` on some releases even with -p."""
    value = _ratio(text.removesuffix("%"), line)
    return None if value is None else value / 100


def _on(text: str, line: str) -> float | None:
    if text in NOTHING:
        return None
    if text not in {"on", "off"}:
        raise UnexpectedOutput("zpool list", line, "on or off")
    return float(text == "on")


_READ: tuple[tuple[Metric, str, _Read], ...] = (
    (SIZE, "size", _size),
    (ALLOCATED, "allocated", _size),
    (FREE, "free", _size),
    (FREEING, "freeing", _size),
    (LEAKED, "leaked", _size),
    (FRAGMENTATION, "fragmentation", _percent),
    (DEDUP, "dedupratio", _ratio),
    (CHECKPOINT, "checkpoint", _size),
    (READONLY, "readonly", _on),
)
