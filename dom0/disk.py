"""Disk lines for a guest's Xen config: text from facts. Pure.

The line names the device by portal, target and LUN (udev's by-path), which is there once dom0 has logged in; the
stock ``block`` script then checks that no other guest writes to it. The stock ``block-iscsi`` script is never named:
it ignores the LUN, and logs out the session of a guest that runs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """A LUN as one guest is to see it. ``portal`` is ``address:port``, IPv6 in brackets."""

    vdev: str
    portal: str
    target: str
    lun: int
    read_only: bool = False


def by_path(disk: Disk) -> str:
    """The device udev makes on a Linux dom0; IPv6 without brackets, LUNs above 255 as the eight bytes of SCSI.

    Those are COMSTAR's bytes: the number alone, without the mark of flat addressing (0x40) that other targets set.
    """
    address, _, port = disk.portal.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    number = str(disk.lun) if disk.lun < 256 else f"0x{disk.lun:04x}000000000000"
    return f"/dev/disk/by-path/ip-{address}:{port}-iscsi-{disk.target}-lun-{number}"


def xl(disk: Disk) -> str:
    """One entry for ``disk = [ ... ]`` of xl.cfg(5). ``target=`` stands last: it swallows the rest of the line."""
    access = "ro" if disk.read_only else "rw"
    return f"format=raw, vdev={disk.vdev}, access={access}, backendtype=phy, target={by_path(disk)}"


def login(disk: Disk) -> tuple[str, ...]:
    """What to run on a Linux dom0 (open-iscsi) so that the device is there: no discovery, which would rewrite CHAP."""
    node = f"iscsiadm -m node -T {disk.target} -p {disk.portal}"
    return f"{node} -o new", f"{node} -o update -n node.startup -v automatic", f"{node} --login"
