"""Stopping where the score has stopped getting better, and going back to the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flatstep._coerce import at_least, flag, number
from flatstep.network_updater import NetworkUpdater
from flatstep.snapshot import Snapshot, require_snapshot_of, take_snapshot
from flatstep.state_dict import put_accumulated

from .scores import ScoreListener, not_negative
from .solver import StochasticGradientDescent

__all__ = ["EarlyStopping"]


class EarlyStopping(ScoreListener):
    """Says when to stop: after more than ``patience`` scores in a row that are not better.

    A score is better than the best so far, b, where it is < b − min_delta, with ``mode="max"``
    > b + min_delta. NaN is never better. At each better score it takes a snapshot of the updater
    and its parameters, and when it stops it restores the best: parameters, state and counters.

    In a loop of your own, call `step` once an epoch, with a score of held-out data. As a listener
    of a `StochasticGradientDescent` it calls `step` itself, with the mean of the solver's scores:
    of every epoch, with the first gradient of the next (``updater.epoch`` is what says so), or of
    ``every`` iterations. It stops no solver: look at `stopped` after each ``optimize()``, whose
    step is taken back, too, with ``restore_best``. Once stopped it stays so.

    Args:
        updater: whose run it is.
        patience: how many scores in a row that are not better are accepted, ≥ 0.
        min_delta: by how much a score must be better, ≥ 0.
        mode: "min" where lower scores are better, "max" where higher ones are.
        restore_best: whether to keep a snapshot of the best, a copy of all there is, and to
            restore it when it stops.
        every: as a listener: how many iterations make a score, ≥ 1; None: an epoch's.

    Attributes:
        best: the best score so far.
        best_iteration: the updater's iteration when it came; None before the first.
        num_bad_epochs: how many scores in a row were not better.
        stopped: whether it is time to stop.

    Raises:
        ValueError, TypeError: an argument that is none of these; the text says which.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([4.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> stopping = fs.EarlyStopping(updater, patience=1)
        >>> while not stopping.step(abs(w[0] - 1.5)):
        ...     updater.step({"0_W": np.ones(1)})
        >>> w, stopping.best, stopping.best_iteration, updater.iteration
        (array([2.]), 0.5, 2, 2)
    """

    def __init__(
        self,
        updater: NetworkUpdater,
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
        restore_best: bool = True,
        every: int | None = None,
    ) -> None:
        super().__init__(updater, mode, patience, every)
        self.min_delta = not_negative(type(self).__name__, "min_delta", min_delta)
        self.restore_best = flag(type(self).__name__, "restore_best", restore_best)
        self.best_iteration: int | None = None
        self.stopped = False
        self._snapshot: Snapshot | None = None
        # Of a listener: whether a step is about to be taken, and is to be taken back.
        self._before_step = self._undo = False

    def step(self, score: float) -> bool:
        """Take a score, an epoch's as a rule: keep what is best, and say when to stop.

        Written, when it stops with ``restore_best``: all that ``updater.restore`` writes, if any
        score was better than none, so no NaN.

        Returns:
            Whether training should stop. Once it should, further scores change nothing.

        Raises:
            TypeError: no number; nothing changes.
            RuntimeError: there is a snapshot to take or to restore, and a step of the updater is
                under way in another thread, or it is called inside of ``with updater.averaged():``
                or ``with updater.evaluation():``; nothing changes.
        """
        value = number("EarlyStopping.step", "score", score)
        if self.stopped:
            return True
        if self._is_better(value, self.min_delta, relative=False):
            snapshot = self._taken() if self.restore_best else None
            self.best, self.best_iteration = value, self.updater.iteration
            self.num_bad_epochs, self._snapshot = 0, snapshot
            return False
        stops = self.num_bad_epochs + 1 > self.patience
        if stops and self._snapshot is not None:
            sums = self.updater.accumulated if self._before_step else None
            kept = None if sums is None else {key: a.copy(order="K") for key, a in sums.items()}
            self.updater.restore(self._snapshot)
            if self._before_step:  # that step comes, if it does not raise, and is taken back
                put_accumulated(self.updater, self.updater.parameters, kept)
                self._undo = True
        self.num_bad_epochs += 1
        self.stopped = stops
        return stops

    def restore(self) -> None:
        """Go back to the best so far, where a loop has ended otherwise than by stopping.

        Written: all that ``updater.restore`` writes. Left alone: the counts here.

        Raises:
            ValueError: there is no best yet, or nothing is kept of it: ``restore_best=False``.
            RuntimeError: as of `step`; nothing changes.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.array([4.0])
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0))
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> stopping = fs.EarlyStopping(updater)
            >>> for epoch in range(4):
            ...     stop = stopping.step(abs(w[0] - 1.5))
            ...     updater.step({"0_W": np.ones(1)})
            >>> stopping.restore()
            >>> w
            array([2.])
        """
        if self._snapshot is None:
            why = "no score was better yet" if self.restore_best else "restore_best is False"
            raise ValueError(
                f"EarlyStopping.restore: expected a snapshot of the best, got none: {why}"
            )
        self.updater.restore(self._snapshot)

    def _taken(self) -> Snapshot:
        # What has been accumulated before a listener's step is that step's.
        return take_snapshot(self.updater, accumulated=not self._before_step)

    # ------------------------------------------------------------------------------- as a listener

    def on_gradient_calculation(self, solver: StochasticGradientDescent, gradients: Any) -> None:
        """With the first gradient of an epoch: takes the mean score of the one before."""
        self._before_step, self._undo = True, False
        try:
            super().on_gradient_calculation(solver, gradients)
        finally:
            self._before_step = False

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        """Adds the solver's score to the mean; where it has stopped, restores the best."""
        if self._undo:
            self.restore()
            self._undo = False
        elif not self.stopped:
            super().iteration_done(solver, iteration)

    # --------------------------------------------------------------------------------------- state

    def _own_state(self) -> dict[str, Any]:
        return {
            "best_iteration": self.best_iteration,
            "stopped": self.stopped,
            "snapshot": self._snapshot,
        }

    def _legal_state(self, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        iteration, snapshot = given["best_iteration"], given["snapshot"]
        if iteration is not None:
            iteration = at_least(0, where, "best_iteration", iteration)
        if snapshot is not None:
            require_snapshot_of(self.updater, snapshot, f"{where}: snapshot")
        elif self.restore_best and iteration is not None:
            raise ValueError(
                f"{where}: snapshot: expected that of the best, as restore_best is True, got None; "
                "make it with restore_best=False, as what was saved"
            )
        stopped = flag(where, "stopped", given["stopped"])
        return {"best_iteration": iteration, "stopped": stopped, "_snapshot": snapshot}
