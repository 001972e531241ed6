"""Checkpoints: their names, what is recorded, what is read back, their cost, and the node's programs run for real."""

import re
import subprocess
from pathlib import Path

import pytest

from remote.errors import InvalidValue, UnexpectedOutput
from remote.script import Step
from storage import checkpoints
from storage.checkpoints import Cost, Note, of_guest
from storage.snapshots import read_family
from tests.storage.test_rollback import run

PARENT = "tank/xvm/web1"


def _rows(**datasets: dict[str, str]) -> str:
    """``zfs get`` of datasets named without their parent: values are local when they are ours."""
    lines = []
    for name, values in datasets.items():
        full = f"{PARENT}{name.replace('__', '@').replace('_', '/')}".rstrip("/")
        for key, value in values.items():
            ours = key.startswith("x_")
            prop = f"org.xvmstore:{key[2:]}" if ours else key
            lines.append(f"{full}\t{prop}\t{value}\t{'local' if ours else '-'}\n")
    return "".join(lines)


FS = {"type": "filesystem", "creation": "1", "used": "1", "referenced": "1", "origin": "-"}
VOL = {**FS, "type": "volume", "volsize": "1024"}
SNAP = {"type": "snapshot", "creation": "100", "used": "5", "referenced": "9", "volsize": "1024"}
OURS = {"x_checkpoint": "manual", "x_reason": "why", "x_by": "me@here"}


def test_names_sort_and_are_new() -> None:
    """By time; and two of one second differ."""
    early, late = (checkpoints.new_name(now) for now in (1_000_000_000.0, 1_800_000_000.0))
    assert early < late
    assert re.fullmatch(r"xvm-20010909T014640Z-[0-9a-f]{4}", early)
    assert 1 < len({checkpoints.new_name(0.0) for _ in range(20)})


def test_what_is_recorded() -> None:
    """Only what says something; what ZFS cannot keep is refused."""
    assert (
        ("org.xvmstore:checkpoint", "manual"),
        ("org.xvmstore:reason", "x"),
        ("org.xvmstore:consistency", "crash"),
    ) == (Note(reason="x").properties())
    for bad in ("two\nlines", "x" * 1024):
        with pytest.raises(InvalidValue):
            Note(reason=bad).properties()


def test_a_checkpoint_is_read_back() -> None:
    """All its disks, what is missing, and only what is set on the snapshots themselves."""
    text = _rows(
        _={**FS, "x_guest": "web1"},
        _a=VOL,
        _a__one={**SNAP, **OURS},
        _a__auto=SNAP,
        _b=VOL,
        _b__one={**SNAP, "used": "7", **OURS},
        _late=VOL,
    )
    text += f"{PARENT}/a@auto\torg.xvmstore:checkpoint\tmanual\tinherited from {PARENT}/a\n"
    newer = f"{PARENT}/born\twritten\t0\t-\n"
    newer += f"{PARENT}/a@one\tuserrefs\t1\t-\n{PARENT}/b@one\tuserrefs\t3\t-\n{PARENT}/a\twritten\t12\t-\n"
    family = read_family(text, newer)

    (found,) = of_guest(family, "web1", PARENT)
    assert ("one", ("a", "b"), ("late",), 12, True, 2) == (
        found.name,
        found.disks,
        found.missing,
        found.used,
        found.held,
        found.foreign,
    )
    assert Note("manual", "why", "me@here") == found.note
    assert ("auto",) == tuple(one.name for one in family.newer(f"{PARENT}/a", "one"))
    assert {f"{PARENT}/a": 12} == family.written
    assert None is of_guest(read_family(text), "web1", PARENT)[0].held


def test_order_within_a_second() -> None:
    """As ZFS lists them, not by name."""
    text = _rows(_={**FS}, _a=VOL, _a__zz={**SNAP, **OURS}, _a__aa={**SNAP, **OURS})
    assert ["zz", "aa"] == [one.name for one in of_guest(read_family(text), "web1", PARENT)]


@pytest.mark.parametrize("line", ["three\tfields\tonly", f"{PARENT}/a@x\tused\tmany\t-"])
def test_what_cannot_be_read(line: str) -> None:
    """Parse or complain."""
    with pytest.raises(UnexpectedOutput):
        read_family(_rows(_a__x={**SNAP, "creation": "1"}).replace(f"{PARENT}/a@x\tused\t5\t-", line))


def _cost(tmp_path: Path, step: Step, cases: str) -> tuple[int, Cost | None]:
    tool = tmp_path / "zfs"
    tool.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) echo "not told: $*" >&2; exit 99 ;;\nesac\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "xvm_become": ""}
    argv = [str(word) for word in step.argv]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, checkpoints.read_cost(done.stdout)


POOL = (
    '"get -Hp -o name,property,value used,available tank") printf "tank\\tused\\t600\\ntank\\tavailable\\t400\\n" ;;\n'
)
ROWS = (
    "p/thick\\ttype\\tvolume\\np/thick\\tX\\t300\\np/thick\\trefreservation\\t200\\n"
    "p/thin\\ttype\\tvolume\\np/thin\\tX\\t500\\np/thin\\trefreservation\\t0\\n"
    "p/fresh\\ttype\\tvolume\\np/fresh\\tX\\t30\\np/fresh\\trefreservation\\t200\\n"
    "p/thick@s\\ttype\\tsnapshot\\np/thick@s\\tX\\t900\\np/thick@s\\trefreservation\\t-\\n"
)


@pytest.mark.parametrize(("keep", "fits"), [(5.0, 0), (17.0, 0), (17.1, 1)])
@pytest.mark.parametrize("old", [False, True])
def test_what_a_checkpoint_costs(tmp_path: Path, keep: float, fits: int, old: bool) -> None:
    """Of thick volumes what was written, up to their reservation; of thin ones nothing: 200 + 30 of 400."""
    words = "get -Hp -r -o name,property,value type,{},refreservation p p"
    fresh = f'"{words.format("written")}") ' + (
        "exit 2 ;;\n" if old else f'printf "{ROWS.replace("X", "written")}" ;;\n'
    )
    cases = POOL + fresh + f'"{words.format("referenced")}") printf "{ROWS.replace("X", "referenced")}" ;;'
    step = checkpoints.affordable("tank", ["p p"], keep_free=keep)
    assert (fits, Cost(230, 400, int(keep * 10))) == _cost(tmp_path, step, cases)


def test_a_pool_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """Nothing is taken then."""
    step = checkpoints.affordable("tank", ["p p"], keep_free=0)
    assert 1 == _cost(tmp_path, step, "*) exit 1 ;;")[0]


def test_only_our_holds_are_released(tmp_path: Path) -> None:
    """Somebody else's is named, and nothing is released then."""
    rows = '"get -H -o value userrefs d") echo - ;;\n'
    rows += '"get -H -r -o name,value userrefs d") printf "d\\t-\\nd@a b\\t1\\nd@c\\t2\\nd@e\\t0\\n" ;;\n'
    ours = '"holds -H d@a b") printf "d@a b\\txvmstore\\tthen\\n" ;;\n'
    both = ours + '"holds -H d@c") printf "d@c\\tbackup\\tthen\\nd@c\\txvmstore\\tthen\\n" ;;\n'
    alone = ours + '"holds -H d@c") printf "d@c\\txvmstore\\tthen\\n" ;;\n'
    release = '"release xvmstore "*) ;;'

    exit_, said, asked = run(tmp_path, checkpoints.release_below("d"), rows + both + release)
    assert (1, True) == (exit_, said.startswith("d@c\tbackup\t"))
    assert [] == [line for line in asked if line.startswith("release")]
    exit_, _, asked = run(tmp_path, checkpoints.release_below("d"), rows + alone + release)
    assert (0, ["release xvmstore d@a b", "release xvmstore d@c"]) == (exit_, asked[-2:])
    exit_, _, asked = run(tmp_path, checkpoints.held_by_us_alone("d"), rows + alone)
    assert (0, []) == (exit_, [line for line in asked if line.startswith("release")])


def test_a_bare_dataset_goes(tmp_path: Path) -> None:
    """One that is ours, and has nothing below it but snapshots."""
    (bare,) = checkpoints.destroy_if_bare("t/web1")
    listing = '"list -H -o name -t filesystem,volume -r t/web1") printf "t/web1\\n{}" ;;\n'
    whose = (
        '"get -H -o value org.xvmstore:guest t/web1") echo {} ;;\n"destroy -r t/web1") ;;\n'
        '"get -H -o value userrefs t/web1") echo - ;;\n'
        '"get -H -r -o name,value userrefs t/web1") printf "t/web1\\t-\\nt/web1@a\\t1\\n" ;;\n'
        '"holds -H t/web1@a") printf "t/web1@a\\txvmstore\\tthen\\n" ;;\n"release xvmstore t/web1@a") ;;'
    )
    for more, owner, gone in (("", "web1", True), ("t/web1/root\\n", "web1", False), ("", "-", False)):
        exit_, _, asked = run(tmp_path, bare, listing.format(more) + whose.format(owner))
        assert (0, gone) == (exit_, "destroy -r t/web1" in asked)


def test_what_cannot_be_looked_at_stays(tmp_path: Path) -> None:
    """A listing that fails is no empty one: nothing is released, nothing destroyed, and the step fails."""
    (bare,) = checkpoints.destroy_if_bare("t/web1")
    for exit_, case in ((1, "printf 't/web1\\n'; exit 1"), (0, "echo 'dataset does not exist' >&2; exit 1")):
        listing = f'"list -H -o name -t filesystem,volume -r t/web1") {case} ;;'
        ended, _, asked = run(tmp_path, bare, listing)
        assert (exit_, 1) == (ended, len(asked))
