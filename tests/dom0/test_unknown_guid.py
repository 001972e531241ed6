"""A volume whose GUID nobody knows before the first login, on a Linux dom0: its steps, run over the tree of files.

iscsitgtd of early OpenSolaris gives an LU its GUID then.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from dom0 import block_script
from dom0.block_script import MAPS, PATH
from dom0.disk import Disk
from dom0.initiators import OpenIscsi
from remote.errors import StepFailed
from remote.host import Host, Outcome
from remote.local import LocalShell
from remote.script import Argv, Secret, Step
from tests.dom0.test_block_script_run import DISK, ID, SCRIPT
from tests.dom0.test_block_script_run import Host as Files

UNKNOWN = replace(DISK, guid=None)
ACCOUNT = block_script.Account("xen1", Secret("secret-of-xen1"))
CONTENT = block_script.map_of(
    "web1/root", UNKNOWN, node="san1", portals=["192.0.2.10:3260"], account=ACCOUNT, multipath=False, login=True
)


class Dom0:
    """Runs an initiator's steps as they are, but for where the script and its maps are."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = Files(folder, ("dash",))
        self.maps = folder / "etc/xvmstore/volumes"
        (self.maps / ID).unlink()
        script = folder / "bin/block-xvmstore"
        script.write_text(SCRIPT.read_text())
        script.chmod(0o755)
        self._places = {MAPS: str(self.maps), PATH: str(script)}
        monkeypatch.setenv("XVMSTORE_ROOT", str(folder))
        monkeypatch.setenv("XVMSTORE_DEADLINE", "5")
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")

    def run(self, *steps: Step) -> Outcome:
        """Carry them out, in one script."""
        return Host("xen1", LocalShell()).run([self._here(step) for step in steps])

    def _here(self, step: Step) -> Step:
        def moved(argv: Argv | None) -> Argv | None:
            return argv and tuple(self._places.get(str(word), word) for word in argv)

        return replace(step, argv=moved(step.argv) or (), undo=moved(step.undo), unless=moved(step.unless))

    def known(self) -> dict[str, str]:
        """The maps there are, each with its WWID."""
        return {
            file.name: next(line for line in file.read_text().splitlines() if line.startswith("wwid="))
            for file in self.maps.iterdir()
        }


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dom0:
    """One that knows no volume yet."""
    return Dom0(tmp_path, monkeypatch)


def test_learned_once(dom0: Dom0) -> None:
    """The first login tells the WWID; from then on the volume is known by it, and held to it."""
    initiator = OpenIscsi()
    know = initiator.know(UNKNOWN, CONTENT)
    dom0.run(*know, *initiator.sweep(UNKNOWN), *initiator.login(UNKNOWN)).must()

    assert {ID: f"wwid=naa.{ID}"} == dom0.known()
    assert "user=xen1" in (dom0.maps / ID).read_text()
    (use,) = block_script.parse(dom0.files.run("show").stdout).uses
    assert (f"login_{ID}", ID) == (use.name, use.id)
    dom0.run(*initiator.find(UNKNOWN), *initiator.logout(UNKNOWN)).must()
    assert [] == dom0.files.left()

    (dom0.files.root / "rc-192.0.2.10:3260").write_text("24\n")
    dom0.run(*know).must()
    assert {ID: f"wwid=naa.{ID}"} == dom0.known(), "what is known is not tried again"


def test_what_dom0_does_not_know(dom0: Dom0) -> None:
    """Nothing to let go of."""
    initiator = OpenIscsi()
    steps = (
        *initiator.find(UNKNOWN),
        *initiator.sweep(UNKNOWN),
        *initiator.logout(UNKNOWN),
        *initiator.grow(UNKNOWN, 1),
    )
    ended = dom0.run(*steps).must()
    assert ["done", "skip", "skip", "skip"] == [one.how for one in ended.steps.values()]


def test_no_first_login(dom0: Dom0) -> None:
    """The script's own words, and nothing is left."""
    (dom0.files.root / "rc-192.0.2.10:3260").write_text("24\n")
    failure = dom0.run(*OpenIscsi().know(UNKNOWN, CONTENT)).failure
    assert isinstance(failure, StepFailed)
    assert "CHAP was refused by 192.0.2.10:3260" in failure.stderr
    assert ({}, []) == (dom0.known(), dom0.files.left())


@pytest.mark.parametrize(
    ("keep", "left"), [((UNKNOWN,), [ID]), ((DISK,), [ID]), ((), []), ((replace(UNKNOWN, lun=2),), [])]
)
def test_forget_the_others(dom0: Dom0, keep: tuple[Disk, ...], left: list[str]) -> None:
    """What is kept is known by its id, or by target and LUN."""
    dom0.run(*OpenIscsi().know(UNKNOWN, CONTENT), *OpenIscsi().forget("web1", keep=keep, node="san1")).must()
    assert left == list(dom0.known())
