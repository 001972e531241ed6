"""How a dom0 gets hold of a LUN: open-iscsi on Linux, through block-xvmstore; Solaris's own initiator. Pure.

Both are values of ``Initiator``; a difference between the two is in here and nowhere else.
"""

import re
from typing import Protocol

from dom0 import block_script
from dom0.block_script import Login, Shown
from dom0.disk import Disk
from remote.errors import UnexpectedOutput
from remote.script import Query, Secret, Step

_NOT_THERE = "not found"
_KNOWN = '$xvm_become iscsiadm list static-config | grep "$1" >/dev/null'


class Initiator(Protocol):
    """One kind of iSCSI initiator."""

    # The kernel and the guest see a LUN's new size without a new login.
    grows: bool

    def ready(self) -> tuple[Step, ...]:
        """Checks, or sees to it, that what follows can work."""

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:
        """Tell dom0 of a volume."""

    def forget(self, guest: str, *, keep: tuple[str, ...] = (), node: str = "") -> tuple[Step, ...]:
        """Take that away again, for all of a guest's volumes (of a node) but those with an id in ``keep``."""

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """Log in; done when the device is there and known to be the right one."""

    def logout(self, disk: Disk) -> tuple[Step, ...]:
        """Let go of what ``login`` took."""

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:
        """Have the kernel see the LUN's new size, in bytes."""

    def sweep(self, disk: Disk) -> tuple[Step, ...]:
        """Let go of what vbds used that are no more; it must succeed for this disk's."""

    def look(self) -> Query[Shown]:
        """Uses and sessions."""


class OpenIscsi:
    """Linux."""

    grows = True

    def ready(self) -> tuple[Step, ...]:
        """The script is there."""
        return (block_script.installed(),)

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:
        """A map only root can read."""
        return (block_script.put_map(disk, content),)

    def forget(self, guest: str, *, keep: tuple[str, ...] = (), node: str = "") -> tuple[Step, ...]:
        """The maps; what was logged in to is logged out."""
        return (block_script.forget(guest, keep=keep, node=node),)

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """The same as at boot. Where it is so already it is only looked at, for no failure of ours may log it out."""
        words = {name: block_script.verb(name, disk.id or "") for name in ("login", "logout", "logged-in")}
        anew = Step(words["login"], undo=words["logout"], lies=True, unless=words["logged-in"])
        return (anew, Step(words["login"]))

    def logout(self, disk: Disk) -> tuple[Step, ...]:
        """Nothing where nobody logged in."""
        return (Step(block_script.verb("logout", disk.id or "")),)

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:
        """Also where nobody is logged in: then there is nothing to do."""
        return (Step(block_script.verb("grow", disk.id or "", str(size))),)

    def sweep(self, disk: Disk) -> tuple[Step, ...]:
        """What a killed hotplug script left."""
        return (Step(block_script.verb("sweep", disk.id or "")),)

    def look(self) -> Query[Shown]:
        """What the script knows."""
        return block_script.show()


# The link is made a moment after the login; devfsadm makes it at once.
_WAIT = """\
$xvm_become devfsadm -i iscsi >/dev/null 2>&1
i=0
until $xvm_become iscsiadm list target -S "$1" | grep -i "$2" >/dev/null; do
    i=`expr $i + 1`
    [ $i -gt 30 ] && { echo "$1 has no LU with the GUID $2 here after 30 s" >&2; exit 1; }
    sleep 1
done
"""


class SolarisIscsi:
    """xVM's dom0. The CHAP name and secret are the admin's to set, once: ``iscsiadm`` wants the secret typed.

    xdb reads a disk's size when a guest connects (illumos xdb.c), so none grows under it.
    """

    grows = False

    def ready(self) -> tuple[Step, ...]:
        """No discovery but what we add: each target by its name."""
        return (Step(("iscsiadm", "modify", "discovery", "--static", "enable"), silent=True),)

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:  # noqa: ARG002  the protocol's
        """Nothing to tell before a login."""
        return ()

    def forget(self, guest: str, *, keep: tuple[str, ...] = (), node: str = "") -> tuple[Step, ...]:  # noqa: ARG002
        """Nothing is kept."""
        return ()

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """A static target; the initiator logs in by itself, and again after a boot."""
        config = f"{disk.target},{disk.portal}"
        add = Step(
            ("iscsiadm", "add", "static-config", config),
            undo=("iscsiadm", "remove", "static-config", config),
            unless=("sh", "-c", _KNOWN, "known-target", config),
        )
        return (add, Step(("sh", "-c", _WAIT, "wait-for-lu", disk.target, disk.guid or "")))

    def logout(self, disk: Disk) -> tuple[Step, ...]:
        """Refused by the initiator itself while the LU is open."""
        config = f"{disk.target},{disk.portal}"
        return (Step(("iscsiadm", "remove", "static-config", config), accept=(_NOT_THERE,)),)

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:  # noqa: ARG002
        """At the next login."""
        return ()

    def sweep(self, disk: Disk) -> tuple[Step, ...]:  # noqa: ARG002
        """The initiator keeps no count."""
        return ()

    def look(self) -> Query[Shown]:
        """Every target and whether it is logged in to."""
        return Query(("iscsiadm", "list", "target", "-S"), parse_targets, absent=("no initiator found",))


_TARGET = re.compile(r"Target: (\S+)\Z")


def parse_targets(text: str) -> Shown:
    """Read ``iscsiadm list target -S`` of Solaris; a target with connections is logged in to.

    Target: iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11
        Connections: 1
    """
    logins, target = [], None
    for line in text.splitlines():
        match = _TARGET.match(line)
        if match:
            target = match[1]
            continue
        key, colon, value = line.strip().partition(": ")
        if line and not colon:
            raise UnexpectedOutput("iscsiadm list target", line, "a label and a value")
        if key == "Connections" and target is not None:
            logins.append(Login(target, "LOGGED_IN" if value != "0" else "FREE", ""))
    return Shown((), tuple(logins))


# By the dom0's system.
INITIATORS: dict[str, Initiator] = {"linux": OpenIscsi(), "solaris": SolarisIscsi()}
