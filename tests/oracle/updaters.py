"""The updaters: one function and one row each. A new updater needs nothing else in the tests.

A function is the formula in plain NumPy, `updater(g, state, t, dl4j_0_8, **hyper)`, and returns
(update, new state). A row in `UPDATERS` is all that the tests know about the updater besides.

Everything elementwise is written with operators and NumPy functions only, so that the same lines
run on arrays and on the running error bounds of `bounds.py`. What does not depend on the element is
a Python float: the step scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle.schedules import raised
from oracle.settings import Number, Schedule, UpdaterSpec

Array = Any  # a NumPy array, or a Bounded one
State = Mapping[str, Array]
Result = tuple[Array, dict[str, Array]]


@dataclass(frozen=True)
class StateArray:
    """What a state array starts at, and what numbers it may hold: of either sign, or squares."""

    signed: bool = False
    #: Of the updater's epsilon and the order; 0 unless given.
    initial: Callable[[float, str], float] = lambda epsilon, semantics: 0.0
    #: Numbers beside which the formula loses no digits of g, given random shares in (0, 0.25].
    beside: Callable[[Any, Any], Any] = lambda g, share: g * g * share


@dataclass(frozen=True)
class Updater:
    """All that the tests know about one updater."""

    formula: Callable[..., Result]
    #: The hyper-parameters and their defaults, in the order of the constructor's arguments.
    defaults: Mapping[str, float]
    #: By name, in the order of the state view.
    state: Mapping[str, StateArray] = field(default_factory=dict)
    #: Arguments that the tests make it with, besides none at all.
    configurations: tuple[Mapping[str, Number], ...] = ()
    #: The bound on the rounding error of an update in which no digits cancel, in unit roundoffs: a
    #: few operations more than the formula has.
    roundoffs: int = 0


def sgd(g: Array, state: State, *, learning_rate: float, **_: object) -> Result:
    return learning_rate * g, {}


def no_op(g: Array, state: State, **_: object) -> Result:
    return g, {}


def nesterovs(
    g: Array, state: State, *, learning_rate: float, momentum: float, **_: object
) -> Result:
    v = momentum * state["v"] - learning_rate * g
    return momentum * state["v"] - (1 + momentum) * v, {"v": v}


def ada_grad(
    g: Array, state: State, *, learning_rate: float, epsilon: float, **_: object
) -> Result:
    h = state["h"] + g * g
    return learning_rate * g / (np.sqrt(h) + epsilon), {"h": h}


def rms_prop(
    g: Array, state: State, *, learning_rate: float, rms_decay: float, epsilon: float, **_: object
) -> Result:
    s = rms_decay * state["s"] + (1 - rms_decay) * g * g
    return learning_rate * g / (np.sqrt(s) + epsilon), {"s": s}


def ada_delta(g: Array, state: State, *, rho: float, epsilon: float, **_: object) -> Result:
    s = rho * state["s"] + (1 - rho) * g * g
    u = g * np.sqrt(state["d"] + epsilon) / np.sqrt(s + epsilon)
    return u, {"s": s, "d": rho * state["d"] + (1 - rho) * u * u}


def moments(g: Array, state: State, beta1: float, beta2: float) -> tuple[Array, Array]:
    return beta1 * state["m"] + (1 - beta1) * g, beta2 * state["v"] + (1 - beta2) * g * g


def adam_alpha(
    learning_rate: float, beta1: float, beta2: float, epsilon: float, t: int, dl4j_0_8: bool
) -> float:
    alpha = learning_rate * math.sqrt(1 - raised(beta2, t)) / (1 - raised(beta1, t))
    return epsilon if dl4j_0_8 and (alpha == 0 or math.isnan(alpha)) else alpha


def adam(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
    dl4j_0_8: bool,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    alpha = adam_alpha(learning_rate, beta1, beta2, epsilon, t, dl4j_0_8)
    return alpha * m / (np.sqrt(v) + epsilon), {"m": m, "v": v}


def ams_grad(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    v_hat = np.maximum(state["v_hat"], v)
    alpha = adam_alpha(learning_rate, beta1, beta2, epsilon, t, dl4j_0_8=False)
    return alpha * m / (np.sqrt(v_hat) + epsilon), {"m": m, "v": v, "v_hat": v_hat}


def ada_max(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    t: int,
    **_: object,
) -> Result:
    m = beta1 * state["m"] + (1 - beta1) * g
    n = np.maximum(beta2 * state["n"], np.abs(g))
    return learning_rate / (1 - raised(beta1, t)) * m / (n + 1e-32), {"m": m, "n": n}


def nadam(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    ahead = beta1 * m + (1 - beta1) * g
    scale = learning_rate / (1 - raised(beta1, t))
    return scale * ahead / (np.sqrt(v) + epsilon), {"m": m, "v": v}


def ada_belief(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
    **_: object,
) -> Result:
    m = beta1 * state["m"] + (1 - beta1) * g
    s = beta2 * state["s"] + (1 - beta2) * (g - m) * (g - m) + epsilon
    m_hat = (1 / (1 - raised(beta1, t))) * m
    s_hat = (1 / (1 - raised(beta2, t))) * s
    return learning_rate * m_hat / (np.sqrt(s_hat) + epsilon), {"m": m, "s": s}


ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
ADAM_CONFIGURATIONS: tuple[Mapping[str, Number], ...] = (
    {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    {"beta1": 0.0, "beta2": 0.0},
    {
        "learning_rate": Schedule(
            "Cycle",
            {
                "initial": 0.01,
                "max": 0.1,
                "cycle_length": 10,
                "annealing_length": 2,
                "annealing_decay": 0.5,
            },
        )
    },
    {"learning_rate": 0.0},
)

MOMENT = StateArray(signed=True, beside=lambda g, share: g * share)
SQUARE = StateArray()

UPDATERS: dict[str, Updater] = {
    "Sgd": Updater(
        sgd,
        {"learning_rate": 1e-3},
        configurations=(
            {"learning_rate": 0.5},
            {"learning_rate": Schedule("Exponential", {"initial": 0.1, "gamma": 0.9})},
        ),
        roundoffs=3,
    ),
    "NoOp": Updater(no_op, {}),
    "Nesterovs": Updater(
        nesterovs,
        {"learning_rate": 0.1, "momentum": 0.9},
        {"v": StateArray(signed=True, beside=lambda g, share: -g * share)},
        (
            {"learning_rate": 0.05, "momentum": 0.0},
            {"momentum": 1.0},
            {"momentum": Schedule("Map", {"values": {0: 0.5, 2: 0.9}})},
            {
                "learning_rate": Schedule(
                    "Ramp", {"base": Schedule("Fixed", {"value": 0.1}), "num_iter": 5}
                )
            },
        ),
        roundoffs=12,
    ),
    "AdaGrad": Updater(
        ada_grad,
        {"learning_rate": 0.1, "epsilon": 1e-6},
        {"h": StateArray(initial=lambda epsilon, order: epsilon if order == "dl4j-0.8" else 1e-6)},
        (
            {"epsilon": 0.25},
            {"learning_rate": Schedule("Inverse", {"initial": 0.1, "gamma": 0.5, "power": 0.75})},
        ),
        roundoffs=10,
    ),
    "RmsProp": Updater(
        rms_prop,
        {"learning_rate": 0.1, "rms_decay": 0.95, "epsilon": 1e-8},
        {"s": StateArray(initial=lambda epsilon, order: epsilon)},
        ({"rms_decay": 0.0}, {"learning_rate": 0.01, "rms_decay": 0.5, "epsilon": 0.125}),
        roundoffs=11,
    ),
    "AdaDelta": Updater(
        ada_delta,
        {"rho": 0.95, "epsilon": 1e-6},
        {"s": SQUARE, "d": SQUARE},
        ({"rho": 0.5, "epsilon": 1e-3}, {"rho": 0.0}),
        roundoffs=13,
    ),
    "Adam": Updater(adam, ADAM, {"m": MOMENT, "v": SQUARE}, ADAM_CONFIGURATIONS, roundoffs=17),
    "AMSGrad": Updater(
        ams_grad,
        ADAM,
        {"m": MOMENT, "v": SQUARE, "v_hat": SQUARE},
        ADAM_CONFIGURATIONS,
        roundoffs=17,
    ),
    "AdaMax": Updater(
        ada_max,
        ADAM,
        # A maximum with |g|, which is the larger one half of the time.
        {"m": MOMENT, "n": StateArray(beside=lambda g, share: np.abs(g) * (0.5 + 4 * share))},
        ADAM_CONFIGURATIONS,
        roundoffs=11,
    ),
    "Nadam": Updater(nadam, ADAM, {"m": MOMENT, "v": SQUARE}, ADAM_CONFIGURATIONS, roundoffs=21),
    "AdaBelief": Updater(
        ada_belief,
        ADAM | {"epsilon": 1e-14},
        {"m": MOMENT, "s": SQUARE},
        ADAM_CONFIGURATIONS,
        roundoffs=38,
    ),
}


def state_names(updater: UpdaterSpec) -> tuple[str, ...]:
    return tuple(UPDATERS[updater.name].state)


def initial_value(updater: UpdaterSpec, name: str, semantics: str) -> float:
    """What every element of a state array starts at."""
    epsilon = float(updater.values.get("epsilon", 0.0))  # type: ignore[arg-type]
    return UPDATERS[updater.name].state[name].initial(epsilon, semantics)
