"""Moving averages of the parameters: a = d·a + (1 − d)p after each step, from the parameter on."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flatstep as fs

SHAPES = {"0_W": (130, 67), "0_b": (67,), "1_W": (3, 5), "2_W": (20011,)}
DECAY = fs.MapSchedule({0: 0.0, 2: 0.75, 4: 0.5})


def parameters(dtype: Any, order: str = "C") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made = {key: rng.standard_normal(shape).astype(dtype) for key, shape in SHAPES.items()}
    return {key: np.array(array, order=order) for key, array in made.items()}


def gradients(params: dict[str, Any], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        key: np.array(rng.standard_normal(a.shape).astype(a.dtype), order="K")
        if a.flags.c_contiguous
        else np.asfortranarray(rng.standard_normal(a.shape).astype(a.dtype))
        for key, a in params.items()
    }


def made(params: dict[str, Any], decay: Any = DECAY, **more: Any) -> fs.MultiLayerUpdater:
    monitor = more.pop("monitor", False)
    config = fs.MultiLayerConfiguration(
        updater=more.pop("updater", fs.Adam(0.1)), average_decay=decay, **more
    )
    return fs.MultiLayerUpdater(config, params, monitor=monitor)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("strategy", ["None", "ClipL2PerLayer", "ClipL2Global"])
@pytest.mark.parametrize("monitor", [False, True])
def test_follows_its_formula(dtype: Any, order: str, strategy: str, monitor: bool) -> None:
    """And the parameters go where they would without."""
    params = parameters(dtype, order)
    twin = parameters(dtype, order)
    updater = made(params, gradient_normalization=strategy, monitor=monitor)
    plain = made(twin, None, gradient_normalization=strategy, monitor=monitor)
    expected = {key: a.astype(np.float64) for key, a in params.items()}
    for step in range(6):
        given = gradients(params, step)
        updater.step(given)
        plain.step(given)
        d = DECAY.value_at(step)
        for key, p in params.items():
            np.testing.assert_array_equal(p, twin[key])
            expected[key] = d * expected[key] + (1 - d) * p.astype(np.float64)
            average = updater.averages(key)
            assert (average.shape, average.dtype) == (p.shape, p.dtype)
            assert average.flags.f_contiguous == p.flags.f_contiguous
            tolerance = 8 * np.finfo(dtype).eps
            np.testing.assert_allclose(average, expected[key], rtol=tolerance, atol=tolerance)


def test_starts_at_the_parameter() -> None:
    params = parameters(np.float64)
    updater = made(params)
    for key, p in params.items():
        np.testing.assert_array_equal(updater.averages(key), p)


@pytest.mark.parametrize("isa", [isa for isa in fs.available_isas() if isa != "sse2"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_bits(isa: str, threads: int) -> None:
    def run() -> list[bytes]:
        params = parameters(np.float32)
        updater = made(params, 0.9)
        for step in range(3):
            updater.step(gradients(params, step))
        return [updater.averages(key).tobytes() for key in params]

    fs.set_num_threads(1)
    expected = run()
    fs.set_isa(isa)
    fs.set_num_threads(threads)
    assert run() == expected


def test_nothing_but_a_step_moves_them() -> None:
    params = parameters(np.float64)
    updater = made(params, layers={"1": fs.LayerConfiguration(frozen=True)})
    before = {key: updater.averages(key).copy() for key in params}
    updater.update(gradients(params, 0))
    bad = gradients(params, 1)
    bad["0_b"][3] = np.nan
    with pytest.raises(fs.NonFiniteGradientError):
        updater.step(bad)
    for key in params:
        np.testing.assert_array_equal(updater.averages(key), before[key])
    updater.step(gradients(params, 2))
    np.testing.assert_array_equal(updater.averages("1_W"), params["1_W"])
    assert not np.array_equal(updater.averages("0_W"), before["0_W"])


def test_not_in_the_state_view() -> None:
    params = parameters(np.float64)
    assert made(params).state_view.size == made(params, None).state_view.size


def continued(updater: Any) -> list[bytes]:
    params = updater.parameters
    for step in (7, 8):
        updater.step(gradients(params, step))
    return [a.tobytes() for key, p in params.items() for a in (p, updater.averages(key))]


@pytest.mark.parametrize("how", ["clone", "pickle", "deepcopy", "state_dict", "file"])
def test_goes_on_bit_for_bit(how: str, tmp_path: Any) -> None:
    params = parameters(np.float32)
    updater = made(params, 0.9)
    for step in range(3):
        updater.step(gradients(params, step))
    copies = {key: a.copy() for key, a in params.items()}
    if how == "clone":
        other = updater.clone(copies)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(updater))
    elif how == "deepcopy":
        other = copy.deepcopy(updater)
    elif how == "state_dict":
        other = made(copies, 0.9)
        assert other != updater
        assert other.load_state_dict(updater.state_dict()) == []
    else:
        pytest.importorskip("safetensors")
        updater.save(tmp_path / "run.safetensors")
        other = fs.load_updater(tmp_path / "run.safetensors", copies)
    assert other == updater
    other.averages("0_b")[0] += 1
    assert other != updater
    other.averages("0_b")[0] = updater.averages("0_b")[0]
    assert continued(other) == continued(updater)


def test_a_state_dict_without_them() -> None:
    params = parameters(np.float64)
    updater = made(params)
    state = updater.state_dict()
    averages = state.pop("averages")
    with pytest.raises(fs.ParameterKeyError, match=r"0_W/average"):
        updater.load_state_dict(state)
    assert updater.load_state_dict(state, strict=False) == [f"{key}/average" for key in SHAPES]
    plain = made(params, None)
    with pytest.raises(fs.ParameterKeyError, match=r"0_W/average"):
        plain.load_state_dict({**state, "averages": averages})
    averages["0_b"] = averages["0_b"][1:]
    with pytest.raises(ValueError, match="0_b/average"):
        updater.load_state_dict({**state, "averages": averages})


def test_averaged_puts_them_in_and_takes_them_back() -> None:
    params = parameters(np.float64)
    updater = made(params, 0.9)
    updater.step(gradients(params, 0))
    before = {key: a.copy() for key, a in params.items()}
    with updater.averaged():
        for key, p in params.items():
            np.testing.assert_array_equal(p, updater.averages(key))
    with pytest.raises(KeyError), updater.averaged():
        raise KeyError
    with pytest.raises(RuntimeError, match=r"no step inside, got 1"), updater.averaged():
        updater.step(gradients(params, 1))
    for key, p in params.items():
        np.testing.assert_array_equal(p, before[key])


def test_aggregate_takes_their_mean() -> None:
    workers = []
    for seed in range(2):
        params = parameters(np.float64)
        workers.append(made(params, 0.5))
        workers[-1].step(gradients(params, seed))
    combined = fs.aggregate(workers)
    expected = (workers[0].averages("0_W") + workers[1].averages("0_W")) / 2
    np.testing.assert_allclose(combined.averages("0_W"), expected, rtol=1e-15)


def test_errors() -> None:
    params = parameters(np.float64)
    with pytest.raises(ValueError, match=r"^averages: expected a configuration that keeps them"):
        made(params, None).averages("0_W")
    with pytest.raises(fs.ParameterKeyError, match="unknown key"):
        made(params).averages("9_W")
    for value in (-0.1, 1.5, fs.StepSchedule(2.0, 0.5, 3)):
        with pytest.raises(ValueError, match=r"^network: average_decay: expected a"):
            made(params, value)
    with pytest.raises(TypeError, match=r"average_decay: expected a number or a schedule"):
        made(params, "0.9")
