"""The hook script, called as package managers call it, with a fake xvmstore; and how it gets into place."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from remote.errors import ConfigError, InvalidValue, NotFound, Refused
from xvmstore import hooks
from xvmstore.commands.hook import hook
from xvmstore.hooks import KINDS

FILES = Path(hooks.__file__).parent
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}
NAME = "xvm-20261124T130501Z-1f2e"
# Logs its arguments and does what `does` says.
_XVMSTORE = """#!/bin/sh
here=${0%/*}
for word in "$@"; do printf '%s|' "$word"; done >>"$here/calls"
echo >>"$here/calls"
does=$(cat "$here/does")
case "$does $*" in
fails*" checkpoint "*|*"fails"*) echo "xvmstore: a remark" >&2; echo "xvmstore: tank: out of space" >&2; exit 1 ;;
hangs*) echo $$ >"$here/hanging"; exec sleep 30 ;;
silent*) exit 4 ;;
nameless*) echo '{"cost": 0}'; exit 0 ;;
esac
case $* in *create*) cat "$here/answer" ;; esac
"""
_ANSWER = {"name": NAME, "checkpoints": [{"guest": "web1", "name": "other"}]}
# A package manager that runs dpkg twice, as apt does for essential packages; the hook is called by a shell in between.
_APT = """#!/bin/sh
for packages in '/var/cache/apt/archives/libc6_2.36-9_amd64.deb' 'bash
openssl'; do
    echo "$packages" | sh -c '"$0" "$1" "$2" "$3"; exit $?' "$HOOK" pre apt packages || exit 100
    echo "dpkg ran" >>"${0%/*}/calls"
    sh -c '"$0" "$1" "$2"; exit $?' "$HOOK" post apt
done
"""
_TOOL = """#!/bin/sh
echo "${0##*/} $*" >>"${0%/*}/calls"
exit "$(cat "${0%/*}/exit")"
"""


class Machine:
    """A machine in a directory: its package managers, its xvmstore, its hook."""

    def __init__(self, root: Path, shell: tuple[str, ...]) -> None:
        self.root, self._shell = root, shell
        self.bin, self.hook = root / "bin", root / "usr/local/lib/xvmstore/xvmstore-hook"
        for folder in (self.bin, self.hook.parent, root / "etc/xvmstore"):
            folder.mkdir(parents=True)
        for name, text in {"xvmstore": _XVMSTORE, "apt-get": _APT, "pkg": _TOOL, "zypper": _TOOL}.items():
            self.program(self.bin / name, text)
        # The shell under test runs the hook, whatever /bin/sh is here.
        (root / "hook").write_text((FILES / "xvmstore-hook").read_text())
        self.program(self.hook, f'#!/bin/sh\nexec {" ".join(shell)} "{root}/hook" "$@"\n')
        (self.bin / "answer").write_text(json.dumps(_ANSWER, indent=2) + "\n")
        self.does("works")
        (self.bin / "exit").write_text("0")
        self.conf()

    @staticmethod
    def program(path: Path, text: str) -> None:
        """A file that can be run."""
        path.write_text(text)
        path.chmod(0o755)

    def does(self, what: str) -> None:
        """What its xvmstore does: works, fails, hangs, ..."""
        (self.bin / "does").write_text(what)

    def conf(self, *lines: str) -> None:
        """Write hook.conf."""
        text = "\n".join(("# a remark", "", *(lines or ("POLICY=block", 'CHECKPOINT="--local"'))))
        (self.root / "etc/xvmstore/hook.conf").write_text(text)

    def run(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program of its."""
        path = shutil.which(words[0], path=str(self.bin)) or words[0]
        base = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOOK": str(self.hook),
            "XVMSTORE_ROOT": str(self.root),
            "XVMSTORE_DEADLINE": "30",
        }
        return subprocess.run(
            [path, *words[1:]], env=base | env, capture_output=True, text=True, timeout=60, check=False, input=stdin
        )

    def calls(self) -> list[str]:
        """What ran since last asked; words of xvmstore end in "|"."""
        path = self.bin / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def left(self) -> list[str]:
        """What is in its run directory."""
        return sorted(path.name for path in (self.root / "var/run/xvmstore-hook").glob("*"))


@pytest.fixture(params=["dash", *(pytest.param(name, marks=pytest.mark.shells) for name in ("bash", "busybox"))])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """One for each shell there is; nothing of it may be left running."""
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs {shell[0]}")
    yield Machine(tmp_path, shell)
    assert [] == list((tmp_path / "var/run/xvmstore-hook").glob(".work-*"))


def _created(*more: str) -> str:
    return "|".join(("checkpoint", "create", "--local", "--reason", "before apt", "--json", *more, ""))


def test_one_checkpoint_a_run(machine: Machine) -> None:
    """apt runs dpkg twice: one checkpoint, before the first, each end is noted. The next run has its own."""
    for _ in range(2):
        done = machine.run("apt-get")
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        note = f"checkpoint|note|--local|{NAME}|--outcome|done|"
        assert [_created("--packages", "libc6_2.36-9_amd64"), "dpkg ran", note, "dpkg ran", note] == machine.calls()
    # The run before has been forgotten.
    assert 1 == len(machine.left())


def test_many_packages(machine: Machine) -> None:
    """As many as a property of ZFS takes, and the number of the others."""
    packages = [f"/var/cache/apt/archives/package-{number:04}_1%3a2.0+b1_amd64.deb" for number in range(400)]
    done = machine.run(str(machine.hook), "pre", "apt", "packages", stdin="\n".join(packages))

    assert 0 == done.returncode, done.stderr
    (call,) = machine.calls()
    told = call.split("|")[-2]
    kept = told.split(" ... and ")[0].split()
    assert [f"package-{number:04}_1%3a2.0+b1_amd64" for number in range(len(kept))] == kept
    assert (True, True) == (900 < len(told) < 1024, told.endswith(f" ... and {400 - len(kept)} more"))


def test_block(machine: Machine) -> None:
    """The package manager is stopped, in one line that says why and how to go on."""
    machine.does("fails")
    done = machine.run("apt-get")

    assert 100 == done.returncode
    assert (
        "xvmstore-hook: no checkpoint before apt, so it was stopped: tank: out of space; to go on without one, "
        f"set POLICY=warn in {machine.root}/etc/xvmstore/hook.conf or remove the hook (xvmstore hook remove)\n"
    ) == done.stderr
    assert "dpkg ran" not in machine.calls()


def test_warn(machine: Machine) -> None:
    """The package manager goes on, and it is said that nothing was saved; nothing is noted either."""
    machine.does("fails")
    machine.conf("POLICY=warn", "CHECKPOINT=--local")
    done = machine.run("apt-get")

    assert 0 == done.returncode
    says = f"going on without one (POLICY=warn in {machine.root}/etc/xvmstore/hook.conf)"
    assert [f"xvmstore-hook: no checkpoint before apt: tank: out of space; {says}"] * 2 == done.stderr.splitlines()
    assert 2 == machine.calls().count("dpkg ran")


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("silent", "xvmstore exited 4 and said nothing"),
        ("nameless", "xvmstore checkpoint create --json printed no name"),
    ],
)
def test_what_is_no_checkpoint_either(machine: Machine, does: str, why: str) -> None:
    """No words, no name: no upgrade."""
    machine.does(does)
    done = machine.run(str(machine.hook), "pre", "dnf")

    assert (1, True) == (done.returncode, f"so it was stopped: {why};" in done.stderr), done.stderr


def test_time_out(machine: Machine) -> None:
    """A program that hangs is ended, and the hook with it."""
    machine.does("hangs")
    begun = time.monotonic()
    done = machine.run("apt-get", XVMSTORE_DEADLINE="1")

    assert (100, True) == (done.returncode, "xvmstore did not end within 1 s;" in done.stderr), done.stderr
    assert time.monotonic() - begun < 20
    hanging = (machine.bin / "hanging").read_text().strip()
    assert not Path(f"/proc/{hanging}").exists()


def test_no_program(machine: Machine) -> None:
    """An xvmstore that is not there is no checkpoint."""
    machine.conf("CHECKPOINT=--local", "PROGRAM=/nowhere/xvmstore")
    done = machine.run(str(machine.hook), "pre", "apt")

    assert 1 == done.returncode
    assert "/nowhere/xvmstore" in done.stderr


def test_guests_and_options(machine: Machine) -> None:
    """One checkpoint of several guests, noted for each."""
    machine.conf("POLICY=block", 'CHECKPOINT="web1 db-1"', 'OPTIONS="--node san1"')
    machine.run("apt-get")

    create, _, *notes = machine.calls()[:4]
    assert create.startswith("--node|san1|checkpoint|create|web1|db-1|--reason|before apt|--json|")
    assert [f"--node|san1|checkpoint|note|{guest}|{NAME}|--outcome|done|" for guest in ("web1", "db-1")] == notes


def test_another_root(machine: Machine) -> None:
    """A dataset of this machine that is not at /."""
    machine.conf("POLICY=block", 'CHECKPOINT="--local --root tank/my/data"')
    machine.run("apt-get")

    create, _, *notes = machine.calls()[:4]
    assert create.startswith("checkpoint|create|--local|--root|tank/my/data|--reason|before apt|--json|")
    assert [f"checkpoint|note|--local|{NAME}|--outcome|done|"] == [note for note in notes if "note" in note]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("CHECKPOINT=$(touch owned)", "CHECKPOINT has a character that it may not have"),
        ("CHECKPOINT=`touch owned`", "CHECKPOINT has a character that it may not have"),
        ("CHECKPOINT=a;touch owned", "CHECKPOINT has a character that it may not have"),
        ("CHECKPOINT=*", "CHECKPOINT has a character that it may not have"),
        ("CHECKPOINT=", "CHECKPOINT must be --local or the names of guests"),
        ("touch owned", "there is no touch owned"),
        ("POLICY=maybe", "POLICY is block or warn"),
    ],
)
def test_the_configuration_is_read_and_never_run(machine: Machine, line: str, why: str) -> None:
    """What is wrong in it is no checkpoint; POLICY=warn above it goes for that too."""
    machine.conf(line)
    done = machine.run(str(machine.hook), "pre", "apt")
    assert (1, True) == (done.returncode, f"hook.conf: {why};" in done.stderr), done.stderr
    machine.conf("POLICY=warn", line)
    assert 0 == machine.run(str(machine.hook), "pre", "apt").returncode or line == "POLICY=maybe"

    assert [] == machine.calls()
    assert not list(machine.root.rglob("owned"))


def test_no_configuration(machine: Machine) -> None:
    """It blocks, and says who writes it."""
    (machine.root / "etc/xvmstore/hook.conf").unlink()
    done = machine.run(str(machine.hook), "pre", "apt")

    assert (1, True) == (done.returncode, "`xvmstore hook install` writes it" in done.stderr)


def test_an_outcome_that_cannot_be_noted(machine: Machine) -> None:
    """The upgrade is over: there is nothing to stop, so it is said and no more."""
    assert 0 == machine.run(str(machine.hook), "pre", "pkg", XVMSTORE_HOOK_RUN="w-1-2").returncode
    machine.does("fails")
    done = machine.run(str(machine.hook), "post", "pkg", XVMSTORE_HOOK_RUN="w-1-2")

    assert (0, "xvmstore-hook: the outcome of pkg is not recorded: tank: out of space\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip


def test_words_of_a_call(machine: Machine) -> None:
    """A slip of the pen is told apart from a checkpoint that failed."""
    assert [2, 2] == [machine.run(str(machine.hook), *words).returncode for words in ((), ("before", "apt"))]
    assert 1 == machine.run(str(machine.hook), "pre").returncode
    done = machine.run(str(machine.hook), "pre", "apt", XVMSTORE_HOOK_RUN="../../etc/passwd")
    assert (1, True) == (done.returncode, "XVMSTORE_HOOK_RUN may have letters, digits and - only" in done.stderr)


def _wrapper(machine: Machine, name: str) -> str:
    path = machine.bin / f"xvmstore-{name}"
    machine.program(path, (FILES / "wrapper").read_text())
    return str(path)


@pytest.mark.parametrize(
    ("words", "code", "outcome"),
    [
        (("pkg", "update", "-v"), 0, "done"),
        (("pkg", "-R", "/mnt", "install", "x"), 4, "done"),
        (("pkg", "update"), 1, "failed"),
        (("zypper", "--non-interactive", "dup"), 102, "done"),
        (("zypper", "dup"), 104, "failed"),
    ],
)
def test_wrapper(machine: Machine, words: tuple[str, ...], code: int, outcome: str) -> None:
    """A checkpoint, the package manager with its own words and exit status, what came of it."""
    (machine.bin / "exit").write_text(str(code))
    done = machine.run(_wrapper(machine, words[0]), *words[1:])

    assert (code, "") == (done.returncode, done.stderr)
    assert [
        f"checkpoint|create|--local|--reason|before {words[0]}|--json|",
        " ".join(words),
        f"checkpoint|note|--local|{NAME}|--outcome|{outcome}|",
    ] == machine.calls()
    assert [] == machine.left()


def test_wrapper_without_a_checkpoint(machine: Machine) -> None:
    """Nothing is run; and what changes nothing needs none."""
    machine.does("fails")
    wrapper = _wrapper(machine, "pkg")

    assert 1 == machine.run(wrapper, "update").returncode
    assert "pkg update" not in machine.calls()
    assert 0 == machine.run(wrapper, "list", "-a").returncode
    assert ["pkg list -a"] == machine.calls()


def test_scripts_are_clean() -> None:
    """As shellcheck sees it."""
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    argv = ["shellcheck", str(FILES / "xvmstore-hook"), str(FILES / "wrapper")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stdout)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine that has every package manager."""
    for kind in KINDS.values():
        for need in kind.needs:
            (tmp_path / need).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", KINDS)
def test_install_show_remove(root: Path, name: str) -> None:
    """What show prints is what is in place, and calls a script that is there; remove leaves hook.conf alone."""
    kind = KINDS[name]
    written = hooks.install(kind, policy="warn", checkpoint=["--local"], root=root)

    assert ("/usr/local/lib/xvmstore/xvmstore-hook", "/etc/xvmstore/hook.conf") == written[:2]
    assert 0o755 == (root / hooks.SCRIPT).stat().st_mode & 0o777
    for file in kind.files:
        text = (root / file.target).read_text()
        assert file.text == text
        assert hooks.SCRIPT in text
        assert file.executable == bool((root / file.target).stat().st_mode & 0o100)
    before = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    hooks.install(kind, policy=None, checkpoint=[], root=root)
    assert before == {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    hooks.remove(kind, root=root)
    assert [root / hooks.CONF] == [path for path in root.rglob("*") if path.is_file()]
    with pytest.raises(NotFound, match=f"no hook of {name} here"):
        hooks.remove(kind, root=root)


def test_the_script_stays_while_a_hook_needs_it(root: Path) -> None:
    """Two package managers on one machine."""
    for name in ("apt", "pkgin"):
        hooks.install(KINDS[name], policy=None, checkpoint=[], root=root)

    hooks.remove(KINDS["apt"], root=root)
    assert (root / hooks.SCRIPT).exists()
    hooks.remove(KINDS["pkgin"], root=root)
    assert not (root / hooks.SCRIPT).exists()


def test_configuration_that_is_written(root: Path) -> None:
    """Blocking and local at first; what is not said stays, the admin's options too."""

    def conf() -> dict[str, str]:
        return hooks.read_conf(root / hooks.CONF)

    hooks.install(KINDS["apt"], policy=None, checkpoint=[], root=root)
    assert {"POLICY": "block", "CHECKPOINT": "--local"}.items() <= conf().items()
    lines = ("POLICY=block", 'CHECKPOINT="web1 db-1"', 'OPTIONS="--node san1"', "PROGRAM=/opt/x/xvmstore")
    (root / hooks.CONF).write_text("\n".join(lines))
    hooks.install(KINDS["apt"], policy="warn", checkpoint=[], root=root)
    assert {
        "POLICY": "warn", "CHECKPOINT": "web1 db-1", "OPTIONS": "--node san1", "PROGRAM": "/opt/x/xvmstore",
    } == conf()  # fmt: skip
    hooks.install(KINDS["apt"], policy=None, checkpoint=["web2"], root=root)
    assert ("warn", "web2") == (conf()["POLICY"], conf()["CHECKPOINT"])


def test_what_is_written_is_what_the_script_reads(root: Path, machine: Machine) -> None:
    """Both read one grammar."""
    hooks.install(KINDS["apt"], policy="block", checkpoint=["web1", "db-1"], root=machine.root)
    text = (machine.root / hooks.CONF).read_text()
    machine.conf(*(line for line in text.splitlines() if not line.startswith("PROGRAM")))
    machine.program(machine.hook, (FILES / "xvmstore-hook").read_text())

    assert 0 == machine.run(str(machine.hook), "pre", "apt").returncode
    assert ["checkpoint|create|web1|db-1|--reason|before apt|--json|"] == machine.calls()


def test_hooks_that_would_do_nothing(tmp_path: Path, root: Path) -> None:
    """A directory nobody reads, a policy nobody heeds: refused before anything is written."""
    with pytest.raises(Refused, match=r"there is no /etc/apt/apt.conf.d: nobody would read the hook$"):
        hooks.install(KINDS["apt"], policy=None, checkpoint=[], root=tmp_path / "bare")
    with pytest.raises(Refused, match="nobody would read the hook: dnf install libdnf5-plugin-actions"):
        hooks.install(KINDS["dnf"], policy=None, checkpoint=[], root=tmp_path / "bare")
    with pytest.raises(Refused, match=r"dnf4 goes on when its hook fails.*--policy warn"):
        hooks.install(KINDS["dnf4"], policy="block", checkpoint=[], root=root)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("words", [["--local", "web1"], ["$(reboot)"], ["--all"], ["web1;reboot"]])
def test_what_is_no_checkpoint_to_take(root: Path, words: list[str]) -> None:
    """--local alone, or names of guests."""
    with pytest.raises(InvalidValue, match="stands alone"):
        hooks.install(KINDS["apt"], policy=None, checkpoint=words, root=root)


@pytest.mark.parametrize("line", ["POLICY", "COLOUR=red", "CHECKPOINT=$(reboot)"])
def test_a_configuration_that_is_wrong(root: Path, line: str) -> None:
    """It is named by file and line, and not overwritten."""
    (root / hooks.CONF).parent.mkdir(parents=True)
    (root / hooks.CONF).write_text(f"POLICY=block\n{line}\n")

    with pytest.raises(ConfigError, match=r"hook.conf: line 2: "):
        hooks.install(KINDS["apt"], policy="warn", checkpoint=[], root=root)
    assert [root / hooks.CONF] == [path for path in root.rglob("*") if path.is_file()]


def test_command_line(root: Path) -> None:
    """install, its dry run, show and remove."""

    def ran(*words: str) -> str:
        found = CliRunner().invoke(hook, words, catch_exceptions=False)
        assert 0 == found.exit_code, found.output
        return found.stdout

    assert "write /etc/apt/apt.conf.d/05xvmstore" in ran("install", "apt", "--root", str(root), "-n")
    assert not (root / hooks.CONF).exists()
    written = ran("install", "apt", "--root", str(root), "--policy", "warn", "--", "--local")
    assert ["/usr/local/lib/xvmstore/xvmstore-hook", "/etc/xvmstore/hook.conf", "/etc/apt/apt.conf.d/05xvmstore"] == (
        written.splitlines()
    )
    assert "warn" == hooks.read_conf(root / hooks.CONF)["POLICY"]
    assert KINDS["apt"].files[0].text == ran("show", "apt")
    assert '"can_block": false' in ran("show", "dnf4", "--json")
    assert ["/etc/apt/apt.conf.d/05xvmstore", "/usr/local/lib/xvmstore/xvmstore-hook"] == (
        ran("remove", "apt", "--root", str(root)).splitlines()
    )
