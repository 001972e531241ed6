"""Reads back what a script of ``remote.script`` printed. Pure.

Both streams carry the same fence lines, so each command's stdout and stderr come back byte for byte:

    xvm5f0c... b 3          step 3 begins
    xvm5f0c... e 3 0 done   step 3 ended with status 0 (done, skip, already, unmet)
    xvm5f0c... u 3          its undo begins;  v 3 0  ended
    xvm5f0c... q 0          query 0 begins;   a 0 0  ended
    xvm5f0c... l LOCK OWNER the lock was held
    xvm5f0c... f            no private directory could be made
    xvm5f0c... z            the script ran to its end
    xvm5f0c... s            in a shell that stays: the script begins;  x  it is over, whole or killed
"""

import re
from dataclasses import dataclass
from typing import Literal

How = Literal["done", "skip", "already", "unmet"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How one command ended: its exit status and the bytes it printed, as text."""

    exit: int
    stdout: str
    stderr: str
    how: How = "done"


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything a script did, keyed by the index of the step or query.

    ``begun`` is the step that had begun, and not ended, when the session broke off. ``holder`` is who has the lock.
    ``complete`` is true when both streams are: a lost complaint could be what made a silent command fail. For the same
    reason a query of a torn transcript counts only if both streams have its end.
    """

    steps: dict[int, Ended]
    undos: dict[int, Ended]
    queries: dict[int, Ended]
    begun: int | None
    holder: str | None
    started: bool
    complete: bool

    @property
    def failed(self) -> int | None:
        """The step that stopped the script, if one did."""
        return next((i for i, end in self.steps.items() if end.exit != 0 or end.how == "unmet"), None)


_ENDS = {"e": "b", "v": "u", "a": "q"}
_HOW: dict[str, How] = {"done": "done", "skip": "skip", "already": "already", "unmet": "unmet"}


def read(stdout: str, stderr: str, nonce: str) -> Transcript:
    """Take the two streams of a script apart. What stands before the first fence (a talkative login) is dropped."""
    marks, texts = _split(stdout, nonce)
    complaints = _split(stderr, nonce)
    said = _by_mark(*complaints)
    found: dict[str, dict[int, Ended]] = {"e": {}, "v": {}, "a": {}}
    begun: int | None = None
    for mark, text in zip(marks, texts, strict=True):
        words = mark.split(" ")
        if words[0] == "b":
            begun = int(words[1])
        if words[0] not in _ENDS or (words[0] == "a" and mark not in complaints[0]):
            continue
        begun = None if words[0] == "e" else begun
        how = _HOW[words[3]] if words[0] == "e" else "done"
        opened = f"{_ENDS[words[0]]} {words[1]}"
        found[words[0]][int(words[1])] = Ended(int(words[2]), text, said.get(opened, ""), how)
    holder = next((mark[2:] for mark in marks if mark.startswith("l ")), None)
    complete = "z" in marks and "z" in complaints[0]
    return Transcript(found["e"], found["v"], found["a"], begun, holder, "f" not in marks and bool(marks), complete)


def _split(stream: str, nonce: str) -> tuple[list[str], list[str]]:
    """The fence lines and the text that stood before each of them."""
    parts = re.split(rf"\n{nonce} ([^\n]*)\n", stream)
    return parts[1::2], parts[:-1:2]


def _by_mark(marks: list[str], texts: list[str]) -> dict[str, str]:
    """Text keyed by the fence that opened it."""
    return dict(zip(marks[:-1], texts[1:], strict=False))
