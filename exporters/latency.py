"""How long disks take: the histograms that ZFS keeps of every leaf vdev, made Prometheus' own. Pure.

ZFS counts an I/O of t nanoseconds in bucket highbit64(t) - 1, so bucket j holds 2^j to 2^(j+1) - 1, and ``zpool iostat
-w`` calls it by that upper bound, which is inclusive (print_iostat_histo() in cmd/zpool/zpool_main.c, HISTO() in
include/sys/fs/zfs.h): just what ``le`` is.

Only leaves are published. What zpool prints of a mirror or pool is the sum of its leaves, and drops when one of them
goes: a rate() of that sees a counter that began again, and invents as much I/O as the others ever did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, histogram, labelled
from exporters.printed import are_numbers
from exporters.vdevs import Place, statuses, tree
from remote.errors import UnexpectedOutput
from remote.script import Query

_SOURCE = "zpool iostat -wHpv (OpenZFS 0.7, illumos of today)"
_CAVEAT = (
    "Of each disk, since the pool was imported or the disk came; the bounds are a factor of 2 apart, and so near are "
    "quantiles. ZFS keeps no sum, so there is no average. The disk's part, not a guest's: no network, no ARC, and a "
    "write to a mirror counts on each side."
)


def _wait(name: str, what: str) -> Metric:
    return histogram(f"vdev_{name}_wait_seconds", f"{what} {_CAVEAT}", "pool", "vdev", "op", source=_SOURCE)


TOTAL = _wait("total", "From when ZFS queued an I/O until it was done.")
DISK = _wait("disk", "From when ZFS gave an I/O to the disk until it was done.")
SYNC_QUEUE = _wait("syncq", "How long synchronous I/O waited in ZFS' queue. Absent on nodes with many disks.")
ASYNC_QUEUE = _wait("asyncq", "How long asynchronous I/O waited in ZFS' queue. Absent on nodes with many disks.")
METRICS: tuple[Metric, ...] = (TOTAL, DISK, SYNC_QUEUE, ASYNC_QUEUE)

# In the order of zpool's columns; behind them come scrub, trim (0.8) and rebuild (2.2), which nobody waits for.
_COLUMNS = tuple((metric, op) for metric in METRICS for op in ("read", "write"))
_WIDTHS = frozenset({9, 10, 11})
_ROWS = tuple(str((1 << (j + 1)) - 1) for j in range(37))
# Below 8 microseconds is no disk; the last row of all is open at its end.
_FIRST, _LAST = 12, 34
_BOUNDS = tuple(f',le="{((1 << (j + 1)) - 1) / 1e9!r}"}}' for j in range(_FIRST, _LAST + 1))
_INFINITE = ',le="+Inf"}'

# One pool at a time, for two may have a mirror-0; one that fails costs itself only. No line of zpool's begins with a
# TAB. Exit 2 is an option that zpool does not know.
_ASK = """\
pools=`$xvm_become zpool list -H -o name` || exit
blanks=$IFS
set -f
IFS='
'
asked=0 failed=0 last=0
for pool in $pools; do
    IFS=$blanks
    echo "	pool	$pool"
    $xvm_become zpool iostat -wHpv "$pool"
    r=$?
    echo "	exit	$r"
    asked=`expr $asked + 1`
    [ $r -eq 2 ] && exit 2
    [ $r -eq 0 ] || failed=`expr $failed + 1` last=$r
done
[ $failed -eq $asked ] || exit 0
exit $last
"""
_UNSUPPORTED = ("invalid option 'w'", "doesn't support: -w")


def latency(*, all_up_to: int = 64) -> Collector:
    """Of every leaf vdev. On a node with more than ``all_up_to`` of them without the waits in ZFS' queues: 96 series a
    leaf instead of 192.
    """

    def emit(sheet: Sheet, text: str, status: str) -> None:
        found = list(_leaves(sheet, text, status))
        columns = len(_COLUMNS) if len(found) <= all_up_to else 4
        for pool, place, block in found:
            _put(sheet, (pool, place.label), block, columns)

    query = Query(("sh", "-c", _ASK, "zpool-iostat"), str)
    return Collector("latency", (query,), emit, pool_bound=True, unsupported=_UNSUPPORTED, needs="vdevs")


@dataclass(frozen=True, slots=True)
class Block:
    """What is said of one vdev: for each column the counts of all 37 buckets."""

    name: str
    counts: Sequence[Sequence[int]]


def _leaves(sheet: Sheet, text: str, status: str) -> Iterator[tuple[str, Place, Block]]:
    # What cannot be read of it is complained of by who asked for it.
    known = {one.name: one for one in statuses(Sheet(), status)}
    for pool, exited, said in _per_pool(sheet, text):
        try:
            if exited != "0":
                raise UnexpectedOutput(f"zpool iostat, exit {exited}", said, "an exit of 0")
            if pool not in known:
                raise UnexpectedOutput("zpool iostat", pool, "a pool whose status is known")
            pairs = _paired(pool, tree(known[pool]), parse(said))
        except UnexpectedOutput as error:
            sheet.complain(f"{pool}: {error}")
        else:
            yield from ((pool, place, block) for place, block in pairs if place.leaf)


def _per_pool(sheet: Sheet, text: str) -> Iterator[tuple[str, str, str]]:
    """Name, exit status and output of each: what is between the two lines of the program above."""
    before, *parts = f"\n{text}".split("\n\tpool\t")
    if before.strip():
        raise UnexpectedOutput("zpool iostat", before, "the name of a pool first")
    for part in parts:
        pool, _, rest = part.partition("\n")
        said, found, exited = f"\n{rest}".rpartition("\n\texit\t")
        if found:
            yield pool, exited.strip(), said[1:] + "\n" if said else ""
        else:
            sheet.complain(f"{pool}: zpool iostat was cut short")


def _paired(pool: str, places: Sequence[Place], blocks: Sequence[Block]) -> list[tuple[Place, Block]]:
    """zpool iostat shows no tree, but has the order of zpool status. Raises UnexpectedOutput: a disk came or went."""
    shown = [place for place in places if place.role != "spare"]
    # What is left of a top-level vdev that was removed is in this listing only.
    named = [block for block in blocks[1:] if not block.name.startswith(("indirect-", "hole-"))]
    told, expected = [block.name for block in named], [place.vdev.name for place in shown]
    if not blocks or blocks[0].name != pool or told != expected:
        raise UnexpectedOutput(
            "zpool iostat", " ".join([block.name for block in blocks]), f"{pool} {' '.join(expected)}"
        )
    return list(zip(shown, named, strict=True))


def parse(text: str) -> list[Block]:
    """Read ``zpool iostat -wHpv POOL``: for each vdev an empty line (two before logs and the like), its name, 37 rows.

    mirror-0
    1048575	4	439	10	289	1	0	0	291	5	0	0
    """
    lines = text.split("\n")
    if lines.pop():
        raise UnexpectedOutput("zpool iostat", text[-100:], "a whole line at the end")
    found: list[Block] = []
    width = at = 0
    while at < len(lines):
        name_at = at + 1 if at + 1 < len(lines) and lines[at + 1] else at + 2
        rows = [line.split("\t") for line in lines[name_at + 1 : name_at + 38]]
        if lines[at] or len(rows) != 37 or not lines[name_at] or "\t" in lines[name_at]:
            raise UnexpectedOutput("zpool iostat", "\n".join(lines[at : at + 3]), "an empty line, a vdev, and 37 rows")
        width = width or len(rows[0])
        for row, bound in zip(rows, _ROWS, strict=True):
            if row[0] != bound or len(row) != width or width - 1 not in _WIDTHS:
                raise UnexpectedOutput("zpool iostat", "\t".join(row), f"{bound} and 9, 10 or 11 numbers")
        found.append(Block(lines[name_at], _counts(rows)))
        at = name_at + 38
    return found


def _counts(rows: Sequence[Sequence[str]]) -> list[list[int]]:
    for row in rows:
        if not are_numbers(row):
            raise UnexpectedOutput("zpool iostat", "\t".join(row), "numbers")
    return [[int(text) for text in column] for column in list(zip(*rows, strict=True))[1:]]


def _put(sheet: Sheet, names: tuple[str, str], block: Block, columns: int) -> None:
    for (metric, op), counts in zip(_COLUMNS[:columns], block.counts, strict=False):
        samples = sheet.column(metric)
        label = labelled(("pool", "vdev", "op"), (*names, op))[:-1]
        sums = list(accumulate(counts))
        for bound, count in zip(_BOUNDS, sums[_FIRST:], strict=False):
            samples[label + bound] = str(count)
        samples[label + _INFINITE] = str(sums[-1])
