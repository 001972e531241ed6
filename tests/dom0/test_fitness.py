"""``node check`` of a dom0: each thing that is wrong is named, with what to do."""

from dataclasses import replace

import pytest

from dom0.fitness import Wanted, judge, looks, parse, version
from dom0.toolstack import XenInfo
from remote.errors import UnexpectedOutput
from tests.embedded.replay import cases

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


SOLARIS = Wanted("xvm1", WANTED.initiator, "solaris", multipath=False, xen=None)
TARGET = "iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11"
ON_SOLARIS = {
    "rights": "uid=0(root)",
    "missing": "",
    "service": "svc:/network/iscsi/initiator:default online",
    "initiator": WANTED.initiator,
    "login": "CHAP",
    "boot": "online",
    "static": "enabled",
    "wanted": TARGET,
    "connected": TARGET,
}


def test_solaris() -> None:
    """Nothing to say, also where nothing was added yet."""
    assert [] == [one for one in judge(SOLARIS, ON_SOLARIS) if not one.ok]
    assert [] == [one for one in judge(SOLARIS, ON_SOLARIS | {"wanted": "", "connected": ""}) if not one.ok]


@pytest.mark.parametrize(
    ("changes", "what", "found"),
    [
        ({"boot": ""}, "boot order", "no such service"),
        ({"rights": "uid=101(admin)"}, "rights", "uid=101(admin)"),
        ({"missing": "xenstore-ls"}, "tools", "missing: xenstore-ls"),
        ({"service": "svc:/network/iscsi_initiator:default disabled"}, "iSCSI initiator", "disabled"),
        ({"service": ""}, "iSCSI initiator", "no such service"),
        ({"static": "disabled"}, "static discovery", "disabled"),
        ({"connected": ""}, "targets", f"not logged in to {TARGET}"),
        ({"initiator": ""}, "initiator name", "none"),
    ],
)
def test_each_fault_on_solaris(changes: dict[str, str], what: str, found: str) -> None:
    """The same there."""
    (failed,) = [one for one in judge(SOLARIS, ON_SOLARIS | changes) if not one.ok]
    assert (what, found, True) == (failed.what, failed.found, bool(failed.advice))


def test_an_account_on_solaris() -> None:
    """Only where one is configured it must be set."""
    chap = replace(SOLARIS, chap=True)
    assert [] == [one for one in judge(chap, ON_SOLARIS) if not one.ok]
    assert ["CHAP"] == [one.what for one in judge(chap, ON_SOLARIS | {"login": "NONE"}) if not one.ok]
    assert [] == [one for one in judge(SOLARIS, ON_SOLARIS | {"login": "NONE"}) if not one.ok]


def test_what_iscsiadm_tells() -> None:
    """As recorded: what is enabled, what was added, what is logged in to; nothing where the service is off."""
    said = {case.command: case.expected.stdout for case in cases("../solaris/iscsiadm") if case.name != "service off"}
    _, *asked = looks("solaris")
    recorded = (said["iscsiadm list discovery"], said["iscsiadm list static-config"],
                said[f"iscsiadm list target -S {TARGET}"])  # fmt: skip
    facts = [query.parse(text) for query, text in zip(asked, recorded, strict=True)]
    assert [{"static": "disabled"}, {"wanted": TARGET}, {"connected": TARGET}] == facts
    assert [{}, {"wanted": ""}, {"connected": ""}] == [query.parse("") for query in asked]


@pytest.mark.parametrize(
    ("configured", "ok"), [(None, True), ("4.17", True), ("4.17.7", True), ("4.1", False), ("3.1.2", False)]
)
def test_the_release(configured: str | None, ok: bool) -> None:
    """Limits are judged by what is configured: it must be what runs."""
    wanted = Wanted("xen1", WANTED.initiator, "linux", multipath=False, xen=configured)
    assert ok is version(wanted, XenInfo((4, 17, 7))).ok


def test_a_release_without_its_third_number() -> None:
    """xend's virsh says 3.1.0 of 3.1.2."""
    found = XenInfo((3, 1, 0))
    assert [True, False] == [version(replace(SOLARIS, xen=xen), found).ok for xen in ("3.1.2", "3.3.1")]


def test_parse() -> None:
    """A name, a TAB, a value; or it is complained of."""
    assert {"boot": "enabled", "stock": ""} == parse("boot\tenabled\nstock\t \n")
    with pytest.raises(UnexpectedOutput):
        parse("sudo: a password is required\n")
