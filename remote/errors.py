"""Every error of the project, as one tree. Only the CLI prints them and picks the process's exit code.

XvmError                    exit  meaning
├── Refused                 1     a rule of ours said no; nothing was changed
│   ├── InvalidValue        2     a name, size or option that cannot be right
│   ├── NotFound            1     no such volume, pool, node, guest
│   ├── Mismatch            1     it exists, but not as asked for
│   ├── InUse               1     an initiator is logged in, a snapshot or clone hangs on it
│   └── Locked              1     somebody else is changing the same guest
├── ConfigError             2     the configuration file
├── Unreachable             4     no session with the node; nothing ran
│   ├── UnknownHostKey      4
│   └── LoginRefused        4
└── RemoteError
    ├── StepFailed          1     a command failed and everything before it was undone
    ├── PartlyDone          3     a command failed and something is left; a re-run converges
    ├── Interrupted         3     the session ended first: the outcome is unknown
    ├── QueryFailed         1     a question was not answered
    ├── UnexpectedOutput    1     a tool printed what its parser does not know
    └── ZfsError            1     ZFS on this very machine said no (storage.local_errors has its kinds)
"""


class XvmError(Exception):
    """Base of all errors. ``str()`` is one line (or a few) fit for an admin at night."""

    exit_code = 1


class Refused(XvmError):
    """A rule of xvmstore said no before anything was changed."""


class InvalidValue(Refused, ValueError):
    """A name, size or option that no node could accept."""

    exit_code = 2


class NotFound(Refused):
    """The named thing does not exist."""


class Mismatch(Refused):
    """The thing exists, but differs from what was asked for."""


class InUse(Refused):
    """Somebody still depends on the thing; the message names who."""


class Locked(Refused):
    """Another change of the same guest is running on the node."""


class ConfigError(XvmError):
    """The configuration is wrong; the message names file and key."""

    exit_code = 2


class Unreachable(XvmError):
    """No session with the node could be had, so nothing ran on it."""

    exit_code = 4


class UnknownHostKey(Unreachable):
    """The node's host key is not in known_hosts, or is another one than the one there."""


class LoginRefused(Unreachable):
    """The node answered, and refused to let us in."""


class RemoteError(XvmError):
    """Something that happened on, or on the way to, a node whose shell we had reached."""


class StepFailed(RemoteError):
    """A command of a script failed; what had been done before it in the same script was undone.

    ``command`` is the command as text with secrets masked, ``stderr`` what it said, ``exit`` its status.
    """

    def __init__(self, host: str, command: str, *, exit_status: int, stderr: str, note: str = "") -> None:
        self.host, self.command, self.exit, self.stderr, self.note = host, command, exit_status, stderr, note
        said = one_line(stderr) or "it said nothing"
        super().__init__(f"{host}: `{command}` exited {exit_status}: {said}{note}")


class PartlyDone(RemoteError):
    """A change stopped half-way; the message says what is left. The same command, run again, converges."""

    exit_code = 3


class Interrupted(RemoteError):
    """The session ended before the script did. Nothing was undone from here: the outcome is unknown."""

    exit_code = 3


class QueryFailed(RemoteError):
    """A question to the node failed; only its own answer is missing."""

    def __init__(self, host: str, command: str, *, exit_status: int, stderr: str) -> None:
        self.host, self.command, self.exit, self.stderr = host, command, exit_status, stderr
        said = one_line(stderr) or "it said nothing"
        super().__init__(f"{host}: `{command}` exited {exit_status}: {said}")


class UnexpectedOutput(RemoteError):
    """A tool printed something its parser does not know. Never skipped, never guessed at."""

    def __init__(self, command: str, line: str, expected: str, *, host: str = "") -> None:
        self.command, self.line, self.expected = command, line, expected
        super().__init__(f"{host + ': ' if host else ''}`{command}` printed {line!r}: expected {expected}")

    def on(self, host: str) -> "UnexpectedOutput":
        """The same, naming the node."""
        return UnexpectedOutput(self.command, self.line, self.expected, host=host)


def one_line(text: str, limit: int = 400) -> str:
    """The lines of ``text`` joined by "; ", for a message; cut at ``limit`` characters."""
    joined = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"
