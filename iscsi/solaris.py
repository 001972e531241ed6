"""What target programs of Solaris have in common: their services, and how one who is not root gets rights. Pure."""

from collections.abc import Sequence

from iscsi.backend import Needs
from remote.errors import UnexpectedOutput

# COMSTAR itself and its iSCSI port provider, and the daemon that came before; the last two want the same port.
STMF = "svc:/system/stmf:default"
ISCSI_TARGET = "svc:/network/iscsi/target:default"
ISCSITGT = "svc:/system/iscsitgt:default"
_NOBODY_BUT_ROOT = (
    '# become = "none": the user who logs in must be root. With another user, set become to pfexec or sudo.\n'
)


def service_states(text: str) -> dict[str, str]:
    """Read ``svcs -H -o state,fmri``, by service.

    online         svc:/system/stmf:default
    """
    rows = [line.split() for line in text.splitlines()]
    if any(len(row) != 2 for row in rows):
        raise UnexpectedOutput("svcs", text, "a state and a service on each line")
    return {fmri: state for state, fmri in rows}


def rights(needs: Needs, programs: Sequence[str], *, auths: str = "", why: str = "") -> str:
    """What root must set up on the node so that the configured user may run these programs.

    ``auths`` are what the profile has besides, in prof_attr(5)'s words; ``why`` is a comment for the first line.
    """
    user = needs.user or "USER"
    if needs.become == "none":
        return _NOBODY_BUT_ROOT
    if needs.become == "sudo":
        return f"# /etc/sudoers.d/xvmstore\n{why}{user} ALL=(root) NOPASSWD: {', '.join(programs)}\n"
    commands = "".join(f"xvmstore:solaris:cmd:::{program}:uid=0\n" for program in programs)
    return (
        f"{why}# append to /etc/security/prof_attr\n"
        f"xvmstore:::Guests' volumes and their iSCSI LUNs:{auths}\n"
        f"# append to /etc/security/exec_attr\n{commands}"
        f"# then, as root\nusermod -P +xvmstore {user}\n"
    )
