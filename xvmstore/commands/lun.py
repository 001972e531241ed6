"""``xvmstore lun``: exports and sessions."""

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import volumes as complete_volumes
from xvmstore.output import as_json, table

_NAME = click.argument("name", metavar="GUEST/DISK", shell_complete=complete_volumes)


@click.group()
@global_options
def lun() -> None:
    """Export volumes to dom0s, take them back, see who is logged in."""


@lun.command()
@_NAME
@click.option("--dom0", "dom0s", metavar="NAME", multiple=True, help="A dom0 that may use it; several times.")
@global_options
@pass_app
def export(app: App, name: str, dom0s: tuple[str, ...]) -> None:
    """Export a volume, under the GUID, target and LUN it always had."""
    if app.dry_run:
        app.show_plan(app.site().plan_export_lun(name, dom0s=dom0s))
        return
    found = app.site().export_lun(name, dom0s=dom0s)
    if app.json:
        as_json(found.to_json())
        return
    click.echo(f"volume {found.name}: exported as {found.target} LUN {found.lun} to {', '.join(found.dom0s)}")


@lun.command()
@_NAME
@click.option("--dom0", metavar="NAME", help="Take it away from this dom0 only.")
@click.option("--force", is_flag=True, help="Even while an initiator is logged in: its disk vanishes.")
@global_options
@pass_app
def unexport(app: App, name: str, dom0: str | None, force: bool) -> None:  # noqa: FBT001
    """Take a volume's export away. Its data stay, and so does its identity: export brings the same LUN back."""
    if app.dry_run:
        app.show_plan(app.site().plan_unexport_lun(name, dom0=dom0, force=force))
        return
    found = app.site().unexport_lun(name, dom0=dom0, force=force)
    if app.json:
        as_json(found.to_json())
        return
    click.echo(f"volume {found.name}: {'taken away from ' + dom0 if dom0 else 'not exported any more'}")


@lun.command()
@click.argument("what", metavar="DATASET|GUID")
@_NAME
@click.option("--dom0", "dom0s", metavar="NAME", multiple=True, help="A dom0 that may use it; several times.")
@global_options
@pass_app
def adopt(app: App, what: str, name: str, dom0s: tuple[str, ...]) -> None:
    """Make a zvol that somebody else made a volume, named by its dataset or its LU's GUID.

    Its data stay, and so does the GUID of its LU, if it has one. It is renamed to GUEST/DISK below the base dataset;
    the target and views it had are replaced by what the configuration says, so nobody may be logged in to it.
    """
    if app.dry_run:
        app.show_plan(app.site().plan_adopt_lun(what, name, dom0s=dom0s))
        return
    found = app.site().adopt_lun(what, name, dom0s=dom0s)
    if app.json:
        as_json(found.to_json())
        return
    click.echo(f"volume {found.name}: was {what}; exported as {found.target} LUN {found.lun}, GUID {found.guid or '-'}")


@lun.command("list")
@global_options
@pass_app
def list_(app: App) -> None:
    """Every LU of the node, also those xvmstore did not make."""
    found = app.site().luns()
    if app.json:
        as_json([one.to_json() for one in found])
        return
    rows = []
    for one in found:
        views = ", ".join(f"{number}@{host}" for host, _, number in one.views) or "masked"
        size = str(one.size) if one.size is not None else "-"
        rows.append((one.guid, one.volume or "-", size, one.state, views, one.path or "-"))
    table(("GUID", "VOLUME", "BYTES", "STATE", "LUN@HOSTS", "PATH"), rows)


@lun.command()
@global_options
@pass_app
def sessions(app: App) -> None:
    """Who is logged in to what."""
    found = app.site().sessions()
    if app.json:
        as_json([one.to_json() for one in found])
        return
    rows = [
        (
            one.session.initiator,
            one.dom0 or "-",
            one.session.target,
            ", ".join(one.volumes) or "-",
            one.session.since or "-",
        )
        for one in found
    ]
    table(("INITIATOR", "DOM0", "TARGET", "VOLUMES", "SINCE"), rows)
