"""What ``xvmstore checkpoint ... --local`` does: checkpoints of this machine, without any configuration."""

from collections.abc import Sequence
from typing import Any

import click

from xvmstore.app import App
from xvmstore.output import as_json, table


def create(app: App, *, root: str | None, reason: str, command: str, packages: str) -> None:
    """Take one; prints its name."""
    from xvmstore import local_checkpoints

    if app.dry_run:
        raise click.UsageError("--dry-run has nothing to show of --local")
    made = local_checkpoints.create(
        reason=reason or "manual", command=command or None, packages=packages.split() or None, root=root
    )
    _show(app, made.to_json(), made.name)


def list_(app: App) -> None:
    """All of them, oldest first."""
    from xvmstore import local_checkpoints

    found = local_checkpoints.list_()
    if app.json:
        as_json({"checkpoints": [one.to_json() for one in found]})
        return
    rows = [(one.name, one.created, ",".join(one.datasets), one.reason, one.outcome or "",
             "boot environment" if one.boot_environment else "") for one in found]  # fmt: skip
    table(("NAME", "TAKEN", "DATASETS", "REASON", "OUTCOME", ""), rows)


def note(app: App, words: Sequence[str], *, outcome: str) -> None:
    """Record how what came after one ended."""
    from xvmstore import local_checkpoints

    if len(words) != 1:
        raise click.UsageError("with --local give the checkpoint's name alone")
    found = local_checkpoints.note(words[0], outcome=outcome)
    if app.json:
        as_json(found.to_json())


def destroy(app: App, words: Sequence[str]) -> None:
    """Destroy some, with their boot environments."""
    from xvmstore import local_checkpoints

    for name in words:
        local_checkpoints.destroy(name)
        if not app.json:
            click.echo(f"destroyed {name}")
    if app.json:
        as_json({"destroyed": list(words)})


def _show(app: App, made: dict[str, Any], name: str) -> None:
    if app.json:
        as_json(made)
    else:
        click.echo(name)
