"""The gradient-normalisation strategies."""

from __future__ import annotations

from enum import Enum

__all__ = ["GradientNormalization"]


class GradientNormalization(str, Enum):
    r"""What is done to a layer's gradient g before the updater sees it; ‖·‖ is the L2 norm.

    ============================  =======  ====================================================
    strategy                      group    effect
    ============================  =======  ====================================================
    NoNormalization (``"None"``)           none
    RenormalizeL2PerLayer         layer    g / ‖g‖
    RenormalizeL2PerParamType     slot     g / ‖g‖
    ClipElementWiseAbsoluteValue  element  clamp to [−threshold, threshold]
    ClipL2PerLayer                layer    g·threshold/‖g‖ if ‖g‖ > threshold
    ClipL2PerParamType            slot     g·threshold/‖g‖ if ‖g‖ > threshold
    ClipL2Global                  network  g·threshold/‖g‖ if ‖g‖ > threshold
    ============================  =======  ====================================================

    A zero gradient stays zero. The group of ClipL2Global is every slot but statistics, frozen
    layers and layers with a strategy of their own, as in ``torch.nn.utils.clip_grad_norm_``; it can
    be set for the network only. The names are Deeplearning4j's, but for ClipL2Global, which it does
    not have. Wherever a strategy is expected, its name as a string will do.

    Clipping by norm: Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063.

    Example:
        >>> import flatstep as fs
        >>> fs.GradientNormalization("ClipL2PerLayer")
        GradientNormalization.ClipL2PerLayer
        >>> fs.GradientNormalization.ClipL2PerLayer == "ClipL2PerLayer"
        True
    """

    NoNormalization = "None"
    RenormalizeL2PerLayer = "RenormalizeL2PerLayer"
    RenormalizeL2PerParamType = "RenormalizeL2PerParamType"
    ClipElementWiseAbsoluteValue = "ClipElementWiseAbsoluteValue"
    ClipL2PerLayer = "ClipL2PerLayer"
    ClipL2PerParamType = "ClipL2PerParamType"
    ClipL2Global = "ClipL2Global"

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @classmethod
    def _missing_(cls, value: object) -> GradientNormalization:
        names = ", ".join(f'"{strategy.value}"' for strategy in cls)
        got = f'"{value}"' if isinstance(value, str) else repr(value)
        raise ValueError(f"gradient_normalization: expected one of {names}, got {got}")
