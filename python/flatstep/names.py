"""The layers that keys of any form name: the rules of `create_updater`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .errors import ParameterKeyError
from .parameters import Arrays, KeyStyle, NamedParameter, name_text, named_parameters

__all__ = ["LayerOf", "named_by_rules"]

#: The layer of a key, or layer and parameter type.
LayerOf: TypeAlias = Callable[[str], str | int | tuple[str | int, str]]

#: Names of parameters that a key may begin with: W_out, bias_ih_l0.
_PARAMETER = re.compile(r"([WwUuVvb]|weights?|bias(?:es)?|kernel|gamma|beta)_(.+)")
_DOTTED = re.compile(r"(.+)[./]([^./]+)")
_JOINED = re.compile(r"(.+)_([^_]+)")
_NUMBERED = re.compile(r"(.*[^\d_])_?(\d+)")
_DL4J = re.compile(r"\d+_.+")


def _split(key: str) -> tuple[str | None, str]:
    """Layer, or None, and parameter type of a key."""
    if found := _DOTTED.fullmatch(key):
        return found[1], found[2]
    if found := _PARAMETER.fullmatch(key):
        return found[2], found[1]
    if found := _NUMBERED.fullmatch(key):
        return str(int(found[2])), found[1]
    if found := _JOINED.fullmatch(key):
        return found[1], found[2]
    return None, key


def named_by_rules(
    params: Arrays | np.ndarray[Any, Any], layer_of: LayerOf | None
) -> tuple[list[NamedParameter], KeyStyle]:
    """Parameters in any form with their names, and the style of the updater that they are for.

    Raises:
        ParameterKeyError, TypeError: as `flatstep.parameters.named_parameters`.
    """
    nested = isinstance(params, Mapping) and any(isinstance(v, Mapping) for v in params.values())
    if layer_of is not None and (nested or not isinstance(params, Mapping)):
        raise TypeError(
            "layer_of: expected it beside a flat dict {key: array}, whose keys it is asked about, "
            f"got it beside {'a nested one' if nested else type(params).__name__}; leave it out"
        )
    if isinstance(params, np.ndarray):
        return [NamedParameter("W", "0", "W", params)], KeyStyle.LAYER
    if isinstance(params, Sequence) or not isinstance(params, Mapping):
        return named_parameters(params, KeyStyle.MULTI_LAYER), KeyStyle.MULTI_LAYER
    keys = [name_text(key, "params: key") for key in params]
    if nested:
        style = _style_of(keys)
        return named_parameters(params, style), style
    if layer_of is None and all(map(_DL4J.fullmatch, keys)):
        return named_parameters(params, KeyStyle.MULTI_LAYER), KeyStyle.MULTI_LAYER
    if layer_of is None:
        parts = [_split(key) for key in keys]
    else:
        parts = [_told(key, layer_of(key)) for key in keys]
    layers = [layer for layer, _ in parts if layer is not None]
    named = [
        NamedParameter(key, layer or (key if layers else "0"), param, array)
        for key, (layer, param), array in zip(keys, parts, params.values(), strict=True)
    ]
    if not layers:
        return named, KeyStyle.LAYER
    return named, _style_of([parameter.layer for parameter in named])


def _style_of(layers: Sequence[str]) -> KeyStyle:
    numbered = all(re.fullmatch(r"0|[1-9][0-9]{0,8}", layer) for layer in layers)
    return KeyStyle.MULTI_LAYER if numbered else KeyStyle.COMPUTATION_GRAPH


def _told(key: str, told: Any) -> tuple[str, str]:
    """What `layer_of` says of a key; the parameter type, where it says none, by the rules."""
    layer, param = told if isinstance(told, tuple) and len(told) == 2 else (told, None)
    if isinstance(layer, (int, np.integer)) and not isinstance(layer, bool):
        layer = str(int(layer))
    if param is None:
        ruled = _split(key)
        param = ruled[1] if ruled[0] == layer else key
    if not (isinstance(layer, str) and layer and isinstance(param, str) and param):
        raise ParameterKeyError(
            f'layer_of: expected a layer for "{key}", a name or a number, or a pair of layer and '
            f"parameter type, got {told!r}"
        )
    return layer, param
