"""What every shell must do alike: this machine's own, fabric's and the system's ssh, against a real sshd."""

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from remote.errors import (
    Interrupted,
    PartlyDone,
    QueryFailed,
    RemoteError,
    StepFailed,
    UnexpectedOutput,
    Unreachable,
)
from remote.host import Host
from remote.script import Capture, Captured, Expect, Query, Secret, Step, masked
from tests.remote.sshd import wait_until
from tests.remote.support import Node, ask, executable, gated, in_background, note, noted, opened_at_the_end, sh, unnote

ODD = {
    "nothing": b"",
    "no final newline": b"last",
    "newlines only": b"\n\n\n",
    "quotes": b'it\'s "quoted" `date` $(date) $HOME ${n} \\ \\n \\\\ %s %d 100%\n',
    "not utf-8": b"caf\xe9 \xff\xfe\x80 gr\xc3\xbc\xc3\x9fe\n",
    "carriage returns": b"one\r\ntwo\rthree\n\r",
    "every byte": bytes(range(256)),
    "fences of others": b"xvm00 z\n\nxvm00 e 0 0 done\n\nxvm00 a 0 0\n",
}
SECRET = "s3cret'\"$HOME`date`\\ x"


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_both_streams_come_back_byte_for_byte(host: Host, tmp_path: Path, data: bytes) -> None:
    """A step's and a question's stdout and stderr are what the command wrote, and the exit status too."""
    (tmp_path / "data").write_bytes(data)
    text = 'cat "$1"; cat "$1" "$1" >&2; exit 7'
    outcome = host.run((sh(text, str(tmp_path / "data")),), then=(ask('cat "$1"', str(tmp_path / "data")),))
    ended = outcome.steps[0]
    assert data == ended.stdout.encode("utf-8", "surrogateescape")
    assert data + data == ended.stderr.encode("utf-8", "surrogateescape")
    assert 7 == ended.exit
    assert data == outcome.answers[0].get().encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("word", ["", " ", "it's", '"', "`date`", "$HOME", "\\", "\\n", "%s", "*", "-n", "!", "a\nb\n"])
def test_a_word_reaches_the_command_unchanged(host: Host, word: str) -> None:
    """No character of a word means anything to a shell on the way."""
    assert word == host.ask_one(Query(("printf", "%s", word), str))


def test_three_megabytes_on_both_streams(host: Host) -> None:
    """Large output on stdout and stderr at the same time neither hangs nor gets lost."""
    text = "head -c 3000000 /dev/zero | tr '\\0' o & head -c 3000000 /dev/zero | tr '\\0' e >&2; wait"
    outcome = host.run((sh(text),), then=(ask(text),)).must()
    assert ("o" * 3_000_000, "e" * 3_000_000) == (outcome.steps[0].stdout, outcome.steps[0].stderr)
    assert "o" * 3_000_000 == outcome.answers[0].get()


def test_a_large_script_goes_through(host: Host) -> None:
    """A word of half a megabyte in a secret comes back whole."""
    text = "0123456789abcde\n" * 32_000
    assert text + "\n" == host.ask_one(Query(("cat", Secret(text)), str))


def test_steps_run_in_order(host: Host, tmp_path: Path) -> None:
    """Steps run one after the other, and the outcome holds each."""
    outcome = host.run([note(tmp_path / "n", word) for word in "abc"]).must()
    assert ["a", "b", "c"] == noted(tmp_path / "n")
    assert [0, 1, 2] == sorted(outcome.steps)
    assert (None, None) == (outcome.failure, outcome.failed_step)


def test_nothing_to_do(host: Host) -> None:
    """A script without steps and questions succeeds."""
    assert {} == host.run(()).must().steps


def test_a_failed_step_stops_the_steps_and_undoes_in_reverse(host: Host, tmp_path: Path) -> None:
    """In the same trip: what was done is undone, newest first; the failed and the unreached are not."""
    at = tmp_path / "n"
    steps = [note(at, word, undo=unnote(at, f"-{word}")) for word in "ab"]
    steps += [note(at, "plain"), sh("echo why >&2; exit 9", undo=unnote(at, "-failed"))]
    steps += [note(at, "late", undo=unnote(at, "-late"))]
    outcome = host.run(steps)
    assert ["a", "b", "plain", "-b", "-a"] == noted(at)
    failure = outcome.failure
    assert isinstance(failure, StepFailed)
    assert (3, 9, "why\n", 1) == (outcome.failed_step, failure.exit, failure.stderr, failure.exit_code)
    assert re.match(r"node1: `sh -c .*` exited 9: why; what had been done before it was undone$", str(failure))
    with pytest.raises(StepFailed):
        outcome.must()


def test_nothing_is_undone_when_all_goes_well(host: Host, tmp_path: Path) -> None:
    """An undo is for failures only."""
    host.run((note(tmp_path / "n", "a", undo=unnote(tmp_path / "n", "-a")),)).must()
    assert ["a"] == noted(tmp_path / "n")


def test_more_than_ten_undos_keep_their_order(host: Host, tmp_path: Path) -> None:
    """Step 11 is not taken for step 1."""
    at = tmp_path / "n"
    host.run([note(at, str(i), undo=unnote(at, f"-{i}")) for i in range(12)] + [sh("exit 1")])
    assert [f"-{i}" for i in reversed(range(12))] == noted(at)[12:]


def test_a_failing_undo_leaves_a_change_partly_done(host: Host, tmp_path: Path) -> None:
    """PartlyDone names what failed and what is left; what is older stays, for a re-run to find."""
    at = tmp_path / "n"
    stuck = note(at, "b", undo=("sh", "-c", "echo is busy >&2; exit 4"))
    steps = (note(at, "a", undo=unnote(at, "-a")), stuck, sh("echo no >&2; exit 5"))
    failure = host.run(steps).failure
    assert isinstance(failure, PartlyDone)
    assert 3 == failure.exit_code
    assert re.search("exited 5: no; and could not be undone: `sh -c .*`: is busy; run the same command", str(failure))
    assert ["a", "b"] == noted(at)


def test_what_is_kept_is_not_undone(host: Host, tmp_path: Path) -> None:
    """Once a step that keeps was begun, a failure undoes nothing of what came before it."""
    at = tmp_path / "n"
    first = note(at, "a", undo=unnote(at, "-a"))
    kept = replace(note(at, "b", undo=unnote(at, "-b")), keep=True)
    host.run((first, kept, sh("exit 5")))
    assert ["a", "b", "-b"] == noted(at)


def test_a_failure_without_a_word_says_so(host: Host) -> None:
    """An admin is told that the command said nothing, and nothing of undoing when nothing was undone."""
    assert "node1: `false` exited 1: it said nothing" == str(host.run((Step(("false",)),)).failure)


def test_a_command_that_is_not_there(host: Host) -> None:
    """127 and the shell's own words, as for any failure."""
    failure = host.run((Step(("no-such-tool", "x")),)).failure
    assert isinstance(failure, StepFailed)
    assert (127, True) == (failure.exit, "not found" in failure.stderr)


def test_steps_read_nothing_of_the_script(host: Host) -> None:
    """A command that reads its stdin finds it empty, and eats no later step."""
    cat = Step(("cat",), undo=("cat",), unless=("grep", "x"))
    outcome = host.run((cat, sh("cat; exit 1")), then=(Query(("cat",), str),))
    assert (1, "") == (outcome.failed_step, outcome.answers[0].get())


# --- the semantics of a step -----------------------------------------------------------------------------------------


def test_unless_skips_what_is_there(host: Host, tmp_path: Path) -> None:
    """When the test holds the step is skipped and its undo is not armed; when not, it runs."""
    at = tmp_path / "n"
    there = note(at, "skipped", undo=unnote(at, "-skipped"), unless=("sh", "-c", "echo noise; echo noise >&2"))
    missing = note(at, "run", undo=unnote(at, "-run"), unless=("test", "-e", str(tmp_path / "no")))
    outcome = host.run((there, missing, sh("exit 1")))
    assert ["run", "-run"] == noted(at)
    assert [("skip", "", ""), ("done", "", "")] == [
        (outcome.steps[i].how, outcome.steps[i].stdout, outcome.steps[i].stderr) for i in (0, 1)
    ]


def test_accept_takes_a_failure_for_already_so(host: Host, tmp_path: Path) -> None:
    """A failure with that word on stderr goes on and arms nothing."""
    at = tmp_path / "n"
    exists = sh("echo 'E42: it exists [x] already' >&2; exit 1", accept=("E41", "exists [x] al"), undo=unnote(at, "-e"))
    outcome = host.run((exists, note(at, "next"), sh("exit 1")))
    assert (2, "already", 0) == (outcome.failed_step, outcome.steps[0].how, outcome.steps[0].exit)
    assert ["next"] == noted(at)


@pytest.mark.parametrize("text", ["echo exists >&2; exit 1", "echo 'it exists x' ; exit 1", "exit 1"])
def test_accept_takes_no_other_failure(host: Host, text: str) -> None:
    """Another word, or the word on stdout, is a failure. The pattern's [x] is no shell pattern."""
    outcome = host.run((sh(text, accept=("exists [x]", "E4?")),))
    assert 0 == outcome.failed_step


def test_accept_is_for_failures_only(host: Host, tmp_path: Path) -> None:
    """Success with such a word on stderr is a success, and its undo is armed."""
    at = tmp_path / "n"
    steps = (sh("echo exists >&2", accept=("exists",), undo=unnote(at, "-it")), sh("exit 1"))
    assert "done" == host.run(steps).steps[0].how
    assert ["-it"] == noted(at)


def test_a_star_in_a_pattern_stands_for_anything(host: Host) -> None:
    """``a*b`` is found around any text, and not the other way round."""
    words = "volume 'tank/x y' is already there"
    assert None is host.run((sh(f'echo "{words}" >&2; exit 1', accept=("volume '*' is al",)),)).failed_step
    assert 0 == host.run((sh(f'echo "{words}" >&2; exit 1', accept=("is al*volume",)),)).failed_step


def test_retry_tries_again_while_the_trouble_passes(host: Host, tmp_path: Path) -> None:
    """Busy twice, then done: a success with the last try's output, armed once."""
    at = tmp_path / "n"
    text = 'echo try >>"$1"; [ `grep -c try "$1"` -gt 2 ] && exit 0; echo "resource busy" >&2; exit 1'
    outcome = host.run((sh(text, str(at), retry=("busy",), undo=unnote(at, "-it")), sh("exit 1")))
    assert (0, "") == (outcome.steps[0].exit, outcome.steps[0].stderr)
    assert ["try", "try", "try", "-it"] == noted(at)


def test_retry_does_not_try_other_failures_again(host: Host, tmp_path: Path) -> None:
    """A failure with other words fails at once."""
    outcome = host.run((sh('echo try >>"$1"; echo no such thing >&2; exit 3', str(tmp_path / "n"), retry=("busy",)),))
    assert (3, ["try"]) == (outcome.steps[0].exit, noted(tmp_path / "n"))


def test_retry_gives_up(host: Host, node: Node, tmp_path: Path) -> None:
    """Trouble that does not pass is a failure after some seconds of naps; it may still be accepted."""
    nap = executable(node.bin / "sleep", "exit 0\n")
    try:
        failing = sh('echo try >>"$1"; echo busy >&2; exit 3', str(tmp_path / "n"), retry=("busy",))
        accepted = sh("echo busy and exists >&2; exit 3", retry=("busy",), accept=("exists",))
        outcome = host.run((accepted, failing))
    finally:
        nap.unlink()
    assert ("already", 3, 22) == (outcome.steps[0].how, outcome.steps[1].exit, len(noted(tmp_path / "n")))


def test_expect_holds(host: Host) -> None:
    """Every expectation that is met lets the step pass, be it of several lines or of nothing."""
    step = sh(
        "echo size 5; echo b; echo c", expect=(Expect("s/^size //p", "5"), Expect("2,3p", "b\nc"), Expect("/x/p", ""))
    )
    assert "done" == host.run((step,)).must().steps[0].how


@pytest.mark.parametrize("equals", ["4", "5 ", "", "5\n5", "*", "[0-9]"])
def test_expect_does_not_hold(host: Host, tmp_path: Path, equals: str) -> None:
    """Another output is a failure that is itself undone; the message quotes the output."""
    at = tmp_path / "n"
    step = sh("echo size 5", undo=unnote(at, "-it"), expect=(Expect("p", "size 5"), Expect("s/^size //p", equals)))
    outcome = host.run((step, note(at, "late")))
    assert (0, "unmet", ["-it"]) == (outcome.failed_step, outcome.steps[0].how, noted(at))
    assert "it printed 'size 5'" in str(outcome.failure)


def test_expect_does_not_hold_for_nothing(host: Host) -> None:
    """Printing nothing at all is not what was expected."""
    assert 0 == host.run((sh("echo weight 5", expect=(Expect("s/^size //p", "5"),)),)).failed_step


def test_expect_or_nothing(host: Host) -> None:
    """Nothing will do as well, but another word will not."""
    nothing, right, wrong = (
        sh(f"echo size {v}", expect=(Expect("s/size //p", "5", or_nothing=True),)) for v in ("", 5, 6)
    )
    assert 2 == host.run((nothing, right, wrong)).failed_step


def test_expect_of_a_captured_word(host: Host) -> None:
    """What one step found can be what another must print."""
    first = sh("echo id=abc", captures=(Capture("id", "s/id=//p"),))
    same, other = (sh(f"echo {word}", expect=(Expect("p", Captured("id", "<", ">")),)) for word in ("'<abc>'", "abc"))
    assert 2 == host.run((first, same, other)).failed_step


def test_refuse(host: Host) -> None:
    """A word stdout must not have fails the step; on stderr, or as a shell pattern, it is no matter."""
    fine = sh("echo online; echo 'in use' >&2; echo 'in ?se'", refuse=("in use", "on[l]ine"))
    used = sh("echo 'tank/x is in use by iqn.x'", refuse=("other", "in use*iqn"))
    outcome = host.run((fine, used))
    assert (1, "unmet") == (outcome.failed_step, outcome.steps[1].how)


def test_silent(host: Host, tmp_path: Path) -> None:
    """A word on stderr fails a silent step although it exits 0, and it is not undone; a mute one passes."""
    at = tmp_path / "n"
    mute = sh("echo hello", silent=True)
    loud = sh("echo 'stmfadm: failed' >&2", silent=True, undo=unnote(at, "-loud"))
    ordinary = sh("echo warning >&2")
    outcome = host.run((ordinary, mute, loud))
    assert (2, 255, []) == (outcome.failed_step, outcome.steps[2].exit, noted(at))
    assert "stmfadm: failed" in str(outcome.failure)


def test_a_step_that_lies(host: Host, tmp_path: Path) -> None:
    """What may have done its work although it says it failed is undone as well; what was so already is not."""
    at = tmp_path / "n"
    done = sh("echo exists >&2; exit 1", accept=("exists",), undo=unnote(at, "-there"), lies=True)
    lied = sh("echo failed >&2; exit 1", undo=unnote(at, "-it"), lies=True)
    assert 1 == host.run((done, lied)).failed_step
    assert ["-it"] == noted(at)


def test_silent_with_accept(host: Host) -> None:
    """A complaint of a silent step can be one that means it was so already."""
    step = sh("echo 'already exists' >&2", silent=True, accept=("exists",))
    assert "already" == host.run((step,)).must().steps[0].how


def test_captures_feed_later_words(host: Host, tmp_path: Path) -> None:
    """A captured word, with text around it, goes unchanged into steps, undos and questions."""
    at = tmp_path / "n"
    odd = "a  b*'$HOME`x`\\"
    find = sh('printf "GUID: %s\\n" "$1"', odd, captures=(Capture("guid", "s/^GUID: //p"),))
    word = Captured("guid", "it's=", "$;")
    used = sh('echo "$2" >>"$1"', str(at), word, undo=("sh", "-c", 'echo "-$2" >>"$1"', "sh", str(at), word))
    outcome = host.run((find, used, sh("exit 1")), then=(Query(("printf", "%s", word), str),))
    around = f"it's={odd}$;"
    assert [around, f"-{around}"] == noted(at)
    assert around == outcome.answers[0].get()


def test_a_required_capture_that_finds_nothing(host: Host) -> None:
    """It fails the step; one that is not required leaves the word empty."""
    optional = sh("echo x", captures=(Capture("a", "s/^GUID: //p", required=False),))
    required = sh("echo x", captures=(Capture("b", "s/^GUID: //p"),))
    outcome = host.run((optional, required), then=(Query(("printf", "<%s>", Captured("a")), str),))
    assert (1, "unmet", "<>") == (outcome.failed_step, outcome.steps[1].how, outcome.answers[0].get())


def test_needs(host: Host, tmp_path: Path) -> None:
    """A question that needs a captured word is asked when there is one; if not, its reader gets nothing."""
    at = str(tmp_path / "n")
    found = ask("echo x1", captures=(Capture("one", "p"),))
    lost = ask("echo x2", captures=(Capture("two", "/nothing/p"),))
    asked, unasked = (ask('echo asked >>"$1"; echo "$2"', at, Captured(name), needs=name) for name in ("one", "two"))
    answers = host.ask((found, lost, asked, unasked))
    assert ["x1\n", "x2\n", "x1\n", ""] == [answer.get() for answer in answers]
    assert ["asked"] == noted(tmp_path / "n")


# --- questions -------------------------------------------------------------------------------------------------------


def test_questions_are_answered_although_a_step_failed(host: Host, tmp_path: Path) -> None:
    """They come after the undos, so one trip also tells what is there now."""
    at = tmp_path / "n"
    outcome = host.run((note(at, "a", undo=unnote(at, "-a")), sh("exit 1")), then=(ask('cat "$1"', str(at)),))
    assert (1, "a\n-a\n") == (outcome.failed_step, outcome.answers[0].get())


def test_a_failing_question_costs_only_itself(host: Host) -> None:
    """The others are answered; its own answer raises what it said."""
    answers = host.ask((ask("echo one"), ask("echo lost; echo why >&2; exit 3"), ask("echo three")))
    assert ("one\n", "three\n") == (answers[0].get(), answers[2].get())
    with pytest.raises(QueryFailed, match=r"^node1: `sh -c .*` exited 3: why$") as caught:
        answers[1].get()
    assert (3, "why\n") == (caught.value.exit, caught.value.stderr)


def test_absent(host: Host) -> None:
    """A failure with that word on stderr is the answer "none"; with another word it is a failure."""
    none, failed = host.ask(
        [ask(f"echo junk; echo {word} >&2; exit 1", absent=("does not exist",)) for word in ("does not exist", "busy")]
    )
    assert "" == none.get()
    assert isinstance(failed.error, QueryFailed)


def test_a_silent_question(host: Host) -> None:
    """A word on stderr makes its answer a failure; a mute one, and one that is not silent, are answered."""
    loud, mute, plain = host.ask(
        (ask("echo x; echo y >&2", silent=True), ask("echo x", silent=True), ask("echo x; echo y >&2"))
    )
    assert isinstance(loud.error, QueryFailed)
    assert ("x\n", "x\n") == (mute.get(), plain.get())


def test_unexpected_output_names_the_host(host: Host) -> None:
    """A reader that cannot read does not know the host; the error that comes out does, and costs only itself."""

    def reader(text: str) -> str:
        raise UnexpectedOutput("zfs list", text.strip(), "a size")

    bad, good = host.ask((Query(("echo", "huh"), reader), ask("echo fine")))
    assert "fine\n" == good.get()
    with pytest.raises(UnexpectedOutput, match=r"^node1: `zfs list` printed 'huh': expected a size$"):
        bad.get()


# --- secrets ---------------------------------------------------------------------------------------------------------

_EVERY_ARGV = "for f in /proc/[0-9]*/cmdline; do cat \"$f\" 2>/dev/null | tr '\\0' ' '; echo; done"


def test_a_secret_arrives_in_a_file(host: Host) -> None:
    """The command gets the path of a file with the secret and a newline, 0600 in a directory 0700."""
    text = 'cat "$1"; d=`dirname "$1"`; stat -c %a "$1" "$d" >&2; echo "$1" >&2'
    outcome = host.run((sh(text, Secret(SECRET)),), then=(ask(text, Secret(SECRET)),)).must()
    ended = outcome.steps[0]
    modes, path = ended.stderr.split("\n")[:2], Path(ended.stderr.split("\n")[2])
    assert (SECRET + "\n", SECRET + "\n") == (ended.stdout, outcome.answers[0].get())
    assert ["600", "700"] == modes
    assert not path.exists()
    assert not path.parent.exists()


def test_secrets_are_told_apart(host: Host) -> None:
    """Two secrets have two files, the same one twice has one, and a fence-like or an empty one is kept."""
    words = ("one", "two", "one", "", "EOF\nxvm00 z")
    answers = host.ask([Query(("cat", Secret(word)), str) for word in words])
    assert [word + "\n" for word in words] == [answer.get() for answer in answers]


def test_a_secret_is_in_no_argv(host: Host) -> None:
    """No process's command line shows it while the script runs, ours included."""
    outcome = host.run((sh(_EVERY_ARGV, Secret("Xyzzy-4711")),)).must()
    shown = outcome.steps[0].stdout
    assert "/proc/[0-9]*/cmdline" in shown
    assert "Xyzzy" not in shown


@pytest.mark.parametrize("text", ["exit 1", 'rm -f "$1"; exit 1', "kill -HUP $PPID; exit 1"])
def test_a_secret_is_gone_after_a_failure(host: Host, tmp_path: Path, text: str) -> None:
    """The file and its directory do not outlive the script."""
    outcome = host.run((sh('echo "$1"', Secret("x")), sh(text, Secret("x")), note(tmp_path / "n", "late")))
    path = Path(outcome.steps[0].stdout.strip())
    assert 1 == outcome.failed_step
    assert path.name == "s0"
    assert not path.parent.exists()


def test_a_secret_is_in_no_message(host: Host) -> None:
    """Not in a repr, not in the masked command, not in any error."""
    secret = Secret("Xyzzy-4711")
    failing = Step(("sh", "-c", "exit 1", "sh", secret), undo=("false", secret))
    outcome = host.run((Step(("true",), undo=("false", secret)), failing), then=(Query(("false", secret), str),))
    seen = [repr(secret), masked(failing.argv), repr(failing), str(outcome.failure), repr(outcome)]
    seen.append(str(outcome.answers[0].error))
    assert not [text for text in seen if "Xyzzy" in text]
    assert "sh -c '...' sh <secret>" == masked(failing.argv)


def test_files_a_script_makes_are_private(host: Host, tmp_path: Path) -> None:
    """What a step creates on the way is for its owner only."""
    host.run((sh('echo x >"$1"', str(tmp_path / "n")),)).must()
    assert 0o600 == stat.S_IMODE((tmp_path / "n").stat().st_mode)


# --- becoming somebody ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("become", [("pfexec",), ("sudo", "-n")])
def test_become_goes_before_every_command(node: Node, tmp_path: Path, become: tuple[str, ...]) -> None:
    """Steps, their tests, undos and questions are run by it; the shell's own words are not, but can see it."""
    shift = "shift\n" if len(become) > 1 else ""
    program = executable(node.bin / become[0], f'{shift}echo "$*" >>"{tmp_path}/n"\nexec "$@"\n')
    steps = (
        Step(("echo", "step"), unless=("false",), undo=("echo", "undo")),
        Step(("test", "-d", "/"), undo=("uname",)),
        sh("$xvm_become echo inside"),
        Step(("false",)),
    )
    try:
        outcome = Host("node1", node.shell, become=become).run(steps, then=(Query(("echo", "query"), str),))
    finally:
        program.unlink()
    assert ["false", "echo step", "echo inside", "false", "echo undo", "echo query"] == noted(tmp_path / "n")
    assert (3, "inside\n", "query\n") == (outcome.failed_step, outcome.steps[2].stdout, outcome.answers[0].get())


def test_without_become_nothing_is_put_before(host: Host) -> None:
    """An empty prefix leaves the commands as they are."""
    assert "<>plain\n" == host.ask_one(ask('echo "<$xvm_become>plain"'))


def test_commands_speak_english_and_know_where_tools_are(host: Host) -> None:
    """LC_ALL, TZ and the administrators' directories on PATH are set for every command."""
    locale, zone, path = host.ask_one(ask('echo "$LC_ALL"; echo "$TZ"; echo "$PATH"')).split("\n")[:3]
    assert ("C", "UTC0") == (locale, zone)
    assert {"/usr/sbin", "/sbin"} <= set(path.split(":"))


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "echo tick; "], ids=["mute", "talking"])
def test_a_script_that_takes_too_long(node: Node, tmp_path: Path, text: str) -> None:
    """The caller gets Interrupted in time, even when the command keeps talking; the next script goes through."""
    loop = f'i=0; until [ -e "$1" ] || [ $i -gt 48 ]; do {text}i=$((i+1)); sleep 0.1; done'
    host = Host("node1", node.shell, timeout=0.4)
    began = time.monotonic()
    with opened_at_the_end(tmp_path / "gate"), pytest.raises(Interrupted, match=r"no end after 0\.4 s") as caught:
        host.ask((ask(loop, str(tmp_path / "gate")),))
    assert time.monotonic() - began < 3
    assert (3, "node1") == (caught.value.exit_code, str(caught.value).split(":")[0])
    assert "still\n" == Host("node1", node.shell).ask_one(ask("echo still"))


def test_a_script_that_took_too_long_goes_on(node: Node, tmp_path: Path) -> None:
    """Nobody waits for it any more, but it is not stopped half-way: the later step still runs."""
    gate, at = tmp_path / "gate", tmp_path / "n"
    with opened_at_the_end(gate), pytest.raises(Interrupted, match="took effect is unknown"):
        Host("node1", node.shell, timeout=0.4).run((gated(gate, tmp_path / "reached"), note(at, "late")))
    wait_until(lambda: ["late"] == noted(at))


def test_an_unanswered_question_says_so(host: Host) -> None:
    """A script that ends in the middle of its questions answers none of them."""
    with pytest.raises(Interrupted, match="before the answer was complete"):
        host.ask((ask("kill -9 $PPID"), ask("echo x")))


def test_a_shell_that_dies_names_the_step(host: Host, tmp_path: Path) -> None:
    """The message names the step during which the session ended, and what to do."""
    with pytest.raises(Interrupted, match=r"ended during `sh -c '\.\.\.' sh`.*run the same command") as caught:
        host.run((sh("echo x"), sh("kill -9 $PPID; :"), note(tmp_path / "n", "late")))
    assert isinstance(caught.value, RemoteError)
    assert not isinstance(caught.value, Unreachable)
    assert [] == noted(tmp_path / "n")


def test_two_scripts_in_a_row_do_not_see_each_other(host: Host) -> None:
    """No variable of a script outlives it."""
    host.run((sh("echo x", captures=(Capture("left", "p"),)),)).must()
    assert "<>" == host.ask_one(Query(("printf", "<%s>", Captured("left")), str))


def test_a_shell_can_be_fed_from_one_thread_after_another(node: Node) -> None:
    """Closing gives the connection back, and feeding again reconnects."""
    shell = node.new_shell()
    host = Host("node1", shell)
    first: Callable[[], str] = lambda: host.ask_one(ask("echo one"))  # noqa: E731
    assert "one\n" == in_background(first).result()
    host.close()
    assert "one\n" == in_background(first).result()
    host.close()
    host.close()


@pytest.mark.parametrize("text", ["exit 0", "exit 1"])
def test_nothing_is_left_in_the_temporary_directory(host: Host, node: Node, text: str) -> None:
    """The private directory is in TMPDIR, and gone after a script, be it one that failed."""
    before = set(node.tmp.iterdir())
    outcome = host.run((sh('dirname "$1"', Secret("x")), sh(text)))
    assert str(node.tmp) == os.path.dirname(outcome.steps[0].stdout.rstrip("\n"))
    assert before == set(node.tmp.iterdir())
