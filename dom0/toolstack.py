"""What a dom0's toolstack is told and asked: xl (libxl), xm (xend), virsh (libvirt). Pure.

Each is a value of ``Toolstack``, on Solaris another one: what its disks are called there, only dom0 can tell. Sources:
xl(1) of Xen 4.17, which was run; xm(1) of Xen 4.0 and xVM; virsh(1), and virsh.c of libvirt 0.4, which xVM had.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dom0.disk import (
    PATH,
    SCRIPT,
    Disk,
    Wiring,
    by_path,
    libvirt_bus,
    position,
    solaris_device,
    told_device,
    vdev_at,
    xl,
    xl_by_script,
    xm,
    xm_by_script,
)
from remote.errors import UnexpectedOutput
from remote.script import Argv, Capture, Query, Step, Word, joined


@dataclass(frozen=True, slots=True)
class Domain:
    """A guest that runs. ``state`` is the toolstack's own word or letters."""

    name: str
    domid: int
    state: str


_DOMID = Capture("domid", r"s/^\([0-9]\{1,\}\)$/\1/p")


@dataclass(frozen=True, slots=True)
class Toolstack:
    """One way to talk to Xen.

    format   the disk lines it reads (``dom0.disk.FORMATS``)
    wirings  how it can be wired, the usual one first
    domid    prints a domain's number; fails, or prints "-", when it does not run
    detach   a line of shell: $1 the domain, $2 the vbd's number, $3 its name; ``force`` when the guest does not let go
    params   what xenstore has as a disk's target, by wiring; "" where that cannot be known from here
    told     the same, where dom0 can tell it (``Initiator.find``)
    called   what a disk's name in the guest is for the toolstack, and so in xenstore; ``vdev`` is the way back
    stopped  what domid says of a guest that does not run
    info     prints what ``parse_info`` reads
    shutdown asks a guest to stop, ``destroy`` stops it; ``start`` begins it ``from_file`` on dom0, or, where the
             toolstack keeps its definitions itself, by its name
    """

    format: str
    wirings: tuple[Wiring, ...]
    domid_words: Argv
    stopped: str
    list_words: Argv
    read_list: Callable[[str], tuple[Domain, ...]]
    attach_words: Callable[[Word, Disk, Wiring], Argv]
    detach: str
    force: str
    info_words: Argv
    params: Mapping[Wiring, Callable[[Disk], str]]
    shutdown_words: Argv
    destroy_words: Argv
    start_words: Argv
    from_file: bool = True
    told: Callable[[Disk], Word] | None = None
    called: Callable[[str], str] = str
    vdev: Callable[[str], str] = str

    def domid(self, guest: str) -> Step:
        """Captures ``domid``. Fails when the guest does not run."""
        return Step((*self.domid_words, guest), captures=(_DOMID,))

    def domid_if_any(self, guest: str) -> Step:
        """Captures ``domid``, which is empty when the guest does not run."""
        argv = ("sh", "-c", '$xvm_become "$@" 2>/dev/null || :', "domid-if-any", *self.domid_words, guest)
        return Step(argv, captures=(replace(_DOMID, required=False),))

    def domains(self) -> Query[tuple[Domain, ...]]:
        """The guests that run."""
        return Query(self.list_words, self.read_list)


# xend (xm 3.1 and later) also lists guests that do not run: they have neither number nor state.
_ROW = re.compile(r"(?P<name>\S+)(?:\s+(?P<domid>\d+)\s+\d+\s+\d+\s+(?P<state>\S+)|\s+\d+\s+\d+)\s+[\d.]+\s*\Z")


def parse_table(text: str) -> tuple[Domain, ...]:
    """Read ``xl list`` and ``xm list``; dom0 itself is left out.

    Name                                        ID   Mem VCPUs	State	Time(s)
    w1                                           1   128     1     -b----       3.3
    """
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Name"):
        raise UnexpectedOutput("list", lines[0] if lines else "", "a heading that begins with Name")
    found = []
    for line in lines[1:]:
        match = _ROW.match(line)
        if match is None:
            raise UnexpectedOutput("list", line, "name, ID, memory, VCPUs, state and time")
        if match["domid"] and match["domid"] != "0":
            found.append(Domain(match["name"], int(match["domid"]), match["state"]))
    return tuple(found)


def parse_virsh(text: str) -> tuple[Domain, ...]:
    """Read ``virsh list``.

    Id   Name   State
    1    web1   running
    """
    found = []
    for line in text.splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0].isdecimal() and words[0] != "0":
            found.append(Domain(words[1], int(words[0]), words[2]))
        elif words and words[0] not in {"Id", "0", "-"} and not words[0].startswith("--"):
            raise UnexpectedOutput("virsh list", line, "Id, name and state")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class XenInfo:
    """The hypervisor. ``caps`` are the guests it can run; ``virt_caps`` what it can do for them, None before 4.13."""

    version: tuple[int, int, int]
    caps: tuple[str, ...] = ()
    virt_caps: tuple[str, ...] | None = None


_XEN = re.compile(r"Xen (\d+)\.(\d+)(?:\.(\d+))?")


def parse_info(text: str) -> XenInfo:
    """Read ``xl info`` and ``xm info``, or ``virsh version``.

    xen_extra              : .7
    xen_version            : 4.17.7
    """
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    if "xen_major" not in facts:
        match = _XEN.search(facts.get("Running hypervisor", ""))
        if match is None:
            raise UnexpectedOutput("info", text.splitlines()[0] if text else "", "xen_major, or Running hypervisor")
        return XenInfo((int(match[1]), int(match[2]), int(match[3] or 0)))
    patch = re.match(r"\.(\d+)", facts.get("xen_extra", ""))
    numbers = facts["xen_major"], facts.get("xen_minor", ""), patch[1] if patch else "0"
    if not all(number.isdecimal() for number in numbers):
        raise UnexpectedOutput("info", f"{facts['xen_major']}.{numbers[1]}", "numbers")
    major, minor, last = (int(number) for number in numbers)
    virt = facts.get("virt_caps")
    return XenInfo(
        (major, minor, last),
        tuple(facts.get("xen_caps", "").split()),
        tuple(virt.split()) if virt is not None else None,
    )


def _id(disk: Disk) -> str:
    return disk.id or ""


def _xl_attach(domid: Word, disk: Disk, wiring: Wiring) -> Argv:
    return ("xl", "block-attach", domid, xl_by_script(disk) if wiring == SCRIPT else xl(disk))


def _xm_attach(domid: Word, disk: Disk, wiring: Wiring) -> Argv:
    line = xm_by_script(disk) if wiring == SCRIPT else xm(disk)
    return ("xm", "block-attach", domid, *line.split(","))


def _solaris_attach(domid: Word, disk: Disk, _wiring: Wiring) -> Argv:
    mode = "r" if disk.read_only else "w"
    return ("xm", "block-attach", domid, joined("phy:", told_device(disk)), _place(disk.vdev), mode)


def _place(vdev: str) -> str:
    return str(position(vdev))


def _virsh_attach(domid: Word, disk: Disk, _wiring: Wiring) -> Argv:
    kind = ("--sourcetype", "block", "--driver", "phy", "--subdriver", "raw", "--targetbus", libvirt_bus(disk))
    read_only = ("--mode", "readonly") if disk.read_only else ()
    return ("virsh", "attach-disk", domid, by_path(disk), disk.vdev, *kind, *read_only, "--live")


def _solaris_virsh_attach(domid: Word, disk: Disk, _wiring: Wiring) -> Argv:
    read_only = ("--mode", "readonly") if disk.read_only else ()
    return ("virsh", "attach-disk", domid, told_device(disk), _place(disk.vdev), "--driver", "phy", *read_only)


_XL_DETACH = '$xvm_become xl block-detach "$1" "$2"'
# Before Xen 4.15 xl knew no --force: there the plain command forces after ten seconds by itself.
_XL_FORCE = f"{_XL_DETACH} --force 2>/dev/null || {_XL_DETACH}"
_XM_DETACH = '$xvm_become xm block-detach "$1" "$2"'
_VIRSH_DETACH = '$xvm_become virsh detach-disk "$1" "$3" --live'
# xVM's virsh (libvirt 0.4) has neither --live nor --sourcetype, --targetbus (virsh.c); what it does is for the running.
_OLD_VIRSH_DETACH = '$xvm_become virsh detach-disk "$1" "$3"'

XL = Toolstack(
    format="xl",
    wirings=(SCRIPT, PATH),
    domid_words=("xl", "domid"),
    stopped="Can't get domid",
    list_words=("xl", "list"),
    read_list=parse_table,
    attach_words=_xl_attach,
    detach=_XL_DETACH,
    force=_XL_FORCE,
    info_words=("xl", "info"),
    params={SCRIPT: _id, PATH: by_path},
    shutdown_words=("xl", "shutdown"),
    destroy_words=("xl", "destroy"),
    start_words=("xl", "create", "-q"),
)
XM = Toolstack(
    format="xm",
    wirings=(SCRIPT, PATH),
    domid_words=("xm", "domid"),
    stopped="does not exist",
    list_words=("xm", "list"),
    read_list=parse_table,
    attach_words=_xm_attach,
    detach=_XM_DETACH,
    force=f"{_XM_DETACH} --force",
    info_words=("xm", "info"),
    params={SCRIPT: _id, PATH: by_path},
    shutdown_words=("xm", "shutdown"),
    destroy_words=("xm", "destroy"),
    start_words=("xm", "create", "-q"),
)
XM_ON_SOLARIS = replace(
    XM,
    format="xm-solaris",
    wirings=(PATH,),
    attach_words=_solaris_attach,
    params={PATH: solaris_device},
    told=told_device,
    called=_place,
    vdev=vdev_at,
)
LIBVIRT = Toolstack(
    format="libvirt",
    wirings=(PATH,),
    domid_words=("virsh", "domid"),
    stopped="failed to get domain",
    list_words=("virsh", "list"),
    read_list=parse_virsh,
    attach_words=_virsh_attach,
    detach=_VIRSH_DETACH,
    force=_VIRSH_DETACH,
    info_words=("virsh", "version"),
    params={PATH: by_path},
    shutdown_words=("virsh", "shutdown"),
    destroy_words=("virsh", "destroy"),
    start_words=("virsh", "start"),
    from_file=False,
)
LIBVIRT_ON_SOLARIS = replace(
    LIBVIRT,
    format="libvirt-solaris",
    attach_words=_solaris_virsh_attach,
    detach=_OLD_VIRSH_DETACH,
    force=_OLD_VIRSH_DETACH,
    params={PATH: solaris_device},
    told=told_device,
    called=_place,
    vdev=vdev_at,
)
# By the dom0's system and toolstack.
TOOLSTACKS = {
    ("linux", "xl"): XL,
    ("linux", "xm"): XM,
    ("linux", "libvirt"): LIBVIRT,
    ("solaris", "xm"): XM_ON_SOLARIS,
    ("solaris", "libvirt"): LIBVIRT_ON_SOLARIS,
}
