"""A day of scrapes, compressed, while the node fails at random: nothing leaks, is stuck, or invented."""

import gc
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.exposition import render
from exporters.scraper import Scraper
from tests.node.faults import THOROUGH
from tests.node.live import LiveNode
from tests.node.test_exporter import Samples, eventually
from xvmstore import config
from xvmstore.exporter_targets import target

pytestmark = pytest.mark.node
SCRAPES = 5000 if THOROUGH else 250
COMMANDS = (
    "zpool list*",
    "zpool status*",
    "zpool iostat*",
    "zfs list*",
    "stmfadm list-lu*",
    "stmfadm list-target*",
    "kstat*",
)


def _fault(chance: random.Random) -> str:
    """What goes wrong next: mostly nothing."""
    command = chance.choice(COMMANDS)
    action, extra = chance.choice(
        [
            ("fail", 'stderr = "no luck\\n"'),
            ("hang", "seconds = 0.2"),
            ("hang", "seconds = 1.5"),
            ("hang", ""),
            ("drop", ""),
            ("kill", ""),
            ("cut", ""),
        ]
    )
    return f'[[fault]]\ncommand = "{command}"\naction = "{action}"\ncall = {chance.randint(1, 3)}\n{extra}\n'


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_day_of_faults(fresh: Callable[..., LiveNode]) -> None:
    """Random faults, some of which last until they are cleared, and the node gone now and then."""
    chance = random.Random(20261124)
    node = fresh()
    node.xvm("volume", "create", "web1/root", "--size", "1G")
    one = target(config.load(node.config), "embedded")
    scraper = Scraper(replace(one, limits=replace(one.limits, slow_every=1.0, slow_timeout=2.0)))
    eventually(scraper, lambda seen: not seen.ill())
    half = 0, 0, 0
    ups = 0
    for count in range(SCRAPES):
        if chance.random() < 0.15:
            node.faults(_fault(chance) if chance.random() < 0.6 else "")
        budget = chance.choice((0.3, 0.8, 2.0))
        began = time.monotonic()
        sheet = scraper.scrape(budget=budget)
        assert time.monotonic() - began < budget + 0.5, count
        found = Samples(sheet)
        ups += found.get("up") == 1.0
        for name in found.ill():
            assert name == "snapshots" or name not in found.well()
        if "pools" in found.ill() or found.get("up") == 0.0:
            assert "pool_size_bytes" not in found
        else:
            assert 2 << 40 == found.get("pool_size_bytes", pool="tank")
        render(sheet, "openmetrics")
        if count == SCRAPES // 2:
            gc.collect()
            half = _descriptors(), threading.active_count(), _resident()
    node.faults("")
    assert ups > SCRAPES // 4
    eventually(scraper, lambda seen: not seen.ill())
    gc.collect()
    assert _descriptors() <= half[0] + 10
    assert threading.active_count() <= half[1] + 6
    assert _resident() - half[2] < 16 << 20
    scraper.close()
    _ends(lambda: not [one for one in threading.enumerate() if one.name.startswith(("scrape-", "portal-"))])


def _ends(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 15
    while not what() and time.monotonic() < until:
        time.sleep(0.1)
    assert what()
