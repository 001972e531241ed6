"""``node check`` and ``node setup``: is a node fit for its job, and what would make it so."""

from typing import Any

from iscsi import access, targets
from iscsi.model import Group
from remote.errors import UnexpectedOutput, XvmError
from remote.host import Answer
from remote.script import Lock, Query, Step
from storage import pool
from storage.pool import Pool
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Check


def check(node: StorageNode) -> tuple[Check, ...]:
    """Look at everything an operation will need, in one round trip. Raises Unreachable."""
    answers = node.host.ask(_questions(node))
    system, user, new, old, base, states, stmf, creates, groups, portals, initiators = answers
    return (
        Check("reachable", ok=True, found=f"{node.settings.host}, {_or(system, 'unknown system')}"),
        Check("user", ok=user.error is None, found=_or(user, "unknown")),
        _pool(node, new if new.error is None else old),
        _base(node, base),
        *_services(node, states),
        _rights("rights on COMSTAR (stmfadm)", stmf, node),
        _release(node, creates),
        _host_groups(node, groups),
        _rights("rights on iSCSI targets (itadm)", portals, node),
        *_portal_group(node, portals),
        *_chap(node, initiators),
    )


def _questions(node: StorageNode) -> tuple[Query[Any], ...]:
    return (
        Query(("uname", "-srv"), str.strip),
        Query(("id",), lambda text: text.split(" ")[0].strip()),
        *pool.pools(),
        Query(("zfs", "list", "-H", "-o", "name", node.settings.base), str.strip, absent=("dataset does not exist",)),
        Query(("svcs", "-H", "-o", "state,fmri", *node.backend.services()), _states),
        Query(("stmfadm", "list-state"), str.strip, silent=True),
        Query(("sh", "-c", _CREATES, "probe-release"), str.strip),
        access.host_groups(),
        targets.portal_groups(),
        targets.initiators(),
    )


# b115 and later: older ones answer "invalid subcommand", and exit 1.
_CREATES = "$xvm_become stmfadm create-lu '-?' >/dev/null 2>&1 && echo stmfadm || echo sbdadm"


def _release(node: StorageNode, answer: Answer[str]) -> Check:
    """Which tool makes LUs is what tells the releases apart."""
    found = _or(answer, "unknown")
    ok = found == ("sbdadm" if node.backend.chooses_guid else "stmfadm")
    right = 'set release = "illumos"' if found == "stmfadm" else 'set release = "b111", layout = "shared-target"'
    what, said = f"release {node.settings.release}", f"LUs are made by {found}"
    return Check(what, ok=ok, found=said, advice="" if ok else right)


def _states(text: str) -> dict[str, str]:
    """online         svc:/system/stmf:default"""
    rows = [line.split() for line in text.splitlines()]
    if any(len(row) != 2 for row in rows):
        raise UnexpectedOutput("svcs", text, "a state and a service on each line")
    return {fmri: state for state, fmri in rows}


def _or(answer: Answer[str], otherwise: str) -> str:
    return answer.value if answer.error is None and answer.value else otherwise


def _pool(node: StorageNode, answer: Answer[tuple[Pool, ...]]) -> Check:
    name = node.settings.base.split("/")[0]
    what = f"pool {name}"
    if answer.error is not None:
        return Check(what, ok=False, found=str(answer.error), advice="zpool must work for this user")
    found = next((one for one in answer.get() if one.name == name), None)
    if found is None:
        return Check(what, ok=False, found="missing", advice="import the pool, or set another base")
    advice = "" if found.health == "ONLINE" else f"see `xvmstore pool status {name}`"
    return Check(what, ok=found.health == "ONLINE", found=found.health, advice=advice)


def _base(node: StorageNode, answer: Answer[str]) -> Check:
    what = f"base dataset {node.settings.base}"
    if answer.error is not None:
        return Check(what, ok=False, found=str(answer.error), advice="zfs must work for this user")
    return Check(what, ok=True, found="there" if answer.value else "not there yet; the first volume makes it")


def _services(node: StorageNode, answer: Answer[dict[str, str]]) -> list[Check]:
    advice = "svcadm enable -r svc:/network/iscsi/target:default"
    if answer.error is not None:
        return [Check("services", ok=False, found=str(answer.error), advice="is the iSCSI target package installed?")]
    states = answer.get()
    found = [(name, states.get(name, "missing")) for name in node.backend.services()]
    return [
        Check(name, ok=state == "online", found=state, advice="" if state == "online" else advice)
        for name, state in found
    ]


def _rights(what: str, answer: Answer[Any], node: StorageNode) -> Check:
    if answer.error is None:
        return Check(what, ok=True, found="allowed")
    return Check(what, ok=False, found=str(answer.error), advice=f"see `xvmstore node setup {node.name}`")


def _host_groups(node: StorageNode, answer: Answer[tuple[Group, ...]]) -> Check:
    """An initiator can be in one host group only."""
    if answer.error is not None:
        return Check("host groups", ok=False, found=str(answer.error))
    wanted = {access_.initiator: access_.host_group for access_ in map(_known(node), node.settings.default_dom0s)}
    astray = [
        f"{member} is in {group.name}, not {wanted[member]}"
        for group in answer.get()
        for member in group.members
        if member in wanted and wanted[member] != group.name
    ]
    advice = "set host_group of that dom0 to the group it is in" if astray else ""
    return Check("host groups", ok=not astray, found="; ".join(astray) or "no conflict", advice=advice)


def _known(node: StorageNode) -> Any:
    return lambda dom0: node.access(dom0, secrets=False)


def _portal_group(node: StorageNode, answer: Answer[Any]) -> list[Check]:
    name = node.settings.portal_group
    if name is None or answer.error is not None:
        return []
    found = next((group for group in answer.get() if group.name == name), None)
    said = ", ".join(found.portals) if found else "missing"
    advice = "" if found else f"xvmstore node setup {node.name} --apply"
    return [Check(f"portal group {name}", ok=found is not None, found=said, advice=advice)]


def _chap(node: StorageNode, answer: Answer[Any]) -> list[Check]:
    if answer.error is not None:
        return []
    known = {one.name: one for one in answer.get()}
    checks = []
    for dom0 in node.settings.default_dom0s:
        settings = node.access(dom0, secrets=False)
        if settings.chap_user is None:
            continue
        there = known.get(settings.initiator)
        found = (
            f"user {there.chap_user}, secret {'set' if there.has_chap_secret else 'unset'}" if there else "not set yet"
        )
        ok = there is None or (there.has_chap_secret and there.chap_user == settings.chap_user)
        advice = "" if ok else f"xvmstore node setup {node.name} --apply"
        checks.append(Check(f"CHAP of {dom0}", ok=ok, found=found, advice=advice))
    return checks


_PROGRAMS = ("/sbin/zfs", "/sbin/zpool", "/usr/sbin/stmfadm", "/usr/sbin/sbdadm", "/usr/sbin/itadm", "/usr/sbin/svcadm")


def rights(node: StorageNode) -> str:
    """What root must set up on the node so that the configured user may do our work."""
    user = node.settings.user or "USER"
    if node.settings.become == "sudo":
        return f"# /etc/sudoers.d/xvmstore\n{user} ALL=(root) NOPASSWD: {', '.join(_PROGRAMS)}\n"
    if node.settings.become == "none":
        return (
            '# become = "none": the user who logs in must be root. With another user, set become to pfexec or sudo.\n'
        )
    commands = "".join(f"xvmstore:solaris:cmd:::{program}:uid=0\n" for program in _PROGRAMS)
    return (
        "# append to /etc/security/prof_attr\n"
        "xvmstore:::Guests' volumes and their iSCSI LUNs:auths=solaris.smf.read.stmf,solaris.smf.modify.stmf\n"
        f"# append to /etc/security/exec_attr\n{commands}"
        f"# then, as root\nusermod -P +xvmstore {user}\n"
    )


def plan_setup(node: StorageNode) -> Plan:
    """The base dataset, the services, the portal group, and the default dom0s' host groups and CHAP secrets."""
    settings = node.settings
    unmounted = ("-o", "canmount=off", "-o", "mountpoint=none")
    there = ("zfs", "list", "-H", "-o", "name", settings.base)
    base = Step(("zfs", "create", "-p", *unmounted, settings.base), unless=there)
    enable = Step(("svcadm", "enable", "-rs", node.backend.services()[-1]))
    group = settings.portal_group
    portals = (targets.create_portal_group(group, settings.portals),) if group else ()
    return Plan.of(
        Lock(f"node-{node.name}", "xvmstore node setup"),
        ("base", (base,)),
        ("services", (enable,)),
        ("portals", portals),
        (
            "dom0s",
            [step for dom0 in settings.default_dom0s for step in node.backend.admit(node.access(dom0), renew=True)],
        ),
    )


def setup(node: StorageNode) -> None:
    """Carry the plan out. Raises XvmError."""
    plan = plan_setup(node)
    failure: XvmError | None = plan.failure(node.run(plan))
    if failure is not None:
        raise failure
