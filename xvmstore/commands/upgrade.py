"""``xvmstore upgrade``: run an upgrade of a guest, and put the guest back when it is not well afterwards."""

import shlex
from typing import TYPE_CHECKING

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands.completion import guests as complete_guests
from xvmstore.output import as_json

if TYPE_CHECKING:
    from xvmstore.upgrades import Rehearsed, Report


@click.command()
@click.argument("guest", shell_complete=complete_guests)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--check",
    "checks",
    metavar="CHECK",
    multiple=True,
    help="http://..., ping:HOST, ssh:HOST, tcp:HOST:PORT, or a command; several times.",
)
@click.option("--tries", type=click.IntRange(1), default=10, show_default=True, help="Rounds of checks.")
@click.option("--wait", type=click.FloatRange(0), default=6.0, show_default=True, help="Seconds between rounds.")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=20.0, show_default=True, help="Seconds for one check."
)
@click.option("--reason", metavar="TEXT", default="", help="Recorded with the checkpoint.")
@click.option("--post", is_flag=True, help="Take another checkpoint when all is well, paired with the first.")
@click.option("--rehearse", is_flag=True, help="Run it on a copy of the guest; the guest itself goes on.")
@click.option("--as", "copy", metavar="NAME", help="With --rehearse: the copy's name [GUEST-rehearsal].")
@click.option("--resume", is_flag=True, help="Go on with an upgrade that was cut off.")
@click.option("--abort", is_flag=True, help="Put the guest back, whatever came of its upgrade.")
@global_options
@pass_app
def upgrade(
    app: App, /, guest: str, command: tuple[str, ...], *, rehearse: bool, resume: bool, abort: bool, **options: object
) -> None:  # fmt: skip
    """Take a checkpoint of GUEST, run COMMAND here, look whether the guest is well; if not, put it back.

    COMMAND is what upgrades it, for example: -- ssh web1 apt-get -y dist-upgrade. When it fails, or a check does not
    hold, the guest is stopped on its dom0, its disks go back to the checkpoint under the same GUIDs and LUNs, and it is
    started again; the failed upgrade's disks are kept to be looked at. How far it is stands on the node: whoever finds
    an upgrade cut off goes on with --resume, or gives it up with --abort.
    """
    _one_of(command, resume=resume, abort=abort, rehearse=rehearse)
    copy = options.pop("copy")
    upgrades = app.site().upgrades
    if resume or abort:
        _nothing_to_show(app)
        _report(app, upgrades.resume(guest, say=app.note) if resume else upgrades.abort(guest, say=app.note))
        return
    if app.dry_run:
        app.show_plan(upgrades.plan(guest, command, **options))
        click.echo(shlex.join(command))
        return
    if rehearse:
        name = str(copy) if copy else f"{guest}-rehearsal"
        _rehearsed(app, upgrades.rehearse(guest, command, name=name, say=app.note, **options))
        return
    _report(app, upgrades.upgrade(guest, command, say=app.note, **options))


def _one_of(command: tuple[str, ...], *, resume: bool, abort: bool, rehearse: bool) -> None:
    if sum((bool(command), resume, abort)) != 1:
        raise click.UsageError("give either a COMMAND after --, or --resume, or --abort")
    if rehearse and not command:
        raise click.UsageError("--rehearse needs a COMMAND after --")


def _nothing_to_show(app: App) -> None:
    if app.dry_run:
        raise click.UsageError("--dry-run has nothing to show here: `xvmstore checkpoint list` tells what is under way")


def _report(app: App, report: "Report") -> None:
    if app.json:
        as_json(_json(report))
    elif report.outcome == "done":
        click.echo(f"guest {report.guest} is upgraded; {report.checkpoint} is the way back")
    if report.outcome == "done":
        return
    kept = f"; what became of it is {report.kept}" if report.kept else ""
    click.echo(f"xvmstore: {report.guest} is back at {report.checkpoint}: {report.why}{kept}", err=True)
    raise click.exceptions.Exit(1)


def _json(report: "Report") -> dict[str, object]:
    checks = [{"check": one.check.text, "well": one.well, "found": one.found} for one in report.checks]
    return {
        "guest": report.guest,
        "checkpoint": report.checkpoint,
        "outcome": report.outcome,
        "exit": report.exit,
        "checks": checks,
        "kept": report.kept,
    }


def _rehearsed(app: App, done: "Rehearsed") -> None:
    made, report = done.rehearsal, done.report
    if app.json:
        as_json(_json(report) | {"rehearsal": made.guest, "of": made.of, "started_on": done.started})
    else:
        click.echo(f"{made.guest} ({made.of} as of {made.checkpoint}): {report.outcome}")
        click.echo(f"  `xvmstore checkpoint promote {made.of} {made.guest}` makes it {made.of}; "
                   f"`checkpoint discard {made.guest}` throws it away")  # fmt: skip
    if report.outcome != "done":
        click.echo(f"xvmstore: the rehearsal {made.guest} went wrong: {report.why}", err=True)
        raise click.exceptions.Exit(1)
