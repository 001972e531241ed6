"""Snapshots on the very machine we run on, by one of two backends with equal results.

``Lzc`` speaks to the kernel through libzfs_core, OpenZFS's own Python module (Debian: python3-pyzfs): typed errors, and
nothing to parse. ``CommandLine`` runs ``zfs`` and reads its words. Which of them is used shows in no result and in no
error: the same types, about the same names, with the same message. What is only read goes through ``zfs`` in both, for
libzfs_core can list nothing.
"""

import importlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from remote.errors import InvalidValue, UnexpectedOutput
from storage.local_errors import (
    RAISED,
    RIGHTS,
    Busy,
    Cloned,
    Exists,
    Held,
    HoldExists,
    Missing,
    NoRights,
    NoSpace,
    NotHeld,
    NotLatest,
    Pairs,
    Unavailable,
    Unexplained,
    ZfsError,
    dataset_of,
    failures,
    worst,
)

__all__ = [
    "Busy",
    "Cloned",
    "CommandLine",
    "Exists",
    "Filesystem",
    "Held",
    "HoldExists",
    "Lzc",
    "Missing",
    "NoRights",
    "NoSpace",
    "NotHeld",
    "NotLatest",
    "Snapshots",
    "Unavailable",
    "Unexplained",
    "ZfsError",
    "here",
]


class Snapshots(Protocol):
    """What a backend can do. Names are whole ("tank/a@x"), of one pool; errors are ZfsError."""

    def snapshot(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """Take all of them at one moment, or none. Raises Exists, Missing, NoSpace."""

    def hold(self, names: Sequence[str], tag: str) -> None:
        """Hold all of them, or none. Raises HoldExists, Missing."""

    def release(self, names: Sequence[str], tag: str) -> None:
        """Release those that are held, and then raise NotHeld or Missing about the others."""

    def destroy(self, names: Sequence[str]) -> None:
        """Destroy all of them; Missing, Held and Cloned are raised before any is destroyed."""

    def rollback(self, dataset: str, snapshot: str) -> None:
        """Back to the snapshot of this short name, only if it is the newest (NotLatest).

        A volume that somebody has open is rolled back under his feet on Linux and FreeBSD: that nobody has it open is
        for the caller to see to.
        """


def here(*, prefer: Literal["auto", "pyzfs", "command"] = "auto") -> Snapshots:
    """The backend of this machine: libzfs_core where it works, else ``zfs``. Raises Unavailable with prefer="pyzfs"."""
    if prefer == "command":
        return CommandLine()
    try:
        return Lzc(_working_module())
    except Unavailable:
        if prefer == "pyzfs":
            raise
        return CommandLine()


_GET_IT = (
    "on Debian `apt install python3-pyzfs` (in contrib), and run xvmstore with a Python that sees the distribution's "
    "packages (a venv made with --system-site-packages); never pip's pyzfs, which is broken"
)


def _working_module() -> Any:
    """libzfs_core, if it is OpenZFS's own and the kernel answers it. Raises Unavailable."""
    try:
        module = importlib.import_module("libzfs_core")
    except ImportError as error:
        raise Unavailable(f"there is no libzfs_core for this Python ({error}): {_GET_IT}") from error
    # PyPI's 0.2.3 of 2016 has no channel programs, and dies of AttributeError where it should say what failed.
    if not hasattr(module, "lzc_channel_program"):
        raise Unavailable(f"libzfs_core here is not OpenZFS's own but pip's pyzfs, which is broken: {_GET_IT}")
    try:
        module.lzc_exists(b"xvmstore")
    except (OSError, _zfs_error(module)) as error:
        raise Unavailable(f"libzfs_core cannot speak to the kernel's ZFS: {error}") from error
    return module


def _zfs_error(module: Any) -> type[Exception]:
    found: type[Exception] = module.exceptions.ZFSError
    return found


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Snapshot names that one transaction can have: of one pool, one a dataset. Raises InvalidValue.

    Checked here because ZFS answers both with one error (EXDEV), and `zfs` with a text that names neither.
    """
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][^@#%\t\n]*@[^@#%/\t\n]+", name):
            raise InvalidValue(f"{name!r} is no snapshot's name: write DATASET@SNAPSHOT")
    datasets = [dataset_of(name) for name in names]
    pools = sorted({name.split("/")[0] for name in datasets})
    if len(pools) > 1:
        raise InvalidValue(f"{', '.join(pools)}: snapshots of several pools cannot be taken or destroyed together")
    twice = sorted({name for name in datasets if datasets.count(name) > 1})
    if twice:
        raise InvalidValue(f"{', '.join(twice)}: two snapshots of one dataset cannot be taken at one moment")
    return tuple(names)


class Lzc:
    """Through libzfs_core, whose names are bytes."""

    def __init__(self, module: Any) -> None:
        self._lzc = module

    def snapshot(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """As Snapshots says; the kernel does it."""
        values = {key.encode(): value.encode() for key, value in properties.items()}
        # It names the snapshot that could not be; what is missing is its dataset.
        self._call(checked(names), self._lzc.lzc_snapshot, _bytes(names), values, missing=dataset_of)

    def hold(self, names: Sequence[str], tag: str) -> None:
        """As Snapshots says; those that the kernel passed over are an error here."""
        wanted = {name.encode(): tag.encode() for name in checked(names)}
        try:
            passed_over = _texts(self._call(names, self._lzc.lzc_hold, wanted))
        except (HoldExists, Missing) as error:
            raise self._why_not_held(names, tag, error) from error
        if passed_over:
            held = [name for name in names if name not in passed_over]
            if held:
                self.release(held, tag)
            raise Missing(passed_over)

    def _why_not_held(self, names: Sequence[str], tag: str, error: ZfsError) -> ZfsError:
        """All that was in the way: the kernel stops at the first (dsl_dataset_user_hold_check)."""
        missing = [name for name in names if not self._call([name], self._lzc.lzc_exists, name.encode())]
        there = [name for name in names if name not in missing]
        held = [name for name in there if tag.encode() in self._call([name], self._lzc.lzc_get_holds, name.encode())]
        pairs: Pairs = [*((Missing, (name,)) for name in missing), *((HoldExists, (name,)) for name in held)]
        return worst(pairs) if pairs else error

    def release(self, names: Sequence[str], tag: str) -> None:
        """As Snapshots says."""
        wanted = {name.encode(): [tag.encode()] for name in checked(names)}
        passed_over = _texts(self._call(names, self._lzc.lzc_release, wanted))
        # A snapshot that is held, but not by this tag, comes back as SNAPSHOT#TAG.
        pairs = [(NotHeld if "#" in name else Missing, (name.partition("#")[0],)) for name in passed_over]
        if pairs:
            raise worst(pairs)

    def destroy(self, names: Sequence[str]) -> None:
        """As Snapshots says; the kernel passes over what is missing, so that is asked first."""
        missing = [name for name in checked(names) if not self._call([name], self._lzc.lzc_exists, name.encode())]
        if missing:
            raise Missing(missing)
        self._call(names, self._lzc.lzc_destroy_snaps, _bytes(names), False)

    def rollback(self, dataset: str, snapshot: str) -> None:
        """As Snapshots says."""
        (name,) = checked([f"{dataset}@{snapshot}"])
        # `zfs` looks for the snapshot, and tells of it; what else is in the way is the dataset's.
        self._call([dataset], self._lzc.lzc_rollback_to, dataset.encode(), name.encode(), missing=lambda _: name)

    def _call(
        self,
        names: Sequence[str],
        function: Callable[..., Any],
        *arguments: object,
        missing: Callable[[str], str] = str,
    ) -> Any:
        try:
            return function(*arguments)
        except _zfs_error(self._lzc) as error:
            single = [_translated(one, names, missing) for one in getattr(error, "errors", [error])]
            raise _raised(single) from error


def _raised(errors: Sequence[ZfsError]) -> ZfsError:
    unknown = next((one for one in errors if isinstance(one, Unexplained)), None)
    return unknown or worst([(type(one), one.names) for one in errors])


def _translated(error: Any, names: Sequence[str], missing: Callable[[str], str]) -> ZfsError:
    """One exception of libzfs_core as ours. An error about nobody in particular is about all that was asked for."""
    kind = RAISED.get(type(error).__name__)
    if kind is None and error.errno in RIGHTS:
        kind = NoRights
    about = _about(getattr(error, "name", None), names)
    if kind is Missing:
        about = tuple(missing(name) for name in about)
    return kind(about) if kind else Unexplained(about, str(error))


def _about(name: object, names: Sequence[str]) -> tuple[str, ...]:
    # A generic error's name may be its text.
    return (name.decode(),) if isinstance(name, bytes) else tuple(names)


def _bytes(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names]


def _texts(names: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in names]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command of this machine did and said."""

    argv: tuple[str, ...]
    exit: int
    stdout: str
    stderr: str


def run(*argv: str) -> Ran:
    """Run a command, in English, with nothing on its stdin. Raises Unavailable where there is no such program."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    except OSError as error:
        raise Unavailable(f"cannot run {argv[0]}: {error.strerror}: is it installed here, and on PATH?") from error
    return Ran(argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


_IN_THE_WAY = ("zfs", "get", "-Hp", "-o", "name,property,value", "userrefs,clones")


class CommandLine:
    """Through ``zfs``: where one command cannot do it all or not at all, it looks first or undoes."""

    def snapshot(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """As Snapshots says: `zfs snapshot A@x B@x` is one transaction since 2012; before, it takes one name."""
        options = [word for key, value in properties.items() for word in ("-o", f"{key}={value}")]
        ran = run("zfs", "snapshot", *options, *checked(names))
        if ran.exit:
            error = worst(failures(ran.stderr, names))
            # It stops at the first dataset it cannot open, and would tell of no other.
            raise Missing(_missing([dataset_of(name) for name in names])) if isinstance(error, Missing) else error

    def hold(self, names: Sequence[str], tag: str) -> None:
        """As Snapshots says, one command a snapshot: an undo must know which ones were held by us."""
        failed = [(name, ran) for name in checked(names) if (ran := run("zfs", "hold", tag, name)).exit]
        if failed:
            held = [name for name in names if name not in dict(failed)]
            if held:
                self.release(held, tag)
            raise _of_all(worst([_of_snapshot(name, ran) for name, ran in failed]), names)

    def release(self, names: Sequence[str], tag: str) -> None:
        """As Snapshots says."""
        failed = [(name, ran) for name in checked(names) if (ran := run("zfs", "release", tag, name)).exit]
        if failed:
            raise _of_all(worst([_of_snapshot(name, ran) for name, ran in failed]), names)

    def destroy(self, names: Sequence[str]) -> None:
        """As Snapshots says: what holds and clones there are is asked before.

        A send shows in nothing that can be asked: one that reads a later name is seen when those before it are gone.
        """
        refused = in_the_way(read(*_IN_THE_WAY, names=checked(names)))
        if refused:
            raise worst(refused)
        for name in names:
            ran = run("zfs", "destroy", name)
            if ran.exit:
                error = _of_all(worst([_of_snapshot(name, ran)]), names)
                # illumos's word for a held snapshot, and for one that a send reads.
                raise Held([name]) if isinstance(error, Busy) else error

    def rollback(self, dataset: str, snapshot: str) -> None:
        """As Snapshots says: without -r it refuses by itself what is not the newest."""
        (name,) = checked([f"{dataset}@{snapshot}"])
        ran = run("zfs", "rollback", name)
        if ran.exit:
            raise worst(failures(ran.stderr, [name]))


def _of_all(error: ZfsError, names: Sequence[str]) -> ZfsError:
    """The kernel, asked for all at once, has one answer to who has no rights."""
    return NoRights(names) if isinstance(error, NoRights) else error


def _of_snapshot(name: str, ran: Ran) -> tuple[type[ZfsError], tuple[str, ...]]:
    """Why one snapshot was refused; a missing dataset is a missing snapshot too."""
    return type(worst(failures(ran.stderr, [name]))), (name,)


def _missing(names: Sequence[str]) -> tuple[str, ...]:
    ran = run("zfs", "list", "-H", "-o", "name", *names)
    return tuple(name for kind, about in failures(ran.stderr, names) if kind is Missing for name in about)


def in_the_way(text: str) -> Pairs:
    """Read what keeps snapshots from being destroyed.

    tank/vm1@pre	userrefs	1
    tank/vm1@pre	clones	tank/copy,tank/other
    """
    rows = _rows("zfs get", text, ("a snapshot", "a property", "its value"))
    kinds = {"userrefs": Held, "clones": Cloned}
    return [(kinds[key], (name,)) for name, key, value in rows if value not in {"", "-", "0"}]


def read(*argv: str, names: Sequence[str] = ()) -> str:
    """What a question to ``zfs`` prints. Raises a ZfsError about ``names``."""
    ran = run(*argv, *names)
    if ran.exit:
        raise worst(failures(ran.stderr, names))
    return ran.stdout


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A filesystem; ``mountpoint`` is its property: a path, "none" or "legacy"."""

    name: str
    mounted: bool
    mountpoint: str


def filesystems() -> tuple[Filesystem, ...]:
    """All filesystems of all pools."""
    # Without -p, which `zfs list` has since 2013: these three columns are the same.
    return parse_filesystems(read("zfs", "list", "-H", "-t", "filesystem", "-o", "name,mounted,mountpoint"))


def parse_filesystems(text: str) -> tuple[Filesystem, ...]:
    """Read ``zfs list -H -t filesystem -o name,mounted,mountpoint``.

    rpool/ROOT	no	none
    rpool/ROOT/debian	yes	/
    """
    rows = _rows("zfs list", text, ("a name", "yes or no", "a mount point"))
    return tuple(Filesystem(name, mounted == "yes", mountpoint) for name, mounted, mountpoint in rows)


def root_of(found: Sequence[Filesystem]) -> Filesystem | None:
    """The one mounted at "/"; other boot environments have that mount point too, and are not mounted."""
    return next((one for one in found if one.mounted and one.mountpoint == "/"), None)


def below(dataset: str) -> tuple[str, ...]:
    """A dataset and all filesystems and volumes below it. Raises Missing."""
    text = read("zfs", "list", "-H", "-r", "-t", "filesystem,volume", "-o", "name", names=[dataset])
    return tuple(name for (name,) in _rows("zfs list", text, ("a name",)))


def _rows(command: str, text: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    rows = [tuple(line.split("\t")) for line in text.splitlines()]
    for line, row in zip(text.splitlines(), rows, strict=True):
        if len(row) != len(columns):
            raise UnexpectedOutput(command, line, f"{', '.join(columns)}, with a TAB between them")
    return rows
