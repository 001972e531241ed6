"""What is this node, and what exports its zvols? One program for its shell, the reader of what that prints, and the
decision by the tables of ``iscsi.platforms``. Pure.

The node decides by itself, for a change must not begin where it does not fit; we decide again from what it printed.
Nothing is changed and no service is started: iscsitadm, which starts its own, is looked for and never called.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from iscsi.platforms import PROFILES, PROGRAMS, RELEASES, RIGHTS, ZVOL_HEADS, Become
from iscsi.solaris import ISCSI_TARGET, ISCSITGT, STMF, service_states
from remote.errors import Refused, UnexpectedOutput
from remote.script import Argv
from storage.vintage import FEATURES, VINTAGES, Vintage

# -- the program -------------------------------------------------------------------------------------------------------

_TOOLS = "stmfadm sbdadm itadm iscsitadm zfs zpool svcs profiles pfexec sudo targetcli"
# Of zfs itself: its usage was read at all.
_USAGE = "usage"

# For a Bourne shell (/bin/sh up to OpenSolaris): no $(...), no command -v, and a function's arguments would overwrite
# our own. Its PATH has /usr/sbin, by the preamble of the script.
_PROGRAM = """\
set -f
u=`uname -srv`; echo "system $u"
i=`id`; echo "user $i"
echo "shell ${SHELL-}"
set x $u; s=$2
IFS=:; set x $PATH; IFS=' @tab@
'
t=' '
for n in @tools@; do
for d in "$@"; do
if [ -f "$d/$n" ] && [ -x "$d/$n" ]; then t="$t$n "; break; fi
done
done
if [ -d /sys/kernel/config/target ]; then t="${t}configfs "; fi
echo "tools$t"
c=no
case $t in *' stmfadm '*) if stmfadm create-lu '-?' >/dev/null 2>&1; then c=yes; fi;; esac
echo "creates $c"
o=- l=-
case $t in *' svcs '*)
f=`svcs -H -o state,fmri @services@ 2>/dev/null`
set x $f; shift
while [ $# -gt 1 ]; do
echo "service $1 $2"
case $2 in @target@) o=$1;; @daemon@) l=$1;; esac
shift; shift
done;;
esac
e='@signs@'
z=
case $t in *' zfs '*)
z=`{ zfs; zfs get; } 2>&1 | sed -n "$e" | sort -u`
case $z in
*@usage@*) ;;
*) z=`for n in list snapshot get; do zfs $n '-?'; done 2>&1 | sed -n "$e" | sort -u`;;
esac;;
esac
echo zfs $z
if [ -r /sys/module/zfs/version ]; then sed 's/^/openzfs /' /sys/module/zfs/version; fi
p=
case $t in *' profiles '*) p=`profiles 2>/dev/null`;; esac
if [ -n "$p" ]; then echo "$p" | sed 's/^/profile /'; fi
q=nothing
case $i in 'uid=0('*) q=root;; *)
case $t in *' pfexec '*) case $p in @profiles@) q=profile;; esac;; esac
if [ $q = nothing ]; then
case $t in *' sudo '*) if sudo -n true >/dev/null 2>&1; then q=sudo; fi;; esac
fi;;
esac
echo "rights $q"
a=no g=no h=no
case $t in *' stmfadm '*) case $t in *' itadm '*) a=yes;; esac;; esac
case $t in *' iscsitadm '*) g=yes;; esac
case $z in *shareiscsi*) h=yes;; esac
b=none r=none
case $s:$a:$g:$o:$l in
@backends@
esac
case $b:$c:$h in
@releases@
esac
case $q in
@becomes@
esac
echo "settled $b $r"
echo end
"""


def _sed() -> str:
    """One ``s`` command a feature, each on the whole line; ``usage`` where there is any usage at all."""
    signs = [(one.name, one.sign) for one in FEATURES] + [(_USAGE, "list [[]")]
    return "h\n" + "\n".join(f"s/^[ \t]*{sign}.*/{name}/p\ng" for name, sign in signs)


def _program() -> str:
    parts = {
        "tab": "\t",
        "tools": _TOOLS,
        "services": f"{STMF} {ISCSI_TARGET} {ISCSITGT}",
        "target": ISCSI_TARGET,
        "daemon": ISCSITGT,
        "signs": _sed(),
        "usage": _USAGE,
        "profiles": "|".join(f"*'{one}'*" for one in PROFILES),
        "backends": "\n".join(f"{':'.join(one.signs)}) b={one.backend};;" for one in PROGRAMS),
        "releases": "\n".join(f"{':'.join(one.signs)}) r={one.release};;" for one in RELEASES),
        "becomes": "\n".join(f'{name}) echo "become {one.become}";;' for name, one in RIGHTS.items()),
    }
    text = _PROGRAM
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


PROBE: Argv = ("sh", "-c", _program(), "probe-node")


# -- what it printed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """What the program printed. ``system`` is ``uname -srv``; ``zfs`` what its usage gives away, and ``usage`` itself.

    ``settled`` is what the node decided by itself.
    """

    system: str
    shell: str
    tools: frozenset[str]
    creates: str
    services: Mapping[str, str]
    zfs: tuple[str, ...]
    openzfs: str | None
    profiles: tuple[str, ...]
    rights: str
    become: str
    settled: tuple[str, ...]


_ONCE = ("system", "user", "shell", "tools", "creates", "zfs", "rights", "become", "settled")
_MANY = ("service", "profile", "openzfs")


def parse(text: str) -> Facts:
    """system SunOS 5.11 snv_111b
    service online svc:/system/stmf:default
    """
    rows = [line.partition(" ") for line in text.splitlines()]
    said: dict[str, list[str]] = {name: [] for name in (*_ONCE, *_MANY, "end")}
    for label, _, value in rows:
        if label not in said:
            raise UnexpectedOutput("probe-node", f"{label} {value}", f"one of {', '.join(said)}")
        said[label].append(value.strip())
    lacking = next((name for name in (*_ONCE, "end") if len(said[name]) != 1), None)
    if lacking is not None:
        raise UnexpectedOutput("probe-node", text[-200:], f"one line that begins with {lacking}")
    known = {one.name for one in FEATURES} | {_USAGE}
    wrong = next((word for word in said["zfs"][0].split() if word not in known), None)
    if wrong is not None or said["rights"][0] not in RIGHTS:
        raise UnexpectedOutput("probe-node", wrong or said["rights"][0], "a word of ours")
    return Facts(
        system=said["system"][0],
        shell=said["shell"][0],
        tools=frozenset(said["tools"][0].split()),
        creates=said["creates"][0],
        services=service_states("\n".join(said["service"])),
        zfs=tuple(said["zfs"][0].split()),
        openzfs=next(iter(said["openzfs"]), None),
        profiles=tuple(said["profile"]),
        rights=said["rights"][0],
        become=said["become"][0],
        settled=tuple(said["settled"][0].split()),
    )


# -- the decision ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a node is and can do.

    system   ``uname -srv``; "" where nothing was looked at
    build    the part of it that tells one release from the next: snv_111b, omnios-r151050, 6.1.0-21-amd64
    zfs      what the usage of its zfs gives away, as the program prints it
    become   how the user who logs in gets rights
    rights   a key of ``RIGHTS``
    passing  what was decided depends on which service ran
    why      in words
    """

    system: str
    build: str
    backend: str
    release: str
    zfs: tuple[str, ...]
    become: Become
    rights: str = "root"
    shell: str = ""
    openzfs: str | None = None
    passing: bool = False
    why: str = "a guess: it has not been looked at"

    @property
    def vintage(self) -> Vintage:
        """What its ZFS can do; what that of its release can where its usage could not be read."""
        if _USAGE not in self.zfs:
            return VINTAGES[self.release]
        return Vintage.of(name for name in self.zfs if name != _USAGE)

    def to_json(self) -> dict[str, object]:
        """The documented JSON object."""
        words = ("system", "build", "backend", "release", "openzfs", "become", "rights", "shell", "why")
        return {name: getattr(self, name) for name in words} | {"zfs": list(self.vintage.names)}


def guess(backend: str, release: str, *, become: Become) -> Capabilities:
    """Of a node that nobody has looked at."""
    zfs = tuple(sorted((*VINTAGES[release].names, _USAGE)))
    return Capabilities("", "", backend, release, zfs, become)


def decide(facts: Facts, *, node: str) -> Capabilities:
    """By the tables. Raises Refused where they have nothing for such a node."""
    program = next((one for one in PROGRAMS if _fits(_seen(facts), one.signs)), None)
    if program is None:
        raise Refused(f"{node}: {_unknown(facts)}; or set backend and release in [nodes.{node}]")
    if program.backend == "comstar" and _build(facts.system) in ZVOL_HEADS:
        raise Refused(f"{node}: {ZVOL_HEADS[_build(facts.system)]}")
    shares = "yes" if "shareiscsi" in facts.zfs else "no"
    release = next(one for one in RELEASES if _fits((program.backend, facts.creates, shares), one.signs))
    return Capabilities(
        system=facts.system,
        build=_build(facts.system),
        backend=program.backend,
        release=release.release,
        zfs=facts.zfs,
        become=RIGHTS[facts.rights].become,
        rights=facts.rights,
        shell=facts.shell,
        openzfs=facts.openzfs,
        passing=program.passing,
        why=f"{program.why}; {release.why}",
    )


def _seen(facts: Facts) -> tuple[str, ...]:
    comstar = "yes" if facts.tools >= {"stmfadm", "itadm"} else "no"
    legacy = "yes" if "iscsitadm" in facts.tools else "no"
    services = facts.services
    return facts.system.partition(" ")[0], comstar, legacy, services.get(ISCSI_TARGET, "-"), services.get(ISCSITGT, "-")


def _fits(seen: tuple[str, ...], signs: tuple[str, ...]) -> bool:
    return all(fnmatchcase(word, sign) for word, sign in zip(seen, signs, strict=True))


def _build(system: str) -> str:
    """SunOS 5.11 snv_111b
    Linux 6.1.0-21-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.90-1 (2024-05-03)
    """
    name, _, rest = system.partition(" ")
    release, _, version = rest.partition(" ")
    return version if name == "SunOS" else release


def _unknown(facts: Facts) -> str:
    tools = ", ".join(sorted(facts.tools & {"stmfadm", "sbdadm", "itadm", "iscsitadm", "zfs", "zpool"})) or "none"
    if facts.system.startswith("SunOS "):
        return (
            f"nothing there exports zvols: {facts.system} has neither itadm nor iscsitadm (of our tools: {tools}): "
            "install COMSTAR's iSCSI target"
        )
    return (
        f"{facts.system} is no system xvmstore knows (SunOS or Linux; of our tools it has: {tools}): use another node"
    )
