"""A shell that stays: one ``/bin/sh`` on a node that takes script after script, each in one round trip.

What comes back is read as it comes, so that what has ended at a deadline can be used. A script that has not ended by
then is left behind: it goes on, the shell is busy, and what the script still prints is read and dropped.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from remote import transcript
from remote.errors import RemoteError, one_line
from remote.pipe import Pipe
from remote.script import Script, new_nonce, render
from remote.transcript import Transcript

# Ignored by the shell as by its scripts: when the connection drops it stays until the script is over, and so does a
# lock, which has the shell's number.
_HELLO = "trap '' 1 13\n"
_LIMIT = 256 << 20


class Busy(RemoteError):
    """An earlier script of this shell has not ended yet, so nothing was sent."""


class Openable(Protocol):
    """A way to a node that can start a ``/bin/sh`` there and leave it running: each ``remote.host.Shell`` can."""

    def open(self, *, connect_timeout: float | None = None) -> Pipe:
        """Start one. Raises Unreachable, UnknownHostKey, LoginRefused as ``Shell.feed`` does."""

    def close(self) -> None:
        """Give the connection back."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back of one script, whole or not.

    transcript      what has come; a query is in it only if all it printed is
    first           seconds from sending to the script's beginning: the round trip, for the first script of an ask
    took            by a query's index: seconds between its beginning and its end, as they arrived
    trouble         why it is not complete: no end by the deadline, the connection or the shell gone; "" when it is
    bytes_received  of both streams
    """

    transcript: Transcript
    first: float | None
    took: Mapping[int, float]
    trouble: str
    bytes_received: int


class StandingShell:
    """Opened at the first script, and anew after it was lost. One thread asks; any may look, or close it meanwhile.

    ``limit`` is what an ask may print, in bytes; the shell is given up when it is more. ``connect_timeout`` in seconds
    holds where it is less than what is left until an ask's deadline. ``name`` is for the threads.
    """

    def __init__(
        self,
        shell: Openable,
        *,
        limit: int = _LIMIT,
        connect_timeout: float | None = None,
        name: str = "standing-shell",
    ) -> None:
        self._shell, self._limit, self._connect_timeout, self._name = shell, limit, connect_timeout, name
        self._line: _Line | None = None

    @property
    def busy(self) -> bool:
        """Whether a script that was left behind at its deadline has not ended."""
        line = self._line
        return line is not None and line.busy and not line.gone

    @property
    def is_open(self) -> bool:
        """Whether there is a shell, as far as is known without asking it."""
        line = self._line
        return line is not None and not line.gone

    def ask(self, scripts: Sequence[Script], *, deadline: float) -> tuple[Heard, ...]:
        """Run scripts one after the other; wait for them until ``deadline`` (of ``time.monotonic``).

        Raises Busy, and Unreachable, UnknownHostKey, LoginRefused when a shell had to be opened and nothing can have
        run. All else is told script by script. Scripts after one that was left behind run when that has ended.
        """
        if self.busy:
            raise Busy("an earlier script has not ended")
        began = time.monotonic()
        line = self._alive() or self._open(deadline)
        hearing = _Hearing([new_nonce() for _ in scripts])
        rendered = [render(script, nonce, stay=True) for script, nonce in zip(scripts, hearing.nonces, strict=True)]
        text = "".join((_HELLO, *rendered)).encode("utf-8", "surrogateescape")
        late = f"no end after {max(0.0, round(deadline - began, 1)):g} s"
        trouble = late if time.monotonic() >= deadline else line.converse(text, hearing, deadline=deadline, late=late)
        self._alive()
        return hearing.heard(trouble)

    def close(self) -> None:
        """Let go of the shell and end its threads; the next ``ask`` opens another."""
        line, self._line = self._line, None
        if line:
            line.close()

    def _open(self, deadline: float) -> "_Line":
        left = max(0.1, deadline - time.monotonic())
        limit = left if self._connect_timeout is None else min(left, self._connect_timeout)
        line = self._line = _Line(self._shell.open(connect_timeout=limit), limit=self._limit, name=self._name)
        return line

    def _alive(self) -> "_Line | None":
        """The line, unless it is gone: then what is left of it is cleared away."""
        line = self._line
        if line is None or not line.gone:
            return line
        self.close()
        return None


# The marks that are waited for or timed; the longest one is much shorter than _OVERLAP.
_MARK = r"\n({nonces}) ([sqax](?: \d+)?)(?: \d+)?\n"
_OVERLAP = 128


class _Stream:
    """One of the two streams of an ask: what each script printed on it, and when its marks came."""

    def __init__(self, nonces: Sequence[str]) -> None:
        self.texts = [bytearray() for _ in nonces]
        self.over = 0
        self.keep = True
        self._index = {nonce.encode(): index for index, nonce in enumerate(nonces)}
        self._marks: dict[tuple[int, bytes], float] = {}
        self._pattern = re.compile(_MARK.format(nonces="|".join(nonces)).encode())
        self._before = b""

    def take(self, piece: bytes, now: float) -> None:
        """Sort in the next piece. A mark may lie across two of them."""
        known = begin = len(self._before)
        data = self._before + piece
        for mark in self._pattern.finditer(data):
            if mark.end() <= known:
                continue
            self._marks[self._index[mark[1]], mark[2]] = now
            if mark[2] == b"x":
                self._store(data[begin : mark.end()])
                begin = mark.end()
                self.over += 1
        self._store(data[begin:])
        self._before = data[-_OVERLAP:]

    def _store(self, data: bytes) -> None:
        if self.keep and self.over < len(self.texts):
            self.texts[self.over] += data

    def text(self, script: int) -> str:
        """What a script printed, as text; it is not kept."""
        data, self.texts[script] = self.texts[script], bytearray()
        return data.decode("utf-8", "surrogateescape")

    def when(self, script: int, mark: str) -> float | None:
        """When a mark came."""
        return self._marks.get((script, mark.encode()))


class _Hearing:
    """What comes back of the scripts of one ask. ``size`` is how much was kept."""

    def __init__(self, nonces: Sequence[str]) -> None:
        self.nonces = nonces
        self.streams = (_Stream(nonces), _Stream(nonces))
        self.sent = 0.0
        self.size = 0

    @property
    def over(self) -> bool:
        """Whether every script is over, on both streams."""
        return min(stream.over for stream in self.streams) == len(self.nonces)

    @property
    def left(self) -> bool:
        """Whether nobody waits for it any more."""
        return not self.streams[0].keep

    def take(self, piece: bytes, *, stream: int) -> None:
        """Sort in what came on a stream."""
        self.size += 0 if self.left else len(piece)
        self.streams[stream].take(piece, time.monotonic())

    def leave(self) -> None:
        """Keep nothing of what still comes."""
        for stream in self.streams:
            stream.keep = False

    def heard(self, trouble: str) -> tuple[Heard, ...]:
        """What has come, by script."""
        return tuple(self._heard(script, trouble) for script in range(len(self.nonces)))

    def _heard(self, script: int, trouble: str) -> Heard:
        output = self.streams[0]
        size = sum(len(stream.texts[script]) for stream in self.streams)
        nonce, errors = self.nonces[script], self.streams[1].text(script)
        said = transcript.read(output.text(script), errors, nonce)
        if said.complete:
            trouble = ""
        elif min(stream.over for stream in self.streams) > script:
            words = "\n".join(line for line in errors.splitlines() if not line.startswith(nonce))
            trouble = f"the script broke off: {one_line(words) or 'it said nothing'}"
        begun = output.when(script, "s")
        spans = ((i, output.when(script, f"q {i}"), output.when(script, f"a {i}")) for i in said.queries)
        took = {i: end - start for i, start, end in spans if start is not None and end is not None}
        return Heard(said, None if begun is None else begun - self.sent, took, trouble, size)


class _Line:
    """An open shell and the two threads that read from it at all times, so that it never waits for us."""

    def __init__(self, pipe: Pipe, *, limit: int, name: str) -> None:
        self._pipe, self._limit = pipe, limit
        self._changed = threading.Condition()
        self._hearing: _Hearing | None = None
        self._ended = 0
        self._closed = False
        receivers = {"stdout": pipe.receive, "stderr": pipe.receive_errors}
        self._readers = [
            threading.Thread(target=self._listen, args=(receive, i), name=f"{name} {stream}", daemon=True)
            for i, (stream, receive) in enumerate(receivers.items())
        ]
        for reader in self._readers:
            reader.start()

    @property
    def gone(self) -> bool:
        """Whether no script can be sent any more."""
        return self._closed or self._ended > 0

    @property
    def busy(self) -> bool:
        """Whether what was sent is not over."""
        return self._hearing is not None and not self._hearing.over

    def converse(self, text: bytes, hearing: _Hearing, *, deadline: float, late: str) -> str:
        """Send scripts and wait for the end of them all. What is told is why it did not come."""
        self._hearing = hearing
        hearing.sent = time.monotonic()
        sent = True
        try:
            self._pipe.send(text, deadline=deadline)
        except TimeoutError:
            # The shell would take the next script for the rest of this one.
            self.close()
            return late
        except OSError:
            sent = False  # gone: both streams end, and then it can be told why
        with self._changed:
            self._changed.wait_for(lambda: self._settled(hearing), max(0.0, deadline - time.monotonic()))
            hearing.leave()
        return "" if hearing.over else self._trouble(hearing, late=late if sent else "")

    def _trouble(self, hearing: _Hearing, *, late: str) -> str:
        if self._closed:
            return "the shell was closed"
        if self._ended == len(self._readers) and hearing.size <= self._limit:
            return self._pipe.ended()
        if late and hearing.size <= self._limit:
            return late
        # Nothing more can be made of it.
        self.close()
        return f"more than {self._limit} bytes came" if late else "the script could not be sent"

    def _settled(self, hearing: _Hearing) -> bool:
        return hearing.over or self._ended == len(self._readers) or hearing.size > self._limit

    def _listen(self, receive: Callable[[], bytes], stream: int) -> None:
        try:
            while piece := receive():
                self._take(piece, stream)
        except OSError:
            pass  # as good as its end
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()

    def _take(self, piece: bytes, stream: int) -> None:
        """What nobody asked for is dropped."""
        with self._changed:
            if self._hearing is None:
                return
            self._hearing.take(piece, stream=stream)
            if self._settled(self._hearing):
                self._changed.notify_all()

    def close(self) -> None:
        """Close the pipe; its readers end with it."""
        self._closed = True
        self._pipe.close()
        for reader in self._readers:
            reader.join(1.0)
