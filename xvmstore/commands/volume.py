"""``xvmstore volume``: guests' disks."""

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import volumes as complete_volumes
from xvmstore.output import as_json, fields, table
from xvmstore.results import Volume

_NAME = click.argument("name", metavar="GUEST/DISK", shell_complete=complete_volumes)
_DOM0 = click.option(
    "--dom0", "dom0s", metavar="NAME", multiple=True, help="A dom0 that may use it; may be given several times."
)


@click.group()
@global_options
def volume() -> None:
    """Create, show, resize, rename and destroy guests' disks."""


@volume.command()
@_NAME
@click.option("--size", required=True, metavar="SIZE", help="20G and 20GiB are 20 x 2^30 bytes.")
@click.option("--thin/--thick", "thin", default=None, help="Thick (default) sets the space aside in the pool.")
@click.option("--block-size", metavar="SIZE", help="volblocksize: a power of two from 512 to 128K.")
@click.option("-o", "properties", metavar="PROPERTY=VALUE", multiple=True, help="Any ZFS property; several times.")
@_DOM0
@global_options
@pass_app
def create(
    app: App,
    name: str,
    size: str,
    thin: bool | None,  # noqa: FBT001  click passes it by name
    block_size: str | None,
    properties: tuple[str, ...],
    dom0s: tuple[str, ...],
) -> None:
    """Make a disk for a guest and export it: one round trip.

    The LU gets a GUID, target and LUN of our choice, is verified before anybody may see it, and is then shown to the
    dom0s' initiators only. The same command again finishes what was cut off, or changes nothing; with another size
    it says what differs and exits 1.
    """
    options = {"thin": thin, "block_size": block_size, "properties": _properties(properties)}
    if app.dry_run:
        app.show_plan(app.site().plan_create_volume(name, size, dom0s=dom0s, **options))
        return
    _warn(app, size, dom0s)
    created = app.site().create_volume(name, size, dom0s=dom0s, **options)  # type: ignore[arg-type]
    _warn(app, size, dom0s, vdev=created.volume.vdev)
    if app.json:
        as_json(created.volume.to_json() | {"action": created.action})
        return
    click.echo(f"volume {created.volume.name} on {created.volume.node}: {created.action}")
    _show(app, created.volume)


def _warn(app: App, size: str, dom0s: tuple[str, ...] = (), *, vdev: str | None = None) -> None:
    """What the dom0s' releases of Xen cannot do with such a disk, before there is one; later what its name adds."""
    from xvmstore.site import in_bytes

    said = app.site().warnings(None, in_bytes(size), dom0s=dom0s)
    more = app.site().warnings(vdev, in_bytes(size), dom0s=dom0s)
    for text in said if vdev is None else [text for text in more if text not in said]:
        app.note(text)


def _properties(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.UsageError(f"-o takes PROPERTY=VALUE, not {name!a}")
    return {name: value for name, _, value in pairs}


@volume.command("list")
@click.option("--guest", metavar="NAME", help="Only this guest's disks.")
@global_options
@pass_app
def list_(app: App, guest: str | None) -> None:
    """All volumes of the node."""
    found = app.site().volumes(guest=guest)
    if app.json:
        as_json([one.to_json() for one in found])
        return
    from storage.names import human

    heads = ("NAME", "SIZE", "USED", "LUN", "TARGET", "DOM0S", "VDEV", "STATE")
    table(
        heads,
        [
            (
                one.name,
                human(one.size),
                human(one.used),
                str(one.lun),
                one.target or "-",
                ",".join(one.dom0s) or "-",
                one.vdev or "-",
                state(one),
            )
            for one in found
        ],
    )


def state(one: Volume) -> str:
    """A volume's state in a word or two."""
    if one.trouble:
        return "TROUBLE"
    if one.state != "ready":
        return one.state
    return ("in use" if one.sessions else "exported") if one.exported else "not exported"


@volume.command()
@_NAME
@global_options
@pass_app
def show(app: App, name: str) -> None:
    """All about one volume."""
    found = app.site().volume(name)
    if app.json:
        as_json(found.to_json())
        return
    click.echo(f"volume {found.name} on {found.node}: {state(found)}")
    _show(app, found)


def _show(app: App, one: Volume) -> None:
    from dom0.disk import login
    from storage.names import human

    format_, wiring = app.site().wiring()
    lines = one.disk if wiring == "script" else one.disk_by_path

    kind = "thin" if one.thin else "thick"
    pairs = [
        ("size", f"{human(one.size)} ({one.size} bytes), {kind}, {human(one.block_size)} blocks"),
        ("dataset", one.dataset),
        ("guid", one.guid or "-"),
        ("serial", one.serial or "-"),
        ("target", one.target or "-"),
        ("lun", str(one.lun)),
        ("portals", ", ".join(one.portals)),
        ("dom0s", ", ".join(one.dom0s) or "nobody may see it"),
        ("sessions", ", ".join(one.sessions) or "none"),
    ]
    pairs += [(f"{format_} disk", lines[format_])] if format_ in lines else []
    pairs += [("trouble", text) for text in one.trouble]
    fields(pairs)
    if wiring == "script" and one.exported:
        guest, dom0 = one.name.partition("/")[0], one.dom0s[0] if one.dom0s else "NAME"
        click.echo(f"  before the guest first starts: xvmstore guest prepare {guest} --dom0 {dom0}")
    elif one.xen_disk and one.exported and not one.sessions:
        click.echo("  before the guest starts, on its dom0 (after setting CHAP in the node record, if it is used):")
        for command in login(one.xen_disk):
            click.echo(f"    {command}")


@volume.command()
@_NAME
@click.option("--size", required=True, metavar="SIZE")
@click.option("--force", is_flag=True, help="Allow a smaller size: what lies beyond it is lost.")
@global_options
@pass_app
def resize(app: App, name: str, size: str, force: bool) -> None:  # noqa: FBT001
    """Grow a volume; its LU follows at once, and initiators are told."""
    if app.dry_run:
        app.show_plan(app.site().plan_resize_volume(name, size, force=force))
        return
    _warn(app, size)
    _result(app, app.site().resize_volume(name, size, force=force), "resized")


@volume.command()
@_NAME
@click.argument("new", metavar="GUEST/DISK")
@global_options
@pass_app
def rename(app: App, name: str, new: str) -> None:
    """Give a volume another name. GUID, target and LUN stay as they are."""
    if app.dry_run:
        app.show_plan(app.site().plan_rename_volume(name, new))
        return
    _result(app, app.site().rename_volume(name, new), f"renamed from {name}")


def _result(app: App, found: Volume, done: str) -> None:
    if app.json:
        as_json(found.to_json())
        return
    click.echo(f"volume {found.name} on {found.node}: {done}")
    _show(app, found)


@volume.command()
@_NAME
@click.option("--force", is_flag=True, help="Even while an initiator is logged in: its disk vanishes.")
@click.option("--snapshots", is_flag=True, help="Destroy its snapshots too.")
@global_options
@pass_app
def destroy(app: App, name: str, force: bool, snapshots: bool) -> None:  # noqa: FBT001
    """Destroy a volume: its export and all its data."""
    if app.dry_run:
        app.show_plan(app.site().plan_destroy_volume(name, force=force, snapshots=snapshots))
        return
    app.site().destroy_volume(name, force=force, snapshots=snapshots)
    if app.json:
        as_json({"name": name, "action": "destroyed"})
        return
    click.echo(f"volume {name}: destroyed")
