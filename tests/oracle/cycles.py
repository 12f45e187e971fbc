"""Schedules that go up and down: one function and one row each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from oracle.schedule_kind import COUNTS, VALUES, Kind, drawn, half_cosine, raised, straight


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


def cosine_restarts(
    i: int, *, initial: float, first: int, multiplier: int = 1, final: float = 0.0
) -> float:
    length = first
    while i >= length:
        i -= length
        length *= multiplier
    return half_cosine(initial, final, i / length)


def one_cycle_through(
    i: int,
    turns: tuple[float, float, float],
    total_steps: int,
    pct_start: float,
    anneal_strategy: str,
    three_phase: bool,
) -> float:
    """From the first of the turns to the second and the third; with three phases also back."""
    start, peak, end = turns
    between = {"cos": half_cosine, "linear": straight}[anneal_strategy]
    if i > total_steps - 1:
        return end
    # Where each phase ends, and at what.
    phases = [(pct_start * total_steps - 1, peak), (total_steps - 1, end)]
    if three_phase:
        phases.insert(1, (2 * pct_start * total_steps - 2, start))
    begin, value = 0.0, start
    for last, target in phases[:-1]:
        if i <= last:
            return target if last == begin else between(value, target, (i - begin) / (last - begin))
        begin, value = last, target
    last, target = phases[-1]
    return between(value, target, (i - begin) / (last - begin))


def one_cycle(
    i: int,
    *,
    max_rate: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> float:
    start = max_rate / div_factor
    turns = (start, max_rate, start / final_div_factor)
    return one_cycle_through(i, turns, total_steps, pct_start, anneal_strategy, three_phase)


def one_cycle_momentum(
    i: int,
    *,
    total_steps: int,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    three_phase: bool = False,
) -> float:
    turns = (max_momentum, base_momentum, max_momentum)
    return one_cycle_through(i, turns, total_steps, pct_start, anneal_strategy, three_phase)


def warmup_stable_decay(
    i: int,
    *,
    max_rate: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    initial: float = 0.0,
    final: float = 0.0,
    anneal_strategy: str = "linear",
) -> float:
    if i < warmup_steps:
        return straight(initial, max_rate, i / warmup_steps)
    part = min(max((i - warmup_steps - stable_steps) / decay_steps, 0.0), 1.0)
    if anneal_strategy == "sqrt":
        return straight(max_rate, final, math.sqrt(part))
    return {"cos": half_cosine, "linear": straight}[anneal_strategy](max_rate, final, part)


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


one_cycle_shapes = st.fixed_dictionaries(
    {
        "total_steps": COUNTS,
        "pct_start": st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "three_phase": st.booleans(),
    }
)


@st.composite
def one_cycles(draw: st.DrawFn, values: Any, _: Any) -> Mapping[str, Any]:
    return {
        "max_rate": draw(values),
        **draw(one_cycle_shapes),
        "div_factor": draw(st.floats(1, 100)),
        "final_div_factor": draw(st.floats(1, 100)),
    }


@st.composite
def one_cycle_momenta(draw: st.DrawFn, values: Any, _: Any) -> Mapping[str, Any]:
    return {"base_momentum": draw(values), "max_momentum": draw(values), **draw(one_cycle_shapes)}


CYCLES: dict[str, Kind] = {
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
    "CosineRestarts": Kind(
        cosine_restarts,
        drawn(initial=VALUES, first=COUNTS, multiplier=st.integers(1, 3), final=VALUES),
        (
            {"initial": 0.1, "first": 3},
            {"initial": 0.1, "first": 2, "multiplier": 2, "final": 0.01},
        ),
        (
            ({"first": 0}, "first: expected an integer >= 1, got 0"),
            ({"multiplier": 0}, "multiplier: expected an integer >= 1, got 0"),
        ),
    ),
    "OneCycle": Kind(
        one_cycle,
        one_cycles,
        (
            {"max_rate": 0.1, "total_steps": 10},
            {
                "max_rate": 0.1,
                "total_steps": 12,
                "pct_start": 0.25,
                "anneal_strategy": "linear",
                "div_factor": 10.0,
                "final_div_factor": 100.0,
                "three_phase": True,
            },
        ),
        (
            ({"total_steps": 0}, "total_steps: expected an integer >= 1, got 0"),
            ({"pct_start": 1.5}, "pct_start: expected a number in [0, 1], got 1.5"),
            ({"div_factor": 0.0}, "div_factor: expected a finite number > 0, got 0"),
            ({"final_div_factor": -1.0}, "final_div_factor: expected a finite number > 0, got -1"),
            (
                {"div_factor": 1e-320},
                "max_rate / div_factor: expected a finite number, got inf",
            ),
            (
                {"anneal_strategy": "sqrt"},
                'anneal_strategy: expected one of "cos", "linear", got "sqrt"',
            ),
        ),
    ),
    "OneCycleMomentum": Kind(
        one_cycle_momentum,
        one_cycle_momenta,
        (
            {"total_steps": 10},
            {
                "total_steps": 12,
                "base_momentum": 0.5,
                "max_momentum": 0.75,
                "pct_start": 0.25,
                "anneal_strategy": "linear",
                "three_phase": True,
            },
        ),
        (
            ({"total_steps": -1}, "total_steps: expected an integer >= 1, got -1"),
            ({"pct_start": math.nan}, "pct_start: expected a number in [0, 1], got nan"),
            (
                {"base_momentum": math.inf},
                "base_momentum: expected a finite number, got inf",
            ),
        ),
    ),
    "WarmupStableDecay": Kind(
        warmup_stable_decay,
        drawn(
            max_rate=VALUES,
            warmup_steps=st.integers(0, 40),
            stable_steps=st.integers(0, 40),
            decay_steps=COUNTS,
            initial=VALUES,
            final=VALUES,
            anneal_strategy=st.sampled_from(["linear", "cos", "sqrt"]),
        ),
        (
            {"max_rate": 0.1, "warmup_steps": 3, "stable_steps": 2, "decay_steps": 4},
            {
                "max_rate": 0.1,
                "warmup_steps": 0,
                "stable_steps": 0,
                "decay_steps": 9,
                "final": 0.01,
                "anneal_strategy": "sqrt",
            },
            {
                "max_rate": 0.1,
                "warmup_steps": 2,
                "stable_steps": 0,
                "decay_steps": 6,
                "initial": 0.05,
                "anneal_strategy": "cos",
            },
        ),
        (
            ({"warmup_steps": -1}, "warmup_steps: expected an integer >= 0, got -1"),
            ({"stable_steps": -1}, "stable_steps: expected an integer >= 0, got -1"),
            ({"decay_steps": 0}, "decay_steps: expected an integer >= 1, got 0"),
            (
                {"anneal_strategy": "cosine"},
                'anneal_strategy: expected one of "cos", "linear", "sqrt", got "cosine"',
            ),
        ),
    ),
}
