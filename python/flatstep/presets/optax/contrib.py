"""Presets of optax.contrib: ademamix, muon, schedule_free_adamw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flatstep import updaters
from flatstep._coerce import number
from flatstep.configuration import MultiLayerConfiguration, OnNonfinite, ParamConfiguration
from flatstep.presets.arguments import (
    Layers,
    Rate,
    fraction,
    masked_out,
    nonnegative,
    only,
    positive,
    rate,
    with_params,
)
from flatstep.schedules import Schedule

from .common import Mask, configure, no_dtype

__all__ = ["ademamix", "muon", "schedule_free_adamw"]

#: The presets of optax's own names; "dion" has a triple for each of five iterations.
_COEFFICIENTS = {
    "standard": (3.4445, -4.775, 2.0315),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}


def ademamix(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    b3: Rate = 0.9999,
    alpha: Rate = 5.0,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: None = None,
    weight_decay: float = 0.0,
    mask: Mask = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.contrib.ademamix``: adam with a second, slow average of g. Exact.

    u = lr·(m̂ + α·m2)/(√(v̂ + eps_root) + ε), m2 = β3·m2 + (1 − β3)·g. Pagliardini, Ablin and
    Grangier 2024, https://arxiv.org/abs/2409.03137.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        b1: β1 in [0, 1].
        b2: β2 in [0, 1].
        b3: β3 in [0, 1], a number or a schedule.
        alpha: α ≥ 0, a number or a schedule.
        eps: ε ≥ 0, beside the root.
        eps_root: ≥ 0, under the root.
        mu_dtype: None only: m has the parameter's type.
        weight_decay: λ ≥ 0, a number.
        mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b": False}``.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.contrib.ademamix(0.1, alpha=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.contrib.ademamix"
    no_dtype(where, mu_dtype=mu_dtype)
    return configure(
        where,
        updaters.AdEMAMix(
            rate(where, "learning_rate", learning_rate),
            fraction(where, "b1", b1),
            fraction(where, "b2", b2),
            nonnegative(where, "eps", eps),
            beta3=b3 if isinstance(b3, Schedule) else fraction(where, "b3", b3),
            alpha=rate(where, "alpha", alpha),
            epsilon_root=nonnegative(where, "eps_root", eps_root),
        ),
        weight_decay=weight_decay,
        mask=mask,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
    )


def muon(
    learning_rate: Rate,
    ns_coeffs: Any = (3.4445, -4.775, 2.0315),
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_decay_mask: Mask = None,
    mu_dtype: None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_eps_root: float = 0.0,
    adam_weight_decay: float = 0.0,
    adam_learning_rate: Rate | None = None,
    muon_weight_dimension_numbers: None = None,
    consistent_rms: float | None = None,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.contrib.muon``: the momentum of a matrix, made orthogonal; adamw for the rest.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. Exact. It is computed in NumPy,
    so that matrix products add up in another order: float32 differs by some of its last digits.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        ns_coeffs: three coefficients, a triple for each iteration, "standard" or "dion".
        ns_steps: how many iterations; of triples no fewer than there are.
        beta: β in [0, 1].
        eps: ε ≥ 0, of Muon and of adamw.
        weight_decay: ≥ 0, of matrices.
        weight_decay_mask: None, or for each parameter whether it decays, ``{"0_W": True, "0_b":
            False}``.
        mu_dtype: None only: m has the parameter's type.
        nesterov: whether the momentum looks ahead.
        adaptive: whether the update is multiplied by its product with the momentum.
        preconditioning: "frobenius", "spectral", "aol" or "schatten".
        adam_b1: in [0, 1].
        adam_b2: in [0, 1].
        adam_eps_root: ≥ 0.
        adam_weight_decay: ≥ 0, of what is no matrix.
        adam_learning_rate: None: that of Muon; a number beside a number only.
        muon_weight_dimension_numbers: None only.
        consistent_rms: None: √max(1, columns/rows); else the factor of √max(rows, columns).
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"0_W": np.eye(2), "0_b": np.zeros(2)}  # Muon for W, adamw for b
        >>> config = fs.presets.optax.contrib.muon(0.1, nesterov=False)
        >>> fs.MultiLayerUpdater(config, params).step({"0_W": np.eye(2), "0_b": np.ones(2)})
        >>> params["0_b"].round(6)
        array([-0.1, -0.1])
    """
    where = "presets.optax.contrib.muon"
    no_dtype(where, mu_dtype=mu_dtype)
    only(
        where,
        "parameters of two dimensions are matrices, all others belong to adamw; give those that "
        "are not to be Muon's another updater in layers=",
        muon_weight_dimension_numbers=(muon_weight_dimension_numbers, None),
    )
    coefficients = _coefficients(where, ns_coeffs)
    if isinstance(coefficients[0], (tuple, list)):  # an iteration for each, whatever ns_steps
        if len(coefficients) > ns_steps:
            raise ValueError(
                f"{where}: ns_steps: expected at least {len(coefficients)}, as ns_coeffs has so "
                f"many triples, got {ns_steps}"
            )
        ns_steps = len(coefficients)
    eps = nonnegative(where, "eps", eps)
    learning_rate = rate(where, "learning_rate", learning_rate)
    updater = updaters.Muon(
        learning_rate,
        fraction(where, "beta", beta),
        nesterov=nesterov,
        ns_coefficients=coefficients,
        ns_steps=ns_steps,
        epsilon=eps,
        weight_decay=nonnegative(where, "weight_decay", weight_decay),
        preconditioning=preconditioning,
        adaptive=adaptive,
        scale="columns" if consistent_rms is None else "rms",
        rms_rate=0.2 if consistent_rms is None else number(where, "consistent_rms", consistent_rms),
        matrices="two",
        adam_rate=_adam_rate(where, learning_rate, adam_learning_rate),
        adam_beta1=fraction(where, "adam_b1", adam_b1),
        adam_beta2=fraction(where, "adam_b2", adam_b2),
        adam_epsilon=eps,
        adam_epsilon_root=nonnegative(where, "adam_eps_root", adam_eps_root),
        adam_weight_decay=nonnegative(where, "adam_weight_decay", adam_weight_decay),
        adam_nesterov=nesterov,
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


def _coefficients(where: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given not in _COEFFICIENTS:
        raise ValueError(
            f'{where}: ns_coeffs: expected coefficients, "standard" or "dion", got "{given}"'
        )
    return _COEFFICIENTS[given]


def _adam_rate(where: str, learning_rate: Rate, adam_learning_rate: Rate | None) -> float:
    """adamw's rate as a multiple of Muon's."""
    if adam_learning_rate is None or adam_learning_rate == learning_rate:
        return 1.0
    if isinstance(learning_rate, Schedule) or isinstance(adam_learning_rate, Schedule):
        raise ValueError(
            f"{where}: adam_learning_rate: expected None or learning_rate's own schedule, got "
            f"{adam_learning_rate!r}: both rates follow one schedule; give adam_learning_rate as a "
            "number beside a number, or other updaters in layers="
        )
    return nonnegative(where, "adam_learning_rate", adam_learning_rate) / positive(
        where, "learning_rate", learning_rate
    )


def schedule_free_adamw(
    learning_rate: float = 2.5e-3,
    warmup_steps: int | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_lr_power: float = 2.0,
    state_dtype: None = None,
    *,
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``optax.contrib.schedule_free_adamw``: an average of the iterates, no schedule. Exact.

    The parameter is the point where gradients are taken; ``schedule_free_eval_params`` is
    (p − (1 − b1)·z)/b1, z being ``updater.state(key)["z"]``. Defazio et al. 2024,
    https://arxiv.org/abs/2405.15682. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number.
        warmup_steps: over how many steps the rate rises, or None.
        b1: β1 in (0, 1].
        b2: β2 in [0, 1].
        eps: ε ≥ 0, beside the root.
        weight_decay: λ ≥ 0, a number.
        weight_lr_power: ≥ 0, of the rate in the weights of the average.
        state_dtype: None only: the state has the parameter's type.
        clip_norm, layers, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.optax.contrib.schedule_free_adamw(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.optax.contrib.schedule_free_adamw"
    no_dtype(where, state_dtype=state_dtype)
    updater = updaters.ScheduleFreeAdamW(
        nonnegative(where, "learning_rate", learning_rate),
        positive(where, "b1", fraction(where, "b1", b1)),
        fraction(where, "b2", b2),
        nonnegative(where, "eps", eps),
        nonnegative(where, "weight_decay", weight_decay),
        warmup_steps or 0,
        "rate",
        nonnegative(where, "weight_lr_power", weight_lr_power),
    )
    return configure(where, updater, clip_norm=clip_norm, layers=layers, on_nonfinite=on_nonfinite)
