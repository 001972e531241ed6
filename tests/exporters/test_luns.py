"""LUNs and targets of COMSTAR, new and of 2009, and of LIO."""

from pathlib import Path

import pytest

from exporters import luns
from exporters.collector import Collector
from iscsi.lio_rows import parse_look
from iscsi.targets import parse_target_setups, parse_targets
from iscsi.units import parse_list_lu
from remote.errors import UnexpectedOutput
from tests.captured_cases import stdout
from tests.embedded.replay import cases
from tests.exporters.sheets import emitted, samples, shown

LUS, TARGETS = luns.luns_comstar("tank", exact=True, head=0)
OLD_LUS, OLD_TARGETS = luns.luns_comstar("tank", exact=False, head=65536)
(LIO,) = luns.luns_lio("tank/xvm")
LOOK = (Path(__file__).parent.parent / "captured" / "lio" / "look-debian12-6.1-all.txt").read_text()
VM1, VM2, FILE, VM4 = (f"600144F00C2A6D0000006A27E740000{number}" for number in (1, 2, 3, 4))
ROOT, DATA, THEIRS = (
    "600140565EA1459DE1EE96487A3F3DC0",
    "6001405F5029513E07E3B7A06C274F1A",
    "600140514CEB941AFBE4B03BA92F2A1D",
)


def volume(name: str, size: int) -> str:
    """A line of the volumes' own listing."""
    return "\t".join([name, str(size), *"-" * 16]) + "\n"


VOLUMES = volume("tank/vm1", 8589934592) + volume("tank/vm2", 9999)


def about(word: str, lines: list[str]) -> list[str]:
    """The samples of one metric, without the prefix."""
    return [one.removeprefix("xvmstore_") for one in lines if one.startswith(f"xvmstore_{word}{{")]


def test_comstar() -> None:
    """The whole listing of an illumos node: two volumes of known size, one of these resized without its LU."""
    sheet = emitted(LUS, stdout("stmfadm-list-lu", "verbose"), VOLUMES)

    assert f"""\
# TYPE xvmstore_lun_online gauge
xvmstore_lun_online{{lun="{VM1}"}} 1
xvmstore_lun_online{{lun="{VM2}"}} 1
xvmstore_lun_online{{lun="{FILE}"}} 1
xvmstore_lun_online{{lun="{VM4}"}} 1
# TYPE xvmstore_lun_size_bytes gauge
xvmstore_lun_size_bytes{{lun="{VM1}"}} 8589934592
xvmstore_lun_size_bytes{{lun="{VM2}"}} 4294967296
xvmstore_lun_size_bytes{{lun="{FILE}"}} 1073676288
xvmstore_lun_size_bytes{{lun="{VM4}"}} 2147483648
# TYPE xvmstore_lun_views gauge
xvmstore_lun_views{{lun="{VM1}"}} 1
xvmstore_lun_views{{lun="{VM2}"}} 0
xvmstore_lun_views{{lun="{FILE}"}} 0
xvmstore_lun_views{{lun="{VM4}"}} 0
# TYPE xvmstore_lun_info gauge
xvmstore_lun_info{{lun="{VM1}",volume="vm1",pool="tank",provider="sbd",block_size="512",serial="",write_cache="on"}} 1
xvmstore_lun_info{{lun="{VM2}",volume="vm2",pool="tank",provider="sbd",block_size="512",serial="XVM0002",\
write_cache="off"}} 1
xvmstore_lun_info{{lun="{FILE}",volume="",pool="",provider="sbd",block_size="512",serial="",write_cache="on"}} 1
xvmstore_lun_info{{lun="{VM4}",volume="vm4",pool="tank",provider="sbd",block_size="512",serial="",write_cache="on"}} 1
# TYPE xvmstore_lun_size_mismatch gauge
xvmstore_lun_size_mismatch{{lun="{VM1}"}} 0
xvmstore_lun_size_mismatch{{lun="{VM2}"}} 1
""" == shown(sheet)
    assert [] == sheet.complaints


def test_an_lu_that_is_offline_or_only_remembered() -> None:
    """Both are not online; what is not told of one is left out."""
    offline = emitted(LUS, stdout("stmfadm-list-lu", "offline"), "")
    remembered = emitted(LUS, f"LU Name: {VM1}\n    Operational Status: unregistered\n    View Entry Count  : 2\n", "")

    assert [f'lun_online{{lun="{VM1}"}} 0'] == about("lun_online", samples(offline))
    assert [f'lun_online{{lun="{VM1}"}} 0'] == about("lun_online", samples(remembered))
    assert [f'lun_views{{lun="{VM1}"}} 2'] == about("lun_views", samples(remembered))
    assert [] == about("lun_size_bytes", samples(remembered)) + remembered.complaints


def test_old_comstar() -> None:
    """Of 2009: stmfadm tells the state, sbdadm the size, which is 64 KiB less than the volume's."""
    guid = "600144F00C2A6D0000004A285C800001"
    said = stdout("b111-stmfadm", "list-lu -v").replace(VM1, guid)
    rows = "\nFound 1 LU(s)\n\n" + stdout("b111-sbdadm", "create-lu").partition("LU:\n\n")[2]
    volumes = "".join(
        f"tank/vm1\t{name}\t{value}\t-\n" for name, value in (("type", "volume"), ("volsize", 8589934592))
    )
    sheet = emitted(OLD_LUS, said, rows, volumes)

    assert [
        f'xvmstore_lun_online{{lun="{guid}"}} 1',
        f'xvmstore_lun_size_bytes{{lun="{guid}"}} 8589869056',
        f'xvmstore_lun_views{{lun="{guid}"}} 0',
        f'xvmstore_lun_info{{lun="{guid}",volume="vm1",pool="tank",provider="sbd",block_size="",serial="",'
        'write_cache=""} 1',
        f'xvmstore_lun_size_mismatch{{lun="{guid}"}} 0',
    ] == samples(sheet)
    assert [] == sheet.complaints


def test_targets_of_comstar() -> None:
    """Sessions are counted, not named; the authentication is itadm's to tell."""
    setups = stdout("itadm-target", "list-target, none") + (
        "TARGET NAME                                                  STATE    SESSIONS \n"
        "iqn.2026-11.com.example:tank.vm1                             online   2        \n"
        "\talias:              \tguest vm1\n\tauth:               \tnone (defaults)\n"
    )
    sheet = emitted(TARGETS, stdout("stmfadm-list-target", "verbose"), setups)
    old = emitted(OLD_TARGETS, stdout("b111-stmfadm", "list-target -v"), "")

    one, two, fibre = "iqn.2026-11.com.example:tank.vm2", "iqn.2026-11.com.example:tank.vm1", "wwn.2100001B32ABCDEF"
    assert f"""\
# TYPE xvmstore_target_online gauge
xvmstore_target_online{{target="{one}"}} 0
xvmstore_target_online{{target="{two}"}} 1
xvmstore_target_online{{target="{fibre}"}} 1
# TYPE xvmstore_target_sessions gauge
xvmstore_target_sessions{{target="{one}"}} 0
xvmstore_target_sessions{{target="{two}"}} 2
xvmstore_target_sessions{{target="{fibre}"}} 0
# TYPE xvmstore_target_info gauge
xvmstore_target_info{{target="{one}",alias="",auth=""}} 1
xvmstore_target_info{{target="{two}",alias="guest vm1",auth="none"}} 1
xvmstore_target_info{{target="{fibre}",alias="qlt0,0",auth=""}} 1
""" == shown(sheet)
    assert ['target_sessions{target="iqn.2009-06.com.example:tank.vm1"} 1'] == about("target_sessions", samples(old))
    assert [] == sheet.complaints + old.complaints


def test_authentication_as_itadm_prints_it() -> None:
    """Of every recorded table, as the library's own reader says."""
    tables = [one.expected.stdout for one in cases("itadm-target") if one.command == "itadm list-target -v"]
    auths = set()
    for table in tables:
        for one in parse_target_setups(table):
            said = f"Target: {one.name}\n    Operational Status: Online\n    Sessions          : 0\n"
            sheet = emitted(TARGETS, said, table)
            auths.add(one.auth)
            (info,) = about("target_info", samples(sheet))
            assert f'target_info{{target="{one.name}",alias="",auth="{one.auth}"}} 1' == info
            assert [] == sheet.complaints
    assert {"none", "chap"} <= auths


@pytest.mark.parametrize(
    "bad",
    [
        "LU Name: nonsense\n    Operational Status: Online\n",
        f"LU Name: {FILE}\n    Operational Status: Online\n    Size              : 8G\n",
        f"LU Name: {FILE}\n    Operational Status: Online\n    What is this\n",
        f"LU Name: {FILE}\n    Size              : 8\n",
    ],
)
def test_a_strange_lu_costs_itself_only(bad: str) -> None:
    """Wherever it is in the listing."""
    good = stdout("stmfadm-list-lu", "one"), stdout("stmfadm-list-lu", "offline")
    sheet = emitted(LUS, good[0] + bad + good[1], "")

    assert samples(emitted(LUS, "".join(good), "")) == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_what_the_other_readers_say() -> None:
    """The same listings, by the library's own readers."""
    said = samples(emitted(LUS, stdout("stmfadm-list-lu", "verbose"), ""))
    for unit in parse_list_lu(stdout("stmfadm-list-lu", "verbose")):
        assert f'xvmstore_lun_size_bytes{{lun="{unit.guid}"}} {unit.size}' in said
    targets = samples(emitted(TARGETS, stdout("stmfadm-list-target", "verbose"), ""))
    for target in parse_targets(stdout("stmfadm-list-target", "verbose")):
        assert f'xvmstore_target_sessions{{target="{target.name}"}} {len(target.sessions)}' in targets
    rows = parse_look(LOOK)
    seen = samples(emitted(LIO, LOOK, ""))
    for unit in rows.units:
        assert f'xvmstore_lun_views{{lun="{unit.guid}"}} {len(rows.views(unit))}' in seen
        assert f'xvmstore_lun_size_bytes{{lun="{unit.guid}"}} {unit.size}' in seen
    for target in rows.targets():
        assert f'xvmstore_target_sessions{{target="{target.name}"}} {len(target.sessions)}' in seen
        assert f'xvmstore_target_online{{target="{target.name}"}} {int(target.online)}' in seen


def test_lio() -> None:
    """The whole listing of a node that has LUs of others too."""
    volumes = volume("tank/xvm/web1/root", 1073741824) + volume("tank/xvm/web1/data", 4294967296)
    sheet = emitted(LIO, LOOK, volumes)

    theirs = "iqn.2003-01.org.linux-iscsi.storage:theirs"
    data, root = "iqn.2026-11.org.xvmstore:web1.data.b7a06c274f1a", "iqn.2026-11.org.xvmstore:web1.root.96487a3f3dc0"
    serials = "f5029513e07e3b7a06c274f1a", "65ea1459de1ee96487a3f3dc0"
    assert f"""\
# TYPE xvmstore_lun_online gauge
xvmstore_lun_online{{lun="{THEIRS}"}} 1
xvmstore_lun_online{{lun="{DATA}"}} 1
xvmstore_lun_online{{lun="{ROOT}"}} 1
# TYPE xvmstore_lun_size_bytes gauge
xvmstore_lun_size_bytes{{lun="{THEIRS}"}} 16777216
xvmstore_lun_size_bytes{{lun="{DATA}"}} 2147483648
xvmstore_lun_size_bytes{{lun="{ROOT}"}} 1073741824
# TYPE xvmstore_lun_views gauge
xvmstore_lun_views{{lun="{THEIRS}"}} 0
xvmstore_lun_views{{lun="{DATA}"}} 1
xvmstore_lun_views{{lun="{ROOT}"}} 1
# TYPE xvmstore_lun_info gauge
xvmstore_lun_info{{lun="{THEIRS}",volume="",pool="",provider="fileio",block_size="",\
serial="14ceb941-afbe-4b03-ba92-f2a1d9941455",write_cache=""}} 1
xvmstore_lun_info{{lun="{DATA}",volume="web1/data",pool="tank",provider="iblock",block_size="",\
serial="{serials[0]}",write_cache=""}} 1
xvmstore_lun_info{{lun="{ROOT}",volume="web1/root",pool="tank",provider="iblock",block_size="",\
serial="{serials[1]}",write_cache=""}} 1
# TYPE xvmstore_target_sessions gauge
xvmstore_target_sessions{{target="{theirs}"}} 0
xvmstore_target_sessions{{target="{data}"}} 0
xvmstore_target_sessions{{target="{root}"}} 1
# TYPE xvmstore_target_portals gauge
xvmstore_target_portals{{target="{theirs}"}} 1
xvmstore_target_portals{{target="{data}"}} 1
xvmstore_target_portals{{target="{root}"}} 1
# TYPE xvmstore_target_luns gauge
xvmstore_target_luns{{target="{theirs}"}} 1
xvmstore_target_luns{{target="{data}"}} 1
xvmstore_target_luns{{target="{root}"}} 1
# TYPE xvmstore_target_online gauge
xvmstore_target_online{{target="{theirs}"}} 1
xvmstore_target_online{{target="{data}"}} 1
xvmstore_target_online{{target="{root}"}} 1
# TYPE xvmstore_target_info gauge
xvmstore_target_info{{target="{theirs}",alias="",auth="none"}} 1
xvmstore_target_info{{target="{data}",alias="",auth="chap"}} 1
xvmstore_target_info{{target="{root}",alias="",auth="chap"}} 1
# TYPE xvmstore_lun_size_mismatch gauge
xvmstore_lun_size_mismatch{{lun="{DATA}"}} 1
xvmstore_lun_size_mismatch{{lun="{ROOT}"}} 0
""" == shown(sheet)
    assert [] == sheet.complaints


def test_lio_with_nothing_to_serve_and_with_what_is_not_ready() -> None:
    """Nothing at all; a backstore without a serial number has no GUID yet; a place whose LU went is no LUN."""
    assert 0 == len(emitted(LIO, "", ""))
    text = "unit\tnew\tiblock\t-\t0\t-\t-\t-\ntarget\tiqn.x:1\t1\t0\t0\t1\nlun\tiqn.x:1\t0\t-\n"
    sheet = emitted(LIO, text, "")

    assert [] == about("lun_online", samples(sheet)) + sheet.complaints
    assert ['target_luns{target="iqn.x:1"} 0'] == about("target_luns", samples(sheet))


def test_lio_lets_everybody_in() -> None:
    """A target without a list of initiators: its LUN is seen, once."""
    text = "unit\ta\tiblock\tabc\t1\t5\t0\t-\ntarget\tiqn.x:1\t1\t0\t0\t1\nlun\tiqn.x:1\t0\ta\n"

    assert about("lun_views", samples(emitted(LIO, text, "")))[0].endswith(" 1")


@pytest.mark.parametrize(
    "bad", ["unit\ta\tiblock\tabc\tyes\t5\t0\t-", "unit\ta\tiblock\tabc\t1\t5G\t0\t-", "lun\tiqn.x:1", "what\tis\tthis"]
)
def test_a_bad_row_of_lio_costs_itself_only(bad: str) -> None:
    """And is complained of."""
    sheet = emitted(LIO, f"{bad}\n{LOOK}", "")

    assert samples(emitted(LIO, LOOK, "")) == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_what_is_no_listing_of_lio_costs_all() -> None:
    """Not one row that can be read."""
    with pytest.raises(UnexpectedOutput):
        emitted(LIO, "Traceback (most recent call last):\n", "")


@pytest.mark.parametrize("collector", [LUS, LIO])
def test_without_the_volumes_there_are_no_mismatches(collector: Collector) -> None:
    """Their listing failed: all else is there."""
    text = LOOK if collector is LIO else stdout("stmfadm-list-lu", "verbose")

    assert "volumes" == collector.needs
    found = samples(emitted(collector, text, ""))
    assert not about("lun_size_mismatch", found)
    assert about("lun_online", found)
