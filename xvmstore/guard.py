"""A node of which the configuration says "auto": what it is taken for, and how each trip makes sure of that.

Nothing is asked beforehand. Steps are made for what the node was the last time, or for the usual system where nobody
knows; the first step of the script, or the last question, looks whether that is right. If not, nothing is done.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from iscsi import probe
from iscsi.platforms import usual_become
from iscsi.probe import PROBE, Capabilities
from remote.errors import QueryFailed, Refused, UnexpectedOutput, XvmError
from remote.host import Answer, Host, Outcome
from remote.script import Argv, Expect, Lock, Query, Step
from xvmstore import backend_choice
from xvmstore.capabilities import Cache
from xvmstore.config import AUTO, Node
from xvmstore.surprises import Surprised, planning

_UNAME: Argv = ("uname", "-srv")
# What a tool says that is not what it was taken for.
_DOUBTS = ("invalid subcommand", "unrecognized command", "invalid property")


@dataclass(frozen=True, slots=True)
class _Look:
    """How a trip makes sure: what it runs, and what that must print. ``whole``: all that ``probe`` asks."""

    argv: Argv
    expect: tuple[Expect, ...]
    whole: bool


class Guard:
    """Of one node, for as long as it is worked with.

    ``where`` begins messages about the configuration; ``host`` gives the machine, with the rights it is to have now.
    """

    def __init__(self, node: str, settings: Node, *, where: str, host: Callable[[], Host]) -> None:
        self._node, self._settings, self._where, self._host = node, settings, where, host
        self._cache = Cache(node, settings)
        self._known: Capabilities | None = None
        # Looked at not long ago, by us or an earlier run: its name is enough to know it again.
        self._sure = False
        self._begun = False

    @property
    def believed(self) -> Capabilities:
        """What the node is taken for. May ask it where what is planned is only to be shown."""
        if self._known is None:
            self._known = self._remembered() or self._guessed()
        if planning() and not self._known.system:
            self._known = self._look_now()
        return self._known

    @property
    def remembered(self) -> Capabilities | None:
        """What the node was found to be, by us or an earlier run."""
        return self.believed if self.believed.system else None

    def _remembered(self) -> Capabilities | None:
        entry = self._cache.load()
        if entry is None or (entry.found.backend, entry.found.release) not in backend_choice.possible(self._settings):
            return None
        self._sure = entry.fresh
        return entry.found

    def _guessed(self) -> Capabilities:
        """The usual system; what cannot be what is configured is no guess."""
        backend, release = backend_choice.possible(self._settings)[0]
        root = self._settings.user in {None, "root"}
        return probe.guess(backend, release, become="none" if root else usual_become(backend))

    def settle(self) -> None:
        """Have it looked at, unless that was done not long ago. Raises Unreachable, Refused, ConfigError."""
        if not (self.believed.system and self._sure):
            self._known = self._look_now()

    def _look_now(self) -> Capabilities:
        said: str = self._host().ask_one(Query(PROBE, _read))
        return self._take(said)

    def _take(self, said: str) -> Capabilities:
        """Believe and keep what the node printed. Raises Refused, ConfigError."""
        found = self._decided(said)
        backend_choice.fits(self._where, self._settings, found.backend, found.release)
        self._known, self._sure = found, True
        self._cache.keep(said)
        return found

    def _decided(self, said: str) -> Capabilities:
        try:
            return probe.decide(probe.parse(said), node=self._node)
        except UnexpectedOutput as error:
            raise error.on(self._node) from error

    # -- trips

    def run(self, steps: Sequence[Step], *, then: Sequence[Query[Any]], lock: Lock) -> Outcome:
        """As ``Host.run``, after a look. Raises Surprised, and Refused where the node has changed since we began."""
        look = self._look()
        outcome = self._host().run((Step(look.argv, expect=look.expect), *steps), then=then, lock=lock)
        said = outcome.steps[0].stdout if 0 in outcome.steps else ""
        if outcome.failed_step == 0:
            self._surprise(said, look)
        self._confirmed(said, look)
        found = _without_look(outcome)
        self._doubt(found)
        return found

    def ask(self, queries: Sequence[Query[Any]], *, anew: bool = False) -> tuple[Answer[Any], ...]:
        """As ``Host.ask``, and a look. ``anew``: a whole one, whatever is known. Raises as ``run`` does."""
        look = self._look(anew=anew)
        *answers, answer = self._host().ask((*queries, Query(look.argv, _read if look.whole else str)))
        said: str = answer.get()
        if not self._holds(said, look):
            self._surprise(said, look)
        self._confirmed(said, look)
        self._doubt(Outcome(None, None, tuple(answers), {}))
        return tuple(answers)

    def _look(self, *, anew: bool = False) -> _Look:
        known = self.believed
        if self._sure and not anew and not known.passing:
            return _Look(_UNAME, (Expect("s/ *$//p", known.system),), whole=False)
        expect = [
            Expect("s/^settled //p", f"{known.backend} {known.release}"),
            Expect("s/^zfs *//p", " ".join(known.zfs)),
        ]
        if self._settings.become == AUTO:
            expect.append(Expect("s/^become //p", known.become))
        return _Look(PROBE, tuple(expect), whole=True)

    def _holds(self, said: str, look: _Look) -> bool:
        known = self.believed
        if not look.whole:
            return said.strip() == known.system
        found = self._decided(said)
        same = (found.backend, found.release, found.zfs) == (known.backend, known.release, known.zfs)
        return same and (self._settings.become != AUTO or found.become == known.become)

    def _confirmed(self, said: str, look: _Look) -> None:
        """What was done is done: nothing may go wrong here any more."""
        self._begun = True
        if look.whole:
            with contextlib.suppress(XvmError):
                self._take(said)

    def _surprise(self, said: str, look: _Look) -> NoReturn:
        """It is something else, and nothing was done. Find out what, if this was the first trip."""
        was = self.believed
        self._cache.drop()
        if self._begun:
            now = self._decided(said) if look.whole else None
            told = f"{now.system}, where {now.why}" if now else said.strip()
            raise Refused(
                f"{self._node} is not the system it was when this began: it was {was.system}, and is {told}; "
                "nothing was done"
            )
        self._begun = True
        found = self._take(said) if look.whole else self._look_now()
        raise Surprised(
            f"{self._node} is {found.system} ({found.backend}, {found.release}), which was not known: "
            "nothing was done; run the same command again"
        )

    def _doubt(self, outcome: Outcome) -> None:
        """Where a tool is not what it was taken for, the next run looks at everything again."""
        ends = [outcome.steps[outcome.failed_step]] if outcome.failed_step is not None else []
        said = [(end.exit, end.stdout + end.stderr) for end in ends]
        failed = [one.error for one in outcome.answers if isinstance(one.error, QueryFailed)]
        said += [(error.exit, error.stderr) for error in failed]
        if any(exit_ == 127 or any(doubt in text for doubt in _DOUBTS) for exit_, text in said):
            self._cache.drop()


def _read(text: str) -> str:
    """The text, if it can be read at all."""
    probe.parse(text)
    return text


def _without_look(outcome: Outcome) -> Outcome:
    """Of the steps of the plan only."""
    failed = outcome.failed_step
    steps = {index - 1: end for index, end in outcome.steps.items() if index > 0}
    return replace(outcome, failed_step=None if failed is None else failed - 1, steps=steps)
