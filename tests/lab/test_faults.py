"""Commands of operations broken one by one on the real node: the same command, run again, ends it.

``sudo`` on the node is a stand-in that counts what it is asked to run, and breaks one of it; nothing else is touched.
Only every other of LIO's own commands of a rename is, since test_power_cut cuts other operations short, and ZFS's are
broken on the embedded nodes; with XVMSTORE_LAB_THOROUGH set, every command of every operation is, in every way (hours).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.live import THOROUGH, LabNode
from xvmstore import Site, XvmError
from xvmstore.results import Volume

SUDO = """\
#!/bin/sh
shift
case $1 in
/bin/sh | python3) echo "$4" >>/run/calls ;;
*) echo "$1" >>/run/calls ;;
esac
read -r number fault </run/break
[ "$(wc -l </run/calls)" = "$number" ] || exec "$@"
case $fault in
*-after) "$@" ;;
esac
case $fault in
kill*) kill -9 0 ;;
esac
echo "broken on purpose" >&2
exit 1
"""
# fail: the command does nothing and says no; fail-after: it does its work and says no. kill: every process of the
# script dies at once.
ALL = [(name, fault) for name in ("create", "export", "unexport", "resize", "rename", "destroy")
       for fault in ("fail", "fail-after", "kill", "kill-after")]  # fmt: skip
CASES = ALL if THOROUGH else [("rename", "kill")]
BEFORE = {"create": (), "export": ("create", "unexport")}


@pytest.fixture(scope="module")
def site(node: LabNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The node, with the stand-in for sudo."""
    node.lab.ssh(node.lab.storage, "cat >/usr/local/sbin/sudo && chmod 755 /usr/local/sbin/sudo", stdin=SUDO)
    folder: Path = tmp_path_factory.mktemp("sudo")
    with Site.load(node.variant(folder, node='become = "sudo"')) as found:
        yield found


def _do(site: Site, call: str, guest: str) -> None:
    name = f"{guest}/root"
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: site.create_volume(name, "1G"),
        "export": lambda: site.export_lun(name),
        "unexport": lambda: site.unexport_lun(name),
        "resize": lambda: site.resize_volume(name, "2G"),
        "rename": lambda: site.rename_volume(name, f"{guest}new/root"),
        "destroy": lambda: site.destroy_volume(name),
    }
    calls[call]()


def _attempt(site: Site, call: str, guest: str) -> XvmError | None:
    try:
        _do(site, call, guest)
    except XvmError as error:
        return error
    return None


def _break(node: LabNode, call: int, fault: str) -> None:
    node.shell(f": >/run/calls; echo {call} {fault} >/run/break")


def _as_wanted(call: str, found: list[Volume], guest: str) -> bool:
    if call == "destroy":
        return not found
    (one,) = found
    name = f"{guest}new/root" if call == "rename" else f"{guest}/root"
    wanted = (name, call != "unexport", (2 if call == "resize" else 1) << 30, () if call == "unexport" else ("xen1",))
    return one.trouble == () and (one.name, one.exported, one.size, one.dom0s) == wanted


@pytest.mark.parametrize(("call", "fault"), CASES, ids=["-".join(case) for case in CASES])
def test_any_command_may_fail(node: LabNode, site: Site, guest: str, call: str, fault: str) -> None:
    """One line that says what happened; then the same call ends in the right state, and nothing is left over."""
    before = BEFORE.get(call, ("create",))
    _break(node, 0, "none")
    for one in before:
        _do(site, one, guest)
    _break(node, 0, "none")
    _do(site, call, guest)
    calls = list(enumerate(node.shell("cat /run/calls").split(), start=1))
    changes = [number for number, name in calls if THOROUGH or (name.startswith("lio-") and "look" not in name)]
    assert len(changes) >= 3
    for number in changes if THOROUGH else changes[::2]:
        name = f"{guest}n{number}"
        _break(node, 0, "none")
        for one in before:
            _do(site, one, name)
        _break(node, number, fault)
        broken = _attempt(site, call, name)
        _break(node, 0, "none")
        again = _attempt(site, call, name)

        told = f"{call} with {fault} at {number}: {broken}; then {again}"
        assert broken is None or (broken.exit_code in {1, 3} and "\n" not in str(broken)), told
        finished = broken is None or broken.exit_code == 3
        assert again is None or (finished and call in {"destroy", "rename"}), told
        everything = site.volumes()
        found = [one for one in everything if one.name.split("/")[0] in {name, f"{name}new"}]
        assert _as_wanted(call, found, name), (told, found)
        assert [] == node.orphans(everything), told
        assert [] == node.empty_guests(), told
