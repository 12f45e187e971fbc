"""Presets of optax that are computed in NumPy: whole parameters, gradients before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite, ParamConfiguration
from flatstep.presets.arguments import (
    Layers,
    Rate,
    fraction,
    masked_out,
    nonnegative,
    positive,
    rate,
    with_params,
)

from .common import Mask, configure, no_dtype

__all__ = [
    "adafactor",
    "fromage",
    "novograd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
]


def adafactor(
    learning_rate: Rate | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: float = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: float | None = 1.0,
    momentum: float | None = None,
    dtype_momentum: Any = "float32",
    weight_decay_rate: float | None = None,
    eps: float = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adafactor``: a second moment of rows and columns. Exact to float32.

    optax computes the decay 1 − t^−decay_rate in float32 whatever the parameters are. Shazeer and
    Stern 2018, https://arxiv.org/abs/1804.04235. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule; None: 1.
        min_dim_size_to_factor: ≥ 1: smaller arrays keep the second moment itself.
        decay_rate: ≥ 0.
        decay_offset: ≤ 0: a step before it has a decay that is no number in optax, too.
        multiply_by_parameter_scale: whether to multiply by max(10⁻³, RMS(p)).
        clipping_threshold: > 0, or None.
        momentum: in [0, 1], of an average of the updates, or None.
        dtype_momentum: of that average, float32 or float64.
        weight_decay_rate: ≥ 0, not multiplied by the rate, or None.
        eps: ≥ 0, added to g².
        factored: False: no array has rows and columns.
        weight_decay_mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b":
            False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> config = fs.presets.optax.adafactor(0.25)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.full((2, 2), 3.0)})
        >>> w
        array([[0.75, 0.75],
               [0.75, 0.75]])
    """
    where = "presets.optax.adafactor"
    if np.dtype(dtype_momentum) not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(
            f"{where}: dtype_momentum: expected float32 or float64, got {dtype_momentum!r}"
        )
    if clipping_threshold is not None:
        clipping_threshold = positive(where, "clipping_threshold", clipping_threshold)
    updater = updaters.AdafactorWithRate(
        1.0 if learning_rate is None else rate(where, "learning_rate", learning_rate),
        nonnegative(where, "decay_rate", decay_rate),
        nonnegative(where, "eps", eps),
        0.0 if clipping_threshold is None else clipping_threshold,
        min_dim_size_to_factor,
        decay_offset,
        multiply_by_parameter_scale,
        None if momentum is None else fraction(where, "momentum", momentum),
        np.dtype(dtype_momentum) == np.float32,
        nonnegative(where, "weight_decay_rate", weight_decay_rate or 0.0),
        factored,
    )
    if weight_decay_mask is not None:
        names = masked_out(where, "weight_decay_mask", weight_decay_mask)
        without = ParamConfiguration(updater=replace(updater, weight_decay=0.0))
        layers = with_params(layers, names, without)
    return configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def fromage(
    learning_rate: Rate,
    min_norm: float = 1e-6,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.fromage``: a step as long as the parameter, then shrunk to the sphere. Exact.

    Bernstein et al. 2020, https://arxiv.org/abs/2002.03432. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        min_norm: ≥ 0, the least that a norm counts as.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.presets.optax.fromage(0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([0.0, 1.0])})
        >>> w.round(6)
        array([2.4, 0.2])
    """
    where = "presets.optax.fromage"
    return configure(
        where,
        updaters.Fromage(
            rate(where, "learning_rate", learning_rate), nonnegative(where, "min_norm", min_norm)
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def novograd(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.25,
    eps: float = 1e-6,
    eps_root: float = 0.0,
    weight_decay: float = 0.0,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.novograd``: m = β1·m + g/(√v + ε) + λ·p; u = lr·m, v a number. Exact.

    Ginsburg et al. 2019, https://arxiv.org/abs/1905.11286. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        weight_decay: λ ≥ 0, a number.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.novograd(0.5, eps=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -4.0])})
        >>> w.round(6)
        array([0.7, 1.4])
    """
    where = "presets.optax.novograd"
    return configure(
        where,
        updaters.NovoGrad(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            nonnegative(where, "eps_root", eps_root),
            nonnegative(where, "weight_decay", weight_decay),
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def optimistic_gradient_descent(
    learning_rate: Rate,
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.optimistic_gradient_descent``: u = lr·((α + β)·g − β·(g before)). Exact.

    Mokhtari, Ozdaglar and Pattathil 2019, https://arxiv.org/abs/1901.08511. It is computed in
    NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        alpha: α ≥ 0.
        beta: β ≥ 0.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.optimistic_gradient_descent(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.7, 1.5])
    """
    where = "presets.optax.optimistic_gradient_descent"
    return configure(
        where,
        updaters.OptimisticGradientDescent(
            rate(where, "learning_rate", learning_rate),
            nonnegative(where, "alpha", alpha),
            nonnegative(where, "beta", beta),
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def optimistic_adam(
    learning_rate: float,
    optimism: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    *,
    nesterov: bool = True,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.optimistic_adam``: u = (lr + optimism)·a − optimism·(a before), a of adam. Exact.

    Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number.
        optimism: ≥ 0; None: the learning rate.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.optimistic_adam(0.1, nesterov=False)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.optimistic_adam"
    no_dtype(where, mu_dtype=mu_dtype)
    alpha = nonnegative(where, "learning_rate", learning_rate)
    beta = alpha if optimism is None else nonnegative(where, "optimism", optimism)
    return configure(
        where,
        updaters.OptimisticAdam(
            1.0,
            alpha,
            beta,
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            nonnegative(where, "eps_root", eps_root),
            nesterov,
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def optimistic_adam_v2(
    learning_rate: Rate,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    nesterov: bool = True,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.optimistic_adam_v2``: u = lr·((α + β)·a − β·(a before)), a of adam. Exact.

    Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        alpha: α ≥ 0.
        beta: β ≥ 0.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.optimistic_adam_v2(0.1, nesterov=False)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.optimistic_adam_v2"
    no_dtype(where, mu_dtype=mu_dtype)
    return configure(
        where,
        updaters.OptimisticAdam(
            rate(where, "learning_rate", learning_rate),
            nonnegative(where, "alpha", alpha),
            nonnegative(where, "beta", beta),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            nonnegative(where, "eps_root", eps_root),
            nesterov,
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
