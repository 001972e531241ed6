"""What an initiator must see of a volume, over a real iSCSI session: run by ``tests/node`` and by ``tests/lab``."""

import subprocess
from typing import Any

import pytest

from embedded.initiator import InitiatorError, Lun, Session
from tests.contract.node import Node

GIB = 1 << 30


@pytest.fixture
def volume(node: Node, guest: str) -> dict[str, Any]:
    """A volume of 2 GiB, exported to xen1."""
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "2G", "--json")
    assert 0 == said.exit, said.err
    return node.after_first_login(said.json)


def tool(name: str, node: Node, made: dict[str, Any], *words: str, **login: str) -> subprocess.CompletedProcess[str]:
    """Run one of libiscsi's tools on the volume's LUN."""
    secret = login.get("secret", node.secret)
    url = f"iscsi://xen1%{secret}@{node.portal(made)}/{made['target']}/{made['lun']}"
    argv = [name, *words, "-i", login.get("initiator", node.initiator), url]
    return subprocess.run(argv, capture_output=True, encoding="latin-1", timeout=120, check=False)


def lun(node: Node, made: dict[str, Any], **other: Any) -> Lun:
    """A volume's LUN as xen1 logs in to it, unless told otherwise."""
    """A volume's LUN as xen1 logs in to it, unless told otherwise."""
    facts = {"initiator": node.initiator, "chap_user": "xen1", "chap_secret": node.secret} | other
    return Lun(node.portal(made), made["target"], made["lun"], **facts)


def test_size_serial_and_wwid(node: Node, volume: dict[str, Any]) -> None:
    """READ CAPACITY(16), the serial number page and the device identification page say what we chose."""
    capacity = tool("iscsi-readcapacity16", node, volume).stdout
    serial = tool("iscsi-inq", node, volume, "-e", "1", "-c", "128").stdout
    wwid = tool("iscsi-inq", node, volume, "-e", "1", "-c", "131").stdout

    assert f"Total size:{2 * GIB}" in capacity
    # tgtd gives it as text, LIO as bytes.
    assert volume["guid"] in wwid.upper() or bytes.fromhex(volume["guid"]).decode("latin-1") in wwid
    if volume["serial"]:
        assert volume["serial"] in serial


@pytest.mark.parametrize(
    "login",
    [{"secret": "wrong-secret-123"}, {"initiator": "iqn.2026-11.org.xvmstore:stranger"}],
    ids=["secret", "name"],
)
def test_others_are_refused(node: Node, volume: dict[str, Any], login: dict[str, str]) -> None:
    """A wrong CHAP secret, or another initiator name with the right one, gets in nowhere."""
    assert 0 == tool("iscsi-inq", node, volume).returncode

    said = tool("iscsi-inq", node, volume, **login)

    assert 0 != said.returncode
    assert "Login Failed" in said.stdout + said.stderr or "Failed to log in" in said.stdout + said.stderr


def test_conformance(node: Node, volume: dict[str, Any]) -> None:
    """iscsi-test-cu finds a disk that reads and writes as SBC wants it."""
    for test in ("SCSI.Inquiry.Standard", "SCSI.ReadCapacity16.Simple", "SCSI.Read16.Simple", "SCSI.Write16.Simple"):
        said = tool("iscsi-test-cu", node, volume, "-d", "-s", "-t", test)

        assert 0 == said.returncode, said.stdout[-2000:]


def test_data_stays_through_resize_and_reexport(node: Node, volume: dict[str, Any]) -> None:
    """A session that stays logged in sees the new size, where that can be, and else keeps the old one.

    What it wrote is there after unexport and export.
    """
    name, data = volume["name"], bytes(range(256)) * 16
    with Session(lun(node, volume)) as session:
        session.write(GIB, data)
        grown = node.xvm("volume", "resize", name, "--size", "3G")
        assert (node.grows_in_use, not node.grows_in_use) == (grown.exit == 0, "is logged in" in grown.err)
        assert ((3 if node.grows_in_use else 2) * GIB, 512) == session.capacity()
        assert data == session.read(GIB, len(data))
    assert 0 == node.xvm("lun", "unexport", name).exit
    with pytest.raises(InitiatorError):
        Session(lun(node, volume))
    assert 0 == node.xvm("lun", "export", name).exit

    with Session(lun(node, volume)) as session:
        assert data == session.read(GIB, len(data))


def test_in_use(node: Node, volume: dict[str, Any]) -> None:
    """Nothing takes a disk from under a logged-in initiator; the refusal names it; --force is explicit."""
    name = volume["name"]
    refused = ["volume destroy {}", "lun unexport {}", "lun unexport {} --dom0 xen1"]
    with Session(lun(node, volume)) as session:
        for command in refused:
            said = node.xvm(*command.format(name, name).split())
            assert (1, "") == (said.exit, said.out), command
            assert f"{node.initiator} (xen1) is logged in" in said.err
        assert (2 * GIB, 512) == session.capacity()
        shown = node.xvm("volume", "show", name, "--json").json
        sessions = [one for one in node.xvm("lun", "sessions", "--json").json if name in one["volumes"]]
        assert [node.initiator] == shown["sessions"]
        assert [(node.initiator, "xen1")] == [(one["initiator"], one["dom0"]) for one in sessions]

        forced = node.xvm("volume", "destroy", name, "--force")

        assert 0 == forced.exit, forced.err
        with pytest.raises(InitiatorError):
            session.capacity()
