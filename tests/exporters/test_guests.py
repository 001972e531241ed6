"""Guests, their disks, and whose volume each disk is."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dom0 import toolstack
from dom0.disk import Disk, by_path, solaris_device
from dom0.toolstack import LIBVIRT, XL, XM, XM_ON_SOLARIS
from exporters import guests
from exporters.collector import Collector
from remote.errors import UnexpectedOutput
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

LAB = "../xen/exporter-4.17"
GUESTS, DISKS = guests.guests(XL, system="linux")
LIST, VBDS, MAPS = (
    stdout(LAB, name) for name in ("xl list", "xenstore-ls -f /local/domain/0/backend/vbd", "volume maps")
)
STATISTICS = "vbd-1-51712 3 0 0 24 0\nvbd-1-51728 3 0 0 24 0\n"
ROOT, DATA = "6001405D8D562379E06A926FFF253E6F", "6001405DD39359F0C1C6F4AF99E0C1E0"
IQN = "iqn.2026-11.org.xvmstore:web1"
STATES = ("running", "runnable", "blocked", "paused", "shutdown", "crashed", "dying")
HEAD = "Name                                        ID   Mem VCPUs	State	Time(s)\n"


def state(text: str, stack: toolstack.Toolstack = XL) -> list[str]:
    """Guests and what they are just now."""
    found = samples(emitted(guests.guests(stack, system="linux")[0], text))
    return [" ".join(re.findall('"([^"]*)"', line)) for line in found if "_state" in line and line.endswith(" 1")]


def test_guests_of_a_real_dom0() -> None:
    """The whole of it; dom0 itself is no guest."""
    states = "".join(f'xvmstore_guest_state{{guest="web1",state="{one}"}} {int(one == "blocked")}\n' for one in STATES)
    sheet = emitted(GUESTS, LIST)

    assert f"""\
# TYPE xvmstore_guest_info gauge
xvmstore_guest_info{{guest="web1",toolstack="xl"}} 1
# TYPE xvmstore_guest_domid gauge
xvmstore_guest_domid{{guest="web1"}} 1
# TYPE xvmstore_guest_state gauge
{states}""" == shown(sheet)
    assert [] == sheet.complaints


def test_their_disks() -> None:
    """The whole of it: from guest and vbd to LU, target, volume and storage node."""
    a, b = '{guest="web1",vbd="xvda"}', '{guest="web1",vbd="xvdb"}'
    sheet = emitted(DISKS, VBDS, MAPS, STATISTICS, LIST)

    assert f"""\
# TYPE xvmstore_guest_block_device_info gauge
xvmstore_guest_block_device_info{a[:-1]},lun="{ROOT}",target="{IQN}.root.926fff253e6f",volume="web1/root",\
node="lab",mode="w"}} 1
xvmstore_guest_block_device_info{b[:-1]},lun="{DATA}",target="{IQN}.data.f4af99e0c1e0",volume="web1/data",\
node="lab",mode="w"}} 1
# TYPE xvmstore_guest_vbd_connected gauge
xvmstore_guest_vbd_connected{a} 1
xvmstore_guest_vbd_connected{b} 1
# TYPE xvmstore_guest_vbd_size_bytes gauge
xvmstore_guest_vbd_size_bytes{a} 1073741824
xvmstore_guest_vbd_size_bytes{b} 2147483648
# TYPE xvmstore_guest_vbd_read_requests_total counter
xvmstore_guest_vbd_read_requests_total{a} 3
xvmstore_guest_vbd_read_requests_total{b} 3
# TYPE xvmstore_guest_vbd_write_requests_total counter
xvmstore_guest_vbd_write_requests_total{a} 0
xvmstore_guest_vbd_write_requests_total{b} 0
# TYPE xvmstore_guest_vbd_flush_requests_total counter
xvmstore_guest_vbd_flush_requests_total{a} 0
xvmstore_guest_vbd_flush_requests_total{b} 0
# TYPE xvmstore_guest_vbd_read_bytes_total counter
xvmstore_guest_vbd_read_bytes_total{a} 12288
xvmstore_guest_vbd_read_bytes_total{b} 12288
# TYPE xvmstore_guest_vbd_written_bytes_total counter
xvmstore_guest_vbd_written_bytes_total{a} 0
xvmstore_guest_vbd_written_bytes_total{b} 0
""" == shown(sheet)
    assert [] == sheet.complaints


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("r-----", "running"),
        ("------", "runnable"),
        ("-b----", "blocked"),
        ("--p---", "paused"),
        ("-b-s--", "shutdown"),
        ("---sc-", "crashed"),
        ("-----d", "dying"),
    ],
)
def test_states_of_xl(letters: str, expected: str) -> None:
    """The gravest counts; no letter at all is waiting for a CPU."""
    assert [f"w1 {expected}"] == state(f"{HEAD}w1     1   128     1     {letters}       3.3\n")


def test_guests_of_other_toolstacks() -> None:
    """xend lists guests that do not run; virsh has words."""
    assert ["w1 blocked"] == state(
        f"{HEAD}off         128     1               0.0\nw1   1   128     1   -b----   3.3\n", XM
    )
    assert ["a paused", "b shutdown"] == state(
        " Id   Name   State\n-----\n 0   Domain-0   running\n 1    a   paused\n 2    b   in shutdown\n\n",
        LIBVIRT,
    )


def test_a_guest_that_cannot_be_read_costs_itself_only() -> None:
    """And is complained of; a listing that is none costs the collector."""
    sheet = emitted(GUESTS, f"{LIST}w 2 what\nw3   3   128     1   -x----   3.3\n")

    assert samples(emitted(GUESTS, LIST)) == [line for line in samples(sheet) if "w3" not in line]
    assert ['xvmstore_guest_domid{guest="w3"} 3'] == [
        line for line in samples(sheet) if "w3" in line and "domid" in line
    ]
    assert 2 == len(sheet.complaints)
    with pytest.raises(UnexpectedOutput):
        emitted(GUESTS, "xl: command of another kind\n")


def device(params: str, *, maps: str = MAPS, mode: str = "w") -> list[str]:
    """lun, target, volume, node of a disk with this target."""
    vbd = "/local/domain/0/backend/vbd/1/51712"
    text = f'{vbd}/params = "{params}"\n{vbd}/dev = "xvda"\n{vbd}/mode = "{mode}"\n{vbd}/state = "4"\n'
    (info,) = (one for one in samples(emitted(DISKS, text, maps, "", LIST)) if "_info" in one)
    return [re.findall(f'[{{,]{name}="([^"]*)"', info)[0] for name in ("lun", "target", "volume", "node")]


PORTAL, SIX = "10.77.0.1:3260", "[fd00::1]:3260"


@pytest.mark.parametrize("portal", [PORTAL, SIX])
@pytest.mark.parametrize("lun", [0, 7, 300])
def test_wired_by_path(portal: str, lun: int) -> None:
    """udev's path tells target and LUN, and the map the rest; without a map of it the target is all there is."""
    disk = Disk("xvda", portal, f"{IQN}.root.926fff253e6f", lun)
    maps = MAPS.replace(f"{ROOT.lower()}:lun=0", f"{ROOT.lower()}:lun={lun}")
    known = [ROOT, disk.target, "web1/root", "lab"]

    assert known == device(by_path(disk), maps=maps)
    # xend leaves /dev/ out.
    assert known == device(by_path(disk).removeprefix("/dev/"), maps=maps)
    assert ["", disk.target, "", ""] == device(by_path(disk), maps="")


def test_wired_on_solaris() -> None:
    """The device has the GUID in its name."""
    disk = Disk("xvda", PORTAL, f"{IQN}.root.926fff253e6f", 0, guid=ROOT)
    _, disks = guests.guests(XM_ON_SOLARIS, system="solaris")
    vbds = VBDS.replace(ROOT.lower(), solaris_device(disk))
    found = samples(emitted(disks, vbds, LIST))

    assert 1 == len(disks.queries)
    assert f'guest="web1",vbd="xvda",lun="{ROOT}",target="",volume="",node="",mode="w"' in found[0]
    assert not [line for line in found if "_total" in line]


def test_numbered_on_solaris() -> None:
    """xVM's xend calls disks by their place: the label is the disk's name all the same."""
    _, disks = guests.guests(XM_ON_SOLARIS, system="solaris")
    vbds = VBDS.replace('dev = "xvda"', 'dev = "0"').replace('dev = "xvdb"', 'dev = "1"')
    found = [re.findall('vbd="([^"]*)"', line)[0] for line in samples(emitted(disks, vbds, LIST)) if "_info" in line]
    assert ["xvda", "xvdb"] == found


def test_early_xen(tmp_path: Path) -> None:
    """xenstore-ls of 3.1 knows no -f: its tree is read; that of later releases as before; no vbds are none."""
    tree = '5 = ""\n 0 = ""\n  dev = "0"\n  params = "/dev/dsk/c3t1d0p0"\n  state = "4"\n  mode = "w"\n'
    fakes = {
        "old": f"[ $# = 1 ] || exit 1\ncat <<'end'\n{tree}end",
        "new": f"[ $1 = -f ] && cat <<'end'\n{VBDS}end",
        "none": 'echo "xenstore-ls: xs_directory: No such file or directory" >&2; exit 1',
    }
    _, disks = guests.guests(XM_ON_SOLARIS, system="solaris")
    old, new, none = (run(disks, tmp_path, {"xenstore-ls": body}) for body in fakes.values())

    listed = f"{HEAD}web1   5   128     1   -b----   3.3\n"
    (info,) = (one for one in samples(emitted(disks, old.stdout, listed)) if "_info" in one)
    assert 'guest="web1",vbd="xvda"' in info
    assert VBDS == new.stdout
    assert (1, "") == (none.returncode, none.stdout)
    assert any(words in none.stderr for words in disks.queries[0].absent)


@pytest.mark.parametrize("params", ["/dev/vg/lv", "", "tap:aio:/x.img"])
def test_a_disk_that_is_none_of_ours(params: str) -> None:
    """It is there, with nothing known of it."""
    assert ["", "", "", ""] == device(params)


def test_a_volume_without_a_map() -> None:
    """Its GUID is known all the same. A map on its way, under another name, is none."""
    assert [ROOT, "", "", ""] == device(ROOT.lower(), maps="")
    assert [ROOT, "", "", ""] == device(ROOT.lower(), maps=MAPS.replace("volumes/6", "volumes/.6"))


def test_whose_guest_is_not_listed_is_nobodys() -> None:
    """Dom0's own vbds, and those of a guest that came or went between two questions."""
    other = VBDS.replace("backend/vbd/1", "backend/vbd/0") + VBDS.replace("backend/vbd/1", "backend/vbd/9")

    assert samples(emitted(DISKS, VBDS, MAPS, STATISTICS, LIST)) == samples(
        emitted(DISKS, VBDS + other, MAPS, STATISTICS, LIST)
    )
    with pytest.raises(UnexpectedOutput, match="the guests"):
        emitted(DISKS, VBDS, MAPS, STATISTICS, "")


@pytest.mark.parametrize(
    ("vbds", "maps", "statistics"),
    [
        ('/local/domain/0/backend/vbd/1/51744/state = "what"\n', "", ""),
        ("nonsense\n", "", ""),
        ("", "/etc/xvmstore/volumes/abc\n", ""),
        ("", "", "vbd-1-51744 3 0 0 24\n"),
        ("", "", "vbd-1-51744 3 0 0 24 x\n"),
    ],
)
def test_a_bad_line_costs_its_own_disk(vbds: str, maps: str, statistics: str) -> None:
    """And is complained of."""
    sheet = emitted(DISKS, VBDS + vbds, MAPS + maps, STATISTICS + statistics, LIST)

    assert samples(emitted(DISKS, VBDS, MAPS, STATISTICS, LIST)) == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_what_was_not_counted_is_no_zero() -> None:
    """A kernel without flush requests; a disk that dom0's kernel does not serve."""
    found = samples(emitted(DISKS, VBDS, MAPS, "vbd-1-51712 3 0 - 24 0\n", LIST))

    assert not [line for line in found if "flush" in line]
    assert ['xvmstore_guest_vbd_read_bytes_total{guest="web1",vbd="xvda"} 12288'] == [
        line for line in found if "read_bytes" in line
    ]


def test_the_program_that_reads_sysfs(tmp_path: Path) -> None:
    """On the tree that was recorded; one without statistics is left out, a counter that is missing is not made up."""
    for line in stdout(LAB, "grep . /sys/bus/xen-backend/devices/vbd-*/statistics/*").splitlines():
        path, _, value = line.removeprefix("/sys/bus/xen-backend/devices/").rpartition(":")
        (file := tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    (tmp_path / "vbd-1-51744").mkdir()
    done = run(DISKS, tmp_path, {}, query=2, words=(str(tmp_path),))
    (tmp_path / "vbd-1-51712/statistics/f_req").unlink()
    older = run(DISKS, tmp_path, {}, query=2, words=(str(tmp_path),))

    assert (0, STATISTICS, "") == (done.returncode, done.stdout, done.stderr)
    assert (0, STATISTICS.replace("3 0 0", "3 0 -", 1), "") == (older.returncode, older.stdout, older.stderr)


def test_the_program_that_reads_the_maps(tmp_path: Path) -> None:
    """A secret stays where it is; no maps are none, and what cannot be read is a failure."""
    asked = DISKS.queries[1]
    folder = tmp_path / "volumes"
    query = replace(asked, argv=(*asked.argv[:4], str(folder)))
    replaced = Collector("x", (query,), DISKS.emit)
    missing = run(replaced, tmp_path, {})
    folder.mkdir()
    empty = run(replaced, tmp_path, {})
    (folder / "abc").write_text("volume=web1/root\nsecret=target=volume\nown_secret=x\nlun=0\n")
    found = run(replaced, tmp_path, {})

    assert (0, "") == (missing.returncode, missing.stdout)
    assert (0, "") == (empty.returncode, empty.stdout)
    assert (0, f"{folder}/abc:volume=web1/root\n{folder}/abc:lun=0\n") == (found.returncode, found.stdout)
