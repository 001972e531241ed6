"""What xvmstore does on the machine it runs on, on a real one with OpenZFS, apt and its own Python."""

import base64
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

import storage
from tests.lab.live import LabNode

HOME, PROGRAM = "/opt/xvmstore", "/usr/local/bin/xvmstore"
PROJECT = Path(storage.__file__).parent.parent

# Asks one backend, and prints for each question how it ended and what `zfs` shows then. The last ones are asked as
# somebody without rights.
QUESTIONS = r"""
import json, os, subprocess, sys
from remote.errors import XvmError
from storage import local

zfs = local.here(prefer=sys.argv[1])
T = "tank/local"
A, B, C, ODD, FS, TIGHT = (f"{T}/{one}" for one in ("a", "b", "c", "an odd:name", "fs", "tight/disk"))

seen = []

def sh(*argv):
    seen.clear()
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{argv}: {done.stderr}")
    return done.stdout

def first(dataset):
    return sh("dd", f"if=/dev/zvol/{dataset}", "bs=4096", "count=1", "iflag=direct", "status=none")[:1]

def write(dataset, data):
    argv = ["dd", f"of=/dev/zvol/{dataset}", "bs=1M", "oflag=direct", "iflag=fullblock", "status=none"]
    subprocess.run(argv, input=data * ((1 << 20) // len(data)), check=True)

def shown():
    found = sh("zfs", "list", "-H", "-t", "all", "-r", "-o", "name,clones,org.xvmstore:reason", T).splitlines()
    snapshots = [line.split("\t")[0] for line in found if "@" in line]
    held = sh("zfs", "holds", "-H", *snapshots).splitlines() if snapshots else []
    seen[:] = [*found, *("held\t" + "\t".join(line.split("\t")[:2]) for line in sorted(held))]
    return list(seen)

def ask(what, do, *words):
    # What nothing has touched since the last question is as it was then.
    before = list(seen) or shown()
    try:
        do(*words)
        ended = ["done", [], ""]
    except XvmError as error:
        ended = [type(error).__name__, list(getattr(error, "names", ())), str(error)]
    except Exception as error:
        ended = ["BUG", [], repr(error)]
    print(json.dumps([what, *ended, before, shown()]))

sh("zfs", "create", T)
for disk in (A, B, C, ODD):
    sh("zfs", "create", "-s", "-V", "16M", disk)
sh("zfs", "create", "-o", f"mountpoint=/{T}", FS)
sh("zfs", "create", "-o", "quota=40M", os.path.dirname(TIGHT))
sh("zfs", "create", "-V", "24M", TIGHT)
sh("udevadm", "settle")
write(A, b"1"), write(B, b"1")
for mib in range(20):
    sh("dd", "if=/dev/urandom", f"of=/dev/zvol/{TIGHT}", "bs=1M", "count=1", f"seek={mib}", "oflag=direct")

because = {"org.xvmstore:reason": "before it's \"tried\""}
ask("two at once", zfs.snapshot, [f"{A}@one", f"{B}@one"], because)
ask("an odd name", zfs.snapshot, [f"{ODD}@one"], {})
ask("one is taken", zfs.snapshot, [f"{C}@one", f"{A}@one"], because)
ask("both are taken", zfs.snapshot, [f"{B}@one", f"{A}@one"], because)
ask("one dataset is missing", zfs.snapshot, [f"{C}@one", f"{T}/nope@one"], because)
ask("two datasets are missing", zfs.snapshot, [f"{T}/nope@one", f"{C}@one", f"{T}/gone@one"], because)
ask("the pool is missing", zfs.snapshot, ["nopool/a@one"], {})
ask("two pools", zfs.snapshot, [f"{C}@one", "ssd/c@one"], {})
ask("twice of one", zfs.snapshot, [f"{C}@one", f"{C}@two"], {})
ask("no room", zfs.snapshot, [f"{TIGHT}@one"], {})
ask("no room for one of two", zfs.snapshot, [f"{C}@one", f"{TIGHT}@one"], {})
ask("hold", zfs.hold, [f"{A}@one"], "xvmstore")
ask("hold one that is held", zfs.hold, [f"{B}@one", f"{A}@one"], "xvmstore")
ask("hold one that is missing", zfs.hold, [f"{B}@one", f"{A}@nope"], "xvmstore")
ask("hold in a dataset that is missing", zfs.hold, [f"{B}@one", f"{T}/nope@one"], "xvmstore")
ask("hold one that is held and one that is missing", zfs.hold, [f"{A}@one", f"{B}@nope"], "xvmstore")
ask("hold what all is missing", zfs.hold, [f"{A}@nope", f"{B}@nope"], "xvmstore")
ask("destroy one that is held", zfs.destroy, [f"{B}@one", f"{A}@one"])
ask("hold by another tag", zfs.hold, [f"{A}@one", f"{B}@one"], "other")
ask("release one that is not held by the tag", zfs.release, [f"{A}@one", f"{B}@one"], "xvmstore")
ask("release", zfs.release, [f"{B}@one", f"{A}@one"], "other")
ask("release one that is held by nobody", zfs.release, [f"{A}@one"], "xvmstore")
ask("release one that is missing", zfs.release, [f"{A}@nope", f"{B}@one"], "xvmstore")
ask("release in a dataset that is missing", zfs.release, [f"{T}/nope@one"], "xvmstore")
sh("zfs", "clone", f"{A}@one", f"{T}/clone")
ask("destroy one that is cloned", zfs.destroy, [f"{B}@one", f"{A}@one"])
sh("zfs", "hold", "other", f"{A}@one")
ask("destroy one that is held and cloned", zfs.destroy, [f"{B}@one", f"{A}@one"])
sh("zfs", "hold", "other", f"{B}@one")
sh("zfs", "release", "other", f"{A}@one")
ask("destroy one that is held and one that is cloned", zfs.destroy, [f"{A}@one", f"{B}@one"])
sh("zfs", "release", "other", f"{B}@one")
sh("zfs", "destroy", f"{T}/clone")
ask("destroy one that is missing", zfs.destroy, [f"{B}@one", f"{A}@nope"])
ask("destroy in a dataset that is missing", zfs.destroy, [f"{B}@one", f"{T}/nope@one"])
with subprocess.Popen(["zfs", "send", f"{B}@one"], stdout=subprocess.PIPE) as send:
    send.stdout.read(1)
    ask("destroy one that is being sent", zfs.destroy, [f"{B}@one", f"{A}@one"])
    send.kill()
ask("destroy an odd name", zfs.destroy, [f"{ODD}@one"])
write(A, b"2")
ask("rollback", zfs.rollback, A, "one")
ask(f"what is there then: {first(A)}", str)
write(A, b"3")
with open(f"/dev/zvol/{A}", "rb"):
    ask("rollback of what somebody has open", zfs.rollback, A, "one")
ask(f"what is there now: {first(A)}", str)
ask("a newer one", zfs.snapshot, [f"{A}@two"], {})
ask("rollback past a newer one", zfs.rollback, A, "one")
sh("zfs", "clone", f"{A}@two", f"{T}/clone")
ask("rollback past one that is cloned", zfs.rollback, A, "one")
sh("zfs", "destroy", f"{T}/clone")
sh("zfs", "hold", "other", f"{A}@two")
ask("rollback past one that is held", zfs.rollback, A, "one")
sh("zfs", "release", "other", f"{A}@two")
ask("destroy two", zfs.destroy, [f"{A}@two", f"{B}@one"])
sh("zfs", "bookmark", f"{A}@one", f"{A}#mark")
ask("rollback to where there is a bookmark", zfs.rollback, A, "one")
sh("zfs", "snapshot", f"{A}@two")
sh("zfs", "bookmark", f"{A}@two", f"{A}#mark2")
sh("zfs", "destroy", f"{A}@two")
ask("rollback past a newer bookmark", zfs.rollback, A, "one")
ask("rollback to what is missing", zfs.rollback, A, "nope")
ask("rollback where there is none", zfs.rollback, C, "one")
ask("rollback of what is missing", zfs.rollback, f"{T}/nope", "one")
ask("rollback in a pool that is missing", zfs.rollback, "nopool/a", "one")
with open(f"/{T}/file", "w") as file:
    file.write("old")
ask("a filesystem", zfs.snapshot, [f"{FS}@one"], {})
with open(f"/{T}/file", "w") as file:
    file.write("new")
with open(f"/{T}/file"):
    ask("rollback of what is mounted", zfs.rollback, FS, "one")
with open(f"/{T}/file") as file:
    ask(f"what is in the file: {file.read()}", str)

sh("zfs", "hold", "xvmstore", f"{A}@one")
os.setgid(65534)
os.setuid(65534)
ask("snapshot by nobody", zfs.snapshot, [f"{C}@one", f"{ODD}@one"], because)
ask("hold by nobody", zfs.hold, [f"{A}@one", f"{FS}@one"], "mine")
ask("release by nobody", zfs.release, [f"{A}@one"], "xvmstore")
ask("destroy by nobody", zfs.destroy, [f"{FS}@one"])
ask("rollback by nobody", zfs.rollback, FS, "one")
"""


def _copied() -> str:
    """The project's packages and what they need of others, as base64 of a tar archive."""
    packages = [PROJECT / name for name in ("remote", "storage", "xvmstore")]
    packages += [Path(module.__file__ or "").parent for module in (click, msgspec)]
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for package in packages:
            archive.add(package, package.name, filter=lambda one: None if "__pycache__" in one.name else one)
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture(scope="module")
def machine(node: LabNode) -> LabNode:
    """The storage machine, with xvmstore on it: a program on PATH that runs under the distribution's Python."""
    own = "import sys; print(*sys.version_info[:2])"
    assert f"{sys.version_info[0]} {sys.version_info[1]}" == node.shell(f"python3 -c '{own}'").strip(), (
        "msgspec's compiled part is for one minor version of Python: run the lab's tests with Debian's"
    )
    node.lab.ssh(node.lab.storage, f"mkdir -p {HOME} && base64 -d | tar -xz -C {HOME}", stdin=_copied())
    program = f'#!/bin/sh\nPYTHONPATH={HOME} exec python3 -m xvmstore "$@"\n'
    node.lab.ssh(node.lab.storage, f"cat >{PROGRAM} && chmod 755 {PROGRAM}", stdin=program)
    return node


# How each question ends: the error, and the names it is about, below tank/local.
ENDS = """\
two at once: done
an odd name: done
one is taken: Exists a@one
both are taken: Exists a@one b@one
one dataset is missing: Missing nope
two datasets are missing: Missing gone nope
the pool is missing: Missing nopool/a
two pools: InvalidValue
twice of one: InvalidValue
no room: NoSpace tight/disk@one
no room for one of two: NoSpace tight/disk@one
hold: done
hold one that is held: HoldExists a@one
hold one that is missing: Missing a@nope
hold in a dataset that is missing: Missing nope@one
hold one that is held and one that is missing: Missing b@nope
hold what all is missing: Missing a@nope b@nope
destroy one that is held: Held a@one
hold by another tag: done
release one that is not held by the tag: NotHeld b@one
release: done
release one that is held by nobody: NotHeld a@one
release one that is missing: Missing a@nope
release in a dataset that is missing: Missing nope@one
destroy one that is cloned: Cloned a@one
destroy one that is held and cloned: Held a@one
destroy one that is held and one that is cloned: Held b@one
destroy one that is missing: Missing a@nope
destroy in a dataset that is missing: Missing nope@one
destroy one that is being sent: Held b@one
destroy an odd name: done
rollback: done
what is there then: 1: done
rollback of what somebody has open: done
what is there now: 1: done
a newer one: done
rollback past a newer one: NotLatest a@one
rollback past one that is cloned: NotLatest a@one
rollback past one that is held: NotLatest a@one
destroy two: done
rollback to where there is a bookmark: done
rollback past a newer bookmark: NotLatest a@one
rollback to what is missing: Missing a@nope
rollback where there is none: Missing c@one
rollback of what is missing: Missing nope@one
rollback in a pool that is missing: Missing nopool/a@one
a filesystem: done
rollback of what is mounted: done
what is in the file: old: done
snapshot by nobody: NoRights an_odd:name@one c@one
hold by nobody: NoRights a@one fs@one
release by nobody: NoRights a@one
destroy by nobody: NoRights fs@one
rollback by nobody: NoRights fs
"""


@dataclass(frozen=True)
class Answer:
    """How a question ended, and what `zfs` showed before and afterwards."""

    kind: str
    names: Sequence[str]
    says: str
    before: Sequence[str]
    after: Sequence[str]

    def __str__(self) -> str:
        return " ".join((self.kind, *(one.removeprefix("tank/local/").replace(" ", "_") for one in self.names)))


def _answers(machine: LabNode, prefer: str) -> dict[str, Answer]:
    """What a backend answers, on datasets made for it."""
    tidy = "code=$?; zfs release xvmstore tank/local/a@one; zfs destroy -R tank/local"
    run = f"PYTHONPATH={HOME} python3 - {prefer}; {tidy} && exit $code"
    lines = machine.lab.ssh(machine.lab.storage, run, stdin=QUESTIONS, seconds=300).splitlines()
    return {what: Answer(*rest) for what, *rest in map(json.loads, lines)}


def test_both_backends_on_real_zfs(machine: LabNode) -> None:
    """The same error about the same names in the same words; the same is there then: as before, if it was refused."""
    command, pyzfs = _answers(machine, "command"), _answers(machine, "pyzfs")

    assert ENDS.splitlines() == [f"{what}: {answer}" for what, answer in command.items()]
    assert command == pyzfs
    # What can be released is, whatever else was asked for.
    changed = [what for what, one in command.items() if one.kind != "done" and one.before != one.after]
    assert ["release one that is not held by the tag"] == changed


def test_which_backend_there_is(machine: LabNode) -> None:
    """The distribution's own Python has libzfs_core; one that does not see its packages is told how to get it."""
    ask = 'from storage import local; print(type(local.here(prefer="{}")).__name__)'

    def here(prefer: str, options: str = "") -> str:
        return machine.shell(f"PYTHONPATH={HOME} python3 {options} -c '{ask.format(prefer)}' 2>&1 | tail -n 1").strip()

    assert ["Lzc", "Lzc", "CommandLine"] == [here("auto"), here("pyzfs"), here("command")]
    assert "CommandLine" == here("auto", "-S")
    said = here("pyzfs", "-S")
    assert re.search(r"Unavailable: there is no libzfs_core .*: on Debian `apt install python3-pyzfs`", said), said


# -- apt: the hook that apt calls --------------------------------------------------------------------------------------

# A package that notes what snapshots there are when dpkg unpacks it. Version 3 cannot be configured.
PACKAGE = r"""
set -e
mkdir -p /root/debs && cd /root/debs
for version in 1 2 3; do
    mkdir -p tree/DEBIAN
    printf '%s\n' 'Package: xvmtest' "Version: $version" 'Architecture: all' 'Maintainer: nobody <nobody@example.org>' \
        'Description: a test' >tree/DEBIAN/control
    printf '#!/bin/sh\nzfs list -H -t snapshot -o name >/root/debs/seen\n' >tree/DEBIAN/preinst
    printf '#!/bin/sh\n[ %s != 3 ]\n' $version >tree/DEBIAN/postinst
    chmod 755 tree/DEBIAN/preinst tree/DEBIAN/postinst
    dpkg-deb --build tree xvmtest_${version}_all.deb >/dev/null
done
"""
# What a machine with its root on ZFS has, without being one: mounted datasets whose mountpoint is "/" and below.
ROOT = r"""
set -e
zfs create -o mountpoint=/ -o canmount=noauto tank/system
zfs create -o canmount=noauto tank/system/var
zfs create -o canmount=noauto tank/system/unused
mount -t zfs -o zfsutil tank/system /mnt
mkdir /mnt/var
mount -t zfs -o zfsutil tank/system/var /mnt/var
"""


class Apt:
    """apt of the storage machine, with the hook."""

    def __init__(self, machine: LabNode) -> None:
        self.machine = machine

    def install(self, version: int) -> tuple[int, str]:
        """Install a version: apt's exit status, and what was said on stderr."""
        done = self.machine.on_node("sh", "-c", f"apt-get install -qqy /root/debs/xvmtest_{version}_all.deb >/dev/null")
        return done.returncode, done.stderr

    def version(self) -> str:
        """What dpkg has of it: its state, and version."""
        return self.machine.shell("dpkg-query -W -f '${db:Status-Status} ${Version}' xvmtest 2>/dev/null || :")

    def hook(self, *words: str) -> None:
        """``xvmstore hook install apt``."""
        self.machine.shell(f"xvmstore hook install apt {' '.join(words)}")

    def seen(self) -> list[str]:
        """The snapshots there were while dpkg unpacked."""
        return self.machine.shell("cat /root/debs/seen; rm /root/debs/seen").split()

    def checkpoints(self) -> list[dict[str, Any]]:
        """All of the machine."""
        said = json.loads(self.machine.shell("xvmstore checkpoint list --local --json"))
        return list(said["checkpoints"])


@pytest.fixture
def apt(machine: LabNode) -> Iterator[Apt]:
    """A machine with its root on ZFS and the packages; afterwards as it was."""
    machine.shell(PACKAGE)
    machine.shell(ROOT)
    yield Apt(machine)
    machine.shell("umount /mnt/var /mnt 2>/dev/null; dpkg --purge --force-all xvmtest >/dev/null 2>&1; "
                  "rm -rf /root/debs /etc/xvmstore; xvmstore hook remove apt >/dev/null 2>&1; "
                  "zfs list -H -t snapshot -o name -r tank/system | xargs -r zfs release -r xvmstore 2>/dev/null; "
                  "zfs destroy -R tank/system")  # fmt: skip


def test_apt_takes_a_checkpoint(apt: Apt) -> None:
    """Before dpkg is run: held, of all that is mounted, with the packages; afterwards it says how it went."""
    apt.hook()
    assert (0, "installed 1") == (apt.install(1)[0], apt.version())
    first = apt.seen()
    assert (0, "installed 2") == (apt.install(2)[0], apt.version())
    second = apt.seen()
    failed = apt.install(3)
    assert (100, "half-configured 3") == (failed[0], apt.version()), failed

    found = apt.checkpoints()
    datasets = ["tank/system", "tank/system/var"]
    assert ["xvmtest_1_all", "xvmtest_2_all", "xvmtest_3_all"] == [" ".join(one["packages"]) for one in found]
    assert ["done", "done", "failed"] == [one["outcome"] for one in found]
    assert [("before apt", datasets)] * 3 == [(one["reason"], one["datasets"]) for one in found]
    names = [[f"{dataset}@{one['name']}" for dataset in datasets] for one in found]
    assert (names[0], sorted(names[0] + names[1])) == (first, sorted(second)), "there when dpkg began"
    held = apt.machine.shell(f"zfs holds -H {' '.join(names[0])}").splitlines()
    assert [[name, "xvmstore"] for name in names[0]] == [line.split("\t")[:2] for line in held]
    assert 0 != apt.machine.on_node("zfs", "destroy", names[0][0]).returncode


def test_apt_without_a_checkpoint(apt: Apt) -> None:
    """POLICY=block: apt stops before anything is changed, and says why. POLICY=warn: it says so, and goes on."""
    assert (0, "installed 1") == (apt.install(1)[0], apt.version())
    apt.machine.shell("umount /mnt/var /mnt")
    apt.hook()
    code, said = apt.install(2)
    assert (100, "installed 1") == (code, apt.version()), said
    assert "xvmstore-hook: no checkpoint before apt, so it was stopped: / is not " in said
    assert "set POLICY=warn in /etc/xvmstore/hook.conf" in said

    apt.hook("--policy", "warn")
    code, said = apt.install(2)
    assert (0, "installed 2") == (code, apt.version()), said
    assert "xvmstore-hook: no checkpoint before apt: / is not " in said
    assert [] == apt.checkpoints()
