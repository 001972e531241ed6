"""Holds a guest still while its disks are snapshotted: its file systems from inside, or the domain from dom0. Pure.

Two trips: one holds, the other lets go and says whether all was held until then. Between them the guest's users wait,
and whoever holds it may die; so before anything is held a dead-man is started, which lets go by itself:

- it is a process in a session of its own, so it outlives the connection and the shell that started it;
- what is held is written down before it is held, in a directory in /run that only root can read;
- it goes on until nobody holds anything more: who is late in holding finds the mark that it leaves, and lets go too;
- SIGTERM, which a system that shuts down sends, makes it let go at once.

What is let go is never taken for consistent: ``in-time`` is only said if every single thing was still held.

A script's own files are in TMPDIR, and nothing can be written to what is frozen: on the guest it must be on a tmpfs,
such as /dev/shm, in both trips. ``freeze`` refuses to be run from what it would freeze.

Sources: ioctl_fsfreeze in Linux's fs/ioctl.c, fs/super.c (EBUSY: frozen already; EINVAL: not frozen; EOPNOTSUPP: cannot
be), fsfreeze(8), xl(1), virsh(1).
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from dom0.toolstack import LIBVIRT, LIBVIRT_ON_SOLARIS, XL, XM, XM_ON_SOLARIS
from remote.errors import InvalidValue, UnexpectedOutput
from remote.script import ROOT_SHELL, Argv, Step
from storage.names import word

IN_TIME, LATE = "in-time", "late"
# Longer than this nobody's users wait, and the dead-man would be none.
_LONGEST = 3600

# $1 is the directory, $2 after how many seconds the dead-man lets go. What it has in it:
#   list      what is held, one a line, without blanks; written before it is held
#   freezing  the processes that may still hold something more; gone when they are done
#   held      all is held      fired  the dead-man has begun, or thaw while something was still being held
#   said      how it ended; then the dead-man ends too
#
# let_go ONE, of the two programs below: 0 done, 2 it was not held any more, else $said is why not.
# Whoever holds notes his process and then looks for "fired"; whoever fires notes that and then looks for processes:
# so one of them sees the other.
_HEAD = """\
R=${XVMSTORE_ROOT-}
D=$R$1
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin; export PATH
umask 077
set -f
busy() {
    [ -f "$D/freezing" ] || return 1
    for pid in `cat "$D/freezing" 2>/dev/null`; do
        kill -0 $pid 2>/dev/null && return 0
    done
    return 1
}
let_all_go() {
    lost= stuck=
    for one in `sed -n '1!G;h;$p' "$D/list" 2>/dev/null`; do
        let_go "$one"
        case $? in 0) ;; 2) lost=1 ;; *) stuck="$stuck$one: $said; " ;; esac
    done
}
until_all_gone() {
    tries=0
    while :; do
        again=; busy && again=1
        let_all_go
        [ -z "$again$stuck" ] && return 0
        tries=`expr $tries + 1`
        [ $tries -eq "$1" ] && return 1
        sleep 1
    done
}
ended() { echo $1 >"$D/said.new.$$" && mv "$D/said.new.$$" "$D/said"; }
"""

# It counts its own seconds: the clock may be set. In an hour that is a few seconds too many.
_DEAD_MAN = """\
now=
trap '' 1 2 13
trap 'now=1' 15
cd /
i=0
echo >"$D/armed"
over() { [ -f "$D/said" ] || [ ! -d "$D" ]; }
while [ -z "$now" ] && [ $i -lt "$2" ]; do
    over && exit 0
    sleep 1
    i=`expr $i + 1`
done
over && exit 0
echo >"$D/fired"
until_all_gone -1
ended late
"""

# ${...-} since a Solaris has no setsid: there HUP, which the dead-man ignores, is all that a connection's end can send.
_HOLD = """\
die() {
    printf '%s\\n' "$*" >&2
    exit 1
}
nap() { sleep 0.2 2>/dev/null || sleep 1; }
prepare() {
    for old in `set +f; ls -d "$R$1"-*/said 2>/dev/null`; do
        old=`dirname "$old"`
        rm -rf "$old"
    done
    mkdir "$D" || die "$D: is this token in use, or is the login not root's?"
    echo $$ >"$D/freezing" && : >"$D/list" || die "$D: nothing can be written there, so nothing was held"
}
arm() {
    own=; type setsid >/dev/null 2>&1 && own=setsid
    $own sh -c "$dead_man" xvmstore-dead-man "$1" "$2" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    tries=0
    until [ -f "$D/armed" ]; do
        tries=`expr $tries + 1`
        [ $tries -gt 50 ] && give_up "the dead-man that is to let go after $2 seconds does not start"
        nap
    done
}
noted='echo $$ >>"$1/freezing" && [ ! -f "$1/fired" ] || exit 1; shift; exec "$@"'
hold() {
    said="it cannot be noted in $D"
    printf '%s\\n' "$1" >>"$D/list" || return 1
    shift
    said=`sh -c "$noted" hold "$D" "$@" 2>&1`
}
give_up() {
    [ -f "$D/fired" ] && set -- "not all was held within $seconds seconds, so all was let go: nothing is held"
    let_all_go
    rm -f "$D/freezing"
    [ -n "$stuck" ] || { ended late; die "$*"; }
    die "$*; and the dead-man will try again, since not all could be let go: $stuck"
}
all_held() {
    echo >"$D/held"
    [ ! -f "$D/fired" ] || give_up
    rm -f "$D/freezing"
}
"""

# What fired and what is being held is looked at first and last, so that nothing in between is taken for in time.
_LET_GO = """\
[ -d "$D" ] || { echo late; exit 0; }
[ -f "$D/said" ] && { cat "$D/said"; exit 0; }
busy && echo >"$D/fired"
how=late
let_all_go
[ -f "$D/held" ] && [ ! -f "$D/fired" ] && [ -z "$lost$stuck" ] && how=in-time
if busy || [ -n "$stuck" ]; then
    until_all_gone 3 || {
        printf '%s\\n' "not all could be let go, and the dead-man will try again: ${stuck:-it is still being held}" >&2
        exit 1
    }
fi
ended $how
cat "$D/said"
"""

# Mount points are kept as /proc/mounts writes them: \040 for a blank. Linux only, so a POSIX shell. Of fsfreeze's
# options busybox knows the long ones only.
_GUEST = """\
mount_point() { at=$(printf '%b.' "$(printf '%s' "$1" | sed 's/\\\\\\([0-7][0-7][0-7]\\)/\\\\0\\1/g')"); at=${at%.}; }
let_go() {
    mount_point "$1"
    said=$(fsfreeze --unfreeze "$at" 2>&1) && return 0
    case $said in *'nvalid argument'*) return 2 ;; esac
    return 1
}
"""

# A loop device first, for its file is on another file system; then the deepest, and of those what was mounted last.
# CIFS's //server is no device, and /dev/fuse is none with a disk.
_FREEZE = """\
seconds=$2
mounts=$(awk '
    $1 !~ "^/dev/" || $3 ~ "^fuse([.]|$)" || "," $4 "," !~ ",rw," || seen[$1]++ { next }
    { depth = $2 == "/" ? 1 : split($2, parts, "/"); print ($1 ~ "^/dev/loop"), depth, NR, $2 }
' "$R/proc/mounts" | sort -k1,1nr -k2,2nr -k3,3nr | sed 's/.* //')
on_disk() {
    at=$(printf '%s' "$1" | sed 's/\\\\/\\\\134/g; s/ /\\\\040/g') awk '
        { point = $2 == "/" ? "" : $2 }
        index(ENVIRON["at"] "/", point "/") == 1 && length(point) >= best { best = length(point); device = $1 }
        END { exit device !~ "^/dev/" }
    ' "$R/proc/mounts"
}
type fsfreeze >/dev/null 2>&1 || die "there is no fsfreeze here: install util-linux"
[ -n "$mounts" ] || die "no file system on a disk is mounted read-write here"
on_disk "$R/run" && die "/run is on a disk here, and what is frozen cannot keep its own records: it must be a tmpfs"
# Not 1 itself: in $(...), ksh93 points that of this very process elsewhere.
exec 3>&1
out=$(readlink /proc/$$/fd/3)
exec 3>&-
case $out in
/*) on_disk "$out" && die "${out%/*} is on a disk that would be frozen, this script with it: set TMPDIR=/dev/shm" ;;
esac
prepare /run/xvmstore-freeze
arm "$1" "$seconds"
sync
for point in $mounts; do
    mount_point "$point"
    if hold "$point" fsfreeze --freeze "$at"; then
        printf '%s\\n' "frozen $point"
        continue
    fi
    # If it is frozen, it is so by somebody else, who is to thaw it.
    sed '$d' "$D/list" >"$D/list.new" && mv "$D/list.new" "$D/list"
    case $said in *'ot supported'*) ;; *) give_up "$point cannot be frozen: $said" ;; esac
    printf '%s\\n' "not-frozen $point"
done
all_held
"""


@dataclass(frozen=True, slots=True)
class Pausing:
    """How a toolstack pauses a domain.

    domid    prints the number of the domain whose name follows; fails, or prints "-", when it does not run
    state    prints how the domain is, whose number follows; ``paused`` is a basic regular expression for "paused" in it
    pause    stops the domain whose number follows; ``unpause`` lets it go on
    """

    domid: Argv
    state: Argv
    paused: str
    pause: Argv
    unpause: Argv


# One of the letters before the last column: r, b, p, s, c, d.
_LETTERS = r" [-rbpscd]*p[-rbpscd]* \{1,\}[0-9.]\{1,\} *$"
_XM = Pausing(XM.domid_words, ("xm", "list"), _LETTERS, ("xm", "pause"), ("xm", "unpause"))
_LIBVIRT = Pausing(LIBVIRT.domid_words, ("virsh", "domstate"), "^paused$", ("virsh", "suspend"), ("virsh", "resume"))
# By the format of the toolstack's disk lines.
PAUSINGS: Mapping[str, Pausing] = {
    XL.format: Pausing(XL.domid_words, ("xl", "list"), _LETTERS, ("xl", "pause"), ("xl", "unpause")),
    XM.format: _XM,
    XM_ON_SOLARIS.format: _XM,
    LIBVIRT.format: _LIBVIRT,
    LIBVIRT_ON_SOLARIS.format: _LIBVIRT,
}

# @...@ are the toolstack's words. A domain that is gone has no state, so it is not paused.
_DOM0 = """\
paused() {
    state=`@state@ "$1" 2>/dev/null | sed -n '/@paused@/p'`
    [ -n "$state" ]
}
let_go() {
    paused "$1" || return 2
    said=`@unpause@ "$1" 2>&1`
}
"""

_PAUSE = """\
seconds=$2
said=`@domid@ "$3" 2>&1`
domid=`echo "$said" | sed -n '/^[0-9]\\{1,\\}$/p'`
[ -n "$domid" ] || die "$3 does not run here: $said"
[ "$domid" -gt 0 ] || die "$3 is dom0 itself: it cannot be paused"
paused "$domid" && die "$3 is paused already, and not by us: unpause it first, so that its disks are at rest in time"
prepare /var/run/xvmstore-pause
arm "$1" "$seconds"
hold "$domid" @pause@ "$domid" || give_up "$3 cannot be paused: $said"
paused "$domid" || give_up "$3 is not paused after all"
all_held
"""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Mount points as /proc/mounts writes them (a blank is \\040); ``passed_over`` are those that never can be."""

    points: tuple[str, ...]
    passed_over: tuple[str, ...]


def freeze(token: str, *, seconds: int) -> Step:
    """Freezes the guest's file systems on disks; run on the guest. ``parse_frozen`` reads what it prints.

    Fails, with nothing frozen, if one of them cannot be frozen now or not all are within ``seconds``, after which the
    dead-man thaws all. ``token`` names this freeze, and must be a new one. Raises InvalidValue. ZFS is none of them: a
    sync, which is done, brings all of it to the disk.
    """
    program = _program(_GUEST, _FREEZE)
    argv = (ROOT_SHELL, "-c", program, "freeze-guest", *_words(_at_guest(token), seconds))
    return Step(argv, undo=thaw(token).argv, lies=True)


def thaw(token: str) -> Step:
    """Thaws all in reverse order, and says whether it was frozen until now; ``parse_let_go`` reads it.

    Can be run again, and says the same again. Says late where there never was such a freeze.
    """
    return Step((ROOT_SHELL, "-c", _HEAD + _GUEST + _LET_GO, "thaw-guest", _at_guest(token)))


def pause(token: str, guest: str, *, seconds: int, by: Pausing) -> Step:
    """Pauses a running guest; run on its dom0. The dead-man unpauses it after ``seconds``.

    Fails, and leaves it as it is, if it does not run or is paused already. It flushes nothing: what it gives is one
    instant for several nodes. Raises InvalidValue.
    """
    program = _program(_spoken(_DOM0, by), _spoken(_PAUSE, by))
    argv = (ROOT_SHELL, "-c", program, "pause-guest", *_words(_at_dom0(token), seconds), word(guest, "guest name"))
    return Step(argv, undo=unpause(token, by=by).argv, lies=True)


def unpause(token: str, *, by: Pausing) -> Step:
    """Lets a paused guest go on, and says whether it was paused until now: see ``thaw``."""
    return Step((ROOT_SHELL, "-c", _HEAD + _spoken(_DOM0, by) + _LET_GO, "unpause-guest", _at_dom0(token)))


def parse_let_go(text: str) -> bool:
    """Read what thaw and unpause print: whether all was held until then.

    in-time
    """
    if text.strip() not in {IN_TIME, LATE}:
        raise UnexpectedOutput("thaw", text.strip(), f"{IN_TIME} or {LATE}")
    return text.strip() == IN_TIME


def parse_frozen(text: str) -> Frozen:
    """Read what freeze prints.

    not-frozen /boot/efi
    frozen /
    """
    found: dict[str, list[str]] = {"frozen": [], "not-frozen": []}
    for line in text.splitlines():
        how, _, point = line.partition(" ")
        if how not in found or not point:
            raise UnexpectedOutput("freeze", line, "frozen or not-frozen, and a mount point")
        found[how].append(point)
    return Frozen(tuple(found["frozen"]), tuple(found["not-frozen"]))


def _program(own: str, hold: str) -> str:
    """The dead-man is a program in the program, so that nothing has to be read from a disk for it."""
    return f"{_HEAD}{own}dead_man={shlex.quote(_HEAD + own + _DEAD_MAN)}\n{_HOLD}{hold}"


def _spoken(text: str, by: Pausing) -> str:
    words = {name: " ".join(shlex.quote(str(one)) for one in getattr(by, name)) for name in _VERBS}
    for name, value in {**words, "paused": by.paused}.items():
        text = text.replace(f"@{name}@", value)
    return text


_VERBS = ("domid", "state", "pause", "unpause")


def _at_guest(token: str) -> str:
    return "/run/xvmstore-freeze-" + word(token, "token")


def _at_dom0(token: str) -> str:
    return "/var/run/xvmstore-pause-" + word(token, "token")


def _words(directory: str, seconds: int) -> tuple[str, str]:
    if not 1 <= seconds <= _LONGEST:
        raise InvalidValue(f"a guest cannot be held for {seconds} seconds: give 1 to {_LONGEST}")
    return directory, str(seconds)
