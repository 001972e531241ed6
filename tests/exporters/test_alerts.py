"""The alert rules: Prometheus takes them, each fires when it should and only then, on labels as series have them."""

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters import catalogue
from exporters.exposition import render
from tests.exporters.prometheus import FILES, NAMES, Prometheus, names_in, world
from tests.exporters.sheets import shown
from tests.exporters.world import MACHINES, World

__all__ = ["world"]
RULES = Path(__file__).parent / "rules"
# What nobody should wait for; all else must last.
AT_ONCE = {"XvmstoreVdevErrorsGrowing"}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in _rules() if "alert" in rule]


def promtool(*words: str, given: bytes | None = None, cwd: Path | None = None) -> str:
    """What promtool says of something it finds right."""
    done = subprocess.run(("promtool", *words), input=given, capture_output=True, timeout=120, cwd=cwd, check=False)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said


@pytest.mark.node
def test_prometheus_takes_the_files() -> None:
    """The example configuration with the rules beside it, as they are shipped."""
    assert f"{len(_rules())} rules found" in promtool("check", "config", "prometheus.yml", cwd=FILES)


@pytest.mark.node
@pytest.mark.parametrize("name", sorted(os.listdir(RULES)))
def test_rules_fire_when_they_should(name: str) -> None:
    """Series over minutes and days, and which alerts these give: no more and no less, and what a few of them say."""
    assert "SUCCESS" in promtool("test", "rules", name, cwd=RULES)


def test_every_alert_is_tested() -> None:
    """Each fires somewhere in the tests of rules."""
    told = "".join(
        sample["labels"]
        for path in RULES.iterdir()
        for test in yaml.safe_load(path.read_text())["tests"]
        for question in test.get("promql_expr_test", ())
        for sample in question["exp_samples"]
        if 'alertstate="pending"' not in sample["labels"]
    )
    assert [] == [rule["alert"] for rule in ALERTS if f'alertname="{rule["alert"]}"' not in told]


@pytest.mark.parametrize("rule", ALERTS, ids=[f"{rule['alert']}-{rule['labels']['severity']}" for rule in ALERTS])
def test_what_an_alert_has(rule: dict[str, Any]) -> None:
    """How bad it is, what is wrong with what, what it means, and what to do; in sentences that end."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description", "action"} == rule["annotations"].keys()
    for name, text in rule["annotations"].items():
        assert (name != "summary") == text.endswith("."), text
    assert ("for" in rule) == (rule["alert"] not in AT_ONCE)


def test_metrics_are_in_the_catalogue() -> None:
    """No rule asks for what the exporter does not have."""
    assert set() == {name for rule in _rules() for name in names_in(rule["expr"])} - NAMES


def test_families_have_names_of_their_own() -> None:
    """In OpenMetrics a counter's family has no _total: no gauge may have that name."""
    names = Counter(one.name.removesuffix("_total") for one in catalogue.METRICS)
    assert [] == [name for name, times in names.items() if times > 1]


def test_world_has_every_metric() -> None:
    """What rules and panels are tried on has a sample of each; both parsers read it the same."""
    sheets = [World().probe(name, budget=1) for name in MACHINES]
    there = {metric for sheet in sheets for metric, samples in sheet if samples}
    itself = set(catalogue.CATALOGUE["The exporter itself (/metrics)"])
    assert set(catalogue.METRICS) - itself == there
    assert all(shown(sheet) for sheet in sheets)


@pytest.mark.node
@pytest.mark.parametrize("name", ["san1", "san2", "xen1", "xen2"])
def test_promtool_takes_every_metric(name: str) -> None:
    """Names and help texts are as Prometheus' own linter wants them."""
    assert "" == promtool("check", "metrics", given=render(World().probe(name, budget=1)))


@pytest.mark.node
def test_alerts_on_real_label_sets(world: Prometheus) -> None:
    """With the exporter's own labels, every alert finds what is wrong, and nothing where all is well."""
    world.eventually('{__name__=~".+:p95_rate10m"}')
    silent, false = [], []
    for rule in ALERTS:
        found = world.query(rule["expr"])
        if not found:
            silent.append(rule["alert"])
        false += [(rule["alert"], one["metric"]) for one in found if one["metric"].get("instance") in {"san1", "xen1"}]
    assert [] == false
    # It says that there is nothing at all.
    assert ["XvmstoreNothingWatched"] == silent
