"""Guests' workflows apart from any machine: plans, what is said of failures, and ``guest list``'s joining."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dom0.block_script import Shown
from dom0.toolstack import Domain
from dom0.xenstore import Vbd
from remote.errors import InUse, PartlyDone, Refused, RemoteError, StepFailed
from remote.host import Answer, Outcome
from remote.script import Script, render
from remote.transcript import Ended
from tests.xvmstore.test_results import GUID, VOLUME
from xvmstore import config, guest_list, guests
from xvmstore.dom0_outcomes import failed
from xvmstore.dom0s import XenDom0
from xvmstore.guest_list import Seen
from xvmstore.nodes import StorageNode
from xvmstore.results import Volume

CONFIG = """\
[nodes.san1]
host = "san1"
base = "tank/xvm"
portals = ["192.0.2.10:3260", "192.0.2.11:3260"]

[dom0s.xen1]
host = "xen1"
initiator = "iqn.2026-11.com.example:dom0-a"
chap_user = "xen1"
chap_secret_file = "secret"
"""
SECRET = "the-secret-of-xen1"
VOL = replace(VOLUME, dom0s=("xen1",), sessions=(), trouble=())
ID = GUID.lower()


def site(folder: Path, more: str = "") -> tuple[StorageNode, XenDom0]:
    """A node and a dom0, which has ``more`` set."""
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "secret").chmod(0o600)
    path = folder / "config.toml"
    path.write_text(CONFIG + more)
    loaded = config.load(path)
    return StorageNode("san1", loaded), XenDom0("xen1", loaded)


def _vbd(domid: int = 5, *, state: int = 4, params: str = ID, vdev: str = "xvda") -> Vbd:
    return Vbd(domid, 51712, vdev, params, state, "w", sectors=1)


def test_attach_in_order(tmp_path: Path) -> None:
    """Checks, then the map, then what is left of earlier attempts, then xl, then the wait; the secret in none of it."""
    node, dom0 = site(tmp_path)
    plan = guests.plan_attach(dom0, node, VOL)

    assert ("script", "domain", "vdev", "map", "dead", "dead", "sweep", "attach", "connected") == plan.roles
    assert f"script=block-xvmstore, target={ID}" in "\n".join(plan.lines())
    assert SECRET not in "\n".join(plan.lines())
    script = render(Script(plan.steps), "xvmnonce")
    assert 1 == script.count(SECRET), "once, in a here-document"
    assert f"portals=192.0.2.10:3260 192.0.2.11:3260\nuser=xen1\nsecret={SECRET}" in script


def test_by_path_logs_in_first(tmp_path: Path) -> None:
    """And is undone with the attach."""
    node, dom0 = site(tmp_path, 'wiring = "path"\n')
    plan = guests.plan_attach(dom0, node, VOL)
    roles = plan.roles
    assert roles.index("attach") > roles.index("login")
    assert "logout" in plan.steps[roles.index("login")].undo  # type: ignore[operator]
    assert "/dev/disk/by-path/" in plan.lines()[roles.index("attach")]


@pytest.mark.parametrize("guid", [GUID, None])
def test_solaris(tmp_path: Path, guid: str | None) -> None:
    """Its own initiator, a number for a name, and the device as the initiator calls it, whether its GUID is known."""
    node, dom0 = site(tmp_path, 'system = "solaris"\n')
    plan = guests.plan_attach(dom0, node, replace(VOL, guid=guid))
    assert ("script", "domain", "find", "vdev", "dead", "dead", "login", "login", "attach", "connected") == plan.roles
    lines = plan.lines()
    assert f"iscsiadm add static-config {VOL.target},192.0.2.10:3260" in lines
    assert "xm block-attach $domid phy:$device_xvda 0 w" in lines
    assert not [line for line in lines if "block-xvmstore" in line]


def test_virsh_on_solaris(tmp_path: Path) -> None:
    """In the words of libvirt 0.4."""
    node, dom0 = site(tmp_path, 'system = "solaris"\ntoolstack = "libvirt"\n')
    assert "virsh attach-disk $domid $device_xvda 0 --driver phy" in guests.plan_attach(dom0, node, VOL).lines()


def test_ipv6_on_solaris(tmp_path: Path) -> None:
    """iscsiadm lists an address in its shortest form: that is how it must be told to be found again."""
    node, dom0 = site(tmp_path, 'system = "solaris"\n')
    volume = replace(VOL, portals=("[2001:db8:0:0::10]:3260",))
    add = f"iscsiadm add static-config {VOL.target},'[2001:db8::10]:3260'"
    lines = [line.replace("'", "") for line in guests.plan_attach(dom0, node, volume).lines()]
    assert add.replace("'", "") in lines


@pytest.mark.parametrize(
    "volume", [replace(VOL, exported=False), replace(VOL, dom0s=("xen2",)), replace(VOL, target=None)]
)
def test_what_cannot_be_attached(tmp_path: Path, volume: Volume) -> None:
    """Said before any dom0 is asked."""
    node, dom0 = site(tmp_path)
    with pytest.raises(Refused, match=r"not exported to xen1|is not complete"):
        guests.plan_attach(dom0, node, volume)


def test_before_the_first_login(tmp_path: Path) -> None:
    """A line for the script needs the GUID: the refusal says how to get it. By path there is one without."""
    node, dom0 = site(tmp_path)
    unknown = replace(VOL, guid=None)
    with pytest.raises(
        Refused, match=r"`xvmstore guest prepare web1 --dom0 xen1` logs in once; or set wiring = \"path\""
    ):
        guests.plan_attach(dom0, node, unknown)
    prepare = guests.plan_prepare(dom0, node, "web1", [unknown])
    assert ("script", "forget", "map", "try") == prepare.roles
    assert prepare.lines()[-1].endswith("check $id_xvda")

    node, dom0 = site(tmp_path, 'wiring = "path"\n')
    lines = guests.plan_attach(dom0, node, unknown).lines()
    assert [True, True] == [any(line.endswith(f"{verb} $id_xvda") for line in lines) for verb in ("login", "sweep")]
    by_path = f"/dev/disk/by-path/ip-192.0.2.10:3260-iscsi-{VOL.target}-lun-0"
    assert any("xl block-attach" in line and by_path in line for line in lines)
    assert dom0.serves(_vbd(params=by_path), unknown)
    assert {"xl", "xm", "libvirt"} == set(unknown.disk_by_path)


@pytest.mark.parametrize(
    ("role", "stderr", "text"),
    [
        ("script", "iscsiadm: no initiator found\n", "xen1: its iSCSI initiator is off: `svcadm enable"),
        ("find", "iscsiadm: no initiator found\n", "xen1: its iSCSI initiator is off: `svcadm enable"),
        ("login", "after 30 s: LUN 0 of iqn.x is not there\n", "xen1: after 30 s: LUN 0 of iqn.x is not there"),
        ("login", "iscsiadm: Permission denied\n", "iscsiadm: Permission denied"),
    ],
)
def test_failures_on_solaris(tmp_path: Path, role: str, stderr: str, text: str) -> None:
    """The initiator's own words where it has some, ours where it was waited for in vain."""
    node, dom0 = site(tmp_path, 'system = "solaris"\n')
    plan = guests.plan_attach(dom0, node, VOL)
    index = plan.roles.index(role)
    failure = StepFailed("xen1", "a command", exit_status=1, stderr=stderr)
    said = failed(dom0, "web1", plan, Outcome(failure, index, (), {index: Ended(1, "", stderr, "done")}))
    assert text in str(said)


def test_another_dom0_has_it(tmp_path: Path) -> None:
    """A volume has one writer: a session of somebody else's stops an attach."""
    node, dom0 = site(tmp_path)
    with pytest.raises(InUse, match=r"in use on iqn[.]2026-11[.]com[.]example:dom0-b"):
        guests.attach(dom0, node, replace(VOL, sessions=("iqn.2026-11.com.example:dom0-b",)))


def test_force_skips_the_checks_only(tmp_path: Path) -> None:
    """The rest is as without it, but for the toolstack's own word for it."""
    _, dom0 = site(tmp_path)
    gentle, forced = (guests.plan_detach(dom0, VOL, force=force) for force in (False, True))
    assert ("domain", "root", "busy", "detach", "gone", "sweep") == gentle.roles
    assert ("domain", "detach", "gone", "sweep") == forced.roles
    assert ["--force" in str(plan.steps[plan.roles.index("detach")].argv) for plan in (gentle, forced)] == [False, True]


_LIBXL = (
    "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: "
    "/etc/xen/scripts/block-xvmstore add [1] exited with error status 1\n"
    "libxl: error: libxl_device.c:1337:device_hotplug_child_death_cb: "
    "script: web1/root: CHAP was refused by 192.0.2.10:3260\n"
    "libxl_device_disk_add failed.\n"
)


@pytest.mark.parametrize(
    ("role", "stdout", "stderr", "kind", "text"),
    [
        ("script", "", "", Refused, "`xvmstore guest install-script --dom0 xen1`"),
        ("domain", "", "Can't get domid of domain name 'web1'", Refused, "xen1: guest web1 does not run there"),
        ("vdev", "xvda is /dev/vg/web1\n", "", Refused, "xen1: in web1, xvda is /dev/vg/web1 already"),
        ("connected", "state 2\n", "", RemoteError, "web1 has not connected its disk (state 2)"),
        ("attach", "", _LIBXL, RemoteError, "xen1: web1/root: CHAP was refused by 192.0.2.10:3260"),
    ],
)
def test_failures_in_words(
    tmp_path: Path, role: str, stdout: str, stderr: str, kind: type[Exception], text: str
) -> None:
    """One line, with the reason and what to do, and not libxl's story of it."""
    node, dom0 = site(tmp_path)
    plan = guests.plan_attach(dom0, node, VOL)
    said = failed(dom0, "web1", plan, _outcome(plan, role, stdout, stderr))
    assert isinstance(said, kind)
    assert text in str(said)
    assert "\n" not in str(said)
    assert "libxl" not in str(said)


@pytest.mark.parametrize(
    ("role", "stdout", "kind", "text"),
    [
        ("root", "", InUse, "web1/root is the disk web1 started from"),
        ("busy", "busy\n", InUse, "web1 reads or writes web1/root now"),
        ("gone", "state 5\n", PartlyDone, "web1 does not let go of web1/root (state 5)"),
    ],
)
def test_refusals_to_detach(tmp_path: Path, role: str, stdout: str, kind: type[Exception], text: str) -> None:
    """The same for detach."""
    _, dom0 = site(tmp_path)
    plan = guests.plan_detach(dom0, VOL)
    said = failed(dom0, "web1", plan, _outcome(plan, role, stdout, ""), volume="web1/root")
    assert isinstance(said, kind)
    assert text in str(said)


def _outcome(plan: Any, role: str, stdout: str, stderr: str) -> Outcome:
    index = plan.roles.index(role)
    failure = StepFailed("xen1", "a command", exit_status=1, stderr=stderr)
    unmet = role in {"root", "script"}
    return Outcome(failure, index, (), {index: Ended(1, stdout, stderr, "unmet" if unmet else "done")})


@pytest.mark.parametrize("role", ["root", "busy", "domain"])
def test_a_check_that_could_not_be_made(tmp_path: Path, role: str) -> None:
    """Its own words, and not what the check would have found."""
    _, dom0 = site(tmp_path)
    plan = guests.plan_detach(dom0, VOL)
    failure = StepFailed("xen1", "a command", exit_status=1, stderr="sudo: a password is required")
    index = plan.roles.index(role)
    said = failed(dom0, "web1", plan, Outcome(failure, index, (), {index: Ended(1, "", failure.stderr, "done")}))
    assert "sudo: a password is required" in str(said)


def test_a_volume_by_any_of_its_names(tmp_path: Path) -> None:
    """By script or by path, through any portal: a detach finds what was attached under another configuration."""
    _, dom0 = site(tmp_path)
    by_path = [f"/dev/disk/by-path/ip-192.0.2.{last}:3260-iscsi-{VOL.target}-lun-0" for last in (10, 11)]
    assert (ID, *by_path) == dom0.targets(VOL)
    assert all(dom0.serves(_vbd(params=target), VOL) for target in (ID, *by_path, by_path[1].removeprefix("/dev/")))
    assert not dom0.serves(_vbd(params="another"), VOL)


def _list(tmp_path: Path, volumes: list[Volume], *seen: tuple[list[Domain], list[Vbd]]) -> list[Any]:
    node, dom0 = site(tmp_path)
    looked = [Seen(dom0, tuple(domains), tuple(vbds)) for domains, vbds in seen]
    return list(guest_list.guests(node, volumes, looked, {}))


def test_a_guest_that_runs(tmp_path: Path) -> None:
    """Its disk is attached, by id or by path; what others have attached is not its."""
    session = replace(VOL, sessions=("iqn.2026-11.com.example:dom0-a",))
    (found,) = _list(tmp_path, [session], ([Domain("web1", 5, "-b----")], [_vbd(), _vbd(6, params="another")]))
    assert ("xen1", 5, "-b----", ()) == (found.dom0, found.domid, found.state, found.trouble)
    assert [("web1/root", "web1", 5, "connected")] == [
        (one.volume, one.domain, one.domid, one.state) for one in found.attached
    ]
    assert (("web1/root", "xvda", ("xen1",)),) == found.disks
    by_path = VOL.disk_by_path["xl"].split("target=")[1]
    (found,) = _list(tmp_path, [VOL], ([Domain("web1", 5, "-b----")], [_vbd(params=by_path)]))
    assert 1 == len(found.attached)


@pytest.mark.parametrize(
    ("volume", "domains", "vbds", "trouble"),
    [
        (VOL, [Domain("rescue", 6, "-b----")], [_vbd(6)], "web1/root is attached to rescue on xen1"),
        (VOL, [Domain("web1", 5, "-b----")], [_vbd(state=3)], "web1/root is initialised on xen1"),
        (replace(VOL, sessions=("iqn.2026-11.com.example:dom0-a",)), [], [],
         "xen1 is logged in to web1/root, and no guest there has it"),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    tmp_path: Path, volume: Volume, domains: list[Domain], vbds: list[Vbd], trouble: str
) -> None:
    """Said in words."""
    (found,) = _list(tmp_path, [volume], (domains, vbds))
    assert (trouble,) == found.trouble


def test_logged_in_beforehand_is_no_trouble(tmp_path: Path) -> None:
    """By path that is how it must be, whether the guest runs or not."""
    node, dom0 = site(tmp_path, 'wiring = "path"\n')
    volume = replace(VOL, sessions=("iqn.2026-11.com.example:dom0-a",))
    (found,) = guest_list.guests(node, [volume], [Seen(dom0, (), ())], {})
    assert () == found.trouble


def test_named_by_dom0(tmp_path: Path) -> None:
    """A Solaris dom0 without multipathing has names nobody else knows: it is asked for them, and a Linux one is not."""
    _, linux = site(tmp_path)
    assert 2 == len(guest_list.questions(linux))
    node, dom0 = site(tmp_path, 'system = "solaris"\n')
    assert dom0.initiator.look() == guest_list.questions(dom0)[2]
    assert VOL.target
    shown = Shown(devices={(VOL.target, VOL.lun or 0): "/dev/dsk/c3t1d0p0"})
    vbds = (_vbd(params="/dev/dsk/c3t1d0p0", vdev="0"), _vbd(params="/dev/dsk/c3t2d0p0", vdev="1"))
    looked = guest_list.seen(dom0, [Answer((Domain("web1", 5, "-b----"),)), Answer(vbds), Answer(shown)])
    (found,) = guest_list.guests(node, [VOL], [looked], {})
    assert [("web1/root", "xvda", "connected")] == [(one.volume, one.vdev, one.state) for one in found.attached]


def test_twice(tmp_path: Path) -> None:
    """The same guest on two dom0s is the end of its file systems."""
    runs: tuple[list[Domain], list[Vbd]] = ([Domain("web1", 5, "-b----")], [_vbd()])
    (found,) = _list(tmp_path, [VOL], runs, runs)
    assert "web1 runs on xen1, xen1: its disks are lost unless it is migrating" in found.trouble
    assert "web1/root is attached more than once" in found.trouble
