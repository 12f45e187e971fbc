"""Schedule-free AdamW: an average of the iterates instead of a schedule of the rate."""

# No postponed annotations: see built_in.py.
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flatstep.schedules import Schedule

from .shipped import LEAST, Ranges, Shipped

__all__ = ["ScheduleFreeAdamW"]


@dataclass(frozen=True, eq=False)
class ScheduleFreeAdamW(Shipped):
    r"""Schedule-free AdamW: the parameter is y = β1·x + (1 − β1)·z, x the average of all z.

    z −= lr·g/(√(v/(1 − β2ᵗ)) + ε), g being the gradient at y; x = (1 − c)·x + c·z. The weight c is
    1/t ("equal", Keras') or w/(sum of all w), w = (the greatest rate so far)^``weight_power``
    ("rate", optax' and the paper's). The rate rises over ``warmup_steps``: lr·min(1, t/n) of step t
    with "equal", lr·min(1, (t − 1)/n) with "rate", whose weights look one step ahead.

    State: z, which starts at the parameter, v, weight_sum, greatest_rate. What one evaluates is
    x = (y − (1 − β1)·z)/β1. ``weight_decay``·lr·y is taken from z ("rate"), or from y before all
    else, by the rate before the warm-up ("equal").

    Defazio et al. 2024, https://arxiv.org/abs/2405.15682, as optax and Keras have it. In NumPy.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in (0, 1].
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: ≥ 0.
        warmup_steps: n ≥ 0.
        weights: "rate" or "equal". A schedule as the rate needs "equal".
        weight_power: ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.ScheduleFreeAdamW(0.1))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> updater.step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6), updater.state("0_W")["z"].round(6)
        (array([0.9, 1.1]), array([0.9, 1.1]))
    """

    state: ClassVar[tuple[str, ...]] = ("z", "v", "weight_sum", "greatest_rate")
    initial_state = MappingProxyType({"z": "parameter"})
    reads_parameter: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "beta1": (LEAST, 1.0),
            "beta2": (0.0, 1.0),
            "epsilon": (0.0, None),
            "weight_decay": (0.0, None),
            "warmup_steps": (0, None),
            "weight_power": (0.0, None),
        }
    )
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"weights": ("rate", "equal")}
    )

    learning_rate: float | Schedule = 2.5e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    weights: str = "rate"
    weight_power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights == "rate" and isinstance(self.learning_rate, Schedule):
            raise ValueError(
                'ScheduleFreeAdamW: learning_rate: expected a number, as weights="rate" looks one '
                f'step ahead, got {self.learning_rate!r}; give a number, or weights="equal"'
            )

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Two numbers beside z and v; none of them for equal weights."""
        number = (0,) if self.weights == "equal" else ()
        return {"weight_sum": number, "greatest_rate": number}

    def _warm(self, rate: float, steps: int) -> float:
        return rate * min(1.0, steps / self.warmup_steps) if self.warmup_steps else rate

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        t, z, v, beta = iteration + 1, state["z"], state["v"], self.beta1
        equal = self.weights == "equal"
        y = parameter * (1 - learning_rate * self.weight_decay) if equal else parameter
        rate = self._warm(learning_rate, t if equal else t - 1)
        v[...] = self.beta2 * v + (1 - self.beta2) * np.square(g)
        direction = g / (np.sqrt(v / (1 - self.beta2**t)) + self.epsilon)
        if not equal:
            direction = direction + self.weight_decay * y
        x = (y - (1 - beta) * z) / beta
        z -= rate * direction
        share = 1 / t if equal else self._share(state, self._warm(learning_rate, t))
        x = (1 - share) * x + share * z
        g[...] = parameter - (beta * x + (1 - beta) * z)

    def _share(self, state: Any, rate: float) -> float:
        """The weight of z among all before it, by the greatest rate."""
        greatest = max(float(state["greatest_rate"]), rate)
        weight = math.pow(greatest, self.weight_power)
        total = float(state["weight_sum"]) + weight
        state["greatest_rate"][...] = greatest
        state["weight_sum"][...] = total
        return weight / total if total != 0 else 0.0
