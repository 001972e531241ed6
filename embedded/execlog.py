"""The record of what the node was asked to do: one JSON line in DIR/exec.log per SSH exec or shell.

It knows neither SSH nor the commands; the server and the gate fill in an Execution and the log writes it down.
"""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal

Kind = Literal["exec", "shell"]


@dataclass(slots=True)
class Record:
    """The fields of one line of exec.log, in the order in which they are written."""

    time: float
    kind: Kind
    command: str
    bytes_in: int = 0
    bytes_out: int = 0
    commands: list[list[str]] = field(default_factory=list)
    exit: int | None = None
    signal: str | None = None


def nothing() -> None:
    """Stand in for the drop or the kill of an execution that has no connection or no process yet."""


@dataclass(slots=True)
class Execution:
    """One exec or shell under way.

    ``drop`` cuts its SSH connection, ``drop_when_sent`` once the client has what was printed so far; ``kill`` ends its
    process group.
    """

    ident: str
    record: Record
    drop: Callable[[], None] = nothing
    drop_when_sent: Callable[[], None] = nothing
    kill: Callable[[], None] = nothing
    on_gone: list[Callable[[], object]] = field(default_factory=list)
    gone: bool = False

    def lost(self) -> None:
        """Note that the client is gone, and tell whoever waits for that."""
        self.gone = True
        for callback in self.on_gone:
            callback()
        self.on_gone.clear()


class ExecLog:
    """The executions under way, by identity, and the file that remembers those that ended."""

    def __init__(self, path: Path) -> None:
        self.running: dict[str, Execution] = {}
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def begin(self, kind: Kind, command: str) -> Execution:
        """Open the record of a new exec or shell."""
        execution = Execution(secrets.token_hex(8), Record(time.time(), kind, command))
        self.running[execution.ident] = execution
        return execution

    def end(self, execution: Execution) -> None:
        """Write the execution's line (once) and forget it."""
        if self.running.pop(execution.ident, None) is None:
            return
        self._file.write(json.dumps(asdict(execution.record)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Write down what is still under way, and close the file."""
        for execution in list(self.running.values()):
            self.end(execution)
        self._file.close()
