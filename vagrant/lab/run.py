"""A running lab: both machines up and ready, set back to that state between tests, put out and booted again."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vagrant.lab import build, machine
from vagrant.lab.build import Say, tail
from vagrant.lab.machine import DOM0, READY, STORAGE, Kind, Machine
from vagrant.lab.settings import HERE, LabError, cache, forget_old, key

# What a boot took on two quiet cores, seen, times five or so: a machine that is busy with other things is slower.
_BOOT = {"storage": 400.0, "dom0": 600.0}
_RESTORE = 120.0
_READY = {
    "storage": 'test "$(systemctl is-active multi-user.target)" = active && zpool list tank >/dev/null',
    "dom0": "test -e /run/lab-ready && xl info >/dev/null",
}


class Lab:
    """The lab of this cache. Its folder holds disks with the saved state, consoles, keys and an ssh_config."""

    def __init__(self, images: Path, *, say: Say) -> None:
        self._images = images
        self._say = say
        self.accel = _accelerator(images, say)
        names = [" ".join(machine.command(kind, Path("i"), accel=self.accel, forwards=())) for kind in (STORAGE, DOM0)]
        sources = [HERE / "machine.py", HERE / "run.py"]
        qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
        self.folder = cache() / "state" / key(images.name, qemu, *names, *sources)
        self.storage, self.dom0 = Machine(STORAGE, self.folder), Machine(DOM0, self.folder)

    @classmethod
    def here(cls, say: Say) -> "Lab":
        """The lab of this machine; builds its images if need be. Raises LabError."""
        return cls(build.images(say), say=say)

    @property
    def machines(self) -> tuple[Machine, Machine]:
        """Both."""
        return self.storage, self.dom0

    @property
    def running(self) -> bool:
        """Both machines run."""
        return all(one.pid is not None for one in self.machines)

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: hosts storage and dom0, strict about their keys."""
        return self.folder / "ssh_config"

    def port(self, one: Machine, guest: int) -> int:
        """The loopback port that leads to a port of a machine."""
        ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        return ports[f"{one.name}:{guest}"]

    # -- up and down

    def up(self) -> None:
        """Both machines ready, from the saved state if there is one. Raises LabError."""
        with self._locked():
            if self.running:
                return
            self.down()
            began = time.monotonic()
            try:
                self._start(saved=(self.folder / "saved").exists())
            except LabError as error:
                # Once more, and from the very beginning: a saved state may not fit a newer QEMU.
                self._say(f"{error}\nonce more, from power-on")
                self.down()
                self._start(saved=False)
            self._say(f"the lab is up after {time.monotonic() - began:.0f} s ({self.accel}): {self.folder}")

    def _start(self, *, saved: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        forget_old(self.folder.parent, keep=self.folder, running=_in_use(self.folder.parent))
        _write_access(self.folder, self._images, self._choose_ports())
        if saved:
            for one in self.machines:
                one.start(self._argv(one.kind), saved=True)
            self._together(lambda one: self._settle(one, _RESTORE))
            return
        self._blank_disks()
        self._together(self._first_boot)
        for one in self.machines:
            one.monitor(f"savevm {READY}")
        (self.folder / "saved").touch()

    def _first_boot(self, one: Machine) -> None:
        one.start(self._argv(one.kind), saved=False)
        if one is self.storage:
            self._await(one, "test -b /dev/vdc", _BOOT[one.name])
            self.ssh(one, "storage-debian.sh pool /dev/vdb /dev/vdc", seconds=120)
        self._settle(one, _BOOT[one.name])

    def _argv(self, kind: Kind) -> list[str]:
        ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        forwards = [(ports[f"{kind.name}:{guest}"], guest) for guest in kind.ports]
        return machine.command(kind, self._images, accel=self.accel, forwards=forwards)

    def _choose_ports(self) -> dict[str, int]:
        wanted = [f"{one.name}:{guest}" for one in self.machines for guest in one.kind.ports]
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in wanted]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return {name: one.getsockname()[1] for name, one in zip(wanted, sockets, strict=True)}

    def _blank_disks(self) -> None:
        (self.folder / "saved").unlink(missing_ok=True)
        for one in self.machines:
            base = self._images / f"{one.name}.raw"
            _qemu_img(
                "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(self.folder / f"{one.name}.qcow2")
            )
            for disk in one.kind.disks:
                _qemu_img("create", "-q", "-f", "qcow2", str(self.folder / f"{disk}.qcow2"), "64G")

    def down(self) -> None:
        """End the machines at once: what is not in the saved state is lost, as is meant."""
        stop_all()

    # -- in between

    def reset(self) -> None:
        """Both machines as they were when they had just been set up, disks included; within seconds.

        In new processes: loadvm in one that has run for minutes leaves Xen's timers minutes apart, and it hangs.
        """
        for one in self.machines:
            one.kill()
            one.start(self._argv(one.kind), saved=True)
        self._together(lambda one: self._settle(one, _RESTORE))

    def boot(self, one: Machine) -> None:
        """Start a machine from power-on, with its disks as they are; one more try if it does not come up."""
        try:
            one.start(self._argv(one.kind), saved=False)
            self._settle(one, _BOOT[one.name])
        except LabError as error:
            self._say(f"{error}\nonce more")
            one.kill()
            one.start(self._argv(one.kind), saved=False)
            self._settle(one, _BOOT[one.name])

    def ssh_options(self, one: Machine) -> tuple[str, ...]:
        """One connection to a machine for all who ask for one, kept for a minute."""
        return "ControlMaster=auto", "ControlPersist=60", f"ControlPath={self.folder / one.name}.ssh"

    def ssh_command(self, one: Machine) -> list[str]:
        """How to run something on a machine."""
        options = [word for option in self.ssh_options(one) for word in ("-o", option)]
        return ["ssh", "-F", str(self.ssh_config), *options, one.name]

    def ssh(self, one: Machine, command: str, *, stdin: str = "", seconds: float = 120) -> str:
        """What a command prints on a machine, as root. Raises LabError unless it exits 0."""
        done = self._ssh(one, command, stdin=stdin, seconds=seconds)
        if done.returncode != 0:
            raise LabError(f"{one.name}: {command}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _ssh(self, one: Machine, command: str, *, stdin: str, seconds: float) -> subprocess.CompletedProcess[str]:
        argv = [*self.ssh_command(one), command]
        try:
            return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 124, "", f"no answer within {seconds:.0f} s")

    def _settle(self, one: Machine, seconds: float) -> None:
        """Wait until a machine is ready, and put its clock right: after a restore it is as late as the state is old."""
        self._await(one, f"date -s @{time.time():.0f} >/dev/null && {_READY[one.name]}", seconds)

    def _await(self, one: Machine, command: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            done = self._ssh(one, command, stdin="", seconds=30)
            if done.returncode == 0:
                return
            if one.pid is None or time.monotonic() > deadline:
                why = "its QEMU ended" if one.pid is None else f"`{command}` did not hold within {seconds:.0f} s"
                raise LabError(f"{one.name}: {why}: {done.stderr.strip()}; its console ends:\n{tail(one.console)}")
            time.sleep(0.5)

    def _together(self, do: Callable[[Machine], None]) -> None:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(do, one) for one in self.machines]:
                done.result()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        cache().mkdir(parents=True, exist_ok=True)
        with (cache() / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def stop_all() -> None:
    """End every machine of this cache, also those of a lab made from an older recipe."""
    for folder in _in_use(cache() / "state"):
        for kind in (STORAGE, DOM0):
            Machine(kind, folder).kill()


def _in_use(layer: Path) -> list[Path]:
    folders = layer.iterdir() if layer.exists() else ()
    return [one for one in folders if any(Machine(kind, one).pid for kind in (STORAGE, DOM0))]


def _write_access(folder: Path, images: Path, ports: dict[str, int]) -> None:
    """Keys and addresses, for ssh and for xvmstore alike."""
    shutil.copy(images / "id", folder / "id")
    (folder / "id").chmod(0o600)
    (folder / "ports.json").write_text(json.dumps(ports))
    known, config = "", ""
    for kind in (STORAGE, DOM0):
        port, hostkey = ports[f"{kind.name}:22"], (images / f"{kind.name}.hostkey").read_text().split()
        known += f"[127.0.0.1]:{port} {hostkey[0]} {hostkey[1]}\n"
        config += (
            f"Host {kind.name}\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {folder / 'id'}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
            "  BatchMode yes\n  ConnectTimeout 20\n  LogLevel ERROR\n"
        )
    (folder / "known_hosts").write_text(known)
    (folder / "ssh_config").write_text(config)


def _accelerator(images: Path, say: Say) -> str:
    """kvm where it starts a kernel, tcg elsewhere; remembered with the images. ``$XVMSTORE_LAB_ACCEL`` decides."""
    chosen = os.environ.get("XVMSTORE_LAB_ACCEL")
    if chosen in {"tcg", "kvm"}:
        return chosen
    if chosen:
        raise LabError(f"XVMSTORE_LAB_ACCEL={chosen}: there is tcg and kvm")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    # Another machine may share this cache, so the answer is kept by processor.
    processor = hashlib.sha256(Path("/proc/cpuinfo").read_bytes().split(b"cpu MHz")[0]).hexdigest()[:8]
    answer = cache() / f"accelerator-{processor}"
    if not answer.exists():
        found = "kvm" if _probe(images) else "tcg"
        say(f"/dev/kvm {'works' if found == 'kvm' else 'is there, but starts no kernel: software emulation is used'}")
        answer.write_text(found)
    return answer.read_text()


def _probe(images: Path) -> bool:
    argv: Sequence[str] = machine.probe_command(images)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=25, check=False)
    except subprocess.TimeoutExpired as late:
        return b"LAB-PROBE-OK" in (late.stdout or b"")
    return b"LAB-PROBE-OK" in done.stdout


def _qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, timeout=60)
