"""What the project says of itself is true: sizes, documents, the lock file."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporters import catalogue
from tests import platforms
from xvmstore import cli, config

ROOT = Path(__file__).parent.parent
PACKAGES = ("remote", "storage", "iscsi", "dom0", "exporters", "embedded", "xvmstore", "vagrant")
MODULES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of each function, its docstring left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            said = ast.get_docstring(node, clean=False)
            skipped = (first.end_lineno or 0) - first.lineno + 1 if said and isinstance(first, ast.Expr) else 0
            yield f"{path.name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - skipped


def test_functions_and_modules_stay_small() -> None:
    """No function over 60 lines, nine in ten at most 30, no module over 400: CONTRIBUTING's promise."""
    lengths = [pair for path in MODULES for pair in _functions(path)]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}

    assert [] == [pair for pair in lengths if pair[1] > 60]
    assert sorted(length for _, length in lengths)[len(lengths) * 9 // 10] <= 30
    assert {} == {name: count for name, count in lines.items() if count > 400}


def test_every_module_says_what_it_is_for() -> None:
    """A docstring at the top of each."""
    assert [] == [
        path for path in MODULES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (config.Node, "nodes.NAME"),
        (config.Dom0, "dom0s.NAME"),
        (config.Guest, "guests.NAME"),
        (config.Checkpoints, "checkpoints"),
        (config.Exporter, "exporter"),
    ],
)
def test_every_configuration_key_is_documented(kind: type[msgspec.Struct], heading: str) -> None:
    """docs/configuration.md names each key, and no other."""
    text = (ROOT / "docs/configuration.md").read_text()
    section = text.split(f"## `[{heading}]`")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row)}

    assert {field.name for field in msgspec.structs.fields(kind)} == documented


def test_page_of_metrics() -> None:
    """docs/metrics.md is what the exporter's table says."""
    assert catalogue.page() == (ROOT / "docs/metrics.md").read_text()


def test_page_of_platforms() -> None:
    """The table in docs/platforms.md is what the runs kept in docs/proofs have proven."""
    page = (ROOT / "docs/platforms.md").read_text()

    assert platforms.written(page) == page


def test_readme_lists_real_files() -> None:
    """Every document README and CONTRIBUTING link to is there."""
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text())
        assert [] == [link for link in links if not (ROOT / link).exists()], name


def test_readme_configuration_loads(tmp_path: Path) -> None:
    """The example is a valid configuration."""
    block = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    path = tmp_path / "config.toml"
    path.write_text(block[1])

    assert {"san1"} == set(config.load(path).nodes)


def test_lock_file_has_every_dependency() -> None:
    """requirements.lock pins all that pyproject.toml asks for, with hashes and without addresses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]
    names = {re.split(r"[<>=!\[; ]", one)[0].lower() for one in asked}
    lock = (ROOT / "requirements.lock").read_text()
    pinned = {match[1].lower() for match in re.finditer(r"^([A-Za-z0-9_.-]+)==", lock, re.MULTILINE)}

    assert set() == names - pinned
    assert "pyzfs" not in pinned
    assert "://" not in lock


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself and its exit codes are listed once, at the top."""
    assert 0 == cli.run(["--help"])
    top = capsys.readouterr().out
    for name in (
        "checkpoint",
        "demo",
        "embedded",
        "exporter",
        "guest",
        "hook",
        "lun",
        "node",
        "pool",
        "upgrade",
        "volume",
    ):
        assert re.search(rf"^  {name} +[A-Z]", top, re.MULTILINE), name
        assert 0 == cli.run([name, "--help"])
        assert capsys.readouterr().out
    assert "Exit codes: 0 done" in top
