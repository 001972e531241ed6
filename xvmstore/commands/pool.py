"""``xvmstore pool``: pools of a storage node."""

from dataclasses import asdict

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.output import as_json, table


@click.group()
@global_options
def pool() -> None:
    """Pools of a storage node."""


@pool.command("list")
@global_options
@pass_app
def list_(app: App) -> None:
    """All pools: sizes and health."""
    found = app.site().pools()
    if app.json:
        as_json([asdict(one) for one in found])
        return
    from storage.names import human

    def shown(size: int | None) -> str:
        return "-" if size is None else human(size)

    rows = [
        (one.name, shown(one.size), shown(one.allocated), shown(one.free),
         "-" if one.capacity is None else f"{one.capacity}%", one.health)
        for one in found
    ]  # fmt: skip
    table(("NAME", "SIZE", "ALLOC", "FREE", "CAP", "HEALTH"), rows)


@pool.command()
@click.argument("name", required=False, metavar="[POOL]")
@global_options
@pass_app
def status(app: App, name: str | None) -> None:
    """Health, scan and errors, with the tree of devices. Exits 1 if a pool is not ONLINE."""
    found = app.site().pool_status(name)
    if app.json:
        as_json([asdict(one) for one in found])
    for one in () if app.json else found:
        click.echo(f"{one.name}: {one.state}")
        for label, text in (("status", one.status), ("action", one.action), ("scan", one.scan), ("errors", one.errors)):
            if text:
                click.echo(f"  {label}: {text}")
        rows = []
        for vdev in one.vdevs:
            counts = ("-" if count is None else str(count) for count in (vdev.read, vdev.write, vdev.cksum))
            rows.append((f"{'  ' * vdev.depth}{vdev.name}", vdev.state, *counts, vdev.note))
        table(("VDEV", "STATE", "READ", "WRITE", "CKSUM", ""), rows)
    if any(one.state != "ONLINE" for one in found):
        raise click.exceptions.Exit(1)
