"""The updaters in NumPy: what they share with all others, and what a CustomUpdater may ask for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs
from flatstep.updaters.shipped import Shipped

CLASSES = sorted(
    (
        cls
        for cls in vars(fs).values()
        if isinstance(cls, type) and issubclass(cls, Shipped) and cls is not Shipped
    ),
    key=lambda cls: cls.__name__,
)
SHAPES = {"0_W": (4, 3), "0_b": (3,), "1_W": (2, 3, 2), "1_b": (1,)}

each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def arrays(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {key: random.normal(size=shape).astype(dtype) for key, shape in SHAPES.items()}


def trained(cls: Any, dtype: Any = np.float64, steps: int = 3) -> Any:
    configuration = fs.MultiLayerConfiguration(updater=cls(), l2=0.01, weight_decay=0.1)
    updater = fs.MultiLayerUpdater(configuration, arrays(0, dtype))
    for step in range(steps):
        updater.step(arrays(step + 1, dtype))
    return updater


def test_they_are_all_here() -> None:
    assert len(CLASSES) == 13


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_goes_on_alike(cls: Any, dtype: Any, tmp_path: Path) -> None:
    updater = trained(cls, dtype)
    path = tmp_path / "updater.safetensors"
    pytest.importorskip("safetensors")
    updater.save(path)
    params = {key: array.copy() for key, array in updater.parameters.items()}
    again = fs.load_updater(path, params)
    assert again.configuration == updater.configuration
    for each_updater in (updater, again):
        each_updater.step(arrays(9, dtype))
    for key in SHAPES:
        np.testing.assert_array_equal(updater.parameters[key], params[key])
        assert params[key].dtype == dtype
        assert not np.array_equal(params[key], arrays(0, dtype)[key])


@each
def test_clones_pickles_and_configurations(cls: Any) -> None:
    updater = trained(cls)
    again = updater.clone(params={key: a.copy() for key, a in updater.parameters.items()})
    np.testing.assert_array_equal(again.state_view, updater.state_view)
    assert pickle.loads(pickle.dumps(cls())) == cls()
    configuration = fs.MultiLayerConfiguration(updater=cls())
    assert fs.MultiLayerConfiguration.from_json(configuration.to_json()) == configuration
    assert repr(cls()).startswith(f"{cls.__name__}(")


@each
def test_memory_orders_are_alike(cls: Any) -> None:
    rows = arrays(0)
    columns = {key: np.asfortranarray(array) for key, array in rows.items()}
    configuration = fs.MultiLayerConfiguration(updater=cls())
    one = fs.MultiLayerUpdater(configuration, rows)
    other = fs.MultiLayerUpdater(configuration, columns)
    for step in range(3):
        one.step(arrays(step))
        other.step({key: np.asfortranarray(array) for key, array in arrays(step).items()})
    for key in SHAPES:
        np.testing.assert_allclose(rows[key], columns[key], rtol=1e-9)
        for name, array in one.state(key).items():
            assert array.shape == other.state(key)[name].shape


@each
def test_ranges(cls: Any) -> None:
    for name, (least, greatest) in cls.ranges.items():
        values = [np.nan, np.inf, *([greatest + 1] if greatest is not None else [])]
        if np.isfinite(least):
            values.append(least - 1)
        for value in values:
            with pytest.raises((ValueError, TypeError), match=f"{cls.__name__}: {name}: expected"):
                cls(**{name: value})
    for name in cls.choices:
        with pytest.raises(ValueError, match=f"{cls.__name__}: {name}: expected one of"):
            cls(**{name: "x"})


def test_muon_and_adamw_in_one_network() -> None:
    """By dimensions: a matrix keeps no v, and AdamW is Adam's own kernel with its decay."""
    params, expected = arrays(0), arrays(0)
    muon = fs.Muon(fs.FixedSchedule(0.01), weight_decay=0.1, adam_weight_decay=0.1)
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=muon), params)
    adam = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.AdamW(0.01, 0.1, corrected_epsilon=True)), expected
    )
    for step in range(10):
        updater.step(arrays(step))
        adam.step(arrays(step))
    assert updater.state("0_W")["v"].size == 0
    for key in ("0_b", "1_b"):
        np.testing.assert_allclose(params[key], expected[key], rtol=1e-12)
    for key in ("0_W", "1_W"):
        assert np.max(np.abs(params[key] - expected[key])) > 1e-3


def test_muon_makes_orthogonal() -> None:
    singular = np.linalg.svd(fs.Muon()._orthogonal(arrays(3)["0_W"]))[1]
    assert 0.6 < singular.min() <= singular.max() < 1.3


# ----------------------------------------------------------------- what a CustomUpdater may ask for


class Asks(fs.CustomUpdater):
    """Half of the parameter; counts in a number, keeps a row, starts a copy at the parameter."""

    state = ("count", "row", "start", "none")
    initial_state = {"count": 1.0, "start": "parameter"}  # noqa: RUF012

    def __init__(self, shapes: Any = None) -> None:
        self.shapes = shapes

    def state_shapes(self, shape: Any) -> Any:
        return self.shapes or {"count": (), "row": shape[:-1], "none": (0,)}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        assert not parameter.flags.writeable
        state["count"] += 1
        state["row"] += g.sum(axis=-1)
        g[...] = parameter / 2


def asking(shapes: Any = None) -> Any:
    params = {"0_W": np.full((2, 3), 4.0), "0_b": np.full(3, 2.0)}
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=Asks(shapes)), params)


def test_shapes_starts_and_the_parameter() -> None:
    updater = asking()
    for gradient in (np.ones((2, 3)), np.zeros((2, 3))):
        updater.step({"0_W": gradient, "0_b": np.zeros(3)})
    state = updater.state("0_W")
    assert state["count"] == 3
    np.testing.assert_array_equal(state["row"], [3, 3])
    np.testing.assert_array_equal(state["start"], np.full((2, 3), 4.0))
    assert state["none"].shape == (0,)
    np.testing.assert_array_equal(updater.parameters["0_W"], np.ones((2, 3)))
    assert updater.state_view.size == (1 + 2 + 6) + (1 + 1 + 3)


def test_the_update_alone_sees_the_parameter_too() -> None:
    updater = asking()
    gradients = {"0_W": np.ones((2, 3)), "0_b": np.zeros(3)}
    updater.update(gradients)
    np.testing.assert_array_equal(gradients["0_W"], np.full((2, 3), 2.0))
    np.testing.assert_array_equal(updater.parameters["0_W"], np.full((2, 3), 4.0))


@pytest.mark.parametrize(
    ("shapes", "exception", "message"),
    [
        ([()], TypeError, r"Asks.state_shapes: expected a dict \{name: shape\}, got"),
        ({"rows": ()}, ValueError, "Asks.state_shapes: "),
        ({"row": [2]}, TypeError, r'Asks.state_shapes\["row"\]: expected a tuple of integers, got'),
        ({"row": (-1,)}, ValueError, r'state_shapes\["row"\]: expected integers >= 0, got \(-1,\)'),
        ({"row": (1.0,)}, ValueError, r'state_shapes\["row"\]: expected integers >= 0, got'),
    ],
)
def test_shapes_that_are_none(shapes: Any, exception: type[Exception], message: str) -> None:
    with pytest.raises(exception, match=message):
        asking(shapes)


def test_a_fifth_argument_asks_for_the_parameter() -> None:
    """Its own class says so, or the one that has the formula."""

    class Halves(fs.CustomUpdater):
        def get_gradient(
            self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any
        ) -> None:
            g[...] = parameter / 2

    class Thirds(Halves):
        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            g /= 3

    class Heir(Halves):
        pass

    class NeedsNone(Halves):
        reads_parameter = False

        def get_gradient(
            self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
        ) -> None:
            assert parameter is None

    for cls, expected in ((Halves, 3.0), (Thirds, 5.0), (Heir, 3.0), (NeedsNone, 3.0)):
        w = np.full(2, 6.0)
        fs.create_updater(fs.MultiLayerConfiguration(updater=cls()), w).step(np.full(2, 3.0))
        np.testing.assert_array_equal(w, expected)


@pytest.mark.parametrize("dimensions", [65, 70, 1000])
def test_state_of_more_dimensions_than_numpy_has(dimensions: int) -> None:
    class Deep(fs.CustomUpdater):
        state = ("m",)

        def state_shapes(self, shape: Any) -> Any:
            return {"m": (1,) * dimensions}

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            pass

    text = rf'state_shapes\["m"\]: expected at most 64 dimensions, got {dimensions}'
    with pytest.raises(ValueError, match=text):
        fs.create_updater(fs.MultiLayerConfiguration(updater=Deep()), np.ones(2))


def test_a_fifth_argument_may_have_any_name() -> None:
    class Own(fs.CustomUpdater):
        def get_gradient(self, g: Any, state: Any, rate: Any, it: int, p: Any) -> None:
            g[...] = p / 2

    w = np.full(2, 6.0)
    fs.create_updater(fs.MultiLayerConfiguration(updater=Own()), w).step(np.ones(2))
    np.testing.assert_array_equal(w, 3.0)
