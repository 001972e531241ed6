"""What every stand-in runs: it looks at what it was given, and becomes the real tool, or refuses and writes it down."""

import os
import sys

from tests.node.old_tools import arguments

_REAL = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
# The nearest to nawk and to awk there is: their own author's, where it is installed. Nothing is near to Python 2.4.
_INSTEAD = {
    "awk": ("original-awk", "awk"),
    "nawk": ("original-awk", "nawk", "awk"),
    "python2.4": ("python3",),
}


def main(log: str) -> None:
    """Never returns."""
    name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
    if name == "sleep" and words and not words[0].isdigit():
        # Not written down: our scripts ask for 0.2 s first, and for 1 s where that is not known (sleep(1)).
        _end(name, "bad character in argument", 2)
    if name not in arguments.NAMES:
        _refuse(log, name, words, "not found", 127)
    try:
        reason = arguments.objection(name, words) or _input(name, words)
    except Exception as error:  # noqa: BLE001  a stand-in that breaks must be seen, whatever reads its output
        reason = f"the stand-in broke: {error!r}"
    if reason:
        _refuse(log, name, words, reason, 2)
    paths = (f"{folder}/{one}" for one in _INSTEAD.get(name, (name,)) for folder in _REAL)
    os.execv(next(path for path in paths if os.access(path, os.X_OK)), [name, *words])


def _refuse(log: str, name: str, words: list[str], reason: str, code: int) -> None:
    import json

    line = json.dumps({"tool": name, "words": words, "reason": reason}) + "\n"
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    _end(name, reason, code)


def _end(name: str, reason: str, code: int) -> None:
    sys.stderr.write(f"{name}: {reason}\n")
    sys.stderr.flush()
    os._exit(code)


def _input(name: str, words: list[str]) -> str | None:
    """Why it would not read all that it is given. What comes from a pipe is read, and put back in its place."""
    if name not in {"awk", "sed"}:
        return None
    files = arguments.program(name, words)[1]
    if not files:
        return _unread(name, _all_of_stdin())
    for path in filter(os.path.isfile, files):
        with open(path, "rb") as file:
            if reason := _unread(name, file.read()):
                return reason
    return None


def _all_of_stdin() -> bytes:
    data = sys.stdin.buffer.read()
    again = os.memfd_create("stdin")
    with open(again, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(again, 0, os.SEEK_SET)
    os.dup2(again, 0)
    return data


# sed: LBSIZE of usr/src/ucbcmd/sed/sed.h. awk: RECSIZE of usr/src/cmd/oawk/lib.c.
_LONGEST_LINE = {"sed": 4000, "awk": 2559}


def _unread(name: str, data: bytes) -> str | None:
    longest = max(map(len, data.split(b"\n")))
    if name == "sed" and data and not data.endswith(b"\n"):
        return f"a last line without its newline is never read: {data[-40:]!r}"
    if longest > _LONGEST_LINE[name]:
        return f"a line of {longest} bytes is too long"
    return None
