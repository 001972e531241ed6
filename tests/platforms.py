"""The table of docs/platforms.md: platform by operation, made of what a run of the tests has proven.

    XVMSTORE_PROOFS=DIR pytest ...            any tests, on any nodes
    python -m tests.platforms DIR             take over what they proved, and write the table anew
    python -m tests.platforms --check DIR     has this run proven what the table says of the platforms it ran on?

What each has proven is kept in docs/proofs, a file a platform, so that a run of one does not forget the others.
"""

import json
import sys
from pathlib import Path

from tests.contract.proofs import Proofs, gathered

DOCS = Path(__file__).parent.parent / "docs"
MARKER = "<!-- generated: platform by operation -->\n"
# By the name a node of the tests has: the heading of its column.
COLUMNS = {
    "embedded b85": "SXCE b85 (emulated)",
    "embedded b111": "2009.06, b111 (emulated)",
    "embedded b134": "b134 (emulated)",
    "embedded illumos": "illumos (emulated)",
    "lab": "Debian 12, OpenZFS 2.3, LIO (real)",
}


def read() -> dict[str, dict[str, int]]:
    """What has been proven so far, by platform."""
    files = sorted((DOCS / "proofs").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def take_over(found: Proofs) -> None:
    """A platform that was run is as this run found it."""
    for platform, operations in found.items():
        file = DOCS / "proofs" / f"{platform}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(dict(sorted(operations.items())), indent=1) + "\n")


def table(proofs: dict[str, dict[str, int]]) -> str:
    """Markdown: how many tests ran an operation there and saw it succeed; ``-`` where none did."""
    columns = [name for name in COLUMNS if name in proofs]
    operations = sorted({operation for name in columns for operation in proofs[name]})
    head = ["operation", *(COLUMNS[name] for name in columns)]
    rows = [[f"`{one}`", *(str(proofs[name].get(one, "-")) for name in columns)] for one in operations]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(text: str) -> str:
    """The page with the table below the marker."""
    return text.partition(MARKER)[0] + MARKER + "\n" + table(read())


def missing(found: Proofs) -> list[str]:
    """What the table claims of the platforms that were run, and this run did not prove."""
    claims = {name: operations for name, operations in read().items() if name in found}
    return [f"{name}: {one}" for name, operations in claims.items() for one in operations if one not in found[name]]


def main(words: list[str]) -> int:
    """Take over, or compare."""
    *check, place = words
    found = gathered(Path(place))
    if check == ["--check"]:
        wrong = missing(found) if found else [f"{place}: no proofs there"]
        sys.stderr.write("".join(f"docs/platforms.md claims what this run did not prove: {one}\n" for one in wrong))
        return 1 if wrong else 0
    take_over(found)
    page = DOCS / "platforms.md"
    page.write_text(written(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
