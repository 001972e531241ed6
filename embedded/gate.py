"""The gate: where the stubs' commands arrive, one at a time, and meet the faults before or after they run.

It knows no command; ``Commands`` is what it asks of the side that does, ``Data`` of the side that serves LUNs.
"""

import asyncio
import contextlib
import hmac
import logging
import os
import re
import secrets
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from embedded.answer import Answer
from embedded.execlog import ExecLog, Execution
from embedded.faults import Fault, Faults, FaultsError
from embedded.gate_wire import Request, WireError, read_request, reply_bytes
from embedded.served import ServedTarget, Session

_log = logging.getLogger("embedded.gate")
_POLL = 0.05
_CALLERS_FD = re.compile(r"/dev/(?:stdin|fd/[0-9])")


class Commands(Protocol):
    """The command side of one node."""

    def run(self, argv: Sequence[str], *, condition: str, typed: str) -> Answer:
        """Carry the command out (under the named condition, if any) and save what it changed."""

    def changes(self, argv: Sequence[str]) -> bool:
        """Tell whether the command may change what is served."""

    def served(self) -> tuple[ServedTarget, ...]:
        """Give what must be served now."""

    def logged_in(self, sessions: tuple[Session, ...], *, visited: frozenset[str]) -> None:
        """Take the initiators that are logged in, and the targets that anybody was, for commands that show them."""


class Data(Protocol):
    """The side that serves LUNs."""

    def changed(self) -> None:
        """Take note that other things may have to be served from now on."""

    async def settled(self) -> None:
        """Wait until what was noted is served."""

    async def sessions(self) -> tuple[Session, ...]:
        """Give the initiators that are logged in."""

    def visited(self) -> frozenset[str]:
        """Give the targets that somebody has logged in to, as far as that is known."""


@dataclass(frozen=True, slots=True)
class _Caller:
    request: Request
    execution: Execution | None
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def _shows_sessions(argv: Sequence[str]) -> bool:
    return argv[0] == "iscsitadm" or (argv[0] in {"stmfadm", "itadm"} and argv[1:2] != [] and "-target" in argv[1])


@contextlib.contextmanager
def _as_seen_here(request: Request) -> Iterator[list[str]]:
    """Name a file of our own, only ours to read, where the arguments name a descriptor of the caller's."""
    if not any(_CALLERS_FD.fullmatch(word) for word in request.argv):
        yield list(request.argv)
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(request.input)
        file.flush()
        yield [file.name if _CALLERS_FD.fullmatch(word) else word for word in request.argv]


def _first_half(text: str) -> str:
    """Half of the text, with a last line that is not whole."""
    half = text[: len(text) // 2]
    if not half.endswith("\n"):
        return half
    following = text[len(half)]
    return half.rstrip("\n") if following == "\n" else half + following


def _failure(fault: Fault, argv: Sequence[str]) -> Answer:
    stderr = f"{argv[0]}: injected fault\n" if fault.stderr is None else fault.stderr
    return Answer(fault.stdout, stderr, fault.exit)


class Gate:
    """The listener on loopback that the stubs talk to."""

    def __init__(self, commands: Commands, *, faults: Faults, log: ExecLog) -> None:
        self.data: Data | None = None
        self._commands, self._faults, self._exec_log = commands, faults, log
        self._lock = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, "node")
        self._token = secrets.token_hex(16)
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def start(self, address: Path) -> None:
        """Listen, and leave port and token in the file at ``address`` for the stubs."""
        self._server = await asyncio.start_server(self._called, "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        address.unlink(missing_ok=True)
        address.touch(mode=0o600)
        address.write_text(f"{port} {self._token}\n")

    async def stop(self) -> None:
        """Stop listening; commands that run are finished first."""
        if self._server is not None:
            self._server.close()
        for caller in list(self._callers):
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._worker.shutdown()

    async def served(self) -> tuple[ServedTarget, ...]:
        """Ask the command side what must be served, between two commands."""
        async with self._lock:
            return await self._in_worker_served()

    async def settled(self) -> None:
        """Wait until the data side has caught up with the commands so far."""
        if self.data is not None:
            await self.data.settled()

    async def _in_worker_served(self) -> tuple[ServedTarget, ...]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._commands.served)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._callers.add(task)
            task.add_done_callback(self._callers.discard)
        try:
            answer = await self._answer(await read_request(reader), reader, writer)
            if answer is not None:
                writer.write(reply_bytes(answer))
                await writer.drain()
        except (WireError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            _log.info("a caller of the gate went away: %s", error)
        except asyncio.CancelledError:
            pass  # the node stops: asyncio's stream server would print a traceback
        finally:
            writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Answer | None:
        if not hmac.compare_digest(request.token.encode("utf-8", "replace"), self._token.encode()):
            raise WireError("wrong token")
        caller = _Caller(request, self._exec_log.running.get(request.execution), reader, writer)
        if caller.execution is not None:
            caller.execution.record.commands.append(list(request.argv))
        try:
            fault = self._faults.match(request.argv)
        except FaultsError as error:
            return Answer("", f"{error}\n", 70)
        answer = await self._under(fault, caller)
        if caller.execution is None:
            await self.settled()
        return answer

    async def _perform(self, caller: _Caller, *, condition: str = "") -> Answer:
        argv = caller.request.argv
        async with self._lock:
            if self.data is not None and _shows_sessions(argv):
                self._commands.logged_in(await self.data.sessions(), visited=self.data.visited())
            loop = asyncio.get_running_loop()
            with _as_seen_here(caller.request) as seen:
                typed = caller.request.input
                answer = await loop.run_in_executor(self._worker, lambda: self._run(seen, condition, typed))
            if self.data is not None and self._commands.changes(argv):
                self.data.changed()
            return answer

    def _run(self, argv: list[str], condition: str, typed: str) -> Answer:
        try:
            return self._commands.run(argv, condition=condition, typed=typed)
        except Exception:  # noqa: BLE001  # the node outlives a defect in one command
            _log.exception("%s failed inside the node", argv[0])
            return Answer("", f"{argv[0]}: internal error of the embedded node (see node.log)\n", 70)

    async def _under(self, fault: Fault | None, caller: _Caller) -> Answer | None:
        """Run the command as the fault has it. None: the caller gets no answer."""
        if fault is None:
            return await self._perform(caller)
        _log.info("fault %s %s: %s", fault.when, fault.action, " ".join(caller.request.argv[:2]))
        match fault.action:
            case "condition":
                return await self._perform(caller, condition=fault.condition)
            case "hang":
                return await self._hanging(fault, caller)
            case "fail":
                if fault.after:
                    await self._perform(caller)
                return _failure(fault, caller.request.argv)
            case "cut":
                return await self._cut(caller)
            case _:
                return await self._lose(fault, caller)

    async def _hanging(self, fault: Fault, caller: _Caller) -> Answer:
        done = await self._perform(caller) if fault.after else None
        in_time = await self._waited(fault, caller)
        if done is not None:
            return done
        return await self._perform(caller) if in_time else Answer(exit=1)

    async def _waited(self, fault: Fault, caller: _Caller) -> bool:
        """Wait as long as the fault has it; False when the caller's session or the stub itself ended first."""
        ended = asyncio.ensure_future(caller.reader.read(1))
        if caller.execution is not None:
            if caller.execution.gone:
                return False
            caller.execution.on_gone.append(ended.cancel)
        try:
            if fault.seconds is not None:
                await asyncio.wait({ended}, timeout=fault.seconds)
            while fault.seconds is None and not ended.done() and self._faults.lasts(fault):
                await asyncio.wait({ended}, timeout=_POLL)
            return not ended.done()
        finally:
            ended.cancel()

    async def _cut(self, caller: _Caller) -> Answer | None:
        """Let the caller print half, and drop the connection when the client has that."""
        whole = await self._perform(caller)
        half = replace(whole, stdout=_first_half(whole.stdout))
        execution = caller.execution
        if execution is None or execution.gone:
            return half
        caller.writer.write(reply_bytes(half, hold=True))
        await caller.writer.drain()
        await caller.reader.readexactly(1)
        gone = asyncio.Event()
        execution.on_gone.append(gone.set)
        execution.drop_when_sent()
        await gone.wait()
        return None

    async def _lose(self, fault: Fault, caller: _Caller) -> Answer | None:
        """Drop the connection, or end everything at once as a node does that loses power."""
        answer = await self._perform(caller) if fault.after else Answer(exit=1)
        execution = caller.execution
        if fault.action == "kill":
            if execution is None:
                os.kill(caller.request.pid, signal.SIGKILL)
            else:
                execution.kill()
        if execution is not None:
            execution.drop()
        return None if fault.action == "kill" else answer
