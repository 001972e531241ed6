"""iscsitgtd, the target daemon before COMSTAR: what it makes, refuses and forgets.

Onnv usr/src/cmd/iscsi/iscsitgtd, as of b85. Its errors are texts, which iscsitadm prints; those that no recording has
are marked.
"""

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path

from embedded import content, sizes, smf
from embedded.model import ISCSITGT, DaemonLun, DaemonTarget, LocalInitiator, Node
from embedded.targets import drop_sessions

DEVICES = ("/dev/zvol/rdsk/", "/dev/zvol/dsk/")
IQN_PREFIX = "iqn.1986-03.com.sun:02:"
_NAME = re.compile(r"[a-zA-Z0-9.:-]+")
_LONGEST_NAME = 63
_LAST_BLOCK = 512
_LARGEST_TPGT = 65535


class DaemonError(Exception):
    """What the daemon answers when it refuses."""


class NoDaemonError(Exception):
    """Nobody is behind the door, and the service does not come up."""


def reach(node: Node, *, now: float) -> None:
    """Start the service if it does not run, as every call of iscsitadm does."""
    if "iscsitgt-fails" in node.conditions:
        raise NoDaemonError
    if node.services[ISCSITGT].state != "maintenance":
        smf.start(node, ISCSITGT, now=now)
    if not node.online(ISCSITGT):
        raise NoDaemonError


def check_rights(node: Node) -> None:
    """Changes need PRIV_SYS_CONFIG."""
    if "iscsitgt-denied" in node.conditions:
        raise DaemonError("Permission denied")


def target(node: Node, name: str) -> DaemonTarget:
    """The target of that local name."""
    found = node.daemon.targets.get(name.lower())
    if found is None:
        raise DaemonError("Target not found")
    return found


def volume_of(backing: str) -> str:
    """The dataset under a backing store, "" for a plain file."""
    return next((backing.removeprefix(prefix) for prefix in DEVICES if backing.startswith(prefix)), "")


def path_of(node: Node, backing: str) -> Path:
    """Where the bytes of a backing store are."""
    volume = volume_of(backing)
    return content.path_of(node.root, volume) if volume else node.own_file(backing)


def holds(node: Node, dataset: str) -> bool:
    """Whether a target that ``create target`` made has the volume open. ZFS unshares its own by itself."""
    return _opened(node, dataset, [one for one in node.daemon.targets.values() if not one.shared])


def opened(node: Node, dataset: str) -> bool:
    """Whether any target has the volume open, so that no LU of COMSTAR's can take it (assumed)."""
    return _opened(node, dataset, node.daemon.targets.values())


def _opened(node: Node, dataset: str, targets: Iterable[DaemonTarget]) -> bool:
    running = node.online(ISCSITGT)
    return running and any(volume_of(lun.backing) == dataset for one in targets for lun in one.luns.values())


def _size_of(node: Node, backing: str) -> int | None:
    """The size of a zvol or file, None if there is none."""
    volume = node.datasets.get(volume_of(backing))
    if volume is not None:
        return volume.volsize or None
    path = node.own_file(backing)
    return path.stat().st_size if not volume_of(backing) and path.is_file() else None


def new_lun(node: Node, backing: str, *, size: int, now: float, kind: str = "disk") -> DaemonLun:
    """A LUN. Its GUID shows when somebody has logged in, but initiators are served it from the start."""
    node.unit_counter += 1
    moment, number = int(now) & 0xFFFFFFFF, (node.unit_counter - 1) & 0xFFFF
    return DaemonLun(backing, size, f"600144f0{moment:08x}{number:04x}{node.host_id.lower()}", kind)


def create_target(
    node: Node,
    name: str,
    *,
    now: float,
    lun: int = 0,
    kind: str = "disk",
    alias: str | None = None,
    backing: str | None = None,
    size: int | None = None,
) -> None:
    """Make a target with LUN 0, or add a LUN. What is written to the end of the backing store is lost."""
    check_rights(node)
    _check_name(name)
    known = node.daemon.targets.get(name.lower())
    if known is None and lun:
        raise DaemonError("LUN 0 must exist before creating other LUNs")
    if known is not None and lun in known.luns:
        raise DaemonError("LUN already exists")
    if backing is None:
        backing = _make_file(node, name.lower(), lun=lun, size=size)
    found = _size_of(node, backing)
    if found is None:
        raise DaemonError(f"Failed to stat(2) backing for '{kind}'")
    made = known or DaemonTarget(f"{IQN_PREFIX}{node.uuid()}.{name.lower()}")
    made.alias = alias or made.alias
    made.luns[lun] = new_lun(node, backing, size=found, now=now, kind=kind)
    node.daemon.targets[name.lower()] = made
    _touch_last_block(path_of(node, backing), size=found)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise DaemonError("Syntax error: name must only use a..z, A..Z, 0-9, dot(.), dash(-), colon(:) characters")
    if len(name) > _LONGEST_NAME:
        raise DaemonError("Syntax error: name is too long")  # unrecorded


def _make_file(node: Node, name: str, *, lun: int, size: int | None) -> str:
    """A new backing store in the base directory."""
    if node.daemon.base_directory is None:
        raise DaemonError("Invalid base directory")
    if size is None:
        raise DaemonError("Size must be specified")  # unrecorded
    backing = f"{node.daemon.base_directory}/{name}/lun.{lun}"
    path = node.own_file(backing)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return backing


def _touch_last_block(path: Path, *, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(max(size - _LAST_BLOCK, 0))
        file.write(bytes(min(size, _LAST_BLOCK)))


def allow(node: Node, name: str, *, initiator: str) -> None:
    """Add a local initiator, known or not, to the ACL of a target."""
    check_rights(node)
    found = target(node, name)
    if initiator not in found.acl:
        found.acl.append(initiator)


def disallow(node: Node, name: str, *, initiator: str) -> None:
    """Take one out of the ACL. Nobody's session ends, and an ACL that is empty now lets everybody in."""
    check_rights(node)
    found = target(node, name)
    if initiator not in found.acl:
        raise DaemonError("Initiator not found in ACL")  # unrecorded
    found.acl.remove(initiator)


def bind(node: Node, name: str, *, tpgt: str) -> None:
    """Add a target portal group, which needs an address."""
    check_rights(node)
    found = target(node, name)
    if not node.daemon.tpgts.get(tpgt):
        raise DaemonError("TPGT has no IP address")  # unrecorded
    if tpgt not in found.tpgts:
        found.tpgts.append(tpgt)


def unbind(node: Node, name: str, *, tpgt: str) -> None:
    """Take a target portal group off a target."""
    check_rights(node)
    found = target(node, name)
    if tpgt not in found.tpgts:
        raise DaemonError("TPGT not found in list")  # unrecorded
    found.tpgts.remove(tpgt)


def set_alias(node: Node, name: str, *, alias: str) -> None:
    """Give a target another alias."""
    check_rights(node)
    target(node, name).alias = alias


def grow(node: Node, name: str, *, lun: int, size: int) -> None:
    """Make a plain file larger, and its LUN with it; a volume is refused."""
    check_rights(node)
    found = target(node, name).luns.get(lun)
    if found is None:
        raise DaemonError("LUN not found")  # unrecorded
    if volume_of(found.backing):
        raise DaemonError("Backing store must be regular file")
    if size < found.size:
        raise DaemonError("Size must be larger than the current one")  # unrecorded
    os.truncate(path_of(node, found.backing), size)
    found.size = size


def delete_lun(node: Node, name: str, *, lun: int) -> None:
    """Cut the sessions and forget a LUN; the target goes with LUN 0."""
    check_rights(node)
    found = target(node, name)
    if lun not in found.luns:
        raise DaemonError("LUN not found")  # unrecorded
    if lun == 0 and len(found.luns) > 1:
        raise DaemonError("LUN 0 must be the last one deleted")
    drop_sessions(node, found.iqn)
    del found.luns[lun]
    if not found.luns:
        del node.daemon.targets[name.lower()]


def create_initiator(node: Node, name: str, *, iscsi_name: str) -> None:
    """Make an initiator known by a local name."""
    check_rights(node)
    if name in node.daemon.initiators:
        raise DaemonError("Initiator already exists")
    node.daemon.initiators[name] = LocalInitiator(iscsi_name)


def initiator(node: Node, name: str) -> LocalInitiator:
    """The local initiator to be modified."""
    check_rights(node)
    if name not in node.daemon.initiators:
        raise DaemonError("Initiator not found")  # unrecorded
    return node.daemon.initiators[name]


def delete_initiator(node: Node, name: str) -> None:
    """Forget an initiator; ACLs keep its name."""
    initiator(node, name)
    del node.daemon.initiators[name]


def create_tpgt(node: Node, number: str) -> None:
    """Make a target portal group without addresses."""
    check_rights(node)
    if not number.isdecimal() or not 1 <= int(number) <= _LARGEST_TPGT:
        raise DaemonError("TPGT must be a number from 1 to 65535")  # unrecorded
    if number in node.daemon.tpgts:
        raise DaemonError("TPGT already exists")  # unrecorded
    node.daemon.tpgts[number] = []


def addresses(node: Node, number: str) -> list[str]:
    """The addresses of a group that is to be changed."""
    check_rights(node)
    if number not in node.daemon.tpgts:
        raise DaemonError("TPGT not found")  # unrecorded
    return node.daemon.tpgts[number]


def add_address(node: Node, number: str, *, address: str) -> None:
    """Add an address to a target portal group."""
    known = addresses(node, number)
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise DaemonError("Invalid IP address") from error  # unrecorded
    if address not in known:
        known.append(address)


def remove_address(node: Node, number: str, *, address: str) -> None:
    """Take an address out of a target portal group."""
    known = addresses(node, number)
    if address not in known:
        raise DaemonError("IP address not found")  # unrecorded
    known.remove(address)


def delete_tpgt(node: Node, number: str) -> None:
    """Forget a target portal group."""
    addresses(node, number)
    del node.daemon.tpgts[number]


def parse_size(text: str) -> int:
    """A size with k, m, g or t."""
    size = sizes.parse_lu_strictly(text)
    if size is None:
        raise DaemonError("Invalid size")  # unrecorded
    return size


def visit(node: Node, iqns: frozenset[str]) -> None:
    """Take note that somebody has logged in to targets."""
    for one in node.daemon.targets.values():
        for lun in one.luns.values():
            lun.visited = lun.visited or one.iqn in iqns
