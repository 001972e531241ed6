"""What the library returns and the CLI prints: facts about volumes, LUNs and sessions, and their JSON form.

The JSON form is an API: fields are added, never renamed or removed. Sizes are bytes.
"""

from dataclasses import dataclass, field
from typing import Any

from dom0.disk import PATH, SCRIPT, Disk, lines
from iscsi.model import Check, Session
from remote.errors import InvalidValue
from storage.checkpoints import Checkpoint
from storage.names import size
from storage.zvol import Zvol

__all__ = ["Check", "Created", "Lun", "LunSession", "Volume", "Wanted"]


@dataclass(frozen=True, slots=True)
class Volume:
    """A guest's disk: the zvol, and how it is exported.

    name        GUEST/DISK
    size        bytes the guest sees
    guid        the LU's GUID (WWID), upper case; None while it has none yet: an unfinished volume, or, on SXCE b85, one
                that nobody has logged in to so far
    target      the iSCSI target's name; ``lun`` its number there
    state       ready; making or destroying when a command was cut off half-way
    exported    the LU is online and its target accepts logins
    dom0s       who may see it: names from the configuration, host group names otherwise
    sessions    initiators logged in to its target
    vdev        the device name the guest sees
    trouble     what is not as it should be, in words; empty when all is well
    """

    name: str
    node: str
    dataset: str
    size: int
    thin: bool
    block_size: int
    used: int
    created: int
    guid: str | None
    serial: str | None
    target: str | None
    lun: int | None
    portals: tuple[str, ...]
    dom0s: tuple[str, ...]
    sessions: tuple[str, ...]
    state: str
    exported: bool
    vdev: str | None
    trouble: tuple[str, ...] = ()

    @property
    def disk(self) -> dict[str, str]:
        """Disk lines by format, for a dom0 with block-xvmstore; empty while the volume has no target."""
        return lines(self.xen_disk, SCRIPT) if self.xen_disk else {}

    @property
    def disk_by_path(self) -> dict[str, str]:
        """Disk lines by format, for a dom0 that is logged in before the guest starts."""
        return lines(self.xen_disk, PATH) if self.xen_disk else {}

    @property
    def xen_disk(self) -> Disk | None:
        """The volume as a Xen disk."""
        if self.vdev is None or self.target is None or self.lun is None:
            return None
        return Disk(self.vdev, self.portals[0], self.target, self.lun, guid=self.guid)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return values | {"disk": self.disk, "disk_by_path": self.disk_by_path}


@dataclass(frozen=True, slots=True)
class Created:
    """The volume, and what ``volume create`` had to do for it: created, completed or unchanged."""

    volume: Volume
    action: str


@dataclass(frozen=True, slots=True)
class Lun:
    """One LU of a node, ours or not; ``volume`` is None for what somebody else made."""

    guid: str
    volume: str | None
    path: str | None
    size: int | None
    state: str
    target: str | None
    views: tuple[tuple[str, str, int | None], ...]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object; a view is {host_group, target_group, lun}."""
        views = [{"host_group": host, "target_group": target, "lun": lun} for host, target, lun in self.views]
        return {name: getattr(self, name) for name in self.__slots__} | {"views": views}


@dataclass(frozen=True, slots=True)
class LunSession:
    """An initiator's login, with the volumes behind that target and the dom0 it belongs to."""

    session: Session
    dom0: str | None
    volumes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        session = self.session
        return {
            "target": session.target,
            "initiator": session.initiator,
            "dom0": self.dom0,
            "since": session.since,
            "volumes": list(self.volumes),
        }


@dataclass(frozen=True, slots=True)
class Attachment:
    """A volume in a guest that runs.

    volume    GUEST/DISK; ``domain`` the guest it is attached to, by ``domid``
    vdev      its name in the guest; ``state`` what xenstore says of the backend: "connected" when the guest uses it
    """

    volume: str
    dom0: str
    domain: str
    domid: int
    vdev: str
    state: str

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest: where it runs (None: nowhere that was looked at), its volumes, and which of them are attached where.

    ``disks`` is one (volume, vdev, sessions) for each volume; ``trouble`` is what does not fit together, in words.
    """

    name: str
    dom0: str | None
    domid: int | None
    state: str
    disks: tuple[tuple[str, str | None, tuple[str, ...]], ...]
    attached: tuple[Attachment, ...]
    trouble: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        disks = [{"volume": name, "vdev": vdev, "sessions": list(sessions)} for name, vdev, sessions in self.disks]
        return values | {"disks": disks, "attached": [one.to_json() for one in self.attached]}


@dataclass(frozen=True, slots=True)
class Grown:
    """How far a new size got on one dom0.

    reached  guest: its backend told it; dom0: the kernel there sees it, the guest will at its next start;
             node: dom0 will see it when it logs in
    """

    dom0: str
    reached: str
    note: str

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def checkpoint_json(found: Checkpoint) -> dict[str, Any]:
    """The documented JSON object of a checkpoint."""
    values = {name: getattr(found, name) for name in found.__slots__ if name != "note"}
    return values | {name: getattr(found.note, name) for name in found.note.__slots__}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume as somebody asks for it. ``properties`` are for ``zfs create -o``.

    ``thin`` None means thick, as ZFS makes volumes (space is set aside, a guest never meets a full pool), and does not
    mind an existing thin one. ``block_size`` None leaves it to ZFS.
    """

    size: int
    thin: bool | None = None
    block_size: int | None = None
    properties: dict[str, str] = field(default_factory=dict)

    def differs(self, zvol: Zvol) -> list[str]:
        """What a zvol is, where it is not as wanted."""
        facts: list[tuple[str, object, object]] = [
            ("size", zvol.volsize - zvol.head, self.size),
            ("thin", zvol.thin, self.thin),
            ("block size", zvol.volblocksize, self.block_size),
        ]
        facts += [
            (name, zvol.asked[name], value)
            for name, value in self.properties.items()
            # What ZFS knows under another name, such as compress for compression, cannot be compared.
            if name in zvol.asked and not _same(zvol.asked[name], value)
        ]
        wrong = [fact for fact in facts if fact[2] is not None and fact[1] != fact[2]]
        return [f"its {name} is {found}, not {wanted}" for name, found, wanted in wrong]


def _same(found: str, wanted: str) -> bool:
    """ZFS takes 1G and none, and prints 1073741824 and 0."""
    if found == wanted or {found, wanted} <= {"0", "-", "none"}:
        return True
    try:
        return size(found) == size(wanted)
    except InvalidValue:
        return False
