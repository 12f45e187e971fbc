"""Gradient normalisation, one function per strategy, on the gradients of one layer by parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def renormalize_factor(length: Any) -> Any:
    return 1.0 if values(length) == 0 else 1.0 / length


def clip_factor(length: Any, threshold: float) -> Any:
    return threshold / length if values(length) > threshold else 1.0


def none(gradients: Gradients, threshold: float) -> dict[str, Array]:
    return dict(gradients)


def renormalize_l2_per_layer(gradients: Gradients, threshold: float) -> dict[str, Array]:
    factor = renormalize_factor(norm(*gradients.values()))
    return {name: g * factor for name, g in gradients.items()}


def renormalize_l2_per_param_type(gradients: Gradients, threshold: float) -> dict[str, Array]:
    return {name: g * renormalize_factor(norm(g)) for name, g in gradients.items()}


def clip_element_wise_absolute_value(gradients: Gradients, threshold: float) -> dict[str, Array]:
    return {name: np.maximum(-threshold, np.minimum(threshold, g)) for name, g in gradients.items()}


def clip_l2_per_layer(gradients: Gradients, threshold: float) -> dict[str, Array]:
    factor = clip_factor(norm(*gradients.values()), threshold)
    return {name: g * factor for name, g in gradients.items()}


def clip_l2_per_param_type(gradients: Gradients, threshold: float) -> dict[str, Array]:
    return {name: g * clip_factor(norm(g), threshold) for name, g in gradients.items()}


STRATEGIES: dict[str, Callable[[Gradients, float], dict[str, Array]]] = {
    "None": none,
    "RenormalizeL2PerLayer": renormalize_l2_per_layer,
    "RenormalizeL2PerParamType": renormalize_l2_per_param_type,
    "ClipElementWiseAbsoluteValue": clip_element_wise_absolute_value,
    "ClipL2PerLayer": clip_l2_per_layer,
    "ClipL2PerParamType": clip_l2_per_param_type,
}
