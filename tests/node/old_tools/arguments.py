"""Which options and operands the tools of old Solaris know: the manual pages of section 1, /usr/bin each time.

Each call of a tool reads this module, so it imports little, and the grammars only where they are needed.
"""

from itertools import pairwise

from tests.node.old_tools.expressions import Bad, expression

# Options, and those with a word of their own after them.
_OPTIONS = {
    "awk": ("", "Ff"),
    "basename": ("", ""),
    "cat": ("bensuvt", ""),
    "chmod": ("fR", ""),
    "cp": ("fipRr@", ""),
    "cut": ("ns", "bcdf"),
    "date": ("u", "a"),
    "dd": ("", ""),
    "dirname": ("", ""),
    "echo": ("", ""),
    "egrep": ("bchilnsv", "ef"),
    "env": ("i", ""),
    "expr": ("", ""),
    "false": ("", ""),
    "fgrep": ("bchilnsvx", "ef"),
    "find": ("", ""),
    "grep": ("bchilnsvw", ""),
    "head": ("0123456789", "n"),
    "id": ("ap", ""),
    "ln": ("fns", ""),
    "ls": ("aAbcCdeEfFghHilLmnopqrRstux1@", ""),
    "mkdir": ("p", "m"),
    "mv": ("fi", ""),
    "nawk": ("", "Ffv"),
    "od": ("bcCdDfFoOsSvxX", "AjNt"),
    "perl": ("nw", "e"),
    "printf": ("", ""),
    "ps": ("aAcdefjlLPyZ", "gnopstuUGz"),
    "pwd": ("", ""),
    "python2.4": ("", "c"),
    "rm": ("firR", ""),
    "rmdir": ("ps", ""),
    "sed": ("n", "ef"),
    "sh": ("", "c"),
    "sleep": ("", ""),
    "sort": ("bcdfiMmnru", "okTtyzS"),
    "tail": ("0123456789bcflr", ""),
    "tee": ("ai", ""),
    "test": ("", ""),
    "touch": ("acm", "rt"),
    "tr": ("cds", ""),
    "true": ("", ""),
    "uniq": ("cdu", "fs"),
    "wc": ("cClmw", ""),
    "xargs": ("ptx", "EILeilns"),
}
NAMES = frozenset(_OPTIONS)
# These take whatever stands there as it is.
_FREE = frozenset(["basename", "dd", "dirname", "echo", "env", "expr", "find", "printf", "test"])
_DD = frozenset(["if", "of", "ibs", "obs", "bs", "cbs", "files", "skip", "iseek", "oseek", "seek", "count", "conv"])
_EXPR = frozenset(["length", "substr", "index", "match", "+"])


def objection(name: str, words: list[str]) -> str | None:
    """Why the tool of this name would not take these words; None where it would."""
    try:
        options, operands = ([], words) if name in _FREE else _split(name, words)
        _CHECKS.get(name, _nothing)(options, operands)
    except Bad as bad:
        return str(bad)
    return None


def program(name: str, words: list[str]) -> tuple[list[str], list[str]]:
    """The programs among the words of sed or awk, and the files after them."""
    options, operands = _split(name, words)
    given = [value for letter, value in options if letter in {"e", "f"}]
    return ([], operands) if given else (operands[:1], operands[1:])


def _split(name: str, words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """As getopt(3C) does. Raises Bad."""
    alone, valued = _OPTIONS[name]
    options: list[tuple[str, str]] = []
    words = list(words)
    while words and words[0][:1] == "-" and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        at = 1
        while at < len(word):
            letter = word[at]
            at += 1
            if letter in valued:
                if at == len(word) and not words:
                    raise Bad(f"-{letter} needs a word after it")
                options.append((letter, word[at:] or words.pop(0)))
                break
            if letter not in alone:
                raise Bad(f"{word}: no option -{letter}")
            options.append((letter, ""))
    return options, words


def _nothing(_options: list[tuple[str, str]], _operands: list[str]) -> None:
    pass


def _must(reason: str | None) -> None:
    if reason:
        raise Bad(reason)


def _sed(options: list[tuple[str, str]], operands: list[str]) -> None:
    from tests.node.old_tools import sed

    given = [value for letter, value in options if letter == "e"]
    for text in given or operands[:1]:
        _must(sed.objection(text))


def _awk(options: list[tuple[str, str]], operands: list[str]) -> None:
    from tests.node.old_tools import awk

    if not any(letter == "f" for letter, _ in options):
        _must(awk.objection(operands[0]))


def _sh(options: list[tuple[str, str]], _operands: list[str]) -> None:
    from tests.node.old_tools import bourne

    for _, text in options:
        _must(bourne.objection(text))


def _grep(_options: list[tuple[str, str]], operands: list[str]) -> None:
    expression(operands[0], 0, "")


def _expr(_options: list[tuple[str, str]], operands: list[str]) -> None:
    if operands and operands[0] in _EXPR:
        raise Bad(f"{operands[0]} is not known")
    for before, after in pairwise(operands):
        if before == ":":
            expression(after, 0, "")


def _tr(_options: list[tuple[str, str]], operands: list[str]) -> None:
    """A range is [a-z]. \\n is a newline, but to /usr/ucb/tr, where it is an n."""
    for text in operands:
        if "[:" in text or "[=" in text:
            raise Bad(f"{text}: no classes of characters")
        bare = text.replace("\\-", "")
        if any(char == "-" and bare[i - 2 : i - 1] != "[" for i, char in enumerate(bare[:-1]) if i):
            raise Bad(f"{text}: a range needs its brackets")


def _date(options: list[tuple[str, str]], operands: list[str]) -> None:
    for text in operands:
        if text[:1] != "+" or any(mark in text for mark in ("%s", "%N", "%z", "%-", "%:")):
            raise Bad(f"{text}: no such format")


def _dd(_options: list[tuple[str, str]], operands: list[str]) -> None:
    for text in operands:
        if text.partition("=")[0] not in _DD:
            raise Bad(f"{text}: no such operand")


def _head(options: list[tuple[str, str]], _operands: list[str]) -> None:
    if any(letter == "n" and not value.isdigit() for letter, value in options):
        raise Bad("-n needs a number")


_CHECKS = {
    "awk": _awk,
    "date": _date,
    "dd": _dd,
    "expr": _expr,
    "grep": _grep,
    "head": _head,
    "sed": _sed,
    "sh": _sh,
    "tr": _tr,
}
