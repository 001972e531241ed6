"""The real tools' usage texts, as data files beside this module."""

from functools import cache
from importlib.resources import files


@cache
def text(name: str) -> str:
    """The content of the file ``name``.txt."""
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
