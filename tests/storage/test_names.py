"""Names and sizes: exactly what should pass passes, and a refusal is one line."""

import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.errors import InvalidValue
from storage import names
from storage.names import VolumeName
from tests.hostile import HOSTILE, is_one_short_line

TEXT = st.text(max_size=80) | st.text(alphabet=string.printable, max_size=80) | st.sampled_from(HOSTILE)
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
GIB = 1 << 30


def _refused(check: Callable[[str], object], text: str) -> bool:
    with pytest.raises(InvalidValue) as error:
        check(text)
    return is_one_short_line(error)


def _word(text: str) -> str:
    return names.word(text, "guest name")


@given(WORDS, WORDS)
def test_takes_volume_names(guest: str, disk: str) -> None:
    """GUEST/DISK is read back as it was written."""
    assert VolumeName(guest, disk) == VolumeName.parse(f"{guest}/{disk}")
    assert f"{guest}/{disk}" == str(VolumeName(guest, disk))


@given(TEXT)
def test_takes_words_of_the_alphabet_only(text: str) -> None:
    """1 to 63 of A-Z a-z 0-9 . _ - that begin with a letter or digit, and nothing else."""
    plain = set(string.ascii_letters + string.digits)
    good = 0 < len(text) <= 63 and text[0] in plain and set(text) <= plain | set("._-")
    assert text == _word(text) if good else _refused(_word, text)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("check", [_word, VolumeName.parse, names.property_name, names.size, names.block_size])
def test_refuses_hostile_words(check: Callable[[str], object], text: str) -> None:
    """Whatever could mean something to a shell, a path or a terminal."""
    assert _refused(check, text)


@pytest.mark.parametrize("text", HOSTILE)
def test_refuses_hostile_halves_of_a_volume_name(text: str) -> None:
    """Either half is checked."""
    assert _refused(VolumeName.parse, f"{text}/root")
    assert _refused(VolumeName.parse, f"web1/{text}")


@pytest.mark.parametrize("text", ["web1", "web1/root/a", "/root", "web1/", "web1//root", "//"])
def test_refuses_what_is_not_two_parts(text: str) -> None:
    """A volume name has one slash."""
    assert _refused(VolumeName.parse, text)


@pytest.mark.parametrize("text", ["tank", "tank/xvm", "tank/my guests/a:b", "a-b_c.d/0", "t" * 200])
def test_takes_datasets(text: str) -> None:
    """What ZFS takes, blanks and colons included."""
    assert text == names.dataset(text)


@pytest.mark.parametrize("text", sorted(set(HOSTILE) - {"a b"}))
def test_refuses_hostile_datasets(text: str) -> None:
    """Options, snapshots, bookmarks, paths, control characters, anything too long."""
    assert _refused(names.dataset, text)
    assert _refused(names.dataset, f"tank/{text}")
    assert _refused(names.dataset, f"{text}/xvm")


@given(TEXT)
def test_takes_datasets_of_the_alphabet_only(text: str) -> None:
    """Components of ZFS's alphabet that begin with a letter or digit and do not end in a blank."""
    good = len(text) <= 200 and all(
        re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.: -]*[A-Za-z0-9_.:-])?", part) for part in text.split("/")
    )
    assert text == names.dataset(text) if good else _refused(names.dataset, text)


def test_the_longest_dataset_leaves_room_for_a_snapshot() -> None:
    """ZFS takes 255 for both together."""
    assert _refused(names.dataset, "t" * 201)


@pytest.mark.parametrize("text", ["compression", "com.example:owner", "a:b-c_d.e", "p" * 255])
def test_takes_property_names(text: str) -> None:
    """Native and user properties."""
    assert text == names.property_name(text)


@pytest.mark.parametrize(
    "text", ["volsize", "volblocksize", "type", "org.xvmstore:guid", "org.xvmstore:", "Compression", "p" * 256, "1a"]
)
def test_refuses_properties_that_are_ours(text: str) -> None:
    """What xvmstore sets itself cannot be set over its head."""
    assert _refused(names.property_name, text)


@pytest.mark.parametrize("value", ["", "lz4", "a=b; c", "für", "x" * 1023, "ü" * 511])
def test_takes_property_values(value: str) -> None:
    """Anything on one line."""
    assert value == names.property_value("a:b", value)


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "\x1b[2J", "\x00", "\u2028", "\ud800", "x" * 1024, "ü" * 512])
def test_refuses_property_values(value: str) -> None:
    """What would break a listing apart, or is too long in bytes."""
    assert _refused(lambda text: names.property_value("a:b", text), value)


@pytest.mark.parametrize("text", ["20G", "20g", "20GiB", "20gib", "21474836480", "20480M", " 20G ", "020G"])
def test_reads_sizes(text: str) -> None:
    """Units are powers of 1024, with or without iB, in either case; plain bytes are bytes."""
    assert 21474836480 == names.size(text)


@pytest.mark.parametrize(("unit", "power"), list(zip("KMGTPE", range(1, 7), strict=True)))
def test_reads_every_unit(unit: str, power: int) -> None:
    """K to E, and the bytes they stand for."""
    assert [1024**power] * 2 == [names.size(f"1{unit}"), names.size(f"1{unit}iB")]


@pytest.mark.parametrize(
    "text",
    ["20GB", "20KB", "1.5G", "1,5G", "-1", "-20G", "+1", "0x10", "1e9", "20 G", "G", "iB", "20GiBs", "20iB", "∞", "²"],
)
def test_refuses_what_is_no_size(text: str) -> None:
    """GB could mean two things, fractions would be rounded."""
    assert _refused(names.size, text)


@pytest.mark.parametrize("text", ["1\u212a", "20G\u0131b", "20G\u0130B", "\u0662\u0660G", "２０G"])
def test_refuses_letters_that_only_look_like_units(text: str) -> None:
    """The Kelvin sign is no K, and digits are ASCII."""
    assert _refused(names.size, text)


def test_the_largest_size() -> None:
    """2^63 - 1 bytes, as ZFS counts them; a number of any length is refused in a line."""
    assert 2**63 - 1 == names.size(str(2**63 - 1))
    assert [True] * 4 == [_refused(names.size, text) for text in (str(2**63), "8E", "9" * 40 + "E", "9" * 5000)]


@given(st.integers(0, 2**63 - 1))
def test_plain_bytes_round_trip(number: int) -> None:
    """Bytes are read as they are."""
    assert number == names.size(str(number))


@given(st.integers(1, 1023), st.integers(1, 5))
def test_human_round_trip(many: int, power: int) -> None:
    """A whole number of units is shown exactly, in a form that is read back."""
    number = many * 1024**power
    assert number == names.size(names.human(number))


@given(st.integers(0, 2**63 - 1))
def test_human_is_short_and_near(number: int) -> None:
    """At most four figures, a unit, and not more than half a percent off."""
    match = re.fullmatch(r"([0-9]{1,4}|[0-9]{1,3}\.[0-9]{1,2})([BKMGTPE])", names.human(number))
    assert match
    near = float(match[1]) * (names.size("1" + match[2]) if match[2] != "B" else 1)
    assert abs(near - number) <= number * 0.005


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1K"), (3 * GIB // 2, "1.5G"), (GIB - 1, "1024M"), (20 * GIB, "20G")],
)
def test_human(number: int, text: str) -> None:
    """Examples, just below a unit included."""
    assert text == names.human(number)


@given(TEXT)
def test_block_sizes_are_powers_of_two(text: str) -> None:
    """Never anything but a power of two from 512 to 128 KiB."""
    try:
        number = names.block_size(text)
    except InvalidValue:
        return
    assert number in {1 << power for power in range(9, 18)}


def test_takes_every_block_size() -> None:
    """512 to 128K, and no further."""
    assert [1 << power for power in range(9, 18)] == [names.block_size(str(1 << power)) for power in range(9, 18)]
    assert [True] * 5 == [_refused(names.block_size, text) for text in ("0", "256", "256K", "3K", "513")]


@given(st.integers(1 << 20, 2**63 - 1), st.sampled_from([512, 8192, 131072]))
def test_a_size_that_does_not_fit_names_the_next_that_does(number: int, block: int) -> None:
    """The size proposed is the smallest multiple above, and is taken."""
    if number % block == 0:
        assert number == names.volume_size(number, block)
        return
    with pytest.raises(InvalidValue) as error:
        names.volume_size(number, block)
    proposed = int(str(error.value).rsplit(" ", 1)[1])
    assert 0 < proposed - number < block
    assert proposed == names.volume_size(proposed, block)


@pytest.mark.parametrize("number", [-1, 0, 1, 512, (1 << 20) - 512])
def test_refuses_volumes_too_small_for_a_lun(number: int) -> None:
    """COMSTAR wants one MiB."""
    with pytest.raises(InvalidValue, match="smallest LUN is 1M") as error:
        names.volume_size(number, 512)
    assert is_one_short_line(error)
