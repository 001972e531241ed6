"""The zfs commands we send, word for word, and the small programs among them, run for real."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from remote.script import Captured, Query, Secret, Step, Word
from storage import zvol
from storage.zvol import NATIVE, OURS
from tests.node_tools import printed, succeeds

BASE, NAME = "tank/xvm", "tank/xvm/web1/root"
GUID = "600144F00C2A6D0000006A27E7400001"
UNMOUNTED = ("-o", "canmount=off", "-o", "mountpoint=none")
THERE = ("zfs", "list", "-H", "-o", "name", "tank/xvm/web1")
LIST = ("zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", NAME)
BUSY = ("dataset is busy",)
VOLSIZE = Captured("volsize")
CREATED = zvol.create(NAME, 1 << 30, thin=False, maker="xvmstore-1,me,x1", properties=[])
UNDO = CREATED[1].undo
MAKING = f"{NAME}:making"

STEPS: dict[str, tuple[Step, Step]] = {
    "parents": (
        zvol.make_parents(BASE, "web1"),
        Step(
            ("sh", "-c", zvol._MAKE_PARENTS, "make-parents", BASE, "tank/xvm/web1", "org.xvmstore:guest=web1"),
            undo=("sh", "-c", zvol._DESTROY_OWN, "destroy-own", "tank/xvm/web1", "org.xvmstore:guest", "web1"),
            lies=True,
            unless=THERE,
        ),
    ),
    "base": (zvol.make_base(BASE), Step(("zfs", "create", "-p", *UNMOUNTED, BASE), unless=(*THERE[:-1], BASE))),
    "thick": (
        CREATED[1],
        Step(
            ("zfs", "create", "-o", "org.xvmstore:made-by=xvmstore-1,me,x1", "-V", "1073741824", MAKING),
            undo=UNDO,
            lies=True,
        ),
    ),
    "thin, with properties": (
        zvol.create(
            NAME,
            1 << 30,
            thin=True,
            maker="xvmstore-1,me,x1",
            properties=[("compression", "on"), (zvol.VDEV, Captured("free"))],
        )[1],
        Step(
            (
                *("zfs", "create", "-s", "-o", "compression=on"),
                *("-o", Captured("free", prefix="org.xvmstore:vdev=")),
                *("-o", "org.xvmstore:made-by=xvmstore-1,me,x1", "-V", "1073741824", MAKING),
            ),
            undo=UNDO,
            lies=True,
        ),
    ),
    "its name last": (
        CREATED[2],
        Step(
            ("zfs", "rename", MAKING, NAME),
            undo=("sh", "-c", zvol._DESTROY_OWN, "destroy-own", NAME, "org.xvmstore:made-by", "xvmstore-1,me,x1"),
            lies=True,
            retry=BUSY,
        ),
    ),
    "set": (zvol.set_property(NAME, zvol.STATE, "ready"), Step(("zfs", "set", "org.xvmstore:state=ready", NAME))),
    "set and back": (
        zvol.set_property(NAME, "volsize", "2147483648", back=VOLSIZE),
        Step(
            ("zfs", "set", "volsize=2147483648", NAME),
            undo=("zfs", "set", Captured("volsize", prefix="volsize="), NAME),
        ),
    ),
    "not destroying": (
        zvol.not_destroying(NAME),
        Step(("zfs", "get", "-H", "-o", "value", "org.xvmstore:state", NAME), refuse=("destroying", "rolling-back")),
    ),
    "no snapshots": (zvol.no_snapshots(NAME), Step(LIST, refuse=(f"{NAME}@",))),
    "no clones": (
        zvol.no_clones(NAME),
        Step(("zfs", "get", "-H", "-r", "-o", "name,value", "origin", "tank"), refuse=(f"\t{NAME}@",)),
    ),
    "destroy": (zvol.destroy(NAME), Step(("zfs", "destroy", NAME), retry=BUSY)),
    "destroy all": (zvol.destroy(NAME, snapshots=True), Step(("zfs", "destroy", "-r", NAME), retry=BUSY)),
    "destroy if empty": (
        zvol.destroy_if_empty("tank/xvm/web1"),
        Step(
            ("sh", "-c", zvol._DESTROY_OWN, "destroy-own", "tank/xvm/web1", "org.xvmstore:guest", "web1"),
            accept=("has children",),
        ),
    ),
    "rename": (
        zvol.rename(NAME, "tank/xvm/web2/root"),
        Step(
            ("zfs", "rename", NAME, "tank/xvm/web2/root"),
            undo=("zfs", "rename", "tank/xvm/web2/root", NAME),
            lies=True,
            retry=BUSY,
        ),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    """Command, undo and what is accepted, word for word."""
    built, expected = STEPS[name]
    assert expected == built


def test_a_secret_is_no_property() -> None:
    """A secret stands for a file on the node: it cannot end up on a command line."""
    with pytest.raises(TypeError):
        zvol.set_property(NAME, zvol.STATE, Secret("twelve-characters"))


def test_the_raw_device() -> None:
    """COMSTAR wants rdsk, not dsk."""
    assert f"/dev/zvol/rdsk/{NAME}" == zvol.raw_device(NAME)


def _asks(query: Query[object], argv: tuple[Word, ...]) -> bool:
    return argv == query.argv and ("dataset does not exist",) == query.absent


def test_questions() -> None:
    """Exact numbers in four columns; a missing dataset is an answer, not a failure."""
    properties = ",".join((*NATIVE, *OURS, "compression"))
    columns = ("-o", "name,property,value,source")
    assert _asks(zvol.zvol(NAME, extra=["compression"]), ("zfs", "get", "-Hp", *columns, properties, NAME))
    assert _asks(zvol.zvols(BASE, extra=["compression"]), ("zfs", "get", "-Hp", "-r", *columns, properties, BASE))
    assert zvol.zvol(NAME).parse("") is None


# What ``zfs get -Hp -o property,value,source`` prints of a volume of ours.
IDENTITY = f"""\
org.xvmstore:guid\t{GUID}\tlocal
org.xvmstore:target\tiqn.2026-11.org.xvmstore:web1.root.6a27e7400001\tlocal
org.xvmstore:lun\t5\treceived
org.xvmstore:serial\t-\t-
org.xvmstore:vdev\txvda\tlocal
volsize\t21474836480\t-
"""


def _captured(step: Step, text: str) -> dict[str, str]:
    return {capture.name: printed(capture.sed, text) for capture in step.captures}


def test_identity_captures() -> None:
    """Each value by its name; "-" is nothing. The source of volsize is "-" on old builds."""
    assert {
        "guid": GUID + "\n",
        "target": "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001\n",
        "lun": "5\n",
        "volsize": "21474836480\n",
        "serial": "",
        "vdev": "xvda\n",
    } == _captured(zvol.identity(NAME, layout="target-per-volume"), IDENTITY)


def test_identity_asks_for_what_it_captures() -> None:
    """A volume without target, LUN or size is none of ours; the others may be missing."""
    step = zvol.identity(NAME, layout="target-per-volume")
    ours = ",".join(f"org.xvmstore:{name}" for name in ("guid", "target", "lun", "serial", "vdev", "layout"))
    names = f"{ours},volsize"
    assert ("zfs", "get", "-Hp", "-o", "property,value,source", names, NAME) == step.argv
    assert {"target", "lun", "volsize"} == {capture.name for capture in step.captures if capture.required}


def test_identity_does_not_take_what_is_inherited() -> None:
    """Marks on a dataset above do not make a stranger's zvol one of ours."""
    text = IDENTITY.replace("\tlocal\n", "\tinherited from tank/xvm\n")
    captured = _captured(zvol.identity(NAME, layout="target-per-volume"), text)
    assert {"lun", "volsize"} == {name for name, value in captured.items() if value}


def test_identity_takes_no_longer_names() -> None:
    """Dots are dots, and a property that only begins like ours is another one."""
    text = f"org_xvmstore:guid\tx\tlocal\norg.xvmstore:guids\t{GUID}\tlocal\nmyorg.xvmstore:guid\t{GUID}\tlocal\n"
    assert not any(_captured(zvol.identity(NAME, layout="target-per-volume"), text).values())


def test_the_query_captures_the_same() -> None:
    """With the name in front, for the questions that come after it."""
    text = "".join(f"{NAME}\t{line}\n" for line in IDENTITY.splitlines())
    found = {capture.name: printed(capture.sed, text) for capture in zvol.zvol(NAME).captures}
    assert {"guid": GUID + "\n", "target": "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001\n", "lun": "5\n"} == found
    inherited = text.replace("\tlocal\n", "\tinherited from tank/xvm\n").replace("received", "inherited from tank")
    assert not any(printed(capture.sed, inherited) for capture in zvol.zvol(NAME).captures)


SIZES = [
    (1, 1, True),
    (20 << 30, 20 << 30, True),
    (20 << 30, (20 << 30) + 512, True),
    ((20 << 30) + 512, 20 << 30, False),
    (1 << 32, (1 << 32) - 512, False),
    ((1 << 32) - 512, 1 << 32, True),
    (1 << 31, (1 << 33) + 512, True),
    ((1 << 33) + 512, 1 << 31, False),
    (9 << 30, 10 << 30, True),
    (10 << 30, 9 << 30, False),
    (1 << 52, (1 << 52) - 512, False),
]


@pytest.mark.parametrize(("now", "new", "holds"), SIZES)
def test_not_smaller(now: int, new: int, holds: bool) -> None:
    """Numbers are compared as numbers, beyond 2^32 too; as large as before is not smaller."""
    assert holds == succeeds(zvol.not_smaller(new).argv, {"volsize": str(now)})


@pytest.mark.parametrize(("now", "new", "larger"), [(now, new, new > now) for now, new, _ in SIZES])
def test_grow_only(now: int, new: int, larger: bool) -> None:
    """The step is skipped unless the new size is larger."""
    step, *after = zvol.Resize(NAME, new, smaller=False).around(())
    assert step.unless is not None
    assert larger == (not succeeds(step.unless, {"volsize": str(now)}))
    assert (("zfs", "set", f"volsize={new}", NAME), []) == (step.argv, after)


def test_the_snapshots_of_a_volume_are_found_and_no_others() -> None:
    """The pattern is the zvol's name and the @ after it."""
    (pattern,) = zvol.no_snapshots(NAME).refuse
    assert pattern in f"{NAME}@daily\n"
    assert pattern not in f"{NAME}2@daily\n"


def _run(folder: Path, argv: Sequence[Word], zfs: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours on a node whose zfs is this script."""
    (folder / "zfs").write_text(f"#!/bin/sh\n{zfs}\n")
    (folder / "zfs").chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([str(word) for word in argv], env=path, capture_output=True, text=True, check=False)


ZFS = """\
echo "$*" >>"${0%/*}/said"
case $1 in list) grep -qx -- "$5" "${0%/*}/there" ;; *) exit 0 ;; esac"""


@pytest.mark.parametrize(
    ("there", "done"),
    [
        ("", ["create -p base", "create web1:making", "rename web1:making web1"]),
        ("tank/xvm\n", ["create web1:making", "rename web1:making web1"]),
        ("tank/xvm\ntank/xvm/web1:making\n", ["destroy web1:making", "create web1:making", "rename web1:making web1"]),
    ],
    ids=["nothing", "base", "cut off"],
)
def test_making_parents(tmp_path: Path, there: str, done: list[str]) -> None:
    """Whatever is missing, and what a power cut left half-made is done away with."""
    (tmp_path / "there").write_text(there)
    assert 0 == _run(tmp_path, zvol.make_parents(BASE, "web1").argv, ZFS).returncode

    said = [line.split() for line in (tmp_path / "said").read_text().splitlines() if not line.startswith("list")]
    words = [[word.removeprefix("tank/xvm/") for word in line if not word.startswith(("-", "canm", "mount", "org."))]
             for line in said]  # fmt: skip
    assert done == [" ".join(line).replace("create tank/xvm", "create -p base") for line in words]


def _destroyed(folder: Path, *, made_by: str) -> str:
    """What the undo of ``create`` destroys when the zvol there says that ``made_by`` made it."""
    assert UNDO is not None
    done = _run(folder, UNDO, f"case $1 in get) echo '{made_by}';; *) echo \"$@\";; esac")
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_undoing_a_create_destroys_only_what_it_made(tmp_path: Path) -> None:
    """A zvol that was there before, of us or of others, is never destroyed by a create that failed."""
    assert f"destroy {MAKING}\n" == _destroyed(tmp_path, made_by="xvmstore-1,me,x1\\tlocal")
    for other in ("xvmstore-1,me,x2\\tlocal", "-\\t-", "xvmstore-1\\tlocal", "xvmstore-1,me,x1\\tinherited from tank"):
        assert "" == _destroyed(tmp_path, made_by=other)


def test_the_undo_asks_for_the_mark_of_this_attempt() -> None:
    """The same dataset, property and value as the create sets."""
    undos = [step.undo[-3:] for step in CREATED if step.undo]
    assert [(name, zvol.MAKER, "xvmstore-1,me,x1") for name in (MAKING, NAME)] == undos


def _free_vdev(folder: Path, *, used: str, rather: str = "") -> str | None:
    """What the program prints on a node whose zfs says ``used``; None when it fails."""
    done = _run(folder, zvol.free_vdev("tank/xvm/web1", rather=rather).argv, f"printf %b '{used}'")
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


@pytest.mark.parametrize(
    ("used", "rather", "free"),
    [
        ("", "", "xvda"),
        ("-\\n", "", "xvda"),
        ("-\\nxvda\\nxvdc\\n", "", "xvdb"),
        ("xvda\\n", "xvdq", "xvdq"),
        ("xvda\\nxvdq\\n", "xvdq", "xvdb"),
        ("hda\\nxvdab\\n", "", "xvda"),
        ("".join(f"xvd{letter}\\n" for letter in "abcdefghijklmnopqrstuvwxy"), "", "xvdz"),
        ("".join(f"xvd{letter}\\n" for letter in "abcdefghijklmnopqrstuvwxyz"), "", None),
    ],
)
def test_free_vdev(tmp_path: Path, used: str, rather: str, free: str | None) -> None:
    """The letter wanted if no other disk has it, else the first free one; none left is a failure."""
    assert free == _free_vdev(tmp_path, used=used, rather=rather)
