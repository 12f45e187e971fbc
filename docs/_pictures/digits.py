"""The run that pictures show: the demo's network learns scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import flatstep as fs
from flatstep.demo.digits import Batches, load_digits
from flatstep.demo.network import Network
from flatstep.training import History


class Run(NamedTuple):
    """What came of it."""

    history: History
    accuracy: float
    updater: fs.MultiLayerUpdater


def train(
    configuration: fs.MultiLayerConfiguration,
    *,
    steps: int = 300,
    batch_size: int = 32,
    hidden: tuple[int, ...] = (64,),
    scale_of_input: float = 1.0,
    before_step: Callable[[Any], None] | None = None,
) -> Run:
    """Equal arguments begin with equal weights and see equal batches."""
    rng = np.random.default_rng(0)
    digits = load_digits(0)
    batches = Batches(digits, batch_size, rng)
    network = Network((64, *hidden, 10), rng)
    updater = fs.MultiLayerUpdater(configuration, network.parameters, monitor=True)
    updater.bind_gradients(network.gradients)
    history = fs.HistoryListener()

    def gradient_and_score() -> tuple[float, None]:
        images, targets = batches.next()
        solver.batch_size = len(images)
        score, _ = network.gradient_and_score(images * np.float32(scale_of_input), targets)
        return score, None

    solver = fs.StochasticGradientDescent(updater, gradient_and_score, [history])
    with np.errstate(all="ignore"):
        for _ in range(steps):
            if before_step is not None:
                before_step(updater)
            solver.optimize()
    test = digits.test_images * np.float32(scale_of_input)
    return Run(history.history, network.accuracy(test, digits.test_labels), updater)
