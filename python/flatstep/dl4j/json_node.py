"""A value of a JSON document that knows where it stands, so that an error can say so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from flatstep._shown import cut, shown, whole

from .errors import DL4JModelError

# What the values of a document may take in memory, beside its text: each has a comma or bracket.
_MAX_VALUES = 200_000
_MAX_DIGITS = 4300
_MAX_PLACE = 300
_MAX_KEY = 80


class Node:
    """A JSON value and its place, such as ``configuration.json: confs[0].layer.nin``.

    Each method that takes the value as a type raises `DL4JModelError` where it is of another.
    """

    def __init__(self, value: Any, document: str, place: str = "") -> None:
        self.value = value
        self._document = document
        self._place = place

    def fail(self, what: str) -> NoReturn:
        """Raise an error about this value."""
        raise DL4JModelError(whole(": ".join(filter(None, [self._document, self._place, what]))))

    def __contains__(self, key: str) -> bool:
        """Whether the object has ``key``, and not null there."""
        return self.object().get(key) is not None

    def __getitem__(self, key: str) -> Node:
        """The value at ``key``, which must be there."""
        if key not in self:
            self.fail(f"{shown(key, _MAX_KEY)} is missing")
        return self.get(key)

    def get(self, key: str) -> Node:
        """The value at ``key``, null where there is none."""
        place = f"{self._place}.{cut(key, _MAX_KEY)}" if self._place else cut(key, _MAX_KEY)
        return Node(self.object().get(key), self._document, cut(place, _MAX_PLACE))

    def __iter__(self) -> Iterator[Node]:
        """The elements of an array."""
        if not isinstance(self.value, list):
            self._expected("an array")
        for index, value in enumerate(self.value):
            yield Node(value, self._document, cut(f"{self._place}[{index}]", _MAX_PLACE))

    def object(self) -> dict[str, Any]:
        """The value, an object."""
        if not isinstance(self.value, dict):
            self._expected("an object")
        return self.value

    def text(self) -> str:
        """The value, a string."""
        if not isinstance(self.value, str):
            self._expected("a string")
        return self.value

    def texts(self) -> list[str]:
        """The value, an array of strings."""
        return [element.text() for element in self]

    def flag(self, default: bool) -> bool:
        """The value, a boolean; ``default`` where it is null."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            self._expected("true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """The value, an integer from ``low`` to ``high``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self._expected("an integer")
        if not low <= self.value <= high:
            self._expected(f"an integer from {low} to {high}")
        return self.value

    def number(self) -> float:
        """The value, a finite number (DL4J writes NaN and the infinities as strings)."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self._expected("a number")
        if isinstance(self.value, int) and abs(self.value) > 2**1023:
            self._expected("a number that a double can hold")
        if not math.isfinite(self.value):
            self._expected("a finite number")
        return float(self.value)

    def class_name(self, package: str) -> str:
        """The name after ``package`` of the Java class that the object's ``@class`` names."""
        if "@class" not in self:
            self.fail("'@class' is missing: only models saved by DL4J 1.0 can be read")
        name = self["@class"].text()
        if not name.startswith(package):
            self.fail(f"{cut(name, _MAX_KEY)} is not a class of {package.removesuffix('.')}")
        return name[len(package) :]

    def _expected(self, what: str) -> NoReturn:
        self.fail(f"expected {what}, got {_shorten(self.value)}")


def parse_json(content: bytes, name: str) -> Node:
    """The document in ``content``, whose strings are UTF-8 and whose keys are unique."""
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > _MAX_VALUES:
        raise DL4JModelError(
            f"{name}: it has {values} commas and brackets; the limit is {_MAX_VALUES}"
        )
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_integer,
        )
    except RecursionError:
        raise DL4JModelError(f"{name}: it is nested too deeply to be a model") from None
    except DL4JModelError as error:
        raise DL4JModelError(f"{name}: {error}") from None
    except ValueError as error:
        raise DL4JModelError(f"{name}: it is not JSON: {error}") from None
    return Node(value, name)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DL4JModelError(f"the key {_shorten(key)} is there twice in one object")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # the time that it takes grows with their square
        raise DL4JModelError(f"an integer of {len(digits)} digits is there")
    return int(digits)


def _refuse_constant(word: str) -> NoReturn:
    raise DL4JModelError(f"{word} is not JSON; DL4J writes it as a string")


def _shorten(value: Any) -> str:
    """``value`` for a message: hostile values are not repeated at length."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "an integer of more than 18 digits"
    return shown(value, _MAX_KEY) if isinstance(value, str) else json.dumps(value)
