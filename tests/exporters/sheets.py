"""What a collector makes of texts, as both official parsers read it back too."""

from typing import Any

import prometheus_client.openmetrics.parser
import prometheus_client.parser

from exporters.collector import Collector
from exporters.exposition import Sheet, render

Families = dict[str, set[tuple[str, tuple[tuple[str, str], ...], float]]]


def emitted(collector: Collector, *texts: str) -> Sheet:
    """The samples and complaints."""
    sheet = Sheet()
    collector.emit(sheet, *texts)
    return sheet


def shown(sheet: Sheet) -> str:
    """The whole exposition but for the HELP lines, which stand in the modules once."""
    text = render(sheet).decode()
    read = _families(prometheus_client.parser, text)
    assert read == _families(prometheus_client.openmetrics.parser, render(sheet, "openmetrics").decode())
    assert sum(map(len, read.values())) == len(sheet)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# HELP "))


def samples(sheet: Sheet) -> list[str]:
    """Its lines with values."""
    return [line for line in shown(sheet).splitlines() if not line.startswith("#")]


def _families(parser: Any, text: str) -> Families:
    return {
        one.name.removesuffix("_total"): {
            (sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in one.samples
        }
        for one in parser.text_string_to_metric_families(text)
    }
