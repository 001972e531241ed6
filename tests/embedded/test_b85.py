"""A node of SXCE b85 as a whole: its LUN 0 through tgtd, secrets typed at a terminal, dd on its volumes."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedded.initiator import InitiatorError, Lun, Session

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd", path="/usr/sbin:/usr/bin"), reason="no tgtd here"),
    pytest.mark.skipif(not shutil.which("iscsi-ls"), reason="no libiscsi tools here"),
]
MIB = 1 << 20
XEN1, XEN2 = "iqn.2026-11.org.xvmstore:xen1", "iqn.2026-11.org.xvmstore:xen2"
SECRET = "correcthorse1234"
DEVICE = "/dev/zvol/rdsk/tank/v"
# Types each line when a prompt was seen that was not there before, and prints what the terminal showed.
TYPIST = """\
import os, pty, sys
pid, master = pty.fork()
if not pid:
    os.execvp(sys.argv[2], sys.argv[2:])
shown, lines = b"", sys.argv[1].split(",")
prompts = 0
try:
    while True:
        shown += os.read(master, 4096)
        while shown.count(b"secret:") > prompts:
            os.write(master, lines[prompts].encode() + b"\\n")
            prompts += 1
except OSError:
    pass
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture
def node(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> "RunningNode":
    """A running node with a volume of 16 MiB and a target on it."""
    running: RunningNode = nodes(tmp_path / "node", flavour="b85", real=True)
    ok(running, f"zfs create -s -V 16m tank/v && iscsitadm create target -b {DEVICE} v")
    return running


def ok(node: "RunningNode", command: str, *, stdin: bytes = b"") -> bytes:
    """What a command prints that must succeed, over SSH."""
    done = node.ssh(command, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fact(node: "RunningNode", label: str) -> str:
    """What the listing of the target says of something."""
    lines = ok(node, "iscsitadm list target -v v").decode().splitlines()
    return next(value for name, _, value in (line.strip().partition(": ") for line in lines) if name == label)


def login(node: "RunningNode", *, number: int = 0, initiator: str = XEN1, secret: str | None = None) -> Session:
    """Log in to the target."""
    portal, target = f"127.0.0.1:{node.facts['iscsi_port']}", fact(node, "iSCSI Name")
    return Session(Lun(portal, target, number, initiator, "xen1" if secret else None, secret))


def luns(node: "RunningNode") -> list[str]:
    """What an initiator that asks the portal finds, line by line."""
    url = f"iscsi://127.0.0.1:{node.facts['iscsi_port']}"
    done = subprocess.run(["iscsi-ls", "-s", url], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.splitlines()


def typing(node: "RunningNode", lines: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command on the node at a terminal and type lines."""
    environment = {"PATH": f"{node.directory / 'bin'}:/usr/bin:/bin"}
    argv = [sys.executable, "-c", TYPIST, lines, *command]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_configuration(node: "RunningNode") -> None:
    """The backend is iscsitadm, one target a volume, no LUN chosen; uname and programs are of the time."""
    written = tomllib.loads((node.directory / "config.toml").read_text())["nodes"]["embedded"]
    assert ("iscsitadm", "b85", "target-per-volume") == tuple(
        written[name] for name in ("backend", "release", "layout")
    )
    assert "lun" not in written
    assert ok(node, "uname -v") == b"snv_85\n"
    assert node.ssh("stmfadm list-lu").returncode == 127


def test_lun_zero(node: "RunningNode") -> None:
    """The volume is LUN 0 and the only one; what is written to it is in the volume, and what is there is read."""
    with login(node) as session:
        assert (16 * MIB, 512) == session.capacity()
        session.write(MIB, b"\x5a" * 4096)
        assert b"\x5a" * 4096 == session.read(MIB, 4096)
    assert b"\x5a" * 512 == ok(node, f"dd if={DEVICE} bs=512 iseek=2048 count=1 2>/dev/null")
    found = luns(node)
    assert [f"Target:{fact(node, 'iSCSI Name')} Portal:127.0.0.1:{node.facts['iscsi_port']},1"] == found[:1]
    assert ["Lun:0 "] == [line[:6] for line in found[1:]]


def test_more_luns(node: "RunningNode") -> None:
    """They are found under their numbers, also above 255, where LUNs are written otherwise."""
    flat = 0x4000 | 300  # libiscsi takes two bytes of a LUN as they are
    sizes = {1: 8, 255: 6, flat: 4}
    for number, size in sizes.items():
        ok(node, f"zfs create -s -V {size}m tank/v{number}")
        ok(node, f"iscsitadm create target -u {number & 0xFFF} -b /dev/zvol/rdsk/tank/v{number} v")
    assert [f"Lun:{number}" for number in (0, *sizes)] == [line.split(maxsplit=1)[0] for line in luns(node)[1:]]
    for number, size in sizes.items():
        with login(node, number=number) as session:
            assert session.capacity()[0] == size * MIB


def test_guid_shows_after_a_login(node: "RunningNode") -> None:
    """Also when that is over, and after a restart."""
    assert fact(node, "GUID") == "0"
    with login(node):
        assert fact(node, "Connections") == "1"
        guid = fact(node, "GUID")
    assert guid.startswith("600144f0")
    node.stop()
    node.start()
    assert guid == fact(node, "GUID")


def test_a_login_between_two_looks_counts(node: "RunningNode") -> None:
    """Nobody asked anything while it lasted."""
    login(node).close()
    assert fact(node, "GUID") != "0"


def test_who_gets_in(node: "RunningNode") -> None:
    """Everybody, until there is an ACL."""
    login(node, initiator=XEN2).close()
    ok(node, f"iscsitadm create initiator -n {XEN1} xen1 && iscsitadm modify target -l xen1 v")
    login(node, initiator=XEN1).close()
    with pytest.raises(InitiatorError):
        login(node, initiator=XEN2)


def test_deleting_cuts_the_session(node: "RunningNode") -> None:
    """With LUN 0 the target is gone under its initiator."""
    with login(node) as session:
        assert session.capacity()[0] == 16 * MIB
        ok(node, "iscsitadm delete target -u 0 v")
        with pytest.raises(InitiatorError):
            session.capacity()


def test_a_secret_from_the_terminal(node: "RunningNode") -> None:
    """It is asked for twice, not shown, and then asked of initiators; the log does not have it."""
    ok(node, f"iscsitadm create initiator -n {XEN1} xen1; iscsitadm modify initiator -H xen1 xen1")
    done = typing(node, f"{SECRET},{SECRET}", "iscsitadm", "modify", "initiator", "-C", "xen1")
    assert ("Enter secret:\nRe-enter secret:\n", 0) == (done.stdout, done.returncode)
    ok(node, "iscsitadm modify target -l xen1 v")
    login(node, secret=SECRET).close()
    for wrong in (None, "wrongsecret12"):
        with pytest.raises(InitiatorError):
            login(node, secret=wrong)
    written = [path.read_text() for path in (node.directory / "exec.log", node.directory / "node.log")]
    assert not [text for text in written if SECRET in text]


def test_a_bad_secret_is_not_asked_for_again(node: "RunningNode") -> None:
    """Too short: one prompt, and a complaint."""
    done = typing(node, "short", "iscsitadm", "modify", "admin", "-C")
    assert ["Enter secret:", "iscsitadm: secret too short", "iscsitadm: Cannot read CHAP secret"] == (
        done.stdout.splitlines()
    )
    assert done.returncode == 1


def test_without_a_terminal(node: "RunningNode") -> None:
    """Over SSH there is none: signal 11, whatever stdin has, and nothing is set."""
    ok(node, f"iscsitadm create initiator -n {XEN1} xen1")
    done = node.ssh("iscsitadm modify initiator -C xen1; echo $?", stdin=f"{SECRET}\n{SECRET}\n".encode())
    assert done.stdout == b"139\n"
    assert b"CHAP Secret: Not set" in ok(node, "iscsitadm list initiator -v")


def test_dd_of_a_sector(node: "RunningNode") -> None:
    """Out and back through a pipe, all 256 values of a byte, beyond what was there nothing is touched."""
    sector = bytes(range(256)) * 2
    said = node.ssh(f"dd of={DEVICE} bs=512 oseek=32767 conv=notrunc", stdin=sector)
    assert (b"1+0 records in\n1+0 records out\n", 0) == (said.stderr, said.returncode)
    assert sector == ok(node, f"dd if={DEVICE} bs=512 iseek=32767 count=1")
    assert bytes(512) + sector == ok(node, f"dd if={DEVICE} bs=512 skip=32766")
    assert node.ssh(f"dd of={DEVICE} bs=512 seek=32768 count=1", stdin=sector).returncode == 2
    assert node.ssh("dd if=/dev/zvol/rdsk/tank/nope bs=512 count=1").returncode == 2


def test_dd_with_files(node: "RunningNode") -> None:
    """A device to a file and back, by names in the caller's directory; two files are the business of the machine's."""
    ok(node, "printf abcd | dd of=letters bs=2 count=1")
    assert ok(node, "cat letters") == b"ab"
    ok(node, f"head -c 1024 /dev/zero | tr '\\0' z >z; dd if=z of={DEVICE} bs=512 oseek=1 iseek=1 count=1")
    ok(node, f"dd if={DEVICE} of=copy bs=512 count=3")
    assert bytes(512) + b"z" * 512 + bytes(512) == ok(node, "cat copy")


def test_dd_reads_its_blocks_only(node: "RunningNode") -> None:
    """The rest of a pipe is left to whoever reads next."""
    left = ok(node, f"{{ dd of={DEVICE} bs=4 count=1; cat; }}", stdin=b"abcdefgh")
    assert left == b"efgh"


def test_dd_can_be_made_to_fail(node: "RunningNode") -> None:
    """As every command of the node: after it had its effect, for one."""
    node.fault(
        '[[fault]]\ncommand = "dd of=*"\naction = "fail"\nwhen = "after"\nexit = 2\nstderr = "dd: I/O error\\n"\n'
    )
    done = node.ssh(f"dd of={DEVICE} bs=512 count=1", stdin=b"x" * 512)
    assert (b"dd: I/O error\n", 2) == (done.stderr, done.returncode)
    assert b"x" * 512 == ok(node, f"dd if={DEVICE} bs=512 count=1")


def test_dd_of_a_volume_with_a_head(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """On b111 the first 64 KiB are a file of their own; dd sees one device."""
    node = nodes(tmp_path / "node", flavour="b111", real=True)
    data = bytes(range(256)) * 8
    ok(node, "zfs create -s -V 16m tank/v")
    ok(node, f"dd of={DEVICE} bs=2k oseek=31 count=1", stdin=data)
    ok(node, f"dd of={DEVICE} bs=512 oseek=127 count=2", stdin=data)
    assert data[:1536] + data[:1024] == ok(node, f"dd if={DEVICE} bs=512 iseek=124 count=5")
    assert 16 * MIB == len(ok(node, f"dd if={DEVICE} bs=1024k"))
