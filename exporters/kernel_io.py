"""What goes through pools and volumes, as the kernels count it: no zpool is run for it, so it cannot hang. Pure.

On Linux: /proc/spl/kstat/zfs and the block layer; on illumos: the pool's kstat.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from exporters import kstat
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge, labelled
from exporters.pools import STATES
from exporters.printed import are_numbers, is_number
from exporters.vdevs import state_of
from exporters.volumes import Keep, everything, name_below, pool_of
from remote.script import Query

_POOL, _VOLUME = ("pool",), ("pool", "volume")
_STATE, _IOSTATS = "/proc/spl/kstat/zfs/POOL/state", "/proc/spl/kstat/zfs/POOL/iostats (OpenZFS 2.3)"
_OBJSET, _STAT = "/proc/spl/kstat/zfs/POOL/objset-*", "/proc/diskstats"
_KSTAT = "kstat zfs:0:POOL, /proc/spl/kstat/zfs/POOL/io (before OpenZFS 2.1)"
KERNEL_STATE = gauge(
    "pool_kernel_state",
    "1 for the state the kernel says the pool is in, 0 for all others; told even while every zpool hangs.",
    "pool",
    "state",
    source=_STATE,
)
_LOGICAL = "{} the pool, before redundancy and below the ARC's hits."
LOGICAL_READS = counter("pool_logical_read_ops_total", _LOGICAL.format("Reads from"), *_POOL, source=_IOSTATS)
LOGICAL_READ = counter("pool_logical_read_bytes_total", _LOGICAL.format("Bytes read from"), *_POOL, source=_IOSTATS)
LOGICAL_WRITES = counter("pool_logical_write_ops_total", _LOGICAL.format("Writes to"), *_POOL, source=_IOSTATS)
LOGICAL_WRITTEN = counter(
    "pool_logical_written_bytes_total", _LOGICAL.format("Bytes written to"), *_POOL, source=_IOSTATS
)
_PHYSICAL = "{} the disks of the pool: a mirrored write counts for each side."
POOL_READS = counter("pool_read_ops_total", _PHYSICAL.format("Reads from"), *_POOL, source=_KSTAT)
POOL_READ = counter("pool_read_bytes_total", _PHYSICAL.format("Bytes read from"), *_POOL, source=_KSTAT)
POOL_WRITES = counter("pool_write_ops_total", _PHYSICAL.format("Writes to"), *_POOL, source=_KSTAT)
POOL_WRITTEN = counter("pool_written_bytes_total", _PHYSICAL.format("Bytes written to"), *_POOL, source=_KSTAT)
_QUEUE = "Seconds times I/Os {}, of the whole pool: its rate is how many there are on average."
POOL_WAIT = counter("pool_wait_queue_seconds_total", _QUEUE.format("that wait in ZFS"), *_POOL, source=_KSTAT)
POOL_RUN = counter("pool_run_queue_seconds_total", _QUEUE.format("that are at the disks"), *_POOL, source=_KSTAT)
_COUNTS = (
    "{} the volume, as ZFS counts them, what the ARC answers included; from when it was first opened. Linux before "
    "OpenZFS 2.2 keeps counting under the name a volume had then: one that was renamed since has no such series."
)
READS = counter("volume_read_ops_total", _COUNTS.format("Reads of"), *_VOLUME, source=_OBJSET)
READ = counter("volume_read_bytes_total", _COUNTS.format("Bytes read from"), *_VOLUME, source=_OBJSET)
WRITES = counter("volume_write_ops_total", _COUNTS.format("Writes to"), *_VOLUME, source=_OBJSET)
WRITTEN = counter("volume_written_bytes_total", _COUNTS.format("Bytes written to"), *_VOLUME, source=_OBJSET)
_TIME = (
    "Time that {} of the volume took, summed over all of them; divided by their number it is the mean. The wait for "
    "one of ZFS's threads is not in it unless the module uses blk-mq."
)
READ_TIME = counter("volume_read_time_seconds_total", _TIME.format("reads"), *_VOLUME, source=_STAT)
WRITE_TIME = counter("volume_write_time_seconds_total", _TIME.format("writes"), *_VOLUME, source=_STAT)
_COMPLETED = "{} of the volume that the block layer completed: what the time is to be divided by."
READS_DONE = counter("volume_reads_completed_total", _COMPLETED.format("Reads"), *_VOLUME, source=_STAT)
WRITES_DONE = counter("volume_writes_completed_total", _COMPLETED.format("Writes"), *_VOLUME, source=_STAT)
IN_FLIGHT = gauge("volume_io_in_flight", "Reads and writes of the volume under way now.", *_VOLUME, source=_STAT)
METRICS: tuple[Metric, ...] = (
    KERNEL_STATE,
    LOGICAL_READS,
    LOGICAL_READ,
    LOGICAL_WRITES,
    LOGICAL_WRITTEN,
    POOL_READS,
    POOL_READ,
    POOL_WRITES,
    POOL_WRITTEN,
    POOL_WAIT,
    POOL_RUN,
    READS,
    READ,
    WRITES,
    WRITTEN,
    READ_TIME,
    WRITE_TIME,
    READS_DONE,
    WRITES_DONE,
    IN_FLIGHT,
)

_POOLS = """\
cd /proc/spl/kstat/zfs 2>/dev/null || { echo "no /proc/spl/kstat/zfs: zfs is not loaded" >&2; exit 127; }
for state in */state; do
    [ -r "$state" ] || continue
    pool=${state%/state}
    echo "== $pool"
    cat "$state" || continue
    for more in iostats io; do
        [ ! -r "$pool/$more" ] || cat "$pool/$more"
    done
done
:
"""
_LOGICAL_COUNTS = (
    (LOGICAL_READS, ("arc_read_count", "direct_read_count")),
    (LOGICAL_READ, ("arc_read_bytes", "direct_read_bytes")),
    (LOGICAL_WRITES, ("arc_write_count", "direct_write_count")),
    (LOGICAL_WRITTEN, ("arc_write_bytes", "direct_write_bytes")),
)


def pool_states() -> Collector:
    """Of OpenZFS on Linux since 0.8."""
    return Collector("kernel_pools", (Query(("sh", "-c", _POOLS, "kernel-pools"), str),), _emit_states)


def _emit_states(sheet: Sheet, text: str) -> None:
    """Read what the program above prints.

    == tank
    ONLINE
    30 1 0x01 26 7072 17694105045 51665861289
    name                            type data
    arc_read_count                  4    0
    """
    for part in f"\n{text}".split("\n== ")[1:]:
        name, state, *rest = [*part.split("\n"), ""]
        sheet.one_of(KERNEL_STATE, STATES, state_of(sheet, STATES, state, name), name)
        counts = {words[0]: words[2] for line in rest if len(words := line.split()) == 3}
        for metric, kinds in _LOGICAL_COUNTS:
            values = [counts[kind] for kind in kinds if kind in counts]
            if all(is_number(value) for value in values) and len(values) == 2:
                sheet.put(metric, sum(map(int, values)), name)
            elif values:
                sheet.complain(f"{name}: {' and '.join(kinds)} are {values}")
        for line, below in pairwise(rest):
            if line.startswith("nread "):
                _put_io(sheet, name, dict(zip(line.split(), below.split(), strict=False)), scale=1e9)


# A volume that goes meanwhile is marked, and no reason to lose the others; one line for each, in place of thirty.
_OBJSETS = """\
cd /proc/spl/kstat/zfs 2>/dev/null || { echo "no /proc/spl/kstat/zfs: zfs is not loaded" >&2; exit 127; }
[ -d "$1" ] || exit 0
find "./$1" -maxdepth 1 -ignore_readdir_race -name 'objset-*' -exec awk '
BEGIN {
    for (i = 1; i < ARGC; i++) {
        name = ""; seen = 0
        for (key in value) delete value[key]
        while (seen < 5 && (getline line < ARGV[i]) > 0) {
            split(line, word, " ")
            if (word[1] == "dataset_name") { name = line; sub(/^dataset_name +[0-9]+ +/, "", name); seen++ }
            else if (word[1] ~ /^(reads|nread|writes|nwritten)$/) { value[word[1]] = word[3]; seen++ }
        }
        close(ARGV[i])
        print value["reads"] "\t" value["nread"] "\t" value["writes"] "\t" value["nwritten"] "\t" name
    }
}' {} +
"""


def volume_counts(base: str, *, keep: Keep = everything) -> Collector:
    """Of volumes below ``base``. Which of them have been open the kernel decides: others have no such series."""

    def emit(sheet: Sheet, text: str) -> None:
        _emit_counts(sheet, base, text, keep=keep)

    argv = ("sh", "-c", _OBJSETS, "objsets", pool_of(base))
    return Collector("volume_counts", (Query(argv, str),), emit)


def _emit_counts(sheet: Sheet, base: str, text: str, *, keep: Keep) -> None:
    """Read what the program above prints: reads, bytes read, writes, bytes written, and a name, which may have blanks.

    249	5427200	0	0	tank/xvm/web1/root
    74	712704	1280	5242880	two x/a b
    """
    columns = [sheet.column(metric) for metric in (READS, READ, WRITES, WRITTEN)]
    pool = pool_of(base)
    for line in text.split("\n"):
        *values, name = line.split("\t")
        volume = name_below(base, name)
        if len(values) != 4 or not name or not are_numbers(values):
            if line:
                sheet.complain(f"objset: {line!a}")
        # A guest's own dataset is none, nor what a rollback put aside.
        elif volume.count("/") == 1 and ":" not in volume and keep(volume):
            at = labelled(_VOLUME, (pool, volume))
            for column, value in zip(columns, values, strict=True):
                column[at] = value


_BLOCK = """\
[ -r /proc/diskstats ] || { echo "no /proc/diskstats" >&2; exit 127; }
if [ -d "/dev/zvol/$1" ]; then
    find "/dev/zvol/$1" -ignore_readdir_race -type l -printf '%l %P\\n' || exit
fi
echo ==
sed -n '/ zd[0-9][0-9]* /p' /proc/diskstats
"""


def volume_io(base: str, *, keep: Keep = everything) -> Collector:
    """Times of the block layer, for volumes below ``base``."""

    def emit(sheet: Sheet, text: str) -> None:
        _emit_io(sheet, base, text, keep=keep)

    # udev makes a blank a "+".
    argv = ("sh", "-c", _BLOCK, "zvols-and-diskstats", base.replace(" ", "+"))
    return Collector("volume_io", (Query(argv, str),), emit)


def _emit_io(sheet: Sheet, base: str, text: str, *, keep: Keep) -> None:
    """Read what the program above prints: links, then lines as in Documentation/admin-guide/iostats.rst.

    ../../../../zd16 web1/data
    ==
     230      16 zd16 252 0 10536 8 0 0 0 0 0 8 8 0 0 0 0 0 0
    """
    links, _, stats = text.partition("==\n")
    volumes = dict(_volumes_by_device(links))
    pool = pool_of(base)
    columns = [sheet.column(metric) for metric in (READ_TIME, WRITE_TIME, READS_DONE, WRITES_DONE, IN_FLIGHT)]
    for line in stats.split("\n"):
        words = line.split()
        volume = volumes.get(words[2]) if len(words) > 2 else None
        if volume is None or not keep(volume):
            continue
        if len(words) < 12 or not are_numbers(words[3:12]):
            sheet.complain(f"/proc/diskstats: {line!a}")
            continue
        at = labelled(_VOLUME, (pool, volume))
        times = repr(int(words[6]) / 1000), repr(int(words[10]) / 1000)
        for column, value in zip(columns, (*times, words[3], words[7], words[11]), strict=True):
            column[at] = value


def _volumes_by_device(links: str) -> Iterator[tuple[str, str]]:
    """Whole volumes of guests: neither partitions (zd0p1), nor what a rollback put aside."""
    for line in links.split("\n"):
        path, _, name = line.partition(" ")
        device = path.rpartition("/")[2]
        if device.startswith("zd") and is_number(device[2:]) and name.count("/") == 1 and ":" not in name:
            yield device, name.replace("+", " ")


def pool_io_solaris() -> Collector:
    """Of illumos since 2013; before, a pool has no such kstat, and that is no failure."""
    program = "kstat -p -c disk -m zfs || [ $? -eq 1 ]"
    return Collector("pool_io", (Query(("sh", "-c", program, "kstat-pools"), str),), _emit_pool_io)


def _emit_pool_io(sheet: Sheet, text: str) -> None:
    """Read ``kstat -p -c disk -m zfs``: one kstat a pool.

    zfs:0:tank:nread	5123456789504
    zfs:0:tank:rlentime	99123456789012
    """
    for (_, _, name), values in kstat.parse(text).items():
        try:
            scale = kstat.time_scale(values)
        except (KeyError, ValueError):
            sheet.complain(f"kstat zfs:0:{name} has no times")
            continue
        _put_io(sheet, name, values, scale=scale)


_IO: Sequence[tuple[str, Metric]] = (
    ("reads", POOL_READS),
    ("nread", POOL_READ),
    ("writes", POOL_WRITES),
    ("nwritten", POOL_WRITTEN),
    ("wlentime", POOL_WAIT),
    ("rlentime", POOL_RUN),
)


def _put_io(sheet: Sheet, pool: str, values: Mapping[str, str], *, scale: float) -> None:
    """What a KSTAT_IO says; times are divided by ``scale``. All or nothing."""
    try:
        found = [
            (metric, float(values[name]) / scale if name.endswith("time") else int(values[name]))
            for name, metric in _IO
        ]
    except (KeyError, ValueError):
        sheet.complain(f"{pool}: its I/O counts cannot be read")
        return
    for metric, value in found:
        sheet.put(metric, value, pool)
