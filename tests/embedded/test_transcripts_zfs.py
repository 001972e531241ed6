"""The recorded zfs (shareiscsi too), zpool, svcs and svcadm cases: texts byte for byte, tables by their layout.

These files were read out of the sources, not run, and the values in them are invented. So every case has its own
state here, errors are compared whole, and where values show, numbers are compared by their place only.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from embedded import commands
from embedded.answer import Answer
from embedded.model import ISCSI_TARGET, STMF, Disk, Node, Pool
from tests.embedded.replay import NOW, Case, Preparation, both, cases, sh

_VM1 = "zfs create -V 8G tank/vm1"
_PRE = sh(_VM1, "zfs snapshot tank/vm1@pre")
_CLONED = both(_PRE, sh("zfs clone tank/vm1@pre tank/vm1-clone"))
_A_B = sh(_VM1, "zfs snapshot tank/vm1@a", "zfs snapshot tank/vm1@b")
_LU = sh("stmfadm create-lu /dev/zvol/rdsk/tank/vm1")
_SHARE = "zfs set shareiscsi=on tank/vm1"


def condition(name: str) -> Preparation:
    """The node suffers from something."""

    def prepare(node: Node) -> None:
        node.conditions.add(name)

    return prepare


def no_pools(node: Node) -> None:
    """No pool is imported."""
    node.pools.clear()
    node.datasets.clear()


def two_pools(node: Node) -> None:
    """The pools of the zpool list recordings."""
    node.pools["rpool"] = Pool(31943819264, [Disk("c1t9d0s0")], 9823451827364512345, fragmentation=3)
    node.pools["tank"] = Pool(
        1992864825344, [Disk("c1t0d0s0")], 1234509876543210987, health="DEGRADED", fragmentation=12
    )
    node.datasets["rpool"] = node.datasets["tank"]


def faulted(node: Node) -> None:
    """A pool that cannot be opened."""
    node.pools["bad"] = Pool(1 << 30, [Disk("c1t0d0s0")], 1, health="FAULTED")


def scrubbed(node: Node) -> None:
    """The last scrub of the healthy recording."""
    node.pools["tank"].scan = "scrub repaired 0B in 0 days 03:12:45 with 0 errors on Sun Nov  1 06:12:45 2026"


def degraded(node: Node) -> None:
    """One half of the mirror is offline."""
    node.pools["tank"].health = "DEGRADED"
    node.pools["tank"].disks[1].state = "OFFLINE"


def scrubbing(node: Node) -> None:
    """A scrub runs."""
    node.pools["tank"].scan = (
        "scrub in progress since Sun Nov  1 03:00:00 2026\n"
        "\t410G scanned at 233M/s, 205G issued at 116M/s, 684G total\n"
        "\t0B repaired, 29.97% done, 0 days 01:10:29 to go"
    )


def one_disk(node: Node) -> None:
    """A pool without redundancy."""
    del node.pools["tank"].disks[1]


def data_errors(node: Node) -> None:
    """The pool lost data."""
    node.pools["tank"].data_errors = 2


def services(stmf: str, target: str) -> Preparation:
    """The two services in given states."""

    def prepare(node: Node) -> None:
        node.services[STMF].state = stmf
        node.services[ISCSI_TARGET].state = target

    return prepare


def no_target_service(node: Node) -> None:
    """The package with the iSCSI target is not installed."""
    del node.services[ISCSI_TARGET]


@dataclass(frozen=True)
class Setting:
    """The state a case needs, and how exact the comparison is.

    ``whole``: every byte. ``cut``: the recording stops early, the answer goes on. ``layout``: numbers by their place.
    ``last``: the recording is the end of the answer.
    """

    prepare: Preparation = lambda node: None
    compare: str = "whole"
    flavour: str = "illumos"


def old(prepare: Preparation = lambda node: None, *, compare: str = "whole") -> Setting:
    """A case of an old release."""
    return Setting(prepare, compare, "b111")


def shared(prepare: Preparation) -> Setting:
    """A case of a release that has shareiscsi."""
    return Setting(prepare, flavour="b85")


@dataclass(frozen=True)
class Part:
    """The cases of one file, and those left out with the reason."""

    settings: Mapping[str, Setting]
    skip: Mapping[str, str] = field(default_factory=dict)


PARTS = {
    "zfs-errors": Part(
        {
            "create exists": Setting(sh(_VM1)),
            "create parent missing": Setting(),
            "create pool missing, thick": Setting(),
            "create no space": Setting(),
            "create bad size": Setting(),
            "create missing size": Setting(compare="cut"),
            "-s without -V": Setting(compare="cut"),
            "no privilege": Setting(condition("zfs-eacces")),
            "snapshot exists": Setting(_PRE),
            "snapshot exists, several or -r": Setting(both(_PRE, sh("zfs create -V 8G tank/vm2"))),
            "snapshot of missing dataset": Setting(),
            "several snapshots on an old release": old(sh(_VM1, "zfs create -V 8G tank/vm2")),
            "destroy missing": Setting(),
            "destroy has snapshots": Setting(_PRE),
            "destroy has clones": Setting(_CLONED),
            "destroy busy (LU registered on the zvol)": Setting(both(sh(_VM1), _LU)),
            "destroy snapshot missing": Setting(sh(_VM1)),
            "destroy held snapshot": Setting(both(_PRE, sh("zfs hold xvm tank/vm1@pre"))),
            "destroy cloned snapshot": Setting(_CLONED),
            "rollback, newer snapshots": Setting(_A_B),
            "rollback, clones of newer snapshots": Setting(both(_A_B, sh("zfs clone tank/vm1@b tank/vm1-clone"))),
            "rollback busy (LU registered)": Setting(both(_A_B, _LU)),
            "rollback missing snapshot": Setting(sh(_VM1)),
            "set volsize misaligned": Setting(sh(_VM1)),
            "set user property too long": Setting(sh(_VM1)),
            "set user property name too long": Setting(sh(_VM1)),
            "hold exists": Setting(both(_PRE, sh("zfs hold xvm tank/vm1@pre"))),
            "release not held": Setting(_PRE),
            "clone of missing snapshot": Setting(sh(_VM1)),
            "promote non-clone": Setting(sh(_VM1)),
            "rename to existing": Setting(sh(_VM1, "zfs create -V 8G tank/vm2")),
            "zfs driver cannot be opened": Setting(condition("zfs-missing")),
            "unknown subcommand": Setting(compare="cut"),
        },
    ),
    "zfs-list-get": Part(
        {
            "list -H -p volumes (illumos since 2013-10-16, OpenZFS >= 0.7)": Setting(_CLONED, "layout"),
            "list -H without -p (every release incl. b85)": Setting(_CLONED, "layout"),
            "list -p on OpenSolaris (b85..b147 and illumos before 2013-10-16)": old(compare="usage"),
            "list, human": Setting(_CLONED, "columns"),
            "list snapshots": Setting(_PRE, "layout"),
            "list, nothing found, -H": Setting(sh(_VM1)),
            "list, nothing found, human": Setting(sh(_VM1)),
            "list, dataset missing": Setting(),
            "get -Hp (exists in every release since b85)": Setting(
                both(sh(_VM1, "zfs set org.xvmstore:owner=guest7 tank/vm1")), "layout"
            ),
            "get, property has no value for this dataset": Setting(),
            "get, unknown user property": Setting(sh(_VM1)),
            "get, bad property name": Setting(sh(_VM1), "cut"),
            "compressratio with -p": Setting(sh(_VM1), "layout"),
            "human get": Setting(sh(_VM1)),
            "holds": Setting(both(_PRE, sh("zfs hold xvmstore tank/vm1@pre")), "layout"),
            "holds -H": Setting(both(_PRE, sh("zfs hold xvmstore tank/vm1@pre")), "layout"),
            "holds none": Setting(_PRE),
            "holds on a non-snapshot": Setting(sh(_VM1)),
            "destroy -nvp": Setting(_A_B, "layout"),
            "destroy -nv": Setting(_A_B, "layout"),
            "create -nvP": Setting(),
        },
    ),
    "shareiscsi": Part(
        {
            "on": shared(sh(_VM1)),
            "off": shared(sh(_VM1, _SHARE)),
            "daemon not enabled, no privilege": shared(both(sh(_VM1), condition("share-unprivileged"))),
            "daemon refused": shared(both(sh(_VM1), condition("share-refused"))),
            "unshare refused": shared(both(sh(_VM1, _SHARE), condition("share-refused"))),
            "after removal (b136 and later, illumos)": Setting(sh(_VM1)),
            "read": shared(sh(_VM1, _SHARE)),
        },
    ),
    "zpool-list": Part(
        {
            "list -Hp": Setting(two_pools, "layout"),
            "list, human": Setting(two_pools, "columns"),
            "list -H b85..b127 (2008.05, 2008.11, 2009.06)": old(compare="layout"),
            "list -p on OpenSolaris": old(),
            "faulted pool": Setting(both(no_pools, faulted)),
            "missing pool": Setting(),
            "no pools": Setting(no_pools),
            "get": Setting(),
        },
        {
            "list -H (every release)": "lists a pool rpool alone; the same columns are in 'list, human'",
            "list -H b128..b147": "no flavour of the node lies between b128 and b147",
        },
    ),
    "zpool-status": Part(
        {
            "healthy": Setting(scrubbed),
            "degraded": Setting(degraded),
            "scrub running": Setting(scrubbing, "cut"),
            "-x all well": Setting(),
            "-x one pool well": Setting(),
            "no pools": Setting(no_pools),
            "b111 (2009.06)": old(one_disk),
            "data errors": Setting(data_errors, "last"),
        },
    ),
    "svcs-svcadm": Part(
        {
            "state": Setting(services("disabled", "online")),
            "states": Setting(services("online", "maintenance")),
            "unknown service": Setting(no_target_service),
            "enable and wait": Setting(services("disabled", "disabled")),
            "enable, goes to maintenance": Setting(both(services("online", "disabled"), condition("svc-fails"))),
            "enable, disabled by someone else meanwhile": Setting(
                both(services("online", "disabled"), condition("svc-contested"))
            ),
            "enable, dependency missing": Setting(services("disabled", "disabled")),
            "enable unknown": Setting(),
            "enable without privilege": Setting(both(services("disabled", "disabled"), condition("svcadm-eacces"))),
            "clear": Setting(services("online", "maintenance")),
        },
    ),
}

_CASES = [
    pytest.param(case, id=f"{case.file}: {case.name}")
    for file, part in PARTS.items()
    for case in cases(file)
    if case.name not in part.skip
]


def written_out(text: str) -> str:
    """Some recordings stand for long values by ``<N chars>``."""
    return re.sub(r"<(\d+) chars>", lambda found: "x" * int(found[1]), text)


def layout(text: str) -> str:
    """The text with every number (and its unit) and every date replaced: what stays is names, order, separators."""
    text = re.sub(r"\w{3} \w{3} [ \d]\d [ \d]\d:\d\d \d{4}", "DATE", text)
    text = re.sub(r"(?<=[\t ])(none|\d+(\.\d+)?[BKMGTPx%]*)(?=[\t\n ])", "N", text)
    return re.sub(r"^\d+(\.\d+)?x$", "N", text, flags=re.MULTILINE)


def columns(text: str) -> str:
    """As ``layout``, with runs of blanks as one: the widths follow the values."""
    return re.sub(r" +", " ", layout(text))


@pytest.mark.parametrize("case", _CASES)
def test_answers_as_recorded(case: Case, tmp_path: Path) -> None:
    """Stdout, stderr and exit status are the recorded ones, as far as the values are not invented."""
    setting = PARTS[case.file].settings[case.name]
    node = Node.create(tmp_path, setting.flavour)
    setting.prepare(node)
    answer = commands.run(node, shlex.split(written_out(case.command), posix=True), now=NOW)
    expected = Answer(case.expected.stdout, written_out(case.expected.stderr), case.expected.exit)
    _COMPARE[setting.compare](expected, answer)


def _whole(expected: Answer, answer: Answer) -> None:
    assert expected == answer


def _cut(expected: Answer, answer: Answer) -> None:
    assert expected.exit == answer.exit
    assert expected.stdout == answer.stdout[: len(expected.stdout)]
    assert expected.stderr == answer.stderr[: len(expected.stderr)]


def _usage(expected: Answer, answer: Answer) -> None:
    """The recorded usage is that of b134, which has -d: message and exit status are compared."""
    assert expected.exit == answer.exit
    assert expected.stderr.splitlines()[:2] == answer.stderr.splitlines()[:2]


def _last(expected: Answer, answer: Answer) -> None:
    assert (expected.exit, expected.stderr) == (answer.exit, answer.stderr)
    assert expected.stdout == answer.stdout[-len(expected.stdout) :]


def _layout(expected: Answer, answer: Answer) -> None:
    assert (expected.exit, expected.stderr) == (answer.exit, answer.stderr)
    assert layout(expected.stdout) == layout(answer.stdout)


def _columns(expected: Answer, answer: Answer) -> None:
    assert (expected.exit, expected.stderr) == (answer.exit, answer.stderr)
    assert columns(expected.stdout) == columns(answer.stdout)


_COMPARE = {
    "whole": _whole,
    "cut": _cut,
    "usage": _usage,
    "last": _last,
    "layout": _layout,
    "columns": _columns,
}


@pytest.mark.parametrize("file", sorted(PARTS))
def test_every_case_is_replayed_or_left_out(file: str) -> None:
    """No recorded case is forgotten and none is made up."""
    part = PARTS[file]
    assert {case.name for case in cases(file)} == {*part.settings, *part.skip}
