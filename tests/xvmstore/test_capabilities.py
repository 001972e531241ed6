"""``backend = "auto"``: one trip where the guess or the memory is right, nothing done where it is wrong.

The node is this machine with a few tools of another system first on its PATH; every trip to it is counted.
"""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remote.errors import ConfigError, QueryFailed, Refused, StepFailed, XvmError
from remote.host import Spoken
from remote.local import LocalShell
from remote.script import Query, Step
from storage.pool import pools
from tests.machines import DAEMON, ILLUMOS, MACHINES, TARGET, Machine, install
from xvmstore import config, surprises
from xvmstore.capabilities import EXPIRES, Cache
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.surprises import Surprised, begins_anew

TABLE = """\
[nodes.san1]
host = "san1"
transport = "local"
base = "tank/xvm"
portals = ["192.0.2.1:3260"]
"""
HELLO = Query(("echo", "hello"), str.strip)


class World:
    """A node that can be turned into another, what was sent to it, and the configuration that names it."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.file, self.made = folder / "bin", folder / "config.toml", folder / "made"
        self.caches = folder / "cache" / "xvmstore"
        self.scripts: list[str] = []
        self.configure()

    def becomes(self, machine: Machine) -> None:
        """From now on it is this."""
        for path in self.bin.glob("*"):
            path.unlink()
        install(machine, self.bin)

    def configure(self, lines: str = "") -> None:
        """With these lines more in its table."""
        self.file.write_text(f"{TABLE}{lines}\n")

    def node(self) -> StorageNode:
        """As a new run of the command line has it."""
        return StorageNode("san1", config.read(self.file))

    def plan(self, node: StorageNode, *steps: Step) -> Plan:
        """Something is made."""
        make = Step(("touch", str(self.made)), undo=("rm", str(self.made)))
        return Plan.of(node.lock("web1"), ("make", (make,)), ("rest", steps))

    def trips(self) -> int:
        """Since it was asked last."""
        count = len(self.scripts)
        self.scripts.clear()
        return count

    def kept(self) -> dict[str, Any]:
        """What is remembered of the node."""
        (file,) = self.caches.glob("*.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def grow_old(self, seconds: float) -> None:
        """What is remembered was found out so long ago."""
        (file,) = self.caches.glob("*.json")
        file.write_text(json.dumps(self.kept() | {"when": time.time() - seconds}))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An illumos node that nobody has ever looked at."""
    found = World(tmp_path)
    monkeypatch.setenv("PATH", f"{found.bin}:/usr/bin:/bin")
    monkeypatch.setenv("XVMSTORE_LOCKS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    feed = LocalShell.feed

    def counted(shell: LocalShell, script: bytes, *, timeout: float) -> Spoken:
        found.scripts.append(script.decode())
        return feed(shell, script, timeout=timeout)

    monkeypatch.setattr(LocalShell, "feed", counted)
    found.becomes(ILLUMOS)
    return found


def test_a_right_guess_is_one_trip(world: World) -> None:
    """Nothing is known, and yet the steps go with the first trip; what is found out is remembered."""
    node = world.node()
    outcome = node.run(world.plan(node), then=[HELLO])
    assert (1, True, "hello") == (world.trips(), world.made.exists(), outcome.answers[0].get())
    assert (None, None, [0]) == (outcome.failure, outcome.failed_step, list(outcome.steps))
    found = node.capabilities
    assert found is not None
    assert ("comstar", "illumos", ILLUMOS.uname) == (found.backend, found.release, found.system)
    assert ILLUMOS.uname in world.kept()["said"]


def test_who_calls_sees_no_guard(world: World) -> None:
    """Steps and answers have the numbers they have in the plan."""
    node = world.node()
    plan = world.plan(node, Step(("false",)))
    outcome = node.run(plan, then=[HELLO])
    assert ("rest", 1, [0, 1]) == (plan.failed_role(outcome), outcome.failed_step, list(outcome.steps))
    assert isinstance(outcome.failure, StepFailed)
    assert not world.made.exists()
    assert ["hello", "hello"] == [one.get() for one in node.ask([HELLO, HELLO])]
    assert "hello" == node.ask_one(HELLO)


@pytest.mark.parametrize("how", ["run", "ask"])
@pytest.mark.parametrize("name", ["sxce-b85", "b111-comstar", "debian"])
def test_a_wrong_guess_does_nothing(world: World, how: str, name: str) -> None:
    """The first trip finds out; the next, and every later run, is right at once."""
    world.becomes(MACHINES[name])
    if name == "b111-comstar":
        world.configure('layout = "shared-target"\ntarget = "iqn.2026-11.org.example:all"')
    node = world.node()
    call: Callable[[], object] = (lambda: node.run(world.plan(node))) if how == "run" else (lambda: node.ask([HELLO]))
    with pytest.raises(Surprised, match="nothing was done; run the same command again"):
        call()
    assert (1, False) == (world.trips(), world.made.exists())
    wanted = {"sxce-b85": "b85", "b111-comstar": "b111", "debian": "linux"}[name]
    assert wanted == node.release
    call()
    assert wanted == world.node().release
    world.node().ask([HELLO])
    assert 2 == world.trips()


def test_the_next_run_looks_at_the_name_only(world: World) -> None:
    """While it is the system it was, no tool is asked anything."""
    world.node().ask([HELLO])
    world.trips()
    world.node().ask([HELLO])
    node = world.node()
    node.run(world.plan(node))
    assert ["create-lu" in script for script in world.scripts] == [False, False]
    assert 2 == world.trips()


@pytest.mark.parametrize("age", [EXPIRES + 1, -3600.0])
def test_what_is_old_is_looked_at_anew(world: World, age: float) -> None:
    """After a week, or by a clock that was wrong, the whole is asked in the same trip, and remembered anew."""
    world.node().ask([HELLO])
    world.grow_old(age)
    world.trips()
    node = world.node()
    node.run(world.plan(node))
    assert "create-lu" in world.scripts[0]
    assert 1 == world.trips()
    assert 5 > abs(time.time() - world.kept()["when"])


def test_what_another_version_kept(world: World) -> None:
    """It told other things of ZFS apart: its file is as good as none, and is written anew by the next run."""
    world.node().ask([HELLO])
    (file,) = world.caches.glob("*.json")
    ours = world.kept()
    theirs = ours["said"].replace("\nzfs ", "\nzfs holds ")
    file.write_text(json.dumps(ours | {"said": theirs}))
    world.trips()
    node = world.node()
    assert node.capabilities is None
    assert ["hello"] == [one.get() for one in node.ask([HELLO])]
    assert (1, ours["said"]) == (world.trips(), world.kept()["said"])


def test_another_system_after_an_upgrade(world: World) -> None:
    """One trip that does nothing, one that finds out what it is now; then all is as if it had always been that."""
    world.becomes(MACHINES["sxce-b85"])
    first = world.node()
    with pytest.raises(Surprised):
        first.ask([HELLO])
    world.trips()
    world.becomes(ILLUMOS)
    node = world.node()
    assert "b85" == node.release
    with pytest.raises(Surprised):
        node.run(world.plan(node))
    assert (2, False, "illumos") == (world.trips(), world.made.exists(), node.release)
    node.run(world.plan(node))
    assert (1, True) == (world.trips(), world.made.exists())


def test_another_system_in_the_middle(world: World) -> None:
    """What was begun on one system is not gone on with on another; the next run finds out what it is now."""
    node = world.node()
    node.ask([HELLO])
    world.becomes(MACHINES["solaris-11.4"])
    with pytest.raises(Refused, match=r"san1 is not the system it was when this began: it was .*; nothing was done"):
        node.run(world.plan(node))
    assert not world.made.exists()
    assert [] == list(world.caches.glob("*.json"))


def test_where_it_depends_on_what_runs(world: World) -> None:
    """With both programs there the name says nothing: services are looked at each time."""
    world.becomes(MACHINES["b134"])
    with pytest.raises(Surprised):
        world.node().ask([HELLO])
    assert "b134" == world.node().release
    world.becomes(replace(MACHINES["b134"], services={TARGET: "disabled", DAEMON: "online"}))
    node = world.node()
    with pytest.raises(Surprised):
        node.ask([HELLO])
    assert "b85" == node.release


SAID = {
    "echo \"unrecognized command 'hold'\" >&2; exit 2": True,
    "echo \"cannot create 'a': invalid property 'b'\" >&2; exit 1": True,
    "no-such-program-here": True,
    "echo 'dataset is busy' >&2; exit 1": False,
}


@pytest.mark.parametrize("text", [*SAID, 'echo "stmfadm: invalid subcommand"; exit 1'])
def test_a_step_that_the_tool_does_not_know(world: World, text: str) -> None:
    """The error stays as it is; the next run looks at everything again."""
    node = world.node()
    failure = node.run(world.plan(node, Step(("sh", "-c", text, "x")))).failure
    assert isinstance(failure, StepFailed)
    assert SAID.get(text, True) is (world.node().capabilities is None)


@pytest.mark.parametrize("text", SAID)
def test_a_question_that_the_tool_does_not_know(world: World, text: str) -> None:
    """Likewise."""
    with pytest.raises(QueryFailed):
        world.node().ask_one(Query(("sh", "-c", text, "x"), str))
    assert SAID[text] is (world.node().capabilities is None)


def test_pools_are_asked_for_in_the_words_of_any_release(world: World) -> None:
    """Ways to ask that it does not know are to fail: that is no surprise."""
    world.becomes(ILLUMOS)
    unknown = "*allocated*) echo \"bad property list: invalid property 'allocated'\" >&2; exit 2 ;;"
    (world.bin / "zpool").write_text(
        f"#!/bin/sh\ncase $* in\n{unknown}\nesac\nprintf 'a\\t1T\\t1G\\t1T\\t1%%\\tONLINE\\n'\n"
    )
    (world.bin / "zpool").chmod(0o755)
    assert ["a"] == [one.name for one in world.node().ask_one(pools())]
    assert world.node().capabilities is not None


def test_what_the_system_cannot_do(world: World) -> None:
    """A configuration that fits no such system is found out before anything is changed."""
    world.becomes(MACHINES["b111-comstar"])
    node = world.node()
    with pytest.raises(ConfigError, match=r"\[nodes.san1\]: release b111 cannot do layout target-per-volume"):
        node.run(world.plan(node))
    assert not world.made.exists()


def test_no_guess_is_made_that_cannot_be(world: World) -> None:
    """Only LIO knows ``listen``: so it is taken to be LIO, and one trip does."""
    world.becomes(MACHINES["debian"])
    world.configure('listen = ["0.0.0.0:3260"]')
    node = world.node()
    node.run(world.plan(node))
    assert (1, True, "linux") == (world.trips(), world.made.exists(), node.release)
    world.becomes(ILLUMOS)
    with pytest.raises(ConfigError, match="listen: backend comstar has no such thing"):
        world.node().ask([HELLO])


def test_a_system_nobody_knows(world: World) -> None:
    """It says what was found, and what to set."""
    world.becomes(MACHINES["freebsd"])
    with pytest.raises(Refused, match=r"san1: FreeBSD .*set backend and release in \[nodes.san1\]"):
        world.node().ask([HELLO])


def test_rights_are_found_out(world: World) -> None:
    """With become = "auto" pfexec is put before commands where it helps, and nowhere else."""
    world.becomes(replace(ILLUMOS, user="uid=101(xvm)", profiles="Primary Administrator"))
    (world.bin / "pfexec").write_text('#!/bin/sh\necho "as root: $*"\n')
    world.configure('become = "auto"')
    asked, node = world.node(), world.node()
    with pytest.raises(Surprised):
        asked.ask([HELLO])
    Cache("san1", node.settings).drop()
    with pytest.raises(Surprised):
        node.run(world.plan(node))
    assert ("as root: echo hello", "pfexec") == (node.ask_one(HELLO), node.become)
    assert "pfexec" == node.needs().become
    world.configure('become = "sudo"')
    assert "sudo" == world.node().become


def test_a_configured_backend_is_asked_nothing(world: World) -> None:
    """Neither looked at nor remembered."""
    world.configure('backend = "comstar"')
    world.becomes(MACHINES["debian"])
    node = world.node()
    node.run(world.plan(node), then=[HELLO])
    assert ("illumos", None) == (node.release, node.capabilities)
    assert ["uname" in script for script in world.scripts] == [False]
    assert not world.caches.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": [], "when": 0, "said": ""}', "\udcff"])
def test_a_cache_that_makes_no_sense(world: World, text: str) -> None:
    """As good as none; the next run puts it right."""
    world.node().ask([HELLO])
    (file,) = world.caches.glob("*.json")
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert world.node().capabilities is None
    world.node().ask([HELLO])
    assert world.node().capabilities is not None


@pytest.mark.parametrize("change", [{"when": "soon"}, {"said": 1}, {"key": ["san2"]}, {"when": None}])
def test_a_cache_with_odd_values(world: World, change: dict[str, object]) -> None:
    """Of another node, or of no form that we write: not believed."""
    world.node().ask([HELLO])
    (file,) = world.caches.glob("*.json")
    file.write_text(json.dumps(world.kept() | change))
    assert world.node().capabilities is None


def test_a_cache_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then every run looks at everything, and nobody is told."""
    (world.file.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.file.parent / "file"))
    for _ in range(2):
        node = world.node()
        node.run(world.plan(node))
    assert ["create-lu" in script for script in world.scripts] == [True, True]


def test_the_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its owner reads it, nothing else is left beside it; without XDG_CACHE_HOME it is in ~/.cache."""
    world.node().ask([HELLO])
    (file,) = world.caches.iterdir()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(world.file.parent))
    cache = Cache("san1", world.node().settings)
    assert world.file.parent / ".cache" / "xvmstore" == cache.path.parent


@pytest.mark.parametrize("line", ['user = "xvm"', "port = 2222", 'ssh_options = ["Port=23"]', 'ssh_config = "/x"'])
def test_reached_otherwise_it_may_be_another(world: World, line: str) -> None:
    """What is remembered is of a machine as it is reached."""
    world.node().ask([HELLO])
    world.configure(line)
    assert world.node().capabilities is None


def test_settle(world: World) -> None:
    """One trip where nobody has looked; none where that was lately."""
    world.becomes(MACHINES["debian"])
    world.node().settle()
    node = world.node()
    node.settle()
    assert (1, "linux") == (world.trips(), node.release)


# -- beginning anew ----------------------------------------------------------------------------------------------------


@begins_anew
class Calls:
    """Public methods over one node."""

    def __init__(self, world: World) -> None:
        self.world, self.node, self.calls = world, world.node(), 0

    def make(self, words: Iterator[str] | None = None) -> tuple[str, ...]:
        """A change; gives back what it was told the last time it was begun."""
        self.calls += 1
        told = tuple(words or ())
        self.node.run(self.world.plan(self.node))
        return told

    def make_both(self) -> str:
        """One that calls another."""
        release = self.node.release
        self.make()
        return release

    def plan_make(self) -> str:
        """What it would be made for."""
        return self.node.release


def test_a_call_begins_anew_once(world: World) -> None:
    """Two trips in all, and what can be gone through only once is there the second time too."""
    world.becomes(MACHINES["sxce-b85"])
    calls = Calls(world)
    assert ("a", "b") == calls.make(iter("ab"))
    assert (2, 2, True) == (calls.calls, world.trips(), world.made.exists())
    assert () == calls.make()
    assert (3, 1) == (calls.calls, world.trips())


def test_the_outer_call_begins_anew(world: World) -> None:
    """What it made of a wrong guess goes, too."""
    world.becomes(MACHINES["sxce-b85"])
    assert "b85" == Calls(world).make_both()


def test_a_plan_is_right(world: World) -> None:
    """What is only to be shown makes no trip that could tell: so the node is asked first, unless it is known."""
    world.becomes(MACHINES["sxce-b85"])
    assert ("b85", 1) == (Calls(world).plan_make(), world.trips())
    assert ("b85", 0) == (Calls(world).plan_make(), world.trips())
    assert not world.made.exists()


def test_it_begins_anew_no_more_than_once(world: World) -> None:
    """A node that is another system each time is refused."""
    turns = iter((MACHINES["sxce-b85"], MACHINES["debian"], MACHINES["solaris-11.4"], MACHINES["omnios"]))

    @begins_anew
    class Turning:
        def go(self, node: StorageNode) -> None:
            world.becomes(next(turns))
            node.ask([HELLO])

    with pytest.raises(Refused, match="not the system it was"):
        Turning().go(world.node())


def test_a_surprise_is_one_line(world: World) -> None:
    """Whoever uses a node without begins_anew is told what to do."""
    world.becomes(MACHINES["debian"])
    with pytest.raises(XvmError) as error:
        world.node().ask([HELLO])
    assert "\n" not in str(error.value)
    assert not surprises.planning()
    assert os.environ["XDG_CACHE_HOME"].startswith(str(world.file.parent))
