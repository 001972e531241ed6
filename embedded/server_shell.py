"""One shell process on the node with three pipes, the way sshd runs one: own session, clean environment.

It knows nothing of SSH; whoever started it gets its output and its end through callbacks.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embedded.server_pipes import PipeReader, PipeWriter


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who hears of the process: its output and stream, its stdin being full or drained, its exit status."""

    output: Callable[[bytes, int], None]
    full: Callable[[], None]
    drained: Callable[[], None]
    ended: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Login:
    """What a login on the node gives a process."""

    shell: str
    environment: Mapping[str, str]
    home: Path

    def argv(self, command: str | None) -> list[str]:
        """Give the shell's arguments, as sshd builds them; None is a shell that reads its commands."""
        return [self.shell] if command is None else [self.shell, "-c", command]


class ShellProcess:
    """A running shell. It has ended when the shell has exited and nobody holds its output any more."""

    def __init__(self, login: Login, command: str | None, *, extra: Mapping[str, str], to: Callbacks) -> None:
        self._to = to
        ours = []
        theirs = []
        for reading in (False, True, True):
            read_end, write_end = os.pipe()
            ours.append(read_end if reading else write_end)
            theirs.append(write_end if reading else read_end)
        try:
            self._process = self._spawn(login, command, extra, theirs)
        except OSError:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._exited = False
        self._hung_up = False
        self.stdin = PipeWriter(ours[0], full=to.full, drained=to.drained)
        self._outputs = [
            PipeReader(fd, got=partial(self._output, stream), ended=self._check)
            for stream, fd in enumerate(ours[1:], start=1)
        ]
        self._watch()

    def _output(self, stream: int, data: bytes) -> None:
        self._to.output(data, stream)

    def _spawn(
        self, login: Login, command: str | None, extra: Mapping[str, str], pipes: list[int]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            login.argv(command),
            stdin=pipes[0],
            stdout=pipes[1],
            stderr=pipes[2],
            env={**login.environment, **extra},
            cwd=login.home,
            start_new_session=True,
        )

    def _watch(self) -> None:
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._exited = True
        self._check()

    def _check(self) -> None:
        # Reaped only now: until then the zombie keeps the number of the process group from being reused.
        if self._exited and self._process.returncode is None and not any(each.open for each in self._outputs):
            self.stdin.close()
            self._to.ended(self._process.wait())

    def pause(self) -> None:
        """Let the process wait with its output."""
        for each in self._outputs:
            each.pause()

    def resume(self) -> None:
        """Read its output again."""
        for each in self._outputs:
            each.resume()

    def read_now(self) -> None:
        """Pass on all that it has printed so far."""
        for each in self._outputs:
            each.read_now()

    def hang_up(self) -> None:
        """Close the pipes, as sshd does when the connection is gone; the process goes on."""
        self.stdin.close()
        for each in self._outputs:
            each.close()
        self._check()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, as long as it is there."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return
