"""Presets of torch.optim: RMSprop, Adagrad, Adadelta, Adafactor."""

from __future__ import annotations

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import (
    Layers,
    Rate,
    fraction,
    moving_fraction,
    nonnegative,
    positive,
    rate,
)
from flatstep.schedules import InverseSchedule

from .common import configure, how_it_computes

__all__ = ["Adadelta", "Adafactor", "Adagrad", "RMSprop"]


def RMSprop(
    lr: Rate = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: Rate = 0.0,
    centered: bool = False,
    capturable: bool = False,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.RMSprop``: x = g/(√s + ε); u = lr·x, or lr·b with b = μ·b + x. Exact.

    s = α·s + (1 − α)·g² starts at 0; with ``centered`` the square of the average gradient is taken
    from it. Graves 2013, https://arxiv.org/abs/1308.0850.

    Args:
        lr: ≥ 0, a number or a schedule.
        alpha: α in [0, 1].
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        momentum: μ in [0, 1], a number or a schedule; 0: no momentum.
        centered: whether s is centred.
        maximize: whether the objective is to grow.
        capturable, foreach, differentiable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.RMSprop(lr=0.1, alpha=0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)  # s = 4, u = 0.1·4/2
        array([0.8])
    """
    where = "presets.torch.RMSprop"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    learning_rate = rate(where, "lr", lr)
    decay = fraction(where, "alpha", alpha)
    epsilon = nonnegative(where, "eps", eps)
    momentum = moving_fraction(where, "momentum", momentum)
    updater: updaters.Updater
    if momentum != 0:
        kind = updaters.CenteredMomentumRmsProp if centered else updaters.MomentumRmsProp
        updater = kind(learning_rate, decay, epsilon, epsilon_root=0.0, momentum=momentum)
    elif centered:
        updater = updaters.CenteredRmsProp(learning_rate, decay, epsilon, epsilon_root=0.0)
    else:
        updater = updaters.RmsProp(learning_rate, decay, epsilon, initial_accumulator=0.0)
    return configure(
        where,
        updater,
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Adagrad(
    lr: Rate = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    foreach: bool | None = None,
    *,
    maximize: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Adagrad``: h += g²; u = lr/(1 + (t − 1)·lr_decay)·g/(√h + ε). Exact.

    Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html.

    Args:
        lr: ≥ 0, a number or a schedule.
        lr_decay: ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        initial_accumulator_value: what h starts at, ≥ 0.
        eps: ε ≥ 0.
        maximize: whether the objective is to grow.
        foreach, differentiable, fused: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.Adagrad(lr=0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.9])
    """
    where = "presets.torch.Adagrad"
    how_it_computes(where, foreach=foreach, differentiable=differentiable, fused=fused)
    learning_rate = rate(where, "lr", lr)
    lr_decay = nonnegative(where, "lr_decay", lr_decay)
    if lr_decay != 0:
        falling = InverseSchedule(1.0, lr_decay, 1.0)
        learning_rate = learning_rate * falling
    return configure(
        where,
        updaters.AdaGrad(
            learning_rate,
            nonnegative(where, "eps", eps),
            initial_accumulator=nonnegative(
                where, "initial_accumulator_value", initial_accumulator_value
            ),
        ),
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Adadelta(
    lr: Rate = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    foreach: bool | None = None,
    *,
    capturable: bool = False,
    maximize: bool = False,
    differentiable: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Adadelta``: u = lr·x, x = g·√(d + ε)/√(s + ε). Exact.

    Zeiler 2012, https://arxiv.org/abs/1212.5701.

    Args:
        lr: ≥ 0, a number or a schedule.
        rho: ρ in [0, 1], of the averages s of g² and d of x².
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        maximize: whether the objective is to grow.
        foreach, capturable, differentiable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.Adadelta(rho=0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([2.0])})
        >>> w.round(6)  # s = 1, u = 2·√1e-6/√1
        array([0.998])
    """
    where = "presets.torch.Adadelta"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    return configure(
        where,
        updaters.AdaDeltaWithRate(
            rate(where, "lr", lr), fraction(where, "rho", rho), nonnegative(where, "eps", eps)
        ),
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Adafactor(
    lr: Rate = 1e-2,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Adafactor``: a second moment of rows and columns, relative steps. Exact.

    Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. It is computed in NumPy.

    Args:
        lr: ≥ 0, a number or a schedule; a step is at most min(lr, 1/√t) of the parameter.
        beta2_decay: the exponent of t, ≤ 0.
        eps: (ε1, ε2), ≥ 0; ε1 None: the machine epsilon of the parameter's type.
        d: the greatest root mean square of a direction, > 0.
        weight_decay: λ ≥ 0: lr·λ·p is added to the update.
        maximize: whether the objective is to grow.
        foreach: its default only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> config = fs.presets.torch.Adafactor(lr=0.25)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.full((2, 2), 3.0)})
        >>> w
        array([[0.75, 0.75],
               [0.75, 0.75]])
    """
    where = "presets.torch.Adafactor"
    how_it_computes(where, foreach=foreach)
    epsilon1, epsilon2 = eps
    return configure(
        where,
        updaters.Adafactor(
            rate(where, "lr", lr),
            beta2_decay,
            None if epsilon1 is None else nonnegative(where, "eps[0]", epsilon1),
            nonnegative(where, "eps[1]", epsilon2),
            positive(where, "d", d),
        ),
        weight_decay=weight_decay,
        decoupled=True,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
