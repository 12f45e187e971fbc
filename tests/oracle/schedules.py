"""Schedules and learning-rate policies, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

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


KINDS: dict[str, Callable[..., float]] = {
    "Fixed": fixed,
    "Exponential": exponential,
    "Inverse": inverse,
    "Step": step,
    "Poly": poly,
    "Sigmoid": sigmoid,
    "Map": from_map,
    "Cosine": cosine,
    "Cycle": cycle,
}


def value_at(number: Number, iteration: int, epoch: int) -> float:
    """The value of a number or schedule at an iteration and epoch."""
    if not isinstance(number, Schedule):
        return number
    values: dict[str, Any] = dict(number.values)
    if number.kind == "Ramp":  # the only one that builds on another
        base = value_at(values["base"], iteration, epoch)
        warming_up = iteration < values["num_iter"] - 1
        return (iteration + 1) / values["num_iter"] * base if warming_up else base
    return KINDS[number.kind](iteration if number.schedule_type == "ITERATION" else epoch, **values)


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
