"""Take over a zvol that somebody made by hand or with another tool: its data stay, and so does its LU's GUID.

Two trips: what there is has to be known before it is decided what to do. The export it had is given up for one as the
configuration wants it, so nobody may be logged in to it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from iscsi import names as iscsi_names
from iscsi.backend import Everything
from iscsi.comstar import SBD_HEAD
from iscsi.model import LogicalUnit, View
from remote.errors import InUse, NotFound, Refused
from remote.host import user_name
from remote.script import Captured, Expect, Step
from storage import names, zvol
from storage.names import VolumeName
from storage.zvol import PREFIX, Zvol
from xvmstore import inspection, luns
from xvmstore.nodes import StorageNode
from xvmstore.outcomes import Expected, confirmed, raise_failure
from xvmstore.plan import Plan
from xvmstore.results import Volume
from xvmstore.version import __version__
from xvmstore.volumes import Identity, lun_is_free, marks

# The name it had: so a run that was cut off, or is repeated, can be told from one that would take a volume of ours.
ADOPTED = PREFIX + "adopted-from"
_GUID = re.compile(r"[0-9A-Fa-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """A zvol of somebody else's: its LU, if it has one, who sees that, and who of them is logged in where."""

    zvol: Zvol
    unit: LogicalUnit | None
    views: tuple[View, ...]
    viewers: tuple[tuple[str, str], ...]

    @property
    def begun(self) -> bool:
        """An earlier run was cut off before it had its new name, or all but its name."""
        ours = self.zvol.ours
        return ours.get("adopted-from") == self.zvol.dataset and ours.get("state") != zvol.READY


def look(node: StorageNode, what: str) -> Found:
    """A zvol by its name or by its LU's GUID. Raises NotFound, Refused for what cannot be adopted."""
    by_guid = _GUID.match(what) is not None
    dataset = node.settings.base if by_guid else names.dataset(what)
    shared = tuple(key for key, _ in node.unshared)
    first, *rest = node.ask((zvol.zvol(dataset, extra=(ADOPTED, *shared)), *node.backend.inspect_all()))
    everything = node.backend.read_all([part.get() for part in rest])
    if by_guid:
        return look(node, _dataset_of(node, what.upper(), everything))
    zvol_: Zvol | None = first.get()
    if zvol_ is None:
        raise NotFound(f"{node.name}: there is no zvol {what}: see `xvmstore lun list`")
    unit = next((unit for unit in everything.units if unit.path == node.backend.device(dataset)), None)
    views = everything.views.get(unit.key, ()) if unit else ()
    return Found(zvol_, unit, views, tuple(_viewers(views, everything)))


def _dataset_of(node: StorageNode, guid: str, everything: Everything) -> str:
    unit = next((unit for unit in everything.units if unit.guid == guid), None)
    if unit is None or unit.path is None:
        raise NotFound(
            f"{node.name}: there is no LU {guid}"
            + (", only views that wait for it" if unit else ": see `xvmstore lun list`")
        )
    prefix = node.backend.device("")
    if not unit.path.startswith(prefix):
        raise Refused(
            f"{node.name}: the LU {guid} is on the file {unit.path}, no zvol: make a volume of {unit.size} bytes, "
            f"delete this LU, and copy its data, which begin after {SBD_HEAD} bytes of COMSTAR's own: `dd "
            f"if={unit.path} of={prefix}... bs={SBD_HEAD} iseek=1`"
        )
    return unit.path.removeprefix(prefix)


def _viewers(views: Sequence[View], everything: Everything) -> Iterator[tuple[str, str]]:
    """Target and initiator of each login that may use the LU."""
    groups = {view.host_group for view in views}
    members = {member for group in everything.host_groups if group.name in groups for member in group.members}
    for target in everything.targets:
        for session in target.sessions:
            if None in groups or session.initiator in members:
                yield target.name, session.initiator


def adoptable(node: StorageNode, found: Found, name: VolumeName) -> None:
    """Checks that it can become a volume of ours. Raises Refused, InUse."""
    dataset, unit, where = found.zvol.dataset, found.unit, f"{node.name}: {found.zvol.dataset}"
    if "target" in found.zvol.ours and not found.begun:
        raise Refused(f"{where} is a volume of xvmstore's already: use `xvmstore volume rename`")
    if ":" in dataset.rpartition("/")[2]:
        raise Refused(f"{where} is no volume, but something a rollback or a cut-off command left")
    told = [f"{key}={found.zvol.asked[key]}" for key, off in node.unshared if found.zvol.asked[key] != off]
    if told:
        raise Refused(
            f"{where} has {told[0]}: ZFS exports it by itself; that ends first: `zfs set {told[0].split('=')[0]}=off`"
        )
    pool = node.settings.base.partition("/")[0]
    if dataset.partition("/")[0] != pool:
        raise Refused(f"{where} is not in the pool {pool}: bring it there with `zfs send` and `zfs receive` first")
    if unit is None and node.backend.traits.head and not found.begun:
        raise Refused(
            f"{where} has no LU, and to make one here overwrites its first {node.backend.traits.head} bytes: make a "
            f"volume with `xvmstore volume create {name}`, and copy the data into it over iSCSI"
        )
    if unit is not None and not node.backend.traits.adopts:
        who = (
            ", ".join(dict.fromkeys(view.target_group or unit.alias or "somebody" for view in found.views)) or "nobody"
        )
        raise Refused(
            f"{where} is exported (to {who}): take that export away with the tool that made it, then adopt it"
        )
    if unit is not None and unit.size not in {None, found.zvol.volsize, found.zvol.volsize - head(node, found)}:
        raise Refused(f"{where} has {found.zvol.volsize} bytes, its LU {unit.size}: make them the same size first")
    if found.viewers:
        logins = ", ".join(sorted({f"{initiator} to {target}" for target, initiator in found.viewers}))
        raise InUse(f"{where} is in use: logged in: {logins}; log out first")


def head(node: StorageNode, found: Found) -> int:
    """Bytes of the zvol that its LU's metadata take: before b116, and for as long as such an LU lives."""
    unit = found.unit
    if found.begun:
        return found.zvol.head
    if unit is None or unit.size is None:
        return node.backend.traits.head
    return SBD_HEAD if unit.size == found.zvol.volsize - SBD_HEAD else 0


def plan_adopt(node: StorageNode, found: Found, name: VolumeName, *, dom0s: Sequence[str]) -> Plan:
    """Mark it, take the export it had away, give it its name, and export it as the configuration wants it."""
    old, new = found.zvol.dataset, node.dataset(name)
    identity = _identity(node, found, name)
    own = head(node, found)
    serial = _serial(node, found, identity)
    facts = {"guid": identity.guid, "serial": serial, "lun": str(identity.lun), "target": identity.target}
    export = node.with_own_secret(node.export(name, size=str(found.zvol.volsize - own), **facts))
    before = replace(export, dataset=old, shared=True)
    backend = node.backend
    nobodys = Step(("zfs", "get", "-H", "-o", "value", zvol.TARGET, old), expect=(Expect("p", "-"),))
    gone = backend.withdraw(before, forever=False) if found.unit else ()
    return Plan.of(
        node.lock(name.guest),
        ("nobodys", () if found.begun else (nobodys,)),
        ("same unit", backend.same_unit(before)),
        ("lun free", lun_is_free(node, identity) if node.shared else ()),
        ("parents", (zvol.make_parents(node.settings.base, name.guest),)),
        ("vdev", (zvol.free_vdev(node.parent(name.guest)),)),
        ("mark", _marked(node, old, identity, serial=serial, own=own)),
        # Nobody could bring those views back, so from here on there is only one way.
        ("withdraw", [replace(step, keep=index == 0) for index, step in enumerate(gone)]),
        ("name", () if old == new else (zvol.rename(old, new),)),
        ("unit", backend.restore(export)),
        ("record", node.record_its_choices(name)),
        ("publish", backend.publish(export, [node.access(dom0) for dom0 in dom0s], again=True)),
        ("mark", (zvol.set_property(new, zvol.STATE, zvol.READY),)),
        settled="withdraw",
    )


def _identity(node: StorageNode, found: Found, name: VolumeName) -> Identity:
    fresh = Identity.new(node, name)
    kept = found.unit.guid if found.unit and found.unit.guid else found.zvol.ours.get("guid", "")
    if not kept:
        return fresh
    return replace(fresh, guid=iscsi_names.guid(kept), target=node.new_target(name, kept))


def _serial(node: StorageNode, found: Found, identity: Identity) -> str:
    """The one its LU has; it was written down where an earlier run was cut off."""
    known = found.unit.serial if found.unit else found.zvol.ours.get("serial")
    return known or node.backend.serial(identity.guid)


def _marked(node: StorageNode, dataset: str, identity: Identity, *, serial: str, own: int) -> list[Step]:
    """Who made it is somebody else; who took it over is written down. What makes it ours is set last."""
    taken = [(ADOPTED, dataset), (zvol.MAKER, f"adopted,xvmstore-{__version__},{user_name()}")]
    made = marks(node, identity, vdev=Captured("free"), serial=serial, head=own)
    return [
        replace(zvol.set_property(dataset, key, value), undo=("zfs", "inherit", key, dataset))
        for key, value in (*taken, *made)
    ]


def adopt(node: StorageNode, what: str, name: VolumeName, *, dom0s: Sequence[str]) -> Volume:
    """Make somebody else's zvol a volume. Raises NotFound, Refused, InUse, StepFailed, PartlyDone."""
    try:
        found = look(node, what)
    except NotFound:
        if not _has_its_name(node, what, name):
            raise
        return luns.export(node, name, dom0s=dom0s)
    if found.zvol.dataset == node.dataset(name) and "adopted-from" in found.zvol.ours and not found.begun:
        return luns.export(node, name, dom0s=dom0s)
    adoptable(node, found, name)
    plan = plan_adopt(node, found, name, dom0s=dom0s)
    outcome = node.run(plan, then=inspection.questions(node, name))
    if plan.failed_role(outcome) == "name" and found.unit is None:
        raise Refused(f"{node.name}: {node.dataset(name)} exists: choose another name than {name}")
    if plan.failed_role(outcome) == "lun free":
        raise Refused(f"{node.name}: the LUN tried for {name} was taken: nothing was done; run the same command again")
    raise_failure(node, name, plan, outcome)
    return confirmed(node, name, outcome, made="adopted", expect=Expected(exported=bool(dom0s) or None, dom0s=dom0s))


def _has_its_name(node: StorageNode, what: str, name: VolumeName) -> bool:
    """An earlier run came as far as the new name."""
    found: Zvol | None = node.ask((zvol.zvol(node.dataset(name), extra=(ADOPTED,)),))[0].get()
    return found is not None and what.lower() in {
        found.ours.get("adopted-from", "-").lower(),
        found.ours.get("guid", "-").lower(),
    }
