"""``python -m vagrant.lab COMMAND``: what the Makefile's lab targets call."""

import os
import sys
from collections.abc import Callable

from vagrant.lab import build
from vagrant.lab.run import Lab, stop_all
from vagrant.lab.settings import LabError


def main(words: list[str]) -> int:
    """Run one command; 0 done, 1 failed, 2 usage."""
    if not words or words[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m vagrant.lab {'|'.join(COMMANDS)}\n")
        return 2
    try:
        COMMANDS[words[0]](words[1:])
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    return 0


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


def _up(_words: list[str]) -> None:
    Lab.here(say).up()


def _down(_words: list[str]) -> None:
    stop_all()


def _reset(_words: list[str]) -> None:
    Lab.here(say).reset()


def _build(_words: list[str]) -> None:
    build.images(say)


def _ssh(words: list[str]) -> None:
    lab = Lab.here(say)
    if not words or words[0] not in {"storage", "dom0"}:
        raise LabError("say which machine: storage or dom0")
    os.execvp("ssh", ["ssh", "-F", str(lab.ssh_config), *words])


def _log(_words: list[str]) -> None:
    for one in Lab.here(say).machines:
        sys.stdout.write(f"== {one.console}\n{build.tail(one.console, 60)}\n")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "build": _build,
    "up": _up,
    "down": _down,
    "reset": _reset,
    "ssh": _ssh,
    "log": _log,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
