"""``xvmstore demo``: the main job, start to end, on an embedded node that is thrown away afterwards."""

import json
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remote.errors import XvmError
from xvmstore.app import global_options

if TYPE_CHECKING:
    from embedded.initiator import Lun, Session
    from xvmstore.results import Volume
    from xvmstore.site import Site

_MIB, _AT = 1 << 20, 10 << 30


@click.command()
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Keep the node here, for more trying out.")
@global_options
def demo(directory: Path | None) -> None:
    """Make a guest's volume on an embedded node, use it over iSCSI as a dom0 would, undo an upgrade that went wrong."""
    with tempfile.TemporaryDirectory(prefix="xvmstore-demo-") as scratch, _node(directory or Path(scratch)) as config:
        _tour(config, Path(scratch))
        if directory:
            click.echo(f"\nThe node's files are in {directory}: xvmstore embedded start --dir {directory}")


@contextmanager
def _node(directory: Path) -> Iterator[Path]:
    """An embedded node of its own process; gives its configuration."""
    argv = [sys.executable, "-m", "xvmstore", "embedded", "start", "--dir", str(directory.absolute())]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise XvmError("the embedded node did not start; what it said stands above")
            ready = json.loads(line)
            click.echo(
                f"An embedded storage node runs: SSH on port {ready['ssh_port']}, iSCSI on {ready['iscsi_port']}."
            )
            yield Path(ready["config"])
        finally:
            process.terminate()


def _tour(config: Path, scratch: Path) -> None:
    from xvmstore.site import Site

    _type(config, "volume create web1/root --size 20G")
    _type(config, "volume list")
    _type(config, "guest disks web1")
    with Site.load(config) as site:
        volume = site.volume("web1/root")
        _failed_upgrade(config, site, volume, scratch, _write_and_read(site, volume))
    _type(config, "checkpoint list web1")


def _failed_upgrade(config: Path, site: "Site", volume: "Volume", scratch: Path, written: bytes) -> None:
    """One that spoils the guest's disk and leaves it unwell: its old bytes come back, under the same LUN."""
    script = scratch / "bad-upgrade"
    program = f"from xvmstore.commands.demo import spoil; spoil({str(config)!r})"
    script.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)}\n")
    script.chmod(0o700)
    _type(config, f"upgrade web1 --check 'tcp:127.0.0.1:9' --tries 1 -- {script}", exit_=1)
    with _session(site, volume) as session:
        same = session.read(_AT, _MIB) == written
    if not same:
        raise XvmError("the upgrade was not undone")
    click.secho(f"\nAs the initiator of {volume.dom0s[0]}, which was told of nothing:", bold=True)
    click.echo(f"  the same LUN has the same {_MIB} bytes as before the upgrade")


def spoil(config: str) -> None:
    """What the demo's upgrade does to the guest's disk."""
    from xvmstore.site import Site

    with Site.load(config) as site, _session(site, site.volume("web1/root")) as session:
        session.write(_AT, b"\0" * _MIB)
    click.echo(f"  bad-upgrade: {_MIB} bytes at 10 GiB are overwritten")


def _session(site: "Site", volume: "Volume") -> "Session":
    """Logged in with the dom0's name and secret."""
    from embedded.initiator import Session

    return Session(_lun(site, volume))


def _lun(site: "Site", volume: "Volume") -> "Lun":
    from embedded.initiator import Lun

    access = site.node().access(volume.dom0s[0])
    secret = access.chap_secret.value if access.chap_secret else None
    return Lun(volume.portals[0], volume.target or "", volume.lun or 0, access.initiator, access.chap_user, secret)


def _type(config: Path, command: str, *, exit_: int = 0) -> None:
    """Show a command and run it, as an admin would; it must end as is expected."""
    click.secho(f"\n$ xvmstore {command}", bold=True)
    argv = [sys.executable, "-m", "xvmstore", "-c", str(config), *shlex.split(command)]
    if subprocess.run(argv, check=False).returncode != exit_:
        raise XvmError(f"`xvmstore {command}` failed; what it said stands above")


def _write_and_read(site: "Site", volume: "Volume") -> bytes:
    """Log in with the dom0's name and secret, write, grow the volume meanwhile, read back; what was written."""
    from embedded.initiator import InitiatorError, Session

    lun = _lun(site, volume)
    click.secho(f"\nAs the initiator of {volume.dom0s[0]}, over iSCSI:", bold=True)
    written = secrets.token_bytes(_MIB)
    try:
        with Session(lun) as session:
            click.echo(f"  LUN {lun.number} of {lun.target}: {session.capacity()[0]} bytes")
            session.write(_AT, written)
            click.echo(f"  wrote {_MIB} random bytes at 10 GiB")
            site.resize_volume(volume.name, "30G")
            click.echo(f"  grown to 30G meanwhile; the initiator sees {session.capacity()[0]} bytes")
        with Session(lun) as session:
            same = session.read(_AT, _MIB) == written
    except InitiatorError as error:
        raise XvmError(f"the LUN cannot be used over iSCSI: {error}; are tgt and libiscsi7 installed?") from error
    if not same:
        raise XvmError("what was read back is not what was written")
    click.echo(f"  logged in again and read {_MIB} bytes back: the same")
    try:
        Session(replace(lun, initiator="iqn.2026-11.org.example:stranger"))
    except InitiatorError as error:
        click.echo(f"  a stranger with the right secret is refused: {error}")
        return written
    raise XvmError("a stranger could log in")
