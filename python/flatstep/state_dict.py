"""State dicts: what a step may change but the parameters, by name, as plain Python and NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._coerce import is_number
from .errors import ParameterKeyError

if TYPE_CHECKING:
    from .multi_layer_updater import NetworkUpdater

__all__ = ["make_state_dict", "take_state_dict"]

_VERSION = 1
# The last value of a counter that leaves room for the step after it.
_MOST = 2**63 - 2
_COUNTERS = ("iteration", "epoch", "skipped_steps")
_MAPPINGS = ("state", "learning_rate", "momentum")

Rates = list[tuple[float | None, float | None]]


def make_state_dict(updater: NetworkUpdater) -> dict[str, Any]:
    """See `NetworkUpdater.state_dict`."""
    keys = [slot.key for slot in updater.layout]
    rates = dict(zip(keys, updater._rates(), strict=True))
    return {
        "version": _VERSION,
        "dtype": str(updater.dtype),
        "iteration": updater.iteration,
        "epoch": updater.epoch,
        "skipped_steps": updater.skipped_steps,
        "state": {
            key: {name: array.copy(order="K") for name, array in arrays.items()}
            for key in keys
            if (arrays := updater.state(key))
        },
        "learning_rate": {key: rate for key, (rate, _) in rates.items() if rate is not None},
        "momentum": {key: value for key, (_, value) in rates.items() if value is not None},
    }


def take_state_dict(updater: NetworkUpdater, given: Any, strict: bool) -> list[str]:
    """See `NetworkUpdater.load_state_dict`: everything is checked before anything is written."""
    if not isinstance(given, Mapping):
        raise TypeError(f"state_dict: expected what state_dict() gave, got {type(given).__name__}")
    version = given.get("version")
    if version != _VERSION:
        raise ValueError(f"state_dict: expected version {_VERSION}, got {version!r}")
    if given.get("dtype") != str(updater.dtype):
        raise ValueError(
            f"state_dict: expected dtype {updater.dtype}, got {given.get('dtype')}; make the "
            "updater with parameters of that dtype"
        )
    for name in _MAPPINGS:
        if not isinstance(given.get(name, {}), Mapping):
            raise TypeError(
                f"state_dict: {name}: expected a mapping by key, got {type(given[name]).__name__}"
            )
    left_out: list[str] = []
    pairs = _matching_state(updater, given.get("state", {}), left_out)
    rates = _matching_rates(updater, given, left_out)
    counters = {name: getattr(updater, name) for name in _COUNTERS}
    for name in _COUNTERS:
        if name in given:
            counters[name] = _counter(name, given[name])
        else:
            left_out.append(name)
    known = ("version", "dtype", *_COUNTERS, *_MAPPINGS)
    left_out.extend(str(name) for name in given if name not in known)
    if left_out and strict:
        raise ParameterKeyError(
            f"state_dict: missing or unknown: {', '.join(left_out)}; expected the state of the "
            "same parameters and updaters (strict=False leaves these out)"
        )
    with updater._held():
        for target, source in pairs:
            target[...] = source
        updater._set_rates(rates)
        updater._set_counters(*counters.values())
    return left_out


def _matching_state(
    updater: NetworkUpdater, given: Mapping[str, Any], left_out: list[str]
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Arrays to write, and what to write into them."""
    pairs = []
    own = {slot.key: updater.state(slot.key) for slot in updater.layout}
    for key, arrays in given.items():
        if not isinstance(arrays, Mapping):
            raise TypeError(
                f'state_dict: state["{key}"]: expected a mapping by name, such as '
                f'{{"m": array}}, got {type(arrays).__name__}'
            )
        left_out.extend(f"{key}/{name}" for name in arrays if name not in own.get(key, {}))
        if key not in own and not arrays:
            left_out.append(str(key))
    for key, targets in own.items():
        arrays = given.get(key, {})
        for name, target in targets.items():
            if arrays.get(name) is None:
                left_out.append(f"{key}/{name}")
                continue
            source = np.asarray(arrays[name])
            if source.shape != target.shape or source.dtype != target.dtype:
                raise ValueError(
                    f'state_dict: "{key}/{name}": expected {target.dtype} of shape '
                    f"{target.shape}, got {source.dtype} of shape {source.shape}"
                )
            pairs.append((target, source))
    return pairs


def _matching_rates(
    updater: NetworkUpdater, given: Mapping[str, Any], left_out: list[str]
) -> Rates:
    """Rate and momentum of each slot, where they are state."""
    columns = []
    for place, name in enumerate(("learning_rate", "momentum")):
        values = given.get(name, {})
        known = {slot.key: getattr(updater, name)(slot.key) is not None for slot in updater.layout}
        left_out.extend(f"{key}/{name}" for key in values if not known.get(key))
        column = []
        for slot, initial in zip(updater.layout, updater._initial_rates, strict=True):
            value = initial[place]
            if known[slot.key] and slot.key in values:
                # A policy of 0.8 may leave any rate; one that is set by hand is never negative.
                least = 0.0 if value is None and name == "learning_rate" else -math.inf
                value = _rate(f'state_dict: {name}["{slot.key}"]', values[slot.key], least)
            elif value is not None:
                left_out.append(f"{slot.key}/{name}")
            column.append(value)
        columns.append(column)
    return list(zip(*columns, strict=True))


def _rate(where: str, value: Any, least: float) -> float:
    expected = "a number >= 0" if least == 0 else "a number"
    if not is_number(value):
        raise TypeError(f"{where}: expected {expected}, got {type(value).__name__}")
    if not value >= least:
        raise ValueError(f"{where}: expected {expected}, got {value!r}")
    return float(value)


def _counter(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"state_dict: {name}: expected an integer >= 0, got {value!r}")
    if value > _MOST:
        raise ValueError(f"state_dict: {name}: expected an integer < 2**63 - 1, got {value!r}")
    return int(value)
