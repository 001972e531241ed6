"""What a collector is: its questions, and how their answers become samples. Pure.

A collector's ``emit`` gets a Sheet and the text of each of its queries. A line it cannot read is complained of
(``Sheet.complain``) and costs its own object only; an answer that makes no sense as a whole raises UnexpectedOutput and
costs the collector.
"""

from collections.abc import Callable
from dataclasses import dataclass

from remote.script import Query


@dataclass(frozen=True, slots=True)
class Collector:
    """One part of a scrape that succeeds or fails by itself.

    name         the value of the label ``collector``
    queries      each with ``str`` as its reader: what was printed goes to ``emit``
    emit         ``emit(sheet, *texts)``
    pool_bound   it runs zfs or zpool, which may hang: asked last, and not while another scrape's still runs
    unsupported  words on stderr which mean that this node cannot tell: no failure
    needs        another collector whose first text ``emit`` gets after its own; "" in its place if that one failed
    """

    name: str
    queries: tuple[Query[str], ...]
    emit: Callable[..., None]
    pool_bound: bool = False
    unsupported: tuple[str, ...] = ()
    needs: str = ""
