"""Pools: the questions about them and the readers of the answers. Pure.

Which columns ``zpool list`` knows changed in 2009 (used, available became allocated, free) and -p came in 2014, so
it is asked in the first of these forms that the node understands.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from remote.errors import UnexpectedOutput
from remote.script import Argv, Query

NO_POOLS = "no pools available"
_NEW = ("name", "size", "allocated", "free", "capacity", "health")
_OLD = ("name", "size", "used", "available", "capacity", "health")
_UNITS = {"": 1, "B": 1} | {unit: 1024 ** (power + 1) for power, unit in enumerate("KMGTPE")}
_HUMAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?)B?\Z")


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool's size and health. Bytes; None where the pool cannot be opened. ``capacity`` is percent used.

    ``exact`` is False when the node's zpool only prints sizes rounded to three figures (before 2014).
    """

    name: str
    size: int | None
    allocated: int | None
    free: int | None
    capacity: int | None
    health: str
    exact: bool


@dataclass(frozen=True, slots=True)
class Vdev:
    """One line of a pool's tree: ``depth`` 0 is the pool itself. Error counts; None where zpool printed none.

    ``slow`` is how many of its I/Os were slow, if zpool was asked (-s).
    """

    name: str
    depth: int
    state: str
    read: int | None
    write: int | None
    cksum: int | None
    note: str = ""
    slow: int | None = None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """``zpool status`` of one pool. ``scan`` is its scan or scrub line, ``errors`` its last line.

    Of several scan lines, as OpenZFS prints them since 2.0, ``scan`` has a ``;`` between one and the next.
    """

    name: str
    state: str
    status: str
    action: str
    scan: str
    errors: str
    vdevs: tuple[Vdev, ...]
    checkpoint: str = ""


def pools() -> Query[tuple[Pool, ...]]:
    """All pools, in today's words or, where zpool does not know these, in those of before 2014 and of before 2009."""
    forms = (
        f"list {options} -o {','.join(columns)}" for options, columns in (("-Hp", _NEW), ("-H", _NEW), ("-H", _OLD))
    )
    return Query(in_known_words("zpool-list", *forms), parse)


def status(pool: str | None = None) -> Query[tuple[PoolStatus, ...]]:
    """The health of one pool or of all, with the tree of vdevs."""
    return Query(("zpool", "status", *((pool,) if pool else ())), parse_status)


def parse(text: str) -> tuple[Pool, ...]:
    """Read ``zpool list`` with -H, with or without -p, which only the percent sign of the capacity tells."""
    return parse_rounded(text) if "%" in text else parse_exact(text)


def parse_exact(text: str) -> tuple[Pool, ...]:
    """Read ``zpool list -Hp``.

    tank	1992864825344	734003200512	1258861624832	36	DEGRADED
    bad	-	-	-	-	FAULTED
    """
    return tuple(_pool(line, exact=True) for line in text.splitlines())


def parse_rounded(text: str) -> tuple[Pool, ...]:
    """Read ``zpool list -H`` of old releases.

    tank	1.81T	684G	1.14T	36%	ONLINE
    """
    return tuple(_pool(line, exact=False) for line in text.splitlines())


def _pool(line: str, *, exact: bool) -> Pool:
    fields = line.split("\t")
    if len(fields) != len(_NEW):
        raise UnexpectedOutput("zpool list", line, f"{len(_NEW)} fields with a TAB between them")
    name, size, allocated, free, capacity, health = fields
    percent = printed_size(capacity.removesuffix("%"), line)
    sizes = [printed_size(text, line) for text in (size, allocated, free)]
    return Pool(name, sizes[0], sizes[1], sizes[2], percent, health, exact)


# What zpool does not know is exit 2, before it has looked at any pool. Each form is words with blanks between them.
_IN_KNOWN_WORDS = """\
exec 3>&1
for form
do
    said=`$xvm_become zpool $form 2>&1 >&3`
    r=$?
    [ $r -eq 2 ] || break
done
[ -z "$said" ] || echo "$said" >&2
exit $r
"""


def in_known_words(name: str, *forms: str) -> Argv:
    """Runs zpool in the first of these forms that it knows; releases differ in options and columns."""
    return ("sh", "-c", _IN_KNOWN_WORDS, name, *forms)


def printed_size(text: str, line: str, *, command: str = "zpool list") -> int | None:
    """The number that zpool printed as 1.81T, 1.2K or in full; None for ``-``. ``line`` is what it stands in."""
    if text == "-":
        return None
    match = _HUMAN.match(text)
    if not match:
        raise UnexpectedOutput(command, line, "sizes")
    return int(match[1]) if match[1].isdigit() and not match[2] else round(float(match[1]) * _UNITS[match[2]])


_LABEL = re.compile(
    r" *(pool|state|status|action|see|scan|scrub|remove|checkpoint|expand|comment|config|errors): ?(.*)"
)
_COUNT = r" +([0-9][0-9.]*[KMGTPE]?)"
# A spare has a state and no counts, the headings of logs, cache and spares are names alone.
_ROW = r"\t( *)(\S+(?: \S+)*)(?:  +(\S+)(?:{counts}(?: +(?P<note>\S.*))?| +(?P<bare>[^0-9\s].*))?)?\Z"
_VDEV = re.compile(_ROW.format(counts=_COUNT * 3))
_VDEV_SLOW = re.compile(_ROW.format(counts=_COUNT * 3 + r" +([0-9][0-9.]*[KMGTPE]?|-)"))


def parse_status(text: str) -> tuple[PoolStatus, ...]:
    """Read ``zpool status`` of any release: the label of the scan line changed twice, the tree never.

      pool: tank
     state: ONLINE
      scan: none requested
    config:

        NAME          STATE     READ WRITE CKSUM
        tank          ONLINE       0     0     0
              mirror-0    ONLINE       0     0     0
    """
    return tuple(_status(block.splitlines()) for block in per_pool(text))


def per_pool(text: str) -> Iterator[str]:
    """What ``zpool status`` printed, a part for each pool: one that cannot be read need not cost the others."""
    if text.strip() == NO_POOLS:
        return
    block: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("  pool: ") and block:
            yield "".join(block)
            block = []
        block.append(line)
    if block:
        yield "".join(block)


def _status(lines: list[str]) -> PoolStatus:
    facts: dict[str, list[str]] = {}
    label = ""
    for line in lines:
        match = _LABEL.match(line)
        if match:
            label = "scan" if match[1] == "scrub" else match[1]
            again = "; " if label in facts else ""
            facts.setdefault(label, []).append(again + match[2])
        elif label:
            facts[label].append(line)
    for needed in ("pool", "state"):
        if needed not in facts:
            raise UnexpectedOutput("zpool status", lines[0], f"a line with {needed}:")
    said = {name: " ".join(part.strip() for part in parts if part.strip()) for name, parts in facts.items()}
    return PoolStatus(
        name=said["pool"],
        state=said["state"],
        status=said.get("status", ""),
        action=said.get("action", ""),
        scan=said.get("scan", ""),
        errors=said.get("errors", ""),
        vdevs=tuple(_vdevs(facts.get("config", []))),
        checkpoint=said.get("checkpoint", ""),
    )


def _vdevs(lines: list[str]) -> Iterator[Vdev]:
    row = _VDEV
    for line in lines:
        head = line.split()
        if head[:2] == ["NAME", "STATE"]:
            row = _VDEV_SLOW if head[-1] == "SLOW" else _VDEV
        elif head:
            yield _vdev(row, line)


def _vdev(row: re.Pattern[str], line: str) -> Vdev:
    match = row.match(line.rstrip())
    if not match:
        raise UnexpectedOutput("zpool status", line, "a line of the vdev tree")
    read, write, cksum = (_count(match[i], line) for i in (4, 5, 6))
    slow = _count(match[7], line) if row is _VDEV_SLOW else None
    note = match["note"] or match["bare"] or ""
    return Vdev(match[2], len(match[1]) // 2, match[3] or "", read, write, cksum, note, slow)


def _count(text: str | None, line: str) -> int | None:
    """Error counts are rounded too: 1.2K."""
    return None if text is None else printed_size(text, line, command="zpool status")
