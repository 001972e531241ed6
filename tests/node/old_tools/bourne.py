"""What sh(1) of old Solaris, the Bourne shell, makes of a text: usr/src/cmd/sh/word.c, cmd.c, macro.c, test.c.

A reading of the text alone: it knows no values, and not what is run through eval.
"""

import re
from collections.abc import Callable, Iterator

from tests.node.old_tools.expressions import Bad

_OPERATORS = ("<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", "<", ">", "&", "|", ";", "(", ")", "\n", "^")
# What ends a word: eofmeta of ctype.h. ^ is another name of | there.
_META = frozenset(" \t\n;&|^<>()")
_REDIRECTIONS = frozenset(["<", ">", ">>", "<<", "<<-", "<&", ">&", "<>"])
# After these a command begins.
_BEGIN = frozenset(
    ["\n", ";", ";;", "&", "&&", "||", "|", "(", "{", "then", "else", "elif", "if", "while", "until", "do"]
)
_ENDS = frozenset(["}", "done", "fi", "esac"])
_WORDS = (_BEGIN | _ENDS) - frozenset(["\n"])
_LATER = frozenset(
    ["!", "[[", "select", "function", "local", "typeset", "declare", "let", "source", "command", "alias"]
)
_OPERATORS_OF_TEST = "-r -w -x -d -c -b -f -u -g -k -p -h -L -s -t -n -z -a -o -eq -ne -gt -lt -ge -le"
_TESTS = frozenset(_OPERATORS_OF_TEST.split())
_PARAMETER = re.compile(r"\{(?:\w+|[@*#?$!-])(?::?[-=?+]|\})")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
Token = tuple[bool, str]
"""Whether it is an operator, and its text, quotes and all."""


def objection(text: str) -> str | None:
    """Why it would not run, or not as it reads; None where it would."""
    try:
        _commands(list(_tokens(text)))
    except Bad as bad:
        return str(bad)
    except (IndexError, ValueError):
        return "a for or a case that does not end"
    return None


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    documents: list[str] = []
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif text[at] == "#":
            at = (text + "\n").index("\n", at)
        elif operator := next((one for one in _OPERATORS if text.startswith(one, at)), ""):
            at += len(operator)
            yield True, operator
            if operator == "\n" and documents:
                at = _after(text, at, documents)
        else:
            end = _word(text, at)
            documents += re.findall(r"<<[ \t]*\Z", text[:at]) and [text[at:end].strip("'\"\\")]
            yield False, text[at:end]
            at = end


def _after(text: str, at: int, documents: list[str]) -> int:
    """Where the here-documents end."""
    while documents:
        end = re.compile(rf"^{re.escape(documents.pop(0))}$", re.MULTILINE).search(text, at)
        if end is None:
            raise Bad("a here-document that does not end")
        at = end.end()
    return at


def _word(text: str, at: int) -> int:
    """Where the word ends that begins here."""
    if text[at] == "~":
        raise Bad("~ is no home directory")
    while at < len(text) and text[at] not in _META:
        at = _part(text, at)
    return at


def _part(text: str, at: int) -> int:
    char = text[at]
    if char == "'":
        return _closing(text, at, "'")
    if char == '"':
        return _double(text, at)
    if char == "`":
        return _backquoted(text, at, quoted=False)
    if char == "$":
        return _dollar(text, at)
    return at + 2 if char == "\\" else at + 1


def _closing(text: str, at: int, quote: str) -> int:
    end = text.find(quote, at + 1)
    if end < 0:
        raise Bad(f"no closing {quote}")
    return end + 1


def _double(text: str, at: int) -> int:
    at += 1
    while text[at : at + 1] != '"':
        if at >= len(text):
            raise Bad('no closing "')
        at = _within(text, at)
    return at + 1


def _within(text: str, at: int) -> int:
    if text[at] == "`":
        return _backquoted(text, at, quoted=True)
    return at + 1 if text[at] == "'" else _part(text, at)


def _backquoted(text: str, at: int, *, quoted: bool) -> int:
    end = at + 1
    while text[end : end + 1] != "`":
        if end >= len(text):
            raise Bad("no closing `")
        end += 2 if text[end] == "\\" else 1
    inside = text[at + 1 : end]
    if quoted:
        # word.c knows nothing of ` within ": the next " ends the string, and what is between two such is not quoted.
        for bare in inside.split('"')[1::2]:
            if _META.intersection(bare) or "'" in bare:
                raise Bad(f"quotes in ` in quotes end them, and {bare!r} is no single word")
    _commands(list(_tokens(re.sub(r"\\([\\`$])", r"\1", inside))))
    return end + 1


def _dollar(text: str, at: int) -> int:
    after = text[at + 1 : at + 2]
    if after in {"(", "'"}:
        raise Bad(f"${after} is not known")
    if after == "{" and not _PARAMETER.match(text, at + 1):
        raise Bad(f"no such expansion: {text[at : at + 12]}")
    return at + 2 if after == "{" else at + 1


def _commands(tokens: list[Token]) -> None:
    """Look at each simple command. Raises Bad."""
    at, begins, ended = 0, True, ""
    while at < len(tokens):
        operator, text = tokens[at]
        if operator:
            _operator(text, ended, doubled=text == "(" and tokens[at - 1 : at] == [(True, "(")])
            begins, ended = text in _BEGIN, ")" if text == ")" else ""
            at = _pattern(tokens, at + 1) if text == ";;" else at + 1
        elif not begins or text in _WORDS:
            begins, ended = text in _BEGIN, text if text in _ENDS else ""
            at += 1
        else:
            at = _HEADS.get(text, _plain)(tokens, at)
            begins = tokens[at - 1] != (False, "esac") and text in _HEADS


def _operator(text: str, ended: str, *, doubled: bool) -> None:
    if ended in _ENDS and text in _REDIRECTIONS:
        raise Bad(f"{ended} {text}: what is redirected as a whole runs in a child, which keeps its variables")
    if text == "^":
        raise Bad("^ is a pipe")
    if doubled:
        raise Bad("(( is no arithmetic")


def _plain(tokens: list[Token], at: int) -> int:
    """A simple command; where it is over."""
    end = at
    while end < len(tokens) and (not tokens[end][0] or tokens[end][1] in _REDIRECTIONS):
        end += 1
    _simple([text for operator, text in tokens[at:end] if not operator])
    return end


def _simple(words: list[str]) -> None:
    assigned: list[str] = []
    while words and (match := _ASSIGNMENT.match(words[0])):
        if any(re.search(rf"\$\{{?{name}\b", match[2]) for name in assigned):
            raise Bad(f"assignments on one line are made from right to left: {words[0]}")
        assigned.append(match[1])
        words = words[1:]
    if not words:
        return
    name, operands = words[0], words[1:]
    if name in _LATER:
        raise Bad(f"{name} is not known")
    if name in {"[", "test"}:
        _test(operands)
    found = {
        "export": any("=" in one for one in operands),
        "readonly": any("=" in one for one in operands),
        "trap": any(not one.isdigit() for one in operands[1:]),
        "read": operands[:1] == ["-r"],
        "echo": operands[:1] in (["-n"], ["-e"], ["-E"]),
        "set": operands[:1] == ["-o"],
    }
    if found.get(name):
        raise Bad(f"{' '.join(words)}: not in this shell")


def _test(operands: list[str]) -> None:
    for one in operands:
        if one == "==" or (re.fullmatch(r"-[A-Za-z]+", one) and one not in _TESTS):
            raise Bad(f"test knows no {one}")


def _for(tokens: list[Token], at: int) -> int:
    """``for x`` may be followed by newlines, not by a semicolon."""
    if tokens[at + 2 : at + 3] == [(True, ";")]:
        raise Bad("for x; is no syntax")
    return tokens.index((False, "do"), at) + 1


def _case(tokens: list[Token], at: int) -> int:
    return _pattern(tokens, tokens.index((False, "in"), at) + 1)


def _pattern(tokens: list[Token], at: int) -> int:
    """Where a pattern is over, with its ), or where the case is, with its esac."""
    while tokens[at] == (True, "\n"):
        at += 1
    if tokens[at] == (True, "("):
        raise Bad("no ( before a pattern")
    while tokens[at] not in ((True, ")"), (False, "esac")):
        at += 1
    return at + 1


_HEADS: dict[str, Callable[[list[Token], int], int]] = {"for": _for, "case": _case}
