"""Boot environments: the commands of beadm (illumos, Solaris) and bectl (FreeBSD), and how their lists are read. Pure.

Which of the two there is, is a row of TOOLS. What else they can do (clones of other environments, jails) is not ours.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from remote.errors import UnexpectedOutput


@dataclass(frozen=True, slots=True)
class BootEnvironment:
    """One of them. ``active`` runs now, ``next`` the next boot takes; ``mountpoint`` is None where not mounted."""

    name: str
    active: bool
    next: bool
    mountpoint: str | None


@dataclass(frozen=True, slots=True)
class Tool:
    """A program for boot environments: its name, its words for destroying without a question, and its list's reader."""

    name: str
    without_asking: tuple[str, ...]
    parse: Callable[[str], tuple[BootEnvironment, ...]]

    def create(self, name: str) -> tuple[str, ...]:
        """A new one, made of what runs now; it is not activated. The same in beadm(8) and bectl(8)."""
        return (self.name, "create", name)

    def destroy(self, name: str) -> tuple[str, ...]:
        """Destroy one; both tools refuse the one that runs."""
        return (self.name, "destroy", *self.without_asking, name)

    @property
    def list(self) -> tuple[str, ...]:
        """All of them, for a program to read: -H in both."""
        return (self.name, "list", "-H")


def parse_beadm(text: str) -> tuple[BootEnvironment, ...]:
    """Read ``beadm list -H``: name, UUID, active, mount point, bytes, policy, seconds (beadm(8), illumos).

    omnios;ac0d5ae2-6a4c-4e2b-8c6a-6c3b3f9a1f11;NR;/;2518548480;static;1764000000
    omnios-backup-1;1d9b8a3c-0f4e-4a58-9f0d-7f5c2a4b9e10;-;;94208;static;1763000000
    """
    return _parse("beadm list -H", text, separator=";", columns=7, active=2, mountpoint=3)


def parse_bectl(text: str) -> tuple[BootEnvironment, ...]:
    """Read ``bectl list -H``: name, active, mount point, space, time, with a TAB between them (bectl(8), FreeBSD).

    default	NR	/	2.10G	2026-11-01 09:12
    14.1-before	-	-	8K	2026-11-20 21:40
    """
    return _parse("bectl list -H", text, separator="\t", columns=5, active=1, mountpoint=2)


def _parse(
    command: str, text: str, *, separator: str, columns: int, active: int, mountpoint: int
) -> tuple[BootEnvironment, ...]:
    found = []
    for line in text.splitlines():
        fields = line.split(separator)
        if len(fields) != columns:
            raise UnexpectedOutput(command, line, f"{columns} fields with {separator!r} between them")
        found.append(_environment(command, line, fields[0], fields[active], fields[mountpoint]))
    return tuple(found)


def _environment(command: str, line: str, name: str, flags: str, mountpoint: str) -> BootEnvironment:
    # N now, R on reboot, T or t at the next boot only; illumos puts ! or x at what cannot be booted.
    if not name or set(flags) - set("NRTtx!-"):
        raise UnexpectedOutput(command, line, "a name, and of N, R, T or - what it is")
    where = None if mountpoint in {"", "-"} else mountpoint
    return BootEnvironment(name, "N" in flags, bool(set(flags) & set("RTt")), where)


BEADM = Tool("beadm", ("-F",), parse_beadm)
# -o: the snapshot it was made of goes too; beadm does that by itself.
BECTL = Tool("bectl", ("-o",), parse_bectl)
# FreeBSD has a beadm too, a package older than bectl and with another list: where there is bectl, it is used.
TOOLS: Sequence[Tool] = (BECTL, BEADM)


def tool(found: Callable[[str], str | None] = shutil.which) -> Tool | None:
    """The one on PATH, if any."""
    return next((one for one in TOOLS if found(one.name)), None)
