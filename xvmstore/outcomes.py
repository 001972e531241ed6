"""What came of a plan: the volume as read back in the same trip, or what went wrong in words an admin can act on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from remote.errors import InUse, NotFound, PartlyDone, Refused, RemoteError, XvmError
from remote.host import Outcome
from remote.transcript import Ended
from storage import zvol
from storage.names import VolumeName
from xvmstore import inspection
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Volume


@dataclass(frozen=True, slots=True)
class Expected:
    """What a volume must be after a change; None does not matter. ``gone`` are dom0s that may not see it any more."""

    exported: bool | None = None
    dom0s: Sequence[str] = ()
    gone: Sequence[str] = ()
    size: int | None = None

    def missed(self, there: Volume) -> Iterator[str]:
        """What is not so, in words."""
        if self.exported is not None and there.exported is not self.exported:
            yield "it is not exported: is its target offline?" if self.exported else "it is still exported"
        for dom0 in self.dom0s:
            if dom0 not in there.dom0s:
                yield f"{dom0} cannot see it"
        for dom0 in self.gone:
            if dom0 in there.dom0s:
                yield f"{dom0} can still see it"
        if self.size is not None and there.size != self.size:
            yield f"it has {there.size} bytes, not {self.size}"


def confirmed(
    node: StorageNode, name: VolumeName, outcome: Outcome, *, made: str, expect: Expected | None = None
) -> Volume:
    """The volume as read back in the same trip. What is not as it should be is never passed over."""
    try:
        there = inspection.answer(node, name, outcome.answers)
    except RemoteError as error:
        raise PartlyDone(
            f"{name} was {made}, but could not be read back: {error}; run the same command again"
        ) from error
    wrong = [*there.trouble, *(expect or Expected()).missed(there)]
    if wrong:
        raise PartlyDone(f"{node.name}: {name} was {made}, but {'; '.join(wrong)}; run the same command again")
    return there


def guarded(node: StorageNode, name: VolumeName, plan_for: Callable[[Sequence[str] | None], Plan]) -> Outcome:
    """Run a plan that must not touch a volume in use. ``plan_for`` is given the initiators to look out for, or None.

    On a shared target any login stops it; it is then run again with an eye on those only that can see the volume.
    """
    plan = plan_for(None)
    outcome = node.run(plan, then=inspection.questions(node, name))
    if node.shared and plan.failed_role(outcome) == "in use":
        plan = plan_for(inspection.viewers(node, outcome.answers))
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
    if end.how != "unmet":
        return failure
    other = next((line.split("\t")[1] for line in end.stdout.splitlines() if line.startswith(zvol.LAYOUT)), "-")
    if other not in {"-", node.settings.layout}:
        return Refused(f'{node.name}: {name} was made with layout = "{other}": set that in [nodes.{node.name}]')
    if f"{zvol.TARGET}\t-" not in end.stdout:
        return Refused(f"{node.name}: what is recorded of {name} cannot be right: see `xvmstore volume show {name}`")
    return Refused(f"{node.name}: {node.dataset(name)} was not made by xvmstore: it is left alone")


def _another_volumes(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    return Refused(
        f"{node.name}: the LU with the GUID of {name} is on another volume: is {node.dataset(name)} a received copy? "
        "Nothing was touched"
    )


def _in_use(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    by_initiator = node.initiators()
    logins = node.backend.logged_in(end.stdout)
    who = ", ".join(f"{login} ({by_initiator[login]})" if login in by_initiator else login for login in logins)
    return InUse(f"{node.name}: {name} is in use: {who} is logged in; log it out first (--force, where there is one)")


def _kept(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    rows = [line.split("\t") for line in end.stdout.splitlines()]
    clones = [row[0] for row in rows if len(row) == 2 and row[1].startswith(f"{node.dataset(name)}@")]
    if clones:
        listed = ", ".join(clones)
        return InUse(f"{node.name}: {name} has clones: {listed}; promote (zfs promote) or destroy them first")
    listed = ", ".join(row[0] for row in rows[:5]) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    return InUse(f"{node.name}: {name} has snapshots: {listed}; --snapshots destroys them too")


def _held(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    held = [line.split("\t")[:2] for line in end.stderr.splitlines() if "\t" in line]
    if not held:
        return failure
    listed = ", ".join(f"{snapshot} (by {tag})" for snapshot, tag in held)
    return InUse(f"{node.name}: {name} has snapshots that somebody holds: {listed}; release them first (zfs release)")


def _half_destroyed(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    return unfinished(node, name, end.stdout)


def unfinished(node: StorageNode, name: VolumeName, state: str) -> Refused:
    """A change was cut off, as the volume's state tells: nothing else may be done with the volume before its end."""
    if zvol.ROLLING_BACK in state:
        return Refused(
            f"{node.name}: a rollback of {name.guest} was cut off: `xvmstore checkpoint list {name.guest}` tells to "
            "what; finish that first (`xvmstore checkpoint rollback`)"
        )
    return half_destroyed(node, name)


def half_destroyed(node: StorageNode, name: VolumeName) -> Refused:
    """A ``destroy`` was cut off: nothing else may be done with the volume."""
    return Refused(f"{node.name}: {name} is half destroyed: run `xvmstore volume destroy {name}` to finish that first")


def _still_exported(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    release = node.release
    return InUse(
        f"{node.name}: {name} is exported, and release {release} cannot keep its views through a rename: "
        f"run `xvmstore lun unexport {name}` first and `lun export` afterwards"
    )


def _not_let_in(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if end.how != "unmet":
        return failure
    return Refused(
        f"{node.name}: {name} was shown to nobody new: the dom0's host group must have its initiator and nobody else, "
        f"and an initiator can be in one group only: `xvmstore node check {node.name}`; set host_group in [dom0s.NAME]"
    )


def _another_release(node: StorageNode, name: VolumeName, end: Ended, failure: RemoteError) -> XvmError:
    if "invalid subcommand" not in end.stdout:
        return failure
    return Refused(
        f"{node.name}: nothing was done for {name}: this node's stmfadm makes no LUs, so it is older than release "
        f'"{node.release}": set release = "b111" and layout = "shared-target" in [nodes.{node.name}]'
    )


_REASONS: dict[str, Callable[[StorageNode, VolumeName, Ended, RemoteError], XvmError]] = {
    "identity": _no_identity,
    "same unit": _another_volumes,
    "unit": _another_release,
    "in use": _in_use,
    "kept": _kept,
    "held": _held,
    "not destroyed": _half_destroyed,
    "rename": _still_exported,
    "publish": _not_let_in,
}
