"""A storage node as configured: how to reach it, how it exports, where volumes are on it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from iscsi import names as iscsi_names
from iscsi.backend import Access, Backend, Export, Needs
from iscsi.backends import BACKENDS
from iscsi.probe import Capabilities
from remote.host import Answer, Host, Outcome, guest_lock
from remote.script import Captured, Lock, Query, Secret, Step, Word
from storage import names, notes, zvol
from storage.names import VolumeName
from storage.notes import Notes
from storage.vintage import VINTAGES, Vintage
from xvmstore import secret_files
from xvmstore.config import AUTO, Config, Node
from xvmstore.connections import Transport, host, transport
from xvmstore.guard import Guard
from xvmstore.plan import Plan

T = TypeVar("T")


class StorageNode:
    """One node of the configuration. Connects at the first thing it is asked."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.settings: Node = config.node(name)
        self._way: Transport | None = None
        self._secrets: dict[str, Secret] = {}
        where = f"{config.path}: [nodes.{name}]"
        # Only where the configuration leaves it to the node what it is.
        self._guarded = self.settings.written is None
        self._guard = Guard(name, self.settings, where=where, host=self._machine)

    @property
    def capabilities(self) -> Capabilities | None:
        """What the node was found to be; None where nobody has looked, or the configuration says it."""
        return self._guard.remembered if self._guarded else None

    def settle(self) -> None:
        """Find out what the node is, where the configuration leaves that to it and nobody has looked lately."""
        if self._guarded:
            self._guard.settle()

    @property
    def written(self) -> tuple[str, str]:
        """Backend and release, by name: as configured, as found out, or as guessed."""
        if self.settings.written is not None:
            return self.settings.written
        return self._guard.believed.backend, self._guard.believed.release

    @property
    def release(self) -> str:
        """The release, by name."""
        return self.written[1]

    @property
    def backend(self) -> Backend:
        """How volumes are exported."""
        backend, release = self.written
        return BACKENDS[backend][release]

    @property
    def vintage(self) -> Vintage:
        """What its ZFS can do."""
        return self._guard.believed.vintage if self._guarded else VINTAGES[self.release]

    @property
    def unshared(self) -> tuple[tuple[str, str], ...]:
        """What a new zvol must be set to, or a property of its parent's may have ZFS export it to everybody."""
        return (("shareiscsi", "off"),) if self.vintage.shareiscsi else ()

    @property
    def become(self) -> str:
        """How the user who logs in gets rights."""
        own = self.settings.become
        return self._guard.believed.become if self._guarded and own == AUTO else own

    def _machine(self) -> Host:
        """The machine, with the rights as they are known now; the connection is not opened yet."""
        if self._way is None:
            self._way = transport(f"nodes.{self.name}", self.settings.host, self.settings, self.config)
        return host(self.name, self._way, self.settings, become=self.become)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._way is not None:
            self._way.close()

    def run(self, plan: Plan, *, then: Sequence[Query[Any]] = ()) -> Outcome:
        """Carry a plan out and ask, in one round trip."""
        if self._guarded:
            return self._guard.run(plan.steps, then=then, lock=plan.lock)
        return self._machine().run(plan.steps, then=then, lock=plan.lock)

    def ask(self, queries: Sequence[Query[Any]], *, anew: bool = False) -> tuple[Answer[Any], ...]:
        """Ask questions only, in one round trip. ``anew``: find out what the node is, too, however well it is known."""
        if self._guarded:
            return self._guard.ask(queries, anew=anew)
        return self._machine().ask(queries)

    def ask_one(self, query: Query[T]) -> T:
        """The answer of one question; raises when there is none."""
        (answer,) = self.ask((query,))
        found: T = answer.get()
        return found

    @property
    def notes(self) -> Notes:
        """Where what is known of checkpoints is kept from now on."""
        return notes.kept(self.settings.base, on_snapshots=self.vintage.snapshot_properties)

    @property
    def noted(self) -> Query[str]:
        """What an older release noted of checkpoints, or this one does; for ``storage.notes.read``."""
        return notes.kept_apart(self.settings.base)

    @property
    def shared(self) -> bool:
        """All volumes behind one target."""
        return self.settings.layout == "shared-target"

    def lock(self, guest: str, *others: str) -> Lock:
        """The lock for a change of these guests' disks; what is on a shared target changes one after the other."""
        target = (iscsi_names.iqn(self.settings.target),) if self.shared and self.settings.target else ()
        return guest_lock(guest, *others, *target)

    def parent(self, guest: str) -> str:
        """A guest's dataset."""
        return f"{self.settings.base}/{guest}"

    def dataset(self, name: VolumeName) -> str:
        """A volume's zvol. Raises InvalidValue when the whole name is too long for ZFS."""
        return names.dataset(f"{self.parent(name.guest)}/{name.disk}")

    def new_target(self, name: VolumeName, guid: str) -> str:
        """The target for a new volume."""
        if self.shared and self.settings.target:
            return iscsi_names.iqn(self.settings.target)
        return iscsi_names.target(self.settings.target_prefix, name.guest, name.disk, unit=guid)

    def dom0s(self, chosen: Iterable[str]) -> tuple[str, ...]:
        """The dom0s that are meant: those named, or the node's own choice. Raises ConfigError."""
        meant = tuple(dict.fromkeys(chosen)) or self.settings.default_dom0s
        for name in meant:
            self.config.dom0(name)
        return meant

    def access(self, dom0: str, *, secrets: bool = True) -> Access:
        """A dom0 as this node must know it. Reads its CHAP secret unless told not to."""
        settings = self.config.dom0s[dom0]
        secret = self._secret(settings.chap_secret_file, f"dom0 {dom0}") if secrets else None
        group = settings.host_group or dom0
        return Access(group, iscsi_names.iqn(settings.initiator), settings.chap_user, secret)

    def _secret(self, name: str | None, whose: str) -> Secret | None:
        """Asked for or read once, however many volumes need it."""
        if name and whose not in self._secrets:
            typed = name == secret_files.PROMPT
            self._secrets[whose] = secret_files.ask(whose) if typed else secret_files.read(self.config.file(name))
        return self._secrets[whose] if name else None

    def needs(self) -> Needs:
        """What the configuration asks of the node itself."""
        settings = self.settings
        dom0s = {name: self.access(name, secrets=False) for name in settings.default_dom0s}
        return Needs(
            self.name, self.release, settings.user, self.become, settings.portals, settings.portal_group, dom0s
        )

    def viewer_names(self) -> dict[str, str]:
        """dom0 by what a view names it by: its host group, or its initiator where there are no groups."""
        groups = {dom0.host_group or name: name for name, dom0 in self.config.dom0s.items()}
        return groups | self.initiators()

    def initiators(self) -> dict[str, str]:
        """dom0 by initiator."""
        return {iscsi_names.iqn(dom0.initiator): name for name, dom0 in self.config.dom0s.items()}

    def export(self, name: VolumeName, *, size: Word, guid: Word, serial: Word, lun: Word, target: Word) -> Export:
        """How a volume is exported here, but for the target's own secret: ``with_own_secret``."""
        settings = self.settings
        return Export(
            dataset=self.dataset(name),
            alias=str(name),
            size=size,
            guid=guid,
            serial=serial,
            lun=lun,
            target=target,
            write_cache=settings.write_cache,
            shared=self.shared,
            target_group=settings.target_group,
            portal_group=settings.portal_group,
            listen=settings.listen,
        )

    def with_own_secret(self, export: Export) -> Export:
        """The export with what the target proves itself by, for changes that set it up."""
        own = self.own_chap()
        return replace(export, own_chap=own) if own else export

    def own_chap(self) -> tuple[str, Secret] | None:
        """What the node's targets prove themselves with (mutual CHAP), if they do."""
        secret = self._secret(self.settings.chap_secret_file, f"node {self.name}")
        user = self.settings.chap_user
        return (user, secret) if user and secret else None

    def recorded(self, name: VolumeName, *, size: Word | None = None) -> Export:
        """How a volume is exported by what ``identity`` captures of it on the node; ``size`` where it gets another."""
        words = {word: Captured(word) for word in ("guid", "serial", "lun", "target")}
        return self.export(name, size=size or Captured("volsize"), **words)

    def record_its_choices(self, name: VolumeName) -> tuple[Step, ...]:
        """Write down what the target program chose itself of an LU's identity, after it was captured."""
        traits = self.backend.traits
        its = [key for key, whose in (("guid", traits.guid), ("target", traits.target)) if whose == "its"]
        return tuple(zvol.set_property(self.dataset(name), zvol.PREFIX + key, Captured(key)) for key in its)

    def identity(self, name: VolumeName) -> Step:
        """Checks that a volume is one of ours, made in the layout this node is configured for."""
        return zvol.identity(self.dataset(name), layout=self.settings.layout)
