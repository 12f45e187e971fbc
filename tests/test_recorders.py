"""Recorders in a loop of one's own record what they do as listeners, and each step once."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import everything

import flatstep as fs
from flatstep.training import Recorder


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tqdm from starting a thread that outlives the test: other tests fork."""
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)


def made(**settings: Any) -> fs.MultiLayerUpdater:
    config = fs.MultiLayerConfiguration(
        **{
            "updater": fs.Adam(fs.StepSchedule(0.1, 0.5, 2)),
            "gradient_normalization": "ClipL2PerLayer",
            "on_nonfinite": "skip",
            **settings,
        }
    )
    return fs.MultiLayerUpdater(
        config, {"0_W": np.ones((2, 3)), "0_b": np.zeros(3), "1_W": np.ones(4)}, monitor=True
    )


def gradients(updater: Any, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    given = {key: rng.standard_normal(a.shape) for key, a in updater.parameters.items()}
    if seed in (2, 3):
        given["0_b"][1] = np.nan  # two skipped steps, and the one after them: iteration 2
    return given


def by_solver(recorder: Any, steps: int = 9) -> Any:
    updater = made()
    coming = iter(range(steps))

    def compute() -> Any:
        seed = next(coming)
        updater.epoch = seed // 4
        return seed / 4, gradients(updater, seed)

    solver = fs.StochasticGradientDescent(updater, compute, [recorder])
    for _ in range(steps):
        solver.optimize()
    return updater


def by_hand(recorder: Any, steps: int = 9) -> Any:
    updater = made()
    for seed in range(steps):
        updater.epoch = seed // 4
        updater.step(gradients(updater, seed))
        recorder.record(updater, seed / 4)
    return updater


def written(make: Callable[..., Any], run: Callable[[Any], Any], **arguments: Any) -> str:
    file = io.StringIO()
    with make(file, **arguments) as writer:
        run(writer)
    return file.getvalue()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("make", [fs.CSVWriter, fs.JSONLWriter])
def test_writers(make: Any, every: int) -> None:
    """Skipped steps, too."""
    text = written(make, by_hand, every=every)
    assert text == written(make, by_solver, every=every)
    assert len(text.splitlines()) >= 3


@pytest.mark.parametrize("every", [1, 2])
def test_history(every: int) -> None:
    histories = []
    for run in (by_hand, by_solver):
        listener = fs.HistoryListener(every=every)
        run(listener)
        histories.append(listener.history)
    one, other = histories
    assert repr(one) == repr(other)
    for name in ("iteration", "epoch", "score", "skipped"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert list(one.iteration[one.iteration % every == 0]) == list(one.iteration)
    assert one.layers.keys() == other.layers.keys()
    for name, layer in one.layers.items():
        for field, values in vars(layer).items():
            np.testing.assert_array_equal(values, getattr(other.layers[name], field))


def test_progress() -> None:
    shown = []
    for run in (by_hand, by_solver):
        file = io.StringIO()
        with fs.ProgressListener(9, file=file, ncols=200) as progress:
            run(progress)
        shown.append(file.getvalue().split("\r")[-1].partition("[")[0])
    assert shown[0] == shown[1]
    assert "9/9, score 1, norm" in shown[0]
    assert "skipped 2" in shown[0]


def test_a_recorder_of_ones_own() -> None:
    class Kept(Recorder):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.seen: list[Any] = []

        def write(self, updater: Any, last_step: Any, score: float) -> None:
            self.seen.append((last_step.iteration, score, updater.iteration))

    kept = Kept(every=2)
    by_hand(kept, 7)
    assert kept.seen == [(0, 0.0, 1), (2, 0.5, 2), (2, 0.75, 2), (2, 1.0, 3), (4, 1.5, 5)]
    Recorder().record(by_hand(Recorder(), 1), 1.0)  # by itself it does nothing


# ------------------------------------------------------------------------------ each step, and once


@pytest.mark.parametrize("every", [1, 4])
def test_a_step_that_is_recorded(every: int) -> None:
    """By hand or by a solver, and also where it is none of those that are written."""
    for run in (by_hand, by_solver):
        history = fs.HistoryListener(every=every)
        updater = run(history, 2)
        before, length = everything(updater), len(history.history)
        with pytest.raises(
            ValueError, match="since the last record, got none: that of iteration 1"
        ):
            history.record(updater, 1.0)
        assert len(history.history) == length
        assert everything(updater) == before
        updater.step(gradients(updater, 2))  # skipped
        history.record(updater, 1.0)
        with pytest.raises(ValueError, match="that of iteration 2 is recorded"):
            history.record(updater, 1.0)
        updater.step(gradients(updater, 3))  # again
        history.record(updater, 1.0)
        fs.HistoryListener().record(updater, 1.0)  # another's


def test_no_step_yet() -> None:
    history = fs.HistoryListener()
    text = r"HistoryListener\.record: expected a step before it, got none; call it after step\(\)"
    with pytest.raises(ValueError, match=text):
        history.record(made(), 1.0)
    assert len(history.history) == 0


def test_steps_that_are_all_of_one_iteration() -> None:
    """As where the caller says which, or goes back."""
    history, updater = fs.HistoryListener(), made(gradient_normalization="None", updater=fs.Sgd())
    for seed in (4, 5):
        updater.step(gradients(updater, seed), iteration=7)
        history.record(updater, 1.0)
    start = updater.snapshot()
    for seed in (6, 7):
        updater.restore(start)
        updater.step(gradients(updater, seed))
        history.record(updater, 1.0)
    assert list(history.history.iteration) == [7, 7, 8, 8]


def test_two_updaters() -> None:
    one, other = made(), made()
    history = fs.HistoryListener()
    for seed in (4, 5):
        for updater in (one, other):
            updater.step(gradients(updater, seed + (updater is other)))
            history.record(updater, 1.0)
    assert list(history.history.iteration) == [0, 0, 1, 1]
    for updater in (one, other):
        with pytest.raises(ValueError, match="that of iteration 1 is recorded"):
            history.record(updater, 1.0)


def test_updaters_that_come_and_go() -> None:
    """One may lie where another has lain."""
    history = fs.HistoryListener()
    for _ in range(50):
        updater = made()
        updater.step(gradients(updater, 0))
        history.record(updater, 1.0)
        del updater
    assert len(history.history) == 50


def test_a_pickled_recorder_knows_no_steps() -> None:
    updater, history = made(), fs.HistoryListener()
    updater.step(gradients(updater, 0))
    history.record(updater, 1.0)
    again = pickle.loads(pickle.dumps(history))
    again.record(updater, 1.0)
    assert len(again.history) == 2


def test_a_step_that_was_refused_is_recorded_as_such() -> None:
    updater = made(on_nonfinite="raise")
    history, file = fs.HistoryListener(), io.StringIO()
    writer = fs.CSVWriter(file)
    bad = {key: np.full_like(g, np.nan) for key, g in gradients(updater, 0).items()}
    with pytest.raises(fs.NonFiniteGradientError):
        updater.step(bad)
    for recorder in (history, writer):
        recorder.record(updater, 1.0)
    assert list(history.history.skipped) == [True]
    assert file.getvalue().splitlines()[1].split(",")[3] == "1"


@pytest.mark.parametrize("kind", [fs.CSVWriter, fs.JSONLWriter])
def test_a_log_is_there_before_it_is_closed_and_goes_on(kind: Any, tmp_path: Any) -> None:
    path, updater = tmp_path / "run.log", made()
    lines = []
    for part in range(3):
        writer = kind(path, append=part > 0)
        updater.step(gradients(updater, part))
        writer.record(updater, 1.0)
        lines.append(len(path.read_text().splitlines()))  # nobody has closed it
        writer.close()
        updater.step(gradients(updater, part))
        with pytest.raises(ValueError, match=r"expected no step after close\(\)"):
            writer.record(updater, 1.0)
    rows = lines[2] - lines[1]
    columns = kind is fs.CSVWriter
    assert lines == [columns + rows, columns + 2 * rows, columns + 3 * rows]
    with pytest.raises(TypeError, match="append: expected True or False"):
        kind(path, append="yes")


def test_updates_that_the_caller_subtracts() -> None:
    history, updater = fs.HistoryListener(), made()
    given = gradients(updater, 0)
    updater.update(given)
    for key, array in updater.parameters.items():
        array -= given[key]
    history.record(updater, 1.0)
    assert list(history.history.iteration) == [0]


def test_a_record_that_fails_may_come_again() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full and text[0] == "{":
                raise OSError("no space left")
            return super().write(text)

    file, updater = Full(), made()
    writer = fs.JSONLWriter(file)
    updater.step(gradients(updater, 0))
    with pytest.raises(OSError, match="no space left"):
        writer.record(updater, 1.0)
    file.full = False
    writer.record(updater, 1.0)
    assert len(file.getvalue().splitlines()) == 1


def test_a_pickled_history_goes_on() -> None:
    history = fs.HistoryListener()
    updater = by_hand(history, 2)
    history, updater = pickle.loads(pickle.dumps((history, updater)))
    updater.step(gradients(updater, 5))
    history.record(updater, 1.0)
    assert list(history.history.iteration) == [0, 1, 2]


def test_what_is_no_updater_and_no_score() -> None:
    updater = made()
    updater.step(gradients(updater, 0))
    refused: list[tuple[Any, Any, str]] = [
        (fs.Adam(), 1.0, "updater: expected an updater such as MultiLayerUpdater, got Adam"),
        (updater, None, "score: expected a number, got None of type NoneType"),
        (updater, "low", "score: expected a number, got 'low' of type str"),
        (updater, "0.5", "score: expected a number, got '0.5' of type str"),
        (updater, np.ones(3), "score: expected a number, got array"),
    ]
    for of, score, text in refused:
        with pytest.raises(TypeError, match=f"CSVWriter.record: {text}"):
            fs.CSVWriter(io.StringIO()).record(of, score)
    history = fs.HistoryListener()
    history.record(updater, np.float32(math.inf))
    assert history.history.score[0] == math.inf
