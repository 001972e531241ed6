"""block-xvmstore in a real Xen with a real initiator, where the stock script fails: the table in docs/dom0.md.

Each case attaches with xl itself, below the command line, which would refuse most of them beforehand.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guests import Guest, start
from tests.lab.live import THOROUGH, Dom0, LabNode

GIB = 1 << 30
MAPS = "/etc/xvmstore/volumes"


@pytest.fixture(scope="module")
def dom0(node: LabNode) -> Dom0:
    """With the script installed."""
    assert 0 == node.xvm("guest", "install-script", "--dom0", "xen1").exit
    return Dom0(node)


@pytest.fixture(scope="module")
def first(node: LabNode, dom0: Dom0) -> Iterator[Guest]:
    """A guest that runs all the while."""
    found = start(node, dom0, "first", "root")
    yield found
    found.destroy()


@dataclass
class Attached:
    """How xl block-attach ended."""

    exit: int
    said: str
    seconds: float


def _report(case: str, **facts: object) -> None:
    """The figures of the table in docs/dom0.md: pytest -s shows them."""
    print(case, json.dumps(facts))  # noqa: T201


def _xl(dom0: Dom0, *words: str) -> Attached:
    began = time.monotonic()
    said = dom0.run(f"xl {' '.join(words)} 2>&1; echo $?")
    *lines, code = said.splitlines()
    return Attached(int(code), "\n".join(lines), time.monotonic() - began)


def _attach(dom0: Dom0, guest: str, vdev: str, made: dict[str, Any]) -> Attached:
    line = f"format=raw, vdev={vdev}, access=rw, script=block-xvmstore, target={made['guid'].lower()}"
    said = _xl(dom0, "block-attach", guest, f"'{line}'")
    _report(f"ours {made['name']}", exit=said.exit, seconds=said.seconds)
    return said


def _stock(dom0: Dom0, guest: str, vdev: str, made: dict[str, Any], extra: str = "") -> Attached:
    target = f"iqn={made['target']},portal={made['portals'][0]}{extra}"
    return _xl(
        dom0, "block-attach", guest, f"'format=raw, vdev={vdev}, access=rw, script=block-iscsi, target={target}'"
    )


def _made(node: LabNode, name: str, config: Path | None = None) -> dict[str, Any]:
    """A new volume that dom0 knows."""
    made = node.xvm("volume", "create", name, "--size", "1G", "--json", config=config)
    assert 0 == made.exit, made.err
    prepared = node.xvm("guest", "prepare", name.split("/", maxsplit=1)[0], "--dom0", "xen1", config=config)
    assert 0 == prepared.exit, prepared.err
    found: dict[str, Any] = made.json
    return found


def _refused(dom0: Dom0, first: Guest, made: dict[str, Any], text: str, *, within: float) -> None:
    """An attach that fails in time, with its reason, and leaves nothing once xl has taken its vbd away, quickly."""
    said, traces = _attach(dom0, first.name, "xvdb", made), dom0.traces(made)
    gone = _xl(dom0, "block-detach", first.name, "xvdb")
    _report(f"ours {made['name']}", detach=gone.seconds)
    assert (1, True) == (said.exit, f"script: {made['name']}: {text}" in said.said), said.said
    assert said.seconds < within
    assert {"vbds"} >= set(traces)
    assert (0, True) == (gone.exit, gone.seconds < 20)
    assert {} == dom0.traces(made)


@pytest.fixture(scope="module")
def shared(node: LabNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target with many LUNs."""
    lines = 'layout = "shared-target"\ntarget = "iqn.2026-11.org.xvmstore:shared"'
    return node.variant(tmp_path_factory.mktemp("shared"), node=lines)


def test_two_luns_on_one_target(node: LabNode, dom0: Dom0, first: Guest, shared: Path) -> None:
    """Each guest gets the LUN it was promised; they share one session, which stays until the last has left."""
    one, two = (_made(node, f"many/{disk}", shared) for disk in ("one", "two"))
    other = start(node, dom0, "second", "root")
    try:
        assert [0, 0] == [
            _attach(dom0, guest, "xvdb", made).exit for guest, made in ((first.name, one), (other.name, two))
        ]
        for guest, made in ((first, one), (other, two)):
            guest.saw("GUEST-DISK xvdb")
            guest.does(f"printf {made['name']} | dd of=/dev/xvdb bs=512 conv=sync,fsync 2>/dev/null")
        assert ["many/one", "many/two"] == [
            node.shell(f"dd if=/dev/zvol/{made['dataset']} bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\\0'")
            for made in (one, two)
        ]
        assert dom0.traces(one)["sessions"] == dom0.traces(two)["sessions"]

        assert 0 == _xl(dom0, "block-detach", first.name, "xvdb").exit

        assert {"sessions", "records"} == set(dom0.traces(one))
        other.does("dd if=/dev/xvdb bs=512 count=1 iflag=direct 2>/dev/null | grep -q many/two")
        assert 0 == _xl(dom0, "block-detach", other.name, "xvdb").exit
        assert {} == dom0.traces(two)
    finally:
        other.destroy()


def test_wrong_chap(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """Told so, within seconds."""
    made = _made(node, "chap/root")
    dom0.run(f"sed -i 's/^secret=.*/secret=not-the-secret-at-all/' {MAPS}/{made['guid'].lower()}")
    _refused(dom0, first, made, "CHAP was refused by 10.77.0.1:3260", within=25)


def test_unknown_target(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """Told so within seconds, and detached within seconds."""
    made = _made(node, "unknown/root")
    dom0.run(f"sed -i 's/^target=.*/target=iqn.2026-11.org.xvmstore:nobody/' {MAPS}/{made['guid'].lower()}")
    _refused(
        dom0,
        first,
        made,
        "no answer at 10.77.0.1:3260: it is down, or has no target iqn.2026-11.org.xvmstore:nobody",
        within=25,
    )


def test_portal_down(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """Told so by the script itself, before libxl would kill it."""
    made = _made(node, "down/root")
    dom0.run(f"sed -i 's/^portals=.*/portals=10.77.0.99:3260/' {MAPS}/{made['guid'].lower()}")
    _refused(dom0, first, made, "no answer at 10.77.0.99:3260", within=39)


def test_another_lu_under_the_lun(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """The device is there, and is not the volume's: no guest gets it."""
    made = _made(node, "wrong/root")
    dom0.run(f"sed -i 's/^wwid=.*/wwid=naa.60014050000000000000000000000000/' {MAPS}/{made['guid'].lower()}")
    wrong = f"LUN 0 of {made['target']} is naa.{made['guid'].lower()}, not naa.60014050000000000000000000000000"
    _refused(dom0, first, made, wrong, within=25)


def test_a_second_guest_on_the_same_volume(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """It does not start, is told why, and the first one goes on reading and writing."""
    disks = node.xvm("guest", "disks", "first").out
    config = dom0.run(f"cat /root/{first.name}.cfg").replace('name = "first"', 'name = "thief"')
    assert "script=block-xvmstore" in disks
    dom0.run(f"cat >/root/thief.cfg <<'END'\n{config}END")

    said = _xl(dom0, "create", "-q", "/root/thief.cfg")

    assert (3, True) == (said.exit, "script: first/root: is attached to domain" in said.said), said.said
    first.does("dd if=/dev/zero of=/dev/xvda bs=512 count=1 conv=fsync 2>/dev/null")


def test_the_node_reboots_while_a_guest_writes(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """The guest's write waits, and ends; no error reaches it."""
    mark = "GUEST-OUTAGE-OVER"
    node.lab.ssh(node.lab.storage, "systemctl poweroff", seconds=30)
    node.lab.storage.wait_for_the_end(120)
    write = "dd if=/dev/zero of=/dev/xvda bs=4096 seek=9 count=1 conv=fsync 2>/dev/null"
    typed = f"{write} && echo {mark[:7]}''{mark[7:]}"
    dom0.run(f'echo "{typed}" >$(xenstore-read /local/domain/$(xl domid {first.name})/console/tty)')
    node.lab.boot(node.lab.storage)

    first.saw(f"^{mark}", seconds=180)


def test_ipv6(node: LabNode, dom0: Dom0, first: Guest, tmp_path: Path) -> None:
    """A portal with an IPv6 address, from the volume's creation to the guest's disk and back."""
    node.shell("ip addr add fd00:77::1/64 dev eth1 nodad 2>/dev/null || :")
    dom0.run("ip addr add fd00:77::2/64 dev eth1 nodad 2>/dev/null || :")
    config = node.variant(tmp_path, node='portals = ["[fd00:77::1]:3260"]\nlisten = ["[fd00:77::1]:3260"]')
    made = _made(node, "six/root", config)

    said = _attach(dom0, first.name, "xvdb", made)
    assert 0 == said.exit, said.said
    first.saw("GUEST-DISK xvdb")
    device = dom0.run(f"readlink -f '{made['disk_by_path']['xl'].split('target=')[1]}'").strip()
    assert device in dom0.run("/etc/xen/scripts/block-xvmstore show")
    assert 0 == _xl(dom0, "block-detach", first.name, "xvdb").exit
    assert {} == dom0.traces(made)


def _sessions_work(dom0: Dom0, target: str, number: int) -> None:
    """Wait until that many sessions with the target are logged in: what is lost is only noticed after some seconds."""
    each = 'for s in /sys/class/iscsi_session/*; do grep -qx {} "$s/targetname" && grep -lx LOGGED_IN "$s/state"; done'
    turn = "i=$((i+1)); [ $i -le 120 ] || exit 1; sleep 1"
    dom0.run(f"i=0; until [ $({each.format(target)} | wc -l) -eq {number} ]; do {turn}; done", seconds=180)


def test_multipath(node: LabNode, dom0: Dom0, first: Guest, tmp_path: Path) -> None:
    """Two portals, one multipath device: one path may go and come back, it grows, and a detach leaves nothing of it."""
    node.shell("ip addr add 10.77.0.3/24 dev eth1 2>/dev/null || :")
    dom0.run("modprobe dm-multipath; pidof multipathd >/dev/null || { multipathd; sleep 2; }")
    text = node.variant(tmp_path, node='portals = ["10.77.0.1:3260", "10.77.0.3:3260"]').read_text()
    config = tmp_path / "multipath.toml"
    config.write_text(text.replace('host = "dom0"', 'host = "dom0"\nmultipath = true'))
    made = _made(node, "paths/root", config)

    said = _attach(dom0, first.name, "xvdb", made)
    assert 0 == said.exit, said.said
    first.saw("GUEST-DISK xvdb")
    show = dom0.run("/etc/xen/scripts/block-xvmstore show")
    assert "\t/dev/mapper/" in show
    assert 2 == show.count(made["target"])
    node.shell("ip addr del 10.77.0.3/24 dev eth1")
    first.does("dd if=/dev/zero of=/dev/xvdb bs=4096 count=1 conv=fsync 2>/dev/null")
    _sessions_work(dom0, made["target"], 1)
    node.shell("ip addr add 10.77.0.3/24 dev eth1")
    _sessions_work(dom0, made["target"], 2)
    assert 0 == node.xvm("volume", "resize", "paths/root", "--size", "2G", config=config).exit
    dom0.run(f"/etc/xen/scripts/block-xvmstore grow {made['guid'].lower()} {2 * GIB}")
    first.size_seen("xvdb", 2 * GIB)

    assert 0 == _xl(dom0, "block-detach", first.name, "xvdb").exit
    assert {} == dom0.traces(made)
    assert made["guid"].lower() not in dom0.run("dmsetup info -c --noheadings -o uuid || :")
    dom0.run("kill $(pidof multipathd)")


def test_a_script_that_was_killed(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """libxl kills a script that takes too long: its login stays, until the next command lets go of it."""
    made = _made(node, "first/killed")
    script = "/etc/xen/scripts/block-xvmstore"
    dom0.run(f"cp -p {script} /root/whole; sed -i 's/^taken() {{/taken() {{ kill -9 $$/' {script}")
    said = _attach(dom0, first.name, "xvdb", made)
    dom0.run("mv /root/whole /etc/xen/scripts/block-xvmstore")
    assert 0 != said.exit
    assert {"uses", "sessions"} <= set(dom0.traces(made))

    attached = node.xvm("guest", "attach", "first/killed", "--dom0", "xen1")

    assert 0 == attached.exit, attached.err
    assert 0 == node.xvm("guest", "detach", "first/killed", "--dom0", "xen1").exit
    assert {} == dom0.traces(made)


WRAPPER = """\
#!/bin/sh
echo "iscsiadm $*" >>/run/iscsiadm.calls
exec /root/iscsiadm "$@"
"""
WATCH = """\
import glob, sys, time
end, seen = time.time() + float(sys.argv[1]), set()
while time.time() < end:
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(name).read())
        except OSError:
            pass
open("/run/cmdlines", "w").write("\\n".join(seen))
"""


def test_no_secret_is_seen(node: LabNode, dom0: Dom0, first: Guest) -> None:
    """Not among processes, in logs, in xenstore, in a guest's config, in what we print: only in two files of root's."""
    made = node.xvm("volume", "create", "first/secret", "--size", "1G", "--json").json
    dom0.run("mv /usr/sbin/iscsiadm /root/iscsiadm")
    dom0.run(f"cat >/usr/sbin/iscsiadm <<'END'\n{WRAPPER}END\nchmod 755 /usr/sbin/iscsiadm")
    dom0.run(f"cat >/run/watch.py <<'END'\n{WATCH}END\nnohup python3 /run/watch.py 25 >/dev/null 2>&1 &")
    said = [
        node.xvm("-v", "guest", *words, "--dom0", "xen1")
        for words in (("prepare", "first"), ("attach", "first/secret", "-n"), ("attach", "first/secret"))
    ]
    xenstore = dom0.run("xenstore-ls -f")
    # On stdin: as an argument it would be the very thing that is looked for.
    search = "grep -rlf /dev/stdin /etc /run /var /root /tmp 2>/dev/null || :"
    private = node.lab.ssh(node.lab.dom0, search, stdin=node.secret + "\n").split()
    modes = dom0.run(f"stat -c %a%u {' '.join(private)}").split()
    said.append(node.xvm("-v", "guest", "detach", "first/secret", "--dom0", "xen1"))
    dom0.run("i=0; until [ -s /run/cmdlines ] || [ $i -gt 60 ]; do i=$((i+1)); sleep 1; done")
    dom0.run("mv /root/iscsiadm /usr/sbin/iscsiadm")
    processes = dom0.run("cat /run/cmdlines /run/iscsiadm.calls")

    assert {0} == {one.exit for one in said}, [one.err for one in said]
    assert f"-T {made['target']}" in processes, "the watch saw iscsiadm"
    for text in (xenstore, processes, *(one.out + one.err for one in said)):
        assert node.secret not in text
    known = (MAPS, "/etc/iscsi/nodes/")
    assert [] == [name for name in private if not name.startswith(known)]
    assert {"6000"} == set(modes)
    assert f"/etc/iscsi/nodes/{made['target']}" in " ".join(private)
    assert made["guid"].lower() in xenstore


SUDO = """\
#!/bin/sh
shift
echo "$*" >>/run/calls
read -r number fault </run/break
[ "$(wc -l </run/calls)" = "$number" ] || exec "$@"
case $fault in
drop) pkill -9 -f 'sshd: root@notty' ;;
kill) kill -9 0 ;;
esac
exec "$@"
"""


@pytest.fixture
def breakable(node: LabNode, dom0: Dom0, tmp_path: Path) -> Path:
    """A configuration in which every command of dom0's goes through a stand-in for sudo."""
    node.lab.ssh(node.lab.dom0, "cat >/usr/local/sbin/sudo && chmod 755 /usr/local/sbin/sudo", stdin=SUDO)
    config = tmp_path / "config.toml"
    config.write_text(node.config.read_text().replace('host = "dom0"', 'host = "dom0"\nbecome = "sudo"'))
    return config


@pytest.mark.parametrize("fault", ["drop", *(["kill"] if THOROUGH else [])])
def test_cut_off_at_a_command(node: LabNode, dom0: Dom0, first: Guest, breakable: Path, fault: str) -> None:
    """The connection drops (or all of it is killed) at a command of attach and of detach: the same again ends it."""
    made = _made(node, "first/cut")
    step = 1 if THOROUGH else 16
    number, reached = 1 - step, {"attach", "detach"}
    while reached:
        number += step
        for verb in ("attach", "detach"):
            words = ("guest", verb, "first/cut", "--dom0", "xen1")
            at = number if verb in reached else 0
            dom0.run(f": >/run/calls; echo {at} {fault} >/run/break")
            broken = node.xvm(*words, config=breakable)
            if at and int(dom0.run("wc -l </run/calls")) < number:
                reached.discard(verb)
            dom0.run("echo 0 none >/run/break")
            again = node.xvm(*words, config=breakable)

            told = f"{verb}, {fault} at {number}: {broken.exit} {broken.err}; then {again.exit} {again.err}"
            assert broken.exit in ({0, 3} if fault == "drop" else {0, 1, 3}), told
            assert 0 == again.exit, told
            state = dom0.traces(made)
            assert ({"vbds", "sessions", "uses", "disks", "records"} if verb == "attach" else set()) == set(state), (
                told,
                state,
            )
    assert number > 6
    first.does("true")


@pytest.fixture(scope="module")
def open_(node: LabNode, dom0: Dom0) -> dict[str, Any]:
    """A volume whose target asks for no CHAP, which the stock script cannot do."""
    found: dict[str, Any] = node.xvm("volume", "create", "stock/root", "--size", "1G", "--json").json
    node.ask_no_chap(found["target"])
    return found


@pytest.mark.skipif(
    not THOROUGH, reason="what the stock script does is written in docs/dom0.md: XVMSTORE_LAB_THOROUGH=1"
)
class TestStockScript:
    """Xen's own block-iscsi in the same cases: what the right column of the table in docs/dom0.md says."""

    def test_chap(self, node: LabNode, dom0: Dom0, first: Guest) -> None:
        """Impossible: its own discovery takes the account out of the node record."""
        made = node.xvm("volume", "create", "stock/chap", "--size", "1G", "--json").json
        device = dom0.login(made)
        dom0.run(f"iscsiadm -m node -T {made['target']} -u; test -n '{device}'")
        said = _stock(dom0, first.name, "xvdc", made)
        gone = _xl(dom0, "block-detach", first.name, "xvdc")
        _report("stock chap", attach=said.exit, seconds=said.seconds, said=said.said[-300:], detach=gone.seconds)
        assert 0 != said.exit

    def test_lun(self, node: LabNode, dom0: Dom0, first: Guest, shared: Path) -> None:
        """It is asked for a LUN, and hands out LUN 0."""
        made = node.xvm("volume", "create", "stockmany/one", "--size", "1G", "--json", config=shared).json
        node.ask_no_chap(made["target"])
        tpg = f"/iscsi/{made['target']}/tpg1"
        node.shell("zfs create -V 64M tank/zero && udevadm settle")
        node.shell("targetcli /backstores/block create zero /dev/zvol/tank/zero")
        node.shell(f"targetcli {tpg}/luns create /backstores/block/zero 0 false")
        node.shell(f"targetcli {tpg}/acls/{node.initiator} create 0 0")
        assert made["lun"] != 0
        said = _stock(dom0, first.name, "xvdc", made, f",lun={made['lun']}")
        first.saw("GUEST-DISK xvdc")
        given = dom0.run(f"xenstore-read /local/domain/$(xl domid {first.name})/device/vbd/51744/backend | "
                         "xargs -I{} xenstore-read {}/sectors").strip()  # fmt: skip
        gone = _xl(dom0, "block-detach", first.name, "xvdc")
        _report("stock lun", attach=said.exit, seconds=said.seconds, sectors=given, detach=gone.seconds)
        assert str(64 * 2048) == given, "LUN 0, which is another volume"

    def test_unknown_target(self, node: LabNode, dom0: Dom0, first: Guest, open_: dict[str, Any]) -> None:
        """A vbd stays in xenstore, and its detach takes as long as libxl lets a script run."""
        said = _stock(dom0, first.name, "xvdd", {**open_, "target": "iqn.2026-11.org.xvmstore:nobody"})
        left = dom0.run(f"xl block-list {first.name}")
        gone = _xl(dom0, "block-detach", first.name, "xvdd")
        _report(
            "stock unknown",
            attach=said.exit,
            seconds=said.seconds,
            said=said.said[-300:],
            left=left,
            detach=gone.seconds,
        )
        assert (1, True) == (said.exit, "51760" in left)

    def test_portal_down(self, node: LabNode, dom0: Dom0, first: Guest, open_: dict[str, Any]) -> None:
        """Killed by libxl."""
        said = _stock(dom0, first.name, "xvde", {**open_, "portals": ["10.77.0.99:3260"]})
        gone = _xl(dom0, "block-detach", first.name, "xvde")
        _report("stock down", attach=said.exit, seconds=said.seconds, said=said.said[-300:], detach=gone.seconds)
        assert 1 == said.exit

    def test_two_guests_and_the_detach(self, node: LabNode, dom0: Dom0, first: Guest, open_: dict[str, Any]) -> None:
        """A second attach of a target in use fails, and its clean-up takes the disk away from under the first."""
        other = start(node, dom0, "third", "root")
        try:
            one = _stock(dom0, first.name, "xvdf", open_)
            first.saw("GUEST-DISK xvdf")
            two = _stock(dom0, other.name, "xvdf", open_)
            gone = _xl(dom0, "block-detach", other.name, "xvdf")
            first.saw("GUEST-DISK xvdf 0 sectors")
            sessions = dom0.traces(open_)
            last = _xl(dom0, "block-detach", first.name, "xvdf")
            _report("stock two", first=one.exit, second=two.exit, said=two.said[-200:], detach=gone.seconds,
                         left=sessions, last=last.seconds)  # fmt: skip
            assert (0, 1, False) == (one.exit, two.exit, "sessions" in sessions)
        finally:
            other.destroy()

    def test_a_reboot_of_the_node(self, node: LabNode, dom0: Dom0, first: Guest, open_: dict[str, Any]) -> None:
        """The kernel's session comes back by itself; patience is open-iscsi's default of two minutes."""
        portal = open_["portals"][0]
        dom0.run(f"iscsiadm -m discovery -t st -p {portal}")
        record = dom0.run(f"iscsiadm -m node -T {open_['target']} -p {portal} | grep replacement_timeout")
        _report("stock reboot", record=record.strip())
        assert "node.session.timeo.replacement_timeout = 120" in record
