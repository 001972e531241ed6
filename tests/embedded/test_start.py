"""Starting and stopping: the files of a node, what stays over a restart, what is refused, what is left behind."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedded import tgt_process
from embedded.config import StartError, load_identity, port_is_taken

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

pytestmark = pytest.mark.node
KEPT = ("client_key", "client_key.pub", "host_key", "known_hosts", "ssh_config", "config.toml", "chap/xen1.secret")

real = pytest.mark.skipif(importlib.util.find_spec("embedded.commands") is None, reason="the command side is not there")


def mode_of(path: Path) -> int:
    """Give a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def kept(directory: Path) -> dict[str, bytes]:
    """Read the files that a restart keeps."""
    return {name: (directory / name).read_bytes() for name in KEPT}


@contextlib.contextmanager
def process(directory: Path, flavour: str = "illumos") -> Iterator["subprocess.Popen[str]"]:
    """Run a node in a process of its own, as the command line does."""
    program = "import sys; from pathlib import Path; from embedded.start import main_serve; "
    program += f"sys.exit(main_serve(Path({str(directory)!r}), {flavour!r}))"
    argv = [sys.executable, "-c", program]
    started = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with started:
        try:
            yield started
        finally:
            started.kill()


def test_first_start_writes_what_a_client_needs(running: "RunningNode") -> None:
    """config.toml is complete and readable; secrets are for their owner alone."""
    directory = running.directory
    config = tomllib.loads((directory / "config.toml").read_text())
    node = config["nodes"]["embedded"]
    assert running.facts["ssh_port"] == node["port"]
    assert [f"127.0.0.1:{running.facts['iscsi_port']}"] == node["portals"]
    assert tuple(node[name] for name in ("backend", "release", "layout", "lun")) == (
        "comstar",
        "illumos",
        "target-per-volume",
        1,
    )
    assert [str(directory / "client_key"), str(directory / "known_hosts")] == [node["identity"], node["known_hosts"]]
    secret = Path(config["dom0s"]["xen1"]["chap_secret_file"])
    assert len(secret.read_text()) == 16
    assert {0o600} == {mode_of(path) for path in (secret, directory / "client_key", directory / "host_key")}
    assert mode_of(directory) == 0o700
    assert {"config": str(directory / "config.toml")}.items() <= running.facts.items()


def test_b111_has_one_shared_target(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """The older system gets the layout with one target, and its own uname."""
    node = nodes(tmp_path / "node", flavour="b111")
    written = tomllib.loads((node.directory / "config.toml").read_text())["nodes"]["embedded"]
    assert tuple(written[name] for name in ("release", "layout", "target")) == (
        "b111",
        "shared-target",
        "iqn.2026-11.org.xvmstore:embedded",
    )
    assert node.ssh("uname -r | tr '\\n' ' '; uname -v").stdout == b"5.11 snv_111b\n"


def test_restart_keeps_everything(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """State, ports, keys and the log survive; a user's changes to config.toml too."""
    node = nodes(tmp_path / "node")
    node.ssh("zfs set kept")
    with (node.directory / "config.toml").open("a") as file:
        file.write("# mine\n")
    before, facts = kept(node.directory), node.facts
    node.stop()
    node.start()
    assert (before, facts) == (kept(node.directory), node.facts)
    assert node.commands.state == ["kept"]
    assert node.ssh("zfs args x").stdout == b'["x"]'
    assert len(node.log(2)) == 2


def test_one_server_per_directory(nodes: "Callable[..., RunningNode]", running: "RunningNode") -> None:
    """A second server on the same directory is refused, and does no harm."""
    with pytest.raises(StartError, match="another server already runs"):
        nodes(running.directory)
    assert running.ssh("zfs args x").returncode == 0


def test_flavour_is_kept(nodes: "Callable[..., RunningNode]", running: "RunningNode") -> None:
    """A node's flavour cannot be changed."""
    running.stop()
    with pytest.raises(StartError, match="is a node of flavour illumos, not b111"):
        nodes(running.directory, flavour="b111")


def test_odd_directories(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """Spaces and quotes are fine; what PATH, ssh or tgtadm cannot take is refused before anything is made."""
    node = nodes(tmp_path / "a node's é")
    assert node.ssh("zfs args x").stdout == b'["x"]'
    for name in ("a:b", "a,b", 'a"b', "a%b"):
        with pytest.raises(StartError, match="must not contain"):
            nodes(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_unknown_flavour(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """A flavour that does not exist makes no node."""
    with pytest.raises(StartError, match="no such flavour: windows"):
        nodes(tmp_path / "node", flavour="windows")
    assert None is load_identity(tmp_path / "node")


@pytest.mark.parametrize("which", ["ssh_port", "iscsi_port"])
def test_port_taken(nodes: "Callable[..., RunningNode]", running: "RunningNode", which: str) -> None:
    """A stored port that someone else has is an error in one line."""
    running.stop()
    port = int(str(running.facts[which]))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StartError, match=f"{port}, is taken"):
        nodes(running.directory)


def test_without_tgtd(
    nodes: "Callable[..., RunningNode]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Without tgtd everything but the LUNs' data works, and one line says so."""
    monkeypatch.setattr(tgt_process, "_PATH", "/nowhere")
    node = nodes(tmp_path / "node")
    assert node.ssh("zfs set x; stmfadm list-target").returncode == 0
    assert capfd.readouterr().err == "tgtd is not installed: LUNs are shown but not served\n"


def test_stop_ends_what_runs(running: "RunningNode") -> None:
    """Commands under way are ended and written down when the node stops; tgtd is gone, and so is the gate."""
    tgtd = int((running.directory / "tgtd.pid").read_text().split()[0])

    async def run() -> int:
        async with running.connected() as connection:
            session = await connection.create_process("echo $$; sleep 100")
            pid = int(await session.stdout.readline())
            await asyncio.to_thread(running.stop)
            return pid

    shell = asyncio.run(run())
    for pid in (shell, tgtd):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert None is running.log(1)[0]["exit"]
    assert not (running.directory / "gate").exists()
    assert not (running.directory / "tgtd.pid").exists()


@real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """One JSON line when ready; a signal ends it with status 0, no process left, nothing on stderr."""
    with process(tmp_path / "node") as node:
        assert node.stdout is not None
        facts = json.loads(node.stdout.readline())
        assert {"config", "ssh_port", "iscsi_port"} == set(facts)
        tgtd = int((tmp_path / "node" / "tgtd.pid").read_text().split()[0])
        node.send_signal(number)
        out, err = node.communicate(timeout=20)
        assert (node.returncode, out, err) == (0, "", "")
    with pytest.raises(ProcessLookupError):
        os.kill(tgtd, 0)
    for port in (facts["ssh_port"], facts["iscsi_port"]):
        assert not port_is_taken(port)


@real
def test_killed_node_starts_again(tmp_path: Path) -> None:
    """After SIGKILL the directory starts again on the same ports, with its own tgtd replaced."""
    facts, pids = [], []
    for number in (signal.SIGKILL, signal.SIGTERM):
        with process(tmp_path / "node") as node:
            assert node.stdout is not None
            facts.append(json.loads(node.stdout.readline()))
            pids.append(int((tmp_path / "node" / "tgtd.pid").read_text().split()[0]))
            node.send_signal(number)
            node.wait(20)
    assert facts[0] == facts[1]
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@real
def test_error_is_one_line(tmp_path: Path) -> None:
    """What the user did wrong is one line on stderr and exit 1."""
    with process(tmp_path / "node", "windows") as node:
        out, err = node.communicate(timeout=20)
        assert (node.returncode, out, len(err.splitlines())) == (1, "", 1)


@real
@pytest.mark.parametrize("flavour", ["illumos", "b134", "b111", "b85"])
def test_real_commands(nodes: "Callable[..., RunningNode]", tmp_path: Path, flavour: str) -> None:
    """The emulated commands answer through SSH, and what they change is there after a restart."""
    node = nodes(tmp_path / "node", flavour=flavour, real=True)
    assert node.ssh("zpool list -H -o name").stdout == b"tank\n"
    assert node.ssh("zfs create tank/xvm && zfs create -V 8m tank/xvm/a").returncode == 0
    node.stop()
    node.start()
    assert node.ssh("zfs list -H -o name -t volume").stdout == b"tank/xvm/a\n"
