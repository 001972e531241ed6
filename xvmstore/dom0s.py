"""A dom0 as configured: how to reach it, its toolstack, its initiator, and what it must be told of a volume."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dom0 import block_script
from dom0.block_script import Account, Shown
from dom0.disk import PATH, SCRIPT, Disk
from dom0.initiators import INITIATORS, Initiator
from dom0.limits import Planned, parse_version, warnings
from dom0.xenstore import Vbd
from remote.errors import ConfigError, Refused
from remote.host import Host, Outcome, guest_lock
from remote.script import Lock, Query, Secret, Word
from xvmstore.config import Config, Dom0
from xvmstore.connections import connect
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Volume


def finished(volume: Volume) -> Disk:
    """The volume as a disk. Raises Refused for one that has not got its target yet."""
    disk = volume.xen_disk
    if disk is None:
        raise Refused(f"{volume.node}: {volume.name} is not complete: `xvmstore volume show {volume.name}`")
    return disk


class XenDom0:
    """One dom0 of the configuration. Connects at the first thing it is asked."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.settings: Dom0 = config.dom0(name)
        self.stack = self.settings.stack
        self.wiring = self.settings.wired
        self.initiator: Initiator = INITIATORS[self.settings.system]
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        """The connection, not opened yet. Raises ConfigError for a dom0 that is only an initiator."""
        if self._host is None:
            self.reachable()
            self._host = connect(f"dom0s.{self.name}", self.settings.host or "", self.settings, self.config)
        return self._host

    def reachable(self) -> None:
        """Checks that it has an address. Raises ConfigError."""
        if self.settings.host is None:
            raise ConfigError(f"{self.config.path}: [dom0s.{self.name}]: set host, so that it can be reached")

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._host is not None:
            self._host.close()

    def run(self, plan: Plan, *, then: Sequence[Query[Any]] = ()) -> Outcome:
        """Carry a plan out and ask, in one round trip."""
        return self.host.run(plan.steps, then=then, lock=plan.lock)

    def lock(self, guest: str) -> Lock:
        """The lock for a change of a guest's disks here."""
        return guest_lock(guest)

    @property
    def by_script(self) -> bool:
        """Disks are wired by block-xvmstore."""
        return self.wiring == SCRIPT

    def targets(self, volume: Volume) -> tuple[Word, ...]:
        """What xenstore may have as the volume's target here: by any wiring, through any portal, or as dom0 tells."""
        told = self.stack.told
        return (*self._names(volume), *((told(finished(volume)),) if told else ()))

    def _names(self, volume: Volume) -> tuple[str, ...]:
        disk = finished(volume)
        seen = [replace(disk, portal=portal) for portal in volume.portals]
        names = dict.fromkeys(target(one) for target in self.stack.params.values() for one in seen)
        return tuple(name for name in names if name)

    def names_here(self) -> tuple[Query[Shown], ...]:
        """Asks what its initiator calls disks, where that cannot be known from here: for ``serves``."""
        return (self.initiator.look(),) if self.stack.told else ()

    def serves(self, vbd: Vbd, volume: Volume, shown: Shown | None = None) -> bool:
        """Is this vbd the volume? xend leaves /dev/ out. ``shown``: what dom0's initiator calls it."""
        disk = volume.xen_disk
        if disk is None:
            return False
        told = shown.devices.get((disk.target, disk.lun)) if shown else None
        names = (*self._names(volume), *((told,) if told else ()))
        return vbd.params.removeprefix("/dev/") in {name.removeprefix("/dev/") for name in names}

    def disk(self, volume: Volume) -> Disk:
        """The volume as a disk. Raises Refused for one that is not finished, or that this dom0 may not see."""
        disk = finished(volume)
        if not volume.exported or not {self.name, "All"} & set(volume.dom0s):
            raise Refused(
                f"{volume.node}: {volume.name} is not exported to {self.name}: "
                f"`xvmstore lun export {volume.name} --dom0 {self.name}`"
            )
        return disk

    def map_of(self, node: StorageNode, volume: Volume, disk: Disk) -> Secret:
        """What this dom0 must know of a volume."""
        access, own = node.access(self.name), node.own_chap()
        account = Account(access.chap_user, access.chap_secret, *(own or (None, None)))
        return block_script.map_of(
            volume.name,
            disk,
            node=node.name,
            portals=volume.portals,
            account=account,
            multipath=self.settings.multipath,
            login=self.wiring == PATH,
        )

    def warn(self, vdev: str, size: int) -> tuple[str, ...]:
        """What the configured release of Xen will not do with such a disk; nothing where none is configured."""
        if self.settings.xen is None:
            return ()
        planned = Planned(vdev, size, by_script=self.by_script, toolstack=self.stack.format.removesuffix("-solaris"))
        found = warnings(parse_version(self.settings.xen), planned)
        return tuple(f"{self.name} (Xen {self.settings.xen}): {text}" for text in found)
