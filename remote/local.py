"""The shell of this very machine, for a storage node that runs xvmstore itself."""

import subprocess

from remote.errors import Unreachable
from remote.host import Spoken


class LocalShell:
    """Feeds scripts to ``/bin/sh`` on this machine, or to another shell given as an argv."""

    def __init__(self, argv: tuple[str, ...] = ("/bin/sh",)) -> None:
        self._argv = argv

    def feed(self, script: bytes, *, timeout: float) -> Spoken:
        """Run one script. Raises Unreachable when the shell cannot be started."""
        try:
            ended = subprocess.run(self._argv, input=script, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            return Spoken(late.stdout or b"", late.stderr or b"", None, f"no end after {timeout:g} s")
        except OSError as error:
            raise Unreachable(f"cannot start {self._argv[0]}: {error.strerror}") from error
        return Spoken(ended.stdout, ended.stderr, ended.returncode)

    def close(self) -> None:
        """There is no connection to close."""
