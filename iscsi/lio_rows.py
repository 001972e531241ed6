"""Reads what ``lio_programs.look`` prints: rows of fields with a TAB between them, "-" for nothing. Pure."""

import re
from dataclasses import dataclass, replace

from iscsi.backend import Everything, Exported
from iscsi.model import Group, LogicalUnit, Session, Target, TargetSetup, View
from remote.errors import UnexpectedOutput

UNIT_FIELDS = ("name", "kind", "serial", "enabled", "size", "read_only", "device")
FIELDS = {
    "unit": UNIT_FIELDS,
    "target": ("name", "tag", "enabled", "chap", "everybody"),
    "portal": ("target", "address"),
    "lun": ("target", "number", "unit"),
    "view": ("target", "initiator", "lun", "unit", "read_only", "chap_user"),
    "session": ("target", "initiator", "through"),
}
_COMMAND = "lio-look"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an initiator sees of a target. ``unit`` None: the LU has gone; ``lun`` None: nothing yet."""

    target: str
    initiator: str
    lun: int | None
    unit: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """All of a listing. ``luns`` are (target, number, LU's name)."""

    units: tuple[LogicalUnit, ...]
    setups: tuple[TargetSetup, ...]
    online: frozenset[str]
    open_to_all: frozenset[str]
    luns: tuple[tuple[str, int, str | None], ...]
    seen: tuple[Seen, ...]
    sessions: tuple[Session, ...]

    def targets(self) -> tuple[Target, ...]:
        """Targets and who is logged in."""
        return tuple(
            Target(
                one.name,
                "Online" if one.name in self.online else "Offline",
                tuple(session for session in self.sessions if session.target == one.name),
            )
            for one in self.setups
        )

    def groups(self) -> tuple[Group, ...]:
        """Each initiator as a group of its own."""
        return tuple(Group(name, (name,)) for name in sorted({one.initiator for one in self.seen}))

    def views(self, unit: LogicalUnit) -> tuple[View, ...]:
        """Who sees an LU."""
        found = [(one.initiator, one.target, one.lun) for one in self.seen if one.unit == unit.alias]
        everybody = [
            (None, target, number)
            for target, number, name in self.luns
            if name == unit.alias and target in self.open_to_all
        ]
        return tuple(View(index, *facts) for index, facts in enumerate([*found, *everybody]))

    def waiting(self, target: str) -> tuple[View, ...]:
        """Who saw an LU that has gone from a target: those of an empty place, and all that a bare target lets in."""
        bare = not any(name for where, _, name in self.luns if where == target)
        left = [one for one in self.seen if one.target == target and one.unit is None and (one.lun is not None or bare)]
        return tuple(View(index, one.initiator, target, one.lun) for index, one in enumerate(left))

    def exported(self, unit: LogicalUnit | None) -> Exported:
        """One volume's export, of a listing of its target only."""
        views = self.views(unit) if unit else ()
        target = next(iter(self.targets()), None)
        waiting = self.waiting(target.name) if target else ()
        if unit and any(one.read_only for one in self.seen if one.unit == unit.alias):
            unit = replace(unit, read_only=True)
        return Exported(unit, views, target, next(iter(self.setups), None), self.groups(), waiting)

    def everything(self) -> Everything:
        """All that the node exports."""
        views = {unit.guid: self.views(unit) for unit in self.units}
        waiting = {one.name: self.waiting(one.name) for one in self.setups}
        return Everything(self.units, views, self.targets(), self.groups(), waiting)


def parse_look(text: str) -> Rows:
    """Read a listing; a row nobody here knows is an error.

    unit	xvm-30ec64e0b007bae9d097d7a1b	iblock	30ec64e0b007bae9d097d7a1b	1	21474836480	0	/dev/zvol/tank/x
    view	iqn.2026-11.org.xvmstore:web1	iqn.1993-08.org.debian:01:ab	0	xvm-30ec64e0b007bae9d097d7a1b	0	xen1
    """
    rows: dict[str, list[dict[str, str | None]]] = {kind: [] for kind in FIELDS}
    for line in text.splitlines():
        kind, *values = line.split("\t")
        names = FIELDS.get(kind, ())
        if not names or len(values) != len(names):
            raise UnexpectedOutput(_COMMAND, line, f"a row of {', '.join(FIELDS)}")
        rows[kind].append({name: None if value == "-" else value for name, value in zip(names, values, strict=True)})
    return _rows(rows)


def _rows(rows: dict[str, list[dict[str, str | None]]]) -> Rows:
    targets = rows["target"]
    portals = [(row["target"], _text(row, "address")) for row in rows["portal"]]
    return Rows(
        units=tuple(_unit(row) for row in rows["unit"]),
        setups=tuple(_setup(row, tuple(at for of, at in portals if of == row["name"])) for row in targets),
        online=frozenset(_text(row, "name") for row in targets if _flag(row, "enabled")),
        open_to_all=frozenset(_text(row, "name") for row in targets if _flag(row, "everybody")),
        luns=tuple((_text(row, "target"), _number(row, "number"), row["unit"]) for row in rows["lun"]),
        seen=tuple(_seen(row) for row in rows["view"]),
        sessions=tuple(Session(_text(row, "target"), _text(row, "initiator"), None, None) for row in rows["session"]),
    )


def guid_of(serial: str) -> str:
    """What LIO tells initiators of a unit serial number (spc_gen_naa_6h_vendor_specific in target_core_spc.c)."""
    digits = re.sub("[^0-9a-f]", "", serial.lower())
    return f"6001405{digits[:25]:0<25}".upper()


def _unit(row: dict[str, str | None]) -> LogicalUnit:
    return LogicalUnit(
        guid=guid_of(row["serial"] or ""),
        state="Online" if _flag(row, "enabled") else "Offline",
        alias=_text(row, "name"),
        path=row["device"],
        size=_number(row, "size") if row["size"] is not None else None,
        serial=row["serial"],
        read_only=_flag(row, "read_only") if row["read_only"] is not None else None,
    )


def _setup(row: dict[str, str | None], portals: tuple[str, ...]) -> TargetSetup:
    auth = "chap" if _flag(row, "chap") else "none"
    return TargetSetup(
        _text(row, "name"),
        alias=None,
        auth=auth,
        auth_is_default=False,
        chap_user=None,
        has_chap_secret=False,
        portal_groups=portals,
    )


def _seen(row: dict[str, str | None]) -> Seen:
    lun = _number(row, "lun") if row["lun"] is not None else None
    return Seen(_text(row, "target"), _text(row, "initiator"), lun, row["unit"], row["read_only"] == "1")


def _text(row: dict[str, str | None], name: str) -> str:
    value = row[name]
    if value is None:
        raise UnexpectedOutput(_COMMAND, str(row), f"a value for {name}")
    return value


def _number(row: dict[str, str | None], name: str) -> int:
    value = _text(row, name)
    if not value.isdecimal():
        raise UnexpectedOutput(_COMMAND, value, f"a number for {name}")
    return int(value)


def _flag(row: dict[str, str | None], name: str) -> bool:
    value = _text(row, name)
    if value not in {"0", "1"}:
        raise UnexpectedOutput(_COMMAND, value, f"0 or 1 for {name}")
    return value == "1"
