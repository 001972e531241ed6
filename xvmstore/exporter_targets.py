"""From the configuration to the exporter's targets: which machine is asked what."""

import re
from collections.abc import Sequence

from exporters import arc, comstar_io, guests, kernel_io, latency, lio_io, luns, pools, snapshots, vdevs, volumes
from exporters.collector import Collector
from exporters.machine import machine
from exporters.scraper import Limits, Target
from iscsi.backends import BACKENDS
from remote.errors import ConfigError
from storage.vintage import VINTAGES
from xvmstore.config import Config, Dom0, Node
from xvmstore.connections import BECOME, transport
from xvmstore.dom0s import XenDom0


def targets(config: Config) -> tuple[Target, ...]:
    """Every node, and every dom0 that has a host. Raises ConfigError."""
    dom0s = {name: one for name, one in config.dom0s.items() if one.host is not None}
    both = sorted(set(config.nodes) & set(dom0s))
    if both:
        raise ConfigError(
            f"{config.path}: {both[0]} is a node and a dom0: the exporter needs a name of its own for each"
        )
    found = [_node(config, name, one) for name, one in sorted(config.nodes.items())]
    return (*found, *(_dom0(config, name, one) for name, one in sorted(dom0s.items())))


def target(config: Config, name: str) -> Target:
    """One of them by name. Raises ConfigError."""
    found = {one.name: one for one in targets(config)}
    if name not in found:
        raise ConfigError(f"{config.path}: no node or dom0 with a host is called {name!a}; it has: {', '.join(found)}")
    return found[name]


def _node(config: Config, name: str, node: Node) -> Target:
    wanted = config.exporter
    first = next((config.dom0s[one].initiator for one in node.default_dom0s), None)
    fast, slow = _asked(config, node)
    return Target(
        name=name,
        kind="node",
        link=lambda: transport(f"nodes.{name}", node.host, node, config),
        fast=fast,
        slow=slow,
        become=BECOME[node.become],
        portals=node.portals if wanted.probe_portals else (),
        initiator=first or f"{node.target_prefix}:exporter",
        limits=_limits(config),
        settings=(node, wanted, first),
    )


def _asked(config: Config, node: Node) -> tuple[tuple[Collector, ...], tuple[Collector, ...]]:
    wanted = config.exporter
    exact = VINTAGES[node.system].exact_lists
    keep = _Keep(wanted.include, wanted.exclude)
    bound = (
        pools.pools((node.base.partition("/")[0], *wanted.pools), exact=exact),
        vdevs.vdevs(exact=exact),
        latency.latency(),
        volumes.volumes(node.base, exact=exact, keep=keep),
    )
    slow = (snapshots.snapshots(node.base, exact=exact, keep=keep),)
    if node.backend == "lio":
        quick: Sequence[Collector] = (
            arc.arc_linux(),
            kernel_io.pool_states(),
            kernel_io.volume_counts(node.base, keep=keep),
            kernel_io.volume_io(node.base, keep=keep),
            *luns.luns_lio(node.base),
            lio_io.lio_io(),
        )
    else:
        quick = (
            arc.arc_solaris(),
            kernel_io.pool_io_solaris(),
            comstar_io.comstar_io(targets=node.layout == "shared-target"),
            *luns.luns_comstar(node.base, exact=exact, head=BACKENDS[node.backend][node.system].traits.head),
        )
    return (machine(), *quick, *bound), slow


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
