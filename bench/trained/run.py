"""One training run with one storage, and the arrays that it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from comparison.cases import STORAGES, Storage
from numpy.typing import NDArray

import flatstep as fs

__all__ = ["STORAGES", "Kept", "Run", "Task", "configuration"]

Array = NDArray[Any]
BFLOAT16 = ml_dtypes.bfloat16


@dataclass(frozen=True)
class Run:
    """What came of one seed with one storage: accuracy in percent, and the loss on the way.

    `losses` has the mean of each `Task.every` steps.
    """

    task: str
    storage: str
    seed: int
    accuracy: float
    losses: tuple[float, ...]

    @property
    def final_loss(self) -> float:
        """Of the last tenth of the steps."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 10) :]))


@dataclass(frozen=True)
class Task:
    """A network and its data; `train` takes a storage's name, a seed and a number of steps."""

    name: str
    what: str  # is trained on what, for the heading of a table
    parameters: int
    steps: int
    seeds: int
    train: Callable[[str, int, int], tuple[float, list[float]]]

    @property
    def every(self) -> int:
        """So many steps are one point of the curve."""
        return max(1, self.steps // 100)

    def run(self, storage: str, seed: int, steps: int | None = None) -> Run:
        accuracy, losses = self.train(storage, seed, steps or self.steps)
        whole = len(losses) // self.every * self.every
        means = np.reshape(losses[:whole], (-1, self.every)).mean(axis=1)
        return Run(
            self.name, storage, seed, round(accuracy, 4), tuple(float(f"{m:.6g}") for m in means)
        )


def configuration(
    storage: str, seed: int, updater: Any, layers: Iterable[Any]
) -> fs.MultiLayerConfiguration:
    """Every array of these layers narrow, the small ones too: they stay full unless they say."""
    kept: Any = STORAGES[storage]
    return fs.MultiLayerConfiguration(
        updater=updater,
        master="split" if kept.split else None,
        storage_seed=seed,
        layers={layer: fs.LayerConfiguration(state_storage=kept.state_storage) for layer in layers},
    )


def narrowed(arrays: Mapping[str, Array], storage: Storage) -> dict[str, Array]:
    """Copies of the parameters as a storage keeps them."""
    dtype = BFLOAT16 if storage.split else np.float32
    return {key: array.astype(dtype) for key, array in arrays.items()}


class Kept:
    """The arrays that an updater steps, beside those in float32 that a network in NumPy reads.

    With a split master the updater's are bfloat16, and the network sees what these hold: it
    computes in float32, as NumPy has no faster way. Without one they are the network's own.
    """

    def __init__(
        self, storage: str, read: Mapping[str, Array], gradients: Mapping[str, Array]
    ) -> None:
        self._split = STORAGES[storage].split
        self._read, self._gradients = read, gradients
        self.parameters, self.gradients = read, gradients
        if self._split:
            self.parameters = narrowed(read, STORAGES[storage])
            self.gradients = {key: np.zeros(a.shape, BFLOAT16) for key, a in gradients.items()}
            self.show()

    def take_gradients(self) -> None:
        """Round what the network has computed."""
        if self._split:
            for key, gradient in self._gradients.items():
                self.gradients[key][...] = gradient

    def show(self) -> None:
        """Let the network read what the step has made."""
        if self._split:
            for key, parameter in self.parameters.items():
                self._read[key][...] = parameter
