"""SCSI device names: how stmfadm and itadm check and spell them (libstmf stmfDevidFromIscsiName, libiscsit)."""

import re

LONGEST = 223
_IQN = re.compile(r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9][a-z0-9.:-]*")
_HEX16 = re.compile(r"[0-9A-Fa-f]{16}")


def canonical(name: str) -> str | None:
    """The name as the tools print it, None when it is none: iqn. folds to lower case, eui. and wwn. to upper."""
    if name.startswith("iqn."):
        folded = name.lower()
        return folded if len(name) <= LONGEST and _IQN.fullmatch(folded) else None
    prefix, _, digits = name.partition(".")
    if prefix in {"eui", "wwn"} and _HEX16.fullmatch(digits):
        return f"{prefix}.{digits.upper()}"
    return None


def iscsi(name: str) -> tuple[str | None, str]:
    """The canonical iSCSI name or None, and the words itadm refuses it with."""
    if not name.startswith(("iqn.", "eui.")):
        return None, f"Invalid name {name}\n"
    return canonical(name), f"Invalid iSCSI name {name}\n"
