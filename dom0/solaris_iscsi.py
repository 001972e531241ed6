"""Solaris's own initiator, as an xVM dom0 has it: static targets, and what iscsiadm tells of them. Pure.

How iscsiadm ends was read in illumos (iscsiadm_main.c): of what is not there ``list target`` and ``remove`` say so and
exit 0, and with the service off everything ends with "no initiator found". A LUN is listed once it has a device.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dom0.block_script import Login, Shown
from dom0.disk import Disk, told_device
from remote.errors import UnexpectedOutput
from remote.script import Capture, Query, Secret, Step

OFF = "no initiator found"
# So long a login may take, and the initiator may take to let go.
SECONDS = 30

# luns prints "LUN DEVICE" for what look has seen of a target: the block device of the whole disk, or -. It is named
# after the LU's GUID, or, where scsi_vhci is off, after controller and target: /dev/rdsk/c3t1d0s2.
_LOOK = """\
awk=awk; [ -x /usr/bin/nawk ] && awk=nawk
look() { said=`$xvm_become iscsiadm list target -S "$1"`; }
luns() {
    $awk '
        /^[ \t]*LUN: / { lun = $2 }
        /^[ \t]*OS Device Name: / {
            sub(/^[ \t]*OS Device Name: */, "")
            device = "-"
            if ($0 ~ /^\\/dev\\/rdsk\\/c[0-9]+t[0-9A-Za-z]+d[0-9]+([sp][0-9]+)?$/) {
                device = $0
                sub(/^\\/dev\\/rdsk/, "/dev/dsk", device)
                sub(/[sp][0-9]+$/, "", device)
                device = device "p0"
            }
            print lun, device
        }' <<end-of-targets
$said
end-of-targets
}
# at LUN: its device, where there is one. It is no variable's name: to Solaris's sh one of that name ends the function.
at() { luns | sed -n "s|^$1 /|/|p" | sed q; }
"""

_FIND = _LOOK + 'look "$1" || exit\nat "$2"\n'

# other says which LU a device is, where its name tells that it is not the one that is wanted.
_JUDGE = (
    _LOOK
    + """\
target=$1 lun=$2
guid=`echo "$3" | tr '[a-f]' '[A-F]'`
why() {
    case $said in
    *': not found'*) echo "the initiator does not know $target" ;;
    *'Connections: '[1-9]*)
        if luns | grep "^$lun -" >/dev/null; then
            echo "LUN $lun of $target has no device: devfsadm -i iscsi"
        else
            echo "LUN $lun of $target is not there: is it exported to this host?"
        fi
        ;;
    *) echo "not logged in to $target: it is down, does not let this initiator in, or its CHAP account differs" ;;
    esac
}
other() {
    found=`echo "$1" | sed -n 's/.*t\\([0-9A-Fa-f]\\{16,\\}\\)d[0-9]*p0$/\\1/p' | tr '[a-f]' '[A-F]'`
    [ -n "$guid" ] && [ -n "$found" ] && [ "$found" != "$guid" ] && echo "LUN $lun of $target is $found, not $guid"
}
"""
)

# The link is made a moment after the login; devfsadm makes it at once.
_WAIT = (
    _JUDGE
    + """\
seconds=$4
i=0
while :; do
    look "$target" || exit
    device=`at "$lun"`
    [ -n "$device" ] && break
    i=`expr $i + 1`
    [ $i -gt "$seconds" ] && { echo "after $seconds s: `why`" >&2; exit 1; }
    $xvm_become devfsadm -i iscsi >/dev/null 2>&1
    sleep 1
done
wrong=`other "$device"` && { echo "$wrong: nothing was attached" >&2; exit 1; }
echo "$device"
"""
)

# iostat -E tells a disk's size without opening it, sd's own figure: "Size: 1.07GB <1073741824 bytes>" below the line
# with its name and soft errors (illumos iostat.c, show_disk_errors). sd has 0 there until it knows.
_MEASURE = (
    _JUDGE
    + """\
look "$target" || exit
device=`at "$lun"`
[ -n "$device" ] || { why >&2; exit 1; }
other "$device" >&2 && exit 1
disk=`echo "$device" | sed -e 's|.*/||' -e 's|p0$||'`
size=`iostat -En | $awk -v disk="$disk" '
    $2 == "Soft" { mine = ($1 == disk) }
    mine && $1 == "Size:" && match($0, /<[1-9][0-9]* bytes>/) { print substr($0, RSTART + 1, RLENGTH - 8) }'`
echo "$device ${size:--}"
"""
)

# A static target may have been given with its portal group's tag, which is listed then. ksh93 runs the last part of a
# pipeline itself: without a subshell its `exit` would end the program.
_KNOWN = """\
known() {
    $xvm_become iscsiadm list static-config | sed -n 's/^Static Configuration Target: //p' | (
        while read config; do
            case $config in "$1" | "$1",*) exit 0 ;; esac
        done
        exit 1
    )
}
"""
_IS_KNOWN = f'{_KNOWN}known "$1"\n'
_ENABLED = "$xvm_become iscsiadm list discovery | grep 'Static: enabled' >/dev/null"

# A login is for all LUNs of a target: it goes when no others than those named ($3) are there.
_LOG_OUT = (
    _LOOK
    + _KNOWN
    + """\
$xvm_become iscsiadm list discovery >/dev/null || exit
known "$1" || exit 0
look "$2" || exit
for lun in `luns | sed 's/ .*//'`; do
    case " $3 " in *" $lun "*) ;; *) exit 0 ;; esac
done
$xvm_become iscsiadm remove static-config "$1"
"""
)


class SolarisIscsi:
    """xVM's dom0. The CHAP name and secret are the admin's to set, once: ``iscsiadm`` wants the secret typed.

    xdb reads a disk's size when a guest connects (illumos xdb.c), so none grows under it.
    """

    grows = False
    by_block_script = False

    def ready(self) -> tuple[Step, ...]:
        """No discovery but what we add: each target by its name."""
        enable = ("iscsiadm", "modify", "discovery", "--static", "enable")
        return (Step(enable, silent=True, unless=("sh", "-c", _ENABLED, "static-discovery")),)

    def find(self, disk: Disk) -> tuple[Step, ...]:
        """The device, as it is called here; empty where it is not logged in to."""
        argv = ("sh", "-c", _FIND, "find-device", disk.target, str(disk.lun))
        return (Step(argv, captures=(Capture(told_device(disk).name, "p", required=False),)),)

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:  # noqa: ARG002  the protocol's
        """Nothing to tell before a login."""
        return ()

    def forget(self, guest: str, *, keep: Sequence[Disk] = (), node: str = "") -> tuple[Step, ...]:  # noqa: ARG002
        """Nothing is kept."""
        return ()

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """A static target; the initiator logs in by itself, and again after a boot. The device as it is called here."""
        config = _config(disk)
        add = Step(
            ("iscsiadm", "add", "static-config", config),
            undo=("iscsiadm", "remove", "static-config", config),
            unless=("sh", "-c", _IS_KNOWN, "known-target", config),
        )
        wait = ("sh", "-c", _WAIT, "wait-for-lu", disk.target, str(disk.lun), disk.guid or "", str(SECONDS))
        return (add, Step(wait, captures=(Capture(told_device(disk).name, "p"),)))

    def logout(self, disk: Disk, *others: Disk) -> tuple[Step, ...]:
        """Refused by the initiator itself while an LU is open; xdb closes one some moments after the guest let go."""
        luns: dict[str, tuple[str, list[str]]] = {}
        for one in (disk, *others):
            luns.setdefault(_config(one), (one.target, []))[1].append(str(one.lun))
        return tuple(
            Step(("sh", "-c", _LOG_OUT, "log-out", config, target, " ".join(mine)), retry=("in use",))
            for config, (target, mine) in luns.items()
        )

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:  # noqa: ARG002
        """At the next login."""
        return ()

    def sweep(self, disk: Disk) -> tuple[Step, ...]:  # noqa: ARG002
        """The initiator keeps no count."""
        return ()

    def measure(self, disk: Disk) -> Query[int | None]:
        """Of what is logged in to: a login is kept, and so none is made to look. None where iostat does not tell."""
        return Query(("sh", "-c", _MEASURE, "measure-lu", disk.target, str(disk.lun), disk.guid or ""), measured)

    def look(self) -> Query[Shown]:
        """Every target, whether it is logged in to, and its devices."""
        return Query(("iscsiadm", "list", "target", "-S"), shown, absent=(OFF,))


def measured(text: str) -> int | None:
    """Read a device and its size in bytes, as the program above prints them.

    /dev/dsk/c0t600144F00C2A6D0000006A27E7400001d0p0 1073741824
    /dev/dsk/c3t1d0p0 -
    """
    size = text.strip().rpartition(" ")[2]
    if size != "-" and not size.isdecimal():
        raise UnexpectedOutput("measure-lu", text.strip(), "a device and its size in bytes, or -")
    return None if size == "-" else int(size)


def _config(disk: Disk) -> str:
    """A static target as iscsiadm takes and lists it: IPv6 in its shortest form."""
    address, _, port = disk.portal.rpartition(":")
    try:
        found = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return f"{disk.target},{disk.portal}"
    return f"{disk.target},[{found}]:{port}" if found.version == 6 else f"{disk.target},{found}:{port}"


# -- what iscsiadm prints ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """A LUN of a target. ``device`` is as listed; None while it has none."""

    lun: int
    device: str | None

    @property
    def disk(self) -> str | None:
        """The block device of the whole disk; None where there is none, or it is no disk."""
        match = re.fullmatch(r"/dev/rdsk/(c\d+t[0-9A-Za-z]+d\d+)(?:[sp]\d+)?", self.device or "")
        return f"/dev/dsk/{match[1]}p0" if match else None


@dataclass(frozen=True, slots=True)
class Target:
    """A session with a target, or what is left of one: ``connections`` is 0 then. A target may have several."""

    name: str
    connections: int
    units: tuple[Unit, ...] = ()


_OF_TARGET = frozenset({"Target", "Alias", "TPGT", "ISID", "Connections"})
_OF_UNIT = frozenset({"LUN", "Vendor", "Product", "OS Device Name"})


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read ``iscsiadm list target -S``; a target that was asked for and is not found is none.

    Target: iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11
        Connections: 1
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("Target: "):
            blocks.append([line])
        elif line.strip() and not (line[0].isalnum() and line.endswith(": not found")):
            if not blocks or line[0] not in "\t ":
                raise UnexpectedOutput("iscsiadm list target", line, "Target: NAME")
            blocks[-1].append(line)
    return tuple(_target(block) for block in blocks)


def _target(lines: list[str]) -> Target:
    starts = [index for index, line in enumerate(lines) if line.strip().startswith("LUN: ")]
    head = _fields(lines[: starts[0] if starts else None], _OF_TARGET)
    units = [_fields(lines[start:end], _OF_UNIT) for start, end in pairwise([*starts, len(lines)])]
    # It has no tag where the tag is not known.
    _number({"TPGT": "0"} | head, "TPGT")
    return Target(head["Target"], _number(head, "Connections"), tuple(map(_unit, units)))


def _unit(fields: dict[str, str]) -> Unit:
    device = fields.get("OS Device Name", "")
    if device != "Not Available" and not device.startswith("/dev/"):
        raise UnexpectedOutput("iscsiadm list target", device, "a device, or Not Available")
    known = None if device == "Not Available" else device
    return Unit(_number(fields, "LUN"), known)


def _fields(lines: Iterable[str], labels: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        label, colon, value = line.strip().partition(":")
        if not colon or label not in labels or label in found:
            raise UnexpectedOutput("iscsiadm list target", line, f"one of {', '.join(sorted(labels))}")
        found[label] = value.strip()
    return found


def _number(fields: dict[str, str], label: str) -> int:
    value = fields.get(label, "")
    if not value.isdecimal():
        raise UnexpectedOutput("iscsiadm list target", f"{label}: {value}", "a number")
    return int(value)


def shown(text: str) -> Shown:
    """Read ``iscsiadm list target -S`` as every initiator shows it; a target with connections is logged in to.

    Target: iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11
        Connections: 1
    """
    found = parse_targets(text)
    logins = tuple(Login(one.name, "LOGGED_IN" if one.connections else "FREE", "") for one in found)
    return Shown((), logins, {(one.name, unit.lun): unit.disk for one in found for unit in one.units if unit.disk})


_STATIC = re.compile(r"Static Configuration Target: ([^,\s]+),(\S+:\d+?)(?:,\d+)?\Z")


def parse_static(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``iscsiadm list static-config``: targets and their portals.

    Static Configuration Target: iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11,192.0.2.10:3260
    Static Configuration Target: iqn.1986-03.com.sun:02:a,[2001:db8::10]:3260,1
    """
    matches = [(line, _STATIC.match(line)) for line in text.splitlines()]
    wrong = next((line for line, match in matches if match is None), None)
    if wrong is not None:
        raise UnexpectedOutput("iscsiadm list static-config", wrong, "Static Configuration Target: NAME,PORTAL")
    return tuple((match[1], match[2]) for _, match in matches if match)


def parse_discovery(text: str) -> dict[str, bool]:
    """Read ``iscsiadm list discovery``: which of the three ways are enabled.

    Discovery:
        Static: disabled
    """
    heading, *lines = text.splitlines() or [""]
    found = {}
    for line in lines:
        label, _, value = line.strip().partition(": ")
        if label not in {"Static", "Send Targets", "iSNS"} or value not in {"enabled", "disabled"}:
            raise UnexpectedOutput("iscsiadm list discovery", line, "Static, Send Targets or iSNS, enabled or disabled")
        found[label] = value == "enabled"
    if heading != "Discovery:" or "Static" not in found:
        raise UnexpectedOutput("iscsiadm list discovery", heading, "Discovery: and what is enabled")
    return found
