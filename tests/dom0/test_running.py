"""Stopping and starting a guest: the programs run for real, with a toolstack that does as it is told."""

import subprocess
from pathlib import Path

import pytest

from dom0 import running
from dom0.toolstack import LIBVIRT, TOOLSTACKS, XL
from remote.errors import UnexpectedOutput
from remote.script import Step

# A domain that is there while the file "runs" is; shutdown takes it away after a moment unless "deaf" is there too.
TOOL = """\
#!/bin/sh
echo "${0##*/} $*" >>"$HERE/calls"
case $1 in
domid) [ -e "$HERE/runs" ] && echo 7 || { echo "$2 is an invalid domain identifier" >&2; exit 1; } ;;
shutdown) [ -e "$HERE/deaf" ] || { sleep 0.3; rm -f "$HERE/runs"; } & ;;
destroy) [ -e "$HERE/immortal" ] || rm -f "$HERE/runs" ;;
*) exit 99 ;;
esac
"""


def _run(here: Path, step: Step, *, unless: bool = False) -> subprocess.CompletedProcess[str]:
    for name in ("xl", "xm", "virsh"):
        (here / name).write_text(TOOL)
        (here / name).chmod(0o755)
    words = [str(word) for word in ((step.unless or ()) if unless else step.argv)]
    environment = {"PATH": f"{here}:/usr/bin:/bin", "HERE": str(here), "xvm_become": ""}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("system", TOOLSTACKS)
def test_stop(tmp_path: Path, system: tuple[str, str]) -> None:
    """One that listens is asked; one that does not run is no trouble."""
    step = running.stop(TOOLSTACKS[system], "web1", seconds=5)
    assert "none" == running.parse_stopped(_run(tmp_path, step).stdout)
    (tmp_path / "runs").touch()
    assert "stopped" == running.parse_stopped(_run(tmp_path, step).stdout)
    calls = (tmp_path / "calls").read_text()
    assert (True, False) == ("shutdown web1" in calls, "destroy" in calls)


def test_stop_by_force(tmp_path: Path) -> None:
    """After so many seconds the plug is pulled."""
    for name in ("runs", "deaf"):
        (tmp_path / name).touch()
    done = _run(tmp_path, running.stop(XL, "web1", seconds=1))
    assert (0, "destroyed") == (done.returncode, running.parse_stopped(done.stdout))
    assert not (tmp_path / "runs").exists()


def test_start_only_what_does_not_run(tmp_path: Path) -> None:
    """A step that is skipped where the guest is there already."""
    step = running.start(XL, "web1", None)
    assert ("xl", "create", "-q", "/etc/xen/web1.cfg") == step.argv
    assert 0 != _run(tmp_path, step, unless=True).returncode
    (tmp_path / "runs").touch()
    assert 0 == _run(tmp_path, step, unless=True).returncode
    assert ("virsh", "start", "web1") == running.start(LIBVIRT, "web1", "/ignored.cfg").argv
    assert "/root/a.cfg" == running.start(XL, "web1", "/root/a.cfg").argv[3]


def test_a_copy_has_no_network() -> None:
    """What overrides the original's configuration: name, network, disks."""
    assert ('name="w-try"', "vif=[]", "disk=['a', 'b']") == running.isolated("w-try", ("a", "b"))


def test_what_stop_never_says() -> None:
    """Anything else is no answer."""
    with pytest.raises(UnexpectedOutput):
        running.parse_stopped("maybe")
