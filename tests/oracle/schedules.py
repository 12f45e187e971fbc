"""Schedules, one function and one row each, and learning-rate policies.

A new schedule needs its function and its row, here or in `decays` or `cycles`, and nothing else in
the tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from oracle.cycles import CYCLES
from oracle.decays import DECAYS, exp
from oracle.schedule_kind import COUNTS, SCHEDULES, Kind, drawn, raised
from oracle.settings import Number, Policy, Schedule


def ramp(i: int, *, base: float, num_iter: int) -> float:
    return (i + 1) / num_iter * base if i < num_iter - 1 else base


def sequence(
    iteration: int,
    epoch: int,
    schedule_type: str,
    *,
    pieces: Sequence[tuple[Number, int | None]],
) -> float:
    """What it counts goes through the lengths; what it does not is left alone."""
    of_epochs = schedule_type == "EPOCH"
    i = epoch if of_epochs else iteration
    place = 0
    for _, length in pieces[:-1]:
        assert length is not None
        if i < length:
            break
        i -= length
        place += 1
    return value_at(pieces[place][0], *((iteration, i) if of_epochs else (i, epoch)))


def product(iteration: int, epoch: int, schedule_type: str, *, factors: Sequence[Number]) -> float:
    return math.prod(value_at(factor, iteration, epoch) for factor in factors)


def sequences(_: Any, schedules: Any) -> st.SearchStrategy[Mapping[str, Any]]:
    before = st.lists(st.tuples(schedules, COUNTS), max_size=3)
    last = st.tuples(schedules, st.none() | COUNTS)
    pieces = st.builds(lambda some, one: (*some, one), before, last)
    return st.fixed_dictionaries({"pieces": pieces})


def products(_: Any, schedules: Any) -> st.SearchStrategy[Mapping[str, Any]]:
    """Numbers below 1 and one schedule, so that a momentum stays one."""
    factors = st.tuples(st.floats(0.25, 1), schedules, st.floats(0.25, 1))
    return st.fixed_dictionaries({"factors": factors})


KINDS: dict[str, Kind] = {
    **DECAYS,
    **CYCLES,
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
    "Sequence": Kind(
        sequence,
        sequences,
        (
            {
                "pieces": (
                    (Schedule("Linear", {"initial": 0.0, "final": 0.1, "steps": 3}), 3),
                    (0.1, 2),
                    (Schedule("Cosine", {"initial": 0.1, "max_iter": 6}), 6),
                )
            },
            {
                "pieces": (
                    (Schedule("Step", {"initial": 0.1, "decay_rate": 0.5, "step": 2}), 4),
                    (
                        Schedule(
                            "Sequence",
                            {
                                "pieces": (
                                    (Schedule("Table", {"values": (0.3, 0.2)}, "EPOCH"), 1),
                                    (0.05, None),
                                )
                            },
                            "EPOCH",
                        ),
                        None,
                    ),
                )
            },
        ),
        (
            ({"pieces": ()}, "pieces: expected at least one schedule, got none"),
            (
                {"pieces": ((0.1, 0), (0.2, 1))},
                "pieces[0]: length: expected an integer >= 1, got 0",
            ),
            (
                {"pieces": ((0.1, 1), (0.2, 2**63 - 1), (0.3, 1))},
                "pieces[1]: length: expected lengths whose sum is an integer of 64 bits, got 1 and "
                "9223372036854775807",
            ),
        ),
        of_others=True,
    ),
    "Product": Kind(
        product,
        products,
        (
            {"factors": (0.5, Schedule("Exponential", {"initial": 0.1, "gamma": 0.9}))},
            {
                "factors": (
                    Schedule("Linear", {"initial": 1.0, "final": 0.5, "steps": 8}, "EPOCH"),
                    Schedule("Inverse", {"initial": 0.1, "gamma": 0.5, "power": 1.0}),
                )
            },
        ),
        (({"factors": ()}, "factors: expected at least one schedule, got none"),),
        of_others=True,
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

    plain = of(
        [name for name, kind in KINDS.items() if not (kind.by_iteration or kind.of_others)], None
    )
    return of(list(KINDS), plain)


def value_at(number: Number, iteration: int, epoch: int) -> float:
    """The value of a number or schedule at an iteration and epoch."""
    if not isinstance(number, Schedule):
        return number
    kind = KINDS[number.kind]
    if kind.of_others:
        return kind.formula(iteration, epoch, number.schedule_type, **number.values)
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
