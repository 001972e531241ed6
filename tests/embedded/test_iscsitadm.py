"""iscsitgtd beyond the recorded cases: what a target costs its volume, who may log in, what is gone with a target."""

from pathlib import Path

import pytest

from embedded import commands, iscsitgt, iscsitgt_exports
from embedded.answer import Answer
from embedded.model import ISCSITGT, Node
from embedded.served import ChapAccount, ServedTarget, Session
from tests.embedded.nodes import VM1, ok, peek, put, run
from tests.embedded.replay import NOW

GIB = 1 << 30
A, B = "iqn.2005-03.org.open-iscsi:a", "iqn.2005-03.org.open-iscsi:b"
CREATE = f"iscsitadm create target -b {VM1} vm1"
SECRET = "abcdefghijklm"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A volume of 1 GiB, and two local initiators."""
    node = Node.create(tmp_path, "b85")
    ok(node, "zfs create -s -V 1G tank/vm1")
    ok(node, f"iscsitadm create initiator -n {A} a", f"iscsitadm create initiator -n {B} b")
    return node


def refused(node: Node, line: str) -> str:
    """What a line that fails without output says."""
    answer = run(node, line)
    assert ("", 1) == (answer.stdout, answer.exit)
    return answer.stderr


def typed(node: Node, line: str, text: str) -> Answer:
    """The answer to a line at whose prompts something is typed."""
    return commands.run(node, line.split(), now=NOW, typed=text)


def only(node: Node) -> ServedTarget:
    """What is served."""
    (target,) = iscsitgt_exports.served(node)
    return target


def fact(node: Node, label: str) -> str:
    """What the listing of vm1 says of something."""
    lines = ok(node, "iscsitadm list target -v vm1").splitlines()
    return next(value for name, _, value in (line.strip().partition(": ") for line in lines) if name == label)


@pytest.mark.parametrize("program", ["stmfadm list-lu", "sbdadm list-lu", "itadm list-target"])
def test_there_is_no_comstar(node: Node, program: str) -> None:
    """Its programs and services are not there."""
    assert Answer("", f"sh: {program.split(maxsplit=1)[0]}: not found\n", 127) == run(node, program)
    assert run(node, "svcs stmf").exit == 1


def test_other_systems_have_no_iscsitadm(tmp_path: Path) -> None:
    """Where COMSTAR is, it is no program here."""
    assert run(Node.create(tmp_path, "illumos"), "iscsitadm list target").exit == 127


def test_any_call_starts_the_daemon(tmp_path: Path) -> None:
    """The service is disabled until somebody asks; a wrong line asks nothing."""
    node = Node.create(tmp_path, "b85")
    run(node, "iscsitadm list lun")
    assert ok(node, "svcs -H -o state iscsitgt").strip() == "disabled"
    ok(node, "iscsitadm list target")
    assert ok(node, f"svcs -H -o state {ISCSITGT}").strip() == "online"


def test_a_target_erases_the_last_sector(node: Node) -> None:
    """512 bytes of zeros, and not one more."""
    put(node, "tank/vm1", b"\xff" * 1024, at=GIB - 1024)
    ok(node, CREATE)
    assert b"\xff" * 512 + bytes(512) == peek(node, "tank/vm1", 1024, at=GIB - 1024)


def test_a_refused_target_erases_nothing(node: Node) -> None:
    """A name that is taken is noticed before the volume is touched."""
    ok(node, CREATE)
    put(node, "tank/vm1", b"\xff" * 512, at=GIB - 512)
    refused(node, CREATE)
    assert b"\xff" * 512 == peek(node, "tank/vm1", 512, at=GIB - 512)


def test_names_fold_to_lower_case(node: Node) -> None:
    """VM1 and vm1 are one target, whose iSCSI name ends in the name."""
    ok(node, f"iscsitadm create target -b {VM1} VM1")
    assert "LUN already exists" in refused(node, CREATE)
    assert fact(node, "iSCSI Name").startswith("iqn.1986-03.com.sun:02:")
    assert fact(node, "iSCSI Name").endswith(".vm1")
    assert "Alias" not in ok(node, "iscsitadm list target -v vm1")


def test_first_lun_is_zero(node: Node) -> None:
    """No other may come before it."""
    wanted = "iscsitadm: Error LUN 0 must exist before creating other LUNs\n"
    assert wanted == refused(node, f"iscsitadm create target -u 1 -b {VM1} vm1")


def test_the_size_stays(node: Node) -> None:
    """A volume that grows is not looked at again, and a LUN on a volume takes no other size."""
    ok(node, CREATE, "zfs set volsize=2G tank/vm1")
    assert ("1.0G", GIB) == (fact(node, "Size"), only(node).luns[0].size)
    wanted = "iscsitadm: Error Backing store must be regular file\n"
    assert wanted == refused(node, "iscsitadm modify target -z 2g vm1")
    ok(node, "iscsitadm delete target -u 0 vm1", CREATE)
    assert fact(node, "Size") == "2.0G"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (512 << 10, " 512K"),
        (64 << 20, "  64M"),
        (3 * GIB // 2, "1.5G"),
        (20 * GIB, "  20G"),
        (2047 * GIB // 128, "  16G"),
        (1 << 40, "1.0T"),
    ],
)
def test_sizes_are_scaled(node: Node, size: int, shown: str) -> None:
    """One decimal below ten, four places above."""
    ok(node, f"zfs create -s -b 512 -V {size} tank/v", "iscsitadm create target -b /dev/zvol/rdsk/tank/v v")
    assert f"            Size: {shown}\n" in ok(node, "iscsitadm list target -v v")


def test_files_back_targets_too(node: Node) -> None:
    """With a base directory a target can have a file made, which can grow."""
    ok(node, "iscsitadm modify admin -d /export/iscsi", "iscsitadm create target -z 10m f")
    ok(node, "iscsitadm modify target -z 20m f")
    assert (node.own_file("/export/iscsi/f/lun.0").stat().st_size, only(node).luns[0].size) == (20 << 20, 20 << 20)


def test_guid_shows_after_a_login(node: Node) -> None:
    """It is 0 until then, though the LUN has it already; it is another one when the target is made again."""
    ok(node, CREATE)
    served = only(node).luns[0].guid.lower()
    assert fact(node, "GUID") == "0"
    iscsitgt.visit(node, frozenset({only(node).iqn}))
    iscsitgt.visit(node, frozenset())
    assert fact(node, "GUID") == served
    ok(node, "iscsitadm delete target -u 0 vm1", CREATE)
    assert (fact(node, "GUID"), True) == ("0", served != only(node).luns[0].guid.lower())


def test_an_empty_acl_lets_everybody_in(node: Node) -> None:
    """Before the first entry, and after the last one has gone."""
    ok(node, CREATE)
    assert (only(node).open_to_all, only(node).initiators) == (True, ())
    ok(node, "iscsitadm modify target -l a vm1", "iscsitadm modify target -l a vm1")
    assert (False, (A,)) == (only(node).open_to_all, only(node).initiators)
    ok(node, "iscsitadm delete target -l a vm1")
    assert only(node).open_to_all
    assert refused(node, "iscsitadm delete target -l a vm1").startswith("iscsitadm: Error ")


def test_an_unknown_initiator_lets_nobody_in(node: Node) -> None:
    """The ACL takes any name; it is no iSCSI name, and the ACL is not empty."""
    ok(node, CREATE, "iscsitadm modify target -l stranger vm1")
    assert (False, ()) == (only(node).open_to_all, only(node).initiators)


def test_chap_of_those_in_the_acl(node: Node) -> None:
    """One with a secret must prove it, by its CHAP name or its own; others cannot be let in beside it."""
    ok(node, CREATE, "iscsitadm modify target -l a vm1", "iscsitadm modify target -l b vm1")
    assert ((A, B), ()) == (only(node).initiators, only(node).incoming)
    assert Answer() == typed(node, "iscsitadm modify initiator -C a", f"{SECRET}\n{SECRET}\n")
    assert ((A,), (ChapAccount(A, SECRET),)) == (only(node).initiators, only(node).incoming)
    ok(node, "iscsitadm modify initiator -H alice a")
    assert (ChapAccount("alice", SECRET),) == only(node).incoming


def test_targets_prove_themselves(node: Node) -> None:
    """What `modify admin` sets holds for every target that asks for CHAP."""
    ok(node, CREATE, "iscsitadm modify target -l a vm1", "iscsitadm modify admin -H tgt")
    typed(node, "iscsitadm modify admin -C", f"{SECRET}\n{SECRET}\n")
    assert only(node).outgoing is None
    typed(node, "iscsitadm modify initiator -C a", f"{SECRET}\n{SECRET}\n")
    assert ChapAccount("tgt", SECRET) == only(node).outgoing


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("short\n", "secret too short"),
        ("s" * 17 + "\n", "secret too long"),
        (f"{SECRET}\n{SECRET}x\n", "secret not changed"),
        (f"{SECRET}\n", "secret not changed"),
    ],
)
def test_bad_secrets(node: Node, text: str, problem: str) -> None:
    """They change nothing."""
    answer = typed(node, "iscsitadm modify initiator -C a", text)
    assert ("", f"iscsitadm: {problem}\niscsitadm: Cannot read CHAP secret\n", 1) == (
        answer.stdout, answer.stderr, answer.exit,
    )  # fmt: skip
    assert node.daemon.initiators["a"].chap_secret is None


def test_without_a_terminal_it_crashes(node: Node) -> None:
    """As a shell sees it."""
    assert Answer("", "", 139) == run(node, "iscsitadm modify initiator -C a")


def test_a_group_without_address(node: Node) -> None:
    """It cannot be given to a target."""
    ok(node, CREATE, "iscsitadm create tpgt 1")
    refused(node, "iscsitadm modify target -p 1 vm1")
    ok(node, "iscsitadm modify tpgt -i 192.0.2.1 1", "iscsitadm modify target -p 1 vm1")
    assert "        TPGT: 1\n" in ok(node, "iscsitadm list target -v vm1")


def test_deleting_cuts_sessions_and_forgets(node: Node) -> None:
    """With LUN 0 the target goes, its ACL and its name."""
    ok(node, CREATE, "iscsitadm modify target -l a vm1")
    before = only(node).iqn
    node.sessions = (Session(before, A, 0.0),)
    assert fact(node, "Connections") == "1"
    ok(node, "iscsitadm delete target -u 0 vm1")
    assert (len(node.sessions), len(iscsitgt_exports.served(node))) == (0, 0)
    ok(node, CREATE)
    assert (True, True) == (before != only(node).iqn, only(node).open_to_all)


@pytest.mark.parametrize("line", ["zfs destroy tank/vm1", "zfs rename tank/vm1 tank/vm2", "zfs rollback tank/vm1@s"])
def test_a_target_holds_its_volume(node: Node, line: str) -> None:
    """Neither destroyed nor renamed nor rolled back while it is there."""
    ok(node, "zfs snapshot tank/vm1@s", CREATE)
    assert refused(node, line.replace("destroy", "destroy -r")).endswith("dataset is busy\n")
    ok(node, "iscsitadm delete target -u 0 vm1", line.replace("destroy", "destroy -r"))


def test_nothing_is_served_without_the_daemon(node: Node) -> None:
    """Its service is down; the next call brings everything back."""
    ok(node, CREATE, "svcadm disable iscsitgt")
    assert iscsitgt_exports.served(node) == ()
    ok(node, "iscsitadm list target")
    assert len(iscsitgt_exports.served(node)) == 1


def test_lun_as_it_is_served(node: Node) -> None:
    """Its bytes are the volume's, from the first on."""
    ok(node, CREATE)
    lun = only(node).luns[0]
    assert (0, 0, GIB, 512, "SUN", "SOLARIS") == (
        lun.number, lun.offset, lun.size, lun.block_size, lun.vendor, lun.product,
    )  # fmt: skip
    assert lun.path.stat().st_size == GIB


def test_state_survives(node: Node) -> None:
    """What the daemon knows is saved with the node."""
    ok(node, CREATE, "iscsitadm modify target -l a vm1", "iscsitadm create tpgt 1")
    node.save()
    assert node.daemon == Node.load(node.root).daemon


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("iscsitadm frobnicate", "invalid subcommand"),
        ("iscsitadm list", "missing object"),
        ("iscsitadm list target -x", "unknown option -- x"),
        ("iscsitadm create target -b", "option requires an argument -- b"),
        ("iscsitadm list target -b x", "-b: invalid option"),
        ("iscsitadm show admin x", "show admin takes no operands"),
        ("iscsitadm list target a b", "list target accepts only a single operand"),
    ],
)
def test_wrong_lines(node: Node, line: str, words: str) -> None:
    """They fail with a complaint and a usage."""
    answer = run(node, line)
    assert (f"iscsitadm: {words}\n", 1) == (answer.stderr, answer.exit)
    assert answer.stdout.endswith("For more information, please see iscsitadm(1M)\n")
