"""Stopping a guest and starting it again, in the words of its toolstack. Pure."""

import shlex

from dom0.toolstack import Toolstack
from remote.errors import UnexpectedOutput
from remote.script import Argv, Step

# A guest may have no drivers to be asked with, or be too broken to listen: then its plug is pulled.
_STOP = """\
guest=$1 seconds=$2
runs() { $xvm_become @domid@ "$guest" 2>/dev/null | grep '^[1-9]' >/dev/null; }
gone() {
    tries=$1
    while runs; do
        [ "$tries" -gt 0 ] || return 1
        tries=`expr "$tries" - 1`
        sleep 1
    done
}
runs || { echo none; exit 0; }
$xvm_become @shutdown@ "$guest" >/dev/null 2>&1
gone "$seconds" && { echo stopped; exit 0; }
$xvm_become @destroy@ "$guest" >/dev/null || exit
gone 20 || { echo "$guest does not end" >&2; exit 1; }
echo destroyed
"""
_RUNS = "$xvm_become @domid@ \"$1\" 2>/dev/null | grep '^[1-9]'"


def _spoken(text: str, stack: Toolstack) -> str:
    words = {"domid": stack.domid_words, "shutdown": stack.shutdown_words, "destroy": stack.destroy_words}
    for name, argv in words.items():
        text = text.replace(f"@{name}@", " ".join(shlex.quote(str(word)) for word in argv))
    return text


def stop(stack: Toolstack, guest: str, *, seconds: int) -> Step:
    """Stops a guest, after so many seconds by force. ``parse_stopped`` reads what it prints."""
    return Step(("sh", "-c", _spoken(_STOP, stack), "stop-guest", guest, str(seconds)))


def parse_stopped(text: str) -> str:
    """``none`` when it did not run; ``stopped``; ``destroyed`` when it did not listen.

    stopped
    """
    if text.strip() not in {"none", "stopped", "destroyed"}:
        raise UnexpectedOutput("stop-guest", text.strip(), "none, stopped or destroyed")
    return text.strip()


def start(stack: Toolstack, guest: str, config: str | None, *, options: Argv = ()) -> Step:
    """Starts a guest, from ``config`` on dom0 or the place where it usually is; nothing where it runs."""
    what = (config or f"/etc/xen/{guest}.cfg") if stack.from_file else guest
    runs = ("sh", "-c", _spoken(_RUNS, stack), "guest-runs", guest)
    return Step((*stack.start_words, what, *options), unless=runs)


def isolated(name: str, lines: tuple[str, ...]) -> Argv:
    """What xl is told besides a guest's own configuration, so that a copy of it starts under another name: other disks,
    no network (xl(1), "create": key=value overrides what is in the file)."""
    disks = ", ".join(f"'{line}'" for line in lines)
    return f'name="{name}"', "vif=[]", f"disk=[{disks}]"
