"""The configuration file: every mistake is one line that names file and key, and what is right loads."""

from pathlib import Path

import pytest

from remote.errors import ConfigError
from xvmstore import config
from xvmstore.config import Checkpoints, Config, Dom0, Guest, Node

SMALLEST = """\
[nodes.san1]
host = "192.0.2.10"
base = "tank/xvm"
portals = ["192.0.2.10:3260"]
"""
EVERYTHING = """\
[nodes.san1]
host = "san1"
user = "xvm"
port = 2222
identity = "id_ed25519"
known_hosts = "~/known_hosts"
ssh_config = "/etc/ssh/ssh_config"
transport = "openssh"
ssh_options = ["HostKeyAlgorithms=+ssh-rsa"]
connect_timeout = 5
timeout = 60.5
become = "pfexec"
backend = "comstar"
release = "b111"
base = "tank/my guests"
portals = ["192.0.2.10:3260", "[2001:db8::10]:3261"]
layout = "shared-target"
target = "iqn.2026-11.com.example:shared"
target_prefix = "iqn.2026-11.com.example:san1"
target_group = "everyone"
portal_group = "tpg0"
lun = 16383
write_cache = true
chap_user = "san1"
chap_secret_file = "san1.secret"
default_dom0s = ["dom0-a", "dom0-b"]

[dom0s.dom0-a]
initiator = "iqn.2026-11.com.example:dom0-a"

[dom0s.dom0-b]
initiator = "eui.02004567A425678D"
host_group = "xen"
chap_user = "dom0b"
chap_secret_file = "/etc/xvmstore/dom0b.secret"

[guests.web1]
host = "web1.example.com"
user = "root"
dom0 = "dom0-a"
config = "/etc/xen/web one.cfg"

[checkpoints]
keep_free = 12.5
freeze_timeout = 30
"""


def _load(folder: Path, text: str | bytes) -> Config:
    path = folder / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path)


def test_the_smallest(tmp_path: Path) -> None:
    """Host, base and portals are all that has to be said; the defaults are the safe ones."""
    loaded = _load(tmp_path, SMALLEST)
    node = Node(host="192.0.2.10", base="tank/xvm", portals=("192.0.2.10:3260",))
    assert Config(tmp_path / "config.toml", {"san1": node}, {}) == loaded
    assert (False, "target-per-volume", "none", "fabric", "auto") == (
        node.write_cache,
        node.layout,
        node.become,
        node.transport,
        node.backend,
    )


@pytest.mark.parametrize(
    ("lines", "format_", "wiring"),
    [
        ("", "xl", "path"),
        ('host = "xen1"', "xl", "script"),
        ('host = "xen1"\ntoolstack = "xm"', "xm", "script"),
        ('host = "xen1"\nwiring = "path"', "xl", "path"),
        ('host = "xen1"\ntoolstack = "libvirt"', "libvirt", "path"),
        ('host = "xen1"\nsystem = "solaris"', "xm-solaris", "path"),
    ],
)
def test_how_a_dom0_is_wired(tmp_path: Path, lines: str, format_: str, wiring: str) -> None:
    """By the script where there is a host that it can be put on, and a toolstack that runs it."""
    dom0 = _load(tmp_path, _dom0(lines)).dom0s["dom0-a"]
    assert (format_, wiring) == (dom0.stack.format, dom0.wired)


def test_everything(tmp_path: Path) -> None:
    """Every key, each with a value that is not its default."""
    loaded = _load(tmp_path, EVERYTHING)
    node = Node(
        host="san1",
        user="xvm",
        port=2222,
        identity="id_ed25519",
        known_hosts="~/known_hosts",
        ssh_config="/etc/ssh/ssh_config",
        transport="openssh",
        ssh_options=("HostKeyAlgorithms=+ssh-rsa",),
        connect_timeout=5.0,
        timeout=60.5,
        become="pfexec",
        backend="comstar",
        release="b111",
        base="tank/my guests",
        portals=("192.0.2.10:3260", "[2001:db8::10]:3261"),
        layout="shared-target",
        target="iqn.2026-11.com.example:shared",
        target_prefix="iqn.2026-11.com.example:san1",
        target_group="everyone",
        portal_group="tpg0",
        lun=16383,
        write_cache=True,
        chap_user="san1",
        chap_secret_file="san1.secret",
        default_dom0s=("dom0-a", "dom0-b"),
    )
    dom0s = {
        "dom0-a": Dom0(initiator="iqn.2026-11.com.example:dom0-a"),
        "dom0-b": Dom0(
            initiator="eui.02004567A425678D",
            host_group="xen",
            chap_user="dom0b",
            chap_secret_file="/etc/xvmstore/dom0b.secret",
        ),
    }
    guest = Guest(host="web1.example.com", user="root", dom0="dom0-a", config="/etc/xen/web one.cfg")
    checkpoints = Checkpoints(keep_free=12.5, freeze_timeout=30)
    assert Config(tmp_path / "config.toml", {"san1": node}, dom0s, {"web1": guest}, checkpoints) == loaded
    assert (guest, Guest()) == (loaded.guest("web1"), loaded.guest("web2"))


def test_an_empty_file(tmp_path: Path) -> None:
    """No nodes yet is no mistake."""
    assert Config(tmp_path / "config.toml", {}, {}) == _load(tmp_path, "")


def test_files_are_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names start at the file, absolute ones stay, ~ is the home directory."""
    monkeypatch.setenv("HOME", "/home/admin")
    loaded = _load(tmp_path, SMALLEST)
    expected = [tmp_path / "a.secret", Path("/etc/a.secret"), Path("/home/admin/a.secret")]
    assert expected == [loaded.file(name) for name in ("a.secret", "/etc/a.secret", "~/a.secret")]


def _node(line: str, base: str = SMALLEST) -> str:
    """The smallest node with one line more, in place of the one with the same key."""
    key = line.partition(" = ")[0]
    return "".join(kept for kept in base.splitlines(keepends=True) if not kept.startswith(f"{key} = ")) + line + "\n"


def _dom0(*lines: str) -> str:
    initiator = (
        () if any(line.startswith("initiator") for line in lines) else ('initiator = "iqn.2026-11.com.example:x"',)
    )
    return SMALLEST + "[dom0s.dom0-a]\n" + "\n".join((*initiator, *lines)) + "\n"


def _without(key: str) -> str:
    return "".join(line for line in SMALLEST.splitlines(keepends=True) if not line.startswith(key))


SHARED = SMALLEST + 'layout = "shared-target"\n'
WRONG: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "no TOML": ("[nodes.san1\n", ("not valid TOML", "line 1")),
    "key twice": (SMALLEST + 'host = "x"\n', ("not valid TOML",)),
    "not text": (b"\xff\xfe", ("not valid TOML",)),
    "unknown table": (SMALLEST + "[hosts.x]\n", ("'hosts'",)),
    "unknown key of a guest": (SMALLEST + '[guests.web1]\nhots = "x"\n', ("`hots`", "guests.web1")),
    "a guest's name": (SMALLEST + '[guests."a b"]\n', ("'a b'", "guest name")),
    "a guest's host is an option": (SMALLEST + '[guests.web1]\nhost = "-oX"\n', ("[guests.web1]", "host")),
    "a guest's dom0": (SMALLEST + '[guests.web1]\ndom0 = "x"\n', ("[guests.web1]", "[dom0s.x]")),
    "keep_free 100": (SMALLEST + "[checkpoints]\nkeep_free = 100\n", ("checkpoints", "keep_free")),
    "freeze_timeout 1": (SMALLEST + "[checkpoints]\nfreeze_timeout = 1\n", ("checkpoints", "freeze_timeout")),
    "unknown key of a node": (_node('hots = "x"'), ("`hots`", "nodes")),
    "unknown key of a dom0": (_dom0('iqn = "x"'), ("`iqn`", "dom0s")),
    "no base": (_without("base"), ("`base`", "nodes")),
    "no host": (_without("host"), ("`host`", "nodes")),
    "no portals": (_without("portals"), ("`portals`", "nodes")),
    "no initiator": (SMALLEST + "[dom0s.dom0-a]\n", ("`initiator`", "dom0s")),
    "nodes are no table": ("nodes = 1\n", ("nodes",)),
    "node is no table": ("nodes.san1 = 1\n", ("nodes",)),
    "host is a number": (_node("host = 1"), ("host",)),
    "port is text": (_node('port = "22"'), ("port",)),
    "port 0": (_node("port = 0"), ("port",)),
    "port 65536": (_node("port = 65536"), ("port",)),
    "write_cache is text": (_node('write_cache = "no"'), ("write_cache",)),
    "write_cache is 0": (_node("write_cache = 0"), ("write_cache",)),
    "lun is true": (_node("lun = true"), ("lun",)),
    "lun is a fraction": (_node("lun = 1.5"), ("lun",)),
    "lun 70000": (_node("lun = 70000"), ("[nodes.san1]", "lun", "70000")),
    "lun -1": (_node("lun = -1"), ("[nodes.san1]", "lun", "-1")),
    "timeout 0": (_node("timeout = 0"), ("timeout",)),
    "connect_timeout -1": (_node("connect_timeout = -1"), ("connect_timeout",)),
    "portals is text": (_node('portals = "192.0.2.10:3260"'), ("portals",)),
    "portals is empty": (_node("portals = []"), ("portals",)),
    "unknown transport": (_node('transport = "telnet"'), ("telnet", "transport")),
    "unknown become": (_node('become = "su"'), ("su", "become")),
    "unknown backend": (_node('backend = "scst"'), ("scst", "backend")),
    "another backend's release": (_node('backend = "lio"\nrelease = "b111"'), ("[nodes.san1]", "release", "linux")),
    "another backend's key": (_node('backend = "lio"\nportal_group = "a"'), ("[nodes.san1]", "portal_group", "lio")),
    "a key of lio's": (_node('backend = "comstar"\nlisten = ["[::]:3260"]'), ("[nodes.san1]", "listen", "comstar")),
    "keys of two backends": (
        _node('listen = ["[::]:3260"]\ntarget_group = "a"'),
        ("[nodes.san1]", "listen", "comstar"),
    ),
    "a release of which backend": (_node('release = "b111"'), ("[nodes.san1]", "release", "name the backend too")),
    "become auto where the backend is named": (
        _node('backend = "lio"\nbecome = "auto"'),
        ("[nodes.san1]", "become", 'backend = "auto"'),
    ),
    "become auto of a dom0": (_dom0('become = "auto"'), ("[dom0s.dom0-a]", "become", "pfexec")),
    "become auto of a guest": (SMALLEST + '[guests.web1]\nbecome = "auto"\n', ("[guests.web1]", "become", "sudo")),
    "listen is a name": (_node('backend = "lio"\nlisten = ["san1:3260"]'), ("[nodes.san1]", "listen", "san1")),
    "a LUN that would not come back": (_node('backend = "lio"\nlun = 256'), ("[nodes.san1]", "lun", "255")),
    "listen is no address": (_node('backend = "lio"\nlisten = ["3260"]'), ("[nodes.san1]", "listen", "3260")),
    "unknown release": (_node('release = "b999"'), ("b999", "release")),
    "unknown layout": (_node('layout = "one-target"'), ("one-target", "layout")),
    "host is an option": (_node('host = "-oProxyCommand=reboot"'), ("[nodes.san1]", "host")),
    "node name": (SMALLEST.replace("san1", '"-san1"'), ("[nodes]", "name", "-san1")),
    "node name of two lines": (SMALLEST.replace("san1", '"a\\nb"'), ("[nodes]", "name")),
    "dom0 name": (_dom0().replace("dom0-a", '"dom0 a"'), ("[dom0s]", "name", "dom0 a")),
    "base is absolute": (_node('base = "/tank/xvm"'), ("[nodes.san1]", "base", "/tank/xvm")),
    "base is a snapshot": (_node('base = "tank@a"'), ("[nodes.san1]", "base", "tank@a")),
    "base is an option": (_node('base = "-r"'), ("[nodes.san1]", "base", "-r")),
    "base is empty": (_node('base = ""'), ("[nodes.san1]", "base")),
    "target is no IQN": (_node('target = "shared"', SHARED), ("[nodes.san1]", "target", "shared")),
    "target_prefix is no IQN": (_node('target_prefix = "iqn.2026-13.x"'), ("[nodes.san1]", "target_prefix")),
    "target_prefix with _": (_node('target_prefix = "iqn.2026-11.x:a_b"'), ("[nodes.san1]", "target_prefix")),
    "initiator is no IQN": (_dom0('initiator = "dom0-a"'), ("[dom0s.dom0-a]", "initiator", "dom0-a")),
    "initiator with _": (_dom0('initiator = "iqn.2026-11.x:a_b"'), ("[dom0s.dom0-a]", "initiator")),
    "shared-target without target": (SHARED, ("[nodes.san1]", "shared-target", "target")),
    "shared-target with an empty one": (_node('target = ""', SHARED), ("[nodes.san1]", "target")),
    "b111 with target-per-volume": (
        _node('backend = "comstar"\nrelease = "b111"'),
        ("[nodes.san1]", "b111", "target-per-volume", "shared-target"),
    ),
    "chap_user of a node alone": (_node('chap_user = "x"'), ("[nodes.san1]", "chap_user", "chap_secret_file")),
    "secret of a node alone": (_node('chap_secret_file = "x"'), ("[nodes.san1]", "chap_user", "chap_secret_file")),
    "chap_user of a dom0 alone": (_dom0('chap_user = "x"'), ("[dom0s.dom0-a]", "chap_user", "chap_secret_file")),
    "chap_user is an option": (
        _dom0('chap_user = "-S"', 'chap_secret_file = "x"'),
        ("[dom0s.dom0-a]", "chap_user", "-S"),
    ),
    "host_group is an option": (_dom0('host_group = "-g"'), ("[dom0s.dom0-a]", "host_group", "-g")),
    "toolstack of another system": (
        _dom0('system = "solaris"\ntoolstack = "xl"'),
        ("[dom0s.dom0-a]", "toolstack", "xm"),
    ),
    "unknown toolstack": (_dom0('toolstack = "virt-manager"'), ("toolstack", "virt-manager")),
    "libvirt takes no script": (
        _dom0('toolstack = "libvirt"\nwiring = "script"'),
        ("[dom0s.dom0-a]", "wiring", "path"),
    ),
    "multipath by path": (_dom0("multipath = true"), ("[dom0s.dom0-a]", "multipath", "script")),
    "xen is no version": (_dom0('xen = "unstable"'), ("[dom0s.dom0-a]", "xen", "4.17")),
    "dom0 host is an option": (_dom0('host = "-oProxyCommand=x"'), ("[dom0s.dom0-a]", "host", "-oProxyCommand")),
    "host_group is empty": (_dom0('host_group = ""'), ("[dom0s.dom0-a]", "host_group")),
    "target_group": (_node('target_group = "a\\nb"'), ("[nodes.san1]", "target_group")),
    "portal_group": (_node('portal_group = "a,b"'), ("[nodes.san1]", "portal_group")),
    "unknown default dom0": (_node('default_dom0s = ["dom0-z"]'), ("[nodes.san1]", "default_dom0s", "dom0-z")),
}
PORTALS = [
    "",
    "192.0.2.10",
    "192.0.2.10:",
    ":3260",
    "192.0.2.10:0",
    "192.0.2.10:65536",
    "192.0.2.10:iscsi",
    "192.0.2.10:²",
    "192.0.2.10:-1",
    "192.0.2.10:3260,1",
    "192.0.2.10:3260 ",
    "192.0.2.10:3260\\n",
    "a b:3260",
    "x, script=evil:3260",
    "2001:db8::10:3260",
    "2001:db8::10",
    "[2001:db8::10]",
    "[2001:db8::10]:",
    "[]:3260",
    "[::1:3260",
]


def _refused(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as error:
        _load(folder, text)
    said = str(error.value)
    assert said.startswith(f"{folder}/config.toml: ")
    assert said.isprintable()
    return said


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named(tmp_path: Path, name: str) -> None:
    """One line with the file, the table where it can be told, and the key."""
    text, named = WRONG[name]
    said = _refused(tmp_path, text)
    assert [part for part in named if part not in said] == []


@pytest.mark.parametrize("portal", PORTALS)
def test_portals_are_addresses_with_a_port(tmp_path: Path, portal: str) -> None:
    """Whatever is no ADDRESS:PORT, IPv6 without brackets included, which would read as another address and port."""
    said = _refused(tmp_path, _node(f'portals = ["192.0.2.10:3260", "{portal}"]'))
    assert "[nodes.san1]: portals: " in said


@pytest.mark.parametrize(
    "portal", ["192.0.2.10:1", "192.0.2.10:65535", "[::1]:3260", "[2001:DB8::10]:3260", "san-1.example.com:3260"]
)
def test_takes_portals(tmp_path: Path, portal: str) -> None:
    """IPv4, IPv6 in brackets, and names."""
    assert (portal,) == _load(tmp_path, _node(f'portals = ["{portal}"]')).nodes["san1"].portals


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A directory in its place is no traceback."""
    with pytest.raises(ConfigError) as error:
        config.read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: ")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home directory of its own, and none of our variables."""
    monkeypatch.delenv("XVMSTORE_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


ETC = Path("/etc/xvmstore/config.toml")


def test_places(clean: Path) -> None:
    """The admin's own before the machine's."""
    assert (clean / ".config/xvmstore/config.toml", ETC) == config.places()


@pytest.mark.parametrize(("value", "first"), [("/x", "/x/xvmstore/config.toml"), ("", ".config/xvmstore/config.toml")])
def test_places_under_xdg(clean: Path, monkeypatch: pytest.MonkeyPatch, value: str, first: str) -> None:
    """XDG_CONFIG_HOME stands for ~/.config; empty is as good as unset."""
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert (clean / first, ETC) == config.places()


def test_a_named_file_is_the_only_place(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XVMSTORE_CONFIG wins, and nothing else is tried when it is missing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    monkeypatch.setenv("XVMSTORE_CONFIG", str(clean / "mine.toml"))
    assert (clean / "mine.toml",) == config.places()
    with pytest.raises(ConfigError, match=r"looked for .*/mine[.]toml;") as error:
        config.load()
    assert "/etc" not in str(error.value)


def test_the_first_that_is_there(clean: Path) -> None:
    """Found in the first place; a path given comes before all of them."""
    own = clean / ".config/xvmstore/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(SMALLEST)
    assert own == config.load().path
    with pytest.raises(ConfigError, match=r"no configuration: looked for .*/other[.]toml;"):
        config.load(clean / "other.toml")


@pytest.mark.parametrize(
    ("lines", "written"),
    [
        ('backend = "comstar"', ("comstar", "illumos")),
        ('backend = "iscsitadm"', ("iscsitadm", "b85")),
        ('backend = "lio"\nlisten = ["0.0.0.0:3260"]', ("lio", "linux")),
        ('backend = "auto"\nbecome = "auto"\nlisten = ["0.0.0.0:3260"]', None),
        ("lun = 1", None),
    ],
)
def test_what_a_node_is(tmp_path: Path, lines: str, written: tuple[str, str] | None) -> None:
    """As written down, or left to the node; what only some backends can do is then no mistake yet."""
    assert written == _load(tmp_path, SMALLEST + lines + "\n").node("san1").written
