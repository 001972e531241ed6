"""How the node keeps its state."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedded import commands, content, sizes
from embedded.model import CONDITIONS, Node
from embedded.served import Session
from tests.embedded.nodes import VM1, ok, run
from tests.embedded.replay import cases
from tests.embedded.scenarios import SCENARIOS


def test_load_returns_what_was_saved(tmp_path: Path) -> None:
    """Every part of a lived-in node survives, except sessions: they belong to the process that saw them."""
    node = Node.create(tmp_path, "illumos", pool="data", pool_size=1 << 40)
    ok(node, "zfs create -V 1G data/v", "zfs snapshot -o org.x:k=v data/v@s", "zfs hold t data/v@s")
    ok(node, "stmfadm create-lu /dev/zvol/rdsk/data/v", "stmfadm create-hg h")
    ok(node, f"stmfadm add-view -h h -n 3 {next(iter(node.units))}")
    ok(node, "itadm create-tpg p 192.0.2.1", "itadm create-target -t p -l x", "itadm modify-defaults -a chap")
    ok(node, "itadm create-initiator -u u iqn.2026-11.com.example:i", "svcadm disable network/iscsi/target")
    node.conditions.add("lu-busy")
    node.save()
    assert node == Node.load(tmp_path)
    node.sessions = (Session("a", "b", 1.0),)
    node.save()
    assert Node.load(tmp_path).sessions == ()


def test_state_file_is_private(tmp_path: Path) -> None:
    """CHAP secrets are in it; an earlier wide-open leftover makes no difference."""
    (tmp_path / "state.json~").write_text("")
    (tmp_path / "state.json~").chmod(0o644)
    Node.create(tmp_path, "illumos").save()
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_node_may_move(tmp_path: Path) -> None:
    """Nothing in the state depends on where the directory is."""
    node = Node.create(tmp_path / "a", "illumos")
    ok(node, "zfs create -V 1G tank/vm1")
    node.save()
    (tmp_path / "a").rename(tmp_path / "b")
    assert tmp_path / "b" == Node.load(tmp_path / "b").root


def test_equal_histories_make_equal_nodes(tmp_path: Path) -> None:
    """Nothing is random: names, GUIDs and UUIDs come from counters and the given time."""
    nodes = []
    for name in "ab":
        node = Node.create(tmp_path / name, "illumos")
        ok(node, "zfs create -V 1G tank/vm1", f"stmfadm create-lu {VM1}", "itadm create-target")
        node.root = tmp_path
        nodes.append(node)
    assert nodes[0] == nodes[1]


def test_unknown_flavour(tmp_path: Path) -> None:
    """The error names what there is."""
    with pytest.raises(ValueError, match="no such flavour: 'b90', there are b111, b134, b85, illumos"):
        Node.create(tmp_path, "b90")


def test_unknown_program(tmp_path: Path) -> None:
    """As the shell says it."""
    answer = run(Node.create(tmp_path, "illumos"), "/usr/sbin/fmadm faulty")
    assert (answer.stderr, answer.exit) == ("sh: fmadm: not found\n", 127)


def test_absolute_paths(tmp_path: Path) -> None:
    """A program is known by its last component."""
    assert ok(Node.create(tmp_path, "illumos"), "/sbin/zfs list -H -o name") == "tank\n"


@pytest.mark.parametrize("file", sorted(SCENARIOS))
def test_commands_that_change_nothing_are_told(file: str, tmp_path: Path) -> None:
    """What changes() says no to leaves the state as it was."""
    for case in cases(file):
        argv = case.command.split()
        if commands.changes(argv):
            continue
        node = Node.create(tmp_path, "illumos")
        before = Node.create(tmp_path, "illumos")
        run(node, case.command)
        assert before == node, case.command


def test_every_condition_is_explained() -> None:
    """The table has a meaning for each."""
    assert all(CONDITIONS.values())


@given(st.integers(min_value=0, max_value=(1 << 63)))
def test_human_sizes_read_back_close(value: int) -> None:
    """Three significant figures: what zfs prints reads back within one percent."""
    text = sizes.human(value)
    assert len(text) <= 5
    assert value == pytest.approx(sizes.parse(text), rel=0.01)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 22), st.binary(min_size=1, max_size=5000)), max_size=5))
def test_sparse_copy_is_exact(tmp_path: Path, writes: list[tuple[int, bytes]]) -> None:
    """Whatever was written where, the copy has the same bytes."""
    source, target = tmp_path / "source", tmp_path / "target"
    content.create(source, 1 << 23)
    with source.open("r+b") as file:
        for at, data in writes:
            file.seek(at)
            file.write(data)
    content.copy(source, target, size=0)
    assert source.read_bytes() == target.read_bytes()


@given(st.lists(st.text("ab/_-.:@% ", min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_two_datasets_never_share_a_file(names: list[str]) -> None:
    """The file name is an injective function of the dataset's, however long."""
    paths = {content.path_of(Path("/"), name) for name in names}
    assert len(paths) == 2
    assert all(len(path.name) < 255 for path in paths)


def test_unknown_condition(tmp_path: Path) -> None:
    """A condition that no command knows would do nothing: it is refused."""
    node = Node.create(tmp_path, "illumos")
    node.conditions.add("lu-bussy")
    with pytest.raises(ValueError, match="no such conditions: lu-bussy"):
        run(node, "zfs list")


@pytest.mark.parametrize("path", ["/export/a", "export/a", "/../../export/a", "//export/./a"])
def test_files_stay_in_the_node(tmp_path: Path, path: str) -> None:
    """No path given to a command leads out of the node's own files."""
    assert tmp_path / "fs" / "export" / "a" == Node.create(tmp_path, "illumos").own_file(path)
