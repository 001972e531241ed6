"""What the tests of a shell that stays share."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from remote.address import SshAddress
from remote.script import Lock, Query, Script
from remote.standing import Heard, StandingShell
from tests.remote.sshd import Sshd
from tests.remote.support import (
    ask,
    gated,
)

NewShell = Callable[..., StandingShell]


def hear(shell: StandingShell, *queries: Query[str], within: float = 20.0, lock: Lock | None = None) -> Heard:
    """What came back of one script."""
    return shell.ask((Script((), queries, lock),), deadline=time.monotonic() + within)[0]


def waiting(gate: Path, reached: Path, then: str = ":") -> Query[str]:
    """A question that is not answered before the gate is open; ``then`` is done before it is."""
    text, *words = gated(gate, reached).argv[2:]
    return ask(f"{text}; {then}", *words[1:])


def answered(shell: StandingShell, query: int) -> bool:
    """Whether the whole answer of this question has come, in the ask under way."""
    hearing = shell._line and shell._line._hearing
    return bool(hearing and all(stream.when(0, f"a {query}") is not None for stream in hearing.streams))


@contextlib.contextmanager
def far_away(port: int, delay: float) -> Iterator[int]:
    """A port behind which the one of 127.0.0.1 is ``delay`` seconds away, each way."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened = [listener]

    def carry(source: socket.socket, late: queue.Queue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                late.put((time.monotonic() + delay, data))
        late.put((0.0, b""))

    def deliver(late: queue.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (item := late.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                target.sendall(item[1])

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", port))
                opened.extend((near, far))
                for source, target in ((near, far), (far, near)):
                    late: queue.Queue[tuple[float, bytes]] = queue.Queue()
                    threading.Thread(target=carry, args=(source, late), daemon=True).start()
                    threading.Thread(target=deliver, args=(late, target), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    for one in opened:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def at_port(sshd: Sshd, port: int, known: Path) -> SshAddress:
    """The server, reached by another port."""
    known.write_text(f"[127.0.0.1]:{port} {sshd.host_key.public}\n")
    return replace(sshd.address(known_hosts=known), port=port)


def number_of(shell: StandingShell) -> int:
    """The process of the shell itself."""
    script = int(hear(shell, ask("echo $PPID")).transcript.queries[0].stdout)
    # The subshell has ended by now; what started it is asked for while another one runs.
    assert script
    return int(hear(shell, ask("ps -o ppid= -p $PPID")).transcript.queries[0].stdout)
