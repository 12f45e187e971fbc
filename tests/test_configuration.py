"""What inherits from what: a natural configuration steps as one that says everything."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from networks import configuration
from oracle import LayerSpec, NetworkSpec, Policy, SlotSpec, UpdaterSpec, updater_blocks
from snapshots import bits

import flatstep as fs

SHAPES = {
    "0_W": (4, 3), "0_b": (3,), "1_W": (3, 3), "1_b": (3,), "1_vb": (3,), "2_W": (3, 2), "2_b": (2,)
}  # fmt: skip


def slot(key: str, updater: UpdaterSpec, **settings: Any) -> SlotSpec:
    layer, param = key.split("_")
    return SlotSpec(key, layer, param, int(np.prod(SHAPES[key])), updater, **settings)


def network(slots: list[SlotSpec], semantics: str = "dl4j-1.0", **layers: LayerSpec) -> NetworkSpec:
    """The named layers, and plain ones for the rest."""
    names = list(dict.fromkeys(s.layer for s in slots))
    specs = tuple(layers.get(f"layer_{name}", LayerSpec(name)) for name in names)
    return NetworkSpec(semantics, specs, tuple(slots))


def sgd(rate: float) -> UpdaterSpec:
    return UpdaterSpec("Sgd", {"learning_rate": rate})


def adam(rate: float) -> UpdaterSpec:
    return UpdaterSpec(
        "Adam", {"learning_rate": rate, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    )


ALL = list(SHAPES)
WEIGHTS = [key for key in SHAPES if key.endswith("_W")]

# (a configuration as a user writes it, the same with everything said per slot)
PAIRS: dict[str, tuple[Any, NetworkSpec]] = {
    "network's defaults": (
        fs.MultiLayerConfiguration(),
        network([slot(key, sgd(1e-3)) for key in ALL]),
    ),
    "updaters": (
        fs.MultiLayerConfiguration(
            updater=fs.Adam(0.1),
            layers={
                "1": fs.LayerConfiguration(updater=fs.Sgd(0.2)),
                "2": fs.LayerConfiguration(
                    updater=fs.Sgd(0.3), params={"b": fs.ParamConfiguration(updater=fs.Adam(0.4))}
                ),
            },
        ),
        network(
            [slot(key, adam(0.1) if key[0] == "0" else sgd(0.2)) for key in ALL[:5]]
            + [slot("2_W", sgd(0.3)), slot("2_b", adam(0.4))]
        ),
    ),
    "bias updaters": (  # the network's is nearer to a bias than the layer's updater
        fs.MultiLayerConfiguration(
            updater=fs.Adam(0.1),
            bias_updater=fs.Sgd(0.2),
            layers={
                "1": fs.LayerConfiguration(bias_updater=fs.Sgd(0.3)),
                "2": fs.LayerConfiguration(updater=fs.Adam(0.4)),
            },
        ),
        network(
            [
                slot("0_W", adam(0.1)),
                slot("0_b", sgd(0.2)),
                slot("1_W", adam(0.1)),
                slot("1_b", sgd(0.3)),
                slot("1_vb", sgd(0.3)),
                slot("2_W", adam(0.4)),
                slot("2_b", sgd(0.2)),
            ]
        ),
    ),
    "bias rates": (
        fs.MultiLayerConfiguration(
            updater=fs.Adam(0.1),
            bias_learning_rate=0.2,
            layers={
                "1": fs.LayerConfiguration(bias_learning_rate=0.3),
                "2": fs.LayerConfiguration(
                    params={"b": fs.ParamConfiguration(updater=fs.Adam(0.4))}
                ),
            },
        ),
        network(
            [
                slot("0_W", adam(0.1)),
                slot("0_b", adam(0.2)),
                slot("1_W", adam(0.1)),
                slot("1_b", adam(0.3)),
                slot("1_vb", adam(0.3)),
                slot("2_W", adam(0.1)),
                slot("2_b", adam(0.4)),
            ]
        ),
    ),
    "regularisation": (
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.1),
            l1=0.01,
            l2=0.02,
            l2_bias=0.03,
            weight_decay=0.04,
            weight_decay_bias=0.05,
            weight_decay_apply_lr=False,
            layers={
                "1": fs.LayerConfiguration(l2=0.06, l1_bias=0.07, weight_decay_apply_lr=True),
                "2": fs.LayerConfiguration(
                    params={"b": fs.ParamConfiguration(l2=0.08, weight_decay=0.0)}
                ),
            },
        ),
        network(
            [
                slot(
                    "0_W",
                    sgd(0.1),
                    l1=0.01,
                    l2=0.02,
                    weight_decay=0.04,
                    weight_decay_apply_lr=False,
                ),
                slot("0_b", sgd(0.1), l2=0.03, weight_decay=0.05, weight_decay_apply_lr=False),
                slot("1_W", sgd(0.1), l1=0.01, l2=0.06, weight_decay=0.04),
                slot("1_b", sgd(0.1), l1=0.07, l2=0.03, weight_decay=0.05),
                slot("1_vb", sgd(0.1), l1=0.07, l2=0.03, weight_decay=0.05),
                slot(
                    "2_W",
                    sgd(0.1),
                    l1=0.01,
                    l2=0.02,
                    weight_decay=0.04,
                    weight_decay_apply_lr=False,
                ),
                slot("2_b", sgd(0.1), l2=0.08),
            ]
        ),
    ),
    "normalisation": (
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.1),
            gradient_normalization=fs.GradientNormalization.ClipL2PerLayer,
            gradient_normalization_threshold=0.5,
            layers={
                "1": fs.LayerConfiguration(gradient_normalization="RenormalizeL2PerParamType"),
                "2": fs.LayerConfiguration(gradient_normalization_threshold=0.25),
            },
        ),
        network(
            [slot(key, sgd(0.1)) for key in ALL],
            layer_0=LayerSpec("0", "ClipL2PerLayer", 0.5),
            layer_1=LayerSpec("1", "RenormalizeL2PerParamType"),
            layer_2=LayerSpec("2", "ClipL2PerLayer", 0.25),
        ),
    ),
    "no normalisation of a layer": (
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.1),
            gradient_normalization="ClipL2Global",
            gradient_normalization_threshold=0.5,
            layers={"1": fs.LayerConfiguration(gradient_normalization="None")},
        ),
        NetworkSpec(
            "dl4j-1.0",
            (LayerSpec("0", in_global=True), LayerSpec("1"), LayerSpec("2", in_global=True)),
            tuple(slot(key, sgd(0.1)) for key in ALL),
            global_threshold=0.5,
        ),
    ),
    "policies": (
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.1),
            semantics="dl4j-0.8",
            learning_rate_policy=fs.LearningRatePolicy("Step", decay_rate=0.5, steps=1),
            layers={
                "1": fs.LayerConfiguration(
                    learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.25)
                ),
                "2": fs.LayerConfiguration(learning_rate_policy=fs.LearningRatePolicy("None")),
            },
        ),
        network(
            [
                slot(
                    key,
                    sgd(0.1),
                    policy={
                        "0": Policy("Step", decay_rate=0.5, steps=1),
                        "1": Policy("Exponential", decay_rate=0.25),
                    }.get(key[0]),
                )
                for key in ALL
            ],
            semantics="dl4j-0.8",
        ),
    ),
}


@pytest.mark.parametrize(("natural", "explicit"), PAIRS.values(), ids=PAIRS.keys())
def test_inheritance(natural: Any, explicit: NetworkSpec) -> None:
    results = []
    for config in (natural, configuration(explicit)):
        rng = np.random.default_rng(0)
        params = {key: rng.standard_normal(shape) for key, shape in SHAPES.items()}
        updater = fs.MultiLayerUpdater(config, params)
        for _ in range(3):
            updater.step({key: rng.standard_normal(shape) for key, shape in SHAPES.items()})
        blocks = [tuple(block)[1:] for block in updater.updater_blocks]
        results.append((bits(params), bits(np.array(updater.state_view)), blocks))
    assert results[0] == results[1]
    if explicit.semantics == "dl4j-1.0":
        assert results[0][2] == [tuple(block) for block in updater_blocks(explicit)]


def test_bias_params() -> None:
    """Which names are biases is the user's to say; the visible bias always is one."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0), bias_updater=fs.Sgd(0.5), bias_params=("beta",)
    )
    layers = fs.LayerConfiguration(pretrain=True)
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        bias_updater=fs.Sgd(0.5),
        bias_params=("beta",),
        layers={"0": layers},
    )
    keys = ("0_W", "0_b", "0_beta", "0_vb")
    gradients = {key: np.ones(2) for key in keys}
    fs.MultiLayerUpdater(config, {key: np.ones(2) for key in keys}).update(gradients)
    updates = {key: float(g[0]) for key, g in gradients.items()}
    assert updates == {"0_W": 1.0, "0_b": 1.0, "0_beta": 0.5, "0_vb": 0.5}


def test_batch_normalization_marks_its_statistics() -> None:
    """mean, var and log10stdev are moved by their gradient as it stands; the layer has no decay."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.5),
        l2=0.25,
        weight_decay=0.25,
        layers={"0": fs.LayerConfiguration(kind="BatchNormalization")},
    )
    keys = ("0_gamma", "0_beta", "0_mean", "0_var", "0_log10stdev", "1_W")
    gradients = {key: np.ones(2) for key in keys}
    updater = fs.MultiLayerUpdater(config, {key: np.ones(2) for key in keys})
    updater.update(gradients, batch_size=4)
    updates = {key: float(g[0]) for key, g in gradients.items()}
    assert updates == {
        "0_gamma": 0.125,
        "0_beta": 0.125,
        "0_mean": 1.0,
        "0_var": 1.0,
        "0_log10stdev": 1.0,
        "1_W": 0.5 * (0.25 + 0.25) + 0.5 * 0.25,
    }


def test_statistic_of_any_parameter() -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.5),
        l2=0.25,
        layers={"0": fs.LayerConfiguration(params={"W": fs.ParamConfiguration(statistic=True)})},
    )
    gradient = np.array([3.0, -4.0])
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    updater.update({"0_W": gradient}, batch_size=8)
    np.testing.assert_array_equal(gradient, [3.0, -4.0])
    assert updater.state("0_W") == {}


def test_frozen_layers() -> None:
    """No norm, no regularisation, no state change, a zero update; 0.8 keeps the untouched state."""
    for semantics, state in (("dl4j-1.0", 0), ("dl4j-0.8", 4)):
        config = fs.MultiLayerConfiguration(
            updater=fs.Adam(0.5),
            l2=0.25,
            gradient_normalization="RenormalizeL2PerLayer",
            semantics=semantics,
            layers={"0": fs.LayerConfiguration(frozen=True)},
        )
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "1_W": np.ones(2)})
        assert updater.state_view.size == 4 + state
        gradients = {"0_W": np.ones(2), "1_W": np.ones(2)}
        updater.update(gradients)
        np.testing.assert_array_equal(gradients["0_W"], 0.0)
        np.testing.assert_array_equal(updater.state_view[:state], 0.0)
        updater.step({"1_W": np.ones(2)})
        updater.step({"0_W": None, "1_W": np.ones(2)})
        np.testing.assert_array_equal(updater.parameters["0_W"], 1.0)
        assert (updater.parameters["1_W"] < 1).all()
    assert updater.iteration == 3


@pytest.mark.parametrize(("natural", "explicit"), PAIRS.values(), ids=PAIRS.keys())
def test_configurations_are_values(natural: Any, explicit: NetworkSpec) -> None:
    for config in (natural, configuration(explicit)):
        assert pickle.loads(pickle.dumps(config)) == config
        assert copy.deepcopy(config) == config
        assert hash(pickle.loads(pickle.dumps(config))) == hash(config)
        assert eval(repr(config), {**vars(fs)}) == config
        assert config != fs.MultiLayerConfiguration(updater=fs.Sgd(0.123))
        with pytest.raises(AttributeError):
            config.l2 = 0.5


def test_layers_by_number() -> None:
    by_number = fs.MultiLayerConfiguration(layers={0: fs.LayerConfiguration(frozen=True)})
    by_name = fs.MultiLayerConfiguration(layers={"0": fs.LayerConfiguration(frozen=True)})
    assert by_number == by_name
