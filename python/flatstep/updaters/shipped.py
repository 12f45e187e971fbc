"""What the updaters that flatstep ships in Python share."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from flatstep._coerce import take_fields
from flatstep.schedules import Schedule

from .custom import CustomUpdater

__all__ = ["LEAST", "Ranges", "Shipped", "direction_of_adam", "root_mean_square"]

#: The least value of what must be greater than 0.
LEAST = math.ulp(0.0)

Ranges: TypeAlias = Mapping[str, tuple[float, float | None]]


class Shipped(CustomUpdater):
    """A CustomUpdater whose arguments are the fields of a frozen dataclass."""

    #: The arguments that have a range: the least and the greatest value, None for no greatest.
    ranges: ClassVar[Ranges] = MappingProxyType({})
    #: The arguments that are one of a few names.
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    def __post_init__(self) -> None:
        where = type(self).__name__
        take_fields(where, self)
        rate = self.learning_rate
        if rate is not None and not isinstance(rate, Schedule):
            _check_range(where, "learning_rate", rate, 0.0, None)
        for name, (least, greatest) in self.ranges.items():
            value = getattr(self, name)
            if value is not None:
                _check_range(where, name, value, least, greatest)
        for name, names in self.choices.items():
            value = getattr(self, name)
            if value not in names:
                listed = ", ".join(f'"{each}"' for each in names)
                raise ValueError(f"{where}: {name}: expected one of {listed}, got {value!r}")


def _check_range(
    where: str, argument: str, value: float, least: float, greatest: float | None
) -> None:
    if greatest is None and least == LEAST:
        fits, expected = 0 < value < math.inf, "a finite number > 0"
    elif greatest is None:
        fits, expected = least <= value < math.inf, f"a finite number >= {least:g}"
    elif least == -math.inf:
        fits, expected = least < value <= greatest, f"a finite number <= {greatest:g}"
    else:
        fits, expected = least <= value <= greatest, f"a number in [{least:g}, {greatest:g}]"
    if not fits:
        raise ValueError(f"{where}: {argument}: expected {expected}, got {value:g}")


def root_mean_square(array: Any) -> float:
    """The root of the mean of the squares."""
    return math.sqrt(float(np.mean(np.square(array))))


def direction_of_adam(
    g: Any,
    state: Mapping[str, Any],
    t: int,
    beta1: float,
    beta2: float,
    epsilon: float,
    *,
    epsilon_root: float = 0.0,
    nesterov: bool = False,
) -> Any:
    """What Adam multiplies by its rate, ε beside the root of the corrected v; takes in g."""
    m, v = state["m"], state["v"]
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * np.square(g)
    if nesterov:
        corrected = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
    else:
        corrected = m / (1 - beta1**t)
    return corrected / (np.sqrt(v / (1 - beta2**t) + epsilon_root) + epsilon)
