"""The commands for targets, portal groups and initiators, word for word, and the check for logins."""

import pytest

from iscsi import targets
from remote.script import Captured, Secret, Step, Word
from tests.captured_cases import stdout

VM1 = "iqn.2026-11.com.example:tank.vm1"
DOM0 = "iqn.2005-03.org.open-iscsi:dom0-a"
SECRET, OWN = Secret("twelve-characters"), Secret("of-the-target-itself")
RACE = ("resource busy", "Configuration changed during processing")


def _itadm(*argv: Word, undo: tuple[Word, ...] | None = None, accept: tuple[str, ...] = ()) -> Step:
    lies = argv[0] == "create-target"
    return Step(("itadm", *argv), undo=undo, lies=lies, accept=accept, retry=RACE, silent=True)


def _create(name: Word = VM1, *, full: bool) -> Step:
    return targets.create_target(
        name,
        alias="web1/root",
        portal_group="tpg0" if full else None,
        chap=full,
        own=("vm1user", OWN) if full else None,
        keep=full,
    )


EXISTS = ("already exists",)
CONFIGURED = ("already configured",)
STEPS: dict[str, tuple[Step, Step]] = {
    "create-target": (
        _create(full=False),
        _itadm(
            *("create-target", "-n", VM1, "-l", "web1/root"),
            undo=("itadm", "delete-target", "-f", VM1),
            accept=CONFIGURED,
        ),
    ),
    "create-target, known on the node": (
        _create(Captured("target"), full=False),
        _itadm(
            *("create-target", "-n", Captured("target"), "-l", "web1/root"),
            undo=("itadm", "delete-target", "-f", Captured("target")),
            accept=CONFIGURED,
        ),
    ),
    "create-target, shared, mutual CHAP": (
        _create(full=True),
        _itadm(
            *("create-target", "-n", VM1, "-l", "web1/root", "-a", "chap", "-u", "vm1user", "-S", OWN, "-t", "tpg0"),
            accept=CONFIGURED,
        ),
    ),
    "delete-target": (targets.remove_target(VM1), _itadm("delete-target", "-f", VM1, accept=("not found",))),
    "create-initiator": (
        targets.create_initiator(DOM0, user="dom0a", secret=SECRET),
        _itadm("create-initiator", "-u", "dom0a", "-S", SECRET, DOM0, accept=EXISTS),
    ),
    "modify-initiator": (
        targets.modify_initiator(DOM0, user="dom0a", secret=SECRET),
        _itadm("modify-initiator", "-u", "dom0a", "-S", SECRET, DOM0),
    ),
    "delete-initiator": (targets.remove_initiator(DOM0), _itadm("delete-initiator", DOM0, accept=("not found",))),
    "create-tpg": (
        targets.create_portal_group("tpg0", ("192.0.2.10:3260", "[2001:db8::10]:3260")),
        _itadm("create-tpg", "tpg0", "192.0.2.10:3260", "[2001:db8::10]:3260", accept=EXISTS),
    ),
    "delete-tpg": (targets.remove_portal_group("tpg0"), _itadm("delete-tpg", "tpg0", accept=("does not exist",))),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    """Command, undo and what is accepted, word for word; portals are operands of their own."""
    built, expected = STEPS[name]
    assert expected == built


def test_questions() -> None:
    """The table of itadm, not -p, which releases before 2014 do not have; a missing target is an answer."""
    one, setup = targets.targets(VM1), targets.target_setups(VM1)
    assert [("stmfadm", "list-target", "-v", VM1), (": not found",)] == [one.argv, one.absent]
    assert [("itadm", "list-target", "-v", VM1), ("not found",)] == [setup.argv, setup.absent]
    assert ["target"] * 2 == [ask(Captured("target")).needs for ask in (targets.targets, targets.target_setups)]
    everything = [targets.targets(), targets.target_setups(), targets.initiators(), targets.portal_groups()]
    assert [
        ("stmfadm", "list-target", "-v"),
        ("itadm", "list-target", "-v"),
        ("itadm", "list-initiator"),
        ("itadm", "list-tpg", "-v"),
    ] == [query.argv for query in everything]


def _refuses(step: Step, text: str) -> bool:
    """As the shell does it: a pattern is found anywhere."""
    return any(pattern in text for pattern in step.refuse)


LOGGED_IN = stdout("stmfadm-list-target", "verbose")
NOBODY = stdout("stmfadm-list-target", "one")


def test_nobody_logged_in() -> None:
    """Any session of the recorded ones stops the step; a target that is gone has none."""
    step = targets.nobody_logged_in(VM1)
    assert [("stmfadm", "list-target", "-v", VM1), (": not found",)] == [step.argv, step.accept]
    assert [True, False, False] == [_refuses(step, text) for text in (LOGGED_IN, NOBODY, "")]


@pytest.mark.parametrize(
    ("initiator", "refused"),
    [(DOM0, True), ("iqn.1993-08.org.debian:01:abcdef012345", True), (DOM0[:-1], False), (DOM0 + "b", False)],
)
def test_one_initiator_not_logged_in(initiator: str, refused: bool) -> None:
    """Only a session of this very initiator stops the step."""
    assert refused == _refuses(targets.nobody_logged_in(VM1, initiator=initiator), LOGGED_IN)
