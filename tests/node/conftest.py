"""Fixtures: embedded nodes, one of each flavour a session, and fresh ones for tests that count or break things."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.node.live import LiveNode, start

FLAVOURS = ("illumos", "b134", "b111", "b85")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LiveNode]]:
    """One node of each flavour, started when first wanted."""
    running: dict[str, LiveNode] = {}

    def get(flavour: str) -> LiveNode:
        if flavour not in running:
            running[flavour] = start(tmp_path_factory.mktemp("node") / flavour, flavour)
        return running[flavour]

    yield get
    for node in running.values():
        node.stop()


@pytest.fixture(params=FLAVOURS)
def node(request: pytest.FixtureRequest, shared_nodes: Callable[[str], LiveNode]) -> Iterator[LiveNode]:
    """A node that other tests use too, in each flavour; faults are cleared afterwards."""
    found = shared_nodes(request.param)
    yield found
    found.faults("")


@pytest.fixture
def illumos(shared_nodes: Callable[[str], LiveNode]) -> Iterator[LiveNode]:
    """The shared illumos node."""
    found = shared_nodes("illumos")
    yield found
    found.faults("")


@pytest.fixture
def modern(illumos: LiveNode) -> LiveNode:
    """A node that can do all there is: its release keeps views through a rename, and knows both layouts."""
    return illumos


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LiveNode]]:
    """Starts nodes of the test's own."""
    running: list[LiveNode] = []

    def make(flavour: str = "illumos") -> LiveNode:
        running.append(start(tmp_path_factory.mktemp("node") / flavour, flavour))
        return running[-1]

    yield make
    for one in running:
        if one.process.poll() is None:
            one.stop()


@pytest.fixture
def guest() -> str:
    """A guest's name no other test uses."""
    return f"guest{next(_numbers)}"
