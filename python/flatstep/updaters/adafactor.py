"""Adafactor: a second moment that is kept as the means of a matrix's rows and columns."""

# No postponed annotations: see built_in.py.
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flatstep.schedules import Schedule

from .shipped import LEAST, Ranges, Shipped, root_mean_square

__all__ = ["Adafactor", "AdafactorWithRate"]


@dataclass(frozen=True, eq=False)
class Adafactor(Shipped):
    r"""Adafactor with relative steps: u = α·û, α = max(ε2, RMS(p))·min(lr, 1/√t).

    With β_t = 1 − t^beta2_decay, a matrix keeps r = β_t·r + (1 − β_t)·(mean of g² along a row) and
    c, the same along a column, whence v = r·c/mean(r). What has fewer than two dimensions keeps v
    itself. û = (g/√v)/max(1, RMS(g/√v)/d). Of more than two dimensions the last two are a matrix.

    State: row, column, v; empty where they are not needed. ε1 stands where PyTorch has it
    (``epsilon_placement="estimate"``: mean(r) is at least ε1, v at least ε1²) or where the paper
    and Keras have it ("gradient": g² + ε1). ``weight_decay`` is Keras': the parameter is decayed
    first, by lr·weight_decay, and α is that of what is left; that of the configuration is
    PyTorch's.

    Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta2_decay: the exponent of t, ≤ 0.
        epsilon1: ε1 ≥ 0. None: the machine epsilon of the parameter's type.
        epsilon2: ε2 ≥ 0, the least scale of a step.
        clip_threshold: d > 0.
        epsilon_placement: "estimate" or "gradient".
        weight_decay: ≥ 0, by which the parameter is decayed first.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adafactor(0.1))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> updater.step({"0_W": np.full((2, 2), 3.0)})
        >>> w, updater.state("0_W")["row"]
        (array([[0.9, 0.9],
               [0.9, 0.9]]), array([[9.],
               [9.]]))
    """

    state: ClassVar[tuple[str, ...]] = ("row", "column", "v")
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "beta2_decay": (-math.inf, 0.0),
            "epsilon1": (0.0, None),
            "epsilon2": (0.0, None),
            "clip_threshold": (LEAST, None),
            "weight_decay": (0.0, None),
        }
    )
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"epsilon_placement": ("estimate", "gradient")}
    )

    learning_rate: float | Schedule = 1e-2
    beta2_decay: float = -0.8
    epsilon1: float | None = None
    epsilon2: float = 1e-3
    clip_threshold: float = 1.0
    epsilon_placement: str = "estimate"
    weight_decay: float = 0.0

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Means of rows and columns for a matrix, v for the rest."""
        if len(shape) < 2:
            return {"row": (0,), "column": (0,)}
        return {"row": (*shape[:-1], 1), "column": (*shape[:-2], 1, shape[-1]), "v": (0,)}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        t = iteration + 1
        share = t**self.beta2_decay  # of what is new
        epsilon = np.finfo(g.dtype).eps if self.epsilon1 is None else self.epsilon1
        epsilon = float(epsilon)
        in_gradient = self.epsilon_placement == "gradient"
        p = parameter * (1 - learning_rate * self.weight_decay)
        square = np.square(g) + epsilon if in_gradient else np.square(g)
        if g.ndim < 2:
            v = state["v"]
            v[...] = (1 - share) * v + share * square
            estimate = v
        else:
            row, column = state["row"], state["column"]
            row[...] = (1 - share) * row + share * np.mean(square, axis=-1, keepdims=True)
            column[...] = (1 - share) * column + share * np.mean(square, axis=-2, keepdims=True)
            mean = np.mean(row, axis=-2, keepdims=True)
            estimate = row / (mean if in_gradient else np.maximum(mean, epsilon)) * column
        if not in_gradient:
            estimate = np.maximum(estimate, epsilon * epsilon)
        direction = g / np.sqrt(estimate)
        clip = max(1.0, root_mean_square(direction) / self.clip_threshold)
        rate = max(self.epsilon2, root_mean_square(p)) * min(learning_rate, 1 / math.sqrt(t))
        g[...] = direction * (rate / clip) + (parameter - p)


@dataclass(frozen=True, eq=False)
class AdafactorWithRate(Shipped):
    r"""Adafactor with a rate from outside: u = lr·max(10⁻³, RMS(p))·û, as optax has it.

    With β_t = 1 − (t − decay_offset)^−decay_rate and g² + ε, an array whose two largest dimensions
    have at least ``min_dim_size_to_factor`` elements keeps the means over the one (row) and over
    the other (column); any other array keeps v. û = (g/√v)/max(1, RMS(g/√v)/d). After the rate, the
    scale of the parameter and the momentum, weight_decay·p is added, not multiplied by the rate.

    State: row, column, v, m; empty where they are not needed.

    Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235, in the form of optax's adafactor. In
    NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        decay_rate: the exponent of t, ≥ 0.
        epsilon: ε ≥ 0, added to g².
        clip_threshold: d ≥ 0; 0: not clipped.
        min_dim_size_to_factor: ≥ 1.
        decay_offset: how many steps later t starts, an integer ≤ 0.
        parameter_scale: whether to multiply by max(10⁻³, RMS(p)).
        momentum: in [0, 1], that of an average of the updates, or None: no average.
        momentum_in_float32: whether the average is kept in float32 whatever the parameter's type.
        weight_decay: ≥ 0.
        factored: False: v for every array.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdafactorWithRate(0.25))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.full((2, 2), 3.0)})
        >>> w
        array([[0.75, 0.75],
               [0.75, 0.75]])
    """

    state: ClassVar[tuple[str, ...]] = ("row", "column", "v", "m")
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "decay_rate": (0.0, None),
            "epsilon": (0.0, None),
            "clip_threshold": (0.0, None),
            "min_dim_size_to_factor": (1, None),
            "decay_offset": (-math.inf, 0.0),
            "momentum": (0.0, 1.0),
            "weight_decay": (0.0, None),
        }
    )

    learning_rate: float | Schedule = 1e-3
    decay_rate: float = 0.8
    epsilon: float = 1e-30
    clip_threshold: float = 1.0
    min_dim_size_to_factor: int = 128
    decay_offset: int = 0
    parameter_scale: bool = True
    momentum: float | None = None
    momentum_in_float32: bool = True
    weight_decay: float = 0.0
    factored: bool = True

    def _factored_axes(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The second largest and the largest axis, where they are large enough."""
        if not self.factored or len(shape) < 2:
            return None
        order = np.argsort(shape)
        if shape[order[-2]] < self.min_dim_size_to_factor:
            return None
        return int(order[-2]), int(order[-1])

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Means over the largest axes where they are large enough, else v."""
        axes = self._factored_axes(shape)
        momentum = {} if self.momentum is not None else {"m": (0,)}
        if axes is None:
            return {"row": (0,), "column": (0,), **momentum}

        def without(axis: int) -> tuple[int, ...]:
            return (*shape[:axis], 1, *shape[axis + 1 :])

        return {"row": without(axes[1]), "column": without(axes[0]), "v": (0,), **momentum}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        share = (iteration - self.decay_offset + 1) ** -self.decay_rate  # of what is new
        square = np.square(g) + self.epsilon
        axes = self._factored_axes(g.shape)
        if axes is None:
            v = state["v"]
            v[...] = (1 - share) * v + share * square
            update = g / np.sqrt(v)
        else:
            second, first = axes
            row, column = state["row"], state["column"]
            row[...] = (1 - share) * row + share * np.mean(square, axis=first, keepdims=True)
            column[...] = (1 - share) * column + share * np.mean(square, axis=second, keepdims=True)
            update = g / np.sqrt(row / np.mean(row, axis=second, keepdims=True)) / np.sqrt(column)
        if self.clip_threshold != 0:
            update = update / max(1.0, root_mean_square(update) / self.clip_threshold)
        update = update * learning_rate
        if self.parameter_scale:
            update = update * max(1e-3, root_mean_square(parameter))
        if self.momentum is not None:
            update = self.momentum * state["m"] + (1 - self.momentum) * update
            stored = update.astype(np.float32) if self.momentum_in_float32 else update
            state["m"][...] = stored
        g[...] = update + self.weight_decay * parameter
