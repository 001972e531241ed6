"""zfs: its subcommand table, its options and its usage errors. The work is done in the modules beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embedded import usage, zfs_change, zfs_create, zfs_destroy, zfs_list, zfs_snapshots
from embedded.answer import Answer
from embedded.model import Node
from embedded.options import OptionError, Parsed, getopt
from embedded.zfs_call import Call, Handler, ZfsError, ZfsUsageError
from embedded.zfs_props import HIDDEN, TABLE

_TRAILER = "\nFor the property list, run: zfs set|get\n\nFor the delegated permission list, run: zfs allow|unallow\n"


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand's function and its options (those of every flavour together)."""

    run: Handler
    options: str = ""
    shows_properties: bool = False
    """Its usage ends in the property table."""
    missing: str = "missing argument for '{}' option\n"


_COMMANDS = {
    "create": Subcommand(zfs_create.create, "V:b:so:pnvP", missing="missing size argument\n"),
    "destroy": Subcommand(zfs_destroy.destroy, "rRfdnvp"),
    "snapshot": Subcommand(zfs_snapshots.snapshot, "ro:"),
    "rollback": Subcommand(zfs_snapshots.rollback, "rRf"),
    "clone": Subcommand(zfs_create.clone, "o:p"),
    "promote": Subcommand(zfs_change.promote),
    "rename": Subcommand(zfs_change.rename, "rpf"),
    "list": Subcommand(zfs_list.list_datasets, "HS:d:o:prs:t:", shows_properties=True),
    "set": Subcommand(zfs_change.set_properties, shows_properties=True),
    "get": Subcommand(zfs_list.get, "d:o:s:rt:Hp", shows_properties=True),
    "inherit": Subcommand(zfs_change.inherit, "rS", shows_properties=True),
}
_HOLDS = {
    "hold": Subcommand(zfs_snapshots.hold, "rt"),
    "holds": Subcommand(zfs_snapshots.holds, "rH"),
    "release": Subcommand(zfs_snapshots.release, "r"),
}


def _commands(node: Node) -> Mapping[str, Subcommand]:
    """The subcommands of the node's flavour, with the options that it has."""
    flavour = node.flavour
    lacking = {
        "create": "" if flavour.zfs_create_dry_run else "nvP",
        "destroy": ("" if flavour.snapshot_lists else "nvp") + ("" if flavour.holds else "d"),
        "snapshot": "" if flavour.snapshot_properties else "o",
        "list": ("" if flavour.zfs_parsable_list else "p") + ("" if flavour.zfs_depth else "d"),
        "get": ("" if flavour.zfs_depth else "d") + ("" if flavour.get_types else "t"),
        "holds": "" if flavour.bare_holds else "H",
    }
    known = {**_COMMANDS, **(_HOLDS if flavour.holds else {})}
    known = {name: replace(one, options=_without(one.options, lacking.get(name, ""))) for name, one in known.items()}
    return {**known, "snap": known["snapshot"]} if flavour.several_snapshots else known


def _without(options: str, letters: str) -> str:
    for letter in letters:
        options = options.replace(f"{letter}:", "").replace(letter, "")
    return options


def _lines(node: Node, name: str) -> str:
    """The usage lines of one subcommand."""
    found = ""
    inside = False
    for line in usage.text(f"zfs-{node.flavour.name}").splitlines(keepends=True):
        if not line.startswith("\t "):
            inside = line.split()[0].split("|")[0] == name
        found += line if inside else ""
    return found


def _properties(node: Node) -> str:
    """The property table at the end of some usage texts, shortened: it is unrecorded and nobody parses it."""
    return "\nThe following properties are supported:\n\n\tPROPERTY       EDIT  INHERIT   VALUES\n\n" + "".join(
        f"\t{name:<14} {'YES' if one.editable else ' NO'}    {'YES' if one.inheritable else ' NO'}   \n"
        for name, one in TABLE.items()
        if name not in node.flavour.missing_properties and name not in HIDDEN
    )


def _usage_error(node: Node, name: str, *, text: str) -> Answer:
    name = "snapshot" if name == "snap" else name
    body = f"{text}usage:\n{_lines(node, name)}"
    if _commands(node)[name].shows_properties:
        body += _properties(node)
    elif node.flavour.usage_trailer:
        body += _TRAILER
    return Answer(stderr=body, exit=2)


def _general(node: Node, *, text: str) -> Answer:
    body = usage.text(f"zfs-{node.flavour.name}")
    form = "\nEach dataset is of the form: pool/[dataset/]*dataset[@name]\n"
    return Answer(
        stderr=f"{text}usage: zfs command args ...\nwhere 'command' is one of the following:\n\n{body}{form}{_TRAILER}",
        exit=2,
    )


def run(node: Node, args: Sequence[str], *, now: float) -> Answer:
    """Run one zfs command line (without the program's name)."""
    if not args:
        return _general(node, text="missing command\n")
    known = _commands(node)
    if args[0] not in known:
        return _general(node, text=f"unrecognized command '{args[0]}'\n")
    if "zfs-missing" in node.conditions:
        return Answer(stderr="internal error: failed to initialize ZFS library\n", exit=1)
    try:
        parsed = getopt(args[1:], known[args[0]].options)
    except OptionError as error:
        text = known[args[0]].missing.format(error.name) if error.missing else f"invalid option '{error.name}'\n"
        return _usage_error(node, args[0], text=text)
    return _call(node, args[0], parsed, now=now)


def _call(node: Node, name: str, parsed: Parsed, *, now: float) -> Answer:
    call = Call(node, parsed, now)
    try:
        return _commands(node)[name].run(call)
    except ZfsError as error:
        call.printer.complain(str(error))
        return call.done(1)
    except ZfsUsageError as error:
        return _usage_error(node, name, text=str(error))
