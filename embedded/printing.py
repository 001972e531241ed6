"""Collects what one emulated command prints, so that handlers read in the order in which the real tool writes."""

from dataclasses import dataclass, field

from embedded.answer import Answer


@dataclass(slots=True)
class Printer:
    """The two streams of a running command."""

    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add ``text`` to stdout, newline included by the caller."""
        self.out.append(text)

    def complain(self, text: str) -> None:
        """Add ``text`` to stderr, newline included by the caller."""
        self.err.append(text)

    def answer(self, status: int = 0) -> Answer:
        """Everything printed so far, with the exit status as the shell sees it (one byte)."""
        return Answer("".join(self.out), "".join(self.err), status & 0xFF)


def complaint(text: str, status: int = 1) -> Answer:
    """An answer that is one error text and a status."""
    return Answer(stderr=text, exit=status & 0xFF)
