"""From the answers of a script to the samples of each collector: one that fails costs nobody else anything."""

from typing import Any

import pytest

from exporters.collector import Collector
from exporters.exposition import Sheet, gauge
from exporters.reading import Part, Said, parts
from remote.errors import UnexpectedOutput
from remote.script import Query
from remote.transcript import Ended

VALUE = gauge("value", "A value.", "collector", source="test")


def collector(name: str, *words: str, **options: Any) -> Collector:
    """One that puts the number it reads."""

    def emit(sheet: Sheet, *texts: str) -> None:
        if not texts[0].strip().isdecimal():
            raise UnexpectedOutput(name, texts[0], "a number")
        sheet.put(VALUE, int(texts[0]), name + "".join(texts[1:]))

    return Collector(name, tuple(Query((word,), str) for word in words or (name,)), emit, **options)


def one(found: list[Part], name: str) -> Part:
    """By name."""
    return next(part for part in found if part.collector == name)


def test_each_by_itself() -> None:
    """Well, failed, unreadable, not there, not supported, not reached; and one with a mistake of ours in it."""

    def broken(sheet: Sheet, text: str) -> None:
        raise ZeroDivisionError(text)

    asked = [
        collector("well"),
        collector("failed"),
        collector("unreadable"),
        collector("missing"),
        collector("old", unsupported=("invalid option",)),
        Collector("mistake", (Query(("mistake",), str),), broken),
        collector("late"),
    ]
    ends = {
        0: Ended(0, "3\n", ""),
        1: Ended(1, "", "cannot open 'tank': no such pool\n"),
        2: Ended(0, "three", ""),
        3: Ended(127, "", "sh: missing: not found\n"),
        4: Ended(2, "", "invalid option 'w'\nusage: ...\n"),
        5: Ended(0, "", ""),
    }
    found = parts([(asked, Said(ends, {0: 0.25}, "no end after 3 s"))])
    assert [True, True, True, False, False, True, True] == [part.supported for part in found]
    assert "" == one(found, "well").trouble
    assert 0.25 == one(found, "well").took
    assert "`failed` exited 1: cannot open 'tank': no such pool" == one(found, "failed").trouble
    assert "three" in one(found, "unreadable").trouble
    assert "ZeroDivisionError" in one(found, "mistake").trouble
    assert "no end after 3 s" == one(found, "late").trouble
    assert [1, 0, 0, 0, 0, 0, 0] == [len(part.sheet) for part in found]


def test_what_another_said() -> None:
    """A collector gets the first text of the one it needs, from whichever script; nothing where that one failed."""
    asked, first = [collector("join", needs="other")], [collector("other", "a", "b")]
    well = parts([(asked, Said({0: Ended(0, "1", "")})), (first, Said({0: Ended(0, "7", ""), 1: Ended(0, "8", "")}))])
    assert "join7" in str(next(iter(one(well, "join").sheet))[1])
    ill = parts([(asked, Said({0: Ended(0, "1", "")})), (first, Said({0: Ended(1, "7", "oh")}))])
    assert "join7" not in str(next(iter(one(ill, "join").sheet))[1])


@pytest.mark.parametrize("silent", [True, False])
def test_words_of_a_silent_command(silent: bool) -> None:
    """A command that should say nothing on stderr has failed if it does, and exit 0 notwithstanding."""
    asked = Collector("one", (Query(("one",), str, silent=silent),), lambda sheet, text: sheet.put(VALUE, 1, text))
    (found,) = parts([([asked], Said({0: Ended(0, "x", "stmfadm: odd\n")}))])
    assert bool(found.trouble) is silent


def test_absent_is_an_answer() -> None:
    """There is none: the collector is well, and reads nothing."""
    seen = []
    query = Query(("zfs",), str, absent=("dataset does not exist",))
    asked = Collector("one", (query,), lambda sheet, text: seen.append(text))
    (found,) = parts([([asked], Said({0: Ended(1, "half", "cannot open 'tank/xvm': dataset does not exist\n")}))])
    assert ("", [""]) == (found.trouble, seen)
