"""What one emulated command prints and returns. No behaviour of any command lives here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes (as text) a command leaves on stdout and stderr, and its exit status."""

    stdout: str = ""
    stderr: str = ""
    exit: int = 0
