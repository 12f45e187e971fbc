"""The caller's memory is what changes: nothing is copied, on any way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import bits

import flatstep as fs

SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))


def arrays(dtype: Any = np.float64) -> tuple[Any, Any]:
    return np.full((3, 4), 2.0, dtype), np.full(4, 2.0, dtype)


# Every form in which parameters and gradients are taken, made of the same two arrays.
FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "dict": lambda w, b: {"0_W": w, "0_b": b},
    "nested": lambda w, b: {"0": {"W": w, "b": b}},
    "sequence of mappings": lambda w, b: [{"W": w, "b": b}],
    "sequence of sequences": lambda w, b: [[w, b]],
    "sequence of arrays": lambda w, b: [w, b],
    "tuple": lambda w, b: ({"W": w, "b": b},),
}
EACH_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@EACH_DTYPE
@EACH_FORM
def test_step_changes_the_callers_parameters(form: Callable[[Any, Any], Any], dtype: Any) -> None:
    w, b = arrays(dtype)
    addresses = w.ctypes.data, b.ctypes.data
    gw, gb = np.ones_like(w), np.ones_like(b)
    fs.MultiLayerUpdater(SGD, form(w, b)).step(form(gw, gb))
    np.testing.assert_array_equal(w, 1.5)
    np.testing.assert_array_equal(b, 1.5)
    assert (w.ctypes.data, b.ctypes.data) == addresses
    np.testing.assert_array_equal(gw, 1.0)
    np.testing.assert_array_equal(gb, 1.0)


@EACH_DTYPE
@EACH_FORM
def test_update_changes_the_callers_gradients(form: Callable[[Any, Any], Any], dtype: Any) -> None:
    w, b = arrays(dtype)
    gw, gb = np.ones_like(w), np.ones_like(b)
    addresses = gw.ctypes.data, gb.ctypes.data
    fs.MultiLayerUpdater(SGD, form(w, b)).update(form(gw, gb))
    np.testing.assert_array_equal(gw, 0.5)
    np.testing.assert_array_equal(gb, 0.5)
    assert (gw.ctypes.data, gb.ctypes.data) == addresses
    np.testing.assert_array_equal(w, 2.0)
    np.testing.assert_array_equal(b, 2.0)


def test_parameters_are_the_callers_arrays() -> None:
    w, b = arrays()
    updater = fs.MultiLayerUpdater(SGD, {"0_W": w, "0_b": b})
    for mine, theirs in ((w, updater.parameters["0_W"]), (b, updater.parameters["0_b"])):
        assert np.shares_memory(mine, theirs)
        assert mine.ctypes.data == theirs.ctypes.data
        assert mine.shape == theirs.shape


def test_parameters_stay_alive() -> None:
    """The updater holds on to the memory that it writes to."""
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.full(1000, 2.0), "0_b": np.full(10, 2.0)})
    np.full(1000, 7.0)
    updater.step({"0_W": np.ones(1000), "0_b": np.ones(10)})
    np.testing.assert_array_equal(updater.parameters["0_W"], 1.5)


def test_flat_view() -> None:
    """One buffer: what a step does shows in it, in the views and in the updater's parameters."""
    w, b = arrays()
    flat, views = fs.flatten({"0_W": w, "0_b": b})
    updater = fs.MultiLayerUpdater(SGD, views)
    updater.step({"0_W": np.ones_like(w), "0_b": np.ones_like(b)})
    np.testing.assert_array_equal(flat, 1.5)
    np.testing.assert_array_equal(views["0_W"], 1.5)
    np.testing.assert_array_equal(w, 2.0)
    assert np.shares_memory(flat, updater.parameters["0_b"])
    flat[:] = 4.0
    np.testing.assert_array_equal(updater.parameters["0_W"], 4.0)


def test_views_of_a_larger_array() -> None:
    """Rows of a matrix are contiguous: they change in place, their neighbours do not."""
    memory = np.full((4, 5), 2.0)
    updater = fs.MultiLayerUpdater(SGD, {"0_W": memory[1], "1_W": memory[3]})
    updater.step({"0_W": np.ones(5), "1_W": np.ones(5)})
    np.testing.assert_array_equal(memory[[1, 3]], 1.5)
    np.testing.assert_array_equal(memory[[0, 2]], 2.0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_both_memory_orders(order: Any) -> None:
    w = np.asarray(np.arange(12.0).reshape(3, 4), order=order)
    g = np.asarray(np.arange(12.0).reshape(3, 4) * 2, order=order)
    fs.MultiLayerUpdater(SGD, {"0_W": w}).step({"0_W": g})
    np.testing.assert_array_equal(w, 0.0)


def test_state_is_live() -> None:
    """Named state and the flat state view are the memory that steps change and read."""
    w = np.zeros((2, 3))
    config = fs.MultiLayerConfiguration(updater=fs.Nesterovs(0.5, momentum=0.5))
    updater = fs.MultiLayerUpdater(config, {"0_W": w})
    v = updater.state("0_W")["v"]
    view = updater.state_view
    assert np.shares_memory(v, view)
    updater.step({"0_W": np.ones_like(w)})
    np.testing.assert_array_equal(v, -0.5)
    np.testing.assert_array_equal(view, -0.5)
    view[:] = 0.0
    updater.step({"0_W": np.ones_like(w)})
    np.testing.assert_array_equal(v, -0.5)
    v[0, 0] = 8.0
    assert updater.state_view[0] == 8.0
    with pytest.raises(AttributeError):
        updater.state_view = np.zeros(6)


def test_bound_gradients_are_read_where_they_are() -> None:
    w, b = arrays()
    gradients = {"0_W": np.zeros_like(w), "0_b": np.zeros_like(b)}
    updater = fs.MultiLayerUpdater(SGD, {"0_W": w, "0_b": b})
    updater.bind_gradients(gradients)
    gradients["0_W"][:] = 1.0
    gradients["0_b"][:] = 2.0
    updater.step()
    np.testing.assert_array_equal(w, 1.5)
    np.testing.assert_array_equal(b, 1.0)
    updater.update()
    np.testing.assert_array_equal(gradients["0_W"], 0.5)
    np.testing.assert_array_equal(gradients["0_b"], 1.0)


def test_step_takes_read_only_gradients() -> None:
    """It only reads them."""
    w, b = arrays()
    gradients = {"0_W": np.ones_like(w), "0_b": np.ones_like(b)}
    for gradient in gradients.values():
        gradient.flags.writeable = False
    before = bits(gradients)
    fs.MultiLayerUpdater(SGD, {"0_W": w, "0_b": b}).step(gradients)
    assert bits(gradients) == before
    np.testing.assert_array_equal(w, 1.5)
