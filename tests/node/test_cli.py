"""The command line's promises: one line for whatever is wrong, exit codes, quick starts, hostile words."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import HOSTILE
from tests.node.live import LiveNode

pytestmark = pytest.mark.node

# Words that are no volume's name by their slashes alone, besides those that are no word at all.
NAMES = [*HOSTILE, *(f"{word}/root" for word in HOSTILE), *(f"web1/{word}" for word in HOSTILE), "web1", "web1/a/b"]
# An argv holds neither.
TYPED = [name for name in dict.fromkeys(NAMES) if "\x00" not in name and "\ud800" not in name]


@pytest.mark.parametrize(
    "command",
    ["volume create {} --size 1G", "volume show {}", "volume destroy {}", "volume resize {} --size 2G",
     "volume rename web1/root {}", "lun export {}", "lun unexport {}",
     "guest attach {} --dom0 xen1", "guest detach {} --dom0 xen1", "guest grow {} --size 2G"],
)  # fmt: skip
def test_hostile_names(illumos: LiveNode, command: str) -> None:
    """One clear line, exit 2, and nothing reaches the node."""
    before = len(illumos.execs())
    group, verb, *words = command.split()
    options = words[words.index("--size") :] if "--size" in words else []
    for name in TYPED:
        operands = [word.replace("{}", name) for word in words if word not in options]

        said = illumos.xvm(group, verb, *options, "--", *operands)

        assert (name, 2, "", 1) == (name, said.exit, said.out, said.err.count("\n"))
        assert said.err.rstrip("\n").isprintable(), name
        assert len(said.err) < 300, name
    assert before == len(illumos.execs())


@given(name=st.text(max_size=80))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_name_that_is_none(illumos: LiveNode, name: str) -> None:
    """Whatever is not GUEST/DISK is refused before anything is connected to."""
    if all(
        part.isascii() and part.replace(".", "").replace("_", "").replace("-", "").isalnum() for part in name.split("/")
    ):
        return
    before = len(illumos.execs())

    said = illumos.xvm("volume", "create", "--size", "1G", "--", name)

    assert 2 == said.exit
    assert 1 == said.err.count("\n")
    assert before == len(illumos.execs())


@pytest.mark.parametrize(
    "size", ["", "0", "10", "20GB", "-1G", "1.5G", "1G; id", "9E", "99999999999999999999", "1000001", "x"]
)
def test_hostile_sizes(illumos: LiveNode, size: str) -> None:
    """A size that cannot be is refused with what would do."""
    said = illumos.xvm("volume", "create", "web1/root", f"--size={size}", "--block-size", "8K")

    assert (2, "", 1) == (said.exit, said.out, said.err.count("\n"))


@pytest.mark.parametrize(("option", "words"), [
    ("volsize=1G", "xvmstore sets it itself"),
    ("org.xvmstore:guid=1", "xvmstore sets it itself"),
    ("Bad Name=1", "no ZFS property"),
    ("compression", "PROPERTY=VALUE"),
    ("org.example:x=a\nb", "printable"),
])  # fmt: skip
def test_hostile_properties(illumos: LiveNode, option: str, words: str) -> None:
    """Properties that are ours, or none at all, are refused by name."""
    said = illumos.xvm("volume", "create", "web1/root", "--size", "1G", "-o", option)

    assert (2, 1) == (said.exit, said.err.count("\n"))
    assert words in said.err


def test_what_zfs_refuses_is_told(illumos: LiveNode, guest: str) -> None:
    """ZFS's own reason comes through, the node is as it was."""
    said = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "-o", "compression=magic")

    assert 1 == said.exit
    assert "`zfs create" in said.err
    assert "compression" in said.err
    assert f"tank/xvm/{guest}/root" not in illumos.zvols()


def test_node_down(fresh: Callable[[str], LiveNode]) -> None:
    """Exit 4, one line, nothing else."""
    node = fresh("illumos")
    node.stop()

    said = node.xvm("volume", "list")

    assert (4, "", 1) == (said.exit, said.out, said.err.count("\n"))
    assert "127.0.0.1" in said.err


def test_unknown_host_key(illumos: LiveNode, tmp_path: Path) -> None:
    """Refused with the fingerprint and the command that accepts it, over both transports."""
    for transport in ("fabric", "openssh"):
        config = tmp_path / f"{transport}.toml"
        empty = tmp_path / "known_hosts"
        empty.touch()
        text = illumos.config.read_text().replace("[nodes.embedded]", f'[nodes.embedded]\ntransport = "{transport}"')
        config.write_text(text.replace(str(illumos.directory / "known_hosts"), str(empty)))

        said = illumos.xvm("volume", "list", config=config)

        assert (4, 1) == (said.exit, said.err.count("\n"))
        assert "ssh-keyscan" in said.err


def test_export_to_nobody(illumos: LiveNode, tmp_path: Path) -> None:
    """Without a dom0 there is nothing to export to: refused before anything is connected to."""
    config = tmp_path / "config.toml"
    config.write_text(illumos.config.read_text().replace('default_dom0s = ["xen1"]', ""))
    before = len(illumos.execs())

    said = illumos.xvm("lun", "export", "web1/root", config=config)

    assert (1, 1, before) == (said.exit, said.err.count("\n"), len(illumos.execs()))
    assert "--dom0" in said.err


def test_disk_lines_of_every_format(illumos: LiveNode, guest: str) -> None:
    """By path where nothing else is said of the dom0; any format and wiring on demand, but what cannot be."""
    made = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json").json
    cases = {
        "": made["disk_by_path"]["xl"],
        "--wiring script": made["disk"]["xl"],
        "--format xm --wiring script": f"xvmstore:{made['guid'].lower()},xvda,w",
        "--format xm-solaris": f"phy:/dev/dsk/c0t{made['guid']}d0p0,0,w",
        "--format libvirt": made["disk_by_path"]["libvirt"],
    }
    for options, line in cases.items():
        said = illumos.xvm("guest", "disks", guest, *options.split())
        assert (0, True) == (said.exit, line in said.out), (options, said.out)
        assert ("libvirt" not in options) is said.out.startswith("disk = [")
    refused = illumos.xvm("guest", "disks", guest, "--format", "libvirt", "--wiring", "script")
    assert (1, True) == (refused.exit, "libvirt cannot use a script: --wiring path" in refused.err)


def test_a_dom0_that_is_only_an_initiator(illumos: LiveNode, guest: str) -> None:
    """What needs to reach it says which key is missing, and changes nothing."""
    assert 0 == illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G").exit
    for words in (
        ("attach", f"{guest}/root", "--dom0", "xen1"),
        ("detach", f"{guest}/root", "--dom0", "xen1"),
        ("grow", f"{guest}/root", "--size", "2G", "--dom0", "xen1"),
        ("prepare", guest, "--dom0", "xen1"),
        ("install-script", "--dom0", "xen1"),
    ):
        said = illumos.xvm("guest", *words)
        assert (2, True) == (said.exit, "[dom0s.xen1]: set host" in said.err), said.err
    assert 1 << 30 == illumos.xvm("volume", "show", f"{guest}/root", "--json").json["size"]
    grown = illumos.xvm("guest", "grow", f"{guest}/root", "--size", "2G", "--json")
    assert (0, 2 << 30, []) == (grown.exit, grown.json["size"], grown.json["grown"])
    (listed,) = [one for one in illumos.xvm("guest", "list", "--json").json if one["name"] == guest]
    assert (None, "not running", []) == (listed["dom0"], listed["state"], listed["attached"])


def test_an_old_xen_is_warned_of(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """Before the volume is made, on stderr; it is made all the same."""
    config = tmp_path / "config.toml"
    text = illumos.variant(tmp_path).read_text()
    config.write_text(text.replace("[dom0s.xen1]", '[dom0s.xen1]\nxen = "3.0.3"'))
    said = illumos.xvm("volume", "create", f"{guest}/huge", "--size", "2T", "--thin", config=config)
    assert 0 == said.exit, said.err
    assert "xen1 (Xen 3.0.3): 2 TiB and more: " in said.err


def test_no_configuration(illumos: LiveNode, tmp_path: Path) -> None:
    """Exit 2, naming the file that was looked for."""
    said = illumos.xvm("volume", "list", config=tmp_path / "none.toml")

    assert (2, 1) == (said.exit, said.err.count("\n"))
    assert str(tmp_path / "none.toml") in said.err


@pytest.mark.parametrize("words", ["volume", "volume frobnicate", "volume create", "volume create a/b --colour red",
                                   "node check nope", "lun export a/b --dom0 nope"])  # fmt: skip
def test_usage(illumos: LiveNode, words: str) -> None:
    """Wrong words are one line and no traceback."""
    said = illumos.xvm(*words.split())

    assert said.exit in {0, 1, 2}
    assert "Traceback" not in said.err
    if words != "volume":
        assert 1 == said.err.count("\n")
        assert said.exit != 0


def test_help_is_quick_and_complete() -> None:
    """--help of everything, without importing fabric, paramiko, asyncssh, rich or the exporter's library."""
    program = (
        "import sys; from xvmstore.cli import run; code = run(sys.argv[1:]);"
        "heavy = {'fabric', 'paramiko', 'asyncssh', 'rich', 'prometheus_client', 'msgspec'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    for words in ("--help", "volume --help", "volume create --help", "--version"):
        said = subprocess.run(
            [sys.executable, "-c", program, *words.split()], capture_output=True, text=True, check=False
        )

        assert (0, "") == (said.returncode, said.stderr), words
        assert said.stdout


def test_a_typed_secret(fresh: Callable[[str], LiveNode], tmp_path: Path) -> None:
    """Typed at a terminal, unseen, it is what the initiator must know; without a terminal it is refused."""
    node = fresh("illumos")
    config = tmp_path / "config.toml"
    config.write_text(node.config.read_text().replace(str(node.directory / "chap" / "xen1.secret"), "prompt"))
    command = [sys.executable, "-m", "xvmstore", "-c", str(config), "volume", "create", "web1/root", "--size", "1G"]
    blind = subprocess.run(command, capture_output=True, text=True, start_new_session=True, timeout=60, check=False)

    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    shown = b""
    while b"CHAP secret of dom0 xen1:" not in shown:
        # What is typed before the prompt is thrown away.
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 4096)
    os.write(terminal, b"typed-secret-1234\n")
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    _, status = os.waitpid(child, 0)

    assert (2, 1) == (blind.returncode, blind.stderr.count("\n"))
    assert "no terminal" in blind.stderr
    assert 0 == status, shown.decode()
    assert b"CHAP secret of dom0 xen1:" in shown
    assert b"typed-secret-1234" not in shown.split(b"CHAP secret of dom0 xen1:")[1]
    assert "typed-secret-1234" in (node.directory / "state.json").read_text()


def test_completion(illumos: LiveNode) -> None:
    """The shell completes commands and options."""
    environment = {
        "_XVMSTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "xvmstore vol",
        "COMP_CWORD": "1",
        "PATH": "/usr/bin",
    }
    said = subprocess.run(
        [sys.executable, "-m", "xvmstore"], env=environment, capture_output=True, text=True, check=False
    )

    assert "plain,volume" in said.stdout


def test_json_says_the_same_as_the_library(illumos: LiveNode, guest: str) -> None:
    """volume list --json is an array of what volume show --json prints."""
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")

    shown = json.loads(illumos.xvm("volume", "show", f"{guest}/root", "--json").out)

    assert [shown] == illumos.xvm("--json", "volume", "list", "--guest", guest).json
