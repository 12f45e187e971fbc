"""An updater, with its parameters, from a checkpoint."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._shown import cut, listed, short, shown, whole
from .atomic_file import path_text
from .checkpoint import ACCUMULATED, Checkpoint, SavedSlot, read_checkpoint
from .configuration import LayerConfiguration, MultiLayerConfiguration
from .errors import CheckpointError
from .multi_layer_updater import (
    UPDATER_CLASSES,
    ComputationGraphUpdater,
    LayerUpdater,
    MultiLayerUpdater,
)
from .names import named_by_rules
from .network_updater import NamedParameters, NetworkUpdater
from .parameters import Arrays, KeyStyle, NamedParameter, by_layer, is_nested, named_as
from .state_dict import put_accumulated

__all__ = ["load_updater"]


def load_updater(
    path: str | os.PathLike[str], params: Arrays | NDArray[Any] | None = None, strict: bool = True
) -> MultiLayerUpdater | ComputationGraphUpdater | LayerUpdater:
    """The updater that `MultiLayerUpdater.save` wrote: it goes on bit for bit.

    Args:
        path: the file. The class of the updater and its configuration come from there; a
            CustomUpdater's class must be registered (`register_updater`).
        params: arrays of the file's layout: the same keys in the same order, shapes, memory orders
            and dtype, in any form that an updater takes. They are **overwritten** with the
            parameters in the file. None: new arrays, which are ``updater.parameters``.
        strict: whether it is an error if something is only in the file, or only in ``params``. If
            not, such parameters are left alone and their state is new, settings of layers and
            parameters that ``params`` does not have are dropped, a warning says so, and the order
            of parameters and their memory order may differ. Shapes and dtype never may.

    Returns:
        A new updater that works on ``params``, or on new arrays; its ``last_step`` is None, and no
        gradients are bound.

    Raises:
        CheckpointError: no checkpoint, damaged, or of another version, layout or dtype. Nothing was
            changed.
        OSError: the file cannot be read.
        ImportError: safetensors is not installed.
        TypeError, ValueError: ``params`` are not what an updater takes.

    Warns:
        UserWarning: with ``strict=False``, what was left out, by names such as ``"0_W/m"``.

    Example:
        >>> import tempfile, numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
        >>> updater.step({"0_W": np.ones(3)})
        >>> w = np.zeros(3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     updater.save(f"{folder}/run.safetensors")
        ...     restored = fs.load_updater(f"{folder}/run.safetensors", {"0_W": w})
        >>> restored == updater
        True
        >>> w.round(6)
        array([0.9, 0.9, 0.9])
    """
    checkpoint = read_checkpoint(path)
    name = f'"{path_text("load_updater", path)}"'
    cls = UPDATER_CLASSES.get(checkpoint.updater)
    if cls is None:
        raise CheckpointError(
            f"{name}: updater: expected one of {', '.join(UPDATER_CLASSES)}, got "
            f"{shown(checkpoint.updater)}"
        )
    if params is None:
        params = {
            slot.key: np.empty(slot.shape, checkpoint.parameters[slot.key].dtype, order=slot.order)
            for slot in checkpoint.layout
        }
    named = NamedParameters(by_layer(named_as_in_file(checkpoint.layout, params, cls.key_style)))
    _core.check_parameters([p.key for p in named], [p.array for p in named])
    given = [saved_slot(parameter) for parameter in named]
    for parameter in named:
        saved = checkpoint.parameters.get(parameter.key)
        if saved is not None and parameter.array.dtype != saved.dtype:
            package = "ml_dtypes" if saved.dtype.name == "bfloat16" else "np"
            raise CheckpointError(
                f"{name}: params: expected dtype {saved.dtype}, as in the file, got "
                f"{parameter.array.dtype}; convert them with .astype({package}.{saved.dtype})"
            )
    try:
        if cls is LayerUpdater:
            check_slots([dataclasses.replace(slot, layer="0") for slot in given], given)
        if strict:
            check_layout(checkpoint.layout, given)
        check_slots(checkpoint.layout, given)
        configuration, left_out = _without_absent(checkpoint.configuration, given)
        updater = cls(configuration, named, monitor=checkpoint.monitor)
        left_out += _restore_all_but_parameters(updater, checkpoint)
    except (TypeError, ValueError) as error:
        raise CheckpointError(whole(f"{name}: {error}")) from short(error)
    if left_out and strict:
        raise CheckpointError(
            f"{name}: only in the file, or missing there: {listed(left_out)}; expected the "
            "state of the same updaters (strict=False leaves these out)"
        )
    if left_out:
        warnings.warn(
            f"{name}: left out, as it is only in the file or only in params: {listed(left_out)}",
            stacklevel=2,
        )
    for key, array in updater.parameters.items():
        if key in checkpoint.parameters:
            array[...] = checkpoint.parameters[key]
    return updater


def named_as_in_file(
    saved: Sequence[SavedSlot], params: Arrays | NDArray[Any], style: KeyStyle
) -> list[NamedParameter]:
    """Parameters by the names in the file, and others as `create_updater` reads them."""
    if not isinstance(params, Mapping) or any(map(is_nested, params.values())):
        return named_as(saved, params, style)
    ruled = {parameter.key: parameter for parameter in named_by_rules(params, None)[0]}
    known = {slot.key: slot for slot in saved}
    names = {key: known.get(key, parameter) for key, parameter in ruled.items()}
    return [
        NamedParameter(key, names[key].layer, names[key].param, parameter.array)
        for key, parameter in ruled.items()
    ]


def saved_slot(parameter: NamedParameter) -> SavedSlot:
    """What a checkpoint would say of a parameter."""
    order: Literal["C", "F"] = "C" if parameter.array.flags.c_contiguous else "F"
    return SavedSlot(parameter.key, parameter.layer, parameter.param, parameter.array.shape, order)


def check_layout(saved: Iterable[SavedSlot], given: Iterable[SavedSlot]) -> None:
    """The same parameters in the same order, each in the same memory order."""
    expected = {slot.key: slot for slot in saved}
    got = {slot.key: slot for slot in given}
    missing = [key for key in expected if key not in got]
    unknown = [key for key in got if key not in expected]
    if missing or unknown:
        raise ValueError(
            f"params: expected those of the file, {listed(expected)}; missing: "
            f"{listed(missing) or 'none'}; unknown: {listed(unknown) or 'none'} "
            "(strict=False leaves these out)"
        )
    if list(got) != list(expected):
        raise ValueError(
            f"params: expected the file's order, {listed(expected)}, got {listed(got)}"
        )
    for key, slot in got.items():
        if slot.order != expected[key].order:
            remedy = "np.asfortranarray" if slot.order == "C" else "np.ascontiguousarray"
            raise ValueError(
                f'parameter "{cut(key)}": expected memory order {expected[key].order}, as in the '
                f"file, got {slot.order}; use {remedy}"
            )


def check_slots(saved: Iterable[SavedSlot], given: Iterable[SavedSlot]) -> None:
    """Whatever has a name in common is of one shape and layer."""
    known = {slot.key: slot for slot in saved}
    for slot in given:
        expected = known.get(slot.key, slot)
        if slot.shape != expected.shape:
            raise ValueError(
                f'parameter "{cut(slot.key)}": expected shape {cut(str(expected.shape))}, as in '
                f"the file, got {slot.shape}"
            )
        if slot.layer != expected.layer:
            raise ValueError(
                f'parameter "{cut(slot.key)}": expected it in layer "{cut(expected.layer)}", as in '
                f'the file, got "{cut(slot.layer)}"'
            )


def _without_absent(
    configuration: MultiLayerConfiguration, layout: Iterable[SavedSlot]
) -> tuple[MultiLayerConfiguration, list[str]]:
    """The configuration without what is for layers and parameters that there are none of."""
    present = {(slot.layer, slot.param) for slot in layout}
    layers_there = {layer for layer, _ in present}
    layers: dict[str, LayerConfiguration] = {}
    left_out = []
    for name, layer in configuration.layers.items():
        if name not in layers_there:
            left_out.append(f"configuration.layers.{name}")
            continue
        absent = {param: None for param in layer.params if (name, param) not in present}
        left_out += [f"configuration.layers.{name}.params.{param}" for param in absent]
        kept = {param: own for param, own in layer.params.items() if param not in absent}
        layers[name] = dataclasses.replace(layer, params=kept)
    return dataclasses.replace(configuration, layers=layers), left_out


def _restore_all_but_parameters(updater: NetworkUpdater, checkpoint: Checkpoint) -> list[str]:
    """Restores state, rates, counters and sums; returns what is on one side only."""
    parameters = updater.parameters
    left_out = [key for key in checkpoint.parameters if key not in parameters]
    left_out += [key for key in parameters if key not in checkpoint.parameters]
    sums_left_out = [f"{key}/{ACCUMULATED}" for key in left_out]
    left_out += updater.load_state_dict(checkpoint.state_dict, strict=False)
    put_accumulated(updater, parameters, checkpoint.accumulated)
    if checkpoint.accumulated is not None:
        left_out += sums_left_out
    return left_out
