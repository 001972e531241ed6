"""What old releases of Xen could not do with a disk, by version: warnings with their reason. Pure.

Every row is from Xen's own history; the commit or branch it was read in stands with it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dom0.disk import position

Version = tuple[int, ...]
TIB = 1 << 40
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Planned:
    """A disk as a guest is to have it. ``size`` in bytes."""

    vdev: str
    size: int
    by_script: bool = False
    toolstack: str = "xl"


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule: it holds from ``since`` up to, and without, ``before``; None is no bound."""

    since: Version | None
    before: Version | None
    concerns: Callable[[Planned], bool]
    warning: str


def _kind(vdev: str) -> str:
    return vdev[: 3 if vdev.startswith("xvd") else 2]


LIMITS = (
    # 8bedf46beb, 2006-11-21: in 3.0.4-branched, not in 3.0.3. struct vbd had 32-bit sectors there.
    Limit(None, (3, 0, 4), lambda d: d.size >= 2 * TIB,
          "2 TiB and more: a 32-bit dom0 or guest of Xen before 3.0.4 cuts the size off (32-bit sector numbers)"),
    # tools/ioemu/hw/ide.c of 3.0.2 has no lba48.
    Limit(None, (3, 0, 3), lambda d: d.size > 128 * GIB,
          "over 128 GiB: an HVM guest's IDE disk ends there before Xen 3.0.3 (no LBA48 in qemu-dm)"),
    # f8dc2a2051, 2007-12-27: rombios INT13 with LBA48.
    Limit((3, 0, 3), (3, 2), lambda d: d.size > 128 * GIB,
          "over 128 GiB: the HVM BIOS cannot read boot files beyond before Xen 3.2 (INT 13h): keep them below"),
    # bbc24abfb2, 2008-06-27: extended disk numbers.
    Limit(None, (3, 3), lambda d: _kind(d.vdev) == "xvd" and position(d.vdev) > 15,
          "device names end at xvdp before Xen 3.3"),
    # tools/ioemu/vl.h: MAX_DISKS.
    Limit(None, (3, 1), lambda d: _kind(d.vdev) == "sd",
          "an HVM guest has four IDE disks and no SCSI ones before Xen 3.1"),
    # 3.3.0-rc7 blkif.py:59; taken back by 597edba986, 2009-01-29.
    Limit((3, 3), (3, 4), lambda d: d.by_script and d.toolstack == "xm",
          'xend of Xen 3.3 takes only phy, file and tap ("Block device must have ..."): use wiring = "path"'),
    # 8928100064, 2015-08: LIBXL_HOTPLUG_TIMEOUT 10 s, 40 s from 4.6.
    Limit((4, 2), (4, 6), lambda d: d.by_script and d.toolstack == "xl",
          'libxl before Xen 4.6 kills a hotplug script after 10 s: a slow login fails; use wiring = "path"'),
    # fa88ffe2b4, 2016-03-24: physical-device-path.
    Limit((4, 2), (4, 7), lambda d: d.by_script and d.toolstack == "xl",
          'HVM guests and pygrub cannot use a disk with a script before Xen 4.7: use wiring = "path"'),
    # libxl from 4.2 runs the scripts; DevController.py of 3.0.2 waits 10 s, 3.1 and later 100 s.
    Limit(None, (3, 1), lambda d: d.by_script, "xend before Xen 3.1 waits 10 s for a script: a slow login fails"),
)  # fmt: skip


def parse_version(text: str) -> Version:
    """4.17 or 3.0.3; anything after the numbers is not looked at."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def warnings(xen: Version, disk: Planned) -> Iterator[str]:
    """What this release of Xen will not do with this disk."""
    for limit in LIMITS:
        old_enough = limit.since is None or _padded(xen) >= _padded(limit.since)
        if old_enough and (limit.before is None or _padded(xen) < _padded(limit.before)) and limit.concerns(disk):
            yield limit.warning


def _padded(version: Version) -> Version:
    return (*version, 0, 0, 0)[:3]
