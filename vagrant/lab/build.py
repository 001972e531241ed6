"""The first two layers of what the lab is made of: the compiled ZFS modules, and the two machines' images.

Each is in a folder named by the hash of its recipe and of the package versions that go into it, and is there whole or
not at all: it is made under another name.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vagrant.lab import packages
from vagrant.lab.packages import Mirror
from vagrant.lab.settings import IMAGE, PROVISION, SUITE, LabError, cache, forget_old, key, zfs_release

TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "mkfs.ext4": "e2fsprogs", "cpio": "cpio",
         "ssh": "openssh-client", "qemu-img": "qemu-utils", "xz": "xz-utils"}  # fmt: skip
# Generous: on two busy cores the compiler takes up to half an hour.
_LONGEST = {"modules": 2700, "storage": 900, "dom0": 900}
Say = Callable[[str], None]


def images(say: Say) -> Path:
    """The folder with both images, built if it is not there. Raises LabError."""
    _check_tools()
    release = zfs_release()
    for at_most in (packages.A_DAY, 0.0):
        mirror = packages.ask(cache() / "apt", zfs=release, at_most=at_most)
        modules, images_ = _names(mirror)
        # What is built takes what the mirror has now: it must have the name of that, and the modules for that kernel.
        if (cache() / "images" / images_).exists():
            break
    built = _layer("modules", modules, lambda out: _script("zfs-modules.sh", out, mirror=mirror, key_file=None), say)
    return _layer("images", images_, lambda out: _images(out, built, mirror), say)


def _names(mirror: Mirror) -> tuple[str, str]:
    """What the modules and the images made from these packages are called."""
    modules = key(IMAGE / "tree.sh", IMAGE / "zfs-modules.sh", mirror.of(packages.ZFS))
    recipe = [*sorted(IMAGE.glob("*")), *sorted(PROVISION.glob("*-debian.sh"))]
    return modules, key(*recipe, mirror.of((*packages.ZFS, *packages.STORAGE, *packages.DOM0)), modules)


def _check_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise LabError(f"the lab needs more packages: apt-get install --no-install-recommends {' '.join(missing)}")


def _layer(layer: str, name: str, make: Callable[[Path], None], say: Say) -> Path:
    folder = cache() / layer / name
    if folder.exists():
        os.utime(folder)
        return folder
    if os.geteuid() != 0:
        raise LabError(f"building the lab's {layer} needs root: run `make lab-build` once")
    began = time.monotonic()
    say(f"building {layer} {name}; the log is {cache() / 'build.log'}")
    with _half_made(folder) as half:
        make(half)
    _give_to_caller()
    forget_old(folder.parent, keep=folder)
    say(f"built {layer} {name} in {time.monotonic() - began:.0f} s")
    return folder


def _give_to_caller() -> None:
    """What was built with sudo belongs to who called it, who runs the lab without."""
    owner = os.environ.get("SUDO_UID")
    if owner:
        subprocess.run(["chown", "-R", f"{owner}:", str(cache())], check=True, timeout=60)


@contextlib.contextmanager
def _half_made(folder: Path) -> Iterator[Path]:
    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        yield half
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _images(out: Path, modules: Path, mirror: Mirror) -> None:
    """Both images at once: each of them waits for the mirror half of the time."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(out / "id")], check=True)
    jobs = {"storage.sh": (modules, out), "dom0.sh": (out,)}
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(_script, name, *words, mirror=mirror, key_file=out / "id.pub") for name, words in jobs.items()
        ]:
            done.result()


def _script(name: str, *arguments: Path, mirror: Mirror, key_file: Path | None) -> None:
    environment = os.environ | {
        "LAB_SUITE": SUITE,
        "LAB_SOURCES": str(mirror.sources),
        "LAB_PREFERENCES": str(mirror.preferences),
        "LAB_KEY": str(key_file),
    }
    log = cache() / "build.log"
    longest = _LONGEST["modules" if name == "zfs-modules.sh" else name.removesuffix(".sh")]
    with log.open("ab") as output:
        output.write(f"== {name} {time.strftime('%FT%TZ', time.gmtime())}\n".encode())
        output.flush()
        argv = ["sh", str(IMAGE / name), *map(str, arguments)]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, timeout=longest,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{name} was not done after {longest} s: see {log}") from error
    if done.returncode != 0:
        raise LabError(f"{name} failed (exit {done.returncode}): see {log}; its end:\n{tail(log)}")


def tail(path: Path, lines: int = 40) -> str:
    """The end of a log."""
    text = path.read_bytes()[-20000:].decode("utf-8", "replace") if path.exists() else "(there is none)"
    return "\n".join(text.splitlines()[-lines:])
