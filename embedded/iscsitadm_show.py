"""What iscsitadm lists: targets, initiators, portal groups, the daemon's settings, and what was read and written.

The daemon keeps the newest of anything first (that LUNs are among it is unrecorded).
"""

from collections.abc import Iterable, Iterator

from embedded.model import Daemon, DaemonLun, DaemonTarget, Node
from embedded.targets import sessions

_STATS = (
    "                        operations    bandwidth \n"
    "device                 read  write   read  write\n"
    "--------------------  -----  -----  -----  -----\n"
)
# Letter of `modify admin` -> how `show admin` calls it, and what it says when it was never set.
_SETTINGS = {
    "R": ("RADIUS Access", "Not set"),
    "r": ("RADIUS Server", "Not set"),
    "S": ("iSNS Access", "Not set"),
    "s": ("iSNS Server", "Not set"),
    "f": ("Fast Write ACK", "Disabled"),
}
_WORDS = {"enable": "Enabled", "disable": "Disabled"}


def scaled(number: int) -> str:
    """number_to_scaled_string of df(1M): K at least, one decimal below 10, else four places."""
    unit, before, count = 0, 0, number // 1024
    while count >= 1024:
        unit, before, count = unit + 1, count, (count + 512) // 1024
    letter = "KMGTPE"[unit]
    return f"{before / 1024:.1f}{letter}" if before and before // 1024 < 10 else f"{count:4}{letter}"


def _named(known: Iterable[str], name: str | None) -> list[str]:
    """Newest first; only the one named, if there is such."""
    return [one for one in reversed(list(known)) if name in {None, one}]


def targets(node: Node, name: str | None, *, verbose: bool) -> str:
    """Targets with who is logged in; an unknown name lists nothing."""
    folded = None if name is None else name.lower()
    names = [one for one in _named(node.daemon.targets, None) if folded in {None, one.lower()}]
    return "".join(line for one in names for line in _target(node, one, verbose=verbose))


def _target(node: Node, name: str, *, verbose: bool) -> Iterator[str]:
    one = node.daemon.targets[name]
    here = sessions(node).get(one.iqn, [])
    yield f"Target: {name}\n    iSCSI Name: {one.iqn}\n"
    if verbose and one.alias:
        yield f"    Alias: {one.alias}\n"
    yield f"    Connections: {len(here)}\n"
    if verbose:
        for session in here:
            yield f"        Initiator:\n            iSCSI Name: {session.initiator}\n"
            alias = node.initiator_aliases.get(session.initiator)
            yield f"            Alias: {alias}\n" if alias else ""  # without one: unrecorded
        yield from _details(one)


def _details(one: DaemonTarget) -> Iterator[str]:
    yield "    ACL list:\n" + "".join(f"        Initiator: {each}\n" for each in reversed(one.acl))
    yield "    TPGT list:\n" + "".join(f"        TPGT: {each}\n" for each in reversed(one.tpgts))
    yield "    LUN information:\n"
    for number, lun in reversed(one.luns.items()):
        yield _lun(number, lun)


def _lun(number: int, lun: DaemonLun) -> str:
    facts = {
        "GUID": lun.guid if lun.visited else "0",
        "VID": "SUN",
        "PID": "SOLARIS",
        "Type": lun.kind,
        "Size": scaled(lun.size),
        "Backing store": lun.backing,
        "Status": "online",
    }
    return f"        LUN: {number}\n" + "".join(f"            {label}: {value}\n" for label, value in facts.items())


def initiators(daemon: Daemon, name: str | None, *, verbose: bool) -> str:
    """Local initiators."""
    text = ""
    for one in _named(daemon.initiators, name):
        known = daemon.initiators[one]
        chap = f"    CHAP Name: {known.chap_name or 'Not set'}\n"
        secret = f"    CHAP Secret: {'Set' if known.chap_secret else 'Not set'}\n" if verbose else ""
        text += f"Initiator: {one}\n    iSCSI Name: {known.iscsi_name}\n{chap}{secret}"
    return text


def tpgts(daemon: Daemon, name: str | None, *, verbose: bool) -> str:
    """Target portal groups."""
    text = ""
    for one in _named(daemon.tpgts, name):
        addresses = daemon.tpgts[one]
        shown = [f"    IP Address: {each}\n" for each in [*reversed(addresses)] or ["Not set"]]
        text += f"TPGT: {one}\n" + ("".join(shown) if verbose else f"    IP Address count: {len(addresses)}\n")
    return text


def admin(daemon: Daemon) -> str:
    """The daemon's own settings. A missing base directory is unrecorded, and so are settings that were made."""
    settings = {label: daemon.settings.get(letter, unset) for letter, (label, unset) in _SETTINGS.items()}
    facts = {
        "Base Directory": daemon.base_directory or "Not set",
        "CHAP Name": daemon.chap_name or "Not set",
        **{label: _WORDS.get(value, value) for label, value in settings.items()},
    }
    return "iscsitadm:\n" + "".join(f"    {label}: {value}\n" for label, value in facts.items())


def stats(daemon: Daemon, name: str | None, *, count: int) -> str:
    """Totals, then as many differences as were asked for; nothing happens between two of them here."""
    text = _STATS
    for sample in range(count):
        for one in _named(daemon.targets, name):
            known = daemon.targets[one]
            (reads, read), (writes, written) = (known.reads, known.writes) if not sample else ((0, 0), (0, 0))
            cells = (_operations(reads), _operations(writes), scaled(read), scaled(written))
            text += f"{one:<20}" + "".join(f"  {cell:>5}" for cell in cells) + "\n"
    return text


def _operations(number: int) -> str:
    """That numbers below 1024 are as they are is recorded for 0 alone."""
    return scaled(number) if number >= 1024 else str(number)
