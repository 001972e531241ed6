"""A small iscsitgtd and a zvol to try programs on. iscsitadm, zfs and dd are stubs that ask the test's own process.

Commands are counted, and one can be made to fail, before it did its work or after, alone or with all that follow it.
"""

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DATASET = "tank/xvm/web1/root"
DEVICE = f"/dev/zvol/rdsk/{DATASET}"
IQN = "iqn.1986-03.com.sun:02:"
MIB = 1 << 20
_STUB = """\
#!/bin/sh
exec 3<&0
mkfifo "@DIR@/$$"
printf '%s\\n' $$ @NAME@ "$@" "" >"@DIR@/asked"
{ read status said; @THEN@; } <"@DIR@/$$"
[ -z "$said" ] || echo "$said" >&2
exit $status
"""
_DD = 'words=`cat`; [ -z "$words" ] || /bin/dd $words <&3 || exit 1'
Facts = dict[str, Any]
How = Literal["before", "after", "cut before", "cut after"]


class Refused(Exception):
    """What a stub says before it exits 1."""


@dataclass
class Fake:
    """The node. ``fault`` is how a command fails, and which: the number it has in ``ran``."""

    directory: Path
    shell: str
    targets: dict[str, Facts] = field(default_factory=dict)
    initiators: dict[str, dict[str, str]] = field(default_factory=dict)
    tpgts: dict[str, list[str]] = field(default_factory=dict)
    props: dict[str, str] = field(default_factory=dict)
    isns: str = "Not set"
    ran: list[str] = field(default_factory=list)
    fault: tuple[How, int] | None = None

    def __post_init__(self) -> None:
        """Without a target, with a zvol of 4 MiB that is empty."""
        for name in ("iscsitadm", "zfs", "dd"):
            stub = self.directory / name
            text = _STUB.replace("@THEN@", _DD if name == "dd" else "cat")
            stub.write_text(text.replace("@DIR@", str(self.directory)).replace("@NAME@", name))
            stub.chmod(0o755)
        os.mkfifo(self.directory / "asked")
        with self.disk.open("wb") as file:
            file.truncate(4 * MIB)
        self._server = threading.Thread(target=self._serve)
        self._server.start()

    def close(self) -> None:
        """Answer no more."""
        (self.directory / "asked").write_text("stop\n")
        self._server.join()

    @property
    def disk(self) -> Path:
        """What is on the zvol."""
        return self.directory / "disk"

    def run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run what a step runs, in the shell that is meant."""
        env = {"PATH": f"{self.directory}:{os.environ['PATH']}", "xvm_become": "env"}
        words = [self.shell, *words[1:]] if words[0] == "sh" else words
        return subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )

    def write(self, sector: int, data: bytes) -> None:
        """Put 512 bytes somewhere on the zvol; from the end, if negative."""
        with self.disk.open("r+b") as file:
            file.seek(sector * 512, os.SEEK_END if sector < 0 else os.SEEK_SET)
            file.write(data.ljust(512, b"."))

    def last(self) -> bytes:
        """The last sector of the zvol."""
        return self.disk.read_bytes()[-512:]

    def _serve(self) -> None:
        # Open for writing too: so it never ends while nobody asks.
        with open(os.open(self.directory / "asked", os.O_RDWR), encoding="utf-8") as asked:
            while (caller := asked.readline().strip()) != "stop":
                words = list(iter(lambda: asked.readline().removesuffix("\n"), ""))
                status, said, out = self._answer(words[0], words[1:])
                (self.directory / caller).write_text(f"{status} {said}\n{out}")
                (self.directory / caller).unlink()

    def _answer(self, name: str, args: list[str]) -> tuple[int, str, str]:
        number = len(self.ran)
        self.ran.append(" ".join([name, *args]))
        how, at = self.fault or ("after", -1)
        if ("cut" in how and number > at) or ("before" in how and number == at):
            return 1, "injected fault", ""
        try:
            out = {"iscsitadm": _iscsitadm, "zfs": _zfs, "dd": _dd}[name](self, args)
        except Refused as error:
            return 1, str(error), ""
        return (1, "injected fault", out) if number == at else (0, "", out)


def _iscsitadm(node: Fake, args: list[str]) -> str:
    verb, kind, *rest = args
    if verb in {"list", "show"}:
        return str(_LISTS[kind](node, rest[-1] if rest and rest[-1] != "-v" else None))
    option, value = (rest[0], rest[1]) if len(rest) > 1 else ("", "")
    try:
        _CHANGES[verb, kind, option](node, rest[-1], value)
    except Refused as error:
        raise Refused(f"iscsitadm: Error {error}") from error
    return ""


def _target(node: Fake, name: str) -> Facts:
    if name not in node.targets:
        raise Refused("Target not found")
    found: Facts = node.targets[name]
    return found


def _create_target(node: Fake, name: str, backing: str) -> None:
    if name in node.targets:
        raise Refused("LUN already exists")
    if backing != DEVICE:
        raise Refused("Failed to stat(2) backing for 'disk'")
    node.write(-1, bytes(512))
    facts = {"iqn": f"{IQN}{os.urandom(16).hex()}.{name}", "acl": [], "tpgts": [], "path": backing, "sessions": []}
    node.targets[name] = facts | {"size": node.disk.stat().st_size}


def _delete_target(node: Fake, name: str, _lun: str) -> None:
    _target(node, name)
    del node.targets[name]


def _add(what: str) -> Any:
    def add(node: Fake, name: str, value: str) -> None:
        found = _target(node, name)[what]
        found += [] if value in found else [value]

    return add


def _take(what: str) -> Any:
    def take(node: Fake, name: str, value: str) -> None:
        if value not in _target(node, name)[what]:
            raise Refused("Initiator not found")
        _target(node, name)[what].remove(value)

    return take


def _create_initiator(node: Fake, name: str, iqn: str) -> None:
    if name in node.initiators:
        raise Refused("Initiator already exists")
    node.initiators[name] = {"iqn": iqn, "user": "Not set", "secret": "Not set"}


def _chap_name(node: Fake, name: str, user: str) -> None:
    node.initiators[name]["user"] = user


def _create_tpgt(node: Fake, name: str, _value: str) -> None:
    if name in node.tpgts:
        raise Refused("TPGT already exists")
    node.tpgts[name] = []


def _address(node: Fake, name: str, address: str) -> None:
    node.tpgts[name].append(address)


_CHANGES: dict[tuple[str, str, str], Any] = {
    ("create", "target", "-b"): _create_target,
    ("delete", "target", "-u"): _delete_target,
    ("modify", "target", "-l"): _add("acl"),
    ("delete", "target", "-l"): _take("acl"),
    ("modify", "target", "-p"): _add("tpgts"),
    ("delete", "target", "-p"): _take("tpgts"),
    ("create", "initiator", "-n"): _create_initiator,
    ("modify", "initiator", "-H"): _chap_name,
    ("create", "tpgt", ""): _create_tpgt,
    ("modify", "tpgt", "-i"): _address,
}


def _list_targets(node: Fake, name: str | None) -> str:
    return "".join(_shown(one, facts) for one, facts in node.targets.items() if name in {None, one})


def _shown(name: str, facts: Facts) -> str:
    lines = [f"Target: {name}", f"    iSCSI Name: {facts['iqn']}", f"    Connections: {len(facts['sessions'])}"]
    for one in facts["sessions"]:
        lines += ["        Initiator:", f"            iSCSI Name: {one}", "            Alias: a\\nb"]
    lines += ["    ACL list:", *(f"        Initiator: {one}" for one in facts["acl"])]
    lines += ["    TPGT list:", *(f"        TPGT: {one}" for one in facts["tpgts"])]
    lines += ["    LUN information:", "        LUN: 0", "            GUID: 0", "            Size: 4.0M"]
    return "\n".join([*lines, f"            Backing store: {facts['path']}", "            Status: online\n"])


def _list_initiators(node: Fake, name: str | None) -> str:
    return "".join(
        f"Initiator: {one}\n    iSCSI Name: {facts['iqn']}\n    CHAP Name: {facts['user']}\n"
        f"    CHAP Secret: {'Not set' if facts['secret'] == 'Not set' else 'Set'}\n"
        for one, facts in node.initiators.items()
        if name in {None, one}
    )


def _list_tpgts(node: Fake, name: str | None) -> str:
    return "".join(
        "\n".join([f"TPGT: {one}", *(f"    IP Address: {address}" for address in found or ["Not set"]), ""])
        for one, found in node.tpgts.items()
        if name in {None, one}
    )


def _show_admin(node: Fake, _name: str | None) -> str:
    return f"iscsitadm:\n    Base Directory: Not set\n    CHAP Name: Not set\n    iSNS Access: {node.isns}\n"


_LISTS = {"target": _list_targets, "initiator": _list_initiators, "tpgt": _list_tpgts, "admin": _show_admin}


def _zfs(node: Fake, args: list[str]) -> str:
    verb, *rest = args
    if rest[-1] != DATASET:
        raise Refused(f"cannot open '{rest[-1]}': dataset does not exist")
    if verb == "get":
        columns, names = rest[rest.index("-o") + 1].split(","), rest[-2].split(",")
        known = node.props | {"volsize": str(node.disk.stat().st_size)}
        rows = [{"property": n, "value": known.get(n, "-"), "source": "local" if n in known else "-"} for n in names]
        return "".join("\t".join(row[one] for one in columns) + "\n" for row in rows)
    key, _, value = rest[0].partition("=")
    if verb == "inherit":
        node.props.pop(key, None)
    elif key == "volsize":
        _resize(node, int(value))
    elif len(value) >= 1024:
        raise Refused("property value too long")
    else:
        node.props[key] = value
    return ""


def _resize(node: Fake, size: int) -> None:
    if any(one["path"] == DEVICE for one in node.targets.values()):
        raise Refused("there would be an LU of another size than its zvol")
    os.truncate(node.disk, size)


def _dd(node: Fake, args: list[str]) -> str:
    """The words for the real one, on the file."""
    words = [
        word.replace(DEVICE, str(node.disk)).replace("iseek=", "skip=").replace("oseek=", "seek=") for word in args
    ]
    return " ".join(words)
