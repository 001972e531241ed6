"""What the tests of ``remote`` share: steps of the shell, gates to hold a script at, a look at processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remote.address import SshAddress
from remote.fabric_shell import FabricShell
from remote.host import Shell
from remote.openssh import OpensshShell
from remote.script import Query, Step, Word

SSH_SHELLS: dict[str, Callable[[SshAddress], Shell]] = {"fabric": FabricShell, "openssh": OpensshShell}
FLAVOURS = {
    "dash": ("dash",),
    "bash": ("bash", "--posix"),
    "ksh93": ("ksh93",),
    "mksh": ("mksh",),
    "busybox": ("busybox", "sh"),
    "yash": ("yash",),
    # What sshd does for a user whose login shell is one of these.
    "csh": ("csh", "-c", "/bin/sh"),
    "tcsh": ("tcsh", "-c", "/bin/sh"),
}


@dataclass
class Node:
    """One way to a shell: ``shell`` is used again and again, ``new_shell`` makes one more.

    ``bin`` is first on the PATH of whatever runs there, ``tmp`` is its TMPDIR.
    """

    kind: str
    bin: Path
    tmp: Path
    new_shell: Callable[[], Shell]
    shell: Shell = field(init=False)

    def __post_init__(self) -> None:
        self.shell = self.new_shell()


def sh(text: str, *words: Word, **said: Any) -> Step:
    """A step that is a line of shell; ``words`` are its $1, $2 and so on."""
    return Step(("sh", "-c", text, "sh", *words), **said)


def ask(text: str, *words: Word, **said: Any) -> Query[str]:
    """A question that is a line of shell; its answer is what it printed."""
    return Query(("sh", "-c", text, "sh", *words), str, **said)


def note(path: Path, word: str, **said: Any) -> Step:
    """A step that leaves a word in a file, one a line."""
    return sh('echo "$2" >>"$1"', str(path), word, **said)


def unnote(path: Path, word: str) -> tuple[str, ...]:
    """The undo of ``note``: it leaves a word too, so that the order can be seen."""
    return ("sh", "-c", 'echo "$2" >>"$1"', "sh", str(path), word)


def noted(path: Path) -> list[str]:
    """The words left in a file."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def gated(gate: Path, reached: Path) -> Step:
    """A step that writes the pid of its shell to ``reached``, and ends when ``gate`` is there (or after 20 s)."""
    text = (
        'echo $$ >"$2.new"; mv "$2.new" "$2"; i=0; until [ -e "$1" ] || [ $i -gt 400 ]; do sleep 0.05; i=$((i+1)); done'
    )
    return sh(text, str(gate), str(reached))


def executable(path: Path, text: str) -> Path:
    """Write a program of the shell."""
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def name_of(pid: int) -> str:
    """The name of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def ancestors(pid: int) -> Iterator[int]:
    """The parents of a process, nearest first."""
    while (pid := parent(pid)) > 1:
        yield pid


def kill_session(pid: int, listener: int) -> None:
    """Kill the servers of the session a process runs in, but not the server that listens."""
    servers = [up for up in ancestors(pid) if name_of(up).startswith("sshd") and up != listener]
    assert servers, f"process {pid} runs under no sshd"
    for server in servers:
        os.kill(server, signal.SIGKILL)


def ssh_children() -> list[int]:
    """The ssh clients that this very process started."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if name_of(pid) == "ssh" and os.getpid() in ancestors(pid)]


@dataclass
class Background:
    """A call that runs in a thread; ``result`` waits for it and raises what it raised."""

    _thread: threading.Thread
    _box: list[Any]

    def result(self) -> Any:
        """What the call returned."""
        self._thread.join(30)
        assert self._box, "the call did not end"
        if isinstance(self._box[0], BaseException):
            raise self._box[0]
        return self._box[0]

    @property
    def error(self) -> BaseException | None:
        """What the call raised, if it raised."""
        self._thread.join(30)
        assert self._box, "the call did not end"
        return self._box[0] if isinstance(self._box[0], BaseException) else None


def in_background(call: Callable[[], Any]) -> Background:
    """Start a call in a thread of its own."""
    box: list[Any] = []

    def keep() -> None:
        try:
            box.append(call())
        except BaseException as error:  # noqa: BLE001  it is raised again in the test
            box.append(error)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    return Background(thread, box)


@contextmanager
def opened_at_the_end(gate: Path) -> Iterator[None]:
    """Lets every step that waits at a gate go, whatever happens."""
    try:
        yield
    finally:
        gate.touch()
