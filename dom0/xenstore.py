"""What xenstore says of guests' virtual block devices (vbds): the question, its reader, and what is waited for. Pure.

Keys and states are those of xen/include/public/io/blkif.h and xenbus.h; xend and libxl write the same ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from remote.errors import UnexpectedOutput
from remote.script import Argv, Capture, Query, Step, Word, joined

BACKENDS = "/local/domain/0/backend/vbd"
STATES = {
    1: "initialising",
    2: "waiting for the guest",
    3: "initialised",
    4: "connected",
    5: "closing",
    6: "closed",
}
CONNECTED = 4


@dataclass(frozen=True, slots=True)
class Vbd:
    """A guest's disk as its backend in dom0 knows it.

    domid    the guest; ``devid`` numbers its disks (51712 is xvda)
    vdev     the name in the guest; "" where the toolstack does not say
    params   what the disk line's target says: a volume's id, or a device
    state    see STATES; 0 while there is none yet
    sectors  the size in units of 512 bytes that the guest was told; None before it is connected
    error    what the hotplug script complained of
    """

    domid: int
    devid: int
    vdev: str
    params: str
    state: int
    mode: str
    sectors: int | None = None
    physical: str = ""
    error: str = ""

    @property
    def connected(self) -> bool:
        """The guest uses it."""
        return self.state == CONNECTED


def vbds() -> Query[tuple[Vbd, ...]]:
    """Every vbd that dom0 serves."""
    return Query(("sh", "-c", _VBDS_HERE, "list-vbds", BACKENDS), parse, absent=("No such file or directory",))


_LINE = re.compile(rf'{BACKENDS}(?:/(\d+))?(?:/(\d+))?(?:/([^ ]+))? = "(.*)"(?:   \(.*\))?\Z')


def parse(text: str) -> tuple[Vbd, ...]:
    """Read ``xenstore-ls -f /local/domain/0/backend/vbd``.

    /local/domain/0/backend/vbd/1/51712/params = "6001405e1f91045281ab651baefdd6d6"
    /local/domain/0/backend/vbd/1/51712/state = "4"
    """
    found: dict[tuple[int, int], dict[str, str]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            raise UnexpectedOutput("xenstore-ls", line, f'{BACKENDS}/DOMAIN/DEVICE/KEY = "VALUE"')
        domid, devid, key, value = match.groups()
        if devid is not None:
            keys = found.setdefault((int(domid), int(devid)), {})
            if key is not None:
                keys[key] = value
    return tuple(_vbd(domid, devid, keys) for (domid, devid), keys in sorted(found.items()))


def _vbd(domid: int, devid: int, keys: dict[str, str]) -> Vbd:
    return Vbd(
        domid=domid,
        devid=devid,
        vdev=keys.get("dev", ""),
        params=keys.get("params", ""),
        state=_number(keys, "state") or 0,
        mode=keys.get("mode", ""),
        sectors=_number(keys, "sectors"),
        physical=keys.get("physical-device-path", ""),
        error=keys.get("hotplug-error", ""),
    )


def _number(keys: dict[str, str], key: str) -> int | None:
    value = keys.get(key)
    if value is None:
        return None
    if not value.isdecimal():
        raise UnexpectedOutput("xenstore-ls", f'{key} = "{value}"', "a number")
    return int(value)


# xenstore-ls of Xen 3.1 and before knows no -f: it prints a tree, a blank for each level (xsls.c).
# Solaris's awk is nawk.
_LIST = """\
awk=awk; [ -x /usr/bin/nawk ] && awk=nawk
tree='{
    depth = match($0, /[^ ]/) - 1
    line = substr($0, depth + 1)
    at = index(line, " = \\"")
    key[depth] = at ? substr(line, 1, at - 1) : substr(line, 1, length(line) - 1)
    path = base
    for (i = 0; i <= depth; i++) path = path "/" key[i]
    print path (at ? substr(line, at) : " = \\"\\"")
}'
list() {
    $xvm_become xenstore-ls -f "$1" 2>/dev/null && return 0
    $xvm_become xenstore-ls "$1" >/dev/null || return 1
    $xvm_become xenstore-ls "$1" | $awk -v base="$1" "$tree"
}
"""
_VBDS_HERE = f'{_LIST}list "$1"\n'

# What reads a line of it: p is its path in parts, n how many, value the value.
_ROWS = (
    _LIST
    + """\
row='{ n = split($1, p, "/"); value = $0; sub(/^[^ ]* = "/, "", value); sub(/"[^"]*$/, "", value) }'
"""
)

# Prints "DEVID STATE DEV SECTORS HOTPLUG-STATUS TARGET" for each vbd of domain $1 whose target is a word of $2, or
# whose name in the guest is $3. xend leaves /dev/ out of a device's name.
_VBDS = (
    _ROWS
    + """\
vbds() {
    [ -n "$1" ] || return 0
    list /local/domain/0/backend/vbd/$1 2>/dev/null | $awk "$row"'
        BEGIN {
            count = split("'"$2"'", targets, " "); called = "'"$3"'"
            for (i = 1; i <= count; i++) { sub(/^\\/dev\\//, "", targets[i]); mine[targets[i]] = 1 }
        }
        n == 9 { key[p[8], p[9]] = value; seen[p[8]] = 1 }
        END {
            for (d in seen) {
                target = key[d, "params"]; sub(/^\\/dev\\//, "", target)
                dev = key[d, "dev"] == "" ? "-" : key[d, "dev"]
                status = key[d, "hotplug-status"] == "" ? "-" : key[d, "hotplug-status"]
                if (target in mine || (called != "" && dev == called))
                    print d, key[d, "state"] + 0, dev, key[d, "sectors"] + 0, status, target
            }
        }'
}
"""
)


def _listed(targets: Sequence[Word]) -> Word:
    """All names as one word; one that only dom0 knows may stand last."""
    *before, last = targets or ("",)
    return joined("".join(f"{target} " for target in before), last)


_CONNECTED = (
    _VBDS
    + """\
i=0
while :; do
    set -- "$1" "$2" "$3" `vbds "$1" "$2" ""`
    [ "$5" = 4 ] && { echo "$4 $6"; exit 0; }
    i=`expr $i + 1`
    [ $i -gt "$3" ] && break
    sleep 1
done
echo "state ${5:-none}"
exit 1
"""
)


def connected(domid: Word, targets: Sequence[Word], *, seconds: int) -> Argv:
    """Waits until the guest's side is connected; prints ``DEVID VDEV``, or the state it stopped at and exits 1."""
    return ("sh", "-c", _CONNECTED, "vbd-connected", domid, _listed(targets), str(seconds))


_GONE = (
    _VBDS
    + """\
i=0
while :; do
    said=`vbds "$1" "$2" ""`
    [ -z "$said" ] && exit 0
    i=`expr $i + 1`
    [ $i -gt "$3" ] && break
    sleep 1
done
set -- $said
echo "state $2"
exit 1
"""
)


def gone(domid: Word, targets: Sequence[Word], *, seconds: int) -> Argv:
    """Waits until the guest has no such vbd any more; else prints its state and exits 1."""
    return ("sh", "-c", _GONE, "vbd-gone", domid, _listed(targets), str(seconds))


_NAME_FREE = (
    _VBDS
    + """\
want=`echo " $2 " | sed 's| /dev/| |g'`
vbds "$1" "$2" "$3" | {
    while read devid state vdev sectors status target; do
        case $want in *" $target "*) ;; *) echo "$vdev is $target"; exit 1 ;; esac
    done
}
"""
)


def name_free(domid: Word, targets: Sequence[Word], vdev: str) -> Step:
    """Checks that the guest has no other disk under this name."""
    return Step(("sh", "-c", _NAME_FREE, "vdev-free", domid, _listed(targets), vdev))


# A hotplug script that failed said so; one that was killed said nothing, and none takes this long.
_SETTLED = (
    _VBDS
    + """\
i=0
while :; do
    set -- "$1" "$2" `vbds "$1" "$2" ""`
    [ -n "$3" ] || exit 0
    case $7 in connected) exit 0 ;; error|busy) break ;; esac
    i=`expr $i + 1`
    [ $i -gt 45 ] && break
    sleep 1
done
echo "$3"
"""
)


def dead(domid: Word, targets: Sequence[Word]) -> Step:
    """Captures ``dead``: a vbd for this target whose hotplug script has failed, or was killed; else it is empty."""
    return Step(
        ("sh", "-c", _SETTLED, "dead-vbd", domid, _listed(targets)), captures=(Capture("dead", "p", required=False),)
    )


def detach(command: str, domid: Word, targets: Sequence[Word]) -> Argv:
    """Runs a toolstack's line of shell for the domain's vbd with this target, if it has one."""
    program = (
        f"{_VBDS}detach() {{ {command}; }}\n"
        + """\
set -- "$1" "$2" `vbds "$1" "$2" ""`
[ -z "$3" ] || detach "$1" "$3" "$5"
"""
    )
    return ("sh", "-c", program, "detach-vbd", domid, _listed(targets))


_ATTACHED = (
    _VBDS
    + """\
set -- "$1" "$2" `vbds "$1" "$2" ""`
[ -n "$3" ]
"""
)


def attached(domid: Word, targets: Sequence[Word]) -> Argv:
    """Exits 0 if the domain has a vbd with this target."""
    return ("sh", "-c", _ATTACHED, "vbd-attached", domid, _listed(targets))


# Both counters are the backend's own (xen-blkback); where they are not there, nothing is known.
_QUIET = (
    _VBDS
    + """\
set -- "$1" "$2" "$3" `vbds "$1" "$2" ""`
[ -n "$4" ] || exit 0
count() { cat /sys/bus/xen-backend/devices/vbd-$1-$2/statistics/[rw]?_req 2>/dev/null; }
before=`count "$1" "$4"`
sleep "$3"
[ "$before" = "`count "$1" "$4"`" ] || { echo busy; exit 1; }
"""
)


def quiet(domid: Word, targets: Sequence[Word], *, seconds: int) -> Step:
    """Checks that the guest neither reads nor writes its disk for some seconds."""
    return Step(("sh", "-c", _QUIET, "vbd-quiet", domid, _listed(targets), str(seconds)))


# The guest's first disk, CDs left out, is the one it will have started from.
_ROOT = (
    _ROWS
    + """\
[ -n "$1" ] || exit 0
list /local/domain/0/backend/vbd/$1 2>/dev/null | $awk "$row"'
    n == 9 && p[9] == "params" { target[p[8]] = value }
    n == 9 && p[9] == "device-type" && value == "cdrom" { cdrom[p[8]] = 1 }
    END {
        for (d in target) if (!(d in cdrom) && (first == "" || d + 0 < first + 0)) first = d
        if (first != "") print target[first]
    }' | sed 's|^/dev/||' | {
    while read target; do
        case " `echo "$2" | sed 's|/dev/||g'` " in *" $target "*) echo "it started from $target" ;; esac
    done
}
"""
)
_IS_ROOT = "it started from"


def not_root(domid: Word, targets: Sequence[Word]) -> Step:
    """Checks that the guest has not started from this disk."""
    return Step(("sh", "-c", _ROOT, "root-vbd", domid, _listed(targets)), refuse=(_IS_ROOT,))


_PUBLISHED = (
    _VBDS
    + """\
i=0
while :; do
    set -- "$1" "$2" "$3" "$4" `vbds "$1" "$2" ""`
    [ -n "$5" ] || { echo none; exit 0; }
    [ "$8" = "$3" ] && [ "$6" = 4 ] && { echo published; exit 0; }
    i=`expr $i + 1`
    [ $i -gt "$4" ] && break
    sleep 1
done
echo "sectors $8"
"""
)


def published(domid: Word, targets: Sequence[Word], *, sectors: int, seconds: int) -> Argv:
    """Waits until the backend tells the guest so many sectors: prints ``published``, ``none``, or what it tells."""
    return ("sh", "-c", _PUBLISHED, "vbd-published", domid, _listed(targets), str(sectors), str(seconds))
