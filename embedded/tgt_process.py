"""The one tgtd of a node: found, started, asked through tgtadm, stopped. What it serves is decided elsewhere.

All of it blocks; the caller runs it off the event loop.
"""

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded.served import Session

_log = logging.getLogger("embedded.tgt")
_PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
# sockaddr_un holds 107 bytes, and tgtd appends ".0" to the name, ".0.lock" for its lock file.
_LONGEST_SOCKET = 98
_DEADLINE = 5.0
# tgtd ignores SIGTERM as long as it has a target. It keeps nothing that a kill could lose.
_GRACE = 0.1


class TgtError(Exception):
    """tgtd or tgtadm failed; the message is one line."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of an initiator to a target, as tgtd numbers it."""

    sid: int
    cid: int
    initiator: str


def _until(done: Callable[[], bool], *, seconds: float = _DEADLINE) -> bool:
    """Poll, for there is nothing to wait on; False after the deadline."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_ours(pid: int, socket: str) -> bool:
    """Tell whether the process is a tgtd that was given this control socket."""
    try:
        program = Path(f"/proc/{pid}/comm").read_text().strip()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return program == "tgtd" and f"TGT_IPC_SOCKET={socket}".encode() in environment


def parse_sessions(shown: str) -> list[tuple[str, str]]:
    """Read (target, initiator) out of ``tgtadm --mode target --op show``, one pair per session."""
    found = []
    target = ""
    for line in shown.splitlines():
        key, _, value = line.strip().partition(": ")
        if line.startswith("Target "):
            target = value
        elif key == "Initiator":
            found.append((target, value.partition(" alias:")[0]))
    return found


def parse_connections(shown: str) -> list[Connection]:
    """Read ``tgtadm --mode conn --op show``."""
    found = []
    sid = cid = 0
    for line in shown.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Session":
            sid = int(value)
        elif key == "Connection":
            cid = int(value)
        elif key == "Initiator":
            found.append(Connection(sid, cid, value))
    return found


class Tgtd:
    """A tgtd of our own, on loopback, behind a control socket of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pidfile = directory / "tgtd.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._private: str | None = None
        self._socket = ""
        self._since: dict[tuple[str, str], float] = {}
        self._tgtadm = shutil.which("tgtadm", path=_PATH) or "tgtadm"

    @staticmethod
    def installed() -> bool:
        """Tell whether tgtd is on this machine."""
        return all(shutil.which(name, path=_PATH) for name in ("tgtd", "tgtadm"))

    def start(self, port: int, *, address: str = "127.0.0.1") -> None:
        """Start it and wait until it answers."""
        self._socket = self._choose_socket()
        with (self._directory / "tgtd.log").open("ab") as log:
            program = shutil.which("tgtd", path=_PATH) or "tgtd"
            # Two threads per LUN instead of sixteen: a thousand volumes are a thousand LUNs.
            argv = [program, "-f", "-t", "2", "--iscsi", f"portal={address}:{port}"]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(), cwd="/"
            )
        self._pidfile.write_text(f"{self._process.pid} {self._socket}\n")
        if not _until(lambda: not self._alive() or self._answers()) or not self._alive():
            self.stop()
            raise TgtError("tgtd does not start (see tgtd.log)")

    def _choose_socket(self) -> str:
        path = str(self._directory / "tgtd.sock")
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        self._private = tempfile.mkdtemp(prefix="xvmnode-")
        return f"{self._private}/tgtd.sock"

    def _environment(self) -> dict[str, str]:
        return {"PATH": _PATH, "TGT_IPC_SOCKET": self._socket}

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        try:
            self.call("--mode", "system", "--op", "show")
        except TgtError:
            return False
        return True

    def call(self, *words: str) -> str:
        """Run one tgtadm and give what it prints."""
        argv = [self._tgtadm, "--lld", "iscsi", *words]
        try:
            done = subprocess.run(
                argv, env=self._environment(), capture_output=True, timeout=30, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TgtError(f"{' '.join(words[:4])}: {type(error).__name__}") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise TgtError(f"{' '.join(words[:4])}: {said or f'exit {done.returncode}'}")
        return done.stdout.decode("utf-8", "replace")

    def sessions(self) -> tuple[Session, ...]:
        """Give who is logged in. tgtd knows no login times: ``since`` is when a session was first seen here."""
        pairs = parse_sessions(self.call("--mode", "target", "--op", "show"))
        now = time.time()
        self._since = {pair: self._since.get(pair, now) for pair in pairs}
        return tuple(Session(target, initiator, self._since[target, initiator]) for target, initiator in pairs)

    def connections(self, tid: int) -> list[Connection]:
        """Give the connections to one target."""
        return parse_connections(self.call("--mode", "conn", "--op", "show", "--tid", str(tid)))

    def stop(self) -> None:
        """End it, and remove its socket."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._forget(self._socket)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _forget(self, socket: str) -> None:
        for suffix in (".0", ".0.lock"):
            Path(socket + suffix).unlink(missing_ok=True)
        self._pidfile.unlink(missing_ok=True)

    def stop_stale(self) -> None:
        """End the tgtd that a crashed run of this directory left behind; no other."""
        try:
            number, socket = self._pidfile.read_text().rstrip("\n").split(" ", 1)
            pid = int(number)
        except (OSError, ValueError):
            return
        for name in (signal.SIGTERM, signal.SIGKILL):
            if not _is_ours(pid, socket):
                break
            _log.warning("ending the tgtd of an earlier run, pid %d", pid)
            os.kill(pid, name)
            _until(lambda: not _is_ours(pid, socket), seconds=_DEADLINE if name == signal.SIGKILL else _GRACE)
        self._forget(socket)


def words(**options: object) -> Sequence[str]:
    """Spell tgtadm's options: ``initiator_name="x"`` is ``--initiator-name x``, True is a bare option."""
    spelled: list[str] = []
    for name, value in options.items():
        spelled.append("--" + name.replace("_", "-"))
        if value is not True:
            spelled.append(str(value))
    return spelled
