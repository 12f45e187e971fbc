"""A rate that falls where the score does not: PyTorch's ReduceLROnPlateau."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from flatstep import _core
from flatstep._coerce import at_least_one, integer, number
from flatstep._shown import listed, shown
from flatstep.network_updater import NetworkUpdater
from flatstep.rates import places_with_rate, replace_rates

from .solver import Listener, StochasticGradientDescent

__all__ = ["ReduceLROnPlateau"]

_VERSION = 1


class ReduceLROnPlateau(Listener):
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
        if not isinstance(updater, _core.Updater):
            raise TypeError(
                "ReduceLROnPlateau: updater: expected an updater such as MultiLayerUpdater, got "
                f"{type(updater).__name__}"
            )
        self.updater = updater
        self.mode = _one_of("mode", mode, ("min", "max"))
        self.factor = _number("factor", factor)
        if not 0 <= self.factor < 1:
            raise ValueError(
                f"ReduceLROnPlateau: factor: expected a number in [0, 1), got {factor!r}"
            )
        self.patience = _count("patience", patience)
        self.threshold = _number("threshold", threshold)
        self.threshold_mode = _one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = _count("cooldown", cooldown)
        self.min_lr = _not_negative("min_lr", min_lr)
        self.eps = _not_negative("eps", eps)
        self.every = None if every is None else at_least_one("ReduceLROnPlateau", "every", every)
        places_with_rate(updater, updater.layout, "ReduceLROnPlateau", None, None)
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self._sum, self._count, self._epoch = 0.0, 0, 0

    def step(self, score: float) -> bool:
        """Take a score, an epoch's as a rule, and reduce the rates where it is time to.

        Returns:
            Whether a rate was reduced.

        Raises:
            TypeError: no number; nothing changes.
            RuntimeError: a step of the updater is under way in another thread; nothing changes.
        """
        value = number("ReduceLROnPlateau.step", "score", score)
        better = self._is_better(value)
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

    def _is_better(self, score: float) -> bool:
        relative = self.threshold_mode == "rel"
        if self.mode == "min":
            return score < (
                self.best * (1.0 - self.threshold) if relative else self.best - self.threshold
            )
        return score > (
            self.best * (self.threshold + 1.0) if relative else self.best + self.threshold
        )

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

    # ------------------------------------------------------------------------------- as a listener

    def on_gradient_calculation(self, solver: StochasticGradientDescent, gradients: Any) -> None:
        """With the first gradient of an epoch: takes the mean score of the one before."""
        if solver.updater is not self.updater:
            raise ValueError(
                "ReduceLROnPlateau: expected a listener of the solver of its own updater, got "
                "another solver; make one for each"
            )
        if self.every is None and self._count and self._epoch != solver.updater.epoch:
            self._take_mean()

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        """Adds the solver's score to the mean."""
        self._epoch = solver.updater.epoch
        self._sum += solver.score
        self._count += 1
        if self._count == self.every:
            self._take_mean()

    def _take_mean(self) -> None:
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        self.step(mean)

    # --------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """What `step` may change, as plain data: the best score, the counts, and a listener's sum.

        The rates are the updater's; its ``state_dict`` has them.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(3)})
            >>> plateau = fs.ReduceLROnPlateau(updater)
            >>> plateau.step(2.0)
            False
            >>> saved = plateau.state_dict()
            >>> plateau = fs.ReduceLROnPlateau(updater)
            >>> plateau.load_state_dict(saved)
            >>> plateau.best
            2.0
        """
        return {
            "version": _VERSION,
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
            "sum": self._sum,
            "count": self._count,
            "epoch": self._epoch,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it or nothing.

        Raises:
            ValueError: another version, a missing or unknown name, a count below 0.
            TypeError: a value of another type.
        """
        where = "ReduceLROnPlateau.load_state_dict"
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{where}: expected what state_dict() gave, got {type(state_dict).__name__}"
            )
        expected = self.state_dict()
        wrong = [str(name) for name in expected.keys() ^ state_dict.keys()]
        if wrong:
            raise ValueError(
                f"{where}: missing or unknown: {listed(sorted(wrong))}; expected "
                f"{', '.join(expected)}"
            )
        if state_dict["version"] != _VERSION:
            raise ValueError(
                f"{where}: expected version {_VERSION}, got {shown(state_dict['version'])}"
            )
        best, total = (number(where, name, state_dict[name]) for name in ("best", "sum"))
        bad, cooldown, count, epoch = (
            _count(name, state_dict[name], where)
            for name in ("num_bad_epochs", "cooldown_counter", "count", "epoch")
        )
        self.best, self.num_bad_epochs, self.cooldown_counter = best, bad, cooldown
        self._sum, self._count, self._epoch = total, count, epoch


def _one_of(argument: str, value: Any, names: tuple[str, ...]) -> str:
    if value not in names:
        expected = " or ".join(f'"{name}"' for name in names)
        raise ValueError(f"ReduceLROnPlateau: {argument}: expected {expected}, got {shown(value)}")
    return str(value)


def _number(argument: str, value: Any) -> float:
    taken = number("ReduceLROnPlateau", argument, value)
    if not math.isfinite(taken):
        raise ValueError(f"ReduceLROnPlateau: {argument}: expected a finite number, got {taken}")
    return taken


def _not_negative(argument: str, value: Any) -> float:
    taken = _number(argument, value)
    if taken < 0:
        raise ValueError(
            f"ReduceLROnPlateau: {argument}: expected a finite number >= 0, got {taken}"
        )
    return taken


def _count(argument: str, value: Any, where: str = "ReduceLROnPlateau") -> int:
    count = integer(where, argument, value)
    if count < 0:
        raise ValueError(f"{where}: {argument}: expected an integer >= 0, got {count}")
    return count
