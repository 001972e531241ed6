"""Records what the lab's node prints, into ``tests/captured``: ``python -m tests.lab.capture``, on a lab that is up.

The lab is set back first, and left with what the listings show.
"""

import tempfile
from pathlib import Path

from iscsi import lio_look
from tests.lab.guests import Guest
from tests.lab.live import Dom0, LabNode
from vagrant.lab.machine import Machine
from vagrant.lab.run import Lab

CAPTURED = Path(__file__).parent.parent / "captured"
THEIRS = "iqn.2003-01.org.linux-iscsi.storage:theirs"
SETUP = f"""\
truncate -s 16M /var/lib/disk.img
targetcli /backstores/fileio create theirs /var/lib/disk.img
targetcli /iscsi create {THEIRS}
targetcli /iscsi/{THEIRS}/tpg1/luns create /backstores/fileio/theirs
zfs snapshot tank/xvm/web1/root@monday
zfs clone tank/xvm/web1/root@monday tank/xvm/web1/copy
zfs create -V 64M -b 8K tank/xvm/web1/hand
"""
COLUMNS = "name,property,value,source"
PROPERTIES = (
    "type,volsize,volblocksize,refreservation,used,referenced,creation,origin,org.xvmstore:guid,org.xvmstore:lun"
)
# Questions, and commands that must fail, in this order.
ZFS = (
    f"zfs get -Hp -r -o {COLUMNS} {PROPERTIES} tank/xvm",
    f"zfs get -Hp -o {COLUMNS} {PROPERTIES} tank/xvm/none/root",
    "zfs get -Hp -o property,value,source org.xvmstore:guid,org.xvmstore:target,volsize tank/xvm/web1/root",
    "zpool list -Hp -o name,size,allocated,free,capacity,health",
    "zpool list -H -o name,size,used,available,capacity,health",
    "zpool status",
    "zpool status none",
    "zfs create -V 1G tank/xvm/web1/root",
    "zfs create -V 9T tank/xvm/web1/huge",
    "zfs create -V 64M -b 8K tank/xvm/web1/small",
    "zfs destroy tank/xvm/web1",
    "zfs destroy tank/xvm/web1/root",
    "zfs destroy tank/xvm/web1/data",
    "zfs rename tank/xvm/none tank/xvm/other",
    "zfs set volsize=1 tank/xvm/web1/hand",
)


# On the Xen machine, with web1 running on both its disks and a failed attach of a third one.
XEN = (
    "xl list",
    "xl info",
    "xl domid web1",
    "xl domid nobody",
    "xenstore-ls -f /local/domain/0/backend/vbd",
    "xenstore-ls -f /local/domain/0/backend/none",
    "/etc/xen/scripts/block-xvmstore show",
)


def _case(node: LabNode, command: str, *, on: Machine | None = None) -> str:
    shell = f"LC_ALL=C; export LC_ALL; {command}"
    done = node.on(on or node.lab.storage, "sh", "-c", shell)
    streams = ""
    for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        ended = text if not text or text.endswith("\n") else f"{text}\n#@ nonl\n"
        streams += f"#@ {name}:\n{ended}"
    return f"#@ case: {command}\n#@ cmd: {command}\n#@ exit: {done.returncode}\n{streams}#@ end\n"


def _xen(node: LabNode) -> None:
    dom0 = Dom0(node)
    for words in (("install-script",), ("prepare", "web1")):
        node.xvm("guest", *words, "--dom0", "xen1")
    guest = Guest(dom0, "web1", node.xvm("guest", "disks", "web1").out)
    guest.saw("GUEST-DISK xvdb")
    dom0.run(f"xl block-attach web1 'vdev=xvdc, script=block-xvmstore, target={32 * 'f'}' || :")
    version = dom0.run("xl info xen_version").strip()
    head = f"#: xl, xenstore-ls and block-xvmstore of Xen {version}, Debian 12 in the lab; RUN\n\n"
    (CAPTURED / "xen").mkdir(exist_ok=True)
    text = head + "\n".join(_case(node, command, on=node.lab.dom0) for command in XEN)
    (CAPTURED / "xen" / f"xl-{version.rpartition('.')[0]}.txt").write_text(text)
    guest.destroy()
    node.xvm("guest", "forget", "web1", "--dom0", "xen1")


def main() -> None:
    """Set up, look, write."""
    lab = Lab.here(print)
    lab.up()
    lab.reset()
    with tempfile.TemporaryDirectory() as folder:
        node = LabNode(lab, Path(folder))
        made = node.xvm("volume", "create", "web1/root", "--size", "1G", "--json").json
        node.xvm("volume", "create", "web1/data", "--size", "2G", "--thin")
        _xen(node)
        node.shell(f"set -e\n{SETUP}")
        Dom0(node).login(made)
        system = node.shell("uname -r && zfs version && dpkg-query -W targetcli-fb").split("\n")
        release = system[1].removeprefix("zfs-").split(".")
        version = ".".join(release[:2])
        head = f"#: zfs and zpool of OpenZFS {system[1]}, kernel {system[0]}, Debian 12 in the lab; RUN\n\n"
        (CAPTURED / "openzfs").mkdir(exist_ok=True)
        text = head + "\n".join(_case(node, command) for command in ZFS)
        (CAPTURED / "openzfs" / f"zfs-zpool-{version}.txt").write_text(text)
        (CAPTURED / "lio").mkdir(exist_ok=True)
        rows = node.on_node(*map(str, lio_look.look())).stdout
        (CAPTURED / "lio" / "look-debian12-6.1-all.txt").write_text(rows)


if __name__ == "__main__":
    main()
