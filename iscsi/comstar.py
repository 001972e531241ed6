"""The COMSTAR backend: OpenSolaris 2009.06, illumos, Solaris 11. Pure.

The order is what makes it safe: the LU is made without a view, read back, and only then shown; a view is the last
thing to come and the first to go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iscsi import access, comstar_fitness, names, targets
from iscsi.backend import Access, Everything, Export, Exported, Needs, Traits
from iscsi.model import Check
from iscsi.units import SBDADM, STMFADM, Move, Unit, UnitTool
from remote.host import Answer
from remote.script import Query, Step, Word
from storage import zvol
from storage.zvol import Resize


@dataclass(frozen=True, slots=True)
class Comstar:
    """COMSTAR with one of its two LU tools."""

    units: UnitTool
    traits: Traits

    def device(self, dataset: str) -> str:
        """The raw device."""
        return zvol.raw_device(dataset)

    def new_guid(self) -> str:
        """With Sun's OUI, as COMSTAR makes them, and 96 random bits."""
        return names.new_guid("600144F0")

    def serial(self, guid: str) -> str:
        """The random end of the GUID."""
        return guid[16:].lower()

    def make(self, export: Export) -> tuple[Step, ...]:
        """Masked: no view is added here."""
        unit = _unit(export)
        return (*self.units.make(unit), self.units.verify(unit))

    def restore(self, export: Export) -> tuple[Step, ...]:
        """From the metadata COMSTAR left on the zvol, else made anew with the recorded GUID."""
        unit = _unit(export)
        return (*self.units.restore(unit), self.units.verify(unit))

    def suspend(self, export: Export) -> tuple[Step, ...]:
        """COMSTAR keeps views by GUID. Offline would not be enough: the zvol stays open until the LU is deleted."""
        return self.units.suspend(zvol.raw_device(export.dataset), export.guid)

    def resume(self, export: Export, *, waits: bool, anew: bool = False) -> tuple[Step, ...]:
        """COMSTAR keeps views by GUID: they are there again with the LU."""
        if not waits:
            return ()
        unit = _unit(export)
        return (*self.units.renew(unit), self.units.verify(unit)) if anew else self.restore(export)

    def publish(self, export: Export, access: Sequence[Access], *, again: bool = False) -> tuple[Step, ...]:
        """Host groups and secrets first, then the target, then the views."""
        steps = [step for dom0 in access for step in self.admit(dom0)]
        chap = any(dom0.chap_secret for dom0 in access)
        steps += _target(export, chap=chap)
        if again and not export.shared:
            steps += targets.modify_target(
                export.target, portal_group=export.portal_group, chap=chap, own=export.own_chap
            )
        return (*steps, *(_view(export, dom0) for dom0 in access))

    def admit(self, access_: Access, *, renew: bool = False) -> tuple[Step, ...]:
        """Host group and CHAP account; a secret the node has already is only set anew when asked for."""
        steps = access.ensure_host_group(access_.host_group, access_.initiator)
        if access_.chap_user is None or access_.chap_secret is None:
            return steps
        user, secret = access_.chap_user, access_.chap_secret
        create = targets.create_initiator(access_.initiator, user=user, secret=secret)
        modify = targets.modify_initiator(access_.initiator, user=user, secret=secret)
        return (*steps, create, modify) if renew else (*steps, create)

    def same_unit(self, export: Export) -> tuple[Step, ...]:
        """By the LU's data file."""
        return (self.units.same(zvol.raw_device(export.dataset), export.guid),)

    def not_in_use(self, export: Export, *, initiator: str | None = None) -> tuple[Step, ...]:
        """Sessions are per target: on a shared one any login of a host counts."""
        return (targets.nobody_logged_in(export.target, initiator=initiator),)

    def logged_in(self, said: str) -> tuple[str, ...]:
        """The initiators of ``stmfadm list-target -v``."""
        return tuple(login.initiator for target in targets.parse_targets(said) for login in target.sessions)

    def withdraw(self, export: Export, *, forever: bool) -> tuple[Step, ...]:  # noqa: ARG002  the same either way
        """delete-lu takes the views with it, even when it then fails: a re-run finds what is left."""
        return (*self.units.delete(export.guid), *(() if export.shared else _remove_target(export)))

    def withdraw_from(self, export: Export, access_: Access) -> tuple[Step, ...]:
        """Only the view goes; the LU stays registered."""
        return access.remove_view(export.guid, host_group=access_.host_group)

    def resize(self, export: Export, volsize: Resize) -> tuple[Step, ...]:
        """``export.size`` is the LU's new size: the zvol's less the head."""
        return volsize.around(self.units.resize(zvol.raw_device(export.dataset), export.guid, export.size))

    def move(self, export: Export, rename: Step, *, dataset: str, alias: str) -> tuple[Step, ...]:
        """A registered LU holds its zvol open and remembers its path: unregister, rename, register."""
        old, new = zvol.raw_device(export.dataset), zvol.raw_device(dataset)
        return self.units.move(Move(export.guid, old, new, alias, rename))

    def inspect(self, guid: Word, target: Word) -> tuple[Query[Any], ...]:
        """LU, views, target and its sessions, its set-up, host groups."""
        return (
            self.units.query(guid),
            access.views(guid),
            targets.targets(target),
            targets.target_setups(target),
            access.host_groups(),
        )

    def read(self, answers: Sequence[Any], path: str) -> Exported:
        """The LU is the one on this path; sbdadm answers with all of them."""
        units, views, ports, setups, groups = answers
        unit = next((unit for unit in units if unit.path in {path, None}), None)
        return Exported(unit, views, ports[0] if ports else None, setups[0] if setups else None, groups)

    def inspect_all(self) -> tuple[Query[Any], ...]:
        """All LUs, their views, all targets with their sessions, all host groups."""
        return (self.units.query_all(), access.all_views(), targets.targets(), access.host_groups())

    def read_all(self, answers: Sequence[Any]) -> Everything:
        """In the order of ``inspect_all``."""
        return Everything(*answers)

    def examine(self) -> tuple[Query[Any], ...]:
        """See ``comstar_fitness``."""
        return comstar_fitness.questions()

    def findings(self, needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
        """See ``comstar_fitness``."""
        return comstar_fitness.findings(needs, answers, maker=self.units.name)

    def prepare(self, needs: Needs) -> tuple[Step, ...]:
        """The services, and the portal group where one is named."""
        group = (targets.create_portal_group(needs.portal_group, needs.portals),) if needs.portal_group else ()
        return (comstar_fitness.enable_services(), *group)

    def rights(self, needs: Needs) -> str:
        """An RBAC profile, or sudo's list of programs."""
        return comstar_fitness.rights(needs)


def _unit(export: Export) -> Unit:
    return Unit(
        path=zvol.raw_device(export.dataset),
        guid=export.guid,
        size=export.size,
        serial=export.serial,
        alias=export.alias,
        write_cache=export.write_cache,
    )


def _target(export: Export, *, chap: bool) -> tuple[Step, ...]:
    """A target of its own gets a target group of its own, of the same name."""
    group = () if export.shared else access.ensure_target_group(export.target, export.target)
    create = targets.create_target(
        export.target,
        alias="xvmstore" if export.shared else export.alias,
        portal_group=export.portal_group,
        chap=chap,
        own=export.own_chap,
        keep=export.shared,
    )
    return (*group, create)


def _remove_target(export: Export) -> tuple[Step, ...]:
    return (targets.remove_target(export.target), access.remove_target_group(export.target))


def _view(export: Export, dom0: Access) -> Step:
    group = export.target_group if export.shared else export.target
    return access.add_view(export.guid, host_group=dom0.host_group, target_group=group, lun=export.lun)


_GROUPS = frozenset({"target_group", "portal_group"})
STMFADM_COMSTAR = Comstar(
    STMFADM, Traits(("target-per-volume", "shared-target"), names.LARGEST_LUN, _GROUPS, adopts=True)
)
# Before b116 an LU's metadata took so many bytes at the front of a zvol, and of a file to this day (sbd_lu.c).
SBD_HEAD = 65536
# Before b118 a target group could only be changed while all of STMF was offline.
SBDADM_COMSTAR = Comstar(
    SBDADM,
    Traits(("shared-target",), names.LARGEST_LUN, _GROUPS, head=SBD_HEAD, guid="its", keeps_views=False),
)
