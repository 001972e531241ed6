"""Numbers as the real tools read and print them."""

import re

_UNITS = "BKMGTPEZ"


class SizeError(Exception):
    """A size that libzfs's zfs_nicestrtonum refuses, with its words."""


def parse(text: str) -> int:
    """A number with a unit as zfs takes it: 8G, 1.5T, 512, 10GB, 10gib is refused."""
    matched = re.match(r"(\d+(?:\.\d*)?|\.\d+)(.*)$", text, re.DOTALL)
    if matched is None:
        raise SizeError(f"bad numeric value '{text}'")
    number, suffix = matched.groups()
    shift = _shift(suffix)
    value = int(float(number) * (1 << shift)) if "." in number else int(number) << shift
    if value >= 1 << 64:
        raise SizeError("numeric value is too large")
    return value


def _shift(suffix: str) -> int:
    if not suffix:
        return 0
    upper = suffix.upper()
    unit = _UNITS.find(upper[0])
    if unit < 0 or upper[1:] not in {"", "B"} or upper == "BB":
        raise SizeError(f"invalid numeric suffix '{suffix}'")
    return 10 * unit


def parse_lu(text: str) -> int | None:
    """A size as stmfadm takes it: only the first letter after the digits counts. None if it is no size."""
    matched = re.match(r"(\d+)(.?)", text)
    if matched is None:
        return None
    unit = "KMGTPE".find(matched.group(2).upper()) + 1 if matched.group(2) else 0
    if matched.group(2) and not unit:
        return None
    return int(matched.group(1)) << 10 * unit


def parse_lu_strictly(text: str) -> int | None:
    """A size as sbdadm of 2009.06 takes it: nothing may follow the unit's letter."""
    return parse_lu(text) if re.fullmatch(r"\d+[kmgtpeKMGTPE]?", text) else None


def human(value: int, *, suffix: str = "") -> str:
    """zfs_nicenum: at most five characters. ``suffix`` ends numbers below 1 KiB."""
    index, whole = 0, value
    while whole >= 1024:
        whole >>= 10
        index += 1
    if index == 0:
        return f"{value}{suffix}"
    unit = _UNITS[index]
    if value & ((1 << 10 * index) - 1) == 0:
        return f"{whole}{unit}"
    scaled = value / (1 << 10 * index)
    texts = [f"{scaled:.{digits}f}{unit}" for digits in (2, 1, 0)]
    return next((text for text in texts if len(text) <= 5), texts[-1])
