"""A rate that falls where the score does not: PyTorch's ReduceLROnPlateau."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flatstep._coerce import at_least, number
from flatstep.network_updater import NetworkUpdater
from flatstep.rates import places_with_rate, replace_rates

from .scores import ScoreListener, finite, not_negative, one_of

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(ScoreListener):
    r"""Multiplies the learning rates by a factor where the score has stopped getting better.

    PyTorch's rules. A score is better than the best so far, b, where it is < b·(1 − threshold)
    ("rel") or < b − threshold ("abs"), with ``mode="max"`` > b·(1 + threshold) or > b + threshold.
    After more than ``patience`` scores in a row that are not, every rate lr becomes
    max(lr·factor, min_lr), unless that is lower by no more than ``eps``; then ``cooldown`` scores
    do not count as bad. NaN is never better.

    A reduced rate is state of the updater, as after ``set_learning_rate``: a schedule ends with it,
    ``state_dict``, ``save`` and pickles hold it, ``clear_learning_rate`` undoes it. All rates are
    those before ``learning_rate_scale``, so that layers keep their proportions.

    As a listener of a `StochasticGradientDescent` it calls `step` itself, with the mean of the
    solver's scores: of every epoch, before the first step of the next (``updater.epoch`` is what
    says so), or of ``every`` iterations.

    Args:
        updater: whose rates to reduce: all parameters' that have one.
        mode: "min" where lower scores are better, "max" where higher ones are.
        factor: what rates are multiplied by, in [0, 1).
        patience: how many scores that are not better are accepted, ≥ 0.
        threshold: by how much a score must be better.
        threshold_mode: "rel" or "abs", whether that is a part of the best score or a number.
        cooldown: how many scores after a reduction do not count as bad, ≥ 0.
        min_lr: the least rate.
        eps: a reduction by no more than this does not happen.
        every: as a listener: how many iterations make a score, ≥ 1; None: an epoch's.

    Attributes:
        best: the best score so far.
        num_bad_epochs: how many scores in a row were not better.
        cooldown_counter: how many more scores do not count as bad.

    Raises:
        ValueError, TypeError: an argument that is none of these; the text says which.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), {"0_W": np.ones(3)}
        ... )
        >>> plateau = fs.ReduceLROnPlateau(updater, factor=0.5, patience=1)
        >>> [plateau.step(score) for score in (3.0, 2.0, 2.0, 2.0)]
        [False, False, False, True]
        >>> updater.learning_rate("0_W")
        0.25
    """

    def __init__(
        self,
        updater: NetworkUpdater,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        *,
        every: int | None = None,
    ) -> None:
        super().__init__(updater, mode, patience, every)
        where = type(self).__name__
        self.factor = finite(where, "factor", factor)
        if not 0 <= self.factor < 1:
            raise ValueError(f"{where}: factor: expected a number in [0, 1), got {factor!r}")
        self.threshold = finite(where, "threshold", threshold)
        self.threshold_mode = one_of(where, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = at_least(0, where, "cooldown", cooldown)
        self.min_lr = not_negative(where, "min_lr", min_lr)
        self.eps = not_negative(where, "eps", eps)
        places_with_rate(updater, updater.layout, where, None, None)
        self.cooldown_counter = 0

    def step(self, score: float) -> bool:
        """Take a score, an epoch's as a rule, and reduce the rates where it is time to.

        Returns:
            Whether a rate was reduced.

        Raises:
            TypeError: no number; nothing changes.
            RuntimeError: a step of the updater is under way in another thread; nothing changes.
        """
        value = number("ReduceLROnPlateau.step", "score", score)
        better = self._is_better(value, self.threshold, relative=self.threshold_mode == "rel")
        bad = 0 if better else self.num_bad_epochs + 1
        cooldown = self.cooldown_counter
        if cooldown > 0:
            cooldown -= 1
            bad = 0
        reduced = False
        if bad > self.patience:
            reduced = self._reduce()
            cooldown, bad = self.cooldown, 0
        if better:
            self.best = value
        self.num_bad_epochs, self.cooldown_counter = bad, cooldown
        return reduced

    def _reduce(self) -> bool:
        now = (self.updater.iteration, self.updater.epoch)
        replaced: dict[int, float | None] = {}
        for place in range(len(self.updater.layout)):
            rate = self.updater._unscaled_learning_rate(place, *now)
            if rate is None:
                continue
            lower = max(rate * self.factor, self.min_lr)
            if rate - lower > self.eps:
                replaced[place] = lower
        if replaced:
            replace_rates(self.updater, replaced)
        return bool(replaced)

    def _own_state(self) -> dict[str, Any]:
        return {"cooldown_counter": self.cooldown_counter}

    def _legal_state(self, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "cooldown_counter": at_least(0, where, "cooldown_counter", given["cooldown_counter"])
        }
