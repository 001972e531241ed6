"""The SSH server on loopback: public key logins, one real shell per exec request, its line in the exec log.

Faults and commands are the gate's business; this module only offers it the means to drop a connection and to
kill a process group.
"""

import asyncio
import contextlib
import fcntl
import signal
import sys
import termios
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from embedded.execlog import ExecLog, Execution
from embedded.server_shell import Callbacks, Login, ShellProcess

_POLL = 0.01


@dataclass(frozen=True, slots=True)
class Node:
    """What the server needs to know of the node it is the door of."""

    login: Login
    log: ExecLog
    settled: Callable[[], Awaitable[None]]
    live: "set[ShellSession]" = field(default_factory=set)
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)


class ShellSession(asyncssh.SSHServerSession[bytes]):
    """One SSH session: a shell process, or a command in one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._process: ShellProcess | None = None
        self._execution: Execution | None = None
        self._ending: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        """Keep the channel."""
        self._channel = chan

    def shell_requested(self) -> bool:
        """Serve a shell that reads its commands from the channel."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Serve a command."""
        self._command = command
        return True

    def session_started(self) -> None:
        """Start the process."""
        kind = self._command is None
        execution = self._node.log.begin("shell" if kind else "exec", self._command or "")
        self._execution = execution
        to = Callbacks(self._output, self._stdin_full, self._stdin_drained, self._ended)
        extra = {"EMBEDDED_EXEC": execution.ident}
        try:
            process = ShellProcess(self._node.login, self._command, extra=extra, to=to)
        except (OSError, ValueError) as error:
            self._output(f"{self._node.login.shell}: {error}\n".encode(), 2)
            self._finish(255)
            return
        self._process = process
        execution.drop, execution.drop_when_sent = self._drop, self._drop_when_sent
        execution.kill = lambda: process.signal(signal.SIGKILL)
        self._node.live.add(self)

    def data_received(self, data: bytes, _datatype: asyncssh.DataType) -> None:
        """Pass input on."""
        if self._process is not None and self._execution is not None:
            self._execution.record.bytes_in += len(data)
            self._process.stdin.write(data)

    def eof_received(self) -> bool:
        """End the process's input; the channel stays open for its output."""
        if self._process is not None:
            self._process.stdin.write_eof()
        return True

    def signal_received(self, signal: str) -> None:
        """Pass a signal on, as newer OpenSSH servers do."""
        if self._process is not None:
            self._process.signal(_signal_named(signal))

    def pause_writing(self) -> None:
        """Let the process wait while the client does not read."""
        if self._process is not None:
            self._process.pause()

    def resume_writing(self) -> None:
        """Go on reading the process's output."""
        if self._process is not None:
            self._process.resume()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Close the pipes of a process that is still there; it is not killed."""
        self._hang_up()

    def kill(self) -> None:
        """End the process group: the node stops."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def _hang_up(self) -> None:
        if self._execution is not None and not self._execution.gone:
            self._channel = None
            if self._process is not None:
                self._process.hang_up()
            self._execution.lost()

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.get_connection().abort()
            self._hang_up()

    def _drop_when_sent(self) -> None:
        if self._process is not None:
            self._process.read_now()
        self._dropping = asyncio.get_running_loop().create_task(self._drop_once_sent())

    async def _drop_once_sent(self) -> None:
        while self._channel is not None and _unsent(self._channel):
            await asyncio.sleep(_POLL)
        self._drop()

    def _output(self, data: bytes, stream: int) -> None:
        if self._execution is not None:
            self._execution.record.bytes_out += len(data)
        if self._channel is not None:
            # A channel that the client has just closed refuses; connection_lost() is about to be called.
            with contextlib.suppress(OSError):
                self._channel.write(data, asyncssh.EXTENDED_DATA_STDERR if stream == 2 else None)

    def _stdin_full(self) -> None:
        if self._channel is not None:
            self._channel.pause_reading()

    def _stdin_drained(self) -> None:
        if self._channel is not None:
            self._channel.resume_reading()

    def _ended(self, returncode: int) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._settle(returncode))

    async def _settle(self, returncode: int) -> None:
        await self._node.settled()
        self._node.live.discard(self)
        self._finish(returncode)
        self.over.set()

    def _finish(self, returncode: int) -> None:
        if self._execution is None:
            return
        name = signal.Signals(-returncode).name if returncode < 0 else None
        if self._channel is not None:
            self._execution.record.exit = returncode if returncode >= 0 else None
            self._execution.record.signal = name
        self._node.log.end(self._execution)
        if self._channel is not None:
            self._report(self._channel, returncode, name)

    def _report(self, channel: "asyncssh.SSHServerChannel[bytes]", returncode: int, name: str | None) -> None:
        with contextlib.suppress(OSError):
            channel.write_eof()
            if name is None:
                channel.exit(returncode)
            else:
                channel.exit_with_signal(name.removeprefix("SIG"))


def _unsent(channel: "asyncssh.SSHServerChannel[bytes]") -> bool:
    connection = channel.get_connection()
    # asyncssh's abort() throws away what its transport still holds, and it has no public name for the transport.
    transport = connection._transport
    held = channel.get_write_buffer_size() + (transport.get_write_buffer_size() if transport is not None else 0)
    return held > 0 or _unacknowledged(connection.get_extra_info("socket")) > 0


def _unacknowledged(socket: TransportSocket | None) -> int:
    """Bytes that the kernel would forget if the connection were reset now (tcp(7), SIOCOUTQ)."""
    if socket is None or socket.fileno() < 0:
        return 0
    return int.from_bytes(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _signal_named(name: str) -> signal.Signals:
    return signal.Signals.__members__.get(f"SIG{name}", signal.SIGTERM)


class _Connection(asyncssh.SSHServer):
    def __init__(self, node: Node) -> None:
        self._node = node
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note the connection, to cut it when the node stops."""
        self._connection = conn
        self._node.connections.add(conn)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget it."""
        if self._connection is not None:
            self._node.connections.discard(self._connection)

    def session_requested(self) -> ShellSession:
        """Give every session channel a process of its own."""
        return ShellSession(self._node)


class Server:
    """The listening SSH server."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, port: int, *, host_key: Path, client_key: Path) -> int:
        """Listen on loopback and give the port."""
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=lambda: _Connection(self._node),
            server_host_keys=[str(host_key)],
            authorized_client_keys=asyncssh.import_authorized_keys(client_key.read_text()),
            password_auth=False,
            kbdint_auth=False,
            allow_pty=False,
            agent_forwarding=False,
            compression_algs=None,
            encoding=None,
            backlog=128,
        )
        return self._acceptor.get_port()

    async def stop(self) -> None:
        """Stop listening, cut the connections, end the processes and wait until they are written down."""
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        for connection in list(self._node.connections):
            connection.abort()
        for session in list(self._node.live):
            session.kill()
            await session.over.wait()
