"""beadm and bectl: what they are given, and what is read of their lists."""

from collections.abc import Callable

import pytest

from remote.errors import UnexpectedOutput
from storage import boot_environments
from storage.boot_environments import BEADM, BECTL, BootEnvironment, parse_beadm, parse_bectl

UUID = "ac0d5ae2-6a4c-4e2b-8c6a-6c3b3f9a1f11"


def test_beadm_list() -> None:
    """The one that runs, one for the next boot only, one that is just there."""
    text = (
        f"omnios;{UUID};NR;/;2518548480;static;1764000000\nnew;{UUID};T;;94208;static;1763000000\nold;;-;/mnt;8;x;1\n"
    )

    assert (
        BootEnvironment("omnios", active=True, next=True, mountpoint="/"),
        BootEnvironment("new", active=False, next=True, mountpoint=None),
        BootEnvironment("old", active=False, next=False, mountpoint="/mnt"),
    ) == parse_beadm(text)


def test_bectl_list() -> None:
    """The same from FreeBSD; its spaces are inside fields."""
    text = "default\tN\t/\t2.10G\t2026-11-01 09:12\n14.1-before\tR\t-\t8K\t2026-11-20 21:40\n"

    assert (
        BootEnvironment("default", active=True, next=False, mountpoint="/"),
        BootEnvironment("14.1-before", active=False, next=True, mountpoint=None),
    ) == parse_bectl(text)


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (parse_beadm, "default\tNR\t/\t2.10G\t2026-11-01 09:12"),
        (parse_bectl, f"omnios;{UUID};NR;/;2518548480;static;1764000000"),
        (parse_bectl, "default\tactive\t/\t2.10G\t2026-11-01 09:12"),
        (parse_bectl, "\tNR\t/\t2.10G\t2026-11-01 09:12"),
        (parse_bectl, ""),
    ],
)
def test_what_is_no_list_is_refused(parse: Callable[[str], object], line: str) -> None:
    """The other tool's list, words for flags, no name, an empty line."""
    with pytest.raises(UnexpectedOutput, match=r"list -H` printed"):
        parse(line + "\n")


def test_commands() -> None:
    """Neither asks anything, for nobody is there to answer."""
    assert ("beadm", "create", "xvm-1") == BEADM.create("xvm-1")
    assert ("bectl", "create", "xvm-1") == BECTL.create("xvm-1")
    assert ("beadm", "destroy", "-F", "xvm-1") == BEADM.destroy("xvm-1")
    assert ("bectl", "destroy", "-o", "xvm-1") == BECTL.destroy("xvm-1")
    assert [("beadm", "list", "-H"), ("bectl", "list", "-H")] == [BEADM.list, BECTL.list]


@pytest.mark.parametrize(
    ("there", "tool"), [({"beadm"}, BEADM), ({"bectl"}, BECTL), ({"beadm", "bectl"}, BECTL), (set(), None)]
)
def test_which_tool(there: set[str], tool: boot_environments.Tool | None) -> None:
    """bectl where both are: FreeBSD's beadm is another program than illumos's."""
    assert tool == boot_environments.tool(lambda name: f"/sbin/{name}" if name in there else None)
