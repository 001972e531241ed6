"""``node check`` and ``node setup``: is a node fit for its job, and what would make it so."""

from typing import Any

from iscsi.platforms import RIGHTS
from remote.errors import XvmError
from remote.host import Answer
from remote.script import Lock, Query
from storage import pool, zvol
from storage.pool import Pool
from xvmstore.config import AUTO
from xvmstore.nodes import StorageNode
from xvmstore.plan import Plan
from xvmstore.results import Check


def check(node: StorageNode) -> tuple[Check, ...]:
    """Look at everything an operation will need, in one round trip. Raises Unreachable."""
    system, user, pools, base, *rest = node.ask(_questions(node), anew=True)
    return (
        Check("reachable", ok=True, found=f"{node.settings.host}, {_or(system, 'unknown system')}"),
        Check("user", ok=user.error is None, found=_or(user, "unknown")),
        *_capabilities(node),
        _pool(node, pools),
        _base(node, base),
        *node.backend.findings(node.needs(), rest),
    )


def _questions(node: StorageNode) -> tuple[Query[Any], ...]:
    return (
        Query(("uname", "-srv"), str.strip),
        Query(("id",), lambda text: text.split(" ")[0].strip()),
        pool.pools(),
        Query(("zfs", "list", "-H", "-o", "name", node.settings.base), str.strip, absent=(zvol.NO_DATASET,)),
        *node.backend.examine(),
    )


def _capabilities(node: StorageNode) -> tuple[Check, ...]:
    """What was found out, where the configuration leaves it to the node."""
    found = node.capabilities
    if found is None:
        return ()
    zfs = f", OpenZFS {found.openzfs}" if found.openzfs else ""
    able = found.rights != "nothing" or node.settings.become != AUTO
    advice = "" if able else f"see `xvmstore node setup {node.name}`"
    return (
        Check("backend", ok=True, found=f"{found.backend}: {found.why}"),
        Check("release", ok=True, found=f"{found.release}: build {found.build}{zfs}"),
        Check("rights", ok=able, found=f'become = "{node.become}": {RIGHTS[found.rights].why}', advice=advice),
    )


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


def rights(node: StorageNode) -> str:
    """What root must set up on the node so that the configured user may do our work."""
    return node.backend.rights(node.needs())


def plan_setup(node: StorageNode) -> Plan:
    """The base dataset, the target program's services, and the default dom0s' secrets and, where there are, groups."""
    dom0s = (node.access(dom0) for dom0 in node.settings.default_dom0s)
    return Plan.of(
        Lock(f"node-{node.name}", "xvmstore node setup"),
        ("base", (zvol.make_base(node.settings.base),)),
        ("services", node.backend.prepare(node.needs())),
        ("dom0s", [step for access in dom0s for step in node.backend.admit(access, renew=True)]),
    )


def setup(node: StorageNode) -> None:
    """Carry the plan out. Raises XvmError."""
    plan = plan_setup(node)
    failure: XvmError | None = plan.failure(node.run(plan))
    if failure is not None:
        raise failure
