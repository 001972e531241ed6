"""Starts and stops an embedded node in one directory: its lock, keys, gate, tgtd and SSH server, in that order.

It wires the parts together and does nothing of what they do.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from embedded.config import (
    Identity,
    StartError,
    check_directory,
    choose_identity,
    load_identity,
    user_name,
    write_client_files,
)
from embedded.execlog import ExecLog
from embedded.faults import Faults
from embedded.flavour import FLAVOURS
from embedded.gate import Commands, Gate
from embedded.gate_stubs import write_stubs
from embedded.lun_shift import BEHIND, LunShift, shifted
from embedded.served import ServedTarget
from embedded.server_shell import Login
from embedded.tgt import Applier, TgtData
from embedded.tgt_process import Tgtd, TgtError

if TYPE_CHECKING:
    from embedded.server import Server

Ready = Callable[[dict[str, object]], None]


class Open(Protocol):
    """Whatever gives a command side and the names of its commands."""

    def __call__(self, directory: Path, flavour: str, *, fresh: bool) -> tuple[Commands, frozenset[str]]:
        """Load the node in the directory, or make it."""


def open_node(directory: Path, flavour: str, *, fresh: bool) -> tuple[Commands, frozenset[str]]:
    """Give the node's command side and the names of its commands."""
    from embedded.commands import names
    from embedded.start_node import NodeCommands

    return NodeCommands.open(directory, flavour, fresh=fresh), names(FLAVOURS[flavour])


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"another server already runs on {directory}") from error
        yield


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    logger = logging.getLogger("embedded")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def _login(directory: Path, shell: str) -> Login:
    home = directory / "home"
    home.mkdir(exist_ok=True)
    user = user_name()
    path = f"{directory}/bin:/usr/bin:/bin"
    environment = {"HOME": str(home), "USER": user, "LOGNAME": user, "SHELL": shell, "PATH": path}
    # Other such nodes share the machine's /tmp.
    environment |= {"TMPDIR": str(home), "XVMSTORE_LOCKS": str(home)}
    return Login(shell, environment, home)


async def _start_gate(stack: contextlib.AsyncExitStack, directory: Path, *, commands: Commands, log: ExecLog) -> Gate:
    gate = Gate(commands, faults=Faults(directory / "faults.toml"), log=log)
    address = directory / "gate"
    stack.callback(address.unlink, missing_ok=True)
    stack.push_async_callback(gate.stop)
    await gate.start(address)
    return gate


async def _start_data(stack: contextlib.AsyncExitStack, directory: Path, *, gate: Gate, identity: Identity) -> None:
    tgtd = Tgtd(directory)
    if not tgtd.installed():
        sys.stderr.write("tgtd is not installed: LUNs are shown but not served\n")
        return
    stack.callback(tgtd.stop)
    port = identity.iscsi_port
    if FLAVOURS[identity.flavour].lun_zero:
        data = await _behind_a_door(stack, tgtd, gate=gate, port=port)
    else:
        data = await _in_the_open(tgtd, gate=gate, port=port)
    stack.push_async_callback(data.stop)
    data.changed()
    await data.settled()
    gate.data = data


async def _serve_at(tgtd: Tgtd, port: int, *, address: str) -> None:
    try:
        await asyncio.to_thread(tgtd.start, port, address=address)
    except TgtError as error:
        raise StartError(str(error)) from error


async def _in_the_open(tgtd: Tgtd, *, gate: Gate, port: int) -> TgtData:
    await _serve_at(tgtd, port, address="127.0.0.1")
    return TgtData(gate.served, Applier(tgtd))


async def _behind_a_door(stack: contextlib.AsyncExitStack, tgtd: Tgtd, *, gate: Gate, port: int) -> TgtData:
    """Initiators come through ``lun_shift``, for the sake of LUN 0."""

    async def desired() -> tuple[ServedTarget, ...]:
        return shifted(await gate.served())

    await _serve_at(tgtd, port, address=BEHIND)
    door = LunShift()
    stack.push_async_callback(door.stop)
    await door.start(port)
    return TgtData(desired, Applier(tgtd), visited=door.visited)


def _make_keys(directory: Path) -> str:
    from embedded.server_keys import ensure_key

    ensure_key(directory / "client_key", "xvmstore embedded client")
    return ensure_key(directory / "host_key", "xvmstore embedded host")


async def _listen(stack: contextlib.AsyncExitStack, server: "Server", *, directory: Path, port: int) -> int:
    stack.push_async_callback(server.stop)
    try:
        client_key = directory / "client_key.pub"
        return await server.start(port, host_key=directory / "host_key", client_key=client_key)
    except OSError as error:
        raise StartError(f"cannot listen on SSH port {port}: {os.strerror(error.errno or 0)}") from error


async def _start(
    stack: contextlib.AsyncExitStack, directory: Path, *, identity: Identity, login_shell: str, opener: Open
) -> Identity:
    from embedded.server import Node, Server

    host_key = _make_keys(directory)
    commands, names = opener(directory, identity.flavour, fresh=load_identity(directory) is None)
    log = ExecLog(directory / "exec.log")
    stack.callback(log.close)
    gate = await _start_gate(stack, directory, commands=commands, log=log)
    write_stubs(directory / "bin", names=names, flavour=identity.flavour, gate=directory / "gate")
    await _start_data(stack, directory, gate=gate, identity=identity)
    server = Server(Node(_login(directory, login_shell), log, gate.settled))
    port = await _listen(stack, server, directory=directory, port=identity.ssh_port)
    identity = replace(identity, ssh_port=port)
    write_client_files(directory, identity, host_key=host_key)
    return identity


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    # Outside the main thread there are no signals: whoever runs the node there cancels the task.
    with contextlib.suppress(RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def serve(
    directory: Path,
    *,
    flavour: str = "illumos",
    ssh_port: int = 0,
    ready: Ready,
    login_shell: str = "/bin/sh",
    opener: Open = open_node,
) -> None:
    """Run the node of ``directory`` until SIGTERM or SIGINT (or cancelled), then stop it cleanly."""
    directory = directory.resolve()
    check_directory(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop = _stop_event()
    with _locked(directory), _logging_to(directory / "node.log"):
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.to_thread(Tgtd(directory).stop_stale)
            chosen = choose_identity(directory, flavour=flavour, ssh_port=ssh_port)
            identity = await _start(stack, directory, identity=chosen, login_shell=login_shell, opener=opener)
            ports = {"ssh_port": identity.ssh_port, "iscsi_port": identity.iscsi_port}
            ready({"config": str(directory / "config.toml"), **ports})
            await stop.wait()


def _print_ready(facts: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main_serve(directory: Path, flavour: str) -> int:
    """Run a node in the foreground for the command line; give the exit status."""
    try:
        asyncio.run(serve(directory, flavour=flavour, ready=_print_ready))
    except StartError as error:
        sys.stderr.write(f"xvmstore embedded: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"xvmstore embedded: {error.filename or directory}: {error.strerror}\n")
        return 1
    except ImportError as error:
        sys.stderr.write(f"xvmstore embedded: {error.name} is missing: install xvmstore[embedded]\n")
        return 1
    return 0
