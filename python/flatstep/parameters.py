"""Parameters and gradients in the forms that callers have them: flat or nested dicts, sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import ParameterKeyError
from .layout import Slot

__all__ = [
    "Arrays",
    "KeyStyle",
    "NamedParameter",
    "by_layer",
    "flatten",
    "in_slot_order",
    "is_nested",
    "name_text",
    "named_as",
    "named_parameters",
    "quoted_list",
]

#: ``{"0_W": a}``, ``{"fc1": {"kernel": a}}``, ``[{"W": a}, …]`` or ``[[a, b], …]``.
Arrays: TypeAlias = Mapping[Any, Any] | Sequence[Any]

_ALIGNMENT = 64


class KeyStyle(Enum):
    """How a parameter's key names its layer."""

    MULTI_LAYER = "an integer layer, '_' and the parameter type, such as \"0_W\""
    COMPUTATION_GRAPH = "a vertex name, '_' and the parameter type, such as \"fc1_W\""
    LAYER = 'a parameter type, such as "W"'

    def split(self, key: str, remedy: str = "") -> tuple[str, str]:
        """Layer and parameter type of a key.

        Args:
            remedy: what to do about a key that cannot be split; not given: what to do about a
                parameter's.

        Raises:
            ParameterKeyError: it cannot be split.
        """
        if self is KeyStyle.LAYER:
            layer, param = "0", key
        else:
            try:
                layer, param = _core.parse_key(key, self is KeyStyle.COMPUTATION_GRAPH)
            except ParameterKeyError as error:
                if "_" in key:
                    raise
                # The text of a missing separator is DL4J's own, and says nothing of what to do.
                remedy = remedy or (
                    f"flat keys are {self.value}: use create_updater, which takes any names, or "
                    'nest them: {"fc1": {"weight": array}}'
                )
                raise ParameterKeyError(f"{error}; {remedy}") from None
        if "." in param:  # PyTorch's names, of which "_" would cut off a part at random
            outer, _, inner = key.rpartition(".")
            remedy = remedy or (
                "use create_updater, which takes any names, or nest such as PyTorch's: "
                f'{{"{outer}": {{"{inner}": array}}}}'
            )
            raise ParameterKeyError(
                f'Invalid key: "{key}": expected a parameter type without ".", got "{param}"; '
                f"{remedy}"
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


def is_nested(value: object) -> bool:
    """Whether a mapping's value holds parameters by name itself: a mapping, or a list of them."""
    if isinstance(value, Mapping):
        return True
    return _is_sequence(value) and any(isinstance(item, Mapping) for item in value)  # type: ignore[attr-defined]


def name_text(value: object, what: str) -> str:
    """The name of a layer, parameter or key as text; integers are names of layers.

    Raises:
        TypeError: neither.
        ParameterKeyError: text that UTF-8 cannot write.
    """
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
            yield name_text(param, "parameter name"), array
    elif _is_sequence(layer):
        for position, array in enumerate(layer):  # type: ignore[arg-type]
            yield str(position), array
    else:
        yield "0", layer


def named_parameters(
    arrays: Arrays | NDArray[Any], style: KeyStyle, what: str = "params"
) -> list[NamedParameter]:
    """Any accepted form as one list of named arrays, in order.

    Raises:
        ParameterKeyError: a key that cannot be split into layer and parameter type.
        TypeError: a form that is not accepted.
    """
    if isinstance(arrays, Mapping):
        if style is not KeyStyle.LAYER and any(map(is_nested, arrays.values())):
            return _named_by_layer(arrays.items(), style, what)
        keys = [name_text(key, f"{what}: key") for key in arrays]
        return [
            NamedParameter(key, *style.split(key), array)
            for key, array in zip(keys, arrays.values(), strict=True)
        ]
    if _is_sequence(arrays):
        if style is KeyStyle.LAYER:
            return [NamedParameter(p, "0", p, a) for p, a in _layer_items(arrays)]
        return _named_by_layer(enumerate(arrays), style, what)
    raise TypeError(
        f"{what}: expected a mapping or a sequence of arrays, got {type(arrays).__name__}"
    )


class _Named(Protocol):
    """What has a slot's name: a `Slot`, a `NamedParameter`, what a checkpoint says of one."""

    @property
    def key(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def param(self) -> str: ...


def named_as(
    names: Sequence[_Named], arrays: Arrays | NDArray[Any], style: KeyStyle, what: str = "params"
) -> list[NamedParameter]:
    """Arrays in any accepted form by the names of an updater's slots.

    Keys that these have need no form; others are split as the style says, unless the names are not
    of that style either.
    """
    if isinstance(arrays, np.ndarray) and len(names) == 1:
        return [NamedParameter(names[0].key, names[0].layer, names[0].param, arrays)]
    if not isinstance(arrays, Mapping) or any(map(is_nested, arrays.values())):
        return named_parameters(arrays, style, what)
    known = {name.key: name for name in names}
    in_style = all(name.key in (name.param, f"{name.layer}_{name.param}") for name in names)
    named = []
    for key, array in arrays.items():
        text = name_text(key, f"{what}: key")
        if text in known or not in_style:
            name = known.get(text)
            parts = ("", text) if name is None else (name.layer, name.param)
            named.append(NamedParameter(text, *parts, array))
        else:
            remedy = f"expected {quoted_list(known)}" if what == "gradients" else ""
            named.append(NamedParameter(text, *style.split(text, remedy), array))
    return named


def by_layer(named: Iterable[NamedParameter]) -> list[NamedParameter]:
    """The parameters with those of each layer next to each other, layers by their first one."""
    layers: dict[str, list[NamedParameter]] = {}
    for parameter in named:
        layers.setdefault(parameter.layer, []).append(parameter)
    return [parameter for layer in layers.values() for parameter in layer]


def _named_by_layer(
    items: Any, style: KeyStyle, what: str, outer: str = ""
) -> list[NamedParameter]:
    named: list[NamedParameter] = []
    for layer, params in items:
        layer_name = outer + name_text(layer, f"{what}: layer")
        if params is None and what == "gradients":
            continue  # absent, as a frozen layer's may be
        if isinstance(params, Mapping) and any(map(is_nested, params.values())):
            named += _named_by_layer(params.items(), style, what, f"{layer_name}.")
            continue
        if _is_sequence(params) and is_nested(params):
            named += _named_by_layer(enumerate(params), style, what, f"{layer_name}.")
            continue
        for param, array in _layer_items(params):
            key = f"{layer_name}_{param}"
            if style is KeyStyle.MULTI_LAYER:
                _core.check_layer_index(key, layer_name, param)
            elif not isinstance(params, Mapping) and not _is_sequence(params):
                param = layer_name.rpartition(".")[2]  # an array beside layers: its name is its own
            named.append(NamedParameter(key, layer_name, param, array))
    return named


def in_slot_order(
    layout: Sequence[Slot],
    frozen: Collection[str],
    style: KeyStyle,
    gradients: Any,
    only_read: bool = True,
    allow_copy: bool = False,
) -> list[Any]:
    """Any accepted form of gradients as one object per slot; None for an absent one.

    Args:
        frozen: the layers whose gradients may be absent.
        only_read: whether nobody keeps them or writes into them: then a NumPy scalar will do.
        allow_copy: whether arrays in another memory order than their slot's are copied.
    """
    if isinstance(gradients, (np.ndarray, np.generic)):
        if len(layout) == 1 and gradients.shape == layout[0].shape:
            found: list[Any] = [gradients]
        else:
            found = _split_flat(layout, np.asarray(gradients))
    else:
        found = _by_slot(layout, frozen, style, gradients)
    return [
        _as_array(slot, array, only_read, allow_copy)
        for slot, array in zip(layout, found, strict=True)
    ]


def _as_array(slot: Slot, value: Any, only_read: bool, allow_copy: bool) -> Any:
    """A NumPy scalar as the array without dimensions that it stands for, and copies."""
    if only_read and isinstance(value, np.generic) and slot.shape == ():
        return np.asarray(value)
    if allow_copy and isinstance(value, np.ndarray) and value.shape == slot.shape:
        return np.require(value, None, ["A", slot.order])
    return value


def _by_slot(
    layout: Sequence[Slot], frozen: Collection[str], style: KeyStyle, gradients: Any
) -> list[Any]:
    """Mappings and sequences of gradients as one object per slot."""
    places = {slot.key: place for place, slot in enumerate(layout)}
    found: list[Any] = [None] * len(layout)
    given = set()
    for named in named_as(layout, gradients, style, "gradients"):
        place = places.get(named.key)
        if place is None and not isinstance(gradients, Mapping):
            raise ParameterKeyError(
                "gradients: expected a dict by key, as the parameters have names "
                f"({quoted_list(places)}), got a {type(gradients).__name__}"
            )
        if place is None:
            raise ParameterKeyError(
                f'gradients: unknown key "{named.key}"; expected {quoted_list(places)}'
            )
        if named.key in given:
            raise ParameterKeyError(f'gradients: the key "{named.key}" occurs twice')
        found[place] = named.array
        given.add(named.key)
    missing = [slot.key for slot in layout if slot.key not in given and slot.layer not in frozen]
    if missing:
        raise ParameterKeyError(
            f"gradients: missing {quoted_list(missing)}; expected one gradient per parameter (only "
            "a frozen layer's may be missing)"
        )
    for slot, array in zip(layout, found, strict=True):
        if array is None and slot.layer not in frozen:
            raise TypeError(
                f'gradient "{slot.key}": expected a NumPy array, got None; only a frozen layer\'s '
                "gradient may be absent"
            )
    return found


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


def quoted_list(keys: Iterable[str], most: int = 12) -> str:
    """Keys as a message lists them: the first of them, and how many there are."""
    quoted = [f'"{key}"' for key in keys]
    if len(quoted) > most:
        quoted[most:] = [f"… ({len(quoted)} in all)"]
    return ", ".join(quoted)


def flatten(params: Arrays) -> tuple[NDArray[Any], Any]:
    """Lay out parameters in one buffer that starts at a multiple of 64 bytes.

    Args:
        params: in any form that an updater takes; arrays of one dtype, float32, float64, bfloat16
            or float16. A Fortran-ordered array keeps its order.

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
    if dtype.name not in ("float32", "float64", "bfloat16", "float16"):
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
