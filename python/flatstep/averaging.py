"""The mean of updaters' states, as parameter-averaging workers need it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from .network_updater import NetworkUpdater

__all__ = ["aggregate"]

_U = TypeVar("_U", bound=NetworkUpdater)


def aggregate(updaters: Iterable[_U]) -> _U:
    r"""The mean of several updaters' states: how parameter-averaging workers combine.

    Each state array, each moving average of a parameter, and each rate or momentum that is state,
    becomes (1/n)·Σ of the n workers', computed in float64. Parameters are not averaged: do that
    yourself.

    Args:
        updaters: of equal configuration, layout, dtype, iteration and epoch.

    Returns:
        A clone of the first, on its parameter arrays, with the mean state. It has the first's count
        of skipped steps, and no accumulated gradients.

    Raises:
        TypeError: something that is no updater.
        ValueError: none given, or updaters that differ.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(updater=fs.Nesterovs(1.0, momentum=0.5))
        >>> workers = [fs.MultiLayerUpdater(config, {"0_W": np.zeros(1)}) for _ in range(2)]
        >>> for worker, gradient in zip(workers, (1.0, 3.0)):
        ...     worker.step({"0_W": np.full(1, gradient)})
        >>> fs.aggregate(workers).state_view
        array([-2.])
    """
    if isinstance(updaters, NetworkUpdater):
        raise TypeError(
            f"updaters: expected a sequence of updaters, got one {type(updaters).__name__}"
        )
    workers = list(updaters)
    if not workers:
        raise ValueError("updaters: expected at least one, got none")
    for worker in workers:
        if not isinstance(worker, NetworkUpdater):
            raise TypeError(
                "updaters: expected updaters such as MultiLayerUpdater, got "
                f"{type(worker).__name__}"
            )
    first = workers[0]
    for parameter in first.parameters.values():
        if parameter.dtype != first.dtype:
            raise ValueError(
                f"updaters: expected parameters of dtype {first.dtype}, got {parameter.dtype}, "
                "whose masters would not be the mean's; average updater.master(key) and make a new "
                "updater"
            )
    for other in workers[1:]:
        for what, same in (
            ("class", type(first) is type(other)),
            ("configuration", first.configuration == other.configuration),
            ("layout", first.layout == other.layout),
            ("dtype", first.dtype == other.dtype),
        ):
            if not same:
                raise ValueError(f"updaters: expected one {what}, got updaters that differ in it")
        if (first.iteration, first.epoch) != (other.iteration, other.epoch):
            raise ValueError(
                f"updaters: expected equal counters, got iteration {first.iteration} and "
                f"{other.iteration}, epoch {first.epoch} and {other.epoch}"
            )
    combined = first.clone()
    combined.discard_accumulated()
    for place, slot in enumerate(combined.layout):
        average = combined._average(place)
        if average is not None:
            average[...] = np.mean(
                [worker.averages(slot.key) for worker in workers], axis=0, dtype=np.float64
            )
    means = [
        np.mean([worker._state(place)[name] for worker in workers], axis=0, dtype=np.float64)
        for place, _ in enumerate(combined.layout)
        for name in combined._state(place)
    ]
    rates = [worker._rates() for worker in workers]
    mean_rates = [
        (
            # As it is before a slot's learning_rate_scale: what is set is multiplied by that.
            _mean(
                [w._unscaled_learning_rate(i, w.iteration, w.epoch) for w in workers],
                [r[i][0] for r in rates],
            ),
            _mean([w.momentum(slot.key) for w in workers], [r[i][1] for r in rates]),
        )
        for i, slot in enumerate(combined.layout)
    ]
    # Nobody else has this clone yet: where one of the two fails, it is gone.
    combined._set_rates(mean_rates)
    remaining = iter(means)
    for place, slot in enumerate(combined.layout):
        for array, _ in enumerate(combined._state(place)):
            mean = np.asarray(next(remaining), combined.dtype, order=slot.order)
            combined._write_state(place, array, mean)
    return combined


def _mean(rates: Iterable[float | None], set_rates: Iterable[float | None]) -> float | None:
    """The mean of the workers' rates, where it is state with one of them at least."""
    if all(rate is None for rate in set_rates):
        return None
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known)
