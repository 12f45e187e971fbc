"""Presets of optax: what changes adam's moments, its sign or its scale."""

from __future__ import annotations

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite, ParamConfiguration
from flatstep.presets.arguments import (
    Layers,
    Rate,
    fraction,
    masked_out,
    nonnegative,
    rate,
    with_params,
)

from .common import Mask, configure, no_dtype

__all__ = ["adabelief", "adan", "lamb", "lars", "lion", "radam", "yogi"]


def adabelief(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    *,
    nesterov: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adabelief``: adam with the variance of g about m in v's place. Exact.

    ``eps_root`` is added to s in every step. Zhuang et al. 2020, https://arxiv.org/abs/2010.07468.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adabelief(0.1, b1=0.0, eps=1.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.7, 1.5])
    """
    where = "presets.optax.adabelief"
    return configure(
        where,
        updaters.AdaBelief(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            epsilon_root=nonnegative(where, "eps_root", eps_root),
            nesterov=nesterov,
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def radam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
    *,
    nesterov: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.radam``: adam whose rate is rectified while v says little. Exact.

    Liu et al. 2019, https://arxiv.org/abs/1908.03265.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        threshold: from which length on v is divided by, ≥ 0.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.radam(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.7, 1.5])
    """
    where = "presets.optax.radam"
    return configure(
        where,
        updaters.RAdam(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            corrected_epsilon=True,
            epsilon_root=nonnegative(where, "eps_root", eps_root),
            nesterov=nesterov,
            threshold=nonnegative(where, "threshold", threshold),
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def yogi(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-3,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.yogi``: adam with v −= (1 − β2)·sign(v − g²)·g². Exact.

    m and v start at 1e-6. Zaheer et al. 2018,
    https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import flatstep as fs
        >>> fs.presets.optax.yogi(0.1).updater.epsilon
        0.001
    """
    where = "presets.optax.yogi"
    return configure(
        where,
        updaters.Yogi(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def lion(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: None = None,
    weight_decay: float = 1e-3,
    mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.lion``: u = lr·(sign(β1·m + (1 − β1)·g) + λ·p), then m = β2·m + (1 − β2)·g. Exact.

    Chen et al. 2023, https://arxiv.org/abs/2302.06675.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        mu_dtype: None only: m has the parameter's type.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.lion(0.1, weight_decay=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.lion"
    no_dtype(where, mu_dtype=mu_dtype)
    return configure(
        where,
        updaters.Lion(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
        ),
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def lamb(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    eps_root: float = 0.0,
    weight_decay: float = 0.0,
    mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.lamb``: u = lr·‖p‖/‖a‖·a, a = adam's direction + λ·p. Exact.

    A norm of 0 makes the ratio 1. You et al. 2019, https://arxiv.org/abs/1904.00962. It is computed
    in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.lamb(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.lamb"
    updater = updaters.Lamb(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "b1", b1),
        fraction(where, "b2", b2),
        nonnegative(where, "eps", eps),
        nonnegative(where, "eps_root", eps_root),
    )
    return configure(
        where,
        updater,
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def lars(
    learning_rate: Rate,
    weight_decay: float = 0.0,
    weight_decay_mask: Mask = True,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: float = 0.9,
    nesterov: bool = False,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.lars``: b = μ·b + lr·ratio·(g + λ·p); u = b. Exact.

    ratio = trust_coefficient·‖p‖/(‖g + λ·p‖ + ε), 1 where a norm is 0. You, Gitman and Ginsburg
    2017, https://arxiv.org/abs/1708.03888.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        weight_decay: λ ≥ 0, a number.
        weight_decay_mask: True, False, or for each parameter whether it decays.
        trust_coefficient: ≥ 0.
        eps: ε ≥ 0, beside the norm.
        trust_ratio_mask: True, False, or for each parameter whether it has a ratio.
        momentum: μ in [0, 1].
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.presets.optax.lars(0.1, momentum=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -4.0])})
        >>> w.round(6)
        array([2.9997, 4.0004])
    """
    where = "presets.optax.lars"
    learning_rate = rate(where, "learning_rate", learning_rate)
    momentum = fraction(where, "momentum", momentum)
    without_ratio = updaters.Momentum(
        learning_rate, momentum, nesterov=nesterov, rate_in_velocity=True
    )
    updater: updaters.Updater = updaters.Lars(
        learning_rate,
        momentum,
        trust_coefficient=nonnegative(where, "trust_coefficient", trust_coefficient),
        trust_epsilon=nonnegative(where, "eps", eps),
        nesterov=nesterov,
    )
    if trust_ratio_mask is False:
        updater = without_ratio
    elif trust_ratio_mask is not None and trust_ratio_mask is not True:
        names = masked_out(where, "trust_ratio_mask", trust_ratio_mask)
        layers = with_params(layers, names, ParamConfiguration(updater=without_ratio))
    return configure(
        where,
        updater,
        weight_decay=weight_decay,
        mask=weight_decay_mask,
        mask_name="weight_decay_mask",
        as_l2=True,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def adan(
    learning_rate: Rate,
    b1: float = 0.98,
    b2: float = 0.92,
    b3: float = 0.99,
    eps: float = 1e-8,
    eps_root: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adan``: adam with an average of the gradient's change. Exact.

    Xie et al. 2022, https://arxiv.org/abs/2208.06677. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        b3: β3 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adan(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adan"
    return configure(
        where,
        updaters.Adan(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            fraction(where, "b3", b3),
            nonnegative(where, "eps", eps),
            nonnegative(where, "eps_root", eps_root),
        ),
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
