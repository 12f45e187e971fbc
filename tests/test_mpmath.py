"""The core in float64 against the formulas in 60 digits, up to the ends of every range.

The formulas are written down here once more, on mpmath's numbers, so that they share nothing with
the core, nor with the NumPy oracle but what a strategy's group is. Every operation carries a bound
on the distance of its evaluation in double (Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., section 3.3, as in `oracle/bounds.py`); what the core gives must lie within it. Batch sizes
go to 2⁶³ − 1, iterations to 2⁶², gradients from the smallest normal number to the largest.

`FLATSTEP_FUZZ=100000 pytest tests/test_mpmath.py` runs so many points.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from oracle.normalization import STRATEGIES

import flatstep as fs

mpmath = pytest.importorskip("mpmath")

mp = mpmath.mp.clone()
mp.dps = 60
mpf = mp.mpf

POINTS = int(os.environ.get("FLATSTEP_FUZZ") or 400)
UNIT = mpf(2) ** -53
TINY = mpf(float(np.finfo(np.float64).tiny))
LARGEST = mpf(float(np.finfo(np.float64).max))


class B:
    """A number in 60 digits, and how far double may be from it; infinitely far beyond its range."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: Any = 0) -> None:
        self.value, self.error = mpf(value), mpf(error)

    @classmethod
    def rounded(cls, value: Any, inherited: Any) -> B:
        reach = abs(value) + inherited
        if not reach < LARGEST:
            return cls(0, mp.inf)
        vanishes = reach != 0 and abs(value) <= inherited + 2 * TINY
        return cls(value, inherited + UNIT * reach + (TINY if vanishes else 0))

    @property
    def known(self) -> bool:
        return bool(mp.isfinite(self.error))

    def __add__(self, other: B) -> B:
        return B.rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: B) -> B:
        return B.rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other: B) -> B:
        if not (self.known and other.known):
            return B(0, mp.inf)
        inherited = abs(self.value) * other.error + abs(other.value) * self.error
        return B.rounded(self.value * other.value, inherited + self.error * other.error)

    def __truediv__(self, other: B) -> B:
        room = abs(other.value) - other.error
        if not (self.known and other.known and room > 0):
            return B(0, mp.inf)
        value = self.value / other.value
        return B.rounded(value, (self.error + abs(value) * other.error) / room)

    def sqrt(self) -> B:
        if not self.known:
            return self
        root = mp.sqrt(max(self.value, mpf(0)))
        least = mp.sqrt(max(self.value - self.error, mpf(0)))
        if root == 0:
            return B.rounded(root, mp.sqrt(self.error))
        return B.rounded(root, self.error / (root + least))

    def __abs__(self) -> B:
        return B(abs(self.value), self.error)


def larger(a: B, b: B) -> B:
    return B(max(a.value, b.value), max(a.error, b.error))


def scalar(value: Any, relative: Any = 4 * UNIT) -> B:
    """A step scalar: a few operations in double. That its parts are large or small does not count;
    what is itself beyond double is unknown."""
    return B(value, abs(value) * relative) if abs(value) < LARGEST else B(0, mp.inf)


def constant(value: float) -> B:
    return B(value)


def corrected(beta: float, t: int) -> tuple[Any, Any]:
    """1 − βᵗ, and the relative error that squaring in double leaves it."""
    exact = 1 - mpf(beta) ** t
    power_error = t * UNIT * mpf(beta) ** t
    return exact, (power_error + 2 * TINY) / exact + 2 * UNIT


State = dict[str, B]
Hyper = Mapping[str, float]


def moving(decay: float, average: B, x: B) -> B:
    return constant(decay) * average + scalar(1 - mpf(decay), UNIT) * x


def moving_square(decay: float, average: B, x: B) -> B:
    return constant(decay) * average + scalar(1 - mpf(decay), UNIT) * x * x


def sgd(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    return constant(h["learning_rate"]) * g


def no_op(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    return g


def nesterovs(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    decayed = constant(h["momentum"]) * s["v"]
    s["v"] = decayed - constant(h["learning_rate"]) * g
    return decayed - scalar(1 + mpf(h["momentum"]), UNIT) * s["v"]


def ada_grad(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    s["h"] = s["h"] + g * g
    return constant(h["learning_rate"]) * g / (s["h"].sqrt() + constant(h["epsilon"]))


def rms_prop(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    s["s"] = moving_square(h["rms_decay"], s["s"], g)
    return constant(h["learning_rate"]) * g / (s["s"].sqrt() + constant(h["epsilon"]))


def ada_delta(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    epsilon = constant(h["epsilon"])
    s["s"] = moving_square(h["rho"], s["s"], g)
    u = g * (s["d"] + epsilon).sqrt() / (s["s"] + epsilon).sqrt()
    s["d"] = moving_square(h["rho"], s["d"], u)
    return u


def alpha(h: Hyper, t: int, old: bool) -> B:
    first, first_error = corrected(h["beta1"], t)
    second, second_error = corrected(h["beta2"], t)
    value = mpf(h["learning_rate"]) * mp.sqrt(second) / first
    if old and value == 0:
        return constant(h["epsilon"])
    return scalar(value, first_error + second_error + 4 * UNIT)


def adam(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    s["m"] = moving(h["beta1"], s["m"], g)
    s["v"] = moving_square(h["beta2"], s["v"], g)
    return alpha(h, t, old) * s["m"] / (s["v"].sqrt() + constant(h["epsilon"]))


def ams_grad(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    s["m"] = moving(h["beta1"], s["m"], g)
    s["v"] = moving_square(h["beta2"], s["v"], g)
    s["v_hat"] = larger(s["v_hat"], s["v"])
    return alpha(h, t, False) * s["m"] / (s["v_hat"].sqrt() + constant(h["epsilon"]))


def ada_max(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    first, error = corrected(h["beta1"], t)
    s["m"] = moving(h["beta1"], s["m"], g)
    s["n"] = larger(constant(h["beta2"]) * s["n"], abs(g))
    rate = scalar(mpf(h["learning_rate"]) / first, error + 4 * UNIT)
    return rate * s["m"] / (s["n"] + constant(1e-32))


def nadam(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    first, error = corrected(h["beta1"], t)
    s["m"] = moving(h["beta1"], s["m"], g)
    s["v"] = moving_square(h["beta2"], s["v"], g)
    rate = scalar(mpf(h["learning_rate"]) / first, error + 4 * UNIT)
    ahead = moving(h["beta1"], s["m"], g)
    return rate * ahead / (s["v"].sqrt() + constant(h["epsilon"]))


def ada_belief(g: B, s: State, h: Hyper, t: int, old: bool) -> B:
    first, first_error = corrected(h["beta1"], t)
    second, second_error = corrected(h["beta2"], t)
    s["m"] = moving(h["beta1"], s["m"], g)
    s["s"] = moving_square(h["beta2"], s["s"], g - s["m"]) + constant(h["epsilon"])
    m_hat = scalar(1 / first, first_error + UNIT) * s["m"]
    s_hat = scalar(1 / second, second_error + UNIT) * s["s"]
    return constant(h["learning_rate"]) * m_hat / (s_hat.sqrt() + constant(h["epsilon"]))


Formula = Callable[[B, State, Hyper, int, bool], B]
FORMULAS: dict[str, Formula] = {
    "Sgd": sgd,
    "NoOp": no_op,
    "Nesterovs": nesterovs,
    "AdaGrad": ada_grad,
    "RmsProp": rms_prop,
    "AdaDelta": ada_delta,
    "Adam": adam,
    "AMSGrad": ams_grad,
    "AdaMax": ada_max,
    "Nadam": nadam,
    "AdaBelief": ada_belief,
}
SIGNED = ("m",)
#: Those that the formulas above take; what else an updater has stays at its default.
HYPER_PARAMETERS = ("learning_rate", "momentum", "beta1", "beta2", "rho", "rms_decay", "epsilon")
RANGES: dict[str, tuple[float, ...]] = {
    "learning_rate": (1e-3, 0.1, 1.0, 0.0, 1e-12, 1e12, 1e-290, 1e290),
    "epsilon": (1e-8, 1e-6, 1e-3, 0.0, 1.0, 1e-32, 1e-150, 1e-300, 1e150),
    "momentum": (0.9, 0.5, 0.0, 1.0, 1 - 2.0**-53, 1e-300),
}
DECAYS = (0.9, 0.999, 0.5, 0.0, 1 - 1e-6, 1 - 1e-12, 1 - 2.0**-53, 1e-300, 0.1)
ITERATIONS = (0, 1, 2, 9, 999, 10**6, 2**31, 2**53 + 1, 2**62)
BATCHES = (1, 1, 2, 3, 7, 32, 10**6, 2**53 + 1, 2**62 + 1, 2**63 - 1)
COEFFICIENTS = (0.0, 0.0, 1e-4, 0.5, 1e-150, 1e150)


class Point:
    """A network of one or two layers, its settings and numbers."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        names = list(FORMULAS)
        self.name = names[seed % len(names)]
        defaults = {
            p.name: p.default
            for info in fs._core.updater_registry()
            if info.name == self.name
            for p in info.hyper_parameters
            if p.name in HYPER_PARAMETERS
        }
        ordinary = rng.random() < 0.4
        self.hyper = {
            argument: default
            if ordinary or rng.random() < 0.3
            else rng.choice(RANGES.get(argument, DECAYS))
            for argument, default in defaults.items()
        }
        self.old = rng.random() < 0.4
        self.strategy = rng.choice(list(fs.GradientNormalization)).value
        self.threshold = rng.choice((1.0, 0.5, 1e-3, 1e3, 1e-150, 1e150, 1e-290, 1e290))
        self.batch = rng.choice(BATCHES)
        self.iteration = rng.choice(ITERATIONS)
        self.l1, self.l2 = rng.choice(COEFFICIENTS), rng.choice(COEFFICIENTS)
        self.weight_decay = 0.0 if self.old else rng.choice(COEFFICIENTS)
        self.by_rate = rng.random() < 0.5
        self.exponents = rng.choice(((-2, 2), (-2, 2), (-9, 9), (-150, 150), (-307, 307)))
        self.sizes = {
            f"{layer}_{param}": rng.randint(1, 4)
            for layer in range(rng.randint(1, 2))
            for param in ("W", "V")[: rng.randint(1, 2)]
        }

    def number(self) -> float:
        value = self.rng.uniform(1, 10) * 10.0 ** self.rng.uniform(*self.exponents)
        return self.rng.choice((-1, 1)) * min(value, 1e308) if self.rng.random() < 0.95 else 0.0

    def array(self, size: int) -> Any:
        return np.array([self.number() for _ in range(size)])

    def configuration(self) -> Any:
        decays = {} if self.old else {"weight_decay_apply_lr": self.by_rate}
        return fs.MultiLayerConfiguration(
            updater=getattr(fs, self.name)(**self.hyper),
            gradient_normalization=self.strategy,
            gradient_normalization_threshold=self.threshold,
            l1=self.l1,
            l2=self.l2,
            weight_decay=self.weight_decay,
            semantics="dl4j-0.8" if self.old else "dl4j-1.0",
            on_nonfinite="propagate",
            **decays,
        )

    # -- what is expected

    def groups(self) -> list[list[str]]:
        keys = list(self.sizes)
        group = STRATEGIES[self.strategy].group
        if group == "network":
            return [keys]
        if group == "parameter":
            return [[key] for key in keys]
        return [
            [key for key in keys if key[0] == layer] for layer in dict.fromkeys(k[0] for k in keys)
        ]

    def normalized(self, gradients: Mapping[str, list[Any]]) -> dict[str, list[B]] | None:
        """After division by the batch (in the newer order) and normalisation; None where the
        comparison with the threshold is too close to call."""
        batch = 1 if self.old else self.batch
        scale = scalar(mpf(1) / batch, 2 * UNIT) if batch != 1 else constant(1)
        if "L2" not in self.strategy:
            scaled = {key: [B(g) * scale for g in gs] for key, gs in gradients.items()}
            if self.strategy != "None":
                return {key: [self.clamped(g) for g in gs] for key, gs in scaled.items()}
            return scaled
        result = {}
        for keys in self.groups():
            squares = sum((g * g for key in keys for g in gradients[key]), mpf(0))
            norm = mp.sqrt(squares) / batch
            factor = mpf(1)
            if self.strategy.startswith("Renormalize"):
                factor = 1 / norm if norm else factor
            elif abs(norm - self.threshold) <= 40 * UNIT * norm:
                return None
            elif norm > self.threshold:
                factor = self.threshold / norm
            # One number in double, whatever the size of its parts.
            whole = scalar(factor / batch, 40 * UNIT) if factor != 1 else scale
            for key in keys:
                result[key] = [B(g) * whole for g in gradients[key]]
        return result

    def clamped(self, g: B) -> B:
        return B(max(-self.threshold, min(self.threshold, g.value)), g.error)

    def expected(self, g: B, p: Any, state: State) -> B:
        parameter = B(p)
        sign = B(mp.sign(p))
        if not self.old:
            if self.l2:
                g = g + constant(self.l2) * parameter
            if self.l1:
                g = g + constant(self.l1) * sign
        u = FORMULAS[self.name](g, state, self.hyper, self.iteration + 1, self.old)
        if self.old:
            if self.l2:
                u = u + constant(self.l2) * parameter
            if self.l1:
                u = u + constant(self.l1) * sign
            if self.batch != 1:
                u = u * scalar(mpf(1) / self.batch, 2 * UNIT)
        elif self.weight_decay:
            rate = mpf(self.hyper.get("learning_rate", 1.0)) if self.by_rate else mpf(1)
            u = u + scalar(self.weight_decay * rate, UNIT + TINY) * parameter
        return u


def assert_holds(expected: B, got: float, what: str) -> bool:
    """Within the bound; whether there is one."""
    if not expected.known:
        return False
    assert np.isfinite(got), f"{what}: {got!r}, expected {mp.nstr(expected.value, 20)}"
    distance = abs(mpf(got) - expected.value)
    assert distance <= expected.error, (
        f"{what}: {got!r}, expected {mp.nstr(expected.value, 20)} ± {mp.nstr(expected.error, 3)}"
    )
    return True


def hold(seed: int) -> tuple[int, int]:
    """One step of one network: how many numbers were held to a bound, of how many."""
    point = Point(seed)
    params = {key: point.array(size) for key, size in point.sizes.items()}
    gradients = {key: point.array(size) for key, size in point.sizes.items()}
    updater = fs.MultiLayerUpdater(point.configuration(), params)
    states = {key: updater.state(key) for key in params}
    for arrays in states.values():
        for name, array in arrays.items():
            drawn = point.array(array.size)
            is_signed = name in SIGNED or (name == "v" and point.name == "Nesterovs")
            array[...] = drawn if is_signed else np.abs(drawn)
    before = {key: {n: a.copy() for n, a in arrays.items()} for key, arrays in states.items()}
    start = {key: array.copy() for key, array in params.items()}
    updates = {key: array.copy() for key, array in gradients.items()}
    updater.update(updates, iteration=point.iteration, batch_size=point.batch)
    normalized = point.normalized({k: [mpf(float(x)) for x in a] for k, a in gradients.items()})
    if normalized is None:
        return 0, 0
    held = total = 0
    for key in params:
        for i in range(point.sizes[key]):
            state = {name: B(float(array[i])) for name, array in before[key].items()}
            expected = point.expected(normalized[key][i], mpf(float(start[key][i])), state)
            what = f"seed {seed}, {point.name}, {point.strategy}, {key}[{i}]"
            held += assert_holds(expected, float(updates[key][i]), f"update, {what}")
            total += 1
            for name, bounded in state.items():
                held += assert_holds(bounded, float(states[key][name][i]), f"{name}, {what}")
                total += 1
    return held, total


@pytest.mark.parametrize("block", range(len(FORMULAS)), ids=list(FORMULAS))
def test_points(block: int) -> None:
    """Those of one updater. Most numbers must have a bound, or the test would say nothing."""
    counts = [hold(seed) for seed in range(block, POINTS, len(FORMULAS))]
    held, total = (sum(column) for column in zip(*counts, strict=True))
    assert held >= total / 2, f"{held} of {total}"


@pytest.mark.parametrize("seed", [52, 489, 818])
def test_scalars_of_tiny_and_huge_parts(seed: int) -> None:
    """Thresholds near the end of the range over norms far from it: the factor is a number beyond
    double's range, but what it makes of the gradient is not."""
    held, total = hold(seed)
    assert held > total / 2


def test_every_updater_of_dl4j_has_its_formula() -> None:
    """The oracle's running error bounds hold the others, and so do their peers."""
    assert set(fs.updaters.built_in.__all__) - {"AdamW"} == set(FORMULAS)
