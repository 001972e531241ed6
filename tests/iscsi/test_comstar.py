"""The COMSTAR backend: what is done in which order, and the facts its answers are put together to."""

from dataclasses import replace

import pytest

from iscsi import access, targets
from iscsi.backend import Access, Everything, Export, Exported
from iscsi.backends import BACKENDS
from iscsi.comstar import SBDADM_COMSTAR, STMFADM_COMSTAR, Comstar
from iscsi.model import LogicalUnit
from iscsi.units import SBDADM, STMFADM, Unit
from remote.script import Captured, Secret, Step
from storage import zvol

GUID = "600144F00C2A6D0000006A27E7400001"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
PATH = "/dev/zvol/rdsk/tank/xvm/web1/root"
SECRET = Secret("twelve-characters")
EXPORT = Export(
    dataset="tank/xvm/web1/root",
    alias="web1/root",
    size="21474836480",
    guid=GUID,
    serial="00006a27e7400001",
    lun="0",
    target=TARGET,
    write_cache=False,
    shared=False,
)
SHARED = replace(EXPORT, shared=True, target_group="everyone", portal_group="tpg0", own_chap=("node", SECRET))
UNIT = Unit(PATH, GUID, "21474836480", "00006a27e7400001", "web1/root", write_cache=False)
PLAIN = Access("dom0", "iqn.2026-11.com.example:dom0")
CHAP = Access("dom1", "iqn.2026-11.com.example:dom1", "dom1", SECRET)
BOTH = [STMFADM_COMSTAR, SBDADM_COMSTAR]


def _verbs(steps: tuple[Step, ...]) -> list[str]:
    return [f"{step.argv[0]} {step.argv[1]}" for step in steps]


def test_make_and_restore_end_in_a_check() -> None:
    """An LU is read back before anybody is let see it."""
    assert (*STMFADM.make(UNIT), STMFADM.verify(UNIT)) == STMFADM_COMSTAR.make(EXPORT)
    assert (*STMFADM.restore(UNIT), STMFADM.verify(UNIT)) == STMFADM_COMSTAR.restore(EXPORT)
    assert (*SBDADM.make(UNIT), SBDADM.verify(UNIT)) == SBDADM_COMSTAR.make(EXPORT)


@pytest.mark.parametrize("backend", BOTH)
def test_make_lets_nobody_in(backend: Comstar) -> None:
    """No view, group or target is made with the LU."""
    for steps in (backend.make(EXPORT), backend.restore(EXPORT)):
        assert not {"add-view", "create-tg", "create-hg", "create-target"} & {step.argv[1] for step in steps}


def test_publish() -> None:
    """Host groups and secrets, the target group before its target (no offline is needed then), the views last."""
    steps = STMFADM_COMSTAR.publish(EXPORT, [PLAIN, CHAP])
    assert [
        "stmfadm create-hg",
        "stmfadm add-hg-member",
        "stmfadm list-hg",
        "stmfadm create-hg",
        "stmfadm add-hg-member",
        "stmfadm list-hg",
        "itadm create-initiator",
        "stmfadm create-tg",
        "stmfadm add-tg-member",
        "itadm create-target",
        "stmfadm add-view",
        "stmfadm add-view",
    ] == _verbs(steps)
    views = [access.add_view(GUID, host_group=group, target_group=TARGET, lun="0") for group in ("dom0", "dom1")]
    assert tuple(views) == steps[-2:]
    assert targets.create_initiator(CHAP.initiator, user="dom1", secret=SECRET) in steps


def _created(steps: tuple[Step, ...]) -> Step:
    return next(step for step in steps if step.argv[1] == "create-target")


def test_a_target_asks_for_chap_when_one_dom0_has_a_secret() -> None:
    """Without secrets the node's default stands."""
    assert ["-a" in _created(STMFADM_COMSTAR.publish(EXPORT, dom0s)).argv for dom0s in ([PLAIN], [PLAIN, CHAP])] == [
        False,
        True,
    ]


def test_publish_on_a_shared_target() -> None:
    """No target group of its own, and no undo that would take the target from other volumes."""
    steps = SBDADM_COMSTAR.publish(SHARED, [PLAIN])
    created = targets.create_target(
        TARGET, alias="xvmstore", portal_group="tpg0", chap=False, own=("node", SECRET), keep=True
    )
    assert created == steps[3]
    assert created.undo is None
    assert access.add_view(GUID, host_group="dom0", target_group="everyone", lun="0") == steps[-1]
    assert 5 == len(steps)


def test_withdraw() -> None:
    """The LU, with its views, before the target and its group; a shared target stays."""
    gone = (targets.remove_target(TARGET), access.remove_target_group(TARGET))
    assert (*STMFADM.delete(GUID), *gone) == STMFADM_COMSTAR.withdraw(EXPORT, forever=True)
    assert SBDADM.delete(GUID) == SBDADM_COMSTAR.withdraw(SHARED, forever=False)
    assert access.remove_view(GUID, host_group="dom0") == STMFADM_COMSTAR.withdraw_from(EXPORT, PLAIN)


def test_checks_and_changes_of_one_volume() -> None:
    """Logins are looked for on the target; resize and move go by the device of the dataset."""
    who = PLAIN.initiator
    assert (targets.nobody_logged_in(TARGET),) == STMFADM_COMSTAR.not_in_use(EXPORT)
    assert (targets.nobody_logged_in(TARGET, initiator=who),) == STMFADM_COMSTAR.not_in_use(EXPORT, initiator=who)
    grow, *unit, shrink = STMFADM_COMSTAR.resize(EXPORT, zvol.Resize(EXPORT.dataset, 21474836480, smaller=True))
    assert (*STMFADM.resize(PATH, GUID, "21474836480"),) == tuple(unit)
    assert shrink == replace(grow, unless=None)
    rename = zvol.rename("tank/xvm/web1/root", "tank/xvm/web2/root")
    steps = STMFADM_COMSTAR.move(EXPORT, rename, dataset="tank/xvm/web2/root", alias="web2/root")
    assert rename == steps[2]
    assert ("stmfadm", "import-lu", "/dev/zvol/rdsk/tank/xvm/web2/root") == steps[3].argv
    assert ("stmfadm", "import-lu", PATH) == steps[1].undo


def test_reads_one_export() -> None:
    """sbdadm answers with all LUs: the one on this path counts."""
    other, ours = LogicalUnit("6" * 32, "Online", path="/x"), LogicalUnit(GUID, "Online", path=PATH)
    assert Exported(ours, (), None, None, ()) == SBDADM_COMSTAR.read(((other, ours), (), (), (), ()), PATH)
    assert Exported(None, (), None, None, ()) == SBDADM_COMSTAR.read(((other,), (), (), (), ()), PATH)
    remembered = LogicalUnit(GUID, "unregistered")
    assert Exported(remembered, (), None, None, ()) == STMFADM_COMSTAR.read(((remembered,), (), (), (), ()), PATH)


def test_questions() -> None:
    """As many answers as are read; what only the node knows is captured before."""
    guid, target = Captured("guid"), Captured("target")
    asked = STMFADM_COMSTAR.inspect(guid, target)
    assert [guid, guid, target, target] == [query.argv[-1] for query in asked[:4]]
    assert ["guid", "guid", "target", "target", None] == [query.needs for query in asked]
    assert Everything((), {}, (), ()) == STMFADM_COMSTAR.read_all(((), {}, (), ()))
    assert [4, 4] == [len(backend.inspect_all()) for backend in BOTH]


def test_releases() -> None:
    """Before b118 a target group could only be changed while all of COMSTAR was offline: no target of its own there."""
    traits = [backend.traits for backend in BOTH]
    assert {"illumos": STMFADM_COMSTAR, "b134": STMFADM_COMSTAR, "b111": SBDADM_COMSTAR} == BACKENDS["comstar"]
    assert [("target-per-volume", "shared-target"), ("shared-target",)] == [one.layouts for one in traits]
    assert [(0, "ours", True), (65536, "its", False)] == [(one.head, one.guid, one.keeps_views) for one in traits]
