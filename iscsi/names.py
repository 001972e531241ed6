"""iSCSI identities, chosen by us before anything is asked of a node. Pure but for the dice.

A GUID is NAA 6 with the company number its target program uses, and random digits: never derived from a name, so a
volume that is destroyed and made again is another disk, and two nodes never show the same one.
"""

import re
import secrets
from collections.abc import Sequence

from remote.errors import InvalidValue
from storage.names import shown

GUID = re.compile(r"6[0-9A-F]{31}\Z")
# RFC 3720 allows more, COMSTAR takes this: no underscore, and the prefix in lower case.
_IQN = re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9][a-z0-9.-]*(:[a-z0-9.:-]+)?\Z")
_EUI = re.compile(r"eui\.[0-9A-F]{16}\Z")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,222}\Z")
_LONGEST = 223
_NOT_IN_IQN = re.compile(r"[^a-z0-9.-]")
LARGEST_LUN = 16383
_CHAP_SECRET = re.compile(r"[\x21-\x7e]{12,255}\Z")
_CHAP_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,222}\Z")


def new_guid(prefix: str) -> str:
    """A GUID no LU ever had, with a company's prefix."""
    return (prefix + secrets.token_hex(16))[:32].upper()


def guid(text: str) -> str:
    """A GUID in the one spelling we compare: upper case. Raises InvalidValue."""
    upper = text.upper()
    if not text.isascii() or not GUID.match(upper):
        raise InvalidValue(f"{shown(text)} is no GUID: 32 hexadecimal digits that begin with 6")
    return upper


def target(prefix: str, guest: str, disk: str, *, unit: str) -> str:
    """A target name for one volume. The end of its GUID makes it unique, for names may differ only in case or ``_``."""
    readable = _NOT_IN_IQN.sub("-", f"{guest}.{disk}".lower())
    unique = unit[-12:].lower()
    room = max(_LONGEST - len(f"{prefix}:.{unique}"), 0)
    return iqn(f"{prefix}:{readable[: min(room, 120)]}.{unique}", "target name")


def iqn(text: str, what: str = "iSCSI name") -> str:
    """An iSCSI name as COMSTAR takes it: no underscore, at most 223. Raises InvalidValue.

    In the spelling COMSTAR lists it in: iqn. folded to lower case, the digits of eui. to upper case.
    """
    folded = f"eui.{text[4:].upper()}" if text.startswith("eui.") else text.lower()
    if not text.isascii() or len(folded) > _LONGEST or not (_IQN.match(folded) or _EUI.match(folded)):
        raise InvalidValue(
            f"{shown(text)} is no {what}: iqn.YYYY-MM.reversed.domain:name of a-z 0-9 - . : (no underscore), "
            f"at most {_LONGEST} characters"
        )
    return folded


def group(text: str) -> str:
    """The name of a host group, target group or portal group. Raises InvalidValue."""
    if not _GROUP.match(text):
        raise InvalidValue(
            f"{shown(text)} is no group name: letters, digits and . _ : - and begin with a letter or digit"
        )
    return text


def lun(number: int) -> int:
    """A LUN that means itself: COMSTAR takes 70000 for 4464 without a word. Raises InvalidValue."""
    if not 0 <= number <= LARGEST_LUN:
        raise InvalidValue(f"{number} is no LUN: COMSTAR takes 0 to {LARGEST_LUN}")
    return number


def free_lun(taken: Sequence[int]) -> int:
    """A LUN from 1 to 255, by chance, since others choose at the same time. Raises InvalidValue when none is left."""
    free = sorted(set(range(1, 256)) - set(taken))
    if not free:
        raise InvalidValue("no LUN from 1 to 255 is free on the shared target: use another target or layout")
    return secrets.choice(free)


def chap_secret(text: str, source: str) -> str:
    """A CHAP secret as itadm(8) takes it. The message never shows it. Raises InvalidValue."""
    if not _CHAP_SECRET.match(text):
        raise InvalidValue(
            f"{source}: no usable CHAP secret: 12 to 255 printable characters without blanks, on one line"
        )
    return text


def chap_user(text: str) -> str:
    """A CHAP user name. Raises InvalidValue."""
    if not _CHAP_USER.match(text):
        raise InvalidValue(f"{shown(text)} is no CHAP user name: letters, digits and . _ : @ -")
    return text
