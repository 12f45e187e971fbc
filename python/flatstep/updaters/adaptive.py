"""Adaptive updaters that few use: Adan, Sm3, Ftrl, ASGD."""

# No postponed annotations: see built_in.py.
import math
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flatstep.schedules import Schedule

from .shipped import Ranges, Shipped

__all__ = ["ASGD", "Adan", "Ftrl", "Sm3"]


@dataclass(frozen=True, eq=False)
class Adan(Shipped):
    r"""Adan: u = lr·(m̂ + (1 − β2)·d̂)/(√(n̂ + root) + ε).

    With Δ = g − (the gradient before), 0 in the first step: m = β1·m + (1 − β1)·g;
    d = β2·d + (1 − β2)·Δ; n = β3·n + (1 − β3)·(g + (1 − β2)·Δ)²; each is divided by 1 − βᵗ.

    State: m, d, n, previous. Xie et al. 2022, https://arxiv.org/abs/2208.06677, its βs written as
    optax writes them, 1 − those of the paper. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1, beta2, beta3: in [0, 1].
        epsilon: ε ≥ 0, beside the root.
        epsilon_root: ≥ 0, under the root.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adan(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)  # the first step is lr·sign(g)
        array([0.9, 1.1])
    """

    state: ClassVar[tuple[str, ...]] = ("m", "d", "n", "previous")
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "beta1": (0.0, 1.0),
            "beta2": (0.0, 1.0),
            "beta3": (0.0, 1.0),
            "epsilon": (0.0, None),
            "epsilon_root": (0.0, None),
        }
    )

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.98
    beta2: float = 0.92
    beta3: float = 0.99
    epsilon: float = 1e-8
    epsilon_root: float = 0.0

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        t = iteration + 1
        m, d, n, previous = state["m"], state["d"], state["n"], state["previous"]
        change = np.zeros_like(g) if iteration == 0 else g - previous
        previous[...] = g
        m[...] = self.beta1 * m + (1 - self.beta1) * g
        d[...] = self.beta2 * d + (1 - self.beta2) * change
        ahead = g + (1 - self.beta2) * change
        n[...] = self.beta3 * n + (1 - self.beta3) * np.square(ahead)
        numerator = m / (1 - self.beta1**t) + (1 - self.beta2) * (d / (1 - self.beta2**t))
        root = np.sqrt(n / (1 - self.beta3**t) + self.epsilon_root)
        g[...] = learning_rate * (numerator / (root + self.epsilon))


@dataclass(frozen=True, eq=False)
class Sm3(Shipped):
    r"""SM3: a = g² + the least of the axes' accumulators; m = β·m + (1 − β)·g/√(a + ε); u = lr·m.

    Each axis keeps one number for each of its places, the maximum of a over the other axes; a
    direction is 0 where a is 0. State: accumulators (those of all axes, one after the other), m.
    Anil et al. 2019, https://arxiv.org/abs/1901.11150 (SM3-II), as optax has it. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: β in [0, 1].
        epsilon: ε ≥ 0, under the root.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Sm3(0.5, momentum=0.0)), {"0_W": w})
        >>> updater.step({"0_W": np.array([[3.0, 0.0], [1.0, -2.0]])})
        >>> w.round(6), updater.state("0_W")["accumulators"]
        (array([[0.5, 1. ],
               [0.5, 1.5]]), array([9., 4., 9., 4.]))
    """

    state: ClassVar[tuple[str, ...]] = ("accumulators", "m")
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType({"momentum": (0.0, 1.0), "epsilon": (0.0, None)})

    learning_rate: float | Schedule = 1e-1
    momentum: float = 0.9
    epsilon: float = 1e-8

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """A number for each place of each axis."""
        return {"accumulators": (sum(shape) if shape else 1,)}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        m, flat = state["m"], state["accumulators"]
        shape = g.shape or (1,)
        ends = np.cumsum(shape)
        axes = [flat[end - extent : end] for end, extent in zip(ends, shape, strict=True)]
        wide = np.reshape(g, shape)
        rank = len(shape)
        shaped = [
            np.reshape(axis, [-1 if i == place else 1 for i in range(rank)])
            for place, axis in enumerate(axes)
        ]
        total = np.square(wide) + reduce(np.minimum, shaped)
        for place, axis in enumerate(axes):
            axis[...] = np.max(total, axis=tuple(i for i in range(rank) if i != place))
        positive = total > 0
        root = np.sqrt(np.where(positive, total, 1) + self.epsilon)
        direction = np.reshape(np.where(positive, wide / root, 0), g.shape)
        m[...] = self.momentum * m + (1 - self.momentum) * direction
        g[...] = learning_rate * m


@dataclass(frozen=True, eq=False)
class Ftrl(Shipped):
    r"""FTRL-Proximal: the parameter is made anew from the sums of its gradients.

    With k = −learning_rate_power: n' = n + g²; z += g + 2·l2_shrinkage·p − (n'ᵏ − nᵏ)/lr·p;
    p' = (clip(z, −l1, l1) − z)/(n'ᵏ/lr + 2·l2 + β/lr); u = p − p'.

    State: accumulator (n), linear (z). McMahan et al. 2013,
    https://doi.org/10.1145/2487575.2488200, as Keras has it, whose ``weight_decay`` decays the
    parameter first, by lr·weight_decay. In NumPy.

    Args:
        learning_rate: lr > 0, a number or a schedule.
        learning_rate_power: ≤ 0.
        initial_accumulator: what n starts at, ≥ 0.
        l1, l2: of the rule itself, ≥ 0.
        l2_shrinkage: ≥ 0, added to the gradient that z sums, not to that of n.
        beta: β ≥ 0.
        weight_decay: ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([0.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Ftrl(0.5, initial_accumulator=0.0))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w
        array([-0.5])
    """

    state: ClassVar[tuple[str, ...]] = ("accumulator", "linear")
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "learning_rate_power": (-math.inf, 0.0),
            "initial_accumulator": (0.0, None),
            "l1": (0.0, None),
            "l2": (0.0, None),
            "l2_shrinkage": (0.0, None),
            "beta": (0.0, None),
            "weight_decay": (0.0, None),
        }
    )

    learning_rate: float | Schedule = 1e-3
    learning_rate_power: float = -0.5
    initial_accumulator: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    l2_shrinkage: float = 0.0
    beta: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "initial_state", {"accumulator": self.initial_accumulator})

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        n, z, power = state["accumulator"], state["linear"], -self.learning_rate_power
        p = parameter * (1 - learning_rate * self.weight_decay)
        new = n + np.square(g)
        root = new**power
        z += g + 2 * self.l2_shrinkage * p - (root - n**power) / learning_rate * p
        n[...] = new
        curvature = root / learning_rate + (2 * self.l2 + self.beta / learning_rate)
        g[...] = parameter - (np.clip(z, -self.l1, self.l1) - z) / curvature


@dataclass(frozen=True, eq=False)
class ASGD(Shipped):
    r"""Averaged SGD: u = η·(g + λ·p), and the average ax of the parameters beside it.

    η is lr in the first step, then lr/(1 + λ·lr·t)^α with the rate and the t of the step before.
    ax is the new parameter until step t0, then ax += (p − ax)/(t − t0) in the steps that follow.

    State: ax, eta, mu (the weight of the next parameter in ax), which starts at 1. Polyak and
    Juditsky 1992, https://doi.org/10.1137/0330046, as PyTorch's ASGD has it. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        lambd: λ ≥ 0.
        alpha: α ≥ 0.
        t0: after which step the average starts, ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.ASGD(0.5, lambd=0.0, t0=0.0)), {"0_W": w})
        >>> for _ in range(2):
        ...     updater.step({"0_W": np.array([1.0])})
        >>> w, updater.state("0_W")["ax"]
        (array([0.]), array([0.]))
    """

    state: ClassVar[tuple[str, ...]] = ("ax", "eta", "mu")
    initial_state = MappingProxyType({"mu": 1.0})
    ranges: ClassVar[Ranges] = MappingProxyType(
        {"lambd": (0.0, None), "alpha": (0.0, None), "t0": (0.0, None)}
    )

    learning_rate: float | Schedule = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Two numbers beside the average."""
        return {"eta": (), "mu": ()}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        t = iteration + 1
        ax, mu = state["ax"], float(state["mu"])
        eta = learning_rate if state["eta"] == 0 else float(state["eta"])
        g[...] = eta * (g + self.lambd * parameter)
        new = parameter - g
        ax[...] = new if mu == 1 else ax + (new - ax) * mu
        state["eta"][...] = learning_rate / (1 + self.lambd * learning_rate * t) ** self.alpha
        state["mu"][...] = 1 / max(1.0, t - self.t0)
