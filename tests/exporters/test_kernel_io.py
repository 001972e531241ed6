"""What the kernels count of pools and volumes: the whole of it, and what is wrong in it."""

import shlex
import subprocess
from pathlib import Path

import pytest

from exporters import kernel_io
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

LAB = "../openzfs/exporter-kernel-2.3"
OF_TANK = stdout(
    LAB, 'cd /proc/spl/kstat/zfs/tank && for f in state guid iostats objset-*; do echo "== $f"; cat $f; done'
)
OF_TWO_X = stdout(LAB, "cat /proc/spl/kstat/zfs/'two x'/objset-*")
FILES = {part.partition("\n")[0]: part.partition("\n")[2] for part in f"\n{OF_TANK}".split("\n== ")[1:]}
DISKSTATS, LINKS = stdout(LAB, "grep ' zd' /proc/diskstats"), stdout(LAB, "find /dev/zvol -type l -printf '%l %P\\n'")
ROOT, DATA = '{pool="tank",volume="web1/root"}', '{pool="tank",volume="web1/data"}'
STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "suspended", "unknown")
POOLS, COUNTS = kernel_io.pool_states(), kernel_io.volume_counts("tank/xvm")
TIMES, SOLARIS = kernel_io.volume_io("tank/xvm"), kernel_io.pool_io_solaris()


def family(name: str, kind: str, *lines: str) -> str:
    """A TYPE line, and those below it."""
    return f"# TYPE xvmstore_{name} {kind}\n" + "".join(f"xvmstore_{name}{line}\n" for line in lines)


def state(pool: str, current: str) -> list[str]:
    """The lines of its state set."""
    return [f'{{pool="{pool}",state="{one}"}} {int(one == current)}' for one in STATES]


def test_the_whole_of_pool_states() -> None:
    """OpenZFS 2.3; a pool whose name has a blank, and is suspended."""
    sheet = emitted(POOLS, f"== tank\n{FILES['state']}\n{FILES['iostats']}\n== two x\nSUSPENDED\n")
    tank = '{pool="tank"} '
    assert family("pool_kernel_state", "gauge", *state("tank", "online"), *state("two x", "suspended")) + "".join(
        family(f"pool_logical_{name}_total", "counter", tank + value)
        for name, value in (("read_ops", "0"), ("read_bytes", "0"), ("write_ops", "574"), ("written_bytes", "238656"))
    ) == shown(sheet)
    assert [] == sheet.complaints


IO = """\
9 3 0x00 1 80 12345 67890
nread    nwritten reads    writes   wtime    wlentime wupdate  rtime    rlentime rupdate  wcnt     rcnt
1884160  3206144  22       132      7155162  104112268 70 168280 4000000000 79 0 0
"""


def test_pool_io_before_2_1() -> None:
    """It is in nanoseconds."""
    found = samples(emitted(POOLS, f"== tank\nONLINE\n{IO}"))[len(STATES) :]
    assert [
        'xvmstore_pool_read_ops_total{pool="tank"} 22',
        'xvmstore_pool_read_bytes_total{pool="tank"} 1884160',
        'xvmstore_pool_write_ops_total{pool="tank"} 132',
        'xvmstore_pool_written_bytes_total{pool="tank"} 3206144',
        'xvmstore_pool_wait_queue_seconds_total{pool="tank"} 0.104112268',
        'xvmstore_pool_run_queue_seconds_total{pool="tank"} 4',
    ] == found


@pytest.mark.parametrize("text", ["== tank\n", "== tank\nDREAMY\n"])
def test_a_state_that_is_not_told(text: str) -> None:
    """It is unknown, which is not online, and complained of; the other pool has its own."""
    sheet = emitted(POOLS, f"{text}== last\nONLINE\n")
    assert family("pool_kernel_state", "gauge", *state("tank", "unknown"), *state("last", "online")) == shown(sheet)
    assert 1 == len(sheet.complaints)


def test_counts_that_cannot_be_read() -> None:
    """They cost themselves only."""
    text = FILES["iostats"].replace("arc_read_count                  4    0", "arc_read_count                  4    x")
    sheet = emitted(POOLS, f"== tank\nONLINE\n{text}\n== last\nONLINE\n{IO.replace('1884160', 'much')}")
    assert 2 == len(sheet.complaints)
    assert 2 * len(STATES) + 3 == len(sheet)


@pytest.mark.parametrize("language", ["c", "perl"])
def test_the_whole_of_illumos(language: str) -> None:
    """Queues in seconds, whether kstat prints nanoseconds or seconds."""
    sheet = emitted(SOLARIS, stdout(f"../solaris/zfs-kstat-{language}", "pool"))
    assert "".join(
        family(f"pool_{name}_total", "counter", f'{{pool="tank"}} {value}')
        for name, value in (
            ("read_ops", "123456789"),
            ("read_bytes", "5123456789504"),
            ("write_ops", "87654321"),
            ("written_bytes", "2123456789248"),
            ("wait_queue_seconds", "0"),
            ("run_queue_seconds", "99123.456789012"),
        )
    ) == shown(sheet)
    assert [] == sheet.complaints


def test_illumos_before_2013(tmp_path: Path) -> None:
    """No pool has a kstat: kstat finds nothing and exits 1, which is no failure; any other exit is."""
    for status, said in ((1, 0), (2, 1), (127, 1)):
        assert said == run(SOLARIS, tmp_path, {"kstat": f"exit {status}"}).returncode
    assert "" == shown(emitted(SOLARIS, ""))


def objsets(tmp_path: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The program's answer about a pool called tank, with these files in its directory."""
    kstats = tmp_path / "kstat zfs"
    (kstats / "tank").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (kstats / "tank" / name).write_text(text)
    argv = [str(word).replace("/proc/spl/kstat/zfs", shlex.quote(str(kstats))) for word in COUNTS.queries[0].argv]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


OTHERS = {
    "objset-0x36": "95 1 0x01\nname type data\n" + OF_TWO_X.split("data\n")[1].replace("two x", "tank"),
    "objset-0x37": FILES["objset-0xa1"].replace("tank/xvm/web1/root", "tank/xvm/web1"),
    "objset-0x38": FILES["objset-0xa1"].replace("tank/xvm/web1/root", "tank/xvm/web1:kept/root"),
    "objset-0x39": FILES["objset-0xa1"].replace("tank/xvm/web1/root", "tank/xvmore/web1/root"),
    "state": "ONLINE\n",
}


def test_the_whole_of_volume_counts(tmp_path: Path) -> None:
    """Two volumes; neither a filesystem, nor what was put aside, nor what is outside the base."""
    done = objsets(tmp_path, {one: text for one, text in FILES.items() if one.startswith("objset")} | OTHERS)
    assert (0, "") == (done.returncode, done.stderr)
    sheet = emitted(COUNTS, "".join(sorted(done.stdout.splitlines(keepends=True))))
    assert "".join(
        family(f"volume_{name}_total", "counter", *lines)
        for name, lines in (
            ("read_ops", (f"{ROOT} 249", f"{DATA} 252")),
            ("read_bytes", (f"{ROOT} 5427200", f"{DATA} 5394432")),
            ("write_ops", (f"{ROOT} 0", f"{DATA} 0")),
            ("written_bytes", (f"{ROOT} 0", f"{DATA} 0")),
        )
    ) == shown(sheet)
    assert [] == sheet.complaints


def test_a_name_with_blanks() -> None:
    """It is whole, and the pool is its own."""
    sheet = emitted(kernel_io.volume_counts("two x/a b"), "74\t712704\t1280\t5242880\ttwo x/a b/web 1/data\n")
    assert 'xvmstore_volume_written_bytes_total{pool="two x",volume="web 1/data"} 5242880' in samples(sheet)


def test_a_volume_that_goes_meanwhile(tmp_path: Path) -> None:
    """Its file is there and cannot be read: it is complained of, and the others have all of theirs."""
    (tmp_path / "kstat zfs" / "tank").mkdir(parents=True)
    (tmp_path / "kstat zfs" / "tank" / "objset-0x1").symlink_to("gone")
    done = objsets(tmp_path, {"objset-0xa1": FILES["objset-0xa1"]})
    assert 0 == done.returncode
    sheet = emitted(COUNTS, done.stdout)
    assert 1 == len(sheet.complaints)
    assert f"xvmstore_volume_read_ops_total{ROOT} 249" in samples(sheet)


def test_a_listing_that_failed_is_not_empty(tmp_path: Path) -> None:
    """find's exit status is the program's."""
    for collector, before in ((COUNTS, "/proc/spl/kstat/zfs"), (TIMES, "/dev/zvol")):
        argv = [str(word) for word in collector.queries[0].argv]
        folder = tmp_path / argv[4]
        folder.mkdir(parents=True, exist_ok=True)
        argv[2] = argv[2].replace(before, str(tmp_path))
        (tmp_path / "find").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "find").chmod(0o755)
        done = subprocess.run(
            argv, capture_output=True, check=False, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=9
        )
        assert 1 == done.returncode


@pytest.mark.parametrize(
    "line", ["junk", "x\t1\t1\t1\ttank/xvm/web1/swap", "1\t1\t1\ttank/xvm/web1/swap", "1\t1\t1\t1\t"]
)
def test_counts_of_a_volume_that_cannot_be_read(line: str) -> None:
    """They are complained of, and never go out as they came."""
    sheet = emitted(COUNTS, f"{line}\n249\t5427200\t0\t0\ttank/xvm/web1/root\n")
    assert 1 == len(sheet.complaints)
    assert 4 == len(samples(sheet))


def block(links: str, stats: str) -> str:
    """What the program prints; of links only those below the base."""
    below = "".join(f"{one.replace('tank/xvm/', '')}\n" for one in links.splitlines() if " tank/xvm/" in one)
    return f"{below}==\n{stats}"


def test_the_whole_of_volume_io() -> None:
    """Milliseconds are seconds; another pool's volume is none of ours."""
    sheet = emitted(TIMES, block(LINKS, DISKSTATS))
    assert "".join(
        family(f"volume_{name}", kind, *lines)
        for name, kind, lines in (
            ("read_time_seconds_total", "counter", (f"{ROOT} 0.012", f"{DATA} 0.008")),
            ("write_time_seconds_total", "counter", (f"{ROOT} 0.0", f"{DATA} 0.0")),
            ("reads_completed_total", "counter", (f"{ROOT} 249", f"{DATA} 252")),
            ("writes_completed_total", "counter", (f"{ROOT} 0", f"{DATA} 0")),
            ("io_in_flight", "gauge", (f"{ROOT} 0", f"{DATA} 0")),
        )
    ) == shown(sheet)
    assert [] == sheet.complaints


def test_a_volume_that_writes() -> None:
    """Fields are those of Documentation/admin-guide/iostats.rst; a plus sign was a blank."""
    sheet = emitted(kernel_io.volume_io("two x/g"), f"../../zd32 a+b/c+d\n==\n{DISKSTATS}")
    label = '{pool="two x",volume="a b/c d"}'
    assert [
        f"xvmstore_volume_{line}"
        for line in (
            f"read_time_seconds_total{label} 0.008",
            f"write_time_seconds_total{label} 3.196",
            f"reads_completed_total{label} 74",
            f"writes_completed_total{label} 1280",
            f"io_in_flight{label} 0",
        )
    ] == samples(sheet)


def test_partitions_and_what_is_aside_are_no_volumes() -> None:
    """A volume whose name ends like a partition's is one all the same."""
    links = "../zd0 web1/root\n../zd0p1 web1/root-part1\n../zd16 web1:kept/root\n../zd32 web1/swap-part1\n"
    partition = " 230       1 zd0p1 9 0 8 7 6 5 4 3 2 1 1\n"
    found = samples(emitted(TIMES, f"{links}==\n{DISKSTATS}{partition}"))
    assert {"web1/root", "web1/swap-part1"} == {line.split('volume="')[1].split('"')[0] for line in found}


@pytest.mark.parametrize("line", [" 230 16 zd16 249", " 230 16 zd16 1 2 3 x 5 6 7 8 9 0 0"])
def test_a_device_whose_line_cannot_be_read(line: str) -> None:
    """It costs itself only."""
    sheet = emitted(TIMES, block(LINKS, f"{line}\n{DISKSTATS.splitlines()[0]}\n"))
    assert 1 == len(sheet.complaints)
    assert 5 == len(samples(sheet))
    assert all("web1/root" in one for one in samples(sheet))
