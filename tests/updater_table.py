"""The table of updaters that drives the tests: how each is made, what it keeps, what it refuses.

Its rows are made from the oracle's (`oracle/updaters.py`), where a new updater needs one; here
stand AdamW, which is Adam with weight decay, and an updater in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from networks import schedule
from oracle import UpdaterSpec
from oracle.updater_row import VALUES, may_follow_a_schedule
from oracle.updaters import UPDATERS, initial_value

import flatstep as fs


class HeavyBall(fs.CustomUpdater):
    """An updater in Python: m = decay·m + g; u = lr·m."""

    state = ("m",)

    def __init__(self, learning_rate: Any = 0.1, decay: float = 0.9) -> None:
        self.learning_rate = learning_rate
        self.decay = decay

    def get_gradient(
        self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
    ) -> None:
        state["m"] *= self.decay
        state["m"] += g
        np.multiply(state["m"], g.dtype.type(learning_rate), out=g)


@dataclass(frozen=True)
class ErrorCase:
    """A call of the constructor that must fail, with the whole text of the error."""

    arguments: Mapping[str, Any]
    exception: type[Exception]
    text: str

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())


@dataclass(frozen=True)
class UpdaterRow:
    """All that the tests know about one updater."""

    constructor: Callable[..., Any]
    defaults: Mapping[str, Any]  # in the order of the arguments
    configurations: tuple[Mapping[str, Any], ...]
    state: tuple[str, ...] = ()
    semantics: tuple[str, ...] = ("dl4j-1.0", "dl4j-0.8")
    errors: tuple[ErrorCase, ...] = ()

    @property
    def name(self) -> str:
        return self.constructor.__name__

    @property
    def has_rate(self) -> bool:
        return "learning_rate" in self.defaults

    @property
    def is_custom(self) -> bool:
        return self.constructor is HeavyBall

    def initial_value(self, updater: Any, state: str, semantics: str, parameter: Any) -> Any:
        """What a state array of `updater` starts at."""
        if self.name not in UPDATERS:
            return 0.0
        if UPDATERS[self.name].state[state].starts_at_parameter:
            return parameter
        values = {name: getattr(updater, name) for name in self.defaults}
        return initial_value(UpdaterSpec(self.name, values), state, semantics)

    def __str__(self) -> str:
        return self.name


def range_errors(
    name: str, argument: str, expected: str, *values: Any, optional: bool = False
) -> tuple[ErrorCase, ...]:
    """Numbers out of range, and what is no number at all."""
    out_of_range = tuple(
        ErrorCase(
            {argument: value},
            ValueError,
            f"{name}: {argument}: expected {expected}, got {value:g}",
        )
        for value in values
    )
    kind = "a number or a schedule" if may_follow_a_schedule(name, argument) else "a number"
    no_number = tuple(
        ErrorCase(
            {argument: value},
            TypeError,
            f"{name}: {argument}: expected {kind}, got {value!r} of type {type(value).__name__}",
        )
        for value in ("0.1", True, *(() if optional else (None,)))
    )
    return out_of_range + no_number


def name_errors(name: str, argument: str, default: bool | str) -> tuple[ErrorCase, ...]:
    """What is no flag, or none of the names."""
    if isinstance(default, bool):
        expected = "True or False, got 0.5 of type float"
        return (ErrorCase({argument: 0.5}, TypeError, f"{name}: {argument}: expected {expected}"),)
    choices = ", ".join(f'"{choice}"' for choice in VALUES[argument])
    return (
        ErrorCase(
            {argument: "other"},
            ValueError,
            f'{name}: {argument}: expected one of {choices}, got "other"',
        ),
        ErrorCase(
            {argument: 1},
            TypeError,
            f"{name}: {argument}: expected a string, got 1 of type int",
        ),
    )


def errors_of(name: str, defaults: Mapping[str, Any]) -> tuple[ErrorCase, ...]:
    """What hyper-parameters refuse, which depends on nothing but their names and defaults."""
    errors: tuple[ErrorCase, ...] = ()
    for argument, default in defaults.items():
        if isinstance(default, (bool, str)):
            errors += name_errors(name, argument, default)
        elif argument == "momentum" or argument not in VALUES | {"learning_rate": ()}:
            errors += range_errors(name, argument, "a number in [0, 1]", -0.1, 1.5, np.nan)
        else:
            expected = "a finite number >= 0"
            errors += range_errors(
                name, argument, expected, -0.1, np.nan, np.inf, optional=default is None
            )
        if not may_follow_a_schedule(name, argument) and not isinstance(default, (bool, str)):
            schedule = fs.StepSchedule(0.5, 0.5, 10)
            errors += (
                ErrorCase(
                    {argument: schedule},
                    TypeError,
                    f"{name}: {argument}: expected a number, got {schedule!r} of type StepSchedule",
                ),
            )
    names = [field.name for field in fields(getattr(fs, name))]
    unknown = ErrorCase(
        {"lr": 0.1},
        TypeError,
        f'{name}: expected the arguments {", ".join(names)}, got "lr"'
        + ("; lr is learning_rate here" if "learning_rate" in names else ""),
    )
    return (*errors, unknown)


def row_of(name: str) -> UpdaterRow:
    """The row of an updater of the core."""
    known = UPDATERS[name]
    return UpdaterRow(
        getattr(fs, name),
        known.defaults,
        (
            {},
            *(
                {argument: schedule(value) for argument, value in arguments.items()}
                for arguments in known.configurations
            ),
        ),
        tuple(known.state),
        errors=errors_of(name, known.defaults),
    )


ADAM_W_DEFAULTS = {
    "learning_rate": 1e-3, "weight_decay": 1e-2, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
    "corrected_epsilon": False, "bias_correction": True,
}  # fmt: skip

TABLE: tuple[UpdaterRow, ...] = (
    *map(row_of, UPDATERS),
    replace(
        row_of("Adam"),
        constructor=fs.AdamW,
        defaults=ADAM_W_DEFAULTS,
        configurations=(
            {},
            {"weight_decay": 0.5},
            {"learning_rate": fs.CosineSchedule(0.1, 50), "corrected_epsilon": True},
        ),
        semantics=("dl4j-1.0",),
        errors=errors_of("AdamW", ADAM_W_DEFAULTS),
    ),
    UpdaterRow(
        HeavyBall,
        {"learning_rate": 0.1, "decay": 0.9},
        ({}, {"learning_rate": 0.5, "decay": 0.5}, {"learning_rate": fs.StepSchedule(0.1, 0.5, 2)}),
        ("m",),
    ),
)

BUILT_IN = tuple(entry for entry in TABLE if not entry.is_custom)
CONFIGURATIONS = tuple((entry, arguments) for entry in TABLE for arguments in entry.configurations)
IN_ORDERS = tuple((*pair, semantics) for pair in CONFIGURATIONS for semantics in pair[0].semantics)
ERRORS = tuple((entry, error) for entry in TABLE for error in entry.errors)


def configuration_id(value: Any) -> str:
    """The test id of a row, of its arguments, or of an error case."""
    if isinstance(value, Mapping):
        return ",".join(f"{k}={v}" for k, v in value.items()).replace(" ", "") or "defaults"
    return str(value)
