"""A node that turned out to be something else than it was taken for: nothing was done, and the call begins anew, once.

``begins_anew`` sees to that for a whole class, so that no workflow has to think of it.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from types import FunctionType
from typing import Any, Literal, ParamSpec, TypeVar

from remote.errors import XvmError

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")

_call: ContextVar[Literal["none", "plan", "do"]] = ContextVar("call", default="none")


class Surprised(XvmError):
    """The first trip to a node found another system there; by now it is known what it is, and nothing was done."""


def planning() -> bool:
    """Whether a ``plan...`` method is at work: what it says must be right, and it makes no trip that could tell."""
    return _call.get() == "plan"


def begins_anew(kind: type[C]) -> type[C]:
    """Have each public method of a class begin anew, once, where it met a surprise."""
    for name, method in list(vars(kind).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(kind, name, _again(method, plans=name.startswith("plan")))
    return kind


def _again(method: Callable[P, R], *, plans: bool) -> Callable[P, R]:
    @wraps(method)
    def called(*args: P.args, **options: P.kwargs) -> R:
        if _call.get() != "none":
            # What calls it begins anew, with all that it made of a wrong guess.
            return method(*args, **options)
        again = [tuple(_kept(one) for one in args), {name: _kept(one) for name, one in options.items()}]
        token = _call.set("plan" if plans else "do")
        try:
            return _twice(method, *again)
        finally:
            _call.reset(token)

    return called


def _twice(method: Callable[..., R], args: Any, options: Any) -> R:
    try:
        return method(*args, **options)
    except Surprised:
        return method(*args, **options)


def _kept(argument: object) -> object:
    """What can be gone through only once would be empty the second time."""
    return tuple(argument) if isinstance(argument, Iterator) else argument
