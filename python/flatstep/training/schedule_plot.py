"""Pictures of schedules and learning-rate policies, to look at before anyone trains with them."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatstep import schedules
from flatstep.learning_rate_policy import LearningRatePolicy

from ._plotting import COLORS, finish, new_figure, note, plotting, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What an expression may call: the schedules and the policy, as Python programs write them.
CONSTRUCTORS: Mapping[str, Any] = {
    name: cls
    for name, cls in sorted(vars(schedules).items())
    if isinstance(cls, type)
    and issubclass(cls, schedules.Schedule)
    and cls is not schedules.Schedule
} | {"LearningRatePolicy": LearningRatePolicy}


def parse_schedule(text: str) -> schedules.Schedule | LearningRatePolicy:
    """Return the schedule or policy that a Python expression makes, without running any other code.

    Raises:
        ValueError: the expression makes something else, or a schedule that cannot be.

    Example:
        >>> from flatstep.training.schedule_plot import parse_schedule
        >>> parse_schedule("fs.RampSchedule(FixedSchedule(0.1), 50)").value_at(24)
        0.05
    """
    try:
        schedule = _evaluate(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not a Python expression: {error.msg}") from None
    except TypeError as error:
        raise ValueError(f"{text}: {error}") from None
    if not isinstance(schedule, schedules.Schedule | LearningRatePolicy):
        raise ValueError(f"{text!r} is no schedule; expected a call of {', '.join(CONSTRUCTORS)}")
    return schedule


def _evaluate(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluate(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(left, schedules.Schedule) or isinstance(right, schedules.Schedule):
            return left * right
    if not isinstance(node, ast.Call):
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise ValueError(
                f"{ast.unparse(node)!r}: expected a number, a string, a mapping or a schedule"
            ) from None
    function = node.func
    if isinstance(function, ast.Attribute) and ast.unparse(function.value) in ("fs", "flatstep"):
        name = function.attr
    else:
        name = ast.unparse(function)
    if name not in CONSTRUCTORS:
        raise ValueError(f"{name!r} is no schedule; expected one of {', '.join(CONSTRUCTORS)}")
    keywords = {word.arg: _evaluate(word.value) for word in node.keywords if word.arg is not None}
    return CONSTRUCTORS[name](*map(_evaluate, node.args), **keywords)


def rates(
    schedule: schedules.Schedule | LearningRatePolicy,
    iterations: int,
    *,
    steps_per_epoch: int,
    learning_rate: float,
) -> NDArray[np.float64]:
    """Return the rate of each iteration; a policy starts from the learning rate."""
    if isinstance(schedule, schedules.Schedule):
        return np.array([schedule.value_at(i, i // steps_per_epoch) for i in range(iterations)])
    values = np.empty(iterations)
    rate = learning_rate
    for iteration in range(iterations):
        rate = values[iteration] = schedule.next(rate, iteration)
    return values


def plot_rates(
    curves: Mapping[str, NDArray[np.float64]],
    path: str | os.PathLike[str] | None = None,
    *,
    remark: str = "",
) -> Figure:
    """Draw each named curve over the iterations, with a remark next to the title."""
    with plotting("schedule"):
        figure = new_figure((9.0, 4.6 + 0.2 * len(curves)), path)
        axes = figure.add_subplot()
        axes.set_title("Learning rate", pad=10)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for place, (name, values) in enumerate(curves.items()):
            axes.plot(
                np.arange(len(values)),
                values,
                color=COLORS[place % len(COLORS)],
                linestyle=("-", "--", ":")[place // len(COLORS) % 3],
                label=name,
            )
        longest = max(map(len, curves.values()))
        axes.set_xlim(0, max(longest - 1, 1))
        axes.set_xlabel("iteration")
        scale(axes, np.concatenate(list(curves.values())), bulk=True)
        note(axes, remark)
        axes.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.13), borderaxespad=0.0)
        return finish(figure, path)
