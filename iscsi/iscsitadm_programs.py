"""What is done with iscsitgtd's targets, as small programs for the Bourne shell of Solaris. Pure text.

Three things of this daemon decide how (its source is usr/src/cmd/iscsi/iscsitgtd of ONNV build 85):

- an empty ACL lets everybody in, and a new target has one: so the first thing done with a target is to put
  ``xvmstore-nobody`` into its ACL, and that one is never taken out;
- making a target writes zeros over the last sector of what is under it (``create_lun_common``), where a GPT keeps its
  second header: so that sector is kept in two properties of the zvol meanwhile, where a power cut cannot reach it;
- the size of an LU is what its zvol had when the target was made, and is never looked at again: so another size is
  another target.

Every program may be run again after any interruption. A target is only touched if it has the name that follows from
what is recorded on the zvol and is on that very zvol.
"""

from iscsi.iscsitadm_rows import NOBODY
from remote.script import Argv, Word

# In an iSCSI name that nobody has.
_NOBODYS_NAME = f"iqn.2026-11.org.xvmstore:{NOBODY}"

# The end of what is recorded, be it what we asked for or the name the daemon made of it: it puts a UUID and a dot
# before. It takes 63 characters at most.
LOCAL_NAME = r"""
y/ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/
s/^.*://
s/^[0-9a-f]\{8\}-[0-9a-f]\{4\}-[0-9a-f]\{4\}-[0-9a-f]\{4\}-[0-9a-f]\{12\}[.]//
s/^.*\(.\{60\}\)$/\1/
s/^[-.]*//
p"""

# Backslashes go out of listings: Solaris' echo acts on them, and an initiator may call itself what it likes. "listed"
# tells a whole listing from half of one. No function has the name of a variable: to the Bourne shell they are one kind
# of thing.
_HEAD = (
    r"""
unit=$1 dataset=$2
path=/dev/zvol/rdsk/$dataset nobody=@NOBODY@
t="$xvm_become iscsitadm" z="$xvm_become zfs"
was=$IFS nl='
'
set -f
die() { echo "$*" >&2; exit 1; }
has() { case $nl$1$nl in *"$nl$2$nl"*) return 0 ;; esac; return 1; }
# Is our target there ($there), and does anything else serve the zvol, or have our target's name?
find() {
    there= rows=`{ $t list target -v && echo listed:; } | tr '\134' '?' | sed -n '
/^Target: /{
s///
h
}
/^            Backing store: /{
s///
G
s/^\(.*\)\n\(.*\)$/\2	\1/
p
}
s/^listed:$/listed/p'`
    has "$rows" listed || exit 1
    IFS=$nl
    for row in $rows; do
        IFS=$was
        theirs=`echo "$row" | sed 's/	.*//'` where=`echo "$row" | sed 's/.*	//'`
        case $row in
        "$unit	$path") there=1 ;;
        "$unit	"*) die "the target $unit is on $where, not on $path: is $dataset a copy of it?" ;;
        "$dataset	"*) die "$dataset is exported by ZFS itself, to everybody: zfs set shareiscsi=off $dataset" ;;
        *"	$path"|*"	/dev/zvol/dsk/$dataset")
            die "$dataset is also behind the target $theirs: take it away there first" ;;
        esac
    done
    IFS=$was
}
# What is known of our target, and the iSCSI names of those who are logged in.
look() {
    seen=`{ $t list target -v "$unit" && echo listed:; } | tr '\134' '?' | sed -n '
s/^    iSCSI Name: /name /p
s/^    Connections: /connected /p
s/^            iSCSI Name: /session /p
/^    ACL list:/,/^    TPGT list:/s/^        Initiator: /acl /p
s/^        TPGT: /tpgt /p
s/^listed:$/listed/p'`
    has "$seen" listed || exit 1
    name=`lines name` connected=`lines connected` acl=`lines acl` tpgts=`lines tpgt` sessions=`lines session`
}
lines() { echo "$seen" | sed -n "s/^$1 //p"; }
know_nobody() {
    said=`$t create initiator -n @NAME@ $nobody 2>&1` || case $said in
    *"already exists"*) ;;
    *) die "$said" ;;
    esac
}
let_nobody_in() {
    has "$acl" $nobody && return 0
    know_nobody
    $t modify target -l $nobody "$unit" || exit
    look
}
""".replace("@NOBODY@", NOBODY)
    .replace("@NAME@", _NOBODYS_NAME)
    .lstrip()
)

# Kept are the sector's number and the first half of it, in hexadecimal digits, and the other half: a property of that
# time holds 1023 bytes. The first is set last and forgotten first: both are there, or what is there means nothing. Only
# over zeros is it put back, and while nobody can write to it: anything else there is newer.
_SECTOR = r"""
a= b= n= acl=$nobody connected=0
sector() {
    $xvm_become dd "if=$path" bs=512 "iseek=$1" count=1 2>/dev/null |
        perl -e 'binmode STDIN; read(STDIN, $_, 513) == 512 || exit 1; print join(" ", unpack("H512 H512", $_))'
}
recall() {
    rows=`$z get -H -o property,value,source org.xvmstore:last-a,org.xvmstore:last-b "$dataset"` || exit
    n=`kept_as a '\([0-9]*\)-[0-9a-f]*'` a=`kept_as a '[0-9]*-\([0-9a-f]*\)'` b=`kept_as b '\([0-9a-f]*\)'`
    [ -z "$a" ] || [ -z "$b" ] || return 0
    [ -z "$a$b" ] || forget
    a=
}
forget() { $z inherit org.xvmstore:last-a "$dataset" && $z inherit org.xvmstore:last-b "$dataset" || exit; }
kept_as() { echo "$rows" | sed -n "s/^org.xvmstore:last-$1	$2	[lr].*/\1/p"; }
keep() {
    size=`$z get -Hp -o value volsize "$dataset"` || exit
    last=`echo "$size" | awk '{ printf "%.0f", $1 / 512 - 1 }'`
    found=`sector "$last"` || die "the last sector of $path cannot be read (dd, perl), and a new target would erase it"
    case $found in *[1-9a-f]*) ;; *) return 0 ;; esac
    n=$last a=`echo "$found" | sed 's/ .*//'` b=`echo "$found" | sed 's/.* //'`
    $z set "org.xvmstore:last-b=$b" "$dataset" && $z set "org.xvmstore:last-a=$n-$a" "$dataset" || exit
}
put_back() {
    [ -n "$a" ] || return 0
    found=`sector "$n"`
    case $found in
    *[1-9a-f]*) ;;
    *)
        [ "$acl$connected" = "${nobody}0" ] ||
            die "the last sector of $dataset, kept when $unit was made, cannot be put back: somebody may log in to it"
        echo "$a$b" | perl -e 'binmode STDOUT; chomp($_ = <STDIN>); print pack("H*", $_)' |
            $xvm_become dd "of=$path" bs=512 "oseek=$n" conv=notrunc 2>/dev/null
        found=`sector "$n"`
        [ "$found" = "$a $b" ] || die "sector $n of $path could not be put back: it is kept with $dataset, try again"
        ;;
    esac
    forget
    a= b=
}
"""

# Who may log in while a resize has the target away: portal groups / local initiators. `org.xvmstore:exported-as` is for
# the program that comes after this one, and says what was so when it was written.
_RIGHTS = r"""
recorded() {
    rights=`$z get -H -o value,source org.xvmstore:acl "$dataset"` || exit
    rights=`echo "$rights" | sed -n 's/	[lr].*//p'`
}
record() { $z set "org.xvmstore:acl=$rights" "$dataset" || exit; }
readmit() {
    option=-p
    for one in $rights; do
        case $one in
        /) option=-l ;;
        *) $t modify target $option "$one" "$unit" || exit ;;
        esac
    done
    $z inherit org.xvmstore:acl "$dataset" || exit
}
outdated() { $z inherit org.xvmstore:exported-as "$dataset" || exit; }
"""

# With iSNS the daemon asks that server whom to let in, and heeds no ACL (check_access).
_MADE = r"""
heeded() {
    admin=`$t show admin` || exit
    case $admin in *"iSNS Access: Enabled"*)
        die "while iSNS access is enabled iscsitgtd heeds no ACL: iscsitadm modify admin -S disable" ;;
    esac
}
make() {
    fresh=
    if [ -z "$there" ]; then
        keep
        know_nobody
        $t create target -b "$path" "$unit" || { $t modify target -l $nobody "$unit" 2>/dev/null; put_back; exit 1; }
        if $t modify target -l $nobody "$unit"; then fresh=1; else
            $t delete target -u 0 "$unit" || die "$unit lets everybody in: iscsitadm delete target -u 0 $unit"
            put_back
            die "the new target $unit was taken away again: it would have let everybody in"
        fi
    fi
    look
    let_nobody_in
    put_back
    [ -z "$fresh" ] || [ "$acl$connected" = "${nobody}0" ] || die "somebody has logged in to the new target $unit"
}
"""

# Where a resize was cut off, those it had let in are let in again.
_MAKE = r"""
heeded
find
recall
recorded
outdated
make
[ -z "$rights" ] || readmit
"""

_SUSPEND = r"""
find
recall
if [ -n "$there" ]; then
    look
    [ "$acl$connected" = "${nobody}0" ] || die "somebody may log in to $unit: unexport $dataset first"
    put_back
    $t delete target -u 0 "$unit"
else
    put_back
fi
"""

# Deleting logs everybody out before the target is gone (remove_target): who is still in the ACL could be back by then.
_WITHDRAW = r"""
forever=$3
$z inherit org.xvmstore:acl "$dataset" || exit
[ -n "$forever" ] || outdated
find
[ -n "$there" ] || exit 0
look
let_nobody_in
IFS=$nl
for one in $acl; do
    IFS=$was
    [ "$one" = $nobody ] || $t delete target -l "$one" "$unit" || exit
done
IFS=$was
[ -n "$forever" ] || look
[ "$forever$connected" = 0 ] || $t delete target -u 0 "$unit"
"""

_WITHDRAW_FROM = r"""
dom0=$3 initiator=$4
recorded
outdated
if [ -n "$rights" ]; then
    was_so=$rights side= rights=
    for one in $was_so; do
        [ "$one" = / ] && side=/
        [ "$side$one" = "/$dom0" ] || rights="$rights $one"
    done
    rights=`echo $rights`
    [ "$rights" = "$was_so" ] || record
fi
find
[ -n "$there" ] || exit 0
look
let_nobody_in
if has "$acl" "$dom0"; then $t delete target -l "$dom0" "$unit" || exit; fi
look
if has "$sessions" "$initiator"; then
    die "$dom0 is still logged in to $unit, and iscsitgtd cuts off everybody or nobody: log it out there"
fi
"""

# Who may log in is kept with the zvol before the target goes, and forgotten when it is as it was: a run that was cut
# off can be ended.
_RESIZE = r"""
volsize=$3 name=$4
heeded
find
recall
recorded
outdated
if [ -n "$there" ]; then
    look
    let_nobody_in
    [ "$connected" = 0 ] || die "somebody is logged in to $unit"
    if [ -z "$rights" ]; then
        rights=`echo $tpgts / $acl`
        record
    fi
    put_back
    $t delete target -u 0 "$unit" || exit
    there= acl=$nobody connected=0
else
    put_back
fi
failed=0
size=`$z get -Hp -o value volsize "$dataset"` || failed=1
[ "$size" = "$volsize" ] || $z set "volsize=$volsize" "$dataset" || failed=1
if [ -n "$rights" ]; then
    make
    $z set "org.xvmstore:target=$name" "$dataset" || exit
    readmit
fi
echo "name $name"
exit $failed
"""

# A portal group without an address is taken by the daemon without a word, and then no dom0 finds the target.
_LISTEN = r"""
group=$3
found=`{ $t list tpgt -v "$group" && echo listed:; } | sed -n 's/^    IP Address: [0-9a-fA-F].*/address/p
s/^listed:$/listed/p'`
has "$found" listed || exit 1
has "$found" address || die "portal group $group has no address: xvmstore node setup --apply"
look
has "$tpgts" "$group" || $t modify target -p "$group" "$unit" || exit
for one in $tpgts; do
    [ "$one" = "$group" ] || $t delete target -p "$one" "$unit" || exit
done
"""


def program(text: str, name: str, *arguments: Word) -> Argv:
    """A program that puts $xvm_become where it belongs by itself; ``name`` says what it does."""
    return ("sh", "-c", text, name, *arguments)


def local_name(target: Word) -> Argv:
    """Print what is recorded as a volume's target, for ``LOCAL_NAME`` to pick the node's own name for it out."""
    return program('echo "$1"', "local-name", target)


def check(unit: Word, dataset: str) -> Argv:
    """Fails, and says why, where anything but our target serves the zvol, or our target another zvol."""
    return program(_HEAD + "find\n", "iscsitadm-check", unit, dataset)


def make(unit: Word, dataset: str) -> Argv:
    """A target on a zvol that lets nobody in; one that is there stays as it is."""
    return program(_HEAD + _SECTOR + _RIGHTS + _MADE + _MAKE, "iscsitadm-make", unit, dataset)


def suspend(unit: Word, dataset: str) -> Argv:
    """Delete a target that lets nobody in."""
    return program(_HEAD + _SECTOR + _SUSPEND, "iscsitadm-suspend", unit, dataset)


def withdraw(unit: Word, dataset: str, *, forever: bool) -> Argv:
    """Let nobody in any more; ``forever``, or if somebody does not leave, the target is deleted."""
    return program(_HEAD + _RIGHTS + _WITHDRAW, "iscsitadm-withdraw", unit, dataset, "forever" if forever else "")


def withdraw_from(unit: Word, dataset: str, local: str, initiator: str) -> Argv:
    """Do not let one initiator in any more."""
    return program(_HEAD + _RIGHTS + _WITHDRAW_FROM, "iscsitadm-withdraw-from", unit, dataset, local, initiator)


def resize(unit: Word, dataset: str, volsize: str, target: Word) -> Argv:
    """The zvol's size, and a new target where there was one; prints ``name IQN``, or what is recorded as its name."""
    words = (unit, dataset, volsize, target)
    return program(_HEAD + _SECTOR + _RIGHTS + _MADE + _RESIZE, "iscsitadm-resize", *words)


def listen(unit: Word, dataset: str, portal_group: str) -> Argv:
    """Have a target reached through one portal group only."""
    return program(_HEAD + _LISTEN, "iscsitadm-listen", unit, dataset, portal_group)
