"""Tries a target's portals from here, all at once, while its machine is asked over SSH."""

import threading
import time
from collections.abc import Sequence

from exporters import portals
from exporters.exposition import Sheet


class Probes:
    """Begins at once; ``deadline`` is on the clock of time.monotonic()."""

    def __init__(self, addresses: Sequence[str], initiator: str, *, deadline: float) -> None:
        self._found: dict[str, portals.Probe] = {}
        self._deadline = deadline
        self._threads = {
            address: threading.Thread(
                target=self._try, args=(address, initiator), name=f"portal-{address}", daemon=True
            )
            for address in addresses
        }
        for thread in self._threads.values():
            thread.start()

    def _try(self, address: str, initiator: str) -> None:
        left = max(0.0, self._deadline - time.monotonic())
        self._found[address] = portals.probe(address, initiator=initiator, timeout=left)

    def emit(self, sheet: Sheet) -> None:
        """What was found; waits until the deadline at most, which each keeps by itself."""
        for address, thread in self._threads.items():
            thread.join(max(0.0, self._deadline + 0.05 - time.monotonic()))
            portals.emit(sheet, address, self._found.get(address, portals.Probe(trouble="no answer in time")))
