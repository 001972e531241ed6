"""What one script over one SSH channel is worth: the same create-and-export, sent in four ways, in one run.

    .venv/bin/python -m benchmarks.roundtrips [ROUNDS]

All four run the very same commands on the same embedded node, interleaved, so that what else the machine does hits all
alike. Read the ratios, not the milliseconds. Over a network each further round trip adds its delay to the first three.

    one script       xvmstore: everything in one exec on one connection
    one exec each    the commands one after the other on one connection, TCP_NODELAY set (the peers' style, at its best)
    one ssh each     a new ssh process for each command
    floor            the same commands in one shell on the node itself, no SSH
"""

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko

from iscsi.names import new_guid
from remote.address import SshAddress
from remote.fabric_shell import FabricShell
from remote.openssh import OpensshShell
from xvmstore import Site
from xvmstore.results import Volume

ROUNDS = 15
_SIZE = "1G"


@contextmanager
def embedded_node(directory: Path) -> Iterator[Path]:
    """An embedded node; gives its configuration."""
    argv = [sys.executable, "-m", "xvmstore", "embedded", "start", "--dir", str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield Path(json.loads(line)["config"])
        finally:
            process.terminate()


def commands(directory: Path) -> list[list[str]]:
    """What the node ran for the last operation, as it logged it: changes and read-back alike."""
    last = (directory / "exec.log").read_text().splitlines()[-1]
    found: list[list[str]] = json.loads(last)["commands"]
    return found


class Recipe:
    """The commands of one create-and-export, for other guests with GUIDs of their own."""

    def __init__(self, template: list[list[str]], made: Volume) -> None:
        self._lines = [shlex.join(argv) for argv in template]
        self._guid = made.guid or ""

    def lines(self, guest: str) -> list[str]:
        """The same commands as shell text."""
        old, new = self._guid, new_guid()
        swaps = {"template": guest, old: new, old[16:].lower(): new[16:].lower(), old[-12:].lower(): new[-12:].lower()}
        lines = self._lines
        for was, now in swaps.items():
            lines = [line.replace(was, now) for line in lines]
        return lines

    def __len__(self) -> int:
        return len(self._lines)


class Rival:
    """The same commands on one kept connection, an exec each."""

    def __init__(self, address: SshAddress) -> None:
        self._shell = FabricShell(address)
        self._shell.feed(b"exit\n", timeout=30)

    def run(self, text: str) -> None:
        """One command, one exec: channel, reply, output, exit status."""
        channel: paramiko.Channel = self._shell.session()
        channel.exec_command(text)
        channel.makefile("rb").read()
        channel.makefile_stderr("rb").read()
        channel.recv_exit_status()
        channel.close()

    def close(self) -> None:
        """Close the connection."""
        self._shell.close()


def timed(work: Callable[[], object]) -> float:
    """Seconds one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ways(site: Site, directory: Path, recipe: Recipe) -> dict[str, Callable[[int], object]]:
    """The four ways; each takes a number that makes its guest's name."""
    node = site.node()
    settings = node.settings
    address = SshAddress(
        settings.host, settings.user, settings.port, node.config.file(settings.identity or ""),
        node.config.file(settings.known_hosts or ""),
    )  # fmt: skip
    rival, ssh = Rival(address), OpensshShell(address)
    path = f"{directory / 'bin'}:/usr/bin:/bin"

    def each(number: int) -> None:
        for text in recipe.lines(f"each{number}"):
            rival.run(text)

    def process_each(number: int) -> None:
        for text in recipe.lines(f"ssh{number}"):
            subprocess.run(ssh.argv(text), capture_output=True, stdin=subprocess.DEVNULL, check=False)

    def floor(number: int) -> None:
        script = "\n".join(recipe.lines(f"floor{number}"))
        subprocess.run(["/bin/sh"], input=script.encode(), env={"PATH": path}, capture_output=True, check=False)

    return {
        "one script": lambda number: site.create_volume(f"ours{number}/root", _SIZE),
        "one exec each": each,
        "one ssh each": process_each,
        "floor": floor,
    }


def measure(rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Interleaved rounds on a fresh node: the number of commands, and seconds by way."""
    with tempfile.TemporaryDirectory(prefix="xvmstore-bench-") as scratch:
        directory = Path(scratch) / "node"
        with embedded_node(directory) as config, Site.load(config) as site:
            made = site.create_volume("template/root", _SIZE).volume
            recipe = Recipe(commands(directory), made)
            chosen = ways(site, directory, recipe)
            took: dict[str, list[float]] = {name: [] for name in chosen}
            for number in range(rounds):
                for name, way in chosen.items():
                    took[name].append(timed(lambda way=way, number=number: way(number)))  # type: ignore[misc]
            exported = sum(volume.exported for volume in site.volumes())
            if exported != rounds * len(chosen) + 1:
                raise SystemExit(f"only {exported} volumes are exported: the ways did not do the same work")
            return len(recipe), took


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    count, took = measure(rounds)
    ours = statistics.median(took["one script"])
    print(f"create + export: the same {count} commands, {rounds} interleaved rounds, median over loopback SSH")
    for name, seconds in took.items():
        median = statistics.median(seconds)
        low = min(seconds)
        print(f"  {name:14} {median * 1000:8.1f} ms   min {low * 1000:8.1f} ms   {median / ours:6.2f} x")


if __name__ == "__main__":
    main()
