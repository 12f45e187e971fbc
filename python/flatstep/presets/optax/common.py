"""What all presets of optax share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from flatstep.configuration import MultiLayerConfiguration, ParamConfiguration
from flatstep.presets import arguments
from flatstep.presets.arguments import Layers, masked_out, nonnegative, with_params
from flatstep.updaters import Updater

__all__ = ["Mask", "configure", "no_dtype"]

#: For each parameter whether it takes part, flat or nested; True, False or None for all alike.
Mask: TypeAlias = Mapping[str, Any] | bool | None


def no_dtype(where: str, **given: Any) -> None:
    """Refuses a type of the state."""
    arguments.only(
        where,
        "the state has the parameter's type; leave it out",
        **{argument: (value, None) for argument, value in given.items()},
    )


def configure(
    where: str,
    updater: Updater,
    *,
    clip_norm: float | None,
    layers: Layers,
    on_nonfinite: str,
    weight_decay: float = 0.0,
    mask: Mask = None,
    mask_name: str = "mask",
    as_l2: bool = False,
    maximize: bool = False,
) -> MultiLayerConfiguration:
    """The configuration; weight decay is added to the updater's direction or, as L2, before it."""
    decay = nonnegative(where, "weight_decay", weight_decay)
    if mask is False:
        decay = 0.0
    elif mask is not None and mask is not True:
        spared = ParamConfiguration(l2=0.0) if as_l2 else ParamConfiguration(weight_decay=0.0)
        layers = with_params(layers, masked_out(where, mask_name, mask), spared)
    return arguments.configure(
        where,
        updater,
        clip_norm=clip_norm,
        layers=layers,
        on_nonfinite=on_nonfinite,
        l2=decay if as_l2 else 0.0,
        decay=0.0 if as_l2 else decay,
        maximize=maximize,
    )
