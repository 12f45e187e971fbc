"""Presets of keras.optimizers: Adam and its kin."""

from __future__ import annotations

from collections.abc import Sequence

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fraction, nonnegative, rate

from .common import Base

__all__ = ["Adam", "AdamW", "Adamax", "Lamb", "Lion", "Nadam"]


def Adam(
    learning_rate: Rate = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Adam``: u = lr·√(1 − β2ᵗ)/(1 − β1ᵗ)·m/(√v + ε). Exact.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; amsgrad: Reddi, Kale and Kumar
    2018, https://arxiv.org/abs/1904.09237.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        amsgrad: whether v is the greatest so far.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Adam(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.Adam"
    base = Base.of(locals())
    return base.configure(where, _adam(where, learning_rate, beta_1, beta_2, epsilon, amsgrad))


def _adam(
    where: str, learning_rate: Rate, beta_1: float, beta_2: float, epsilon: float, amsgrad: bool
) -> updaters.Updater:
    kind = updaters.AMSGrad if amsgrad else updaters.Adam
    return kind(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "beta_1", beta_1),
        fraction(where, "beta_2", beta_2),
        nonnegative(where, "epsilon", epsilon),
    )


def AdamW(
    learning_rate: Rate = 1e-3,
    weight_decay: float = 4e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.AdamW``: Adam whose parameter is decayed by lr·λ·p first. Exact.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        weight_decay: λ ≥ 0.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        amsgrad: whether v is the greatest so far.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.AdamW(0.1, weight_decay=0.5)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.85, 1.05])
    """
    where = "presets.keras.AdamW"
    base = Base.of(locals())
    if weight_decay is None:
        raise TypeError(f"{where}: weight_decay: expected a number, got None")
    return base.configure(where, _adam(where, learning_rate, beta_1, beta_2, epsilon, amsgrad))


def Adamax(
    learning_rate: Rate = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Adamax``: n = max(β2·n, abs(g)); u = lr/(1 − β1ᵗ)·m/(n + ε). Exact.

    Section 7.1 of Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Adamax(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.Adamax"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.AdaMax(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "beta_1", beta_1),
            fraction(where, "beta_2", beta_2),
            nonnegative(where, "epsilon", epsilon),
            epsilon_placement="divisor",
        ),
    )


def Nadam(
    learning_rate: Rate = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Nadam``: Adam with Nesterov's momentum and a schedule of β1. Exact.

    μ_t = β1·(1 − 0.96ᵗ/2). Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import flatstep as fs
        >>> fs.presets.keras.Nadam(0.1).updater.momentum_decay
        1.0
    """
    where = "presets.keras.Nadam"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.NAdam(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "beta_1", beta_1),
            fraction(where, "beta_2", beta_2),
            nonnegative(where, "epsilon", epsilon),
            momentum_decay=1.0,
        ),
    )


def Lion(
    learning_rate: Rate = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Lion``: u = lr·sign(β1·m + (1 − β1)·g). Exact.

    Chen et al. 2023, https://arxiv.org/abs/2302.06675.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Lion(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.Lion"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.Lion(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "beta_1", beta_1),
            fraction(where, "beta_2", beta_2),
        ),
    )


def Lamb(
    learning_rate: Rate = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Lamb``: u = lr·‖p‖/‖a‖·a, a being Adam's direction. Exact.

    With a weight decay ‖p‖ is that of the decayed parameter. You et al. 2019,
    https://arxiv.org/abs/1904.00962.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Lamb(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.Lamb"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.Lamb(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "beta_1", beta_1),
            fraction(where, "beta_2", beta_2),
            nonnegative(where, "epsilon", epsilon),
            decay_first=True,
        ),
    )
