"""What every way of exporting zvols must offer. A backend is one value that satisfies ``Backend``.

All of it is pure: steps and queries go out, facts come in; ``xvmstore`` runs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from iscsi.model import Check, Group, LogicalUnit, Target, TargetLayout, TargetSetup, View
from remote.host import Answer
from remote.script import Query, Secret, Step, Word
from storage.zvol import Resize


@dataclass(frozen=True, slots=True)
class Access:
    """One dom0 that may use a volume: its host group, its initiator, and what it must know (CHAP)."""

    host_group: str
    initiator: str
    chap_user: str | None = None
    chap_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One volume as it is to be exported. Words, since some of it may be known to the node only.

    size          of the LU, in bytes
    shared        the target serves other volumes too, and is never taken away with this one
    target_group  on a shared target: an existing target group, or None for all targets
    own_chap      user and secret the target proves itself with
    listen        addresses and ports a new target listens on, where that is a matter of the target
    """

    dataset: str
    alias: str
    size: Word
    guid: Word
    serial: Word
    lun: Word
    target: Word
    write_cache: bool
    shared: bool
    target_group: str | None = None
    portal_group: str | None = None
    own_chap: tuple[str, Secret] | None = None
    listen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """What of one volume's export is there. ``host_groups`` are all of the node's.

    ``waiting`` are views on its target that wait for an LU that has gone, not all of them this volume's.
    """

    unit: LogicalUnit | None
    views: tuple[View, ...]
    target: Target | None
    setup: TargetSetup | None
    host_groups: tuple[Group, ...]
    waiting: tuple[View, ...] = ()


@dataclass(frozen=True, slots=True)
class Everything:
    """All that a node exports; views by their LU's key, and by target those that wait for an LU that has gone."""

    units: tuple[LogicalUnit, ...]
    views: dict[str, tuple[View, ...]]
    targets: tuple[Target, ...]
    host_groups: tuple[Group, ...]
    waiting: Mapping[str, tuple[View, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a node's configuration asks of it. ``dom0s`` are those that may use new volumes, without their secrets."""

    node: str
    release: str
    user: str | None
    become: str
    portals: tuple[str, ...]
    portal_group: str | None
    dom0s: Mapping[str, Access]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a target program can do and what it leaves to us, on a family of releases.

    layouts       which of the two it can do
    largest_lun   the highest LUN it takes, and brings back at boot
    options       configuration keys that not every program has, and this one does
    head          bytes at the start of a zvol that it keeps for itself
    guid          who chooses an LU's GUID: we do; it does, and ``make`` and ``restore`` capture it as ``guid``;
                  or it does later, at the first login
    target        who chooses the target's name: we do; or it does, and ``make``, ``restore`` and ``resize`` capture it
                  as ``target``
    keeps_views   an LU may go and come back, and whoever saw it sees it again
    masks         what is withdrawn stays as an LU that nobody sees, and holds its zvol open; ``suspend`` lets go of it
    grows_in_use  an LU may change its size while somebody is logged in
    adopts        an LU that somebody else made can be taken over as it is, with its GUID
    """

    layouts: tuple[TargetLayout, ...]
    largest_lun: int
    options: frozenset[str] = frozenset()
    head: int = 0
    guid: Literal["ours", "its", "later"] = "ours"
    target: Literal["ours", "its"] = "ours"
    keeps_views: bool = True
    masks: bool = False
    grows_in_use: bool = True
    adopts: bool = False


class Backend(Protocol):
    """A target program, on a family of releases."""

    @property
    def traits(self) -> Traits:
        """What it can do."""

    def device(self, dataset: str) -> str:
        """The path of a zvol's device, as the program takes and lists it."""

    def new_guid(self) -> str:
        """A GUID no LU ever had, of the kind the program makes."""

    def serial(self, guid: str) -> str:
        """The unit serial number of an LU with this GUID."""

    def make(self, export: Export) -> tuple[Step, ...]:
        """A new LU on a new zvol, verified, seen by nobody yet."""

    def restore(self, export: Export) -> tuple[Step, ...]:
        """The LU of a zvol that was exported before, with the GUID it had, verified."""

    def suspend(self, export: Export) -> tuple[Step, ...]:
        """Let go of the zvol for a moment: the LU goes, and who may see it is remembered. ``resume`` brings it back."""

    def resume(self, export: Export, *, waits: bool, anew: bool = False) -> tuple[Step, ...]:
        """After ``suspend``, or a ``move`` cut off: ``restore``, if views wait; whoever saw the LU sees it again.

        ``anew``: what the program remembers on the zvol is of another LU.
        """

    def publish(self, export: Export, access: Sequence[Access], *, again: bool = False) -> tuple[Step, ...]:
        """Let the dom0s' initiators in. The view comes last. ``again``: the target may be there, set up otherwise."""

    def admit(self, access_: Access, *, renew: bool = False) -> tuple[Step, ...]:
        """Make a dom0 known to the node. ``renew``: set its secret even where there is one."""

    def same_unit(self, export: Export) -> tuple[Step, ...]:
        """Checks that the LU with this GUID, if any, is this volume's; before anything is taken away."""

    def not_in_use(self, export: Export, *, initiator: str | None = None) -> tuple[Step, ...]:
        """Checks that nobody (or not this initiator) is logged in."""

    def logged_in(self, said: str) -> tuple[str, ...]:
        """The initiators named in what a check of ``not_in_use`` printed."""

    def withdraw(self, export: Export, *, forever: bool) -> tuple[Step, ...]:
        """Take views, LU and, unless shared, the target away. The data stays. ``forever``: the zvol goes next."""

    def withdraw_from(self, export: Export, access: Access) -> tuple[Step, ...]:
        """Take the volume away from one dom0 only."""

    def resize(self, export: Export, volsize: Resize) -> tuple[Step, ...]:
        """Give the zvol another size, tell the LU, and check that it listened. No LU is ever larger than its zvol."""

    def move(self, export: Export, rename: Step, *, dataset: str, alias: str) -> tuple[Step, ...]:
        """Rename the zvol under an LU; ``export`` has the old dataset and alias."""

    def inspect(self, guid: Word, target: Word) -> tuple[Query[Any], ...]:
        """Questions about one volume's export."""

    def read(self, answers: Sequence[Any], path: str) -> Exported:
        """Their answers as facts about the LU on this path."""

    def inspect_all(self) -> tuple[Query[Any], ...]:
        """Questions about all exports of the node."""

    def read_all(self, answers: Sequence[Any]) -> Everything:
        """Their answers as facts."""

    def examine(self) -> tuple[Query[Any], ...]:
        """Questions about the node itself: services, rights, release."""

    def findings(self, needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
        """Their answers, judged."""

    def prepare(self, needs: Needs) -> tuple[Step, ...]:
        """Make the node fit, but for its datasets and dom0s."""

    def rights(self, needs: Needs) -> str:
        """What its administrator must grant, as text for a terminal."""
