"""Is a dom0 fit to give guests their LUNs, now and after its next boot? Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dom0 import block_script
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

_LOOK_ON_SOLARIS = """\
printf 'initiator\\t'; iscsiadm list initiator-node 2>/dev/null | sed -n 's/^Initiator node name: *//p' | sed q
printf 'boot\\t'; svcs -H -o state svc:/application/xvmstore/luns:default 2>/dev/null || echo
"""


def look(system: str) -> Query[Facts]:
    """All there is to see, in one program."""
    program = {"linux": _LOOK, "solaris": _LOOK_ON_SOLARIS}[system]
    return Query((ROOT_SHELL, "-c", program, "look-at-dom0"), parse)


def parse(text: str) -> Facts:
    """initiator	iqn.2026-11.org.xvmstore:dom0"""
    found = {}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        if not tab:
            raise UnexpectedOutput("look-at-dom0", line, "a name and a value with a TAB between them")
        found[name] = value.strip()
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration says of a dom0."""

    name: str
    initiator: str
    system: str
    multipath: bool
    xen: str | None


def judge(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """What is well and what is not."""
    judges = _JUDGES if wanted.system == "linux" else (_initiator, _boot_on_solaris)
    return tuple(check for one in judges for check in one(wanted, facts))


def version(wanted: Wanted, info: XenInfo) -> Check:
    """The release of Xen, and whether the configuration, which limits are judged by, agrees."""
    found = ".".join(map(str, info.version))
    numbers = re.match(r"[\d.]+", wanted.xen or found)
    same = numbers is not None and f"{found}.".startswith(f"{numbers[0]}.")
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


def _boot_on_solaris(_wanted: Wanted, facts: Facts) -> Iterator[Check]:
    state = facts.get("boot", "")
    advice = "" if state == "online" else "import and enable xvmstore-luns.xml: see docs/dom0.md"
    yield Check("boot order", ok=state == "online", found=state or "no such service", advice=advice)


_JUDGES: tuple[Callable[[Wanted, Facts], Iterator[Check]], ...] = (
    _initiator,
    _tools,
    _script,
    _stock,
    _multipath,
    _boot,
)
