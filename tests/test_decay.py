"""What counts as a bias, what decays, and the settings that show it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import flatstep as fs

SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))


def arrays(*keys: str, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {key: np.ones(shape) for key in keys}


# ------------------------------------------------------------------------ biases, and what decays


@pytest.mark.parametrize(
    ("name", "shape", "bias"),
    [
        ("b", (3, 4), True),
        ("bias", (3,), True),
        ("in_proj_bias", (3,), True),
        ("bias_ih_l0", (3,), True),
        ("hiddenBias", (3,), True),
        ("b1", (3,), True),
        ("b_2", (3,), True),
        ("bh", (3, 1), True),
        ("by", (1, 3), True),
        ("b_out", (3,), True),
        ("biases", (3,), True),
        ("b_out", (3, 4), False),
        ("b_", (3,), False),
        ("b1", (3, 4), False),
        ("bh", (3, 4), False),
        ("beta", (3,), False),
        ("block", (3,), False),
        ("basis", (3,), False),
        ("B", (3,), False),
        ("W", (3,), False),
        ("unbiased", (3,), False),
    ],
)
def test_biases_are_known_by_name(name: str, shape: tuple[int, ...], bias: bool) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), l2=0.5, l2_bias=0.25)
    updater = fs.LayerUpdater(config, {name: np.ones(shape)})
    (settings,) = updater.settings()
    assert (settings.bias, settings.l2) == (bias, 0.25 if bias else 0.5)


def test_listed_biases_are_the_only_ones() -> None:
    config = fs.MultiLayerConfiguration(bias_params=("beta",))
    updater = fs.LayerUpdater(config, arrays("b", "bias", "beta", "vb"))
    assert [param.bias for param in updater.settings()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("decay_filter", "decaying"),
    [
        (None, {"fc.weight", "fc.bias", "norm.gain"}),
        ("*.weight", {"fc.weight"}),
        (2, {"fc.weight"}),
        (np.int64(1), {"fc.weight", "fc.bias", "norm.gain"}),
        (lambda key, shape: shape == (3,), {"fc.bias", "norm.gain"}),
        (lambda key, shape: np.bool_(key.startswith("fc")), {"fc.weight", "fc.bias"}),
    ],
)
@pytest.mark.parametrize(
    "decay",
    [
        {"l2": 0.5, "l2_bias": 0.5},
        {"l1": 0.5, "l1_bias": 0.5},
        {"weight_decay": 0.5, "weight_decay_bias": 0.5},
        {"updater": fs.AdamW(0.5, weight_decay=0.5)},
        {"updater": fs.ScheduleFreeAdamW(0.5, weight_decay=0.5)},
    ],
)
def test_decay_filter(decay_filter: Any, decaying: set[str], decay: dict[str, Any]) -> None:
    config = fs.MultiLayerConfiguration(
        **{"updater": fs.Sgd(0.5), **decay}, decay_filter=decay_filter
    )
    params = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(3), "norm.gain": np.ones(3)}
    updater = fs.create_updater(config, params)
    found = {p.key for p in updater.settings() if p.l1 or p.l2 or p.weight_decay}
    assert found == decaying
    updater.step({key: np.zeros_like(array) for key, array in params.items()})
    assert {key for key, array in params.items() if not (array == 1).all()} == decaying


def test_a_parameters_own_decay_passes_the_filter() -> None:
    own = fs.LayerConfiguration(params={"b": fs.ParamConfiguration(l2=0.25)})
    config = fs.MultiLayerConfiguration(l2=0.5, decay_filter=2, layers={"0": own})
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones((2, 2)), "0_b": np.ones(2)})
    assert [param.l2 for param in updater.settings()] == [0.5, 0.25]


@pytest.mark.parametrize("rule", [fs.AdamW, fs.ScheduleFreeAdamW])
def test_a_parameters_own_updater_passes_the_filter(rule: Any) -> None:
    own = {"b": fs.ParamConfiguration(updater=rule(0.5, weight_decay=0.25))}
    config = fs.MultiLayerConfiguration(
        decay_filter="*_W", layers={"0": fs.LayerConfiguration(params=own)}
    )
    updater = fs.MultiLayerUpdater(config, arrays("0_W", "0_b"))
    assert [param.weight_decay for param in updater.settings()] == [0.0, 0.25]


@pytest.mark.parametrize("value", ["*.weight", 2])
def test_a_decay_filter_is_saved(value: Any) -> None:
    config = fs.MultiLayerConfiguration(l2=0.5, decay_filter=value)
    assert fs.MultiLayerConfiguration.from_json(config.to_json()) == config


def a_function(key: str, shape: tuple[int, ...]) -> bool:
    return True


def test_a_function_is_pickled_and_not_saved() -> None:
    config = fs.MultiLayerConfiguration(decay_filter=a_function)
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(TypeError, match=r"configuration\.decay_filter: expected a pattern or a"):
        config.to_json()


def test_a_pattern_of_no_key() -> None:
    """A typo does not switch decay off."""
    config = fs.MultiLayerConfiguration(l2=0.5, decay_filter="*.wieght")
    with pytest.raises(ValueError, match=r'decay_filter: expected a pattern of some key, got "\*'):
        fs.create_updater(config, arrays("fc.weight", "fc.bias"))


def test_brackets_in_a_pattern_are_brackets() -> None:
    config = fs.MultiLayerConfiguration(l2=0.5, decay_filter="layers[0].*")
    params = arrays("layers[0].weight", "layers[1].weight")
    assert [param.l2 for param in fs.create_updater(config, params).settings()] == [0.5, 0.0]


def test_what_a_key_may_begin_with_and_is_a_bias_is_one_by_name() -> None:
    for name in ("b", "bias", "biases"):
        updater = fs.create_updater(fs.MultiLayerConfiguration(), arrays(f"{name}_1", "W_1"))
        assert [param.bias for param in updater.settings()] == [True, False]


@pytest.mark.parametrize("value", [1.5, True, ["*.weight"], b"W", object()])
def test_what_no_decay_filter_is(value: Any) -> None:
    with pytest.raises(TypeError, match="decay_filter: expected a pattern of keys, a function or"):
        fs.MultiLayerConfiguration(decay_filter=value)


def test_no_decay_filter_of_fewer_than_no_dimensions() -> None:
    with pytest.raises(ValueError, match="decay_filter: expected a pattern of keys"):
        fs.MultiLayerConfiguration(decay_filter=-1)


def test_a_decay_filter_that_says_nothing() -> None:
    config = fs.MultiLayerConfiguration(decay_filter=lambda key, shape: None)
    with pytest.raises(
        TypeError, match=r'expected True or False for "W" of shape \(2,\), got None'
    ):
        fs.create_updater(config, arrays("W"))


def test_a_decay_filter_that_raises() -> None:
    def fails(key: str, shape: tuple[int, ...]) -> bool:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fs.create_updater(fs.MultiLayerConfiguration(decay_filter=fails), arrays("W"))


def test_settings_are_data_and_a_table() -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.LinearSchedule(0.5, 0.0, 4)),
        bias_updater=fs.Sgd(0.25),
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=2.0,
        l1=1e-3,
        weight_decay=0.01,
        layers={
            "2": fs.LayerConfiguration(frozen=True),
            "3": fs.LayerConfiguration(kind="BatchNormalization", learning_rate_scale=0.5),
        },
    )
    params = {"0_W": np.ones((2, 3)), "0_b": np.ones(3), "2_W": np.ones(3), "3_mean": np.ones(3)}
    params["3_gamma"] = np.ones(3)
    updater = fs.MultiLayerUpdater(config, params)
    updater.iteration = 2
    weight = updater.settings()[0]
    assert weight == fs.ParamSettings(
        key="0_W",
        layer="0",
        param="W",
        bias=False,
        updater="Adam",
        learning_rate=0.25,
        l1=1e-3,
        l2=0.0,
        weight_decay=0.01,
        strategy="ClipL2PerLayer",
        threshold=2.0,
        group="layer",
        frozen=False,
        statistic=False,
    )
    assert str(updater.settings()).splitlines() == [
        "key      layer  type   bias  updater    rate   decay                        normalised",
        "0_W      0      W            Adam       0.25   l1 0.001, weight decay 0.01  "
        "ClipL2PerLayer at 2",
        "0_b      0      b      bias  Sgd        0.25                                "
        "ClipL2PerLayer at 2",
        "2_W      2      W            frozen",
        "3_mean   3      mean         statistic                                      "
        "ClipL2PerLayer at 2",
        "3_gamma  3      gamma        Adam       0.125                               "
        "ClipL2PerLayer at 2",
    ]
