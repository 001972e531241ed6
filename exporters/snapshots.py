"""Snapshots by volume, and each checkpoint. Pure.

Slow: a node may have 100,000 snapshots, and ZFS reads each of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, gauge, labelled
from exporters.printed import NOTHING, is_number, split
from exporters.volumes import LABELS, Keep, everything, name_below, no_base, pool_of
from remote.script import Query
from storage import checkpoints, notes, zvol

_SOURCE = "zfs list -t volume,snapshot"
COUNT = gauge(
    "volume_snapshots",
    "How many snapshots the volume has, whoever made them; 0 where it has none.",
    *LABELS,
    source=_SOURCE,
)
OLDEST = gauge(
    "volume_oldest_snapshot_timestamp_seconds",
    "When the volume's oldest snapshot was made; absent where it has none.",
    *LABELS,
    source=_SOURCE,
)
NEWEST = gauge(
    "volume_newest_snapshot_timestamp_seconds",
    "When the volume's newest snapshot was made; absent where it has none.",
    *LABELS,
    source=_SOURCE,
)
_OF_CHECKPOINT = (*LABELS, "checkpoint", "guest")
TAKEN = gauge(
    "checkpoint_timestamp_seconds",
    "When xvmstore took the checkpoint.",
    *_OF_CHECKPOINT,
    source=f"{_SOURCE}, our properties",
)
USED = gauge(
    "checkpoint_used_bytes",
    "What nothing but this volume's snapshot of the checkpoint holds: what destroying it frees at least.",
    *_OF_CHECKPOINT,
    source=_SOURCE,
)
WRITTEN_AFTER = gauge(
    "checkpoint_written_after_bytes",
    "Written to the volume since the checkpoint, of what is still there: what a rollback would take back. "
    "Absent before 2011.",
    *_OF_CHECKPOINT,
    source="zfs get written@CHECKPOINT",
)
STATE = gauge(
    "checkpoint_state",
    "1 for how what came after the checkpoint ended, as recorded on it: created (nothing is recorded), done, "
    "rolled_back, noted (in an admin's own words).",
    *_OF_CHECKPOINT,
    "state",
    source="org.xvmstore:outcome",
)
METRICS: tuple[Metric, ...] = (COUNT, OLDEST, NEWEST, TAKEN, USED, WRITTEN_AFTER, STATE)

_STATES = ("created", "done", "rolled_back", "noted")
_OUTCOMES = {"-": "created", "": "created", "done": "done", "rolled back": "rolled_back"}
_COLUMNS = ("name", "creation", "used", checkpoints.ROLE, checkpoints.OUTCOME)

# awk lets the listing through, remembers which checkpoints each guest has, and asks of these after it, up to fifty
# guests with the same ones at a time. No name that ZFS
# takes has a quote in it. A listing that fails half-way must not pass for a whole one; a guest that has gone since only
# costs what was asked of it.
_LOOK = """\
awk=awk; [ -x /usr/bin/nawk ] && awk=nawk
{ $xvm_become zfs list -Hp -r -t volume,snapshot -o "$2" "$1" && echo end; } |
$awk -v base="$1" -v zfs="$xvm_become zfs" '
BEGIN { FS = "\\t"; q = sprintf("%c", 39) }
$0 == "end" { whole = 1; next }
{ print }
$4 != "-" && $4 != "" && index($1, "@") {
    split($1, at, "@")
    guest = substr(at[1], length(base) + 2)
    if (split(guest, part, "/") != 2 || index(guest, ":") || (part[1], at[2]) in seen) next
    seen[part[1], at[2]] = 1
    asked[part[1]] = asked[part[1]] ",written@" at[2]
}
function ask(names, guests) {
    if (!system(zfs " get -Hp -r -t volume -o name,property,value " q substr(names, 2) q guests)) return
    gsub(q, "", guests); gsub(base "/", "", guests)
    print "failed\\t" substr(guests, 2)
}
END {
    if (!whole) exit 1
    for (guest in asked) {
        names = asked[guest]
        guests[names] = guests[names] " " q base "/" guest q
        if (++many[names] % 50 == 0) { ask(names, guests[names]); guests[names] = "" }
    }
    for (names in guests) if (guests[names] != "") ask(names, guests[names])
}'
"""


def snapshots(base: str, *, exact: bool, keep: Keep = everything) -> Collector:
    """Of every volume below ``base`` whose name ``keep`` takes. ``exact``: the release's ``zfs list`` knows -p."""
    columns = ",".join(_COLUMNS)
    if exact:
        query = Query(("sh", "-c", _LOOK, "list-snapshots", base, columns), str, absent=(no_base(base),))
    else:
        asked = f"type,{columns.removeprefix('name,')}"
        argv = ("zfs", "get", "-Hp", "-r", "-o", "name,property,value,source", asked, base)
        query = Query(argv, str, absent=(no_base(base),))

    def emit(sheet: Sheet, text: str, noted: str = "") -> None:
        listed = _Listed(sheet, notes.parse(noted))
        if exact:
            listed.read(text)
        else:
            listed.read_get(text)
        _emit_volumes(sheet, base, keep, listed)
        _emit_checkpoints(sheet, base, keep, listed)

    return Collector("snapshots", (query, notes.kept_apart(base)), emit, pool_bound=True)


@dataclass(slots=True)
class _Tally:
    """Of one dataset's snapshots."""

    count: int = 0
    oldest: int = 0
    newest: int = 0


class _Listed:
    """What a listing says, as far as it can be read.

    volumes  the role each has itself, which its snapshots would show as theirs
    marked   rows of snapshots that have a role
    written  by volume and checkpoint
    """

    def __init__(self, sheet: Sheet, noted: Mapping[str, Mapping[str, str]]) -> None:
        self.volumes: dict[str, str] = {}
        self.tallies: dict[str, _Tally] = {}
        self.marked: list[list[str]] = []
        self.written: dict[tuple[str, str], str] = {}
        self._sheet, self._noted = sheet, noted

    def read(self, text: str) -> None:
        """Read what the program above prints.

        tank/xvm/web1/root@xvm-20261124T173222Z-4700	1795541542	0	manual	-
        tank/xvm/web1/root	written@xvm-20261124T173222Z-4700	40960
        """
        self.take(self._listing(text))

    def read_get(self, text: str) -> None:
        """Read ``zfs get -Hp -r -o name,property,value,source``.

        tank/xvm/web1/root@xvm-20261124T173222Z-4700	creation	1795541542	-
        tank/xvm/web1/root@xvm-20261124T173222Z-4700	org.xvmstore:checkpoint	manual	local
        """
        at = {name: place for place, name in enumerate(_COLUMNS)}
        rows: dict[str, list[str]] = {}
        wanted, broken = set(), set()
        for line in text.split("\n"):
            fields = line.split("\t")
            name = fields[0]
            if len(fields) == 4 and fields[1] == "type":
                if fields[2] in {"volume", "snapshot"}:
                    wanted.add(name)
            elif len(fields) == 4 and fields[1] in at:
                row = rows.setdefault(name, [name, "-", "-", "-", "-"])
                inherited = fields[1].startswith(zvol.PREFIX) and fields[3] not in {"local", "received"}
                row[at[fields[1]]] = "-" if inherited else fields[2]
            elif line:
                self._sheet.complain(f"zfs get printed {line!a}")
                broken.add(name)
        self.take(self._with_note(row) for name, row in rows.items() if name in wanted and name not in broken)

    def _with_note(self, row: list[str]) -> list[str]:
        name, creation, used, role, outcome = row
        note = self._noted.get(name.partition("@")[2].lower(), {})
        own = {"checkpoint": role, "outcome": outcome}
        return [name, creation, used, *(note.get(key, "-") if said in NOTHING else said for key, said in own.items())]

    def take(self, rows: Iterator[list[str]]) -> None:
        """Rows of ``_COLUMNS``, of volumes and snapshots."""
        tallies, volumes, sheet = self.tallies, self.volumes, self._sheet
        for row in rows:
            name, creation, used, role, _ = row
            dataset, at, _ = name.partition("@")
            if not at:
                volumes[name] = role
            elif not (creation.isdecimal() and used.isdecimal()):
                sheet.complain(f"{name}: {creation!a} and {used!a} should be the time it was made, and bytes")
            else:
                made = int(creation)
                tally = tallies.get(dataset)
                if tally is None:
                    tallies[dataset] = _Tally(1, made, made)
                else:
                    tally.count += 1
                    tally.oldest = min(tally.oldest, made)
                    tally.newest = max(tally.newest, made)
                if role not in NOTHING:
                    self.marked.append(row)

    def _listing(self, text: str) -> Iterator[list[str]]:
        for line in split(text):
            row = line.split("\t")
            if len(row) == len(_COLUMNS):
                yield self._with_note(row) if self._noted else row
            elif len(row) == 3 and row[1].startswith("written@"):
                self.written[row[0], row[1][8:]] = row[2]
            elif len(row) == 2 and row[0] == "failed":
                self._sheet.complain(f"what was written to {row[1]} after its checkpoints")
            elif line:
                self._sheet.complain(f"zfs list printed {line!a}")


def _emit_volumes(sheet: Sheet, base: str, keep: Keep, listed: _Listed) -> None:
    counts, oldest, newest = sheet.column(COUNT), sheet.column(OLDEST), sheet.column(NEWEST)
    pool = pool_of(base)
    for dataset in listed.volumes:
        volume = name_below(base, dataset)
        if not volume or ":" in volume or not keep(volume):
            continue
        text = labelled(LABELS, (pool, volume))
        tally = listed.tallies.get(dataset)
        counts[text] = str(tally.count) if tally else "0"
        if tally:
            oldest[text], newest[text] = str(tally.oldest), str(tally.newest)


def _emit_checkpoints(sheet: Sheet, base: str, keep: Keep, listed: _Listed) -> None:
    pool = pool_of(base)
    for name, made, used, role, outcome in listed.marked:
        dataset, _, tag = name.partition("@")
        volume = name_below(base, dataset)
        # A snapshot also shows what is set on its dataset.
        if volume.count("/") != 1 or ":" in volume or listed.volumes.get(dataset, role) == role or not keep(volume):
            continue
        labels = (pool, volume, tag, volume.partition("/")[0])
        sheet.put(TAKEN, int(made), *labels)
        sheet.put(USED, int(used), *labels)
        _emit_written(sheet, listed.written, (dataset, tag), labels)
        sheet.one_of(STATE, _STATES, _OUTCOMES.get(outcome, "noted"), *labels)


def _emit_written(
    sheet: Sheet, written: Mapping[tuple[str, str], str], of: tuple[str, str], labels: Sequence[str]
) -> None:
    value = written.get(of, "-")
    if is_number(value):
        sheet.put(WRITTEN_AFTER, int(value), *labels)
    elif value not in NOTHING:
        sheet.complain(f"{of[0]}: written@{of[1]} is {value!a}")
