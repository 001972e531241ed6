"""Latency histograms: right bounds, leaves only, and nothing made of half an answer."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporters.exposition import Sheet
from exporters.latency import latency, parse
from exporters.reading import Said, parts
from exporters.vdevs import vdevs
from remote.errors import UnexpectedOutput
from remote.transcript import Ended
from tests.captured_cases import stderr, stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

LAB, ILLUMOS = "../openzfs/exporter-zpool-2.3", "../solaris/zpool-iostat"
STATUS = stdout(LAB, "zpool status -s")
TANK, TWO_X = stdout(LAB, "zpool iostat -wHpv tank"), stdout(LAB, "zpool iostat -wHpv 'two x'")
NODE = latency()
# What a row is called and what Prometheus should: ZFS' bucket j is 2^j to 2^(j+1)-1 nanoseconds.
BOUNDS = [
    *(
        "8.191e-06",
        "1.6383e-05",
        "3.2767e-05",
        "6.5535e-05",
        "0.000131071",
        "0.000262143",
        "0.000524287",
        "0.001048575",
    ),
    *("0.002097151", "0.004194303", "0.008388607", "0.016777215", "0.033554431", "0.067108863", "0.134217727"),
    *("0.268435455", "0.536870911", "1.073741823", "2.147483647", "4.294967295", "8.589934591", "17.179869183"),
    "34.359738367",
]


def asked(**pools: str) -> str:
    """What the program brings back: name, output, exit status of each pool."""
    return "".join(f"\tpool\t{pool}\n{said}\texit\t0\n" for pool, said in pools.items())


BOTH = asked(tank=TANK, **{"two x": TWO_X})


def buckets(sheet: Sheet, name: str, vdev: str, op: str, *, pool: str = "tank") -> list[tuple[str, int]]:
    """Bound and count of one histogram, in order."""
    wanted = re.compile(
        rf'xvmstore_vdev_{name}_wait_seconds_bucket{{pool="{pool}",vdev="{vdev}",op="{op}",le="(.*)"}} ([0-9]+)\Z'
    )
    return [(match[1], int(match[2])) for line in samples(sheet) if (match := wanted.match(line))]


def test_the_whole_of_one_histogram() -> None:
    """Reads of a disk of the lab's: what the rows of zpool add up to, from the bottom."""
    counts = [0] * 16 + [2, 0, 2, 4, 10, 6, 4] + [0] * 14
    sums = [sum(counts[: j + 1]) for j in range(37)]
    assert [*zip(BOUNDS, sums[12:35], strict=True), ("+Inf", 28)] == buckets(
        emitted(NODE, BOTH, STATUS), "disk", "mirror-0/vdb", "read"
    )


def test_the_whole_of_two_pools() -> None:
    """Every leaf, with log and cache; no mirror, pool, spare; four quantities, two directions, 24 buckets each."""
    sheet = emitted(NODE, BOTH, STATUS)
    assert [] == sheet.complaints
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for line in samples(sheet):
        name, pool, vdev, op, bound = re.fullmatch(
            r'(.*){pool="(.*)",vdev="(.*)",op="(.*)",le="(.*)"} .*', line
        ).groups()  # type: ignore[union-attr]
        found[name, pool, vdev, op].add(bound)
    leaves = [("tank", "mirror-0/vdb"), ("tank", "mirror-0/vdc")]
    leaves += [("two x", one) for one in ("mirror-0//var/lib/p1", "mirror-0//var/lib/p2", "/var/lib/l", "/var/lib/c")]
    assert {
        (f"xvmstore_vdev_{name}_wait_seconds_bucket", *leaf, op)
        for name in ("total", "disk", "syncq", "asyncq")
        for leaf in leaves
        for op in ("read", "write")
    } == set(found)
    assert all({*BOUNDS, "+Inf"} == bounds for bounds in found.values())
    for name in ("total", "disk", "syncq", "asyncq"):
        assert f"# TYPE xvmstore_vdev_{name}_wait_seconds histogram\n" in shown(sheet)


def test_no_sum_and_no_count() -> None:
    """ZFS keeps no sum; a count without one is no OpenMetrics."""
    assert not re.search(r"_(sum|count)[ {]", shown(emitted(NODE, BOTH, STATUS)))


def test_columns_are_where_zpool_has_them() -> None:
    """All that is said of one disk: total, disk, syncq, asyncq, reads before writes."""
    sheet = emitted(NODE, BOTH, STATUS)
    rows = [line.split("\t") for line in TANK.split("\nvdb\n")[1].split("\n")[:37]]
    expected = [[int(row[column]) for row in rows] for column in range(1, 9)]
    sums = [[sum(counts[: j + 1]) for j in (*range(12, 35), 36)] for counts in expected]
    found = [
        [count for _, count in buckets(sheet, name, "mirror-0/vdb", op)]
        for name in ("total", "disk", "syncq", "asyncq")
        for op in ("read", "write")
    ]
    assert sums == found
    # One of them is all zeroes, and no two are the same.
    assert 8 == len({tuple(counts) for counts in found})


# Three disks in one mirror: STATUS of a pool, and its histograms.
HEAD = "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME  STATE  READ WRITE CKSUM\n\ttank  ONLINE  0  0  0\n"


def status_of(*disks: str) -> str:
    """``zpool status`` of a mirror; one disk alone is none."""
    rows = [f"\t    {disk}  ONLINE  0  0  0\n" for disk in disks]
    if len(disks) == 1:
        return f"{HEAD}\t  {disks[0]}  ONLINE  0  0  0\n"
    return f"{HEAD}\t  mirror-0  ONLINE  0  0  0\n{''.join(rows)}"


def block(name: str, counts: dict[int, int], *, columns: int = 11) -> str:
    """What zpool prints of a vdev: the same in each column."""
    rows = ("\t".join([str((2 << j) - 1), *[str(counts.get(j, 0))] * columns]) + "\n" for j in range(37))
    return f"\n{name}\n{''.join(rows)}"


def histograms(disks: dict[str, dict[int, int]], *, columns: int = 11) -> str:
    """Of a mirror of disks, with its sum and the pool's."""
    sums: dict[int, int] = defaultdict(int)
    for counts in disks.values():
        for j, count in counts.items():
            sums[j] += count
    above = ["tank", "mirror-0"] if len(disks) > 1 else ["tank"]
    text = "".join(block(name, sums, columns=columns) for name in above)
    return asked(tank=text + "".join(block(name, counts, columns=columns) for name, counts in disks.items()))


def quantile(q: float, found: Sequence[tuple[str, int]]) -> float:
    """By the rule of PromQL's histogram_quantile for classic histograms: linear within the bucket."""
    rank = q * found[-1][1]
    below, start = 0, 0.0
    for bound, count in found:
        if count >= rank:
            return start if bound == "+Inf" else start + (float(bound) - start) * (rank - below) / (count - below)
        below, start = count, float(bound)
    raise AssertionError(found)


@pytest.mark.parametrize(
    ("nanoseconds", "above", "up_to"),
    [
        (3_000_000, 0.0021, 0.0042),
        (2_097_152, 0.0020971, 0.0041944),
        (2_097_151, 0.0010485, 0.0020972),
        (10_000_000_000, 8.58, 17.18),
    ],
)
def test_all_io_in_one_bucket(nanoseconds: int, above: float, up_to: float) -> None:
    """With every I/O at 3 ms a p99 of 2.1 to 4.2 ms, not half of that; a bound belongs to the bucket below it."""
    j = nanoseconds.bit_length() - 1
    sheet = emitted(NODE, histograms({"sda": {j: 1000}}), status_of("sda"))
    assert above < quantile(0.99, buckets(sheet, "disk", "sda", "read")) <= up_to


def test_what_is_under_and_over_the_bounds() -> None:
    """Faster than 8 microseconds is in the first bucket, slower than 34 s in the last alone; nothing is lost."""
    sheet = emitted(NODE, histograms({"sda": {0: 1, 11: 2, 12: 4, 34: 8, 35: 16, 36: 32}}), status_of("sda"))
    found = buckets(sheet, "total", "sda", "write")
    assert [("8.191e-06", 7), ("34.359738367", 15), ("+Inf", 63)] == [found[0], found[-2], found[-1]]


DISKS = {"sda": {20: 5000, 21: 70}, "sdb": {20: 6000, 22: 10}, "sdc": {20: 7000}}


def test_a_disk_that_is_detached_leaves_the_others_as_they_were() -> None:
    """No sample of another disk changes: what ZFS says of the mirror and the pool drops then, and is not shown."""
    before = samples(emitted(NODE, histograms(DISKS), status_of(*DISKS)))
    left = {disk: DISKS[disk] for disk in ("sda", "sdb")}
    after = samples(emitted(NODE, histograms(left), status_of(*left)))
    assert [line for line in before if "/sdc" not in line] == after


def test_the_last_disk_of_a_mirror_has_another_place() -> None:
    """It stands where the mirror stood; its counts go on, under one name at a time."""
    before = samples(emitted(NODE, histograms({disk: DISKS[disk] for disk in ("sda", "sdb")}), status_of("sda", "sdb")))
    after = samples(emitted(NODE, histograms({"sda": DISKS["sda"]}), status_of("sda")))
    assert [line.replace("mirror-0/", "") for line in before if "/sdb" not in line] == after


@pytest.mark.parametrize("columns", [9, 10, 11])
def test_columns_of_every_release(columns: int) -> None:
    """Trim came with OpenZFS 0.8, rebuild with 2.2: they come last, and all else is the same."""
    found = samples(emitted(NODE, histograms(DISKS, columns=columns), status_of(*DISKS)))
    assert samples(emitted(NODE, histograms(DISKS), status_of(*DISKS))) == found


def test_of_illumos() -> None:
    """Recorded without -v, so it is a pool that has no vdevs: all that is read there is its block."""
    (found,) = parse(stdout(ILLUMOS, "-wHp"))
    assert ("tank", 10) == (found.name, len(found.counts))
    assert [9709, 7542] == [sum(column) for column in found.counts[:2]]


@pytest.mark.parametrize(("up_to", "names"), [(2, {"total", "disk", "syncq", "asyncq"}), (1, {"total", "disk"})])
def test_many_disks(up_to: int, names: set[str]) -> None:
    """From some number on without the waits in ZFS' queues; never sums instead of leaves."""
    sheet = emitted(latency(all_up_to=up_to), asked(tank=TANK), STATUS)
    assert names == set(re.findall(r"^xvmstore_vdev_(\w+)_wait", shown(sheet), re.MULTILINE))
    assert {"mirror-0/vdb", "mirror-0/vdc"} == set(re.findall('vdev="(.*?)"', shown(sheet)))


@pytest.mark.parametrize(("disks", "quantities"), [(64, 4), (65, 2)])
def test_how_many_are_many(disks: int, quantities: int) -> None:
    """What docs say: up to 64 leaves 192 series each, then 96."""
    names = [f"sd{number}" for number in range(disks)]
    sheet = emitted(NODE, histograms({name: {20: 1} for name in names}), status_of(*names))
    assert disks * quantities * 2 * 24 == len(sheet)


LINE = "1048575\t1\t211\t4\t142\t1\t0\t0\t142\t3\t0\t0\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LINE, LINE[: len(LINE) // 2]),
        (LINE, ""),
        (LINE, LINE + LINE),
        (LINE, LINE.replace("1048575", "1048576")),
        (LINE, LINE.replace("\t211\t", "\t")),
        (LINE, LINE.replace("\t211\t", "\t211\t0\t")),
        (LINE, LINE.replace("211", "2.1K")),
        (LINE, LINE.replace("211", "-")),
        (LINE, LINE.replace("211", "-1")),
        (LINE, LINE.replace("211", "²")),
        ("\nvdc\n", "vdc\n"),
        ("\nvdc\n", "\n\n\nvdc\n"),
        ("\nvdc\n", "\n"),
        ("\nvdc\n", "\nvdd\n"),
        ("\nmirror-0\n", "\nmirror-1\n"),
        ("\ntank\n", "\nhank\n"),
        (TANK[TANK.index("\nvdc\n") :], ""),
        (TANK, TANK[:-8]),
        (TANK, TANK[:-1]),
        (TANK, TANK + "\n"),
        (TANK, ""),
        (TANK, "Cannot get histograms\n"),
        (TANK, TANK + block("vdd", {})),
        (TANK, re.sub(r"(?m)^(\d.*)\t0\t0$", r"\1", TANK)[:-1] + "\t\n"),
        (TANK, re.sub(r"(?m)^(\d+\t.*)$", "\\1\t0", TANK)),
    ],
)
def test_half_an_answer_is_none(before: str, after: str) -> None:
    """Half a line, a row too few or too many, other columns, other vdevs: the pool is left out, and only that pool."""
    assert before in TANK
    sheet = emitted(NODE, asked(tank=TANK.replace(before, after, 1), **{"two x": TWO_X}), STATUS)
    (complaint,) = sheet.complaints
    assert complaint.startswith("tank: ")
    assert samples(emitted(NODE, asked(**{"two x": TWO_X}), STATUS)) == samples(sheet)


def test_a_pool_that_failed_costs_itself_only() -> None:
    """Its exit status tells, and a pool that was cut off has none."""
    alone = samples(emitted(NODE, asked(tank=TANK), STATUS))
    for bad in (f"\tpool\ttwo x\n{TWO_X}\texit\t1\n", "\tpool\ttwo x\n\texit\t1\n", f"\tpool\ttwo x\n{TWO_X}"):
        sheet = emitted(NODE, asked(tank=TANK) + bad, STATUS)
        (complaint,) = sheet.complaints
        assert complaint.startswith("two x: ")
        assert alone == samples(sheet)


def test_a_pool_without_status() -> None:
    """One that was imported a moment ago: its leaves are not known yet."""
    sheet = emitted(NODE, BOTH, STATUS.split("\n  pool: two x")[0])
    assert 1 == len(sheet.complaints)
    assert samples(emitted(NODE, asked(tank=TANK), STATUS)) == samples(sheet)


def test_no_pools() -> None:
    """A node may have none."""
    assert "" == shown(emitted(NODE, "", "no pools available\n"))


def test_what_is_left_of_a_removed_vdev() -> None:
    """zpool iostat shows it, zpool status does not."""
    sheet = emitted(NODE, asked(tank=TANK + block("indirect-1", {})), STATUS)
    assert [] == sheet.complaints
    assert samples(emitted(NODE, asked(tank=TANK), STATUS)) == samples(sheet)


@pytest.mark.parametrize("status", ["", "internal error: out of memory\n"])
def test_without_the_tree(status: str) -> None:
    """Which are leaves is not known: the collector fails."""
    with pytest.raises(UnexpectedOutput):
        emitted(NODE, BOTH, status)


@pytest.mark.parametrize("text", ["tank\n", TANK])
def test_an_answer_without_its_frame(text: str) -> None:
    """It is not what was asked for: the collector fails."""
    with pytest.raises(UnexpectedOutput):
        emitted(NODE, text, STATUS)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (2, stderr(ILLUMOS, "b111 options refused").replace("'H'", "'w'")),
        (1, stderr(ILLUMOS, "-lHp on an older kernel module").replace("-l", "-w")),
    ],
)
def test_releases_without_histograms(status: int, words: str) -> None:
    """Old tools, or an old module below new tools: not supported, which is no failure."""
    well = Ended(0, STATUS, "")
    asked_ = [vdevs(exact=True), NODE]
    _, part = parts([(asked_, Said({0: well, 1: Ended(status, "\tpool\ttank\n", words)}))])
    assert (False, "") == (part.supported, part.trouble)
    _, part = parts([(asked_, Said({0: well, 1: Ended(status, "\tpool\ttank\n", "no luck")}))])
    assert part.supported
    assert "no luck" in part.trouble


POOLS = """\
case "$*" in
"list -H -o name") printf '{}';;
"iostat -wHpv bad") echo "no luck" >&2; exit 1;;
"iostat -wHpv old") echo "invalid option" >&2; exit 2;;
"iostat -wHpv "*) shift 2; printf '\\n%s\\n' "$1";;
esac"""


@pytest.mark.parametrize(
    ("pools", "exited", "printed"),
    [
        ("", 0, ""),
        ("tank\\n", 0, "\tpool\ttank\n\ntank\n\texit\t0\n"),
        (
            "two x\\nbad\\n*\\n",
            0,
            "\tpool\ttwo x\n\ntwo x\n\texit\t0\n\tpool\tbad\n\texit\t1\n\tpool\t*\n\n*\n\texit\t0\n",
        ),
        ("bad\\n", 1, "\tpool\tbad\n\texit\t1\n"),
        ("old\\ntank\\n", 2, "\tpool\told\n\texit\t2\n"),
    ],
)
def test_asks_one_pool_at_a_time(tmp_path: Path, pools: str, exited: int, printed: str) -> None:
    """Names may have blanks; a pool that fails is marked; if all do the question failed; an old zpool is asked once."""
    done = run(NODE, tmp_path, {"zpool": POOLS.format(pools)})
    assert (exited, printed) == (done.returncode, done.stdout)


def test_pools_that_cannot_be_listed(tmp_path: Path) -> None:
    """They are not none."""
    done = run(NODE, tmp_path, {"zpool": 'echo "no luck" >&2; exit 1'})
    assert (1, "", "no luck\n") == (done.returncode, done.stdout, done.stderr)
