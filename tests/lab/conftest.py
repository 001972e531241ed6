"""Fixtures: the lab's node, set back before each module, in the place where ``tests/node`` has the embedded ones."""

import itertools
from pathlib import Path

import pytest

from tests.lab.live import Dom0, LabNode
from vagrant.lab.run import Lab

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in this folder needs the lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The running lab; started, and if need be built, by whoever asks first."""
    found = Lab.here(print)
    found.up()
    return found


@pytest.fixture(scope="module")
def node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabNode:
    """The storage node as it was when it had just been set up."""
    lab.reset()
    return LabNode(lab, tmp_path_factory.mktemp("lab"))


@pytest.fixture
def modern(node: LabNode) -> LabNode:
    """LIO can do all the contract asks for."""
    return node


@pytest.fixture
def dom0(node: LabNode) -> Dom0:
    """The Xen machine."""
    return Dom0(node)


@pytest.fixture
def guest() -> str:
    """A guest's name no other test uses."""
    return f"guest{next(_numbers)}"
