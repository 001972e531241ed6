"""What is there of a volume: the questions, and their answers put together as one ``Volume``."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from iscsi.backend import Everything, Exported
from iscsi.model import View
from remote.errors import NotFound
from remote.host import Answer
from remote.script import Captured, Query
from storage import zvol
from storage.names import VDEV, VolumeName
from storage.zvol import Zvol
from xvmstore.nodes import StorageNode
from xvmstore.results import Volume


def questions(node: StorageNode, name: VolumeName, *, extra: Sequence[str] = ()) -> tuple[Query[Any], ...]:
    """Everything about one volume; its GUID and target are taken from the zvol itself, on the node."""
    first = zvol.zvol(node.dataset(name), extra=extra)
    return (first, *node.backend.inspect(Captured("guid"), Captured("target")))


def answer(node: StorageNode, name: VolumeName, answers: Sequence[Answer[Any]]) -> Volume:
    """The volume. Raises NotFound, or what a question ran into."""
    found: Zvol | None = answers[0].get()
    if found is None:
        raise NotFound(f"{node.name}: there is no volume {name} ({node.dataset(name)} does not exist)")
    return volume(node, found, _read(node, found, answers))


def _read(node: StorageNode, found: Zvol, answers: Sequence[Answer[Any]]) -> Exported:
    count = len(node.backend.inspect("", ""))
    parts = [part.get() for part in answers[1 : 1 + count]]
    exported = node.backend.read(parts, node.backend.device(found.dataset))
    return _with_waiting(node, found, exported)


def _with_waiting(node: StorageNode, found: Zvol, exported: Exported) -> Exported:
    """Views that wait for this volume's LU: under its LUN, or, on a target of its own, under none.

    While they do, the LU is not served to them, though it may be there.
    """
    lun = found.ours.get("lun")
    mine = [view for view in exported.waiting if str(view.lun) == lun or (view.lun is None and not node.shared)]
    if exported.views or not mine:
        return exported
    unit = replace(exported.unit, state="waited for") if exported.unit else None
    return replace(exported, unit=unit, views=tuple(mine))


def volume(node: StorageNode, found: Zvol, exported: Exported) -> Volume:
    """Facts of ZFS and of the target program as one volume."""
    ours = found.ours
    unit, target = exported.unit, exported.target
    size = found.volsize - found.head
    recorded = {name: _well_formed(found, name) for name in _SHAPES}
    guid = recorded["guid"] or (unit.guid if unit else "")
    watchers = tuple(session.initiator for session in target.sessions) if target else ()
    return Volume(
        name=found.dataset.removeprefix(node.settings.base + "/"),
        node=node.name,
        dataset=found.dataset,
        size=size,
        thin=found.thin,
        block_size=found.volblocksize,
        used=found.used,
        created=found.creation,
        guid=guid.upper() or None,
        serial=ours.get("serial"),
        target=recorded["target"],
        lun=int(recorded["lun"]) if recorded["lun"] else None,
        portals=node.settings.portals,
        dom0s=_dom0s(node, exported.views),
        sessions=_who_can_see(watchers, exported) if node.shared else watchers,
        state=ours.get("state", "foreign"),
        exported=bool(unit and unit.online and target and target.online),
        vdev=recorded["vdev"],
        trouble=tuple(_trouble(node, found, exported)),
    )


_SHAPES = {
    "guid": re.compile(r"6[0-9A-Fa-f]{31}"),
    "target": re.compile(r"(iqn|eui)\.[0-9A-Za-z.:-]+"),
    "lun": re.compile(r"[0-9]{1,5}"),
    "vdev": re.compile(VDEV),
}


def _well_formed(found: Zvol, name: str) -> str | None:
    """What is recorded on the zvol, unless somebody put there what it cannot be."""
    text = found.ours.get(name)
    return text if text is not None and _SHAPES[name].fullmatch(text) else None


def _dom0s(node: StorageNode, views: Sequence[View]) -> tuple[str, ...]:
    by_group = node.viewer_names()
    groups = (view.host_group for view in views)
    return tuple(sorted("All" if group is None else by_group.get(group, group) for group in groups))


def viewers(node: StorageNode, answers: Sequence[Answer[Any]]) -> tuple[str, ...]:
    """The initiators that are logged in or could be, and see the volume."""
    exported = _read(node, answers[0].get(), answers)
    watchers = tuple(session.initiator for session in exported.target.sessions) if exported.target else ()
    groups = {view.host_group for view in exported.views}
    members = [member for group in exported.host_groups if group.name in groups for member in group.members]
    return tuple(dict.fromkeys((*members, *_who_can_see(watchers, exported))))


def _who_can_see(watchers: Sequence[str], exported: Exported) -> tuple[str, ...]:
    """On a shared target a login matters only if its initiator has a view of this LU."""
    groups = {view.host_group for view in exported.views}
    if None in groups:
        return tuple(watchers)
    members = {member for group in exported.host_groups if group.name in groups for member in group.members}
    return tuple(initiator for initiator in watchers if initiator in members)


def _trouble(node: StorageNode, found: Zvol, exported: Exported) -> Iterator[str]:
    """What does not fit together, in words."""
    for name in _SHAPES:
        if name in found.ours and _well_formed(found, name) is None:
            yield f"its property {zvol.PREFIX}{name} is {found.ours[name]!a}, which it cannot be: set it right"
    unit, lun, size = exported.unit, found.ours.get("lun"), found.volsize - found.head
    if unit is not None and unit.registered and unit.size is not None and unit.size != size:
        yield f"the LU has {unit.size} bytes, the volume {size}"
    if unit is not None and unit.block_size not in (None, 512):
        # Xen's blkif.h, note 12: front and back ends disagree about the size of anything else.
        yield f"the LU has blocks of {unit.block_size} bytes: Xen guests need 512"
    if unit is not None and unit.read_only:
        yield "the LU is write protected"
    if left_thin(found):
        yield "no space is set aside for it any more: a rollback was cut off; `lun export` sets it aside again"
    for view in exported.views:
        if view.host_group is None:
            yield f"every host may see it (view {view.index})"
        elif view.lun is not None and str(view.lun) != lun:
            yield f"host group {view.host_group} sees it as LUN {view.lun}, not {lun}"
    yield from _open_doors(node, exported)


def left_thin(found: Zvol) -> bool:
    """A thick volume that a rollback left thin."""
    return found.ours.get("thick") == "on" and found.thin


def _open_doors(node: StorageNode, exported: Exported) -> Iterator[str]:
    """A target that asks for no CHAP lets in whoever uses the dom0's name."""
    setup, by_group = exported.setup, node.viewer_names()
    dom0s = {by_group[view.host_group] for view in exported.views if view.host_group in by_group}
    guarded = sorted(dom0 for dom0 in dom0s if node.config.dom0s[dom0].chap_user)
    if setup is not None and guarded and setup.auth != "chap":
        yield f"its target asks for no CHAP (auth {setup.auth}), though {', '.join(guarded)} is to use it"
    group = node.settings.portal_group
    if setup is not None and group and setup.portal_groups != (group,):
        yield f"its target listens on {', '.join(setup.portal_groups) or 'every address'}, not on portal group {group}"
    for host in exported.host_groups:
        initiator = node.access(by_group[host.name], secrets=False).initiator if host.name in by_group else None
        others = [member for member in host.members if member != initiator]
        if others and initiator and host.name in {view.host_group for view in exported.views}:
            yield f"host group {host.name} has other members too: {', '.join(others)}"


def list_questions(node: StorageNode, below: str) -> tuple[Query[Any], ...]:
    """Everything about all volumes below a dataset."""
    return (zvol.zvols(below), *node.backend.inspect_all())


def list_answer(node: StorageNode, answers: Sequence[Answer[Any]]) -> tuple[tuple[Volume, ...], Everything]:
    """All volumes of ours, and all that the node exports."""
    found: tuple[Zvol, ...] = answers[0].get()
    everything = node.backend.read_all([part.get() for part in answers[1:]])
    volumes = (one for one in found if "target" in one.ours and not put_aside(node, one.dataset))
    return tuple(volume(node, one, exported(node, one, everything)) for one in volumes), everything


def put_aside(node: StorageNode, dataset: str) -> bool:
    """Is it no guest's disk, but something a rollback keeps?"""
    return ":" in dataset.removeprefix(node.settings.base + "/").partition("/")[0]


def exported(node: StorageNode, found: Zvol, everything: Everything) -> Exported:
    """What of this zvol's export is there."""
    path, guid = node.backend.device(found.dataset), found.ours.get("guid", "").upper()
    unit = next((unit for unit in everything.units if unit.path == path), None)
    target = next((target for target in everything.targets if target.name == found.ours["target"]), None)
    waiting = everything.waiting.get(found.ours["target"], ())
    views = everything.views.get(guid or (unit.key if unit else ""), ())
    return _with_waiting(node, found, Exported(unit, views, target, None, everything.host_groups, waiting))
