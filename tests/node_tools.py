"""The node's small tools, run for real: what a ``sed -n`` program prints from a text, and whether a test holds."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from remote.script import Captured, Expect, Word

_SEDS = (("sed",), ("sed", "--posix"), ("busybox", "sed"))


def printed(program: str, text: str) -> str:
    """What a ``sed -n`` program prints, the same on every sed there is here."""
    answers = {_run((*sed, "-n", program), text) for sed in _SEDS if shutil.which(sed[0])}
    (answer,) = answers
    return answer


def holds(expect: Expect, text: str) -> bool:
    """Whether a text is as expected; the shell drops newlines at the end."""
    found = printed(expect.sed, text).rstrip("\n")
    return found == expect.equals or (expect.or_nothing and not found)


def succeeds(argv: Sequence[Word], captured: Mapping[str, str]) -> bool:
    """Run a test of ours with the words it captured."""
    words = [captured[word.name] if isinstance(word, Captured) else str(word) for word in argv]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _run(argv: Sequence[str], text: str) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr), argv
    return done.stdout
