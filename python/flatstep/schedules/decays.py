"""Schedules that fall or rise, and tables of values."""

# No postponed annotations: the fields are taken by their types, which are read at run time, when
# the classes are known as those of flatstep.schedules.
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flatstep._coerce import at_least, is_number, number, take_as, wrong_type

from .base import Formula, ScheduleType, items

__all__ = [
    "CosineSchedule",
    "ExponentialSchedule",
    "FixedSchedule",
    "InverseSchedule",
    "LinearSchedule",
    "MapSchedule",
    "PolySchedule",
    "SigmoidSchedule",
    "StepSchedule",
    "TableSchedule",
]


@dataclass(frozen=True)
class FixedSchedule(Formula):
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
class ExponentialSchedule(Formula):
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
class InverseSchedule(Formula):
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
class StepSchedule(Formula):
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
class PolySchedule(Formula):
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
class SigmoidSchedule(Formula):
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
class MapSchedule(Formula):
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
class CosineSchedule(Formula):
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
class LinearSchedule(Formula):
    r"""A straight line: value = v·(1 − i/n) + final·i/n, and final from i = n on.

    As PyTorch's LinearLR and optax's linear_schedule.

    Args:
        initial: v, the value at i = 0.
        final: the value from i = n on.
        steps: n ≥ 1.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.LinearSchedule(0.0, 1.0, steps=4)
        >>> [schedule.value_at(i) for i in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    initial: float
    final: float
    steps: int
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class TableSchedule(Formula):
    r"""One value for each i; the last one from there on.

    What no other schedule computes: `from_callable` tabulates any function. The values are part of
    the configuration, of its JSON and of checkpoints.

    Args:
        values: the value at i = 0, at i = 1, …; at least one. A list or an array will do.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Raises:
        ValueError: no values, or one that is not finite.
        TypeError: something else than numbers.

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.TableSchedule([0.5, 0.25, 0.125])
        >>> schedule.value_at(1), schedule.value_at(100)
        (0.25, 0.125)
    """

    values: tuple[float, ...]
    schedule_type: ScheduleType = "ITERATION"

    @classmethod
    def from_callable(
        cls,
        function: Callable[[int], Any],
        steps: int,
        schedule_type: ScheduleType = "ITERATION",
    ) -> "TableSchedule":
        """The values that a function of i gives for i = 0, …, steps − 1.

        Args:
            function: takes an int and returns a number, or an array of one (optax's schedules).
            steps: how often to call it, ≥ 1.
            schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

        Raises:
            ValueError: ``steps`` below 1, or a value that is not finite.
            TypeError: no function, or something that is no number came from it.

        Example:
            >>> import flatstep as fs
            >>> fs.TableSchedule.from_callable(lambda i: 1 / (i + 1), steps=3).values
            (1.0, 0.5, 0.3333333333333333)
        """
        where = "TableSchedule.from_callable"
        if not callable(function):
            raise wrong_type(where, "function", "a function of i", function)
        return cls(
            tuple(
                _number_of(where, f"function({i})", function(i))
                for i in range(at_least(1, where, "steps", steps))
            ),
            schedule_type,
        )


def _number_of(where: str, argument: str, value: Any) -> float:
    """A number, or the one that is in an array of no dimensions."""
    if not is_number(value) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return number(where, argument, value)


def _numbers(where: str, argument: str, value: Any) -> tuple[float, ...]:
    given = items(where, argument, value, "a sequence of numbers")
    return tuple(number(where, f"{argument}[{i}]", x) for i, x in enumerate(given))


take_as(tuple[float, ...], _numbers)
