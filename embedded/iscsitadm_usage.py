"""The command line of iscsitadm: verbs, objects, options, and its usage texts (onnv cmd/iscsi/iscsitadm, cmdparse.c).

Not the cmdparse of stmfadm: a verb is followed by an object, and errors are on stderr with the usage on stdout. The
order of options is recorded for ``create target`` and ``delete target`` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedded.answer import Answer
from embedded.options import OptionError, Parsed, getopt

_NAME = "iscsitadm"
_TRAILER = "For more information, please see iscsitadm(1M)\n"
# Letter -> long name, and what its argument is ("" for none).
_OPTIONS = {
    "A": ("all", ""),
    "C": ("chap-secret", ""),
    "H": ("chap-name", "username"),
    "I": ("interval", "seconds"),
    "N": ("count", "number"),
    "P": ("radius-secret", ""),
    "R": ("radius-access", "enable/disable"),
    "S": ("isns-access", "enable/disable"),
    "a": ("alias", "value"),
    "b": ("backing-store", "pathname"),
    "d": ("base-directory", "directory"),
    "f": ("fast-write-ack", "enable/disable"),
    "i": ("ip-address", "address"),
    "l": ("acl", "local initiator"),
    "m": ("maxrecv", "value"),
    "n": ("iqn", "iSCSI node name"),
    "p": ("tpgt", "tpgt number"),
    "r": ("radius-server", "address"),
    "s": ("isns-server", "address"),
    "t": ("type", "disk/tape/osd/raw"),
    "u": ("lun", "number"),
    "v": ("verbose", ""),
    "z": ("size", "size k/m/g/t"),
}
_SPEC = "?" + "".join(letter + (":" if argument else "") for letter, (_, argument) in _OPTIONS.items())
_LONG = {"help": "?", **{name: letter for letter, (name, _) in _OPTIONS.items()}}


@dataclass(frozen=True, slots=True)
class Form:
    """What a verb takes with an object. ``operand`` "" is none."""

    options: str
    operand: str = ""
    operand_required: bool = False
    option_required: bool = False


_TARGET, _INITIATOR, _TPGT = "local-target", "local-initiator", "local-tpgt"
FORMS: Mapping[str, Mapping[str, Form]] = {
    "create": {
        "target": Form("tuzab", _TARGET, operand_required=True, option_required=True),
        "initiator": Form("n", _INITIATOR, operand_required=True, option_required=True),
        "tpgt": Form("", _TPGT, operand_required=True),
    },
    "list": {
        "target": Form("v", _TARGET),
        "initiator": Form("v", _INITIATOR),
        "tpgt": Form("v", _TPGT),
    },
    "modify": {
        "target": Form("plamzu", _TARGET, operand_required=True, option_required=True),
        "initiator": Form("HC", _INITIATOR, operand_required=True, option_required=True),
        "tpgt": Form("i", _TPGT, operand_required=True, option_required=True),
        "admin": Form("dHCRrPSsf", option_required=True),
    },
    "delete": {
        "target": Form("ulp", _TARGET, operand_required=True, option_required=True),
        "initiator": Form("A", _INITIATOR, operand_required=True, option_required=True),
        "tpgt": Form("Ai", _TPGT, operand_required=True, option_required=True),
    },
    "show": {
        "admin": Form(""),
        "stats": Form("IN", _TARGET),
    },
}


class LineError(Exception):
    """A line that iscsitadm does not take, with what it prints and returns."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.stderr)
        self.answer = answer


def _refusal(complaint: str, usage: str) -> LineError:
    return LineError(Answer(usage + _TRAILER, f"{_NAME}: {complaint}\n" if complaint else "", 1))


def _verb_usage(verb: str) -> str:
    return f"Usage:\t{_NAME} {verb} [-?] <OBJECT> [-?] [<OPERAND>]\n"


def _form(verb: str, name: str) -> str:
    form = FORMS[verb][name]
    options = " <OPTIONS>" if form.option_required else " [OPTIONS]" if form.options else ""
    operand = f" <{form.operand}>" if form.operand_required else f" [<{form.operand}>]" if form.operand else ""
    return f"\t{_NAME} {verb} {name}{options}{operand}\n"


def _options(form: Form) -> str:
    lines = [
        f"\t\t-{letter}, --{_OPTIONS[letter][0]}  {f'<{_OPTIONS[letter][1]}>' if _OPTIONS[letter][1] else ''}\n"
        for letter in form.options
    ]
    return "".join(["\tOPTIONS:\n", *lines]) if lines else ""


def _object_usage(verb: str) -> str:
    return _verb_usage(verb) + "Usage by OBJECT:\n" + "".join(_form(verb, name) for name in FORMS[verb])


def parse(args: Sequence[str]) -> tuple[str, str, Parsed]:
    """Verb, object and the rest of the line; LineError for a line that is not right, or asks for help."""
    if not args or args[0] in {"-?", "--help"}:
        help_only = Answer(f"Usage:\t{_NAME} -?,-V,--help\n" + "".join(map(_verb_usage, FORMS)) + _TRAILER, exit=1)
        raise LineError(help_only)
    if args[0] in {"-V", "--version"}:
        raise _refusal("", f"{_NAME}: Version 1.0\n")
    verb = args[0]
    if verb not in FORMS:  # unrecorded
        raise _refusal("invalid subcommand", "".join(map(_verb_usage, FORMS)))
    if len(args) < 2 or args[1] in {"-?", "--help"}:  # unrecorded
        raise _refusal("" if len(args) > 1 else "missing object", _object_usage(verb))
    if args[1] not in FORMS[verb]:
        raise _refusal("invalid object", _object_usage(verb))
    return verb, args[1], _parsed(verb, args[1], args[2:])


def _parsed(verb: str, name: str, args: Sequence[str]) -> Parsed:
    form = FORMS[verb][name]
    with_options = _form(verb, name) + _options(form)
    try:
        parsed = getopt(args, _SPEC, long=_LONG, permute=True)
    except OptionError as error:  # unrecorded
        kind = "option requires an argument" if error.missing else "unknown option"
        raise _refusal(f"{kind} -- {error.name}", with_options) from error
    if parsed.has("?"):  # unrecorded
        raise _refusal("", with_options)
    wrong = next((letter for letter, _ in parsed.options if letter not in form.options), None)
    if wrong is not None:  # unrecorded
        raise _refusal(f"-{wrong}: invalid option", with_options)
    if form.option_required and not parsed.options:
        raise _refusal("at least one option required", with_options)
    mistake = _operand_mistake(form, parsed)
    if mistake:
        raise _refusal(f"{verb} {name} {mistake}", _form(verb, name))
    return parsed


def _operand_mistake(form: Form, parsed: Parsed) -> str:
    if form.operand_required and not parsed.operands:
        return "requires an operand"
    if not form.operand and parsed.operands:  # unrecorded
        return "takes no operands"
    if len(parsed.operands) > 1:  # unrecorded
        return "accepts only a single operand"
    return ""
