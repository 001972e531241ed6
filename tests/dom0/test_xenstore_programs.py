"""The small programs that wait for a vbd, run by several shells over what a real xenstore-ls printed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dom0 import xenstore
from dom0.toolstack import XL
from remote.script import Argv
from tests.embedded.replay import cases

RECORDED = next(
    case for case in cases("../xen/xl-4.17") if case.command == f"xenstore-ls -f {xenstore.BACKENDS}"
).expected.stdout
ROOT, DATA, FAILED = xenstore.parse(RECORDED)
DOMID = str(ROOT.domid)
ROOT_SAID = f"it started from {ROOT.params}\n"
# What xsls.c of Xen 3.1 prints of one vbd: it knows no -f.
TREE = """\
51712 = ""
 domain = "web1"
 frontend:
 params = "/dev/dsk/c3t1d0p0"
 state = "4"
 dev = "0"
 sectors = "2097152"
51728 = ""
 params = "/dev/dsk/c3t2d0p0"
 state = "2"
"""
SHELLS = [shell for shell in ("dash", "bash", "ksh93", "busybox") if shutil.which(shell)]


class Dom0:
    """Programs over a xenstore that says what was recorded, or what a test makes of it."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.text, self._folder, self._shell = RECORDED, folder, shell
        self.knows_f = True

    def run(self, argv: Argv) -> tuple[int, str]:
        """A program's exit code and what it said."""
        (self._folder / "text").write_text(self.text)
        wanted = f"{xenstore.BACKENDS}/{DOMID}"
        option = "-f " if self.knows_f else ""
        fake = f'#!/bin/sh\n[ "$*" = "{option}{wanted}" ] || exit 1\ncat {self._folder}/text\n'
        tools = {"xenstore-ls": fake, "xl": f'#!/bin/sh\necho "$*" >>{self._folder}/calls\n'}
        for name, content in tools.items():
            (self._folder / name).write_text(content)
            (self._folder / name).chmod(0o755)
        words = ["busybox", "sh"] if self._shell == "busybox" else [self._shell]
        env = {"PATH": f"{self._folder}:/usr/bin:/bin", "xvm_become": ""}
        # Some shells have a sleep of their own.
        command = [*words, *(str(word).replace("sleep 1\n", ":\n") for word in argv[1:])]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def calls(self) -> list[str]:
        """What xl was told."""
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=[SHELLS[0], *(pytest.param(name, marks=pytest.mark.shells) for name in SHELLS[1:])])
def dom0(request: pytest.FixtureRequest, tmp_path: Path) -> Dom0:
    """One for each shell there is."""
    return Dom0(tmp_path, request.param)


def test_connected(dom0: Dom0) -> None:
    """At once where the guest has it; the state it stopped at where not, also none."""
    assert (0, f"{ROOT.devid} xvda\n") == dom0.run(xenstore.connected(DOMID, [ROOT.params], seconds=3))
    assert (1, "state 2\n") == dom0.run(xenstore.connected(DOMID, [FAILED.params], seconds=2))
    assert (1, "state none\n") == dom0.run(xenstore.connected(DOMID, ["another"], seconds=2))
    assert (1, "state none\n") == dom0.run(xenstore.connected("", [ROOT.params], seconds=1))


def test_xend_leaves_dev_out(dom0: Dom0) -> None:
    """phy:/dev/x and phy:x are one device."""
    dom0.text = RECORDED.replace(ROOT.params, "disk/by-path/x")
    assert 0 == dom0.run(xenstore.connected(DOMID, ["/dev/disk/by-path/x"], seconds=1))[0]


def test_gone(dom0: Dom0) -> None:
    """Gone, or its state; of a guest that does not run everything has gone."""
    assert (0, "") == dom0.run(xenstore.gone(DOMID, ["another"], seconds=2))
    assert (0, "") == dom0.run(xenstore.gone("", [ROOT.params], seconds=2))
    assert (1, "state 4\n") == dom0.run(xenstore.gone(DOMID, [ROOT.params], seconds=2))


def test_a_name_that_is_taken(dom0: Dom0) -> None:
    """By another disk; its own is no hindrance."""
    assert (0, "") == dom0.run(xenstore.name_free(DOMID, [ROOT.params], "xvda").argv)
    assert (0, "") == dom0.run(xenstore.name_free(DOMID, ["new"], "xvdq").argv)
    assert (1, f"xvda is {ROOT.params}\n") == dom0.run(xenstore.name_free(DOMID, ["new"], "xvda").argv)


def test_dead(dom0: Dom0) -> None:
    """A script that said it failed; one that never said anything; never one that is connected or still comes up."""
    assert (0, f"{FAILED.devid}\n") == dom0.run(xenstore.dead(DOMID, [FAILED.params]).argv)
    assert (0, "") == dom0.run(xenstore.dead(DOMID, [ROOT.params]).argv)
    assert (0, "") == dom0.run(xenstore.dead(DOMID, ["another"]).argv)
    dom0.text = "".join(line for line in RECORDED.splitlines(keepends=True) if "/hotplug-status" not in line)
    assert (0, f"{FAILED.devid}\n") == dom0.run(xenstore.dead(DOMID, [FAILED.params]).argv)
    dom0.text = RECORDED.replace(f'/{ROOT.devid}/state = "4"', f'/{ROOT.devid}/state = "2"')
    assert (0, "") == dom0.run(xenstore.dead(DOMID, [ROOT.params]).argv), "its script has done its part"


def test_detach(dom0: Dom0) -> None:
    """The toolstack is told the vbd's number; of what is not there it is told nothing."""
    assert 0 == dom0.run(xenstore.detach(XL.detach, DOMID, [DATA.params]))[0]
    assert 0 == dom0.run(xenstore.detach(XL.force, DOMID, [ROOT.params]))[0]
    assert 0 == dom0.run(xenstore.detach(XL.detach, DOMID, ["another"]))[0]
    assert [f"block-detach {DOMID} {DATA.devid}", f"block-detach {DOMID} {ROOT.devid} --force"] == dom0.calls()


def test_a_cd_is_not_the_first(dom0: Dom0) -> None:
    """An HVM guest's CD has a lower number than xvda."""
    cd = f"{xenstore.BACKENDS}/{DOMID}/5632"
    dom0.text = f'{cd}/params = "/x.iso"\n{cd}/device-type = "cdrom"\n' + RECORDED
    assert (0, ROOT_SAID) == dom0.run(xenstore.not_root(DOMID, [ROOT.params]).argv)


def test_several_names(dom0: Dom0) -> None:
    """Any of them will do."""
    assert 0 == dom0.run(xenstore.attached(DOMID, ["another", DATA.params, "/dev/x"]))[0]
    assert (0, "") == dom0.run(xenstore.name_free(DOMID, ["another", DATA.params], "xvdb").argv)


def test_first_and_attached(dom0: Dom0) -> None:
    """The disk with the lowest number is what the guest started from."""
    step = xenstore.not_root(DOMID, ["another", ROOT.params])
    assert (0, ROOT_SAID) == dom0.run(step.argv)
    assert any(pattern in ROOT_SAID for pattern in step.refuse)
    assert (0, "") == dom0.run(xenstore.not_root(DOMID, [DATA.params]).argv)
    assert (0, "") == dom0.run(xenstore.not_root("", [ROOT.params]).argv)
    dom0.text = RECORDED.replace(ROOT.params, "dsk/c1t0d0p0")
    assert (0, "it started from dsk/c1t0d0p0\n") == dom0.run(xenstore.not_root(DOMID, ["/dev/dsk/c1t0d0p0"]).argv)
    assert [0, 1] == [dom0.run(xenstore.attached(DOMID, [params]))[0] for params in (DATA.params, "another")]


def test_published(dom0: Dom0) -> None:
    """The size the guest is told: as wanted, another, or no guest."""
    assert DATA.sectors
    assert (0, "published\n") == dom0.run(xenstore.published(DOMID, [DATA.params], sectors=DATA.sectors, seconds=1))
    assert (0, f"sectors {DATA.sectors}\n") == dom0.run(xenstore.published(DOMID, [DATA.params], sectors=1, seconds=1))
    assert (0, "none\n") == dom0.run(xenstore.published(DOMID, ["another"], sectors=1, seconds=1))


def test_an_early_xenstore(dom0: Dom0) -> None:
    """A tree is read as paths are."""
    dom0.text, dom0.knows_f = TREE, False
    assert (0, "51712 0\n") == dom0.run(xenstore.connected(DOMID, ["/dev/dsk/c3t1d0p0"], seconds=1))
    assert (1, "state 2\n") == dom0.run(xenstore.connected(DOMID, ["/dev/dsk/c3t2d0p0"], seconds=1))
    assert (0, "published\n") == dom0.run(xenstore.published(DOMID, ["/dev/dsk/c3t1d0p0"], sectors=2097152, seconds=0))
    at = f"{xenstore.BACKENDS}/{DOMID}"
    exit_, said = dom0.run((*xenstore.vbds().argv[:-1], at))
    assert (0, 51712, "0", "/dev/dsk/c3t1d0p0") == (
        exit_,
        *next((v.devid, v.vdev, v.params) for v in xenstore.parse(said)),
    )
