"""kstat -p and -l (illumos usr/src/cmd/stat/kstat/kstat.c, and the Perl program before it)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from embedded.answer import Answer
from embedded.kernel_stats import TIMES, Kstat, Number, kernel_stats
from embedded.model import Node
from embedded.options import OptionError, Parsed, getopt
from embedded.printing import complaint

_USAGE = {
    "C": """\
Usage:
kstat [ -Cjlpq ] [ -T d|u ] [ -c class ]
      [ -m module ] [ -i instance ] [ -n name ] [ -s statistic ]
      [ interval [ count ] ]
kstat [ -Cjlpq ] [ -T d|u ] [ -c class ]
      [ module[:instance[:name[:statistic]]] ... ]
      [ interval [ count ] ]
""",
    "Perl": """\
Usage:
kstat [ -qlp ] [ -T d|u ] [ -c class ]
      [ -m module ] [ -i instance ] [ -n name ] [ -s statistic ]
      [ interval [ count ] ]
kstat [ -qlp ] [ -T d|u ] [ -c class ]
      [ module:instance:name:statistic ... ]
      [ interval [ count ] ]
""",
}
_OPTIONS = {"C": "ChjlpqT:m:i:n:s:c:", "Perl": "hlpqT:m:i:n:s:c:"}
_EXCLUSIVE = "[module[:instance[:name[:statistic]]]] and -m -i -n -s are mutually exclusive"
_UNKNOWN = "kstat: the embedded node knows no other form of it than -p and -l, and no interval\n"

Match = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Selector:
    """What one operand, or -m -i -n -s together, choose."""

    module: Match
    instance: Match
    name: Match
    statistic: Match

    def takes(self, one: Kstat) -> bool:
        return bool(self.module(one.module) and self.instance(str(one.instance)) and self.name(one.name))


def _match(pattern: str) -> Match:
    """Empty matches all, /.../ is a regular expression, anything else a shell pattern."""
    if pattern in {"", "*"}:
        return lambda _: True
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return re.compile(pattern[1:-1]).search
    return lambda text: fnmatchcase(text, pattern)


def _selector(parts: Sequence[str]) -> _Selector:
    return _Selector(*(_match(part) for part in [*parts, "", "", "", ""][:4]))


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one kstat command line. Selectors are served one after the other; nothing found is exit 1."""
    language = node.flavour.kstat_language
    try:
        parsed = getopt(args, _OPTIONS[language])
        selectors = _selectors(parsed)
    except OptionError as error:
        if language == "C":  # getopt's own text, and '?' is a request for help
            return complaint(f"kstat: illegal option -- {error.name}\n{_USAGE[language]}", 0)
        return complaint(f"Unknown option: {error.name}\n{_USAGE[language]}", 2)
    except re.error as error:
        return complaint(f"kstat: {error}\n{_USAGE[language]}", 2)
    text = _refusal(parsed)
    if text is not None:
        return complaint(text + _USAGE[language], 2)
    kind = _match(parsed.last("c") or "")
    known = [one for one in kernel_stats(node, now=now) if kind(one.kind)]
    running = max(0.0, now - node.boot_time)
    printed = "".join(
        _lines(one, selector.statistic, snaptime=running, language=language, bare=parsed.has("l"))
        for selector in selectors
        for one in known
        if selector.takes(one)
    )
    return Answer(printed, exit=0 if printed else 1)


def _selectors(parsed: Parsed) -> list[_Selector]:
    if not parsed.operands:
        return [_selector([parsed.last(letter) or "" for letter in "mins"])]
    return [_selector(operand.split(":")) for operand in parsed.operands]


def _refusal(parsed: Parsed) -> str | None:
    """What is wrong with a line; "" if the usage says all."""
    given = {letter for letter, _ in parsed.options}
    if parsed.operands and given & set("mins"):
        return _EXCLUSIVE
    if any(operand.count(":") > 3 for operand in parsed.operands):
        return ""
    if not given & set("pl") or given & set("ChjqT") or any(operand.isdecimal() for operand in parsed.operands):
        return _UNKNOWN
    return None


def _lines(one: Kstat, match: Match, *, snaptime: float, language: str, bare: bool) -> str:
    values = {"class": one.kind, "crtime": one.created, "snaptime": snaptime, **one.values}
    prefix = f"{one.module}:{one.instance}:{one.name}:"
    timed = one.kind in {"io", "disk"}
    return "".join(
        f"{prefix}{name}\n"
        if bare
        else f"{prefix}{name}\t{_text(name, values[name], timed=timed, language=language)}\n"
        for name in sorted(values, key=str.lower)
        if match(name)
    )


def _text(name: str, value: Number | str, *, timed: bool, language: str) -> str:
    """The C program prints times of I/O as they are, in nanoseconds; the Perl one all times in seconds."""
    if name in {"crtime", "snaptime"} and not isinstance(value, str):
        return _seconds(value, language=language)
    if timed and name in TIMES and language == "Perl" and not isinstance(value, str):
        return f"{value / 1e9:.15g}"
    return str(value)


def _seconds(value: Number, *, language: str) -> str:
    if language == "Perl":
        return f"{value:.15g}"
    return f"{value:.9f}" if value else "0"
