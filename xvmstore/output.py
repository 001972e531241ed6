"""Prints facts: a table on a terminal, plain columns elsewhere, JSON with --json. Data goes to stdout, nothing else."""

import json
import sys
from collections.abc import Sequence

import click


def as_json(value: object) -> None:
    """One JSON document, indented for people, stable for programs."""
    click.echo(json.dumps(value, indent=2, default=list))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their heads; no rows print nothing but the heads."""
    if sys.stdout is not None and sys.stdout.isatty():
        _rich_table(heads, rows)
        return
    # A name some other program gave may not be text in this terminal's encoding.
    rows = [[cell.encode("utf-8", "backslashreplace").decode() for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        drawn.add_column(head)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Labels and values, one a line; values are never wrapped, for they are there to be copied."""
    width = max(len(label) for label, _ in pairs)
    for label, value in pairs:
        click.echo(f"  {label.ljust(width)}  {value}")
