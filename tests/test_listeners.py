"""Listeners with batteries: what they write, show, keep and draw is what the steps did."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

import flatstep as fs
from flatstep.training import History, LayerHistory

THRESHOLD = 3.0


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tqdm from starting a thread that outlives the test: other tests fork."""
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)


class _Training:
    """A solver on two layers whose gradients are given step by step as multiples of fixed ones."""

    def __init__(
        self,
        listeners: Any,
        scales: tuple[float, ...],
        strategy: str = "ClipL2PerLayer",
        layers: dict[str, fs.LayerConfiguration] | None = None,
        **settings: Any,
    ) -> None:
        self.parameters = {
            "0_W": np.full((2, 2), 2.0),
            "0_b": np.full(2, 1.0),
            "1_W": np.full(3, -1.0),
        }
        # Norms 4 and 3 make 5 for layer 0, and layer 1 has 1.
        self.unit = {
            "0_W": np.full((2, 2), 2.0),
            "0_b": np.array([3.0, 0.0]),
            "1_W": np.array([0.0, 1.0, 0.0]),
        }
        self.scales = list(scales)
        configuration = fs.MultiLayerConfiguration(
            updater=settings.pop("updater", fs.Sgd(fs.StepSchedule(0.1, 0.5, 2))),
            gradient_normalization=strategy,
            gradient_normalization_threshold=THRESHOLD,
            layers=layers or {},
            **settings,
        )
        self.updater = fs.MultiLayerUpdater(configuration, self.parameters, monitor=True)
        self.solver = fs.StochasticGradientDescent(self.updater, self._compute, listeners)

    def _compute(self) -> Any:
        scale = self.scales[self.updater.iteration + self.updater.skipped_steps]
        with np.errstate(invalid="ignore"):
            return 10 * scale, {key: scale * array for key, array in self.unit.items()}

    def run(self) -> _Training:
        for _ in self.scales:
            self.solver.optimize()
        return self


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_writer_has_a_row_for_each_step_and_layer() -> None:
    file = io.StringIO()
    _Training([fs.CSVWriter(file)], (1.0, 0.2)).run()
    rows = _rows(file.getvalue())
    assert [(row["iteration"], row["layer"]) for row in rows] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "0"),
        ("1", "1"),
    ]
    first, second, third, _ = rows
    assert float(first["gradient_norm"]) == pytest.approx(5, rel=1e-15)
    assert float(first["factor"]) == pytest.approx(THRESHOLD / 5, rel=1e-15)
    assert (first["clipped"], second["clipped"], third["clipped"]) == ("1", "0", "0")
    assert float(second["factor"]) == 1
    assert [float(row["score"]) for row in rows] == [10, 10, 2, 2]
    assert {row["learning_rate"] for row in rows} == {"0.1"}
    assert {row["skipped"] for row in rows} == {"0"}
    # ‖update‖ is 0.1·3, and ‖parameters‖ of four 2's and two 1's is √18.
    assert float(first["update_ratio"]) == pytest.approx(0.3 / math.sqrt(18), rel=1e-12)


def test_csv_writer_leaves_empty_what_has_no_value() -> None:
    file = io.StringIO()
    _Training([fs.CSVWriter(file)], (1.0,), strategy="None", updater=fs.AdaDelta()).run()
    for row in _rows(file.getvalue()):
        assert (row["gradient_norm"], row["factor"], row["clipped"]) == ("", "", "")
        assert row["learning_rate"] == ""
        assert float(row["update_ratio"]) > 0


def test_slots_stand_for_the_layers_whose_strategy_is_per_parameter() -> None:
    file = io.StringIO()
    layers = {"0": fs.LayerConfiguration(gradient_normalization="ClipL2PerParamType")}
    _Training([fs.CSVWriter(file)], (1.0,), layers=layers).run()
    norms = {row["layer"]: float(row["gradient_norm"]) for row in _rows(file.getvalue())}
    assert norms == {"0_W": 4.0, "0_b": 3.0, "1": 1.0}


def test_the_network_is_reported_where_it_has_a_norm() -> None:
    file = io.StringIO()
    layers = {"1": fs.LayerConfiguration(gradient_normalization="RenormalizeL2PerLayer")}
    _Training([fs.CSVWriter(file)], (1.0,), strategy="ClipL2Global", layers=layers).run()
    rows = {row["layer"]: row for row in _rows(file.getvalue())}
    assert list(rows) == ["0", "1", "network"]
    assert float(rows["network"]["gradient_norm"]) == pytest.approx(5, rel=1e-15)
    assert float(rows["network"]["factor"]) == pytest.approx(THRESHOLD / 5, rel=1e-15)
    assert rows["network"]["clipped"] == "1"
    assert rows["network"]["learning_rate"] == ""


def test_writers_to_a_path_write_every_nth_step_and_close_their_file(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("something old\n" * 100)
    with fs.CSVWriter(path, every=3) as writer:
        _Training([writer], (1.0,) * 7).run()
    writer.close()
    assert [row["iteration"] for row in _rows(path.read_text())] == ["0", "0", "3", "3", "6", "6"]


def test_writers_leave_a_file_that_they_were_given_open() -> None:
    file = io.StringIO()
    with fs.JSONLWriter(file):
        pass
    assert not file.closed


def make_history(every: Any) -> fs.HistoryListener:
    return fs.HistoryListener(every=every)


@pytest.mark.parametrize("create", [fs.CSVWriter, fs.JSONLWriter])
def test_writers_refuse_every_0th_step(create: Any) -> None:
    for make in (lambda every: create(io.StringIO(), every=every), make_history):
        with pytest.raises(ValueError, match="every: expected an integer >= 1, got 0"):
            make(0)
        for every in ("2", 1.5, True):
            with pytest.raises(TypeError, match="every: expected an integer, got"):
                make(every)


def test_jsonl_writer_has_an_object_for_each_step(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with fs.JSONLWriter(str(path)) as writer:
        training = _Training([writer], (1.0, 0.2))
        training.updater.epoch = 4
        training.run()
    steps = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(step["iteration"], step["epoch"], step["score"]) for step in steps] == [
        (0, 4, 10.0),
        (1, 4, 2.0),
    ]
    assert steps[0]["layers"]["0"]["clipped"] is True
    assert steps[1]["layers"]["0"]["gradient_norm"] == pytest.approx(1, rel=1e-15)
    assert list(steps[0]["layers"]["1"]) == [
        "gradient_norm",
        "factor",
        "clipped",
        "learning_rate",
        "update_ratio",
    ]


def test_a_skipped_step_has_no_values() -> None:
    csv_file, json_file, history = io.StringIO(), io.StringIO(), fs.HistoryListener()
    listeners = [fs.CSVWriter(csv_file), fs.JSONLWriter(json_file), history]
    _Training(listeners, (1.0, math.inf, 0.2), on_nonfinite="skip").run()
    rows = _rows(csv_file.getvalue())
    assert [row["skipped"] for row in rows] == ["0", "0", "1", "1", "0", "0"]
    assert rows[2]["gradient_norm"] == rows[2]["factor"] == rows[2]["clipped"] == ""
    skipped = json.loads(json_file.getvalue().splitlines()[1])
    assert skipped["skipped"] is True
    assert set(skipped["nonfinite"]) == {"0_W", "0_b", "1_W"}
    assert skipped["score"] is None
    np.testing.assert_array_equal(history.history.skipped, [False, True, False])
    np.testing.assert_array_equal(
        np.isnan(history.history.layers["0"].gradient_norm), [False, True, False]
    )


def test_history_keeps_what_the_steps_did() -> None:
    listener = fs.HistoryListener()
    training = _Training([listener], (1.0, 0.2, 2.0))
    training.solver.optimize()
    before = listener.history
    training.solver.optimize()
    training.updater.epoch = 1
    training.solver.optimize()
    history = listener.history
    assert (len(before), len(history)) == (1, 3)
    np.testing.assert_array_equal(history.iteration, [0, 1, 2])
    np.testing.assert_array_equal(history.epoch, [0, 0, 1])
    np.testing.assert_array_equal(history.score, [10, 2, 20])
    assert history.strategy == "ClipL2PerLayer"
    layer = history.layers["0"]
    np.testing.assert_allclose(layer.gradient_norm, [5, 1, 10], rtol=1e-15)
    np.testing.assert_allclose(layer.factor, [0.6, 1, 0.3], rtol=1e-15)
    np.testing.assert_array_equal(layer.clipped, [1, 0, 1])
    np.testing.assert_allclose(layer.learning_rate, [0.1, 0.1, 0.05], rtol=1e-15)
    assert (layer.update_ratio > 0).all()
    assert layer.threshold == THRESHOLD


def test_history_knows_the_threshold_of_a_layer_updater() -> None:
    """Whose keys, "W", do not name the layer that has the strategy."""
    strategy = fs.LayerConfiguration(gradient_normalization="ClipL2PerParamType")
    config = fs.MultiLayerConfiguration(
        gradient_normalization_threshold=THRESHOLD, layers={"0": strategy}
    )
    updater = fs.LayerUpdater(config, {"W": np.zeros(3), "b": np.zeros(2)})
    history = fs.HistoryListener()
    gradients = {"W": np.ones(3), "b": np.ones(2)}
    fs.StochasticGradientDescent(updater, lambda: (1.0, gradients), [history]).optimize()
    layers = history.history.layers
    assert {name: layer.threshold for name, layer in layers.items()} == {
        "0_W": THRESHOLD,
        "0_b": THRESHOLD,
    }


def test_history_knows_the_thresholds() -> None:
    layers = {"1": fs.LayerConfiguration(gradient_normalization_threshold=0.5)}
    listener = fs.HistoryListener()
    _Training([listener], (1.0,), layers=layers).run()
    assert {k: v.threshold for k, v in listener.history.layers.items()} == {"0": 3.0, "1": 0.5}

    listener = fs.HistoryListener()
    _Training([listener], (1.0,), strategy="ClipL2Global").run()
    thresholds = {key: layer.threshold for key, layer in listener.history.layers.items()}
    assert thresholds["network"] == THRESHOLD
    assert math.isnan(thresholds["0"])

    listener = fs.HistoryListener(every=2)
    _Training([listener], (1.0,) * 3, strategy="RenormalizeL2PerLayer").run()
    assert math.isnan(listener.history.layers["1"].threshold)
    np.testing.assert_array_equal(listener.history.iteration, [0, 2])


def test_progress_listener_shows_score_norm_clipped_share_and_rate() -> None:
    file = io.StringIO()
    with fs.ProgressListener(4, file=file, desc="training", ncols=200) as progress:
        _Training([progress], (1.0, 0.2, 1.0, 0.2)).run()
    shown = file.getvalue().split("\r")[-1]
    assert "training: 100%" in shown
    assert "4/4" in shown
    norm = (math.sqrt(26) + math.sqrt(26) / 5) / 2
    assert f"score 6, norm {norm:.2g}, clipped 25%, rate 0.05" in shown


def test_progress_listener_shows_skipped_steps_and_what_there_is() -> None:
    file = io.StringIO()
    with fs.ProgressListener(file=file, ncols=200) as progress:
        scales = (1.0, math.inf, 1.0)
        _Training([progress], scales, strategy="None", on_nonfinite="skip").run()
    shown = file.getvalue().split("\r")[-1]
    assert "3 steps" in shown
    assert "skipped 1" in shown
    assert "norm" not in shown


def test_progress_listener_shows_the_range_of_rates() -> None:
    file = io.StringIO()
    layers = {"1": fs.LayerConfiguration(updater=fs.Sgd(0.3))}
    with fs.ProgressListener(1, file=file, ncols=200) as progress:
        _Training([progress], (1.0,), layers=layers).run()
    assert "rate 0.1 to 0.3" in file.getvalue()


def test_progress_listener_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="tqdm is not installed: pip install tqdm"):
        fs.ProgressListener()


def test_plot_history_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = fs.HistoryListener()
    _Training([listener], (1.0,)).run()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="not installed: pip install matplotlib"):
        fs.plot_history(listener)


def test_plot_history_refuses_an_empty_history() -> None:
    with pytest.raises(ValueError, match="expected at least one step, got none"):
        fs.plot_history(fs.HistoryListener())


def _history(
    names: list[str],
    steps: int,
    *,
    threshold: float = 1.0,
    monitored: bool = True,
    skipped: int = 0,
) -> History:
    """A long history without training for it."""
    rng = np.random.default_rng(0)
    nothing = np.full(steps, math.nan)
    layers = {}
    for depth, name in enumerate(names):
        norm = np.exp(0.5 * rng.standard_normal(steps) - np.arange(steps) / steps + depth / 10)
        factor = np.minimum(1, threshold / norm)
        layers[name] = LayerHistory(
            norm,
            factor,
            (factor < 1).astype(float),
            np.full(steps, 1e-3 * (1 + depth % 2)),
            1e-3 * norm if monitored else nothing,
            threshold,
        )
    iteration = np.arange(steps)
    score = 3 * np.exp(-iteration / steps)
    return History(iteration, iteration // 10, score, iteration < skipped, layers, "ClipL2PerLayer")


@pytest.mark.parametrize(
    "history",
    [
        _history(["0"], 1),
        _history(["0", "1", "2"], 30, skipped=2),
        _history(["a", "b"], 2000, monitored=False),
        _history(["0", "1", "network"], 500),
        _history([f"block{i}" for i in range(12)], 700),
        _history([f"block{i}" for i in range(60)], 40, threshold=math.nan, skipped=1),
    ],
    ids=["one step", "short", "long", "network", "many layers", "very many layers"],
)
def test_plot_history_draws_any_history(history: History, tmp_path: Path) -> None:
    path = tmp_path / "history.png"
    settings = dict(matplotlib.rcParams)
    figure = fs.plot_history(history, path)
    assert path.stat().st_size > 10_000
    assert dict(matplotlib.rcParams) == settings
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:5] == [
        "Score",
        "Gradient norm",
        "Clipped share of the steps",
        "Learning rate",
        "‖update‖ / ‖parameters‖",
    ]


def test_the_suffix_of_the_path_is_the_format_of_the_picture(tmp_path: Path) -> None:
    fs.plot_history(_history(["0"], 5), str(tmp_path / "history.svg"))
    assert "<svg" in (tmp_path / "history.svg").read_text(encoding="utf-8")


def test_plot_history_draws_what_the_steps_did(tmp_path: Path) -> None:
    listener = fs.HistoryListener()
    _Training([listener], (1.0, 0.2, 2.0)).run()
    figure = fs.plot_history(listener, tmp_path / "history.png", title="A title")
    assert figure.get_suptitle() == "A title"
    score, norms, clipped, rates, ratios = figure.axes
    np.testing.assert_array_equal(score.lines[0].get_ydata(), [10, 2, 20])
    np.testing.assert_allclose(norms.lines[0].get_ydata(), [5, 1, 10], rtol=1e-15)
    np.testing.assert_allclose(norms.lines[1].get_ydata(), [1, 0.2, 2], rtol=1e-15)
    assert norms.lines[2].get_ydata()[0] == THRESHOLD
    assert norms.get_title(loc="right") == "before normalisation; dashed: threshold 3"
    np.testing.assert_array_equal(clipped.lines[0].get_ydata(), [100, 0, 100])
    np.testing.assert_array_equal(clipped.lines[1].get_ydata(), [0, 0, 0])
    np.testing.assert_allclose(rates.lines[0].get_ydata(), [0.1, 0.1, 0.05], rtol=1e-15)
    assert len(rates.lines) == 1
    np.testing.assert_array_equal(
        ratios.lines[1].get_ydata(), listener.history.layers["1"].update_ratio
    )
    legend = score.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["layer 0", "layer 1"]


def test_the_guide_is_the_middle_of_many_layers_colours(tmp_path: Path) -> None:
    """And a factor of 100 either way is their end; the network stands below the layers."""
    names = [f"block{i}" for i in range(12)]
    history = _history([*names, "network"], 40)
    history.layers["block3"].update_ratio[:20] = 3e-7
    figure = fs.plot_history(history, tmp_path / "history.png")
    norms, ratios = figure.axes[1], figure.axes[4]
    scale = ratios.collections[0].norm
    assert scale(1e-3) == pytest.approx(0.5)
    assert (scale.vmin, scale.vmax) == (pytest.approx(1e-5), pytest.approx(1e-1))
    assert ratios.get_title(loc="right") == "white: 10⁻³, a rule of thumb"
    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "ratio")
    assert list(bar.lines[-1].get_ydata()) == [1e-3, 1e-3]
    assert [text.get_text() for text in norms.get_yticklabels()] == [*names, "network"]
    assert list(norms.lines[-1].get_ydata()) == [12, 12]
    healthy = fs.plot_history(_history(names, 40), tmp_path / "history.png").axes[4]
    assert 1 < healthy.collections[0].norm.vmax / 1e-3 < 10


def test_plot_history_says_why_a_panel_is_empty(tmp_path: Path) -> None:
    listener = fs.HistoryListener()
    training = _Training([listener], (1.0,), strategy="None", updater=fs.AdaDelta())
    training.solver.updater = fs.MultiLayerUpdater(
        training.updater.configuration, training.parameters, monitor=False
    )
    training.run()
    figure = fs.plot_history(listener, tmp_path / "history.png")
    said = [axes.texts[0].get_text() for axes in figure.axes[1:]]
    assert said == [
        "this strategy needs no norm",
        "this strategy does not clip by a norm",
        "this updater has no learning rate",
        "not monitored: make the updater with monitor=True",
    ]


def test_a_figure_for_no_file_belongs_to_pyplot() -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = fs.plot_history(_history(["0"], 5))
    try:
        assert pyplot.get_fignums() == [figure.number]
    finally:
        pyplot.close("all")
