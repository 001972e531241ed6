"""A node with any number of volumes and snapshots, written at once: for measuring, not for data.

Datasets, units, views and targets are what creating volumes and checkpoints one by one would have left. What is written
in them is only said to be (``Dataset.assumed``): volumes have empty sparse files, snapshots none.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from embedded import backing, content
from embedded.config import INITIATOR, SHARED_TARGET
from embedded.flavour import FLAVOURS
from embedded.model import Dataset, Initiator, LogicalUnit, Node, Target, View
from embedded.zfs_space import thick_reservation

_GIBIBYTE, _MEBIBYTE = 1 << 30, 1 << 20
_FIRST = 1_767_225_600.0  # 2026-01-01
_HOUR = 3600
_BLOCK = 8192
_DISKS = 8
_DOM0, _SECRET = "xen1", "seeded-secret-16"


@dataclass(frozen=True, slots=True)
class _Disk:
    """One volume's place: number and names."""

    number: int
    guest: str
    disk: str

    @property
    def digits(self) -> str:
        return hashlib.sha256(f"{self.guest}/{self.disk}".encode()).hexdigest()[:16]


def seed(
    root: Path,
    flavour: str,
    *,
    volumes: int,
    snapshots: int,
    guests: int = 0,
    base: str = "tank/xvm",
    exported: int = 0,
    checkpoints: int = 1,
) -> Node:
    """Write a node into ``root``, on which a server can be started afterwards, and give it.

    ``snapshots`` is how many each volume (and guest) has, an hour apart; the last ``checkpoints`` of them are
    checkpoints, the others somebody's. ``guests`` share the volumes evenly, 0 makes one for every eight. The first
    ``exported`` volumes get a unit, a view and a target, as the layout that the flavour starts with has them; each
    costs the server time when it starts, as it serves them.
    """
    if "comstar" not in FLAVOURS[flavour].target_programs:
        raise ValueError(f"a seeded node exports with COMSTAR, which {flavour} has not")
    pool = base.partition("/")[0]
    node = Node.create(root, flavour, pool=pool, pool_size=volumes * 32 * _GIBIBYTE + (1 << 41))
    node.boot_time = _FIRST
    guests = guests or -(-volumes // _DISKS)
    parts = base.split("/")
    for depth in range(2, len(parts) + 1):
        _add(node, "/".join(parts[:depth]), _filesystem())
    for number in range(guests):
        _add(node, f"{base}/guest{number:05d}", _filesystem(guest=f"guest{number:05d}"))
    disks = [_Disk(number, f"guest{number % guests:05d}", f"disk{number // guests}") for number in range(volumes)]
    for disk in disks:
        _add_volume(node, base, disk)
    for age in range(snapshots):
        _snapshot(node, base, age=age, checkpoint=age >= snapshots - checkpoints)
    for disk in disks[:exported]:
        _export(node, base, disk)
    _let_in(node)
    node.save()
    return node


def _filesystem(**ours: str) -> Dataset:
    properties = {"canmount": "off", "mountpoint": "none", **_named(ours)}
    return Dataset("filesystem", _FIRST, 0, 0, properties=properties)


def _named(ours: dict[str, str]) -> dict[str, str]:
    return {f"org.xvmstore:{name}": value for name, value in ours.items()}


def _add(node: Node, name: str, dataset: Dataset) -> None:
    dataset.txg = dataset.txg or node.next_txg()
    dataset.guid = node.identity()
    node.datasets[name] = dataset


def _shared(node: Node) -> bool:
    """Whether volumes share a target: where making one a group of its own would stop the service."""
    return node.flavour.group_needs == "service"


def _properties(node: Node, disk: _Disk) -> dict[str, str]:
    name = f"{disk.guest}.{disk.disk}.{disk.digits[6:]}"
    place = {"target": f"iqn.2026-11.org.xvmstore:{name}", "lun": "1", "layout": "target-per-volume"}
    if _shared(node):
        place = {"target": SHARED_TARGET, "lun": str(disk.number + 1), "layout": "shared-target"}
    return _named(
        {
            "guid": f"600144F0AA8897FA{disk.digits.upper()}",
            "serial": disk.digits,
            **place,
            **({"head": str(backing.HEAD)} if node.flavour.metadata_head else {}),
            "vdev": f"xvd{chr(ord('a') + int(disk.disk.removeprefix('disk')) % 26)}",
            "state": "ready",
            "made-by": f"xvmstore-0.1.0,root,{disk.digits[6:].upper()}",
        }
    )


def _add_volume(node: Node, base: str, disk: _Disk) -> None:
    size = (1 + disk.number % 16) * _GIBIBYTE
    reservation = str(thick_reservation(node, size, volblocksize=_BLOCK))
    properties = {**_properties(node, disk), "refreservation": reservation}
    made = Dataset("volume", _FIRST, 0, 0, properties=properties, volsize=size, volblocksize=_BLOCK)
    made.assumed = (100 + disk.number % 50) * _MEBIBYTE
    name = f"{base}/{disk.guest}/{disk.disk}"
    _add(node, name, made)
    content.create(content.path_of(node.root, name), size, headed=node.flavour.metadata_head)


def _snapshot(node: Node, base: str, *, age: int, checkpoint: bool) -> None:
    """One snapshot of everything below ``base``, and some writing afterwards."""
    txg = node.next_txg()
    moment = _FIRST + (age + 1) * _HOUR
    noted = {"checkpoint": "manual", "by": "root@seed", "consistency": "crash"}
    properties = _named(noted if checkpoint else {})
    heads = [(name, one) for name, one in node.datasets.items() if "@" not in name and name.startswith(f"{base}/")]
    for number, (name, head) in enumerate(heads):
        taken = Dataset("snapshot", moment, txg, 0, properties=dict(properties))
        taken.volsize, taken.volblocksize, taken.assumed = head.volsize, head.volblocksize, head.assumed
        if checkpoint and node.flavour.holds:
            taken.holds["xvmstore"] = moment
        _add(node, f"{name}@xvm-{age:04d}", taken)
        if head.volsize:
            head.assumed += (1 + number % 3) * _MEBIBYTE


def _export(node: Node, base: str, disk: _Disk) -> None:
    """Unit, view, target group and target of one volume."""
    file = f"{backing.ZVOL_PREFIX}{base}/{disk.guest}/{disk.disk}"
    under = backing.find(node, file)
    if under is None or under.volume is None:
        raise LookupError(f"{file} has no volume")
    properties = under.volume.properties
    guid, target = properties["org.xvmstore:guid"], properties["org.xvmstore:target"]
    unit = LogicalUnit(guid, file, under.size - under.kept)
    if node.flavour.lu_commands:
        unit.alias, unit.serial, unit.cache_disabled = f"{disk.guest}/{disk.disk}", disk.digits, True
    backing.write_metadata(node, under, unit)
    node.registrations += 1
    unit.registration, unit.registered = node.registrations, under.volume.created
    node.units[guid] = unit
    node.views[guid] = {0: View(_DOM0, None if _shared(node) else target, int(properties["org.xvmstore:lun"]))}
    if not _shared(node):
        node.target_groups[target] = [target]
    node.targets[target] = Target(alias="xvmstore" if _shared(node) else unit.alias, auth="chap")


def _let_in(node: Node) -> None:
    """The dom0 of the configuration that a first start writes, and the secret that it finds there."""
    node.host_groups[_DOM0] = [INITIATOR]
    node.initiators[INITIATOR] = Initiator(_DOM0, _SECRET)
    secret = node.root / "chap" / f"{_DOM0}.secret"
    secret.parent.mkdir(mode=0o700, exist_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(_SECRET)
