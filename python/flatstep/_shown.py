"""What an error shows of what it is about: enough to find it, however much a file says there.

Every text that may come from a file goes through here on its way into a message. So does every
place in a document ("configuration.layers.0"): a long name would else be copied at each step down.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

__all__ = ["cut", "listed", "short", "shown", "whole", "within"]

_VALUE = 200
_NAME = 80
_NAMES = 20
_WHOLE = 3000


def cut(text: str, limit: int = _VALUE) -> str:
    """The text, or its beginning where it is longer than the limit."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def shown(value: Any, limit: int = _VALUE) -> str:
    """The `repr` of a value, as far as it fits."""
    try:
        return cut(repr(value), limit)
    except ValueError:  # CPython prints no integer of more than 4300 digits
        return f"a {type(value).__name__} too large to print"
    except RecursionError:
        return f"a {type(value).__name__} nested too deeply to print"


def within(where: str, name: object) -> str:
    """The place of what has this name, one step down from `where`."""
    return f"{where}.{cut(str(name), _NAME)}"


def listed(names: Iterable[object]) -> str:
    """Names with commas between them: the first of them, and how many more there are."""
    rest = iter(names)
    first = [cut(str(name), _NAME) for name in islice(rest, _NAMES)]
    more = sum(1 for _ in rest)
    return ", ".join(first) + (f" and {more} more" if more else "")


def short(error: BaseException) -> BaseException | None:
    """The error as the cause of another; None if its text would have to be cut there."""
    return error if len(str(error)) <= _WHOLE else None


def whole(text: str) -> str:
    """A message as a reader of files passes it on, whoever wrote it."""
    return cut(text, _WHOLE)
