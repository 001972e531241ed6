"""Notes of checkpoints: on the snapshots as ever, or apart from them; the node's programs are run for real."""

from pathlib import Path

import pytest

from remote.errors import InvalidValue
from remote.script import Step
from storage import checkpoints, notes
from storage.checkpoints import CONSISTENCY, OUTCOME, Note
from storage.notes import Apart, OnSnapshots
from tests.storage.test_checkpoints import FS, PARENT, SNAP, VOL, _rows
from tests.storage.test_rollback import run

BASE = "tank/xvm"
PLACE = f"{BASE}/xvmstore:notes"
APART, ON_SNAPSHOTS = Apart(BASE), OnSnapshots()
TAG = "xvm-20080512T130501Z-7F3a"
OF_TAG = f"org.xvmstore:note.{TAG.lower()}"
OTHER = "org.xvmstore:note.xvm-20080513t000000z-0000"


def words(step: Step) -> list[str]:
    """A program's name and operands, or the whole command."""
    argv = [str(word) for word in step.argv]
    return argv[3:] if argv[:2] == ["sh", "-c"] else argv


def test_usually_they_are_on_the_snapshots() -> None:
    """In the very command that takes it, with nothing before and nothing to sweep."""
    assert ON_SNAPSHOTS == notes.kept(BASE, on_snapshots=True)
    taken, hold = checkpoints.take([PARENT], TAG, Note(reason="why not"), notes=ON_SNAPSHOTS)
    assert [
        *("zfs", "snapshot", "-r", "-o", "org.xvmstore:checkpoint=manual", "-o", "org.xvmstore:reason=why not"),
        *("-o", "org.xvmstore:consistency=crash", f"{PARENT}@{TAG}"),
    ] == words(taken)
    assert "hold" in words(hold)
    ended = checkpoints.set_outcome(PARENT, TAG, "done", notes=ON_SNAPSHOTS)
    assert ["set-on-each", PARENT, TAG, f"{OUTCOME}=done"] == words(ended)
    assert () == ON_SNAPSHOTS.sweep(PARENT)


def test_apart_they_come_first() -> None:
    """Then a snapshot without options; what is taken back is only what this attempt noted."""
    assert notes.kept(BASE, on_snapshots=False) == APART
    place, note, taken, _ = checkpoints.take([PARENT], TAG, Note(reason="why = not"), notes=APART)
    assert words(place)[-1] == PLACE
    assert ["note", PLACE, f"{OF_TAG}.guest=web1", f"{OF_TAG}.checkpoint=manual", f"{OF_TAG}.reason=why = not",
            f"{OF_TAG}.consistency=crash"] == words(note)  # fmt: skip
    assert ["zfs", "snapshot", "-r", f"{PARENT}@{TAG}"] == words(taken)
    keys = ("guest", "checkpoint", "reason", "consistency")
    assert note.undo is not None
    assert ("forget-notes", PLACE, *(f"{OF_TAG}.{key}" for key in keys)) == note.undo[3:]
    assert note.lies


def test_what_zfs_cannot_keep_is_refused() -> None:
    """A value, or the name of a snapshot that can be no checkpoint's."""
    with pytest.raises(InvalidValue):
        checkpoints.take([PARENT], TAG, Note(reason="x" * 1024), notes=APART)
    for name in ("monday backup", "a.reason=b", ""):
        with pytest.raises(InvalidValue):
            checkpoints.set_outcome(PARENT, name, "done", notes=APART)


def test_each_is_set_and_unset(tmp_path: Path) -> None:
    """One command each; the first that fails ends it, so that the snapshot is not taken."""
    _, note, *_ = checkpoints.take([PARENT], TAG, Note(role="it's", reason="two  words"), notes=APART)
    exit_, _, asked = run(tmp_path, note, f'"set "*" {PLACE}") ;;')
    assert (0, 4) == (exit_, len(asked))
    assert f"set {OF_TAG}.reason=two  words {PLACE}" == asked[2]
    exit_, _, asked = run(tmp_path, note, f'"set "*guest*" {PLACE}") ;;\n"set "*) exit 3 ;;')
    assert (3, 2) == (exit_, len(asked))
    undo = Step(note.undo or ())
    exit_, _, asked = run(tmp_path, undo, f'"inherit "*" {PLACE}") ;;')
    assert (0, [f"inherit {OF_TAG}.{key} {PLACE}" for key in ("guest", "checkpoint", "reason", "consistency")]) == (
        exit_,
        asked,
    )


def test_they_are_read_with_the_snapshots() -> None:
    """Each snapshot has what is noted of its name, whatever its case, and a checkpoint is what it is elsewhere."""
    text = _rows(_={**FS}, _a=VOL, _a__sunday=SNAP, _b=VOL)
    text += "".join(f"{PARENT}/{disk}@{TAG}\t{key}\t{value}\t-\n" for disk in "ab" for key, value in SNAP.items())
    told = "mountpoint\tnone\ncanmount\toff\n"
    told += f"{OF_TAG}.checkpoint\tpre\n{OF_TAG}.guest\tweb1\n{OF_TAG}.by\tme@here\n{OF_TAG}.reason\ta b\n"
    told += f"{OF_TAG}.outcome\trolled back\n{OTHER}.checkpoint\tmanual\n{OTHER}.guest\tweb2\n"
    (found,) = checkpoints.of_guest(notes.read(text, "", told), "web1", PARENT)
    assert (TAG, ("a", "b"), "rolled back", None) == (found.name, found.disks, found.outcome, found.held)
    assert Note("pre", "a b", "me@here") == found.note
    assert () == checkpoints.of_guest(notes.read(text, "", ""), "web1", PARENT)


def test_what_a_snapshot_says_itself_is_younger() -> None:
    """A release that can have properties there notes there what comes later of an older release's checkpoint."""
    text = _rows(_={**FS}, _a=VOL)
    own = {**SNAP, "org.xvmstore:outcome": "rolled back"}
    text += "".join(f"{PARENT}/a@{TAG}\t{key}\t{value}\tlocal\n" for key, value in own.items())
    told = f"{OF_TAG}.checkpoint\tpre\n{OF_TAG}.outcome\tdone\n"
    (found,) = checkpoints.of_guest(notes.read(text, "", told), "web1", PARENT)
    assert ("pre", "rolled back") == (found.note.role, found.outcome)


def test_the_question() -> None:
    """Where nothing was ever noted apart there is no such dataset; that is no failure."""
    asked = notes.kept_apart(BASE)
    assert ("get", PLACE, ("dataset does not exist",)) == (asked.argv[1], asked.argv[-1], asked.absent)


LISTED = f'"list -H -o name -t snapshot -r {PARENT}") printf "{PARENT}@{TAG}\\n{PARENT}/a@{TAG}-2\\n" ;;\n'


def test_what_comes_later(tmp_path: Path) -> None:
    """Of a checkpoint that is there; nothing is noted of one whose name only begins or ends like it."""
    step = checkpoints.set_on_all(PARENT, TAG, CONSISTENCY, "crash", notes=APART)
    exit_, _, asked = run(tmp_path, step, f'{LISTED}"set {OF_TAG}.consistency=crash {PLACE}") ;;')
    assert (0, 2) == (exit_, len(asked))
    for name in (TAG[:-1], TAG[1:], "web1"):
        exit_, said, asked = run(tmp_path, checkpoints.set_outcome(PARENT, name, "done", notes=APART), LISTED)
        assert (1, 1, f"{PARENT}@{name}: dataset does not exist\n") == (exit_, len(asked), said)
    missing = f'"list -H -o name -t snapshot -r {PARENT}") echo "cannot open: dataset does not exist" >&2; exit 1 ;;'
    exit_, said, asked = run(tmp_path, step, missing)
    assert (1, 1, True) == (exit_, len(asked), "dataset does not exist" in said)


def _noted(*pairs: tuple[str, str]) -> str:
    lines = "".join(f"{name}\\t{value}\\n" for name, value in (("canmount", "off"), *pairs))
    return f'"get -H -s local -o property,value all {PLACE}") printf "{lines}"; exit $NOTES ;;\n'


MINE = (f"{OF_TAG}.guest", "web1"), (f"{OF_TAG}.by", "me@here"), (f"{OTHER}.guest", "web1"), (f"{OTHER}.pair", "x")
THERE = (
    f'"get -H -r -o name,value type {BASE}") printf "{BASE}\\tfilesystem\\n'
    f'{BASE}/my web2/a\\tvolume\\n{BASE}/my web2/a@{TAG}\\tsnapshot\\n{BASE}/web1@xvm\\tsnapshot\\n"; exit $THERE ;;\n'
    f'"inherit "*" {PLACE}") ;;'
)


def _swept(tmp_path: Path, guest: str, notes_: str, *, ends: tuple[int, int] = (0, 0)) -> list[str]:
    cases = (notes_ + THERE).replace("$NOTES", str(ends[0])).replace("$THERE", str(ends[1]))
    (step,) = APART.sweep(f"{BASE}/{guest}")
    exit_, _, asked = run(tmp_path, step, cases)
    assert exit_ == 0
    return [line for line in asked if line.startswith("inherit")]


def test_what_is_left_is_swept(tmp_path: Path) -> None:
    """Of this guest, if no snapshot anywhere has the name: a disk may have taken it along to another guest."""
    gone = [f"inherit {OTHER}.guest {PLACE}", f"inherit {OTHER}.pair {PLACE}"]
    assert gone == _swept(tmp_path, "web1", _noted(*MINE))
    assert [] == _swept(tmp_path, "web", _noted(*MINE))
    assert [] == _swept(tmp_path, "WEB1", _noted(*MINE))
    assert [] == _swept(tmp_path, "web1", _noted(MINE[0], (f"{OTHER}.by", "web1")))


@pytest.mark.parametrize("ends", [(1, 0), (0, 1)])
def test_half_a_listing_sweeps_nothing(tmp_path: Path, ends: tuple[int, int]) -> None:
    """What could not be looked at stays; nor does it fail what was done before."""
    assert [] == _swept(tmp_path, "web1", _noted(*MINE), ends=ends)
