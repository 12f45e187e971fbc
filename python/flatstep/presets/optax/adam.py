"""Presets of optax: adam and its kin."""

from __future__ import annotations

from flatstep import updaters
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fraction, nonnegative, only, rate

from .common import Mask, configure, no_dtype

__all__ = ["adam", "adamax", "adamaxw", "adamw", "amsgrad", "nadam", "nadamw"]


def adam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    *,
    nesterov: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adam``: u = lr·m̂/(√(v̂ + eps_root) + ε), m̂ and v̂ corrected for their bias. Exact.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
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
        >>> config = fs.presets.optax.adam(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adam"
    no_dtype(where, mu_dtype=mu_dtype)
    return configure(
        where,
        _adam(where, learning_rate, b1, b2, eps, eps_root, nesterov),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def _adam(
    where: str,
    learning_rate: Rate,
    b1: float,
    b2: float,
    eps: float,
    eps_root: float,
    nesterov: bool,
) -> updaters.RootAdam:
    return updaters.RootAdam(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "b1", b1),
        fraction(where, "b2", b2),
        nonnegative(where, "eps", eps),
        epsilon_root=nonnegative(where, "eps_root", eps_root),
        nesterov=nesterov,
    )


def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    weight_decay: float = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adamw``: adam's update + lr·λ·p. Exact.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adamw(0.1, weight_decay=0.5, mask={"0_W": False})
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adamw"
    no_dtype(where, mu_dtype=mu_dtype)
    return configure(
        where,
        _adam(where, learning_rate, b1, b2, eps, eps_root, nesterov),
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def nadam(
    learning_rate: Rate,
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
    r"""``optax.nadam``: adam with m̂ = β1·m/(1 − β1^(t+1)) + (1 − β1)·g/(1 − β1ᵗ). Exact.

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
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
        >>> config = fs.presets.optax.nadam(0.1, b1=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    return adam(
        learning_rate,
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        nesterov=nesterov,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def nadamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    weight_decay: float = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = True,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.nadamw``: nadam's update + lr·λ·p. Exact.

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ; decay: Loshchilov and Hutter
    2017, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        nesterov: whether the momentum looks ahead.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.nadamw(0.1, b1=0.0, weight_decay=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    return adamw(
        learning_rate,
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        weight_decay,
        mask,
        nesterov=nesterov,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def amsgrad(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.amsgrad``: adam with the greatest corrected v so far in v̂'s place. Exact.

    Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237. Both corrections or neither;
    neither without ``eps_root``.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        bias_correction_mu: whether m is corrected.
        bias_correction_nu: whether v is corrected.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.amsgrad(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.amsgrad"
    no_dtype(where, mu_dtype=mu_dtype)
    arguments = (
        rate(where, "learning_rate", learning_rate),
        fraction(where, "b1", b1),
        fraction(where, "b2", b2),
        nonnegative(where, "eps", eps),
    )
    if bias_correction_mu and bias_correction_nu:
        updater: updaters.Updater = updaters.CorrectedAMSGrad(
            *arguments, epsilon_root=nonnegative(where, "eps_root", eps_root)
        )
    else:
        only(
            where,
            "flatstep's AMSGrad without bias correction has no correction at all and nothing under "
            "the root",
            bias_correction_mu=(bias_correction_mu, False),
            bias_correction_nu=(bias_correction_nu, False),
            eps_root=(eps_root, 0.0),
        )
        updater = updaters.AMSGrad(*arguments, bias_correction=False)
    return configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def adamax(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adamax``: n = max(β2·n, abs(g) + ε); u = lr/(1 − β1ᵗ)·m/n. Exact.

    Section 7.1 of Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adamax(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adamax"
    return configure(
        where,
        _adamax(where, learning_rate, b1, b2, eps),
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def adamaxw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
    mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.adamaxw``: adamax's update + lr·λ·p. Exact.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.adamaxw(0.1, weight_decay=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.adamaxw"
    return configure(
        where,
        _adamax(where, learning_rate, b1, b2, eps),
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def _adamax(where: str, learning_rate: Rate, b1: float, b2: float, eps: float) -> updaters.Updater:
    return updaters.AdaMax(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "b1", b1),
        fraction(where, "b2", b2),
        nonnegative(where, "eps", eps),
        epsilon_placement="gradient",
    )
