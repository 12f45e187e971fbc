"""Updaters that look at the norm of a whole parameter or of its gradient."""

# No postponed annotations: see built_in.py.
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flatstep.schedules import Schedule

from .base import BuiltIn
from .shipped import Ranges, Shipped

__all__ = ["Fromage", "Lamb", "Lars", "NovoGrad"]


def _norm(array: Any) -> float:
    return math.sqrt(float(np.sum(np.square(array))))


def _ratio(above: float, below: float) -> float:
    """1 where either norm is 0."""
    return above / below if above and below else 1.0


@dataclass(frozen=True)
class Lamb(BuiltIn):
    r"""LAMB: u = r·x, x = lr·m̂/(√(v̂ + ε_root) + ε) + lr·λ·p; r = lr·‖p‖/‖x‖.

    The trust ratio r makes the update as long as lr·‖p‖; it is 1 where either norm is 0.
    ``last_step`` shows it. λ is the weight decay of the configuration. State: m, v, as Adam.
    The norms are over a whole parameter, so a step goes over it twice. Under dl4j-0.8 x is the
    finished update, which r makes as long whatever the batch. You et al. 2019,
    https://arxiv.org/abs/1904.00962, as optax has it; with ``decay_first`` as Keras has it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0, beside the root.
        epsilon_root: ε_root ≥ 0, under the root.
        decay_first: whether the parameter is decayed before its norm is taken: u = r·x + lr·λ·p,
            r = lr·\|1 − lr·λ\|·‖p‖/‖x‖, and x has no decay.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> lamb = fs.Lamb(0.5, decay_first=True)
        >>> config = fs.MultiLayerConfiguration(updater=lamb, weight_decay=1.0)
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> updater.step({"0_W": np.array([1.0, -1.0])})
        >>> w.round(3)  # (1.5, 2) − 0.5·2.5/√2·(1, −1)
        array([0.616, 2.884])
        >>> round(updater.last_step.layers["0"].params["W"].trust_ratio, 6)  # 2.5/√2
        1.767769
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    epsilon_root: float = 0.0
    decay_first: bool = False


@dataclass(frozen=True)
class Lars(BuiltIn):
    r"""LARS: b = μ·b + lr·r·g; u = b, with ``nesterov`` lr·r·g + μ·b. State: b.

    The trust ratio r = c·‖p‖/(‖g‖ + trust_epsilon) is 1 where a norm is 0; ``last_step`` shows it.
    g is the gradient with the configuration's L2 in it, and both norms are over a whole parameter.
    You, Gitman and Ginsburg 2017, https://arxiv.org/abs/1708.03888, as optax has it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: μ in [0, 1], a number or a schedule.
        trust_coefficient: c ≥ 0.
        trust_epsilon: ≥ 0.
        nesterov: whether the momentum looks ahead.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Lars(0.5, trust_coefficient=0.5))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([0.0, 1.0])})
        >>> w
        array([3.  , 2.75])
    """

    learning_rate: float | Schedule = 0.1
    momentum: float | Schedule = 0.9
    trust_coefficient: float = 1e-3
    trust_epsilon: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True, eq=False)
class Fromage(Shipped):
    r"""Fromage: u = c·lr·g·‖p‖/‖g‖ + (1 − c)·p, c = 1/√(1 + lr²).

    No norm counts as less than ``min_norm``. It has no state. Bernstein et al. 2020,
    https://arxiv.org/abs/2002.03432, as optax has it. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        min_norm: ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Fromage(0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([0.0, 1.0])})
        >>> w.round(6)  # c = 0.8: 0.8·(3, 4 − 0.75·5)
        array([2.4, 0.2])
    """

    ranges: ClassVar[Ranges] = MappingProxyType({"min_norm": (0.0, None)})

    learning_rate: float | Schedule = 1e-2
    min_norm: float = 1e-6

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        of_parameter = max(_norm(parameter), self.min_norm)
        of_gradient = max(_norm(g), self.min_norm)
        ratio = _ratio(of_parameter, of_gradient)
        shrink = 1 / math.sqrt(1 + learning_rate**2)
        g[...] = g * (learning_rate * shrink * ratio) + (1 - shrink) * parameter


@dataclass(frozen=True, eq=False)
class NovoGrad(Shipped):
    r"""NovoGrad: m = β1·m + g/(√(v + root) + ε) + λ·p; u = lr·m, v a number for each parameter.

    v = β2·v + (1 − β2)·‖g‖², but ‖g‖² in the first step, which leaves m out, too. State: m, v.
    Ginsburg et al. 2019, https://arxiv.org/abs/1905.11286, as optax has it. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1].
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0, beside the root of v.
        epsilon_root: ≥ 0, under that root.
        weight_decay: λ ≥ 0, which goes into m.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.NovoGrad(0.5, epsilon=0.0))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -4.0])})
        >>> w
        array([0.7, 1.4])
    """

    state: ClassVar[tuple[str, ...]] = ("m", "v")
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "beta1": (0.0, 1.0),
            "beta2": (0.0, 1.0),
            "epsilon": (0.0, None),
            "epsilon_root": (0.0, None),
            "weight_decay": (0.0, None),
        }
    )

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.25
    epsilon: float = 1e-6
    epsilon_root: float = 0.0
    weight_decay: float = 0.0

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """One number v."""
        return {"v": ()}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        m, v = state["m"], state["v"]
        square = float(np.sum(np.square(g)))
        first = iteration == 0
        v[...] = square if first else self.beta2 * v + (1 - self.beta2) * square
        scale = math.sqrt(float(v) + self.epsilon_root) + self.epsilon
        new = g / scale + self.weight_decay * parameter
        m[...] = new if first else self.beta1 * m + new
        g[...] = learning_rate * m
