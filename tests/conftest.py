"""Settings for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.contract.proofs import RECORDER

# Machines that run many tests at once are slow now and then: that is no failure of the code.
settings.register_profile("xvmstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xvmstore")

# Their assertions are to tell as much as those of any test.
pytest.register_assert_rewrite("tests.contract.volumes", "tests.contract.luns")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is learnt of nodes here is none of the developer's business; the lab's images stay where they are."""
    with pytest.MonkeyPatch.context() as patch:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        patch.setenv("XVMSTORE_LAB_CACHE", os.environ.get("XVMSTORE_LAB_CACHE") or f"{home}/xvmstore-lab")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test has proven counts once it has passed."""
    if report.when == "call":
        RECORDER.ended(passed=report.passed)


def pytest_sessionfinish() -> None:
    """Each process writes down its own."""
    RECORDER.save()
