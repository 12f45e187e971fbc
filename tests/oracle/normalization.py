"""Gradient normalisation: one row per strategy, on gradients by parameter.

A new strategy needs its row in `STRATEGIES`, and nothing else in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oracle.bounds import EXACT, Bounded, unit_roundoff

Array = Any  # a NumPy array, or a Bounded one
Gradients = Mapping[str, Array]

LANES = 32  # a norm is summed in this many lanes, over chunks of this many elements
CHUNK = 16384


def values(array: Array) -> Any:
    """The numbers of an array that may carry error bounds."""
    return array.value if isinstance(array, Bounded) else array


def norm(*arrays: Array) -> Any:
    """The L2 norm over arrays, however large or small the gradients."""
    largest = max((np.max(np.abs(values(array)), initial=0.0) for array in arrays), default=0.0)
    if largest == 0 or not np.isfinite(largest):
        length = largest
    else:
        scaled = [np.asarray(values(array), EXACT) / largest for array in arrays]
        length = largest * np.sqrt(sum(np.sum(array * array) for array in scaled))
    if not any(isinstance(array, Bounded) for array in arrays):
        return float(length)
    # The core sums squares in double. Of the n roundings in a chain of additions about √n remain
    # (Higham and Mary 2019, https://doi.org/10.1137/18M1226312).
    size = sum(values(array).size for array in arrays)
    roundings = np.sqrt(min(size, CHUNK) / LANES) + np.sqrt(size / CHUNK) + 4
    return Bounded(length, length * roundings * unit_roundoff(np.float64), arrays[0].dtype)


def renormalize(length: Any, threshold: float) -> Any:
    return 1.0 if values(length) == 0 else 1.0 / length


def clip(length: Any, threshold: float) -> Any:
    return threshold / length if values(length) > threshold else 1.0


@dataclass(frozen=True)
class Strategy:
    """What a strategy makes of gradients."""

    #: Which gradients share a norm: those of a "layer", a "parameter", the "network"; "" for none.
    group: str = ""
    #: The factor of a group, of its norm and the threshold.
    factor: Callable[[Any, float], Any] | None = None
    #: Whether the strategy compares something with the threshold.
    uses_threshold: bool = True
    #: What becomes of a gradient by itself, where there is no norm.
    element_wise: Callable[[Array, float], Array] = lambda g, threshold: g

    def normalize(
        self, gradients: Gradients, threshold: float, epsilon: float = 0.0
    ) -> dict[str, Array]:
        """On the gradients of one layer; of all layers together where the group is the network.
        A clip adds epsilon to the norm."""

        def length(*arrays: Array) -> Any:
            return norm(*arrays) + epsilon if epsilon and self.uses_threshold else norm(*arrays)

        if self.factor is None:
            return {key: self.element_wise(g, threshold) for key, g in gradients.items()}
        if self.group == "parameter":
            return {key: g * self.factor(length(g), threshold) for key, g in gradients.items()}
        factor = self.factor(length(*gradients.values()), threshold)
        return {key: g * factor for key, g in gradients.items()}


STRATEGIES: dict[str, Strategy] = {
    "None": Strategy(uses_threshold=False),
    "RenormalizeL2PerLayer": Strategy("layer", renormalize, uses_threshold=False),
    "RenormalizeL2PerParamType": Strategy("parameter", renormalize, uses_threshold=False),
    "ClipElementWiseAbsoluteValue": Strategy(
        element_wise=lambda g, threshold: np.maximum(-threshold, np.minimum(threshold, g))
    ),
    "ClipL2PerLayer": Strategy("layer", clip),
    "ClipL2PerParamType": Strategy("parameter", clip),
    "ClipL2Global": Strategy("network", clip),
}


def strategies_of(*groups: str) -> tuple[str, ...]:
    """The names of the strategies with one of these groups."""
    return tuple(name for name, row in STRATEGIES.items() if row.group in groups)
