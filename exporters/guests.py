"""Guests of a Xen dom0, their virtual block devices (vbds), and whose volume each of these is. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dom0 import block_script, xenstore
from dom0.toolstack import Domain, Toolstack
from dom0.xenstore import Vbd
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, gauge, labelled
from exporters.printed import is_guid, is_number
from remote.errors import UnexpectedOutput
from remote.script import Query

_LIST = "xl list, xm list, virsh list"
_XENSTORE = f"xenstore-ls -f {xenstore.BACKENDS}"
_SYSFS = "/sys/bus/xen-backend/devices/vbd-*/statistics"
INFO = gauge("guest_info", "1 for each guest that runs here, Dom0 itself left out.", "guest", "toolstack", source=_LIST)
STATE = gauge(
    "guest_state",
    "1 for the state the guest is in at this moment: blocked is idle, waiting for something; runnable waits for a CPU.",
    "guest",
    "state",
    source=_LIST,
)
DOMID = gauge("guest_domid", "The guest's number, another one after each start or migration.", "guest", source=_LIST)
DEVICE_INFO = gauge(
    "guest_block_device_info",
    "1 for each disk of a guest: the LU (lun, its GUID) and the target it comes from, the volume and its storage node, "
    "mode w or r. Empty where dom0 does not know: a disk that is none of xvmstore's, or was wired by path and has no "
    "map here.",
    "guest",
    "vbd",
    "lun",
    "target",
    "volume",
    "node",
    "mode",
    source=f"{_XENSTORE}, {block_script.MAPS}",
)
CONNECTED = gauge(
    "guest_vbd_connected",
    "1 if the guest's driver uses the disk, 0 before and after.",
    "guest",
    "vbd",
    source=_XENSTORE,
)
SIZE = gauge(
    "guest_vbd_size_bytes",
    "The disk's size that the guest was told last; absent before it is connected.",
    "guest",
    "vbd",
    source=_XENSTORE,
)


def _count(name: str, help_: str) -> Metric:
    return counter(
        f"guest_vbd_{name}_total", f"{help_} Begins again at 0 when the guest starts.", "guest", "vbd", source=_SYSFS
    )


READS = _count("read_requests", "Read requests of the guest that dom0's kernel served.")
WRITES = _count("write_requests", "Write requests of the guest that dom0's kernel served.")
FLUSHES = _count("flush_requests", "Flush requests of the guest that dom0's kernel served.")
READ = _count("read_bytes", "Read by the guest, in sectors of 512 bytes.")
WRITTEN = _count("written_bytes", "Written by the guest, in sectors of 512 bytes.")
METRICS: tuple[Metric, ...] = (
    INFO,
    STATE,
    DOMID,
    DEVICE_INFO,
    CONNECTED,
    SIZE,
    READS,
    WRITES,
    FLUSHES,
    READ,
    WRITTEN,
)

STATES = ("running", "runnable", "blocked", "paused", "shutdown", "crashed", "dying")
# The letters of xl and xm, the gravest first, since a guest that shuts down may be blocked as well.
_LETTERS = {"d": "dying", "c": "crashed", "s": "shutdown", "p": "paused", "b": "blocked", "r": "running"}
_VIRSH = {
    "running": "running",
    "no state": "runnable",
    "idle": "blocked",
    "paused": "paused",
    "pmsuspended": "paused",
    "in shutdown": "shutdown",
    "shut off": "shutdown",
    "crashed": "crashed",
    "dying": "dying",
}
_SECTOR = 512

# Never the whole of a map, which may hold a secret. grep exits 1 where it finds nothing.
_MAPS = """\
[ -d "$1" ] || exit 0
$xvm_become grep -rE '^(volume|node|target|lun)=' "$1"
[ $? -le 1 ]
"""
# A vbd that goes meanwhile is left out.
_STATISTICS = """\
for vbd in "${1-/sys/bus/xen-backend/devices}"/vbd-*; do
    [ -d "$vbd/statistics" ] || continue
    said=${vbd##*/}
    for name in rd_req wr_req f_req rd_sect wr_sect; do
        v=
        { read -r v <"$vbd/statistics/$name"; } 2>/dev/null
        said="$said ${v:--}"
    done
    echo "$said"
done
"""


def guests(stack: Toolstack, *, system: str) -> tuple[Collector, ...]:
    """The guests that run, their disks, and, where dom0's system is linux, what went through these."""
    linux = system == "linux"
    listed = Query(stack.list_words, str)

    def emit(sheet: Sheet, text: str) -> None:
        _emit_guests(sheet, stack, text)

    def emit_disks(sheet: Sheet, vbds: str, *texts: str) -> None:
        maps, statistics = texts[:2] if linux else ("", "")
        _emit_disks(sheet, stack, _names(stack, texts[-1]), vbds, maps=maps, statistics=statistics)

    listed_vbds = xenstore.vbds()
    asked: tuple[Query[str], ...] = (Query(listed_vbds.argv, str, absent=listed_vbds.absent),)
    if linux:
        maps = Query(("sh", "-c", _MAPS, "volume-maps", block_script.MAPS), str)
        asked += (maps, Query(("sh", "-c", _STATISTICS, "vbd-statistics"), str))
    return (
        Collector("guests", (listed,), emit),
        Collector("guest_disks", asked, emit_disks, needs="guests"),
    )


# -- guests ------------------------------------------------------------------------------------------------------------


def _domains(sheet: Sheet, stack: Toolstack, text: str) -> Iterator[Domain]:
    """Each line by itself, under the heading."""
    head, *lines = text.lstrip("\n").split("\n")
    # No heading that it knows: then none of it can be told.
    stack.read_list(head)
    for line in lines:
        try:
            yield from stack.read_list(f"{head}\n{line}\n") if line.strip() else ()
        except UnexpectedOutput as error:
            sheet.complain(error)


def _emit_guests(sheet: Sheet, stack: Toolstack, text: str) -> None:
    for one in _domains(sheet, stack, text):
        state = _state(one.state)
        sheet.put(INFO, 1, one.name, stack.format)
        sheet.put(DOMID, one.domid, one.name)
        if state:
            sheet.one_of(STATE, STATES, state, one.name)
        else:
            sheet.complain(f"{one.name} is {one.state!a}, which is no state of a guest")


def _state(said: str) -> str:
    """``-b----`` of xl and xm, ``idle`` of virsh; "" if it is neither."""
    if not set(said) <= {"-", *_LETTERS}:
        return _VIRSH.get(said, "")
    return next((state for letter, state in _LETTERS.items() if letter in said), "runnable")


def _names(stack: Toolstack, text: str) -> dict[int, str]:
    """The guests by number. Raises UnexpectedOutput where they could not be listed: then no disk is anybody's."""
    if not text:
        raise UnexpectedOutput("list", "", "the guests, to whom the disks belong")
    return {one.domid: one.name for one in _domains(Sheet(), stack, text)}


# -- their disks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Map:
    """What dom0 knows of a volume."""

    volume: str = ""
    node: str = ""
    target: str = ""
    lun: str = ""


def _emit_disks(
    sheet: Sheet, stack: Toolstack, names: Mapping[int, str], vbds: str, *, maps: str, statistics: str
) -> None:
    known = _read_maps(sheet, maps)
    counts = _read_statistics(sheet, statistics)
    for one in _vbds(sheet, vbds):
        # Dom0 itself is no guest, and one that is not listed has gone since or is to come.
        guest = names.get(one.domid)
        if guest is None:
            continue
        vbd = stack.vdev(one.vdev) or str(one.devid)
        guid, of_volume = _whose(one.params, known)
        told = of_volume.target, of_volume.volume, of_volume.node
        sheet.put(DEVICE_INFO, 1, guest, vbd, guid.upper(), *told, one.mode)
        sheet.put(CONNECTED, float(one.connected), guest, vbd)
        if one.sectors is not None:
            sheet.put(SIZE, one.sectors * _SECTOR, guest, vbd)
        label = labelled(READS.labels, (guest, vbd))
        for metric, value in counts.get((one.domid, one.devid), {}).items():
            sheet.column(metric)[label] = str(value)


def _vbds(sheet: Sheet, text: str) -> Iterator[Vbd]:
    """Read ``xenstore-ls -f``, each vbd by itself.

    /local/domain/0/backend/vbd/1/51712/params = "6001405e1f91045281ab651baefdd6d6"
    /local/domain/0/backend/vbd/1/51712/state = "4"
    """
    start = len(xenstore.BACKENDS) + 1
    lines: dict[tuple[str, ...], list[str]] = {}
    for line in text.split("\n"):
        if line:
            path = line[start:].partition(" = ")[0]
            lines.setdefault(tuple(path.split("/")[:2]), []).append(line)
    for some in lines.values():
        try:
            yield from xenstore.parse("\n".join(some))
        except UnexpectedOutput as error:
            sheet.complain(error)


def _read_maps(sheet: Sheet, text: str) -> dict[str, _Map]:
    """Read ``grep -r`` over the maps, by the volume's id.

    /etc/xvmstore/volumes/6001405d8d562379e06a926fff253e6f:volume=web1/root
    /etc/xvmstore/volumes/6001405d8d562379e06a926fff253e6f:target=iqn.2026-11.org.xvmstore:web1.root.926fff253e6f
    """
    found: dict[str, dict[str, str]] = {}
    for line in text.split("\n"):
        path, colon, pair = line.removeprefix(f"{block_script.MAPS}/").partition(":")
        key, equals, value = pair.partition("=")
        if line and (not colon or not equals or key not in _Map.__slots__):
            sheet.complain(f"{block_script.MAPS} has {line!a}")
        # A map that is being written has another name.
        elif is_guid(path.upper()):
            found.setdefault(path, {})[key] = value
    return {id_: _Map(**facts) for id_, facts in found.items()}


_BY_PATH = re.compile(r"(?:/dev/)?disk/by-path/ip-.+?-iscsi-(?P<target>.+)-lun-(?P<lun>\d+|0x[0-9a-f]{16})\Z")
_SOLARIS = re.compile(r"(?:/dev/)?r?dsk/c\d+t(?P<guid>[0-9A-Fa-f]{32})d\d+(?:p0|s\d+)?\Z")


def _whose(params: str, known: Mapping[str, _Map]) -> tuple[str, _Map]:
    """GUID and volume of what a disk line names: a volume's id, udev's path of a LUN, or Solaris' of an LU."""
    id_ = params.lower()
    if is_guid(params.upper()):
        return id_, known.get(id_, _Map())
    if match := _SOLARIS.match(params):
        return match["guid"], known.get(match["guid"].lower(), _Map())
    if match := _BY_PATH.match(params):
        # LUNs above 255 are the eight bytes of SCSI.
        lun = match["lun"] if match["lun"].isdecimal() else str(int(match["lun"][2:6], 16) & 0x3FFF)
        there = ((id_, one) for id_, one in known.items() if (one.target, one.lun) == (match["target"], lun))
        return next(there, ("", _Map(target=match["target"])))
    return "", _Map()


_COUNTS = ((READS, 1), (WRITES, 1), (FLUSHES, 1), (READ, _SECTOR), (WRITTEN, _SECTOR))


def _read_statistics(sheet: Sheet, text: str) -> dict[tuple[int, int], dict[Metric, int]]:
    """Read what the program above prints: requests read, written and flushed, sectors read and written.

    vbd-1-51712 3 0 0 24 0
    vbd-1-51728 3 0 - 24 0
    """
    found = {}
    for line in text.split("\n"):
        name, *values = line.split(" ")
        match = re.fullmatch(r"vbd-(\d+)-(\d+)", name)
        if match and len(values) == len(_COUNTS) and all(is_number(one) or one == "-" for one in values):
            pairs = zip(_COUNTS, values, strict=True)
            found[int(match[1]), int(match[2])] = {
                metric: int(value) * unit for (metric, unit), value in pairs if value != "-"
            }
        elif line:
            sheet.complain(f"the statistics of a vbd are {line!a}")
    return found
