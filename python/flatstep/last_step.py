"""What an updater's last step saw: norms, factors, rates and ratios, per layer and parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from . import _core
from .layout import Slot

__all__ = ["LastStep", "LayerStep", "ParamStep", "last_step"]


@dataclass(frozen=True, slots=True)
class ParamStep:
    """What the last step saw of one parameter. None where there is nothing to say.

    Attributes:
        gradient_norm: ‖g‖ before normalisation, where the strategy has a norm (divided by the
            batch already, under dl4j-1.0).
        factor: what normalisation multiplied the gradient by.
        clipped: whether a clipping strategy did; None under ClipElementWiseAbsoluteValue, where
            clipped_share says how much.
        learning_rate: the rate that the step used.
        update_ratio: ‖update‖/‖parameter‖, with ``monitor=True``.
        trust_ratio: what the updater scaled by the norm of the whole parameter, `Lamb` or `Lars`.
        clipped_share: the share of the elements that ClipElementWiseAbsoluteValue clipped, in
            [0, 1], counted with ``monitor=True``.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.5), gradient_normalization="ClipL2PerParamType"
        ... )
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)}, monitor=True)
        >>> updater.step({"0_W": np.array([3.0, 4.0])})
        >>> step = updater.last_step.layers["0"].params["W"]
        >>> step.gradient_norm, step.factor, step.clipped, round(step.update_ratio, 3)
        (5.0, 0.2, True, 0.354)
    """

    gradient_norm: float | None
    factor: float | None
    clipped: bool | None
    learning_rate: float | None
    update_ratio: float | None
    trust_ratio: float | None = None
    clipped_share: float | None = None


@dataclass(frozen=True, slots=True)
class LayerStep:
    """What the last step saw of one layer; attributes as of `ParamStep`.

    ``gradient_norm`` is that of the whole layer. Where a strategy works per parameter, ``factor``
    is the smallest of the layer's; ``learning_rate`` is that of the first parameter with one.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.5), gradient_normalization="ClipL2PerLayer"
        ... )
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "0_b": np.ones(1)})
        >>> updater.step({"0_W": np.array([3.0, 0.0]), "0_b": np.array([4.0])})
        >>> layer = updater.last_step.layers["0"]
        >>> layer.gradient_norm, layer.factor, layer.learning_rate, list(layer.params)
        (5.0, 0.2, 0.5, ['W', 'b'])
    """

    gradient_norm: float | None
    factor: float | None
    clipped: bool | None
    learning_rate: float | None
    update_ratio: float | None
    params: Mapping[str, ParamStep]
    clipped_share: float | None = None


@dataclass(frozen=True, slots=True)
class LastStep:
    """What the last step saw.

    Attributes:
        iteration, epoch: those of the step.
        skipped: whether ``on_nonfinite="skip"`` refused it.
        nonfinite: the keys of the gradients that were not finite, if it was refused.
        gradient_norm: the norm of the whole network's gradient, under ClipL2Global.
        layers: per layer name.
        state_nonfinite: the keys of the parameters whose updater state has an infinity or NaN in
            it, with ``monitor=True``. A gradient that is finite can leave one: its square may not
            be. `CustomUpdater` state is not looked at.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(on_nonfinite="skip")
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
        >>> updater.step({"0_W": np.array([1.0, np.nan])})
        >>> updater.last_step.skipped, updater.last_step.nonfinite
        (True, ('0_W',))
    """

    iteration: int
    epoch: int
    skipped: bool
    nonfinite: tuple[str, ...]
    gradient_norm: float | None
    layers: Mapping[str, LayerStep]
    state_nonfinite: tuple[str, ...] = ()


def _set_state(self: LastStep | LayerStep | ParamStep, state: Sequence[Any]) -> None:
    """Also of release 0.1, whose pickles lack the last fields."""
    defaults = [field.default for field in fields(self)[len(state) :]]
    for field, value in zip(fields(self), (*state, *defaults), strict=True):
        object.__setattr__(self, field.name, value)


# In the classes themselves Python 3.10 would put its own in the place of it.
LastStep.__setstate__ = _set_state  # type: ignore[attr-defined]
LayerStep.__setstate__ = _set_state  # type: ignore[attr-defined]
ParamStep.__setstate__ = _set_state  # type: ignore[attr-defined]


class _Measured(NamedTuple):
    """A parameter's step, and what its layer's is made of."""

    step: ParamStep
    size: int
    update_norm: float | None
    parameter_norm: float | None


def last_step(
    updater: _core.Updater, layout: Iterable[Slot], resolved: Iterable[_core.SlotSettings]
) -> LastStep | None:
    """Collect the native reports of all slots."""
    last = updater._last()
    if last is None:
        return None
    layers: dict[str, dict[str, _Measured]] = {}
    network_norm = None
    nonfinite = []
    state_nonfinite = []
    for place, (slot, settings) in enumerate(zip(layout, resolved, strict=True)):
        report = updater._report(place)
        if report.nonfinite:
            nonfinite.append(slot.key)
        if report.state_nonfinite:
            state_nonfinite.append(slot.key)
        if settings.group == "network" and report.group_norm is not None:
            network_norm = report.group_norm
        step = ParamStep(
            gradient_norm=report.gradient_norm,
            factor=report.factor,
            clipped=None if settings.group == "element" else report.clipped,
            learning_rate=report.learning_rate,
            update_ratio=_ratio(report.update_norm, report.parameter_norm),
            trust_ratio=report.trust_ratio,
            clipped_share=report.clipped_share,
        )
        layers.setdefault(slot.layer, {})[slot.param] = _Measured(
            step, slot.size, report.update_norm, report.parameter_norm
        )
    return LastStep(
        last.iteration,
        last.epoch,
        last.skipped,
        tuple(nonfinite),
        network_norm,
        {name: _layer_step(params) for name, params in layers.items()},
        tuple(state_nonfinite),
    )


def _ratio(update: float | None, parameter: float | None) -> float | None:
    if update is None or parameter is None:
        return None
    if parameter == 0:
        return math.inf if update > 0 else 0.0
    return update / parameter


def _layer_step(params: Mapping[str, _Measured]) -> LayerStep:
    steps = {param: measured.step for param, measured in params.items()}
    norms = [step.gradient_norm for step in steps.values() if step.gradient_norm is not None]
    factors = [step.factor for step in steps.values() if step.factor is not None]
    rates = [step.learning_rate for step in steps.values() if step.learning_rate is not None]
    updates = [m.update_norm for m in params.values() if m.update_norm is not None]
    parameters = [m.parameter_norm for m in params.values() if m.parameter_norm is not None]
    counted = [m for m in params.values() if m.step.clipped_share is not None]
    clipped = sum((m.step.clipped_share or 0.0) * m.size for m in counted)
    size = sum(m.size for m in counted)
    return LayerStep(
        gradient_norm=math.hypot(*norms) if norms else None,
        factor=min(factors) if factors else None,
        clipped=None
        if any(step.clipped is None for step in steps.values())
        else any(step.clipped for step in steps.values()),
        learning_rate=rates[0] if rates else None,
        update_ratio=_ratio(math.hypot(*updates), math.hypot(*parameters)) if updates else None,
        params=steps,
        clipped_share=clipped / max(size, 1) if counted else None,
    )
