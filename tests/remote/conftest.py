"""Fixtures: a real sshd on loopback and the three ways to a node."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from remote.host import Host, Shell
from remote.local import LocalShell
from remote.script import Lock
from remote.standing import Openable, StandingShell
from tests.remote.sshd import SSHD, Key, Sshd, new_key, running_sshd
from tests.remote.standing import NewShell
from tests.remote.support import SSH_SHELLS, Node


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """Key pairs: of a host, of a user, and of strangers."""
    root = tmp_path_factory.mktemp("keys")
    return {name: new_key(root / name) for name in ("host", "login", "stranger")} | {
        "rsa": new_key(root / "rsa", "rsa")
    }


@pytest.fixture(scope="session")
def node_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that comes first on every node's PATH."""
    return tmp_path_factory.mktemp("bin")


@pytest.fixture(scope="session")
def node_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TMPDIR of every node."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture(scope="session")
def sshd(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Key], node_bin: Path, node_tmp: Path
) -> Iterator[Sshd]:
    """A server that lets ``keys["login"]`` in as whoever runs the tests."""
    if SSHD is None:
        pytest.skip("no sshd here: install openssh-server")
    root = tmp_path_factory.mktemp("sshd")
    path = f"{node_bin}:/usr/bin:/bin"
    with running_sshd(root, host_key=keys["host"], login_key=keys["login"], path=path, tmp=node_tmp) as server:
        yield server


@pytest.fixture(
    scope="session",
    params=["local", *(pytest.param(kind, marks=pytest.mark.sshd) for kind in SSH_SHELLS)],
)
def node(request: pytest.FixtureRequest, node_bin: Path, node_tmp: Path) -> Iterator[Node]:
    """A node by each of the three shells."""
    kind: str = request.param
    new = Node(kind, node_bin, node_tmp, lambda: _shell(kind, request, node_bin, node_tmp))
    yield new
    new.shell.close()


def _shell(kind: str, request: pytest.FixtureRequest, node_bin: Path, node_tmp: Path) -> Shell:
    if kind == "local":
        return LocalShell(("env", f"PATH={node_bin}:{os.environ['PATH']}", f"TMPDIR={node_tmp}", "/bin/sh"))
    server: Sshd = request.getfixturevalue("sshd")
    return SSH_SHELLS[kind](server.address())


@pytest.fixture
def host(node: Node) -> Host:
    """A host on the node."""
    return Host("node1", node.shell)


@pytest.fixture(params=SSH_SHELLS)
def ssh_kind(request: pytest.FixtureRequest) -> str:
    """The name of one of the two SSH shells."""
    return str(request.param)


@pytest.fixture
def lock() -> Iterator[Lock]:
    """A lock that nobody else has; gone afterwards."""
    new = Lock(f"test-{uuid.uuid4().hex}", "me@here[1],since,now", wait=20)
    yield new
    Path(new.path).unlink(missing_ok=True)


@pytest.fixture
def way(node: Node) -> Iterator[Openable]:
    """A way to the node, each of the three kinds."""
    shell = node.new_shell()
    yield cast(Openable, shell)
    shell.close()


@pytest.fixture
def ssh_way(ssh_kind: str, sshd: Sshd) -> Iterator[Openable]:
    """A way to the server by each of the SSH shells."""
    shell = SSH_SHELLS[ssh_kind](sshd.address())
    yield cast(Openable, shell)
    shell.close()


@pytest.fixture
def standing() -> Iterator[NewShell]:
    """Makes shells that stay, and closes them."""
    with contextlib.ExitStack() as stack:

        def new(way: Openable, **said: Any) -> StandingShell:
            shell = StandingShell(way, **said)
            stack.callback(shell.close)
            return shell

        yield new
