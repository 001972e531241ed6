"""What went wrong on a dom0, in words an admin can act on. By the role of the step that failed."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from dom0 import solaris_iscsi
from remote.errors import InUse, PartlyDone, Refused, RemoteError, StepFailed, XvmError, one_line
from remote.host import Outcome
from xvmstore.dom0s import XenDom0
from xvmstore.plan import Plan


@dataclass(frozen=True, slots=True)
class _Case:
    """A failure and where it happened; ``said`` is what the step printed.

    ``unmet``: a check that could be made, and does not hold; else the step itself went wrong.
    """

    dom0: XenDom0
    guest: str
    volume: str
    said: str
    unmet: bool
    failure: RemoteError


def raise_failure(dom0: XenDom0, guest: str, plan: Plan, outcome: Outcome, *, volume: str = "") -> None:
    """Raise what stopped a plan, if anything did. Raises Refused, InUse, PartlyDone, RemoteError."""
    failure = failed(dom0, guest, plan, outcome, volume=volume)
    if failure is not None:
        raise failure


def failed(dom0: XenDom0, guest: str, plan: Plan, outcome: Outcome, *, volume: str = "") -> XvmError | None:
    """What stopped a plan, if anything did."""
    failure, role = plan.failure(outcome), plan.failed_role(outcome)
    if failure is None or role is None:
        return failure
    end = outcome.steps[outcome.failed_step or 0]
    reason = _REASONS.get(role, _of_script)
    return reason(_Case(dom0, guest, volume or guest, end.stdout.strip(), end.how == "unmet", failure))


def _no_script(case: _Case) -> XvmError:
    where = case.dom0.name
    if not case.dom0.initiator.by_block_script:
        return _initiator(case)
    return Refused(
        f"{where}: block-xvmstore is not there, or another release's: `xvmstore guest install-script --dom0 {where}`"
    )


def _initiator(case: _Case) -> XvmError:
    """Solaris's: it is off, or our own program says what it waited for in vain; else it says so itself."""
    failure = case.failure
    if not isinstance(failure, StepFailed):
        return failure
    if solaris_iscsi.OFF in failure.stderr:
        return Refused(
            f"{case.dom0.name}: its iSCSI initiator is off: `svcadm enable network/iscsi/initiator` there "
            "(network/iscsi_initiator in early releases)"
        )
    return failure if failure.stderr.startswith("iscsiadm: ") else _as_said(case)


def _login(case: _Case) -> XvmError:
    return _of_script(case) if case.dom0.initiator.by_block_script else _initiator(case)


def _logout(case: _Case) -> XvmError:
    failure = case.failure
    if isinstance(failure, StepFailed) and "in use" in failure.stderr:
        return InUse(f"{case.dom0.name}: a disk of {case.guest} is in use there: detach it, or shut the guest down")
    return _login(case)


def not_running(dom0: XenDom0, guest: str) -> Refused:
    """The guest is not there to be attached to."""
    return Refused(
        f"{dom0.name}: guest {guest} does not run there; "
        f"what it starts with is in its config: `xvmstore guest disks {guest}`"
    )


def _no_domain(case: _Case) -> XvmError:
    failure = case.failure
    stopped = case.unmet or (isinstance(failure, StepFailed) and case.dom0.stack.stopped in failure.stderr)
    return not_running(case.dom0, case.guest) if stopped else failure


def _name_taken(case: _Case) -> XvmError:
    return Refused(f"{case.dom0.name}: in {case.guest}, {case.said} already: choose another name with --vdev")


def _root(case: _Case) -> XvmError:
    if not case.unmet:
        return case.failure
    return InUse(
        f"{case.dom0.name}: {case.volume} is the disk {case.guest} started from: shut the guest down, or use --force"
    )


def _busy(case: _Case) -> XvmError:
    if case.said != "busy":
        return case.failure
    return InUse(
        f"{case.dom0.name}: {case.guest} reads or writes {case.volume} now: unmount it there first, or use --force"
    )


def _not_connected(case: _Case) -> XvmError:
    return _worded(case, f"{case.guest} has not connected its disk ({case.said}): is it still starting?")


def _held(case: _Case) -> XvmError:
    return PartlyDone(
        f"{case.dom0.name}: {case.guest} does not let go of {case.volume} ({case.said}): "
        "unmount it there, and run the same command again"
    )


_SCRIPT_SAID = re.compile(r"(?:script|block-xvmstore): (.+)")


def _of_script(case: _Case) -> XvmError:
    """What the hotplug script complained of, out of all that libxl says about it."""
    failure = case.failure
    words = _SCRIPT_SAID.findall(failure.stderr) if isinstance(failure, StepFailed) else []
    return _worded(case, words[-1]) if words else failure


def _as_said(case: _Case) -> XvmError:
    """A program of ours: what it says is meant for the admin."""
    failure = case.failure
    return _worded(case, one_line(failure.stderr)) if isinstance(failure, StepFailed) and failure.stderr else failure


def _worded(case: _Case, text: str) -> RemoteError:
    """In other words, unless something is left: then all of it matters."""
    failure = case.failure
    return RemoteError(f"{case.dom0.name}: {text}{failure.note}") if isinstance(failure, StepFailed) else failure


_REASONS: dict[str, Callable[[_Case], XvmError]] = {
    "script": _no_script,
    "find": _initiator,
    "login": _login,
    "logout": _logout,
    "domain": _no_domain,
    "vdev": _name_taken,
    "root": _root,
    "busy": _busy,
    "connected": _not_connected,
    "gone": _held,
    "forget": _as_said,
    "install": _as_said,
}
