"""The promise of equal bits: whatever the instruction set, the threads, the arrays' places in
memory.

Over every updater of the table and every strategy, both orders and both types, compared to the bit:
parameters, updates, state and the report of the last step. Only SSE2, which has no fused
multiply-add, is outside the promise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from networks import Arrays, copies
from oracle.normalization import CHUNK, STRATEGIES
from snapshots import bits, report
from updater_table import TABLE, UpdaterRow

import flatstep as fs

Shapes = dict[str, tuple[int, ...]]

FUSED = [isa for isa in fs.available_isas() if isa != "sse2"]
DTYPES = (np.float32, np.float64)
THREADS = (2, 3, 8)

# Tails of many lengths, for every vector, and a slot of more than one chunk.
SHAPES: Shapes = {
    "0_W": (7, 9),
    "0_b": (9,),
    "1_W": (2, 35),
    "1_b": (1,),
    "2_W": (31,),
    "3_W": (1, CHUNK + 3),
    "3_b": (64,),
}
# Enough work to be shared among several threads.
LARGE: Shapes = SHAPES | {"4_W": (11, CHUNK), "4_b": (8,), "5_W": (5, CHUNK + 7)}

EACH = pytest.mark.parametrize("row", TABLE, ids=str)
EACH_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)


@functools.cache
def numbers(dtype: Any, salt: int, large: bool = False) -> Arrays:
    """To be copied before use."""
    rng = np.random.default_rng(salt)
    shapes = LARGE if large else SHAPES
    return {key: rng.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}


def settings(row: UpdaterRow, strategy: str) -> Iterator[Any]:
    """Configurations with regularisation before or after the updater, in each order."""
    for semantics in row.semantics:
        decays = semantics == "dl4j-1.0" and row.name != "AdamW"
        yield fs.MultiLayerConfiguration(
            updater=row.constructor(),
            gradient_normalization=strategy,
            gradient_normalization_threshold=0.5,
            l1=1e-3,
            l2=1e-2,
            weight_decay=0.05 if decays else 0.0,
            semantics=semantics,
        )


Place = Callable[[Arrays], Arrays]


def run(config: Any, dtype: Any, *, apply: bool, place: Place = copies, large: bool = False) -> Any:
    """Two steps; everything that came of them."""
    params = place(numbers(dtype, 0, large))
    updater = fs.MultiLayerUpdater(config, params, monitor=True)
    results = []
    for step in (1, 2):
        gradients = place(numbers(dtype, step, large))
        method = updater.step if apply else updater.update
        method(gradients, batch_size=3)
        results += [bits(gradients), report(updater.last_step)]
    state = {key: dict(updater.state(key)) for key in params}
    return bits(params), bits(np.array(updater.state_view)), bits(state), results


def assert_same(
    row: UpdaterRow,
    strategy: str,
    variants: Mapping[str, Callable[..., Any]],
    plain_run: Callable[..., Any] = run,
) -> None:
    """Every variant gives what a plain run gives."""
    for config in settings(row, strategy):
        for dtype in DTYPES:
            for apply in (False, True):
                plain = plain_run(config, dtype, apply=apply)
                for name, variant in variants.items():
                    what = f"{name}, {config.semantics}, {dtype.__name__}, apply={apply}"
                    assert variant(config, dtype, apply=apply) == plain, what


@EACH_STRATEGY
@EACH
def test_instruction_sets(row: UpdaterRow, strategy: str) -> None:
    """All against the emulated one, which every machine has and which is plain C++."""

    def on(isa: str) -> Callable[..., Any]:
        def variant(*args: Any, **options: Any) -> Any:
            fs.set_isa(isa)
            return run(*args, **options)

        return variant

    others = {isa: on(isa) for isa in FUSED if isa != "emulated"}
    assert_same(row, strategy, others, plain_run=on("emulated"))


@EACH_STRATEGY
@EACH
def test_threads(row: UpdaterRow, strategy: str) -> None:
    def with_threads(count: int) -> Callable[..., Any]:
        def variant(*args: Any, **options: Any) -> Any:
            fs.set_num_threads(count)
            return run(*args, **options, large=True)

        return variant

    more = {f"{count} threads": with_threads(count) for count in THREADS}
    assert_same(row, strategy, more, plain_run=with_threads(1))


@pytest.mark.parametrize("threads", [1, *THREADS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulated_gradients(dtype: Any, threads: int) -> None:
    """An addition is rounded once, as NumPy's; large arrays are shared out over the threads."""
    fs.set_num_threads(threads)
    first, second = numbers(dtype, 1, True), numbers(dtype, 2, True)
    config = fs.MultiLayerConfiguration(updater=fs.Sgd())
    updater = fs.MultiLayerUpdater(config, copies(numbers(dtype, 0, True)))
    updater.accumulate(first)
    updater.accumulate(second)
    assert bits(updater.accumulated) == bits({key: first[key] + second[key] for key in first})


def one_flat_view(arrays: Arrays) -> Arrays:
    """All arrays in one buffer, without a gap."""
    _, views = fs.flatten(arrays)
    return dict(views)


def shifted(offset: int) -> Place:
    """Every array at `offset` elements past a 64-byte boundary."""

    def place(arrays: Arrays) -> Arrays:
        placed = {}
        for key, array in arrays.items():
            memory = np.empty(array.size + offset + 64, array.dtype)
            start = -memory.ctypes.data // array.itemsize % (64 // array.itemsize) + offset
            placed[key] = memory[start : start + array.size].reshape(array.shape)
            assert placed[key].ctypes.data % 64 == offset * array.itemsize
            placed[key][...] = array
        return placed

    return place


@EACH_STRATEGY
@EACH
def test_places_in_memory(row: UpdaterRow, strategy: str) -> None:
    """Separate arrays, one flat view, and arrays that no vector load is aligned to."""

    def at(place: Place) -> Callable[..., Any]:
        return lambda *args, **options: run(*args, **options, place=place)

    places = {"flat view": one_flat_view} | {f"shift {n}": shifted(n) for n in (0, 1, 3, 7)}
    assert_same(row, strategy, {name: at(place) for name, place in places.items()})


@EACH_STRATEGY
@EACH
def test_step_is_update_and_subtraction(row: UpdaterRow, strategy: str) -> None:
    """The fused pass rounds nothing differently."""
    for config in settings(row, strategy):
        for dtype in DTYPES:
            stepped, updated = copies(numbers(dtype, 0)), copies(numbers(dtype, 0))
            one = fs.MultiLayerUpdater(config, stepped)
            other = fs.MultiLayerUpdater(config, updated)
            for step in (1, 2):
                gradients = copies(numbers(dtype, step))
                one.step(gradients)
                other.update(gradients)
                for key, update in gradients.items():
                    updated[key] -= update
            assert bits(stepped) == bits(updated)
            assert bits(np.array(one.state_view)) == bits(np.array(other.state_view))


@EACH
def test_a_layer_does_not_see_its_neighbours(row: UpdaterRow) -> None:
    """A parameter's bits are the same in any network."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal(1000).astype(np.float32)
    g = rng.standard_normal(1000).astype(np.float32)
    config = fs.MultiLayerConfiguration(
        updater=row.constructor(), gradient_normalization="ClipL2PerLayer"
    )
    results = set()
    for before in (0, 1, 17, CHUNK):
        params = {"1_W": w.copy()}
        gradients = {"1_W": g.copy()}
        if before:
            params = {"0_W": np.ones(before, np.float32), **params}
            gradients["0_W"] = np.ones(before, np.float32)
        fs.MultiLayerUpdater(config, params).step(gradients)
        results.add(params["1_W"].tobytes())
    assert len(results) == 1
