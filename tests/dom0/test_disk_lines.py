"""The disk lines of every format, word for word."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from dom0.disk import FORMATS, PATH, SCRIPT, Disk, Wiring, lines, position, vdev_at

GUID = "600144F00C2A6D0000006A27E7400001"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
DEVICE = f"/dev/disk/by-path/ip-192.0.2.10:3260-iscsi-{TARGET}-lun-3"
DISK = Disk("xvdb", "192.0.2.10:3260", TARGET, 3, guid=GUID)
READ_ONLY = replace(DISK, read_only=True)


@pytest.mark.parametrize(
    ("format_", "wiring", "line"),
    [
        ("xl", SCRIPT,
         f"format=raw, vdev=xvdb, access=rw, backendtype=phy, script=block-xvmstore, target={GUID.lower()}"),
        ("xl", PATH, f"format=raw, vdev=xvdb, access=rw, backendtype=phy, target={DEVICE}"),
        ("xm", SCRIPT, f"xvmstore:{GUID.lower()},xvdb,w"),
        ("xm", PATH, f"phy:{DEVICE},xvdb,w"),
        ("xm-solaris", PATH, f"phy:/dev/dsk/c0t{GUID}d0p0,1,w"),
        ("libvirt", PATH,
         "<disk type='block' device='disk'><driver name='phy' type='raw'/>"
         f"<source dev=\"{DEVICE}\"/><target dev=\"xvdb\" bus='xen'/></disk>"),
        ("libvirt-solaris", PATH,
         "<disk type='block' device='disk'><driver name='phy'/>"
         f"<source dev=\"/dev/dsk/c0t{GUID}d0p0\"/><target dev='1'/></disk>"),
    ],
)  # fmt: skip
def test_lines(format_: str, wiring: Wiring, line: str) -> None:
    """What an admin pastes."""
    assert line == FORMATS[format_, wiring](DISK) == lines(DISK, wiring)[format_]


def test_read_only() -> None:
    """Each format has its own way to say so."""
    said = {(name, wiring): line(READ_ONLY) for (name, wiring), line in FORMATS.items()}
    assert all("access=ro" in said["xl", wiring] for wiring in (SCRIPT, PATH))
    assert all(said["xm", wiring].endswith(",xvdb,r") for wiring in (SCRIPT, PATH))
    assert said["xm-solaris", PATH].endswith(",1,r")
    assert all("<readonly/>" in said[name, PATH] for name in ("libvirt", "libvirt-solaris"))


def test_xm_splits_at_commas() -> None:
    """xend wants three to five fields, and a device without a comma or an equals sign in the first."""
    for name, wiring in FORMATS:
        if name.startswith("xm"):
            fields = FORMATS[name, wiring](DISK).split(",")
            assert (3, "=" not in fields[0]) == (len(fields), True)


def test_libvirt_is_xml() -> None:
    """As libvirt's parser would see it; no iSCSI network disk, no script, which its Xen driver does not take."""
    disk = ElementTree.fromstring(FORMATS["libvirt", PATH](DISK))
    assert ("block", "phy", DEVICE) == (
        disk.get("type"), disk.find("driver").get("name"), disk.find("source").get("dev"),  # type: ignore[union-attr]
    )  # fmt: skip


def test_without_a_guid() -> None:
    """No line rather than a wrong one: an unfinished volume of an old release has none yet."""
    assert {} == lines(replace(DISK, guid=None), SCRIPT)
    assert {"xl", "xm", "libvirt"} == set(lines(replace(DISK, guid=None), PATH))


@pytest.mark.parametrize(
    ("vdev", "number"), [("xvda", 0), ("xvdp", 15), ("xvdz", 25), ("xvdaa", 26), ("hdc", 2), ("sdp", 15)]
)
def test_positions(vdev: str, number: int) -> None:
    """xVM counts a guest's disks from 0."""
    assert number == position(vdev)


@pytest.mark.parametrize("vdev", ["xvda", "xvdz", "xvdaa", "xvdzz", "xvdaaa"])
def test_and_back(vdev: str) -> None:
    """A place has one name; what is a name already stays as it is."""
    assert vdev == vdev_at(str(position(vdev))) == vdev_at(vdev)
