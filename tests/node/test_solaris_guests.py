"""Whole guests on a Solaris dom0: may one be moved, and what is left when it was stopped."""

from collections.abc import Callable

import pytest

from tests.node import test_solaris_dom0
from tests.node.live import LiveNode
from tests.node.test_solaris_dom0 import Make, SolarisDom0
from xvmstore.guest_machines import GuestMachine
from xvmstore.site import Site

pytestmark = test_solaris_dom0.pytestmark
make = test_solaris_dom0.make

# Another dom0 that is the same machine: what is asked of it is answered, and that the guest runs there too.
SECOND = """
[dom0s.xen2]
host = "xvm1"
transport = "local"
system = "solaris"
initiator = "iqn.2026-11.org.xvmstore:xen2"
"""


def _checks(dom0: SolarisDom0) -> dict[str, tuple[bool, str, str]]:
    """What a migration is checked for: is it so, what was found, what to do."""
    said = dom0.xvm("guest", "check-migration", dom0.guest, "--from", "xen1", "--to", "xen2", "--json")
    assert [] == dom0.changes(), "it only looks"
    return {one["what"]: (one["ok"], one["found"], one["advice"]) for one in said.json}


def _moving(make: Make) -> tuple[SolarisDom0, str]:
    """A guest with a disk, and where to; the check of the disk there."""
    dom0 = make()
    dom0.config.write_text(dom0.config.read_text() + SECOND)
    made = dom0.create("root")
    return dom0, f"{made['name']} from xen2"


def test_is_the_disk_there(make: Make) -> None:
    """Not before the guest is prepared for, which the check says; then the right LUN, with its size."""
    dom0, what = _moving(make)
    ok, found, advice = _checks(dom0)[what]
    assert (False, f"`xvmstore guest prepare {dom0.guest} --dom0 xen2`") == (ok, advice)
    assert f"the initiator does not know {dom0.shown('root')['target']}" in found

    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    assert (True, "the right LUN, 1073741824 bytes", "") == _checks(dom0)[what]
    dom0.write("size", "0")
    assert (True, "the right LUN; its size is not known there", "") == _checks(dom0)[what]
    dom0.write("size", "536870912")
    ok, found, advice = _checks(dom0)[what]
    assert (False, "the right LUN, 536870912 bytes") == (ok, found)
    assert f"the volume has 1073741824: `xvmstore guest forget {dom0.guest} --dom0 xen2`, then" in advice


def test_is_it_the_right_disk(make: Make) -> None:
    """Another LU at its place is told by its GUID."""
    dom0, what = _moving(make)
    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    made = dom0.shown("root")
    (dom0.root / "sessions" / made["target"]).write_text(f"{made['lun']} 600144F0FFFFFFFFFFFFFFFFFFFFFFFF\n")
    ok, found, _ = _checks(dom0)[what]
    assert not ok
    assert f"is 600144F0FFFFFFFFFFFFFFFFFFFFFFFF, not {made['guid']}" in found


def test_half_attached_without_multipathing(make: Make) -> None:
    """The disk is recognised by what the initiator calls it."""
    dom0, _ = _moving(make)
    dom0.write("mpxio", "off")
    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    made = dom0.shown("root")
    dom0.boot(f"/dev/dsk/c3t1d{made['lun']}p0")
    assert (True, "all", "") == _checks(dom0)["disks connected on xen1"]
    dom0.write("xenstore", *(line.replace("state = 4", "state = 2") for line in dom0.lines("xenstore")))
    assert (False, f"half attached: {made['name']}") == _checks(dom0)["disks connected on xen1"][:2]


@pytest.mark.parametrize("flavour", ["b111", "b85"])
def test_stopped(make: Make, fresh: Callable[[str], LiveNode], flavour: str) -> None:
    """Its disks are logged out, on a shared target as well, and before anybody knows a GUID; once more does nothing."""
    dom0 = make(node=fresh(flavour))
    dom0.create("root")
    dom0.create("data")
    site = Site.load(dom0.config)
    machine, volumes = GuestMachine(dom0.guest, site.config, site.dom0), site.volumes(guest=dom0.guest)
    assert (flavour == "b85") is (volumes[0].guid is None)
    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    assert dom0.lines("static")

    assert "stopped" == machine.stop(site.dom0("xen1"), volumes)
    assert ([], []) == (dom0.lines("domains"), dom0.lines("static"))
    assert "none" == machine.stop(site.dom0("xen1"), volumes)
    site.close()
