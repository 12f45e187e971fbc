"""Narrow storage: gradients, parameters and state in fewer bits than steps compute in.

A step on narrow storage is the step on what it decodes to, rounded when it is written back. So the
oracle is a twin with full storage that is given the decoded numbers before each step: parameters
must be its parameters to the bit, and state its state to within a place of the code.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.normalization import STRATEGIES
from updater_table import TABLE, UpdaterRow

import flatstep as fs

BFLOAT16 = ml_dtypes.bfloat16
STORAGES = ("16bit", "8bit")
FUSED = [row for row in TABLE if not row.is_custom]
NATIVE_ISAS = [isa for isa in fs.available_isas() if isa != "sse2"]

EACH_STORAGE = pytest.mark.parametrize("storage", STORAGES)
EACH_UPDATER = pytest.mark.parametrize("row", TABLE, ids=str)

# Some chunks, a tail of every kind, and two that stay full unless they are told otherwise.
SHAPES: dict[str, tuple[int, ...]] = {
    "0_W": (3, 7001),
    "0_b": (5,),
    "1_W": (4097,),
    "1_b": (300,),
}


def numbers(salt: int, scale: float = 1.0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Any:
    rng = np.random.default_rng(salt)
    return {
        key: (scale * rng.standard_normal(shape) * np.exp(rng.standard_normal(shape))).astype("f4")
        for key, shape in shapes.items()
    }


def bits(array: np.ndarray) -> bytes:
    return array.tobytes()


def narrowed(arrays: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    return {key: array.astype(dtype) for key, array in arrays.items()}


def everything(updater: Any) -> list[bytes]:
    """All that a step may change, to the bit."""
    kept = [bits(array) for place in range(len(SHAPES)) for array in updater._kept(place).values()]
    return [*kept, *(bits(array) for array in updater.parameters.values())]


def made(params: Mapping[str, Any], **arguments: Any) -> Any:
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(**arguments), params)


# ------------------------------------------------------------------------------------------ codes


def number_of(code: np.ndarray, exponent: int, mantissa: int, scale: float) -> np.ndarray:
    """What a code without sign stands for, in float64: exponents from 1 on, the last one for 2⁰."""
    last = 2**exponent - 1
    fraction = 1 + (code % 2**mantissa) / 2**mantissa
    return np.where(code == 0, 0.0, fraction * 2.0 ** (code // 2**mantissa - last) * scale)


def decoded(arrays: Mapping[str, np.ndarray], name: str, never_negative: bool) -> np.ndarray:
    """The numbers of a state array, by a reading of the codes of our own."""
    codes = arrays[name].reshape(-1).astype(np.int64)
    if f"{name}.scale" not in arrays:
        assert arrays[name].dtype == np.uint16
        return (codes << 16).astype(np.uint32).view(np.float32).astype(np.float64)
    scales = np.repeat(arrays[f"{name}.scale"].astype(np.float64), 256)[: codes.size]
    if arrays[name].dtype == np.uint16:
        return number_of(codes, 5, 11, scales)
    if never_negative:
        return number_of(codes, 5, 3, scales)
    magnitude = codes % 128
    offset = 2.0**-15  # of the number, by which small ones go evenly down to 0
    value = ((1 + magnitude % 8 / 8) * 2.0 ** (magnitude // 8 - 15) - offset) * scales
    return np.where(codes < 128, value, -value)


#: Relative distance between neighbouring numbers of a code: the last place of its mantissa.
PLACES = {
    ("16bit", False): 2.0**-7,
    ("16bit", True): 2.0**-11,
    ("8bit", False): 2.0**-3,
    ("8bit", True): 2.0**-3,
}
#: The least number beside the largest of a block.
LEAST = {
    ("16bit", False): 0.0,
    ("16bit", True): 2.0**-31,
    ("8bit", False): 2.0**-18,
    ("8bit", True): 2.0**-31,
}

MAGNITUDES = st.floats(-30, 30)


@EACH_STORAGE
@given(data=st.data())
@settings(max_examples=60)
def test_a_code_is_a_neighbour_of_its_number(storage: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 700))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread, middle = data.draw(st.floats(0, 8)), data.draw(MAGNITUDES)
    given_numbers = np.exp2(middle + spread * rng.standard_normal(size)).astype(np.float32)
    given_numbers[rng.random(size) < data.draw(st.floats(0, 1))] = 0
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=fs.Adam(), layers={0: fs.LayerConfiguration(state_storage=storage)}
        ),
        {"0_W": np.zeros(size, np.float32)},
    )
    for place, never_negative in ((0, False), (1, True)):
        signs = rng.choice([-1, 1], size) if not never_negative else 1
        values = (given_numbers * signs).astype(np.float32)
        updater._write_state(0, place, values)
        name = "mv"[place]
        state = updater.state("0_W")[name]
        np.testing.assert_allclose(
            state, decoded(updater._kept(0), name, never_negative), rtol=3e-7, atol=1e-38
        )
        assert not (state[values == 0]).any()
        if never_negative or storage == "16bit":
            assert state[values != 0].all()
        assert not (np.sign(state) * np.sign(values) < 0).any()
        blocks = np.arange(0, size, 256)
        largest = np.repeat(np.maximum.reduceat(np.abs(values), blocks), 256)[:size]
        place_of = np.maximum(np.abs(values), LEAST[storage, never_negative] * largest)
        error = np.abs(state.astype(np.float64) - values)
        # A place of what it was rounded from; and where there is less than the least, that.
        limit = PLACES[storage, never_negative] * place_of * 1.001
        limit += 8 * LEAST[storage, never_negative] * largest + 1e-38
        assert (error <= limit).all()
        if storage == "8bit" or never_negative:  # codes with a scale keep the largest
            kept = np.maximum.reduceat(np.abs(state), blocks)
            np.testing.assert_allclose(kept, np.maximum.reduceat(np.abs(values), blocks), rtol=3e-7)


@EACH_STORAGE
def test_rounding_is_right_on_average(storage: str) -> None:
    """Over the iterations each element's mean is its number: a moving average loses nothing."""
    values = np.abs(numbers(1, shapes={"0_W": (1000,)})["0_W"]) + np.float32(0.02)
    updater = made(
        {"0_W": np.zeros(1000, np.float32)},
        updater=fs.Adam(),
        layers={0: fs.LayerConfiguration(state_storage=storage)},
    )
    rounds = 4000
    for place, name in enumerate("mv"):
        total = np.zeros(1000)
        for iteration in range(rounds):
            updater.iteration = iteration
            updater._write_state(0, place, values)
            total += updater.state("0_W")[name]
        # The mean of n numbers that lie a place apart is known to place/(2√n): 5 times that.
        limit = 5 * PLACES[storage, place == 1] / 2 / rounds**0.5
        np.testing.assert_allclose(total / rounds, values, rtol=limit)


def test_the_seed_is_the_configuration_s() -> None:
    params = numbers(1)

    def after(seed: int) -> list[bytes]:
        copies = {key: array.copy() for key, array in params.items()}
        updater = made(copies, updater=fs.Adam(), state_storage="8bit", storage_seed=seed)
        for salt in (2, 3):
            updater.step(numbers(salt))
        return everything(updater)

    assert after(0) == after(0)
    assert after(0) != after(1)


@EACH_STORAGE
@pytest.mark.parametrize("beta2", [0.999, 0.9])
def test_a_second_moment_whose_gradient_stops_decays(storage: str, beta2: float) -> None:
    """Where rounding to nearest would stall for ever: v goes down as float32's does."""
    size = 8192
    v = np.random.default_rng(3).standard_normal(size).astype(np.float32) ** 2 + np.float32(1e-8)
    zero = {"0_W": np.zeros(size, np.float32)}
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.0, beta2=beta2), state_storage=storage, on_nonfinite="propagate"
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(size, np.float32)})
    updater._write_state(0, 1, v)
    started = updater.state("0_W")["v"].astype(np.float64).sum()
    updater.bind_gradients(zero)
    steps = 5000 if beta2 == 0.999 else 500
    for step in range(1, steps + 1):
        updater.step()
        if step % (steps // 5) == 0:
            ratio = updater.state("0_W")["v"].astype(np.float64).sum() / started
            assert ratio == pytest.approx(float(np.float32(beta2)) ** step, rel=0.05)


@EACH_STORAGE
def test_a_first_moment_whose_gradient_stops_comes_to_rest(storage: str) -> None:
    """A least number that m could not leave would move its parameter for ever."""
    w = np.zeros(8192, np.float32)
    updater = made({"0_W": w}, updater=fs.Adam(1.0, beta2=1.0), state_storage=storage)
    gradient = np.ones(8192, np.float32)
    updater.step({"0_W": gradient})
    gradient[::2] = 0  # the others keep the block's scale
    for _ in range(400):
        updater.step({"0_W": gradient})
    assert not updater.state("0_W")["m"][::2].any() or storage == "16bit"
    assert np.abs(updater.state("0_W")["m"][::2]).max() < 1e-15


# ------------------------------------------------------------------------- a twin with full storage


@EACH_STORAGE
@pytest.mark.parametrize("row", FUSED, ids=str)
def test_a_step_is_the_step_on_what_is_decoded(row: UpdaterRow, storage: str) -> None:
    for semantics in row.semantics:
        arguments = {
            "updater": row.constructor(),
            "gradient_normalization": "ClipL2PerLayer",
            "l2": 1e-2,
            "semantics": semantics,
        }
        params = numbers(1)
        narrow = made({k: a.copy() for k, a in params.items()}, state_storage=storage, **arguments)
        full = made({k: a.copy() for k, a in params.items()}, **arguments)
        info = {key: narrow.settings()[place] for place, key in enumerate(SHAPES)}
        assert info["0_W"].state_storage == storage
        assert info["0_b"].state_storage == "full"
        for salt in range(2, 7):
            for place, key in enumerate(SHAPES):
                for array, numbers_of in enumerate(narrow.state(key).values()):
                    full._write_state(place, array, np.array(numbers_of))
            gradients = numbers(salt)
            narrow.step(gradients)
            full.step(gradients)
            for key in SHAPES:
                assert bits(narrow.parameters[key]) == bits(full.parameters[key]), key
            check_rounded(narrow, full, storage)


@pytest.mark.parametrize("row", FUSED, ids=str)
def test_what_is_never_negative_has_no_sign(row: UpdaterRow) -> None:
    """Nor has a zero: the largest of a block is found as if there were no signs."""
    awkward = np.array([0.0, -0.0, 1e-38, -1e-38, 1e-20, -1e-20, 1, -1, 1e15, -1e15], np.float32)
    rng = np.random.default_rng(0)
    for semantics in row.semantics:
        for configuration in ({}, *row.configurations):
            arguments: dict[str, Any] = {
                "updater": row.constructor(**configuration),
                "semantics": semantics,
            }
            kept = made({"0_W": np.ones(4096, "f4")}, state_storage="16bit", **arguments)._kept(0)
            names = [name for name in kept if f"{name}.scale" in kept]
            full = made({"0_W": np.ones(4096, "f4")}, **arguments)
            for _ in range(30):
                full.step({"0_W": rng.choice(awkward, 4096)})
                for name in names:
                    assert not np.signbit(full.state("0_W")[name]).any(), (name, configuration)


def check_rounded(narrow: Any, full: Any, storage: str) -> None:
    """Each state array of `narrow` is that of `full`, rounded by its code; or the same."""
    for place, key in enumerate(SHAPES):
        kept = narrow._kept(place)
        for name, exact in full.state(key).items():
            state = narrow.state(key)[name]
            if kept[name].dtype == np.float32:
                assert bits(state) == bits(exact), (key, name)
                continue
            never_negative = kept[name].dtype == np.uint16 and f"{name}.scale" in kept
            never_negative = never_negative or not (exact < 0).any()
            code = "16bit" if kept[name].dtype == np.uint16 else storage
            place_of = max(PLACES[code, False], PLACES[code, True])
            if f"{name}.scale" in kept and code == "16bit":
                place_of = PLACES[code, True]
            flat = exact.reshape(-1)
            largest = np.repeat(
                np.maximum.reduceat(np.abs(flat), np.arange(0, flat.size, 256)), 256
            )
            limit = place_of * np.abs(flat) * 1.001 + 2.0**-17 * largest[: flat.size] + 1e-37
            assert (np.abs(state.reshape(-1).astype(np.float64) - flat) <= limit).all(), (key, name)


@EACH_STORAGE
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_monitored_and_averaged(strategy: str, storage: str) -> None:
    def run(**more: Any) -> Any:
        updater = fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(
                updater=fs.Adam(),
                gradient_normalization=strategy,
                gradient_normalization_threshold=0.5,
                average_decay=0.5,
                state_storage=storage,
            ),
            numbers(1),
            **more,
        )
        for salt in (2, 3):
            updater.step(numbers(salt))
        return updater

    plain, monitored = run(), run(monitor=True)
    assert everything(plain) == everything(monitored)
    for key in SHAPES:
        assert bits(plain.averages(key)) == bits(monitored.averages(key))
    updates = [layer.params for layer in monitored.last_step.layers.values()]
    assert all(p.update_ratio is not None for params in updates for p in params.values())


# --------------------------------------------------------------------------------------- same bits


def narrow_run(threads: int, isa: str, *, flat: bool, row: UpdaterRow) -> list[bytes]:
    fs.set_isa(isa)
    fs.set_num_threads(threads)
    shapes = SHAPES | {"2_W": (7, 16384)}
    params = narrowed(numbers(1, shapes=shapes), BFLOAT16)
    if flat:
        _, params = fs.flatten(params)
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=row.constructor(),
            gradient_normalization="ClipL2PerLayer",
            gradient_normalization_threshold=0.5,
            state_storage="8bit",
            master="split",
            layers={1: fs.LayerConfiguration(state_storage="16bit")},
        ),
        params,
    )
    for salt in (2, 3):
        updater.step(narrowed(numbers(salt, shapes=shapes), BFLOAT16))
    return everything(updater)


@EACH_UPDATER
def test_threads_instruction_sets_and_places_give_the_same_bits(row: UpdaterRow) -> None:
    expected = narrow_run(1, NATIVE_ISAS[0], flat=False, row=row)
    assert narrow_run(2, NATIVE_ISAS[0], flat=False, row=row) == expected
    assert narrow_run(3, NATIVE_ISAS[0], flat=True, row=row) == expected
    for isa in NATIVE_ISAS[1:]:
        assert narrow_run(2, isa, flat=True, row=row) == expected, isa


def test_every_instruction_set_takes_steps() -> None:
    """SSE2, too, which is outside the promise of equal bits."""
    results = []
    for isa in fs.available_isas():
        fs.set_isa(isa)
        updater = made(
            narrowed(numbers(1), BFLOAT16), updater=fs.Adam(), state_storage="8bit", master="split"
        )
        for salt in (2, 3, 4):
            updater.step(numbers(salt))
        results.append(np.concatenate([updater.master(key).reshape(-1) for key in SHAPES]))
    for result in results[1:]:
        assert np.mean(result == results[0]) > 0.99
        np.testing.assert_allclose(result, results[0], atol=1e-3)


# -------------------------------------------------------------------------------------- parameters


@EACH_UPDATER
def test_a_split_master_is_the_run_of_float32(row: UpdaterRow) -> None:
    for semantics in row.semantics:
        narrow_params = narrowed(numbers(1), BFLOAT16)
        full_params = narrowed(narrow_params, np.float32)
        arguments = {"updater": row.constructor(), "l2": 1e-3, "semantics": semantics}
        narrow = made(narrow_params, master="split", **arguments)
        full = made(full_params, **arguments)
        for salt in range(2, 8):
            gradients = numbers(salt)
            narrow.step(gradients, batch_size=2)
            full.step(gradients, batch_size=2)
        for key in SHAPES:
            assert bits(narrow.master(key)) == bits(full_params[key])
            halves_up = full_params[key].view(np.uint32) + np.uint32(0x8000)
            assert bits(narrow_params[key]) == bits((halves_up >> 16).astype(np.uint16))
            for name, array in full.state(key).items():
                assert bits(narrow.state(key)[name]) == bits(array)


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16])
@EACH_UPDATER
def test_a_full_master_is_the_run_of_float32(row: UpdaterRow, dtype: Any) -> None:
    narrow_params = narrowed(numbers(1), dtype)
    full_params = narrowed(narrow_params, np.float32)
    narrow = made(narrow_params, updater=row.constructor(), master="full")
    full = made(full_params, updater=row.constructor())
    for salt in range(2, 8):
        narrow.step(numbers(salt))
        full.step(numbers(salt))
    for key in SHAPES:
        assert bits(narrow.master(key)) == bits(full_params[key])
        assert bits(narrow_params[key]) == bits(full_params[key].astype(dtype))


def test_some_parameters_are_narrow_and_some_are_not() -> None:
    params = numbers(1)
    params["0_W"] = params["0_W"].astype(BFLOAT16)
    params["1_W"] = params["1_W"].astype(np.float16)
    full = narrowed(params, np.float32)
    layers = {
        0: fs.LayerConfiguration(master="split"),
        1: fs.LayerConfiguration(params={"W": fs.ParamConfiguration(master="full")}),
    }
    narrow = made(params, updater=fs.Adam(), layers=layers)
    twin = made(full, updater=fs.Adam())
    for salt in (2, 3):
        narrow.step(numbers(salt))
        twin.step(numbers(salt))
    for key in SHAPES:
        assert bits(narrow.master(key)) == bits(full[key])
    assert [row.master for row in narrow.settings()] == ["split", None, "full", None]


def test_what_is_written_into_parameters_is_adopted() -> None:
    w = np.ones(5000, np.float16)
    updater = made({"0_W": w}, updater=fs.Sgd(1e-4), master="full")
    updater.step({"0_W": np.ones(5000, np.float32)})
    before = updater.master("0_W")
    assert (before == np.float32(1) - np.float32(1e-4)).all()
    w[7] = 3
    updater.adopt_parameters()
    assert updater.master("0_W")[7] == 3
    assert bits(np.delete(updater.master("0_W"), 7)) == bits(np.delete(before, 7))


def test_a_clone_takes_the_arrays_that_it_is_given() -> None:
    w = np.ones(5000, np.float16)
    updater = made({"0_W": w}, updater=fs.Sgd(1e-4), master="full")
    updater.step({"0_W": np.ones(5000, np.float32)})
    same = updater.clone(params={"0_W": w.copy()})
    other = updater.clone(params={"0_W": np.full(5000, 2, np.float16)})
    assert bits(same.master("0_W")) == bits(updater.master("0_W"))
    assert (other.master("0_W") == 2).all()


def test_evaluation_and_averages_of_narrow_parameters() -> None:
    params = {"0_W": np.linspace(-1, 1, 5000).astype(BFLOAT16)}
    full = narrowed(params, np.float32)
    arguments = {"updater": fs.ScheduleFreeAdamW(0.1), "average_decay": 0.5}
    narrow, twin = made(params, master="split", **arguments), made(full, **arguments)
    for salt in (2, 3):
        gradient = numbers(salt, shapes={"0_W": (5000,)})
        narrow.step(gradient)
        twin.step(gradient)
    assert bits(narrow.averages("0_W")) == bits(twin.averages("0_W"))
    before = params["0_W"].copy()
    with narrow.averaged():
        assert bits(params["0_W"]) == bits(twin.averages("0_W").astype(BFLOAT16))
    with narrow.evaluation(), twin.evaluation():
        assert bits(params["0_W"]) == bits(full["0_W"].astype(BFLOAT16))
    assert bits(params["0_W"]) == bits(before)


# --------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_narrow_gradients_are_their_numbers(strategy: str, dtype: Any) -> None:
    arguments = {
        "updater": fs.Adam(),
        "gradient_normalization": strategy,
        "gradient_normalization_threshold": 0.5,
    }
    narrow, wide = made(numbers(1), **arguments), made(numbers(1), **arguments)
    mixed = made(numbers(1), **arguments)
    for salt in (2, 3):
        gradients = narrowed(numbers(salt), dtype)
        widened = narrowed(gradients, np.float32)
        narrow.step(gradients, gradient_scale=0.5)
        wide.step(widened, gradient_scale=0.5)
        mixed.step(gradients | {"0_W": widened["0_W"]}, gradient_scale=0.5)
    assert everything(narrow) == everything(wide) == everything(mixed)
    norms = [
        [layer.gradient_norm for layer in updater.last_step.layers.values()]
        for updater in (narrow, wide)
    ]
    assert norms[0] == norms[1]


def test_every_float16_is_its_number() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    w = np.zeros(finite.size, np.float32)
    updater = made({"0_W": w}, updater=fs.NoOp())
    updater.step({"0_W": finite})
    assert bits(w) == bits(0 - finite.astype(np.float32))


def test_float64_takes_float32_gradients() -> None:
    gradients = numbers(2)
    narrow, wide = (made(narrowed(numbers(1), np.float64), updater=fs.Adam()) for _ in range(2))
    narrow.step(gradients)
    wide.step(narrowed(gradients, np.float64))
    assert everything(narrow) == everything(wide)
    with pytest.raises(TypeError, match="expected dtype float64, got float16"):
        narrow.step(narrowed(gradients, np.float16))


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16])
def test_update_writes_into_narrow_gradients(dtype: Any) -> None:
    narrow, wide = made(numbers(1), updater=fs.Adam()), made(numbers(1), updater=fs.Adam())
    gradients = narrowed(numbers(2), dtype)
    widened = narrowed(gradients, np.float32)
    narrow.update(gradients)
    wide.update(widened)
    for key in SHAPES:
        assert bits(gradients[key]) == bits(widened[key].astype(dtype))


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16])
def test_narrow_gradients_accumulated_and_bound(dtype: Any) -> None:
    runs = []
    for to in (dtype, np.float32):
        updater = made(numbers(1), updater=fs.Adam())
        first, second = (narrowed(narrowed(numbers(s), dtype), to) for s in (2, 3))
        updater.accumulate(first)
        updater.accumulate(second)
        updater.step()
        updater.bind_gradients(first)
        updater.step()
        updater.step(second)
        updater.step()
        runs.append(everything(updater))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("strategy", ["None", "ClipL2PerLayer"])
def test_a_narrow_gradient_that_is_not_finite(strategy: str, value: float, dtype: Any) -> None:
    for on_nonfinite in ("raise", "skip"):
        updater = made(
            narrowed(numbers(1), BFLOAT16),
            updater=fs.Adam(),
            gradient_normalization=strategy,
            on_nonfinite=on_nonfinite,
            state_storage="8bit",
            master="split",
        )
        updater.step(narrowed(numbers(2), dtype))
        before = everything(updater)
        gradients = narrowed(numbers(3), dtype)
        gradients["1_W"][4096] = value
        if on_nonfinite == "raise":
            with pytest.raises(fs.NonFiniteGradientError) as caught:
                updater.step(gradients)
            assert caught.value.keys == ("1_W",)
            with pytest.raises(fs.NonFiniteGradientError):
                updater.accumulate(gradients)
        else:
            updater.step(gradients)
            assert updater.skipped_steps == 1
        assert everything(updater) == before


def test_a_nan_that_is_propagated_stays_one() -> None:
    """Whatever its bits; in a block with a scale it takes the block along."""
    for storage in STORAGES:
        w = np.zeros(8192, np.float32)
        updater = made(
            {"0_W": w}, updater=fs.Adam(), state_storage=storage, on_nonfinite="propagate"
        )
        gradient = np.ones(8192, np.float32)
        gradient.view(np.uint32)[[3, 5000]] = (0xFFFFFFFF, 0x7FFFFFFF)
        for _ in range(3):
            updater.step({"0_W": gradient})
            for array in updater.state("0_W").values():
                assert np.isnan(array[[3, 5000]]).all()
        assert np.isfinite(w[1024:4096]).all()


def test_a_finite_gradient_whose_square_is_not_hurts_nobody_else() -> None:
    w = np.zeros(8192, np.float32)
    updater = made({"0_W": w}, updater=fs.Adam(1e-3), state_storage="8bit")
    gradient = np.ones(8192, np.float32)
    gradient[100] = 1e30
    updater.step({"0_W": gradient})
    updater.step({"0_W": np.ones(8192, np.float32)})
    assert np.isfinite(w).all()
    assert all(np.isfinite(array).all() for array in updater.state("0_W").values())


# ------------------------------------------------------------------------- copies, files, equality


def started(storage: str, dtype: Any = BFLOAT16, master: str = "split") -> Any:
    updater = made(
        narrowed(numbers(1), dtype),
        updater=fs.Adam(),
        state_storage=storage,
        master=master,
        average_decay=0.9,
    )
    for salt in (2, 3):
        updater.step(narrowed(numbers(salt), np.float16))
    return updater


def goes_on(updater: Any) -> list[bytes]:
    for salt in (4, 5):
        updater.step(numbers(salt))
    return everything(updater)


@EACH_STORAGE
@pytest.mark.parametrize(("dtype", "master"), [(BFLOAT16, "split"), (np.float16, "full")])
def test_resumed_by_every_way_to_the_same_bits(
    storage: str, dtype: Any, master: str, tmp_path: Path
) -> None:
    import copy
    import pickle

    updater = started(storage, dtype, master)
    updater.save(tmp_path / "a.safetensors")
    params = {key: array.copy() for key, array in updater.parameters.items()}
    again = {key: np.zeros_like(array) for key, array in params.items()}
    others = [
        fs.load_updater(tmp_path / "a.safetensors", again),
        fs.load_updater(tmp_path / "a.safetensors"),
        updater.clone(params=params),
        pickle.loads(pickle.dumps(updater)),
        copy.deepcopy(updater),
    ]
    dtypes = {array.dtype for array in others[1].parameters.values()}
    assert dtypes == {np.dtype(dtype)}
    snapshot = updater.snapshot()
    state_dict = updater.state_dict()
    assert all(other == updater for other in others)
    expected = goes_on(updater)
    assert all(other != updater for other in others)
    for other in others:
        assert goes_on(other) == expected
    updater.restore(snapshot)
    assert goes_on(updater) == expected
    updater.restore(snapshot)
    twin = updater.clone(params={key: a.copy() for key, a in updater.parameters.items()})
    twin.step(numbers(9))
    for key, array in twin.parameters.items():
        array[...] = updater.parameters[key]
    twin.load_state_dict(state_dict)
    assert goes_on(twin) == expected


def test_the_state_view_is_that_of_full_storage() -> None:
    """In DL4J's order, but read-only numbers where some of it is in codes."""
    updater = started("8bit")
    view = updater.state_view
    assert not view.flags.writeable
    assert view.size == 2 * sum(int(np.prod(shape)) for shape in SHAPES.values())
    expected = [updater.state(key)["m"].reshape(-1) for key in SHAPES]
    expected += [updater.state(key)["v"].reshape(-1) for key in SHAPES]
    assert bits(view) == bits(np.concatenate(expected))
    with pytest.raises(ValueError, match="read-only"):
        updater.state("0_W")["m"][...] = 0
    assert updater.state("0_b")["m"].flags.writeable


def test_aggregate_is_the_mean_of_the_numbers() -> None:
    workers = [made(numbers(1), updater=fs.Adam(), state_storage="16bit") for _ in range(3)]
    for salt, worker in enumerate(workers):
        worker.step(numbers(salt + 5))
    combined = fs.aggregate(workers)
    mean = np.mean([worker.state_view for worker in workers], axis=0)
    np.testing.assert_allclose(combined.state_view, mean, rtol=2**-7, atol=1e-7)
    with pytest.raises(ValueError, match="expected parameters of dtype float32, got bfloat16"):
        fs.aggregate([started("8bit"), started("8bit")])


def test_settings_say_what_is_kept() -> None:
    text = str(started("8bit").settings()).splitlines()
    assert text[0].split()[-1] == "kept"
    assert text[1].endswith("8bit state, split master")
    assert text[2].endswith("split master")
    assert "kept" not in str(made(numbers(1)).settings())


# ------------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    ("storage", "most"), [("full", 8.0), ("16bit", 4 + 4 / 256 + 0.01), ("8bit", 2.1)]
)
def test_bytes_that_are_kept_of_adam(storage: str, most: float) -> None:
    size = 1 << 20
    updater = made({"0_W": np.zeros(size, np.float32)}, updater=fs.Adam(), state_storage=storage)
    assert updater.nbytes / size <= most
    narrow = made({"0_W": np.zeros(size, BFLOAT16)}, updater=fs.NoOp(), master="split")
    assert narrow.nbytes / size == 2


RESIDENT = """
import sys
import ml_dtypes, numpy as np, flatstep as fs

size, storage, master = 1 << 25, sys.argv[1], sys.argv[2] or None
dtype = ml_dtypes.bfloat16 if master else np.float32
weights, gradients = np.ones(size, dtype), np.ones(size, dtype)
fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), {"0_W": np.ones(9)})

def peak():
    with open("/proc/self/status") as status:  # getrusage's is the parent's, where that is larger
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

before = peak()
updater = fs.MultiLayerUpdater(
    fs.MultiLayerConfiguration(updater=fs.Adam(), state_storage=storage, master=master),
    {"0_W": weights},
)
for _ in range(3):
    updater.step({"0_W": gradients})
print((peak() - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of the peak is Linux's")
@pytest.mark.parametrize(
    ("storage", "master", "most"),
    [("full", "", 8.1), ("16bit", "", 4.1), ("8bit", "", 2.1), ("8bit", "split", 4.1)],
)
def test_resident_bytes_of_adam(storage: str, master: str, most: float) -> None:
    """At their peak, construction included: in a process of its own, which has nothing to reuse."""
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, storage, master],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert most - 0.2 < float(done.stdout) <= most, done.stdout


def test_small_parameters_stay_full_unless_they_say() -> None:
    params = {"0_W": np.zeros(4095, np.float32), "1_W": np.zeros(4096, np.float32)}
    config = fs.MultiLayerConfiguration(updater=fs.Adam(), state_storage="8bit")
    kept = [row.state_storage for row in fs.MultiLayerUpdater(config, params).settings()]
    assert kept == ["full", "8bit"]
    layers = {
        0: fs.LayerConfiguration(state_storage="16bit"),
        1: fs.LayerConfiguration(params={"W": fs.ParamConfiguration(state_storage="full")}),
    }
    config = fs.MultiLayerConfiguration(updater=fs.Adam(), state_storage="8bit", layers=layers)
    kept = [row.state_storage for row in fs.MultiLayerUpdater(config, params).settings()]
    assert kept == ["16bit", "full"]


def test_what_stays_full_whatever_is_asked() -> None:
    """What starts at the parameter; and a maximum has 16 bits, as rounding would drive it up."""
    updater = made(numbers(1), updater=fs.ScheduleFreeAdamW(), state_storage="8bit")
    assert {name: array.dtype.name for name, array in updater._kept(0).items()} == {
        "z": "float32",
        "v": "uint8",
        "v.scale": "float32",
    }
    updater = made(numbers(1), updater=fs.AMSGrad(), state_storage="8bit")
    assert updater._kept(0)["v_hat"].dtype == np.uint16
    custom = next(row for row in TABLE if row.is_custom)
    updater = made(numbers(1), updater=custom.constructor(), state_storage="8bit")
    assert updater._kept(0)["m"].dtype == np.float32


# ------------------------------------------------------------------------------------------ errors


def test_what_cannot_be_kept_is_refused_by_name() -> None:
    def raises(text: str, params: Any, **arguments: Any) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            made(params, **arguments)
        assert str(caught.value) == text

    small = {"0_W": np.zeros(8, BFLOAT16)}
    raises(
        'parameter "0_W": master: expected "split" or "full" for a bfloat16 parameter, whose '
        "steps are smaller than its last place, got none; choose one in the configuration, or use "
        "float32 parameters",
        small,
    )
    raises(
        'parameter "0_W": master: expected "full" for a float16 parameter, which is no half of a '
        'float32, got "split"; use bfloat16 parameters, or master="full"',
        {"0_W": np.zeros(8, np.float16)},
        master="split",
    )
    raises(
        'parameter "0_W": state_storage: expected "full" for a float64 parameter, got "8bit"; use '
        "float32 parameters, or full storage",
        {"0_W": np.zeros(8192)},
        updater=fs.Adam(),
        state_storage="8bit",
    )
    raises('state_storage: expected one of "full", "16bit", "8bit", got "4bit"', small,
           state_storage="4bit")  # fmt: skip
    raises('master: expected one of "split", "full", got "half"', small, master="half")
    raises("storage_seed: expected an integer from 0 to 2**63 - 1, got -1", small, storage_seed=-1)
    custom = next(row for row in TABLE if row.is_custom)
    raises(
        'parameter "0_W": state_storage: expected "full", as HeavyBall works on arrays of its own, '
        'got "8bit"; leave out state_storage',
        {"0_W": np.zeros(8, np.float32)},
        updater=custom.constructor(),
        layers={
            0: fs.LayerConfiguration(params={"W": fs.ParamConfiguration(state_storage="8bit")})
        },
    )
    with pytest.raises(TypeError, match="expected dtype float32, got float64"):
        made({"0_W": np.zeros(8, np.float32)}).step({"0_W": np.zeros(8)})


def test_gradients_may_not_lie_in_what_a_step_writes() -> None:
    updater = made({"0_W": np.zeros(8192, BFLOAT16)}, updater=fs.Adam(), master="split")
    lower = updater._kept(0)["parameter.lower"]
    with pytest.raises(ValueError, match="overlap in memory"):
        updater.step({"0_W": lower.view(BFLOAT16)})
