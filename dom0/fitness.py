"""Is a dom0 fit to give guests their LUNs, now and after its next boot? Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dom0 import block_script, solaris_iscsi
from dom0.toolstack import XenInfo
from iscsi.model import Check
from remote.errors import UnexpectedOutput
from remote.script import ROOT_SHELL, Query

Facts = Mapping[str, str]

# The stock script is looked for where guests' configs usually are: see docs/dom0.md for what it does to them.
_LOOK = """\
say() { echo "$1	$2"; }
say initiator "`sed -n 's/^InitiatorName=//p' /etc/iscsi/initiatorname.iscsi 2>/dev/null`"
for tool in iscsiadm flock timeout xenstore-ls; do
    command -v $tool >/dev/null || missing="$missing $tool"
done
say missing "$missing"
say script "`sed -n '/^# map format: /p' /etc/xen/scripts/block-xvmstore 2>/dev/null`"
say maps "`ls -ldn /etc/xvmstore/volumes 2>/dev/null | cut -c1-10`"
if pidof multipathd >/dev/null 2>&1; then say multipathd runs; fi
stock=`grep -lE "script=block-iscsi|['\\"]iscsi:" /etc/xen/*.cfg /etc/xen/auto/* 2>/dev/null | tr '\\n' ' '`
say stock "$stock"
say autostart "`ls /etc/xen/auto 2>/dev/null | tr '\\n' ' '`"
if [ -d /run/systemd/system ]; then
    say boot "`systemctl is-enabled xvmstore-luns.service 2>/dev/null`"
    say before " `systemctl show -p Before --value xvmstore-luns.service` "
fi
:
"""

# Each command has the rights it will have when it is needed. The service had another name before b110.
_LOOK_ON_SOLARIS = """\
say() { echo "$1	$2"; }
say rights "`$xvm_become id | sed 's/ .*//'`"
for tool in iscsiadm devfsadm xenstore-ls; do
    there=
    for folder in `echo "$PATH" | tr ':' ' '`; do [ -x "$folder/$tool" ] && there=yes; done
    [ -n "$there" ] || missing="$missing $tool"
done
say missing "$missing"
for service in svc:/network/iscsi/initiator:default svc:/network/iscsi_initiator:default; do
    state=`svcs -H -o state "$service" 2>/dev/null`
    [ -z "$state" ] || say service "$service $state"
done
node=`$xvm_become iscsiadm list initiator-node 2>/dev/null`
say initiator "`echo "$node" | sed -n 's/^Initiator node name: *//p'`"
say login "`echo "$node" | sed -n 's/^[ 	]*Authentication Type: *//p'`"
say boot "`svcs -H -o state svc:/application/xvmstore/luns:default 2>/dev/null`"
"""


def looks(system: str) -> tuple[Query[Facts], ...]:
    """All there is to see."""
    return _LOOKS[system]


def _discovery(text: str) -> Facts:
    enabled = solaris_iscsi.parse_discovery(text)["Static"] if text else None
    return {} if enabled is None else {"static": "enabled" if enabled else "disabled"}


def _static(text: str) -> Facts:
    return {"wanted": " ".join(name for name, _ in solaris_iscsi.parse_static(text))}


def _targets(text: str) -> Facts:
    return {"connected": " ".join(one.name for one in solaris_iscsi.parse_targets(text) if one.connections)}


def parse(text: str) -> Facts:
    """initiator	iqn.2026-11.org.xvmstore:dom0"""
    found = {}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        if not tab:
            raise UnexpectedOutput("look-at-dom0", line, "a name and a value with a TAB between them")
        found[name] = value.strip()
    return found


_OFF = (solaris_iscsi.OFF,)
_LOOKS: Mapping[str, tuple[Query[Facts], ...]] = {
    "linux": (Query((ROOT_SHELL, "-c", _LOOK, "look-at-dom0"), parse),),
    "solaris": (
        Query(("sh", "-c", _LOOK_ON_SOLARIS, "look-at-dom0"), parse),
        Query(("iscsiadm", "list", "discovery"), _discovery, absent=_OFF),
        Query(("iscsiadm", "list", "static-config"), _static, absent=_OFF),
        Query(("iscsiadm", "list", "target", "-S"), _targets, absent=_OFF),
    ),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration says of a dom0; ``chap``: it logs in with an account."""

    name: str
    initiator: str
    system: str
    multipath: bool
    xen: str | None
    chap: bool = False


def judge(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """What is well and what is not."""
    return tuple(check for one in _JUDGES[wanted.system] for check in one(wanted, facts))


def version(wanted: Wanted, info: XenInfo) -> Check:
    """The release of Xen, and whether the configuration, which limits are judged by, agrees."""
    found = ".".join(map(str, info.version))
    numbers = re.match(r"[\d.]+", wanted.xen or found)
    same = numbers is not None and f"{found}.".startswith(f"{numbers[0]}.")
    if info.version[2] == 0 and numbers is not None:
        # xend's virsh never tells the third number.
        same = numbers[0].split(".")[:2] == found.split(".")[:2] or same
    return Check("Xen", ok=same, found=found, advice="" if same else f'set xen = "{found}" in [dom0s.{wanted.name}]')


def _initiator(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    found = facts.get("initiator", "")
    advice = f'set initiator = "{found}" in [dom0s.{wanted.name}], or rename the initiator' if found else "set it there"
    same = found == wanted.initiator
    yield Check("initiator name", ok=same, found=found or "none", advice="" if same else advice)


def _tools(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    missing = facts.get("missing", "")
    advice = "install open-iscsi, util-linux, coreutils and Xen's xenstore-utils" if missing else ""
    yield Check("tools", ok=not missing, found=f"missing: {missing}" if missing else "all there", advice=advice)


def _script(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    found, maps = facts.get("script", ""), facts.get("maps", "")
    install = f"`xvmstore guest install-script --dom0 {wanted.name}`"
    same = found == block_script.FORMAT
    shown = "there" if same else f"another release's ({found})" if found else "missing"
    yield Check("block-xvmstore", ok=same, found=shown, advice="" if same else install)
    private = maps in {"", "drwx------"}
    advice = "" if private else f"it holds secrets: chmod 700 {block_script.MAPS}"
    yield Check("volume maps", ok=private, found=maps or "none yet", advice=advice)


def _stock(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    stock = facts.get("stock", "")
    if stock:
        advice = "it logs out other guests' sessions and ignores the LUN: see docs/dom0.md"
        yield Check("no stock block-iscsi", ok=False, found=f"used in {stock}", advice=advice)


def _multipath(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    if wanted.multipath:
        runs = "multipathd" in facts
        advice = "" if runs else "install and start multipath-tools, or set multipath = false"
        yield Check("multipathd", ok=runs, found="runs" if runs else "does not run", advice=advice)


def _boot(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    state, before = facts.get("boot"), facts.get("before", "")
    what = "boot order"
    if state is None:
        advice = f"have `{block_script.PATH} boot 120` run before guests start"
        # Nothing starts by itself: nothing can start too early.
        yield Check(what, ok=not facts.get("autostart"), found="no systemd", advice=advice)
    elif state != "enabled":
        advice = f"`xvmstore guest install-script --dom0 {wanted.name}` enables xvmstore-luns.service"
        early = bool(facts.get("autostart"))
        yield Check(what, ok=not early, found=f"xvmstore-luns.service is {state or 'missing'}", advice=advice)
    else:
        ordered = "xendomains.service" in before.split()
        advice = "" if ordered else "xvmstore-luns.service must have Before=xendomains.service"
        found = "xvmstore-luns.service before xendomains.service" if ordered else "guests do not wait for their LUNs"
        yield Check(what, ok=ordered, found=found, advice=advice)


def _tools_on_solaris(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    missing = facts.get("missing", "")
    advice = (
        "install Solaris's iSCSI initiator (SUNWiscsiu) and Xen's tools, or set PATH for this user" if missing else ""
    )
    yield Check("tools", ok=not missing, found=f"missing: {missing}" if missing else "all there", advice=advice)
    root = facts.get("rights", "").startswith("uid=0(")
    advice = "" if root else 'set user = "root", or become = "pfexec" and give the user a profile that may do all'
    yield Check("rights", ok=root, found=facts.get("rights", "") or "none", advice=advice)


def _service(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    name, _, state = facts.get("service", "").partition(" ")
    online = state == "online"
    advice = "" if online else f"svcadm enable {name}" if name else "install Solaris's iSCSI initiator"
    yield Check("iSCSI initiator", ok=online, found=state or "no such service", advice=advice)


def _static_targets(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    static = facts.get("static", "unknown")
    advice = "" if static == "enabled" else f"`xvmstore guest prepare GUEST --dom0 {wanted.name}` enables it"
    yield Check("static discovery", ok=static == "enabled", found=static, advice=advice)
    targets = sorted(set(facts.get("wanted", "").split()))
    idle = [one for one in targets if one not in facts.get("connected", "").split()]
    advice = "see that they are still exported to it, or `xvmstore guest forget`: a boot waits for them" if idle else ""
    found = f"not logged in to {', '.join(idle)}" if idle else f"logged in to all {len(targets)} it was told of"
    yield Check("targets", ok=not idle, found=found, advice=advice)


def _account(wanted: Wanted, facts: Facts) -> Iterator[Check]:
    if wanted.chap:
        login = facts.get("login", "") or "unknown"
        advice = "iscsiadm modify initiator-node --authentication CHAP --CHAP-name NAME --CHAP-secret"
        ok = login.startswith("CHAP")
        yield Check("CHAP", ok=ok, found=login, advice="" if ok else advice)


def _boot_on_solaris(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    state = facts.get("boot", "")
    advice = "" if state == "online" else "import and enable xvmstore-luns.xml: see docs/dom0.md"
    yield Check("boot order", ok=state == "online", found=state or "no such service", advice=advice)


_JUDGES: Mapping[str, tuple[Callable[[Wanted, Facts], Iterator[Check]], ...]] = {
    "linux": (_initiator, _tools, _script, _stock, _multipath, _boot),
    "solaris": (_initiator, _tools_on_solaris, _service, _static_targets, _account, _boot_on_solaris),
}
