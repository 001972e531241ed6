"""The tree of vdevs, their errors, lost data: what ``zpool status`` becomes, and what is wrong in it."""

import calendar
from pathlib import Path

import pytest

from exporters.vdevs import vdevs
from remote.errors import UnexpectedOutput
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

NEW, OLD = vdevs(exact=True), vdevs(exact=False)
LAB = "../openzfs/exporter-zpool-2.3"
STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "split", "avail", "inuse", "unknown")
TWO_POOLS = {
    "tank": {"mirror-0": "online", "mirror-0/vdb": "online", "mirror-0/vdc": "online"},
    "two x": {
        "mirror-0": "online",
        "mirror-0//var/lib/p1": "online",
        "mirror-0//var/lib/p2": "online",
        "/var/lib/l": "online",
        "/var/lib/c": "online",
        "/var/lib/s": "avail",
    },
}
INFO = """\
xvmstore_vdev_info{pool="tank",vdev="mirror-0",parent="",role="data",disk=""} 1
xvmstore_vdev_info{pool="tank",vdev="mirror-0/vdb",parent="mirror-0",role="data",disk="vdb"} 1
xvmstore_vdev_info{pool="tank",vdev="mirror-0/vdc",parent="mirror-0",role="data",disk="vdc"} 1
xvmstore_vdev_info{pool="two x",vdev="mirror-0",parent="",role="data",disk=""} 1
xvmstore_vdev_info{pool="two x",vdev="mirror-0//var/lib/p1",parent="mirror-0",role="data",disk="/var/lib/p1"} 1
xvmstore_vdev_info{pool="two x",vdev="mirror-0//var/lib/p2",parent="mirror-0",role="data",disk="/var/lib/p2"} 1
xvmstore_vdev_info{pool="two x",vdev="/var/lib/l",parent="",role="log",disk="/var/lib/l"} 1
xvmstore_vdev_info{pool="two x",vdev="/var/lib/c",parent="",role="cache",disk="/var/lib/c"} 1
xvmstore_vdev_info{pool="two x",vdev="/var/lib/s",parent="",role="spare",disk="/var/lib/s"} 1
"""
SCRUBBED = calendar.timegm((2026, 11, 24, 17, 32, 23))


def family(name: str, kind: str, lines: list[str]) -> str:
    """A TYPE line, and those below it."""
    return f"# TYPE xvmstore_{name} {kind}\n" + "".join(f"xvmstore_{name}{line}\n" for line in lines)


def whole() -> str:
    """What the two pools of the lab should become."""
    places = [(pool, vdev) for pool, found in TWO_POOLS.items() for vdev in found]
    counted = [f'{{pool="{pool}",vdev="{vdev}"}} 0' for pool, vdev in places if vdev != "/var/lib/s"]
    # Only disks have a number of slow I/Os.
    slow = [line for line in counted if '"mirror-0"' not in line]
    text = family(
        "vdev_state",
        "gauge",
        [
            f'{{pool="{pool}",vdev="{vdev}",state="{state}"}} {int(TWO_POOLS[pool][vdev] == state)}'
            for pool, vdev in places
            for state in STATES
        ],
    )
    text += f"# TYPE xvmstore_vdev_info gauge\n{INFO}"
    text += "".join(family(f"vdev_{one}_errors_total", "counter", counted) for one in ("read", "write", "checksum"))
    text += family("vdev_slow_ios_total", "counter", slow)
    functions = ("scrub", "resilver", "rebuild", "error_scrub")
    text += family(
        "pool_scan_state",
        "gauge",
        [
            f'{{pool="{pool}",function="{one}",state="{state}"}} '
            f"{int(state == ('finished' if one == 'scrub' else 'none'))}"
            for pool in TWO_POOLS
            for one in functions
            for state in ("none", "scanning", "paused", "finished", "canceled")
        ],
    )
    for name, value in (("start_timestamp_seconds", SCRUBBED), ("end_timestamp_seconds", SCRUBBED)):
        lines = [f'{{pool="{pool}",function="scrub"}} {value}' for pool in TWO_POOLS]
        text += family(f"pool_scan_{name}", "gauge", lines)
    for name in ("repaired_bytes", "errors"):
        text += family(f"pool_scan_{name}", "gauge", [f'{{pool="{pool}",function="scrub"}} 0' for pool in TWO_POOLS])
    last = [f'{{pool="{pool}"}} {SCRUBBED}' for pool in TWO_POOLS]
    text += family("pool_last_scrub_timestamp_seconds", "gauge", last)
    return text + family("pool_data_errors", "gauge", [f'{{pool="{pool}"}} 0' for pool in TWO_POOLS])


def test_the_whole_of_two_pools() -> None:
    """OpenZFS 2.3, with logs, cache and a spare, which has no counts."""
    sheet = emitted(NEW, stdout(LAB, "zpool status -s"))
    assert whole() == shown(sheet)
    assert [] == sheet.complaints


def test_without_slow_ios_all_else_is_the_same() -> None:
    """Releases whose zpool status knows no -s have no such series."""
    text = shown(emitted(NEW, stdout(LAB, "zpool status")))
    assert [line for line in whole().splitlines() if "slow_ios" not in line] == text.splitlines()


def test_a_disk_that_is_offline() -> None:
    """Its own state, and that of the mirror above it; the other disk is well."""
    name = "zpool offline 'two x' /var/lib/p2; zpool status 'two x'; zpool online 'two x' /var/lib/p2"
    on = [line for line in samples(emitted(NEW, stdout(LAB, name))) if "vdev_state" in line and line.endswith(" 1")]
    assert [
        'xvmstore_vdev_state{pool="two x",vdev="mirror-0",state="degraded"} 1',
        'xvmstore_vdev_state{pool="two x",vdev="mirror-0//var/lib/p1",state="online"} 1',
        'xvmstore_vdev_state{pool="two x",vdev="mirror-0//var/lib/p2",state="offline"} 1',
        'xvmstore_vdev_state{pool="two x",vdev="/var/lib/l",state="online"} 1',
        'xvmstore_vdev_state{pool="two x",vdev="/var/lib/c",state="online"} 1',
        'xvmstore_vdev_state{pool="two x",vdev="/var/lib/s",state="avail"} 1',
    ] == on


def test_of_2009() -> None:
    """A single disk, and the old label of the scrub line."""
    sheet = emitted(OLD, stdout("zpool-status", "b111 (2009.06)"))
    assert ('xvmstore_vdev_read_errors_total{pool="tank",vdev="c1t0d0s0"} 0') in samples(sheet)
    assert 'xvmstore_pool_scan_state{pool="tank",function="scrub",state="none"} 1' in samples(sheet)
    assert [] == sheet.complaints


# Laid out as print_status_config() of zpool_main.c does.
DEEP = """\
  pool: tank
 state: DEGRADED
checkpoint: created Sat Nov 21 10:15:00 2026, consumes 1.50M
config:

\tNAME                       STATE     READ WRITE CKSUM  SLOW
\ttank                       DEGRADED     0     0     0     -
\t  raidz1-0                 DEGRADED     0     0     0     -
\t    c1t0d0                 ONLINE       0     0 12345     7
\t    spare-1                DEGRADED     0     0     0     -
\t      2379100624682870004  UNAVAIL      3     1     0     0  was /dev/dsk/c1t1d0s0
\t      c3t0d0               ONLINE       0     0     0     0  (resilvering)
\t  raidz1-1                 ONLINE       0     0     0     -
\t    c5t0d0                 ONLINE       0     0     0     0
\tdedup\t
\t  c4t0d0                   ONLINE       0     0     0     0
\tspecial\t
\t  mirror-2                 ONLINE       0     0     0     -
\t    c6t0d0                 ONLINE       0     0     0     0
\tspares
\t  c3t0d0                   INUSE     currently in use
\nerrors: 12 data errors, use '-v' for a list
"""


def test_a_deep_tree() -> None:
    """A place is unique though a spare stands in two; a missing disk has its GUID; counts are exact with -p."""
    sheet = emitted(NEW, DEEP)
    found = samples(sheet)
    assert [
        ("raidz1-0", "", "data", ""),
        ("raidz1-0/c1t0d0", "raidz1-0", "data", "c1t0d0"),
        ("raidz1-0/spare-1", "raidz1-0", "data", ""),
        ("raidz1-0/spare-1/2379100624682870004", "raidz1-0/spare-1", "data", "2379100624682870004"),
        ("raidz1-0/spare-1/c3t0d0", "raidz1-0/spare-1", "data", "c3t0d0"),
        ("raidz1-1", "", "data", ""),
        ("raidz1-1/c5t0d0", "raidz1-1", "data", "c5t0d0"),
        ("c4t0d0", "", "dedup", "c4t0d0"),
        ("mirror-2", "", "special", ""),
        ("mirror-2/c6t0d0", "mirror-2", "special", "c6t0d0"),
        ("c3t0d0", "", "spare", "c3t0d0"),
    ] == [tuple(line.split('"')[3::2]) for line in found if "vdev_info" in line]
    for line in (
        'vdev_checksum_errors_total{pool="tank",vdev="raidz1-0/c1t0d0"} 12345',
        'vdev_slow_ios_total{pool="tank",vdev="raidz1-0/c1t0d0"} 7',
        'vdev_read_errors_total{pool="tank",vdev="raidz1-0/spare-1/2379100624682870004"} 3',
        'vdev_state{pool="tank",vdev="raidz1-0/spare-1/2379100624682870004",state="unavail"} 1',
        'vdev_state{pool="tank",vdev="c3t0d0",state="inuse"} 1',
        'pool_data_errors{pool="tank"} 12',
        f'pool_checkpoint_timestamp_seconds{{pool="tank"}} {calendar.timegm((2026, 11, 21, 10, 15, 0))}',
    ):
        assert f"xvmstore_{line}" in found
    assert [] == sheet.complaints


@pytest.mark.parametrize(
    "line",
    ["List of errors unavailable: pool I/O is currently suspended", "List of errors unavailable (no privileges)"],
)
def test_errors_that_nobody_knows(line: str) -> None:
    """Not to know is not 0, and nothing is wrong with the text."""
    sheet = emitted(NEW, DEEP.replace("12 data errors, use '-v' for a list", line))
    assert "pool_data_errors" not in shown(sheet)
    assert [] == sheet.complaints


def test_a_checkpoint_that_is_being_discarded_has_no_time() -> None:
    """Its words are known all the same."""
    sheet = emitted(NEW, DEEP.replace("created Sat Nov 21 10:15:00 2026, consumes 1.50M", "discarding, 12M remaining."))
    assert "checkpoint" not in shown(sheet)
    assert [] == sheet.complaints


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\t    c5t0d0                 ONLINE       0     0     0     0\n", "\t    c5t0d0         ONLINE       0\n"),
        ("raidz1-1                 ONLINE       0     0     0     -", "raidz1-1                 ONLINE   0  0  0"),
        ("\t    c5t0d0 ", "\t      c5t0d0 "),
        (DEEP[DEEP.index("\tNAME") : DEEP.index("\nerrors")], ""),
        ("\ttank  ", "\t  tank"),
        (" state: DEGRADED\n", ""),
    ],
)
def test_a_tree_that_cannot_be_read_costs_its_pool(before: str, after: str) -> None:
    """It is complained of, and has no vdevs; the other pools have all of theirs."""
    assert before in DEEP
    sheet = emitted(NEW, f"{DEEP.replace(before, after)}\n{stdout(LAB, 'zpool status -s').replace('tank', 'last')}")
    assert 1 == len(sheet.complaints)
    of_vdevs = [line for line in samples(sheet) if "vdev=" in line]
    well = samples(emitted(NEW, stdout(LAB, "zpool status -s").replace("tank", "last")))
    assert [line for line in well if "vdev=" in line] == of_vdevs


@pytest.mark.parametrize(
    ("before", "after", "complaint", "missing"),
    [
        ("c5t0d0                 ONLINE ", "c5t0d0                 DREAMY ", "its state is 'DREAMY'", 0),
        # A state set, what it is, three kinds of errors; c5t0d0 hangs on the one or on the other.
        ("raidz1-1 ", "raidz1-0 ", "two vdevs are called raidz1-0", len(STATES) + 4),
        ("12 data errors, use", "a few data errors, use", "of lost data", 1),
        ("Sat Nov 21", "Sat Nov 41", "its checkpoint is", 1),
        ("checkpoint:", "  scan: gone\ncheckpoint:", "a scrub, a resilver or a rebuild", 20),
    ],
)
def test_one_thing_that_is_odd(before: str, after: str, complaint: str, missing: int) -> None:
    """It is complained of, naming the pool, and only that is missing."""
    assert before in DEEP
    sheet = emitted(NEW, DEEP.replace(before, after))
    (said,) = sheet.complaints
    assert said.startswith("tank: ")
    assert complaint in said
    assert len(emitted(NEW, DEEP)) - missing == len(sheet)


@pytest.mark.parametrize("text", ["", "\n", "internal error: out of memory\n"])
def test_what_is_no_status_at_all(text: str) -> None:
    """The collector fails: nothing that it says could be believed."""
    with pytest.raises(UnexpectedOutput):
        emitted(NEW, text)


def test_no_pools() -> None:
    """A node may have none."""
    assert "" == shown(emitted(NEW, "no pools available\n"))


@pytest.mark.parametrize(
    ("refused", "asked"), [("nothing", "status -ps\n"), ("-ps", "status -p\n"), ("-p", "status\n")]
)
def test_asks_for_what_the_release_knows(tmp_path: Path, refused: str, asked: str) -> None:
    """One answer comes back, and the refusals are no complaint."""
    body = f'case "$*" in *{refused}*) echo "invalid option" >&2; exit 2;; *) echo "$*";; esac'
    done = run(NEW, tmp_path, {"zpool": body})
    assert (0, asked, "") == (done.returncode, done.stdout, done.stderr)


def test_a_status_that_failed_is_none(tmp_path: Path) -> None:
    """Nothing else is tried then; what zpool said comes through, and its exit status."""
    done = run(NEW, tmp_path, {"zpool": f'echo x >>{tmp_path}/runs; echo "  pool: tank"; echo "no luck" >&2; exit 1'})
    assert (1, "no luck\n") == (done.returncode, done.stderr)
    assert "x\n" == (tmp_path / "runs").read_text()
