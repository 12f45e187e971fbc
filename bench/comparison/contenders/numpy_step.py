"""Adam in NumPy, written well: in place, with `out=`, scratch that is there, cache-sized blocks.

Once array by array, as gradients come, and once over one flat buffer, for which a program must keep
its parameters and its gradients in such buffers.
"""

from __future__ import annotations

import math

import numpy as np

from comparison.cases import Case
from comparison.contenders.base import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    THRESHOLD,
    Array,
    Arrays,
)
from comparison.timing import Contender

# Larger arrays go through the caches block by block: 16K elements of five arrays, about 256 KiB.
BLOCK = 1 << 14


class NumpyAdam:
    """Adam over separate arrays or, with `flat`, over one."""

    def __init__(self, case: Case, *, flat: bool) -> None:
        self.arrays = arrays = Arrays(case.network, case.dtype, flat=flat)
        self.strategy = case.strategy
        self.step_number = 0
        # The gradients of each layer, and the arrays to pass over with the layer of each.
        if not flat:
            self.layers = [
                [arrays.gradients[k].reshape(-1) for k in keys] for keys in arrays.layers
            ]
            gradients = [gradient for layer in self.layers for gradient in layer]
            parameters = [array.reshape(-1) for array in arrays.parameters.values()]
        elif case.strategy == "ClipL2PerLayer":
            sizes = [sum(arrays.gradients[k].size for k in keys) for keys in arrays.layers]
            ends = np.cumsum(sizes)[:-1]
            gradients = np.split(arrays.flat_gradients, ends)
            parameters = np.split(arrays.flat_parameters, ends)
            self.layers = [[gradient] for gradient in gradients]
        else:
            gradients, parameters = [arrays.flat_gradients], [arrays.flat_parameters]
            self.layers = [gradients]
        layer_of = [index for index, layer in enumerate(self.layers) for _ in layer]
        scratch = np.empty(min(BLOCK, max(array.size for array in parameters)), case.dtype)
        clipped = np.empty_like(scratch)
        self.blocks: list[tuple[int, Array, Array, Array, Array, Array, Array]] = []
        for layer, p, g in zip(layer_of, parameters, gradients, strict=True):
            m, v = np.zeros_like(p), np.zeros_like(p)
            for begin in range(0, p.size, BLOCK):
                part = slice(begin, begin + BLOCK)
                size = p[part].size
                self.blocks.append(
                    (layer, p[part], g[part], m[part], v[part], scratch[:size], clipped[:size])
                )

    def factors(self) -> list[float] | None:
        """What each layer's gradient is multiplied by."""
        if self.strategy == "None":
            return None
        squares = [sum(float(np.dot(g, g)) for g in layer) for layer in self.layers]
        if self.strategy == "ClipL2Global":
            squares = [sum(squares)] * len(squares)
        return [THRESHOLD / max(math.sqrt(square), THRESHOLD) for square in squares]

    def step(self) -> None:
        self.step_number += 1
        t = self.step_number
        alpha = LEARNING_RATE * math.sqrt(1.0 - BETA2**t) / (1.0 - BETA1**t)
        factors = self.factors()
        multiply, add, sqrt = np.multiply, np.add, np.sqrt
        divide, subtract = np.divide, np.subtract
        for layer, p, g, m, v, scratch, clipped in self.blocks:
            if factors is not None:
                g = multiply(g, factors[layer], out=clipped)
            multiply(m, BETA1, out=m)
            multiply(g, 1.0 - BETA1, out=scratch)
            add(m, scratch, out=m)
            multiply(v, BETA2, out=v)
            multiply(g, g, out=scratch)
            multiply(scratch, 1.0 - BETA2, out=scratch)
            add(v, scratch, out=v)
            sqrt(v, out=scratch)
            add(scratch, EPSILON, out=scratch)
            divide(m, scratch, out=scratch)
            multiply(scratch, alpha, out=scratch)
            subtract(p, scratch, out=p)


class Numpy:
    name = "numpy"
    version = np.__version__

    def set_threads(self, count: int) -> None:
        """NumPy's element-wise loops have one thread."""

    def contenders(self, case: Case) -> list[Contender]:
        if case.updater != "Adam" or case.group in ("updaters", "storage", "cache"):
            return []
        flats = (False, True) if case.network.num_arrays > 1 else (False,)
        found = []
        for flat in flats:
            adam = NumpyAdam(case, flat=flat)
            name = "NumPy, flat" if flat else "NumPy"
            found.append(Contender(name, adam.step, (), adam.arrays.result))
        return found


def load() -> Numpy:
    return Numpy()
