"""The files in DIR that tell clients how to reach the node, and what the node remembers about itself.

Written once, on first start, and left alone afterwards. No keys are made and nothing is started here.
"""

import getpass
import json
import os
import secrets
import socket
import string
from dataclasses import dataclass
from pathlib import Path

INITIATOR = "iqn.2026-11.org.xvmstore:xen1"
SHARED_TARGET = "iqn.2026-11.org.xvmstore:embedded"

_CONFIG = """\
# Written by `xvmstore embedded start`; kept on restart.
[nodes.embedded]
host = "127.0.0.1"
port = {ssh_port}
user = {user}
identity = {identity}
known_hosts = {known_hosts}
backend = "{backend}"
release = "{flavour}"
base = "tank/xvm"
portals = ["127.0.0.1:{iscsi_port}"]
{layout}
default_dom0s = ["xen1"]
[dom0s.xen1]
initiator = "{initiator}"
chap_user = "xen1"
chap_secret_file = {secret}
"""

_LUN = "lun = 1                        # tgtd keeps LUN 0 for its own controller"
# By flavour: the backend's name, and how volumes share targets. iscsitgtd gives a target LUN 0 first; where it
# is, or was before an upgrade, COMSTAR goes on with that.
_LAYOUTS = {
    "illumos": ("comstar", f'layout = "target-per-volume"\n{_LUN}'),
    "b134": ("comstar", 'layout = "target-per-volume"'),
    "b111": ("comstar", f'layout = "shared-target"\ntarget = "{SHARED_TARGET}"\n{_LUN}'),
    "b85": ("iscsitadm", 'layout = "target-per-volume"'),
}

_SSH_CONFIG = """\
Host embedded
    HostName 127.0.0.1
    Port {ssh_port}
    User {user}
    IdentityFile "{directory}/client_key"
    IdentitiesOnly yes
    UserKnownHostsFile "{directory}/known_hosts"
    StrictHostKeyChecking yes
"""


class StartError(Exception):
    """The node cannot start; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What must stay the same from one start to the next."""

    flavour: str
    ssh_port: int
    iscsi_port: int


def check_directory(directory: Path) -> None:
    """Refuse a directory whose name cannot stand in PATH, in ssh's configuration or in tgtadm's parameters."""
    odd = set(str(directory)) & set(':,"%\n')
    if odd:
        raise StartError(f"the directory's name must not contain {' '.join(repr(each) for each in sorted(odd))}")


def user_name() -> str:
    """Give the name to log in with; a user without an entry in passwd goes by number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def free_port() -> int:
    """Give a port on loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def port_is_taken(port: int) -> bool:
    """Tell whether something listens on the port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def load_identity(directory: Path) -> Identity | None:
    """Give what an earlier start left in the directory, None before the first."""
    try:
        stored = json.loads((directory / "server.json").read_text())
    except FileNotFoundError:
        return None
    return Identity(str(stored["flavour"]), int(stored["ssh_port"]), int(stored["iscsi_port"]))


def choose_identity(directory: Path, *, flavour: str, ssh_port: int) -> Identity:
    """Give the identity to start with: the stored one, or a new one; refuse what contradicts the stored one."""
    stored = load_identity(directory)
    if stored is None:
        if flavour not in _LAYOUTS:
            raise StartError(f"no such flavour: {flavour} (there are {', '.join(_LAYOUTS)})")
        return Identity(flavour, ssh_port, free_port())
    if stored.flavour != flavour:
        raise StartError(f"{directory} is a node of flavour {stored.flavour}, not {flavour}")
    if ssh_port not in {0, stored.ssh_port}:
        raise StartError(f"{directory} is a node on SSH port {stored.ssh_port}, not {ssh_port}")
    for port, what in ((stored.ssh_port, "SSH"), (stored.iscsi_port, "iSCSI")):
        if port_is_taken(port):
            raise StartError(f"the {what} port of {directory}, {port}, is taken by another process")
    return stored


def _quoted(text: object) -> str:
    """Write a TOML basic string: JSON's escapes are a subset of TOML's as long as no surrogates are escaped."""
    return json.dumps(str(text), ensure_ascii=False)


def _config(directory: Path, identity: Identity) -> str:
    backend, layout = _LAYOUTS[identity.flavour]
    return _CONFIG.format(
        backend=backend,
        ssh_port=identity.ssh_port,
        iscsi_port=identity.iscsi_port,
        flavour=identity.flavour,
        user=_quoted(user_name()),
        identity=_quoted(directory / "client_key"),
        known_hosts=_quoted(directory / "known_hosts"),
        layout=layout,
        initiator=INITIATOR,
        secret=_quoted(directory / "chap" / "xen1.secret"),
    )


def _write_once(path: Path, text: str, *, mode: int = 0o644) -> None:
    if not path.exists():
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        new.touch(mode=mode)
        new.write_text(text, encoding="utf-8")
        new.rename(path)


def write_client_files(directory: Path, identity: Identity, *, host_key: str) -> None:
    """Write the files a client needs, and last what marks the directory as a node; each only if it is missing."""
    (directory / "chap").mkdir(mode=0o700, exist_ok=True)
    alphabet = string.ascii_letters + string.digits
    secret = "".join(secrets.choice(alphabet) for _ in range(16))
    _write_once(directory / "chap" / "xen1.secret", secret, mode=0o600)
    kind, key = host_key.split()[:2]
    _write_once(directory / "known_hosts", f"[127.0.0.1]:{identity.ssh_port} {kind} {key}\n")
    ssh_config = _SSH_CONFIG.format(ssh_port=identity.ssh_port, user=user_name(), directory=directory)
    _write_once(directory / "ssh_config", ssh_config)
    _write_once(directory / "config.toml", _config(directory, identity))
    fields = {name: getattr(identity, name) for name in ("flavour", "ssh_port", "iscsi_port")}
    _write_once(directory / "server.json", json.dumps(fields) + "\n")
