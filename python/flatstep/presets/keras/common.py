"""What all presets of keras.optimizers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from flatstep._coerce import strings
from flatstep.configuration import MultiLayerConfiguration
from flatstep.normalization import GradientNormalization
from flatstep.presets import arguments
from flatstep.presets.arguments import Layers, fraction, nonnegative, only
from flatstep.schedules import MapSchedule
from flatstep.updaters import Updater

__all__ = ["Base"]


@dataclass(frozen=True)
class Base:
    """The arguments that every optimizer of Keras has, and those that every preset has."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    exclude_from_weight_decay: Sequence[str]
    clip_norm: float | None
    layers: Layers
    on_nonfinite: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Base:
        """Those among the arguments of a preset, which are its ``locals()``."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})

    def decay(self, where: str) -> float:
        """The weight decay, 0 for None."""
        if self.weight_decay is None:
            return 0.0
        return nonnegative(where, "weight_decay", self.weight_decay)

    def configure(
        self, where: str, updater: Updater, without_decay: Updater | None = None
    ) -> MultiLayerConfiguration:
        """The configuration of an updater.

        Where the updater decays by itself, `without_decay` is the one for parameters that do not.
        """
        self._check(where)
        settings = self._average(where)
        excluded = strings(where, "exclude_from_weight_decay", self.exclude_from_weight_decay)
        decay = self.decay(where) if without_decay is None else 0.0
        if excluded:
            settings["bias_params"] = excluded
            settings["weight_decay_bias"] = 0.0
            settings["bias_updater"] = without_decay
        clip_norm = self.clip_norm or self.global_clipnorm or None
        if self.clipnorm:
            settings["gradient_normalization"] = GradientNormalization.ClipL2PerParamType
        elif self.clipvalue:
            settings["gradient_normalization"] = GradientNormalization.ClipElementWiseAbsoluteValue
        if self.clipnorm or self.clipvalue:
            settings["gradient_normalization_threshold"] = self.clipnorm or self.clipvalue
        return arguments.configure(
            where,
            updater,
            clip_norm=clip_norm,
            layers=self.layers,
            on_nonfinite=self.on_nonfinite,
            decay=decay,
            **settings,
        )

    def _check(self, where: str) -> None:
        only(
            where,
            "divide the gradients by it before the step",
            loss_scale_factor=(self.loss_scale_factor, None),
        )
        only(
            where,
            "call the updater's accumulate with each gradient and step without one",
            gradient_accumulation_steps=(self.gradient_accumulation_steps, None),
        )
        only(
            where,
            "the averages stay beside the parameters, which none of them overwrites",
            ema_overwrite_frequency=(self.ema_overwrite_frequency, None),
        )
        clips = {
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "clip_norm": self.clip_norm,
        }
        given = [name for name, value in clips.items() if value is not None]
        for name in given:
            nonnegative(where, name, clips[name])
        if len(given) > 1:
            raise ValueError(
                f"{where}: {given[0]}: expected one way of clipping, got {', '.join(given)} as well"
            )

    def _average(self, where: str) -> dict[str, Any]:
        momentum = fraction(where, "ema_momentum", self.ema_momentum)
        # Keras' average starts at the parameter after the first step.
        return {"average_decay": MapSchedule({0: 0.0, 1: momentum})} if self.use_ema else {}
