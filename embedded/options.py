"""Splitting argument lists the way the real tools' C libraries do: getopt(3C) and illumos getopt_long(3C).

Messages are not made here: each tool words its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parsed:
    """The options in the order given, each with its argument ("" when it takes none), and the operands."""

    options: tuple[tuple[str, str], ...]
    operands: tuple[str, ...]

    def has(self, letter: str) -> bool:
        """Whether the option was given at all."""
        return any(name == letter for name, _ in self.options)

    def all(self, letter: str) -> tuple[str, ...]:
        """Every argument given to the option, in order."""
        return tuple(value for name, value in self.options if name == letter)

    def last(self, letter: str) -> str | None:
        """The argument that counts when an option is repeated."""
        values = self.all(letter)
        return values[-1] if values else None


class OptionError(Exception):
    """An option that is unknown, or that lacks its argument (``missing``).

    ``index`` is getopt's optind at that moment: itadm prints the argument there.
    """

    def __init__(self, name: str, *, missing: bool, index: int) -> None:
        super().__init__(name)
        self.name = name
        self.missing = missing
        self.index = index


@dataclass(slots=True)
class _Walk:
    args: Sequence[str]
    spec: str
    long: Mapping[str, str]
    at: int = 0
    options: list[tuple[str, str]] = field(default_factory=list)
    operands: list[str] = field(default_factory=list)

    def takes_argument(self, letter: str) -> bool:
        where = self.spec.find(letter)
        return self.spec[where + 1 : where + 2] == ":"

    def argument(self, name: str) -> str:
        if self.at >= len(self.args):
            raise OptionError(name, missing=True, index=self.at)
        self.at += 1
        return self.args[self.at - 1]

    def cluster(self, word: str) -> None:
        for position, letter in enumerate(word[1:], start=1):
            last = position == len(word) - 1
            if letter == ":" or letter not in self.spec:
                raise OptionError(letter, missing=False, index=self.at if last else self.at - 1)
            if self.takes_argument(letter):
                self.options.append((letter, word[position + 1 :] if not last else self.argument(letter)))
                return
            self.options.append((letter, ""))

    def word(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        letter = self.long.get(name)
        if letter is None:
            raise OptionError(name, missing=False, index=self.at)
        if not self.takes_argument(letter):
            self.options.append((letter, ""))
            return
        self.options.append((letter, value if equals else self.argument(name)))


def getopt(args: Sequence[str], spec: str, *, long: Mapping[str, str] | None = None, permute: bool = False) -> Parsed:
    """Split ``args`` by ``spec`` (getopt syntax).

    With ``permute`` options may follow operands; without, the first operand ends the options.
    """
    walk = _Walk(args, spec, long or {})
    while walk.at < len(args):
        word = args[walk.at]
        walk.at += 1
        if word == "--":
            break
        if walk.long and word.startswith("--"):
            walk.word(word)
        elif word.startswith("-") and len(word) > 1:
            walk.cluster(word)
        elif permute:
            walk.operands.append(word)
        else:
            walk.at -= 1
            break
    return Parsed(tuple(walk.options), (*walk.operands, *args[walk.at :]))
