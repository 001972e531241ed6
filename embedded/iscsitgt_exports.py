"""What the data side must serve for iscsitgtd.

A target with an empty ACL lets everybody in. With one, only the initiators that it names get in, and those of them
with a CHAP secret must prove that they know it.

Limit: the data side asks all initiators of a target for CHAP or none, so one without a secret is refused where another
has one. Portal groups do not matter here: there is one portal.
"""

from embedded import iscsitgt
from embedded.model import ISCSITGT, DaemonLun, DaemonTarget, LocalInitiator, Node
from embedded.served import ChapAccount, ServedLun, ServedTarget

_BLOCK = 512


def served(node: Node) -> tuple[ServedTarget, ...]:
    """Every target of the daemon; none when it does not run."""
    if not node.online(ISCSITGT):
        return ()
    return tuple(_serve(node, target) for target in node.daemon.targets.values())


def _serve(node: Node, target: DaemonTarget) -> ServedTarget:
    daemon = node.daemon
    allowed = [daemon.initiators[name] for name in target.acl if name in daemon.initiators]
    asked = [one for one in allowed if one.chap_secret]
    return ServedTarget(
        iqn=target.iqn,
        luns=tuple(_lun(node, number, lun=target.luns[number]) for number in sorted(target.luns)),
        initiators=tuple(one.iscsi_name for one in asked or allowed),
        open_to_all=not target.acl,
        incoming=tuple(_account(one) for one in asked),
        outgoing=_outgoing(node, target) if asked else None,
    )


def _account(one: LocalInitiator) -> ChapAccount:
    return ChapAccount(one.chap_name or one.iscsi_name, one.chap_secret or "")


def _outgoing(node: Node, target: DaemonTarget) -> ChapAccount | None:
    """What every target proves itself with: its own name, if none is set (unrecorded)."""
    secret = node.daemon.chap_secret
    return ChapAccount(node.daemon.chap_name or target.iqn, secret) if secret else None


def _lun(node: Node, number: int, *, lun: DaemonLun) -> ServedLun:
    return ServedLun(
        number=number,
        path=iscsitgt.path_of(node, lun.backing),
        offset=0,
        size=lun.size,
        block_size=_BLOCK,
        guid=lun.guid.upper(),
        serial="",
        vendor="SUN",
        product="SOLARIS",
        read_only=False,
        write_cache=True,
    )
