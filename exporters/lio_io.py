"""What LIO's LUNs have done, as the kernel counts it in configfs. Pure.

Counted where a target has the LU (scsi_tgt_port), not where an initiator sees it (scsi_auth_intr): those go with
the ACL. There is no time in them.
"""

from collections import defaultdict

from exporters import luns
from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, counter, labelled
from exporters.printed import are_numbers
from iscsi.lio_rows import guid_of
from remote.script import Query

COMMANDS = counter(
    "lun_commands_total",
    "SCSI commands for the LU, over all targets that have it. Begins again at 0 when it is taken out of one.",
    "lun",
    source="configfs statistics/scsi_tgt_port/in_cmds",
)
METRICS: tuple[Metric, ...] = (COMMANDS,)

_MIB = 1 << 20
# Nothing is started for each LUN but by the shell itself. What goes while this looks is left out; what cannot be
# looked at is a failure.
_LOOK = """\
get() { v=; { read -r v <"$1"; } 2>/dev/null; [ -n "$v" ]; }
cd "${1-/sys/kernel/config/target}" && ls core >/dev/null || exit
for unit in core/*_*/*; do
    get "$unit/wwn/vpd_unit_serial" || continue
    case $v in *": "*) printf 'unit\\t%s\\t%s\\n' "${unit#core/}" "${v##*: }" ;; esac
done
[ -d iscsi ] || exit 0
for place in iscsi/*/tpgt_*/lun/lun_*; do
    at=$place/statistics/scsi_tgt_port
    get "$at/in_cmds" && commands=$v && get "$at/read_mbytes" && got=$v && get "$at/write_mbytes" || continue
    printf 'lun\\t%s\\t%s\\t%s\\t%s\\n' "$place" "$commands" "$got" "$v"
done
exec find iscsi -maxdepth 5 -ignore_readdir_race \\( -name acls -o -name statistics -o -name attrib \\) -prune -o \\
    -type l -path '*/lun/lun_*/*' -printf 'link\\t%h\\t%l\\n'
"""


def lio_io() -> Collector:
    """Of every LU that a target has."""
    return Collector("lio_io", (Query(("sh", "-c", _LOOK, "lio-statistics"), str),), _emit)


def _emit(sheet: Sheet, text: str) -> None:
    """Read what the program above prints; "link" tells which LU a place of a target has.

    lun	iscsi/iqn.2026-11.org.xvmstore:web1.root.926fff253e6f/tpgt_1/lun/lun_0	167	2	0
    link	iscsi/iqn.2026-11.org.xvmstore:web1.root.926fff253e6f/tpgt_1/lun/lun_0	../../target/core/iblock_1/xvm-d8d5
    """
    serials: dict[str, str] = {}
    behind: dict[str, str] = {}
    counted: dict[str, tuple[str, str, str]] = {}
    for line in text.split("\n"):
        match line.split("\t"):
            case ["unit", unit, serial]:
                serials[unit] = serial
            case ["link", place, unit]:
                behind[place] = unit.rpartition("/core/")[2]
            case ["lun", place, *numbers] if len(numbers) == 3 and are_numbers(numbers):
                counted[place] = numbers[0], numbers[1], numbers[2]
            case _ if line:
                sheet.complain(f"LIO's statistics have {line!a}")
    _emit_sums(sheet, counted, {place: serials[unit] for place, unit in behind.items() if unit in serials})


def _emit_sums(sheet: Sheet, counted: dict[str, tuple[str, str, str]], serials: dict[str, str]) -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for place, (commands, got, put) in counted.items():
        # A place whose LU has gone counts for nobody.
        if serial := serials.get(place):
            total = sums[serial]
            total[0] += int(commands)
            total[1] += int(got)
            total[2] += int(put)
    columns = sheet.column(COMMANDS), sheet.column(luns.READ), sheet.column(luns.WRITTEN)
    for serial, (commands_, got_, put_) in sums.items():
        label = labelled(("lun",), (guid_of(serial),))
        for column, value in zip(columns, (commands_, got_ * _MIB, put_ * _MIB), strict=True):
            column[label] = str(value)
