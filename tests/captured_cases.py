"""The recorded outputs of the real tools, for golden tests: one case's text by file and case name."""

import re

from tests.embedded.replay import CAPTURED, Case, cases

Key = tuple[str, str]


def stdout(file: str, name: str) -> str:
    """What the real tool printed on stdout in one recorded case."""
    return _case(file, name).expected.stdout


def stderr(file: str, name: str) -> str:
    """What it printed on stderr."""
    return _case(file, name).expected.stderr


def recorded(command: str) -> set[Key]:
    """File and name of every case of a command (a regular expression) that exited 0 without a complaint."""
    files = sorted(path.stem for path in CAPTURED.glob("*.txt"))
    return {
        (file, case.name)
        for file in files
        for case in cases(file)
        if re.fullmatch(command, case.command) and case.expected.exit == 0 and not case.expected.stderr
    }


def _case(file: str, name: str) -> Case:
    return next(case for case in cases(file) if case.name == name)
