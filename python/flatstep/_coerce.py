"""How the configuration classes take their arguments: numbers, integers, flags and mappings.

Each function returns the value in its one form (a float, an int, a bool, a FrozenMapping), or
raises a TypeError that names the argument. Whether a value is a legal one is for the C++ core to
say. Which function takes a field is said once, for its type.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from ._shown import shown

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V], Generic[K, V]):
    """An immutable, hashable mapping that prints as the dict it was made from."""

    __slots__ = ("_items",)

    _items: dict[K, V]

    def __init__(self, items: Mapping[K, V]) -> None:
        object.__setattr__(self, "_items", dict(items))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a FrozenMapping cannot be changed; make a new one")

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[FrozenMapping[K, V]], tuple[dict[K, V]]]:
        return FrozenMapping, (self._items,)


def wrong_type(where: str, argument: str, expected: str, got: object) -> TypeError:
    """The error for an argument of another type."""
    kind = type(got).__name__
    return TypeError(f"{where}: {argument}: expected {expected}, got {shown(got)} of type {kind}")


def is_number(value: object) -> bool:
    """Whether `value` is a real number: Python's or NumPy's, but no bool."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def number(where: str, argument: str, value: Any, expected: str = "a number") -> float:
    """`value` as a float."""
    if not is_number(value):
        raise wrong_type(where, argument, expected, value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{where}: {argument}: expected {expected} below 1e308, got an integer of "
            f"{value.bit_length()} bits"
        ) from None


def integer(where: str, argument: str, value: Any) -> int:
    """`value` as an int; a float will not do, not even 3.0."""
    if isinstance(value, bool):
        raise wrong_type(where, argument, "an integer", value)
    try:
        return operator.index(value)
    except TypeError:
        raise wrong_type(where, argument, "an integer", value) from None


def at_least(least: int, where: str, argument: str, value: Any) -> int:
    """`value` as an int >= `least`."""
    number_of = integer(where, argument, value)
    if number_of < least:
        raise ValueError(f"{where}: {argument}: expected an integer >= {least}, got {number_of}")
    return number_of


def flag(where: str, argument: str, value: Any) -> bool:
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise wrong_type(where, argument, "True or False", value)
    return bool(value)


def mapping(
    where: str,
    argument: str,
    value: Any,
    expected: str,
    key: Callable[[str, str, Any], K],
    item: Callable[[str, str, Any], V],
) -> FrozenMapping[K, V]:
    """`value` as a FrozenMapping, its keys and values taken by `key` and `item`."""
    if not isinstance(value, Mapping):
        raise wrong_type(where, argument, expected, value)
    taken: dict[K, V] = {}
    for k, v in value.items():
        name = key(where, f"key of {argument}", k)
        if name in taken:  # two keys that mean the same, such as 0 and "0"
            twice = shown(name)
            raise ValueError(f"{where}: {argument}: expected each key once, got {twice} twice")
        taken[name] = item(where, f"{argument}[{shown(k)}]", v)
    return FrozenMapping(taken)


def points(where: str, argument: str, value: Any) -> FrozenMapping[int, float]:
    """`value` as {iteration: number}, sorted by iteration."""
    taken = mapping(where, argument, value, "a mapping {iteration: number}", integer, number)
    return FrozenMapping(dict(sorted(taken.items())))


def string(where: str, argument: str, value: Any) -> str:
    """`value` as the string that it must be."""
    if not isinstance(value, str):
        raise wrong_type(where, argument, "a string", value)
    return value


def strings(where: str, argument: str, value: Any) -> tuple[str, ...]:
    """`value` as a tuple of strings."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong_type(where, argument, "a tuple of strings", value)
    return tuple(string(where, argument, name) for name in value)


# ----------------------------------------------------------------------------- fields by their type

Take: TypeAlias = Callable[[str, str, Any], Any]


def _kinds(hint: Any) -> frozenset[Any]:
    """The types of which an annotation allows one; None, which means "not given", is left out."""
    union = get_origin(hint) in (Union, UnionType)
    return frozenset(get_args(hint) if union else [hint]) - {NoneType}


#: How a field is taken, by the types that it may have. The modules of other types add theirs.
_TAKE: dict[frozenset[Any], Take] = {
    _kinds(float): number,
    _kinds(int): integer,
    _kinds(bool): flag,
    _kinds(str): string,
    _kinds(tuple[str, ...]): strings,
    _kinds(Mapping[int, float]): points,
}


def take_as(hint: Any, take: Take) -> None:
    """Have fields of this type taken by a function; those of no known type stay as they are."""
    _TAKE[_kinds(hint)] = take


@cache
def field_types(cls: Any) -> dict[str, frozenset[Any]]:
    """The types that each field of one of flatstep's dataclasses may have."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):  # a user's subclass may have annotations without a meaning
        if base.__module__.partition(".")[0] == __package__:
            hints |= get_type_hints(base)
    return {field.name: _kinds(hints.get(field.name, Any)) for field in fields(cls)}


def take_fields(where: str, instance: Any) -> None:
    """Put every field of a dataclass into its one form; one that defaults to None may be None."""
    cls: Any = type(instance)
    kinds = field_types(cls)
    for field in fields(instance):
        value, take = getattr(instance, field.name), _TAKE.get(kinds[field.name])
        if take is not None and (value is not None or field.default is not None):
            object.__setattr__(instance, field.name, take(where, field.name, value))


# ------------------------------------------------------------------------- arguments by their names

#: What other libraries call arguments that flatstep has, too.
_ELSEWHERE = {
    "lr": ("learning_rate",),
    "betas": ("beta1", "beta2"),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "b1": ("beta1",),
    "b2": ("beta2",),
    "eps": ("epsilon",),
    "optimizer": ("updater",),
    "wd": ("weight_decay",),
}


class KnowsItsArguments:
    """A dataclass that says the names of its arguments where it is given one that it has not."""

    def __new__(cls, *_: Any, **named: Any) -> Any:
        owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if named and "__dataclass_fields__" in vars(owner):  # no __init__ of a user's own
            expected = [field.name for field in fields(owner) if field.init]
            unknown = [name for name in named if name not in expected]
            if unknown:
                raise TypeError(_unknown_argument(cls.__name__, unknown[0], expected))
        return super().__new__(cls)


def constructor_arguments(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor by name. Of its __init__, also where that is inherited: of
    such a class `inspect.signature` knows __new__ alone before Python 3.11.4."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if owner is object:
        return {}
    named = inspect.signature(vars(owner)["__init__"]).parameters
    return dict(list(named.items())[1:])


def _unknown_argument(where: str, name: str, expected: list[str]) -> str:
    ours = [other for other in _ELSEWHERE.get(name, ()) if other in expected]
    remedy = f"; {name} is {' and '.join(ours)} here" if ours else ""
    return f'{where}: expected the arguments {", ".join(expected)}, got "{name}"{remedy}'
