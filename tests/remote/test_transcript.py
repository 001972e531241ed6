"""Reading back what a script printed, whole and torn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.host import Spoken
from remote.local import LocalShell
from remote.script import Query, Script, Step, new_nonce, render
from remote.transcript import Ended, read
from tests.remote.support import sh

NONCE = new_nonce()
NOISE = "Welcome!\n\nxvm99 z\nno final newline"


def _spoken() -> Spoken:
    steps = (
        sh("echo one; echo uno >&2", undo=("sh", "-c", "echo back; echo lost >&2; exit 2")),
        sh("echo skipped", unless=("true",)),
        sh("printf two; printf due >&2; exit 3"),
        Step(("echo", "late")),
    )
    queries = (Query(("printf", "caf\u00e9\n\n"), str), Query(("sh", "-c", "echo gone >&2; exit 4"), str))
    script = render(Script(steps, queries), NONCE).encode()
    return LocalShell().feed(script, timeout=30)


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    """What a real shell said to a real script with something of everything."""
    return _spoken()


SPOKEN = _spoken()
STDOUT, STDERR = SPOKEN.stdout.decode(), SPOKEN.stderr.decode()


def test_a_whole_transcript(spoken: Spoken) -> None:
    """Every step, undo and question has its own status and its own bytes."""
    said = read(spoken.stdout.decode(), spoken.stderr.decode(), NONCE)
    assert {
        0: Ended(0, "one\n", "uno\n"),
        1: Ended(0, "", "", "skip"),
        2: Ended(3, "two", "due"),
    } == said.steps
    assert {0: Ended(2, "back\n", "lost\n")} == said.undos
    assert {0: Ended(0, "caf\u00e9\n\n", ""), 1: Ended(4, "", "gone\n")} == said.queries
    assert (None, None, True, True, 2) == (said.begun, said.holder, said.started, said.complete, said.failed)


def test_what_a_login_says_is_dropped() -> None:
    """Noise before the first fence and after the last one belongs to nothing."""
    assert read(STDOUT, STDERR, NONCE) == read(NOISE + STDOUT + NOISE, NOISE + STDERR + NOISE, NONCE)


@given(st.integers(0, len(STDOUT) - 1))
def test_a_torn_stdout_is_never_complete(cut: int) -> None:
    """However much is missing at its end, reading does not raise, and no answer is made up."""
    torn, whole = read(STDOUT[:cut], STDERR, NONCE), read(STDOUT, STDERR, NONCE)
    assert not torn.complete
    for part, full in ((torn.steps, whole.steps), (torn.undos, whole.undos), (torn.queries, whole.queries)):
        assert part.items() <= full.items()


@given(st.integers(0, len(STDERR) - 1))
def test_a_torn_stderr_is_never_complete(cut: int) -> None:
    """A complaint that got lost on the way could be the very reason why a silent command failed.

    So no question counts as answered whose complaints are not all there.
    """
    torn = read(STDOUT, STDERR[:cut], NONCE)
    assert not torn.complete
    assert torn.queries.items() <= read(STDOUT, STDERR, NONCE).queries.items()


@given(st.integers(0, len(STDOUT)), st.integers(0, len(STDERR)))
def test_both_streams_torn(out: int, err: int) -> None:
    """Reading never raises; it is complete only when both are whole."""
    said = read(STDOUT[:out], STDERR[:err], NONCE)
    assert ((out, err) == (len(STDOUT), len(STDERR))) == said.complete


def test_the_step_that_was_running() -> None:
    """A transcript that ends within a step names it; one that ends between two does not."""
    within, between = STDOUT.index("two"), STDOUT.index(f"\n{NONCE} b 1\n")
    assert (2, None) == (read(STDOUT[:within], STDERR, NONCE).begun, read(STDOUT[:between], STDERR, NONCE).begun)


@given(st.text(), st.text())
def test_any_text_at_all(stdout: str, stderr: str) -> None:
    """Text without a fence is a script that did not start."""
    said = read(stdout, stderr, NONCE)
    assert (False, False, {}) == (said.started, said.complete, said.steps)


def test_a_lock_that_is_held() -> None:
    """The holder is told as the node told it, blanks and all."""
    said = read(f"\n{NONCE} l 12:me  too\n\n{NONCE} z\n", f"\n{NONCE} l 12:me  too\n\n{NONCE} z\n", NONCE)
    assert ("12:me  too", True) == (said.holder, said.complete)


def test_no_private_directory() -> None:
    """A script that could make none did not start."""
    assert not read(f"\n{NONCE} f\n", f"mkdir: no\n\n{NONCE} f\n", NONCE).started
