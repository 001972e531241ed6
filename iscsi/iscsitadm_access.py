"""What iscsitgtd is told of dom0s and of where it listens, as small programs for the Bourne shell of Solaris. Pure."""

from iscsi.iscsitadm_programs import program
from remote.script import Argv

# The daemon looks for the first local initiator with an iSCSI name (check_access), so there may be one only.
_ADMIT = r"""
dom0=$1 initiator=$2 user=$3
t="$xvm_become iscsitadm"
was=$IFS nl='
'
set -f
die() { echo "$*" >&2; exit 1; }
rows=`{ $t list initiator -v && echo listed:; } | tr '\134' '?' | sed -n '
/^Initiator: /{
s///
h
}
/^    iSCSI Name: /{
s///
G
s/^\(.*\)\n\(.*\)$/\2	\1/
p
}
/^    CHAP Name: /{
s///
G
s/^\(.*\)\n\(.*\)$/\2		\1/
p
}
s/^listed:$/listed/p'`
there= listed=
IFS=$nl
for row in $rows; do
    IFS=$was
    theirs=`echo "$row" | sed 's/	.*//'` other=`echo "$row" | sed 's/.*	//'`
    case $row in
    listed) listed=1 ;;
    "$dom0		$user") user= ;;
    *"		"*) ;;
    "$dom0	$initiator") there=1 ;;
    "$dom0	"*) die "the local initiator $dom0 is $other, not $initiator: set another host_group for that dom0" ;;
    *"	$initiator") die "$initiator is the local initiator $theirs already: set that as host_group of that dom0" ;;
    esac
done
IFS=$was
[ -n "$listed" ] || exit 1
[ -n "$there" ] || $t create initiator -n "$initiator" "$dom0" || exit
[ -z "$user" ] || $t modify initiator -H "$user" "$dom0"
"""

_PORTAL_GROUP = r"""
group=$1
t="$xvm_become iscsitadm"
shift
said=`$t create tpgt "$group" 2>&1` || case $said in
*"already exists"*) ;;
*) echo "$said" >&2; exit 1 ;;
esac
for address do
    $t modify tpgt -i "$address" "$group" || exit
done
"""


def admit(local: str, initiator: str, user: str) -> Argv:
    """A local initiator, with the name it must give for CHAP, if any."""
    return program(_ADMIT, "iscsitadm-admit", local, initiator, user)


def portal_group(number: str, addresses: tuple[str, ...]) -> Argv:
    """A portal group with these addresses, and those it had."""
    return program(_PORTAL_GROUP, "iscsitadm-portal-group", number, *addresses)
