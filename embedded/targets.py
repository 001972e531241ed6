"""Targets as STMF sees them: iscsit's exist only while the iSCSI target service runs."""

import time

from embedded.model import ISCSI_TARGET, Node, Target
from embedded.served import Session


def visible(node: Node) -> dict[str, Target]:
    """The targets that are registered with STMF, newest first."""
    newest_first = reversed(node.targets.items())
    running = node.online(ISCSI_TARGET)
    return {name: target for name, target in newest_first if running or target.provider != "iscsit"}


def sessions(node: Node) -> dict[str, list[Session]]:
    """Who is logged in, by target."""
    found: dict[str, list[Session]] = {}
    for session in node.sessions:
        found.setdefault(session.target, []).append(session)
    return found


def drop_sessions(node: Node, name: str) -> None:
    """Forget a target's sessions, as taking it offline does."""
    node.sessions = tuple(session for session in node.sessions if session.target != name)


def ctime(moment: float) -> str:
    """ctime(3C) in UTC, without its newline."""
    return time.asctime(time.gmtime(moment))
