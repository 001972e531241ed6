"""Which dataset names ZFS takes (usr/src/common/zfs/zfs_namecheck.c) and how libzfs words what is wrong."""

import re

LONGEST = 255
_ALLOWED = re.compile(r"[A-Za-z0-9_.: -]")


def dataset_mistake(name: str) -> str | None:
    """What is wrong with the name of a filesystem or volume, None if nothing is."""
    if "@" in name:
        return "snapshot delimiter '@' in filesystem name"
    return _mistake(name)


def snapshot_mistake(name: str) -> str | None:
    """What is wrong with the name of a snapshot."""
    head, at, tail = name.partition("@")
    if not at:
        return "missing '@' delimiter in snapshot name"
    if "@" in tail:
        return "multiple '@' delimiters in name"
    if "/" in tail:
        return "invalid character '/' in name"
    if len(name) > LONGEST:
        return "name is too long"
    return _mistake(head) or _component(tail)


def mistake(name: str, *, snapshots: bool, only: bool) -> str | None:
    """What is wrong with a name where snapshots are welcome, or are the ``only`` thing welcome."""
    if only or (snapshots and "@" in name):
        return snapshot_mistake(name)
    return dataset_mistake(name)


def _mistake(name: str) -> str | None:
    if len(name) > LONGEST:
        return "name is too long"
    if name.startswith("/"):
        return "leading slash in name"
    if name.endswith("/"):
        return "trailing slash in name"
    wrong = next(filter(None, map(_component, name.split("/"))), None)
    if wrong is None and not name[0].isalpha():
        return "pool doesn't begin with a letter"
    return wrong


def _component(text: str) -> str | None:
    if not text:
        return "empty component in name"
    bad = next((letter for letter in text if not _ALLOWED.fullmatch(letter)), None)
    return f"invalid character '{bad}' in name" if bad else None
