"""Parameter averaging: ranks that step by themselves, and meet from time to time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatstep.network_updater import NetworkUpdater
from flatstep.parameters import Arrays, named_as

from .ranks import Ranks, uninterrupted
from .updater import DistributedUpdater

__all__ = ["average"]

#: How many elements are averaged at a time, by all ranks together.
_BLOCK = 1 << 18


def average(
    updater: NetworkUpdater,
    params: Arrays | NDArray[Any] | None = None,
    *,
    comm: Any = None,
) -> None:
    r"""Replace every rank's parameters and updater state by their mean over the ranks: DL4J's
    parameter averaging, for updaters that take steps of their own between rounds. Collective.

    Parameters, state arrays, moving averages, and rates and momenta that are state, each become
    (1/W)·Σ of the W ranks', computed in float64 in the order of the ranks, as `flatstep.aggregate`
    does it in one process. Traffic: 2·N·(W−1)/W elements per rank and array.

    Args:
        updater: this rank's, such as a `flatstep.MultiLayerUpdater`; of equal configuration, layout
            and counters on every rank.
        params: the parameters that are averaged, in any form that the updater takes; None: all that
            it has.
        comm: mpi4py's communicator; None: ``MPI.COMM_WORLD``.

    Written: parameters, state, rates. Left alone: accumulated gradients.

    Raises:
        TypeError: no updater, or a `DistributedUpdater`, whose ranks agree at all times.
        ValueError: updaters that differ, or whose parameters have masters; on every rank. Nothing
            has changed.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> W = np.ones(3)
        >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": W})
        >>> for _ in range(8):
        ...     updater.step({"0_W": np.ones(3)})  # this rank's own steps
        >>> fs.mpi.average(updater, {"0_W": W})
    """
    ranks = Ranks.of(comm)
    arrays: list[NDArray[Any]] = []
    coded: list[tuple[int, int, NDArray[Any]]] = []  # numbers of state in fewer bits
    facts: dict[str, Any] = {}
    error: BaseException | None = None
    with uninterrupted():
        try:
            if isinstance(updater, DistributedUpdater) or not isinstance(updater, NetworkUpdater):
                raise TypeError(
                    "average: expected an updater that takes its own steps, such as a "
                    f"MultiLayerUpdater, got {type(updater).__name__}"
                )
            own = updater.parameters
            chosen = (
                own
                if params is None
                else {
                    named.key: named.array
                    for named in named_as(updater.layout, params, updater.key_style)
                }
            )
            for key, array in own.items():
                if array.dtype != updater.dtype:
                    raise ValueError(
                        f'average: parameter "{key}": expected dtype {updater.dtype}, got '
                        f"{array.dtype}, whose master would not be the mean's; average "
                        "updater.master(key) and make a new updater"
                    )
            for key, array in chosen.items():
                if key not in own or getattr(array, "shape", None) != own[key].shape:
                    raise ValueError(
                        f'average: parameter "{key}": expected one of the updater\'s, of its shape'
                    )
                arrays.append(array)
            state = updater.state_view
            if state.flags.writeable:
                arrays.append(state)
            else:
                coded = [
                    (place, number, array.copy(order="K"))
                    for place in range(len(updater.layout))
                    for number, array in enumerate(updater._state(place).values())
                ]
            for place in range(len(updater.layout)):
                kept = updater._average(place)
                if kept is not None:
                    arrays.append(kept)
            facts = {
                "class": type(updater).__name__,
                "list of parameters": list(chosen),
                "dtype": str(updater.dtype),
                "layout": [(s.key, s.layer, s.shape, s.order) for s in updater.layout],
                "updater blocks": [(b.updater, b.keys) for b in updater.updater_blocks],
                "iteration": updater.iteration,
                "epoch": updater.epoch,
            }
        except BaseException as raised:
            error = raised
        ranks.compare("average", error, facts)
        rates = _mean_rates(ranks, updater)
        for array in arrays:
            _average_array(ranks, array)
        for place, number, array in coded:
            _average_array(ranks, array)
            updater._write_state(place, number, array)
        updater._alone(lambda: updater._set_rates(rates))


def _mean_rates(ranks: Ranks, updater: NetworkUpdater) -> list[tuple[float | None, float | None]]:
    """Of those that are state with one rank at least, the mean of all."""
    now = (updater.iteration, updater.epoch)
    used = [
        (updater._unscaled_learning_rate(place, *now), updater._momentum(place, *now))
        for place in range(len(updater.layout))
    ]
    everyones = ranks.gathered((updater._rates(), used))
    means: list[tuple[float | None, float | None]] = []
    for place in range(len(updater.layout)):
        pair: list[float | None] = []
        for column in (0, 1):
            is_state = any(state[place][column] is not None for state, _ in everyones)
            known = [values[place][column] for _, values in everyones]
            numbers = [value for value in known if value is not None]
            pair.append(sum(numbers) / len(numbers) if is_state and numbers else None)
        means.append((pair[0], pair[1]))
    return means


def _average_array(ranks: Ranks, array: NDArray[Any]) -> None:
    """The mean over the ranks, in place: each rank computes its part of every block for all."""
    flat: NDArray[Any] = array.reshape(-1, order="C" if array.flags.c_contiguous else "F")
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        ends = [block.size * (rank + 1) // ranks.size for rank in range(ranks.size)]
        counts = np.diff([0, *ends])
        own = int(counts[ranks.rank])
        received = np.empty((ranks.size, own), array.dtype)
        ranks.comm.Alltoallv([block.copy(), counts], [received, [own] * ranks.size])
        total = received[0].astype(np.float64)
        for other in received[1:]:
            total += other
        total /= ranks.size
        ranks.comm.Allgatherv(total.astype(array.dtype), [block, counts])
