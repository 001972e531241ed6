"""zpool status."""

from collections.abc import Callable

from embedded.answer import Answer
from embedded.model import Disk, Node, Pool
from embedded.sizes import human
from embedded.zfs_call import Call

_DEGRADED = """\
status: One or more devices has been taken offline by the administrator.
	Sufficient replicas exist for the pool to continue functioning in a
	degraded state.
action: Online the device using 'zpool online' or replace the device with
	'zpool replace'.
"""
_FAULTED = """\
status: One or more devices could not be opened.  There are insufficient
	replicas for the pool to continue functioning.
action: Attach the missing device and online it using 'zpool online'.
"""  # the text of ZPOOL_STATUS_MISSING_DEV_NR: unrecorded
_FAILING = """\
status: One or more devices has experienced an unrecoverable error.  An
	attempt was made to correct the error.  Applications are unaffected.
action: Determine if the device needs to be replaced, and clear the errors
	using 'zpool clear' or replace the device with 'zpool replace'.
   see: {url}ZFS-8000-9P
"""  # the text of ZPOOL_STATUS_FAILING_DEV: unrecorded

Count = Callable[[int], str]


def status(call: Call) -> Answer:
    """zpool status. With -p error counts are exact, else 1.21K."""
    names, failures = call.pools(call.operands)
    sick = [name for name in names if not _well(call.node.pools[name])]
    if call.parsed.has("x"):
        if not sick and not failures:
            named = f"pool '{names[0]}' is healthy\n" if call.operands else "all pools are healthy\n"
            call.printer.say(named if names else "no pools available\n")
        names = sick
    elif not names and not failures:
        call.printer.say("no pools available\n")
    count: Count = str if call.parsed.has("p") else human
    call.printer.say("\n".join(_describe(call.node, name, count=count) for name in names))
    return call.done(failures)


def _well(pool: Pool) -> bool:
    return pool.health == "ONLINE" and not pool.data_errors and not _failing(pool)


def _failing(pool: Pool) -> bool:
    disks = (*pool.disks, *pool.logs, *pool.cache)
    return any(disk.read_errors or disk.write_errors or disk.checksum_errors for disk in disks)


def _advice(node: Node, pool: Pool) -> str:
    if pool.health == "ONLINE":
        return _FAILING.format(url=node.flavour.message_url) if _failing(pool) else ""
    return _DEGRADED if pool.health == "DEGRADED" else _FAULTED


def _describe(node: Node, name: str, *, count: Count) -> str:
    pool = node.pools[name]
    errors = "No known data errors"
    if pool.data_errors:
        errors = f"{pool.data_errors} data errors, use '-v' for a list"
    return (
        f"  pool: {name}\n state: {pool.health}\n{_advice(node, pool)}"
        f"{node.flavour.scan_label} {pool.scan or 'none requested'}\nconfig:\n\n"
        f"{_config(node, name, count=count)}\nerrors: {errors}\n"
    )


def _config(node: Node, name: str, *, count: Count) -> str:
    pool = node.pools[name]
    mirrored = len(pool.disks) > 1
    rows = [(name, _cells(pool.health, Disk(""), count))]
    if mirrored:
        rows.append((f"  {node.flavour.vdev_layout}", _cells(pool.health, Disk(""), count)))
    indent = "    " if mirrored else "  "
    rows += [(f"{indent}{disk.name}", _cells(disk.state, disk, count)) for disk in pool.disks]
    for title, disks in (("logs", pool.logs), ("cache", pool.cache)):
        rows += [(title, ""), *((f"  {disk.name}", _cells(disk.state, disk, count)) for disk in disks)] if disks else []
    if pool.spares:
        states = [(disk.name, "AVAIL" if disk.state == "ONLINE" else disk.state) for disk in pool.spares]
        rows += [("spares", ""), *((f"  {spare}", f"{state:<8}") for spare, state in states)]
    width = max(len(text) for text, _ in [*rows, ("NAME", "")])
    head = f"\t{'NAME':<{width}}  STATE     READ WRITE CKSUM\n"
    return head + "".join(f"\t{text:<{width}}  {cells}\n" if cells else f"\t{text}\n" for text, cells in rows)


def _cells(state: str, disk: Disk, count: Count) -> str:
    errors = (disk.read_errors, disk.write_errors, disk.checksum_errors)
    return f"{state:<8}" + "".join(f" {count(number):>5}" for number in errors)
