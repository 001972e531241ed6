"""Disk lines for a guest's config, for each toolstack: text from facts. Pure.

There are two ways to wire a LUN into a guest:

script  the line holds nothing but the LU's GUID, and the hotplug script block-xvmstore knows the rest: it logs in when
        the guest starts, makes sure of the WWID, and logs out when the last user has gone
path    dom0 is logged in before the guest starts, and the line names the device (udev's by-path; on Solaris
        scsi_vhci's, with the GUID in it); the stock ``block`` script checks that no other guest writes to it

The stock ``block-iscsi`` script is never named: it ignores the LUN, and logs out the session of a guest that runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

from remote.script import Captured

Wiring = Literal["script", "path"]
SCRIPT: Wiring = "script"
PATH: Wiring = "path"


@dataclass(frozen=True, slots=True)
class Disk:
    """A LUN as one guest is to see it. ``portal`` is ``address:port``, IPv6 in brackets; ``guid`` is the LU's."""

    vdev: str
    portal: str
    target: str
    lun: int
    read_only: bool = False
    guid: str | None = None

    @property
    def id(self) -> str | None:
        """What stands for the volume on every dom0, and tells a guest that reads it nothing."""
        return self.guid.lower() if self.guid else None


def by_path(disk: Disk) -> str:
    """The device udev makes on a Linux dom0; IPv6 without brackets, LUNs above 255 as the eight bytes of SCSI.

    Those are COMSTAR's bytes: the number alone, without the mark of flat addressing (0x40) that other targets set.
    """
    address, _, port = disk.portal.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    number = str(disk.lun) if disk.lun < 256 else f"0x{disk.lun:04x}000000000000"
    return f"/dev/disk/by-path/ip-{address}:{port}-iscsi-{disk.target}-lun-{number}"


def solaris_device(disk: Disk) -> str:
    """The whole disk (p0 of x86) on a Solaris dom0, whose scsi_vhci names it by the LU's GUID; "" without one."""
    return f"/dev/dsk/c0t{disk.guid}d0p0" if disk.guid else ""


def told_device(disk: Disk) -> Captured:
    """The same, as dom0's initiator tells it: also before the GUID is known here, and where scsi_vhci is off."""
    return Captured(f"device_{disk.vdev}")


def told_id(disk: Disk) -> str | Captured:
    """The disk's id; what dom0 itself found out of it while nobody else knows the LU's GUID."""
    return disk.id or Captured(f"id_{disk.vdev}")


def xl_by_script(disk: Disk) -> str:
    """One entry for ``disk = [ ... ]`` of xl.cfg(5). ``target=`` stands last: it swallows the rest of the line."""
    return f"{_xl(disk)}, script=block-xvmstore, target={disk.id}"


def xl(disk: Disk) -> str:
    """The same, for a device that is there already."""
    return f"{_xl(disk)}, target={by_path(disk)}"


def _xl(disk: Disk) -> str:
    access = "ro" if disk.read_only else "rw"
    return f"format=raw, vdev={disk.vdev}, access={access}, backendtype=phy"


def xm_by_script(disk: Disk) -> str:
    """One entry for xend's ``disk = [ ... ]``: xm splits it at commas. Xen 3.3 refuses such a type (blkif.py)."""
    return f"xvmstore:{disk.id},{disk.vdev},{_mode(disk)}"


def xm(disk: Disk) -> str:
    """The same, for a device that is there already."""
    return f"phy:{by_path(disk)},{disk.vdev},{_mode(disk)}"


def xm_on_solaris(disk: Disk) -> str:
    """xVM's xend numbers a guest's disks from 0."""
    return f"phy:{solaris_device(disk)},{position(disk.vdev)},{_mode(disk)}"


def position(vdev: str) -> int:
    """A disk's place among those of its kind: xvda is 0, xvdaa is 26."""
    number = 0
    for letter in vdev.removeprefix("xvd").removeprefix("hd").removeprefix("sd"):
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def vdev_at(place: str) -> str:
    """The name of the disk that xVM calls by its place: 0 is xvda. What is no place is a name already."""
    if not place.isdecimal():
        return place
    number, letters = int(place) + 1, ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"xvd{letters}"


def _mode(disk: Disk) -> str:
    return "r" if disk.read_only else "w"


def libvirt(disk: Disk) -> str:
    """A ``<disk>`` element. libvirt's Xen driver takes neither iSCSI network disks nor a script."""
    target = f"<target dev={quoteattr(disk.vdev)} bus='{libvirt_bus(disk)}'/>"
    return _element(disk, "<driver name='phy' type='raw'/>", by_path(disk), target)


def libvirt_on_solaris(disk: Disk) -> str:
    """xVM's libvirt (0.4) hands driver, source and target on to xend, which numbers a guest's disks from 0."""
    return _element(disk, "<driver name='phy'/>", solaris_device(disk), f"<target dev='{position(disk.vdev)}'/>")


def _element(disk: Disk, driver: str, source: str, target: str) -> str:
    read_only = "<readonly/>" if disk.read_only else ""
    return f"<disk type='block' device='disk'>{driver}<source dev={quoteattr(source)}/>{target}{read_only}</disk>"


def libvirt_bus(disk: Disk) -> str:
    """By the disk's name in the guest."""
    return "xen" if disk.vdev.startswith("xvd") else "ide" if disk.vdev.startswith("hd") else "scsi"


FORMATS: dict[tuple[str, Wiring], Callable[[Disk], str]] = {
    ("xl", SCRIPT): xl_by_script,
    ("xl", PATH): xl,
    ("xm", SCRIPT): xm_by_script,
    ("xm", PATH): xm,
    ("xm-solaris", PATH): xm_on_solaris,
    ("libvirt", PATH): libvirt,
    ("libvirt-solaris", PATH): libvirt_on_solaris,
}
NEEDS_GUID = {xl_by_script, xm_by_script, xm_on_solaris, libvirt_on_solaris}


def lines(disk: Disk, wiring: Wiring) -> dict[str, str]:
    """The volume's line by format, as far as a format can be wired that way."""
    formats = {name: line for (name, how), line in FORMATS.items() if how == wiring}
    return {name: line(disk) for name, line in formats.items() if disk.guid or line not in NEEDS_GUID}


def login(disk: Disk) -> tuple[str, ...]:
    """What to run on a Linux dom0 (open-iscsi) so that the device is there: no discovery, which would rewrite CHAP."""
    node = f"iscsiadm -m node -T {disk.target} -p {disk.portal}"
    return f"{node} -o new", f"{node} -o update -n node.startup -v automatic", f"{node} --login"
