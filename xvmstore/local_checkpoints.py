"""Checkpoints of this machine's own file systems, for upgrades where no dom0 and no storage node can be asked.

A checkpoint is one snapshot of all file systems, taken in one transaction, with who, why and what on it, and held so
that no clean-up takes it away. Where there are boot environments one of the same name is made besides: that is what to
boot back into. Nothing here rolls anything back.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from remote.errors import InUse, InvalidValue, NotFound, Refused, RemoteError, StepFailed, UnexpectedOutput
from remote.host import who
from storage import boot_environments, local
from storage.checkpoints import TAG, new_name
from storage.names import LONGEST_VALUE, dataset
from storage.zvol import PREFIX

_NAME = re.compile(r"xvm-([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{4}\Z")
_TIME = "%Y%m%dT%H%M%SZ"
_KEYS = ("reason", "by", "command", "packages", "outcome")
_MORE = re.compile(r" ?(\.\.\. and [0-9]+ more)\Z")

Prefer = Literal["auto", "pyzfs", "command"]


@dataclass(frozen=True, slots=True)
class LocalCheckpoint:
    """A checkpoint of this machine.

    name              of the snapshot, and of the boot environment
    created           UTC, as in the name
    datasets          what was snapshotted, by name
    by                user@host
    packages          as recorded: the last may be "... and N more"
    outcome           what was noted afterwards
    boot_environment  there is one of this name
    """

    name: str
    created: str
    datasets: tuple[str, ...]
    reason: str
    by: str
    command: str | None = None
    packages: tuple[str, ...] = ()
    outcome: str | None = None
    boot_environment: bool = False

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Their whole names."""
        return tuple(f"{dataset}@{self.name}" for dataset in self.datasets)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def create(
    *,
    reason: str,
    command: str | None = None,
    packages: Sequence[str] | None = None,
    root: str | None = None,
    prefer: Prefer = "auto",
) -> LocalCheckpoint:
    """Take one, of the root dataset and what is mounted below it, or of ``root`` and all below it.

    All or nothing: what was made before something failed is taken back. Raises Refused where "/" is not on ZFS, a
    storage.local.ZfsError when ZFS says no, StepFailed when the boot environment cannot be made.
    """
    if not cut(reason):
        raise InvalidValue("a checkpoint needs a reason: it is what its list shows")
    datasets = local.below(dataset(root)) if root else _datasets(_filesystems())
    made = LocalCheckpoint(
        name=new_name(),
        created="",
        datasets=datasets,
        reason=cut(reason),
        by=cut(who()),
        command=cut(command) if command else None,
        packages=_split(cut_list(packages)) if packages else (),
    )
    made = replace(made, created=_created(made.name))
    zfs = local.here(prefer=prefer)
    zfs.snapshot(made.snapshots, _properties(made))
    return _finish(made, zfs, tool=None if root else _environments_of(datasets[0]))


def _finish(made: LocalCheckpoint, zfs: local.Snapshots, *, tool: boot_environments.Tool | None) -> LocalCheckpoint:
    try:
        zfs.hold(made.snapshots, TAG)
    except local.ZfsError:
        zfs.destroy(made.snapshots)
        raise
    try:
        if tool:
            _run(*tool.create(made.name))
    except RemoteError:
        zfs.release(made.snapshots, TAG)
        zfs.destroy(made.snapshots)
        raise
    return replace(made, boot_environment=tool is not None)


def list_() -> tuple[LocalCheckpoint, ...]:
    """All of them, oldest first. A snapshot with such a name that is not ours has no reason on it, and is left out."""
    environments = _environments()
    found = parse(local.read(*LIST))
    return tuple(replace(one, boot_environment=one.name in environments) for one in found)


def note(name: str, *, outcome: str) -> LocalCheckpoint:
    """Record what came of it. Raises NotFound."""
    found = _find(name)
    for snapshot in found.snapshots:
        _run("zfs", "set", f"{PREFIX}outcome={cut(outcome)}", snapshot)
    return replace(found, outcome=cut(outcome))


def destroy(name: str, *, prefer: Prefer = "auto") -> LocalCheckpoint:
    """Destroy one, with its boot environment. Run again, it finishes what was cut off.

    Raises NotFound; InUse when its boot environment runs, or will; Held or Cloned. Nothing is changed then.
    """
    environment = _environments().get(name)
    if environment and (environment.active or environment.next):
        raise InUse(f"{name}: its boot environment runs, or is the one of the next boot: activate another one first")
    try:
        found = _find(name)
    except NotFound:
        if not environment:
            raise
        # The snapshots go first; this is what a run that was cut off left.
        found = LocalCheckpoint(name, _created(name), (), reason="", by="", boot_environment=True)
    if found.datasets:
        _destroy_snapshots(found, local.here(prefer=prefer))
    tool = boot_environments.tool()
    if environment and tool:
        _run(*tool.destroy(name))
    return found


def _destroy_snapshots(found: LocalCheckpoint, zfs: local.Snapshots) -> None:
    # Not held: released by hand, or by a run that was cut off.
    with contextlib.suppress(local.NotHeld):
        zfs.release(found.snapshots, TAG)
    try:
        zfs.destroy(found.snapshots)
    except (local.Held, local.Cloned):
        zfs.hold(found.snapshots, TAG)
        raise


def _find(name: str) -> LocalCheckpoint:
    if not _NAME.match(name):
        raise InvalidValue(f"{name!r} is no checkpoint's name: `xvmstore checkpoint list --local` shows them")
    found = next((one for one in list_() if one.name == name), None)
    if found is None:
        raise NotFound(f"{name}: there is no such checkpoint on this machine")
    return found


def _created(name: str) -> str:
    match = _NAME.match(name)
    return datetime.strptime(match[1], _TIME).replace(tzinfo=UTC).isoformat() if match else ""


def _filesystems() -> Sequence[local.Filesystem]:
    try:
        return local.filesystems()
    except local.Unavailable as error:
        raise Refused(f"/ is not on ZFS: {error}") from error


def _datasets(found: Sequence[local.Filesystem]) -> tuple[str, ...]:
    """The root dataset, and what is mounted below it from the same pool: one transaction cannot have two pools."""
    root = local.root_of(found)
    if root is None:
        raise Refused(
            "/ is not a mounted ZFS file system with mountpoint=/, so there is nothing to take a checkpoint of: "
            "name a dataset with --root, or take a checkpoint of the guest on its storage node"
        )
    pool = root.name.split("/")[0]
    others = [one.name for one in found if one.mounted and one is not root and _below(one, root, pool)]
    return (root.name, *others)


def _below(one: local.Filesystem, root: local.Filesystem, pool: str) -> bool:
    # "legacy" says nothing of where it is mounted; a child of the root dataset is part of the system wherever it is.
    in_pool = one.name == pool or one.name.startswith(f"{pool}/")
    return in_pool and (one.mountpoint.startswith("/") or one.name.startswith(f"{root.name}/"))


def _environments_of(root: str) -> boot_environments.Tool | None:
    """The tool, where the root dataset is laid out for boot environments: POOL/ROOT/NAME (beadm(8), bectl(8))."""
    parts = root.split("/")
    return boot_environments.tool() if len(parts) == 3 and parts[1] == "ROOT" else None


def _environments() -> Mapping[str, boot_environments.BootEnvironment]:
    tool = boot_environments.tool()
    return {one.name: one for one in tool.parse(_run(*tool.list))} if tool else {}


def _run(*argv: str) -> str:
    ran = local.run(*argv)
    if ran.exit:
        raise StepFailed("this machine", " ".join(argv), exit_status=ran.exit, stderr=ran.stderr)
    return ran.stdout


def _properties(made: LocalCheckpoint) -> Mapping[str, str]:
    values = {"reason": made.reason, "by": made.by, "command": made.command, "packages": " ".join(made.packages)}
    return {PREFIX + key: value for key, value in values.items() if value}


def cut(text: str) -> str:
    """A property's value: printable, and no longer than every ZFS takes."""
    clean = "".join(one if one.isprintable() else " " for one in text).strip()
    if len(clean.encode()) <= LONGEST_VALUE:
        return clean
    return clean.encode()[: LONGEST_VALUE - 3].decode(errors="ignore") + "..."


def cut_list(words: Sequence[str]) -> str:
    """Words as a property's value; those that do not fit are counted."""
    clean = [cut(word) for word in words if word.strip()]
    text = " ".join(clean)
    fits = len(clean)
    while len(text.encode()) > LONGEST_VALUE:
        fits -= 1
        text = " ".join([*clean[:fits], f"... and {len(clean) - fits} more"])
    return text


def _split(text: str) -> tuple[str, ...]:
    more = _MORE.search(text)
    words = text[: more.start()].split() if more else text.split()
    return (*words, more[1]) if more else tuple(words)


LIST = ("zfs", "list", "-H", "-t", "snapshot", "-o", ",".join(("name", *(PREFIX + key for key in _KEYS))))


def parse(text: str) -> tuple[LocalCheckpoint, ...]:
    """Read LIST: a snapshot's name, and our properties of it, "-" where there is none.

    rpool/ROOT/debian@xvm-20261124T130501Z-1f2e	before apt	root@vm1	apt-get upgrade	bash openssl	done
    rpool/home@monday	-	-	-	-	-
    """
    found: dict[str, LocalCheckpoint] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != len(_KEYS) + 1:
            raise UnexpectedOutput(" ".join(LIST), line, f"{len(_KEYS) + 1} fields with a TAB between them")
        where, _, name = fields[0].partition("@")
        values = {key: value for key, value in zip(_KEYS, fields[1:], strict=True) if value != "-"}
        if _NAME.match(name) and "reason" in values:
            earlier = found.get(name)
            found[name] = _checkpoint(name, (*(earlier.datasets if earlier else ()), where), values)
    return tuple(sorted(found.values(), key=lambda one: one.name))


def _checkpoint(name: str, datasets: tuple[str, ...], values: Mapping[str, str]) -> LocalCheckpoint:
    return LocalCheckpoint(
        name=name,
        created=_created(name),
        datasets=datasets,
        reason=values["reason"],
        by=values.get("by", ""),
        command=values.get("command"),
        packages=_split(values.get("packages", "")),
        outcome=values.get("outcome"),
    )
