"""``xvmstore guest``: a guest and all its disks."""

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import volumes as complete_volumes
from xvmstore.output import as_json, fields, table
from xvmstore.results import Volume

_GUEST = click.argument("name", metavar="GUEST")
_DISK = click.argument("name", metavar="GUEST/DISK", shell_complete=complete_volumes)
_DOM0 = click.option("--dom0", metavar="NAME", required=True, help="The dom0 it runs on.")


@click.group()
@global_options
def guest() -> None:
    """Guests and their disks: disk lines, attach, detach, grow."""


@guest.command("list")
@click.option("--dom0", metavar="NAME", help="Ask this dom0 only.")
@global_options
@pass_app
def list_(app: App, dom0: str | None) -> None:
    """Guests that have volumes: where they run, which disks are attached, and what does not fit together."""
    found = app.site().guests(dom0=dom0)
    if app.json:
        as_json([one.to_json() for one in found])
        return
    rows = []
    for one in found:
        attached = {at.volume: at.vdev for at in one.attached}
        disks = ", ".join(f"{name.partition('/')[2]}={attached.get(name, 'detached')}" for name, _, _ in one.disks)
        domid = "-" if one.domid is None else str(one.domid)
        rows.append((one.name, one.dom0 or "-", domid, one.state, disks, "; ".join(one.trouble) or "-"))
    table(("GUEST", "DOM0", "ID", "STATE", "DISKS", "TROUBLE"), rows)


@guest.command()
@_GUEST
@click.option("--dom0", metavar="NAME", help="For this dom0; else for the node's first default one.")
@click.option("--format", "format_", help="Not the dom0's own.",
              type=click.Choice(["xl", "xm", "xm-solaris", "libvirt", "libvirt-solaris"]))  # fmt: skip
@click.option("--wiring", type=click.Choice(["script", "path"]),
              help="script: block-xvmstore logs in. path: dom0 is logged in before.")  # fmt: skip
@global_options
@pass_app
def disks(app: App, name: str, dom0: str | None, format_: str | None, wiring: str | None) -> None:
    """The disk lines of a guest, to paste into its Xen config."""
    from remote.errors import NotFound

    found = app.site().volumes(guest=name)
    if not found:
        raise NotFound(f"{app.site().node().name}: guest {name} has no volumes")
    ordered = _in_order(app, name, found)
    usual, wired = app.site().wiring(dom0)
    format_, wiring = format_ or usual, wiring or (wired if format_ in (None, usual) else None)
    if app.json:
        as_json(
            [
                {"name": one.name, "vdev": one.vdev, "disk": one.disk, "disk_by_path": one.disk_by_path}
                for one in ordered
            ]
        )
        return
    for one in found:
        if not one.exported:
            app.note(f"{one.name} is not exported: `xvmstore lun export {one.name}`")
        for text in app.site().warnings(one.vdev, one.size, dom0s=[dom0] if dom0 else ()):
            app.note(f"{one.name}: {text}")
    lines = [_line(one, format_, wiring) for one in ordered]
    if format_.startswith("libvirt"):
        click.echo("\n".join(lines))
        return
    click.echo("\n".join(["disk = [", *(f"    '{line}'," for line in lines), "]"]))


def _in_order(app: App, guest: str, found: tuple[Volume, ...]) -> list[Volume]:
    """By device name. Raises Refused when two disks have the same one."""
    from remote.errors import Refused

    ordered = sorted((one for one in found if one.xen_disk), key=lambda one: (len(one.vdev or ""), one.vdev or ""))
    letters = [one.vdev for one in ordered]
    if len(set(letters)) < len(letters):
        raise Refused(f"guest {guest}: two disks have the same device name: {', '.join(str(one) for one in letters)}")
    for one in found:
        if not one.xen_disk:
            app.note(f"{one.name} is left out, its record cannot be right: `xvmstore volume show {one.name}`")
    return ordered


def _line(one: Volume, format_: str, wiring: str | None) -> str:
    """A volume's line; where no wiring is asked for, by path. Raises Refused where there is none."""
    from remote.errors import Refused

    lines = one.disk if wiring == "script" else one.disk_by_path
    if format_ not in lines:
        raise Refused(f"{one.name}: no {format_} line: {_why_none(one, format_, wiring)}")
    return lines[format_]


def _why_none(one: Volume, format_: str, wiring: str | None) -> str:
    if one.guid:
        return f"{format_} cannot use a script: --wiring path"
    prepare = f"`xvmstore guest prepare {one.name.partition('/')[0]} --dom0 NAME`"
    other = ", or use --wiring path" if wiring == "script" else ""
    return f"it gets its GUID when somebody logs in first: log in once by {prepare}, then show it again{other}"


@guest.command("install-script")
@click.option("--dom0", metavar="NAME", required=True, help="The dom0 to install it on.")
@global_options
@pass_app
def install_script(app: App, dom0: str) -> None:
    """Install the hotplug script block-xvmstore on a dom0, and the unit that has guests wait for their LUNs at boot."""
    if app.dry_run:
        from xvmstore.guests import plan_install

        app.show_plan(plan_install(app.site().dom0(dom0)))
        return
    app.site().install_script(dom0)
    app.note(f"{dom0}: block-xvmstore is installed")


@guest.command()
@_GUEST
@_DOM0
@global_options
@pass_app
def prepare(app: App, name: str, dom0: str) -> None:
    """Have a dom0 know a guest's volumes, and try each of them: before the guest first starts there.

    They are described in a file only root can read, since a guest can read its own disk lines. Where no script logs in
    when the guest starts, this logs in, and so does the next boot.
    """
    if app.dry_run:
        from xvmstore.guests import plan_prepare

        site = app.site()
        app.show_plan(plan_prepare(site.dom0(dom0), site.node(), name, site.volumes(guest=name)))
        return
    found = app.site().prepare_guest(name, dom0=dom0)
    if app.json:
        as_json([one.to_json() for one in found])
        return
    click.echo(f"guest {name}: {dom0} can have {', '.join(one.name for one in found)}")


@guest.command()
@_GUEST
@_DOM0
@global_options
@pass_app
def forget(app: App, name: str, dom0: str) -> None:
    """Have a dom0 log out of a guest's volumes and forget them; refused while one is attached."""
    if app.dry_run:
        app.show_plan(app.site().plan_forget_guest(name, dom0=dom0))
        return
    app.site().forget_guest(name, dom0=dom0)
    app.note(f"guest {name}: forgotten on {dom0}")


@guest.command()
@_DISK
@_DOM0
@click.option("--vdev", metavar="NAME", help="Its device name in the guest from now on, as xvdb.")
@global_options
@pass_app
def attach(app: App, name: str, dom0: str, vdev: str | None) -> None:
    """Attach a disk to its guest while it runs: one round trip to the node and one to the dom0.

    Done when the guest has connected it. Refused while another dom0 is logged in to it. What fails is taken back: no
    half attached disk, no session. The guest's config is not changed.
    """
    if app.dry_run:
        app.show_plan(app.site().plan_attach(name, dom0=dom0, vdev=vdev))
        return
    found, already = app.site().attach(name, dom0=dom0, vdev=vdev)
    if app.json:
        as_json(found.to_json() | {"action": "unchanged" if already else "attached"})
        return
    was = " already" if already else ""
    click.echo(f"volume {found.volume}: attached{was} to {found.domain} on {found.dom0} as {found.vdev}")


@guest.command()
@_DISK
@_DOM0
@click.option(
    "--force", is_flag=True, help="Even if the guest uses it, or started from it: it loses what it has not written."
)
@global_options
@pass_app
def detach(app: App, name: str, dom0: str, force: bool) -> None:  # noqa: FBT001
    """Take a disk from its guest while it runs. Unmount it there first: nobody outside can see that it is mounted.

    Refused for the disk the guest started from, and for one that it reads or writes at this moment. No session and no
    device are left on the dom0, unless another guest uses them.
    """
    if app.dry_run:
        app.show_plan(app.site().plan_detach(name, dom0=dom0, force=force))
        return
    app.site().detach(name, dom0=dom0, force=force)
    if app.json:
        as_json({"name": name, "dom0": dom0, "action": "detached"})
        return
    click.echo(f"volume {name}: not attached on {dom0}")


@guest.command()
@_DISK
@click.option("--size", required=True, metavar="SIZE", help="20G and 20GiB are 20 x 2^30 bytes.")
@click.option("--dom0", "dom0s", metavar="NAME", multiple=True, help="Only this dom0; else all that are logged in.")
@global_options
@pass_app
def grow(app: App, name: str, size: str, dom0s: tuple[str, ...]) -> None:
    """Grow a disk while its guest runs: the zvol, the LU, the dom0's device, and what the guest is told."""
    if app.dry_run:
        app.show_plan(app.site().plan_resize_volume(name, size))
        return
    volume, grown = app.site().grow(name, size, dom0s=dom0s)
    if app.json:
        as_json(volume.to_json() | {"grown": [one.to_json() for one in grown]})
        return
    from storage.names import human

    click.echo(f"volume {volume.name} on {volume.node}: {human(volume.size)}")
    if grown:
        fields([(one.dom0, one.note) for one in grown])
    else:
        click.echo("  no dom0 that can be reached is logged in to it")


@guest.command("check-migration")
@_GUEST
@click.option("--from", "source", metavar="DOM0", required=True, help="Where it runs.")
@click.option("--to", "destination", metavar="DOM0", required=True, help="Where it is to run.")
@global_options
@pass_app
def check_migration(app: App, name: str, source: str, destination: str) -> None:
    """Would a guest find its disks on another dom0? Exits 1 if not. A Linux one logs in for a moment."""
    found = app.site().check_migration(name, source=source, destination=destination)
    if app.json:
        as_json([one.to_json() for one in found])
    else:
        table(
            ("", "CHECK", "FOUND", "WHAT TO DO"),
            [("ok" if one.ok else "FAILED", one.what, one.found, one.advice) for one in found],
        )
    if not all(one.ok for one in found):
        raise click.exceptions.Exit(1)
