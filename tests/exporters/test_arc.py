"""ARC, L2ARC and ZIL: what the kernels' own counts become."""

import pytest

from exporters import arc
from remote.errors import UnexpectedOutput
from tests.captured_cases import stdout
from tests.exporters.sheets import emitted, samples, shown

LAB = "../openzfs/exporter-kernel-2.3"
LINUX, SOLARIS = arc.arc_linux(), arc.arc_solaris()
ARCSTATS = stdout(LAB, "cat /proc/spl/kstat/zfs/arcstats")
ZIL = stdout(LAB, "cat /proc/spl/kstat/zfs/zil")
OF_ARC = {
    "arc_size_bytes": 12107120,
    "arc_target_size_bytes": 48460928,
    "arc_min_size_bytes": 47936640,
    "arc_max_size_bytes": 958732800,
    "arc_mfu_size_bytes": 4791808,
    "arc_mru_size_bytes": 6861824,
    "arc_hits_total": 108783,
    "arc_iohits_total": 0,
    "arc_misses_total": 0,
    "arc_demand_data_hits_total": 35,
    "arc_demand_data_misses_total": 0,
    "arc_demand_metadata_hits_total": 108695,
    "arc_demand_metadata_misses_total": 0,
    "arc_mfu_ghost_hits_total": 0,
    "arc_mru_ghost_hits_total": 0,
    "arc_memory_throttle_total": 0,
    "l2arc_size_bytes": 3268608,
    "l2arc_hits_total": 0,
    "l2arc_misses_total": 0,
    "l2arc_read_bytes_total": 0,
    "l2arc_written_bytes_total": 2812928,
    "l2arc_checksum_bad_total": 0,
    "l2arc_io_errors_total": 0,
}
OF_ZIL = {
    "zil_commits_total": 4,
    "zil_itx_indirect_bytes_total": 0,
    "zil_itx_copied_bytes_total": 0,
    "zil_itx_needcopy_bytes_total": 0,
    "zil_normal_bytes_total": 0,
    "zil_slog_bytes_total": 184,
}


def exposition(values: dict[str, int]) -> str:
    """Sizes are gauges, counts are counters; none has a label."""
    return "".join(
        f"# TYPE xvmstore_{name} {'counter' if name.endswith('_total') else 'gauge'}\nxvmstore_{name} {value}\n"
        for name, value in values.items()
    )


def test_the_whole_of_linux() -> None:
    """OpenZFS 2.3, both kstats."""
    sheet = emitted(LINUX, ARCSTATS + ZIL)
    assert exposition(OF_ARC | OF_ZIL) == shown(sheet)
    assert [] == sheet.complaints


@pytest.mark.parametrize("language", ["c", "perl"])
def test_the_whole_of_illumos(language: str) -> None:
    """What it does not say is absent, and none of it is 0."""
    sheet = emitted(SOLARIS, stdout(f"../solaris/zfs-kstat-{language}", "arc"))
    found = {
        "arc_size_bytes": 8589934592,
        "arc_target_size_bytes": 8600000000,
        "arc_max_size_bytes": 16106127360,
        "arc_hits_total": 9876543210,
        "arc_misses_total": 123456789,
    }
    assert exposition(found) == shown(sheet)
    assert [] == sheet.complaints


@pytest.mark.parametrize("value", ["18446744073709537686", "-13930", "9223372036854775808", "", "²", "1.5"])
def test_what_is_no_count(value: str) -> None:
    """Counters that went below 0, and worse: left out and complained of, while all else stays."""
    before = "size                            4    12107120"
    assert before in ARCSTATS
    sheet = emitted(LINUX, ARCSTATS.replace(before, f"size                            4    {value or '?'}"))
    assert exposition({name: count for name, count in OF_ARC.items() if name != "arc_size_bytes"}) == shown(sheet)
    (complaint,) = sheet.complaints
    assert complaint.startswith("size is ")


@pytest.mark.parametrize("text", ["", "18 1 0x01 147 39984 11004969340 51456857726\nname type data\n", ZIL])
def test_what_is_no_arcstats(text: str) -> None:
    """The collector fails."""
    with pytest.raises(UnexpectedOutput):
        emitted(LINUX, text)
    with pytest.raises(UnexpectedOutput):
        emitted(SOLARIS, text)


def test_the_largest_count() -> None:
    """Below 2 to the 63rd all is well, to the last digit."""
    text = ARCSTATS.replace("hits                            4    108783", f"hits 4 {(1 << 63) - 1}", 1)
    assert f"xvmstore_arc_hits_total {(1 << 63) - 1}" in samples(emitted(LINUX, text))
