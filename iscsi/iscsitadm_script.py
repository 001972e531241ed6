"""What iscsitadm and ``shareiscsi`` export, written down as the commands that would make it so again. Pure.

A daemon picks names and GUIDs by itself and tells no secret, so these stand there as comments.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iscsi import iscsitadm_rows
from iscsi.iscsitadm_rows import LocalInitiator, Served
from iscsi.model import PortalGroup
from iscsi.solaris import ISCSITGT
from remote.errors import UnexpectedOutput
from remote.script import Query

# Any call of iscsitadm starts the daemon, which takes COMSTAR's port: where that is there, it is only asked if it runs.
_WHERE_IT_RUNS = f"""\
case `svcs -H -o state {ISCSITGT} 2>/dev/null` in online*) ;; *) echo off; exit 0 ;; esac
exec $xvm_become iscsitadm "$@"
"""
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Legacy:
    """All that a node exports without COMSTAR.

    asked   the daemon was: what is no target of its is exported to nobody
    shared  the zvols that ZFS exports by itself
    sizes   of all zvols, in bytes, by dataset
    """

    asked: bool
    targets: tuple[Served, ...]
    initiators: tuple[LocalInitiator, ...]
    portal_groups: tuple[PortalGroup, ...]
    shared: Mapping[str, str]
    sizes: Mapping[str, int]

    def __bool__(self) -> bool:
        """There is something."""
        return bool(self.targets or self.initiators or self.portal_groups or self.shared)


def questions(*, start: bool) -> tuple[Query[Any], ...]:
    """All of it, in all pools, also of a ZFS that knows no ``shareiscsi``. ``start``: of a daemon that is off, too."""
    return (
        _ask("target", iscsitadm_rows.parse_targets, start=start),
        _ask("initiator", iscsitadm_rows.parse_initiators, start=start),
        _ask("tpgt", iscsitadm_rows.parse_portal_groups, start=start),
        Query(
            ("zfs", "get", "-Hp", "-o", "name,property,value", "type,volsize,shareiscsi"),
            _volumes,
            absent=("invalid property", "bad property list"),
        ),
    )


def _ask(what: str, parse: Callable[[str], Any], *, start: bool) -> Query[Any]:
    words = ("list", what, "-v")
    if start:
        return Query(("iscsitadm", *words), parse)
    asked = ("sh", "-c", _WHERE_IT_RUNS, "where-it-runs", *words)
    return Query(asked, lambda text: None if text == "off\n" else parse(text))


def read(answers: Sequence[Any]) -> Legacy:
    """In the order of ``questions``."""
    targets, initiators, portal_groups, (sizes, shared) = answers
    return Legacy(targets is not None, targets or (), initiators or (), portal_groups or (), shared, sizes)


def _volumes(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """tank/vm2	shareiscsi	on"""
    rows: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 3:
            raise UnexpectedOutput("zfs get", line, "three fields with a TAB between them")
        rows.setdefault(fields[0], {})[fields[1]] = fields[2]
    volumes = {name: row for name, row in rows.items() if row.get("type") == "volume"}
    sizes = {name: int(row["volsize"]) for name, row in volumes.items() if row.get("volsize", "").isdecimal()}
    return sizes, {
        name: row["shareiscsi"] for name, row in volumes.items() if row.get("shareiscsi", "-") not in {"off", "-"}
    }


# -- as a script -------------------------------------------------------------------------------------------------------

_HEAD = """\
#!/bin/sh
# What {node} exported by iscsitadm and shareiscsi at {when}: for the day somebody wants it back.
# Targets get new names and new GUIDs when they are made again, and CHAP secrets are not told: both are comments.
# `create target -b` writes zeros over the last sector of a disk: it is saved before, and put back after.
"""


def script(legacy: Legacy, *, node: str, when: str) -> str:
    """The commands, for a Bourne shell as root."""
    lines = [*_initiators(legacy.initiators), *_portal_groups(legacy.portal_groups)]
    for target in legacy.targets:
        lines += _shared(target, legacy) if target.name in legacy.shared else _target(target, legacy.sizes)
    return _HEAD.format(node=node, when=when) + "".join(f"{line}\n" for line in lines)


def _initiators(initiators: Sequence[LocalInitiator]) -> Iterator[str]:
    for one in initiators:
        yield _command("create", "initiator", "-n", one.initiator.name, one.local)
        if one.initiator.chap_user:
            yield _command("modify", "initiator", "-H", one.initiator.chap_user, one.local)
        if one.initiator.has_chap_secret:
            yield f"{_command('modify', 'initiator', '-C', one.local)}  # asks for the secret"


def _portal_groups(groups: Sequence[PortalGroup]) -> Iterator[str]:
    for group in groups:
        yield _command("create", "tpgt", group.name)
        for address in group.portals:
            yield _command("modify", "tpgt", "-i", address, group.name)


def _target(target: Served, sizes: Mapping[str, int]) -> Iterator[str]:
    yield f"# was {target.iqn}"
    for lun in sorted(target.luns, key=lambda one: one.number):
        path = lun.path or ""
        size = sizes.get(path.partition("/rdsk/")[2])
        at = size // _SECTOR - 1 if size else None
        saved = f"/var/tmp/last-sector.{target.name}.{lun.number}"  # noqa: S108  on the node, across a reboot
        if at is not None:
            yield shlex.join(("dd", f"if={path}", f"of={saved}", "bs=512", f"iseek={at}", "count=1")) + " || exit"
        yield _command("create", "target", "-u", str(lun.number), "-b", path, target.name) + f"  # GUID {lun.guid or 0}"
        if at is not None:
            yield shlex.join(("dd", f"if={saved}", f"of={path}", "bs=512", f"oseek={at}", "count=1", "conv=notrunc"))
        else:
            yield f"# the size of {path} is not known: save its last {_SECTOR} bytes by hand before this"
    yield from _access(target)


def _shared(target: Served, legacy: Legacy) -> Iterator[str]:
    yield f"# was {target.iqn}; where it is inherited, this sets it on the zvol itself"
    yield shlex.join(("zfs", "set", f"shareiscsi={legacy.shared[target.name]}", target.name))
    yield from _access(target)


def _access(target: Served) -> Iterator[str]:
    yield from (_command("modify", "target", "-l", one, target.name) for one in target.acl)
    yield from (_command("modify", "target", "-p", one, target.name) for one in target.portal_groups)


def _command(*words: str) -> str:
    return shlex.join(("iscsitadm", *words))
