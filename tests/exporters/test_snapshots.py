"""Snapshots by volume, each checkpoint, and the program that asks for both."""

import shlex
from pathlib import Path

import pytest

from exporters import snapshots
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

LAB = "../openzfs/exporter-2.3"
NEW = snapshots.snapshots("tank/xvm", exact=True)
OLD = snapshots.snapshots("tank/xvm", exact=False)
TAG = "xvm-20261124T173222Z-4700"
ROOT, DATA = '{pool="tank",volume="web1/root"}', '{pool="tank",volume="web1/data"}'
OF_ROOT, OF_DATA = (f'{{pool="tank",volume="web1/{one}",checkpoint="{TAG}",guest="web1"}}' for one in ("root", "data"))
STATES = "".join(
    f'xvmstore_checkpoint_state{of[:-1]},state="{state}"}} {int(state == "created")}\n'
    for of in (OF_DATA, OF_ROOT)
    for state in ("created", "done", "rolled_back", "noted")
)
WHOLE = f"""\
# TYPE xvmstore_volume_snapshots gauge
xvmstore_volume_snapshots{DATA} 1
xvmstore_volume_snapshots{ROOT} 1
# TYPE xvmstore_volume_oldest_snapshot_timestamp_seconds gauge
xvmstore_volume_oldest_snapshot_timestamp_seconds{DATA} 1795541542
xvmstore_volume_oldest_snapshot_timestamp_seconds{ROOT} 1795541542
# TYPE xvmstore_volume_newest_snapshot_timestamp_seconds gauge
xvmstore_volume_newest_snapshot_timestamp_seconds{DATA} 1795541542
xvmstore_volume_newest_snapshot_timestamp_seconds{ROOT} 1795541542
# TYPE xvmstore_checkpoint_timestamp_seconds gauge
xvmstore_checkpoint_timestamp_seconds{OF_DATA} 1795541542
xvmstore_checkpoint_timestamp_seconds{OF_ROOT} 1795541542
# TYPE xvmstore_checkpoint_used_bytes gauge
xvmstore_checkpoint_used_bytes{OF_DATA} 0
xvmstore_checkpoint_used_bytes{OF_ROOT} 0
# TYPE xvmstore_checkpoint_written_after_bytes gauge
xvmstore_checkpoint_written_after_bytes{OF_DATA} 0
xvmstore_checkpoint_written_after_bytes{OF_ROOT} 0
# TYPE xvmstore_checkpoint_state gauge
{STATES}"""
LISTED = f"""\
tank/xvm/web1@{TAG}	100	0	manual	-
tank/xvm/web1/data	90	1	-	-
tank/xvm/web1/root	90	1	-	-
tank/xvm/web1/root@weekly	300	7	-	-
tank/xvm/web1/root@{TAG}	100	5	pre	rolled back
tank/xvm/web1/root@daily	200	6	-	-
tank/xvm/web1:kept/1/root	90	1	-	-
tank/xvm/web1:kept/1/root@{TAG}	100	5	pre	-
"""


def test_of_a_real_node() -> None:
    """The whole of it."""
    sheet = emitted(NEW, stdout(LAB, "snapshots"))

    assert WHOLE == shown(sheet)
    assert [] == sheet.complaints


def test_old_releases_tell_the_same_but_what_was_written_after() -> None:
    """By ``zfs get``."""
    sheet = emitted(OLD, stdout(LAB, "snapshots by zfs get"))

    assert [one for one in WHOLE.splitlines() if one[0] != "#" and "_written_" not in one] == samples(sheet)
    assert [] == sheet.complaints


def test_counts_and_ends() -> None:
    """None is 0, and has neither a newest nor an oldest; whose order the listing is in does not matter."""
    found = samples(emitted(NEW, LISTED))

    assert [
        f"xvmstore_volume_snapshots{DATA} 0",
        f"xvmstore_volume_snapshots{ROOT} 3",
        f"xvmstore_volume_oldest_snapshot_timestamp_seconds{ROOT} 100",
        f"xvmstore_volume_newest_snapshot_timestamp_seconds{ROOT} 300",
        f"xvmstore_checkpoint_timestamp_seconds{OF_ROOT} 100",
        f"xvmstore_checkpoint_used_bytes{OF_ROOT} 5",
        *(
            f'xvmstore_checkpoint_state{OF_ROOT[:-1]},state="{state}"}} {int(state == "rolled_back")}'
            for state in ("created", "done", "rolled_back", "noted")
        ),
    ] == found


@pytest.mark.parametrize(
    ("outcome", "state"), [("-", "created"), ("done", "done"), ("rolled back", "rolled_back"), ("went well", "noted")]
)
def test_how_it_ended(outcome: str, state: str) -> None:
    """As recorded: by an upgrade, a rollback, or an admin in words of his own."""
    found = samples(emitted(NEW, LISTED.replace("rolled back", outcome)))

    assert [f'xvmstore_checkpoint_state{OF_ROOT[:-1]},state="{state}"}} 1'] == [
        one for one in found if "_state" in one and one.endswith(" 1")
    ]


def test_what_a_snapshot_shows_of_its_volume_makes_no_checkpoint() -> None:
    """A volume that has the property itself: all its snapshots show it."""
    text = "tank/xvm/a/b\t1\t1\tmanual\t-\ntank/xvm/a/b@s\t1\t1\tmanual\t-\n"

    assert not [one for one in samples(emitted(NEW, text)) if "checkpoint" in one]


def test_left_out_by_name() -> None:
    """Its checkpoints too."""
    collector = snapshots.snapshots("tank/xvm", exact=True, keep=lambda name: name != "web1/root")

    assert [f"xvmstore_volume_snapshots{DATA} 0"] == samples(emitted(collector, LISTED))


@pytest.mark.parametrize(
    "bad",
    [
        "tank/xvm/web1/root@x\tyesterday\t5\t-\t-\n",
        "tank/xvm/web1/root@x\t100\t5G\t-\t-\n",
        "tank/xvm/web1/root@x\t100\n",
        "failed\tweb1\n",
        f"tank/xvm/web1/root\twritten@{TAG}\t1.5G\n",
    ],
)
def test_a_bad_line_costs_its_own_snapshot(bad: str) -> None:
    """And is complained of."""
    sheet = emitted(NEW, LISTED + bad)

    assert samples(emitted(NEW, LISTED)) == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_a_bad_line_of_zfs_get_costs_its_own_snapshot() -> None:
    """What is left of it is not counted."""
    text = stdout(LAB, "snapshots by zfs get")
    bad = text.replace(f"tank/xvm/web1/root@{TAG}\tused\t0\t-\n", f"tank/xvm/web1/root@{TAG}\tused\t0\n")
    sheet = emitted(OLD, bad)

    assert f"xvmstore_volume_snapshots{ROOT} 0" in samples(sheet)
    assert f"xvmstore_volume_snapshots{DATA} 1" in samples(sheet)
    assert 1 == len(sheet.complaints)


def zfs(listing: str, *, exit_: int = 0, get: str = "", calls: Path) -> dict[str, str]:
    """A stand-in that notes what it is asked."""
    return {
        "zfs": f'echo "$*" >>{calls}\ncase $1 in\nlist) printf %s {shlex.quote(listing)}; exit {exit_} ;;\n'
        f"get) {get or 'exit 0'} ;;\nesac"
    }


def test_one_question_a_guest(tmp_path: Path) -> None:
    """The program lets the listing through, then asks what was written since the checkpoints: one question a guest."""
    both = f"tank/xvm/web1/data@{TAG}\t100\t5\tpre\t-\n"
    listing = f"{LISTED}{both}tank/xvm/web1/data@other-1\t5\t5\tpost\t-\ntank/xvm/a b/c@s t\t1\t1\tx\t-\n"
    calls = tmp_path / "calls"
    done = run(NEW, tmp_path, zfs(listing, calls=calls, get="echo answer"))

    asked = calls.read_text().splitlines()[1:]
    head = "get -Hp -r -t volume -o name,property,value"
    assert {f"{head} written@{TAG},written@other-1 tank/xvm/web1", f"{head} written@s t tank/xvm/a b"} == set(asked)
    assert (0, f"{listing}answer\nanswer\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_listing_that_fails_half_way_fails(tmp_path: Path) -> None:
    """It does not pass for a whole one; nothing more is asked."""
    calls = tmp_path / "calls"
    done = run(NEW, tmp_path, zfs(LISTED, exit_=1, calls=calls))

    assert 1 == done.returncode
    assert 1 == len(calls.read_text().splitlines())


def test_a_guest_that_has_gone_since_costs_its_own(tmp_path: Path) -> None:
    """One complaint; all else is there."""
    done = run(NEW, tmp_path, zfs(LISTED, calls=tmp_path / "calls", get="exit 1"))
    sheet = emitted(NEW, done.stdout)

    assert 0 == done.returncode
    assert samples(emitted(NEW, LISTED)) == samples(sheet)
    assert ["what was written to web1 after its checkpoints"] == sheet.complaints
