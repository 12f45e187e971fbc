"""The updaters of PyTorch, optax and Keras that Deeplearning4j has not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle.bounds import step_scalar
from oracle.dl4j_updaters import ada_delta
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


def root_adam(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    epsilon_root: float,
    nesterov: bool,
    bias_correction: bool,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    if bias_correction:
        m_hat = corrected_moment(m, g, beta1, t, nesterov)
    else:
        m_hat = beta1 * m + (1 - beta1) * g if nesterov else m
    v_hat = v / bias(beta2, t, bias_correction)
    return learning_rate * m_hat / (np.sqrt(v_hat + epsilon_root) + epsilon), {"m": m, "v": v}


def n_adam(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    momentum_decay: float,
    epsilon_root: float,
    t: int,
    **_: object,
) -> Result:
    def share(i: Any) -> Any:
        return 1 - 0.5 * 0.96 ** (i * momentum_decay)

    m, v = moments(g, state, beta1, beta2)
    # Beyond 500 000 the shares are 1, or of their product nothing is left.
    shares = share(np.arange(1, min(t, 500_000) + 1, dtype=np.longdouble))
    product = raised(beta1, t) * float(np.prod(shares))
    following = beta1 * share(t + 1)
    of_m = learning_rate * following / (1 - product * following)
    of_g = learning_rate * (1 - beta1 * share(t)) / (1 - product)
    v_hat = v / bias(beta2, t)
    return (of_m * m + of_g * g) / (np.sqrt(v_hat + epsilon_root) + epsilon), {"m": m, "v": v}


def corrected_ams_grad(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    epsilon_root: float,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    v_hat = np.maximum(state["v_hat"], (1 / bias(beta2, t)) * v)
    m_hat = (1 / bias(beta1, t)) * m
    u = learning_rate * m_hat / (np.sqrt(v_hat + epsilon_root) + epsilon)
    return u, {"m": m, "v": v, "v_hat": v_hat}


def r_adam(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    epsilon_root: float,
    threshold: float,
    nesterov: bool,
    corrected_epsilon: bool,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    m_hat = corrected_moment(m, g, beta1, t, nesterov)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * raised(beta2, t) / bias(beta2, t)
    if not length > threshold:
        return learning_rate * m_hat, {"m": m, "v": v}
    r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    if corrected_epsilon:
        divisor = np.sqrt(v / bias(beta2, t) + epsilon_root) + epsilon
    else:
        divisor = (np.sqrt(v + epsilon_root) + epsilon) / math.sqrt(bias(beta2, t))
    return learning_rate * r * m_hat / divisor, {"m": m, "v": v}


def yogi(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    epsilon_root: float,
    t: int,
    **_: object,
) -> Result:
    m = beta1 * state["m"] + (1 - beta1) * g
    square = g * g
    v = state["v"] - (1 - beta2) * np.sign(state["v"] - square) * square
    divisor = np.sqrt(v / bias(beta2, t) + epsilon_root) + epsilon
    return learning_rate / bias(beta1, t) * m / divisor, {"m": m, "v": v}


def ad_ema_mix(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    beta3: float,
    alpha: float,
    epsilon_root: float,
    t: int,
    **_: object,
) -> Result:
    m, v = moments(g, state, beta1, beta2)
    slow = beta3 * state["m_slow"] + (1 - beta3) * g
    divisor = np.sqrt(v / bias(beta2, t) + epsilon_root) + epsilon
    u = learning_rate * ((1 / bias(beta1, t)) * m + alpha * slow) / divisor
    return u, {"m": m, "m_slow": slow, "v": v}


def lion(
    g: Array, state: State, *, learning_rate: float, beta1: float, beta2: float, **_: object
) -> Result:
    direction = beta1 * state["m"] + (1 - beta1) * g
    return learning_rate * np.sign(direction), {"m": beta2 * state["m"] + (1 - beta2) * g}


def pushed(
    b: Array,
    x: Array,
    *,
    learning_rate: Any,
    momentum: float,
    nesterov: bool,
    rate_in_velocity: bool,
    share: float = 1.0,
) -> tuple[Array, Array]:
    """The update of a velocity that takes x in, and the velocity."""
    if rate_in_velocity:
        b = momentum * b + share * learning_rate * x
        return (learning_rate * x + momentum * b if nesterov else b), b
    b = momentum * b + share * x
    return learning_rate * (x + momentum * b if nesterov else b), b


def momentum(
    g: Array,
    state: State,
    *,
    momentum: float,
    dampening: float,
    t: int,
    dl4j_0_8: bool,
    **velocity: Any,
) -> Result:
    none = momentum < np.finfo(np.float64).tiny  # what is subnormal counts as 0
    share = 1.0 if t == 1 or none else 1 - dampening
    u, b = pushed(state["b"], g, momentum=momentum, share=share, **velocity)
    return u, {"b": b}


def schedule_free_adam_w(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    warmup_steps: float,
    weights: str,
    weight_power: float,
    t: int,
    p: Array = 0.0,
    **_: object,
) -> Result:
    def warm(k: Any) -> Any:
        return np.where(k < warmup_steps, k / warmup_steps if warmup_steps else 1.0, 1.0)

    v = beta2 * state["v"] + (1 - beta2) * g * g
    direction = g / (np.sqrt(v / bias(beta2, t)) + epsilon)
    if weights == "equal":
        share: Any = 1 / t
        rate, decayed = learning_rate * float(warm(t)), learning_rate * weight_decay
        step = rate * direction
    else:
        rising = np.arange(1, min(t, math.ceil(warmup_steps)) + 1, dtype=np.longdouble)
        total = float(np.sum(warm(rising) ** weight_power)) + (t - rising.size)
        share = float(warm(t)) ** weight_power / total if total else 0.0
        share = step_scalar(share, 8, g)  # a quotient, its power, their sum, and a quotient
        rate, decayed = learning_rate * float(warm(t - 1)), 0.0
        step = rate * direction + (rate * weight_decay) * p
    # Of y = β1·x + (1 − β1)·z, solved for the new y.
    of_p, of_step = share + (1 - share) * decayed, (1 - beta1) + beta1 * share
    u = of_p * p - share * state["z"] + of_step * step
    return u, {"z": state["z"] - step, "v": v}


def lamb(g: Array, state: State, **hyper: Any) -> Result:
    return root_adam(g, state, **hyper, nesterov=False, bias_correction=True)


def lamb_ratio(hyper: Mapping[str, Any], decay: float, of_parameter: Any, of_x: Any) -> Any:
    left = abs(1 - decay) if hyper["decay_first"] else 1.0
    return (hyper["learning_rate"] * left) * of_parameter / of_x if left else 1.0


def lars(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    trust_ratio: Any = 1.0,
    **_: object,
) -> Result:
    u, b = pushed(
        state["b"],
        g,
        learning_rate=learning_rate * trust_ratio,
        momentum=momentum,
        nesterov=nesterov,
        rate_in_velocity=True,
    )
    return u, {"b": b}


def lars_ratio(hyper: Mapping[str, Any], decay: float, of_parameter: Any, of_x: Any) -> Any:
    return hyper["trust_coefficient"] * of_parameter / (of_x + hyper["trust_epsilon"])


def ada_delta_with_rate(
    g: Array, state: State, *, learning_rate: float, rho: float, epsilon: float, **_: object
) -> Result:
    x, after = ada_delta(g, state, rho=rho, epsilon=epsilon)
    return learning_rate * x, after


def root_ada_grad(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    epsilon: float,
    epsilon_root: float,
    **_: object,
) -> Result:
    h = state["h"] + g * g
    return learning_rate * g / (np.sqrt(h + epsilon_root) + epsilon), {"h": h}


def rms_step(
    g: Array,
    state: State,
    *,
    rms_decay: float,
    epsilon: float,
    epsilon_root: float,
    bias_correction: bool,
    t: int,
) -> Result:
    """g over its root mean square, over its standard deviation where there is a mean."""
    after = {"s": rms_decay * state["s"] + (1 - rms_decay) * g * g}
    correction = 1 / bias(rms_decay, t, bias_correction)
    spread = correction * after["s"]
    if "a" in state:
        after["a"] = rms_decay * state["a"] + (1 - rms_decay) * g
        mean = correction * after["a"]
        spread = np.maximum(spread - mean * mean, 0.0)
    return g / (np.sqrt(spread + epsilon_root) + epsilon), after


RMS = ("rms_decay", "epsilon", "epsilon_root", "bias_correction", "t")


def rms_prop_form(g: Array, state: State, *, learning_rate: float, **hyper: Any) -> Result:
    x, after = rms_step(g, state, **{name: hyper[name] for name in RMS})
    return learning_rate * x, after


def momentum_rms_prop_form(
    g: Array,
    state: State,
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    rate_in_velocity: bool,
    **hyper: Any,
) -> Result:
    x, after = rms_step(g, state, **{name: hyper[name] for name in RMS})
    u, b = pushed(
        state["b"],
        x,
        learning_rate=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        rate_in_velocity=rate_in_velocity,
    )
    return u, after | {"b": b}


def starts_at_accumulator(values: Mapping[str, Any], order: str) -> float:
    return float(values["initial_accumulator"])


ACCUMULATOR = StateArray(initial=starts_at_accumulator)
RMS_PROP = {
    "learning_rate": 0.01, "rms_decay": 0.99, "epsilon": 1e-8, "epsilon_root": 0.0,
    "initial_accumulator": 0.0, "bias_correction": False,
}  # fmt: skip
MOMENTUM_RMS_PROP = RMS_PROP | {"momentum": 0.9, "nesterov": False, "rate_in_velocity": False}
RMS_CONFIGURATIONS: tuple[Mapping[str, Any], ...] = (
    {"epsilon": 1e-3, "epsilon_root": 1e-3, "bias_correction": True},
    {"rms_decay": 0.5, "initial_accumulator": 0.5},
)
MOMENTUM_CONFIGURATIONS: tuple[Mapping[str, Any], ...] = (
    {"nesterov": True},
    {"rate_in_velocity": True, "momentum": 0.5},
    {"rate_in_velocity": True, "nesterov": True},
    {"learning_rate": Schedule("Exponential", {"initial": 0.1, "gamma": 0.9})},
)
#: A mean well below the root mean square, so that their difference keeps its digits.
MEAN = StateArray(signed=True, beside=lambda g, share: g * share * 0.125)
VELOCITY = StateArray(signed=True, beside=lambda g, share: np.sign(g) * share)

PEER_UPDATERS: dict[str, Updater] = {
    "RootAdam": Updater(
        root_adam,
        ADAM | {"epsilon_root": 0.0, "nesterov": False, "bias_correction": True},
        {"m": MOMENT, "v": SQUARE},
        (
            *ADAM_CONFIGURATIONS,
            {"epsilon": 1e-3, "epsilon_root": 1e-3, "nesterov": True},
            {"epsilon_root": 1e-3, "bias_correction": False},
        ),
        roundoffs=30,
    ),
    "NAdam": Updater(
        n_adam,
        ADAM | {"learning_rate": 2e-3, "momentum_decay": 4e-3, "epsilon_root": 0.0},
        {"m": MOMENT, "v": SQUARE},
        (*ADAM_CONFIGURATIONS, {"momentum_decay": 0.0}, {"momentum_decay": 1.0, "epsilon": 1e-3}),
        roundoffs=30,
    ),
    "CorrectedAMSGrad": Updater(
        corrected_ams_grad,
        ADAM | {"epsilon_root": 0.0},
        {"m": MOMENT, "v": SQUARE, "v_hat": SQUARE},
        (*ADAM_CONFIGURATIONS, {"epsilon_root": 1e-3}),
        roundoffs=30,
    ),
    "RAdam": Updater(
        r_adam,
        ADAM
        | {
            "epsilon_root": 0.0,
            "threshold": 5.0,
            "nesterov": False,
            "corrected_epsilon": False,
        },
        {"m": MOMENT, "v": SQUARE},
        (
            *ADAM_CONFIGURATIONS,
            {"epsilon": 1e-3, "epsilon_root": 1e-3, "corrected_epsilon": True},
            {"nesterov": True, "threshold": 4.5},
        ),
        roundoffs=30,
    ),
    "Yogi": Updater(
        yogi,
        ADAM
        | {
            "learning_rate": 1e-2,
            "epsilon": 1e-3,
            "epsilon_root": 0.0,
            "initial_accumulator": 1e-6,
        },
        {
            "m": StateArray(
                signed=True, initial=starts_at_accumulator, beside=lambda g, share: g * share
            ),
            "v": ACCUMULATOR,
        },
        (*ADAM_CONFIGURATIONS, {"epsilon_root": 1e-3, "initial_accumulator": 0.5}),
        roundoffs=30,
    ),
    "AdEMAMix": Updater(
        ad_ema_mix,
        ADAM | {"beta3": 0.9999, "alpha": 5.0, "epsilon_root": 0.0},
        {"m": MOMENT, "m_slow": MOMENT, "v": SQUARE},
        (
            *ADAM_CONFIGURATIONS,
            {"beta3": 0.5, "alpha": 0.5, "epsilon_root": 1e-3},
            {
                "beta3": Schedule("Map", {"values": {0: 0.5, 2: 0.9}}),
                "alpha": Schedule(
                    "Ramp", {"base": Schedule("Fixed", {"value": 5.0}), "num_iter": 5}
                ),
            },
        ),
        roundoffs=30,
    ),
    "Lion": Updater(
        lion,
        {"learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.99},
        {"m": MOMENT},
        ({"learning_rate": 0.5, "beta1": 0.0}, {"beta2": 0.5}),
        roundoffs=10,
    ),
    "Momentum": Updater(
        momentum,
        {
            "learning_rate": 0.1,
            "momentum": 0.9,
            "dampening": 0.0,
            "nesterov": False,
            "rate_in_velocity": False,
        },
        {"b": MOMENT},
        (*MOMENTUM_CONFIGURATIONS, {"dampening": 0.5}, {"momentum": 0.0, "dampening": 0.5}),
        roundoffs=12,
    ),
    "AdaDeltaWithRate": Updater(
        ada_delta_with_rate,
        {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6},
        {"s": SQUARE, "d": SQUARE},
        ({"learning_rate": 0.5, "rho": 0.5, "epsilon": 1e-3},),
        roundoffs=15,
    ),
    "RootAdaGrad": Updater(
        root_ada_grad,
        {"learning_rate": 0.1, "epsilon": 0.0, "epsilon_root": 1e-7, "initial_accumulator": 0.1},
        {"h": ACCUMULATOR},
        ({"epsilon": 0.25}, {"initial_accumulator": 0.0, "epsilon_root": 1e-3}),
        roundoffs=13,
    ),
    "RootRmsProp": Updater(
        rms_prop_form,
        RMS_PROP | {"rms_decay": 0.9, "epsilon": 0.0, "epsilon_root": 1e-8},
        {"s": ACCUMULATOR},
        RMS_CONFIGURATIONS,
        roundoffs=16,
    ),
    "CenteredRmsProp": Updater(
        rms_prop_form,
        RMS_PROP,
        {"s": ACCUMULATOR, "a": MEAN},
        RMS_CONFIGURATIONS,
        roundoffs=24,
    ),
    "MomentumRmsProp": Updater(
        momentum_rms_prop_form,
        MOMENTUM_RMS_PROP,
        {"s": ACCUMULATOR, "b": VELOCITY},
        (*RMS_CONFIGURATIONS, *MOMENTUM_CONFIGURATIONS),
        roundoffs=24,
    ),
    "CenteredMomentumRmsProp": Updater(
        momentum_rms_prop_form,
        MOMENTUM_RMS_PROP,
        {"s": ACCUMULATOR, "a": MEAN, "b": VELOCITY},
        (*RMS_CONFIGURATIONS, *MOMENTUM_CONFIGURATIONS),
        roundoffs=30,
    ),
    "Lamb": Updater(
        lamb,
        ADAM | {"epsilon": 1e-6, "epsilon_root": 0.0, "decay_first": False},
        {"m": MOMENT, "v": SQUARE},
        (
            *ADAM_CONFIGURATIONS,
            {"epsilon": 1e-3, "epsilon_root": 1e-3, "decay_first": True},
        ),
        roundoffs=30,
        trusts=lambda hyper: "direction" if hyper["decay_first"] else "update",
        trust_ratio=lamb_ratio,
    ),
    "Lars": Updater(
        lars,
        {
            "learning_rate": 0.1,
            "momentum": 0.9,
            "trust_coefficient": 1e-3,
            "trust_epsilon": 0.0,
            "nesterov": False,
        },
        {"b": MOMENT},
        (
            {"learning_rate": 0.5, "momentum": 0.5, "trust_coefficient": 1.0, "nesterov": True},
            {"momentum": 0.0, "trust_epsilon": 1.0},
        ),
        roundoffs=12,
        trusts=lambda hyper: "gradient",
        trust_ratio=lars_ratio,
    ),
    "ScheduleFreeAdamW": Updater(
        schedule_free_adam_w,
        ADAM
        | {
            "learning_rate": 2.5e-3,
            "weight_decay": 0.0,
            "warmup_steps": 0.0,
            "weights": "rate",
            "weight_power": 2.0,
        },
        {
            "z": StateArray(
                signed=True, starts_at_parameter=True, beside=lambda g, share: -g * share
            ),
            "v": SQUARE,
        },
        (
            *ADAM_CONFIGURATIONS,
            {"weight_decay": 0.1, "warmup_steps": 3.0, "weight_power": 0.5},
            {"weight_decay": 0.1, "warmup_steps": 2.5, "weights": "equal"},
        ),
        roundoffs=40,
        reads_parameter=True,
    ),
}
