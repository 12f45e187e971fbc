"""The examples do what they claim: each is run as a user runs it, but smaller.

`examples/continue_dl4j.py` is held against DL4J's own steps in `test_dl4j_models.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flatstep as fs

EXAMPLES = Path(__file__).parent.parent / "examples"
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; "  # so that importing it fails
TORCH_MISSING = "examples/torch_dlpack.py needs PyTorch, which is not installed: pip install torch"
BFLOAT16_MISSING = TORCH_MISSING.replace("torch_dlpack", "torch_bfloat16")
ML_DTYPES_MISSING = (
    "examples/torch_bfloat16.py needs ml_dtypes, which is not installed: pip install ml_dtypes"
)
JAX_MISSING = "examples/jax_dlpack.py needs JAX, which is not installed: pip install jax"

#: The extra "test" has what the examples need, but not PyTorch.
HAS_TORCH = importlib.util.find_spec("torch") is not None


def start(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python; one thread for the BLAS, as the matrices are small."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        env={**os.environ, **single, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def run_example(name: str, *arguments: str) -> str:
    """What the example prints."""
    result = start(str(EXAMPLES / f"{name}.py"), *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def load_example(name: str) -> Any:
    """The example as a module, to look into it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only(pattern: str, report: str) -> float:
    """The number in the one place of the report where the pattern matches."""
    found = re.findall(pattern, report)
    assert len(found) == 1, (pattern, report)
    return float(found[0])


ALL = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def test_the_readme_lists_all() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^- \[`(\w+)\.py`\]\(\1\.py\)", readme, re.M)) == ALL


@pytest.mark.parametrize("name", ALL)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "jax_dlpack":  # JAX's threads want a process of their own
        result = start(str(EXAMPLES / "jax_dlpack.py"), "--help")
        assert ("--seed" in result.stdout) == (importlib.util.find_spec("jax") is not None)
        assert "--seed" in result.stdout or result.stderr.strip() == JAX_MISSING
        return
    if name.startswith("torch_") and not HAS_TORCH:
        missing = TORCH_MISSING if name == "torch_dlpack" else BFLOAT16_MISSING
        with pytest.raises(SystemExit, match=f"^{missing}$"):
            load_example(name)
        return
    example = load_example(name)
    with pytest.raises(SystemExit) as ended:
        example.main(["--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(example.__doc__.splitlines()[0].split()) in printed
    assert "--seed" in printed or name == "continue_dl4j"


# ------------------------------------------------------------------------------------- scikit-learn


def test_sklearn_mlp() -> None:
    report = run_example("sklearn_mlp", "--epochs", "6")
    lines = dict(re.findall(r"^(\S.*?)  +loss +\S+, test accuracy +(\S+)%$", report, re.M))
    assert len(lines) == 4
    their_adam, our_adam, momentum, clipped = map(float, lines.values())
    assert our_adam == their_adam
    assert our_adam > 80
    assert only(r"largest difference between their weights (\S+)", report) < 1e-9
    assert momentum < 20
    assert clipped > 85


def test_sklearn_mlp_steps_the_classifiers_own_arrays() -> None:
    example = load_example("sklearn_mlp")
    images, labels = example.load_digits(return_X_y=True)
    classifier = example.FlatstepMLPClassifier(hidden_layer_sizes=(8,), batch_size=100)
    classifier.configuration = fs.MultiLayerConfiguration(updater=fs.AMSGrad(1e-3))
    classes = np.unique(labels)
    for epoch in (1, 2):
        classifier.partial_fit(images[:400], labels[:400], classes=classes)
        updater = classifier._optimizer.updater
        assert (updater.iteration, updater.epoch) == (4 * epoch, epoch)
        assert updater.parameters["1_W"] is classifier.coefs_[1]
        assert updater.parameters["0_b"] is classifier.intercepts_[0]


# ------------------------------------------------------------------------------------ HIPS autograd


def test_hips_autograd() -> None:
    report = run_example("hips_autograd", "--steps", "200", "--units", "16", "--points", "32")
    losses = [float(loss) for loss in re.findall(r"loss (\S+),", report)]
    assert len(losses) == 11
    assert losses[-1] < losses[0] / 10
    assert only(r"largest error (\S+)", report) < 0.5


def test_hips_autograd_exact_solution() -> None:
    """By differences: it is what the network is compared with."""
    example = load_example("hips_autograd")
    step = 1e-4
    t = np.linspace(0.1, example.END, 50)
    before, here, after = (example.exact(t + shift) for shift in (-step, 0, step))
    residual = (
        (after - 2 * here + before) / step**2
        + 2 * example.DAMPING * (after - before) / (2 * step)
        + here
    )
    np.testing.assert_allclose(residual, 0, atol=1e-6)
    assert example.exact(0.0) == 1


# ------------------------------------------------------------------------------------------ PyTorch


def test_torch_dlpack() -> None:
    """Where PyTorch is not installed, the example says so, and how to install it."""
    if not HAS_TORCH:
        result = start(str(EXAMPLES / "torch_dlpack.py"))
        assert (result.returncode, result.stderr.strip()) == (1, TORCH_MISSING)
        return
    report = run_example("torch_dlpack", "--steps", "40")
    assert "in shared memory: 6 of 6 parameters\n" in report
    losses = [(float(a), float(b)) for a, b in re.findall(r"loss (\S+), PyTorch's (\S+)", report)]
    assert len(losses) > 4
    for ours, theirs in losses:
        assert abs(ours - theirs) < 1e-3
    assert losses[-1][0] < 0.95 * losses[0][0]
    accuracies = [float(share) for share in re.findall(r"test accuracy, \w+: (\S+)%", report)]
    assert len(accuracies) == 2
    assert accuracies[0] > 55
    assert abs(accuracies[0] - accuracies[1]) < 2


def test_torch_dlpack_says_that_pytorch_is_missing() -> None:
    path = str(EXAMPLES / "torch_dlpack.py")
    result = start("-c", f"{WITHOUT_TORCH} import runpy; runpy.run_path({path!r})")
    assert (result.returncode, result.stderr.strip()) == (1, TORCH_MISSING)


def test_torch_bfloat16() -> None:
    if not HAS_TORCH:
        result = start(str(EXAMPLES / "torch_bfloat16.py"))
        assert (result.returncode, result.stderr.strip()) == (1, BFLOAT16_MISSING)
        return
    report = run_example("torch_bfloat16", "--steps", "700", "--state", "8bit")
    assert re.search("^2_weight .* 8bit state, split master$", report, re.MULTILINE)
    assert "bfloat16, in shared memory: 6 of 6 parameters\n" in report
    assert only(r"kept beside them: (\S+) bytes", report) < 4.5
    rows = re.findall(r"^ *\d+  +(\S+)  +(\S+)  +(\S+)$", report, re.MULTILINE)
    losses = [[float(loss) for loss in row] for row in rows]
    assert len(losses) == 6
    assert all(abs(ours - wide) < 0.02 for ours, _, wide in losses)
    ours, rounded_away, wide = losses[-1]
    assert rounded_away > 1.5 * max(ours, wide)


@pytest.mark.parametrize(
    ("without", "text"), [("torch", BFLOAT16_MISSING), ("ml_dtypes", ML_DTYPES_MISSING)]
)
def test_torch_bfloat16_says_what_is_missing(without: str, text: str) -> None:
    path = str(EXAMPLES / "torch_bfloat16.py")
    absent = WITHOUT_TORCH.replace("torch", without)
    result = start("-c", f"{absent} import runpy; runpy.run_path({path!r})")
    assert (result.returncode, result.stderr.strip()) == (1, text)


# --------------------------------------------------------------------------------------------- LSTM


def test_lstm_text() -> None:
    """At a rate at which it does not take long."""
    report = run_example(
        "lstm_text", "--iterations", "100", "--learning-rate", "10", "--threshold", "0.1"
    )
    guessing = only(r"guessing would give (\S+)", report)
    assert guessing == pytest.approx(np.log(45), abs=1e-3)
    rows = re.findall(r"^ +\d+ +(\S+) +\S+ +(\S+) +\S+$", report, re.M)
    free, clipped = (np.array(column, float) for column in zip(*rows, strict=True))
    assert len(free) == 17
    assert free[0] == clipped[0] == pytest.approx(guessing, rel=0.02)
    assert free.max() > 5 * guessing
    assert only(r"no normalisation: final loss ([\d.]+)", report) > guessing
    assert clipped.max() < 1.5 * guessing
    assert only(r"ClipL2PerLayer: final loss ([\d.]+)", report) < 0.25 * guessing


def test_lstm_text_stops_at_a_gradient_that_is_not_finite() -> None:
    report = run_example("lstm_text", "--iterations", "6", "--learning-rate", "1e38")
    assert re.search(r"^no normalisation stopped in iteration \d: .*\"lstm_W\"", report, re.M)
    assert re.search(r"^ +5 +stopped ", report, re.M)


def test_lstm_text_backward_is_the_derivative_of_its_loss() -> None:
    example = load_example("lstm_text")
    text = example.Text(example.zen_of_python())
    rng = np.random.default_rng(0)
    params = example.initial_parameters(len(text.characters), 5, rng, np.float64)
    network = example.Network(params)
    inputs, following, restarted = next(text.windows(batch_size=3, length=7))
    assert restarted
    assert inputs.shape == (7, 3)
    np.testing.assert_array_equal(inputs[1:], following[:-1])
    rows, targets = text.one_hot(inputs, np.float64), text.one_hot(following, np.float64)
    memory = example.Memory(*rng.standard_normal((2, 3, 5)))

    def loss() -> float:
        network.forward(rows, memory)
        return float(network.loss(targets))

    loss()
    network.backward(targets)
    for layer, name in (("lstm", "W"), ("lstm", "RW"), ("lstm", "b"), ("output", "W")):
        array, gradient = params[layer][name], network.gradients[layer][name].copy()
        direction = rng.standard_normal(array.shape)
        start_from, step, losses = array.copy(), 1e-5, []
        for sign in (1, -1):
            array[...] = start_from + sign * step * direction
            losses.append(loss())
        array[...] = start_from
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float(np.sum(gradient * direction)), rel=1e-6, abs=1e-9)


def test_lstm_text_runs_start_equal() -> None:
    """Same seed, same weights, same windows: only the clipping differs."""
    example = load_example("lstm_text")
    text = example.Text(example.zen_of_python())
    options = SimpleNamespace(units=8, seed=3, batch_size=4, length=8, iterations=2)
    sgd = fs.Sgd(0.1)
    free = fs.MultiLayerConfiguration(updater=sgd)
    clipping = fs.MultiLayerConfiguration(
        updater=sgd,
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=1e-3,
    )
    runs = [example.train(text, configuration, options) for configuration in (free, clipping)]
    assert runs[0].losses[0] == runs[1].losses[0]
    assert runs[0].norms[0] == runs[1].norms[0]
    assert runs[0].losses[1] != runs[1].losses[1]


# ---------------------------------------------------------------------------------------------- JAX


def test_jax_dlpack() -> None:
    """Where JAX is not installed, the example says so in one line, and how to install it."""
    if importlib.util.find_spec("jax") is None:
        result = start(str(EXAMPLES / "jax_dlpack.py"))
        assert (result.returncode, result.stderr.strip()) == (1, JAX_MISSING)
        return
    report = run_example("jax_dlpack", "--steps", "60")
    assert "gradients in shared memory: 60 of 60 steps\n" in report
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", report)]
    assert losses[-1] < 0.8 * losses[0]


# ------------------------------------------------------------------------------------- min-char-rnn


def test_min_char_rnn() -> None:
    report = run_example("min_char_rnn", "--iterations", "250", "--units", "30")
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", report)]
    assert losses[0] == pytest.approx(only(r"guessing would give (\S+)", report), rel=1e-2)
    assert losses[-1] < 0.93 * losses[0]


def test_min_char_rnn_steps_as_its_original() -> None:
    """mem += g * g; param -= rate * g / sqrt(mem + 1e-8), of the clipped gradient."""
    example = load_example("min_char_rnn")
    rng = np.random.default_rng(0)
    params = example.initial_parameters(6, 5, rng)
    theirs = {name: array.copy() for name, array in params.items()}
    memory = {name: np.zeros_like(array) for name, array in params.items()}
    configuration = fs.MultiLayerConfiguration(
        updater=fs.RootAdaGrad(0.1, epsilon_root=1e-8, initial_accumulator=0.0),
        gradient_normalization="ClipElementWiseAbsoluteValue",
        gradient_normalization_threshold=5.0,
    )
    updater = fs.LayerUpdater(configuration, params)
    for _ in range(4):
        gradients = {n: 10 * rng.standard_normal(a.shape) for n, a in params.items()}
        updater.step(gradients)
        for name, gradient in gradients.items():
            clipped = np.clip(gradient, -5, 5)
            memory[name] += clipped * clipped
            theirs[name] -= 0.1 * clipped / np.sqrt(memory[name] + 1e-8)
            np.testing.assert_allclose(params[name], theirs[name], rtol=1e-12)


def test_min_char_rnn_backward_is_the_derivative_of_its_loss() -> None:
    example = load_example("min_char_rnn")
    rng = np.random.default_rng(1)
    params = example.initial_parameters(6, 5, rng)
    for array in params.values():
        array += 0.3 * rng.standard_normal(array.shape)
    sequence = ([0, 3, 5, 1], [3, 5, 1, 2], rng.standard_normal((5, 1)))
    _, gradients, _ = example.loss_and_gradients(params, *sequence)
    for name, array in params.items():
        direction, start_from = rng.standard_normal(array.shape), array.copy()
        losses = []
        for shift in (1e-5, -1e-5):
            array[...] = start_from + shift * direction
            losses.append(example.loss_and_gradients(params, *sequence)[0])
        array[...] = start_from
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope == pytest.approx(float(np.sum(gradients[name] * direction)), rel=1e-6)


# ----------------------------------------------------------------------------- evolution strategies


def test_evolution_strategies() -> None:
    report = run_example("evolution_strategies", "--generations", "25", "--pairs", "8")
    before = only(r"before: stands for (\S+)%", report)
    assert only(r"after: stands for (\S+)%", report) > 1.5 * before


# ------------------------------------------------------------------------------------------ FedAdam


def test_fedadam() -> None:
    report = run_example("fedadam", "--rounds", "15", "--wrong-sign")
    averaged, adam, wrong = map(float, re.findall(r"accuracy (\S+)%, mean", report))
    assert averaged > 70
    assert adam > 80
    assert wrong < 30
