"""The one table of updaters that drives the tests: how each is made, what it keeps, what it
refuses.

A new updater needs one row here, and every test that runs over the table holds for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    defaults: Mapping[str, float]  # in the order of the arguments
    configurations: tuple[Mapping[str, Any], ...]
    state: tuple[str, ...] = ()
    initial: Mapping[str, Callable[[Any], float]] = field(default_factory=dict)  # by semantics
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

    def initial_value(self, updater: Any, semantics: str) -> float:
        """What the state of `updater` starts at."""
        return self.initial.get(semantics, lambda _: 0.0)(updater)

    def __str__(self) -> str:
        return self.name


def range_errors(name: str, argument: str, expected: str, *values: Any) -> tuple[ErrorCase, ...]:
    """Numbers out of range, and what is no number at all."""
    out_of_range = tuple(
        ErrorCase(
            {argument: value},
            ValueError,
            f"{name}: {argument}: expected {expected}, got {value:g}",
        )
        for value in values
    )
    kind = "a number or a schedule" if argument in ("learning_rate", "momentum") else "a number"
    no_number = tuple(
        ErrorCase(
            {argument: value},
            TypeError,
            f"{name}: {argument}: expected {kind}, got {value!r} of type {type(value).__name__}",
        )
        for value in ("0.1", True, None)
    )
    return out_of_range + no_number


def errors_of(name: str, arguments: Mapping[str, float]) -> tuple[ErrorCase, ...]:
    """The ranges of hyper-parameters, which depend on nothing but their names."""
    errors: tuple[ErrorCase, ...] = ()
    for argument in arguments:
        if argument == "momentum":
            errors += range_errors(name, argument, "a number in [0, 1]", -0.1, 1.5, np.nan)
        elif argument in ("beta1", "beta2", "rho", "rms_decay"):
            errors += range_errors(name, argument, "a number in [0, 1)", -0.1, 1.0, np.nan)
        else:
            errors += range_errors(name, argument, "a finite number >= 0", -0.1, np.nan, np.inf)
        if argument not in ("learning_rate", "momentum"):
            schedule = fs.StepSchedule(0.5, 0.5, 10)
            errors += (
                ErrorCase(
                    {argument: schedule},
                    TypeError,
                    f"{name}: {argument}: expected a number, got {schedule!r} of type StepSchedule",
                ),
            )
    unknown = ErrorCase(
        {"lr": 0.1},
        TypeError,
        f"{name}.__init__() got an unexpected keyword argument 'lr'",
    )
    return (*errors, unknown)


def epsilon_of(updater: Any) -> float:
    return float(updater.epsilon)


ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
ADAM_CONFIGURATIONS: tuple[Mapping[str, Any], ...] = (
    {},
    {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    {"beta1": 0.0, "beta2": 0.0},
    {"learning_rate": fs.CycleSchedule(0.01, 0.1, 10, 2, 0.5)},
    {"learning_rate": 0.0},
)


def row(
    constructor: Callable[..., Any], defaults: Mapping[str, float], *rest: Any, **more: Any
) -> Any:
    return UpdaterRow(
        constructor, defaults, *rest, errors=errors_of(constructor.__name__, defaults), **more
    )


TABLE: tuple[UpdaterRow, ...] = (
    row(
        fs.Sgd,
        {"learning_rate": 1e-3},
        ({}, {"learning_rate": 0.5}, {"learning_rate": fs.ExponentialSchedule(0.1, 0.9)}),
    ),
    row(fs.NoOp, {}, ({},)),
    row(
        fs.Nesterovs,
        {"learning_rate": 0.1, "momentum": 0.9},
        (
            {},
            {"learning_rate": 0.05, "momentum": 0.0},
            {"momentum": 1.0},
            {"momentum": fs.MapSchedule({0: 0.5, 2: 0.9})},
            {"learning_rate": fs.RampSchedule(fs.FixedSchedule(0.1), 5)},
        ),
        ("v",),
    ),
    row(
        fs.AdaGrad,
        {"learning_rate": 0.1, "epsilon": 1e-6},
        ({}, {"epsilon": 0.25}, {"learning_rate": fs.InverseSchedule(0.1, 0.5, 0.75)}),
        ("h",),
        initial={"dl4j-1.0": lambda _: 1e-6, "dl4j-0.8": epsilon_of},
    ),
    row(
        fs.RmsProp,
        {"learning_rate": 0.1, "rms_decay": 0.95, "epsilon": 1e-8},
        ({}, {"rms_decay": 0.0}, {"learning_rate": 0.01, "rms_decay": 0.5, "epsilon": 0.125}),
        ("s",),
        initial={"dl4j-1.0": epsilon_of, "dl4j-0.8": epsilon_of},
    ),
    row(
        fs.AdaDelta,
        {"rho": 0.95, "epsilon": 1e-6},
        ({}, {"rho": 0.5, "epsilon": 1e-3}, {"rho": 0.0}),
        ("s", "d"),
    ),
    row(fs.Adam, ADAM, ADAM_CONFIGURATIONS, ("m", "v")),
    row(
        fs.AdamW,
        {
            "learning_rate": 1e-3,
            "weight_decay": 1e-2,
            "beta1": 0.9,
            "beta2": 0.999,
            "epsilon": 1e-8,
        },
        ({}, {"weight_decay": 0.5}, {"learning_rate": fs.CosineSchedule(0.1, 50)}),
        ("m", "v"),
        semantics=("dl4j-1.0",),
    ),
    row(fs.AMSGrad, ADAM, ADAM_CONFIGURATIONS, ("m", "v", "v_hat")),
    row(fs.AdaMax, ADAM, ADAM_CONFIGURATIONS, ("m", "n")),
    row(fs.Nadam, ADAM, ADAM_CONFIGURATIONS, ("m", "v")),
    row(fs.AdaBelief, ADAM | {"epsilon": 1e-14}, ADAM_CONFIGURATIONS, ("m", "s")),
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
