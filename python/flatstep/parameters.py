"""Parameters and gradients in the forms that callers have them: flat or nested dicts, sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import ParameterKeyError
from .layout import Slot

__all__ = [
    "Arrays",
    "KeyStyle",
    "NamedParameter",
    "flatten",
    "in_slot_order",
    "named_parameters",
]

#: ``{"0_W": a}``, ``{"fc1": {"kernel": a}}``, ``[{"W": a}, …]`` or ``[[a, b], …]``.
Arrays: TypeAlias = Mapping[Any, Any] | Sequence[Any]

_ALIGNMENT = 64


class KeyStyle(Enum):
    """How a parameter's key names its layer."""

    MULTI_LAYER = "an integer layer, '_' and the parameter type, such as \"0_W\""
    COMPUTATION_GRAPH = "a vertex name, '_' and the parameter type, such as \"fc1_W\""
    LAYER = 'a parameter type, such as "W"'

    def split(self, key: str) -> tuple[str, str]:
        """Layer and parameter type of a key; raises ParameterKeyError."""
        if self is KeyStyle.LAYER:
            layer, param = "0", key
        else:
            try:
                layer, param = _core.parse_key(key, self is KeyStyle.COMPUTATION_GRAPH)
            except ParameterKeyError as error:
                # The text of a missing separator is DL4J's own, and says nothing of what to do.
                if "_" not in key and hasattr(error, "add_note"):  # Python 3.11
                    error.add_note(
                        f"Note: flat keys are {self.value}; nested ones may have any names: "
                        '{"fc1": {"weight": a}}'
                    )
                raise
        if "." in param:  # PyTorch's names, of which "_" would cut off a part at random
            outer, _, inner = key.rpartition(".")
            raise ParameterKeyError(
                f'Invalid key: "{key}": expected a parameter type without ".", got "{param}"; nest '
                f'names such as PyTorch\'s: {{"{outer}": {{"{inner}": array}}}}'
            )
        return layer, param


class NamedParameter(NamedTuple):
    """An array with the name of its slot."""

    key: str
    layer: str
    param: str
    array: Any


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _name(value: object, what: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ParameterKeyError(
                f"{what}: expected text that UTF-8 can write, got {value!a} with a lone "
                "surrogate; use another name"
            ) from None
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(f"{what}: expected a str or an int, got {type(value).__name__}")


def _layer_items(layer: object) -> Iterator[tuple[str, Any]]:
    """The parameters of one layer: a mapping by name, or arrays named by their position."""
    if isinstance(layer, Mapping):
        for param, array in layer.items():
            yield _name(param, "parameter name"), array
    elif _is_sequence(layer):
        for position, array in enumerate(layer):  # type: ignore[arg-type]
            yield str(position), array
    else:
        yield "0", layer


def named_parameters(arrays: Arrays, style: KeyStyle, what: str = "params") -> list[NamedParameter]:
    """Any accepted form as one list of named arrays, in order.

    Raises:
        ParameterKeyError: a key that cannot be split into layer and parameter type.
        TypeError: a form that is not accepted.
    """
    if isinstance(arrays, Mapping):
        if style is not KeyStyle.LAYER and any(
            isinstance(value, Mapping) for value in arrays.values()
        ):
            return _named_by_layer(arrays.items(), style, what)
        return [_split(_name(key, f"{what}: key"), array, style) for key, array in arrays.items()]
    if _is_sequence(arrays):
        if style is KeyStyle.LAYER:
            return [NamedParameter(p, "0", p, a) for p, a in _layer_items(arrays)]
        return _named_by_layer(enumerate(arrays), style, what)
    raise TypeError(
        f"{what}: expected a mapping or a sequence of arrays, got {type(arrays).__name__}"
    )


def _split(key: str, array: Any, style: KeyStyle) -> NamedParameter:
    return NamedParameter(key, *style.split(key), array)


def _named_by_layer(items: Any, style: KeyStyle, what: str) -> list[NamedParameter]:
    named = []
    for layer, params in items:
        layer_name = _name(layer, f"{what}: layer")
        if params is None and what == "gradients":
            continue  # absent, as a frozen layer's may be
        for param, array in _layer_items(params):
            key = f"{layer_name}_{param}"
            if style is KeyStyle.MULTI_LAYER:
                _core.check_layer_index(key, layer_name, param)
            named.append(NamedParameter(key, layer_name, param, array))
    return named


def in_slot_order(
    layout: Sequence[Slot], frozen: Collection[str], style: KeyStyle, gradients: Any
) -> list[Any]:
    """Any accepted form of gradients as one object per slot; None for an absent one.

    Args:
        frozen: the layers whose gradients may be absent.
    """
    if isinstance(gradients, np.ndarray):
        return _split_flat(layout, gradients)
    places = {slot.key: place for place, slot in enumerate(layout)}
    found: list[Any] = [None] * len(layout)
    given = set()
    for named in _named_gradients(style, gradients, places):
        place = places.get(named.key)
        if place is None:
            raise ParameterKeyError(
                f'gradients: unknown key "{named.key}"; expected {_list(places)}'
            )
        if named.key in given:
            raise ParameterKeyError(f'gradients: the key "{named.key}" occurs twice')
        found[place] = named.array
        given.add(named.key)
    missing = [slot.key for slot in layout if slot.key not in given and slot.layer not in frozen]
    if missing:
        raise ParameterKeyError(
            f"gradients: missing {_list(missing)}; expected one gradient per parameter (only a "
            "frozen layer's may be missing)"
        )
    for slot, array in zip(layout, found, strict=True):
        if array is None and slot.layer not in frozen:
            raise TypeError(
                f'gradient "{slot.key}": expected a NumPy array, got None; only a frozen layer\'s '
                "gradient may be absent"
            )
    return found


def _named_gradients(
    style: KeyStyle, gradients: Any, places: Mapping[str, int]
) -> list[NamedParameter]:
    if isinstance(gradients, Mapping) and all(
        isinstance(key, str) and key in places for key in gradients
    ):
        return [NamedParameter(key, "", "", array) for key, array in gradients.items()]
    return named_parameters(gradients, style, "gradients")


def _split_flat(layout: Sequence[Slot], flat: NDArray[Any]) -> list[Any]:
    """A flat gradient, partitioned as the flat view of the parameters is."""
    size = sum(slot.size for slot in layout)
    if flat.shape != (size,):
        raise ValueError(
            f"gradients: expected shape ({size},), that of the flat view, or one array per "
            f"parameter, got one array of shape {flat.shape}"
        )
    return [
        flat[slot.offset : slot.offset + slot.size].reshape(slot.shape, order=slot.order)
        for slot in layout
    ]


def _list(keys: Any, most: int = 12) -> str:
    quoted = [f'"{key}"' for key in keys]
    if len(quoted) > most:
        quoted[most:] = [f"… ({len(quoted)} in all)"]
    return ", ".join(quoted)


def flatten(params: Arrays) -> tuple[NDArray[Any], Any]:
    """Lay out parameters in one buffer that starts at a multiple of 64 bytes.

    Args:
        params: in any form that an updater takes; arrays of one dtype, float32 or float64. A
            Fortran-ordered array keeps its order.

    Returns:
        ``(flat, views)``: a new one-dimensional array with all values, and the structure of
        ``params``, in dicts and lists, whose arrays are views of it. ``params`` is left alone. An
        array that occurs twice becomes two.

    Raises:
        TypeError: arrays of more than one dtype, or something that is no array.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> flat, views = fs.flatten({"0_W": np.ones((2, 3)), "0_b": np.zeros(3)})
        >>> views["0_b"][:] = 7
        >>> flat
        array([1., 1., 1., 1., 1., 1., 7., 7., 7.])
        >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), views)
    """
    leaves = dict(_leaves(params, "params"))
    if not leaves:
        raise ValueError("params: expected at least one array, got none")
    arrays = list(leaves.values())
    dtype = arrays[0].dtype
    if dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{next(iter(leaves))}: expected dtype float32 or float64, got {dtype}; convert it "
            "with .astype(np.float32)"
        )
    for place, array in leaves.items():
        if array.dtype != dtype:
            raise TypeError(
                f"{place}: expected dtype {dtype}, that of the first array, got {array.dtype}; "
                f"convert it with .astype(np.{dtype})"
            )
    size = sum(array.size for array in arrays)
    memory = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    flat = memory[start : start + size * dtype.itemsize].view(dtype)
    offset = 0

    def view_of(array: NDArray[Any]) -> NDArray[Any]:
        nonlocal offset
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        view = flat[offset : offset + array.size].reshape(
            array.shape, order="F" if fortran else "C"
        )
        view[...] = array
        offset += array.size
        return view

    return flat, _map(params, view_of)


def _leaves(tree: Any, place: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of a tree, each with where it stands, such as ``params['0_W']``."""
    if isinstance(tree, np.ndarray):
        yield place, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{place}[{key!r}]")
    elif _is_sequence(tree):
        for position, value in enumerate(tree):
            yield from _leaves(value, f"{place}[{position}]")
    else:
        raise TypeError(f"{place}: expected a NumPy array, got {type(tree).__name__}")


def _map(tree: Any, function: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: _map(value, function) for key, value in tree.items()}
    return [_map(value, function) for value in tree]
