"""The command side as the gate wants it: the emulated commands bound to one node and its saved state."""

import time
from collections.abc import Sequence
from pathlib import Path

from embedded import commands
from embedded.answer import Answer
from embedded.exports import served
from embedded.model import Node
from embedded.served import ServedTarget, Session

NAMES = commands.NAMES


class NodeCommands:
    """The commands of the node in one directory."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @classmethod
    def open(cls, root: Path, flavour: str, *, fresh: bool) -> "NodeCommands":
        """Load the node, or make it."""
        if not fresh:
            return cls(Node.load(root))
        node = Node.create(root, flavour)
        node.save()
        return cls(node)

    def run(self, argv: Sequence[str], *, condition: str) -> Answer:
        """Run one command; what it changed is on disk when this returns."""
        added = condition != "" and condition not in self._node.conditions
        if added:
            self._node.conditions.add(condition)
        try:
            answer = commands.run(self._node, list(argv), now=time.time())
        finally:
            if added:
                self._node.conditions.discard(condition)
        if commands.changes(list(argv)):
            self._node.save()
        return answer

    def changes(self, argv: Sequence[str]) -> bool:
        """Tell whether the command may change state."""
        return commands.changes(list(argv))

    def served(self) -> tuple[ServedTarget, ...]:
        """Give what the data side must serve."""
        return served(self._node)

    def logged_in(self, sessions: tuple[Session, ...]) -> None:
        """Take the sessions for the commands that show them."""
        self._node.sessions = sessions

    def save(self) -> None:
        """Write the state down."""
        self._node.save()
