"""LUNs set free on a shared target are not used again at once: initiators remember the disk that was there. Pure.

Each is a user property on the base dataset, org.xvmstore:freed-LUN = seconds since the epoch: no read-modify-write.
"""

from remote.errors import UnexpectedOutput
from remote.script import Captured, Expect, Query, Step, Word
from storage.zvol import NO_DATASET, PREFIX

# A month: longer than any initiator stays up without a rescan being somebody's intention.
SECONDS = 30 * 86400
_FREED = f"{PREFIX}freed-"


def set_free(base: str, lun: Word, *, now: int) -> Step:
    """Remember that a LUN was set free."""
    pair: Word = f"{_FREED}{lun}={now}"
    if isinstance(lun, Captured):
        pair = Captured(lun.name, _FREED, f"={now}")
    return Step(("zfs", "set", pair, base))


def not_freed(base: str, lun: int, *, unless_at: int | None = None) -> Step:
    """Checks that a LUN is in no quarantine, or only in one known to be over."""
    argv = ("zfs", "get", "-H", "-o", "value", f"{_FREED}{lun}", base)
    return Step(argv, expect=(Expect("/^-$/d;p", str(unless_at), or_nothing=True),))


def freed(base: str) -> Query[dict[int, int]]:
    """When each LUN was set free, by number."""
    return Query(("zfs", "get", "-Hp", "-o", "property,value", "all", base), parse_freed, absent=(NO_DATASET,))


def parse_freed(text: str) -> dict[int, int]:
    """Pick our properties out of all of a dataset's.

    org.xvmstore:freed-5	1795305600
    """
    return dict(_freed(line) for line in text.splitlines() if line.startswith(_FREED))


def _freed(line: str) -> tuple[int, int]:
    lun, _, when = line.removeprefix(_FREED).partition("\t")
    if not lun.isdecimal() or not when.isdecimal():
        raise UnexpectedOutput("zfs get all", line, "a LUN and the seconds it was freed at")
    return int(lun), int(when)
