"""Checkpoints of releases whose snapshots have no properties: what is known of them stands on another dataset."""

from exporters import snapshots
from tests.captured_cases import stdout
from tests.exporters.sheets import emitted, samples
from tests.exporters.test_snapshots import LAB, OF_ROOT, TAG, WHOLE

APART = snapshots.snapshots("tank/xvm", exact=False)
NOTE = f"org.xvmstore:note.{TAG.lower()}"


def _bare() -> str:
    """A listing in which no snapshot has a property of its own."""
    lines = stdout(LAB, "snapshots by zfs get").splitlines(keepends=True)
    return "".join(line for line in lines if not ("@" in line and "org.xvmstore:" in line))


def test_they_tell_the_same() -> None:
    """As where the snapshots themselves say it."""
    sheet = emitted(APART, _bare(), f"canmount\toff\n{NOTE}.checkpoint\tmanual\n{NOTE}.reason\tx\n")

    assert [one for one in WHOLE.splitlines() if one[0] != "#" and "_written_" not in one] == samples(sheet)
    assert [] == sheet.complaints
    assert "tank/xvm/xvmstore:notes" == APART.queries[1].argv[-1]


def test_how_it_ended() -> None:
    """That is noted there, too."""
    found = samples(emitted(APART, _bare(), f"{NOTE}.checkpoint\tpre\n{NOTE}.outcome\trolled back\n"))

    assert f'xvmstore_checkpoint_state{OF_ROOT[:-1]},state="rolled_back"}} 1' in found


def test_without_a_note_it_is_no_checkpoint() -> None:
    """The snapshots are counted all the same."""
    found = samples(emitted(APART, _bare(), ""))

    assert ([], True) == (
        [one for one in found if "checkpoint" in one],
        any("_volume_snapshots" in one for one in found),
    )
