"""The usual way to a node: fabric for what ssh_config says, a paramiko channel for the script.

fabric is good at finding the way (HostName, ProxyJump, IdentityFile); its ``run`` is not used: it polls, is quadratic
in the size of the output and feeds stdin one character at a time. Host keys are checked here, since fabric accepts
any. This module is imported only when a connection is wanted: fabric costs half a second.
"""

import contextlib
import io
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabric
import paramiko

from remote.address import SshAddress
from remote.errors import LoginRefused, UnknownHostKey, Unreachable
from remote.host import Spoken
from remote.openssh import how_to_accept
from remote.pipe import Pipe

# paramiko logs tracebacks of what it also raises.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_KEEPALIVE = 15
# paramiko can deadlock when it rekeys while a channel closes (paramiko issue 822), by default after 512 MiB.
# Scripts are small, and bulk data goes through the system's ssh.
_REKEY_BYTES = 1 << 36
# For a shell that stays: what a node may send before it has to wait for us.
_WINDOW = 8 << 20
_PIECE = 1 << 20
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


class FabricShell:
    """Feeds scripts to ``/bin/sh`` on a node over one SSH connection, opened at the first script."""

    def __init__(self, address: SshAddress) -> None:
        self._address = address
        self._connection: Any = None
        self._connecting = threading.Lock()
        self._pipes: weakref.WeakSet[_ChannelPipe] = weakref.WeakSet()

    def feed(self, script: bytes, *, timeout: float) -> Spoken:
        """Run one script. Raises Unreachable, UnknownHostKey, LoginRefused when nothing can have run."""
        channel = self._channel(self._address)
        try:
            channel.settimeout(timeout)
            channel.exec_command("/bin/sh")
            return _converse(channel, script, timeout)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            return Spoken(b"", b"", None, str(error) or type(error).__name__)
        finally:
            with contextlib.suppress(Exception):
                channel.close()

    def close(self) -> None:
        """Close the connection and those of its jump hosts."""
        connection, self._connection = self._connection, None
        _hang_up(connection)

    def open(self, *, connect_timeout: float | None = None) -> Pipe:
        """Start a shell that stays, in a channel of its own beside those of other shells and scripts.

        ``connect_timeout`` stands in for the address's: for the TCP connection, the banner, the login and the channel.
        """
        address = self._address if connect_timeout is None else replace(self._address, connect_timeout=connect_timeout)
        channel = self._channel(address, window_size=_WINDOW)
        pipe = _ChannelPipe(channel)
        # exec_command itself waits for ever.
        limit = threading.Timer(address.connect_timeout, pipe.close)
        limit.start()
        try:
            channel.exec_command("/bin/sh")
        except (paramiko.SSHException, OSError, EOFError) as error:
            pipe.close()
            raise Unreachable(f"{address}: the node started no /bin/sh: {error or type(error).__name__}") from error
        finally:
            limit.cancel()
        self._pipes.add(pipe)
        return pipe

    def _channel(self, address: SshAddress, **options: int) -> paramiko.Channel:
        """A fresh channel; reconnects when the connection has died since the last script."""
        with self._connecting:
            connection = self._connection
            if connection is not None and connection.is_connected:
                try:
                    # A node that answers does so at once; the rest of the time is for connecting anew.
                    return _session(connection, address.connect_timeout / 2, **options)
                except paramiko.ChannelException as error:
                    # The node does answer, and a new connection would cost the shells of this one.
                    if any(pipe.open for pipe in self._pipes):
                        raise Unreachable(f"{address}: the node opened no more sessions: {error}") from error
                except (paramiko.SSHException, OSError, EOFError):
                    pass
            self.close()
            connection = self._connection = self._connect(address)
            try:
                return _session(connection, address.connect_timeout, **options)
            except (paramiko.SSHException, OSError, EOFError) as error:
                self.close()
                raise Unreachable(f"{address}: the node opened no session: {error}") from error

    def session(self) -> paramiko.Channel:
        """A bare channel of the open connection, for who wants to run something else than a script."""
        return _session(self._connection, self._address.connect_timeout)

    def _connect(self, address: SshAddress) -> Any:
        connection = None
        try:
            connection = _connection(address)
            for link in _chain(connection):
                _check_host_keys(link, address)
            connection.open()
        except Exception as error:
            at = _at(connection)
            _hang_up(connection)
            raise _why_not(error, address, at) from error
        for link in _chain(connection):
            _tune(link)
        return connection


def _session(connection: Any, timeout: float, **options: int) -> paramiko.Channel:
    session: paramiko.Channel = connection.transport.open_session(timeout=timeout, **options)
    return session


class _ChannelPipe:
    """The streams of a shell that stays, in a channel of the connection. Closing it leaves the connection."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    @property
    def open(self) -> bool:
        """Whether the node still has the channel."""
        return not self._channel.closed

    def send(self, data: bytes, *, deadline: float) -> None:
        """Hand over all of it. The time limit is the whole channel's, so a reader may see it as well."""
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            self._channel.sendall(data)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(str(error) or "connection lost") from error
        finally:
            self._channel.settimeout(None)

    def receive(self) -> bytes:
        """The next piece of stdout."""
        return self._next(self._channel.recv)

    def receive_errors(self) -> bytes:
        """The next piece of stderr."""
        return self._next(self._channel.recv_stderr)

    def _next(self, receive: Callable[[int], bytes]) -> bytes:
        while True:
            try:
                return receive(_PIECE)
            except TimeoutError:
                continue
            except (paramiko.SSHException, EOFError) as error:
                raise ConnectionError(str(error) or "connection lost") from error

    def ended(self) -> str:
        """The shell's exit status, which comes before its streams' end; none when the connection died."""
        transport = self._channel.get_transport()
        if self._channel.status_event.wait(1.0) and self._channel.exit_status != -1:
            return f"the shell exited {self._channel.exit_status}"
        return "the shell was killed" if transport.is_active() else "connection lost"

    def close(self) -> None:
        """Close the channel."""
        with contextlib.suppress(Exception):
            self._channel.close()


def _connection(address: SshAddress) -> Any:
    overrides = {"load_ssh_configs": True}
    config = fabric.Config(overrides=overrides, runtime_ssh_path=_text(address.ssh_config))
    kwargs: dict[str, Any] = {
        "banner_timeout": address.connect_timeout,
        "auth_timeout": address.connect_timeout,
    }
    if address.identity:
        kwargs |= {"key_filename": str(address.identity), "look_for_keys": False, "allow_agent": False}
    return fabric.Connection(
        address.host,
        user=address.user,
        port=address.port,
        config=config,
        # fabric makes a whole number of it, and no limit of 0.
        connect_timeout=max(1, round(address.connect_timeout)),
        connect_kwargs=kwargs,
    )


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _chain(connection: Any) -> Iterator[Any]:
    """The connection and the jump hosts before it, nearest to the node first."""
    while isinstance(connection, fabric.Connection):
        yield connection
        connection = connection.gateway


def _at(connection: Any) -> str:
    """Where connecting stopped, in the terms of known_hosts: jump hosts are opened before what is behind them."""
    closed = [link for link in _chain(connection) if link.transport is None]
    if not closed:
        return ""
    return f"[{closed[-1].host}]:{closed[-1].port}"


def _hang_up(connection: Any) -> None:
    """Close a connection and those of its jump hosts; fabric's own ``close`` leaves one that is half open."""
    for link in _chain(connection):
        with contextlib.suppress(Exception):
            link.close()
        with contextlib.suppress(Exception):
            link.client.close()


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    """Refuses a host key that is in no known_hosts file."""

    def __init__(self, address: SshAddress) -> None:
        self._address = address

    def missing_host_key(self, _client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        print_ = key.fingerprint
        raise UnknownHostKey(
            how_to_accept(self._address, f"{hostname} is unknown, its {key.get_name()} key is {print_}", hostname)
        )


def _check_host_keys(connection: Any, address: SshAddress) -> None:
    client: paramiko.SSHClient = connection.client
    for path in _known_hosts(connection, address):
        with contextlib.suppress(FileNotFoundError):
            client.load_system_host_keys(str(path))
    client.set_missing_host_key_policy(_RefuseUnknown(address))


def _known_hosts(connection: Any, address: SshAddress) -> list[Path]:
    if address.known_hosts:
        return [address.known_hosts]
    named = str(connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts")).split()
    return [*(Path(name).expanduser() for name in named), _SYSTEM_KNOWN_HOSTS]


def _why_not(error: Exception, address: SshAddress, at: str) -> Unreachable:  # noqa: PLR0911  a table, one return a row
    """One clear sentence for everything that connecting can raise."""
    match error:
        case Unreachable():
            return error
        case paramiko.BadHostKeyException():
            return UnknownHostKey(
                how_to_accept(address, f"{at} shows ANOTHER key than known_hosts has; remove that line", at)
            )
        case paramiko.ssh_exception.IncompatiblePeer():
            return Unreachable(
                f'{address}: no common algorithms ({error}): a SunSSH server? Set transport = "openssh" and its '
                "ssh_options for this node"
            )
        case paramiko.AuthenticationException() | paramiko.PasswordRequiredException():
            return LoginRefused(f"{address}: login refused: {error}")
        case socket.gaierror():
            return Unreachable(f"{address}: no address found for this host name")
        case TimeoutError():
            return Unreachable(f"{address}: no answer within {address.connect_timeout:g} s")
        case _:
            return Unreachable(f"{address}: {error or type(error).__name__}")


def _tune(connection: Any) -> None:
    """Neither fabric nor paramiko turns Nagle's algorithm off, which costs 40 ms a command."""
    transport: paramiko.Transport = connection.transport
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.packetizer.REKEY_BYTES = _REKEY_BYTES
    transport.set_keepalive(_KEEPALIVE)


def _converse(channel: paramiko.Channel, script: bytes, timeout: float) -> Spoken:
    """Send the script and read both streams at once: one after the other hangs when both are large."""
    errors = io.BytesIO()
    reader = threading.Thread(target=_drain_stderr, args=(channel, errors), daemon=True)
    reader.start()
    output, trouble = io.BytesIO(), ""
    deadline = time.monotonic() + timeout
    try:
        _send(channel, script)
        while chunk := _received(channel, deadline):
            output.write(chunk)
        reader.join(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        trouble = f"no end after {timeout:g} s"
    except OSError as error:
        trouble = str(error) or "connection lost"
    if trouble or not channel.status_event.wait(1.0) or channel.exit_status == -1:
        return Spoken(output.getvalue(), errors.getvalue(), None, trouble or "connection lost")
    return Spoken(output.getvalue(), errors.getvalue(), channel.exit_status)


def _send(channel: paramiko.Channel, script: bytes) -> None:
    """A shell that is gone before it has read it all has said why: that is read afterwards, as is a lost connection."""
    try:
        channel.sendall(script)
        channel.shutdown_write()
    except TimeoutError:
        raise
    except OSError:
        return


def _received(channel: paramiko.Channel, deadline: float) -> bytes:
    """The next piece of stdout; nothing at its end. The deadline holds for a talkative command as well."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    channel.settimeout(left)
    return channel.recv(1 << 16)


def _drain_stderr(channel: paramiko.Channel, into: io.BytesIO) -> None:
    with contextlib.suppress(OSError):
        while chunk := channel.recv_stderr(1 << 16):
            into.write(chunk)
