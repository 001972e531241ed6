"""Guests' disks on a Solaris dom0: the command line, an embedded node over SSH, and a dom0 made of small programs.

The dom0's iscsiadm logs in to the node's real target, and prints and ends as the real one does; xm, virsh and
xenstore-ls are as those of xVM's Xen 3.1.2, as far as their sources tell. They refuse every word they do not know.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0 import solaris_iscsi
from tests.contract.node import Said
from tests.node.live import LiveNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("tgtd") or not shutil.which("iscsi-inq"), reason="needs tgt and libiscsi-bin"),
]
FAKES = Path(__file__).parents[1] / "dom0/fakes/solaris"
SERVICES = ("svc:/network/iscsi/initiator:default online", "svc:/application/xvmstore/luns:default online")
DOMID = "5"


class SolarisDom0:
    """A Solaris dom0 made of files, on which one guest runs, and the storage node that serves it."""

    def __init__(self, root: Path, node: LiveNode, guest: str, toolstack: str) -> None:
        self.root, self.node, self.guest = root, node, guest
        for folder in ("sessions", "links", "pids"):
            (root / folder).mkdir(parents=True)
        self.write("services", *SERVICES)
        self.write("discovery", "disabled")
        self.write("mpxio", "on")
        self.write("size", "1073741824")
        self.write("initiator", node.initiator, "xen1", node.secret)
        self.write("domains", f"{guest} {DOMID}")
        for name in ("static", "xenstore", "calls", "luns"):
            self.write(name)
        settings = f'host = "xvm1"\ntransport = "local"\nsystem = "solaris"\nxen = "3.1.2"\ntoolstack = "{toolstack}"\n'
        self.config = root / "config.toml"
        self.config.write_text(node.config.read_text().replace("[dom0s.xen1]\n", f"[dom0s.xen1]\n{settings}"))

    def write(self, name: str, *lines: str) -> None:
        """One of the files the programs look at."""
        (self.root / name).write_text("".join(f"{line}\n" for line in lines))

    def lines(self, name: str) -> list[str]:
        """The same, read."""
        return (self.root / name).read_text().splitlines()

    def xvm(self, *arguments: str) -> Said:
        """Run the command line; forgets what was called before."""
        self.write("calls")
        return self.node.xvm(*arguments, config=self.config)

    def did(self, *arguments: str) -> list[str]:
        """Run it, successfully; what it changed on dom0, in order."""
        said = self.xvm(*arguments)
        assert 0 == said.exit, said.err
        return self.changes()

    def changes(self) -> list[str]:
        """What was called since, but for questions."""
        asks = (" list", " domid", " info", " version", "devfsadm ")
        return [line for line in self.lines("calls") if not any(word in line for word in asks)]

    def create(self, disk: str) -> dict[str, Any]:
        """A volume of the guest's."""
        said = self.xvm("volume", "create", f"{self.guest}/{disk}", "--size", "1G", "--json")
        assert 0 == said.exit, said.err
        made: dict[str, Any] = said.json
        self.write("luns", *self.lines("luns"), str(made["lun"] or 0))
        return made

    def shown(self, disk: str) -> dict[str, Any]:
        """What the node says of it now."""
        found: dict[str, Any] = self.xvm("volume", "show", f"{self.guest}/{disk}", "--json").json
        return found

    def boot(self, device: str = "/dev/dsk/c1t0d0p0") -> None:
        """The guest starts from this device."""
        at = f"/local/domain/0/backend/vbd/{DOMID}/0"
        keys = {"params": device, "dev": "0", "state": "4", "sectors": "2097152", "hotplug-status": "connected"}
        self.write("xenstore", *(f"{at}/{key} = {value}" for key, value in keys.items()))

    def vbd(self, place: int) -> dict[str, str]:
        """A vbd in xenstore; {} where there is none."""
        at = f"/local/domain/0/backend/vbd/{DOMID}/{place}/"
        rows = [line.removeprefix(at).partition(" = ") for line in self.lines("xenstore") if line.startswith(at)]
        return {key: value for key, _, value in rows}

    def close(self) -> None:
        """Log out of what a test left."""
        for file in (self.root / "pids").iterdir():
            os.kill(int(file.read_text()), signal.SIGTERM)
        limit = time.monotonic() + 30
        while any((self.root / "pids").iterdir()):
            assert time.monotonic() < limit, "a session does not end"
            time.sleep(0.05)


Make = Callable[..., SolarisDom0]


@pytest.fixture
def make(
    shared_nodes: Callable[[str], LiveNode], guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Makes the dom0 of a test, by the node's flavour and the toolstack."""
    made: list[SolarisDom0] = []

    def of(flavour: str = "illumos", toolstack: str = "xm", *, node: LiveNode | None = None) -> SolarisDom0:
        made.append(SolarisDom0(tmp_path / "dom0", node or shared_nodes(flavour), guest, toolstack))
        return made[-1]

    (tmp_path / "locks").mkdir()
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOM0", str(tmp_path / "dom0"))
    monkeypatch.setenv("FAKE_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("XVMSTORE_LOCKS", str(tmp_path / "locks"))
    yield of
    for one in made:
        one.close()


@pytest.fixture(params=["xm", "libvirt"])
def dom0(request: pytest.FixtureRequest, make: Make) -> SolarisDom0:
    """With each toolstack, served by illumos."""
    return make("illumos", request.param)


def _attached(dom0: SolarisDom0, device: str, place: int) -> str:
    """How the toolstack is told."""
    if "libvirt" in dom0.config.read_text():
        return f"virsh attach-disk {DOMID} {device} {place} --driver phy"
    return f"xm block-attach {DOMID} phy:{device} {place} w"


def _detached(dom0: SolarisDom0, place: int) -> str:
    verb = "virsh detach-disk" if "libvirt" in dom0.config.read_text() else "xm block-detach"
    return f"{verb} {DOMID} {place}"


def test_a_disks_life(dom0: SolarisDom0) -> None:
    """Prepared, shown, attached, told of, detached and forgotten; each again changes nothing, and nothing is left."""
    root, data = dom0.create("root"), dom0.create("data")
    configs = [f"{one['target']},{one['portals'][0]}" for one in (root, data)]
    devices = [f"/dev/dsk/c0t{one['guid']}d0p0" for one in (root, data)]
    prepare, forget = (("guest", verb, dom0.guest, "--dom0", "xen1") for verb in ("prepare", "forget"))
    attach, detach = (("guest", verb, data["name"], "--dom0", "xen1") for verb in ("attach", "detach"))

    enabled = "iscsiadm modify discovery --static enable"
    first, *others = dom0.did(*prepare)
    assert (enabled, sorted(f"iscsiadm add static-config {one}" for one in configs)) == (first, sorted(others))
    assert [] == dom0.did(*prepare)
    assert [dom0.node.initiator] == dom0.shown("root")["sessions"], "it is a real session"

    dom0.boot(devices[0])
    lines = dom0.xvm("guest", "disks", dom0.guest).out
    assert all(device in lines for device in devices)
    assert ("virsh" in _detached(dom0, 1)) is lines.startswith("<disk ")

    assert [_attached(dom0, devices[1], 1)] == dom0.did(*attach)
    assert (devices[1], "1", "4") == tuple(dom0.vbd(1)[key] for key in ("params", "dev", "state"))
    again = dom0.xvm(*attach, "--json")
    assert ("unchanged", "xvdb", "connected") == tuple(again.json[key] for key in ("action", "vdev", "state"))
    assert [] == dom0.changes()

    (found,) = [one for one in dom0.xvm("guest", "list", "--json").json if one["name"] == dom0.guest]
    assert ("xen1", 5, [(root["name"], "xvda", "connected"), (data["name"], "xvdb", "connected")], []) == (
        found["dom0"],
        found["domid"],
        [(one["volume"], one["vdev"], one["state"]) for one in sorted(found["attached"], key=lambda one: one["vdev"])],
        found["trouble"],
    )

    refused = dom0.xvm(*forget)
    assert (1, True) == (refused.exit, f"a disk of {dom0.guest} is in use there: detach it" in refused.err)
    assert dom0.vbd(1)

    assert [_detached(dom0, 1), f"iscsiadm remove static-config {configs[1]}"] == dom0.did(*detach)
    assert [] == dom0.did(*detach)
    assert {} == dom0.vbd(1)
    refused = dom0.xvm("guest", "detach", root["name"], "--dom0", "xen1")
    assert (1, True) == (refused.exit, f"is the disk {dom0.guest} started from" in refused.err)

    dom0.write("xenstore")
    dom0.write("domains")
    dom0.did(*forget)
    assert [] == dom0.did(*forget)
    assert ([], []) == (dom0.lines("static"), dom0.shown("root")["sessions"])


def test_the_guid_comes_with_the_first_login(make: Make) -> None:
    """iscsitgtd gives an LU its GUID then: attached at once, by what the initiator calls it; a line is there later."""
    dom0 = make("b85")
    made = dom0.create("data")
    assert made["guid"] is None
    none = dom0.xvm("guest", "disks", dom0.guest)
    assert (1, True) == (none.exit, f"log in once by `xvmstore guest prepare {dom0.guest} --dom0 NAME`" in none.err)

    said = dom0.xvm("guest", "attach", made["name"], "--dom0", "xen1", "--json")
    assert (0, "attached", "xvda") == (said.exit, said.json["action"], said.json["vdev"]), said.err
    device = dom0.vbd(0)["params"]
    guid = dom0.shown("data")["guid"]
    assert f"/dev/dsk/c0t{guid}d0p0" == device
    assert f"'phy:{device},0,w'" in dom0.xvm("guest", "disks", dom0.guest).out
    assert [] == dom0.did("guest", "attach", made["name"], "--dom0", "xen1")

    refused = dom0.xvm("guest", "detach", made["name"], "--dom0", "xen1")
    assert (1, True) == (refused.exit, f"is the disk {dom0.guest} started from" in refused.err)
    dom0.did("guest", "detach", made["name"], "--dom0", "xen1", "--force")
    assert ([], []) == (dom0.lines("xenstore"), dom0.lines("static"))


def test_without_multipathing(make: Make) -> None:
    """Devices have no GUID in their names: attached, recognised and detached by what the initiator calls them."""
    dom0 = make()
    dom0.write("mpxio", "off")
    dom0.create("root")
    made = dom0.create("data")
    name = ("guest", "attach", made["name"], "--dom0", "xen1")

    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    dom0.boot()
    place = dom0.lines("targets").index(made["target"]) + 1
    assert [f"xm block-attach {DOMID} phy:/dev/dsk/c3t{place}d{made['lun']}p0 1 w"] == dom0.did(*name)
    assert [] == dom0.did(*name)
    (found,) = [one for one in dom0.xvm("guest", "list", "--json").json if one["name"] == dom0.guest]
    assert [(made["name"], "xvdb", "connected")] == [
        (one["volume"], one["vdev"], one["state"]) for one in found["attached"]
    ]
    dom0.did("guest", "detach", made["name"], "--dom0", "xen1")
    assert {} == dom0.vbd(1)


def test_a_device_name_that_is_taken(make: Make) -> None:
    """xVM knows disks by their place: another disk there is found out before anything is changed."""
    dom0 = make()
    made = dom0.create("data")
    dom0.boot()

    said = dom0.xvm("guest", "attach", made["name"], "--dom0", "xen1")
    assert (1, True) == (said.exit, f"in {dom0.guest}, 0 is dsk/c1t0d0p0 already" in said.err)
    assert [] == [line for line in dom0.changes() if "static-config" in line or "block-attach" in line]


def test_the_initiator_is_off(make: Make) -> None:
    """Said in one line, with what to do; nothing was changed."""
    dom0 = make()
    made = dom0.create("data")
    dom0.write("services", "svc:/network/iscsi/initiator:default disabled")

    said = dom0.xvm("guest", "attach", made["name"], "--dom0", "xen1")
    assert (1, 1) == (said.exit, said.err.count("\n"))
    assert "its iSCSI initiator is off: `svcadm enable network/iscsi/initiator`" in said.err
    assert [] == dom0.lines("static")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("initiator", "{initiator}\nxen1\nwrong-secret-12\n", "not logged in to {target}: it is down, does not let"),
        ("no-links", "", "LUN {lun} of {target} has no device: devfsadm -i iscsi"),
    ],
)
def test_no_device(make: Make, monkeypatch: pytest.MonkeyPatch, file: str, text: str, words: str) -> None:
    """What it waited for in vain, in one line; the static target that was added for it is gone again."""
    monkeypatch.setattr(solaris_iscsi, "SECONDS", 2)
    dom0 = make()
    made = dom0.create("data")
    (dom0.root / file).write_text(text.format(initiator=dom0.node.initiator))

    said = dom0.xvm("guest", "attach", made["name"], "--dom0", "xen1")
    assert (1, 1) == (said.exit, said.err.count("\n"))
    assert f"after 2 s: {words.format(**made)}" in said.err
    assert ([], []) == (dom0.lines("static"), dom0.lines("xenstore"))


def test_another_lu(make: Make) -> None:
    """A LUN with another GUID than the one recorded is not given to a guest."""
    dom0 = make()
    made = dom0.create("data")
    other = "600144F0FFFFFFFFFFFFFFFFFFFFFFFF"
    (dom0.root / "sessions" / made["target"]).write_text(f"{made['lun']} {other}\n")
    (dom0.root / "links" / made["target"]).touch()

    said = dom0.xvm("guest", "attach", made["name"], "--dom0", "xen1")
    assert (1, True) == (said.exit, f"LUN {made['lun']} of {made['target']} is {other}, not {made['guid']}" in said.err)
    assert ([], []) == (dom0.lines("static"), dom0.lines("xenstore"))


def test_a_hotplug_script_that_fails(dom0: SolarisDom0) -> None:
    """The vbd it leaves is detached and the login taken back; when it works again, so does the same command."""
    dom0.create("root")
    made = dom0.create("data")
    name = ("guest", "attach", made["name"], "--dom0", "xen1")
    (dom0.root / "fail-attach").touch()

    said = dom0.xvm(*name)
    assert (1, True) == (said.exit, "Hotplug scripts not working" in said.err)
    assert ([], []) == (dom0.lines("static"), dom0.lines("xenstore"))
    (dom0.root / "fail-attach").unlink()
    dom0.did(*name)
    assert "4" == dom0.vbd(1)["state"]


def test_in_use_after_the_detach(make: Make) -> None:
    """The initiator keeps what dom0 has open: told as half done, and the same command finishes it."""
    dom0 = make()
    dom0.create("root")
    made = dom0.create("data")
    dom0.boot()
    dom0.did("guest", "attach", made["name"], "--dom0", "xen1")
    (dom0.root / "busy").touch()

    said = dom0.xvm("guest", "detach", made["name"], "--dom0", "xen1")
    assert (3, True) == (said.exit, "Logical unit in use" in said.err)
    (dom0.root / "busy").unlink()
    dom0.did("guest", "detach", made["name"], "--dom0", "xen1")
    assert [] == dom0.lines("static")


def test_a_shared_target_stays_logged_in(make: Make, fresh: Callable[[str], LiveNode]) -> None:
    """One login is for all LUNs of b111's target: it goes with the last of them that this dom0 may see."""
    dom0 = make(node=fresh("b111"))
    root, data = dom0.create("root"), dom0.create("data")
    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")
    assert [f"{root['target']},{root['portals'][0]}"] == dom0.lines("static")

    dom0.boot()
    dom0.did("guest", "attach", data["name"], "--dom0", "xen1")
    assert [f"xm block-detach {DOMID} 1"] == dom0.did("guest", "detach", data["name"], "--dom0", "xen1")
    assert 1 == len(dom0.lines("static"))
    dom0.did("guest", "forget", dom0.guest, "--dom0", "xen1")
    assert [] == dom0.lines("static")


def test_grow(make: Make) -> None:
    """xdb never looks again: said at once, and a new attach has the new size."""
    dom0 = make()
    dom0.create("root")
    made = dom0.create("data")
    dom0.did("guest", "attach", made["name"], "--dom0", "xen1")

    began = time.monotonic()
    said = dom0.xvm("guest", "grow", made["name"], "--size", "2G")
    assert (0, True) == (said.exit, "a Solaris back end: the guest will see it when it starts again" in said.out), (
        said.err
    )
    assert time.monotonic() - began < 10
    assert [] == dom0.changes()


def test_check(dom0: SolarisDom0) -> None:
    """All is well, then one fault after the other, each named with what to do."""
    made = dom0.create("root")
    dom0.did("guest", "prepare", dom0.guest, "--dom0", "xen1")

    def failed() -> dict[str, str]:
        said = dom0.xvm("node", "check", "xen1", "--json")
        return {one["what"]: one["found"] for one in said.json if not one["ok"]}

    assert {} == ({} if os.getuid() == 0 else {"rights": failed()["rights"]}) | failed()
    dom0.write("discovery", "disabled")
    os.kill(int((dom0.root / "pids" / made["target"]).read_text()), signal.SIGTERM)
    limit = time.monotonic() + 30
    while (dom0.root / "sessions" / made["target"]).exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    dom0.write("services", SERVICES[0])
    found = failed()
    assert ("disabled", f"not logged in to {made['target']}", "no such service") == (
        found["static discovery"], found["targets"], found["boot order"],
    )  # fmt: skip
    dom0.write("services", "svc:/network/iscsi/initiator:default maintenance")
    found = failed()
    assert ("maintenance", "unknown") == (found["iSCSI initiator"], found["static discovery"])
