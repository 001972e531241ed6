"""The way back: the channel program's words, the node's small programs run for real, and what is checked first."""

import subprocess
from pathlib import Path

import pytest

from remote.script import Step
from storage import rollback
from tests.node_tools import holds

PARENT = "tank/my guests/web1"
ZFS = """\
#!/bin/sh
# Says what it was told to say, and notes what it was asked. Refuses what it was not told.
echo "$*" >>"$LOG"
case "$*" in
{cases}
*) echo "not told: $*" >&2; exit 99 ;;
esac
"""


def run(tmp_path: Path, step: Step, cases: str) -> tuple[int, str, list[str]]:
    """Run a step with a ``zfs`` that knows these cases: exit status, stderr, and what it was asked."""
    tool, log = tmp_path / "zfs", tmp_path / "log"
    tool.write_text(ZFS.replace("{cases}", cases))
    tool.chmod(0o755)
    log.write_text("")
    words = [str(word) for word in step.argv]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log), "xvm_become": ""}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, log.read_text().splitlines()


def test_only_these_snapshots() -> None:
    """The dataset's own, in ZFS's order; those of datasets below, or of a longer name, do not count."""
    (expect,) = rollback.only_these(PARENT, ("a", "b")).expect
    own = f"{PARENT}\n{PARENT}@a\n{PARENT}@b\n{PARENT}/root\n{PARENT}/root@c\n{PARENT}2@d\n"
    assert holds(expect, own)
    assert not holds(expect, own.replace(f"{PARENT}@b\n", ""))
    assert not holds(expect, own.replace(f"{PARENT}@b\n", f"{PARENT}@b\n{PARENT}@new\n"))
    assert not holds(expect, own.replace(f"{PARENT}@b\n", f"{PARENT}@b2\n"))


def test_pinned() -> None:
    """Any property that is not as it was seen stops the plan."""
    (expect,) = rollback.pinned(PARENT, {"volsize": "1073741824", "org.xvmstore:state": "ready"}).expect
    assert holds(expect, "1073741824\nready\n")
    assert not holds(expect, "1073741824\nrolling-back\n")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ('{"return":"rolled back"}', 0),
        ('{"return":{"tank/a":"is busy"}}', 1),
        ("Channel program execution failed: permission denied", 1),
        ("", 1),
    ],
)
def test_the_channel_program_says_how_it_went(tmp_path: Path, answer: str, status: int) -> None:
    """Only its own word for success is one; anything else fails, with what it said on stderr."""
    check, go = rollback.all_at_once("tank", "now", {"tank/a": ["n1", "n2"], "tank/b": []})
    assert (False, True) == (check.keep, go.keep)
    case = f"""\
"get -Hp -o value createtxg tank/"[ab]@now) echo 100 ;;
"list -Hp -t bookmark -o createtxg,name tank/a") printf '99\\ttank/a#old\\n101\\ttank/a#new\\n' ;;
"list -Hp -t bookmark -o createtxg,name tank/b") ;;
'program -j tank - check now ,tank/a#old, tank/a n1,n2 tank/b ') cat >/dev/null; echo '{answer}' ;;"""
    exit_, said, _ = run(tmp_path, check, case)
    assert (status, "" if status == 0 else answer) == (exit_, said.strip())


def test_a_copy_gets_the_disk_s_properties(tmp_path: Path) -> None:
    """All that are set on the disk, with blanks and signs, but not what belongs to its size or place."""
    rows = (
        "volsize\t1G\nrefreservation\t1G\ncompression\tlz4\norg.example:note\tit's $HOME & `x`\n"
        "org.xvmstore:guid\t600144F0\norg.xvmstore:kept-for\tx\norg.xvmstore:rollback\tx\n"
    )
    (tmp_path / "rows").write_text(rows)
    cases = f"""\
"get -H -o property,value -s local,received all a") cat {tmp_path}/rows ;;
"set "*) ;;"""
    exit_, said, asked = run(tmp_path, rollback.same_properties("a", "b"), cases)
    assert (0, "") == (exit_, said)
    assert ["set compression=lz4 b", "set org.example:note=it's $HOME & `x` b", "set org.xvmstore:guid=600144F0 b"] == [
        line for line in asked if line.startswith("set")
    ]


def test_old_zfs_knows_no_received_properties(tmp_path: Path) -> None:
    """Before 2009 there was no such source."""
    cases = """\
*" -s local,received "*) exit 2 ;;
*" -s local "*) printf 'compression\\toff\\n' ;;
"set compression=off b") ;;"""
    assert 0 == run(tmp_path, rollback.same_properties("a", "b"), cases)[0]
    failing = cases.replace('off b") ;;', 'off b") exit 1 ;;')
    assert 1 == run(tmp_path, rollback.same_properties("a", "b"), failing)[0]


def test_only_our_own_leftovers_are_cleared(tmp_path: Path) -> None:
    """What does not say that it was made for this is left alone, and stops the plan."""
    step = rollback.clear("tank/x:copy", "copy-of-x")
    there = '"list -H -o name tank/x:copy") ;;\n"get -H -o value org.xvmstore:kept-for tank/x:copy") echo '
    gone = '"list -H -o name tank/x:copy") exit 1 ;;'
    destroy = '\n"destroy -r tank/x:copy") ;;'
    assert (0, "") == run(tmp_path, step, gone)[:2]
    exit_, _, asked = run(tmp_path, step, f"{there}copy-of-x ;;{destroy}")
    assert (0, "destroy -r tank/x:copy") == (exit_, asked[-1])
    exit_, said, asked = run(tmp_path, step, f"{there}- ;;{destroy}")
    assert (1, True) == (exit_, "was not made for this" in said)
    assert [] == [line for line in asked if "destroy" in line]


def test_moves_may_be_repeated(tmp_path: Path) -> None:
    """A rename that was done by a run that was cut off counts as done; where neither is there it fails."""
    first, *_ = rollback.change_places("p", "s", "a", stay=())
    both = {"p": 0, "a": 1}
    case = '"list -H -o name p") exit {p} ;;\n"list -H -o name a") exit {a} ;;\n"rename p a") ;;'
    exit_, _, asked = run(tmp_path, first, case.format(**both))
    assert (0, "rename p a") == (exit_, asked[-1])
    exit_, _, asked = run(tmp_path, first, case.format(p=1, a=0))
    assert (0, []) == (exit_, [line for line in asked if "rename" in line])
    assert 0 != run(tmp_path, first, case.format(p=1, a=1).replace('"rename p a") ;;', '"rename p a") exit 1 ;;'))[0]


@pytest.mark.parametrize("auto", [0, 1])
def test_space_is_set_aside(tmp_path: Path, auto: int) -> None:
    """As zfs create does it, or, where that is not known, the volume's size; and the mark goes."""
    cases = f"""\
"set refreservation=auto d") exit {auto} ;;
"get -Hp -o value volsize d") echo 4096 ;;
"set refreservation=4096 d") ;;
"inherit org.xvmstore:thick d") ;;"""
    exit_, _, asked = run(tmp_path, rollback.reserve("d"), cases)
    assert (0, auto == 1) == (exit_, "set refreservation=4096 d" in asked)
    assert "inherit org.xvmstore:thick d" == asked[-1]


def test_thinning_is_written_down_first(tmp_path: Path) -> None:
    """A volume that must be thick again says so before it is thin."""
    _, _, asked = run(tmp_path, rollback.thin_out("d"), '"set "*) ;;')
    assert ["set org.xvmstore:thick=on d", "set refreservation=none d"] == asked


@pytest.mark.parametrize(("said", "known"), [('{"return":true}', True), ("", False), ('{"return":false}', False)])
def test_channel_programs_are_found_out(said: str, known: bool) -> None:
    """By a program that changes nothing."""
    assert known is rollback.programs("tank").parse(said + "\n")


def test_why_a_program_does_nothing() -> None:
    """One line, whatever it printed."""
    assert "tank/a is busy; tank/b out of space" == rollback.why_not(
        '{"return":{"tank/a":"is busy","tank/b":"out of space"}}'
    )
    for text in ("no JSON\nat all", '{"return":"x"}', "{}", "[]"):
        assert "\n" not in rollback.why_not(text)
