"""Where a node is and how to log in, in the terms of ssh_config(5)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SshAddress:
    """What both SSH shells need to know. ``host`` may be an alias of ssh_config; what is None comes from there.

    ``connect_timeout`` in seconds. ``options`` are ``-o`` options for the system's ssh only (SunSSH needs some).
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    ssh_config: Path | None = None
    connect_timeout: float = 10.0
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = f"{self.user}@{self.host}" if self.user else self.host
        return f"{at}:{self.port}" if self.port else at
