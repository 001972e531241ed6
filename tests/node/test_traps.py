"""What COMSTAR and ZFS do that a driver does not expect, each met on the way of a whole operation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.live import LiveNode

pytestmark = pytest.mark.node
GIB = 1 << 30


def _create(node: LiveNode, name: str, *options: str, config: Path | None = None) -> dict[str, Any]:
    said = node.xvm("volume", "create", name, "--size", "1G", "--json", *options, config=config)
    assert 0 == said.exit, said.err
    made: dict[str, Any] = said.json
    return made


def _fault(command: str, condition: str, *, call: int = 1, every: bool = False) -> str:
    count = "every = true" if every else f"call = {call}"
    return f'[[fault]]\ncommand = "{command}"\naction = "condition"\ncondition = "{condition}"\n{count}\n'


@pytest.mark.parametrize(("command", "condition"), [
    ("stmfadm create-lu*", "stmf-ebusy"),
    ("stmfadm add-view*", "stmf-ebusy"),
    ("stmfadm list-lu*", "stmf-ebusy"),
    ("itadm create-target*", "stmf-ebusy"),
    ("itadm create-target*", "config-changed"),
])  # fmt: skip
def test_busy_passes(illumos: LiveNode, guest: str, command: str, condition: str) -> None:
    """/dev/stmf is held by another program for a moment, or somebody changes the targets: it is tried again."""
    illumos.faults(_fault(command, condition))

    made = _create(illumos, f"{guest}/root")

    assert made["exported"]
    calls = [argv for argv in illumos.execs()[-1]["commands"] if argv[:2] == command.rstrip("*").split()]
    assert len(calls) >= 2


def test_busy_for_good(illumos: LiveNode, guest: str) -> None:
    """Trouble that does not pass is told in COMSTAR's words, and nothing is left."""
    illumos.faults(_fault("stmfadm create-lu*", "stmf-ebusy", every=True))

    said = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G")

    assert (1, 1) == (said.exit, said.err.count("\n"))
    assert "resource busy" in said.err
    assert f"tank/xvm/{guest}/root" not in illumos.zvols()


def test_a_busy_delete_loses_the_views(illumos: LiveNode, guest: str) -> None:
    """delete-lu of a busy LU fails with its views gone: the volume says so, and either way out is open."""
    made = _create(illumos, f"{guest}/root")
    illumos.faults(_fault("stmfadm delete-lu*", "lu-busy", every=True))
    failed = illumos.xvm("volume", "destroy", f"{guest}/root")
    illumos.faults("")
    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json

    assert (3, True) == (failed.exit, "run the same command again" in failed.err)
    assert ("destroying", []) == (shown["state"], shown["dom0s"])
    assert 1 == illumos.xvm("lun", "export", f"{guest}/root").exit
    assert 0 == illumos.xvm("volume", "destroy", f"{guest}/root").exit
    assert made["guid"] not in illumos.units()


def test_an_lu_larger_than_its_zvol(illumos: LiveNode, guest: str) -> None:
    """modify-lu -s is not checked by COMSTAR: the mismatch is reported, and an export puts it right."""
    made = _create(illumos, f"{guest}/root")
    illumos.on_node("stmfadm", "modify-lu", "-s", "16g", made["guid"])

    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    again = illumos.xvm("volume", "create", f"{guest}/root", "--size", "1G", "--json")

    assert [f"the LU has {16 * GIB} bytes, the volume {GIB}"] == shown["trouble"]
    assert (0, "completed", []) == (again.exit, again.json["action"], again.json["trouble"])


def test_views_wait_for_an_lu_that_is_gone(illumos: LiveNode, guest: str) -> None:
    """As after a boot without the pool: not exported, although it has a view; export finds the same LU again."""
    made = _create(illumos, f"{guest}/root")
    illumos.on_node("stmfadm", "delete-lu", "-k", made["guid"])

    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    back = illumos.xvm("lun", "export", f"{guest}/root", "--json")

    assert (False, ["xen1"]) == (shown["exported"], shown["dom0s"])
    assert (0, True, made["guid"], made["lun"]) == (
        back.exit, back.json["exported"], back.json["guid"], back.json["lun"],
    )  # fmt: skip


def test_everybody_may_see_it(illumos: LiveNode, guest: str) -> None:
    """A view for all hosts that somebody added by hand is trouble, not access."""
    made = _create(illumos, f"{guest}/root")
    illumos.on_node("stmfadm", "remove-view", "-l", made["guid"], "-a")
    illumos.on_node("stmfadm", "add-view", "-n", "200", made["guid"])

    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    illumos.xvm("volume", "destroy", f"{guest}/root")

    assert any("every host may see it" in text for text in shown["trouble"])


def test_write_cache_is_off_unless_wanted(illumos: LiveNode, guest: str, tmp_path: Path) -> None:
    """wcd=true is what disables it; what the configuration says is what the LU has, also after a change."""
    config = tmp_path / "config.toml"
    config.write_text(illumos.config.read_text().replace("[nodes.embedded]", "[nodes.embedded]\nwrite_cache = true"))
    made = _create(illumos, f"{guest}/root", config=config)
    enabled = illumos.on_node("stmfadm", "list-lu", "-v", made["guid"]).stdout
    illumos.xvm("lun", "export", f"{guest}/root")
    disabled = illumos.on_node("stmfadm", "list-lu", "-v", made["guid"]).stdout

    assert "Writeback Cache   : Enabled" in enabled
    assert "Writeback Cache   : Disabled" in disabled


def test_a_lun_somebody_took(fresh: Callable[[str], LiveNode], guest: str) -> None:
    """On a shared target another LU may have the number we chose: another one is chosen, nothing is left."""
    node = fresh("b111")
    said = 'stderr = "stmfadm: LUN already in use\\n"'
    node.faults(f'[[fault]]\ncommand = "stmfadm add-view*"\naction = "fail"\n{said}\n')
    before = len(node.execs())

    made = _create(node, f"{guest}/root")
    node.faults("")

    assert made["exported"]
    assert 2 == len(node.execs()) - before
    added = [argv for entry in node.execs()[-2:] for argv in entry["commands"] if argv[1] == "add-view"]
    assert 2 == len({argv[argv.index("-n") + 1] for argv in added})
    assert 1 == len([path for path in node.units().values() if f"/{guest}/" in path])


@pytest.mark.parametrize(("name", "value"), [("lun", "abc"), ("guid", "ZZ"), ("target", "foo"), ("vdev", "hda', 'x")])
def test_what_was_edited_by_hand_is_not_sent_on(illumos: LiveNode, guest: str, name: str, value: str) -> None:
    """It is reported as what it is; nothing is exported under it, pasted into a guest's config, or lost."""
    made = _create(illumos, f"{guest}/root")
    right = made[name]
    illumos.on_node("zfs", "set", f"org.xvmstore:{name}={value}", made["dataset"])
    shown = illumos.xvm("volume", "show", f"{guest}/root", "--json").json
    disks = illumos.xvm("guest", "disks", guest)
    if name != "vdev":
        assert 1 == illumos.xvm("lun", "export", f"{guest}/root").exit
    illumos.on_node("zfs", "set", f"org.xvmstore:{name}={right}", made["dataset"])
    again = illumos.xvm("volume", "show", f"{guest}/root", "--json").json

    assert any(f"org.xvmstore:{name} is" in text for text in shown["trouble"])
    assert value not in disks.out
    assert (made[name], True, []) == (again[name], again["exported"], again["trouble"])
