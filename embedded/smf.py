"""svcs and svcadm, and what starting or stopping a service does to STMF."""

import time
from collections.abc import Sequence

from embedded.answer import Answer
from embedded.model import ISCSI_TARGET, STMF, Node
from embedded.options import OptionError, Parsed, getopt
from embedded.printing import Printer, complaint

_DEPENDENCIES = {ISCSI_TARGET: (STMF,)}
# The order of svcs: by state, then start time, then name (cmd/svc/svcs).
_STATE_ORDER = (
    "legacy_run", "uninitialized", "maintenance", "disabled", "offline", "degraded", "online",
)  # fmt: skip
_WIDTHS = {"state": 15, "stime": 9, "fmri": 51}


def _match(node: Node, pattern: str) -> list[str]:
    """An FMRI whole, without its instance, or the last parts of its name."""
    found = []
    for fmri in node.services:
        name = fmri.removeprefix("svc:/").removesuffix(":default")
        wanted = pattern.removeprefix("svc:/").removesuffix(":default")
        if name == wanted or name.endswith(f"/{wanted}"):
            found.append(fmri)
    return found


def _missing(tool: str, pattern: str) -> str:
    return f"{tool}: Pattern '{pattern}' doesn't match any instances\n"


def svcs(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """List service states."""
    try:
        parsed = getopt(args, "Hao:x")
    except OptionError as error:
        return complaint(f"svcs: illegal option -- {error.name}\n", 2)
    columns = [part for text in parsed.all("o") or ("state,stime,fmri",) for part in text.split(",")]
    unknown = next((column for column in columns if column not in _WIDTHS), None)
    if unknown is not None:
        return complaint(f'svcs: Unknown column "{unknown}".\n', 2)  # unrecorded
    printer = Printer()
    chosen: list[str] = []
    for pattern in parsed.operands or tuple(node.services):
        found = _match(node, pattern)
        if not found:
            printer.complain(_missing("svcs", pattern))
        chosen += [fmri for fmri in found if fmri not in chosen]
    if not parsed.has("H"):
        printer.say("".join(f"{column.upper():<{_WIDTHS[column]}}" for column in columns) + "\n")
    for fmri in sorted(chosen, key=lambda one: _rank(node, one)):
        service = node.services[fmri]
        facts = {"state": service.state, "stime": _stime(service.since, now=now), "fmri": fmri}
        printer.say("".join(f"{facts[column]:<{_WIDTHS[column]}}" for column in columns) + "\n")
    return printer.answer(1 if printer.err else 0)


def _stime(since: float, *, now: float) -> str:
    """The start time: of the last day a clock time, else the date."""
    form = "%H:%M:%S" if now - since < 86400 else "%b_%d"
    return time.strftime(form, time.gmtime(since))


def _rank(node: Node, fmri: str) -> tuple[int, float, str]:
    service = node.services[fmri]
    return _STATE_ORDER.index(service.state.rstrip("*")), service.since, fmri


def svcadm(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Enable, disable or clear services."""
    actions = {"enable": _enable, "disable": _disable, "clear": _clear, "restart": _restart, "refresh": _nothing}
    if not args or args[0] not in actions:
        return complaint("svcadm: Usage: svcadm [-v] [cmd [args ... ]]\n", 2)  # unrecorded, shortened
    try:
        parsed = getopt(args[1:], "rst")
    except OptionError as error:
        return complaint(f"svcadm: illegal option -- {error.name}\n", 2)
    printer = Printer()
    status = 0
    for pattern in parsed.operands:
        found = _match(node, pattern)
        if not found:
            printer.complain(_missing("svcadm", pattern))
            status = 1
        for fmri in found:
            if "svcadm-eacces" in node.conditions:
                printer.complain(f"svcadm: {fmri}: Permission denied.\n")
                return printer.answer(1)
            status = actions[args[0]](node, fmri, printer, parsed, now)
    return printer.answer(status)


def _enable(node: Node, fmri: str, printer: Printer, parsed: Parsed, now: float) -> int:
    if parsed.has("r"):
        for other in _DEPENDENCIES.get(fmri, ()):
            if other in node.services:
                start(node, other, now=now)
    if node.services[fmri].state != "maintenance":  # that one waits for svcadm clear
        start(node, fmri, now=now)
    return _report(node, fmri, printer) if parsed.has("s") else 0


def _report(node: Node, fmri: str, printer: Printer) -> int:
    """What -s says when the service did not come up."""
    if "svc-contested" in node.conditions:
        printer.complain(f'svcadm: Instance "{fmri}" has been disabled by another entity.\n')
        return 3
    state = node.services[fmri].state
    if state == "maintenance":
        printer.complain(f'svcadm: Instance "{fmri}" is in maintenance state.\n')
        return 3
    if state == "offline":
        printer.complain(f'svcadm: Instance "{fmri}" has unsatisfied dependencies.\n')
        return 4
    return 0


def _disable(node: Node, fmri: str, _printer: Printer, _parsed: Parsed, now: float) -> int:
    _become(node, fmri, state="disabled", now=now)
    for other, needed in _DEPENDENCIES.items():
        if fmri in needed and other in node.services and node.services[other].state == "online":
            _become(node, other, state="offline", now=now)
    return 0


def _clear(node: Node, fmri: str, printer: Printer, _parsed: Parsed, now: float) -> int:
    if node.services[fmri].state not in {"maintenance", "degraded"}:
        printer.complain(f'svcadm: Instance "{fmri}" is not in a maintenance or degraded state.\n')
        return 1
    start(node, fmri, now=now)
    return 0


def _restart(node: Node, fmri: str, printer: Printer, parsed: Parsed, now: float) -> int:
    if node.services[fmri].state == "online":
        _disable(node, fmri, printer, parsed, now)
        start(node, fmri, now=now)
    return 0


def _nothing(_node: Node, _fmri: str, _printer: Printer, _parsed: Parsed, _now: float) -> int:
    return 0


def start(node: Node, fmri: str, *, now: float) -> None:
    """Bring a service up, and what waits for it; without its dependencies it stays offline."""
    if node.services[fmri].state == "online":
        return
    ready = all(node.online(other) for other in _DEPENDENCIES.get(fmri, ()))
    state = "offline" if not ready else "maintenance" if "svc-fails" in node.conditions else "online"
    if "svc-contested" in node.conditions:
        state = "disabled"
    _become(node, fmri, state=state, now=now)
    for other, needed in _DEPENDENCIES.items():
        if fmri in needed and other in node.services and node.services[other].state == "offline":
            start(node, other, now=now)


def _become(node: Node, fmri: str, *, state: str, now: float) -> None:
    """Change the state. STMF going down or up takes all units and targets along, whatever they were."""
    node.services[fmri].state = state
    node.services[fmri].since = now
    if fmri == STMF:
        node.initialized = node.initialized or state == "online"
        carried = "Online" if state == "online" else "Offline"
        for unit in node.units.values():
            unit.state = carried
        for target in node.targets.values():
            target.state = carried
    if state != "online":
        node.sessions = ()
