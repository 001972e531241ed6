"""Guests of the lab's real Xen: a kernel and one initramfs, with a shell on their console."""

import itertools

from tests.lab.live import Dom0, LabNode
from vagrant.lab.machine import LINUX

CONFIG = """\
name = "{name}"
type = "pv"
kernel = "/root/guest/guest.vmlinux"
ramdisk = "/root/guest/guest.cpio.gz"
extra = "console=hvc0 quiet {options}"
memory = 96
vcpus = 1
{disks}
"""
_marks = itertools.count(1)


class Guest:
    """A guest that runs."""

    def __init__(self, dom0: Dom0, name: str, disks: str) -> None:
        self._dom0, self.name = dom0, name
        self.log = f"/var/log/xen/console/guest-{name}.log"
        config = CONFIG.format(name=name, options=LINUX, disks=disks)
        dom0.run(f"rm -f {self.log}; cat >/root/{name}.cfg <<'END'\n{config}END")
        dom0.run(f"xl create -q /root/{name}.cfg")
        self.saw("GUEST-UP")

    def saw(self, words: str, *, seconds: int = 90) -> None:
        """Wait until it says something on its console (a pattern of grep)."""
        # Not asked again and again: dom0 would do little else under emulation. Its root has bash.
        follow = f"exec 3< <(exec tail -n +1 -F {self.log} 2>/dev/null); tail=$!"
        wait = f"timeout {seconds} grep -q '{words}' <&3; found=$?; kill $tail"
        self._dom0.run(
            f"{follow}; {wait}; [ $found = 0 ] || {{ tail -n 20 {self.log} >&2; exit 1; }}", seconds=seconds + 60
        )

    def does(self, command: str) -> None:
        """Run a command in it; it must end well."""
        mark = f"GUEST-DID-{next(_marks)}"
        typed = f"{command} && echo {mark[:5]}''{mark[5:]}"
        self._dom0.run(f"cat >$(xenstore-read /local/domain/$(xl domid {self.name})/console/tty) <<'END'\n{typed}\nEND")
        self.saw(f"^{mark}")

    def size_seen(self, disk: str, size: int) -> None:
        """Wait until it sees a disk with so many bytes."""
        self.saw(f"GUEST-DISK {disk} {size // 512} sectors ro=0")

    def destroy(self) -> None:
        """Pull its plug."""
        self._dom0.run(f"xl destroy {self.name}")


def start(node: LabNode, dom0: Dom0, name: str, *volumes: str, size: str = "1G") -> Guest:
    """A guest with volumes, started from what ``guest disks`` prints."""
    for volume in volumes:
        assert 0 == node.xvm("volume", "create", f"{name}/{volume}", "--size", size).exit
    prepared = node.xvm("guest", "prepare", name, "--dom0", "xen1")
    assert 0 == prepared.exit, prepared.err
    return Guest(dom0, name, node.xvm("guest", "disks", name).out)
