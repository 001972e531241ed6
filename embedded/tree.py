"""The tree of datasets: who is below whom, who is cloned from whom, and removing or renaming with the content."""

from embedded import content
from embedded.model import Dataset, Node


def head_of(name: str) -> str:
    """The dataset that a snapshot was taken of; any other dataset itself."""
    return name.partition("@")[0]


def pool_of(name: str) -> str:
    """The pool's name."""
    return head_of(name).partition("/")[0]


def parent_of(name: str) -> str | None:
    """The dataset above: a snapshot's is the dataset it was taken of. None above a pool."""
    if "@" in name:
        return head_of(name)
    head, slash, _ = name.rpartition("/")
    return head if slash else None


def snapshots(node: Node, name: str) -> list[str]:
    """The snapshots of one dataset, oldest first."""
    own = [other for other in node.datasets if other.startswith(f"{name}@")]
    return sorted(own, key=lambda snapshot: node.datasets[snapshot].txg)


def below(node: Node, name: str) -> list[str]:
    """Filesystems and volumes anywhere below, sorted by name."""
    return sorted(other for other in node.datasets if other.startswith(f"{name}/") and "@" not in other)


def children(node: Node, name: str) -> list[str]:
    """Filesystems and volumes directly below."""
    return [other for other in below(node, name) if parent_of(other) == name]


def clones(node: Node, snapshot: str) -> list[str]:
    """The datasets cloned from a snapshot."""
    return sorted(name for name, dataset in node.datasets.items() if dataset.origin == snapshot)


def dependents(node: Node, name: str) -> list[str]:
    """All that cannot outlive ``name``, in the order in which libzfs's zfs_iter_dependents visits it: leaves first."""
    direct = clones(node, name) if "@" in name else [*children(node, name), *snapshots(node, name)]
    found: list[str] = []
    for other in direct:
        found += [deeper for deeper in [*dependents(node, other), other] if deeper not in found]
    return found


def forget(node: Node, name: str) -> None:
    """Remove one dataset that nothing depends on, with its content; its origin goes if it waited for that."""
    dataset = node.datasets.pop(name)
    content.remove(content.path_of(node.root, name))
    if dataset.origin is not None:
        reap(node, dataset.origin)


def reap(node: Node, snapshot: str) -> None:
    """Remove a snapshot that was destroyed with -d once the last clone and hold are gone."""
    dataset = node.datasets.get(snapshot)
    if dataset is not None and dataset.deferred and not dataset.holds and not clones(node, snapshot):
        forget(node, snapshot)


def move(node: Node, old: str, *, new: str) -> None:
    """Rename one record and its content, and what points at it."""
    renamed: dict[str, Dataset] = {}
    for name, dataset in node.datasets.items():
        renamed[new if name == old else name] = dataset
        if dataset.origin == old:
            dataset.origin = new
    node.datasets = renamed
    content.move(content.path_of(node.root, old), content.path_of(node.root, new))
