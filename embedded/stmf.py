"""The error codes of libstmf and the door to the kernel's /dev/stmf.

Codes are libstmf.h's: some tools print them in decimal, some exit with their low byte.
"""

from enum import IntEnum

from embedded.model import STMF, Node


class Code(IntEnum):
    """libstmf.h. ``ERROR`` is what libstmf returns for a kernel answer that it cannot translate."""

    ERROR = 0x8000
    BUSY = 0x8001
    NOT_FOUND = 0x8002
    MEMBER_NOT_FOUND = 0x8003
    EXISTS = 0x8004
    PERM = 0x8005
    INVALID_ARG = 0x8007
    LUN_IN_USE = 0x8008
    VIEW_CONFLICT = 0x8009
    SERVICE_NOT_FOUND = 0x800B
    INVALID_HG = 0x800E
    INVALID_TG = 0x800F
    DATA_STALE = 0x8013
    FILE_IN_USE = 0x8100
    BLOCK_SIZE = 0x8101
    GUID_IN_USE = 0x8102
    META_FILE = 0x8103
    DATA_FILE = 0x8104
    TOO_SMALL = 0x8108
    # The values below never show: their order in libstmf.h was not looked up.
    INVALID_LENGTH = 0x8201
    BAD_FORMAT = 0x8202
    SERVICE_OFFLINE = 0x8203
    SERVICE_ONLINE = 0x8204
    TARGET_ONLINE = 0x8205
    GROUP_IN_USE = 0x8206
    GROUP_NOT_FOUND = 0x8207


class StmfError(Exception):
    """A libstmf call that failed."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


TEXTS = {
    Code.BUSY: "resource busy",
    Code.PERM: "permission denied",
    Code.SERVICE_NOT_FOUND: "STMF service not found",
    Code.SERVICE_OFFLINE: "STMF service is offline",
    Code.SERVICE_ONLINE: "STMF service must be offline",
    Code.TARGET_ONLINE: "STMF target must be offline",
    Code.BLOCK_SIZE: "invalid block size",
    Code.GUID_IN_USE: "guid in use",
    Code.META_FILE: "meta file error",
    Code.DATA_FILE: "data file error",
    Code.TOO_SMALL: "file size invalid",
    Code.LUN_IN_USE: "LUN already in use",
    Code.VIEW_CONFLICT: "view entry exists",
    Code.INVALID_HG: "invalid host group",
    Code.INVALID_TG: "invalid target group",
}

# What every tool words alike whatever it was doing; any other code belongs to the operation.
GENERAL = frozenset({Code.BUSY, Code.PERM, Code.SERVICE_NOT_FOUND})

_OPENING = {
    "stmf-eacces": Code.PERM,
    "stmf-eperm": Code.PERM,
    "stmf-ebusy": Code.BUSY,
    "driver-missing": Code.ERROR,
}


def open_device(node: Node) -> None:
    """What opening /dev/stmf does first in every libstmf call."""
    for condition, code in _OPENING.items():
        if condition in node.conditions:
            raise StmfError(code)


def open_store(node: Node) -> None:
    """Reach the persistent store too: the SMF properties of system/stmf."""
    open_device(node)
    if "no-smf-service" in node.conditions or STMF not in node.services:
        raise StmfError(Code.SERVICE_NOT_FOUND)


def guid_of(text: str) -> str | None:
    """A well-formed LU name in upper case."""
    if len(text) != 32 or any(digit not in "0123456789abcdefABCDEF" for digit in text):
        return None
    return text.upper()
