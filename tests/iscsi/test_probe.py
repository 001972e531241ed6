"""What a node is: the program is run among tools that print what those of each system do, its output read and judged.

The tools' texts follow the real ones; only what the program looks at is there.
"""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from iscsi.backends import BACKENDS
from iscsi.platforms import PROGRAMS, RELEASES
from iscsi.probe import PROBE, Capabilities, Facts, decide, guess, parse
from remote.errors import Refused, UnexpectedOutput
from storage.vintage import FEATURES, VINTAGES
from tests.machines import ILLUMOS, MACHINES, SOLARIS11, Machine, install
from xvmstore.exporter_targets import BY_BACKEND


def _takes_tools_from_path(words: tuple[str, ...]) -> bool:
    """False for a busybox that was built to run its own tools whatever PATH says, as Debian's static one is."""
    if (shell := shutil.which(words[0])) is None:
        return False
    argv = [shell, *words[1:], "-c", "uname"]
    return subprocess.run(argv, env={"PATH": "/nonexistent"}, capture_output=True, check=False).returncode == 127


SHELLS = [
    words
    for words in (("dash",), ("bash", "--posix"), ("ksh93",), ("mksh",), ("busybox", "sh"), ("yash",))
    if _takes_tools_from_path(words)
]
_OLD = ("snapshot_properties", "space_used_by", "shareiscsi")
_SOLARIS11 = ("snapshot_properties", "space_used_by")
_NEW = tuple(one.name for one in FEATURES if one.name != "shareiscsi")
EXPECTED = {
    "sxce-b85": ("snv_85", "iscsitadm", "b85", ("shareiscsi",)),
    "2008.11": ("snv_101b", "iscsitadm", "b85", _OLD),
    "b111-comstar": ("snv_111b", "comstar", "b111", _OLD),
    "b111-daemon": ("snv_111b", "iscsitadm", "b85", _OLD),
    "b111-neither": ("snv_111b", "comstar", "b111", _OLD),
    "b134": ("snv_134", "comstar", "b134", _OLD),
    "solaris-11.3": ("11.3", "comstar", "illumos", _SOLARIS11),
    "solaris-11.4": ("11.4.42.111.0", "comstar", "illumos", _SOLARIS11),
    "omnios": ("omnios-r151050-4f5a1f0c2b", "comstar", "illumos", _NEW),
    "smartos": ("joyent_20240111T000000Z", "comstar", "illumos", _NEW),
    "openindiana": ("illumos-d1b4c9a5a3", "comstar", "illumos", _NEW),
    "debian": ("6.1.0-21-amd64", "lio", "linux", _NEW),
}


def _printed(machine: Machine, folder: Path, shell: tuple[str, ...] = ("dash",)) -> str:
    """What the program prints among its tools, and nothing else on PATH."""
    install(machine, folder)
    words = [str(shutil.which(shell[0])), *shell[1:], *(str(word) for word in PROBE[1:])]
    environment = {"PATH": str(folder), "SHELL": "/usr/bin/bash", "LC_ALL": "C"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert "" == done.stderr
    assert [] == list(folder.glob("*.called"))
    return done.stdout


@pytest.mark.parametrize("name", EXPECTED)
def test_each_system(tmp_path: Path, name: str) -> None:
    """What it is, by its tools; the node itself comes to the same end as we do, and no iscsitadm was called."""
    facts = parse(_printed(MACHINES[name], tmp_path))
    found = decide(facts, node="san1")
    build, backend, release, able = EXPECTED[name]
    assert (build, backend, release) == (found.build, found.backend, found.release)
    assert set(able) == set(found.vintage.names)
    assert (found.backend, found.release, found.become) == (*facts.settled, facts.become)
    assert found.system == MACHINES[name].uname
    assert found.passing is name.startswith(("b111", "b134"))


@pytest.mark.parametrize("words", SHELLS, ids=lambda words: words[0])
def test_every_shell(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It prints the same whatever /bin/sh is."""
    (tmp_path / "other").mkdir()
    (tmp_path / "dash").mkdir()
    machine = replace(MACHINES["b111-daemon"], user="uid=101(xvm) gid=1(other)", profiles="Basic Solaris User\nAll")
    assert _printed(machine, tmp_path / "dash") == _printed(machine, tmp_path / "other", words)


def test_a_build_that_would_write_over_guests_data(tmp_path: Path) -> None:
    """It makes LUs like later ones, and keeps their metadata like earlier ones."""
    facts = parse(_printed(replace(MACHINES["b134"], uname="SunOS 5.11 snv_115"), tmp_path))
    with pytest.raises(Refused, match=r"\Asan1: COMSTAR of b115 .* 64 KiB .*: use another build\Z"):
        decide(facts, node="san1")


@pytest.mark.parametrize("name", ["freebsd", "bare"])
def test_no_way_to_export(tmp_path: Path, name: str) -> None:
    """It says what was found and what to set, in one line."""
    bare = replace(ILLUMOS, tools=frozenset())
    machine = bare if name == "bare" else MACHINES["freebsd"]
    facts = parse(_printed(machine, tmp_path))
    assert ("none", "none") == facts.settled
    words = {"freebsd": r"FreeBSD 14.*is no system xvmstore knows", "bare": r"neither itadm nor iscsitadm"}[name]
    with pytest.raises(Refused, match=rf"\Asan1: .*{words}.*set backend and release in \[nodes[.]san1\]\Z"):
        decide(facts, node="san1")


@pytest.mark.parametrize(
    ("changes", "become", "rights"),
    [
        ({}, "none", "root"),
        ({"user": "uid=101(xvm)", "profiles": "Primary Administrator\nBasic Solaris User"}, "pfexec", "profile"),
        ({"user": "uid=101(xvm)", "profiles": "      xvmstore\n      All"}, "pfexec", "profile"),
        ({"user": "uid=101(xvm)", "profiles": "ZFS File System Management"}, "none", "nothing"),
        ({"user": "uid=101(xvm)", "profiles": "Basic Solaris User", "sudo": True}, "sudo", "sudo"),
        ({"user": "uid=1000(uid=0)", "sudo": True}, "sudo", "sudo"),
        ({"user": "uid=101(xvm)"}, "none", "nothing"),
    ],
)  # fmt: skip
def test_rights(tmp_path: Path, changes: dict[str, str], become: str, rights: str) -> None:
    """Root needs none; a profile that is enough is preferred to sudo; COMSTAR's own profiles are not enough."""
    facts = parse(_printed(replace(ILLUMOS, **changes), tmp_path))  # type: ignore[arg-type]
    found = decide(facts, node="san1")
    assert (become, rights, become) == (found.become, found.rights, facts.become)


def test_only_a_subcommands_own_usage(tmp_path: Path) -> None:
    """Where plain ``zfs`` lists no options, each subcommand is asked for its own."""
    own_usage = "[ $# -gt 1 ] || exit 2\ncat >&2 <<'END'\n" + SOLARIS11 + "END\nexit 2"
    (tmp_path / "bin").mkdir()
    printed = _printed(replace(ILLUMOS, zfs="", properties=""), tmp_path / "bin")
    assert (VINTAGES["illumos"], ()) == (decide(parse(printed), node="x").vintage, parse(printed).zfs)
    (tmp_path / "bin" / "zfs").write_text(f"#!/bin/sh\n{own_usage}\n")
    words = ["/bin/sh", *(str(word) for word in PROBE[1:])]
    again = subprocess.run(words, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, check=True)
    assert {"snapshot_properties"} == set(decide(parse(again.stdout), node="x").vintage.names)


def _facts(tmp_path: Path) -> tuple[str, Facts]:
    text = _printed(ILLUMOS, tmp_path)
    return text, parse(text)


def test_openzfs_and_profiles_are_read(tmp_path: Path) -> None:
    """Lines that only some systems print."""
    text, _ = _facts(tmp_path)
    facts = parse(text.replace("rights ", "openzfs 2.3.1-1~bpo12+1\nprofile All\nprofile  Basic Solaris User\nrights "))
    assert ("2.3.1-1~bpo12+1", ("All", "Basic Solaris User")) == (facts.openzfs, facts.profiles)
    assert "2.3.1-1~bpo12+1" == decide(facts, node="x").to_json()["openzfs"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nend\n", "\n"),
        ("system ", "welcome "),
        ("creates yes\n", ""),
        ("creates yes\n", "creates yes\ncreates no\n"),
        ("exact_lists", "wings"),
        ("rights root", "rights left"),
    ],
)
def test_what_is_not_understood(tmp_path: Path, old: str, new: str) -> None:
    """Half an answer, or one with other lines in it, is no answer."""
    text, _ = _facts(tmp_path)
    assert old in text
    with pytest.raises(UnexpectedOutput):
        parse(text.replace(old, new))


def test_the_tables_name_what_there_is() -> None:
    """Every backend and release of the tables can be had, and every one that can be had may be found."""
    settled = {(one.backend, one.release) for one in RELEASES}
    assert {(backend, release) for backend, releases in BACKENDS.items() for release in releases} == settled
    assert set(BACKENDS) == {one.backend for one in PROGRAMS}
    assert set(VINTAGES) == {release for _, release in settled}
    assert set(BACKENDS) == set(BY_BACKEND)


def test_the_guess_is_right_of_a_node_of_today(tmp_path: Path) -> None:
    """Of an illumos node nothing has to be asked beforehand: the guess is what it then turns out to be."""
    _, facts = _facts(tmp_path)
    guessed, found = guess("comstar", "illumos", become="none"), decide(facts, node="x")
    same: list[tuple[object, object]] = [
        (getattr(guessed, name), getattr(found, name)) for name in ("backend", "release", "zfs", "become", "vintage")
    ]
    assert [] == [pair for pair in same if pair[0] != pair[1]]
    assert isinstance(found, Capabilities)


def test_it_takes_no_time(tmp_path: Path) -> None:
    """Few programs are started: what a trip costs must not be felt."""
    text = str(PROBE[2])
    machine = replace(MACHINES["b111-daemon"], user="uid=101(xvm)", profiles="All")
    _printed(machine, tmp_path)
    trace = subprocess.run(
        ["/bin/sh", "-xc", text], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    ).stderr
    tools = {path.name for path in tmp_path.iterdir() if os.access(path, os.X_OK)}
    started = [line for line in trace.splitlines() if line.startswith("+ ") and line.split()[1] in tools]
    assert 12 >= len(started), started
