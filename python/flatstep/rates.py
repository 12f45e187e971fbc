"""Learning rates that are set by hand, of which parameters, and made state all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import _core
from ._coerce import is_number, number
from .errors import ParameterKeyError
from .layout import Slot

__all__ = ["legal_rate", "places_with_rate", "replace_rates"]


def legal_rate(value: Any) -> float:
    """A rate that may be set: a finite number >= 0.

    Raises:
        ValueError, TypeError: any other.
    """
    if not is_number(value):
        raise TypeError(f"learning_rate: expected a finite number >= 0, got {type(value).__name__}")
    rate = number("set_learning_rate", "value", value)
    if not (math.isfinite(rate) and rate >= 0):
        raise ValueError(f"learning_rate: expected a finite number >= 0, got {value!r}")
    return rate


def places_with_rate(
    updater: _core.Updater,
    layout: Sequence[Slot],
    method: str,
    layer: str | int | None,
    param: str | None,
) -> list[int]:
    """The slots of that layer and parameter that have a learning rate, one at least.

    Args:
        method: the name of what asks, for messages.

    Raises:
        ParameterKeyError: there is no such parameter.
        ValueError: none of them has a learning rate.
    """
    chosen = [
        place
        for place, slot in enumerate(layout)
        if (layer is None or slot.layer == str(layer)) and (param is None or slot.param == param)
    ]
    if not chosen:
        names = [f"({slot.layer!r}, {slot.param!r})" for slot in layout[:12]]
        raise ParameterKeyError(
            f"{method}: no parameter with layer={layer!r}, param={param!r}; expected layer and "
            f"param of one of {', '.join(names)}"
        )
    with_rate = [place for place in chosen if updater._learning_rate(place, 0, 0) is not None]
    if not with_rate:
        raise ValueError(
            f"{method}: expected a parameter whose updater has a learning rate; those of "
            f"layer={layer!r}, param={param!r} have none"
        )
    return with_rate


def replace_rates(updater: _core.Updater, replaced: Mapping[int, float | None]) -> None:
    """Make these rates state, or state no more where they are None: all of it or nothing.

    Args:
        replaced: by slot, as they are before the slot's ``learning_rate_scale``.

    Raises:
        RuntimeError: a step is under way in another thread.
        ValueError: a rate that is no number of the parameters' dtype.
    """

    def replace() -> None:
        rates = updater._rates()
        for place, rate in replaced.items():
            rates[place] = (rate, rates[place][1])
        updater._set_rates(rates)

    updater._alone(replace)
