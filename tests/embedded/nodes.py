"""What the tests of the command side share: running lines on a node, and its volumes' bytes."""

import shlex

from embedded import commands, content
from embedded.answer import Answer
from embedded.model import Node
from tests.embedded.replay import NOW

VM1 = "/dev/zvol/rdsk/tank/vm1"
GUID = "600144F0AAAA000000006A27E7400099"


def run(node: Node, line: str, *, now: float = NOW) -> Answer:
    """The answer to one command line."""
    return commands.run(node, shlex.split(line), now=now)


def ok(node: Node, *lines: str) -> str:
    """Run lines that must succeed without a word on stderr; the last one's stdout."""
    answer = Answer()
    for line in lines:
        answer = run(node, line)
        assert answer == Answer(answer.stdout), line
    return answer.stdout


def value(node: Node, dataset: str, key: str) -> str:
    """The exact value of a property."""
    return ok(node, f"zfs get -Hp -o value {key} {dataset}").rstrip("\n")


def put(node: Node, dataset: str, data: bytes, *, at: int = 0) -> None:
    """Write into a volume as an initiator would."""
    with content.path_of(node.root, dataset).open("r+b") as file:
        file.seek(at)
        file.write(data)


def peek(node: Node, dataset: str, count: int, *, at: int = 0) -> bytes:
    """Read from a volume."""
    with content.path_of(node.root, dataset).open("rb") as file:
        file.seek(at)
        return file.read(count)
