"""Checkpoints: a run goes on bit for bit; what is damaged or does not fit is refused, by name."""

from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import network_strategies
import networks
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import copies, schedule
from oracle import Schedule
from oracle.schedules import EXAMPLES
from oracle.updaters import UPDATERS
from snapshots import bits, everything, nothing_changes
from updater_table import IN_ORDERS, HeavyBall, UpdaterRow, configuration_id

import flatstep as fs
from flatstep import serialization

EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])

SHAPES = {"0_W": (4, 5), "0_b": (5,), "1_W": (3, 11), "1_b": (11,)}
FORTRAN = ("0_W",)


@pytest.fixture(autouse=True)
def _only_heavy_ball_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "_registered", {"HeavyBall": HeavyBall})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def numbers(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        key: np.asarray(rng.standard_normal(shape), dtype, order="F" if key in FORTRAN else "C")
        for key, shape in SHAPES.items()
    }


def zeros_like(params: dict[str, Any]) -> dict[str, Any]:
    return {key: np.zeros_like(array) for key, array in params.items()}


def train(updater: Any, seeds: Any) -> None:
    for seed in seeds:
        updater.step(numbers(seed, updater.dtype), batch_size=seed % 3 + 1)


def a_run(dtype: Any = np.float64, steps: int = 3, **settings: Any) -> Any:
    """An updater with some steps behind it."""
    config = fs.MultiLayerConfiguration(**{"updater": fs.Adam(0.1), **settings})
    updater = fs.MultiLayerUpdater(config, numbers(0, dtype))
    train(updater, range(1, 1 + steps))
    return updater


def goes_on(updater: Any, path: Path, more: Callable[[Any], None]) -> Any:
    """Saves `updater`, loads it into other arrays, and goes on with both."""
    before = everything(updater)
    updater.save(path)
    assert everything(updater) == before
    params = zeros_like(updater.parameters)
    resumed = fs.load_updater(path, params)
    assert type(resumed) is type(updater)
    assert resumed == updater
    assert everything(resumed) == before
    for key, array in resumed.parameters.items():
        assert array is params[key]
    assert resumed.monitor is updater.monitor
    assert bits(resumed.accumulated) == bits(updater.accumulated)
    more(updater)
    more(resumed)
    assert everything(resumed) == everything(updater)
    assert everything(resumed) != before
    return resumed


# ------------------------------------------------------------------------------ resuming to the bit


@EACH_DTYPE
@pytest.mark.parametrize(("row", "arguments", "semantics"), IN_ORDERS, ids=configuration_id)
def test_every_updater(
    row: UpdaterRow, arguments: Any, semantics: str, dtype: Any, path: Path
) -> None:
    updater = a_run(
        dtype,
        updater=row.constructor(**arguments),
        semantics=semantics,
        gradient_normalization="ClipL2PerLayer",
        l2=0.01,
    )
    goes_on(updater, path, lambda u: train(u, range(4, 8)))


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda s: f"{s.kind}-{s.schedule_type}")
def test_every_schedule_in_the_middle_of_an_epoch(
    example: Schedule, semantics: str, path: Path
) -> None:
    rate, momentum = schedule(example), schedule(example)
    updater = a_run(updater=fs.Nesterovs(rate, momentum=momentum), semantics=semantics, steps=0)
    for iteration in range(5):
        updater.epoch = iteration // 2
        train(updater, [iteration])

    def more(updater: Any) -> None:
        for iteration in range(5, 12):
            updater.epoch = iteration // 2
            train(updater, [iteration])

    goes_on(updater, path, more)


POLICIES = (
    fs.LearningRatePolicy("Exponential", decay_rate=0.9),
    fs.LearningRatePolicy("Inverse", decay_rate=0.3, power=0.5),
    fs.LearningRatePolicy("Step", decay_rate=0.7, steps=3),
    fs.LearningRatePolicy("TorchStep", decay_rate=0.7, steps=12),
    fs.LearningRatePolicy("Poly", power=2, num_iterations=11),
    fs.LearningRatePolicy("Sigmoid", decay_rate=0.9, steps=3),
    fs.LearningRatePolicy("Schedule", schedule={2: 0.1, 3: 0.2, 6: 0.3}),
)


@EACH_DTYPE
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
def test_every_policy(policy: Any, dtype: Any, path: Path) -> None:
    """Their rates, and the momenta of a momentum schedule, are state."""
    updater = a_run(
        dtype,
        updater=fs.Nesterovs(0.5, momentum=0.5),
        semantics="dl4j-0.8",
        learning_rate_policy=policy,
        momentum_schedule={1: 0.75, 2: 0.8, 5: 0.9},
        bias_updater=fs.Sgd(0.25),
        steps=4,
    )
    goes_on(updater, path, lambda u: train(u, range(5, 12)))


def test_rates_set_by_hand(path: Path) -> None:
    updater = a_run()
    updater.set_learning_rate(0.3, layer="1")
    updater.set_learning_rate(1 / 3, layer="0", param="W")
    goes_on(updater, path, lambda u: train(u, [5]))


def test_a_rate_that_has_grown_to_infinity(path: Path) -> None:
    policy = fs.LearningRatePolicy("Exponential", decay_rate=1e100)
    updater = a_run(updater=fs.Sgd(), semantics="dl4j-0.8", learning_rate_policy=policy, steps=4)
    assert updater.learning_rate("0_W") == np.inf
    updater.save(path)
    resumed = fs.load_updater(path, zeros_like(updater.parameters))
    assert everything(resumed) == everything(updater)


def test_accumulated_gradients(path: Path) -> None:
    updater = a_run()
    updater.accumulate(numbers(4))
    updater.accumulate(numbers(5))

    def more(updater: Any) -> None:
        updater.accumulate(numbers(6))
        updater.step()
        assert updater.accumulated is None

    goes_on(updater, path, more)


def test_skipped_steps(path: Path) -> None:
    updater = a_run(on_nonfinite="skip")
    updater.step({key: array * np.nan for key, array in numbers(0).items()})
    assert updater.skipped_steps == 1
    resumed = goes_on(updater, path, lambda u: train(u, [5]))
    assert resumed.skipped_steps == 1


def test_everything_at_once(path: Path) -> None:
    """What differs by layer and parameter; frozen layers, whose state 0.8 keeps; statistics."""
    layers = {
        "0": fs.LayerConfiguration(kind="BatchNormalization"),
        "1": fs.LayerConfiguration(frozen=True),
        "2": fs.LayerConfiguration(
            updater=fs.RmsProp(), params={"b": fs.ParamConfiguration(updater=fs.AdaDelta())}
        ),
    }
    params = {f"0_{name}": np.ones(3) for name in ("gamma", "beta", "mean", "var")}
    params |= {"1_W": np.ones((2, 3)), "2_W": np.ones(0), "2_b": np.array(7.0)}
    for semantics in ("dl4j-1.0", "dl4j-0.8"):
        updater = fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(
                updater=fs.AdaGrad(),
                layers=layers,
                semantics=semantics,
                gradient_normalization="ClipL2Global",
            ),
            copies(params),
            monitor=True,
        )
        updater.step(params)
        goes_on(updater, path, lambda u: u.step(params))


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (fs.ComputationGraphUpdater, {"fc_1": {"kernel": np.ones(3)}, "é/ü": {"b": np.ones(2)}}),
        (fs.LayerUpdater, {"W": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}),
        (fs.MultiLayerUpdater, [[np.ones((2, 3)), np.zeros(3)], [np.ones(3)]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_updaters_and_forms(make: Any, params: Any, path: Path) -> None:
    def duplicate() -> Any:
        return pickle.loads(pickle.dumps(params))

    updater = make(fs.MultiLayerConfiguration(updater=fs.Adam()), duplicate())
    updater.step(params)
    updater.save(path)
    resumed = fs.load_updater(path, duplicate())
    assert type(resumed) is make
    for each in (updater, resumed):
        each.step(params)
    assert everything(resumed) == everything(updater)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), network_strategies.network_specs(), st.sampled_from([np.float32, np.float64]))
def test_any_network(path: Path, data: Any, spec: Any, dtype: Any) -> None:
    drawn = data.draw(network_strategies.numbers(spec, dtype))
    updater = fs.MultiLayerUpdater(networks.configuration(spec), drawn.params())
    for step in range(2):
        updater.step(drawn.gradients(step))
    updater.save(path)
    resumed = fs.load_updater(path, zeros_like(drawn.params()))
    assert everything(resumed) == everything(updater)
    for each in (updater, resumed):
        each.step(drawn.gradients(2), epoch=1)
    assert everything(resumed) == everything(updater)


@EACH_DTYPE
def test_every_bit_is_kept(dtype: Any, path: Path) -> None:
    """NaN with their payloads, infinities, signed zeros, subnormals; in either memory order."""
    info = np.finfo(dtype)
    special = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, info.smallest_subnormal, -info.tiny]
    array = np.array([special, special[::-1], special], dtype)
    view = array.view(np.uint32 if dtype is np.float32 else np.uint64)
    view[2, :2] += 12345
    params = {"0_W": array.copy(order="F"), "0_b": array.copy()}
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), params)
    updater.state("0_W")["m"][...] = array
    updater.state("0_b")["v"][...] = array[::-1]
    updater.accumulate(zeros_like(params))
    updater.accumulated["0_W"][...] = array
    updater.accumulated["0_b"][...] = array
    updater.save(path)
    resumed = fs.load_updater(path, zeros_like(params))
    assert everything(resumed) == everything(updater)
    assert bits(resumed.accumulated) == bits(updater.accumulated)


# ----------------------------------------------------------------------------------------- the file


def document_of(path: Path) -> Any:
    with safetensors.safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["flatstep"])


def test_what_is_in_the_file(path: Path) -> None:
    """Any reader of safetensors sees every array under its name, in its shape."""
    updater = a_run(np.float32)
    updater.accumulate(numbers(4, np.float32))
    updater.save(path)
    expected = {}
    for key, array in updater.parameters.items():
        expected[key] = array
        expected[f"{key}/m"] = updater.state(key)["m"]
        expected[f"{key}/v"] = updater.state(key)["v"]
        expected[f"{key}/accumulated_gradient"] = updater.accumulated[key]
    found = safetensors.numpy.load_file(path)
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array, strict=True)
    document = document_of(path)
    assert document["version"] == 1
    assert document["configuration"] == updater.configuration.to_dict()
    assert document["written_by"] == fs.__version__
    assert document["state_dict"]["iteration"] == 3


def test_the_same_updater_gives_the_same_bytes(path: Path) -> None:
    updater = a_run()
    updater.save(path)
    first = path.read_bytes()
    resumed = fs.load_updater(path, zeros_like(updater.parameters))
    resumed.save(os.fsencode(path))
    assert path.read_bytes() == first
    train(updater, [4])
    updater.save(str(path))
    assert path.read_bytes() != first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def version_1() -> Any:
    """The updater in checkpoints/version-1.safetensors, whose numbers depend on no machine."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.5, momentum=0.5),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Step", decay_rate=0.5, steps=4),
        momentum_schedule={3: 0.75},
        layers={"1": fs.LayerConfiguration(updater=fs.AMSGrad(), learning_rate_policy=None)},
        bias_params=("b", "bias"),
    )
    params = {
        "0_W": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "0_b": np.float32(0.1) * np.arange(3, dtype=np.float32),
        "1_W": np.full((3, 1), -0.0, np.float32),
    }
    updater = fs.MultiLayerUpdater(config, params, monitor=True)
    updater.step(zeros_like(params), iteration=4, epoch=2)
    updater.state_view[...] = np.arange(updater.state_view.size)
    updater.accumulate(zeros_like(params))
    updater.accumulated["0_b"][...] = [1, 2, 3]
    return updater


def test_a_file_of_version_1() -> None:
    """It was written when there was no other version, and must be read for ever."""
    expected = version_1()
    assert expected.learning_rate("0_W") == 0.25
    path = Path(__file__).parent / "checkpoints" / "version-1.safetensors"
    found = fs.load_updater(path, zeros_like(expected.parameters))
    assert found == expected
    assert everything(found) == everything(expected)
    assert bits(found.accumulated) == bits(expected.accumulated)
    assert found.monitor


# ----------------------------------------------------------------------------- what cannot be saved


def refusal(call: Any, exception: type[Exception]) -> str:
    with pytest.raises(exception) as caught:
        call()
    assert caught.type is exception
    return str(caught.value)


def test_own_updaters_must_be_registered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updater = a_run(updater=HeavyBall())
    updater.save(path)
    saved = path.read_bytes()
    monkeypatch.setattr(serialization, "_registered", {})
    with nothing_changes(updater):
        message = refusal(lambda: updater.save(path), ValueError)
    assert "call flatstep.register_updater(HeavyBall) once" in message
    assert path.read_bytes() == saved
    params = numbers(9)
    with nothing_changes(updater, params):
        message = refusal(lambda: fs.load_updater(path, params), fs.CheckpointError)
    assert message.startswith(f'"{path}": configuration.updater: class: expected one of ')
    assert message.endswith("must be registered before: flatstep.register_updater(cls)")


def test_subclasses_are_refused(path: Path) -> None:
    class Mine(fs.MultiLayerUpdater):
        pass

    updater = Mine(fs.MultiLayerConfiguration(), numbers(0))
    assert refusal(lambda: updater.save(path), TypeError) == (
        "save: expected one of MultiLayerUpdater, ComputationGraphUpdater, LayerUpdater, got Mine; "
        "a checkpoint cannot say what a subclass does, a pickle can"
    )
    assert not path.exists()


def test_names_that_meet_are_refused(path: Path) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Adam())
    updater = fs.LayerUpdater(config, {"W": np.ones(2), "W/m": np.ones(2)})
    message = refusal(lambda: updater.save(path), ValueError)
    assert 'expected names of arrays that differ, got "W/m" twice' in message


def test_without_safetensors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updater = a_run()
    updater.save(path)
    saved = path.read_bytes()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: updater.save(path), lambda: fs.load_updater(path, numbers(0))):
        assert refusal(call, ImportError) == (
            "a checkpoint is a safetensors file, and safetensors is not installed: "
            "pip install safetensors (or 'flatstep[checkpoint]')"
        )
    assert path.read_bytes() == saved


@pytest.mark.skipif(os.name != "posix", reason="folders can be synced on POSIX only")
def test_the_order_of_syncs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a power cut leaves the old or the new file: its bytes, the rename, the folder."""
    calls = []

    def recorded(name: str, function: Any) -> Any:
        def call(first: Any, *rest: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(first).st_mode)
            calls.append(f"{name} folder" if is_folder else name)
            return function(first, *rest)

        return call

    updater = a_run()
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    updater.save(path)
    assert calls == ["fsync", "replace", "fsync folder"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file(
    function: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full."""
    updater = a_run()
    updater.save(path)
    saved = path.read_bytes()
    train(updater, [4])

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    assert "No space left" in refusal(lambda: updater.save(path), OSError)
    assert path.read_bytes() == saved
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# -------------------------------------------------------------------------------- what does not fit


def do_not_fit() -> dict[str, tuple[Callable[[dict[str, Any]], Any], str]]:
    """(the parameters made from the right ones, what the error says)"""

    def other(key: str, array: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda params: {**params, key: array}

    keys = "0_W, 0_b, 1_W, 1_b"
    return {
        "dtype": (
            lambda params: {key: array.astype(np.float32) for key, array in params.items()},
            "params: expected dtype float64, as in the file, got float32; convert them with "
            ".astype(np.float64)",
        ),
        "shape": (
            other("1_W", np.ones((11, 3))),
            'parameter "1_W": expected shape (3, 11), as in the file, got (11, 3)',
        ),
        "dimensions": (
            other("0_b", np.ones((1, 5))),
            'parameter "0_b": expected shape (5,), as in the file, got (1, 5)',
        ),
        "C order": (
            other("0_W", np.ones((4, 5))),
            'parameter "0_W": expected memory order F, as in the file, got C; use '
            "np.asfortranarray",
        ),
        "F order": (
            other("1_W", np.ones((3, 11), order="F")),
            'parameter "1_W": expected memory order C, as in the file, got F; use '
            "np.ascontiguousarray",
        ),
        "missing": (
            lambda params: {key: params[key] for key in ("0_W", "1_W")},
            f"params: expected those of the file, {keys}; missing: 0_b, 1_b; unknown: none "
            "(strict=False leaves these out)",
        ),
        "unknown": (
            other("2_W", np.ones(3)),
            f"params: expected those of the file, {keys}; missing: none; unknown: 2_W "
            "(strict=False leaves these out)",
        ),
        "another name": (
            lambda params: {key.replace("0_b", "0_c"): array for key, array in params.items()},
            f"params: expected those of the file, {keys}; missing: 0_b; unknown: 0_c "
            "(strict=False leaves these out)",
        ),
        "order of parameters": (
            lambda params: {key: params[key] for key in ("1_W", "1_b", "0_W", "0_b")},
            f"params: expected the file's order, {keys}, got 1_W, 1_b, 0_W, 0_b",
        ),
    }


@pytest.mark.parametrize(("change", "text"), do_not_fit().values(), ids=do_not_fit())
def test_another_layout_or_dtype(change: Any, text: str, path: Path) -> None:
    a_run().save(path)
    params = change(numbers(9))
    before = bits(params)
    assert refusal(lambda: fs.load_updater(path, params), fs.CheckpointError) == (
        f'"{path}": {text}'
    )
    assert bits(params) == before


def test_a_layer_of_another_name(path: Path) -> None:
    """Keys alike, layers not."""
    config = fs.MultiLayerConfiguration(updater=fs.Adam())
    fs.ComputationGraphUpdater(config, {"a_b": {"c": np.ones(2)}}).save(path)
    for strict in (True, False):
        call = lambda s=strict: fs.load_updater(path, {"a": {"b_c": np.ones(2)}}, strict=s)  # noqa: E731
        assert refusal(call, fs.CheckpointError) == (
            f'"{path}": parameter "a_b_c": expected it in layer "a_b", as in the file, got "a"'
        )


def test_arrays_that_no_updater_takes(path: Path) -> None:
    a_run().save(path)
    params = numbers(9)
    params["1_b"].flags.writeable = False
    before = bits(params)
    assert 'parameter "1_b"' in refusal(lambda: fs.load_updater(path, params), ValueError)
    assert bits(params) == before


# -------------------------------------------------------------------------------- with strict=False


def partly(path: Path, params: Any) -> tuple[Any, str]:
    """The updater, and the names in the warning."""
    with pytest.warns(UserWarning, match="left out") as caught:
        updater = fs.load_updater(path, params, strict=False)
    (warning,) = caught
    assert warning.filename == __file__
    start = f'"{path}": left out, as it is only in the file or only in params: '
    assert str(warning.message).startswith(start)
    return updater, str(warning.message).removeprefix(start)


def test_partial_load(path: Path) -> None:
    """A head is replaced: the new parameters keep their values, with a state that is new."""
    layers = {
        "0": fs.LayerConfiguration(
            updater=fs.Adam(0.2), params={"b": fs.ParamConfiguration(updater=fs.Sgd(0.5))}
        ),
        "1": fs.LayerConfiguration(updater=fs.Adam(0.3)),
    }
    old = a_run(layers=layers)
    old.accumulate(numbers(4))
    old.save(path)
    params = {"0_W": np.zeros((4, 5), order="F"), "2_W": np.full((2, 2), 7.0)}
    updater, left_out = partly(path, params)
    assert sorted(left_out.split(", ")) == [
        "0_b",
        "0_b/accumulated_gradient",
        "1_W",
        "1_W/accumulated_gradient",
        "1_W/m",
        "1_W/v",
        "1_b",
        "1_b/accumulated_gradient",
        "1_b/m",
        "1_b/v",
        "2_W",
        "2_W/accumulated_gradient",
        "2_W/m",
        "2_W/v",
        "configuration.layers.0.params.b",
        "configuration.layers.1",
    ]
    assert updater.configuration == fs.MultiLayerConfiguration(
        updater=fs.Adam(0.1), layers={"0": fs.LayerConfiguration(updater=fs.Adam(0.2))}
    )
    assert updater.iteration == 3
    assert bits(params["0_W"]) == bits(old.parameters["0_W"])
    assert bits(updater.state("0_W")) == bits(old.state("0_W"))
    assert bits(updater.accumulated["0_W"]) == bits(old.accumulated["0_W"])
    assert (params["2_W"] == 7).all()
    for array in (*updater.state("2_W").values(), updater.accumulated["2_W"]):
        assert not array.any()
    updater.step()


def test_partial_load_of_rates(path: Path) -> None:
    updater = a_run()
    updater.set_learning_rate(0.25)
    updater.save(path)
    params = {key: array for key, array in numbers(9).items() if key != "1_b"}
    partial, left_out = partly(path, params)
    assert left_out == "1_b, 1_b/m, 1_b/v, 1_b/learning_rate"
    assert partial.learning_rate("1_W") == 0.25


def test_partial_load_in_another_order(path: Path) -> None:
    """By name and index: nothing is left out, and nothing said."""
    old = a_run()
    old.save(path)
    params = {
        key: np.zeros(SHAPES[key], order="C" if key in FORTRAN else "F") for key in reversed(SHAPES)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        updater = fs.load_updater(path, params, strict=False)
    for key, array in params.items():
        np.testing.assert_array_equal(array, old.parameters[key])
        for name, state in updater.state(key).items():
            np.testing.assert_array_equal(state, old.state(key)[name])


def test_partial_load_of_all_is_a_load(path: Path) -> None:
    old = a_run()
    old.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        updater = fs.load_updater(path, numbers(9), strict=False)
    assert everything(updater) == everything(old)


def test_a_warning_that_is_an_error_changes_nothing(path: Path) -> None:
    a_run().save(path)
    params = {"0_W": numbers(9)["0_W"]}
    before = bits(params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "left out" in refusal(
            lambda: fs.load_updater(path, params, strict=False), UserWarning
        )
    assert bits(params) == before


@pytest.mark.parametrize("case", ["dtype", "shape", "dimensions"])
def test_partial_load_of_another_shape_or_dtype(case: str, path: Path) -> None:
    a_run().save(path)
    change, text = do_not_fit()[case]
    params = change(numbers(9))
    before = bits(params)
    call = lambda: fs.load_updater(path, params, strict=False)  # noqa: E731
    assert refusal(call, fs.CheckpointError) == f'"{path}": {text}'
    assert bits(params) == before


def test_an_own_updater_with_another_state(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is what it is now."""
    old = a_run(updater=HeavyBall())
    old.save(path)

    class HeavierBall(HeavyBall):
        state = ("m", "n")

    monkeypatch.setattr(serialization, "_registered", {"HeavyBall": HeavierBall})
    params = numbers(9)
    before = bits(params)
    assert refusal(lambda: fs.load_updater(path, params), fs.CheckpointError) == (
        f'"{path}": only in the file, or missing there: 0_W/n, 0_b/n, 1_W/n, 1_b/n; expected the '
        "state of the same updaters (strict=False leaves these out)"
    )
    assert bits(params) == before
    updater, left_out = partly(path, params)
    assert left_out == "0_W/n, 0_b/n, 1_W/n, 1_b/n"
    assert bits(updater.state("0_W")["m"]) == bits(old.state("0_W")["m"])


# ------------------------------------------------------------------------- damaged or hostile files


def small_run() -> Any:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam()),
        {"0_W": np.arange(1.0, 4.0), "0_b": np.array([0.5])},
    )
    updater.step({"0_W": np.ones(3), "0_b": np.ones(1)})
    return updater


def test_truncation_is_found(path: Path) -> None:
    updater = small_run()
    updater.save(path)
    whole = path.read_bytes()
    params = zeros_like(updater.parameters)
    parts = [whole[:size] for size in (*range(0, len(whole), 5), len(whole) - 1)]
    for data in (*parts, whole + b"\0", whole + whole):
        path.write_bytes(data)
        with pytest.raises(fs.CheckpointError) as caught:
            fs.load_updater(path, params)
        assert str(caught.value).startswith(f'"{path}": expected a whole safetensors file, got ')
    assert not any(array.any() for array in params.values())


def test_every_damaged_byte_is_found(path: Path) -> None:
    updater = small_run()
    updater.save(path)
    whole = path.read_bytes()
    params = zeros_like(updater.parameters)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(fs.CheckpointError) as caught:
            fs.load_updater(path, params)
        assert str(caught.value).startswith(f'"{path}": ')
    assert not any(array.any() for array in params.values())


def test_a_damaged_tensor_is_named(path: Path) -> None:
    updater = small_run()
    updater.save(path)
    data = path.read_bytes()
    value = updater.parameters["0_b"].tobytes()
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, struct.pack("<d", 0.25)))
    assert refusal(lambda: fs.load_updater(path, numbers(9)), fs.CheckpointError) == (
        f'"{path}": tensor "0_b" is damaged: its CRC-32 is not the one it was written with'
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"PK\x03\x04" + bytes(100),
        pickle.dumps({"0_W": [1.0]}),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10**6) + b'{"__metadata__":{}}',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_files_of_other_formats(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    message = refusal(lambda: fs.load_updater(path, numbers(9)), fs.CheckpointError)
    assert message.startswith(
        f'"{path}": expected a whole safetensors file, got one that is truncated, damaged or of '
        "another format: "
    )


def test_safetensors_of_another_program(path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.numpy.save_file(numbers(0), path, metadata=metadata)
        assert refusal(lambda: fs.load_updater(path, numbers(9)), fs.CheckpointError) == (
            f'"{path}": expected a checkpoint of flatstep, got a safetensors file without '
            '"flatstep" in its metadata'
        )


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        fs.load_updater(tmp_path / "none.safetensors", numbers(0))
    assert refusal(lambda: fs.load_updater(tmp_path, numbers(0)), fs.CheckpointError) == (
        f'"{tmp_path}": expected a file, got what is none'
    )
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")  # nobody writes: to open it would wait for ever
        with pytest.raises(fs.CheckpointError, match="expected a file"):
            fs.load_updater(tmp_path / "fifo", numbers(0))


def forged(
    path: Path,
    change: Callable[[Any], Any],
    change_tensors: Callable[[dict[str, Any]], Any] = lambda tensors: None,
) -> None:
    """Writes a file with a changed object or other tensors, whose checksums are right."""
    updater = small_run()
    updater.accumulate({"0_W": np.ones(3), "0_b": np.ones(1)})
    updater.save(path)
    tensors = safetensors.numpy.load_file(path)
    change_tensors(tensors)
    document = document_of(path)
    document["tensors"] = {name: zlib.crc32(array.data) for name, array in tensors.items()}
    change(document)
    document.pop("crc32")
    document["crc32"] = zlib.crc32(json.dumps(document).encode())
    safetensors.numpy.save_file(tensors, path, metadata={"flatstep": json.dumps(document)})


def test_forged_files_can_be_whole(path: Path) -> None:
    """What is refused below is not refused for its checksums."""
    forged(path, lambda document: None)
    updater = fs.load_updater(path, zeros_like(small_run().parameters))
    assert updater == small_run()


def put(value: Any, *where: Any) -> Callable[[Any], None]:
    """Puts a value into the object."""

    def change(document: Any) -> None:
        for name in where[:-1]:
            document = document[name]
        document[where[-1]] = value

    return change


FORGERIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a newer file": (
        put(2, "version"),
        "checkpoint: version: expected 1, got 2; a newer flatstep wrote it, which can read it",
    ),
    "an older file": (put(0, "version"), "checkpoint: version: expected 1, got 0"),
    "a newer configuration": (
        put(2, "configuration", "version"),
        "configuration: version: expected 1, got 2; a newer flatstep wrote it, which can read it",
    ),
    "a newer state": (put(2, "state_dict", "version"), "state_dict: expected version 1, got 2"),
    "another field": (put(1, "future"), "metadata: expected the fields version, written_by, "),
    "a missing field": (lambda d: d.pop("monitor"), "metadata: expected the fields version, "),
    "another updater": (put("dict", "updater"), "updater: expected one of MultiLayerUpdater, "),
    "no updater": (put(None, "updater"), "metadata: updater: got what cannot stand there: None"),
    "another class": (
        put("os.system", "configuration", "updater", "class"),
        f"configuration.updater: class: expected one of {min(UPDATERS)}, ",
    ),
    "an argument": (
        put(-1, "configuration", "updater", "learning_rate"),
        "configuration.updater: Adam: learning_rate: expected a finite number >= 0, got -1",
    ),
    "a list as the configuration": (put([], "configuration"), "metadata: configuration: got what"),
    "settings of an absent layer": (
        put({"7": {}}, "configuration", "layers"),
        "only in the file, or missing there: configuration.layers.7; expected the state",
    ),
    "other state": (
        put({"class": "AdaMax"}, "configuration", "updater"),
        "only in the file, or missing there: 0_W/v, 0_b/v, 0_W/n, 0_b/n; expected the state",
    ),
    "a layout of text": (put("0_W", "layout"), "metadata: layout: got what cannot stand there"),
    "a slot of text": (put("0_W", "layout", 0), "metadata: layout: got what cannot stand there"),
    "a slot without a shape": (
        lambda d: d["layout"][0].pop("shape"),
        "layout: expected the fields key, layer, param, shape, order, got key, layer, param, order",
    ),
    "a negative shape": (put([-3], "layout", 0, "shape"), "layout: shape: got what cannot stand"),
    "a huge shape": (
        put([2**40, 2**40], "layout", 0, "shape"),
        'tensor "0_W/accumulated_gradient": expected float64 of shape (1099511627776, ',
    ),
    "another order": (put("K", "layout", 0, "order"), "layout: order: got what cannot stand there"),
    "a slot more": (
        lambda d: d["layout"].append({**d["layout"][0], "key": "1_W", "layer": "1"}),
        'tensor "1_W/accumulated_gradient": expected it and its parameter in the file',
    ),
    "a slot twice": (
        lambda d: d["layout"].append(d["layout"][0]),
        "layout: expected different keys",
    ),
    "a slot less": (
        lambda d: d["layout"].pop(),
        'tensor "0_b/m": expected it and its parameter in the file',
    ),
    "a fraction of an iteration": (
        put(1.5, "state_dict", "iteration"),
        "state_dict: iteration: expected an integer >= 0, got 1.5",
    ),
    "a negative epoch": (
        put(-1, "state_dict", "epoch"),
        "state_dict: epoch: expected an integer >= 0, got -1",
    ),
    "a huge count": (
        put(2**63, "state_dict", "skipped_steps"),
        "state_dict: skipped_steps: expected an integer < 2**63 - 1, got 9223372036854775808",
    ),
    "a flag as a count": (
        put(True, "state_dict", "epoch"),
        "state_dict: epoch: expected an integer >= 0, got True",
    ),
    "another dtype": (put("float32", "state_dict", "dtype"), 'tensor "0_W/m": expected float32 of'),
    "an unknown dtype": (put("int8", "state_dict", "dtype"), "state_dict: dtype: got what cannot"),
    "a negative rate": (
        put({"0_W": -0.5}, "state_dict", "learning_rate"),
        'state_dict: learning_rate["0_W"]: expected a number >= 0, got -0.5',
    ),
    "a rate of text": (
        put({"0_W": "NaN"}, "state_dict", "learning_rate"),
        'state_dict: learning_rate["0_W"]: expected a number >= 0, got str',
    ),
    "a huge rate": (
        put({"0_W": 10**400}, "state_dict", "learning_rate"),
        'state_dict: learning_rate["0_W"]: expected a number >= 0 below 1e308, got an integer of ',
    ),
    "a rate of nobody": (
        put({"7_W": 0.5}, "state_dict", "learning_rate"),
        "only in the file, or missing there: 7_W/learning_rate; expected the state",
    ),
    "state of nobody": (
        put(["m"], "state_dict", "state", "7_W"),
        'tensor "7_W/m": expected it and its parameter in the file',
    ),
    "state without a tensor": (
        put(["m", "v", "w"], "state_dict", "state", "0_W"),
        'tensor "0_W/w": expected it and its parameter in the file',
    ),
    "state that is left out": (
        put(["m"], "state_dict", "state", "0_W"),
        "only in the file, or missing there: 0_W/v; expected the state",
    ),
    "checksums of other tensors": (
        put({}, "tensors"),
        "the file is damaged: its tensors are not those it was written with",
    ),
}


@pytest.mark.parametrize(("change", "text"), FORGERIES.values(), ids=FORGERIES)
def test_forged_objects(change: Any, text: str, path: Path) -> None:
    forged(path, change)
    params = zeros_like(small_run().parameters)
    message = refusal(lambda: fs.load_updater(path, params), fs.CheckpointError)
    assert message.startswith(f'"{path}": {text}')
    assert not any(array.any() for array in params.values())


FORGED_TENSORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another dtype": (
        lambda tensors: tensors.update({"0_b": np.ones(1, np.int64)}),
        'tensor "0_b": expected dtype F32, F64, BF16, F16, U16, U8, got I64',
    ),
    "another precision": (
        lambda tensors: tensors.update({"0_b/v": np.ones(1, np.float32)}),
        'tensor "0_b/v": expected float64 of shape (1,), got float32 of shape (1,)',
    ),
    "another shape": (
        lambda tensors: tensors.update({"0_W": np.ones((1, 3))}),
        'tensor "0_W": expected float64 of shape (3,), got float64 of shape (1, 3)',
    ),
    "a missing parameter": (
        lambda tensors: tensors.pop("0_b"),
        'tensor "0_b": expected it and its parameter in the file',
    ),
    "a missing sum": (
        lambda tensors: tensors.pop("0_b/accumulated_gradient"),
        'tensor "0_b/accumulated_gradient": expected it and its parameter in the file',
    ),
}


@pytest.mark.parametrize(("change", "text"), FORGED_TENSORS.values(), ids=FORGED_TENSORS)
def test_forged_tensors(change: Any, text: str, path: Path) -> None:
    forged(path, lambda document: None, change)
    params = zeros_like(small_run().parameters)
    message = refusal(lambda: fs.load_updater(path, params), fs.CheckpointError)
    assert message == f'"{path}": {text}'
    assert not any(array.any() for array in params.values())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": NaN}', '{"version": 1}', "[" * 10**5])
def test_forged_metadata(text: str, path: Path) -> None:
    safetensors.numpy.save_file(numbers(0), path, metadata={"flatstep": text})
    message = refusal(lambda: fs.load_updater(path, numbers(9)), fs.CheckpointError)
    assert message.startswith(f'"{path}": metadata: ')


# -------------------------------------------------------------------------------------------- kills


def run_killer(command: str, folder: Path, *arguments: int) -> dict[str, int]:
    script = Path(__file__).parent / "checkpoint_killer.py"
    done = subprocess.run(
        [sys.executable, script, command, folder, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")


@NEEDS_FORK
def test_a_kill_at_a_random_moment(tmp_path: Path) -> None:
    """The file is always whole, the last that was saved or the one that was being saved."""
    found = run_killer("random", tmp_path, 300)
    assert found["kills"] == 300
    assert found["temporary files"] >= 10  # that many were killed while they wrote
    assert found["old"] >= 10


@NEEDS_FORK
def test_a_kill_at_every_line(tmp_path: Path) -> None:
    found = run_killer("lines", tmp_path)
    assert found["kills"] > 50
    assert found["temporary files"] > 3
    assert found["old"] > found["new"] > 2
