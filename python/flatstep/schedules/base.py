"""What all schedules share, and their products."""

# No postponed annotations: the fields are taken by their types, which are read at run time, when
# the classes are known as those of flatstep.schedules.
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flatstep import _core
from flatstep._coerce import integer, is_number, number, take_as, take_fields, wrong_type
from flatstep.serialization import Named

__all__ = ["ProductSchedule", "Schedule", "ScheduleType"]

ScheduleType = Literal["ITERATION", "EPOCH"]


class Schedule(Named):
    """What all schedules share. The classes of this module are all there are.

    Example:
        >>> import flatstep as fs
        >>> schedule = 0.5 * fs.LinearSchedule(1.0, 0.0, 10)
        >>> schedule.value_at(0), schedule.value_at(5)
        (0.5, 0.25)
    """

    #: NumPy's numbers leave a product with a schedule to the schedule.
    __array_ufunc__ = None

    def value_at(self, iteration: int, epoch: int = 0) -> float:
        """The value at that iteration and epoch, both counted from 0."""
        return _core.schedule_value(
            self, integer("value_at", "iteration", iteration), integer("value_at", "epoch", epoch)
        )

    def __mul__(self, other: Any) -> "ProductSchedule":
        if isinstance(other, Schedule):
            return ProductSchedule((*_factors(self), *_factors(other)))
        return self.__rmul__(other)

    def __rmul__(self, other: Any) -> "ProductSchedule":
        if not is_number(other):
            return NotImplemented
        return ProductSchedule((other, *_factors(self)))


class Formula(Schedule):
    """A schedule that the core computes, found there by the name of its class."""

    def __post_init__(self) -> None:
        take_fields(type(self).__name__, self)
        _core.validate_schedule(self)


@dataclass(frozen=True)
class ProductSchedule(Formula):
    r"""A product: value = f₁·f₂·…, multiplied from the left.

    ``0.5 * schedule`` and ``schedule * 0.5`` make one, the number first, and so does ``a * b``. The
    factors of a product that is multiplied become factors of the new one.

    Args:
        factors: schedules and numbers, at least one.
        schedule_type: has no effect on a product; give it to its factors.

    Raises:
        ValueError: no factors, or schedules made of too many others.
        TypeError: a factor that is neither a number nor a schedule.

    Example:
        >>> import flatstep as fs
        >>> halved = fs.StepSchedule(0.8, decay_rate=0.5, step=10) * fs.LinearSchedule(1, 0, 20)
        >>> halved.value_at(0), halved.value_at(10)
        (0.8, 0.2)
        >>> 2 * fs.FixedSchedule(0.1) == fs.FixedSchedule(0.1) * 2
        True
    """

    factors: tuple[Schedule | float, ...]
    schedule_type: ScheduleType = "ITERATION"


def _factors(schedule: Schedule) -> tuple[Schedule | float, ...]:
    return schedule.factors if type(schedule) is ProductSchedule else (schedule,)


def number_or_schedule(where: str, argument: str, value: Any) -> float | Schedule:
    """`value` as a float, or the schedule that it is."""
    if isinstance(value, Schedule):
        if type(value).value_at is not Schedule.value_at:
            raise wrong_type(  # the steps would not see its value_at
                where, argument, "a number or a schedule of flatstep's own formulas", value
            )
        return value
    return number(where, argument, value, "a number or a schedule")


def items(where: str, argument: str, value: Any, expected: str) -> list[Any]:
    """What is in a sequence; a string or a mapping is none."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise wrong_type(where, argument, expected, value)
    return list(value)


def _factors_of(where: str, argument: str, value: Any) -> tuple[Schedule | float, ...]:
    given = items(where, argument, value, "a tuple of schedules and numbers")
    return tuple(number_or_schedule(where, f"{argument}[{k}]", x) for k, x in enumerate(given))


take_as(float | Schedule, number_or_schedule)
take_as(tuple[Schedule | float, ...], _factors_of)
