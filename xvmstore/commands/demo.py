"""``xvmstore demo``: placeholder until written."""

import click

from xvmstore.app import global_options


@click.command()
@global_options
def demo() -> None:
    """Show the main job."""
