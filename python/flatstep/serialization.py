"""Configurations as plain data, for files: dicts of JSON's types, and strict JSON.

The form, version 1: an object with ``"version": 1`` and every field of `MultiLayerConfiguration` by
name. What is None, inherited that is, is left out; everything else is there, defaults too, so that
it means the same when a default changes. Updaters and schedules are objects whose ``"class"``
names them beside all their arguments; layers, parameters and policies are objects; an enumeration
is its name; the iterations of a ``{iteration: number}`` are strings, as all keys of JSON::

    {"version": 1, "updater": {"class": "Adam", "learning_rate": {"class": "MapSchedule",
     "values": {"0": 0.1, "100": 0.01}, "schedule_type": "ITERATION"}, "beta1": 0.9, …}, …}

Numbers are finite and keep every bit. What is read may leave out what has a default; a version, a
class or a field that is not known is refused by name.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, NoReturn, TypeVar

import numpy as np

from flatstep import schedules, updaters
from flatstep._coerce import is_number, wrong_type
from flatstep.configuration import (
    LayerConfiguration,
    MultiLayerConfiguration,
    ParamConfiguration,
)
from flatstep.learning_rate_policy import LearningRatePolicy
from flatstep.schedules import Schedule
from flatstep.updaters import CustomUpdater, Updater

__all__ = [
    "CONFIGURATION_VERSION",
    "configuration_from_dict",
    "configuration_to_dict",
    "json_text",
    "parse_json",
    "register_updater",
]

CONFIGURATION_VERSION = 1

#: Updaters and schedules by the name of their class.
_CLASSES: dict[str, type[Any]] = {
    name: getattr(module, name)
    for module in (updaters, schedules)
    for name in module.__all__
    if is_dataclass(getattr(module, name))
}
#: What stands in a field of its own, so that no name of a class is needed.
_UNNAMED = (MultiLayerConfiguration, LayerConfiguration, ParamConfiguration, LearningRatePolicy)

_registered: dict[str, type[CustomUpdater]] = {}
_C = TypeVar("_C", bound=type[CustomUpdater])


def register_updater(cls: _C) -> _C:
    """Let configurations with this class of CustomUpdater be saved to files and loaded from them.

    A file names the class and the arguments of its constructor, which the class must keep in public
    attributes of the same names; they may be numbers, strings, flags, None, schedules, updaters,
    and lists of these. Whoever loads the file registers the class, too. It may be used as a
    decorator.

    Args:
        cls: the class. Its name must not be that of another updater or schedule; a class of the
            same module and name replaces the one registered before, as when a cell runs again.

    Returns:
        The class.

    Raises:
        TypeError: no subclass of CustomUpdater, an abstract one, or one whose constructor has
            arguments without names (``*args``, ``**kwargs``).
        ValueError: the name is taken.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> @fs.register_updater
        ... class SignSgd(fs.CustomUpdater):
        ...     def __init__(self, learning_rate=0.1):
        ...         self.learning_rate = learning_rate
        ...     def get_gradient(self, g, state, learning_rate, iteration):
        ...         np.multiply(np.sign(g), learning_rate, out=g)
        >>> config = fs.MultiLayerConfiguration(updater=SignSgd(0.5))
        >>> fs.MultiLayerConfiguration.from_json(config.to_json()).updater
        SignSgd(learning_rate=0.5)
    """
    given: Any = cls
    fits = isinstance(given, type) and issubclass(given, CustomUpdater)
    if not fits or inspect.isabstract(given):
        raise TypeError(
            "register_updater: expected a subclass of CustomUpdater that has get_gradient, got "
            f"{cls!r}"
        )
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"register_updater: {cls.__name__}: expected a constructor whose arguments can be "
                f'given by name, got "{parameter}"; write them out'
            )
    name = cls.__name__
    taken = _CLASSES.get(name, _registered.get(name, cls))
    if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f'register_updater: expected a name that is not taken, got "{name}", which is '
            f"{taken.__module__}.{taken.__qualname__}; rename the class"
        )
    _registered[name] = cls
    return cls


def configuration_to_dict(configuration: MultiLayerConfiguration) -> dict[str, Any]:
    """The configuration as plain data: `MultiLayerConfiguration.to_dict`."""
    plain: dict[str, Any] = _plain("configuration", configuration)
    return {"version": CONFIGURATION_VERSION, **plain}


def configuration_from_dict(data: Mapping[str, Any]) -> MultiLayerConfiguration:
    """The configuration that it came from: `MultiLayerConfiguration.from_dict`."""
    given = dict(_object("configuration", data))
    check_version("configuration", given.pop("version", None), CONFIGURATION_VERSION)
    try:
        configuration: MultiLayerConfiguration = _read_configuration("configuration", given)
    except RecursionError:
        raise ValueError("configuration: expected less nesting") from None
    return configuration


def check_version(where: str, version: object, expected: int) -> None:
    """Raises a ValueError for any version but this one."""
    if type(version) is not int or version != expected:
        newer = type(version) is int and version > expected
        raise ValueError(
            f"{where}: version: expected {expected}, got {version!r}"
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
        raise ValueError(f"expected a finite number, got {got}")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            refuse(f"{digits}, which is out of range")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        items = dict(pairs)
        if len(items) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f'expected each key once, got "{twice}" twice')
        return items

    try:
        data = json.loads(text, parse_constant=refuse, parse_float=number, object_pairs_hook=unique)
        json.dumps(data, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
        return data
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
    if isinstance(value, (Updater, Schedule)):
        return {"class": type(value).__name__, **_arguments(where, value)}
    if type(value) in _UNNAMED:
        return _present_fields(where, value)
    if isinstance(value, Mapping):
        return {
            str(key): _plain(f"{where}.{key}", value[key])
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


def _arguments(where: str, value: Updater | Schedule) -> dict[str, Any]:
    """The arguments of an updater or schedule by name."""
    if isinstance(value, CustomUpdater):
        return _custom_arguments(where, value)
    if _CLASSES.get(type(value).__name__) is not type(value):
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


def _custom_arguments(where: str, updater: CustomUpdater) -> dict[str, Any]:
    cls = type(updater)
    name = cls.__name__
    if _registered.get(name) is not cls:
        raise ValueError(
            f"{where}: expected an updater that files can name, got {updater!r}, whose class is "
            f"not registered; call flatstep.register_updater({name}) once, after its definition"
        )
    arguments = {}
    for argument in inspect.signature(cls).parameters:
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
        raise TypeError(f"{where}: expected an object, got {value!r} of type {_type_name(value)}")
    return value


def _type_name(value: object) -> str:
    return type(value).__name__


def _build(where: str, cls: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The object; its constructor's errors say where."""
    try:
        return cls(**arguments)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error


def _refuse_unknown(where: str, given: Iterable[str], expected: Iterable[str]) -> None:
    known = list(expected)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"{where}: unknown field {', '.join(map(str, unknown))}; expected "
            f"{', '.join(known) or 'none'}"
        )


def _fields_of(cls: type[Any]) -> Callable[[str, Any], Any]:
    """Reads an object with the fields of this dataclass."""

    def read(where: str, value: Any) -> Any:
        given = _object(where, value)
        known = fields(cls)
        _refuse_unknown(where, given, [field.name for field in known])
        for field in known:
            required = field.default is MISSING and field.default_factory is MISSING
            if required and field.name not in given:
                raise ValueError(f"{where}: expected the field {field.name}, got none")
        arguments = {
            name: None if item is None else _READ.get(name, _value)(f"{where}.{name}", item)
            for name, item in given.items()
        }
        return _build(where, cls, arguments)

    return read


def _custom_values(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(f"{where}.{name}", item) for name, item in given.items()}


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
    if isinstance(name, str) and name in _CLASSES:
        return _fields_of(_CLASSES[name])(where, given)
    if isinstance(name, str) and name in _registered:
        cls = _registered[name]
        _refuse_unknown(where, given, inspect.signature(cls).parameters)
        return _build(where, cls, _custom_values(where, given))
    raise ValueError(
        f"{where}: class: expected one of {', '.join([*_CLASSES, *_registered])}, got {name!r}; a "
        "CustomUpdater's class must be registered before: flatstep.register_updater(cls)"
    )


def _points(where: str, value: Any) -> dict[int, Any]:
    """{iteration: number}; JSON's keys are strings."""
    points: dict[int, Any] = {}
    for key, item in _object(where, value).items():
        iteration = key
        if isinstance(key, str) and re.fullmatch("0|-?[1-9][0-9]{0,18}", key):
            iteration = int(key)
        if type(iteration) is not int or iteration in points:
            raise ValueError(f"{where}: expected different integers as keys, got {key!r}")
        points[iteration] = item
    return points


def _mapping_of(cls: type[Any]) -> Callable[[str, Any], dict[Any, Any]]:
    """Reads {name: an object with the fields of this dataclass}."""
    read_one = _fields_of(cls)

    def read(where: str, value: Any) -> dict[Any, Any]:
        return {key: read_one(f"{where}.{key}", v) for key, v in _object(where, value).items()}

    return read


_read_configuration = _fields_of(MultiLayerConfiguration)

#: The fields that are read in a way of their own.
_READ: dict[str, Callable[[str, Any], Any]] = {
    "layers": _mapping_of(LayerConfiguration),
    "params": _mapping_of(ParamConfiguration),
    "learning_rate_policy": _fields_of(LearningRatePolicy),
    "momentum_schedule": _points,
    "schedule": _points,
    "values": _points,
}
