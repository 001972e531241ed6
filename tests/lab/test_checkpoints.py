"""Checkpoints on real OpenZFS while a dom0 writes: one moment of all disks, for each that is taken."""

import json
import struct
from collections.abc import Sequence

import pytest

from embedded.initiator import Session
from tests.contract.luns import lun
from tests.lab.live import THOROUGH, Dom0, LabNode
from xvmstore import Site

DISKS = ("first", "second", "third")
CHECKPOINTS = 50 if THOROUGH else 8
# A rehearsal takes 16 s under emulation, a clone read on the node a second: all are cloned, and some rehearsed.
REHEARSED = 1 if THOROUGH else 5
BLOCK = 4096
# Slots of a disk, of a block each. All is overwritten many times, so a block may be older than it should be, too.
RING = 48
ROUND = RING * len(DISKS)

# Writes record n to disk n mod 3 once record n-1 is acknowledged, and tells in a file how far it is.
WRITER = f"""\
import mmap, os, struct, sys
block = mmap.mmap(-1, {BLOCK})
disks = [os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_SYNC) for path in sys.argv[1:]]
told = os.open("/run/writer.count", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
n = 0
while not os.path.exists("/run/writer.stop"):
    n += 1
    block[:] = struct.pack(">Q", n) * {BLOCK // 8}
    written = os.pwrite(disks[n % 3], block, n // 3 % {RING} * {BLOCK})
    if written != {BLOCK}:
        sys.exit(f"record {{n}}: {{written}} bytes")
    os.pwrite(told, b"%12d" % n, 0)
"""

# Prints what clones of snapshots have in each slot: a record's number, or -1 for a block of two records.
READER = f"""\
import json, os, struct, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
parent, *names = sys.argv[1:]

def read(name, disk):
    clone = f"tank/read-{{disk}}-{{name}}"
    subprocess.run(["zfs", "clone", f"{{parent}}/{{disk}}@{{name}}", clone], check=True)
    deadline = time.monotonic() + 30
    while not os.path.exists(f"/dev/zvol/{{clone}}") and time.monotonic() < deadline:
        time.sleep(0.01)
    with open(f"/dev/zvol/{{clone}}", "rb") as device:
        blocks = [struct.unpack(">{BLOCK // 8}Q", device.read({BLOCK})) for _ in range({RING})]
    subprocess.run(["zfs", "destroy", clone], check=True)
    return [block[0] if len(set(block)) == 1 else -1 for block in blocks]

with ThreadPoolExecutor(3) as pool:
    found = {{name: [pool.submit(read, name, disk) for disk in {DISKS!r}] for name in names}}
    for name, disks in found.items():
        print(json.dumps([name, [disk.result() for disk in disks]]))
"""


class Writer:
    """The program on dom0, on devices of the kernel's initiator."""

    def __init__(self, dom0: Dom0, devices: Sequence[str]) -> None:
        self._dom0 = dom0
        dom0.run(f"cat >/root/writer.py <<'END'\n{WRITER}END\nrm -f /run/writer.*")
        run = f"python3 /root/writer.py {' '.join(devices)} >/run/writer.said 2>&1; echo $? >/run/writer.exit"
        dom0.run(f"setsid sh -c '{run}' </dev/null >/dev/null 2>&1 &")
        self._wait("[ -s /run/writer.count ]")

    def acknowledged(self) -> int:
        """How far it is."""
        return int(self._dom0.run("cat /run/writer.count"))

    def stop(self) -> int:
        """Have it end, which must be without a failed write; its last record."""
        self._dom0.run(": >/run/writer.stop")
        self._wait("[ -s /run/writer.exit ]")
        assert ("0\n", "") == (self._dom0.run("cat /run/writer.exit"), self._dom0.run("cat /run/writer.said"))
        return self.acknowledged()

    def _wait(self, sign: str) -> None:
        late = "{ cat /run/writer.said >&2; exit 1; }"
        self._dom0.run(f"i=0; until {sign}; do i=$((i+1)); [ $i -le 300 ] || {late}; sleep 0.1; done")


Disks = Sequence[Sequence[int]]


def records(data: bytes) -> list[int]:
    """What a disk has in each of its slots: a record's number, 0 if none was written, -1 for a block of two records."""
    blocks = [struct.unpack(f">{BLOCK // 8}Q", data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return [block[0] if len(set(block)) == 1 else -1 for block in blocks]


def newest(disks: Disks) -> int:
    """The highest record that is there."""
    return max(number for disk in disks for number in disk)


def wrong(disks: Disks) -> list[str]:
    """What is in a slot where another record should be, if all up to the newest were written and no other."""
    last, found = newest(disks), []
    for number, disk in enumerate(disks):
        for slot, is_there in enumerate(disk):
            should_be = max(0, last - (last - (3 * slot + number)) % ROUND)
            if is_there != should_be:
                found.append(f"disk {number} slot {slot}: {is_there}, not {should_be}; the newest is {last}")
    return found


def _written(last: int) -> list[list[int]]:
    disks = [[0] * RING for _ in DISKS]
    for n in range(1, last + 1):
        disks[n % 3][n // 3 % RING] = n
    return disks


@pytest.mark.parametrize("last", [1, 2, 3, ROUND - 1, ROUND, ROUND + 1, 5 * ROUND + 7])
def test_the_test_can_fail(last: int) -> None:
    """Every state a writer can leave is right; with a record less, an older disk or a torn block it is not."""
    disks = _written(last)
    assert (last, []) == (newest(disks), wrong(disks))

    lost = _written(last + 3)
    lost[last % 3][last // 3 % RING] = max(0, last - ROUND)
    assert [f"disk {last % 3} slot {last // 3 % RING}: {max(0, last - ROUND)}, not {last}; the newest is {last + 3}"] \
        == wrong(lost)  # fmt: skip
    older = _written(last + 2)
    older[(last + 1) % 3] = _written(last)[(last + 1) % 3]
    assert 1 == len(wrong(older))
    torn = records(struct.pack(">Q", 7) * (BLOCK // 16) + struct.pack(">Q", 7 + ROUND) * (BLOCK // 16))
    assert [-1] == torn


def test_all_disks_at_one_moment(node: LabNode, dom0: Dom0, guest: str) -> None:
    """Each checkpoint has no write without all the earlier ones, on any disk: in clones of all of them, and in
    rehearsals of some, read over iSCSI.

    It has what was acknowledged before it was asked for, and nothing that was written after it was there.
    """
    made = [node.xvm("volume", "create", f"{guest}/{disk}", "--size", "64M", "--json").json for disk in DISKS]
    writer = Writer(dom0, [dom0.login(one) for one in made])
    taken = _checkpoints(node, guest, writer)
    _one_by_one(node, guest)
    last = writer.stop()
    for one in made:
        dom0.logout(one)

    cloned = _cloned(node, guest, *taken, "apart")
    assert [] != wrong(cloned.pop("apart")), "of one disk after the other is not of one moment, and it shows"
    _consistent(cloned, taken, last)
    chosen = list(taken)[::REHEARSED]
    assert {name: cloned[name] for name in chosen} == {name: _rehearsed(node, guest, name) for name in chosen}


def _consistent(found: dict[str, Disks], taken: dict[str, tuple[int, int]], last: int) -> None:
    assert {name: [] for name in taken} == {name: wrong(disks) for name, disks in found.items()}
    lasts = {name: newest(disks) for name, disks in found.items()}
    # Besides what was acknowledged when we looked, one more record may have been on its way.
    assert {} == {name: m for name, m in lasts.items() if not taken[name][0] <= m <= taken[name][1] + 1}
    assert sorted(set(lasts.values())) == list(lasts.values()), "it wrote all the while"
    assert (CHECKPOINTS, True) == (len(lasts), last > 5 * ROUND)


def _checkpoints(node: LabNode, guest: str, writer: Writer) -> dict[str, tuple[int, int]]:
    """Take them by the library; by name, what was acknowledged before and after."""
    taken = {}
    with Site.load(node.config) as site:
        before = writer.acknowledged()
        for number in range(CHECKPOINTS):
            name = site.checkpoints.create(guest, reason=f"number {number}").name
            after = writer.acknowledged()
            taken[name] = (before, after)
            before = after
    return taken


def _one_by_one(node: LabNode, guest: str) -> None:
    """Snapshots that are no checkpoint: of one disk after the other."""
    node.shell(" && sleep 0.2 && ".join(f"zfs snapshot tank/xvm/{guest}/{disk}@apart" for disk in DISKS))


def _cloned(node: LabNode, guest: str, *names: str) -> dict[str, Disks]:
    """What the disks have in snapshots, read from clones on the node."""
    node.shell(f"cat >/root/reader.py <<'END'\n{READER}END")
    said = node.lab.ssh(node.lab.storage, f"python3 /root/reader.py tank/xvm/{guest} {' '.join(names)}", seconds=400)
    return dict(map(json.loads, said.splitlines()))


def _rehearsed(node: LabNode, guest: str, name: str) -> Disks:
    """What a rehearsal's disks have, read over iSCSI."""
    copy = f"{guest}-copy"
    said = node.xvm("checkpoint", "rehearse", guest, name, "--as", copy, "--json")
    assert 0 == said.exit, said.err
    volumes = {one["name"]: one for one in said.json["volumes"]}
    disks = []
    for disk in DISKS:
        with Session(lun(node, volumes[f"{copy}/{disk}"])) as session:
            disks.append(records(bytes(session.read(0, RING * BLOCK))))
    gone = node.xvm("checkpoint", "discard", copy)
    assert 0 == gone.exit, gone.err
    return disks
