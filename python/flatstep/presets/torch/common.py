"""What all presets of torch.optim share."""

from __future__ import annotations

from typing import Any

from flatstep.configuration import MultiLayerConfiguration
from flatstep.presets import arguments
from flatstep.presets.arguments import Layers
from flatstep.updaters import Updater

__all__ = ["configure", "how_it_computes"]

#: What clip_grad_norm_ adds to the norm.
CLIP_EPSILON = 1e-6


def how_it_computes(
    where: str,
    *,
    foreach: bool | None = None,
    fused: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
) -> None:
    """Refuses what says how PyTorch computes, unless it is the default."""
    arguments.only(
        where,
        "it says how PyTorch computes and has no meaning here; leave it out",
        foreach=(foreach, None),
        fused=(fused, None),
        capturable=(capturable, False),
        differentiable=(differentiable, False),
    )


def configure(
    where: str,
    updater: Updater,
    *,
    clip_norm: float | None,
    layers: Layers,
    on_nonfinite: str,
    maximize: bool = False,
    weight_decay: Any = 0.0,
    decoupled: bool = False,
) -> MultiLayerConfiguration:
    """The configuration; weight decay is added to the gradient, or `decoupled` to the update."""
    decay = arguments.nonnegative(where, "weight_decay", weight_decay)
    return arguments.configure(
        where,
        updater,
        clip_norm=clip_norm,
        clip_epsilon=CLIP_EPSILON,
        layers=layers,
        on_nonfinite=on_nonfinite,
        l2=0.0 if decoupled else decay,
        decay=decay if decoupled else 0.0,
        maximize=maximize,
    )
