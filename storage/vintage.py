"""What a ZFS of some age can do, as data: each difference that something of ours depends on, with its source. Pure.

Sources are builds of ON (SXCE, OpenSolaris) and dates of illumos, from the history of usr/src, and tags of OpenZFS.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vintage:
    """What the ZFS of a release can do.

    exact_lists          ``zfs list -p`` and ``zpool list -p`` print bytes (illumos 2013-10 and 2014-03, OpenZFS 0.7)
    snapshot_properties  snapshots have user properties of their own, set by ``zfs snapshot -o`` (b96)
    """

    exact_lists: bool
    snapshot_properties: bool = True


# By release, as the configuration names them.
VINTAGES = {
    "illumos": Vintage(exact_lists=True),
    "b134": Vintage(exact_lists=False),
    "b111": Vintage(exact_lists=False),
    "b85": Vintage(exact_lists=False, snapshot_properties=False),
    "linux": Vintage(exact_lists=True),
}
