"""What nodes were found to be, kept from one run to the next: a file a node in ``~/.cache/xvmstore``.

It holds what the node printed, not what we made of it. It saves a trip and is trusted with nothing else: whatever
cannot be read is as good as not there, and each trip makes sure that the node still is what is written here.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from iscsi import probe
from iscsi.probe import Capabilities
from remote.errors import XvmError
from xvmstore.config import Node

# Seconds after which a node is looked at as a whole again.
EXPIRES = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What a node was found to be, and whether that is not long ago."""

    found: Capabilities
    fresh: bool


class Cache:
    """Of one node, as it is reached: by another address or user it may be another machine."""

    def __init__(self, node: str, settings: Node) -> None:
        self._node = node
        way = (settings.host, settings.user, settings.port, settings.transport, settings.ssh_config)
        self._key = [str(word) for word in (node, *way, *settings.ssh_options)]

    @property
    def path(self) -> Path:
        """Its file. Raises RuntimeError where there is no home directory."""
        home = os.environ.get("XDG_CACHE_HOME")
        folder = Path(home) if home else Path.home() / ".cache"
        digest = hashlib.sha256("\0".join(self._key).encode("utf-8", "surrogateescape")).hexdigest()
        return folder / "xvmstore" / f"{self._node}-{digest[:16]}.json"

    def load(self) -> Entry | None:
        """What is kept, if it can be read and is of this node."""
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            key, age, said = held["key"], time.time() - float(held["when"]), str(held["said"])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError):
            return None
        if key != self._key:
            return None
        try:
            found = probe.decide(probe.parse(said), node=self._node)
        except XvmError:
            return None
        return Entry(found, fresh=0 <= age < EXPIRES)

    def keep(self, said: str) -> None:
        """What the node printed, from now on; quietly nothing where it cannot be written."""
        text = json.dumps({"key": self._key, "when": time.time(), "said": said}, indent=1)
        with contextlib.suppress(OSError, RuntimeError):
            _replace(self.path, text)

    def drop(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError, RuntimeError):
            self.path.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    """The whole file at once; mkstemp makes one that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(new).replace(path)
    except OSError:
        Path(new).unlink(missing_ok=True)
        raise
