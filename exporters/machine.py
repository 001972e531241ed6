"""The machine itself: what it runs, its clock, when it came up. Pure."""

import calendar
import time

from exporters.collector import Collector
from exporters.exposition import Metric, Sheet, gauge
from exporters.printed import is_number
from remote.errors import UnexpectedOutput
from remote.script import Query

INFO = gauge(
    "node_info",
    "1 for a machine that answered: its system, kernel release, and the version of ZFS (of Xen on a dom0).",
    "system",
    "release",
    "version",
    source="uname(1), /sys/module/zfs/version, /sys/hypervisor/version",
)
TIME = gauge(
    "node_time_seconds",
    "The machine's clock when it was asked, in whole seconds; compare with timestamp(xvmstore_node_time_seconds).",
    source="date(1)",
)
BOOT = gauge(
    "node_boot_timestamp_seconds",
    "When the machine came up; counters begin again then.",
    source="/proc/stat btime, kstat unix:0:system_misc:boot_time",
)
METRICS: tuple[Metric, ...] = (INFO, TIME, BOOT)

# date knows no %s on Solaris.
_LOOK = """\
uname -s || exit
uname -r || exit
if [ -r /sys/module/zfs/version ]; then cat /sys/module/zfs/version
elif [ -r /sys/hypervisor/version/major ]; then
    echo `cat /sys/hypervisor/version/major`.`cat /sys/hypervisor/version/minor`
else uname -v
fi
date -u '+%Y-%m-%d %H:%M:%S' || exit
if [ -r /proc/stat ]; then sed -n 's/^btime //p' /proc/stat
else kstat -p unix:0:system_misc:boot_time | sed 's/.*[ 	]//'
fi
"""


def machine() -> Collector:
    """On any machine."""
    return Collector("node", (Query(("sh", "-c", _LOOK, "look-at-machine"), str),), _emit)


def _emit(sheet: Sheet, text: str) -> None:
    """Read what the program above prints.

    Linux
    6.1.0-56-amd64
    2.3.2-2~bpo12+2
    2026-11-24 17:32:22
    1795541500
    """
    lines = text.split("\n")
    if len(lines) < 5:
        raise UnexpectedOutput("uname and date", text, "five lines")
    system, release, version, now, boot = lines[:5]
    sheet.put(INFO, 1, system, release, version)
    try:
        sheet.put(TIME, _seconds(now))
    except ValueError:
        sheet.complain(f"date printed {now!a}")
    if is_number(boot):
        sheet.put(BOOT, int(boot))
    else:
        sheet.complain(f"no time of boot: {boot!a}")


def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
