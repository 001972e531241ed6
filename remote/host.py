"""A node, seen as a shell that takes one script a time: run steps, ask questions, in one round trip.

How the script gets there is a ``Shell``: ``remote.local``, ``remote.fabric_shell`` or ``remote.openssh``.
"""

import getpass
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from remote import transcript
from remote.errors import (
    Interrupted,
    Locked,
    PartlyDone,
    QueryFailed,
    RemoteError,
    StepFailed,
    UnexpectedOutput,
    Unreachable,
    XvmError,
    one_line,
)
from remote.script import Lock, Query, Script, Step, masked, new_nonce, render
from remote.transcript import Ended, Transcript

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
log = logging.getLogger("xvmstore.remote")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came back from a shell: both streams, its exit status (None: the session ended first), and why."""

    stdout: bytes
    stderr: bytes
    exit: int | None
    trouble: str = ""


class Shell(Protocol):
    """A way to feed a script to a plain ``/bin/sh`` on a node.

    ``feed`` raises ``Unreachable`` when nothing can have run, and reports everything else in what it returns.
    """

    def feed(self, script: bytes, *, timeout: float) -> Spoken:
        """Run one script; ``timeout`` in seconds covers the script, connecting has its own."""

    def close(self) -> None:
        """Give the connection back. Feeding again afterwards reconnects."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """The answer of one query, or why there is none."""

    value: T_co | None
    error: XvmError | None = None

    def get(self) -> T_co:
        """The value; raises the error that stands in its place."""
        if self.error is not None:
            raise self.error
        return cast(T_co, self.value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a script went: the failure that stopped it, if any, and the answers of its queries in any case.

    ``steps`` holds how each step that was reached ended; ``failed_step`` is the index of the one that failed.
    """

    failure: StepFailed | PartlyDone | None
    failed_step: int | None
    answers: tuple[Answer[Any], ...]
    steps: Mapping[int, Ended]

    def must(self) -> "Outcome":
        """Itself; raises the failure if there was one."""
        if self.failure is not None:
            raise self.failure
        return self


class Host:
    """One node. Not safe for use by several threads at a time."""

    def __init__(
        self, name: str, shell: Shell, *, become: Sequence[str] = (), timeout: float = 300.0, scratch: str | None = None
    ) -> None:
        self.name = name
        self._shell = shell
        self._become = tuple(become)
        self._timeout = timeout
        self._scratch = scratch

    def with_scratch(self, directory: str) -> "Host":
        """The same machine over the same connection, its scripts' own files in this directory."""
        return Host(self.name, self._shell, become=self._become, timeout=self._timeout, scratch=directory)

    def run(self, steps: Sequence[Step], *, then: Sequence[Query[Any]] = (), lock: Lock | None = None) -> Outcome:
        """Carry out steps in order, ask the questions in any case; one round trip.

        Raises Unreachable, Locked, Interrupted. A failed step is in the outcome, beside the answers.
        """
        script = Script(tuple(steps), tuple(then), lock, self._become, self._scratch)
        said = self._speak(script)
        answers = tuple(self._answer(query, said.queries.get(i)) for i, query in enumerate(then))
        failed = said.failed
        if failed is None and (said.undos or len(said.steps) < len(steps)):
            # SIGTERM: no step failed, and yet not all were carried out, or not all were left as they were.
            raise Interrupted(
                f"{self.name}: the script was told to stop after {len(said.steps)} of {len(steps)} steps; "
                "what it had done was undone as far as it can be: run the same command again"
            )
        if failed is None:
            return Outcome(None, None, answers, said.steps)
        return Outcome(self._failure(steps, said, failed), failed, answers, said.steps)

    def ask(self, queries: Sequence[Query[Any]]) -> tuple[Answer[Any], ...]:
        """Ask questions only; one that fails costs its own answer only."""
        return self.run((), then=queries).answers

    def ask_one(self, query: Query[T]) -> T:
        """The answer of one question; raises when there is none."""
        return cast(T, self.ask((query,))[0].get())

    def close(self) -> None:
        """Close the connection."""
        self._shell.close()

    def _speak(self, script: Script) -> Transcript:
        nonce = new_nonce()
        began = time.monotonic()
        spoken = self._shell.feed(render(script, nonce).encode("utf-8", "surrogateescape"), timeout=self._timeout)
        took = (time.monotonic() - began) * 1000
        log.debug("%s: %d steps, %d queries, %.1f ms", self.name, len(script.steps), len(script.queries), took)
        said = transcript.read(_text(spoken.stdout), _text(spoken.stderr), nonce)
        if said.complete and said.holder is None:
            return said
        raise self._broken(script, spoken, said)

    def _broken(self, script: Script, spoken: Spoken, said: Transcript) -> XvmError:
        if said.holder is not None:
            return Locked(_held(self.name, script.lock, said.holder))
        spoke = "\n".join(line for line in _text(spoken.stderr).splitlines() if not line.startswith("xvm"))
        words = one_line(spoken.trouble or spoke) or f"the shell exited {spoken.exit}"
        if not said.started and spoken.exit is not None:
            return Unreachable(f"{self.name}: no usable /bin/sh there, nothing was run: {words}")
        if not script.steps:
            return Interrupted(f"{self.name}: the session ended before the answer was complete: {words}")
        where = (
            f"during `{masked(script.steps[said.begun].argv)}`" if said.begun is not None else "before it was complete"
        )
        return Interrupted(
            f"{self.name}: the session ended {where}: {words}; whether it took effect is unknown, "
            "nothing was undone from here: run the same command again"
        )

    def _answer(self, query: Query[T], end: Ended | None) -> Answer[T]:
        if end is None:
            return Answer(None, RemoteError(f"{self.name}: `{masked(query.argv)}` was not run"))
        failed = end.exit != 0 or (query.silent and end.stderr != "")
        if failed and not any(words in end.stderr for words in query.absent):
            return Answer(None, QueryFailed(self.name, masked(query.argv), exit_status=end.exit, stderr=end.stderr))
        try:
            return Answer(query.parse("" if failed else end.stdout))
        except UnexpectedOutput as error:
            return Answer(None, error.on(self.name))

    def _failure(self, steps: Sequence[Step], said: Transcript, failed: int) -> StepFailed | PartlyDone:
        step, end = steps[failed], said.steps[failed]
        # The undo of the step that failed is tried in case it lied: mostly there is nothing to undo.
        stuck = [i for i, undone in said.undos.items() if undone.exit != 0 and i != failed]
        command = masked(step.argv)
        # A failure without a word on stderr may have put it on stdout: usage errors of the COMSTAR tools do.
        text = end.stderr or (f"it printed {one_line(end.stdout)!r}" if end.how == "unmet" else end.stdout[:200])
        if not stuck:
            note = "; what had been done before it was undone" if set(said.undos) - {failed} else ""
            return StepFailed(self.name, command, exit_status=end.exit, stderr=text, note=note)
        left = "; ".join(f"`{masked(steps[i].undo or ())}`: {one_line(said.undos[i].stderr)}" for i in stuck)
        return PartlyDone(
            f"{self.name}: `{command}` exited {end.exit}: {one_line(text)}; and could not be undone: {left}; "
            "run the same command again"
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _held(host: str, lock: Lock | None, holder: str) -> str:
    path, _, process = holder.partition(" ")
    pid, _, owner = process.partition(":")
    name = lock.name if lock else "it"
    return (
        f"{host}: {name} is being changed by {owner} (process {pid} on {host}); try again when it is done. "
        f"If that process hangs, kill it there; once you know that nothing changes, remove {path} and {path}.break"
    )


def user_name() -> str:
    """Who runs this, by name or, where the system knows none, by number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def who() -> str:
    """USER@HOST, as it is recorded and shown to others."""
    return f"{user_name()}@{socket.gethostname()}"


def guest_lock(guest: str, *others: str) -> Lock:
    """The lock for changes of guests' disks, owned by the user and machine we run as."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Lock(guest, f"{who()}[{os.getpid()}],since,{stamp}", others=others)
