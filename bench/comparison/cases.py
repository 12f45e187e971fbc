"""What is measured: networks (which arrays in which layers), and the cases made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

import flatstep as fs
from flatstep import _core

Shape = tuple[int, ...]

STRATEGIES = ("None", "ClipL2PerLayer", "ClipL2Global")

# How many state arrays an updater keeps: with the parameters and the gradient, the bytes of a step.
STATE_ARRAYS = {updater.name: len(updater.state_names) for updater in _core.updater_registry()}
# What goes over memory a second time, in arrays, where a norm over the whole parameter comes first:
# Lamb writes its update and reads it again beside the parameter, Lars reads the gradient and the
# parameter twice.
SECOND_PASS = {"Lamb": 3, "Lars": 2}


# The roots and divisions of an updater's step for each parameter; of most it is one of each.
ROOTS_AND_DIVISIONS = {
    **dict.fromkeys(("Lion", "Momentum", "Nesterovs", "NoOp", "Sgd"), (0, 0)),
    "AdaMax": (0, 1),
    **dict.fromkeys(("AdaDelta", "AdaDeltaWithRate"), (2, 1)),
}


@dataclass(frozen=True)
class Storage:
    """How an updater keeps what it steps with, in bytes of each parameter: `state` is of state that
    is kept in codes.

    `parameter` has the arrays that a parameter lies in: with a split master two, bfloat16 and the
    other 16 bits.
    """

    state_storage: str
    parameter: tuple[int, ...]
    gradient: int
    state: int

    @property
    def split(self) -> bool:
        return len(self.parameter) > 1

    def written(self, updater: str) -> tuple[int, ...]:
        """The arrays that a step reads and writes."""
        return (*self.parameter, *state_bytes(updater, self.state_storage))

    def bytes(self, updater: str) -> int:
        """What a step must move; the scales of blocks, one for many parameters, are left out."""
        return self.gradient + 2 * sum(self.written(updater))


@cache
def state_bytes(updater: str, state_storage: str) -> tuple[int, ...]:
    """The bytes of each state array for a parameter, those of codes first."""
    config = fs.MultiLayerConfiguration(updater=getattr(fs, updater)(), state_storage=state_storage)
    kept = fs.MultiLayerUpdater(config, {"0_W": np.zeros(1 << 16, np.float32)})._kept(0)
    names = next(each.state_names for each in _core.updater_registry() if each.name == updater)
    return tuple(sorted(kept[name].itemsize for name in names))


# By the name that contenders have in them: "flatstep, 16bit". What has no such name is "full".
STORAGES = {
    "full": Storage("full", (4,), 4, 4),
    "16bit": Storage("16bit", (4,), 4, 2),
    "8bit": Storage("8bit", (4,), 4, 1),
    "split 16bit": Storage("16bit", (2, 2), 2, 2),
    "split 8bit": Storage("8bit", (2, 2), 2, 1),
}
# Every storage of Adam, beside its peers; and of every updater, beside its limits.
STORAGE_GROUPS = ("storage", "stored updaters")
BITSANDBYTES = "bitsandbytes, 8bit"
# Of the limits that move nothing: "in the cache, 16bit".
IN_THE_CACHE = "in the cache"


def storage_of(contender: str) -> str:
    """The storage that is in a contender's name."""
    name = contender.partition(", ")[2]
    return name if name in STORAGES else "full"


def stored(contender: str, storage: str) -> str:
    """A contender's name with a storage."""
    return contender if storage == "full" else f"{contender}, {storage}"


@dataclass(frozen=True)
class Network:
    """The shapes of a network's parameters, layer by layer; layer i's are named i_W and i_b."""

    name: str
    layers: tuple[tuple[Shape, ...], ...]

    def arrays(self) -> Iterator[tuple[str, Shape]]:
        """The key and the shape of each parameter."""
        for index, layer in enumerate(self.layers):
            for param, shape in zip("Wb", layer, strict=False):
                yield f"{index}_{param}", shape

    @property
    def num_arrays(self) -> int:
        return sum(len(layer) for layer in self.layers)

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for layer in self.layers for shape in layer)

    def __str__(self) -> str:
        arrays = "1 array" if self.num_arrays == 1 else f"{self.num_arrays:,} arrays"
        return f"{self.name}: {self.num_parameters:,} parameters in {arrays}"


@dataclass(frozen=True)
class Case:
    """One network stepped by one updater; its contenders are measured in turns.

    `between_products`: each step stands between two NumPy matrix products, as in a training loop,
    so that another library's threads have just worked on the same cores.
    """

    group: str
    network: Network
    threads: int
    strategy: str = "None"
    updater: str = "Adam"
    dtype: str = "float32"
    between_products: bool = False
    averages: bool = False
    storage: str = "full"

    def bytes_of(self, contender: str) -> int:
        """What a step of this contender must move: that of another storage moves less."""
        storage = storage_of(contender)
        if storage == "full":
            return self.bytes
        return self.network.num_parameters * STORAGES[storage].bytes(self.updater)

    @property
    def bytes(self) -> int:
        """What a step must move: parameters, state and averages are read and written, gradients
        read.
        """
        words = 3 + 2 * (STATE_ARRAYS[self.updater] + self.averages)
        words += SECOND_PASS.get(self.updater, 0)
        return self.network.num_parameters * words * (4 if self.dtype == "float32" else 8)

    def __str__(self) -> str:
        parts = [str(self.network)]
        if self.dtype != "float32":
            parts.append(self.dtype)
        if self.updater != "Adam":
            parts.append(self.updater)
        parts.append("plain" if self.strategy == "None" else self.strategy)
        if self.averages:
            parts.append("averages")
        if self.group in STORAGE_GROUPS:
            parts.append("full storage" if self.storage == "full" else self.storage)
        if self.between_products:
            parts.append("in a loop")
        parts.append("1 thread" if self.threads == 1 else f"{self.threads} threads")
        return ", ".join(parts)


def dense(*sizes: int) -> tuple[tuple[Shape, ...], ...]:
    """The layers of a multilayer perceptron: weights and bias each."""
    return tuple(((m, n), (n,)) for m, n in pairwise(sizes))


def size_name(size: int) -> str:
    """1048576 -> "1M"."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "K")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def single(size: int) -> Network:
    """One array of `size` parameters."""
    return Network(size_name(size), (((size,),),))


def repeated(count: int, size: int) -> Network:
    """`count` layers of one array each."""
    return Network(f"{count}x{size_name(size)}", (((size,),),) * count)


TINY = Network("tiny", dense(4, 32, 2))
MLP = Network("mlp", dense(784, 256, 128, 10))


def standard_cases(threads: Sequence[int], *, quick: bool) -> list[Case]:
    """Every case of the benchmark. `quick` takes sizes 1024 times smaller: a look, no measure."""
    unit = 1 << 10 if quick else 1 << 20
    deep = Network("deep2" if quick else "deep", (((256, 256), (256,)),) * (2 if quick else 50))
    small = repeated(20 if quick else 2000, 64)
    one, large, largest = single(unit), single(16 * unit), single(64 * unit)
    many = repeated(64, unit)
    most = max(threads)

    networks = (TINY, MLP, deep, small, one, large, largest, many)
    cases = [
        Case(network.name, network, count, strategy)
        for network in networks
        for strategy in STRATEGIES
        for count in threads
    ]
    cases += [
        Case("updaters", network, most, updater=updater)
        for network in (large, largest)
        for updater in STATE_ARRAYS
    ]
    cases += [Case("float64", n, count, dtype="float64") for n in (one, large) for count in threads]
    cases += [
        Case("loop", network, most, strategy, between_products=True)
        for network in (MLP, deep)
        for strategy in STRATEGIES
    ]
    cases += [
        Case("averages", network, most, averages=averages)
        for network in (large, largest)
        for averages in (False, True)
    ]
    # Neither blocks nor threads come out even with the second.
    odd = Network(f"{size_name(64 * unit)} + 1040", (((64 * unit + 1040,),),))
    cases += [
        Case("storage", network, most, strategy, storage=storage)
        for network in (large, odd)
        for storage in STORAGES
        for strategy in ("None", "ClipL2Global")
    ]
    cases += [
        Case("stored updaters", large, most, updater=updater, storage=storage)
        for updater in STATE_ARRAYS
        if updater not in SECOND_PASS  # whose norms are of all there is: no fused pass
        for storage in STORAGES
        if storage != "full"
    ]
    cases.append(Case("cache", single(1 << 14), 1))
    # How the cost grows: with the parameters of one array, and with the number of arrays.
    cases += [
        Case("sizes", single(1 << bits), count)
        for bits in range(6, 17 if quick else 27, 2)
        for count in threads
    ]
    cases += [
        Case("arrays", repeated(count, 64), most)
        for count in ((1, 10) if quick else (1, 10, 100, 1000, 10000))
    ]
    return cases


def groups(cases: Sequence[Case]) -> list[str]:
    """The names that --cases takes, in order."""
    return list(dict.fromkeys(case.group for case in cases))
