"""A file for node_exporter's textfile collector, which reads every ``*.prom`` of its directory at each scrape.

It must never see half a file, so the new one is written beside the old one, under a name it does not read, and renamed.
"""

import os
import tempfile
from pathlib import Path

from remote.errors import ConfigError, InvalidValue

SUFFIX = ".prom"


def write(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all: what was there before stays until it is replaced.

    Raises InvalidValue for a name that node_exporter would not read, ConfigError if it cannot be written.
    """
    if not path.name.endswith(SUFFIX) or path.name.startswith("."):
        raise InvalidValue(
            f"{path}: node_exporter reads no file of that name: it must end in {SUFFIX} and not begin with ."
        )
    try:
        _replace(path, data)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; the file there, if any, is the old one"
        ) from error


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # node_exporter runs as another user; mkstemp's files are for their owner alone.
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
