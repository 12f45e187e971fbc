"""Schedule-free AdamW: an average of the iterates instead of a schedule of the rate."""

# No postponed annotations: see built_in.py.
from dataclasses import dataclass

from flatstep.schedules import Schedule

from .base import BuiltIn

__all__ = ["ScheduleFreeAdamW"]


@dataclass(frozen=True)
class ScheduleFreeAdamW(BuiltIn):
    r"""Schedule-free AdamW: the parameter is y = β1·x + (1 − β1)·z, x the average of all z.

    z −= d, d = lr·(g/(√(v/(1 − β2ᵗ)) + ε) + λ·y), g being the gradient at y; x = (1 − c)·x + c·z.
    The weight c is 1/t ("equal", Keras') or w/(sum of all w), w = min(1, t/n)^``weight_power``
    ("rate", optax' and the paper's: the weight of the rate, as the warm-up changes it; a schedule,
    or a rate that is set by hand, changes no weight). The rate rises over ``warmup_steps``:
    lr·min(1, t/n) of step t with "equal", lr·min(1, (t − 1)/n) with "rate", whose weights look one
    step ahead. With "equal" y is decayed by lr·λ before all else, by the rate before the warm-up,
    and d has no decay.

    State: z, which starts at the parameter, and v. What one evaluates is x = (y − (1 − β1)·z)/β1:
    ``with updater.evaluation():``. Defazio et al. 2024, https://arxiv.org/abs/2405.15682, as optax
    and Keras have it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1]; where it is 0, x is not to be had back.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0.
        warmup_steps: n ≥ 0.
        weights: "rate" or "equal".
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

    learning_rate: float | Schedule = 2.5e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: float = 0.0
    weights: str = "rate"
    weight_power: float = 2.0
