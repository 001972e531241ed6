"""What the data side must serve for COMSTAR, worked out from units, views, groups, targets and CHAP accounts.

A LUN shows on a target when the target is online, STMF and the iSCSI target service run, the unit is registered and
online, and one of its views covers the target (target group All, or a group with the target in it).

Limit: the data side cannot mask LUNs by initiator inside one target, so all initiators let in to a target must see
the same LUNs. Where views differ, those that see what the first initiator (by name) sees are served and the others
are refused at login. Nobody ever sees a LUN without a view for it. An initiator that belongs to no host group is
only let in when every LUN of the target has a view for the host group All and no host group sees more.
"""

from dataclasses import dataclass

from embedded import backing
from embedded.model import ISCSI_TARGET, STMF, LogicalUnit, Node, Target, View
from embedded.served import ChapAccount, ServedLun, ServedTarget

Luns = dict[int, LogicalUnit]


def served(node: Node) -> tuple[ServedTarget, ...]:
    """Every online target of the node, with or without LUNs. Empty when a service is down."""
    if not (node.online(STMF) and node.online(ISCSI_TARGET)):
        return ()
    online = [
        (name, target)
        for name, target in node.targets.items()
        if target.provider == "iscsit" and target.state == "Online"
    ]
    views = _Views(node)
    return tuple(_serve(node, name, target=target, covering=views.of(name)) for name, target in online)


def _serve(node: Node, name: str, *, target: Target, covering: list[tuple[View, LogicalUnit]]) -> ServedTarget:
    everyone = _luns_for(covering, group=None)
    members = {
        member: _luns_for(covering, group=group)
        for group, initiators in node.host_groups.items()
        for member in initiators
    }
    seeing = {member: luns for member, luns in sorted(members.items()) if luns}
    open_to_all = bool(everyone) and all(_same(luns, everyone) for luns in seeing.values())
    luns = next(iter(seeing.values()), everyone)
    allowed = tuple(member for member, own in seeing.items() if _same(own, luns))
    access = _Access(allowed, open_to_all)
    if _auth(node, target) != "none":
        access = _authenticated(node, target, access)
    return ServedTarget(
        iqn=name,
        luns=tuple(_lun(node, number, unit=luns[number]) for number in sorted(luns)),
        initiators=access.initiators,
        open_to_all=access.open_to_all,
        incoming=access.accounts,
        outgoing=_outgoing(name, target, authenticated=bool(access.accounts)),
    )


@dataclass(frozen=True, slots=True)
class _Access:
    initiators: tuple[str, ...]
    open_to_all: bool
    accounts: tuple[ChapAccount, ...] = ()


class _Views:
    """The views of units that can be served, by the targets that they cover."""

    def __init__(self, node: Node) -> None:
        self._by_group: dict[str | None, list[tuple[View, LogicalUnit]]] = {}
        self._groups: dict[str, list[str]] = {}
        for group, members in node.target_groups.items():
            for member in members:
                self._groups.setdefault(member, []).append(group)
        for guid, entries in node.views.items():
            unit = node.units.get(guid)
            if unit is not None and unit.state == "Online" and _backing(node, unit):
                for view in entries.values():
                    self._by_group.setdefault(view.target_group, []).append((view, unit))

    def of(self, target: str) -> list[tuple[View, LogicalUnit]]:
        """The views that cover a target."""
        groups = (None, *self._groups.get(target, []))
        return [entry for group in groups for entry in self._by_group.get(group, [])]


def _backing(node: Node, unit: LogicalUnit) -> backing.Backing | None:
    """What lies under the unit; a file that was taken away has nothing to serve."""
    return backing.find(node, unit.file, meta_file=unit.meta_file)


def _luns_for(covering: list[tuple[View, LogicalUnit]], *, group: str | None) -> Luns:
    return {view.lun: unit for view, unit in covering if view.host_group in {None, group}}


def _same(one: Luns, other: Luns) -> bool:
    return {lun: unit.guid for lun, unit in one.items()} == {lun: unit.guid for lun, unit in other.items()}


def _auth(node: Node, target: Target) -> str:
    return target.auth or node.defaults.auth or "none"


def _authenticated(node: Node, target: Target, access: _Access) -> _Access:
    """The same access with authentication: only initiators with a secret of their own, never "all".

    RADIUS has no server here, so it lets nobody in.
    """
    if _auth(node, target) != "chap":
        return _Access((), open_to_all=False)
    names = sorted({*access.initiators, *node.initiators}) if access.open_to_all else access.initiators
    known = [(name, node.initiators[name]) for name in names if name in node.initiators]
    accounts = {name: ChapAccount(one.user or name, one.secret) for name, one in known if one.secret}
    return _Access(tuple(accounts), open_to_all=False, accounts=tuple(accounts.values()))


def _outgoing(name: str, target: Target, *, authenticated: bool) -> ChapAccount | None:
    if not authenticated or not target.chap_secret:
        return None
    return ChapAccount(target.chap_user or name, target.chap_secret)


def _lun(node: Node, number: int, *, unit: LogicalUnit) -> ServedLun:
    under = _backing(node, unit)
    if under is None:
        raise LookupError(f"the data file of unit {unit.guid} is gone: {unit.file}")
    return ServedLun(
        number=number,
        path=under.path,
        offset=under.offset,
        size=unit.size,
        block_size=unit.block_size,
        guid=unit.guid,
        serial=unit.serial or "",
        vendor=unit.vendor or "SUN",
        product=unit.product or "COMSTAR",
        read_only=unit.write_protect,
        write_cache=not unit.cache_disabled,
    )
