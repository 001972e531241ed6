"""``guest list``: volumes, the guests that run, and who is logged in to what, joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dom0 import xenstore
from dom0.block_script import Shown
from dom0.toolstack import Domain
from dom0.xenstore import Vbd
from remote.host import Answer
from remote.script import Query
from xvmstore.dom0s import XenDom0
from xvmstore.guests import attachment
from xvmstore.nodes import StorageNode
from xvmstore.results import Attachment, Guest, Volume


@dataclass(frozen=True, slots=True)
class Seen:
    """What one dom0 says of itself. ``shown`` names disks where nobody else can."""

    dom0: XenDom0
    domains: tuple[Domain, ...]
    vbds: tuple[Vbd, ...]
    shown: Shown = field(default_factory=Shown)


def questions(dom0: XenDom0) -> tuple[Query[Any], ...]:
    """All that is asked of a dom0."""
    return dom0.stack.domains(), xenstore.vbds(), *dom0.names_here()


def seen(dom0: XenDom0, answers: Sequence[Answer[Any]]) -> Seen:
    """Its answers. Raises what a question ran into."""
    domains, vbds, *shown = (answer.get() for answer in answers)
    return Seen(dom0, domains, vbds, *shown)


def guests(
    node: StorageNode, volumes: Sequence[Volume], dom0s: Sequence[Seen], failed: Mapping[str, str]
) -> tuple[Guest, ...]:
    """Every guest that has volumes, by name. ``failed`` are dom0s that did not answer, and why."""
    by_guest: dict[str, list[Volume]] = {}
    for volume in volumes:
        by_guest.setdefault(volume.name.partition("/")[0], []).append(volume)
    found = (_guest(node, name, mine, dom0s) for name, mine in sorted(by_guest.items()))
    return tuple(replace(one, trouble=(*one.trouble, *_unknown(by_guest[one.name], failed))) for one in found)


def _unknown(volumes: Sequence[Volume], failed: Mapping[str, str]) -> list[str]:
    """What a dom0 that may have the guest did not tell."""
    concerned = {dom0 for volume in volumes for dom0 in volume.dom0s}
    return [f"{dom0} could not be asked: {why}" for dom0, why in failed.items() if {dom0, "All"} & concerned]


def _guest(node: StorageNode, name: str, volumes: Sequence[Volume], dom0s: Sequence[Seen]) -> Guest:
    runs = [(one.dom0.name, domain) for one in dom0s for domain in one.domains if domain.name == name]
    attached = tuple(found for one in dom0s for volume in volumes for found in _attachments(one, volume))
    names = node.initiators()
    disks = tuple(
        (one.name, one.vdev, tuple(names.get(session, session) for session in one.sessions)) for one in volumes
    )
    where, domain = runs[0] if runs else (None, None)
    trouble = [
        *_twice(name, runs),
        *_misplaced(name, attached),
        *_idle(disks, attached, _script_only(node, dom0s)),
    ]
    return Guest(
        name=name,
        dom0=where,
        domid=domain.domid if domain else None,
        state=domain.state if domain else "not running",
        disks=disks,
        attached=attached,
        trouble=tuple(trouble),
    )


def _attachments(one: Seen, volume: Volume) -> list[Attachment]:
    names: Mapping[int, str] = {domain.domid: domain.name for domain in one.domains}
    return [
        attachment(one.dom0, volume, vbd, domain=names.get(vbd.domid, f"domain {vbd.domid}"))
        for vbd in one.vbds
        if one.dom0.serves(vbd, volume, one.shown)
    ]


def _twice(name: str, runs: Sequence[tuple[str, Domain]]) -> list[str]:
    where = ", ".join(dom0 for dom0, _ in runs)
    return [f"{name} runs on {where}: its disks are lost unless it is migrating"] if len(runs) > 1 else []


def _misplaced(name: str, attached: Sequence[Attachment]) -> list[str]:
    """Attached to another guest, twice, or half."""
    found = [f"{one.volume} is attached to {one.domain} on {one.dom0}" for one in attached if one.domain != name]
    found += [f"{one.volume} is {one.state} on {one.dom0}" for one in attached if one.state != "connected"]
    volumes = [one.volume for one in attached]
    return found + [f"{one} is attached more than once" for one in sorted(set(volumes)) if volumes.count(one) > 1]


def _script_only(node: StorageNode, dom0s: Sequence[Seen]) -> set[str]:
    """Where a session must have a user: by path it is there beforehand, on a shared target it may be for another."""
    return set() if node.shared else {one.dom0.name for one in dom0s if one.dom0.by_script}


def _idle(
    disks: Sequence[tuple[str, str | None, tuple[str, ...]]], attached: Sequence[Attachment], looked_at: set[str]
) -> list[str]:
    """A session on a dom0 where no guest has the volume."""
    users = {(one.volume, one.dom0) for one in attached}
    return [
        f"{dom0} is logged in to {volume}, and no guest there has it"
        for volume, _, sessions in disks
        for dom0 in sessions
        if dom0 in looked_at and (volume, dom0) not in users
    ]
