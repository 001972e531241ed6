"""Everything the embedded node remembers, and how it is kept on disk.

No behaviour of any command lives here: commands change these values, the caller saves them.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath

import msgspec

from embedded.flavour import FLAVOURS, Flavour
from embedded.served import Session

STMF = "svc:/system/stmf:default"
ISCSI_TARGET = "svc:/network/iscsi/target:default"
ISCSITGT = "svc:/system/iscsitgt:default"
TEBIBYTE = 1 << 40

# By target program. iscsitgtd is not started before somebody needs it.
_SERVICES = {"comstar": {STMF: "online", ISCSI_TARGET: "online"}, "iscsitgt": {ISCSITGT: "disabled"}}

# What a real node can suffer and no command causes. Tests and fault injection put these into Node.conditions.
CONDITIONS = {
    "stmf-eacces": "opening /dev/stmf fails with EACCES: the caller lacks PRIV_SYS_DEVICES",
    "stmf-eperm": "opening /dev/stmf fails with EPERM: sbdadm of 2009.06 words it differently",
    "stmf-ebusy": "opening /dev/stmf fails with EBUSY: another process holds it",
    "driver-missing": "/dev/stmf does not exist",
    "no-smf-service": "the service system/stmf is not defined",
    "no-read-auth": "the caller lacks the authorization solaris.smf.read.stmf",
    "no-modify-auth": "the caller lacks the authorization solaris.smf.modify.stmf",
    "lu-busy": "the kernel reports logical units as busy",
    "inventory-locked": "the kernel's inventory is locked by another state change",
    "config-changed": "another process changed the iSCSI target configuration meanwhile",
    "zfs-eacces": "the caller has no ZFS rights",
    "iscsi-target-disabled": "the service network/iscsi/target does not run, whatever its state says",
    "pool-full": "no pool has a block left: nothing can be made or set",
    "zfs-missing": "/dev/zfs cannot be opened",
    "svcadm-eacces": "the caller may not change services",
    "svc-fails": "a service that is started goes to maintenance",
    "svc-contested": "a service that is started is disabled by someone else meanwhile",
    "iscsitgt-fails": "the iSCSI target daemon cannot be started",
    "iscsitgt-denied": "the caller may not change what the iSCSI target daemon serves",
    "share-unprivileged": "the iSCSI target daemon does not run, and who shares a volume may not start it",
    "share-refused": "the iSCSI target daemon refuses to share or unshare a volume",
    "no-stmf-kstats": "COMSTAR has no kstats, as before b114",
}


@dataclass(slots=True)
class LogicalUnit:
    """A logical unit, as the kernel has it or as its stored metadata. ``guid`` is upper case.

    ``registration`` is which registration of a unit this was, ``registered`` when: kstats are named and dated by them.
    """

    guid: str
    file: str
    size: int
    block_size: int = 512
    meta_file: str | None = None
    alias: str | None = None
    mgmt_url: str | None = None
    vendor: str | None = None
    product: str | None = None
    serial: str | None = None
    write_protect: bool = False
    cache_disabled: bool = False
    state: str = "Online"
    registration: int = 0
    registered: float = 0.0


@dataclass(slots=True)
class View:
    """A view entry. A group of ``None`` is All."""

    host_group: str | None
    target_group: str | None
    lun: int


@dataclass(slots=True)
class Target:
    """A target of any provider; the CHAP and portal fields mean something for ``iscsit`` alone.

    ``portal_groups`` maps names to tags, in the order in which itadm lists them (newest first).
    """

    provider: str = "iscsit"
    protocol: str = "iSCSI"
    alias: str | None = None
    auth: str | None = None
    chap_user: str | None = None
    chap_secret: str | None = None
    portal_groups: dict[str, int] = field(default_factory=dict)
    state: str = "Online"


@dataclass(slots=True)
class Initiator:
    """The CHAP account of a known initiator."""

    user: str | None = None
    secret: str | None = None


@dataclass(slots=True)
class Defaults:
    """``itadm list-defaults``."""

    auth: str | None = None
    radius_server: str | None = None
    radius_secret: str | None = None
    isns: bool = False
    isns_servers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DaemonLun:
    """A LUN of iscsitgtd. The size is what the backing store had when this was made. ``guid`` is in lower case.

    ``visited``: somebody has logged in since, and so the GUID shows.
    """

    backing: str
    size: int
    guid: str
    kind: str = "disk"
    visited: bool = False


@dataclass(slots=True)
class DaemonTarget:
    """A target of iscsitgtd, known by a local name. ``shared``: ZFS made it, for the property shareiscsi.

    ``acl`` are local names of initiators, ``tpgts`` numbers. What was read and written is operations, then bytes.
    """

    iqn: str
    alias: str | None = None
    acl: list[str] = field(default_factory=list)
    tpgts: list[str] = field(default_factory=list)
    luns: dict[int, DaemonLun] = field(default_factory=dict)
    shared: bool = False
    reads: tuple[int, int] = (0, 0)
    writes: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class LocalInitiator:
    """An initiator that iscsitgtd knows by a local name, with its CHAP account."""

    iscsi_name: str
    chap_name: str | None = None
    chap_secret: str | None = None


@dataclass(slots=True)
class Daemon:
    """The configuration of iscsitgtd. ``settings`` are those of ``modify admin`` that mean nothing here, by letter."""

    targets: dict[str, DaemonTarget] = field(default_factory=dict)
    initiators: dict[str, LocalInitiator] = field(default_factory=dict)
    tpgts: dict[str, list[str]] = field(default_factory=dict)
    base_directory: str | None = None
    chap_name: str | None = None
    chap_secret: str | None = None
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Dataset:
    """A filesystem, volume or snapshot.

    ``properties`` are the local ones, native and user, as raw text. ``metadata`` is the hidden property
    stmf_sbd_lu of a volume, ``shared_as`` what iscsioptions keeps: the IQN under which iscsitgtd shared it. ``shared``
    is how many of a clone's bytes belong to its origin, ``assumed`` how many count as written besides those in the
    content's file.
    """

    kind: str
    created: float
    txg: int
    guid: int
    properties: dict[str, str] = field(default_factory=dict)
    volsize: int = 0
    volblocksize: int = 0
    origin: str | None = None
    shared: int = 0
    assumed: int = 0
    holds: dict[str, float] = field(default_factory=dict)
    deferred: bool = False
    metadata: LogicalUnit | None = None
    shared_as: str | None = None


@dataclass(slots=True)
class Disk:
    """A leaf vdev.

    ``latency`` maps a column of ``zpool iostat -w`` (zpool_iostat.COLUMNS) to up to 37 counts: the n-th (from 0) is of
    I/Os that took 2^n to 2^(n+1)-1 ns. What is left out is 0. ``guid`` 0: made of the pool's and the name.
    """

    name: str
    state: str = "ONLINE"
    guid: int = 0
    read_errors: int = 0
    write_errors: int = 0
    checksum_errors: int = 0
    latency: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Pool:
    """A pool: a mirror of ``disks``, or the one disk there is; the other lists are of disks without a mirror."""

    size: int
    disks: list[Disk]
    guid: int
    health: str = "ONLINE"
    scan: str | None = None
    data_errors: int = 0
    fragmentation: int = 0
    freeing: int = 0
    leaked: int = 0
    expandsize: int = 0
    logs: list[Disk] = field(default_factory=list)
    cache: list[Disk] = field(default_factory=list)
    spares: list[Disk] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Service:
    """An SMF instance. ``since`` is when it took its state."""

    state: str = "online"
    since: float = 0.0


@dataclass(slots=True)
class Node:
    """The whole state of one node. Mutable: commands change it in place.

    ``portal_groups`` maps names to portals in the order of listing. ``identifiers`` are UUIDs to hand out before
    invented ones, ``initiator_aliases`` what initiators called themselves at login. Everything that is invented
    comes from ``counter``, so equal histories give equal nodes.
    """

    root: Path
    flavour_name: str
    pools: dict[str, Pool] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    units: dict[str, LogicalUnit] = field(default_factory=dict)
    views: dict[str, dict[int, View]] = field(default_factory=dict)
    host_groups: dict[str, list[str]] = field(default_factory=dict)
    target_groups: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    portal_groups: dict[str, list[str]] = field(default_factory=dict)
    initiators: dict[str, Initiator] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    daemon: Daemon = field(default_factory=Daemon)
    services: dict[str, Service] = field(default_factory=dict)
    initialized: bool = True
    host_id: str = "0C2A6D000000"
    unit_counter: int = 0
    counter: int = 0
    txg: int = 4
    registrations: int = 0
    boot_time: float = 0.0
    kstats: dict[str, dict[str, int | float | str]] = field(default_factory=dict)
    identifiers: list[str] = field(default_factory=list)
    conditions: set[str] = field(default_factory=set)
    initiator_aliases: dict[str, str] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()

    @classmethod
    def create(cls, root: Path, flavour: str, *, pool: str = "tank", pool_size: int = 2 * TEBIBYTE) -> "Node":
        """A fresh node with one healthy, empty pool and services as installed. Makes directories, saves nothing."""
        if flavour not in FLAVOURS:
            raise ValueError(f"no such flavour: {flavour!r}, there are {', '.join(sorted(FLAVOURS))}")
        (root / "zvol").mkdir(parents=True, exist_ok=True)
        (root / "fs").mkdir(exist_ok=True)
        node = cls(root, flavour)
        installed = [_SERVICES[program] for program in node.flavour.target_programs]
        node.services = {name: Service(state) for services in installed for name, state in services.items()}
        disks = [Disk("c1t0d0s0"), Disk("c1t1d0s0")]
        node.pools[pool] = Pool(pool_size, disks, node.identity())
        node.datasets[pool] = Dataset("filesystem", 0.0, node.next_txg(), node.identity())
        return node

    @classmethod
    def load(cls, root: Path) -> "Node":
        """The node saved under ``root``. Sessions do not outlive the process that saw them."""
        node = msgspec.json.decode((root / "state.json").read_bytes(), type=cls, dec_hook=_decode)
        node.root = root
        node.sessions = ()
        return node

    def save(self) -> None:
        """Write root/state.json: whole or not at all, and readable by the owner alone (it holds CHAP secrets)."""
        temporary = self.root / "state.json~"
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.fchmod(file, 0o600)  # a leftover of a crash may have been made with another mode
            os.write(file, msgspec.json.encode(self, enc_hook=_encode))
            os.fsync(file)
        finally:
            os.close(file)
        temporary.replace(self.root / "state.json")

    @property
    def flavour(self) -> Flavour:
        """What this node can do and how it words things."""
        return FLAVOURS[self.flavour_name]

    def file(self, path: str) -> Path:
        """The file behind a path given to a command: the node's own (under root/fs) first, then the machine's."""
        own = self.own_file(path)
        return own if own.exists() else Path(path)

    def own_file(self, path: str) -> Path:
        """Where the node keeps a file of that absolute path. A path cannot lead out of the node."""
        return self.root / "fs" / normpath("/" + path.lstrip("/")).lstrip("/")

    def next_txg(self) -> int:
        """A transaction group number that no dataset has yet."""
        self.txg += 1
        return self.txg

    def identity(self) -> int:
        """A 64-bit number that looks random and is not."""
        return int(self._invent()[:16], 16)

    def uuid(self) -> str:
        """A UUID: the next of ``identifiers``, else an invented one."""
        if self.identifiers:
            return self.identifiers.pop(0)
        digits = self._invent()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))

    def _invent(self) -> str:
        self.counter += 1
        return hashlib.sha256(f"{self.host_id}/{self.counter}".encode()).hexdigest()

    def online(self, service: str) -> bool:
        """Whether the SMF instance exists and runs."""
        if service == ISCSI_TARGET and "iscsi-target-disabled" in self.conditions:
            return False
        found = self.services.get(service)
        return found is not None and found.state == "online"


def _encode(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)
