"""A real OpenSSH server on loopback, run from a directory of its own, by whoever runs the tests."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from remote.address import SshAddress

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
_PRIVILEGE_SEPARATION = Path("/run/sshd")
_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorized_keys}
UsePAM no
StrictModes no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel VERBOSE
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
SetEnv HOME={home} PATH={path} TMPDIR={tmp}
"""


@dataclass(frozen=True)
class Key:
    """A key pair in a file and its ``.pub``."""

    path: Path

    @property
    def public(self) -> str:
        """Type and key, without the comment: what known_hosts and authorized_keys want."""
        return " ".join(self.path.with_name(self.path.name + ".pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """The ``SHA256:...`` fingerprint, as ssh-keygen prints it."""
        listed = subprocess.run(["ssh-keygen", "-lf", self.path], capture_output=True, text=True, check=True)
        return listed.stdout.split()[1]


def new_key(path: Path, kind: str = "ed25519") -> Key:
    """Make a key pair without a passphrase."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", "", "-f", path], check=True)
    return Key(path)


@dataclass(frozen=True)
class Sshd:
    """A running server: where it is, what it shows and whom it lets in."""

    root: Path
    port: int
    host_key: Key
    login_key: Key
    pid: int

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return (self.root / "sshd.log").read_text()

    def sessions(self) -> list[int]:
        """The processes of the connections it serves now."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with this server's key."""
        path = self.root / "known_hosts"
        path.write_text(self.known_line())
        return path

    def known_line(self, key: Key | None = None) -> str:
        """The line of known_hosts for this server, or one that claims it has another key."""
        return f"[127.0.0.1]:{self.port} {(key or self.host_key).public}\n"

    def address(
        self,
        *,
        user: str | None = None,
        identity: Path | None = None,
        known_hosts: Path | None = None,
        options: tuple[str, ...] = (),
    ) -> SshAddress:
        """How to log in, without a look at anybody's ssh_config."""
        return SshAddress(
            "127.0.0.1",
            user=user or getpass.getuser(),
            port=self.port,
            identity=identity or self.login_key.path,
            known_hosts=known_hosts or self.known_hosts,
            ssh_config=Path("/dev/null"),
            options=options,
        )

    def config(self, alias: str, *more: str) -> str:
        """A paragraph of ssh_config that says all of it."""
        lines = (
            f"Host {alias}",
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {getpass.getuser()}",
            f"IdentityFile {self.login_key.path}",
            f"UserKnownHostsFile {self.known_hosts}",
            *more,
        )
        return "\n  ".join(lines) + "\n"


@contextlib.contextmanager
def running_sshd(
    root: Path,
    *,
    host_key: Key,
    login_key: Key,
    home: Path | None = None,
    path: str = "/usr/bin:/bin",
    tmp: Path | None = None,
    authorized_keys: str | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Sshd]:
    """A server for as long as the block lasts. ``options`` are more lines of its configuration; the first one wins."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "authorized_keys").write_text(login_key.public + "\n")
    port = free_port()
    text = _CONFIG.format(
        port=port,
        host_key=host_key.path,
        authorized_keys=authorized_keys or root / "authorized_keys",
        home=home or root,
        path=path,
        tmp=tmp or "/tmp",
    )
    config = root / "sshd_config"
    config.write_text("".join(line + "\n" for line in options) + text)
    if os.getuid() == 0:
        # Usually made at boot; left in place, because every server of this machine needs it.
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([str(SSHD), "-D", "-f", config, "-E", root / "sshd.log"])
    try:
        wait_until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, (root / "sshd.log").read_text()
        yield Sshd(root, port, host_key, login_key, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether an SSH server speaks on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until(true: Callable[[], object], *, within: float = 15.0) -> None:
    """Look again and again until it is true; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)
