"""``node check`` of a dom0: is it fit to give guests their LUNs?"""

from dom0 import fitness
from dom0.toolstack import parse_info
from iscsi import names as iscsi_names
from remote.script import Query
from xvmstore.dom0s import XenDom0
from xvmstore.results import Check


def check(dom0: XenDom0) -> tuple[Check, ...]:
    """Look at everything an attach needs, in one round trip. Raises Unreachable, ConfigError."""
    settings = dom0.settings
    questions = (Query(dom0.stack.info_words, parse_info), dom0.stack.domains(), *fitness.looks(settings.system))
    info, domains, *looks = dom0.host.ask(questions)
    wanted = fitness.Wanted(
        name=dom0.name,
        initiator=iscsi_names.iqn(settings.initiator),
        system=settings.system,
        multipath=settings.multipath,
        xen=settings.xen,
        chap=settings.chap_user is not None,
    )
    checks = [Check("reachable", ok=True, found=str(settings.host))]
    told = [look for look in looks if look.error is None]
    for what, answer in (("Xen", info), (dom0.stack.list_words[0], domains), *(("dom0", look) for look in looks)):
        if answer.error is not None:
            checks.append(Check(str(what), ok=False, found=str(answer.error), advice="it must work for this user"))
    if info.error is None:
        checks.append(fitness.version(wanted, info.get()))
    if domains.error is None:
        checks.append(Check("toolstack", ok=True, found=f"{dom0.stack.format}, guests running: {len(domains.get())}"))
    # The first tells most; without it there is nothing to judge.
    facts = {name: value for look in told for name, value in look.get().items()}
    return (*checks, *(fitness.judge(wanted, facts) if looks[0].error is None else ()))
