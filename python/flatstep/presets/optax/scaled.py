"""Presets of optax: gradient descent, and what scales or signs it."""

from __future__ import annotations

from typing import Any

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fraction, nonnegative, only, rate

from .common import Mask, configure, no_dtype

__all__ = ["adadelta", "adagrad", "rmsprop", "rprop", "sgd", "sign_sgd", "signum", "sm3"]


def sgd(
    learning_rate: Rate,
    momentum: float | None = None,
    nesterov: bool = False,
    accumulator_dtype: None = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.sgd``: b = μ·b + g; u = lr·b, with ``nesterov`` lr·(g + μ·b). Exact.

    Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        momentum: μ in [0, 1], or None.
        nesterov: whether the momentum looks ahead; without one it means nothing, as in optax.
        accumulator_dtype: None only: the state has the parameter's type.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.sgd(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.7, 1.5])
    """
    where = "presets.optax.sgd"
    no_dtype(where, accumulator_dtype=accumulator_dtype)
    updater: updaters.Updater = updaters.Sgd(rate(where, "learning_rate", learning_rate))
    if momentum is not None:
        updater = updaters.Momentum(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "momentum", momentum),
            nesterov=nesterov,
        )
    return configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def rmsprop(
    learning_rate: Rate,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.rmsprop``: x = g/√(s + ε), or g/(√s + ε); u = lr·x, or b = μ·b + lr·x. Exact.

    s averages g² and, ``centered``, loses the square of the average gradient. Graves 2013,
    https://arxiv.org/abs/1308.0850.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        decay: in [0, 1], of s.
        eps: ε ≥ 0.
        initial_scale: what s starts at, ≥ 0.
        eps_in_sqrt: whether ε stands under the root.
        centered: whether s is centred.
        momentum: μ in [0, 1], or None.
        nesterov: whether the momentum looks ahead; without one it means nothing, as in optax.
        bias_correction: whether s is divided by 1 − decayᵗ.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.rmsprop(0.1, decay=0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0, -4.0])})
        >>> w.round(6)
        array([0.8, 1.2])
    """
    where = "presets.optax.rmsprop"
    learning_rate = rate(where, "learning_rate", learning_rate)
    decay = fraction(where, "decay", decay)
    eps = nonnegative(where, "eps", eps)
    common: dict[str, Any] = {
        "epsilon": 0.0 if eps_in_sqrt else eps,
        "epsilon_root": eps if eps_in_sqrt else 0.0,
        "initial_accumulator": nonnegative(where, "initial_scale", initial_scale),
        "bias_correction": bias_correction,
    }
    updater: updaters.Updater
    if momentum is None:
        plain = updaters.CenteredRmsProp if centered else updaters.RootRmsProp
        updater = plain(learning_rate, decay, **common)
    else:
        kind = updaters.CenteredMomentumRmsProp if centered else updaters.MomentumRmsProp
        updater = kind(
            learning_rate,
            decay,
            **common,
            momentum=fraction(where, "momentum", momentum),
            nesterov=nesterov,
            rate_in_velocity=True,
        )
    return configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def adagrad(
    learning_rate: Rate,
    initial_accumulator_value: float = 0.1,
    eps: float = 1e-7,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adagrad``: h += g²; u = lr·g/√(h + ε). Exact.

    Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        initial_accumulator_value: what h starts at, ≥ 0.
        eps: ε ≥ 0, under the root.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adagrad(0.1, initial_accumulator_value=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adagrad"
    return configure(
        where,
        updaters.RootAdaGrad(
            rate(where, "learning_rate", learning_rate),
            epsilon_root=nonnegative(where, "eps", eps),
            initial_accumulator=nonnegative(
                where, "initial_accumulator_value", initial_accumulator_value
            ),
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def adadelta(
    learning_rate: Rate | None = None,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    weight_decay_mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adadelta``: u = lr·x, x = g·√(d + ε)/√(s + ε), of g + λ·p. Exact.

    Without a rate optax leaves the sign as it is: its updates, added to the parameters, go up, and
    so do these; λ is refused then. Zeiler 2012, https://arxiv.org/abs/1212.5701.

    Args:
        learning_rate: ≥ 0, a number or a schedule, or None.
        rho: ρ in [0, 1], of s and d.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0, a number.
        weight_decay_mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b":
            False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adadelta(1.0, rho=0.75)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([2.0, -2.0])})
        >>> w.round(6)
        array([0.998, 1.002])
    """
    where = "presets.optax.adadelta"
    if learning_rate is None:
        only(
            where,
            "without a learning_rate optax goes up; give one",
            weight_decay=(weight_decay, 0.0),
        )
    given = 1.0 if learning_rate is None else rate(where, "learning_rate", learning_rate)
    return configure(
        where,
        updaters.AdaDeltaWithRate(
            given, fraction(where, "rho", rho), nonnegative(where, "eps", eps)
        ),
        weight_decay=weight_decay,
        mask=weight_decay_mask,
        mask_name="weight_decay_mask",
        as_l2=True,
        maximize=learning_rate is None,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def sign_sgd(
    learning_rate: Rate,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.sign_sgd``: u = lr·sign(g). Exact.

    Bernstein et al. 2018, https://arxiv.org/abs/1802.04434. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.sign_sgd(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.sign_sgd"
    return configure(
        where,
        updaters.Signum(rate(where, "learning_rate", learning_rate), momentum=0.0),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def signum(
    learning_rate: Rate,
    beta: float = 0.9,
    accumulator_dtype: None = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.signum``: m = β·m + (1 − β)·g; u = lr·sign(m). Exact.

    Bernstein et al. 2018, https://arxiv.org/abs/1802.04434. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta: β in [0, 1].
        accumulator_dtype: None only: the state has the parameter's type.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.signum(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.signum"
    no_dtype(where, accumulator_dtype=accumulator_dtype)
    return configure(
        where,
        updaters.Signum(rate(where, "learning_rate", learning_rate), fraction(where, "beta", beta)),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.rprop``: u = step·sign(g), each element's step its own, one iteration late. Exact.

    Riedmiller and Braun 1993, https://doi.org/10.1109/ICNN.1993.298623. It is computed in NumPy.

    Args:
        learning_rate: what the steps start at, ≥ 0.
        eta_minus: the factor of a step whose sign has changed, in [0, 1].
        eta_plus: the factor of any other, ≥ 1.
        min_step_size: ≥ 0.
        max_step_size: ≥ 0.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.rprop(0.1)
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> for _ in range(2):
        ...     updater.step({"0_W": np.array([3.0, -5.0])})  # the first applies nothing yet
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.rprop"
    updater = updaters.Rprop(
        nonnegative(where, "learning_rate", learning_rate),
        fraction(where, "eta_minus", eta_minus),
        nonnegative(where, "eta_plus", eta_plus),
        nonnegative(where, "min_step_size", min_step_size),
        nonnegative(where, "max_step_size", max_step_size),
        clips_unchanged=False,
        delayed=True,
    )
    return configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def sm3(
    learning_rate: Rate,
    momentum: float = 0.9,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.sm3``: adagrad whose accumulators are one for each row and each column. Exact.

    Anil et al. 2019, https://arxiv.org/abs/1901.11150. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        momentum: in [0, 1].
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.sm3(0.1, momentum=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.sm3"
    return configure(
        where,
        updaters.Sm3(
            rate(where, "learning_rate", learning_rate), fraction(where, "momentum", momentum)
        ),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )
