"""CHAP secrets come from files their owner alone can read; never from argv or the configuration itself."""

import stat
from pathlib import Path

from iscsi.names import chap_secret
from remote.errors import ConfigError
from remote.script import Secret


def read(path: Path) -> Secret:
    """The one line of a secret file. Raises ConfigError, InvalidValue; no message ever shows the secret."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{path}: cannot read the CHAP secret: {reason}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others can read this CHAP secret: chmod 600 it")
    return Secret(chap_secret(text, str(path)))
