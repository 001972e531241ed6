"""Words no check may let through, and what every refusal must look like."""

import pytest

from remote.errors import InvalidValue

HOSTILE = (
    "",
    " ",
    "a b",
    " web1",
    "web1 ",
    "web1\n",
    "\nweb1",
    "web1\r",
    "web1\t",
    "web1\x00",
    "web1\x1b[2J",
    "web1\u2028",
    "; rm -rf /",
    "$(reboot)",
    "`reboot`",
    "'",
    '"',
    "a|b",
    "a&b",
    "a>b",
    "*",
    "a=b",
    "a\\b",
    "-rf",
    "--help",
    ".",
    "..",
    "../etc",
    "/",
    "/etc",
    "a//b",
    "a@b",
    "a#b",
    "a%b",
    "a,b",
    "wéb1",
    "ｗｅｂ1",
    "web\u0661",
    "\U0001f4be",
    "\ud800",
    "a" * 300,
    "\U0001f4be" * 300,
)


def is_one_short_line(error: pytest.ExceptionInfo[InvalidValue]) -> bool:
    """A refusal fits on one line of a terminal, whatever was refused."""
    said = str(error.value)
    return said.isprintable() and len(said) <= 220
