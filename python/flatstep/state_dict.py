"""State dicts: what a step may change but the parameters, by name, as plain Python and NumPy.

Checkpoints hold them, too; what is legal in one is decided here alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._coerce import is_number, number
from ._shown import cut, listed, shown
from .errors import ParameterKeyError
from .layout import Slot

__all__ = ["make_state_dict", "put_accumulated", "saved_state_dict", "take_state_dict"]

_VERSION = 1
_COUNTERS = ("iteration", "epoch", "skipped_steps")
_MAPPINGS = ("state", "learning_rate", "momentum", "averages")

#: Learning rate and momentum of each slot, where they are state.
Rates: TypeAlias = list[tuple[float | None, float | None]]


def saved_state_dict(updater: _core.Updater, layout: Sequence[Slot]) -> dict[str, Any]:
    """What a checkpoint holds: the arrays themselves; to be called `_alone`.

    Raises:
        ValueError: a policy has left a rate that no run goes on from.
    """
    made = _live_state_dict(updater, layout)
    for name in ("learning_rate", "momentum"):
        for key, value in made[name].items():
            if math.isnan(value):
                raise ValueError(
                    f'save: {name}["{key}"]: expected a number, got nan, which its policy has '
                    "left; set_learning_rate gives it one"
                )
    return made


def _live_state_dict(updater: _core.Updater, layout: Sequence[Slot]) -> dict[str, Any]:
    """`NetworkUpdater.state_dict` with the arrays themselves; to be called `_alone`."""
    keys = [slot.key for slot in layout]
    rates = dict(zip(keys, updater._rates(), strict=True))
    averages = {
        key: array
        for place, key in enumerate(keys)
        if (array := updater._average(place)) is not None
    }
    return {
        "version": _VERSION,
        "dtype": _dtype(updater),
        "iteration": updater.iteration,
        "epoch": updater.epoch,
        "skipped_steps": updater.skipped_steps,
        "state": {
            key: arrays for place, key in enumerate(keys) if (arrays := updater._kept(place))
        },
        "learning_rate": {key: rate for key, (rate, _) in rates.items() if rate is not None},
        "momentum": {key: value for key, (_, value) in rates.items() if value is not None},
        **({"averages": averages} if averages else {}),
    }


def make_state_dict(updater: _core.Updater, layout: Sequence[Slot]) -> dict[str, Any]:
    """See `NetworkUpdater.state_dict`."""

    def copies() -> dict[str, Any]:
        made = _live_state_dict(updater, layout)
        made["state"] = {
            key: {name: array.copy(order="K") for name, array in arrays.items()}
            for key, arrays in made["state"].items()
        }
        for key, array in made.get("averages", {}).items():
            made["averages"][key] = array.copy(order="K")
        return made

    made: dict[str, Any] = updater._alone(copies)
    return made


def take_state_dict(
    updater: _core.Updater, layout: Sequence[Slot], initial_rates: Rates, given: Any, strict: bool
) -> list[str]:
    """See `NetworkUpdater.load_state_dict`: everything is checked before anything is written.

    Args:
        initial_rates: those of the new updater, which say what a policy moves.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"state_dict: expected what state_dict() gave, got {type(given).__name__}")
    version = given.get("version")
    if version != _VERSION:
        raise ValueError(f"state_dict: expected version {_VERSION}, got {shown(version)}")
    dtype = _dtype(updater)
    if given.get("dtype") != dtype:
        raise ValueError(
            f"state_dict: expected dtype {dtype}, got {cut(str(given.get('dtype')))}; make the "
            "updater with parameters of that dtype"
        )
    for name in _MAPPINGS:
        if not isinstance(given.get(name, {}), Mapping):
            raise TypeError(
                f"state_dict: {name}: expected a mapping by key, got {type(given[name]).__name__}"
            )
    left_out: list[str] = []
    arrays = _matching_state(updater, layout, given, left_out)
    rates = _matching_rates(updater, layout, initial_rates, given, left_out)
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
            f"state_dict: missing or unknown: {listed(left_out)}; expected the state of the "
            "same parameters and updaters (strict=False leaves these out)"
        )
    # By position: pybind11 looks for names by strings that it does not check for want of memory.
    iteration, epoch, skipped_steps = (counters[name] for name in _COUNTERS)
    updater._alone(lambda: updater._restore(arrays, rates, iteration, epoch, skipped_steps))
    return left_out


def put_accumulated(
    updater: _core.Updater,
    parameters: Mapping[str, NDArray[Any]],
    sums: Mapping[str, NDArray[Any]] | None,
) -> None:
    """Make these the accumulated gradients, also where they are not finite; None: there are none.

    Args:
        parameters: the updater's, by key.
        sums: by key; those of parameters that are not in it are 0.
    """
    arrays = None
    if sums is not None:
        arrays = [
            np.require(sums[key], None, ["A", "C" if parameter.flags.c_contiguous else "F"])
            if key in sums
            else None
            for key, parameter in parameters.items()
        ]
    updater._alone(lambda: updater._restore_sums(arrays))


def _matching_state(
    updater: _core.Updater, layout: Sequence[Slot], given: Mapping[str, Any], left_out: list[str]
) -> list[tuple[int, int, NDArray[Any]]]:
    """What to write into which state arrays: (slot, array, values)."""
    matching: list[tuple[int, int, NDArray[Any]]] = []
    own = {slot.key: updater._kept(place) for place, slot in enumerate(layout)}
    for key, arrays in given.get("state", {}).items():
        if not isinstance(arrays, Mapping):
            raise TypeError(
                f'state_dict: state["{cut(str(key))}"]: expected a mapping by name, such as '
                f'{{"m": array}}, got {type(arrays).__name__}'
            )
        left_out.extend(f"{key}/{name}" for name in arrays if name not in own.get(key, {}))
        if key not in own and not arrays:
            left_out.append(str(key))

    def match(place: int, array: int, name: str, target: NDArray[Any], value: Any) -> None:
        if value is None:
            left_out.append(name)
            return
        source = np.asarray(value)
        if source.shape != target.shape or source.dtype != target.dtype:
            raise ValueError(
                f'state_dict: "{cut(name)}": expected {target.dtype} of shape '
                f"{target.shape}, got {source.dtype} of shape {source.shape}"
                + _remedy(source, target)
            )
        # One that is written before it is read: any of these, as a state view spans them all.
        if source.base is not None and any(np.may_share_memory(source, kept) for kept in live):
            source = source.copy()
        order = layout[place].order if target.shape == layout[place].shape else "C"
        matching.append((place, array, np.require(source, None, ["A", order])))

    live = [array for arrays in own.values() for array in arrays.values()]
    live += [
        array for place in range(len(layout)) if (array := updater._average(place)) is not None
    ]
    averages = given.get("averages", {})
    known = set()
    for place, (key, targets) in enumerate(own.items()):
        arrays = given.get("state", {}).get(key, {})
        for array, (name, target) in enumerate(targets.items()):
            match(place, array, f"{key}/{name}", target, arrays.get(name))
        average = updater._average(place)
        if average is not None:
            known.add(key)
            match(place, len(targets), f"{key}/average", average, averages.get(key))
    left_out.extend(f"{key}/average" for key in averages if key not in known)
    return matching


def _matching_rates(
    updater: _core.Updater,
    layout: Sequence[Slot],
    initial_rates: Rates,
    given: Mapping[str, Any],
    left_out: list[str],
) -> Rates:
    """Rate and momentum of each slot, where they are state."""
    columns = []
    now = (updater.iteration, updater.epoch)
    for column_of, name, current in (
        (0, "learning_rate", updater._learning_rate),
        (1, "momentum", updater._momentum),
    ):
        values = given.get(name, {})
        known = {slot.key: current(place, *now) is not None for place, slot in enumerate(layout)}
        left_out.extend(f"{key}/{name}" for key in values if not known.get(key))
        column = []
        for slot, initial in zip(layout, initial_rates, strict=True):
            value = initial[column_of]
            if known[slot.key] and slot.key in values:
                # A policy of 0.8 may leave any rate; one that is set by hand is never negative.
                least = 0.0 if value is None and name == "learning_rate" else -math.inf
                value = _rate(f'{name}["{cut(slot.key)}"]', values[slot.key], least)
            elif value is not None:
                left_out.append(f"{slot.key}/{name}")
            column.append(value)
        columns.append(column)
    return list(zip(*columns, strict=True))


def _remedy(source: NDArray[Any], target: NDArray[Any]) -> str:
    if source.dtype == target.dtype or not {source.dtype.kind, target.dtype.kind} & {"u"}:
        return ""
    return "; make the updater with the state_storage that this is of"


def _dtype(updater: _core.Updater) -> str:
    return "float64" if updater._is_wide else "float32"


def _rate(name: str, value: Any, least: float) -> float:
    expected = "a number >= 0" if least == 0 else "a number"
    if not is_number(value):
        raise TypeError(f"state_dict: {name}: expected {expected}, got {type(value).__name__}")
    if not value >= least:
        raise ValueError(f"state_dict: {name}: expected {expected}, got {shown(value)}")
    return number("state_dict", name, value, expected)


def _counter(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"state_dict: {name}: expected an integer >= 0, got {shown(value)}")
    if value > _core.max_counter:
        raise ValueError(f"state_dict: {name}: expected an integer < 2**63 - 1, got {shown(value)}")
    return int(value)
