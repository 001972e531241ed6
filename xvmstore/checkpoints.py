"""Checkpoints of guests: take, list, note, destroy. One round trip to take one, two to destroy one.

``plan_*`` are pure and say what would be done; the functions without it do it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from remote.errors import InUse, NotFound, Refused, StepFailed
from remote.host import Outcome
from remote.script import Step
from storage import checkpoints, notes, retention, rollback, zvol
from storage.checkpoints import Checkpoint, Note
from storage.names import human
from storage.retention import Candidate, Decision, Policy
from storage.snapshots import Family
from xvmstore import guest_state
from xvmstore.guest_state import GuestState
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan

# -- take --------------------------------------------------------------------------------------------------------------


def plan_create(
    node: StorageNode,
    guests: Sequence[str],
    snapshot: str,
    note: Note,
    *,
    alone: Iterable[Step] = (),
    also: Iterable[Step] = (),
) -> Plan:
    """Check that all is whole and the pool has room, then one atomic snapshot, and the hold on it.

    ``alone`` checks that no upgrade is under way; ``also`` comes last.
    """
    parents = [node.parent(guest) for guest in guests]
    pool = node.settings.base.partition("/")[0]
    return Plan.of(
        node.lock(*guests),
        ("alone", alone),
        ("whole", [checkpoints.all_quiet(parent) for parent in parents]),
        ("space", (checkpoints.affordable(pool, parents, keep_free=node.config.checkpoints.keep_free),)),
        ("snapshot", checkpoints.take(parents, snapshot, note, notes=node.notes)),
        ("also", also),
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """Checkpoints of one instant, one a guest, and the bytes they took from the pool at once."""

    name: str
    checkpoints: tuple[Checkpoint, ...]
    cost: int
    available: int


def create(node: StorageNode, guests: Sequence[str], note: Note) -> Taken:
    """Take one checkpoint of one or several guests, at one instant.

    Raises NotFound, Refused where the pool has no room for it or a guest is half changed, StepFailed.
    """
    snapshot = checkpoints.new_name()
    return carry_out(node, guests, snapshot, plan_create(node, guests, snapshot, note))


def carry_out(node: StorageNode, guests: Sequence[str], snapshot: str, plan: Plan) -> Taken:
    """Take a checkpoint as planned, and read it back in the same trip."""
    asked = [query for guest in guests for query in checkpoints.family(node.parent(guest))]
    outcome = node.run(plan, then=(*asked, node.noted))
    _raise_failure(node, guests, plan, outcome)
    cost = checkpoints.read_cost(outcome.steps[plan.roles.index("space")].stdout)
    *texts, noted = (one.get() for one in outcome.answers)
    families = [notes.read(own, newer, noted) for own, newer in zip(texts[::2], texts[1::2], strict=True)]
    found = tuple(_taken(node, guest, family, snapshot) for guest, family in zip(guests, families, strict=True))
    return Taken(snapshot, found, cost.cost if cost else 0, cost.available if cost else 0)


def _taken(node: StorageNode, guest: str, family: Family, snapshot: str) -> Checkpoint:
    all_of_it = checkpoints.of_guest(family, guest, node.parent(guest))
    found = next((one for one in all_of_it if one.name == snapshot), None)
    if found is None:
        raise Refused(f"{node.name}: guest {guest} has no disks: there is nothing to take a checkpoint of")
    return found


def _raise_failure(node: StorageNode, guests: Sequence[str], plan: Plan, outcome: Outcome) -> None:
    failure = plan.failure(outcome)
    if failure is None or outcome.failed_step is None:
        return
    end, listed = outcome.steps[outcome.failed_step], ", ".join(guests)
    role = plan.failed_role(outcome)
    if role in {"alone", "whole"} and zvol.NO_DATASET in end.stderr:
        raise NotFound(f"{node.name}: there is no guest {_named(guests, end.stderr)}") from failure
    if role == "alone" and end.how == "unmet":
        raise Refused(
            f"{node.name}: an upgrade of {listed} is under way already: `xvmstore upgrade --resume {listed}` goes on "
            "with it, --abort puts the guest back"
        ) from failure
    if role == "whole" and end.how == "unmet":
        raise Refused(
            f"{node.name}: {listed}: a disk is half destroyed or half rolled back: `xvmstore volume list` shows it; "
            "finish that first"
        ) from failure
    cost = checkpoints.read_cost(end.stdout) if role == "space" else None
    if cost is not None:
        raise Refused(_no_room(node, listed, cost)) from failure
    if isinstance(failure, StepFailed) and "out of space" in failure.stderr:
        raise Refused(
            f"{node.name}: the pool has no room for a checkpoint of {listed}: a snapshot of a thick volume sets aside "
            "all that was written since the last one; destroy old checkpoints (`xvmstore checkpoint prune`)"
        ) from failure
    if isinstance(failure, StepFailed) and "too many arguments" in failure.stderr:
        raise Refused(f"{node.name}: this release takes one guest's checkpoint at a time: {listed}") from failure
    raise failure


def _named(guests: Sequence[str], text: str) -> str:
    return next((guest for guest in guests if f"/{guest}'" in text), ", ".join(guests))


def _no_room(node: StorageNode, listed: str, cost: checkpoints.Cost) -> str:
    return (
        f"{node.name}: a checkpoint of {listed} takes {human(cost.cost)} of the pool's {human(cost.available)}, and "
        f"{human(cost.floor)} are to stay free (keep_free = {node.config.checkpoints.keep_free:g} per cent): "
        "destroy old checkpoints (`xvmstore checkpoint prune`), or set keep_free in [checkpoints]"
    )


# -- list --------------------------------------------------------------------------------------------------------------


def listed(node: StorageNode) -> tuple[Checkpoint, ...]:
    """Every checkpoint of every guest, by guest, oldest first; what rollbacks put aside is seen guest by guest."""
    base = node.settings.base
    family = notes.read(*(one.get() for one in node.ask((*checkpoints.family(base), node.noted))))
    parents = sorted({one.rpartition("/")[0] for one, kind in family.kinds.items() if kind == "volume"})
    guests = [(one.removeprefix(f"{base}/"), one) for one in parents]
    whole = [(guest, parent) for guest, parent in guests if "/" not in guest and ":" not in guest]
    return tuple(found for guest, parent in whole for found in checkpoints.of_guest(family, guest, parent))


# -- note --------------------------------------------------------------------------------------------------------------


def plan_note(node: StorageNode, guest: str, snapshot: str, *, outcome: str) -> Plan:
    """How what came after a checkpoint ended."""
    parent = node.parent(guest)
    noted = checkpoints.set_outcome(parent, snapshot, outcome, notes=node.notes)
    return Plan.of(node.lock(guest), ("note", (noted,)))


def note(node: StorageNode, guest: str, snapshot: str, *, outcome: str) -> Checkpoint:
    """Record how what came after a checkpoint ended. Raises NotFound."""
    plan = plan_note(node, guest, snapshot, outcome=outcome)
    done = node.run(plan, then=(*checkpoints.family(node.parent(guest)), node.noted))
    failure = plan.failure(done)
    if isinstance(failure, StepFailed) and zvol.NO_DATASET in failure.stderr:
        raise NotFound(f"{node.name}: {guest} has no checkpoint {snapshot}") from failure
    plan.must(done)
    family = notes.read(*(one.get() for one in done.answers))
    return _taken(node, guest, family, snapshot)


# -- destroy and prune -------------------------------------------------------------------------------------------------


def why_not(state: GuestState, one: Checkpoint, *, without: Sequence[str] = ()) -> str | None:
    """Why a checkpoint must not be destroyed, in words; sets in ``without`` go before it."""
    snapshots = [f"{state.parent}/{disk}@{one.name}" for disk in one.disks]
    clones = _shortest(state, state.clones_of([f"{state.parent}@{one.name}", *snapshots]))
    needing = [clone for clone in clones if clone not in without]
    if needing:
        return f"it has clones: {', '.join(needing)}"
    if one.foreign:
        return f"somebody else holds it too (`zfs holds -r {state.parent}@{one.name}`)"
    if one.name in state.journal.upgrade.split() or one.name in state.journal.rollback.split():
        return "an upgrade or a rollback that is under way needs it"
    return None


def _shortest(state: GuestState, clones: Sequence[str]) -> list[str]:
    """The sets they are in, rather than each of their datasets."""
    kept = f"{rollback.kept(state.parent)}/"
    return list(dict.fromkeys(one.removeprefix(kept).partition("/")[0] if one.startswith(kept) else one
                              for one in clones))  # fmt: skip


def plan_destroy(node: StorageNode, state: GuestState, names: Sequence[str]) -> Plan:
    """Let them go: checkpoints, and sets of volumes that a rollback put aside."""
    # Sets first: they are clones of checkpoints.
    sets = [step for name in names if name in state.kept for step in rollback.destroy_set(state.set(name))]
    rest = [step for name in names if name not in state.kept for step in checkpoints.destroy(state.parent, name)]
    tidy = (rollback.destroy_container(state.parent), *node.notes.sweep(state.parent))
    return Plan.of(node.lock(state.guest), ("destroy", sets), ("destroy", rest), ("tidy", tidy))


def destroy(node: StorageNode, guest: str, texts: Sequence[str], *, snapshots: bool = False) -> tuple[str, ...]:
    """Destroy checkpoints or what a rollback put aside. Raises NotFound, InUse for what clones or others need.

    A set with snapshots in it, checkpoints that were newer for example, only goes with them if ``snapshots`` says so.
    """
    state = guest_state.look(node, guest)
    known = (*state.kept, *(one.name for one in state.checkpoints))
    names = tuple(dict.fromkeys(state.pick(text, known) for text in texts))
    for one in state.checkpoints:
        why = why_not(state, one, without=names) if one.name in names else None
        if why:
            raise InUse(f"{node.name}: checkpoint {one.name} of {guest} stays: {why}")
    for name in names:
        if name in state.kept:
            _not_needed(node, state, name, snapshots=snapshots)
    plan = plan_destroy(node, state, names)
    plan.must(node.run(plan))
    return names


def _not_needed(node: StorageNode, state: GuestState, name: str, *, snapshots: bool) -> None:
    aside = state.set(name)
    inside = [one for one, kind in state.aside.kinds.items() if one == aside or one.startswith(f"{aside}/")]
    held = [one for dataset in inside for one in state.aside.snapshots.get(dataset, ())]
    clones = [one for one in state.clones_of([one.full for one in held]) if one not in inside]
    if held and not snapshots:
        names = ", ".join(dict.fromkeys(one.name for one in held))
        raise InUse(f"{node.name}: {name} of {state.guest} has snapshots in it: {names}; --snapshots destroys them too")
    if clones:
        raise InUse(f"{node.name}: {name} of {state.guest} stays: its snapshots have clones: {', '.join(clones)}")
    if name in state.journal.rollback.split():
        raise InUse(f"{node.name}: {name} of {state.guest} stays: a rollback that was cut off needs it")


def judged(state: GuestState, policy: Policy, *, now: float) -> tuple[Decision, ...]:
    """What a policy says of each checkpoint."""
    found = [Candidate(one.name, one.created, protected=why_not(state, one)) for one in state.checkpoints]
    return retention.plan(found, policy, now=now)


def guests_of(node: StorageNode) -> tuple[str, ...]:
    """Every guest that has a checkpoint."""
    return tuple(dict.fromkeys(one.guest for one in listed(node)))


def prune(
    node: StorageNode, guests: Sequence[str], policy: Policy, *, now: float, dry_run: bool = False
) -> Mapping[str, tuple[Decision, ...]]:
    """Destroy what a policy does not keep, guest by guest; what stays and why is in the answer."""
    decided: dict[str, tuple[Decision, ...]] = {}
    for guest in guests:
        state = guest_state.look(node, guest)
        decided[guest] = judged(state, policy, now=now)
        names = [one.name for one in decided[guest] if not one.keep]
        if names and not dry_run:
            plan = plan_destroy(node, state, names)
            plan.must(node.run(plan))
    return decided
