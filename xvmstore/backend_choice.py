"""Which backends and releases can do what is configured of a node. Pure."""

from typing import TYPE_CHECKING

from iscsi.backends import BACKENDS
from remote.errors import ConfigError

if TYPE_CHECKING:
    from xvmstore.config import Node

# Every backend and release, the likeliest first.
PAIRS = tuple((backend, release) for backend, releases in BACKENDS.items() for release in releases)


def check(where: str, node: "Node") -> None:
    """Checks that the configured target program can do it; where none is configured, that any can. Raises ConfigError.

    Which it is, is then found out, and looked at again before anything is changed.
    """
    if node.written is not None:
        fits(where, node, *node.written)
    elif not possible(node):
        fits(where, node, *PAIRS[0])


def possible(node: "Node") -> tuple[tuple[str, str], ...]:
    """Every backend and release that could do what is configured, the likeliest first."""
    return tuple(pair for pair in PAIRS if _fit(node, *pair))


def _fit(node: "Node", backend: str, release: str) -> bool:
    try:
        fits("", node, backend, release)
    except ConfigError:
        return False
    return True


def fits(where: str, node: "Node", backend: str, release: str) -> None:
    """Checks that a target program can do what is configured. Raises ConfigError."""
    releases = BACKENDS[backend]
    if release not in releases:
        raise ConfigError(f"{where}: release: backend {backend} has {', '.join(releases)}")
    traits = releases[release].traits
    if node.layout not in traits.layouts:
        able = traits.layouts[0]
        raise ConfigError(f'{where}: release {release} cannot do layout {node.layout}: use "{able}"')
    if node.lun > traits.largest_lun:
        raise ConfigError(f"{where}: lun: backend {backend} takes 0 to {traits.largest_lun}")
    others = {key for releases in BACKENDS.values() for one in releases.values() for key in one.traits.options}
    for key in sorted(others - traits.options):
        if getattr(node, key):
            raise ConfigError(f"{where}: {key}: backend {backend} has no such thing")
