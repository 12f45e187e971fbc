"""Presets of torch.optim: SGD, ASGD, Rprop, Muon."""

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
from flatstep.schedules import Schedule

from .common import configure, how_it_computes

__all__ = ["ASGD", "SGD", "Muon", "Rprop"]


def SGD(
    lr: Rate = 1e-3,
    momentum: Rate = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    fused: bool | None = None,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.SGD``: b = μ·b + (1 − dampening)·g; u = lr·b. Exact.

    The rate stands outside the momentum b, which is g in the first step; with ``nesterov``
    u = lr·(g + μ·b). Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html.

    Args:
        lr: ≥ 0, a number or a schedule.
        momentum: μ in [0, 1], a number or a schedule; 0: no momentum.
        dampening: in [0, 1]; without effect where there is no momentum, as in PyTorch.
        weight_decay: λ ≥ 0: λ·p is added to the gradient.
        nesterov: needs a momentum and no dampening.
        maximize: whether the objective is to grow.
        foreach, differentiable, fused: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.SGD(lr=0.5, momentum=0.5)
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> for _ in range(2):
        ...     updater.step({"0_W": np.array([1.0])})  # b = 1, then 1.5
        >>> w
        array([-0.25])
    """
    where = "presets.torch.SGD"
    how_it_computes(where, foreach=foreach, differentiable=differentiable, fused=fused)
    momentum = moving_fraction(where, "momentum", momentum)
    dampening = fraction(where, "dampening", dampening)
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            f"{where}: nesterov: expected a momentum and no dampening, got momentum={momentum}, "
            f"dampening={dampening:g}"
        )
    updater: updaters.Updater = updaters.Sgd(rate(where, "lr", lr))
    if momentum != 0:
        updater = updaters.Momentum(
            rate(where, "lr", lr), momentum, dampening=dampening, nesterov=nesterov
        )
    return configure(
        where,
        updater,
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def ASGD(
    lr: Rate = 1e-2,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.ASGD``: u = η·(g + λ·p), η falling as 1/(1 + λ·lr·t)^α. Exact.

    A rate that changes is used one step later, as in PyTorch. The average is
    ``updater.state(key)["ax"]``. PyTorch keeps η in its default type, so that float64 parameters
    see it in float32 unless ``torch.set_default_dtype(torch.float64)``. Polyak and Juditsky 1992,
    https://doi.org/10.1137/0330046. It is computed in NumPy.

    Args:
        lr: ≥ 0, a number or a schedule.
        lambd: λ ≥ 0.
        alpha: α ≥ 0.
        t0: after which step the average starts, ≥ 0.
        weight_decay: ≥ 0: weight_decay·p is added to the gradient.
        maximize: whether the objective is to grow.
        foreach, differentiable, capturable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.presets.torch.ASGD(lr=0.5, lambd=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([1.0])})
        >>> w
        array([0.5])
    """
    where = "presets.torch.ASGD"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    return configure(
        where,
        updaters.ASGD(
            rate(where, "lr", lr),
            nonnegative(where, "lambd", lambd),
            nonnegative(where, "alpha", alpha),
            nonnegative(where, "t0", t0),
        ),
        weight_decay=weight_decay,
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Rprop(
    lr: Rate = 1e-2,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    *,
    capturable: bool = False,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Rprop``: u = step·sign(g), each element's step its own. Exact.

    ``lr`` is what the steps start at; of a schedule only its value at iteration 0 counts, as in
    PyTorch, where later rates are not looked at. Riedmiller and Braun 1993,
    https://doi.org/10.1109/ICNN.1993.298623. It is computed in NumPy.

    Args:
        lr: ≥ 0, a number or a schedule.
        etas: (in [0, 1], ≥ 1), the factors of a step.
        step_sizes: the least and the greatest step.
        maximize: whether the objective is to grow.
        capturable, foreach, differentiable: their defaults only.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.torch.Rprop(lr=0.25)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w
        array([0.75, 1.25])
    """
    where = "presets.torch.Rprop"
    how_it_computes(where, foreach=foreach, capturable=capturable, differentiable=differentiable)
    first = rate(where, "lr", lr)
    minus, plus = etas
    least, greatest = step_sizes
    plus = nonnegative(where, "etas[1]", plus)
    if plus < 1:
        raise ValueError(f"{where}: etas[1]: expected a number >= 1, got {plus:g}")
    return configure(
        where,
        updaters.Rprop(
            first.value_at(0) if isinstance(first, Schedule) else first,
            fraction(where, "etas[0]", minus),
            plus,
            nonnegative(where, "step_sizes[0]", least),
            nonnegative(where, "step_sizes[1]", greatest),
        ),
        maximize=maximize,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def Muon(
    lr: Rate = 1e-3,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``torch.optim.Muon``: the momentum of a matrix, made orthogonal.

    Exact but for the Newton-Schulz iteration, which PyTorch does in bfloat16 and flatstep in the
    parameter's type. As PyTorch's it takes matrices only: give other parameters an updater of their
    own in ``layers``, or take `Muon` of flatstep itself, which has AdamW for them. Jordan et al.
    2024, https://kellerjordan.github.io/posts/muon/. It is computed in NumPy.

    Args:
        lr: ≥ 0, a number or a schedule.
        weight_decay: λ ≥ 0: lr·λ·p is added to the update.
        momentum: in [0, 1].
        nesterov: whether the momentum looks ahead.
        ns_coefficients: of the iteration.
        eps: the least norm that is divided by, > 0.
        ns_steps: how many iterations.
        adjust_lr_fn: None and "original" multiply by √max(1, rows/columns), "match_rms_adamw" by
            0.2·√max(rows, columns).
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.eye(2)
        >>> config = fs.presets.torch.Muon(lr=0.1, weight_decay=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.eye(2)})
        >>> bool(abs(w - 0.9 * np.eye(2)).max() < 0.05)
        True
    """
    where = "presets.torch.Muon"
    scales = {None: "rows", "original": "rows", "match_rms_adamw": "rms"}
    if adjust_lr_fn not in scales:
        raise ValueError(
            f'{where}: adjust_lr_fn: expected None, "original" or "match_rms_adamw", got '
            f"{adjust_lr_fn!r}"
        )
    return configure(
        where,
        updaters.Muon(
            rate(where, "lr", lr),
            fraction(where, "momentum", momentum),
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            ns_steps=ns_steps,
            epsilon=positive(where, "eps", eps),
            weight_decay=nonnegative(where, "weight_decay", weight_decay),
            momentum_form="average",
            epsilon_placement="floor",
            scale=scales[adjust_lr_fn],
            matrices="two",
            others="refused",
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
