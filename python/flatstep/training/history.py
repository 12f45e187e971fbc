"""The history of a training run, layer by layer: what ``flatstep.plot_history`` draws."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatstep.last_step import LastStep
from flatstep.network_updater import NetworkUpdater

from .recorder import GroupStep, Recorder, group_steps, normalization_groups, was_refused

__all__ = ["History", "HistoryListener", "LayerHistory"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class LayerHistory:
    """What the steps did to one layer: an array for each quantity, with a value for each step.

    NaN stands for a value that a step has not: a norm where the strategy needs none, a rate of an
    updater without one, an update ratio without ``monitor=True``.

    Attributes:
        gradient_norm: the L2 norm of the gradient before its normalisation.
        factor: what the normalisation multiplied the gradient by.
        clipped: 1.0 where the normalisation clipped, else 0.0; of ClipElementWiseAbsoluteValue the
            share of the elements, with ``monitor=True``; NaN where nobody says.
        learning_rate: the rate that the step used.
        update_ratio: ‖update‖ / ‖parameters‖.
        threshold: the threshold of the gradient normalisation; NaN where the strategy has none.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.1), gradient_normalization="ClipL2PerLayer")
        >>> updater, listener = fs.MultiLayerUpdater(config, {"0_W": w}), fs.HistoryListener()
        >>> solver = fs.StochasticGradientDescent(
        ...     updater, lambda: (float(w @ w), {"0_W": 2 * w}), [listener])
        >>> scores = [solver.optimize() for _ in range(3)]
        >>> layer = listener.history.layers["0"]
        >>> layer.clipped, layer.threshold
        (array([1., 1., 1.]), 1.0)
    """

    gradient_norm: FloatArray
    factor: FloatArray
    clipped: FloatArray
    learning_rate: FloatArray
    update_ratio: FloatArray
    threshold: float

    def __repr__(self) -> str:
        return f"<LayerHistory: {len(self.gradient_norm)} steps, threshold {self.threshold:g}>"


@dataclass(frozen=True, repr=False)
class History:
    """What the steps of a run did.

    Attributes:
        iteration, epoch, score: an array with a value for each recorded step.
        skipped: True for a step that was skipped because of a non-finite gradient.
        layers: a :class:`LayerHistory` by layer, or by slot (``"0_W"``) where the strategy gives
            every parameter a norm of its own; under ClipL2Global also one of the ``"network"``,
            whose norm it is that has the threshold.
        strategy: the network's gradient-normalisation strategy.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Sgd(0.25)), {"0_W": w})
        >>> listener = fs.HistoryListener()
        >>> solver = fs.StochasticGradientDescent(
        ...     updater, lambda: (float(w @ w), {"0_W": 2 * w}), [listener])
        >>> scores = [solver.optimize() for _ in range(2)]
        >>> history = listener.history
        >>> history
        <History: 2 steps, 1 layers, None>
        >>> history.score
        array([25.  ,  6.25])
    """

    iteration: NDArray[np.int64]
    epoch: NDArray[np.int64]
    score: FloatArray
    skipped: NDArray[np.bool_]
    layers: Mapping[str, LayerHistory]
    strategy: str

    def __len__(self) -> int:
        return len(self.iteration)

    def __repr__(self) -> str:
        return f"<History: {len(self)} steps, {len(self.layers)} layers, {self.strategy}>"


class HistoryListener(Recorder):
    """Keeps what every step did, for :func:`flatstep.plot_history` and for tables.

    Args:
        every: record the steps whose iteration is a multiple of it.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.1), gradient_normalization="ClipL2PerLayer")
        >>> history = fs.HistoryListener()
        >>> solver = fs.StochasticGradientDescent(
        ...     fs.MultiLayerUpdater(config, {"0_W": w}), lambda: (float(w @ w), {"0_W": 2 * w}),
        ...     [history])
        >>> score = solver.optimize()
        >>> history.history.layers["0"].gradient_norm
        array([10.])
    """

    def __init__(self, *, every: int = 1) -> None:
        super().__init__(every=every)
        self._iteration = array("q")
        self._epoch = array("q")
        self._score = array("d")
        self._skipped = array("b")
        self._layers: dict[str, tuple[array[float], ...]] = {}
        self._thresholds: dict[str, float] = {}
        self._strategy = "None"

    def write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        """Keeps the step."""
        groups = group_steps(updater, last_step)
        if not self._layers:
            self._strategy = str(updater.configuration.gradient_normalization)
            for group in normalization_groups(updater):
                self._layers[group.name] = tuple(array("d") for _ in GroupStep._fields)
                self._thresholds[group.name] = (
                    math.nan if group.threshold is None else group.threshold
                )
        self._iteration.append(last_step.iteration)
        self._epoch.append(last_step.epoch)
        self._score.append(score)
        self._skipped.append(was_refused(last_step))
        for name, step in groups.items():
            for value, column in zip(step, self._layers[name], strict=True):
                column.append(math.nan if value is None else value)

    @property
    def history(self) -> History:
        """The history so far; later steps do not change it."""
        return History(
            iteration=np.array(self._iteration, np.int64),
            epoch=np.array(self._epoch, np.int64),
            score=np.array(self._score),
            skipped=np.array(self._skipped, np.bool_),
            layers={name: self._layer_history(name) for name in self._layers},
            strategy=self._strategy,
        )

    def _layer_history(self, name: str) -> LayerHistory:
        columns = dict(zip(GroupStep._fields, map(np.array, self._layers[name]), strict=True))
        return LayerHistory(**columns, threshold=self._thresholds[name])
