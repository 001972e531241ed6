"""``xvmstore node``: storage nodes."""

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import nodes as complete_nodes
from xvmstore.output import as_json, table

_NAME = click.argument("name", required=False, shell_complete=complete_nodes)


@click.group()
@global_options
def node() -> None:
    """Storage nodes: which there are, whether they are fit, what they need."""


@node.command("list")
@global_options
@pass_app
def list_(app: App) -> None:
    """The nodes of the configuration; nothing is connected to."""
    nodes = app.site().config.nodes
    facts = [
        {"name": name, "host": one.host, "backend": one.backend, "release": one.system, "base": one.base}
        for name, one in sorted(nodes.items())
    ]
    if app.json:
        as_json(facts)
        return
    table(("NAME", "HOST", "BACKEND", "RELEASE", "BASE"), [tuple(fact.values()) for fact in facts])


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
    plan = checks.plan_setup(one)
    if apply_ and not app.dry_run:
        app.site().setup_node(name)
        app.note(f"{one.name}: set up")
        return
    if app.json:
        as_json({"rights": checks.rights(one), "commands": plan.lines()})
        return
    click.echo(checks.rights(one))
    click.echo("# what --apply runs on the node")
    app.show_plan(plan)
