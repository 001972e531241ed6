"""Create, show, resize, rename and destroy volumes: one round trip each, and each one converges when run again.

``plan_*`` are pure and say what would be done (--dry-run prints them); the functions without it do it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from iscsi import names as iscsi_names
from iscsi import quarantine
from iscsi.backend import Export
from remote.errors import (
    Mismatch,
    NotFound,
    PartlyDone,
    Refused,
    StepFailed,
)
from remote.host import Answer, Outcome, user_name
from remote.script import Captured, Query, Step, Word
from storage import checkpoints, zvol
from storage.names import VolumeName, human, volume_size
from storage.zvol import Zvol
from xvmstore import inspection, luns
from xvmstore.nodes import StorageNode
from xvmstore.outcomes import Expected, confirmed, guarded, half_destroyed, raise_failure
from xvmstore.plan import Part, Plan
from xvmstore.results import Created, Volume, Wanted
from xvmstore.version import __version__

# ZFS's own choice since 2023; before, 8 KiB. Only used to check the size when none is asked for.
_ANY_BLOCK = 512
_LUN_TRIES = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """What a new volume is known by, chosen before anything is asked. ``freed`` is an old quarantine of its LUN."""

    guid: str
    target: str
    lun: int
    freed: int | None = None

    @classmethod
    def new(cls, node: StorageNode, name: VolumeName, *, lun: int | None = None) -> "Identity":
        """A fresh one."""
        guid = node.backend.new_guid()
        number = lun if lun is not None else iscsi_names.free_lun(()) if node.shared else node.settings.lun
        return cls(guid, node.new_target(name, guid), number)


# -- create ------------------------------------------------------------------------------------------------------------


def plan_create(
    node: StorageNode, name: VolumeName, wanted: Wanted, *, dom0s: Sequence[str], identity: Identity
) -> Plan:
    """All of it: dataset, zvol, masked LU, verification, target, views, and the commit mark last."""
    volume_size(wanted.size, wanted.block_size or _ANY_BLOCK)
    dataset, backend = node.dataset(name), node.backend
    guid: Word = Captured("guid") if backend.traits.guid == "its" else identity.guid
    serial = backend.serial(identity.guid)
    lun = str(identity.lun)
    export = node.with_own_secret(
        node.export(name, size=str(wanted.size), guid=guid, serial=serial, lun=lun, target=identity.target)
    )
    create = zvol.create(
        dataset,
        wanted.size + backend.traits.head,
        thin=bool(wanted.thin),
        maker=f"xvmstore-{__version__},{user_name()},{identity.guid[-12:]}",
        properties=[*_properties(wanted), *marks(node, identity, vdev=Captured("free"), head=backend.traits.head)],
    )
    return Plan.of(
        node.lock(name.guest),
        ("parents", (zvol.make_parents(node.settings.base, name.guest), zvol.destroy_half_made(dataset))),
        ("lun free", lun_is_free(node, identity) if node.shared else ()),
        ("vdev", (zvol.free_vdev(node.parent(name.guest)),)),
        ("create", create),
        ("unit", backend.make(export)),
        ("record", node.record_its_choices(name)),
        ("publish", backend.publish(export, [node.access(dom0) for dom0 in dom0s])),
        ("mark", (zvol.set_property(dataset, zvol.STATE, zvol.READY),)),
    )


def _properties(wanted: Wanted) -> list[tuple[str, Word]]:
    block = [("volblocksize", str(wanted.block_size))] if wanted.block_size else []
    return [*block, *wanted.properties.items()]


def marks(
    node: StorageNode, identity: Identity, *, vdev: Word, serial: str | None = None, head: int = 0
) -> list[tuple[str, Word]]:
    """What makes a zvol a volume of ours, unfinished: its identity as far as we choose it, and that nobody shares it.

    The target, by which such a volume is known, comes last. ``serial`` is the one of the GUID unless it has another.
    """
    backend = node.backend
    known = [(zvol.GUID, identity.guid), (zvol.SERIAL, serial or backend.serial(identity.guid))]
    return [
        *node.unshared,
        *(known if backend.traits.guid == "ours" else ()),
        *([(zvol.HEAD, str(head))] if head else ()),
        (zvol.LUN, str(identity.lun)),
        (zvol.VDEV, vdev),
        (zvol.STATE, zvol.MAKING),
        (zvol.LAYOUT, node.settings.layout),
        (zvol.TARGET, identity.target),
    ]


def create(node: StorageNode, name: VolumeName, wanted: Wanted, *, dom0s: Sequence[str]) -> Created:
    """Make a volume, or finish or confirm the one that is there.

    Raises Mismatch when one is there and is not as wanted, Refused when it is not ours, StepFailed, PartlyDone.
    """
    identity = Identity.new(node, name)
    for _ in range(_LUN_TRIES):
        plan = plan_create(node, name, wanted, dom0s=dom0s, identity=identity)
        asked = inspection.questions(node, name, extra=tuple(wanted.properties))
        outcome = node.run(plan, then=(*asked, *_lun_questions(node)))
        if outcome.failure is None:
            expect = Expected(exported=True, dom0s=dom0s, size=wanted.size)
            return Created(confirmed(node, name, outcome, made="made", expect=expect), "created")
        if _already_there(plan, outcome):
            return _converge(node, name, wanted, dom0s=dom0s, answers=outcome.answers)
        if not _lun_taken(plan, outcome):
            raise_failure(node, name, plan, outcome)
        identity = _another_lun(node, name, outcome.answers[len(asked) :])
    raise Refused(f"{node.name}: every LUN tried for {name} was taken: is the shared target full?")


def _already_there(plan: Plan, outcome: Outcome) -> bool:
    failure = outcome.failure
    exists = isinstance(failure, StepFailed) and "dataset already exists" in failure.stderr
    return plan.failed_role(outcome) == "create" and exists


def _converge(
    node: StorageNode, name: VolumeName, wanted: Wanted, *, dom0s: Sequence[str], answers: Sequence[Answer[Any]]
) -> Created:
    """The zvol was there: leave it, finish it, or say what is different."""
    found: Zvol | None = answers[0].get()
    if found is None or "target" not in found.ours:
        what = "it is no volume" if found is None else "xvmstore did not make it"
        raise Refused(f"{node.name}: {node.dataset(name)} exists, but {what}; choose another name")
    differs = wanted.differs(found)
    if differs:
        raise Mismatch(f"{node.name}: {name} exists, but {'; '.join(differs)}; nothing was changed")
    there = inspection.answer(node, name, answers)
    if there.state == zvol.DESTROYING:
        raise half_destroyed(node, name)
    if there.state == zvol.READY and there.exported and set(dom0s) <= set(there.dom0s) and not there.trouble:
        return Created(there, "unchanged")
    return Created(luns.export(node, name, dom0s=dom0s), "completed")


# -- the LUN on a shared target ----------------------------------------------------------------------------------------


def _lun_questions(node: StorageNode) -> tuple[Query[Any], ...]:
    base = node.settings.base
    return (zvol.zvols(base), quarantine.freed(base)) if node.shared else ()


def lun_is_free(node: StorageNode, identity: Identity) -> tuple[Step, ...]:
    """Checks that no volume has the LUN, and that none had it lately."""
    base, lun = node.settings.base, identity.lun
    return zvol.lun_is_nobodys(base, lun), quarantine.not_freed(base, lun, unless_at=identity.freed)


def _lun_taken(plan: Plan, outcome: Outcome) -> bool:
    role, failure = plan.failed_role(outcome), outcome.failure
    in_use = isinstance(failure, StepFailed) and "LUN already in use" in failure.stderr
    return role == "lun free" or (role == "publish" and in_use)


def _another_lun(node: StorageNode, name: VolumeName, answers: Sequence[Answer[Any]]) -> Identity:
    """One that no volume of ours has and that was not freed lately."""
    volumes, freed = answers[0].get(), answers[1].get()
    used = {int(one.ours["lun"]) for one in volumes if one.ours.get("lun", "").isdecimal()}
    recent = {lun for lun, when in freed.items() if when > time.time() - quarantine.SECONDS}
    lun = iscsi_names.free_lun(tuple(used | recent))
    fresh = Identity.new(node, name, lun=lun)
    return Identity(fresh.guid, fresh.target, lun, freed.get(lun))


# -- resize, rename, destroy -------------------------------------------------------------------------------------------


def _known(node: StorageNode, name: VolumeName, exported: Export) -> tuple[Part, ...]:
    """What must hold before anything is done with a volume: it is ours, its LU is its own, it is not half gone."""
    return (
        ("identity", (node.identity(name),)),
        ("same unit", node.backend.same_unit(exported)),
        ("not destroyed", (zvol.not_destroying(node.dataset(name)),)),
    )


def plan_resize(node: StorageNode, name: VolumeName, size: int, *, force: bool = False) -> Plan:
    """The zvol grows before the LU, and shrinks after it: no LU is ever larger than what is under it.

    Nothing is undone: an initiator may have been told of the new size already, and use it.
    """
    volume_size(size, _ANY_BLOCK)
    backend, exported = node.backend, node.recorded(name, size=str(size))
    volsize = zvol.Resize(node.dataset(name), size + backend.traits.head, smaller=force)
    return Plan.of(
        node.lock(name.guest),
        *_known(node, name, exported),
        ("not smaller", () if force else (zvol.not_smaller(volsize.volsize),)),
        ("in use", () if backend.traits.grows_in_use else backend.not_in_use(exported)),
        ("size", backend.resize(exported, volsize)),
        ("record", node.record_its_choices(name) if backend.traits.target == "its" else ()),
        settled="size",
    )


def resize(node: StorageNode, name: VolumeName, size: int, *, force: bool = False) -> Volume:
    """Change a volume's size. Raises Refused for a smaller one unless forced, StepFailed, PartlyDone."""
    plan = plan_resize(node, name, size, force=force)
    outcome = node.run(plan, then=inspection.questions(node, name))
    if plan.failed_role(outcome) == "not smaller":
        raise Refused(
            f"{node.name}: {name} is larger than {human(size)}: shrinking cuts off the guest's data; "
            "shrink the file system inside first, then use --force"
        )
    raise_failure(node, name, plan, outcome)
    return confirmed(node, name, outcome, made="resized", expect=Expected(size=size))


def plan_rename_vdev(node: StorageNode, name: VolumeName, vdev: str) -> Plan:
    """Another name for the disk inside its guest: recorded, so that the disk lines have it from now on."""
    dataset = node.dataset(name)
    return Plan.of(
        node.lock(name.guest),
        *_known(node, name, node.recorded(name)),
        (
            "vdev",
            (zvol.vdev_is_free(node.parent(name.guest), dataset, vdev), zvol.set_property(dataset, zvol.VDEV, vdev)),
        ),
    )


def rename_vdev(node: StorageNode, name: VolumeName, vdev: str) -> Volume:
    """Give a disk another name inside its guest. Raises Refused where another disk has it, NotFound."""
    plan = plan_rename_vdev(node, name, vdev)
    outcome = node.run(plan, then=inspection.questions(node, name))
    if plan.failed_role(outcome) == "vdev":
        raise Refused(
            f"{node.name}: another disk of {name.guest} is {vdev} already: `xvmstore guest disks {name.guest}`"
        )
    raise_failure(node, name, plan, outcome)
    return inspection.answer(node, name, outcome.answers)


def plan_rename(node: StorageNode, name: VolumeName, new: VolumeName, *, watch: Sequence[str] | None = None) -> Plan:
    """Another name for the zvol; GUID, target and LUN stay. The device letter does too, unless the new guest has it."""
    if name == new:
        raise Refused(f"{name} has that name already")
    dataset, moved, exported = node.dataset(name), node.dataset(new), node.recorded(name)
    move = node.backend.move(exported, zvol.rename(dataset, moved), dataset=moved, alias=str(new))
    other = new.guest != name.guest
    letter = (
        zvol.free_vdev(node.parent(new.guest), rather=Captured("vdev")),
        zvol.set_property(dataset, zvol.VDEV, Captured("free"), back=Captured("vdev")),
    )
    return Plan.of(
        node.lock(name.guest, new.guest),
        *_known(node, name, exported),
        ("in use", luns.not_in_use(node, exported, watch)),
        ("record", (zvol.set_property(dataset, zvol.RENAMED, str(name)),)),
        ("parents", (zvol.make_parents(node.settings.base, new.guest),) if other else ()),
        ("vdev", letter if other else ()),
        ("rename", move),
        *_after_rename(node, name, new),
    )


def _after_rename(node: StorageNode, name: VolumeName, new: VolumeName) -> tuple[Part, ...]:
    """What is left to do once the volume has its new name and is exported under it: no reason to turn back."""
    # Of what it had, only snapshots of the dataset itself can be left, which went with the disk.
    tidy = checkpoints.destroy_if_bare(node.parent(name.guest)) if new.guest != name.guest else ()
    forget = zvol.forget(node.dataset(new), zvol.RENAMED)
    return (("after", [replace(step, keep=True) for step in (*tidy, forget)]),)


def rename(node: StorageNode, name: VolumeName, new: VolumeName) -> Volume:
    """Rename a volume nobody is logged in to. Raises InUse, NotFound, StepFailed."""
    plan = plan_rename(node, name, new)
    outcome = node.run(plan, then=inspection.questions(node, new))
    if node.shared and plan.failed_role(outcome) == "in use":
        asked = node.ask(inspection.questions(node, name))
        plan = plan_rename(node, name, new, watch=inspection.viewers(node, asked))
        outcome = node.run(plan, then=inspection.questions(node, new))
    moved: Answer[Zvol | None] = outcome.answers[0]
    if _gone(outcome) and moved.value is not None and moved.value.ours.get("renamed-from") == str(name):
        return _finish_rename(node, name, new, outcome=outcome)
    raise_failure(node, name, plan, outcome)
    return confirmed(node, new, outcome, made="renamed")


def _gone(outcome: Outcome) -> bool:
    failure = outcome.failure
    return isinstance(failure, StepFailed) and zvol.NO_DATASET in failure.stderr and outcome.failed_step == 0


def _finish_rename(node: StorageNode, name: VolumeName, new: VolumeName, *, outcome: Outcome) -> Volume:
    """An earlier run was cut off after the zvol had its new name; if views wait for its LU, it was exported."""
    there, export = inspection.answer(node, new, outcome.answers), node.recorded(new)
    waits = bool(there.dom0s)
    plan = Plan.of(
        node.lock(name.guest, new.guest),
        *_known(node, new, export),
        ("unit", node.backend.resume(export, waits=waits)),
        *_after_rename(node, name, new),
        settled="unit",
    ).without_undo()
    ended = node.run(plan, then=inspection.questions(node, new))
    raise_failure(node, new, plan, ended)
    return confirmed(node, new, ended, made="renamed", expect=Expected(exported=waits, dom0s=there.dom0s))


def plan_destroy(
    node: StorageNode,
    name: VolumeName,
    *,
    force: bool = False,
    snapshots: bool = False,
    watch: Sequence[str] | None = None,
) -> Plan:
    """Check first, mark, withdraw the export, destroy the data last."""
    dataset, exported = node.dataset(name), node.recorded(name)
    kept = (zvol.no_clones(dataset),) if snapshots else (zvol.no_snapshots(dataset),)
    parent = node.parent(name.guest)
    tidy = checkpoints.destroy_if_bare(parent) if snapshots else (zvol.destroy_if_empty(parent),)
    swept = node.notes.sweep(parent) if snapshots else ()
    freed = (quarantine.set_free(node.settings.base, exported.lun, now=int(time.time())),) if node.shared else ()
    return Plan.of(
        node.lock(name.guest),
        # First of all what an earlier run, cut off after its last disk had gone, may have left.
        ("tidy", tidy),
        ("identity", (node.identity(name),)),
        ("same unit", node.backend.same_unit(exported)),
        ("in use", () if force else luns.not_in_use(node, exported, watch)),
        ("kept", kept),
        ("held", (checkpoints.held_by_us_alone(dataset),) if snapshots else ()),
        ("mark", (zvol.set_property(dataset, zvol.STATE, zvol.DESTROYING),)),
        ("withdraw", node.backend.withdraw(exported, forever=True)),
        ("lun", freed),
        ("destroy", (checkpoints.release_below(dataset),) if snapshots else ()),
        ("destroy", (zvol.destroy(dataset, snapshots=snapshots),)),
        ("tidy", (*swept, *tidy)),
        settled="mark",
    )


def destroy(node: StorageNode, name: VolumeName, *, force: bool = False, snapshots: bool = False) -> None:
    """Destroy a volume and its export. Raises InUse for sessions (unless forced), snapshots (unless named), clones."""
    outcome = guarded(node, name, lambda watch: plan_destroy(node, name, force=force, snapshots=snapshots, watch=watch))
    left: Answer[Zvol | None] = outcome.answers[0]
    if left.error is None and left.value is not None:
        raise PartlyDone(f"{node.name}: {name} was destroyed, but is still there: run the same command again")


# -- show --------------------------------------------------------------------------------------------------------------


def show(node: StorageNode, name: VolumeName) -> Volume:
    """One volume. Raises NotFound."""
    found = inspection.answer(node, name, node.ask(inspection.questions(node, name)))
    if found.target is None and not found.trouble:
        raise NotFound(f"{node.name}: {found.dataset} was not made by xvmstore")
    return found


def volumes(node: StorageNode, *, guest: str | None = None) -> tuple[Volume, ...]:
    """All volumes of the node, or of one guest, by name."""
    below = node.parent(guest) if guest else node.settings.base
    found, _ = inspection.list_answer(node, node.ask(inspection.list_questions(node, below)))
    return found
