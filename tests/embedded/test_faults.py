"""Faults: how faults.toml is read and counted, and what each action does to a script and its connection."""

import asyncio
import json
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

from embedded.faults import Faults, FaultsError, parse_faults

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

node = pytest.mark.node
SCRIPT = "zfs set one; zfs set two; zfs set three"


def fault(**fields: object) -> str:
    """Write one [[fault]] table."""
    return "[[fault]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


def lose(running: "RunningNode", command: str) -> str:
    """Run a command whose connection is lost; give what was printed before."""

    async def run() -> str:
        async with running.connected() as connection:
            process = await connection.create_process(command)
            printed = ""
            try:
                printed = await process.stdout.read()
                await asyncio.wait_for(connection.wait_closed(), 10)
            except asyncssh.ConnectionLost:
                pass
            assert process.exit_status is None
            return printed

    return asyncio.run(run())


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "[[fault]]\ncommand = '*'",
        "[[fault]]\naction = 'fail'",
        "[[fault]]\ncommand = '*'\naction = 'explode'",
        "[[fault]]\ncommand = '*'\naction = 'fail'\nwhen = 'later'",
        "[[fault]]\ncommand = '*'\naction = 'fail'\ncall = '2'",
        "[[fault]]\ncommand = '*'\naction = 'fail'\ncall = true",
        "[[fault]]\ncommand = '*'\naction = 'condition'",
        "[[fault]]\ncommand = '*'\naction = 'fail'\ntypo = 1",
        "fault = 3",
        "[[",
    ],
)
def test_unusable_faults(text: str) -> None:
    """What is not understood is refused, not ignored."""
    with pytest.raises(FaultsError):
        parse_faults(text)


def test_counting(tmp_path: Path) -> None:
    """Each fault counts its own matches from when the file was loaded; a changed file starts again."""
    path = tmp_path / "faults.toml"
    faults = Faults(path)
    assert None is faults.match(["zfs", "list"])
    path.write_text(fault(command="zfs*", action="fail", call=2) + fault(command="*", action="hang", call=3))
    due = [faults.match(words.split()) for words in ("zfs list", "stmfadm list-lu", "zfs get", "zfs list")]
    assert [each and each.action for each in due] == [None, None, "fail", None]
    path.write_text(fault(command="zfs list", action="fail", every=True) + "\n")
    assert [each and each.action for each in (faults.match(["zfs", word]) for word in ("list", "get", "list"))] == [
        "fail",
        None,
        "fail",
    ]
    path.unlink()
    assert None is faults.match(["zfs", "list"])


@node
def test_fail(running: "RunningNode") -> None:
    """A failing command has no effect, and says what the fault says."""
    running.fault(fault(command="zfs set t*", action="fail", exit=5, stderr="no space\n", stdout="half"))
    done = running.ssh("zfs set one; zfs set two; echo $?; zfs set three")
    assert (done.stdout, done.stderr) == (b"set one\nhalf5\nset three\n", b"no space\n")
    assert running.commands.state == ["one", "three"]


@node
def test_fail_after(running: "RunningNode") -> None:
    """With when = after the effect is there although a failure is reported."""
    running.fault(fault(command="zfs*", action="fail", when="after"))
    done = running.ssh("zfs set one")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"zfs: injected fault\n", 1)
    assert running.commands.state == ["one"]


@node
def test_unusable_file_is_loud(running: "RunningNode") -> None:
    """A faults.toml with a mistake fails every command, so that no test passes by a typo."""
    running.fault("[[fault]]\n")
    done = running.ssh("zfs set one")
    assert (done.returncode, running.commands.state) == (70, [])
    assert done.stderr.startswith(b"faults.toml: ")


@node
def test_condition(running: "RunningNode") -> None:
    """A condition holds for the one call."""
    running.fault(fault(command="*", action="condition", condition="stmf-ebusy", call=2))
    assert running.ssh("stmfadm condition; stmfadm condition; stmfadm condition").stdout == b"stmf-ebusy"


@node
@pytest.mark.parametrize("when", ["before", "after"])
def test_hang_for_a_while(running: "RunningNode", when: str) -> None:
    """A hang with seconds delays the command or its answer; others are not held up."""
    running.fault(fault(command="zfs set slow", action="hang", when=when, seconds=0.3))
    started = time.monotonic()
    done = running.ssh("zfs set slow & zfs set quick; wait")
    assert time.monotonic() - started >= 0.3
    assert {b"set slow", b"set quick"} == set(done.stdout.splitlines())
    assert (["quick", "slow"] if when == "before" else {"quick", "slow"}) == (
        running.commands.state if when == "before" else set(running.commands.state)
    )


@node
@pytest.mark.parametrize(("when", "state"), [("before", []), ("after", ["one"])])
def test_hang_until_the_session_ends(running: "RunningNode", when: str, state: list[str]) -> None:
    """A hang without seconds lasts until the client gives up; only with when = after it had an effect."""
    running.fault(fault(command="zfs set one", action="hang", when=when))

    async def run() -> None:
        async with running.connected() as connection:
            process = await connection.create_process("echo begun; zfs set one && zfs set two")
            await process.stdout.readline()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait_closed(), 0.2)
            connection.abort()

    asyncio.run(run())
    assert None is running.log(1)[0]["exit"]
    assert state == running.commands.state


@node
def test_drop_before(running: "RunningNode") -> None:
    """The connection is lost, the command fails without effect, and the script goes on on closed pipes."""
    running.fault(fault(command="zfs set two", action="drop"))
    assert lose(running, SCRIPT) == "set one\n"
    assert [["zfs", "set", word] for word in ("one", "two", "three")] == running.log(1)[0]["commands"]
    assert running.commands.state == ["one", "three"]


@node
def test_drop_after(running: "RunningNode") -> None:
    """The command takes effect, its output meets a closed pipe, the script goes on."""
    running.fault(fault(command="zfs set two", action="drop", when="after"))
    assert lose(running, SCRIPT) == "set one\n"
    running.log(1)
    assert running.commands.state == ["one", "two", "three"]


@node
@pytest.mark.parametrize(("when", "state"), [("before", ["one"]), ("after", ["one", "two"])])
def test_kill(running: "RunningNode", when: str, state: list[str]) -> None:
    """Nothing runs after the command: the whole process group dies at once."""
    running.fault(fault(command="zfs set two", action="kill", when=when))
    assert lose(running, SCRIPT) == "set one\n"
    assert running.log(1)[0]["commands"] == [["zfs", "set", "one"], ["zfs", "set", "two"]]
    assert state == running.commands.state


@node
def test_kill_outside_ssh(running: "RunningNode") -> None:
    """Outside the node's SSH server only the command's own process is known, and killed."""
    running.fault(fault(command="zfs set one", action="kill"))
    environment = {"PATH": f"{running.directory}/bin:{os.defpath}"}
    done = subprocess.run(
        ["bash", "-c", "zfs set one; echo $?"], env=environment, capture_output=True, timeout=20, check=False
    )
    assert (done.stdout, running.commands.state) == (b"137\n", [])


@node
def test_cut(running: "RunningNode") -> None:
    """The client gets what came before and half of the output, then the connection is lost; the script goes on."""
    running.fault(fault(command="zfs text*", action="cut"))
    lines = shlex.quote("".join(f"line {number}\n" for number in range(100)))
    printed = lose(running, f"echo first; zfs text {lines} '' 0; zfs set two")
    assert printed.startswith("first\nline 0\n")
    assert len("first\n") + 790 // 2 - 2 <= len(printed) <= len("first\n") + 790 // 2 + 1
    assert not printed.endswith("\n")
    running.log(1)
    assert running.commands.state == ["two"]


class Received(asyncssh.SSHClientSession[bytes]):
    """All that came, without ever telling the node to wait."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes, _datatype: asyncssh.DataType) -> None:
        """Keep it."""
        self.data += data


@node
# Less than the client's window (2 MiB): one that has still to ask for more throws away what it had not read when that
# fails.
@pytest.mark.parametrize("size", [100_000, 400_000, 1_000_000])
def test_cut_of_much(running: "RunningNode", size: int) -> None:
    """All of the half arrives before the connection goes, however long it is and however busy the client."""
    whole = running.ssh(f"zfs big {size} 0").stdout.decode()
    running.fault(fault(command="zfs big*", action="cut"))

    async def run() -> str:
        async with running.connected() as connection:
            session = Received()
            await connection.create_session(lambda: session, f"zfs big {size} 0", encoding=None)
            time.sleep(0.2)  # the client reads nothing meanwhile
            await asyncio.wait_for(connection.wait_closed(), 20)
            return session.data.decode("utf-8", "ignore")

    half = asyncio.run(run())
    assert len(half) == pytest.approx(len(whole) / 2, abs=2)
    assert whole.startswith(half)


@node
def test_cut_outside_ssh(running: "RunningNode") -> None:
    """Without a connection to lose there is half the output."""
    running.fault(fault(command="zfs set*", action="cut"))
    environment = {"PATH": f"{running.directory}/bin:{os.defpath}"}
    done = subprocess.run(["zfs", "set", "one"], env=environment, capture_output=True, timeout=20, check=False)
    assert (done.stdout, running.commands.state) == (b"set ", ["one"])


@node
@pytest.mark.parametrize("when", ["before", "after"])
def test_hang_until_the_fault_is_gone(running: "RunningNode", when: str) -> None:
    """The command goes on when the file no longer has its fault, not before, and others run meanwhile."""
    running.fault(fault(command="zfs set one", action="hang", when=when))

    async def run() -> str:
        async with running.connected() as connection:
            process = await connection.create_process("zfs set one && zfs set two")
            assert (await connection.run("zfs set three; zpool set four")).stdout == "set three\nset four\n"
            running.fault(
                fault(command="*", action="fail", call=99) + fault(command="zfs set one", action="hang", when=when)
            )
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait_closed(), 0.3)
            running.fault(fault(command="*", action="fail", call=99))
            return str((await asyncio.wait_for(process.wait(), 10)).stdout)

    assert asyncio.run(run()) == "set one\nset two\n"
    assert ["one", "two"] == [word for word in running.commands.state if word in {"one", "two"}]


@node
def test_hang_ends_with_its_channel(running: "RunningNode") -> None:
    """A client that closes the channel and keeps the connection ends the hanging command too."""
    running.fault(fault(command="zfs set one", action="hang"))

    async def run() -> None:
        async with running.connected() as connection:
            process = await connection.create_process("echo begun; zfs set one")
            await process.stdout.readline()
            process.close()
            assert (await connection.run("zfs set two")).stdout == "set two\n"
            running.eventually(lambda: len((running.directory / "exec.log").read_text().splitlines()) == 2)

    asyncio.run(run())
    assert running.commands.state == ["two"]


@node
def test_hang_ends_with_the_node(running: "RunningNode") -> None:
    """No stub outlives the node, whether a session or a local shell started it."""
    running.fault(fault(command="zfs set one", action="hang", every=True))
    environment = {"PATH": f"{running.directory}/bin:{os.defpath}"}
    with subprocess.Popen(["zfs", "set", "one"], env=environment, stderr=subprocess.PIPE) as local:

        async def run() -> int:
            async with running.connected() as connection:
                process = await connection.create_process("echo $$; exec zfs set one")
                pid = int(await process.stdout.readline())
                log = running.directory / "node.log"
                running.eventually(lambda: log.read_text().count("hang: zfs set") == 2)
                await asyncio.to_thread(running.stop)
                return pid

        pid = asyncio.run(run())
        assert local.wait(10) == 69
    assert not Path(f"/proc/{pid}").exists()
