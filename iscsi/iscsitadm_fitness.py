"""Is a node with iscsitgtd fit to serve LUNs: the service, its port, rights, access, initiators, secrets? Pure."""

from collections.abc import Sequence
from typing import Any

from iscsi import iscsitadm_access, solaris
from iscsi.backend import Needs
from iscsi.iscsitadm_rows import LocalInitiator, parse_admin, parse_initiators, parse_portal_groups, parse_targets
from iscsi.model import Check, PortalGroup
from iscsi.solaris import ISCSI_TARGET, ISCSITGT, service_states
from remote.errors import InvalidValue
from remote.host import Answer
from remote.script import Query, Step
from storage.names import shown

_PROGRAMS = ("/sbin/zfs", "/sbin/zpool", "/usr/sbin/iscsitadm", "/usr/bin/dd", "/usr/sbin/svcadm")
_STATES = f"svcs -H -o state,fmri {ISCSITGT} {ISCSI_TARGET} 2>/dev/null; :"
# Whether somebody may change things is looked at first of all (remove_func), and no target has a "_" in its name.
_NO_TARGET = "xvmstore_tries_its_rights"
_TRY = f"""\
said=`$xvm_become iscsitadm delete target -u 0 {_NO_TARGET} 2>&1`
case $said in *"Target not found"*) echo allowed ;; *) echo "$said" ;; esac
"""
_HIGHEST_TAG = 65535


def questions() -> tuple[Query[Any], ...]:
    """All in one trip."""
    return (
        Query(("sh", "-c", _STATES, "look-at-services"), service_states),
        Query(("iscsitadm", "list", "target", "-v"), parse_targets, silent=True),
        Query(("sh", "-c", _TRY, "try-rights"), str.strip),
        Query(("iscsitadm", "show", "admin"), parse_admin, silent=True),
        Query(("iscsitadm", "list", "initiator", "-v"), parse_initiators, silent=True),
        Query(("iscsitadm", "list", "tpgt", "-v"), parse_portal_groups, silent=True),
    )


def findings(needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
    """What is well and what is not."""
    states, targets, rights, admin, initiators, groups = answers
    return (
        *_services(states, targets),
        _rights(rights, needs),
        *_settings(admin),
        *_initiators(initiators, needs),
        *_portal_group(groups, needs),
    )


def _services(states: Answer[dict[str, str]], targets: Answer[Any]) -> list[Check]:
    """A disabled one is started by whoever asks it something."""
    known = states.value or {}
    state = "online" if targets.error is None else str(targets.error)
    missing = "" if ISCSITGT in known else "is the package SUNWiscsitgtr installed?"
    advice = "" if targets.error is None else missing or f"svcadm enable {ISCSITGT}; svcs -x"
    checks = [Check(ISCSITGT, ok=targets.error is None, found=state, advice=advice)]
    if known.get(ISCSI_TARGET) == "online":
        disable = f"svcadm disable {ISCSI_TARGET}, if its LUNs are not needed"
        checks.append(Check("port 3260", ok=False, found="COMSTAR's iSCSI target is online too", advice=disable))
    return checks


def _rights(answer: Answer[str], needs: Needs) -> Check:
    said = str(answer.error) if answer.error is not None else answer.get()
    ok = said == "allowed"
    return Check(
        "rights on targets (iscsitadm)",
        ok=ok,
        found=said or "no answer",
        advice="" if ok else f"see `xvmstore node setup {needs.node}`",
    )


def _settings(answer: Answer[dict[str, str]]) -> list[Check]:
    """With iSNS no ACL counts; with fast acknowledgements a guest is told that it is written what is not."""
    if answer.error is not None:
        return [Check("iscsitadm show admin", ok=False, found=str(answer.error))]
    said = answer.get()
    checks = []
    for what, label, option in (("ACLs count", "isns access", "-S"), ("writes are safe", "fast write ack", "-f")):
        ok = said.get(label) != "Enabled"
        found = f"{label}: {said.get(label, 'not told')}"
        checks.append(Check(what, ok=ok, found=found, advice="" if ok else f"iscsitadm modify admin {option} disable"))
    return checks


def _initiators(answer: Answer[tuple[LocalInitiator, ...]], needs: Needs) -> list[Check]:
    """An iSCSI name must be known under one local name only, for the first one counts."""
    if answer.error is not None:
        return [Check("local initiators", ok=False, found=str(answer.error))]
    wanted = {dom0.initiator: dom0.host_group for dom0 in needs.dom0s.values()}
    known = answer.get()
    astray = [
        f"{one.initiator.name} is {one.local}, not {wanted[one.initiator.name]}"
        for one in known
        if wanted.get(one.initiator.name, one.local) != one.local
    ]
    taken = [
        f"{one.local} is {one.initiator.name}, not {initiator}"
        for one in known
        for initiator, local in wanted.items()
        if one.local == local and one.initiator.name != initiator
    ]
    found = "; ".join([*astray, *taken])
    advice = "set host_group of that dom0 to the local initiator it is, or to a name that is free" if found else ""
    return [Check("local initiators", ok=not found, found=found or "no conflict", advice=advice), *_chap(known, needs)]


def _chap(known: Sequence[LocalInitiator], needs: Needs) -> list[Check]:
    by_name = {one.initiator.name: one.initiator for one in known}
    checks = []
    for name, dom0 in needs.dom0s.items():
        there = by_name.get(dom0.initiator)
        if dom0.chap_user is None:
            continue
        ok = there is None or (there.has_chap_secret and there.chap_user == dom0.chap_user)
        secret = "set" if there and there.has_chap_secret else "not set"
        found = f"user {there.chap_user or 'not set'}, secret {secret}" if there else "not set yet"
        advice = "" if ok else f"xvmstore node setup {needs.node} --apply"
        checks.append(Check(f"CHAP of {name}", ok=ok, found=found, advice=advice))
    return checks


def _portal_group(answer: Answer[tuple[PortalGroup, ...]], needs: Needs) -> list[Check]:
    if needs.portal_group is None or answer.error is not None:
        return []
    wanted = _addresses(needs)
    has = next((group.portals for group in answer.get() if group.name == needs.portal_group), ())
    ok = set(wanted) <= set(has)
    advice = "" if ok else f"xvmstore node setup {needs.node} --apply"
    return [Check(f"portal group {needs.portal_group}", ok=ok, found=", ".join(has) or "missing", advice=advice)]


def _addresses(needs: Needs) -> tuple[str, ...]:
    """Those of the portals: the port is always the same here."""
    return tuple(dict.fromkeys(portal.rpartition(":")[0].strip("[]") for portal in needs.portals))


def portal_group(text: str) -> str:
    """A portal group's name, which is its tag. Raises InvalidValue."""
    if not (text.isascii() and text.isdecimal() and text[0] != "0" and int(text) <= _HIGHEST_TAG):
        raise InvalidValue(f"{shown(text)} is no portal group of iscsitadm: a number from 1 to {_HIGHEST_TAG}")
    return text


def prepare(needs: Needs) -> tuple[Step, ...]:
    """Have the daemon run, now and after a boot, and the portal group have the portals' addresses."""
    enable = Step(("svcadm", "enable", "-s", ISCSITGT))
    if needs.portal_group is None:
        return (enable,)
    words = iscsitadm_access.portal_group(portal_group(needs.portal_group), _addresses(needs))
    return enable, Step(words, silent=True)


def rights(needs: Needs) -> str:
    """What root must set up on the node so that the configured user may do our work."""
    why = "# dd: iscsitadm erases the last sector of a zvol that it exports; whoever may run it is as good as root\n"
    return solaris.rights(needs, _PROGRAMS, why=why)
