"""What zfs commands do to the node's state: the volumes' bytes, sizes, reservations, properties, names."""

from pathlib import Path

import pytest

from embedded import content
from embedded.answer import Answer
from embedded.model import Node
from tests.embedded.nodes import GUID, VM1, ok, peek, put, run, value

GIB = 1 << 30


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A fresh illumos node with a thick volume tank/vm1 of 20 GiB."""
    node = Node.create(tmp_path, "illumos")
    ok(node, "zfs create -V 20G tank/vm1")
    return node


@pytest.fixture
def old(tmp_path: Path) -> Node:
    """A fresh 2009.06 node with a thick volume tank/vm1 of 1 GiB."""
    node = Node.create(tmp_path, "b111")
    ok(node, "zfs create -V 1G tank/vm1")
    return node


def test_snapshot_keeps_content_and_rollback_returns_it(node: Node) -> None:
    """What is written after a snapshot is gone after the rollback, what was there before is back."""
    put(node, "tank/vm1", b"before", at=5 * GIB)
    ok(node, "zfs snapshot tank/vm1@s")
    put(node, "tank/vm1", b"AFTER!", at=5 * GIB)
    put(node, "tank/vm1", b"new", at=9 * GIB)
    ok(node, "zfs rollback tank/vm1@s")
    assert (peek(node, "tank/vm1", 6, at=5 * GIB), peek(node, "tank/vm1", 3, at=9 * GIB)) == (b"before", b"\0\0\0")


def test_clone_is_a_copy_of_its_own(node: Node) -> None:
    """Writing to a clone changes neither snapshot nor origin."""
    put(node, "tank/vm1", b"data")
    ok(node, "zfs snapshot tank/vm1@s", "zfs clone tank/vm1@s tank/c")
    put(node, "tank/c", b"DATA")
    assert tuple(peek(node, name, 4) for name in ("tank/vm1", "tank/vm1@s", "tank/c")) == (b"data", b"data", b"DATA")
    assert ("tank/vm1@s", str(20 * GIB), "0") == tuple(
        value(node, "tank/c", key) for key in ("origin", "volsize", "refreservation")
    )


def test_copies_of_empty_volumes_take_no_room(node: Node) -> None:
    """Snapshot and clone of an empty 20 GiB volume have its size and no blocks."""
    ok(node, "zfs snapshot tank/vm1@s", "zfs clone tank/vm1@s tank/c")
    for name in ("tank/vm1", "tank/vm1@s", "tank/c"):
        path = content.path_of(node.root, name)
        assert (path.stat().st_size, path.stat().st_blocks) == (20 * GIB, 0)


def test_written_data_counts_as_referenced(node: Node) -> None:
    """A MiB written shows in referenced and not in used, as the reservation covers it."""
    used = int(value(node, "tank/vm1", "used"))
    put(node, "tank/vm1", b"x" * (1 << 20))
    assert int(value(node, "tank/vm1", "referenced")) == (1 << 20) + 16384
    assert used == int(value(node, "tank/vm1", "used"))


def test_thick_reservation_counts_metadata(node: Node) -> None:
    """20 GiB in 8 KiB blocks: 2562 indirect blocks and 7 more, two copies of 128 KiB each."""
    indirects = 7 + 2560 + 3 + 1
    assert 20 * GIB + indirects * 2 * 131072 == int(value(node, "tank/vm1", "refreservation"))


def test_old_thick_reservation_is_volsize(old: Node) -> None:
    """2009.06 reserves the size alone."""
    assert str(GIB) == value(old, "tank/vm1", "refreservation")


def test_snapshot_of_a_thick_volume_counts_twice(node: Node) -> None:
    """After a snapshot the whole reservation is needed again on top of what the snapshot keeps."""
    put(node, "tank/vm1", b"x" * (1 << 20))
    before = int(value(node, "tank/vm1", "used"))
    ok(node, "zfs snapshot tank/vm1@s")
    assert before + (1 << 20) + 16384 == int(value(node, "tank/vm1", "used"))


def test_thick_volume_needs_room_and_thin_does_not(node: Node) -> None:
    """A 3 TiB volume in a 2 TiB pool only fits thin."""
    assert Answer("", "cannot create 'tank/big': out of space\n", 1) == run(node, "zfs create -V 3T tank/big")
    assert "tank/big" not in node.datasets
    ok(node, "zfs create -s -V 3T tank/big")


def test_volsize_grows_content_and_reservation(node: Node) -> None:
    """Growing a thick volume carries its reservation along; shrinking cuts the content."""
    put(node, "tank/vm1", b"tail", at=15 * GIB)
    thick = int(value(node, "tank/vm1", "refreservation")) - 20 * GIB
    ok(node, "zfs set volsize=40G tank/vm1")
    assert int(value(node, "tank/vm1", "refreservation")) > 40 * GIB
    ok(node, "zfs set volsize=10G tank/vm1", "zfs set volsize=20G tank/vm1")
    assert 20 * GIB + thick == int(value(node, "tank/vm1", "refreservation"))
    assert peek(node, "tank/vm1", 4, at=15 * GIB) == b"\0\0\0\0"


def test_rollback_over_a_resize(node: Node) -> None:
    """volsize goes back; a reservation with metadata in it is not equal to the old volsize, so it stays."""
    ok(node, "zfs snapshot tank/vm1@s", "zfs set volsize=40G tank/vm1")
    grown = value(node, "tank/vm1", "refreservation")
    ok(node, "zfs rollback tank/vm1@s")
    assert (str(20 * GIB), grown) == (value(node, "tank/vm1", "volsize"), value(node, "tank/vm1", "refreservation"))


def test_old_rollback_over_a_resize_restores_the_reservation(old: Node) -> None:
    """On 2009.06 the reservation equals volsize and follows it."""
    ok(old, "zfs snapshot tank/vm1@s", "zfs set volsize=2G tank/vm1", "zfs rollback tank/vm1@s")
    assert str(GIB) == value(old, "tank/vm1", "refreservation")


def test_busy_rollback_destroys_newer_snapshots_first(node: Node) -> None:
    """The trap: exit 1 and the newer snapshots are gone, the content untouched."""
    ok(node, "zfs snapshot tank/vm1@a", "zfs snapshot tank/vm1@b", f"stmfadm create-lu {VM1}")
    put(node, "tank/vm1", b"live")
    assert run(node, "zfs rollback -r tank/vm1@a").exit == 1
    assert {"tank", "tank/vm1", "tank/vm1@a"} == set(node.datasets)
    assert peek(node, "tank/vm1", 4) == b"live"


@pytest.mark.parametrize("line", ["zfs destroy tank/vm1", "zfs rename tank/vm1 tank/vm2", "zfs rollback tank/vm1@a"])
@pytest.mark.parametrize("state", ["online", "offline"])
def test_registered_unit_keeps_the_volume_busy(node: Node, line: str, state: str) -> None:
    """Offline or online, a registered unit blocks; deleted it does not."""
    if "rollback" in line:
        ok(node, "zfs snapshot tank/vm1@a")
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm {state}-lu {GUID}")
    answer = run(node, line)
    assert (answer.exit, answer.stderr.rstrip("\n").rpartition(": ")[2]) == (1, "dataset is busy")
    ok(node, f"stmfadm delete-lu {GUID}", line)


def test_old_busy_words(old: Node) -> None:
    """2009.06 speaks of device links."""
    ok(old, f"sbdadm create-lu {VM1}")
    expected = Answer("", "cannot remove device links for 'tank/vm1': dataset is busy\n", 1)
    assert expected == run(old, "zfs destroy tank/vm1")


def test_rename_carries_content_snapshots_and_metadata(node: Node) -> None:
    """A renamed parent takes everything along; the unit comes back under the new path with its GUID."""
    ok(node, "zfs create tank/g", "zfs rename tank/vm1 tank/g/root", "zfs snapshot tank/g/root@s")
    put(node, "tank/g/root", b"data")
    ok(node, f"stmfadm create-lu -p guid={GUID} /dev/zvol/rdsk/tank/g/root", f"stmfadm delete-lu {GUID}")
    ok(node, "zfs rename tank/g tank/h")
    assert peek(node, "tank/h/root", 4) == b"data"
    assert {"tank", "tank/h", "tank/h/root", "tank/h/root@s"} == set(node.datasets)
    assert f"Logical unit imported: {GUID}\n" == ok(node, "stmfadm import-lu /dev/zvol/rdsk/tank/h/root")


def test_promote_turns_the_family_round(node: Node) -> None:
    """After promote the clone owns the snapshot and the old volume can be destroyed."""
    put(node, "tank/vm1", b"data")
    ok(node, "zfs snapshot tank/vm1@s", "zfs clone tank/vm1@s tank/c", "zfs promote tank/c")
    assert (value(node, "tank/c", "origin"), value(node, "tank/vm1", "origin")) == ("-", "tank/c@s")
    ok(node, "zfs destroy tank/vm1")
    assert peek(node, "tank/c@s", 4) == b"data"


def test_user_properties_inherit(node: Node) -> None:
    """A user property reaches children and snapshots with its source, until it is set or inherited again."""
    ok(node, "zfs set org.x:k=v tank", "zfs snapshot tank/vm1@s")
    shown = "zfs get -H -o value,source org.x:k"
    assert ok(node, f"{shown} tank/vm1@s") == "v\tinherited from tank\n"
    ok(node, "zfs set org.x:k=w org.x:l=1 tank/vm1")
    assert ok(node, f"{shown} tank/vm1@s") == "w\tinherited from tank/vm1\n"
    ok(node, "zfs inherit org.x:k tank/vm1")
    assert ok(node, f"{shown} tank/vm1") == "v\tinherited from tank\n"


def test_mountpoint_inherits_with_the_rest_of_the_path(node: Node) -> None:
    """A child's mountpoint is the parent's plus its own name."""
    ok(node, "zfs create -o mountpoint=/export tank/a", "zfs create -p tank/a/b/c")
    shown = "zfs get -H -o value,source mountpoint"
    assert ok(node, f"{shown} tank/a/b/c") == "/export/b/c\tinherited from tank/a\n"
    assert ok(node, f"{shown} tank") == "/tank\tdefault\n"


def test_recursive_snapshot_is_one_moment(node: Node) -> None:
    """-r takes all below in one transaction, or nothing at all."""
    ok(node, "zfs create tank/g", "zfs create -V 1G tank/g/a", "zfs create -V 1G tank/g/b", "zfs snapshot -r tank/g@s")
    assert len({node.datasets[f"{name}@s"].txg for name in ("tank/g", "tank/g/a", "tank/g/b")}) == 1
    ok(node, "zfs destroy tank/g/b@s")
    assert run(node, "zfs snapshot -r tank/g@s").exit == 1
    assert "tank/g/b@s" not in node.datasets


def test_deferred_destroy_waits_for_holds(node: Node) -> None:
    """destroy -d succeeds at once, the snapshot goes with its last hold."""
    ok(node, "zfs snapshot tank/vm1@s", "zfs hold keep tank/vm1@s", "zfs destroy -d tank/vm1@s")
    assert "tank/vm1@s" in node.datasets
    ok(node, "zfs release keep tank/vm1@s")
    assert "tank/vm1@s" not in node.datasets


def test_destroy_ranges(node: Node) -> None:
    """a%c means all from a to c, a comma joins names."""
    ok(node, *(f"zfs snapshot tank/vm1@{name}" for name in "abcde"))
    ok(node, "zfs destroy tank/vm1@a%c,e")
    assert ok(node, "zfs list -H -o name -t snapshot -r tank") == "tank/vm1@d\n"


def test_destroy_removes_content(node: Node) -> None:
    """No file stays behind."""
    ok(node, "zfs snapshot tank/vm1@s", "zfs destroy -r tank/vm1")
    assert list((node.root / "zvol").iterdir()) == []


def test_long_names_have_files(node: Node) -> None:
    """A name as long as ZFS allows, with slashes, still gets a content file."""
    parts = "/".join(["tank", *["p" * 20] * 11])
    name = f"{parts}/v"
    ok(node, f"zfs create -p -V 1M {name}")
    put(node, name, b"x")
    assert peek(node, name, 1) == b"x"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("zfs create -V 1G tank/a$b", "cannot create 'tank/a$b': invalid character '$' in name"),
        ("zfs create tank//a", "cannot create 'tank//a': empty component in name"),
        ("zfs create tank/a/", "cannot create 'tank/a/': trailing slash in name"),
        (f"zfs create tank/{'a' * 251}", f"cannot create 'tank/{'a' * 251}': name is too long"),
        ("zfs create -V 0 tank/v", "cannot create 'tank/v': volume size cannot be zero"),
        (
            "zfs create -s -V 1000001 tank/v",
            "cannot create 'tank/v': volume size must be a multiple of volume block size",
        ),
        (
            "zfs create -s -b 3K -V 1G tank/v",
            "cannot create 'tank/v': 'volblocksize' must be power of 2 from 512B to 128KB",
        ),
        ("zfs create -o colour=red tank/v", "cannot create 'tank/v': invalid property 'colour'"),
        ("zfs create -s -V 1G nopool/v", "cannot create 'nopool/v': no such pool 'nopool'"),
        ("zfs create tank/vm1/x", "cannot create 'tank/vm1/x': parent is not a filesystem"),
        ("zfs set colour=red tank/vm1", "cannot set property for 'tank/vm1': invalid property 'colour'"),
        ("zfs set used=1 tank/vm1", "cannot set property for 'tank/vm1': 'used' is readonly"),
        ("zfs set volblocksize=4K tank/vm1", "cannot set property for 'tank/vm1': 'volblocksize' is readonly"),
        (
            "zfs set quota=1G tank/vm1",
            "cannot set property for 'tank/vm1': 'quota' does not apply to datasets of this type",
        ),
        (
            "zfs set sync=maybe tank/vm1",
            "cannot set property for 'tank/vm1': 'sync' must be one of 'standard | always | disabled'",
        ),
        (
            "zfs set refreservation=21G tank/vm1",
            "cannot set property for 'tank/vm1': 'refreservation' is greater than current volume size",
        ),
        ("zfs set volsize=9T tank/vm1", "cannot set property for 'tank/vm1': out of space"),
    ],
)
def test_refusals(node: Node, line: str, text: str) -> None:
    """Names, sizes and properties that ZFS does not take change nothing."""
    before = set(node.datasets)
    assert Answer("", f"{text}\n", 1) == run(node, line)
    assert before == set(node.datasets)


@pytest.mark.parametrize("line", ["zfs hold k tank/vm1@s", "zfs get -d 1 used tank", "zfs create -n tank/x"])
def test_old_release_lacks_what_came_later(old: Node, line: str) -> None:
    """2009.06 has no holds, no -d, no dry run."""
    assert run(old, line).exit == 2


def test_listing_order_types_and_depth(node: Node) -> None:
    """By name, snapshots after their dataset by age; -d counts levels; -s and -S sort by value."""
    ok(node, "zfs create -p tank/a/b", "zfs snapshot tank/vm1@z", "zfs snapshot tank/vm1@a")
    assert (
        ok(node, "zfs list -H -o name -t all -r tank") == "tank\ntank/a\ntank/a/b\ntank/vm1\ntank/vm1@z\ntank/vm1@a\n"
    )
    assert ok(node, "zfs list -H -o name -d 1 tank") == "tank\ntank/a\ntank/vm1\n"
    assert ok(node, "zfs list -H -o name -t snapshot -S createtxg -r tank") == "tank/vm1@a\ntank/vm1@z\n"
    assert ok(node, "zfs list -H -o name tank/vm1@a") == "tank/vm1@a\n"


def test_get_by_source(node: Node) -> None:
    """-s picks lines by where the value comes from."""
    ok(node, "zfs set org.x:k=v tank")
    line = "zfs get -H -o property,value -s inherited all tank/vm1"
    assert ok(node, line) == "org.x:k\tv\n"


def test_busy_recursive_destroy_loses_the_snapshots(node: Node) -> None:
    """destroy -r takes the snapshots first and then finds the volume busy."""
    ok(node, "zfs snapshot tank/vm1@a", f"stmfadm create-lu {VM1}")
    assert run(node, "zfs destroy -r tank/vm1").exit == 1
    assert {"tank", "tank/vm1"} == set(node.datasets)


def test_old_recursive_snapshot_destroy(old: Node) -> None:
    """destroy -r of a snapshot takes the same name on everything below, long before lists were known."""
    ok(old, "zfs create -p tank/g/h", "zfs snapshot -r tank/g@s", "zfs snapshot -r tank/g@t", "zfs destroy -r tank/g@s")
    assert ok(old, "zfs list -H -o name -t snapshot -r tank") == "tank/g@t\ntank/g/h@t\n"
    assert run(old, "zfs destroy tank/g@s").stderr == "cannot open 'tank/g@s': dataset does not exist\n"


@pytest.mark.parametrize(
    "line",
    ["zfs create tank/x", "zfs create -s -V 1G tank/x", "zfs clone tank/vm1@a tank/x", "zfs snapshot tank/vm1@b"],
)
def test_full_pool_takes_nothing(node: Node, line: str) -> None:
    """Not even a thin volume can be made."""
    ok(node, "zfs snapshot tank/vm1@a")
    before = set(node.datasets)
    node.conditions.add("pool-full")
    answer = run(node, line)
    assert (1, "out of space") == (answer.exit, answer.stderr.rstrip("\n").rpartition(": ")[2])
    assert before == set(node.datasets)


def test_thick_clone(node: Node) -> None:
    """refreservation=auto gives a clone what a thick volume has."""
    ok(node, "zfs snapshot tank/vm1@a", "zfs clone -o refreservation=auto tank/vm1@a tank/c")
    assert value(node, "tank/vm1", "refreservation") == value(node, "tank/c", "refreservation")


@pytest.mark.parametrize("length", [100, 240])
def test_written_data_counts_under_long_names(node: Node, length: int) -> None:
    """However the file of the content is named."""
    name = "tank/" + "x" * length
    ok(node, f"zfs create -s -V 1G {name}")
    put(node, name, b"x" * (1 << 20))
    assert int(value(node, name, "referenced")) == (1 << 20) + 16384


def test_written_since_a_snapshot(node: Node) -> None:
    """written@SNAPSHOT is what came after it, of a volume or a later snapshot; named in full or short."""
    ok(node, "zfs snapshot tank/vm1@a")
    put(node, "tank/vm1", b"x" * (1 << 20))
    ok(node, "zfs snapshot tank/vm1@b")
    put(node, "tank/vm1", b"x" * (1 << 21), at=1 << 22)
    mib = 1 << 20
    rows = ok(node, "zfs get -Hp -o name,value,source written@a,written@b,written@tank/vm1@b tank/vm1").splitlines()
    assert rows == [f"tank/vm1\t{size}\tlocal" for size in (3 * mib, 2 * mib, 2 * mib)]
    assert ok(node, "zfs list -H -t all -o name,written@a tank/vm1 tank/vm1@b") == "tank/vm1\t3M\ntank/vm1@b\t1M\n"
    assert ok(node, "zfs list -Hp -r -d 1 -t all -o written@b tank/vm1") == f"{2 * mib}\n-\n0\n"
    assert ok(node, "zfs get -H -o value,source written@nope tank/vm1") == "-\t-\n"


def test_old_systems_have_no_written_since(tmp_path: Path) -> None:
    """It came in 2011."""
    node = Node.create(tmp_path, "b111")
    answer = run(node, "zfs get -Hp -o value written@a tank")
    assert answer.stderr.startswith("bad property list: invalid property 'written@a'\nusage:")
    assert (answer.stdout, answer.exit) == ("", 2)
