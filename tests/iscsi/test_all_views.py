"""The one question about all views, run by a real shell against a made-up stmfadm."""

import os
import subprocess
from pathlib import Path

import pytest

from iscsi import access
from iscsi.model import View
from remote.errors import UnexpectedOutput
from tests.captured_cases import stderr, stdout

G1, G2 = "600144F00C2A6D0000006A27E7400001", "600144F00C2A6D0000006A27E7400002"


def _ask(folder: Path, *, second: str) -> str:
    """Two LUs: the first has the two recorded views, of the second stmfadm says ``second`` on stderr."""
    (folder / "two").write_text(stdout("stmfadm-views", "list-view two"))
    (folder / "second").write_text(second)
    (folder / "stmfadm").write_text(
        f"#!/bin/sh\ncd {folder}\ncase $* in\n"
        f"list-lu) printf 'LU Name: {G1}\\nLU Name: {G2}\\n';;\n"
        f"'list-view -l {G1}') cat two;;\n"
        f"'list-view -l {G2}') cat second >&2; exit 1;;\n*) exit 9;;\nesac\n"
    )
    (folder / "stmfadm").chmod(0o755)
    argv = [str(word) for word in access.all_views().argv]
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(argv, env=path, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_an_lu_without_views_is_no_failure(tmp_path: Path) -> None:
    """Trap: list-view exits 1 for an LU that nobody may see."""
    said = _ask(tmp_path, second=stderr("stmfadm-views", "list-view, LU without views"))
    expected = {G1: (View(0, "dom0", "tg1", 5), View(1, "dom1", None, 0)), G2: ()}
    assert expected == access.parse_all_views(said)


def test_any_other_failure_is_one(tmp_path: Path) -> None:
    """An LU whose views could not be read does not pass for one without views."""
    said = _ask(tmp_path, second="stmfadm: resource busy\n")
    with pytest.raises(UnexpectedOutput, match="resource busy"):
        access.parse_all_views(said)
