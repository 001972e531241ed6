"""The system's ``ssh`` as a way to a node: for SunSSH-era servers, odd ssh_config options, and bulk data.

One process a script, or a shell that stays; ``ControlMaster`` in ssh_config makes the second one cheap.
"""

import contextlib
import re
import subprocess
import time
from dataclasses import replace

from remote.address import SshAddress
from remote.errors import LoginRefused, UnknownHostKey, Unreachable, one_line
from remote.host import Spoken
from remote.pipe import SSH_FAILED, ProcessPipe
from remote.script import new_nonce

_KEY_TROUBLE = (
    "Host key verification failed",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "No ED25519 host key is known",
)
# Whose key it is: a jump host's as well, and the name behind an alias of ssh_config.
_KEY_OF = re.compile(r"key is known for (\S+) and|Host key for (\S+) has changed")
_BANNER = re.compile(r"^@.*\n", re.MULTILINE)
_LOGIN_TROUBLE = ("Permission denied", "Too many authentication failures")
_BEFORE_LOGIN = "kex_exchange_identification"
_LOST = ("closed by remote host", "Broken pipe", "not responding")


class OpensshShell:
    """Feeds scripts to ``/bin/sh`` on a node through one ``ssh`` process each."""

    def __init__(self, address: SshAddress) -> None:
        self._address = address

    def argv(self, command: str = "/bin/sh") -> tuple[str, ...]:
        """The ssh command line. Never asks anything, never accepts an unknown host key (ssh_config(5))."""
        address = self._address
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={max(1, round(address.connect_timeout))}",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            *([f"UserKnownHostsFile={_quoted(str(address.known_hosts))}"] if address.known_hosts else []),
            *([f"IdentityFile={_quoted(str(address.identity))}", "IdentitiesOnly=yes"] if address.identity else []),
            *address.options,
        ]
        argv = ["ssh", "-T", *(["-F", str(address.ssh_config)] if address.ssh_config else [])]
        argv += [word for option in options for word in ("-o", option)]
        argv += ["-p", str(address.port)] if address.port else []
        argv += ["-l", address.user] if address.user else []
        return (*argv, "--", address.host, command)

    def feed(self, script: bytes, *, timeout: float) -> Spoken:
        """Run one script. Raises Unreachable, UnknownHostKey, LoginRefused when nothing can have run.

        In a session of its own, ssh has no terminal to ask at, nor has the one it starts for a jump host, which is
        not told of BatchMode.
        """
        try:
            ended = subprocess.run(
                self.argv(), input=script, capture_output=True, timeout=timeout, check=False, start_new_session=True
            )
        except subprocess.TimeoutExpired as late:
            return Spoken(late.stdout or b"", late.stderr or b"", None, f"no end after {timeout:g} s")
        except OSError as error:
            raise Unreachable(f"cannot start the system's ssh: {error.strerror}; install openssh-client") from error
        if ended.returncode == SSH_FAILED:
            return self._failed(ended)
        if ended.returncode < 0:
            return Spoken(ended.stdout, ended.stderr, None, f"ssh was killed by signal {-ended.returncode}")
        return Spoken(ended.stdout, ended.stderr, ended.returncode)

    def open(self, *, connect_timeout: float | None = None) -> ProcessPipe:
        """Start a shell that stays, and wait until it answers: only then is it known that ssh got in.

        ``connect_timeout`` is for all of that, and stands in for the address's.
        """
        limit = self._address.connect_timeout if connect_timeout is None else connect_timeout
        argv = OpensshShell(replace(self._address, connect_timeout=limit)).argv()
        pipe = subprocess.PIPE
        try:
            ssh = subprocess.Popen(argv, 0, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise Unreachable(f"cannot start the system's ssh: {error.strerror}; install openssh-client") from error
        opened = ProcessPipe(ssh, stop=True)
        try:
            self._greet(opened, limit)
        except BaseException:
            opened.close()
            raise
        return opened

    def _greet(self, pipe: ProcessPipe, limit: float) -> None:
        """Have the shell say a word, and drop what the login said before it. Raises why it does not."""
        word, deadline, said = new_nonce(), time.monotonic() + limit, b""
        # An ssh that has ended says why.
        with contextlib.suppress(BrokenPipeError):
            pipe.send(f"echo; echo {word}\n".encode(), deadline=deadline)
        while f"\n{word}\n".encode() not in said:
            piece = pipe.receive(deadline=deadline)
            said += piece
            if not piece:
                raise self._no_greeting(pipe, deadline, limit)

    def _no_greeting(self, pipe: ProcessPipe, deadline: float, limit: float) -> Unreachable:
        status = pipe.exit_status(max(0.0, deadline - time.monotonic()))
        if status is None:
            return Unreachable(f"{self._address}: no answer within {limit:g} s")
        errors = b""
        while piece := pipe.receive_errors(deadline=deadline):
            errors += piece
        if status == SSH_FAILED:
            trouble = self._failed(subprocess.CompletedProcess((), status, b"", errors)).trouble
            return Unreachable(f"{self._address}: {trouble}")
        words = one_line(errors.decode("utf-8", "replace")) or f"it exited {status}"
        return Unreachable(f"{self._address}: no usable /bin/sh there: {words}")

    def _failed(self, ended: subprocess.CompletedProcess[bytes]) -> Spoken:
        """255 is ssh's own: before any output it never got in; after some, the connection broke."""
        said = ended.stderr.decode("utf-8", "replace")
        if ended.stdout:
            return Spoken(ended.stdout, ended.stderr, None, "connection lost")
        if any(words in said for words in _KEY_TROUBLE):
            named = _KEY_OF.search(said)
            shown = (named[1] or named[2]) if named else ""
            raise UnknownHostKey(how_to_accept(self._address, one_line(_BANNER.sub("", said), 800), shown))
        if any(words in said for words in _LOGIN_TROUBLE):
            raise LoginRefused(f"{self._address}: login refused: {one_line(said)}")
        if _BEFORE_LOGIN not in said and any(words in said for words in _LOST):
            return Spoken(b"", ended.stderr, None, "connection lost")
        raise Unreachable(f"{self._address}: {one_line(said) or 'ssh exited 255 and said nothing'}")

    def close(self) -> None:
        """Every script had its own process: nothing is open."""


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def how_to_accept(address: SshAddress, why: str, shown: str = "") -> str:
    """The refusal of a host key, with the command that would accept it.

    ``shown`` is whose key it is, in the terms of known_hosts (``host`` or ``[host]:port``), where that is known.
    """
    host, port = address.host, str(address.port or "")
    if shown:
        host, _, port = shown.removeprefix("[").partition("]:")
    known = str(address.known_hosts) if address.known_hosts else "~/.ssh/known_hosts"
    return (
        f"{address}: host key refused: {why}. Compare the fingerprint on the node's console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); to accept it: "
        f"ssh-keyscan {f'-p {port} ' if port else ''}{host} >> {known}"
    )
