"""The demo and the command line: the network's gradients, the NumPy step, and what is printed."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle.schedules import KINDS

import flatstep as fs
from flatstep.cli import main
from flatstep.demo.digits import Batches, load_digits
from flatstep.demo.network import Network
from flatstep.demo.report import describe_result, explain_accuracy
from flatstep.demo.training import UPDATERS, Options, Result, Run
from flatstep.training.schedule_plot import parse_schedule

SCHEDULES = [f"{kind}Schedule" for kind in KINDS]
STRATEGIES = [strategy.value for strategy in fs.GradientNormalization]


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tqdm from starting a thread that outlives the test: other tests fork."""
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)


def _train(**options: Any) -> tuple[Options, Result]:
    chosen = Options(**{"epochs": 1, "hidden": (24, 16), **options})
    return chosen, Run(chosen).train(disable=True)


# ------------------------------------------------------------------------------------ the network


def test_the_gradients_are_those_of_the_score() -> None:
    rng = np.random.default_rng(0)
    network = Network((5, 7, 6, 10), rng)
    # In float64, where a difference quotient has digits enough, and is not across a ReLU's bend.
    network.parameters = {key: a.astype(np.float64) for key, a in network.parameters.items()}
    network.gradients = {key: np.empty_like(a) for key, a in network.parameters.items()}
    images = rng.standard_normal((9, 5))
    targets = np.full((9, 10), 0.02)
    targets[np.arange(9), rng.integers(0, 10, 9)] += 0.8
    for key, parameter in network.parameters.items():
        direction = rng.standard_normal(parameter.shape)
        _, gradients = network.gradient_and_score(images, targets)
        slope = np.sum(gradients[key] * direction) / 9
        saved = parameter.copy()
        parameter[...] = saved + 1e-6 * direction
        above, _ = network.gradient_and_score(images, targets)
        parameter[...] = saved - 1e-6 * direction
        below, _ = network.gradient_and_score(images, targets)
        parameter[...] = saved
        assert slope == pytest.approx((above - below) / 2e-6, rel=1e-6), key


def test_the_arrays_are_views_of_the_flat_buffers() -> None:
    network = Network((4, 3, 10), np.random.default_rng(0))
    for arrays, flat in (
        (network.parameters, network.flat_parameters),
        (network.gradients, network.flat_gradients),
    ):
        assert all(np.shares_memory(array, flat) for array in arrays.values())
        assert sum(array.size for array in arrays.values()) == flat.size
    assert network.layer_slices == [[slice(0, 12), slice(12, 15)], [slice(15, 45), slice(45, 55)]]


def test_the_digits_are_split_by_class_and_seed() -> None:
    digits, again, other = load_digits(0), load_digits(0), load_digits(1)
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert np.bincount(digits.test_labels).min() >= 34
    np.testing.assert_array_equal(digits.test_images, again.test_images)
    assert not np.array_equal(digits.test_images, other.test_images)
    assert digits.train_images.dtype == np.float32
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)


def test_an_epoch_of_batches_has_every_image_once() -> None:
    digits = load_digits(0)
    batches = Batches(digits, 100, np.random.default_rng(0), noise=0)
    assert batches.per_epoch == 15
    images, targets = zip(*(batches.next() for _ in range(15)), strict=True)
    assert [len(batch) for batch in images] == [100] * 14 + [37]
    np.testing.assert_array_equal(
        np.sort(np.concatenate(images), axis=0), np.sort(digits.train_images, axis=0)
    )
    np.testing.assert_allclose(np.concatenate(targets).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(
        np.bincount(np.concatenate(targets).argmax(axis=1)), np.bincount(digits.train_labels)
    )


# --------------------------------------------------------------------- the step in plain NumPy


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
def test_the_step_in_plain_numpy_agrees_for_every_strategy(strategy: str, semantics: Any) -> None:
    _, result = _train(strategy=strategy, semantics=semantics, threshold=0.1)
    assert result.comparison.difference < 1e-5
    assert result.comparison.agrees


@pytest.mark.parametrize("updater", UPDATERS)
def test_the_step_in_plain_numpy_agrees_for_every_updater(updater: str) -> None:
    _, result = _train(updater=updater)
    assert result.comparison.difference < 1e-5
    assert result.comparison.agrees


def test_the_comparison_sees_a_step_that_does_something_else() -> None:
    run = Run(Options(epochs=1, hidden=(24, 16)))
    run.updater.set_learning_rate(1e-3)
    comparison = run.train(disable=True).comparison
    assert comparison.difference > 1e-3
    assert not comparison.agrees


def test_the_update_ratios_are_those_of_the_step_in_plain_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flatstep.demo import training

    twins = []

    class Kept(training.NumpyStep):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            twins.append(self)

    monkeypatch.setattr(training, "NumpyStep", Kept)
    # With a cosine to zero, the last update would be too small to compare in float32.
    _, result = _train(updater="adadelta")
    ratios = [layer.update_ratio[-1] for layer in result.history.layers.values()]
    np.testing.assert_allclose(ratios, twins[0].update_ratios, rtol=1e-3)


# ------------------------------------------------------------------------------------ the run


@pytest.mark.parametrize("seed", [0, 1])
def test_the_demo_reaches_97_percent(seed: int) -> None:
    options = Options(seed=seed)
    result = Run(options).train(disable=True)
    assert result.accuracy >= 0.97
    assert result.comparison.agrees
    text = describe_result(options, result)
    assert "Test accuracy: 9" in text
    assert "below" not in text
    shares = [layer.clipped.mean() for layer in result.history.layers.values()]
    assert all(0 < share < 1 for share in shares)


def test_the_order_of_0_8_stays_below_and_the_demo_says_why() -> None:
    options = Options(semantics="dl4j-0.8")
    result = Run(options).train(disable=True)
    assert result.accuracy < 0.95
    text = " ".join(describe_result(options, result).split())
    assert "below 97 %, and dl4j-0.8 is why: it divides the finished update by" in text
    assert "the batch size, 32" in text
    assert "Adam's update does not grow with the gradient" in text
    assert "--learning-rate 0.096 makes up for it" in text


def test_the_advice_for_the_order_of_0_8_works() -> None:
    result = Run(Options(semantics="dl4j-0.8", learning_rate=0.096)).train(disable=True)
    assert result.accuracy >= 0.97


def test_runs_are_repeatable() -> None:
    _, first = _train(epochs=2)
    _, second = _train(epochs=2)
    assert first.accuracy == second.accuracy
    np.testing.assert_array_equal(first.history.score, second.history.score)
    _, other = _train(epochs=2, seed=5)
    assert not np.array_equal(first.history.score, other.history.score)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), "more --epochs, another --learning-rate"),
        (Options(semantics="dl4j-0.8", batch_size=1), "more --epochs"),
        (Options(semantics="dl4j-0.8", updater="sgd", strategy="None"), "more --epochs"),
        (
            Options(semantics="dl4j-0.8", updater="sgd", batch_size=8),
            "The normalisation has limited the gradient, a sum over the batch, before that, so a "
            "step is up to 8 times shorter than under dl4j-1.0",
        ),
        (
            Options(semantics="dl4j-0.8", updater="adadelta"),
            "AdaDelta's update does not grow with the gradient, which is a sum over the batch, so",
        ),
    ],
)
def test_a_low_accuracy_is_explained(options: Options, expected: str) -> None:
    assert expected in " ".join(explain_accuracy(options).split())


# ------------------------------------------------------------------------------- the command line


def test_the_command_prints_a_table_times_and_where_the_plot_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot, log = tmp_path / "run.png", tmp_path / "run.csv"
    assert main(["--epochs", "2", "--output", str(plot), "--log", str(log)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"flatstep {fs.__version__}, {fs.isa()}: a 64-128-64-10 network")
    header = next(line for line in lines if line.startswith("layer"))
    assert header.split() == ["layer", "norm", "clipped", "rate", "update/parameter"]
    rows = [line.split() for line in lines if "→" in line]
    assert [row[:4] for row in rows] == [
        ["0", "64", "→", "128"],
        ["1", "128", "→", "64"],
        ["2", "64", "→", "10"],
    ]
    for row in rows:
        norm, clipped, percent, rate, ratio = row[4:]
        assert float(norm) > 0
        assert 0 <= float(clipped) <= 100
        assert percent == "%"
        assert 0 < float(rate) < 3e-3
        assert 0 < float(ratio) < 1
    assert any(line.startswith("flatstep  ") and "µs" in line for line in lines)
    assert any(line.startswith("plain NumPy  ") and "µs" in line for line in lines)
    assert "They agree" in " ".join(printed.out.split())
    assert max(map(len, lines[:-2])) <= 80
    assert f"Plot: {plot}" in lines
    assert plot.read_bytes().startswith(b"\x89PNG")
    with log.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 45 * 3
    assert "training: 100%" in printed.err
    assert "90/90" in printed.err


def test_the_log_may_be_jsonl(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    assert main(["--epochs", "1", "--output", str(tmp_path / "p.svg"), "--log", str(log)]) == 0
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert [step["iteration"] for step in steps] == list(range(45))


def test_a_step_that_does_not_agree_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "_rate", lambda self, iteration: 1e-3)
    assert main(["--epochs", "1", "--output", str(tmp_path / "p.svg")]) == 1
    assert "They do NOT agree" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_diverges_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--updater", "sgd", "--strategy", "None", "--learning-rate", "1e30"]
    assert main([*arguments, "--output", str(tmp_path / "p.png")]) == 1
    assert "The training diverged: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--updater", "lion"], "argument --updater: invalid choice: 'lion'"),
        (["--epochs", "0"], "argument --epochs: expected a whole number above 0, got 0"),
        (["--output", "run.gif"], "argument --output: expected .png or .svg or .pdf"),
        (["--output", "nowhere/run.png"], "argument --output: there is no folder 'nowhere'"),
        (["--log", "run.txt"], "argument --log: expected .csv or .jsonl, got 'run.txt'"),
        (["--threshold", "-1"], "gradient_normalization_threshold"),
        (["--updater", "adadelta", "--learning-rate", "1"], "--learning-rate: adadelta has none"),
        (["--updater", "adamw", "--semantics", "dl4j-0.8"], "no place for weight decay"),
        (["schedule"], "the following arguments are required: SCHEDULE"),
        (["schedule", "Foo(1)"], f"'Foo' is no schedule; expected one of {min(SCHEDULES)}"),
        (["schedule", "StepSchedule(0.1, 0.5, -1)"], "StepSchedule: step: expected a finite"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for choice in (*UPDATERS, *STRATEGIES, "dl4j-1.0", "dl4j-0.8"):
        assert choice in shown
    for option in ("updater", "strategy", "threshold", "semantics", "epochs", "seed", "output"):
        assert f"--{option}" in shown


@pytest.mark.parametrize(
    ("arguments", "modules", "message"),
    [
        ([], ["tqdm"], "This needs tqdm, which is not installed."),
        ([], ["sklearn", "matplotlib"], "needs matplotlib, scikit-learn, which are not installed."),
        (["schedule", "FixedSchedule(1)"], ["matplotlib"], "This needs matplotlib, which is not"),
    ],
)
def test_a_missing_extra_is_named(
    arguments: list[str],
    modules: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in modules else find_spec(name)
    )
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "pip install 'flatstep[demo]'" in shown


def test_schedule_prints_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "schedule.png"
    arguments = [
        "ExponentialSchedule(1, 0.5, schedule_type='EPOCH')",
        "fs.RampSchedule(StepSchedule(initial=0.1, decay_rate=0.5, step=20), 10)",
        "LearningRatePolicy('Exponential', decay_rate=0.5)",
    ]
    options = ["--iterations", "21", "--steps-per-epoch", "4", "--output", str(plot)]
    assert main(["schedule", *arguments, *options, "--learning-rate", "8"]) == 0
    printed = capsys.readouterr().out.splitlines()
    values = [float(line.split()[2]) for line in printed if line.startswith("  iteration")]
    # At the iterations 0, 4, 8, 12, 16 and 20; a policy compounds: 8·0.5^(0+1+2+…).
    np.testing.assert_allclose(values[:6], [0.5**epoch for epoch in range(6)], rtol=1e-5)
    np.testing.assert_allclose(values[6:12], [0.01, 0.05, 0.09, 0.1, 0.1, 0.05], rtol=1e-5)
    np.testing.assert_allclose(
        values[12:], [8 * 0.5 ** (i * (i + 1) / 2) for i in range(0, 21, 4)], rtol=1e-5
    )
    assert printed[-1] == f"Plot: {plot}"
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').getcwd()", "is no schedule"),
        ("FixedSchedule(open('x'))", "'open' is no schedule"),
        ("FixedSchedule(1 + len([]))", "expected a number, a string, a mapping or a schedule"),
        ("StepSchedule(0.1)", "missing 2 required positional arguments"),
        ("0.1", "is no schedule; expected a call of"),
        ("[0.1] * 1000000000", "expected a number, a string, a mapping or a schedule"),
        ("FixedSchedule(0.1) * 'a'", "can't multiply"),
        ("FixedSchedule(", "is not a Python expression"),
    ],
)
def test_only_schedules_are_parsed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


def test_schedules_are_parsed_as_python_makes_them() -> None:
    assert parse_schedule("MapSchedule({0: 0.1, 100: 0.01})") == fs.MapSchedule({0: 0.1, 100: 0.01})
    assert parse_schedule(" flatstep.CosineSchedule(0.1, 1000, final=-0) ") == fs.CosineSchedule(
        0.1, 1000
    )
    assert parse_schedule("LearningRatePolicy('None')") == fs.LearningRatePolicy("None")
    ramp, cosine = fs.LinearSchedule(0.0, 0.1, 50), fs.CosineSchedule(0.1, 1000)
    text = "SequenceSchedule([(LinearSchedule(0, 0.1, 50), 50), CosineSchedule(0.1, 1000)])"
    assert parse_schedule(text) == fs.SequenceSchedule([(ramp, 50), cosine])
    assert parse_schedule(f"0.5 * {text} * fs.FixedSchedule(2)") == fs.ProductSchedule(
        (0.5, fs.SequenceSchedule([(ramp, 50), cosine]), fs.FixedSchedule(2))
    )
    assert parse_schedule("TableSchedule([0.1, 0.2])") == fs.TableSchedule([0.1, 0.2])


def test_info_names_version_targets_threads_and_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[2:4])
    assert shown == {
        "available": ", ".join(fs.available_isas()),
        "threads": str(fs.get_num_threads()),
    }


@pytest.mark.parametrize("arguments", [["--version"], ["info"], ["schedule", "--help"]])
def test_python_m_flatstep(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flatstep", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    assert not done.stderr
