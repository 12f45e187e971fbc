"""The LSTM of examples/lstm_text.py, on a longer text than there, of which a part is kept back."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trained.run import Kept, Task, configuration
from trained.text import reference

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

UNITS, BATCH, LENGTH, CHARACTERS = 96, 16, 24, 97
RATE = 1e-2


def train(storage: str, seed: int, steps: int) -> tuple[float, list[float]]:
    """Where the strands of text begin is the seed's, as are the weights."""
    example: Any = importlib.import_module("lstm_text")

    import flatstep as fs

    source = reference()
    rng = np.random.default_rng(seed)
    start = int(rng.integers(len(source.train)))
    text = example.Text(source.train[start:] + source.train[:start])
    dtype = np.float32
    network = example.Network(example.initial_parameters(len(text.characters), UNITS, rng, dtype))
    kept = Kept(storage, _by_key(network.params), _by_key(network.gradients))
    updater = fs.ComputationGraphUpdater(
        configuration(storage, seed, fs.Adam(fs.CosineSchedule(RATE, steps)), ("lstm", "output")),
        kept.parameters,
    )
    memory = example.Memory.empty(BATCH, network.params)
    windows = text.windows(BATCH, LENGTH)
    losses = []
    for _ in range(steps):
        inputs, following, restarted = next(windows)
        if restarted:
            memory = example.Memory.empty(BATCH, network.params)
        memory = network.forward(text.one_hot(inputs, dtype), memory)
        targets = text.one_hot(following, dtype)
        network.backward(targets)
        losses.append(network.loss(targets))
        kept.take_gradients()
        updater.step(kept.gradients)
        kept.show()
    return 100 * accuracy(example, network, text, source.test), losses


def accuracy(example: Any, network: Any, text: Any, test: str) -> float:
    """The share of characters kept back that the network foresees, in 64 strands."""
    known = set(text.characters)
    held_back = example.Text(test)
    place = np.array([text.characters.index(c) if c in known else 0 for c in held_back.characters])
    inputs, following, _ = next(held_back.windows(64, (len(test) - 1) // 64))
    memory = example.Memory.empty(64, network.params)
    network.forward(text.one_hot(place[inputs], np.float32), memory)
    foreseen = network.log_probabilities.argmax(axis=-1)
    return float((foreseen == place[following]).mean())


def _by_key(layers: Any) -> dict[str, Any]:
    return {f"{layer}_{name}": a for layer, arrays in layers.items() for name, a in arrays.items()}


LSTM = Task(
    "LSTM",
    "characters of Python's reference, by the LSTM of `examples/lstm_text.py`",
    CHARACTERS * 4 * UNITS + UNITS * 4 * UNITS + 4 * UNITS + UNITS * CHARACTERS + CHARACTERS,
    600,
    10,
    train,
)
