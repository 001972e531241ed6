"""Both text forms: whole, and as the official parsers read them."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporters import catalogue
from exporters.exposition import Sheet, counter, gauge, histogram, labelled, render

PARSERS: tuple[Any, ...] = (read_text, read_openmetrics)
SIZE = gauge("size_bytes", 'A size, in "bytes"\\n.', "pool", "volume", source="test")
READ = counter("read_total", "A count.", source="test")
WAIT = histogram("wait_seconds", "Buckets.", "vdev", source="test")
STATE = gauge("state", "One of them.", "pool", "state", source="test")


def sheet() -> Sheet:
    """One of each kind."""
    found = Sheet()
    found.put(SIZE, 20 << 30, "tank", "web1/root")
    found.put(SIZE, 0.5, 'a "b" \\ c', "line\nend")
    found.put(READ, 7)
    for le, count in (("4.194303e-03", 3), ("+Inf", 3)):
        found.put(WAIT, count, "mirror-0/c1t0d0", le)
    found.one_of(STATE, ("online", "faulted"), "faulted", "tank")
    return found


def test_text() -> None:
    """The whole of it."""
    expected = r"""# HELP xvmstore_size_bytes A size, in "bytes"\\n.
# TYPE xvmstore_size_bytes gauge
xvmstore_size_bytes{pool="tank",volume="web1/root"} 21474836480
xvmstore_size_bytes{pool="a \"b\" \\ c",volume="line\nend"} 0.5
# HELP xvmstore_read_total A count.
# TYPE xvmstore_read_total counter
xvmstore_read_total 7
# HELP xvmstore_wait_seconds Buckets.
# TYPE xvmstore_wait_seconds histogram
xvmstore_wait_seconds_bucket{vdev="mirror-0/c1t0d0",le="4.194303e-03"} 3
xvmstore_wait_seconds_bucket{vdev="mirror-0/c1t0d0",le="+Inf"} 3
# HELP xvmstore_state One of them.
# TYPE xvmstore_state gauge
xvmstore_state{pool="tank",state="online"} 0
xvmstore_state{pool="tank",state="faulted"} 1
"""
    assert expected == render(sheet()).decode()


def test_official_parsers_agree() -> None:
    """Both forms say the same, and OpenMetrics takes a histogram that has no sum."""
    read = {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in PARSERS[1](render(sheet(), "openmetrics").decode())
        for one in family.samples
    }
    text = {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in PARSERS[0](render(sheet()).decode())
        for one in family.samples
    }
    assert text == read
    assert 0.5 == read["xvmstore_size_bytes", (("pool", 'a "b" \\ c'), ("volume", "line\nend"))]


@given(st.text(), st.floats(allow_nan=False))
def test_any_label_and_value_comes_back(label: str, value: float) -> None:
    """Whatever a pool is called; what is no character (a lone surrogate) becomes one."""
    found = Sheet()
    found.put(SIZE, value, label, "x")
    families = list(PARSERS[1](render(found, "openmetrics").decode()))
    (sample,) = families[0].samples
    assert label.encode("utf-8", "replace").decode() == sample.labels["pool"]
    assert value == sample.value or math.isclose(value, sample.value)


def test_a_label_for_all() -> None:
    """A textfile has no target labels, so every sample gets one."""
    text = render(sheet(), also=labelled(("target",), ('san"1',))[1:-1]).decode()
    assert 'xvmstore_read_total{target="san\\"1"} 7\n' in text
    assert 'xvmstore_size_bytes{target="san\\"1",pool="tank",volume="web1/root"} 21474836480\n' in text


def test_a_label_set_given_twice_is_there_once() -> None:
    """A duplicate would cost Prometheus the whole scrape."""
    found = Sheet()
    found.put(READ, 1)
    found.put(READ, 2)
    other = Sheet()
    other.put(READ, 3)
    assert {} == found.add(other, room=10)
    assert "xvmstore_read_total 2\n" == render(found).decode().splitlines(keepends=True)[-1]


def test_no_room_costs_whole_metrics() -> None:
    """And it is told which, and how many series they had."""
    room = Sheet()
    assert {"xvmstore_size_bytes": 2, "xvmstore_wait_seconds": 2, "xvmstore_state": 2} == room.add(sheet(), room=1)
    assert 1 == len(room)


def test_every_metric_there_is_gets_the_label() -> None:
    """Whatever it is called: two machines' files in one directory must not have the same series."""
    found = Sheet()
    for metric in catalogue.METRICS:
        found.put(metric, 1, *("x" for _ in metric.labels))
    lines = [line for line in render(found, also='machine="san1"').decode().splitlines() if line[0] != "#"]
    assert len(catalogue.METRICS) == len(lines)
    assert [] == [line for line in lines if '{machine="san1"' not in line]
