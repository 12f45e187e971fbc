"""Presets of torch.optim: Adam and its kin."""

from __future__ import annotations

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fractions, moving_fractions, nonnegative, rate

from .common import configure, how_it_computes

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def Adam(
    lr: Rate = 1e-3,
    betas: tuple[Rate, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    decoupled_weight_decay: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Adam``: u = lr·(m/(1 − β1ᵗ))/(√(v/(1 − β2ᵗ)) + ε). Exact.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; with ``amsgrad`` the greatest v so far is
    in v's place, Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237.

    Args:
        lr: ≥ 0, a number or a schedule.
        betas: (β1, β2), in [0, 1]; β1 may be a schedule.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        amsgrad: whether v is the greatest so far.
        maximize: whether the objective is to grow.
        decoupled_weight_decay: whether lr·λ·p is added to the update instead.
        foreach, capturable, differentiable, fused: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.torch.Adam(lr=0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.torch.Adam"
    how_it_computes(
        where, foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused
    )
    return configure(
        where,
        _adam(where, lr, betas, eps, amsgrad),
        weight_decay=weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def _adam(
    where: str, lr: Rate, betas: tuple[Rate, float], eps: float, amsgrad: bool
) -> updaters.Updater:
    kind = updaters.AMSGrad if amsgrad else updaters.Adam
    return kind(
        rate(where, "lr", lr),
        *moving_fractions(where, "betas", betas),
        nonnegative(where, "eps", eps),
        corrected_epsilon=True,
    )


def AdamW(
    lr: Rate = 1e-3,
    betas: tuple[Rate, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.AdamW``: Adam's update + lr·λ·p, biases included. Exact.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.

    Args:
        lr: ≥ 0, a number or a schedule.
        betas: (β1, β2), in [0, 1]; β1 may be a schedule.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0.
        amsgrad: whether v is the greatest so far.
        maximize: whether the objective is to grow.
        foreach, capturable, differentiable, fused: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.torch.AdamW(lr=0.1, weight_decay=0.5, clip_norm=1.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, 0.0])})
        >>> w.round(6)
        array([0.85, 0.95])
    """
    where = "presets.torch.AdamW"
    how_it_computes(
        where, foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused
    )
    return configure(
        where,
        _adam(where, lr, betas, eps, amsgrad),
        weight_decay=weight_decay,
        decoupled=True,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Adamax(
    lr: Rate = 2e-3,
    betas: tuple[Rate, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    foreach: bool | None = None,
    *,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Adamax``: n = max(β2·n, abs(g) + ε); u = lr/(1 − β1ᵗ)·m/n. Exact.

    Kingma and Ba 2015, section 7.1, https://arxiv.org/abs/1412.6980.

    Args:
        lr: ≥ 0, a number or a schedule.
        betas: (β1, β2), in [0, 1]; β1 may be a schedule.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        maximize: whether the objective is to grow.
        foreach, differentiable, capturable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.torch.Adamax(lr=0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.torch.Adamax"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    return configure(
        where,
        updaters.AdaMax(
            rate(where, "lr", lr),
            *moving_fractions(where, "betas", betas),
            nonnegative(where, "eps", eps),
            epsilon_placement="gradient",
        ),
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def NAdam(
    lr: Rate = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.NAdam``: Adam with Nesterov's momentum and a schedule of β1. Exact.

    μ_t = β1·(1 − 0.96^(t·momentum_decay)/2) and its product Π_t weigh m and g. PyTorch keeps Π in
    its default type, so that float64 parameters see it in float32 unless
    ``torch.set_default_dtype(torch.float64)``. Dozat 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Args:
        lr: ≥ 0, a number or a schedule.
        betas: (β1, β2), in [0, 1].
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        momentum_decay: ≥ 0.
        decoupled_weight_decay: whether lr·λ·p is added to the update instead.
        maximize: whether the objective is to grow.
        foreach, capturable, differentiable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import flatstep as fs
        >>> fs.presets.torch.NAdam(lr=0.1).updater.momentum_decay
        0.004
    """
    where = "presets.torch.NAdam"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    return configure(
        where,
        updaters.NAdam(
            rate(where, "lr", lr),
            *fractions(where, "betas", betas),
            nonnegative(where, "eps", eps),
            momentum_decay=nonnegative(where, "momentum_decay", momentum_decay),
        ),
        weight_decay=weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def RAdam(
    lr: Rate = 1e-3,
    betas: tuple[Rate, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.RAdam``: Adam whose rate is rectified while v says little. Exact.

    ε is added to √v, before the bias correction. Liu et al. 2019,
    https://arxiv.org/abs/1908.03265.

    Args:
        lr: ≥ 0, a number or a schedule.
        betas: (β1, β2), in [0, 1]; β1 may be a schedule.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        decoupled_weight_decay: whether lr·λ·p is added to the update instead.
        maximize: whether the objective is to grow.
        foreach, capturable, differentiable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.RAdam(lr=0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)  # nothing is divided by √v yet
        array([0.7])
    """
    where = "presets.torch.RAdam"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    return configure(
        where,
        updaters.RAdam(
            rate(where, "lr", lr),
            *moving_fractions(where, "betas", betas),
            nonnegative(where, "eps", eps),
        ),
        weight_decay=weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
