"""Checkpoints on a ZFS whose snapshots have no properties: the same life, and no note is lost or left in the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from remote.errors import XvmError
from tests.contract.checkpoints import DISKS, listed, made, read, take, write
from tests.node.faults import FAULTS, sampled
from tests.node.live import LiveNode, upgraded
from xvmstore import Site

pytestmark = pytest.mark.node
PLACE = "tank/xvm/xvmstore:notes"


@pytest.fixture
def b85(shared_nodes: Callable[[str], LiveNode]) -> Iterator[LiveNode]:
    """The shared node of that release."""
    found = shared_nodes("b85")
    yield found
    found.faults("")


@contextmanager
def unexported(node: LiveNode, guest: str) -> Iterator[None]:
    """This release cannot bring back views, so what is rolled back must not be exported."""
    for disk in DISKS:
        assert 0 == node.xvm("lun", "unexport", f"{guest}/{disk}").exit
    yield
    for disk in DISKS:
        assert 0 == node.xvm("lun", "export", f"{guest}/{disk}").exit


def noted(node: LiveNode, guest: str) -> set[str]:
    """Names of a guest's checkpoints of which something is noted."""
    text = node.on_node("zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", PLACE).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    return {
        row[0].split(":note.")[1][: -len(".guest")] for row in rows if row[0].endswith(".guest") and row[1] == guest
    }


def outcomes(node: LiveNode, guest: str) -> dict[str, str]:
    """How what came after each checkpoint ended."""
    return {one["name"]: one["outcome"] for one in listed(node, guest)["checkpoints"]}


def test_back_and_forth(b85: LiveNode, guest: str) -> None:
    """What is noted outlives the renames, clones and promotions of a rollback; what is thrown away takes it along."""
    made(b85, guest)
    write(b85, guest, b"A")
    first = take(b85, guest, "--reason", "why \\ not")
    write(b85, guest, b"B")
    with unexported(b85, guest):
        back = b85.xvm("checkpoint", "rollback", guest, first, "--json")
    assert (0, [b"A", b"A"]) == (back.exit, read(b85, guest)), back.err
    second = take(b85, guest)
    assert 0 == b85.xvm("checkpoint", "note", guest, first, "--outcome", "done").exit
    with unexported(b85, guest):
        forth = b85.xvm("checkpoint", "rollback", guest, back.json["kept"], "--json")
    assert (0, [b"B", b"B"]) == (forth.exit, read(b85, guest)), forth.err
    assert 0 == b85.xvm("checkpoint", "destroy", guest, forth.json["kept"], "--snapshots").exit
    assert {first: "done"} == outcomes(b85, guest)
    assert "why \\ not" == listed(b85, guest)["checkpoints"][0]["reason"]
    assert {first.lower()} == noted(b85, guest), second

    take(b85, guest)
    with unexported(b85, guest):
        gone = b85.xvm("checkpoint", "rollback", guest, first, "--discard-newer", "--confirm", guest)
    assert 0 == gone.exit, gone.err
    assert {first.lower()} == noted(b85, guest)
    assert 0 == b85.xvm("checkpoint", "destroy", guest, first).exit
    assert set() == noted(b85, guest)


def test_another_release_knows_them(fresh: Callable[[str], LiveNode], guest: str) -> None:
    """What was taken before the node's upgrade is there after it, and what is noted from then on with it."""
    node = fresh("b85")
    made(node, guest)
    name = take(node, guest, "--reason", "before")
    newer = upgraded(node, "illumos")
    try:
        (found,) = listed(newer, guest)["checkpoints"]
        assert (name, "before", sorted(DISKS)) == (found["name"], found["reason"], found["disks"])
        assert 0 == newer.xvm("checkpoint", "note", guest, name, "--outcome", "done").exit
        assert {name: "done"} == outcomes(newer, guest)
        assert 0 == newer.xvm("checkpoint", "destroy", guest, name).exit
        assert {} == outcomes(newer, guest)
    finally:
        newer.stop()


def test_a_disk_takes_its_checkpoints_along(b85: LiveNode, guest: str) -> None:
    """To another guest; the first one's going does not take what is noted away from the other's."""
    made(b85, guest)
    name = take(b85, guest, "--reason", "theirs too")
    other = f"{guest}new"
    for disk in DISKS:
        assert 0 == b85.xvm("lun", "unexport", f"{guest}/{disk}").exit
    assert 0 == b85.xvm("volume", "rename", f"{guest}/data", f"{other}/data").exit
    assert 0 == b85.xvm("checkpoint", "destroy", guest, name).exit
    (found,) = listed(b85, other)["checkpoints"]
    assert (name, "theirs too", ["data"]) == (found["name"], found["reason"], found["disks"])


def test_an_upgrade(b85: LiveNode, guest: str) -> None:
    """Kept or put back, both are noted."""
    made(b85, guest)
    with unexported(b85, guest):
        well = b85.xvm("upgrade", guest, "--json", "--", "true")
        failed = b85.xvm("upgrade", guest, "--json", "--", "false")
    assert (0, 1) == (well.exit, failed.exit), well.err + failed.err
    names = [said.json["checkpoint"] for said in (well, failed)]
    assert dict(zip(names, ("done", "rolled back"), strict=True)) == outcomes(b85, guest)


def _create(site: Site, guest: str) -> object:
    return site.checkpoints.create(guest, reason="why not")


def _destroy(site: Site, guest: str) -> object:
    return site.checkpoints.destroy(guest, "latest")


@pytest.mark.parametrize(("fault", "every"), [("fail-after", 1), ("kill", 2)])
def test_any_command_may_fail(fresh: Callable[[str], LiveNode], guest: str, fault: str, every: int) -> None:
    """Of taking or destroying one: no checkpoint without its note, and no note is left when all are gone."""
    node = fresh("b85")
    made(node, guest)
    with Site.load(node.config) as site:
        for does in (_create, _destroy):
            before = len(node.execs())
            does(site, guest)
            count = sum(len(one["commands"]) for one in node.execs()[before:])
            assert count > 5
            for number in sampled(count, 0, every=every):
                if does is _destroy:
                    _create(site, guest)
                _broken(node, site, does, guest=guest, fault=f"call = {number}\n{FAULTS[fault]}")
        _create(site, guest)
        site.checkpoints.destroy(guest, *(one.name for one in site.checkpoints.state(guest).checkpoints))
        assert set() == noted(node, guest)


def _broken(node: LiveNode, site: Site, does: Callable[[Site, str], object], *, guest: str, fault: str) -> None:
    """Whatever snapshot there is afterwards is a whole checkpoint, and whatever else is in the way of nobody."""
    node.faults(f'[[fault]]\ncommand = "*"\n{fault}\n')
    told = f"{does.__name__} with {fault!r}"
    try:
        does(site, guest)
    except XvmError as error:
        told += f": {error}"
    node.faults("")
    there = node.on_node("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", f"tank/xvm/{guest}").stdout.split()
    found = {one.name: one.note.reason for one in site.checkpoints.state(guest).checkpoints}
    assert {one.partition("@")[2]: "why not" for one in there if "/data@" in one or "/root@" in one} == found, told
