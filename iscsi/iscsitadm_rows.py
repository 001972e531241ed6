"""Reads what iscsitadm lists: targets with their sessions, ACLs and LUNs; local initiators; portal groups. Pure.

Depth is four blanks a level. Labels nobody here knows are let through; sizes are scaled ("8.0G"), so they tell nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iscsi.backend import Everything, Exported
from iscsi.labels import labels, need, records
from iscsi.model import Group, Initiator, LogicalUnit, PortalGroup, Session, Target, TargetSetup, View
from remote.errors import UnexpectedOutput

# Who is in the ACL of a target of ours is let in, and an empty ACL lets everybody in: so this one, whom nobody is, is
# always in it.
NOBODY = "xvmstore-nobody"
_TARGETS = "iscsitadm list target -v"
_BLOCK = 512
_GUID = re.compile(r"[0-9A-F]{32}\Z")
# What it says of something that it knows nothing of.
_UNSET = "Not set"
_UNKNOWN = frozenset({"", "unknown", _UNSET})


@dataclass(frozen=True, slots=True)
class Lun:
    """An LU of a target. ``guid`` is empty until the first login, ``path`` is None where it has no backing store."""

    number: int
    guid: str
    path: str | None
    status: str


@dataclass(frozen=True, slots=True)
class Served:
    """A target: what the node calls it, its iSCSI name, who is logged in, and the local initiators in its ACL."""

    name: str
    iqn: str
    sessions: tuple[Session, ...]
    acl: tuple[str, ...]
    portal_groups: tuple[str, ...]
    luns: tuple[Lun, ...]

    @property
    def let_in(self) -> tuple[str, ...]:
        """The local initiators that may log in."""
        return tuple(one for one in self.acl if one != NOBODY)

    @property
    def masked(self) -> bool:
        """Nobody may."""
        return bool(self.acl) and not self.let_in

    def unit(self, lun: Lun) -> LogicalUnit:
        """One of its LUs."""
        state = "masked" if self.masked and lun.status == "online" else lun.status
        return LogicalUnit(lun.guid, state, alias=self.name, path=lun.path, block_size=_BLOCK)

    def views(self, path: str) -> list[tuple[str | None, int]]:
        """Who sees the LUs on a path, and as which LUN; None is everybody."""
        who: Sequence[str | None] = (None,) if not self.acl else self.let_in
        return [(one, lun.number) for lun in self.luns if lun.path == path for one in who]


@dataclass(frozen=True, slots=True)
class LocalInitiator:
    """What the node calls an initiator, and what it knows of it."""

    local: str
    initiator: Initiator


# -- the texts ---------------------------------------------------------------------------------------------------------


def parse_targets(text: str) -> tuple[Served, ...]:
    """Read ``iscsitadm list target -v``.

    Target: web1.root.6a27e7400001
        iSCSI Name: iqn.1986-03.com.sun:02:7c5a3d1e-0c4b-4b3b-9d6e-8d6b4f3a2c11.web1.root.6a27e7400001
    """
    return tuple(_served(name, lines) for name, lines in records(text, "Target", command=_TARGETS))


def _served(name: str, lines: list[str]) -> Served:
    parts = dict(_parts(lines, 1))
    facts = labels(list(parts), command=_TARGETS)
    iqn = need(facts, "iscsi name", command=_TARGETS, name=name)
    connections = need(facts, "connections", command=_TARGETS, name=name)
    sessions = tuple(_sessions(iqn, _below(parts, "Connections")))
    if connections != str(len(sessions)):
        raise UnexpectedOutput(_TARGETS, f"Connections: {connections}", f"{len(sessions)}, as many as it lists")
    return Served(
        name=name,
        iqn=iqn,
        sessions=sessions,
        acl=tuple(_members(_below(parts, "ACL list"), "Initiator")),
        portal_groups=tuple(_members(_below(parts, "TPGT list"), "TPGT")),
        luns=tuple(_lun(head, below) for head, below in _parts(_below(parts, "LUN information"), 2)),
    )


def _parts(lines: Sequence[str], depth: int) -> Iterator[tuple[str, list[str]]]:
    """Lines at a depth, each with those that are deeper and follow it."""
    head: str | None = None
    below: list[str] = []
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        if indent > 4 * depth and head is not None:
            below.append(line)
        elif indent == 4 * depth and line.strip():
            if head is not None:
                yield head, below
            head, below = line.strip(), []
        else:
            raise UnexpectedOutput(_TARGETS, line, f"{4 * depth} blanks and LABEL: VALUE")
    if head is not None:
        yield head, below


def _below(parts: dict[str, list[str]], label: str) -> list[str]:
    return next((below for head, below in parts.items() if head.startswith(f"{label}:")), [])


def _sessions(target: str, lines: Sequence[str]) -> Iterator[Session]:
    for head, below in _parts(lines, 2):
        facts = labels(below, command=_TARGETS)
        name, alias = need(facts, "iscsi name", command=_TARGETS, name=head), facts.get("alias", "")
        yield Session(target, name, None if alias in _UNKNOWN else alias, None)


def _members(lines: Sequence[str], label: str) -> Iterator[str]:
    for line in lines:
        found, colon, name = line.strip().partition(": ")
        if found != label or not colon:
            raise UnexpectedOutput(_TARGETS, line, f"{label}: NAME")
        yield name


def _lun(head: str, lines: list[str]) -> Lun:
    label, _, number = head.partition(": ")
    facts = labels(lines, command=_TARGETS)
    if label != "LUN" or not number.isdecimal():
        raise UnexpectedOutput(_TARGETS, head, "LUN: NUMBER")
    guid = need(facts, "guid", command=_TARGETS, name=head).upper()
    if guid not in {"0", "UNKNOWN"} and not _GUID.match(guid):
        raise UnexpectedOutput(_TARGETS, f"GUID: {guid}", "0 or 32 hexadecimal digits")
    status = need(facts, "status", command=_TARGETS, name=head)
    return Lun(int(number), guid if _GUID.match(guid) else "", facts.get("backing store"), status)


def parse_initiators(text: str) -> tuple[LocalInitiator, ...]:
    """Read ``iscsitadm list initiator -v``.

    Initiator: xen1
        iSCSI Name: iqn.1986-03.com.sun:01:0003ba0e0795.4455571f
        CHAP Name: Not set
        CHAP Secret: Not set
    """
    command = "iscsitadm list initiator -v"
    return tuple(_initiator(name, lines, command) for name, lines in records(text, "Initiator", command=command))


def _initiator(local: str, lines: list[str], command: str) -> LocalInitiator:
    facts = labels(lines, command=command)
    name, user, secret = (
        need(facts, label, command=command, name=local) for label in ("iscsi name", "chap name", "chap secret")
    )
    if secret not in {"Set", _UNSET}:
        raise UnexpectedOutput(command, f"CHAP Secret: {secret}", "Set or Not set")
    return LocalInitiator(local, Initiator(name, None if user in _UNKNOWN else user, secret != _UNSET))


def parse_portal_groups(text: str) -> tuple[PortalGroup, ...]:
    """Read ``iscsitadm list tpgt -v``.

    TPGT: 1
        IP Address: 192.0.2.10
    """
    command = "iscsitadm list tpgt -v"
    return tuple(
        PortalGroup(name, _addresses(lines, command)) for name, lines in records(text, "TPGT", command=command)
    )


def _addresses(lines: list[str], command: str) -> tuple[str, ...]:
    rows = [line.strip().partition(": ") for line in lines]
    if any(label != "IP Address" for label, _, _ in rows):
        raise UnexpectedOutput(command, "\n".join(lines), "IP Address: ADDRESS")
    return tuple(address for _, _, address in rows if address not in _UNKNOWN)


def parse_admin(text: str) -> dict[str, str]:
    """Read ``iscsitadm show admin``, by label in lower case.

    iscsitadm:
        Base Directory: /export/iscsi
    """
    head, *lines = text.splitlines() or [""]
    if head != "iscsitadm:":
        raise UnexpectedOutput("iscsitadm show admin", head, "iscsitadm:")
    return labels(lines, command="iscsitadm show admin")


# -- as facts ----------------------------------------------------------------------------------------------------------


def exported(targets: Sequence[Served], initiators: Sequence[LocalInitiator], path: str) -> Exported:
    """What of one zvol's export is there."""
    here = _on(targets, path)
    if not here:
        return Exported(None, (), None, None, _groups(initiators))
    main = here[0]
    unit = next(main.unit(lun) for lun in main.luns if lun.path == path)
    return Exported(unit, _views(here, path), _target(main), _setup(main, initiators), _groups(initiators))


def everything(targets: Sequence[Served], initiators: Sequence[LocalInitiator]) -> Everything:
    """All that the node exports; where more than one target serves a zvol, ours comes first."""
    ordered = sorted(targets, key=_is_another)
    units = tuple(one.unit(lun) for one in ordered for lun in one.luns)
    views = {unit.key: _views(_on(targets, unit.path), unit.path) for unit in units if unit.path}
    return Everything(units, views, tuple(_target(one) for one in targets), _groups(initiators))


def _on(targets: Sequence[Served], path: str) -> list[Served]:
    """The targets that serve a path, ours first."""
    return sorted((one for one in targets if any(lun.path == path for lun in one.luns)), key=_is_another)


def _is_another(target: Served) -> bool:
    return NOBODY not in target.acl


def _views(here: Sequence[Served], path: str) -> tuple[View, ...]:
    """Another target on the same zvol is a way in that nobody asked for: everybody's, as far as we know."""
    main, *others = here
    found = [*main.views(path), *((None, lun) for other in others for _, lun in other.views(path)[:1])]
    return tuple(View(index, who, None, lun) for index, (who, lun) in enumerate(found))


def _target(served: Served) -> Target:
    return Target(served.iqn, "online", served.sessions)


def _setup(served: Served, initiators: Sequence[LocalInitiator]) -> TargetSetup:
    """CHAP is asked of an initiator with a secret, by whatever target."""
    guarded = {one.local for one in initiators if one.initiator.has_chap_secret and one.initiator.chap_user}
    auth = "chap" if served.let_in and set(served.let_in) <= guarded else "none"
    return TargetSetup(
        name=served.iqn,
        alias=None,
        auth=auth,
        auth_is_default=False,
        chap_user=None,
        has_chap_secret=False,
        portal_groups=served.portal_groups,
    )


def _groups(initiators: Sequence[LocalInitiator]) -> tuple[Group, ...]:
    """A local initiator is what a host group is elsewhere, with one member."""
    return tuple(Group(one.local, (one.initiator.name,)) for one in initiators if one.local != NOBODY)
