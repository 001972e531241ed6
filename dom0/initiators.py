"""How a dom0 gets hold of a LUN: open-iscsi on Linux, through block-xvmstore; Solaris's own initiator. Pure.

Both are values of ``Initiator``; a plan that must know which it has goes by a fact of theirs, ``grows`` for one.
"""

from collections.abc import Sequence
from typing import Protocol

from dom0 import block_script
from dom0.block_script import Shown
from dom0.disk import Disk, told_id
from dom0.solaris_iscsi import SolarisIscsi
from remote.script import Argv, Captured, Query, Secret, Step


class Initiator(Protocol):
    """One kind of iSCSI initiator."""

    # The kernel and the guest see a LUN's new size without a new login.
    grows: bool
    # It is told by block-xvmstore, which keeps a map of each volume; without that, nothing is kept of a volume.
    by_block_script: bool

    def ready(self) -> tuple[Step, ...]:
        """Checks, or sees to it, that what follows can work."""

    def find(self, disk: Disk) -> tuple[Step, ...]:
        """Captures what only dom0 can tell of a disk, as far as it can: ``told_id``, ``told_device``.

        The id is block-xvmstore's, and ``know`` captures it too. The device is what a toolstack that has ``told`` calls
        the disk, and ``login`` captures it too. So a plan needs this for what it uses before those, or without them.
        """

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:
        """Tell dom0 of a volume."""

    def forget(self, guest: str, *, keep: Sequence[Disk] = (), node: str = "") -> tuple[Step, ...]:
        """Take that away again, for all of a guest's volumes (of a node) but those in ``keep``."""

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """Log in; done when the device is there and known to be the right one."""

    def logout(self, disk: Disk, *others: Disk) -> tuple[Step, ...]:
        """Let go of what ``login`` took; of several disks at once, for they may share a session."""

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:
        """Have the kernel see the LUN's new size, in bytes."""

    def sweep(self, disk: Disk) -> tuple[Step, ...]:
        """Let go of what vbds used that are no more; it must succeed for this disk's."""

    def measure(self, disk: Disk) -> Query[int | None]:
        """The device's size in bytes as dom0's kernel sees it, None where it does not tell; fails for a wrong LU."""

    def look(self) -> Query[Shown]:
        """Uses and sessions."""


class OpenIscsi:
    """Linux."""

    grows = True
    by_block_script = True

    def ready(self) -> tuple[Step, ...]:
        """The script is there."""
        return (block_script.installed(),)

    def find(self, disk: Disk) -> tuple[Step, ...]:
        """The id by which dom0 knows it, where the GUID is not known here."""
        return block_script.find(disk)

    def know(self, disk: Disk, content: Secret) -> tuple[Step, ...]:
        """A map only root can read."""
        return (block_script.put_map(disk, content),)

    def forget(self, guest: str, *, keep: Sequence[Disk] = (), node: str = "") -> tuple[Step, ...]:
        """The maps; what was logged in to is logged out."""
        return (block_script.forget(guest, keep=keep, node=node),)

    def login(self, disk: Disk) -> tuple[Step, ...]:
        """The same as at boot. Where it is so already it is only looked at, for no failure of ours may log it out."""
        words = {name: block_script.verb(name, told_id(disk)) for name in ("login", "logout", "logged-in")}
        anew = Step(words["login"], undo=words["logout"], lies=True, unless=words["logged-in"])
        return (anew, Step(words["login"]))

    def logout(self, disk: Disk, *others: Disk) -> tuple[Step, ...]:
        """Nothing where nobody logged in; the script knows who shares a session."""
        return tuple(_if_known(one, block_script.verb("logout", told_id(one))) for one in (disk, *others))

    def grow(self, disk: Disk, size: int) -> tuple[Step, ...]:
        """Also where nobody is logged in: then there is nothing to do."""
        return (_if_known(disk, block_script.verb("grow", told_id(disk), str(size))),)

    def sweep(self, disk: Disk) -> tuple[Step, ...]:
        """What a killed hotplug script left."""
        return (_if_known(disk, block_script.verb("sweep", told_id(disk))),)

    def measure(self, disk: Disk) -> Query[int | None]:
        """By the script, which logs in for it if need be."""
        return Query(block_script.verb("check", disk.id or "none"), lambda text: int(text.split()[-1]))

    def look(self) -> Query[Shown]:
        """What the script knows."""
        return block_script.show()


def _if_known(disk: Disk, argv: Argv) -> Step:
    """Of a volume that dom0 has never logged in to it knows nothing, not even an id."""
    told = told_id(disk)
    return Step(argv, unless=("test", "-z", told) if isinstance(told, Captured) else None)


# By the dom0's system.
INITIATORS: dict[str, Initiator] = {"linux": OpenIscsi(), "solaris": SolarisIscsi()}
