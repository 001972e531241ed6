"""By what a node is told apart: target programs, their releases, and the rights of who logs in. Data, with its sources.

``iscsi.probe`` renders the tables into the program that a node runs, and decides by them itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Become = Literal["none", "pfexec", "sudo"]


@dataclass(frozen=True, slots=True)
class Program:
    """A target program, and how a node that has it looks. The first row that fits counts; words may have ``*``.

    system    ``uname -s``
    comstar   stmfadm and itadm are there
    legacy    iscsitadm is there
    online    state of COMSTAR's iSCSI service, ``-`` where there is none; ``daemon`` that of iscsitgtd's
    become    how one who is not root gets rights there, as long as nobody has looked: as is usual on its system
    """

    backend: str
    why: str
    source: str
    system: str = "SunOS"
    comstar: str = "*"
    legacy: str = "*"
    online: str = "*"
    daemon: str = "*"
    become: Become = "pfexec"

    @property
    def signs(self) -> tuple[str, ...]:
        """In the order in which the program has them."""
        return self.system, self.comstar, self.legacy, self.online, self.daemon

    @property
    def passing(self) -> bool:
        """It depends on what runs just now."""
        return (self.online, self.daemon) != ("*", "*") or (self.comstar, self.legacy) == ("yes", "yes")


_BOTH = ("SunOS", "yes", "yes")
_ONE_PORT = "both want port 3260 (iscsitgtd's default, itadm's default portal)"
PROGRAMS = (
    Program(
        "lio",
        "Linux exports through its kernel's own target",
        "drivers/target of Linux",
        system="Linux",
        become="sudo",
    ),
    Program(
        "comstar",
        "COMSTAR is there, iscsitadm is not",
        "iscsitgtd was removed in b136, ab003da878",
        comstar="yes",
        legacy="no",
    ),
    Program(
        "iscsitadm",
        "iscsitadm is there, COMSTAR's iSCSI is not",
        "itadm came in b103, a6d42e7d71",
        comstar="no",
        legacy="yes",
    ),
    Program("comstar", "of COMSTAR and iscsitadm, COMSTAR is online", _ONE_PORT, *_BOTH, online="online*"),
    Program("iscsitadm", "of COMSTAR and iscsitadm, iscsitadm's daemon is online", _ONE_PORT, *_BOTH, daemon="online*"),
    Program("comstar", "COMSTAR and iscsitadm are there, neither is online", "COMSTAR is what stayed", *_BOTH),
)


def usual_become(backend: str) -> Become:
    """How one who is not root gets rights where this target program is."""
    return next(one.become for one in PROGRAMS if one.backend == backend)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a target program, as the configuration names it. The first row that fits counts.

    creates  stmfadm knows create-lu; ``shares``: ZFS knows the property shareiscsi
    """

    release: str
    why: str
    source: str
    backend: str
    creates: str = "*"
    shares: str = "*"

    @property
    def signs(self) -> tuple[str, ...]:
        """In the order in which the program has them."""
        return self.backend, self.creates, self.shares


_CREATES = "create-lu came in b115, 8fe960854f"
_SHARES = "shareiscsi was removed in b136, ab003da878"
RELEASES = (
    Release("linux", "there is one kind", "iscsi.lio", "lio"),
    Release("b85", "it is the same from b85 to b135", "usr/src/cmd/iscsi/iscsitadm", "iscsitadm"),
    Release("b111", "LUs are made by sbdadm", _CREATES, "comstar", creates="no"),
    Release("b134", "LUs are made by stmfadm, ZFS has shareiscsi", _SHARES, "comstar", creates="yes", shares="yes"),
    Release("illumos", "LUs are made by stmfadm, ZFS has no shareiscsi", _SHARES, "comstar", creates="yes"),
)


# By build: why no zvol of anybody else's is exported there.
ZVOL_HEADS = {
    "snv_115": "COMSTAR of b115 makes LUs by stmfadm and still keeps their metadata in the first 64 KiB of a zvol, "
    "where guests have data (b116 does not): use another build"
}


@dataclass(frozen=True, slots=True)
class Rights:
    """How the user who logs in may do our work."""

    become: Become
    why: str


RIGHTS: Mapping[str, Rights] = {
    "root": Rights("none", "it is root who logs in"),
    "profile": Rights("pfexec", "the user has a profile that is enough"),
    "sudo": Rights("sudo", "sudo asks for no password"),
    "nothing": Rights("none", "the user is not root, has no profile that is enough, and sudo asks for a password"),
}
# The first has all programs run as root (OpenSolaris' prof_attr); the other is the one `node setup` prints. itadm is in
# none of COMSTAR's own.
PROFILES = ("Primary Administrator", "xvmstore")
