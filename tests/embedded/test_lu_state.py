"""What stmfadm, sbdadm, itadm and svcadm do to the node's state: the traps of COMSTAR."""

from pathlib import Path

import pytest

from embedded import content
from embedded.model import Node
from embedded.served import Session
from tests.embedded.nodes import GUID, VM1, ok, peek, put, run

IQN = "iqn.2026-11.com.example:vm1"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A fresh illumos node with a thin volume tank/vm1 of 1 GiB."""
    node = Node.create(tmp_path, "illumos")
    ok(node, "zfs create -s -V 1G tank/vm1")
    return node


@pytest.fixture
def old(tmp_path: Path) -> Node:
    """A fresh 2009.06 node with a thin volume tank/vm1 of 1 GiB."""
    node = Node.create(tmp_path, "b111")
    ok(node, "zfs create -s -V 1G tank/vm1")
    return node


def line_of(node: Node, label: str) -> str:
    """One line's value of stmfadm list-lu -v."""
    lines = ok(node, f"stmfadm list-lu -v {GUID}").splitlines()
    return next(line.split(": ", 1)[1] for line in lines if line.strip().startswith(label))


def test_write_cache_is_inverted(node: Node) -> None:
    """wcd=true disables."""
    ok(node, f"stmfadm create-lu -p guid={GUID} -p wcd=true {VM1}")
    assert line_of(node, "Writeback Cache") == "Disabled"


def test_unit_size_is_not_checked_and_does_not_follow(node: Node) -> None:
    """A unit may be bigger than its volume, and growing the volume leaves it alone."""
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm modify-lu -s 5G {GUID}")
    assert str(5 << 30) == line_of(node, "Size")
    ok(node, "zfs set volsize=2G tank/vm1")
    assert str(5 << 30) == line_of(node, "Size")


def test_metadata_outlives_the_unit_and_rollback(node: Node) -> None:
    """GUID, alias and size come back by import-lu, and rollback does not turn them back."""
    ok(node, "zfs snapshot tank/vm1@s")
    ok(node, f"stmfadm create-lu -p guid={GUID} -p alias=one {VM1}", f"stmfadm modify-lu -s 512M {GUID}")
    ok(node, f"stmfadm delete-lu -k {GUID}", "zfs rollback tank/vm1@s", f"stmfadm import-lu {VM1}")
    assert ("one", str(512 << 20)) == (line_of(node, "Alias"), line_of(node, "Size"))


def test_metadata_is_not_cloned(node: Node) -> None:
    """A clone is an empty volume to COMSTAR."""
    ok(node, f"stmfadm create-lu {VM1}", "zfs snapshot tank/vm1@s", "zfs clone tank/vm1@s tank/c")
    assert run(node, "stmfadm import-lu /dev/zvol/rdsk/tank/c").stderr == "stmfadm: meta file error\n"


def test_metadata_does_not_show(node: Node) -> None:
    """zfs get all knows nothing of stmf_sbd_lu."""
    ok(node, f"stmfadm create-lu {VM1}")
    assert "stmf_sbd_lu" not in ok(node, "zfs get -H all tank/vm1")


def test_old_metadata_is_in_the_head(old: Node) -> None:
    """2009.06: 64 KiB at the front of the volume, copied by clone, turned back by rollback."""
    ok(old, "zfs snapshot tank/vm1@empty", f"sbdadm create-lu {VM1}", "zfs snapshot tank/vm1@made")
    head = content.head_of(content.path_of(old.root, "tank/vm1"))
    assert head.read_bytes()[:4] != b"\0" * 4
    ok(old, "zfs clone tank/vm1@made tank/c")
    assert run(old, "sbdadm import-lu /dev/zvol/rdsk/tank/c").stderr == "LU import failed : GUID is already in use.\n"
    guid = next(iter(old.units))
    ok(old, f"sbdadm delete-lu {guid}", "zfs rollback -R tank/vm1@empty")
    assert run(old, f"sbdadm import-lu {VM1}").stderr == "LU import failed : LU is not initialized.\n"


def test_writing_to_an_old_unit_spares_the_head(old: Node) -> None:
    """The unit's data and its metadata never meet."""
    ok(old, f"sbdadm create-lu {VM1}")
    put(old, "tank/vm1", b"boot")
    guid = next(iter(old.units))
    ok(old, f"sbdadm modify-lu -s 512m {VM1}", f"sbdadm delete-lu {guid}", f"sbdadm import-lu {VM1}")
    assert peek(old, "tank/vm1", 4) == b"boot"
    assert old.units[guid].size == 512 << 20


def test_delete_keeps_views_only_with_k(node: Node) -> None:
    """-k: the LUN is the same after import-lu. Without: the views are gone."""
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm add-view -n 7 {GUID}")
    ok(node, f"stmfadm delete-lu -k {GUID}", f"stmfadm import-lu {VM1}")
    assert node.views[GUID][0].lun == 7
    ok(node, f"stmfadm delete-lu {GUID}", f"stmfadm import-lu {VM1}")
    assert node.views == {}


def test_busy_delete_drops_the_views(node: Node) -> None:
    """Exit 1, the unit is still there, its views are not; with -k they are."""
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm add-view {GUID}")
    node.conditions.add("lu-busy")
    assert run(node, f"stmfadm delete-lu -k {GUID}").exit == 1
    assert {GUID} == set(node.views)
    assert run(node, f"stmfadm delete-lu {GUID}").exit == 1
    assert ({GUID}, set()) == (set(node.units), set(node.views))


def test_lun_wraps(node: Node) -> None:
    """-n 70000 is LUN 4464, without a word."""
    ok(node, f"stmfadm create-lu -p guid={GUID} {VM1}", f"stmfadm add-view -n 70000 {GUID}")
    assert node.views[GUID][0].lun == 4464


def test_overlap_is_about_both_groups(node: Node) -> None:
    """Two views of one LUN are fine as long as no initiator could see both through one target."""
    other = GUID[:-1] + "8"
    ok(node, *(f"stmfadm create-hg h{n}" for n in (1, 2)), *(f"stmfadm create-tg t{n}" for n in (1, 2)))
    ok(node, f"stmfadm add-view -h h1 -t t1 -n 0 {GUID}", f"stmfadm add-view -h h2 -t t1 -n 0 {other}")
    ok(node, f"stmfadm add-view -h h1 -t t2 -n 0 {other}")
    assert run(node, f"stmfadm add-view -n 0 {GUID[:-1]}7").stderr == "stmfadm: LUN already in use\n"
    assert run(node, f"stmfadm add-view -h h1 -n 5 {GUID}").stderr == "stmfadm: view entry exists\n"


def test_indexes_are_not_renumbered(node: Node) -> None:
    """Removing view 0 leaves view 1 as it is."""
    ok(
        node,
        "stmfadm create-hg a",
        "stmfadm create-hg b",
        f"stmfadm add-view -h a {GUID}",
        f"stmfadm add-view -h b {GUID}",
    )
    ok(node, f"stmfadm remove-view -l {GUID} 0")
    assert list(node.views[GUID]) == [1]


def test_old_target_group_needs_the_service_off(old: Node) -> None:
    """Before b118 the whole of STMF must be offline, and that takes every target down."""
    ok(old, f"itadm create-target -n {IQN}", "stmfadm create-tg t", f"stmfadm offline-target {IQN}")
    line = f"stmfadm add-tg-member -g t {IQN}"
    assert run(old, line).stderr == "stmfadm: STMF service must be offline\n"
    ok(old, "svcadm disable stmf", line, "svcadm enable -rs network/iscsi/target")
    assert old.targets[IQN].state == "Online"


def test_service_off_hides_targets(node: Node) -> None:
    """Without the iSCSI target service there are no targets in STMF, and itadm refuses everything."""
    ok(node, f"itadm create-target -n {IQN}", "svcadm disable network/iscsi/target")
    assert ok(node, "stmfadm list-target") == ""
    assert run(node, "itadm list-target").exit == 1
    ok(node, "svcadm enable -s network/iscsi/target")
    assert f"Target: {IQN}\n" == ok(node, "stmfadm list-target")


def test_stmf_off_takes_the_target_service_along(node: Node) -> None:
    """The target service waits offline and comes back with STMF."""
    ok(node, "svcadm disable stmf")
    assert (
        ok(node, "svcs -H -o state,fmri iscsi/target")
        == "offline        svc:/network/iscsi/target:default                  \n"
    )
    ok(node, "svcadm enable stmf")
    assert ok(node, "svcs -H -o state iscsi/target") == "online         \n"


def test_offline_target_drops_sessions(node: Node) -> None:
    """Nobody stays logged in."""
    ok(node, f"itadm create-target -n {IQN}")
    node.sessions = (Session(IQN, "iqn.2005-03.org.open-iscsi:a", 0.0),)
    ok(node, f"stmfadm offline-target {IQN}")
    assert not node.sessions


def test_changed_configuration_is_there_although_refused(node: Node) -> None:
    """Exit 19, and the kernel has the new target."""
    node.conditions.add("config-changed")
    assert run(node, f"itadm create-target -n {IQN}").exit == 19
    assert IQN in node.targets


def test_guids_count_up_and_carry_the_time(node: Node) -> None:
    """600144F0, host, time, counter."""
    ok(node, "zfs create -s -V 1G tank/vm2")
    first = ok(node, f"stmfadm create-lu {VM1}").split()[-1]
    second = run(node, "stmfadm create-lu /dev/zvol/rdsk/tank/vm2", now=1.0).stdout.split()[-1]
    assert (first, second) == ("600144F00C2A6D0000006A27E7400001", "600144F00C2A6D000000000000010002")


@pytest.mark.parametrize("line", ["stmfadm create-lu -x", "stmfadm create-lu -k /x"])
def test_old_bad_options(old: Node, node: Node, line: str) -> None:
    """There is no create-lu in 2009.06 at all."""
    assert "invalid subcommand" in run(old, line).stdout
    assert run(node, line).exit == 1


def test_old_cmdparse_exits_zero_for_an_illegal_option(old: Node) -> None:
    """The message is on stderr, the status says success."""
    answer = run(old, "sbdadm create-lu -x /dev/zvol/rdsk/tank/vm1")
    assert (answer.exit, answer.stderr) == (0, "create-lu: illegal option -- x\n")


def test_separate_metadata_file(node: Node) -> None:
    """With meta= the unit is imported by the metadata file's name and finds its volume again."""
    ok(node, f"stmfadm create-lu -p guid={GUID} -p meta=/export/m {VM1}", f"stmfadm delete-lu {GUID}")
    assert run(node, f"stmfadm import-lu {VM1}").stderr == "stmfadm: meta file error\n"
    ok(node, "stmfadm import-lu /export/m")
    assert VM1 == line_of(node, "Data File")


def test_maintenance_waits_for_clear(node: Node) -> None:
    """Enabling does not help, clearing does."""
    ok(node, "svcadm disable network/iscsi/target")
    node.conditions.add("svc-fails")
    assert run(node, "svcadm enable -s network/iscsi/target").exit == 3
    node.conditions.discard("svc-fails")
    assert run(node, "svcadm enable -s network/iscsi/target").exit == 3
    ok(node, "svcadm clear network/iscsi/target", "itadm list-target")
