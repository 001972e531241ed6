"""``xvmstore guest``: a guest and all its disks."""

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.output import as_json


@click.group()
@global_options
def guest() -> None:
    """Guests and their disks."""


@guest.command()
@click.argument("name", metavar="GUEST")
@click.option("--format", "format_", type=click.Choice(["xl"]), default="xl", show_default=True)
@global_options
@pass_app
def disks(app: App, name: str, format_: str) -> None:
    """The disk lines of a guest, to paste into its Xen config."""
    from remote.errors import NotFound, Refused

    found = app.site().volumes(guest=name)
    if not found:
        raise NotFound(f"{app.site().node().name}: guest {name} has no volumes")
    ordered = sorted((one for one in found if one.disk), key=lambda one: (len(one.vdev or ""), one.vdev or ""))
    letters = [one.vdev for one in ordered]
    if len(set(letters)) < len(letters):
        raise Refused(f"guest {name}: two disks have the same device name: {', '.join(str(one) for one in letters)}")
    for one in found:
        if not one.disk:
            app.note(f"{one.name} is left out, its record cannot be right: `xvmstore volume show {one.name}`")
    if app.json:
        as_json([{"name": one.name, "vdev": one.vdev, "disk": one.disk} for one in ordered])
        return
    for one in found:
        if not one.exported:
            app.note(f"{one.name} is not exported: `xvmstore lun export {one.name}`")
    click.echo("disk = [")
    for one in ordered:
        click.echo(f"    '{one.disk[format_]}',")
    click.echo("]")
