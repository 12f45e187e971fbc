"""What `last_step` reports: norms before normalisation, factors, clipping, rates, ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle.normalization import STRATEGIES, strategies_of

import flatstep as fs

GRADIENTS = {
    "0_W": np.array([2.0, 0.0, 1.0]),
    "0_b": np.array([2.0]),
    "1_W": np.array([0.25, 0.0]),
}
NORMS = {"0": 3.0, "1": 0.25}
PARAM_NORMS = {("0", "W"): np.sqrt(5.0), ("0", "b"): 2.0, ("1", "W"): 0.25}


def last_step(strategy: str, monitor: bool = False, **settings: Any) -> Any:
    batch_size = settings.pop("batch_size", 1)
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.5),
        gradient_normalization=strategy,
        gradient_normalization_threshold=1.5,
        **settings,
    )
    params = {key: np.full_like(g, 2.0) for key, g in GRADIENTS.items()}
    updater = fs.MultiLayerUpdater(config, params, monitor=monitor)
    assert updater.last_step is None
    updater.step(GRADIENTS, batch_size=batch_size)
    return updater.last_step


def expected(strategy: str, norm: float) -> tuple[bool, float]:
    """Whether the strategy may clip, and its factor, for a norm and the threshold 1.5."""
    row = STRATEGIES[strategy]
    assert row.factor is not None
    return row.uses_threshold, row.factor(norm, 1.5)


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
@pytest.mark.parametrize("strategy", strategies_of("layer"))
def test_per_layer(strategy: str, semantics: Any) -> None:
    report = last_step(strategy, semantics=semantics)
    assert (report.iteration, report.epoch, report.skipped) == (0, 0, False)
    assert report.gradient_norm is None
    for name, layer in report.layers.items():
        norm = NORMS[name]
        clips, factor = expected(strategy, norm)
        assert layer.gradient_norm == pytest.approx(norm, rel=1e-15)
        assert layer.factor == pytest.approx(factor, rel=1e-15)
        assert layer.clipped is bool(clips and factor != 1)
        assert layer.learning_rate == 0.5
        assert layer.update_ratio is None
        for param, slot in layer.params.items():
            assert slot.factor == layer.factor
            assert slot.clipped is layer.clipped
            assert slot.learning_rate == 0.5
            assert slot.gradient_norm == pytest.approx(PARAM_NORMS[name, param], rel=1e-15)


@pytest.mark.parametrize("strategy", strategies_of("parameter"))
def test_per_parameter(strategy: str) -> None:
    report = last_step(strategy)
    for (name, param), norm in PARAM_NORMS.items():
        slot = report.layers[name].params[param]
        clips, factor = expected(strategy, norm)
        assert slot.gradient_norm == pytest.approx(norm, rel=1e-15)
        assert slot.factor == pytest.approx(factor, rel=1e-15)
        assert slot.clipped is bool(clips and factor != 1)
    for name, layer in report.layers.items():
        assert layer.gradient_norm == pytest.approx(NORMS[name], rel=1e-15)
        assert layer.factor == min(slot.factor for slot in layer.params.values())
        assert layer.clipped is any(slot.clipped for slot in layer.params.values())


def test_global() -> None:
    report = last_step("ClipL2Global")
    norm = np.sqrt(9 + 0.0625)
    assert report.gradient_norm == pytest.approx(norm, rel=1e-15)
    for name, layer in report.layers.items():
        assert layer.gradient_norm == pytest.approx(NORMS[name], rel=1e-15)
        assert layer.factor == pytest.approx(1.5 / norm, rel=1e-15)
        assert layer.clipped is True


@pytest.mark.parametrize("strategy", strategies_of(""))
def test_strategies_without_a_norm(strategy: str) -> None:
    for layer in last_step(strategy).layers.values():
        assert layer.gradient_norm is None
        assert layer.factor is None
        assert layer.clipped is (False if strategy == "None" else None)  # which does not count
        assert layer.learning_rate == 0.5


def test_a_step_that_failed_leaves_the_report_as_it_was() -> None:
    class Fails(fs.CustomUpdater):
        learning_rate = 1.0

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            if iteration > 0:
                raise OSError("on purpose")

    config = fs.MultiLayerConfiguration(updater=Fails(), gradient_normalization="ClipL2PerLayer")
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(2)})
    updater.step({"0_W": np.array([3.0, 4.0])})
    before = updater.last_step
    with pytest.raises(OSError, match="on purpose"):
        updater.step({"0_W": np.array([6.0, 8.0])})
    assert updater.last_step == before
    assert before is not None
    assert before.layers["0"].gradient_norm == 5.0


def test_norm_is_what_the_strategy_saw() -> None:
    """Divided by the batch before it in 1.0, not in 0.8; without statistics' division."""
    for semantics, scale in (("dl4j-1.0", 0.5), ("dl4j-0.8", 1.0)):
        layers = last_step("ClipL2PerLayer", semantics=semantics, batch_size=2).layers
        assert layers["0"].gradient_norm == pytest.approx(3.0 * scale, rel=1e-15)
        assert layers["0"].clipped is (semantics == "dl4j-0.8")
    statistics = fs.LayerConfiguration(params={"b": fs.ParamConfiguration(statistic=True)})
    layers = last_step("ClipL2PerLayer", layers={"0": statistics}, batch_size=2).layers
    assert layers["0"].gradient_norm == pytest.approx(np.sqrt(5 / 4 + 4), rel=1e-15)


def test_monitor() -> None:
    """‖update‖/‖parameter before the step‖, of layers and of parameters."""
    report = last_step("None", monitor=True)
    size = {"0": 4, "1": 2}
    for name, layer in report.layers.items():
        ratio = 0.5 * NORMS[name] / (2 * np.sqrt(size[name]))
        assert layer.update_ratio == pytest.approx(ratio, rel=1e-15)
    slot = report.layers["0"].params["b"]
    assert slot.update_ratio == pytest.approx(0.5, rel=1e-15)


def test_monitor_changes_nothing() -> None:
    """The same bits with it and without."""
    results = set()
    for monitor in (False, True):
        config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1), l2=0.1)
        params = {"0_W": np.linspace(-1, 1, 40_001), "1_W": np.ones(3)}
        updater = fs.MultiLayerUpdater(config, params, monitor=monitor)
        assert updater.monitor is monitor
        for _ in range(2):
            updater.step({"0_W": np.linspace(1, -3, 40_001), "1_W": np.ones(3)})
        results.add((params["0_W"].tobytes(), updater.state_view.tobytes()))
    assert len(results) == 1


def test_frozen_layers_have_nothing_to_report() -> None:
    report = last_step("ClipL2PerLayer", layers={"0": fs.LayerConfiguration(frozen=True)})
    layer = report.layers["0"]
    assert (layer.gradient_norm, layer.factor, layer.clipped, layer.learning_rate) == (
        None, None, False, None,
    )  # fmt: skip
    assert report.layers["1"].gradient_norm == 0.25


def test_rate_of_a_schedule_and_of_a_policy() -> None:
    schedule = fs.MultiLayerConfiguration(updater=fs.Sgd(fs.StepSchedule(1.0, 0.5, 1)))
    policy = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Step", decay_rate=0.5, steps=2),
    )
    for config, rates in ((schedule, [1.0, 0.5, 0.25, 0.125]), (policy, [1.0, 1.0, 0.5, 0.25])):
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
        seen = []
        for _ in rates:
            updater.step({"0_W": np.ones(2)})
            seen.append(updater.last_step.layers["0"].learning_rate)
        assert seen == rates


def test_a_report_is_a_snapshot() -> None:
    """It does not change with the next step."""
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(gradient_normalization="ClipL2PerLayer"), {"0_W": np.ones(2)}
    )
    updater.step({"0_W": np.array([3.0, 4.0])})
    first = updater.last_step
    updater.step({"0_W": np.array([6.0, 8.0])})
    assert first.layers["0"].gradient_norm == 5.0
    assert updater.last_step.layers["0"].gradient_norm == 10.0
    assert updater.last_step.iteration == 1


def test_update_ratio_of_a_parameter_that_is_zero() -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)),
        {"0_W": np.zeros(2), "1_W": np.zeros(2)},
        monitor=True,
    )
    updater.step({"0_W": np.ones(2), "1_W": np.zeros(2)})
    assert updater.last_step is not None
    assert updater.last_step.layers["0"].update_ratio == np.inf
    assert updater.last_step.layers["1"].update_ratio == 0.0


def test_a_layers_rate_is_that_of_its_first_parameter_with_one() -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.5),
            bias_updater=fs.Sgd(0.25),
            layers={"1": fs.LayerConfiguration(params={"W": fs.ParamConfiguration(fs.NoOp())})},
        ),
        {"0_W": np.zeros(2), "0_b": np.zeros(2), "1_W": np.zeros(2), "1_b": np.zeros(2)},
    )
    updater.step({key: np.ones(2) for key in updater.parameters})
    assert updater.last_step is not None
    rates = {name: layer.learning_rate for name, layer in updater.last_step.layers.items()}
    assert rates == {"0": 0.5, "1": 0.25}


@pytest.mark.parametrize("isa", fs.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
def test_the_share_of_clipped_elements(semantics: Any, dtype: Any, isa: str) -> None:
    """Counted where the updater is monitored, of the gradient that meets the threshold."""
    fs.set_isa(isa)
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.1),
        semantics=semantics,
        gradient_normalization="ClipElementWiseAbsoluteValue",
        gradient_normalization_threshold=0.5,
        on_nonfinite="propagate",
        layers={"1": fs.LayerConfiguration(gradient_normalization="ClipL2PerLayer")},
    )
    rng = np.random.default_rng(0)
    sizes = {"0_W": (7, 5), "0_b": (3,), "0_big": (40_001,), "0_none": (0,), "1_W": (9,)}
    gradients = {key: rng.standard_normal(shape).astype(dtype) for key, shape in sizes.items()}
    gradients["0_b"][:] = [np.nan, np.inf, 0.5]
    for monitor in (False, True):
        params = {key: np.ones(shape, dtype) for key, shape in sizes.items()}
        updater = fs.MultiLayerUpdater(config, params, monitor=monitor)
        assert updater.last_step is None
        updater.step(gradients, batch_size=2, gradient_scale=1.5)
        layers = updater.last_step.layers
        found = {f"0_{name}": step.clipped_share for name, step in layers["0"].params.items()}
        if not monitor:
            assert set(found.values()) == {None} == {layers["0"].clipped_share}
            continue
        scale = dtype(0.75 if semantics == "dl4j-1.0" else 1.5)
        clips = {key: np.abs(gradients[key] * scale) > dtype(0.5) for key in found}
        expected = {key: mask.mean() if mask.size else 0.0 for key, mask in clips.items()}
        assert found == expected
        whole = np.concatenate([mask.ravel() for mask in clips.values()])
        assert layers["0"].clipped_share == pytest.approx(whole.mean(), rel=1e-12)
        assert layers["0"].clipped is None
        assert layers["1"].clipped_share is None
        assert layers["1"].params["W"].clipped_share is None


def test_the_share_is_of_the_gradient_also_where_its_update_is_written_as_a_whole() -> None:
    class Same(fs.CustomUpdater):
        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            g *= 100

    for rule in (Same(), fs.Lamb(0.1), fs.Lars(0.1)):
        config = fs.MultiLayerConfiguration(
            updater=rule, gradient_normalization="ClipElementWiseAbsoluteValue"
        )
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(4)}, monitor=True)
        updater.update({"0_W": np.array([0.5, -2.0, 1.0, 3.0])})
        assert updater.last_step.layers["0"].clipped_share == 0.5


def test_a_log_has_the_share_of_clipped_elements(tmp_path: Any) -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.1), gradient_normalization="ClipElementWiseAbsoluteValue"
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(4)}, monitor=True)
    history = fs.HistoryListener()
    with fs.CSVWriter(tmp_path / "run.csv") as writer:
        for _ in range(3):
            updater.step({"0_W": np.array([0.5, -2.0, 1.0, 3.0])})
            for recorder in (history, writer):
                recorder.record(updater, 1.0)
    assert (tmp_path / "run.csv").read_text().splitlines()[1].split(",")[7] == "0.5"
    np.testing.assert_array_equal(history.history.layers["0"].clipped, 0.5)
    figure = fs.plot_history(history, tmp_path / "history.png")
    clipped = figure.axes[2]
    assert clipped.get_title(loc="left") == "Clipped share of the elements"
    np.testing.assert_array_equal(clipped.lines[0].get_ydata(), 50)
