"""The SSH server and the gate: bytes, exit statuses, lost connections, the exec log, the fidelity of the stubs."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

pytestmark = pytest.mark.node

ODD = [
    "",
    "a b",
    "'q'",
    '"d"',
    "$(x)",
    "`y`",
    "*",
    "?[a]",
    "line\nbreak\n",
    "\\n",
    "-n",
    "é",
    "tab\t",
    "~",
    "!",
    "#",
    "3:x",
]


def quoted(words: list[str]) -> str:
    """Quote words for a shell."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def test_exec_passes_bytes_and_exit(running: "RunningNode") -> None:
    """Stdin, stdout and stderr are bytes; the exit status is the command's."""
    data = bytes(range(256)) * 10
    done = running.ssh("cat; printf 'e\\000\\377' >&2; exit 7", stdin=data)
    assert (data, b"e\0\xff", 7) == (done.stdout, done.stderr, done.returncode)


def test_exec_signal(running: "RunningNode") -> None:
    """A command ended by a signal is reported as that, to the client and in the log."""

    async def run() -> asyncssh.SSHCompletedProcess:
        async with running.connected() as connection:
            return await connection.run("kill -TERM $$")

    done = asyncio.run(run())
    assert done.exit_signal is not None
    assert done.exit_signal[0] == "TERM"
    assert (running.log(1)[0]["exit"], running.log(1)[0]["signal"]) == (None, "SIGTERM")


def test_big_output_on_both_streams(running: "RunningNode") -> None:
    """Megabytes on both streams arrive whole."""
    done = running.ssh("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2")
    assert (len(done.stdout), len(done.stderr), done.returncode) == (3000000, 2000000, 0)
    assert running.log(1)[0]["bytes_out"] == 5000000


def test_big_input(running: "RunningNode") -> None:
    """Megabytes of input arrive whole at a slow reader, and are counted."""
    done = running.ssh("read line; wc -c", stdin=b"x\n" + b"y" * 5_000_000)
    assert (done.stdout.strip(), running.log(1)[0]["bytes_in"]) == (b"5000000", 5_000_002)


def test_input_nobody_reads(running: "RunningNode") -> None:
    """A command that ignores its input ends all the same."""
    assert running.ssh("exec <&-; echo hi", stdin=b"y" * 3_000_000).stdout == b"hi\n"


def test_stdin_is_a_pipe(running: "RunningNode") -> None:
    """As under sshd, /dev/stdin can be opened."""
    assert running.ssh("cat /dev/stdin", stdin=b"abc").stdout == b"abc"


def test_shell_request(running: "RunningNode") -> None:
    """A shell without a command reads its commands; the log says so."""

    async def run() -> asyncssh.SSHCompletedProcess:
        async with running.connected() as connection:
            return await connection.run(None, input="zfs args a\nexit 5\n", request_pty=False)

    done = asyncio.run(run())
    line = running.log(1)[0]
    assert (done.stdout, done.exit_status) == ('["a"]', 5)
    assert (
        line["kind"],
        line["command"],
        line["commands"],
        line["exit"],
    ) == ("shell", "", [["zfs", "args", "a"]], 5)


def test_twenty_at_once(running: "RunningNode") -> None:
    """Twenty execs over one connection keep apart; their commands run one at a time."""

    async def run() -> list[asyncssh.SSHCompletedProcess]:
        async with running.connected() as connection:
            return await asyncio.gather(*(connection.run(f"zfs args {n}; zfs set w{n}; exit {n}") for n in range(20)))

    done = asyncio.run(run())
    assert [(f'["{n}"]set w{n}\n', n) for n in range(20)] == [(each.stdout, each.exit_status) for each in done]
    assert {f"w{n}" for n in range(20)} == set(running.commands.state)
    assert all(len(line["commands"]) == 2 for line in running.log(20))  # type: ignore[arg-type]


def test_clean_environment(running: "RunningNode") -> None:
    """Nothing of the server's environment leaks into the node's shells."""
    names = {line.split("=")[0] for line in running.ssh("/usr/bin/env").stdout.decode().splitlines()}
    own = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "EMBEDDED_EXEC", "TMPDIR", "XVMSTORE_LOCKS"}
    assert set() == names - own - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert f"{running.directory}/home\n" == running.ssh("pwd").stdout.decode()


@pytest.mark.parametrize("shell", ["csh", "tcsh", "ksh", "bash"])
def test_login_shells(nodes: "Callable[..., RunningNode]", tmp_path: Path, shell: str) -> None:
    """The command goes through the login shell, as under sshd."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    node = nodes(tmp_path / "node", login_shell=path)
    done = node.ssh("zfs args 'a b' && exec /bin/sh -c 'exit 3'")
    assert (done.stdout, done.returncode) == (b'["a b"]', 3)


def test_missing_login_shell(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """A login shell that is not there ends the exec, not the node."""
    node = nodes(tmp_path / "node", login_shell="/nowhere/sh")
    assert (node.ssh("true").returncode, node.log(1)[0]["exit"]) == (255, 255)


def test_only_the_clients_key(running: "RunningNode", tmp_path: Path) -> None:
    """Another key does not get in, nor does a password; nothing is logged."""
    stranger = tmp_path / "stranger"
    stranger.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    stranger.chmod(0o600)
    argv = ["ssh", "-F", str(running.directory / "ssh_config"), "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
    config = (running.directory / "ssh_config").read_text().replace("/client_key", "/../stranger")
    (tmp_path / "ssh_config").write_text(config)
    argv[2] = str(tmp_path / "ssh_config")
    done = subprocess.run([*argv, "embedded", "true"], capture_output=True, timeout=20, check=False)
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr
    assert (running.directory / "exec.log").read_text() == ""


def test_no_sftp(running: "RunningNode") -> None:
    """There is no SFTP subsystem."""

    async def run() -> None:
        async with running.connected() as connection:
            await connection.start_sftp_client()

    with pytest.raises(asyncssh.ChannelOpenError):
        asyncio.run(run())


def test_lost_connection_ends_input_not_the_process(running: "RunningNode") -> None:
    """When the client goes away the script gets EOF and goes on, until it writes."""
    script = "zfs set started; cat; zfs set after-eof; /bin/echo x || exit 1; zfs set after-write"

    async def run() -> None:
        async with running.connected() as connection:
            process = await connection.create_process(script)
            await process.stdout.readline()
            connection.abort()

    asyncio.run(run())
    line = running.log(1)[0]
    assert line["commands"] == [["zfs", "set", "started"], ["zfs", "set", "after-eof"]]
    assert (line["exit"], line["signal"]) == (None, None)
    assert running.commands.state == ["started", "after-eof"]


def test_log_is_there_before_the_exit_status(running: "RunningNode") -> None:
    """Whoever has the exit status finds the line."""

    async def run() -> list[int]:
        counts = []
        async with running.connected() as connection:
            for _ in range(20):
                await connection.run("zfs args x")
                counts.append(len((running.directory / "exec.log").read_text().splitlines()))
        return counts

    assert list(range(1, 21)) == asyncio.run(run())


def test_log_line(running: "RunningNode") -> None:
    """A line says what came in, what ran and what went out."""
    running.ssh("cat >/dev/null; zfs args '1 2'; pfexec stmfadm text out err 4", stdin=b"12345")
    line = running.log(1)[0]
    assert isinstance(line.pop("time"), float)
    expected = {
        "kind": "exec",
        "command": "cat >/dev/null; zfs args '1 2'; pfexec stmfadm text out err 4",
        "bytes_in": 5,
        "bytes_out": 13,
        "commands": [["zfs", "args", "1 2"], ["stmfadm", "text", "out", "err", "4"]],
        "exit": 4,
        "signal": None,
    }
    assert expected == line


def test_stub_arguments(running: "RunningNode") -> None:
    """Arguments of any kind arrive as they were given."""
    assert json.loads(running.ssh(f"zfs args {quoted(ODD)}").stdout) == ODD


def test_stub_arguments_of_any_bytes(running: "RunningNode") -> None:
    """Arguments that are no UTF-8 survive, in the log too."""
    got = json.loads(running.ssh("zfs args \"$(printf 'a\\377\\200')\"").stdout)
    assert got == ["a\udcff\udc80"]
    assert running.log(1)[0]["commands"] == [["zfs", "args", "a\udcff\udc80"]]


@pytest.mark.parametrize("size", [0, 1, 1000, 24_000, 30_000, 100_000, 1_000_000])
def test_stub_output(running: "RunningNode", size: int) -> None:
    """Output of any size is printed byte for byte on the right stream."""
    done = running.ssh(f"zfs big {size} {size // 2}")
    wanted = running.commands.run(["zfs", "big", str(size), str(size // 2)], condition="")
    assert (wanted.stdout.encode(), wanted.stderr.encode(), 3) == (done.stdout, done.stderr, done.returncode)


def test_stub_output_with_nul(running: "RunningNode") -> None:
    """NUL bytes, which bash cannot hold, get through."""
    done = running.ssh("zfs nul")
    assert (done.stdout, done.stderr, done.returncode) == (b"a\0b\n", b"\0", 4)


def test_stub_output_without_newline_and_with_backslashes(running: "RunningNode") -> None:
    """Nothing is trimmed, expanded or added."""
    text = "  \\t\\x41 %s\n\n lead é"
    done = running.ssh(f"zfs text {quoted([text, text])} 0")
    assert (text.encode(), text.encode()) == (done.stdout, done.stderr)


@pytest.mark.parametrize("size", [10, 100_000])
def test_stub_dies_of_a_closed_pipe(running: "RunningNode", size: int) -> None:
    """Like a real program, a stub whose reader is gone dies of SIGPIPE."""
    script = f"(sleep 0.01; zfs big {size} 0; echo $? >&2) | true"
    assert running.ssh(f"bash -c {quoted([script])}").stderr == b"141\n"


def test_stub_passes_its_standard_input(running: "RunningNode") -> None:
    """A command told to read /dev/stdin reads the caller's, and the log says what the caller said."""
    assert running.ssh("printf secret | itadm read /dev/stdin").stdout == b"secret"
    assert running.log(1)[0]["commands"] == [["itadm", "read", "/dev/stdin"]]


def test_stub_outside_ssh(running: "RunningNode") -> None:
    """Stubs work in any shell with DIR/bin on its path; no exec, no line."""
    environment = {"PATH": f"{running.directory}/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    argv = ["/bin/sh", "-c", "zfs args é; zfs set local"]
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=20, check=False)
    assert (done.stdout.decode(), done.stderr, done.returncode) == ('["\\u00e9"]set local\n', b"", 0)
    assert running.commands.state == ["local"]
    assert (running.directory / "exec.log").read_text() == ""


def test_stub_of_a_stopped_node(running: "RunningNode") -> None:
    """A stub says in one line that its node is gone."""
    running.stop()
    done = subprocess.run([running.directory / "bin" / "zfs", "list"], capture_output=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"zfs: the embedded node is not running\n", 69)


def test_defect_in_a_command(running: "RunningNode") -> None:
    """A command that raises is reported as a failure; the node goes on."""
    assert running.ssh("zfs crash").returncode == 70
    assert "RuntimeError: defect" in (running.directory / "node.log").read_text()
    assert running.ssh("zfs args").stdout == b"[]"


def test_privileges_and_uname(running: "RunningNode") -> None:
    """pfexec and sudo -n run their arguments; uname is a Solaris one."""
    done = running.ssh("pfexec zfs args a; sudo -n zfs args b; uname -s; uname -r; uname -v; uname")
    assert done.stdout == b'["a"]["b"]SunOS\n5.11\nomnios-r151050\nSunOS\n'
    assert running.ssh("uname -a").stdout == b"SunOS san1 5.11 omnios-r151050 i86pc i386 i86pc\n"


def test_gate_refuses_a_wrong_token(running: "RunningNode") -> None:
    """Without the token of DIR/gate no command runs; the file is for its owner alone."""
    gate = running.directory / "gate"
    assert gate.stat().st_mode & 0o777 == 0o600
    port = gate.read_text().split()[0]
    copy = running.directory / "bin" / "copy"
    copy.write_text((running.directory / "bin" / "zfs").read_text().replace(str(gate), str(gate) + ".x"))
    copy.chmod(0o755)
    (running.directory / "gate.x").write_text(f"{port} wrong\n")
    done = subprocess.run([copy, "set", "x"], capture_output=True, timeout=20, check=False, env={"PATH": os.defpath})
    assert (done.returncode, running.commands.state) == (69, [])
