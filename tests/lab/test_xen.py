"""A real Xen and real guests on the lab's volumes: started, attached to, grown, detached by the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guests import Guest, start
from tests.lab.live import Dom0, LabNode

GIB = 1 << 30


@pytest.fixture(scope="module")
def dom0(node: LabNode) -> Dom0:
    """With the script installed, as a user installs it."""
    assert 0 == node.xvm("guest", "install-script", "--dom0", "xen1").exit
    return Dom0(node)


@pytest.fixture(scope="module")
def web(node: LabNode, dom0: Dom0) -> Iterator[Guest]:
    """A guest that runs, with its root disk and a second volume that is not attached."""
    found = start(node, dom0, "web", "root")
    assert 0 == node.xvm("volume", "create", "web/data", "--size", "1G").exit
    yield found
    found.destroy()


def _volume(node: LabNode, name: str) -> dict[str, object]:
    found: dict[str, object] = node.xvm("volume", "show", name, "--json").json
    return found


def test_a_guest_reads_and_writes_its_disk(node: LabNode, dom0: Dom0, web: Guest) -> None:
    """It has xvda with the volume's size; what it writes is on the zvol, and it reads what was there."""
    web.size_seen("xvda", GIB)
    web.does("printf hello-from-guest | dd of=/dev/xvda bs=512 seek=1 conv=sync,fsync 2>/dev/null")

    zvol = "/dev/zvol/tank/xvm/web/root"
    read = f"dd if={zvol} bs=512 skip=1 count=1 iflag=direct 2>/dev/null | tr -d '\\0'"
    assert "hello-from-guest" == node.shell(read)
    web.does("dd if=/dev/xvda bs=512 skip=1 count=1 iflag=direct 2>/dev/null | grep -q hello-from-guest")


def test_attach_write_detach(node: LabNode, dom0: Dom0, web: Guest) -> None:
    """A second disk comes and goes while the guest runs; nothing is left on dom0, its bytes are on the zvol."""
    made = _volume(node, "web/data")
    attached = node.xvm("guest", "attach", "web/data", "--dom0", "xen1", "--json")
    assert (0, "attached", "connected", "xvdb") == (
        attached.exit, attached.json["action"], attached.json["state"], attached.json["vdev"],
    ), attached.err  # fmt: skip
    web.size_seen("xvdb", GIB)
    web.does("printf second-disk | dd of=/dev/xvdb bs=512 conv=sync,fsync 2>/dev/null")
    (listed,) = [one for one in node.xvm("guest", "list", "--json").json if one["name"] == "web"]
    assert ("xen1", [], {"web/root": "xvda", "web/data": "xvdb"}) == (
        listed["dom0"], listed["trouble"], {one["volume"]: one["vdev"] for one in listed["attached"]},
    )  # fmt: skip
    again = node.xvm("guest", "attach", "web/data", "--dom0", "xen1", "--json")
    assert (0, "unchanged") == (again.exit, again.json["action"])

    detached = node.xvm("guest", "detach", "web/data", "--dom0", "xen1")

    assert 0 == detached.exit, detached.err
    assert {} == dom0.traces(made)
    assert [] == _volume(node, "web/data")["sessions"]
    assert "second-disk" == node.shell(
        "dd if=/dev/zvol/tank/xvm/web/data bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\\0'"
    )
    assert 0 == node.xvm("guest", "detach", "web/data", "--dom0", "xen1").exit, "again is nothing to do"


def test_grow_under_a_running_guest(node: LabNode, web: Guest) -> None:
    """1 GiB becomes 2 GiB inside the guest, by one command; the same again changes nothing."""
    grown = node.xvm("guest", "grow", "web/root", "--size", "2G", "--json")

    assert 0 == grown.exit, grown.err
    assert (2 * GIB, [("xen1", "guest")]) == (
        grown.json["size"], [(one["dom0"], one["reached"]) for one in grown.json["grown"]],
    )  # fmt: skip
    web.size_seen("xvda", 2 * GIB)
    web.does(f"dd if=/dev/zero of=/dev/xvda bs=512 seek={2 * GIB // 512 - 1} count=1 conv=fsync 2>/dev/null")
    again = node.xvm("guest", "grow", "web/root", "--size", "2G", "--json")
    assert (0, ["guest"]) == (again.exit, [one["reached"] for one in again.json["grown"]])
    smaller = node.xvm("guest", "grow", "web/root", "--size", "1G")
    assert 1 == smaller.exit


def test_detach_refuses_what_is_known_to_be_used(node: LabNode, dom0: Dom0, web: Guest) -> None:
    """The disk the guest started from, and one it writes to at this moment; --force takes that one."""
    made = _volume(node, "web/data")
    root = node.xvm("guest", "detach", "web/root", "--dom0", "xen1")
    assert (1, True) == (root.exit, "the disk web started from" in root.err)
    assert 0 == node.xvm("guest", "attach", "web/data", "--dom0", "xen1").exit
    web.saw("GUEST-DISK xvdb")
    web.does("(while dd if=/dev/zero of=/dev/xvdb bs=512 count=1 conv=fsync 2>/dev/null; do sleep 0.2; done) & true")

    busy = node.xvm("guest", "detach", "web/data", "--dom0", "xen1")
    assert (1, True) == (busy.exit, "reads or writes web/data now" in busy.err), busy.err
    assert "vbds" in dom0.traces(made)

    forced = node.xvm("guest", "detach", "web/data", "--dom0", "xen1", "--force")
    assert 0 == forced.exit, forced.err
    assert {} == dom0.traces(made)


def test_save_and_restore(node: LabNode, dom0: Dom0, web: Guest) -> None:
    """A guest that sleeps in a file holds no session; it wakes with its disk, and goes on writing."""
    made = _volume(node, "web/root")
    web.does("printf before-the-sleep | dd of=/dev/xvda bs=512 seek=5 conv=sync,fsync 2>/dev/null")
    dom0.run("xl save web /root/web.save", seconds=180)
    assert {} == dom0.traces(made)
    dom0.run("xl restore /root/web.save", seconds=180)

    web.does("dd if=/dev/xvda bs=512 skip=5 count=1 iflag=direct 2>/dev/null | grep -q before-the-sleep")
    web.does("dd if=/dev/zero of=/dev/xvda bs=512 seek=5 count=1 conv=fsync 2>/dev/null")
    assert {"vbds", "sessions", "uses", "disks", "records"} == set(dom0.traces(made))
    dom0.run("rm /root/web.save")


def test_what_cannot_be_attached(node: LabNode, dom0: Dom0, web: Guest, tmp_path: Path) -> None:
    """One line each, and nothing changed: no such guest there, a taken name, a dom0 that cannot be reached."""
    before = dom0.run("block-xvmstore show 2>/dev/null || /etc/xen/scripts/block-xvmstore show")
    for name in ("web/extra", "idle/root"):
        assert 0 == node.xvm("volume", "create", name, "--size", "1G").exit
    cases = [
        (("attach", "idle/root", "--dom0", "xen1"), 1, "guest idle does not run there"),
        (("attach", "web/extra", "--dom0", "xen1", "--vdev", "xvda"), 1, "another disk of web is xvda already"),
        (
            ("attach", "web/root", "--dom0", "xen1", "--vdev", "xvdq"),
            1,
            "web/root is attached as xvda: detach it first",
        ),
        (("attach", "web/extra", "--dom0", "xen1", "--vdev", "sdz1"), 2, "no device name of a Xen guest"),
        (("attach", "web/none", "--dom0", "xen1"), 1, "there is no volume web/none"),
        (("attach", "web/extra", "--dom0", "xen9"), 2, "there is no [dom0s.xen9]"),
        (("forget", "web", "--dom0", "xen1"), 1, "web/root is attached to a guest: detach it first"),
    ]
    for words, code, text in cases:
        said = node.xvm("guest", *words)
        assert (code, True, 1) == (said.exit, text in said.err, len(said.err.splitlines())), (words, said.err)
    assert 0 == node.xvm("lun", "unexport", "web/extra").exit
    said = node.xvm("guest", "attach", "web/extra", "--dom0", "xen1")
    assert (1, True) == (said.exit, "is not exported to xen1" in said.err)
    assert before == dom0.run("/etc/xen/scripts/block-xvmstore show")


def test_node_check_of_a_dom0(node: LabNode, dom0: Dom0, tmp_path: Path) -> None:
    """All is well; a wrong initiator's name, and a guest's config with the stock script, are named."""
    checked = node.xvm("node", "check", "xen1", "--json")
    assert (0, {True}) == (checked.exit, {one["ok"] for one in checked.json}), checked.out
    dom0.run("echo \"disk = [ 'format=raw, vdev=xvda, script=block-iscsi, target=iqn=x,portal=y' ]\" >/etc/xen/old.cfg")
    config = tmp_path / "config.toml"
    config.write_text(
        node.config.read_text().replace(f'initiator = "{node.initiator}"', 'initiator = "iqn.2026-11.org.x:y"')
    )
    (tmp_path / "xen1.secret").write_text("x" * 16)
    wrong = node.xvm("node", "check", "xen1", "--json", config=config)
    dom0.run("rm /etc/xen/old.cfg")

    failed = {one["what"]: one["found"] for one in wrong.json if not one["ok"]}
    assert (1, {"initiator name": node.initiator, "no stock block-iscsi": "used in /etc/xen/old.cfg"}) == (
        wrong.exit,
        failed,
    )


def test_by_path_without_a_script(node: LabNode, dom0: Dom0, tmp_path: Path) -> None:
    """The other way: dom0 logs in before, the line names the device; grow and detach work alike, forget logs out."""
    config = tmp_path / "config.toml"
    text = node.config.read_text().replace('host = "dom0"', 'host = "dom0"\nwiring = "path"')
    config.write_text(text)
    for name in ("plain/root", "plain/data"):
        assert 0 == node.xvm("volume", "create", name, "--size", "1G", config=config).exit
    made, data = _volume(node, "plain/root"), _volume(node, "plain/data")
    prepared = node.xvm("guest", "prepare", "plain", "--dom0", "xen1", config=config)
    assert 0 == prepared.exit, prepared.err
    lines = node.xvm("guest", "disks", "plain", config=config).out
    first = "\n".join([*lines.splitlines()[:2], "]"])
    assert "target=/dev/disk/by-path/" in first
    found = Guest(dom0, "plain", first)
    try:
        for step in (("attach", "plain/data"), ("grow", "plain/data", "--size", "2G"), ("detach", "plain/data")):
            where = () if step[0] == "grow" else ("--dom0", "xen1")
            said = node.xvm("guest", *step, *where, config=config)
            assert 0 == said.exit, said.err
        found.size_seen("xvdb", 2 * GIB)
        assert {} == dom0.traces(data)
    finally:
        found.destroy()
    assert "sessions" in dom0.traces(made), "until it is told to log out"
    assert 0 == node.xvm("guest", "forget", "plain", "--dom0", "xen1", config=config).exit
    assert {} == dom0.traces(made)


def test_the_boot_unit(node: LabNode, dom0: Dom0) -> None:
    """systemd takes it; what it runs waits for the volumes that are known, and says which it cannot have."""
    from dom0 import block_script

    node.shell(
        f"mkdir -p /etc/xen/scripts; touch /etc/xen/scripts/block-xvmstore; chmod 755 /etc/xen/scripts/block-xvmstore\n"
        f"cat >/run/xvmstore-luns.service <<'END'\n{block_script.unit()}END\n"
        "systemd-analyze verify --man=no /run/xvmstore-luns.service"
    )
    assert 0 == node.xvm("volume", "create", "booted/root", "--size", "1G").exit
    assert 0 == node.xvm("guest", "prepare", "booted", "--dom0", "xen1").exit
    assert "0" == dom0.run("/etc/xen/scripts/block-xvmstore boot 60 >/dev/null; echo $?").strip()
    assert 0 == node.xvm("lun", "unexport", "booted/root").exit
    late = dom0.run("XVMSTORE_DEADLINE=8 /etc/xen/scripts/block-xvmstore boot 1 2>&1; echo $?")
    assert "booted/root: " in late
    assert late.endswith("1\n")
    assert 0 == node.xvm("guest", "forget", "booted", "--dom0", "xen1").exit
