"""Freezing and pausing: the real programs, by several shells, over a made-up /proc/mounts and tools that only remember.

The real fsfreeze is never run: it would freeze the machine that tests.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dom0.freeze import PAUSINGS, Frozen, freeze, parse_frozen, parse_let_go, pause, thaw, unpause
from remote.errors import InvalidValue, StepFailed, UnexpectedOutput
from remote.host import Host
from remote.local import LocalShell
from remote.script import Argv, Step

pytestmark = pytest.mark.slow
SHELLS = {"dash": "dash", "bash": "bash --posix", "ksh93": "ksh93", "busybox": "busybox sh"}

# What is frozen is a directory in "frozen": making one is atomic. What begins with fail or gate is made by a test.
FSFREEZE = """\
#!/bin/sh
root=$(dirname "$0")/..
case $1 in --freeze) shift; set -- -f "$1" ;; --unfreeze) shift; set -- -u "$1" ;; *) exit 2 ;; esac
name=$(printf '%s' "$2" | sed 's,[/ ],%,g')
printf '%s\\n' "fsfreeze $1 $2" >>$root/log
[ ! -f "$root/fail$1$name" ] || { printf '%s\\n' "fsfreeze: $2: $(cat "$root/fail$1$name")" >&2; exit 1; }
while [ -f "$root/gate$1$name" ]; do sleep 0.05; done
case $1 in
-f) mkdir "$root/frozen/$name" 2>/dev/null && exit; words="freeze failed: Device or resource busy" ;;
-u) rmdir "$root/frozen/$name" 2>/dev/null && exit; words="unfreeze failed: Invalid argument" ;;
esac
printf '%s\\n' "fsfreeze: $2: $words" >&2
exit 1
"""
SYNC = """\
#!/bin/sh
root=$(dirname "$0")/..
echo "sync $(ls $root/run/*/armed | wc -l)" >>$root/log
while [ -f $root/gate-sync ]; do sleep 0.05; done
"""
# One domain, web1, number 7: it is there while "domain" is, and that says how it is.
TOOLSTACK = """\
#!/bin/sh
root=$(dirname "$0")/..
tool=$(basename "$0") verb=$1 name=$2
[ "$verb" = list ] || [ "$verb" = domstate ] || echo "$tool $*" >>$root/log
case $verb in domid) [ "$name" = web1 ] ;; *) [ "$name" = 7 ] ;; esac && [ -f $root/domain ] || {
    echo "Can't get domid of domain name '$name', maybe this domain does not exist." >&2
    exit 1
}
[ ! -f "$root/fail-$verb" ] || { cat "$root/fail-$verb" >&2; exit 1; }
state=$(cat $root/domain)
case $verb in
domid) echo 7 ;;
pause|suspend) [ -f $root/lazy ] || echo paused >$root/domain ;;
unpause|resume) echo running >$root/domain ;;
domstate) echo "$state"; echo ;;
list)
    [ $state = paused ] && letters=--p--- || letters=-b----
    echo 'Name                                        ID   Mem VCPUs	State	Time(s)'
    printf '%-40s %5s   128     1     %s       3.3\\n' web1 7 $letters
    ;;
esac
"""
MOUNTS = """\
proc /proc proc rw 0 0
/dev/xvda1 / ext4 rw,relatime 0 0
tmpfs @/run tmpfs rw,nosuid 0 0
/dev/xvda2 /home xfs rw 0 0
/dev/xvda3 /home/a\\040b\\134c btrfs rw,subvol=/x 0 0
"""
ROOT, HOME, ODD = "/", "/home", "/home/a b\\c"


class Machine:
    """A guest and a dom0 made of files."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.bin = root, root / "bin"
        for folder in ("bin", "proc", "run", "var/run", "frozen"):
            (root / folder).mkdir(parents=True)
        tools = {"fsfreeze": FSFREEZE, "sync": SYNC, "sh": f'#!/bin/sh\nexec {shell} "$@"\n'}
        for name, text in tools.items() | dict.fromkeys(("xl", "xm", "virsh"), TOOLSTACK).items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        (root / "domain").write_text("running\n")
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin", "XVMSTORE_ROOT": str(root)}
        self.mounts(MOUNTS)

    def mounts(self, text: str) -> None:
        """What is mounted; @ is this machine's root."""
        (self.root / "proc/mounts").write_text(text.replace("@", str(self.root)))

    def safe(self, argv: Argv) -> list[str]:
        """The argv with our own fsfreeze in it, whatever a shell would take first."""
        words = [str(word).replace("fsfreeze ", f"{self.bin}/fsfreeze ") for word in argv]
        assert not re.search(r"(?<![\w/-])fsfreeze -", "".join(words))
        return words

    def start(self, step: Step) -> "subprocess.Popen[str]":
        """The step, running."""
        argv = [str(self.bin / "sh"), *self.safe(step.argv)[1:]]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def run(self, step: Step) -> tuple[int, str, str]:
        """Its exit status and what it said, on both streams; what it leaves behind must not hold them."""
        process = self.start(step)
        try:
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
        return process.returncode, said, complained

    def must(self, step: Step) -> str:
        """What it printed; it succeeds."""
        status, said, complained = self.run(step)
        assert (0, "") == (status, complained)
        return said

    def frozen(self) -> list[str]:
        """What is frozen, with % for / and blanks."""
        return sorted(path.name for path in (self.root / "frozen").iterdir())

    def log(self) -> list[str]:
        """What was called."""
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []

    def put(self, name: str, text: str = "") -> Path:
        """A file that makes a tool fail, or wait."""
        path = self.root / name
        path.write_text(text)
        return path

    def state(self) -> str:
        """How the domain is."""
        return (self.root / "domain").read_text().strip()

    def marks(self) -> set[str]:
        """What the freeze or the pause has noted."""
        return {path.name for path in self.root.glob("run/*/*")} | {path.name for path in self.root.glob("var/run/*/*")}

    def dead_men(self) -> list[int]:
        """The dead-men of this machine that are alive."""
        return [int(one.name) for one in Path("/proc").glob("[0-9]*") if self._is_dead_man(one)]

    def _is_dead_man(self, process: Path) -> bool:
        try:
            alive = " Z " not in (process / "stat").read_text()
            words = (process / "cmdline").read_bytes().split(b"\0")
            ours = f"XVMSTORE_ROOT={self.root}\0".encode() in (process / "environ").read_bytes()
        except OSError:
            return False
        return alive and ours and b"xvmstore-dead-man" in words

    def end(self) -> None:
        """Lets every dead-man and every tool that waits end."""
        for path in [*self.root.glob("gate*"), *self.root.glob("fail*")]:
            path.unlink()
        for folder in [*self.root.glob("run/*/"), *self.root.glob("var/run/*/")]:
            (folder / "said").write_text("late\n")
        eventually(lambda: not self.dead_men())


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def machine_of(root: Path, shell: str) -> Iterator[Machine]:
    """A machine with that shell; at the end nothing of it runs."""
    if shutil.which(SHELLS[shell].split()[0]) is None or shutil.which("setsid") is None:
        pytest.skip(f"needs {shell} and setsid")
    one = Machine(root, SHELLS[shell])
    yield one
    one.end()


@pytest.fixture(params=["dash", *(pytest.param(name, marks=pytest.mark.shells) for name in SHELLS if name != "dash")])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """One for each shell there is."""
    yield from machine_of(tmp_path / "m", request.param)


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Machine]:
    """Where the shell does not matter."""
    yield from machine_of(tmp_path / "m", "dash")


# --- in the guest ----------------------------------------------------------------------------------------------------


def test_freeze_and_thaw(machine: Machine) -> None:
    """Armed, synced, frozen deepest first; thawed the other way round, in time; said again when asked again."""
    said = machine.must(freeze("t1", seconds=60))

    assert Frozen((r"/home/a\040b\134c", "/home", "/"), ()) == parse_frozen(said)
    assert ["%", "%home", "%home%a%b\\c"] == machine.frozen()
    assert 1 == len(machine.dead_men())
    assert ["in-time\n"] * 2 == [machine.must(thaw("t1")) for _ in range(2)]
    assert [] == machine.frozen()
    assert ["sync 1", *(f"fsfreeze -f {point}" for point in (ODD, HOME, ROOT)),
            *(f"fsfreeze -u {point}" for point in (ROOT, HOME, ODD))] == machine.log()  # fmt: skip
    eventually(lambda: not machine.dead_men())


def test_what_is_frozen(dash: Machine) -> None:
    """Each device once, where it is mounted first and writable; loop devices before what their files are on."""
    dash.mounts(
        MOUNTS + "/dev/loop1 /mnt ext4 rw 0 0\n/dev/sr0 /cd iso9660 ro 0 0\n/dev/xvda2 /srv/home xfs rw 0 0\n"
        "/dev/xvdb /ro ext4 ro 0 0\n/dev/xvdb /srv/rw ext4 noatime,rw 0 0\n//nas/share /nas cifs rw 0 0\n"
        "/dev/fuse /run/portal fuse rw 0 0\n/dev/xvdc /mnt/x/y reiserfs ro,errors=rw-not 0 0\nsan:/x /nfs nfs rw 0 0\n"
        "/dev/xvdd /home2 ext2 rw 0 0\n/dev/xvde /* ext2 rw 0 0\n"
    )
    points = ("/mnt", "/srv/rw", r"/home/a\040b\134c", "/*", "/home2", "/home", "/")
    assert Frozen(points, ()) == parse_frozen(dash.must(freeze("t1", seconds=60)))
    assert "in-time\n" == dash.must(thaw("t1"))


def test_the_dead_man_fires(machine: Machine) -> None:
    """Nobody thaws: it does, all of it, and what comes later is told so, as often as it asks."""
    machine.must(freeze("t1", seconds=1))
    assert 3 == len(machine.frozen())
    eventually(lambda: "said" in machine.marks())
    assert [] == machine.frozen()
    assert ["late\n"] * 2 == [machine.must(thaw("t1")) for _ in range(2)]
    eventually(lambda: not machine.dead_men())


def test_the_dead_man_is_on_its_own(machine: Machine) -> None:
    """A session of its own, none of our descriptors, no directory held; at SIGTERM it thaws at once."""
    step = freeze("t1", seconds=600)
    read, write = os.pipe()
    as_nine = ["bash", "-c", f'exec 9>&{write} {write}>&-; exec "$@"', "as-nine"]
    argv = [*as_nine, str(machine.bin / "sh"), *machine.safe(step.argv)[1:]]
    subprocess.run(argv, env=machine.env, check=True, capture_output=True, pass_fds=(write,), cwd=machine.root)
    os.close(write)
    os.set_blocking(read, False)
    assert b"" == os.read(read, 1), "somebody holds its other end"
    os.close(read)

    (pid,) = machine.dead_men()
    assert (pid, "/") == (os.getsid(pid), os.readlink(f"/proc/{pid}/cwd"))
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not machine.dead_men())
    assert ([], "late\n") == (machine.frozen(), machine.must(thaw("t1")))


def test_killed_while_it_freezes(machine: Machine) -> None:
    """The shell dies while the kernel still freezes the last one, which it then does too late: it is thawed as well."""
    gate = machine.put("gate-f%")
    shell = machine.start(freeze("t1", seconds=1))
    eventually(lambda: f"fsfreeze -f {ROOT}" in machine.log())
    shell.kill()
    shell.wait()
    eventually(lambda: "fired" in machine.marks() and [] == machine.frozen())
    time.sleep(1.5)  # Time to give up too early.
    assert "said" not in machine.marks(), "it still waits for the one that hangs"
    gate.unlink()
    eventually(lambda: "said" in machine.marks())
    assert [] == machine.frozen()
    assert f"fsfreeze -u {ROOT}" == machine.log()[-3]
    assert "late\n" == machine.must(thaw("t1"))
    for stream in (shell.stdout, shell.stderr):
        assert stream
        stream.close()


@pytest.mark.parametrize(("gate", "reached"), [("gate-f%", f"fsfreeze -f {ROOT}"), ("gate-sync", "sync 1")])
def test_killed_and_thawed(dash: Machine, gate: str, reached: str) -> None:
    """Before the dead-man's time, thaw finds what there is, if anything: never in time, since not all was frozen."""
    held = dash.put(gate)
    shell = dash.start(freeze("t1", seconds=60))
    eventually(lambda: reached in dash.log())
    shell.kill()
    held.unlink()
    shell.communicate()
    assert "late\n" == dash.must(thaw("t1"))
    assert [] == dash.frozen()


def test_thaw_while_it_freezes(machine: Machine) -> None:
    """After a lost connection, say: who freezes gives up, and both know that nothing was consistent."""
    held = machine.put("gate-f%")
    shell = machine.start(freeze("t1", seconds=60))
    eventually(lambda: f"fsfreeze -f {ROOT}" in machine.log())
    thawing = machine.start(thaw("t1"))
    eventually(lambda: f"fsfreeze -u {HOME}" in machine.log())
    held.unlink()
    assert ("late\n", "") == thawing.communicate(timeout=20)
    assert "so all was let go: nothing is held\n" in shell.communicate(timeout=20)[1]
    assert (1, []) == (shell.returncode, machine.frozen())


def test_too_slow(machine: Machine) -> None:
    """A sync that takes longer than the dead-man waits: nothing is frozen afterwards, by nobody."""
    gate = machine.put("gate-sync")
    shell = machine.start(freeze("t1", seconds=1))
    eventually(lambda: "fired" in machine.marks())
    gate.unlink()
    said, complained = shell.communicate(timeout=20)
    words = "not all was held within 1 seconds, so all was let go: nothing is held\n"
    assert (1, "", words) == (shell.returncode, said, complained)
    assert ([], "late\n") == (machine.frozen(), machine.must(thaw("t1")))


def test_the_last_one_too_slow(dash: Machine) -> None:
    """What was frozen when the dead-man had been there is thawed by who froze it."""
    gate = dash.put("gate-f%")
    shell = dash.start(freeze("t1", seconds=1))
    eventually(lambda: "fired" in dash.marks())
    gate.unlink()
    assert "not all was held within 1 seconds" in shell.communicate(timeout=20)[1]
    assert ([], "late\n") == (dash.frozen(), dash.must(thaw("t1")))


def test_one_that_cannot_be_frozen(machine: Machine) -> None:
    """It is named; the others are thawed at once, and it is not touched: somebody else has frozen it."""
    (machine.root / "frozen/%").mkdir()
    status, said, complained = machine.run(freeze("t1", seconds=60))
    assert (1, 2) == (status, len(said.splitlines()))
    assert "/ cannot be frozen: fsfreeze: /: freeze failed: Device or resource busy\n" == complained
    assert (["%"], "late\n") == (machine.frozen(), machine.must(thaw("t1")))
    assert f"fsfreeze -u {ROOT}" not in machine.log()
    eventually(lambda: not machine.dead_men())


def test_one_that_knows_no_freezing(dash: Machine) -> None:
    """It is passed over, and that is said; vfat is one."""
    dash.mounts(MOUNTS + "/dev/xvda9 /boot/efi vfat rw 0 0\n")
    dash.put("fail-f%boot%efi", "freeze failed: Operation not supported")
    found = parse_frozen(dash.must(freeze("t1", seconds=60)))
    assert (("/boot/efi",), 3) == (found.passed_over, len(found.points))
    assert "in-time\n" == dash.must(thaw("t1"))


def test_thawed_by_somebody_else(machine: Machine) -> None:
    """One was written to again: late, though all others were still frozen; those are thawed."""
    machine.must(freeze("t1", seconds=60))
    (machine.root / "frozen/%home").rmdir()
    assert ("late\n", []) == (machine.must(thaw("t1")), machine.frozen())


def test_one_that_cannot_be_thawed(dash: Machine) -> None:
    """It is an error that names it; the dead-man keeps trying, until it can be, and so does who asks again."""
    dash.must(freeze("t1", seconds=2))
    broken = dash.put("fail-u%home", "unfreeze failed: Input/output error")
    status, said, complained = dash.run(thaw("t1"))
    assert (1, "", ["%home"]) == (status, said, dash.frozen())
    assert re.match("not all could be let go, .* try again: /home: fsfreeze: /home: .*output error; $", complained)
    broken.unlink()
    eventually(lambda: [] == dash.frozen())
    assert "late\n" == dash.must(thaw("t1"))


def test_disarmed(dash: Machine) -> None:
    """The dead-man of one freeze never thaws the next; what the first has left is swept, not what is in use."""
    dash.must(freeze("t1", seconds=2))
    dash.must(thaw("t1"))
    dash.must(freeze("t2", seconds=60))
    assert ["xvmstore-freeze-t2"] == [path.name for path in (dash.root / "run").iterdir()]
    eventually(lambda: 1 == len(dash.dead_men()))
    time.sleep(2)  # Time to fire after all.
    assert "busy" in dash.run(freeze("t3", seconds=60))[2]
    assert ("late\n", "in-time\n") == (dash.must(thaw("t3")), dash.must(thaw("t2")))


def test_thaw_without_a_freeze(machine: Machine) -> None:
    """After a reboot, say: nothing to do, and nothing was consistent."""
    assert ("late\n", []) == (machine.must(thaw("t1")), machine.log())


def test_what_freeze_refuses(dash: Machine) -> None:
    """A used token, and what would hang it or prove nothing; each before anything is frozen."""

    def complaint() -> str:
        status, said, complained = dash.run(freeze("t1", seconds=60))
        assert (1, "") == (status, said)
        return complained

    dash.mounts("proc /proc proc rw 0 0\n/dev/xvda1 / ext4 ro 0 0\n")
    assert "no file system on a disk is mounted read-write here\n" == complaint()
    dash.mounts("/dev/xvda1 / ext4 rw 0 0\n")
    assert complaint().startswith("/run is on a disk here")
    dash.mounts(MOUNTS + "/dev/xvdb @/run xfs rw 0 0\n")
    assert complaint().startswith("/run is on a disk here"), "the last one mounted there counts"
    dash.mounts(MOUNTS)
    assert [] == dash.log()
    dash.must(freeze("t1", seconds=60))
    assert complaint().endswith("xvmstore-freeze-t1: is this token in use, or is the login not root's?\n")
    assert ["in-time\n"] == [dash.must(thaw("t1"))]
    (dash.bin / "fsfreeze").unlink()
    assert re.match(r"there is no \S*fsfreeze here: install util-linux\n\Z", complaint())


def test_output_on_a_disk(dash: Machine) -> None:
    """A script whose own files would be frozen would hang at its end, and so would the next one at its start."""
    argv = [str(dash.bin / "sh"), *dash.safe(freeze("t1", seconds=60).argv)[1:]]
    for folder, status in (("proc", 1), ("run", 0)):
        with (dash.root / folder / "o").open("w") as out:
            done = subprocess.run(argv, env=dash.env, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        assert status == done.returncode
        assert status == ("would be frozen, this script with it: set TMPDIR=/dev/shm" in done.stderr)
    assert "in-time\n" == dash.must(thaw("t1"))


def test_over_a_host(dash: Machine) -> None:
    """As steps of scripts: in two trips; and in one that fails later, all is thawed."""

    def safe(step: Step) -> Step:
        return replace(step, argv=tuple(dash.safe(step.argv)), undo=tuple(dash.safe(step.undo)) if step.undo else None)

    words = [f"{name}={value}" for name, value in dash.env.items()]
    guest = Host("web1", LocalShell(("env", *words, f"TMPDIR={dash.root}/run", "/bin/sh")))
    guest.run([safe(freeze("t1", seconds=60))]).must()
    assert 3 == len(dash.frozen())
    assert parse_let_go(guest.run([safe(thaw("t1"))]).must().steps[0].stdout)
    with pytest.raises(StepFailed, match="undone"):
        guest.run([safe(freeze("t2", seconds=60)), Step(("false",))]).must()
    assert [] == dash.frozen()
    on_disk = Host("web1", LocalShell(("env", *words, f"TMPDIR={dash.root}", "/bin/sh")))
    with pytest.raises(StepFailed, match=r"^web1: `/bin/sh -c '\.\.\.' freeze-guest \S+ 60` exited 1: .*=/dev/shm$"):
        on_disk.run([safe(freeze("t3", seconds=60))]).must()


def test_words_that_cannot_be() -> None:
    """A token is a word, the time has an end; answers are read or complained of."""
    for token, seconds in (("../x", 60), ("a b", 60), ("", 60), ("t", 0), ("t", 3601)):
        with pytest.raises(InvalidValue):
            freeze(token, seconds=seconds)
        with pytest.raises(InvalidValue):
            pause(token, "web1", seconds=seconds, by=PAUSINGS["xl"])
    with pytest.raises(InvalidValue):
        pause("t", "-a", seconds=1, by=PAUSINGS["xl"])
    assert [True, False] == [parse_let_go(f"{text}\n") for text in ("in-time", "late")]
    for text in ("", "in-time\nlate\n"):
        with pytest.raises(UnexpectedOutput):
            parse_let_go(text)
    with pytest.raises(UnexpectedOutput):
        parse_frozen("frozen /\nand more\n")


# --- in dom0 ---------------------------------------------------------------------------------------------------------

XL = PAUSINGS["xl"]


@pytest.mark.parametrize(
    ("stack", "calls"),
    [
        ("xl", ["xl domid web1", "xl pause 7", "xl unpause 7"]),
        ("xm", ["xm domid web1", "xm pause 7", "xm unpause 7"]),
        ("xm-solaris", ["xm domid web1", "xm pause 7", "xm unpause 7"]),
        ("libvirt", ["virsh domid web1", "virsh suspend 7", "virsh resume 7"]),
    ],
)
def test_pause_and_unpause(machine: Machine, stack: str, calls: list[str]) -> None:
    """In time, in each toolstack's words, once; the dead-man has ended then."""
    by = PAUSINGS[stack]
    assert ("", "paused") == (machine.must(pause("t1", "web1", seconds=60, by=by)), machine.state())
    assert 1 == len(machine.dead_men())
    assert ["in-time\n"] * 2 == [machine.must(unpause("t1", by=by)) for _ in range(2)]
    assert ("running", calls) == (machine.state(), machine.log())
    eventually(lambda: not machine.dead_men())


def test_the_dead_man_unpauses(machine: Machine) -> None:
    """Nobody does: it does, and what comes later is told so."""
    machine.must(pause("t1", "web1", seconds=1, by=XL))
    eventually(lambda: "said" in machine.marks())
    assert ("running", "late\n") == (machine.state(), machine.must(unpause("t1", by=XL)))


def test_somebody_elses_pause(machine: Machine) -> None:
    """A guest that is paused already is left so: by pause, by its undo, by unpause."""
    machine.put("domain", "paused\n")
    status, _, complained = machine.run(pause("t1", "web1", seconds=60, by=XL))
    assert (1, "web1 is paused already, and not by us") == (status, complained.partition(":")[0])
    undo = pause("t1", "web1", seconds=60, by=XL).undo
    assert undo
    assert ["late\n"] * 2 == [machine.must(Step(undo)), machine.must(unpause("t1", by=XL))]
    assert ("paused", ["xl domid web1"], []) == (machine.state(), machine.log(), machine.dead_men())


def test_a_guest_that_does_not_run(machine: Machine) -> None:
    """It is named, with the toolstack's own words."""
    (machine.root / "domain").unlink()
    status, _, complained = machine.run(pause("t1", "web1", seconds=60, by=XL))
    assert (1, True) == (status, complained.startswith("web1 does not run here: Can't get domid of domain name 'web1'"))
    assert [] == machine.dead_men()


def test_let_go_by_somebody_else(dash: Machine) -> None:
    """Unpaused, or gone altogether: late, and nothing is done to it."""
    dash.must(pause("t1", "web1", seconds=60, by=XL))
    dash.put("domain", "running\n")
    assert "late\n" == dash.must(unpause("t1", by=XL))
    dash.must(pause("t2", "web1", seconds=60, by=XL))
    (dash.root / "domain").unlink()
    assert "late\n" == dash.must(unpause("t2", by=XL))
    assert "xl unpause 7" not in dash.log()


def test_a_pause_that_fails(dash: Machine) -> None:
    """Or does nothing: an error; the guest runs, and nobody waits to unpause it."""
    dash.put("lazy")
    assert (1, "", "web1 is not paused after all\n") == dash.run(pause("t1", "web1", seconds=60, by=XL))
    dash.put("fail-pause", "libxl: no\n")
    assert (1, "", "web1 cannot be paused: libxl: no\n") == dash.run(pause("t2", "web1", seconds=60, by=XL))
    assert "running" == dash.state()
    eventually(lambda: not dash.dead_men())


def test_an_unpause_that_fails(dash: Machine) -> None:
    """It is an error, and the dead-man tries until it works."""
    dash.must(pause("t1", "web1", seconds=2, by=XL))
    broken = dash.put("fail-unpause", "libxl: no\n")
    status, said, complained = dash.run(unpause("t1", by=XL))
    assert (1, "", True) == (status, said, complained.endswith("try again: 7: libxl: no; \n"))
    broken.unlink()
    eventually(lambda: "running" == dash.state())
