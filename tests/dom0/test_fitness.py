"""``node check`` of a dom0: each thing that is wrong is named, with what to do."""

import pytest

from dom0.fitness import Wanted, judge, parse, version
from dom0.toolstack import XenInfo
from remote.errors import UnexpectedOutput

WANTED = Wanted("xen1", "iqn.2026-11.org.x:xen1", "linux", multipath=False, xen=None)
WELL = {
    "initiator": WANTED.initiator,
    "missing": "",
    "script": "# map format: 1",
    "maps": "drwx------",
    "stock": "",
    "autostart": "web1.cfg",
    "boot": "enabled",
    "before": "xendomains.service shutdown.target",
}


def _failed(wanted: Wanted = WANTED, /, **changes: str) -> dict[str, str]:
    return {one.what: one.found for one in judge(wanted, WELL | changes) if not one.ok}


def test_all_is_well() -> None:
    """Nothing to say; also where there are no maps yet."""
    assert {} == _failed()
    assert {} == _failed(maps="")


@pytest.mark.parametrize(
    ("changes", "what", "found"),
    [
        ({"initiator": "iqn.1993-08.org.debian:01:a"}, "initiator name", "iqn.1993-08.org.debian:01:a"),
        ({"initiator": ""}, "initiator name", "none"),
        ({"missing": "flock timeout"}, "tools", "missing: flock timeout"),
        ({"script": ""}, "block-xvmstore", "missing"),
        ({"script": "# map format: 9"}, "block-xvmstore", "another release's (# map format: 9)"),
        ({"maps": "drwxr-xr-x"}, "volume maps", "drwxr-xr-x"),
        ({"stock": "/etc/xen/old.cfg"}, "no stock block-iscsi", "used in /etc/xen/old.cfg"),
        ({"boot": ""}, "boot order", "xvmstore-luns.service is missing"),
        ({"before": "shutdown.target"}, "boot order", "guests do not wait for their LUNs"),
    ],
)
def test_each_fault(changes: dict[str, str], what: str, found: str) -> None:
    """One fault, one check that fails, and it says what to do."""
    assert {what: found} == _failed(WANTED, **changes)
    assert all(one.advice for one in judge(WANTED, WELL | changes) if not one.ok)


def test_the_boot_matters_only_to_guests_that_start_by_themselves() -> None:
    """Without any, nothing can start too early; without systemd it is for the admin to arrange."""
    assert {} == _failed(boot="", autostart="")
    none = {key: value for key, value in WELL.items() if key not in {"boot", "before"}}
    assert ["no systemd"] == [one.found for one in judge(WANTED, none) if not one.ok]


def test_multipath() -> None:
    """Asked for, and multipathd does not run."""
    wanted = Wanted("xen1", WANTED.initiator, "linux", multipath=True, xen=None)
    assert {"multipathd": "does not run"} == _failed(wanted)
    assert {} == _failed(wanted, multipathd="runs")


def test_solaris() -> None:
    """Its own service."""
    wanted = Wanted("xvm1", WANTED.initiator, "solaris", multipath=False, xen=None)
    assert {} == _failed(wanted, boot="online")
    assert {"boot order": "no such service"} == _failed(wanted, boot="")


@pytest.mark.parametrize(
    ("configured", "ok"), [(None, True), ("4.17", True), ("4.17.7", True), ("4.1", False), ("3.1.2", False)]
)
def test_the_release(configured: str | None, ok: bool) -> None:
    """Limits are judged by what is configured: it must be what runs."""
    wanted = Wanted("xen1", WANTED.initiator, "linux", multipath=False, xen=configured)
    assert ok is version(wanted, XenInfo((4, 17, 7))).ok


def test_parse() -> None:
    """A name, a TAB, a value; or it is complained of."""
    assert {"boot": "enabled", "stock": ""} == parse("boot\tenabled\nstock\t \n")
    with pytest.raises(UnexpectedOutput):
        parse("sudo: a password is required\n")
