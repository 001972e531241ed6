"""``xvmstore embedded``: a storage node in a directory, for trying out and tests."""

from pathlib import Path

import click

from xvmstore.app import global_options


@click.group()
@global_options
def embedded() -> None:
    """A storage node in a directory: SSH, ZFS, COMSTAR or iscsitadm, and LUNs with real data, for trying out."""


@embedded.command()
@click.option("--dir", "directory", required=True, type=click.Path(path_type=Path), help="Where it keeps everything.")
@click.option("--flavour", type=click.Choice(["illumos", "b134", "b111", "b85"]), default="illumos", show_default=True)
@global_options
def start(directory: Path, flavour: str) -> None:
    """Run it in the foreground until SIGTERM or Ctrl-C.

    When it is ready it prints one line of JSON (config, ssh_port, iscsi_port). DIR/config.toml is a complete
    configuration: xvmstore -c DIR/config.toml volume create web1/root --size 20G. DIR/exec.log has a line for every
    SSH session; DIR/faults.toml makes chosen commands fail. b111 is OpenSolaris 2009.06, b134
    its last development build, which has COMSTAR and iscsitadm, b85 SXCE build 85, which has iscsitadm alone.
    """
    from embedded.start import main_serve

    raise click.exceptions.Exit(main_serve(directory.absolute(), flavour))
