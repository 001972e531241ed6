"""Xen's own parser of disk lines (xlu_disk_parse of libxlutil) reads what we print, field by field."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dom0.disk import Disk, by_path, xl, xl_by_script
from storage.names import VDEV

VERSION = "4.17"
PHY, RAW = 1, 4


class _XenDisk(ctypes.Structure):
    """The head of libxl_device_disk (_libxl_types.h of Xen 4.17), and room for the rest."""

    _fields_ = (
        ("backend_domid", ctypes.c_uint32),
        ("backend_domname", ctypes.c_char_p),
        ("pdev_path", ctypes.c_char_p),
        ("vdev", ctypes.c_char_p),
        ("backend", ctypes.c_int),
        ("format", ctypes.c_int),
        ("script", ctypes.c_char_p),
        ("removable", ctypes.c_int),
        ("readwrite", ctypes.c_int),
        ("is_cdrom", ctypes.c_int),
        ("rest", ctypes.c_char * 1024),
    )


class _Xen:
    """The parser, with its complaints in a file."""

    def __init__(self, report: Path) -> None:
        self._light = ctypes.CDLL(f"libxenlight.so.{VERSION}", mode=ctypes.RTLD_GLOBAL)
        self._util = ctypes.CDLL(f"libxlutil.so.{VERSION}")
        self._libc = ctypes.CDLL(None)
        self._libc.fdopen.restype = ctypes.c_void_p
        self._libc.fclose.argtypes = [ctypes.c_void_p]
        self._util.xlu_cfg_init.restype = ctypes.c_void_p
        self._util.xlu_cfg_init.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._util.xlu_cfg_destroy.argtypes = [ctypes.c_void_p]
        self._util.xlu_disk_parse.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self._stream = self._libc.fdopen(os.open(report, os.O_WRONLY | os.O_CREAT), b"w")
        self._config = self._util.xlu_cfg_init(self._stream, b"test")

    def parse(self, line: str) -> _XenDisk | None:
        """The line as Xen understands it; None when it does not."""
        disk = _XenDisk()
        self._light.libxl_device_disk_init(ctypes.byref(disk))
        specs = (ctypes.c_char_p * 1)(line.encode())
        status = self._util.xlu_disk_parse(self._config, 1, specs, ctypes.byref(disk))
        return disk if status == 0 else None

    def close(self) -> None:
        """Give the parser and its file back."""
        self._util.xlu_cfg_destroy(self._config)
        self._libc.fclose(self._stream)


@pytest.fixture(scope="module")
def xen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Xen]:
    """The real parser, where Xen's libraries are installed."""
    try:
        parser = _Xen(tmp_path_factory.mktemp("xen") / "report")
    except OSError as error:
        pytest.skip(f"needs libxlutil {VERSION} (Debian: libxenmisc{VERSION}): {error}")
    yield parser
    parser.close()


def _understood(xen: _Xen, line: str, disk: Disk, *, device: str | None, script: bytes | None) -> bool:
    found = xen.parse(line)
    assert found is not None
    assert device == found.pdev_path.decode()
    assert disk.vdev == found.vdev.decode()
    assert (PHY, RAW, int(not disk.read_only)) == (found.backend, found.format, found.readwrite)
    assert (script, 0, 0) == (found.script, found.removable, found.is_cdrom)
    return True


_DISKS = st.builds(
    Disk,
    vdev=st.from_regex(VDEV, fullmatch=True),
    portal=st.sampled_from(["192.0.2.10:3260", "[2001:db8::10]:3260", "[::1]:65535", "san.example.com:3260"]),
    target=st.from_regex(r"iqn\.20[0-9]{2}-1[0-2]\.[a-z0-9][a-z0-9.-]{0,60}(:[a-z0-9.:-]{1,120})?", fullmatch=True),
    lun=st.integers(0, 16383),
    read_only=st.booleans(),
    guid=st.from_regex(r"6[0-9A-F]{31}", fullmatch=True),
)


@given(_DISKS)
def test_xen_reads_every_line_we_print(xen: _Xen, disk: Disk) -> None:
    """Device or id, name in the guest, access, back end and script come out as they went in."""
    assert _understood(xen, xl(disk), disk, device=by_path(disk), script=None)
    assert _understood(xen, xl_by_script(disk), disk, device=disk.id, script=b"block-xvmstore")


@pytest.mark.parametrize(
    "line",
    ["", "format=raw, vdev=xvda, access=rx, backendtype=phy, target=/dev/x", "format=raw, nonsense=1, target=/dev/x"],
)
def test_xen_refuses_what_is_wrong(xen: _Xen, line: str) -> None:
    """The oracle can say no."""
    assert xen.parse(line) is None


def test_target_swallows_the_rest(xen: _Xen) -> None:
    """Why it stands last: what comes after it becomes part of the device."""
    found = xen.parse("format=raw, vdev=xvda, target=/dev/x, access=ro")
    assert found is not None
    assert (b"/dev/x, access=ro", 1) == (found.pdev_path, found.readwrite)
