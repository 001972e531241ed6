"""What can go wrong with a command on the embedded node, and at which of an operation's commands it does in a test."""

import os

# fail: the command does nothing and says no; fail after: it does its work and says no all the same (exit codes lie).
# drop: the connection breaks, the node goes on. kill: the node's shell dies at once, as in a power cut.
FAULTS = {
    "fail": 'action = "fail"',
    "fail-after": 'action = "fail"\nwhen = "after"',
    "drop": 'action = "drop"',
    "drop-after": 'action = "drop"\nwhen = "after"',
    "kill": 'action = "kill"',
    "kill-after": 'action = "kill"\nwhen = "after"',
}
# XVMSTORE_THOROUGH=1: every command in every way, and as many scrapes as of a day.
THOROUGH = bool(os.environ.get("XVMSTORE_THOROUGH"))


def sampled(count: int, first: int, *, every: int) -> range:
    """The numbers of the commands to break, of ``count``: one in ``every``; the next ones with the next ``first``."""
    every = 1 if THOROUGH else every
    return range(1 + first % every, count + 1, every)
