"""Is a Linux node fit to serve LUNs through LIO, now and after its next boot? Pure."""

from collections.abc import Sequence
from typing import Any

from iscsi import lio_saved
from iscsi.backend import Needs
from iscsi.model import Check
from remote.errors import UnexpectedOutput
from remote.host import Answer
from remote.script import ROOT_SHELL, Argv, Query

# Debian's name for the service and everybody else's; what it must wait for is ZFS's own target.
_LOOK = """\
if [ -d /sys/kernel/config/target/core ]; then echo "kernel	loaded"
elif modinfo target_core_mod >/dev/null 2>&1; then echo "kernel	can be loaded"
else echo "kernel	missing"; fi
if command -v systemctl >/dev/null; then
    for unit in rtslib-fb-targetctl.service target.service; do
        state=`systemctl is-enabled $unit 2>/dev/null`
        case $state in enabled|enabled-runtime|static|disabled|masked) ;; *) continue ;; esac
        echo "restore	$unit	$state"
        case " `systemctl show -p After --value $unit` " in
        *" zfs-volumes.target "*) echo "order	after zfs-volumes.target" ;;
        *) echo "order	not after zfs-volumes.target" ;;
        esac
        break
    done
fi
:
"""
_PREPARE = """\
set -e
modprobe target_core_iblock
modprobe iscsi_target_mod
mkdir -p /sys/kernel/config/target/iscsi /etc/rtslib-fb-target
for unit in rtslib-fb-targetctl target; do
    systemctl cat $unit.service >/dev/null 2>&1 || continue
    mkdir -p /etc/systemd/system/$unit.service.d
    printf '[Unit]\\nAfter=zfs-volumes.target\\nWants=zfs-volumes.target\\n' \\
        >/etc/systemd/system/$unit.service.d/after-zvols.conf
    systemctl daemon-reload
    systemctl enable $unit.service zfs-volumes.target zfs-volume-wait.service zfs-import.target
    exit 0
done
echo "no service here brings LUNs back at boot: install python3-rtslib-fb" >&2
exit 1
"""


def prepare() -> Argv:
    """Load the target, and see to it that a boot restores the LUNs after the zvols have come."""
    return (ROOT_SHELL, "-c", _PREPARE, "lio-prepare-node")


def questions() -> tuple[Query[Any], ...]:
    """The kernel and the boot; what is written down for it."""
    look = (ROOT_SHELL, "-c", _LOOK, "lio-look-at-node")
    return Query(look, _facts), Query(lio_saved.check(), _saved)


def _facts(text: str) -> dict[str, str]:
    """restore	rtslib-fb-targetctl.service	enabled"""
    found = {}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        if not tab:
            raise UnexpectedOutput("lio-look-at-node", line, "a name and a value with a TAB between them")
        found[name] = value
    return found


def _saved(text: str) -> tuple[tuple[bool, bool, str], ...]:
    """runs	-	xvm-30ec64e0b007bae9d097d7a1b"""
    rows = [line.split("\t") for line in text.splitlines()]
    if any(len(row) != 3 for row in rows):
        raise UnexpectedOutput("lio-check-saved", text, "runs, saved and a name on each line")
    return tuple((runs == "runs", saved == "saved", name) for runs, saved, name in rows)


def findings(needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
    """What is well and what is not."""
    facts, saved = answers
    setup = f"xvmstore node setup {needs.node} --apply"
    if facts.error is not None:
        return (Check("LIO", ok=False, found=str(facts.error), advice=f"see `xvmstore node setup {needs.node}`"),)
    known: dict[str, str] = facts.get()
    kernel = known.get("kernel", "missing")
    unit, _, state = known.get("restore", "missing\tmissing").partition("\t")
    order = known.get("order", "unknown")
    return (
        _check("LIO in the kernel", kernel == "loaded", kernel, setup),
        _check(
            "LUNs come back at boot", state == "enabled", f"{unit} {state}" if unit != state else "no service", setup
        ),
        _check("after the zvols", order == "after zfs-volumes.target", order, setup),
        _written(saved),
    )


def _check(what: str, ok: bool, found: str, advice: str) -> Check:  # noqa: FBT001
    return Check(what, ok=ok, found=found, advice="" if ok else advice)


def _written(answer: Answer[tuple[tuple[bool, bool, str], ...]]) -> Check:
    what = "saved configuration"
    if answer.error is not None:
        return Check(what, ok=False, found=str(answer.error), advice="without it no LUN comes back at boot")
    rows = answer.get()
    lost = [name for runs, _, name in rows if not runs]
    unsaved = [name for runs, saved, name in rows if runs and not saved]
    found = "; ".join(
        [
            *(f"{name} is saved, but not served" for name in lost),
            *(f"{name} is served, but will not come back" for name in unsaved),
        ]
    )
    advice = "`xvmstore lun export` of those volumes; `xvmstore lun list` says which they are" if found else ""
    return Check(what, ok=not found, found=found or f"{len(rows)} LUs, as served", advice=advice)


def rights(needs: Needs) -> str:
    """What root must grant: whoever may export any block device is root."""
    if needs.become == "none":
        return '# become = "none": the user who logs in must be root. With another user, set become to sudo.\n'
    user = needs.user or "USER"
    return (
        "# /etc/sudoers.d/xvmstore: LIO and its configfs know no narrower right than root's\n"
        f"{user} ALL=(root) NOPASSWD: ALL\n"
    )
