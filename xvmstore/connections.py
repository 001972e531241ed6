"""From a table of the configuration to a ``Host``: which shell reaches the machine, and with what rights."""

import os
from pathlib import Path
from typing import Protocol

from remote.address import SshAddress
from remote.errors import ConfigError
from remote.host import Host, Shell
from remote.standing import Openable
from xvmstore.config import Config, Reach

BECOME = {"none": (), "pfexec": ("pfexec",), "sudo": ("sudo", "-n")}


class Transport(Shell, Openable, Protocol):
    """A way to a machine: for one script, or for a shell that stays."""


def connect(table: str, address: str, settings: Reach, config: Config) -> Host:
    """The machine of ``[table]``, as ``dom0s.xen1``; not connected to before it is asked something."""
    name = table.partition(".")[2]
    return host(name, transport(table, address, settings, config), settings, become=settings.become)


def host(name: str, way: Transport, settings: Reach, *, become: str) -> Host:
    """A machine at the end of a way, with these rights."""
    return Host(name, way, become=BECOME[become], timeout=settings.timeout)


def transport(table: str, address: str, settings: Reach, config: Config) -> Transport:
    """The way there. Imported when wanted: fabric alone costs half a second."""
    if settings.transport == "local":
        from remote.local import LocalShell

        return LocalShell()
    where = _address(table, address, settings, config)
    if settings.transport == "openssh":
        from remote.openssh import OpensshShell

        return OpensshShell(where)
    from remote.fabric_shell import FabricShell

    return FabricShell(where)


def _address(table: str, address: str, settings: Reach, config: Config) -> SshAddress:
    def path(name: str | None) -> Path | None:
        found = config.file(name) if name else None
        if found is not None and not os.access(found, os.R_OK):
            raise ConfigError(f"{config.path}: [{table}]: {found} cannot be read")
        return found

    return SshAddress(
        host=address,
        user=settings.user,
        port=settings.port,
        identity=path(settings.identity),
        known_hosts=path(settings.known_hosts),
        ssh_config=path(settings.ssh_config),
        connect_timeout=settings.connect_timeout,
        options=settings.ssh_options,
    )
