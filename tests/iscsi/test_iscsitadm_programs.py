"""The programs for iscsitgtd, run in real shells against a small one: what they leave, whatever fails."""

import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from iscsi import iscsitadm_access
from iscsi import iscsitadm_programs as programs
from remote.script import Argv
from tests.iscsi.iscsitgt_fake import DATASET, DEVICE, IQN, MIB, Fake, How
from tests.node.old_tools import bourne
from tests.node_tools import printed

UNIT = "web1.root.6a27e7400001"
NOBODY = "xvmstore-nobody"
XEN1, XEN2 = "iqn.2026-11.com.example:xen1", "iqn.2026-11.com.example:xen2"
GPT = bytes(range(256)) * 2
MAKE = programs.make(UNIT, DATASET)
SUSPEND = programs.suspend(UNIT, DATASET)
HIDE = programs.withdraw(UNIT, DATASET, forever=False)
REMOVE = programs.withdraw(UNIT, DATASET, forever=True)
LATER = programs.withdraw_from(UNIT, DATASET, "xen1", XEN1)
CHECK = programs.check(UNIT, DATASET)


def _resize(size: int) -> Argv:
    return programs.resize(UNIT, DATASET, str(size), "iqn.of:old")


ALL = [MAKE, SUSPEND, HIDE, REMOVE, LATER, CHECK, _resize(MIB), programs.listen(UNIT, DATASET, "1"),
       iscsitadm_access.admit("xen1", XEN1, "user"), iscsitadm_access.portal_group("1", ("192.0.2.1",))]  # fmt: skip


@pytest.fixture(params=["dash", "bash"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fake]:
    """One in each of two shells."""
    node = Fake(tmp_path, request.param)
    yield node
    node.close()


def _did(fake: Fake, argv: Argv) -> str:
    done = fake.run([str(word) for word in argv])
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def _failed(fake: Fake, argv: Argv) -> str:
    done = fake.run([str(word) for word in argv])
    assert (True, 1) == (done.returncode > 0, len(done.stderr.splitlines())), done
    return done.stderr


def _acl(fake: Fake, unit: str = UNIT) -> list[str] | None:
    found = fake.targets.get(unit)
    return sorted(found["acl"]) if found else None


def _serve(fake: Fake, *acl: str, sessions: tuple[str, ...] = (), path: str = DEVICE, unit: str = UNIT) -> None:
    facts = {"iqn": f"{IQN}7c5a3d1e.{unit}", "acl": list(acl), "tpgts": [], "path": path, "size": 4 * MIB}
    fake.targets[unit] = facts | {"sessions": list(sessions)}


# -- how they are written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", ALL, ids=lambda argv: argv[3])
def test_the_old_bourne_shell_can_run_it(argv: Argv) -> None:
    """Nothing in it that Solaris' /bin/sh of 2008 reads otherwise; nor a function that has the name of a variable."""
    text = str(argv[2])
    assert bourne.objection(text) is None
    functions = set(re.findall(r"^(\w+)\(\) ", text, re.MULTILINE))
    assert set() == functions & set(re.findall(r"(?<![-\w.:])(\w+)=", text))


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("iqn.2026-11.org.xvmstore:web1.root.6a27e7400001", UNIT),
        (f"{IQN}7c5a3d1e-0c4b-4b3b-9d6e-8d6b4f3a2c11.{UNIT}", UNIT),
        ("iqn.2026-11.org.xvmstore:WEB1.root.6a27e7400001", UNIT),
        (f"iqn.2026-11.org.xvmstore:{'w' * 60}.root.6a27e7400001", f"{'w' * 42}.root.6a27e7400001"),
        (f"iqn.2026-11.org.xvmstore:www{'.' * 60}6a27e7400001", "6a27e7400001"),
    ],
)
def test_the_nodes_own_name_follows_from_either(recorded: str, name: str) -> None:
    """From what we asked for and from what the daemon made of it: the same, and short enough for its buffers."""
    assert f"{name}\n" == printed(programs.LOCAL_NAME, f"{recorded}\n")
    daemons = f"{IQN}00000000-0000-0000-0000-000000000000.{name}"
    assert f"{name}\n" == printed(programs.LOCAL_NAME, f"{daemons}\n")


# -- making ------------------------------------------------------------------------------------------------------------


def test_a_new_target_lets_nobody_in(fake: Fake) -> None:
    """An ACL with nobody in it would let everybody in; making it again changes nothing."""
    _did(fake, MAKE)
    before = deepcopy(fake.targets)
    assert {NOBODY: "iqn.2026-11.org.xvmstore:xvmstore-nobody"} == {
        name: facts["iqn"] for name, facts in fake.initiators.items()
    }
    assert [NOBODY] == _acl(fake)
    _did(fake, MAKE)
    assert before == fake.targets


def test_it_is_closed_by_the_very_next_command(fake: Fake) -> None:
    """Nothing is done between making it and closing it."""
    _did(fake, MAKE)
    at = next(index for index, ran in enumerate(fake.ran) if "create target" in ran)
    assert f"iscsitadm modify target -l {NOBODY} {UNIT}" == fake.ran[at + 1]


@pytest.mark.parametrize("last", [GPT, bytes(511) + b"\1", b"\xff" * 512, bytes(512)])
def test_the_last_sector_survives(fake: Fake, last: bytes) -> None:
    """The daemon writes zeros over it; all else is as it was, and nothing of it stays recorded."""
    fake.write(-2, b"before the last")
    fake.write(-1, last)
    was = fake.disk.read_bytes()
    _did(fake, MAKE)
    assert was == fake.disk.read_bytes()
    assert {} == fake.props


def test_it_is_not_made_where_acls_do_not_count(fake: Fake) -> None:
    """With iSNS access enabled everybody would be asked for, but not the ACL."""
    fake.isns = "Enabled"
    assert "iSNS access is enabled" in _failed(fake, MAKE)
    assert _acl(fake) is None


def test_a_target_that_cannot_be_closed_goes_again(fake: Fake) -> None:
    """With its last sector as it was."""
    fake.write(-1, GPT)
    fake.fault = ("before", 11)
    done = fake.run([str(word) for word in MAKE])
    assert f"iscsitadm modify target -l {NOBODY} {UNIT}" == fake.ran[11]
    assert (1, None, GPT) == (done.returncode, _acl(fake), fake.last())
    assert "it would have let everybody in" in done.stderr


@pytest.mark.parametrize("unit", ["theirs", DATASET])
@pytest.mark.parametrize("argv", [MAKE, SUSPEND, HIDE, REMOVE, LATER, CHECK, _resize(8 * MIB)], ids=lambda a: a[3])
def test_what_somebody_else_exports_is_left_alone(fake: Fake, argv: Argv, unit: str) -> None:
    """Named, be it another target of an admin's or ZFS's own export, and nothing is changed."""
    _serve(fake, unit=unit)
    fake.write(-1, GPT)
    wanted = "exported by ZFS itself" if unit == DATASET else "also behind the target theirs"
    assert wanted in _failed(fake, argv)
    assert (["theirs"] if unit == "theirs" else [DATASET]) == _targets(fake)
    assert GPT == fake.last()


def _targets(fake: Fake) -> list[str]:
    return list(fake.targets)


@pytest.mark.parametrize("argv", [MAKE, SUSPEND, HIDE, REMOVE, LATER, CHECK, _resize(8 * MIB)], ids=lambda a: a[3])
def test_a_copy_never_touches_the_targets_own_zvol(fake: Fake, argv: Argv) -> None:
    """A received copy of a zvol has the same target recorded."""
    _serve(fake, NOBODY, path="/dev/zvol/rdsk/tank/backup/root")
    assert "is on /dev/zvol/rdsk/tank/backup/root, not on" in _failed(fake, argv)
    assert [NOBODY] == _acl(fake)


def test_a_check_says_nothing_where_all_is_well(fake: Fake) -> None:
    """Without a target, and with ours; others' targets elsewhere are none of its business."""
    _serve(fake, path="/export/file", unit="theirs")
    _did(fake, CHECK)
    _serve(fake, NOBODY)
    _did(fake, CHECK)


# -- letting go --------------------------------------------------------------------------------------------------------


def test_suspended_is_only_what_nobody_may_log_in_to(fake: Fake) -> None:
    """Nobody, not even everybody; the data are as they were."""
    fake.write(-1, GPT)
    for acl in ((), (NOBODY, "xen1")):
        _serve(fake, *acl)
        assert "somebody may log in" in _failed(fake, SUSPEND)
    _serve(fake, NOBODY)
    _did(fake, SUSPEND)
    _did(fake, SUSPEND)
    assert (None, GPT) == (_acl(fake), fake.last())


def test_taken_away_is_closed_but_there(fake: Fake) -> None:
    """The others go out of the ACL; who is in it in place of everybody comes first."""
    _serve(fake, "xen1", "xen2")
    _did(fake, HIDE)
    assert [NOBODY] == _acl(fake)
    changes = [ran for ran in fake.ran if re.search("modify|delete", ran)]
    assert [f"-l {who} {UNIT}" for who in (NOBODY, "xen1", "xen2")] == [ran.split(" target ")[1] for ran in changes]


def test_only_with_the_target_a_session_goes(fake: Fake) -> None:
    """Forced: whoever is logged in would stay so."""
    _serve(fake, NOBODY, "xen1", sessions=(XEN1,))
    _did(fake, HIDE)
    assert _acl(fake) is None


def test_nobody_can_come_back_while_a_target_goes(fake: Fake) -> None:
    """All are out of the ACL before the target is deleted, for that logs them out first."""
    _serve(fake, "xen1", sessions=(XEN1,))
    _did(fake, REMOVE)
    _did(fake, REMOVE)
    assert _acl(fake) is None
    changes = [ran for ran in fake.ran if "delete target" in ran]
    assert [f"iscsitadm delete target -l xen1 {UNIT}", f"iscsitadm delete target -u 0 {UNIT}"] == changes


def test_taken_away_from_one_dom0(fake: Fake) -> None:
    """The other keeps it; the last one out leaves nobody, not everybody; where it is not in there is nothing to do."""
    _serve(fake, "xen1", "xen2")
    _did(fake, LATER)
    assert ["xen2", NOBODY] == _acl(fake)
    _did(fake, LATER)
    _serve(fake, "xen1")
    _did(fake, LATER)
    assert [NOBODY] == _acl(fake)


def test_a_dom0_that_stays_logged_in_is_told(fake: Fake) -> None:
    """Its session goes on; the other's is no reason to complain."""
    _serve(fake, NOBODY, "xen1", "xen2", sessions=(XEN1, XEN2))
    assert "xen1 is still logged in" in _failed(fake, LATER)
    _serve(fake, NOBODY, "xen1", "xen2", sessions=(XEN2,))
    _did(fake, LATER)


# -- another size ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8 * MIB, 2 * MIB, 4 * MIB])
def test_another_size_is_another_target_for_the_same_dom0s(fake: Fake, size: int) -> None:
    """The same may log in, through the same portal groups; the last sector of the new size is as it was."""
    fake.write(-1, GPT)
    fake.write(2 * MIB // 512 - 1, b"in the middle")
    was = fake.disk.read_bytes()
    _serve(fake, NOBODY, "xen1", "xen2")
    fake.targets[UNIT]["tpgts"] = ["1", "2"]
    said = _did(fake, _resize(size))
    assert ["xen1", "xen2", NOBODY] == _acl(fake)
    assert was[:size].ljust(size, b"\0") == fake.disk.read_bytes()
    found = fake.targets[UNIT]
    assert (size, ["1", "2"], {"org.xvmstore:target": found["iqn"]}) == (
        found["size"], found["tpgts"], fake.props
    )  # fmt: skip
    assert f"name {found['iqn']}\n" == said


def _cut_off(fake: Fake) -> None:
    """A resize, just when the target is away."""
    _open(fake)
    fake.fault = ("cut after", next(i for i, ran in enumerate(_ran_by_resize(fake)) if "delete target" in ran))
    fake.run([str(word) for word in _resize(8 * MIB)])
    fake.fault = None
    assert (None, f"/ {NOBODY} xen1 xen2") == (_acl(fake), fake.props["org.xvmstore:acl"])


def _ran_by_resize(fake: Fake) -> list[str]:
    _did(fake, _resize(8 * MIB))
    ran = list(fake.ran)
    fake.targets, fake.props, fake.ran = {}, {}, []
    os.truncate(fake.disk, 4 * MIB)
    _open(fake)
    return ran


def test_who_is_let_in_while_a_resize_is_cut_off(fake: Fake) -> None:
    """Whom one dom0 is taken away from meanwhile stays out; all others are in again, whatever is run next."""
    _cut_off(fake)
    _did(fake, LATER)
    _did(fake, _resize(8 * MIB))
    assert ["xen2", NOBODY] == _acl(fake)


def test_an_export_ends_what_a_cut_off_resize_took_away(fake: Fake) -> None:
    """Else those whom it had let in would be locked out without a word."""
    _cut_off(fake)
    _did(fake, MAKE)
    assert ["xen1", "xen2", NOBODY] == _acl(fake)
    assert "org.xvmstore:acl" not in fake.props


@pytest.mark.parametrize("argv", [MAKE, HIDE, LATER, _resize(8 * MIB)], ids=lambda argv: argv[3])
def test_what_was_written_down_for_a_migration_is_void(fake: Fake, argv: Argv) -> None:
    """As soon as who may log in, or the GUID, is another; the migration's own withdrawal leaves it."""
    _open(fake)
    fake.props["org.xvmstore:exported-as"] = "600144F0 xen1,xen2"
    _did(fake, argv)
    assert "org.xvmstore:exported-as" not in fake.props
    _serve(fake, NOBODY)
    fake.props["org.xvmstore:exported-as"] = "600144F0 xen1,xen2"
    _did(fake, REMOVE)
    assert "org.xvmstore:exported-as" in fake.props


def test_without_a_target_only_the_zvol_changes(fake: Fake) -> None:
    """What is recorded as its target stays so."""
    assert "name iqn.of:old\n" == _did(fake, _resize(8 * MIB))
    assert (None, 8 * MIB) == (_acl(fake), fake.disk.stat().st_size)


def test_nothing_is_resized_while_somebody_is_logged_in(fake: Fake) -> None:
    """A new target would take the disk away under the guest."""
    _serve(fake, NOBODY, "xen1", sessions=(XEN1,))
    assert "somebody is logged in" in _failed(fake, _resize(8 * MIB))
    assert (["xen1", NOBODY], 4 * MIB) == (_acl(fake), fake.disk.stat().st_size)


# -- what an interruption costs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """A program, how the node is before it, and what is there when it has been run to its end."""

    argv: Argv
    before: Callable[[Fake], None]
    acl: list[str] | None
    size: int = 4 * MIB


def _open(fake: Fake) -> None:
    _serve(fake, NOBODY, "xen1", "xen2")


LIVES = {
    "make": Life(MAKE, lambda _: None, [NOBODY]),
    "hide": Life(HIDE, _open, [NOBODY]),
    "remove": Life(REMOVE, _open, None),
    "suspend": Life(SUSPEND, lambda fake: _serve(fake, NOBODY), None),
    "later": Life(LATER, _open, ["xen2", NOBODY]),
    "grow": Life(_resize(8 * MIB), _open, ["xen1", "xen2", NOBODY], 8 * MIB),
    "shrink": Life(_resize(2 * MIB), _open, ["xen1", "xen2", NOBODY], 2 * MIB),
}


def _begun(fake: Fake, life: Life) -> bytes:
    """Make the node what it is before; what is on the zvol when all is done."""
    fake.targets, fake.initiators, fake.props, fake.ran = {}, {}, {}, []
    os.truncate(fake.disk, 4 * MIB)
    fake.write(-1, GPT)
    fake.write(2 * MIB // 512 - 1, b"in the middle")
    life.before(fake)
    return fake.disk.read_bytes()[: life.size].ljust(life.size, b"\0")


_CHANGE = re.compile("create|modify|delete|zfs set|zfs inherit|dd of=")
_LIFE_AND_HOW = [*((name, "cut after") for name in LIVES), ("make", "before"), ("make", "after"), ("grow", "before")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), _LIFE_AND_HOW)
def test_whatever_fails_the_next_run_ends_it(tmp_path: Path, name: str, how: How) -> None:
    """Each change fails once, alone or with all that follows; then it is run again, and nothing was lost."""
    life, fake = LIVES[name], Fake(tmp_path, "dash")
    try:
        _begun(fake, life)
        _did(fake, life.argv)
        for at in [index for index, ran in enumerate(fake.ran) if _CHANGE.search(ran)]:
            was = _begun(fake, life)
            fake.fault = (how, at)
            fake.run([str(word) for word in life.argv])
            assert "cut" in how or _acl(fake) != [], "everybody is let in"
            fake.fault = None
            _did(fake, life.argv)
            assert (life.acl, was, set()) == (
                _acl(fake), fake.disk.read_bytes(), set(fake.props) - {"org.xvmstore:target"}
            ), at  # fmt: skip
    finally:
        fake.close()


def test_what_was_kept_is_put_back_only_behind_a_closed_door(fake: Fake) -> None:
    """A guest may have written there since: then it is for the admin to say."""
    fake.props = {"org.xvmstore:last-a": f"8191-{GPT.hex()[:512]}", "org.xvmstore:last-b": GPT.hex()[512:]}
    _serve(fake, NOBODY, "xen1")
    assert "cannot be put back: somebody may log in" in _failed(fake, MAKE)
    assert bytes(512) == fake.last()
    _serve(fake, NOBODY)
    _did(fake, MAKE)
    assert GPT == fake.last()


@pytest.mark.parametrize("acl", [None, (NOBODY,)])
@pytest.mark.parametrize("argv", [MAKE, SUSPEND, _resize(4 * MIB)], ids=lambda argv: argv[3])
def test_what_was_kept_is_forgotten_where_there_is_something_newer(
    fake: Fake, argv: Argv, acl: tuple[str, ...] | None
) -> None:
    """The zvol was rolled back meanwhile, say: what is there is the disk's own."""
    fake.props = {"org.xvmstore:last-a": f"8191-{GPT.hex()[:512]}", "org.xvmstore:last-b": GPT.hex()[512:]}
    fake.write(-1, b"newer")
    if acl is not None:
        _serve(fake, *acl)
    _did(fake, argv)
    assert (b"newer", set()) == (fake.last().rstrip(b"."), set(fake.props) - {"org.xvmstore:target"})


@pytest.mark.parametrize("argv", [MAKE, SUSPEND, _resize(4 * MIB)], ids=lambda argv: argv[3])
def test_what_was_kept_outlives_the_target(fake: Fake, argv: Argv) -> None:
    """The one that erased it was deleted before it could be put back."""
    fake.props = {"org.xvmstore:last-a": f"8191-{GPT.hex()[:512]}", "org.xvmstore:last-b": GPT.hex()[512:]}
    _did(fake, argv)
    assert (GPT, {}) == (fake.last(), fake.props)


def test_half_of_a_sector_is_none(fake: Fake) -> None:
    """Cut off between its two halves: the sector itself is still there, and is what is kept."""
    fake.write(-1, GPT)
    fake.props = {"org.xvmstore:last-b": "ff" * 256}
    _did(fake, MAKE)
    assert GPT == fake.last()


# -- dom0s and portal groups -------------------------------------------------------------------------------------------


def test_a_dom0_is_made_known_once(fake: Fake) -> None:
    """By its local name and, where it must prove itself, with its user; the second time nothing is changed."""
    for user in ("", "user"):
        for _ in range(2):
            _did(fake, iscsitadm_access.admit("xen1", XEN1, user))
        wanted = {"iqn": XEN1, "user": user or "Not set", "secret": "Not set"}
        assert wanted == fake.initiators["xen1"]
        assert 1 == len([ran for ran in fake.ran if "create initiator" in ran])
        assert len(user) // 4 == len([ran for ran in fake.ran if "modify initiator" in ran])


@pytest.mark.parametrize(("local", "initiator"), [("xen1", XEN2), ("linux1", XEN1)])
def test_an_initiator_has_one_local_name(fake: Fake, local: str, initiator: str) -> None:
    """The daemon takes the first it finds: under another name, or as another one, it would not be let in."""
    fake.initiators[local] = {"iqn": initiator, "user": "Not set", "secret": "Not set"}
    assert local in _failed(fake, iscsitadm_access.admit("xen1", XEN1, "user"))
    assert [local] == list(fake.initiators)


def test_one_portal_group_only(fake: Fake) -> None:
    """The one that is configured, and not those of before: an empty list would be every address."""
    _serve(fake, NOBODY)
    fake.targets[UNIT]["tpgts"] = ["3"]
    assert "portal group 1 has no address" in _failed(fake, programs.listen(UNIT, DATASET, "1"))
    for _ in range(2):
        _did(fake, iscsitadm_access.portal_group("1", ("192.0.2.1", "192.0.2.2")))
        _did(fake, programs.listen(UNIT, DATASET, "1"))
    assert ["1"] == fake.targets[UNIT]["tpgts"]


def test_a_daemon_that_does_not_answer_is_no_empty_node(fake: Fake) -> None:
    """A listing that failed is never taken for one without targets."""
    for argv in ALL[:8]:
        fake.ran, fake.fault = [], ("cut before", 0)
        assert fake.run([str(word) for word in argv]).returncode > 0, argv[3]


@pytest.mark.parametrize("argv", [HIDE, LATER, _resize(8 * MIB)], ids=lambda argv: argv[3])
def test_nor_is_it_when_it_stops_answering(fake: Fake, argv: Argv) -> None:
    """What is known of the target itself is not taken for nothing either."""
    _serve(fake, NOBODY, "xen1", sessions=(XEN1,))
    asked = f"iscsitadm list target -v {UNIT}"
    fake.run([str(word) for word in argv])
    at = fake.ran.index(asked)
    _serve(fake, NOBODY, "xen1", sessions=(XEN1,))
    fake.ran, fake.fault = [], ("before", at)
    assert fake.run([str(word) for word in argv]).returncode > 0
    assert (asked, ["xen1", NOBODY]) == (fake.ran[-1], _acl(fake))
