"""Updaters that PyTorch, optax and Keras have and Deeplearning4j has not: velocities and sums."""

# No postponed annotations: see built_in.py.
from dataclasses import dataclass

from flatstep.schedules import Schedule

from .base import BuiltIn

__all__ = [
    "AdaDeltaWithRate",
    "CenteredMomentumRmsProp",
    "CenteredRmsProp",
    "Lion",
    "Momentum",
    "MomentumRmsProp",
    "RootAdaGrad",
    "RootRmsProp",
]


@dataclass(frozen=True)
class Momentum(BuiltIn):
    r"""The heavy ball: b = μ·b + (1 − τ)g; u = lr·b.

    State: b, which is g after the first step. Polyak 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5, as PyTorch's ``SGD`` has it: the rate is outside
    of the velocity, so that a new rate acts at once on all of it. A gradient that is not finite
    makes NaN of u, also where b is infinite.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: μ from 0 to 1, a number or a schedule.
        dampening: τ from 0 to 1.
        nesterov: whether u = lr·(g + μ·b).
        rate_in_velocity: whether b = μ·b + (1 − τ)lr·g and u = b (or lr·g + μ·b), so that an old
            gradient keeps the rate it came with, as in Keras.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Momentum(0.5, momentum=0.5))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> for _ in range(2):
        ...     updater.step({"0_W": np.array([1.0])})
        >>> w, updater.state("0_W")["b"]  # 1 − 0.5 − 0.75
        (array([-0.25]), array([1.5]))
    """

    learning_rate: float | Schedule = 0.1
    momentum: float | Schedule = 0.9
    dampening: float = 0.0
    nesterov: bool = False
    rate_in_velocity: bool = False


@dataclass(frozen=True)
class Lion(BuiltIn):
    r"""Lion: u = lr·sign(β1·m + (1 − β1)g); m = β2·m + (1 − β2)g.

    State: m. sign(0) = 0. Every element moves by lr: use a tenth of Adam's rate, and ten times its
    weight decay. Chen et al. 2023, https://arxiv.org/abs/2302.06675.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Lion(0.25))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, 0.0])})
        >>> w.round(6)
        array([0.75, 1.  ])
    """

    learning_rate: float | Schedule = 1e-4
    beta1: float | Schedule = 0.9
    beta2: float = 0.99


@dataclass(frozen=True)
class AdaDeltaWithRate(BuiltIn):
    r"""AdaDelta, its step multiplied by a rate: u = lr·x, x = g·√(d + ε)/√(s + ε).

    State: s, d, as AdaDelta: s = ρs + (1 − ρ)g², d = ρd + (1 − ρ)x². Zeiler 2012,
    https://arxiv.org/abs/1212.5701, as PyTorch, optax and Keras have it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rho: ρ in [0, 1].
        epsilon: ε ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdaDeltaWithRate(0.5, rho=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([2.0])})
        >>> w.round(6)  # s = 1, u = 0.5·2·√1e-6/√1
        array([0.999])
    """

    learning_rate: float | Schedule = 1.0
    rho: float = 0.95
    epsilon: float = 1e-6


@dataclass(frozen=True)
class RootAdaGrad(BuiltIn):
    r"""AdaGrad with ε under the root: h += g²; u = lr·g/(√(h + ε_root) + ε).

    State: h, which starts at ``initial_accumulator``. Duchi, Hazan and Singer 2011,
    https://jmlr.org/papers/v12/duchi11a.html, as optax and Keras have it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what h starts at, ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> rule = fs.RootAdaGrad(0.1, initial_accumulator=0.0)
        >>> config = fs.MultiLayerConfiguration(updater=rule)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.9])
    """

    learning_rate: float | Schedule = 0.1
    epsilon: float = 0.0
    epsilon_root: float = 1e-7
    initial_accumulator: float = 0.1


@dataclass(frozen=True)
class RootRmsProp(BuiltIn):
    r"""RMSProp with ε under the root: s = ρs + (1 − ρ)g²; u = lr·g/(√(s + ε_root) + ε).

    State: s, which starts at ``initial_accumulator``. Tieleman and Hinton 2012, lecture 6.5 of
    "Neural Networks for Machine Learning", as optax and Keras have it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rms_decay: ρ in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what s starts at, ≥ 0.
        bias_correction: whether s (and a) are divided by 1 − ρᵗ.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.RootRmsProp(0.1, rms_decay=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.8])
    """

    learning_rate: float | Schedule = 0.01
    rms_decay: float = 0.9
    epsilon: float = 0.0
    epsilon_root: float = 1e-8
    initial_accumulator: float = 0.0
    bias_correction: bool = False


@dataclass(frozen=True)
class CenteredRmsProp(BuiltIn):
    r"""RMSProp by the variance: x = g/(√(s − a² + ε_root) + ε); u = lr·x.

    State: s, a: s = ρs + (1 − ρ)g², a = ρa + (1 − ρ)g. A variance that rounding takes below 0
    counts as 0. Graves 2013, https://arxiv.org/abs/1308.0850.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rms_decay: ρ in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what s starts at, ≥ 0.
        bias_correction: whether s (and a) are divided by 1 − ρᵗ.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.CenteredRmsProp(0.1, rms_decay=0.5))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)  # s − a² = 8 − 4
        array([0.8])
    """

    learning_rate: float | Schedule = 0.01
    rms_decay: float = 0.99
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    initial_accumulator: float = 0.0
    bias_correction: bool = False


@dataclass(frozen=True)
class MomentumRmsProp(BuiltIn):
    r"""RMSProp with momentum: x = g/(√(s + ε_root) + ε); b = μ·b + x; u = lr·b.

    State: s, b: s = ρs + (1 − ρ)g². Tieleman and Hinton 2012, as PyTorch has it.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rms_decay: ρ in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what s starts at, ≥ 0.
        bias_correction: whether s (and a) are divided by 1 − ρᵗ.
        momentum: μ from 0 to 1, a number or a schedule.
        nesterov: whether u = lr·(x + μ·b).
        rate_in_velocity: whether b = μ·b + lr·x and u = b, as in optax and Keras.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.MomentumRmsProp(0.1, rms_decay=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.8])
    """

    learning_rate: float | Schedule = 0.01
    rms_decay: float = 0.99
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    initial_accumulator: float = 0.0
    bias_correction: bool = False
    momentum: float | Schedule = 0.9
    nesterov: bool = False
    rate_in_velocity: bool = False


@dataclass(frozen=True)
class CenteredMomentumRmsProp(BuiltIn):
    r"""RMSProp by the variance, with momentum: b = μ·b + x; u = lr·b.

    State: s, a, b; x as in `CenteredRmsProp`, the rest as in `MomentumRmsProp`. Graves 2013,
    https://arxiv.org/abs/1308.0850.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rms_decay: ρ in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_root: ε_root ≥ 0, under the root.
        initial_accumulator: what s starts at, ≥ 0.
        bias_correction: whether s (and a) are divided by 1 − ρᵗ.
        momentum: μ from 0 to 1, a number or a schedule.
        nesterov: whether u = lr·(x + μ·b).
        rate_in_velocity: whether b = μ·b + lr·x and u = b, as in optax and Keras.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> rule = fs.CenteredMomentumRmsProp(0.1, rms_decay=0.5)
        >>> config = fs.MultiLayerConfiguration(updater=rule)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.8])
    """

    learning_rate: float | Schedule = 0.01
    rms_decay: float = 0.99
    epsilon: float = 1e-8
    epsilon_root: float = 0.0
    initial_accumulator: float = 0.0
    bias_correction: bool = False
    momentum: float | Schedule = 0.9
    nesterov: bool = False
    rate_in_velocity: bool = False
