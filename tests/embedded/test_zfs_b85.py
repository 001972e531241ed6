"""The ZFS of SXCE b85: what it has not yet, and what it does otherwise."""

from pathlib import Path

import pytest

from embedded.answer import Answer
from embedded.model import Node
from tests.embedded.nodes import ok, run, value


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A volume with a snapshot."""
    node = Node.create(tmp_path, "b85")
    ok(node, "zfs create -s -V 1G tank/v", "zfs snapshot tank/v@s")
    return node


def test_no_options_for_snapshots(node: Node) -> None:
    """-o is unknown to zfs snapshot; its usage does not have it either."""
    usage = "usage:\n\tsnapshot [-r] <filesystem@snapname|volume@snapname>\n"
    assert Answer("", f"invalid option 'o'\n{usage}", 2) == run(node, "zfs snapshot -o a:b=c tank/v@t")
    assert "tank/v@t" not in node.datasets


def test_no_properties_of_snapshots(node: Node) -> None:
    """They cannot be set; what the volume has shows on its snapshots."""
    assert run(node, "zfs set a:b=c tank/v@s").exit == 1
    ok(node, "zfs set a:b=d tank/v")
    assert "d\tinherited from tank/v\n" == ok(node, "zfs get -Hp -o value,source a:b tank/v@s")


def test_lists_snapshots(node: Node) -> None:
    """Without being asked; -t still chooses."""
    assert ok(node, "zfs list -H -o name").splitlines() == ["tank", "tank/v", "tank/v@s"]
    assert ok(node, "zfs list -H -o name -t filesystem,volume").splitlines() == ["tank", "tank/v"]


@pytest.mark.parametrize(
    "line",
    [
        "zfs list -p",
        "zfs list -d 1",
        "zfs get -d 1 all tank",
        "zfs get -t volume all tank",
        "zfs destroy -d tank/v@s",
        "zfs hold x tank/v@s",
        "zfs holds tank/v@s",
        "zfs snapshot tank/v@a tank@a",
        "zfs set a:b=c a:d=e tank/v",
        "zfs create -n -V 1G tank/w",
        "zpool list -p",
        "zpool get -Hp all tank",
        "zpool list -o allocated",
    ],
)
def test_what_came_later(node: Node, line: str) -> None:
    """It is refused, and nothing has happened."""
    before = set(node.datasets)
    assert run(node, line).exit != 0
    assert before == set(node.datasets)


@pytest.mark.parametrize(
    "key",
    ["primarycache", "secondarycache", "usedbysnapshots", "written", "userrefs", "sync", "logbias", "dedup", "guid"],
)
def test_properties_that_came_later(node: Node, key: str) -> None:
    """They are unknown, and not part of "all"."""
    assert run(node, f"zfs get {key} tank/v").exit == 2
    assert f"\t{key}\t" not in ok(node, "zfs get -H all tank/v")


def test_lists_of_snapshots_name_nothing(node: Node) -> None:
    """A comma is no part of a name, and means no list."""
    ok(node, "zfs snapshot tank/v@t")
    assert run(node, "zfs destroy tank/v@s,t").exit == 1
    assert "tank/v@s" in node.datasets


def test_what_was_there(node: Node) -> None:
    """get -Hp is exact; refreservation and quotas are there, thick volumes reserve their size alone."""
    assert value(node, "tank/v", "volsize") == str(1 << 30)
    ok(node, "zfs create -V 1G tank/w", "zfs create -p -o refquota=1G tank/x/y", "zfs rename -p tank/w tank/z/w")
    assert value(node, "tank/z/w", "refreservation") == str(1 << 30)


def test_values_are_short(node: Node) -> None:
    """1023 bytes of a user property at most."""
    ok(node, f"zfs set a:b={'x' * 1023} tank/v")
    assert run(node, f"zfs set a:b={'x' * 1024} tank/v").exit == 1


def test_pools(node: Node) -> None:
    """Columns as they were until b127."""
    head = ok(node, "zpool list").splitlines()[0].split()
    assert ["NAME", "SIZE", "USED", "AVAIL", "CAP", "HEALTH", "ALTROOT"] == head
    assert "listsnapshots" not in ok(node, "zpool get all tank")
