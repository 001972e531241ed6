"""Systems as far as ``iscsi.probe`` looks at them: small programs that print what the real tools do, by system.

The texts follow the real ones; only what is looked at is there.
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedded import usage

OLD_TABLE = "\nThe following properties are supported:\n\n\tPROPERTY       EDIT  INHERIT   VALUES\n\n"
TABLE = OLD_TABLE + "\tusedbysnapshots     NO       NO   <size>\n"
_SHARED = "\tshareiscsi     YES      YES   on | off | type=<type>\n"
SHARED = TABLE + _SHARED
B134 = """\
	snapshot [-r] [-o property=value] ... <filesystem@snapname|volume@snapname>
	list [-rH][-d max] [-o property[,...]] [-t type[,...]] [-s property] ...
"""
SOLARIS11 = """\
	snapshot [-r] [-o property=value] ... <filesystem@snapname|volume@snapname> ...
	list [-H] [-r|-d max] [-o property[,...]] [-t type[,...]] [-s property] ...
"""
OPENZFS = """\
	snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...
	list [-Hp] [-r|-d max] [-o property[,...]] [-s property]...
"""
COMSTAR = frozenset({"stmfadm", "sbdadm", "itadm"})
TARGET, DAEMON = "svc:/network/iscsi/target:default", "svc:/system/iscsitgt:default"


@dataclass(frozen=True)
class Machine:
    """A system: ``uname -srv``, who logs in, what is installed and what that prints."""

    uname: str
    zfs: str
    properties: str = TABLE
    tools: frozenset[str] = COMSTAR
    creates: bool = True
    services: dict[str, str] = field(default_factory=dict)
    user: str = "uid=0(root) gid=0(root)"
    profiles: str = ""
    sudo: bool = False


ILLUMOS = Machine("SunOS 5.11 omnios-r151050-4f5a1f0c2b", usage.text("zfs-illumos"), services={TARGET: "online"})
B111 = Machine("SunOS 5.11 snv_111b", usage.text("zfs-b111"), SHARED, COMSTAR | {"iscsitadm"}, creates=False)
MACHINES = {
    "sxce-b85": Machine("SunOS 5.11 snv_85", usage.text("zfs-b85"), OLD_TABLE + _SHARED, frozenset({"iscsitadm"})),
    "2008.11": Machine("SunOS 5.11 snv_101b", usage.text("zfs-b111"), SHARED, frozenset({"stmfadm", "iscsitadm"})),
    "b111-comstar": replace(B111, services={TARGET: "online", DAEMON: "disabled"}),
    "b111-daemon": replace(B111, services={TARGET: "disabled", DAEMON: "online"}),
    "b111-neither": replace(B111, services={TARGET: "offline*", DAEMON: "maintenance"}),
    "b134": Machine("SunOS 5.11 snv_134", B134, SHARED, COMSTAR | {"iscsitadm"}, services={TARGET: "online"}),
    "solaris-11.3": Machine("SunOS 5.11 11.3", SOLARIS11),
    "solaris-11.4": Machine("SunOS 5.11 11.4.42.111.0", SOLARIS11),
    "omnios": ILLUMOS,
    "smartos": replace(ILLUMOS, uname="SunOS 5.11 joyent_20240111T000000Z"),
    "openindiana": replace(ILLUMOS, uname="SunOS 5.11 illumos-d1b4c9a5a3"),
    "debian": Machine("Linux 6.1.0-21-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.90-1", OPENZFS, tools=frozenset()),
    "freebsd": Machine("FreeBSD 14.1-RELEASE FreeBSD 14.1-RELEASE releng/14.1 GENERIC", OPENZFS, tools=frozenset()),
}


def _tools(machine: Machine) -> dict[str, str]:
    """Each as a program for /bin/sh."""
    creates = "exit 0" if machine.creates else 'echo "stmfadm: invalid subcommand: create-lu"; exit 1'
    states = "".join(f"{state:<15} {fmri:<50} \n" for fmri, state in machine.services.items())
    missing = "printf 'missing command\\nusage: zfs command args ...\\n'"
    found = dict.fromkeys(machine.tools, 'echo called >>"$0.called"; exit 1') | {
        "uname": f'[ "$*" = -srv ] && echo "{machine.uname}"',
        "id": f'echo "{machine.user}"',
        "zfs": f"[ \"$1\" = get ] || {missing} >&2\ncat >&2 <<'END'\n{machine.zfs}{machine.properties}END\nexit 2",
    }
    if "stmfadm" in found:
        found["stmfadm"] = creates
    if machine.services:
        found["svcs"] = f"cat <<'END'\n{states}END\necho \"svcs: Pattern 'x' doesn't match any instances\" >&2; exit 1"
    if machine.profiles:
        found |= {"profiles": f"cat <<'END'\n{machine.profiles}\nEND", "pfexec": 'exec "$@"'}
    if machine.sudo:
        found["sudo"] = '[ "$*" = "-n true" ]'
    return found


def install(machine: Machine, folder: Path) -> None:
    """Have its tools in a folder, with the few of POSIX that are needed; a tool that should not be called says so."""
    folder.mkdir(exist_ok=True)
    for name, text in _tools(machine).items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    for name in ("cat", "sed", "sort"):
        if not (folder / name).exists():
            (folder / name).symlink_to(str(shutil.which(name)))
