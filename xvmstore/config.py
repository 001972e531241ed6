"""The configuration file: TOML into typed values; every error names file and key."""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from dom0.disk import PATH, SCRIPT, Wiring
from dom0.limits import parse_version
from dom0.toolstack import TOOLSTACKS, Toolstack
from iscsi import names as iscsi_names
from iscsi.backends import BACKENDS
from iscsi.model import TargetLayout
from remote.errors import ConfigError, InvalidValue
from storage import names
from xvmstore import backend_choice

Become = Literal["none", "pfexec", "sudo", "auto"]
AUTO = "auto"
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Reach(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a machine is logged in to."""

    user: str | None = None
    port: Annotated[int, msgspec.Meta(gt=0, lt=65536)] | None = None
    identity: str | None = None
    known_hosts: str | None = None
    ssh_config: str | None = None
    transport: Literal["fabric", "openssh", "local"] = "fabric"
    ssh_options: tuple[str, ...] = ()
    connect_timeout: Positive = 10.0
    timeout: Positive = 300.0
    become: Become = "none"


class Node(Reach, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[nodes.NAME]``: a storage node. ``host`` is an address or an alias of ssh_config(5).

    What is "auto" is found out from the node itself (``xvmstore.guard``).
    """

    host: str
    backend: Literal["auto", "comstar", "iscsitadm", "lio"] = "auto"
    release: Literal["illumos", "b134", "b111", "b85", "linux"] | None = None
    base: str
    portals: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    layout: TargetLayout = "target-per-volume"
    target: str | None = None
    target_prefix: str = "iqn.2026-11.org.xvmstore"
    target_group: str | None = None
    portal_group: str | None = None
    listen: tuple[str, ...] = ()
    lun: int = 0
    write_cache: bool = False
    chap_user: str | None = None
    chap_secret_file: str | None = None
    default_dom0s: tuple[str, ...] = ()

    @property
    def written(self) -> tuple[str, str] | None:
        """Backend and release, its usual one unless another is named; None where the node is to be asked."""
        if self.backend == AUTO:
            return None
        return self.backend, self.release or next(iter(BACKENDS[self.backend]))


class Dom0(Reach, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[dom0s.NAME]``: a Xen host; without ``host`` only an initiator. ``host_group`` is its name unless given."""

    initiator: str
    host: str | None = None
    system: Literal["linux", "solaris"] = "linux"
    toolstack: Literal["xl", "xm", "libvirt"] | None = None
    wiring: Wiring | None = None
    multipath: bool = False
    xen: str | None = None
    host_group: str | None = None
    chap_user: str | None = None
    chap_secret_file: str | None = None

    @property
    def stack(self) -> Toolstack:
        """The toolstack that is meant: xl on Linux and xm on Solaris unless another is named."""
        return TOOLSTACKS[self.system, self.toolstack or ("xm" if self.system == "solaris" else "xl")]

    @property
    def wired(self) -> Wiring:
        """How guests' disks are wired: by the script where nothing else is said, and we can put it there."""
        return self.wiring or (self.stack.wirings[0] if self.host else PATH)


class Guest(Reach, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[guests.NAME]``: what an upgrade must know of a guest. Only needed where the defaults do not do.

    host     how the guest itself is reached, to freeze its file systems
    dom0     where it runs; the dom0 that runs it is looked for otherwise
    config   on that dom0, what the toolstack starts it from; for libvirt it is defined there
    shutdown_timeout  seconds it is given to shut down before its plug is pulled
    """

    host: str | None = None
    dom0: str | None = None
    config: str | None = None
    shutdown_timeout: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[checkpoints]``. ``keep_free`` is in per cent of a pool, ``freeze_timeout`` in seconds."""

    keep_free: Annotated[float, msgspec.Meta(ge=0, lt=100)] = 5.0
    freeze_timeout: Annotated[int, msgspec.Meta(ge=5, le=300)] = 20


class Exporter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[exporter]``: what Prometheus gets to see. Times in seconds.

    listen         ADDRESS:PORT; IPv6 in brackets
    web_config     exporter-toolkit's web configuration: TLS, client certificates, passwords
    timeout        the longest a scrape may take, and how long it may where Prometheus does not say
    timeout_offset how much earlier than Prometheus gives up we must have answered
    pools          that must be there besides those of ``base``
    include        regular expressions of volumes (GUEST/DISK) to show; none: all
    exclude        of volumes not to show
    """

    listen: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("127.0.0.1:9813",)
    web_config: str | None = None
    timeout: Positive = 10.0
    timeout_offset: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    snapshots_every: Positive = 300.0
    snapshots_timeout: Positive = 120.0
    max_series: Annotated[int, msgspec.Meta(gt=0)] = 1_000_000
    probe_portals: bool = True
    pools: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _File:
    nodes: dict[str, Node]
    dom0s: dict[str, Dom0]
    guests: dict[str, Guest]
    checkpoints: Checkpoints
    exporter: Exporter


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, and the file it came from."""

    path: Path
    nodes: Mapping[str, Node]
    dom0s: Mapping[str, Dom0]
    guests: Mapping[str, Guest] = field(default_factory=dict)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    exporter: Exporter = field(default_factory=Exporter)

    def node(self, name: str) -> Node:
        """A node by name. Raises ConfigError."""
        return self._named("nodes", self.nodes, name)

    def dom0(self, name: str) -> Dom0:
        """A dom0 by name. Raises ConfigError."""
        return self._named("dom0s", self.dom0s, name)

    def guest(self, name: str) -> Guest:
        """What is configured of a guest; the defaults where nothing is."""
        return self.guests.get(name, Guest())

    def _named(self, kind: str, tables: Mapping[str, T], name: str) -> T:
        if name not in tables:
            known = ", ".join(sorted(tables)) or "none"
            raise ConfigError(f"{self.path}: there is no [{kind}.{name}]; it has: {known}")
        return tables[name]

    def file(self, name: str) -> Path:
        """A file named in the configuration: relative ones are beside it, ``~`` is the home directory."""
        try:
            return self.path.parent / Path(name).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"{self.path}: {name!a}: {error}") from error


def places() -> tuple[Path, ...]:
    """Where a configuration is looked for when none is named."""
    named = os.environ.get("XVMSTORE_CONFIG")
    if named:
        return (Path(named),)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "xvmstore" / "config.toml", Path("/etc/xvmstore/config.toml")


def load(path: Path | None = None) -> Config:
    """Read a configuration. Raises ConfigError."""
    tried = (path,) if path else places()
    # Not Path.is_file, which raises where a directory above may not be entered.
    found = next((candidate for candidate in tried if os.path.isfile(candidate)), None)
    if found is None:
        looked = ", ".join(str(candidate) for candidate in tried)
        raise ConfigError(
            f"no configuration: looked for {looked}; `xvmstore embedded start` writes one to try out with"
        )
    return read(found)


def read(path: Path) -> Config:
    """Read one file. Raises ConfigError."""
    try:
        file = _typed(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    _check(path, file)
    return Config(path, file.nodes, file.dom0s, file.guests, file.checkpoints, file.exporter)


def _typed(path: Path, data: dict[str, Any]) -> _File:
    """Table by table, so that an error can name the one it is in."""
    tables = {kind: data.pop(kind, {}) for kind in ("nodes", "dom0s", "guests")}
    kept = {kind: data.pop(kind, {}) for kind in ("checkpoints", "exporter")}
    if data:
        known = "[nodes.NAME], [dom0s.NAME], [guests.NAME], [checkpoints] and [exporter]"
        raise ConfigError(f"{path}: unknown key {next(iter(data))!a}; it has {known}")
    for kind, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {kind} is no table: write [{kind}.NAME]")
    nodes = {name: _one(path, f"nodes.{name}", table, kind=Node) for name, table in tables["nodes"].items()}
    dom0s = {name: _one(path, f"dom0s.{name}", table, kind=Dom0) for name, table in tables["dom0s"].items()}
    guests = {name: _one(path, f"guests.{name}", table, kind=Guest) for name, table in tables["guests"].items()}
    checkpoints = _one(path, "checkpoints", kept["checkpoints"], kind=Checkpoints)
    return _File(nodes, dom0s, guests, checkpoints, _one(path, "exporter", kept["exporter"], kind=Exporter))


def _one(path: Path, where: str, table: object, *, kind: type[T]) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: [{names.shown(where)}]: {error}") from error


def _check(path: Path, file: _File) -> None:
    """What the types cannot say."""
    for name, node in file.nodes.items():
        _valid(f"{path}: [nodes]", "name", names.word, name, "node name")
        _check_node(f"{path}: [nodes.{name}]", node, file)
    for name, dom0 in file.dom0s.items():
        where = f"{path}: [dom0s.{name}]"
        _valid(f"{path}: [dom0s]", "name", names.word, name, "dom0 name")
        _valid(where, "initiator", iscsi_names.iqn, dom0.initiator)
        _groups(where, host_group=dom0.host_group)
        _both(where, dom0.chap_user, dom0.chap_secret_file)
        _rights_named(where, dom0)
        _check_dom0(where, dom0)
    for name, guest in file.guests.items():
        where = f"{path}: [guests.{name}]"
        _valid(f"{path}: [guests]", "name", names.word, name, "guest name")
        _rights_named(where, guest)
        if guest.host is not None:
            _no_option(where, guest.host)
        if guest.dom0 is not None and guest.dom0 not in file.dom0s:
            raise ConfigError(f"{where}: dom0: there is no [dom0s.{guest.dom0}]")
    _check_exporter(f"{path}: [exporter]", file.exporter)
    groups = [dom0.host_group or name for name, dom0 in file.dom0s.items()]
    twice = next((group for group in groups if groups.count(group) > 1), None)
    if twice is not None:
        raise ConfigError(f"{path}: [dom0s]: host_group {twice!a} is given to two dom0s: each sees what its group sees")


def _check_exporter(where: str, exporter: Exporter) -> None:
    for address in exporter.listen:
        _check_portal(where, "listen", address)
        _check_address(where, address)
    for pool in exporter.pools:
        _valid(where, "pools", names.dataset, pool, "pool name")
    for key in ("include", "exclude"):
        for pattern in getattr(exporter, key):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"{where}: {key}: {pattern!a} is no regular expression: {error}") from error


def _check_dom0(where: str, dom0: Dom0) -> None:
    if dom0.host is not None:
        _no_option(where, dom0.host)
    known = [tool for system, tool in TOOLSTACKS if system == dom0.system]
    if dom0.toolstack is not None and dom0.toolstack not in known:
        raise ConfigError(f"{where}: toolstack: a {dom0.system} dom0 has {', '.join(known)}")
    if dom0.wired not in dom0.stack.wirings:
        raise ConfigError(f'{where}: wiring: {dom0.stack.format} cannot use a script: use wiring = "path"')
    if dom0.multipath and dom0.wired != SCRIPT:
        raise ConfigError(
            f'{where}: multipath: a line that names one path\'s device has no other: use wiring = "script"'
        )
    if dom0.xen is not None and not parse_version(dom0.xen):
        raise ConfigError(f"{where}: xen: {dom0.xen!r} is no version such as 4.17 or 3.0.3")


def _rights_named(where: str, machine: Reach) -> None:
    if machine.become == AUTO:
        raise ConfigError(f'{where}: become: "auto" is for nodes: write "none", "pfexec" or "sudo"')


def _no_option(where: str, host: str) -> None:
    if host.startswith("-"):
        raise ConfigError(f"{where}: host: {host!r} would be an option to ssh")


def _check_node(where: str, node: Node, file: _File) -> None:
    _valid(where, "base", names.dataset, node.base)
    if "/" not in node.base:
        raise ConfigError(
            f"{where}: base: {node.base!r} is a whole pool: name a dataset in it, for example {node.base}/xvm"
        )
    _valid(where, "lun", iscsi_names.lun, node.lun)
    _valid(where, "target_prefix", iscsi_names.iqn, node.target_prefix)
    _groups(where, target_group=node.target_group, portal_group=node.portal_group)
    _both(where, node.chap_user, node.chap_secret_file)
    _no_option(where, node.host)
    if node.become == AUTO and node.written is not None:
        raise ConfigError(f'{where}: become: "auto" goes with backend = "auto"')
    if node.release is not None and node.written is None:
        raise ConfigError(f"{where}: release: name the backend too")
    if node.layout == "shared-target" and not node.target:
        raise ConfigError(f'{where}: layout = "shared-target" needs target = "iqn...."')
    if node.target:
        _valid(where, "target", iscsi_names.iqn, node.target)
    backend_choice.check(where, node)
    for portal in node.portals:
        _check_portal(where, "portals", portal)
    for address in node.listen:
        _check_portal(where, "listen", address)
        _check_address(where, address)
    for dom0 in node.default_dom0s:
        if dom0 not in file.dom0s:
            raise ConfigError(f"{where}: default_dom0s: there is no [dom0s.{dom0}]")


def _valid(where: str, key: str, check: object, *values: object) -> None:
    try:
        check(*values)  # type: ignore[operator]
    except InvalidValue as error:
        raise ConfigError(f"{where}: {key}: {error}") from error


def _groups(where: str, **groups: str | None) -> None:
    for key, name in groups.items():
        if name is not None:
            _valid(where, key, iscsi_names.group, name)


def _both(where: str, user: str | None, secret_file: str | None) -> None:
    if (user is None) != (secret_file is None):
        raise ConfigError(f"{where}: chap_user and chap_secret_file go together")
    if user is not None:
        _valid(where, "chap_user", iscsi_names.chap_user, user)


_PORTAL = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})\Z")


def _check_portal(where: str, key: str, portal: str) -> None:
    match = _PORTAL.match(portal)
    if not match or not 0 < int(match[2]) < 65536:
        raise ConfigError(f"{where}: {key}: {portal!r} is no ADDRESS:PORT (IPv6 in brackets)")


def _check_address(where: str, portal: str) -> None:
    """What a kernel can listen on: no host's name, no port with a zero in front."""
    address, _, port = portal.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError as error:
        raise ConfigError(f"{where}: listen: {error}") from error
    if port.startswith("0"):
        raise ConfigError(f"{where}: listen: {portal!r}: write the port without a zero in front")
