"""Schedules made of others, one after the other."""

# No postponed annotations: the fields are taken by their types, which are read at run time, when
# the classes are known as those of flatstep.schedules.
from dataclasses import dataclass
from typing import Any

from flatstep._coerce import integer, take_as, wrong_type

from .base import Formula, Schedule, ScheduleType, items, number_or_schedule

__all__ = [
    "RampSchedule",
    "SequenceSchedule",
]


@dataclass(frozen=True)
class RampSchedule(Formula):
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


@dataclass(frozen=True)
class SequenceSchedule(Formula):
    r"""One schedule after the other, each from its own 0; the last one goes on for ever.

    value = sₖ(i − tₖ) with tₖ = n₀ + … + nₖ₋₁, where k is the last with tₖ ≤ i. A warm-up and then
    a cosine is just that: the cosine begins where the warm-up ends.

    What the sequence counts starts anew for each schedule in it. A schedule that counts the other
    of the two, epochs in a sequence by iteration say, goes by the whole run's.

    As PyTorch's SequentialLR and optax's join_schedules.

    Args:
        pieces: pairs (schedule or number, length), the lengths integers ≥ 1. That of the last has
            no effect and may be None; instead of a pair it may be the schedule.
        schedule_type: whether the lengths are iterations ("ITERATION") or epochs ("EPOCH").

    Raises:
        ValueError: no pieces, a length below 1, or schedules made of too many others.
        TypeError: something else than pairs of a schedule and an integer.

    Example:
        >>> import flatstep as fs
        >>> warm_up = fs.LinearSchedule(0.0, 1.0, steps=4)
        >>> schedule = fs.SequenceSchedule([(warm_up, 4), fs.CosineSchedule(1.0, max_iter=8)])
        >>> [schedule.value_at(i) for i in (0, 2, 4, 8, 12)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    pieces: tuple[tuple[Schedule | float, int | None], ...]
    schedule_type: ScheduleType = "ITERATION"


def _pieces(
    where: str, argument: str, value: Any
) -> tuple[tuple[Schedule | float, int | None], ...]:
    given = items(where, argument, value, "pairs (schedule, length)")
    return tuple(
        _piece(where, f"{argument}[{k}]", piece, k + 1 == len(given))
        for k, piece in enumerate(given)
    )


def _piece(
    where: str, argument: str, value: Any, last: bool
) -> tuple[Schedule | float, int | None]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        schedule, length = value
    elif last and not isinstance(value, (tuple, list)):
        schedule, length = value, None
    else:
        raise wrong_type(where, argument, "a pair (schedule, length)", value)
    return number_or_schedule(where, argument, schedule), (
        None if last and length is None else integer(where, f"{argument}: length", length)
    )


take_as(tuple[tuple[Schedule | float, int | None], ...], _pieces)
