"""A small iSCSI initiator: reads and writes a LUN's blocks through libiscsi, for the demo and the tests.

It speaks to any target, over the network, as a dom0 would; it looks at no file of the node. The library is Debian's
libiscsi7 (libiscsi(7)), called through ctypes.
"""

import ctypes
import ctypes.util
from dataclasses import dataclass
from functools import cache
from types import TracebackType

_NORMAL_SESSION = 2
_GOOD = 0
_UNIT_ATTENTION_TRIES = 4


class InitiatorError(Exception):
    """A login or a command was refused; the text is libiscsi's."""


@dataclass(frozen=True, slots=True)
class Lun:
    """Where a LUN is and how to log in. ``portal`` is address:port."""

    portal: str
    target: str
    number: int
    initiator: str
    chap_user: str | None = None
    chap_secret: str | None = None


@cache
def library() -> ctypes.CDLL:
    """libiscsi. Raises InitiatorError when it is not installed."""
    name = ctypes.util.find_library("iscsi") or "libiscsi.so.7"
    try:
        lib = ctypes.CDLL(name)
    except OSError as error:
        raise InitiatorError(f"libiscsi is missing: install Debian's libiscsi7 ({error})") from error
    for function in ("iscsi_create_context", "scsi_cdb_read16", "iscsi_scsi_command_sync", "iscsi_write16_sync"):
        getattr(lib, function).restype = ctypes.c_void_p
    lib.iscsi_readcapacity16_sync.restype = lib.scsi_datain_unmarshall.restype = ctypes.c_void_p
    lib.iscsi_get_error.restype = ctypes.c_char_p
    lib.scsi_cdb_read16.argtypes = [ctypes.c_uint64, ctypes.c_uint32, *[ctypes.c_int] * 6]
    lib.iscsi_write16_sync.argtypes = [
        ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint32, *[ctypes.c_int] * 6
    ]  # fmt: skip
    return lib


class Session:
    """A login to one LUN that lasts until it is closed. Raises InitiatorError when it is refused."""

    def __init__(self, lun: Lun) -> None:
        self._lib = library()
        self._number = lun.number
        self._context = ctypes.c_void_p(self._lib.iscsi_create_context(lun.initiator.encode()))
        self._lib.iscsi_set_targetname(self._context, lun.target.encode())
        self._lib.iscsi_set_session_type(self._context, _NORMAL_SESSION)
        self._lib.iscsi_set_noautoreconnect(self._context, 1)
        self._lib.iscsi_set_timeout(self._context, 20)
        if lun.chap_user and lun.chap_secret:
            user, secret = lun.chap_user.encode(), lun.chap_secret.encode()
            self._lib.iscsi_set_initiator_username_pwd(self._context, user, secret)
        if self._lib.iscsi_full_connect_sync(self._context, lun.portal.encode(), lun.number) != 0:
            said = self._error()
            self.close()
            raise InitiatorError(said)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Log out."""
        if self._context:
            self._lib.iscsi_logout_sync(self._context)
            self._lib.iscsi_destroy_context(self._context)
            self._context = ctypes.c_void_p(None)

    def capacity(self) -> tuple[int, int]:
        """The LUN's size in bytes and its block size, as READ CAPACITY(16) tells them."""
        for _ in range(_UNIT_ATTENTION_TRIES):
            # A unit attention ("capacity data has changed") is reported once, in place of an answer.
            task = self._lib.iscsi_readcapacity16_sync(self._context, self._number)
            if task and ctypes.c_int.from_address(task).value == _GOOD:
                data = self._lib.scsi_datain_unmarshall(ctypes.c_void_p(task))
                last, block = ctypes.c_uint64.from_address(data).value, ctypes.c_uint32.from_address(data + 8).value
                self._lib.scsi_free_scsi_task(ctypes.c_void_p(task))
                return (last + 1) * block, block
        raise InitiatorError(self._error())

    def write(self, offset: int, data: bytes) -> None:
        """Write whole blocks at a byte offset."""
        block = self.capacity()[1]
        task = self._lib.iscsi_write16_sync(
            self._context, self._number, offset // block, data, len(data), block, 0, 0, 0, 0, 0
        )
        self._must_be_good(task)

    def read(self, offset: int, length: int) -> bytes:
        """Read whole blocks at a byte offset."""
        block = self.capacity()[1]
        buffer = ctypes.create_string_buffer(length)
        task = ctypes.c_void_p(self._lib.scsi_cdb_read16(offset // block, length, block, 0, 0, 0, 0, 0))
        self._lib.scsi_task_add_data_in_buffer(task, length, buffer)
        self._must_be_good(self._lib.iscsi_scsi_command_sync(self._context, self._number, task, None))
        return buffer.raw

    def _must_be_good(self, task: int | None) -> None:
        status = ctypes.c_int.from_address(task).value if task else -1
        if task:
            self._lib.scsi_free_scsi_task(ctypes.c_void_p(task))
        if status != _GOOD:
            raise InitiatorError(self._error())

    def _error(self) -> str:
        return str(self._lib.iscsi_get_error(self._context).decode(errors="replace"))
