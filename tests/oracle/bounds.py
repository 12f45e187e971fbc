"""Arrays that know how far a rounded evaluation may stray: a running error analysis.

A `Bounded` holds the exact value of every element (in the widest float there is) and a bound on the
distance of any evaluation of the same formula in `dtype`, operation by operation (Higham, Accuracy
and Stability of Numerical Algorithms, 2nd ed., section 3.3). It takes the place of an array in the
oracle's formulas. Fused multiply-adds round less often, so the bound holds for them too.
Cancellation needs no special case: the bound grows just where digits are lost, and stays a few ULP
elsewhere.

Results below the smallest normal number may count as 0, so each operation that comes near it is off
by that much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

EXACT = np.longdouble


def unit_roundoff(dtype: Any) -> float:
    return float(np.finfo(dtype).eps) / 2


OWN = 2 * unit_roundoff(EXACT)


class Bounded(NDArrayOperatorsMixin):
    """Exact values with bounds on the absolute error of an evaluation in `dtype`."""

    __array_priority__ = 1000

    def __init__(self, value: Any, error: Any, dtype: Any) -> None:
        self.value = np.asarray(value, EXACT)
        self.error = np.broadcast_to(np.asarray(error, EXACT), self.value.shape)
        self.dtype = np.dtype(dtype)

    @classmethod
    def exact(cls, array: Any, dtype: Any) -> Bounded:
        """Numbers that both sides hold to the last bit."""
        return cls(array, 0.0, dtype)

    def _operand(self, other: Any) -> Bounded:
        """A plain number is a constant: a few operations in double, rounded to dtype once."""
        if isinstance(other, Bounded):
            return other
        value = np.asarray(other, EXACT)
        magnitude = np.abs(value)
        relative = unit_roundoff(self.dtype) + 2 * unit_roundoff(np.float64)
        error = np.where(magnitude < np.finfo(self.dtype).tiny, magnitude, magnitude * relative)
        error = np.where((magnitude == 0) | (magnitude == 1), 0, error)
        return Bounded(value, error, self.dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs or ufunc not in RULES:
            return NotImplemented
        operands = [self._operand(x) for x in inputs]
        if ufunc in EXACT_RULES:
            return EXACT_RULES[ufunc](*operands)
        value = ufunc(*(x.value for x in operands))
        inherited = RULES[ufunc](value, *operands)
        inherited = np.where(np.isnan(inherited), np.inf, inherited)  # 0 times what is unknown
        unit = unit_roundoff(self.dtype)
        tiny = np.finfo(self.dtype).tiny
        vanishing = (np.abs(value) <= inherited + 2 * tiny) & ((value != 0) | (inherited != 0))
        rounding = unit * (np.abs(value) + inherited)
        # The exact value is itself computed, in EXACT.
        error = inherited + rounding + OWN * np.abs(value) + np.where(vanishing, tiny, 0)
        return Bounded(value, error, self.dtype)


def step_scalar(value: float, roundings: int, like: Any) -> Any:
    """A number that takes more than a few operations in double, to stand beside an array."""
    if not isinstance(like, Bounded):
        return value
    relative = unit_roundoff(like.dtype) + roundings * unit_roundoff(np.float64)
    return Bounded(value, abs(value) * relative, like.dtype)


def _added(value: Any, a: Bounded, b: Bounded) -> Any:
    return a.error + b.error


def _multiplied(value: Any, a: Bounded, b: Bounded) -> Any:
    return np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error


def _divided(value: Any, a: Bounded, b: Bounded) -> Any:
    room = np.abs(b.value) - b.error
    return np.where(room > 0, (a.error + np.abs(value) * b.error) / room, np.inf)


def _square_root(value: Any, a: Bounded) -> Any:
    lower = np.sqrt(np.maximum(a.value - a.error, 0))
    return np.where(a.error == 0, 0, a.error / np.maximum(value + lower, np.finfo(EXACT).tiny))


def _negated(a: Bounded) -> Bounded:
    return Bounded(-a.value, a.error, a.dtype)


def _absolute(a: Bounded) -> Bounded:
    return Bounded(np.abs(a.value), a.error, a.dtype)


def _larger(a: Bounded, b: Bounded) -> Bounded:
    """The error of the one that is larger beyond doubt, else of both."""
    clear = np.abs(a.value - b.value) > a.error + b.error
    error = np.where(a.value > b.value, a.error, b.error)
    error = np.where(clear, error, np.maximum(a.error, b.error))
    return Bounded(np.maximum(a.value, b.value), error, a.dtype)


def _smaller(a: Bounded, b: Bounded) -> Bounded:
    return _negated(_larger(_negated(a), _negated(b)))


def _signed(a: Bounded) -> Bounded:
    """Of numbers that both sides hold exactly: the parameters."""
    return Bounded(np.sign(a.value), 0.0, a.dtype)


ROUNDED_RULES: dict[Any, Callable[..., Any]] = {
    np.add: _added,
    np.subtract: _added,
    np.multiply: _multiplied,
    np.true_divide: _divided,
    np.sqrt: _square_root,
}
EXACT_RULES: dict[Any, Callable[..., Bounded]] = {
    np.negative: _negated,
    np.absolute: _absolute,
    np.maximum: _larger,
    np.minimum: _smaller,
    np.sign: _signed,
}
RULES = ROUNDED_RULES | EXACT_RULES
