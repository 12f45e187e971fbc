"""Deeplearning4j's updaters: one function and one row each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle.schedules import raised
from oracle.settings import Schedule
from oracle.updater_row import (
    ADAM,
    ADAM_CONFIGURATIONS,
    MOMENT,
    SQUARE,
    Array,
    Result,
    State,
    StateArray,
    Updater,
    bias,
    corrected_moment,
    moments,
)


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


def adam_scalars(
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    corrected_epsilon: bool,
    bias_correction: bool,
    t: int,
    dl4j_0_8: bool,
) -> tuple[float, float]:
    """α and the ε that stands beside the uncorrected root."""
    root = math.sqrt(bias(beta2, t, bias_correction))
    alpha = learning_rate * root / bias(beta1, t, bias_correction)
    if dl4j_0_8 and (alpha == 0 or math.isnan(alpha)):
        alpha = epsilon
    return alpha, epsilon * root if corrected_epsilon else epsilon


def adam(g: Array, state: State, *, beta1: float, beta2: float, **scalars: Any) -> Result:
    m, v = moments(g, state, beta1, beta2)
    alpha, epsilon = adam_scalars(beta1=beta1, beta2=beta2, **scalars)
    return alpha * m / (np.sqrt(v) + epsilon), {"m": m, "v": v}


def ams_grad(
    g: Array, state: State, *, beta1: float, beta2: float, dl4j_0_8: bool, **scalars: Any
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    v_hat = np.maximum(state["v_hat"], v)
    alpha, epsilon = adam_scalars(beta1=beta1, beta2=beta2, dl4j_0_8=False, **scalars)
    return alpha * m / (np.sqrt(v_hat) + epsilon), {"m": m, "v": v, "v_hat": v_hat}


def ada_max(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    epsilon_placement: str,
    t: int,
    **_: object,
) -> Result:
    m = beta1 * state["m"] + (1 - beta1) * g
    in_gradient = epsilon if epsilon_placement == "gradient" else 0.0
    in_divisor = epsilon if epsilon_placement == "divisor" else 1e-32
    n = np.maximum(beta2 * state["n"], np.abs(g) + in_gradient)
    return learning_rate / (1 - raised(beta1, t)) * m / (n + in_divisor), {"m": m, "n": n}


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
    epsilon_root: float | None,
    nesterov: bool,
    t: int,
    **_: object,
) -> Result:
    m = beta1 * state["m"] + (1 - beta1) * g
    added = epsilon if epsilon_root is None else epsilon_root
    s = beta2 * state["s"] + (1 - beta2) * (g - m) * (g - m) + added
    s_hat = (1 / bias(beta2, t)) * s
    m_hat = corrected_moment(m, g, beta1, t, nesterov)
    return learning_rate * m_hat / (np.sqrt(s_hat) + epsilon), {"m": m, "s": s}


def accumulated(values: Mapping[str, Any], otherwise: float) -> float:
    given = values.get("initial_accumulator")
    return otherwise if given is None else float(given)


def history_starts_at(values: Mapping[str, Any], order: str) -> float:
    return accumulated(values, values["epsilon"] if order == "dl4j-0.8" else 1e-6)


FLAGGED_ADAM = ADAM | {"corrected_epsilon": False, "bias_correction": True}
FLAGGED_CONFIGURATIONS = (
    *ADAM_CONFIGURATIONS,
    {"epsilon": 1e-3, "corrected_epsilon": True},
    {"bias_correction": False},
)

DL4J_UPDATERS: dict[str, Updater] = {
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
        {"learning_rate": 0.1, "epsilon": 1e-6, "initial_accumulator": None},
        {"h": StateArray(initial=history_starts_at)},
        (
            {"epsilon": 0.25},
            {"initial_accumulator": 0.0},
            {"learning_rate": Schedule("Inverse", {"initial": 0.1, "gamma": 0.5, "power": 0.75})},
        ),
        roundoffs=10,
    ),
    "RmsProp": Updater(
        rms_prop,
        {"learning_rate": 0.1, "rms_decay": 0.95, "epsilon": 1e-8, "initial_accumulator": None},
        {"s": StateArray(initial=lambda values, order: accumulated(values, values["epsilon"]))},
        (
            {"rms_decay": 0.0},
            {"initial_accumulator": 0.5},
            {"learning_rate": 0.01, "rms_decay": 0.5, "epsilon": 0.125},
        ),
        roundoffs=11,
    ),
    "AdaDelta": Updater(
        ada_delta,
        {"rho": 0.95, "epsilon": 1e-6},
        {"s": SQUARE, "d": SQUARE},
        ({"rho": 0.5, "epsilon": 1e-3}, {"rho": 0.0}),
        roundoffs=13,
    ),
    "Adam": Updater(
        adam, FLAGGED_ADAM, {"m": MOMENT, "v": SQUARE}, FLAGGED_CONFIGURATIONS, roundoffs=17
    ),
    "AMSGrad": Updater(
        ams_grad,
        FLAGGED_ADAM,
        {"m": MOMENT, "v": SQUARE, "v_hat": SQUARE},
        FLAGGED_CONFIGURATIONS,
        roundoffs=17,
    ),
    "AdaMax": Updater(
        ada_max,
        ADAM | {"epsilon_placement": "none"},
        # A maximum with |g|, which is the larger one half of the time.
        {"m": MOMENT, "n": StateArray(beside=lambda g, share: np.abs(g) * (0.5 + 4 * share))},
        (
            *ADAM_CONFIGURATIONS,
            {"epsilon": 1e-3, "epsilon_placement": "gradient"},
            {"epsilon": 1e-3, "epsilon_placement": "divisor"},
        ),
        roundoffs=11,
    ),
    "Nadam": Updater(nadam, ADAM, {"m": MOMENT, "v": SQUARE}, ADAM_CONFIGURATIONS, roundoffs=21),
    "AdaBelief": Updater(
        ada_belief,
        ADAM | {"epsilon": 1e-14, "epsilon_root": None, "nesterov": False},
        {"m": MOMENT, "s": SQUARE},
        (*ADAM_CONFIGURATIONS, {"epsilon_root": 1e-3, "nesterov": True}),
        roundoffs=38,
    ),
}
