"""Which snapshots a policy keeps: by example, and what must hold for all of them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.errors import InvalidValue
from storage.retention import Candidate, Decision, Policy, age, plan

DAY = 86400
NOW = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
COUNTS = ("keep_last", "hourly", "daily", "weekly", "monthly", "yearly")


def at(*moment: int, protected: str | None = None) -> Candidate:
    """A snapshot named after the moment it was made at."""
    when = datetime(*moment, tzinfo=UTC)  # type: ignore[misc,arg-type]
    return Candidate(f"{when:%Y-%m-%dT%H:%M}", int(when.timestamp()), protected)


def kept(candidates: list[Candidate], policy: Policy, now: float = NOW) -> dict[str, str]:
    """What stays, with its reason."""
    return {one.name: one.reason for one in plan(candidates, policy, now=now) if one.keep}


def test_every_one_is_decided_oldest_first() -> None:
    """In whatever order they come; what goes says so."""
    found = plan([at(2026, 11, 24), at(2026, 11, 22), at(2026, 11, 23)], Policy(keep_last=1), now=NOW)
    assert found == (
        Decision("2026-11-22T00:00", False, "no rule keeps it"),
        Decision("2026-11-23T00:00", False, "no rule keeps it"),
        Decision("2026-11-24T00:00", True, "the newest; one of the last 1"),
    )


def test_the_newest_of_each_period() -> None:
    """A day is one of UTC, a week one of ISO 8601: Sunday is its last day, and 2026 has no week that begins in 2027."""
    days = [at(2026, 11, 22, 23, 59), at(2026, 11, 23), at(2026, 11, 23, 23, 59), at(2026, 11, 24)]
    assert {"2026-11-24T00:00", "2026-11-23T23:59"} == set(kept(days, Policy(daily=2)))
    assert {"2026-11-24T00:00", "2026-11-22T23:59"} == set(kept(days, Policy(weekly=2)))
    turn = [at(2026, 12, 28), at(2027, 1, 3), at(2027, 1, 4)]
    assert kept(turn, Policy(weekly=2)) == {
        "2027-01-03T00:00": "weekly 2026-W53",
        "2027-01-04T00:00": "the newest; weekly 2027-W01",
    }
    assert {"2026-12-28T00:00", "2027-01-04T00:00"} == set(kept(turn, Policy(yearly=2)))


def test_a_period_without_one_is_not_counted() -> None:
    """Whoever was off for months keeps what there was."""
    gaps = [at(2024, 1, 1), at(2025, 3, 1), at(2025, 3, 2), at(2026, 11, 1)]
    assert ["2025-03-02T00:00", "2026-11-01T00:00"] == list(kept(gaps, Policy(monthly=2)))
    assert ["2024-01-01T00:00", "2025-03-02T00:00", "2026-11-01T00:00"] == list(kept(gaps, Policy(monthly=9)))


def test_every_rule_that_keeps_one_is_named() -> None:
    """With the period it stands for."""
    policy = Policy(keep_last=3, hourly=1, daily=1, weekly=1, monthly=1, yearly=1, older_than=30.0 * DAY)
    assert kept([at(2026, 11, 24, 9, 30)], policy) == {
        "2026-11-24T09:30": "the only one; one of the last 3; hourly 2026-11-24T09Z; daily 2026-11-24; "
        "weekly 2026-W48; monthly 2026-11; yearly 2026; younger than 30d"
    }


def test_protected_ones_stay_and_take_no_place() -> None:
    """The words are the reason; two others are kept beside it."""
    held = at(2026, 11, 23, protected="held by backup")
    some = [at(2026, 11, 20), at(2026, 11, 21), at(2026, 11, 22), held]
    assert kept(some, Policy(keep_last=2)) == {
        "2026-11-21T00:00": "one of the last 2",
        "2026-11-22T00:00": "one of the last 2",
        "2026-11-23T00:00": "held by backup; the newest",
    }


def test_nothing_younger_goes() -> None:
    """Exactly as old is old enough; alone it is a policy too."""
    ages = [Candidate("old", NOW - 2 * DAY), Candidate("young", NOW - 2 * DAY + 1), Candidate("newest", NOW)]
    assert kept(ages, Policy(older_than=2.0 * DAY)) == {
        "young": "younger than 2d",
        "newest": "the newest; younger than 2d",
    }
    assert "younger than 90s" in kept(ages, Policy(older_than=90.0))["newest"]


def test_policies_that_cannot_be() -> None:
    """Nothing named, and numbers below zero, are refused with what to give."""
    for empty in ({}, {"keep_last": 0, "older_than": 0.0}):
        with pytest.raises(InvalidValue, match=r"at least one of keep-last, hourly, .* and older-than$"):
            Policy(**empty)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"^keep-last cannot be -1: give 0 or more$"):
        Policy(keep_last=-1)
    with pytest.raises(InvalidValue, match=r"^older-than cannot be -1\.0"):
        Policy(daily=1, older_than=-1.0)


def test_ages() -> None:
    """Hours, days, weeks, and nothing else."""
    assert [36 * 3600.0, 30.0 * DAY, 56.0 * DAY] == [age(text) for text in ("36h", "30d", " 8W ")]
    for wrong in ("", "h", "3", "0d", "-1d", "1.5d", "3m", "1d2h", "1d\n1", "\u0663d"):
        with pytest.raises(InvalidValue, match=r"is no age: .*36h, 30d or 8w$"):
            age(wrong)


# --- what holds for any policy and any snapshots ---------------------------------------------------------------------

# Crowded, so that they share hours, days and weeks, and even seconds; and spread over years.
_MOMENTS = st.one_of(st.integers(NOW - 3 * DAY, NOW + 3600), st.integers(NOW - 900 * DAY, NOW))
_PROTECTED = st.one_of(st.none(), st.none(), st.none(), st.just("held"))
_CANDIDATES = st.lists(st.tuples(_MOMENTS, _PROTECTED), max_size=30).map(
    lambda rows: [Candidate(f"s{number}", created, protected) for number, (created, protected) in enumerate(rows)]
)
_RULES = st.fixed_dictionaries(
    {name: st.integers(0, 5) for name in COUNTS} | {"older_than": st.none() | st.floats(1, 100 * DAY)}
)
_POLICIES = _RULES.filter(lambda rules: any(rules.values())).map(lambda rules: Policy(**rules))  # type: ignore[arg-type]


@given(_CANDIDATES, _POLICIES)
def test_what_never_goes(candidates: list[Candidate], policy: Policy) -> None:
    """The newest, which may be the only one; what is protected; what is too young."""
    found = {one.name: one.keep for one in plan(candidates, policy, now=NOW)}
    assert {one.name for one in candidates} == set(found)
    # Of two of one second the one that was given last.
    newest = max(reversed(candidates), key=lambda one: one.created, default=None)
    young = [one for one in candidates if policy.older_than and NOW - one.created < policy.older_than]
    held = [one for one in candidates if one.protected]
    assert all(found[one.name] for one in (*young, *held, *([newest] if newest else [])))


@given(_CANDIDATES, st.integers(1, 40))
def test_keep_last_keeps_as_many(candidates: list[Candidate], many: int) -> None:
    """At least so many, if there are; and of those that are not protected the newest, no more."""
    found = kept(candidates, Policy(keep_last=many))
    assert len(found) >= min(many, len(candidates))
    counted = sorted((one for one in candidates if not one.protected), key=lambda one: one.created)
    assert {one.name for one in counted[-many:]} == set(found) - {one.name for one in candidates if one.protected}


@given(_CANDIDATES, _POLICIES, st.sampled_from((*COUNTS, "older_than")), st.integers(1, 5))
def test_a_larger_policy_keeps_a_superset(candidates: list[Candidate], policy: Policy, rule: str, more: int) -> None:
    """Whichever number grows."""
    larger = replace(policy, **{rule: (getattr(policy, rule) or 0) + more * (DAY if rule == "older_than" else 1)})
    assert set(kept(candidates, policy)) <= set(kept(candidates, larger))


@given(_CANDIDATES, _POLICIES)
def test_pruning_twice_is_pruning_once(candidates: list[Candidate], policy: Policy) -> None:
    """Of what survived nothing goes, for the same reasons; even if only some of the others went."""
    first = kept(candidates, policy)
    survivors = [one for one in candidates if one.name in first]
    assert set(first) == set(kept(survivors, policy))
    half_way = [one for number, one in enumerate(candidates) if one.name in first or number % 2]
    assert set(first) == set(kept(half_way, policy))
