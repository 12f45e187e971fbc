"""Scaled gradients, micro-batches that are not finite, gradients in other forms."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import flatstep as fs

SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))


def arrays(*keys: str, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {key: np.ones(shape) for key in keys}


# --------------------------------------------------------------------------------- scaled gradients


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
def test_a_scaled_loss(semantics: Any) -> None:
    """A power of two changes nothing: thresholds and norms are of the gradient itself."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.1),
        gradient_normalization="ClipL2PerLayer",
        semantics=semantics,
        l2=0.1,
        layers={"1": fs.LayerConfiguration(kind="BatchNormalization")},
    )
    rng = np.random.default_rng(0)
    gradients = {key: rng.standard_normal(5) for key in ("0_W", "1_gamma", "1_mean")}
    scaled = {key: g if key == "1_mean" else g * 1024 for key, g in gradients.items()}
    results = []
    for given, more in ((gradients, {}), (scaled, {"gradient_scale": 1 / 1024})):
        params = {key: np.ones(5) for key in gradients}
        updater = fs.MultiLayerUpdater(config, params)
        for _ in range(3):
            updater.step(given, batch_size=2, **more)
            update = {key: g.copy() for key, g in given.items()}
            updater.update(update, batch_size=2, **more)
            updater.accumulate(given)
            updater.step(batch_size=2, **more)
        norm = updater.last_step.layers["0"].gradient_norm
        results.append((norm, *(a.tobytes() for a in (*params.values(), *update.values()))))
    assert results[0] == results[1]


@pytest.mark.parametrize("strategy", ["ClipL2PerLayer", "RenormalizeL2PerLayer"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaled_norms_over_the_whole_range(dtype: Any, strategy: str) -> None:
    """What normalisation leaves has a norm of 1, wherever gradient and scale are."""
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), gradient_normalization=strategy)
    most = 30 if dtype is np.float32 else 290
    for exponent in range(-most, most + 1, 10):
        for scale in (-30, -20, -10, -3, 0, 3, 10, 20, 30):
            product = exponent + scale
            if abs(product) > most or (strategy == "ClipL2PerLayer" and product < 1):
                continue
            gradient = np.array([3.0, -4.0], dtype) * dtype(10) ** dtype(exponent)
            updater = fs.create_updater(config, np.zeros(2, dtype))
            updater.update(gradient, gradient_scale=10.0**scale)
            np.testing.assert_allclose(
                gradient, [0.6, -0.8], rtol=1e-5, err_msg=str((exponent, scale))
            )


@pytest.mark.parametrize("scale", [np.float32(0.5), np.float64(0.5), np.array(0.5), 1, True])
def test_scales_of_any_type(scale: Any) -> None:
    w = np.ones(2)
    fs.create_updater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), w).step(
        np.ones(2), gradient_scale=scale
    )
    np.testing.assert_array_equal(w, 1 - float(scale))


@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (1e-31, ValueError),
        (1e31, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("1", TypeError),
        (None, TypeError),
        ([1.0], TypeError),
    ],
)
def test_what_no_scale_is(scale: Any, error: type[Exception]) -> None:
    w = np.ones(2)
    updater = fs.create_updater(SGD, w)
    with pytest.raises(error) as caught:
        updater.step(np.ones(2), gradient_scale=scale)
    expected = f"gradient_scale: expected a number from 1e-30 to 1e30, got {scale!r}"
    assert str(caught.value) == expected
    np.testing.assert_array_equal(w, 1.0)
    assert updater.iteration == 0


# --------------------------------------------------------------------------- accumulate that looks

BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("size", [5, 100_000])
def test_a_micro_batch_that_is_not_finite_is_refused(bad: float, size: int) -> None:
    w = np.ones(size)
    updater = fs.create_updater(SGD, {"W1": w, "b1": np.ones(3)})
    good = {"W1": np.ones(size), "b1": np.ones(3)}
    assert updater.accumulate(good)
    broken = {"W1": np.ones(size), "b1": np.ones(3)}
    broken["W1"][-1] = bad
    with pytest.raises(fs.NonFiniteGradientError) as caught:
        updater.accumulate(broken)
    assert caught.value.keys == ("W1",)
    assert str(caught.value).startswith(
        'gradients: expected finite numbers, got NaN or infinity in "W1"; nothing of them was '
        "added. Lower the learning rate"
    )
    np.testing.assert_array_equal(updater.accumulated["W1"], 1.0)
    np.testing.assert_array_equal(updater.accumulated["b1"], 1.0)
    updater.step()
    np.testing.assert_array_equal(w, 0.5)


@pytest.mark.parametrize("bad", BAD)
def test_a_micro_batch_that_is_not_finite_is_left_out(bad: float) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), on_nonfinite="skip")
    w = np.ones(3)
    updater = fs.create_updater(config, w)
    assert not updater.accumulate(np.full(3, bad))
    assert updater.accumulated is None
    assert updater.accumulate(np.ones(3))
    assert not updater.accumulate(np.array([1.0, bad, 1.0]))
    assert updater.skipped_steps == 2
    updater.step()
    np.testing.assert_array_equal(w, 0.5)
    assert (updater.iteration, updater.skipped_steps) == (1, 2)


def test_nobody_looks_where_numbers_propagate() -> None:
    config = fs.MultiLayerConfiguration(on_nonfinite="propagate")
    updater = fs.create_updater(config, np.ones(3))
    assert updater.accumulate(np.array([1.0, np.nan, 1.0]))
    np.testing.assert_array_equal(updater.accumulated["W"], [1.0, np.nan, 1.0])


def test_a_frozen_layers_micro_batch_is_not_looked_at() -> None:
    config = fs.MultiLayerConfiguration(layers={"0": fs.LayerConfiguration(frozen=True)})
    updater = fs.MultiLayerUpdater(config, arrays("0_W", "1_W"))
    assert updater.accumulate({"0_W": np.full(2, np.nan), "1_W": np.ones(2)})


def test_a_step_where_all_micro_batches_were_left_out() -> None:
    """It does not fall back to gradients that are bound."""
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), on_nonfinite="skip")
    w = np.ones(2)
    updater = fs.create_updater(config, w)
    updater.bind_gradients(np.ones(2))
    assert not updater.accumulate(np.full(2, np.nan))
    with pytest.raises(ValueError, match=r"each that was given to accumulate\(\) has a NaN"):
        updater.step()
    np.testing.assert_array_equal(w, 1.0)
    updater.discard_accumulated()
    updater.step()
    np.testing.assert_array_equal(w, 0.5)
    assert not updater.accumulate(np.full(2, np.nan))
    assert updater.accumulate(np.ones(2))
    updater.step()
    np.testing.assert_array_equal(w, 0.0)


def test_sums_that_overflowed_go_along() -> None:
    updater = fs.create_updater(SGD, np.ones(2))
    for _ in range(2):
        updater.accumulate(np.full(2, np.finfo(np.float64).max))
    for twin in (updater.clone(), pickle.loads(pickle.dumps(updater))):
        np.testing.assert_array_equal(twin.accumulated["W"], np.inf)


# ------------------------------------------------------------------------- other forms of gradients


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", ["step", "accumulate"])
def test_another_memory_order_is_copied_where_that_is_allowed(order: Any, method: str) -> None:
    w = np.array(np.ones((2, 3)), order=order)
    updater = fs.create_updater(SGD, {"W": w})
    values = np.arange(6.0).reshape(2, 3)
    other = np.array(values, order="F" if order == "C" else "C")
    strided = np.zeros((4, 6))[::2, ::2]
    strided[...] = values
    read_only = other.copy(order="K")
    read_only.flags.writeable = False
    call = getattr(updater, method)
    for gradient in (other, strided, read_only):
        with pytest.raises(ValueError, match="contiguous"):
            call({"W": gradient})
        call({"W": gradient}, allow_copy=True)
        call({"W": gradient}, allow_copy=np.True_)
        with pytest.raises(ValueError, match="contiguous"):
            call({"W": gradient}, allow_copy=False)
        np.testing.assert_array_equal(gradient, values)
    call({"W": np.array(values, order=order)}, allow_copy=True)
    if method == "accumulate":
        np.testing.assert_array_equal(updater.accumulated["W"], 7 * values)
    else:
        np.testing.assert_array_equal(w, 1 - 3.5 * values)


def test_only_the_memory_order_is_copied() -> None:
    updater = fs.create_updater(SGD, {"W": np.ones((2, 3))})
    with pytest.raises(ValueError, match="expected shape"):
        updater.step({"W": np.ones((3, 2))}, allow_copy=True)
    with pytest.raises(TypeError, match="expected dtype float64, got int32"):
        updater.step({"W": np.ones((2, 3), np.int32)}, allow_copy=True)
    with pytest.raises(TypeError, match="expected a NumPy array, got list"):
        updater.step({"W": [[1.0, 2.0, 3.0]] * 2}, allow_copy=True)
    with pytest.raises(TypeError, match="allow_copy: expected True or False, got 1"):
        updater.step({"W": np.ones((2, 3))}, allow_copy=1)


def test_an_update_is_never_written_into_a_copy() -> None:
    updater = fs.create_updater(SGD, {"W": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"allow_copy: update\(\) writes the update into"):
        updater.update({"W": np.ones((2, 3))}, allow_copy=True)
    updater.update({"W": np.ones((2, 3))}, allow_copy=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_scalars_are_gradients_of_parameters_without_dimensions(dtype: Any) -> None:
    w, b = np.ones((2,), dtype), np.array(1, dtype)
    updater = fs.create_updater(SGD, {"W": w, "b": b})
    updater.step({"W": np.ones(2, dtype), "b": dtype(3)})
    assert b == -0.5
    updater.accumulate({"W": np.ones(2, dtype), "b": (np.ones(2, dtype) * 2).sum()})
    updater.step()
    assert b == -2.5
    text = r'gradient "W": expected an array of shape \(2,\), .* got a scalar of type float'
    with pytest.raises(TypeError, match=text):
        updater.step({"W": dtype(3), "b": dtype(3)})
    other = {np.float32: np.float64, np.float64: np.int64}[dtype]
    with pytest.raises(TypeError, match='gradient "b": expected dtype'):
        updater.step({"W": np.ones(2, dtype), "b": other(3)})


def test_a_numpy_scalar_is_not_bound_nor_written_into() -> None:
    updater = fs.create_updater(SGD, {"s": np.array(1.0)})
    for call in (updater.bind_gradients, updater.update):
        with pytest.raises(TypeError, match=r"make it an array with np\.array"):
            call({"s": np.float64(3)})


def test_what_accumulate_takes() -> None:
    updater = fs.create_updater(SGD, np.ones(2))
    expected = (
        'accumulate\\(\\): expected the arguments gradients, allow_copy, got "gradient_scale"'
    )
    with pytest.raises(TypeError, match=expected):
        updater.accumulate(np.ones(2), gradient_scale=0.5)
    with pytest.raises(TypeError, match=r"accumulate\(\): gradients: expected gradients, got none"):
        updater.accumulate()
    with pytest.raises(TypeError, match="allow_copy: expected True or False, got 'no'"):
        updater.accumulate(np.ones(2), allow_copy="no")
    assert updater.accumulate(gradients=np.ones(2), allow_copy=False)
