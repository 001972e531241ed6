"""Stopping a guest apart from any machine: what would be done on its dom0."""

from dataclasses import replace
from pathlib import Path

import pytest

from remote.host import Outcome
from remote.script import Script, render
from remote.transcript import Ended
from tests.xvmstore.test_guests import VOL, site
from xvmstore.dom0s import XenDom0
from xvmstore.guest_machines import GuestMachine
from xvmstore.plan import Plan
from xvmstore.results import Volume

DATA = replace(VOL, name="web1/data", vdev="xvdb", lun=1)


def _stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str, *volumes: Volume) -> Plan:
    """What stopping it does; its script can be made."""
    plans: list[Plan] = []

    def run(_dom0: XenDom0, plan: Plan) -> Outcome:
        plans.append(plan)
        return Outcome(None, None, (), {0: Ended(0, "stopped\n", "", "done")})

    monkeypatch.setattr(XenDom0, "run", run)
    _, dom0 = site(folder, more)
    assert "stopped" == GuestMachine("web1", dom0.config, lambda _: dom0).stop(dom0, volumes)
    render(Script(plans[0].steps), "xvmnonce")
    return plans[0]


def test_by_script_nothing_is_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toolstack calls the script when the guest ends."""
    assert ("stop",) == _stopped(tmp_path, monkeypatch, "", VOL, DATA).roles


def test_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each disk is logged out; the id of one whose GUID only dom0 knows is looked up before."""
    more = 'wiring = "path"\n'
    assert ("stop", "logout", "logout") == _stopped(tmp_path, monkeypatch, more, VOL, DATA).roles
    plan = _stopped(tmp_path, monkeypatch, more, VOL, replace(DATA, guid=None))
    assert ("stop", "find", "logout", "logout") == plan.roles
    assert plan.lines()[-1].endswith("logout $id_xvdb")


def test_a_shared_target_on_solaris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One login, one logout: it names all LUNs that are done with; no GUID is needed for that, nor a device."""
    plan = _stopped(tmp_path, monkeypatch, 'system = "solaris"\n', VOL, replace(DATA, guid=None))
    assert ("stop", "logout") == plan.roles
    assert f"{VOL.target} '0 1'" in plan.lines()[-1]


def test_without_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, and that is all."""
    assert ("stop",) == _stopped(tmp_path, monkeypatch, 'wiring = "path"\n').roles
