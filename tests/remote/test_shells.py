"""The same script under every Bourne-like shell there is, whole and cut in transit."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote.errors import Unreachable
from remote.host import Host
from remote.local import LocalShell
from remote.script import Capture, Captured, Expect, Lock, Query, Script, Secret, Step, render
from remote.standing import StandingShell
from tests.remote.sshd import Key, Sshd, running_sshd, wait_until
from tests.remote.support import FLAVOURS, SSH_SHELLS, Node, ask, note, noted, sh, unnote

pytestmark = pytest.mark.slow
ODD = 'it\'s "q" `date` $HOME ${n} \\ \\n %s * [a] ! # ~ ; & | < > ( ) { }\ttab\n\n line\n'


def _missing(flavour: str) -> bool:
    return shutil.which(FLAVOURS[flavour][0]) is None


PARAMS = [
    pytest.param(name, marks=pytest.mark.skipif(_missing(name), reason=f"{FLAVOURS[name][0]} is not installed"))
    for name in FLAVOURS
]


@pytest.fixture(params=[False, True], ids=["once", "stay"])
def stay(request: pytest.FixtureRequest) -> bool:
    """Whether the script is for a shell that stays."""
    return bool(request.param)


@pytest.fixture(params=PARAMS)
def flavour(request: pytest.FixtureRequest) -> str:
    """The name of one kind of shell."""
    return str(request.param)


@pytest.fixture(params=[param for param in PARAMS if param.values[0] not in {"csh", "tcsh"}])
def parser(request: pytest.FixtureRequest) -> str:
    """The name of one kind of shell that reads the script itself, not just starts the one that does."""
    return str(request.param)


@pytest.fixture
def any_host(flavour: str) -> Host:
    """A host whose shell is of that kind."""
    return Host("node1", LocalShell(FLAVOURS[flavour]))


def _something_of_everything(at: Path) -> tuple[tuple[Step, ...], tuple[Query[str], ...]]:
    """Steps and questions that use every feature of a script; the last step fails."""
    busy = 'echo try >>"$1"; [ `grep -c try "$1"` -gt 1 ] && exit 0; echo "resource busy" >&2; exit 1'
    word = Captured("id", "it's=", ";")
    steps = (
        note(at, "a", undo=unnote(at, "-a")),
        note(at, "skipped", undo=unnote(at, "-skipped"), unless=("test", "-d", "/")),
        sh("echo exists >&2; exit 1", accept=("ex*ts",), undo=unnote(at, "-already")),
        sh(busy, str(at), retry=("busy",), undo=unnote(at, "-b")),
        sh("echo id: x-1; echo size 5", captures=(Capture("id", "s/id: //p"),), expect=(Expect("s/size //p", "5"),)),
        sh('echo "$2" >>"$1"', str(at), word, undo=("sh", "-c", 'echo "-$2" >>"$1"', "sh", str(at), word)),
        sh('cat "$1"', Secret("hush ' $HOME"), refuse=("[x]",), silent=True),
        sh("printf out; printf err >&2", silent=True, undo=unnote(at, "-failed")),
        note(at, "late"),
    )
    queries = (
        Query(("printf", "%s", ODD), str),
        ask("echo id: 7; exit 3", absent=("nothing",)),
        ask("echo id: 8", captures=(Capture("new", "s/id: //p"),)),
        ask('echo "<$1>"', Captured("new"), needs="new"),
        ask('echo "<$1>"', Captured("none"), needs="none"),
    )
    return steps, queries


def test_every_feature_under_every_shell(any_host: Host, tmp_path: Path, lock: Lock) -> None:
    """Order, undo, retry, expect, captures, secrets, questions and the lock are the same under all of them."""
    at = tmp_path / "n"
    steps, queries = _something_of_everything(at)
    outcome = any_host.run(steps, then=queries, lock=lock)
    assert ["a", "try", "try", "it's=x-1;", "-it's=x-1;", "-b", "-a"] == noted(at)
    assert (7, 255, "out", "err") == (outcome.failed_step, *_ended(outcome.steps[7]))
    assert ["done", "skip", "already"] == [outcome.steps[i].how for i in range(3)]
    assert "hush ' $HOME\n" == outcome.steps[6].stdout
    assert [ODD, None, "id: 8\n", "<8>\n", ""] == [answer.value for answer in outcome.answers]
    assert not os.path.lexists(lock.path)


def _ended(ended: object) -> tuple[object, ...]:
    return tuple(getattr(ended, name) for name in ("exit", "stdout", "stderr"))


def test_commands_read_nothing_of_the_script(any_host: Host, tmp_path: Path) -> None:
    """A shell that reads a script bit by bit would let a command read on; its stdin is empty instead."""
    cat = ("cat",)
    undo = ("sh", "-c", 'cat >"$1"', "sh", str(tmp_path / "read"))
    steps = (Step(cat, undo=undo), Step(("test", "x"), unless=("grep", "")), Step(("false",)))
    outcome = any_host.run(steps, then=(Query(cat, str),))
    assert ("", "done", 2, "") == (
        outcome.steps[0].stdout,
        outcome.steps[1].how,
        outcome.failed_step,
        outcome.answers[0].get(),
    )
    assert b"" == (tmp_path / "read").read_bytes()


def test_every_feature_in_a_shell_that_stays(flavour: str, tmp_path: Path, lock: Lock) -> None:
    """The same once more, two scripts at a time, in one and the same shell; nothing of a script is left in it."""
    shell, at = StandingShell(LocalShell(("env", f"TMPDIR={tmp_path}", *FLAVOURS[flavour]))), tmp_path / "n"
    steps, queries = _something_of_everything(at)
    holder = ask('readlink "$1"; : "$1"', lock.path)
    script = Script(steps, (*queries, holder), replace(lock, wait=0), scratch=str(tmp_path))
    after = Script((), (ask('echo "<$1>"', Captured("new"), needs="id"), ask("echo $PPID; umask; echo $TMPDIR")))
    shells = set()
    for _ in range(3):
        at.unlink(missing_ok=True)
        heard = shell.ask((script, after), deadline=time.monotonic() + 20)
        assert ["", ""] == [one.trouble for one in heard]
        said = heard[0].transcript
        assert ["a", "try", "try", "it's=x-1;", "-it's=x-1;", "-b", "-a"] == noted(at)
        assert (7, 255, "out", "err") == (said.failed, *_ended(said.steps[7]))
        assert [ODD, "id: 7\n", "id: 8\n", "<8>\n", ""] == [said.queries[i].stdout for i in range(5)]
        number, _, owner = said.queries[5].stdout.partition(":")
        assert f"{lock.owner}\n" == owner
        shells.add(number)
        assert "" == heard[1].transcript.queries[0].stdout
        assert str(tmp_path) == heard[1].transcript.queries[1].stdout.splitlines()[2]
        assert (False, [at]) == (os.path.lexists(lock.path), list(tmp_path.iterdir()))
    assert 1 == len(shells)
    shell.close()


def test_a_lock_in_a_shell_that_stays(flavour: str, lock: Lock) -> None:
    """A living holder is told, a script that was killed holds nothing up, and neither costs the shell."""
    shell, mine = StandingShell(LocalShell(FLAVOURS[flavour])), Script((), (ask("echo x"),), replace(lock, wait=0))
    Path(lock.path).symlink_to(f"{os.getpid()}:bert@dom0")
    (held,) = shell.ask((mine,), deadline=time.monotonic() + 20)
    assert (f"{lock.path} {os.getpid()}:bert@dom0", {}) == (held.transcript.holder, held.transcript.queries)
    Path(lock.path).unlink()
    kill = replace(mine, queries=(ask("kill -9 $PPID; sleep 5"),))
    (killed,) = shell.ask((kill,), deadline=time.monotonic() + 20)
    assert killed.trouble.startswith("the script broke off: ")
    assert os.path.lexists(lock.path)
    for _ in range(2):
        (heard,) = shell.ask((mine,), deadline=time.monotonic() + 20)
        assert "x\n" == heard.transcript.queries[0].stdout
        assert not os.path.lexists(lock.path)
    shell.close()


@pytest.mark.parametrize("stop", ["TERM", "HUP", "PIPE"])
def test_a_signal_to_a_script_in_a_shell_that_stays(flavour: str, tmp_path: Path, stop: str) -> None:
    """It is left to the script, which stops and undoes, or ignores it; the next one runs in any case."""
    shell, at = StandingShell(LocalShell(FLAVOURS[flavour])), tmp_path / "n"
    steps = (note(at, "a", undo=unnote(at, "-a")), sh(f"kill -{stop} $PPID; sleep 0.1"), note(at, "late"))
    (heard,) = shell.ask((Script(steps, (ask("echo asked"),)),), deadline=time.monotonic() + 20)
    assert ["a", "-a" if stop == "TERM" else "late"] == noted(at)
    assert ("", "asked\n") == (heard.trouble, heard.transcript.queries[0].stdout)
    (heard,) = shell.ask((Script((), (ask("echo x"),)),), deadline=time.monotonic() + 20)
    assert "x\n" == heard.transcript.queries[0].stdout
    shell.close()


def test_bytes_under_every_shell(any_host: Host, tmp_path: Path) -> None:
    """Every byte there is comes back on both streams."""
    (tmp_path / "data").write_bytes(bytes(range(256)))
    ended = any_host.run((sh('cat "$1"; cat "$1" >&2', str(tmp_path / "data")),)).must().steps[0]
    assert (bytes(range(256)),) * 2 == tuple(
        text.encode("utf-8", "surrogateescape") for text in (ended.stdout, ended.stderr)
    )


def test_a_script_cut_in_transit_runs_nothing(flavour: str, tmp_path: Path, stay: bool) -> None:
    """Whatever is missing at its end, no step, undo or question runs: the shell has half a brace group."""
    shell, at = LocalShell(FLAVOURS[flavour]), tmp_path / "n"
    script = _marking(at, stay=stay)
    for cut in _cuts(script, 37):
        shell.feed(script[:cut], timeout=10)
        assert not at.exists(), script[:cut].decode()[-60:]
    shell.feed(script, timeout=10)
    assert ["step", "undo", "query"] == noted(at)


def test_a_script_cut_on_the_way_to_a_node_runs_nothing(node: Node, tmp_path: Path, stay: bool) -> None:
    """The same through each way to a node; and nothing is claimed to have run."""
    at = tmp_path / "n"
    script = _marking(at, stay=stay)
    for cut in _cuts(script, 37 * 7):
        spoken = node.shell.feed(script[:cut], timeout=10)
        assert (False, b"") == (at.exists(), spoken.stdout)


def _marking(at: Path, *, stay: bool) -> bytes:
    steps = (note(at, "step", undo=unnote(at, "undo")), Step(("cat", Secret("x"))), Step(("false",)))
    script = Script(steps, (Query(unnote(at, "query"), str),), become=())
    return render(script, "xvm" + uuid.uuid4().hex, stay=stay).encode()


def _cuts(script: bytes, every: int) -> list[int]:
    """Places to cut at, and the last one possible: just before the brace, or parenthesis, that ends the group."""
    end = max(script.rfind(b"\n}\n"), script.rfind(b"\n) ")) + 1
    return [*range(0, end, every), end]


def test_a_shell_that_cannot_be_started() -> None:
    """One line that names it, and nothing has run."""
    with pytest.raises(Unreachable, match=r"^cannot start no-such-shell: No such file or directory$"):
        Host("node1", LocalShell(("no-such-shell",))).run(())


@pytest.mark.parametrize("argv", [("false",), ("sh", "-c", "cat >/dev/null; echo not here >&2; exit 1")])
def test_a_login_without_a_shell(argv: tuple[str, ...]) -> None:
    """What is no shell runs nothing, and is told apart from a session that broke."""
    with pytest.raises(Unreachable, match=r"^node1: no usable /bin/sh there, nothing was run: "):
        Host("node1", LocalShell(argv)).run((sh("echo x"),))


def test_no_private_directory(tmp_path: Path) -> None:
    """A node whose /tmp is full or gone runs nothing, and says why."""
    shell = LocalShell(("env", f"TMPDIR={tmp_path}/none", "/bin/sh"))
    with pytest.raises(Unreachable, match=r"nothing was run: .*No such file or directory"):
        Host("node1", shell).run((note(tmp_path / "n", "x"),))
    assert [] == noted(tmp_path / "n")


# --- any word at all -------------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_BYTES = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
_SYNTAX = st.text(" \t\n'\"`$\\{}()[]*?!#~;&|<>=-%0aé", max_size=12)
_ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=40)
_FEW = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


def _words(flavour: str) -> st.SearchStrategy[list[str]]:
    # yash reads characters, not bytes, and has none beyond ASCII under LC_ALL=C.
    word = _ASCII if flavour == "yash" else st.one_of(_TEXT, _BYTES, _SYNTAX)
    return st.lists(word, min_size=30, max_size=60)


@_FEW
@given(data=st.data())
def test_any_word_comes_back_unchanged(parser: str, data: st.DataObject) -> None:
    """No text, and no bytes, mean anything to the shell; many in one script."""
    words = data.draw(_words(parser))
    answers = Host("node1", LocalShell(FLAVOURS[parser])).ask([Query(("printf", "%s", word), str) for word in words])
    assert _as_bytes(words) == _as_bytes([answer.get() for answer in answers])


@_FEW
@given(data=st.data())
def test_any_word_of_an_expectation_and_of_a_pattern(parser: str, data: st.DataObject) -> None:
    """What is printed is found as what is expected, and in a pattern every character but ``*`` means itself."""
    words = [word.replace("*", "+").rstrip("\n") for word in data.draw(_words(parser))]
    host = Host("node1", LocalShell(FLAVOURS[parser]))
    steps = [Step(("printf", "%s\\n", word), expect=(Expect("p", word),), refuse=(f"x{word}y",)) for word in words]
    host.run(steps).must()
    for word in words[:3]:
        refused = host.run((Step(("printf", "%s", f"<<{word}>>"), refuse=("no", f"<{word}>")),))
        assert 0 == refused.failed_step, word


@_FEW
@given(secrets=st.lists(st.one_of(_ASCII, _SYNTAX.filter(str.isascii)), min_size=20, max_size=40))
def test_any_secret_comes_back_unchanged(secrets: list[str]) -> None:
    """A here-document takes whatever is in it as it is."""
    answers = Host("node1", LocalShell()).ask([Query(("cat", Secret(secret)), str) for secret in secrets])
    assert _as_bytes([secret + "\n" for secret in secrets]) == _as_bytes([answer.get() for answer in answers])


def _as_bytes(words: list[str]) -> list[bytes]:
    return [word.encode("utf-8", "surrogateescape") for word in words]


# --- login shells ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _temporary_user(shell: str) -> Iterator[tuple[str, Path]]:
    """A user of this machine with that login shell, and its home directory."""
    name, home = f"xvmt{uuid.uuid4().hex[:8]}", Path(tempfile.mkdtemp(prefix="xvmstore-test-"))
    made = ["useradd", "-N", "-M", "-p", "*", "-d", str(home), "-s", shell, name]
    try:
        subprocess.run(made, check=True, capture_output=True)
        try:
            shutil.chown(home, name)
            yield name, home
        finally:
            # It is still logged in until its last process has ended.
            wait_until(lambda: subprocess.run(["userdel", name], check=False, capture_output=True).returncode == 0)
    finally:
        shutil.rmtree(home)


@pytest.mark.sshd
@pytest.mark.parametrize("shell", ["csh", "tcsh"])
def test_users_of_the_c_shell(shell: str, ssh_kind: str, keys: dict[str, Key], tmp_path: Path, sshd: Sshd) -> None:
    """A login whose shell is csh or tcsh, and talks a lot, gets everything right as well."""
    program = shutil.which(shell)
    if os.getuid() != 0 or not program or not shutil.which("useradd"):
        pytest.skip(f"needs root, useradd and {shell}, to make a user whose login shell it is")
    with _temporary_user(program) as (user, home):
        (home / "authorized_keys").write_text(keys["login"].public + "\n")
        (home / ".cshrc").write_text("echo Welcome, tenez\nsh -c 'echo noise >&2'\n")
        options = ("AuthorizedKeysFile %h/authorized_keys", f"SetEnv HOME={home}")
        with running_sshd(tmp_path / "s", host_key=keys["host"], login_key=keys["login"], options=options) as server:
            _check_a_talkative_login(ssh_kind, server, user, home)


@pytest.mark.sshd
def test_a_talkative_login(ssh_kind: str, keys: dict[str, Key], tmp_path: Path, sshd: Sshd) -> None:
    """What .bashrc and its like say, on either stream, is no part of any answer."""
    home = tmp_path / "home"
    home.mkdir()
    for name in (".bashrc", ".zshenv", ".cshrc", ".kshrc"):
        (home / name).write_text("echo Welcome; sh -c 'echo noise >&2'; printf 'no newline'\n")
    with running_sshd(tmp_path / "s", host_key=keys["host"], login_key=keys["login"], home=home) as server:
        _check_a_talkative_login(ssh_kind, server, getpass.getuser(), home)


def _check_a_talkative_login(kind: str, server: Sshd, user: str, home: Path) -> None:
    shell = SSH_SHELLS[kind](server.address(user=user))
    try:
        raw = shell.feed(b"{\n:\n}\nexit\n", timeout=10)
        assert (True, True) == (b"Welcome" in raw.stdout, b"noise" in raw.stderr)
        at = home / "n"
        steps, queries = _something_of_everything(at)
        outcome = Host("node1", shell).run(steps, then=queries)
        assert ["a", "try", "try", "it's=x-1;", "-it's=x-1;", "-b", "-a"] == noted(at)
        assert (7, 255, "out", "err") == (outcome.failed_step, *_ended(outcome.steps[7]))
        assert [ODD, None, "id: 8\n", "<8>\n", ""] == [answer.value for answer in outcome.answers]
    finally:
        shell.close()
