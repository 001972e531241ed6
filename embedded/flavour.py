"""What differs between the systems that the node can pretend to be, as data.

A command asks its flavour for a capability; no command asks which system it is.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Flavour:
    """Capabilities and texts of one system."""

    name: str
    system: str
    """What ``uname -v`` says."""
    target_programs: tuple[Literal["comstar", "iscsitgt"], ...]
    """What exports zvols: COMSTAR with its three tools, iscsitgtd, which takes orders from iscsitadm, or either."""
    lun_zero: bool
    """Every target has a LUN 0, which tgtd by itself cannot serve."""
    zfs_parsable_list: bool
    """``zfs list -p`` (illumos since 2013-10-16)."""
    zfs_depth: bool
    """``-d`` of ``zfs list`` and ``zfs get`` (b114)."""
    several_snapshots: bool
    """Several operands of ``zfs snapshot``, and its exit 2 for a missing dataset (illumos 2012-06-30)."""
    snapshot_lists: bool
    """``a@x,y`` and ``a@x%y`` with ``-nvpd`` of ``zfs destroy`` (illumos 2011-11-05)."""
    snapshot_properties: bool
    """User properties of snapshots, and ``-o`` of ``zfs snapshot`` (b96)."""
    lists_snapshots: bool
    """``zfs list`` without -t shows snapshots too (before b99)."""
    get_types: bool
    """``-t`` of ``zfs get``, which OpenSolaris never had."""
    holds: bool
    """``zfs hold``, ``release``, ``holds``, and ``destroy -d`` (b121)."""
    bare_holds: bool
    """``zfs holds -H`` (illumos 2010-12)."""
    hold_text: str
    release_text: str
    held_text: str
    """How an error of ``zfs hold``, ``release`` and ``destroy`` of a snapshot begins; ``{tag}``, ``{name}``."""
    several_properties: bool
    """``zfs set a=b c=d`` (illumos 2015)."""
    zfs_create_dry_run: bool
    """``-n -v -P`` of ``zfs create``."""
    byte_suffix: str
    """What human sizes under 1 KiB end in."""
    usage_trailer: bool
    """A usage error of zfs ends in the two pointers to ``zfs set|get`` and ``zfs allow|unallow``."""
    missing_properties: frozenset[str]
    """Dataset properties that came later."""
    volsize_source: str
    default_compression: str
    compressions: tuple[str, ...]
    longest_value: int
    """ZAP_MAXVALUELEN: a user property's value must be shorter."""
    thick_overhead: bool
    """The refreservation of a thick volume counts metadata too, not volsize alone."""
    busy_text: str
    """What destroy and rollback say when an LU holds the volume; ``{what}`` is the verb, ``{name}`` the volume."""
    rollback_newer: str
    rollback_kinds: str
    """How ``zfs rollback`` names what is in the way."""
    zpool_parsable: bool
    """``zpool list -p`` and ``zpool get -Hpo`` (illumos 2014-03-25)."""
    zpool_columns: tuple[str, ...]
    zpool_names: dict[str, str]
    """Column name on this system -> the quantity it shows."""
    zpool_missing: frozenset[str]
    """Columns that came later."""
    message_url: str
    """Where ``zpool status`` says that its messages are explained."""
    pool_kstats: bool
    """``zfs:0:POOL`` (illumos 2013-02-12)."""
    stmf_times: bool
    """COMSTAR's kstats measure time."""
    kstat_language: Literal["C", "Perl"]
    """The C version (illumos 2013-01-09) prints I/O times in nanoseconds, the Perl version in seconds."""
    scan_label: str
    vdev_layout: Literal["mirror-0", "mirror"]
    lu_commands: bool
    """``stmfadm create-lu``, ``modify-lu``, ``delete-lu``, ``import-lu`` (b115)."""
    keep_needs_unit: bool
    """``stmfadm delete-lu -k`` of a unit that there is not is an error (before b135)."""
    lu_details: bool
    """``stmfadm list-lu -v`` shows more than four lines."""
    metadata_head: bool
    """LU metadata takes the first 64 KiB of a zvol (before b116) instead of a hidden property."""
    old_sbdadm: bool
    protocol_line: bool
    alua_lines: bool
    group_needs: Literal["target", "service"]
    """What must be offline before a target group's members may change (b118)."""
    bad_option_exit: int
    """cmdparse of b111 exits 0 even for an illegal option."""
    itadm_parsable: bool
    """``itadm list-* -p`` (illumos 2014-03-28)."""
    itadm_help: Literal["illumos", "b111"]
    double_newline: bool
    """``itadm list-target NAME`` ends its "not found!" with two newlines."""
    iqn_prefix: str


ILLUMOS = Flavour(
    name="illumos",
    system="omnios-r151050",
    target_programs=("comstar",),
    lun_zero=False,
    zfs_parsable_list=True,
    zfs_depth=True,
    several_snapshots=True,
    snapshot_lists=True,
    snapshot_properties=True,
    lists_snapshots=False,
    get_types=True,
    holds=True,
    bare_holds=True,
    hold_text="cannot hold snapshot '{name}'",
    release_text="cannot release hold from snapshot '{name}'",
    held_text="cannot destroy snapshot {name}",
    several_properties=True,
    zfs_create_dry_run=True,
    byte_suffix="B",
    usage_trailer=True,
    missing_properties=frozenset({"shareiscsi"}),  # taken out in b136
    volsize_source="local",
    default_compression="on",
    compressions=("on", "off", "lzjb", "gzip", *(f"gzip-{n}" for n in range(1, 10)), "zle", "lz4"),
    longest_value=8192,
    thick_overhead=True,
    busy_text="cannot {what} '{name}': dataset is busy\n",
    rollback_newer="more recent snapshots or bookmarks exist",
    rollback_kinds="snapshots and bookmarks",
    zpool_parsable=True,
    zpool_columns=(
        "name", "size", "allocated", "free", "checkpoint", "expandsize",
        "fragmentation", "capacity", "dedupratio", "health", "altroot",
    ),
    zpool_names={"allocated": "allocated", "alloc": "allocated", "free": "free"},
    zpool_missing=frozenset(),
    message_url="http://illumos.org/msg/",
    pool_kstats=True,
    stmf_times=True,
    kstat_language="C",
    scan_label="  scan:",
    vdev_layout="mirror-0",
    lu_commands=True,
    keep_needs_unit=False,
    lu_details=True,
    metadata_head=False,
    old_sbdadm=False,
    protocol_line=True,
    alua_lines=True,
    group_needs="target",
    bad_option_exit=1,
    itadm_parsable=True,
    itadm_help="illumos",
    double_newline=False,
    iqn_prefix="iqn.2010-08.org.illumos:02:",
)  # fmt: skip

B111 = Flavour(
    name="b111",
    system="snv_111b",
    target_programs=("comstar",),
    lun_zero=False,
    zfs_parsable_list=False,
    zfs_depth=False,
    several_snapshots=False,
    snapshot_lists=False,
    snapshot_properties=True,
    lists_snapshots=False,
    get_types=False,
    holds=False,
    bare_holds=False,
    hold_text="cannot hold '{name}'",
    release_text="cannot release '{tag}' from '{name}'",
    held_text="cannot destroy '{name}'",
    several_properties=False,
    zfs_create_dry_run=False,
    byte_suffix="",
    usage_trailer=False,
    missing_properties=frozenset(
        {
            "clones",
            "dedup",
            "defer_destroy",
            "guid",
            "logbias",
            "logicalreferenced",
            "logicalused",
            "refcompressratio",
            "sync",
            "userrefs",
            "written",
        }
    ),
    volsize_source="-",
    default_compression="off",
    compressions=("on", "off", "lzjb", "gzip", *(f"gzip-{n}" for n in range(1, 10))),
    longest_value=1024,
    thick_overhead=False,
    busy_text="cannot remove device links for '{name}': dataset is busy\n",
    rollback_newer="more recent snapshots exist",
    rollback_kinds="snapshots",
    zpool_parsable=False,
    zpool_columns=("name", "size", "used", "available", "capacity", "health", "altroot"),
    zpool_names={"used": "allocated", "available": "free", "avail": "free"},
    zpool_missing=frozenset(
        {
            "autoexpand",
            "checkpoint",
            "comment",
            "dedupratio",
            "expandsize",
            "fragmentation",
            "freeing",
            "leaked",
            "readonly",
        }
    ),
    message_url="http://www.sun.com/msg/",
    pool_kstats=False,
    stmf_times=False,
    kstat_language="Perl",
    scan_label=" scrub:",
    vdev_layout="mirror",
    lu_commands=False,
    keep_needs_unit=True,
    lu_details=False,
    metadata_head=True,
    old_sbdadm=True,
    protocol_line=False,
    alua_lines=False,
    group_needs="service",
    bad_option_exit=0,
    itadm_parsable=False,
    itadm_help="b111",
    double_newline=True,
    iqn_prefix="iqn.1986-03.com.sun:02:",
)

# What is said of COMSTAR's tools is of no use here: there are none.
B85 = replace(
    B111,
    name="b85",
    system="snv_85",
    target_programs=("iscsitgt",),
    lun_zero=True,
    snapshot_properties=False,
    lists_snapshots=True,
    missing_properties=B111.missing_properties
    | {
        "primarycache",
        "secondarycache",
        "usedbychildren",
        "usedbydataset",
        "usedbyrefreservation",
        "usedbysnapshots",
    },
    zpool_missing=B111.zpool_missing | {"listsnapshots"},
    metadata_head=False,
)

# The last that had both programs. Its zfs and zpool are those of zfs-fuse 0.7.0, which has pool version 23 (b135):
# usage, properties, texts about holds, "mirror-0". Assumed to be as in b111 still: itadm's usage and its second
# newline, cmdparse's exit 0, what a thick volume reserves, the source of volsize, how long a value may be. Assumed to
# be as today: what is said of a busy volume.
B134 = replace(
    B111,
    name="b134",
    system="snv_134",
    target_programs=("comstar", "iscsitgt"),
    lun_zero=True,
    zfs_depth=True,
    holds=True,
    usage_trailer=True,
    missing_properties=B111.missing_properties - {"dedup", "defer_destroy", "logbias", "userrefs"},
    compressions=(*B111.compressions, "zle"),
    busy_text=ILLUMOS.busy_text,
    zpool_columns=("name", "size", "allocated", "free", "capacity", "dedupratio", "health", "altroot"),
    zpool_names=ILLUMOS.zpool_names,
    zpool_missing=B111.zpool_missing - {"autoexpand", "dedupratio"},
    stmf_times=True,
    vdev_layout="mirror-0",
    lu_commands=True,
    lu_details=True,
    metadata_head=False,
    old_sbdadm=False,
    protocol_line=True,
    alua_lines=True,
    group_needs="target",
)

FLAVOURS = {flavour.name: flavour for flavour in (ILLUMOS, B134, B111, B85)}
