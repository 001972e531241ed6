"""Export volumes to dom0s and take them back; what LUNs and sessions there are."""

from collections.abc import Sequence

from iscsi.backend import Export
from remote.script import Step
from storage import rollback, zvol
from storage.names import VolumeName
from xvmstore import inspection
from xvmstore.nodes import StorageNode
from xvmstore.outcomes import Expected, confirmed, guarded, raise_failure
from xvmstore.plan import Plan
from xvmstore.results import Lun, LunSession, Volume


def plan_export(node: StorageNode, name: VolumeName, *, dom0s: Sequence[str]) -> Plan:
    """Bring back what was recorded: same GUID, same target, same LUN."""
    dataset, backend = node.dataset(name), node.backend
    export = node.with_own_secret(node.recorded(name))
    return Plan.of(
        node.lock(name.guest),
        ("identity", (node.identity(name),)),
        ("same unit", backend.same_unit(export)),
        ("not destroyed", (zvol.not_destroying(dataset),)),
        ("space", (rollback.reserve_if_marked(dataset),)),
        ("unit", backend.restore(export)),
        ("record", node.record_its_choices(name)),
        ("publish", backend.publish(export, [node.access(dom0) for dom0 in dom0s], again=True)),
        ("mark", (zvol.set_property(dataset, zvol.STATE, zvol.READY),)),
        settled="unit",
    ).without_undo()


def export(node: StorageNode, name: VolumeName, *, dom0s: Sequence[str]) -> Volume:
    """Export a volume to dom0s. Raises NotFound, Refused, StepFailed, PartlyDone."""
    plan = plan_export(node, name, dom0s=dom0s)
    outcome = node.run(plan, then=inspection.questions(node, name))
    raise_failure(node, name, plan, outcome)
    return confirmed(node, name, outcome, made="exported", expect=Expected(exported=True, dom0s=dom0s))


def plan_unexport(
    node: StorageNode,
    name: VolumeName,
    *,
    dom0: str | None = None,
    force: bool = False,
    watch: Sequence[str] | None = None,
) -> Plan:
    """Take a volume away from everybody, or from one dom0. The data and the identity stay."""
    exported = node.recorded(name)
    access = node.access(dom0, secrets=False) if dom0 else None
    if access:
        watch = (access.initiator,)
    backend = node.backend
    gone = backend.withdraw_from(exported, access) if access else backend.withdraw(exported, forever=False)
    return Plan.of(
        node.lock(name.guest),
        ("identity", (node.identity(name),)),
        ("same unit", node.backend.same_unit(exported)),
        ("in use", () if force else not_in_use(node, exported, watch)),
        ("withdraw", gone),
        settled="withdraw",
    )


def not_in_use(node: StorageNode, exported: Export, watch: Sequence[str] | None) -> tuple[Step, ...]:
    """Checks that nobody, or none of ``watch``, is logged in."""
    if watch is None:
        return node.backend.not_in_use(exported)
    return tuple(step for one in watch for step in node.backend.not_in_use(exported, initiator=one))


def unexport(node: StorageNode, name: VolumeName, *, dom0: str | None = None, force: bool = False) -> Volume:
    """Withdraw a volume's export. Raises InUse when an initiator is logged in, unless forced."""
    outcome = guarded(node, name, lambda watch: plan_unexport(node, name, dom0=dom0, force=force, watch=watch))
    expect = Expected(gone=(dom0,)) if dom0 else Expected(exported=False)
    return confirmed(node, name, outcome, made="taken away", expect=expect)


def luns(node: StorageNode) -> tuple[Lun, ...]:
    """Every LU of the node, made by us or not, with its views."""
    answers = node.ask(inspection.list_questions(node, node.settings.base))
    volumes, everything = inspection.list_answer(node, answers)
    by_path = {node.backend.device(volume.dataset): volume for volume in volumes}
    found = []
    for unit in everything.units:
        volume = by_path.get(unit.path or "")
        views = tuple(
            (view.host_group or "All", view.target_group or "All", view.lun)
            for view in everything.views.get(unit.key, ())
        )
        name, target, size = (volume.name, volume.target, volume.size) if volume else (None, None, None)
        # Old programs print sizes in round numbers only.
        found.append(Lun(unit.guid, name, unit.path, unit.size or size, unit.state, target, views))
    return tuple(found)


def sessions(node: StorageNode) -> tuple[LunSession, ...]:
    """Every login on the node, with the dom0 and the volumes it concerns."""
    answers = node.ask(inspection.list_questions(node, node.settings.base))
    volumes, everything = inspection.list_answer(node, answers)
    dom0s = node.initiators()
    return tuple(
        LunSession(
            session,
            dom0s.get(session.initiator),
            tuple(one.name for one in volumes if one.target == session.target and session.initiator in one.sessions),
        )
        for target in everything.targets
        for session in target.sessions
    )
