"""iSCSI targets, portal groups and initiators of COMSTAR (itadm), and who is logged in (stmfadm). Pure.

Secrets are files to itadm (-S): regular ones, 12 to 255 characters, one trailing newline dropped.
"""

from collections.abc import Callable
from typing import TypeVar

from iscsi.labels import labels, need, records
from iscsi.model import Initiator, PortalGroup, Session, Target, TargetSetup
from iscsi.units import BUSY
from remote.errors import UnexpectedOutput
from remote.script import Query, Secret, Step, Word, needed

T = TypeVar("T")

# Somebody else changed the configuration meanwhile: itadm says to look and try again.
_RACE = (*BUSY, "Configuration changed during processing")
_NONE = {"-", "<none>"}


def create_target(
    name: Word, *, alias: str, portal_group: str | None, chap: bool, own: tuple[str, Secret] | None, keep: bool
) -> Step:
    """A target, online at once. ``own`` is the user and secret it proves itself with (mutual CHAP).

    ``keep``: shared by many volumes, so no undo takes it away.
    """
    argv: list[Word] = ["itadm", "create-target", "-n", name, "-l", alias]
    argv += ["-a", "chap"] if chap else []
    argv += ["-u", own[0], "-S", own[1]] if own else []
    argv += ["-t", portal_group] if portal_group else []
    undo = None if keep else ("itadm", "delete-target", "-f", name)
    return Step(tuple(argv), undo=undo, lies=True, accept=("already configured",), retry=_RACE, silent=True)


def modify_target(
    name: Word, *, portal_group: str | None, chap: bool, own: tuple[str, Secret] | None
) -> tuple[Step, ...]:
    """Set up a target that may have been made otherwise: CHAP is of no use on one that does not ask for it."""
    options: list[Word] = ["-a", "chap"] if chap else []
    options += ["-u", own[0], "-S", own[1]] if own else []
    options += ["-t", portal_group] if portal_group else []
    if not options:
        return ()
    return (Step(("itadm", "modify-target", *options, name), retry=_RACE, silent=True),)


def remove_target(name: Word) -> Step:
    """Delete a target; its sessions are dropped (without -f an online one is never deleted)."""
    return Step(("itadm", "delete-target", "-f", name), accept=("not found",), retry=_RACE, silent=True)


def nobody_logged_in(name: Word, *, initiator: str | None = None) -> Step:
    """Checks that no initiator (or not this one) has a session with a target."""
    who = f"Initiator: {initiator}\n" if initiator else "Initiator: "
    return Step(("stmfadm", "list-target", "-v", name), accept=(": not found",), refuse=(who,), retry=BUSY, silent=True)


def create_initiator(name: str, *, user: str, secret: Secret) -> Step:
    """What an initiator must know. Left as it is when it exists: an admin with an old secret must not set it back."""
    argv = ("itadm", "create-initiator", "-u", user, "-S", secret, name)
    return Step(argv, accept=("already exists",), retry=_RACE, silent=True)


def modify_initiator(name: str, *, user: str, secret: Secret) -> Step:
    """Set an initiator's CHAP user and secret."""
    argv = ("itadm", "modify-initiator", "-u", user, "-S", secret, name)
    return Step(argv, retry=_RACE, silent=True)


def remove_initiator(name: str) -> Step:
    """Forget an initiator's secret."""
    return Step(("itadm", "delete-initiator", name), accept=("not found",), retry=_RACE, silent=True)


def create_portal_group(name: str, portals: tuple[str, ...]) -> Step:
    """A target portal group; portals are operands of their own, a comma list is refused."""
    return Step(("itadm", "create-tpg", name, *portals), accept=("already exists",), retry=_RACE, silent=True)


def remove_portal_group(name: str) -> Step:
    """Delete a portal group no target uses."""
    return Step(("itadm", "delete-tpg", name), accept=("does not exist",), retry=_RACE, silent=True)


def targets(name: Word | None = None) -> Query[tuple[Target, ...]]:
    """All targets, or one, and the sessions on them."""
    return _about("stmfadm", name, parse_targets, absent=": not found")


def _about(tool: str, name: Word | None, parse: Callable[[str], T], *, absent: str) -> Query[T]:
    operand: tuple[Word, ...] = (name,) if name is not None else ()
    needs = needed(name) if name is not None else None
    return Query((tool, "list-target", "-v", *operand), parse, absent=(absent,), silent=True, needs=needs)


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read ``stmfadm list-target -v``.

    Target: iqn.2026-11.com.example:tank.vm1
        Operational Status: Online
        Sessions          : 1
            Initiator: iqn.2005-03.org.open-iscsi:dom0-a
                Alias: -
                Logged in since: Tue Jun  9 09:56:40 2026
    """
    return tuple(_target(name, lines) for name, lines in records(text, "Target", command="stmfadm list-target -v"))


def _target(name: str, lines: list[str]) -> Target:
    command = "stmfadm list-target -v"
    first = next((i for i, line in enumerate(lines) if line.strip().startswith("Initiator:")), len(lines))
    facts = labels(lines[:first], command=command)
    sessions = tuple(_sessions(name, lines[first:]))
    count = need(facts, "sessions", command=command, name=name)
    if count != str(len(sessions)):
        raise UnexpectedOutput(command, f"Sessions: {count}", f"{len(sessions)}, as many as it lists")
    return Target(name, need(facts, "operational status", command=command, name=name), sessions)


def _sessions(target: str, lines: list[str]) -> list[Session]:
    command = "stmfadm list-target -v"
    stripped = "\n".join(line.strip() for line in lines)
    found = []
    for initiator, rest in records(stripped, "Initiator", command=command):
        facts = labels(rest, command=command)
        alias = facts.get("alias")
        since = need(facts, "logged in since", command=command, name=initiator)
        found.append(Session(target, initiator, None if alias in _NONE else alias, since))
    return found


def target_setups(name: Word | None = None) -> Query[tuple[TargetSetup, ...]]:
    """How targets were set up. The table, not -p, which came in 2014."""
    return _about("itadm", name, parse_target_setups, absent="not found")


def parse_target_setups(text: str) -> tuple[TargetSetup, ...]:
    """Read ``itadm list-target -v``.

    TARGET NAME                                                  STATE    SESSIONS
    iqn.2026-11.com.example:tank.vm2                             online   0
        auth:               	chap
    """
    setups: list[tuple[str, dict[str, str]]] = []
    for line in _table(text, "TARGET NAME"):
        if line.startswith("\t"):
            label, colon, value = line.strip().partition(":")
            if not setups or not colon:
                raise UnexpectedOutput("itadm list-target -v", line, "a target, then its LABEL: VALUE lines")
            setups[-1][1][label] = value.strip()
        else:
            setups.append((line.split()[0], {}))
    return tuple(_setup(name, facts) for name, facts in setups)


def _table(text: str, head: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and not lines[0].startswith(head):
        raise UnexpectedOutput("itadm", lines[0], f"a table that begins with {head}")
    return lines[1:]


def _setup(name: str, facts: dict[str, str]) -> TargetSetup:
    values = {
        label: need(facts, label, command="itadm list-target -v", name=name)
        for label in ("alias", "auth", "targetchapuser", "targetchapsecret", "tpg-tags")
    }
    auth, _, default = values["auth"].partition(" ")
    tags, chap = values["tpg-tags"], values["targetchapsecret"]
    if chap not in {"set", "unset"}:
        raise UnexpectedOutput("itadm list-target -v", f"targetchapsecret: {chap}", "set or unset")
    return TargetSetup(
        name=name,
        alias=None if values["alias"] in _NONE else values["alias"],
        auth=auth,
        auth_is_default=bool(default),
        chap_user=None if values["targetchapuser"] in _NONE else values["targetchapuser"],
        has_chap_secret=chap == "set",
        portal_groups=() if tags == "default" else tuple(tag.split(" = ")[0] for tag in tags.split(",")),
    )


def initiators() -> Query[tuple[Initiator, ...]]:
    """The initiators the node knows a secret or a CHAP user of."""
    return Query(("itadm", "list-initiator"), parse_initiators, silent=True)


def parse_initiators(text: str) -> tuple[Initiator, ...]:
    """Read ``itadm list-initiator``.

    INITIATOR NAME                                               CHAPUSER  SECRET
    iqn.1993-08.org.debian:01:abcdef012345                       <none>         set
    """
    found = []
    for line in _table(text, "INITIATOR NAME"):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in {"set", "unset"}:
            raise UnexpectedOutput("itadm list-initiator", line, "name, CHAP user, set or unset")
        found.append(Initiator(fields[0], None if fields[1] in _NONE else fields[1], fields[2] == "set"))
    return tuple(found)


def portal_groups() -> Query[tuple[PortalGroup, ...]]:
    """All target portal groups and their portals."""
    return Query(("itadm", "list-tpg", "-v"), parse_portal_groups, silent=True)


def parse_portal_groups(text: str) -> tuple[PortalGroup, ...]:
    """Read ``itadm list-tpg -v``.

    TARGET PORTAL GROUP           PORTAL COUNT
    tpg0                          1
        portals:	192.0.2.10:3260
    """
    rows: list[tuple[str, str]] = []
    for line in _table(text, "TARGET PORTAL GROUP"):
        label, _, value = line.strip().partition(":\t")
        if label == "portals" and rows:
            rows[-1] = (rows[-1][0], value)
        elif line[0].isspace():
            raise UnexpectedOutput("itadm list-tpg -v", line, "portals:")
        else:
            rows.append((line, ""))
    return tuple(_portal_group(row, portals) for row, portals in rows)


def _portal_group(row: str, portals: str) -> PortalGroup:
    listed = tuple(portals.split(",")) if portals else ()
    name, *count = row.rsplit(None, 1)
    if count != [str(len(listed))]:
        raise UnexpectedOutput("itadm list-tpg -v", row, f"a name and {len(listed)}, as many portals as it lists")
    return PortalGroup(name, listed)
