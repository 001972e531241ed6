"""The hotplug script block-xvmstore as dom0 is told to use it: installing it, its map of volumes, its verbs. Pure.

The script itself is ``files/block-xvmstore`` and explains itself. It is also what logs in and out where no toolstack
calls it, so that there is one piece of code that knows how.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from dom0.disk import Disk
from remote.errors import UnexpectedOutput
from remote.script import ROOT_SHELL, Argv, Expect, Query, Secret, Step

PATH = "/etc/xen/scripts/block-xvmstore"
MAPS = "/etc/xvmstore/volumes"
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
        "wwid": f"naa.{disk.id}",
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
    """Tell dom0 what the volume's id stands for; only root can read it."""
    return Step((ROOT_SHELL, "-c", _PUT, "put-volume-map", MAPS, disk.id or "", content))


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
    case $keep in *" $id "*) continue ;; esac
    if grep -l "^id=$id\\$" /var/run/xvmstore/use_backend_vbd_* >/dev/null 2>&1; then
        echo "$volume is attached to a guest: detach it first" >&2
        exit 1
    fi
    "$3" logout "$id" && rm -f "$id" || exit
done
"""


def forget(guest: str, *, keep: Sequence[str] = (), node: str = "") -> Step:
    """Take away the maps of a guest's volumes but those in ``keep``; of one node's only, where one is named."""
    return Step((ROOT_SHELL, "-c", _FORGET, "forget-volume-maps", MAPS, guest, " ".join(keep), PATH, node))


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


def verb(name: str, *words: str) -> Argv:
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
    """What the script's ``show`` prints."""

    uses: tuple[Use, ...] = ()
    logins: tuple[Login, ...] = ()


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
