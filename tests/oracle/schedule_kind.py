"""What the tests know about a schedule, and how its arguments are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Kind:
    """All that the tests know about one schedule."""

    #: The value of i, of the arguments; an argument that is a schedule comes as its value. Or, of
    #: one that is made `of_others`, that of iteration, epoch, schedule type and the arguments as
    #: they are.
    formula: Callable[..., float]
    #: Draws arguments; is given what draws values, and what draws schedules to build on.
    arguments: Callable[[Any, Any], st.SearchStrategy[Mapping[str, Any]]]
    examples: tuple[Mapping[str, Any], ...]
    #: What makes the first example illegal, with the text of the error.
    errors: tuple[tuple[Mapping[str, Any], str], ...] = ()
    #: i is the iteration, whatever the schedule type.
    by_iteration: bool = False
    of_others: bool = False


VALUES, SCHEDULES = "values", "schedules"
COUNTS = st.integers(1, 40)


def drawn(**arguments: Any) -> Callable[[Any, Any], st.SearchStrategy[Mapping[str, Any]]]:
    """Each argument by itself; VALUES and SCHEDULES stand for what draws those."""

    def draw(values: Any, schedules: Any) -> st.SearchStrategy[Mapping[str, Any]]:
        given = {VALUES: values, SCHEDULES: schedules}
        return st.fixed_dictionaries(
            {
                name: given[each] if isinstance(each, str) else each
                for name, each in arguments.items()
            }
        )

    return draw


def raised(base: float, exponent: float) -> float:
    """base^exponent; a whole exponent by squaring, the same bits everywhere."""
    whole = int(abs(exponent))
    if whole != abs(exponent):
        return math.pow(base, exponent)
    result = 1.0
    while whole:
        if whole & 1:
            result *= base
        base *= base
        whole >>= 1
    return 1 / result if exponent < 0 else result


def half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def straight(start: float, end: float, part: float) -> float:
    return start * (1 - part) + end * part
