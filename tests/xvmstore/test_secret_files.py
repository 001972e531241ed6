"""CHAP secrets from files: who may read them, what is in them, and that no message shows them."""

from pathlib import Path

import pytest

from remote.errors import ConfigError, InvalidValue, XvmError
from remote.script import Secret
from xvmstore import secret_files

SECRET = "correct-horse-1"


def _file(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "chap.secret"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def _refused(path: Path, kind: type[XvmError]) -> str:
    with pytest.raises(kind) as error:
        secret_files.read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
    assert SECRET not in said
    return said


@pytest.mark.parametrize("content", [SECRET, SECRET + "\n", SECRET + "\r\n"])
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_reads_the_one_line(tmp_path: Path, content: str, mode: int) -> None:
    """The newline at its end, if there is one, is no part of it."""
    assert Secret(SECRET) == secret_files.read(_file(tmp_path, content, mode))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o660, 0o777])
def test_refuses_what_others_can_read(tmp_path: Path, mode: int) -> None:
    """No right for anybody but the owner, and the message says what to do."""
    assert "chmod 600" in _refused(_file(tmp_path, SECRET, mode), ConfigError)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "eleven-char",
        "x" * 256,
        SECRET + "\n\n",
        SECRET + "\rx",
        SECRET + " ",
        f"{SECRET}\n{SECRET}\n",
        f"two words {SECRET}",
        SECRET + "\x00",
        SECRET + "é",
    ],
)
def test_refuses_what_is_no_secret(tmp_path: Path, content: str) -> None:
    """12 to 255 printable characters on one line."""
    assert "no usable CHAP secret" in _refused(_file(tmp_path, content), InvalidValue)


@pytest.mark.parametrize("length", [12, 255])
def test_takes_the_shortest_and_the_longest(tmp_path: Path, length: int) -> None:
    """As itadm does."""
    assert Secret("x" * length) == secret_files.read(_file(tmp_path, "x" * length + "\n"))


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory, bytes that are no text."""
    assert "No such file" in _refused(tmp_path / "none", ConfigError)
    assert "directory" in _refused(tmp_path, ConfigError)
    assert "not text" in _refused(_file(tmp_path, SECRET.encode() + b"\xff"), ConfigError)


def test_a_secret_is_never_shown() -> None:
    """Not in a trace, not in a message."""
    assert ["<secret>"] * 2 == [repr(Secret(SECRET)), str(Secret(SECRET))]
