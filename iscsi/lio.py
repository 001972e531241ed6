"""The LIO backend: the Linux kernel's own iSCSI target, over zvols as block devices. Pure.

The order is what makes it safe: the LU is made and read back before any target serves it; who may see it is let in
next; a new target is enabled last of all, and only then is it written down for the next boot.

An LU's name in LIO is ``xvm-`` and its serial number, which is the end of its GUID: LIO makes the GUID (NAA 6, its own
company number 001405) of the first 25 hexadecimal digits of the serial number. There are no host groups: an ACL is of
one initiator, and here a "host group" is that initiator's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from iscsi import lio_fitness, lio_look, lio_programs, lio_saved, names
from iscsi.backend import Access, Everything, Export, Exported, Needs, Traits
from iscsi.lio_rows import UNIT_FIELDS, Rows, parse_look
from iscsi.model import Check
from remote.errors import InvalidValue
from remote.host import Answer
from remote.script import Argv, Capture, Captured, Expect, Query, Secret, Step, Word, joined
from storage import zvol
from storage.zvol import Resize

_EVERY_ADDRESS = ("0.0.0.0:3260",)
# What the kernel says while commands of a session that has just gone are still under way.
_BUSY = ("Device or resource busy",)


@dataclass(frozen=True, slots=True)
class Lio:
    """LIO through configfs and rtslib's saved configuration."""

    traits: Traits

    def device(self, dataset: str) -> str:
        """What udev names the zvol."""
        return zvol.linux_device(dataset)

    def new_guid(self) -> str:
        """In the company number LIO puts into every GUID."""
        return names.new_guid("6001405")

    def serial(self, guid: str) -> str:
        """All that LIO lets us choose of a GUID."""
        return guid[7:].lower()

    # -- one volume

    def make(self, export: Export) -> tuple[Step, ...]:
        """A name made of a new serial number is nobody else's, so an undo may forget it for the next boot as well."""
        write_through, unit, verify = self._unit(export)
        forget = lio_programs.remove_unit_then(_name(export), lio_saved.save(_name(export), export.target))
        return (*write_through, replace(unit, undo=forget), verify)

    def restore(self, export: Export) -> tuple[Step, ...]:
        """Read back before anybody can see it."""
        write_through, unit, verify = self._unit(export)
        return (*write_through, unit, verify)

    def _unit(self, export: Export) -> tuple[tuple[Step, ...], Step, Step]:
        through = () if export.write_cache else (zvol.write_through(export.dataset),)
        undo = lio_programs.remove_unit(_name(export))
        make = Step(self._make_unit(export, export.dataset), undo=undo, lies=True, retry=_BUSY, silent=True)
        return through, make, self._verify(export)

    def _make_unit(self, export: Export, dataset: str) -> Argv:
        return lio_programs.make_unit(_name(export), self.device(dataset), serial=export.serial, guid=export.guid)

    def suspend(self, export: Export) -> tuple[Step, Step]:
        """Who saw the LUN is remembered in LIO itself, as in ``move``."""
        name, target, lun = _name(export), export.target, export.lun
        unbind = lio_programs.unbind_lun(target, lun, name, keep_places=True)
        bind, make = lio_programs.bind_lun(target, lun, name), self._make_unit(export, export.dataset)
        remove = lio_programs.remove_unit(name)
        return (
            Step(unbind, undo=bind, lies=True, retry=_BUSY, silent=True),
            Step(remove, undo=make, lies=True, retry=_BUSY, silent=True),
        )

    def resume(self, export: Export, *, waits: bool, anew: bool = False) -> tuple[Step, ...]:  # noqa: ARG002
        """The LU, and its LUN for those who saw it; or only where its zvol is now."""
        if not waits:
            return (self._save_moved(export, export.dataset),)
        bind = lio_programs.bind_lun(export.target, export.lun, _name(export))
        every = () if export.shared else (Step(lio_programs.map_all(export.target, export.lun), silent=True),)
        return (*self.restore(export), Step(bind, silent=True), *every, _save(export))

    def _verify(self, export: Export) -> Step:
        facts = [("kind", "iblock"), ("enabled", "1"), ("read_only", "0"), ("device", self.device(export.dataset))]
        all_facts = (*facts, ("size", export.size), ("serial", export.serial))
        expect = tuple(Expect(_field(name), value) for name, value in all_facts)
        return Step(lio_look.look(_name(export), ""), expect=expect, silent=True)

    def publish(self, export: Export, access: Sequence[Access], *, again: bool = False) -> tuple[Step, ...]:  # noqa: ARG002
        """Target and LUN, then the initiators, then the door is opened, then all of it is written down."""
        chap = any(dom0.chap_secret for dom0 in access)
        target, name = _restorable(export.target), _name(export)
        gone = _gone(export)
        make = lio_programs.make_target(target, export.listen or _EVERY_ADDRESS, chap=chap)
        return (
            Step(make, undo=None if export.shared else gone, lies=True, retry=_BUSY, silent=True),
            Step(lio_programs.bind_lun(target, export.lun, name), undo=gone, lies=True, silent=True),
            *(Step(argv, silent=True) for dom0 in access for argv in self._let_in(export, dom0)),
            Step(lio_programs.enable(target), silent=True),
            _save(export),
        )

    def _let_in(self, export: Export, dom0: Access) -> tuple[Argv, ...]:
        initiator = str(_restorable(dom0.initiator))
        chap = _account(dom0.chap_user, dom0.chap_secret, of=initiator)
        own = _account(*export.own_chap, of="the target") if export.own_chap else None
        return (
            lio_programs.admit(export.target, initiator, chap=chap, own=own),
            lio_programs.map_lun(export.target, initiator, export.lun),
        )

    def same_unit(self, export: Export) -> tuple[Step, ...]:
        """By the device the LU is on; an LU behind somebody's own target as well is left alone."""
        here = Expect("s/^device //p", self.device(export.dataset), or_nothing=True)
        return (Step(lio_programs.unit_device(_name(export), export.target), expect=(here,), silent=True),)

    def not_in_use(self, export: Export, *, initiator: str | None = None) -> tuple[Step, ...]:
        """Sessions are per target: on a shared one any login of a host counts."""
        pattern = f"session\t*\t{initiator}\t" if initiator else "session\t"
        return (Step(lio_look.look(_name(export), export.target), refuse=(pattern,), silent=True),)

    def logged_in(self, said: str) -> tuple[str, ...]:
        """The initiators in what a check of ``not_in_use`` printed."""
        return tuple(session.initiator for session in parse_look(said).sessions)

    def withdraw(self, export: Export, *, forever: bool) -> tuple[Step, ...]:  # noqa: ARG002  the same either way
        """Target or LUN first, so that nobody reaches the LU; then the LU, so that the zvol is let go."""
        return (
            Step(_gone(export), retry=_BUSY, silent=True),
            Step(lio_programs.remove_unit(_name(export)), retry=_BUSY, silent=True),
            _save(export),
        )

    def withdraw_from(self, export: Export, access: Access) -> tuple[Step, ...]:
        """This initiator's view of the LUN goes, and with a target of the volume's own its ACL."""
        unmap = lio_programs.unmap_lun(export.target, access.initiator, export.lun, _name(export), shared=export.shared)
        return Step(unmap, retry=_BUSY, silent=True), _save(export)

    def resize(self, export: Export, volsize: Resize) -> tuple[Step, ...]:  # noqa: ARG002
        """The zvol's only: an LU on a block device has the device's size, which is read back with all else."""
        return volsize.around(())

    def move(self, export: Export, rename: Step, *, dataset: str, alias: str) -> tuple[Step, ...]:  # noqa: ARG002
        """A zvol renamed under its LU would not be found at the next boot: off, rename, on again as it was.

        Who saw the LUN is remembered in LIO itself, so that a re-run can finish what was cut off.
        """
        unbind, remove = self.suspend(export)
        served = Capture(_SERVED.name, "p", required=False)
        return (
            Step(lio_programs.was_served(_name(export), export.target, export.lun), captures=(served,), silent=True),
            replace(unbind, unless=_NOT_SERVED),
            replace(remove, unless=_NOT_SERVED),
            rename,
            replace(remove, argv=self._make_unit(export, dataset), undo=remove.argv, unless=_NOT_SERVED),
            replace(unbind, argv=unbind.undo or (), undo=unbind.argv, unless=_NOT_SERVED),
            self._save_moved(export, dataset),
        )

    def _save_moved(self, export: Export, dataset: str) -> Step:
        return Step(lio_saved.save(_name(export), export.target, device=self.device(dataset)), silent=True)

    # -- what is there

    def inspect(self, guid: Word, target: Word) -> tuple[Query[Any], ...]:
        """The LU and the target."""
        return (Query(lio_look.look_by_guid(guid, target), parse_look, silent=True),)

    def read(self, answers: Sequence[Any], path: str) -> Exported:
        """The LU is the one on this path."""
        rows: Rows = answers[0]
        unit = next((unit for unit in rows.units if unit.path == path), None)
        return rows.exported(unit)

    def inspect_all(self) -> tuple[Query[Any], ...]:
        """All in one listing."""
        return (Query(lio_look.look(), parse_look, silent=True),)

    def read_all(self, answers: Sequence[Any]) -> Everything:
        """All of it."""
        rows: Rows = answers[0]
        return rows.everything()

    # -- the node

    def admit(self, access_: Access, *, renew: bool = False) -> tuple[Step, ...]:
        """Nothing to do: LIO knows an initiator per target. ``renew``: set its secret on every target of ours."""
        account = _account(access_.chap_user, access_.chap_secret, of=access_.initiator)
        if not renew or account is None:
            return ()
        found = Capture("targets", "s/^target //p", required=False)
        argv = lio_programs.renew(str(_restorable(access_.initiator)), *account)
        return Step(argv, captures=(found,), silent=True), Step(lio_saved.save("", Captured("targets")), silent=True)

    def examine(self) -> tuple[Query[Any], ...]:
        """See ``lio_fitness``."""
        return lio_fitness.questions()

    def findings(self, needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
        """See ``lio_fitness``."""
        return lio_fitness.findings(needs, answers)

    def prepare(self, needs: Needs) -> tuple[Step, ...]:  # noqa: ARG002
        """Kernel modules, and a boot that brings LUNs back once the zvols are there."""
        return (Step(lio_fitness.prepare()),)

    def rights(self, needs: Needs) -> str:
        """LIO has no narrower ones."""
        return lio_fitness.rights(needs)


_SERVED = Captured("served")
_NOT_SERVED = ("test", "-z", _SERVED)


def _gone(export: Export) -> Argv:
    """What keeps everybody from the LU: its target goes, or on a shared one its LUN."""
    if export.shared:
        return lio_programs.unbind_lun(export.target, export.lun, _name(export))
    return lio_programs.remove_target(export.target)


def _name(export: Export) -> Word:
    return joined("xvm-", export.serial)


def _field(name: str) -> str:
    """Picks a field out of an LU's row."""
    return rf"s/^unit\t\([^\t]*\t\)\{{{UNIT_FIELDS.index(name)}\}}\([^\t]*\).*/\2/p"


def _save(export: Export) -> Step:
    return Step(lio_saved.save(_name(export), export.target), silent=True)


def _account(user: str | None, secret: Secret | None, *, of: str) -> tuple[str, Secret] | None:
    """LIO takes a secret that begins with NULL for none at all (iscsi_target_configfs.c)."""
    if user is None or secret is None:
        return None
    if secret.value.startswith("NULL"):
        raise InvalidValue(f"the CHAP secret of {of} begins with NULL, which is none to LIO: choose another")
    return user, secret


def _restorable(name: Word) -> Word:
    """rtslib brings back only iqn names with a dot in the naming authority (rtslib_fb/utils.py)."""
    authority = name.partition(":")[0] if isinstance(name, str) else ""
    if isinstance(name, str) and not (authority.startswith("iqn.") and authority.count(".") >= 3):
        raise InvalidValue(
            f"{name}: LIO brings back at boot only names like iqn.2026-11.com.example:name, with a dot after the date"
        )
    return name


# The largest LUN is rtslib's, in NodeACL.mapped_lun: the kernel would take more.
LIO = Lio(Traits(("target-per-volume", "shared-target"), 255, frozenset({"listen"})))
