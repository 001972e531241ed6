"""Is a Solaris node fit to serve LUNs through COMSTAR: services, rights, release, groups, secrets? Pure."""

from collections.abc import Sequence
from typing import Any

from iscsi import access, solaris, targets
from iscsi.backend import Needs
from iscsi.model import Check, Group, Initiator, PortalGroup
from iscsi.solaris import ISCSI_TARGET, STMF, service_states
from remote.host import Answer
from remote.script import Query, Step

# In the order in which they are looked at.
_SERVICES = (STMF, ISCSI_TARGET)
# b115 and later: older ones answer "invalid subcommand", and exit 1.
_CREATES = "$xvm_become stmfadm create-lu '-?' >/dev/null 2>&1 && echo stmfadm || echo sbdadm"
_PROGRAMS = ("/sbin/zfs", "/sbin/zpool", "/usr/sbin/stmfadm", "/usr/sbin/sbdadm", "/usr/sbin/itadm", "/usr/sbin/svcadm")


def questions() -> tuple[Query[Any], ...]:
    """All in one trip."""
    return (
        Query(("svcs", "-H", "-o", "state,fmri", *_SERVICES), service_states),
        Query(("stmfadm", "list-state"), str.strip, silent=True),
        Query(("sh", "-c", _CREATES, "probe-release"), str.strip),
        access.host_groups(),
        targets.portal_groups(),
        targets.initiators(),
    )


def enable_services() -> Step:
    """With all they depend on."""
    return Step(("svcadm", "enable", "-rs", _SERVICES[-1]))


def findings(needs: Needs, answers: Sequence[Answer[Any]], *, maker: str) -> tuple[Check, ...]:
    """``maker`` is the tool that makes LUs on the configured release."""
    states, stmf, creates, groups, portals, initiators = answers
    return (
        *_services(states),
        _rights("rights on COMSTAR (stmfadm)", stmf, needs),
        _release(creates, needs, maker=maker),
        _host_groups(groups, needs),
        _rights("rights on iSCSI targets (itadm)", portals, needs),
        *_portal_group(portals, needs),
        *_chap(initiators, needs),
    )


def _services(answer: Answer[dict[str, str]]) -> list[Check]:
    advice = f"svcadm enable -r {_SERVICES[-1]}"
    if answer.error is not None:
        return [Check("services", ok=False, found=str(answer.error), advice="is the iSCSI target package installed?")]
    states = answer.get()
    found = [(name, states.get(name, "missing")) for name in _SERVICES]
    return [
        Check(name, ok=state == "online", found=state, advice="" if state == "online" else advice)
        for name, state in found
    ]


def _rights(what: str, answer: Answer[Any], needs: Needs) -> Check:
    if answer.error is None:
        return Check(what, ok=True, found="allowed")
    return Check(what, ok=False, found=str(answer.error), advice=f"see `xvmstore node setup {needs.node}`")


def _release(answer: Answer[str], needs: Needs, *, maker: str) -> Check:
    """Which tool makes LUs is what tells the releases apart."""
    found = answer.value if answer.error is None and answer.value else "unknown"
    right = 'set release = "illumos"' if found == "stmfadm" else 'set release = "b111", layout = "shared-target"'
    what, said, ok = f"release {needs.release}", f"LUs are made by {found}", found == maker
    return Check(what, ok=ok, found=said, advice="" if ok else right)


def _host_groups(answer: Answer[tuple[Group, ...]], needs: Needs) -> Check:
    """An initiator can be in one host group only."""
    if answer.error is not None:
        return Check("host groups", ok=False, found=str(answer.error))
    wanted = {dom0.initiator: dom0.host_group for dom0 in needs.dom0s.values()}
    astray = [
        f"{member} is in {group.name}, not {wanted[member]}"
        for group in answer.get()
        for member in group.members
        if member in wanted and wanted[member] != group.name
    ]
    advice = "set host_group of that dom0 to the group it is in" if astray else ""
    return Check("host groups", ok=not astray, found="; ".join(astray) or "no conflict", advice=advice)


def _portal_group(answer: Answer[tuple[PortalGroup, ...]], needs: Needs) -> list[Check]:
    name = needs.portal_group
    if name is None or answer.error is not None:
        return []
    found = next((group for group in answer.get() if group.name == name), None)
    said = ", ".join(found.portals) if found else "missing"
    advice = "" if found else f"xvmstore node setup {needs.node} --apply"
    return [Check(f"portal group {name}", ok=found is not None, found=said, advice=advice)]


def _chap(answer: Answer[tuple[Initiator, ...]], needs: Needs) -> list[Check]:
    if answer.error is not None:
        return []
    known = {one.name: one for one in answer.get()}
    checks = []
    for name, dom0 in needs.dom0s.items():
        if dom0.chap_user is None:
            continue
        there = known.get(dom0.initiator)
        found = (
            f"user {there.chap_user}, secret {'set' if there.has_chap_secret else 'unset'}" if there else "not set yet"
        )
        ok = there is None or (there.has_chap_secret and there.chap_user == dom0.chap_user)
        advice = "" if ok else f"xvmstore node setup {needs.node} --apply"
        checks.append(Check(f"CHAP of {name}", ok=ok, found=found, advice=advice))
    return checks


def rights(needs: Needs) -> str:
    """What root must set up on the node so that the configured user may do our work."""
    return solaris.rights(needs, _PROGRAMS, auths="auths=solaris.smf.read.stmf,solaris.smf.modify.stmf")
