"""``backend = "auto"`` against embedded nodes: how many trips it takes, and that an upgrade of the node is noticed."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.live import LiveNode
from xvmstore import config
from xvmstore.exporter_targets import target

pytestmark = pytest.mark.node

FLAVOURS = {"illumos": ("comstar", 1), "b111": ("comstar", 2), "b85": ("iscsitadm", 2), "b134": ("comstar", 2)}


@pytest.fixture(autouse=True)
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has looked at any node."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Auto:
    """A node whose configuration does not say what it is."""

    def __init__(self, node: LiveNode, folder: Path) -> None:
        self.node = node
        self.config = folder / "config.toml"
        lines = node.config.read_text().splitlines(keepends=True)
        self.config.write_text("".join(line for line in lines if not line.startswith(("backend", "release"))))
        self._seen = len(node.execs())

    def trips(self) -> int:
        """Execs since the last call."""
        count = len(self.node.execs()) - self._seen
        self._seen += count
        return count

    def must(self, *arguments: str) -> str:
        """Run the command line; it must succeed."""
        said = self.node.xvm(*arguments, config=self.config)
        assert 0 == said.exit, said.err
        return said.out

    def upgrade(self, version: str) -> None:
        """Have uname tell another version."""
        file = self.node.directory / "bin" / "uname"
        text = file.read_text()
        before = next(pair for pair in text.split() if pair.startswith("v:"))
        file.write_text(text.replace(before, f"v:{version}"))


@pytest.fixture
def auto(shared_nodes: Callable[[str], LiveNode], tmp_path: Path) -> Callable[[str], Auto]:
    """A shared node of a flavour, without what its configuration says of it."""
    return lambda flavour: Auto(shared_nodes(flavour), tmp_path)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_trips(auto: Callable[[str], Auto], guest: str, flavour: str) -> None:
    """Where the guess is right the first operation is one trip, else two; each later one is one."""
    node, (backend, first) = auto(flavour), FLAVOURS[flavour]
    node.must("volume", "create", f"{guest}/root", "--size", "1G")
    assert first == node.trips()
    node.must("volume", "resize", f"{guest}/root", "--size", "2G")
    assert 1 == node.trips()
    assert guest in node.must("volume", "list")
    assert 1 == node.trips()
    (listed,) = node.node.xvm("node", "list", "--json", config=node.config).json
    assert (backend, flavour) == (listed["backend"], listed["release"])
    assert listed["capabilities"]["system"].startswith("SunOS 5.11 ")
    assert 0 == node.trips()
    node.must("volume", "destroy", f"{guest}/root")
    assert 1 == node.trips()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_question_first(auto: Callable[[str], Auto], flavour: str) -> None:
    """The same where the first operation only asks."""
    node = auto(flavour)
    node.must("volume", "list")
    assert FLAVOURS[flavour][1] == node.trips()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_dry_run_is_of_this_node(auto: Callable[[str], Auto], guest: str, flavour: str) -> None:
    """What it shows is for what the node is: it is asked once, then it is known."""
    node = auto(flavour)
    tools = {"illumos": "stmfadm create-lu", "b111": "sbdadm create-lu", "b85": "iscsitadm modify target"}
    tools["b134"] = tools["illumos"]
    for trips in (1, 0):
        shown = node.must("--dry-run", "volume", "create", f"{guest}/root", "--size", "1G")
        assert tools[flavour] in shown
        assert trips == node.trips()
    assert (flavour == "b85") is ("iscsitadm-admit" in node.must("node", "setup"))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_node_check(auto: Callable[[str], Auto], tmp_path: Path, flavour: str) -> None:
    """It looks at everything, however well the node is known, in one trip, and shows what it found."""
    node = auto(flavour)
    node.must("volume", "list")
    (file,) = (tmp_path / "cache" / "xvmstore").iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": time.time() - 3600}))
    node.trips()
    said = node.node.xvm("node", "check", "--json", config=node.config).json
    assert 1 == node.trips()
    assert time.time() - 600 < json.loads(file.read_text())["when"]
    found = {one["what"]: one["found"] for one in said}
    assert found["release"].startswith(f"{flavour}: build ")
    assert found["backend"].startswith(f"{FLAVOURS[flavour][0]}: ")
    assert found["rights"].startswith('become = "none": ')


def test_after_an_upgrade(fresh: Callable[[str], LiveNode], tmp_path: Path, guest: str) -> None:
    """The kernel is another one: the next operation finds that out, comes out right, and later ones are one trip."""
    node = Auto(fresh("illumos"), tmp_path)
    node.must("volume", "create", f"{guest}/root", "--size", "1G")
    node.upgrade("omnios-r151054")
    node.trips()
    node.must("volume", "create", f"{guest}/data", "--size", "1G")
    assert 3 == node.trips()
    assert ["data", "root"] == sorted(
        one["name"].partition("/")[2] for one in node.node.xvm("volume", "list", "--json", config=node.config).json
    )
    assert 1 == node.trips()


def test_another_system_in_its_place(auto: Callable[[str], Auto], tmp_path: Path, guest: str) -> None:
    """Reached as before it is another release: nothing is done for what it was, all for what it is."""
    node = auto("b111")
    node.must("volume", "list")
    # As it is remembered of a node that was illumos until now.
    (file,) = (tmp_path / "cache" / "xvmstore").iterdir()
    said = file.read_text().replace("snv_111b", "omnios-r151050").replace("creates no", "creates yes")
    file.write_text(said.replace("shareiscsi ", ""))
    node.trips()
    assert "illumos" in node.must("node", "list")
    node.must("volume", "create", f"{guest}/root", "--size", "1G")
    assert 3 == node.trips()
    assert "b111" in node.must("node", "list")


def test_the_exporter_looks_once(auto: Callable[[str], Auto]) -> None:
    """It is asked for what the node has; one that does not answer is taken for the usual and asked all the same."""
    node = auto("b111")
    asked = target(config.load(node.config), "embedded")
    assert 1 == node.trips()
    assert asked.settings == target(config.load(node.config), "embedded").settings
    assert 0 == node.trips()
    text = node.config.read_text()
    port = next(line for line in text.splitlines() if line.startswith("port = "))
    node.config.write_text(text.replace(port, "port = 1"))
    assert "embedded" == target(config.load(node.config), "embedded").name
