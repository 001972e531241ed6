"""block-xvmstore itself, run by the shells dom0s have, over a tree of files in place of /sys and a fake iscsiadm.

What a kernel, a network and a Xen have to do with it is tested in the lab; here are its own decisions.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dom0.block_script import FORMAT, Account, map_of, parse, text
from dom0.disk import Disk
from remote.script import Secret

pytestmark = pytest.mark.slow
FAKES = Path(__file__).parent / "fakes"
SCRIPT = Path(__file__).parents[2] / "dom0/files/block-xvmstore"
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}
GUID = "600144F00C2A6D0000006A27E7400001"
TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
DISK = Disk("xvda", "192.0.2.10:3260", TARGET, 1, guid=GUID)
ID = GUID.lower()
VBD = "/local/domain/0/backend/vbd/7/51712"


class Host:
    """A dom0 made of files."""

    def __init__(self, root: Path, shell: tuple[str, ...]) -> None:
        self.root, self._shell = root, shell
        for folder in ("bin", "sys/class/iscsi_session", "etc/xvmstore/volumes", "proc", "var/run"):
            (root / folder).mkdir(parents=True)
        for name, fake in (
            ("iscsiadm", "iscsiadm"),
            *((f"xenstore-{verb}", "xenstore") for verb in ("read", "write", "ls")),
        ):
            shutil.copy(FAKES / fake, root / "bin" / name)
        for name in ("logger", "blockdev", "multipath", "multipathd"):
            (root / "bin" / name).write_text("#!/bin/sh\n")
            (root / "bin" / name).chmod(0o755)
        (root / "proc/mounts").write_text("/dev/vda / ext4 rw 0 0\n")
        (root / "wwid").write_text(f"naa.{ID}\n")
        (root / "xenstore").write_text("/local/domain/0/name = Domain-0\n")
        self.know()

    def know(self, **facts: str) -> None:
        """Write the volume's map, by default one portal with CHAP."""
        account = Account("xen1", Secret("a-secret-of-xen1"))
        content = map_of(
            "web1/root", DISK, node="san1", portals=["192.0.2.10:3260"], account=account, multipath=False, login=False
        )
        lines = dict(line.split("=", 1) for line in content.value.splitlines()) | facts
        (self.root / "etc/xvmstore/volumes" / ID).write_text(
            "".join(f"{key}={value}\n" for key, value in lines.items())
        )

    def vbd(self, path: str = VBD, **keys: str) -> None:
        """A vbd as libxl has it when it calls the script."""
        wanted = {"params": ID, "mode": "w", "frontend-id": path.split("/")[-2], "state": "2", **keys}
        with (self.root / "xenstore").open("a") as file:
            file.writelines(f"{path}/{key} = {value}\n" for key, value in wanted.items())
            domain = f"/local/domain/{wanted['frontend-id']}"
            file.write(f"{domain} = \n{domain}/vm = /vm/{wanted['frontend-id']}\n")

    def key(self, name: str, path: str = VBD) -> str | None:
        """A key of a vbd."""
        lines = (self.root / "xenstore").read_text().splitlines()
        return next((line.split(" = ", 1)[1] for line in lines if line.startswith(f"{path}/{name} = ")), None)

    def run(self, *words: str, vbd: str | None = None, deadline: int = 5) -> subprocess.CompletedProcess[str]:
        """The script, as a toolstack or an admin calls it."""
        bus = {"XENBUS_PATH": vbd.removeprefix("/local/domain/0/")} if vbd else {}
        env = {
            "XVMSTORE_ROOT": str(self.root),
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "XVMSTORE_DEADLINE": str(deadline),
        }
        argv = [*self._shell, str(SCRIPT), *words]
        # With SIGPIPE ignored, as many a daemon leaves it: then a shell tells of a reader that went early.
        return subprocess.run(
            argv, env=env | bus, capture_output=True, text=True, timeout=60, check=False, restore_signals=False
        )

    def add(self, vbd: str = VBD) -> subprocess.CompletedProcess[str]:
        """As libxl does."""
        return self.run("add", vbd=vbd)

    def left(self) -> list[str]:
        """Sessions, uses, node records and files on their way."""
        places = ("sys/class/iscsi_session/session*", "var/run/xvmstore/[!l]*", "etc/iscsi/nodes/*/*", "etc/iscsi/.x*",
                  "etc/xvmstore/records/*")  # fmt: skip
        return sorted(str(path.relative_to(self.root)) for place in places for path in self.root.glob(place))


@pytest.fixture(params=["dash", *(pytest.param(name, marks=pytest.mark.shells) for name in ("bash", "busybox"))])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """One for each shell there is."""
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None or shutil.which("flock") is None:
        pytest.skip(f"needs {shell[0]} and flock")
    return Host(tmp_path, shell)


@pytest.fixture
def dash(tmp_path: Path) -> Host:
    """Where the shell does not matter."""
    return Host(tmp_path, SHELLS["dash"] if shutil.which("dash") else ("sh",))


def test_add_and_remove(host: Host) -> None:
    """The guest is given the device by number and path; remove logs out and leaves nothing, not even a record."""
    host.vbd()
    added = host.add()

    assert 0 == added.returncode, added.stderr
    assert ("8:10", "/dev/sda", "connected") == tuple(
        host.key(name) for name in ("physical-device", "physical-device-path", "hotplug-status")
    )
    (use,) = parse(host.run("show").stdout).uses
    assert ("backend_vbd_7_51712", ID, "/dev/sda") == (use.name, use.id, use.device)
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert [] == host.left()


def test_the_node_record(dash: Host) -> None:
    """Static, manual, scanned by nobody, with our account; only root can read it; no secret was an argument."""
    dash.vbd()
    assert 0 == dash.add().returncode

    (record,) = (dash.root / "etc/iscsi/nodes" / TARGET).iterdir()
    lines = record.read_text().splitlines()
    assert 0o600 == record.stat().st_mode & 0o777
    assert {
        "node.startup = manual",
        "node.session.scan = manual",
        "node.session.timeo.replacement_timeout = 86400",
        "node.session.auth.authmethod = CHAP",
        "node.session.auth.username = xen1",
        "node.session.auth.password = a-secret-of-xen1",
    } <= set(lines)
    assert ("# BEGIN RECORD 2.1.8", "# END RECORD", 1) == (lines[0], lines[-1], lines.count("node.startup = manual"))
    assert not [line for line in lines if line.endswith(("= automatic", "= auto"))]
    calls = (dash.root / "calls").read_text()
    assert "discovery" not in calls
    assert "a-secret" not in calls + (dash.root / "xenstore").read_text()


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"rc-192.0.2.10:3260": "24"},
         "web1/root: CHAP was refused by 192.0.2.10:3260, or this initiator is not let in"),
        ({"rc-192.0.2.10:3260": "8"},
         f"web1/root: no answer at 192.0.2.10:3260: it is down, or has no target {TARGET}"),
        ({"rc-192.0.2.10:3260": "19"},
         f"web1/root: 192.0.2.10:3260 refused the login: is {TARGET} still exported to this host?"),
        ({"rc-192.0.2.10:3260": "77"},
         "web1/root: login at 192.0.2.10:3260: iscsiadm exited 77: iscsiadm: login failed"),
        ({"wwid": "naa.600144f0000000000000000000000000"},
         f"web1/root: LUN 1 of {TARGET} is naa.600144f0000000000000000000000000, not naa.{ID}: nothing was attached"),
    ],
)  # fmt: skip
def test_what_fails_leaves_nothing(host: Host, facts: dict[str, str], error: str) -> None:
    """The reason is where the toolstack looks for it; login, device, record and use are taken back at once."""
    for name, value in facts.items():
        (host.root / name).write_text(value + "\n")
    host.vbd()

    assert 1 == host.add().returncode
    assert ("error", error) == (host.key("hotplug-status"), host.key("hotplug-error"))
    assert (None, []) == (host.key("physical-device"), host.left())


def test_a_lun_that_is_not_there(host: Host) -> None:
    """It is waited for until the deadline, and no longer."""
    (host.root / "wwid").unlink()
    host.vbd()

    assert 1 == host.run("add", vbd=VBD, deadline=4).returncode
    assert f"web1/root: not there after 4 s: LUN 1 of {TARGET}: is it exported to this host?" == host.key(
        "hotplug-error"
    )
    assert [] == host.left()


def test_an_id_that_is_not_known(host: Host) -> None:
    """And ids that are none: a guest's config may say anything."""
    for index, wrong in enumerate(("600144f0ffffffffffffffffffffffff", "../../../etc/passwd", "")):
        path = VBD.replace("51712", str(51728 + index))
        host.vbd(path, params=wrong)
        assert 1 == host.add(path).returncode
        assert "error" == host.key("hotplug-status", path)
    assert [] == host.left()


def test_one_writer_only(host: Host) -> None:
    """A second guest is refused, and the first one's session and device stay; two readers may share."""
    other = VBD.replace("/7/", "/8/")
    host.vbd()
    assert 0 == host.add().returncode
    before = host.left()
    host.vbd(other)

    assert 1 == host.add(other).returncode
    assert "web1/root: is attached to domain 7 already (mode w asked for)" == host.key("hotplug-error", other)
    assert before == host.left()
    assert 0 == host.run("remove", vbd=other).returncode, "what the toolstack does after a failure"
    assert before == host.left()


def test_readers_share_and_the_last_one_logs_out(host: Host) -> None:
    """Whoever leaves first takes nothing from the other."""
    other = VBD.replace("/7/", "/8/")
    for path in (VBD, other):
        host.vbd(path, mode="r")
        assert 0 == host.add(path).returncode
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert [TARGET] == [login.target for login in parse(host.run("show").stdout).logins]
    assert 0 == host.run("remove", vbd=other).returncode
    assert [] == host.left()


@pytest.mark.parametrize("same", ["vm", "target", "gone"])
def test_a_guest_that_migrates_may_have_it_twice(host: Host, same: str) -> None:
    """The same guest under another number, its device model's domain, or one that has gone, is no second writer."""
    other = VBD.replace("/7/", "/8/")
    host.vbd()
    assert 0 == host.add().returncode
    store = host.root / "xenstore"
    kept = "/local/domain/7/vm" if same != "gone" else "/local/domain/7"
    lines = [line for line in store.read_text().splitlines() if not line.startswith(kept)]
    extra = {
        "vm": "/local/domain/7/vm = /vm/8",
        "target": "/local/domain/7/vm = /vm/7\n/local/domain/8/target = 7",
        "gone": "",
    }
    store.write_text("\n".join([*lines, extra[same], ""]))
    host.vbd(other)

    assert 0 == host.add(other).returncode, host.key("hotplug-error", other)


def test_xends_way_of_calling(host: Host) -> None:
    """add twice, as udev may; mode w!, which skips the check; remove when xenstore has forgotten the vbd already."""
    other = VBD.replace("/7/", "/8/")
    for path in (VBD, other):
        host.vbd(path, mode="w!", type="xvmstore")
        assert 0 == host.add(path).returncode
        assert 0 == host.add(path).returncode
    (host.root / "xenstore").write_text("/local/domain/0/name = Domain-0\n")

    assert [0, 0] == [host.run("remove", vbd=path).returncode for path in (VBD, other)]
    assert [] == host.left()


def test_remove_of_what_was_never_added(host: Host) -> None:
    """libxl calls remove after every add that failed: nothing is ours, nothing is touched."""
    host.vbd()
    assert 0 == host.run("login", ID).returncode
    before = host.left()

    assert 0 == host.run("remove", vbd=VBD).returncode
    assert before == host.left()


def _by_hand(host: Host, *lasts: tuple[str, ...]) -> Path:
    """An admin's own iscsiadm; the record it makes."""
    env = {"XVMSTORE_ROOT": str(host.root), "PATH": "/usr/bin:/bin"}
    for last in lasts:
        subprocess.run(
            [FAKES / "iscsiadm", "-m", "node", "-T", TARGET, "-p", "192.0.2.10:3260", *last], env=env, check=True
        )
    return host.root / "etc/iscsi/nodes" / TARGET / "192.0.2.10,3260"


@pytest.mark.parametrize("logged_in", [True, False])
def test_somebody_elses_session_and_record_stay(host: Host, logged_in: bool) -> None:
    """A session that was there is used and not logged out; a record that was there is used as it is, and kept."""
    record = _by_hand(host, ("-o", "new"), *([("--login",)] if logged_in else []))
    record.write_text(record.read_text().replace("scan = auto", "scan = manual"))
    before = record.read_text()
    host.vbd()

    assert 0 == host.add().returncode, host.key("hotplug-error")
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert ["session1"] * logged_in == [path.name for path in (host.root / "sys/class/iscsi_session").iterdir()]
    assert before == record.read_text()


def test_a_record_that_was_made_half(host: Host) -> None:
    """Killed between making the node record and setting it up: it is ours, and does not log in at the next boot."""
    record = _by_hand(host, ("-o", "new"))
    made = host.root / "etc/xvmstore/records" / TARGET
    made.mkdir(parents=True)
    (made / "192.0.2.10:3260").touch()
    (host.root / "etc/iscsi" / f".xvmstore-{TARGET}").write_text("node.session.auth.password = a-secret-of-xen1\n")
    host.vbd()

    assert 0 == host.add().returncode
    assert "node.startup = manual" in record.read_text()
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert [] == host.left()


def test_secrets_with_backslashes(host: Host) -> None:
    """Byte for byte into the record."""
    host.know(secret=r"abc\ndef\\ghi\c123456")
    host.vbd()
    assert 0 == host.add().returncode
    (record,) = (host.root / "etc/iscsi/nodes" / TARGET).iterdir()
    assert r"node.session.auth.password = abc\ndef\\ghi\c123456" in record.read_text().splitlines()


def test_the_next_portal(host: Host) -> None:
    """Without multipath the first portal that answers will do; IPv6 has brackets and records without."""
    host.know(portals="192.0.2.10:3260 [2001:db8::1]:3260")
    (host.root / "rc-192.0.2.10:3260").write_text("8\n")
    host.vbd()

    assert 0 == host.add().returncode, host.key("hotplug-error")
    assert ["[2001:db8::1]:3260"] == [login.portal for login in parse(host.run("show").stdout).logins]
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert [] == host.left()


def test_check_login_logout(host: Host) -> None:
    """check leaves all as it was, also for a guest that has it; login keeps it until logout."""
    assert f"/dev/sda {1 << 30}\n" == host.run("check", ID).stdout
    assert [] == host.left()
    host.vbd()
    assert 0 == host.add().returncode
    before = host.left()
    assert 0 == host.run("check", ID).returncode
    assert before == host.left()
    assert ["/dev/sda\n"] * 2 == [host.run("login", ID).stdout for _ in range(2)]
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert 1 == len(parse(host.run("show").stdout).logins)
    assert [0, 0] == [host.run("logout", ID).returncode for _ in range(2)]
    assert [] == host.left()


def test_what_a_guest_has_by_path_stays(host: Host) -> None:
    """A vbd that is not ours: logout says so and changes nothing; a login that fails now takes nothing either."""
    assert 0 == host.run("login", ID).returncode
    backend = host.root / "sys/bus/xen-backend/devices/vbd-9-51712"
    backend.mkdir(parents=True)
    (backend / "physical_device").write_text("8:10\n")
    before = host.left()

    out = host.run("logout", ID)
    assert (1, True, before) == (out.returncode, "a guest still has /dev/sda" in out.stderr, host.left()), out.stderr
    (host.root / "sys/class/scsi_device/3:0:0:1/device/state").write_text("transport-offline\n")
    again = host.run("login", ID)
    assert (1, True, before) == (again.returncode, "is transport-offline" in again.stderr, host.left())
    (backend / "physical_device").unlink()
    assert (0, []) == (host.run("logout", ID).returncode, host.left())


def test_what_others_made_for_a_guest_is_no_trouble(dash: Host) -> None:
    """A guest by path over a session that an admin made: check looks, and is content."""
    _by_hand(dash, ("-o", "new"), ("--login",))
    assert 0 == dash.run("check", ID).returncode
    (scan,) = (dash.root / "sys/class/scsi_host").glob("*/scan")
    scan.write_text("0 0 1\n")
    end = time.monotonic() + 10
    while not (dash.root / "dev/sda").exists() and time.monotonic() < end:
        time.sleep(0.1)
    backend = dash.root / "sys/bus/xen-backend/devices/vbd-9-51712"
    backend.mkdir(parents=True)
    (backend / "physical_device").write_text("8:10\n")
    before = dash.left()
    said = dash.run("check", ID)
    assert (0, before) == (said.returncode, dash.left()), said.stderr


def test_chap_with_a_record_that_is_not_ours(dash: Host) -> None:
    """One line that says what to remove."""
    _by_hand(dash, ("-o", "new"))
    (dash.root / "rc-192.0.2.10:3260").write_text("24\n")
    dash.vbd()
    assert 1 == dash.add().returncode
    error = dash.key("hotplug-error") or ""
    assert "; the node record is not ours: iscsiadm -m node -T " in error


def test_a_session_that_has_lost_its_target(host: Host) -> None:
    """Waited for; then another portal is tried. Somebody else's is not logged out."""
    _by_hand(host, ("-o", "new"), ("--login",))
    (host.root / "sys/class/iscsi_session/session1/state").write_text("FAILED\n")
    host.vbd()

    assert 1 == host.run("add", vbd=VBD, deadline=3).returncode
    error = host.key("hotplug-error") or ""
    assert f"the session with {TARGET} has lost it" in error
    assert (host.root / "sys/class/iscsi_session/session1").exists()
    host.know(portals="192.0.2.10:3260 192.0.2.11:3260")
    assert 0 == host.run("check", ID, deadline=4).returncode
    assert ["192.0.2.10:3260"] == [login.portal for login in parse(host.run("show").stdout).logins]


@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        ("proc/mounts", "/dev/sda1 /mnt ext4 rw 0 0\n", "/dev/sda is mounted in dom0"),
        ("proc/swaps", "/dev/sda2 partition 1 0 -2\n", "/dev/sda is mounted in dom0"),
        ("sys/class/block/sda/sda2/holders/dm-3", "", "/dev/sda is used by dom0 itself (dm-3)"),
    ],
)
def test_what_dom0_uses_itself(host: Host, where: str, what: str, error: str) -> None:
    """Also by a partition, as LVM does with a guest's own volume groups."""
    (host.root / where).parent.mkdir(parents=True, exist_ok=True)
    (host.root / where).write_text(what)
    host.vbd()
    assert 1 == host.add().returncode
    assert f"web1/root: {error}" == host.key("hotplug-error")


def test_a_writer_by_another_device(host: Host) -> None:
    """The same volume through another session or map has another number: it is the volume that counts."""
    other = VBD.replace("/7/", "/8/")
    host.vbd()
    host.vbd(other, **{"physical-device": "fd:0"})
    assert 1 == host.add().returncode
    assert "web1/root: is attached to domain 8 already (mode w asked for)" == host.key("hotplug-error")


def test_a_domain_without_a_vm_is_somebody(host: Host) -> None:
    """dom0 itself, to which an admin attached the disk for a repair."""
    other = VBD.replace("/7/", "/0/")
    host.vbd(other, **{"physical-device": "8:10"})
    store = host.root / "xenstore"
    store.write_text("".join(line for line in store.read_text().splitlines(True) if "/0/vm = " not in line))
    host.vbd()
    assert 1 == host.add().returncode
    assert "is attached to domain 0" in (host.key("hotplug-error") or "")


def test_a_login_that_comes_late(host: Host) -> None:
    """iscsid goes on with what its iscsiadm was killed over: the session is logged out by the remove that follows."""
    (host.root / "late-192.0.2.10:3260").write_text("6\n")
    host.vbd()
    assert 1 == host.run("add", vbd=VBD, deadline=4).returncode
    ports = host.root / "sys/class/iscsi_connection"
    end = time.monotonic() + 20
    while not list(ports.glob("*/persistent_port")) and time.monotonic() < end:
        time.sleep(0.1)
    assert [TARGET] == [login.target for login in parse(host.run("show").stdout).logins]
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert [] == host.left()


def test_a_login_that_comes_after_remove(dash: Host) -> None:
    """libxl calls remove at once: it keeps what it knows until the login has come, or cannot come any more."""
    (dash.root / "late-192.0.2.10:3260").write_text("7\n")
    dash.vbd()
    assert 1 == dash.run("add", vbd=VBD, deadline=4).returncode
    assert 1 == dash.run("remove", vbd=VBD).returncode
    (dash.root / "xenstore").write_text("/local/domain/0/name = Domain-0\n")
    end = time.monotonic() + 20
    while not list((dash.root / "sys/class/iscsi_connection").glob("*/persistent_port")) and time.monotonic() < end:
        time.sleep(0.1)
    assert 0 == dash.run("sweep").returncode
    assert [] == dash.left()


def test_killed_before_the_login(dash: Host) -> None:
    """The node record is there, the session is not: remove alone takes the record and its secret away."""
    record = _by_hand(dash, ("-o", "new"))
    made = dash.root / "etc/xvmstore/records" / TARGET
    made.mkdir(parents=True)
    (made / "192.0.2.10:3260").touch()
    run = dash.root / "var/run/xvmstore"
    run.mkdir()
    (run / f"session_{TARGET}").write_text("192.0.2.10:3260\n")
    (run / "use_backend_vbd_7_51712").write_text(f"id={ID}\nvolume=web1/root\ntarget={TARGET}\nlun=1\n")
    (dash.root / "var/lib/iscsi").mkdir(parents=True)
    half = dash.root / "var/lib/iscsi" / f".xvmstore-{TARGET}"
    half.touch()
    assert 0 == dash.run("remove", vbd=VBD).returncode
    assert ([], False, False) == (dash.left(), record.exists(), half.exists())


def test_mounted_in_dom0_after_login(dash: Host) -> None:
    """A LUN that the login itself brought in, and an admin mounted: its session stays until it is unmounted."""
    assert 0 == dash.run("login", ID).returncode
    use = dash.root / "var/run/xvmstore" / f"use_login_{ID}"
    use.write_text(use.read_text().replace("scanned=yes", "scanned="))
    (dash.root / "proc/mounts").write_text("/dev/sda1 /mnt ext4 rw 0 0\n")
    out = dash.run("logout", ID)
    assert (1, True) == (out.returncode, "is mounted in dom0" in out.stderr)
    assert [TARGET] == [login.target for login in parse(dash.run("show").stdout).logins]
    (dash.root / "proc/mounts").write_text("")
    assert (0, []) == (dash.run("logout", ID).returncode, dash.left())


def test_two_that_could_not_let_go(dash: Host) -> None:
    """They do not keep each other's session: the second remove logs it out."""
    run = dash.root / "var/run/xvmstore"
    assert 0 == dash.run("login", ID).returncode
    (run / "use_backend_vbd_8_51712").write_text(f"id={'0' * 32}\ntarget={TARGET}\nlun=2\ngone=yes\n")
    assert 0 == dash.run("logout", ID).returncode
    assert () == parse(dash.run("show").stdout).logins
    assert 0 == dash.run("sweep").returncode
    assert [] == dash.left()


def test_a_session_kept_for_anothers_disk(dash: Host) -> None:
    """Somebody scanned, and another LUN hangs on our session: it goes when that has gone."""
    assert 0 == dash.run("login", ID).returncode
    other = dash.root / "sys/class/scsi_device/3:0:0:9/device/block/sdz"
    other.mkdir(parents=True)
    assert 0 == dash.run("logout", ID).returncode
    assert [TARGET] == [login.target for login in parse(dash.run("show").stdout).logins]
    assert 0 == dash.run("sweep").returncode
    assert [TARGET] == [login.target for login in parse(dash.run("show").stdout).logins]
    for lun in (1, 9):
        shutil.rmtree(dash.root / f"sys/class/scsi_device/3:0:0:{lun}")
    assert 0 == dash.run("sweep").returncode
    assert [] == dash.left()


def test_boot_without_volumes(dash: Host) -> None:
    """Nothing to wait for."""
    (dash.root / "etc/xvmstore/volumes" / ID).unlink()
    assert 0 == dash.run("boot", "5").returncode


def test_the_device_is_inherited(host: Host) -> None:
    """Who found it leaves first: who leaves last lets go of it."""
    host.vbd()
    assert 0 == host.add().returncode
    assert 0 == host.run("login", ID).returncode
    assert 0 == host.run("remove", vbd=VBD).returncode
    assert 0 == host.run("logout", ID).returncode
    assert "1" == (host.root / "deleted").read_text().strip()
    assert [] == host.left()


def test_remove_brings_no_vbd_back(dash: Host) -> None:
    """A remove that fails, after xend has forgotten the vbd, writes nothing to xenstore: sweep must see it is gone."""
    dash.vbd()
    assert 0 == dash.add().returncode
    backend = dash.root / "sys/bus/xen-backend/devices/vbd-9-51712"
    backend.mkdir(parents=True)
    (backend / "physical_device").write_text("8:10\n")
    (dash.root / "xenstore").write_text("/local/domain/0/name = Domain-0\n")
    assert 1 == dash.run("remove", vbd=VBD).returncode
    assert "/local/domain/0/name = Domain-0\n" == (dash.root / "xenstore").read_text()
    assert [0, 1] == [dash.run("sweep", whose).returncode for whose in ("0" * 32, ID)]


def test_boot_names_what_it_cannot_have(dash: Host) -> None:
    """What is wired by path comes first, whatever its name; what fails is named, and does not hold up the others."""
    maps = dash.root / "etc/xvmstore/volumes"
    good = (maps / ID).read_text()
    dead = good.replace("192.0.2.10", "192.0.2.99").replace("web1/root", "dead/root").replace(TARGET, TARGET + "dead")
    (dash.root / "rc-192.0.2.99:3260").write_text("8\n")
    (maps / "0").write_text(dead)
    (maps / ID).write_text(good + "boot=login\n")

    said = dash.run("boot", "0")
    assert (1, 2) == (said.returncode, said.stderr.count("not there after 0 s; its guest cannot start"))
    said = dash.run("boot", "3")
    assert (1, ["login_" + ID]) == (said.returncode, [use.name for use in parse(dash.run("show").stdout).uses])
    assert "dead/root: not there after 3 s" in said.stderr
    (maps / "0").unlink()
    assert 0 == dash.run("boot", "5").returncode


def test_sweep_lets_go_of_what_nobody_has(host: Host) -> None:
    """A vbd that xenstore does not have any more; never one it has, and none at all when xenstore does not answer."""
    host.vbd()
    assert 0 == host.add().returncode
    before = host.left()
    assert (0, before) == (host.run("sweep").returncode, host.left())
    (host.root / "xenstore").write_text("")
    said = host.run("sweep")
    assert (1, True, before) == (said.returncode, "xenstore does not answer" in said.stderr, host.left())
    (host.root / "xenstore").write_text("/local/domain/0/name = Domain-0\n")
    backend = host.root / "sys/bus/xen-backend/devices/vbd-7-51712"
    backend.mkdir(parents=True)
    assert (0, before) == (host.run("sweep").returncode, host.left())
    backend.rmdir()
    assert (0, []) == (host.run("sweep").returncode, host.left())


def test_grow(host: Host) -> None:
    """Nothing to do where it is not; else it waits until the kernel has the size."""
    assert (0, "") == (host.run("grow", ID, str(2 << 30)).returncode, host.run("grow", ID, "1024").stdout)
    assert 0 == host.run("login", ID).returncode
    said = host.run("grow", ID, str(2 << 30), deadline=3)
    assert (1, True) == (said.returncode, f"{2 << 30} bytes: the kernel sees {1 << 30}" in said.stderr), said.stderr
    (host.root / "sys/class/block/sda/size").write_text(f"{2 << 21}\n")
    said = host.run("grow", ID, str(2 << 30))
    assert (0, f"/dev/sda {2 << 30}\n") == (said.returncode, said.stdout), said.stderr


def test_grow_of_a_map(host: Host) -> None:
    """The map is what the guest uses: it grows, also if multipathd refuses once and one path is not in it."""
    host.know(portals="192.0.2.10:3260 192.0.2.11:3260", multipath="yes")
    blocks = host.root / "sys/class/block"
    (blocks / "dm-3/dm").mkdir(parents=True)
    for name, value in {"size": 1 << 21, "dev": "253:3", "dm/uuid": "mpath-3600144f0", "dm/name": "web1"}.items():
        (blocks / "dm-3" / name).write_text(f"{value}\n")
    (host.root / "bin/multipathd").write_text(
        f"""#!/bin/sh
        [ "$*" = "resize map web1" ] && [ ! -e {blocks}/busy ] || exec rm {blocks}/busy
        echo {2 << 21} >{blocks}/dm-3/size
        """
    )
    (host.root / "bin/multipath").write_text(
        f"#!/bin/sh\n[ $1 = -a ] || for path in sda sdb; do : >{blocks}/$path/holders/dm-3; done\n"
    )
    said = host.run("login", ID)
    assert 0 == said.returncode, said.stderr
    (blocks / "sdb/holders/dm-3").unlink()
    (blocks / "busy").touch()
    said = host.run("grow", ID, str(2 << 30))
    assert (0, f"/dev/dm-3 {2 << 30}\n") == (said.returncode, said.stdout), said.stderr


def test_a_map_that_others_look_at(host: Host) -> None:
    """For moments: udev has not done with a path when the map is to be made, and has it open when it is to go."""
    host.know(portals="192.0.2.10:3260 192.0.2.11:3260", multipath="yes")
    blocks, late = host.root / "sys/class/block", host.root / "late"
    (host.root / "bin/multipath").write_text(
        f"""#!/bin/sh
        [ $1 != -a ] || exit 0
        once={late}${{1##*/}}
        [ -e "$once" ] || {{ : >"$once"; exit 1; }}
        [ $1 != -f ] || exec rm -r {blocks}/dm-3 {blocks}/sda/holders/dm-3 {blocks}/sdb/holders/dm-3
        mkdir -p {blocks}/dm-3/dm
        echo {1 << 21} >{blocks}/dm-3/size
        echo 253:3 >{blocks}/dm-3/dev
        echo mpath-3600144f0 >{blocks}/dm-3/dm/uuid
        echo web1 >{blocks}/dm-3/dm/name
        for path in sda sdb; do : >{blocks}/$path/holders/dm-3; done
        """
    )

    said = host.run("check", ID)

    assert (0, f"/dev/mapper/web1 {1 << 30}\n", "") == (said.returncode, said.stdout, said.stderr)
    assert [] == host.left()


def test_a_map_it_does_not_understand(host: Host) -> None:
    """Refused, rather than half of it used."""
    host.know(colour="blue")
    said = host.run("check", ID)
    assert (1, True) == (said.returncode, "unknown line colour" in said.stderr)
    host.know(lun="")
    assert "is not complete" in host.run("check", ID).stderr


def test_without_a_word(host: Host) -> None:
    """It says what it is for; add and remove are for a toolstack."""
    said = host.run()
    assert (2, True) == (said.returncode, "block-xvmstore login ID" in said.stderr)
    assert "XENBUS_PATH is not set" in host.run("add").stderr


def test_the_script_says_what_maps_it_reads() -> None:
    """By which a dom0 with another release's script is told apart."""
    assert FORMAT in text().splitlines()[:9]
