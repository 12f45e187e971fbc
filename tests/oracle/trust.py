"""Trust ratios: what an updater scales by the norm of the whole parameter, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle.bounds import Bounded
from oracle.normalization import norm, values
from oracle.updater_row import Updater

Array = Any  # a NumPy array, or a Bounded one


def norm_with_errors(array: Array) -> Any:
    """The norm of an array whose elements may be off by their errors, in any direction."""
    length = norm(array)
    if isinstance(array, Bounded):
        length.error = length.error + np.sqrt(np.sum(array.error * array.error))
    return length


def trust_ratio(row: Updater, hyper: Mapping[str, Any], decay: float, p: Array, x: Array) -> Any:
    """The ratio of x at the parameter p, of which `decay` is taken besides; 1 where a norm is 0."""
    of_parameter, of_x = norm(p), norm_with_errors(x)
    if isinstance(of_x, Bounded) and of_x.error != 0 and of_x.value <= of_x.error:
        return Bounded(1.0, np.inf, of_x.dtype)  # it may as well be 0
    if values(of_parameter) == 0 or values(of_x) == 0:
        return 1.0
    return row.trust_ratio(hyper, decay, of_parameter, of_x)
