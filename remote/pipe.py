"""A running ``/bin/sh`` and its three streams, to be read while it runs; and one that is a process of this machine."""

import contextlib
import os
import select
import subprocess
import threading
import time
from typing import IO, Protocol, cast

# What ssh exits with when it is not the other side's shell that failed.
SSH_FAILED = 255
_PIECE = 1 << 18


class Pipe(Protocol):
    """A shell somewhere. The two streams are read by a thread each, which ``close`` makes end."""

    def send(self, data: bytes, *, deadline: float) -> None:
        """Hand over all of it. Raises OSError (TimeoutError after the deadline), and then some of it may be sent."""

    def receive(self) -> bytes:
        """Wait for the next piece of stdout; nothing when it has ended or the pipe was closed."""

    def receive_errors(self) -> bytes:
        """The same of stderr."""

    def ended(self) -> str:
        """Why both streams have ended: the shell did, or the connection was lost."""

    def close(self) -> None:
        """Let go of the shell, from any thread, as often as one likes. What it runs goes on to its end."""


class ProcessPipe:
    """The streams of a process of this machine, which was started with pipes for all three and ``bufsize=0``.

    ``stop``: it is the system's ssh, the way to a shell and not the shell: it is stopped when the pipe is closed.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, stop: bool) -> None:
        self._process, self._stop = process, stop
        self._input, self._output, self._errors = (
            cast(IO[bytes], stream) for stream in (process.stdin, process.stdout, process.stderr)
        )
        os.set_blocking(self._input.fileno(), False)
        # A reader that waits at a stream does not notice that the stream is closed: it waits at this as well.
        self._woken, self._waker = os.pipe()
        self._closing = False
        self._once = threading.Lock()
        # Whoever uses a stream holds its lock, so that no stream is closed, and its number taken by another, meanwhile.
        self._locks = {stream: threading.Lock() for stream in (self._input, self._output, self._errors)}

    def send(self, data: bytes, *, deadline: float) -> None:
        """Hand over all of it, or as much as is taken until the deadline."""
        left = memoryview(data)
        with self._locks[self._input]:
            while left:
                if not self._ready(self._input, select.POLLOUT, deadline):
                    raise BrokenPipeError("closed") if self._closing else TimeoutError
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._input.fileno(), left) :]

    def receive(self, *, deadline: float | None = None) -> bytes:
        """The next piece of stdout; with a deadline, nothing as well when none has come by then."""
        return self._read(self._output, deadline)

    def receive_errors(self, *, deadline: float | None = None) -> bytes:
        """The same of stderr."""
        return self._read(self._errors, deadline)

    def _read(self, stream: IO[bytes], deadline: float | None) -> bytes:
        with self._locks[stream]:
            return os.read(stream.fileno(), _PIECE) if self._ready(stream, select.POLLIN, deadline) else b""

    def _ready(self, stream: IO[bytes], event: int, deadline: float | None) -> bool:
        """Wait until it can be used; false when the pipe was closed or the deadline has come."""
        if self._closing:
            return False
        poll = select.poll()
        poll.register(stream, event)
        poll.register(self._woken, select.POLLIN)
        # poll rounds down: a deadline must not make it turn round and round in its last millisecond.
        wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
        ready = poll.poll(wait)
        return bool(ready) and not self._closing

    def exit_status(self, within: float) -> int | None:
        """How the process ended, as Popen says it; None while it runs."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def ended(self) -> str:
        """What became of the process."""
        status = self.exit_status(1.0)
        if status is None:
            return "the shell closed its streams"
        if self._stop and (status < 0 or status == SSH_FAILED):
            return "connection lost"
        return f"the shell exited {status}" if status >= 0 else f"the shell was killed by signal {-status}"

    def close(self) -> None:
        """Close the streams, once their readers have let go of them, and see to it that the process is reaped."""
        with self._once:
            if self._closing:
                return
            self._closing = True
        os.close(self._waker)
        for stream, lock in self._locks.items():
            with lock:
                stream.close()
        os.close(self._woken)
        if self._stop:
            self._process.terminate()
        if self.exit_status(0.5) is None:
            if self._stop:
                self._process.kill()
            threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()
