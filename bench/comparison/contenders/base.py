"""What the contenders share: where they come from, and the arrays that they start with."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from comparison.cases import Case, Network
from comparison.timing import Contender

Array = npt.NDArray[Any]

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
# Every gradient here has a larger norm: each step clips.
THRESHOLD = 1.0

# The values of all arrays: a block of normal numbers, again and again; here twice, to start within.
_BLOCK = 1 << 16
_VALUES = np.tile(np.random.default_rng(20).standard_normal(_BLOCK), 2)


class Absent(Exception):
    """A contender that cannot be measured here, and why."""


class Source(Protocol):
    """A library with contenders."""

    name: str
    version: str

    def set_threads(self, count: int) -> None:
        """How many threads the next contenders use."""

    def contenders(self, case: Case) -> list[Contender]:
        """Its contenders for a case, each with arrays of its own."""


def rule_of(fs: ModuleType, case: Case) -> Any:
    """The updater of a case, with the learning rate of all contenders."""
    rule = getattr(fs, case.updater)()
    return replace(rule, learning_rate=LEARNING_RATE) if hasattr(rule, "learning_rate") else rule


def import_or_absent(name: str) -> ModuleType:
    """The module, or Absent with the import's own message."""
    try:
        return importlib.import_module(name)
    except Exception as problem:  # a broken installation fails in many ways, and is absent too
        raise Absent(f"{type(problem).__name__}: {problem}") from problem


def _fill(array: Array, first: int, scale: float) -> None:
    """The block's values from `first` on, times `scale`."""
    flat = array.reshape(-1)
    begin = first % _BLOCK
    block = _VALUES[begin : begin + min(_BLOCK, flat.size)] * scale
    whole = flat.size // block.size * block.size
    flat[:whole].reshape(-1, block.size)[:] = block
    flat[whole:] = block[: flat.size - whole]


class Arrays:
    """Parameters and gradients of one contender, the same values for each.

    With `flat` they are views of one buffer each, else arrays of their own.
    """

    def __init__(self, network: Network, dtype: npt.DTypeLike, *, flat: bool = False) -> None:
        shapes = dict(network.arrays())
        self.layers = [
            [f"{index}_{param}" for param, _ in zip("Wb", layer, strict=False)]
            for index, layer in enumerate(network.layers)
        ]
        if flat:
            self.flat_parameters = np.empty(network.num_parameters, dtype)
            self.flat_gradients = np.empty(network.num_parameters, dtype)
            self.parameters = _views(self.flat_parameters, shapes)
            self.gradients = _views(self.flat_gradients, shapes)
        else:
            self.parameters = {key: np.empty(shape, dtype) for key, shape in shapes.items()}
            self.gradients = {key: np.empty(shape, dtype) for key, shape in shapes.items()}
        for index, key in enumerate(shapes):
            _fill(self.parameters[key], 2 * index, 0.1)
            _fill(self.gradients[key], 2 * index + 1, 1.0)

    def result(self) -> Array:
        """All parameters, one after the other."""
        return np.concatenate([array.reshape(-1) for array in self.parameters.values()])


def _views(buffer: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    views, begin = {}, 0
    for key, shape in shapes.items():
        size = int(np.prod(shape))
        views[key] = buffer[begin : begin + size].reshape(shape)
        begin += size
    return views
