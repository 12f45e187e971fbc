"""Schedules that fall or rise, and tables of values: one function and one row each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from oracle.schedule_kind import COUNTS, VALUES, Kind, drawn, raised, straight


def exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def fixed(i: int, *, value: float) -> float:
    return value


def exponential(i: int, *, initial: float, gamma: float) -> float:
    return initial * raised(gamma, i)


def inverse(i: int, *, initial: float, gamma: float, power: float) -> float:
    return initial / raised(1 + gamma * i, power)


def step(i: int, *, initial: float, decay_rate: float, step: float) -> float:
    return initial * raised(decay_rate, math.floor(i / step))


def poly(i: int, *, initial: float, power: float, max_iter: int) -> float:
    return initial * raised(1 - i / max_iter, power) if i < max_iter else 0.0


def sigmoid(i: int, *, initial: float, gamma: float, step: int) -> float:
    return initial / (1 + exp(-gamma * (i - step)))


def from_map(i: int, *, values: Mapping[int, float]) -> float:
    return values[max(key for key in values if key <= i)]


def cosine(i: int, *, initial: float, max_iter: int, final: float = 0.0) -> float:
    if i >= max_iter:
        return final
    return final + (initial - final) * (0.5 * (1 + math.cos(math.pi * (i / max_iter))))


def linear(i: int, *, initial: float, final: float, steps: int) -> float:
    return straight(initial, final, min(i / steps, 1.0))


def table(i: int, *, values: Sequence[float]) -> float:
    return values[min(i, len(values) - 1)]


def values_from_zero(values: Any, _: Any) -> st.SearchStrategy[Mapping[str, Any]]:
    later = st.dictionaries(COUNTS, values)
    table = st.builds(lambda first, rest: {0: first, **rest}, values, later)
    return st.fixed_dictionaries({"values": table})


DECAYS: dict[str, Kind] = {
    "Fixed": Kind(fixed, drawn(value=VALUES), ({"value": 0.1},)),
    "Exponential": Kind(
        exponential,
        drawn(initial=VALUES, gamma=st.floats(0.5, 1.0)),
        ({"initial": 0.1, "gamma": 0.9},),
        (({"gamma": -0.5}, "gamma: expected a finite number >= 0, got -0.5"),),
    ),
    "Inverse": Kind(
        inverse,
        drawn(initial=VALUES, gamma=st.floats(0, 2), power=st.floats(0, 3)),
        ({"initial": 0.1, "gamma": 0.5, "power": 0.75},),
        (({"initial": math.inf}, "initial: expected a finite number, got inf"),),
    ),
    "Step": Kind(
        step,
        drawn(initial=VALUES, decay_rate=st.floats(0.1, 1), step=st.floats(0.5, 30)),
        (
            {"initial": 0.1, "decay_rate": 0.5, "step": 2},
            {"initial": 0.1, "decay_rate": 0.5, "step": 2.5},
        ),
        (({"step": 0}, "step: expected a finite number > 0, got 0"),),
    ),
    "Poly": Kind(
        poly,
        drawn(initial=VALUES, power=st.floats(0, 3), max_iter=COUNTS),
        (
            {"initial": 0.1, "power": 2, "max_iter": 20},
            {"initial": 0.1, "power": 2, "max_iter": 100},
        ),
        (({"max_iter": 0}, "max_iter: expected an integer >= 1, got 0"),),
    ),
    "Sigmoid": Kind(
        sigmoid,
        drawn(initial=VALUES, gamma=st.floats(-1, 1), step=COUNTS),
        (
            {"initial": 0.1, "gamma": 0.9, "step": 4},
            {"initial": 0.1, "gamma": -0.9, "step": 4},
        ),
    ),
    "Map": Kind(
        from_map,
        values_from_zero,
        (
            {"values": {0: 0.1, 5: 0.05, 6: 0.3}},
            {"values": {0: 0.1, 10: 0.05, 9: 0.07}},
        ),
    ),
    "Cosine": Kind(
        cosine,
        drawn(initial=VALUES, max_iter=COUNTS, final=VALUES),
        (
            {"initial": 0.1, "max_iter": 50},
            {"initial": 0.1, "max_iter": 50, "final": 1 / 3},
        ),
    ),
    "Linear": Kind(
        linear,
        drawn(initial=VALUES, final=VALUES, steps=COUNTS),
        ({"initial": 0.1, "final": 0.01, "steps": 7}, {"initial": 0.0, "final": 0.1, "steps": 5}),
        (
            ({"steps": 0}, "steps: expected an integer >= 1, got 0"),
            ({"final": math.nan}, "final: expected a finite number, got nan"),
        ),
    ),
    "Table": Kind(
        table,
        lambda values, _: st.fixed_dictionaries(
            {"values": st.lists(values, min_size=1, max_size=30).map(tuple)}
        ),
        ({"values": (0.1, 0.05, 0.3)},),
        (
            ({"values": ()}, "values: expected at least one number, got none"),
            ({"values": (0.1, math.inf)}, "values[1]: expected a finite number, got inf"),
        ),
    ),
}
