"""``python -m flatstep plot``: a log is read as it was written, and drawn; and pipes that close."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flatstep as fs
from flatstep.cli import main
from flatstep.training import plot_history
from flatstep.training.history_file import read_history

pytest.importorskip("matplotlib")


def train(folder: Path, *, steps: int = 30, strategy: str = "ClipL2PerLayer") -> fs.HistoryListener:
    """A run that leaves run.csv and run.jsonl, with one skipped step in it."""
    rng = np.random.default_rng(0)
    params = {"0_W": rng.standard_normal((3, 2)), "1_W": rng.standard_normal(4)}
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.1), gradient_normalization=strategy, on_nonfinite="skip"
    )
    updater = fs.MultiLayerUpdater(config, params, monitor=True)
    history = fs.HistoryListener()

    def gradient_and_score() -> tuple[float, dict[str, np.ndarray]]:
        gradients = {key: 2 * array for key, array in params.items()}
        if len(history.history) == 5:
            gradients["0_W"] = gradients["0_W"] * np.nan
        return float(sum((array**2).sum() for array in params.values())), gradients

    with fs.CSVWriter(folder / "run.csv") as rows, fs.JSONLWriter(folder / "run.jsonl") as lines:
        listeners = [history, rows, lines]
        solver = fs.StochasticGradientDescent(updater, gradient_and_score, listeners)
        for _ in range(steps):
            solver.optimize()
    return history


@pytest.mark.parametrize("strategy", ["ClipL2PerLayer", "ClipL2Global", "ClipL2PerParamType"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_log_is_read_as_it_was_recorded(tmp_path: Path, suffix: str, strategy: str) -> None:
    kept = train(tmp_path, strategy=strategy).history
    read = read_history(tmp_path / f"run{suffix}")
    assert list(read.layers) == list(kept.layers)
    assert kept.skipped.sum() == 1
    for name in ("iteration", "epoch", "score", "skipped"):
        np.testing.assert_array_equal(getattr(read, name), getattr(kept, name))
    for layer, theirs in kept.layers.items():
        for name in ("gradient_norm", "factor", "clipped", "learning_rate", "update_ratio"):
            np.testing.assert_array_equal(
                getattr(read.layers[layer], name), getattr(theirs, name), err_msg=name
            )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path, suffix: str) -> None:
    train(tmp_path, steps=8)
    log = tmp_path / f"run{suffix}"
    text = log.read_text(encoding="utf-8")
    log.write_text(text[: text.rindex(",")], encoding="utf-8")
    assert 7 <= len(read_history(log)) <= 8
    lines = text.splitlines()
    log.write_text("\n".join([*lines[:3], "nonsense", *lines[3:]]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"run\{suffix}: line 4: expected"):
        read_history(log)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    assert main(["plot", str(tmp_path / "run.csv")]) == 0
    assert capsys.readouterr().out == f"Plot: {tmp_path / 'run.png'}\n"
    figure = plot_history(read_history(tmp_path / "run.csv"), tmp_path / "twice.png")
    clipped, ratios = figure.axes[2], figure.axes[4]
    assert len(clipped.lines) == 2
    assert ratios.get_yscale() == "log"
    assert any(set(line.get_ydata()) == {1e-3} for line in ratios.lines)
    assert ratios.get_ylim()[0] < 1e-3 < ratios.get_ylim()[1]
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name, message in {
        "empty.jsonl": "expected at least one step, got none",
        "other.csv": "line 1: expected what CSVWriter writes",
        "run.png": "expected a .csv or .jsonl file, got .png",
        "none.csv": "No such file",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            main(["plot", str(tmp_path / name)])
        assert message in capsys.readouterr().err


def test_an_unknown_command_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plto"]) == 2
    assert "expected one of the commands schedule, plot, info, or none" in capsys.readouterr().err


def test_rows_of_a_cycle_are_not_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row would be at 0, where a cycle starts."""
    restarts = "CosineRestartsSchedule(1.0, 20)"
    options = ["--iterations", "101", "--output", str(tmp_path / "a.png")]
    assert main(["schedule", restarts, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = [float(line.split()[2]) for line in lines if line.startswith("  iteration")]
    assert max(values) == 1
    assert min(values) < 0.05


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes that end a program")
def test_a_pipe_that_closes_ends_it_quietly() -> None:
    code = (
        "import os, sys; from flatstep.__main__ import run; "
        "sys.argv[1:] = ['info']; sys.stdin.read(); sys.exit(run())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
