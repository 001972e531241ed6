"""Keeps the process small between scrapes of large nodes."""

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 128 << 10


def give_back() -> None:
    """Have glibc give large blocks back as soon as they are free, as it does until it has seen some (mallopt(3)).

    It raises its own limit to 32 MiB otherwise, and the texts of a scrape leave holes: three times the memory
    stays taken. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
