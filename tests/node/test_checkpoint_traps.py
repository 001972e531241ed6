"""What once went wrong, or could, on the way back: each case as an admin would meet it."""

import json
import sys
from collections.abc import Callable, Iterator

import pytest

from remote.errors import InUse, NotFound, Refused, XvmError
from tests.node.live import LiveNode
from xvmstore import Site, guest_state
from xvmstore.guest_state import GuestState
from xvmstore.nodes import StorageNode

pytestmark = pytest.mark.node


@pytest.fixture
def site(illumos: LiveNode) -> Iterator[Site]:
    """The library, on the shared node."""
    with Site.load(illumos.config) as found:
        yield found


def made(site: Site, guest: str, *disks: str) -> None:
    """A guest with disks."""
    for disk in disks or ("root", "data"):
        site.create_volume(f"{guest}/{disk}", "64M")


def cut(node: LiveNode, command: str, does: Callable[[], object], *, call: int = 1, when: str = "after") -> XvmError:
    """Have the node's shell die at a command."""
    node.faults(f'[[fault]]\ncommand = "{command}"\naction = "kill"\nwhen = "{when}"\ncall = {call}\n')
    with pytest.raises(XvmError) as raised:
        does()
    node.faults("")
    return raised.value


def names(site: Site, guest: str) -> list[str]:
    """Of a guest's checkpoints."""
    return [one.name for one in site.checkpoints.state(guest).checkpoints]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_disk_made_later_is_never_left_behind(illumos: LiveNode, site: Site, guest: str, call: int) -> None:
    """Wherever the renames are cut off."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    made(site, guest, "late")
    cut(illumos, "zfs rename*", lambda: site.checkpoints.roll_back(guest, name), call=call)
    done = site.checkpoints.roll_back(guest, name)
    assert ["data", "late", "root"] == sorted(one.name.partition("/")[2] for one in done.volumes)
    assert [True] * 3 == [one.exported for one in done.volumes]


def test_two_that_were_cut_off(illumos: LiveNode, site: Site, guest: str) -> None:
    """The first must be ended before another one begins, and it can be."""
    made(site, guest)
    first, second = site.checkpoints.create(guest).name, site.checkpoints.create(guest).name
    cut(illumos, "stmfadm delete-lu*", lambda: site.checkpoints.roll_back(guest, first))
    assert site.checkpoints.state(guest).journal.rollback.startswith(first)
    with pytest.raises(Refused, match=f"to {first} was cut off"):
        site.checkpoints.roll_back(guest, second)
    site.checkpoints.roll_back(guest, first)
    assert [] == [one for one in illumos.zvols() if guest in one and ":copy" in one]


def test_what_is_thin_for_a_moment_is_told_and_mended(illumos: LiveNode, site: Site, guest: str) -> None:
    """A power cut after the space was given up: it shows, and lun export sets it aside again."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    cut(illumos, "zfs set refreservation=none*", lambda: site.checkpoints.roll_back(guest, name))
    thin = [one for one in site.volumes(guest=guest) if one.thin]
    assert ["no space is set aside"] == [one.trouble[-1][:21] for one in thin]
    for one in site.volumes(guest=guest):
        site.export_lun(one.name)
    assert [(False, ())] * 2 == [(one.thin, one.trouble) for one in site.volumes(guest=guest)]
    site.checkpoints.roll_back(guest, name)
    assert [False, False] == [one.thin for one in site.volumes(guest=guest)]


def test_a_rehearsal_keeps_its_original_s_checkpoints(illumos: LiveNode, site: Site, guest: str) -> None:
    """Rolled back and cut off, a rehearsal takes nothing from the guest it was made of."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    site.checkpoints.rehearse(guest, name, copy=f"{guest}copy")
    own = site.checkpoints.create(f"{guest}copy").name
    cut(illumos, "zfs promote*", lambda: site.checkpoints.roll_back(f"{guest}copy", own))
    site.checkpoints.roll_back(f"{guest}copy", own)
    assert ([name], [own]) == (names(site, guest), names(site, f"{guest}copy"))
    for kept in site.checkpoints.state(f"{guest}copy").kept:
        site.checkpoints.destroy(f"{guest}copy", kept, snapshots=True)
    site.checkpoints.discard(f"{guest}copy")
    assert [name] == names(site, guest)


def test_back_and_forth_keeps_all_checkpoints(site: Site, guest: str) -> None:
    """Through sets that are clones of other sets."""
    made(site, guest)
    old, new = site.checkpoints.create(guest).name, site.checkpoints.create(guest).name
    first = site.checkpoints.roll_back(guest, new).kept
    site.checkpoints.roll_back(guest, old)
    site.checkpoints.roll_back(guest, first or "")
    assert old in names(site, guest)
    site.checkpoints.roll_back(guest, old)


def test_half_a_rehearsal(illumos: LiveNode, site: Site, guest: str) -> None:
    """It is no guest to be promoted; discard ends it, however little there is of it."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    for command, call in (("stmfadm create-lu*", 1), ("zfs clone*", 1), ("zfs clone*", 2)):
        cut(illumos, command, lambda: site.checkpoints.rehearse(guest, name, copy=f"{guest}copy"), call=call)
        with pytest.raises(Refused):
            site.checkpoints.promote(guest, f"{guest}copy")
        with pytest.raises(Refused, match="checkpoint discard"):
            site.checkpoints.rehearse(guest, name, copy=f"{guest}copy")
        site.checkpoints.discard(f"{guest}copy")
        assert "" == illumos.on_node("zfs", "list", "-H", "-r", f"tank/xvm/{guest}copy").stdout


def test_only_a_rehearsal_is_promoted(site: Site, guest: str) -> None:
    """Not a checkpoint that happens to have such a name."""
    made(site, guest)
    site.checkpoints.create(guest)
    with pytest.raises(NotFound, match="no rehearsal latest"):
        site.checkpoints.promote(guest, "latest")


def test_a_set_whose_disk_was_renamed(site: Site, guest: str) -> None:
    """Two volumes would have one GUID."""
    made(site, guest)
    kept = site.checkpoints.roll_back(guest, site.checkpoints.create(guest).name).kept or ""
    site.rename_volume(f"{guest}/data", f"{guest}/data2")
    with pytest.raises(Refused, match="its disk data was renamed"):
        site.checkpoints.roll_back(guest, kept)
    site.rename_volume(f"{guest}/data2", f"{guest}/data")
    site.checkpoints.roll_back(guest, kept)


def test_a_disk_that_came_from_another_guest(illumos: LiveNode, site: Site, guest: str) -> None:
    """It brought its checkpoints along, and can go back to them."""
    made(site, f"{guest}a", "root")
    name = site.checkpoints.create(f"{guest}a").name
    site.rename_volume(f"{guest}a/root", f"{guest}b/root")
    assert "" == illumos.on_node("zfs", "list", "-H", "-r", f"tank/xvm/{guest}a").stdout
    site.checkpoints.note(f"{guest}b", name, outcome="moved")
    assert name == site.checkpoints.roll_back(f"{guest}b", name).name


def test_a_set_with_checkpoints_in_it(site: Site, guest: str) -> None:
    """Newer checkpoints are in what was put aside, and only go with it when that is said."""
    made(site, guest)
    old, new = site.checkpoints.create(guest).name, site.checkpoints.create(guest).name
    kept = site.checkpoints.roll_back(guest, old).kept or ""
    with pytest.raises(InUse, match=f"{new}; --snapshots"):
        site.checkpoints.destroy(guest, kept)
    assert (kept,) == site.checkpoints.destroy(guest, kept, snapshots=True)


def test_only_what_was_agreed_to(site: Site, guest: str) -> None:
    """A checkpoint that was taken since is not destroyed."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    precious = site.checkpoints.create(guest).name
    with pytest.raises(Refused, match="newer snapshots meanwhile"):
        site.checkpoints.roll_back(guest, name, discard=True, agreed=())
    assert precious in names(site, guest)


def test_limits_stay_with_the_guest(illumos: LiveNode, site: Site, guest: str) -> None:
    """Quota and reservation of its dataset."""
    made(site, guest)
    illumos.on_node("zfs", "set", "quota=1G", f"tank/xvm/{guest}")
    illumos.on_node("zfs", "set", "reservation=200M", f"tank/xvm/{guest}")
    site.checkpoints.roll_back(guest, site.checkpoints.create(guest).name)
    read = illumos.on_node("zfs", "get", "-Hp", "-o", "value", "quota,reservation", f"tank/xvm/{guest}").stdout
    assert [str(1 << 30), str(200 << 20)] == read.split()


def test_an_upgrade_under_way_is_left_alone(illumos: LiveNode, site: Site, guest: str) -> None:
    """No rollback takes its checkpoint away; its command's quotes come through; --abort ends it."""
    made(site, guest)
    older = site.checkpoints.create(guest).name
    command = ("sh", "-c", 'echo "a \\ b" >&2; exit 7')
    cut(illumos, "zfs set org.xvmstore:upgrade=starting*", lambda: site.upgrades.upgrade(guest, command))
    assert list(command) == json.loads(site.checkpoints.state(guest).journal.command)
    with pytest.raises(Refused, match=r"upgrade of .* is under way"):
        site.checkpoints.roll_back(guest, older, discard=True)
    assert "rolled back" == site.upgrades.abort(guest).outcome
    site.checkpoints.roll_back(guest, older)


def test_two_that_go_on_with_one_upgrade(site: Site, guest: str) -> None:
    """Whoever finds it taken over stops, and says so; what the other one did stays."""
    made(site, guest)
    program = (
        "import sys; from xvmstore import Site; s = Site.load(sys.argv[1]); s.upgrades.abort(sys.argv[2]); s.close()"
    )
    command = (sys.executable, "-c", program, str(site.config.path), guest)
    with pytest.raises(Refused, match="somebody else ended the upgrade"):
        site.upgrades.upgrade(guest, command)
    (found,) = site.checkpoints.state(guest).checkpoints
    assert ("rolled back", "") == (found.outcome, site.checkpoints.state(guest).journal.upgrade)


def test_what_a_cut_off_script_still_writes(
    illumos: LiveNode, site: Site, guest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on after its connection dropped: a --resume that read the phase before goes on from the one after."""
    made(site, guest)
    upgrade = lambda: site.upgrades.upgrade(guest, ("false",))  # noqa: E731
    cut(illumos, "zfs set org.xvmstore:upgrade=starting*", upgrade, when="before")
    looked = guest_state.look
    seen: list[str] = []

    def look(node: StorageNode, name: str) -> GuestState:
        state = looked(node, name)
        if not seen:
            seen.append(state.journal.upgrade)
            later = state.journal.upgrade.replace("rolling-back", "starting")
            illumos.on_node("zfs", "set", f"org.xvmstore:upgrade={later}", f"tank/xvm/{guest}")
        return state

    illumos.on_node("zfs", "inherit", "org.xvmstore:rollback", f"tank/xvm/{guest}")
    monkeypatch.setattr(guest_state, "look", look)
    assert "rolled back" == site.upgrades.resume(guest).outcome
    assert seen[0].startswith("rolling-back ")
    assert "" == site.checkpoints.state(guest).journal.upgrade


def test_a_full_pool(illumos: LiveNode, site: Site, guest: str) -> None:
    """Neither a checkpoint nor a way back: one line that says what to do, and all is as it was."""
    made(site, guest)
    name = site.checkpoints.create(guest).name
    before = illumos.state()
    full = '[[fault]]\ncommand = "*"\naction = "condition"\ncondition = "pool-full"\nevery = true\n'
    for does in (lambda: site.checkpoints.create(guest), lambda: site.checkpoints.roll_back(guest, name)):
        illumos.faults(full)
        with pytest.raises(XvmError) as raised:
            does()
        illumos.faults("")
        assert (1, True) == (raised.value.exit_code, "room" in str(raised.value)), raised.value
        assert "\n" not in str(raised.value)
    assert [name] == names(site, guest)
    assert [True, True] == [one.exported and not one.trouble for one in site.volumes(guest=guest)]
    assert before == illumos.state()
