"""The property shareiscsi: zfs has iscsitgtd export the volumes below where it is set, under their datasets' names."""

from embedded import iscsitgt, smf
from embedded.model import ISCSITGT, DaemonTarget, Dataset, Node
from embedded.targets import drop_sessions
from embedded.zfs_call import ZfsError
from embedded.zfs_props import read
from embedded.zfs_space import Space

PROPERTY = "shareiscsi"


def follow(node: Node, *, now: float) -> None:
    """Share and unshare what the datasets ask for by now. Where there is no iscsitgtd the property does nothing."""
    if ISCSITGT not in node.services:
        return
    wanted = _wanted(node)
    for name in [name for name, one in node.daemon.targets.items() if one.shared and name not in wanted]:
        unshare(node, name)
    for name in sorted(wanted - node.daemon.targets.keys()):
        _share(node, name, dataset=node.datasets[name], now=now)


def _wanted(node: Node) -> set[str]:
    if not any(PROPERTY in one.properties for one in node.datasets.values()):
        return set()
    space = Space(node)
    return {
        name
        for name, one in node.datasets.items()
        if one.kind == "volume" and read(space, name, PROPERTY).raw not in {None, "off"}
    }


def _share(node: Node, name: str, *, dataset: Dataset, now: float) -> None:
    if "share-unprivileged" in node.conditions and not node.online(ISCSITGT):
        raise ZfsError(f"cannot share '{name}': iscsitgt service need to be enabled by a privileged user\n")
    if node.services[ISCSITGT].state != "maintenance":
        smf.start(node, ISCSITGT, now=now)
    if "share-refused" in node.conditions or not node.online(ISCSITGT):
        raise ZfsError(f"cannot share '{name}': iscsitgtd failed request to share\n")
    dataset.shared_as = dataset.shared_as or f"{iscsitgt.IQN_PREFIX}{node.uuid()}"
    lun = iscsitgt.new_lun(node, f"{iscsitgt.DEVICES[0]}{name}", size=dataset.volsize, now=now)
    node.daemon.targets[name] = DaemonTarget(dataset.shared_as, luns={0: lun}, shared=True)


def unshare(node: Node, name: str) -> None:
    """Take the target away, and the sessions with it; what needs the volume to itself does that first."""
    one = node.daemon.targets.get(name)
    if one is None or not one.shared:
        return
    if "share-refused" in node.conditions:
        raise ZfsError(f"cannot unshare '{name}': iscsitgtd failed request to unshare\n")
    drop_sessions(node, one.iqn)
    del node.daemon.targets[name]
