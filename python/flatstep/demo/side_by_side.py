"""Takes every step of a run again in plain NumPy: the same job, checked and timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import Listener, StochasticGradientDescent
from .digits import FloatArray
from .numpy_step import NumpyStep


@dataclass(frozen=True)
class Comparison:
    """How long the steps took, in seconds, and how far apart the two sets of parameters ended.

    Attributes:
        difference: the largest difference, relative to the largest parameter.
        tolerance: what rounding may add up to: half a unit in the last place of a parameter each
            step, on either side.
    """

    flatstep_min: float
    flatstep_median: float
    numpy_min: float
    numpy_median: float
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether both did the same, but for rounding."""
        return self.difference <= self.tolerance


class SideBySide(Listener):
    """Measures the solver's step and the same step in plain NumPy on the same gradients.

    Both steps of an iteration run right after one another, and which comes first alternates: the
    second finds the gradients in a warmer cache. Put it first among the listeners, as the time
    between its two calls is the step's.

    Args:
        twin: the step in plain NumPy, which works on parameters of its own.
        parameters, gradients: the flat buffers that the updater works on.
    """

    def __init__(self, twin: NumpyStep, parameters: FloatArray, gradients: FloatArray) -> None:
        self._twin = twin
        self._parameters = parameters
        self._gradients = gradients
        self._flatstep_times: list[int] = []
        self._numpy_times: list[int] = []
        self._start = 0

    def on_gradient_calculation(self, solver: StochasticGradientDescent, gradients: Any) -> None:
        if self._twin_is_first(solver.updater.iteration):
            self._step_twin(solver.batch_size)
        self._start = time.perf_counter_ns()

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        self._flatstep_times.append(time.perf_counter_ns() - self._start)
        if not self._twin_is_first(iteration):
            self._step_twin(solver.batch_size)

    def comparison(self) -> Comparison:
        """Compare the steps so far."""
        largest = np.abs(self._parameters).max()
        difference = np.abs(self._parameters - self._twin.parameters).max() / largest
        return Comparison(
            flatstep_min=min(self._flatstep_times) * 1e-9,
            flatstep_median=float(np.median(self._flatstep_times)) * 1e-9,
            numpy_min=min(self._numpy_times) * 1e-9,
            numpy_median=float(np.median(self._numpy_times)) * 1e-9,
            difference=float(difference),
            tolerance=len(self._numpy_times) * float(np.finfo(self._parameters.dtype).eps),
        )

    @staticmethod
    def _twin_is_first(iteration: int) -> bool:
        return iteration % 2 == 0

    def _step_twin(self, batch_size: int) -> None:
        start = time.perf_counter_ns()
        self._twin.step(self._gradients, batch_size)
        self._numpy_times.append(time.perf_counter_ns() - start)
