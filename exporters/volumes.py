"""Volumes: the zvols below the base dataset, their sizes and set-up. Pure.

One listing a scrape, in columns; of a release whose ``zfs list`` knows no -p, one ``zfs get``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, gauge, labelled
from exporters.printed import NOTHING, are_numbers, is_guid, is_number
from remote.script import Query
from storage import zvol

_SOURCE = "zfs list -Hp (zfs get -Hp before 2013)"
LABELS = ("pool", "volume")


def _of_volume(name: str, help_: str) -> Metric:
    return gauge(name, help_, *LABELS, source=_SOURCE)


SIZE = _of_volume("volume_size_bytes", "What the volume is to its guest (volsize).")
USED = _of_volume(
    "volume_used_bytes",
    "What the volume takes from the pool, with its snapshots and the space set aside for it: what destroying it all "
    "would free.",
)
AVAILABLE = _of_volume(
    "volume_available_bytes",
    "What could still be written to the volume: the pool's free space and what is set aside. Never add these up.",
)
REFERENCED = _of_volume(
    "volume_referenced_bytes", "What the volume's own data takes now, after compression; shared with snapshots or not."
)
LOGICAL_USED = _of_volume(
    "volume_logical_used_bytes", "Data of the volume and its snapshots before compression; absent before 2013."
)
REFRESERVATION = _of_volume(
    "volume_refreservation_bytes", "Set aside for the volume, so that it cannot run out of space: 0 is thin."
)
USED_BY_SNAPSHOTS = _of_volume(
    "volume_used_by_snapshots_bytes",
    "What destroying all snapshots of the volume would free: more than the sum of what each alone would.",
)
WRITTEN = _of_volume(
    "volume_written_since_snapshot_bytes",
    "Written since the last snapshot, of what is still there; absent before 2011.",
)
COMPRESS_RATIO = _of_volume(
    "volume_compress_ratio", "As ZFS prints it: 2 is half the space. Of the volume with its snapshots."
)
UNFINISHED = _of_volume(
    "volume_unfinished",
    "1 if xvmstore was cut off while it made, destroyed or rolled back the volume, or is at it: the same command "
    "finishes it. Absent for zvols that are none of ours.",
)
INFO = gauge(
    "volume_info",
    "1 for each volume: the LU that xvmstore made of it (lun, its GUID) and the target, as recorded on the volume, and "
    "how it is set up. A lun is left empty if two volumes say it is theirs.",
    *LABELS,
    "lun",
    "target",
    "volblocksize",
    "compression",
    "sync",
    "origin",
    "thin",
    source=_SOURCE,
)
ASIDE = gauge(
    "volumes_aside",
    "Volumes that are no guest's: put aside by a rollback (GUEST:kept), or on their way. They have no series of "
    "their own.",
    "pool",
    source=_SOURCE,
)
ASIDE_USED = gauge(
    "volumes_aside_used_bytes",
    "What the volumes that are no guest's take from the pool, snapshots and space set aside included.",
    "pool",
    source=_SOURCE,
)
FILTERED = gauge("volumes_filtered", "Volumes left out by include and exclude.", "pool", source=_SOURCE)
METRICS: tuple[Metric, ...] = (
    SIZE,
    USED,
    AVAILABLE,
    REFERENCED,
    LOGICAL_USED,
    REFRESERVATION,
    USED_BY_SNAPSHOTS,
    WRITTEN,
    COMPRESS_RATIO,
    UNFINISHED,
    INFO,
    ASIDE,
    ASIDE_USED,
    FILTERED,
)

# The numbers are what _NUMBERS has a metric for, in this order.
_NUMBERS = (SIZE, USED, AVAILABLE, REFERENCED, LOGICAL_USED, REFRESERVATION, USED_BY_SNAPSHOTS, WRITTEN)
_COLUMNS = (
    "name",
    "volsize",
    "used",
    "available",
    "referenced",
    "logicalused",
    "refreservation",
    "usedbysnapshots",
    "written",
    "compressratio",
    "volblocksize",
    "compression",
    "sync",
    "origin",
    zvol.GUID,
    zvol.TARGET,
    zvol.STATE,
    zvol.HEAD,
)
_AT = {name: place for place, name in enumerate(_COLUMNS)}
_SINCE_2010 = {"logicalused", "written", "sync"}
_UNFINISHED = {zvol.MAKING: "1", zvol.DESTROYING: "1", zvol.ROLLING_BACK: "1", zvol.READY: "0"}
Keep = Callable[[str], bool]


def everything(_name: str) -> bool:
    """Leaves no volume out."""
    return True


def volumes(base: str, *, exact: bool, space_used_by: bool = True, keep: Keep = everything) -> Collector:
    """Every volume below ``base`` whose name ``keep`` takes. ``exact``: the release's ``zfs list`` knows -p.

    ``space_used_by``: it tells what snapshots take. A base that is not there has no volumes yet.
    """
    argv: tuple[str, ...]
    if exact:
        argv = ("zfs", "list", "-Hp", "-r", "-t", "volume", "-o", ",".join(_COLUMNS), base)
    else:
        later = _SINCE_2010 if space_used_by else _SINCE_2010 | {"usedbysnapshots"}
        known = ",".join(("type", *(name for name in _COLUMNS[1:] if name not in later)))
        argv = ("zfs", "get", "-Hp", "-r", "-o", "name,property,value,source", known, base)

    def emit(sheet: Sheet, text: str) -> None:
        _emit(sheet, base, keep, _sound(sheet, text, exact=exact))

    return Collector("volumes", (Query(argv, str, absent=(no_base(base),)),), emit, pool_bound=True)


def no_base(base: str) -> str:
    """What zfs says when there is no volume yet; of any other dataset it would be a listing that broke off."""
    return f"cannot open '{base}': {zvol.NO_DATASET}"


def name_below(base: str, dataset: str) -> str:
    """``web1/root`` of ``tank/xvm/web1/root``; "" for what is not below the base."""
    return dataset[len(base) + 1 :] if dataset.startswith(f"{base}/") else ""


def pool_of(dataset: str) -> str:
    """The pool a dataset is in."""
    return dataset.partition("/")[0]


def sizes(text: str, *, exact: bool, head: int) -> dict[str, int]:
    """By dataset, of this collector's text: the bytes an LU on it should have.

    ``head`` is what the target program keeps of a volume for itself; one that was made on another release has its own
    recorded.
    """
    found = {}
    for row in _rows(text, exact=exact):
        if len(row) == len(_COLUMNS) and is_number(row[1]):
            own = row[_AT[zvol.HEAD]]
            found[row[0]] = int(row[1]) - (int(own) if is_number(own) else head)
    return found


def _rows(text: str, *, exact: bool) -> Iterator[list[str]]:
    """In the order of ``_COLUMNS``; a row that has another length is none.

    tank/xvm/web1/root	1073741824	1092628480	66068312576	12288	6144	1092616192	0	0	1.00	...
    tank/xvm/web1/root	volsize	1073741824	-
    """
    if not exact:
        yield from _rows_of_get(text)
        return
    for line in text.split("\n"):
        if line:
            yield line.split("\t")


def _rows_of_get(text: str) -> Iterator[list[str]]:
    found: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    broken: dict[str, list[str]] = {}
    for line in text.split("\n"):
        fields = line.split("\t")
        name = fields[0]
        if len(fields) != 4:
            if line:
                broken[name] = fields
        elif "@" in name:
            pass
        elif fields[1] == "type":
            kinds[name] = fields[2]
        elif fields[1] in _AT:
            # What is inherited is somebody else's.
            ours = not fields[1].startswith(zvol.PREFIX) or fields[3] in {"local", "received"}
            row = found.setdefault(name, [name, *["-"] * (len(_COLUMNS) - 1)])
            row[_AT[fields[1]]] = fields[2] if ours else "-"
    yield from (row for name, row in found.items() if kinds.get(name) == "volume" and name not in broken)
    yield from broken.values()


def _sound(sheet: Sheet, text: str, *, exact: bool) -> Iterator[list[str]]:
    """The rows that can be read."""
    for row in _rows(text, exact=exact):
        if len(row) != len(_COLUMNS):
            sheet.complain(f"zfs printed {row}, not {len(_COLUMNS)} values of a volume")
        elif not are_numbers(row[1:9]) and (
            bad := [one for one in row[1:9] if not is_number(one) and one not in NOTHING]
        ):
            sheet.complain(f"{row[0]}: {bad} should be a number of bytes")
        else:
            yield row


def _emit(sheet: Sheet, base: str, keep: Keep, rows: Iterator[list[str]]) -> None:
    aside: list[list[str]] = []
    kept: list[list[str]] = []
    filtered, seen = 0, False
    for row in rows:
        seen = True
        volume = name_below(base, row[0])
        if ":" in volume:
            aside.append(row)
        elif not volume:
            sheet.complain(f"{row[0]} is a volume, and not below {base}")
        elif keep(volume):
            kept.append(row)
        else:
            filtered += 1
    _emit_kept(sheet, base, kept)
    if seen:
        pool = pool_of(base)
        sheet.put(ASIDE, len(aside), pool)
        sheet.put(ASIDE_USED, sum(int(row[2]) for row in aside if row[2] not in NOTHING), pool)
        sheet.put(FILTERED, filtered, pool)


def _emit_kept(sheet: Sheet, base: str, rows: Sequence[list[str]]) -> None:
    columns = [(place, sheet.column(metric)) for place, metric in enumerate(_NUMBERS, start=1)]
    ratios, states, infos = sheet.column(COMPRESS_RATIO), sheet.column(UNFINISHED), sheet.column(INFO)
    pool, guid, target, state = pool_of(base), _AT[zvol.GUID], _AT[zvol.TARGET], _AT[zvol.STATE]
    luns = _luns(sheet, [row[guid] for row in rows])
    for row in rows:
        names = pool, row[0][len(base) + 1 :]
        text = labelled(LABELS, names)
        for place, column in columns:
            if row[place] not in NOTHING:
                column[text] = row[place]
        ratio = row[9].removesuffix("x")
        if is_number(ratio.replace(".", "", 1)):
            ratios[text] = ratio
        elif ratio not in NOTHING:
            sheet.complain(f"{row[0]}: its compressratio is {ratio!a}")
        if row[state] in _UNFINISHED:
            states[text] = _UNFINISHED[row[state]]
        elif row[state] not in NOTHING:
            sheet.complain(f"{row[0]}: its {zvol.STATE} is {row[state]!a}")
        told = ("" if one in NOTHING else one for one in (row[target], *row[10:14]))
        infos[labelled(INFO.labels, (*names, luns.get(row[guid], ""), *told, _thin(row)))] = "1"


def _luns(sheet: Sheet, guids: Sequence[str]) -> dict[str, str]:
    """The label of each recorded GUID that can be believed."""
    upper = {one: one.upper() for one in guids if one not in NOTHING}
    times = Counter(upper[one] for one in guids if one in upper)
    for guid, many in times.items():
        if not is_guid(guid):
            sheet.complain(f"{zvol.GUID} of a volume is {guid!a}, which is no GUID")
        elif many > 1:
            sheet.complain(f"{many} volumes say that the LU {guid} is theirs")
    return {one: guid for one, guid in upper.items() if times[guid] == 1 and is_guid(guid)}


def _thin(row: Sequence[str]) -> str:
    size, set_aside = row[1], row[6]
    # "none" is how builds before 2010 print an absent refreservation even with -p.
    if set_aside == "none":
        return "yes"
    if size in NOTHING or set_aside in NOTHING:
        return ""
    return "yes" if int(set_aside) < int(size) else "no"
