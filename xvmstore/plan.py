"""A change as a value: the steps, what each is for, and from where on there is no way back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from remote.errors import PartlyDone, RemoteError
from remote.host import Outcome
from remote.script import Lock, Step, masked

Part = tuple[str, Iterable[Step]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps with a role each. Once a step of role ``settled`` is done, a failure leaves a half that a re-run ends."""

    steps: tuple[Step, ...]
    roles: tuple[str, ...]
    lock: Lock
    settled: str | None = None

    @classmethod
    def of(cls, lock: Lock, *parts: Part, settled: str | None = None) -> "Plan":
        """Put parts together, each a role and its steps."""
        pairs = [(role, step) for role, steps in parts for step in steps]
        return cls(tuple(step for _, step in pairs), tuple(role for role, _ in pairs), lock, settled)

    def without_undo(self) -> "Plan":
        """The same change, but what is done stays done when a later step fails: for what was there before."""
        return replace(self, steps=tuple(replace(step, undo=None) for step in self.steps))

    def lines(self) -> list[str]:
        """The commands as an admin would type them, secrets masked."""
        return [masked(step.argv) for step in self.steps]

    def failed_role(self, outcome: Outcome) -> str | None:
        """What the step that failed was for."""
        return None if outcome.failed_step is None else self.roles[outcome.failed_step]

    def must(self, outcome: Outcome) -> Outcome:
        """The outcome; raises what stopped the plan, as the caller should raise it."""
        failure = self.failure(outcome)
        if failure is not None:
            raise failure
        return outcome

    def failure(self, outcome: Outcome) -> RemoteError | None:
        """The failure as the caller should raise it."""
        failed = outcome.failed_step
        if failed is None or isinstance(outcome.failure, PartlyDone):
            return outcome.failure
        if self.settled not in self.roles[:failed] and not any(step.keep for step in self.steps[: failed + 1]):
            return outcome.failure
        return PartlyDone(f"{outcome.failure}; the change is half done: run the same command again to finish it")
