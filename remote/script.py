"""Steps and queries as values, and the one shell script that carries them to a node.

Pure: nothing here opens a connection or runs a command. ``render`` makes the script, ``remote.transcript`` reads
what comes back. The script is written for the Bourne shell of Solaris (no ``$(...)``, no ``local``, no ``export A=B``)
and is one brace group (a subshell, for a shell that stays), so a shell that gets only half of it has a syntax error
and runs nothing.

What the script promises:
- a step that fails stops the steps; the undos of the steps that this very script carried out run in reverse order;
- the queries run in any case, so one round trip also tells what is there now;
- a connection that drops does not stop it half-way: it goes on to the end, or undoes;
- SIGTERM makes it stop after the command that runs, and undo.
"""

import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that must never be seen: in an argv it becomes the path of a file only its owner can read.

    The file lives in a private directory on the node for as long as the script runs. It must be ASCII: dash and ksh93
    garble some other bytes in here-documents.
    """

    value: str

    def __post_init__(self) -> None:
        if not self.value.isascii() or "\0" in self.value:
            raise ValueError("a secret must be ASCII text")

    def __repr__(self) -> str:
        return "<secret>"


@dataclass(frozen=True, slots=True)
class Captured:
    """A word only the node knows: what an earlier ``Capture`` of the same script found, with text around it."""

    name: str
    prefix: str = ""
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.prefix}${self.name}{self.suffix}"


Word = str | Secret | Captured
Argv = tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """Keep the lines that a ``sed -n`` program prints from a command's output, for use as ``Captured(name)``.

    Nothing found leaves the name empty, or fails the step when ``required``.
    """

    name: str
    sed: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Expect:
    """What a ``sed -n`` program must print from a command's output: exactly ``equals``.

    ``or_nothing``: it may also print nothing at all.
    """

    sed: str
    equals: Word
    or_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A change, or a check that must hold before the next change.

    A pattern is found anywhere in the text; ``*`` in it stands for anything, all else for itself.

    argv      the command
    undo      what takes it back; armed only once argv has succeeded in this script
    lies      argv may fail and have worked all the same: its undo, which must then be harmless where there is
              nothing to undo, is run even so
    keep      from this step on nothing is undone any more: what was done stays, whatever fails now
    unless    a test: when it exits 0 the step is skipped and nothing is armed
    accept    stderr that makes a failure count as "was so already": nothing is armed
    retry     stderr of a passing trouble ("resource busy"): try again for some seconds
    expect    what stdout must say (every one)
    refuse    patterns that stdout must not have (any of them)
    silent    a word on stderr is a failure even with exit 0 (the COMSTAR tools do that)
    captures  values to read off stdout for later steps
    """

    argv: Argv
    undo: Argv | None = None
    lies: bool = False
    keep: bool = False
    unless: Argv | None = None
    accept: tuple[str, ...] = ()
    retry: tuple[str, ...] = ()
    expect: tuple[Expect, ...] = ()
    refuse: tuple[str, ...] = ()
    silent: bool = False
    captures: tuple[Capture, ...] = ()


@dataclass(frozen=True, slots=True)
class Query(Generic[T_co]):
    """A question and the reader of its answer.

    A failure whose stderr contains one of ``absent`` is the answer "there is none": the reader gets "".
    ``silent``: a word on stderr is a failure even with exit 0. ``needs``: a captured name without which there is
    nothing to ask; the reader then gets "".
    """

    argv: Argv
    parse: Callable[[str], T_co]
    absent: tuple[str, ...] = ()
    silent: bool = False
    needs: str | None = None
    captures: tuple[Capture, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on the node, held while the script runs. ``owner`` is shown to whoever has to wait.

    ``others`` are names that are locked with it, always in the same order.

    A holder whose process is gone is found out and the lock taken over. ``wait`` is in seconds.
    """

    name: str
    owner: str
    wait: int = 30
    others: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """A symbolic link, since making one is atomic and carries the owner with it."""
        return f".xvmstore-lock-{self.name}"

    @property
    def path(self) -> str:
        """In /tmp, which is there for every admin and swept at boot; a node may set XVMSTORE_LOCKS instead."""
        return f"/tmp/{self.file}"  # noqa: S108


@dataclass(frozen=True, slots=True)
class Script:
    """Steps, then questions, under an optional lock. ``become`` goes before every command.

    ``scratch`` is where the script's own files go, where that must not be the machine's usual place for such.
    """

    steps: tuple[Step, ...] = ()
    queries: tuple[Query[object], ...] = ()
    lock: Lock | None = None
    become: tuple[str, ...] = ()
    scratch: str | None = None


def joined(prefix: str, word: Word) -> Word:
    """``prefix`` and a word as one word. A secret cannot be part of a word."""
    if isinstance(word, Secret):
        raise TypeError("a secret stands for a file: it cannot be part of a word")
    return replace(word, prefix=prefix + word.prefix) if isinstance(word, Captured) else prefix + word


def needed(word: Word) -> str | None:
    """The captured name a query with this operand cannot do without."""
    return word.name if isinstance(word, Captured) else None


def new_nonce() -> str:
    """A word no tool will ever print."""
    return "xvm" + secrets.token_hex(12)


def masked(argv: Argv) -> str:
    """The command as an admin would type it: secrets masked, captured words as ``$name``, programs cut out.

    The word after a program says what it does.
    """
    words = zip(("", *argv), argv, strict=False)
    return " ".join("'...'" if before in _PROGRAM_NEXT else _shown(word) for before, word in words)


_PROGRAM_NEXT = frozenset({"-c", "-Ic"})


def _shown(word: Word) -> str:
    return shlex.quote(word) if isinstance(word, str) else repr(word) if isinstance(word, Secret) else str(word)


_PREAMBLE = """\
LC_ALL=C; export LC_ALL
TZ=UTC0; export TZ
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin; export PATH
umask 077
trap '' 1 13
go=1 done= f=
trap 'go=0' 15
xvm_become=@become@; export xvm_become
n=@nonce@
d=${TMPDIR-/tmp}/$n
m() { echo; echo "$n $*"; echo >&2; echo "$n $*" >&2; }
nap() { if sleep 0.2 2>/dev/null; then w=`expr $w + 1`; else sleep 1; w=`expr $w + 5`; fi; }
"""

_DIRECTORY = """\
mkdir "$d" || { m f; exit 1; }
trap 'rm -rf "$d"' 0
"""

# A lock is only taken over by whoever holds its .break directory, and only if it still says what was found dead:
# otherwise two that find the same dead lock would both own the new one. Nobody counts as dead where ps does not even
# find this shell, and in a sticky /tmp another user's dead lock stays: then it is waited for like a living one.
# A lock with our own number was left by a script that was killed: by an earlier one of this shell, if the shell stays.
_LOCK = """\
l=${XVMSTORE_LOCKS-/tmp}/@file@
me=$$:@owner@
w=0
while [ $go = 1 ]; do
ln -s "$me" "$l" 2>/dev/null && break
was=`ls -l "$l" 2>/dev/null | sed -n 's/.* -> //p'`
p=`echo "$was" | sed 's/:.*//'`
if [ -n "$p" ] && [ "$p" != $$ ] && ps -p "$p" >/dev/null 2>&1; then :
elif [ -n "$p" ] && ps -p $$ >/dev/null 2>&1 || [ "$p" = $$ ] && mkdir "$l.break" 2>/dev/null; then
now=`ls -l "$l" 2>/dev/null | sed -n 's/.* -> //p'`
[ "$now" = "$was" ] && rm -f "$l" 2>/dev/null
rmdir "$l.break"
[ -h "$l" ] || continue
fi
nap
[ $w -gt @tries@ ] && { m l "$l $was"; go=0; break; }
done
[ $go = 1 ] && held="$held $l" && trap 'rm -rf "$d"; rm -f $held' 0
"""


def render(script: Script, nonce: str, *, stay: bool = False) -> str:
    """The whole operation as one script for a plain ``/bin/sh``, to be fed on its stdin.

    ``stay``: the shell lives on and takes the next script. This one is a subshell then, with which its traps, variables
    and private directory go; the shell itself says when it began (``s``) and that it is over and let go of its lock
    (``x``), even if it was killed.
    """
    words = _Words(script.become)
    body = [_step(index, step, words) for index, step in enumerate(script.steps)]
    body += _undos(script.steps, words)
    body += [_query(index, query, words) for index, query in enumerate(script.queries)]
    lock = _lock(script.lock) if script.lock else ""
    guard = "if [ $go = 1 ]; then\n" + "".join(body) + "fi\n" if body else ""
    preamble = _PREAMBLE.replace("@nonce@", nonce).replace("@become@", shlex.quote(" ".join(script.become)))
    if script.scratch:
        preamble = f"TMPDIR={shlex.quote(script.scratch)}; export TMPDIR\n{preamble}"
    files = words.files(nonce)
    # Plain questions need none, and are answered by a machine whose /tmp is full.
    if script.steps or files or any(query.captures for query in script.queries):
        preamble += _DIRECTORY
    text = preamble + files + lock + guard + "m z\n"
    if not stay:
        return "{\n" + text + "}\nexit\n"
    # Without input nothing in it can read what the shell is to read next.
    return "(\n" + _fence(nonce, "s") + text + ") </dev/null\n" + _fence(nonce, "x")


def _fence(nonce: str, mark: str) -> str:
    return f"echo; echo '{nonce} {mark}'; echo >&2; echo '{nonce} {mark}' >&2\n"


def _lock(lock: Lock) -> str:
    files = [replace(lock, name=name).file for name in sorted({lock.name, *lock.others})]
    text = _LOCK.replace("@owner@", shlex.quote(lock.owner)).replace("@tries@", str(lock.wait * 5))
    return "held=\n" + "".join(text.replace("@file@", shlex.quote(file)) for file in files)


# Nothing that needs rights: the shell's own words, and programs for it, which put $xvm_become where it belongs.
_SHELLS_OWN = frozenset({"sh", "test", "uname", "id", "svcs"})
# A program for the shell that needs rights as a whole, for it writes files itself.
ROOT_SHELL = "/bin/sh"


class _Words:
    """Quotes words for the shell, and remembers which secrets must be laid down as files."""

    def __init__(self, become: Sequence[str]) -> None:
        self._become = tuple(become)
        self._secrets: dict[str, str] = {}

    def command(self, argv: Argv) -> str:
        become: Argv = () if argv[0] in _SHELLS_OWN else self._become
        return " ".join(self.quote(word) for word in become + argv)

    def quote(self, word: Word) -> str:
        if isinstance(word, Captured):
            before, after = (shlex.quote(text) if text else "" for text in (word.prefix, word.suffix))
            return f'{before}"$v_{word.name}"{after}'
        if isinstance(word, Secret):
            name = self._secrets.setdefault(word.value, f"s{len(self._secrets)}")
            return f'"$d/{name}"'
        return shlex.quote(word)

    def files(self, nonce: str) -> str:
        """Here-documents, because ``echo`` and ``printf`` may be programs, whose arguments ``ps`` shows."""
        return "".join(f"cat >\"$d/{name}\" <<'{nonce}'\n{value}\n{nonce}\n" for value, name in self._secrets.items())


def _step(index: int, step: Step, words: _Words) -> str:
    """One step. ``r`` is its status, ``k`` how it went: done, skip, already, unmet."""
    run = f'{words.command(step.argv)} </dev/null >"$d/o" 2>"$d/e"; r=$?\n'
    if step.silent:
        run += '[ $r -eq 0 ] && [ -s "$d/e" ] && r=255\n'
    if step.retry:
        # Some four seconds, in naps of 0.2 s or, where sleep knows no fractions, of 1 s.
        run = (
            "w=0\nwhile :; do\n" + run + "[ $r -eq 0 ] && break\n"
            f'case `cat "$d/e"` in {_globs(step.retry)}) ;; *) break;; esac\n'
            "[ $w -gt 20 ] && break\nnap\ndone\n"
        )
    judge = '[ -s "$d/o" ] && cat "$d/o"\n[ -s "$d/e" ] && cat "$d/e" >&2\n' + _judge(step, words)
    work = run + judge
    if step.unless:
        test = f"{words.command(step.unless)} </dev/null >/dev/null 2>&1"
        work = f"if {test}; then k=skip r=0\nelse\n{work}fi\n"
    # A step whose output was not as expected did succeed, so it has to be taken back as well.
    armed = "*done|*unmet" if step.lies else "0done|0unmet"
    arm = f'case $r$k in {armed}) done="{index} $done";; esac\n' if step.undo else ""
    return (
        f"if [ $go = 1 ]; then\nm b {index}\n{'done= ' if step.keep else ''}k=done\n{work}"
        f"m e {index} $r $k\n{arm}[ $r -eq 0 ] || go=0 f={index}\n[ $k = unmet ] && go=0 f={index}\nfi\n"
    )


def _judge(step: Step, words: _Words) -> str:
    text = ""
    if step.accept:
        text += f'[ $r -ne 0 ] && case `cat "$d/e"` in {_globs(step.accept)}) r=0 k=already;; esac\n'
    checks = "".join(_expect(expect, words) for expect in step.expect)
    checks += f'case `cat "$d/o"` in {_globs(step.refuse)}) k=unmet;; esac\n' if step.refuse else ""
    checks += "".join(_capture(capture) for capture in step.captures)
    # What an accepted failure did not say must not be what an earlier step of the same kind said.
    text += "".join(f"v_{capture.name}=\n" for capture in step.captures if not capture.required)
    return text + (f"if [ $r$k = 0done ]; then\n{checks}fi\n" if checks else "")


def _expect(expect: Expect, words: _Words) -> str:
    nothing = '[ "x$o" = x ] || ' if expect.or_nothing else ""
    read = f'o=`sed -n {shlex.quote(expect.sed)} "$d/o"`\n'
    # The Bourne shell's test takes a lone "(" or "!" for itself.
    return f'{read}{nothing}[ "x$o" = x{words.quote(expect.equals)} ] || k=unmet\n'


def _capture(capture: Capture) -> str:
    text = f'v_{capture.name}=`sed -n {shlex.quote(capture.sed)} "$d/o"`\n'
    return text + (f'[ "x$v_{capture.name}" != x ] || k=unmet\n' if capture.required else "")


def _globs(patterns: Sequence[str]) -> str:
    """Shell patterns for ``case``: ``*`` stays a wildcard, everything else is taken literally."""
    quoted = ("*".join(shlex.quote(part) if part else "" for part in pattern.split("*")) for pattern in patterns)
    return "|".join(f"*{pattern}*" for pattern in quoted)


def _undos(steps: Sequence[Step], words: _Words) -> list[str]:
    """Undos, newest first, only when a step failed."""
    cases = "".join(
        f"{index}) m u {index}; {words.command(step.undo)} </dev/null; r=$?; m v {index} $r;;\n"
        for index, step in enumerate(steps)
        if step.undo
    )
    # An undo that fails stops the others: what is older, the zvol with its identity above all, is what a re-run needs.
    # That of the very step that failed (f) is only tried.
    loop = f'for i in $done; do case $i in\n{cases}esac\n[ $r -eq 0 ] || [ "$i" = "$f" ] || break\ndone'
    return [f"if [ $go = 0 ]; then\n{loop}\nfi\n"] if cases else []


def _query(index: int, query: Query[object], words: _Words) -> str:
    command = f"{words.command(query.argv)} </dev/null"
    if query.captures:
        keep = "".join(_capture(replace(capture, required=False)) for capture in query.captures)
        command += f' >"$d/o"; r=$?\ncat "$d/o"\n{keep}'
    else:
        command += "; r=$?\n"
    if query.needs:
        command = f'r=0\nif [ "x$v_{query.needs}" != x ]; then\n{command}fi\n'
    return f"m q {index}\n{command}m a {index} $r\n"
