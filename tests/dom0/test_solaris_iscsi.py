"""Solaris's iscsiadm: its recorded output as our parsers read it, and as the small programs on dom0 read it."""

import re
import subprocess
from pathlib import Path

import pytest

from dom0 import solaris_iscsi
from dom0.disk import Disk
from dom0.solaris_iscsi import SolarisIscsi, Target, Unit, parse_discovery, parse_static, parse_targets, shown
from remote.errors import UnexpectedOutput
from tests.embedded.replay import cases

RECORDED = {case.name: case.expected for case in cases("../solaris/iscsiadm")}
TARGET = "iqn.2010-08.org.illumos:02:2d1c0e5a-7b1e-4c7d-9a51-0f3b0f7e8a11"
GUID = "600144F00C2A6D0000006A27E7400001"
LISTED = RECORDED["list target -S"].stdout
DISK = Disk("xvda", "192.0.2.10:3260", TARGET, 0, guid=GUID)


def test_targets() -> None:
    """Logged in with a device, without one yet, logged out; one that is not found is none."""
    device = f"/dev/rdsk/c0t{GUID}d0s2"
    there = Unit(0, device)
    assert (Target(TARGET, 1, (there,)),) == parse_targets(LISTED)
    assert f"/dev/dsk/c0t{GUID}d0p0" == there.disk
    (early,) = parse_targets(RECORDED["list target -S, device node not made yet"].stdout)
    assert (1, (Unit(0, None),)) == (early.connections, early.units)
    (out,) = parse_targets(RECORDED["list target, logged out"].stdout)
    assert (0, ()) == (out.connections, out.units)
    assert () == parse_targets(RECORDED["list target, unknown"].stdout) == parse_targets("")


def test_several_targets_and_luns() -> None:
    """One after the other; the tag of the portal group may be left out."""
    second = LISTED.replace("LUN: 0", "LUN: 7").replace(f"c0t{GUID}d0s2", "c3t1d7s2").replace("\tTPGT: 1\n", "")
    more = LISTED.partition("\tLUN")[1] + LISTED.partition("\tLUN")[2]
    found = parse_targets(LISTED.rstrip("\n") + "\n" + more.replace("LUN: 0", "LUN: 1") + second)
    assert [[0, 1], [7]] == [[unit.lun for unit in one.units] for one in found]
    assert "/dev/dsk/c3t1d7p0" == found[1].units[0].disk


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\tISID", "\tSomething"),
        ("Connections: 1", "Connections: many"),
        ("\tConnections: 1\n", ""),
        ("\tAlias: guest-vm1", "\tAlias"),
        ("     Vendor:", "     Seller:"),
        ("LUN: 0", "LUN: first"),
        ("/dev/rdsk/", "rdsk/"),
        ("\tTPGT: 1", "\tTPGT: 1\n\tTPGT: 1"),
        ("\tTPGT: 1", "\tTPGT: one"),
        ("Target: ", "Ziel: "),
    ],
)
def test_no_line_is_passed_over(before: str, after: str) -> None:
    """What is not known is complained of."""
    with pytest.raises(UnexpectedOutput):
        parse_targets(LISTED.replace(before, after, 1))


@pytest.mark.parametrize(
    ("device", "disk"),
    [
        ("/dev/rdsk/c3t1d0s2", "/dev/dsk/c3t1d0p0"),
        ("/dev/rdsk/c3t1d12p0", "/dev/dsk/c3t1d12p0"),
        (f"/dev/rdsk/c0t{GUID}d0", f"/dev/dsk/c0t{GUID}d0p0"),
        ("/dev/rmt/0n", None),
        ("Not Available", None),
    ],
)
def test_devices(tmp_path: Path, device: str, disk: str | None) -> None:
    """The whole disk, with multipathing or without, by parser and by program; a tape drive is no disk."""
    text = LISTED.replace(f"/dev/rdsk/c0t{GUID}d0s2", device)
    assert disk == parse_targets(text)[0].units[0].disk
    assert ({(TARGET, 0): disk} if disk else {}) == shown(text).devices
    (find,) = SolarisIscsi().find(DISK)
    assert (f"{disk}\n" if disk else "") == _run(tmp_path, find.argv, text).stdout


def _run(folder: Path, argv: tuple[object, ...], said: str, exit_: int = 0) -> subprocess.CompletedProcess[str]:
    """A program, where iscsiadm says this and devfsadm nothing."""
    (folder / "said").write_text(said)
    (folder / "iscsiadm").write_text(f"#!/bin/sh\ncat {folder}/said\nexit {exit_}\n")
    (folder / "devfsadm").write_text("#!/bin/sh\n")
    for name in ("iscsiadm", "devfsadm"):
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder}:/usr/bin:/bin", "xvm_become": ""}
    return subprocess.run(list(map(str, argv)), env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("text", "guid", "said"),
    [
        (LISTED, GUID, (0, f"/dev/dsk/c0t{GUID}d0p0\n", "")),
        (LISTED, GUID.lower(), (0, f"/dev/dsk/c0t{GUID}d0p0\n", "")),
        (LISTED, None, (0, f"/dev/dsk/c0t{GUID}d0p0\n", "")),
        (LISTED.replace(f"c0t{GUID}", "c3t1"), GUID, (0, "/dev/dsk/c3t1d0p0\n", "")),
        (LISTED, GUID[:-1] + "2",
         (1, "", f"LUN 0 of {TARGET} is {GUID}, not {GUID[:-1]}2: nothing was attached\n")),
        (LISTED.replace("LUN: 0", "LUN: 10"), GUID,
         (1, "", f"after 0 s: LUN 0 of {TARGET} is not there: is it exported to this host?\n")),
        (RECORDED["list target, unknown"].stdout, GUID, (1, "", f"after 0 s: the initiator does not know {TARGET}\n")),
    ],
)  # fmt: skip
def test_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, guid: str | None, said: tuple[int, str, str]
) -> None:
    """For a device, of the right LU where its name tells which it is; or why there is none."""
    monkeypatch.setattr(solaris_iscsi, "SECONDS", 0)
    _, wait = SolarisIscsi().login(Disk("xvda", DISK.portal, TARGET, 0, guid=guid))
    ended = _run(tmp_path, wait.argv, text)
    assert said == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("listed", "known"),
    [
        ("192.0.2.10:3260", True),
        ("192.0.2.10:3260,1", True),
        ("192.0.2.10:32601", False),
        ("192.0.2.101:3260", False),
        ("192a0b2c10:3260", False),
    ],
)
def test_a_target_that_was_added(tmp_path: Path, listed: str, known: bool) -> None:
    """Names are compared whole; the tag it may have been added with does not matter."""
    add, _ = SolarisIscsi().login(DISK)
    text = RECORDED["list static"].stdout.replace("192.0.2.10:3260", listed)
    assert add.unless
    assert known is (_run(tmp_path, add.unless, text).returncode == 0)


def test_static() -> None:
    """Names and portals, with IPv6 and tags."""
    text = RECORDED["list static"].stdout + f"Static Configuration Target: {TARGET},[2001:db8::10]:3260,1\n"
    assert ((TARGET, "192.0.2.10:3260"), (TARGET, "[2001:db8::10]:3260")) == parse_static(text)
    assert () == parse_static("")
    with pytest.raises(UnexpectedOutput):
        parse_static("Static Configuration Target: nothing\n")


def test_discovery() -> None:
    """What is enabled."""
    text = RECORDED["discovery"].stdout
    assert {"Static": False, "Send Targets": True, "iSNS": False} == parse_discovery(text)
    for wrong in ("", text.replace("disabled", "perhaps"), text.replace("iSNS", "SLP"), text.replace("Discovery", "D")):
        with pytest.raises(UnexpectedOutput):
            parse_discovery(wrong)


NAME = f"c0t{GUID}d0"
ERRORS = "Soft Errors: 0 Hard Errors: 0 Transport Errors: 0 \nVendor: SUN      Product: COMSTAR \n"
SIZES = (
    f"c1t0d0           {ERRORS}Size: 80.03GB <80026361856 bytes>\n\n{NAME} {ERRORS}Size: 1.07GB <1073741824 bytes>\n\n"
)


@pytest.mark.parametrize(
    ("text", "sizes", "said"),
    [
        (LISTED, SIZES, (0, f"/dev/dsk/{NAME}p0 1073741824\n", "")),
        (LISTED, SIZES + f"c2t0d0 {ERRORS}Size: 0.00GB <9 bytes>\n", (0, f"/dev/dsk/{NAME}p0 1073741824\n", "")),
        (LISTED, SIZES.replace("<1073741824", "<0"), (0, f"/dev/dsk/{NAME}p0 -\n", "")),
        (LISTED, SIZES.replace(NAME, "c0t1d0"), (0, f"/dev/dsk/{NAME}p0 -\n", "")),
        (LISTED.replace(GUID, GUID[:-1] + "2"), SIZES, (1, "", f"LUN 0 of {TARGET} is {GUID[:-1]}2, not {GUID}\n")),
        (RECORDED["list target, unknown"].stdout, SIZES, (1, "", f"the initiator does not know {TARGET}\n")),
    ],
)
def test_measured(tmp_path: Path, text: str, sizes: str, said: tuple[int, str, str]) -> None:
    """The size of this very disk, as far as iostat tells it; the wrong LU, or none, is a failure."""
    (tmp_path / "sizes").write_text(sizes)
    (tmp_path / "iostat").write_text(f"#!/bin/sh\n[ $* = -En ] && cat {tmp_path}/sizes\n")
    (tmp_path / "iostat").chmod(0o755)
    query = SolarisIscsi().measure(DISK)
    ended = _run(tmp_path, query.argv, text)
    assert said == (ended.returncode, ended.stdout, ended.stderr)
    if ended.stdout:
        assert (None if ended.stdout.endswith("-\n") else 1073741824) == query.parse(ended.stdout)
    with pytest.raises(UnexpectedOutput):
        query.parse("/dev/dsk/c3t1d0p0 many\n")


def test_no_name_is_a_function_and_a_variable() -> None:
    """Solaris's sh keeps both in one place: a function is gone once a variable of its name is set."""
    login, measure, find = SolarisIscsi().login(DISK)[1], SolarisIscsi().measure(DISK), SolarisIscsi().find(DISK)[0]
    for argv in (login.argv, measure.argv, find.argv, SolarisIscsi().logout(DISK)[0].argv):
        program = str(argv[2])
        functions = set(re.findall(r"^(\w+)\(\)", program, re.MULTILINE))
        assert functions
        assert set() == functions & set(re.findall(r"(\w+)=", program))


def test_the_service_is_off(tmp_path: Path) -> None:
    """A question is answered with nothing, a step ends with what iscsiadm says."""
    off = RECORDED["service off"].stderr
    assert any(words in off for words in SolarisIscsi().look().absent)
    (find,), (log_out,) = SolarisIscsi().find(DISK), SolarisIscsi().logout(DISK)
    for step in (find, log_out):
        assert 1 == _run(tmp_path, step.argv, "", exit_=1).returncode
