"""``guest check-migration`` apart from any machine: what is asked of either dom0, and what the answers come to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dom0.block_script import Shown
from dom0.toolstack import XenInfo
from dom0.xenstore import Vbd
from remote.errors import NotFound, StepFailed
from remote.host import Answer
from remote.script import Query, masked
from tests.xvmstore.test_guests import ID, VOL, site
from xvmstore import guest_migration
from xvmstore.dom0s import XenDom0
from xvmstore.results import Check, Volume

VBD = Vbd(5, 51712, "xvda", ID, 2, "w")
XEN = XenInfo((4, 17, 7))


class _Machine:
    """Answers as it was told to, and keeps what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def ask(self, queries: Sequence[Query[Any]]) -> tuple[Answer[Any], ...]:
        """One round trip."""
        self.asked = [masked(query.argv) for query in queries]
        assert len(self.answers) == len(queries), self.asked
        return tuple(Answer(None, one) if isinstance(one, StepFailed) else Answer(one) for one in self.answers)


def _dom0(folder: Path, more: str, machine: _Machine) -> XenDom0:
    _, dom0 = site(folder, more)
    dom0._host = machine  # type: ignore[assignment]
    return dom0


def _checks(
    folder: Path, source: _Machine, destination: _Machine, *volumes: Volume, more: str = ""
) -> dict[str, Check]:
    machines = (_dom0(folder, more, machine) for machine in (source, destination))
    return {one.what: one for one in guest_migration.check("web1", volumes, *machines)}


def test_what_linux_is_asked(tmp_path: Path) -> None:
    """The script measures at the destination alone; nobody need tell what a disk is called."""
    source, destination = _Machine((), (VBD,), XEN), _Machine((), (), XEN, VOL.size)
    found = _checks(tmp_path, source, destination, VOL)
    assert source.asked == destination.asked[:3]
    assert [f"/etc/xen/scripts/block-xvmstore check {ID}"] == destination.asked[3:]
    assert (True, f"the right LUN, {VOL.size} bytes") == (
        found["web1/root from xen1"].ok,
        found["web1/root from xen1"].found,
    )
    assert "half attached: web1/root" == found["disks connected on xen1"].found


@pytest.mark.parametrize(
    ("more", "advice"),
    [("", "`xvmstore guest grow`"),
     ('system = "solaris"\n', "`xvmstore guest forget web1 --dom0 xen1`, then `guest prepare`")],
)  # fmt: skip
def test_another_size(tmp_path: Path, more: str, advice: str) -> None:
    """What has it read anew, there."""
    names = (Shown(),) if more else ()
    found = _checks(tmp_path, _Machine((), (), XEN, *names), _Machine((), (), XEN, 512), VOL, more=more)
    check = found["web1/root from xen1"]
    assert (False, "the right LUN, 512 bytes", f"the volume has {VOL.size}: {advice}") == (
        check.ok, check.found, check.advice,
    )  # fmt: skip


def test_not_complete(tmp_path: Path) -> None:
    """Such a volume cannot be looked for, and does not get another one's answer."""
    half = replace(VOL, name="web1/new", target=None)
    found = _checks(tmp_path, _Machine((), (), XEN), _Machine((), (), XEN, VOL.size), half, VOL)
    assert ["not complete", f"the right LUN, {VOL.size} bytes"] == [
        found[f"web1/{name} from xen1"].found for name in ("new", "root")
    ]
    assert "`xvmstore volume show web1/new`" == found["web1/new from xen1"].advice


def test_names_on_solaris(tmp_path: Path) -> None:
    """A vbd is told by what the source's initiator calls the disk; if that does not answer, nobody knows."""
    assert VOL.target
    vbd = replace(VBD, params="dsk/c3t1d0p0", vdev="0")
    here = _Machine((), (), XEN, None)
    shown = Shown(devices={(VOL.target, VOL.lun or 0): "/dev/dsk/c3t1d0p0"})
    found = _checks(tmp_path, _Machine((), (vbd,), XEN, shown), here, VOL, more='system = "solaris"\n')
    assert "half attached: web1/root" == found["disks connected on xen1"].found
    failure = StepFailed("xen1", "iscsiadm list target -S", exit_status=1, stderr="iscsiadm: Permission denied")
    found = _checks(tmp_path, _Machine((), (vbd,), XEN, failure), here, VOL, more='system = "solaris"\n')
    check = found["disks connected on xen1"]
    assert (False, True) == (check.ok, "Permission denied" in check.found)


def test_no_volumes(tmp_path: Path) -> None:
    """There is nothing to move."""
    with pytest.raises(NotFound, match="guest web1 has no volumes"):
        _checks(tmp_path, _Machine(), _Machine())
