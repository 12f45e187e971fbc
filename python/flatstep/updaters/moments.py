"""Updaters that PyTorch, optax and Keras have and Deeplearning4j has not: adaptive ones."""

# No postponed annotations: see built_in.py.
from dataclasses import dataclass

from flatstep.schedules import Schedule

from .base import BuiltIn

__all__ = [
    "AdEMAMix",
    "CorrectedAMSGrad",
    "NAdam",
    "RAdam",
    "RootAdam",
    "Yogi",
]


@dataclass(frozen=True)
class RootAdam(BuiltIn):
    r"""Adam with ε under the root: u = lr·m̂/(√(v̂ + ε_root) + ε).

    State: m, v, as Adam. m̂ = m/(1 − β1ᵗ), v̂ = v/(1 − β2ᵗ). Kingma and Ba 2015,
    https://arxiv.org/abs/1412.6980, as optax's ``adam`` has it; an ε under the root keeps the
    derivative of the step finite at 0.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        nesterov: whether m̂ looks ahead: β1·m/(1 − β1ᵗ⁺¹) + (1 − β1)g/(1 − β1ᵗ).
        bias_correction: whether m and v are corrected for starting at 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.RootAdam(0.1, epsilon_root=7.0))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)  # u = 0.1·3/√(9 + 7)
        array([0.925])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    nesterov: bool = False
    bias_correction: bool = True


@dataclass(frozen=True)
class NAdam(BuiltIn):
    r"""NAdam with a momentum that warms up: μₜ = β1·(1 − ½·0.96^(t·ψ)).

    u = lr·(μₜ₊₁·m/(1 − Πₜ₊₁) + (1 − μₜ)g/(1 − Πₜ))/(√(v̂ + ε_root) + ε), Πₜ = μ₁·…·μₜ,
    v̂ = v/(1 − β2ᵗ). State: m, v, as Adam. Dozat 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, as PyTorch's ``NAdam`` has it; Keras'
    ``Nadam`` is that with ``momentum_decay=1``. `Nadam` is Deeplearning4j's, whose momentum is
    constant. Πₜ is a function of t, no state.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1].
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        momentum_decay: ψ ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.NAdam(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.894355])
    """

    learning_rate: float | Schedule = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 4e-3
    epsilon_root: float = 0.0


@dataclass(frozen=True)
class CorrectedAMSGrad(BuiltIn):
    r"""AMSGrad whose maximum is over corrected moments: v̂ = max(v̂, v/(1 − β2ᵗ)).

    u = lr·m/(1 − β1ᵗ)/(√(v̂ + ε_root) + ε). State: m, v, v_hat. Reddi, Kale and Kumar 2018,
    https://arxiv.org/abs/1904.09237, as optax's ``amsgrad`` has it. `AMSGrad`, PyTorch's and
    Keras' take the maximum of v itself.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.CorrectedAMSGrad(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.9])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_root: float = 0.0


@dataclass(frozen=True)
class RAdam(BuiltIn):
    r"""Rectified Adam: Adam once the variance of its step is bounded, momentum before.

    ρ∞ = 2/(1 − β2) − 1, ρₜ = ρ∞ − 2t·β2ᵗ/(1 − β2ᵗ). While ρₜ ≤ threshold u = lr·m̂; then
    u = lr·r·m̂·√(1 − β2ᵗ)/(√v + ε), r = √((ρₜ − 4)(ρₜ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρₜ)). State: m, v,
    as Adam. Liu et al. 2019, https://arxiv.org/abs/1908.03265, as PyTorch's ``RAdam`` has it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        threshold: see above, ≥ 0.
        nesterov: whether m̂ looks ahead, as in `RootAdam`.
        corrected_epsilon: whether the divisor is √(v/(1 − β2ᵗ) + ε_root) + ε, as in optax.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.RAdam(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)  # the first steps are lr·m̂
        array([0.7])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    threshold: float = 5.0
    nesterov: bool = False
    corrected_epsilon: bool = False


@dataclass(frozen=True)
class Yogi(BuiltIn):
    r"""Yogi: v = v − (1 − β2)·sign(v − g²)·g²; u = lr·m̂/(√(v̂ + ε_root) + ε).

    State: m, v, which both start at ``initial_accumulator``. m as in Adam; m̂ = m/(1 − β1ᵗ),
    v̂ = v/(1 − β2ᵗ). v changes by no more than (1 − β2)g² however large it is. Zaheer et al. 2018,
    https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization, as optax's
    ``yogi`` has it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what m and v start at, ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Yogi(0.1, initial_accumulator=0.0))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.900033])
    """

    learning_rate: float | Schedule = 1e-2
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3
    epsilon_root: float = 0.0
    initial_accumulator: float = 1e-6


@dataclass(frozen=True)
class AdEMAMix(BuiltIn):
    r"""AdEMAMix: u = lr·(m̂ + α·m_slow)/(√(v̂ + ε_root) + ε).

    State: m, m_slow, v. m and v as in Adam, m̂ = m/(1 − β1ᵗ), v̂ = v/(1 − β2ᵗ);
    m_slow = β3·m_slow + (1 − β3)g, not corrected for its bias. Pagliardini, Ablin and Grangier
    2024, https://arxiv.org/abs/2409.03137; the paper warms α and β3 up, which schedules can do.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        beta3: β3 in [0, 1], a number or a schedule.
        alpha: α ≥ 0, a number or a schedule.
        epsilon_root: ε_root ≥ 0, under the root.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdEMAMix(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.89995])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    beta3: float | Schedule = 0.9999
    alpha: float | Schedule = 5.0
    epsilon_root: float = 0.0
