"""The command line of stmfadm and sbdadm: illumos usr/src/common/cmdparse/cmdparse.c and getopt_long(3C).

Its manners: subcommands in any case, options after operands, usage errors on stdout, and getopt's own message on
stderr under the name of the subcommand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from embedded import usage
from embedded.answer import Answer
from embedded.model import Node
from embedded.options import OptionError, Parsed, getopt

Operands = Literal["none", "one", "some", "any"]
LONGEST_ARGUMENT = 512


@dataclass(frozen=True, slots=True)
class Call:
    """One subcommand with its line taken apart."""

    node: Node
    parsed: Parsed
    now: float

    @property
    def operands(self) -> tuple[str, ...]:
        """The operands in order."""
        return self.parsed.operands

    @property
    def operand(self) -> str:
        """The single operand of a subcommand that takes one."""
        return self.parsed.operands[0]


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """What a subcommand accepts. ``options`` are letters of the tool's option string."""

    run: Handler
    operands: Operands = "none"
    options: str = ""
    option_required: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A program built on cmdparse: its option string covers all its subcommands."""

    name: str
    version: str
    spec: str
    long: Mapping[str, str]
    subcommands: Mapping[str, Subcommand]
    bad_option_exit: int = 1


@cache
def _sections(tool: str) -> dict[str, str]:
    """Subcommand -> its usage text, in the order of the tool's table."""
    chunks = ("\n" + usage.text(tool)).split("\nUsage:\t")[1:]
    return {chunk.split()[1]: "Usage:\t" + chunk for chunk in chunks}


def _listed(tool: Tool) -> list[tuple[str, str]]:
    return [(name, text) for name, text in _sections(tool.name).items() if name in tool.subcommands]


def _summary(tool: Tool) -> str:
    lines = [f"Usage:\t{tool.name} {name} [-?]\n" for name, _ in _listed(tool)]
    return f"Usage:\t{tool.name} -?,-V,--help\n" + "".join(lines)


def _details(tool: Tool) -> str:
    return f"Usage:\t{tool.name} -?,-V\n" + "".join("\n" + text for _, text in _listed(tool))


def _own_options(tool: Tool, word: str) -> Answer:
    if word in {"-?", "--help"}:
        return Answer(_details(tool))
    if word in {"-V", "--version"}:
        return Answer(f"{tool.name}: Version {tool.version}\n")
    return Answer(_summary(tool), f"{tool.name}: illegal option -- {word.lstrip('-')}\n", tool.bad_option_exit)


def run(tool: Tool, node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Parse the line as cmdparse does and call the subcommand's function."""
    if not args:
        return Answer(_summary(tool), exit=1)
    if args[0].startswith("-"):
        return _own_options(tool, args[0])
    name = args[0].lower()
    if name not in tool.subcommands:
        return Answer(f"{tool.name}: invalid subcommand\n{_summary(tool)}", exit=1)
    return _subcommand(tool, name, args[1:], Call(node, Parsed((), ()), now))


def _subcommand(tool: Tool, name: str, args: Sequence[str], call: Call) -> Answer:
    help_text = "\n" + _sections(tool.name)[name]
    try:
        parsed = getopt(args, "?V" + tool.spec, long={**tool.long, "help": "?", "version": "V"}, permute=True)
    except OptionError as error:
        kind = "option requires an argument" if error.missing else "illegal option"
        return Answer(help_text, f"{name}: {kind} -- {error.name}\n", tool.bad_option_exit)
    if parsed.has("?"):
        return Answer(help_text)
    refusal = _refusal(tool, name, parsed)
    return refusal or tool.subcommands[name].run(Call(call.node, parsed, call.now))


def _refusal(tool: Tool, name: str, parsed: Parsed) -> Answer | None:
    help_text = "\n" + _sections(tool.name)[name]
    message = _mistake(tool.subcommands[name], name, parsed)
    if message is None:
        return None
    if message.endswith("takes no operands"):  # the one usage error that goes to stderr
        return Answer(help_text, f"{tool.name}: {message}\n", 1)
    return Answer(f"{tool.name}: {message}\n{help_text}", exit=1)


def _mistake(command: Subcommand, name: str, parsed: Parsed) -> str | None:
    for letter, value in parsed.options:
        if letter not in command.options:
            return f"'-{letter}': invalid option"
        if len(value) > LONGEST_ARGUMENT:
            return f"'-{letter}': option too long"  # unrecorded wording
    if command.option_required and not parsed.options:
        return "at least one option required"
    return _operand_mistake(command.operands, name, count=len(parsed.operands))


def _operand_mistake(wanted: Operands, name: str, *, count: int) -> str | None:
    if wanted == "none" and count:
        return f"{name} takes no operands"
    if wanted in {"one", "some"} and not count:
        return f"{name} requires an operand"
    if wanted == "one" and count > 1:
        return f"{name} accepts only a single operand"
    return None
