"""What a monitoring system reads: latency histograms, kstats, pool columns, error counts.

Texts that say "recorded" are what the real print code of illumos-gate (zpool_main.c, kstat.c) and kstat.pl printed.
"""

from pathlib import Path

import pytest

from embedded import kernel_stats
from embedded.answer import Answer
from embedded.model import Disk, Node
from embedded.start_node import NodeCommands
from embedded.zpool_iostat import BUCKETS, COLUMNS, vdev_guid
from tests.embedded.nodes import VM1, ok, run
from tests.embedded.replay import NOW

BOOT = NOW - 912345.678901234
IQN = "iqn.2026-11.com.example:tank.vm1"

# Recorded: the rows of `zpool iostat -wHp tank` that are not all zero, by bucket.
RECORDED = {
    12: "8191	0	0	0	0	6000	30	0	4000	0	0",
    17: "262143	0	0	9000	5000	0	0	0	0	0	0",
    18: "524287	9000	5000	700	2500	0	0	0	0	0	0",
    19: "1048575	700	2500	0	0	0	0	0	0	0	0",
    20: "2097151	0	0	9	40	0	0	0	0	0	0",
    21: "4194303	9	40	0	0	0	0	0	0	0	0",
    23: "16777215	0	0	0	2	0	0	0	0	0	0",
    24: "33554431	0	2	0	0	0	0	0	0	0	0",
}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node that was booted a while ago."""
    return booted(tmp_path, "illumos")


def booted(root: Path, flavour: str) -> Node:
    """A node of a flavour, with one unit and one target; the unit was registered 204.881734512 s after boot."""
    node = Node.create(root, flavour)
    node.boot_time = BOOT
    ok(node, "zfs create -V 1G tank/vm1", f"itadm create-target -n {IQN} -l 'guest vm1'")
    tool = "stmfadm create-lu" if flavour == "illumos" else "sbdadm create-lu"
    assert run(node, f"{tool} {VM1}", now=BOOT + 204.881734512).exit == 0
    return node


def histogram(**at: dict[int, int]) -> dict[str, list[int]]:
    """Counts by column and bucket."""
    return {name: [counts.get(bucket, 0) for bucket in range(BUCKETS)] for name, counts in at.items()}


def blocks(text: str) -> dict[str, list[str]]:
    """The rows of each block, by its title."""
    parts = [part.splitlines() for part in text.split("\n\n")]
    return {(lines := [line for line in part if line])[0]: lines[1:] for part in parts}


def counts(rows: list[str], column: str) -> dict[int, int]:
    """The counts of a column that are not zero, by bucket."""
    cells = [int(row.split("\t")[1 + COLUMNS.index(column)]) for row in rows]
    return {bucket: count for bucket, count in enumerate(cells) if count}


def test_a_histogram_byte_for_byte(node: Node) -> None:
    """As recorded: an empty line, the name, 37 rows of inclusive upper bounds and ten counts."""
    node.pools["tank"].disks[0].latency = histogram(
        total_read={18: 9000, 19: 700}, total_write={18: 5000, 19: 2500, 21: 40}, disk_read={17: 9000, 18: 700, 20: 9},
        disk_write={17: 5000, 18: 2500, 20: 40, 23: 2}, syncq_read={12: 6000}, syncq_write={12: 30},
    )  # fmt: skip
    node.pools["tank"].disks[1].latency = histogram(
        total_read={21: 9}, total_write={24: 2}, asyncq_write={12: 4000}
    )  # fmt: skip
    empty = {bucket: "\t".join([str((2 << bucket) - 1), *["0"] * 10]) for bucket in range(BUCKETS)}
    rows = {**empty, **RECORDED}
    assert "\ntank\n" + "".join(f"{rows[at]}\n" for at in range(BUCKETS)) == ok(node, "zpool iostat -wHp tank")
    assert rows[36].startswith("137438953471\t")


def test_every_vdev_has_a_block(node: Node) -> None:
    """-v: pool, mirror, leaves, then logs and cache after one more empty line; the cache is in no sum."""
    pool = node.pools["tank"]
    pool.disks[0].latency = {"disk_write": [1, 2]}
    pool.disks[1].latency = {"disk_write": [10]}
    pool.logs, pool.cache = (
        [Disk("c2t0d0", latency={"disk_write": [100]})],
        [Disk("c3t0d0", latency={"disk_write": [7]})],
    )
    text = ok(node, "zpool iostat -wHpv tank")
    found = {title: counts(rows, "disk_write") for title, rows in blocks(text).items()}
    assert found == {
        "tank": {0: 111, 1: 2}, "mirror-0": {0: 11, 1: 2}, "c1t0d0s0": {0: 1, 1: 2}, "c1t1d0s0": {0: 10},
        "c2t0d0": {0: 100}, "c3t0d0": {0: 7},
    }  # fmt: skip
    assert [text.count(f"\n\n\n{name}\n") for name in found] == [0, 0, 0, 0, 1, 1]


def test_a_detached_leaf_takes_its_counts_along(node: Node) -> None:
    """The pool's sum drops, as it does in ZFS."""
    pool = node.pools["tank"]
    for disk in pool.disks:
        disk.latency = {"total_read": [5]}
    before = blocks(ok(node, "zpool iostat -wHp tank"))["tank"]
    del pool.disks[1]
    after = blocks(ok(node, "zpool iostat -wHpv tank"))
    assert ({0: 10}, {0: 5}) == (counts(before, "total_read"), counts(after["tank"], "total_read"))
    assert list(after) == ["tank", "c1t0d0s0"]


def test_vdevs_by_guid(node: Node) -> None:
    """-g prints numbers for vdevs, not for the pool; they are given or made up, and stay."""
    pool = node.pools["tank"]
    pool.disks[1].guid = 1234567890123456789
    titles = list(blocks(ok(node, "zpool iostat -wHpvg tank")))
    assert (titles[0], titles[2:]) == ("tank", [str(vdev_guid(pool, pool.disks[0])), "1234567890123456789"])
    assert len(set(titles)) == 4
    assert all(title.isdecimal() for title in titles[1:])
    node.save()
    assert titles == list(blocks(ok(Node.load(node.root), "zpool iostat -gvpHw")))


def test_the_eleventh_column(node: Node) -> None:
    """A leaf that counts rebuilds gives every block of its pool the column of newer systems."""
    node.pools["tank"].disks[0].latency = {"rebuild": [0, 3]}
    found = blocks(ok(node, "zpool iostat -wHpv tank"))
    assert {len(row.split("\t")) for rows in found.values() for row in rows} == {12}
    assert found["tank"][1] == "3\t" + "0\t" * 10 + "3"


def test_histograms_are_checked(node: Node) -> None:
    """A column or bucket that does not exist would never be printed: it is refused."""
    node.pools["tank"].disks[0].latency = {"totl_read": [1]}
    with pytest.raises(ValueError, match="totl_read"):
        run(node, "zpool iostat -wHp")
    node.pools["tank"].disks[0].latency = {"total_read": [0] * 38}
    with pytest.raises(ValueError, match="38 counts"):
        run(node, "zpool iostat -wHp")


@pytest.mark.parametrize("line", ["", "-w", "-wH", "-lHp", "-wHpl", "-wHp 5", "-wHp tank 1 2"])
def test_other_uses_of_iostat_are_refused(node: Node, line: str) -> None:
    """What the node was not told to imitate is an error with the usage, never a guess."""
    answer = run(node, f"zpool iostat {line}")
    assert (answer.exit, answer.stdout) == (2, "")
    assert "usage:\n\tiostat [[-lq]|[-rw]] [-T d|u] [-ghHLpPvy]\n\t    [[pool ...]" in answer.stderr
    assert "status" not in answer.stderr


def test_iostat_of_no_pool(node: Node) -> None:
    """A missing pool prints no other either; without any pool it says so and fails."""
    assert Answer(stderr="cannot open 'nope': no such pool\n", exit=1) == run(node, "zpool iostat -wHp tank nope")
    node.pools.clear()
    assert Answer(stderr="no pools available\n", exit=1) == run(node, "zpool iostat -wHp")


@pytest.mark.parametrize(("options", "letter"), [("-wHp", "w"), ("-Hp", "H")])
def test_old_iostat(tmp_path: Path, options: str, letter: str) -> None:
    """Recorded: 2009.06 knows -v alone."""
    answer = run(Node.create(tmp_path, "b111"), f"zpool iostat {options}")
    text = f"invalid option '{letter}'\nusage:\n\tiostat [-v] [pool] ... [interval [count]]\n"
    assert Answer(stderr=text, exit=2) == answer


def test_more_pool_columns(node: Node) -> None:
    """The columns that an exporter asks for, exact and rounded."""
    pool = node.pools["tank"]
    pool.freeing, pool.leaked, pool.fragmentation, pool.expandsize = 123456, 0, 12, 0
    columns = "freeing,leaked,fragmentation,expandsize,readonly,version,altroot,guid"
    assert f"123456\t0\t12\t-\toff\t-\t-\t{pool.guid}\n" == ok(node, f"zpool list -Hpo {columns} tank")
    pool.expandsize = 1 << 30
    assert ok(node, "zpool list -Ho freeing,leaked,frag,expandsize") == "121K\t0B\t12%\t1G\n"
    pool.health = "FAULTED"
    assert ok(node, "zpool list -Hpo freeing,expandsize,health tank") == "-\t-\tFAULTED\n"


@pytest.mark.parametrize("column", ["freeing", "leaked", "fragmentation", "expandsize", "dedupratio", "readonly"])
def test_old_pool_columns(tmp_path: Path, column: str) -> None:
    """They came after 2009.06."""
    answer = run(Node.create(tmp_path, "b111"), f"zpool list -H -o name,{column}")
    assert (answer.stdout, answer.exit) == ("", 2)
    assert answer.stderr.startswith(f"bad property list: invalid property '{column}'\n")


def test_error_counts(node: Node) -> None:
    """Per leaf; rounded as zfs_nicenum does, exact with -p; such a pool is not well although ONLINE."""
    disk = node.pools["tank"].disks[1]
    disk.read_errors, disk.write_errors, disk.checksum_errors = 1234, 2, 1 << 20
    assert "\t    c1t1d0s0  ONLINE   1.21K     2    1M\n" in ok(node, "zpool status tank")
    exact = ok(node, "zpool status -p tank")
    assert "\t    c1t1d0s0  ONLINE    1234     2 1048576\n" in exact
    assert "\t  mirror-0    ONLINE       0     0     0\n\t    c1t0d0s0  ONLINE       0     0     0\n" in exact
    assert "experienced an unrecoverable error" in ok(node, "zpool status -x")
    assert run(node, "zpool status nope") == Answer(stderr="cannot open 'nope': no such pool\n", exit=1)


def test_old_status_has_no_exact_counts(tmp_path: Path) -> None:
    """-p came in 2020."""
    answer = run(Node.create(tmp_path, "b111"), "zpool status -p")
    assert answer == Answer(stderr="invalid option 'p'\nusage:\n\tstatus [-vx] [pool] ...\n", exit=2)


def test_disks_beside_the_mirror(node: Node) -> None:
    """Logs, cache and spares under headings of their own; a spare has a state and no counts."""
    pool = node.pools["tank"]
    pool.logs, pool.cache, pool.spares = [Disk("c2t0d0", write_errors=3)], [Disk("c3t0d0")], [Disk("c4t0d0")]
    expected = (
        "\t    c1t1d0s0  ONLINE       0     0     0\n"
        "\tlogs\n\t  c2t0d0      ONLINE       0     3     0\n"
        "\tcache\n\t  c3t0d0      ONLINE       0     0     0\n"
        "\tspares\n\t  c4t0d0      AVAIL   \n\nerrors: "
    )
    assert expected in ok(node, "zpool status tank")


def test_comstar_byte_for_byte(node: Node) -> None:
    """As recorded from the C program: times of I/O in nanoseconds, the others in seconds; all sorted."""
    (guid,) = node.units
    unit, target = kernel_stats.unit_io(node, guid), kernel_stats.target_io(IQN)
    stamps = {"snaptime": 912345.678955555, "rlastupdate": 912345600004321, "wlastupdate": 912345600000000}
    io = {"nread": 73014444032, "nwritten": 20401094656, "reads": 1112031, "writes": 311298, "rcnt": 3, **stamps}
    times = {"rlentime": 1234567890123, "rtime": 456789012345, "wlentime": 123456789012, "wtime": 91234567890}
    node.kstats = {unit: {**io, **times}, target: {"crtime": 204.9900005}}
    name = unit.removeprefix("stmf:0:stmf_lu_io_")
    assert len(name) == 16
    assert f"""\
stmf:0:stmf_lu_{name}:class	misc
stmf:0:stmf_lu_{name}:crtime	204.881734610
stmf:0:stmf_lu_{name}:lun-alias	/dev/zvol/rdsk/tank/vm1
stmf:0:stmf_lu_{name}:lun-guid	{guid.lower()}
stmf:0:stmf_lu_{name}:snaptime	912345.678901196
stmf:0:stmf_lu_io_{name}:class	io
stmf:0:stmf_lu_io_{name}:crtime	204.881734610
stmf:0:stmf_lu_io_{name}:nread	73014444032
stmf:0:stmf_lu_io_{name}:nwritten	20401094656
stmf:0:stmf_lu_io_{name}:rcnt	3
stmf:0:stmf_lu_io_{name}:reads	1112031
stmf:0:stmf_lu_io_{name}:rlastupdate	912345600004321
stmf:0:stmf_lu_io_{name}:rlentime	1234567890123
stmf:0:stmf_lu_io_{name}:rtime	456789012345
stmf:0:stmf_lu_io_{name}:snaptime	912345.678955555
stmf:0:stmf_lu_io_{name}:wcnt	0
stmf:0:stmf_lu_io_{name}:wlastupdate	912345600000000
stmf:0:stmf_lu_io_{name}:wlentime	123456789012
stmf:0:stmf_lu_io_{name}:writes	311298
stmf:0:stmf_lu_io_{name}:wtime	91234567890
""" == ok(node, "kstat -p stmf:0:stmf_lu_*")
    name = target.removeprefix("stmf:0:stmf_tgt_io_")
    assert f"""\
stmf:0:stmf_tgt_{name}:class	misc
stmf:0:stmf_tgt_{name}:crtime	204.990000000
stmf:0:stmf_tgt_{name}:protocol	iSCSI
stmf:0:stmf_tgt_{name}:snaptime	912345.678901196
stmf:0:stmf_tgt_{name}:target-alias	guest vm1
stmf:0:stmf_tgt_{name}:target-name	{IQN}
stmf:0:stmf_tgt_io_{name}:crtime	204.990000500
""" == ok(node, "kstat -p 'stmf:0:/^stmf_tgt_f/' 'stmf::stmf_tgt_io_*:crtime'")


def test_perl_kstat(tmp_path: Path) -> None:
    """As recorded from kstat.pl: every time in seconds, as many digits as it takes."""
    node = booted(tmp_path, "b111")
    io = {"crtime": 31, "rlentime": 99123456789012, "rtime": 812345678901, "wlastupdate": 912345670000000}
    node.kstats = {"zfs:0:tank": {"class": "disk", **io}}
    assert ok(node, "kstat -p zfs:0:tank") == (
        "zfs:0:tank:class\tdisk\nzfs:0:tank:crtime\t31\nzfs:0:tank:rlentime\t99123.456789012\n"
        "zfs:0:tank:rtime\t812.345678901\nzfs:0:tank:snaptime\t912345.678901196\nzfs:0:tank:wlastupdate\t912345.67\n"
    )
    answer = run(node, "kstat -j zfs:0:tank")
    assert (answer.stdout, answer.exit, answer.stderr.splitlines()[:2]) == ("", 2, ["Unknown option: j", "Usage:"])


def test_old_comstar_kstats_count_and_do_not_time(tmp_path: Path) -> None:
    """Bytes and operations grow, times stay 0; the pool has no kstat; before b114 COMSTAR has none either."""
    node = booted(tmp_path, "b111")
    (guid,) = node.units
    node.kstats = {kernel_stats.unit_io(node, guid): {"reads": 5, "nread": 4096, "rlentime": 7, "wlentime": 8}}
    lines = ok(node, "kstat -p -c io").splitlines()
    values = {line.split("\t")[0].split(":")[-1]: line.split("\t")[1] for line in lines if "stmf_lu_io" in line}
    assert ("5", "4096", "0", "0") == (values["reads"], values["nread"], values["rlentime"], values["wlentime"])
    assert run(node, "kstat -p zfs:0:tank") == Answer(exit=1)
    node.conditions.add("no-stmf-kstats")
    assert run(node, "kstat -p -m stmf") == Answer(exit=1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kstat -p unix:0:system_misc:boot_time", f"unix:0:system_misc:boot_time\t{int(BOOT)}\n"),
        ("kstat -p ::tank:reads", "zfs:0:tank:reads\t0\n"),
        ("kstat -p -c disk -s nread", "zfs:0:tank:nread\t0\n"),
        ("kstat -p -m zfs -i 0 -n arcstats -s 'l2_s*'", "zfs:0:arcstats:l2_size\t0\n"),
        ("kstat -p zfs:0:tank:rcnt zfs:0:arcstats:c", "zfs:0:tank:rcnt\t0\nzfs:0:arcstats:c\t8600000000\n"),
        ("kstat -p 'zfs:0:tank:/^[rw]cnt$/'", "zfs:0:tank:rcnt\t0\nzfs:0:tank:wcnt\t0\n"),
        ("kstat -p unix:0:system_misc:crtime", "unix:0:system_misc:crtime\t0\n"),
        ("kstat -l zfs:0:tank:n*", "zfs:0:tank:nread\nzfs:0:tank:nwritten\n"),
    ],
)
def test_choosing_kstats(node: Node, line: str, expected: str) -> None:
    """Operands one after the other, empty parts, shell patterns, regular expressions, options, class."""
    assert expected == ok(node, line)


def test_no_kstat_found(node: Node) -> None:
    """Recorded: no output, exit 1."""
    assert run(node, "kstat -p nothing:0:x") == Answer(exit=1)
    assert run(node, "kstat -p zfs:0:tank:nosuch") == Answer(exit=1)


@pytest.mark.parametrize(
    "line", ["kstat", "kstat zfs:0:tank", "kstat -p -m zfs a:b", "kstat -p a:b:c:d:e", "kstat -p 1"]
)
def test_other_uses_of_kstat_are_refused(node: Node, line: str) -> None:
    """An error with the usage."""
    answer = run(node, line)
    assert (answer.stdout, answer.exit) == ("", 2)
    assert "Usage:\nkstat [ -Cjlpq ]" in answer.stderr


def test_a_new_registration_starts_again(node: Node) -> None:
    """Its kstats have another address and counters at zero, even with the old counters still in the state."""
    (guid,) = node.units
    old = kernel_stats.unit_io(node, guid)
    node.kstats = {old: {"reads": 5}}
    ok(node, f"stmfadm delete-lu -k {guid}")
    assert "stmf_lu" not in ok(node, "kstat -p")
    ok(node, f"stmfadm import-lu {VM1}")
    assert kernel_stats.unit_io(node, guid) != old
    assert "5" not in [line.split("\t")[1] for line in ok(node, "kstat -p -s reads").splitlines()]


def test_alias_of_a_unit(node: Node) -> None:
    """As stmfadm shows it."""
    (guid,) = node.units
    ok(node, f"stmfadm modify-lu -p alias=web1 {guid}")
    assert ok(node, "kstat -p -s lun-alias").endswith(":lun-alias\tweb1\n")


def test_arc_statistics(node: Node) -> None:
    """What every release has, with what a test sets."""
    node.kstats = {"zfs:0:arcstats": {"hits": 12}}
    text = ok(node, "kstat -p zfs:0:arcstats")
    found = dict(line.removeprefix("zfs:0:arcstats:").split("\t") for line in text.splitlines())
    wanted = (
        "misses demand_data_hits demand_data_misses demand_metadata_hits demand_metadata_misses mfu_hits mru_hits"
        " mfu_ghost_hits mru_ghost_hits size c c_min c_max memory_throttle_count l2_hits l2_misses l2_size"
        " l2_read_bytes l2_write_bytes l2_cksum_bad l2_io_error class crtime snaptime"
    )
    assert set(wanted.split()) < found.keys()
    assert found["hits"] == "12"


def test_reading_does_not_save(tmp_path: Path) -> None:
    """kstat, iostat and the listings leave state.json as it is."""
    served = NodeCommands.open(tmp_path, "illumos", fresh=True)
    before = (tmp_path / "state.json").stat().st_ino
    for line in ("kstat -p", "zpool iostat -wHp", "zpool list", "zfs list"):
        assert served.run(line.split(), condition="").exit == 0
    assert before == (tmp_path / "state.json").stat().st_ino


def test_a_state_put_in_place_takes_effect(tmp_path: Path) -> None:
    """What somebody else writes into state.json holds from the next command on, and is not lost by a change."""
    served = NodeCommands.open(tmp_path, "illumos", fresh=True)
    other = Node.load(tmp_path)
    other.pools["tank"].disks[0].latency = {"total_read": [3]}
    other.kstats = {"zfs:0:tank": {"reads": 77}}
    other.save()
    assert served.run(["zfs", "create", "tank/a"], condition="").exit == 0
    assert served.run(["kstat", "-p", "zfs:0:tank:reads"], condition="").stdout == "zfs:0:tank:reads\t77\n"
    assert served.run(["zfs", "list", "-H", "-o", "name"], condition="").stdout == "tank\ntank/a\n"
    assert Node.load(tmp_path).pools["tank"].disks[0].latency == {"total_read": [3]}


def test_its_own_state_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred thousand snapshots that would cost every command a second."""
    served = NodeCommands.open(tmp_path, "illumos", fresh=True)
    assert served.run(["zfs", "create", "tank/a"], condition="").exit == 0
    monkeypatch.delattr(Node, "load")
    assert served.run(["zfs", "list", "-H", "-o", "name"], condition="").stdout == "tank\ntank/a\n"
