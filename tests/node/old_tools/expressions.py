"""Regular expressions of old Solaris: regexp(5), the "limited" ones of sed, grep and expr."""

from itertools import pairwise


class Bad(Exception):
    """What the old tool would not take, or would take for something else."""


# \n is a newline to sed; \< and \> are the ends of a word.
_ESCAPES = "n123456789<>(){}"


def expression(text: str, at: int, end: str) -> tuple[int, int]:
    """Read one up to ``end``; where it is over, and how many groups it has. Raises Bad."""
    groups, before = 0, ""
    while at < len(text):
        char, two = text[at], text[at : at + 2]
        if char == end:
            return at + 1, groups
        if char == "[":
            at, before = _bracket(text, at), "]"
            continue
        if char == "\\":
            _escape(two, end, before)
            groups += two == r"\("
        elif char == "*" and before == r"\)":
            raise Bad(r"* after \) is a star and nothing more (regexp(5))")
        before = two if char == "\\" else char
        at += len(before)
    if end:
        raise Bad("Illegal or missing delimiter")
    return at, groups


def _escape(two: str, end: str, before: str) -> None:
    if two == r"\{" and before == r"\)":
        raise Bad(r"\{ after \) is not known (regexp(5))")
    char = two[1:]
    if not char or (char.isalnum() and char not in _ESCAPES and char != end) or char in {"+", "?", "|"}:
        raise Bad(f"{two} means nothing to regexp(5)")


def _bracket(text: str, at: int) -> int:
    begin, at = at, at + 1
    at += text[at : at + 1] == "^"
    at += text[at : at + 1] == "]"
    close = text.find("]", at)
    if close < 0:
        raise Bad("[ ] imbalance")
    inside = text[begin + 1 : close]
    if any(mark in inside for mark in ("[:", "[.", "[=")):
        raise Bad(f"[{inside}: no classes of characters in regexp(5)")
    if any(a == "\\" and b.isalpha() for a, b in pairwise(inside)):
        raise Bad(f"[{inside}]: a backslash stands for itself in brackets")
    return close + 1


def replacement(text: str, at: int, end: str, groups: int) -> int:
    """Read what replaces a match; where it is over. Raises Bad."""
    while at < len(text) and text[at] != end:
        if text[at] == "\\":
            at += 1
            char = text[at : at + 1]
            if not char or char.isalpha():
                raise Bad(rf"\{char} in a replacement is the letter itself")
            if char.isdigit() and int(char) > groups:
                raise Bad(rf"``\{char}'' out of range")
        at += 1
    if at >= len(text):
        raise Bad("Ending delimiter missing on substitution")
    return at + 1
