"""One machine of the lab: its QEMU command line, and starting, stopping, killing and watching that process."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vagrant.lab.build import tail
from vagrant.lab.settings import LabError

READY = "ready"
# A PV dom0 under TCG shows wrong behaviour with -cpu max, and starts three times as fast without AVX to try out.
_CPU = {"tcg": "Nehalem", "kvm": "host"}
_ACCEL = {"tcg": "tcg,thread=multi,tb-size=512", "kvm": "kvm"}
# Xen dies at its first instructions where TCG shows it SMAP and SMEP.
_XEN = (
    "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M dom0_max_vcpus=1 loglvl=warning sched=credit noreboot "
    "smap=off smep=off xpti=off spec-ctrl=no"
)
# TCG keeps what it has translated by virtual address: with programs at random ones, it begins anew with each process.
# What a kernel does besides for each process and page, nobody here looks at: without it a process takes a sixth less.
LINUX = (
    "mitigations=off nokaslr norandmaps init_on_alloc=0 cgroup_disable=memory apparmor=0 audit=0 psi=0 "
    "hardened_usercopy=off randomize_kstack_offset=off nowatchdog"
)
_LINUX = f"root=/dev/vda rw {LINUX} net.ifnames=0 loglevel=4"


@dataclass(frozen=True)
class Kind:
    """What a machine is: memory in MiB, extra disks, and the guest ports that loopback ports lead to."""

    name: str
    memory: int
    cores: int
    number: int
    disks: tuple[str, ...]
    ports: tuple[int, ...]


STORAGE = Kind("storage", memory=1536, cores=2, number=1, disks=("d0", "d1"), ports=(22, 3260))
DOM0 = Kind("dom0", memory=2560, cores=1, number=2, disks=(), ports=(22,))


def command(kind: Kind, images: Path, *, accel: str, forwards: Sequence[tuple[int, int]]) -> list[str]:
    """The QEMU command line. Files of a run are relative to its folder, so that a saved state fits any place.

    ``forwards`` are pairs of a loopback port and a port of the machine. The lab's own network is a pair of datagram
    sockets: no bridge, no rights, and either end may start first.
    """
    other = DOM0 if kind is STORAGE else STORAGE
    hostfwd = ",".join(f"hostfwd=tcp:127.0.0.1:{host}-:{guest}" for host, guest in forwards)
    network = f"dgram,id=lab,local.type=unix,local.path={kind.name}.net,remote.type=unix,remote.path={other.name}.net"
    argv = ["qemu-system-x86_64", "-name", kind.name, "-machine", "q35,usb=off,vmport=off", "-accel", _ACCEL[accel]]
    argv += ["-cpu", _CPU[accel], "-smp", str(kind.cores), "-m", str(kind.memory), "-nodefaults", "-display", "none"]
    argv += ["-chardev", f"file,id=console,path={kind.name}.console,append=on", "-serial", "chardev:console"]
    argv += ["-qmp", f"unix:{kind.name}.qmp,server=on,wait=off", *_boot(kind, images)]
    for disk in (kind.name, *kind.disks):
        # Not cache=unsafe: a guest's flush must survive the sudden end of QEMU, as a real disk's does.
        argv += ["-drive", f"if=none,id={disk},file={disk}.qcow2,format=qcow2,cache=writeback,discard=unmap"]
        argv += ["-device", f"virtio-blk-pci,drive={disk},serial={disk}"]
    argv += ["-netdev", f"user,id=mgmt,restrict=on,{hostfwd}"]
    argv += ["-device", f"virtio-net-pci,netdev=mgmt,mac=52:54:00:aa:00:0{kind.number},romfile="]
    argv += ["-netdev", network]
    argv += ["-device", f"virtio-net-pci,netdev=lab,mac=52:54:00:bb:00:0{kind.number},romfile="]
    return [*argv, "-device", "virtio-rng-pci"]


def _boot(kind: Kind, images: Path) -> list[str]:
    kernel, initrd = images / f"{kind.name}.vmlinuz", images / f"{kind.name}.initrd"
    if kind is STORAGE:
        return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", f"{_LINUX} console=ttyS0"]
    dom0 = f"{kernel} {_LINUX} console=hvc0 init=/sbin/lab-init,{initrd}"
    return ["-kernel", str(images / "dom0.xen"), "-append", _XEN, "-initrd", dom0]


def probe_command(images: Path) -> list[str]:
    """Starts the storage kernel under KVM, only to see whether it gets as far as its first process."""
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults"]
    argv += ["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(images / "storage.vmlinuz")]
    return [*argv, "-initrd", str(images / "storage.initrd"), "-append", "console=ttyS0 lab.probe"]


@dataclass(frozen=True)
class Machine:
    """A machine in a run's folder."""

    kind: Kind
    folder: Path

    @property
    def name(self) -> str:
        """storage or dom0."""
        return self.kind.name

    @property
    def console(self) -> Path:
        """Its serial console, of all its boots."""
        return self.folder / f"{self.name}.console"

    @property
    def pid(self) -> int | None:
        """Its QEMU process, if that runs and is ours."""
        try:
            pid = int((self.folder / f"{self.name}.pid").read_text())
            running = os.readlink(f"/proc/{pid}/cwd") == str(self.folder.resolve())
        except (OSError, ValueError):
            return None
        return pid if running else None

    def start(self, argv: Sequence[str], *, saved: bool) -> None:
        """Start QEMU, from the saved state or from power-on. Raises LabError if it ends at once."""
        if self.pid is not None:
            raise LabError(f"{self.name} runs already (process {self.pid})")
        for leftover in ("net", "qmp", "pid", "ssh"):
            (self.folder / f"{self.name}.{leftover}").unlink(missing_ok=True)
        restore = ("-loadvm", READY) if saved else ()
        # No child of ours: it outlives this process, and is nobody's zombie when it ends. Its number is there whole or
        # not at all: whoever finds an empty file takes the machine for ended.
        tell = 'echo $$ >"$0.pid.new" && mv "$0.pid.new" "$0.pid"'
        shell = ("setsid", "--fork", "sh", "-c", tell + ' && exec "$@" </dev/null >>"$0.qemu.log" 2>&1')
        subprocess.run([*shell, self.name, *argv, *restore], cwd=self.folder, check=True, timeout=30)
        begun = self.folder / f"{self.name}.pid"
        self._wait(lambda: self._speaks() or (begun.exists() and self.pid is None), 30, "start")
        if not self._speaks():
            raise LabError(f"{self.name}: QEMU ended at once:\n{tail(self.folder / f'{self.name}.qemu.log', 5)}")

    def _speaks(self) -> bool:
        return (self.folder / f"{self.name}.qmp").exists()

    def wait_for_the_end(self, seconds: float) -> None:
        """Wait until the machine has powered itself off. Raises LabError."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                self._wait_for(os.pidfd_open(pid), seconds)

    def kill(self) -> None:
        """The power goes: SIGKILL, and nothing is written any more."""
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            self._wait_for(handle, 30)

    def _wait_for(self, handle: int, seconds: float) -> None:
        """Until the last thread has ended: only then are the disks' locks free."""
        try:
            if not select.select([handle], [], [], seconds)[0]:
                raise LabError(f"{self.name} did not end within {seconds:.0f} s")
        finally:
            os.close(handle)

    def _wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not {what} within {seconds:.0f} s")
            time.sleep(0.05)

    def monitor(self, *lines: str, seconds: float = 120) -> str:
        """Run lines of QEMU's human monitor. Raises LabError with what it answered, if that is anything."""
        said = ""
        with self._qmp(seconds) as ask:
            for line in lines:
                said += str(ask("human-monitor-command", {"command-line": line}))
        if said.strip():
            raise LabError(f"{self.name}: {'; '.join(lines)}: {said.strip()}")
        return said

    @contextlib.contextmanager
    def _qmp(self, seconds: float) -> Iterator[Callable[[str, dict[str, str]], Any]]:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(seconds)
            path = self.folder / f"{self.name}.qmp"
            link.connect(str(path))
            with link.makefile("rw") as wire:
                wire.readline()

                def ask(name: str, arguments: dict[str, str]) -> Any:
                    wire.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                    wire.flush()
                    while True:
                        answer = json.loads(wire.readline())
                        if "error" in answer:
                            raise LabError(f"{self.name}: {name}: {answer['error']['desc']}")
                        if "return" in answer:
                            return answer["return"]

                ask("qmp_capabilities", {})
                yield ask
