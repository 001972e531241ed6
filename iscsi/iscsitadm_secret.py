"""CHAP secrets for iscsitadm, which reads them from a terminal, twice, and from nowhere else. Pure text.

So a small program on the node is the terminal. It is for every Python since 2.4, which Solaris has had since 2006, and
for any system, so that tests run it; it has no single quote in it, for it stands in a shell's word.
"""

from remote.errors import InvalidValue
from remote.script import Argv, Secret

# MIN_CHAP_SECRET_LEN and MAX_CHAP_SECRET_LEN of iscsitadm; itadm takes up to 255.
_SHORTEST, _LONGEST = 12, 16

# Opening a terminal as the leader of a session without one makes it the controlling one, /dev/tty. What is typed before
# a prompt is flushed (getpass), so each prompt is waited for, on stderr or on the terminal.
_TYPIST = """\
import sys
sys.path = [one for one in sys.path if one]
import os, select, signal, time

def read_secret(path):
    file = open(path)
    text = file.read()
    file.close()
    return text.rstrip("\\n")

def become(argv, slave, heard):
    try:
        os.setsid()
        terminal = os.open(slave, os.O_RDWR)
        try:
            import fcntl, termios
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        except (AttributeError, IOError, OSError):
            pass
        os.dup2(heard, 2)
        os.execvp(argv[0], argv)
    except (IOError, OSError):
        os.write(heard, (argv[0] + ": cannot be run").encode("ascii"))
    os._exit(127)

def heard_from(pid, master, ears, line):
    prompt, nothing = "secret:".encode("ascii"), "".encode("ascii")
    said, typed, deadline = {master: nothing, ears: nothing}, 0, time.time() + 60
    while 1:
        ready = select.select([master, ears], [], [], max(0, deadline - time.time()))[0]
        if not ready:
            os.kill(pid, signal.SIGKILL)
            return said[ears] + "does not end, or asks for something else".encode("ascii")
        for one in ready:
            more = os.read(one, 4096)
            if one == ears and not more:
                return said[ears]
            said[one] = said[one] + more
        asked = said[ears].count(prompt) + said[master].count(prompt)
        while typed < asked and typed < 2:
            os.write(master, line)
            typed = typed + 1

secret, argv = read_secret(sys.argv[1]), sys.argv[2:]
master, terminal = os.openpty()
slave = os.ttyname(terminal)
ears, mouth = os.pipe()
pid = os.fork()
if pid == 0:
    become(argv, slave, mouth)
os.close(mouth)
text = heard_from(pid, master, ears, (secret + "\\n").encode("ascii")).decode("ascii", "replace")
status = os.waitpid(pid, 0)[1]
for word, instead in (("Re-enter secret:", "\\n"), ("Enter secret:", "\\n"), (secret, "***")):
    text = text.replace(word, instead)
text = "; ".join([one.strip() for one in text.splitlines() if one.strip()])
if os.WIFSIGNALED(status):
    text = text + " (%s died of signal %d)" % (argv[0], os.WTERMSIG(status))
if text:
    sys.stderr.write(text.encode("ascii", "replace").decode("ascii") + "\\n")
sys.exit(not os.WIFEXITED(status) or os.WEXITSTATUS(status))
"""

# The words after the secret's file are what is to be modified. Modified is what has no secret yet, or must have this.
_COMMON = """\
secret=$1 renew=$2 user=$3
shift; shift; shift
t="$xvm_become iscsitadm"
typed() {
    for python in python2.4 python2.6 python python3 none; do
        ( $python -c 0 ) >/dev/null 2>&1 && break
    done
    if [ $python = none ]; then
        echo "there is no Python to type the secret, so do it by hand there: iscsitadm modify $*" >&2
        exit 1
    fi
    $python -c '@TYPIST@' "$secret" $xvm_become iscsitadm modify "$@"
}
""".replace("@TYPIST@", _TYPIST)

_INITIATOR = (
    _COMMON
    + """\
said=`{ $t list initiator -v "$1" && echo listed:; } | sed -n 's/^    CHAP Secret: Set$/set/p
s/^listed:$/listed/p'`
case $said in *listed) ;; *) exit 1 ;; esac
case $renew$said in set*) exit 0 ;; esac
typed initiator -C "$1"
"""
)

# The user's name is set last: it tells that the secret is set too.
_ADMIN = (
    _COMMON
    + """\
said=`{ $t show admin && echo listed:; } | sed -n 's/^    CHAP Name: //p
s/^listed:$/listed/p'`
case $said in *listed) ;; *) exit 1 ;; esac
case $renew:$said in ":$user
listed") exit 0 ;; esac
typed admin -C || exit
$t modify admin -H "$user"
"""
)


def _checked(secret: Secret, whose: str) -> Secret:
    """Raises InvalidValue, before anything is sent."""
    if not _SHORTEST <= len(secret.value) <= _LONGEST:
        raise InvalidValue(f"the CHAP secret of {whose}: iscsitadm takes {_SHORTEST} to {_LONGEST} characters")
    return secret


def of_initiator(local: str, secret: Secret, *, renew: bool) -> Argv:
    """What a local initiator must know; left as it is where there is one, unless to ``renew``. Raises InvalidValue."""
    words = (_checked(secret, local), "renew" if renew else "", "")
    return ("sh", "-c", _INITIATOR, "iscsitadm-secret", *words, local)


def of_targets(user: str, secret: Secret, *, renew: bool) -> Argv:
    """What all targets of the node prove themselves with; the same. Raises InvalidValue."""
    words = (_checked(secret, "the target"), "renew" if renew else "", user)
    return ("sh", "-c", _ADMIN, "iscsitadm-own-secret", *words)
