"""Optimistic updaters, which step on a guess of the next gradient."""

# No postponed annotations: see built_in.py.
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from flatstep.schedules import Schedule

from .shipped import Ranges, Shipped, direction_of_adam

__all__ = ["OptimisticAdam", "OptimisticGradientDescent"]


def _look_ahead(now: Any, previous: Any, iteration: int, alpha: float, beta: float) -> Any:
    """(α + β)·now − β·before; in the first step what is now has been before."""
    guess = (alpha + beta) * now - beta * (now if iteration == 0 else previous)
    previous[...] = now
    return guess


@dataclass(frozen=True, eq=False)
class OptimisticGradientDescent(Shipped):
    r"""Optimistic gradient descent: u = lr·((α + β)·g − β·(the gradient before)).

    State: previous. Mokhtari, Ozdaglar and Pattathil 2019, https://arxiv.org/abs/1901.08511, as
    optax has it: in the first step the gradient before is the gradient. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        alpha: α ≥ 0, the weight of the gradient.
        beta: β ≥ 0, the weight of its change.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.OptimisticGradientDescent(0.125)), {"0_W": w})
        >>> updater.step({"0_W": np.array([2.0])})
        >>> updater.step({"0_W": np.array([1.0])})  # 0.125·(2·1 − 2)
        >>> w
        array([0.75])
    """

    state: ClassVar[tuple[str, ...]] = ("previous",)
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType({"alpha": (0.0, None), "beta": (0.0, None)})

    learning_rate: float | Schedule = 1e-3
    alpha: float = 1.0
    beta: float = 1.0

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        g[...] = learning_rate * _look_ahead(
            g.copy(), state["previous"], iteration, self.alpha, self.beta
        )


@dataclass(frozen=True, eq=False)
class OptimisticAdam(Shipped):
    r"""Optimistic Adam: u = lr·((α + β)·a − β·(a before)), a = m̂/(√(v̂ + root) + ε) of Adam.

    State: m, v, previous. Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141, as optax has it
    (optimistic_adam_v2): with ``nesterov`` m̂ = β1·m/(1 − β1^(t+1)) + (1 − β1)·g/(1 − β1ᵗ). In
    NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        alpha: α ≥ 0.
        beta: β ≥ 0.
        beta1: β1 in [0, 1].
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0, beside the root of v̂.
        epsilon_root: ≥ 0, under that root.
        nesterov: whether m̂ looks ahead.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.OptimisticAdam(0.1, nesterov=False))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """

    state: ClassVar[tuple[str, ...]] = ("m", "v", "previous")
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "alpha": (0.0, None),
            "beta": (0.0, None),
            "beta1": (0.0, 1.0),
            "beta2": (0.0, 1.0),
            "epsilon": (0.0, None),
            "epsilon_root": (0.0, None),
        }
    )

    learning_rate: float | Schedule = 1e-3
    alpha: float = 1.0
    beta: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    nesterov: bool = True

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        direction = direction_of_adam(
            g,
            state,
            iteration + 1,
            self.beta1,
            self.beta2,
            self.epsilon,
            epsilon_root=self.epsilon_root,
            nesterov=self.nesterov,
        )
        g[...] = learning_rate * _look_ahead(
            direction, state["previous"], iteration, self.alpha, self.beta
        )
