"""zfs snapshot, rollback, hold, release, holds."""

from embedded import backing, shareiscsi, tree, zfs_names, zfs_values
from embedded.answer import Answer
from embedded.model import Dataset
from embedded.zfs_call import Call, ZfsError, ZfsUsageError
from embedded.zfs_create import add, copy_content, settings
from embedded.zfs_destroy import destroy_one
from embedded.zfs_props import stamp
from embedded.zfs_space import Space, number


def snapshot(call: Call) -> Answer:
    """Take snapshots, all or none."""
    if not call.operands:
        raise ZfsUsageError("missing snapshot argument\n")
    if len(call.operands) > 1 and not call.node.flavour.several_snapshots:
        raise ZfsUsageError("too many arguments\n")
    names = [name for operand in call.operands for name in _named(call, operand)]
    properties = _properties(call)
    space = Space(call.node)
    complaints = "".join(_objection(call, name, space=space) for name in names)
    if complaints:
        several = len(call.operands) > 1 or call.parsed.has("r")
        raise ZfsError(complaints + ("no snapshots were created\n" if several else ""))
    txg = call.node.next_txg()
    for name in names:
        _take(call, name, properties=properties)
        call.node.datasets[name].txg = txg
    return call.done()


def _named(call: Call, operand: str) -> list[str]:
    head, at, tail = operand.partition("@")
    if not at:
        raise ZfsUsageError("")
    try:
        call.dataset(head, kinds=("filesystem", "volume"))
    except ZfsError as error:
        if call.node.flavour.several_snapshots:
            raise ZfsUsageError(str(error)) from error
        raise
    heads = [head, *(tree.below(call.node, head) if call.parsed.has("r") else [])]
    return [f"{one}@{tail}" for one in heads]


def _properties(call: Call) -> dict[str, str]:
    found = {}
    for name, value in settings(call).items():
        try:
            full, raw = zfs_values.checked(call.node, name, value, kind="snapshot", creating=True)
        except zfs_values.BadValueError as error:
            raise ZfsError(f"cannot create snapshots : {error}\n") from error  # unrecorded
        found[full] = raw
    return found


def _objection(call: Call, name: str, *, space: Space) -> str:
    action = f"cannot create snapshot '{name}'"
    wrong = zfs_names.snapshot_mistake(name)
    if wrong:
        return f"{action}: {wrong}\n"
    if "zfs-eacces" in call.node.conditions:
        return f"{action}: permission denied\n"
    if name in call.node.datasets:
        return f"{action}: dataset already exists\n"
    return "" if _fits(call, tree.head_of(name), space=space) else f"{action}: out of space\n"


def _fits(call: Call, head: str, *, space: Space) -> bool:
    """A snapshot of a reserved volume needs room to write all of it anew (dsl_dataset_snapshot_reserve_space)."""
    if "pool-full" in call.node.conditions:
        return False
    if not number(call.node.datasets[head], "refreservation"):
        return True
    return space.usage(head).written <= space.free(tree.pool_of(head))


def _take(call: Call, name: str, *, properties: dict[str, str]) -> None:
    head = tree.head_of(name)
    source = call.node.datasets[head]
    taken = Dataset("snapshot", call.now, 0, 0, properties=dict(properties))
    taken.volsize, taken.volblocksize = source.volsize, source.volblocksize
    add(call, name, taken)
    if source.volsize:
        copy_content(call.node, head, to=name)


def rollback(call: Call) -> Answer:
    """Put a dataset's content back. Newer snapshots are destroyed before the kernel finds the volume busy."""
    if len(call.operands) != 1:
        raise ZfsUsageError("too many arguments\n" if call.operands else "missing dataset argument\n")
    name = call.operands[0]
    target = call.dataset(name, kinds=("snapshot",))
    head = tree.head_of(name)
    newer = [one for one in tree.snapshots(call.node, head) if call.node.datasets[one].txg > target.txg]
    _check_newer(call, name, newer=newer)
    call.check_rights(f"cannot rollback '{head}'")
    for one in newer:
        for dependent in tree.dependents(call.node, one):
            destroy_one(call, dependent)
        destroy_one(call, one)
    if backing.busy(call.node, head):
        raise ZfsError(call.node.flavour.busy_text.format(what="rollback", name=head))
    shareiscsi.unshare(call.node, head)
    _put_back(call, head, target=name)
    shareiscsi.follow(call.node, now=call.now)
    return call.done()


def _check_newer(call: Call, name: str, *, newer: list[str]) -> None:
    flavour = call.node.flavour
    deep = call.parsed.has("R")
    if newer and not deep and not call.parsed.has("r"):
        raise ZfsError(
            f"cannot rollback to '{name}': {flavour.rollback_newer}\n"
            f"use '-r' to force deletion of the following {flavour.rollback_kinds}:\n"
            + "".join(f"{one}\n" for one in newer)
        )
    blocking = [dependent for one in newer for dependent in tree.dependents(call.node, one)]
    if blocking and not deep:
        raise ZfsError(
            f"cannot rollback to '{name}': clones of previous snapshots exist\n"
            "use '-R' to force deletion of the following clones and dependents:\n"
            + "".join(f"{one}\n" for one in blocking)
        )


def _put_back(call: Call, head: str, *, target: str) -> None:
    """Content and volsize go back; properties, the unit's hidden metadata among them, do not.

    The refreservation follows a changed volsize only if it was exactly the old one (libzfs zfs_rollback).
    """
    dataset, taken = call.node.datasets[head], call.node.datasets[target]
    if not taken.volsize:
        return
    if number(dataset, "refreservation") == dataset.volsize:
        dataset.properties["refreservation"] = str(taken.volsize)
    dataset.volsize = taken.volsize
    copy_content(call.node, target, to=head)


def _held(call: Call) -> list[str]:
    """The snapshots that hold and release mean."""
    found = []
    for operand in call.operands[1:]:
        head, at, tail = operand.partition("@")
        if not at:
            raise ZfsError(f"'{operand}' is not a snapshot\n")
        call.dataset(head, kinds=("filesystem", "volume"))
        heads = [head, *(tree.below(call.node, head) if call.parsed.has("r") else [])]
        found += [f"{one}@{tail}" for one in heads if one == head or f"{one}@{tail}" in call.node.datasets]
    return found


def _check_hold_line(call: Call) -> None:
    if len(call.operands) < 2:
        raise ZfsUsageError("")


def hold(call: Call) -> Answer:
    """Put a tag on snapshots: they cannot be destroyed while one is there. All or none."""
    _check_hold_line(call)
    tag = call.operands[0]
    names = _held(call)
    for name in names:
        action = call.node.flavour.hold_text.format(name=name)
        call.check_rights(action)
        if name not in call.node.datasets:
            raise ZfsError(f"{action}: dataset does not exist\n")
        if tag in call.node.datasets[name].holds:
            raise ZfsError(f"{action}: tag already exists on this dataset\n")
    for name in names:
        call.node.datasets[name].holds[tag] = call.now
    return call.done()


def release(call: Call) -> Answer:
    """Take a tag off snapshots; one that was destroyed with -d goes with its last tag."""
    _check_hold_line(call)
    tag = call.operands[0]
    names = _held(call)
    for name in names:
        action = call.node.flavour.release_text.format(name=name, tag=tag)
        call.check_rights(action)
        if name not in call.node.datasets:
            raise ZfsError(f"{action}: dataset does not exist\n")
        if tag not in call.node.datasets[name].holds:
            raise ZfsError(f"{action}: no such tag on this dataset\n")
    for name in names:
        del call.node.datasets[name].holds[tag]
        tree.reap(call.node, name)
    return call.done()


def holds(call: Call) -> Answer:
    """List the tags of snapshots."""
    if not call.operands:
        raise ZfsUsageError("")
    status = 0
    rows = []
    for operand in call.operands:
        if "@" not in operand:
            call.printer.complain(f"'{operand}' is not a snapshot\n")
            status = 1
        elif operand not in call.node.datasets:
            call.printer.complain(f"cannot open '{operand}': dataset does not exist\n")
            status = 1
        else:
            rows += _tags(call, operand)
    if call.parsed.has("H"):
        call.printer.say("".join("\t".join(row) + "\n" for row in rows))
        return call.done(status)
    wide = [max(len(row[at]) for row in [*rows, ("NAME", "TAG")]) for at in (0, 1)]
    for name, tag, when in [("NAME", "TAG", "TIMESTAMP"), *rows]:
        call.printer.say(f"{name:<{wide[0]}}  {tag:<{wide[1]}}  {when}\n")
    return call.done(status)


def _tags(call: Call, name: str) -> list[tuple[str, str, str]]:
    tagged = call.node.datasets[name].holds.items()
    return [(name, tag, stamp(when)) for tag, when in sorted(tagged)]
