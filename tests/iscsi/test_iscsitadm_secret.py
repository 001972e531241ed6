"""The little terminal that types secrets for iscsitadm: run for real, on every Python there is here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsi import iscsitadm_secret
from remote.errors import InvalidValue
from remote.script import Argv, Secret
from tests.node.old_tools import bourne

SECRET = Secret("secret:twelve-16")
# Reads as getpass(3C) of Solaris does: from the terminal alone, what was typed before its prompt being lost.
_TOOL = """\
import getpass, os, sys
here, words = os.path.dirname(os.path.abspath(sys.argv[0])), sys.argv[1:]
if words[0] in ("list", "show"):
    print(open(os.path.join(here, "says")).read(), end="")
    sys.exit()
with open(os.path.join(here, "ran"), "a") as log:
    log.write(" ".join(words) + "\\n")
if "-C" in words:
    mood = open(os.path.join(here, "mood")).read()
    if mood == "crash":
        os.kill(os.getpid(), 11)
    stream = sys.stderr if mood == "stderr" else None
    typed = [getpass.getpass(prompt, stream) for prompt in ("Enter secret:", "Re-enter secret:")]
    if mood == "refuse":
        sys.stderr.write("secret %s not changed\\niscsitadm: Cannot read CHAP secret\\n" % typed[0])
        sys.exit(1)
    with open(os.path.join(here, "typed"), "w") as file:
        file.write("\\n".join(typed))
"""
NOT_SET = "Initiator: xen1\n    iSCSI Name: iqn.x\n    CHAP Name: Not set\n    CHAP Secret: Not set\n"


def _pythons() -> Iterator[str]:
    yield sys.executable
    roots = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(one) for one in sorted(roots.glob("*/bin/python2.7")) + sorted(roots.glob("3.6*/bin/python3")))


class Node:
    """A machine with one Python and that tool."""

    def __init__(self, directory: Path, python: str | None) -> None:
        self.directory = directory
        (directory / "bin").mkdir()
        for name in ("sh", "sed", "env", "cat"):
            (directory / "bin" / name).symlink_to(shutil.which(name) or "")
        tool = directory / "bin" / "iscsitadm"
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} {directory}/tool.py "$@"\n')
        tool.chmod(0o755)
        (directory / "tool.py").write_text(_TOOL)
        if python:
            (directory / "bin" / "python").symlink_to(python)
        (directory / "secret").write_text(f"{SECRET.value}\n")
        self.says(NOT_SET)
        self.mood("terminal")

    def says(self, text: str) -> None:
        """What it lists."""
        (self.directory / "says").write_text(text)

    def mood(self, word: str) -> None:
        """Where it prompts, or how it fails."""
        (self.directory / "mood").write_text(word)

    def run(self, argv: Argv) -> subprocess.CompletedProcess[str]:
        """Run what a step runs."""
        words = [str(self.directory / "secret") if isinstance(word, Secret) else str(word) for word in argv]
        env = {"PATH": f"{self.directory}/bin", "xvm_become": "env"}
        return subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90
        )

    def read(self, name: str) -> str:
        """What it left behind."""
        file = self.directory / name
        return file.read_text() if file.exists() else ""


@pytest.fixture(params=list(_pythons()))
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    """With each Python."""
    return Node(tmp_path, request.param)


def _of_xen1(*, renew: bool = False) -> Argv:
    return iscsitadm_secret.of_initiator("xen1", SECRET, renew=renew)


@pytest.mark.parametrize("mood", ["terminal", "stderr"])
def test_it_is_typed_twice(node: Node, mood: str) -> None:
    """Wherever the prompts are, and though the secret looks like one; nothing is said when all went well."""
    node.mood(mood)
    done = node.run(_of_xen1())
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert (f"{SECRET.value}\n{SECRET.value}", "modify initiator -C xen1\n") == (node.read("typed"), node.read("ran"))


def test_what_it_refuses_is_told_without_the_secret(node: Node) -> None:
    """On one line, with its status."""
    node.mood("refuse")
    done = node.run(_of_xen1())
    assert (1, "", "secret *** not changed; iscsitadm: Cannot read CHAP secret\n") == (
        done.returncode, done.stdout, done.stderr
    )  # fmt: skip


def test_a_crash_is_a_failure(node: Node) -> None:
    """That is what it does where it finds no terminal."""
    node.mood("crash")
    done = node.run(_of_xen1())
    assert (1, True) == (done.returncode, "died of signal 11" in done.stderr)


def test_a_secret_that_is_there_stays(tmp_path: Path) -> None:
    """An admin with an old one must not set it back, unless to renew it is what is asked for."""
    node = Node(tmp_path, sys.executable)
    node.says(NOT_SET.replace("Secret: Not set", "Secret: Set"))
    assert (0, "") == (node.run(_of_xen1()).returncode, node.read("ran"))
    assert (0, True) == (node.run(_of_xen1(renew=True)).returncode, node.read("typed") != "")


@pytest.mark.parametrize(("user", "renew", "set_"), [("node", False, False), ("node", True, True), ("x", False, True)])
def test_what_the_targets_prove_themselves_with(tmp_path: Path, user: str, *, renew: bool, set_: bool) -> None:
    """The user last, for that is what tells that the secret is set."""
    node = Node(tmp_path, sys.executable)
    node.says(f"iscsitadm:\n    CHAP Name: {user}\n    RADIUS Access: Not set\n")
    assert 0 == node.run(iscsitadm_secret.of_targets("node", SECRET, renew=renew)).returncode
    assert ("modify admin -C\nmodify admin -H node\n" if set_ else "") == node.read("ran")


def test_without_python_it_is_told_what_to_type(tmp_path: Path) -> None:
    """On one line, and nothing is done."""
    done = Node(tmp_path, None).run(_of_xen1())
    said = "there is no Python to type the secret, so do it by hand there: iscsitadm modify initiator -C xen1\n"
    assert (1, said) == (done.returncode, done.stderr)


@pytest.mark.parametrize("argv", [_of_xen1(), iscsitadm_secret.of_targets("node", SECRET, renew=False)])
def test_the_old_bourne_shell_can_run_it(argv: Argv) -> None:
    """And Python 2.4, as far as its words tell: none that came later."""
    text = str(argv[2])
    assert bourne.objection(text) is None
    later = [
        word for word in (" with ", " as ", "print(", 'f"', 'b"', " if not ready else", ".format(") if word in text
    ]
    assert [] == later


@pytest.mark.parametrize("length", [11, 17])
def test_other_lengths_are_refused_before_anything_is_sent(length: int) -> None:
    """iscsitadm takes 12 to 16 characters; the secret is not told."""
    with pytest.raises(InvalidValue, match="12 to 16 characters") as caught:
        iscsitadm_secret.of_initiator("xen1", Secret("s" * length), renew=False)
    assert "sss" not in str(caught.value)
