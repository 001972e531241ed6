"""View entries and the host and target groups: what libstmf and the kernel allow and refuse.

A view of ``None`` for a group is All. Two views overlap when their host groups are equal or one is All, and their
target groups likewise.
"""

from embedded.model import STMF, Node, View
from embedded.stmf import Code, StmfError, open_store

LARGEST_LUN = 16383


def _meets(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def overlap(one: View, other: View) -> bool:
    """Whether some initiator could see both through one target."""
    return _meets(one.host_group, other.host_group) and _meets(one.target_group, other.target_group)


def add(node: Node, guid: str, *, host_group: str | None, target_group: str | None, lun: int | None) -> None:
    """Add a view; the unit need not exist. Without ``lun`` the lowest that no overlapping view uses."""
    open_store(node)
    if host_group is not None and host_group not in node.host_groups:
        raise StmfError(Code.INVALID_HG)
    if target_group is not None and target_group not in node.target_groups:
        raise StmfError(Code.INVALID_TG)
    view = View(host_group, target_group, 0)
    own = node.views.get(guid, {})
    if any(overlap(view, other) for other in own.values()):
        raise StmfError(Code.VIEW_CONFLICT)
    taken = {other.lun for entries in node.views.values() for other in entries.values() if overlap(view, other)}
    if lun is not None and lun in taken:
        raise StmfError(Code.LUN_IN_USE)
    view.lun = _lowest_free(taken) if lun is None else lun
    # Unrecorded: a new entry takes the lowest index that is free.
    node.views.setdefault(guid, {})[_lowest_free(set(own))] = view


def _lowest_free(taken: set[int]) -> int:
    return next(number for number in range(LARGEST_LUN + 1) if number not in taken)


def listed(node: Node, guid: str) -> dict[int, View]:
    """The views of a unit by index; none for an unknown unit."""
    open_store(node)
    return dict(sorted(node.views.get(guid, {}).items()))


def remove(node: Node, guid: str, *, index: int) -> None:
    """Remove one view; the others keep their indexes."""
    open_store(node)
    entries = node.views.get(guid, {})
    if index not in entries:
        raise StmfError(Code.NOT_FOUND)
    del entries[index]
    if not entries:
        del node.views[guid]


def remove_all(node: Node, guid: str) -> None:
    """Remove every view of a unit; none is an error."""
    open_store(node)
    if not node.views.pop(guid, None):
        raise StmfError(Code.NOT_FOUND)


def create_group(node: Node, groups: dict[str, list[str]], *, name: str) -> None:
    """Make an empty group."""
    open_store(node)
    if name == "*":
        raise StmfError(Code.ERROR)
    if name in groups:
        raise StmfError(Code.EXISTS)
    groups[name] = []


def delete_group(node: Node, groups: dict[str, list[str]], *, name: str) -> None:
    """Delete a group, members or not; a view that names it prevents that."""
    open_store(node)
    if name not in groups:
        raise StmfError(Code.NOT_FOUND)
    if name in _groups_in_views(node, hosts=groups is node.host_groups):
        raise StmfError(Code.GROUP_IN_USE)
    del groups[name]


def _groups_in_views(node: Node, *, hosts: bool) -> set[str | None]:
    entries = [view for views in node.views.values() for view in views.values()]
    return {view.host_group if hosts else view.target_group for view in entries}


def add_member(node: Node, groups: dict[str, list[str]], *, name: str, member: str) -> None:
    """Add a member; it may be in one group of the kind only."""
    open_store(node)
    if name not in groups:
        raise StmfError(Code.GROUP_NOT_FOUND)
    if any(member in members for members in groups.values()):
        raise StmfError(Code.EXISTS)
    _check_offline(node, groups, member=member)
    groups[name].append(member)


def remove_member(node: Node, groups: dict[str, list[str]], *, name: str, member: str) -> None:
    """Take a member out of a group."""
    open_store(node)
    if name not in groups:
        raise StmfError(Code.GROUP_NOT_FOUND)
    if member not in groups[name]:
        raise StmfError(Code.MEMBER_NOT_FOUND)
    _check_offline(node, groups, member=member)
    groups[name].remove(member)


def _check_offline(node: Node, groups: dict[str, list[str]], *, member: str) -> None:
    if groups is not node.target_groups:
        return
    if node.flavour.group_needs == "service":
        if node.online(STMF):
            raise StmfError(Code.SERVICE_ONLINE)
        return
    target = node.targets.get(member)
    if target is not None and target.state != "Offline":
        raise StmfError(Code.TARGET_ONLINE)
