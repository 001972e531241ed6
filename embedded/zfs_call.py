"""One zfs or zpool subcommand with its line taken apart, and the ways in which it fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embedded import zfs_names
from embedded.answer import Answer
from embedded.model import Dataset, Node
from embedded.options import Parsed
from embedded.printing import Printer


class ZfsError(Exception):
    """A failed operation: whole lines for stderr, exit 1."""


class ZfsUsageError(Exception):
    """A command line that zfs refuses: the text, then the subcommand's usage, all on stderr, exit 2."""


@dataclass(slots=True)
class Call:
    """A running subcommand. What it printed before it failed stays printed."""

    node: Node
    parsed: Parsed
    now: float
    printer: Printer = field(default_factory=Printer)

    @property
    def operands(self) -> tuple[str, ...]:
        """The operands in order."""
        return self.parsed.operands

    def done(self, status: int = 0) -> Answer:
        """Everything printed, with the status."""
        return self.printer.answer(status)

    def dataset(self, name: str, *, kinds: tuple[str, ...] = ("filesystem", "volume", "snapshot")) -> Dataset:
        """The dataset of that name and kind, or libzfs's "cannot open"."""
        wrong = zfs_names.mistake(name, snapshots="snapshot" in kinds, only=kinds == ("snapshot",))
        if wrong:
            raise ZfsError(f"cannot open '{name}': {wrong}\n")
        found = self.node.datasets.get(name)
        if found is None:
            raise ZfsError(f"cannot open '{name}': dataset does not exist\n")
        if found.kind not in kinds:
            raise ZfsError(f"cannot open '{name}': operation not applicable to datasets of this type\n")
        return found

    def pools(self, names: Sequence[str]) -> tuple[list[str], int]:
        """The pools named, all when none is, and 1 if one is missing, which is complained of."""
        missing = [name for name in names if name not in self.node.pools]
        for name in missing:
            self.printer.complain(f"cannot open '{name}': no such pool\n")
        return [name for name in names or sorted(self.node.pools) if name in self.node.pools], int(bool(missing))

    def check_rights(self, action: str) -> None:
        """Refuse a change for want of rights; ``action`` is the text before the colon."""
        if "zfs-eacces" in self.node.conditions:
            raise ZfsError(f"{action}: permission denied\n")

    def check_room(self, action: str) -> None:
        """Refuse what needs a block when there is none."""
        if "pool-full" in self.node.conditions:
            raise ZfsError(f"{action}: out of space\n")


Handler = Callable[[Call], Answer]
