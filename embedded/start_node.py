"""The command side as the gate wants it: the emulated commands bound to one node and its saved state."""

import time
from collections.abc import Sequence
from pathlib import Path

from embedded import commands, comstar_exports, iscsitgt, iscsitgt_exports
from embedded.answer import Answer
from embedded.config import StartError
from embedded.model import ISCSITGT, Node
from embedded.served import ServedTarget, Session


class NodeCommands:
    """The commands of the node in one directory.

    A state.json that somebody else put there takes effect with the next command, so that tests can change what no
    command changes. It must be renamed into place, between commands.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int]:
        status = (self._node.root / "state.json").stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp != self._seen:
            sessions = self._node.sessions
            self._node, self._seen = Node.load(self._node.root), stamp
            self._node.sessions = sessions

    @classmethod
    def open(cls, root: Path, flavour: str, *, fresh: bool) -> "NodeCommands":
        """Load the node, or make it. On a first start there may be one that was made by ``embedded.seed``."""
        if not fresh or (root / "state.json").exists():
            node = Node.load(root)
            if node.flavour_name != flavour:
                raise StartError(f"{root} is a node of flavour {node.flavour_name}, not {flavour}")
            return cls(node)
        node = Node.create(root, flavour)
        node.boot_time = int(time.time())
        node.save()
        return cls(node)

    def run(self, argv: Sequence[str], *, condition: str, typed: str = "") -> Answer:
        """Run one command; what it changed is on disk when this returns."""
        self._refresh()
        added = condition != "" and condition not in self._node.conditions
        if added:
            self._node.conditions.add(condition)
        try:
            answer = commands.run(self._node, list(argv), now=time.time(), typed=typed)
        finally:
            if added:
                self._node.conditions.discard(condition)
        if commands.changes(list(argv)):
            self.save()
        return answer

    def changes(self, argv: Sequence[str]) -> bool:
        """Tell whether the command may change state."""
        return commands.changes(list(argv))

    def served(self) -> tuple[ServedTarget, ...]:
        """Give what the data side must serve: iscsitgtd, where it runs, has the port, and COMSTAR cannot serve."""
        taken = self._node.online(ISCSITGT)
        return iscsitgt_exports.served(self._node) if taken else comstar_exports.served(self._node)

    def logged_in(self, sessions: tuple[Session, ...], *, visited: frozenset[str]) -> None:
        """Take the sessions for the commands that show them, which save what has been visited."""
        self._refresh()
        self._node.sessions = sessions
        iscsitgt.visit(self._node, visited | {session.target for session in sessions})

    def save(self) -> None:
        """Write the state down."""
        self._node.save()
        self._seen = self._stamp()
