"""What a first user tries: any dict of weights, one bare array, and files without arrays."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs

SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))


def arrays(*keys: str, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {key: np.ones(shape) for key in keys}


# ----------------------------------------------------------------------------------------- any dict


@pytest.mark.parametrize(
    ("keys", "kind", "names"),
    [
        (("W1", "W2", "b1", "b2"), "MultiLayer", "1:W 1:b 2:W 2:b"),
        (("W_1", "b_1"), "MultiLayer", "1:W 1:b"),
        (("W01", "b01"), "MultiLayer", "1:W 1:b"),
        (("conv1", "conv2"), "MultiLayer", "1:conv 2:conv"),
        (("Wxh", "Whh", "bh", "by"), "Layer", "0:Wxh 0:Whh 0:bh 0:by"),
        (("W", "b"), "Layer", "0:W 0:b"),
        (("enc.fc1.weight", "enc.fc1.bias"), "ComputationGraph", "enc.fc1:weight enc.fc1:bias"),
        (("Dense_0/kernel", "Dense_0/bias"), "ComputationGraph", "Dense_0:kernel Dense_0:bias"),
        (("0.weight", "0.bias", "2.weight"), "MultiLayer", "0:weight 0:bias 2:weight"),
        (("weight_ih_l0", "bias_ih_l0"), "ComputationGraph", "ih_l0:weight ih_l0:bias"),
        (("fc1_kernel", "fc1_bias"), "ComputationGraph", "fc1:kernel fc1:bias"),
        (("W_out", "b_out"), "ComputationGraph", "out:W out:b"),
        (("W1", "b1", "scale"), "ComputationGraph", "1:W 1:b scale:scale"),
        (("0_W", "0_b", "1_W"), "MultiLayer", "0:W 0:b 1:W"),
        (("0_W_1", "0_b_1"), "MultiLayer", "0:W_1 0:b_1"),
        (("fc1_W", "1_W"), "ComputationGraph", "fc1:W 1:W"),
        (("enc_W1", "enc_b1", "dec_W1"), "ComputationGraph", "enc1:W enc1:b dec1:W"),
        (("V_W", "V_b"), "ComputationGraph", "V:W V:b"),
        (("0_lin.weight", "0_lin.bias"), "ComputationGraph", "0_lin:weight 0_lin:bias"),
        (("20240101123_W",), "ComputationGraph", "20240101123:W"),
        (("weights_1", "biases_1"), "MultiLayer", "1:weights 1:biases"),
    ],
)
def test_a_flat_dict_of_any_names(keys: tuple[str, ...], kind: str, names: str) -> None:
    params, gradients = arrays(*keys), arrays(*keys)
    updater = fs.create_updater(SGD, params)
    assert type(updater).__name__ == f"{kind}Updater"
    assert " ".join(f"{slot.layer}:{slot.param}" for slot in updater.layout) == names
    updater.step(gradients)
    for array in params.values():
        np.testing.assert_array_equal(array, 0.5)
    twin = pickle.loads(pickle.dumps(updater))
    assert twin == updater
    twin.step(gradients)
    other = updater.clone(params=arrays(*keys))
    other.step(gradients)
    assert set(other.parameters) == set(keys)


def test_nested_dicts_of_any_depth() -> None:
    params = {"enc": {"fc1": arrays("weight", "bias"), "norm": arrays("gain")}, "out": arrays("W")}
    updater = fs.create_updater(SGD, params)
    assert [(slot.layer, slot.param) for slot in updater.layout] == [
        ("enc.fc1", "weight"),
        ("enc.fc1", "bias"),
        ("enc.norm", "gain"),
        ("out", "W"),
    ]
    gradients: Any = {
        "enc": {"fc1": arrays("weight", "bias"), "norm": arrays("gain")},
        "out": arrays("W"),
    }
    updater.step(gradients)
    np.testing.assert_array_equal(params["enc"]["fc1"]["bias"], 0.5)


@pytest.mark.parametrize(
    ("params", "kind", "names"),
    [
        ({0: arrays("W"), 1: {"fc": arrays("W")}}, "ComputationGraph", "0:W 1.fc:W"),
        ([{"fc": arrays("W", "b")}], "ComputationGraph", "0.fc:W 0.fc:b"),
        (
            {"layers": [arrays("W"), arrays("W", "b")]},
            "ComputationGraph",
            "layers.0:W layers.1:W layers.1:b",
        ),
        ({"0": arrays("W"), "1": arrays("W", "b")}, "MultiLayer", "0:W 1:W 1:b"),
        ({"fc": arrays("W"), "b": np.ones(2)}, "ComputationGraph", "fc:W b:b"),
        ([arrays("W"), arrays("b")], "MultiLayer", "0:W 1:b"),
        ([[np.ones(2), np.ones(2)]], "MultiLayer", "0:0 0:1"),
    ],
)
def test_dicts_and_lists_in_each_other(params: Any, kind: str, names: str) -> None:
    updater = fs.create_updater(SGD, params)
    assert type(updater).__name__ == f"{kind}Updater"
    assert " ".join(f"{slot.layer}:{slot.param}" for slot in updater.layout) == names
    updater.step(params)  # as gradients, which may be the parameters themselves
    for array in updater.parameters.values():
        np.testing.assert_array_equal(array, 0.5)
    assert pickle.loads(pickle.dumps(updater)) == updater


@pytest.mark.parametrize(
    ("keys", "what"),
    [(("W1", "W_1"), '"W" of layer "1"'), (("W_out", "out.W"), '"W" of layer "out"')],
)
def test_two_keys_of_one_parameter(keys: tuple[str, str], what: str) -> None:
    with pytest.raises(fs.ParameterKeyError) as caught:
        fs.create_updater(SGD, arrays(*keys))
    assert str(caught.value).startswith(
        f'params: "{keys[0]}" and "{keys[1]}" are both read as {what}; rename one, or say what'
    )
    with pytest.raises(fs.ParameterKeyError, match="are both read as"):
        fs.create_updater(SGD, arrays("a", "b"), layer_of=lambda key: ("1", "W"))


def test_layer_of_is_a_function() -> None:
    with pytest.raises(TypeError, match="layer_of: expected a function of a key, got 'x' of type"):
        fs.create_updater(SGD, arrays("w"), layer_of="x")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_bare_array_has_bare_gradients(shape: tuple[int, ...], tmp_path: Path) -> None:
    w = np.ones(shape)
    updater = fs.create_updater(SGD, w)
    updater.step(np.ones(shape))
    np.testing.assert_array_equal(w, 0.5)
    update = np.ones(shape)
    updater.update(update)
    np.testing.assert_array_equal(update, 0.5)
    updater.accumulate(np.ones(shape))
    updater.step()
    np.testing.assert_array_equal(w, 0.0)
    updater.save(tmp_path / "bare.safetensors")
    again = np.ones(shape)
    assert fs.load_updater(tmp_path / "bare.safetensors", again) == updater
    np.testing.assert_array_equal(again, w)


@pytest.mark.parametrize(
    ("layer_of", "names"),
    [
        (lambda key: key[0], [("e", "enc"), ("e", "enc_bias"), ("d", "dec")]),
        (lambda key: (7, key), [("7", "enc"), ("7", "enc_bias"), ("7", "dec")]),
        (lambda key: key[:3], [("enc", "enc"), ("enc", "bias"), ("dec", "dec")]),
        (lambda key: np.int64(3), [("3", "enc"), ("3", "enc_bias"), ("3", "dec")]),
    ],
)
def test_layer_of_says_it_where_the_rules_do_not(
    layer_of: Callable[[str], Any], names: list[tuple[str, str]]
) -> None:
    updater = fs.create_updater(SGD, arrays("enc", "enc_bias", "dec"), layer_of=layer_of)
    assert [(slot.layer, slot.param) for slot in updater.layout] == names


@pytest.mark.parametrize("told", [None, "", 1.5, True, ("a",), ("a", ""), ("a", 3)])
def test_what_layer_of_may_not_say(told: Any) -> None:
    with pytest.raises(fs.ParameterKeyError) as caught:
        fs.create_updater(SGD, arrays("w"), layer_of=lambda key: told)
    assert str(caught.value).startswith('layer_of: expected a layer for "w", a name or a number')
    assert str(caught.value).endswith(f"got {told!r}")


@pytest.mark.parametrize("params", [{"fc": arrays("W")}, [arrays("W")], np.ones(2)])
def test_layer_of_is_for_flat_dicts(params: Any) -> None:
    with pytest.raises(TypeError, match="layer_of: expected it beside a flat dict"):
        fs.create_updater(SGD, params, layer_of=lambda key: key)


def test_the_layout_groups_a_layers_arrays() -> None:
    params = arrays("0_W", "1_W", "0_b")
    updater = fs.MultiLayerUpdater(SGD, params)
    assert [slot.key for slot in updater.layout] == ["0_W", "0_b", "1_W"]
    flat = np.arange(6.0)  # in the layout's order
    updater.step(flat)
    np.testing.assert_array_equal(params["0_b"], 1 - 0.5 * flat[2:4])
    assert list(updater.parameters) == ["0_W", "0_b", "1_W"]
    assert pickle.loads(pickle.dumps(updater)) == updater


def test_an_unknown_gradient_of_any_names() -> None:
    updater = fs.create_updater(SGD, arrays("W1", "b1"))
    with pytest.raises(fs.ParameterKeyError) as caught:
        updater.step(arrays("W1", "b3"))
    assert str(caught.value) == 'gradients: unknown key "b3"; expected "W1", "b1"'


# ----------------------------------------------------------------------------- files without arrays


@pytest.mark.parametrize(
    "params", [{"W1": np.ones((2, 3)), "b1": np.zeros(3)}, {"0_W": np.ones(4)}]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_brings_its_arrays(params: Any, dtype: Any, tmp_path: Path) -> None:
    params = {key: np.asfortranarray(array.astype(dtype)) for key, array in params.items()}
    updater = fs.create_updater(fs.MultiLayerConfiguration(updater=fs.Adam(0.1)), params)
    gradients = {key: np.ones_like(array) for key, array in params.items()}
    updater.step(gradients)
    updater.save(tmp_path / "run.safetensors")
    loaded = fs.load_updater(tmp_path / "run.safetensors")
    assert loaded == updater
    for key, array in loaded.parameters.items():
        np.testing.assert_array_equal(array, params[key])
        assert array.dtype == dtype
        assert array.flags.f_contiguous
    updater.step(gradients)
    loaded.step(gradients)
    assert loaded == updater
    given = fs.load_updater(
        tmp_path / "run.safetensors", {key: np.zeros_like(a) for key, a in params.items()}
    )
    assert type(given) is type(updater)


def test_a_wrong_layout_says_which_side_lacks_what(tmp_path: Path) -> None:
    fs.create_updater(SGD, arrays("W1", "b1")).save(tmp_path / "run.safetensors")
    with pytest.raises(fs.CheckpointError) as caught:
        fs.load_updater(tmp_path / "run.safetensors", arrays("W1", "W2"))
    assert (
        "params: expected those of the file, W1, b1; missing: b1; unknown: W2 (strict=False leaves "
        "these out)"
    ) in str(caught.value)


@pytest.mark.parametrize("more", ["temperature", "temp_erature", "x", "W9"])
def test_arrays_that_are_not_in_the_file(more: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    fs.create_updater(SGD, arrays("hidden_W", "hidden_b")).save(path)
    params = arrays("hidden_W", "hidden_b", more)
    with pytest.raises(fs.CheckpointError, match=f"unknown: {more}"):
        fs.load_updater(path, params)
    with pytest.warns(UserWarning, match=f"left out.*{more}"):
        loaded = fs.load_updater(path, params, strict=False)
    loaded.step(arrays("hidden_W", "hidden_b", more))
    np.testing.assert_array_equal(params[more], 0.5)
