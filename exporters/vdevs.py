"""The vdevs of every pool: state and errors of each; lost data and scans of the pool. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporters import scan
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge
from exporters.printed import is_number
from remote.errors import UnexpectedOutput
from remote.script import Query
from storage.pool import PoolStatus, Vdev, in_known_words, parse_status, per_pool

_SOURCE = "zpool status"
_LABELS = ("pool", "vdev")
STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "split", "avail", "inuse", "unknown")
STATE = gauge(
    "vdev_state",
    "1 for the state that the vdev is in; avail and inuse are a spare's. The label vdev is its place in the tree, as "
    "mirror-0/c0t1d0: a disk that is replaced or spared stands deeper meanwhile, one whose mirror went stands higher.",
    *_LABELS,
    "state",
    source=_SOURCE,
)
_ERRORS = (
    "{what} since the pool was imported or the errors were cleared (zpool clear), when it begins again at 0. Of a "
    "mirror or raidz what it could not make good itself. Beyond 999 rounded to three figures where zpool status knows "
    "no -p."
)
READ_ERRORS = counter("vdev_read_errors_total", _ERRORS.format(what="Failed reads"), *_LABELS, source=_SOURCE)
WRITE_ERRORS = counter("vdev_write_errors_total", _ERRORS.format(what="Failed writes"), *_LABELS, source=_SOURCE)
CHECKSUM_ERRORS = counter(
    "vdev_checksum_errors_total", _ERRORS.format(what="Blocks read that were not as written"), *_LABELS, source=_SOURCE
)
SLOW_IOS = counter(
    "vdev_slow_ios_total",
    "I/Os of a disk that took longer than zio_slow_io_ms (30 s), since the pool was imported or the errors were "
    "cleared. Absent where zpool status knows no -s.",
    *_LABELS,
    source="zpool status -s",
)
INFO = gauge(
    "vdev_info",
    "1 for each vdev: what it is part of (empty for a top-level one), what for (data, log, cache, special, dedup, "
    "spare), and the disk, as zpool calls it (empty for mirrors and the like). A missing disk is called by its GUID.",
    *_LABELS,
    "parent",
    "role",
    "disk",
    source=_SOURCE,
)
DATA_ERRORS = gauge(
    "pool_data_errors",
    "Blocks or files that ZFS knows to be lost (zpool status -v names them). Absent while it cannot tell, as for a "
    "suspended pool.",
    "pool",
    source=_SOURCE,
)
CHECKPOINT_TIME = gauge(
    "pool_checkpoint_timestamp_seconds",
    "When the pool's checkpoint was made: zpool's own, which holds the whole pool, and none of xvmstore's.",
    "pool",
    source=_SOURCE,
)
METRICS: tuple[Metric, ...] = (
    STATE,
    READ_ERRORS,
    WRITE_ERRORS,
    CHECKSUM_ERRORS,
    SLOW_IOS,
    INFO,
    DATA_ERRORS,
    CHECKPOINT_TIME,
)

_ROLES = {"logs": "log", "spares": "spare"}


def vdevs(*, exact: bool) -> Collector:
    """Of every pool. ``exact``: the release may know -p and -s; what it does not know is not used."""
    argv = in_known_words("zpool-status", "status -ps", "status -p", "status") if exact else ("zpool", "status")
    return Collector("vdevs", (Query(argv, str),), _emit, pool_bound=True)


@dataclass(frozen=True, slots=True)
class Place:
    """A vdev in its pool's tree. ``label`` is unique there; ``parent`` is one, or "" below the pool itself."""

    label: str
    parent: str
    role: str
    leaf: bool
    vdev: Vdev


def statuses(sheet: Sheet, text: str) -> list[PoolStatus]:
    """Of each pool that can be read; the others are complained of. Raises UnexpectedOutput if that is none at all."""
    found: list[PoolStatus] = []
    unread = 0
    for part in per_pool(text):
        try:
            found += parse_status(part)
        except UnexpectedOutput as error:
            unread += 1
            sheet.complain(error)
    if not text.strip() or (unread and not found):
        raise UnexpectedOutput("zpool status", text, "the status of pools")
    return found


def tree(status: PoolStatus) -> list[Place]:
    """The vdevs below the pool, in zpool's order. Raises UnexpectedOutput.

    NAME        STATE     READ WRITE CKSUM
    tank        ONLINE       0     0     0
    """
    found: list[Place] = []
    above: list[str] = []
    role = "data"
    if not status.vdevs or status.vdevs[0].depth:
        raise UnexpectedOutput("zpool status", status.name, "a tree of vdevs with the pool at its top")
    for at, one in enumerate(status.vdevs[1:], start=1):
        if not one.depth:
            role, above = _ROLES.get(one.name, one.name), []
            continue
        if one.depth > len(above) + 1:
            raise UnexpectedOutput("zpool status", one.name, "a vdev one step below what it is part of")
        parent = above[one.depth - 2] if one.depth > 1 else ""
        label = f"{parent}/{one.name}" if parent else one.name
        above[one.depth - 1 :] = [label]
        leaf = at + 1 == len(status.vdevs) or status.vdevs[at + 1].depth <= one.depth
        found.append(Place(label, parent, role, leaf, one))
    return found


def state_of(sheet: Sheet, states: Sequence[str], said: str, whose: str) -> str:
    """The one of ``states`` that zpool means; one that is new to us is unknown, and complained of."""
    state = said.lower()
    if state in states:
        return state
    sheet.complain(f"{whose}: its state is {said!a}")
    return "unknown"


def _emit(sheet: Sheet, text: str) -> None:
    for status in statuses(sheet, text):
        try:
            places = tree(status)
        except UnexpectedOutput as error:
            sheet.complain(error)
            places = []
        seen: set[str] = set()
        for place in places:
            if place.label in seen:
                sheet.complain(f"{status.name}: two vdevs are called {place.label}")
                continue
            seen.add(place.label)
            _put(sheet, status.name, place)
        scan.emit(sheet, status.name, status.scan)
        _put_errors(sheet, status)
        _put_checkpoint(sheet, status)


def _put(sheet: Sheet, pool: str, place: Place) -> None:
    vdev, names = place.vdev, (pool, place.label)
    sheet.one_of(STATE, STATES, state_of(sheet, STATES, vdev.state, f"{pool}: {place.label}"), *names)
    sheet.put(INFO, 1, *names, place.parent, place.role, vdev.name if place.leaf else "")
    counts = (READ_ERRORS, vdev.read), (WRITE_ERRORS, vdev.write), (CHECKSUM_ERRORS, vdev.cksum), (SLOW_IOS, vdev.slow)
    for metric, count in counts:
        if count is not None:
            sheet.put(metric, count, *names)


def _put_errors(sheet: Sheet, status: PoolStatus) -> None:
    """Read the last line.

    errors: No known data errors
    errors: 2 data errors, use '-v' for a list
    """
    said = status.errors
    count, found, _ = said.partition(" data errors, ")
    if said == "No known data errors":
        sheet.put(DATA_ERRORS, 0, status.name)
    elif found and is_number(count):
        sheet.put(DATA_ERRORS, int(count), status.name)
    elif said and not said.startswith("List of errors unavailable"):
        sheet.complain(f"{status.name}: zpool status says {said!a} of lost data")


def _put_checkpoint(sheet: Sheet, status: PoolStatus) -> None:
    """Read what print_checkpoint_status() prints; one that is being thrown away has no time.

    created Sat Nov 21 10:15:00 2026, consumes 1.50M
    discarding, 12.5M remaining.
    """
    said = status.checkpoint
    if not said.startswith("created "):
        return
    try:
        sheet.put(CHECKPOINT_TIME, scan.epoch(said.removeprefix("created ").partition(",")[0].strip()), status.name)
    except ValueError:
        sheet.complain(f"{status.name}: its checkpoint is {said!a}")
