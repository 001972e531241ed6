"""CHAP secrets come from files their owner alone can read, or from a prompt; never from argv or the configuration."""

import getpass
import os
import stat
from pathlib import Path

from iscsi.names import chap_secret
from remote.errors import ConfigError
from remote.script import Secret

PROMPT = "prompt"


def ask(whose: str) -> Secret:
    """A secret typed at the terminal, unseen. Raises ConfigError where there is no terminal, InvalidValue."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise ConfigError(f"the CHAP secret of {whose} is to be typed, but there is no terminal: use a file") from error
    return Secret(chap_secret(getpass.getpass(f"CHAP secret of {whose}: "), "the secret typed"))


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
