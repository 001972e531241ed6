"""What LIO's LUNs have done: the program on a tree such as configfs has, and its reader."""

import shutil
from pathlib import Path

import pytest

from exporters import lio_io
from tests.captured_cases import stdout
from tests.exporters.programs import run
from tests.exporters.sheets import emitted, samples, shown

COLLECTOR = lio_io.lio_io()
TEXT = stdout("../lio/exporter-debian12-6.1", "statistics")
DATA, ROOT = 'lun="6001405DD39359F0C1C6F4AF99E0C1E0"', 'lun="6001405D8D562379E06A926FFF253E6F"'
WHOLE = f"""\
# TYPE xvmstore_lun_commands_total counter
xvmstore_lun_commands_total{{{DATA}}} 171
xvmstore_lun_commands_total{{{ROOT}}} 168
# TYPE xvmstore_lun_read_bytes_total counter
xvmstore_lun_read_bytes_total{{{DATA}}} 2097152
xvmstore_lun_read_bytes_total{{{ROOT}}} 2097152
# TYPE xvmstore_lun_written_bytes_total counter
xvmstore_lun_written_bytes_total{{{DATA}}} 0
xvmstore_lun_written_bytes_total{{{ROOT}}} 0
"""


def test_of_a_real_node() -> None:
    """The whole of it."""
    sheet = emitted(COLLECTOR, TEXT)

    assert WHOLE == shown(sheet)
    assert [] == sheet.complaints


def test_an_lu_of_two_targets_is_one() -> None:
    """Its sums are over both; a place without an LU counts for nobody."""
    place = "iscsi/iqn.2026-11.org.xvmstore:web1.root.926fff253e6f/tpgt_1/lun/lun_0"
    line, link = (one for one in TEXT.splitlines() if one.split("\t")[1] == place)
    more = "".join(f"{one.replace('lun_0', number)}\n" for one in (line, link) for number in ("lun_1", "lun_2"))
    sheet = emitted(COLLECTOR, f"{TEXT}{more}lun\tiscsi/iqn.x:1/tpgt_1/lun/lun_0\t5\t5\t5\n")

    assert f"xvmstore_lun_commands_total{{{ROOT}}} 504" in samples(sheet)
    assert f"xvmstore_lun_read_bytes_total{{{ROOT}}} 6291456" in samples(sheet)
    assert len(emitted(COLLECTOR, TEXT)) == len(sheet)


@pytest.mark.parametrize("bad", ["lun\tiscsi/a/tpgt_1/lun/lun_0\t5\t5\n", "lun\tiscsi/a/b\t5\tx\t5\n", "what\n"])
def test_a_bad_line_costs_itself_only(bad: str) -> None:
    """And is complained of."""
    sheet = emitted(COLLECTOR, bad + TEXT)

    assert samples(emitted(COLLECTOR, TEXT)) == samples(sheet)
    assert 1 == len(sheet.complaints)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the recorded lines were read from."""
    root = tmp_path / "target"
    for kind, one, *rest in (line.split("\t") for line in TEXT.splitlines()):
        if kind == "unit":
            (root / "core" / one / "wwn").mkdir(parents=True)
            (root / "core" / one / "wwn" / "vpd_unit_serial").write_text(f"T10 VPD Unit Serial Number: {rest[0]}\n")
        elif kind == "lun":
            (at := root / one / "statistics" / "scsi_tgt_port").mkdir(parents=True)
            for name, value in zip(("in_cmds", "read_mbytes", "write_mbytes"), rest, strict=True):
                (at / name).write_text(f"{value}\n")
            acl = root.joinpath(*Path(one).parts[:3], "acls", "iqn.x:dom0", "lun_0")
            acl.mkdir(parents=True)
            (acl / "aabbcc").symlink_to("../../../../../../target/iscsi/x/tpgt_1/lun/lun_0")
        else:
            (root / one / "c0ffee").symlink_to(rest[0])
    (root / "core" / "alua").mkdir()
    return root


def test_the_program_reads_such_a_tree(tree: Path, tmp_path: Path) -> None:
    """Line for line what the real one gave."""
    done = run(COLLECTOR, tmp_path, {}, words=(str(tree),))

    assert (0, "") == (done.returncode, done.stderr)
    assert sorted(TEXT.strip().splitlines()) == sorted(done.stdout.splitlines())


def test_what_goes_meanwhile_is_left_out(tree: Path, tmp_path: Path) -> None:
    """A LUN without its counters, an LU without its serial number: all else is told."""
    gone = next(tree.glob("iscsi/*root*/tpgt_1/lun/lun_0/statistics"))
    shutil.rmtree(gone)
    (next(tree.glob("core/*/*f4af99e0c1e0/wwn")) / "vpd_unit_serial").write_text("T10 VPD Unit Serial Number: \n")
    done = run(COLLECTOR, tmp_path, {}, words=(str(tree),))

    assert (0, "") == (done.returncode, done.stderr)
    assert {"lun": 1, "unit": 1, "link": 2} == {
        kind: sum(line.startswith(kind) for line in done.stdout.splitlines()) for kind in ("lun", "unit", "link")
    }


def test_no_lio_is_a_failure(tmp_path: Path) -> None:
    """It is not the same as a LIO without LUNs."""
    assert 0 != run(COLLECTOR, tmp_path, {}, words=(str(tmp_path / "none"),)).returncode
    assert 0 != run(COLLECTOR, tmp_path, {}, words=(str(tmp_path),)).returncode
    (tmp_path / "core").mkdir()
    empty = run(COLLECTOR, tmp_path, {}, words=(str(tmp_path),))
    assert (0, "") == (empty.returncode, empty.stdout)
