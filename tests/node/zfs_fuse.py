"""A real ZFS of OpenSolaris' last days: the commands and the code of pool version 23, which Debian's zfs-fuse runs as a
program of the user's.

It is unpacked by `make test` and never installed: the package would start a daemon on the developer's machine, and
zfsutils-linux, which may have his root file system, conflicts with it. It knows file systems only, no zvols.

One daemon is one process, in a mount namespace where everything but a directory of the test is read-only or of its own.
Nothing outside ever sees what it mounts, and it does not outlive the process that started it.

``python -m tests.node.zfs_fuse`` records what its commands print, into ``tests/captured``.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from remote.host import Host
from remote.local import LocalShell

CAPTURED = Path(__file__).parent.parent / "captured" / "zfs-fuse" / "zfs-zpool-23.txt"
UNPACKED = (Path(__file__).parent.parent.parent / ".venv" / "zfs-fuse").resolve()
MEGABYTES = 96
# What the daemon and its commands have paths of in them, and what their core files would be called.
PLACES = ("/etc/zfs", "/var/lib/zfs", "/var/run/zfs", "/var/lock/zfs", "/zfs-kstat", "/core", "/tank")
# What the directory is called in there, and where the disks are: in memory, for ZFS waits for the disk at each change.
HOME, DISKS = "/run/home", "/run/disks"
# argv: the directory that stays writable, the libraries, the daemon. /var/run and /var/lock are in /run.
_PRIVATE = """\
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro /
for place in /run /var/lib /etc/zfs; do
    [ ! -d $place ] || mount -t tmpfs -o mode=755 private $place
done
mkdir -p /run/lock /run/home /run/disks
mount --bind "$1" /run/home
exec env LD_LIBRARY_PATH="$2" "$3" --no-daemon --no-kstat-mount
"""


def why_not() -> str:
    """Why it cannot run here; empty where it can."""
    if not (UNPACKED / "sbin" / "zfs-fuse").exists():
        return f"no {UNPACKED}: `make test` unpacks Debian's package zfs-fuse there, where Debian has one"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "prlimit") if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]}: install util-linux"
    if os.getuid() != 0:
        return "only root may have a mount namespace and FUSE of its own: run it as root"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}: load the module fuse, or give the container this device"
    words = ("unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "private", "/run")
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr.strip()


@dataclass(frozen=True)
class OldZfs:
    """A running daemon with one pool, tank, of two files. ``host`` runs scripts where its file systems are seen.

    ``bin`` has zfs and zpool that can be called from outside.
    """

    directory: Path
    daemon: subprocess.Popen[bytes]

    @property
    def bin(self) -> Path:
        """Programs that enter the namespace first."""
        return self.directory / "bin"

    @property
    def tmp(self) -> Path:
        """For the scripts' own files, and their locks."""
        return self.directory / "tmp"

    @property
    def namespace(self) -> str:
        """The mount namespace, as the kernel names it."""
        return os.readlink(f"/proc/{self.daemon.pid}/ns/mnt")

    @property
    def host(self) -> Host:
        """As a node."""
        return Host("old", LocalShell((*self._enter(), "/bin/sh")), timeout=60, scratch=str(self.tmp))

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell there."""
        words = (*self._enter(), "/bin/sh", "-c", line)
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def did(self, *lines: str) -> str:
        """Run lines that must exit 0 and say nothing on stderr; what the last one printed."""
        printed = ""
        for line in lines:
            done = self.run(line)
            assert (0, "") == (done.returncode, done.stderr), f"{line}: {done.stderr}"
            printed = done.stdout
        return printed

    def _enter(self) -> tuple[str, ...]:
        # A limit of one byte: no core file, and no program that is given one either (core(5)).
        words = ("prlimit", "--core=1", "nsenter", "--mount", "--target", str(self.daemon.pid), "env")
        path = f"PATH={UNPACKED / 'sbin'}:/usr/bin:/bin"
        return (*words, path, _libraries(), f"TMPDIR={self.tmp}", f"XVMSTORE_LOCKS={self.tmp}", "LC_ALL=C")

    def pool(self, name: str, layout: str) -> None:
        """Make a pool that is never mounted and remembered nowhere; words of one letter are its disks, sparse files."""
        disks = [word for word in layout.split() if len(word) == 1]
        words = " ".join(f"{DISKS}/{word}" if word in disks else word for word in layout.split())
        self.did(f"cd {DISKS} && truncate -s {MEGABYTES}M {' '.join(disks)}")
        # It tells on stderr which block size it chose.
        made = self.run(f"zpool create -o cachefile=none -m none {name} {words}")
        assert 0 == made.returncode, made.stderr

    def wrap(self) -> None:
        """Make the programs in ``bin``."""
        self.bin.mkdir()
        for name in ("zfs", "zpool"):
            path = self.bin / name
            path.write_text(f'#!/bin/sh\nexec {" ".join(self._enter())} {name} "$@"\n')
            path.chmod(0o755)


def _libraries() -> str:
    return "LD_LIBRARY_PATH=" + ":".join(sorted({str(path.parent) for path in UNPACKED.rglob("lib*.so.*")}))


def _start(directory: Path) -> OldZfs:
    (directory / "tmp").mkdir(parents=True)
    # Each of these becomes the next: it is one process, killed when the one that started it ends.
    own = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c")
    words = (*own, _PRIVATE, "private", str(directory), _libraries().partition("=")[2])
    with (directory / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            (*words, str(UNPACKED / "sbin" / "zfs-fuse")), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    old = OldZfs(directory, daemon)
    old.wrap()
    return old


def _answers(old: OldZfs) -> bool:
    # Before that, entering its namespace would be entering ours.
    arrived = os.readlink(f"/proc/{old.daemon.pid}/exe") == str(UNPACKED / "sbin" / "zfs-fuse")
    return arrived and old.run("zpool list").returncode == 0


def _wait(old: OldZfs) -> None:
    deadline = time.monotonic() + 20
    while old.daemon.poll() is None and not _answers(old):
        assert time.monotonic() < deadline, "zfs-fuse does not answer"
        time.sleep(0.05)
    assert old.daemon.poll() is None, (old.directory / "daemon.log").read_text()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[OldZfs]:
    """A daemon and its pool; afterwards exported, stopped, and nothing left."""
    before = outside(directory)
    old = _start(directory)
    try:
        _wait(old)
        namespace = old.namespace
        old.pool("tank", "mirror a b")
        yield old
        old.did("zpool export tank")
    finally:
        old.daemon.terminate()
        try:
            # Its worker threads take some seconds to find out.
            old.daemon.wait(20)
        except subprocess.TimeoutExpired:
            old.daemon.kill()
            old.daemon.wait(20)
    assert ([], before) == (inside(namespace), outside(directory))


def inside(namespace: str) -> list[int]:
    """The processes in a mount namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "ns" / "mnt") == namespace:
                found.append(int(entry.name))
    return found


def outside(directory: Path) -> Sequence[str]:
    """What could be left on this machine: mounts, files in the daemon's places."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]
    files = [str(path) for place in PLACES for path in (Path(place), *Path(place).rglob("*")) if path.exists()]
    return (*mounts, *sorted(files))


_COLUMNS = "name,property,value,source"
_QUIET = "while zpool status tank | grep -q 'in progress'; do sleep 0.1; done"
# Questions, changes, and commands that must fail, in this order, on a pool that was just made.
COMMANDS = (
    "zpool status none",
    "zpool status tank",
    "zpool list -Hp -o name,size,allocated,free,capacity,health",
    "zpool list -H -o name,size,used,available,capacity,health",
    "zpool list -H -o name,size,allocated,free,capacity,health",
    "zpool upgrade -v",
    "zfs",
    "zfs create -p -o canmount=off -o mountpoint=none tank/xvm",
    "zfs create -o org.xvmstore:guest=web1 tank/xvm/web1",
    "zfs create tank/xvm/web1/root",
    "zfs create tank/xvm/web1/root",
    "zfs create -V 10M tank/xvm/web1/disk",
    "zfs snapshot -r -o org.xvmstore:checkpoint=manual tank/xvm/web1@one",
    "zfs snapshot -r tank/xvm/web1@one",
    "zfs snapshot tank/xvm/web1@two tank/xvm/web1/root@two",
    "zfs snapshot -r tank/xvm/none@one",
    f"zfs get -Hp -r -o {_COLUMNS} type,creation,used,volsize,refreservation,org.xvmstore:checkpoint tank/xvm",
    f"zfs get -Hp -r -o {_COLUMNS} type tank/xvm/none",
    f"zfs get -Hp -r -o {_COLUMNS} userrefs tank/xvm/web1",
    f"zfs get -Hp -r -o {_COLUMNS} written,userrefs tank/xvm/web1",
    "zfs list -Hp -o name tank/xvm",
    "zfs hold -r xvmstore tank/xvm/web1@one",
    "zfs hold -r xvmstore tank/xvm/web1@one",
    "zfs hold xvmstore tank/xvm/web1@none",
    "zfs holds -H tank/xvm/web1@one",
    "zfs destroy tank/xvm/web1@one",
    "zfs destroy -r tank/xvm/web1@one",
    "zfs release -r xvmstore tank/xvm/web1@one",
    "zfs release -r xvmstore tank/xvm/web1@one",
    "zfs snapshot tank/xvm/web1/root@later",
    "zfs clone -o canmount=off tank/xvm/web1/root@one tank/xvm/copy",
    "zfs get -Hp -r -o name,value origin tank",
    "zfs rollback tank/xvm/web1/root@one",
    "zfs destroy tank/xvm/web1/root@one",
    "zfs destroy -r tank/xvm/web1@one",
    "zfs destroy tank/xvm/web1",
    "zfs rename tank/xvm/none tank/xvm/other",
    "zfs set refreservation=auto tank/xvm/copy",
    "zfs program -jn tank -",
    "zfs list -H -t bookmark -o name tank",
    f"zpool offline tank {DISKS}/b",
    "zpool status",
    f"zpool online tank {DISKS}/b",
    f"{_QUIET}; zpool scrub tank",
    f"{_QUIET}; zpool status tank",
)


def _case(old: OldZfs, number: int, command: str) -> str:
    done = old.run(command)
    streams = ""
    for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        ended = text if not text or text.endswith("\n") else f"{text}\n#@ nonl\n"
        streams += f"#@ {name}:\n{ended}"
    return f"#@ case: {number} {command}\n#@ cmd: {command}\n#@ exit: {done.returncode}\n{streams}#@ end\n"


def main() -> None:
    """Run them all on a new pool."""
    if reason := why_not():
        raise SystemExit(reason)
    release = subprocess.run(["apt-cache", "policy", "zfs-fuse"], capture_output=True, text=True, check=True).stdout
    version = release.partition("Candidate: ")[2].partition("\n")[0]
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "node") as old:
        cases = [_case(old, number, command) for number, command in enumerate(COMMANDS, 1)]
    CAPTURED.parent.mkdir(exist_ok=True)
    CAPTURED.write_text(f"#: zfs and zpool of Debian's zfs-fuse {version}, pool version 23; RUN\n\n" + "\n".join(cases))


if __name__ == "__main__":
    main()
