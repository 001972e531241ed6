"""The programs in DIR/bin: what the node's shells find instead of the real zfs, stmfadm, uname and so on.

The stubs carry a command to the gate and print its answer byte for byte. They know no command, but for what two of them
read before they do anything: a secret from the terminal, data from a pipe. They are bash scripts, because starting an
interpreter that knows sockets otherwise costs several times as much.
"""

import shlex
import shutil
from pathlib import Path

from embedded.flavour import FLAVOURS

_STUB = """\
#!{bash} -p
# Written by the embedded node at every start. -p: no functions and no startup file from the environment.
LC_ALL=C
name=${{0##*/}}
gone() {{ printf '%s: the embedded node %s\\n' "$name" "$1" >&2; exit 69; }}
{{ IFS=' ' read -r port token <{gate}; }} 2>/dev/null || gone 'is not running'
{{ exec 3<>"/dev/tcp/127.0.0.1/$port"; }} 2>/dev/null || gone 'is not running'
input=
for word in "$@"; do
  # The node's process cannot open the caller's descriptors, so what is in them goes with the request.
  case $word in /dev/stdin | /dev/fd/[0-9]) IFS= read -r -d '' input <"$word" ;; esac
done
{reading}request="$(($# + 5)):"
for word in "$token" "${{EMBEDDED_EXEC-}}" "$$" "$input" "$name" "$@"; do request+="${{#word}}:$word"; done
printf %s "$request" >&3
IFS=' ' read -r code how out err hold <&3 || gone 'went away'
show() {{
  if [[ $1 == 0 ]]; then return; fi
  if [[ $how == copy ]]; then
    {head} -c "$1" <&3
    if [[ $? == 141 ]]; then kill -PIPE $$; fi
    return
  fi
  IFS= read -r -N "$1" data <&3 || gone 'went away'
  printf %s "$data"
}}
show "$out"
show "$err" >&2
if [[ $hold ]]; then
  printf . >&3
  read -r _ <&3
fi
exit "$code"
"""

# getpassphrase(3C) speaks with /dev/tty and nothing else. Where there is none it gives nothing, which iscsitadm copies.
# What was typed before a prompt counts for nothing; a secret of the wrong length is not asked for again.
_FROM_TERMINAL = """\
secret=
for word in "$@"; do case $word in -C | -P | --chap-secret | --radius-secret) secret=1 ;; esac; done
if [[ $1 == modify && $secret ]]; then
  { exec 4<>/dev/tty; } 2>/dev/null || { ulimit -c 0; kill -SEGV $$; }
  ask() {
    while read -r -t 0 -u 4; do read -r -u 4 line; done
    printf %s "$1" >&2
    line= && IFS= read -r -u 4 line
    printf '\\n' >&2
    input+=$line$'\\n'
  }
  STTY -echo <&4 2>/dev/null
  ask 'Enter secret:'
  if ((${#line} >= 12 && ${#line} <= 16)); then ask 'Re-enter secret:'; fi
  STTY echo <&4 2>/dev/null
fi
"""

# Devices are the node's, so it copies what is to or from one; anything else is the machine's dd, in Solaris' words.
# What comes from a pipe goes with the request, in letters, for bash takes no NUL bytes.
_FROM_PIPE = """\
case " $* " in
  *=/dev/zvol/*) ;;
  *) set -- "${@/#iseek=/skip=}"; exec DD "${@/#oseek=/seek=}" ;;
esac
from= size=512 count=
for word in "$@"; do
  shift
  case $word in
    if=* | of=*) [[ $word == ?f=/* ]] || word=${word%%=*}=$PWD/${word#*=} ;;&
    if=*) from=1 ;;
    bs=*) size=${word#*=} ;;
    count=*) count=$word ;;
  esac
  set -- "$@" "$word"
done
[[ $from ]] || input=$(DD bs="$size" $count iflag=fullblock 2>/dev/null | BASE64 -w 0)
"""

# The machine's, by their paths: a node's PATH may have others of these names.
_TOOLS = ("bash", "head", "stty", "dd", "base64")

_PFEXEC = """\
#!/bin/sh
exec "$@"
"""

_SUDO = """\
#!/bin/sh
while [ "$1" = -n ] || [ "$1" = -- ]; do shift; done
exec "$@"
"""

_UNAME = """\
#!/bin/sh
# Letters may stand together; what is asked for is printed in uname's own order.
asked=`echo "${{1:--s}}" | sed 's/^-//; s/a/snrvmpi/'`
said=
for pair in s:SunOS n:san1 r:5.11 v:{version} m:i86pc p:i386 i:i86pc; do
  case $asked in *"${{pair%%:*}}"*) said="$said ${{pair#*:}}" ;; esac
done
case $asked in *[!snrvmpi]*) echo "uname: illegal option -- $asked" >&2; exit 1 ;; esac
echo ${{said# }}
"""


def _program(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def _stub(gate: Path, *, name: str) -> str:
    bash, head, stty, dd, base64 = (shutil.which(tool) or f"/bin/{tool}" for tool in _TOOLS)
    reading = {"iscsitadm": _FROM_TERMINAL, "dd": _FROM_PIPE}.get(name, "")
    for word, tool in (("STTY", stty), ("DD", dd), ("BASE64", base64)):
        reading = reading.replace(word, shlex.quote(tool))
    return _STUB.format(bash=bash, head=shlex.quote(head), gate=shlex.quote(str(gate)), reading=reading)


def write_stubs(directory: Path, *, names: frozenset[str], flavour: str, gate: Path) -> None:
    """Fill ``directory`` with one stub per command name and the few programs that need no node."""
    directory.mkdir(exist_ok=True)
    uname = _UNAME.format(version=FLAVOURS[flavour].system)
    for name, text in (("pfexec", _PFEXEC), ("sudo", _SUDO), ("uname", uname)):
        _program(directory / name, text)
    for name in sorted(names):
        _program(directory / name, _stub(gate, name=name))
