"""How presets take a peer's arguments, and the configuration that they make of them.

A preset takes its peer's arguments by the peer's names. What cannot be followed is refused here, by
name and with the reason; nothing is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from flatstep._coerce import number, wrong_type
from flatstep.configuration import LayerConfiguration, MultiLayerConfiguration, ParamConfiguration
from flatstep.normalization import GradientNormalization
from flatstep.schedules import Schedule
from flatstep.schedules.base import number_or_schedule
from flatstep.updaters import Updater

__all__ = [
    "Layers",
    "Rate",
    "configure",
    "fraction",
    "fractions",
    "masked_out",
    "nonnegative",
    "only",
    "positive",
    "rate",
    "with_params",
]

#: A learning rate: a number or one of flatstep's schedules.
Rate: TypeAlias = float | Schedule
Layers: TypeAlias = Mapping[str, LayerConfiguration] | None


def rate(where: str, argument: str, value: Any) -> Rate:
    """A number >= 0, or a schedule."""
    if callable(value) and not isinstance(value, Schedule):
        raise TypeError(
            f"{where}: {argument}: expected a number or one of flatstep's schedules, got "
            f"{value!r}; a MapSchedule has any values: "
            "MapSchedule({i: f(i) for i in range(iterations)})"
        )
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a tensor or array of one number
    taken = number_or_schedule(where, argument, value)
    return taken if isinstance(taken, Schedule) else nonnegative(where, argument, taken)


def nonnegative(where: str, argument: str, value: Any) -> float:
    """A finite number >= 0."""
    taken = _no_schedule(where, argument, value)
    if not 0 <= taken < math.inf:
        raise ValueError(f"{where}: {argument}: expected a finite number >= 0, got {taken:g}")
    return taken


def positive(where: str, argument: str, value: Any) -> float:
    """A finite number > 0."""
    taken = _no_schedule(where, argument, value)
    if not 0 < taken < math.inf:
        raise ValueError(f"{where}: {argument}: expected a finite number > 0, got {taken:g}")
    return taken


def fraction(where: str, argument: str, value: Any) -> float:
    """A number in [0, 1]."""
    taken = _no_schedule(where, argument, value)
    if not 0 <= taken <= 1:
        raise ValueError(f"{where}: {argument}: expected a number in [0, 1], got {taken:g}")
    return taken


def _no_schedule(where: str, argument: str, value: Any) -> float:
    if isinstance(value, Schedule) or callable(value):
        raise TypeError(
            f"{where}: {argument}: expected a number, got {value!r}; flatstep has schedules for "
            "learning rates only: give a number"
        )
    return number(where, argument, value)


def moving_fraction(where: str, argument: str, value: Any) -> Rate:
    """A number in [0, 1], or a schedule, as a one-cycle policy has for the momentum."""
    return value if isinstance(value, Schedule) else fraction(where, argument, value)


def fractions(where: str, argument: str, value: Any) -> tuple[float, float]:
    """A pair of numbers in [0, 1]."""
    first, second = _pair(where, argument, value)
    return fraction(where, f"{argument}[0]", first), fraction(where, f"{argument}[1]", second)


def moving_fractions(where: str, argument: str, value: Any) -> tuple[Rate, float]:
    """A pair of numbers in [0, 1], of which the first may be a schedule."""
    first, second = _pair(where, argument, value)
    return (
        moving_fraction(where, f"{argument}[0]", first),
        fraction(where, f"{argument}[1]", second),
    )


def _pair(where: str, argument: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise wrong_type(where, argument, "a pair of numbers", value)
    first, second = value
    return first, second


def only(where: str, reason: str, **given: tuple[Any, Any]) -> None:
    """Refuses arguments that are not what they must be: ``name=(value, expected)``."""
    for argument, (value, expected) in given.items():
        if value is not expected and (value is None or expected is None or value != expected):
            raise ValueError(f"{where}: {argument}: expected {expected!r}, got {value!r}: {reason}")


def configure(
    where: str,
    updater: Updater,
    *,
    layers: Layers,
    on_nonfinite: str,
    clip_norm: float | None = None,
    clip_epsilon: float = 0.0,
    decay: float = 0.0,
    l2: float = 0.0,
    **settings: Any,
) -> MultiLayerConfiguration:
    """The configuration: clipping by the global norm, decay and L2 of weights and biases alike."""
    if clip_norm is not None:
        settings["gradient_normalization"] = GradientNormalization.ClipL2Global
        settings["gradient_normalization_threshold"] = positive(where, "clip_norm", clip_norm)
        if clip_epsilon:
            settings["gradient_normalization_epsilon"] = clip_epsilon
    settings.setdefault("weight_decay_bias", decay)
    return MultiLayerConfiguration(
        updater=updater,
        weight_decay=decay,
        l2=l2,
        l2_bias=l2,
        layers={} if layers is None else layers,
        on_nonfinite=on_nonfinite,  # type: ignore[arg-type]  # which the configuration looks at
        **settings,
    )


def masked_out(where: str, argument: str, mask: Any) -> list[tuple[str, str]]:
    """The layers and parameters for which a mask has False.

    A mask is a mapping ``{"0_W": True, "0_b": False}`` or ``{"fc1": {"kernel": True, "bias":
    False}}``.
    """
    remedy = (
        'give what it says for each parameter: {"0_W": True, "0_b": False} or {"fc1": {"kernel": '
        'True, "bias": False}}'
    )
    if not isinstance(mask, Mapping):
        raise TypeError(f"{where}: {argument}: expected a mapping, got {mask!r}; {remedy}")
    found = []
    for key, value in mask.items():
        if isinstance(value, Mapping):
            entries = [(str(key), str(param), each) for param, each in value.items()]
        else:
            layer, separator, param = str(key).partition("_")
            if not separator or not layer.isdigit() or not param:
                raise ValueError(
                    f"{where}: {argument}: expected keys such as 0_W, got {key!r}; {remedy}"
                )
            entries = [(layer, param, value)]
        for layer, param, each in entries:
            if not isinstance(each, bool):
                raise wrong_type(where, f"{argument}[{layer}_{param}]", "True or False", each)
            if not each:
                found.append((layer, param))
    return found


def with_params(
    layers: Layers, names: list[tuple[str, str]], setting: ParamConfiguration
) -> Mapping[str, LayerConfiguration]:
    """`layers` with that setting for these parameters, but for those that have their own."""
    found = {str(name): layer for name, layer in (layers or {}).items()}
    for layer, param in names:
        configured = found.get(layer, LayerConfiguration())
        params = {param: setting, **configured.params}
        found[layer] = replace(configured, params=params)
    return found
