"""The layers that keys of any form name: the rules of `create_updater`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .errors import ParameterKeyError
from .parameters import (
    Arrays,
    KeyStyle,
    NamedParameter,
    is_nested,
    name_text,
    named_parameters,
)

__all__ = ["LayerOf", "named_by_rules"]

#: The layer of a key, or layer and parameter type.
LayerOf: TypeAlias = Callable[[str], str | int | tuple[str | int, str]]

_NAMES = "[WwUuVvb]|weights?|bias(?:es)?|kernel|gamma|beta"
#: Names of parameters that a key may begin with, or that stand before a number at its end.
_FIRST = re.compile(rf"({_NAMES})_(.+)")
_LAST = re.compile(rf"(.+)_({_NAMES})")
_DOTTED = re.compile(r"(.+)[./]([^./]+)")
_JOINED = re.compile(r"(.+)_([^_]+)")
_NUMBERED = re.compile(r"(.*[^\d_])_?(\d+)")
_DL4J = re.compile(r"(?:0|[1-9][0-9]{0,8})_[^./]+")


def _split(key: str) -> tuple[str | None, str]:
    """Layer, or None, and parameter type of a key."""
    if found := _DOTTED.fullmatch(key):
        return found[1], found[2]
    if found := _LAST.fullmatch(key):
        return found[1], found[2]
    if found := _FIRST.fullmatch(key):
        return found[2], found[1]
    if found := _NUMBERED.fullmatch(key):
        number = str(int(found[2]))
        inner = _LAST.fullmatch(found[1])
        return (f"{inner[1]}{number}", inner[2]) if inner else (number, found[1])
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
    nested = isinstance(params, Mapping) and any(map(is_nested, params.values()))
    if layer_of is not None:
        _check_layer_of(layer_of, params, nested)
    if isinstance(params, np.ndarray):
        return [NamedParameter("W", "0", "W", params)], KeyStyle.LAYER
    if nested or not isinstance(params, Mapping):
        named = named_parameters(params, KeyStyle.COMPUTATION_GRAPH)
        return named, _style_of(named)
    keys = [name_text(key, "params: key") for key in params]
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
    _require_different(named)
    return named, _style_of(named) if layers else KeyStyle.LAYER


def _check_layer_of(layer_of: object, params: object, nested: bool) -> None:
    if not callable(layer_of):
        raise TypeError(
            f"layer_of: expected a function of a key, got {layer_of!r} of type "
            f"{type(layer_of).__name__}"
        )
    if nested or not isinstance(params, Mapping):
        raise TypeError(
            "layer_of: expected it beside a flat dict {key: array}, whose keys it is asked about, "
            f"got it beside {'a nested one' if nested else type(params).__name__}; leave it out"
        )


def _require_different(named: Sequence[NamedParameter]) -> None:
    """That no two keys are the same parameter of the same layer: reports are by these."""
    keys: dict[tuple[str, str], str] = {}
    for parameter in named:
        other = keys.setdefault((parameter.layer, parameter.param), parameter.key)
        if other != parameter.key:
            raise ParameterKeyError(
                f'params: "{other}" and "{parameter.key}" are both read as "{parameter.param}" of '
                f'layer "{parameter.layer}"; rename one, or say what they are: '
                "layer_of=lambda key: (layer, parameter type)"
            )


def _style_of(named: Sequence[NamedParameter]) -> KeyStyle:
    numbered = all(re.fullmatch(r"0|[1-9][0-9]{0,8}", parameter.layer) for parameter in named)
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
