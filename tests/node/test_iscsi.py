"""What an initiator sees of a volume: real tools of libiscsi over a real target, on both flavours."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedded.initiator import InitiatorError, Lun, Session
from tests.node.live import LiveNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd") or not shutil.which("iscsi-inq"), reason="needs tgt and libiscsi-bin"),
]
XEN1 = "iqn.2026-11.org.xvmstore:xen1"
GIB = 1 << 30


@pytest.fixture
def volume(node: LiveNode, guest: str) -> dict[str, Any]:
    """A volume of 2 GiB, exported to xen1."""
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "2G", "--json")
    assert 0 == said.exit, said.err
    made: dict[str, Any] = said.json
    return made


def _tool(
    name: str, node: LiveNode, made: dict[str, Any], *words: str, **login: str
) -> subprocess.CompletedProcess[str]:
    """Run one of libiscsi's tools on the volume's LUN."""
    secret = login.get("secret", node.secret)
    url = f"iscsi://xen1%{secret}@{made['portals'][0]}/{made['target']}/{made['lun']}"
    argv = [name, *words, "-i", login.get("initiator", XEN1), url]
    return subprocess.run(argv, capture_output=True, encoding="latin-1", timeout=120, check=False)


def _lun(node: LiveNode, made: dict[str, Any], **other: Any) -> Lun:
    facts = {"initiator": XEN1, "chap_user": "xen1", "chap_secret": node.secret} | other
    return Lun(made["portals"][0], made["target"], made["lun"], **facts)


def test_size_serial_and_wwid(node: LiveNode, volume: dict[str, Any]) -> None:
    """READ CAPACITY(16), the serial number page and the device identification page say what we chose."""
    capacity = _tool("iscsi-readcapacity16", node, volume).stdout
    serial = _tool("iscsi-inq", node, volume, "-e", "1", "-c", "128").stdout
    wwid = _tool("iscsi-inq", node, volume, "-e", "1", "-c", "131").stdout

    assert f"Total size:{2 * GIB}" in capacity
    assert volume["guid"] in wwid.upper()
    if volume["serial"]:
        assert volume["serial"] in serial


def test_iscsi_ls_lists_the_disk(node: LiveNode, volume: dict[str, Any]) -> None:
    """Discovery shows the target, and the LUN as a disk; the target's own LUN 0 is none."""
    portal = volume["portals"][0]
    url = f"iscsi://xen1%{node.secret}@{portal}"
    argv = ["iscsi-ls", "-s", "-i", XEN1, url]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert f"Target:{volume['target']}" in said.stdout
    disks = [line.split()[0] for line in said.stdout.splitlines() if "DIRECT_ACCESS" in line]
    assert f"Lun:{volume['lun']}" in disks


@pytest.mark.parametrize(
    "login",
    [{"secret": "wrong-secret-123"}, {"initiator": "iqn.2026-11.org.xvmstore:stranger"}],
    ids=["secret", "name"],
)
def test_others_are_refused(node: LiveNode, volume: dict[str, Any], login: dict[str, str]) -> None:
    """A wrong CHAP secret, or another initiator name with the right one, gets in nowhere."""
    assert 0 == _tool("iscsi-inq", node, volume).returncode

    said = _tool("iscsi-inq", node, volume, **login)

    assert 0 != said.returncode
    assert "Login Failed" in said.stdout + said.stderr or "Failed to log in" in said.stdout + said.stderr


def test_mutual_chap(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """The target proves itself too: an initiator that expects another secret of it does not go on."""
    (tmp_path / "target.secret").write_text("secret-of-the-target\n")
    (tmp_path / "target.secret").chmod(0o600)
    config = tmp_path / "config.toml"
    own = '[nodes.embedded]\nchap_user = "san"\nchap_secret_file = "target.secret"'
    config.write_text(illumos.config.read_text().replace("[nodes.embedded]", own))
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json", config=config).json
    url = f"iscsi://xen1%{illumos.secret}@{made['portals'][0]}/{made['target']}/{made['lun']}"

    def login(secret: str) -> int:
        environment = {"LIBISCSI_CHAP_TARGET_USERNAME": "san", "LIBISCSI_CHAP_TARGET_PASSWORD": secret}
        argv = ["iscsi-inq", "-i", XEN1, url]
        return subprocess.run(argv, env=environment | {"PATH": "/usr/bin"}, capture_output=True, check=False).returncode

    assert 0 == login("secret-of-the-target")
    assert 0 != login("secret-of-another")
    assert "targetchapsecret:   \tset" in illumos.on_node("itadm", "list-target", "-v", made["target"]).stdout


def test_conformance(node: LiveNode, volume: dict[str, Any]) -> None:
    """iscsi-test-cu finds a disk that reads and writes as SBC wants it."""
    for test in ("SCSI.Inquiry.Standard", "SCSI.ReadCapacity16.Simple", "SCSI.Read16.Simple", "SCSI.Write16.Simple"):
        said = _tool("iscsi-test-cu", node, volume, "-d", "-s", "-t", test)

        assert 0 == said.returncode, said.stdout[-2000:]


def test_data_stays_through_resize_and_reexport(node: LiveNode, volume: dict[str, Any]) -> None:
    """A session that stays logged in sees the new size; what it wrote is there after unexport and export."""
    name, data = volume["name"], bytes(range(256)) * 16
    with Session(_lun(node, volume)) as session:
        session.write(GIB, data)
        assert 0 == node.xvm("volume", "resize", name, "--size", "3G").exit
        assert (3 * GIB, 512) == session.capacity()
        assert data == session.read(GIB, len(data))
    assert 0 == node.xvm("lun", "unexport", name).exit
    with pytest.raises(InitiatorError):
        Session(_lun(node, volume))
    assert 0 == node.xvm("lun", "export", name).exit

    with Session(_lun(node, volume)) as session:
        assert data == session.read(GIB, len(data))


def test_in_use(node: LiveNode, volume: dict[str, Any]) -> None:
    """Nothing takes a disk from under a logged-in initiator; the refusal names it; --force is explicit."""
    name = volume["name"]
    refused = ["volume destroy {}", "lun unexport {}", "lun unexport {} --dom0 xen1"]
    refused += ["volume rename {} {}x"] if node.flavour == "illumos" else []
    with Session(_lun(node, volume)) as session:
        for command in refused:
            said = node.xvm(*command.format(name, name).split())
            assert (1, "") == (said.exit, said.out), command
            assert f"{XEN1} (xen1) is logged in" in said.err
        assert (2 * GIB, 512) == session.capacity()
        shown = node.xvm("volume", "show", name, "--json").json
        sessions = [one for one in node.xvm("lun", "sessions", "--json").json if name in one["volumes"]]
        assert [XEN1] == shown["sessions"]
        assert [(XEN1, "xen1")] == [(one["initiator"], one["dom0"]) for one in sessions]

        forced = node.xvm("volume", "destroy", name, "--force")

        assert 0 == forced.exit, forced.err
        with pytest.raises(InitiatorError):
            session.capacity()


def test_a_neighbour_on_a_shared_target_is_no_hindrance(shared_nodes: Callable[[str], LiveNode], guest: str) -> None:
    """There a login of a host that cannot see the volume does not keep it from being destroyed."""
    node = shared_nodes("b111")
    one = node.xvm("volume", "create", f"{guest}/a", "--size", "1G", "--json").json
    two = node.xvm("volume", "create", f"{guest}/b", "--size", "1G", "--json").json
    assert 0 == node.xvm("lun", "unexport", two["name"]).exit
    with Session(_lun(node, one)):
        gone = node.xvm("volume", "destroy", two["name"])

    assert 0 == gone.exit, gone.err
    assert 0 == node.xvm("volume", "destroy", one["name"]).exit


def test_a_restart_keeps_everything(fresh: Callable[[str], LiveNode]) -> None:
    """After SIGTERM and a new start: same ports, same LUN, same bytes."""
    from tests.node.live import start

    node = fresh("illumos")
    made = node.xvm("volume", "create", "web1/root", "--size", "1G", "--json").json
    with Session(_lun(node, made)) as session:
        session.write(0, b"x" * 512)
    node.stop()
    again = start(node.directory, "illumos")
    try:
        shown = again.xvm("volume", "show", "web1/root", "--json").json
        with Session(_lun(again, made)) as session:
            assert b"x" * 512 == session.read(0, 512)
    finally:
        again.stop()
        again.process.stdout.close()  # type: ignore[union-attr]
    assert {key: made[key] for key in shown if key != "used"} == {key: shown[key] for key in shown if key != "used"}
    assert 0 == node.process.returncode
