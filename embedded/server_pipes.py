"""Non-blocking pipes to a child process on the event loop, closed at once when told to.

asyncio's own pipe transports close a turn of the loop later and give the child a socket as its standard input;
under sshd it gets a pipe, and a lost connection closes it there and then.
"""

import asyncio
import os
from collections.abc import Callable

_CHUNK = 128 * 1024
_FULL = 256 * 1024


class PipeReader:
    """The node's end of a child's stdout or stderr."""

    def __init__(self, fd: int, *, got: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd, self._got, self._ended = fd, got, ended
        self.open = True
        os.set_blocking(fd, False)
        self.resume()

    def pause(self) -> None:
        """Stop reading, so that the child waits."""
        if self.open:
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read on."""
        if self.open:
            self._loop.add_reader(self._fd, self._ready)

    def close(self) -> None:
        """Close this end: the child's next write gets SIGPIPE."""
        if self.open:
            self._loop.remove_reader(self._fd)
            self.open = False
            os.close(self._fd)

    def read_now(self) -> None:
        """Pass on what is in the pipe."""
        while self.open and self._ready():
            pass

    def _ready(self) -> bool:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._got(data)
        else:
            self.close()
            self._ended()
        return True


class PipeWriter:
    """The node's end of a child's stdin. ``full`` and ``drained`` say when to stop and when to go on feeding it."""

    def __init__(self, fd: int, *, full: Callable[[], None], drained: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd, self._full, self._drained = fd, full, drained
        self._left = bytearray()
        self._open, self._waiting, self._ending = True, False, False
        os.set_blocking(fd, False)

    def write(self, data: bytes) -> None:
        """Pass data on; what the child does not take yet is kept."""
        if not self._open or self._ending:
            return
        self._left += data
        if not self._waiting:
            self._flush()
        if len(self._left) > _FULL:
            self._full()

    def write_eof(self) -> None:
        """Close once all is written."""
        self._ending = True
        if not self._left:
            self.close()

    def close(self) -> None:
        """Close now."""
        if self._open:
            self._open = False
            self._rest()
            os.close(self._fd)

    def _wait(self) -> None:
        if not self._waiting:
            self._loop.add_writer(self._fd, self._flush)
        self._waiting = True

    def _rest(self) -> None:
        if self._waiting:
            self._loop.remove_writer(self._fd)
        self._waiting = False

    def _flush(self) -> None:
        try:
            del self._left[: os.write(self._fd, self._left)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._left.clear()
            self._drained()
            self.close()
            return
        if self._left:
            self._wait()
            return
        self._rest()
        self._drained()
        # Being drained may have brought more to write, and the end with it.
        if self._ending and not self._left:
            self.close()
