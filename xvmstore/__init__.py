"""xvmstore: disks of Xen guests on ZFS, exported over iSCSI. ``Site`` is the way in.

from xvmstore import Site

with Site.load() as site:
    created = site.create_volume("web1/root", "20G")
    print(created.volume.guid, created.volume.disk["xl"])
"""

from typing import TYPE_CHECKING

from remote.errors import (
    ConfigError,
    Interrupted,
    InUse,
    InvalidValue,
    Locked,
    LoginRefused,
    Mismatch,
    NotFound,
    PartlyDone,
    QueryFailed,
    Refused,
    RemoteError,
    StepFailed,
    UnexpectedOutput,
    UnknownHostKey,
    Unreachable,
    XvmError,
)
from xvmstore.version import __version__

if TYPE_CHECKING:
    from xvmstore.results import Check, Created, Lun, LunSession, Volume
    from xvmstore.site import Site

__all__ = [
    "Check",
    "ConfigError",
    "Created",
    "InUse",
    "Interrupted",
    "InvalidValue",
    "Locked",
    "LoginRefused",
    "Lun",
    "LunSession",
    "Mismatch",
    "NotFound",
    "PartlyDone",
    "QueryFailed",
    "Refused",
    "RemoteError",
    "Site",
    "StepFailed",
    "UnexpectedOutput",
    "UnknownHostKey",
    "Unreachable",
    "Volume",
    "XvmError",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Load the parts that cost time only when somebody asks for them: ``xvmstore --help`` does not."""
    if name == "Site":
        from xvmstore.site import Site

        return Site
    if name in {"Check", "Created", "Lun", "LunSession", "Volume"}:
        from xvmstore import results

        return getattr(results, name)
    raise AttributeError(f"module 'xvmstore' has no attribute {name!r}")
