"""Every recorded case of stmfadm, sbdadm, itadm and iscsitadm, in their flavours, byte for byte."""

from functools import cache

import pytest

from embedded.answer import Answer
from tests.embedded.replay import Case, cases, replay
from tests.embedded.scenarios import SCENARIOS

_CASES = [
    pytest.param(case, id=f"{case.file}: {case.name}")
    for file, scenario in SCENARIOS.items()
    for case in cases(file)
    if case.name not in scenario.skip
]


@cache
def _answers(file: str) -> dict[str, Answer]:
    return replay(file, SCENARIOS[file])


@pytest.mark.parametrize("case", _CASES)
def test_answers_as_recorded(case: Case) -> None:
    """Stdout, stderr and exit status are the recorded ones."""
    assert case.expected == _answers(case.file)[case.name]


def test_case_names_are_unique() -> None:
    """No case hides another of the same name."""
    for file in SCENARIOS:
        names = [case.name for case in cases(file)]
        assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("file", sorted(SCENARIOS))
def test_skips_give_a_reason(file: str) -> None:
    """A case that is not replayed says why."""
    assert all(SCENARIOS[file].skip.values())
