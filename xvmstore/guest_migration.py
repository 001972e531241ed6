"""``guest check-migration``: can a guest that runs on one dom0 be moved to another with its disks?"""

from collections.abc import Iterator, Sequence
from typing import Any

from dom0 import xenstore
from dom0.block_script import Shown
from dom0.toolstack import Domain, XenInfo, parse_info
from dom0.xenstore import Vbd
from remote.errors import NotFound
from remote.host import Answer
from remote.script import Query
from xvmstore.dom0s import XenDom0
from xvmstore.results import Check, Volume


def check(guest: str, volumes: Sequence[Volume], source: XenDom0, destination: XenDom0) -> tuple[Check, ...]:
    """Look at both, one round trip each. Nothing is changed, but that a Linux destination logs in for a moment."""
    if not volumes:
        raise NotFound(f"guest {guest} has no volumes")
    there = source.host.ask((*_questions(source), *source.names_here()))
    disks = {one.name: one.xen_disk for one in volumes if one.xen_disk}
    here = destination.host.ask((*_questions(destination), *map(destination.initiator.measure, disks.values())))
    sizes = dict(zip(disks, here[3:], strict=True))
    return (
        *_exports(volumes, (source, destination)),
        *_domains(guest, source, there[0], runs=True),
        *_domains(guest, destination, here[0], runs=False),
        _attached(volumes, source, there[1], *there[3:]),
        *(_reach(destination, one, sizes.get(one.name)) for one in volumes),
        _same_wiring(source, destination),
        *_versions(source, destination, there[2], here[2]),
    )


def _questions(dom0: XenDom0) -> tuple[Query[Any], ...]:
    return dom0.stack.domains(), xenstore.vbds(), Query(dom0.stack.info_words, parse_info)


def _exports(volumes: Sequence[Volume], dom0s: Sequence[XenDom0]) -> Iterator[Check]:
    for dom0 in dom0s:
        missing = [one.name for one in volumes if not one.exported or not {dom0.name, "All"} & set(one.dom0s)]
        advice = "; ".join(f"`xvmstore lun export {name} --dom0 {dom0.name}`" for name in missing)
        yield Check(f"exported to {dom0.name}", ok=not missing, found=_listed(missing, "not: "), advice=advice)


def _listed(names: Sequence[str], before: str) -> str:
    return before + ", ".join(names) if names else "all"


def _domains(guest: str, dom0: XenDom0, answer: Answer[tuple[Domain, ...]], *, runs: bool) -> Iterator[Check]:
    what = f"{guest} {'runs' if runs else 'does not run'} on {dom0.name}"
    if answer.error is not None:
        yield Check(what, ok=False, found=str(answer.error), advice="the toolstack must work for this user")
        return
    found = any(domain.name == guest for domain in answer.get())
    advice = (
        "" if found is runs else "start it there" if runs else "a guest that runs twice loses its disks: look at both"
    )
    yield Check(what, ok=found is runs, found="it runs" if found else "it does not", advice=advice)


def _attached(
    volumes: Sequence[Volume], dom0: XenDom0, answer: Answer[tuple[Vbd, ...]], *names: Answer[Shown]
) -> Check:
    what = f"disks connected on {dom0.name}"
    error = next((one.error for one in (answer, *names) if one.error is not None), None)
    if error is not None:
        return Check(what, ok=False, found=str(error), advice="that must work for this user")
    waiting, shown = [vbd for vbd in answer.get() if not vbd.connected], [one.get() for one in names]
    half = [one.name for one in volumes for vbd in waiting if dom0.serves(vbd, one, *shown)]
    advice = "" if not half else "detach them, or wait until the guest has started"
    return Check(what, ok=not half, found=_listed(half, "half attached: "), advice=advice)


def _reach(dom0: XenDom0, volume: Volume, answer: Answer[int | None] | None) -> Check:
    what, guest = f"{volume.name} from {dom0.name}", volume.name.partition("/")[0]
    if answer is None:
        return Check(what, ok=False, found="not complete", advice=f"`xvmstore volume show {volume.name}`")
    if answer.error is not None:
        advice = f"`xvmstore guest prepare {guest} --dom0 {dom0.name}`"
        return Check(what, ok=False, found=str(answer.error), advice=advice)
    size = answer.get()
    if size is None:
        return Check(what, ok=True, found="the right LUN; its size is not known there")
    anew = "guest grow" if dom0.initiator.grows else f"guest forget {guest} --dom0 {dom0.name}`, then `guest prepare"
    advice = "" if size == volume.size else f"the volume has {volume.size}: `xvmstore {anew}`"
    return Check(what, ok=size == volume.size, found=f"the right LUN, {size} bytes", advice=advice)


def _same_wiring(source: XenDom0, destination: XenDom0) -> Check:
    same = (source.stack.format, source.wiring) == (destination.stack.format, destination.wiring)
    found = ", ".join(f"{one.name}: {one.stack.format} by {one.wiring}" for one in (source, destination))
    advice = "" if same else "the guest's disk lines mean nothing there: set toolstack and wiring alike"
    return Check("same disk lines", ok=same, found=found, advice=advice)


def _versions(source: XenDom0, destination: XenDom0, *answers: Answer[XenInfo]) -> Iterator[Check]:
    if any(answer.error is not None for answer in answers):
        told = next(str(answer.error) for answer in answers if answer.error is not None)
        yield Check("Xen", ok=False, found=told, advice="the toolstack must work for this user")
        return
    old, new = (answer.get() for answer in answers)
    versions = ", ".join(
        f"{name}: {'.'.join(map(str, info.version))}" for name, info in ((source.name, old), (destination.name, new))
    )
    advice = "" if new.version[:2] >= old.version[:2] else "Xen does not take a guest from a newer release"
    yield Check("Xen", ok=not advice, found=versions, advice=advice)
    for name, info in ((source.name, old), (destination.name, new)):
        if info.virt_caps is not None and "shadow" not in info.virt_caps:
            hvm = "hap" in info.virt_caps
            advice = "this build of Xen cannot track what a PV guest writes: shut a PV guest down to move it"
            yield Check(f"live migration on {name}", ok=hvm, found="no shadow paging", advice=advice)
