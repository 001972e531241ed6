"""What the recorded stmfadm, sbdadm, itadm and iscsitadm files need beyond their own cases."""

import calendar
import time
from dataclasses import replace

from embedded import commands, content
from embedded.model import Daemon, Dataset, Node, Target
from embedded.served import Session
from tests.embedded.replay import Preparation, Scenario, both, sh

LU1 = "600144F00C2A6D0000006A27E7400001"
LU2 = "600144F00C2A6D0000006A27E7400002"
LU3 = "600144F00C2A6D0000006A27E7400003"
VM1_IQN = "iqn.2026-11.com.example:tank.vm1"
DEVICE = "/dev/zvol/rdsk/tank"
OLD_NOW = float(0x4A285C80)
SOLARIS_DOM0 = "iqn.1986-03.com.sun:01:0003ba0e0795.4455571f"


def volumes(node: Node) -> None:
    """The zvols of the recordings: two of which ZFS itself would not make."""
    sh(
        "zfs create -s -V 8G tank/vm1",
        "zfs create -s -V 4G tank/vm2",
        "zfs create -s -V 4G tank/vm3",
        "zfs create -s -V 2G tank/vm4",
        "zfs create -s -V 512K tank/small",
    )(node)
    odd = Dataset("volume", 0.0, node.next_txg(), node.identity(), volsize=2097153, volblocksize=512)
    node.datasets["tank/odd"] = odd
    content.create(content.path_of(node.root, "tank/odd"), 0, headed=node.flavour.metadata_head)


def unit(number: int) -> Preparation:
    """LU 1, 2, 3 on vm1, vm2, vm3 under the GUID of the recordings."""
    guid = f"600144F00C2A6D0000006A27E740000{number}"
    return sh(f"stmfadm create-lu -p guid={guid} {DEVICE}/vm{number}")


def old_unit(guid: str) -> Preparation:
    """The unit of the 2009.06 recordings, whose GUID was not made there."""

    def prepare(node: Node) -> None:
        sh(f"sbdadm create-lu {DEVICE}/vm1")(node)
        one = node.units.popitem()[1]
        node.units[guid] = replace(one, guid=guid)

    return prepare


def no_units(node: Node) -> None:
    """No unit is registered and the next GUID is the first."""
    node.units.clear()
    node.unit_counter = 0


def state(guid: str, text: str) -> Preparation:
    """A unit in a state that it only passes through."""

    def prepare(node: Node) -> None:
        node.units[guid].state = text

    return prepare


def secrets(node: Node) -> None:
    """The secret files of the recordings."""
    folder = node.root / "fs" / "var" / "run"
    folder.mkdir(parents=True)
    (folder / "chap.secret").write_text("abcdefghijkl\n")
    (folder / "short.secret").write_text("short\n")


def export_files(node: Node) -> None:
    """A 1 GiB file to make a unit of, in the node's own /export."""
    folder = node.root / "fs" / "export"
    folder.mkdir()
    with (folder / "file.img").open("wb") as file:
        file.truncate(1 << 30)


def uninitialized(node: Node) -> None:
    """A node on which STMF was never enabled."""
    sh("svcadm disable stmf")(node)
    node.initialized = False


def moment(text: str) -> float:
    """A time as list-target shows it, in seconds."""
    return float(calendar.timegm(time.strptime(text)))


def three_targets(node: Node) -> None:
    """An FC target, and two iSCSI targets with two sessions."""
    node.targets["wwn.2100001B32ABCDEF"] = Target("qlt", "Fibre Channel", "qlt0,0")
    sh(f"itadm create-target -n {VM1_IQN} -l 'guest vm1'")(node)
    sh("itadm create-target -n iqn.2026-11.com.example:tank.vm2")(node)
    node.targets["iqn.2026-11.com.example:tank.vm2"].state = "Offlining"
    debian = "iqn.1993-08.org.debian:01:abcdef012345"
    node.initiator_aliases = {debian: "dom0-b"}
    node.sessions = (
        Session(VM1_IQN, "iqn.2005-03.org.open-iscsi:dom0-a", moment("Tue Jun  9 09:56:40 2026")),
        Session(VM1_IQN, debian, moment("Tue Jun  9 10:09:37 2026")),
    )


def one_session(node: Node) -> None:
    """Somebody is logged in to vm1."""
    node.sessions = (Session(VM1_IQN, "iqn.2005-03.org.open-iscsi:dom0-a", 0.0),)


def old_target(node: Node) -> None:
    """The target of the 2009.06 recording with its session."""
    name = "iqn.2009-06.com.example:tank.vm1"
    sh(f"itadm create-target -n {name} -l guest")(node)
    initiator = "iqn.1986-03.com.sun:01:0003ba0e0795.4455571f"
    node.initiator_aliases = {initiator: "dom0"}
    node.sessions = (Session(name, initiator, moment("Wed Jun  3 03:33:20 2009")),)


def invented_name(node: Node) -> None:
    """The next UUID is the recorded one."""
    node.identifiers = ["0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"]


def copied_metadata(node: Node) -> None:
    """A zvol with vm1's hidden property, as zfs receive leaves it."""
    sh("zfs create -s -V 8G tank/clone1")(node)
    node.datasets["tank/clone1"].metadata = node.datasets["tank/vm1"].metadata


def eperm(node: Node) -> None:
    """The one case recorded with EPERM; its env line says EACCES for both."""
    node.conditions.add("stmf-eperm")


def no_eperm(node: Node) -> None:
    """Back to a caller with rights."""
    node.conditions.discard("stmf-eperm")


def daemon_targets(node: Node) -> None:
    """The volumes and targets of the iscsitadm recordings: one with a session, one shared by ZFS."""
    node.host_id, node.unit_counter = "0C2A6D000001", 0
    node.identifiers = ["7c5a3d1e-0c4b-4b3b-9d6e-8d6b4f3a2c11", "0d3c2b1a-5e6f-4a7b-8c9d-aabbccddeeff"]
    daemon_groups(node)
    sh("zfs create -s -V 8G tank/vm1", "zfs create -s -V 8G tank/vm1b", "zfs create -s -V 4G tank/vm2")(node)
    commands.run(node, f"iscsitadm create target -b {DEVICE}/vm1 -a vm1 vm1".split(), now=OLD_NOW)
    sh("iscsitadm modify target -l dom0 -p 1 vm1", "zfs set shareiscsi=on tank/vm2")(node)
    node.daemon.targets["vm1"].luns[0].visited = True
    node.daemon.targets["vm1"].reads = (120 << 10, 5046586573)
    node.daemon.targets["vm1"].writes = (4 << 10, 319 << 20)
    logged_in(node)


def logged_in(node: Node) -> None:
    """The session of the iscsitadm recordings."""
    node.initiator_aliases = {SOLARIS_DOM0: "dom0"}
    node.sessions = (Session(node.daemon.targets["vm1"].iqn, SOLARIS_DOM0, 0.0),)


def daemon_groups(node: Node) -> None:
    """Initiators and portal groups, and the base directory."""
    sh(
        f"iscsitadm create initiator -n {SOLARIS_DOM0} dom0",
        "iscsitadm modify initiator -H dom0user dom0",
        "iscsitadm create initiator -n iqn.2005-03.org.open-iscsi:abc linux1",
        "iscsitadm create tpgt 1",
        "iscsitadm modify tpgt -i 192.0.2.10 1",
        "iscsitadm modify tpgt -i 192.0.2.11 1",
        "iscsitadm create tpgt 2",
        "iscsitadm modify admin -d /export/iscsi",
    )(node)
    node.daemon.initiators["dom0"].chap_secret = "abcdefghijkl"


def no_daemon_targets(node: Node) -> None:
    """The daemon as it was installed; the volumes stay."""
    node.daemon = Daemon()


def daemon_targets_again(node: Node) -> None:
    """Everything anew, for cases that were recorded before the targets went."""
    no_daemon_targets(node)
    sh("zfs destroy tank/vm1", "zfs destroy tank/vm1b", "zfs destroy tank/vm2")(node)
    daemon_targets(node)


SCENARIOS = {
    "stmfadm-create-lu": Scenario(
        start=volumes,
        before={
            "-s larger than zvol": no_units,
            "-s suffix trailing junk": no_units,
            "blk not power of two": no_units,
            "guid not NAA 6": no_units,
            "guid in use": sh(
                f"stmfadm create-lu -p guid=600144F0AAAA000000006A27E7400099 {DEVICE}/vm3",
            ),
        },
    ),
    "stmfadm-delete-lu": Scenario(
        start=both(volumes, unit(1), sh(f"stmfadm add-view {LU1}")),
        before={
            "keep views": both(unit(2), sh(f"stmfadm add-view {LU2}")),
            "busy": both(unit(3), sh(f"stmfadm add-view {LU3}")),
        },
    ),
    "stmfadm-groups": Scenario(
        start=sh(f"itadm create-target -n {VM1_IQN}"),
        before={
            "member already in another group": sh("stmfadm create-hg other"),
            "delete-hg in use": sh(f"stmfadm add-view -h dom0 {LU1}"),
            "delete-hg": sh(f"stmfadm remove-view -l {LU1} -a"),
            "add-tg-member offline target": sh(f"stmfadm offline-target {VM1_IQN}"),
            "add-tg-member again, target online": sh(f"stmfadm online-target {VM1_IQN}"),
        },
    ),
    "stmfadm-import-lu": Scenario(
        start=both(volumes, unit(1)),
        before={
            "ok, same GUID comes back": sh(f"stmfadm delete-lu -k {LU1}"),
            "second zvol carrying the same metadata (zfs send -p / -R copy)": copied_metadata,
        },
    ),
    "stmfadm-list-lu": Scenario(
        start=both(volumes, export_files),
        before={
            "plain": both(
                sh(
                    f"stmfadm create-lu -p alias=guest-vm1 {DEVICE}/vm1",
                    f"stmfadm create-lu -p vid=XVM -p pid=ZVOL -p serial=XVM0002 -p wcd=true {DEVICE}/vm2",
                    "stmfadm create-lu /export/file.img",
                    f"stmfadm create-lu -p meta=/export/meta.md {DEVICE}/vm4",
                    f"stmfadm add-view {LU1}",
                )
            ),
            "offline": sh(f"stmfadm offline-lu {LU1}"),
            "offlining": state(LU2, "Offlining"),
            "onlining": state(LU2, "Onlining"),
            "unregistered": sh("stmfadm add-view -n 3 600144F0000000000000000000000077"),
        },
    ),
    "stmfadm-list-state": Scenario(before={"offline": sh("svcadm disable stmf"), "never initialised": uninitialized}),
    "stmfadm-list-target": Scenario(before={"plain": three_targets}),
    "stmfadm-modify-lu": Scenario(start=both(volumes, unit(1))),
    "stmfadm-online-offline": Scenario(
        start=both(volumes, unit(1), sh(f"itadm create-target -n {VM1_IQN}")),
        before={"online-target, service off": sh("svcadm disable stmf")},
    ),
    "stmfadm-usage": Scenario(before={"subcommand names ignore case": uninitialized}),
    "stmfadm-views": Scenario(
        start=both(
            volumes,
            unit(1),
            unit(2),
            sh("stmfadm create-hg dom0", "stmfadm create-hg dom1", "stmfadm create-tg tg1"),
        ),
    ),
    "sbdadm": Scenario(start=volumes),
    "sbdadm-unregistered": Scenario(
        start=both(volumes, unit(1), sh("stmfadm add-view 600144F0000000000000000000000077")),
    ),
    "itadm-target": Scenario(
        start=both(secrets, invented_name, sh("itadm create-tpg tpg0 192.0.2.10", "itadm create-tpg 7 192.0.2.11")),
        before={
            "list-target with a session": one_session,
            "delete-target offline": sh(f"stmfadm offline-target {VM1_IQN}"),
        },
    ),
    "itadm-defaults": Scenario(start=secrets),
    "itadm-initiator": Scenario(start=secrets),
    "itadm-tpg": Scenario(before={"delete-tpg in use": sh(f"itadm create-target -n {VM1_IQN} -t tpg0")}),
    "b111-itadm": Scenario(
        flavour="b111",
        before={"create-target tpg": sh("itadm create-tpg tpg0 192.0.2.10 192.0.2.11:3261")},
    ),
    "b111-sbdadm": Scenario(
        flavour="b111",
        now=OLD_NOW,
        start=volumes,
        before={
            # The recording of import-lu did not go on from modify-lu: the size is the first one again.
            "import-lu": sh(f"sbdadm modify-lu -s 8589869056 {DEVICE}/vm1"),
            "no privilege EPERM": eperm,
            "no privilege EACCES": no_eperm,
        },
    ),
    "iscsitadm-b85": Scenario(
        flavour="b85",
        start=daemon_targets,
        before={
            "list target none": no_daemon_targets,
            "list initiator": daemon_targets_again,
            "create target": no_daemon_targets,
            "delete target": sh("iscsitadm delete target -u 1 vm1"),
            "delete target LUN 0 first": sh(
                f"iscsitadm create target -b {DEVICE}/vm1 vm1", f"iscsitadm create target -u 1 -b {DEVICE}/vm1b vm1"
            ),
        },
    ),
    "b111-stmfadm": Scenario(flavour="b111", start=both(volumes, old_unit(LU1), old_target)),
}
