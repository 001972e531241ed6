"""Which operation was seen to work on which platform, and in how many tests: gathered while the tests run.

An operation counts where a test that passed ran it and it exited 0. ``$XVMSTORE_PROOFS`` names the directory that the
findings are written to, a file a process; ``tests.platforms`` makes the table in docs/platforms.md of them.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# By platform, then by operation, the number of tests.
Proofs = dict[str, Counter[str]]


class Recorder:
    """What the running test has done so far, and what all tests before it have proven."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self.proven: Proofs = {}

    def succeeded(self, platform: str, arguments: Sequence[str]) -> None:
        """A command exited 0. A dry run proves nothing."""
        words = [word for word in arguments if not word.startswith("-")]
        if not {"-n", "--dry-run"} & set(arguments):
            self._seen.add((platform, " ".join(words[: 1 if words[:1] == ["upgrade"] else 2])))

    def ended(self, *, passed: bool) -> None:
        """The test is over."""
        for platform, operation in self._seen if passed else ():
            self.proven.setdefault(platform, Counter())[operation] += 1
        self._seen.clear()

    def save(self) -> None:
        """Write it down, where that is asked for."""
        place = os.environ.get("XVMSTORE_PROOFS")
        if place and self.proven:
            Path(place).mkdir(parents=True, exist_ok=True)
            (Path(place) / f"{os.getpid()}.json").write_text(json.dumps(self.proven))


RECORDER = Recorder()


def gathered(place: Path) -> Proofs:
    """All that the processes of a run wrote."""
    found: Proofs = {}
    for file in sorted(place.glob("*.json")):
        for platform, operations in json.loads(file.read_text()).items():
            found.setdefault(platform, Counter()).update(operations)
    return found
