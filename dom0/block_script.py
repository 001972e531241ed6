"""The hotplug script block-xvmstore as dom0 is told to use it: installing it, its map of volumes, its verbs. Pure.

The script itself is ``files/block-xvmstore`` and explains itself. It is also what logs in and out where no toolstack
calls it, so that there is one piece of code that knows how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources

from dom0.disk import Disk, told_id
from remote.errors import UnexpectedOutput
from remote.script import ROOT_SHELL, Argv, Capture, Captured, Expect, Query, Secret, Step, Word

PATH = "/etc/xen/scripts/block-xvmstore"
MAPS = "/etc/xvmstore/volumes"
# No LU has it: what a map says while nobody knows the LU's WWID.
NO_WWID = "naa.0"
# What a map holds; a script of another format must not be given ours.
FORMAT = "# map format: 1"


def text() -> str:
    """The script."""
    return resources.files("dom0").joinpath("files/block-xvmstore").read_text(encoding="ascii")


def unit() -> str:
    """The systemd unit that has guests wait for their LUNs at boot."""
    return resources.files("dom0").joinpath("files/xvmstore-luns.service").read_text(encoding="ascii")


@dataclass(frozen=True, slots=True)
class Account:
    """What this dom0 logs in with, and what the target must prove itself with (mutual CHAP)."""

    user: str | None = None
    secret: Secret | None = None
    own_user: str | None = None
    own_secret: Secret | None = None


def map_of(
    volume: str, disk: Disk, *, node: str, portals: Sequence[str], account: Account, multipath: bool, login: bool
) -> Secret:
    """What dom0 must know of a volume. A secret as a whole: it may hold one."""
    lines = {
        "volume": volume,
        "node": node,
        "wwid": f"naa.{disk.id}" if disk.id else NO_WWID,
        "target": disk.target,
        "lun": str(disk.lun),
        "portals": " ".join(portals),
        "user": account.user,
        "secret": account.secret.value if account.secret else None,
        "own_user": account.own_user,
        "own_secret": account.own_secret.value if account.own_secret else None,
        "multipath": "yes" if multipath else None,
        "boot": "login" if login else None,
    }
    return Secret("\n".join(f"{key}={value}" for key, value in lines.items() if value is not None))


_PUT = """\
umask 022; mkdir -p /etc/xvmstore || exit
umask 077; mkdir -p "$1" && chmod 700 "$1" && cat "$3" >"$1/.$2.new" && mv "$1/.$2.new" "$1/$2"
"""


def put_map(disk: Disk, content: Secret) -> Step:
    """Tell dom0 what the volume's id stands for; only root can read it. Captures the id that nobody else knows yet."""
    if disk.id is None:
        # A name for as long as it takes.
        name = sha256(f"{disk.target},{disk.lun}".encode()).hexdigest()[:32]
        argv = (ROOT_SHELL, "-c", _LEARN, "put-new-volume-map", MAPS, name, content, disk.target, str(disk.lun), PATH)
        return Step(argv, captures=(_id_of(disk, required=True),))
    return Step((ROOT_SHELL, "-c", _PUT, "put-volume-map", MAPS, disk.id, content))


def _id_of(disk: Disk, *, required: bool) -> Capture:
    told = told_id(disk)
    return Capture(told.name if isinstance(told, Captured) else "id", r"s/^id \([0-9a-f]\{1,\}\)$/\1/p", required)


# known MAPS TARGET LUN: the id of the map that has them, if any.
_KNOWN = """\
known() {
    for map in "$1"/*; do
        case ${map##*/} in *[!0-9a-f]*) continue ;; esac
        grep "^target=$2\\$" "$map" >/dev/null 2>&1 && grep "^lun=$3\\$" "$map" >/dev/null || continue
        echo "${map##*/}"
        return
    done
}
"""

# The script's own check logs in, compares, lets go of everything again, and says which LU it found: not the one named.
_LEARN = (
    _KNOWN
    + """\
umask 022; mkdir -p "${1%/*}" || exit
umask 077; mkdir -p "$1" && chmod 700 "$1" || exit
id=`known "$1" "$4" "$5"`
if [ -z "$id" ]; then
    cat "$3" >"$1/$2" || exit
    said=`"$6" check "$2" 2>&1`
    rm -f "$1/$2"
    id=`echo "$said" | sed -n 's/.* is naa\\.\\([0-9a-f]\\{1,\\}\\), not naa\\.0: .*/\\1/p' | sed q`
    [ -n "$id" ] || { echo "$said" >&2; exit 1; }
fi
sed "s/^wwid=.*/wwid=naa.$id/" "$3" >"$1/.$id.new" && mv "$1/.$id.new" "$1/$id" && echo "id $id"
"""
)


def find(disk: Disk) -> tuple[Step, ...]:
    """Captures the id of a volume whose GUID only this dom0 knows; it is empty where dom0 does not know it either."""
    if disk.id is not None:
        return ()
    program = _KNOWN + 'id=`known "$1" "$2" "$3"`; [ -z "$id" ] || echo "id $id"\n'
    argv = (ROOT_SHELL, "-c", program, "find-volume-map", MAPS, disk.target, str(disk.lun))
    return (Step(argv, captures=(_id_of(disk, required=False),)),)


_FORGET = """\
cd "$1" 2>/dev/null || exit 0
shift
keep=" $2 "
for id in *; do
    case $id in *[!0-9a-f]*) continue ;; esac
    volume=`sed -n 's/^volume=//p' "$id"`
    case $volume in "$1"/*) ;; *) continue ;; esac
    if [ -n "$4" ] && grep '^node=' "$id" >/dev/null && grep -v "^node=$4\\$" "$id" | grep '^node=' >/dev/null; then
        continue
    fi
    at=`sed -n 's/^target=//p' "$id"`,`sed -n 's/^lun=//p' "$id"`
    case $keep in *" $id "*|*" $at "*) continue ;; esac
    if grep -l "^id=$id\\$" /var/run/xvmstore/use_backend_vbd_* >/dev/null 2>&1; then
        echo "$volume is attached to a guest: detach it first" >&2
        exit 1
    fi
    "$3" logout "$id" && rm -f "$id" || exit
done
"""


def forget(guest: str, *, keep: Sequence[Disk] = (), node: str = "") -> Step:
    """Take away the maps of a guest's volumes but those in ``keep``; of one node's only, where one is named."""
    kept = " ".join(disk.id or f"{disk.target},{disk.lun}" for disk in keep)
    return Step((ROOT_SHELL, "-c", _FORGET, "forget-volume-maps", MAPS, guest, kept, PATH, node))


_INSTALL = """\
umask 022
[ -d /etc/xen/scripts ] || { echo "there is no /etc/xen/scripts: is this a Xen dom0?" >&2; exit 1; }
cat "$1" >/etc/xen/scripts/.block-xvmstore.new && chmod 755 /etc/xen/scripts/.block-xvmstore.new &&
    mv /etc/xen/scripts/.block-xvmstore.new /etc/xen/scripts/block-xvmstore || exit
mkdir -p /etc/xvmstore && umask 077 && mkdir -p "$3" && chmod 700 "$3" || exit
[ -d /run/systemd/system ] || exit 0
umask 022
cat "$2" >/etc/systemd/system/xvmstore-luns.service && systemctl daemon-reload &&
    systemctl enable xvmstore-luns.service && systemctl start --no-block xvmstore-luns.service
"""


def install() -> Step:
    """Put the script where Xen looks for it and, where systemd runs, the unit that has guests wait at boot."""
    return Step((ROOT_SHELL, "-c", _INSTALL, "install-block-xvmstore", _file(text()), _file(unit()), MAPS))


def _file(content: str) -> Secret:
    """Not secret, but a whole file: it goes the way secrets do."""
    return Secret(content.removesuffix("\n"))


def installed() -> Step:
    """Checks that the script is there and reads maps such as ours."""
    line = Expect("/^# map format: /p", FORMAT)
    return Step(("sh", "-c", f'[ ! -r {PATH} ] || sed -n "1,9p" {PATH}', "script-installed"), expect=(line,))


def verb(name: str, *words: Word) -> Argv:
    """The script, called by hand."""
    return (PATH, name, *words)


@dataclass(frozen=True, slots=True)
class Use:
    """Somebody's use of a volume on dom0: a vbd's, or ``login`` for one taken by hand or at boot."""

    name: str
    id: str
    device: str


@dataclass(frozen=True, slots=True)
class Login:
    """An iSCSI session of dom0's kernel. ``state`` is sysfs's word: LOGGED_IN, FAILED, FREE."""

    target: str
    state: str
    portal: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What an initiator shows; the script's ``show`` prints uses and logins.

    devices  the block device of each (target, LUN), where the initiator tells it
    """

    uses: tuple[Use, ...] = ()
    logins: tuple[Login, ...] = ()
    devices: Mapping[tuple[str, int], str] = field(default_factory=dict)


def show() -> Query[Shown]:
    """Uses and sessions; nothing where the script is not installed."""
    return Query(verb("show"), parse, absent=("not found", "No such file"))


def parse(said: str) -> Shown:
    """Read ``block-xvmstore show``.

    use	backend_vbd_1_51712	6001405e1f91045281ab651baefdd6d6	/dev/sda
    session	iqn.2026-11.org.xvmstore:w1.root.651baefdd6d6	LOGGED_IN	10.77.0.1	3260
    """
    uses, logins = [], []
    for line in said.splitlines():
        match line.split("\t"):
            case ["use", name, volume, device]:
                uses.append(Use(name, volume, device))
            case ["session", target, state, address, port]:
                logins.append(Login(target, state, f"[{address}]:{port}" if ":" in address else f"{address}:{port}"))
            case _:
                raise UnexpectedOutput("block-xvmstore show", line, "a use or a session")
    return Shown(tuple(uses), tuple(logins))
