"""Snapshots: all that a step may change, parameters included, copied in memory and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._shown import cut, listed, shown
from .configuration import MultiLayerConfiguration
from .layout import Slot
from .points import WithPoints

__all__ = ["Snapshot", "put_back", "require_snapshot_of", "take_snapshot"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Snapshot:
    """What `snapshot` gives and `restore` takes: an updater and its parameters at one moment.

    It holds copies, and cannot be changed: restore it as often as you like, also into a clone. It
    is kept in memory, or in a pickle; a file to resume from is what ``updater.save`` writes.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.zeros(2)
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.5))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> start = updater.snapshot()
        >>> start
        <Snapshot: 1 parameters, 2 elements, float64, iteration 0>
        >>> runs = []
        >>> for _ in range(2):
        ...     updater.restore(start)
        ...     for _ in range(3):
        ...         updater.step({"0_W": w - 1})
        ...     runs.append(w.copy())
        >>> bool((runs[0] == runs[1]).all())
        True
    """

    _configuration: MultiLayerConfiguration
    _slots: tuple[Slot, ...]
    _dtype: np.dtype[Any]
    _parameters: tuple[NDArray[Any], ...]
    _arrays: tuple[tuple[int, int, NDArray[Any]], ...]  # slot, state array or average, values
    _rates: tuple[tuple[float | None, float | None], ...]
    _counters: tuple[int, int, int]  # iteration, epoch, skipped steps
    _accumulated: Mapping[str, NDArray[Any]] | None

    def __repr__(self) -> str:
        size = sum(slot.size for slot in self._slots)
        return (
            f"<Snapshot: {len(self._slots)} parameters, {size} elements, {self._dtype}, "
            f"iteration {self._counters[0]}>"
        )


def take_snapshot(updater: WithPoints, accumulated: bool = True) -> Snapshot:
    """See `NetworkUpdater.snapshot`.

    Args:
        accumulated: whether the accumulated gradients belong to it.
    """
    _require_parameters_in_place(updater, "snapshot")
    snapshot: Snapshot = updater._alone(lambda: _copied(updater, accumulated))
    return snapshot


def put_back(updater: WithPoints, snapshot: Snapshot) -> None:
    """See `NetworkUpdater.restore`."""
    _require_parameters_in_place(updater, "restore")
    require_snapshot_of(updater, snapshot, "restore")
    for slot, parameter in zip(updater._slots, updater._named, strict=True):
        array = parameter.array
        if array.shape != slot.shape or not array.flags.writeable:
            now = f"shape {array.shape}" if array.flags.writeable else "one that is read-only"
            raise ValueError(
                f'restore: parameter "{cut(slot.key)}": expected the array as it was when the '
                f"updater was made, got {now}"
            )

    def replace() -> None:
        before = _copied(updater)
        try:
            _write(updater, snapshot)
        except BaseException:  # an interrupt, too
            _write(updater, before)
            raise

    updater._alone(replace)


def require_snapshot_of(updater: WithPoints, snapshot: object, where: str) -> None:
    """Look whether a snapshot is one of this updater or of one that is made like it.

    Args:
        where: what asks, for messages.

    Raises:
        TypeError: it is no snapshot.
        ValueError: it has other parameters, another dtype or another configuration.
    """
    if not isinstance(snapshot, Snapshot):
        raise TypeError(
            f"{where}: expected a Snapshot, as snapshot() gives it, got {type(snapshot).__name__}"
        )
    _require_layout(updater._slots, snapshot._slots, where)
    dtype = updater.dtype
    if snapshot._dtype != dtype:
        raise ValueError(
            f"{where}: expected a snapshot of dtype {dtype}, as the updater has, got "
            f"{snapshot._dtype}"
        )
    if snapshot._configuration != updater._configuration:
        raise ValueError(
            f"{where}: expected a snapshot of the same configuration, got one that differs in "
            + _difference(updater._configuration, snapshot._configuration)
        )


def _require_layout(own: Sequence[Slot], given: Sequence[Slot], where: str) -> None:
    keys, others = [slot.key for slot in own], [slot.key for slot in given]
    lacks = {
        "the snapshot": [f'"{key}"' for key in keys if key not in others],
        "the updater": [f'"{key}"' for key in others if key not in keys],
    }
    if any(lacks.values()):
        said = "; ".join(f"{who} lacks {listed(what)}" for who, what in lacks.items() if what)
        raise ValueError(f"{where}: expected a snapshot of the same parameters: {said}")
    if keys != others:
        raise ValueError(
            f"{where}: expected a snapshot with the parameters in the updater's order, "
            f"{listed(keys)}, got {listed(others)}"
        )
    for slot, other in zip(own, given, strict=True):
        for what in ("layer", "param", "shape", "order"):
            expected, got = getattr(slot, what), getattr(other, what)
            if expected != got:
                raise ValueError(
                    f'{where}: parameter "{cut(slot.key)}": expected a snapshot with {what} '
                    f"{shown(expected)}, as the updater has, got {shown(got)}"
                )


def _difference(own: MultiLayerConfiguration, given: MultiLayerConfiguration) -> str:
    """The fields in which two configurations differ, and the values of the first."""
    names = [
        field.name
        for field in fields(own)
        if getattr(own, field.name) != getattr(given, field.name)
    ]
    first = names[0]
    more = f" (and in {listed(names[1:])})" if names[1:] else ""
    return (
        f"{first}: the updater has {shown(getattr(own, first))}, the snapshot "
        f"{shown(getattr(given, first))}{more}"
    )


def _require_parameters_in_place(updater: WithPoints, where: str) -> None:
    if updater._shows is not None:
        raise RuntimeError(
            f"{where}: expected the parameters in their place, got what {updater._shows}() has put "
            f"there; call {where} outside of that with statement"
        )


def _copied(updater: WithPoints, with_sums: bool = True) -> Snapshot:
    """All that a step may change, as copies; to be called `_alone`."""

    def copy(array: NDArray[Any]) -> NDArray[Any]:
        copied = array.copy(order="K")
        copied.flags.writeable = False
        return copied

    arrays = []
    for place in range(len(updater._slots)):
        own = list(updater._kept(place).values())
        average = updater._average(place)  # stands behind the state arrays
        own += [] if average is None else [average]
        arrays += [(place, number, copy(array)) for number, array in enumerate(own)]
    accumulated: Mapping[str, NDArray[Any]] | None = updater.accumulated if with_sums else None
    return Snapshot(
        updater._configuration,
        updater._slots,
        updater.dtype,
        tuple(copy(parameter.array) for parameter in updater._named),
        tuple(arrays),
        tuple(updater._rates()),
        (updater.iteration, updater.epoch, updater.skipped_steps),
        accumulated and {key: copy(array) for key, array in accumulated.items()},
    )


def _write(updater: WithPoints, snapshot: Snapshot) -> None:
    """What fits is written, what fails on the way is written in part; to be called `_alone`."""
    updater._restore(list(snapshot._arrays), list(snapshot._rates), *snapshot._counters)
    sums = snapshot._accumulated
    updater._restore_sums(None if sums is None else [sums[slot.key] for slot in updater._slots])
    for parameter, values in zip(updater._named, snapshot._parameters, strict=True):
        parameter.array[...] = values
