"""One itadm subcommand with its line taken apart, and the ways in which it fails."""

import ipaddress
import re
from dataclasses import dataclass, replace

from embedded import devices
from embedded.model import Node
from embedded.options import Parsed
from embedded.stmf import Code

EINVAL, EEXIST, EBUSY, EFAULT, ENOENT, EBADF = 22, 17, 16, 14, 2, 9
NAME_WIDTH = 60


class Failure(Exception):
    """A subcommand that failed: itadm adds its own last line with the status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = int(status)


class UsageError(Failure):
    """A command line that itadm refuses: the text goes to stderr, the usage to stdout."""


@dataclass(frozen=True, slots=True)
class Call:
    """The subcommand ``name``. ``secret`` is what -S led to."""

    node: Node
    name: str
    parsed: Parsed
    now: float
    secret: str | None = None

    @property
    def operand(self) -> str:
        """The operand of a subcommand that needs one."""
        return self.parsed.operands[0]

    def option(self, letter: str) -> str | None:
        """The argument of an option, None when it was not given."""
        return self.parsed.last(letter)

    def with_secret(self, secret: str | None) -> "Call":
        """The same call with the secret read."""
        return replace(self, secret=secret)

    def read_secret(self, letter: str, *, prompt: str) -> str | None:
        """The secret in the file given to an option. There is no terminal to prompt on."""
        path = self.option(letter)
        if path is None and not self.parsed.has(prompt):
            return None
        file = self.node.file(path or "")
        if path is not None and not file.is_file():
            raise UsageError(f"Invalid secret file {path}\n", EBADF)
        secret = "" if path is None else file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        if not 12 <= len(secret) <= 255:
            raise UsageError("Secret must be between 12 and 255 characters\n", EINVAL)
        return secret

    def commit(self) -> None:
        """The end of every change: the kernel has it already, the stored copy may be refused."""
        if "config-changed" in self.node.conditions:
            raise Failure(
                "Configuration changed during processing. Check the configuration, then retry this command"
                " if appropriate.\n",
                Code.DATA_STALE,
            )


def iscsi_name(text: str) -> str:
    """The canonical form of an iSCSI name given to itadm."""
    name, refusal = devices.iscsi(text)
    if name is None:
        raise Failure(refusal, EINVAL if refusal.startswith("Invalid name") else EFAULT)
    return name


def unless_none(text: str) -> str | None:
    """Option arguments that the word ``none`` clears."""
    return None if text == "none" else text


def portal(text: str, *, port: int) -> str | None:
    """ADDRESS:PORT as itadm prints it; IPv6 in brackets. None for what is no numeric address."""
    matched = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[\d.]+))(?::(?P<port>\d{1,5}))?", text)
    if matched is None:
        return None
    six, four = matched["six"], matched["four"]
    try:
        address = f"[{ipaddress.IPv6Address(six)}]" if six else str(ipaddress.IPv4Address(four))
    except ValueError:
        return None
    number = int(matched["port"] or port)
    return f"{address}:{number}" if number < 65536 else None


def column(name: str) -> str:
    """The first column of itadm's tables: 61 wide, a longer name is followed by a TAB."""
    return f"{name}\t" if len(name) > NAME_WIDTH else f"{name:<{NAME_WIDTH + 1}}"
