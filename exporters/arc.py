"""ARC, L2ARC and ZIL, as the kernel counts them: kstats on illumos, /proc/spl/kstat on Linux. Pure."""

from collections.abc import Mapping

from exporters import kstat
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge
from exporters.printed import is_number
from remote.errors import UnexpectedOutput
from remote.script import Query

_ARC, _ZIL = "kstat zfs:0:arcstats, /proc/spl/kstat/zfs/arcstats", "/proc/spl/kstat/zfs/zil"


def _size(name: str, what: str) -> Metric:
    return gauge(name, what, source=_ARC)


def _count(name: str, what: str, source: str = _ARC) -> Metric:
    return counter(name, what, source=source)


# By what the kernel calls it.
_OF_ARC: Mapping[str, Metric] = {
    "size": _size("arc_size_bytes", "Memory that the ARC uses."),
    "c": _size("arc_target_size_bytes", "What the ARC would like to be now."),
    "c_min": _size("arc_min_size_bytes", "The ARC does not want to be smaller than this."),
    "c_max": _size("arc_max_size_bytes", "The ARC does not grow over this."),
    "mfu_size": _size("arc_mfu_size_bytes", "Of the ARC: what was used more than once."),
    "mru_size": _size("arc_mru_size_bytes", "Of the ARC: what was used once, of late."),
    "hits": _count("arc_hits_total", "Reads that the ARC answered."),
    "iohits": _count(
        "arc_iohits_total",
        "Reads of what was on its way from disk already: since OpenZFS 2.2, counted as hits before. The hit ratio is "
        "hits of hits, iohits and misses.",
    ),
    "misses": _count("arc_misses_total", "Reads that it did not."),
    "demand_data_hits": _count("arc_demand_data_hits_total", "Reads of data that somebody waited for, answered."),
    "demand_data_misses": _count(
        "arc_demand_data_misses_total", "Reads of data that somebody waited for, not answered."
    ),
    "demand_metadata_hits": _count("arc_demand_metadata_hits_total", "The same of metadata, answered."),
    "demand_metadata_misses": _count("arc_demand_metadata_misses_total", "The same of metadata, not answered."),
    "mfu_ghost_hits": _count("arc_mfu_ghost_hits_total", "Misses that a larger ARC would have answered: used often."),
    "mru_ghost_hits": _count("arc_mru_ghost_hits_total", "Misses that a larger ARC would have answered: used of late."),
    "memory_throttle_count": _count("arc_memory_throttle_total", "Writes held back because memory was short."),
    "l2_size": _size("l2arc_size_bytes", "What the cache devices hold, before compression."),
    "l2_hits": _count("l2arc_hits_total", "ARC misses that a cache device answered."),
    "l2_misses": _count("l2arc_misses_total", "ARC misses that no cache device answered."),
    "l2_read_bytes": _count("l2arc_read_bytes_total", "Read from cache devices."),
    "l2_write_bytes": _count("l2arc_written_bytes_total", "Written to cache devices."),
    "l2_cksum_bad": _count(
        "l2arc_checksum_bad_total", "Blocks of cache devices that were damaged, and read from disk."
    ),
    "l2_io_error": _count("l2arc_io_errors_total", "Reads of cache devices that failed."),
}
# illumos has no such kstat.
_OF_ZIL: Mapping[str, Metric] = {
    "zil_commit_count": _count("zil_commits_total", "Times somebody waited for the intent log.", _ZIL),
    "zil_itx_indirect_bytes": _count("zil_itx_indirect_bytes_total", "Logged by pointer to a block.", _ZIL),
    "zil_itx_copied_bytes": _count("zil_itx_copied_bytes_total", "Logged with the data, copied at once.", _ZIL),
    "zil_itx_needcopy_bytes": _count("zil_itx_needcopy_bytes_total", "Logged with the data, copied when asked.", _ZIL),
    "zil_itx_metaslab_normal_bytes": _count("zil_normal_bytes_total", "Logged on the pool's own disks.", _ZIL),
    "zil_itx_metaslab_slog_bytes": _count("zil_slog_bytes_total", "Logged on log devices.", _ZIL),
}
METRICS: tuple[Metric, ...] = (*_OF_ARC.values(), *_OF_ZIL.values())
# 64-bit counters that went below 0 look like this.
_NEGATIVE = 1 << 63

_LINUX = """\
[ -r /proc/spl/kstat/zfs/arcstats ] || { echo "no arcstats: zfs is not loaded" >&2; exit 127; }
cat /proc/spl/kstat/zfs/arcstats || exit
[ ! -r /proc/spl/kstat/zfs/zil ] || cat /proc/spl/kstat/zfs/zil
"""


def arc_linux() -> Collector:
    """Of OpenZFS on Linux."""
    return Collector("arc", (Query(("sh", "-c", _LINUX, "arcstats"), str),), _emit_linux)


def arc_solaris() -> Collector:
    """Of illumos and OpenSolaris."""
    return Collector("arc", (Query(("kstat", "-p", "zfs:0:arcstats"), str),), _emit_solaris)


def _emit_linux(sheet: Sheet, text: str) -> None:
    """Read arcstats, and zil after it: two lines of head, then name, type, value.

    name                            type data
    hits                            4    108783
    """
    found = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) == 3:
            found[words[0]] = words[2]
    _emit(sheet, found)


def _emit_solaris(sheet: Sheet, text: str) -> None:
    """Read ``kstat -p zfs:0:arcstats``."""
    _emit(sheet, kstat.parse(text).get(("zfs", "0", "arcstats"), {}))


def _emit(sheet: Sheet, found: Mapping[str, str]) -> None:
    if "hits" not in found:
        raise UnexpectedOutput("arcstats", " ".join(list(found)[:5]), "hits, misses, size, ...")
    for name, metric in {**_OF_ARC, **_OF_ZIL}.items():
        text = found.get(name)
        if text is None:
            continue
        if not is_number(text) or int(text) >= _NEGATIVE:
            sheet.complain(f"{name} is {text!a}, which is no count")
            continue
        sheet.put(metric, int(text))
