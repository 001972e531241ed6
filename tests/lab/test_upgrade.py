"""Upgrades of a guest that runs on real Xen: undone when it is not well, and gone on with whoever was cut off where."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import guests
from tests.lab.guests import Guest
from tests.lab.live import THOROUGH, Dom0, LabNode
from tests.lab.test_power_cut import nothing_is_left_over
from xvmstore import Site

NAME = "upgraded"
GUEST = f'[guests.{NAME}]\nconfig = "/root/{NAME}.cfg"\nshutdown_timeout = 2'
SUM = "dd if=/dev/{} bs=64k count=16 iflag=direct 2>/dev/null | md5sum"


@pytest.fixture(scope="module")
def config(node: LabNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an upgrade must know of the guest."""
    return node.variant(tmp_path_factory.mktemp("upgrade"), tables=GUEST)


@pytest.fixture(scope="module")
def guest(node: LabNode) -> Iterator[Guest]:
    """A guest with two disks, both with bytes of its own."""
    assert 0 == node.xvm("guest", "install-script", "--dom0", "xen1").exit
    found = guests.start(node, Dom0(node), NAME, "root", "data", size="64M")
    for disk in ("xvda", "xvdb"):
        found.does(f"dd if=/dev/urandom of=/dev/{disk} bs=64k count=16 oflag=direct 2>/dev/null")
    yield found
    found.destroy()


def sums(guest: Guest, dom0: Dom0) -> list[str]:
    """What the guest itself reads from its disks."""
    found = []
    for disk in ("xvda", "xvdb"):
        mark = f"{disk}-{time.monotonic_ns()}"
        guest.does(f"echo {mark} $({SUM.format(disk)})")
        line = dom0.run(f"grep '^{mark} ' {guest.log} | tail -n 1")
        found.append(line.split()[1])
    return found


def spoil(node: LabNode) -> list[str]:
    """A command that has the guest overwrite both disks, as a bad upgrade would."""
    typed = "; ".join(f"dd if=/dev/zero of=/dev/{disk} bs=64k count=16 oflag=direct" for disk in ("xvda", "xvdb"))
    script = (f"tty=$(xenstore-read /local/domain/$(xl domid {NAME})/console/tty); "
              f"echo '{typed}; echo SPOILED-'$$ >$tty; "
              f"i=0; until grep -q ^SPOILED-$$ /var/log/xen/console/guest-{NAME}.log; "
              "do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.2; done")  # fmt: skip
    return [*node.lab.ssh_command(node.lab.dom0), script]


def facts(config: Path) -> list[tuple[object, ...]]:
    """What dom0 knows the disks by."""
    with Site.load(config) as site:
        return [(one.name, one.guid, one.target, one.lun, one.size, one.thin, one.trouble)
                for one in site.volumes(guest=NAME)]  # fmt: skip


def dom0_state(dom0: Dom0) -> str:
    """All that is configured on dom0 for the guest's disks."""
    return dom0.run("cat /etc/xvmstore/volumes/* | sort; md5sum /etc/iscsi/iscsid.conf; cat /root/upgraded.cfg")


def test_an_upgrade_that_is_not_well_is_undone(node: LabNode, dom0: Dom0, guest: Guest, config: Path) -> None:
    """The guest runs again on its old bytes, from the same LUs; nothing was changed on dom0."""
    before, disks, there = sums(guest, dom0), facts(config), dom0_state(dom0)

    said = node.xvm("upgrade", NAME, "--check", "false", "--tries", "1", "--", *spoil(node), config=config)

    assert (1, True) == (said.exit, f"{NAME} is back at xvm-" in said.err), said.err
    guest.saw("GUEST-UP")
    assert (before, disks, there) == (sums(guest, dom0), facts(config), dom0_state(dom0))
    (done,) = node.xvm("checkpoint", "list", NAME, "--json", config=config).json["checkpoints"]
    assert "rolled back" == done["outcome"]
    _tidy(node, config)


@pytest.mark.skipif(not THOROUGH, reason="on embedded nodes; here the node's own death: XVMSTORE_LAB_THOROUGH=1")
def test_cut_off_anywhere(node: LabNode, dom0: Dom0, guest: Guest, config: Path) -> None:
    """The client killed, or its connections dropped, at different moments of the way back: --resume ends it."""
    before, disks = sums(guest, dom0), facts(config)
    for seconds, drop in ((0.0, False), (2.0, True), (5.0, False), (7.0, True)):
        told = _cut_off(node, config, seconds=seconds, drop=drop)
        _resume_until_done(node, config, told)
        guest.saw("GUEST-UP")
        assert (before, disks) == (sums(guest, dom0), facts(config)), told
        _tidy(node, config)


def _cut_off(node: LabNode, config: Path, *, seconds: float, drop: bool) -> str:
    """Begin an upgrade that fails; so long after it turns back, kill the client, or all connections to the node."""
    words = ["upgrade", NAME, "--check", "false", "--tries", "1", "--", *spoil(node)]
    argv = [sys.executable, "-m", "xvmstore", "-c", str(config), *words]
    with subprocess.Popen(
        argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as one:
        said = _until(one, "goes back to")
        time.sleep(seconds)
        if drop:
            _drop(node)
        else:
            os.killpg(one.pid, signal.SIGKILL)
        rest = one.stderr.read() if one.stderr else ""
    return f"cut off after {seconds} s (dropped: {drop}): {said}{rest}"


def _usual_transport(node: LabNode, folder: Path) -> Path:
    """With a connection to the storage node that nobody shares, so that it ends with the node."""
    return node.variant(folder, node='transport = "fabric"\nssh_options = []', tables=GUEST)


def _tidy(node: LabNode, config: Path) -> None:
    """What was kept goes; then there is nothing that does not belong to the guest."""
    with Site.load(config) as site:
        state = site.checkpoints.state(NAME)
        site.checkpoints.destroy(NAME, *state.kept, *(one.name for one in state.checkpoints), snapshots=True)
    nothing_is_left_over(node)


def _until(one: subprocess.Popen[str], words: str) -> str:
    said = ""
    while words not in said:
        line = one.stderr.readline() if one.stderr else ""
        assert line, said
        said += line
    return said


def _drop(node: LabNode) -> None:
    """Every connection to the storage node, the tests' own shared one included."""
    command = [*node.lab.ssh_command(node.lab.storage), "pkill -f '^sshd: root@' ; :"]
    subprocess.run(command, check=False, capture_output=True, timeout=60)


def _resume_until_done(node: LabNode, config: Path, told: str) -> None:
    for _ in range(3):
        said = node.xvm("upgrade", NAME, "--resume", config=config)
        if said.exit == 1:
            assert "is back at" in said.err or "no upgrade of" in said.err, f"{told}; then {said.err}"
            return
        assert said.exit in {3, 4}, f"{told}; then {said.exit}: {said.err}"
        time.sleep(1)
    raise AssertionError(told)


def test_the_node_dies_on_the_way_back(node: LabNode, dom0: Dom0, guest: Guest, config: Path, tmp_path: Path) -> None:
    """Its power is cut while guest and copy change places; after the boot --resume ends it."""
    before, disks = sums(guest, dom0), facts(config)
    words = ["upgrade", NAME, "--check", "false", "--tries", "1", "--", *spoil(node)]
    argv = [sys.executable, "-m", "xvmstore", "-c", str(_usual_transport(node, tmp_path)), *words]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:
        sign = f"zfs list tank/xvm/{NAME}:kept 2>/dev/null && zfs list -r tank/xvm/{NAME}:kept | grep -q :copy/data"
        node.shell(
            f"i=0; until {{ {sign}; }} >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 6000 ] || exit 1; sleep 0.02; done"
        )
        node.lab.storage.kill()
        said = running.communicate(timeout=120)[1]
    node.lab.boot(node.lab.storage)

    _resume_until_done(node, config, said)
    guest.saw("GUEST-UP")
    assert (before, disks) == (sums(guest, dom0), facts(config)), said
    _tidy(node, config)


def test_held_still_for_a_checkpoint(node: LabNode, guest: Guest, tmp_path: Path) -> None:
    """The domain paused by xl; and real file systems frozen over SSH, dom0's own standing in for a guest's."""
    login = [line for line in node.config.read_text().split("[dom0s.xen1]")[1].splitlines()
             if line.startswith(("host", "transport", "ssh_", "known_hosts"))]  # fmt: skip
    config = node.variant(tmp_path, tables="\n".join([GUEST, *login]))
    for how in ("pause", "freeze"):
        said = node.xvm("checkpoint", "create", NAME, f"--{how}", "--json", config=config)
        assert (0, how) == (said.exit, said.json["checkpoints"][0]["consistency"]), said.err
    guest.does("echo it goes on")
    _tidy(node, config)


def test_a_rehearsal_runs_beside_the_guest(node: LabNode, dom0: Dom0, guest: Guest, config: Path) -> None:
    """A copy of the guest is started without a network, from its own LUs, while the guest goes on."""
    before = sums(guest, dom0)
    words = _types("upgraded-rehearsal", "dd if=/dev/zero of=/dev/xvda bs=64k count=16 oflag=direct")
    said = node.xvm(
        "upgrade", NAME, "--rehearse", "--json", "--", *node.lab.ssh_command(node.lab.dom0), words, config=config
    )

    assert (0, "done", "xen1") == (said.exit, said.json["outcome"], said.json["started_on"]), said.err
    assert before == sums(guest, dom0)
    dom0.run("xl destroy upgraded-rehearsal")
    _eventually(lambda: node.xvm("checkpoint", "discard", "upgraded-rehearsal", config=config).exit == 0)
    _tidy(node, config)


def _types(name: str, command: str) -> str:
    """A script for dom0 that waits for a guest to be up, types a command there, and waits until it has ended."""
    log = f"/var/log/xen/console/guest-{name}.log"
    tty = f"$(xenstore-read /local/domain/$(xl domid {name})/console/tty)"
    wait = f"i=0; until grep -q $1 {log}; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.3; done"
    typed = shlex.quote(command + "; echo TRIED-IT-")
    return f"saw() {{ {wait}; }}; saw ^GUEST-UP; echo {typed}$$ >{tty}; saw ^TRIED-IT-$$"


def _eventually(done: Callable[[], bool], *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(1)
