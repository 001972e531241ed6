"""The backend of SXCE b85 to OpenSolaris 2008.11: the daemon iscsitgtd, by its iscsitadm. Pure.

Each volume is LUN 0 of a target of its own. The daemon picks the target's iSCSI name, anew whenever the target is made;
what the node calls it follows from what is recorded, be it the name we asked for or the daemon's. What a host group is
elsewhere is a local initiator here, and a view is a name in the target's ACL.

A target without anybody in its ACL lets everybody in, so ``NOBODY`` always stands in it: a volume that is exported to
nobody has a target that lets nobody in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from iscsi import iscsitadm_access, iscsitadm_fitness, iscsitadm_programs, iscsitadm_rows, iscsitadm_secret, names
from iscsi.backend import Access, Everything, Export, Exported, Needs, Traits
from iscsi.iscsitadm_rows import NOBODY
from iscsi.model import Check
from remote.errors import InvalidValue
from remote.host import Answer
from remote.script import Argv, Capture, Captured, Expect, Query, Step, Word
from storage import zvol
from storage.names import shown
from storage.zvol import Resize

_UNIT = Captured("unit")
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*\Z")
_ACL = "/^    ACL list:/,/^    TPGT list:/s/^        Initiator: //p"


@dataclass(frozen=True, slots=True)
class Iscsitadm:
    """iscsitgtd."""

    traits: Traits

    def device(self, dataset: str) -> str:
        """The raw device."""
        return zvol.raw_device(dataset)

    def new_guid(self) -> str:
        """Only its end is used, to make a name unique: the daemon picks the GUID."""
        return names.new_guid("600144F0")

    def serial(self, guid: str) -> str:  # noqa: ARG002
        """It comes with the daemon's GUID, and is not told."""
        return ""

    # -- one volume

    def make(self, export: Export) -> tuple[Step, ...]:
        """With nobody in the ACL but the one whom nobody is; taken back as a whole."""
        name, make, verify = self._target(export)
        alone = (Expect(_ACL, NOBODY), Expect("s/^    Connections: //p", "0"))
        undo = iscsitadm_programs.withdraw(_UNIT, export.dataset, forever=True)
        return name, replace(make, undo=undo, lies=True), replace(verify, expect=(*verify.expect, *alone))

    def restore(self, export: Export) -> tuple[Step, ...]:
        """A target that is there stays as it is."""
        return self._target(export)

    def _target(self, export: Export) -> tuple[Step, Step, Step]:
        make = Step(iscsitadm_programs.make(_UNIT, export.dataset), silent=True)
        said = "s/^        LUN: //p;s/^            Backing store: //p;s/^            Status: //p"
        facts = Expect(said, "\n".join(("0", self.device(export.dataset), "online")))
        name = Capture("target", "s/^    iSCSI Name: //p")
        return _name(export), make, Step(_list(_UNIT), expect=(facts,), captures=(name,), silent=True)

    def suspend(self, export: Export) -> tuple[Step, ...]:
        """The target goes; who may log in is not remembered, so nobody may."""
        nobody = Expect(_ACL, NOBODY, or_nothing=True)
        check = Step(_list(_UNIT), expect=(nobody,), silent=True)
        return _name(export), check, Step(iscsitadm_programs.suspend(_UNIT, export.dataset), silent=True)

    def resume(self, export: Export, *, waits: bool, anew: bool = False) -> tuple[Step, ...]:  # noqa: ARG002
        """It lets nobody in again: nothing to be done, unless somebody is to be let in next."""
        return self.restore(export) if waits else ()

    def publish(self, export: Export, access: Sequence[Access], *, again: bool = False) -> tuple[Step, ...]:
        """Initiators and secrets first, then where the target listens, then the ACL."""
        admitted = [step for dom0 in access for step in self.admit(dom0)]
        own = export.own_chap
        secret = [Step(iscsitadm_secret.of_targets(*own, renew=again), silent=True)] if own else []
        group = export.portal_group
        words = iscsitadm_programs.listen(_UNIT, export.dataset, iscsitadm_fitness.portal_group(group)) if group else ()
        listen = [Step(words, silent=True)] if words else []
        return (*admitted, *secret, _name(export), *listen, *(self._let_in(dom0) for dom0 in access))

    def _let_in(self, dom0: Access) -> Step:
        """Once in the ACL, it is there once."""
        words: Argv = ("target", "-l", _local(dom0), _UNIT)
        return Step(("iscsitadm", "modify", *words), undo=("iscsitadm", "delete", *words), lies=True, silent=True)

    def same_unit(self, export: Export) -> tuple[Step, ...]:
        """By name and backing store; what else serves the zvol, ZFS itself for one, is named and never changed."""
        return _name(export), Step(iscsitadm_programs.check(_UNIT, export.dataset), silent=True)

    def not_in_use(self, export: Export, *, initiator: str | None = None) -> tuple[Step, ...]:
        """Connections are listed with the target."""
        if initiator:
            return _name(export), Step(_list(_UNIT), refuse=(f"            iSCSI Name: {initiator}\n",), silent=True)
        nobody = Expect("s/^    Connections: //p", "0", or_nothing=True)
        return _name(export), Step(_list(_UNIT), expect=(nobody,), silent=True)

    def logged_in(self, said: str) -> tuple[str, ...]:
        """The initiators of ``iscsitadm list target -v``."""
        found = iscsitadm_rows.parse_targets(said)
        return tuple(session.initiator for target in found for session in target.sessions)

    def withdraw(self, export: Export, *, forever: bool) -> tuple[Step, ...]:
        """The target stays, for nobody, unless somebody is still logged in: only with the target a session goes."""
        return _name(export), Step(iscsitadm_programs.withdraw(_UNIT, export.dataset, forever=forever), silent=True)

    def withdraw_from(self, export: Export, access: Access) -> tuple[Step, ...]:
        """Fails where it is still logged in, for one session cannot be cut off by itself."""
        words = iscsitadm_programs.withdraw_from(_UNIT, export.dataset, _local(access), access.initiator)
        return _name(export), Step(words, silent=True)

    def resize(self, export: Export, volsize: Resize) -> tuple[Step, ...]:
        """A new target, for those whom the old one let in, since an LU keeps the size that its zvol had first."""
        words = iscsitadm_programs.resize(_UNIT, export.dataset, str(volsize.volsize), export.target)
        return _name(export), Step(words, captures=(Capture("target", "s/^name //p"),), silent=True)

    def move(self, export: Export, rename: Step, *, dataset: str, alias: str) -> tuple[Step, ...]:  # noqa: ARG002
        """The target would hold the zvol open; what is exported to somebody is not moved."""
        return (*self.suspend(export), rename)

    # -- what is there

    def inspect(self, guid: Word, target: Word) -> tuple[Query[Any], ...]:  # noqa: ARG002
        """All of it: what the node calls a target is not known before."""
        return self.inspect_all()

    def read(self, answers: Sequence[Any], path: str) -> Exported:
        """What there is on this path."""
        targets, initiators = answers
        return iscsitadm_rows.exported(targets, initiators, path)

    def inspect_all(self) -> tuple[Query[Any], ...]:
        """All targets and all local initiators."""
        return (
            Query(("iscsitadm", "list", "target", "-v"), iscsitadm_rows.parse_targets, silent=True),
            Query(("iscsitadm", "list", "initiator", "-v"), iscsitadm_rows.parse_initiators, silent=True),
        )

    def read_all(self, answers: Sequence[Any]) -> Everything:
        """In the order of ``inspect_all``."""
        return iscsitadm_rows.everything(*answers)

    # -- the node

    def admit(self, access_: Access, *, renew: bool = False) -> tuple[Step, ...]:
        """Local initiator and CHAP name; a secret the node has already is only set anew when asked for."""
        local, user, secret = _local(access_), access_.chap_user or "", access_.chap_secret
        known = Step(iscsitadm_access.admit(local, access_.initiator, user), silent=True)
        if secret is None or not user:
            return (known,)
        return known, Step(iscsitadm_secret.of_initiator(local, secret, renew=renew), silent=True)

    def examine(self) -> tuple[Query[Any], ...]:
        """See ``iscsitadm_fitness``."""
        return iscsitadm_fitness.questions()

    def findings(self, needs: Needs, answers: Sequence[Answer[Any]]) -> tuple[Check, ...]:
        """See ``iscsitadm_fitness``."""
        return iscsitadm_fitness.findings(needs, answers)

    def prepare(self, needs: Needs) -> tuple[Step, ...]:
        """The service, and the portal group where one is named."""
        return iscsitadm_fitness.prepare(needs)

    def rights(self, needs: Needs) -> str:
        """An RBAC profile, or sudo's list of programs."""
        return iscsitadm_fitness.rights(needs)


def _name(export: Export) -> Step:
    """Captures ``unit``, what the node calls the target; never empty, for with "" for a name all are listed."""
    found = Capture(_UNIT.name, iscsitadm_programs.LOCAL_NAME)
    return Step(iscsitadm_programs.local_name(export.target), captures=(found,))


def _list(unit: Word) -> Argv:
    """Nothing, and no failure, where there is no such target."""
    return ("iscsitadm", "list", "target", "-v", unit)


def _local(dom0: Access) -> str:
    """What the node calls a dom0. Raises InvalidValue."""
    if not _LOCAL.match(dom0.host_group) or dom0.host_group == NOBODY:
        raise InvalidValue(
            f"{shown(dom0.host_group)} is no name for a local initiator of iscsitadm: letters, digits and . : - only; "
            "set host_group in [dom0s.NAME] to such a name"
        )
    return dom0.host_group


ISCSITADM = Iscsitadm(
    Traits(
        layouts=("target-per-volume",),
        largest_lun=0,
        options=frozenset({"portal_group"}),
        guid="later",
        target="its",
        keeps_views=False,
        masks=True,
        grows_in_use=False,
    )
)
