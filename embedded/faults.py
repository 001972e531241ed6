"""Which command goes wrong and how, as DIR/faults.toml says. It decides; the gate carries it out."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_type_hints

_ACTIONS = frozenset({"fail", "hang", "drop", "kill", "cut", "condition"})


class FaultsError(Exception):
    """faults.toml cannot be used; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One [[fault]] table.

    ``call`` counts matching commands from when the file was loaded; ``every`` ignores it. ``after`` means that the
    command takes effect first. ``seconds`` None: a hang that lasts until the SSH session ends or the fault is gone from
    the file. A command that is cut always takes effect.
    """

    command: str
    action: str
    call: int = 1
    every: bool = False
    when: str = "before"
    exit: int = 1
    stdout: str = ""
    stderr: str | None = None
    seconds: float | None = None
    condition: str = ""

    @property
    def after(self) -> bool:
        """Whether the command takes effect."""
        return self.when == "after"


def _accepts(hint: object, value: object) -> bool:
    kinds = {int: (int,), bool: (bool,), str: (str,), float | None: (int, float), str | None: (str,)}
    wanted = next(kind for known, kind in kinds.items() if known == hint)
    return isinstance(value, wanted) and (hint is bool or not isinstance(value, bool))


def _fault(table: dict[str, Any]) -> Fault:
    hints = get_type_hints(Fault)
    for key, value in table.items():
        if key not in hints:
            raise FaultsError(f"unknown key {key!r}")
        if not _accepts(hints[key], value):
            raise FaultsError(f"{key} = {value!r}: not of the right type")
    if "command" not in table or table.get("action") not in _ACTIONS:
        raise FaultsError(f"a fault needs a command and an action out of {', '.join(sorted(_ACTIONS))}")
    if table.get("when", "before") not in {"before", "after"}:
        raise FaultsError('when is "before" or "after"')
    if table["action"] == "condition" and not table.get("condition"):
        raise FaultsError("action condition needs the name of one")
    return Fault(**table)


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Read the text of a faults.toml."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FaultsError(str(error)) from error
    tables = document.pop("fault", [])
    if document or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise FaultsError("only [[fault]] tables are known")
    return tuple(_fault(table) for table in tables)


class Faults:
    """The faults of one file, re-read whenever it changes, with the count of matches of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._faults: tuple[Fault, ...] = ()
        self._error: FaultsError | None = None
        self._counts: list[int] = []

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen, self._faults, self._error = stamp, (), None
        try:
            self._faults = parse_faults(self._path.read_text()) if stamp else ()
        except (FaultsError, OSError, UnicodeDecodeError) as error:
            self._error = FaultsError(f"faults.toml: {error}")
        self._counts = [0] * len(self._faults)

    def lasts(self, fault: Fault) -> bool:
        """Whether the file still has that fault. One that cannot be read ends nothing."""
        self._load()
        return self._error is not None or fault in self._faults

    def match(self, argv: Sequence[str]) -> Fault | None:
        """Count this call and give the first fault that is due on it."""
        self._load()
        if self._error is not None:
            raise self._error
        words, due = " ".join(argv), None
        for index, fault in enumerate(self._faults):
            if fnmatchcase(words, fault.command):
                self._counts[index] += 1
                if due is None and (fault.every or self._counts[index] == fault.call):
                    due = fault
        return due
