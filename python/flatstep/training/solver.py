"""The solver: Deeplearning4j's ``StochasticGradientDescent``, one optimisation step per call; and
what it tells, a listener.

It ties together what a training loop does at every step: compute the score and the gradients, tell
the listeners, turn the gradients into updates, subtract them from the parameters, tell the
listeners again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from flatstep import _core
from flatstep.last_step import LastStep
from flatstep.network_updater import NetworkUpdater
from flatstep.parameters import Arrays

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Listener", "StochasticGradientDescent"]


class Listener:
    """What a solver tells: derive from it and override what you need; the others do nothing.

    A listener that holds a resource releases it in ``close()``; ``with`` does that, too.

    Example:
        >>> import flatstep as fs
        >>> class PrintScore(fs.Listener):
        ...     def iteration_done(self, solver, iteration):
        ...         print(f"iteration {iteration}: score {solver.score:.3f}")
    """

    def on_gradient_calculation(self, solver: StochasticGradientDescent, gradients: Any) -> None:
        """Called before the step, with the gradients as ``gradient_and_score`` returned them.

        They are not yet normalised, and changing them in place changes the step.
        """

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        """Called after the step of this iteration; iterations count from 0."""

    def close(self) -> None:
        """Release what the listener holds; closing twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class StochasticGradientDescent:
    """Deeplearning4j's solver around an updater and a function that computes gradients.

    Every ``optimize()`` does, in this order:

    1. ``score, gradients = gradient_and_score()``; the last ``score`` becomes ``old_score``;
    2. ``listener.on_gradient_calculation(solver, gradients)`` for each listener: the gradients are
       raw, and a listener that changes them in place changes the step;
    3. ``update_gradient_according_to_params`` and the step, ``parameters -= update``;
    4. where the score has stopped getting better, the policy "Score" (`LearningRatePolicy`), which
       0.8 applies last;
    5. ``listener.iteration_done(solver, iteration)`` for each listener, with the iteration that
       was just done: ``updater.last_step`` describes it.

    The third point is two calls in Deeplearning4j, the second of which reads again what the first
    has written. Here it is the updater's fused ``step``: one pass over the memory, with the same
    result, that leaves the gradients as they were. Where ``update_gradient_according_to_params`` is
    overridden, somebody wants to come between the two halves, so they run one after the other: the
    updates that it leaves in the gradients are subtracted from the parameters.

    Args:
        updater: the updater (``MultiLayerUpdater``, ``ComputationGraphUpdater``, ``LayerUpdater``).
        gradient_and_score: called without arguments, returns ``(score, gradients)``: a number, and
            the gradients in any form that ``updater.step`` takes, or None for those given to
            ``updater.bind_gradients`` or ``updater.accumulate``.
        listeners: see :class:`flatstep.Listener`.
        batch_size: how many examples the gradients are a sum over; leave it at 1 where they are
            means. An attribute, too: ``gradient_and_score`` may set it, for a smaller last batch.

    Attributes:
        score: what ``gradient_and_score`` returned last; NaN before the first call.
        old_score: the score before that.

    Raises:
        TypeError: a listener with none of the two methods; from ``optimize``: something else than
            ``(score, gradients)`` was returned. What ``gradient_and_score``, a listener or the
            updater raises passes through and ends the step there.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, -2.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.25))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> solver = fs.StochasticGradientDescent(updater, lambda: (float(w @ w), {"0_W": 2 * w}))
        >>> solver.optimize(), solver.optimize()
        (13.0, 3.25)
        >>> w
        array([ 0.75, -0.5 ])
    """

    def __init__(
        self,
        updater: NetworkUpdater,
        gradient_and_score: Callable[[], tuple[float, Any]],
        listeners: Iterable[Listener] = (),
        *,
        batch_size: int = 1,
    ) -> None:
        if not isinstance(updater, _core.Updater):
            raise TypeError(
                "updater: expected an updater such as MultiLayerUpdater, got "
                f"{type(updater).__name__}"
            )
        if not callable(gradient_and_score):
            raise TypeError(
                "gradient_and_score: expected a function that returns (score, gradients), got "
                f"{type(gradient_and_score).__name__}"
            )
        self.updater = updater
        self.gradient_and_score = gradient_and_score
        self.batch_size = batch_size
        self.score = math.nan
        self.old_score = math.nan
        self.listeners = tuple(listeners)
        self._last_step: LastStep | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners, called in this order; assign to change them."""
        return self._listeners

    @listeners.setter
    def listeners(self, listeners: Iterable[Listener]) -> None:
        if not isinstance(listeners, Iterable):
            raise TypeError(
                f"listeners: expected a sequence of listeners, got {type(listeners).__name__}"
            )
        listeners = tuple(listeners)
        for listener in listeners:
            if isinstance(listener, type):
                raise TypeError(
                    f"listeners: expected listeners, got the class {listener.__name__}; make one "
                    f"with {listener.__name__}(…)"
                )
            if not hasattr(listener, "on_gradient_calculation") and not hasattr(
                listener, "iteration_done"
            ):
                raise TypeError(
                    "listeners: expected objects with on_gradient_calculation or iteration_done "
                    f"(see flatstep.Listener), got {type(listener).__name__}"
                )
        self._listeners = listeners
        self._before_step = _callbacks(self._listeners, "on_gradient_calculation")
        self._after_step = _callbacks(self._listeners, "iteration_done")

    @property
    def last_step(self) -> LastStep:
        """``updater.last_step``, put together once a step however many listeners ask for it.

        ValueError before the first step.
        """
        if self._last_step is None:
            self._last_step = self.updater.last_step
        if self._last_step is None:
            raise ValueError("last_step: there was no step yet; call optimize() first")
        return self._last_step

    def optimize(self) -> float:
        """Compute a gradient, take a step, and return the score from before the step."""
        result = self.gradient_and_score()
        try:
            score, gradients = result
            score = float(score)
        except (TypeError, ValueError):
            raise TypeError(
                "gradient_and_score must return (score, gradients), a number and the gradients, "
                f"in this order; it returned {_describe(result)}"
            ) from None
        self.old_score, self.score = self.score, score
        for on_gradient_calculation in self._before_step:
            on_gradient_calculation(self, gradients)
        iteration = self.updater.iteration
        self._last_step = None
        stands = self._score_stands()
        before = {key: a.copy() for key, a in self.updater.parameters.items()} if stands else {}
        if self._is_fused():
            self.updater.step(gradients, batch_size=self.batch_size)
        else:
            _require_gradients(gradients)
            skipped = self.updater.skipped_steps
            self.update_gradient_according_to_params(gradients)
            if self.updater.skipped_steps == skipped:
                self._subtract(gradients)
        # Where nothing moves, 0.8 has another reason to stop, and leaves the rate.
        if any((self.updater.parameters[key] != array).any() for key, array in before.items()):
            self.updater.apply_learning_rate_score_decay()
        for iteration_done in self._after_step:
            iteration_done(self, iteration)
        return score

    def _score_stands(self) -> bool:
        """Tell whether a policy "Score" is to act: 0.8's EpsTermination.

        The numbers are its own: a tolerance of ND4J's EPS_THRESHOLD, a float, and 1e-4.
        """
        if not any(slot.policy == "Score" for slot in self.updater._resolved):
            return False
        score, old = self.score, self.old_score
        tolerance = float(np.float32(1e-5))
        return 2 * abs(old - score) <= tolerance * (abs(old) + abs(score) + 1e-4) and not (
            score == old == 0
        )

    def update_gradient_according_to_params(self, gradients: Arrays) -> None:
        """Turn the gradients into updates in place, leaving the parameters as they are.

        This is the first half of a step by itself (``updater.update``: it changes the updater's
        state and advances the iteration), for programs that apply the updates on their own, and the
        method to override for those that change the updates before they are applied.
        """
        self._last_step = None
        self.updater.update(gradients, batch_size=self.batch_size)

    def _is_fused(self) -> bool:
        """Tell whether nobody comes between the two halves of a step."""
        method = getattr(self.update_gradient_according_to_params, "__func__", None)
        return method is StochasticGradientDescent.update_gradient_according_to_params

    def _subtract(self, updates: Any) -> None:
        """Subtract the updates from the parameters: the second half of a step by itself."""
        parameters = self.updater.parameters
        in_order = self.updater._in_slot_order(updates)
        for slot, update in zip(self.updater.layout, in_order, strict=True):
            if update is not None:
                parameters[slot.key] -= update


def _callbacks(listeners: Iterable[Listener], name: str) -> tuple[Callable[..., None], ...]:
    """Return the listeners' methods of this name, without those that do nothing."""
    methods = (getattr(listener, name, None) for listener in listeners)
    nothing = getattr(Listener, name)
    return tuple(
        method
        for method in methods
        if method is not None and getattr(method, "__func__", None) is not nothing
    )


def _require_gradients(gradients: object) -> None:
    if gradients is None:
        raise TypeError(
            "gradient_and_score: expected the gradients themselves, got None; where "
            "update_gradient_according_to_params is overridden, bound or accumulated gradients "
            "will not do"
        )


def _describe(result: object) -> str:
    """Say what came instead of a score and gradients."""
    if isinstance(result, tuple):
        return f"({', '.join(type(item).__name__ for item in result)})"
    return f"a {type(result).__name__}"
