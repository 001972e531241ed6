"""Pools: what their listing becomes, of releases old and new, and what is wrong in it."""

from pathlib import Path

import pytest

from exporters.pools import pools
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

NEW = pools(("tank", "backup", "tank"), exact=True)
OLD = pools(("tank",), exact=False)
FULL = "zpool list -Hp -o name,size,allocated,free,freeing,leaked,expandsize,fragmentation,capacity,dedupratio,health,"
# The collector asks for all of these but two, which were recorded with them.
NOT_ASKED = (6, 8)


def recorded() -> str:
    """Two pools of OpenZFS 2.3."""
    text = stdout("../openzfs/exporter-zpool-2.3", f"{FULL}readonly,guid,altroot,checkpoint")
    rows = [line.split("\t") for line in text.splitlines()]
    return "".join("\t".join(one for at, one in enumerate(row) if at not in NOT_ASKED) + "\n" for row in rows)


def states(pool: str, current: str) -> str:
    """The lines of its health."""
    known = ("online", "degraded", "faulted", "offline", "removed", "unavail", "suspended", "unknown")
    return "".join(f'xvmstore_pool_health{{pool="{pool}",state="{one}"}} {int(one == current)}\n' for one in known)


WHOLE = f"""\
# TYPE xvmstore_pool_expected gauge
xvmstore_pool_expected{{pool="tank"}} 1
xvmstore_pool_expected{{pool="backup"}} 1
# TYPE xvmstore_pool_size_bytes gauge
xvmstore_pool_size_bytes{{pool="tank"}} 68182605824
xvmstore_pool_size_bytes{{pool="two x"}} 201326592
# TYPE xvmstore_pool_allocated_bytes gauge
xvmstore_pool_allocated_bytes{{pool="tank"}} 364032
xvmstore_pool_allocated_bytes{{pool="two x"}} 5422592
# TYPE xvmstore_pool_free_bytes gauge
xvmstore_pool_free_bytes{{pool="tank"}} 68182241792
xvmstore_pool_free_bytes{{pool="two x"}} 195904000
# TYPE xvmstore_pool_freeing_bytes gauge
xvmstore_pool_freeing_bytes{{pool="tank"}} 0
xvmstore_pool_freeing_bytes{{pool="two x"}} 0
# TYPE xvmstore_pool_leaked_bytes gauge
xvmstore_pool_leaked_bytes{{pool="tank"}} 0
xvmstore_pool_leaked_bytes{{pool="two x"}} 0
# TYPE xvmstore_pool_fragmentation_ratio gauge
xvmstore_pool_fragmentation_ratio{{pool="tank"}} 0
xvmstore_pool_fragmentation_ratio{{pool="two x"}} 0.05
# TYPE xvmstore_pool_dedup_ratio gauge
xvmstore_pool_dedup_ratio{{pool="tank"}} 1
xvmstore_pool_dedup_ratio{{pool="two x"}} 1
# TYPE xvmstore_pool_readonly gauge
xvmstore_pool_readonly{{pool="tank"}} 0
xvmstore_pool_readonly{{pool="two x"}} 0
# TYPE xvmstore_pool_health gauge
{states("tank", "online")}{states("two x", "online")}\
# TYPE xvmstore_pool_values_exact gauge
xvmstore_pool_values_exact{{pool="tank"}} 1
xvmstore_pool_values_exact{{pool="two x"}} 1
# TYPE xvmstore_pool_info gauge
xvmstore_pool_info{{pool="tank",guid="14248731666072144465",altroot=""}} 1
xvmstore_pool_info{{pool="two x",guid="16147833398250180809",altroot=""}} 1
"""


def test_the_whole_of_two_pools() -> None:
    """Of OpenZFS 2.3; one pool's name has a blank, and one that should be there is not."""
    sheet = emitted(NEW, recorded())
    assert WHOLE == shown(sheet)
    assert [] == sheet.complaints


def test_the_whole_of_2009() -> None:
    """Rounded sizes, and the sheet says so; what that release does not tell is absent."""
    sheet = emitted(OLD, "tank\t1.81T\t684G\t1.14T\t36%\tONLINE\n")
    assert f"""\
# TYPE xvmstore_pool_expected gauge
xvmstore_pool_expected{{pool="tank"}} 1
# TYPE xvmstore_pool_size_bytes gauge
xvmstore_pool_size_bytes{{pool="tank"}} {round(1.81 * (1 << 40))}
# TYPE xvmstore_pool_allocated_bytes gauge
xvmstore_pool_allocated_bytes{{pool="tank"}} {684 << 30}
# TYPE xvmstore_pool_free_bytes gauge
xvmstore_pool_free_bytes{{pool="tank"}} {round(1.14 * (1 << 40))}
# TYPE xvmstore_pool_health gauge
{states("tank", "online")}\
# TYPE xvmstore_pool_values_exact gauge
xvmstore_pool_values_exact{{pool="tank"}} 0
""" == shown(sheet)


FAULTED = "\t".join(("bad", *["-"] * 7, "FAULTED", *["-"] * 4)) + "\n"


def test_a_pool_that_cannot_be_opened_has_no_numbers() -> None:
    """A dash is no 0: only its state and name are known, and no other pool suffers."""
    sheet = emitted(NEW, FAULTED + recorded())
    mine = [line for line in samples(sheet) if 'pool="bad"' in line]
    assert mine == [
        *states("bad", "faulted").splitlines(),
        'xvmstore_pool_values_exact{pool="bad"} 1',
        'xvmstore_pool_info{pool="bad",guid="",altroot=""} 1',
    ]
    assert [] == sheet.complaints


def test_no_pools() -> None:
    """A node may have none; what should be there is said all the same."""
    assert ['xvmstore_pool_expected{pool="tank"} 1', 'xvmstore_pool_expected{pool="backup"} 1'] == samples(
        emitted(NEW, "")
    )


def changed(**values: str) -> str:
    """A whole row of a pool called tank but for some values."""
    row = dict(
        zip(
            ("name", "size", "allocated", "free", "freeing", "leaked", "fragmentation", "dedupratio", "health"),
            ("tank", "9000", "4000", "5000", "0", "0", "1", "1.00", "ONLINE"),
            strict=True,
        )
    ) | {"readonly": "off", "guid": "7", "altroot": "/a", "checkpoint": "4096"}
    return "\t".join((row | values).values()) + "\n"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (changed(), 'xvmstore_pool_checkpoint_bytes{pool="tank"} 4096'),
        (changed(), 'xvmstore_pool_info{pool="tank",guid="7",altroot="/a"} 1'),
        (changed(fragmentation="12%"), 'xvmstore_pool_fragmentation_ratio{pool="tank"} 0.12'),
        (changed(dedupratio="2.50x"), 'xvmstore_pool_dedup_ratio{pool="tank"} 2.5'),
        (changed(readonly="on"), 'xvmstore_pool_readonly{pool="tank"} 1'),
        (changed(health="SUSPENDED"), 'xvmstore_pool_health{pool="tank",state="suspended"} 1'),
        (changed(size=str(1 << 60)), f'xvmstore_pool_size_bytes{{pool="tank"}} {1 << 60}'),
    ],
)
def test_values(row: str, line: str) -> None:
    """As each release prints them; a dedup ratio stays as it is."""
    assert line in samples(emitted(NEW, row))


@pytest.mark.parametrize(
    "row",
    [
        changed(size="much"),
        changed(dedupratio="1,00"),
        changed(dedupratio="1.0.0"),
        changed(dedupratio="\u0661"),
        changed(fragmentation="²"),
        changed(readonly="maybe"),
        changed(altroot="a\tb"),
        "tank\n",
        "internal error: out of memory\n",
    ],
)
def test_a_row_that_cannot_be_read_costs_its_pool(row: str) -> None:
    """It is complained of, and the pool has no series at all; the other pools have all of theirs."""
    sheet = emitted(NEW, row + recorded().replace("tank\t", "last\t"))
    assert 1 == len(sheet.complaints)
    assert WHOLE.replace('"tank"', '"last"').count("\n") == shown(sheet).count("\n")
    assert ['xvmstore_pool_expected{pool="tank"} 1'] == [line for line in samples(sheet) if '"tank"' in line]


def test_a_state_that_is_new_to_us() -> None:
    """It is unknown, which is not online, and complained of."""
    sheet = emitted(NEW, changed(health="SLEEPING"))
    assert states("tank", "unknown").splitlines() == [line for line in samples(sheet) if "pool_health" in line]
    assert ["tank: its state is 'SLEEPING'"] == sheet.complaints


REFUSE = """\
case "$*" in
*{}*) echo "bad property list: invalid property" >&2; echo "usage: list" >&2; exit 2;;
*) echo "$*";;
esac"""


@pytest.mark.parametrize(
    ("refused", "asked"),
    [
        (
            "nothing",
            "list -Hp -o name,size,allocated,free,freeing,leaked,fragmentation,dedupratio,health,readonly,"
            "guid,altroot,checkpoint",
        ),
        (
            "checkpoint",
            "list -Hp -o name,size,allocated,free,freeing,leaked,fragmentation,dedupratio,health,readonly,guid,altroot",
        ),
        ("leaked", "list -Hp -o name,size,allocated,free,capacity,health"),
    ],
)
def test_asks_for_what_the_release_knows(tmp_path: Path, refused: str, asked: str) -> None:
    """One answer comes back, the longest form that is understood, and the refusals are no complaint."""
    done = run(NEW, tmp_path, {"zpool": REFUSE.format(refused)})
    assert (0, f"{asked}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_listing_that_failed_is_none(tmp_path: Path) -> None:
    """Nothing else is tried then, what zpool said comes through, and its exit status."""
    done = run(NEW, tmp_path, {"zpool": f'echo x >>{tmp_path}/runs; echo "tank	1"; echo "no luck" >&2; exit 1'})
    assert (1, "no luck\n") == (done.returncode, done.stderr)
    assert "x\n" == (tmp_path / "runs").read_text()
