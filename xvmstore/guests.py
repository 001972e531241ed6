"""Guests and their disks: attach, detach, grow, and what a dom0 must know. One round trip a machine, each converges.

``plan_*`` are pure and say what would be done; the functions without it do it.
"""

from collections.abc import Sequence

from dom0 import block_script, xenstore
from dom0.block_script import Shown
from dom0.disk import told_id
from dom0.xenstore import STATES, Vbd
from remote.errors import InUse, Mismatch, NotFound, PartlyDone, Refused
from remote.script import Captured, Step
from xvmstore.dom0_outcomes import failed, not_running, raise_failure
from xvmstore.dom0s import XenDom0, finished
from xvmstore.nodes import StorageNode
from xvmstore.plan import Part, Plan
from xvmstore.results import Attachment, Grown, Volume

# libxl gives a hotplug script 40 seconds, and a guest may still be starting.
_CONNECT, _LET_GO, _PUBLISH, _QUIET = 45, 20, 15, 2
DOMID = Captured("domid")


# -- what dom0 must have -----------------------------------------------------------------------------------------------


def plan_install(dom0: XenDom0) -> Plan:
    """The hotplug script and the boot unit."""
    return Plan.of(dom0.lock("block-xvmstore"), ("install", (block_script.install(),)))


def install(dom0: XenDom0) -> None:
    """Put them there, or newer ones in their place. Raises StepFailed."""
    if not dom0.initiator.by_block_script:
        raise Refused(f"{dom0.name}: block-xvmstore is for a Linux dom0; a Solaris one has its own initiator log in")
    plan = plan_install(dom0)
    raise_failure(dom0, "", plan, dom0.run(plan))


def plan_prepare(dom0: XenDom0, node: StorageNode, guest: str, volumes: Sequence[Volume]) -> Plan:
    """Have dom0 know a guest's volumes, and no others of its; then try each, or log in to it where no script will."""
    disks = [(volume, dom0.disk(volume)) for volume in volumes]
    keep = tuple(disk for _, disk in disks)
    maps = [step for volume, disk in disks for step in dom0.initiator.know(disk, dom0.map_of(node, volume, disk))]
    tries = [Step(block_script.verb("check", told_id(disk))) for _, disk in disks] if dom0.by_script else []
    logins = [] if dom0.by_script else [step for _, disk in disks for step in dom0.initiator.login(disk)]
    return Plan.of(
        dom0.lock(guest),
        ("script", dom0.initiator.ready()),
        ("forget", dom0.initiator.forget(guest, keep=keep, node=node.name)),
        ("map", maps),
        ("try", tries),
        ("login", logins),
    ).without_undo()


def prepare(dom0: XenDom0, node: StorageNode, guest: str, volumes: Sequence[Volume]) -> None:
    """Make a dom0 ready to start a guest. Raises Refused, StepFailed."""
    if not volumes:
        raise NotFound(f"{node.name}: guest {guest} has no volumes")
    plan = plan_prepare(dom0, node, guest, volumes)
    raise_failure(dom0, guest, plan, dom0.run(plan))


def plan_forget(dom0: XenDom0, guest: str, volumes: Sequence[Volume]) -> Plan:
    """Let go of a guest's volumes, and have dom0 know them no more. ``volumes`` matter where dom0 keeps no map."""
    disks = [one.xen_disk for one in volumes if one.xen_disk]
    logouts = dom0.initiator.logout(*disks) if disks else ()
    return Plan.of(
        dom0.lock(guest),
        ("script", dom0.initiator.ready()),
        ("forget", dom0.initiator.forget(guest)),
        ("logout", logouts),
    )


def forget(dom0: XenDom0, guest: str, volumes: Sequence[Volume]) -> None:
    """Take a guest's volumes from a dom0. Raises RemoteError while one is attached."""
    plan = plan_forget(dom0, guest, volumes)
    raise_failure(dom0, guest, plan, dom0.run(plan))


# -- attach ------------------------------------------------------------------------------------------------------------


def plan_attach(dom0: XenDom0, node: StorageNode, volume: Volume) -> Plan:
    """Tell dom0 of the volume, tidy up what an attempt that was cut off left, attach, wait for the guest."""
    disk, guest = dom0.disk(volume), volume.name.partition("/")[0]
    if dom0.by_script and disk.id is None:
        raise Refused(_no_guid(dom0, volume))
    targets, stack = dom0.targets(volume), dom0.stack
    force = xenstore.detach(stack.force, DOMID, targets)
    attach = Step(
        stack.attach_words(DOMID, disk, dom0.wiring),
        undo=force,
        lies=True,
        unless=xenstore.attached(DOMID, targets),
    )
    return Plan.of(
        dom0.lock(guest),
        ("script", dom0.initiator.ready()),
        ("domain", (stack.domid(guest),)),
        # An id is captured by "map"; a device is wanted before "login".
        ("find", dom0.initiator.find(disk) if stack.told else ()),
        ("vdev", (xenstore.name_free(DOMID, targets, stack.called(disk.vdev)),)),
        ("map", dom0.initiator.know(disk, dom0.map_of(node, volume, disk))),
        ("dead", (xenstore.dead(DOMID, targets),)),
        ("dead", (Step(force, unless=("test", "-z", Captured("dead"))),)),
        ("sweep", dom0.initiator.sweep(disk)),
        ("login", () if dom0.by_script else dom0.initiator.login(disk)),
        ("attach", (attach,)),
        ("connected", (Step(xenstore.connected(DOMID, targets, seconds=_CONNECT)),)),
    )


def _no_guid(dom0: XenDom0, volume: Volume) -> str:
    guest = volume.name.partition("/")[0]
    return (
        f"{volume.node}: {volume.name} gets its GUID when somebody first logs in, and block-xvmstore needs it: "
        f'`xvmstore guest prepare {guest} --dom0 {dom0.name}` logs in once; or set wiring = "path"'
    )


def attach(dom0: XenDom0, node: StorageNode, volume: Volume) -> tuple[Attachment, bool]:
    """Attach a volume to its guest, which must run; also whether it was so already.

    Raises Refused, InUse while another dom0 has it, StepFailed, PartlyDone, Interrupted.
    """
    nobody_elses(dom0, node, volume)
    plan = plan_attach(dom0, node, volume)
    outcome = dom0.run(plan, then=(xenstore.vbds(), dom0.initiator.look()))
    guest = volume.name.partition("/")[0]
    raise_failure(dom0, guest, plan, outcome)
    vbds, shown = (answer.get() for answer in outcome.answers)
    found = [one for one in vbds if dom0.serves(one, volume, shown) and one.connected]
    if not found:
        raise PartlyDone(f"{dom0.name}: {volume.name} was attached, and is gone again: run the same command again")
    index = plan.roles.index("attach")
    return attachment(dom0, volume, found[0], domain=guest), outcome.steps[index].how == "skip"


def may_be_renamed(dom0: XenDom0, node: StorageNode, volume: Volume) -> None:
    """Checks all that can be known before a volume gets another device name, and is attached under it."""
    dom0.disk(volume)
    nobody_elses(dom0, node, volume)
    questions = (dom0.stack.domains(), xenstore.vbds(), dom0.initiator.look())
    domains, vbds, shown = (answer.get() for answer in dom0.host.ask(questions))
    guest = volume.name.partition("/")[0]
    if guest not in {domain.name for domain in domains}:
        raise not_running(dom0, guest)
    for vbd in vbds:
        if dom0.serves(vbd, volume, shown):
            called = dom0.stack.vdev(vbd.vdev)
            raise Mismatch(f"{dom0.name}: {volume.name} is attached as {called}: detach it first to rename it")


def nobody_elses(dom0: XenDom0, node: StorageNode, volume: Volume) -> None:
    """A file system that two hosts write to is lost, and no storage node stands in the way."""
    names = node.initiators()
    others = sorted({names.get(one, one) for one in volume.sessions} - {dom0.name})
    if not others:
        return
    # On a shared target a login tells of no volume in particular.
    shared = f", or take it away from there: `xvmstore lun unexport {volume.name} --dom0 NAME`" if node.shared else ""
    raise InUse(
        f"{node.name}: {volume.name} may be in use on {', '.join(others)}, which is logged in to its target: "
        f"a disk that two hosts write to is lost; detach it there first{shared}"
    )


def attachment(dom0: XenDom0, volume: Volume, vbd: Vbd, *, domain: str) -> Attachment:
    """A vbd as the guest's disk."""
    state = STATES.get(vbd.state, f"state {vbd.state}")
    vdev = dom0.stack.vdev(vbd.vdev) or volume.vdev or ""
    return Attachment(volume.name, dom0.name, domain, vbd.domid, vdev, vbd.error or state)


# -- detach ------------------------------------------------------------------------------------------------------------


def plan_detach(dom0: XenDom0, volume: Volume, *, force: bool = False) -> Plan:
    """Refuse what is known to be in use, detach, wait, and see that nothing is left behind."""
    disk, guest = finished(volume), volume.name.partition("/")[0]
    targets, stack = dom0.targets(volume), dom0.stack
    root, quiet = xenstore.not_root(DOMID, targets), xenstore.quiet(DOMID, targets, seconds=_QUIET)
    command = stack.force if force else stack.detach
    checks: list[Part] = [] if force else [("root", (root,)), ("busy", (quiet,))]
    return Plan.of(
        dom0.lock(guest),
        ("find", dom0.initiator.find(disk)),
        ("domain", (stack.domid_if_any(guest),)),
        *checks,
        ("detach", (Step(xenstore.detach(command, DOMID, targets)),)),
        ("gone", (Step(xenstore.gone(DOMID, targets, seconds=_LET_GO)),)),
        ("sweep", dom0.initiator.sweep(disk)),
        ("logout", () if dom0.by_script else dom0.initiator.logout(disk)),
        settled="detach",
    )


def detach(dom0: XenDom0, volume: Volume, *, force: bool = False) -> None:
    """Take a volume from its guest. Does nothing where it is not attached.

    Raises InUse for the disk the guest started from, and for one that is read or written, unless forced; PartlyDone.
    """
    plan = plan_detach(dom0, volume, force=force)
    outcome = dom0.run(plan, then=(xenstore.vbds(), dom0.initiator.look()))
    raise_failure(dom0, volume.name.partition("/")[0], plan, outcome, volume=volume.name)
    vbds, shown = (answer.get() for answer in outcome.answers)
    elsewhere = [one for one in vbds if dom0.serves(one, volume, shown)]
    if elsewhere:
        raise InUse(f"{dom0.name}: {volume.name} is attached to another guest too, domain {elsewhere[0].domid}")
    left = _left(volume, vbds, shown)
    if left:
        raise PartlyDone(f"{dom0.name}: {volume.name} was detached, but {left}; run the same command again")


def _left(volume: Volume, vbds: Sequence[Vbd], shown: Shown) -> str:
    """What a detach must not leave, in words: a hold on the LUN that no vbd has any more."""
    disk = volume.xen_disk
    alive = {f"backend_vbd_{vbd.domid}_{vbd.devid}" for vbd in vbds}
    mine = [use.name for use in shown.uses if disk and use.id == disk.id and use.name.startswith("backend_vbd_")]
    stale = [name for name in mine if name not in alive]
    return f"{', '.join(stale)} still holds its LUN" if stale else ""


# -- grow --------------------------------------------------------------------------------------------------------------


def plan_grow(dom0: XenDom0, node: StorageNode, volume: Volume, size: int) -> Plan:
    """Have dom0's kernel see the new size, whoever logged in there, and wait until the guest has been told."""
    disk, guest = dom0.disk(volume), volume.name.partition("/")[0]
    # A back end that never looks again need not be waited for.
    seconds = _PUBLISH if dom0.initiator.grows else 0
    wait = xenstore.published(DOMID, dom0.targets(volume), sectors=size // 512, seconds=seconds)
    return Plan.of(
        dom0.lock(guest),
        ("script", dom0.initiator.ready()),
        # An id is captured by "map"; there is no "login" that would capture a device.
        ("map", dom0.initiator.know(disk, dom0.map_of(node, volume, disk))),
        ("find", dom0.initiator.find(disk) if dom0.stack.told else ()),
        ("grow", dom0.initiator.grow(disk, size)),
        ("domain", (dom0.stack.domid_if_any(guest),)),
        ("published", (Step(wait),)),
    ).without_undo()


def grow(dom0: XenDom0, node: StorageNode, volume: Volume, size: int) -> Grown:
    """Bring a volume's new size to the guest that has it on this dom0. Raises PartlyDone."""
    plan = plan_grow(dom0, node, volume, size)
    outcome = dom0.run(plan)
    failure = failed(dom0, volume.name.partition("/")[0], plan, outcome)
    if failure is not None:
        raise PartlyDone(
            f"{volume.name} has its new size, but not on {dom0.name}: {failure}; run the same command again"
        )
    said = outcome.steps[plan.roles.index("published")].stdout.strip()
    if said == "published":
        return Grown(dom0.name, "guest", "its guest was told")
    if said == "none":
        return Grown(dom0.name, "node", "no guest has it there; whoever logs in will see it")
    told = "a Solaris back end" if not dom0.initiator.grows else f"its back end still tells {said}"
    return Grown(dom0.name, "dom0", f"{told}: the guest will see it when it starts again, or after detach and attach")
