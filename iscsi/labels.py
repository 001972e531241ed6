"""Reads the ``Label : value`` listings of stmfadm. Pure.

Its authors called this output "not an interface" (PSARC 2007/523), so labels are matched without regard to case or
width, and labels nobody here knows are let through.
"""

from collections.abc import Iterator, Mapping

from remote.errors import UnexpectedOutput

Record = tuple[str, Mapping[str, str]]


def records(text: str, head: str, *, command: str) -> Iterator[tuple[str, list[str]]]:
    """Split a listing at its ``head: name`` lines: the name, and the lines that belong to it.

    LU Name: 600144F00C2A6D0000006A27E7400001
        Operational Status: Online
    """
    name: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(f"{head}: ") and line[len(head) + 2 :].strip():
            if name is not None:
                yield name, lines
            name, lines = line[len(head) + 2 :].strip(), []
        elif name is None or line.startswith(f"{head}:"):
            raise UnexpectedOutput(command, line, f"a line {head}: NAME")
        else:
            lines.append(line)
    if name is not None:
        yield name, lines


def labels(lines: list[str], *, command: str) -> dict[str, str]:
    """``Label : value`` lines as a dictionary with lower-case keys."""
    found = {}
    for line in lines:
        label, colon, value = line.partition(":")
        if not colon:
            raise UnexpectedOutput(command, line, "LABEL : VALUE")
        found[label.strip().lower()] = value.strip()
    return found


def need(facts: Mapping[str, str], label: str, *, command: str, name: str) -> str:
    """A label that must be there. Raises UnexpectedOutput."""
    if label not in facts:
        raise UnexpectedOutput(command, name, f"a line with {label!r}")
    return facts[label]


def optional(facts: Mapping[str, str], label: str) -> str | None:
    """A label's value; None when it is absent or the tool says that it is not set."""
    value = facts.get(label)
    return None if value in {None, "not set", "-", ""} else value
