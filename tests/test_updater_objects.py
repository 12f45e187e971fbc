"""Updaters as objects: clone, equality, hash, pickle, aggregation, state dicts, rates."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from networks import copies
from snapshots import bits, everything, nothing_changes
from updater_table import TABLE, UpdaterRow

import flatstep as fs

EACH = pytest.mark.parametrize("row", TABLE, ids=str)
EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])

SHAPES = {"0_W": (4, 5), "0_b": (5,), "1_W": (33,)}


def numbers(dtype: Any, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        key: np.asarray(rng.standard_normal(shape), dtype, order="F" if seed == 0 else "C")
        for key, shape in SHAPES.items()
    }


def trained(row: UpdaterRow, dtype: Any = np.float64, steps: int = 3) -> Any:
    """An updater with some steps behind it."""
    config = fs.MultiLayerConfiguration(
        updater=row.constructor(), gradient_normalization="ClipL2PerLayer", l2=0.01
    )
    params = numbers(dtype, 0)
    updater = fs.MultiLayerUpdater(config, params)
    train(updater, range(1, 1 + steps))
    return updater


def train(updater: Any, seeds: Any) -> None:
    for seed in seeds:
        gradients = numbers(updater.dtype, seed)
        updater.step({k: np.asarray(g, order="F") for k, g in gradients.items()})


def old_updater(params: dict[str, Any] | None = None) -> Any:
    """Rates and momenta that are state."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.5, momentum=0.5),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.5),
        momentum_schedule={1: 0.75},
        bias_updater=fs.Sgd(0.25),
    )
    return fs.MultiLayerUpdater(config, params or numbers(np.float64, 0))


# ------------------------------------------------------------------------------------------ clone


@EACH_DTYPE
@EACH
def test_clone_goes_on_alike(row: UpdaterRow, dtype: Any) -> None:
    """The same parameters unless others are given, and a state of its own."""
    updater = trained(row, dtype)
    twin = updater.clone(copies(updater.parameters))
    assert twin == updater
    assert hash(twin) == hash(updater)
    for key, array in twin.parameters.items():
        assert not np.shares_memory(array, updater.parameters[key])
    before = everything(updater)
    train(twin, [7, 8])
    assert everything(updater) == before
    assert twin != updater
    train(updater, [7, 8])
    assert everything(updater) == everything(twin)
    assert twin == updater


def test_clone_shares_the_parameters_that_it_is_not_given() -> None:
    updater = trained(TABLE[0])
    twin = updater.clone()
    for key, array in twin.parameters.items():
        assert array is updater.parameters[key]
    assert not np.shares_memory(twin.state_view, updater.state_view)


def test_clone_keeps_policy_rates_and_momenta() -> None:
    updater = old_updater()
    train(updater, [1, 2])
    twin = updater.clone(copies(updater.parameters))
    assert twin == updater
    train(updater, [3])
    train(twin, [3])
    assert everything(updater) == everything(twin)


def test_clone_refuses_other_shapes() -> None:
    updater = trained(TABLE[0])
    others = numbers(np.float64, 0)
    others["1_W"] = np.zeros(34)
    with nothing_changes(updater), pytest.raises(ValueError, match="params: expected arrays"):
        updater.clone(others)


# ------------------------------------------------------------------------------- equality and hash


def test_equality() -> None:
    """Configuration, layout, state bits and counters; not the values of the parameters."""
    config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))

    def make(config: Any = config, **more: Any) -> Any:
        return fs.MultiLayerUpdater(config, {"0_W": np.ones(3), "0_b": np.ones(2)}, **more)

    one = make()
    assert one == make()
    assert hash(one) == hash(make())
    other_params = fs.MultiLayerUpdater(config, {"0_W": np.zeros(3), "0_b": np.ones(2)})
    assert one == other_params
    assert one != "an updater"

    different = {
        "configuration": make(fs.MultiLayerConfiguration(updater=fs.Adam(0.2))),
        "class": fs.ComputationGraphUpdater(config, {"0_W": np.ones(3), "0_b": np.ones(2)}),
        "shape": fs.MultiLayerUpdater(config, {"0_W": np.ones((3, 1)), "0_b": np.ones(2)}),
        "order of slots": fs.MultiLayerUpdater(config, {"0_b": np.ones(2), "0_W": np.ones(3)}),
        "dtype": fs.MultiLayerUpdater(
            config, {"0_W": np.ones(3, np.float32), "0_b": np.ones(2, np.float32)}
        ),
    }
    for what, change in (
        ("iteration", lambda updater: setattr(updater, "iteration", 1)),
        ("epoch", lambda updater: setattr(updater, "epoch", 1)),
        ("state", lambda updater: updater.state_view.__setitem__(4, 1e-300)),
        ("sign of a zero in the state", lambda updater: updater.state_view.__setitem__(4, -0.0)),
        ("rate", lambda updater: updater.set_learning_rate(0.1)),
    ):
        different[what] = make()
        change(different[what])
    for what, other in different.items():
        assert one != other, what
        assert other != one, what
    assert hash(one) == hash(different["state"])
    assert hash(one) != hash(different["configuration"])


# -------------------------------------------------------------------------------- pickle, deepcopy


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, *(lambda u, p=p: pickle.loads(pickle.dumps(u, p)) for p in (2, 4, 5))],
    ids=["deepcopy", "pickle 2", "pickle 4", "pickle 5"],
)
@EACH_DTYPE
@EACH
def test_duplicates(row: UpdaterRow, dtype: Any, duplicate: Callable[[Any], Any]) -> None:
    """With parameters of their own, in the same memory order; they go on alike."""
    updater = trained(row, dtype)
    twin = duplicate(updater)
    assert type(twin) is type(updater)
    assert twin == updater
    assert everything(twin) == everything(updater)
    for key, array in twin.parameters.items():
        assert not np.shares_memory(array, updater.parameters[key])
        assert array.flags.f_contiguous == updater.parameters[key].flags.f_contiguous
    train(updater, [7])
    assert everything(twin) != everything(updater)
    train(twin, [7])
    assert everything(twin) == everything(updater)


def test_duplicates_keep_rates_and_what_was_accumulated() -> None:
    updater = old_updater()
    train(updater, [1, 2])
    updater.accumulate({k: np.ones_like(p) for k, p in updater.parameters.items()})
    twin = pickle.loads(pickle.dumps(updater))
    updater.step()
    twin.step()
    assert everything(twin) == everything(updater)


@pytest.mark.parametrize("make", [fs.ComputationGraphUpdater, fs.LayerUpdater])
def test_duplicates_of_other_updaters(make: Any) -> None:
    keys = ("W", "b") if make is fs.LayerUpdater else ("fc_1_W", "fc_1_b")
    updater = make(
        fs.MultiLayerConfiguration(updater=fs.Adam(0.1)), {key: np.ones(3) for key in keys}
    )
    updater.step({key: np.ones(3) for key in keys})
    twin = pickle.loads(pickle.dumps(updater))
    assert twin == updater
    assert list(twin.parameters) == list(keys)


# ------------------------------------------------------------------------------------ state dicts


@EACH_DTYPE
@EACH
def test_state_dict_goes_there_and_back(row: UpdaterRow, dtype: Any) -> None:
    updater = trained(row, dtype)
    saved = updater.state_dict()
    assert set(saved) == {
        "version", "dtype", "iteration", "epoch", "skipped_steps", "state", "learning_rate",
        "momentum",
    }  # fmt: skip
    assert saved["version"] == 1
    assert saved["dtype"] == np.dtype(dtype).name
    assert saved["iteration"] == 3
    for key, arrays in saved["state"].items():
        assert tuple(arrays) == row.state
        for name, array in arrays.items():
            assert array.dtype == dtype
            assert array.shape == SHAPES[key]
            assert not np.shares_memory(array, updater.state_view)
            np.testing.assert_array_equal(array, updater.state(key)[name])
    fresh = fs.MultiLayerUpdater(updater.configuration, copies(updater.parameters))
    assert fresh.load_state_dict(saved) == []
    assert fresh == updater
    train(fresh, [7])
    train(updater, [7])
    assert everything(fresh) == everything(updater)
    assert saved["iteration"] == 3


def test_state_dict_of_rates_and_momenta() -> None:
    """Only where they are state."""
    updater = old_updater()
    train(updater, [1, 2, 3])
    saved = updater.state_dict()
    decay = 0.5**3  # r⁰·r¹·r²
    rates = {"0_W": 0.5 * decay, "0_b": 0.25 * decay, "1_W": 0.5 * decay}
    assert saved["learning_rate"] == rates
    assert saved["momentum"] == {"0_W": 0.75, "1_W": 0.75}
    fresh = old_updater(copies(updater.parameters))
    fresh.load_state_dict(saved)
    assert fresh == updater
    plain = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Nesterovs()), {"0_W": np.ones(3)}
    )
    assert plain.state_dict()["learning_rate"] == {}
    assert plain.state_dict()["momentum"] == {}


def test_state_dict_is_plain_data() -> None:
    """Apart from its arrays it survives JSON."""
    saved = trained(TABLE[6]).state_dict()
    plain = {
        **saved,
        "state": {k: {n: a.tolist() for n, a in v.items()} for k, v in saved["state"].items()},
    }
    assert json.loads(json.dumps(plain)) == plain


def adam(params: dict[str, Any] | None = None) -> Any:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam(0.1)),
        params or {"0_W": np.ones(3), "0_b": np.ones(2)},
    )
    updater.step({key: np.ones_like(p) for key, p in updater.parameters.items()})
    return updater


def without(saved: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    arrays = {n: array for n, array in saved["state"][key].items() if n != name}
    return {**saved, "state": {**saved["state"], key: arrays}}


BAD_STATE: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], type[Exception], str]] = {
    "version": (
        lambda saved: {**saved, "version": 2},
        ValueError,
        "state_dict: expected version 1, got 2",
    ),
    "no version": (
        lambda saved: {k: v for k, v in saved.items() if k != "version"},
        ValueError,
        "state_dict: expected version 1, got None",
    ),
    "dtype": (
        lambda saved: {**saved, "dtype": "float32"},
        ValueError,
        "state_dict: expected dtype float64, got float32; make the updater with parameters of "
        "that dtype",
    ),
    "missing array": (
        lambda saved: without(saved, "0_b", "v"),
        fs.ParameterKeyError,
        "state_dict: missing or unknown: 0_b/v; expected the state of the same parameters and "
        "updaters (strict=False leaves these out)",
    ),
    "unknown array": (
        lambda saved: {**saved, "state": {**saved["state"], "9_W": {"m": np.ones(3)}}},
        fs.ParameterKeyError,
        "state_dict: missing or unknown: 9_W/m; expected the state of the same parameters and "
        "updaters (strict=False leaves these out)",
    ),
    "shape": (
        lambda saved: {
            **saved,
            "state": {**saved["state"], "0_b": {"m": np.ones(5), "v": np.ones(2)}},
        },
        ValueError,
        'state_dict: "0_b/m": expected float64 of shape (2,), got float64 of shape (5,)',
    ),
    "dtype of an array": (
        lambda saved: {
            **saved,
            "state": {
                **saved["state"],
                "0_b": {"m": np.ones(2, np.float32), "v": np.ones(2)},
            },
        },
        ValueError,
        'state_dict: "0_b/m": expected float64 of shape (2,), got float32 of shape (2,)',
    ),
    "nothing": (
        lambda saved: None,
        TypeError,
        "state_dict: expected what state_dict() gave, got NoneType",
    ),
    "no mapping": (
        lambda saved: {**saved, "state": None},
        TypeError,
        "state_dict: state: expected a mapping by key, got NoneType",
    ),
    "no mapping by name": (
        lambda saved: {**saved, "state": {"0_W": np.ones(3)}},
        TypeError,
        'state_dict: state["0_W"]: expected a mapping by name, such as {"m": array}, got ndarray',
    ),
    "unknown entry": (
        lambda saved: {**saved, "typo": 3},
        fs.ParameterKeyError,
        "state_dict: missing or unknown: typo; expected the state of the same parameters and "
        "updaters (strict=False leaves these out)",
    ),
    "momentum of Adam": (
        lambda saved: {**saved, "momentum": {"0_W": 0.5}},
        fs.ParameterKeyError,
        "state_dict: missing or unknown: 0_W/momentum; expected the state of the same parameters "
        "and updaters (strict=False leaves these out)",
    ),
    "rate of text": (
        lambda saved: {**saved, "learning_rate": {"0_W": "fast"}},
        TypeError,
        'state_dict: learning_rate["0_W"]: expected a number >= 0, got str',
    ),
    "negative rate": (
        lambda saved: {**saved, "learning_rate": {"0_W": -5.0}},
        ValueError,
        'state_dict: learning_rate["0_W"]: expected a number >= 0, got -5.0',
    ),
    "rate that is no number": (
        lambda saved: {**saved, "learning_rate": {"0_W": float("nan")}},
        ValueError,
        'state_dict: learning_rate["0_W"]: expected a number >= 0, got nan',
    ),
    "last iteration": (
        lambda saved: {**saved, "iteration": 2**63 - 1},
        ValueError,
        "state_dict: iteration: expected an integer < 2**63 - 1, got 9223372036854775807",
    ),
    "unknown rate": (
        lambda saved: {**saved, "learning_rate": {"9_W": 0.1}},
        fs.ParameterKeyError,
        "state_dict: missing or unknown: 9_W/learning_rate; expected the state of the same "
        "parameters and updaters (strict=False leaves these out)",
    ),
}


@pytest.mark.parametrize(("spoil", "exception", "text"), BAD_STATE.values(), ids=BAD_STATE.keys())
def test_load_state_dict_takes_all_or_nothing(
    spoil: Callable[[dict[str, Any]], dict[str, Any]], exception: type[Exception], text: str
) -> None:
    saved = spoil(adam().state_dict())
    updater = adam()
    updater.step({"0_W": np.ones(3), "0_b": np.ones(2)})
    with nothing_changes(updater), pytest.raises(exception) as caught:
        updater.load_state_dict(saved)
    assert str(caught.value) == text


@pytest.mark.parametrize("counter", ["iteration", "epoch", "skipped_steps"])
def test_load_state_dict_checks_its_counters(counter: str) -> None:
    saved = adam().state_dict()
    updater = adam()
    updater.step({"0_W": np.ones(3), "0_b": np.ones(2)})
    for value in (-1, 1.5, "3", None):
        with nothing_changes(updater), pytest.raises((ValueError, TypeError), match=counter):
            updater.load_state_dict({**saved, counter: value})
    del saved[counter]
    with nothing_changes(updater), pytest.raises(KeyError, match=counter):
        updater.load_state_dict(saved)


def test_load_state_dict_not_strict() -> None:
    """What fits is taken, what does not is named and left as it was."""
    saved = adam().state_dict()
    saved["state"] = {"0_W": {"m": np.full(3, 7.0)}, "9_W": {"m": np.ones(2)}}
    updater = adam()
    before = bits(dict(updater.state("0_b"))), bits(updater.state("0_W")["v"])
    left_out = updater.load_state_dict(saved, strict=False)
    assert sorted(left_out) == ["0_W/v", "0_b/m", "0_b/v", "9_W/m"]
    np.testing.assert_array_equal(updater.state("0_W")["m"], 7.0)
    assert (bits(dict(updater.state("0_b"))), bits(updater.state("0_W")["v"])) == before


def test_load_state_dict_misses_a_rate_that_is_state() -> None:
    """A policy's rate is part of the state: a state dict without it is not complete."""
    updater = old_updater()
    train(updater, [1, 2])
    saved = updater.state_dict()
    del saved["learning_rate"]["0_W"]
    del saved["momentum"]["1_W"]
    with nothing_changes(updater), pytest.raises(fs.ParameterKeyError) as caught:
        updater.load_state_dict(saved)
    assert "0_W/learning_rate" in str(caught.value)
    assert "1_W/momentum" in str(caught.value)


# -------------------------------------------------------------------------------------- aggregate


@EACH
def test_aggregate(row: UpdaterRow) -> None:
    """The mean of the states, as workers that average parameters combine theirs."""
    workers = [trained(row, steps=1) for _ in range(3)]
    for seed, worker in enumerate(workers):
        train(worker, [10 + seed])
    before = [everything(worker) for worker in workers]
    combined = fs.aggregate(workers)
    assert [everything(worker) for worker in workers] == before
    mean = np.mean([np.array(worker.state_view) for worker in workers], axis=0)
    np.testing.assert_allclose(combined.state_view, mean, rtol=1e-15)
    assert combined.iteration == workers[0].iteration
    assert combined.configuration == workers[0].configuration
    for worker in workers:
        assert not np.shares_memory(combined.state_view, worker.state_view)


def test_aggregate_of_one_is_it() -> None:
    worker = trained(TABLE[6])
    assert fs.aggregate([worker]) == worker


def test_aggregate_refuses_what_does_not_match() -> None:
    one = adam()
    other_shape = adam({"0_W": np.ones(4), "0_b": np.ones(2)})
    other_updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd()), {"0_W": np.ones(3), "0_b": np.ones(2)}
    )
    other_dtype = adam({"0_W": np.ones(3, np.float32), "0_b": np.ones(2, np.float32)})
    other_class = fs.ComputationGraphUpdater(one.configuration, {"0_W": np.ones(3)})
    later = adam()
    later.step({"0_W": np.ones(3), "0_b": np.ones(2)})
    for other, text in (
        (other_shape, "updaters: expected one layout, got updaters that differ in it"),
        (other_updater, "updaters: expected one configuration, got updaters that differ in it"),
        (other_dtype, "updaters: expected one dtype, got updaters that differ in it"),
        (other_class, "updaters: expected one class, got updaters that differ in it"),
        (later, "updaters: expected equal counters, got iteration 1 and 2, epoch 0 and 0"),
    ):
        with nothing_changes(one), pytest.raises(ValueError, match=r"^updaters: ") as caught:
            fs.aggregate([one, other])
        assert str(caught.value) == text
    with pytest.raises(ValueError, match="at least one"):
        fs.aggregate([])
    for nonsense in ([1], [one, {}], one):
        with pytest.raises(TypeError, match=r"^updaters: expected"):
            fs.aggregate(nonsense)  # type: ignore[type-var]


def test_aggregate_compares_configurations_not_their_hashes() -> None:
    """hash(-1.0) and hash(-2.0) are the same in Python."""
    one, other = (
        fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(updater=fs.Adam(fs.SigmoidSchedule(0.1, gamma, 4))),
            {"0_W": np.ones(2)},
        )
        for gamma in (-1.0, -2.0)
    )
    with pytest.raises(ValueError, match="expected one configuration"):
        fs.aggregate([one, other])


def test_aggregate_of_rates() -> None:
    """A rate that is state with one worker counts with the others as what they use."""
    workers = [adam() for _ in range(4)]
    workers[0].set_learning_rate(0.5)
    assert fs.aggregate(workers).learning_rate("0_W") == pytest.approx((0.5 + 3 * 0.1) / 4)
    assert fs.aggregate(workers[::-1]).learning_rate("0_W") == pytest.approx((0.5 + 3 * 0.1) / 4)
    old = [old_updater() for _ in range(2)]
    old[1]._set_rates([(r and r * 3, m and m * 3) for r, m in old[1]._rates()])
    both = fs.aggregate(old)._rates()
    for (rate, momentum), (expected_rate, expected_momentum) in zip(
        both, old[0]._rates(), strict=True
    ):
        assert rate == (None if expected_rate is None else pytest.approx(2 * expected_rate))
        assert momentum == (
            None if expected_momentum is None else pytest.approx(2 * expected_momentum)
        )


def test_aggregate_of_rates_that_are_scaled() -> None:
    """The mean is of the rates that were set; the scale multiplies it once."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0), layers={0: fs.LayerConfiguration(learning_rate_scale=0.5)}
    )
    workers = [fs.MultiLayerUpdater(config, {"0_W": np.ones(1)}) for _ in range(2)]
    for worker, rate in zip(workers, (0.25, 0.75), strict=True):
        worker.set_learning_rate(rate)
    assert fs.aggregate(workers).learning_rate("0_W") == 0.25


def test_aggregate_has_no_accumulated_gradients() -> None:
    workers = [adam(), adam()]
    workers[0].accumulate({"0_W": np.ones(3), "0_b": np.ones(2)})
    assert fs.aggregate(workers).accumulated is None
    assert workers[0].accumulated is not None


# ----------------------------------------------------------------------------------- learning rates


def update_of(updater: Any, **options: Any) -> dict[str, float]:
    """The first element of each update, for gradients of ones."""
    gradients = {key: np.ones_like(p) for key, p in updater.parameters.items()}
    updater.update(gradients, **options)
    return {key: float(g.flat[0]) for key, g in gradients.items()}


def plateau_updater() -> Any:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(fs.StepSchedule(1.0, 0.5, 1)),
        layers={"1": fs.LayerConfiguration(updater=fs.NoOp())},
    )
    params = {"0_W": np.ones(2), "0_b": np.ones(2), "1_W": np.ones(2), "2_W": np.ones(2)}
    return fs.MultiLayerUpdater(config, params)


def test_set_learning_rate() -> None:
    """From then on the rate is state, in place of number or schedule, where the updater has one."""
    updater = plateau_updater()
    assert update_of(updater) == {"0_W": 1.0, "0_b": 1.0, "1_W": 1.0, "2_W": 1.0}
    updater.set_learning_rate(0.125)
    assert update_of(updater) == {"0_W": 0.125, "0_b": 0.125, "1_W": 1.0, "2_W": 0.125}
    assert update_of(updater) == {"0_W": 0.125, "0_b": 0.125, "1_W": 1.0, "2_W": 0.125}
    assert updater.learning_rate("0_W") == 0.125
    assert updater.learning_rate("0_W", iteration=9) == 0.125
    assert updater.learning_rate("1_W") is None


@pytest.mark.parametrize(
    ("where", "changed"),
    [
        ({"layer": "0"}, {"0_W", "0_b"}),
        ({"layer": 2}, {"2_W"}),
        ({"param": "W"}, {"0_W", "2_W"}),
        ({"layer": 0, "param": "b"}, {"0_b"}),
    ],
    ids=str,
)
def test_set_learning_rate_of_some(where: dict[str, Any], changed: set[str]) -> None:
    updater = plateau_updater()
    updater.set_learning_rate(0.125, **where)
    rates = {key: updater.learning_rate(key) for key in ("0_W", "0_b", "2_W")}
    assert {key for key, rate in rates.items() if rate == 0.125} == changed
    assert {rate for key, rate in rates.items() if key not in changed} <= {1.0}
    assert set(updater.state_dict()["learning_rate"]) == changed


def test_set_learning_rate_is_saved_and_cloned() -> None:
    updater = plateau_updater()
    updater.set_learning_rate(0.125, layer=0)
    twin = updater.clone()
    assert twin == updater
    assert twin.learning_rate("0_b") == 0.125
    fresh = plateau_updater()
    fresh.load_state_dict(updater.state_dict())
    assert fresh == updater
    assert update_of(fresh)["0_W"] == 0.125


def test_set_learning_rate_does_not_end_blocks() -> None:
    """The state view's order is settled when the updater is made."""
    updater = adam()
    before = bits(dict(updater.state("0_W")))
    updater.set_learning_rate(0.5, param="b")
    assert len(updater.updater_blocks) == 1
    assert bits(dict(updater.state("0_W"))) == before


def test_a_policy_goes_on_from_a_rate_that_was_set() -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Step", decay_rate=0.5, steps=1),
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    assert [update_of(updater)["0_W"] for _ in range(2)] == [1.0, 0.5]
    updater.set_learning_rate(8.0)
    assert update_of(updater)["0_W"] == 2.0  # ·r², iteration 2


def test_set_learning_rate_refuses() -> None:
    updater = plateau_updater()
    for value in (-0.1, float("nan"), float("inf")):
        with nothing_changes(updater), pytest.raises(ValueError, match="a finite number >= 0"):
            updater.set_learning_rate(value)
    with nothing_changes(updater):
        with pytest.raises(TypeError, match="learning_rate"):
            updater.set_learning_rate("0.1")
        with pytest.raises(TypeError, match="learning_rate"):
            updater.set_learning_rate(None)
        with pytest.raises(fs.ParameterKeyError, match="layer='7'"):
            updater.set_learning_rate(0.1, layer="7")
        with pytest.raises(ValueError, match="have none"):
            updater.set_learning_rate(0.1, layer=1)


def test_learning_rate_of_a_schedule_at_any_time() -> None:
    updater = plateau_updater()
    assert [updater.learning_rate("0_W", iteration=i) for i in range(3)] == [1.0, 0.5, 0.25]
    assert updater.learning_rate("0_W") == 1.0
    updater.iteration = 2
    assert updater.learning_rate("0_W") == 0.25
    epochs = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(fs.ExponentialSchedule(1.0, 0.5, schedule_type="EPOCH"))
        ),
        {"0_W": np.ones(2)},
    )
    assert update_of(epochs) == {"0_W": 1.0}
    epochs.epoch = 2
    assert epochs.learning_rate("0_W") == 0.25
    assert epochs.learning_rate("0_W", epoch=1) == 0.5
    assert update_of(epochs) == {"0_W": 0.25}


# --------------------------------------------------------------------------------------- counters


def test_counters() -> None:
    """An explicit iteration is used and counted on from; an explicit epoch is kept."""
    updater = adam()
    gradients = {"0_W": np.ones(3), "0_b": np.ones(2)}
    assert (updater.iteration, updater.epoch) == (1, 0)
    updater.step(gradients, iteration=7, epoch=3)
    assert (updater.iteration, updater.epoch) == (8, 3)
    assert (updater.last_step.iteration, updater.last_step.epoch) == (7, 3)
    updater.step(gradients)
    assert (updater.iteration, updater.epoch) == (9, 3)
    updater.iteration, updater.epoch = 2**40, 5
    updater.step(gradients)
    assert (updater.iteration, updater.epoch) == (2**40 + 1, 5)


# ----------------------------------------------------------------------------------- CustomUpdater


class Failing(fs.CustomUpdater):
    """Fails at a chosen iteration, after having changed its scratch state."""

    state = ("m", "n")
    learning_rate = 0.5
    initial_state: Mapping[str, float] = {"n": 4.0}

    def __init__(self, at: int) -> None:
        self.at = at

    def get_gradient(
        self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
    ) -> None:
        state["m"] += g
        state["n"] *= 2
        g *= 100
        if iteration == self.at:
            raise RuntimeError(f"no good at {iteration}")


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
def test_an_exception_leaves_everything_as_it_was(semantics: Any) -> None:
    """Also the slots with built-in updaters before and after it, policies and momenta."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.5),
        semantics=semantics,
        layers={"1": fs.LayerConfiguration(updater=Failing(2))},
        learning_rate_policy=fs.LearningRatePolicy("Step", decay_rate=0.5, steps=1)
        if semantics == "dl4j-0.8"
        else None,
    )
    params = {"0_W": np.ones(40), "1_W": np.ones(40), "1_b": np.ones(4), "2_W": np.ones(40)}
    updater = fs.MultiLayerUpdater(config, params)
    gradients = {key: np.full_like(p, 0.25) for key, p in params.items()}
    np.testing.assert_array_equal(updater.state("1_W")["n"], 4.0)
    updater.step(gradients)
    updater.step(gradients)
    np.testing.assert_array_equal(updater.state("1_W")["m"], 0.5)
    np.testing.assert_array_equal(updater.state("1_b")["n"], 16.0)
    for method in (updater.step, updater.update):
        with nothing_changes(updater, gradients), pytest.raises(RuntimeError, match="no good at 2"):
            method(gradients)
    updater.step(gradients, iteration=3)
    np.testing.assert_array_equal(updater.state("1_W")["m"], 0.75)


def test_custom_updater_gets_views_of_its_parameters_form() -> None:
    seen = []

    class Looking(fs.CustomUpdater):
        state = ("m",)

        def get_gradient(
            self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
        ) -> None:
            seen.append((g.shape, g.dtype, g.flags.f_contiguous, state["m"].shape, learning_rate,
                         iteration))  # fmt: skip

    for dtype in (np.float32, np.float64):
        params = {"0_W": np.ones((2, 3), dtype, order="F")}
        updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=Looking()), params)
        updater.step({"0_W": np.ones((2, 3), dtype, order="F")}, iteration=5)
        assert seen.pop() == ((2, 3), np.dtype(dtype), True, (2, 3), None, 5)


def test_custom_updater_comes_after_normalisation_and_regularisation() -> None:
    """It is handed what a built-in updater would be, in both orders."""
    for semantics, expected in (("dl4j-1.0", 0.25 + 0.5 * 2), ("dl4j-0.8", 0.25)):
        seen = []

        class Looking(fs.CustomUpdater):
            def get_gradient(
                self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
            ) -> None:
                seen.append(g.copy())  # noqa: B023
                g[...] = 1.0

        config = fs.MultiLayerConfiguration(
            updater=Looking(),
            l2=0.5,
            gradient_normalization="ClipElementWiseAbsoluteValue",
            gradient_normalization_threshold=0.25,
            semantics=semantics,
        )
        gradient = np.full(3, 9.0)
        fs.MultiLayerUpdater(config, {"0_W": np.full(3, 2.0)}).update({"0_W": gradient})
        np.testing.assert_array_equal(seen[0], expected)
        after = 1.0 if semantics == "dl4j-1.0" else 1.0 + 0.5 * 2
        np.testing.assert_array_equal(gradient, after)


def test_custom_updater_cannot_step_the_updater_that_calls_it() -> None:
    class Reentrant(fs.CustomUpdater):
        def get_gradient(
            self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
        ) -> None:
            updater.step({"0_W": np.ones(3)})

    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=Reentrant()), {"0_W": np.ones(3)}
    )
    with nothing_changes(updater), pytest.raises(RuntimeError, match="in the middle of a step"):
        updater.step({"0_W": np.ones(3)})


def test_a_custom_updaters_state_is_in_the_state_view() -> None:
    config = fs.MultiLayerConfiguration(updater=Failing(99), bias_updater=fs.Sgd(0.5))
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3), "0_b": np.ones(2)})
    np.testing.assert_array_equal(updater.state_view, [0, 0, 0, 4, 4, 4])
    assert [b.updater for b in updater.updater_blocks] == ["Failing", "Sgd"]
    updater.step({"0_W": np.ones(3), "0_b": np.ones(2)})
    np.testing.assert_array_equal(updater.state_view, [1, 1, 1, 8, 8, 8])


# --------------------------------------------------------------------------------------- the rest


def test_repr_says_what_it_is() -> None:
    assert repr(adam()) == ("<MultiLayerUpdater: 2 parameters, 5 elements, float64, iteration 1>")


def test_configuration_is_the_one_given() -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
    assert fs.MultiLayerUpdater(config, {"0_W": np.ones(2)}).configuration is config


# ------------------------------------------------------------------------ what copies take along


def test_clone_takes_monitor_and_accumulated_gradients_along() -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), {"0_W": np.zeros(2)}, monitor=True
    )
    updater.accumulate({"0_W": np.array([3.0, 4.0])})
    params = {"0_W": np.array([0.0, 10.0])}
    twin = updater.clone(params)
    assert twin.monitor
    twin.step()
    np.testing.assert_array_equal(params["0_W"], [-3.0, 6.0])
    assert twin.last_step is not None
    assert twin.last_step.layers["0"].update_ratio == 0.5
    assert updater.accumulated is not None
    np.testing.assert_array_equal(updater.parameters["0_W"], 0.0)


def test_skipped_steps_are_part_of_equality() -> None:
    one, other = adam(), adam()
    assert one == other
    other.skipped_steps = 1
    assert one != other


def test_updaters_of_other_classes_are_others() -> None:
    config = fs.MultiLayerConfiguration()
    one = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    other = fs.ComputationGraphUpdater(config, {"0_W": np.ones(2)})
    assert one != other
    assert hash(one) != hash(other)


def test_momentum() -> None:
    """A schedule's at an iteration and an epoch; none where the updater has none."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.1, momentum=fs.MapSchedule({0: 0.5, 2: 0.75}, "EPOCH")),
        layers={
            "1": fs.LayerConfiguration(updater=fs.Nesterovs(0.1, fs.MapSchedule({0: 0.5, 3: 0.9}))),
            "2": fs.LayerConfiguration(updater=fs.Adam()),
        },
    )
    updater = fs.MultiLayerUpdater(config, {f"{i}_W": np.ones(2) for i in range(3)})
    assert [updater.momentum("0_W", epoch=epoch) for epoch in (0, 1, 2)] == [0.5, 0.5, 0.75]
    assert [updater.momentum("1_W", iteration=i) for i in (2, 3)] == [0.5, 0.9]
    updater.epoch, updater.iteration = 2, 3
    assert (updater.momentum("0_W"), updater.momentum("1_W")) == (0.75, 0.9)
    assert updater.momentum("2_W") is None
    for method in (updater.momentum, updater.learning_rate):
        for bad in ({"iteration": -1}, {"epoch": -1}, {"iteration": 2**70}):
            with pytest.raises(ValueError, match="expected an integer"):
                method("0_W", **bad)
        with pytest.raises(TypeError, match="expected an integer"):
            method("0_W", iteration=1.5)  # type: ignore[arg-type]
