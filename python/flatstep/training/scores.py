"""What listens to scores: which of them is better than the best so far, and their means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flatstep import _core
from flatstep._coerce import at_least, number
from flatstep._shown import listed, shown
from flatstep.network_updater import NetworkUpdater

from .solver import Listener, StochasticGradientDescent

__all__ = ["ScoreListener", "finite", "not_negative", "one_of", "require_like"]

_VERSION = 1


class ScoreListener(Listener):
    """One that counts scores that are not better, and as a solver's listener takes the mean of an
    epoch's scores, or of those of ``every`` iterations; steps that were skipped do not count.

    A subclass says in `step` what a score does, and has its own part of the state.
    """

    def __init__(
        self, updater: NetworkUpdater, mode: str, patience: int, every: int | None
    ) -> None:
        where = type(self).__name__
        if not isinstance(updater, _core.Updater):
            raise TypeError(
                f"{where}: updater: expected an updater such as MultiLayerUpdater, got "
                f"{type(updater).__name__}"
            )
        self.updater = updater
        self.mode = one_of(where, "mode", mode, ("min", "max"))
        self.patience = at_least(0, where, "patience", patience)
        self.every = None if every is None else at_least(1, where, "every", every)
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self._sum, self._count, self._epoch = 0.0, 0, 0

    def step(self, score: float) -> bool:
        """Take a score."""
        raise NotImplementedError

    def _is_better(self, score: float, threshold: float, *, relative: bool) -> bool:
        """Whether it is better than the best by a number, or a part of that; NaN never is."""
        if self.mode == "min":
            return score < (self.best * (1.0 - threshold) if relative else self.best - threshold)
        return score > (self.best * (threshold + 1.0) if relative else self.best + threshold)

    # ------------------------------------------------------------------------------- as a listener

    def on_gradient_calculation(self, solver: StochasticGradientDescent, gradients: Any) -> None:
        """With the first gradient of an epoch: takes the mean score of the one before."""
        if solver.updater is not self.updater:
            raise ValueError(
                f"{type(self).__name__}: expected a listener of the solver of its own updater, got "
                "another solver; make one for each"
            )
        if self.every is None and self._count and self._epoch != solver.updater.epoch:
            self._take_mean()

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        """Adds the solver's score to the mean, but that of a step that was skipped."""
        if solver.last_step.skipped:
            return
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

    def _own_state(self) -> dict[str, Any]:
        """The subclass's attributes that `step` changes, but `best` and `num_bad_epochs`."""
        raise NotImplementedError

    def _legal_state(self, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those attributes out of a state dict, or an error that begins with `where`."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What `step` may change, as plain data: the best score, the counts, and a listener's sum.

        What is the updater's is in its own ``state_dict``: the rates that a plateau rule has
        reduced. What an `EarlyStopping` restores is a `Snapshot` in this: pickle that, JSON has no
        such thing.

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
            **self._own_state(),
            "sum": self._sum,
            "count": self._count,
            "epoch": self._epoch,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it or nothing.

        Raises:
            ValueError: another version, a missing or unknown name, a count below 0, a snapshot of
                another network.
            TypeError: a value of another type.
        """
        where = f"{type(self).__name__}.load_state_dict"
        require_like(where, state_dict, self.state_dict())
        best, total = (number(where, name, state_dict[name]) for name in ("best", "sum"))
        bad, number_of, epoch = (
            at_least(0, where, name, state_dict[name])
            for name in ("num_bad_epochs", "count", "epoch")
        )
        own = self._legal_state(where, state_dict)
        self.best, self.num_bad_epochs = best, bad
        self._sum, self._count, self._epoch = total, number_of, epoch
        for name, value in own.items():
            setattr(self, name, value)


def one_of(where: str, argument: str, value: Any, names: tuple[str, ...]) -> str:
    """The value, which must be one of these names."""
    if value not in names:
        expected = " or ".join(f'"{name}"' for name in names)
        raise ValueError(f"{where}: {argument}: expected {expected}, got {shown(value)}")
    return str(value)


def require_like(where: str, state_dict: Any, own: Mapping[str, Any]) -> None:
    """Look whether a state dict has the names and the version of one's own.

    Raises:
        TypeError: it is no mapping.
        ValueError: it has others.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{where}: expected what state_dict() gave, got {type(state_dict).__name__}"
        )
    wrong = [str(name) for name in own.keys() ^ state_dict.keys()]
    if wrong:
        raise ValueError(
            f"{where}: missing or unknown: {listed(sorted(wrong))}; expected {', '.join(own)}"
        )
    if state_dict["version"] != own["version"]:
        raise ValueError(
            f"{where}: expected version {own['version']}, got {shown(state_dict['version'])}"
        )


def finite(where: str, argument: str, value: Any) -> float:
    """The value as a finite number."""
    taken = number(where, argument, value)
    if not math.isfinite(taken):
        raise ValueError(f"{where}: {argument}: expected a finite number, got {taken}")
    return taken


def not_negative(where: str, argument: str, value: Any) -> float:
    """The value as a finite number >= 0."""
    taken = finite(where, argument, value)
    if taken < 0:
        raise ValueError(f"{where}: {argument}: expected a finite number >= 0, got {taken}")
    return taken
