"""A language model of some three million parameters in plain NumPy: which character comes next.

The last one to eight characters are looked up, by hashes, in one table of embeddings; what is found
goes through a hidden layer to a softmax. Most rows of the table are in no batch: their gradient is
zero for hundreds of steps and then is not, beside rows in the same block of 256 whose gradient
always is. Nothing asks more of a code of state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trained.run import STORAGES, Task, configuration, narrowed
from trained.text import Codes, codes_of, reference

ROWS, WIDTH, LENGTHS, HIDDEN, BATCH = 1 << 16, 44, (1, 2, 3, 4, 5, 6, 8), 256, 128
OUTPUTS = 97
RATE = 2e-3

Array = NDArray[Any]


def rows_of(codes: Codes) -> NDArray[np.int64]:
    """For each place, the rows of what stands before it: one for each of `LENGTHS`."""
    rows = np.zeros((len(codes), len(LENGTHS)), np.int64)
    hashed = np.zeros(len(codes), np.uint64)
    before = codes.astype(np.uint64)
    with np.errstate(over="ignore"):
        for length in range(1, max(LENGTHS) + 1):
            before = np.concatenate([np.zeros(1, np.uint64), before[:-1]])
            hashed = (hashed + before + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            hashed ^= hashed >> np.uint64(29)
            if length in LENGTHS:
                rows[:, LENGTHS.index(length)] = hashed >> np.uint64(48)
    return rows % ROWS


class LanguageModel:
    """Its arrays may be bfloat16: it computes in float32 of what they hold."""

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        self.parameters = parameters
        self.gradients = {key: np.zeros_like(array) for key, array in parameters.items()}
        self._touched: NDArray[np.int64] = np.empty(0, np.int64)

    @staticmethod
    def initial(rng: np.random.Generator) -> dict[str, Array]:
        inputs = WIDTH * len(LENGTHS)

        def weights(deviation: float, *shape: int) -> Array:
            return np.float32(deviation) * rng.standard_normal(shape, np.float32)

        return {
            "0_W": weights(0.1, ROWS, WIDTH),
            "1_W": weights((2 / inputs) ** 0.5, inputs, HIDDEN),
            "1_b": np.zeros(HIDDEN, np.float32),
            "2_W": weights((1 / HIDDEN) ** 0.5, HIDDEN, OUTPUTS),
            "2_b": np.zeros(OUTPUTS, np.float32),
        }

    def forward(self, rows: NDArray[np.int64]) -> Array:
        """The logarithms of the probabilities."""
        p = {key: np.asarray(a, np.float32) for key, a in self.parameters.items() if key != "0_W"}
        found = self.parameters["0_W"][rows].astype(np.float32)
        self._inputs = found.reshape(len(rows), -1)
        self._hidden = np.maximum(self._inputs @ p["1_W"] + p["1_b"], 0)
        logits: Array = self._hidden @ p["2_W"] + p["2_b"]
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self._weights = p
        return logits

    def loss_and_gradients(self, rows: NDArray[np.int64], following: Codes) -> float:
        """Fill `gradients` with those of the mean cross-entropy, which is returned."""
        log_probabilities = self.forward(rows)
        places = np.arange(len(following))
        loss = -float(log_probabilities[places, following].mean())
        delta = np.exp(log_probabilities)
        delta[places, following] -= 1
        delta /= len(following)
        self.gradients["2_W"][...] = self._hidden.T @ delta
        self.gradients["2_b"][...] = delta.sum(axis=0)
        delta = (delta @ self._weights["2_W"].T) * (self._hidden > 0)
        self.gradients["1_W"][...] = self._inputs.T @ delta
        self.gradients["1_b"][...] = delta.sum(axis=0)
        self._scatter(rows.reshape(-1), (delta @ self._weights["1_W"].T).reshape(-1, WIDTH))
        return loss

    def _scatter(self, rows: NDArray[np.int64], deltas: Array) -> None:
        order = np.argsort(rows, kind="stable")
        touched, starts = np.unique(rows[order], return_index=True)
        self.gradients["0_W"][self._touched] = 0
        self.gradients["0_W"][touched] = np.add.reduceat(deltas[order], starts)
        self._touched = touched


def accuracy(model: LanguageModel, rows: NDArray[np.int64], codes: Codes) -> float:
    right = 0
    for start in range(0, len(codes), 4096):
        part = slice(start, start + 4096)
        right += int((model.forward(rows[part]).argmax(axis=1) == codes[part]).sum())
    return right / len(codes)


def train(storage: str, seed: int, steps: int) -> tuple[float, list[float]]:
    """A start and an order for each seed; what is tested on is never seen."""
    import flatstep as fs

    text = reference()
    codes, test = (codes_of(part, text.characters) for part in (text.train, text.test))
    rows = rows_of(codes)
    rng = np.random.default_rng(seed)
    model = LanguageModel(narrowed(LanguageModel.initial(rng), STORAGES[storage]))
    updater = fs.MultiLayerUpdater(
        configuration(storage, seed, fs.Adam(fs.CosineSchedule(RATE, steps)), range(3)),
        model.parameters,
    )
    order = np.empty(0, np.int64)
    losses = []
    for _ in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(codes))
        batch, order = order[:BATCH], order[BATCH:]
        losses.append(model.loss_and_gradients(rows[batch], codes[batch]))
        updater.step(model.gradients)
    return 100 * accuracy(model, rows_of(test), test), losses


LANGUAGE_MODEL = Task(
    "language model",
    "characters of Python's reference from hashed contexts",
    ROWS * WIDTH + WIDTH * len(LENGTHS) * HIDDEN + HIDDEN + HIDDEN * OUTPUTS + OUTPUTS,
    2000,
    10,
    train,
)
