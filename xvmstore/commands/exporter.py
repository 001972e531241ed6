"""``xvmstore exporter``: metrics for Prometheus."""

import logging
import signal
import sys
from pathlib import Path

import click

from remote.errors import Unreachable
from xvmstore.app import App, global_options, pass_app
from xvmstore.version import __version__


@click.group()
@global_options
def exporter() -> None:
    """Pools, volumes, LUNs, guests and their latencies, for Prometheus."""


@exporter.command()
@click.option("--listen", multiple=True, metavar="ADDRESS:PORT", help="Instead of the configured ones.")
@global_options
@pass_app
def serve(app: App, listen: tuple[str, ...]) -> None:
    """Answer Prometheus until SIGTERM; SIGHUP reads the configuration again.

    /probe?target=NAME asks a node or dom0 of the configuration, /metrics tells of the exporter itself.
    """
    from exporters import memory
    from exporters.server import Server, run
    from exporters.site import ExporterSite
    from exporters.web_config import WebConfig
    from xvmstore import config
    from xvmstore.exporter_targets import targets

    # Until it can be answered: a service manager may be quick to ask for what is read anyway now.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if app.verbosity == 0:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("xvmstore").setLevel(logging.INFO)
    memory.give_back()
    found = config.load(app.config)
    wanted = found.exporter
    site = ExporterSite(targets(found), version=__version__)

    def reload() -> None:
        site.take(targets(config.load(app.config)))

    web = WebConfig(found.file(wanted.web_config) if wanted.web_config else None)
    server = Server(
        site, listen=listen or wanted.listen, web_config=web, timeout=wanted.timeout, offset=wanted.timeout_offset
    )
    for address in server.addresses:
        app.note(f"listening on {address}")
    try:
        run(server, reload=reload)
    finally:
        site.close()


@exporter.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "openmetrics"]), default="text", show_default=True)
@click.option(
    "--textfile", type=click.Path(path_type=Path), help="A .prom file for node_exporter, replaced whole; for cron."
)
@click.option("--timeout", type=float, help="Seconds; snapshots, which are asked too, have a time of their own.")
@global_options
@pass_app
def once(app: App, name: str, form: str, textfile: Path | None, timeout: float | None) -> None:
    """Ask a node or dom0 once, and print what Prometheus would get, snapshots included.

    In a textfile every series has the label `machine`. Exits 4 if the machine did not answer; a textfile then says so.
    """
    from exporters import textfile as files
    from exporters.exposition import labelled, render
    from exporters.scraper import Scraper
    from xvmstore import config
    from xvmstore.exporter_targets import target

    found = config.load(app.config)
    scraper = Scraper(target(found, name))
    sheet = scraper.once(budget=timeout or found.exporter.timeout)
    if textfile:
        files.write(textfile, render(sheet, also=labelled(("machine",), (name,))[1:-1]))
    elif scraper.answered is not None:
        click.echo(render(sheet, "openmetrics" if form == "openmetrics" else "text"), nl=False)
    if scraper.answered is None:
        raise Unreachable(scraper.trouble)
