"""What must be asked of tgtd so that it serves what is wanted: a comparison of values, no process and no clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedded.served import ChapAccount, ServedLun, ServedTarget
from embedded.tgt_process import words

Call = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backing:
    """Which file stands behind a LUN right now: one that was replaced must be opened again."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A LUN with the file behind it."""

    lun: ServedLun
    backing: Backing


def backing_of(path: Path) -> Backing:
    """Look at the file (OSError if there is none)."""
    status = path.stat()
    return Backing(status.st_dev, status.st_ino)


def obstacle(lun: ServedLun) -> str | None:
    """Say why tgtd cannot serve this LUN, None if it can."""
    if lun.number == 0:
        return "LUN 0 cannot be served, tgtd keeps it for its own controller"
    if lun.offset:
        return f"LUN {lun.number} cannot be served, tgtd knows no offset into a file"
    if "," in str(lun.path):
        return f"LUN {lun.number} cannot be served, tgtd takes no comma in a path"
    return None


def _call(mode: str, op: str, **options: object) -> Call:
    return tuple(words(mode=mode, op=op, **options))


def new_target(tid: int, iqn: str) -> Call:
    """Make a target."""
    return _call("target", "new", tid=tid, targetname=iqn)


def delete_target(tid: int) -> Call:
    """Delete a target with all its sessions."""
    return _call("target", "delete", tid=tid, force=True)


def delete_connection(tid: int, *, sid: int, cid: int) -> Call:
    """Cut one connection."""
    return _call("conn", "delete", tid=tid, sid=sid, cid=cid)


def acl(target: ServedTarget) -> frozenset[tuple[str, object]]:
    """Give who may log in, as tgtadm's options; empty is nobody."""
    if target.open_to_all:
        return frozenset({("initiator_address", "ALL")})
    return frozenset(("initiator_name", name) for name in target.initiators)


def acl_calls(tid: int, *, had: Iterable[tuple[str, object]], wants: Iterable[tuple[str, object]]) -> Iterator[Call]:
    """Change who may log in."""
    for op, entries in (("unbind", set(had) - set(wants)), ("bind", set(wants) - set(had))):
        for name, value in sorted(entries, key=str):
            yield _call("target", op, tid=tid, **{name: value})


def accounts(target: ServedTarget | None) -> frozenset[tuple[str, bool]]:
    """Give the names of a target's CHAP accounts and whether each is the target's own."""
    if target is None:
        return frozenset()
    own = {(target.outgoing.user, True)} if target.outgoing else set()
    return frozenset({(account.user, False) for account in target.incoming} | own)


def account_calls(tid: int, *, had: Iterable[tuple[str, bool]], wants: Iterable[tuple[str, bool]]) -> Iterator[Call]:
    """Change which accounts belong to a target."""
    for op, entries in (("unbind", set(had) - set(wants)), ("bind", set(wants) - set(had))):
        for user, own in sorted(entries):
            yield _call("account", op, tid=tid, user=user, **({"outgoing": True} if own else {}))


def new_account(account: ChapAccount) -> Call:
    """Make an account."""
    return _call("account", "new", user=account.user, password=account.secret)


def delete_account(user: str) -> Call:
    """Delete an account; tgtd takes it from its targets too."""
    return _call("account", "delete", user=user)


def _identification(lun: ServedLun) -> str:
    fields = {
        "vendor_id": lun.vendor,
        "product_id": lun.product,
        "product_rev": "1.0",
        "scsi_sn": lun.serial,
        "scsi_id": lun.guid,
        "readonly": int(lun.read_only),
    }
    return ",".join(f"{name}={value}" for name, value in fields.items() if value != "")


def delete_lun(tid: int, number: int) -> Call:
    """Take a LUN away from the initiators."""
    return _call("logicalunit", "delete", tid=tid, lun=number)


def lun_calls(tid: int, number: int, *, had: Unit | None, wants: Unit | None) -> Iterator[Call]:
    """Bring one LUN of a target from one state to the other."""
    if had is not None and wants is not None and had.lun.path == wants.lun.path:
        same = (had.lun.block_size, had.lun.write_cache) == (wants.lun.block_size, wants.lun.write_cache)
        if same and had.backing == wants.backing:
            yield from _adjustment(tid, had, wants)
            return
    if had is not None:
        yield delete_lun(tid, number)
    if wants is not None:
        yield from _new_lun(tid, wants.lun)


def _new_lun(tid: int, lun: ServedLun) -> Iterator[Call]:
    flags = {} if lun.write_cache else {"bsoflags": "sync"}
    yield _call(
        "logicalunit", "new", tid=tid, lun=lun.number, backing_store=lun.path, blocksize=lun.block_size, **flags
    )
    yield _call("logicalunit", "update", tid=tid, lun=lun.number, params=_identification(lun))


def _adjustment(tid: int, had: Unit, wants: Unit) -> Iterator[Call]:
    """Change a LUN under the initiators that use it."""
    number = wants.lun.number
    if had.lun.size != wants.lun.size:
        # A volume that grows is not yet a LUN that grows, so the file's size alone changes nothing here.
        # tgtd opens a file anew, and so learns its size, only for offline removable media. It takes all of
        # this in one turn, so that no command of an initiator comes in between.
        params = f"removable=1,online=0,path={wants.lun.path},online=1,removable=0"
        yield _call("logicalunit", "update", tid=tid, lun=number, params=params)
    if _identification(had.lun) != _identification(wants.lun):
        yield _call("logicalunit", "update", tid=tid, lun=number, params=_identification(wants.lun))
