"""What a real Xen 4.17 printed, and what older toolstacks print, as our parsers read it."""

import pytest

from dom0 import block_script, toolstack, xenstore
from dom0.toolstack import Domain, XenInfo
from remote.errors import UnexpectedOutput
from tests.embedded.replay import cases


def _said(file: str, command: str) -> str:
    return next(case for case in cases(f"../{file}") if case.command == command).expected.stdout


def _xen(command: str) -> str:
    return _said("xen/xl-4.17", command)


def test_vbds() -> None:
    """Two disks that a guest uses, and one whose hotplug script has failed, with its reason."""
    root, data, failed = xenstore.parse(_xen("xenstore-ls -f /local/domain/0/backend/vbd"))

    assert [("xvda", 51712, True, "w", (1 << 30) // 512), ("xvdb", 51728, True, "w", (2 << 30) // 512)] == [
        (one.vdev, one.devid, one.connected, one.mode, one.sectors) for one in (root, data)
    ]
    assert root.domid == data.domid == failed.domid > 0
    assert (32, "/dev/sd") == (len(root.params), root.physical[:7])
    assert ("xvdc", 2, None) == (failed.vdev, failed.state, failed.sectors)
    assert failed.error.startswith(f"volume {'f' * 32} is not known on this host")


def test_no_vbds_at_all() -> None:
    """xenstore-ls fails then, in words the question knows."""
    none = next(case for case in cases("../xen/xl-4.17") if case.command.endswith("/none")).expected
    assert (1, True) == (none.exit, any(words in none.stderr for words in xenstore.vbds().absent))


def test_domains() -> None:
    """Without dom0 itself."""
    (found,) = toolstack.parse_table(_xen("xl list"))
    assert ("web1", True, 6) == (found.name, found.domid > 0, len(found.state))


def test_domains_of_xend() -> None:
    """xm also lists guests that do not run; their number is missing."""
    text = (
        "Name                                        ID   Mem VCPUs      State   Time(s)\n"
        "Domain-0                                     0  3584     2     r-----    561.9\n"
        "web1                                         5   512     1     -b----     12.3\n"
        "idle                                             512     1               0.0\n"
    )
    assert (Domain("web1", 5, "-b----"),) == toolstack.parse_table(text)
    with pytest.raises(UnexpectedOutput, match="Error: Unable to connect to xend"):
        toolstack.parse_table(text + "Error: Unable to connect to xend: Connection refused\n")


def test_domains_of_libvirt() -> None:
    """virsh list, of which Domain-0 is no guest."""
    text = " Id   Name       State\n--------------------------\n 0    Domain-0   running\n 3    web1       running\n\n"
    assert (Domain("web1", 3, "running"),) == toolstack.parse_virsh(text)
    with pytest.raises(UnexpectedOutput):
        toolstack.parse_virsh("error: failed to connect\n")


def test_info() -> None:
    """The release, and what it can do for guests."""
    found = toolstack.parse_info(_xen("xl info"))
    assert (4, 17) == found.version[:2]
    assert "xen-3.0-x86_64" in found.caps
    assert found.virt_caps is not None
    assert "pv" in found.virt_caps


def test_info_of_old_and_of_libvirt() -> None:
    """Xen 3.1.2 of SXCE had no virt_caps; virsh says it in one line."""
    old = "xen_major              : 3\nxen_minor              : 1\nxen_extra              : .2-xvm\nxen_caps : x\n"
    assert XenInfo((3, 1, 2), ("x",), None) == toolstack.parse_info(old)
    assert (4, 11, 4) == toolstack.parse_info("Using API: Xen 9.0.0\nRunning hypervisor: Xen 4.11.4\n").version
    with pytest.raises(UnexpectedOutput):
        toolstack.parse_info("bash: xl: command not found\n")


def test_domid() -> None:
    """The number as the capture wants it; nothing where the guest does not run."""
    assert _xen("xl domid web1").strip().isdecimal()
    assert "" == _xen("xl domid nobody")


def test_show() -> None:
    """Uses by vbd, sessions by target."""
    found = block_script.parse(_xen("/etc/xen/scripts/block-xvmstore show"))
    assert [51712, 51728] == [int(use.name.rpartition("_")[2]) for use in found.uses]
    assert [("LOGGED_IN", "10.77.0.1:3260")] * 2 == [(login.state, login.portal) for login in found.logins]
    with pytest.raises(UnexpectedOutput):
        block_script.parse("something else\n")


@pytest.mark.parametrize("text", ["nonsense\n", '/local/domain/0/backend/vbd/1/51712/state = "four"\n'])
def test_xenstore_is_read_or_complained_of(text: str) -> None:
    """No line is passed over."""
    with pytest.raises(UnexpectedOutput):
        xenstore.parse(text)
