"""The command line: wires the commands, turns errors into one line and an exit code. Nothing else prints errors.

Exit codes are an API: 0 done, 1 refused or failed, 2 usage or configuration, 3 partly done (run it again), 4 node
unreachable, 130 interrupted.
"""

import importlib
import logging
import os
import sys

import click

from remote.errors import XvmError
from xvmstore.app import App, global_options
from xvmstore.version import __version__

_COMMANDS = {
    "checkpoint": "xvmstore.commands.checkpoint",
    "demo": "xvmstore.commands.demo",
    "embedded": "xvmstore.commands.embedded",
    "exporter": "xvmstore.commands.exporter",
    "guest": "xvmstore.commands.guest",
    "hook": "xvmstore.commands.hook",
    "lun": "xvmstore.commands.lun",
    "node": "xvmstore.commands.node",
    "pool": "xvmstore.commands.pool",
    "upgrade": "xvmstore.commands.upgrade",
    "volume": "xvmstore.commands.volume",
}


class _Lazy(click.Group):
    """Imports a command's module when it is called: an upgrade hook should not wait for what it does not use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        found: click.Command = getattr(module, cmd_name)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="xvmstore")
@global_options
def cli() -> None:
    """Disks of Xen guests on ZFS: zvols on a storage node, exported over iSCSI, wired into the guest's config.

    One operation is one script over one SSH round trip; run again after any failure, it finishes or says why not.

    \b
    Exit codes: 0 done; 1 refused or failed, the message says why; 2 usage or configuration;
    3 partly done, run it again; 4 node unreachable; 130 interrupted.

    \b
    Configuration (TOML): --config, $XVMSTORE_CONFIG, ~/.config/xvmstore/config.toml, /etc/xvmstore/config.toml.
    Shell completion: eval "$(_XVMSTORE_COMPLETE=bash_source xvmstore)", likewise zsh_source, fish_source.
    """


def run(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  one return an exit code
    """Run one command line and give its exit code."""
    app = App()
    try:
        # Without standalone mode click gives back the code of an Exit instead of raising it.
        code = cli.main(arguments, prog_name="xvmstore", standalone_mode=False, obj=app)
    except click.ClickException as error:
        _say(_usage(error))
        return 2
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what a node was told goes on there: run the same command again to see")
        return 130
    except XvmError as error:
        _say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more may be written, not even by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _say(f"{error.filename or 'output'}: {error.strerror or error}")
        return 1
    except Exception as error:
        logging.getLogger("xvmstore").debug("traceback", exc_info=True)
        _say(f"bug in xvmstore {__version__}: {type(error).__name__}: {error}; -v shows where")
        return 1
    finally:
        app.close()
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context is not None else ""
    return f"{error.format_message()}{hint}"


def _say(text: str) -> None:
    click.echo(f"xvmstore: {text}", err=True)


def main() -> None:
    """The console script."""
    sys.exit(run())
