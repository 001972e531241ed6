"""What every command shares: the global options, the site they lead to, and how a dry run is shown."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from xvmstore.plan import Plan
    from xvmstore.site import Site

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class App:
    """The global options of one invocation."""

    config: Path | None = None
    node: str | None = None
    json: bool = False
    dry_run: bool = False
    verbosity: int = 0
    _site: "Site | None" = field(default=None, repr=False)

    def site(self) -> "Site":
        """The configured site; read when the first command wants it."""
        if self._site is None:
            from xvmstore.site import Site

            self._site = Site.load(self.config, node=self.node)
        return self._site

    def close(self) -> None:
        """Close the site's connections."""
        if self._site is not None:
            self._site.close()

    def show_plan(self, plan: "Plan") -> None:
        """What would be run, one command a line, secrets masked."""
        if self.json:
            from xvmstore.output import as_json

            as_json({"dry_run": True, "commands": plan.lines()})
            return
        for line in plan.lines():
            click.echo(line)

    def note(self, text: str) -> None:
        """A remark on stderr, unless --quiet."""
        if self.verbosity >= 0:
            click.echo(text, err=True)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        app = context.ensure_object(App)
        if value not in (None, False, 0):
            setattr(app, name, value)

    return keep


def _verbosity(by: int) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click's own signature
        app = context.ensure_object(App)
        if value:
            app.verbosity = by
            logging.basicConfig(stream=sys.stderr, format="%(message)s")
            # Not the root's: fabric and paramiko tell much that helps nobody here.
            logging.getLogger("xvmstore").setLevel(logging.DEBUG if by > 0 else logging.ERROR)

    return keep


_OPTIONS = (
    click.option("-c", "--config", type=click.Path(path_type=Path), expose_value=False, callback=_set("config"),
                 help="Configuration file."),
    click.option("--node", metavar="NAME", expose_value=False, callback=_set("node"),
                 help="Storage node; may be left out where the configuration has only one."),
    click.option("--json", is_flag=True, expose_value=False, callback=_set("json"),
                 help="Print JSON: an API, sizes in bytes."),
    click.option("-n", "--dry-run", is_flag=True, expose_value=False, callback=_set("dry_run"),
                 help="Print the commands a change would run, and run none of them; questions are asked."),
    click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_verbosity(1),
                 help="Tell what is going on, on stderr."),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_verbosity(-1),
                 help="Say nothing but results and errors."),
)  # fmt: skip


def global_options(command: Command) -> Command:
    """Give a command the global options, so that they may stand before or after its name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


pass_app = click.make_pass_decorator(App, ensure=True)
