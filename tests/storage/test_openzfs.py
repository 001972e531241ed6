"""What OpenZFS 2.1 and 2.3 really printed on Linux, read by the parsers that read Solaris' too."""

import pytest

from storage import pool, zvol
from tests.embedded.replay import CAPTURED, cases

VERSIONS = sorted(path.stem for path in (CAPTURED.parent / "openzfs").glob("zfs-zpool-*.txt"))


def _said(version: str, command: str) -> str:
    """What the first command that begins so printed, on both streams."""
    found = next(case for case in cases(f"../openzfs/{version}") if case.command.startswith(command))
    return found.expected.stdout or found.expected.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_zvols(version: str) -> None:
    """A thick and a thin one of ours, a clone that is not, one made by hand; snapshots and filesystems are not."""
    copy, data, hand, root = zvol.parse(_said(version, "zfs get -Hp -r"))

    assert ["root", "data"] == [one.dataset.rpartition("/")[2] for one in (root, data) if "guid" in one.ours]
    assert ({}, "tank/xvm/web1/root@monday") == (copy.ours, copy.origin)
    assert ({}, None) == (hand.ours, hand.origin)
    assert [False, True] == [root.thin, data.thin]
    assert [1 << 30, 2 << 30, 64 << 20] == [one.volsize for one in (root, data, hand)]
    assert 8192 == hand.volblocksize


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_asked_of_a_pool(version: str) -> None:
    """Exact sizes in today's words; yesterday's are refused; the tree has both disks of the mirror."""
    (listed,) = pool.parse_exact(_said(version, "zpool list -Hp"))
    (status,) = pool.parse_status(_said(version, "zpool status"))

    assert ("tank", "ONLINE", True) == (listed.name, listed.health, listed.exact)
    assert (listed.size or 0) == (listed.allocated or 0) + (listed.free or 0) > 1 << 35
    assert "invalid property 'used'" in _said(version, "zpool list -H -o name,size,used")
    assert ["tank", "mirror-0", "vdb", "vdc"] == [vdev.name for vdev in status.vdevs]
    assert "No known data errors" == status.errors


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("zfs create -V 1G tank/xvm/web1/root", "dataset already exists"),
        ("zfs create -V 9T", "out of space"),
        ("zfs destroy tank/xvm/web1", "has children"),
        ("zfs destroy tank/xvm/web1/data", "dataset is busy"),
        ("zfs get -Hp -o name,property", zvol.NO_DATASET),
        ("zfs rename", zvol.NO_DATASET),
    ],
)
def test_the_words_we_look_for(version: str, command: str, words: str) -> None:
    """What tells "already there", "full", "in use" and "not there" apart."""
    assert words in _said(version, command)
