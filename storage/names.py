"""Names and sizes, checked once at the edge; past this module they are known to be safe and possible.

Our own names (guest, disk) are narrower than what ZFS takes, so that the same word can stand in a Xen config, a
device path and a lock's name. Names in the configuration (pools, base datasets) follow ZFS's own rules.
"""

import re
from dataclasses import dataclass

from remote.errors import InvalidValue

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.: -]*\Z")
_PROPERTY = re.compile(r"[a-z][a-z0-9_.:-]{0,254}\Z")
# ZFS takes 255 characters for a dataset and its snapshot name together (zfs(8)); ours must leave room for one.
_LONGEST_DATASET = 200
_NOT_OPTIONS = frozenset({"volsize", "volblocksize", "type"})
_SIZE = re.compile(r"([0-9]{1,40})(?:([KMGTPE])(?:iB)?)?\Z", re.IGNORECASE | re.ASCII)
_UNITS = {unit: 1024 ** (power + 1) for power, unit in enumerate("KMGTPE")}
_LARGEST = 2**63 - 1
# A Xen guest's disk: any xvd, and what old HVM guests have besides (xl-disk-configuration(5), vbd-interface(7)).
VDEV = r"xvd[a-z]{1,2}|hd[a-d]|sd[a-p]"
# Of a user property; ZAP_MAXVALUELEN was 1024 until pool version 15.
LONGEST_VALUE = 1023
# SBD_MIN_LU_SIZE of COMSTAR: a smaller volume cannot be exported.
SMALLEST_VOLUME = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class VolumeName:
    """A guest's disk, written GUEST/DISK."""

    guest: str
    disk: str

    def __str__(self) -> str:
        return f"{self.guest}/{self.disk}"

    @classmethod
    def parse(cls, text: str) -> "VolumeName":
        """Read ``web1/root``. Raises InvalidValue."""
        parts = text.split("/")
        if len(parts) != 2:
            raise InvalidValue(f"{shown(text)} is no volume name: write GUEST/DISK, for example web1/root")
        return cls(word(parts[0], "guest name"), word(parts[1], "disk name"))


def word(text: str, what: str) -> str:
    """A guest's, disk's, node's or dom0's name. Raises InvalidValue."""
    if not _WORD.match(text):
        raise InvalidValue(
            f"{shown(text)} is no {what}: use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
        )
    return text


def vdev(text: str) -> str:
    """A disk's name in a guest. Raises InvalidValue."""
    if not re.fullmatch(VDEV, text):
        raise InvalidValue(f"{shown(text)} is no device name of a Xen guest: xvda to xvdzz, hda to hdd, sda to sdp")
    return text


def dataset(text: str, what: str = "dataset name") -> str:
    """A dataset by ZFS's rules (zfs(8), "names"): components of A-Z a-z 0-9 - _ . : and blank. Raises InvalidValue."""
    if len(text) > _LONGEST_DATASET:
        raise InvalidValue(
            f"{shown(text)} is no {what}: it has {len(text)} characters, at most {_LONGEST_DATASET} can be used"
        )
    for part in text.split("/"):
        if not _COMPONENT.match(part) or part.endswith(" "):
            raise InvalidValue(f"{shown(text)} is no {what}: {shown(part)} is not a name ZFS takes")
    return text


def property_name(text: str) -> str:
    """A native or user property's name (zfsprops(7)) that is not ours to set. Raises InvalidValue."""
    if text in _NOT_OPTIONS or text.startswith("org.xvmstore:"):
        raise InvalidValue(f"{shown(text)} cannot be set with -o: xvmstore sets it itself")
    if not _PROPERTY.match(text):
        raise InvalidValue(
            f"{shown(text)} is no ZFS property: lower case letters, digits and : - . _, for example compression"
        )
    return text


def property_value(name: str, value: str) -> str:
    """A property's value: anything on one line. Raises InvalidValue."""
    if not value.isprintable() or len(value.encode()) > LONGEST_VALUE:
        raise InvalidValue(
            f"{name}={shown(value)}: a property's value is printable text of at most {LONGEST_VALUE} bytes"
        )
    return value


def size(text: str) -> int:
    """Bytes from ``20G``, ``20GiB``, ``512m`` or plain bytes; units are powers of 1024. Raises InvalidValue."""
    match = _SIZE.match(text.strip())
    if not match:
        raise InvalidValue(
            f"{shown(text)} is no size: write for example 20G or 20GiB (both 20 x 2^30 bytes), or plain bytes"
        )
    number = int(match[1]) * (_UNITS[match[2].upper()] if match[2] else 1)
    if number > _LARGEST:
        raise InvalidValue(f"{shown(text)} is more than ZFS can hold (2^63 - 1 bytes)")
    return number


def block_size(text: str) -> int:
    """A volblocksize: a power of two from 512 to 128 KiB (zfsprops(7)). Raises InvalidValue."""
    number = size(text)
    if number & (number - 1) or not 512 <= number <= 131072:
        raise InvalidValue(f"{shown(text)} is no volume block size: it must be a power of two from 512 to 128K")
    return number


def volume_size(number: int, volblocksize: int) -> int:
    """A size a volume can have. Raises InvalidValue naming the nearest that would do."""
    if number < SMALLEST_VOLUME:
        raise InvalidValue(f"{number} bytes is too small for a volume: the smallest LUN is 1M ({SMALLEST_VOLUME})")
    if number % volblocksize:
        more = -(-number // volblocksize) * volblocksize
        raise InvalidValue(
            f"{number} bytes is no multiple of the volume block size {volblocksize}: the next one is {more}"
        )
    return number


def human(number: int) -> str:
    """Bytes for people: 20G, 1.5T, 512K; exact where the unit divides, three figures otherwise."""
    for unit, factor in reversed(_UNITS.items()):
        if number >= factor:
            many = number / factor
            exact = number % factor == 0 or many >= 999.5
            return f"{many:.0f}{unit}" if exact else f"{many:.3g}{unit}"
    return f"{number}B"


def shown(text: str) -> str:
    """A name as it can be put on one line of a terminal, whatever is in it."""
    whole = ascii(text[:61])
    return whole if len(text) <= 60 and len(whole) <= 72 else f"{whole[:60]}...'"
