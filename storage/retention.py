"""Which snapshots may go and which stay: grandfather, father, son. Pure.

The rules only ever keep; what no rule keeps is pruned. Whatever the rules say, the newest stays (so also the only one),
and so does what is protected. What is protected does not count towards the numbers: a hold is somebody else's wish, and
may be released any day, so it takes no place from the others.

Periods are those of the calendar in UTC, weeks those of ISO 8601; a period in which nothing was made is not counted, so
a machine that was off for a month keeps what it had.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from remote.errors import InvalidValue
from storage.names import shown

_AGE = re.compile(r"([1-9][0-9]{0,5})([hdw])\Z", re.IGNORECASE | re.ASCII)
_SECONDS = {"w": 7 * 86400, "d": 86400, "h": 3600}
# What strftime makes of a time is the same for all of one period, and for no other.
_PERIODS = {
    "hourly": "%Y-%m-%dT%HZ",
    "daily": "%Y-%m-%d",
    "weekly": "%G-W%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What to keep. Raises InvalidValue if it names nothing, or a number that cannot be.

    keep_last   the newest so many
    hourly      the newest of each of the last so many hours that have one; daily, weekly, monthly, yearly likewise
    older_than  seconds: nothing younger is ever pruned. Alone it keeps what is younger, and the newest
    """

    keep_last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    older_than: float | None = None

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, number in given.items():
            if number is not None and number < 0:
                raise InvalidValue(f"{name.replace('_', '-')} cannot be {number}: give 0 or more")
        if not any(given.values()):
            raise InvalidValue(
                "this says nothing of what to keep: give at least one of keep-last, hourly, daily, weekly, monthly, "
                "yearly and older-than"
            )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot that might go. ``created`` is seconds since the epoch; ``protected`` says why it may not go."""

    name: str
    created: int
    protected: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a snapshot stays, and why: every rule that keeps it, parted by "; "."""

    name: str
    keep: bool
    reason: str


def plan(candidates: Sequence[Candidate], policy: Policy, *, now: float) -> tuple[Decision, ...]:
    """One decision for each, oldest first. ``now`` is seconds since the epoch.

    What is left, planned again at the same time, all stays: so a run cut short is simply run again.
    """
    # Those of one second stay in the order in which they were given.
    oldest_first = sorted(candidates, key=lambda one: one.created)
    reasons: dict[str, list[str]] = {one.name: [] for one in oldest_first}
    if len(reasons) != len(oldest_first):
        raise ValueError("two candidates have one name")
    for one, reason in _reasons(oldest_first, policy, now=now):
        reasons[one.name].append(reason)
    return tuple(Decision(name, bool(why), "; ".join(why) or "no rule keeps it") for name, why in reasons.items())


def _reasons(oldest_first: Sequence[Candidate], policy: Policy, *, now: float) -> Iterator[tuple[Candidate, str]]:
    """What keeps what: in the order in which it is to be read."""
    yield from ((one, one.protected) for one in oldest_first if one.protected)
    yield from ((one, "the only one" if len(oldest_first) == 1 else "the newest") for one in oldest_first[-1:])
    counted = [one for one in reversed(oldest_first) if not one.protected]
    yield from ((one, f"one of the last {policy.keep_last}") for one in counted[: policy.keep_last])
    for name, form in _PERIODS.items():
        for period, one in _newest_of(counted, getattr(policy, name), _in(form)).items():
            yield one, f"{name} {period}"
    if policy.older_than is not None:
        words = f"younger than {_shown_age(policy.older_than)}"
        yield from ((one, words) for one in oldest_first if now - one.created < policy.older_than)


def _newest_of(
    newest_first: Sequence[Candidate], many: int, period_of: Callable[[Candidate], str]
) -> Mapping[str, Candidate]:
    """The newest of each of the last ``many`` periods that have one, by period."""
    kept: dict[str, Candidate] = {}
    for one in newest_first:
        if len(kept) < many:
            kept.setdefault(period_of(one), one)
    return kept


def _in(form: str) -> Callable[[Candidate], str]:
    return lambda one: datetime.fromtimestamp(one.created, UTC).strftime(form)


def age(text: str) -> float:
    """Seconds from ``36h``, ``30d`` or ``8w``. Raises InvalidValue."""
    match = _AGE.match(text.strip())
    if not match:
        raise InvalidValue(f"{shown(text)} is no age: write hours, days or weeks, for example 36h, 30d or 8w")
    return float(int(match[1]) * _SECONDS[match[2].lower()])


def _shown_age(seconds: float) -> str:
    """The same the other way round, in the largest unit that divides it; else in seconds."""
    unit = next((unit for unit, length in _SECONDS.items() if seconds % length == 0), None)
    return f"{seconds / _SECONDS[unit]:.0f}{unit}" if unit else f"{seconds:g}s"
