"""What a word that a command printed may be taken for, and text taken apart without a copy of it all. Pure."""

from collections.abc import Iterator, Sequence

# How zfs and zpool print what has no value.
NOTHING = frozenset({"-", "none", ""})
_HEX = frozenset("0123456789ABCDEF")


def is_number(text: str) -> bool:
    """Digits, and nothing that Python alone takes for one."""
    return text.isascii() and text.isdecimal()


def are_numbers(texts: Sequence[str]) -> bool:
    """All of them, in one look; that there are none is no matter."""
    return not texts or (all(texts) and is_number("".join(texts)))


def is_guid(text: str) -> bool:
    """32 hexadecimal digits, upper case."""
    return len(text) == 32 and _HEX.issuperset(text)


def split(text: str, separator: str = "\n") -> Iterator[str]:
    """As ``text.split`` does, one part at a time: of ten thousand volumes there may be megabytes of them."""
    at = 0
    while (end := text.find(separator, at)) >= 0:
        yield text[at:end]
        at = end + len(separator)
    yield text[at:]
