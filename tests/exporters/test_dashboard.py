"""The Grafana dashboard: sound as far as JSON shows it, and every query is answered by a real Prometheus."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.exporters.prometheus import FILES, NAMES, Prometheus, names_in, world

__all__ = ["world"]
DASHBOARD: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Prometheus itself makes.
OWN = {"ALERTS", "scrape_duration_seconds"}


def expressions() -> Iterator[tuple[str, str]]:
    """Each query with its panel's title, Grafana's variables as they stand in the file."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def filled_in(expression: str) -> str:
    """As Grafana would send it, for all machines."""
    text = expression.replace("$__rate_interval", "1m").replace("$node", ".*").replace("$dom0", ".*")
    assert "$" not in text, expression
    return text


def test_dashboard_as_a_whole() -> None:
    """It has an address that stays, and a choice of Prometheus, of nodes and of dom0s; no panel stands on another."""
    assert "xvmstore" == DASHBOARD["uid"]
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert "prometheus" == variables["datasource"]["query"]
    assert {"datasource", "node", "dom0"} == variables.keys()
    for name in ("node", "dom0"):
        assert names_in(variables[name]["query"]["query"]) <= NAMES
    assert 25 <= len(PANELS) <= 35
    ids = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert len(ids) == len(DASHBOARD["panels"])
    taken = Counter(
        (column, line)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    )
    assert {1} == set(taken.values())
    assert 24 > max(column for column, _ in taken)


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_what_a_panel_has(panel: dict[str, Any]) -> None:
    """A title, a unit, the chosen Prometheus; queries of the chosen machines, with a legend but in a table."""
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "${datasource}" == panel["datasource"]["uid"]
    letters = [target["refId"] for target in panel["targets"]]
    assert len(letters) == len(set(letters))
    for target in panel["targets"]:
        assert "${datasource}" == target["datasource"]["uid"]
        assert ("table" == panel["type"]) == (not target["legendFormat"])
        for name, matchers in re.findall(r"(xvmstore_\w+)(?:\{(.*?)\})?", target["expr"]):
            assert "$node" in matchers or "$dom0" in matchers, name


def test_metrics_are_in_the_catalogue() -> None:
    """No panel asks for what the exporter does not have."""
    assert set() == {name for _, text in expressions() for name in names_in(text)} - NAMES
    assert OWN >= {title for _, text in expressions() for title in re.findall(r"\b(ALERTS|scrape_\w+|up)\b", text)}


@pytest.mark.node
@pytest.mark.parametrize(("title", "text"), list(expressions()))
def test_every_query_is_answered(world: Prometheus, title: str, text: str) -> None:
    """It is PromQL, and with a sample of every metric there is, labelled as in truth, it gives at least one number."""
    assert world.formatted(filled_in(text))
    found = world.query(filled_in(text))
    assert [one for one in found if math.isfinite(float(one["value"][1]))], title


@pytest.mark.node
def test_guests_disks_are_joined(world: Prometheus) -> None:
    """From a guest's disk on a dom0 to its volume and its LUN on a node."""
    (text,) = (expr for title, expr in expressions() if title == "Written by guests")
    found = {
        tuple(one["metric"][name] for name in ("instance", "guest", "vbd", "volume", "node"))
        for one in world.query(filled_in(text))
    }
    assert found == {
        (f"xen{number}", f"web{number}", vbd, f"web{number}/{disk}", f"san{number}")
        for number in "12"
        for vbd, disk in (("xvda", "root"), ("xvdb", "data"))
    }
    (text,) = (expr for _, expr in expressions() if "max by (lun)" in expr)
    assert [0.0, 0.0, 1.0, 1.0] == sorted(float(one["value"][1]) for one in world.query(filled_in(text)))
