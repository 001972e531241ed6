"""A shell that stays: on this machine, and on a real sshd by both SSH shells."""

import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from remote.local import LocalShell
from remote.pipe import Pipe
from remote.script import Capture, Captured, Lock, Query, Script, Secret
from remote.standing import Busy, Openable
from remote.transcript import Ended
from tests.remote.sshd import Sshd, wait_until
from tests.remote.standing import NewShell, at_port, far_away, hear, waiting
from tests.remote.support import (
    SSH_SHELLS,
    Node,
    ask,
    opened_at_the_end,
    sh,
)

# --- whole answers ---------------------------------------------------------------------------------------------------


def test_each_script_is_answered(way: Openable, standing: NewShell) -> None:
    """Status and both streams of every question, byte by byte; the shell takes one ask after the other."""
    shell = standing(way)
    every = "".join(map(chr, range(1, 256))).encode("latin-1").decode("utf-8", "surrogateescape")
    first = Script((sh("echo did", undo=("false",)),), (ask("printf out; printf err >&2; exit 3"), ask("cat")))
    second = Script((), (Query(("printf", "%s", every), str),))
    for _ in range(3):
        one, two = shell.ask((first, second), deadline=time.monotonic() + 20)
        assert {0: Ended(0, "did\n", "")} == one.transcript.steps
        assert {0: Ended(3, "out", "err"), 1: Ended(0, "", "")} == one.transcript.queries
        assert {0: Ended(0, every, "")} == two.transcript.queries
        assert [("", True)] * 2 == [(heard.trouble, heard.transcript.complete) for heard in (one, two)]
        assert (True, False) == (shell.is_open, shell.busy)


def test_what_an_ask_took(way: Openable, standing: NewShell) -> None:
    """The time until the script began, and of each question; the bytes that came."""
    shell = standing(way)
    hear(shell)
    heard = hear(shell, ask("echo x"), ask("sleep 0.3"), ask("head -c 5000 /dev/zero >&2"))
    assert heard.first is not None
    assert 0 < heard.first < 0.25
    assert (True, True, [0, 1, 2]) == (0.28 < heard.took[1] < 2, heard.took[0] < 0.25, sorted(heard.took))
    assert 5000 < heard.bytes_received < 6000


def test_nothing_is_handed_on(way: Openable, standing: NewShell, node: Node) -> None:
    """Neither captured words, nor secrets, nor traps, nor the private directory outlive a script."""
    shell = standing(way)
    capture = ask("echo id: 7", captures=(Capture("id", "s/id: //p"),))
    assert "<7>\n" == hear(shell, capture, ask('echo "<$1>"', Captured("id"))).transcript.queries[1].stdout
    told = hear(shell, ask('echo "$1"', Secret("x"))).transcript.queries[0].stdout.strip()
    assert told.startswith(str(node.tmp))
    assert not Path(told).parent.exists()
    shell.ask((Script(scratch="/dev/shm"),), deadline=time.monotonic() + 20)
    heard = hear(shell, ask('echo "<$1> $TMPDIR"', Captured("id")), ask("umask"))
    assert f"<> {node.tmp}\n" == heard.transcript.queries[0].stdout


def test_plain_questions_need_no_directory(standing: NewShell, tmp_path: Path) -> None:
    """A machine whose /tmp is full answers them; a script that needs one says that it has none, and the shell stays."""
    shell = standing(LocalShell(("env", f"TMPDIR={tmp_path}/none", "/bin/sh")))
    heard = hear(shell, ask("echo x", captures=(Capture("x", "p"),)))
    assert (False, {}) == (heard.transcript.started, heard.transcript.queries)
    assert heard.trouble.startswith("the script broke off: mkdir: ")
    assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout


class Trickle:
    """A way to this machine whose answers come one byte at a time."""

    def open(self, *, connect_timeout: float | None = None) -> Pipe:
        """A shell whose streams are read so."""
        pipe = LocalShell().open()

        def slowly(receive: Callable[[], bytes]) -> Callable[[], bytes]:
            said = (bytes((byte,)) for piece in iter(receive, b"") for byte in piece)
            return lambda: next(said, b"")

        slow = SimpleNamespace(receive=slowly(pipe.receive), receive_errors=slowly(pipe.receive_errors))
        for name in ("send", "ended", "close"):
            setattr(slow, name, getattr(pipe, name))
        return cast(Pipe, slow)

    def close(self) -> None:
        """Nothing is open."""


def test_marks_that_come_in_pieces(standing: NewShell) -> None:
    """Wherever a stream is torn on its way, each script gets its own, and the end is noticed."""
    shell, script = standing(Trickle()), Script((), (ask("echo a; echo b >&2"), ask("printf c")))
    for _ in range(2):
        for heard in shell.ask((script, script), deadline=time.monotonic() + 5):
            assert {0: Ended(0, "a\n", "b\n"), 1: Ended(0, "c", "")} == heard.transcript.queries
            assert ("", [0, 1]) == (heard.trouble, sorted(heard.took))


@pytest.mark.sshd
def test_one_session_for_all(ssh_way: Openable, standing: NewShell, sshd: Sshd) -> None:
    """However many asks: the node starts one shell."""
    shell = standing(ssh_way)
    before = sshd.log.count("Starting session: ")
    for i in range(20):
        assert f"{i}\n" == hear(shell, ask(f"echo {i}")).transcript.queries[0].stdout
    wait_until(lambda: sshd.log.count("Starting session: ") > before)
    assert before + 1 == sshd.log.count("Starting session: ")


@pytest.mark.sshd
def test_one_round_trip(ssh_kind: str, sshd: Sshd, standing: NewShell, tmp_path: Path) -> None:
    """Two scripts with two questions each cost an open shell the way there and back, once."""
    with far_away(sshd.port, 0.1) as port:
        far = SSH_SHELLS[ssh_kind](at_port(sshd, port, tmp_path / "known_hosts"))
        shell = standing(cast(Openable, far))
        hear(shell)
        script = Script((), (ask("echo a"), ask("echo b")))
        took = []
        for _ in range(5):
            began = time.monotonic()
            heard = shell.ask((script, script), deadline=began + 20)
            took.append(time.monotonic() - began)
            assert ["", ""] == [one.trouble for one in heard]
            assert heard[0].first is not None
            assert heard[0].first >= 0.2
        assert 0.2 <= min(took) < 0.38
        shell.close()
        far.close()


# --- what has ended at the deadline ----------------------------------------------------------------------------------


def test_what_ended_in_time_is_told(way: Openable, standing: NewShell, tmp_path: Path) -> None:
    """The rest is left behind: nothing more is sent until it has ended, then all is as before."""
    shell, gate = standing(way), tmp_path / "gate"
    with opened_at_the_end(gate):
        slow = waiting(gate, tmp_path / "reached", "echo late; echo late >&2")
        scripts = (Script((), (ask("echo a; echo b >&2; exit 1"), slow)), Script((), (ask("echo c"),)))
        began = time.monotonic()
        heard, after = shell.ask(scripts, deadline=began + 1)
        assert 1 <= time.monotonic() - began < 1.5
        assert ({0: Ended(1, "a\n", "b\n")}, {}) == (heard.transcript.queries, after.transcript.queries)
        assert ["no end after 1 s"] * 2 == [heard.trouble, after.trouble]
        assert ([0], False, True) == (list(heard.took), heard.transcript.complete, heard.transcript.started)
        assert (True, True) == (shell.busy, shell.is_open)
        with pytest.raises(Busy):
            hear(shell, ask("echo no"))
    wait_until(lambda: not shell.busy)
    heard = hear(shell, ask("echo again"))
    assert ({0: Ended(0, "again\n", "")}, "") == (heard.transcript.queries, heard.trouble)


def test_a_deadline_that_is_over(way: Openable, standing: NewShell, tmp_path: Path) -> None:
    """Nothing is sent."""
    shell = standing(way)
    hear(shell)
    heard = hear(shell, ask('echo >"$1"', str(tmp_path / "n")), within=0)
    assert ("no end after 0 s", 0, None) == (heard.trouble, heard.bytes_received, heard.first)
    hear(shell)
    assert not (tmp_path / "n").exists()


def test_what_comes_late_is_not_kept(way: Openable, standing: NewShell, tmp_path: Path) -> None:
    """However much a script prints that was left behind, it takes no memory, and the shell is free at its end."""
    shell, gate = standing(way), tmp_path / "gate"
    with opened_at_the_end(gate):
        heard = hear(shell, waiting(gate, tmp_path / "reached", "head -c 40000000 /dev/zero"), within=0.5)
        assert {} == heard.transcript.queries
        tracemalloc.start()
    try:
        wait_until(lambda: not shell.busy)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout


def test_a_second_shell_while_one_is_busy(way: Openable, standing: NewShell, lock: Lock, tmp_path: Path) -> None:
    """It learns who has the lock, and answers what needs none; the first one gives the lock back when it can."""
    first, second, gate = standing(way), standing(way), tmp_path / "gate"
    with opened_at_the_end(gate):
        hear(first, waiting(gate, tmp_path / "reached"), within=0.5, lock=lock)
        scripts = (Script((), (ask("echo free"),)), Script((), (ask("echo bound"),), replace(lock, wait=0)))
        for _ in range(2):
            free, bound = second.ask(scripts, deadline=time.monotonic() + 20)
            assert "free\n" == free.transcript.queries[0].stdout
            assert ({}, "", True) == (bound.transcript.queries, bound.trouble, bound.transcript.complete)
            assert f"{lock.path} {os.readlink(lock.path)}" == bound.transcript.holder
        assert (True, False) == (first.busy, second.busy)
    wait_until(lambda: not first.busy)
    assert not os.path.lexists(lock.path)
    for shell in (second, first, first):
        assert "x\n" == hear(shell, ask("echo x"), lock=replace(lock, wait=0)).transcript.queries[0].stdout


def test_two_scripts_of_one_ask_take_the_same_lock(way: Openable, standing: NewShell, lock: Lock) -> None:
    """The first one's end lets go of it, for others as well: when an ask returns it is gone."""
    script = Script((), (ask('readlink "$1"', lock.path),), replace(lock, wait=0))
    shells = standing(way), standing(way)
    for i in range(10):
        for heard in shells[i % 2].ask((script, script), deadline=time.monotonic() + 20):
            assert (None, f":{lock.owner}\n") == (
                heard.transcript.holder,
                heard.transcript.queries[0].stdout.lstrip("0123456789"),
            )
        assert not os.path.lexists(lock.path)


# --- much ------------------------------------------------------------------------------------------------------------


def test_much_output(way: Openable, standing: NewShell, tmp_path: Path) -> None:
    """25 MB on each stream come byte by byte, and are no great work."""
    data = os.urandom(1 << 16).replace(b"\n", b"x") * 400
    (tmp_path / "data").write_bytes(data)
    shell = standing(way)
    hear(shell)
    began = time.process_time()
    heard = hear(shell, ask('cat "$1"; cat "$1" >&2; echo z', str(tmp_path / "data")), ask("echo x"), within=60)
    took = time.process_time() - began
    assert "" == heard.trouble
    ended = heard.transcript.queries[0]
    assert (True, True) == tuple(
        text.encode("utf-8", "surrogateescape") == want
        for text, want in ((ended.stdout, data + b"z\n"), (ended.stderr, data))
    )
    assert "x\n" == heard.transcript.queries[1].stdout
    assert took < 5


def test_too_much_output(way: Openable, standing: NewShell) -> None:
    """The shell is given up, with what had ended told; the limit is for each ask."""
    shell = standing(way, limit=1_000_000)
    for _ in range(3):
        assert "" == hear(shell, ask("head -c 600000 /dev/zero")).trouble
    began = time.monotonic()
    heard = hear(shell, ask("echo a"), ask("head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2; sleep 5"))
    assert time.monotonic() - began < 4
    assert ("more than 1000000 bytes came", {0: Ended(0, "a\n", "")}) == (heard.trouble, heard.transcript.queries)
    assert (False, False) == (shell.is_open, shell.busy)
    assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout


def test_many_questions(way: Openable, standing: NewShell) -> None:
    """A script that is longer than a pipe takes at once, and prints more than one holds before it is read."""
    queries = [ask(f"echo {i}; : {'x' * 5000}; head -c 9000 /dev/zero >&2") for i in range(60)]
    shell = standing(way)
    halves = (Script((), tuple(queries[:30])), Script((), tuple(queries[30:])))
    heard = shell.ask(halves, deadline=time.monotonic() + 30)
    said = [heard[i // 30].transcript.queries[i % 30].stdout for i in range(60)]
    assert [f"{i}\n" for i in range(60)] == said


def test_a_shell_that_does_not_read(standing: NewShell) -> None:
    """A script that cannot be sent in time is given up with its shell: half of one must not be continued."""
    shell = standing(LocalShell(("sh", "-c", "exec sleep 5")))
    began = time.monotonic()
    heard = hear(shell, ask(f"echo {'x' * 100_000}"), within=0.5)
    assert time.monotonic() - began < 2
    assert ("no end after 0.5 s", False) == (heard.trouble, shell.is_open)
