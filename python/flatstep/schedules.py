r"""Schedules: a learning rate or momentum as a pure function of the iteration and the epoch.

A schedule goes wherever an updater takes a learning rate or a momentum. Below, i is the iteration,
or the epoch for ``schedule_type="EPOCH"``; both count from 0. Schedules are Deeplearning4j's, hold
no state, can be compared, hashed and pickled, and are validated when they are made: a number that
the formula cannot take is a ValueError, an argument of another type a TypeError, both naming the
argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flatstep import _core
from flatstep._coerce import integer, number, take_as, take_fields, wrong_type
from flatstep.serialization import Named

__all__ = [
    "CosineSchedule",
    "CycleSchedule",
    "ExponentialSchedule",
    "FixedSchedule",
    "InverseSchedule",
    "MapSchedule",
    "PolySchedule",
    "RampSchedule",
    "Schedule",
    "ScheduleType",
    "SigmoidSchedule",
    "StepSchedule",
]

ScheduleType = Literal["ITERATION", "EPOCH"]


class Schedule(Named):
    """What all schedules share. The classes of this module are all there are."""

    def value_at(self, iteration: int, epoch: int = 0) -> float:
        """The value at that iteration and epoch, both counted from 0."""
        return _core.schedule_value(
            self, integer("value_at", "iteration", iteration), integer("value_at", "epoch", epoch)
        )


class _Formula(Schedule):
    """A schedule that the core computes, found there by the name of its class."""

    def __post_init__(self) -> None:
        take_fields(type(self).__name__, self)
        _core.validate_schedule(self)


@dataclass(frozen=True)
class FixedSchedule(_Formula):
    """A constant: value = v. The same as giving the number itself.

    Args:
        value: v.
        schedule_type: has no effect on a constant.

    Example:
        >>> import flatstep as fs
        >>> fs.FixedSchedule(0.1).value_at(1000)
        0.1
    """

    value: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class ExponentialSchedule(_Formula):
    r"""Exponential decay: value = v·γⁱ.

    Args:
        initial: v, the value at i = 0.
        gamma: γ ≥ 0, the factor per iteration or epoch.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.ExponentialSchedule(0.1, gamma=0.5)
        >>> [schedule.value_at(i) for i in range(3)]
        [0.1, 0.05, 0.025]
    """

    initial: float
    gamma: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class InverseSchedule(_Formula):
    r"""Inverse decay: value = v/(1 + γ·i)^power.

    With ``power=1`` the rate that Robbins and Monro's conditions allow
    (https://doi.org/10.1214/aoms/1177729586).

    Args:
        initial: v, the value at i = 0.
        gamma: γ ≥ 0.
        power: the exponent.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.InverseSchedule(0.3, gamma=0.5, power=1)
        >>> schedule.value_at(0), schedule.value_at(2)
        (0.3, 0.15)
    """

    initial: float
    gamma: float
    power: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class StepSchedule(_Formula):
    r"""Decay in steps: value = v·rate^⌊i/step⌋.

    Args:
        initial: v, the value at i = 0.
        decay_rate: the factor per step, ≥ 0.
        step: how many iterations or epochs a step takes, > 0; need not be an integer.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.StepSchedule(0.1, decay_rate=0.5, step=10)
        >>> schedule.value_at(9), schedule.value_at(10)
        (0.1, 0.05)
    """

    initial: float
    decay_rate: float
    step: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class PolySchedule(_Formula):
    r"""Polynomial decay: value = v·(1 − i/max)^power, and 0 from i = max on.

    Deeplearning4j 1.0.0-M2.1 computes 1 + i/max, which grows; this is the formula it documents.

    Args:
        initial: v, the value at i = 0.
        power: the exponent, ≥ 0; 1 is a straight line.
        max_iter: max ≥ 1, where the value reaches 0.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.PolySchedule(0.1, power=2, max_iter=100)
        >>> schedule.value_at(50), schedule.value_at(100)
        (0.025, 0.0)
    """

    initial: float
    power: float
    max_iter: int
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class SigmoidSchedule(_Formula):
    r"""A sigmoid: value = v/(1 + exp(−γ·(i − step))).

    It rises to v for γ > 0 and falls from v for γ < 0; half way at i = step.

    Args:
        initial: v.
        gamma: γ, the steepness.
        step: where the value is v/2 (Deeplearning4j's ``stepSize``).
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> fs.SigmoidSchedule(0.1, gamma=0.9, step=4).value_at(4)
        0.05
    """

    initial: float
    gamma: float
    step: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class MapSchedule(_Formula):
    r"""Given values: the one at the greatest key ≤ i.

    Args:
        values: ``{i: value}``; must have the key 0, and no negative one.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.MapSchedule({0: 0.1, 100: 0.01})
        >>> schedule.value_at(99), schedule.value_at(100)
        (0.1, 0.01)
    """

    values: Mapping[int, float]
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class CycleSchedule(_Formula):
    r"""One cycle, again and again: up from low to high, down again, then annealing below low.

    With L = ``cycle_length``, a = ``annealing_length``, c = i mod L, st = ⌊(L − a)/2⌋ and
    inc = (high − low)/st: low + inc·c while c < st; high − inc·(c − st) while c < 2·st;
    low·decay^(c − (L − a)) after that. (Where L − a is odd, c = 2·st lies before the annealing and
    its exponent is −1, as in Deeplearning4j.)

    Smith and Topin 2017, https://arxiv.org/abs/1708.07120, as Deeplearning4j has it.

    Args:
        initial: low, the value at the start of a cycle.
        max: high, the value in its middle.
        cycle_length: L, at least 2.
        annealing_length: a, from 0 to L − 2.
        annealing_decay: the factor per iteration or epoch of annealing, > 0.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.CycleSchedule(1.0, 3.0, 6, 2, 0.5)
        >>> [schedule.value_at(i) for i in range(7)]
        [1.0, 2.0, 3.0, 2.0, 1.0, 0.5, 1.0]
    """

    initial: float
    max: float
    cycle_length: int
    annealing_length: int
    annealing_decay: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class CosineSchedule(_Formula):
    r"""Cosine annealing: value = final + (v − final)·(1 + cos(π·i/max))/2, and final from max on.

    SGDR without restarts (Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983), as
    PyTorch's CosineAnnealingLR until ``max_iter``. Deeplearning4j has no such schedule.

    Args:
        initial: v, the value at i = 0.
        max_iter: max ≥ 1, where the value reaches its floor.
        final: the floor.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.CosineSchedule(0.1, max_iter=100)
        >>> schedule.value_at(0), schedule.value_at(50), schedule.value_at(100)
        (0.1, 0.05, 0.0)
    """

    initial: float
    max_iter: int
    final: float = 0.0
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class RampSchedule(_Formula):
    r"""Warm-up: base·(iteration + 1)/n while iteration < n − 1, then the base schedule.

    The ramp always counts iterations, also over a base schedule that counts epochs.

    Goyal et al. 2017, section 2.2, https://arxiv.org/abs/1706.02677, as Deeplearning4j has it.

    Args:
        base: the schedule (or number) to warm up to.
        num_iter: n ≥ 1, the first iteration of the base schedule's own values being n − 1.
        schedule_type: has no effect on a ramp; give it to the base schedule.

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.RampSchedule(fs.FixedSchedule(1.0), num_iter=4)
        >>> [schedule.value_at(i) for i in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    base: Schedule | float
    num_iter: int
    schedule_type: ScheduleType = "ITERATION"


def number_or_schedule(where: str, argument: str, value: Any) -> float | Schedule:
    """`value` as a float, or the schedule that it is."""
    if isinstance(value, Schedule):
        if type(value).value_at is not Schedule.value_at:
            raise wrong_type(  # the steps would not see its value_at
                where, argument, "a number or a schedule of flatstep's own formulas", value
            )
        return value
    return number(where, argument, value, "a number or a schedule")


take_as(float | Schedule, number_or_schedule)
