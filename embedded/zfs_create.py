"""zfs create and zfs clone."""

from dataclasses import dataclass, field

from embedded import content, shareiscsi, sizes, tree, zfs_names, zfs_values
from embedded.answer import Answer
from embedded.model import Dataset, Node
from embedded.zfs_call import Call, ZfsError, ZfsUsageError
from embedded.zfs_space import Space, thick_reservation

DEFAULT_BLOCK = 8192


@dataclass(slots=True)
class _Wish:
    """What is to be made."""

    name: str
    kind: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def action(self) -> str:
        return f"cannot create '{self.name}'"


def settings(call: Call) -> dict[str, str]:
    """The -o options as given."""
    found: dict[str, str] = {}
    for text in call.parsed.all("o"):
        name, equals, value = text.partition("=")
        if not equals:
            raise ZfsUsageError("missing '=' for -o option\n")
        if name in found:
            raise ZfsUsageError(f"property '{name}' specified multiple times\n")
        found[name] = value
    return found


def check_place(node: Node, name: str) -> None:
    """The name is well formed, its parent is a filesystem and nothing has it yet."""
    action = f"cannot create '{name}'"
    wrong = zfs_names.dataset_mistake(name)
    if wrong:
        raise ZfsError(f"{action}: {wrong}\n")
    pool = tree.pool_of(name)
    if pool not in node.pools:
        raise ZfsError(f"{action}: no such pool '{pool}'\n")
    parent = tree.parent_of(name)
    if parent is not None and parent not in node.datasets:
        raise ZfsError(f"{action}: parent does not exist\n")
    if parent is not None and node.datasets[parent].kind != "filesystem":
        raise ZfsError(f"{action}: parent is not a filesystem\n")
    if name in node.datasets:
        raise ZfsError(f"{action}: dataset already exists\n")


def make_parents(call: Call, name: str) -> None:
    """-p: make the filesystems above that are missing."""
    missing = []
    above = tree.parent_of(name)
    while above is not None and above not in call.node.datasets:
        missing.append(above)
        above = tree.parent_of(above)
    for one in reversed(missing):
        check_place(call.node, one)
        add(call, one, Dataset("filesystem", call.now, 0, 0))


def add(call: Call, name: str, dataset: Dataset) -> None:
    """Enter a new dataset with its number and guid."""
    dataset.txg = call.node.next_txg()
    dataset.guid = call.node.identity()
    call.node.datasets[name] = dataset


def _number(text: str, *, what: str) -> int:
    try:
        return sizes.parse(text)
    except sizes.SizeError as error:
        raise ZfsError(f"bad {what} '{text}': {error}\n") from error


def _wish(call: Call) -> _Wish:
    size, block = call.parsed.last("V"), call.parsed.last("b")
    properties = settings(call)
    if size is not None:
        properties["volsize"] = str(_number(size, what="volume size"))
    if block is not None:
        properties["volblocksize"] = str(_number(block, what="volume block size"))
    kind = "filesystem" if size is None else "volume"
    if kind == "filesystem" and (block is not None or call.parsed.has("s")):
        raise ZfsUsageError("'-s' and '-b' can only be used when creating a volume\n")
    if not call.operands:
        raise ZfsUsageError(f"missing {kind} argument\n")
    if len(call.operands) > 1:
        raise ZfsUsageError("too many arguments\n")
    return _Wish(call.operands[0], kind, properties)


def create(call: Call) -> Answer:
    """Make a filesystem or volume. A thick volume opens its pool first, which shows in the errors."""
    wish = _wish(call)
    node = call.node
    if wish.kind == "volume" and not call.parsed.has("s") and "refreservation" not in wish.properties:
        pool = tree.pool_of(wish.name)
        if pool not in node.pools:
            raise ZfsError(f"cannot open '{pool}': no such pool\n")
        wish.properties["refreservation"] = "auto"
    if call.parsed.has("p") and not call.parsed.has("n"):
        if wish.name in node.datasets:
            return call.done()
        make_parents(call, wish.name)
    if not call.parsed.has("n"):
        check_place(node, wish.name)
        call.check_rights(wish.action)
    dataset = _prepare(call, wish)
    _announce(call, wish, dataset)
    if not call.parsed.has("n"):
        _enter(call, wish, dataset)
    return call.done()


def _prepare(call: Call, wish: _Wish) -> Dataset:
    """The dataset with its properties checked, not yet part of the node."""
    dataset = Dataset(wish.kind, call.now, 0, 0)
    given = dict(wish.properties)
    thick = given.get("refreservation") == "auto" and given.pop("refreservation")
    for name, value in given.items():
        try:
            full, raw = zfs_values.checked(call.node, name, value, kind=wish.kind, creating=True)
        except zfs_values.BadValueError as error:
            raise ZfsError(f"{wish.action}: {error}\n") from error
        dataset.properties[full] = raw
    if wish.kind == "volume":
        _measure(dataset, wish)
    if thick:
        copies = int(dataset.properties.get("copies", "1"))
        reserve = thick_reservation(call.node, dataset.volsize, volblocksize=dataset.volblocksize, copies=copies)
        dataset.properties["refreservation"] = str(reserve)
    return dataset


def _measure(dataset: Dataset, wish: _Wish) -> None:
    dataset.volsize = int(dataset.properties.pop("volsize"))
    dataset.volblocksize = int(dataset.properties.pop("volblocksize", str(DEFAULT_BLOCK)))
    if not dataset.volsize:
        raise ZfsError(f"{wish.action}: volume size cannot be zero\n")
    if dataset.volsize % dataset.volblocksize:
        raise ZfsError(f"{wish.action}: volume size must be a multiple of volume block size\n")


def _announce(call: Call, wish: _Wish, dataset: Dataset) -> None:
    """-v and -P: what is, or would be, made."""
    if not call.parsed.has("v"):
        return
    parsable = call.parsed.has("P")
    verb = "would create" if call.parsed.has("n") else "create"
    call.printer.say(f"create\t{wish.name}\n" if parsable else f"{verb} {wish.name}\n")
    shown = dict(dataset.properties)
    if wish.kind == "volume":
        shown["volsize"] = str(dataset.volsize)
    for name, value in sorted(shown.items()):
        call.printer.say(f"property\t{name}\t{value}\n" if parsable else f"\t{name}={value}\n")


def _enter(call: Call, wish: _Wish, dataset: Dataset) -> None:
    reserve = int(dataset.properties.get("refreservation", "0"))
    reserve = max(reserve, int(dataset.properties.get("reservation", "0")))
    parent = tree.parent_of(wish.name) or wish.name
    call.check_room(wish.action)
    if reserve > Space(call.node).available(parent):
        raise ZfsError(f"{wish.action}: out of space\n")
    add(call, wish.name, dataset)
    if dataset.kind == "volume":
        path = content.path_of(call.node.root, wish.name)
        content.create(path, dataset.volsize, headed=call.node.flavour.metadata_head)
        shareiscsi.follow(call.node, now=call.now)


def clone(call: Call) -> Answer:
    """Make a writable copy of a snapshot. Neither properties nor the unit's hidden metadata come along."""
    if len(call.operands) < 2:
        raise ZfsUsageError(f"missing {'source' if not call.operands else 'target'} dataset argument\n")
    if len(call.operands) > 2:
        raise ZfsUsageError("too many arguments\n")
    source, name = call.operands
    snapshot = call.dataset(source, kinds=("snapshot",))
    if call.parsed.has("p"):
        if name in call.node.datasets:
            return call.done()
        make_parents(call, name)
    check_place(call.node, name)
    if tree.pool_of(source) != tree.pool_of(name):
        raise ZfsError(f"cannot create '{name}': source and target pools differ\n")
    call.check_rights(f"cannot create '{name}'")
    kind = "volume" if snapshot.volsize else "filesystem"
    made = _prepare(call, _Wish(name, kind, settings(call))) if kind == "filesystem" else _volume(call, name)
    made.volsize, made.volblocksize, made.origin = snapshot.volsize, snapshot.volblocksize, source
    made.shared = Space(call.node).referenced(source)
    if made.properties.get("refreservation") == "auto":
        reserve = thick_reservation(call.node, made.volsize, volblocksize=made.volblocksize)
        made.properties["refreservation"] = str(reserve)
    call.check_room(f"cannot create '{name}'")
    add(call, name, made)
    if snapshot.volsize:
        copy_content(call.node, source, to=name)
        shareiscsi.follow(call.node, now=call.now)
    return call.done()


def copy_content(node: Node, name: str, *, to: str) -> None:
    """Give one dataset the bytes of another."""
    node.datasets[to].assumed = node.datasets[name].assumed
    source, target = (content.path_of(node.root, each) for each in (name, to))
    content.copy(source, target, size=node.datasets[name].volsize, headed=node.flavour.metadata_head)


def _volume(call: Call, name: str) -> Dataset:
    """A volume for a clone: its size comes from the snapshot, so only the -o options are checked."""
    dataset = Dataset("volume", call.now, 0, 0)
    for given, value in settings(call).items():
        try:
            full, raw = zfs_values.checked(call.node, given, value, kind="volume", creating=False)
        except zfs_values.BadValueError as error:
            raise ZfsError(f"cannot create '{name}': {error}\n") from error
        dataset.properties[full] = raw
    return dataset
