"""Everything we send to Solaris does with the tools that a session finds there, which are not GNU's, nor POSIX's.

What it proves: options, grammars and limits are those of the old tools, for every call that a whole life makes. What it
does not: that the old tools then do what ours do here; for that they would have to be there. Login shells that are no
Bourne shell are in ``tests/remote/test_shells.py``, with a real sshd.
"""

import contextlib
import importlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.commands import NAMES
from embedded.flavour import FLAVOURS
from remote.host import Host
from remote.local import LocalShell
from remote.script import Capture, Captured, Expect, Lock, Query, Script, Secret, Step, render
from tests.node.live import LiveNode, start
from tests.node.old_tools import arguments, awk, bourne
from tests.node.old_tools.install import OldTools, install

pytestmark = pytest.mark.node
_numbers = itertools.count(1)
Ran = tuple[str, int, str]


class OldNode:
    """A node whose sessions find old tools only, and the scripts that went there."""

    def __init__(self, live: LiveNode, tools: OldTools) -> None:
        self.live, self.tools = live, tools
        self.scripts: list[str] = []

    def did(self, *words: str) -> str:
        """Run the command line, which must do it; what it printed."""
        said = self.live.xvm(*words)
        assert (0, []) == (said.exit, self.tools.refused()), f"{words}: {said.err}"
        return said.out

    def render(self, script: Script, nonce: str, *, stay: bool = False) -> str:
        """As ``remote.script.render``, and remembers it."""
        self.scripts.append(render(script, nonce, stay=stay))
        return self.scripts[-1]


@pytest.fixture(scope="module")
def old_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], OldNode]]:
    """One node of each flavour, started when first wanted."""
    running: dict[str, OldNode] = {}

    def get(flavour: str) -> OldNode:
        if flavour not in running:
            live = start(tmp_path_factory.mktemp("old") / flavour, flavour)
            tools = install(live.directory / "bin", live.directory / "refused.log")
            running[flavour] = OldNode(live, tools)
        return running[flavour]

    yield get
    for one in running.values():
        one.live.stop()


@pytest.fixture(params=sorted(FLAVOURS))
def old(
    request: pytest.FixtureRequest, old_nodes: Callable[[str], OldNode], monkeypatch: pytest.MonkeyPatch
) -> OldNode:
    """A node of each flavour there is; what is sent there is remembered."""
    found = old_nodes(request.param)
    found.tools.log.unlink(missing_ok=True)
    found.scripts.clear()
    for module in ("remote.host", "remote.standing"):
        monkeypatch.setattr(f"{module}.render", found.render)
    return found


@pytest.fixture
def guest() -> str:
    """A guest's name no other test uses."""
    return f"old{next(_numbers)}"


def _in_the_bourne_shell(old: OldNode) -> None:
    """Each script as a whole is one for it as well, and nothing was refused."""
    assert old.scripts
    assert [None] * len(old.scripts) == [bourne.objection(script) for script in old.scripts]
    assert [] == old.tools.refused()


def test_the_node(old: OldNode) -> None:
    """Is it fit, set it up, look again, look at its pools."""
    old.did("node", "check")
    old.did("node", "setup", "--apply")
    old.did("node", "check")
    old.did("pool", "list")
    old.did("pool", "status", "tank")

    _in_the_bourne_shell(old)


def test_the_life_of_a_volume(old: OldNode, guest: str) -> None:
    """From its creation to its end, and every command on the way, twice where that is promised to change nothing."""
    root, data = f"{guest}/root", f"{guest}/data"
    for name in (root, root, data):
        old.did("volume", "create", name, "--size", "64M")
    for words in (["volume", "list"], ["volume", "show", root], ["lun", "list"], ["lun", "sessions"]):
        old.did(*words)
    assert "format=raw" in old.did("guest", "disks", guest)
    old.did("volume", "resize", data, "--size", "128M")
    old.did("lun", "unexport", data)
    old.did("lun", "export", data)
    old.did("lun", "unexport", data, "--dom0", "xen1")
    assert [] == old.live.xvm("volume", "show", data, "--json").json["dom0s"]
    old.did("lun", "unexport", data)
    old.did("volume", "rename", data, f"{guest}/logs")
    old.did("volume", "destroy", f"{guest}/logs")
    old.did("volume", "destroy", root)

    assert "" == old.live.on_node("zfs", "list", "-H", "-o", "name", f"tank/xvm/{guest}").stdout
    _in_the_bourne_shell(old)


def test_what_is_refused(old: OldNode, guest: str) -> None:
    """The checks that stop a script run on the old tools too: each says why, and nothing is changed."""
    name = f"{guest}/root"
    old.did("volume", "create", name, "--size", "64M")
    before = old.live.state()

    assert {1} == {
        old.live.xvm(*words).exit
        for words in (
            ["volume", "resize", name, "--size", "32M"],
            ["volume", "create", name, "--size", "32M"],
            ["volume", "show", f"{guest}/none"],
            ["volume", "destroy", f"{guest}/none"],
            ["checkpoint", "rollback", guest, "latest"],
        )
    }

    assert before == old.live.state()
    old.did("volume", "destroy", name)
    _in_the_bourne_shell(old)


def test_checkpoints(old: OldNode, guest: str) -> None:
    """Taken, listed, gone back to where the release can, and destroyed."""
    old.did("volume", "create", f"{guest}/root", "--size", "64M")
    old.did("checkpoint", "create", guest, "--reason", "a\\b 'c'")
    old.did("checkpoint", "list", guest)
    old.did("checkpoint", "show", guest, "latest")
    with _unexported_on_old_releases(old, f"{guest}/root"):
        _back(old, guest)
    old.did("checkpoint", "create", guest)
    old.did("checkpoint", "prune", guest, "--keep-last", "1")
    _destroy_all(old, guest)

    _in_the_bourne_shell(old)


def _back(old: OldNode, guest: str) -> None:
    name = old.live.xvm("checkpoint", "list", guest, "--json").json["checkpoints"][0]["name"]
    kept = old.live.xvm("checkpoint", "rollback", guest, name, "--json")
    assert 0 == kept.exit, kept.err
    old.did("checkpoint", "rollback", guest, kept.json["kept"])
    old.did("checkpoint", "rollback", guest, name, "--discard-newer", "--confirm", guest)


@contextlib.contextmanager
def _unexported_on_old_releases(old: OldNode, name: str) -> Iterator[None]:
    """They cannot keep the views of an LU that goes for a moment."""
    keeps = FLAVOURS[old.live.flavour].lu_commands
    if not keeps:
        old.did("lun", "unexport", name)
    yield
    if not keeps:
        old.did("lun", "export", name)


def _destroy_all(old: OldNode, guest: str) -> None:
    listed = old.live.xvm("checkpoint", "list", guest, "--json").json
    names = [one["name"] for kind in ("kept", "checkpoints") for one in listed[kind]]
    for name in names:
        old.did("checkpoint", "destroy", guest, name)
    old.did("volume", "destroy", f"{guest}/root")


def test_an_upgrade(old: OldNode, guest: str) -> None:
    """One that goes well."""
    old.did("volume", "create", f"{guest}/root", "--size", "64M")
    with _unexported_on_old_releases(old, f"{guest}/root"):
        old.did("upgrade", guest, "--", "true")

    _in_the_bourne_shell(old)


def test_a_rehearsal(old: OldNode, guest: str) -> None:
    """Another guest made of a checkpoint, and let go of."""
    if not FLAVOURS[old.live.flavour].lu_commands:
        pytest.skip("no rehearsals on this release")
    old.did("volume", "create", f"{guest}/root", "--size", "64M")
    old.did("checkpoint", "create", guest)
    old.did("checkpoint", "rehearse", guest)
    old.did("checkpoint", "discard", f"{guest}-rehearsal")

    _in_the_bourne_shell(old)


def test_the_exporter(old: OldNode, guest: str, tmp_path: Path) -> None:
    """All that it asks a node, snapshots too; no collector fails."""
    old.did("volume", "create", f"{guest}/root", "--size", "64M")
    old.did("checkpoint", "create", guest)

    old.did("exporter", "once", "embedded", "--textfile", str(tmp_path / "one.prom"))
    said = (tmp_path / "one.prom").read_text()

    assert f'volume="{guest}/root"' in said
    assert [] == [
        line for line in said.splitlines() if line.startswith("xvmstore_collector_success") and line[-1] != "1"
    ]
    _in_the_bourne_shell(old)


def test_posix_tools_in_front(tmp_path: Path, guest: str) -> None:
    """/usr/xpg4/bin first on the PATH: the same output, word for word, but for what is chosen at random."""
    printed = []
    for kind in ("old", "xpg4"):
        live = start(tmp_path / kind, "illumos")
        tools = install(live.directory / "bin", live.directory / "refused.log")
        if kind == "xpg4":
            tools.xpg4_first()
        node = OldNode(live, tools)
        try:
            node.did("volume", "create", f"{guest}/root", "--size", "64M")
            printed.append(
                [_known(node.did(*words)) for words in (["node", "check"], ["volume", "list"], ["pool", "list"])]
            )
            node.did("volume", "destroy", f"{guest}/root")
        finally:
            live.stop()
    assert printed[0] == printed[1]


def _known(said: str) -> str:
    return re.sub(r"[0-9a-f]{12}\b", "RANDOM", said)


def test_what_is_only_in_usr_sbin() -> None:
    """It is found, though no such directory is on the PATH of a session that is no login (sshd(1M): /usr/bin:/bin)."""
    short = "/usr/bin:/bin"
    only = next(
        name for name in sorted(os.listdir("/usr/sbin")) if shutil.which(name, path=short) is None
        and shutil.which(name, path="/usr/sbin")
    )  # fmt: skip
    host = Host("node1", LocalShell(("env", f"PATH={short}", "/bin/sh")))

    found = host.ask_one(Query(("sh", "-c", 'command -v "$1"', "sh", only), str))

    assert f"/usr/sbin/{only}\n" == found


# -- programs as they stand in the source, for a life calls not all of them --------------------------------------------

_MODULES = """
remote.script storage.checkpoints storage.notes storage.pool storage.rollback storage.zvol iscsi.access
iscsi.comstar_fitness iscsi.iscsitadm_access iscsi.iscsitadm_fitness iscsi.iscsitadm_programs
iscsi.iscsitadm_script iscsi.iscsitadm_secret
exporters.latency exporters.snapshots dom0.running dom0.solaris_iscsi dom0.xenstore
"""


@pytest.mark.parametrize("module", _MODULES.split())
def test_programs_in_the_source(module: str) -> None:
    """Each that is for Solaris is one for the Bourne shell; what it gives awk (not nawk) is for the old one."""
    texts = [text for text in vars(importlib.import_module(module)).values() if isinstance(text, str)]
    programs = [text for text in texts if "$xvm_become" in text or "xvm_become=" in text]
    of_awk = [found for text in programs for found in re.findall(r"(?<![$\w])awk '([^']*)'", text)]

    assert programs
    assert [] == [(text, why) for text in programs if (why := bourne.objection(text))]
    assert [] == [(text, why) for text in of_awk if (why := awk.objection(text))]


def test_a_whole_script() -> None:
    """One that uses all a script can, fed once or to a shell that stays, is for the Bourne shell."""
    step = Step(
        ("a", "it's ^", Secret("b")),
        undo=("c", Captured("d")),
        unless=("test", "-z", Captured("d")),
        accept=("e*f",),
        retry=("g h",),
        expect=(Expect("s/^i\t//p", "j"),),
        refuse=("k",),
        silent=True,
        captures=(Capture("d", "s/^l //p"),),
    )
    query = Query(("m",), str, needs="d", captures=(Capture("n", "p"),))
    script = Script((step, step), (query,), Lock("o", "it's me", others=("p",)), become=("pfexec",), scratch="/q")

    assert [None, None] == [bourne.objection(render(script, "xvm", stay=stay)) for stay in (False, True)]


# -- the stand-ins themselves ------------------------------------------------------------------------------------------

KNOWN = [
    ("awk", "-F:", "NR > 1 && $2 + 0 <= t { printf \"%s,\", $2 }"),
    ("awk", "BEGIN { FS = \"\t\" }\n{ n[$1] += $2 }\nEND { for (k in n) if (n[k] > 1) print k; else exit 1 }"),
    ("expr", "1", "+", "1"),
    ("grep", "-v", "^[1-9]"),
    ("sed", "-n", "/^a: /{s///;h;}\n/^b$/{g;p;q;}"),
    ("sed", "1!G;h;$p"),
    ("sed", "-n", "s/^\\([0-9a-f]\\{32\\}\\)\t.*/\\1/p;s/x/&&/p"),
    ("sh", "-c", 'case `x "$1" 2>&1` in "a	b") for i do f "${i-}"; done ;; *) [ -h "$2" ] || exit ;; esac'),
    ("tail", "-3"),
    ("tr", "\\n", " "),
]  # fmt: skip
UNKNOWN = [
    ("awk", "-v", "a=1", "{ print a }"),
    ("awk", "{ print toupper($1) }"),
    ("awk", "{ print $1 ? 1 : 2 }"),
    ("awk", "{ n[$1, $2] = 1 }"),
    ("awk", "!seen[$0]++"),
    ("awk", "{ if ($1 in n) print }"),
    ("date", "+%s"),
    ("dd", "if=/x", "of=/y", "status=none"),
    ("expr", "substr", "abc", "1", "1"),
    ("grep", "-q", "x"),
    ("grep", "-E", "x"),
    ("id", "-u"),
    ("sed", "-n", "/^a: /{s///;h;};/^b$/{g;p;q;}"),
    ("sed", "-E", "s/a+/b/"),
    ("sed", "s/a\\+/b/"),
    ("sed", "s/a/b/ ; p"),
    ("sed", "s/\\(a\\)*/b/"),
    ("sed", ":a;N;ba"),
    ("sh", "-c", "x=$(y)"),
    ("sh", "-c", "[ -e x ]"),
    ("sh", "-c", "if ! x; then y; fi"),
    ("sh", "-c", "export A=b"),
    ("sh", "-c", "a=1 b=$a; x"),
    ("sh", "-c", "x=${y%/*}"),
    ("sh", "-c", "while read a; do x=$a; done <f"),
    ("sh", "-c", "x | grep ^a"),
    ("tail", "-n", "3"),
    ("tr", "a-z", "A-Z"),
    ("tr", "[:lower:]", "[:upper:]"),
]  # fmt: skip


@pytest.mark.parametrize("words", KNOWN, ids=" ".join)
def test_what_they_take(words: tuple[str, ...]) -> None:
    """What the old tools can do is not held against us."""
    assert arguments.objection(words[0], list(words[1:])) is None


@pytest.mark.parametrize("words", UNKNOWN, ids=" ".join)
def test_what_they_do_not_take(words: tuple[str, ...]) -> None:
    """What GNU's can do and the old ones cannot is found."""
    assert arguments.objection(words[0], list(words[1:]))


@pytest.mark.parametrize(
    ("line", "exit_", "out", "refused"),
    [
        ("echo abc | sed 's/b/-/'", 0, "a-c\n", []),
        ("printf abc | sed 's/b/-/'", 2, "", ["a last line without its newline is never read"]),
        ("echo abc | grep -q b", 2, "", ["no option -q"]),
        ("echo 1 2 | awk '{ print $2 + 1 }'", 0, "3\n", []),
        ("readlink -f /", 127, "", ["not found"]),
        ("sleep 0.2 || sleep 0", 0, "", []),
        ("sh -c 'x=$(y)'", 2, "", ["$( is not known"]),
    ],
)
def test_how_they_run(tmp_path: Path, line: str, exit_: int, out: str, refused: list[str]) -> None:
    """One that takes its words is the real tool; one that does not exits 2, and it is written down."""
    tools = install(tmp_path, tmp_path / "log")
    shell = LocalShell(("env", f"PATH={tmp_path}", "/bin/sh"))

    said = shell.feed(f"{line}\n".encode(), timeout=20)

    assert (exit_, out) == (said.exit, said.stdout.decode())
    assert len(refused) == len(tools.refused())
    assert all(reason in found for reason, found in zip(refused, tools.refused(), strict=True))


def test_the_nodes_own_commands_stay(old_nodes: Callable[[str], OldNode]) -> None:
    """The stand-ins hide none of them."""
    tools = old_nodes("illumos").tools
    assert all(not (tools.directory / name).is_symlink() for name in (*NAMES, "pfexec", "uname"))
