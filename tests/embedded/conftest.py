"""Fixtures: an embedded node with a made-up command side, served from a thread of the test process."""

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from embedded.answer import Answer
from embedded.gate import Commands
from embedded.served import ServedTarget, Session
from embedded.start import open_node, serve

FAKE_NAMES = frozenset({"zfs", "zpool", "stmfadm", "sbdadm", "itadm", "svcs", "svcadm"})


@dataclass
class FakeCommands:
    """A command side whose commands are told by their second word what to do. State: a list of words in a file."""

    root: Path
    state: list[str] = field(default_factory=list)
    targets: tuple[ServedTarget, ...] = ()
    sessions: tuple[Session, ...] = ()
    served_calls: int = 0
    busy: int = 0

    def run(self, argv: Sequence[str], *, condition: str, typed: str = "") -> Answer:
        """Run one made-up command."""
        self.busy += 1
        assert self.busy == 1, "two commands at once"
        try:
            return self._run(list(argv), condition)
        finally:
            self.busy -= 1

    def _run(self, argv: list[str], condition: str) -> Answer:
        match argv[1:]:
            case ["args", *_]:
                return Answer(stdout=json.dumps(argv[2:]))
            case ["set", word]:
                self.state.append(word)
                (self.root / "fake.json").write_text(json.dumps(self.state))
                return Answer(f"set {word}\n")
            case ["big", out, err]:
                return Answer(_pattern(int(out)), _pattern(int(err)), 3)
            case ["text", out, err, status]:
                return Answer(out, err, int(status))
            case ["nul"]:
                return Answer("a\0b\n", "\0", 4)
            case ["read", path]:
                return Answer(Path(path).read_text())
            case ["condition"]:
                return Answer(condition)
            case ["list-target"]:
                return Answer("".join(f"{each.target} {each.initiator}\n" for each in self.sessions))
            case ["crash"]:
                raise RuntimeError("defect")
        return Answer(stderr=f"{argv[0]}: what?\n", exit=2)

    def changes(self, argv: Sequence[str]) -> bool:
        """Tell that ``set`` changes things."""
        return argv[1] == "set"

    def served(self) -> tuple[ServedTarget, ...]:
        """Give what the test put there."""
        self.served_calls += 1
        return self.targets

    def logged_in(self, sessions: tuple[Session, ...], *, visited: frozenset[str]) -> None:
        """Keep the sessions."""
        self.sessions = sessions


def _pattern(length: int) -> str:
    line = "tank/xvm/guest-%08d é * $(x) \\n `y` \n"
    text = "".join(line % number for number in range(length // 30 + 1))
    return text.encode()[:length].decode("utf-8", "ignore")


@dataclass
class RunningNode:
    """A node served from a thread."""

    directory: Path
    login_shell: str = "/bin/sh"
    flavour: str = "illumos"
    real: bool = False
    facts: dict[str, object] = field(default_factory=dict)
    commands: FakeCommands = field(init=False)
    error: BaseException | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[None] | None = None
    _thread: threading.Thread | None = None

    def _open(self, directory: Path, flavour: str, *, fresh: bool) -> tuple[Commands, frozenset[str]]:
        if self.real:
            return open_node(directory, flavour, fresh=fresh)
        saved = directory / "fake.json"
        state = json.loads(saved.read_text()) if saved.exists() else []
        self.commands = FakeCommands(directory, state)
        return self.commands, FAKE_NAMES

    def _told(self, facts: dict[str, object]) -> None:
        self.facts = facts
        self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await serve(
            self.directory, flavour=self.flavour, ready=self._told, login_shell=self.login_shell, opener=self._open
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001  # start() raises it in the test's thread
            self.error = error
        finally:
            self._ready.set()

    @staticmethod
    def eventually(done: Callable[[], bool], *, seconds: float = 10.0) -> None:
        """Poll until something is so."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "still not so"
            time.sleep(0.005)

    def start(self) -> "RunningNode":
        """Start it, or raise what kept it from starting."""
        self._ready.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        if self.error is not None:
            raise self.error
        return self

    def stop(self) -> None:
        """Stop it as a signal would, and wait."""
        if self._thread is not None and self._loop is not None and self._task is not None:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(20)
            assert not self._thread.is_alive()

    def ssh(self, command: str, *, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a command with the system's ssh."""
        argv = ["ssh", "-F", str(self.directory / "ssh_config"), "embedded", command]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)

    @contextlib.asynccontextmanager
    async def connected(self) -> "AsyncIterator[asyncssh.SSHClientConnection]":
        """Log in with asyncssh."""
        keys = {"client_keys": [str(self.directory / "client_key")], "config": None}
        known = str(self.directory / "known_hosts")
        port = int(str(self.facts["ssh_port"]))
        async with asyncssh.connect("127.0.0.1", port, known_hosts=known, **keys) as connection:
            yield connection

    def fault(self, text: str) -> None:
        """Put a faults.toml in place."""
        new = self.directory / "faults.new"
        new.write_text(text)
        new.rename(self.directory / "faults.toml")

    def log(self, count: int) -> list[dict[str, object]]:
        """Give the exec log's lines once there are that many."""
        path = self.directory / "exec.log"
        self.eventually(lambda: len(path.read_text().splitlines()) >= count)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert count == len(lines)
        return lines


@pytest.fixture
def nodes() -> Iterator[Callable[..., RunningNode]]:
    """Start nodes of any kind, all stopped afterwards."""
    made: list[RunningNode] = []

    def make(directory: Path, **options: Any) -> RunningNode:
        made.append(RunningNode(directory, **options))
        return made[-1].start()

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningNode]:
    """A node with made-up commands, stopped afterwards."""
    node = RunningNode(tmp_path / "node")
    try:
        yield node.start()
    finally:
        node.stop()
