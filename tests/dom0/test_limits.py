"""Old releases of Xen and what they cannot do, at the very edge of each rule."""

import pytest

from dom0.limits import GIB, TIB, Planned, parse_version, warnings


def _said(xen: str, vdev: str = "xvda", size: int = GIB, **more: object) -> str:
    return "; ".join(warnings(parse_version(xen), Planned(vdev, size, **more)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "untold", "words"),
    [
        (("3.0.3", "xvda", 2 * TIB), ("3.0.3", "xvda", 2 * TIB - 512), "2 TiB and more"),
        (("3.0.3", "xvda", 2 * TIB), ("3.0.4", "xvda", 2 * TIB), "2 TiB and more"),
        (("3.0.2", "hda", 128 * GIB + 512), ("3.0.2", "hda", 128 * GIB), "LBA48"),
        (("3.0.2", "hda", 129 * GIB), ("3.0.3", "hda", 129 * GIB), "LBA48"),
        (("3.1.2", "hda", 129 * GIB), ("3.2", "hda", 129 * GIB), "INT 13h"),
        (("3.2.1", "xvdq"), ("3.2.1", "xvdp"), "xvdp"),
        (("3.2.1", "xvdq"), ("3.3.0", "xvdq"), "xvdp"),
        (("3.0.4", "sda"), ("3.1", "sda"), "no SCSI ones"),
    ],
)
def test_the_edge(told: tuple[str, str, int], untold: tuple[str, str, int], words: str) -> None:
    """Warned on one side, silent on the other."""
    assert words in _said(*told)
    assert words not in _said(*untold)


@pytest.mark.parametrize(
    ("xen", "toolstack", "words"),
    [
        ("3.3.1", "xm", "takes only phy, file and tap"),
        ("4.5", "xl", "after 10 s"),
        ("4.6", "xl", "HVM guests and pygrub"),
    ],
)
def test_scripts(xen: str, toolstack: str, words: str) -> None:
    """Only where the disk is wired by one."""
    assert words in _said(xen, by_script=True, toolstack=toolstack)
    assert "" == _said(xen, toolstack=toolstack)


def test_today() -> None:
    """Nothing to say of Xen 4.17."""
    assert "" == _said("4.17.7", "xvdz", 16 * TIB, by_script=True)


@pytest.mark.parametrize(("text", "version"), [("4.17", (4, 17)), ("3.0.3-rc2", (3, 0, 3)), ("xen", ())])
def test_versions(text: str, version: tuple[int, ...]) -> None:
    """As people write them."""
    assert version == parse_version(text)
