"""Facts about what a storage node exports, in the words of SCSI and iSCSI, whatever program serves them."""

from dataclasses import dataclass
from typing import Any, Literal

TargetLayout = Literal["target-per-volume", "shared-target"]


@dataclass(frozen=True, slots=True)
class LogicalUnit:
    """An LU. ``guid`` upper case, "" while it has none yet. What old releases do not print is None. Sizes in bytes."""

    guid: str
    state: str
    alias: str | None = None
    path: str | None = None
    size: int | None = None
    block_size: int | None = None
    serial: str | None = None
    read_only: bool | None = None
    write_cache: bool | None = None

    @property
    def key(self) -> str:
        """What it is told apart by: its GUID, or its path while it has none."""
        return self.guid or self.path or ""

    @property
    def registered(self) -> bool:
        """False for what is only a memory of an LU: its views are kept, its data is not served."""
        return self.state.lower() != "unregistered"

    @property
    def online(self) -> bool:
        """It answers to initiators."""
        return self.state.lower() == "online"


@dataclass(frozen=True, slots=True)
class View:
    """Who sees an LU where: None stands for all. ``lun`` None is one the node picks by itself ("Auto").

    A backend without host groups names an initiator instead.
    """

    index: int
    host_group: str | None
    target_group: str | None
    lun: int | None


@dataclass(frozen=True, slots=True)
class Session:
    """An initiator that is logged in. ``since`` is what the node printed, in its own time zone, or None."""

    target: str
    initiator: str
    alias: str | None
    since: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A target port and who is logged in to it."""

    name: str
    state: str
    sessions: tuple[Session, ...]

    @property
    def online(self) -> bool:
        """It accepts logins."""
        return self.state.lower() == "online"


@dataclass(frozen=True, slots=True)
class TargetSetup:
    """How a target was set up: ``auth`` is none, chap, radius; ``portal_groups`` empty means every address."""

    name: str
    alias: str | None
    auth: str
    auth_is_default: bool
    chap_user: str | None
    has_chap_secret: bool
    portal_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PortalGroup:
    """A target portal group and its portals, ``address:port``."""

    name: str
    portals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Initiator:
    """What the node knows of an initiator for CHAP."""

    name: str
    chap_user: str | None
    has_chap_secret: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A host group or target group and its members."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``node check``: what was looked at, whether it is well, and what to do if not."""

    what: str
    ok: bool
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}
