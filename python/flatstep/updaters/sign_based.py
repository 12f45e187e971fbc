"""Updaters that look at the signs of gradients: Rprop and Signum."""

# No postponed annotations: see built_in.py.
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flatstep.schedules import Schedule

from .shipped import Ranges, Shipped

__all__ = ["Rprop", "Signum"]


@dataclass(frozen=True, eq=False)
class Rprop(Shipped):
    r"""Rprop: u = step·sign(g), each element's step grows while the sign stays.

    With s = g·(the gradient before): step = clip(step·eta_plus) where s > 0; where s < 0,
    step = clip(step·eta_minus) and g counts as 0; else step stays. The clip is to
    [min_step, max_step].

    State: previous (g, as it counted, or with ``delayed`` its step), step_size, which starts at
    ``initial_step``. It has no learning rate. PyTorch clips every step; optax
    (``clips_unchanged=False``) only those that changed, which is the same where the initial step
    lies within the bounds, and applies each step one iteration later (``delayed``), unless the
    sign has changed by then.

    Riedmiller and Braun 1993, https://doi.org/10.1109/ICNN.1993.298623. In NumPy.

    Args:
        initial_step: ≥ 0.
        eta_minus: the factor after a change of sign, in [0, 1].
        eta_plus: the factor otherwise, ≥ 1.
        min_step, max_step: the bounds of a step, ≥ 0.
        clips_unchanged: whether a step that stays is clipped, too.
        delayed: whether the step of the gradient before is applied.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Rprop(0.1)), {"0_W": w})
        >>> updater.step({"0_W": np.array([3.0, 1.0])})
        >>> updater.step({"0_W": np.array([1.0, -1.0])})  # the second has changed its sign
        >>> w, updater.state("0_W")["step_size"]
        (array([0.78, 0.9 ]), array([0.12, 0.05]))
    """

    state: ClassVar[tuple[str, ...]] = ("previous", "step_size")
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "initial_step": (0.0, None),
            "eta_minus": (0.0, 1.0),
            "eta_plus": (1.0, None),
            "min_step": (0.0, None),
            "max_step": (0.0, None),
        }
    )

    initial_step: float = 1e-2
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    min_step: float = 1e-6
    max_step: float = 50.0
    clips_unchanged: bool = True
    delayed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "initial_state", {"step_size": self.initial_step})

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        previous, step = state["previous"], state["step_size"]
        sign = np.sign(g) * np.sign(previous)
        grown = step * np.where(sign > 0, self.eta_plus, np.where(sign < 0, self.eta_minus, 1.0))
        clipped = np.clip(grown, self.min_step, self.max_step)
        step[...] = clipped if self.clips_unchanged else np.where(sign == 0, step, clipped)
        new = np.where(sign < 0, 0.0, g)
        if not self.delayed:
            g[...] = np.sign(new) * step
            previous[...] = new
        else:
            g[...] = np.where(sign < 0, 0.0, previous)
            previous[...] = np.sign(new) * step


@dataclass(frozen=True, eq=False)
class Signum(Shipped):
    r"""Signum: m = β·m + (1 − β)g; u = lr·sign(m). With β = 0 it is sign SGD: u = lr·sign(g).

    State: m; empty with β = 0. Bernstein et al. 2018, https://arxiv.org/abs/1802.04434. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: β in [0, 1].

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Signum(0.25))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w
        array([0.75, 1.25])
    """

    state: ClassVar[tuple[str, ...]] = ("m",)
    reads_parameter: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = MappingProxyType({"momentum": (0.0, 1.0)})

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.9

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """No m where it would be the gradient."""
        return {"m": (0,)} if self.momentum == 0 else {}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        m = g
        if self.momentum != 0:
            m = state["m"]
            m[...] = self.momentum * m + (1 - self.momentum) * g
        g[...] = learning_rate * np.sign(m)
