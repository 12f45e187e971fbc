"""Schedules, one function and one row each, and learning-rate policies.

A new schedule needs its function and its row in `KINDS`, and nothing else in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from oracle.settings import Number, Policy, Schedule


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


def cycle(
    i: int,
    *,
    initial: float,
    max: float,
    cycle_length: int,
    annealing_length: int,
    annealing_decay: float,
) -> float:
    half = (cycle_length - annealing_length) // 2
    increment = (max - initial) / half
    position = i % cycle_length
    if position < half:
        return initial + increment * position
    if position < 2 * half:
        return max - increment * (position - half)
    return initial * raised(annealing_decay, position - (cycle_length - annealing_length))


def ramp(i: int, *, base: float, num_iter: int) -> float:
    return (i + 1) / num_iter * base if i < num_iter - 1 else base


@dataclass(frozen=True)
class Kind:
    """All that the tests know about one schedule."""

    #: The value of i, of the arguments; an argument that is a schedule comes as its value.
    formula: Callable[..., float]
    #: Draws arguments; is given what draws values, and what draws schedules to build on.
    arguments: Callable[[Any, Any], st.SearchStrategy[Mapping[str, Any]]]
    examples: tuple[Mapping[str, Any], ...]
    #: What makes the first example illegal, with the text of the error.
    errors: tuple[tuple[Mapping[str, Any], str], ...] = ()
    #: i is the iteration, whatever the schedule type.
    by_iteration: bool = False


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


VALUES, SCHEDULES = "values", "schedules"
COUNTS = st.integers(1, 40)


def values_from_zero(values: Any, _: Any) -> st.SearchStrategy[Mapping[str, Any]]:
    later = st.dictionaries(COUNTS, values)
    table = st.builds(lambda first, rest: {0: first, **rest}, values, later)
    return st.fixed_dictionaries({"values": table})


@st.composite
def cycles(draw: st.DrawFn, values: Any, _: Any) -> Mapping[str, Any]:
    cycle_length = draw(st.integers(2, 30))
    return {
        "initial": draw(values),
        "max": draw(values),
        "cycle_length": cycle_length,
        "annealing_length": draw(st.integers(0, cycle_length - 2)),
        "annealing_decay": draw(st.floats(0.5, 1.0)),
    }


KINDS: dict[str, Kind] = {
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
    "Cycle": Kind(
        cycle,
        cycles,
        (
            {
                "initial": 0.01,
                "max": 0.1,
                "cycle_length": 10,
                "annealing_length": 2,
                "annealing_decay": 0.5,
            },
        ),
        (
            (
                {"annealing_length": 9},
                "annealing_length: expected at most cycle_length - 2 = 8, got 9",
            ),
        ),
    ),
    "Ramp": Kind(
        ramp,
        drawn(base=SCHEDULES, num_iter=COUNTS),
        (
            {
                "base": Schedule("Step", {"initial": 0.1, "decay_rate": 0.5, "step": 2}),
                "num_iter": 6,
            },
            {
                "base": Schedule(
                    "Ramp",
                    {"base": Schedule("Map", {"values": {0: 0.1, 3: 0.2}}), "num_iter": 4},
                ),
                "num_iter": 5,
            },
            {"base": 0.1, "num_iter": 5},
        ),
        (({"num_iter": 0}, "num_iter: expected an integer >= 1, got 0"),),
        by_iteration=True,
    ),
}

TYPES = ("ITERATION", "EPOCH")
EXAMPLES = tuple(
    Schedule(name, arguments, schedule_type)
    for name, kind in KINDS.items()
    for arguments in kind.examples
    for schedule_type in TYPES
)


def schedules(values: st.SearchStrategy[float]) -> st.SearchStrategy[Schedule]:
    """Draws every schedule, by iteration and epoch; `values` draws what it starts from."""

    def of(names: list[str], bases: Any) -> st.SearchStrategy[Schedule]:
        return st.one_of(
            st.builds(
                Schedule,
                st.just(name),
                KINDS[name].arguments(values, bases),
                st.sampled_from(TYPES),
            )
            for name in names
        )

    plain = of([name for name, kind in KINDS.items() if not kind.by_iteration], None)
    return of(list(KINDS), plain)


def value_at(number: Number, iteration: int, epoch: int) -> float:
    """The value of a number or schedule at an iteration and epoch."""
    if not isinstance(number, Schedule):
        return number
    kind = KINDS[number.kind]
    arguments: dict[str, Any] = {
        name: value_at(each, iteration, epoch) if isinstance(each, Schedule) else each
        for name, each in number.values.items()
    }
    by_iteration = kind.by_iteration or number.schedule_type == "ITERATION"
    return kind.formula(iteration if by_iteration else epoch, **arguments)


def next_rate(policy: Policy, rate: float, iteration: int) -> float:
    """What a learning-rate policy makes of the rate that its last call left."""
    if policy.kind == "Exponential":
        return rate * raised(policy.decay_rate, iteration)
    if policy.kind == "Inverse":
        return rate / raised(1 + policy.decay_rate * iteration, policy.power)
    if policy.kind == "Step":
        return rate * raised(policy.decay_rate, math.floor(iteration / policy.steps))
    if policy.kind == "TorchStep":
        return rate * policy.decay_rate if iteration > 1 and policy.steps % iteration == 0 else rate
    if policy.kind == "Poly" and iteration >= policy.num_iterations:
        return 0.0
    if policy.kind == "Poly":
        return rate * raised(1 - iteration / policy.num_iterations, policy.power)
    if policy.kind == "Sigmoid":
        return rate / (1 + exp(-policy.decay_rate * (iteration - policy.steps)))
    if policy.kind == "Schedule":
        return policy.schedule.get(iteration, rate)
    raise ValueError(f"unknown policy {policy.kind}")
