"""zfs set, inherit, rename, promote."""

from embedded import backing, content, shareiscsi, sizes, tree, zfs_names, zfs_values
from embedded.answer import Answer
from embedded.model import Dataset
from embedded.zfs_call import Call, ZfsError, ZfsUsageError
from embedded.zfs_create import check_place, make_parents
from embedded.zfs_props import find, is_user
from embedded.zfs_space import Space, number, thick_reservation


def _split(call: Call) -> tuple[list[tuple[str, str]], list[str]]:
    """The settings and the datasets of a set line."""
    words = list(call.operands)
    count = 0
    while count < len(words) and "=" in words[count] and (count == 0 or call.node.flavour.several_properties):
        count += 1
    if not count:
        raise ZfsUsageError("missing property=value argument(s)\n")
    if count == len(words):
        raise ZfsUsageError("missing dataset name(s)\n")
    pairs = [tuple(word.split("=", 1)) for word in words[:count]]
    return [(pair[0], pair[1]) for pair in pairs], words[count:]


def set_properties(call: Call) -> Answer:
    """Set properties on datasets; all values are checked before any is set."""
    pairs, names = _split(call)
    status = 0
    for name in names:
        try:
            _set(call, name, pairs=pairs)
        except ZfsError as error:
            call.printer.complain(str(error))
            status = 1
    return call.done(status)


def _set(call: Call, name: str, *, pairs: list[tuple[str, str]]) -> None:
    dataset = call.dataset(name)
    action = f"cannot set property for '{name}'"
    call.check_rights(action)
    call.check_room(action)
    try:
        checked = [zfs_values.checked(call.node, key, value, kind=dataset.kind, creating=False) for key, value in pairs]
        for key, raw in checked:
            _check_sizes(call, name, key=key, raw=raw)
    except zfs_values.BadValueError as error:
        raise ZfsError(f"{action}: {error}\n") from error
    for key, raw in checked:
        if key == "volsize":
            _resize(call, name, size=int(raw))
        else:
            _store(call, dataset, key=key, raw=raw)
    if any(key == shareiscsi.PROPERTY for key, _ in checked):
        shareiscsi.follow(call.node, now=call.now)


def _store(call: Call, dataset: Dataset, *, key: str, raw: str) -> None:
    if raw == "auto":
        raw = str(thick_reservation(call.node, dataset.volsize, volblocksize=dataset.volblocksize))
    dataset.properties[key] = raw


def _check_sizes(call: Call, name: str, *, key: str, raw: str) -> None:
    dataset = call.node.datasets[name]
    if key == "volsize":
        if int(raw) % dataset.volblocksize:
            block = sizes.human(dataset.volblocksize)
            raise zfs_values.BadValueError(f"'volsize' must be a multiple of volume block size ({block})")
        if _growth(call, dataset, size=int(raw)) > Space(call.node).free(tree.pool_of(name)):
            raise zfs_values.BadValueError("out of space")
    if key in {"refreservation", "reservation"} and raw.isdecimal():
        if dataset.volsize and int(raw) > dataset.volsize:
            raise zfs_values.BadValueError(f"'{key}' is greater than current volume size")
        if int(raw) - number(dataset, key) > Space(call.node).free(tree.pool_of(name)):
            raise zfs_values.BadValueError("size is greater than available space")


def _growth(call: Call, dataset: Dataset, *, size: int) -> int:
    """How much more a new volsize reserves: the refreservation follows if it was the thick one (libzfs)."""
    block = dataset.volblocksize
    reserved = number(dataset, "refreservation")
    if reserved != thick_reservation(call.node, dataset.volsize, volblocksize=block):
        return 0
    return thick_reservation(call.node, size, volblocksize=block) - reserved


def _resize(call: Call, name: str, *, size: int) -> None:
    dataset = call.node.datasets[name]
    growth = _growth(call, dataset, size=size)
    if growth:
        dataset.properties["refreservation"] = str(number(dataset, "refreservation") + growth)
    dataset.volsize = size
    content.resize(content.path_of(call.node.root, name), size)


def inherit(call: Call) -> Answer:
    """Drop local values, on everything below too with -r."""
    if not call.operands:
        raise ZfsUsageError("missing property argument\n")
    if len(call.operands) < 2:
        raise ZfsUsageError("missing dataset argument\n")
    key = _inheritable(call, call.operands[0])
    for operand in call.operands[1:]:
        call.dataset(operand)
        call.check_rights(f"cannot inherit {key} for '{operand}'")
        deep = tree.below(call.node, operand) if call.parsed.has("r") else []
        for name in [operand, *deep]:
            call.node.datasets[name].properties.pop(key, None)
    if key == shareiscsi.PROPERTY:
        shareiscsi.follow(call.node, now=call.now)
    return call.done()


def _inheritable(call: Call, name: str) -> str:
    one = find(call.node, name)
    if one is None:
        if not is_user(name):
            raise ZfsUsageError(f"invalid property '{name}'\n")
        return name
    if not one.editable:
        raise ZfsError(f"{one.name} property is read-only\n")
    if not one.inheritable and one.kind == "limit":
        raise ZfsError(f"'{one.name}' property cannot be inherited\nuse 'zfs set {one.name}=none' to clear\n")
    if not one.inheritable and one.name != "canmount":
        raise ZfsError(f"'{one.name}' property cannot be inherited\n")
    return one.name


def rename(call: Call) -> Answer:
    """Rename a dataset with all below it, or a snapshot."""
    if len(call.operands) < 2:
        raise ZfsUsageError(f"missing {'source' if not call.operands else 'target'} dataset argument\n")
    if len(call.operands) > 2:
        raise ZfsUsageError("too many arguments\n")
    old, new = call.operands
    call.dataset(old)
    if "@" in old:
        return _rename_snapshot(call, old, new=new)
    if call.parsed.has("r"):
        raise ZfsUsageError("source dataset must be a snapshot\n")
    if call.parsed.has("p"):
        make_parents(call, new)
    _check_rename(call, old, new=new)
    for name in _with_all(call, old):
        shareiscsi.unshare(call.node, name)
        tree.move(call.node, name, new=new + name.removeprefix(old))
    shareiscsi.follow(call.node, now=call.now)
    return call.done()


def _with_all(call: Call, name: str) -> list[str]:
    return [other for other in call.node.datasets if other == name or other.startswith((f"{name}/", f"{name}@"))]


def _check_rename(call: Call, old: str, *, new: str) -> None:
    action = f"cannot rename '{old}'"
    wrong = zfs_names.dataset_mistake(new)
    if wrong:
        raise ZfsError(f"{action}: {wrong}\n")
    if tree.pool_of(old) != tree.pool_of(new):
        raise ZfsError(f"{action}: datasets must be within same pool\n")
    if new.startswith(f"{old}/"):
        raise ZfsError(f"{action}: New dataset name cannot be a descendant of current dataset name\n")
    if new in call.node.datasets:
        raise ZfsError(f"{action}: dataset already exists\n")
    check_place(call.node, new)  # a missing parent is worded as for create
    call.check_rights(action)
    # A busy volume below a renamed parent: unrecorded, the volume's links could not be moved.
    if any(backing.busy(call.node, name) for name in _with_all(call, old)):
        raise ZfsError(f"{action}: dataset is busy\n")


def _rename_snapshot(call: Call, old: str, *, new: str) -> Answer:
    head, _, old_tail = old.partition("@")
    new_head, at, tail = new.partition("@")
    action = f"cannot rename '{old}'"
    wrong = zfs_names.snapshot_mistake(f"{head}@{tail if at else new}")
    if wrong:
        raise ZfsError(f"{action}: {wrong}\n")
    if at and new_head not in {"", head}:
        raise ZfsError(f"{action}: snapshots must be part of same dataset\n")
    tail = tail if at else new
    heads = [head, *(tree.below(call.node, head) if call.parsed.has("r") else [])]
    heads = [one for one in heads if f"{one}@{old_tail}" in call.node.datasets]
    if any(f"{one}@{tail}" in call.node.datasets for one in heads):
        raise ZfsError(f"{action}: dataset already exists\n")
    call.check_rights(action)
    for one in heads:
        tree.move(call.node, f"{one}@{old_tail}", new=f"{one}@{tail}")
    return call.done()


def promote(call: Call) -> Answer:
    """Make a clone the owner of the snapshots up to its origin, and its origin's dataset a clone of it."""
    if len(call.operands) != 1:
        raise ZfsUsageError("too many arguments\n" if call.operands else "missing clone filesystem argument\n")
    name = call.operands[0]
    clone = call.dataset(name, kinds=("filesystem", "volume"))
    if clone.origin is None:
        raise ZfsError(f"cannot promote '{name}': not a cloned filesystem\n")
    call.check_rights(f"cannot promote '{name}'")
    _swap(call, name, clone=clone, origin=clone.origin)
    return call.done()


def _swap(call: Call, name: str, *, clone: Dataset, origin: str) -> None:
    node = call.node
    head = tree.head_of(origin)
    limit = node.datasets[origin].txg
    moving = [one for one in tree.snapshots(node, head) if node.datasets[one].txg <= limit]
    taken = [one for one in moving if f"{name}@{one.partition('@')[2]}" in node.datasets]
    if taken:
        snapshot = taken[0].partition("@")[2]
        raise ZfsError(f"cannot promote '{name}': conflicting snapshot '{snapshot}' from parent '{head}'\n")
    shared = Space(node).referenced(origin)
    for one in moving:
        tree.move(node, one, new=f"{name}@{one.partition('@')[2]}")
    old = node.datasets[head]
    new_origin = clone.origin  # it moved along with the snapshot
    clone.origin, clone.shared = old.origin, old.shared
    old.origin, old.shared = new_origin, shared
