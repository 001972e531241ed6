"""The library: everything the CLI does, from Python. This module and ``xvmstore.results`` are what is promised."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from dom0.disk import PATH, Wiring
from remote.errors import ConfigError, InvalidValue, Refused, RemoteError, Unreachable
from storage import names, pool
from storage.names import VolumeName
from storage.pool import Pool, PoolStatus
from xvmstore import (
    adoption,
    backend_migration,
    checks,
    config,
    dom0_checks,
    guest_list,
    guest_migration,
    guests,
    luns,
    volumes,
)
from xvmstore.backend_migration import Migration
from xvmstore.dom0s import XenDom0
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Attachment, Check, Created, Grown, Guest, Lun, LunSession, Volume, Wanted
from xvmstore.site_checkpoints import Checkpoints
from xvmstore.site_upgrades import Upgrades
from xvmstore.surprises import begins_anew

Size = int | str


@begins_anew
class Site:
    """The nodes and dom0s of one configuration.

    Connections are opened when first needed and kept; use it as a context manager, or ``close`` it. Every operation
    is one round trip to a node, and may be run again after any failure. Errors are ``xvmstore.XvmError`` and its
    kinds; their text is one line that says what was wrong and what to do.
    """

    def __init__(self, configuration: config.Config, *, node: str | None = None) -> None:
        self.config = configuration
        self._chosen = node
        self._nodes: dict[str, StorageNode] = {}
        self._dom0s: dict[str, XenDom0] = {}

    @classmethod
    def load(cls, path: str | Path | None = None, *, node: str | None = None) -> "Site":
        """Read a configuration file; without a path the first of the usual places. Raises ConfigError.

        ``node`` is the node for operations that name none; it may be left out where there is only one.
        """
        return cls(config.load(Path(path) if path else None), node=node)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            node.close()
        for dom0 in self._dom0s.values():
            dom0.close()

    def node(self, name: str | None = None) -> StorageNode:
        """A node by name, or the one that is meant when none is named. Raises ConfigError."""
        meant = name or self._chosen or self._only()
        if meant not in self._nodes:
            self._nodes[meant] = StorageNode(meant, self.config)
        return self._nodes[meant]

    def _only(self) -> str:
        known = sorted(self.config.nodes)
        if len(known) != 1:
            listed = ", ".join(known) or "none"
            raise ConfigError(f"{self.config.path}: say which node with --node; it has: {listed}")
        return known[0]

    def dom0(self, name: str) -> XenDom0:
        """A dom0 by name. Raises ConfigError."""
        if name not in self._dom0s:
            self._dom0s[name] = XenDom0(name, self.config)
        return self._dom0s[name]

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of the node's guests."""
        return Checkpoints(self.config, self.node, self.dom0)

    @property
    def upgrades(self) -> Upgrades:
        """Upgrades of the node's guests, that can be undone."""
        return Upgrades(self.config, self.node, self.dom0)

    # -- nodes and pools

    def check_node(self, name: str | None = None) -> tuple[Check, ...]:
        """Reachability, rights, services, pool; of a dom0 its toolstack, initiator, script. Raises Unreachable."""
        if name is not None and name not in self.config.nodes and name in self.config.dom0s:
            return dom0_checks.check(self.dom0(name))
        return checks.check(self.node(name))

    def setup_node(self, name: str | None = None) -> None:
        """Base dataset, services, portal group, host groups and CHAP secrets (these are set anew)."""
        checks.setup(self.node(name))

    def look_at_migration(self, name: str | None = None, *, dom0s: Iterable[str] = ()) -> Migration:
        """What iscsitadm exports or exported of this node, and the script that would bring that back.

        ``dom0s`` are for volumes of which nobody knows any more who used them. Raises Refused for a volume a change of
        which was cut off, and for one that somebody may use who is no dom0 of the configuration.
        """
        node = self.node(name)
        return backend_migration.look(node, dom0s=node.dom0s(dom0s))

    def plan_migrate_backend(self, found: Migration, name: str | None = None, *, end_others: bool = False) -> Plan:
        """What ``migrate_backend`` would do with what was found.

        Raises Refused where this release cannot take the volumes over, or iscsitgtd exports what is no volume of ours
        and ``end_others`` does not agree to end that; InUse while anybody is logged in to such a target.
        """
        return backend_migration.plan(self.node(name), found, end_others=end_others)

    def migrate_backend(
        self, found: Migration, name: str | None = None, *, end_others: bool = False
    ) -> tuple[Volume, ...]:
        """From iscsitadm to COMSTAR: on the old release write down what only its daemon knows, on the new one export.

        Target names, LUNs and GUIDs stay. Raises Refused, InUse while anybody is logged in, PartlyDone.
        """
        return backend_migration.migrate(self.node(name), found, end_others=end_others)

    def pools(self) -> tuple[Pool, ...]:
        """The node's pools; sizes in bytes."""
        return self.node().ask_one(pool.pools())

    def pool_status(self, name: str | None = None) -> tuple[PoolStatus, ...]:
        """State, scan, errors and vdev tree of one pool or all (``zpool status``)."""
        if name is not None:
            names.dataset(name, "pool name")
        return self.node().ask_one(pool.status(name))

    # -- volumes

    def create_volume(
        self,
        name: str,
        size: Size,
        *,
        thin: bool | None = None,
        block_size: Size | None = None,
        properties: dict[str, str] | None = None,
        dom0s: Iterable[str] = (),
    ) -> Created:
        """Make a volume and export it; finish it if an earlier run was cut off; change nothing if it is there.

        ``size`` is bytes or text such as ``"20G"`` (GiB). ``thin`` None means thick. ``dom0s`` are names from the
        configuration, default the node's ``default_dom0s``. Raises InvalidValue, Mismatch, Refused, StepFailed,
        PartlyDone, Interrupted, Unreachable, Locked.
        """
        node = self.node()
        wanted = wish(size, thin=thin, block_size=block_size, properties=properties)
        return volumes.create(node, VolumeName.parse(name), wanted, dom0s=node.dom0s(dom0s))

    def plan_create_volume(self, name: str, size: Size, *, dom0s: Iterable[str] = (), **options: object) -> Plan:
        """What ``create_volume`` would do; nothing is connected to."""
        node, parsed = self.node(), VolumeName.parse(name)
        identity = volumes.Identity.new(node, parsed)
        wanted = wish(size, **options)  # type: ignore[arg-type]
        return volumes.plan_create(node, parsed, wanted, dom0s=node.dom0s(dom0s), identity=identity)

    def volume(self, name: str) -> Volume:
        """One volume. Raises NotFound."""
        return volumes.show(self.node(), VolumeName.parse(name))

    def volumes(self, *, guest: str | None = None) -> tuple[Volume, ...]:
        """All volumes of the node, or of one guest."""
        return volumes.volumes(self.node(), guest=names.word(guest, "guest name") if guest is not None else None)

    def resize_volume(self, name: str, size: Size, *, force: bool = False) -> Volume:
        """Set a volume's size; the LU follows at once. Smaller only with ``force``. Raises Refused, NotFound.

        With iscsitadm the LU is a new one in a new target, with another GUID: InUse while an initiator is logged in.
        Raises PartlyDone where not all of it could be done.
        """
        return volumes.resize(self.node(), VolumeName.parse(name), in_bytes(size), force=force)

    def plan_resize_volume(self, name: str, size: Size, *, force: bool = False) -> Plan:
        """What ``resize_volume`` would do."""
        return volumes.plan_resize(self.node(), VolumeName.parse(name), in_bytes(size), force=force)

    def rename_volume(self, name: str, new: str) -> Volume:
        """Give a volume another name; what initiators see stays the same. Raises InUse, NotFound."""
        return volumes.rename(self.node(), VolumeName.parse(name), VolumeName.parse(new))

    def plan_rename_volume(self, name: str, new: str) -> Plan:
        """What ``rename_volume`` would do."""
        return volumes.plan_rename(self.node(), VolumeName.parse(name), VolumeName.parse(new))

    def destroy_volume(self, name: str, *, force: bool = False, snapshots: bool = False) -> None:
        """Destroy a volume and all that exports it. Raises InUse, NotFound, PartlyDone."""
        volumes.destroy(self.node(), VolumeName.parse(name), force=force, snapshots=snapshots)

    def plan_destroy_volume(self, name: str, *, force: bool = False, snapshots: bool = False) -> Plan:
        """What ``destroy_volume`` would do."""
        return volumes.plan_destroy(self.node(), VolumeName.parse(name), force=force, snapshots=snapshots)

    # -- LUNs

    def export_lun(self, name: str, *, dom0s: Sequence[str] = ()) -> Volume:
        """Export a volume, under the GUID, target and LUN it always had."""
        node = self.node()
        return luns.export(node, VolumeName.parse(name), dom0s=_somebody(node, dom0s))

    def plan_export_lun(self, name: str, *, dom0s: Sequence[str] = ()) -> Plan:
        """What ``export_lun`` would do."""
        node = self.node()
        return luns.plan_export(node, VolumeName.parse(name), dom0s=_somebody(node, dom0s))

    def unexport_lun(self, name: str, *, dom0: str | None = None, force: bool = False) -> Volume:
        """Take a volume's export away, wholly or from one dom0. Raises InUse while an initiator is logged in."""
        return luns.unexport(self.node(), VolumeName.parse(name), dom0=self._dom0(dom0), force=force)

    def plan_unexport_lun(self, name: str, *, dom0: str | None = None, force: bool = False) -> Plan:
        """What ``unexport_lun`` would do."""
        return luns.plan_unexport(self.node(), VolumeName.parse(name), dom0=self._dom0(dom0), force=force)

    def adopt_lun(self, what: str, name: str, *, dom0s: Sequence[str] = ()) -> Volume:
        """Make a zvol of somebody else's a volume: named by its dataset or by its LU's GUID, which stays.

        Raises NotFound, Refused for what cannot be taken over, InUse while an initiator is logged in, PartlyDone.
        """
        node = self.node()
        return adoption.adopt(node, what, VolumeName.parse(name), dom0s=node.dom0s(dom0s))

    def plan_adopt_lun(self, what: str, name: str, *, dom0s: Sequence[str] = ()) -> Plan:
        """What ``adopt_lun`` would do. The node is asked."""
        node, parsed = self.node(), VolumeName.parse(name)
        found = adoption.look(node, what)
        adoption.adoptable(node, found, parsed)
        return adoption.plan_adopt(node, found, parsed, dom0s=node.dom0s(dom0s))

    def _dom0(self, name: str | None) -> str | None:
        return self.node().dom0s([name])[0] if name is not None else None

    # -- guests

    def guests(self, *, dom0: str | None = None) -> tuple[Guest, ...]:
        """Guests that have volumes: where they run, what is attached, who is logged in.

        Every dom0 that has a ``host`` is asked, or only the one named. One that cannot be reached is named in the
        ``trouble`` of the guests it may run.
        """
        asked = [dom0] if dom0 else [name for name, one in self.config.dom0s.items() if one.host]
        seen, failed = [], {}
        for name in asked:
            try:
                one = self.dom0(name)
                seen.append(guest_list.seen(one, one.host.ask(guest_list.questions(one))))
            except (Unreachable, RemoteError) as error:
                failed[name] = str(error)
        return guest_list.guests(self.node(), self.volumes(), seen, failed)

    def install_script(self, dom0: str) -> None:
        """Install block-xvmstore and its boot unit on a dom0."""
        guests.install(self.dom0(dom0))

    def prepare_guest(self, guest: str, *, dom0: str) -> tuple[Volume, ...]:
        """Have a dom0 know a guest's volumes, and try each; where no script will log in, log in. Raises Refused."""
        found = self.volumes(guest=guest)
        guests.prepare(self.dom0(dom0), self.node(), guest, found)
        return found

    def forget_guest(self, guest: str, *, dom0: str) -> None:
        """Have a dom0 log out of a guest's volumes, and forget them."""
        guests.forget(self.dom0(dom0), names.word(guest, "guest name"), self._unmapped(guest, dom0))

    def plan_forget_guest(self, guest: str, *, dom0: str) -> Plan:
        """What ``forget_guest`` would do."""
        return guests.plan_forget(self.dom0(dom0), names.word(guest, "guest name"), self._unmapped(guest, dom0))

    def _unmapped(self, guest: str, dom0: str) -> tuple[Volume, ...]:
        """Where dom0 keeps no map, the node must tell which volumes a guest has."""
        return () if self.dom0(dom0).initiator.by_block_script else self.volumes(guest=guest)

    def attach(self, name: str, *, dom0: str, vdev: str | None = None) -> tuple[Attachment, bool]:
        """Attach a volume to its guest, which runs on ``dom0``; also tells whether it was so already.

        ``vdev`` gives it another device name from now on. Raises Refused, InUse, PartlyDone.
        """
        return guests.attach(self.dom0(dom0), self.node(), self._volume_as(name, vdev, dom0))

    def plan_attach(self, name: str, *, dom0: str, vdev: str | None = None) -> Plan:
        """What ``attach`` would do on the dom0. The node is asked."""
        found = self.volume(name)
        named = replace(found, vdev=names.vdev(vdev)) if vdev else found
        return guests.plan_attach(self.dom0(dom0), self.node(), named)

    def _volume_as(self, name: str, vdev: str | None, dom0: str) -> Volume:
        """The volume, under the device name it is to have."""
        parsed = VolumeName.parse(name)
        found = self.volume(name)
        if vdev is None or found.vdev == names.vdev(vdev):
            return found
        guests.may_be_renamed(self.dom0(dom0), self.node(), found)
        return volumes.rename_vdev(self.node(), parsed, vdev)

    def detach(self, name: str, *, dom0: str, force: bool = False) -> Volume:
        """Take a volume from its guest. Raises InUse where it is known to be used, unless forced; PartlyDone."""
        found = self.volume(name)
        guests.detach(self.dom0(dom0), found, force=force)
        return found

    def plan_detach(self, name: str, *, dom0: str, force: bool = False) -> Plan:
        """What ``detach`` would do on the dom0. The node is asked."""
        return guests.plan_detach(self.dom0(dom0), self.volume(name), force=force)

    def grow(self, name: str, size: Size, *, dom0s: Sequence[str] = ()) -> tuple[Volume, tuple[Grown, ...]]:
        """Grow a volume, and bring the new size to the guest that has it, as far as it goes.

        ``dom0s``, if empty, are those that are logged in and have a ``host``. Raises Refused, PartlyDone.
        """
        before = self.volume(name)
        logged_in = [self.node().initiators().get(one) for one in before.sessions]
        meant = dom0s or [one for one in logged_in if one is not None and self.config.dom0s[one].host]
        machines = [self.dom0(one) for one in dict.fromkeys(meant)]
        for one in machines:
            # What cannot be finished is not begun.
            guests.plan_grow(one, self.node(), before, before.size)
            one.reachable()
        found = self.resize_volume(name, size)
        return found, tuple(guests.grow(one, self.node(), found, found.size) for one in machines)

    def check_migration(self, guest: str, *, source: str, destination: str) -> tuple[Check, ...]:
        """May a guest be moved from one dom0 to another, and would it find its disks there?"""
        if source == destination:
            raise InvalidValue(f"{guest}: from {source} to {destination} is no way to go")
        found = self.volumes(guest=guest)
        return guest_migration.check(guest, found, self.dom0(source), self.dom0(destination))

    def wiring(self, dom0: str | None = None) -> tuple[str, Wiring]:
        """Format and wiring of disk lines on a dom0, or the node's first default one."""
        chosen = self.node().dom0s([dom0] if dom0 else ())
        if not chosen:
            return "xl", PATH
        meant = self.dom0(chosen[0])
        return meant.stack.format, meant.wiring

    def warnings(self, vdev: str | None, size: int, *, dom0s: Iterable[str]) -> tuple[str, ...]:
        """What the dom0s' configured releases of Xen will not do with such a disk."""
        return tuple(text for name in self.node().dom0s(dom0s) for text in self.dom0(name).warn(vdev or "xvda", size))

    # -- all LUNs

    def luns(self) -> tuple[Lun, ...]:
        """Every LU of the node, also those xvmstore did not make."""
        return luns.luns(self.node())

    def sessions(self) -> tuple[LunSession, ...]:
        """Who is logged in to what."""
        return luns.sessions(self.node())


def _somebody(node: StorageNode, dom0s: Iterable[str]) -> tuple[str, ...]:
    chosen = node.dom0s(dom0s)
    if not chosen:
        raise Refused(
            f"{node.name}: export to whom? Name a dom0 with --dom0, or set default_dom0s in [nodes.{node.name}]"
        )
    return chosen


def in_bytes(size: Size) -> int:
    """Bytes from a number or from text such as 20G."""
    return size if isinstance(size, int) else names.size(size)


def wish(
    size: Size,
    *,
    thin: bool | None = None,
    block_size: Size | None = None,
    properties: dict[str, str] | None = None,
) -> Wanted:
    """A volume as asked for, its words checked. Raises InvalidValue."""
    block = names.block_size(str(block_size)) if block_size is not None else None
    given = (properties or {}).items()
    chosen = {names.property_name(key): names.property_value(key, value) for key, value in given}
    wanted = Wanted(in_bytes(size), thin, block, chosen)
    names.volume_size(wanted.size, block or 512)
    return wanted
