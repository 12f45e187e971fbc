"""Presets of keras.optimizers that are computed in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flatstep import updaters
from flatstep._coerce import strings
from flatstep.configuration import LayerConfiguration, MultiLayerConfiguration, OnNonfinite
from flatstep.presets.arguments import Layers, Rate, fraction, nonnegative, positive, rate

from .common import Base

__all__ = ["Adafactor", "Ftrl", "Muon", "ScheduleFreeAdamW"]


def Adafactor(
    learning_rate: Rate = 1e-3,
    beta_2_decay: float = -0.8,
    epsilon_1: float = 1e-30,
    epsilon_2: float = 1e-3,
    clip_threshold: float = 1.0,
    relative_step: bool = True,
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
    r"""``keras.optimizers.Adafactor``: a second moment of rows and columns, relative steps. Exact.

    Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_2_decay: the exponent of t, ≤ 0.
        epsilon_1: ≥ 0, added to g².
        epsilon_2: ≥ 0, the least scale of a step.
        clip_threshold: > 0.
        relative_step: makes no difference in Keras either: the rate is at most 1/√t with and
            without it.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.ones((2, 2))
        >>> config = fs.presets.keras.Adafactor(0.25)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.full((2, 2), 3.0)})
        >>> w
        array([[0.75, 0.75],
               [0.75, 0.75]])
    """
    where = "presets.keras.Adafactor"
    base = Base.of(locals())
    updater = updaters.Adafactor(
        rate(where, "learning_rate", learning_rate),
        beta_2_decay,
        nonnegative(where, "epsilon_1", epsilon_1),
        nonnegative(where, "epsilon_2", epsilon_2),
        positive(where, "clip_threshold", clip_threshold),
        "gradient",
        base.decay(where),
    )
    return base.configure(where, updater, replace(updater, weight_decay=0.0))


def Ftrl(
    learning_rate: Rate = 1e-3,
    learning_rate_power: float = -0.5,
    initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0,
    beta: float = 0.0,
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
    r"""``keras.optimizers.Ftrl``: FTRL-Proximal. Exact.

    McMahan et al. 2013, https://doi.org/10.1145/2487575.2488200. It is computed in NumPy.

    Args:
        learning_rate: > 0, a number or a schedule.
        learning_rate_power: ≤ 0.
        initial_accumulator_value: ≥ 0.
        l1_regularization_strength: ≥ 0.
        l2_regularization_strength: ≥ 0.
        l2_shrinkage_regularization_strength: ≥ 0.
        beta: ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([0.0])
        >>> config = fs.presets.keras.Ftrl(0.5, initial_accumulator_value=0.0)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([-0.5])
    """
    where = "presets.keras.Ftrl"
    base = Base.of(locals())
    updater = updaters.Ftrl(
        rate(where, "learning_rate", learning_rate),
        learning_rate_power,
        nonnegative(where, "initial_accumulator_value", initial_accumulator_value),
        nonnegative(where, "l1_regularization_strength", l1_regularization_strength),
        nonnegative(where, "l2_regularization_strength", l2_regularization_strength),
        nonnegative(
            where, "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        ),
        nonnegative(where, "beta", beta),
        base.decay(where),
    )
    return base.configure(where, updater, replace(updater, weight_decay=0.0))


def Muon(
    learning_rate: Rate = 1e-3,
    adam_beta_1: float = 0.9,
    adam_beta_2: float = 0.999,
    adam_weight_decay: float | None = 4e-3,
    epsilon: float = 1e-7,
    weight_decay: float | None = 4e-3,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    name: str | None = None,
    exclude_layers: Sequence[str] | None = None,
    exclude_embeddings: bool = True,
    muon_a: float = 3.4445,
    muon_b: float = -4.775,
    muon_c: float = 2.0315,
    adam_lr_ratio: float = 1.0,
    momentum: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    rms_rate: float | None = 0.2,
    *,
    exclude_from_weight_decay: Sequence[str] = (),
    clip_norm: float | None = None,
    layers: Layers = None,
    on_nonfinite: OnNonfinite = "raise",
) -> MultiLayerConfiguration:
    r"""``keras.optimizers.Muon``: the momentum of a matrix, made orthogonal; Adam for the rest.

    Exact; in NumPy, so that matrix products add up in another order. Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        adam_beta_1: in [0, 1].
        adam_beta_2: in [0, 1].
        adam_weight_decay: that of the rest.
        epsilon: ≥ 0, of Adam.
        weight_decay: λ ≥ 0 of matrices, or None.
        exclude_layers: the layers, by name, whose matrices belong to Adam, too; Keras has patterns.
        exclude_embeddings: without effect: a parameter here has no path to find "embedding" in;
            name such
            layers in exclude_layers.
        muon_a: the first coefficient of the iteration.
        muon_b: the second.
        muon_c: the third.
        adam_lr_ratio: the factor of the rate for Adam.
        momentum: in [0, 1].
        ns_steps: how many iterations.
        nesterov: whether the momentum looks ahead.
        rms_rate: the factor of √max(rows, columns), or None: no scale.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"0_W": np.eye(2), "0_b": np.zeros(2)}  # Muon for W, Adam for b
        >>> config = fs.presets.keras.Muon(0.1)
        >>> fs.MultiLayerUpdater(config, params).step({"0_W": np.eye(2), "0_b": np.ones(2)})
        >>> params["0_b"].round(6)
        array([-0.1, -0.1])
    """
    where = "presets.keras.Muon"
    base = Base.of(locals())
    muon_decay = base.decay(where)
    adam_decay = nonnegative(where, "adam_weight_decay", adam_weight_decay or 0.0)
    updater = updaters.Muon(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "momentum", momentum),
        nesterov=nesterov,
        ns_coefficients=(muon_a, muon_b, muon_c),
        ns_steps=ns_steps,
        epsilon=1e-7,
        weight_decay=muon_decay,
        momentum_form="sum",
        scale="none" if rms_rate is None else "rms",
        rms_rate=nonnegative(where, "rms_rate", rms_rate or 0.0),
        matrices="two",
        adam_rate=nonnegative(where, "adam_lr_ratio", adam_lr_ratio),
        adam_beta1=fraction(where, "adam_beta_1", adam_beta_1),
        adam_beta2=fraction(where, "adam_beta_2", adam_beta_2),
        adam_epsilon=nonnegative(where, "epsilon", epsilon),
        adam_weight_decay=adam_decay,
        adam_dl4j=True,
    )
    found = dict(layers or {})
    for name_of_layer in strings(where, "exclude_layers", exclude_layers or ()):
        found[name_of_layer] = replace(
            found.get(name_of_layer, LayerConfiguration()),
            updater=replace(updater, matrices="none"),
        )
    without_decay = replace(updater, weight_decay=0.0, adam_weight_decay=0.0)
    return replace(base, layers=found).configure(where, updater, without_decay)


def ScheduleFreeAdamW(
    learning_rate: Rate = 2.5e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    warmup_steps: int = 0,
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
    r"""``keras.optimizers.ScheduleFreeAdamW``: an average of the iterates, no schedule. Exact.

    The parameter is the point where gradients are taken; what one evaluates is
    (p − (1 − β1)·z)/β1, z being ``updater.state(key)["z"]``. Defazio et al. 2024,
    https://arxiv.org/abs/2405.15682. It is computed in NumPy.

    Args:
        learning_rate: ≥ 0, a number or a schedule.
        beta_1: β1 in [0, 1].
        beta_2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        warmup_steps: over how many steps the rate rises, ≥ 0.
        weight_decay: λ ≥ 0, or None: lr·λ·p is taken from the parameter first.
        clipnorm, …, on_nonfinite: as in every preset of this module.

    Raises:
        ValueError, TypeError: an argument that is not legal or cannot be followed, by its name.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.presets.keras.ScheduleFreeAdamW(0.1)
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)
        array([0.9, 1.1])
    """
    where = "presets.keras.ScheduleFreeAdamW"
    base = Base.of(locals())
    updater = updaters.ScheduleFreeAdamW(
        rate(where, "learning_rate", learning_rate),
        fraction(where, "beta_1", beta_1),
        fraction(where, "beta_2", beta_2),
        nonnegative(where, "epsilon", epsilon),
        base.decay(where),
        warmup_steps,
        weights="equal",
    )
    return base.configure(where, updater, replace(updater, weight_decay=0.0))
