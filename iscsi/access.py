"""COMSTAR's groups and views (stmfadm): who sees which LU, where, under which number. Pure.

An initiator is in one host group only; a target enters a target group only while it is offline or not there yet.
"""

from iscsi.labels import labels, need, records
from iscsi.model import Group, View
from iscsi.units import BUSY
from remote.errors import UnexpectedOutput
from remote.script import Capture, Captured, Expect, Query, Step, Word, needed

_EXISTS = (": already exists",)
_GONE = (": not found",)
NO_VIEWS = "no views found"


def ensure_host_group(group: str, initiator: str) -> tuple[Step, ...]:
    """The host group with the initiator in it, and nobody else: who is in a group sees all that the group sees.

    "already exists" is also said of a member of another group, so the list is what decides. Never undone: the group
    belongs to the dom0, not to one volume.
    """
    alone = Expect("s/^[ \t]*Member: //p", initiator)
    return (
        Step(("stmfadm", "create-hg", group), accept=_EXISTS, retry=BUSY, silent=True),
        Step(("stmfadm", "add-hg-member", "-g", group, initiator), accept=_EXISTS, retry=BUSY, silent=True),
        Step(("stmfadm", "list-hg", "-v", group), expect=(alone,), retry=BUSY, silent=True),
    )


def _literal(text: str) -> str:
    return text.replace(".", "[.]")


def remove_host_group(group: str) -> Step:
    """Delete a host group; refused by the node while a view uses it."""
    return Step(("stmfadm", "delete-hg", group), accept=_GONE, retry=BUSY, silent=True)


def ensure_target_group(group: Word, target: Word) -> tuple[Step, ...]:
    """The target group with the target in it. To be done before the target is made: no offline is needed then."""
    add, remove = (
        ("stmfadm", "add-tg-member", "-g", group, target),
        ("stmfadm", "remove-tg-member", "-g", group, target),
    )
    return (
        Step(
            ("stmfadm", "create-tg", group),
            undo=("stmfadm", "delete-tg", group),
            lies=True,
            accept=_EXISTS,
            retry=BUSY,
            silent=True,
        ),
        Step(add, undo=remove, lies=True, accept=_EXISTS, retry=BUSY, silent=True),
    )


def remove_target_group(group: Word) -> Step:
    """Delete a target group, members and all; to be done after its target has gone."""
    return Step(("stmfadm", "delete-tg", group), accept=_GONE, retry=BUSY, silent=True)


def add_view(guid: Word, *, host_group: str, target_group: Word | None, lun: Word) -> Step:
    """Let a host group see an LU. The undo takes all views of the LU away: it is for one that is new."""
    where: tuple[Word, ...] = ("-t", target_group) if target_group is not None else ()
    argv = ("stmfadm", "add-view", "-h", host_group, *where, "-n", lun, guid)
    undo = ("stmfadm", "remove-view", "-l", guid, "-a")
    return Step(argv, undo=undo, lies=True, accept=("view entry exists",), retry=BUSY, silent=True)


def remove_view(guid: Word, *, host_group: str) -> tuple[Step, ...]:
    """Take one host group's view of an LU away; its index is looked up on the node."""
    # AT&T's sed reads nothing more of a line after a "}" (sed0.c).
    find = f"/^View Entry: /{{s///;h;}}\n/^ *Host group *: {_literal(host_group)}$/{{g;p;q;}}"
    look = Step(
        ("stmfadm", "list-view", "-l", guid),
        accept=(NO_VIEWS,),
        captures=(Capture("view", find, required=False),),
        retry=BUSY,
        silent=True,
    )
    argv = ("stmfadm", "remove-view", "-l", guid, Captured("view"))
    return look, Step(argv, unless=("test", "-z", Captured("view")), accept=_GONE, retry=BUSY, silent=True)


def views(guid: Word) -> Query[tuple[View, ...]]:
    """The views of one LU. "No views" is an error exit, and the same for an unknown LU."""
    argv = ("stmfadm", "list-view", "-l", guid)
    return Query(argv, parse_views, absent=(NO_VIEWS,), silent=True, needs=needed(guid))


_ALL_VIEWS = """\
$xvm_become stmfadm list-lu | sed -n 's/^LU Name: //p' | while read lu; do
echo "LU Name: $lu"; $xvm_become stmfadm list-view -l "$lu" 2>&1 | sed '/no views found/d'
done"""


def all_views() -> Query[dict[str, tuple[View, ...]]]:
    """The views of every LU by GUID, in one go: list-view takes one LU a time."""
    return Query(("sh", "-c", _ALL_VIEWS, "views-of-every-lu"), parse_all_views, silent=True)


def parse_all_views(text: str) -> dict[str, tuple[View, ...]]:
    """Read what ``all_views`` prints: the LU's name, then its views."""
    found = records(text, "LU Name", command="stmfadm list-view")
    return {guid.upper(): parse_views("\n".join(lines)) for guid, lines in found}


def parse_views(text: str) -> tuple[View, ...]:
    """Read ``stmfadm list-view``. Solaris 11 writes "Target Group", and "Auto" for a LUN of the node's choice.

    View Entry: 0
        Host group   : dom0
        Target group : tg1
        LUN          : 5
    """
    return tuple(_view(name, lines) for name, lines in records(text, "View Entry", command="stmfadm list-view"))


def _view(index: str, lines: list[str]) -> View:
    command = "stmfadm list-view"
    facts = labels(lines, command=command)
    host, target, lun = (
        need(facts, label, command=command, name=f"View Entry: {index}")
        for label in ("host group", "target group", "lun")
    )
    if not index.isdecimal() or not (lun.isdecimal() or lun.lower() == "auto"):
        raise UnexpectedOutput(command, f"View Entry: {index}, LUN {lun}", "numbers")
    everybody = "All"
    return View(
        index=int(index),
        host_group=None if host == everybody else host,
        target_group=None if target == everybody else target,
        lun=int(lun) if lun.isdecimal() else None,
    )


def host_groups() -> Query[tuple[Group, ...]]:
    """All host groups and their members."""
    return Query(("stmfadm", "list-hg", "-v"), parse_host_groups, silent=True)


def target_groups() -> Query[tuple[Group, ...]]:
    """All target groups and their members."""
    return Query(("stmfadm", "list-tg", "-v"), parse_target_groups, silent=True)


def parse_host_groups(text: str) -> tuple[Group, ...]:
    """Read ``stmfadm list-hg -v``.

    Host Group: dom0
        Member: iqn.2005-03.org.open-iscsi:dom0-a
    """
    return _groups(text, "Host Group")


def parse_target_groups(text: str) -> tuple[Group, ...]:
    """Read ``stmfadm list-tg -v``."""
    return _groups(text, "Target Group")


def _groups(text: str, head: str) -> tuple[Group, ...]:
    found = records(text, head, command="stmfadm list-hg/list-tg -v")
    return tuple(Group(name, tuple(_member(line) for line in lines)) for name, lines in found)


def _member(line: str) -> str:
    label, colon, name = line.strip().partition(": ")
    if label != "Member" or not colon:
        raise UnexpectedOutput("stmfadm list-hg/list-tg -v", line, "Member: NAME")
    return name
