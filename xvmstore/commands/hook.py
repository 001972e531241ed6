"""``xvmstore hook``: checkpoints before a package manager changes anything."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.hooks import KINDS, POLICIES, Kind, install, plan, remove
from xvmstore.output import as_json

if TYPE_CHECKING:
    from xvmstore.hooks import Policy

_KIND = click.argument("kind", type=click.Choice(tuple(KINDS)))
_ROOT = click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Below DIR, not /.",
)


@click.group()
@global_options
def hook() -> None:
    """Have apt, dnf, zypper, pkg or pkgin take a checkpoint before they change anything.

    zypper, pkg and pkgin have no hook that can stop them: theirs is a wrapper, xvmstore-zypper and so on, to be called
    in their place.
    """


@hook.command("install")
@_KIND
@click.option(
    "--policy", type=click.Choice(POLICIES), help="Without a checkpoint: stop (block, as at first), or go on."
)
@_ROOT
@click.argument("checkpoint", metavar="[-- CHECKPOINT...]", nargs=-1)
@global_options
@pass_app
def install_(app: App, kind: str, policy: "Policy | None", root: Path, checkpoint: tuple[str, ...]) -> None:
    """Put a hook in place, or change it.

    CHECKPOINT is what it takes one of: --local, this machine (as at first), --local --root DATASET, or guests by name.
    """
    wanted = KINDS[kind]
    if app.dry_run:
        files = plan(wanted, policy=policy, checkpoint=checkpoint, root=root)
        _tell(app, [f"write /{target}" for target, _, _ in files])
        return
    _tell(app, list(install(wanted, policy=policy, checkpoint=checkpoint, root=root)))
    if wanted.wrapper:
        app.note(f"nothing calls it by itself: use xvmstore-{kind} in place of {kind}")


@hook.command()
@_KIND
@global_options
@pass_app
def show(app: App, kind: str) -> None:
    """Print a hook's files."""
    if app.json:
        as_json(_facts(KINDS[kind]))
        return
    for file in KINDS[kind].files:
        app.note(f"/{file.target}:")
        click.echo(file.text, nl=False)


@hook.command("remove")
@_KIND
@_ROOT
@global_options
@pass_app
def remove_(app: App, kind: str, root: Path) -> None:
    """Take a hook away; hook.conf stays."""
    if app.dry_run:
        _tell(app, [f"remove /{file.target}" for file in KINDS[kind].files])
        return
    _tell(app, list(remove(KINDS[kind], root=root)))


def _tell(app: App, lines: list[str]) -> None:
    if app.json:
        as_json({"dry_run": app.dry_run, "files": lines})
        return
    for line in lines:
        click.echo(line)


def _facts(kind: Kind) -> dict[str, object]:
    files = {f"/{file.target}": file.text for file in kind.files}
    return {"kind": kind.name, "can_block": kind.can_block, "wrapper": kind.wrapper, "files": files}
