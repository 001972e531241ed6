"""A shell that stays, when something breaks: scripts, shells, connections, and logins. Nothing is left of any."""

import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import paramiko
import pytest

from remote.address import SshAddress
from remote.errors import LoginRefused, UnknownHostKey, Unreachable
from remote.fabric_shell import FabricShell
from remote.host import Host
from remote.local import LocalShell
from remote.openssh import OpensshShell
from remote.script import Lock
from remote.standing import Openable, StandingShell
from remote.transcript import Ended
from tests.remote.sshd import Key, Sshd, running_sshd, wait_until
from tests.remote.standing import NewShell, answered, at_port, far_away, hear, number_of, waiting
from tests.remote.support import (
    SSH_SHELLS,
    Node,
    ancestors,
    ask,
    executable,
    in_background,
    kill_session,
    opened_at_the_end,
)

pytestmark = pytest.mark.slow

# --- what breaks -----------------------------------------------------------------------------------------------------


def test_a_script_that_was_killed(way: Openable, standing: NewShell, lock: Lock) -> None:
    """What had ended is told, the line that was cut is not; the shell takes the next script, and over the lock."""
    shell = standing(way)
    kill = ask("printf half; printf half >&2; kill -9 $PPID; sleep 5")
    heard = hear(shell, ask("echo a"), kill, lock=replace(lock, wait=0))
    assert ({0: Ended(0, "a\n", "")}, False) == (heard.transcript.queries, heard.transcript.complete)
    assert heard.trouble.startswith("the script broke off: ")
    assert os.path.lexists(lock.path)
    assert "x\n" == hear(shell, ask("echo x"), lock=replace(lock, wait=0)).transcript.queries[0].stdout
    assert not os.path.lexists(lock.path)


def test_a_shell_that_was_killed(node: Node, way: Openable, standing: NewShell) -> None:
    """What had ended is told, with why there is no more; the next ask has a new shell."""
    shell = standing(way)
    number = number_of(shell)
    heard = hear(shell, ask("echo a"), ask(f"printf half; kill -9 {number} $PPID; exec sleep 0.1"), ask("echo no"))
    assert {0: Ended(0, "a\n", "")} == heard.transcript.queries
    # ssh has one word for all that is not an exit status.
    why = {"local": "the shell was killed by signal 9", "fabric": "the shell was killed", "openssh": "connection lost"}
    assert why[node.kind] == heard.trouble
    assert (False, False) == (shell.is_open, shell.busy)
    assert number != number_of(shell)


def test_a_shell_that_ended_between_two_asks(way: Openable, standing: NewShell) -> None:
    """The next ask has a new one, and nobody notices."""
    shell = standing(way)
    os.kill(number_of(shell), signal.SIGKILL)
    wait_until(lambda: not shell.is_open)
    assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout


def test_what_is_no_shell(standing: NewShell) -> None:
    """Its status is what there is to be told."""
    shell = standing(LocalShell(("false",)))
    for _ in range(2):
        assert "the shell exited 1" == hear(shell, ask("echo x")).trouble


def test_hanging_up_does_not_end_the_shell(way: Openable, standing: NewShell) -> None:
    """SIGHUP and SIGPIPE, signs of a lost session, cost no lock its owner: the shell ignores them."""
    shell = standing(way)
    number = number_of(shell)
    hear(shell, ask(f"kill -1 {number}; kill -13 {number}"))
    assert number == number_of(shell)


@pytest.mark.sshd
def test_a_connection_that_is_lost(
    ssh_way: Openable, standing: NewShell, sshd: Sshd, lock: Lock, tmp_path: Path
) -> None:
    """Told at once; on the node the script goes on under its lock, and its shell ends after it."""
    shell, gate, reached = standing(ssh_way), tmp_path / "gate", tmp_path / "reached"
    number = number_of(shell)
    with opened_at_the_end(gate):

        def lose() -> None:
            wait_until(lambda: reached.exists() and answered(shell, 0))
            kill_session(int(reached.read_text()), sshd.pid)

        threading.Thread(target=lose).start()
        began = time.monotonic()
        heard = hear(shell, ask("echo a"), waiting(gate, reached), lock=lock)
        assert time.monotonic() - began < 10
        assert ("connection lost", {0: Ended(0, "a\n", "")}) == (heard.trouble, heard.transcript.queries)
        assert not shell.is_open
        held = hear(shell, ask("echo no"), lock=replace(lock, wait=0))
        assert str(held.transcript.holder).startswith(f"{lock.path} {number}:")
    wait_until(lambda: not Path(f"/proc/{number}").exists())
    assert "x\n" == hear(shell, ask("echo x"), lock=lock).transcript.queries[0].stdout


def test_closing_while_somebody_asks(way: Openable, standing: NewShell, tmp_path: Path) -> None:
    """The ask ends at once, with what had ended."""
    shell, gate, reached = standing(way), tmp_path / "gate", tmp_path / "reached"
    with opened_at_the_end(gate):
        asked = in_background(lambda: hear(shell, ask("echo a"), waiting(gate, reached)))
        wait_until(lambda: reached.exists() and answered(shell, 0))
        began = time.monotonic()
        shell.close()
        heard = asked.result()
        assert time.monotonic() - began < 2
    assert ("the shell was closed", {0: Ended(0, "a\n", "")}) == (heard.trouble, heard.transcript.queries)
    assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout


@pytest.mark.sshd
def test_a_node_that_falls_silent(ssh_way: Openable, standing: NewShell, sshd: Sshd) -> None:
    """No ask waits longer than its deadline, and a second shell gets a connection that works."""
    first, second = standing(ssh_way), standing(ssh_way)
    silent = next(up for up in ancestors(number_of(first)) if up in sshd.sessions())
    try:
        for one in [silent, *(up for up in ancestors(number_of(first)) if up != sshd.pid and _under(up, silent))]:
            os.kill(one, signal.SIGSTOP)
        began = time.monotonic()
        assert "no end after 0.5 s" == hear(first, ask("echo x"), within=0.5).trouble
        assert time.monotonic() - began < 0.8
        assert first.busy
        assert "x\n" == hear(second, ask("echo x"), within=4).transcript.queries[0].stdout
        assert time.monotonic() - began < 5
        first.close()
    finally:
        for one in (silent, *_children(silent)):
            os.kill(one, signal.SIGCONT)


def _under(pid: int, top: int) -> bool:
    return pid == top or top in ancestors(pid)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- what is left ----------------------------------------------------------------------------------------------------


def _open_files() -> list[str]:
    return sorted(f"{fd}" for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))


def test_nothing_is_left(node: Node, tmp_path: Path) -> None:
    """Closing, idle or busy, twice or once, ends the threads and gives the files back."""
    first = StandingShell(cast(Openable, node.shell))
    hear(first)  # makes what is made once
    first.close()
    node.shell.close()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("standing-shell")])
    threads, files = set(threading.enumerate()), _open_files()
    gate = tmp_path / "gate"
    with opened_at_the_end(gate):
        way = cast(Openable, node.new_shell())
        idle, busy, lost = (StandingShell(way) for _ in range(3))
        hear(idle)
        hear(busy, waiting(gate, tmp_path / "reached"), within=0.5)
        hear(lost, ask("kill -9 $PPID $(ps -o ppid= -p $PPID)"))
        names = sorted(one.name for one in set(threading.enumerate()) - threads)
        assert 2 == names.count("standing-shell stdout") == names.count("standing-shell stderr")
        began = time.monotonic()
        for shell in (idle, busy, lost, busy):
            shell.close()
        assert time.monotonic() - began < 2
        assert not [one for one in threading.enumerate() if one.name.startswith("standing-shell")]
        way.close()
    wait_until(lambda: set(threading.enumerate()) <= threads)
    assert files == _open_files()
    hear(idle)
    idle.close()
    way.close()
    wait_until(lambda: set(threading.enumerate()) <= threads)


@pytest.mark.sshd
def test_a_shell_leaves_the_connection_to_others(sshd: Sshd, standing: NewShell) -> None:
    """Shells that stay and scripts that do not share one, and it is there until the way itself is closed."""
    way = FabricShell(sshd.address())
    first, second = standing(way), standing(way)
    before = set(sshd.sessions())
    hear(first)
    hear(second)
    assert "fed\n" == Host("node1", way).ask_one(ask("echo fed"))
    first.close()
    assert "x\n" == hear(second, ask("echo x")).transcript.queries[0].stdout
    assert 1 == len(set(sshd.sessions()) - before)
    way.close()
    wait_until(lambda: not second.is_open)
    assert "x\n" == hear(second, ask("echo x")).transcript.queries[0].stdout
    way.close()


@pytest.mark.sshd
def test_a_node_that_allows_one_session(sshd: Sshd, keys: dict[str, Key], standing: NewShell, tmp_path: Path) -> None:
    """A second shell is refused as such, and does not cost the first one its connection."""
    options = ("MaxSessions 1",)
    with running_sshd(tmp_path / "s", host_key=keys["host"], login_key=keys["login"], options=options) as server:
        way = FabricShell(server.address())
        first, second = standing(way), standing(way)
        number = number_of(first)
        with pytest.raises(Unreachable, match="opened no more sessions"):
            hear(second)
        assert number == number_of(first)
        first.close()
        assert "x\n" == hear(second, ask("echo x")).transcript.queries[0].stdout
        way.close()


# --- who does not let us in ------------------------------------------------------------------------------------------


@pytest.mark.sshd
def test_refusals(ssh_kind: str, sshd: Sshd, keys: dict[str, Key], standing: NewShell, tmp_path: Path) -> None:
    """An unknown host key, a login refused and a port where nobody is: each its own error, as for a single script."""
    (tmp_path / "known_hosts").touch()
    stranger = replace(sshd.address(), identity=keys["stranger"].path)
    nobody = replace(sshd.address(), port=1)
    unknown = sshd.address(known_hosts=tmp_path / "known_hosts")
    for kind, address in ((UnknownHostKey, unknown), (LoginRefused, stranger), (Unreachable, nobody)):
        way = SSH_SHELLS[ssh_kind](address)
        with pytest.raises(kind) as asked:
            hear(standing(cast(Openable, way)), ask("echo x"))
        with pytest.raises(kind) as fed:
            way.feed(b"", timeout=5)
        assert str(fed.value) == str(asked.value)


def test_no_shell_to_start(standing: NewShell) -> None:
    """One line that names it."""
    with pytest.raises(Unreachable, match=r"^cannot start no-such-shell: No such file or directory$"):
        hear(standing(LocalShell(("no-such-shell",))))


@pytest.mark.sshd
def test_a_login_without_a_shell(
    ssh_kind: str, keys: dict[str, Key], sshd: Sshd, standing: NewShell, tmp_path: Path
) -> None:
    """What the node runs instead has said why; nothing has run."""
    options = ("ForceCommand echo not here >&2; exit 1",)
    with running_sshd(tmp_path / "s", host_key=keys["host"], login_key=keys["login"], options=options) as server:
        way = SSH_SHELLS[ssh_kind](server.address())
        if ssh_kind == "fabric":
            assert "the shell exited 1" == hear(standing(cast(Openable, way))).trouble
        else:
            with pytest.raises(Unreachable, match=r"no usable /bin/sh there: not here$"):
                hear(standing(cast(Openable, way)))
        way.close()


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_port_that_says_nothing(ssh_kind: str, sshd: Sshd, standing: NewShell, limit: float | None) -> None:
    """Connecting ends by the ask's deadline, or sooner where that is said."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        way = SSH_SHELLS[ssh_kind](replace(sshd.address(), port=silent.getsockname()[1]))
        began = time.monotonic()
        with pytest.raises(Unreachable):
            hear(standing(cast(Openable, way), connect_timeout=limit), within=3 if limit else 1.5)
        assert time.monotonic() - began < 2.5


@pytest.mark.sshd
def test_a_long_way(sshd: Sshd, standing: NewShell, tmp_path: Path) -> None:
    """Connecting may take until the ask's deadline, whatever the address says of single scripts."""
    with far_away(sshd.port, 0.3) as port:
        way = FabricShell(replace(at_port(sshd, port, tmp_path / "known_hosts"), connect_timeout=1.0))
        shell = standing(way)
        assert "x\n" == hear(shell, ask("echo x")).transcript.queries[0].stdout
        shell.close()
        way.close()


def test_ssh_is_told_how_long_it_may_take(standing: NewShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is left until the ask's deadline stands in for what the address says; what it said is told."""
    executable(tmp_path / "ssh", 'echo "$@" >&2; exit 255\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    way = OpensshShell(SshAddress("node1", connect_timeout=3.0))
    with pytest.raises(Unreachable, match=r"ConnectTimeout=20 .* -- node1 /bin/sh$"):
        hear(standing(way), within=20)


class _Stuck(paramiko.ServerInterface):
    """Lets everybody in, and then starts nothing."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.gate.wait(10)
        return False


def test_a_node_that_starts_no_shell(ssh_kind: str, keys: dict[str, Key], standing: NewShell, tmp_path: Path) -> None:
    """A login that gets no further ends by the ask's deadline as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, stuck = listener.getsockname()[1], _Stuck()
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {keys['host'].public}\n")
        address = SshAddress(
            "127.0.0.1", port=port, identity=keys["login"].path, known_hosts=known, ssh_config=Path("/dev/null")
        )
        way = SSH_SHELLS[ssh_kind](address)
        asked = in_background(lambda: hear(standing(cast(Openable, way)), within=2))
        server = paramiko.Transport(listener.accept()[0])
        server.add_server_key(paramiko.Ed25519Key(filename=str(keys["host"].path)))
        server.start_server(server=stuck)
        began = time.monotonic()
        assert isinstance(asked.error, Unreachable)
        assert time.monotonic() - began < 3
        stuck.gate.set()
        way.close()
        server.close()


@pytest.mark.sshd
def test_a_talkative_login(ssh_kind: str, keys: dict[str, Key], sshd: Sshd, standing: NewShell, tmp_path: Path) -> None:
    """What it says, once, is no part of any answer."""
    (tmp_path / ".bashrc").write_text("echo Welcome; sh -c 'echo noise >&2'; printf 'no newline'\n")
    keys_of = {"host_key": keys["host"], "login_key": keys["login"]}
    with running_sshd(tmp_path / "s", home=tmp_path, **keys_of) as server:  # type: ignore[arg-type]
        way = SSH_SHELLS[ssh_kind](server.address())
        shell = standing(cast(Openable, way))
        for _ in range(2):
            assert {0: Ended(0, "x\n", "y\n")} == hear(shell, ask("echo x; echo y >&2")).transcript.queries
        shell.close()
        way.close()


def test_ssh_itself_is_missing(sshd: Sshd, standing: NewShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Said with what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="install openssh-client"):
        hear(standing(cast(Openable, SSH_SHELLS["openssh"](sshd.address()))))


def test_no_child_is_left(standing: NewShell, tmp_path: Path) -> None:
    """A shell of this machine is reaped, be it that it ends long after it was closed."""
    idle, busy, gate = standing(LocalShell()), standing(LocalShell()), tmp_path / "gate"
    numbers = [number_of(idle), number_of(busy)]
    with opened_at_the_end(gate):
        hear(busy, waiting(gate, tmp_path / "reached"), within=0.5)
        idle.close()
        busy.close()
        wait_until(lambda: not Path(f"/proc/{numbers[0]}").exists())
        assert Path(f"/proc/{numbers[1]}").exists()
    wait_until(lambda: not Path(f"/proc/{numbers[1]}").exists())
