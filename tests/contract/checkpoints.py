"""What every storage node must do with checkpoints, read over iSCSI: run by ``tests/node`` and by ``tests/lab``."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from embedded.initiator import Session
from tests.contract.luns import lun
from tests.contract.node import Node, Said

MIB = 1 << 20
DISKS = ("root", "data")


def made(node: Node, guest: str, *, thin: str = "") -> None:
    """A guest with two disks."""
    for disk in DISKS:
        options = ["--thin"] if disk == thin else []
        assert 0 == node.xvm("volume", "create", f"{guest}/{disk}", "--size", "64M", *options).exit


def facts(node: Node, guest: str) -> list[dict[str, Any]]:
    """All that must stay the same of a guest's volumes when only their bytes change."""
    found = node.xvm("volume", "list", "--guest", guest, "--json").json
    keys = ("name", "size", "thin", "guid", "serial", "target", "lun", "vdev", "dom0s", "exported", "state", "trouble")
    return [{key: one[key] for key in keys} for one in found]


def write(node: Node, guest: str, letter: bytes, *, at: int = 0) -> None:
    """A MiB of a letter on each of a guest's disks, as its dom0 would."""
    for disk in DISKS:
        with Session(lun(node, node.xvm("volume", "show", f"{guest}/{disk}", "--json").json)) as session:
            session.write(at, letter * MIB)


def read(node: Node, guest: str, *, at: int = 0) -> list[bytes]:
    """The letter that is on each of them, or what is there instead."""
    found = []
    for disk in DISKS:
        with Session(lun(node, node.xvm("volume", "show", f"{guest}/{disk}", "--json").json)) as session:
            data = bytes(session.read(at, MIB))
        found.append(data[:1] if data == data[:1] * MIB else b"mixed")
    return found


def take(node: Node, guest: str, *options: str) -> str:
    """A checkpoint's name."""
    said = node.xvm("checkpoint", "create", guest, *options, "--json")
    assert 0 == said.exit, said.err
    return str(said.json["name"])


def listed(node: Node, guest: str) -> dict[str, Any]:
    """What there is of a guest's checkpoints."""
    return dict(node.xvm("checkpoint", "list", guest, "--json").json)


def refused(said: Said) -> str:
    """The one line that says why not."""
    assert (1, 1) == (said.exit, said.err.count("\n")), said
    return said.err


def test_a_checkpoint_is_of_all_disks(node: Node, guest: str) -> None:
    """One instant, with what is recorded of it; several guests at once where ZFS can."""
    made(node, guest)
    name = take(node, guest, "--reason", 'before it\'s "tried"', "--packages", "linux 6.1-1")

    (found,) = listed(node, guest)["checkpoints"]
    shown = node.xvm("checkpoint", "show", guest, "latest", "--json").json

    assert (name, ["data", "root"], [], "manual", "crash") == tuple(
        found[key] for key in ("name", "disks", "missing", "role", "consistency")
    )
    assert ('before it\'s "tried"', "linux 6.1-1") == (found["reason"], found["packages"])
    assert (name, []) == (shown["name"], shown["newer"])
    assert name in [one["name"] for one in node.xvm("checkpoint", "list", "--json").json["checkpoints"]]
    born = {node.on_node("zfs", "get", "-Hp", "-o", "value", "creation", f"tank/xvm/{guest}/{disk}@{name}").stdout
            for disk in DISKS}  # fmt: skip
    assert 1 == len(born)


def test_a_checkpoint_is_held(modern: Node, guest: str) -> None:
    """Nobody destroys it by accident; ``checkpoint destroy`` does, whole or not at all."""
    made(modern, guest)
    name = take(modern, guest)
    full = f"tank/xvm/{guest}@{name}"
    assert 0 != modern.on_node("zfs", "destroy", "-r", full).returncode
    modern.on_node("zfs", "hold", "backup", f"tank/xvm/{guest}/data@{name}")

    kept = refused(modern.xvm("checkpoint", "destroy", guest, name))
    assert "somebody else holds it too" in kept
    modern.on_node("zfs", "release", "backup", f"tank/xvm/{guest}/data@{name}")
    assert 0 == modern.xvm("checkpoint", "destroy", guest, name).exit
    assert [] == listed(modern, guest)["checkpoints"]
    assert "" == modern.on_node("zfs", "list", "-H", "-t", "snapshot", "-r", f"tank/xvm/{guest}").stdout


def test_several_guests_at_one_instant(modern: Node, guest: str) -> None:
    """One name, one transaction."""
    for one in (guest, guest + "b"):
        made(modern, one)
    said = modern.xvm("checkpoint", "create", guest, guest + "b", "--json")
    name = said.json["name"]
    txgs = {modern.on_node("zfs", "get", "-Hp", "-o", "value", "createtxg", f"tank/xvm/{one}/root@{name}").stdout
            for one in (guest, guest + "b")}  # fmt: skip
    assert (0, 1) == (said.exit, len(txgs))


def test_what_is_not_there(node: Node, guest: str) -> None:
    """No guest, no checkpoint of that name, a name that may be two."""
    assert "there is no guest nobody" in refused(node.xvm("checkpoint", "create", "nobody"))
    made(node, guest)
    assert "has no checkpoint latest" in refused(node.xvm("checkpoint", "show", guest, "latest"))
    take(node, guest)
    take(node, guest)
    assert "name one of them" in refused(node.xvm("checkpoint", "show", guest, "xvm-"))
    assert 2 == node.xvm("checkpoint", "show", guest, "-oops@x").exit


def test_the_pool_must_have_room(node: Node, guest: str, tmp_path: Path) -> None:
    """Refused before anything is taken, with what it costs and what there is."""
    made(node, guest)
    tight = node.variant(tmp_path, tables="[checkpoints]\nkeep_free = 99.999")
    said = refused(node.xvm("checkpoint", "create", guest, config=tight))
    assert "are to stay free" in said
    assert "keep_free = 99.999" in said
    assert [] == listed(node, guest)["checkpoints"]


def test_back_and_forth(modern: Node, guest: str) -> None:
    """Back to a checkpoint, and back from there: bytes, size, thickness, identity, and nothing is lost."""
    made(modern, guest, thin="data")
    write(modern, guest, b"A")
    before = facts(modern, guest)
    name = take(modern, guest)
    write(modern, guest, b"B")
    assert 0 == modern.xvm("volume", "resize", f"{guest}/data", "--size", "128M").exit
    grown = facts(modern, guest)

    back = modern.xvm("checkpoint", "rollback", guest, name, "--json")
    assert 0 == back.exit, back.err
    assert ([b"A", b"A"], before) == (read(modern, guest), facts(modern, guest))
    kept = back.json["kept"]
    assert [{"name": kept, "kept_for": name}] == listed(modern, guest)["kept"]
    names = [one["name"] for one in modern.xvm("volume", "list", "--json").json]
    assert [f"{guest}/data", f"{guest}/root"] == [one for one in names if one.startswith(guest)]

    again = modern.xvm("checkpoint", "rollback", guest, kept)
    assert 0 == again.exit, again.err
    assert ([b"B", b"B"], grown) == (read(modern, guest), facts(modern, guest))
    (other,) = listed(modern, guest)["kept"]
    needed = refused(modern.xvm("checkpoint", "destroy", guest, name))
    assert other["name"] in needed
    assert 0 == modern.xvm("checkpoint", "destroy", guest, other["name"], name).exit
    assert {"checkpoints": [], "kept": []} == listed(modern, guest)
    zvols = [one for one in modern.zvols() if guest in one]
    assert [f"tank/xvm/{guest}/data", f"tank/xvm/{guest}/root"] == zvols


def test_discard_what_is_newer(modern: Node, guest: str) -> None:
    """All that is newer goes, and is named and agreed to before."""
    made(modern, guest, thin="data")
    write(modern, guest, b"A")
    before, name = facts(modern, guest), take(modern, guest)
    write(modern, guest, b"B")
    newer = take(modern, guest)
    assert 0 == modern.xvm("volume", "resize", f"{guest}/root", "--size", "128M").exit

    words = ("checkpoint", "rollback", guest, name, "--discard-newer")
    asked = modern.xvm(*words)
    assert (2, True) == (asked.exit, newer in asked.err and f"--confirm {guest}" in asked.err)
    assert 2 == modern.xvm(*words, "--confirm", "other").exit
    assert [b"B", b"B"] == read(modern, guest)
    done = modern.xvm(*words, "--confirm", guest, "--json")
    assert (0, [newer], None) == (done.exit, done.json["lost"], done.json["kept"]), done.err
    assert ([b"A", b"A"], before) == (read(modern, guest), facts(modern, guest))
    assert [name] == [one["name"] for one in listed(modern, guest)["checkpoints"]]


def test_rollback_refused(modern: Node, guest: str) -> None:
    """While somebody is logged in; and what is newer is only thrown away if nothing and nobody needs it."""
    made(modern, guest)
    write(modern, guest, b"A")
    name = take(modern, guest)
    volume = modern.xvm("volume", "show", f"{guest}/data", "--json").json
    state = modern.state()
    with Session(lun(modern, volume)):
        for options in ((), ("--discard-newer", "--confirm", guest)):
            said = refused(modern.xvm("checkpoint", "rollback", guest, name, *options))
            assert f"{guest} is in use: logged in to {guest}/data by xen1" in said
    assert state == modern.state()

    newer = take(modern, guest)
    away = ("checkpoint", "rollback", guest, name, "--discard-newer", "--confirm", guest)
    modern.on_node("zfs", "hold", "backup", f"tank/xvm/{guest}/root@{newer}")
    said = refused(modern.xvm(*away))
    assert f"held by somebody else: tank/xvm/{guest}/root@{newer}" in said
    modern.on_node("zfs", "release", "backup", f"tank/xvm/{guest}/root@{newer}")
    modern.on_node("zfs", "clone", f"tank/xvm/{guest}/root@{newer}", f"tank/{guest}clone")
    said = refused(modern.xvm(*away))
    assert f"there are clones of it: tank/{guest}clone" in said
    assert 0 == modern.xvm("checkpoint", "rollback", guest, name).exit
    assert [b"A", b"A"] == read(modern, guest)
    modern.on_node("zfs", "destroy", f"tank/{guest}clone")


def test_disks_without_the_checkpoint_stay(modern: Node, guest: str) -> None:
    """A disk that was made later keeps its bytes, and is served again."""
    made(modern, guest)
    name = take(modern, guest)
    late = modern.xvm("volume", "create", f"{guest}/late", "--size", "64M", "--json").json
    with Session(lun(modern, late)) as session:
        session.write(0, b"L" * MIB)

    assert 0 == modern.xvm("checkpoint", "rollback", guest, name).exit

    with Session(lun(modern, modern.xvm("volume", "show", f"{guest}/late", "--json").json)) as session:
        assert b"L" * MIB == bytes(session.read(0, MIB))
    assert ["late"] == listed(modern, guest)["checkpoints"][0]["missing"]


def test_an_upgrade_that_is_well(modern: Node, guest: str) -> None:
    """It is kept; the checkpoint says how it ended, and a second one is its pair."""
    made(modern, guest)
    said = modern.xvm(
        "upgrade", guest, "--check", "true", "--post", "--json", "--", "sh", "-c", "test -n $XVMSTORE_GUEST"
    )

    assert (0, "done", 0) == (said.exit, said.json["outcome"], said.json["exit"]), said.err
    first, second = listed(modern, guest)["checkpoints"]
    assert ("pre", "done", "sh -c 'test -n $XVMSTORE_GUEST'") == (first["role"], first["outcome"], first["command"])
    assert ("post", first["name"]) == (second["role"], second["pair"])
    assert "no upgrade of" in refused(modern.xvm("upgrade", guest, "--resume"))


def test_an_upgrade_that_fails(modern: Node, guest: str) -> None:
    """By its exit status or by a check: the guest has its old bytes, the same LUs, and what failed can be looked at."""
    made(modern, guest)
    write(modern, guest, b"A")
    before = facts(modern, guest)
    for words in (["--", "false"], ["--check", "false", "--tries", "1", "--", "true"], ["--", "no-such-command"]):
        said = modern.xvm("upgrade", guest, "--json", *words)
        assert (1, "rolled back") == (said.exit, said.json["outcome"]), said.err
        assert f"{guest} is back at {said.json['checkpoint']}" in said.err
        assert ([b"A", b"A"], before) == (read(modern, guest), facts(modern, guest))
        assert said.json["kept"] in [one["name"] for one in listed(modern, guest)["kept"]]
    assert ["rolled back"] * 3 == [one["outcome"] for one in listed(modern, guest)["checkpoints"]]


def test_an_upgrade_whose_admin_dies(modern: Node, guest: str) -> None:
    """The node knows how far it was: nobody begins another one, and whoever comes goes on with it or gives it up."""
    made(modern, guest)
    write(modern, guest, b"A")
    for way, outcome in (("--resume", "done"), ("--abort", "rolled back")):
        _kill_in_the_middle(modern, guest, way)
        assert "is under way already" in refused(modern.xvm("upgrade", guest, "--", "true"))
        name = listed(modern, guest)["checkpoints"][-1]["name"]
        assert "under way needs it" in refused(modern.xvm("checkpoint", "destroy", guest, name))

        said = modern.xvm("upgrade", guest, way, "--json")
        assert (outcome, name) == (said.json["outcome"], said.json["checkpoint"]), said.err
        assert [b"A", b"A"] == read(modern, guest)
        assert outcome == listed(modern, guest)["checkpoints"][-1]["outcome"]


def _kill_in_the_middle(node: Node, guest: str, mark: str) -> None:
    """kill -9 the client while its command runs. Run again, the command ends at once."""
    flag = node.config.parent / f"{guest}{mark}.began"
    command = f"test -e {flag} || {{ touch {flag}; exec sleep 60; }}"
    argv = [sys.executable, "-m", "xvmstore", "-c", str(node.config), "upgrade", guest, "--", "sh", "-c", command]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True) as process:
        end = time.monotonic() + 60
        while not flag.exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert flag.exists()


def test_a_rehearsal(modern: Node, guest: str) -> None:
    """A copy with LUs of its own; promoted it is the guest, under the guest's own LUs, and what it was is kept."""
    made(modern, guest, thin="data")
    write(modern, guest, b"A")
    before, name = facts(modern, guest), take(modern, guest)

    said = modern.xvm("checkpoint", "rehearse", guest, name)
    copy = f"{guest}-rehearsal"
    assert (0, True) == (said.exit, f'name = "{copy}"\nvif = []\n' in said.out), said.err
    write(modern, copy, b"R")
    assert ([b"A", b"A"], [b"R", b"R"]) == (read(modern, guest), read(modern, copy))
    identities = [{one[key] for one in facts(modern, which)} for which in (guest, copy) for key in ("guid", "target")]
    assert [set(), set()] == [identities[0] & identities[2], identities[1] & identities[3]]
    assert "is no rehearsal" in refused(modern.xvm("checkpoint", "discard", guest))

    done = modern.xvm("checkpoint", "promote", guest, copy, "--json")
    assert 0 == done.exit, done.err
    assert ([b"R", b"R"], before) == (read(modern, guest), facts(modern, guest))
    assert [] == [one for one in modern.targets() if f":{copy}." in one]
    assert 0 == modern.xvm("checkpoint", "rollback", guest, done.json["kept"]).exit
    assert ([b"A", b"A"], before) == (read(modern, guest), facts(modern, guest))

    assert 0 == modern.xvm("checkpoint", "rehearse", guest, name).exit
    assert 0 == modern.xvm("checkpoint", "discard", copy).exit
    assert ([b"A", b"A"], before) == (read(modern, guest), facts(modern, guest))
    assert "" == modern.on_node("zfs", "list", "-H", "-r", f"tank/xvm/{copy}").stdout


def test_an_upgrade_is_rehearsed(modern: Node, guest: str) -> None:
    """It runs on the copy, and the guest does not notice."""
    made(modern, guest)
    said = modern.xvm("upgrade", guest, "--rehearse", "--as", f"{guest}-try", "--json", "--", "sh", "-c",
                      f"test $XVMSTORE_GUEST = {guest}-try")  # fmt: skip
    assert (0, "done", f"{guest}-try") == (said.exit, said.json["outcome"], said.json["rehearsal"]), said.err
    assert 0 == modern.xvm("checkpoint", "discard", f"{guest}-try").exit


def test_prune(modern: Node, guest: str) -> None:
    """What no rule keeps goes; what is needed stays, with the reason; --dry-run says the same and does nothing."""
    made(modern, guest)
    names = [take(modern, guest) for _ in range(4)]
    modern.on_node("zfs", "hold", "backup", f"tank/xvm/{guest}/root@{names[1]}")

    words = ("checkpoint", "prune", guest, "--keep-last", "1", "--json")
    planned = modern.xvm(*words, "--dry-run").json
    assert 4 == len(listed(modern, guest)["checkpoints"])
    done = modern.xvm(*words)
    assert (0, planned) == (done.exit, done.json)
    assert [names[1], names[3]] == [one["name"] for one in listed(modern, guest)["checkpoints"]]
    assert "somebody else holds it" in json.dumps(planned)
    assert 2 == modern.xvm("checkpoint", "prune", guest).exit
    modern.on_node("zfs", "release", "backup", f"tank/xvm/{guest}/root@{names[1]}")


def test_outcomes_are_noted(node: Node, guest: str) -> None:
    """As a package manager's hook does."""
    made(node, guest)
    name = take(node, guest)
    assert 0 == node.xvm("checkpoint", "note", guest, name, "--outcome", "done").exit
    assert "done" == listed(node, guest)["checkpoints"][0]["outcome"]
    assert "has no checkpoint xvm-nope" in refused(node.xvm("checkpoint", "note", guest, "xvm-nope", "--outcome", "x"))


def test_destroy_with_all_snapshots(modern: Node, guest: str) -> None:
    """A volume goes with its checkpoints when asked; held by others it stays whole."""
    made(modern, guest)
    name = take(modern, guest)
    full = f"tank/xvm/{guest}/root@{name}"
    modern.on_node("zfs", "hold", "backup", full)
    said = refused(modern.xvm("volume", "destroy", f"{guest}/root", "--snapshots"))
    assert f"{full} (by backup)" in said
    modern.on_node("zfs", "release", "backup", full)
    for disk in DISKS:
        assert 0 == modern.xvm("volume", "destroy", f"{guest}/{disk}", "--snapshots").exit
    assert [] == [one for one in modern.empty_guests() if guest in one]
