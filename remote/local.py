"""The shell of this very machine, for a storage node that runs xvmstore itself."""

import subprocess
import threading

from remote.errors import Unreachable
from remote.host import Spoken
from remote.pipe import ProcessPipe


class LocalShell:
    """Feeds scripts to ``/bin/sh`` on this machine, or to another shell given as an argv."""

    def __init__(self, argv: tuple[str, ...] = ("/bin/sh",)) -> None:
        self._argv = argv

    def feed(self, script: bytes, *, timeout: float) -> Spoken:
        """Run one script. Raises Unreachable when the shell cannot be started.

        As on a node far away, a script that nobody waits for any more (a timeout, Ctrl-C) is not stopped half-way.
        """
        shell = self._start(bufsize=-1)
        try:
            stdout, stderr = shell.communicate(script, timeout)
        except subprocess.TimeoutExpired as late:
            return Spoken(late.stdout or b"", late.stderr or b"", None, f"no end after {timeout:g} s")
        finally:
            if shell.returncode is None:
                _leave(shell)
        return Spoken(stdout, stderr, shell.returncode)

    def open(self, *, connect_timeout: float | None = None) -> ProcessPipe:  # noqa: ARG002  there is no connection
        """Start a shell that stays. Raises Unreachable when it cannot be started."""
        return ProcessPipe(self._start(bufsize=0), stop=False)

    def _start(self, *, bufsize: int) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(self._argv, bufsize, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise Unreachable(f"cannot start {self._argv[0]}: {error.strerror}") from error

    def close(self) -> None:
        """There is no connection to close."""


def _leave(shell: subprocess.Popen[bytes]) -> None:
    """Let go of a shell that still runs: the script ignores that nobody reads what it prints."""
    for pipe in (shell.stdin, shell.stdout, shell.stderr):
        if pipe and not pipe.closed:
            pipe.close()
    threading.Thread(target=shell.wait, daemon=True).start()
