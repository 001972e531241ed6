"""zpool iostat: the latency histograms of -w -H -p, the one use of it that the node knows.

Counts are kept with the leaf vdevs and summed upward, as in the kernel (vdev_get_stats_ex_impl): when a leaf goes, its
part of the pool's sum goes too. Cache devices count for themselves alone.
"""

import hashlib
from collections.abc import Sequence

from embedded.answer import Answer
from embedded.model import Disk, Pool
from embedded.zfs_call import Call, ZfsUsageError

COLUMNS = (
    "total_read", "total_write", "disk_read", "disk_write", "syncq_read", "syncq_write",
    "asyncq_read", "asyncq_write", "scrub", "trim",
)  # fmt: skip
NEWER = "rebuild"
"""The eleventh column of OpenZFS 2.2: printed for a pool if one of its leaves has it."""
BUCKETS = 37


def iostat(call: Call) -> Answer:
    """Print the histograms of pools, with -v of every vdev, with -g the vdevs by their GUIDs."""
    given = {letter for letter, _ in call.parsed.options}
    if not {"w", "H", "p"} <= given <= set("wHpvg") or any(word.isdecimal() for word in call.operands):
        raise ZfsUsageError("the embedded node knows no other use of iostat than -wHp[vg] [pool ...]\n")
    if not call.node.pools:
        call.printer.complain("no pools available\n")
        return call.done(1)
    names, missing = call.pools(call.operands)
    for name in () if missing else names:
        call.printer.say(_report(name, call.node.pools[name], verbose="v" in given, guids="g" in given))
    return call.done(missing)


def vdev_guid(pool: Pool, disk: Disk) -> int:
    """The GUID of a leaf."""
    return disk.guid or _invented(pool, disk.name)


def _invented(pool: Pool, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{pool.guid}/{name}".encode()).digest()[:8])


def _report(name: str, pool: Pool, *, verbose: bool, guids: bool) -> str:
    leaves = [*pool.disks, *pool.logs]
    columns = COLUMNS + ((NEWER,) if any(NEWER in disk.latency for disk in [*leaves, *pool.cache]) else ())
    text = _block(name, leaves, columns)
    if not verbose:
        return text
    if len(pool.disks) > 1:
        text += _block(str(_invented(pool, "mirror-0")) if guids else "mirror-0", pool.disks, columns)
    for disks, gap in ((pool.disks, ""), (pool.logs, "\n"), (pool.cache, "\n")):
        blocks = [_block(str(vdev_guid(pool, disk)) if guids else disk.name, [disk], columns) for disk in disks]
        text += gap + "".join(blocks) if blocks else ""
    return text


def _block(title: str, leaves: Sequence[Disk], columns: Sequence[str]) -> str:
    counts = [[sum(each) for each in zip(*(_column(disk, name) for disk in leaves), strict=True)] for name in columns]
    rows = ("\t".join(map(str, ((2 << at) - 1, *(column[at] for column in counts)))) for at in range(BUCKETS))
    return f"\n{title}\n" + "".join(f"{row}\n" for row in rows)


def _column(disk: Disk, name: str) -> list[int]:
    unknown = disk.latency.keys() - {*COLUMNS, NEWER}
    if unknown:
        raise ValueError(f"{disk.name}: no such columns: {', '.join(sorted(unknown))}")
    given = disk.latency.get(name, [])
    if len(given) > BUCKETS:
        raise ValueError(f"{disk.name}: {name} has {len(given)} counts")
    return given + [0] * (BUCKETS - len(given))
