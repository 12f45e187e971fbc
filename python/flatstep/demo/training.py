"""The demo's training run: everything between the options and the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import flatstep as fs
from flatstep.configuration import Semantics
from flatstep.training import History

from .digits import Batches, load_digits
from .network import Network
from .numpy_step import NumpyStep
from .side_by_side import Comparison, SideBySide

_WARM_UP_STEPS = 50


@dataclass(frozen=True)
class DemoUpdater:
    """An updater to choose: its constructor and the largest learning rate that suits the demo."""

    create: Callable[..., Any]
    learning_rate: float | None


UPDATERS: Mapping[str, DemoUpdater] = {
    "adam": DemoUpdater(fs.Adam, 3e-3),
    "adamw": DemoUpdater(fs.AdamW, 3e-3),
    "amsgrad": DemoUpdater(fs.AMSGrad, 3e-3),
    "adamax": DemoUpdater(fs.AdaMax, 1e-2),
    "nadam": DemoUpdater(fs.Nadam, 3e-3),
    "adabelief": DemoUpdater(fs.AdaBelief, 3e-3),
    "adagrad": DemoUpdater(fs.AdaGrad, 0.1),
    "adadelta": DemoUpdater(fs.AdaDelta, None),
    "rmsprop": DemoUpdater(fs.RmsProp, 3e-3),
    "nesterovs": DemoUpdater(fs.Nesterovs, 0.2),
    "sgd": DemoUpdater(fs.Sgd, 1.0),
}


@dataclass(frozen=True)
class Options:
    """What to train, and how: the choices of ``python -m flatstep``."""

    updater: str = "adam"
    strategy: str = "ClipL2PerLayer"
    threshold: float = 0.25
    semantics: Semantics = "dl4j-1.0"
    learning_rate: float | None = None
    epochs: int = 40
    batch_size: int = 32
    hidden: tuple[int, ...] = (128, 64)
    seed: int = 0
    log: Path | None = None

    @property
    def largest_rate(self) -> float | None:
        """The rate after the warm-up: the one given, or one that suits; None without a rate."""
        suitable = UPDATERS[self.updater].learning_rate
        return suitable if suitable is None or self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class Result:
    """What came out of a run."""

    sizes: tuple[int, ...]
    num_parameters: int
    num_test_images: int
    accuracy: float
    history: History
    comparison: Comparison


class Run:
    """A run that is set up: data, network, updater and the same updater in plain NumPy.

    ValueError where the options do not go together, as flatstep's configuration says it.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        rng = np.random.default_rng(options.seed)
        self.digits = load_digits(options.seed)
        self.batches = Batches(self.digits, options.batch_size, rng)
        self.network = Network((64, *options.hidden, 10), rng)
        self.num_steps = options.epochs * self.batches.per_epoch

        configuration = fs.MultiLayerConfiguration(
            updater=self._create_updater(with_schedule=True),
            gradient_normalization=options.strategy,
            gradient_normalization_threshold=options.threshold,
            semantics=options.semantics,
        )
        self.updater = fs.MultiLayerUpdater(configuration, self.network.parameters, monitor=True)
        self.updater.bind_gradients(self.network.gradients)

    def train(self, **progress_options: Any) -> Result:
        """Train, with a progress bar, and return what came out."""
        options, network = self.options, self.network
        twin = NumpyStep(
            self._create_updater(with_schedule=False),
            self._rate,
            options.strategy,
            options.threshold,
            options.semantics,
            network.flat_parameters,
            network.layer_slices,
        )
        side_by_side = SideBySide(twin, network.flat_parameters, network.flat_gradients)
        history = fs.HistoryListener()
        with ExitStack() as stack:
            progress = stack.enter_context(fs.ProgressListener(self.num_steps, **progress_options))
            listeners: list[fs.Listener] = [side_by_side, history, progress]
            if options.log is not None:
                writer = fs.JSONLWriter if options.log.suffix == ".jsonl" else fs.CSVWriter
                listeners.append(stack.enter_context(writer(options.log)))
            solver = fs.StochasticGradientDescent(
                self.updater, lambda: self._compute(solver), listeners
            )
            # A run that diverges says so with an error of its own, not with NumPy's warnings.
            stack.enter_context(np.errstate(over="ignore", invalid="ignore"))
            for epoch in range(options.epochs):
                self.updater.epoch = epoch
                for _ in range(self.batches.per_epoch):
                    solver.optimize()
        digits = self.digits
        return Result(
            sizes=network.sizes,
            num_parameters=network.flat_parameters.size,
            num_test_images=len(digits.test_labels),
            accuracy=network.accuracy(digits.test_images, digits.test_labels),
            history=history.history,
            comparison=side_by_side.comparison(),
        )

    def _compute(self, solver: fs.StochasticGradientDescent) -> tuple[float, Any]:
        """Compute the next batch's score and gradients: sums over the batch, so its size counts."""
        images, targets = self.batches.next()
        solver.batch_size = len(images)
        score, _ = self.network.gradient_and_score(images, targets)
        return score, None  # the bound gradients

    def _create_updater(self, *, with_schedule: bool) -> Any:
        choice, rate = UPDATERS[self.options.updater], self.options.largest_rate
        if rate is None:
            return choice.create()
        if not with_schedule:
            return choice.create(learning_rate=rate)
        cosine = fs.CosineSchedule(rate, max_iter=self.num_steps)
        return choice.create(learning_rate=fs.RampSchedule(cosine, _WARM_UP_STEPS))

    def _rate(self, iteration: int) -> float:
        """The schedule once more, for the step in plain NumPy."""
        largest = self.options.largest_rate or 0.0
        warm_up = min(1.0, (iteration + 1) / _WARM_UP_STEPS)
        return warm_up * largest * (1 + math.cos(math.pi * iteration / self.num_steps)) / 2
