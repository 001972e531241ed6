"""iscsitadm, which tells the target daemon of builds before 136 what to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from embedded import iscsitadm_show, iscsitadm_usage, iscsitgt
from embedded.answer import Answer
from embedded.iscsitgt import DaemonError, NoDaemonError
from embedded.model import Node
from embedded.options import Parsed

_KINDS = frozenset({"disk", "tape", "osd", "raw"})
SHORTEST_SECRET, LONGEST_SECRET = 12, 16
_SEGMENTATION_FAULT = 139


class FrontEndError(Exception):
    """What iscsitadm itself refuses; ``status`` is its exit."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One call with its line taken apart. ``typed`` are the lines that were typed at its prompts."""

    node: Node
    parsed: Parsed
    now: float
    typed: str

    @property
    def operand(self) -> str:
        """The operand of a call that needs one."""
        return self.parsed.operands[0]

    @property
    def name(self) -> str | None:
        """The operand of a call that can do without."""
        return self.parsed.operands[0] if self.parsed.operands else None

    def option(self, letter: str) -> str | None:
        """The argument of an option, None when it was not given."""
        return self.parsed.last(letter)

    def secret(self) -> str:
        """The secret that was typed twice; the second time is not reached when the first is no good."""
        if not self.typed:
            raise FrontEndError("", _SEGMENTATION_FAULT)  # no terminal: it copies what getpass() did not return
        first, *again = self.typed.removesuffix("\n").split("\n")
        problem = None
        if len(first) < SHORTEST_SECRET:
            problem = "secret too short"
        elif len(first) > LONGEST_SECRET:
            problem = "secret too long"
        elif [first] != again:
            problem = "secret not changed"
        if problem:  # how the two lines begin is unrecorded
            raise FrontEndError(f"iscsitadm: {problem}\niscsitadm: Cannot read CHAP secret\n")
        return first


def _number(call: Call, letter: str, *, default: int) -> int:
    text = call.option(letter)
    if text is None:
        return default
    if not text.isdecimal():
        raise FrontEndError(f"iscsitadm: {letter}: invalid number\n")  # unrecorded
    return int(text)


def _create_target(call: Call) -> None:
    kind, size = call.option("t") or "disk", call.option("z")
    iscsitgt.create_target(
        call.node,
        call.operand,
        now=call.now,
        lun=_number(call, "u", default=0),
        kind=kind,
        alias=call.option("a"),
        backing=call.option("b"),
        size=None if size is None else iscsitgt.parse_size(size),
    )


def _create_initiator(call: Call) -> None:
    iscsitgt.create_initiator(call.node, call.operand, iscsi_name=call.option("n") or "")


def _create_tpgt(call: Call) -> None:
    iscsitgt.create_tpgt(call.node, call.operand)


def _modify_target(call: Call) -> None:
    """-m has no effect here."""
    iscsitgt.check_rights(call.node)
    iscsitgt.target(call.node, call.operand)
    for letter, value in call.parsed.options:
        if letter == "l":
            iscsitgt.allow(call.node, call.operand, initiator=value)
        elif letter == "p":
            iscsitgt.bind(call.node, call.operand, tpgt=value)
        elif letter == "a":
            iscsitgt.set_alias(call.node, call.operand, alias=value)
        elif letter == "z":
            lun = _number(call, "u", default=0)
            iscsitgt.grow(call.node, call.operand, lun=lun, size=iscsitgt.parse_size(value))


def _modify_initiator(call: Call) -> None:
    secret = call.secret() if call.parsed.has("C") else None
    found = iscsitgt.initiator(call.node, call.operand)
    found.chap_name = call.option("H") or found.chap_name
    found.chap_secret = secret or found.chap_secret


def _modify_tpgt(call: Call) -> None:
    for address in call.parsed.all("i"):
        iscsitgt.add_address(call.node, call.operand, address=address)


def _modify_admin(call: Call) -> None:
    """The RADIUS secret is asked for as the CHAP secret is, and kept nowhere."""
    secret = call.secret() if call.parsed.has("C") or call.parsed.has("P") else None
    iscsitgt.check_rights(call.node)
    daemon = call.node.daemon
    daemon.base_directory = call.option("d") or daemon.base_directory
    daemon.chap_name = call.option("H") or daemon.chap_name
    if call.parsed.has("C"):
        daemon.chap_secret = secret
    daemon.settings.update({letter: value for letter, value in call.parsed.options if letter in "RrSsf"})


def _delete_target(call: Call) -> None:
    for letter, value in call.parsed.options:
        if letter == "l":
            iscsitgt.disallow(call.node, call.operand, initiator=value)
        elif letter == "p":
            iscsitgt.unbind(call.node, call.operand, tpgt=value)
        else:
            iscsitgt.delete_lun(call.node, call.operand, lun=_number(call, "u", default=0))


def _delete_initiator(call: Call) -> None:
    iscsitgt.delete_initiator(call.node, call.operand)


def _delete_tpgt(call: Call) -> None:
    for address in call.parsed.all("i"):
        iscsitgt.remove_address(call.node, call.operand, address=address)
    if call.parsed.has("A"):
        iscsitgt.delete_tpgt(call.node, call.operand)


def _show_stats(call: Call) -> str:
    return iscsitadm_show.stats(call.node.daemon, call.name, count=_number(call, "N", default=1))


_CHANGES: Mapping[tuple[str, str], Callable[[Call], None]] = {
    ("create", "target"): _create_target,
    ("create", "initiator"): _create_initiator,
    ("create", "tpgt"): _create_tpgt,
    ("modify", "target"): _modify_target,
    ("modify", "initiator"): _modify_initiator,
    ("modify", "tpgt"): _modify_tpgt,
    ("modify", "admin"): _modify_admin,
    ("delete", "target"): _delete_target,
    ("delete", "initiator"): _delete_initiator,
    ("delete", "tpgt"): _delete_tpgt,
}
_LISTS: Mapping[tuple[str, str], Callable[[Call], str]] = {
    ("list", "target"): lambda call: iscsitadm_show.targets(call.node, call.name, verbose=call.parsed.has("v")),
    ("list", "initiator"): lambda call: iscsitadm_show.initiators(
        call.node.daemon, call.name, verbose=call.parsed.has("v")
    ),
    ("list", "tpgt"): lambda call: iscsitadm_show.tpgts(call.node.daemon, call.name, verbose=call.parsed.has("v")),
    ("show", "admin"): lambda call: iscsitadm_show.admin(call.node.daemon),
    ("show", "stats"): _show_stats,
}


def run(node: Node, args: Sequence[str], *, now: float, typed: str = "") -> Answer:
    """Run one iscsitadm command line (without the program's name)."""
    try:
        verb, name, parsed = iscsitadm_usage.parse(args)
        if parsed.has("t") and parsed.last("t") not in _KINDS:
            return Answer(stderr="iscsitadm: t: unknown type\n", exit=1)
        iscsitgt.reach(node, now=now)
        return _run(Call(node, parsed, now, typed), verb, name)
    except iscsitadm_usage.LineError as error:
        return error.answer
    except NoDaemonError:
        return Answer(stderr="iscsitadm: No reponse from daemon\n", exit=1)
    except DaemonError as error:
        return Answer(stderr=f"iscsitadm: Error {error}\n", exit=1)
    except FrontEndError as error:
        return Answer(stderr=str(error), exit=error.status)


def _run(call: Call, verb: str, name: str) -> Answer:
    change = _CHANGES.get((verb, name))
    if change is None:
        return Answer(_LISTS[verb, name](call))
    change(call)
    return Answer()
