"""Checkpoints of this machine, on a ``zfs`` that keeps snapshots, holds and properties in a file."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from remote.errors import InUse, InvalidValue, NotFound, Refused, StepFailed, UnexpectedOutput
from storage import local
from xvmstore import local_checkpoints
from xvmstore.local_checkpoints import LocalCheckpoint, cut, cut_list

pytestmark = pytest.mark.slow
_ZFS = f"""#!{sys.executable}
import json, pathlib, sys
path = pathlib.Path(sys.argv[0]).parent / "state"
state = json.loads(path.read_text())
verb, *words = sys.argv[1:]
snapshots = state["snapshots"]
state["calls"].append(" ".join(sys.argv[1:])[:200])

def end(code=0, error="", out=""):
    path.write_text(json.dumps(state))
    sys.stdout.write(out)
    sys.exit(error + "\\n" if error else code)

if verb in state["broken"]:
    end(error=state["broken"][verb].replace("NAME", words[-1]))
if verb == "list" and "snapshot" in words:
    keys = words[-1].split(",")[1:]
    rows = [[name, *(found["properties"].get(key, "-") for key in keys)] for name, found in snapshots.items()]
    end(out="".join("\\t".join(row) + "\\n" for row in rows))
if verb == "list" and "filesystem" in words:
    end(out=state["filesystems"])
if verb == "list":
    end(out=words[-1] + "\\n" + words[-1] + "/disk\\n")
if verb == "snapshot":
    options = [words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "-o"]
    for name in [word for word in words if "@" in word and "=" not in word]:
        snapshots[name] = {{"properties": dict(options), "holds": []}}
elif verb == "hold":
    snapshots[words[1]]["holds"].append(words[0])
elif verb == "release":
    if words[0] not in snapshots[words[1]]["holds"]:
        end(error=f"cannot release hold from snapshot '{{words[1]}}': no such tag on this dataset")
    snapshots[words[1]]["holds"].remove(words[0])
elif verb == "get":
    for name in [word for word in words if "@" in word]:
        print(f"{{name}}\\tuserrefs\\t{{len(snapshots[name]['holds'])}}\\n{{name}}\\tclones\\t")
elif verb == "set":
    snapshots[words[1]]["properties"].update([words[0].split("=", 1)])
elif verb == "destroy":
    del snapshots[words[0]]
end()
"""
_BECTL = """#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/bectl-calls"
case $1 in
list) [ ! -f "$here/environments" ] || while IFS= read -r line; do echo "$line"; done <"$here/environments" ;;
*) [ ! -f "$here/bectl-broken" ] || { echo "cannot create: no boot environments here" >&2; exit 1; } ;;
esac
"""
LAYOUT = (
    "bpool\tyes\t/boot\n"
    "rpool\tno\tnone\n"
    "rpool/ROOT\tno\tnone\n"
    "rpool/ROOT/old\tno\t/\n"
    "rpool/ROOT/now\tyes\t/\n"
    "rpool/ROOT/now/var\tyes\tlegacy\n"
    "rpool/home\tyes\t/home\n"
    "rpool/mnt\tno\t/mnt\n"
    "rpool/elsewhere\tyes\tlegacy\n"
    "rpool2/x\tyes\t/x\n"
)


class Machine:
    """A machine whose root is on ZFS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._write("zfs", _ZFS)
        self.state = {"snapshots": {}, "broken": {}, "calls": [], "filesystems": LAYOUT}

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def bectl(self) -> None:
        """It has boot environments."""
        self._write("bectl", _BECTL)

    @property
    def state(self) -> dict[str, Any]:
        """What its zfs knows."""
        found: dict[str, Any] = json.loads((self.folder / "state").read_text())
        return found

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        (self.folder / "state").write_text(json.dumps(state))

    def broken(self, **errors: str) -> None:
        """These verbs fail from now on."""
        self.state = self.state | {"broken": errors}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One, without boot environments and without libzfs_core."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "libzfs_core", None)
    return Machine(tmp_path)


def test_create_list_note_destroy(machine: Machine) -> None:
    """The root dataset and what is mounted below it from the same pool, at one moment, held, with why and by whom."""
    made = local_checkpoints.create(reason="before apt", command="apt-get\tupgrade", packages=["bash", "openssl"])

    assert re.fullmatch(r"xvm-\d{8}T\d{6}Z-[0-9a-f]{4}", made.name)
    assert ("rpool/ROOT/now", "rpool/ROOT/now/var", "rpool/home") == made.datasets
    assert 1 == len([call for call in machine.state["calls"] if call.startswith("snapshot")])
    assert {name: ["xvmstore"] for name in made.snapshots} == {
        name: found["holds"] for name, found in machine.state["snapshots"].items()
    }
    assert "before apt" == machine.state["snapshots"][made.snapshots[0]]["properties"]["org.xvmstore:reason"]
    assert re.fullmatch(r".+@.+", made.by)
    assert (made,) == local_checkpoints.list_()
    assert ("apt-get upgrade", ("bash", "openssl"), None) == (made.command, made.packages, made.outcome)
    local_checkpoints.note(made.name, outcome="done")
    assert ["done"] == [one.outcome for one in local_checkpoints.list_()]
    local_checkpoints.destroy(made.name)
    assert {} == machine.state["snapshots"]
    with pytest.raises(NotFound, match=f"^{made.name}: "):
        local_checkpoints.destroy(made.name)


def test_json_form(machine: Machine) -> None:
    """An API: the name is at the top, the time is UTC."""
    found = local_checkpoints.create(reason="by hand").to_json()

    assert [
        "name",
        "created",
        "datasets",
        "reason",
        "by",
        "command",
        "packages",
        "outcome",
        "boot_environment",
    ] == list(found)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created"])
    assert found["created"].replace("-", "").replace(":", "")[:15] == found["name"][4:19]
    assert (("rpool/ROOT/now", "rpool/ROOT/now/var", "rpool/home"), None, ()) == (
        found["datasets"], found["command"], found["packages"],
    )  # fmt: skip


def test_another_root(machine: Machine) -> None:
    """That dataset and all below it, volumes too; never a boot environment."""
    machine.bectl()
    made = local_checkpoints.create(reason="by hand", root="tank/vm")

    assert (("tank/vm", "tank/vm/disk"), False) == (made.datasets, made.boot_environment)
    assert not local_checkpoints.create(reason="by hand", root="rpool/ROOT/now").boot_environment
    with pytest.raises(InvalidValue):
        local_checkpoints.create(reason="by hand", root="-r")


def test_boot_environments(machine: Machine) -> None:
    """One of the same name is made; it goes with the checkpoint, but never while it runs or is to be booted."""
    machine.bectl()
    made = local_checkpoints.create(reason="before pkg")

    calls = machine.folder / "bectl-calls"
    assert (True, f"create {made.name}\n") == (made.boot_environment, calls.read_text())
    environments = machine.folder / "environments"
    environments.write_text(f"default\tN\t/\t2G\t2026-11-01 09:12\n{made.name}\tR\t-\t8K\t2026-11-20 21:40\n")
    with pytest.raises(InUse, match="activate another one first"):
        local_checkpoints.destroy(made.name)
    assert 3 == len(machine.state["snapshots"])
    environments.write_text(environments.read_text().replace("\tR\t", "\t-\t"))
    assert (made,) == local_checkpoints.list_()
    local_checkpoints.destroy(made.name)
    assert {} == machine.state["snapshots"]
    assert calls.read_text().endswith(f"destroy -o {made.name}\n")
    # Cut off before the boot environment went: the same command finishes it.
    calls.write_text("")
    local_checkpoints.destroy(made.name)
    assert f"list -H\nlist -H\ndestroy -o {made.name}\n" == calls.read_text()


def test_no_boot_environment_where_the_layout_has_none(machine: Machine) -> None:
    """bectl and beadm want POOL/ROOT/NAME."""
    machine.bectl()
    machine.state = machine.state | {"filesystems": "tank/system\tyes\t/\n"}

    assert not local_checkpoints.create(reason="by hand").boot_environment


def test_a_boot_environment_that_cannot_be_made(machine: Machine) -> None:
    """Nothing is left, and the tool's words are passed on."""
    machine.bectl()
    (machine.folder / "bectl-broken").touch()

    with pytest.raises(StepFailed, match=r"bectl create xvm-.* exited 1: cannot create: no boot environments here"):
        local_checkpoints.create(reason="before pkg")
    assert {} == machine.state["snapshots"]


def test_a_hold_that_fails(machine: Machine) -> None:
    """The snapshots just taken go again."""
    machine.broken(hold="cannot hold snapshot 'NAME': out of space")

    with pytest.raises(local.NoSpace):
        local_checkpoints.create(reason="before apt")
    assert {} == machine.state["snapshots"]


def test_somebody_elses_hold(machine: Machine) -> None:
    """The checkpoint stays as it was, with our hold on it."""
    made = local_checkpoints.create(reason="before apt")
    state = machine.state
    state["snapshots"][made.snapshots[1]]["holds"].append("backup")
    machine.state = state

    with pytest.raises(local.Held) as raised:
        local_checkpoints.destroy(made.name)
    assert (made.snapshots[1],) == raised.value.names
    assert [True] * 3 == ["xvmstore" in found["holds"] for found in machine.state["snapshots"].values()]


def test_a_hold_that_is_gone(machine: Machine) -> None:
    """A destroy that was cut off after the release is finished by the next."""
    made = local_checkpoints.create(reason="before apt")
    state = machine.state
    state["snapshots"][made.snapshots[0]]["holds"] = []
    machine.state = state

    local_checkpoints.destroy(made.name)
    assert {} == machine.state["snapshots"]


@pytest.mark.parametrize(
    "filesystems", ["", "tank\tyes\t/tank\n", "rpool/ROOT/now\tno\t/\n", "rpool/root\tyes\tlegacy\n"]
)
def test_no_root_on_zfs(machine: Machine, filesystems: str) -> None:
    """No ZFS, other file systems only, none mounted, a mount point we cannot see: it says so, and what to do."""
    machine.state = machine.state | {"filesystems": filesystems}

    with pytest.raises(Refused, match=r"^/ is not a mounted ZFS file system.*name a dataset with --root"):
        local_checkpoints.create(reason="before apt")
    assert {} == machine.state["snapshots"]


def test_no_zfs_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is not there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Refused, match=r"^/ is not on ZFS: cannot run zfs"):
        local_checkpoints.create(reason="before apt")


def test_names_and_reasons_are_checked(machine: Machine) -> None:
    """A reason is what tells our snapshots from others'; a name is never passed to zfs unseen."""
    with pytest.raises(InvalidValue, match="needs a reason"):
        local_checkpoints.create(reason=" \t")
    with pytest.raises(InvalidValue, match="is no checkpoint's name"):
        local_checkpoints.destroy("-r")
    with pytest.raises(InvalidValue, match="is no checkpoint's name"):
        local_checkpoints.note("monday", outcome="done")
    assert [] == machine.state["calls"]


def test_other_snapshots_are_not_ours() -> None:
    """Not by name alone, for anybody may choose such a name; a line that is cut is no line to skip."""
    name = "xvm-20261124T130501Z-1f2e"
    text = f"rpool@monday\t-\t-\t-\t-\t-\nrpool@{name}\t-\t-\t-\t-\t-\n"

    assert () == local_checkpoints.parse(text)
    (found,) = local_checkpoints.parse(f"{text}rpool/a@{name}\twhy\tme@here\t-\tbash ... and 3 more\tfailed\n")
    assert (
        LocalCheckpoint(
            name=name,
            created="2026-11-24T13:05:01+00:00",
            datasets=("rpool/a",),
            reason="why",
            by="me@here",
            packages=("bash", "... and 3 more"),
            outcome="failed",
        )
        == found
    )
    with pytest.raises(UnexpectedOutput):
        local_checkpoints.parse(f"rpool@{name}\twhy\n")


def test_long_values() -> None:
    """They are cut between characters, and say that they are; a list counts what is left out."""
    long = cut("a" + "é" * 600)
    assert (1022, "é...") == (len(long.encode()), long[-4:])
    words = [f"package-{number:04}" for number in range(200)]
    text = cut_list(words)
    kept = text.split(" ... and ")[0].split()
    assert words[: len(kept)] == kept
    assert f"... and {200 - len(kept)} more" == text[text.index("... and ") :]
    assert 1000 < len(text) <= 1023
    assert "bash openssl" == cut_list(["bash", " ", "openssl"])
