"""What every storage node must do with volumes, whatever is under it: run by ``tests/node`` and by ``tests/lab``."""

from pathlib import Path

from tests.contract.node import Node

GIB = 1 << 30
SHARED = 'layout = "shared-target"\ntarget = "iqn.2026-11.org.xvmstore:shared"'


def test_create_prints_what_is_needed(node: Node, guest: str) -> None:
    """GUID, target, LUN, size, dom0s and the xl line, in JSON and for people."""
    said = node.xvm("volume", "create", f"{guest}/root", "--size", "20G", "--json")

    assert 0 == said.exit
    made = node.after_first_login(said.json)
    wanted = {"name", "dataset", "size", "guid", "serial", "target", "lun", "portals", "dom0s", "disk"}
    assert set() == wanted - set(made)
    assert (f"{guest}/root", f"tank/xvm/{guest}/root", 20 * GIB) == (made["name"], made["dataset"], made["size"])
    assert ["xen1"] == made["dom0s"]
    assert made["disk_by_path"]["xl"].endswith(f"-iscsi-{made['target']}-lun-{made['lun']}")
    assert made["disk"]["xl"].endswith(f"script=block-xvmstore, target={made['guid'].lower()}")
    assert made["guid"] in node.units()
    text = node.xvm("volume", "show", f"{guest}/root").out
    for fact in (made["guid"], made["target"], f"lun       {made['lun']}"):
        assert fact in text
    assert any(made[lines]["xl"] in text for lines in ("disk", "disk_by_path"))


def test_create_again(node: Node, guest: str) -> None:
    """The same command changes nothing and exits 0; another one says what differs, changes nothing and exits 1."""
    name = f"{guest}/root"
    first = node.xvm("volume", "create", name, "--size", "2G", "--json").json
    state = node.state()

    again = node.xvm("volume", "create", name, "--size", "2G", "--json")
    larger = node.xvm("volume", "create", name, "--size", "3G")
    thin = node.xvm("volume", "create", name, "--size", "2G", "--thin", "-o", "copies=2")

    assert (0, first | {"action": "unchanged"}) == (again.exit, again.json)
    assert (1, "") == (larger.exit, larger.out)
    assert f"{name} exists, but its size is {2 * GIB}, not {3 * GIB}" in larger.err
    assert "its thin is False, not True; its copies is 1, not 2" in thin.err
    assert state == node.state()


def test_what_a_power_cut_left_bare(node: Node, guest: str) -> None:
    """ZFS sets a new dataset's properties in a later transaction: what never got its name is done away with."""
    for half in (f"tank/xvm/{guest}:making", f"tank/xvm/{guest}x"):
        node.on_node("zfs", "create", "-p", "-o", "canmount=off", "-o", "mountpoint=none", half)
    node.on_node("zfs", "create", "-V", "1G", f"tank/xvm/{guest}x/root:making")

    said = [node.xvm("volume", "create", f"{name}/root", "--size", "1G") for name in (guest, f"{guest}x")]

    assert [(0, "")] * 2 == [(one.exit, one.err) for one in said]
    there = node.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank/xvm").stdout.split()
    assert [] == [name for name in there if name.endswith(":making")]
    assert {f"tank/xvm/{guest}/root", f"tank/xvm/{guest}x/root"} <= set(there)


def test_create_with_properties(node: Node, guest: str) -> None:
    """Thin, block size and any ZFS property, hostile values included, arrive as given."""
    value = 'it\'s "$HOME" `id`; rm -rf / & \\ *'
    options = ("--thin", "--block-size", "4K", "-o", "compression=lzjb", "-o", f"org.example:note={value}")

    said = node.xvm("volume", "create", f"{guest}/d", "--size", "1G", *options)

    names = "volblocksize,refreservation,compression,org.example:note"
    read = node.on_node("zfs", "get", "-Hp", "-o", "value", names, f"tank/xvm/{guest}/d").stdout.splitlines()
    assert 0 == said.exit, said.err
    assert ["4096", "0", "lzjb", value] == read


def test_device_letters_stay(node: Node, guest: str) -> None:
    """Each disk of a guest has a letter of its own, and keeps it when another goes; a freed one is used again."""
    for disk in ("a", "b", "c"):
        assert 0 == node.xvm("volume", "create", f"{guest}/{disk}", "--size", "1G").exit
    assert 0 == node.xvm("volume", "destroy", f"{guest}/b").exit
    assert {"a": "xvda", "c": "xvdc"} == _letters(node, guest)
    assert 0 == node.xvm("volume", "create", f"{guest}/z", "--size", "1G").exit

    assert {"a": "xvda", "c": "xvdc", "z": "xvdb"} == _letters(node, guest)
    lines = node.xvm("guest", "disks", guest).out.splitlines()
    assert ["xvda", "xvdb", "xvdc"] == [line.split("vdev=")[1][:4] for line in lines[1:-1]]
    assert ("disk = [", "]") == (lines[0], lines[-1])


def _letters(node: Node, guest: str) -> dict[str, str]:
    found = node.xvm("volume", "list", "--guest", guest, "--json").json
    return {one["name"].split("/")[1]: one["vdev"] for one in found}


def test_resize(node: Node, guest: str) -> None:
    """Up at once, down only when forced; LU and zvol always agree."""
    name = f"{guest}/root"
    node.xvm("volume", "create", name, "--size", "2G")

    grown = node.xvm("volume", "resize", name, "--size", "3G", "--json")
    refused = node.xvm("volume", "resize", name, "--size", "1G")
    shrunk = node.xvm("volume", "resize", name, "--size", "1G", "--force", "--json")

    assert (0, 3 * GIB) == (grown.exit, grown.json["size"])
    assert (1, "") == (refused.exit, refused.out)
    assert "shrinking cuts off the guest's data" in refused.err
    assert (0, 1 * GIB) == (shrunk.exit, shrunk.json["size"])
    (unit,) = [one for one in node.xvm("lun", "list", "--json").json if one["volume"] == name]
    assert GIB == unit["size"]


def test_rename(modern: Node, guest: str) -> None:
    """GUID, target and LUN stay; another guest's letters are respected; the old guest's dataset goes."""
    node, other = modern, f"{guest}x"
    before = node.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    node.xvm("volume", "create", f"{other}/root", "--size", "1G")

    after = node.xvm("volume", "rename", f"{guest}/root", f"{other}/moved", "--json")

    same = ("guid", "target", "lun", "serial", "size", "dom0s")
    assert 0 == after.exit, after.err
    assert [before[key] for key in same] == [after.json[key] for key in same]
    assert ("xvda", "xvdb") == (before["vdev"], after.json["vdev"])
    assert after.json["exported"]
    assert [] == [name for name in node.empty_guests() if name.endswith(guest)]


def test_unexport_and_export(node: Node, guest: str) -> None:
    """What comes back is the same disk: GUID, target, LUN, serial."""
    name = f"{guest}/root"
    before = node.after_first_login(node.xvm("volume", "create", name, "--size", "1G", "--json").json)

    gone = node.xvm("lun", "unexport", name, "--json")
    twice = node.xvm("lun", "unexport", name)
    back = node.xvm("lun", "export", name, "--json")

    assert (0, False, []) == (gone.exit, gone.json["exported"], gone.json["dom0s"])
    assert 0 == twice.exit
    assert before["guid"] in node.units()
    drop = {"action", "used"}
    assert {k: v for k, v in before.items() if k not in drop} == {k: v for k, v in back.json.items() if k not in drop}


def test_one_dom0_more_and_less(modern: Node, guest: str, tmp_path: Path) -> None:
    """A second dom0 gets a view of its own under the same LUN, and losing it leaves the first alone."""
    config = modern.variant(tmp_path, tables='[dom0s.xen2]\ninitiator = "iqn.2026-11.org.xvmstore:xen2"\n')
    name = f"{guest}/root"
    modern.xvm("volume", "create", name, "--size", "1G")

    both = modern.xvm("lun", "export", name, "--dom0", "xen1", "--dom0", "xen2", "--json", config=config)
    one = modern.xvm("lun", "unexport", name, "--dom0", "xen1", "--json", config=config)

    assert ["xen1", "xen2"] == both.json["dom0s"]
    assert (["xen2"], True) == (one.json["dom0s"], one.json["exported"])
    (unit,) = [lun for lun in modern.xvm("lun", "list", "--json").json if lun["guid"] == one.json["guid"]]
    assert 1 == len(unit["views"])


def test_destroy(node: Node, guest: str) -> None:
    """Nothing is left of a destroyed volume, and destroying it again says that it is not there."""
    name = f"{guest}/root"
    made = node.xvm("volume", "create", name, "--size", "1G", "--json").json

    said = node.xvm("volume", "destroy", name)
    again = node.xvm("volume", "destroy", name)

    assert 0 == said.exit, said.err
    assert made["guid"] not in node.units()
    assert made["dataset"] not in node.zvols()
    assert [] == node.empty_guests()
    assert (1, f"xvmstore: {made['node']}: there is no volume {name} ({made['dataset']} does not exist)\n") == (
        again.exit,
        again.err,
    )


def test_destroy_spares_snapshots_and_clones(node: Node, guest: str) -> None:
    """Snapshots are named and spared, unless asked for; what was cloned from them is always spared."""
    name, dataset = f"{guest}/root", f"tank/xvm/{guest}/root"
    node.xvm("volume", "create", name, "--size", "1G")
    node.on_node("zfs", "snapshot", f"{dataset}@monday")

    refused = node.xvm("volume", "destroy", name)
    node.on_node("zfs", "clone", f"{dataset}@monday", f"tank/xvm/{guest}/copy")
    cloned = node.xvm("volume", "destroy", name, "--snapshots")
    intact = node.xvm("volume", "show", name, "--json").json
    node.on_node("zfs", "destroy", f"tank/xvm/{guest}/copy")
    gone = node.xvm("volume", "destroy", name, "--snapshots")

    assert (1, 1, 0) == (refused.exit, cloned.exit, gone.exit)
    assert f"{dataset}@monday" in refused.err
    assert f"has clones: tank/xvm/{guest}/copy; promote" in cloned.err
    assert intact["exported"]
    assert dataset not in node.zvols()


def test_somebody_elses_zvol_is_left_alone(node: Node, guest: str) -> None:
    """A zvol made by hand is neither adopted nor destroyed nor resized."""
    dataset = f"tank/xvm/{guest}/hand"
    node.on_node("zfs", "create", "-p", "-V", "1G", dataset)
    try:
        said = [
            node.xvm("volume", *words.split())
            for words in (
                f"create {guest}/hand --size 1G",
                f"destroy {guest}/hand --force",
                f"resize {guest}/hand --size 2G",
                f"rename {guest}/hand {guest}/mine",
            )
        ]
        assert [1, 1, 1, 1] == [one.exit for one in said]
        assert all("xvmstore" in one.err and one.err.count("\n") == 1 for one in said)
        assert "1073741824" == node.on_node("zfs", "get", "-Hp", "-o", "value", "volsize", dataset).stdout.strip()
    finally:
        node.on_node("zfs", "destroy", dataset)


def test_a_full_pool_changes_nothing(node: Node, guest: str) -> None:
    """A thick volume the pool cannot hold is refused, with nothing left behind."""
    said = node.xvm("volume", "create", f"{guest}/big", "--size", "9T")

    assert 1 == said.exit
    assert "out of space" in said.err
    assert f"tank/xvm/{guest}" not in node.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank").stdout.split()


def test_pools(node: Node) -> None:
    """Sizes and health, whatever words the release's zpool uses."""
    listed = node.xvm("pool", "list", "--json").json
    status = node.xvm("pool", "status", "tank", "--json").json
    missing = node.xvm("pool", "status", "nope")

    assert [("tank", "ONLINE")] == [(one["name"], one["health"]) for one in listed]
    assert listed[0]["size"] > 1 << 35
    assert [("tank", 0), ("mirror", 1)] == [(vdev["name"][:6], vdev["depth"]) for vdev in status[0]["vdevs"]][:2]
    assert (1, True) == (missing.exit, "no such pool" in missing.err)


def test_the_shared_target_layout(modern: Node, guest: str, tmp_path: Path) -> None:
    """One target, many LUNs; a LUN set free is not used again at once."""
    config = modern.variant(tmp_path, node=SHARED)
    one = modern.xvm("volume", "create", f"{guest}/a", "--size", "1G", "--json", config=config).json
    two = modern.xvm("volume", "create", f"{guest}/b", "--size", "1G", "--json", config=config).json
    gone = modern.xvm("volume", "destroy", f"{guest}/a", config=config)

    assert one["target"] == two["target"] == "iqn.2026-11.org.xvmstore:shared"
    assert one["lun"] != two["lun"]
    assert 0 == gone.exit, gone.err
    freed = modern.on_node("zfs", "get", "-H", "-o", "value", f"org.xvmstore:freed-{one['lun']}", "tank/xvm")
    assert freed.stdout.strip().isdigit()
    assert 0 == modern.xvm("volume", "destroy", f"{guest}/b", config=config).exit


def test_what_was_there_before_is_never_destroyed(node: Node, guest: str) -> None:
    """A filesystem or a zvol of somebody's in the place of a guest's dataset outlives every command for that guest."""
    node.on_node("zfs", "create", "-p", f"tank/xvm/{guest}")
    node.on_node("zfs", "create", "-V", "64m", f"tank/xvm/{guest}z")
    try:
        said = [
            node.xvm(*words.split()).exit
            for words in (
                f"volume destroy {guest}/root",
                f"volume destroy {guest}z/root --force --snapshots",
                f"volume create {guest}/root --size 1G",
                f"volume destroy {guest}/root",
            )
        ]
        assert [1, 1, 0, 0] == said
        there = node.on_node("zfs", "list", "-H", "-o", "name", "-r", "tank/xvm").stdout.split()
        assert {f"tank/xvm/{guest}", f"tank/xvm/{guest}z"} <= set(there)
    finally:
        node.on_node("zfs", "destroy", f"tank/xvm/{guest}")
        node.on_node("zfs", "destroy", f"tank/xvm/{guest}z")


def test_a_copy_that_claims_the_lu_of_its_original(modern: Node, guest: str) -> None:
    """As after zfs send -R: destroying the copy would take the original's LU from under its guest."""
    made = modern.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    copy = f"tank/xvm/{guest}/copy"
    modern.on_node("zfs", "create", "-V", "1G", copy)
    for name in ("guid", "target", "lun", "serial", "layout", "state"):
        value = modern.on_node(
            "zfs", "get", "-H", "-o", "value", f"org.xvmstore:{name}", made["dataset"]
        ).stdout.strip()
        modern.on_node("zfs", "set", f"org.xvmstore:{name}={value}", copy)

    said = [
        modern.xvm(*words.split())
        for words in (
            f"volume destroy {guest}/copy --force",
            f"lun unexport {guest}/copy --force",
            f"volume rename {guest}/copy {guest}/other",
            f"volume resize {guest}/copy --size 2G",
        )
    ]

    assert [1] * 4 == [one.exit for one in said]
    assert all("is on another volume" in one.err for one in said)
    assert modern.xvm("volume", "show", f"{guest}/root", "--json").json["exported"]
    modern.on_node("zfs", "destroy", copy)


def test_a_volume_keeps_its_layout(modern: Node, guest: str, tmp_path: Path) -> None:
    """With another layout configured it is left alone, and the message says which one it was made in."""
    config = modern.variant(tmp_path, node=SHARED)
    modern.xvm("volume", "create", f"{guest}/root", "--size", "1G")

    said = modern.xvm("volume", "destroy", f"{guest}/root", "--force", config=config)

    assert (1, True) == (said.exit, 'was made with layout = "target-per-volume"' in said.err)
    assert modern.xvm("volume", "show", f"{guest}/root", "--json").json["exported"]


def test_a_target_that_asks_for_no_chap(modern: Node, guest: str) -> None:
    """It is reported, and an export puts it right."""
    made = modern.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    modern.ask_no_chap(made["target"])

    shown = modern.xvm("volume", "show", f"{guest}/root", "--json").json
    fixed = modern.xvm("lun", "export", f"{guest}/root", "--json")

    assert ["its target asks for no CHAP (auth none), though xen1 is to use it"] == shown["trouble"]
    assert (0, []) == (fixed.exit, fixed.json["trouble"])
