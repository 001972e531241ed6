"""What a ZFS of some age can do, as data: each difference that something of ours depends on, with its source. Pure.

Sources are builds of ON (SXCE, OpenSolaris) and dates of illumos, from the history of usr/src, and tags of OpenZFS.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that not every ZFS can do.

    name    the field of ``Vintage``
    sign    by what the usage of ``zfs`` or ``zfs get`` gives it away: a sed expression that one of its lines begins
            with (blanks before it do not count), without a slash, a backslash or a quote
    since   the first release that has it
    source  where that is from
    """

    name: str
    sign: str
    since: str
    source: str


FEATURES = (
    Feature(
        "exact_lists", "list .*[[]-[A-Za-z]*p", "illumos 2013-10-16, OpenZFS 0.7", "illumos 2583 (zpool: 2014-03-25)"
    ),
    Feature("snapshot_properties", "snapshot.*[[]-o property", "b96", "history of usr/src, tag onnv_96"),
    Feature("space_used_by", "usedbysnapshots ", "b98", "history of usr/src, tag onnv_98"),
    Feature("shareiscsi", "shareiscsi ", "2006-11-15, until b135", "removed with iscsitgtd by ab003da878 (b136)"),
)


@dataclass(frozen=True, slots=True)
class Vintage:
    """What the ZFS of a release can do; ``FEATURES`` says since when.

    exact_lists          ``zfs list -p`` and ``zpool list -p`` print bytes
    snapshot_properties  snapshots have user properties of their own, set by ``zfs snapshot -o``
    space_used_by        properties ``usedbysnapshots``, ``usedbydataset`` and so on
    shareiscsi           the property is there, so a new zvol may be exported by it
    """

    exact_lists: bool = False
    snapshot_properties: bool = False
    space_used_by: bool = False
    shareiscsi: bool = False

    @classmethod
    def of(cls, names: Iterable[str]) -> "Vintage":
        """One that has these features, and no others."""
        return cls(**dict.fromkeys(names, True))

    @property
    def names(self) -> tuple[str, ...]:
        """What it has, by name."""
        return tuple(one.name for one in FEATURES if getattr(self, one.name))


_OPENSOLARIS = Vintage(snapshot_properties=True, space_used_by=True, shareiscsi=True)
_TODAY = Vintage.of(one.name for one in FEATURES if one.name != "shareiscsi")
# By release, as the configuration names them.
VINTAGES = {
    "illumos": _TODAY,
    "b134": _OPENSOLARIS,
    "b111": _OPENSOLARIS,
    "b85": Vintage(shareiscsi=True),
    "linux": _TODAY,
}
