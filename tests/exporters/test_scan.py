"""Scrubs and resilvers in the words of every release since 2009, as print_scan_status() and those before it print."""

import calendar

import pytest

from exporters import scan
from exporters.exposition import Sheet
from exporters.scan import Scan, parse
from storage.pool import parse_status
from tests.captured_cases import stdout
from tests.exporters.sheets import samples, shown

K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def at(day: int, hour: int, minute: int, second: int) -> int:
    """In November 2026."""
    return calendar.timegm((2026, 11, day, hour, minute, second))


def size(number: float, unit: int) -> int:
    """What zpool rounded, in bytes."""
    return round(number * unit)


END = "Sun Nov  1 06:12:45 2026"
ENDED = at(1, 6, 12, 45)
WORDS: dict[str, Scan | None] = {
    "none requested": None,
    "": None,
    # 2009
    "scrub completed after 0h5m with 0 errors on " + END: Scan("scrub", "finished", end=ENDED, errors=0),
    "resilver completed after 3h12m with 2 errors on " + END: Scan("resilver", "finished", end=ENDED, errors=2),
    "scrub stopped after 0h0m with 0 errors on " + END: Scan("scrub", "canceled", end=ENDED, errors=0),
    "resilver in progress for 0h1m, 23.45% done, 0h2m to go": Scan("resilver", "scanning", done=0.2345, remaining=120),
    "scrub in progress for 1h1m, 0.12% done, 719h59m to go": Scan(
        "scrub", "scanning", done=0.0012, remaining=719 * 3600 + 59 * 60
    ),
    "scrub in progress for 1h1m, 0.11% done, 720h0m to go": Scan("scrub", "scanning", done=0.0011),
    "scrub in progress for 1h1m, 0.00% done, 307445734561825859h49m to go": Scan("scrub", "scanning", done=0.0),
    # 2010 to 2017
    "scrub repaired 0 in 3h12m with 0 errors on " + END: Scan("scrub", "finished", end=ENDED, repaired=0, errors=0),
    f"scrub in progress since {END} 410G scanned out of 684G at 233M/s, 0h20m to go 0 repaired, 59.94% done": Scan(
        "scrub",
        "scanning",
        start=ENDED,
        scanned=410 * G,
        total=684 * G,
        done=0.5994,
        remaining=1200,
        repaired=0,
    ),
    f"resilver in progress since {END} 1.5M scanned out of 684G at 1.1K/s, (scan is slow, no estimated time) "
    "12.5K resilvered, 0.01% done": Scan(
        "resilver",
        "scanning",
        start=ENDED,
        scanned=size(1.5, M),
        total=684 * G,
        done=0.0001,
        repaired=size(12.5, K),
    ),
    # 2017 to 2023, illumos still
    "scrub repaired 0B in 0 days 03:12:45 with 0 errors on " + END: Scan(
        "scrub", "finished", start=at(1, 3, 0, 0), end=ENDED, repaired=0, errors=0
    ),
    f"scrub in progress since {END} 410G scanned at 233M/s, 205G issued at 116M/s, 684G total "
    "0B repaired, 29.97% done, 1 days 01:10:29 to go": Scan(
        "scrub",
        "scanning",
        start=ENDED,
        scanned=410 * G,
        issued=205 * G,
        total=684 * G,
        done=0.2997,
        remaining=25 * 3600 + 629,
        repaired=0,
    ),
    f"scrub paused since {END} scrub started on   Sun Nov  1 03:00:00 2026 "
    "410G scanned, 205G issued, 684G total 0B repaired, 29.97% done": Scan(
        "scrub",
        "paused",
        start=at(1, 3, 0, 0),
        scanned=410 * G,
        issued=205 * G,
        total=684 * G,
        done=0.2997,
        repaired=0,
    ),
    f"resilver (mirror-0) in progress since {END} 1.20T scanned at 1.1G/s, 600G issued 512M/s, 1.5T total "
    "600G resilvered, 80.00% done, 00:15:00 to go": Scan(
        "rebuild",
        "scanning",
        start=ENDED,
        scanned=size(1.2, T),
        issued=600 * G,
        total=size(1.5, T),
        done=0.8,
        remaining=900,
        repaired=600 * G,
    ),
    # 2023 on
    f"scrub in progress since {END} 1.20T / 1.50T scanned at 1.1G/s, 600G / 1.20T issued at 512M/s "
    "0B repaired, 48.83% done, no estimated completion time": Scan(
        "scrub",
        "scanning",
        start=ENDED,
        scanned=size(1.2, T),
        issued=600 * G,
        total=size(1.2, T),
        done=0.4883,
        repaired=0,
    ),
    f"scrub in progress since {END} 0B / 36.1G scanned, 0B / 36.1G issued 0B repaired, 0.00% done, "
    "no estimated completion time scan warning: skipping blocks that are only referenced by the checkpoint.": Scan(
        "scrub",
        "scanning",
        start=ENDED,
        scanned=0,
        issued=0,
        total=size(36.1, G),
        done=0.0,
        repaired=0,
    ),
    "scrub canceled on " + END: Scan("scrub", "canceled", end=ENDED),
    "resilver canceled on " + END: Scan("resilver", "canceled", end=ENDED),
    "resilver (raidz1-0) canceled on " + END: Scan("rebuild", "canceled", end=ENDED),
    "resilvered 1.50G in 2 days 00:00:01 with 1 errors on " + END: Scan(
        "resilver",
        "finished",
        start=ENDED - 2 * 86400 - 1,
        end=ENDED,
        repaired=size(1.5, G),
        errors=1,
    ),
    # The time a rebuild was at work is not how long ago it began.
    "resilvered (draid1:2d:4c:1s-0) 8.02G in 00:01:00 with 0 errors on " + END: Scan(
        "rebuild", "finished", end=ENDED, repaired=size(8.02, G), errors=0
    ),
    "scrubbed 7 error blocks in 0 days 00:00:03 on " + END: Scan("error_scrub", "finished", start=ENDED - 3, end=ENDED),
    f"error scrub in progress since {END} 42.00% done, issued I/O for 3 error blocks": Scan(
        "error_scrub", "scanning", start=ENDED, done=0.42
    ),
    f"error scrub paused since {END} error scrub started on Sun Nov  1 03:00:00 2026 42.00% done, issued I/O for 3 "
    "error blocks": Scan("error_scrub", "paused", start=at(1, 3, 0, 0), done=0.42),
    "error scrub canceled on " + END: Scan("error_scrub", "canceled", end=ENDED),
}


@pytest.mark.parametrize("words", WORDS)
def test_words(words: str) -> None:
    """What each release says, and nothing that it does not say."""
    assert WORDS[words] == parse(words)


SCRUBBING = """\
# TYPE xvmstore_pool_scan_state gauge
xvmstore_pool_scan_state{pool="tank",function="scrub",state="none"} 0
xvmstore_pool_scan_state{pool="tank",function="scrub",state="scanning"} 1
xvmstore_pool_scan_state{pool="tank",function="scrub",state="paused"} 0
xvmstore_pool_scan_state{pool="tank",function="scrub",state="finished"} 0
xvmstore_pool_scan_state{pool="tank",function="scrub",state="canceled"} 0
xvmstore_pool_scan_state{pool="tank",function="resilver",state="none"} 1
xvmstore_pool_scan_state{pool="tank",function="resilver",state="scanning"} 0
xvmstore_pool_scan_state{pool="tank",function="resilver",state="paused"} 0
xvmstore_pool_scan_state{pool="tank",function="resilver",state="finished"} 0
xvmstore_pool_scan_state{pool="tank",function="resilver",state="canceled"} 0
xvmstore_pool_scan_state{pool="tank",function="rebuild",state="none"} 1
xvmstore_pool_scan_state{pool="tank",function="rebuild",state="scanning"} 0
xvmstore_pool_scan_state{pool="tank",function="rebuild",state="paused"} 0
xvmstore_pool_scan_state{pool="tank",function="rebuild",state="finished"} 0
xvmstore_pool_scan_state{pool="tank",function="rebuild",state="canceled"} 0
xvmstore_pool_scan_state{pool="tank",function="error_scrub",state="none"} 1
xvmstore_pool_scan_state{pool="tank",function="error_scrub",state="scanning"} 0
xvmstore_pool_scan_state{pool="tank",function="error_scrub",state="paused"} 0
xvmstore_pool_scan_state{pool="tank",function="error_scrub",state="finished"} 0
xvmstore_pool_scan_state{pool="tank",function="error_scrub",state="canceled"} 0
# TYPE xvmstore_pool_scan_start_timestamp_seconds gauge
xvmstore_pool_scan_start_timestamp_seconds{pool="tank",function="scrub"} 1793502000
# TYPE xvmstore_pool_scan_scanned_bytes gauge
xvmstore_pool_scan_scanned_bytes{pool="tank",function="scrub"} 440234147840
# TYPE xvmstore_pool_scan_issued_bytes gauge
xvmstore_pool_scan_issued_bytes{pool="tank",function="scrub"} 220117073920
# TYPE xvmstore_pool_scan_total_bytes gauge
xvmstore_pool_scan_total_bytes{pool="tank",function="scrub"} 734439407616
# TYPE xvmstore_pool_scan_done_ratio gauge
xvmstore_pool_scan_done_ratio{pool="tank",function="scrub"} 0.2997
# TYPE xvmstore_pool_scan_remaining_seconds gauge
xvmstore_pool_scan_remaining_seconds{pool="tank",function="scrub"} 4229
# TYPE xvmstore_pool_scan_repaired_bytes gauge
xvmstore_pool_scan_repaired_bytes{pool="tank",function="scrub"} 0
"""


def emitted(text: str) -> Sheet:
    """Of a pool called tank."""
    sheet = Sheet()
    scan.emit(sheet, "tank", text)
    return sheet


def numbers(sheet: Sheet) -> list[str]:
    """All but the states that are 0, or none, without what is common to all."""
    short = (line.removeprefix("xvmstore_pool_") for line in samples(sheet))
    return [
        line for line in short if not line.startswith("scan_state{") or (line.endswith(" 1") and "none" not in line)
    ]


def test_the_whole_of_a_running_scrub() -> None:
    """A scrub under way has no end, no errors yet, and says nothing of the last one; every function has a state."""
    (status,) = parse_status(stdout("zpool-status", "scrub running"))
    assert SCRUBBING == shown(emitted(status.scan))


def test_nothing_was_ever_scanned() -> None:
    """Only states, and all of them none; OpenZFS 2.1 prints no line at all then."""
    for case in ("none requested", ""):
        sheet = emitted(case)
        assert [] == numbers(sheet)
        assert 20 == len(sheet)


def test_last_scrub_is_of_finished_ones_only() -> None:
    """A canceled or stopped one, a resilver, a paused one do not count."""
    for words, one in WORDS.items():
        counts = one is not None and (one.function, one.state) == ("scrub", "finished")
        assert counts == any("last_scrub" in line for line in samples(emitted(words))), words
    assert [
        'scan_state{pool="tank",function="scrub",state="finished"} 1',
        'scan_end_timestamp_seconds{pool="tank",function="scrub"} 1793513565',
        'scan_errors{pool="tank",function="scrub"} 0',
        'last_scrub_timestamp_seconds{pool="tank"} 1793513565',
    ] == numbers(emitted("scrub completed after 0h5m with 0 errors on " + END))


TWO_REBUILDS = f"""\
  pool: tank
 state: DEGRADED
  scan: scrub repaired 0B in 00:00:10 with 0 errors on {END}
  scan: resilver (mirror-0) in progress since Mon Nov  2 06:00:00 2026
	1.00G / 2.00G scanned at 100M/s, 512M / 2.00G issued at 50M/s
	512M resilvered, 50.00% done, 00:00:10 to go
  scan: resilver (mirror-1) in progress since Mon Nov  2 07:00:00 2026
	1.00G / 4.00G scanned at 100M/s, 1.00G / 4.00G issued at 50M/s
	1.00G resilvered, 25.00% done, 00:01:00 to go
  scan: resilvered (mirror-2) 3.00G in 00:01:00 with 0 errors on {END}
remove: Removal of vdev 3 copied 1.50M in 0h0m, completed on Sun Nov  1 06:12:45 2026
"""


def test_scrub_and_two_rebuilds_at_a_time() -> None:
    """OpenZFS prints them all; rebuilds that go on are added up, with the later of their ends."""
    (status,) = parse_status(TWO_REBUILDS)
    assert [
        'scan_state{pool="tank",function="scrub",state="finished"} 1',
        'scan_state{pool="tank",function="rebuild",state="scanning"} 1',
        f'scan_start_timestamp_seconds{{pool="tank",function="scrub"}} {ENDED - 10}',
        f'scan_start_timestamp_seconds{{pool="tank",function="rebuild"}} {at(2, 6, 0, 0)}',
        f'scan_end_timestamp_seconds{{pool="tank",function="scrub"}} {ENDED}',
        'scan_repaired_bytes{pool="tank",function="scrub"} 0',
        f'scan_repaired_bytes{{pool="tank",function="rebuild"}} {3 * G // 2}',
        'scan_errors{pool="tank",function="scrub"} 0',
        f'last_scrub_timestamp_seconds{{pool="tank"}} {ENDED}',
        f'scan_scanned_bytes{{pool="tank",function="rebuild"}} {2 * G}',
        f'scan_issued_bytes{{pool="tank",function="rebuild"}} {3 * G // 2}',
        f'scan_total_bytes{{pool="tank",function="rebuild"}} {6 * G}',
        'scan_done_ratio{pool="tank",function="rebuild"} 0.25',
        'scan_remaining_seconds{pool="tank",function="rebuild"} 60',
    ] == numbers(emitted(status.scan))


@pytest.mark.parametrize(
    "words",
    [
        "scrub repaired 0B in 00:00:10 with 0 errors on",
        "scrub repaired 0B in 00:00:10 with no errors on " + END,
        "scrub repaired much in 00:00:10 with 0 errors on " + END,
        "scrub repaired 0B in 00:00:10 with 0 errors on Son Nov  1 06:12:45 2026",
        "scrub repaired 0B in 00:00:10 with 0 errors on Sun Nov 31 06:12:45 2026",
        "scrub in progress since " + END,
        f"scrub in progress since {END} 0B repaired, 29.97% done",
        f"scrub in progress since {END} 1G scanned",
        f"scrub in progress since {END} 1..5G scanned, 1G issued, 2G total 0B repaired, 29.97% done",
        "scrub in progress for 0h1m",
        "scrub vaporized on " + END,
        "verifying all blocks",
    ],
)
def test_what_cannot_be_read_is_no_state(words: str) -> None:
    """It is complained of, naming the pool, and the pool's scans have no samples: none would be invented."""
    sheet = emitted(words)
    assert 0 == len(sheet)
    (complaint,) = sheet.complaints
    assert complaint.startswith("tank: ")
