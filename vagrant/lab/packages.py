"""What Debian's mirror has for the images: asked through apt, in a folder of its own, of the machine's own mirror."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from vagrant.lab.settings import SUITE, ZFS_SUITES, LabError

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What an image is made of and what it is run by: a new version of one of these makes a new image.
ZFS = ("zfs-dkms", "zfsutils-linux", "linux-headers-amd64")
STORAGE = ("linux-image-amd64", "targetcli-fb", "python3-rtslib-fb", "openssh-server", "systemd")
DOM0 = ("linux-image-amd64", "xen-hypervisor-4.17-amd64", "xen-utils-4.17", "open-iscsi", "openssh-server", "udev")
A_DAY = 86400.0


@dataclass(frozen=True)
class Mirror:
    """An apt sources list, the preference for the wanted OpenZFS, and the candidate version of each package."""

    sources: Path
    preferences: Path
    versions: dict[str, str]

    def of(self, packages: tuple[str, ...]) -> str:
        """These packages and their versions, as text for a key."""
        return "\n".join(f"{name}={self.versions[name]}" for name in packages)


def ask(folder: Path, *, zfs: str, at_most: float = A_DAY) -> Mirror:
    """Candidate versions, from lists at most so many seconds old; older ones do where no mirror answers.

    Raises LabError.
    """
    for name in ("state/lists/partial", "cache/archives/partial", "empty"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources, preferences = folder / "lab.list", folder / f"zfs-{zfs}.pref"
    _write(sources, _sources())
    _write(preferences, f"Package: src:zfs-linux\nPin: release n={ZFS_SUITES[zfs]}\nPin-Priority: 990\n")
    (folder / "status").touch()
    stamp = folder / "updated"
    known = stamp.exists() and stamp.read_text() == sources.read_text()
    if not known or stamp.stat().st_mtime < time.time() - at_most:
        _update(folder, sources, stamp)
    return Mirror(sources, preferences, _candidates(folder, sources, preferences))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _update(folder: Path, sources: Path, stamp: Path) -> None:
    done = _run(["apt-get", *_options(folder, sources), "update", "-q"], timeout=300)
    if done.returncode == 0:
        stamp.write_text(sources.read_text())
    elif not stamp.exists():
        raise LabError(f"apt-get update of the lab's sources failed: {done.stderr.strip()[-400:]}")


def _sources() -> str:
    """The suites the images need, from wherever this machine gets its own Debian packages."""
    rows = _run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"], timeout=60)
    mirrors: dict[str, str] = {}
    for label, _, uri in (row.partition(" ") for row in rows.stdout.splitlines()):
        mirrors.setdefault(label, uri.strip())
    if "Debian" not in mirrors:
        raise LabError("apt knows no Debian mirror: run apt-get update, and see /etc/apt/sources.list*")
    main, security = mirrors["Debian"], mirrors.get("Debian-Security")
    suites = [(main, SUITE), (main, f"{SUITE}-updates"), (main, f"{SUITE}-backports")]
    suites += [(security, f"{SUITE}-security")] if security else []
    return "".join(f"deb [signed-by={_KEYRING}] {uri} {suite} main contrib\n" for uri, suite in suites)


def _options(folder: Path, sources: Path, preferences: Path | None = None) -> list[str]:
    places = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": folder / "empty",
        "Dir::Etc::Preferences": preferences or "/dev/null",
        "Dir::Etc::PreferencesParts": folder / "empty",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
    }
    return [word for name, value in places.items() for word in ("-o", f"{name}={value}")]


def _candidates(folder: Path, sources: Path, preferences: Path) -> dict[str, str]:
    """Read ``apt-cache policy``.

    zfs-dkms:
      Installed: (none)
      Candidate: 2.3.2-2~bpo12+2
    """
    names = sorted({*ZFS, *STORAGE, *DOM0})
    text = _run(["apt-cache", *_options(folder, sources, preferences), "policy", *names], timeout=60).stdout
    found = dict(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (\S+)$", text, re.MULTILINE))
    missing = [name for name in names if found.get(name, "(none)") == "(none)"]
    if missing:
        raise LabError(f"the mirror this machine uses has no {', '.join(missing)} in {SUITE}: see {sources}")
    return found


def _run(argv: list[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
