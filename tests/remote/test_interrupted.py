"""Sessions that end before the script does: it goes on, or undoes, and the caller is told."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remote.errors import Interrupted
from remote.fabric_shell import FabricShell
from remote.host import Host, Shell
from remote.local import LocalShell
from remote.script import Lock, Secret, Step
from tests.remote.sshd import Sshd, wait_until
from tests.remote.support import (
    SSH_SHELLS,
    Background,
    ask,
    gated,
    in_background,
    kill_session,
    note,
    noted,
    opened_at_the_end,
    sh,
    ssh_children,
    unnote,
)

Cut = Callable[[Shell, Sshd, Path], None]


@pytest.fixture
def ssh_shell(ssh_kind: str, sshd: Sshd) -> Iterator[Shell]:
    """A fresh shell of each SSH kind."""
    shell = SSH_SHELLS[ssh_kind](sshd.address())
    yield shell
    shell.close()


def _server_dies(_shell: Shell, sshd: Sshd, reached: Path) -> None:
    kill_session(int(reached.read_text()), sshd.pid)


def _client_dies(shell: Shell, _sshd: Sshd, _reached: Path) -> None:
    """The ssh process is killed, or, where there is none, its socket is shut."""
    if isinstance(shell, FabricShell):
        shell._connection.transport.sock.shutdown(socket.SHUT_RDWR)
        return
    (client,) = ssh_children()
    os.kill(client, signal.SIGKILL)


def _run_and_cut(shell: Shell, sshd: Sshd, cut: Cut, steps: tuple[Step, ...], lock: Lock | None = None) -> Background:
    """Run the steps, the first of which is at a gate, and cut the connection there."""
    reached = Path(str(steps[0].argv[5]))
    call = in_background(lambda: Host("node1", shell, timeout=30).run(steps, lock=lock))
    wait_until(reached.exists)
    cut(shell, sshd, reached)
    return call


@pytest.mark.sshd
@pytest.mark.parametrize("cut", [_server_dies, _client_dies])
def test_a_script_goes_on_without_its_connection(ssh_shell: Shell, sshd: Sshd, tmp_path: Path, cut: Cut) -> None:
    """The steps after the loss run to the end; the caller learns at which step it was lost, and what to do."""
    gate, at = tmp_path / "gate", tmp_path / "n"
    with opened_at_the_end(gate):
        steps = (gated(gate, tmp_path / "reached"), note(at, "late"), sh("echo talk; echo more >&2"), note(at, "last"))
        error = _run_and_cut(ssh_shell, sshd, cut, steps).error
        assert [] == noted(at)
    assert isinstance(error, Interrupted)
    assert (3, True) == (error.exit_code, str(error).startswith("node1: the session ended during `sh -c "))
    assert "unknown, nothing was undone from here: run the same command again" in str(error)
    assert str(gate) in str(error)
    wait_until(lambda: ["late", "last"] == noted(at))
    assert "again\n" == Host("node1", ssh_shell).ask_one(ask("echo again"))


@pytest.mark.sshd
@pytest.mark.parametrize("cut", [_server_dies, _client_dies])
def test_a_script_undoes_without_its_connection(
    ssh_shell: Shell, sshd: Sshd, tmp_path: Path, lock: Lock, cut: Cut
) -> None:
    """A step that fails after the loss is followed by the undos; lock and secrets are cleaned up."""
    gate, at = tmp_path / "gate", tmp_path / "n"
    with opened_at_the_end(gate):
        steps = (
            gated(gate, tmp_path / "reached"),
            note(at, "a", undo=unnote(at, "-a")),
            sh('echo "$2" >>"$1"', str(at), Secret("x")),
            sh("echo failed >&2; exit 1"),
        )
        assert isinstance(_run_and_cut(ssh_shell, sshd, cut, steps, lock=lock).error, Interrupted)
        assert os.path.lexists(lock.path)
    wait_until(lambda: ["a", "-a"] == [word for word in noted(at) if not word.startswith("/")])
    wait_until(lambda: not os.path.lexists(lock.path))
    assert not Path(noted(at)[1]).parent.exists()


@pytest.mark.sshd
def test_a_connection_that_died_between_two_scripts(ssh_shell: Shell, sshd: Sshd) -> None:
    """The next script reconnects, and nobody notices."""
    host = Host("node1", ssh_shell)
    assert "one\n" == host.ask_one(ask("echo one"))
    for session in sshd.sessions():
        with contextlib.suppress(ProcessLookupError):
            os.kill(session, signal.SIGKILL)
    assert "two\n" == host.ask_one(ask("echo two"))


@pytest.mark.sshd
def test_the_answer_to_a_question_is_lost(ssh_shell: Shell, sshd: Sshd, tmp_path: Path) -> None:
    """A question has nothing to undo: the message says only that there is no answer."""
    gate, reached = tmp_path / "gate", tmp_path / "reached"
    with opened_at_the_end(gate):
        wait = gated(gate, reached)
        question = ask(str(wait.argv[2]), str(gate), str(reached))
        call = in_background(lambda: Host("node1", ssh_shell).ask((question,)))
        wait_until(reached.exists)
        _server_dies(ssh_shell, sshd, reached)
        assert "node1: the session ended before the answer was complete" in str(call.error)


def test_control_c_does_not_stop_a_local_script(tmp_path: Path) -> None:
    """Who presses Ctrl-C stops waiting, as on a node far away; the script on this machine goes on."""
    gate, at, reached = (tmp_path / name for name in ("gate", "n", "reached"))
    program = (
        "import signal, sys; from pathlib import Path; from remote.host import Host\n"
        "from remote.local import LocalShell; from tests.remote.support import gated, note\n"
        # A job in the background inherits that it is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler); gate, at, reached = map(Path, sys.argv[1:])\n"
        "Host('node1', LocalShell()).run((gated(gate, reached), note(at, 'late')))\n"
    )
    argv = [sys.executable, "-c", program, str(gate), str(at), str(reached)]
    with opened_at_the_end(gate):
        caller = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True)
        wait_until(reached.exists)
        os.killpg(caller.pid, signal.SIGINT)
        assert b"KeyboardInterrupt" in caller.communicate(timeout=15)[1]
        assert [] == noted(at)
    wait_until(lambda: ["late"] == noted(at))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE])
def test_the_signals_of_a_lost_session_are_ignored(tmp_path: Path, number: signal.Signals) -> None:
    """Neither the shell nor the commands it starts end by them."""
    host, at = Host("node1", LocalShell()), tmp_path / "n"
    host.run((sh(f"kill -{number.value} $PPID; kill -{number.value} $$; :"), note(at, "late"))).must()
    assert ["late"] == noted(at)
