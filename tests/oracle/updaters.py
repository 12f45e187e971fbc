"""The updaters, one function each: `updater(g, state, lr, t, dl4j_0_8, **hyper)` returns (update,
new state).

Everything elementwise is written with operators and NumPy functions only, so that the same lines
run on arrays and on the running error bounds of `bounds.py`. What does not depend on the element is
a Python float: the step scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oracle.schedules import raised
from oracle.settings import UpdaterSpec

Array = Any  # a NumPy array, or a Bounded one
State = Mapping[str, Array]
Result = tuple[Array, dict[str, Array]]


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


UPDATERS: dict[str, tuple[Callable[..., Result], tuple[str, ...]]] = {
    "Sgd": (sgd, ()),
    "NoOp": (no_op, ()),
    "Nesterovs": (nesterovs, ("v",)),
    "AdaGrad": (ada_grad, ("h",)),
    "RmsProp": (rms_prop, ("s",)),
    "AdaDelta": (ada_delta, ("s", "d")),
    "Adam": (adam, ("m", "v")),
    "AMSGrad": (ams_grad, ("m", "v", "v_hat")),
    "AdaMax": (ada_max, ("m", "n")),
    "Nadam": (nadam, ("m", "v")),
    "AdaBelief": (ada_belief, ("m", "s")),
}


HYPER_PARAMETERS: dict[str, tuple[str, ...]] = {
    "Sgd": ("learning_rate",),
    "NoOp": (),
    "Nesterovs": ("learning_rate", "momentum"),
    "AdaGrad": ("learning_rate", "epsilon"),
    "RmsProp": ("learning_rate", "rms_decay", "epsilon"),
    "AdaDelta": ("rho", "epsilon"),
    "Adam": ("learning_rate", "beta1", "beta2", "epsilon"),
    "AMSGrad": ("learning_rate", "beta1", "beta2", "epsilon"),
    "AdaMax": ("learning_rate", "beta1", "beta2", "epsilon"),
    "Nadam": ("learning_rate", "beta1", "beta2", "epsilon"),
    "AdaBelief": ("learning_rate", "beta1", "beta2", "epsilon"),
}


def state_names(updater: UpdaterSpec) -> tuple[str, ...]:
    return UPDATERS[updater.name][1]


def initial_value(updater: UpdaterSpec, semantics: str) -> float:
    """What every state element of an updater starts at."""
    epsilon = float(updater.values.get("epsilon", 0.0))  # type: ignore[arg-type]
    if updater.name == "RmsProp":
        return epsilon
    if updater.name == "AdaGrad":
        return epsilon if semantics == "dl4j-0.8" else 1e-6
    return 0.0
