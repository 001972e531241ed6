"""The programs in DIR/bin: what the node's shells find instead of the real zfs, stmfadm, uname and so on.

The stubs carry a command to the gate and print its answer byte for byte; they know no command. They are bash
scripts, because starting an interpreter that knows sockets otherwise costs several times as much.
"""

import shlex
import shutil
from pathlib import Path

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
request="$(($# + 5)):"
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

_VERSIONS = {"illumos": "omnios-r151050", "b111": "snv_111b"}


def _program(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def _stub(gate: Path) -> str:
    bash, head = (shutil.which(name) or f"/bin/{name}" for name in ("bash", "head"))
    return _STUB.format(bash=bash, head=shlex.quote(head), gate=shlex.quote(str(gate)))


def write_stubs(directory: Path, *, names: frozenset[str], flavour: str, gate: Path) -> None:
    """Fill ``directory`` with one stub per command name and the few programs that need no node."""
    directory.mkdir(exist_ok=True)
    stub = _stub(gate)
    uname = _UNAME.format(version=_VERSIONS.get(flavour, _VERSIONS["illumos"]))
    for name, text in (("pfexec", _PFEXEC), ("sudo", _SUDO), ("uname", uname)):
        _program(directory / name, text)
    for name in sorted(names):
        _program(directory / name, stub)
