"""Presets of keras.optimizers: SGD, and what scales it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fraction, nonnegative, rate

from .common import Base

__all__ = ["SGD", "Adadelta", "Adagrad", "RMSprop"]


def SGD(
    learning_rate: Rate = 1e-2,
    momentum: float = 0.0,
    nesterov: bool = False,
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
    r"""``keras.optimizers.SGD``: b = μ·b + lr·g; u = b, with ``nesterov`` lr·g + μ·b. Exact.

    Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        momentum: μ in [0, 1]; 0: no momentum.
        nesterov: whether the momentum looks ahead; without one it means nothing, as in Keras.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.SGD(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.7, 1.5])
    """
    where = "presets.keras.SGD"
    base = Base.of(locals())
    updater: updaters.Updater = updaters.Sgd(rate(where, "learning_rate", learning_rate))
    momentum = fraction(where, "momentum", momentum)
    if momentum != 0:
        updater = updaters.Momentum(
            rate(where, "learning_rate", learning_rate),
            momentum,
            nesterov=nesterov,
            rate_in_velocity=True,
        )
    return base.configure(where, updater)


def RMSprop(
    learning_rate: Rate = 1e-3,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
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
    r"""``keras.optimizers.RMSprop``: x = g/√(s + ε); u = lr·x, or b = μ·b + lr·x. Exact.

    Hinton, Srivastava and Swersky 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        rho: ρ in [0, 1].
        momentum: μ in [0, 1]; 0: no momentum.
        epsilon: ε ≥ 0.
        centered: whether s is centred.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.RMSprop(0.1, rho=0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0, -4.0])})
        >>> w.round(6)
        array([0.8, 1.2])
    """
    where = "presets.keras.RMSprop"
    base = Base.of(locals())
    learning_rate = rate(where, "learning_rate", learning_rate)
    rho = fraction(where, "rho", rho)
    momentum = fraction(where, "momentum", momentum)
    common: dict[str, Any] = {
        "epsilon": 0.0,
        "epsilon_root": nonnegative(where, "epsilon", epsilon),
    }
    updater: updaters.Updater
    if momentum != 0:
        kind = updaters.CenteredMomentumRmsProp if centered else updaters.MomentumRmsProp
        updater = kind(learning_rate, rho, **common, momentum=momentum, rate_in_velocity=True)
    else:
        plain = updaters.CenteredRmsProp if centered else updaters.RootRmsProp
        updater = plain(learning_rate, rho, **common)
    return base.configure(where, updater)


def Adagrad(
    learning_rate: Rate = 1e-3,
    initial_accumulator_value: float = 0.1,
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
    r"""``keras.optimizers.Adagrad``: h += g²; u = lr·g/√(h + ε). Exact.

    Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        initial_accumulator_value: what h starts at, ≥ 0.
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Adagrad(0.1, initial_accumulator_value=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.Adagrad"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.RootAdaGrad(
            rate(where, "learning_rate", learning_rate),
            epsilon_root=nonnegative(where, "epsilon", epsilon),
            initial_accumulator=nonnegative(
                where, "initial_accumulator_value", initial_accumulator_value
            ),
        ),
    )


def Adadelta(
    learning_rate: Rate = 1e-3,
    rho: float = 0.95,
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
    r"""``keras.optimizers.Adadelta``: u = lr·x, x = g·√(d + ε)/√(s + ε). Exact.

    Zeiler 2012, https://arxiv.org/abs/1212.5701.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        rho: ρ in [0, 1].
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.Adadelta(1.0, rho=0.75, epsilon=1e-6)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([2.0, -2.0])})
        >>> w.round(6)
        array([0.998, 1.002])
    """
    where = "presets.keras.Adadelta"
    base = Base.of(locals())
    return base.configure(
        where,
        updaters.AdaDeltaWithRate(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "rho", rho),
            nonnegative(where, "epsilon", epsilon),
        ),
    )
