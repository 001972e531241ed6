"""``node migrate-backend``: from iscsitadm to COMSTAR, when a node's release has changed: names, LUNs and GUIDs stay.

COMSTAR takes the target name and the GUID that iscsitgtd had made up, so what dom0s know stays true. Two halves: on the
old release what only the daemon knows (GUID, ACL) is written down on the zvols; on the new one they are exported again.
Where both programs are there, the second half takes the first one's facts from the daemon that still runs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from iscsi import iscsitadm_script, names
from iscsi.backends import BACKENDS
from iscsi.iscsitadm_rows import Served
from iscsi.iscsitadm_script import Legacy
from iscsi.platforms import ZVOL_HEADS
from iscsi.solaris import ISCSITGT
from remote.errors import InUse, Refused
from remote.host import Outcome
from remote.script import Query, Step
from storage import zvol
from storage.names import VolumeName
from storage.zvol import PREFIX, Zvol
from xvmstore import inspection
from xvmstore.nodes import StorageNode
from xvmstore.outcomes import Expected, raise_failure, unfinished
from xvmstore.plan import Part, Plan
from xvmstore.results import Volume

# GUID, or "-", and the dom0s that may use it: what iscsitgtd knows of a volume, for the program that comes after it.
EXPORTED_AS = PREFIX + "exported-as"
# Where the last sector of a volume is kept while its target is made; see iscsi.iscsitadm_programs.
_LAST_SECTOR = PREFIX + "last-a"
# What is done for each volume before anything is changed.
_CHECKS = frozenset({"identity", "not destroyed", "same unit", "in use"})
_OLD = BACKENDS["iscsitadm"]["b85"]


@dataclass(frozen=True, slots=True)
class Move:
    """A volume that iscsitgtd exports, or exported: ``guid`` "" where it never had one; ``dom0s`` as configured."""

    name: VolumeName
    target: str
    guid: str
    dom0s: tuple[str, ...]
    served: bool


@dataclass(frozen=True, slots=True)
class Migration:
    """What there is to move, and what else iscsitgtd exports.

    others  targets that are no volumes of ours
    shared  zvols that ZFS has it export, whether it runs or not
    script  what brings all back
    """

    moves: tuple[Move, ...]
    others: tuple[Served, ...]
    shared: tuple[str, ...]
    script: str


def look(node: StorageNode, *, dom0s: Sequence[str]) -> Migration:
    """Ask the node. ``dom0s`` are for volumes of which nobody knows any more who used them. Raises Refused."""
    base = node.settings.base
    all_zvols = zvol.zvols(base, extra=(EXPORTED_AS, _LAST_SECTOR))
    questions = iscsitadm_script.questions(start=node.backend.traits.guid == "later")
    first, build, *rest = node.ask((all_zvols, Query(("uname", "-v"), str.strip), *questions))
    if build.get() in ZVOL_HEADS:
        raise Refused(f"{node.name}: {ZVOL_HEADS[build.get()]}")
    legacy = iscsitadm_script.read([part.get() for part in rest])
    volumes = [one for one in first.get() if "target" in one.ours and not inspection.put_aside(node, one.dataset)]
    by_iqn = {target.iqn: target for target in legacy.targets}
    moves = [
        _move(node, one, by_iqn.get(one.ours["target"]), legacy, dom0s)
        for one in volumes
        if _is_theirs(one) or one.ours["target"] in by_iqn
    ]
    mine = {one.ours["target"] for one in volumes}
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    script = iscsitadm_script.script(legacy, node=node.name, when=when) if legacy else ""
    others = tuple(one for one in legacy.targets if one.iqn not in mine)
    ours = {one.dataset for one in volumes}
    return Migration(tuple(moves), others, tuple(name for name in legacy.shared if name not in ours), script)


def _is_theirs(found: Zvol) -> bool:
    """Only a volume of iscsitgtd's has no GUID recorded, or is on its way to another program."""
    return "guid" not in found.ours or "exported-as" in found.ours


def _move(node: StorageNode, found: Zvol, target: Served | None, legacy: Legacy, dom0s: Sequence[str]) -> Move:
    name = VolumeName.parse(found.dataset.removeprefix(node.settings.base + "/"))
    if "last-a" in found.ours:
        raise Refused(
            f"{node.name}: {name}: its last sector is kept in {_LAST_SECTOR} and waits to be put back, since a change "
            'was cut off: run that, or `xvmstore lun export`, again with backend = "iscsitadm" first'
        )
    if found.ours.get("state") in {zvol.DESTROYING, zvol.ROLLING_BACK}:
        raise unfinished(node, name, found.ours["state"])
    known, served = found.ours.get("exported-as"), target is not None
    # From where a GUID is recorded too, a move has begun, and may have been cut off when the ACL was empty already.
    if known is not None and ("guid" in found.ours or not served):
        guid, _, listed = known.partition(" ")
        allowed = tuple(listed.split(",")) if listed != "-" else ()
        return Move(name, found.ours["target"], guid.strip("-"), node.dom0s(allowed) if allowed else (), served)
    if target is not None:
        path = _OLD.device(found.dataset)
        guid = next((lun.guid for lun in target.luns if lun.path == path), "")
        return Move(name, found.ours["target"], guid, _let_in(node, name, target, legacy), served)
    return Move(name, found.ours["target"], found.ours.get("guid", ""), () if legacy.asked else tuple(dom0s), served)


def _let_in(node: StorageNode, name: VolumeName, target: Served, legacy: Legacy) -> tuple[str, ...]:
    """The dom0s in its ACL. Raises Refused for an initiator that is no dom0's."""
    initiators = {one.local: one.initiator.name for one in legacy.initiators}
    by_initiator = node.initiators()
    unknown = [one for one in target.let_in if initiators.get(one) not in by_initiator]
    if unknown or not target.acl:
        who = f"{unknown[0]} ({initiators.get(unknown[0], 'no initiator')})" if unknown else "everybody"
        raise Refused(f"{node.name}: {name} is exported to {who}, which is no dom0 of the configuration: add it first")
    return tuple(by_initiator[initiators[one]] for one in target.let_in)


# -- the two halves ----------------------------------------------------------------------------------------------------


def plan(node: StorageNode, found: Migration, *, end_others: bool = False) -> Plan:
    """The half that can be done on this release. Raises Refused, InUse."""
    if node.backend.traits.guid == "later":
        return _plan_writing_down(node, found)
    _may_move(node, found, end_others=end_others)
    return _plan_moving(node, found)


def _plan_writing_down(node: StorageNode, found: Migration) -> Plan:
    steps = [zvol.set_property(node.dataset(one.name), EXPORTED_AS, _as_text(one)) for one in found.moves]
    return Plan.of(node.lock(*_guests(found)), ("write down", steps))


def _as_text(move: Move) -> str:
    return f"{move.guid or '-'} {','.join(move.dom0s) or '-'}"


def _guests(found: Migration) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.name.guest for one in found.moves)) or ("nobody",)


def _may_move(node: StorageNode, found: Migration, *, end_others: bool) -> None:
    traits = node.backend.traits
    if traits.guid != "ours" or traits.target != "ours" or node.shared:
        raise Refused(
            f"{node.name}: volumes of iscsitadm go to COMSTAR of b116 or later, one target a volume, where GUID and "
            f'target stay; not to release {node.release} with layout = "{node.settings.layout}"'
        )
    busy = [f"{one.name}: {login.initiator}" for one in found.others for login in one.sessions]
    if busy:
        raise InUse(
            f"{node.name}: iscsitgtd must stop, and has others logged in: {'; '.join(busy)}; log them out first"
        )
    others = dict.fromkeys((*(one.name for one in found.others), *found.shared))
    if others and not end_others:
        listed = ", ".join(others)
        raise Refused(
            f"{node.name}: iscsitgtd also exports what is no volume of ours, and must stop: {listed}; --end-others "
            "agrees to that (the script says how to have it back, `xvmstore lun adopt` makes volumes of it)"
        )


def _plan_moving(node: StorageNode, found: Migration) -> Plan:
    """All that can refuse comes first; from where the first target goes there is only one way."""
    old = [one for one in found.moves if one.served]
    doing = Plan.of(
        node.lock(*_guests(found)),
        *[part for one in found.moves for part in _checks(node, one)],
        ("write down", [step for one in found.moves for step in _identity(node, one)]),
        *[part for one in old for part in _withdrawn(node, one)],
        ("services", (*_not_shared(found), _stop_daemon(), *node.backend.prepare(node.needs()))),
        *[part for one in found.moves for part in _exported(node, one)],
        settled="services",
    )
    first = doing.roles.index("withdraw" if old else "services")
    keep = (replace(step, keep=index == first) for index, step in enumerate(doing.steps))
    return replace(doing, steps=tuple(keep))


def _checks(node: StorageNode, move: Move) -> tuple[Part, ...]:
    export = node.recorded(move.name)
    return (
        ("identity", (node.identity(move.name),)),
        ("not destroyed", (zvol.not_destroying(node.dataset(move.name)),)),
        ("same unit", _OLD.same_unit(export) if move.served else ()),
        ("in use", _OLD.not_in_use(export) if move.served else ()),
    )


def _identity(node: StorageNode, move: Move) -> list[Step]:
    """The GUID it had, or a new one where nobody ever saw one; what is not finished can be told by ``EXPORTED_AS``."""
    guid = names.guid(move.guid) if move.guid else node.backend.new_guid()
    facts = (
        (EXPORTED_AS, _as_text(Move(move.name, move.target, guid, move.dom0s, served=False))),
        (zvol.SERIAL, node.backend.serial(guid)),
        (zvol.GUID, guid),
    )
    return [zvol.set_property(node.dataset(move.name), key, value) for key, value in facts]


def _withdrawn(node: StorageNode, move: Move) -> tuple[Part, ...]:
    export = node.recorded(move.name)
    return ("identity", (node.identity(move.name),)), ("withdraw", _OLD.withdraw(export, forever=True))


def _not_shared(found: Migration) -> list[Step]:
    """ZFS starts the daemon again for a zvol that it has to share: renamed, or mounted by the next boot."""
    return [zvol.set_property(dataset, "shareiscsi", "off") for dataset in found.shared]


# svcadm(8) exits 1 where there is no such service.
_STOP = f"""\
svcs {ISCSITGT} >/dev/null 2>&1 || exit 0
exec $xvm_become svcadm disable -s {ISCSITGT}
"""


def _stop_daemon() -> Step:
    """Both want port 3260."""
    return Step(("sh", "-c", _STOP, "stop-iscsitgtd"))


def _exported(node: StorageNode, move: Move) -> tuple[Part, ...]:
    """As ``lun export`` does it; what was exported to nobody has no LU yet."""
    export, dataset = node.with_own_secret(node.recorded(move.name)), node.dataset(move.name)
    access = [node.access(dom0) for dom0 in move.dom0s]
    return (
        ("identity", (node.identity(move.name),)),
        ("unit", node.backend.restore(export) if access else ()),
        ("publish", node.backend.publish(export, access, again=True) if access else ()),
        ("mark", (zvol.set_property(dataset, zvol.STATE, zvol.READY), zvol.forget(dataset, EXPORTED_AS))),
    )


def migrate(node: StorageNode, found: Migration, *, end_others: bool = False) -> tuple[Volume, ...]:
    """Do it; the volumes as they are afterwards. Raises Refused, InUse, StepFailed, PartlyDone."""
    doing = plan(node, found, end_others=end_others)
    outcome = node.run(doing, then=inspection.list_questions(node, node.settings.base))
    if outcome.failed_step is not None and set(doing.roles[: outcome.failed_step + 1]) <= _CHECKS:
        _raise_objection(node, _whose(found, doing, outcome.failed_step), doing, outcome)
    doing.must(outcome)
    there = {one.name: one for one in inspection.list_answer(node, outcome.answers)[0]}
    moved = tuple(there[str(one.name)] for one in found.moves)
    if node.backend.traits.guid != "later":
        _confirm(node, found, moved)
    return moved


def _whose(found: Migration, doing: Plan, index: int) -> VolumeName:
    """The volume that the check at this place is about: each begins with its identity."""
    return found.moves[doing.roles[: index + 1].count("identity") - 1].name


def _raise_objection(node: StorageNode, name: VolumeName, doing: Plan, outcome: Outcome) -> None:
    """What a check found; who is logged in is told by the old program."""
    end = outcome.steps[outcome.failed_step or 0]
    if doing.failed_role(outcome) == "in use" and end.how == "unmet":
        who = ", ".join(_OLD.logged_in(end.stdout))
        raise InUse(f"{node.name}: {name} is in use: {who} is logged in; log it out first")
    raise_failure(node, name, doing, outcome)


def _confirm(node: StorageNode, found: Migration, moved: Sequence[Volume]) -> None:
    expected = [Expected(exported=bool(one.dom0s), dom0s=one.dom0s) for one in found.moves]
    wrong = [
        f"{there.name}: {'; '.join([*there.trouble, *expect.missed(there)])}"
        for expect, there in zip(expected, moved, strict=True)
        if there.trouble or list(expect.missed(there))
    ]
    if wrong:
        raise Refused(f"{node.name}: moved, but {'. '.join(wrong)}; `xvmstore lun export` mends each")
