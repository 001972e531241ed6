"""The textfile collector's file: whole or not at all, and readable for node_exporter."""

import errno
import os
import stat
from pathlib import Path

import pytest

from exporters import textfile
from remote.errors import ConfigError, InvalidValue


def test_a_file_is_replaced_whole_and_everybody_can_read_it(tmp_path: Path) -> None:
    """node_exporter is another user; nothing else is left in its directory."""
    path = tmp_path / "san1.prom"
    path.write_bytes(b"old 1\n")
    path.chmod(0o600)

    textfile.write(path, b"new 2\n")

    assert b"new 2\n" == path.read_bytes()
    assert 0o644 == stat.S_IMODE(path.stat().st_mode)
    assert ["san1.prom"] == os.listdir(tmp_path)


def test_while_it_is_written_the_old_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not yet whole is in the same directory, under a name that node_exporter does not read."""
    path = tmp_path / "san1.prom"
    path.write_bytes(b"old 1\n")
    seen = []

    def look(_: int) -> None:
        names = os.listdir(tmp_path)
        seen.append((path.read_bytes(), [name for name in names if name.endswith(".prom")], len(names)))

    monkeypatch.setattr(os, "fsync", look)
    textfile.write(path, b"new 2\n")

    assert [(b"old 1\n", ["san1.prom"], 2)] == seen


def test_a_full_disk_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and the reason."""
    path = tmp_path / "san1.prom"
    path.write_bytes(b"old 1\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"san1\.prom: cannot be written: No space left on device"):
        textfile.write(path, b"new 2\n")

    assert b"old 1\n" == path.read_bytes()
    assert ["san1.prom"] == os.listdir(tmp_path)


def test_a_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    """It is not made: node_exporter would not look there."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        textfile.write(tmp_path / "missing" / "san1.prom", b"new 2\n")


@pytest.mark.parametrize("name", ["san1.txt", "san1", ".prom", ".san1.prom", "san1.prom.tmp"])
def test_a_name_that_node_exporter_would_not_read_is_refused(tmp_path: Path, name: str) -> None:
    """Else the metrics would be missing, and nobody told."""
    with pytest.raises(InvalidValue, match=r"must end in \.prom"):
        textfile.write(tmp_path / name, b"")
    assert [] == os.listdir(tmp_path)
