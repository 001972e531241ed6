"""Disk lines and device paths of a Linux dom0, word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dom0.disk import Disk, by_path, login, xl

TARGET = "iqn.2026-11.org.xvmstore:web1.root.6a27e7400001"
V4, V6 = "192.0.2.10:3260", "[2001:db8::10]:3260"
BY_PATH = "/dev/disk/by-path"


def _disk(*, portal: str = V4, lun: int = 0, read_only: bool = False) -> Disk:
    return Disk("xvda", portal, TARGET, lun, read_only)


def test_xl() -> None:
    """Every field by its name."""
    line = (
        f"format=raw, vdev=xvda, access=rw, backendtype=phy, target={BY_PATH}/ip-192.0.2.10:3260-iscsi-{TARGET}-lun-0"
    )
    assert line == xl(_disk())
    assert line.replace("access=rw", "access=ro") == xl(_disk(read_only=True))


def test_target_stands_last() -> None:
    """``target=`` swallows the rest of the line, commas included, so nothing may come after it."""
    keys = [part.partition("=")[0] for part in xl(_disk(portal=V6)).split(", ")]
    assert ["format", "vdev", "access", "backendtype", "target"] == keys


def test_never_names_the_iscsi_script() -> None:
    """The stock block-iscsi ignores the LUN and logs out the session of a guest that runs."""
    assert "script" not in xl(_disk())


@pytest.mark.parametrize(
    ("portal", "address"),
    [
        (V4, "192.0.2.10:3260"),
        ("192.0.2.10:3261", "192.0.2.10:3261"),
        (V6, "2001:db8::10:3260"),
        ("[::1]:3260", "::1:3260"),
        ("san.example.com:3260", "san.example.com:3260"),
    ],
)
def test_by_path_has_no_brackets(portal: str, address: str) -> None:
    """udev takes the address as the session has it: IPv6 bare, the port behind one more colon."""
    assert f"{BY_PATH}/ip-{address}-iscsi-{TARGET}-lun-7" == by_path(_disk(portal=portal, lun=7))


def _linux_lun(lun: int) -> int:
    """The LUN as Linux counts it: scsilun_to_int() over the eight bytes that COMSTAR reports for a LUN.

    COMSTAR's REPORT LUNS puts the high and the low half of the number into the first two bytes, and no address
    method above them (lun_map.c, stmf_session_prepare_report_lun_data).
    """
    reported = bytes([lun >> 8, lun & 0xFF, 0, 0, 0, 0, 0, 0])
    return sum(((reported[i] << 8) | reported[i + 1]) << (i * 8) for i in range(0, 8, 2))


def _udev_lun(lun: int) -> str:
    """format_lun_number() of systemd's udev-builtin-path_id.c."""
    return f"lun-{lun}" if lun < 256 else f"lun-0x{lun & 0xFFFF:04x}{(lun >> 16) & 0xFFFF:04x}00000000"


@given(st.integers(0, 16383))
def test_luns_as_udev_names_them(lun: int) -> None:
    """Every LUN COMSTAR has, by the rules of COMSTAR, the kernel and udev one after the other."""
    assert by_path(_disk(lun=lun)).endswith(f"-{_udev_lun(_linux_lun(lun))}")


@pytest.mark.parametrize(
    ("lun", "name"),
    [
        (0, "0"),
        (1, "1"),
        (255, "255"),
        (256, "0x0100000000000000"),
        (4464, "0x1170000000000000"),
        (16383, "0x3fff000000000000"),
    ],
)
def test_luns(lun: int, name: str) -> None:
    """Decimal up to 255, then all eight bytes in hexadecimal."""
    assert by_path(_disk(lun=lun)).endswith(f"-lun-{name}")


def test_login() -> None:
    """A record, kept over a boot, and the login: no discovery, which would rewrite the CHAP settings."""
    node = f"iscsiadm -m node -T {TARGET} -p {V6}"
    assert (
        f"{node} -o new",
        f"{node} -o update -n node.startup -v automatic",
        f"{node} --login",
    ) == login(_disk(portal=V6))
