"""What came of a plan: the volume as read back in the same trip, or what went wrong in words an admin can act on."""

from collections.abc import Callable

from iscsi import targets
from remote.errors import InUse, NotFound, PartlyDone, Refused, RemoteError, XvmError
from remote.host import Outcome
from remote.transcript import Ended
from storage import zvol
from storage.names import VolumeName
from xvmstore import inspection
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Volume


def confirmed(node: StorageNode, name: VolumeName, outcome: Outcome, *, made: str) -> Volume:
    """The volume as read back in the same trip. What is not as it should be is never passed over."""
    try:
        there = inspection.answer(node, name, outcome.answers)
    except RemoteError as error:
        raise PartlyDone(
            f"{name} was {made}, but could not be read back: {error}; run the same command again"
        ) from error
    if there.trouble:
        raise PartlyDone(f"{node.name}: {name} was {made}, but {'; '.join(there.trouble)}; run the same command again")
    return there


def guarded(node: StorageNode, name: VolumeName, plan_for: Callable[[bool], Plan]) -> Outcome:
    """Run a plan that must not touch a volume in use.

    On a shared target any login stops it; when none of those initiators can see this volume, it is run again.
    """
    plan = plan_for(False)
    outcome = node.run(plan, then=inspection.questions(node, name))
    if node.shared and plan.failed_role(outcome) == "in use":
        there = inspection.answer(node, name, outcome.answers)
        if not there.sessions:
            plan = plan_for(True)
            outcome = node.run(plan, then=inspection.questions(node, name))
    raise_failure(node, name, plan, outcome)
    return outcome


def raise_failure(node: StorageNode, name: VolumeName, plan: Plan, outcome: Outcome) -> None:
    """The failure of a plan, in words an admin can act on."""
    failure = plan.failure(outcome)
    if failure is None or outcome.failed_step is None:
        return
    why = _REASONS.get(plan.failed_role(outcome) or "")
    if why is None:
        raise failure
    raise why(node, name, outcome.steps[outcome.failed_step], failure) from failure


def _no_identity(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if zvol.NO_DATASET in end.stderr:
        return NotFound(f"{node.name}: there is no volume {name} ({node.dataset(name)} does not exist)")
    if end.how == "unmet":
        return Refused(f"{node.name}: {node.dataset(name)} was not made by xvmstore: it is left alone")
    return failure


def _in_use(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    by_initiator = node.initiators()
    logins = [login.initiator for target in targets.parse_targets(end.stdout) for login in target.sessions]
    who = ", ".join(f"{login} ({by_initiator[login]})" if login in by_initiator else login for login in logins)
    return InUse(f"{node.name}: {name} is in use: {who} is logged in; log it out first, or use --force")


def _kept(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    mine = [line for line in end.stdout.splitlines() if line.startswith(f"{node.dataset(name)}@")]
    listed = ", ".join(mine[:5]) + (f" and {len(mine) - 5} more" if len(mine) > 5 else "")
    return InUse(f"{node.name}: {name} has snapshots or clones of them: {listed}; --snapshots destroys snapshots too")


def _half_destroyed(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    return half_destroyed(node, name) if end.how == "unmet" else failure


def half_destroyed(node: StorageNode, name: VolumeName) -> Refused:
    """A ``destroy`` was cut off: nothing else may be done with the volume."""
    return Refused(f"{node.name}: {name} is half destroyed: run `xvmstore volume destroy {name}` to finish that first")


def _still_exported(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    release = node.settings.release
    return InUse(
        f"{node.name}: {name} is exported, and release {release} cannot keep its views through a rename: "
        f"run `xvmstore lun unexport {name}` first and `lun export` afterwards"
    )


def _not_let_in(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    return Refused(
        f"{node.name}: {name} was shown to nobody: the dom0's initiator is in another host group than the configured "
        f"one, and can be in one only: `xvmstore node check {node.name}` tells which; set host_group in [dom0s.NAME]"
    )


def _another_release(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if "invalid subcommand" not in end.stdout:
        return failure
    return Refused(
        f"{node.name}: nothing was done for {name}: this node's stmfadm makes no LUs, so it is older than release "
        f'"{node.settings.release}": set release = "b111" and layout = "shared-target" in [nodes.{node.name}]'
    )


_REASONS: dict[str, Callable[[StorageNode, VolumeName, Ended, RemoteError], XvmError]] = {
    "identity": _no_identity,
    "unit": _another_release,
    "in use": _in_use,
    "kept": _kept,
    "not destroyed": _half_destroyed,
    "rename": _still_exported,
    "publish": _not_let_in,
}
