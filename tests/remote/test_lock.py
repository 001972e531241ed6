"""Locks: one script at a time, and none kept by the dead."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remote.errors import Locked
from remote.host import Host, guest_lock
from remote.local import LocalShell
from remote.script import Lock, Query
from tests.remote.sshd import wait_until
from tests.remote.support import Node, ask, executable, gated, in_background, note, noted, opened_at_the_end, sh, unnote

pytestmark = pytest.mark.slow
RACERS = 6
ROUNDS = 5


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def here(tmp_path: Path) -> Host:
    """A host that is this machine."""
    return Host("node1", LocalShell(("env", f"TMPDIR={tmp_path}", "/bin/sh")))


@pytest.fixture
def naps(node: Node, tmp_path: Path) -> Iterator[Path]:
    """A file that is there once a script on the node has had to nap."""
    program = executable(node.bin / "sleep", f'echo nap >>"{tmp_path}/naps"\nexec /bin/sleep "$@"\n')
    yield tmp_path / "naps"
    program.unlink()


def test_two_scripts_exclude_one_another(node: Node, lock: Lock, naps: Path, tmp_path: Path) -> None:
    """The second one waits while the first is at work, and goes ahead when it is done."""
    at, gate = tmp_path / "n", tmp_path / "gate"
    first, second = node.new_shell(), node.new_shell()
    with opened_at_the_end(gate):
        steps = (note(at, "first begins"), gated(gate, tmp_path / "reached"), note(at, "first ends"))
        one = in_background(lambda: Host("node1", first).run(steps, lock=lock).must())
        wait_until((tmp_path / "reached").exists)
        two = in_background(lambda: Host("node1", second).run((note(at, "second"),), lock=lock).must())
        wait_until(lambda: noted(naps))
        assert ["first begins"] == noted(at)
    one.result()
    two.result()
    assert ["first begins", "first ends", "second"] == noted(at)
    assert not os.path.lexists(lock.path)
    first.close()
    second.close()


def test_who_waits_in_vain_is_told_who_has_it(node: Node, lock: Lock, tmp_path: Path) -> None:
    """Locked names guest, owner, process and the way out; nothing was run, and the holder is undisturbed."""
    at, gate = tmp_path / "n", tmp_path / "gate"
    mine = replace(lock, owner="anna@dom0[7],since,noon")
    shell = node.new_shell()
    with opened_at_the_end(gate):
        steps = (gated(gate, tmp_path / "reached"), note(at, "first"))
        one = in_background(lambda: Host("node1", shell).run(steps, lock=mine).must())
        wait_until((tmp_path / "reached").exists)
        began = time.monotonic()
        with pytest.raises(Locked) as caught:
            Host("node1", node.shell).run((note(at, "second"),), then=(ask("echo x"),), lock=replace(lock, wait=1))
        assert 0.9 < time.monotonic() - began < 8
        holder = os.readlink(lock.path).split(":")[0]
    one.result()
    words = f"{lock.name} is being changed by anna@dom0[7],since,noon (process {holder} on node1)"
    assert (True, True, 1) == (words in str(caught.value), lock.path in str(caught.value), caught.value.exit_code)
    assert ["first"] == noted(at)
    shell.close()


def test_a_lock_of_the_dead_is_taken_over(node: Node, lock: Lock, dead: int, tmp_path: Path) -> None:
    """A holder whose process is gone is not waited for at all; the lock is then ours."""
    Path(lock.path).symlink_to(f"{dead}:late@dom0")
    text = 'readlink "$1"'
    outcome = Host("node1", node.shell).run((sh(text, lock.path),), lock=replace(lock, wait=0)).must()
    assert outcome.steps[0].stdout.endswith(f":{lock.owner}\n")
    assert not os.path.lexists(lock.path)
    assert not os.path.lexists(lock.path + ".break")


def test_a_lock_of_the_living_is_not_taken_over(here: Host, lock: Lock, tmp_path: Path) -> None:
    """A holder whose process is there keeps it, whoever that is."""
    Path(lock.path).symlink_to(f"{os.getpid()}:bert@dom0")
    with pytest.raises(Locked, match=rf"by bert@dom0 \(process {os.getpid()} on node1\)"):
        here.run((note(tmp_path / "n", "x"),), lock=replace(lock, wait=0))
    assert [] == noted(tmp_path / "n")
    assert f"{os.getpid()}:bert@dom0" == os.readlink(lock.path)


def test_a_lock_is_kept_where_nobody_can_tell_who_is_alive(lock: Lock, tmp_path: Path) -> None:
    """A node without a working ps does not take everybody for dead."""
    executable(tmp_path / "ps", "echo 'ps: cannot' >&2; exit 1\n")
    host = Host("node1", LocalShell(("env", f"PATH={tmp_path}:{os.environ['PATH']}", "/bin/sh")))
    Path(lock.path).symlink_to(f"{os.getpid()}:bert@dom0")
    with pytest.raises(Locked, match="by bert@dom0"):
        host.run((note(tmp_path / "n", "x"),), lock=replace(lock, wait=0))


def test_a_dead_lock_that_cannot_be_removed(lock: Lock, dead: int) -> None:
    """In a sticky /tmp only its owner, or root, can remove it: another user is told so, and does not try forever."""
    if os.getuid() != 0 or not shutil.which("setpriv") or not os.stat(tempfile.gettempdir()).st_mode & 0o1000:
        pytest.skip("needs root, setpriv and a sticky /tmp, to be somebody else")
    Path(lock.path).symlink_to(f"{dead}:late@dom0")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh")
    with pytest.raises(Locked, match="by late@dom0"):
        Host("node1", LocalShell(nobody), timeout=10).run((), lock=replace(lock, wait=1))


def test_a_file_in_the_place_of_a_lock(here: Host, lock: Lock) -> None:
    """What is no lock is nobody's to remove: it counts as held."""
    Path(lock.path).write_text("x")
    with pytest.raises(Locked):
        here.run((), lock=replace(lock, wait=0))
    assert "x" == Path(lock.path).read_text()


def test_a_race_for_a_dead_lock(lock: Lock, dead: int, tmp_path: Path) -> None:
    """However many find the same dead lock at once, they then hold it one after the other."""
    counter, inside = tmp_path / "counter", tmp_path / "inside"
    counter.write_text("0\n")
    text = 'mkdir "$2" || exit 1; n=`cat "$1"`; sleep 0.02; expr $n + 1 >"$1"; rmdir "$2"'
    step = sh(text, str(counter), str(inside))
    for _ in range(ROUNDS):
        Path(lock.path).symlink_to(f"{dead}:late@dom0")
        racers = [in_background(lambda: Host("node1", LocalShell()).run((step,), lock=lock)) for _ in range(RACERS)]
        assert [None] * RACERS == [racer.result().failure for racer in racers]
    assert f"{ROUNDS * RACERS}\n" == counter.read_text()
    assert not os.path.lexists(lock.path + ".break")


@pytest.mark.parametrize("text", ["exit 1", "kill -HUP $PPID; exit 1", "kill -PIPE $PPID; exit 1"])
def test_a_lock_is_released_after_a_failure(here: Host, lock: Lock, tmp_path: Path, text: str) -> None:
    """Held while the undo runs, gone when the script is over, failing undo or not."""
    undo = ("sh", "-c", 'readlink "$1"; exit 1', "sh", lock.path)
    outcome = here.run((note(tmp_path / "n", "a", undo=undo), sh(text)), lock=lock)
    assert "could not be undone" in str(outcome.failure)
    assert not os.path.lexists(lock.path)


def test_a_lock_is_held_for_the_questions(here: Host, lock: Lock) -> None:
    """They see the node as this script left it, and nobody else's change."""
    assert here.run((), then=(ask('readlink "$1"', lock.path),), lock=lock).answers[0].get()


def test_a_lock_after_its_holder_was_killed(here: Host, lock: Lock, tmp_path: Path) -> None:
    """A script that could not clean up blocks nobody."""
    with pytest.raises(Exception, match="ended during"):
        here.run((sh("kill -9 $PPID; :"),), lock=lock)
    assert os.path.lexists(lock.path)
    here.run((note(tmp_path / "n", "next"),), lock=replace(lock, wait=0)).must()
    assert ["next"] == noted(tmp_path / "n")


def test_locks_of_different_names_do_not_wait(here: Host, lock: Lock, tmp_path: Path) -> None:
    """Only the same guest's changes exclude one another."""
    other = replace(lock, name=lock.name + "-other", wait=0)
    Path(lock.path).symlink_to(f"{os.getpid()}:bert@dom0")
    here.run((note(tmp_path / "n", "x", undo=unnote(tmp_path / "n", "-x")),), lock=other).must()
    assert ["x"] == noted(tmp_path / "n")


def test_a_node_may_keep_its_locks_elsewhere(lock: Lock, tmp_path: Path) -> None:
    """XVMSTORE_LOCKS in the node's environment is a directory for them, and Locked names the file there."""
    host = Host("node1", LocalShell(("env", f"XVMSTORE_LOCKS={tmp_path}", "/bin/sh")))
    assert host.run((), then=(ask('readlink "$1"', str(tmp_path / lock.file)),), lock=lock).answers[0].get()
    (tmp_path / lock.file).symlink_to(f"{os.getpid()}:bert@dom0")
    with pytest.raises(Locked, match=rf"by bert@dom0 \(process {os.getpid()} on node1\).* {tmp_path}/{lock.file} "):
        host.run((), lock=replace(lock, wait=0))


@pytest.mark.parametrize("owner", ['o\'neill & co $HOME `x` "q"', "a -> b", "x:y:z"])
def test_any_owner(here: Host, lock: Lock, owner: str) -> None:
    """An owner is text, and comes back as such to who waits."""
    seen = here.run((), then=(Query(("readlink", lock.path), str),), lock=replace(lock, owner=owner)).answers[0].get()
    assert owner == seen.rstrip("\n").partition(":")[2]


def test_guest_lock_says_who_and_since_when() -> None:
    """User, machine, process and time, in one word."""
    lock = guest_lock("web1")
    assert ("/tmp/.xvmstore-lock-web1", 30) == (lock.path, lock.wait)
    assert f"[{os.getpid()}],since,20" in lock.owner
    assert [lock.owner] == lock.owner.split()


def test_two_guests_are_locked_together(here: Host, lock: Lock) -> None:
    """A change of two guests waits for either, and lets go of both."""
    other = replace(lock, name=lock.name + "-b")
    both = replace(lock, others=(other.name,))
    seen = here.run((), then=(Query(("readlink", lock.path, other.path), str),), lock=both).answers[0].get()
    assert [both.owner] * 2 == [line.partition(":")[2] for line in seen.splitlines()]
    assert not any(os.path.lexists(one.path) for one in (lock, other))
    os.symlink(f"{os.getpid()}:somebody", other.path)
    try:
        with pytest.raises(Locked, match="somebody"):
            here.run((), lock=replace(both, wait=1))
        assert not os.path.lexists(lock.path)
    finally:
        os.unlink(other.path)
