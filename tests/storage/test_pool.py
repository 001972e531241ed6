"""The readers of pools' sizes and health, against every recorded output, damaged ones and generated ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.errors import UnexpectedOutput
from storage.pool import Pool, PoolStatus, Vdev, parse_exact, parse_rounded, parse_status, pools, status
from tests.captured_cases import stdout

TIB, GIB = 1 << 40, 1 << 30
OK = "No known data errors"
HEALTHY = PoolStatus(
    name="tank",
    state="ONLINE",
    status="",
    action="",
    scan="scrub repaired 0B in 0 days 03:12:45 with 0 errors on Sun Nov  1 06:12:45 2026",
    errors=OK,
    vdevs=(
        Vdev("tank", 0, "ONLINE", 0, 0, 0),
        Vdev("mirror-0", 1, "ONLINE", 0, 0, 0),
        Vdev("c1t0d0s0", 2, "ONLINE", 0, 0, 0),
        Vdev("c1t1d0s0", 2, "ONLINE", 0, 0, 0),
    ),
)
DEGRADED = PoolStatus(
    name="tank",
    state="DEGRADED",
    status="One or more devices has been taken offline by the administrator. Sufficient replicas exist for the pool "
    "to continue functioning in a degraded state.",
    action="Online the device using 'zpool online' or replace the device with 'zpool replace'.",
    scan="none requested",
    errors=OK,
    vdevs=(
        Vdev("tank", 0, "DEGRADED", 0, 0, 0),
        Vdev("mirror-0", 1, "DEGRADED", 0, 0, 0),
        Vdev("c1t0d0s0", 2, "ONLINE", 0, 0, 0),
        Vdev("c1t1d0s0", 2, "OFFLINE", 0, 0, 0),
    ),
)
SCRUBBING = PoolStatus(
    name="tank",
    state="ONLINE",
    status="",
    action="",
    scan="scrub in progress since Sun Nov  1 03:00:00 2026 410G scanned at 233M/s, 205G issued at 116M/s, 684G total "
    "0B repaired, 29.97% done, 0 days 01:10:29 to go",
    errors="",
    vdevs=(),
)
B111 = PoolStatus(
    name="tank",
    state="ONLINE",
    status="",
    action="",
    scan="none requested",
    errors=OK,
    vdevs=(Vdev("tank", 0, "ONLINE", 0, 0, 0), Vdev("c1t0d0s0", 1, "ONLINE", 0, 0, 0)),
)
STATUS = {
    "healthy": (HEALTHY,),
    "degraded": (DEGRADED,),
    "scrub running": (SCRUBBING,),
    "no pools": (),
    "b111 (2009.06)": (B111,),
}
HEALTHY_TEXT = stdout("zpool-status", "healthy")


@pytest.mark.parametrize("case", STATUS)
def test_reads_recorded_status(case: str) -> None:
    """Every pool and vdev of every recorded ``zpool status``; the scrub line had two labels."""
    assert STATUS[case] == parse_status(stdout("zpool-status", case))


def test_reads_data_errors() -> None:
    """The last line tells of lost data; only that line of the case is recorded."""
    line = stdout("zpool-status", "data errors")
    (found,) = parse_status(HEALTHY_TEXT.replace(f"errors: {OK}\n", line))
    assert "2 data errors, use '-v' for a list" == found.errors


def test_reads_several_pools() -> None:
    """An empty line is between pools."""
    text = "\n".join(stdout("zpool-status", case) for case in ("healthy", "degraded", "b111 (2009.06)"))
    assert (HEALTHY, DEGRADED, B111) == parse_status(text)


# Laid out as print_status_config() of zpool_main.c does: counts for all but spares, then a note.
TREE = """\
  pool: tank
 state: DEGRADED
  scan: resilvered 1.5G in 0 days 00:01:00 with 0 errors on Sun Nov  1 06:12:45 2026
config:

\tNAME            STATE     READ WRITE CKSUM
\ttank            DEGRADED     0     0     0
\t  raidz1-0      DEGRADED     0     0     0
\t    c1t0d0      ONLINE       0     0  1.2K
\t    spare-1     DEGRADED     0     0     0
\t      c1t1d0    UNAVAIL      3     1     0  cannot open
\t      c3t0d0    ONLINE       0     0     0  (resilvering)
\tlogs
\t  c2t0d0        ONLINE       0     0     0
\tspares
\t  c3t0d0        INUSE     currently in use
\t  c3t1d0        AVAIL   \n\
\nerrors: No known data errors
"""


def test_reads_the_whole_tree() -> None:
    """Notes, rounded counts, headings, and spares, which have no counts: none is not zero."""
    (found,) = parse_status(TREE)
    assert (
        Vdev("tank", 0, "DEGRADED", 0, 0, 0),
        Vdev("raidz1-0", 1, "DEGRADED", 0, 0, 0),
        Vdev("c1t0d0", 2, "ONLINE", 0, 0, 1229),
        Vdev("spare-1", 2, "DEGRADED", 0, 0, 0),
        Vdev("c1t1d0", 3, "UNAVAIL", 3, 1, 0, "cannot open"),
        Vdev("c3t0d0", 3, "ONLINE", 0, 0, 0, "(resilvering)"),
        Vdev("logs", 0, "", None, None, None),
        Vdev("c2t0d0", 1, "ONLINE", 0, 0, 0),
        Vdev("spares", 0, "", None, None, None),
        Vdev("c3t0d0", 1, "INUSE", None, None, None, "currently in use"),
        Vdev("c3t1d0", 1, "AVAIL", None, None, None),
    ) == found.vdevs


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("  pool: tank\n", "", " state: ONLINE"),
        (" state: ONLINE\n", "", "  pool: tank"),
        ("  pool: tank\n", "cannot open 'tank'\n  pool: tank\n", "cannot open 'tank'"),
        (
            "\ttank          ONLINE       0     0     0\n",
            "tank          ONLINE       0     0     0\n",
            "tank          ONLINE       0     0     0",
        ),
        (
            "\ttank          ONLINE       0     0     0\n",
            "\ttank          ONLINE       0     0\n",
            "\ttank          ONLINE       0     0",
        ),
    ],
)
def test_complains_of_damaged_status(before: str, after: str, named: str) -> None:
    """A line cut short, unknown or missing is an error that names it."""
    assert before in HEALTHY_TEXT
    with pytest.raises(UnexpectedOutput, match="zpool status") as error:
        parse_status(HEALTHY_TEXT.replace(before, after, 1))
    assert named == error.value.line


@pytest.mark.parametrize("case", ["-x all well", "-x one pool well", "data errors"])
def test_complains_of_status_without_a_pool(case: str) -> None:
    """What is no status of a pool is not read as "no pools"."""
    text = stdout("zpool-status", case)
    with pytest.raises(UnexpectedOutput) as error:
        parse_status(text)
    assert text.strip() == error.value.line


def _columns(text: str, *wanted: int) -> str:
    """Some of the columns, since the recorded cases show more than we ask for."""
    rows = (line.split("\t") for line in text.splitlines())
    return "".join("\t".join(row[i] for i in wanted) + "\n" for row in rows)


def test_reads_exact_sizes() -> None:
    """Today's ``zpool list -Hp``, in the columns we ask for."""
    text = _columns(stdout("zpool-list", "list -Hp"), 0, 1, 2, 3, 5, 7)
    assert (
        Pool("rpool", 31943819264, 8725385216, 23218434048, 27, "ONLINE", True),
        Pool("tank", 1992864825344, 734003200512, 1258861624832, 36, "DEGRADED", True),
    ) == parse_exact(text)


def test_a_faulted_pool_has_no_sizes() -> None:
    """ "-" is None, never zero."""
    assert (Pool("bad", None, None, None, None, "FAULTED", True),) == parse_exact(stdout("zpool-list", "faulted pool"))


@pytest.mark.parametrize(
    ("case", "columns"),
    [("list -H b85..b127 (2008.05, 2008.11, 2009.06)", (0, 1, 2, 3, 4, 5)), ("list -H b128..b147", (0, 1, 2, 3, 4, 6))],
)
def test_reads_rounded_sizes(case: str, columns: tuple[int, ...]) -> None:
    """Old releases round to three figures, and the pool says so."""
    (found,) = parse_rounded(_columns(stdout("zpool-list", case), *columns))
    assert Pool("tank", round(1.81 * TIB), 684 * GIB, round(1.14 * TIB), 36, "ONLINE", False) == found


def test_no_pools_is_an_empty_list() -> None:
    """With -H nothing is printed."""
    assert ((), ()) == (parse_exact(""), parse_rounded(""))


@pytest.mark.parametrize(
    "line",
    [
        "tank\t1\t2\t3\t4",
        "tank\t1\t2\t3\t4\tONLINE\t-",
        "tank 1 2 3 4 ONLINE",
        "tank\t1\t2\t3\t\tONLINE",
        "tank\t1.2.3G\t2\t3\t4\tONLINE",
        "tank\t.\t2\t3\t4\tONLINE",
        "tank\tmuch\t2\t3\t4\tONLINE",
        "tank\t1\t2\t-3\t4\tONLINE",
        "tank\t1\t2\t²\t4\tONLINE",
        "no pools available",
    ],
)
def test_complains_of_a_damaged_list(line: str) -> None:
    """A field missing, added or unreadable is an error that names the line."""
    for parse in (parse_exact, parse_rounded):
        with pytest.raises(UnexpectedOutput, match="zpool list") as error:
            parse(f"good\t1\t2\t3\t4\tONLINE\n{line}\n")
        assert line == error.value.line


_BYTES = st.integers(0, 2**63 - 1)
_POOLS = st.builds(
    Pool,
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_.: -]{0,20}", fullmatch=True),
    size=st.none() | _BYTES,
    allocated=st.none() | _BYTES,
    free=st.none() | _BYTES,
    capacity=st.none() | st.integers(0, 100),
    health=st.sampled_from(["ONLINE", "DEGRADED", "FAULTED", "UNAVAIL"]),
    exact=st.just(True),
)


@given(st.lists(_POOLS, max_size=4))
def test_exact_sizes_round_trip(found: list[Pool]) -> None:
    """Pools printed as zpool prints them are read back as they were."""
    rows = ([one.name, one.size, one.allocated, one.free, one.capacity, one.health] for one in found)
    text = "".join("\t".join("-" if cell is None else str(cell) for cell in row) + "\n" for row in rows)
    assert tuple(found) == parse_exact(text)


@st.composite
def _a_vdev(draw: st.DrawFn) -> Vdev:
    name = draw(st.from_regex(r"[a-z][a-z0-9/-]{0,30}( [a-z0-9]{1,5})?", fullmatch=True))
    depth, state = draw(st.integers(0, 4)), draw(st.sampled_from(["ONLINE", "UNAVAIL", "REMOVED"]))
    note = draw(st.sampled_from(["", "cannot open", "(resilvering)"]))
    read, write, cksum = draw(st.just((None, None, None)) | st.tuples(*[st.integers(0, 99999)] * 3))
    return Vdev(name, depth, state, read, write, cksum, note)


def _as_zpool(vdev: Vdev) -> str:
    counts = "" if vdev.read is None else f" {vdev.read:5} {vdev.write:5} {vdev.cksum:5}"
    note = f"  {vdev.note}" if vdev.note else ""
    return f"\t{'  ' * vdev.depth}{vdev.name:<{30 - 2 * vdev.depth}}  {vdev.state:<8}{counts}{note}\n"


@given(st.lists(_a_vdev(), max_size=5))
def test_vdevs_round_trip(vdevs: list[Vdev]) -> None:
    """A tree printed as zpool prints it is read back as it was."""
    head = "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME  STATE  READ WRITE CKSUM\n"
    (found,) = parse_status(head + "".join(map(_as_zpool, vdevs)) + f"\nerrors: {OK}\n")
    assert tuple(vdevs) == found.vdevs


def test_asks_in_words_of_every_age() -> None:
    """The columns had other names before 2009, and -p came in 2014: the first form that is known counts."""
    *_, new, between, old = pools().argv
    assert "list -Hp -o name,size,allocated,free,capacity,health" == new
    assert "list -H -o name,size,allocated,free,capacity,health" == between
    assert "list -H -o name,size,used,available,capacity,health" == old
    assert [("zpool", "status"), ("zpool", "status", "tank")] == [status().argv, status("tank").argv]
