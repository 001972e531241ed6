"""Hooks that take a checkpoint before a package manager changes anything: the files, and how they get into place.

All of them call one script, ``xvmstore-hook``, which reads ``/etc/xvmstore/hook.conf``; both explain themselves. What a
package manager lets a hook do is a row of KINDS. What is put in place last is what makes the package manager call the
script, and it is what goes first: there is no moment when a hook calls what is not there.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from remote.errors import ConfigError, InvalidValue, NotFound, Refused
from storage.names import dataset, word

SCRIPT = "usr/local/lib/xvmstore/xvmstore-hook"
CONF = "etc/xvmstore/hook.conf"
LOCAL = "--local"
POLICIES = ("block", "warn")
_KEYS = ("POLICY", "CHECKPOINT", "OPTIONS", "PROGRAM")
# The script takes no other characters, so that none of them can mean anything to a shell.
_VALUE = re.compile(r"[A-Za-z0-9._/@:=+, -]*\Z")

Policy = Literal["block", "warn"]


@dataclass(frozen=True, slots=True)
class File:
    """One of our files, and where it goes below "/"."""

    source: str
    target: str
    executable: bool = False

    @property
    def text(self) -> str:
        """What is in it."""
        return resources.files(__name__).joinpath(self.source).read_text(encoding="ascii")


@dataclass(frozen=True, slots=True)
class Kind:
    """A package manager's hook. ``needs`` are directories that are only there where somebody reads them."""

    name: str
    files: tuple[File, ...]
    can_block: bool = True
    needs: tuple[str, ...] = ()
    get: str = ""

    @property
    def wrapper(self) -> bool:
        """The package manager is run by it, and knows nothing of it."""
        return self.files[0].source == "wrapper"


def _wrapper(name: str) -> Kind:
    return Kind(name, (File("wrapper", f"usr/local/sbin/xvmstore-{name}", executable=True),))


_DNF4_PRE, _DNF4_POST = (f"etc/dnf/plugins/{when}-transaction-actions.d" for when in ("pre", "post"))
_ROWS = (
    Kind("apt", (File("apt.conf", "etc/apt/apt.conf.d/05xvmstore"),), needs=("etc/apt/apt.conf.d",)),
    Kind(
        "dnf",
        (File("dnf5.actions", "etc/dnf/libdnf5-plugins/actions.d/xvmstore.actions"),),
        needs=("etc/dnf/libdnf5-plugins/actions.d",),
        get="dnf install libdnf5-plugin-actions (dnf 4 has another one: xvmstore hook install dnf4)",
    ),
    Kind(
        "dnf4",
        (
            File("dnf4-post.action", f"{_DNF4_POST}/xvmstore.action"),
            File("dnf4-pre.action", f"{_DNF4_PRE}/xvmstore.action"),
        ),
        can_block=False,
        needs=(_DNF4_PRE, _DNF4_POST),
        get="dnf install python3-dnf-plugin-pre-transaction-actions python3-dnf-plugin-post-transaction-actions",
    ),
    _wrapper("zypper"),
    _wrapper("pkg"),
    _wrapper("pkgin"),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ROWS}
_HOOK = File("xvmstore-hook", SCRIPT, executable=True)


def plan(
    kind: Kind, *, policy: Policy | None, checkpoint: Sequence[str], root: Path = Path("/")
) -> tuple[tuple[str, str, bool], ...]:
    """What ``install`` writes, in order: where, what, and whether it is a program.

    What is not said is left as hook.conf has it; without one it is "block", and this machine. Raises InvalidValue,
    ConfigError, and Refused where the package manager would not read or not heed the hook.
    """
    conf = {"POLICY": "block", "CHECKPOINT": LOCAL, "OPTIONS": "", "PROGRAM": _program()} | read_conf(root / CONF)
    if policy:
        conf["POLICY"] = policy
    if checkpoint:
        conf["CHECKPOINT"] = " ".join(_checkpoint(checkpoint))
    if conf["POLICY"] == "block" and not kind.can_block:
        raise Refused(f"{kind.name} goes on when its hook fails, so this hook can block nothing: use --policy warn")
    missing = [f"/{need}" for need in kind.needs if not (root / need).is_dir()]
    if missing:
        raise Refused(f"there is no {', '.join(missing)}: nobody would read the hook{': ' * bool(kind.get)}{kind.get}")
    files = (_HOOK, *kind.files)
    texts = [(file.target, file.text, file.executable) for file in files]
    return (texts[0], (CONF, conf_text(conf), False), *texts[1:])


def install(kind: Kind, *, policy: Policy | None, checkpoint: Sequence[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Put a hook in place, or change it. Run again, it changes nothing. Gives what it wrote."""
    files = plan(kind, policy=policy, checkpoint=checkpoint, root=root)
    for target, text, executable in files:
        _write(root / target, text, executable=executable)
    return tuple(f"/{target}" for target, _, _ in files)


def remove(kind: Kind, *, root: Path = Path("/")) -> tuple[str, ...]:
    """Take a hook away; the script too when no other hook calls it. hook.conf stays. Raises NotFound."""
    there = [file.target for file in kind.files if (root / file.target).exists()]
    if not there:
        raise NotFound(f"there is no hook of {kind.name} here: /{kind.files[0].target} does not exist")
    if not _others(kind, root) and (root / SCRIPT).exists():
        there.append(SCRIPT)
    for target in there:
        (root / target).unlink()
    return tuple(f"/{target}" for target in there)


def _others(kind: Kind, root: Path) -> bool:
    return any((root / file.target).exists() for one in _ROWS if one is not kind for file in one.files)


def read_conf(path: Path) -> dict[str, str]:
    """Read hook.conf; nothing where there is none. Raises ConfigError, for the script would not take it either.

    POLICY=block
    CHECKPOINT="--local"
    """
    found = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), start=1):
        key, equals, value = line.partition("=")
        if not line or line.startswith("#"):
            continue
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if not equals or key not in _KEYS or not _VALUE.match(value):
            raise ConfigError(f"{path}: line {number}: {line!r} is not one of {', '.join(_KEYS)} with a plain value")
        found[key] = value
    return found


def conf_text(values: Mapping[str, str]) -> str:
    """hook.conf. POLICY comes first: what is wrong further down is judged by it."""
    for key, value in values.items():
        if not _VALUE.match(value):
            raise InvalidValue(f"{key}={value!r}: letters, digits, blanks and . _ / @ : = + , - only")
    lines = [f'{key}="{values[key]}"' for key in _KEYS if values[key]]
    return "\n".join(("# Read by xvmstore-hook, which says what these are.", *lines, ""))


def _checkpoint(words: Sequence[str]) -> tuple[str, ...]:
    if tuple(words) == (LOCAL,):
        return (LOCAL,)
    if tuple(words[:-1]) == (LOCAL, "--root"):
        return (LOCAL, "--root", dataset(words[-1]))
    return tuple(word(one, f"guest name ({LOCAL} stands alone)") for one in words)


def _program() -> str:
    """This program, for hooks run with another PATH than the admin's."""
    running = Path(sys.argv[0])
    found = str(running.absolute()) if running.name == "xvmstore" and running.exists() else shutil.which("xvmstore")
    return found if found and _VALUE.match(found) and " " not in found else "xvmstore"


def _write(path: Path, text: str, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # apt and dnf read no file whose name begins with a dot or ends so.
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="ascii")
    new.chmod(0o755 if executable else 0o644)
    os.replace(new, path)
