"""Reading the recorded cases under tests/captured/comstar and running them against an embedded node.

The cases of one file run in their order on one node, as they were recorded. Where a case needs state that no case
before it made, the scenario of the file names a preparation.
"""

import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from embedded import commands
from embedded.answer import Answer
from embedded.model import Node

CAPTURED = Path(__file__).parent.parent / "captured" / "comstar"
NOW = float(0x6A27E740)

Preparation = Callable[[Node], None]


@dataclass(frozen=True)
class Case:
    """One recorded command with what it printed."""

    file: str
    name: str
    command: str
    env: str
    expected: Answer


@dataclass(frozen=True)
class Scenario:
    """How to replay a file. ``before`` prepares single cases, ``skip`` gives the reason for those left out."""

    flavour: str = "illumos"
    now: float = NOW
    start: Preparation = lambda node: None
    before: Mapping[str, Preparation] = field(default_factory=dict)
    skip: Mapping[str, str] = field(default_factory=dict)


# The recorded environments that a condition of the node reproduces.
CONDITION_OF = {
    "device open fails EACCES (caller lacks privilege)": "stmf-eacces",
    "device open fails EBUSY (another process holds /dev/stmf exclusively, e.g. svc start/stop in progress)": (
        "stmf-ebusy"
    ),
    "device node missing (stmf driver not installed)": "driver-missing",
    "kernel reports LU busy": "lu-busy",
    "kernel inventory locked (another state change running)": "inventory-locked",
    "SMF service system/stmf not defined": "no-smf-service",
    "caller lacks authorization solaris.smf.read.stmf": "no-read-auth",
    "caller lacks authorization solaris.smf.modify.stmf": "no-modify-auth",
    "configuration changed by another process meanwhile": "config-changed",
    "svc:/network/iscsi/target:default is disabled": "iscsi-target-disabled",
    "daemon answers error 1069: Permission denied": "iscsitgt-denied",
    "daemon door /var/run/iscsi_tgt_door missing; svc:/system/iscsitgt:default is disabled;"
    " smf_enable_instance(system/iscsitgt:default) fails": "iscsitgt-fails",
}
# Environments that are the state of the node itself: the scenario, or a case before, makes it.
_STATE_ENV = ("daemon has no targets", "daemon answers error ")


def _parse(file: str, block: str) -> Case:
    heads: dict[str, str] = {}
    streams: dict[str, str] = {"stdout": "", "stderr": ""}
    stream = ""
    for line in block.splitlines(keepends=True):
        if line.startswith("#@ nonl"):
            streams[stream] = streams[stream].removesuffix("\n")
        elif line.startswith(("#@ stdout:", "#@ stderr:")):
            stream = line[3:9]
        elif line.startswith("#@ "):
            label, _, text = line[3:].rstrip("\n").partition(": ")
            heads[label] = text
        elif stream:
            streams[stream] += line
    answer = Answer(streams["stdout"], streams["stderr"], int(heads["exit"]))
    return Case(file, heads["case"], heads["cmd"], heads.get("env", ""), answer)


@cache
def cases(file: str) -> tuple[Case, ...]:
    """The cases of one file, in order."""
    text = (CAPTURED / f"{file}.txt").read_text(encoding="utf-8")
    blocks = text.split("#@ case: ")[1:]
    return tuple(_parse(file, "#@ case: " + block.partition("#@ end\n")[0]) for block in blocks)


def sh(*lines: str) -> Preparation:
    """A preparation made of commands that must succeed."""

    def prepare(node: Node) -> None:
        for line in lines:
            answer = commands.run(node, shlex.split(line), now=NOW)
            assert answer == Answer(answer.stdout), line

    return prepare


def both(*preparations: Preparation) -> Preparation:
    """Several preparations one after the other."""

    def prepare(node: Node) -> None:
        for one in preparations:
            one(node)

    return prepare


def _run(node: Node, case: Case, now: float) -> Answer:
    own = case.env.startswith(_STATE_ENV) and case.env not in CONDITION_OF
    condition = {CONDITION_OF[case.env]} if case.env and not own else set()
    node.conditions |= condition
    try:
        return commands.run(node, shlex.split(case.command), now=now)
    finally:
        node.conditions -= condition


def replay(file: str, scenario: Scenario) -> dict[str, Answer]:
    """Run every case of a file that is not left out; the answers by case name."""
    unknown = {*scenario.before, *scenario.skip} - {case.name for case in cases(file)}
    assert not unknown, f"no such cases in {file}: {unknown}"
    answers = {}
    with tempfile.TemporaryDirectory() as root:
        node = Node.create(Path(root), scenario.flavour)
        scenario.start(node)
        for case in cases(file):
            if case.name in scenario.skip:
                continue
            if case.name in scenario.before:
                scenario.before[case.name](node)
            answers[case.name] = _run(node, case, scenario.now)
    return answers
