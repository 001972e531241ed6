"""What the library returns: the documented JSON objects, and how a wanted volume differs from a found one."""

import json
from dataclasses import replace

import pytest

from dom0.disk import PATH, Disk, lines
from iscsi.model import Session
from storage.zvol import Zvol
from xvmstore.results import Check, Lun, LunSession, Volume, Wanted

GUID = "600144F00C2A6D0000006A27E7400001"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
GIB = 1 << 30
VOLUME = Volume(
    name="web1/root",
    node="san1",
    dataset="tank/xvm/web1/root",
    size=20 * GIB,
    thin=False,
    block_size=8192,
    used=22155296768,
    created=1793528431,
    guid=GUID,
    serial="00006a27e7400001",
    target=TARGET,
    lun=0,
    portals=("192.0.2.10:3260", "192.0.2.11:3260"),
    dom0s=("dom0-a",),
    sessions=("iqn.2026-11.com.example:dom0-a",),
    state="ready",
    exported=True,
    vdev="xvda",
    trouble=("the LU is write protected",),
)
LINE = (
    "format=raw, vdev=xvda, access=rw, backendtype=phy, "
    f"target=/dev/disk/by-path/ip-192.0.2.10:3260-iscsi-{TARGET}-lun-0"
)
BY_SCRIPT = f"format=raw, vdev=xvda, access=rw, backendtype=phy, script=block-xvmstore, target={GUID.lower()}"


def test_a_volume_as_json() -> None:
    """Every documented field by its name, and the disk line."""
    assert {
        "name": "web1/root",
        "node": "san1",
        "dataset": "tank/xvm/web1/root",
        "size": 21474836480,
        "thin": False,
        "block_size": 8192,
        "used": 22155296768,
        "created": 1793528431,
        "guid": GUID,
        "serial": "00006a27e7400001",
        "target": TARGET,
        "lun": 0,
        "portals": ["192.0.2.10:3260", "192.0.2.11:3260"],
        "dom0s": ["dom0-a"],
        "sessions": ["iqn.2026-11.com.example:dom0-a"],
        "state": "ready",
        "exported": True,
        "vdev": "xvda",
        "trouble": ["the LU is write protected"],
        "disk": {"xl": BY_SCRIPT, "xm": f"xvmstore:{GUID.lower()},xvda,w"},
        "disk_by_path": lines(VOLUME.xen_disk, PATH) | {"xl": LINE},  # type: ignore[arg-type]
    } == json.loads(json.dumps(VOLUME.to_json()))


def test_the_disk_goes_by_the_first_portal() -> None:
    """One path; LUN 0 is a LUN."""
    assert Disk("xvda", "192.0.2.10:3260", TARGET, 0, guid=GUID) == VOLUME.xen_disk


@pytest.mark.parametrize(
    "volume", [replace(VOLUME, vdev=None), replace(VOLUME, target=None), replace(VOLUME, lun=None)]
)
def test_an_unfinished_volume_has_no_disk(volume: Volume) -> None:
    """No line rather than a wrong one."""
    assert (None, {}, {}) == (volume.xen_disk, volume.disk, volume.disk_by_path)


def test_a_lun_as_json() -> None:
    """Views are objects of their own."""
    lun = Lun(GUID, None, "/dev/zvol/rdsk/tank/x", None, "Online", None, (("dom0", "All", 5), ("All", "tg1", None)))
    assert {
        "guid": GUID,
        "volume": None,
        "path": "/dev/zvol/rdsk/tank/x",
        "size": None,
        "state": "Online",
        "target": None,
        "views": [
            {"host_group": "dom0", "target_group": "All", "lun": 5},
            {"host_group": "All", "target_group": "tg1", "lun": None},
        ],
    } == lun.to_json()


def test_a_session_as_json() -> None:
    """Who is logged in to what, since when, and which volumes that concerns."""
    session = Session(TARGET, "iqn.2026-11.com.example:dom0-a", "alias", "Tue Jun  9 09:56:40 2026")
    assert {
        "target": TARGET,
        "initiator": "iqn.2026-11.com.example:dom0-a",
        "dom0": "dom0-a",
        "since": "Tue Jun  9 09:56:40 2026",
        "volumes": ["web1/root"],
    } == LunSession(session, "dom0-a", ("web1/root",)).to_json()


def test_a_check_as_json() -> None:
    """What, whether, found, advice."""
    expected = {"what": "pool", "ok": False, "found": "DEGRADED", "advice": "look"}
    assert expected == Check("pool", ok=False, found="DEGRADED", advice="look").to_json()


FOUND = Zvol(
    dataset="tank/xvm/web1/root",
    volsize=20 * GIB,
    volblocksize=8192,
    refreservation=21 * GIB,
    used=0,
    referenced=0,
    creation=0,
    origin=None,
    ours={},
    asked={"compression": "lz4"},
)


def test_as_wanted() -> None:
    """What is not asked for may be anything."""
    wanted = Wanted(20 * GIB, thin=False, block_size=8192, properties={"compression": "lz4"})
    assert [[], []] == [one.differs(FOUND) for one in (wanted, Wanted(20 * GIB))]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(10 * GIB), "its size is 21474836480, not 10737418240"),
        (Wanted(20 * GIB, thin=True), "its thin is False, not True"),
        (Wanted(20 * GIB, block_size=4096), "its block size is 8192, not 4096"),
        (Wanted(20 * GIB, properties={"compression": "on"}), "its compression is lz4, not on"),
    ],
)
def test_what_differs_is_named(wanted: Wanted, said: str) -> None:
    """Found and wanted side by side."""
    assert [said] == wanted.differs(FOUND)


def test_the_head_is_not_the_guests() -> None:
    """What the target program keeps for itself does not count as size."""
    assert [] == Wanted(20 * GIB).differs(replace(FOUND, volsize=20 * GIB + 65536, ours={"head": "65536"}))


@pytest.mark.parametrize(("found", "asked"), [("1073741824", "1G"), ("0", "none"), ("-", "none"), ("lz4", "lz4")])
def test_zfs_prints_what_it_was_given_in_its_own_way(found: str, asked: str) -> None:
    """1G comes back as bytes, none as 0: that is no difference, and what ZFS calls otherwise is not compared."""
    wanted = Wanted(20 * GIB, properties={"reservation": asked, "compress": "on"})
    assert [] == wanted.differs(replace(FOUND, asked={"reservation": found}))
