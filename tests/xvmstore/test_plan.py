"""Plans: steps with roles, how they are shown, and what their failures mean."""

from remote.errors import PartlyDone, StepFailed
from remote.host import Outcome
from remote.script import Captured, Lock, Secret, Step
from xvmstore.plan import Plan

LOCK = Lock("guest-web1", "test")
CREATE = Step(("zfs", "create", "-V", "1G", "tank/a b"), undo=("zfs", "destroy", "tank/a b"))
SECRET = Step(("itadm", "create-initiator", "-S", Secret("twelve-characters"), "iqn.x"))
VIEW = Step(("stmfadm", "add-view", "-n", Captured("lun"), Captured("guid")))
PLAN = Plan.of(LOCK, ("create", (CREATE,)), ("nothing", ()), ("publish", [SECRET, VIEW]), settled="create")
FAILED = StepFailed("san1", "zfs create", exit_status=1, stderr="out of space\n")


def _outcome(step: int | None, failure: StepFailed | PartlyDone | None = FAILED) -> Outcome:
    return Outcome(failure=failure, failed_step=step, answers=(), steps={})


def test_parts_become_steps_with_roles() -> None:
    """In their order; a part without steps leaves no trace."""
    assert Plan((CREATE, SECRET, VIEW), ("create", "publish", "publish"), LOCK, "create") == PLAN


def test_lines_are_what_an_admin_would_type() -> None:
    """Quoted for a shell, secrets masked, captured words by name."""
    assert [
        "zfs create -V 1G 'tank/a b'",
        "itadm create-initiator -S <secret> iqn.x",
        "stmfadm add-view -n $lun $guid",
    ] == PLAN.lines()


def test_failed_role() -> None:
    """What the failed step was for; nothing failed, no role."""
    roles = [PLAN.failed_role(_outcome(step)) for step in (0, 1, 2, None)]
    assert ["create", "publish", "publish", None] == roles


def test_a_failure_before_the_point_of_no_return() -> None:
    """All was undone: the failure is raised as it is."""
    assert PLAN.failure(_outcome(0)) is FAILED


def test_a_failure_after_it() -> None:
    """The change is half done, and the message says how to go on."""
    found = PLAN.failure(_outcome(2))
    assert isinstance(found, PartlyDone)
    assert str(found).startswith(str(FAILED))
    assert "run the same command again" in str(found)


def test_a_plan_without_such_a_point() -> None:
    """Every failure is raised as it is."""
    assert Plan.of(LOCK, ("create", (CREATE, VIEW))).failure(_outcome(1)) is FAILED


def test_what_is_half_done_already_stays_so() -> None:
    """A failed undo is told once."""
    partly = PartlyDone("something is left")
    assert PLAN.failure(_outcome(2, partly)) is partly


def test_no_failure() -> None:
    """Nothing to raise."""
    assert PLAN.failure(_outcome(None, None)) is None


def test_without_undo() -> None:
    """The same steps in the same roles; nothing is taken back."""
    found = PLAN.without_undo()
    assert [None, None, None] == [step.undo for step in found.steps]
    assert (PLAN.lines(), PLAN.roles, LOCK, "create") == (found.lines(), found.roles, found.lock, found.settled)
