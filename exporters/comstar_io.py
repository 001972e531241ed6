"""What COMSTAR's LUs and targets have done, as its kstats count it. Pure.

stmf counts a transfer for each data buffer, and keeps two exact integrals: of the commands that wait for a worker, and
of those that are worked on (usr/src/uts/common/io/comstar/stmf/stmf.c). No split into reads and writes, no percentiles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporters import kstat, luns
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge, labelled
from exporters.printed import are_numbers, is_guid
from remote.script import Query

_TRANSFERS = (
    "Data buffers {done} the {what}: a large SCSI command has several, one without data has none. Begins again at 0 "
    "when the {what} is registered anew."
)
_QUEUE = (
    "Seconds that commands of the {what} {done}, all together: its rate is how many there were on average, "
    "and divided by the rate of the transfers roughly a latency. Absent where the release does not keep it (2009)."
)
_NOW = "Commands of the {what} that {done} at this moment. Absent where the release does not keep it (2009)."


def _of(what: str, name: str) -> tuple[Metric, ...]:
    source = f"kstat stmf:0:stmf_{'lu' if what == 'LU' else 'tgt'}_io_*"
    label = name

    def count(end: str, words: str, done: str) -> Metric:
        return counter(f"{name}_{end}", words.format(done=done, what=what), label, source=source)

    def now(end: str, done: str) -> Metric:
        return gauge(f"{name}_{end}", _NOW.format(done=done, what=what), label, source=source)

    return (
        count("read_transfers_total", _TRANSFERS, "read from"),
        count("write_transfers_total", _TRANSFERS, "written to"),
        count("wait_queue_seconds_total", _QUEUE, "waited for a worker"),
        count("run_queue_seconds_total", _QUEUE, "were worked on"),
        now("commands_waiting", "wait for a worker"),
        now("commands_running", "are worked on"),
    )


OF_LUNS = _of("LU", "lun")
OF_TARGETS = _of("target", "target")
TARGET_READ = counter(
    "target_read_bytes_total",
    "Read through the target. Begins again at 0 when the target is made anew.",
    "target",
    source="kstat stmf:0:stmf_tgt_io_*",
)
TARGET_WRITTEN = counter(
    "target_written_bytes_total",
    "Written through the target. Begins again at 0 when the target is made anew.",
    "target",
    source="kstat stmf:0:stmf_tgt_io_*",
)
METRICS: tuple[Metric, ...] = (*OF_LUNS, *OF_TARGETS, TARGET_READ, TARGET_WRITTEN)

_WANTED = (
    "lun-guid|target-name|reads|writes|nread|nwritten|rlentime|wlentime|rcnt|wcnt|rlastupdate|wlastupdate|snaptime"
)
_LUS = f"stmf:0:/^stmf_lu_/:/^({_WANTED})$/"
_ALL = f"stmf:0:/^stmf_(lu|tgt)_/:/^({_WANTED})$/"
# Exit 1 without a word: there are none.
_ASK = 'kstat -p "$1" || [ $? -eq 1 ]'


def comstar_io(*, targets: bool) -> Collector:
    """Of every LU and, if asked for, every target: one that serves a single LU has the same numbers as that."""
    pattern = _ALL if targets else _LUS
    return Collector("comstar_io", (Query(("sh", "-c", _ASK, "kstat-stmf", pattern), str, silent=True),), _emit)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What LUs and targets differ in: names of kstats, and which metrics."""

    prefix: str
    name: str
    metrics: tuple[Metric, ...]
    read: Metric
    written: Metric


_KINDS = (
    _Kind("stmf_lu_", "lun-guid", OF_LUNS, luns.READ, luns.WRITTEN),
    _Kind("stmf_tgt_", "target-name", OF_TARGETS, TARGET_READ, TARGET_WRITTEN),
)
Stats = Mapping[str, str]
_ENDLESS = float("inf")


def _emit(sheet: Sheet, text: str) -> None:
    """Read ``kstat -p``; what an LU is called and what it did are two kstats with the same pointer at the end.

    stmf:0:stmf_lu_ffffff04d5a3c1b8:lun-guid	600144f00c2a6d0000006a27e7400001
    stmf:0:stmf_lu_io_ffffff04d5a3c1b8:nread	73014444032
    """
    called: dict[str, str] = {}
    numbers: dict[str, _Row | None] = {}
    for (_, _, name), stats in kstat.each(text):
        if "_io_" in name:
            numbers[name.replace("_io_", "_", 1)] = _read(stats)
        else:
            called[name] = next((stats[kind.name] for kind in _KINDS if kind.name in stats), "")
    for kind in _KINDS:
        rows = list(_joined(sheet, called, numbers, kind))
        timed = any(row and row.time for _, row in rows) or not any(row and row.transfers for _, row in rows)
        columns = [sheet.column(metric) for metric in (*kind.metrics[:2], kind.read, kind.written)]
        if timed:
            columns += [sheet.column(metric) for metric in kind.metrics[2:]]
        for name, row in rows:
            if row is None:
                sheet.complain(f"kstat: the numbers of {name} cannot be read")
                continue
            label = labelled(kind.read.labels, (name,))
            for column, value in zip(columns, row.counts + (row.times if timed else ()), strict=True):
                column[label] = value


def _joined(
    sheet: Sheet, called: Mapping[str, str], numbers: Mapping[str, "_Row | None"], kind: _Kind
) -> Iterator[tuple[str, "_Row | None"]]:
    """Name and numbers of each."""
    for kstat_name, text in called.items():
        if not kstat_name.startswith(kind.prefix):
            continue
        name = text.upper() if kind.name == "lun-guid" else text
        if kstat_name not in numbers or not name or (kind.name == "lun-guid" and not is_guid(name)):
            has = "has" if kstat_name in numbers else "has no"
            sheet.complain(f"kstat: {kstat_name} is {name!a}, and {has} numbers")
        else:
            yield name, numbers[kstat_name]


@dataclass(frozen=True, slots=True)
class _Row:
    """Values as text. ``time`` and ``transfers`` tell whether there was any."""

    counts: tuple[str, ...]
    times: tuple[str, ...]
    time: bool
    transfers: bool


def _read(stats: Stats) -> _Row | None:
    try:
        counts = stats["reads"], stats["writes"], stats["nread"], stats["nwritten"]
        now = stats["wcnt"], stats["rcnt"]
        scale = kstat.time_scale(stats)
        times = float(stats["wlentime"]) / scale, float(stats["rlentime"]) / scale
    except (KeyError, ValueError):
        return None
    if not are_numbers(counts + now):
        return None
    if not (0 <= times[0] < _ENDLESS and 0 <= times[1] < _ENDLESS):
        return None
    transfers = counts[:2] != ("0", "0")
    return _Row(counts, (repr(times[0]), repr(times[1]), *now), times != (0, 0), transfers)
