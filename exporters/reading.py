"""From what a script brought back to each collector's samples, or why there are none. Pure."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporters.collector import Collector
from exporters.exposition import Sheet
from remote.errors import UnexpectedOutput, one_line
from remote.script import Query
from remote.transcript import Ended

log = logging.getLogger("xvmstore.exporter")
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Part:
    """One collector's share of a scrape.

    trouble    why it failed; "" if it did not
    supported  False where the machine's release cannot tell
    took       seconds; None where that was not seen
    """

    collector: str
    sheet: Sheet
    trouble: str = ""
    supported: bool = True
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What came back for the queries of some collectors, in order; ``missing`` is why some of it did not.

    ``ends`` is emptied by who reads it: it may be megabytes.
    """

    ends: dict[int, Ended]
    took: Mapping[int, float] = field(default_factory=dict)
    missing: str = ""


def queries(collectors: Sequence[Collector]) -> tuple[Query[str], ...]:
    """All that they ask, in order."""
    return tuple(query for one in collectors for query in one.queries)


def parts(groups: Sequence[tuple[Sequence[Collector], Said]]) -> list[Part]:
    """Each collector's part. A collector's ``needs`` may be in another group."""
    found: dict[str, _Told] = {}
    for collectors, said in groups:
        at = 0
        for one in collectors:
            places = range(at, at + len(one.queries))
            times = [said.took[i] for i in places if i in said.took]
            ends = [said.ends.pop(i) for i in places if i in said.ends]
            found[one.name] = _Told(one, ends, said.missing or "no answer", sum(times) if times else None)
            at = places.stop
    needed = {told.collector.needs for told in found.values()} & found.keys()
    first = {name: _first(found[name]) for name in needed}
    # Megabytes of text may come of ten thousand volumes: each is let go when it was read.
    names = list(found)
    return [_part(told := found.pop(name), needed=first.get(told.collector.needs, "")) for name in names]


@dataclass(frozen=True, slots=True)
class _Told:
    """What came back for one collector; ``missing`` is why not all did, if so."""

    collector: Collector
    ends: list[Ended]
    missing: str
    took: float | None


def _first(told: _Told) -> str:
    return told.ends[0].stdout if told.ends and not _failures(told.collector, told.ends[:1]) else ""


def _part(told: _Told, *, needed: str) -> Part:
    one, ends, took = told.collector, told.ends, told.took
    failures = _failures(one, ends)
    if any(_unsupported(one, end) for _, end in failures):
        return Part(one.name, Sheet(), supported=False, took=took)
    if len(ends) < len(one.queries):
        return Part(one.name, Sheet(), told.missing, took=took)
    if failures:
        query, end = failures[0]
        words = one_line(end.stderr) or one_line(end.stdout[:200])
        return Part(one.name, Sheet(), f"`{_short(query)}` exited {end.exit}: {words}", took=took)
    texts = ["" if end.exit else end.stdout for end in ends]
    return _emitted(one, [*texts, needed] if one.needs else texts, took)


def _emitted(one: Collector, texts: Sequence[str], took: float | None) -> Part:
    sheet = Sheet()
    try:
        one.emit(sheet, *texts)
    except UnexpectedOutput as error:
        return Part(one.name, Sheet(), str(error), took=took)
    except Exception as error:
        # A mistake of ours in one collector must not cost the others.
        log.exception("collector %s", one.name)
        return Part(one.name, Sheet(), f"a mistake in the exporter: {error!r}", took=took)
    return Part(one.name, sheet.settle(), took=took)


def _failures(one: Collector, ends: Sequence[Ended]) -> list[tuple[Query[str], Ended]]:
    return [
        (query, end)
        for query, end in zip(one.queries, ends, strict=False)
        if (end.exit != 0 or (query.silent and end.stderr)) and not any(words in end.stderr for words in query.absent)
    ]


def _unsupported(one: Collector, end: Ended) -> bool:
    return end.exit == _NOT_FOUND or any(words in end.stderr for words in one.unsupported)


def _short(query: Query[str]) -> str:
    """The command; of a program its name, which says what it does."""
    words = [str(word) for word in query.argv]
    return words[3] if words[:2] == ["sh", "-c"] and len(words) > 3 else " ".join(words[:4])
