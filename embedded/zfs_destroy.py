"""zfs destroy: datasets and snapshots."""

from embedded import backing, shareiscsi, tree
from embedded.answer import Answer
from embedded.zfs_call import Call, ZfsError, ZfsUsageError


def destroy(call: Call) -> Answer:
    """Destroy one dataset or some of its snapshots."""
    if not call.operands:
        raise ZfsUsageError("missing dataset argument\n")
    if len(call.operands) > 1:
        raise ZfsUsageError("too many arguments\n")
    name = call.operands[0]
    if "@" in name:
        return _snapshots(call, name)
    call.dataset(name)
    if name in call.node.pools:
        _pool(call, name)
    check_dependents(call, name)
    call.check_rights(f"cannot destroy '{name}'")
    victims = tree.dependents(call.node, name) if _deep(call) else []
    targets = victims if name in call.node.pools else [*victims, name]
    _report(call, targets)
    if not call.parsed.has("n"):
        for victim in targets:
            destroy_one(call, victim)
    return call.done()


def _pool(call: Call, name: str) -> None:
    if not _deep(call):
        raise ZfsError(
            f"cannot destroy '{name}': operation does not apply to pools\n"
            f"use 'zfs destroy -r {name}' to destroy all datasets in the pool\n"
            f"use 'zpool destroy {name}' to destroy the pool itself\n"
        )


def _deep(call: Call) -> bool:
    return call.parsed.has("r") or call.parsed.has("R")


def check_dependents(call: Call, target: str) -> None:
    """destroy_check_dependent of zfs_main.c: descendants need -r; clones elsewhere need -R."""
    if call.parsed.has("R"):
        return
    kind = call.node.datasets[target].kind
    recurse = call.parsed.has("r")
    everything = tree.dependents(call.node, target)
    inside = [name for name in everything if name.startswith((f"{target}/", f"{target}@"))]
    outside = [name for name in everything if name not in inside]
    if not recurse and inside:
        why, option, names = "children", "-r", inside
    elif outside and (recurse or kind == "snapshot"):
        why, option, names = "dependent clones", "-R", outside
    else:
        return
    listed = "".join(f"{name}\n" for name in names)
    raise ZfsError(
        f"cannot destroy '{target}': {kind} has {why}\nuse '{option}' to destroy the following datasets:\n{listed}"
    )


def _report(call: Call, names: list[str]) -> None:
    if not call.parsed.has("v"):
        return
    verb = "would destroy" if call.parsed.has("n") else "will destroy"
    for name in names:
        call.printer.say(f"destroy\t{name}\n" if call.parsed.has("p") else f"{verb} {name}\n")


def destroy_one(call: Call, name: str) -> None:
    """Destroy one dataset that nothing depends on any more. A volume under an LU is busy, online or offline."""
    node = call.node
    if backing.busy(node, name):
        raise ZfsError(node.flavour.busy_text.format(what="destroy", name=name))
    if node.datasets[name].holds:
        raise ZfsError(f"cannot destroy '{name}': dataset is busy\n")
    shareiscsi.unshare(node, name)
    tree.forget(node, name)


def _expand(call: Call, name: str) -> list[str]:
    """The snapshots that ``dataset@a,b%c`` means; with -r the same names on everything below.

    A comma or percent sign is no part of any name, so old releases, which know no lists, find nothing.
    """
    head, _, spec = name.partition("@")
    call.dataset(head, kinds=("filesystem", "volume"))
    heads = [head, *(tree.below(call.node, head) if _deep(call) else [])]
    parts = spec.split(",") if call.node.flavour.snapshot_lists else [spec]
    return [found for one in heads for part in parts for found in _matching(call, one, part)]


def _missing(call: Call, name: str) -> ZfsError:
    if call.node.flavour.snapshot_lists:
        return ZfsError("could not find any snapshots to destroy; check snapshot names.\n")
    return ZfsError(f"cannot open '{name}': dataset does not exist\n")


def _matching(call: Call, head: str, part: str) -> list[str]:
    first, percent, last = part.partition("%")
    existing = tree.snapshots(call.node, head)
    if not call.node.flavour.snapshot_lists:
        return [name for name in existing if name == f"{head}@{part}"]
    if not percent:
        return [f"{head}@{part}"] if f"{head}@{part}" in existing else []
    names = [one.partition("@")[2] for one in existing]
    if (first and first not in names) or (last and last not in names):
        return []
    start = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    return existing[start : end + 1]


def _snapshots(call: Call, name: str) -> Answer:
    victims = _expand(call, name)
    if not victims:
        raise _missing(call, name)
    if not call.parsed.has("d"):
        for victim in victims:
            check_dependents(call, victim)
    _report(call, victims)
    _report_space(call)
    if call.parsed.has("n"):
        return call.done()
    call.check_rights(f"cannot destroy snapshot {victims[0]}")
    return _destroy_snapshots(call, victims)


def _report_space(call: Call) -> None:
    """The space that only these snapshots hold is not known here: it is given as none."""
    if call.parsed.has("v"):
        verb = "would reclaim" if call.parsed.has("n") else "will reclaim"
        suffix = call.node.flavour.byte_suffix
        call.printer.say("reclaim\t0\n" if call.parsed.has("p") else f"{verb} 0{suffix}\n")


def _destroy_snapshots(call: Call, victims: list[str]) -> Answer:
    node = call.node
    held = [name for name in victims if node.datasets[name].holds]
    if held and not call.parsed.has("d"):
        # lzc_destroy_snaps is all or nothing
        action = node.flavour.held_text
        raise ZfsError("".join(f"{action.format(name=name)}: dataset is busy\n" for name in held))
    for victim in victims:
        if call.parsed.has("R"):
            for dependent in tree.dependents(node, victim):
                destroy_one(call, dependent)
        if call.parsed.has("d"):
            node.datasets[victim].deferred = True
            tree.reap(node, victim)
        else:
            tree.forget(node, victim)
    return call.done()
