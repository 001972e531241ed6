"""LUNs and targets: what the node serves to initiators, as its target program tells. Pure.

The readers here are not those of ``iscsi``: one strange LU of 10,000 must cost itself only.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from exporters import volumes
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge, labelled
from exporters.printed import are_numbers, is_guid, is_number, split
from exporters.volumes import name_below, pool_of
from iscsi import lio_look
from iscsi.lio_rows import FIELDS, guid_of
from remote.errors import UnexpectedOutput
from remote.script import Query

_SOURCE = "stmfadm list-lu -v, sbdadm list-lu, LIO's configfs"
_OF_TARGETS = "stmfadm list-target -v, itadm list-target -v, LIO's configfs"
ONLINE = gauge("lun_online", "1 if the LU answers to initiators.", "lun", source=_SOURCE)
SIZE = gauge(
    "lun_size_bytes",
    "The LU's size, as initiators are told it; absent where it is not registered.",
    "lun",
    source=_SOURCE,
)
VIEWS = gauge(
    "lun_views",
    "Who may see the LU: COMSTAR's view entries, LIO's mapped LUNs (and 1 for each target that lets everybody in).",
    "lun",
    source=_SOURCE,
)
MISMATCH = gauge(
    "lun_size_mismatch",
    "1 if the LU has not the size of its volume: a resize stopped half-way. Absent where one of the two is not known.",
    "lun",
    source=f"{_SOURCE}; zfs list",
)
INFO = gauge(
    "lun_info",
    "1 for each LU, by GUID in upper case; volume is empty for what is not below the base dataset, and so is what the "
    "target program does not tell.",
    "lun",
    "volume",
    "pool",
    "provider",
    "block_size",
    "serial",
    "write_cache",
    source=_SOURCE,
)
TARGET_ONLINE = gauge("target_online", "1 if the target accepts logins.", "target", source=_OF_TARGETS)
SESSIONS = gauge("target_sessions", "Initiators' sessions with the target.", "target", source=_OF_TARGETS)
PORTALS = gauge(
    "target_portals", "Addresses that the target was given to listen on; LIO only.", "target", source=_OF_TARGETS
)
LUNS = gauge("target_luns", "LUNs of the target that have an LU; LIO only.", "target", source=_OF_TARGETS)
TARGET_INFO = gauge(
    "target_info",
    "1 for each target; auth is none, chap or radius.",
    "target",
    "alias",
    "auth",
    source=_OF_TARGETS,
)
# What comstar_io and lio_io both have, each in its own words.
READ = counter(
    "lun_read_bytes_total",
    "Read from the LU. Begins again at 0 when the LU is registered anew. On LIO it comes in whole MiB of each "
    "target that has the LU: small reads show late.",
    "lun",
    source="kstat stmf:0:stmf_lu_io_*, LIO's scsi_tgt_port",
)
WRITTEN = counter(
    "lun_written_bytes_total",
    "Written to the LU. Begins again at 0 when the LU is registered anew. On LIO it comes in whole MiB of "
    "each target that has the LU: small writes show late.",
    "lun",
    source="kstat stmf:0:stmf_lu_io_*, LIO's scsi_tgt_port",
)
METRICS: tuple[Metric, ...] = (
    ONLINE,
    SIZE,
    VIEWS,
    MISMATCH,
    INFO,
    TARGET_ONLINE,
    SESSIONS,
    PORTALS,
    LUNS,
    TARGET_INFO,
    READ,
    WRITTEN,
)

_NOT_SET = frozenset({"not set", "-", ""})


def luns_comstar(base: str, *, exact: bool, head: int) -> tuple[Collector, ...]:
    """LUs and targets of COMSTAR. ``exact`` is that of the volumes; ``head`` what an LU is smaller than its volume.

    Where there is a head (b111), stmfadm tells no sizes and sbdadm is asked for them.
    """
    lus = Query(("stmfadm", "list-lu", "-v"), str, silent=True)
    old = (Query(("sbdadm", "list-lu"), str, silent=True),) if head else ()
    targets = (
        Query(("stmfadm", "list-target", "-v"), str, silent=True),
        Query(("itadm", "list-target", "-v"), str, silent=True),
    )

    def emit(sheet: Sheet, said: str, *others: str) -> None:
        found = _lus(sheet, said)
        if old:
            _add_sbdadm(sheet, others[0], found)
        _emit_lus(sheet, base, found)
        _emit_mismatches(sheet, found, volumes.sizes(others[-1], exact=exact, head=head))

    return (
        Collector("luns", (lus, *old), emit, needs="volumes"),
        Collector("targets", targets, _emit_comstar_targets),
    )


def luns_lio(base: str) -> tuple[Collector, ...]:
    """LUs and targets of LIO, which are one listing."""

    def emit(sheet: Sheet, said: str, of_volumes: str) -> None:
        rows = _lio_rows(sheet, said)
        found = _lio_lus(sheet, rows)
        _emit_lus(sheet, base, found)
        _emit_lio_targets(sheet, rows)
        _emit_mismatches(sheet, found, volumes.sizes(of_volumes, exact=True, head=0))

    return (Collector("luns", (Query(lio_look.look(), str),), emit, needs="volumes"),)


# An LU by GUID: "state", "dataset", and what else is known of it.
_Lus = dict[str, dict[str, str]]


def _emit_lus(sheet: Sheet, base: str, found: _Lus) -> None:
    online, sizes, views, infos = (sheet.column(metric) for metric in (ONLINE, SIZE, VIEWS, INFO))
    for guid, facts in found.items():
        text = labelled(("lun",), (guid,))
        online[text] = str(int(facts["state"].lower() == "online"))
        if "size" in facts:
            sizes[text] = facts["size"]
        if "views" in facts:
            views[text] = facts["views"]
        dataset = facts.get("dataset", "")
        told = (facts.get(key, "") for key in ("provider", "block_size", "serial", "write_cache"))
        infos[labelled(INFO.labels, (guid, name_below(base, dataset), pool_of(dataset), *told))] = "1"


def _emit_mismatches(sheet: Sheet, found: _Lus, wanted: Mapping[str, int]) -> None:
    column = sheet.column(MISMATCH)
    for guid, facts in found.items():
        size = wanted.get(facts.get("dataset", ""))
        if size is not None and "size" in facts:
            column[labelled(("lun",), (guid,))] = str(int(int(facts["size"]) != size))


# -- COMSTAR -----------------------------------------------------------------------------------------------------------


def _blocks(sheet: Sheet, text: str, head: str, *, command: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each ``HEAD: NAME`` and the ``LABEL : VALUE`` lines below it, those further in left out.

    LU Name: 600144F00C2A6D0000006A27E7400001
        Operational Status: Online
    """
    start = f"{head}: "
    blocks = split(f"\n{text}", f"\n{start}")
    if (first := next(blocks)).strip():
        sheet.complain(f"{command} printed {first.strip()[:200]!a}, not a line {start}NAME")
    # The same few labels come ten thousand times: "" for one further in.
    known: dict[str, str] = {}
    for block in blocks:
        name, *lines = block.split("\n")
        facts, bad = {}, ""
        for line in lines:
            label, colon, value = line.partition(":")
            if not colon:
                bad = line if line.strip() else bad
                continue
            key = known.get(label)
            if key is None:
                key = known[label] = "" if label.startswith("        ") else label.strip().lower()
            if key:
                facts[key] = value.strip()
        if bad or "operational status" not in facts:
            sheet.complain(f"{command}: {name[:100]!a}: {bad!a} should be LABEL : VALUE, with an operational status")
        else:
            yield name.strip(), facts


def _lus(sheet: Sheet, text: str) -> _Lus:
    """Read ``stmfadm list-lu -v``; an unregistered LU, and every LU before b115, has only the first lines.

    LU Name: 600144F00C2A6D0000006A27E7400001
        Size              : 8589934592
    """
    found = {}
    for name, facts in _blocks(sheet, text, "LU Name", command="stmfadm list-lu -v"):
        guid = name.upper()
        numbers = {key: facts[label] for key, label in _NUMBERS.items() if facts.get(label, "-") not in _NOT_SET}
        if not is_guid(guid) or not are_numbers((*numbers.values(),)):
            sheet.complain(f"stmfadm list-lu -v: {name!a} should be a GUID, and {numbers} numbers")
            continue
        cache = {"enabled": "on", "disabled": "off"}.get(facts.get("writeback cache", "").lower(), "")
        lu = {"state": facts["operational status"], "write_cache": cache, **numbers}
        for key, label in _TEXTS.items():
            lu[key] = "" if (value := facts.get(label, "")) in _NOT_SET else value
        lu["dataset"] = _on_zvol(facts.get("data file", ""))
        found[guid] = lu
    return found


_NUMBERS = {"size": "size", "block_size": "block size", "views": "view entry count"}
_TEXTS = {"provider": "provider name", "serial": "serial num"}


def _on_zvol(path: str) -> str:
    """The dataset of a zvol's device; "" for any other file."""
    for place in ("/dev/zvol/rdsk/", "/dev/zvol/dsk/"):
        if path.startswith(place):
            return path.removeprefix(place)
    return ""


def _add_sbdadm(sheet: Sheet, text: str, found: _Lus) -> None:
    """Read ``sbdadm list-lu``.

    Found 1 LU(s)
    600144f00c2a6d0000004a285c800001      8589869056       /dev/zvol/rdsk/tank/vm1
    """
    for line in text.split("\n"):
        words = line.split(None, 2)
        if not words or words[0] in {"Found", "GUID"} or not line.strip("- "):
            continue
        if len(words) != 3 or not is_guid(words[0].upper()) or not is_number(words[1]):
            sheet.complain(f"sbdadm list-lu printed {line!a}, not GUID, size and source")
        elif words[0].upper() in found:
            found[words[0].upper()].update(size=words[1], dataset=_on_zvol(words[2]))


def _emit_comstar_targets(sheet: Sheet, said: str, setups: str) -> None:
    """Read ``stmfadm list-target -v``; the sessions stand further in.

    Target: iqn.2026-11.com.example:tank.vm1
        Sessions          : 1
    """
    auths = _auths(sheet, setups)
    online, sessions, infos = sheet.column(TARGET_ONLINE), sheet.column(SESSIONS), sheet.column(TARGET_INFO)
    for name, facts in _blocks(sheet, said, "Target", command="stmfadm list-target -v"):
        label = labelled(SESSIONS.labels, (name,))
        online[label] = "1" if facts["operational status"].lower() == "online" else "0"
        if is_number(facts.get("sessions", "")):
            sessions[label] = facts["sessions"]
        else:
            sheet.complain(f"stmfadm list-target -v: no number of sessions of {name}")
        alias = facts.get("alias", "")
        told = "" if alias in _NOT_SET else alias, auths.get(name, "")
        infos[labelled(TARGET_INFO.labels, (name, *told))] = "1"


def _auths(sheet: Sheet, text: str) -> dict[str, str]:
    """Read ``itadm list-target -v``.

    iqn.2026-11.com.example:tank.vm2                             online   0
        auth:               	chap
    """
    found: dict[str, str] = {}
    name = ""
    head, _, rows = text.lstrip("\n").partition("\n")
    if head and not head.startswith("TARGET NAME"):
        sheet.complain(f"itadm list-target -v printed {head!a}, not TARGET NAME")
    for line in rows.split("\n"):
        if line and not line[0].isspace():
            name = line.split()[0]
        elif line.strip().startswith("auth:"):
            # "none (default)": nothing was set for this target itself.
            found[name] = line.partition(":")[2].strip().partition(" ")[0]
    return found


# -- LIO ---------------------------------------------------------------------------------------------------------------


def _lio_rows(sheet: Sheet, text: str) -> Mapping[str, Sequence[list[str]]]:
    """Read what ``lio_look.look`` prints, by kind of row; "-" is nothing.

    unit	xvm-30ec64e0b007bae9d097d7a1b	iblock	30ec64e0b007bae9d097d7a1b	1	21474836480	0	/dev/zvol/tank/x
    view	iqn.2026-11.org.xvmstore:web1	iqn.1993-08.org.debian:01:ab	0	xvm-30ec64e0b007bae9d097d7a1b	0	xen1
    """
    rows: dict[str, list[list[str]]] = {kind: [] for kind in FIELDS}
    for line in text.split("\n"):
        kind, *values = line.split("\t")
        if len(FIELDS.get(kind, ())) == len(values) > 0:
            rows[kind].append(["" if one == "-" else one for one in values])
        elif line:
            sheet.complain(f"LIO's listing has {line!a}, not a row of {', '.join(FIELDS)}")
    if text and not any(rows.values()):
        raise UnexpectedOutput("lio-look", text[:200], f"rows of {', '.join(FIELDS)}")
    return rows


def _lio_lus(sheet: Sheet, rows: Mapping[str, Sequence[list[str]]]) -> _Lus:
    open_to_all = {row[0] for row in rows["target"] if row[4] == "1"}
    views = Counter(row[3] for row in rows["view"] if row[3])
    views.update(row[2] for row in rows["lun"] if row[2] and row[0] in open_to_all)
    found = {}
    for name, kind, serial, enabled, size, _, device in rows["unit"]:
        if enabled not in {"0", "1"} or not (is_number(size) or not size):
            sheet.complain(f"LIO's listing: the LU {name} is {enabled!a}, not 0 or 1, or its size {size!a} no number")
            continue
        if not serial:
            # A device passed through has its own name, which is not told here; one that is being made has none yet.
            continue
        lu = {"state": "online" if enabled == "1" else "offline", "provider": kind, "serial": serial}
        if size:
            lu["size"] = size
        if device.startswith("/dev/zvol/"):
            lu["dataset"] = device.removeprefix("/dev/zvol/").replace("+", " ")
        found[guid_of(serial)] = lu | {"views": str(views[name])}
    return found


def _emit_lio_targets(sheet: Sheet, rows: Mapping[str, Sequence[list[str]]]) -> None:
    counts = {
        SESSIONS: Counter(row[0] for row in rows["session"]),
        PORTALS: Counter(row[0] for row in rows["portal"]),
        LUNS: Counter(row[0] for row in rows["lun"] if row[2]),
    }
    tags = defaultdict(list)
    for name, _, enabled, chap, _ in rows["target"]:
        if {enabled, chap} <= {"0", "1"}:
            tags[name].append((enabled, chap))
        else:
            sheet.complain(f"LIO's listing: the target {name} is {enabled!a}, its CHAP {chap!a}: not 0 or 1")
    columns = [(sheet.column(metric), count) for metric, count in counts.items()]
    online, infos = sheet.column(TARGET_ONLINE), sheet.column(TARGET_INFO)
    for name, groups in tags.items():
        text = labelled(("target",), (name,))
        online[text] = max(enabled for enabled, _ in groups)
        for column, count in columns:
            column[text] = str(count[name])
        auth = "chap" if all(chap == "1" for _, chap in groups) else "none"
        infos[labelled(TARGET_INFO.labels, (name, "", auth))] = "1"
