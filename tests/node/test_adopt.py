"""``lun adopt``: a zvol that somebody else made becomes a volume; its data and its LU's GUID stay."""

from collections.abc import Iterator

import pytest

from embedded.content import path_of
from embedded.initiator import Session
from tests.contract.luns import lun
from tests.node.live import LiveNode

pytestmark = pytest.mark.node
MIB = 1 << 20
GUID = "600144F00ADD0000000000000000{:04X}"
_numbers = iter(range(1, 1000))


@pytest.fixture
def by_hand(illumos: LiveNode, guest: str) -> Iterator[tuple[str, str]]:
    """A zvol made and exported by hand to a host group of dom0's, and its LU's GUID; 0xAA is on its first MiB."""
    dataset, guid = f"tank/hand-{guest}", GUID.format(next(_numbers))
    device = f"/dev/zvol/rdsk/{dataset}"
    for command in (
        f"zfs create -V 64M {dataset}",
        f"stmfadm create-lu -p guid={guid} -p alias=hand -p serial=hand{guest} -p wcd=true {device}",
        f"stmfadm add-view -n 7 {guid}",
    ):
        assert 0 == illumos.on_node(*command.split()).returncode, command
    yield dataset, guid
    illumos.on_node("stmfadm", "delete-lu", guid)
    illumos.on_node("zfs", "destroy", "-r", dataset)


def test_data_and_guid_stay(illumos: LiveNode, guest: str, by_hand: tuple[str, str]) -> None:
    """By its GUID; the view for everybody has gone, and dom0 reads what was on it."""
    dataset, guid = by_hand
    with path_of(illumos.directory, dataset).open("r+b") as content:
        content.write(b"\xaa" * MIB)

    said = illumos.xvm("lun", "adopt", guid, f"{guest}/root", "--json")

    assert (0, "") == (said.exit, said.err)
    made = said.json
    assert (guid, f"hand{guest}", ["xen1"], True, []) == tuple(
        made[key] for key in ("guid", "serial", "dom0s", "exported", "trouble")
    )
    assert [f"tank/xvm/{guest}/root"] == [one for one in illumos.zvols() if guest in one]
    assert 1 == illumos.views(guid).count("View Entry")
    assert "Host group   : xen1" in illumos.views(guid)
    with Session(lun(illumos, made)) as session:
        assert b"\xaa" * MIB == bytes(session.read(0, MIB))
    assert 0 == illumos.xvm("volume", "destroy", f"{guest}/root").exit
    assert guid not in illumos.units()


def test_no_lu(illumos: LiveNode, guest: str) -> None:
    """A zvol somebody filled with dd: it gets an LU, thin stays thin, and it is shown where it is already in place."""
    dataset = f"tank/xvm/{guest}/disk"
    illumos.on_node("zfs", "create", "-p", "-s", "-V", "64M", dataset)

    said = illumos.xvm("lun", "adopt", dataset, f"{guest}/disk", "--json")

    assert (0, "") == (said.exit, said.err)
    assert (True, True, "ready") == tuple(said.json[key] for key in ("thin", "exported", "state"))
    assert "a volume of xvmstore's already" in illumos.xvm("lun", "adopt", dataset, f"{guest}/other").err


@pytest.mark.parametrize("command", ["stmfadm delete-lu*", "zfs rename*", "stmfadm import-lu*", "itadm create-target*",
                                     "zfs set org.xvmstore:state=ready*"])  # fmt: skip
def test_cut_off(illumos: LiveNode, guest: str, by_hand: tuple[str, str], command: str) -> None:
    """Wherever it is cut off, the same command ends it with the same GUID."""
    dataset, guid = by_hand
    illumos.faults(f'[[fault]]\ncommand = "{command}"\naction = "kill"\nwhen = "after"\n')
    cut = illumos.xvm("lun", "adopt", dataset, f"{guest}/root")
    illumos.faults("")
    assert (3, 1) == (cut.exit, cut.err.count("\n"))

    said = illumos.xvm("lun", "adopt", dataset, f"{guest}/root", "--json")

    assert (0, "") == (said.exit, said.err)
    assert (guid, f"hand{guest}", True, "ready", []) == tuple(
        said.json[key] for key in ("guid", "serial", "exported", "state", "trouble")
    )
    again = illumos.xvm("lun", "adopt", dataset, f"{guest}/root", "--json")
    assert (0, said.json) == (again.exit, again.json)


def test_in_use(illumos: LiveNode, guest: str, by_hand: tuple[str, str]) -> None:
    """Who is logged in and may see it is named; nothing is changed."""
    dataset, _ = by_hand
    other = illumos.xvm("volume", "create", f"{guest}/other", "--size", "64M", "--json").json
    state = illumos.state()
    with Session(lun(illumos, other)):
        said = illumos.xvm("lun", "adopt", dataset, f"{guest}/root")
    assert (1, "") == (said.exit, said.out)
    assert f"is in use: logged in: {illumos.initiator} to {other['target']}" in said.err
    assert state == illumos.state()


def test_a_file_has_a_head(illumos: LiveNode, guest: str) -> None:
    """The first 64 KiB of an LU on a file are COMSTAR's: its data are shown the way, and nothing is changed."""
    illumos.on_node("stmfadm", "list-state")
    file = illumos.directory / "fs" / "export" / f"{guest}.img"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\0" * (64 * MIB))
    guid = GUID.format(next(_numbers))
    made = illumos.on_node("stmfadm", "create-lu", "-p", f"guid={guid}", f"/export/{guest}.img")
    assert 0 == made.returncode, made.stderr

    said = illumos.xvm("lun", "adopt", guid, f"{guest}/root")

    assert (1, "", 1) == (said.exit, said.out, said.err.count("\n"))
    assert f"make a volume of {64 * MIB - 65536} bytes" in said.err
    assert f"`dd if=/export/{guest}.img of=/dev/zvol/rdsk/... bs=65536 iseek=1`" in said.err
    illumos.on_node("stmfadm", "delete-lu", guid)


def test_what_cannot_be(illumos: LiveNode, guest: str) -> None:
    """Nothing of that name; a filesystem; a name that is taken."""
    illumos.on_node("zfs", "create", "-V", "64M", f"tank/hand-{guest}")
    illumos.xvm("volume", "create", f"{guest}/root", "--size", "64M")
    for what, why in (
        (f"tank/no-{guest}", f"there is no zvol tank/no-{guest}: see `xvmstore lun list`"),
        ("6" * 32, f"there is no LU {'6' * 32}"),
        ("tank/xvm", "there is no zvol tank/xvm"),
        (f"tank/hand-{guest}", f"tank/xvm/{guest}/root exists: choose another name"),
    ):
        said = illumos.xvm("lun", "adopt", what, f"{guest}/root")
        assert (1, "", 1) == (said.exit, said.out, said.err.count("\n")), what
        assert why in said.err
    illumos.on_node("zfs", "destroy", f"tank/hand-{guest}")
