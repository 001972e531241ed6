"""``xvmstore node``: storage nodes."""

from typing import IO, TYPE_CHECKING

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import nodes as complete_nodes
from xvmstore.output import as_json, table

if TYPE_CHECKING:
    from xvmstore.nodes import StorageNode

_NAME = click.argument("name", required=False, shell_complete=complete_nodes)


@click.group()
@global_options
def node() -> None:
    """Storage nodes: which there are, whether they are fit, what they need."""


@node.command("list")
@global_options
@pass_app
def list_(app: App) -> None:
    """The nodes of the configuration; nothing is connected to.

    What the configuration leaves to a node is shown as it was the last time anybody looked, else as "auto".
    """
    site = app.site()
    facts = [_listed(site.node(name)) for name in sorted(site.config.nodes)]
    if app.json:
        as_json(facts)
        return
    shown = ("name", "host", "backend", "release", "base")
    table([name.upper() for name in shown], [[str(fact[name]) for name in shown] for fact in facts])


def _listed(one: "StorageNode") -> dict[str, object]:
    """One line of the list."""
    found, auto = one.capabilities, one.settings.written is None
    backend, release = ("auto", "auto") if auto and found is None else one.written
    return {
        "name": one.name,
        "host": one.settings.host,
        "backend": backend,
        "release": release,
        "base": one.settings.base,
        "capabilities": found.to_json() if found else None,
    }


@node.command()
@_NAME
@global_options
@pass_app
def check(app: App, name: str | None) -> None:
    """Look at everything an operation needs: reachability, rights, services, pool. Exits 1 if something is not well."""
    found = app.site().check_node(name)
    if app.json:
        as_json([one.to_json() for one in found])
    else:
        rows = [("ok" if one.ok else "FAILED", one.what, one.found, one.advice) for one in found]
        table(("", "CHECK", "FOUND", "WHAT TO DO"), rows)
    if not all(one.ok for one in found):
        raise click.exceptions.Exit(1)


@node.command()
@_NAME
@click.option("--apply", "apply_", is_flag=True, help="Make the base dataset, services, groups and CHAP secrets.")
@global_options
@pass_app
def setup(app: App, name: str | None, apply_: bool) -> None:  # noqa: FBT001
    """Print the rights the node's administrator must grant, and what --apply would run.

    --apply carries it out: base dataset, services, portal group, the default dom0s' host groups, and their CHAP
    secrets, which are set anew.
    """
    from xvmstore import checks

    one = app.site().node(name)
    if apply_ and not app.dry_run:
        app.site().setup_node(name)
        app.note(f"{one.name}: set up")
        return
    # What it prints depends on what the node is.
    one.settle()
    plan = checks.plan_setup(one)
    if app.json:
        as_json({"rights": checks.rights(one), "commands": plan.lines()})
        return
    click.echo(checks.rights(one))
    click.echo("# what --apply runs on the node")
    app.show_plan(plan)


@node.command("migrate-backend")
@_NAME
@click.option("--apply", "apply_", is_flag=True, help="Do it; otherwise only tell what would be done.")
@click.option("--dom0", "dom0s", metavar="NAME", multiple=True, help="For volumes of which nobody knows who used them.")
@click.option("--end-others", is_flag=True, help="iscsitadm's other exports may end.")
@click.option("--script", type=click.File("x", lazy=True), help="A new file for the script, instead of stdout.")
@global_options
@pass_app
def migrate_backend(
    app: App,
    name: str | None,
    apply_: bool,  # noqa: FBT001
    dom0s: tuple[str, ...],
    end_others: bool,  # noqa: FBT001
    script: IO[str] | None,
) -> None:
    """From iscsitadm to COMSTAR: target names, LUNs and GUIDs stay.

    Before the node's upgrade (backend iscsitadm) --apply writes down on the zvols what only the old daemon knows; after
    it (backend comstar), or where both programs are there, it exports the volumes through COMSTAR. What iscsitadm
    exports is printed as a script, before anything is changed.
    """
    site = app.site()
    found = site.look_at_migration(name, dom0s=dom0s)
    if script:
        script.write(found.script)
        script.close()
    elif not app.json:
        click.echo(found.script, nl=False)
    plan = site.plan_migrate_backend(found, name, end_others=end_others)
    doing = apply_ and not app.dry_run
    if app.json:
        volumes = [one.to_json() for one in site.migrate_backend(found, name, end_others=end_others)] if doing else []
        as_json({"dry_run": not doing, "script": found.script, "commands": plan.lines(), "volumes": volumes})
        return
    if not doing:
        click.echo("# what --apply runs on the node")
        for line in plan.lines():
            click.echo(f"# {line}")
        return
    for one in site.migrate_backend(found, name, end_others=end_others):
        app.note(
            f"volume {one.name}: {one.target} LUN {one.lun}, GUID {one.guid or '-'}, {', '.join(one.dom0s) or 'nobody'}"
        )
