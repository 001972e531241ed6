"""Volumes: what their listing becomes, of releases old and new, and what is wrong in it."""

import pytest

from exporters import volumes
from tests.captured_cases import stdout
from tests.exporters.sheets import emitted, samples, shown

LAB = "../openzfs/exporter-2.3"
NEW = volumes.volumes("tank/xvm", exact=True)
OLD = volumes.volumes("tank/xvm", exact=False)
ROOT, DATA = '{pool="tank",volume="web1/root"}', '{pool="tank",volume="web1/data"}'
GUID = "6001405D8D562379E06A926FFF253E6F"
IQN = "iqn.2026-11.org.xvmstore:web1"
WHOLE = f"""\
# TYPE xvmstore_volume_size_bytes gauge
xvmstore_volume_size_bytes{DATA} 2147483648
xvmstore_volume_size_bytes{ROOT} 1073741824
# TYPE xvmstore_volume_used_bytes gauge
xvmstore_volume_used_bytes{DATA} 12288
xvmstore_volume_used_bytes{ROOT} 1092628480
# TYPE xvmstore_volume_available_bytes gauge
xvmstore_volume_available_bytes{DATA} 64975696384
xvmstore_volume_available_bytes{ROOT} 66068312576
# TYPE xvmstore_volume_referenced_bytes gauge
xvmstore_volume_referenced_bytes{DATA} 12288
xvmstore_volume_referenced_bytes{ROOT} 12288
# TYPE xvmstore_volume_logical_used_bytes gauge
xvmstore_volume_logical_used_bytes{DATA} 6144
xvmstore_volume_logical_used_bytes{ROOT} 6144
# TYPE xvmstore_volume_refreservation_bytes gauge
xvmstore_volume_refreservation_bytes{DATA} 0
xvmstore_volume_refreservation_bytes{ROOT} 1092616192
# TYPE xvmstore_volume_used_by_snapshots_bytes gauge
xvmstore_volume_used_by_snapshots_bytes{DATA} 0
xvmstore_volume_used_by_snapshots_bytes{ROOT} 0
# TYPE xvmstore_volume_written_since_snapshot_bytes gauge
xvmstore_volume_written_since_snapshot_bytes{DATA} 0
xvmstore_volume_written_since_snapshot_bytes{ROOT} 0
# TYPE xvmstore_volume_compress_ratio gauge
xvmstore_volume_compress_ratio{DATA} 1.00
xvmstore_volume_compress_ratio{ROOT} 1.00
# TYPE xvmstore_volume_unfinished gauge
xvmstore_volume_unfinished{DATA} 0
xvmstore_volume_unfinished{ROOT} 0
# TYPE xvmstore_volume_info gauge
xvmstore_volume_info{DATA[:-1]},lun="6001405DD39359F0C1C6F4AF99E0C1E0",target="{IQN}.data.f4af99e0c1e0",\
volblocksize="16384",compression="on",sync="always",origin="",thin="yes"}} 1
xvmstore_volume_info{ROOT[:-1]},lun="{GUID}",target="{IQN}.root.926fff253e6f",\
volblocksize="16384",compression="on",sync="always",origin="",thin="no"}} 1
# TYPE xvmstore_volumes_aside gauge
xvmstore_volumes_aside{{pool="tank"}} 0
# TYPE xvmstore_volumes_aside_used_bytes gauge
xvmstore_volumes_aside_used_bytes{{pool="tank"}} 0
# TYPE xvmstore_volumes_filtered gauge
xvmstore_volumes_filtered{{pool="tank"}} 0
"""


def row(name: str, **values: str) -> str:
    """A line of the new listing, of a sound volume but for what is given."""
    of = {
        "volsize": "8192", "used": "10", "available": "20", "referenced": "30", "logicalused": "40",
        "refreservation": "0", "usedbysnapshots": "50", "written": "60", "compressratio": "2.50",
        "volblocksize": "8192", "compression": "lz4", "sync": "standard", "origin": "-", "guid": "-", "target": "-",
        "state": "-", "head": "-",
    }  # fmt: skip
    assert not values.keys() - of.keys()
    return "\t".join([name, *(of | values).values()]) + "\n"


def test_of_a_real_node() -> None:
    """The whole of it."""
    sheet = emitted(NEW, stdout(LAB, "volumes"))

    assert WHOLE == shown(sheet)
    assert [] == sheet.complaints


def test_old_releases_tell_the_same_but_for_what_came_later() -> None:
    """By ``zfs get``, which lists file systems and snapshots too, and knew no written, logicalused and sync in 2009."""
    sheet = emitted(OLD, stdout(LAB, "volumes by zfs get"))

    later = ("_written_since_snapshot_bytes", "_logical_used_bytes")
    expected = [line.replace('sync="always"', 'sync=""') for line in WHOLE.splitlines() if not line.startswith("#")]
    assert [line for line in expected if not any(word in line for word in later)] == samples(sheet)
    assert [] == sheet.complaints


def test_no_value_is_no_sample() -> None:
    """What is "-" or "none" is not 0. illumos leaves the x at a ratio, and "none" set aside is thin."""
    text = row("tank/xvm/a/b", refreservation="none", written="-", usedbysnapshots="-", compressratio="1.43x")
    sheet = emitted(NEW, text)

    found = {line.split("{")[0].removeprefix("xvmstore_volume_"): line for line in samples(sheet)}
    assert found["compress_ratio"].endswith(" 1.43")
    assert 'thin="yes"' in found["info"]
    assert not {"refreservation_bytes", "written_bytes", "used_by_snapshots_bytes", "unfinished"} & found.keys()
    assert [] == sheet.complaints


def test_who_is_no_guest_is_counted_only() -> None:
    """Sets that a rollback put aside, volumes on their way, and those left out by name."""
    collector = volumes.volumes("tank/xvm", exact=True, keep=lambda name: name != "secret/root")
    names = ("web1:kept/20261124/root", "web1/new:making", "web2:copy/root", "secret/root", "web1/root")
    sheet = emitted(collector, "".join(row(f"tank/xvm/{name}") for name in names))

    found = samples(sheet)
    assert {"web1/root"} == {line.split('volume="')[1].split('"')[0] for line in found if "volume=" in line}
    assert [
        'xvmstore_volumes_aside{pool="tank"} 3',
        'xvmstore_volumes_aside_used_bytes{pool="tank"} 30',
        'xvmstore_volumes_filtered{pool="tank"} 1',
    ] == [line for line in found if "volumes_" in line]


@pytest.mark.parametrize(
    "bad",
    [
        "tank/xvm/x/y\t1\n",
        row("tank/xvm/x/y", volsize="20G"),
        row("tank/xvm/x/y", used="-5"),
        row("tank/xvm/x/y", referenced="٣"),
        row("elsewhere/x/y"),
    ],
)
def test_a_bad_line_costs_its_own_volume(bad: str) -> None:
    """And is complained of."""
    sheet = emitted(NEW, row("tank/xvm/a/b") + bad + row("tank/xvm/c/d"))

    assert samples(emitted(NEW, row("tank/xvm/a/b") + row("tank/xvm/c/d"))) == samples(sheet)
    assert 1 == len(sheet.complaints)


def test_a_bad_line_of_zfs_get_costs_its_own_volume() -> None:
    """What is left of it is not taken for all."""
    text = stdout(LAB, "volumes by zfs get").replace(
        "tank/xvm/web1/data\tused\t12288\t-\n", "tank/xvm/web1/data\tused\t12288\n"
    )
    sheet = emitted(OLD, text)

    assert 1 == len(sheet.complaints)
    assert "web1/data" in sheet.complaints[0]
    assert not any("web1/data" in line for line in samples(sheet))
    assert any("web1/root" in line for line in samples(sheet))


def test_a_guid_of_two_is_nobodys() -> None:
    """A received copy says the same as its original: no LU is shown on the wrong one. Nor is what is no GUID."""
    names = {"a": GUID, "b": GUID.lower(), "c": "0" * 31, "d": GUID[:-1] + "0"}
    sheet = emitted(NEW, "".join(row(f"tank/xvm/g/{name}", guid=guid) for name, guid in names.items()))

    infos = [line for line in samples(sheet) if "volume_info" in line]
    assert ["", "", "", GUID[:-1] + "0"] == [line.split('lun="')[1].split('"')[0] for line in infos]
    assert 2 == len(sheet.complaints)


@pytest.mark.parametrize(("source", "lun"), [("local", GUID), ("received", GUID), ("inherited from tank/xvm/web1", "")])
def test_what_is_inherited_is_not_ones_own(source: str, lun: str) -> None:
    """As far as the old listing tells where a property is set."""
    lines = ["tank/xvm/web1/root\ttype\tvolume\t-", f"tank/xvm/web1/root\torg.xvmstore:guid\t{GUID}\t{source}"]
    (info,) = [line for line in samples(emitted(OLD, "\n".join(lines) + "\n")) if "volume_info" in line]

    assert f'lun="{lun}"' in info


def test_half_made_and_half_destroyed() -> None:
    """A volume that a command was cut off at is told apart; a word nobody knows is complained of."""
    states = {"a": "making", "b": "ready", "c": "destroying", "d": "rolling-back", "e": "-", "f": "confused"}
    sheet = emitted(NEW, "".join(row(f"tank/xvm/g/{name}", state=state) for name, state in states.items()))

    found = [line for line in samples(sheet) if "unfinished" in line]
    assert [("a", "1"), ("b", "0"), ("c", "1"), ("d", "1")] == [(line.split('"')[3][-1], line[-1]) for line in found]
    assert 1 == len(sheet.complaints)


def test_a_base_that_is_not_there() -> None:
    """A node without volumes yet: nothing, and nothing is wrong."""
    sheet = emitted(NEW, "")

    assert (0, []) == (len(sheet), sheet.complaints)
    assert ("cannot open 'tank/xvm': dataset does not exist",) == NEW.queries[0].absent


def test_what_an_lu_on_it_should_have() -> None:
    """Less the head: the release's, or what is recorded on a volume that was made on another one."""
    text = row("tank/xvm/a/b", volsize="1000000") + row("tank/xvm/c/d", volsize="1000000", head="65536")

    assert {"tank/xvm/a/b": 1000000, "tank/xvm/c/d": 934464} == volumes.sizes(text, exact=True, head=0)
    old = "tank/x\ttype\tvolume\t-\ntank/x\tvolsize\t1000000\t-\n"
    assert {"tank/x": 934464} == volumes.sizes(old, exact=False, head=65536)
