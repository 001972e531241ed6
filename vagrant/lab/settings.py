"""Where the lab keeps what it makes, and the name under which a thing is kept: a hash of all it was made from."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
IMAGE = HERE.parent / "image"
PROVISION = HERE.parent / "provision"
# bookworm has OpenZFS 2.1, bookworm-backports 2.3.
SUITE = "bookworm"
ZFS_SUITES = {"2.1": "bookworm", "2.3": "bookworm-backports"}
_KEPT = 2


class LabError(Exception):
    """The lab cannot do what it was told; the message says what failed and where to look."""


def cache() -> Path:
    """``$XVMSTORE_LAB_CACHE``, else ``~/.cache/xvmstore-lab``; may be removed at any time while the lab is down."""
    named = os.environ.get("XVMSTORE_LAB_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else base / "xvmstore-lab"


def zfs_release() -> str:
    """``$XVMSTORE_LAB_ZFS``: 2.3 (the default) or 2.1. Raises LabError."""
    wanted = os.environ.get("XVMSTORE_LAB_ZFS", "2.3")
    if wanted not in ZFS_SUITES:
        raise LabError(f"XVMSTORE_LAB_ZFS={wanted}: there is {', '.join(ZFS_SUITES)}")
    return wanted


def key(*parts: str | Path) -> str:
    """A short name for exactly these texts and files' contents."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:16]


def forget_old(layer: Path, *, keep: Path, running: Iterable[Path] = ()) -> None:
    """Remove all but the newest few of a layer, never one that is in use."""
    others = [one for one in layer.iterdir() if one.is_dir() and one != keep and one not in set(running)]
    for one in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT - 1 :]:
        shutil.rmtree(one)
