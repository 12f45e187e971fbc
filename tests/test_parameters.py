"""The forms in which parameters and gradients are given, and the flat view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flatstep as fs

CONFIG = fs.MultiLayerConfiguration(
    updater=fs.Sgd(1.0), layers={"1": fs.LayerConfiguration(updater=fs.Sgd(0.5))}
)


def made() -> dict[str, Any]:
    return {"0_W": np.full((2, 3), 4.0), "0_b": np.full(3, 4.0), "1_W": np.full((3, 1), 4.0)}


def test_gradients_in_any_order() -> None:
    rng = np.random.default_rng(0)
    gradients = {key: rng.standard_normal(array.shape) for key, array in made().items()}
    results = []
    for keys in (("0_W", "0_b", "1_W"), ("1_W", "0_b", "0_W"), ("0_b", "1_W", "0_W")):
        params = made()
        updater = fs.MultiLayerUpdater(CONFIG, params)
        updater.step({key: gradients[key] for key in keys})
        updater.step({key: gradients[key] for key in reversed(keys)})
        results.append({key: array.tobytes() for key, array in params.items()})
    assert results[0] == results[1] == results[2]


def test_order_of_parameters_is_the_layout() -> None:
    updater = fs.MultiLayerUpdater(CONFIG, made())
    layout = [(slot.key, slot.layer, slot.param, slot.offset, slot.size) for slot in updater.layout]
    assert layout == [("0_W", "0", "W", 0, 6), ("0_b", "0", "b", 6, 3), ("1_W", "1", "W", 9, 3)]
    assert [slot.shape for slot in updater.layout] == [(2, 3), (3,), (3, 1)]
    assert updater.layout[0].order == "C"
    assert list(updater.parameters) == ["0_W", "0_b", "1_W"]
    fortran = {"0_W": np.ones((2, 3), order="F")}
    (slot,) = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), fortran).layout
    assert slot.order == "F"


def test_layers_need_not_start_at_0_nor_ascend() -> None:
    params = {"5_W": np.ones(2), "2_W": np.ones(2)}
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), params)
    assert [slot.layer for slot in updater.layout] == ["5", "2"]


def test_multi_layer_keys_split_at_the_first_separator() -> None:
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W_hh": np.ones(2)})
    assert [(slot.layer, slot.param) for slot in updater.layout] == [("0", "W_hh")]


def test_graph_keys_split_at_the_last_separator() -> None:
    config = fs.MultiLayerConfiguration(layers={"left_branch": fs.LayerConfiguration(frozen=True)})
    params = {"left_branch_W": np.ones(2), "out_W": np.ones(2)}
    updater = fs.ComputationGraphUpdater(config, params)
    assert [(s.layer, s.param) for s in updater.layout] == [("left_branch", "W"), ("out", "W")]
    updater.step({"out_W": np.ones(2)})
    np.testing.assert_array_equal(params["left_branch_W"], 1.0)
    np.testing.assert_array_equal(params["out_W"], 1 - 1e-3)


NESTED = {
    "fc_1": {"kernel": np.full((2, 2), 4.0), "bias": np.full(2, 4.0)},
    "head": {"kernel": np.full(2, 4.0)},
}


def test_nested_mappings() -> None:
    """Any names; layer and parameter are told apart by the nesting, not by the key."""
    params = {layer: {p: a.copy() for p, a in inner.items()} for layer, inner in NESTED.items()}
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        bias_updater=fs.Sgd(0.5),
        layers={"head": fs.LayerConfiguration(updater=fs.Sgd(0.25))},
    )
    updater = fs.ComputationGraphUpdater(config, params)
    assert [slot.key for slot in updater.layout] == ["fc_1_kernel", "fc_1_bias", "head_kernel"]
    assert [slot.layer for slot in updater.layout] == ["fc_1", "fc_1", "head"]
    ones = {
        layer: {p: np.ones_like(a) for p, a in inner.items()} for layer, inner in NESTED.items()
    }
    updater.step(ones)
    np.testing.assert_array_equal(params["fc_1"]["kernel"], 3.0)
    np.testing.assert_array_equal(params["fc_1"]["bias"], 3.5)
    np.testing.assert_array_equal(params["head"]["kernel"], 3.75)
    updater.step({"fc_1_kernel": ones["fc_1"]["kernel"], "fc_1_bias": ones["fc_1"]["bias"],
                  "head_kernel": ones["head"]["kernel"]})  # fmt: skip
    np.testing.assert_array_equal(params["head"]["kernel"], 3.5)


def test_nested_parameter_names_with_separators() -> None:
    """A name that contains '_' is no trouble where the nesting says what it is."""
    params = {"enc": {"W_hh": np.ones(2)}, "dec_2": {"W_ih_0": np.ones(3)}}
    config = fs.MultiLayerConfiguration(
        layers={
            "dec_2": fs.LayerConfiguration(params={"W_ih_0": fs.ParamConfiguration(l2=0.5)}),
        }
    )
    updater = fs.ComputationGraphUpdater(config, params)
    assert [(s.layer, s.param) for s in updater.layout] == [("enc", "W_hh"), ("dec_2", "W_ih_0")]
    updater.step({"enc": {"W_hh": np.ones(2)}, "dec_2": {"W_ih_0": np.ones(3)}})


def test_sequences() -> None:
    """A layer per entry: a mapping, several arrays, or one."""
    w, b, v = np.ones((2, 2)), np.ones(2), np.ones(3)
    config = fs.MultiLayerConfiguration()
    for params, keys in (
        ([{"W": w, "b": b}, {"W": v}], ["0_W", "0_b", "1_W"]),
        ([[w, b], [v]], ["0_0", "0_1", "1_0"]),
        ([w, b, v], ["0_0", "1_0", "2_0"]),
        ((w, b, v), ["0_0", "1_0", "2_0"]),
    ):
        updater = fs.MultiLayerUpdater(config, params)
        assert [slot.key for slot in updater.layout] == keys


def test_integer_keys_of_nested_mappings() -> None:
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {0: {"W": np.ones(2)}})
    updater.step({0: {"W": np.ones(2)}})
    assert updater.layout[0].key == "0_W"


def test_scalars_and_many_axes() -> None:
    params = {"0_a": np.array(4.0), "0_K": np.full((2, 3, 4, 5), 4.0)}
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), params)
    updater.step({"0_a": np.array(1.0), "0_K": np.ones((2, 3, 4, 5))})
    assert params["0_a"] == 3.0
    np.testing.assert_array_equal(params["0_K"], 3.0)


def test_layer_updater() -> None:
    params = {"W": np.full(3, 4.0), "b": np.full(2, 4.0)}
    updater = fs.LayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), bias_updater=fs.Sgd(0.5)), params
    )
    updater.step({"W": np.ones(3), "b": np.ones(2)})
    np.testing.assert_array_equal(params["W"], 3.0)
    np.testing.assert_array_equal(params["b"], 3.5)
    assert list(updater.parameters) == ["W", "b"]
    assert list(updater.state_dict()["state"]) in ([], ["W", "b"])


def test_create_updater_picks_as_updater_creator_does() -> None:
    config = fs.MultiLayerConfiguration()
    one = np.ones(2)
    for params, expected in (
        ({"0_W": one}, fs.MultiLayerUpdater),
        ({"0": {"W": one}}, fs.MultiLayerUpdater),
        ([{"W": one}], fs.MultiLayerUpdater),
        ({"fc1_W": one}, fs.ComputationGraphUpdater),
        ({"fc1": {"kernel": one}}, fs.ComputationGraphUpdater),
        ({"W": one, "b": np.ones(3)}, fs.LayerUpdater),
    ):
        assert type(fs.create_updater(config, params)) is expected


# ---------------------------------------------------------------------------------------- flatten


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flatten(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    params = {
        "0_W": rng.standard_normal((3, 5)).astype(dtype),
        "0_b": rng.standard_normal(5).astype(dtype),
        "1_W": np.asarray(rng.standard_normal((5, 2)), dtype, order="F"),
    }
    flat, views = fs.flatten(params)
    assert flat.shape == (30,)
    assert flat.dtype == dtype
    assert flat.ctypes.data % 64 == 0
    assert list(views) == list(params)
    end = 0
    for key, view in views.items():
        np.testing.assert_array_equal(view, params[key])
        assert view.shape == params[key].shape
        assert np.shares_memory(view, flat)
        assert not np.shares_memory(view, params[key])
        assert view.ctypes.data == flat.ctypes.data + end * flat.itemsize
        end += view.size
    assert views["1_W"].flags.f_contiguous


def test_flatten_keeps_the_structure() -> None:
    flat, views = fs.flatten({"fc1": {"kernel": np.ones((2, 2)), "bias": np.zeros(2)}})
    np.testing.assert_array_equal(flat, [1, 1, 1, 1, 0, 0])
    updater = fs.ComputationGraphUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), views)
    gradient, gradient_views = fs.flatten({"fc1": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}})
    updater.step(gradient_views)
    np.testing.assert_array_equal(flat, [0, 0, 0, 0, -1, -1])
    np.testing.assert_array_equal(gradient, 1)


# -------------------------------------------------------------- bound and accumulated gradients


def test_bound_gradients() -> None:
    params = made()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    gradients = {key: np.ones_like(array) for key, array in params.items()}
    updater.bind_gradients(gradients)
    updater.step()
    updater.step(batch_size=2)
    np.testing.assert_array_equal(params["0_W"], 2.5)
    np.testing.assert_array_equal(params["1_W"], 3.25)
    assert updater.iteration == 2
    # Gradients that are given are used, and the bound ones stay bound.
    updater.step({key: np.zeros_like(array) for key, array in params.items()})
    np.testing.assert_array_equal(params["0_W"], 2.5)
    updater.step()
    np.testing.assert_array_equal(params["0_W"], 1.5)


def test_accumulated_gradients() -> None:
    """Their sum is used once, by the next step; the arrays that were added are left alone."""
    params = made()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    for value in (1.0, 2.0):
        gradients = {key: np.full_like(array, value) for key, array in params.items()}
        updater.accumulate(gradients)
        np.testing.assert_array_equal(gradients["0_W"], value)
        np.testing.assert_array_equal(params["0_W"], 4.0)
    updater.step(batch_size=2)
    np.testing.assert_array_equal(params["0_W"], 2.5)
    np.testing.assert_array_equal(params["1_W"], 3.25)
    with pytest.raises(ValueError, match="accumulate"):
        updater.step()
    updater.accumulate({key: np.full_like(array, 7.0) for key, array in params.items()})
    updater.discard_accumulated()
    with pytest.raises(ValueError, match="accumulate"):
        updater.step()
    updater.accumulate({key: np.ones_like(array) for key, array in params.items()})
    updater.step()
    np.testing.assert_array_equal(params["0_W"], 1.5)


def test_accumulated_before_bound() -> None:
    params = made()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    updater.bind_gradients({key: np.ones_like(array) for key, array in params.items()})
    updater.accumulate({key: np.full_like(array, 2.0) for key, array in params.items()})
    updater.step()
    np.testing.assert_array_equal(params["0_W"], 2.0)
    updater.step()
    np.testing.assert_array_equal(params["0_W"], 1.0)


@pytest.mark.parametrize("isa", fs.available_isas())
def test_accumulating_is_adding(isa: str) -> None:
    """To the bit, as NumPy adds, however large the slots."""
    fs.set_isa(isa)
    rng = np.random.default_rng(1)
    shapes = {"0_W": (40, 1000), "0_b": (7,)}
    parts = [
        {key: rng.standard_normal(s).astype(np.float32) for key, s in shapes.items()}
        for _ in range(3)
    ]
    one = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    other = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
    accumulating = fs.MultiLayerUpdater(config, one)
    for part in parts:
        accumulating.accumulate(part)
    accumulating.step()
    total = {key: parts[0][key] + parts[1][key] + parts[2][key] for key in shapes}
    fs.MultiLayerUpdater(config, other).step(total)
    for key in shapes:
        np.testing.assert_array_equal(one[key], other[key])


def test_a_refused_step_keeps_what_was_accumulated() -> None:
    params = made()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    updater.accumulate({key: np.ones_like(array) for key, array in params.items()})
    with pytest.raises(ValueError, match="batch_size"):
        updater.step(batch_size=0)
    updater.step()
    np.testing.assert_array_equal(params["0_W"], 3.0)


def test_mini_batch() -> None:
    """Divided by the batch size when told to: before the updater in 1.0, after it in 0.8."""
    for semantics, mini_batch, update in (
        ("dl4j-1.0", True, 0.25),
        ("dl4j-0.8", True, 0.25),
        ("dl4j-1.0", False, 1.0),
        ("dl4j-0.8", False, 1.0),
    ):
        config = fs.MultiLayerConfiguration(
            updater=fs.Sgd(1.0), semantics=semantics, mini_batch=mini_batch
        )
        gradient = np.ones(3)
        fs.MultiLayerUpdater(config, {"0_W": np.ones(3)}).update({"0_W": gradient}, batch_size=4)
        np.testing.assert_array_equal(gradient, update)


def test_adam_shrinks_with_the_batch_in_0_8() -> None:
    """The finished update is divided, Adam's too, whose size does not depend on the gradient's."""
    steps = {}
    for semantics in ("dl4j-1.0", "dl4j-0.8"):
        config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1), semantics=semantics)
        gradient = np.full(3, 5.0)
        fs.MultiLayerUpdater(config, {"0_W": np.ones(3)}).update({"0_W": gradient}, batch_size=32)
        steps[semantics] = gradient[0]
    assert steps["dl4j-1.0"] == pytest.approx(0.1, rel=1e-5)
    assert steps["dl4j-0.8"] == pytest.approx(0.1 / 32, rel=1e-5)
