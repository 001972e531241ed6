"""What we send to a node's ZFS and read of it, on a real ZFS of 2010, with file systems in place of zvols.

What it proves: the command lines, the small programs and the parsers of ``storage`` against OpenSolaris' own zfs and
zpool (pool version 23, so b135), whose options and texts are those of every release between b128 and illumos.
What it does not: anything of zvols, and ``zfs holds``, which was a Python program then that Debian does not have.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.answer import Answer
from iscsi import probe, quarantine
from remote.errors import QueryFailed, StepFailed
from remote.host import guest_lock
from remote.script import Query, Step
from storage import checkpoints, local, notes, pool, rollback, snapshots, zvol
from storage.checkpoints import Note
from storage.notes import Apart, OnSnapshots
from storage.snapshots import Family
from storage.vintage import VINTAGES
from tests.embedded.replay import Case, cases
from tests.node import zfs_fuse
from tests.node.zfs_fuse import DISKS, HOME, OldZfs

pytestmark = pytest.mark.node
BASE = "tank/xvm"
OK = "No known data errors"
RECORDED = cases(f"../zfs-fuse/{zfs_fuse.CAPTURED.stem}")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldZfs]:
    """One for all tests."""
    if reason := zfs_fuse.why_not():
        pytest.skip(reason)
    with zfs_fuse.running(tmp_path_factory.mktemp("zfs-fuse") / "node") as old:
        yield old


@pytest.fixture
def old(daemon: OldZfs) -> Iterator[OldZfs]:
    """With nothing in its pool."""
    yield daemon
    for name in daemon.did("zfs list -H -t snapshot -o name -r tank").split():
        # Whatever a test held it by.
        for tag in ("xvmstore", "keep"):
            daemon.run(f"zfs release {tag} {name}")
    rest = daemon.did("zfs list -H -o name -d 1 tank | sed 1d").split()
    # What was mounted a moment ago is still busy.
    daemon.host.run([Step(("zfs", "destroy", "-R", one), retry=("dataset is busy",)) for one in rest]).must()


def _guest(old: OldZfs, guest: str = "web1", *disks: str) -> str:
    """A guest's dataset, made by our own step, and file systems as its disks."""
    parent = f"{BASE}/{guest}"
    old.host.run((zvol.make_parents(BASE, guest),), lock=guest_lock(guest)).must()
    old.did(*(f"zfs create -o org.xvmstore:state=ready {parent}/{disk}" for disk in disks))
    return parent


def _family(old: OldZfs, below: str) -> Family:
    return notes.read(*(answer.get() for answer in old.host.ask((*checkpoints.family(below), notes.kept_apart(BASE)))))


def _fails(old: OldZfs, *steps: Step) -> str:
    """What is said of steps that fail, and are undone as a whole."""
    before = _state(old)
    failure = old.host.run(steps).failure
    assert isinstance(failure, StepFailed)
    assert before == _state(old)
    return str(failure)


def _state(old: OldZfs) -> str:
    """Every dataset and snapshot, with what is set on it and its holds."""
    return old.did(
        "zfs get -Hp -r -s local -o name,property,value all tank; zfs get -Hp -r -o name,value userrefs,origin tank"
    )


def _own(old: OldZfs, dataset: str) -> dict[str, str]:
    """Ours, of one dataset."""
    text = old.did(f"zfs get -Hp -o name,property,value,source all '{dataset}'")
    return zvol.own(zvol.rows(text)[dataset])


# -- datasets ----------------------------------------------------------------------------------------------------------


def test_parents(old: OldZfs) -> None:
    """Made under another name and renamed; never mounted; made again they are left alone, and what was cut off goes."""
    old.host.run((zvol.make_base(BASE),)).must()
    old.did(f"zfs create {BASE}/web1:making")
    assert f"{BASE}/web1" == _guest(old)

    assert ["done", "skip"] == [
        old.host.run((step,)).must().steps[0].how
        for step in (zvol.make_parents(BASE, "web2"), zvol.make_parents(BASE, "web1"))
    ]

    assert f"{BASE}\n{BASE}/web1\n{BASE}/web2\n" == old.did(f"zfs list -H -o name -r {BASE}")
    assert {"guest": "web1"} == _own(old, f"{BASE}/web1")
    assert "off\nnone\n" == old.did(f"zfs get -H -o value canmount,mountpoint {BASE}/web1")


def test_undone_in_a_new_pool(old: OldZfs) -> None:
    """A guest's dataset that was made for a volume goes when the volume could not be made, and only that."""
    assert "false" in _fails(old, Step(("zfs", "create", "tank/other"), undo=("zfs", "destroy", "tank/other")),
                             Step(("sh", "-c", "echo false >&2; exit 1", "fails")))  # fmt: skip
    old.host.run((zvol.make_base(BASE),)).must()
    assert "dataset does not exist" in _fails(
        old, zvol.make_parents(BASE, "web1"), zvol.rename(f"{BASE}/a", f"{BASE}/b")
    )


def test_destroyed_when_empty(old: OldZfs) -> None:
    """Half-made ones, guests without disks; one that has some stays, and so does one that says another name."""
    parent = _guest(old, "web1", "root")
    old.did(f"zfs create {parent}/data:making", f"zfs create -o {zvol.GUEST}=web1 {BASE}/web2")
    steps = (zvol.destroy_half_made(f"{parent}/data"), zvol.destroy_half_made(f"{parent}/none"))

    ended = old.host.run((*steps, *(zvol.destroy_if_empty(f"{BASE}/{one}") for one in ("web1", "web2", "none"))))

    assert ["done", "done", "already", "done", "done"] == [one.how for one in ended.must().steps.values()]
    assert [BASE, f"{BASE}/web1", f"{BASE}/web1/root", f"{BASE}/web2"] == old.did(
        f"zfs list -Ho name -r {BASE}"
    ).split()
    old.host.run((zvol.destroy(f"{parent}/root"), zvol.destroy_if_empty(parent))).must()
    assert "web1" not in old.did(f"zfs list -H -o name -r {BASE}")


def test_file_systems_are_no_volumes(old: OldZfs) -> None:
    """What is read for volumes passes them over, with their snapshots; what is not there is no failure."""
    parent = _guest(old, "web1", "root")
    old.did(f"zfs snapshot {parent}/root@one")
    all_, one, none, nowhere = old.host.ask(
        (zvol.zvols(BASE), zvol.zvol(f"{parent}/root"), zvol.zvol(f"{parent}/none"), zvol.zvols("tank/none"))
    )
    assert [(), None, None, ()] == [all_.get(), one.get(), none.get(), nowhere.get()]

    row = zvol.rows(old.did(f"zfs get -Hp -o name,property,value,source type,volsize,used,{zvol.STATE} {parent}/root"))
    assert ["type", "volsize", "used", zvol.STATE] == list(row[f"{parent}/root"])
    assert ("ready", "local") == row[f"{parent}/root"][zvol.STATE]
    assert row[f"{parent}/root"]["used"][0].isdecimal()


def test_there_are_no_zvols(old: OldZfs) -> None:
    """Its zfs aborts; that is one error, which says what it said, and nothing is left."""
    parent = _guest(old)
    steps = zvol.create(f"{parent}/root", 1 << 20, thin=True, maker="me", properties=((zvol.GUID, "6001"),))

    said = _fails(old, *steps)

    assert re.match(rf"old: `zfs create -s -o {zvol.GUID}=6001 .* {parent}/root:making` exited 134: ", said), said
    assert "internal error: Function not implemented" in said


def test_checks_of_datasets(old: OldZfs) -> None:
    """Each lets pass what it should, and stops what it should, with what is in the way."""
    parent = _guest(old, "web1", "root", "data")
    root = f"{parent}/root"
    old.host.run((zvol.not_destroying(root), zvol.no_snapshots(root), zvol.no_clones(root),
                  zvol.vdev_is_free(parent, root, "xvda"), zvol.set_property(root, zvol.VDEV, "xvda"),
                  zvol.set_property(root, zvol.LUN, "7"), zvol.free_vdev(parent),
                  zvol.lun_is_nobodys("tank/none", 7), zvol.lun_is_nobodys(BASE, 8))).must()  # fmt: skip
    old.did(f"zfs snapshot {root}@one", f"zfs clone {root}@one {BASE}/copy", f"zfs set {zvol.STATE}=destroying {root}")

    assert "destroying" in _fails(old, zvol.not_destroying(root))
    assert f"{root}@one" in _fails(old, zvol.no_snapshots(root))
    assert f"{BASE}/copy" in _fails(old, zvol.no_clones(root))
    assert "xvda" in _fails(old, zvol.vdev_is_free(parent, f"{parent}/data", "xvda"))
    assert "7" in _fails(old, zvol.lun_is_nobodys(BASE, 7))
    assert "xvdb" == old.host.run((zvol.free_vdev(parent),)).must().steps[0].stdout.strip()


def test_luns_set_free(old: OldZfs) -> None:
    """Remembered on the base dataset, and what is there besides is not taken for one."""
    _guest(old)
    host = old.host
    assert {} == host.ask_one(quarantine.freed("tank/none"))

    host.run((quarantine.not_freed(BASE, 5), quarantine.set_free(BASE, "5", now=1795305600))).must()

    assert {5: 1795305600} == host.ask_one(quarantine.freed(BASE))
    assert "1795305600" in _fails(old, quarantine.not_freed(BASE, 5))
    host.run((quarantine.not_freed(BASE, 5, unless_at=1795305600),)).must()


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint(old: OldZfs) -> None:
    """Taken of all disks with its notes and holds, read back with both, completed, let go of, destroyed."""
    parent = _guest(old, "web1", "root", "data")
    note = Note(role="pre", reason="it's a \\b", by="me@here")
    steps = (checkpoints.affordable("tank", [parent], keep_free=10), checkpoints.all_quiet(parent),
             *checkpoints.take([parent], "xvm-1", note, notes=OnSnapshots()),
             checkpoints.set_outcome(parent, "xvm-1", "done", notes=OnSnapshots()))  # fmt: skip
    ended = old.host.run(steps, lock=guest_lock("web1")).must()

    cost = checkpoints.read_cost(ended.steps[0].stdout)
    assert cost is not None
    assert (0, True) == (cost.cost, 0 < cost.floor < cost.available)
    family = _family(old, parent)
    found = [one for dataset in (parent, f"{parent}/root", f"{parent}/data") if (one := family.find(dataset, "xvm-1"))]
    assert [(1, None)] * 3 == [(one.holds, one.written) for one in found]
    told = {"checkpoint": "pre", "reason": "it's a \\b", "by": "me@here", "consistency": "crash", "outcome": "done"}
    assert [told] * 3 == [dict(one.ours) for one in found]
    assert {} == family.written
    assert {"filesystem"} == set(family.kinds.values())

    old.host.run(checkpoints.destroy(parent, "xvm-1")).must()
    assert {} == _family(old, parent).snapshots
    assert "dataset does not exist" in _fails(old, *checkpoints.destroy(parent, "xvm-1"))


def test_a_checkpoint_is_refused(old: OldZfs) -> None:
    """A name that is taken, a pool too full, a disk half destroyed; each says so, and nothing is held or destroyed."""
    parent = _guest(old, "web1", "root")
    old.host.run(checkpoints.take([parent], "one", Note(), notes=OnSnapshots())).must()

    assert "dataset already exists" in _fails(old, Step(("zfs", "snapshot", "-r", f"{parent}@one")))
    assert "cost 0 available" in _fails(old, checkpoints.affordable("tank", [parent], keep_free=99.9))
    old.did(f"zfs set {zvol.STATE}=rolling-back {parent}/root")
    assert "rolling-back" in _fails(old, checkpoints.all_quiet(parent))


def test_no_checkpoint_of_several(old: OldZfs) -> None:
    """This zfs takes one name a command; what is refused leaves nothing."""
    parents = [_guest(old, guest, "root") for guest in ("web1", "web2")]
    assert "too many arguments" in _fails(old, *checkpoints.take(parents, "one", Note(), notes=OnSnapshots()))


def test_taken_back(old: OldZfs) -> None:
    """When what comes after it fails, the checkpoint goes with its holds."""
    parent = _guest(old, "web1", "root")
    assert "does not exist" in _fails(
        old, *checkpoints.take([parent], "one", Note(), notes=OnSnapshots()), checkpoints.hold(f"{parent}@none")
    )


def test_held_by_others(old: OldZfs) -> None:
    """It is counted; the checkpoint is not destroyed, and ours is held again."""
    parent = _guest(old, "web1", "root")
    old.host.run(checkpoints.take([parent], "one", Note(), notes=OnSnapshots())).must()
    old.did(f"zfs hold keep {parent}/root@one")
    found = _family(old, f"{parent}/root").find(f"{parent}/root", "one")
    assert found is not None
    assert 2 == found.holds

    assert "dataset is busy" in _fails(old, *checkpoints.destroy(parent, "one"))


def test_who_holds_cannot_be_told(old: OldZfs) -> None:
    """Debian's zfs-fuse lacks its `zfs holds`: what cannot be looked at is neither let go of nor destroyed."""
    parent = _guest(old, "web1")
    held, release = checkpoints.held_by_us_alone(parent), checkpoints.release_below(parent)
    old.did(f"zfs snapshot {parent}@free")
    old.host.run((held, release)).must()
    old.host.run(checkpoints.take([parent], "one", Note(), notes=OnSnapshots())).must()

    for steps in ((held,), (release,), checkpoints.destroy_if_bare(parent)):
        assert "pyzfs.py not found" in _fails(old, *steps)


def test_bare_guests(old: OldZfs) -> None:
    """A guest with snapshots only goes with them; one that has a disk stays."""
    parents = [_guest(old, "web1"), _guest(old, "web2", "root")]
    old.did(*(f"zfs snapshot -r {parent}@one" for parent in parents))

    for parent in (*parents, f"{BASE}/none"):
        old.host.run(checkpoints.destroy_if_bare(parent)).must()

    assert [BASE, f"{BASE}/web2", f"{BASE}/web2/root"] == old.did(f"zfs list -H -o name -r {BASE}").split()


def test_notes_apart(old: OldZfs) -> None:
    """Beside the guests, as for a ZFS whose snapshots have no properties; swept once the snapshot is gone."""
    parent, apart = _guest(old, "web1", "root"), Apart(BASE)
    tag = "xvm-20261124T130501Z-7f3a"
    steps = (*checkpoints.take([parent], tag, Note(reason="a  b"), notes=apart), *apart.sweep(parent),
             checkpoints.set_outcome(parent, tag, "done", notes=apart))  # fmt: skip
    old.host.run(steps).must()

    def found() -> dict[str, str]:
        family = notes.read(
            *(answer.get() for answer in old.host.ask((*snapshots.family(BASE, ()), notes.kept_apart(BASE))))
        )
        one = family.find(f"{parent}/root", tag)
        return dict(one.ours) if one else {}

    told = {"checkpoint": "manual", "reason": "a  b", "consistency": "crash", "guest": "web1", "outcome": "done"}
    assert told == found()
    assert "dataset does not exist" in _fails(old, checkpoints.set_outcome(parent, "none", "done", notes=apart))
    old.host.run((*checkpoints.destroy(parent, tag), *apart.sweep(parent))).must()
    assert {} == _own(old, apart.place)


# -- the way back ------------------------------------------------------------------------------------------------------


def test_back_and_what_is_newer_is_lost(old: OldZfs) -> None:
    """What was in the files is there again, and newer snapshots are not; one that was cloned stops it."""
    parent = _guest(old, "web1", "root")
    root = f"{parent}/root"
    file = f"{HOME}/root/file"
    old.did(f"zfs set mountpoint={HOME}/root {root}", f"echo before >{file}", f"zfs snapshot {root}@one",
            f"echo after >{file}", f"zfs snapshot {root}@two", f"zfs clone {root}@two {BASE}/copy")  # fmt: skip
    newer = _family(old, root).newer(root, "one")
    assert ["two"] == [one.name for one in newer]
    assert {f"{BASE}/copy": f"{root}@two"} == old.host.ask_one(snapshots.origins("tank"))
    assert False is old.host.ask_one(rollback.programs("tank"))
    back = rollback.one_by_one("one", [root])
    assert f"{BASE}/copy" in _fails(old, *back)

    old.did(f"zfs destroy {BASE}/copy")
    old.host.run((rollback.only_these(root, ["one", "two"]), *back, rollback.only_these(root, ["one"]))).must()

    assert "before\n" == old.did(f"cat {file}")
    old.did(f"zfs set mountpoint=none {root}")


def test_back_and_all_is_kept(old: OldZfs) -> None:
    """A clone takes the guest's place by two renames, with its properties and limits, and depends on nothing then."""
    parent = _guest(old, "web1", "root", "data")
    root, aside = f"{parent}/root", rollback.kept(parent, "first")
    old.did(f"zfs snapshot -r {parent}@one", f"zfs set quota=40M {parent}", f"zfs set org.example:note='a \\b' {root}")
    copy = aside + rollback.COPY_NAME
    steps = (rollback.pinned(root, {"type": "filesystem", zvol.STATE: "ready"}), rollback.make_container(parent),
             rollback.begin(parent, "one first"), rollback.clear(copy, "one"),
             *rollback.copy(parent, "one", copy, mark="one", disks=["root"], there=True),
             *rollback.change_places(parent, copy, aside, stay=["data"]),
             rollback.move_limits(aside, parent), rollback.promote(parent, root), rollback.promote(parent, parent),
             *rollback.forget_journal(parent))  # fmt: skip
    before = old.host.ask_one(snapshots.origins("tank"))

    old.host.run(steps, lock=guest_lock("web1")).must()

    datasets = [parent, f"{parent}/data", root, rollback.kept(parent), aside, f"{aside}/root"]
    assert [BASE, *sorted(datasets)] == sorted(old.did(f"zfs list -H -o name -r {BASE}").split())
    assert ({}, {aside: f"{parent}@one", f"{aside}/root": f"{root}@one"}) == (
        before, old.host.ask_one(snapshots.origins("tank")))  # fmt: skip
    assert ("ready", "a \\b\n") == (_own(old, root)["state"], old.did(f"zfs get -H -o value org.example:note {root}"))
    assert f"{40 << 20}\n0\n" == old.did(f"zfs get -Hp -o value quota {parent} {aside}")
    assert "one" == _own(old, parent)["kept-for"]


def test_a_cut_off_copy(old: OldZfs) -> None:
    """One that fails half-way is undone; what a cut left is cleared by its mark, and what has another is not."""
    parent = _guest(old, "web1", "root")
    old.did(f"zfs snapshot -r {parent}@one")
    to = f"{BASE}/copy"
    for at_once in (True, False):
        copy = rollback.copy(parent, "one", to, mark="m", disks=["root", "none"], there=True, at_once=at_once)
        assert "dataset does not exist" in _fails(old, *copy)
    old.host.run(rollback.copy(parent, "one", to, mark="m", disks=["root"], there=True, at_once=False)).must()

    assert "was not made for this" in _fails(old, rollback.clear(to, "other"))
    old.host.run((rollback.clear(to, "m"), rollback.clear(to, "m"))).must()
    assert to not in old.did(f"zfs list -H -o name -r {BASE}")


def test_sets_are_destroyed(old: OldZfs) -> None:
    """The container goes when it is empty."""
    parent = _guest(old)
    aside = rollback.kept(parent, "first")
    old.host.run((rollback.make_container(parent), Step(("zfs", "create", aside)))).must()
    old.did(f"zfs snapshot {aside}@one")

    first = old.host.run((rollback.destroy_container(parent), *rollback.destroy_set(aside))).must()
    second = old.host.run((*rollback.destroy_set(aside), *[rollback.destroy_container(parent)] * 2)).must()

    assert ["already", "done", "done"] == [one.how for one in first.steps.values()]
    assert ["done", "already", "done", "already"] == [one.how for one in second.steps.values()]


# -- pools, and what it is ---------------------------------------------------------------------------------------------


def test_pools(old: OldZfs) -> None:
    """Rounded sizes, in words that came before -p did."""
    with pytest.raises(QueryFailed, match="invalid option 'p'"):
        old.host.ask_one(Query(("zpool", "list", "-Hp", "-o", "name"), pool.parse_exact))
    (found,) = pool.parse_rounded(old.did("zpool list -H -o name,size,allocated,free,capacity,health"))
    assert ("tank", "ONLINE", False) == (found.name, found.health, found.exact)
    assert found.size is not None
    assert 80 << 20 < found.size < zfs_fuse.MEGABYTES << 20


def test_what_we_ask_of_pools(old: OldZfs) -> None:
    """It is answered by every release, and what is rounded is told from what is exact."""
    assert [("tank", False)] == [(one.name, one.exact) for one in old.host.ask_one(pool.pools())]


def test_the_first_form_it_knows(old: OldZfs) -> None:
    """Those that it does not know cost nothing; one that fails for another reason ends it."""
    columns = "name,size,{},capacity,health"
    new, before = columns.format("allocated,free"), columns.format("used,available")
    forms = pool.in_known_words("zpool-list", f"list -Hp -o {new}", f"list -H -o {before}", f"list -H -o {new}")
    done = old.host.run((Step(forms),)).must().steps[0]
    assert (["tank"], "") == ([one.name for one in pool.parse_rounded(done.stdout)], done.stderr)
    assert "no such pool" in _fails(old, Step(pool.in_known_words("status", "status none", "status tank")))


def test_the_health_of_pools(old: OldZfs) -> None:
    """Every part of the tree, of a pool that lost a disk; the scan line had another label then."""
    old.pool("many", "mirror c d log e spare f")
    old.did(f"zpool offline many {DISKS}/d")
    many, tank = old.host.ask_one(pool.status())
    (again,) = old.host.ask_one(pool.status("many"))
    old.did("zpool destroy many")

    assert (many, "DEGRADED", "none requested", OK) == (again, many.state, many.scan, many.errors)
    assert many.status.startswith("One or more devices has been taken offline")
    assert [("many", 0, "DEGRADED"), ("mirror-0", 1, "DEGRADED"), (f"{DISKS}/c", 2, "ONLINE"),
            (f"{DISKS}/d", 2, "OFFLINE"), ("logs", 0, ""), (f"{DISKS}/e", 1, "ONLINE"), ("spares", 0, ""),
            (f"{DISKS}/f", 1, "AVAIL")] == [(one.name, one.depth, one.state) for one in many.vdevs]  # fmt: skip
    assert ("tank", "ONLINE", [0] * 4) == (tank.name, tank.state, [one.cksum for one in tank.vdevs])
    failed = old.host.ask((pool.status("none"),))[0].error
    assert "cannot open 'none': no such pool" in str(failed)


def test_what_it_gives_away(old: OldZfs) -> None:
    """Its usage tells what it can: what b134 could, but shareiscsi, which went with b136."""
    text = old.host.run((Step(probe.PROBE),)).must().steps[0].stdout
    assert {*VINTAGES["b134"].names, "usage"} - {"shareiscsi"} == set(probe.parse(text).zfs)


def test_what_is_recorded(old: OldZfs) -> None:
    """The same commands print the same words again; numbers and times are others."""
    said = [replace(case, expected=_answer(old, case.command)) for case in RECORDED]
    assert [_words(case) for case in RECORDED] == [_words(case) for case in said]


def _answer(old: OldZfs, command: str) -> Answer:
    done = old.run(command)
    return Answer(done.stdout, done.stderr, done.returncode)


def _words(case: Case) -> tuple[str, int, str, str]:
    when = re.sub(r"on [A-Z][a-z]{2} [A-Z][a-z]{2} [0-9: ]{16}", "on DAY", case.expected.stdout)
    numbers = re.sub(r"\t[0-9.]+[BKMG%]?(?=[\t\n])", "\tN", when)
    return case.command, case.expected.exit, numbers, case.expected.stderr


# -- this very machine -------------------------------------------------------------------------------------------------


@pytest.fixture
def here(old: OldZfs, monkeypatch: pytest.MonkeyPatch) -> local.CommandLine:
    """Snapshots of this machine, as if this were its ZFS."""
    monkeypatch.setenv("PATH", f"{old.bin}:{os.environ['PATH']}")
    old.did("zfs create tank/a", "zfs create tank/b", f"zfs create -o mountpoint={HOME}/fs tank/fs")
    return local.CommandLine()


def _raises(kind: type[local.ZfsError], *names: str) -> "pytest.RaisesExc[local.ZfsError]":
    return pytest.raises(kind, check=lambda error: error.names == names)


def test_snapshots_of_this_machine(here: local.CommandLine) -> None:
    """What is taken, held and released by one name a command; each refusal is the error it is elsewhere."""
    here.snapshot(["tank/a@one"], {"org.xvmstore:reason": "a b"})
    with _raises(local.Exists, "tank/a@one"):
        here.snapshot(["tank/a@one"], {})
    with _raises(local.Missing, "tank/none"):
        here.snapshot(["tank/none@one"], {})
    here.hold(["tank/a@one"], "keep")
    with _raises(local.HoldExists, "tank/a@one"):
        here.hold(["tank/a@one"], "keep")
    with _raises(local.Missing, "tank/a@none"):
        here.hold(["tank/a@none"], "keep")
    here.release(["tank/a@one"], "keep")
    with _raises(local.NotHeld, "tank/a@one"):
        here.release(["tank/a@one"], "keep")
    with _raises(local.Missing, "tank/a@none"):
        here.release(["tank/a@none"], "keep")


def test_what_it_cannot_do_on_this_machine(old: OldZfs, here: local.CommandLine) -> None:
    """Several at one moment, and to tell what was cloned: each is one error with zfs' words, and nothing is done."""
    before = _state(old)
    with pytest.raises(local.Unexplained, match="too many arguments"):
        here.snapshot(["tank/a@one", "tank/b@one"], {})
    old.did("zfs snapshot tank/a@one")
    with pytest.raises(local.Unexplained, match="invalid property 'clones'"):
        here.destroy(["tank/a@one"])
    old.did("zfs destroy tank/a@one")
    assert before == _state(old)


def test_back_on_this_machine(old: OldZfs, here: local.CommandLine) -> None:
    """A mounted file system, to its newest snapshot only."""
    old.did(f"echo before >{HOME}/fs/file")
    here.snapshot(["tank/fs@one"], {})
    old.did(f"echo after >{HOME}/fs/file")
    here.rollback("tank/fs", "one")
    assert "before\n" == old.did(f"cat {HOME}/fs/file")

    here.snapshot(["tank/fs@two"], {})
    with _raises(local.NotLatest, "tank/fs@one"):
        here.rollback("tank/fs", "one")
    with _raises(local.Missing, "tank/fs@none"):
        here.rollback("tank/fs", "none")


def test_file_systems_of_this_machine(here: local.CommandLine) -> None:
    """All of them, which are mounted, and what is below one."""
    found = {one.name: (one.mounted, one.mountpoint) for one in local.filesystems()}
    assert {"tank": (False, "none"), "tank/a": (False, "none"), "tank/b": (False, "none"),
            "tank/fs": (True, f"{HOME}/fs")} == found  # fmt: skip
    assert ("tank", "tank/a", "tank/b", "tank/fs") == local.below("tank")
    with _raises(local.Missing, "tank/none"):
        local.below("tank/none")


# -- the stage ---------------------------------------------------------------------------------------------------------


def test_nothing_is_left(tmp_path: Path) -> None:
    """No process, mount or file outside, though the pool was in use; outside nothing was ever seen of it."""
    if reason := zfs_fuse.why_not():
        pytest.skip(reason)
    directory = tmp_path / "node"
    before = zfs_fuse.outside(directory)
    with zfs_fuse.running(directory) as old:
        namespace, pid = old.namespace, old.daemon.pid
        old.did(f"zfs create -o mountpoint={HOME}/fs tank/fs", f"echo there >{HOME}/fs/file")
        assert "Read-only file system" in old.run("touch /usr/left").stderr
        assert pid in zfs_fuse.inside(namespace)
        assert (before, []) == (zfs_fuse.outside(directory), list((directory / "fs").iterdir()))

    assert ([], before) == (zfs_fuse.inside(namespace), zfs_fuse.outside(directory))
    assert not Path(f"/proc/{pid}").exists()
