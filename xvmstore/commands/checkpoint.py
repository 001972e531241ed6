"""``xvmstore checkpoint``: snapshots of all of a guest's disks, and the way back to them."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from xvmstore.app import App, global_options, pass_app
from xvmstore.commands import checkpoint_local
from xvmstore.commands.completion import guests as complete_guests
from xvmstore.output import as_json, fields, table

if TYPE_CHECKING:
    from storage.checkpoints import Checkpoint
    from xvmstore.guest_state import GuestState

_GUEST = click.argument("guest", shell_complete=complete_guests)
_NAME = click.argument("name", metavar="CHECKPOINT")
_LOCAL = click.option("--local", is_flag=True, help="Of this machine's own file systems; no GUEST is named then.")


@click.group()
@global_options
def checkpoint() -> None:
    """Take checkpoints of guests, and go back to them.

    A CHECKPOINT is named by its name, by a part of it that only it has, or as "latest".
    """


@checkpoint.command()
@click.argument("guests", metavar="GUEST...", nargs=-1, shell_complete=complete_guests)
@_LOCAL
@click.option("--root", metavar="DATASET", help="With --local: this dataset and all below it, instead of what is at /.")
@click.option("--reason", metavar="TEXT", default="", help="Why; shown by list.")
@click.option("--command", metavar="TEXT", default="", help="What is about to be run.")
@click.option("--packages", metavar="TEXT", default="", help="What is about to be changed, with versions.")
@click.option("--freeze", "hold", flag_value="freeze", help="Freeze the guests' file systems meanwhile, over SSH.")
@click.option("--pause", "hold", flag_value="pause", help="Pause the guests on their dom0 meanwhile.")
@global_options
@pass_app
def create(
    app: App, /, guests: tuple[str, ...], *, local: bool, root: str | None, hold: str | None, **options: str
) -> None:
    """Take one atomic snapshot of all disks of a guest; of several guests, at one instant. One round trip.

    It is held against accidental destroy. What is in the guests' memory is not in it: a guest that goes back to it
    starts as after a power cut.
    """
    if bool(guests) == local or (root and not local) or (hold and local):
        raise click.UsageError("name guests, or give --local (with --root, if at all, and without --freeze or --pause)")
    if local:
        checkpoint_local.create(app, root=root, **options)
        return
    site = app.site()
    if app.dry_run:
        app.show_plan(site.checkpoints.plan_create(*guests, **options))
        return
    taken = site.checkpoints.create(*guests, hold=hold, **options)
    if app.json:
        from xvmstore.results import checkpoint_json

        found = [checkpoint_json(one) for one in taken.checkpoints]
        as_json({"name": taken.name, "cost": taken.cost, "available": taken.available, "checkpoints": found})
        return
    from storage.names import human

    click.echo(taken.name)
    app.note(f"took {human(taken.cost)} of the pool's {human(taken.available)} at once")


@checkpoint.command("list")
@click.argument("guest", required=False, shell_complete=complete_guests)
@_LOCAL
@global_options
@pass_app
def list_(app: App, guest: str | None, local: bool) -> None:  # noqa: FBT001
    """Checkpoints, oldest first; of one guest also what rollbacks put aside, and what is under way."""
    if local:
        checkpoint_local.list_(app)
        return
    from xvmstore.results import checkpoint_json

    site = app.site()
    state = site.checkpoints.state(guest) if guest else None
    found = state.checkpoints if state else site.checkpoints.list()
    if app.json:
        kept = [{"name": name, "kept_for": why} for name, why in state.kept.items()] if state else []
        as_json({"checkpoints": [checkpoint_json(one) for one in found], "kept": kept})
        return
    heads = ("GUEST", "NAME", "TAKEN (UTC)", "DISKS", "HOLDS", "REASON", "OUTCOME", "")
    table(heads, [*(_row(one) for one in found), *(_kept_rows(state) if state else ())])
    if state and state.journal.rollback:
        app.note(f"a rollback of {guest} was cut off ({state.journal.rollback}): run it again to finish it")
    if state and state.journal.upgrade:
        app.note(f"an upgrade of {guest} is under way ({state.journal.upgrade}): xvmstore upgrade --resume or --abort")


def _row(one: "Checkpoint") -> tuple[str, ...]:
    from storage.names import human

    taken = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.created))
    remarks = [f"not of {', '.join(one.missing)}"] if one.missing else []
    remarks += ["not held"] if one.held is False else []
    remarks += [one.note.consistency] if one.note.consistency != "crash" else []
    disks = ",".join(one.disks)
    return one.guest, one.name, taken, disks, human(one.used), one.note.reason, one.outcome, "; ".join(remarks)


def _kept_rows(state: "GuestState") -> list[tuple[str, ...]]:
    from storage import rollback

    rows: list[tuple[str, ...]] = []
    for name, why in state.kept.items():
        disks = state.aside.volumes(f"{rollback.kept(state.parent)}/{name}")
        short = ",".join(one.rpartition("/")[2] for one in disks)
        rows.append((state.guest, name, "", short, "", f"what was there before {why}", "", "put aside"))
    return rows


@checkpoint.command()
@_GUEST
@_NAME
@global_options
@pass_app
def show(app: App, guest: str, name: str) -> None:
    """One checkpoint: what is recorded of it, what it holds, what going back to it would lose."""
    from storage.names import human
    from xvmstore.results import checkpoint_json

    found, loss, why_not = app.site().checkpoints.show(guest, name)
    if app.json:
        more = {"newer": list(loss.snapshots), "written_since": loss.written, "needed": why_not}
        as_json(checkpoint_json(found) | more)
        return
    click.echo(f"checkpoint {found.name} of {found.guest}")
    rows = [
        (key, str(value)) for key, value in checkpoint_json(found).items() if value and key not in {"guest", "name"}
    ]
    rows = [(key, human(found.used) if key == "used" else value) for key, value in rows]
    fields([*rows, ("since", str(loss)), ("may go", why_not or "yes")])


@checkpoint.command()
@_GUEST
@_NAME
@click.option("--discard-newer", is_flag=True, help="Destroy what is newer instead of keeping it.")
@click.option(
    "--confirm", metavar="GUEST", help="With --discard-newer: the guest's name, instead of being asked for it."
)
@global_options
@pass_app
def rollback(app: App, guest: str, name: str, discard_newer: bool, confirm: str | None) -> None:  # noqa: FBT001
    """Put all disks of a guest back to a checkpoint. The guest must not run.

    GUID, target, LUN and views stay: its dom0 logs in again without any change. What the guest has now is kept, and
    listed as "put aside": rolling back to that undoes the rollback. With --discard-newer all that is newer than the
    checkpoint is destroyed. Cut off half-way, the same command finishes it.
    """
    site = app.site()
    if app.dry_run:
        app.show_plan(site.checkpoints.plan_roll_back(guest, name, discard=discard_newer))
        return
    agreed = _agreed(app, guest, name, confirm) if discard_newer else None
    done = site.checkpoints.roll_back(guest, name, discard=discard_newer, agreed=agreed)
    if app.json:
        as_json({"guest": guest, "name": done.name, "kept": done.kept, "lost": list(done.lost),
                 "volumes": [one.to_json() for one in done.volumes]})  # fmt: skip
        return
    click.echo(f"guest {guest} is back at {done.name}")
    if done.kept:
        click.echo(
            f"  what it had before is {done.kept}: `xvmstore checkpoint rollback {guest} {done.kept}` undoes this"
        )
    elif done.lost:
        click.echo(f"  destroyed: {', '.join(done.lost)}")


def _agreed(app: App, guest: str, name: str, confirm: str | None) -> tuple[str, ...]:
    """What is lost is named, and agreed to in words: the snapshots that may go."""
    _, loss, _ = app.site().checkpoints.show(guest, name)
    if confirm is None:
        app.note(f"This destroys {loss}.")
        if not sys.stdin.isatty():
            raise click.UsageError(f"--discard-newer destroys {loss}: agree with --confirm {guest}")
        confirm = click.prompt("Type the guest's name to destroy that", err=True)
    if confirm != guest:
        raise click.UsageError(f"--confirm must name the guest, {guest}: nothing was done")
    return loss.snapshots


@checkpoint.command()
@_GUEST
@click.argument("name", metavar="[CHECKPOINT]", default="latest")
@click.option("--as", "copy", metavar="NAME", help="The other guest's name [GUEST-rehearsal].")
@click.option("--dom0", "dom0s", metavar="NAME", multiple=True, help="A dom0 that may use it; several times.")
@global_options
@pass_app
def rehearse(app: App, guest: str, name: str, copy: str | None, dom0s: tuple[str, ...]) -> None:
    """Make another guest of a checkpoint, to try something on; both may run at the same time.

    Its disks are clones, exported under GUIDs and targets of their own; it is a guest like any other. What its
    configuration must have instead of the guest's own is printed: name, disks, and no network.
    """
    site = app.site()
    made = site.checkpoints.rehearse(guest, name, copy=copy or f"{guest}-rehearsal", dom0s=dom0s)
    if app.json:
        as_json({"guest": made.guest, "of": made.of, "checkpoint": made.checkpoint,
                 "volumes": [one.to_json() for one in made.volumes]})  # fmt: skip
        return
    format_, wiring = site.wiring(next(iter(dom0s), None))
    click.echo(made.config(format_, wiring), nl=False)


@checkpoint.command()
@click.argument("copy", metavar="REHEARSAL", shell_complete=complete_guests)
@global_options
@pass_app
def discard(app: App, copy: str) -> None:
    """Destroy a rehearsal, with its disks. A guest that is none is refused."""
    gone = app.site().checkpoints.discard(copy)
    if app.json:
        as_json({"rehearsal": copy, "destroyed": list(gone)})
        return
    click.echo(f"destroyed {copy}: {', '.join(gone)}")


@checkpoint.command()
@_GUEST
@click.argument("copy", metavar="REHEARSAL")
@global_options
@pass_app
def promote(app: App, guest: str, copy: str) -> None:
    """Have a rehearsal's disks become the guest's. Neither may run.

    GUIDs, targets and LUNs are the guest's, so its dom0 logs in again without any change; the disks it had are put
    aside, and rolling back to them undoes this. Cut off half-way, the same command finishes it.
    """
    done = app.site().checkpoints.promote(guest, copy)
    if app.json:
        as_json({"guest": guest, "name": done.name, "kept": done.kept})
        return
    click.echo(f"guest {guest} has the disks of {copy}")
    click.echo(f"  what it had before is {done.kept}: `xvmstore checkpoint rollback {guest} {done.kept}` undoes this")


@checkpoint.command()
@click.argument("words", metavar="GUEST CHECKPOINT...", nargs=-1, required=True, shell_complete=complete_guests)
@_LOCAL
@click.option(
    "--snapshots", is_flag=True, help="With the snapshots in what was put aside, newer checkpoints for example."
)
@global_options
@pass_app
def destroy(app: App, words: tuple[str, ...], local: bool, snapshots: bool) -> None:  # noqa: FBT001
    """Destroy checkpoints, or what a rollback put aside. What a clone or somebody else's hold needs stays."""
    if local:
        checkpoint_local.destroy(app, words)
        return
    guest, *names = words
    if not names:
        raise click.UsageError("name a guest, and its checkpoints that are to go")
    if app.dry_run:
        app.show_plan(app.site().checkpoints.plan_destroy(guest, *names))
        return
    gone = app.site().checkpoints.destroy(guest, *names, snapshots=snapshots)
    if app.json:
        as_json({"guest": guest, "destroyed": list(gone)})
        return
    for one in gone:
        click.echo(f"destroyed {one}")


@checkpoint.command()
@click.argument("words", metavar="GUEST CHECKPOINT", nargs=-1, required=True, shell_complete=complete_guests)
@_LOCAL
@click.option("--outcome", metavar="TEXT", required=True, help="For example: done, failed.")
@global_options
@pass_app
def note(app: App, words: tuple[str, ...], local: bool, outcome: str) -> None:  # noqa: FBT001
    """Record how what came after a checkpoint ended."""
    if local:
        checkpoint_local.note(app, words, outcome=outcome)
        return
    if len(words) != 2:
        raise click.UsageError("name a guest and one of its checkpoints")
    guest, name = words
    if app.dry_run:
        app.show_plan(app.site().checkpoints.plan_note(guest, name, outcome=outcome))
        return
    found = app.site().checkpoints.note(guest, name, outcome=outcome)
    if app.json:
        from xvmstore.results import checkpoint_json

        as_json(checkpoint_json(found))


@checkpoint.command()
@click.argument("guests", metavar="[GUEST]...", nargs=-1, shell_complete=complete_guests)
@click.option("--keep-last", type=click.IntRange(0), default=0, help="The newest so many.")
@click.option("--keep-hourly", type=click.IntRange(0), default=0, help="The newest of each of the last so many hours.")
@click.option("--keep-daily", type=click.IntRange(0), default=0, help="Likewise days.")
@click.option("--keep-weekly", type=click.IntRange(0), default=0, help="Likewise weeks.")
@click.option("--keep-monthly", type=click.IntRange(0), default=0, help="Likewise months.")
@click.option("--keep-yearly", type=click.IntRange(0), default=0, help="Likewise years.")
@click.option("--older-than", metavar="AGE", help="Nothing younger is destroyed: 36h, 30d, 8w.")
@global_options
@pass_app
def prune(app: App, /, guests: tuple[str, ...], older_than: str | None, **rules: int) -> None:
    """Destroy checkpoints that no rule keeps. Without GUEST, of all guests.

    Never the newest, so never the only one; never one that has clones, that somebody else holds, or that an upgrade
    needs. --dry-run says what would go, and why the others stay.
    """
    from storage.retention import Policy, age

    counts = {name if name == "keep_last" else name.removeprefix("keep_"): count for name, count in rules.items()}
    policy = Policy(**counts, older_than=age(older_than) if older_than else None)
    decided = app.site().checkpoints.prune(*guests, policy=policy, dry_run=app.dry_run)
    _pruned(app, [(guest, one.name, one.keep, one.reason) for guest, each in decided.items() for one in each])


def _pruned(app: App, rows: Sequence[tuple[str, str, bool, str]]) -> None:
    if app.json:
        as_json([dict(zip(("guest", "name", "keep", "reason"), row, strict=True)) for row in rows])
        return
    word = "would go" if app.dry_run else "destroyed"
    table(
        ("GUEST", "NAME", "", "WHY"), [(guest, name, "stays" if keep else word, why) for guest, name, keep, why in rows]
    )
