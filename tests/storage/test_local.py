"""Snapshots of this machine: both backends are told the same story, and must end it the same way.

The command line runs against a ``zfs`` on PATH that prints recorded texts and refuses every command it was not told of;
libzfs_core is a stand-in with OpenZFS's classes (contrib/pyzfs/libzfs_core/exceptions.py) that raises what it is told.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from remote.errors import InvalidValue, UnexpectedOutput
from storage import local
from storage.local_errors import failures
from tests.captured_cases import stderr

VM1, VM2 = "tank/vm1@pre", "tank/vm2@pre"
_ZFS = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(sys.argv[0]).parent
command = " ".join(sys.argv[1:])
with open(here / "calls", "a") as calls:
    calls.write(command + "\\n")
told = json.loads((here / "told").read_text())
if command not in told:
    sys.exit(f"zfs: was not told of: {{command}}")
code, out, err = told[command]
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
Told = Mapping[str, tuple[int, str, str]]


class ZFSError(Exception):
    """Root of libzfs_core's exceptions."""

    errno = 0


class FakeLzc(ModuleType):
    """libzfs_core with scripted answers: a value, an exception, or a function of the arguments."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__("libzfs_core")
        self.exceptions = SimpleNamespace(ZFSError=ZFSError)
        self.lzc_channel_program = None
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        for name in ("snapshot", "hold", "release", "destroy_snaps", "rollback_to", "exists", "get_holds"):
            setattr(self, f"lzc_{name}", self._answer(name, answers))

    def _answer(self, name: str, answers: Mapping[str, Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            answer = answers.get(name, [] if name in {"hold", "release"} else True if name == "exists" else None)
            answer = answer(*arguments) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def lzc_error(kind: str, name: str | None = None, *, errno: int = 0) -> Exception:
    """One exception of libzfs_core; its names are bytes."""
    error: Any = type(kind, (ZFSError,), {"errno": errno})(kind)
    error.name = name.encode() if name else None
    return error  # type: ignore[no-any-return]


def several(kind: str, *errors: Exception) -> Exception:
    """What operations on many snapshots raise."""
    error: Any = type(kind, (ZFSError,), {})(kind)
    error.errors = errors
    return error  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Story:
    """What is asked, what `zfs` says and what libzfs_core does then, and how it ends on both."""

    ask: Callable[[local.Snapshots], None]
    told: Told
    lzc: Mapping[str, Any]
    error: type[local.ZfsError]
    names: tuple[str, ...]
    undone: tuple[str, ...] = ()
    never: str = "never-mind"
    message: str = field(default="")


def no(*lines: str) -> tuple[int, str, str]:
    """A command that fails with these lines on stderr."""
    return 1, "", "".join(f"{line}\n" for line in lines)


def recorded(case: str, code: int = 1) -> tuple[int, str, str]:
    """What a recorded command said on stderr."""
    return code, "", stderr("zfs-errors", case)


OK = (0, "", "")
# Seen on OpenZFS 2.3: of nobody in particular, and its name is a text (test_local.py of the lab tells the whole story).
NO_RIGHTS = lzc_error("ZFSGenericError", errno=1)
NO_RIGHTS.name = "Failed to do it"  # type: ignore[attr-defined]
GET = "get -Hp -o name,property,value userrefs,clones"
FREE = (0, f"{VM1}\tuserrefs\t0\n{VM1}\tclones\t\n", "")
STORIES = {
    "a name is taken": Story(
        lambda zfs: zfs.snapshot([VM1, VM2], {}),
        {f"snapshot {VM1} {VM2}": recorded("snapshot exists, several or -r")},
        {"snapshot": several("SnapshotFailure", lzc_error("SnapshotExists", VM1))},
        local.Exists,
        (VM1,),
        message="tank/vm1@pre: exists already",
    ),
    "two datasets are missing": Story(
        lambda zfs: zfs.snapshot(["tank/nope@pre", "tank/gone@pre", VM1], {}),
        {
            f"snapshot tank/nope@pre tank/gone@pre {VM1}": recorded("snapshot of missing dataset", 2),
            "list -H -o name tank/nope tank/gone tank/vm1": (
                1,
                "tank/vm1\n",
                "cannot open 'tank/nope': dataset does not exist\ncannot open 'tank/gone': dataset does not exist\n",
            ),
        },
        {
            "snapshot": several(
                "SnapshotFailure",
                lzc_error("FilesystemNotFound", "tank/nope@pre"),
                lzc_error("FilesystemNotFound", "tank/gone@pre"),
            )
        },
        local.Missing,
        ("tank/gone", "tank/nope"),
    ),
    "the pool is full": Story(
        lambda zfs: zfs.snapshot([VM1], {}),
        {f"snapshot {VM1}": no(f"cannot create snapshot '{VM1}': out of space", "no snapshots were created")},
        {"snapshot": several("SnapshotFailure", lzc_error("NoSpace", VM1))},
        local.NoSpace,
        (VM1,),
    ),
    "no rights": Story(
        lambda zfs: zfs.snapshot([VM1, VM2], {}),
        {f"snapshot {VM1} {VM2}": no("cannot create snapshots : permission denied", "no snapshots were created")},
        {"snapshot": several("SnapshotFailure", NO_RIGHTS)},
        local.NoRights,
        (VM1, VM2),
    ),
    "no rights on one, told by its name": Story(
        lambda zfs: zfs.snapshot([VM1], {}),
        {f"snapshot {VM1}": no(f"cannot create snapshot '{VM1}': permission denied")},
        {"snapshot": several("SnapshotFailure", NO_RIGHTS)},
        local.NoRights,
        (VM1,),
    ),
    "no rights to hold": Story(
        lambda zfs: zfs.hold([VM1, VM2], "xvm"),
        {f"hold xvm {name}": no("cannot hold: permission denied") for name in (VM1, VM2)},
        {"hold": several("HoldFailure", NO_RIGHTS)},
        local.NoRights,
        (VM1, VM2),
    ),
    "no rights to release": Story(
        lambda zfs: zfs.release([VM1, VM2], "xvm"),
        {f"release xvm {name}": no("cannot release: permission denied") for name in (VM1, VM2)},
        {"release": several("HoldReleaseFailure", NO_RIGHTS)},
        local.NoRights,
        (VM1, VM2),
    ),
    "no rights to destroy": Story(
        lambda zfs: zfs.destroy([VM1, VM2]),
        {
            f"{GET} {VM1} {VM2}": (0, f"{VM1}\tuserrefs\t0\n{VM2}\tuserrefs\t0\n", ""),
            f"destroy {VM1}": no("cannot destroy snapshots: permission denied"),
        },
        {"destroy_snaps": several("SnapshotDestructionFailure", NO_RIGHTS)},
        local.NoRights,
        (VM1, VM2),
    ),
    "no rights to go back": Story(
        lambda zfs: zfs.rollback("tank/vm1", "a"),
        {"rollback tank/vm1@a": no("cannot rollback 'tank/vm1': permission denied")},
        {"rollback_to": NO_RIGHTS},
        local.NoRights,
        ("tank/vm1",),
    ),
    "held by the same tag": Story(
        lambda zfs: zfs.hold([VM1, VM2], "xvm"),
        {
            f"hold xvm {VM1}": recorded("hold exists"),
            f"hold xvm {VM2}": OK,
            f"release xvm {VM2}": OK,
        },
        {
            "hold": several("HoldFailure", lzc_error("HoldExists", VM1)),
            "get_holds": lambda name: {b"xvm": 1} if name == VM1.encode() else {},
        },
        local.HoldExists,
        (VM1,),
        # The kernel holds none then; the command line must take back what it held, and nothing else.
        undone=(f"release xvm {VM2}",),
        never=f"release xvm {VM1}",
    ),
    "a snapshot to be held is missing": Story(
        lambda zfs: zfs.hold([VM1, VM2], "xvm"),
        {
            f"hold xvm {VM1}": no(f"cannot hold snapshot '{VM1}': dataset does not exist"),
            f"hold xvm {VM2}": OK,
            f"release xvm {VM2}": OK,
        },
        {"hold": [VM1.encode()]},
        local.Missing,
        (VM1,),
        undone=(f"release xvm {VM2}",),
    ),
    "not held": Story(
        lambda zfs: zfs.release([VM1, VM2], "xvm"),
        {f"release xvm {VM1}": recorded("release not held"), f"release xvm {VM2}": OK},
        {"release": [f"{VM1}#xvm".encode()]},
        local.NotHeld,
        (VM1,),
        undone=(f"release xvm {VM2}",),
    ),
    "one is held, so none is destroyed": Story(
        lambda zfs: zfs.destroy([VM2, VM1]),
        {f"{GET} {VM2} {VM1}": (0, f"{VM2}\tuserrefs\t0\n{VM2}\tclones\t-\n{VM1}\tuserrefs\t1\n{VM1}\tclones\t\n", "")},
        {"destroy_snaps": several("SnapshotDestructionFailure", lzc_error("SnapshotIsHeld", VM1))},
        local.Held,
        (VM1,),
        never="destroy",
    ),
    "one is cloned, so none is destroyed": Story(
        lambda zfs: zfs.destroy([VM2, VM1]),
        {f"{GET} {VM2} {VM1}": (0, f"{VM2}\tuserrefs\t0\n{VM1}\tuserrefs\t0\n{VM1}\tclones\ttank/copy\n", "")},
        {"destroy_snaps": several("SnapshotDestructionFailure", lzc_error("SnapshotIsCloned", VM1))},
        local.Cloned,
        (VM1,),
        never="destroy",
    ),
    "one is held and cloned, another cloned": Story(
        lambda zfs: zfs.destroy([VM2, VM1]),
        {f"{GET} {VM2} {VM1}": (0, f"{VM2}\tclones\ttank/copy\n{VM1}\tclones\ttank/x\n{VM1}\tuserrefs\t1\n", "")},
        {
            "destroy_snaps": several(
                "SnapshotDestructionFailure", lzc_error("SnapshotIsCloned", VM2), lzc_error("SnapshotIsHeld", VM1)
            )
        },
        local.Held,
        (VM1,),
        never="destroy",
    ),
    "one to be destroyed is missing": Story(
        lambda zfs: zfs.destroy([VM2, VM1]),
        {f"{GET} {VM2} {VM1}": no(f"cannot open '{VM1}': dataset does not exist")},
        {"exists": lambda name: name != VM1.encode()},
        local.Missing,
        (VM1,),
        never="destroy",
    ),
    "held between the look and the destroy": Story(
        lambda zfs: zfs.destroy([VM1]),
        {f"{GET} {VM1}": FREE, f"destroy {VM1}": recorded("destroy held snapshot")},
        {"destroy_snaps": several("SnapshotDestructionFailure", lzc_error("SnapshotIsHeld", VM1))},
        local.Held,
        (VM1,),
    ),
    "newer snapshots": Story(
        lambda zfs: zfs.rollback("tank/vm1", "a"),
        {"rollback tank/vm1@a": recorded("rollback, newer snapshots")},
        {"rollback_to": lzc_error("SnapshotNotLatest", "tank/vm1@a")},
        local.NotLatest,
        ("tank/vm1@a",),
        message="tank/vm1@a: is not the newest: newer snapshots or bookmarks would be lost",
    ),
    "busy": Story(
        lambda zfs: zfs.rollback("tank/vm1", "a"),
        {"rollback tank/vm1@a": recorded("rollback busy (LU registered)")},
        {"rollback_to": lzc_error("DatasetBusy", "tank/vm1")},
        local.Busy,
        ("tank/vm1",),
    ),
    "no such snapshot": Story(
        lambda zfs: zfs.rollback("tank/vm1", "nope"),
        {"rollback tank/vm1@nope": recorded("rollback missing snapshot")},
        {"rollback_to": lzc_error("SnapshotNotFound", "tank/vm1")},
        local.Missing,
        ("tank/vm1@nope",),
    ),
    "no such dataset": Story(
        lambda zfs: zfs.rollback("tank/nope", "a"),
        {"rollback tank/nope@a": no("cannot open 'tank/nope@a': dataset does not exist")},
        {"rollback_to": lzc_error("FilesystemNotFound", "tank/nope")},
        local.Missing,
        ("tank/nope@a",),
    ),
    "no space to go back": Story(
        lambda zfs: zfs.rollback("tank/vm1", "a"),
        {"rollback tank/vm1@a": no("cannot rollback 'tank/vm1': out of space")},
        {"rollback_to": lzc_error("NoSpace", "tank/vm1")},
        local.NoSpace,
        ("tank/vm1",),
    ),
}


class Machine:
    """A machine with a `zfs` that was told what to say."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        (folder / "zfs").write_text(_ZFS)
        (folder / "zfs").chmod(0o755)
        patch.setenv("PATH", str(folder))

    def tell(self, told: Told) -> None:
        """What it answers, by command."""
        (self._folder / "told").write_text(json.dumps(told))

    @property
    def calls(self) -> list[str]:
        """The commands it was given."""
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One."""
    return Machine(tmp_path, monkeypatch)


def _ends(story: Story, zfs: local.Snapshots) -> None:
    with pytest.raises(local.ZfsError) as raised:
        story.ask(zfs)
    assert (story.error, story.names) == (type(raised.value), raised.value.names), raised.value
    assert f"{', '.join(story.names)}: {story.error.says}" == str(raised.value)
    assert story.message in {"", str(raised.value)}


@pytest.mark.parametrize("name", STORIES)
def test_command_line_errors(machine: Machine, name: str) -> None:
    """Type, names and message; what was done is undone, and nothing else is touched."""
    story = STORIES[name]
    machine.tell(story.told)

    _ends(story, local.CommandLine())
    assert [] == [call for call in machine.calls if call not in story.told or call.startswith(story.never)]
    assert set(story.undone) <= set(machine.calls)


@pytest.mark.parametrize("name", STORIES)
def test_pyzfs_errors(name: str) -> None:
    """The very same from libzfs_core."""
    _ends(STORIES[name], local.Lzc(FakeLzc(STORIES[name].lzc)))


def test_pyzfs_takes_back_what_it_held() -> None:
    """lzc_hold passes over what is missing and holds the rest."""
    lzc = FakeLzc({"hold": [VM1.encode()]})

    with pytest.raises(local.Missing):
        local.Lzc(lzc).hold([VM1, VM2], "xvm")
    assert [
        ("hold", ({VM1.encode(): b"xvm", VM2.encode(): b"xvm"},)),
        ("release", ({VM2.encode(): [b"xvm"]},)),
    ] == lzc.calls


def _all_of_it(zfs: local.Snapshots) -> None:
    zfs.snapshot([VM1, VM2], {"org.xvmstore:reason": "before apt"})
    zfs.hold([VM1], "xvm")
    zfs.release([VM1], "xvm")
    zfs.destroy([VM1])
    zfs.rollback("tank/vm1", "a")


def test_what_the_command_line_is_given(machine: Machine) -> None:
    """One command for one moment, with its properties."""
    commands = (
        f"snapshot -o org.xvmstore:reason=before apt {VM1} {VM2}",
        f"hold xvm {VM1}",
        f"release xvm {VM1}",
        f"{GET} {VM1}",
        f"destroy {VM1}",
        "rollback tank/vm1@a",
    )
    machine.tell(dict.fromkeys(commands, OK) | {f"{GET} {VM1}": FREE})

    _all_of_it(local.CommandLine())
    assert list(commands) == machine.calls


def test_what_libzfs_core_is_given() -> None:
    """The same; names, tags and properties are bytes."""
    lzc = FakeLzc({})

    _all_of_it(local.Lzc(lzc))
    vm1 = VM1.encode()
    assert [
        ("snapshot", ([vm1, VM2.encode()], {b"org.xvmstore:reason": b"before apt"})),
        ("hold", ({vm1: b"xvm"},)),
        ("release", ({vm1: [b"xvm"]},)),
        ("exists", (vm1,)),
        ("destroy_snaps", ([vm1], False)),
        ("rollback_to", (b"tank/vm1", b"tank/vm1@a")),
    ] == lzc.calls


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["tank/a@x", "ssd/a@x"], "ssd, tank: snapshots of several pools"),
        (["tank/a@x", "tank/a@y"], "tank/a: two snapshots of one dataset"),
        (["tank/a"], "'tank/a' is no snapshot's name"),
        (["-r@x"], "'-r@x' is no snapshot's name"),
    ],
)
@pytest.mark.parametrize("zfs", [local.CommandLine(), local.Lzc(FakeLzc({}))], ids=["command", "pyzfs"])
def test_names_are_checked_before_zfs_sees_them(zfs: local.Snapshots, names: Sequence[str], why: str) -> None:
    """ZFS has one errno for two of these, and `zfs` a text that names nobody."""
    with pytest.raises(InvalidValue, match=f"^{why}"):
        zfs.snapshot(names, {})


def test_unknown_words_are_not_guessed_at(machine: Machine) -> None:
    """An old zfs takes one name: its words are passed on, and so is what is said of somebody else."""
    machine.tell({f"snapshot {VM1} {VM2}": recorded("several snapshots on an old release", 2)})

    with pytest.raises(local.Unexplained, match=r"too many arguments") as raised:
        local.CommandLine().snapshot([VM1, VM2], {})
    assert (VM1, VM2) == raised.value.names
    with pytest.raises(local.Unexplained):
        failures("cannot do it: tank/vm1@pre: pool I/O is currently suspended\n", [VM1])
    with pytest.raises(local.Unexplained):
        failures("cannot destroy 'tank/other@pre': dataset is busy\n", [VM1])


def test_unknown_exceptions_are_not_guessed_at() -> None:
    """What libzfs_core says is passed on."""
    lzc = FakeLzc({"snapshot": several("SnapshotFailure", lzc_error("SuspendedPool", VM1, errno=11))})

    with pytest.raises(local.Unexplained, match=rf"^{VM1}: SuspendedPool"):
        local.Lzc(lzc).snapshot([VM1], {})


def test_an_unquoted_name_and_openzfs_words_for_a_hold() -> None:
    """What OpenZFS on Linux says of a held snapshot; illumos leaves the quotes out."""
    says = f"cannot destroy snapshot {VM1}: it's being held. Run 'zfs holds -r {VM1}' to see holders.\n"

    assert [(local.Held, (VM1,))] == failures(says, [VM1])


def test_no_zfs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which program it missed."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(local.Unavailable, match=r"^cannot run zfs: "):
        local.filesystems()


def test_here_takes_pyzfs_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command line when it was asked for that."""
    monkeypatch.setitem(sys.modules, "libzfs_core", FakeLzc({}))

    assert isinstance(local.here(), local.Lzc)
    assert isinstance(local.here(prefer="pyzfs"), local.Lzc)
    assert isinstance(local.here(prefer="command"), local.CommandLine)


def _of_pypi() -> ModuleType:
    module = FakeLzc({})
    del module.lzc_channel_program
    return module


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (None, r"no libzfs_core for this Python.*apt install python3-pyzfs.*--system-site-packages.*never pip's"),
        (_of_pypi(), r"not OpenZFS's own but pip's.*apt install python3-pyzfs"),
        (FakeLzc({"exists": lzc_error("ZFSInitializationFailed", errno=2)}), r"cannot speak to the kernel's ZFS"),
        (FakeLzc({"exists": OSError("no library called 'zfs_core'")}), r"no library called 'zfs_core'"),
    ],
    ids=["none", "pypi", "no kernel module", "no C library"],
)
def test_here_without_a_pyzfs_that_works(module: ModuleType | None, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line is as good; who insists is told how to get it."""
    monkeypatch.setitem(sys.modules, "libzfs_core", module)

    assert isinstance(local.here(), local.CommandLine)
    with pytest.raises(local.Unavailable, match=why):
        local.here(prefer="pyzfs")


def test_filesystems_and_the_root() -> None:
    """Another boot environment has the mount point "/" too, but is not mounted."""
    found = local.parse_filesystems("rpool/ROOT/old\tno\t/\nrpool/ROOT/now\tyes\t/\nrpool/home\tyes\t/home\n")

    assert local.Filesystem("rpool/ROOT/now", True, "/") == local.root_of(found)
    assert None is local.root_of(found[:1])
    with pytest.raises(UnexpectedOutput, match="rpool/home yes"):
        local.parse_filesystems("rpool/home yes /home\n")


def test_what_is_below(machine: Machine) -> None:
    """Volumes too; a dataset that is not there is named."""
    command = "list -H -r -t filesystem,volume -o name"
    machine.tell(
        {f"{command} tank/vm": (0, "tank/vm\ntank/vm/disk\n", ""), f"{command} tank/nope": recorded("destroy missing")}
    )

    assert ("tank/vm", "tank/vm/disk") == local.below("tank/vm")
    with pytest.raises(local.Missing, match=r"^tank/nope: does not exist$"):
        local.below("tank/nope")
