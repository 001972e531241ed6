"""What one script over one SSH channel is worth: the same create-and-export, sent in several ways, in one run.

    .venv/bin/python -m benchmarks.roundtrips [ROUNDS]

All ways run the very same commands on the same embedded node, interleaved, so that what else the machine does hits all
alike. Read the ratios, not the milliseconds.

    one script         xvmstore: everything in one exec on one connection
    one exec each      the commands one after the other on one connection of paramiko as it comes
    ... NODELAY        the same with Nagle's algorithm turned off, which paramiko and fabric never do
    one ssh each       a new ssh process for each command
    floor              the same commands in one shell on the node itself, no SSH

and the first and third once more over a relay that adds a round trip of 20 ms.
"""

import json
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko

from benchmarks.relay import relay
from iscsi.names import new_guid
from remote.address import SshAddress
from remote.fabric_shell import FabricShell
from remote.openssh import OpensshShell
from xvmstore import Site
from xvmstore.results import Volume

ROUNDS = 15
RTT = 0.020
Way = Callable[[str], object]


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


class Recipe:
    """The commands of one create-and-export as the node logged them, for other guests with GUIDs of their own."""

    def __init__(self, log: Path, made: Volume) -> None:
        commands: list[list[str]] = json.loads(log.read_text().splitlines()[-1])["commands"]
        self._lines = [shlex.join(argv) for argv in commands]
        self._guid = made.guid or ""

    def lines(self, guest: str) -> list[str]:
        """The same commands as shell text."""
        old, new = self._guid, new_guid("600144F0")
        swaps = {"template": guest, old: new, old[16:].lower(): new[16:].lower(), old[-12:].lower(): new[-12:].lower()}
        lines = self._lines
        for was, now in swaps.items():
            lines = [line.replace(was, now) for line in lines]
        return lines

    def __len__(self) -> int:
        return len(self._lines)


class Rival:
    """The same commands on one kept connection, an exec each."""

    def __init__(self, address: SshAddress, recipe: Recipe, *, nodelay: bool) -> None:
        self._recipe = recipe
        self._shell = FabricShell(address)
        self._shell.feed(b"exit\n", timeout=30)
        link = self._shell.session().get_transport().sock
        if isinstance(link, socket.socket):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(nodelay))

    def __call__(self, guest: str) -> None:
        """All of them."""
        for text in self._recipe.lines(guest):
            self._one(text)

    def _one(self, text: str) -> None:
        """One command, one exec: channel, reply, output, exit status."""
        channel: paramiko.Channel = self._shell.session()
        channel.exec_command(text)
        channel.makefile("rb").read()
        channel.makefile_stderr("rb").read()
        channel.recv_exit_status()
        channel.close()


def ways(site: Site, far: Site, directory: Path) -> tuple[dict[str, Way], int]:
    """The ways by name, and how many commands each runs."""
    recipe = Recipe(directory / "exec.log", site.create_volume("template/root", "1G").volume)
    near, away = _address(site), _address(far)
    path = f"{directory / 'bin'}:/usr/bin:/bin"

    def process_each(guest: str) -> None:
        ssh = OpensshShell(near)
        for text in recipe.lines(guest):
            subprocess.run(ssh.argv(text), capture_output=True, stdin=subprocess.DEVNULL, check=False)

    def floor(guest: str) -> None:
        script = "\n".join(recipe.lines(guest)).encode()
        subprocess.run(["/bin/sh"], input=script, env={"PATH": path}, capture_output=True, check=False)

    chosen: dict[str, Way] = {
        "one script": lambda guest: site.create_volume(f"{guest}/root", "1G"),
        "one exec each": Rival(near, recipe, nodelay=False),
        "... NODELAY": Rival(near, recipe, nodelay=True),
        "one ssh each": process_each,
        "floor": floor,
        "far: one script": lambda guest: far.create_volume(f"{guest}/root", "1G"),
        "far: one exec each": Rival(away, recipe, nodelay=True),
    }
    return chosen, len(recipe)


def _address(site: Site) -> SshAddress:
    node = site.node()
    one = node.settings
    key, hosts = node.config.file(one.identity or ""), node.config.file(one.known_hosts or "")
    return SshAddress(one.host, one.user, one.port, key, hosts)


def measure(rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Interleaved rounds on a fresh node: the number of commands, and seconds by way."""
    with tempfile.TemporaryDirectory(prefix="xvmstore-bench-") as scratch:
        directory = Path(scratch) / "node"
        with embedded_node(directory) as config, Site.load(config) as site:
            with relay(site.node().settings.port or 0, rtt=RTT) as port, _through(config, port) as far:
                chosen, count = ways(site, far, directory)
                far.volumes()
                took: dict[str, list[float]] = {name: [] for name in chosen}
                for number in range(rounds):
                    _round(site, chosen, took, number=number)
            return count, took


@contextmanager
def _through(config: Path, port: int) -> Iterator[Site]:
    """The same site, reached by another port."""
    other = config.with_name("far.toml")
    hosts = config.with_name("far_hosts")
    text = config.read_text()
    near = f"{Site.load(config).node().settings.port}"
    known = config.with_name("known_hosts")
    hosts.write_text(known.read_text().replace(f":{near} ", f":{port} "))
    other.write_text(text.replace(f"port = {near}", f"port = {port}").replace(str(known), str(hosts)))
    with Site.load(other) as site:
        yield site


def _round(site: Site, chosen: dict[str, Way], took: dict[str, list[float]], *, number: int) -> None:
    """Each way once; what they made is checked and destroyed, so that the node stays as small as it was."""
    for index, (name, way) in enumerate(chosen.items()):
        guest = f"g{number}w{index}"
        began = time.perf_counter()
        way(guest)
        took[name].append(time.perf_counter() - began)
        (made,) = site.volumes(guest=guest)
        if not made.exported or made.dom0s != ("xen1",):
            raise SystemExit(f"{name} did not do the same work: {made}")
        site.destroy_volume(made.name)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    count, took = measure(rounds)
    print(f"create + export: the same {count} commands, {rounds} interleaved rounds; median, minimum, ratio of medians")
    for name, seconds in took.items():
        median = statistics.median(seconds)
        ours = statistics.median(took["far: one script" if name.startswith("far") else "one script"])
        print(f"  {name:19} {median * 1000:8.1f} ms  {min(seconds) * 1000:8.1f} ms  {median / ours:6.2f} x")


if __name__ == "__main__":
    main()
