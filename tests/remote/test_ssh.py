"""What is particular to SSH: whom we trust, who lets us in, how we get there. Both SSH shells, real servers."""

import getpass
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import paramiko
import pytest

from remote.address import SshAddress
from remote.errors import LoginRefused, UnknownHostKey, Unreachable, XvmError
from remote.fabric_shell import FabricShell
from remote.host import Host, Shell
from remote.script import Secret, Step
from tests.remote.sshd import Key, Sshd, free_port, running_sshd, wait_until
from tests.remote.support import SSH_SHELLS, ask, executable

pytestmark = pytest.mark.sshd

NewServer = Callable[..., AbstractContextManager[Sshd]]


@contextmanager
def hello(kind: str, address: SshAddress) -> Iterator[Shell]:
    """A shell that has just answered a question."""
    shell = SSH_SHELLS[kind](address)
    try:
        assert "hello\n" == Host("node1", shell).ask_one(ask("echo hello"))
        yield shell
    finally:
        shell.close()


def refusal(kind: str, address: SshAddress) -> XvmError:
    """The error that greeting this address ends with, soon and in one line."""
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught, hello(kind, address):
        pass
    assert time.monotonic() - began < 6
    assert (4, 1) == (caught.value.exit_code, len(str(caught.value).splitlines()))
    return caught.value


@pytest.fixture
def another(tmp_path: Path, keys: dict[str, Key], sshd: Sshd) -> NewServer:
    """Makes one more server; what is said of it replaces what the usual one has."""

    def start(name: str = "another", **said: object) -> AbstractContextManager[Sshd]:
        usual = {"host_key": keys["host"], "login_key": keys["login"]}
        return running_sshd(tmp_path / name, **(usual | said))  # type: ignore[arg-type]

    return start


# --- whom we trust ---------------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused(ssh_kind: str, sshd: Sshd, tmp_path: Path) -> None:
    """The message has the command that would accept it; nothing is written down unasked."""
    known = tmp_path / "known hosts"
    known.touch()
    error = refusal(ssh_kind, sshd.address(known_hosts=known))
    assert isinstance(error, UnknownHostKey)
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {known}" in str(error)
    assert "" == known.read_text()
    if ssh_kind == "fabric":
        assert sshd.host_key.fingerprint in str(error)


def test_no_known_hosts_file_at_all(ssh_kind: str, sshd: Sshd, tmp_path: Path) -> None:
    """A file that is not there knows nobody."""
    assert isinstance(refusal(ssh_kind, sshd.address(known_hosts=tmp_path / "none")), UnknownHostKey)


def test_a_changed_host_key_is_refused(ssh_kind: str, sshd: Sshd, keys: dict[str, Key], tmp_path: Path) -> None:
    """A node that shows another key of the same kind is not talked to, and it is said how to accept it."""
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known_line(keys["stranger"]))
    error = refusal(ssh_kind, sshd.address(known_hosts=known))
    assert isinstance(error, UnknownHostKey)
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in str(error)
    assert "ANOTHER key" in str(error) or "has changed" in str(error)


def test_a_key_of_another_kind_does_not_count(ssh_kind: str, sshd: Sshd, keys: dict[str, Key], tmp_path: Path) -> None:
    """A node known by an RSA key that now has only another kind of key is not trusted."""
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known_line(keys["rsa"]))
    assert isinstance(refusal(ssh_kind, sshd.address(known_hosts=known)), UnknownHostKey)


def test_any_of_a_node_s_keys_will_do(ssh_kind: str, keys: dict[str, Key], tmp_path: Path, another: NewServer) -> None:
    """A node with several host keys is trusted by the one that is known, preferred or not."""
    known = tmp_path / "known_hosts"
    with another(options=(f"HostKey {keys['rsa'].path}",)) as server:
        known.write_text(server.known_line(keys["rsa"]))
        with hello(ssh_kind, server.address(known_hosts=known)):
            pass


# --- who lets us in --------------------------------------------------------------------------------------------------


def test_the_wrong_key(ssh_kind: str, sshd: Sshd, keys: dict[str, Key]) -> None:
    """A login that is refused says so, and names user and node."""
    error = refusal(ssh_kind, sshd.address(identity=keys["stranger"].path))
    assert isinstance(error, LoginRefused)
    assert str(error).startswith(f"{getpass.getuser()}@127.0.0.1:{sshd.port}: login refused: ")


def test_no_such_user(ssh_kind: str, sshd: Sshd) -> None:
    """A user the node does not know is refused like any other."""
    assert isinstance(refusal(ssh_kind, sshd.address(user="xvmt-nobody")), LoginRefused)


def test_a_refused_login_leaves_nothing_behind(ssh_kind: str, sshd: Sshd, keys: dict[str, Key]) -> None:
    """Neither a thread here nor a connection there."""
    threads, sessions = set(threading.enumerate()), set(sshd.sessions())
    refusal(ssh_kind, sshd.address(identity=keys["stranger"].path))
    wait_until(lambda: set(threading.enumerate()) <= threads and set(sshd.sessions()) <= sessions)


def test_a_login_without_a_shell(ssh_kind: str, another: NewServer) -> None:
    """A server that runs something else than a shell has run nothing of ours."""
    with another(options=("ForceCommand echo 'no shell for you' >&2; exit 1",)) as server:
        error = refusal(ssh_kind, server.address())
    assert "node1: no usable /bin/sh there, nothing was run: no shell for you" == str(error)


def test_a_login_that_does_not_even_read_the_script(ssh_kind: str, another: NewServer) -> None:
    """What hangs up while the script is still being sent is heard out all the same."""
    with another(options=("ForceCommand echo 'no shell for you' >&2; exit 1",)) as server:
        shell = SSH_SHELLS[ssh_kind](server.address())
        with pytest.raises(Unreachable, match=r"nothing was run: no shell for you$"):
            Host("node1", shell).run((Step(("cat", Secret("x" * 8_000_000))),))
        shell.close()


# --- nobody there ----------------------------------------------------------------------------------------------------


def test_a_closed_port(ssh_kind: str, sshd: Sshd) -> None:
    """A node that does not listen is unreachable at once."""
    address = SshAddress("127.0.0.1", port=free_port(), known_hosts=sshd.known_hosts, ssh_config=Path("/dev/null"))
    assert f"127.0.0.1:{address.port}: " in str(refusal(ssh_kind, address))


def test_a_name_without_an_address(ssh_kind: str, sshd: Sshd) -> None:
    """A name that cannot be resolved is told as such."""
    address = SshAddress("no-such-node.invalid", known_hosts=sshd.known_hosts, ssh_config=Path("/dev/null"))
    error = str(refusal(ssh_kind, address))
    assert error.startswith("no-such-node.invalid: ")
    assert "no address found" in error or "resolve" in error


def test_a_server_that_says_nothing(ssh_kind: str, sshd: Sshd) -> None:
    """A port that accepts and stays mute is given up after connect_timeout."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = _plain(sshd, mute.getsockname()[1])
        assert type(refusal(ssh_kind, address)) is Unreachable


@pytest.mark.parametrize("heard", [1, 4096], ids=["reset", "closed"])
def test_a_server_that_hangs_up(ssh_kind: str, sshd: Sshd, heard: int) -> None:
    """Hanging up before the login is no interruption: nothing can have run."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_hang_up_once, args=(listener, heard))
        thread.start()
        assert type(refusal(ssh_kind, _plain(sshd, listener.getsockname()[1]))) is Unreachable
        thread.join(10)


def _plain(sshd: Sshd, port: int) -> SshAddress:
    return SshAddress(
        "127.0.0.1", port=port, known_hosts=sshd.known_hosts, ssh_config=Path("/dev/null"), connect_timeout=1.0
    )


def _hang_up_once(listener: socket.socket, heard: int) -> None:
    connection, _ = listener.accept()
    connection.recv(heard)
    connection.close()


# --- how we get there ------------------------------------------------------------------------------------------------


def test_an_alias_of_ssh_config(ssh_kind: str, sshd: Sshd, tmp_path: Path) -> None:
    """HostName, Port, User, IdentityFile and UserKnownHostsFile come from there."""
    config = tmp_path / "config"
    config.write_text(sshd.config("storage1"))
    with hello(ssh_kind, SshAddress("storage1", ssh_config=config)):
        pass


def test_an_address_wins_over_ssh_config(ssh_kind: str, sshd: Sshd, keys: dict[str, Key], tmp_path: Path) -> None:
    """What is said of a node counts more than what ssh_config says of it."""
    config = tmp_path / "config"
    wrong = ("HostName 127.0.0.1", f"Port {free_port()}", "User xvmt-nobody", f"IdentityFile {keys['stranger'].path}")
    config.write_text("Host storage1\n  " + "\n  ".join((*wrong, "UserKnownHostsFile /dev/null")) + "\n")
    known = tmp_path / "a known_hosts with blanks"
    known.write_text(sshd.known_line())
    right = SshAddress("storage1", getpass.getuser(), sshd.port, sshd.login_key.path, known, config)
    with hello(ssh_kind, right):
        pass


def test_a_config_that_is_not_there(ssh_kind: str, sshd: Sshd, tmp_path: Path) -> None:
    """One line that names the file; no traceback."""
    address = SshAddress("127.0.0.1", port=sshd.port, ssh_config=tmp_path / "none")
    assert str(tmp_path / "none") in str(refusal(ssh_kind, address))


@pytest.fixture
def jump(another: NewServer) -> Iterator[Sshd]:
    """A server to jump over."""
    with another("jump") as server:
        yield server


@pytest.fixture
def jumping(sshd: Sshd, jump: Sshd, tmp_path: Path) -> SshAddress:
    """An address behind a jump host."""
    config = tmp_path / "config"
    config.write_text(
        jump.config("bastion", "StrictHostKeyChecking yes") + sshd.config("storage1", "ProxyJump bastion")
    )
    return SshAddress("storage1", ssh_config=config)


def test_a_jump_host(ssh_kind: str, jump: Sshd, jumping: SshAddress) -> None:
    """ProxyJump leads through the other server; closing closes both connections."""
    with hello(ssh_kind, jumping):
        assert 1 == jump.log.count("Accepted publickey")
    wait_until(lambda: not jump.sessions())


def test_the_key_of_a_jump_host_is_checked(ssh_kind: str, jump: Sshd, jumping: SshAddress) -> None:
    """A jump host nobody knows is not jumped over, and the message is about it."""
    (jump.root / "known_hosts").write_text("")
    error = refusal(ssh_kind, jumping)
    assert isinstance(error, UnknownHostKey)
    assert f"ssh-keyscan -p {jump.port} 127.0.0.1 " in str(error)
    assert "Accepted publickey" not in jump.log


def test_the_key_behind_a_jump_host_is_checked(ssh_kind: str, sshd: Sshd, jump: Sshd, jumping: SshAddress) -> None:
    """Having jumped makes the node no more trustworthy; the jump host's connection is closed again."""
    path = sshd.root / "known_hosts"
    known = path.read_text()
    path.write_text("")
    try:
        error = refusal(ssh_kind, jumping)
    finally:
        path.write_text(known)
    assert isinstance(error, UnknownHostKey)
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 " in str(error)
    wait_until(lambda: not jump.sessions())


def test_fabric_sends_at_once(sshd: Sshd) -> None:
    """Nagle's algorithm is off: it costs 40 ms a script."""
    with hello("fabric", sshd.address()) as shell:
        assert isinstance(shell, FabricShell)
        sock = shell._connection.transport.sock
        assert 0 != sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_fabric_uses_one_connection(another: NewServer) -> None:
    """Many scripts, one login."""
    with another() as server, hello("fabric", server.address()) as shell:
        for _ in range(5):
            Host("node1", shell).ask_one(ask("echo x"))
        assert 1 == server.log.count("Accepted publickey")


def test_fabric_reconnects_when_no_more_sessions_are_allowed(another: NewServer) -> None:
    """A server that refuses a session on a living connection may take a new connection."""
    with another(options=("MaxSessions 0",)) as server:
        error = refusal("fabric", server.address())
    assert "the node opened no session" in str(error)


def test_openssh_shares_a_connection(another: NewServer) -> None:
    """With ControlMaster the second script needs no login, and nobody waits for the master to end."""
    with another() as server, tempfile.TemporaryDirectory() as short:
        control = ("ControlMaster=auto", f"ControlPath={short}/%C", "ControlPersist=60")
        address = server.address(options=control)
        with hello("openssh", address), hello("openssh", address):
            assert 1 == server.log.count("Accepted publickey")
        for session in server.sessions():
            os.kill(session, signal.SIGTERM)
        wait_until(lambda: not server.sessions())


def test_openssh_asks_nobody(sshd: Sshd, tmp_path: Path) -> None:
    """Its processes have no terminal to ask at, not even the one for a jump host, which gets none of our options."""
    config = tmp_path / "config"
    proxy = executable(tmp_path / "proxy", f"ps -o sid= -p $$ >{tmp_path}/session\nexit 1\n")
    config.write_text(sshd.config("storage1", f"ProxyCommand {proxy}"))
    refusal("openssh", SshAddress("storage1", ssh_config=config))
    assert os.getsid(0) != int((tmp_path / "session").read_text())


def test_openssh_without_ssh(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without it is told what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot start the system's ssh: No such file or directory; install openssh-client" == str(
        refusal("openssh", sshd.address())
    )


# --- SunSSH ----------------------------------------------------------------------------------------------------------


SUNSSH_KEX = ("diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1")


@pytest.fixture(params=SUNSSH_KEX)
def sunssh(request: pytest.FixtureRequest, another: NewServer, keys: dict[str, Key]) -> Iterator[Sshd]:
    """A server that knows only what was current in 2008."""
    options = (
        f"KexAlgorithms {request.param}",
        "HostKeyAlgorithms ssh-rsa",
        "PubkeyAcceptedAlgorithms ssh-rsa",
        "Ciphers aes128-ctr",
        "MACs hmac-sha1",
    )
    with another(host_key=keys["rsa"], login_key=keys["rsa"], options=options) as server:
        yield server


def test_fabric_points_a_sunssh_node_to_openssh(sunssh: Sshd) -> None:
    """No common algorithms is a matter of configuration, and the message names the setting."""
    if set(SUNSSH_KEX) & set(getattr(paramiko.Transport, "_preferred_kex", ())):
        pytest.skip("this paramiko still speaks SHA-1")
    error = refusal("fabric", sunssh.address())
    assert type(error) is Unreachable
    assert "no common algorithms" in str(error)
    assert 'Set transport = "openssh" and its ssh_options' in str(error)


def test_openssh_speaks_to_a_sunssh_node(sunssh: Sshd) -> None:
    """With the old algorithms allowed for this node, all is as usual; without, it is unreachable."""
    kex = "KexAlgorithms=+diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1"
    # No "+" before the last one: unlike SunSSH, a current server says that it knows better, and then refuses it.
    old = (kex, "HostKeyAlgorithms=+ssh-rsa", "PubkeyAcceptedAlgorithms=ssh-rsa")
    with hello("openssh", sunssh.address(options=old)):
        pass
    assert "no matching key exchange method" in str(refusal("openssh", sunssh.address()))
