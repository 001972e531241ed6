"""The data side: LUNs served by a real tgtd, as initiators see them, and the plan behind it as plain values."""

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedded import tgt_plan as plan
from embedded.served import ChapAccount, ServedLun, ServedTarget, Session
from embedded.tgt import Applier
from embedded.tgt_process import Connection, TgtError, parse_connections, parse_sessions

if TYPE_CHECKING:
    from tests.embedded.conftest import RunningNode

MIB = 1 << 20
IQN = "iqn.2026-11.org.xvmstore:t1"
XEN1, XEN2 = "iqn.2026-11.org.xvmstore:xen1", "iqn.2026-11.org.xvmstore:xen2"
CHAP = ChapAccount("xen1", "correcthorse1234")

live = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd", path="/usr/sbin:/usr/bin"), reason="no tgtd here"),
    pytest.mark.skipif(not shutil.which("iscsi-inq"), reason="no libiscsi tools here"),
]


def with_marks(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs tgtd and the libiscsi tools."""
    for mark in live:
        function = mark(function)
    return function


class FakeTgtd:
    """Notes what it is asked; refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuse = "nothing"

    def call(self, *words: str) -> str:
        """Note one call."""
        line = " ".join(words)
        self.calls.append(line)
        if self.refuse in line:
            raise TgtError("refused")
        return ""

    def connections(self, tid: int) -> list[Connection]:
        """Give two initiators that are logged in."""
        return [Connection(3, 0, XEN1), Connection(4, 1, XEN2)]

    def sessions(self) -> tuple[Session, ...]:
        """Give none."""
        return ()

    def take(self) -> list[str]:
        """Give the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A sparse file of 10 MiB."""
    path = tmp_path / "volume"
    path.touch()
    os.truncate(path, 10 * MIB)
    return path


def lun_of(path: Path, number: int = 1, *, size: int = 10 * MIB) -> ServedLun:
    """Give a LUN on a file."""
    guid = "600144F00C2A6D00000067F0A1B20001"
    return ServedLun(number, path, 0, size, 512, guid, f"S{number}", "SUN", "COMSTAR", False, True)


def target_of(*luns: ServedLun) -> ServedTarget:
    """Give a target for xen1."""
    return ServedTarget(IQN, luns, (XEN1,), False, (), None)


def resize(path: Path, size: int) -> None:
    """Change the length of a file."""
    os.truncate(path, size)


def test_plan_of_a_new_target(volume: Path) -> None:
    """Accounts and LUNs come before the initiator that may log in; applied again, nothing is asked."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    target = replace(target_of(lun_of(volume)), incoming=(CHAP,), outgoing=ChapAccount("t1", "secretsecret"))
    applier.apply([target])
    expected = [
        f"--mode account --op new --user xen1 --password {CHAP.secret}",
        "--mode account --op new --user t1 --password secretsecret",
        f"--mode target --op new --tid 1 --targetname {IQN}",
        "--mode account --op bind --tid 1 --user t1 --outgoing",
        "--mode account --op bind --tid 1 --user xen1",
        f"--mode logicalunit --op new --tid 1 --lun 1 --backing-store {volume} --blocksize 512",
        "--mode logicalunit --op update --tid 1 --lun 1 --params vendor_id=SUN,product_id=COMSTAR,product_rev=1.0,"
        "scsi_sn=S1,scsi_id=600144F00C2A6D00000067F0A1B20001,readonly=0",
        f"--mode target --op bind --tid 1 --initiator-name {XEN1}",
    ]
    assert expected == tgtd.take()
    applier.apply([target])
    assert not tgtd.take()


def test_plan_of_changes(volume: Path) -> None:
    """Each change asks for itself alone."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    first, second = lun_of(volume), lun_of(volume, 2)
    applier.apply([target_of(first)])
    tgtd.take()
    applier.apply([target_of(replace(first, size=20 * MIB), second)])
    params = f"removable=1,online=0,path={volume},online=1,removable=0"
    calls = tgtd.take()
    assert [f"--mode logicalunit --op update --tid 1 --lun 1 --params {params}"] == calls[:1]
    assert all("--lun 2" in call for call in calls[1:])
    applier.apply([target_of(second)])
    assert tgtd.take() == ["--mode logicalunit --op delete --tid 1 --lun 1"]
    applier.apply([])
    assert tgtd.take() == ["--mode target --op delete --tid 1 --force"]


def test_plan_of_a_volume_that_grows_alone(volume: Path) -> None:
    """A larger file is not a larger LUN until the LU is told."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    applier.apply([target_of(lun_of(volume))])
    tgtd.take()
    resize(volume, 20 * MIB)
    applier.apply([target_of(lun_of(volume))])
    assert not tgtd.take()


def test_plan_of_a_replaced_file(volume: Path) -> None:
    """A file that was replaced (a rollback, say) is opened anew."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    applier.apply([target_of(lun_of(volume))])
    tgtd.take()
    shutil.copy(volume, str(volume) + ".new")
    Path(str(volume) + ".new").rename(volume)
    applier.apply([target_of(lun_of(volume))])
    assert [call.split()[3] for call in tgtd.take()] == ["delete", "new", "update"]


def test_plan_of_narrower_access(volume: Path) -> None:
    """Who may no longer log in is unbound and cut; the others stay."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    target = target_of(lun_of(volume))
    applier.apply([replace(target, initiators=(XEN1, XEN2))])
    tgtd.take()
    applier.apply([target])
    expected = [
        f"--mode target --op unbind --tid 1 --initiator-name {XEN2}",
        "--mode conn --op delete --tid 1 --sid 4 --cid 1",
    ]
    assert expected == tgtd.take()


def test_plan_of_a_new_secret(volume: Path) -> None:
    """A changed secret is a new account, bound again; an unused account goes."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    target = replace(target_of(lun_of(volume)), incoming=(CHAP,))
    applier.apply([target])
    tgtd.take()
    applier.apply([replace(target, incoming=(replace(CHAP, secret="othersecret12"),))])
    expected = [
        "--mode account --op delete --user xen1",
        "--mode account --op new --user xen1 --password othersecret12",
        "--mode account --op bind --tid 1 --user xen1",
    ]
    assert expected == tgtd.take()
    applier.apply([target_of(lun_of(volume))])
    assert [call.split()[3] for call in tgtd.take()] == ["unbind", "delete"]


def test_plan_keeps_trying(volume: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What fails is logged once, lets nobody in, and is tried again."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    tgtd.refuse = "logicalunit --op new"
    for _ in range(2):
        applier.apply([target_of(lun_of(volume))])
    assert caplog.text.count("refused") == 1
    assert not any("initiator-name" in call for call in tgtd.take())
    tgtd.refuse = "nothing"
    applier.apply([target_of(lun_of(volume))])
    assert [call.split()[1] for call in tgtd.take()] == ["logicalunit", "logicalunit", "target"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"number": 0}, "LUN 0 cannot be served, tgtd keeps it for its own controller"),
        ({"offset": 65536}, "LUN 1 cannot be served, tgtd knows no offset into a file"),
        ({"path": Path("/a,b")}, "LUN 1 cannot be served, tgtd takes no comma in a path"),
    ],
)
def test_luns_that_cannot_be_served(
    volume: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object], text: str
) -> None:
    """One clear line says so, once; the target's other LUNs are served."""
    tgtd = FakeTgtd()
    applier = Applier(tgtd)
    target = target_of(replace(lun_of(volume), **change), lun_of(volume, 5))  # type: ignore[arg-type]
    applier.apply([target])
    applier.apply([target])
    assert [f"{IQN}: {text}"] == [record.getMessage() for record in caplog.records]
    assert sum("logicalunit --op new --tid 1 --lun 5" in call for call in tgtd.take()) == 1


def test_lun_without_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A LUN whose file is missing is said to be so."""
    Applier(FakeTgtd()).apply([target_of(lun_of(tmp_path / "none"))])
    assert "LUN 1: No such file or directory" in caplog.text


def test_obstacle_of_an_ordinary_lun(volume: Path) -> None:
    """Nothing is in its way."""
    assert None is plan.obstacle(lun_of(volume))


def test_reading_tgtadm() -> None:
    """Sessions and connections are read from what tgtadm prints."""
    shown = (
        f"Target 1: {IQN}\n    System information:\n        Driver: iscsi\n    I_T nexus information:\n"
        f"        I_T nexus: 1\n            Initiator: {XEN1} alias: none\n            Connection: 0\n"
        "                IP Address: 127.0.0.1\n    LUN information:\n"
    )
    assert parse_sessions(shown) == [(IQN, XEN1)]
    shown = f"Session: 7\n    Connection: 2\n        Initiator: {XEN1}\n        IP Address: 127.0.0.1\n"
    assert [Connection(7, 2, XEN1)] == parse_connections(shown)


class Initiator:
    """A libiscsi session that stays logged in."""

    def __init__(self, library: ctypes.CDLL, portal: str, *, name: str = XEN1, lun: int = 1) -> None:
        self._library, self._lun = library, lun
        self._context = ctypes.c_void_p(library.iscsi_create_context(name.encode()))
        library.iscsi_set_targetname(self._context, IQN.encode())
        library.iscsi_set_session_type(self._context, 2)
        library.iscsi_set_noautoreconnect(self._context, 1)
        library.iscsi_set_timeout(self._context, 10)
        self.error = library.iscsi_full_connect_sync(self._context, portal.encode(), lun)

    def size(self) -> int | str:
        """Give the capacity in bytes, or libiscsi's error."""
        task = self._library.iscsi_readcapacity16_sync(self._context, self._lun)
        if not task:
            return "gone"
        status = ctypes.c_int.from_address(task).value
        if status not in {0, 2}:
            return "gone"
        if status:
            return str(self._library.iscsi_get_error(self._context).decode())
        data = self._library.scsi_datain_unmarshall(ctypes.c_void_p(task))
        return (ctypes.c_uint64.from_address(data).value + 1) * ctypes.c_uint32.from_address(data + 8).value

    def close(self) -> None:
        """Log out."""
        self._library.iscsi_destroy_context(self._context)


@pytest.fixture
def initiator(running: "RunningNode") -> Iterator[Callable[..., Initiator]]:
    """Log in with libiscsi; logged out afterwards."""
    library = ctypes.CDLL("libiscsi.so.7")
    library.iscsi_create_context.restype = ctypes.c_void_p
    library.iscsi_readcapacity16_sync.restype = ctypes.c_void_p
    library.scsi_datain_unmarshall.restype = ctypes.c_void_p
    library.iscsi_get_error.restype = ctypes.c_char_p
    made: list[Initiator] = []

    def login(**options: object) -> Initiator:
        made.append(Initiator(library, f"127.0.0.1:{running.facts['iscsi_port']}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield login
    for each in made:
        each.close()


def serve(running: "RunningNode", *targets: ServedTarget) -> None:
    """Have the node serve these, through a command that changes something."""
    running.commands.targets = targets
    assert running.ssh("zfs set x").returncode == 0


def tool(
    running: "RunningNode", name: str, *words: str, initiator: str = XEN1, lun: int = 1, login: str = ""
) -> tuple[int, str]:
    """Run one of libiscsi's tools on a LUN."""
    url = f"iscsi://{login}127.0.0.1:{running.facts['iscsi_port']}/{IQN}/{lun}"
    done = subprocess.run([name, *words, "-i", initiator, url], capture_output=True, timeout=30, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


@with_marks
def test_lun_as_an_initiator_sees_it(running: "RunningNode", volume: Path) -> None:
    """Vendor, product, serial, GUID and size are the LU's; the exec's end means that it is served."""
    serve(running, target_of(lun_of(volume)))
    _, inquiry = tool(running, "iscsi-inq")
    assert "Vendor:SUN     \nProduct:COMSTAR " in inquiry
    assert " S1]" in tool(running, "iscsi-inq", "-e", "1", "-c", "128")[1]
    assert "600144F00C2A6D00000067F0A1B20001" in tool(running, "iscsi-inq", "-e", "1", "-c", "131")[1]
    assert f"Total size:{10 * MIB}" in tool(running, "iscsi-readcapacity16")[1]


@with_marks
def test_real_commands_serve_a_lun(nodes: "Callable[..., RunningNode]", tmp_path: Path) -> None:
    """The emulated commands and tgtd agree, from zfs create to a login with CHAP, and again after a restart."""
    node = nodes(tmp_path / "node", real=True)
    script = f"""set -e
        zfs create tank/xvm
        zfs create -s -V 16m tank/xvm/a
        lu=$(stmfadm create-lu /dev/zvol/rdsk/tank/xvm/a)
        itadm create-target -n {IQN} >/dev/null
        itadm create-initiator -u xen1 {XEN1}
        printf {CHAP.secret} | itadm modify-initiator -S /dev/stdin {XEN1}
        itadm modify-target -a chap {IQN} >/dev/null
        stmfadm create-hg h
        stmfadm add-hg-member -g h {XEN1}
        stmfadm add-view -n 1 -h h "${{lu##* }}"
        echo "${{lu##* }}" """
    done = node.ssh(script)
    assert (done.returncode, done.stderr) == (0, b"")
    for _ in range(2):
        shown = tool(node, "iscsi-inq", "-e", "1", "-c", "131", login=f"xen1%{CHAP.secret}@")
        assert shown[0] == 0
        assert done.stdout.decode().strip() in shown[1]
        assert f"Total size:{16 * MIB}" in tool(node, "iscsi-readcapacity16", login=f"xen1%{CHAP.secret}@")[1]
        assert tool(node, "iscsi-inq", login="xen1%wrongsecret1@")[0] != 0
        node.stop()
        node.start()


@with_marks
def test_block_size(running: "RunningNode", volume: Path) -> None:
    """The LU's block size is the initiator's."""
    serve(running, target_of(replace(lun_of(volume), block_size=4096)))
    assert "LOGICAL BLOCK LENGTH IN BYTES:4096" in tool(running, "iscsi-readcapacity16")[1]


@with_marks
def test_who_gets_in(running: "RunningNode", volume: Path) -> None:
    """The named initiator, nobody, and everybody."""
    target = target_of(lun_of(volume))
    serve(running, target)
    assert tool(running, "iscsi-inq")[0] == 0
    assert tool(running, "iscsi-inq", initiator=XEN2)[0] != 0
    serve(running, replace(target, initiators=()))
    assert tool(running, "iscsi-inq")[0] != 0
    serve(running, replace(target, initiators=(), open_to_all=True))
    assert tool(running, "iscsi-inq", initiator=XEN2)[0] == 0


@with_marks
def test_chap(running: "RunningNode", volume: Path) -> None:
    """The right secret gets in; a wrong one or none does not; a new secret replaces the old."""
    target = replace(target_of(lun_of(volume)), incoming=(CHAP,))
    serve(running, target)
    assert tool(running, "iscsi-inq", login=f"xen1%{CHAP.secret}@")[0] == 0
    assert tool(running, "iscsi-inq", login="xen1%wrongsecret1@")[0] != 0
    assert tool(running, "iscsi-inq")[0] != 0
    serve(running, replace(target, incoming=(ChapAccount("xen1", "newsecret1234"),)))
    assert tool(running, "iscsi-inq", login=f"xen1%{CHAP.secret}@")[0] != 0
    assert tool(running, "iscsi-inq", login="xen1%newsecret1234@")[0] == 0


@with_marks
def test_resize_under_a_session(running: "RunningNode", volume: Path, initiator: Callable[..., Initiator]) -> None:
    """An initiator that stays logged in sees the new size."""
    serve(running, target_of(lun_of(volume)))
    session = initiator()
    assert session.size() == 10 * MIB
    resize(volume, 30 * MIB)
    serve(running, target_of(lun_of(volume, size=30 * MIB)))
    assert session.size() == 30 * MIB


@with_marks
def test_lun_vanishes_under_a_session(
    running: "RunningNode", volume: Path, initiator: Callable[..., Initiator]
) -> None:
    """A removed LUN is gone for an initiator that is logged in; it comes back."""
    serve(running, target_of(lun_of(volume)))
    session = initiator()
    assert session.size() == 10 * MIB
    serve(running, target_of())
    assert "LOGICAL_UNIT_NOT_SUPPORTED" in str(session.size())
    serve(running, target_of(lun_of(volume)))
    assert session.size() == 10 * MIB


@with_marks
def test_target_vanishes_under_a_session(
    running: "RunningNode", volume: Path, initiator: Callable[..., Initiator]
) -> None:
    """A removed target drops its sessions."""
    serve(running, target_of(lun_of(volume)))
    session = initiator()
    assert session.size() == 10 * MIB
    serve(running)
    assert session.size() == "gone"
    assert tool(running, "iscsi-inq")[0] != 0


@with_marks
def test_initiator_that_loses_access_is_cut(
    running: "RunningNode", volume: Path, initiator: Callable[..., Initiator]
) -> None:
    """An initiator that may no longer log in loses its session."""
    serve(running, target_of(lun_of(volume)))
    session = initiator()
    serve(running, replace(target_of(lun_of(volume)), initiators=(XEN2,)))
    assert session.size() == "gone"


@with_marks
def test_sessions_are_shown(running: "RunningNode", volume: Path, initiator: Callable[..., Initiator]) -> None:
    """A command that lists targets knows who is logged in; ``since`` stays."""
    serve(running, target_of(lun_of(volume)))
    assert running.ssh("stmfadm list-target -v").stdout == b""
    initiator()
    assert f"{IQN} {XEN1}\n".encode() == running.ssh("itadm list-target").stdout
    since = running.commands.sessions[0].since
    running.ssh("stmfadm list-target")
    assert since == running.commands.sessions[0].since


@with_marks
def test_tgtd_of_a_crashed_run_is_ended(
    nodes: "Callable[..., RunningNode]", running: "RunningNode", tmp_path: Path
) -> None:
    """A tgtd that was left behind is stopped by its pid and socket; another node's is not."""
    pidfile = running.directory / "tgtd.pid"
    other = int(pidfile.read_text().split()[0])
    node = nodes(tmp_path / "crashed")
    stale = (node.directory / "tgtd.pid").read_text()
    socket = stale.split()[1]
    node.stop()
    port = node.facts["iscsi_port"]
    left = subprocess.Popen(
        ["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{port}"],
        env={"PATH": "/usr/sbin:/usr/bin", "TGT_IPC_SOCKET": socket},
        stderr=subprocess.DEVNULL,
    )
    try:
        node.eventually(lambda: Path(socket + ".0").exists())
        (node.directory / "tgtd.pid").write_text(f"{left.pid} {socket}\n")
        node.start()
        assert left.wait(5) in {-signal.SIGTERM, -signal.SIGKILL}
        os.kill(other, 0)
    finally:
        left.kill()
        left.wait()


@with_marks
def test_long_directory(nodes: "Callable[..., RunningNode]", tmp_path: Path, volume: Path) -> None:
    """A directory too long for a socket's name is served all the same, and leaves nothing in the temp dir."""
    node = nodes(tmp_path / ("d" * 100) / "node")
    serve(node, target_of(lun_of(volume)))
    assert tool(node, "iscsi-inq")[0] == 0
    socket = Path((node.directory / "tgtd.pid").read_text().split()[1])
    node.stop()
    assert not socket.parent.exists()
