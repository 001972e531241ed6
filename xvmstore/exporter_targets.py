"""From the configuration to the exporter's targets: which machine is asked what."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from exporters import arc, comstar_io, guests, kernel_io, latency, lio_io, luns, pools, snapshots, vdevs, volumes
from exporters.collector import Collector
from exporters.machine import machine
from exporters.scraper import Limits, Target
from remote.errors import ConfigError, XvmError
from xvmstore.config import Config, Dom0
from xvmstore.connections import BECOME, transport
from xvmstore.dom0s import XenDom0
from xvmstore.nodes import StorageNode

log = logging.getLogger("xvmstore.exporter")


def targets(config: Config) -> tuple[Target, ...]:
    """Every node, and every dom0 that has a host. Raises ConfigError.

    What the configuration leaves to a node is found out now, unless that was done not long ago.
    """
    return tuple(make() for make in _makers(config).values())


def target(config: Config, name: str) -> Target:
    """One of them by name. Raises ConfigError."""
    found = _makers(config)
    if name not in found:
        raise ConfigError(f"{config.path}: no node or dom0 with a host is called {name!a}; it has: {', '.join(found)}")
    return found[name]()


def _makers(config: Config) -> Mapping[str, Callable[[], Target]]:
    dom0s = {name: one for name, one in config.dom0s.items() if one.host is not None}
    both = sorted(set(config.nodes) & set(dom0s))
    if both:
        raise ConfigError(
            f"{config.path}: {both[0]} is a node and a dom0: the exporter needs a name of its own for each"
        )
    nodes = {name: partial(_node, config, name) for name in sorted(config.nodes)}
    return nodes | {name: partial(_dom0, config, name, one) for name, one in sorted(dom0s.items())}


def _node(config: Config, name: str) -> Target:
    wanted, one = config.exporter, _settled(StorageNode(name, config))
    node = one.settings
    first = next((config.dom0s[dom0].initiator for dom0 in node.default_dom0s), None)
    fast, slow = _asked(config, one)
    return Target(
        name=name,
        kind="node",
        link=lambda: transport(f"nodes.{name}", node.host, node, config),
        fast=fast,
        slow=slow,
        become=BECOME[one.become],
        portals=node.portals if wanted.probe_portals else (),
        initiator=first or f"{node.target_prefix}:exporter",
        limits=_limits(config),
        settings=(node, wanted, first, one.written, one.vintage, one.become),
    )


def _settled(node: StorageNode) -> StorageNode:
    """The node, found out about; one that does not answer now is taken for what it was the last time, or the usual."""
    try:
        node.settle()
    except XvmError as error:
        backend, release = node.written
        log.warning(
            "%s: taken for %s, %s until the configuration is read again: %s", node.name, backend, release, error
        )
    finally:
        node.close()
    return node


def _asked(config: Config, one: StorageNode) -> tuple[tuple[Collector, ...], tuple[Collector, ...]]:
    wanted, node, exact = config.exporter, one.settings, one.vintage.exact_lists
    keep = _Keep(wanted.include, wanted.exclude)
    bound = (
        pools.pools((node.base.partition("/")[0], *wanted.pools), exact=exact),
        vdevs.vdevs(exact=exact),
        latency.latency(),
        volumes.volumes(node.base, exact=exact, space_used_by=one.vintage.space_used_by, keep=keep),
    )
    slow = (snapshots.snapshots(node.base, exact=exact, keep=keep),)
    backend, _ = one.written
    return (machine(), *BY_BACKEND[backend](one, keep), *bound), slow


def _comstar(one: StorageNode, _keep: Callable[[str], bool]) -> tuple[Collector, ...]:
    return (
        arc.arc_solaris(),
        kernel_io.pool_io_solaris(),
        comstar_io.comstar_io(targets=one.shared),
        *luns.luns_comstar(one.settings.base, exact=one.vintage.exact_lists, head=one.backend.traits.head),
    )


def _iscsitadm(_one: StorageNode, _keep: Callable[[str], bool]) -> tuple[Collector, ...]:
    """Whoever asks iscsitadm starts its service, so LUNs are not asked for."""
    return arc.arc_solaris(), kernel_io.pool_io_solaris()


def _lio(one: StorageNode, keep: Callable[[str], bool]) -> tuple[Collector, ...]:
    base = one.settings.base
    return (
        arc.arc_linux(),
        kernel_io.pool_states(),
        kernel_io.volume_counts(base, keep=keep),
        kernel_io.volume_io(base, keep=keep),
        *luns.luns_lio(base),
        lio_io.lio_io(),
    )


# What a node is asked because of the program that exports its zvols.
BY_BACKEND: Mapping[str, Callable[[StorageNode, Callable[[str], bool]], tuple[Collector, ...]]] = {
    "comstar": _comstar,
    "iscsitadm": _iscsitadm,
    "lio": _lio,
}


def _dom0(config: Config, name: str, dom0: Dom0) -> Target:
    stack = XenDom0(name, config).stack
    return Target(
        name=name,
        kind="dom0",
        link=lambda: transport(f"dom0s.{name}", dom0.host or "", dom0, config),
        fast=(machine(), *guests.guests(stack, system=dom0.system)),
        become=BECOME[dom0.become],
        limits=_limits(config),
        settings=(dom0, config.exporter),
    )


def _limits(config: Config) -> Limits:
    wanted = config.exporter
    return Limits(wanted.snapshots_every, wanted.snapshots_timeout, wanted.max_series)


class _Keep:
    """Which volumes are shown: all that match ``include``, or all if it is empty, but those that match ``exclude``."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [re.compile(one) for one in include]
        self._exclude = [re.compile(one) for one in exclude]

    def __call__(self, volume: str) -> bool:
        if self._include and not any(one.search(volume) for one in self._include):
            return False
        return not any(one.search(volume) for one in self._exclude)
