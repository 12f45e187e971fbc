"""A run on few images, some of them mislabelled: its best epoch, and where patience stops it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from style import COLORS, INK, panels

import flatstep as fs
from flatstep.demo.digits import load_digits
from flatstep.demo.network import Network

PATIENCE = 10


class Curves(NamedTuple):
    training: list[float]
    validation: list[float]

    @property
    def best(self) -> int:
        return int(np.argmin(self.validation))


@functools.cache
def curves(epochs: int = 60) -> Curves:
    rng = np.random.default_rng(0)
    digits = load_digits(0)
    network = Network((64, 64, 10), rng)
    rows = np.arange(150)
    labels = digits.train_labels[rows]
    labels[::5] = rng.integers(10, size=30)  # a fifth of them is wrong
    one_hot = np.eye(10, dtype=np.float32)
    images, targets = digits.train_images[rows], one_hot[labels]
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam(0.01)), network.parameters
    )
    found = Curves([], [])
    for _ in range(epochs):
        for batch in np.split(rng.permutation(rows), 5):
            _, gradients = network.gradient_and_score(images[batch], targets[batch])
            updater.step(gradients, batch_size=len(batch))
        found.training.append(network.gradient_and_score(images, targets)[0])
        found.validation.append(
            network.gradient_and_score(digits.test_images, one_hot[digits.test_labels])[0]
        )
    return found


def draw() -> Any:
    found = curves()
    best, least = found.best, min(found.validation)
    with panels(1, 1, height=3.0) as (figure, axes):
        axes.plot(found.training, color=COLORS[0], label="training")
        axes.plot(found.validation, color=COLORS[1], label="validation")
        axes.plot([best], [least], "o", color=COLORS[1])
        axes.axvline(best + PATIENCE, color=INK, linestyle="--", linewidth=1)
        for place, offset, text in (
            ((best, least), (0, 10), f"best, epoch {best}"),
            ((best + PATIENCE, 1.4), (5, 0), f"patience of {PATIENCE} is over"),
        ):
            axes.annotate(text, place, xytext=offset, textcoords="offset points")
        axes.set(title="Score", xlabel="epoch", ylim=(0, None))
        axes.legend(loc="upper right")
    return figure
