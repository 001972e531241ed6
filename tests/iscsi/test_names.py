"""iSCSI identities: what COMSTAR takes, in the spelling it lists, and unique."""

import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi import names
from iscsi.comstar import STMFADM_COMSTAR
from iscsi.lio import LIO
from remote.errors import InvalidValue
from tests.captured_cases import stderr
from tests.hostile import HOSTILE, is_one_short_line

PREFIX = "iqn.2026-11.org.xvmstore"
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
GUIDS = st.from_regex(r"600144F0[0-9A-F]{24}", fullmatch=True)
TEXT = st.text(max_size=80) | st.text(alphabet=string.printable, max_size=80) | st.sampled_from(HOSTILE)
# RFC 3720's form in the alphabet of COMSTAR (illumos, iscsi name check of itadm and stmfadm).
VALID = re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9.:-]+")


def _refused(check: Callable[[str], object], text: str) -> bool:
    with pytest.raises(InvalidValue) as error:
        check(text)
    return is_one_short_line(error)


def _user(text: str) -> str:
    return names.chap_user(text)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("check", [names.iqn, names.guid, names.group])
def test_refuses_hostile_words(check: Callable[[str], object], text: str) -> None:
    """Whatever could mean something to a shell, a path or a terminal."""
    assert _refused(check, text)


@pytest.mark.parametrize("text", HOSTILE)
def test_refuses_hostile_ends_of_an_iscsi_name(text: str) -> None:
    """The part after the colon is checked as well."""
    unlike = text if len(text) > 250 else f"_{text}"
    assert _refused(names.iqn, f"{PREFIX}:{unlike}")


@given(TEXT)
def test_takes_nothing_but_iscsi_names(text: str) -> None:
    """Whatever comes back is a name COMSTAR takes."""
    try:
        found = names.iqn(f"{PREFIX}:{text}")
    except InvalidValue:
        return
    assert VALID.fullmatch(found)
    assert found == f"{PREFIX}:{text}".lower()


@pytest.mark.parametrize(
    "text",
    [
        "vm4",
        "iqn.26-11.com.example:vm4",
        "iqn.2026-13.com.example:vm4",
        "iqn.2026-00.com.example:vm4",
        "iqn.2026-11.com.example:tank_vm4",
        "iqn.2026-11.com.example:",
        "iqn.2026-11.",
        "iqn.2026-11.com.example:" + "v" * 200,
        "eui.02004567a425678",
        "eui.02004567a425678g",
        "eui.02004567a42567\ufb00",
        "EUI.02004567A425678D",
        "iqn.2026-11.com.example:\u212a",
        "naa.600144f0",
        "wwn.2100001b32abcdef",
    ],
)
def test_refuses_what_comstar_refuses(text: str) -> None:
    """The trap of the underscore, the bad dates, the 224th character (recorded), and look-alike letters."""
    assert _refused(names.iqn, text)


def test_the_underscore_is_what_itadm_refuses() -> None:
    """The recorded refusal this check is there to come before."""
    said = stderr("itadm-target", "create-target with underscore")
    assert said.startswith("Invalid iSCSI name iqn.2026-11.com.example:tank_vm4\n")


def test_the_longest_name() -> None:
    """223 characters, as recorded."""
    longest = "iqn.2026-11.com.example:" + "v" * 199
    assert longest == names.iqn(longest)


def test_spells_names_as_comstar_lists_them() -> None:
    """stmfadm lists iqn. in lower case and eui. digits in upper case, whatever was typed; comparisons rely on it."""
    assert "iqn.2026-11.com.example:host" == names.iqn("iqn.2026-11.COM.Example:Host")
    assert "iqn.2026-11.com.example:host" == names.iqn("IQN.2026-11.COM.EXAMPLE:HOST")
    assert "eui.02004567A425678D" == names.iqn("eui.02004567a425678d")


def test_guids_are_compared_in_upper_case() -> None:
    """stmfadm prints them in upper case, its errors and sbdadm in lower case."""
    assert "600144F00C2A6D0000006A27E7400001" == names.guid("600144f00c2a6d0000006a27e7400001")


@pytest.mark.parametrize(
    "text", ["500144F00C2A6D0000006A27E7400001", "600144F0", "6" * 31, "6" * 33, "Z" * 32, "6" * 30 + "\ufb00"]
)
def test_refuses_what_is_no_guid(text: str) -> None:
    """32 hexadecimal digits, NAA 6."""
    assert _refused(names.guid, text)


def test_new_guids_are_valid_and_new() -> None:
    """NAA 6 with the target program's company number, never the same twice."""
    for backend, prefix in ((STMFADM_COMSTAR, "600144F0"), (LIO, "6001405")):
        made = {backend.new_guid() for _ in range(200)}
        assert 200 == len(made)
        assert made == {names.guid(guid) for guid in made}
        assert {prefix} == {guid[: len(prefix)] for guid in made}


def test_serial() -> None:
    """The random end of the GUID, in lower case; LIO makes the GUID of it, so there it is all that LIO leaves to us."""
    assert "00006a27e7400001" == STMFADM_COMSTAR.serial("600144F00C2A6D0000006A27E7400001")
    assert "c2a6d0000006a27e740000112" == LIO.serial("6001405C2A6D0000006A27E740000112")


@given(WORDS, WORDS, GUIDS)
def test_targets_are_valid(guest: str, disk: str, guid: str) -> None:
    """Every volume name gives an iSCSI name that COMSTAR takes as it is."""
    found = names.target(PREFIX, guest, disk, unit=guid)
    assert VALID.fullmatch(found)
    assert len(found) <= 223
    assert found == names.iqn(found)


@given(WORDS, WORDS, GUIDS, st.integers(1, 180))
def test_targets_are_valid_under_long_prefixes(guest: str, disk: str, guid: str, more: int) -> None:
    """A long prefix shortens the readable part, never the unique one."""
    found = names.target(PREFIX + "x" * more, guest, disk, unit=guid)
    assert len(found) <= 223
    assert found.endswith("." + guid[-12:].lower())


@given(WORDS, WORDS, GUIDS, GUIDS)
def test_targets_differ_for_different_units(guest: str, disk: str, one: str, other: str) -> None:
    """Trap: names that differ only in case or ``_`` fold to one; the GUID keeps the targets apart."""
    alike = (guest.swapcase(), disk.replace("_", "-"))
    found = names.target(PREFIX, guest, disk, unit=one), names.target(PREFIX, *alike, unit=other)
    assert (one[-12:] == other[-12:]) == (found[0][-12:] == found[1][-12:])
    assert one[-12:] == other[-12:] or found[0] != found[1]


def test_targets_are_readable() -> None:
    """An example, with all that has to be replaced."""
    found = names.target(PREFIX, "Web_1", "root", unit="600144F00C2A6D0000006A27E7400001")
    assert "iqn.2026-11.org.xvmstore:web-1.root.6a27e7400001" == found


@pytest.mark.parametrize("number", [0, 1, 255, 256, 16383])
def test_takes_luns(number: int) -> None:
    """What COMSTAR's 14 bits hold."""
    assert number == names.lun(number)


@pytest.mark.parametrize("number", [-1, 16384, 65535, 65536, 70000, 2**32])
def test_refuses_luns_that_mean_others(number: int) -> None:
    """Trap: stmfadm takes 70000 for LUN 4464 without a word."""
    assert _refused(lambda text: names.lun(int(text)), str(number))


@given(st.sets(st.integers(0, 16383), max_size=300))
def test_free_luns_are_free(taken: set[int]) -> None:
    """1 to 255, and none that is taken."""
    found = names.free_lun(tuple(taken))
    assert 1 <= found <= 255
    assert found not in taken


def test_no_free_lun() -> None:
    """A full target is a refusal, and the last free LUN is found."""
    assert 77 == names.free_lun([n for n in range(256) if n != 77])
    with pytest.raises(InvalidValue, match="no LUN from 1 to 255 is free"):
        names.free_lun(range(256))


@pytest.mark.parametrize("text", ["x" * 12, "x" * 255, "!~'\"$`\\;&|<>*?#%@/-"])
def test_takes_chap_secrets(text: str) -> None:
    """12 to 255 printable characters, whatever they mean to a shell."""
    assert text == names.chap_secret(text, "file")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 11,
        "x" * 256,
        "with a blank in it",
        "two\nlines-of-secret",
        "tab\there-secret",
        "ümlautümlaut",
        "secret-secret\n",
        "nul\x00secret-se",
    ],
)
def test_refuses_chap_secrets_without_showing_them(text: str) -> None:
    """The message names the file, never the secret."""
    with pytest.raises(InvalidValue) as error:
        names.chap_secret(text, "/etc/xvmstore/secret")
    assert str(error.value).startswith("/etc/xvmstore/secret: ")
    assert is_one_short_line(error)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize("text", ["dom0a", "iqn.2026-11.com.example:a", "a@b", "x" * 223])
def test_takes_chap_users(text: str) -> None:
    """Letters, digits and . _ : @ -"""
    assert text == names.chap_user(text)


@pytest.mark.parametrize("text", sorted(set(HOSTILE) - {"a@b"}))
def test_refuses_hostile_chap_users(text: str) -> None:
    """Options, blanks, control characters."""
    assert _refused(_user, text)


@pytest.mark.parametrize("text", ["dom0", "iqn.2026-11.com.example:shared", "a_b", "x" * 223])
def test_takes_group_names(text: str) -> None:
    """A dom0's name, or a target's."""
    assert text == names.group(text)
