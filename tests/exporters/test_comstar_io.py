"""What COMSTAR's kstats count, as kstat prints it since 2013 (C) and before (Perl)."""

import re
from pathlib import Path

import pytest

from exporters import comstar_io
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

COLLECTOR = comstar_io.comstar_io(targets=True)
C, PERL = (stdout(f"../solaris/comstar-kstat-{kind}", "COMSTAR all") for kind in ("c", "perl"))
LUN, TARGET = 'lun="600144F00C2A6D0000006A27E7400001"', 'target="iqn.2026-11.com.example:tank.vm1"'
WHOLE = "".join(
    f"# TYPE xvmstore_{name} {kind}\nxvmstore_{name}{{{label}}} {value}\n"
    for what, label, waited, run_ in (
        ("lun", LUN, "123.456789012", "1234.567890123"),
        ("target", TARGET, "123.45", "1234.56"),
    )
    for name, kind, value in (
        (f"{what}_read_transfers_total", "counter", "1112031"),
        (f"{what}_write_transfers_total", "counter", "311298"),
        (f"{what}_read_bytes_total", "counter", "73014444032"),
        (f"{what}_written_bytes_total", "counter", "20401094656"),
        (f"{what}_wait_queue_seconds_total", "counter", waited),
        (f"{what}_run_queue_seconds_total", "counter", run_),
        (f"{what}_commands_waiting", "gauge", "0"),
        (f"{what}_commands_running", "gauge", "3"),
    )
)


@pytest.mark.parametrize("text", [C, PERL], ids=["c", "perl"])
def test_both_kstats_tell_the_same(text: str) -> None:
    """Nanoseconds of the one and seconds of the other come out as the same seconds."""
    sheet = emitted(COLLECTOR, text)

    assert WHOLE == shown(sheet)
    assert [] == sheet.complaints


def zeroed(text: str, *names: str) -> str:
    """The same, with these statistics 0."""
    return re.sub(rf"(:(?:{'|'.join(names)})\t).*", r"\g<1>0", text)


def still(text: str) -> str:
    """The release of 2009: its stmf never enters a queue, so these stay 0."""
    return zeroed(text, "rcnt", "wcnt", "rlentime", "wlentime", "rtime", "wtime", "rlastupdate", "wlastupdate")


def test_where_no_time_is_kept_there_is_no_time() -> None:
    """Transfers, and not a second for them: no series says that LUNs answer at once."""
    found = samples(emitted(COLLECTOR, still(PERL)))

    whole = [line for line in WHOLE.splitlines() if line[0] != "#"]
    assert [line for line in whole if "_transfers_" in line or "_bytes_" in line] == found


def test_where_nothing_has_happened_yet_zero_is_true() -> None:
    """No transfers: then no time is none that is missing."""
    idle = zeroed(still(C), "reads", "writes")

    assert f"xvmstore_lun_run_queue_seconds_total{{{LUN}}} 0.0" in samples(emitted(COLLECTOR, idle))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("lun-guid\t600144f00c2a6d0000006a27e7400001", "lun-guid\tnone"),
        ("stmf_lu_io_ffffff04d5a3c1b8:reads\t1112031\n", "stmf_lu_io_ffffff04d5a3c1b8:reads\tmany\n"),
        ("stmf_lu_io_ffffff04d5a3c1b8:wlentime\t123456789012\n", ""),
        ("stmf_lu_io_ffffff04d5a3c1b8:wlentime\t123456789012\n", "stmf_lu_io_ffffff04d5a3c1b8:wlentime\tnan\n"),
        ("stmf_lu_io_ffffff04d5a3c1b8", "stmf_lu_io_another"),
    ],
)
def test_an_lu_that_cannot_be_read_costs_itself_only(good: str, bad: str) -> None:
    """The target is there."""
    sheet = emitted(COLLECTOR, C.replace(good, bad))

    assert [line for line in WHOLE.splitlines() if line.startswith("xvmstore_target")] == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_no_lus_is_no_failure(tmp_path: Path) -> None:
    """kstat exits 1 without a word then; a word of it, or another exit, is a failure."""
    asked = run(COLLECTOR, tmp_path, {"kstat": 'printf "%s\\n" "$@" >&2; exit 1'})
    broken = run(COLLECTOR, tmp_path, {"kstat": "exit 2"})

    assert (0, "") == (asked.returncode, asked.stdout)
    assert ["-p", str(COLLECTOR.queries[0].argv[-1])] == asked.stderr.splitlines()
    assert COLLECTOR.queries[0].silent
    assert 0 != broken.returncode
    assert (0, []) == (len(sheet := emitted(COLLECTOR, "")), sheet.complaints)
