"""What the node's iSCSI side must serve right now, in terms of no particular target program.

The command side (stmfadm, itadm) produces these values from its state; the data side (tgtd) makes the real
target agree with them. Neither knows the other.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ChapAccount:
    """One CHAP name and its secret."""

    user: str
    secret: str


@dataclass(frozen=True, slots=True)
class ServedLun:
    """A logical unit as the initiators of one target see it. Sizes are bytes."""

    number: int
    path: Path
    offset: int
    size: int
    block_size: int
    guid: str
    serial: str
    vendor: str
    product: str
    read_only: bool
    write_cache: bool


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """A target that is online, its LUNs and who may log in.

    ``initiators`` empty means nobody; ``open_to_all`` means a view for the host group ``All`` exists.
    ``incoming`` are the accounts that initiators must know (empty: no authentication), ``outgoing`` is the
    account the target proves itself with (mutual CHAP).
    """

    iqn: str
    luns: tuple[ServedLun, ...]
    initiators: tuple[str, ...]
    open_to_all: bool
    incoming: tuple[ChapAccount, ...]
    outgoing: ChapAccount | None


@dataclass(frozen=True, slots=True)
class Session:
    """An initiator that is logged in to a target. ``since`` is seconds since the epoch."""

    target: str
    initiator: str
    since: float
