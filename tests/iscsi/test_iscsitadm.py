"""What is sent to a node with iscsitgtd: the order of it, what takes it back, and what is refused before."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from iscsi.backend import Access, Export, Needs
from iscsi.iscsitadm import ISCSITADM
from iscsi.iscsitadm_rows import LocalInitiator
from iscsi.model import Check, Initiator, PortalGroup
from remote.errors import InvalidValue, UnexpectedOutput
from remote.host import Answer
from remote.script import Captured, Script, Secret, Step, masked, render
from storage.zvol import Resize
from tests.captured_cases import stdout
from tests.node.old_tools import bourne, sed
from tests.node_tools import holds, printed

FILE = "iscsitadm-b85"
SECRET = Secret("twelve-chars")
EXPORT = Export(
    dataset="tank/vm1",
    alias="web1/root",
    size="1073741824",
    guid="",
    serial="",
    lun="0",
    target="iqn.2026-11.org.xvmstore:web1.root.6a27e7400001",
    write_cache=False,
    shared=False,
    portal_group="1",
    own_chap=("node", SECRET),
)
DOM0 = Access("xen1", "iqn.2026-11.com.example:xen1", "user", SECRET)
RESIZE = Resize("tank/vm1", 1 << 30, smaller=True)
RENAME = Step(("zfs", "rename", "tank/vm1", "tank/vm2"))
NEEDS = Needs("san1", "b85", "xvm", "pfexec", ("192.0.2.10:3260", "[fd00::1]:3260"), "1", {"xen1": DOM0})


def _each() -> Iterator[tuple[Step, ...]]:
    """Every group of steps any builder makes."""
    yield from (ISCSITADM.make(EXPORT), ISCSITADM.restore(EXPORT), ISCSITADM.resume(EXPORT, waits=True))
    yield from (ISCSITADM.suspend(EXPORT), ISCSITADM.publish(EXPORT, [DOM0], again=True), ISCSITADM.same_unit(EXPORT))
    yield from (ISCSITADM.not_in_use(EXPORT), ISCSITADM.not_in_use(EXPORT, initiator=DOM0.initiator))
    yield from (ISCSITADM.withdraw(EXPORT, forever=True), ISCSITADM.withdraw(EXPORT, forever=False))
    yield from (ISCSITADM.withdraw_from(EXPORT, DOM0), ISCSITADM.resize(EXPORT, RESIZE))
    yield ISCSITADM.move(EXPORT, RENAME, dataset="tank/vm2", alias="web2/root")


def _verbs(steps: tuple[Step, ...]) -> list[str]:
    return [str(step.argv[3]) if step.argv[0] == "sh" else " ".join(map(str, step.argv[:4])) for step in steps]


def test_a_dom0_is_let_in_last() -> None:
    """After its own name, its secret, the target's, and where the target listens."""
    known = ["iscsitadm-admit", "iscsitadm-secret", "iscsitadm-own-secret", "local-name", "iscsitadm-listen"]
    assert [*known, "iscsitadm modify target -l"] == _verbs(ISCSITADM.publish(EXPORT, [DOM0]))


def test_a_new_target_is_read_back_before_anybody_sees_it() -> None:
    """Nobody in its ACL but the one whom nobody is, nobody logged in, this zvol, LUN 0, online."""
    read = ISCSITADM.make(EXPORT)[-1]
    listed = stdout(FILE, "list target one")
    closed = listed.replace("Initiator: dom0", "Initiator: xvmstore-nobody").replace("Connections: 1", "Connections: 0")
    assert all(holds(expect, closed) for expect in read.expect)
    for wrong in (
        listed,
        closed.replace("rdsk/tank", "rdsk/other"),
        closed.replace("Status: online", "Status: offline"),
    ):
        assert not all(holds(expect, wrong) for expect in read.expect)
    assert "iqn.1986-03.com.sun:02:7c5a3d1e-0c4b-4b3b-9d6e-8d6b4f3a2c11.vm1\n" == printed(read.captures[0].sed, listed)


def test_a_target_that_is_in_use_may_be_exported_to_another() -> None:
    """What is checked of a new one is not asked of one that is there."""
    assert all(holds(expect, stdout(FILE, "list target one")) for expect in ISCSITADM.restore(EXPORT)[-1].expect)


def test_the_name_is_never_empty_and_found_out_first() -> None:
    """With "" for a name iscsitadm lists every target; each group of steps finds it out anew, for there may be many."""
    for steps in _each():
        uses = [index for index, step in enumerate(steps) if Captured("unit") in step.argv]
        finds = [index for index, step in enumerate(steps) if step.argv[3:4] == ("local-name",)]
        assert finds[0] < min(uses), steps
        assert all(capture.required for capture in steps[finds[0]].captures)


@pytest.mark.parametrize(
    ("initiator", "listed", "free"),
    [
        (None, "list target one", False),
        (None, "list target unknown", True),
        ("iqn.1986-03.com.sun:01:0003ba0e0795.4455571f", "list target one", False),
        ("iqn.1986-03.com.sun:01:0003ba0e0795", "list target one", True),
    ],
)
def test_who_is_logged_in(initiator: str | None, listed: str, *, free: bool) -> None:
    """Anybody, or one whose name is not the beginning of another's."""
    _, check = ISCSITADM.not_in_use(EXPORT, initiator=initiator)
    text = stdout(FILE, listed)
    refused = any(pattern in text for pattern in check.refuse)
    assert free == (not refused and all(holds(expect, text) for expect in check.expect))
    names = ("iqn.1986-03.com.sun:01:0003ba0e0795.4455571f",) if text else ()
    assert names == ISCSITADM.logged_in(text)


def test_what_is_exported_to_somebody_is_not_let_go_of() -> None:
    """It would have to be let in again, and that is not remembered."""
    check = ISCSITADM.suspend(EXPORT)[1]
    assert not holds(check.expect[0], stdout(FILE, "list target one"))
    assert holds(check.expect[0], "")
    assert ["local-name", "iscsitadm list target -v", "iscsitadm-suspend", "zfs rename tank/vm1 tank/vm2"] == _verbs(
        ISCSITADM.move(EXPORT, RENAME, dataset="tank/vm2", alias="web2/root")
    )


def test_only_a_new_target_is_taken_back() -> None:
    """And who was let in to it; all else stays for the next run."""
    undone = {verb for steps in _each() for step, verb in zip(steps, _verbs(steps), strict=True) if step.undo}
    assert {"iscsitadm-make", "iscsitadm modify target -l"} == undone
    assert [None] * 3 == [step.undo for step in ISCSITADM.restore(EXPORT)]


def test_secrets_are_files_and_everything_is_for_old_tools() -> None:
    """In the script as a whole, and in what is shown of it."""
    steps = tuple(step for steps in _each() for step in steps)
    text = render(Script(steps), "nonce")
    assert bourne.objection(text) is None
    assert 1 == text.count(SECRET.value)
    assert not any(SECRET.value in masked(step.argv) for step in steps)
    programs = [capture.sed for step in steps for capture in step.captures]
    programs += [expect.sed for step in steps for expect in step.expect]
    assert [None] * len(programs) == [sed.objection(program) for program in programs]


@pytest.mark.parametrize("group", ["xen_1", "-xen", "xvmstore-nobody", "a b"])
def test_a_local_initiators_name(group: str) -> None:
    """What iscsitadm cannot take, or means nobody, is refused with what to set instead."""
    with pytest.raises(InvalidValue, match="host_group"):
        ISCSITADM.publish(EXPORT, [replace(DOM0, host_group=group)])


@pytest.mark.parametrize("group", ["tpg0", "0", "65536", "01", ""])
def test_a_portal_group_is_a_number(group: str) -> None:
    """One that the daemon takes."""
    with pytest.raises(InvalidValue, match="1 to 65535"):
        ISCSITADM.prepare(replace(NEEDS, portal_group=group))


# -- the node ----------------------------------------------------------------------------------------------------------

WELL: tuple[Any, ...] = (
    {"svc:/system/iscsitgt:default": "online"},
    (),
    "allowed",
    {"isns access": "Not set", "fast write ack": "Disabled"},
    (LocalInitiator("xen1", Initiator(DOM0.initiator, "user", True)),),
    (PortalGroup("1", ("192.0.2.10", "fd00::1", "192.0.2.99")),),
)


def _judged(*answers: Any) -> list[Check]:
    given = [one if isinstance(one, Answer) else Answer(one) for one in answers]
    return [check for check in ISCSITADM.findings(NEEDS, given) if not check.ok]


def test_a_fit_node() -> None:
    """Nothing to complain about; nor where a dom0 is not known yet."""
    assert [] == _judged(*WELL)
    assert [] == _judged(*WELL[:4], (), WELL[5])


@pytest.mark.parametrize(
    ("index", "answer", "what", "advice"),
    [
        (0, WELL[0] | {"svc:/network/iscsi/target:default": "online"}, "port 3260", "svcadm disable"),
        (
            1,
            Answer(None, UnexpectedOutput("iscsitadm", "No reponse from daemon", "a list")),
            "svc:/system/iscsitgt:default",
            "svcadm enable",
        ),
        (2, "iscsitadm: Error Permission denied", "rights on targets (iscsitadm)", "node setup san1"),
        (3, WELL[3] | {"isns access": "Enabled"}, "ACLs count", "modify admin -S disable"),
        (3, WELL[3] | {"fast write ack": "Enabled"}, "writes are safe", "modify admin -f disable"),
        (4, (LocalInitiator("linux1", WELL[4][0].initiator),), "local initiators", "host_group"),
        (4, (LocalInitiator("xen1", Initiator("iqn.x", None, False)),), "local initiators", "host_group"),
        (4, (LocalInitiator("xen1", Initiator(DOM0.initiator, None, True)),), "CHAP of xen1", "node setup san1"),
        (5, (PortalGroup("1", ("192.0.2.10",)),), "portal group 1", "node setup san1"),
    ],
)
def test_an_unfit_node(index: int, answer: Any, what: str, advice: str) -> None:
    """Each thing that is wrong is told by itself, with what to do."""
    (check,) = _judged(*WELL[:index], answer, *WELL[index + 1 :])
    assert (what, True) == (check.what, advice in check.advice)


def test_a_node_is_prepared_with_the_portals_addresses() -> None:
    """Without ports, for there is only one."""
    enable, group = ISCSITADM.prepare(NEEDS)
    assert ("svcadm", "enable", "-s", "svc:/system/iscsitgt:default") == enable.argv
    assert ("1", "192.0.2.10", "fd00::1") == group.argv[4:]


@pytest.mark.parametrize("become", ["pfexec", "sudo"])
def test_rights_name_every_program(become: str) -> None:
    """The one that is as good as root's is told to be so."""
    text = ISCSITADM.rights(replace(NEEDS, become=become))
    assert [] == [one for one in ("zfs", "zpool", "iscsitadm", "dd", "svcadm") if f"/{one}" not in text]
    assert "as good as root" in text
