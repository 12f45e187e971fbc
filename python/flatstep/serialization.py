"""Configurations as plain data, for files: dicts of JSON's types, and strict JSON.

The form, version 1: an object with ``"version": 1`` and every field of `MultiLayerConfiguration` by
name. What is None, inherited that is, is left out; everything else is there, defaults too, so that
it means the same when a default changes. Updaters and schedules are objects whose ``"class"``
names them beside all their arguments; layers, parameters and policies are objects; an enumeration
is its name; the iterations of a ``{iteration: number}`` are strings, as all keys of JSON::

    {"version": 1, "updater": {"class": "Adam", "learning_rate": {"class": "MapSchedule",
     "values": {"0": 0.1, "100": 0.01}, "schedule_type": "ITERATION"}, "beta1": 0.9, …}, …}

Numbers are finite and keep every bit. What is read may leave out what has a default; a version, a
class or a field that is not known is refused by name. Which classes there are, other modules say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from functools import cache
from typing import Any, NoReturn, TypeAlias, TypeVar, get_args, get_origin

import numpy as np

from flatstep._coerce import (
    KnowsItsArguments,
    constructor_arguments,
    field_types,
    is_number,
    wrong_type,
)
from flatstep._shown import cut, listed, short, shown, whole, within

__all__ = [
    "MadeByConstructor",
    "Named",
    "check_version",
    "from_data",
    "json_text",
    "named_class",
    "parse_json",
    "register",
    "save_fields_of",
    "to_data",
]


class Named(KnowsItsArguments):
    """What is saved with the name of its class: updaters and schedules."""


class MadeByConstructor(Named):
    """What is saved by the arguments of its constructor, not by fields; its class is registered."""


# CPython's own limit, which not every version of it has.
_MOST_DIGITS = 4300

_T = TypeVar("_T")
_Read: TypeAlias = Callable[[str, Any], Any]

#: flatstep's own dataclasses by the names that files have for them.
_named: dict[str, type[Any]] = {}
#: Those that stand in a field of their own, so that no name of a class is needed.
_unnamed: set[type[Any]] = set()
#: The classes of users.
_registered: dict[str, type[MadeByConstructor]] = {}


def save_fields_of(classes: Iterable[type[Any]]) -> None:
    """Have these dataclasses saved, field by field."""
    for cls in classes:
        if issubclass(cls, Named):
            _named[cls.__name__] = cls
        else:
            _unnamed.add(cls)


def named_class(name: str) -> type[Any] | None:
    """The class that files have this name for, if any."""
    return _named.get(name, _registered.get(name))


def register(cls: type[MadeByConstructor]) -> None:
    """Have a class of a user's saved, by its name."""
    _registered[cls.__name__] = cls


def to_data(where: str, value: Any, version: int) -> dict[str, Any]:
    """An object as plain data, with a version; `where` names it in errors."""
    plain: dict[str, Any] = _plain(where, value)
    return {"version": version, **plain}


def from_data(where: str, cls: type[_T], data: Mapping[str, Any], version: int) -> _T:
    """The object of that class that `to_data` made this of."""
    given = dict(_object(where, data))
    check_version(where, given.pop("version", None), version)
    try:
        read: _T = _fields_of(cls)(where, given)
    except RecursionError:
        raise ValueError(f"{where}: expected less nesting") from None
    return read


def check_version(where: str, version: object, expected: int) -> None:
    """Raises a ValueError for any version but this one."""
    if type(version) is not int or version != expected:
        newer = type(version) is int and version > expected
        raise ValueError(
            f"{where}: version: expected {expected}, got {shown(version)}"
            + ("; a newer flatstep wrote it, which can read it" if newer else "")
        )


# ------------------------------------------------------------------------------------------- JSON


def json_text(data: Any, indent: int | None = None) -> str:
    """Plain data as JSON of ASCII characters, without NaN and infinities."""
    return json.dumps(data, indent=indent, allow_nan=False)


def parse_json(where: str, text: str) -> Any:
    """The data in a JSON text, read strictly.

    Raises:
        TypeError: no string.
        ValueError: no JSON, or not strictly: NaN, Infinity, numbers out of range, a key that is
            there twice, half a surrogate pair, nesting too deep.
    """
    if not isinstance(text, str):
        raise wrong_type(where, "JSON", "a string", text)

    def refuse(got: str) -> NoReturn:
        raise ValueError(f"expected a finite number, got {cut(got)}")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            refuse(f"{cut(digits)}, which is out of range")
        return value

    def integer(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:  # the time that it takes grows with their square
            raise ValueError(f"expected at most {_MOST_DIGITS} digits, got {len(digits)}")
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        items = dict(pairs)
        if len(items) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise ValueError(f'expected each key once, got "{cut(key)}" twice')
                seen.add(key)
        return items

    try:
        data = json.loads(
            text,
            parse_constant=refuse,
            parse_float=number,
            parse_int=integer,
            object_pairs_hook=unique,
        )
        json.dumps(data, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
        return data
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: JSON: {error}") from None  # which has all of the text
    except ValueError as error:
        raise ValueError(f"{where}: JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{where}: JSON: expected less nesting") from None


# ---------------------------------------------------------------------------------------- writing


def _plain(where: str, value: Any) -> Any:
    """`value` in JSON's types; `where` names it in errors."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if is_number(value):
        return _finite(where, value)
    if isinstance(value, Named):
        return {"class": type(value).__name__, **_arguments(where, value)}
    if type(value) in _unnamed:
        return _present_fields(where, value)
    if isinstance(value, Mapping):
        return {
            str(key): _plain(within(where, key), value[key])
            for key in sorted(value, key=_shorter_first)
        }
    if isinstance(value, (list, tuple)):
        return [_plain(f"{where}[{place}]", item) for place, item in enumerate(value)]
    raise wrong_type(where, "what is saved", "plain data", value)


def _shorter_first(key: Any) -> Any:
    """Equal mappings are written alike: names by length and then by letter, so 2 before 10."""
    return (len(key), key) if isinstance(key, str) else key


def _finite(where: str, value: Any) -> int | float:
    if isinstance(value, (int, np.integer)):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{where}: expected a finite number, as JSON has no others, got {number}")
    return number


def _arguments(where: str, value: Named) -> dict[str, Any]:
    """The arguments of an updater or schedule by name."""
    ours = _named.get(type(value).__name__) is type(value)
    if isinstance(value, MadeByConstructor) and not ours:
        return _custom_arguments(where, value)
    if not ours:
        raise wrong_type(
            where, "what is saved", "one of flatstep's own updaters and schedules", value
        )
    return _present_fields(where, value)


def _present_fields(where: str, value: Any) -> dict[str, Any]:
    return {
        field.name: _plain(f"{where}.{field.name}", getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) is not None
    }


def _custom_arguments(where: str, updater: MadeByConstructor) -> dict[str, Any]:
    cls = type(updater)
    name = cls.__name__
    if _registered.get(name) is not cls:
        raise ValueError(
            f"{where}: expected an updater that files can name, got {updater!r}, whose class is "
            f"not registered; call flatstep.register_updater({name}) once, after its definition"
        )
    arguments = {}
    for argument in constructor_arguments(cls):
        if argument.startswith("_") or not hasattr(updater, argument):
            raise ValueError(
                f"{where}: {name}: expected its constructor's argument {argument} in the public "
                f"attribute {argument}, which is not there"
            )
        value = getattr(updater, argument)
        if isinstance(value, Mapping):
            raise wrong_type(where, f"{name}.{argument}", "plain data but no mapping", value)
        arguments[argument] = _plain(f"{where}.{argument}", value)
    if _build(where, cls, _custom_values(where, arguments)) != updater:
        raise ValueError(
            f"{where}: expected an updater that its constructor makes again from its arguments, "
            f"got {updater!r}, which {name}({', '.join(arguments)}) does not"
        )
    return arguments


# ---------------------------------------------------------------------------------------- reading


def _object(where: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise TypeError(f"{where}: expected an object, got {shown(value)} of type {kind}")
    return value


def _build(where: str, cls: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The object; its constructor's errors say where."""
    try:
        return cls(**arguments)
    except TypeError as error:
        raise TypeError(whole(f"{where}: {error}")) from short(error)
    except (ValueError, OverflowError) as error:
        raise ValueError(whole(f"{where}: {error}")) from short(error)


def _refuse_unknown(where: str, given: Iterable[str], expected: Iterable[str]) -> None:
    known = list(expected)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"{where}: unknown field {listed(unknown)}; expected {', '.join(known) or 'none'}"
        )


def _fields_of(cls: Any) -> _Read:
    """Reads an object with the fields of this dataclass."""

    def read(where: str, value: Any) -> Any:
        given = _object(where, value)
        known = fields(cls)
        _refuse_unknown(where, given, [field.name for field in known])
        for field in known:
            required = field.default is MISSING and field.default_factory is MISSING
            if required and field.name not in given:
                raise ValueError(f"{where}: expected the field {field.name}, got none")
        readers = _readers(cls)
        arguments = {
            name: None if item is None else readers[name](within(where, name), item)
            for name, item in given.items()
        }
        return _build(where, cls, arguments)

    return read


@cache
def _readers(cls: Any) -> dict[str, _Read]:
    """How each field of a dataclass is read, by its type."""
    return {name: _reader(kinds) for name, kinds in field_types(cls).items()}


def _reader(kinds: Collection[Any]) -> _Read:
    for kind in kinds:
        if kind in _unnamed:
            return _fields_of(kind)
        if get_origin(kind) is Mapping:
            key, item = get_args(kind)
            return _points if key is int else _mapping_of(item)
    return _value


def _custom_values(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(within(where, name), item) for name, item in given.items()}


def _value(where: str, value: Any) -> Any:
    """An argument: plain, or an updater or schedule. Its type is for the constructor to refuse."""
    if isinstance(value, Mapping):
        return _named_object(where, value)
    if isinstance(value, list):
        return [_value(f"{where}[{place}]", item) for place, item in enumerate(value)]
    return value


def _named_object(where: str, value: Any) -> Any:
    given = dict(_object(where, value))
    name = given.pop("class", None)
    if isinstance(name, str) and name in _named:
        return _fields_of(_named[name])(where, given)
    if isinstance(name, str) and name in _registered:
        cls = _registered[name]
        _refuse_unknown(where, given, constructor_arguments(cls))
        return _build(where, cls, _custom_values(where, given))
    raise ValueError(
        f"{where}: class: expected one of {', '.join([*_named, *_registered])}, got {shown(name)}; "
        "a CustomUpdater's class must be registered before: flatstep.register_updater(cls)"
    )


def _points(where: str, value: Any) -> dict[int, Any]:
    """{iteration: number}; JSON's keys are strings."""
    points: dict[int, Any] = {}
    for key, item in _object(where, value).items():
        iteration = key
        if isinstance(key, str) and re.fullmatch("0|-?[1-9][0-9]{0,18}", key):
            iteration = int(key)
        if type(iteration) is not int or iteration in points:
            raise ValueError(f"{where}: expected different integers as keys, got {shown(key)}")
        points[iteration] = item
    return points


def _mapping_of(cls: type[Any]) -> Callable[[str, Any], dict[Any, Any]]:
    """Reads {name: an object with the fields of this dataclass}."""
    read_one = _fields_of(cls)

    def read(where: str, value: Any) -> dict[Any, Any]:
        return {key: read_one(within(where, key), v) for key, v in _object(where, value).items()}

    return read
