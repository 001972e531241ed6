"""What is sent to a Linux node: the order of it, what takes it back, and that no secret and no odd name gets in."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from iscsi import lio_fitness, lio_look, lio_programs, lio_saved
from iscsi.backend import Access, Export
from iscsi.lio import LIO
from remote.errors import InvalidValue
from remote.script import ROOT_SHELL, Argv, Script, Secret, Step, masked, render
from storage.zvol import Resize

TARGET = "iqn.2026-11.org.xvmstore:web1.root.1b57b083fe60"
SECRET = Secret("twelve-characters")
EXPORT = Export(
    dataset="tank/xvm/web1/root",
    alias="web1/root",
    size="1073741824",
    guid="60014053DB7477D378DD1B57B083FE60",
    serial="3db7477d378dd1b57b083fe60",
    lun="0",
    target=TARGET,
    write_cache=False,
    shared=False,
)
SHARED = replace(EXPORT, shared=True)
DOM0 = Access("dom0", "iqn.2026-11.com.example:dom0", "dom0", SECRET)
RESIZE = Resize("tank/xvm/web1/root", 1 << 30, smaller=True)
RENAME = Step(("zfs", "rename", "tank/xvm/web1/root", "tank/xvm/web2/root"))


def _steps() -> Iterator[Step]:
    for export in (EXPORT, SHARED):
        yield from (
            *LIO.make(export),
            *LIO.restore(export),
            *LIO.resume(export, waits=True),
            *LIO.resume(export, waits=False),
            *LIO.publish(export, [DOM0]),
        )
        yield from (*LIO.same_unit(export), *LIO.not_in_use(export), *LIO.withdraw(export, forever=True))
        yield from (*LIO.withdraw_from(export, DOM0), *LIO.resize(export, RESIZE), *LIO.admit(DOM0, renew=True))
        yield from LIO.move(export, RENAME, dataset="tank/xvm/web2/root", alias="web2/root")


def _verbs(steps: tuple[Step, ...]) -> list[str]:
    return [_verb(step.argv) for step in steps]


def _verb(argv: Argv) -> str:
    return str(argv[3] if argv[0] in {"sh", ROOT_SHELL, "python3"} else argv[0])


def test_nobody_sees_an_lu_before_it_was_read_back() -> None:
    """Made and looked at first; let in after; the door is opened last, and then it is written down."""
    verbs = _verbs((*LIO.make(EXPORT), *LIO.publish(EXPORT, [DOM0])))
    assert ["write-through", "lio-make-unit", "lio-look", "lio-make-target", "lio-bind-lun", "lio-admit", "lio-map-lun",
            "lio-enable", "lio-save"] == verbs  # fmt: skip


def test_who_reaches_it_goes_before_it_does() -> None:
    """Target or LUN first, the LU after, and what the next boot would bring back last; a shared target stays."""
    assert ["lio-remove-target", "lio-remove-unit", "lio-save"] == _verbs(LIO.withdraw(EXPORT, forever=True))
    assert ["lio-unbind-lun", "lio-remove-unit", "lio-save"] == _verbs(LIO.withdraw(SHARED, forever=False))


def test_an_undone_volume_is_forgotten_for_the_next_boot() -> None:
    """The first thing made is the last taken back, and after it the saved configuration is put right."""
    unit = next(step for step in LIO.make(EXPORT) if _verb(step.argv) == "lio-make-unit")
    assert unit.undo is not None
    assert ("lio-remove-unit", "lio-save") == (_verb(unit.undo), _verb(unit.undo[5:]))
    assert [None] == [step.undo for step in LIO.publish(EXPORT, [DOM0]) if _verb(step.argv) == "lio-save"]


def test_undo_never_takes_a_shared_target() -> None:
    """It serves others: only the LUN is taken off it."""
    undone = [_verb(step.undo) for step in LIO.publish(SHARED, [DOM0]) if step.undo]
    assert ["lio-unbind-lun"] == undone
    assert {"lio-remove-target"} == {_verb(step.undo) for step in LIO.publish(EXPORT, [DOM0]) if step.undo}


def test_a_rename_that_fails_is_turned_back_in_reverse() -> None:
    """Off, rename, on; each undo is the step on the other side."""
    steps = LIO.move(EXPORT, RENAME, dataset="tank/xvm/web2/root", alias="web2/root")
    off, on = ["lio-unbind-lun", "lio-remove-unit"], ["lio-make-unit", "lio-bind-lun"]
    assert ["lio-was-served", *off, "zfs", *on, "lio-save"] == _verbs(steps)
    undos = [_verb(step.undo) for step in steps if step.undo]
    assert ["lio-bind-lun", "lio-make-unit", "lio-remove-unit", "lio-unbind-lun"] == undos
    assert steps[2].undo is not None
    assert "/dev/zvol/tank/xvm/web1/root" in steps[2].undo
    assert "/dev/zvol/tank/xvm/web2/root" in steps[4].argv


def test_write_cache() -> None:
    """LIO cannot turn a block device's cache off: ZFS writes through instead, unless a cache is wanted."""
    assert "write-through" not in _verbs(LIO.make(replace(EXPORT, write_cache=True)))


def test_every_step_runs_with_rights_and_fails_on_a_word() -> None:
    """As root as a whole, or not at all; and a word on stderr is a failure."""
    ours = [step for step in _steps() if _verb(step.argv).startswith("lio-")]
    assert {ROOT_SHELL, "python3"} == {step.argv[0] for step in ours}
    assert all(step.silent for step in ours)
    script = render(Script((ours[0],), become=("sudo", "-n")), "nonce")
    assert "sudo -n /bin/sh -c" in script


def test_secrets_are_files() -> None:
    """Neither the commands shown nor the script's command lines have them; LIO's word for none is refused."""
    steps = LIO.publish(replace(EXPORT, own_chap=("san", Secret("another-secret"))), [DOM0])
    shown = "\n".join(masked(step.argv) for step in steps)
    script = render(Script(steps), "nonce")
    assert "twelve-characters" not in shown
    assert "another-secret" not in shown
    assert 1 == script.count("twelve-characters") == script.count("another-secret")
    with pytest.raises(InvalidValue, match="begins with NULL"):
        LIO.publish(EXPORT, [replace(DOM0, chap_secret=Secret("NULL-secret-12"))])
    with pytest.raises(InvalidValue, match="begins with NULL"):
        LIO.publish(replace(EXPORT, own_chap=("san", Secret("NULL-secret-12"))), [DOM0])
    with pytest.raises(InvalidValue, match="begins with NULL"):
        LIO.admit(replace(DOM0, chap_secret=Secret("NULL-secret-12")), renew=True)


def test_a_name_that_would_not_come_back() -> None:
    """rtslib restores only names with a dot in the naming authority: others are refused before they are sent."""
    with pytest.raises(InvalidValue, match="dot after the date"):
        LIO.publish(EXPORT, [replace(DOM0, initiator="iqn.2026-11.test:dom0")])
    with pytest.raises(InvalidValue, match="dot after the date"):
        LIO.publish(EXPORT, [replace(DOM0, initiator="eui.02004567A425678D")])
    with pytest.raises(InvalidValue, match="dot after the date"):
        LIO.publish(replace(SHARED, target="iqn.2026-11.example:san"), [DOM0])


PROGRAMS = {
    f"{module.__name__}.{name}": (lio_programs.HEAD if module is not lio_fitness else "") + text
    for module in (lio_programs, lio_look, lio_fitness)
    for name, text in vars(module).items()
    if name.isupper() and name != "HEAD" and isinstance(text, str) and "\n" in text
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_clean(name: str) -> None:
    """shellcheck finds nothing, and every shell a Linux node may have as /bin/sh can read them."""
    text = PROGRAMS[name]
    for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"], ["yash"]):
        if shutil.which(shell[0]):
            done = subprocess.run([*shell, "-n"], input=text, capture_output=True, text=True, check=False)
            assert (0, "") == (done.returncode, done.stderr), shell
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    # 2034, 2154, 2317, 2329: functions of the common head. 2015: "a && b || c" where b cannot fail. 2231: two paths
    # without blanks. 3013: -ef, which every shell on Linux has.
    argv = ["shellcheck", "-s", "sh", "-e", "2006,2015,2034,2154,2231,2317,2329,3013", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


def test_the_python_program_compiles() -> None:
    """On the Python this runs with; the node's own runs it in the lab."""
    compile(str(lio_saved.check()[2]), "lio-save", "exec")
