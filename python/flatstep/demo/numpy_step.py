"""The same step in plain NumPy, written as well as NumPy allows: what flatstep is measured against.

It works on flat buffers, so that each operation is one call for the whole network, writes every
result into memory it already has, and folds the division by the batch size into the factor of the
gradient normalisation. What remains is what NumPy cannot avoid: one pass over the memory for every
operation.

Every function of ``FORMULAS`` turns the gradient ``g`` into the update in place. ``a`` is scratch
memory, ``rate`` the learning rate and ``t`` the iteration counted from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .digits import FloatArray

States = Mapping[str, FloatArray]


def _sgd(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    g *= rate


def _nesterovs(
    g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any
) -> None:
    v = state["v"]
    np.multiply(v, hyper.momentum, out=a)
    g *= rate
    np.subtract(a, g, out=v)
    np.multiply(v, 1 + hyper.momentum, out=g)
    np.subtract(a, g, out=g)


def _ada_grad(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    h = state["h"]
    np.multiply(g, g, out=a)
    h += a
    _divide_by_root(g, h, a, hyper.epsilon, out=g)
    g *= rate


def _rms_prop(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    _average_squares(state["s"], g, a, hyper.rms_decay)
    _divide_by_root(g, state["s"], a, hyper.epsilon, out=g)
    g *= rate


def _ada_delta(
    g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any
) -> None:
    s, d = state["s"], state["d"]
    _average_squares(s, g, a, hyper.rho)
    np.add(s, hyper.epsilon, out=a)
    g /= np.sqrt(a, out=a)
    np.add(d, hyper.epsilon, out=a)
    g *= np.sqrt(a, out=a)
    _average_squares(d, g, a, hyper.rho)


def _adam(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    m, v = state["m"], state["v"]
    _average(m, g, a, hyper.beta1)
    _average_squares(v, g, a, hyper.beta2)
    _divide_by_root(m, v, a, hyper.epsilon, out=g)
    g *= rate * math.sqrt(1 - hyper.beta2**t) / (1 - hyper.beta1**t)


def _ams_grad(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    m, v, v_hat = state["m"], state["v"], state["v_hat"]
    _average(m, g, a, hyper.beta1)
    _average_squares(v, g, a, hyper.beta2)
    np.maximum(v_hat, v, out=v_hat)
    _divide_by_root(m, v_hat, a, hyper.epsilon, out=g)
    g *= rate * math.sqrt(1 - hyper.beta2**t) / (1 - hyper.beta1**t)


def _ada_max(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    m, n = state["m"], state["n"]
    _average(m, g, a, hyper.beta1)
    n *= hyper.beta2
    np.abs(g, out=a)
    np.maximum(n, a, out=n)
    np.add(n, 1e-32, out=a)
    np.divide(m, a, out=g)
    g *= rate / (1 - hyper.beta1**t)


def _nadam(g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any) -> None:
    m, v = state["m"], state["v"]
    _average(m, g, a, hyper.beta1)
    _average_squares(v, g, a, hyper.beta2)
    g *= 1 - hyper.beta1
    np.multiply(m, hyper.beta1, out=a)
    g += a
    _divide_by_root(g, v, a, hyper.epsilon, out=g)
    g *= rate / (1 - hyper.beta1**t)


def _ada_belief(
    g: FloatArray, a: FloatArray, state: States, rate: float, t: int, hyper: Any
) -> None:
    m, s = state["m"], state["s"]
    _average(m, g, a, hyper.beta1)
    g -= m
    _average_squares(s, g, a, hyper.beta2)
    s += hyper.epsilon
    np.divide(s, 1 - hyper.beta2**t, out=a)
    np.sqrt(a, out=a)
    a += hyper.epsilon
    np.divide(m, a, out=g)
    g *= rate / (1 - hyper.beta1**t)


def _average(mean: FloatArray, x: FloatArray, a: FloatArray, decay: float) -> None:
    """Move an exponential mean towards x: mean = decay·mean + (1 - decay)·x."""
    mean *= decay
    mean += np.multiply(x, 1 - decay, out=a)


def _average_squares(mean: FloatArray, x: FloatArray, a: FloatArray, decay: float) -> None:
    """Move an exponential mean towards x²: mean = decay·mean + (1 - decay)·x²."""
    mean *= decay
    np.multiply(x, x, out=a)
    a *= 1 - decay
    mean += a


def _divide_by_root(
    x: FloatArray, squares: FloatArray, a: FloatArray, epsilon: float, out: FloatArray
) -> None:
    """Write x / (√squares + ε) to out."""
    np.sqrt(squares, out=a)
    a += epsilon
    np.divide(x, a, out=out)


@dataclass(frozen=True)
class Formula:
    """An updater's formula and the names of its state arrays."""

    turn_into_update: Callable[[FloatArray, FloatArray, States, float, int, Any], None]
    state: tuple[str, ...] = ()


FORMULAS: Mapping[str, Formula] = {
    "Sgd": Formula(_sgd),
    "Nesterovs": Formula(_nesterovs, ("v",)),
    "AdaGrad": Formula(_ada_grad, ("h",)),
    "RmsProp": Formula(_rms_prop, ("s",)),
    "AdaDelta": Formula(_ada_delta, ("s", "d")),
    "Adam": Formula(_adam, ("m", "v")),
    "AdamW": Formula(_adam, ("m", "v")),
    "AMSGrad": Formula(_ams_grad, ("m", "v", "v_hat")),
    "AdaMax": Formula(_ada_max, ("m", "n")),
    "Nadam": Formula(_nadam, ("m", "v")),
    "AdaBelief": Formula(_ada_belief, ("m", "s")),
}


class NumpyStep:
    """One network's step in plain NumPy, with its own copy of the parameters.

    It also keeps ``update_ratios``, ‖update‖ / ‖parameters‖ by layer, as ``monitor=True`` does.

    Args:
        updater: the updater's configuration, for example ``flatstep.Adam()``, for its numbers; its
            rate is not looked at.
        rate: the learning rate as a function of the iteration.
        strategy, threshold: the gradient normalisation, by its name.
        semantics: "dl4j-1.0" divides the gradient by the batch size, "dl4j-0.8" the finished
            update.
        parameters: the flat parameters to start from; they are copied.
        layers: for each layer, where its arrays are in the flat parameters.
    """

    def __init__(
        self,
        updater: Any,
        rate: Callable[[int], float],
        strategy: str,
        threshold: float,
        semantics: str,
        parameters: FloatArray,
        layers: Sequence[Sequence[slice]],
    ) -> None:
        formula = FORMULAS[type(updater).__name__]
        self.parameters = parameters.copy()
        self.iteration = 0
        self.update_ratios: list[float] = []
        self._hyper = updater
        self._turn_into_update = formula.turn_into_update
        self._rate = rate
        self._strategy = strategy
        self._threshold = threshold
        self._divide_gradient = semantics == "dl4j-1.0"
        self._weight_decay = updater.weight_decay if type(updater).__name__ == "AdamW" else 0.0
        self._layers = [slice(layer[0].start, layer[-1].stop) for layer in layers]
        self._update = np.empty_like(parameters)
        self._scratch = np.empty_like(parameters)
        self._state = {name: np.zeros_like(parameters) for name in formula.state}
        for name, value in self._initial_state(type(updater).__name__).items():
            self._state[name].fill(value)
        if strategy == "ClipL2Global":
            self._groups = [slice(0, parameters.size)]
        elif strategy.endswith("PerParamType"):
            self._groups = [slot for layer in layers for slot in layer]
        else:
            self._groups = self._layers

    def step(self, gradient: FloatArray, batch_size: int) -> None:
        """Take a step with the flat gradient, a sum over the batch, which is left as it was."""
        update, rate = self._update, self._rate(self.iteration)
        self.iteration += 1
        self._normalize(gradient, 1 / batch_size if self._divide_gradient else 1.0)
        self._turn_into_update(
            update, self._scratch, self._state, rate, self.iteration, self._hyper
        )
        if self._weight_decay:
            update += np.multiply(self.parameters, self._weight_decay * rate, out=self._scratch)
        if not self._divide_gradient:
            update *= 1 / batch_size
        self.update_ratios = [
            math.sqrt(np.dot(update[layer], update[layer]))
            / math.sqrt(np.dot(self.parameters[layer], self.parameters[layer]))
            for layer in self._layers
        ]
        self.parameters -= update

    def _normalize(self, gradient: FloatArray, scale: float) -> None:
        """Write the normalised, scaled gradient into the memory of the update."""
        update, strategy, threshold = self._update, self._strategy, self._threshold
        if strategy == "None":
            np.multiply(gradient, scale, out=update)
        elif strategy == "ClipElementWiseAbsoluteValue":
            np.multiply(gradient, scale, out=update)
            np.clip(update, -threshold, threshold, out=update)
        else:
            for group in self._groups:
                part = gradient[group]
                norm = scale * math.sqrt(np.dot(part, part))
                factor = scale
                if strategy.startswith("Renormalize"):
                    factor = scale / norm if norm > 0 else scale
                elif norm > threshold:
                    factor = scale * (threshold / norm)
                np.multiply(part, factor, out=update[group])

    def _initial_state(self, name: str) -> dict[str, float]:
        """Return the state arrays that do not start at zero."""
        if name == "RmsProp":
            return {"s": self._hyper.epsilon}
        if name == "AdaGrad":
            return {"h": 1e-6 if self._divide_gradient else self._hyper.epsilon}
        return {}
